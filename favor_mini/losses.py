"""The diversity loss keeps the output queries of a window apart (paper, section 3.3)."""

import torch.nn.functional as F
from torch import Tensor

from .registry import register


@register("diversity", "mean_cosine")
def diversity_loss(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean cosine similarity of a window's N * (N - 1) pairs of queries, averaged over windows.

    It is 1 if the queries of each window have the same direction, 0 if they are orthogonal, and at
    least -1 / (N - 1).

    Args:
        queries: (B * W, N, D) output queries.
        real: (B * W,) bool, True where a window has a real frame; other windows are left out.

    Returns:
        A scalar; 0 if no window is real or N is 1.
    """
    num_queries = queries.shape[1]
    if real is not None:
        queries = queries[real]
    if len(queries) == 0 or num_queries < 2:
        return queries.sum() * 0.0
    unit = F.normalize(queries.float(), dim=-1)
    # |sum of unit vectors|^2 is the sum of all N * N cosines; subtract the N on the diagonal.
    cosines = unit.sum(dim=1).square().sum(dim=-1) - unit.square().sum(dim=(1, 2))  # [B * W]
    return (cosines / (num_queries * (num_queries - 1))).mean()
