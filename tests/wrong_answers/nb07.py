"""Wrong answers to the exercises of notebook 07."""

import torch
import torch.nn.functional as F


def dot_products(queries):
    return queries @ queries.transpose(1, 2)


def one_length_of_rows(queries):
    return queries @ queries.transpose(1, 2) / queries.norm(dim=-1)[:, :, None]


def wrong_axis(queries):
    unit = F.normalize(queries, dim=1)
    return unit @ unit.transpose(1, 2)


def across_windows(queries):
    unit = F.normalize(queries.flatten(0, 1), dim=-1)
    return unit @ unit.T


def distances(queries):
    unit = F.normalize(queries, dim=-1)
    return 1 - unit @ unit.transpose(1, 2)


def normalised_in_place(queries):
    queries /= queries.norm(dim=-1, keepdim=True)
    return queries @ queries.transpose(1, 2)


def _cosines(queries):
    unit = F.normalize(queries, dim=-1)
    return unit @ unit.transpose(1, 2)


def _off(queries):
    return ~torch.eye(queries.shape[1], dtype=torch.bool)


def _kept(queries, real):
    return queries if real is None else queries[real]


def _nothing(queries):
    return len(queries) == 0 or queries.shape[1] < 2


def with_diagonal(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries).mean() if len(queries) else queries.sum()


def padding_counts(queries, real=None):
    return _cosines(queries)[:, _off(queries)].mean()


def half_of_the_pairs(queries, real=None):
    queries = _kept(queries, real)
    n = queries.shape[1]
    return _cosines(queries).triu(1).sum((1, 2)).mean() / (n * (n - 1))


def summed(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].sum(1).mean()


def lengths_left(queries, real=None):
    queries = _kept(queries, real)
    return (queries @ queries.transpose(1, 2))[:, _off(queries)].mean()


def turned(queries, real=None):
    queries = _kept(queries, real)
    return -_cosines(queries)[:, _off(queries)].mean()


def per_window(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].mean(1)


def masked_to_zero(queries, real=None):
    value = _cosines(queries)[:, _off(queries)].mean(1)
    return (value if real is None else value * real).mean()


def all_windows_in_one(queries, real=None):
    queries = _kept(queries, real).flatten(0, 1)[None]
    return _cosines(queries)[:, _off(queries)].mean()


def mean_of_nothing(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].mean()


def single_query_is_nan(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].mean() if len(queries) else queries.sum() * 0.0


def uphill(queries):
    return -_push(queries)


def _push(queries, lengths=True):
    unit, n = F.normalize(queries, dim=-1), len(queries)
    s = unit.sum(0)
    across = s - (unit @ s)[:, None] * unit
    return -2 / (n * (n - 1)) * across / (queries.norm(dim=-1, keepdim=True) if lengths else 1.0)


def straight_away(queries):
    unit, n = F.normalize(queries, dim=-1), len(queries)
    return -2 / (n * (n - 1)) * unit.sum(0) / queries.norm(dim=-1, keepdim=True)


def without_lengths(queries):
    return _push(queries, lengths=False)


def times_lengths(queries):
    return _push(queries) * queries.square().sum(-1, keepdim=True)


def half(queries):
    return _push(queries) / 2


def over_n_squared(queries):
    return _push(queries) * (len(queries) - 1) / len(queries)


def of_the_sum(queries):
    return _push(queries) * len(queries) * (len(queries) - 1)


def sum_of_queries(queries):
    unit, n = F.normalize(queries, dim=-1), len(queries)
    s = queries.sum(0)
    lengths = queries.norm(dim=-1, keepdim=True)
    return -2 / (n * (n - 1)) * (s - (unit @ s)[:, None] * unit) / lengths


def square_of_mean(queries, real=None):
    return mean_of_nothing(queries, real).square()


def squares_with_diagonal(queries, real=None):
    return _cosines(_kept(queries, real)).square().mean()


def absolute(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].abs().mean()


def squares_of_padding(queries, real=None):
    return _cosines(queries)[:, _off(queries)].square().mean()


def root(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].square().mean().sqrt()


def squares_of_nothing(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].square().mean()


def _gram(held):
    return held @ held.transpose(1, 2) - torch.eye(held.shape[1])


def _scaled(held, power=0.5):
    return held / (held.square().sum(-1).mean(-1) ** power)[:, None, None]


