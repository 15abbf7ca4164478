"""Exercises of notebook 09: the two-part loss, what queries spell, and resuming a training run."""

import json
import tempfile
from pathlib import Path

import torch.nn.functional as F

from ...data.spelling import spelled
from ...losses import diversity_loss
from ...training.trainer import last_checkpoint
from ..exercise import Trial, exercise


def two_part_loss(logits, labels, queries, weight):
    """Cross-entropy + lambda * diversity, as in `FavorForConditionalGeneration`."""
    logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return F.cross_entropy(logits, labels, ignore_index=-100) + weight * diversity_loss(queries)


@exercise(two_part_loss)
def _(t: Trial):
    batch, length, words = t.integer(2, 3), t.integer(6, 9), t.integer(11, 15)
    logits, queries = 2 * t.randn(batch, length, words), t.randn(t.integer(2, 4), 5, 7) + 0.5
    weight = float(t.rng.uniform(0.3, 0.9))
    labels = t.randint(0, words, batch, length)
    labels[:, : length // 2] = -100
    labels[0, : length // 2 + 2] = -100  # not the same number in all rows

    def entropy(logits, labels, **options):
        options = {"ignore_index": -100} | options
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), **options)

    before, following = logits[:, :-1], labels[:, 1:]
    expected, diversity = entropy(before, following), diversity_loss(queries)
    rows = [entropy(*row) for row in zip(before[:, None], following[:, None], strict=True)]
    wrong_entropies = {
        "logits and labels are not shifted: place i predicts place i + 1": entropy(logits, labels),
        "shifted the wrong way: a token is predicted by the logits *before* it":
            entropy(logits[:, 1:], labels[:, :-1]),
        "labels of -100 count; they are not tokens":
            entropy(before, following.clamp(min=0), ignore_index=-1),
        "this is a mean of the rows' means; take one mean over all labelled tokens":
            sum(rows) / batch,
        "this is a sum over the tokens; take the mean": entropy(before, following, reduction="sum")}
    t.check((logits, labels, queries, weight), {
        **{message: wrong + weight * diversity for message, wrong in wrong_entropies.items()},
        "the diversity loss is missing": expected,
        "the diversity loss is not weighted with lambda": expected + diversity,
        "the diversity loss is subtracted; similar queries must cost":
            expected - weight * diversity})


@exercise(spelled)
def _(t: Trial):
    blank = t.integer(0, 2)
    one, two, three = (blank + step for step in (3, 4, 6))
    paths = [[one, two, three],
             [blank, one, one, blank, two, two, two, three, blank],
             [one, blank, one, two, blank, blank, two],  # a token twice, with a blank between
             [two, two, one, two, blank],  # the same token again, later
             [blank] * t.integer(2, 4), []]
    for ids in (paths[i] for i in t.rng.permutation(len(paths))):
        merged = [i for n, i in enumerate(ids) if n == 0 or ids[n - 1] != i]
        plain = [i for i in ids if i != blank]
        t.check((ids, blank), {
            "blanks are still there": merged,
            "equal neighbours are still there: a word can take several queries": plain,
            "the blanks were left out before equal neighbours were merged: a blank between two "
            "equal tokens keeps both": [i for n, i in enumerate(plain)
                                        if n == 0 or plain[n - 1] != i],
            "a token that comes again later counts again": list(dict.fromkeys(plain))})


@exercise(last_checkpoint)
def _(t: Trial):
    with tempfile.TemporaryDirectory() as folder:
        def write(step, content):
            checkpoint = Path(folder) / f"checkpoint-{step}"
            checkpoint.mkdir()
            if content is not None:
                (checkpoint / "trainer_state.json").write_text(content)

        def require(name, message):
            t.require(Path(t.run(folder)).name == name, message)

        (nothing,) = t.call(lambda: (t.attempt(folder),))  # `run` rejects None, correct here
        t.require(nothing is None, "without any checkpoint it should return None")
        for step in (80, 900, 1000):
            write(step, json.dumps({"global_step": step}))
        found = t.run(folder)
        t.require(isinstance(found, str | Path), f"expected a path, found {type(found).__name__}")
        name = Path(found).name
        t.require(name != "checkpoint-900",
                  "sorted as text, 900 comes after 1000: sort by the number")
        t.require(name != "checkpoint-80",
                  "this is the oldest one (or the last as text); return the newest")
        t.require(name == "checkpoint-1000", f"{name} is not the newest one, checkpoint-1000")
        write(1100, None)
        require("checkpoint-1000",
                "the newest folder has no trainer_state.json, so it is incomplete; return the "
                "one before")
        write(1200, '{"global_step": 12')
        require("checkpoint-1000",
                "the newest folder's trainer_state.json is truncated: it exists, but it is not "
                "valid JSON")
        t.require(isinstance(t.run(folder), str), "expected the path as text: `str(folder)`")
