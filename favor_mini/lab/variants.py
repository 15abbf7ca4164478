"""Variants to hold against the paper's parts, by slot. Each docstring says what the variant asks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import block_causal, frame_index
from ..qformer import AttentionMaps, CausalQFormer, CausalQFormerLayer
from ..registry import register
from ..sync import pad_steps, split_steps, step_mask
from ..windows import split_windows

# Synchronisation: does it matter that what is seen and heard at the same time stands side by side?


def _halves(visual: Tensor, audio: Tensor, num_frames: int, audio_tokens: int) -> tuple[Tensor, Tensor]:
    """Visual tokens (B, T, V, D_v + D_a) and audio tokens (B, T, A, D_v + D_a): each keeps its own half of the features."""
    steps = split_steps(audio, audio_tokens)  # [B, T_a, A, D_a]
    visual = pad_steps(visual, num_frames, visual.shape[2])  # [B, T, V, D_v]
    steps = pad_steps(steps, num_frames, audio_tokens)  # [B, T, A, D_a]
    return F.pad(visual, (0, steps.shape[-1])), F.pad(steps, (visual.shape[-1], 0))


@register("sync", "interleave", causal=True)
def interleave(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The tokens of each time step one after another, visual before audio: in step, but attention has to join them."""
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)  # [B, T]
    return torch.cat(_halves(visual, audio, real.shape[1], audio_tokens), dim=2), real  # [B, T, V + A, D_v + D_a]


@register("sync", "append", causal=False)
def append(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """No synchronisation: all visual tokens of the clip, then all its audio tokens, cut into as many steps as before."""
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)  # [B, T]
    both = _halves(visual, audio, real.shape[1], audio_tokens)
    # A clip's padding goes behind its last audio token, so that its neighbours in a batch don't change where things stand.
    rank = torch.cat([torch.where(real, i, 2).repeat_interleave(tokens.shape[2], dim=1) for i, tokens in enumerate(both)], 1)
    order = rank.argsort(dim=1, stable=True)  # [B, T * (V + A)]
    tokens = torch.cat([tokens.flatten(1, 2) for tokens in both], dim=1)  # [B, T * (V + A), D_v + D_a]
    tokens = tokens.gather(1, order[..., None].expand_as(tokens))
    return tokens.unflatten(1, (real.shape[1], -1)), real  # [B, T, V + A, D_v + D_a]


