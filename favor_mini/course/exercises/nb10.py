"""Exercises of notebook 10: metrics, intervals, choice by likelihood, paired differences."""

from itertools import zip_longest

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...evaluation.intervals import QUANTILES, cluster_bootstrap
from ...evaluation.intervals import wilson as wilson_interval
from ...evaluation.metrics import word_errors
from ...lab.diagnose import skill
from ..exercise import Trial, exercise
from ..tensors import check_layouts

Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


def word_error_rate(hypotheses: list[str], references: list[str]) -> float:
    """jiwer's word error rate of all texts together, as in the package."""
    return word_errors(hypotheses, references).rate


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The package's 95 % Wilson interval of an accuracy: (low, high)."""
    return wilson_interval(right, asked)


def choose_candidate(logits: Tensor, labels: Tensor) -> int:
    """torch's cross-entropy; the lowest is the most likely candidate."""
    nll = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return int(nll.sum(1).argmin())


def paired_difference(right_a: np.ndarray, right_b: np.ndarray, clip: np.ndarray):
    """b - a in points, with a 95 % interval by the package's `cluster_bootstrap`."""
    gained = 100.0 * (np.asarray(right_b, float) - np.asarray(right_a, float))
    drawn = cluster_bootstrap(gained, clip)
    return float(gained.mean()), *(float(q) for q in np.quantile(drawn, QUANTILES))


def _not_clipped(t: Trial, found, limit: float, message: str) -> None:
    t.require(not (isinstance(found, int | float) and found == limit), message)


@exercise(skill)
def _(t: Trial):
    chance, accuracy = float(0.1 + 0.4 * t.rng.random()), float(0.6 + 0.3 * t.rng.random())
    t.check((accuracy, chance), {
        "this is how far it is above chance; divide by how far it could be, `1 - chance`":
            accuracy - chance,
        "this is how many times better than chance; always right should be 1": accuracy / chance,
        "you divide by chance; divide by `1 - chance`, so that always right is 1":
            (accuracy - chance) / chance,
        "the two are swapped: `accuracy` comes first": (chance - accuracy) / (1 - accuracy)})
    low = float(chance * t.rng.random() * 0.8)
    found = t.run(low, chance)
    _not_clipped(t, found, 0, "worse than guessing should be below 0; do not clip it")
    t.compare(found, skill(low, chance), what="with an accuracy below chance the result")


def _distance(found, reference, wrong=1.0, missing=1.0, extra=1.0) -> float:
    """The edit distance of two sequences, by the costs of each kind of error."""
    table = np.zeros((len(reference) + 1, len(found) + 1))
    table[:, 0] = missing * np.arange(len(reference) + 1)
    table[0] = extra * np.arange(len(found) + 1)
    for i, word in enumerate(reference, 1):
        for j, other in enumerate(found, 1):
            table[i, j] = min(table[i - 1, j] + missing, table[i, j - 1] + extra,
                              table[i - 1, j - 1] + wrong * (word != other))
    return float(table[-1, -1])


@exercise(word_error_rate)
def _(t: Trial):
    hypotheses, references = [], []
    known = ["moon", "king", "lion", "ring", "salt", "fish"]
    for count in (t.integer(2, 3), t.integer(4, 5), t.integer(6, 8), t.integer(3, 7)):
        words = t.rng.choice(known, count).tolist()
        other = [w for w in words if t.rng.random() < 0.7]
        for _ in range(t.integer(0, 2)):
            other.insert(t.integer(0, len(other)), str(t.rng.choice(["moon", "zero"])))
        hypotheses.append(" ".join(other))
        references.append(" ".join(words))
    # There are always insertions and a deletion.
    hypotheses[0], references[1] = f"zero salt {references[0]}", f"{references[1]} door"
    pairs = [(a.split(), b.split()) for a, b in zip(hypotheses, references, strict=True)]
    words = sum(len(b) for _, b in pairs)
    errors = [_distance(a, b) for a, b in pairs]
    in_place = [sum(x != y for x, y in zip_longest(a, b)) for a, b in pairs]
    letters = sum(map(_distance, hypotheses, references)) / sum(map(len, references))

    def rate(**costs):
        return sum(_distance(a, b, **costs) for a, b in pairs) / words

    t.check((hypotheses, references), {
        "this is the number of errors; divide by the number of words in the references":
            float(sum(errors)),
        "you divide by the words of the hypotheses; divide by those of the *references*, else long "
        "hypotheses would pay": sum(errors) / sum(len(a) for a, _ in pairs),
        "this is the mean of the texts' rates; long texts should count for more: add up errors and "
        "words "
        "first": float(np.mean([e / len(b) for e, (_, b) in zip(errors, pairs, strict=True)])),
        "the words are compared place by place; one missing word shifts all that follow":
            sum(in_place) / words,
        "extra words cost nothing in yours; each is an error": rate(extra=0.0),
        "missing words cost nothing in yours; each is an error": rate(missing=0.0),
        "a wrong word costs two in yours (one missing and one extra); it is one error":
            rate(wrong=2.0),
        "letters are compared, not words: split the texts first": letters,
        "this is the share of texts with an error": float(np.mean([e > 0 for e in errors])),
        "the rate is in percent; 1 error in 4 words is 0.25": 100 * sum(errors) / words})
    found = t.run(["a b c d e"], ["x"])
    _not_clipped(t, found, 1.0, "the rate may be above 1, where a hypothesis is too long; do not "
                                "clip it")
    t.compare(found, 5.0, what="for five wrong words where the reference has one, the rate")


