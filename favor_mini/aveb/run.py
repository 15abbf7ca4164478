"""Ask a model the questions of a published test-set file: predictions stream to a JSON Lines file, and a stopped run goes on.

Candidates, where a row has them, are scored by their likelihood; else the model writes its answer.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from tqdm.auto import tqdm

from ..data.features import encode_media
from ..evaluation.answering import answer, likelihood
from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint, load_checkpoint
from ..evaluation.metrics import METRICS, best_word_errors, cider, matches, need, spider
from ..keys import code_digest, digest
from ..media.clip import MediaError
from ..world.tasks import TASKS
from .files import Item, ItemError, find_media, only, read_items, read_media

NO_MEDIA = {"num_frames": 0, "audio_tokens": 0}  # no clip
CHUNK = 32  # questions that are read, encoded and answered together
FORMS = {"CIDEr": "{:.2f}", "SPIDEr": "{:.2f}"}  # how a metric is printed; the others are shares
MODELS = ("as it is", "untrained", "text only")  # the checkpoint; with a fresh connector and LoRA; shown no clip at all


@dataclass(frozen=True)
class Report:
    """What came of a file: how many questions were asked, the task's metric over them with its 95 % interval (None where none
    was asked), what could not be asked, and why, and of how many the model could not tell the candidates apart (counted as wrong)."""

    file: str
    asked: int
    metric: str
    value: tuple[float, float, float] | None
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    broken: tuple[str, ...]
    undecided: int

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.asked} questions asked"]
        if self.value:
            value, low, high = (FORMS.get(self.metric, "{:.1%}").format(v) for v in self.value)
            lines.append(f"{self.metric} {value} (95 % {low} to {high})")
        if self.undecided:
            lines.append(f"{self.undecided} of them have candidates that are the same to this model's tokenizer; they count as wrong")
        for problems, what, told in ((self.missing, "whose media are not under the root", 1),
                                     (self.unreadable, "whose media cannot be read", 1),
                                     (self.broken, "that are malformed, or lead out of the root", len(self.broken))):
            if problems:
                lines += [f"skipped: {len(problems)} {what}", *(f"  {problem}" for problem in problems[:told])]
        return "\n".join(lines)


def per_row(metric: str, asked: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """A metric over rows of `predicted` and `answers` as two arrays (rows,): it is the sum of the first over the second's."""
    predicted = [row["predicted"] for row in asked]
    if metric == "accuracy":
        return np.array([row["right"] for row in asked], float), np.ones(len(asked))
    if metric in ("CIDEr", "SPIDEr"):
        caption = cider if metric == "CIDEr" else spider
        return np.array(caption(predicted, [row["answers"] for row in asked])), np.ones(len(asked))
    each = [best_word_errors(text, row["answers"]) for text, row in zip(predicted, asked, strict=True)]
    words = np.array([e.words for e in each], float)
    if not words.any():
        raise ValueError("nothing was said in any of the references: there is no word error rate")
    return np.array([e.errors for e in each], float), words


def resampled(share: np.ndarray, of: np.ndarray, asked: list[dict], draws: int = 4000) -> np.ndarray:
    """The bootstrap: the metric over as many media, drawn with replacement with all questions about each; (draws,). The same
    draws wherever the questions are the same."""
    _, medium = np.unique(["\0".join(row["media"]) for row in asked], return_inverse=True)
    count = medium.max() + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), draws)
    return (drawn @ np.bincount(medium, share)) / np.maximum(drawn @ np.bincount(medium, of), 1e-9)


def score(metric: str, asked: list[dict]) -> tuple[float, float, float]:
    """A metric over rows, with the bounds of its 95 % interval: the bootstrap's, and for accuracy Wilson's where no medium is asked
    about twice, or all answers are right, or all wrong; or, over media, where as many are right about each."""
    share, of = per_row(metric, asked)
    value = float(share.sum() / of.sum())
    apart = len({tuple(row["media"]) for row in asked}) == len(asked)
    low, high = np.quantile(resampled(share, of, asked), [0.025, 0.975])
    if metric == "accuracy" and (apart or value in (0.0, 1.0) or low == high):
        count = len(asked) if apart or value in (0.0, 1.0) else len({tuple(row["media"]) for row in asked})
        interval = binomtest(round(value * count), count).proportion_ci(method="wilson")
        return value, min(value, interval.low), max(value, interval.high)
    return value, float(low), float(high)