@register("sync", "add", causal=True)
def add(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The two streams summed, the narrower one padded: half the width, and the Q-Former must tell them apart."""
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)  # [B, T]
    steps = split_steps(audio, audio_tokens)  # [B, T_a, A, D_a]
    sizes = real.shape[1], max(visual.shape[2], audio_tokens)
    width = max(visual.shape[-1], steps.shape[-1])
    return sum(F.pad(pad_steps(s, *sizes), (0, width - s.shape[-1])) for s in (visual, steps)), real  # [B, T, P, D]


# Windows. A longer or shorter one is `window_frames`; a whole clip is one window of at least its length.


@register("windows", "overlapping")
def overlapping(steps: Tensor, frame_mask: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """A window of K frames begins every K / 2: what one border cuts, another window holds whole.

    Twice the queries, and every moment is told twice, to a language model that was trained on scripts that tell it once.
    """
    num_frames, stride = steps.shape[1], max(1, window_frames // 2)
    padding = (-(-num_frames // stride) - 1) * stride + window_frames - num_frames
    steps = F.pad(steps, (0, 0, 0, 0, 0, padding)).unfold(1, window_frames, stride)  # [B, W, P, D, K]
    mask = F.pad(frame_mask, (0, padding)).unfold(1, window_frames, stride)  # [B, W, K]
    return steps.movedim(-1, 2).flatten(2, 3).flatten(0, 1), mask.flatten(0, 1)  # [B * W, K * P, D], [B * W, K]


@register("windows", "two_resolutions")
def two_resolutions(steps: Tensor, frame_mask: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """All windows of K frames, then all of K / 2, through one Q-Former: after video-SALMONN's multi-resolution Q-Former.

    There, windows of another length also have another number of queries; here N serves both, and in the naming stage half of
    a short window's queries lie behind its end. Every moment is told twice, to a language model that knows it told once.
    """
    found = []
    for length in (window_frames, max(1, window_frames // 2)):
        windows, mask = split_windows(steps, frame_mask, length)  # [B * W', length * P, D], [B * W', length]
        missing = window_frames - length
        windows = F.pad(windows, (0, 0, 0, missing * steps.shape[2]))  # [B * W', K * P, D]
        found.append([t.unflatten(0, (len(steps), -1)) for t in (windows, F.pad(mask, (0, missing)))])  # [B, W', ...]
    windows, mask = (torch.cat(t, dim=1).flatten(0, 1) for t in zip(*found, strict=True))
    return windows, mask  # [B * W, K * P, D], [B * W, K]


# Attention masks.


@register("attention", "token_causal", causal=True)
def token_causal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """A language model's mask: a token sees itself and the tokens before it, so that a frame is never seen whole at once."""
    return torch.ones(num_frames * step_tokens, num_frames * step_tokens, dtype=torch.bool, device=device).tril()


@register("attention", "local_causal", causal=True)
def local_causal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """A band: a token sees its own frame and the one before it."""
    frame = frame_index(num_frames, step_tokens, device)
    return block_causal(num_frames, step_tokens, device) & (frame[:, None] - frame[None, :] <= 1)


@register("attention", "none", causal=True)
def none(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """A token sees itself alone: no attention among the inputs. The block stays, so that sizes are equal, but its query and
    key projections have nothing to choose from and learn nothing."""
    return torch.eye(num_frames * step_tokens, dtype=torch.bool, device=device)


# Connectors: what turns a window into N queries.


class PlainLayer(CausalQFormerLayer):
    """A layer whose queries look at the window's inputs themselves."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        del self.causal_attention

    def encode(self, inputs, mask, maps=None):
        return inputs


@register("connector", "plain_qformer", causal=True)
class PlainQFormer(CausalQFormer):
    """A Q-Former as BLIP-2's: no causal attention among the inputs, and fewer parameters."""

    layer_class = PlainLayer


class WithoutAttention(nn.Module):
    """What connectors without queries share: the Q-Former's LayerNorm and positions, and a place in the window for each output.

    Takes the Q-Former's arguments; layers, heads, attention and dropout are of no use here.
    """

    def __init__(self, *, input_width: int, window_frames: int, step_tokens: int, num_queries: int, width: int,
                 hidden: int = 3072, dropout: float = 0.1, layers: int = 2, heads: int = 12, attention: str = "block_causal"):
        super().__init__()
        self.window_frames, self.step_tokens, self.num_queries = window_frames, step_tokens, num_queries
        self.input_norm = nn.LayerNorm(input_width, eps=1e-12)
        self.positions = nn.Parameter(torch.empty(window_frames * step_tokens, input_width))
        self.map = self.make_map(input_width, hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.positions, std=0.5)

    def places(self, length: int, device) -> Tensor:
        """Which of `length` things each of the N outputs is made of: spread evenly."""
        return torch.arange(self.num_queries, device=device) * length // self.num_queries

    def embed(self, windows: Tensor, frame_mask: Tensor, return_maps: bool) -> tuple[Tensor, AttentionMaps | None]:
        """As in the Q-Former; a padded frame is nothing but its position."""
        real = frame_mask.repeat_interleave(self.step_tokens, dim=1)[..., None]  # [B * W, K * P, 1]
        inputs = self.input_norm(windows.masked_fill(~real, 0.0)) + self.positions
        return inputs, AttentionMaps(encoded=[inputs]) if return_maps else None


@register("connector", "mean_pooling", causal=True)
class MeanPooling(WithoutAttention):
    """The mean of a time step's tokens, then one linear map. With N > K, neighbouring outputs share a step."""

    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Linear(input_width, width)

    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        steps = inputs.unflatten(1, (self.window_frames, -1)).mean(2)  # [B * W, K, D]
        return self.norm(self.map(steps)[:, self.places(self.window_frames, windows.device)]), maps  # [B * W, N, width]


@register("connector", "mlp", causal=True)
class StridedMLP(WithoutAttention):
    """Every so many-th token through two linear maps with GELU between them; the other tokens are never looked at."""

    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Sequential(nn.Linear(input_width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        chosen = inputs[:, self.places(windows.shape[1], windows.device)]  # [B * W, N, D]
        return self.norm(self.map(chosen)), maps  # [B * W, N, width]


# Diversity losses. All are 0 for orthogonal queries of one length.


def _cosines(queries: Tensor, real: Tensor | None) -> Tensor:
    """Cosines of the pairs of different queries, (real windows, N * (N - 1))."""
    unit = F.normalize((queries if real is None else queries[real]).float(), dim=-1)
    pairs = unit @ unit.transpose(1, 2)  # [real windows, N, N]
    apart = ~torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)
    return pairs[:, apart]


def _mean(values: Tensor, queries: Tensor) -> Tensor:
    return values.mean() if values.numel() else queries.sum() * 0.0  # no window, or no pair of queries


@register("diversity", "absolute_cosine")
def absolute_cosine(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean |cosine|: queries that point away from each other cost as much as those that agree."""
    return _mean(_cosines(queries, real).abs(), queries)


@register("diversity", "squared_cosine")
def squared_cosine(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean squared cosine: near-equal queries cost most, near-orthogonal ones next to nothing."""
    return _mean(_cosines(queries, real).square(), queries)


@register("diversity", "gram")
def gram(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """How far the Gram matrix is from the identity, lengths included: mean squared difference, after scaling a window's mean
    squared length to 1."""
    held = (queries if real is None else queries[real]).float()
    held = held / held.square().sum(-1).mean(-1).clamp(min=1e-12).sqrt()[:, None, None]
    identity = torch.eye(held.shape[1], device=held.device)
    return _mean((held @ held.transpose(1, 2) - identity).square(), queries)


@register("diversity", "none", constant=True)
def no_diversity(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """No diversity loss, whatever its weight."""
    return queries.sum() * 0.0
