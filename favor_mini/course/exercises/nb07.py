"""Exercises of notebook 07: the diversity loss, which way it pushes, and what could stand in its place."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...lab.variants import gram, squared_cosine
from ...losses import diversity_loss
from ..exercise import Trial, exercise

NOTEBOOK = "07"


def cosine_matrix(queries: Tensor) -> Tensor:
    """Cosines of all pairs of queries of each window, by torch: queries (W, N, D) -> (W, N, N)."""
    return F.cosine_similarity(queries[:, :, None], queries[:, None], dim=-1)


def push_apart(queries: Tensor) -> Tensor:
    """The direction in which the diversity loss of one window falls fastest, by autograd: queries (N, D) -> (N, D)."""
    return -torch.func.grad(lambda q: diversity_loss(q[None]))(queries)


def _windows(t: Trial) -> Tensor:
    """Queries of a few windows, of very different lengths, with a direction in common, so that no two sums agree by chance."""
    windows, queries, width = t.number(2, 3), t.number(4, 5), t.number(6, 8)
    lengths = 0.3 + 4 * torch.from_numpy(t.rng.random((windows, queries, 1))).float()
    return lengths * (t.randn(windows, queries, width) + 0.7 * t.randn(windows, 1, width))


def _pairs(queries: Tensor) -> Tensor:
    """(W, N, D) -> (W, N * (N - 1)) cosines off the diagonal."""
    cosines = cosine_matrix(queries)
    return cosines[:, ~torch.eye(cosines.shape[-1], dtype=torch.bool)]


def _trainable(t: Trial, answer, queries: Tensor, *args, suspects: dict | None = None) -> None:
    """Mistake where the right result does not lead back to the queries as the answer's does."""
    weights = torch.randn(answer(queries, *args).shape)

    def slope(function, held):
        held = held.clone().requires_grad_()
        found = function(held, *args)
        if not isinstance(found, Tensor) or found.shape != weights.shape or not found.requires_grad:
            return "lost"
        (found,) = torch.autograd.grad((found * weights).sum(), held, allow_unused=True)
        return "lost" if found is None else found

    def attempted(held):
        return slope(t.attempt, held)

    attempted.forward = t.attempt  # so that an error is told with the learner's own line
    with torch.enable_grad():
        found = t.call(attempted, queries)
        t.that(isinstance(found, Tensor), "the value is right, but its gradient is lost: no training step could go back from it to the queries. Stay "
               "with torch's own arithmetic, without `.item()`, `torch.tensor(...)`, `.detach()`, `.data`, numpy or `no_grad` on the way")
        t.same(found, slope(answer, queries), {message: slope(wrong, queries) for message, wrong in (suspects or {}).items()},
               what="the value is right, but its gradient with respect to the queries")


def _constant_lengths(queries: Tensor) -> Tensor:
    unit = queries / queries.norm(dim=-1, keepdim=True).detach()
    return unit @ unit.transpose(1, 2)


def _nothing_is_zero(t: Trial, queries: Tensor, real: Tensor, where: str) -> None:
    found = t.run(queries, real)
    t.that(isinstance(found, Tensor) and found.ndim == 0 and found.item() == 0,
           f"{where} the result should be 0, as a scalar tensor; the mean of nothing is nan")


@exercise("cosine_matrix", notebook=NOTEBOOK, answer=cosine_matrix, difficulty=1, minutes=7,
          goal="How alike are the queries of a window? Give for each pair of queries of the same window the cosine of the angle between them. "
               "Queries of different windows are never compared. A loss will be built on it, so its gradient has to lead back to the queries.",
          shapes="`queries` (W, N, D) -> (W, N, N); [w, i, j]: the cosine between query i and query j of window w",
          hints=("Give every query the length 1 first; then a cosine is nothing but a dot product.",
                 "`unit = F.normalize(queries, dim=-1)`, then `unit @ unit.transpose(1, 2)`: one (N, D) @ (D, N) for each window."))
