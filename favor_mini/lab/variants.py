"""Variants of the paper's parts, by slot, for comparisons. Each docstring says what changes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import block_causal, frame_index
from ..qformer import AttentionMaps, CausalQFormer, CausalQFormerLayer
from ..registry import register
from ..sync import pad_steps, split_steps, step_mask
from ..windows import split_windows

# Synchronisation: does it matter that sound and picture of a time step are concatenated?


def _streams(visual, audio, frame_mask, audio_mask, audio_tokens) -> tuple[Tensor, Tensor, Tensor]:
    """Visual tokens (B, T, V, D_v) and audio tokens (B, T, A, D_a), padded to the same T time
    steps, and the mask of real steps (B, T)."""
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)
    visual = pad_steps(visual, real.shape[1], visual.shape[2])
    return visual, pad_steps(split_steps(audio, audio_tokens), real.shape[1], audio_tokens), real


def _halves(visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Each modality padded to the width D_v + D_a, so that it has its own part of the features."""
    return F.pad(visual, (0, audio.shape[-1])), F.pad(audio, (visual.shape[-1], 0))


@register("sync", "interleave", causal=True)
def interleave(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """In each time step, visual tokens, then audio tokens; attention has to combine them."""
    *both, real = _streams(visual, audio, frame_mask, audio_mask, audio_tokens)
    return torch.cat(_halves(*both), dim=2), real  # [B, T, V + A, D_v + D_a]


@register("sync", "append", causal=False)
def append(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """No synchronisation: all visual tokens, then all audio tokens, cut into T steps."""
    *both, real = _streams(visual, audio, frame_mask, audio_mask, audio_tokens)
    # A clip's padding goes after its last audio token: a longer clip in the batch changes nothing.
    rank = torch.cat([torch.where(real, i, 2).repeat_interleave(tokens.shape[2], dim=1)
                      for i, tokens in enumerate(both)], 1)
    order = rank.argsort(dim=1, stable=True)  # [B, T * (V + A)]
    tokens = torch.cat([half.flatten(1, 2) for half in _halves(*both)], dim=1)
    tokens = tokens.gather(1, order[..., None].expand_as(tokens))  # [B, T * (V + A), D_v + D_a]
    return tokens.unflatten(1, (real.shape[1], -1)), real  # [B, T, V + A, D_v + D_a]


@register("sync", "add", causal=True)
def add(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The sum of the two streams, the narrower one padded: half the width, shared by both."""
    *both, real = _streams(visual, audio, frame_mask, audio_mask, audio_tokens)
    tokens, width = (max(x.shape[axis] for x in both) for axis in (2, 3))
    padded = [F.pad(x, (0, width - x.shape[3], 0, tokens - x.shape[2])) for x in both]
    return sum(padded), real  # [B, T, P, D]


@register("sync", "concat_rotated", causal=True)
def concat_rotated(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """As the paper's, but in step t the audio tokens begin with number t: which audio token meets
    which visual token changes from step to step."""
    visual, audio, real = _streams(visual, audio, frame_mask, audio_mask, audio_tokens)
    first = torch.arange(real.shape[1], device=audio.device)[:, None]  # [T, 1]
    order = (first + torch.arange(audio_tokens, device=audio.device)) % audio_tokens  # [T, A]
    audio = audio.gather(2, order[None, :, :, None].expand_as(audio))  # [B, T, A, D_a]
    tokens = max(visual.shape[2], audio_tokens)
    both = (pad_steps(x, real.shape[1], tokens) for x in (visual, audio))
    return torch.cat([*both], dim=-1), real  # [B, T, P, D_v + D_a]


@register("sync", "concat_pairs", causal=True)
def concat_pairs(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """Each visual token of a step with each of its audio tokens: no pair is chosen, at V times A
    tokens a step."""
    visual, audio, real = _streams(visual, audio, frame_mask, audio_mask, audio_tokens)
    seen = visual.repeat_interleave(audio_tokens, dim=2)  # [B, T, V * A, D_v]
    heard = audio.repeat(1, 1, visual.shape[2], 1)  # [B, T, V * A, D_a]
    return torch.cat([seen, heard], dim=-1), real  # [B, T, V * A, D_v + D_a]


# Windows. `window_frames` sets their length; with at least the length of a clip there is only one.


@register("windows", "overlapping")
def overlapping(steps: Tensor, frame_mask: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """A window of K frames starts every K / 2: each border lies inside another window.

    Twice the queries: they represent every moment twice, but the language model was trained on
    scripts that name it once.
    """
    num_frames, stride = steps.shape[1], max(1, window_frames // 2)
    padding = (-(-num_frames // stride) - 1) * stride + window_frames - num_frames
    steps = F.pad(steps, (0, 0, 0, 0, 0, padding)).unfold(1, window_frames, stride)
    mask = F.pad(frame_mask, (0, padding)).unfold(1, window_frames, stride)  # [B, W, K]
    steps = steps.movedim(-1, 2).flatten(2, 3)  # [B, W, P, D, K] -> [B, W, K * P, D]
    return steps.flatten(0, 1), mask.flatten(0, 1)


@register("windows", "two_resolutions")
def two_resolutions(steps: Tensor, frame_mask: Tensor, window_frames: int) -> tuple[Tensor, Tensor]:
    """All windows of K frames, then all of K / 2, through one Q-Former: a simple form of the
    multi-resolution causal Q-Former (video-SALMONN, arXiv 2406.15704).

    There, short windows have fewer queries. Here all have N, and in the naming stage half of a
    short window's queries lie after its end. As in `overlapping`, moments are represented twice.
    """
    found = []
    for length in (window_frames, max(1, window_frames // 2)):
        windows, mask = split_windows(steps, frame_mask, length)  # [B * W', length * P, D], ...
        missing = window_frames - length
        padded = F.pad(windows, (0, 0, 0, missing * steps.shape[2])), F.pad(mask, (0, missing))
        found.append([t.unflatten(0, (len(steps), -1)) for t in padded])  # [B, W', ...]
    windows, mask = (torch.cat(t, dim=1).flatten(0, 1) for t in zip(*found, strict=True))
    return windows, mask  # [B * W, K * P, D], [B * W, K]


# Attention masks.


@register("attention", "token_causal", causal=True)
def token_causal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """The mask of a language model: a token attends to itself and to earlier tokens, and not to the
    rest of its own frame."""
    size = num_frames * step_tokens
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


@register("attention", "local_causal", causal=True)
def local_causal(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """A band: a token attends to its own frame and to the previous one."""
    frame = frame_index(num_frames, step_tokens, device)
    return block_causal(num_frames, step_tokens, device) & (frame[:, None] - frame[None, :] <= 1)


@register("attention", "none", causal=True)
def none(num_frames: int, step_tokens: int, device=None) -> Tensor:
    """A token attends to itself only: no attention among the inputs. The number of parameters stays
    the same, but the query and key projections learn nothing."""
    return torch.eye(num_frames * step_tokens, dtype=torch.bool, device=device)


# Connectors: what turns a window into N queries.


class PlainLayer(CausalQFormerLayer):
    """A layer whose queries attend to the window's inputs themselves."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        del self.causal_attention

    def encode(self, inputs, mask, maps=None):
        return inputs


@register("connector", "plain_qformer", causal=True)
class PlainQFormer(CausalQFormer):
    """A Q-Former as in BLIP-2: no causal attention among the inputs, and fewer parameters."""

    layer_class = PlainLayer


@register("connector", "bert_init", causal=True)
class BertInitialised(CausalQFormer):
    """The causal Q-Former with BERT's initialisation, all weights with a standard deviation of
    0.02, as in the authors' released configuration."""

    def reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if "norm" in name:
                nn.init.constant_(parameter, float(name.endswith("weight")))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)


@register("connector", "bert_init_bare_queries", causal=True)
class BareQueries(BertInitialised):
    """`bert_init` without the LayerNorm of the queries: small queries enter a post-norm network,
    where what a layer adds to all of them exceeds their differences."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.query_norm = nn.Identity()


class WithoutAttention(nn.Module):
    """Base class of connectors without queries: LayerNorm and positions as in the Q-Former, and a
    position in the window for each output.

    It takes the arguments of the Q-Former, and ignores layers, heads, attention and dropout.
    """

    def __init__(self, *, input_width: int, window_frames: int, step_tokens: int, num_queries: int,
                 width: int, hidden: int = 3072, **ignored):
        super().__init__()
        self.window_frames, self.step_tokens = window_frames, step_tokens
        self.num_queries = num_queries
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
                module.reset_parameters()  # ones and zeros
        nn.init.normal_(self.positions, std=0.5)

    def places(self, length: int, device) -> Tensor:
        """[N]: for each output, an index from 0 to `length` - 1; evenly spaced."""
        return torch.arange(self.num_queries, device=device) * length // self.num_queries

    def embed(self, windows: Tensor, frame_mask: Tensor, return_maps: bool
              ) -> tuple[Tensor, AttentionMaps | None]:
        """Inputs with positions, as in the Q-Former; a padded frame has only its position."""
        real = frame_mask.repeat_interleave(self.step_tokens, dim=1)[..., None]  # [B * W, K * P, 1]
        inputs = self.input_norm(windows.masked_fill(~real, 0.0)) + self.positions
        return inputs, AttentionMaps(encoded=[inputs]) if return_maps else None


@register("connector", "mean_pooling", causal=True)
class MeanPooling(WithoutAttention):
    """The mean over the tokens of a time step, then one linear map. With N > K, adjacent outputs
    share a step."""

    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Linear(input_width, width)

    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        steps = inputs.unflatten(1, (self.window_frames, -1)).mean(2)  # [B * W, K, D]
        places = self.places(self.window_frames, windows.device)
        return self.norm(self.map(steps)[:, places]), maps  # [B * W, N, width]


@register("connector", "mlp", causal=True)
class StridedMLP(WithoutAttention):
    """N evenly spaced tokens through two linear maps with GELU; the other tokens are not used."""

    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Sequential(nn.Linear(input_width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        chosen = inputs[:, self.places(windows.shape[1], windows.device)]  # [B * W, N, D]
        return self.norm(self.map(chosen)), maps  # [B * W, N, width]


@register("connector", "convolution", causal=True)
class CausalConvolution(WithoutAttention):
    """The mean over the tokens of a time step, a causal convolution over three steps, GELU, and a
    linear map. With N > K, adjacent outputs share a step."""

    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Sequential(nn.Linear(3 * input_width, hidden), nn.GELU(),
                             nn.Linear(hidden, width))

    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        steps = inputs.unflatten(1, (self.window_frames, -1)).mean(2)  # [B * W, K, D]
        # Steps t - 2, t - 1 and t, zeros before the window.
        three = F.pad(steps, (0, 0, 2, 0)).unfold(1, 3, 1).flatten(2)  # [B * W, K, 3 * D]
        places = self.places(self.window_frames, windows.device)
        return self.norm(self.map(three)[:, places]), maps  # [B * W, N, width]


# Diversity losses. All are 0 for orthogonal queries of equal length.


def _of_real(queries: Tensor, real: Tensor | None) -> Tensor:
    return (queries if real is None else queries[real]).float()  # [real windows, N, D]


def _cosines(queries: Tensor, real: Tensor | None) -> Tensor:
    """Cosines of the pairs of different queries: (real windows, N * (N - 1))."""
    unit = F.normalize(_of_real(queries, real), dim=-1)
    pairs = unit @ unit.transpose(1, 2)  # [real windows, N, N]
    return pairs[:, ~torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)]


def _mean(values: Tensor, queries: Tensor) -> Tensor:
    # Without a real window, or a pair of queries, there is no value.
    return values.mean() if values.numel() else queries.sum() * 0.0


@register("diversity", "absolute_cosine")
def absolute_cosine(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean |cosine|: opposite queries cost as much as equal ones."""
    return _mean(_cosines(queries, real).abs(), queries)


@register("diversity", "squared_cosine")
def squared_cosine(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean squared cosine: similar queries cost most, nearly orthogonal ones almost nothing."""
    return _mean(_cosines(queries, real).square(), queries)


@register("diversity", "gram")
def gram(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean squared difference of the Gram matrix from the identity, so that lengths count, too. A
    window's mean squared length is first scaled to 1."""
    found = _of_real(queries, real)
    found = found / found.square().sum(-1).mean(-1).clamp(min=1e-12).sqrt()[:, None, None]
    identity = torch.eye(found.shape[1], device=found.device)
    return _mean((found @ found.transpose(1, 2) - identity).square(), queries)


@register("diversity", "none", constant=True)
def no_diversity(queries: Tensor, real: Tensor | None = None) -> Tensor:
    """No diversity loss, whatever its weight."""
    return queries.sum() * 0.0
