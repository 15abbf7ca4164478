"""The media files of a row: found under one folder, and read as one clip."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..media.clip import Clip, media_error
from ..media.read import read_clip, stream_seconds
from .row import Span

SOUNDS = {".wav", ".flac", ".mp3", ".ogg", ".m4a"}


class OutsideError(ValueError):
    """A name that leads out of the media root."""


def find_media(row, root) -> list[Path]:
    """The files of a row under `root`: at the path in the row, or by its file name alone.

    Args:
        row: has `media`, the names of its files.

    Raises:
        OutsideError: a path leads out of the root.
        FileNotFoundError: a file does not exist.
    """
    root, found = Path(root).resolve(), []
    for name in row.media:
        try:
            places = [(root / part).resolve() for part in (name, Path(name).name)]
        except (RuntimeError, ValueError):  # links in a circle, or no name at all
            places = []
        if not places or not all(place.is_relative_to(root) for place in places):
            raise OutsideError(f"{name!r} leads out of the media root {root}. Fix: move the "
                               "file there, or name a folder above it")
        place = next((place for place in places if place.is_file()), None)
        if place is None and (folder := next((p for p in places if p.is_dir()), None)):
            raise FileNotFoundError(f"{folder} is a folder, expected a file. Fix: name the file")
        if place is None:
            raise FileNotFoundError(f"no {name} under {root}. Fix: check --media-root")
        found.append(place)
    return found


def read_media(paths: list[Path], span: Span | tuple[float, float] | None = None, **options
               ) -> Clip:
    """The files of a row as one clip. Of two files, one gives the frames, the other the sound.

    Args:
        span: start and end in seconds, see `used_part`.
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
    part = used_part(path, span)
    return read_clip(path, **options) if part is None else \
        read_clip(path, start=part[0], end=part[1], **options)


def used_part(path: Path, span: Span | tuple[float, float] | None) -> tuple[float, float] | None:
    """The part of a file that a row with this span uses: start and end in seconds, or None for the
    whole file. Nothing is decoded.

    A still picture is used whole. With `span.cut`, a file that is no longer than the span, or ends
    before its start, is taken to be cut already. A span may end up to a second after the file, as
    durations are often rounded.

    Raises:
        MediaError: the file cannot be read, or ends before the span does.
    """
    if span is None:
        return None
    start, end, cut = Span(*span)
    lasts = max(stream_seconds(path).values())
    if not lasts or cut and lasts <= max(start, end - start + 0.5):
        return None
    if lasts <= start or lasts < end - 1:
        raise media_error(path, f"it lasts {lasts:.1f} s, but the row names the span "
                          f"{start:g} to {end:g} s", "correct the row's start and end")
    return start, min(end, lasts)


def shared_files(one: dict[Path, str], other: dict[Path, str]) -> list[str]:
    """Files of `other` whose content is also in `one`, as "name = name"; both map files to digests
    of their contents."""
    known = {}
    for path, digest in one.items():
        known.setdefault(digest, path.name)
    return [f"{known[digest]} = {path.name}" for path, digest in sorted(other.items())
            if digest in known]


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