def _(t: Trial):
    queries = _windows(t)
    norms = queries.norm(dim=-1)
    products = queries @ queries.transpose(1, 2)
    axis = F.normalize(queries, dim=1)
    flat = queries.flatten(0, 1)
    whole = queries.square().sum((1, 2), keepdim=True)
    t.same(t.run(queries), cosine_matrix(queries), {
        "these are dot products, not cosines: long queries give large numbers; divide by both lengths": products,
        "only one of the two lengths is divided by; the matrix is not symmetric and its diagonal not 1": products / norms[:, :, None],
        "only the length of query j, the column, is divided by; query i has one, too": products / norms[:, None, :],
        "one length for a whole window; each query has its own: `norm(dim=-1, keepdim=True)`": products / whole,
        "one length for all queries of all windows; each query has its own: `norm` needs a `dim`": products / queries.square().sum(),
        "the lengths are taken along the wrong axis: a query is a row of D numbers, normalise over `dim=-1`": axis @ axis.transpose(1, 2),
        "queries of different windows are compared; the result should be (W, N, N)": cosine_matrix(flat[None])[0],
        "the angles' *sines or distances* are not asked for: 1 should stand on the diagonal": 1 - cosine_matrix(queries)})
    _trainable(t, cosine_matrix, queries, suspects={"the lengths have lost their gradient (a `detach`?): a query that grows longer would change "
                                                    "its cosines": _constant_lengths})


@exercise("diversity_loss", notebook=NOTEBOOK, answer=diversity_loss, difficulty=3, minutes=15,
          goal="The paper's loss: the mean cosine over the N * (N - 1) pairs of *different* queries in a window, then the mean over windows. Windows without "
               "a real frame (`real` is False) do not count. Where nothing can be compared (no real window, or a single query) it is 0, not nan. "
               "Training goes through it: keep its gradient.",
          shapes="`queries` (B * W, N, D), `real` (B * W,) bool or None -> a scalar tensor, differentiable",
          hints=("Drop the windows that do not count before anything else. A boolean mask `~torch.eye(N, dtype=torch.bool)` picks what lies off "
                 "the diagonal.",
                 "`queries = queries[real]`; if none is left or N < 2, return `queries.sum() * 0.0`; else "
                 "`cosine_matrix(queries)[:, off].mean()`. All windows have as many pairs, so one mean does both."))
def _(t: Trial):
    queries = _windows(t)
    windows, num_queries, _ = queries.shape
    real = torch.arange(windows) != t.number(0, windows - 1)
    kept, cosines = queries[real], cosine_matrix(queries[real])
    each = _pairs(kept).mean(1)
    expected = diversity_loss(queries, real)
    suspects = {
        "the diagonal counts: each query is compared with itself, and the loss of orthogonal queries is 1 / N instead of 0": cosines.mean(),
        "windows without a real frame count as well; what the Q-Former made of padding says nothing": _pairs(queries).mean(),
        "the sum over a window's pairs; divide by their number, N * (N - 1)": _pairs(kept).sum(1).mean(),
        "divided by N * N, as if the diagonal counted; there are N * (N - 1) pairs of different queries":
            each.mean() * (num_queries - 1) / num_queries,
        "these are absolute values; opposite queries have the cosine -1 and lower the loss": _pairs(kept).abs().mean(),
        "these are squares; opposite queries have the cosine -1 and lower the loss": _pairs(kept).square().mean(),
        "each pair is added once but divided by N * (N - 1): that number counts both orders (or divide by half of it)": each.mean() / 2,
        "these are dot products; give the queries the length 1 first":
            (kept @ kept.transpose(1, 2))[:, ~torch.eye(num_queries, dtype=torch.bool)].mean(),
        "the sign is turned: the loss should be 1, its greatest value, where all queries are alike": -expected,
        "one value a window; the mean over windows is missing": each,
        "the mean is over the real windows only; yours is divided by the number of all windows": each.sum() / windows,
        "queries of different windows are compared with one another": _pairs(kept.flatten(0, 1)[None]).mean()}
    t.same(t.run(queries, real), expected, suspects)
    t.same(t.run(queries), diversity_loss(queries), what="without `real` (None: all windows count) the result")
    _nothing_is_zero(t, queries, torch.zeros_like(real), "where no window is real")
    _nothing_is_zero(t, queries[:, :1], real, "a window with a single query has no pairs:")
    _trainable(t, diversity_loss, queries, real)


