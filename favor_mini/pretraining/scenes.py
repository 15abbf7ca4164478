"""Freshly drawn scenes as a dataset."""

import torch
from torch.utils.data import Dataset, get_worker_info

from ..world.scene import SPLITS, draw_scene


class Scenes(Dataset):
    """A split as a map from index to what `make` builds of a scene. `identity` names what that is, for a run that goes on."""

    def __init__(self, make, count: int = 10**7, split: str = "train", identity: str = ""):
        self.make, self.first, self.count, self.identity = make, SPLITS[split].start, count, identity

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        if get_worker_info():
            torch.set_num_threads(1)  # the workers share the cores
        return self.make(draw_scene(self.first + i))


def stack(examples: list[dict]) -> dict[str, torch.Tensor]:
    return {k: torch.stack([e[k] for e in examples]) for k in examples[0]}
