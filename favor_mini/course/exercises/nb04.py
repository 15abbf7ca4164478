"""Exercises of notebook 04: one attention head, heads, the block around them, a Q-Former layer, and what it weighs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...attention import AttentionBlock, block_causal
from ...qformer import AttentionMaps, CausalQFormer, CausalQFormerLayer
from ..exercise import Mistake, Trial, exercise

NOTEBOOK = "04"


def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch's `scaled_dot_product_attention` in place of softmax(q k^T / sqrt(d)) v."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


@exercise("one_head", notebook=NOTEBOOK, answer=one_head, difficulty=1, minutes=8,
          goal="One head of attention: hold each query against all keys, turn the scores into weights that add up to 1, and give back the "
               "weighted mean of the values.",
          shapes="`q` (L, d), `k` (M, d), `v` (M, e) -> (L, e)",
          hints=("Three lines, one for each step of the equation: scores, weights, mean.",
                 "`scores = q @ k.T / q.shape[-1] ** 0.5`, a softmax over the last axis (the keys), then `@ v`."))
def _(t: Trial):
    looking, seen, width, told = (int(n) for n in t.rng.permutation([3, 5, 7, 9]))
    q, k, v = 2 * t.randn(looking, width), t.randn(seen, width), t.randn(seen, told)
    scores = q @ k.T / width**0.5
    weights = scores.softmax(-1)
    t.same(t.run(q, k, v), weights @ v, {
        "the scores are not divided by the square root of d, the width of a query": (q @ k.T).softmax(-1) @ v,
        "the scores are divided by d itself; its square root is meant": (q @ k.T / width).softmax(-1) @ v,
        "the softmax runs over the queries; each *query* divides its attention over the keys, the last axis": scores.softmax(0) @ v,
        "the scores are used as weights as they are; a softmax makes them positive and lets them add up to 1": scores @ v,
        "these are the weights; the head tells their mean of the values": weights,
        "all values count alike; the weights have no effect": v.mean(0).expand(looking, told)})


def split_heads(x: Tensor, heads: int) -> Tensor:
    """As `AttentionBlock` does it: `x.unflatten(-1, (heads, -1)).transpose(1, 2)`."""
    return AttentionBlock(x.shape[-1], heads)._split(x)


@exercise("split_heads", notebook=NOTEBOOK, answer=split_heads, difficulty=2, minutes=8,
          goal="Share out the features among the heads: the first width / heads features of each token go to the first head, the next "
               "ones to the second ... and each head becomes a batch of its own.",
          shapes="`x` (B, L, width), `heads` -> (B, heads, L, width / heads)",
          hints=("Cut the last axis in two, *then* move the axis of the heads to where it is wanted. A reshape alone cannot move an axis.",
                 "`x.unflatten(-1, (heads, -1))` is (B, L, heads, d); which two axes have to change places?"))
def _(t: Trial):
    batch, length, heads, each = (int(n) for n in t.rng.permutation([2, 3, 4, 5]))
    x = t.randn(batch, length, heads * each)
    t.same(t.run(x, heads), split_heads(x, heads), {
        "the shape is right, the tokens are not: a reshape cuts tokens in pieces and mixes them. Unflatten first, then transpose":
            x.reshape(batch, heads, length, each),
        "heads still stand behind tokens, (B, L, heads, d): swap axes 1 and 2": x.unflatten(-1, (heads, each)),
        "features are dealt out in turn, one to each head; a head gets *neighbouring* features: (heads, d), not (d, heads)":
            x.unflatten(-1, (each, heads)).permute(0, 3, 1, 2),
        "the last two axes are swapped; a head's tokens are (L, d)": x.unflatten(-1, (heads, each)).permute(0, 2, 3, 1),
        "`heads` is taken for the width of a head; there are `heads` heads": x.unflatten(-1, (each, heads)).transpose(1, 2)})


def layer_norm(x: Tensor, eps: float = 1e-12) -> Tensor:
    """torch's `layer_norm` without a weight and a bias."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)


@exercise("layer_norm", notebook=NOTEBOOK, answer=layer_norm, difficulty=1, minutes=6,
          goal="Bring every token to mean 0 and variance 1 *over its own features*: subtract its mean, divide by the root of "
               "variance + `eps`. The variance is the mean of the squared deviations.",
          shapes="`x` (..., width), `eps` -> the same shape",
          hints=("Means over the last axis alone, which has to stay as an axis of length 1: `keepdim=True`.",
                 "`centred = x - x.mean(-1, keepdim=True)`, then divide by `(centred.square().mean(-1, keepdim=True) + eps).sqrt()`."))
