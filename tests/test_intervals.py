"""Confidence intervals: compared with textbook formulas, and how often they cover the truth."""

import numpy as np
import pytest

from favor_mini.evaluation.intervals import (
    QUANTILES,
    cluster_bootstrap,
    cluster_interval,
    effective_count,
    newcombe,
    wilson,
)


@pytest.mark.parametrize("right, count", [(9, 10), (0, 7), (40, 40), (1, 1), (573, 1145)])
def test_wilson_agrees_with_scipy(right, count):
    from scipy.stats import binomtest

    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_one_question_a_clip_gives_wilsons_interval():
    right = [True] * 19 + [False]
    assert effective_count(right, range(20)) == 20
    assert cluster_interval(right, range(20)) == wilson(19, 20)


def test_a_question_repeated_eight_times_counts_about_once():
    right, clips = np.repeat([1, 1, 1, 0, 0], 8), np.repeat(list("abcde"), 8)
    assert effective_count(right, clips) == pytest.approx(5, rel=0.25)


@pytest.mark.parametrize("right", [np.ones(40), np.zeros(40), np.tile([1.0, 0.0], 20)])
def test_without_variance_between_clips_each_clip_counts_once(right):
    clips = np.repeat(range(10), 4)
    assert effective_count(right, clips) == 10
    assert cluster_interval(right, clips) == pytest.approx(wilson(10 * right.mean(), 10))


def test_negatively_correlated_answers_count_at_most_once_each():
    assert effective_count([1, 0, 1, 0, 1, 0, 1, 1], list("aabbccdd")) <= 8


def correlated(rng, clips: int, questions: int, accuracy: float, correlation: float):
    """Right answers with the given intraclass correlation (beta-binomial), and their clips."""
    scale = 1 / correlation - 1
    of_clip = rng.beta(accuracy * scale, (1 - accuracy) * scale, clips)
    right = rng.random((clips, questions)) < of_clip[:, None]
    return right.ravel(), np.repeat(np.arange(clips), questions)


@pytest.mark.parametrize("accuracy, questions, correlation",
                         [(0.5, 28, 0.2), (0.9, 28, 0.2), (0.9, 6, 0.6)])
def test_cluster_intervals_cover_the_true_accuracy(accuracy, questions, correlation):
    """Guards against intervals that take questions about one clip for independent ones."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        right, clips = correlated(rng, 40, questions, accuracy, correlation)
        found = (cluster_interval(right, clips), wilson(right.sum(), len(right)),
                 np.quantile(cluster_bootstrap(right, clips, draws=500), QUANTILES))
        covered.append([low <= accuracy <= high for low, high in found])
    cluster, independent, bootstrap = np.mean(covered, axis=0)
    assert cluster > 0.9 and bootstrap > 0.88 and independent < 0.8


def test_the_bootstrap_of_a_mean_spreads_as_its_standard_error():
    values = np.random.default_rng(0).normal(3, 2, 400)
    draws = cluster_bootstrap(values, range(400))
    assert draws.shape == (4000,) and draws.mean() == pytest.approx(values.mean(), abs=0.02)
    assert draws.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_weights_give_a_ratio_and_the_same_clusters_the_same_draws():
    errors, words, clips = np.array([1.0, 0, 2, 3]), np.array([4.0, 5, 6, 7]), list("aabc")
    draws = cluster_bootstrap(errors, clips, words)
    assert draws.max() == pytest.approx(3 / 7)  # clip c three times
    assert draws.min() == pytest.approx(1 / 9)  # clip a three times
    assert np.array_equal(draws, cluster_bootstrap(errors, clips, words))
    assert cluster_bootstrap(errors + words, clips, words) - draws == pytest.approx(np.ones(4000))


def test_newcombe_by_hand():
    # Wilson's bounds are 0.832 for 19 of 19 and 0.376 for 3 of 19.
    low, high = newcombe((1.0, *wilson(19, 19)), (3 / 19, *wilson(3, 19)))
    assert low == pytest.approx(16 / 19 - np.hypot(1 - 0.8318, 0.3757 - 3 / 19), abs=1e-3)
    assert low < 16 / 19 < high
