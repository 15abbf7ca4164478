"""Block masks over frames, and the attention block of the Q-Former (paper, section 3.2).

A mask is a boolean matrix (K * P, K * P) over (query, key), True where attention is allowed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .registry import find, register


def frame_index(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The frame of each of the K * P tokens: 0 0 ... 0 1 1 ... 1 2 ..."""
    return torch.arange(num_frames, device=device).repeat_interleave(step_tokens)


@register("attention", "block_causal", causal=True)
def block_causal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The paper's mask: a token attends to all tokens of its own frame and of earlier frames."""
    frame = frame_index(num_frames, step_tokens, device)
    return frame[:, None] >= frame[None, :]


@register("attention", "block_anticausal", causal=False)
def block_anticausal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The mask of the authors' released code, an *upper* triangle: own frame and later frames."""
    return block_causal(num_frames, step_tokens, device).T


@register("attention", "full", causal=False)
def full(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """No restriction: a token attends to the whole window."""
    length = num_frames * step_tokens
    return torch.ones(length, length, dtype=torch.bool, device=device)


def window_mask(name: str, frame_mask: Tensor, step_tokens: int) -> Tensor:
    """A mask of the registry for a batch of windows, without attention to padded frames.

    A padded frame still attends to itself: the softmax of a row without any key is undefined.

    Args:
        name: of the mask, in the registry's slot "attention".
        frame_mask: (B * W, K) bool, True where a frame is real.

    Returns:
        (1, 1, K * P, K * P) if no frame is padded, else (B * W, 1, K * P, K * P).
    """
    num_frames = frame_mask.shape[1]
    allowed = find("attention", name)(num_frames, step_tokens, frame_mask.device)
    allowed = allowed[None, None]  # [1, 1, K * P, K * P]
    if frame_mask.all():
        return allowed
    frame = frame_index(num_frames, step_tokens, frame_mask.device)
    own = frame[:, None] == frame[None, :]  # [K * P, K * P]
    real = frame_mask.repeat_interleave(step_tokens, dim=1)[:, None, None]  # [B * W, 1, 1, K * P]
    return allowed & (real | own)


class AttentionBlock(nn.Module):
    """Multi-head attention, then the residual connection and LayerNorm (BERT's post-norm).

    Args:
        width: of the queries' tokens.
        memory_width: of the keys' and values' tokens, if it differs (cross-attention).

    Raises:
        ValueError: the width is no multiple of the number of heads.
    """

    def __init__(self, width: int, heads: int, memory_width: int | None = None,
                 dropout: float = 0.0):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be split into {heads} heads; choose a divisor "
                             "of the width")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width or width, width)
        self.value = nn.Linear(memory_width or width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None,
                maps: list[Tensor] | None = None) -> Tensor:
        """Attend from x to memory.

        Args:
            x: (B, L, width).
            memory: (B, M, memory_width); x itself by default.
            mask: bool, broadcasts to (B, heads, L, M).
            maps: if a list, the attention weights (B, heads, L, M) are appended, before dropout.

        Returns:
            (B, L, width).
        """
        q = self._split(self.query(x))  # [B, heads, L, width / heads]
        k, v = self.keys_values(x if memory is None else memory)
        return self._attend(x, q, k, v, mask, maps)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of memory (B, M, memory_width), each (B, heads, M, width / heads)."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def attend(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from x to keys and values that were kept; the rest as in `forward`."""
        return self._attend(x, self._split(self.query(x)), k, v, mask)

    def _attend(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None,
                maps: list[Tensor] | None = None) -> Tensor:
        if maps is not None:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
            maps.append(scores.softmax(-1))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        attended = self.output(attended.transpose(1, 2).flatten(2))  # [B, L, width]
        return self.norm(x + F.dropout(attended, self.dropout, self.training))

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, width) to (B, heads, L, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
