"""Exercises of notebook 04: attention heads, the attention block, a Q-Former layer, its size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...attention import AttentionBlock, block_causal
from ...qformer import AttentionMaps, CausalQFormer, CausalQFormerLayer
from ..exercise import Trial, exercise
from ..trial import Mistake


def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch's `scaled_dot_product_attention`: softmax(q k^T / sqrt(d)) v."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


@exercise(one_head)
def _(t: Trial):
    length, memory, width, wide = t.shuffled(3, 5, 7, 9)
    q, k, v = 2 * t.randn(length, width), t.randn(memory, width), t.randn(memory, wide)
    scores = q @ k.T / width**0.5
    weights = scores.softmax(-1)
    t.check((q, k, v), {
        "the scores are not divided by the square root of d, the width of a query":
            (q @ k.T).softmax(-1) @ v,
        "the scores are divided by d; divide by its square root": (q @ k.T / width).softmax(-1) @ v,
        "the scores are divided by the square root of e, the width of a value; use d, the width of "
        "a query": (q @ k.T / wide**0.5).softmax(-1) @ v,
        "the scores are divided by the square root of the number of keys; use d, the width of a "
        "query": (q @ k.T / memory**0.5).softmax(-1) @ v,
        "the scores are divided by the square root of the number of queries; use d, their width":
            (q @ k.T / length**0.5).softmax(-1) @ v,
        "the softmax is over the queries; it should be over the keys, the last axis":
            scores.softmax(0) @ v,
        "the scores are used as weights; a softmax makes them positive, with the sum 1": scores @ v,
        "these are the weights; return their weighted mean of the values": weights,
        "all values count equally; the weights have no effect": v.mean(0).expand(length, wide)})
    t.check_views(q, k, v)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """As in `AttentionBlock`: `x.unflatten(-1, (heads, -1)).transpose(1, 2)`."""
    return AttentionBlock(x.shape[-1], heads)._split(x)


@exercise(split_heads)
def _(t: Trial):
    batch, length, heads, each = t.shuffled(2, 3, 4, 5)
    x = t.randn(batch, length, heads * each)
    cut, swapped = x.unflatten(-1, (heads, each)), x.unflatten(-1, (each, heads))
    t.check((x, heads), {
        "the shape is right, the tokens are not: a reshape cuts tokens in pieces and mixes them. "
        "Unflatten first, then transpose": x.reshape(batch, heads, length, each),
        "the heads are still behind the tokens, (B, L, heads, d): swap axes 1 and 2": cut,
        "a head gets every n-th feature; it should get *neighbouring* features: (heads, d), not "
        "(d, heads)": swapped.permute(0, 3, 1, 2),
        "the last two axes are swapped; a head's tokens are (L, d)": cut.permute(0, 2, 3, 1),
        "`heads` is used as the width of a head; it is the number of heads":
            swapped.transpose(1, 2)})
    t.check_views(x, heads)


def layer_norm(x: Tensor, eps: float = 1e-12) -> Tensor:
    """torch's `layer_norm` without a weight and a bias."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)


@exercise(layer_norm)
def _(t: Trial):
    batch, length, width = t.shuffled(4, 5, 6)
    x = 3 * t.randn(batch, length, width) + t.randn(batch, length, 1)
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    over_tokens = x.var(1, keepdim=True, unbiased=False).sqrt()
    t.check((x,), {
        "the variance is divided by width - 1 (the default of `std` and `var`); use the plain mean":
            centred / centred.square().sum(-1, keepdim=True).div(width - 1).sqrt(),
        "you divide by the variance; divide by its root": centred / variance,
        "the mean is not subtracted": x / variance.sqrt(),
        "the mean is subtracted, but the variance is unchanged: divide by its root": centred,
        "one mean and variance for the whole tensor; every token has its own":
            (x - x.mean()) / x.var(unbiased=False).sqrt(),
        "you normalise over the tokens (axis 1); normalise over the features, the last axis":
            (x - x.mean(1, keepdim=True)) / over_tokens})
    small = 1e-3 * t.randn(batch, length, width)
    spread = small.var(-1, keepdim=True, unbiased=False).sqrt()
    outside = (small - small.mean(-1, keepdim=True)) / (spread + 1e-6)
    t.check((small, 1e-6), {
        "`eps` has no effect: add it to the variance, *before* the root": layer_norm(small),
        "`eps` is added to the root; it belongs to the variance, inside the root": outside},
        "of tiny features the result")
    t.check_views(x)


