"""Wrong answers to the exercises of notebook 04."""

import torch
import torch.nn.functional as F

from favor_mini.attention import AttentionBlock
from favor_mini.qformer import CausalQFormerLayer


def unscaled(q, k, v):
    return torch.softmax(q @ k.T, dim=-1) @ v


def scaled_by_d(q, k, v):
    return torch.softmax(q @ k.T / q.shape[1], dim=-1) @ v


def scaled_by_e(q, k, v):
    return torch.softmax(q @ k.T / v.shape[1] ** 0.5, dim=-1) @ v


def scaled_by_keys(q, k, v):
    return torch.softmax(q @ k.T / len(k) ** 0.5, dim=-1) @ v


def scaled_by_queries(q, k, v):
    return torch.softmax(q @ k.T / len(q) ** 0.5, dim=-1) @ v


def over_queries(q, k, v):
    return torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=0) @ v


def no_softmax(q, k, v):
    return q @ k.T / q.shape[1] ** 0.5 @ v


def weights_only(q, k, v):
    return torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=-1)


def forgotten(q, k, v):
    q @ k.T / q.shape[1] ** 0.5


def reshaped(x, heads):
    batch, length, width = x.shape
    return x.view(batch, heads, length, width // heads)


def not_moved(x, heads):
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads)


def dealt_out(x, heads):
    return torch.stack([x[..., h::heads] for h in range(heads)], dim=1)


def keys_like(x, heads):
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).permute(0, 2, 3, 1)


def heads_by_view(x, heads):
    rows = x.view(x.shape[0] * x.shape[1], x.shape[2])
    return rows.unflatten(0, x.shape[:2]).unflatten(2, (heads, -1)).transpose(1, 2)


def heads_as_width(x, heads):
    return torch.stack(x.split(heads, dim=-1), dim=1)


def unbiased(x, eps=1e-12):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + eps).sqrt()


def by_variance(x, eps=1e-12):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + eps)


def no_mean(x, eps=1e-12):
    return x / (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()


def no_spread(x, eps=1e-12):
    return x - x.mean(-1, keepdim=True)


def whole(x, eps=1e-12):
    return (x - x.mean()) / (x.var(unbiased=False) + eps).sqrt()


def over_tokens(x, eps=1e-12):
    return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + eps).sqrt()


def no_eps(x, eps=1e-12):
    return (x - x.mean(-1, keepdim=True)) / x.var(-1, keepdim=True, unbiased=False).sqrt()


def eps_outside(x, eps=1e-12):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True).sqrt() + eps)


def in_place(x, eps=1e-12):
    x -= x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


class Block(AttentionBlock):
    """A learner's block, right but for what the classes below change."""

    def forward(self, x, memory=None, mask=None):
        memory = x if memory is None else memory
        q, k, v = self.cut(self.query(x)), self.cut(self.key(memory)), self.cut(self.value(memory))
        return self.end(x, self.output(self.join(self.attend(q, k, v, mask))))

    def cut(self, x):
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def join(self, attended):
        return attended.transpose(1, 2).flatten(2)

    def end(self, x, attended):
        return self.norm(x + attended)


class NoResidual(Block):
    def end(self, x, attended):
        return self.norm(attended)


class NoNorm(Block):
    def end(self, x, attended):
        return x + attended


class NormFirst(Block):
    def end(self, x, attended):
        return x + self.norm(attended)


class NoOutput(Block):
    def forward(self, x, memory=None, mask=None):
        memory = x if memory is None else memory
        q, k, v = self.cut(self.query(x)), self.cut(self.key(memory)), self.cut(self.value(memory))
        return self.norm(x + self.join(self.attend(q, k, v, mask)))


class JoinedByReshape(Block):
    def join(self, attended):
        batch, heads, length, each = attended.shape
        return attended.reshape(batch, length, heads * each)


class WholeWidth(Block):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                              scale=(self.heads * q.shape[-1]) ** -0.5)


class KeysForValues(Block):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, v, k, attn_mask=mask)


class OneHead(Block):
    def cut(self, x):
        return x[:, None]


class NoMask(Block):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v)


class MaskReversed(Block):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else ~mask)


class MaskLate(Block):
    def attend(self, q, k, v, mask):
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return (weights if mask is None else weights * mask) @ v


class AlwaysMemory(Block):
    def forward(self, x, memory=None, mask=None):
        q, k, v = self.cut(self.query(x)), self.cut(self.key(memory)), self.cut(self.value(memory))
        return self.norm(x + self.output(self.join(self.attend(q, k, v, mask))))


class OwnParts(torch.nn.Module):
    def __init__(self, width, heads, memory_width=None):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(width, heads)


