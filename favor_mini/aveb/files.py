"""The test-set files of the paper's benchmark: JSON lists of rows that name media files and hold questions with answers.

A row holds `image` or `image_name` (one file, or a picture and its sound), `question` and `answer` (one text, or all that count
as right), perhaps `answer_candidates` to choose among and a `duration` from second to second; or, in place of question and
answer, a `conversation` of such pairs.
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
    """A row that cannot be used: the message names the file, the row's index and the field, and what was found there."""

    def __init__(self, file, index: int, field: str, problem: str):
        super().__init__(f"{file}, row {index}, field {field!r}: {problem}")
        self.file, self.index, self.field = Path(file), index, field


class ItemError(ValueError):
    """A question that cannot be asked, though its row is well-formed."""


@dataclass(frozen=True)
class Item:
    """One question.

    id: the row's index in its file, with the turn after a dot where the row is a conversation.
    media: names of one or two files, the picture before the sound.
    answers: all that count as right. candidates: what to choose among, () where the answer is free.
    span: from which second to which, where the row says so.
    """

    id: str
    media: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    span: tuple[float, float] | None = None


def read_items(file) -> tuple[list[Item], list[RowError]]:
    """All questions of a test-set file, and the rows that cannot be used.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is not a JSON list.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}; expected a test-set file of the benchmark, a JSON list of rows")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{file} holds {_kind(rows)}, expected a list of rows")
    items, broken = [], []
    for index, row in enumerate(rows):
        try:
            items += _items(file, index, row)
        except RowError as error:
            broken.append(error)
    return items, broken


def _kind(value) -> str:
    names = {type(None): "nothing", str: "a text", dict: "an object", list: "a list", bool: "true or false"}
    return names.get(type(value), "a number")


def _items(file: Path, index: int, row) -> list[Item]:
    def fail(field: str, problem: str):
        return RowError(file, index, field, problem)

    def text(field: str, value) -> str:
        if not isinstance(value, str) or not value.strip():
            raise fail(field, f"expected a text, found {_kind(value) if not isinstance(value, str) else 'an empty one'}")
        return value

    def texts(field: str, value) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            raise fail(field, f"expected a list of texts, found {'an empty list' if value == [] else _kind(value)}")
        return tuple(text(field, v) for v in value)

    if not isinstance(row, dict):
        raise fail("row", f"expected an object with fields, found {_kind(row)}")
    field = next((name for name in MEDIA if name in row), None)
    if field is None:
        raise fail("image", f"it is missing; expected it, or image_name, among {', '.join(row) or 'no fields at all'}")
    media = (text(field, row[field]),) if not isinstance(row[field], list) else texts(field, row[field])
    if len(media) > 2:
        raise fail(field, f"expected one file, or a picture and its sound, found {len(media)} files")
    span = _span(row["duration"], fail) if "duration" in row else None
    if "conversation" in row:
        turns = row["conversation"]
        if not isinstance(turns, list) or not turns or any(not isinstance(t, list) or len(t) != 2 for t in turns):
            raise fail("conversation", "expected a list of pairs of question and answer")
        return [Item(f"{index}.{turn}", media, text("conversation", q), (text("conversation", a),), (), span)
                for turn, (q, a) in enumerate(turns)]
    for wanted in ("question", "answer"):
        if wanted not in row:
            raise fail(wanted, f"it is missing among {', '.join(row)}")
    answers = texts("answer", row["answer"]) if isinstance(row["answer"], list) else (text("answer", row["answer"]),)
    candidates = texts("answer_candidates", row["answer_candidates"]) if "answer_candidates" in row else ()
    if candidates and not set(answers) & set(candidates):
        raise fail("answer_candidates", f"the answer {answers[0]!r} is not among them")
    return [Item(str(index), media, text("question", row["question"]), answers, candidates, span)]


def _span(value, fail) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
    if not numbers or not 0 <= value[0] < value[1] < float("inf"):
        raise fail("duration", f"expected two seconds [start, end] with 0 <= start < end, found {value!r}")
    return float(value[0]), float(value[1])


def find_media(item: Item, root) -> list[Path]:
    """Where an item's files are under `root`: by the name in the row, or its last part alone.

    Raises:
        ItemError: a name leads out of the root. FileNotFoundError: a file is not there.
    """
    root, found = Path(root).resolve(), []
    for name in item.media:
        places = [] if "\0" in name else [(root / name).resolve(), (root / Path(name).name).resolve()]
        if not places or any(not place.is_relative_to(root) for place in places):
            raise ItemError(f"item {item.id}: {name!r} leads out of {root}; media are read from under it only")
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise FileNotFoundError(f"item {item.id}: no {name} under {root}")
        found.append(place)
    return found


def read_media(paths: list[Path], span: tuple[float, float] | None = None, **options) -> Clip:
    """The files of an item as one clip: of two, the frames of the one that has some, and the sound of the other.

    Args:
        span: seconds to read. A file that is no longer than they are, or ends before they begin, has been cut already, and is
            read whole.
        options: of `read_clip`.

    Raises:
        MediaError: a file cannot be read, two are no picture and sound, or a file ends within the span.
    """
    clips = [_read(path, span, options) for path in paths]
    if len(clips) == 1:
        return clips[0]
    pair = sorted(zip(clips, paths, strict=True), key=lambda c: ("video" in c[0].missing, c[1].suffix.lower() in SOUNDS))
    (picture, first), (sound, second) = pair
    for clip, path, stream in ((picture, first, "video"), (sound, second, "audio")):
        if stream in clip.missing:
            raise media_error(path, f"it holds no {stream}, but it is to give it beside {second if path == first else first}",
                              "name a picture or film and a sound")
    length = max(len(sound.waveform), round(picture.duration * sound.sampling_rate) if len(picture.frames) > 1 else 0)
    waveform = np.pad(sound.waveform, (0, length - len(sound.waveform)))
    missing = tuple(name for name, there in (("video", len(picture.frames)), ("audio", len(sound.waveform))) if not there)
    return replace(picture, waveform=waveform, sampling_rate=sound.sampling_rate, missing=missing,
                   duration=max(picture.duration, sound.duration))


def _read(path: Path, span, options: dict) -> Clip:
    if span is None:
        return read_clip(path, **options)
    whole = read_clip(path, **options)
    if whole.duration <= max(span[0], span[1] - span[0] + 0.5):
        return whole
    if whole.duration < span[1] - 1:
        raise media_error(path, f"it lasts {whole.duration:.1f} s, and {span[0]:g} to {span[1]:g} s are wanted", "mend the row")
    return read_clip(path, start=span[0], end=min(span[1], whole.duration), **options)


def only(clip: Clip, streams: tuple[str, ...]) -> Clip:
    """A clip without the streams that a task does not give; all of it where nothing would be left."""
    there = [name for name in ("video", "audio") if name not in clip.missing]
    if not set(there) & set(streams):
        return clip
    if "video" not in streams:
        clip = replace(clip, frames=clip.frames[:0], frame_times=clip.frame_times[:0])
    if "audio" not in streams:
        clip = replace(clip, waveform=clip.waveform[:0])
    return replace(clip, missing=tuple(name for name in ("video", "audio") if name not in streams or name in clip.missing))
