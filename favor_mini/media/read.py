"""A file, or a part of it, as a clip."""

import difflib
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from math import ceil

from .clip import CODEC_TAIL, SLIVER, Clip
from .errors import check_rates, is_positive, media_error
from .probe import STILLS
from .still import Still, read_image


def read_clip(path, *, frame_rate: float = 2.0, sampling_rate: int = 16000,
              start: float | None = None, end: float | None = None, image_size: int | None = None,
              require: tuple[str, ...] = ()) -> Clip:
    """Read a video (mp4, mkv, webm, GIF, ...), a sound (wav, flac, mp3, ogg, ...) or a still image
    (png, jpeg, ...).

    A still image becomes one frame, one time step long. Before the first frame of a video that
    starts late, that frame is shown. The channels of a sound are averaged.

    Args:
        frame_rate: frames per second of the clip, whatever the file's own rate (2 in the paper).
        start, end: seconds; only this part is decoded. It equals this slice of the whole file.
        image_size: resize every frame to image_size x image_size pixels; None keeps its size.
        require: "video", "audio" or both.

    Raises:
        MediaError: the file cannot be read, or lacks a required stream or part.
    """
    file = _open(path, frame_rate, sampling_rate, image_size, require)
    return file.clip(*_span(file, start, end), whole=True)


def iter_clips(path, *, seconds: float, frame_rate: float = 2.0, sampling_rate: int = 16000,
               start: float | None = None, end: float | None = None, image_size: int | None = None,
               require: tuple[str, ...] = ()) -> Iterator[Clip]:
    """`read_clip` in pieces of `seconds` (the last may be shorter), one in memory at a time."""
    if not is_positive(seconds):
        raise media_error(path, f"found pieces of {seconds!r} seconds, expected a positive number",
                          "give a number above 0")
    file = _open(path, frame_rate, sampling_rate, image_size, require)
    start, end = _span(file, start, end)
    count = max(1, ceil((end - start - SLIVER) / seconds))
    edges = [*(start + i * seconds for i in range(count)), end]
    return (file.clip(a, b) for a, b in pairwise(edges))


def stream_seconds(path) -> dict[str, float]:
    """How long the streams of a file last, in seconds, by "video" and "audio"; a still image lasts
    0. Of a film or sound, nothing is decoded.

    Raises:
        MediaError: the file cannot be read.
    """
    file = _open(path, 2.0, 16000, None, ())
    if isinstance(file, Still):
        return {"video": file.end or 0.0}
    ends = {"video": file.probe.picture_end, "audio": file.duration}
    if file.pictures and file.track:
        ends["audio"] = min(file.duration, float(file.probe.tracks["audio"].ends.max()))
    if file.probe.kind.endswith(STILLS):
        ends["video"] = 0.0
    return {stream: end for stream, end in ends.items() if stream not in file.missing}


def _open(path, frame_rate, sampling_rate, image_size, require):
    """A `Still` or a `Film`, after all arguments have been checked."""
    check_rates(path, frame_rate, sampling_rate, image_size)
    require = (require,) if isinstance(require, str) else tuple(require)
    if unknown := set(require) - {"video", "audio"}:
        raise media_error(path, f"found require={sorted(unknown)}, expected streams",
                          'give "video", "audio" or both')
    name = _checked_path(path)
    settings = float(frame_rate), int(sampling_rate), image_size
    pictures = read_image(name, image_size)
    if pictures is None:
        from .film import Film

        file = Film(name, *settings)
    else:
        file = Still(name, *pictures, *settings)
    for stream in require:
        if stream in file.missing:
            thing = {"video": "picture", "audio": "sound track"}[stream]
            raise media_error(name, f"there is no {thing} in it",
                              f'choose another file, or do not require "{stream}"')
    return file


def _checked_path(path) -> str:
    """An absolute path as text, in which FFmpeg does not take "a:b.mp4" for a protocol."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise media_error(repr(path)[:80], f"found {type(path).__name__}, expected a path",
                          "give a file name; for arrays use clip_from_arrays")
    given = os.fsdecode(path)
    name = os.path.abspath(given)
    if "://" in given:
        raise media_error(given, "this is a web address, not a file",
                          "download it and give the file's name")
    if not os.path.exists(name):
        folder, names = os.path.dirname(name), []
        with suppress(OSError):  # it may be forbidden to list the folder
            names = os.listdir(folder)
        near = difflib.get_close_matches(os.path.basename(name), names, n=1)
        raise media_error(given, "there is no such file",
                          f'did you mean "{near[0]}"' if near else f"look in {folder}")
    if os.path.isdir(name):
        raise media_error(given, "this is a folder", "give a file in it")
    if not os.path.isfile(name):
        raise media_error(given, "this is a pipe or a device, not a file", "save it as a file")
    if not os.access(name, os.R_OK):
        raise media_error(given, "you may not read it", "change its permissions with `chmod +r`")
    if not os.path.getsize(name):
        raise media_error(given, "the file is empty (0 bytes)", "copy or download it again")
    return name


def _span(file, start, end) -> tuple[float, float]:
    """The start and end of the part in seconds; by default the whole file."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (value == 0 or is_positive(value)):
            raise media_error(file.name, f"found {name}={value!r}, expected a time",
                              "give seconds, 0 or more")
    first, last = start or 0.0, file.duration if end is None else end
    if end is not None and first >= last:
        raise media_error(file.name, f"start={first:g} is not before end={last:g}",
                          "give a start before the end")
    # A container's own duration includes the end of the last audio packet, so `end` may, too.
    if first >= file.duration or last > file.duration + CODEC_TAIL:
        raise media_error(
            file.name, f"{first:g} to {last:g} s is beyond its end: it lasts {file.duration:.3f} s",
            "give an earlier part")
    return float(first), float(min(last, file.duration))