def _wilson(right: int, n: int, z: float = Z) -> tuple[float, float]:
    """The middle and the half width of Wilson's interval."""
    p, grown = right / n, 1 + z * z / n
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return (p + z * z / (2 * n)) / grown, half / grown


@exercise(wilson)
def _(t: Trial):
    asked = t.integer(12, 60)
    right = t.integer(2, asked - 3)
    p, grown = right / asked, 1 + Z * Z / asked
    middle, half = _wilson(right, asked)
    naive = Z * (p * (1 - p) / asked) ** 0.5

    def ends(middle, half):
        return middle - half, middle + half

    def check(right, suspects=None, what="the result"):
        found = t.run(right, asked)
        t.require_tuple(found, 2, "expected two numbers, (low, high)")
        t.compare(tuple(found), wilson(right, asked), suspects, what, tolerance=2e-4)

    check(right, {
        "this is the textbook's interval, p plus and minus 1.96 standard errors; where all answers "
        "are right its width is 0": ends(p, naive),
        "the middle is correct, but the half width is the textbook's: the term z^2 / 4 n^2 and the "
        "division are missing": ends(middle, naive),
        "the middle is still p; Wilson's is nearer to one half": ends(p, half),
        "neither is divided by 1 + z^2 / n": ends(middle * grown, half * grown),
        "the half width is not divided by 1 + z^2 / n": ends(middle, half * grown),
        "this is a 90 % interval (z = 1.645); z is 1.96 for 95 %":
            ends(*_wilson(right, asked, 1.6448536)),
        "the ends are in percent; return shares from 0 to 1": ends(100 * middle, 100 * half),
        "these are the middle and the half width; return the ends": (middle, half),
        "high comes before low": ends(middle, -half)})
    for extreme in (0, asked):
        check(extreme, what=f"with {extreme} of {asked} right the interval")


@exercise(choose_candidate)
def _(t: Trial):
    cases, expected, mistakes = [], [], {}
    for _ in range(8):  # single choices may agree by chance; eight of them will not
        count, length, words = t.integer(4, 5), t.integer(7, 9), t.integer(6, 9)
        logits, labels = 2 * t.randn(count, length, words), torch.full((count, length), -100)
        for row in labels:
            start, tokens = length - 5, t.integer(1, 4)
            row[start : start + tokens] = t.randint(0, words, tokens)
        labels[:, 0] = t.randint(0, words, count)  # no prediction comes before it
        logits = logits * (0.5 + torch.from_numpy(t.rng.random((count, length, 1))).float())
        cases.append((logits, labels))
        expected.append(choose_candidate(logits, labels))
        targets = labels[:, 1:]
        counts = targets >= 0

        def of(values: Tensor, targets: Tensor) -> Tensor:
            return values.gather(-1, targets.clamp(min=0)[..., None])[..., 0]

        logp = of(logits[:, :-1].log_softmax(-1), targets)
        total = (logp * counts).sum(1)
        for message, score in {
                "logits and labels are not shifted: the logits at place t predict the token at t + "
                "1": (of(logits.log_softmax(-1), labels) * (labels >= 0)).sum(1),
                "the first label of each row has wrapped to the row's end (`roll`); drop it":
                    (of(logits.log_softmax(-1), labels.roll(-1, 1))
                     * (labels.roll(-1, 1) >= 0)).sum(1),
                "this is the mean over a candidate's tokens, as the package takes it; here whole "
                "answers are compared, so add them up": total / counts.sum(1),
                "prompt and padding count as well (their label -100 is used as a token); only "
                "labels of 0 or more count": logp.sum(1),
                "these are logits; their zero is arbitrary everywhere. Take `log_softmax` first":
                    (of(logits[:, :-1], targets) * counts).sum(1),
                "this is the *least* likely candidate: a low loss is a high probability": -total,
                "probabilities are added; they multiply, so add their logarithms":
                    (logp.exp() * counts).sum(1),
                "only the first token of each answer counts in yours":
                    logp[torch.arange(count), counts.int().argmax(1)]}.items():
            mistakes.setdefault(message, []).append(int(score.argmax()))
    found = []
    for case in cases:
        one = t.run(*case)
        one = one.item() if isinstance(one, Tensor) and one.numel() == 1 else one
        t.require(isinstance(one, int | np.integer) and not isinstance(one, bool),
                  "expected one integer, the index of a candidate (`int(...argmax())`)")
        found.append(int(one))
    t.compare(found, expected, mistakes, "the list of indices over eight cases")
    check_layouts(t, *cases[0])


