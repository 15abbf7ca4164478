"""Exercises of notebook 10: metrics by hand, intervals, choosing by likelihood, and paired differences."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor

from ...aveb.run import resampled
from ...evaluation.metrics import word_errors
from ...lab.diagnose import skill
from ..exercise import Trial, exercise

NOTEBOOK = "10"
Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


def word_error_rate(told: list[str], said: list[str]) -> float:
    """Word error rate of all texts together, by jiwer: as the package counts it."""
    return word_errors(told, said).rate


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The 95 % Wilson interval of an accuracy, by scipy: (low, high)."""
    interval = binomtest(right, asked).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def choose_candidate(logits: Tensor, labels: Tensor) -> int:
    """The candidate with the greatest log probability, by torch: logits (C, L, vocabulary), labels (C, L), -100 where nothing counts."""
    lost = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
    return int(lost.sum(1).argmin())


def paired_difference(right_a: np.ndarray, right_b: np.ndarray, clip: np.ndarray) -> tuple[float, float, float]:
    """How many points b is ahead of a, with a 95 % interval by a bootstrap over clips, by the package's `resampled`."""
    gained = 100.0 * (np.asarray(right_b, float) - np.asarray(right_a, float))
    drawn = resampled(gained, np.ones(len(gained)), [{"media": [str(c)]} for c in clip])
    return float(gained.mean()), *(float(q) for q in np.quantile(drawn, [0.025, 0.975]))


@exercise("skill", notebook=NOTEBOOK, answer=skill, difficulty=1, minutes=4,
          goal="Tasks differ in how often guessing is right. Put an accuracy on a scale on which 0 is guessing and 1 is always right. Worse than "
               "guessing is below 0.",
          shapes="`accuracy`, `chance` numbers from 0 to 1 -> a number",
          hints=("How far above chance is it, and how far above chance could it be?",
                 "`(accuracy - chance) / (1 - chance)`: at `accuracy == chance` 0, at `accuracy == 1` 1."))
def _(t: Trial):
    chance, accuracy = 0.1 + 0.4 * t.rng.random(), 0.6 + 0.3 * t.rng.random()
    chance, accuracy = float(chance), float(accuracy)
    t.same(t.run(accuracy, chance), skill(accuracy, chance), {
        "this is how far it is above chance; divide by how far it could be, `1 - chance`": accuracy - chance,
        "this is how many times better than chance; always right should be 1": accuracy / chance,
        "divided by chance; the scale ends at always right, so divide by `1 - chance`": (accuracy - chance) / chance,
        "the two are swapped: `accuracy` comes first": (chance - accuracy) / (1 - accuracy)})
    low = float(chance * t.rng.random() * 0.8)
    found = t.run(low, chance)
    t.that(not (isinstance(found, int | float) and found == 0), "worse than guessing should be below 0; do not cut it off there")
    t.same(found, skill(low, chance), what="with an accuracy below chance the result")


def _cost(told: list[str], said: list[str], wrong: float = 1.0, missing: float = 1.0, extra: float = 1.0) -> float:
    """Least cost of turning one word list into the other, by the costs of each kind of error."""
    table = np.zeros((len(said) + 1, len(told) + 1))
    table[:, 0], table[0] = missing * np.arange(len(said) + 1), extra * np.arange(len(told) + 1)
    for i, word in enumerate(said, 1):
        for j, other in enumerate(told, 1):
            table[i, j] = min(table[i - 1, j] + missing, table[i, j - 1] + extra, table[i - 1, j - 1] + wrong * (word != other))
    return float(table[-1, -1])


@exercise("word_error_rate", notebook=NOTEBOOK, answer=word_error_rate, difficulty=4, minutes=20,
          goal="The word error rate of several texts: the least number of wrong, missing and extra words by which what was told differs from what "
               "was said, added up over all texts, divided by the number of words *said* in all texts. Fill the table above, row by row.",
          shapes="`told`, `said`: lists of equally many texts, lower case, words apart by single spaces -> a number",
          hints=("For each pair a table of `len(said) + 1` rows and `len(told) + 1` columns; its first row and column count up from 0.",
                 "`table[i, j] = min(table[i-1, j] + 1, table[i, j-1] + 1, table[i-1, j-1] + (said_words[i-1] != told_words[j-1]))`; add up the "
                 "last entries, and divide once, at the end."))