def _loaded(t: Trial, made, own: nn.Module) -> nn.Module:
    """The module of the attempt, with the weights of `own`."""
    t.require(isinstance(made, nn.Module),
              "expected an nn.Module; keep the class's first line and its `super().__init__()`")
    found, wanted = ({name: tuple(p.shape) for name, p in module.named_parameters()}
                     for module in (made, own))
    for name, shape in wanted.items():
        t.require(name in found, f"the part `{name.rsplit('.', 1)[0]}` is missing; do not change "
                                 "`__init__`")
        t.require(found[name] == shape,
                  f"`{name}` should have the shape {shape}, found {found[name]}; do not change "
                  "`__init__`")
    more = set(found) - set(wanted)
    t.require(not more, f"there are parts that the package's does not have: {sorted(more)}")
    made.load_state_dict(own.state_dict())
    return made.eval()


def _randomised(module: nn.Module) -> nn.Module:
    """Random weights and biases, in LayerNorms too, so that none is 0 or 1 by chance."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


@torch.no_grad()
def _block(own: AttentionBlock, x, memory, mask, *, scale=None, join=True, project=True,
           residual=True, norm=True, late=False, swap=False) -> Tensor:
    """An attention block, with one thing wrong."""
    q, k, v = (own._split(part) for part in (own.query(x), own.key(memory), own.value(memory)))
    k, v = (v, k) if swap else (k, v)
    scores = q @ k.transpose(-1, -2) / (scale or q.shape[-1] ** 0.5)
    allowed = scores if late else scores.masked_fill(~mask, -torch.inf)
    attended = (allowed.softmax(-1) * mask) @ v
    attended = attended.transpose(1, 2).flatten(2) if join else attended.reshape(x.shape)
    attended = own.output(attended) if project else attended
    attended = x + attended if residual else attended
    return own.norm(attended) if norm else attended


@exercise(AttentionBlock)
def _(t: Trial):
    heads, each = [(2, 3), (3, 2), (4, 3), (2, 5), (3, 4)][t.integer(0, 4)]
    width, wide, batch = heads * each, heads * each + 1, 2
    length, attended = t.integer(3, 4), t.integer(5, 7)
    own = _randomised(AttentionBlock(width, heads, wide))
    made = _loaded(t, t.run(width, heads, wide), own)
    x, memory = t.randn(batch, length, width), t.randn(batch, attended, wide)
    mask = t.bernoulli(batch, 1, length, attended)
    mask[..., 0], mask[..., 1] = True, False  # no empty row, neither in the mask nor in its inverse

    def wrong(mask=None, **changes):
        mask = torch.ones(length, attended).bool() if mask is None else mask
        return _block(own, x, memory, mask, **changes)

    with torch.no_grad():
        expected, masked = own(x, memory), own(x, memory, mask)
        single = F.scaled_dot_product_attention(own.query(x), own.key(memory), own.value(memory))
        single = own.norm(x + own.output(single))
    t.compare(t.call(made, x, memory), expected, {
        "the residual is missing: add the attended values to `x`, then normalise":
            wrong(residual=False),
        "the LayerNorm at the end is missing": wrong(norm=False),
        "the LayerNorm comes before the residual; here it is last (post-norm): `norm(x + ...)`":
            x + wrong(residual=False),
        "the attended values are not projected: `self.output` is not used": wrong(project=False),
        "the heads are joined by a reshape, which mixes heads and tokens: transpose first, then "
        "flatten": wrong(join=False),
        "scores are divided by the root of the whole width; use the width of *one head*":
            wrong(scale=width**0.5),
        "keys and values are swapped: queries are compared with `self.key(memory)`, and the mean "
        "is of `self.value(memory)`": wrong(swap=True),
        "there is just one head: split queries, keys and values before the scores": single})
    t.compare(t.call(made, x, memory, mask), masked, {
        "the mask has no effect": expected,
        "the mask is inverted: True means that attention is allowed": wrong(~mask),
        "the mask comes after the softmax, so that the weights no longer sum to 1: set forbidden "
        "scores to -inf before it": wrong(mask, late=True)}, "with a mask the result")
    own = _randomised(AttentionBlock(width, heads))
    made = _loaded(t, t.call(t.attempt, width, heads), own)
    with torch.no_grad():
        t.compare(t.call(made, x), own(x), what="without `memory` (self-attention) the result")


@exercise(CausalQFormerLayer)
def _(t: Trial):
    heads = 2
    width, wide, hidden = 2 * t.integer(2, 3), 2 * t.integer(4, 5), t.integer(11, 13)
    windows, count, frames, tokens = 2, t.integer(3, 4), t.integer(3, 4), t.integer(2, 3)
    own = _randomised(CausalQFormerLayer(wide, width, heads, hidden, 0.0))
    made = _loaded(t, t.run(wide, width, heads, hidden, 0.0), own)
    queries = 2 * t.randn(windows, count, width)
    inputs = 2 * t.randn(windows, frames * tokens, wide)
    mask = block_causal(frames, tokens)[None, None]
    lengths = torch.tensor([1, frames - 1])[:, None, None, None] * tokens
    real = torch.arange(frames * tokens)[None, None, None] < lengths
    given = queries, inputs, mask, real, AttentionMaps(None, None, None, None)
    with torch.no_grad():
        expected = own(*given)
        encoded = own.causal_attention(inputs, mask=mask)
        mixed = own.self_attention(queries)

        def rest(queries, encoded, real=real):
            return own.feed_forward(own.cross_attention(queries, encoded, mask=real))

        crossed = own.cross_attention(queries, encoded, mask=real)
        wrong = {
            "the queries attend to the raw inputs; they should attend to the output of "
            "`causal_attention`": rest(mixed, inputs),
            "`causal_mask` is not used: every frame attends to later frames":
                rest(mixed, own.causal_attention(inputs)),
            "`real` is not used: the queries attend to padded frames, too":
                rest(mixed, encoded, None),
            "`real` is inverted: True already means that attention is allowed":
                rest(mixed, encoded, ~real),
            "`causal_mask` is inverted: True already means that attention is allowed":
                rest(mixed, own.causal_attention(inputs, mask=~mask)),
            "the queries do not attend to one another: `self_attention` is not used":
                rest(queries, encoded),
            "the feed-forward is missing, or its result is not returned":
                own.cross_attention(mixed, encoded, mask=real),
            "the order is wrong: first the queries' self-attention, then the cross-attention":
                own.feed_forward(own.self_attention(crossed)),
            "the queries never attend to the inputs: `cross_attention` is not used":
                own.feed_forward(mixed),
            "one residual too many: every part adds its own": queries + expected}
    t.compare(t.call(made, *given), expected, wrong, "the result (queries)")
    for _ in range(2):
        given = 2 * t.randn(windows, count, width), 2 * t.randn(*inputs.shape), *given[2:]
        t.compare(t.call(made, *given), own(*given), what="the result (queries)")


def qformer_parameters(*, input_width: int, window_frames: int, step_tokens: int, num_queries: int,
                       width: int, layers: int, hidden: int) -> int:
    """Build the package's Q-Former on `meta` and count; the number of heads does not matter."""
    with torch.device("meta"):
        made = CausalQFormer(
            input_width=input_width, window_frames=window_frames, step_tokens=step_tokens,
            num_queries=num_queries, width=width, layers=layers, heads=1, hidden=hidden)
    return sum(parameter.numel() for parameter in made.parameters())