def evaluate_file(file, media_root, predictions, *, task: str | None = None, metric: str | None = None, checkpoint=None,
                  progress: bool = True) -> Report:
    """Ask everything in a test-set file; one line a question goes to `predictions` as soon as it is answered.

    Args:
        task: one of `TASKS`, which says the metric and what the model is given of the media; None: accuracy, all of them.
        metric: another one for this task: "accuracy", "word error rate", "CIDEr" or "SPIDEr".
        predictions: JSON Lines file. What it holds already is not asked again, if it belongs to this file and checkpoint.

    Raises:
        FileNotFoundError: no such file, root or checkpoint. ValueError: the file is no list of rows, or `predictions` belongs
            to another run, or there is no such task. OSError: the metric's library is not installed.
    """
    if task not in (None, *TASKS):
        raise ValueError(f"no task {task!r}; the tasks are {', '.join(TASKS)}")
    metric = metric or (TASKS[task].metric if task else "accuracy")
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; the metrics are {', '.join(METRICS)}")
    need(metric)
    if Path(predictions).resolve() == Path(file).resolve():
        raise ValueError(f"{file} holds the questions; name another file for the predictions")
    if not Path(media_root).is_dir():
        raise FileNotFoundError(f"no folder {media_root}; --media-root is where the media are that {Path(file).name} names")
    items, broken = read_items(file)
    told = Examinee(checkpoint).ask(file, items, media_root, predictions, task=task, progress=progress)
    asked = [row for row in told if "predicted" in row]
    skipped = {why: [row["problem"] for row in told if row.get("skipped") == why] for why in ("missing", "unreadable", "outside")}
    return Report(Path(file).name, len(asked), metric, score(metric, asked) if asked else None, tuple(skipped["missing"]),
                  tuple(skipped["unreadable"]), (*map(str, broken), *skipped["outside"]), sum("undecided" in row for row in asked))


