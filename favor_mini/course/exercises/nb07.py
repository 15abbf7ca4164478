"""Exercises of notebook 07: the diversity loss, its gradient, and alternatives to it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...lab.variants import gram, squared_cosine
from ...losses import diversity_loss
from ..exercise import Trial, exercise
from ..tensors import check_gradients, check_layouts


def cosine_matrix(queries: Tensor) -> Tensor:
    """torch's cosines of all pairs of queries of each window: (W, N, D) -> (W, N, N)."""
    return F.cosine_similarity(queries[:, :, None], queries[:, None], dim=-1)


def push_apart(queries: Tensor) -> Tensor:
    """Minus the gradient of one window's diversity loss, by autograd: (N, D) -> (N, D)."""
    return -torch.func.grad(lambda q: diversity_loss(q[None]))(queries)


def _windows(t: Trial) -> Tensor:
    """Queries of different lengths with a common direction, so that no two sums agree by chance."""
    windows, queries, width = t.integer(2, 3), t.integer(4, 5), t.integer(6, 8)
    lengths = 0.3 + 4 * torch.from_numpy(t.rng.random((windows, queries, 1))).float()
    return lengths * (t.randn(windows, queries, width) + 0.7 * t.randn(windows, 1, width))


def _off_diagonal(matrices: Tensor) -> Tensor:
    """(W, N, N) -> (W, N * (N - 1))."""
    return matrices[:, ~torch.eye(matrices.shape[-1], dtype=torch.bool)]


def _pairs(queries: Tensor) -> Tensor:
    """(W, N, D) -> (W, N * (N - 1)) cosines of different queries."""
    return _off_diagonal(cosine_matrix(queries))


def _products(queries: Tensor) -> Tensor:
    return queries @ queries.transpose(1, 2)


def _check_loss(t: Trial, queries: Tensor, real: Tensor, suspects: dict,
                gradient: dict | None = None) -> None:
    """Check a loss with and without `real`, with nothing to compare, and its gradient."""
    found = t.run(queries, real)
    t.require(not isinstance(found, int | float),
              f"it returns {found!r}, a plain number; return a scalar tensor that depends on the "
              "queries: training needs its gradient")
    t.check((queries, real), suspects)
    t.check((queries,), what="without `real` (None: all windows count) the result")
    empty = {"where no window is real": (queries, torch.zeros_like(real))}
    if t.answer.__name__ != "gram":  # which compares a single query with the identity
        empty["a window with a single query has no pairs:"] = queries[:, :1], real
    for where, given in empty.items():
        found = t.run(*given)
        t.require(isinstance(found, Tensor),
                  f"{where} it returns {found!r}, a plain number; return a scalar tensor, such as "
                  "`queries.sum() * 0.0`")
        t.require(found.ndim == 0 and found.item() == 0,
                  f"{where} the result should be 0, as a scalar tensor; the mean of nothing is nan")
    check_gradients(t, (queries, real), {0: "the queries"}, suspects=gradient)


def _some_real(t: Trial, queries: Tensor) -> Tensor:
    """(W,) bool: all windows but one are real."""
    return torch.arange(len(queries)) != t.integer(0, len(queries) - 1)


@exercise(cosine_matrix)
def _(t: Trial):
    queries = _windows(t)
    norms, products = queries.norm(dim=-1), _products(queries)
    t.check((queries,), {
        "these are dot products, not cosines: divide by both lengths": products,
        "only one of the two lengths is divided by: the matrix is not symmetric, its diagonal is "
        "not 1": products / norms[:, :, None],
        "only the length of query j, the column, is divided by; divide by that of query i, too":
            products / norms[:, None, :],
        "one length for a whole window; each query has its own: `norm(dim=-1, keepdim=True)`":
            products / queries.square().sum((1, 2), keepdim=True),
        "one length for all queries of all windows; each query has its own: `norm` needs a `dim`":
            products / queries.square().sum(),
        "the lengths are along the wrong axis: a query is a row of D numbers, use `dim=-1`":
            _products(F.normalize(queries, dim=1)),
        "queries of different windows are compared; the result should be (W, N, N)":
            cosine_matrix(queries.flatten(0, 1)[None])[0],
        "these are sines or distances: the diagonal should be 1": 1 - cosine_matrix(queries)})

    def constant_lengths(queries):
        return _products(queries / queries.norm(dim=-1, keepdim=True).detach())

    check_gradients(t, (queries,), {0: "the queries"}, suspects={
        "the lengths have lost their gradient (a `detach`?): the cosines would change with the "
        "length": constant_lengths})
    check_layouts(t, queries)


