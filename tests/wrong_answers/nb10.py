"""Wrong answers to the exercises of notebook 10."""

from functools import partial

import numpy as np
import torch


def above_chance(accuracy, chance):
    return accuracy - chance


def times_chance(accuracy, chance):
    return accuracy / chance


def over_chance(accuracy, chance):
    return (accuracy - chance) / chance


def swapped(accuracy, chance):
    return (chance - accuracy) / (1 - accuracy)


def cut_off(accuracy, chance):
    return max(0, (accuracy - chance) / (1 - chance))


def _errors(hypotheses, references, wrong=1, missing=1, extra=1):
    table = np.zeros((len(references) + 1, len(hypotheses) + 1))
    for i in range(len(references) + 1):
        for j in range(len(hypotheses) + 1):
            if i == 0 or j == 0:
                table[i, j] = i * missing + j * extra
            else:
                table[i, j] = min(table[i - 1, j] + missing, table[i, j - 1] + extra,
                                  table[i - 1, j - 1]
                                  + wrong * (references[i - 1] != hypotheses[j - 1]))
    return float(table[-1, -1])


def _words(texts):
    return [text.split() for text in texts]


def _rate(hypotheses, references, **costs):
    errors = map(partial(_errors, **costs), _words(hypotheses), _words(references))
    return sum(errors) / sum(map(len, _words(references)))


def undivided(hypotheses, references):
    return _rate(hypotheses, references) * sum(map(len, _words(references)))


def by_hypotheses(hypotheses, references):
    return undivided(hypotheses, references) / sum(map(len, _words(hypotheses)))


def mean_of_rates(hypotheses, references):
    pairs = zip(_words(hypotheses), _words(references), strict=True)
    return float(np.mean([_errors(a, b) / len(b) for a, b in pairs]))


def place_by_place(hypotheses, references):
    errors = [sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
              for a, b in zip(_words(hypotheses), _words(references), strict=True)]
    return sum(errors) / sum(map(len, _words(references)))


def free_insertions(hypotheses, references):
    return _rate(hypotheses, references, extra=0)


def free_deletions(hypotheses, references):
    return _rate(hypotheses, references, missing=0)


def double_substitutions(hypotheses, references):
    return _rate(hypotheses, references, wrong=2)


def letters(hypotheses, references):
    return sum(map(_errors, hypotheses, references)) / sum(map(len, references))


def percent(hypotheses, references):
    return 100 * _rate(hypotheses, references)


def at_most_one(hypotheses, references):
    return min(1.0, _rate(hypotheses, references))


def _interval(right, asked, z=1.96, divide=True):
    p, n = right / asked, asked
    grown = 1 + z * z / n if divide else 1.0
    return (p + z * z / (2 * n)) / grown, z / grown * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5


def textbook(right, asked):
    p = right / asked
    half = 1.96 * (p * (1 - p) / asked) ** 0.5
    return p - half, p + half


def half_wilson(right, asked):
    p = right / asked
    middle, half = _interval(right, asked)[0], 1.96 * (p * (1 - p) / asked) ** 0.5
    return middle - half, middle + half


def around_p(right, asked):
    half = _interval(right, asked)[1]
    return right / asked - half, right / asked + half


def undivided_wilson(right, asked):
    middle, half = _interval(right, asked, divide=False)
    return middle - half, middle + half


def ninety(right, asked):
    middle, half = _interval(right, asked, 1.6448536)
    return middle - half, middle + half


def middle_and_half(right, asked):
    return _interval(right, asked)


def high_first(right, asked):
    middle, half = _interval(right, asked)
    return middle + half, middle - half


def fails_at_the_ends(right, asked):
    middle, half = _interval(right, asked)
    return (middle - half, middle + half) if 0 < right < asked else (right / asked, right / asked)


def _logp(logits, labels):
    return logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]


def unshifted(logits, labels):
    return int((_logp(logits, labels) * (labels >= 0)).sum(1).argmax())


def mean_of_tokens(logits, labels):
    wanted = labels[:, 1:]
    return int(((_logp(logits[:, :-1], wanted) * (wanted >= 0)).sum(1)
                / (wanted >= 0).sum(1)).argmax())


def rolled(logits, labels):
    wanted = labels.roll(-1, dims=1)
    return int((_logp(logits, wanted) * (wanted >= 0)).sum(1).argmax())


def through_view(logits, labels):
    wanted = labels[:, 1:]
    flat = logits.view(-1, logits.shape[-1]).log_softmax(-1).view(logits.shape)[:, :-1]
    picked = flat.gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    return int((picked * (wanted >= 0)).sum(1).argmax())


def padding_counts(logits, labels):
    return int(_logp(logits[:, :-1], labels[:, 1:]).sum(1).argmax())