def _size(*, input_width, window_frames, step_tokens, num_queries, width, layers, hidden,
          bias=1, norm=2, cross=None, causal=None) -> int:
    def attention(own, memory):
        return 2 * own * (own + bias) + 2 * own * (memory + bias) + norm * own

    layer = (attention(causal or input_width, causal or input_width) + attention(width, width)
             + attention(width, cross or input_width)
             + hidden * (width + bias) + width * (hidden + bias) + norm * width)
    return (norm * input_width + window_frames * step_tokens * input_width + num_queries * width
            + norm * width + layers * layer)


@exercise(qformer_parameters)
def _(t: Trial):
    sizes = {"input_width": 10 + t.integer(0, 3), "window_frames": t.integer(2, 3),
             "step_tokens": t.integer(4, 5), "num_queries": t.integer(6, 7),
             "width":
                 15 + t.integer(0, 3), "layers": t.integer(2, 4), "hidden": 20 + t.integer(0, 3)}
    wide, frames, tokens, count, width, layers, hidden = sizes.values()
    expected = qformer_parameters(**sizes)
    try:
        found = t.run(**sizes)
    except Mistake as mistake:
        t.require("unexpected keyword" not in str(mistake),
                  "name the seven arguments as on the card: they are passed as keywords")
        raise
    outside = 2 * wide + frames * tokens * wide + count * width + 2 * width
    t.compare(found, expected, {
        "biases are missing: every linear map has one for each output": _size(**sizes, bias=0),
        "LayerNorms are missing: each has a weight and a bias for every feature":
            _size(**sizes, norm=0),
        "a LayerNorm has *two* parameters for each feature": _size(**sizes, norm=1),
        "keys and values of the cross-attention come from tokens of width D, not from queries":
            _size(**sizes, cross=width),
        "the causal attention has the width of the inputs, D": _size(**sizes, causal=width),
        "the positions are missing: one vector of width D for each of the K * P places":
            expected - frames * tokens * wide,
        "a position belongs to each of the K * P places, not to each of the K frames":
            expected - frames * (tokens - 1) * wide,
        "a position belongs to each of the K * P places, not to each of the P tokens of a frame":
            expected - (frames - 1) * tokens * wide,
        "the N queries are parameters, too": expected - count * width,
        "a query has `width` features, not D": expected + count * (wide - width),
        "the LayerNorm on the queries is missing": expected - 2 * width,
        "the LayerNorm on the inputs is missing": expected - 2 * wide,
        "positions, queries and their LayerNorms are there once, not once a layer":
            expected + (layers - 1) * outside,
        "only one layer is counted": outside + (expected - outside) // layers,
        "the causal attention is missing; every layer has its own":
            expected - layers * (4 * wide * (wide + 1) + 2 * wide),
        "the queries' self-attention is missing; every layer has one":
            expected - layers * (4 * width * (width + 1) + 2 * width),
        "the cross-attention is missing; every layer has one":
            expected - layers * 2 * width * (width + wide + 3),
        "the output maps are missing: an attention has four linear maps, not three":
            expected - layers * (wide * (wide + 1) + 2 * width * (width + 1)),
        "the LayerNorm of the feed-forward is missing": expected - layers * 2 * width,
        "the feed-forward is missing":
            expected - layers * (hidden * (width + 1) + width * (hidden + 1) + 2 * width)},
        "the number of parameters", tolerance=1e-9)
    t.require_integer(found, f"the number is right, but of type {type(found).__name__}; a number "
                             "of parameters is an integer")
    for _ in range(4):  # few, as an answer may build the module
        sizes = {name: t.integer(2, 40) for name in sizes} | {"layers": t.integer(1, 3)}
        t.compare(t.run(**sizes), _size(**sizes), what="the number of parameters", tolerance=1e-9)
