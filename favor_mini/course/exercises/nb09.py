"""Exercises of notebook 09: the two-part loss, sharing out steps, and going on after a stop."""

import json
import math
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from ...losses import diversity_loss
from ...training.finetune import SHARES, steps_per_stage
from ...training.trainer import last_checkpoint
from ..exercise import Trial, exercise

NOTEBOOK = "09"


def two_part_loss(logits, labels, queries, weight):
    """Cross-entropy of the labelled tokens + lambda * diversity of the output queries, as `FavorForConditionalGeneration.forward` adds them."""
    cross_entropy = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    return cross_entropy + weight * diversity_loss(queries)


@exercise("two_part_loss", notebook=NOTEBOOK, answer=two_part_loss, difficulty=3, minutes=12,
          goal="FAVOR's loss: cross-entropy over the answers' tokens plus `weight` times the diversity loss (use the package's `diversity_loss`). "
               "The logits at place i foretell the token at place i + 1; labels of -100 do not count.",
          shapes="`logits` (B, L, vocabulary), `labels` (B, L), `queries` (windows, N, width), `weight` lambda -> a scalar",
          hints=("Move logits and labels against each other by one place before you compare them.",
                 "`F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)` + "
                 "`weight * diversity_loss(queries)`."))
def _(t: Trial):
    batch, length, words = t.number(2, 3), t.number(6, 9), t.number(11, 15)
    logits, queries, weight = 2 * t.randn(batch, length, words), t.randn(t.number(2, 4), 5, 7) + 0.5, float(t.rng.uniform(0.3, 0.9))
    labels = torch.from_numpy(t.rng.integers(0, words, (batch, length)))
    labels[:, : length // 2] = -100
    labels[0, : length // 2 + 2] = -100  # not the same number in all rows

    def entropy(logits, labels, **options):
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), **{"ignore_index": -100, **options})

    apart, spread = entropy(logits[:, :-1], labels[:, 1:]), diversity_loss(queries)
    rows = torch.stack([entropy(logits[i : i + 1, :-1], labels[i : i + 1, 1:]) for i in range(batch)])
    t.same(t.run(logits, labels, queries, weight), two_part_loss(logits, labels, queries, weight), {
        "logits and labels are not moved against each other: place i foretells place i + 1": entropy(logits, labels) + weight * spread,
        "moved the wrong way: the logits *before* a token foretell it": entropy(logits[:, 1:], labels[:, :-1]) + weight * spread,
        "the diversity loss is missing": apart,
        "the diversity loss is not weighted with lambda": apart + spread,
        "the diversity loss is subtracted; queries that are alike must cost": apart - weight * spread,
        "labels of -100 count: they are not tokens": entropy(logits[:, :-1], labels[:, 1:].clamp(min=0), ignore_index=-1) + weight * spread,
        "a mean of the rows' means; it must be one mean over all labelled tokens": rows.mean() + weight * spread,
        "a sum over the tokens instead of a mean": entropy(logits[:, :-1], labels[:, 1:], reduction="sum") + weight * spread})


@exercise("steps_per_stage", notebook=NOTEBOOK, answer=steps_per_stage, difficulty=2, minutes=8,
          goal=f"So many training steps are to be shared out among three stages: align and ask get {SHARES['align']:.0%} each, rounded down but at "
               "least one step, name gets all the rest.",
          shapes="`steps` a whole number -> a dict with the keys `name`, `align`, `ask`",
          hints=("Work out the two later stages first; what is left is for the first.",
                 "`max(1, int(steps * SHARES[stage]))` for align and ask; `SHARES` is in `favor_mini.training`."))
def _(t: Trial):
    for steps in (t.number(20, 49) * 10 + t.number(1, 9), t.number(4, 8)):
        later = {stage: int(steps * SHARES[stage]) for stage in ("align", "ask")}
        one = {stage: max(1, n) for stage, n in later.items()}
        up = {stage: math.ceil(steps * SHARES[stage]) for stage in later}
        t.same(t.run(steps), steps_per_stage(steps), {
            "with few steps a stage gets none; each needs at least one": {"name": steps - sum(later.values()), **later},
            "the steps do not add up: name gets what the others leave": {"name": int(steps * SHARES["name"]), **one},
            "the later stages are rounded up; round down": {"name": steps - sum(up.values()), **up},
            "every stage gets the same; mind `SHARES`": dict.fromkeys(("name", "align", "ask"), steps // 3)})


@exercise("last_checkpoint", notebook=NOTEBOOK, answer=last_checkpoint, difficulty=3, minutes=15,
          goal="Going on after a power cut: find the newest *whole* checkpoint. A run writes folders `checkpoint-100`, `checkpoint-200`, ..., and into each, "
               "last of all, a file `trainer_state.json`. A folder where that file is missing or is no valid JSON was cut off.",
          shapes="`out` a path -> the folder's path as text, or None where there is no whole one",
          hints=("Sort by the *number* in the name, newest first, and take the first that can be read.",
                 "`sorted(Path(out).glob(\"checkpoint-*\"), key=lambda f: -int(f.name.rsplit(\"-\", 1)[1]))`; `json.loads(...)` in a `try` that "
                 "catches `OSError` and `ValueError`."))
def _(t: Trial):
    with tempfile.TemporaryDirectory() as folder:
        def put(step, content):
            (Path(folder) / f"checkpoint-{step}").mkdir()
            if content is not None:
                (Path(folder) / f"checkpoint-{step}" / "trainer_state.json").write_text(content)

        (nothing,) = t.call(lambda: (t.attempt(folder),))  # None is right here, where `run` would complain
        t.that(nothing is None, "without any checkpoint it should return None")
        for step in (80, 900, 1000):
            put(step, json.dumps({"global_step": step}))
        found = t.run(folder)
        t.that(isinstance(found, str | Path), f"expected a path, found {type(found).__name__}")
        t.that(Path(found).name != "checkpoint-900", "sorted as text, 900 comes after 1000: sort by the number")
        t.that(Path(found).name != "checkpoint-80", "that is the oldest one (or the last as text): the newest is wanted")
        t.that(Path(found).name == "checkpoint-1000", f"{Path(found).name} is not the newest checkpoint, checkpoint-1000")
        put(1100, None)
        t.that(Path(t.run(folder)).name == "checkpoint-1000",
               "the newest folder lacks its trainer_state.json: it was cut off, take the one before")
        put(1200, '{"global_step": 12')
        t.that(Path(t.run(folder)).name == "checkpoint-1000",
               "the newest folder's trainer_state.json breaks off in the middle: it is there, but it is not valid JSON")
        t.that(isinstance(t.run(folder), str), "expected the path as text: `str(folder)`")
