"""Exercises of notebook 09: the two-part loss, steps per stage, and resuming a training run."""

import json
import math
import tempfile
from pathlib import Path

import torch.nn.functional as F

from ...losses import diversity_loss
from ...training.finetune import SHARES, steps_per_stage
from ...training.trainer import last_checkpoint
from ..exercise import Trial, exercise


def two_part_loss(logits, labels, queries, weight):
    """Cross-entropy + lambda * diversity, as in `FavorForConditionalGeneration`."""
    logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return F.cross_entropy(logits, labels, ignore_index=-100) + weight * diversity_loss(queries)


@exercise(two_part_loss, difficulty=3, minutes=12)
def _(t: Trial):
    """FAVOR's loss: cross-entropy over the answers' tokens plus `weight` times the diversity loss
    (use the package's `diversity_loss`). The logits at place i predict the token at place i + 1;
    labels of -100 do not count.

    Shapes: `logits` (B, L, vocabulary), `labels` (B, L), `queries` (windows, N, width), `weight`
    lambda -> a scalar
    Hint 1: Shift logits and labels by one place before you compare them.
    Hint 2: `F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(),
    ignore_index=-100)` + `weight * diversity_loss(queries)`.
    """
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


@exercise(steps_per_stage, difficulty=2, minutes=8)
def _(t: Trial):
    """Distribute a number of training steps over three stages: align and ask get the shares in
    `SHARES` (20 % each), rounded down but at least one step; name gets the rest.

    Shapes: `steps` an integer -> a dict with the keys `name`, `align`, `ask`
    Hint 1: Compute the two later stages first; the first stage gets the rest.
    Hint 2: `max(1, int(steps * SHARES[stage]))` for align and ask; `SHARES` is in
    `favor_mini.training`.
    """
    for steps in (t.integer(20, 49) * 10 + t.integer(1, 9), t.integer(4, 8)):
        later = {stage: int(steps * SHARES[stage]) for stage in ("align", "ask")}
        one = {stage: max(1, n) for stage, n in later.items()}
        up = {stage: math.ceil(steps * SHARES[stage]) for stage in later}
        t.check((steps,), {
            "with few steps a stage gets none; each needs at least one":
                {"name": steps - sum(later.values()), **later},
            "the steps do not add up: name gets the rest":
                {"name": int(steps * SHARES["name"]), **one},
            "the later stages are rounded up; round down": {"name": steps - sum(up.values()), **up},
            "every stage gets the same; use `SHARES`":
                dict.fromkeys(("name", "align", "ask"), steps // 3)})


@exercise(last_checkpoint, difficulty=3, minutes=15)
def _(t: Trial):
    """Resume after a power cut: find the newest *complete* checkpoint. A run writes folders
    `checkpoint-100`, `checkpoint-200`, ..., and into each, last of all, a file
    `trainer_state.json`. A folder where that file is missing or is not valid JSON is incomplete.

    Shapes: `out` a path -> the folder's path as text, or None where there is no complete one
    Hint 1: Sort by the *number* in the name, newest first, and take the first that can be read.
    Hint 2: `sorted(Path(out).glob("checkpoint-*"), key=lambda f: -int(f.name.rsplit("-", 1)[1]))`;
    `json.loads(...)` in a `try` that catches `OSError` and `ValueError`.
    """
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
        t.require(name != "checkpoint-900", "sorted as text, 900 comes after 1000: sort by the "
                                            "number")
        t.require(name != "checkpoint-80", "this is the oldest one (or the last as text); return "
                                           "the newest")
        t.require(name == "checkpoint-1000", f"{name} is not the newest one, checkpoint-1000")
        write(1100, None)
        require("checkpoint-1000", "the newest folder has no trainer_state.json, so it is "
                                   "incomplete; "
                "return the one before")
        write(1200, '{"global_step": 12')
        require("checkpoint-1000", "the newest folder's trainer_state.json is truncated: it "
                                   "exists, but it "
                "is not valid JSON")
        t.require(isinstance(t.run(folder), str), "expected the path as text: `str(folder)`")