@exercise(diversity_loss)
def _(t: Trial):
    queries = _windows(t)
    windows, num_queries, _ = queries.shape
    real = _some_real(t, queries)
    kept = queries[real]
    pairs, expected = _pairs(kept), diversity_loss(queries, real)
    each = pairs.mean(1)
    spread = queries - queries.mean(1, keepdim=True)  # cosines are negative on average
    below = diversity_loss(spread)
    _check_loss(t, queries, real, {
        "the diagonal counts: each query is compared with itself, and the loss of orthogonal "
        "queries is 1 / N instead of 0": cosine_matrix(kept).mean(),
        "windows without a real frame count as well; they are made from padding":
            _pairs(queries).mean(),
        "this is the sum over a window's pairs; divide by their number, N * (N - 1)":
            pairs.sum(1).mean(),
        "you divide by N * N, as if the diagonal counted; there are N * (N - 1) pairs":
            each.mean() * (num_queries - 1) / num_queries,
        "these are absolute values; opposite queries have the cosine -1 and lower the loss":
            pairs.abs().mean(),
        "these are squares; opposite queries have the cosine -1 and lower the loss":
            pairs.square().mean(),
        "each pair is added once but divided by N * (N - 1), which counts both orders; divide by "
        "half": each.mean() / 2,
        "these are dot products; normalise the queries to length 1 first":
            _off_diagonal(_products(kept)).mean(),
        "the sign is wrong: the loss should be 1, its maximum, where all queries are equal":
            -expected,
        "one value a window; the mean over windows is missing": each,
        "you divide by the number of all windows; the mean is over the real windows only":
            each.sum() / windows,
        "queries of different windows are compared with one another":
            _pairs(kept.flatten(0, 1)[None]).mean()})
    t.check((spread,), {
        "this is the absolute value of the mean; queries that point away from one another lower "
        "the loss below 0": below.abs(),
        "the loss is cut off at 0; queries that point away from one another lower it below 0":
            below.clamp(min=0)}, "where the mean cosine is negative, the result")
    check_layouts(t, queries, real)


@exercise(push_apart)
def _(t: Trial):
    queries = _windows(t)[0]
    count, unit = len(queries), F.normalize(queries, dim=-1)
    lengths, scale = queries.norm(dim=-1, keepdim=True), 2 / (count * (count - 1))

    def push(s=None, first=unit, second=unit):
        s = unit.sum(0) if s is None else s
        return -scale * (s - (first @ s)[:, None] * second)

    expected = push_apart(queries)
    one = queries / queries.norm()
    with_one = push(one.sum(0), one, one)
    t.check((queries,), {
        "this is the gradient, uphill; a training step goes the other way": -expected,
        "the part of s along each query is not subtracted; only a turn of the query changes a "
        "cosine": (-scale * unit.sum(0) / lengths).expand_as(queries),
        "the lengths are missing: the longer a query, the less a step turns it; divide by |q|":
            push(),
        "you multiply by the lengths; divide by them": push() * lengths,
        "the subtracted part uses the unnormalised query; both u_i in `(s . u_i) u_i` are unit":
            push(first=queries, second=queries) / lengths,
        "one of the two u_i in `(s . u_i) u_i` is unnormalised; it should have length 1":
            push(second=queries) / lengths,
        "you divide by one length for all queries; each has its own: `norm(dim=-1, keepdim=True)`":
            push() / queries.norm(),
        "the unit vectors use one length for all queries; `norm` needs `dim=-1, keepdim=True`":
            with_one / queries.norm(),
        "the unit vectors use one length for all queries; there, too, `norm` needs `dim=-1, "
        "keepdim=True`": with_one / lengths,
        "the factor 2 is missing: each pair occurs twice in the sum over i and j": expected / 2,
        "you divide by N * N; there are N * (N - 1) pairs of different queries":
            expected * (count - 1) / count,
        "the number of pairs is missing: this is the push of the sum over pairs, not of their mean":
            expected / scale * 2,
        "the sum should be over unit vectors; yours is over unnormalised queries":
            push(queries.sum(0)) / lengths})
    check_layouts(t, queries)


