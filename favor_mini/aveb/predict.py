"""Answer the questions of a test-set file.

Predictions stream to a JSON Lines file; a stopped run continues there. If a question has
candidates, the one with the highest mean log probability per token is chosen: the sum over tokens
would prefer short ones. Otherwise the model generates its answer.
"""

import json
from functools import cache
from pathlib import Path

from tqdm.auto import tqdm

from ..context import check_question
from ..data.features import encode_media
from ..data.files import OutsideError, find_media, only, read_media
from ..evaluation.answering import answer, likelihood
from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint, load_checkpoint
from ..evaluation.metrics import matches
from ..keys import LIBRARIES, code_digest, file_digest, library_versions
from ..media.clip import MediaError, first_seconds
from ..storage import exclusive, explain_write_errors
from .files import Item

NO_MEDIA = {"num_frames": 0, "audio_tokens": 0}
CHUNK = 32  # questions that are read, encoded and answered together
STREAMS = ("audio", "video")
# The checkpoint; the same with a fresh connector and LoRA; the checkpoint without any clip.
MODELS = ("favor-mini", "untrained", "text only")


class ItemError(ValueError):
    """A question that cannot be asked, though its row is well-formed."""


class Predictor:
    """A model that answers the items of test-set files.

    Args:
        checkpoint: its folder; None: the shipped one.
        kind: one of `MODELS`.
    """

    def __init__(self, checkpoint=None, kind: str = MODELS[0]):
        self.kind, self.folder = kind, find_checkpoint(checkpoint)
        self.model, self.processor = load_checkpoint(self.folder)
        self.notes = {}  # (media, span) of an item: what is doubtful about its files
        if kind == "untrained":
            self.model.reset_trained(seed=0)

    def key(self, file, streams=STREAMS) -> dict:
        """All that decides the predictions on a file, but for the media."""
        return {"file": Path(file).name, "rows": file_digest(file), "streams": list(streams),
                "model": self.kind, "checkpoint": checkpoint_digest(self.folder),
                "code": code_digest("aveb.predict"),
                "libraries": library_versions(*LIBRARIES, "peft", "tokenizers")}

    def predict(self, file, items: list[Item], media_root, predictions, *, streams=STREAMS,
                encoded: dict | None = None, progress: bool = True) -> list[dict]:
        """One row for each item: `answers`, `media`, and either `predicted` and `right`, or
        `skipped` ("missing", "unreadable" or "outside") and the `problem`.

        Args:
            file: the test-set file of the items.
            predictions: the JSON Lines file. Its rows are reused if the media have not changed.
            streams: what the model is given of the media.
            encoded: a cache of features, to share between models with the same encoders.

        Raises:
            ValueError: `predictions` belongs to a run with another `key`.
            OSError: `predictions` cannot be written, or another process writes to it.
        """
        predictions, key = Path(predictions), self.key(file, streams)
        with (exclusive(predictions.with_name(f".{predictions.name}.lock")),
              explain_write_errors(predictions)):
            done = self._continue(key, items, Path(media_root), predictions, tuple(streams),
                                  {} if encoded is None else encoded, progress)
        return [{**done[item.id], "answers": item.answers, "media": item.media} for item in items]

    def _continue(self, key: dict, items: list[Item], root: Path, predictions: Path, streams: tuple,
                  encoded: dict, progress: bool) -> dict[str, dict]:
        """By the items' ids, the rows of a file of predictions; it is written to the end."""
        kept, hashed = _resume(predictions, key), cache(file_digest)
        media = {item.id: _digests(item, root, hashed) for item in items}
        done = {item.id: kept[item.id] for item in items
                if item.id in kept and kept[item.id]["digests"] == media[item.id]}
        with (open(predictions, "ab") as lines,
              tqdm(total=len(items), desc=key["file"], disable=not progress) as bar):
            if not predictions.stat().st_size:
                _write(lines, key)
            for start in range(0, len(items), CHUNK):
                chunk = items[start : start + CHUNK]
                if any(item.id not in done for item in chunk):
                    # The whole chunk, so that batches do not depend on where a run stopped.
                    rows = self._answer(chunk, root, streams, encoded)
                    for item, row in zip(chunk, rows, strict=True):
                        if item.id not in done:
                            done[item.id] = {**row, "digests": media[item.id]}
                            _write(lines, {"id": item.id, "question": item.question,
                                           "answers": item.answers, **done[item.id]})
                bar.update(len(chunk))
        return done

    def _answer(self, items: list[Item], root: Path, streams: tuple, encoded: dict) -> list[dict]:
        rows, media = [{} for _ in items], {}
        for row, item in zip(rows, items, strict=True):
            try:
                self._check(item)
                media[item.id] = NO_MEDIA if self.kind == "text only" else \
                    self._encode(item, root, streams, encoded)
                self._check_room(item, media[item.id])
                if notes := self.notes.get((item.media, item.span)):
                    row.update(notes=list(notes))
            except (MediaError, OSError, OutsideError, ItemError) as error:
                media.pop(item.id, None)
                skipped = ("unreadable" if isinstance(error, MediaError) else
                           "missing" if isinstance(error, OSError) else "outside")
                row.update(skipped=skipped, problem=f"item {item.id}: {error}")
        there = [(row, item) for row, item in zip(rows, items, strict=True) if item.id in media]
        free = [(row, item) for row, item in there if not item.candidates]
        texts = answer(self.model, self.processor, [media[item.id] for _, item in free],
                       [item.question for _, item in free], max_new_tokens=48)
        for (row, item), text in zip(free, texts, strict=True):
            row.update(predicted=text, right=matches(text, item.answers))
        for row, item in there:
            if item.candidates:
                row.update(self._choose(item, media[item.id]))
        return rows

    def _choose(self, item: Item, media: dict) -> dict:
        """The candidate with the highest mean log probability per token."""
        count, candidates = len(item.candidates), list(item.candidates)
        means = likelihood(self.model, self.processor, [media] * count, [item.question] * count,
                           candidates, per_token=True)
        predicted = candidates[int(means.argmax())]
        if len(set(map(tuple, self.processor.tokenizer(candidates).input_ids))) < count:
            return {"predicted": predicted, "right": False, "undecided": True}
        return {"predicted": predicted, "right": predicted in item.answers}

    def _check(self, item: Item) -> None:
        """Refuse a text that would stop the whole chunk: see `FavorProcessor.prompt`."""
        for text in (item.question, *item.candidates):
            try:
                self.processor.prompt_ids(text, 0)
            except (ValueError, TypeError) as error:
                raise ItemError(f"{text!r} is no text to ask: {error}") from error

    def _check_room(self, item: Item, media: dict) -> None:
        """Refuse texts that do not fit into the language model's context after the clip."""
        try:
            check_question(self.processor, media, item.question, *item.candidates)
        except ValueError as error:
            raise ItemError(str(error)) from error

    def _encode(self, item: Item, root: Path, streams: tuple, encoded: dict) -> dict:
        key = (streams, item.media, item.span)
        if key not in encoded:
            settings = self.processor.settings
            clip = read_media(find_media(item, root), item.span, frame_rate=settings.frame_rate,
                              image_size=settings.image_size)
            clip = first_seconds(clip, self.processor.longest_clip, settings.frame_rate)
            self.notes[item.media, item.span] = clip.notes
            media = self.processor.media(only(clip, streams))
            if self.model.config.question_conditioning:
                return media  # their features depend on the question
            encoded[key] = encode_media(self.model, self.processor, [media])[0]
        return encoded[key]


def _digests(item: Item, root, hashed) -> list[str]:
    """The digest of each of an item's files; [] if one is missing."""
    try:
        return [hashed(path) for path in find_media(item, root)]
    except (OSError, ValueError):
        return []


def _line(row: dict) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _write(lines, row: dict) -> None:
    lines.write(_line(row))
    lines.flush()


def _resume(predictions: Path, key: dict) -> dict[str, dict]:
    """By their ids, the rows that an earlier run wrote; an incomplete last line is cut off."""
    content = predictions.read_bytes() if predictions.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    try:
        if not whole and not _line(key).startswith(content):
            raise ValueError("it was not written by this command")
        first, *rows = [json.loads(line) for line in whole.splitlines()] or [key]
        if first != key:
            other = [n for n in key if not isinstance(first, dict) or first.get(n) != key[n]]
            raise ValueError(f"it belongs to a run with another {', '.join(other)}")
        done = {row["id"]: row for row in rows if "digests" in row}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{predictions} cannot be continued: {error}. Fix: name another file or "
                         "folder (--json, --out), or remove it") from error
    if content:
        with open(predictions, "r+b") as file:
            file.truncate(len(whole))
    return done