class RawInputs(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        queries = self.self_attention(queries)
        return self.feed_forward(self.cross_attention(queries, inputs, mask=real))


class SeesAhead(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        queries = self.self_attention(queries)
        encoded = self.causal_attention(inputs)
        return self.feed_forward(self.cross_attention(queries, encoded, mask=real))


class SeesPadding(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        queries = self.self_attention(queries)
        encoded = self.causal_attention(inputs, mask=causal_mask)
        return self.feed_forward(self.cross_attention(queries, encoded))


class RealReversed(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        return super().forward(queries, inputs, causal_mask, ~real, maps)


class CausalReversed(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        return super().forward(queries, inputs, ~causal_mask, real, maps)


class NoSelf(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        encoded = self.causal_attention(inputs, mask=causal_mask)
        return self.feed_forward(self.cross_attention(queries, encoded, mask=real))


class NoFeedForward(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        queries = self.cross_attention(self.self_attention(queries),
                                       self.causal_attention(inputs, mask=causal_mask), mask=real)
        self.feed_forward(queries)
        return queries


class CrossFirst(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        queries = self.cross_attention(queries, self.causal_attention(inputs, mask=causal_mask),
                                       mask=real)
        return self.feed_forward(self.self_attention(queries))


class TwiceResidual(CausalQFormerLayer):
    def forward(self, queries, inputs, causal_mask, real, maps):
        return queries + super().forward(queries, inputs, causal_mask, real, maps)


def block(own, memory, bias=1, norm=2):
    return 2 * own * (own + bias) + 2 * own * (memory + bias) + norm * own


def count(input_width, window_frames, step_tokens, num_queries, width, layers, hidden, bias=1,
          norm=2, cross=None, places=None):
    widths = (input_width, input_width), (width, width), (width, cross or input_width)
    layer = sum(block(own, memory, bias, norm) for own, memory in widths)
    layer += width * hidden + bias * hidden + hidden * width + bias * width + norm * width
    positions = (places or window_frames * step_tokens) * input_width
    return layers * layer + positions + num_queries * width + norm * (input_width + width)


def no_biases(**sizes):
    return count(**sizes, bias=0)


def no_norms(**sizes):
    return count(**sizes, norm=0)


def keys_from_queries(**sizes):
    return count(**sizes, cross=sizes["width"])


def position_per_frame(**sizes):
    return count(**sizes, places=sizes["window_frames"])


def one_layer(**sizes):
    return count(**{**sizes, "layers": 1})


def no_queries(**sizes):
    return count(**{**sizes, "num_queries": 0})


def _less(missing):
    def counted(**sizes):
        return count(**sizes) - missing(**sizes)

    return counted


def _blocks(part):
    def missing(input_width, width, layers, hidden, **_):
        return layers * part(input_width, width, hidden)

    return _less(missing)


def outside_in_every_layer(**sizes):
    return sizes["layers"] * count(**{**sizes, "layers": 1})


def position_per_token(**sizes):
    return count(**sizes, places=sizes["step_tokens"])


def wide_queries(**sizes):
    return count(**sizes) + sizes["num_queries"] * (sizes["input_width"] - sizes["width"])


def a_float(**sizes):
    return float(count(**sizes))


def other_names(d, k, p, n, width, layers, hidden):
    return count(d, k, p, n, width, layers, hidden)


WRONG = {
    "one_head": [(unscaled, "not divided"), (scaled_by_d, "divided by d;"),
                 (scaled_by_e, "root of e"), (scaled_by_keys, "the number of keys"),
                 (scaled_by_queries, "the number of queries"), (over_queries, "over the queries"),
                 (no_softmax, "used as weights"), (weights_only, "these are the weights"),
                 (forgotten, "returned None")],
    "split_heads": [(reshaped, "mixes them"), (not_moved, "behind the tokens"),
                    (dealt_out, "every n-th feature"), (keys_like, "last two axes"),
                    (heads_as_width, "width of a head"), (heads_by_view, "`.reshape`")],
    "layer_norm": [(unbiased, "width - 1"), (by_variance, "by the variance"),
                   (no_mean, "mean is not subtracted"), (no_spread, "variance is unchanged"),
                   (whole, "whole tensor"), (over_tokens, "over the tokens"),
                   (no_eps, "has no effect"), (eps_outside, "is added to the root"),
                   (in_place, "in place")],
    "AttentionBlock": [(NoResidual, "residual is missing"), (NoNorm, "at the end is missing"),
                       (NormFirst, "post-norm"), (NoOutput, "not projected"),
                       (JoinedByReshape, "by a reshape"), (WholeWidth, "one head*"),
                       (KeysForValues, "keys and values"), (OneHead, "just one head"),
                       (NoMask, "no effect"),
                       (MaskReversed, "mask is inverted"), (MaskLate, "after the softmax"),
                       (AlwaysMemory, "TypeError"), (OwnParts, "part `query`")],
    "CausalQFormerLayer": [
        (RawInputs, "raw inputs"), (SeesAhead, "attends to later frames"),
        (SeesPadding, "padded frames"),
        (RealReversed, "`real` is inverted"), (CausalReversed, "`causal_mask` is inverted"),
        (NoSelf, "`self_attention`"), (NoFeedForward, "feed-forward is missing"),
        (CrossFirst, "order"), (TwiceResidual, "residual too many")],
    "qformer_parameters": [
        (no_biases, "biases"), (no_norms, "LayerNorms are missing"),
        (keys_from_queries, "not from queries"), (position_per_frame, "each of the K frames"),
        (one_layer, "one layer"), (no_queries, "N queries are parameters"),
        (other_names, "as on the card"), (outside_in_every_layer, "not once a layer"),
        (position_per_token, "P tokens of a frame"), (wide_queries, "not D"),
        (_blocks(lambda d, w, h: block(w, w)), "queries' self-attention is missing"),
        (_blocks(lambda d, w, h: block(w, d)), "cross-attention is missing"),
        (_blocks(lambda d, w, h: block(d, d)), "causal attention is missing"),
        (_blocks(lambda d, w, h: d * (d + 1) + 2 * w * (w + 1)), "output maps are missing"),
        (_blocks(lambda d, w, h: 2 * w), "LayerNorm of the feed-forward"),
        (_blocks(lambda d, w, h: 2 * w * h + 3 * w + h), "the feed-forward is missing"),
        (a_float, "of type float")]
}