class Examinee:
    """A model that sits the tests.

    Args:
        checkpoint: its folder; None: the shipped one.
        kind: one of `MODELS`.
    """

    def __init__(self, checkpoint=None, kind: str = MODELS[0]):
        self.kind, self.folder = kind, find_checkpoint(checkpoint)
        self.model, self.processor = load_checkpoint(self.folder)
        if kind == "untrained":
            self.model.reset_trained(seed=0)

    def ask(self, file, items: list[Item], media_root, predictions, *, task: str | None = None, encoded: dict | None = None,
            progress: bool = True) -> list[dict]:
        """A row for each item: `answers`, and `predicted` and `right`, or `skipped` with the `problem`.

        Args:
            encoded: what the frozen encoders made of media is kept there, for another model with the same ones.
        """
        file, root, predictions = Path(file), Path(media_root), Path(predictions)
        head = {"file": file.name, "rows": digest(file.read_bytes()), "task": task, "model": self.kind,
                "checkpoint": checkpoint_digest(self.folder), "code": code_digest("aveb.run")}
        kept, encoded = _resume(predictions, head), {} if encoded is None else encoded
        now = {item.id: self._sizes(item, root) for item in items}
        done = {item.id: kept[item.id] for item in items if item.id in kept and kept[item.id]["sizes"] == now[item.id]}
        with open(predictions, "ab") as lines, tqdm(total=len(items), desc=file.name, disable=not progress) as bar:
            if not predictions.stat().st_size:
                _write(lines, head)
            for start in range(0, len(items), CHUNK):
                chunk = items[start : start + CHUNK]
                if any(item.id not in done for item in chunk):  # whole, even if begun: so no answer hangs on where it stopped
                    for item, row in zip(chunk, self._answer(chunk, root, task, encoded), strict=True):
                        if item.id not in done:
                            done[item.id] = {**row, "sizes": now[item.id]}
                            _write(lines, {"id": item.id, "question": item.question, "answers": item.answers, **done[item.id]})
                bar.update(len(chunk))
        for item in items:
            row = done[item.id]
            if "predicted" in row and "undecided" not in row:  # judged anew: what counts as right may have changed since
                row["right"] = row["predicted"] in item.answers if item.candidates else matches(row["predicted"], item.answers)
        return [{**done[item.id], "answers": item.answers, "media": item.media} for item in items]

    def _sizes(self, item: Item, root: Path) -> list[int]:
        """By which other media under the same names are noticed, and that missing ones have come."""
        try:
            return [path.stat().st_size for path in find_media(item, root)]
        except (OSError, ValueError):
            return []

    def _answer(self, items: list[Item], root: Path, task: str | None, encoded: dict) -> list[dict]:
        rows, media = [{} for _ in items], {}
        for row, item in zip(rows, items, strict=True):
            try:
                self._check(item)
                media[item.id] = NO_MEDIA if self.kind == "text only" else self._encode(item, root, task, encoded)
            except MediaError as error:
                row.update(skipped="unreadable", problem=f"item {item.id}: {error}")
            except OSError as error:
                row.update(skipped="missing", problem=str(error))
            except ItemError as error:
                row.update(skipped="outside", problem=str(error))
        there = [(row, item) for row, item in zip(rows, items, strict=True) if item.id in media]
        free = [(row, item) for row, item in there if not item.candidates]
        texts = answer(self.model, self.processor, [media[item.id] for _, item in free], [item.question for _, item in free],
                       max_new_tokens=48)
        for (row, item), text in zip(free, texts, strict=True):
            row.update(predicted=text, right=matches(text, item.answers))
        choices = [(row, item) for row, item in there if item.candidates]
        flat = [(item, candidate) for _, item in choices for candidate in item.candidates]
        told = likelihood(self.model, self.processor, [media[item.id] for item, _ in flat], [item.question for item, _ in flat],
                          [candidate for _, candidate in flat])
        ends = np.cumsum([len(item.candidates) for _, item in choices])[:-1].astype(int)
        for (row, item), of_item in zip(choices, np.split(told, ends), strict=False):
            predicted, ids = item.candidates[int(of_item.argmax())], self.processor.tokenizer(list(item.candidates)).input_ids
            row.update(predicted=predicted, right=predicted in item.answers)
            if len(set(map(tuple, ids))) < len(ids):  # such as two words that a small vocabulary lacks: the first one would win
                row.update(right=False, undecided=True)
        return rows

    def _check(self, item: Item) -> None:
        """Refuse what would stop the whole chunk: text that is none, or holds the clip's placeholder."""
        for text in (item.question, *item.candidates):
            try:
                ids = self.processor.tokenizer(text, add_special_tokens=False).input_ids
            except (ValueError, TypeError) as error:
                raise ItemError(f"item {item.id}: {text!r} is no text: {error}") from error
            if self.model.config.placeholder_id in ids:
                raise ItemError(f"item {item.id}: {text!r} holds <av>, which stands for the clip")

    def _encode(self, item: Item, root: Path, task: str | None, encoded: dict) -> dict:
        key = (task, item.media, item.span)
        if key not in encoded:
            settings = self.processor.settings
            clip = read_media(find_media(item, root), item.span, frame_rate=settings.frame_rate, image_size=settings.image_size)
            if task:
                clip = only(clip, TASKS[task].streams)
            media = self.processor.media(clip)
            if self.model.config.question_conditioning:
                return media  # what the encoders make of it hangs on the question
            encoded[key] = encode_media(self.model, self.processor, [media])[0]
        return encoded[key]


def _line(row: dict) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _write(lines, row: dict) -> None:
    lines.write(_line(row))
    lines.flush()


def _whole_lines(content: bytes) -> Iterator[dict]:
    for line in content.splitlines(keepends=True):
        if line.endswith(b"\n"):  # a killed run may have left half a line
            yield json.loads(line)


def _resume(predictions: Path, head: dict) -> dict[str, dict]:
    """By their ids, the rows that an earlier run wrote whole; half a line at the end is cut off."""
    predictions.parent.mkdir(parents=True, exist_ok=True)
    if not predictions.exists() or not predictions.stat().st_size:
        return {}
    content = predictions.read_bytes()
    try:
        if b"\n" not in content and not _line(head).startswith(content):
            raise ValueError("it was not written by this command")
        first, *rows = _whole_lines(content) if b"\n" in content else [head]
        if first != head:
            other = [name for name in head if not isinstance(first, dict) or first.get(name) != head[name]]
            raise ValueError(f"it belongs to another run, of other {', '.join(other)}")
        done = {row["id"]: row for row in rows if "sizes" in row}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{predictions} can't be gone on with: {error}; name another file or folder (--json, --out), or "
                         "remove it") from error
    with open(predictions, "r+b") as file:
        file.truncate(content.rfind(b"\n") + 1)
    return done