def _(t: Trial):
    batch, length, width = (int(n) for n in t.rng.permutation([4, 5, 6]))
    x = 3 * t.randn(batch, length, width) + t.randn(batch, length, 1)
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    t.same(t.run(x), layer_norm(x), {
        "the variance is divided by width - 1 (`std` and `var` do that by default); take the plain mean of the squares":
            centred / centred.square().sum(-1, keepdim=True).div(width - 1).sqrt(),
        "divided by the variance; its root is meant": centred / variance,
        "the mean is not subtracted": x / variance.sqrt(),
        "the mean is gone, but the spread stays as it was: divide by the root of the variance": centred,
        "one mean and variance for the whole tensor; every token has its own": (x - x.mean()) / x.var(unbiased=False).sqrt(),
        "you normalise over the tokens (axis 1); it is over the features, the last axis":
            (x - x.mean(1, keepdim=True)) / x.var(1, keepdim=True, unbiased=False).sqrt()})
    small = 1e-3 * t.randn(batch, length, width)
    t.same(t.run(small, 1e-6), layer_norm(small, 1e-6), {
        "with tiny features `eps` counts: it is added to the variance, *before* the root": layer_norm(small)})


def _ready(t: Trial, made, own: nn.Module) -> nn.Module:
    """What the attempt built, with the weights of `own`; a Mistake where it has other parts."""
    t.that(isinstance(made, nn.Module), "expected an nn.Module; keep the class's first line and its `super().__init__()`")
    found, wanted = ({name: tuple(p.shape) for name, p in m.named_parameters()} for m in (made, own))
    for name, shape in wanted.items():
        t.that(name in found, f"the part `{name.rsplit('.', 1)[0]}` is missing; `__init__` was given, leave it as it is")
        t.that(found[name] == shape, f"`{name}` should have the shape {shape}, found {found[name]}; leave `__init__` as it is")
    t.that(set(found) == set(wanted), f"there are parts that the package's does not have: {', '.join(sorted(set(found) - set(wanted)))}")
    made.load_state_dict(own.state_dict())
    return made.eval()