@exercise(squared_cosine)
def _(t: Trial):
    queries = _windows(t)
    num_queries = queries.shape[1]
    real = _some_real(t, queries)
    pairs = _pairs(queries[real])
    _check_loss(t, queries, real, {
        "squared after the mean: positive and negative cosines have cancelled by then; square each "
        "one": pairs.mean().square(),
        "squared after the mean over each window: its cosines have cancelled by then; square each "
        "one": pairs.mean(1).square().mean(),
        "you divide by N * N; there are N * (N - 1) pairs of different queries":
            pairs.square().mean() * (num_queries - 1) / num_queries,
        "the diagonal counts: each query is compared with itself":
            cosine_matrix(queries[real]).square().mean(),
        "these are absolute values, not squares": pairs.abs().mean(),
        "nothing is squared: this is the paper's loss": pairs.mean(),
        "`real` has no effect: windows of padding count as well": _pairs(queries).square().mean(),
        "this is the square root of the mean square; do not take the root":
            pairs.square().mean().sqrt(),
        "the mean over windows and pairs is missing": pairs.square().sum(1).mean()})
    check_layouts(t, queries, real)


@exercise(gram)
def _(t: Trial):
    queries = _windows(t)
    real = _some_real(t, queries)
    kept, identity = queries[real], torch.eye(queries.shape[1])
    squares = kept.square().sum(-1)  # [W, N]

    def difference(queries, by=None):
        return _products(queries if by is None else queries / by[:, None, None]) - identity

    def root(queries):
        return queries.square().sum(-1).mean(-1).sqrt()

    scaled = difference(kept, root(kept))

    def constant_scale(queries, real):
        return difference(queries[real], root(queries[real]).detach()).square().mean()

    _check_loss(t, queries, real, {
        "each query is normalised to length 1, so that lengths no longer count; use one scale for "
        "a whole window": difference(F.normalize(kept, dim=-1)).square().mean(),
        "nothing is scaled: with long queries the loss is large in any direction":
            difference(kept).square().mean(),
        "one scale for all windows together; each window has its own":
            difference(kept / squares.mean().sqrt()).square().mean(),
        "only off the diagonal; the lengths are on it, and they should count here":
            _off_diagonal(scaled).square().mean(),
        "the identity is not subtracted": (scaled + identity).square().mean(),
        "this is the sum over a window's N * N entries, not their mean":
            scaled.square().sum((1, 2)).mean(),
        "`real` has no effect: windows of padding count as well":
            difference(queries, root(queries)).square().mean(),
        "you scale by the mean length; scale by the root of the mean *squared* length":
            difference(kept, kept.norm(dim=-1).mean(-1)).square().mean(),
        "the mean square of the single numbers is 1; it should be that of the lengths: sum over D "
        "before the mean over the queries":
            difference(kept, kept.square().mean((1, 2)).sqrt()).square().mean(),
        "you scale by the mean squared length itself; take its square root":
            difference(kept, squares.mean(-1)).square().mean()},
        {"the scale has lost its gradient (a `detach`?): it depends on the queries":
            constant_scale})
    check_layouts(t, queries, real)
