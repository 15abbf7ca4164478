"""Temporal synchronisation: put what is seen and what is heard at the same time side by side (paper, section 3.1).

No trainable parameter. One *time step* is one video frame (0.5 s at 2 Hz) and the audio tokens heard during it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import find, register


def synchronise(visual: Tensor, audio: Tensor, *, audio_tokens: int) -> Tensor:
    """Join both streams frame by frame along the feature axis.

    Args:
        visual: (B, T_v, V, D_v), V visual tokens for each frame; zeros where there is no picture.
        audio: (B, L, D_a), one audio token every 20 ms; zeros where there is no sound. L need not be a multiple
            of `audio_tokens`: the last step is zero-padded.
        audio_tokens: A, audio tokens per time step (50 Hz x 0.5 s = 25).

    Returns:
        (B, T, P, D_v + D_a) with T = max(T_v, ceil(L / A)) and P = max(V, A). Both the shorter stream and the
        shorter step are padded with zeros at their end.

    Raises:
        ValueError: a stream has the wrong number of axes, or the streams disagree on the batch.
    """
    if visual.ndim != 4 or audio.ndim != 3 or visual.shape[0] != audio.shape[0]:
        raise ValueError("synchronise wants visual (B, T, V, D_v) and audio (B, L, D_a) of one batch size B, found "
                         f"{tuple(visual.shape)} and {tuple(audio.shape)}; a missing stream is passed as zeros")
    steps = split_steps(audio, audio_tokens)  # [B, T_a, A, D_a]
    num_frames = max(visual.shape[1], steps.shape[1])
    step_tokens = max(visual.shape[2], audio_tokens)
    return torch.cat([pad_steps(visual, num_frames, step_tokens),
                      pad_steps(steps, num_frames, step_tokens)], dim=-1)  # [B, T, P, D_v + D_a]


def step_mask(frame_mask: Tensor, audio_mask: Tensor, *, audio_tokens: int) -> Tensor:
    """Which time steps hold a real frame or at least one real audio token: (B, T_v) and (B, L) bool -> (B, T) bool."""
    heard = split_steps(audio_mask[..., None], audio_tokens).any(dim=2)[..., 0]  # [B, T_a]
    num_frames = max(frame_mask.shape[1], heard.shape[1])
    seen, heard = (F.pad(m, (0, num_frames - m.shape[1])) for m in (frame_mask, heard))  # [B, T] each
    return seen | heard


@register("sync", "concat", causal=True)
def concat(visual: Tensor, audio: Tensor, frame_mask: Tensor, audio_mask: Tensor, *, audio_tokens: int
           ) -> tuple[Tensor, Tensor]:
    """FAVOR's: what is seen and heard in one time step side by side, along the feature axis; with the mask of real steps."""
    return (synchronise(visual, audio, audio_tokens=audio_tokens),
            step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens))


def step_shape(name: str, *, visual_tokens: int, visual_width: int, audio_tokens: int, audio_width: int) -> tuple[int, int]:
    """P and D: tokens of a time step and their width, under the synchronisation of this name."""
    with torch.device("cpu"):
        visual, audio = torch.zeros(1, 1, visual_tokens, visual_width), torch.zeros(1, audio_tokens, audio_width)
        real = torch.ones(1, 1, dtype=torch.bool), torch.ones(1, audio_tokens, dtype=torch.bool)
        steps, _ = find("sync", name)(visual, audio, *real, audio_tokens=audio_tokens)
    return steps.shape[2], steps.shape[3]


def trim(stream: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the end of the time axis off a batch (B, L, ...) and its mask (B, L), where no clip has anything real."""
    length = int(mask.any(dim=0).nonzero().max()) + 1 if mask.any() else 0
    return stream[:, :length], mask[:, :length]


def split_steps(audio: Tensor, audio_tokens: int) -> Tensor:
    """Cut (B, L, D_a) into time steps of A tokens: (B, ceil(L / A), A, D_a); the last step is zero-padded."""
    audio = F.pad(audio, (0, 0, 0, -audio.shape[1] % audio_tokens))  # [B, T_a * A, D_a]
    return audio.unflatten(1, (-1, audio_tokens))  # [B, T_a, A, D_a]


def pad_steps(stream: Tensor, num_frames: int, step_tokens: int) -> Tensor:
    """Zero-pad (B, t, p, D) at the end of both its time and its token axis to (B, num_frames, step_tokens, D)."""
    _, t, p, _ = stream.shape
    return F.pad(stream, (0, 0, 0, step_tokens - p, 0, num_frames - t))
