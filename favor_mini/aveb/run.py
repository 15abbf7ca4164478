"""Score a model on a test-set file of the benchmark."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.row import DESCRIBE
from ..evaluation.intervals import QUANTILES, cluster_bootstrap, cluster_interval
from ..evaluation.metrics import METRICS, best_word_errors, cider, need, spider
from ..world.tasks import TASKS
from .files import read_items
from .predict import STREAMS, Predictor

FORMS = {"CIDEr": "{:.2f}", "SPIDEr": "{:.2f}"}  # how a metric is printed; others are in percent


@dataclass(frozen=True)
class Report:
    """The result on a file: the metric with its 95 % interval (None if no question was asked), the
    reasons why questions were skipped, the number of `undecided` questions: two candidates have
    the same tokens, and of `captions`: rows with a text and no question."""

    file: str
    asked: int
    metric: str
    value: tuple[float, float, float] | None
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    broken: tuple[str, ...]
    undecided: int
    doubtful: tuple[str, ...] = ()
    captions: int = 0

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.asked} questions asked"]
        if self.value:
            value, low, high = (FORMS.get(self.metric, "{:.1%}").format(v) for v in self.value)
            lines.append(f"{self.metric} {value} (95 % interval {low} to {high})")
        if self.undecided:
            lines.append(f"{self.undecided} of them have candidates that are the same to this "
                         "model's tokenizer; they count as wrong")
        for problems, what in ((self.missing[:1], f"{len(self.missing)} (media not found)"),
                               (self.unreadable[:1], f"{len(self.unreadable)} (media unreadable)"),
                               (self.broken, f"{len(self.broken)} (malformed rows or paths)")):
            lines += [f"skipped: {what}", *(f"  {p}" for p in problems)] if problems else []
        if self.captions:
            lines.append(f"{self.captions} rows have a text and no question; they are not part of "
                         'the accuracy (--metric "word error rate" or CIDEr scores them)')
        if self.doubtful:
            lines += ["doubtful media:", *(f"  {note}" for note in self.doubtful)]
        return "\n".join(lines)


def per_row(metric: str, rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (rows,): the metric is the sum of the first divided by the sum of the second.

    Raises:
        ValueError: there is no word error rate, as no reference has a word.
    """
    predicted = [row["predicted"] for row in rows]
    if metric == "accuracy":
        return np.array([row["right"] for row in rows], float), np.ones(len(rows))
    if metric in ("CIDEr", "SPIDEr"):
        caption = cider if metric == "CIDEr" else spider
        return np.array(caption(predicted, [row["answers"] for row in rows])), np.ones(len(rows))
    found = [best_word_errors(text, row["answers"])
             for text, row in zip(predicted, rows, strict=True)]
    words = np.array([each.words for each in found], float)
    if not words.any():
        raise ValueError("no reference has a word, so there is no word error rate. "
                         "Fix: choose another metric")
    return np.array([each.errors for each in found], float), words


def clusters(rows: list[dict]) -> list[str]:
    """For each row the media that it is about."""
    return ["\0".join(row["media"]) for row in rows]


def score(metric: str, rows: list[dict]) -> tuple[float, float, float]:
    """The metric over rows and its 95 % interval over media: (value, low, high)."""
    values, weights = per_row(metric, rows)
    if metric == "accuracy":
        return float(values.mean()), *cluster_interval(values, clusters(rows))
    draws = cluster_bootstrap(values, clusters(rows), weights)
    low, high = np.quantile(draws, QUANTILES)
    return float(values.sum() / weights.sum()), float(low), float(high)


def evaluate_file(file, media_root, predictions, *, task: str | None = None,
                  metric: str | None = None, checkpoint=None, progress: bool = True) -> Report:
    """Ask all questions of a test-set file.

    Args:
        predictions: JSON Lines file; see `Predictor.predict`.
        task: one of `TASKS`; decides the metric and the streams. None: accuracy, all streams.
        metric: one of `METRICS`, in place of the task's.

    Raises:
        FileNotFoundError: there is no such file, root or checkpoint.
        ValueError: unknown task or metric, the file is not a list of rows, or `predictions`
            belongs to another run.
        OSError: the metric's library is not installed.
    """
    if task not in (None, *TASKS):
        raise ValueError(f"no task {task!r}. Fix: choose one of {', '.join(TASKS)}")
    metric = metric or (TASKS[task].metric if task else "accuracy")
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}. Fix: choose one of {', '.join(METRICS)}")
    need(metric)
    if Path(predictions).resolve() == Path(file).resolve():
        raise ValueError(f"{file} holds the questions. Fix: name another file for predictions")
    if not Path(media_root).is_dir():
        raise FileNotFoundError(f"no folder {media_root}. Fix: --media-root names the folder of "
                                f"the media in {Path(file).name}")
    items, broken = read_items(file)
    captions = sum(metric == "accuracy" and item.question == DESCRIBE for item in items)
    if captions == len(items):
        captions = 0
    if captions:  # no model writes a whole text letter by letter
        items = [item for item in items if item.question != DESCRIBE]
    rows = Predictor(checkpoint).predict(file, items, media_root, predictions, progress=progress,
                                         streams=TASKS[task].streams if task else STREAMS)
    asked = [row for row in rows if "predicted" in row]
    missing, unreadable, outside = (
        tuple(row["problem"] for row in rows if row.get("skipped") == reason)
        for reason in ("missing", "unreadable", "outside"))
    return Report(Path(file).name, len(asked), metric, score(metric, asked) if asked else None,
                  missing, unreadable, (*map(str, broken), *outside),
                  sum("undecided" in row for row in asked),
                  tuple(dict.fromkeys(f"{', '.join(row['media'])}: {note}" for row in asked
                                      for note in row.get("notes", ()))), captions)
