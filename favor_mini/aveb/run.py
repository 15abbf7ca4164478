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

from ..ask import find_checkpoint, load_checkpoint
from ..evaluation import answer, likelihood
from ..features import encode_media
from ..files import digest
from ..media import MediaError
from .files import Item, find_media, read_items, read_media
from .metrics import best_word_errors, cider, matches, need

TASKS = {  # task of the paper's benchmark: its metric (captions of sounds: SPIDEr in the paper, which needs Java's SPICE)
    "asr": "word error rate", "ac": "CIDEr", "ic": "CIDEr", "ocr": "accuracy", "vqa": "accuracy", "video_qa": "accuracy",
    "avsr": "word error rate", "avqa": "accuracy", "isqa": "accuracy", "avssd": "accuracy", "avm": "accuracy"}


@dataclass(frozen=True)
class Report:
    """What came of a file: how many questions were asked, the task's metric over them with its 95 % interval (None where none
    was asked), and how many could not be asked, and why."""

    file: str
    asked: int
    metric: str
    value: tuple[float, float, float] | None
    missing: int
    unreadable: int
    broken: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.asked} questions asked"]
        if self.value:
            form = ".2f" if self.metric == "CIDEr" else ".1%"
            value, low, high = (format(v, form) for v in self.value)
            lines.append(f"{self.metric} {value} (95 % {low} to {high})")
        lines += [f"skipped: {count} {what}" for count, what in (
            (self.missing, "whose media are not under the root"), (self.unreadable, "whose media cannot be read"),
            (len(self.broken), "rows that are malformed")) if count]
        return "\n".join(lines + [f"  {problem}" for problem in self.broken])


def score(metric: str, asked: list[dict]) -> tuple[float, float, float]:
    """A metric over rows of `predicted` and `answers`, with the bounds of its 95 % interval."""
    predicted = [row["predicted"] for row in asked]
    if metric == "accuracy":
        right = sum(row["right"] for row in asked)
        interval = binomtest(right, len(asked)).proportion_ci(method="wilson")
        return right / len(asked), interval.low, interval.high
    if metric == "CIDEr":
        share, of = np.array(cider(predicted, [row["answers"] for row in asked])), np.ones(len(asked))
    else:
        each = [best_word_errors(text, row["answers"]) for text, row in zip(predicted, asked, strict=True)]
        share, of = np.array([e.errors for e in each]), np.array([e.words for e in each])
        if not of.any():
            raise ValueError("nothing was said in any of the references: there is no word error rate")
    drawn = np.random.default_rng(0).multinomial(len(asked), np.full(len(asked), 1 / len(asked)), 4000)  # the bootstrap
    low, high = np.quantile((drawn @ share) / np.maximum(drawn @ of, 1), [0.025, 0.975])
    return float(share.sum() / of.sum()), float(low), float(high)


def evaluate_file(file, media_root, predictions, *, task: str | None = None, checkpoint=None, progress: bool = True) -> Report:
    """Ask everything in a test-set file; one line a question goes to `predictions` as soon as it is answered.

    Args:
        task: one of `TASKS`, which says the metric; None: accuracy.
        predictions: JSON Lines file. What it holds already is not asked again, if it belongs to this file and checkpoint.

    Raises:
        FileNotFoundError: no such file, root or checkpoint. ValueError: the file is no list of rows, or `predictions` belongs
            to another run, or there is no such task. OSError: the metric's library is not installed.
    """
    if task not in (None, *TASKS):
        raise ValueError(f"no task {task!r}; the tasks are {', '.join(TASKS)}")
    metric = TASKS.get(task, "accuracy")
    file, root, predictions = Path(file), Path(media_root), Path(predictions)
    if predictions.resolve() == file.resolve():
        raise ValueError(f"{file} holds the questions; name another file for the predictions")
    need(metric)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; --media-root is where the media are that {file.name} names")
    items, broken = read_items(file)
    folder = find_checkpoint(checkpoint)
    head = {"file": file.name, "rows": digest(file.read_bytes()),
            "checkpoint": digest(*((folder / name).read_bytes() for name in ("config.json", "model.safetensors")))}
    done = _resume(predictions, head)
    model, processor = load_checkpoint(folder)
    with open(predictions, "ab") as lines:
        if not predictions.stat().st_size:
            _write(lines, head)
        for item in tqdm(items, desc=file.name, disable=not progress):
            if item.id not in done:
                done[item.id] = _ask(model, processor, item, root)
                _write(lines, {"id": item.id, "question": item.question, "answers": item.answers, **done[item.id]})
    told = [{**done[item.id], "answers": item.answers} for item in items]
    asked = [row for row in told if "predicted" in row]
    skipped = {why: [row["problem"] for row in told if row.get("skipped") == why] for why in ("missing", "unreadable", "outside")}
    return Report(file.name, len(asked), metric, score(metric, asked) if asked else None, len(skipped["missing"]),
                  len(skipped["unreadable"]), (*map(str, broken), *skipped["outside"]))


def _ask(model, processor, item: Item, root: Path) -> dict:
    """`predicted` and `right`; or `skipped` with the `problem`."""
    settings = processor.settings
    try:
        clip = read_media(find_media(item, root), item.span, frame_rate=settings.frame_rate, image_size=settings.image_size)
    except OSError as error:
        return {"skipped": "missing", "problem": str(error)}
    except MediaError as error:
        return {"skipped": "unreadable", "problem": f"item {item.id}: {error}"}
    except ValueError as error:
        return {"skipped": "outside", "problem": str(error)}
    try:
        (encoded,) = encode_media(model, processor, [processor.media(clip)])
        if item.candidates:
            told = likelihood(model, processor, [encoded] * len(item.candidates), [item.question] * len(item.candidates),
                              list(item.candidates))
            predicted = item.candidates[int(told.argmax())]
            return {"predicted": predicted, "right": predicted in item.answers}
        (predicted,) = answer(model, processor, [encoded], [item.question], max_new_tokens=32)
        return {"predicted": predicted, "right": matches(predicted, item.answers)}
    except (ValueError, TypeError) as error:  # a question that the tokenizer or the model refuses
        return {"skipped": "outside", "problem": f"item {item.id}: {error}"}


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
            raise ValueError(f"it belongs to {first}, asked for is {head}")
        done = {row["id"]: row for row in rows if "predicted" in row}  # what was skipped may be there by now
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{predictions} can't be gone on with: {error}; choose another file, or remove it") from error
    with open(predictions, "r+b") as file:
        file.truncate(content.rfind(b"\n") + 1)
    return done
