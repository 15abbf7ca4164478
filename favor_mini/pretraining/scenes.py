"""A dataset of scenes, drawn when they are needed."""

import torch
from torch.utils.data import Dataset, get_worker_info

from ..world.scene import SPLITS, draw_scene


class Scenes(Dataset):
    """Item i is `make(scene)` for scene i of a split.

    Args:
        make: makes an example of a scene.
        identity: a description of the examples, for `training.trainer.fit`.
    """

    def __init__(self, make, count: int = 10**7, split: str = "train", identity: str = ""):
        self.make, self.first, self.count = make, SPLITS[split].start, count
        self.identity = identity

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        if get_worker_info():
            torch.set_num_threads(1)  # the workers share the cores
        return self.make(draw_scene(self.first + i))


def stack(examples: list[dict]) -> dict[str, torch.Tensor]:
    """Stack the tensors of examples into a batch."""
    return {k: torch.stack([e[k] for e in examples]) for k in examples[0]}