def _scrambled(module: nn.Module) -> nn.Module:
    """With random weights and biases, LayerNorms too, so that nothing is 0 or 1 by chance."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


@torch.no_grad()
def _block(own: AttentionBlock, x, memory, mask, *, scale=None, join=True, project=True, residual=True, norm=True, late=False) -> Tensor:
    """What a block does, and what it would do with one thing wrong."""
    q, k, v = (own._split(part) for part in (own.query(x), own.key(memory), own.value(memory)))
    scores = q @ k.transpose(-1, -2) / (scale or q.shape[-1] ** 0.5)
    weights = scores.softmax(-1) * mask if late else scores.masked_fill(~mask, -torch.inf).softmax(-1)
    heard = weights @ v
    heard = heard.transpose(1, 2).flatten(2) if join else heard.reshape(x.shape)
    heard = own.output(heard) if project else heard
    heard = x + heard if residual else heard
    return own.norm(heard) if norm else heard


@exercise("AttentionBlock", notebook=NOTEBOOK, answer=AttentionBlock, difficulty=4, minutes=18,
          goal="Put it together: the block that the Q-Former uses three times. Project to queries, keys and values, split into heads, attend, join "
               "the heads, project, add to what came in (residual), and a LayerNorm last. `__init__` stands; write `forward`. True in `mask` "
               "means that looking is allowed.",
          shapes="`x` (B, L, width), `memory` (B, M, memory_width) or None (then x itself), `mask` broadcasts to (B, heads, L, M) -> (B, L, width)",
          hints=("Queries come from `x`, keys and values from `memory`. `split_heads` does three times the same; to join the heads is to undo it.",
                 "`heard = scaled_dot_product_attention(q, k, v, attn_mask=mask)`, then `heard.transpose(1, 2).flatten(2)`, `self.output`, and "
                 "`self.norm(x + ...)`."))
def _(t: Trial):
    heads, each = [(2, 3), (3, 2), (4, 3), (2, 5), (3, 4)][t.number(0, 4)]
    width, wide, batch, length, seen = heads * each, heads * each + 1, 2, t.number(3, 4), t.number(5, 7)
    own = _scrambled(AttentionBlock(width, heads, wide))
    made = _ready(t, t.run(width, heads, wide), own)
    x, memory = t.randn(batch, length, width), t.randn(batch, seen, wide)
    mask = t.coins(batch, 1, length, seen)
    mask[..., 0], mask[..., 1] = True, False  # no row empty, neither of this mask nor of its reverse
    free = torch.ones_like(mask)
    with torch.no_grad():
        expected, masked = own(x, memory), own(x, memory, mask)
    t.same(t.call(made, x, memory), expected, {
        "the residual is missing: add what was heard to `x`, then normalise": _block(own, x, memory, free, residual=False),
        "the LayerNorm at the end is missing": _block(own, x, memory, free, norm=False),
        "the LayerNorm comes before the residual; here it is last (post-norm): `self.norm(x + ...)`":
            x + _block(own, x, memory, free, residual=False),
        "what the heads heard is not projected: `self.output` is not used": _block(own, x, memory, free, project=False),
        "the heads are joined by a reshape, which mixes heads and tokens: transpose first, then flatten": _block(own, x, memory, free, join=False),
        "scores are divided by the root of the whole width; it is the width of *one head*": _block(own, x, memory, free, scale=width**0.5),
        "there is just one head: split queries, keys and values before they meet": _one_head_block(own, x, memory)})
    t.same(t.call(made, x, memory, mask), masked, {
        "the mask has no effect": expected,
        "the mask is the wrong way round: True means that looking is allowed": _block(own, x, memory, ~mask),
        "the mask comes after the softmax, so that the weights no longer add up to 1: let forbidden scores be -inf before it":
            _block(own, x, memory, mask, late=True)}, what="with a mask the result")
    own = _scrambled(AttentionBlock(width, heads))
    made = _ready(t, t.call(t.attempt, width, heads), own)
    with torch.no_grad():
        t.same(t.call(made, x), own(x), what="without a memory (x looks at itself) the result")


@torch.no_grad()
def _one_head_block(own: AttentionBlock, x, memory) -> Tensor:
    return own.norm(x + own.output(F.scaled_dot_product_attention(own.query(x), own.key(memory), own.value(memory))))


@exercise("CausalQFormerLayer", notebook=NOTEBOOK, answer=CausalQFormerLayer, difficulty=3, minutes=15,
          goal="One layer, from its four parts: the window's inputs look at one another (`causal_attention`, under `causal_mask`); the queries look at "
               "one another; the queries look at the *encoded* inputs, real ones only; the feed-forward. `__init__` stands; write `forward`.",
          shapes="`queries` (B * W, N, width), `inputs` (B * W, K * P, D), `causal_mask` (..., K * P, K * P), `real` (B * W, 1, 1, K * P), `maps` (leave it "
                 "be) -> queries (B * W, N, width)",
          hints=("Four lines in the order of the goal. Three of the four parts change the queries; the first one makes what they look at.",
                 "`encoded = self.causal_attention(inputs, mask=causal_mask)`; the cross-attention is "
                 "`self.cross_attention(queries, encoded, mask=real)`."))
def _(t: Trial):
    heads = 2
    width, wide, hidden = 2 * t.number(2, 3), 2 * t.number(4, 5), t.number(11, 13)
    windows, count, frames, tokens = 2, t.number(3, 4), t.number(2, 3), t.number(2, 3)
    own = _scrambled(CausalQFormerLayer(wide, width, heads, hidden, 0.0))
    made = _ready(t, t.run(wide, width, heads, hidden, 0.0), own)
    queries, inputs = 2 * t.randn(windows, count, width), 2 * t.randn(windows, frames * tokens, wide)
    mask = block_causal(frames, tokens)[None, None]
    real = torch.arange(frames * tokens)[None, None, None] < torch.tensor([frames, frames - 1])[:, None, None, None] * tokens
    nothing = AttentionMaps(None, None, None, None)
    with torch.no_grad():
        expected = own(queries, inputs, mask, real, nothing)
        encoded = own.causal_attention(inputs, mask=mask)
        alike = own.self_attention(queries)

        def rest(queries, encoded, real=real):
            return own.feed_forward(own.cross_attention(queries, encoded, mask=real))

        wrong = {
            "the queries look at the raw inputs; what they should see has passed `causal_attention`": rest(alike, inputs),
            "`causal_mask` is not used: every frame sees what comes after it": rest(alike, own.causal_attention(inputs)),
            "`real` is not used: the queries see padded frames, too": rest(alike, encoded, None),
            "the queries do not look at one another: `self_attention` is not used": rest(queries, encoded),
            "the feed-forward is missing, or its result is not returned": own.cross_attention(alike, encoded, mask=real),
            "the order is wrong: the queries first look at one another, then at the inputs":
                own.feed_forward(own.self_attention(own.cross_attention(queries, encoded, mask=real))),
            "the queries never look at the inputs: `cross_attention` is not used": own.feed_forward(alike),
            "a residual too many: every part adds what came in by itself": queries + expected}
    t.same(t.call(made, queries, inputs, mask, real, nothing), expected, wrong, what="the queries")


def qformer_parameters(*, input_width: int, window_frames: int, step_tokens: int, num_queries: int, width: int, layers: int, hidden: int) -> int:
    """Build the package's Q-Former without memory for its weights, and count; the number of heads changes nothing."""
    with torch.device("meta"):
        made = CausalQFormer(input_width=input_width, window_frames=window_frames, step_tokens=step_tokens, num_queries=num_queries,
                             width=width, layers=layers, heads=1, hidden=hidden)
    return sum(parameter.numel() for parameter in made.parameters())