@exercise("push_apart", notebook=NOTEBOOK, answer=push_apart, difficulty=2, minutes=10,
          goal="Which way does the loss move each query? For one window, give *minus* the gradient of its diversity loss with respect to "
               "the queries. The formula above needs no autograd.",
          shapes="`queries` (N, D) -> (N, D); row i: where query i is pushed",
          hints=("Three things: the unit vectors, their sum `s`, and for each query the part of `s` that is not along the query itself.",
                 "`along = (unit @ s)[:, None] * unit`; the push is `-2 / (N * (N - 1)) * (s - along) / lengths`, with `lengths` of shape (N, 1)."))
def _(t: Trial):
    queries = _windows(t)[0]
    count, unit, lengths = len(queries), F.normalize(queries, dim=-1), queries.norm(dim=-1, keepdim=True)
    total, scale = unit.sum(0), 2 / (count * (count - 1))
    across = total - (unit @ total)[:, None] * unit
    expected = push_apart(queries)

    def less(along):  # what is pushed where the wrong part of s is taken off
        return -scale * (total - along) / lengths

    one = queries / queries.norm()
    t.same(t.run(queries), expected, {
        "this is the gradient, uphill; a step of training goes the other way": -expected,
        "the part of s along each query is not taken off; turning a query is all that can change a cosine":
            (-scale * total / lengths).expand_as(queries),
        "the lengths are missing: the longer a query, the less a step turns it; divide by |q|": -scale * across,
        "you multiply by the lengths; divide by them": -scale * across * lengths,
        "what is taken off is reckoned with the query as it is; in `(s . u_i) u_i` both u_i have the length 1":
            less((queries @ total)[:, None] * queries),
        "one of the two u_i in `(s . u_i) u_i` is the query as it is; it should have the length 1": less((unit @ total)[:, None] * queries),
        "divided by one length for all queries; each has its own: `norm(dim=-1, keepdim=True)`": -scale * across / queries.norm(),
        "the unit vectors are made with one length for all queries; `norm` needs `dim=-1, keepdim=True`":
            -scale * (one.sum(0) - (one @ one.sum(0))[:, None] * one) / queries.norm(),
        "the unit vectors are made with one length for all queries; there, too, `norm` needs `dim=-1, keepdim=True`":
            -scale * (one.sum(0) - (one @ one.sum(0))[:, None] * one) / lengths,
        "the factor 2 is missing: each pair stands twice in the sum over i and j": expected / 2,
        "divided by N * N; there are N * (N - 1) pairs of different queries": expected * (count - 1) / count,
        "the number of pairs is missing: this is the push of the sum over pairs, not of their mean": expected / scale * 2,
        "the sum should be over unit vectors, yours is over the queries as they are": -scale * (
            queries.sum(0) - (unit @ queries.sum(0))[:, None] * unit) / lengths})


@exercise("squared_cosine", notebook=NOTEBOOK, answer=squared_cosine, difficulty=2, minutes=6,
          goal="A variant: the mean *squared* cosine over pairs of different queries in real windows. Now opposite queries cost as much as "
               "equal ones, and only orthogonal ones cost nothing. Nothing to compare: 0. Keep its gradient.",
          shapes="`queries` (B * W, N, D), `real` (B * W,) bool or None -> a scalar tensor, differentiable",
          hints=("Where in your `diversity_loss` do the cosines of the pairs stand, one by one, before they are averaged?",
                 "The same lines with `.square()` before `.mean()`. After the mean it is too late. The trick with the sum does not help here."))
