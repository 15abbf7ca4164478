"""The causal Q-Former: N queries summarise each window of synchronised frames (paper, section 3.2).

In each layer, the window's inputs pass through causal self-attention. The queries then pass through
self-attention, cross-attention to these encoded inputs, and a feed-forward network. There are two
layers with post-norm, as in BERT, and the weights are the same for every window.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import AttentionBlock, window_mask
from .registry import find, register


@dataclass
class AttentionMaps:
    """Each layer's attention weights over (query, key), and its causal attention's `encoded`."""

    causal: list[Tensor] = field(default_factory=list)  # [B * W, heads, K * P, K * P]
    self: list[Tensor] = field(default_factory=list)  # [B * W, heads, N, N]
    cross: list[Tensor] = field(default_factory=list)  # [B * W, heads, N, K * P]
    encoded: list[Tensor] = field(default_factory=list)  # [B * W, K * P, D]


class FeedForward(nn.Module):
    """BERT's feed-forward network: linear, GELU, linear, residual connection, LayerNorm."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.intermediate = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.output(F.gelu(self.intermediate(x)))
        return self.norm(x + F.dropout(y, self.dropout, self.training))


class CausalQFormerLayer(nn.Module):
    """One layer. Its causal attention reads the window's inputs, not the previous layer's."""

    def __init__(self, input_width: int, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.causal_attention = AttentionBlock(input_width, heads, dropout=dropout)
        self.self_attention = AttentionBlock(width, heads, dropout=dropout)
        self.cross_attention = AttentionBlock(width, heads, input_width, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def encode(self, inputs: Tensor, mask: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """The encoded inputs (B * W, K * P, D); under a causal mask, frame t depends on 0 to t."""
        return self.causal_attention(inputs, mask=mask, maps=maps)

    def forward(self, queries: Tensor, inputs: Tensor, causal_mask: Tensor, real: Tensor,
                maps: AttentionMaps) -> Tensor:
        encoded = self.encode(inputs, causal_mask, maps.causal)  # [B * W, K * P, D]
        if maps.encoded is not None:
            maps.encoded.append(encoded)
        queries = self.self_attention(queries, maps=maps.self)  # [B * W, N, width]
        queries = self.cross_attention(queries, encoded, mask=real, maps=maps.cross)
        return self.feed_forward(queries)


@register("connector", "causal_qformer", causal=True)
class CausalQFormer(nn.Module):
    """Maps windows (B * W, K * P, D) to output queries (B * W, N, width).

    Args:
        input_width: D = D_v + D_a.
        window_frames, step_tokens: K and P.
        num_queries, width: N and the width of the queries.
        layers, heads, hidden, dropout: `num_hidden_layers`, `num_attention_heads`,
            `intermediate_size` and `hidden_dropout_prob` of a `BertConfig`.
        attention: name of the causal attention's mask.

    Raises:
        ValueError: the mask is not registered, or a width is no multiple of the heads.
    """

    layer_class = CausalQFormerLayer

    def __init__(self, *, input_width: int, window_frames: int, step_tokens: int, num_queries: int,
                 width: int, layers: int = 2, heads: int = 12, hidden: int = 3072,
                 dropout: float = 0.1, attention: str = "block_causal"):
        super().__init__()
        find("attention", attention)  # raises here for an unknown name, not at the first clip
        self.window_frames, self.step_tokens = window_frames, step_tokens
        self.attention, self.dropout = attention, dropout
        self.input_norm = nn.LayerNorm(input_width, eps=1e-12)
        self.positions = nn.Parameter(torch.empty(window_frames * step_tokens, input_width))
        self.queries = nn.Parameter(torch.empty(num_queries, width))
        # The queries are small. Without this LayerNorm, anything that a layer adds to all of them,
        # such as a bias, is larger than their differences, and all queries become nearly equal.
        self.query_norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(self.layer_class(input_width, width, heads, hidden, dropout)
                                    for _ in range(layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise with zero biases and with weights that keep the N queries of a window apart.

        BERT's standard deviation 0.02 is too small for a narrow Q-Former: its outputs hardly depend
        on its inputs. With variance 1 / width, the attention weights are nearly uniform: each
        query gets the mean of the window, and all queries become equal. So the output projections
        start small. The query and key weights of the cross-attention start large, so that each
        query attends to a few tokens, different for each query. A position is the sum of a vector
        for its frame and one for its place within the frame. So attention can select a frame
        already at the first training step.
        """
        sharp = ("cross_attention.query", "cross_attention.key")
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                scale = 0.3 if name.endswith(".output") else 2.0 if name.endswith(sharp) else 1.0
                nn.init.normal_(module.weight, std=scale * module.in_features**-0.5)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        width = self.positions.shape[1]
        frame, place = (torch.randn(n, width) for n in (self.window_frames, self.step_tokens))
        with torch.no_grad():
            self.positions.copy_((frame[:, None] + place).flatten(0, 1))  # [K, P, D] -> [K * P, D]
        nn.init.normal_(self.queries, std=0.02)

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        """LayerNorm, then the learned positions are added: (B * W, L, D) to the same shape.

        start: the position of the first token in its window.
        """
        positions = self.positions[start : start + tokens.shape[1]]
        return F.dropout(self.input_norm(tokens) + positions, self.dropout, self.training)

    def forward(self, windows: Tensor, frame_mask: Tensor, return_maps: bool = False
                ) -> tuple[Tensor, AttentionMaps | None]:
        """Map windows to output queries.

        Args:
            windows: (B * W, K * P, D). frame_mask: (B * W, K) bool, True where a frame is real.
            return_maps: also return the attention maps.

        Returns:
            queries (B * W, N, width), and the maps or None.

        Raises:
            ValueError: the windows are not of this Q-Former's size.
        """
        if (windows.shape[1:] != self.positions.shape
                or frame_mask.shape != (len(windows), self.window_frames)):
            raise ValueError(f"a window is {self.window_frames} frames x {self.step_tokens} tokens "
                             f"= {len(self.positions)} tokens of width {self.positions.shape[1]} "
                             f"with a mask of {self.window_frames}, found "
                             f"{tuple(windows.shape)} and {tuple(frame_mask.shape)}; make windows "
                             "with split_windows()")
        causal_mask = window_mask(self.attention, frame_mask, self.step_tokens)
        # A window without any real frame is dropped later. Its tokens stay unmasked in the
        # cross-attention, because a fully masked row gives NaN.
        real = frame_mask | ~frame_mask.any(dim=1, keepdim=True)  # [B * W, K]
        real = real.repeat_interleave(self.step_tokens, dim=1)[:, None, None]
        inputs = self.embed(windows)
        queries = self.query_norm(self.queries).expand(len(windows), -1, -1)  # [B * W, N, width]
        queries = F.dropout(queries, self.dropout, self.training)
        maps = AttentionMaps() if return_maps else AttentionMaps(None, None, None, None)
        for layer in self.layers:
            queries = layer(queries, inputs, causal_mask, real, maps)
        return queries, maps if return_maps else None
