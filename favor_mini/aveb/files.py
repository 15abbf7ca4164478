"""The test-set files of the paper's benchmark: JSON lists of rows that name media files.

A row has `image` or `image_name` (one file, or a picture and its sound), `question` and `answer`
(one text, or a list of all correct ones), and optionally `answer_candidates` and a `duration` as
[start, end] in seconds. Instead of question and answer it may have a `conversation`, a list of
pairs of these.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..media.clip import Clip, media_error
from ..media.read import read_clip

MEDIA = ("image", "image_name")
SOUNDS = {".wav", ".flac", ".mp3", ".ogg", ".m4a"}


class RowError(ValueError):
    """A row that cannot be used. The message names file, row, field and what was found there."""

    def __init__(self, file, index: int, field: str, problem: str):
        super().__init__(f"{file}, row {index}, field {field!r}: {problem}")
        self.file, self.index, self.field = Path(file), index, field


class ItemError(ValueError):
    """A question that cannot be asked, though its row is well-formed."""


@dataclass(frozen=True)
class Item:
    """One question.

    id: index of its row in the file; in a conversation followed by a dot and the turn.
    media: names of one or two files, the picture before the sound.
    answers: all correct answers. candidates: answers to choose from, () where the answer is free.
    span: start and end in seconds; None: the whole file.
    """

    id: str
    media: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    span: tuple[float, float] | None = None


def read_items(file) -> tuple[list[Item], list[RowError]]:
    """All questions of a test-set file, and an error for each row that cannot be used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a JSON list.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}; expected a test-set file, a JSON list of rows")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{file} holds {type(rows).__name__}, expected a list of rows")
    items, broken = [], []
    for index, row in enumerate(rows):
        try:
            items += _items(row, index)
        except ValueError as error:
            broken.append(RowError(file, index, *error.args))
    return items, broken


def _items(row, index: int) -> list[Item]:
    """The questions of a row, or a ValueError of a field and its problem."""
    if not isinstance(row, dict):
        raise ValueError("row", f"expected an object, found {row!r:.40}")
    field = next((name for name in MEDIA if name in row), MEDIA[0])
    media = _texts(row, field)
    if len(media) > 2:
        raise ValueError(field, f"expected one file, or a picture and its sound, found {media}")
    span = _span(row["duration"]) if "duration" in row else None
    if "conversation" in row:
        turns = row["conversation"]
        if not isinstance(turns, list) or not turns or any(
                not isinstance(turn, list) or len(turn) != 2 for turn in turns):
            raise ValueError("conversation", "expected a list of pairs of question and answer")
        pairs = [_texts({"conversation": turn}, "conversation") for turn in turns]
        return [Item(f"{index}.{turn}", media, question, (answer,), span=span)
                for turn, (question, answer) in enumerate(pairs)]
    (question,), answers, candidates = _texts(row, "question", str), _texts(row, "answer"), ()
    if "answer_candidates" in row:
        candidates = _texts(row, "answer_candidates", list)
        if not set(answers) & set(candidates):
            raise ValueError("answer_candidates", f"the answer {answers[0]!r} is not among them")
    return [Item(str(index), media, question, answers, candidates, span)]


def _texts(row: dict, field: str, kind=(str, list)) -> tuple[str, ...]:
    """The text, or the list of texts, in a field."""
    if field not in row:
        raise ValueError(field, f"it is missing; found {list(row)}")
    value = row[field]
    texts = value if isinstance(value, list) else [value]
    if not isinstance(value, kind) or not texts or not all(
            isinstance(text, str) and text.strip() for text in texts):
        expected = {str: "a text", list: "a list of texts"}.get(kind, "a text, or a list of texts")
        raise ValueError(field, f"expected {expected}, found {value!r:.40}")
    return tuple(texts)


def _span(value) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
    if not numbers or not 0 <= value[0] < value[1] < float("inf"):
        raise ValueError("duration", "expected seconds [start, end] with 0 <= start < end, "
                                     f"found {value!r:.40}")
    return float(value[0]), float(value[1])


def find_media(item: Item, root) -> list[Path]:
    """The files of an item under `root`: at the path in the row, or by its file name alone.

    Raises:
        ItemError: a path leads out of the root.
        FileNotFoundError: a file does not exist.
    """
    root, found = Path(root).resolve(), []
    for name in item.media:
        places = [(root / part).resolve() for part in (name, Path(name).name) if "\0" not in name]
        if not places or not all(place.is_relative_to(root) for place in places):
            raise ItemError(f"item {item.id}: {name!r} leads out of the media root {root}")
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise FileNotFoundError(f"item {item.id}: no {name} under {root}. Fix: check "
                                    "--media-root")
        found.append(place)
    return found


def read_media(paths: list[Path], span: tuple[float, float] | None = None, **options) -> Clip:
    """The files of an item as one clip. Of two files, one gives the frames, the other the sound.

    Args:
        span: start and end in seconds. A file that is no longer than the span, or ends before its
            start, is taken to be cut already, and read whole.
        options: of `read_clip`.

    Raises:
        MediaError: a file cannot be read, or ends within the span, or two files are not a picture
            and a sound.
    """
    clips = [_read(path, span, options) for path in paths]
    if len(clips) == 1:
        return clips[0]
    (picture, first), (sound, second) = sorted(
        zip(clips, paths, strict=True),
        key=lambda pair: ("video" in pair[0].missing, pair[1].suffix.lower() in SOUNDS))
    for clip, path, stream in ((picture, first, "video"), (sound, second, "audio")):
        if stream in clip.missing:
            raise media_error(path, f"it has no {stream}, expected a picture or film, and a sound",
                              "name one of each")
    filmed = round(picture.duration * sound.sampling_rate) if len(picture.frames) > 1 else 0
    waveform = np.pad(sound.waveform, (0, max(0, filmed - len(sound.waveform))))
    missing = tuple(name for name, part in (("video", picture.frames), ("audio", waveform))
                    if not len(part))
    return replace(picture, waveform=waveform, sampling_rate=sound.sampling_rate, missing=missing,
                   duration=max(picture.duration, sound.duration),
                   notes=picture.notes + sound.notes)


def _read(path: Path, span, options: dict) -> Clip:
    whole = read_clip(path, **options)
    if span is None or whole.duration <= max(span[0], span[1] - span[0] + 0.5):
        return whole
    if whole.duration < span[1] - 1:
        raise media_error(path, f"it lasts {whole.duration:.1f} s, but the row names the span "
                          f"{span[0]:g} to {span[1]:g} s", "correct the row's duration")
    return read_clip(path, start=span[0], end=min(span[1], whole.duration), **options)


def only(clip: Clip, streams: tuple[str, ...]) -> Clip:
    """A clip without the streams that a task does not give; unchanged if none would be left."""
    there = {"video", "audio"} - set(clip.missing)
    if not there & set(streams):
        return clip
    if "video" not in streams:
        clip = replace(clip, frames=clip.frames[:0], frame_times=clip.frame_times[:0])
    if "audio" not in streams:
        clip = replace(clip, waveform=clip.waveform[:0])
    kept = there & set(streams)
    return replace(clip, missing=tuple(name for name in ("video", "audio") if name not in kept))