@exercise(paired_difference)
def _(t: Trial):
    clips, each = t.integer(60, 80), 6
    clip = np.repeat(np.arange(clips), each)
    normal = t.rng.standard_normal
    hard = normal((clips, 1)) * 1.2 + normal((clips, each)) * 0.5  # for both models
    better = 0.6 + 2.5 * normal((clips, 1))  # b gains in some clips and loses in others
    a = (hard > -0.2).ravel()
    b = (np.where(t.rng.random((clips, 1)) < 0.25, hard + better, hard) > -0.2).ravel()
    order = t.rng.permutation(len(clip))
    a, b, clip = a[order], b[order], clip[order]
    expected = np.array(paired_difference(a, b, clip))
    mean, width = expected[0], expected[2] - expected[1]
    found = t.run(a, b, clip)
    t.require_tuple(found, 3, "expected three numbers: (difference, low, high)")
    t.require(all(isinstance(f, int | float | np.number) for f in found),
              "expected three numbers: (difference, low, high)")
    found = np.array([float(f) for f in found])
    t.require(np.isfinite(found).all(), "the three numbers should be finite")

    def near(ends, slack: float = 0.13) -> bool:  # random draws differ a little
        return bool(np.abs(found - np.array([mean, *ends])).max() < slack * width)

    t.require(abs(found[0] + mean) > 1e-3 or abs(mean) < 0.1,
              "the sign is wrong: the difference is b - a")
    t.require(not np.abs(found - expected / 100).max() < 0.002 * width,
              "these are shares; return points (percent): 100 times as much")
    t.require(abs(found[0] - mean) < 1e-3 * (1 + abs(mean)),
              f"the difference should be {mean:.3f}, found {found[0]:.3f}; it is that of the "
              "given answers, not of a bootstrap draw")
    t.require(found[1] < found[2], "low should be below high")
    rng = np.random.default_rng(1)
    gained = 100.0 * (b.astype(float) - a)
    drawn = gained[rng.integers(0, len(gained), (2000, len(gained)))].mean(1)
    both = np.array([-1, 1])
    alone = 1.96 * gained.std() / len(gained) ** 0.5
    unpaired = 100 * 1.96 * np.hypot(_standard_error(a, clip), _standard_error(b, clip))
    t.require(not near(np.quantile(gained, QUANTILES), 0.5)
              and not np.isin(found[1:], [-100.0, 0.0, 100.0]).all(),
              "these are quantiles of single questions; take quantiles of the *mean*, over many "
              "draws")
    t.require(not near(mean + both * unpaired),
              "the interval is as wide as if the two models had been drawn apart: draw clips "
              "once, and use both models' answers on them")
    t.require(not near(mean + (expected[1:] - mean) * 1.645 / 1.96, 0.04),
              "this is a 90 % interval; cut off 2.5 % at each end")
    t.require(not (near(np.quantile(drawn, QUANTILES), 0.1) or near(mean + both * alone, 0.1)),
              "single questions are drawn; questions about one clip are not independent, so draw "
              "whole *clips*")
    t.require(near(expected[1:]),
              f"the interval should be about {expected[1]:.1f} to {expected[2]:.1f}, found "
              f"{found[1]:.1f} to {found[2]:.1f}")


def _standard_error(right: np.ndarray, clip: np.ndarray) -> float:
    """Standard error of an accuracy over clips."""
    means = np.bincount(clip, right.astype(float)) / np.bincount(clip)
    return float(means.std(ddof=1) / len(means) ** 0.5)
