"""Sliding windows: a clip of any length becomes a batch of equally long pieces, side by side (paper, section 3.2).

All windows of all clips go through the causal Q-Former at once, as one batch; no Python loop over windows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import find, register


def num_windows(num_frames: int, window_frames: int, name: str = "sliding") -> int:
    """W: how many windows of K frames a clip of T frames becomes; ceil(T / K) where they slide by K, 0 where there is no frame."""
    if num_frames == 0:
        return 0
    _, real = find("windows", name)(torch.zeros(1, num_frames, 1, 1), torch.ones(1, num_frames).bool(), window_frames)
    return int(real.any(dim=1).sum())


@register("windows", "sliding")
def split_windows(steps: Tensor, frame_mask: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """Cut every clip into windows of K frames; the last one is padded and its padding masked.

    Args:
        steps: (B, T, P, D) synchronised time steps.
        frame_mask: (B, T) bool, True where a frame is real.
        window_frames: K.

    Returns:
        windows (B * W, K * P, D) and their mask (B * W, K), True where a frame is real.

    Raises:
        ValueError: the steps have the wrong number of axes, the mask is of another length, or there is nothing to fold.
    """
    if steps.ndim != 4 or steps.shape[1] == 0 or frame_mask.shape != steps.shape[:2] or window_frames < 1:
        raise ValueError("split_windows wants steps (B, T, P, D) with T >= 1, a mask (B, T) and window_frames >= 1, found "
                         f"{tuple(steps.shape)}, {tuple(frame_mask.shape)} and {window_frames}")
    padding = -steps.shape[1] % window_frames
    steps = F.pad(steps, (0, 0, 0, 0, 0, padding)).unflatten(1, (-1, window_frames))  # [B, W, K, P, D]
    mask = F.pad(frame_mask, (0, padding)).unflatten(1, (-1, window_frames))  # [B, W, K]
    return steps.flatten(0, 1).flatten(1, 2), mask.flatten(0, 1)  # [B * W, K * P, D], [B * W, K]


def join_windows(queries: Tensor, batch: int) -> Tensor:
    """Put the windows' queries (B * W, N, D) back into one sequence a clip, window after window: (B, W * N, D)."""
    return queries.unflatten(0, (batch, -1)).flatten(1, 2)
