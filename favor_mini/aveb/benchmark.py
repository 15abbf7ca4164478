"""All eleven tasks in one table: the model, the same model untrained, its language model shown nothing, the best constant, and
guessing: how often somebody would be right who knows the world but takes in one stream at most, where both are needed."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import data_path
from ..evaluation.metrics import need
from ..world.tasks import TASKS
from ..world.test_sets import test_set
from .files import read_items
from .run import FORMS, MODELS, Examinee, per_row, resampled, score

CONSTANT, GUESS = "constant", "guessing"
LOW_IS_GOOD = ("word error rate",)


@dataclass(frozen=True)
class Results:
    """`table`: one row a task and model, with task, title, metric, asked (questions), model, value, low, high (95 %), and beyond:
    by how much the checkpoint is better than that model at least (the lower bound of the paired 95 % interval; NaN for itself)."""

    table: pd.DataFrame

    def __str__(self) -> str:
        others = (*MODELS[1:], CONSTANT, GUESS)
        width = max(len(f"{r.task}: {r.title}") for r in self.table.itertuples()) + 2
        lines = [f"{'task':<{width}}{'metric':<17}{'asked':>5}{'':>3}{'as it is (95 %)':<25}"
                 + "".join(f"{name:>10}" for name in others) + "  beyond all of these by"]
        for _, rows in self.table.groupby("task", sort=False):
            row = rows.set_index("model")
            best, form = row.loc[MODELS[0]], FORMS.get(rows.metric.iloc[0], "{:.1%}")
            told = f"{form.format(best.value)} ({form.format(best.low)} to {form.format(best.high)})"
            beside = "".join(f"{form.format(row.value[name]) if name in row.index else '':>10}" for name in others)
            clear = row.beyond.min()
            lines.append(f"{best.task + ': ' + best.title:<{width}}{best.metric:<17}{best.asked:>5}   {told:<25}{beside}  "
                         + (f"at least {form.format(clear)}" if clear > 0 else "no: not clearly"))
        return "\n".join(lines)


def run_benchmark(checkpoint=None, out="build/evaluate", *, tasks=None, progress: bool = True) -> Results:
    """Ask the test sets in `data_samples/aveb`; predictions stream to `out/TASK.MODEL.jsonl`, and a stopped run goes on.

    Args:
        tasks: names of tasks; None: all.

    Raises:
        ValueError: there is no such task. OSError: a metric's library, or a test set, is missing.
    """
    tasks = list(tasks or TASKS)
    if unknown := set(tasks) - set(TASKS):
        raise ValueError(f"no task {sorted(unknown)[0]!r}; the tasks are {', '.join(TASKS)}")
    for name in tasks:
        need(TASKS[name].metric)
    examinees, rows, encoded = [Examinee(checkpoint, kind) for kind in MODELS], [], {}
    for name in tasks:
        file, metric = test_set(name), TASKS[name].metric
        items, broken = read_items(file)
        if broken:
            raise ValueError(str(broken[0]))
        told = {}
        for examinee in examinees:
            predictions = Path(out) / f"{name}.{examinee.kind.replace(' ', '_')}.jsonl"
            told[examinee.kind] = examinee.ask(file, items, data_path(), predictions, task=name, encoded=encoded, progress=progress)
            if skipped := [row["problem"] for row in told[examinee.kind] if "problem" in row]:
                raise ValueError(f"{file}: {len(skipped)} questions could not be asked, the first because {skipped[0]}")
        told[CONSTANT] = best_constant(metric, told[MODELS[0]])
        if metric == "accuracy":
            guesses = [row["guess"] for row in json.loads(file.read_text(encoding="utf-8"))]
            told[GUESS] = [{**row, "right": guess} for row, guess in zip(told[MODELS[0]], guesses, strict=True)]
        rows += _compare(name, metric, told)
    return Results(pd.DataFrame(rows))


def best_constant(metric: str, rows: list[dict], tried: int = 12) -> list[dict]:
    """The same prediction for every question: of the most frequent answers, and of none at all, the one that scores best."""
    answers = [text for text, _ in Counter(row["answers"][0] for row in rows).most_common(tried)]
    constant = [[{**row, "predicted": text, "right": text in row["answers"]} for row in rows] for text in ["", *answers]]
    sign = -1 if metric in LOW_IS_GOOD else 1
    return max(constant, key=lambda rows: sign * score(metric, rows)[0])


def _compare(name: str, metric: str, told: dict[str, list[dict]]) -> list[dict]:
    """A row for each model; all of them answered the same questions, so they are compared question by question."""
    sign, rows = -1 if metric in LOW_IS_GOOD else 1, []
    drawn = {model: resampled(*per_row(metric, answered), answered) for model, answered in told.items()}
    for model, answered in told.items():
        share, of = per_row(metric, answered)
        value, low, high = score(metric, answered) if model != GUESS else (float(share.mean()), np.nan, np.nan)
        beyond = np.nan if model == MODELS[0] else float(np.quantile(sign * (drawn[MODELS[0]] - drawn[model]), 0.025))
        rows.append({"task": name, "title": TASKS[name].title, "metric": metric, "asked": len(answered), "model": model,
                     "value": value, "low": low, "high": high, "beyond": beyond})
    best, *others = rows
    for other in others if metric == "accuracy" else ():
        if {best["value"], other["value"]} & {0.0, 1.0}:  # draws from answers that are all alike have no spread: Newcombe's bound
            room = np.hypot(best["value"] - best["low"], np.nan_to_num(other["high"] - other["value"]))
            other["beyond"] = min(other["beyond"], best["value"] - other["value"] - room)
    return rows


def _share(metrics, values):
    return np.array([max(0, 1 - v) if m in LOW_IS_GOOD else v / 10 if m == "CIDEr" else v
                     for m, v in zip(metrics, values, strict=True)])
