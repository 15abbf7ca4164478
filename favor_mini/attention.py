"""Who may look at whom: the block masks over frames, and the one attention block that the Q-Former uses three times.

A mask is a boolean (K * P, K * P) matrix over (looking token, seen token), True where looking is allowed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .registry import find, register


def frame_index(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The frame that each of the K * P tokens belongs to: 0 0 ... 0 1 1 ... 1 2 ..."""
    return torch.arange(num_frames, device=device).repeat_interleave(step_tokens)


@register("attention", "block_causal", causal=True)
def block_causal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The paper's mask: a token sees its own frame whole, and every frame before it."""
    frame = frame_index(num_frames, step_tokens, device)
    return frame[:, None] >= frame[None, :]


@register("attention", "block_anticausal", causal=False)
def block_anticausal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The mask of the authors' released inference code, an *upper* triangle: own frame and every frame after it."""
    return block_causal(num_frames, step_tokens, device).T


@register("attention", "full", causal=False)
def full(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """No restriction: every token sees the whole window."""
    length = num_frames * step_tokens
    return torch.ones(length, length, dtype=torch.bool, device=device)


def window_mask(name: str, frame_mask: Tensor, step_tokens: int) -> Tensor:
    """The mask named `name` for a batch of windows, with padded frames hidden from all others.

    A padded frame still sees itself: a row that sees nothing would make the softmax undefined.

    Args:
        name: of a mask in the registry's slot "attention".
        frame_mask: (B * W, K) bool, True where a frame is real.

    Returns:
        (1, 1, K * P, K * P) where no frame is padded, else (B * W, 1, K * P, K * P).
    """
    num_frames = frame_mask.shape[1]
    allowed = find("attention", name)(num_frames, step_tokens, frame_mask.device)[None, None]  # [1, 1, K * P, K * P]
    if frame_mask.all():
        return allowed
    frame = frame_index(num_frames, step_tokens, frame_mask.device)
    own = frame[:, None] == frame[None, :]  # [K * P, K * P]
    real = frame_mask.repeat_interleave(step_tokens, dim=1)[:, None, None, :]  # [B * W, 1, 1, K * P]
    return allowed & (real | own)


def isolate_turns_mask(turn_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For the language model: each turn of a conversation sees the clip and itself, and no other turn.

    So many questions share one reading of the clip and none leads another astray: what stands beside a word in another
    question looks much like what stands beside it in the clip.

    Args:
        turn_ids: (B, L), 0 up to the end of the clip, then 1 for the first question and answer, 2 for the next ...

    Returns:
        attention mask (B, 1, L, L), True where looking is allowed, and position ids (B, L).
    """
    place = torch.arange(turn_ids.shape[1], device=turn_ids.device).expand_as(turn_ids)
    first = F.pad(turn_ids[:, 1:] != turn_ids[:, :-1], (1, 0))  # the first token of each turn
    start = (place * first).cummax(1).values
    clip = turn_ids == 0  # [B, L]
    seen = clip[:, None] | (turn_ids[:, None] == turn_ids[:, :, None])  # [B, L, L]
    mask = (seen & (place[:, None] <= place[:, :, None]))[:, None]
    return mask, torch.where(clip, place, clip.sum(1, keepdim=True) + place - start)


class AttentionBlock(nn.Module):
    """Multi-head attention with its own projections, residual and LayerNorm after it (BERT's post-norm).

    Args:
        width: of the tokens that look.
        memory_width: of the tokens looked at, where they are others (cross-attention).
    """

    def __init__(self, width: int, heads: int, memory_width: int | None = None, dropout: float = 0.0):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be split into {heads} heads; choose a divisor of the width")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width or width, width)
        self.value = nn.Linear(memory_width or width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None,
                maps: list[Tensor] | None = None) -> Tensor:
        """x (B, L, width) looks at memory (B, M, memory_width), itself by default; mask broadcasts to (B, heads, L, M).

        With a list in `maps`, the attention map (B, heads, L, M) is appended to it: the very weights that the values
        are summed with, mask included (dropout, where there is any, comes after).
        """
        memory = x if memory is None else memory
        q, k, v = (self._split(t) for t in (self.query(x), self.key(memory), self.value(memory)))  # [B, heads, L, d]
        if maps is not None:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            maps.append((scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1))
        dropout = self.dropout if self.training else 0.0
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        heard = self.output(heard.transpose(1, 2).flatten(2))  # [B, L, width]
        return self.norm(x + F.dropout(heard, self.dropout, self.training))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, L, width] -> [B, heads, L, width / heads]
