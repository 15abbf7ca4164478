"""Which items each training step sees: the same ones for any number of processes."""

import os
from collections.abc import Iterator
from itertools import count, islice

import torch
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


def items_needed(steps: int, batch: int, accumulate: int = 1) -> int:
    """Number of items that `fit` reads: steps * batch * accumulate * processes of `torchrun`."""
    return steps * batch * accumulate * int(os.environ.get("WORLD_SIZE", 1))


class Order(Sampler):
    """The order of the items: epoch after epoch, each item once per epoch.

    The order depends on the items of one step (`batch`), and not on how processes and accumulation
    divide them. If the dataset has `lengths`, the items of a step have similar lengths, and the
    longest item comes first: a lack of memory shows at the start.

    Args:
        data: a dataset of at least one item.
        items: how many items are read in all.
        batch: items of one step, of all processes together.
        seed: epoch e is shuffled with `seed` + e.
    """

    def __init__(self, data: Dataset, items: int, batch: int, seed: int):
        self.data, self.items, self.batch, self.seed = data, items, batch, seed

    def __len__(self) -> int:
        return self.items

    def __iter__(self) -> Iterator[int]:
        epochs = (self._epoch(self.seed + epoch) for epoch in count())
        return islice((item for epoch in epochs for item in epoch), self.items)

    def _epoch(self, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        if hasattr(self.data, "lengths"):
            return get_length_grouped_indices(self.data.lengths, self.batch, generator=generator)
        return torch.randperm(len(self.data), generator=generator)[: self.items].tolist()
