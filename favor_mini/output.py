"""What a FAVOR model's forward pass returns."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

from .qformer import AttentionMaps


@dataclass
class FavorOutput(ModelOutput):
    """What a forward pass returns; None where the batch has no labels or no media."""

    loss: Tensor | None = None  # cross_entropy + diversity_weight * diversity
    logits: Tensor | None = None  # [B, L, vocabulary]
    cross_entropy: Tensor | None = None
    diversity: Tensor | None = None
    queries: Tensor | None = None  # [B, W, N, width], before the projection
    window_mask: Tensor | None = None  # [B, W] bool, True where a window has a real time step
    maps: AttentionMaps | None = None  # with return_maps