def _(t: Trial):
    told, said = [], []
    for count in (t.number(2, 3), t.number(4, 5), t.number(6, 8), t.number(3, 7)):
        words = [str(w) for w in t.rng.choice(["moon", "king", "lion", "ring", "salt", "fish"], count)]
        other = [w for w in words if t.rng.random() < 0.7]
        for _ in range(t.number(0, 2)):
            other.insert(t.number(0, len(other)), str(t.rng.choice(["moon", "zero"])))
        told.append(" ".join(other))
        said.append(" ".join(words))
    told[0], said[1] = f"zero salt {said[0]}", f"{said[1]} door"  # something is always put in, and something left out
    pairs = [(a.split(), b.split()) for a, b in zip(told, said, strict=True)]
    words = sum(len(b) for _, b in pairs)
    errors = [_cost(a, b) for a, b in pairs]
    here = [sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b)) for a, b in pairs]
    t.same(t.run(told, said), word_error_rate(told, said), {
        "this is the number of errors; divide by the number of words said": float(sum(errors)),
        "divided by the number of words told; it should be the words *said*, else telling a lot would pay": sum(errors) / sum(len(a) for a, _ in pairs),
        "the mean of each text's rate; long texts should count for more: add up errors and words first": float(np.mean(
            [e / len(b) for e, (_, b) in zip(errors, pairs, strict=True)])),
        "the words are compared place by place; one word left out shifts all that follow, and they count as wrong": sum(here) / words,
        "words too many cost nothing in yours; each is an error": sum(_cost(a, b, extra=0.0) for a, b in pairs) / words,
        "words left out cost nothing in yours; each is an error": sum(_cost(a, b, missing=0.0) for a, b in pairs) / words,
        "a wrong word costs two in yours (one left out and one too many); it is one error": sum(_cost(a, b, wrong=2.0) for a, b in pairs) / words,
        "letters are compared, not words: split the texts first": sum(_cost(list(a), list(b)) for a, b in zip(told, said, strict=True)) / sum(map(len, said)),
        "this is the share of texts with an error": float(np.mean([e > 0 for e in errors])),
        "the rate is in percent; 1 error in 4 words is 0.25": 100 * sum(errors) / words})
    found = t.run(["a b c d e"], ["x"])
    t.that(not (isinstance(found, int | float) and found == 1.0), "the rate may be above 1, where more is told than was said; do not cut it off")
    t.same(found, 5.0, what="for five wrong words where one was said, the rate")


@exercise("wilson", notebook=NOTEBOOK, answer=wilson, difficulty=2, minutes=8,
          goal="Write down Wilson's 95 % interval of an accuracy, by the formula above. It must hold up where all answers are right, or none.",
          shapes="`right`, `asked`: whole numbers -> (low, high), two numbers from 0 to 1",
          hints=("Compute p, then the middle, then the half width; the interval is the middle minus and plus the half.",
                 "`middle = (p + z*z / (2*n)) / (1 + z*z/n)`; `half = z / (1 + z*z/n) * (p*(1-p)/n + z*z / (4*n*n)) ** 0.5`; z = 1.96."))
def _(t: Trial):
    asked = t.number(12, 60)
    right = t.number(2, asked - 3)
    p, z = right / asked, Z
    grown = 1 + z * z / asked
    middle, half = (p + z * z / (2 * asked)) / grown, z / grown * (p * (1 - p) / asked + z * z / (4 * asked**2)) ** 0.5
    naive = z * (p * (1 - p) / asked) ** 0.5
    found = t.run(right, asked)
    t.that(isinstance(found, tuple | list) and len(found) == 2, "expected two numbers, (low, high)")
    t.same(tuple(found), wilson(right, asked), {
        "this is the textbook's interval, p plus and minus 1.96 standard errors; where all are right it has no width at all": (p - naive, p + naive),
        "the middle is moved, but the half width is the textbook's: the term z^2 / 4 n^2 and the division are missing": (middle - naive, middle + naive),
        "the middle is still p; Wilson's lies nearer to one half": (p - half, p + half),
        "neither is divided by 1 + z^2 / n": (middle * grown - half * grown, middle * grown + half * grown),
        "the half width is not divided by 1 + z^2 / n": (middle - half * grown, middle + half * grown),
        "this is a 90 % interval (z = 1.645); z is 1.96 for 95 %": _wilson(p, asked, 1.6448536),
        "the ends are in percent; give shares from 0 to 1": tuple(100 * e for e in wilson(right, asked)),
        "these are the middle and the half width; give the ends": (middle, half),
        "high comes before low": (middle + half, middle - half)}, tolerance=2e-4)
    for extreme in (0, asked):
        found = t.run(extreme, asked)
        t.that(isinstance(found, tuple | list) and len(found) == 2, "expected two numbers, (low, high)")
        t.same(tuple(found), wilson(extreme, asked), what=f"with {extreme} of {asked} right the interval", tolerance=2e-4)


