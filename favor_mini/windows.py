"""Sliding windows: a clip of any length becomes windows of K frames (paper, section 3.2).

The windows of all clips form one batch for the causal Q-Former; there is no loop over windows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import find, register


def num_windows(num_frames: int, window_frames: int, name: str = "sliding") -> int:
    """W, the number of windows of a clip of T frames: ceil(T / K) for the paper's windows."""
    if num_frames == 0:
        return 0
    steps, mask = torch.zeros(1, num_frames, 1, 1), torch.ones(1, num_frames).bool()
    _, real = find("windows", name)(steps, mask, window_frames)
    return int(real.any(dim=1).sum())


@register("windows", "sliding")
def split_windows(steps: Tensor, frame_mask: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """Split every clip into windows of K frames; the last window is padded, its padding masked.

    Args:
        steps: (B, T, P, D) synchronised time steps.
        frame_mask: (B, T) bool, True where a frame is real.
        window_frames: K.

    Returns:
        windows (B * W, K * P, D) and their mask (B * W, K), True where a frame is real.

    Raises:
        ValueError: `steps` has the wrong number of axes or no time step, the mask has another
            shape, or `window_frames` is below 1.
    """
    if (steps.ndim != 4 or steps.shape[1] == 0 or frame_mask.shape != steps.shape[:2]
            or window_frames < 1):
        raise ValueError("split_windows needs steps (B, T, P, D) with T >= 1, a mask (B, T) and "
                         f"window_frames >= 1, found {tuple(steps.shape)}, "
                         f"{tuple(frame_mask.shape)} and {window_frames}")
    padding = -steps.shape[1] % window_frames
    steps = F.pad(steps, (0, 0, 0, 0, 0, padding))
    steps = steps.unflatten(1, (-1, window_frames))  # [B, W, K, P, D]
    mask = F.pad(frame_mask, (0, padding)).unflatten(1, (-1, window_frames))  # [B, W, K]
    return steps.flatten(0, 1).flatten(1, 2), mask.flatten(0, 1)  # [B * W, K * P, D], [B * W, K]


def join_windows(queries: Tensor, batch: int) -> Tensor:
    """Join the windows' queries (B * W, N, D) to one sequence per clip: (B, W * N, D)."""
    return queries.unflatten(0, (batch, -1)).flatten(1, 2)