def directions_only(queries, real=None):
    return _gram(F.normalize(_kept(queries, real), dim=-1)).square().mean()


def unscaled(queries, real=None):
    return _gram(_kept(queries, real)).square().mean()


def one_scale(queries, real=None):
    held = _kept(queries, real)
    return _gram(held / held.square().sum(-1).mean().sqrt()).square().mean()


def off_diagonal_only(queries, real=None):
    held = _kept(queries, real)
    return _gram(_scaled(held))[:, _off(held)].square().mean()


def no_identity(queries, real=None):
    held = _scaled(_kept(queries, real))
    return (held @ held.transpose(1, 2)).square().mean()


def gram_summed(queries, real=None):
    return _gram(_scaled(_kept(queries, real))).square().sum((1, 2)).mean()


def gram_of_padding(queries, real=None):
    return _gram(_scaled(queries)).square().mean()


def no_root(queries, real=None):
    return _gram(_scaled(_kept(queries, real), 1.0)).square().mean()


def gram_of_nothing(queries, real=None):
    return _gram(_scaled(_kept(queries, real))).square().mean()


def one_length_of_columns(queries):
    return queries @ queries.transpose(1, 2) / queries.norm(dim=-1)[:, None, :]


def one_length_a_window(queries):
    unit = queries / queries.norm(dim=(1, 2), keepdim=True)
    return unit @ unit.transpose(1, 2)


def one_length_for_all(queries):
    unit = queries / queries.norm()
    return unit @ unit.transpose(1, 2)


def cosines_detached(queries):
    return _cosines(queries).detach()


def lengths_detached(queries):
    unit = queries / queries.norm(dim=-1, keepdim=True).detach()
    return unit @ unit.transpose(1, 2)


def by_numpy(queries):
    unit = queries.detach().numpy()
    unit = unit / (unit**2).sum(-1, keepdims=True) ** 0.5
    return torch.from_numpy(unit @ unit.swapaxes(1, 2))


def loss_over_n_squared(queries, real=None):
    queries = _kept(queries, real)
    return (_cosines(queries) * _off(queries)).mean()


def loss_of_absolute(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].abs().mean()


def loss_of_squares(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].square().mean()


def _loss(queries, real=None):
    queries = _kept(queries, real)
    return queries.sum() * 0.0 if _nothing(queries) else _cosines(queries)[:, _off(queries)].mean()


def loss_as_a_number(queries, real=None):
    return torch.tensor(_loss(queries, real).item())


@torch.no_grad()
def loss_without_grad(queries, real=None):
    return _loss(queries, real)


def along_raw(queries):
    unit, n = F.normalize(queries, dim=-1), len(queries)
    lengths = queries.norm(dim=-1, keepdim=True)
    s = unit.sum(0)
    return -2 / (n * (n - 1)) * (s - (queries @ s)[:, None] * queries) / lengths


def last_raw(queries):
    unit, n = F.normalize(queries, dim=-1), len(queries)
    lengths = queries.norm(dim=-1, keepdim=True)
    s = unit.sum(0)
    return -2 / (n * (n - 1)) * (s - (unit @ s)[:, None] * queries) / lengths


def divided_by_one_norm(queries):
    return _push(queries, lengths=False) / queries.norm()


def units_by_one_norm(queries):
    length, n = queries.norm(), len(queries)
    unit = queries / length
    s = unit.sum(0)
    return -2 / (n * (n - 1)) * (s - (unit @ s)[:, None] * unit) / length


def units_by_one_norm_only(queries):
    unit, n = queries / queries.norm(), len(queries)
    s = unit.sum(0)
    lengths = queries.norm(dim=-1, keepdim=True)
    return -2 / (n * (n - 1)) * (s - (unit @ s)[:, None] * unit) / lengths


def square_of_window_means(queries, real=None):
    queries = _kept(queries, real)
    return _cosines(queries)[:, _off(queries)].mean(1).square().mean()


def squares_over_n_squared(queries, real=None):
    queries = _kept(queries, real)
    return (_cosines(queries).square() * _off(queries)).mean()


def squares_detached(queries, real=None):
    queries = _kept(queries, real)
    if _nothing(queries):
        return torch.tensor(0.0)
    return _cosines(queries).detach()[:, _off(queries)].square().mean()


def rms_of_elements(queries, real=None):
    held = _kept(queries, real)
    return _gram(held / held.square().mean((1, 2), keepdim=True).sqrt()).square().mean()


