"""Exercises of notebook 09: the two-part loss, what queries spell, and resuming a training run."""

import json
import os
import tempfile
from pathlib import Path

import torch.nn.functional as F

from ...data.spelling import spelled
from ...losses import diversity_loss
from ...training.trainer import last_checkpoint
from ..exercise import Trial, exercise
from ..tensors import check_gradients, check_layouts


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
    labels[1, 0] = t.integer(0, words - 1)  # no prediction comes before it

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
        "this is a sum over the tokens; take the mean": entropy(before, following, reduction="sum"),
        "the rows are joined before the shift, so that the last place of a row predicts the first "
        "token of the next row; shift each row: `logits[:, :-1]`, `labels[:, 1:]`":
            F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:]),
        "the first label of each row has wrapped to the row's end (`roll`); drop it":
            entropy(logits, labels.roll(-1, 1))}
    t.check((logits, labels, queries, weight), {
        **{message: wrong + weight * diversity for message, wrong in wrong_entropies.items()},
        "the diversity loss is missing": expected,
        "the diversity loss is not weighted with lambda": expected + diversity,
        "the diversity loss is subtracted; similar queries must cost":
            expected - weight * diversity})
    spread = queries - queries.mean(1, keepdim=True)  # cosines are negative on average
    below = diversity_loss(spread)
    t.check((logits, labels, spread, weight), {
        "the absolute value of the diversity loss is added; where queries point away from one "
        "another it is negative and should lower the loss": expected + weight * below.abs(),
        "the diversity loss is cut off at 0; where queries point away from one another it is "
        "negative and should lower the loss": expected + weight * below.clamp(min=0)},
        "where the diversity loss is negative, the result")
    given = logits, labels, queries, weight
    check_gradients(t, given, {0: "the logits", 2: "the queries"})
    check_layouts(t, *given)


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

        def found():
            (path,) = t.call(lambda: (t.attempt(folder),))  # `run` rejects None, correct at first
            return path

        def require(message):
            path = found()
            t.require(path is not None, f"{message} (it returned None)")
            t.require(Path(path).name == "checkpoint-1000", message)

        t.require(found() is None, "without any checkpoint it should return None")
        steps = 80, 900, 1000, 300  # written in this order, as where a copy changes the times
        for seconds, step in enumerate(steps):
            write(step, json.dumps({"global_step": step}))
            for file in "trainer_state.json", ".":
                os.utime(Path(folder, f"checkpoint-{step}", file), (10**9 + seconds,) * 2)
        path = found()
        t.require(path is not None, "it returned None, but checkpoint-1000 is complete: is it left "
                  "out (its trainer_state.json is valid JSON), or is its path not returned?")
        t.require(isinstance(path, str | Path), f"expected a path, found {type(path).__name__}")
        name = Path(path).name
        t.require(name != "checkpoint-900",
                  "sorted as text, 900 comes after 1000: sort by the number")
        t.require(name != "checkpoint-80",
                  "this is the oldest one (or the last as text); return the newest")
        t.require(name != "checkpoint-300", "sorted by the time of writing, which changes where "
                  "folders are copied: sort by the number in the name")
        t.require(name == "checkpoint-1000", f"{name} is not the newest one, checkpoint-1000")
        t.require(os.path.realpath(path) == os.path.realpath(Path(folder) / name),
                  f"{os.fspath(path)!r} leads nowhere from another folder: return the whole path, "
                  "`str(folder)`, not only the folder's name")
        write(1100, None)
        require("the newest folder has no trainer_state.json, so it is incomplete; return the one "
                "before")
        write(1200, '{"global_step": 12')
        require("the newest folder's trainer_state.json is truncated: it exists, but it is not "
                "valid JSON; return the newest complete one")
        t.require(isinstance(found(), str), "expected the path as text: `str(folder)`")