def _(t: Trial):
    queries = _windows(t)
    windows, num_queries, _ = queries.shape
    real = torch.arange(windows) != t.number(0, windows - 1)
    pairs = _pairs(queries[real])
    suspects = {
        "squared after the mean: cosines of both signs have cancelled by then; square each one": pairs.mean().square(),
        "squared after the mean over each window: its cosines have cancelled by then; square each one": pairs.mean(1).square().mean(),
        "divided by N * N; there are N * (N - 1) pairs of different queries": pairs.square().mean() * (num_queries - 1) / num_queries,
        "the diagonal counts: each query is compared with itself": cosine_matrix(queries[real]).square().mean(),
        "these are absolute values, not squares": pairs.abs().mean(),
        "nothing is squared: this is the paper's loss": pairs.mean(),
        "`real` has no effect: windows of padding count as well": _pairs(queries).square().mean(),
        "the square root of the mean square; leave it a square": pairs.square().mean().sqrt(),
        "the mean over windows and pairs is missing": pairs.square().sum(1).mean()}
    t.same(t.run(queries, real), squared_cosine(queries, real), suspects)
    t.same(t.run(queries), squared_cosine(queries), what="without `real` (None: all windows count) the result")
    for nothing in ((queries, torch.zeros_like(real)), (queries[:, :1], real)):
        _nothing_is_zero(t, *nothing, "where there is no pair to compare")
    _trainable(t, squared_cosine, queries, real)


@exercise("gram", notebook=NOTEBOOK, answer=gram, difficulty=3, minutes=12,
          goal="A variant that also looks at lengths. Scale each window so that the *mean squared length* of its queries is 1, take all N * N dot "
               "products (the Gram matrix), and give the mean squared difference from the identity, the diagonal included. Keep its gradient.",
          shapes="`queries` (B * W, N, D), `real` (B * W,) bool or None -> a scalar tensor, differentiable; 0 where no window is real",
          hints=("One number a window scales all of its queries alike; so a query that is longer than the others stays longer.",
                 "With `held`, the queries of the real windows: `held = held / held.square().sum(-1).mean(-1).sqrt()[:, None, None]`, then "
                 "`(held @ held.transpose(1, 2) - torch.eye(N)).square().mean()`."))
def _(t: Trial):
    queries = _windows(t)
    windows, num_queries, _ = queries.shape
    real = torch.arange(windows) != t.number(0, windows - 1)
    kept, identity = queries[real], torch.eye(num_queries)
    off = ~torch.eye(num_queries, dtype=torch.bool)

    def scaled(held):
        return held / held.square().sum(-1).mean(-1).sqrt()[:, None, None]

    def apart(held):
        return held @ held.transpose(1, 2) - identity

    alike = queries[real] / queries[real].square().sum(-1).mean().sqrt()
    suspects = {
        "each query has been given the length 1: the lengths no longer count. One scale for a whole window": apart(F.normalize(kept, dim=-1)).square().mean(),
        "nothing is scaled: with long queries the loss is huge, whatever their directions": apart(kept).square().mean(),
        "one scale for all windows together; each window has its own": apart(alike).square().mean(),
        "only off the diagonal; there stand the lengths, and they should count here": apart(scaled(kept))[:, off].square().mean(),
        "the identity is not taken off": (apart(scaled(kept)) + identity).square().mean(),
        "the sum over a window's N * N entries, not their mean": apart(scaled(kept)).square().sum((1, 2)).mean(),
        "`real` has no effect: windows of padding count as well": apart(scaled(queries)).square().mean(),
        "scaled by the mean length; wanted is the root of the mean *squared* length":
            apart(kept / kept.norm(dim=-1).mean(-1)[:, None, None]).square().mean(),
        "the mean square of the single numbers is 1; it should be that of the lengths: add up over D before the mean over the queries":
            apart(kept / kept.square().mean((1, 2), keepdim=True).sqrt()).square().mean(),
        "scaled by the mean squared length itself; take its square root":
            apart(kept / kept.square().sum(-1).mean(-1)[:, None, None]).square().mean()}
    t.same(t.run(queries, real), gram(queries, real), suspects)
    t.same(t.run(queries), gram(queries), what="without `real` (None: all windows count) the result")
    _nothing_is_zero(t, queries, torch.zeros_like(real), "where no window is real")

    def constant_scale(held, real):
        held = held[real]
        return apart(held / held.detach().square().sum(-1).mean(-1).sqrt()[:, None, None]).square().mean()

    _trainable(t, gram, queries, real, suspects={"the scale has lost its gradient (a `detach`?): it changes as the queries change": constant_scale})