def _wilson(p: float, n: int, z: float) -> tuple[float, float]:
    grown = 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / grown, z / grown * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half


@exercise("choose_candidate", notebook=NOTEBOOK, answer=choose_candidate, difficulty=3, minutes=15,
          goal="Which of C answers does the language model find likeliest? Add up the log probabilities of each candidate's tokens. A causal model's "
               "scores at place t speak about the token at place *t + 1*. Labels are -100 where nothing counts: prompt and padding.",
          shapes="`logits` (C, L, vocabulary), `labels` (C, L) -> the index of the likeliest candidate",
          hints=("Shift first: the last logits predict nothing, the first label is predicted by nothing.",
                 "`told = logits[:, :-1].log_softmax(-1)`; `wanted = labels[:, 1:]`; gather at `wanted.clamp(min=0)`, times `(wanted >= 0)`, "
                 "sum over the tokens, argmax."))
def _(t: Trial):
    cases, expected, mistakes = [], [], {}

    def note(message: str, of_candidate: Tensor):
        mistakes.setdefault(message, []).append(int(of_candidate.argmax()))

    for _ in range(8):  # single choices may agree by chance; eight of them will not
        count, length, words = t.number(4, 5), t.number(7, 9), t.number(6, 9)
        logits, labels = 2 * t.randn(count, length, words), torch.full((count, length), -100)
        for row in labels:
            start, tokens = length - 5, t.number(1, 4)
            row[start : start + tokens] = torch.from_numpy(t.rng.integers(0, words, tokens))
        scaled = logits * (0.5 + torch.from_numpy(t.rng.random((count, length, 1))).float())
        cases.append((scaled, labels))
        expected.append(choose_candidate(scaled, labels))
        wanted, counts = labels[:, 1:], labels[:, 1:] >= 0

        def of(values: Tensor, wanted: Tensor) -> Tensor:
            return values.gather(-1, wanted.clamp(min=0)[..., None])[..., 0]

        told = of(scaled[:, :-1].log_softmax(-1), wanted)
        note("scores and labels are not shifted: the scores at place t are about the token at t + 1",
             (of(scaled.log_softmax(-1), labels) * (labels >= 0)).sum(1))
        note("this is the mean over a candidate's tokens; the package compares whole answers, so add them up", (told * counts).sum(1) / counts.sum(1))
        note("prompt and padding count as well (their label -100 reads as a token); only places with a label of 0 or more do", told.sum(1))
        note("these are raw scores; their zero is arbitrary at every place. Take `log_softmax` first", (of(scaled[:, :-1], wanted) * counts).sum(1))
        note("this is the *least* likely candidate: a loss is small where the probability is great", -(told * counts).sum(1))
        note("probabilities are added up; they multiply, so add up their logarithms", (told.exp() * counts).sum(1))
        note("only the first token of each answer counts in yours", told[torch.arange(count), counts.int().argmax(1)])
    found = []
    for case in cases:
        one = t.run(*case)
        if isinstance(one, Tensor) and one.numel() == 1:
            one = one.item()
        t.that(isinstance(one, int | np.integer) and not isinstance(one, bool), "expected one whole number, the index of a candidate (`int(...argmax())`)")
        found.append(int(one))
    t.same(found, expected, mistakes, what="the list of indices over eight cases")


