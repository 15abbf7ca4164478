"""All eleven tasks in one table: the model and its baselines.

Baselines: the same model untrained; the model without any clip (text only); the best constant
answer; and the best single-modality guesser, who knows the mini world but perceives one stream
where both are needed.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import data_path
from ..evaluation.intervals import QUANTILES, cluster_bootstrap, newcombe
from ..evaluation.metrics import need
from ..storage import atomic_write
from ..world.samples import aveb_file
from ..world.tasks import TASKS
from .files import read_items
from .predict import MODELS, Predictor
from .run import FORMS, clusters, per_row, score

CONSTANT, GUESS = "constant answer", "best single-modality guesser"
LOW_IS_GOOD = ("word error rate",)


@dataclass(frozen=True)
class Results:
    """A table with one row for each task and model.

    Columns: task, title, metric, count (questions), model, value, low and high (95 % interval; NaN
    for the guesser), and margin: how much better favor-mini is than this baseline, the lower bound
    of the paired 95 % interval (NaN for favor-mini).
    """

    table: pd.DataFrame

    def __str__(self) -> str:
        lines = [f"{'task':<9}{'metric':<16}{'count':>5}  {MODELS[0] + ' (95 % interval)':<26}"
                 f"{'untrained':>10}{'text only':>11}{'constant':>10}{'guesser':>9}  margin"]
        for (task, metric), rows in self.table.groupby(["task", "metric"], sort=False):
            form, row = FORMS.get(metric, "{:.1%}").format, rows.set_index("model")
            best, margin = row.loc[MODELS[0]], row.margin.min()
            shown = f"{form(best.value)} ({form(best.low)} to {form(best.high)})"
            others = "".join(f"{form(row.value[name]) if name in row.index else '':>{width}}"
                             for name, width in zip((*MODELS[1:], CONSTANT, GUESS),
                                                    (10, 11, 10, 9), strict=True))
            lines.append(f"{task:<9}{metric:<16}{best['count']:>5}  {shown:<26}{others}  "
                         + (form(margin) if margin > 0 else "not significant"))
        return "\n".join([*lines, "constant: best constant answer; guesser: best single-modality "
                          "guesser; margin: over the best baseline (lower bound)"])

    def save(self, file) -> None:
        """Write the table as JSON."""
        records = json.loads(self.table.to_json(orient="records", double_precision=6))
        lines = ",\n".join(json.dumps(record) for record in records)
        with atomic_write(Path(file)) as unfinished:
            unfinished.write_text(f"[\n{lines}\n]\n", encoding="utf-8")

    @classmethod
    def load(cls, file) -> "Results":
        """Read what `save` wrote."""
        return cls(pd.DataFrame(json.loads(Path(file).read_text(encoding="utf-8"))))


def run_benchmark(checkpoint=None, out="build/evaluate", *, tasks=None,
                  progress: bool = True) -> Results:
    """Ask the test sets in `data_samples/aveb`; write predictions to `out/TASK.MODEL.jsonl` and the
    table to `out/results.json`. A stopped run continues.

    Args:
        tasks: names of tasks; None: all.

    Raises:
        ValueError: there is no such task.
        OSError: a metric's library, or a test set, is missing.
    """
    tasks = list(tasks or TASKS)
    if unknown := set(tasks) - set(TASKS):
        raise ValueError(f"no task {min(unknown)!r}. Fix: choose from {', '.join(TASKS)}")
    for name in tasks:
        need(TASKS[name].metric)
    predictors, rows, encoded = [Predictor(checkpoint, kind) for kind in MODELS], [], {}
    for name in tasks:
        file, metric = aveb_file(name), TASKS[name].metric
        items, broken = read_items(file)
        if broken:
            raise broken[0]
        answered = {}
        for predictor in predictors:
            lines = Path(out) / f"{name}.{predictor.kind.replace(' ', '_')}.jsonl"
            found = answered[predictor.kind] = predictor.predict(
                file, items, data_path(), lines, streams=TASKS[name].streams, encoded=encoded,
                progress=progress)
            if skipped := [row["problem"] for row in found if "problem" in row]:
                raise ValueError(f"{file}: {len(skipped)} questions skipped; first {skipped[0]}")
        answered[CONSTANT] = best_constant(metric, answered[MODELS[0]])
        if metric == "accuracy":
            guesses = [row["guess"] for row in json.loads(file.read_text(encoding="utf-8"))]
            answered[GUESS] = [{**row, "right": guess} for row, guess in
                                 zip(answered[MODELS[0]], guesses, strict=True)]
        rows += compare_models(name, metric, answered)
    results = Results(pd.DataFrame(rows))
    results.save(Path(out) / "results.json")
    return results


def best_constant(metric: str, rows: list[dict], tried: int = 12) -> list[dict]:
    """The rows with the same prediction for every question: the one that scores best of the most
    frequent answers and the empty text."""
    answers = [text for text, _ in Counter(row["answers"][0] for row in rows).most_common(tried)]
    constant = [[{**row, "predicted": text, "right": text in row["answers"]} for row in rows]
                for text in ["", *answers]]
    sign = -1 if metric in LOW_IS_GOOD else 1
    return max(constant, key=lambda rows: sign * score(metric, rows)[0])


def compare_models(name: str, metric: str, answered: dict[str, list[dict]]) -> list[dict]:
    """The rows of `Results` for one task.

    Args:
        answered: rows by model, favor-mini first; all answer the same questions.
    """
    sign, rows, draws = -1 if metric in LOW_IS_GOOD else 1, [], {}
    for model, its_rows in answered.items():
        values, weights = per_row(metric, its_rows)
        draws[model] = cluster_bootstrap(values, clusters(its_rows), weights)
        bounds = (float(values.mean()), np.nan, np.nan) if model == GUESS else \
            score(metric, its_rows)
        rows.append({"task": name, "title": TASKS[name].title, "metric": metric,
                     "count": len(its_rows), "model": model,
                     **dict(zip(("value", "low", "high"), bounds, strict=True)), "margin": np.nan})
    best, *others = rows
    for other in others:
        gained = sign * (draws[best["model"]] - draws[other["model"]])
        other["margin"] = float(np.quantile(gained, QUANTILES[0]))
        if metric == "accuracy" and {best["value"], other["value"]} & {0.0, 1.0}:
            # A bootstrap of answers that are all right, or all wrong, has no spread.
            one, two = ((row["value"], *np.nan_to_num((row["low"], row["high"]), nan=row["value"]))
                        for row in (best, other))
            other["margin"] = min(other["margin"], newcombe(one, two)[0])
    return rows
