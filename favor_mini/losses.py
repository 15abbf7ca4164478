"""The diversity loss: the output queries of a window should not all say the same (paper, section 3.3)."""

import torch.nn.functional as F
from torch import Tensor

from .registry import register


@register("diversity", "mean_cosine")
def diversity_loss(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean cosine similarity over the N * (N - 1) off-diagonal pairs of queries in a window, averaged over windows.

    1 where all queries of a window point the same way, 0 where they are orthogonal, at least -1 / (N - 1).

    Args:
        queries: (B * W, N, D) output queries.
        real: (B * W,) bool, True where a window holds at least one real frame; the others do not count.

    Returns:
        A scalar; 0 where no window is real or a window has a single query.
    """
    num_queries = queries.shape[1]
    if real is not None:
        queries = queries[real]
    if len(queries) == 0 or num_queries < 2:
        return queries.sum() * 0.0
    unit = F.normalize(queries.float(), dim=-1)
    # All pairs at once: |sum of unit vectors|^2 is the sum of all N * N cosines; the diagonal's N ones are taken off.
    cosines = unit.sum(dim=1).square().sum(dim=-1) - unit.square().sum(dim=(1, 2))  # [B * W]
    return (cosines / (num_queries * (num_queries - 1))).mean()