def gram_detached(queries, real=None):
    held = _kept(queries, real)
    return _gram(_scaled(held)).detach().square().mean() if len(held) else torch.tensor(0.0)


def scale_detached(queries, real=None):
    held = _kept(queries, real)
    if not len(held):
        return torch.tensor(0.0)
    scale = held.square().sum(-1).mean(-1).detach().sqrt()[:, None, None]
    return _gram(held / scale).square().mean()


def plain_zero(queries, real=None):
    return 0.0


def plain_zero_for_nothing(queries, real=None):
    return 0.0 if _nothing(_kept(queries, real)) else _loss(queries, real)


def absolute_mean(queries, real=None):
    return _loss(queries, real).abs()


def never_below_zero(queries, real=None):
    return _loss(queries, real).relu()


def through_view(queries):
    unit = queries.view(-1, queries.shape[-1])
    unit = (unit / unit.norm(dim=-1, keepdim=True)).view(queries.shape)
    return unit @ unit.transpose(1, 2)


def by_its_memory(queries):
    return _push(torch.as_strided(queries, queries.shape, (queries.shape[1], 1)))


def squared_number(queries, real=None):
    return squares_detached(queries, real).item()


WRONG = {
    "cosine_matrix": [(dot_products, "dot products"),
                      (one_length_of_rows, "only one of the two lengths"),
                      (wrong_axis, "wrong axis"), (across_windows, "different windows"),
                      (distances, "diagonal should be 1"), (normalised_in_place, "in place"),
                      (one_length_of_columns, "query j"),
                      (one_length_a_window, "for a whole window"),
                      (one_length_for_all, "of all windows"), (cosines_detached, "`.detach()`"),
                      (by_numpy, "numpy or"), (lengths_detached, "lengths have lost"),
                      (through_view, "instead of `view`")],
    "diversity_loss": [(with_diagonal, "diagonal counts"), (padding_counts, "made from padding"),
                       (half_of_the_pairs, "both orders"), (summed, "divide by their number"),
                       (lengths_left, "dot products"), (turned, "sign is wrong"),
                       (per_window, "mean over windows is missing"),
                       (masked_to_zero, "divide by the number of all windows"),
                       (all_windows_in_one, "different windows"),
                       (mean_of_nothing, "mean of nothing"), (single_query_is_nan, "no pairs"),
                       (loss_over_n_squared, "N * N"), (loss_of_absolute, "absolute values"),
                       (loss_of_squares, "squares"), (loss_as_a_number, "`.item()`"),
                       (loss_without_grad, "`no_grad`"), (plain_zero, "depends on the queries"),
                       (plain_zero_for_nothing, "such as `queries.sum() * 0.0`"),
                       (absolute_mean, "absolute value of the mean"),
                       (never_below_zero, "cut off at 0")],
    "push_apart": [(uphill, "uphill"), (straight_away, "is not subtracted"),
                   (without_lengths, "divide by |q|"), (times_lengths, "you multiply"),
                   (half, "factor 2"), (over_n_squared, "N * N"), (of_the_sum, "not of their mean"),
                   (sum_of_queries, "over unnormalised queries"), (along_raw, "both u_i"),
                   (last_raw, "one of the two u_i"), (divided_by_one_norm, "divide by one length"),
                   (units_by_one_norm, "vectors use one length"),
                   (units_by_one_norm_only, "there, too"), (by_its_memory, "not contiguous")],
    "squared_cosine": [(square_of_mean, "after the mean"),
                       (squares_with_diagonal, "diagonal counts"), (absolute, "absolute values"),
                       (mean_of_nothing, "paper's loss"), (squares_of_padding, "no effect"),
                       (root, "square root"), (squares_of_nothing, "mean of nothing"),
                       (square_of_window_means, "mean over each window"),
                       (squares_over_n_squared, "N * N"), (squares_detached, "gradient is lost"),
                       (squared_number, "a plain number")],
    "gram": [(directions_only, "use one scale"), (unscaled, "nothing is scaled"),
             (one_scale, "each window has its own"), (off_diagonal_only, "off the diagonal"),
             (no_identity, "identity"), (gram_summed, "not their mean"),
             (gram_of_padding, "no effect"), (no_root, "square root"),
             (gram_of_nothing, "mean of nothing"), (rms_of_elements, "single numbers"),
             (gram_detached, "gradient is lost"), (scale_detached, "scale has lost")]
}
