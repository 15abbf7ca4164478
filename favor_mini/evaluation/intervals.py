"""95 % confidence intervals over clips.

Answers about one clip are correlated, so clips are the independent units ("clusters").
`cluster_interval` is for an accuracy, `cluster_bootstrap` for other means, ratios and paired
differences.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Z = 1.959963984540054  # the 0.975 quantile of the normal distribution
QUANTILES = (0.025, 0.975)


def wilson(right: float, count: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of `right` successes in `count` independent trials: (low,
    high). `right` and `count` need not be integers."""
    p, scale = right / count, 1 + Z**2 / count
    centre = (p + Z**2 / (2 * count)) / scale
    half = Z / scale * np.sqrt(p * (1 - p) / count + Z**2 / (4 * count**2))
    return float(min(p, max(0.0, centre - half))), float(max(p, min(1.0, centre + half)))


def effective_count(right: Sequence[float], clusters: Sequence) -> float:
    """The effective sample size of an accuracy: the count over the design effect (Kish 1965).

    The design effect is the variance of the accuracy with clustered questions divided by its
    variance with independent questions. Values below 1 count as 1. If all clusters have the same
    accuracy, it cannot be estimated, and each cluster counts once.

    Args:
        right: 1 or 0 for each question. clusters: the clip that each question is about.
    """
    right = np.asarray(right, float)
    index = np.unique(np.asarray(clusters), return_inverse=True)[1]
    count, number = len(right), int(index.max()) + 1
    if number == count:
        return float(count)
    residual = np.bincount(index, right - right.mean())  # [clusters]
    if np.allclose(residual, 0):
        return float(number)
    of_clusters = number / (number - 1) * (residual**2).sum() / count**2
    return float(min(count, count * right.var() / (count - 1) / of_clusters))


def cluster_interval(right: Sequence[float], clusters: Sequence) -> tuple[float, float]:
    """Wilson's interval of an accuracy at its `effective_count`: (low, high)."""
    count = effective_count(right, clusters)
    return wilson(float(np.mean(right)) * count, count)


def cluster_bootstrap(values: Sequence[float], clusters: Sequence,
                      weights: Sequence[float] | None = None, *,
                      draws: int = 4000, seed: int = 0) -> np.ndarray:
    """Bootstrap of sum(values) / sum(weights), (draws,): clusters are resampled with replacement.

    `np.quantile(cluster_bootstrap(...), QUANTILES)` is the percentile interval. For a paired
    difference subtract the results of two models: the same clusters and seed give the same
    resamples.

    Args:
        values: one for each row. clusters: the clip of each row.
        weights: the denominator of each row; None: 1 each. If all weights of a resample are 0,
            its ratio is 0.
        draws: the number of resamples.
    """
    index = np.unique(np.asarray(clusters), return_inverse=True)[1]
    weights = np.ones(len(index)) if weights is None else np.asarray(weights, float)
    drawn = _drawn(int(index.max()) + 1, draws, seed)
    sums, of = (drawn @ np.bincount(index, each) for each in (values, weights))  # [draws]
    return np.divide(sums, of, out=np.zeros(draws), where=of > 0)


@lru_cache(maxsize=4)
def _drawn(number: int, draws: int, seed: int) -> np.ndarray:
    """How often each draw takes each cluster: (draws, number)."""
    return np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), draws)


def newcombe(one: tuple[float, float, float],
             other: tuple[float, float, float]) -> tuple[float, float]:
    """The interval of the difference of two proportions (Newcombe 1998, method 10).

    It assumes independent samples. Unlike a bootstrap interval, its width is not zero if all
    answers are right.

    Args:
        one, other: (value, low, high), with bounds from `wilson` or `cluster_interval`.
    """
    (p, p_low, p_high), (q, q_low, q_high) = one, other
    return (p - q - float(np.hypot(p - p_low, q_high - q)),
            p - q + float(np.hypot(p_high - p, q - q_low)))