def _weight(*, input_width, window_frames, step_tokens, num_queries, width, layers, hidden, bias=1, norm=2, cross=None, causal=None) -> int:
    def attention(own, memory):
        return 2 * own * (own + bias) + 2 * own * (memory + bias) + norm * own

    layer = (attention(causal or input_width, causal or input_width) + attention(width, width) + attention(width, cross or input_width)
             + hidden * (width + bias) + width * (hidden + bias) + norm * width)
    return (norm * input_width + window_frames * step_tokens * input_width + num_queries * width + norm * width + layers * layer)


@exercise("qformer_parameters", notebook=NOTEBOOK, answer=qformer_parameters, difficulty=3, minutes=15,
          goal="How many numbers does a causal Q-Former learn? Add up its parts. All arguments are keywords, as in `CausalQFormer`: `input_width` D, "
               "`window_frames` K, `step_tokens` P, `num_queries` N, `width`, `layers`, `hidden`.",
          shapes="seven whole numbers -> a whole number",
          hints=("A linear map from a to b holds a * b weights and b biases, a LayerNorm two numbers a feature. Which widths do keys and values of "
                 "the cross-attention come from?",
                 "Write `block(own, memory) = 2 * own * (own + 1) + 2 * own * (memory + 1) + 2 * own`; a layer is `block(D, D) + block(width, width) + "
                 "block(width, D)` and the feed-forward. Outside the layers: input_norm, positions, queries, query_norm."))
def _(t: Trial):
    sizes = {"input_width": 10 + t.number(0, 3), "window_frames": t.number(2, 3), "step_tokens": t.number(4, 5), "num_queries": t.number(6, 7),
             "width": 15 + t.number(0, 3), "layers": t.number(2, 4), "hidden": 20 + t.number(0, 3)}
    wide, width, frames, tokens, count, layers, hidden = (sizes[k] for k in (
        "input_width", "width", "window_frames", "step_tokens", "num_queries", "layers", "hidden"))
    expected = qformer_parameters(**sizes)
    try:
        found = t.run(**sizes)
    except Mistake as mistake:
        t.that("unexpected keyword" not in str(mistake), "name the seven arguments as on the card: they are passed as keywords")
        raise
    outside = 2 * wide + frames * tokens * wide + count * width + 2 * width
    t.same(found, expected, {
        "biases are forgotten: every linear map has one number more for each output": _weight(**sizes, bias=0),
        "LayerNorms are forgotten: each has a weight and a bias for every feature": _weight(**sizes, norm=0),
        "a LayerNorm has *two* numbers for each feature": _weight(**sizes, norm=1),
        "keys and values of the cross-attention come from tokens of width D, not from queries": _weight(**sizes, cross=width),
        "the causal attention works at the width of the inputs, D": _weight(**sizes, causal=width),
        "the positions are forgotten: one vector of width D for each of the K * P places": expected - frames * tokens * wide,
        "a position belongs to each of the K * P places, not to each of the K frames": expected - frames * (tokens - 1) * wide,
        "the N queries themselves are learned, too": expected - count * width,
        "the LayerNorm on the queries is forgotten": expected - 2 * width,
        "the LayerNorm on the inputs is forgotten": expected - 2 * wide,
        "only one layer is counted": outside + (expected - outside) // layers,
        "the causal attention is forgotten; every layer has its own": expected - layers * (4 * wide * (wide + 1) + 2 * wide),
        "the feed-forward is forgotten": expected - layers * (hidden * (width + 1) + width * (hidden + 1) + 2 * width)},
        what="the number of parameters", tolerance=1e-9)
