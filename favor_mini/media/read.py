"""Files to clips: open a file, find its streams, read the stretch asked for."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from itertools import pairwise
from math import ceil

from .clip import CODEC_TAIL, SLIVER, Clip, _check_rates, _positive, media_error
from .still import _Still, _still_image


def read_clip(path, *, frame_rate: float = 2.0, sampling_rate: int = 16000, start: float | None = None,
              end: float | None = None, image_size: int | None = None, require: tuple[str, ...] = ()) -> Clip:
    """Read a video (mp4, mkv, webm, GIF, ...), a sound (wav, flac, mp3, ogg, ...) or a still image (png, jpeg, ...).

    frame_rate: frames a second to take, whatever the file's own rate (2 Hz in the paper).
    start, end: seconds; only this part is decoded. The same frames and sound as this slice of the whole file.
    image_size: S makes every frame S x S pixels (both sides, shape not kept, antialiased); None keeps the file's size.
    require: "video", "audio" or both; a file without them is refused.

    A still image is a clip of one frame, one step long. Until the first picture of a late video, that picture is shown.
    Sounds of several channels are averaged to one. Raises MediaError where the file cannot give what was asked.
    """
    file = _open(path, frame_rate, sampling_rate, image_size, require)
    return file.clip(*_span(file, start, end))


def iter_clips(path, *, seconds: float, frame_rate: float = 2.0, sampling_rate: int = 16000, start: float | None = None,
               end: float | None = None, image_size: int | None = None,
               require: tuple[str, ...] = ()) -> Iterator[Clip]:
    """The same, in pieces of `seconds` (the last one may be shorter): only one of them is in memory at a time."""
    if not _positive(seconds):
        raise media_error(path, f"it cannot be cut into pieces of {seconds!r} seconds", "give a number above 0")
    file = _open(path, frame_rate, sampling_rate, image_size, require)
    start, end = _span(file, start, end)
    count = max(1, ceil((end - start - SLIVER) / seconds))
    edges = [*(start + i * seconds for i in range(count)), end]
    return (file.clip(a, b) for a, b in pairwise(edges))


def _open(path, frame_rate, sampling_rate, image_size, require):
    """The file as a `_Still` or a `Film`, once everything about the question is known to make sense."""
    _check_rates(path, frame_rate, sampling_rate, image_size)
    require = (require,) if isinstance(require, str) else tuple(require)
    if unknown := set(require) - {"video", "audio"}:
        raise media_error(path, f"require={sorted(unknown)} is unknown", 'ask for "video", "audio" or both')
    name = _regular_file(path)
    picture = _still_image(name)
    if picture is None:
        from .film import Film

        file = Film(name)
    else:
        file = _Still(name, picture)
    file.frame_rate, file.sampling_rate, file.image_size = float(frame_rate), int(sampling_rate), image_size
    for stream in require:
        if stream in file.missing:
            thing = {"video": "picture", "audio": "sound track"}[stream]
            raise media_error(name, f"there is no {thing} in it", f'choose another file, or do not require "{stream}"')
    return file


def _regular_file(path) -> str:
    """The path as decord and FFmpeg want it: text, and absolute, so that "a:b.mp4" is not taken for a protocol."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise media_error(repr(path)[:80], f"a path was expected, found {type(path).__name__}",
                     "give a file name; for arrays there is clip_from_arrays")
    given = os.fsdecode(path)
    name = os.path.abspath(given)
    if "://" in given:
        raise media_error(given, "this is an address, not a file", "download it and give the file's name")
    if not os.path.exists(name):
        folder = os.path.dirname(name)
        names = os.listdir(folder) if os.path.isdir(folder) else []
        near = difflib.get_close_matches(os.path.basename(name), names, n=1)
        raise media_error(given, "there is no such file", f'did you mean "{near[0]}"' if near else f"look in {folder}")
    if os.path.isdir(name):
        raise media_error(given, "this is a folder", "name one file in it")
    if not os.path.isfile(name):
        raise media_error(given, "this is a pipe or a device, not a file", "write it to a file first")
    if not os.access(name, os.R_OK):
        raise media_error(given, "you may not read it", "change its permissions with `chmod +r`")
    if not os.path.getsize(name):
        raise media_error(given, "the file is empty (0 bytes)", "copy or download it again")
    return name


def _span(file, start, end) -> tuple[float, float]:
    """Where to begin and to end, in seconds; by default the whole file."""
    for what, value in (("start", start), ("end", end)):
        if value is not None and not (value == 0 or _positive(value)):
            raise media_error(file.name, f"{what}={value!r} is no time in it", "give seconds, 0 or more")
    first, last = start or 0.0, file.duration if end is None else end
    if end is not None and first >= last:
        raise media_error(file.name, f"start={first:g} is not before end={last:g}", "give a start before the end")
    # A container's own length counts the overhang of its last packet; who asks for that gets the clip's end.
    if first >= file.duration or last > file.duration + CODEC_TAIL:
        raise media_error(file.name, f"{first:g} to {last:g} s is beyond its end: it lasts {file.duration:.3f} s",
                     "ask for a part before that")
    return float(first), float(min(last, file.duration))