@exercise("paired_difference", notebook=NOTEBOOK, answer=paired_difference, difficulty=4, minutes=20,
          goal="Two models answered the *same* questions, several about each clip. Give the difference b - a in points of accuracy and its 95 % interval: "
               "draw as many clips as there are, with replacement, each with all of its questions and both models' answers, some thousands "
               "of times; the ends are the quantiles at 2.5 % and 97.5 %.",
          shapes="`right_a`, `right_b` (questions,) bool, `clip` (questions,) whole numbers -> (difference, low, high), in points",
          hints=("Take the difference of each question first; then only one array has to be drawn from, and the pairing is in it.",
                 "Per clip: the sum of its differences and how many there are (`np.bincount`). `rng.multinomial(C, [1/C] * C, 4000)` says how often each "
                 "clip is drawn; the drawn means are `(drawn @ sums) / (drawn @ counts)`; then `np.quantile`."))
def _(t: Trial):
    clips, each = t.number(60, 80), 6
    clip = np.repeat(np.arange(clips), each)
    hard = t.rng.standard_normal((clips, 1)) * 1.2 + t.rng.standard_normal((clips, each)) * 0.5  # what both models find hard
    better = 0.6 + 2.5 * t.rng.standard_normal((clips, 1))  # b gains in some clips and loses in others
    a = (hard > -0.2).ravel()
    b = (np.where(t.rng.random((clips, 1)) < 0.25, hard + better, hard) > -0.2).ravel()
    order = t.rng.permutation(len(clip))
    a, b, clip = a[order], b[order], clip[order]
    expected = np.array(paired_difference(a, b, clip))
    width = expected[2] - expected[1]
    found = t.run(a, b, clip)
    t.that(isinstance(found, tuple | list) and len(found) == 3 and all(isinstance(f, int | float | np.number) for f in found),
           "expected three numbers: (difference, low, high)")
    found = np.array([float(f) for f in found])
    t.that(np.isfinite(found).all(), "the three numbers should be finite")

    def near(other, slack: float = 0.13) -> bool:  # other random draws, a little apart
        return bool(np.abs(found - np.array(other)).max() < slack * width)

    t.that(abs(found[0] + expected[0]) > 1e-3 or abs(expected[0]) < 0.1, "the sign is turned: the difference is b - a")
    t.that(not np.abs(found - expected / 100).max() < 0.002 * width, "these are shares; give points, that is percent: 100 times as much")
    t.that(abs(found[0] - expected[0]) < 1e-3 * (1 + abs(expected[0])), f"the difference should be {expected[0]:.3f}, found {found[0]:.3f}; it is that of "
           "the data as they are, not of a draw")
    t.that(found[1] < found[2], "low should be below high")
    rng = np.random.default_rng(1)
    gained = 100.0 * (b.astype(float) - a)

    def bootstrap(values, draws=2000):
        return np.quantile(values[rng.integers(0, len(values), (draws, len(values)))].mean(1), [0.025, 0.975])

    alone = 1.96 * gained.std() / len(gained) ** 0.5
    unpaired = 100 * 1.96 * np.hypot(_spread(a, clip), _spread(b, clip))
    t.that(not near([expected[0], *np.quantile(gained, [0.025, 0.975])], 0.5) and not np.isin(found[1:], [-100.0, 0.0, 100.0]).all(),
           "these are quantiles of single questions; wanted are quantiles of the *mean*, over many draws")
    t.that(not near([expected[0], *(expected[0] + np.array([-1, 1]) * unpaired)]),
           "the interval is as wide as if the two models had been drawn apart: draw clips once, and take both models' answers on them")
    t.that(not near([expected[0], *(expected[0] + (expected[1:] - expected[0]) * 1.645 / 1.96)], 0.04),
           "this is a 90 % interval; cut off 2.5 % at each end")
    questions = bootstrap(gained)
    t.that(not (near([expected[0], *questions], 0.1) or near([expected[0], expected[0] - alone, expected[0] + alone], 0.1)),
           "single questions are drawn; questions about one clip stand or fall together, so draw whole *clips*")
    t.that(near(expected), f"the interval should be about {expected[1]:.1f} to {expected[2]:.1f}, found {found[1]:.1f} to {found[2]:.1f}")


def _spread(right: np.ndarray, clip: np.ndarray) -> float:
    """Standard error of an accuracy over clips."""
    means = np.bincount(clip, right.astype(float)) / np.bincount(clip)
    return float(means.std(ddof=1) / len(means) ** 0.5)
