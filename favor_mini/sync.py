"""Temporal synchronisation: join the visual and audio tokens of a time step (paper, section 3.1).

It has no trainable parameter. One *time step* is one video frame (0.5 s at 2 Hz) and the audio
tokens of the same 0.5 s.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import find, register


def synchronise(visual: Tensor, audio: Tensor, *, audio_tokens: int) -> Tensor:
    """Concatenate both streams along the feature axis, time step by time step.

    Args:
        visual: (B, T_v, V, D_v), V visual tokens per frame; zeros where there is no picture.
        audio: (B, L, D_a), one audio token every 20 ms; zeros where there is no sound. L need not
            be a multiple of `audio_tokens`: the last step is zero-padded.
        audio_tokens: A, audio tokens per time step (50 Hz x 0.5 s = 25).

    Returns:
        (B, T, P, D_v + D_a) with T = max(T_v, ceil(L / A)) and P = max(V, A). The shorter stream
        is zero-padded at its end, and so are the shorter steps.

    Raises:
        ValueError: a stream has the wrong number of axes, or the batch sizes differ.
    """
    if visual.ndim != 4 or audio.ndim != 3 or visual.shape[0] != audio.shape[0]:
        raise ValueError("synchronise needs visual (B, T_v, V, D_v) and audio (B, L, D_a) with the "
                         f"same B, found {tuple(visual.shape)} and {tuple(audio.shape)}; pass "
                         "zeros for a missing stream")
    steps = split_steps(audio, audio_tokens)  # [B, T_a, A, D_a]
    num_frames = max(visual.shape[1], steps.shape[1])
    step_tokens = max(visual.shape[2], audio_tokens)
    return torch.cat([pad_steps(visual, num_frames, step_tokens),
                      pad_steps(steps, num_frames, step_tokens)], dim=-1)  # [B, T, P, D_v + D_a]


def step_mask(frame_mask: Tensor, audio_mask: Tensor, *, audio_tokens: int) -> Tensor:
    """True for time steps with a real frame or a real audio token.

    Args:
        frame_mask: (B, T_v) bool. audio_mask: (B, L) bool.

    Returns:
        (B, T) bool.
    """
    audio = split_steps(audio_mask[..., None], audio_tokens).any(dim=2)[..., 0]  # [B, T_a]
    num_frames = max(frame_mask.shape[1], audio.shape[1])
    visual, audio = (F.pad(m, (0, num_frames - m.shape[1])) for m in (frame_mask, audio))  # [B, T]
    return visual | audio


@register("sync", "concat", causal=True)
def concat(visual: Tensor, audio: Tensor, frame_mask: Tensor, audio_mask: Tensor, *,
           audio_tokens: int) -> tuple[Tensor, Tensor]:
    """The paper's: both streams of a time step are concatenated along the feature axis.

    Returns the time steps (B, T, P, D_v + D_a) of `synchronise` and their mask (B, T).
    """
    return (synchronise(visual, audio, audio_tokens=audio_tokens),
            step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens))


def step_shape(name: str, *, visual_tokens: int, visual_width: int, audio_tokens: int,
               audio_width: int) -> tuple[int, int]:
    """P and D, tokens per time step and their width, of the synchronisation with this name."""
    with torch.device("cpu"):
        visual = torch.zeros(1, 1, visual_tokens, visual_width)
        audio = torch.zeros(1, audio_tokens, audio_width)
        real = torch.ones(1, 1).bool(), torch.ones(1, audio_tokens).bool()
        steps, _ = find("sync", name)(visual, audio, *real, audio_tokens=audio_tokens)
    return steps.shape[2], steps.shape[3]


def trim(stream: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the padding that all clips share off the end of (B, L, ...) and its mask (B, L)."""
    length = int(mask.any(dim=0).nonzero().max()) + 1 if mask.any() else 0
    return stream[:, :length], mask[:, :length]


def split_steps(audio: Tensor, audio_tokens: int) -> Tensor:
    """Audio tokens (B, L, D_a) to time steps (B, T_a, A, D_a); the last step is zero-padded."""
    audio = F.pad(audio, (0, 0, 0, -audio.shape[1] % audio_tokens))  # [B, T_a * A, D_a]
    return audio.unflatten(1, (-1, audio_tokens))  # [B, T_a, A, D_a]


def pad_steps(stream: Tensor, num_frames: int, step_tokens: int) -> Tensor:
    """Zero-pad (B, t, p, D) at the end of both axes t and p: (B, num_frames, step_tokens, D)."""
    _, t, p, _ = stream.shape
    return F.pad(stream, (0, 0, 0, step_tokens - p, 0, num_frames - t))