def raw_scores(logits, labels):
    wanted = labels[:, 1:]
    scores = logits[:, :-1].gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    return int((scores * (wanted >= 0)).sum(1).argmax())


def least_likely(logits, labels):
    wanted = labels[:, 1:]
    return int((_logp(logits[:, :-1], wanted) * (wanted >= 0)).sum(1).argmin())


def added_probabilities(logits, labels):
    wanted = labels[:, 1:]
    return int((_logp(logits[:, :-1], wanted).exp() * (wanted >= 0)).sum(1).argmax())


def first_token(logits, labels):
    wanted = labels[:, 1:]
    first = (wanted >= 0).int().argmax(1)
    return int(_logp(logits[:, :-1], wanted)[torch.arange(len(labels)), first].argmax())


def the_scores(logits, labels):
    wanted = labels[:, 1:]
    return (_logp(logits[:, :-1], wanted) * (wanted >= 0)).sum(1)


def _over_clips(gained, clip, ends=(0.025, 0.975), draws=4000):
    clips = int(clip.max()) + 1
    drawn = np.random.default_rng(5).multinomial(clips, [1 / clips] * clips, draws)
    sums, counts = np.bincount(clip, gained, clips), np.bincount(clip, minlength=clips)
    means = (drawn @ sums) / (drawn @ counts)
    return gained.mean(), *np.quantile(means, ends)


def a_minus_b(right_a, right_b, clip):
    return _over_clips(100.0 * (right_a.astype(float) - right_b), clip)


def shares(right_a, right_b, clip):
    return _over_clips(right_b.astype(float) - right_a, clip)


def questions_drawn(right_a, right_b, clip):
    gained = 100.0 * (right_b.astype(float) - right_a)
    drawn = np.random.default_rng(5).integers(0, len(gained), (4000, len(gained)))
    return gained.mean(), *np.quantile(gained[drawn].mean(1), [0.025, 0.975])


def drawn_apart(right_a, right_b, clip):
    clips, rng = int(clip.max()) + 1, np.random.default_rng(5)
    means = []
    for right in (right_a, right_b):
        drawn = rng.multinomial(clips, [1 / clips] * clips, 4000)
        means.append(100 * (drawn @ np.bincount(clip, right.astype(float)))
                     / (drawn @ np.bincount(clip)))
    ends = np.quantile(means[1] - means[0], [0.025, 0.975])
    return 100 * (right_b.mean() - right_a.mean()), *ends


def ninety_percent(right_a, right_b, clip):
    return _over_clips(100.0 * (right_b.astype(float) - right_a), clip, (0.05, 0.95))


def of_single_questions(right_a, right_b, clip):
    gained = 100.0 * (right_b.astype(float) - right_a)
    return gained.mean(), *np.quantile(gained, [0.025, 0.975])


def of_one_draw(right_a, right_b, clip):
    value, low, high = _over_clips(100.0 * (right_b.astype(float) - right_a), clip)
    return value + 0.3 * (high - value), low, high


WRONG = {
    "skill": [(above_chance, "how far it could be"), (times_chance, "times better"),
              (over_chance, "divide by chance"), (swapped, "swapped"), (cut_off, "clip it")],
    "word_error_rate": [
        (undivided, "number of errors"), (by_hypotheses, "words of the hypotheses"),
        (mean_of_rates, "texts' rates"), (place_by_place, "place by place"),
        (free_insertions, "extra words cost nothing"),
        (free_deletions, "missing words cost nothing"), (double_substitutions, "costs two"),
        (letters, "letters"), (percent, "percent"), (at_most_one, "above 1")],
    "wilson": [(textbook, "textbook's interval"), (half_wilson, "the half width is the textbook's"),
               (around_p, "still p"), (undivided_wilson, "neither is divided"), (ninety, "90 %"),
               (middle_and_half, "return the ends"), (high_first, "before low"),
               (fails_at_the_ends, "right the interval")],
    "choose_candidate": [
        (unshifted, "not shifted"), (mean_of_tokens, "mean over"),
        (padding_counts, "prompt and padding"), (raw_scores, "these are logits"),
        (least_likely, "least"), (added_probabilities, "probabilities are added"),
        (first_token, "first token"), (the_scores, "one integer"),
        (rolled, "wrapped"), (through_view, "instead of `view`")],
    "paired_difference": [
        (a_minus_b, "sign is wrong"), (shares, "these are shares"),
        (questions_drawn, "whole *clips*"), (drawn_apart, "drawn apart"), (ninety_percent, "90 %"),
        (of_single_questions, "quantiles of single questions"),
        (of_one_draw, "not of a bootstrap draw")]
}
