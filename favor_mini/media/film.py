"""A file of moving pictures, of sound, or of both, read piece by piece: the lower half of `media`."""

from __future__ import annotations

import os
from math import ceil, floor

import av
import numpy as np
import soxr
from av.stream import Disposition

from .clip import (
    CODEC_TAIL,
    COPY_AGAIN,
    LARGEST,
    NO_MEDIA,
    ROUNDING,
    SLIVER,
    Clip,
    media_error,
    reading,
    resized,
)

UNMEASURED = ("mp3", "aac", "ac3", "h264", "hevc")  # these formats do not say how long they are: FFmpeg guesses it
MARGIN = 1  # seconds decoded before the part that is wanted, so that the decoders have found their feet
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # in others (MPEG-TS, AVI) decord may jump to a wrong frame
BATCH = 16  # frames held at full size at a time


class Film:
    """One pass over the packets of a file tells what is in it and when; then `clip` decodes parts of it.

    times: (n,) float64, when each picture comes on screen; picture_end: until when the last one stays.
    duration: seconds; missing: which of "video", "audio" the file does not have. The caller sets frame_rate,
    sampling_rate and image_size. Raises MediaError for what is no media file, and for a truncated or damaged one.
    """

    def __init__(self, name: str):
        self.name = name
        with self._opened() as file:
            zero = 0 if file.start_time is None else file.start_time / av.time_base
            declared = None if file.duration is None else file.duration / av.time_base
            packets = _packets(file, self._streams(file), name)
            self.kind = kind = file.format.name
        self.zero = zero
        pictures, sounds = packets["video"] - zero, packets["audio"] - zero  # [n, 2]: from, until
        self.missing = tuple(name for name in ("video", "audio") if not len(packets[name]))
        if len(self.missing) == 2:
            raise media_error(name, "neither a picture nor a sound is in it: of zero length, or cut off", COPY_AGAIN)
        self.times = pictures[:, 0]
        found = max(pieces[:, 1].max() for pieces in (pictures, sounds) if len(pieces))
        guessed = kind in UNMEASURED and not (kind == "mp3" and _has_xing(name))
        if (declared and not guessed and found < declared - 0.5) or _breaks_off(name):
            raise media_error(name, f"it is truncated: it breaks off after {found:.2f} s", COPY_AGAIN)
        if hole := _hole(pictures, sounds):
            raise media_error(name, f"it is damaged between {hole[0]:.2f} and {hole[1]:.2f} s", COPY_AGAIN)
        # Packets of sound are whole, and the header knows how much of the last is meant. Of pictures it may know less.
        self.duration = found if guessed or not declared or len(pictures) else min(found, declared)
        self.picture_end = min(pictures[-1, 1], self.duration) if len(pictures) else 0.0
        if 0 < self.duration - self.picture_end <= CODEC_TAIL and len(pictures):
            self.duration = self.picture_end
        if len(pictures):
            self._look()
        self._reader = None

    def clip(self, start: float, end: float) -> Clip:
        """What is seen and heard from `start` to `end` seconds."""
        frames, times = self.frames(start, end)
        return Clip(frames, times, self.sound(start, end), self.sampling_rate, end - start, self.missing, self.name,
                    start)

    def _opened(self):
        with reading(self.name, _why_not(self.name), "see what it is with `ffprobe FILE`, or copy it again"):
            file = av.open(self.name)
            if file.format.name in NO_MEDIA:
                file.close()
                raise ValueError("it is a text")
            return file

    @staticmethod
    def _streams(file) -> dict:
        """The file's main picture and main sound; the cover of an album is no picture."""
        films = [s for s in file.streams.video if not s.disposition & Disposition.attached_pic]
        best = {"video": file.streams.best("video"), "audio": file.streams.best("audio")}
        if best["video"] not in films:
            best["video"] = films[0] if films else None
        return {kind: stream for kind, stream in best.items() if stream is not None}

    def _look(self) -> None:
        """Decode the first picture: does it work at all, how large is it, which way up was the camera?"""
        with self._opened() as file, reading(self.name, "its pictures cannot be decoded"):
            first = next(file.decode(self._streams(file)["video"]))
        self.turns = round(first.rotation / 90) % 4
        self.shape = (first.height, first.width) if self.turns % 2 == 0 else (first.width, first.height)

    # Frames.

    def frames(self, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """(T, H, W, 3) uint8, the frames on screen at start + k / frame_rate, and (T,) float64, since when they are."""
        if "video" in self.missing:
            return np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0)
        stop = min(end, self.picture_end)
        count = max(1, ceil((stop - start - SLIVER) * self.frame_rate)) if start < stop else 0
        height, width = (self.image_size,) * 2 if self.image_size else self.shape
        if count * height * width * 3 > LARGEST:
            raise media_error(self.name, f"{count} frames of {width} x {height} pixels do not fit into memory",
                              "give image_size, a lower frame_rate, start and end, or use iter_clips")
        frames = np.empty((count, height, width, 3), np.uint8)
        if not count:
            return frames, np.zeros(0)
        moments = start + np.arange(count) / self.frame_rate
        read = self._with_av if self._decord() is None else self._with_decord
        with reading(self.name, f"its pictures between {start:.2f} and {end:.2f} s are damaged"):
            return frames, read(moments, frames)

    def _decord(self):
        """decord's reader of this file, opened once; None where it would show other frames, or cannot open it."""
        if self._reader is None:
            self._reader = False
            if self.turns == 0 and self.kind in SEEKABLE:
                try:
                    import decord

                    decord.logging.set_level(decord.logging.QUIET)
                    reader = decord.VideoReader(self.name, num_threads=2)
                    # It plays what an edit list cuts away: then it counts more pictures than there are to see.
                    self._reader = reader if len(reader) == len(self.times) else False
                except Exception:  # its errors have no common ancestor; PyAV reads the file, or says what is wrong
                    pass
        return self._reader or None

    def _with_decord(self, moments: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Fill `frames` with what is on screen at `moments`; returns since when, (T,)."""
        shown = (np.searchsorted(self.times, moments + ROUNDING, side="right") - 1).clip(0)
        for i in range(0, len(shown), BATCH):
            wanted, place = np.unique(shown[i:i + BATCH], return_inverse=True)
            for k, picture in enumerate(self._reader.get_batch(wanted.tolist()).asnumpy()):
                frames[i + np.flatnonzero(place == k)] = resized(picture, self.image_size)
        return self.times[shown]

    def _with_av(self, moments: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """The same, by decoding every picture from the last key frame on."""
        since, k = np.empty(len(moments)), 0
        with self._opened() as file:
            for picture, following in _pairs(self._decoded(file, "video", moments[0])):
                first = k
                while k < len(moments) and (following is None or self._time(following) > moments[k] + ROUNDING):
                    k += 1
                if k > first:
                    frames[first:k] = resized(np.rot90(picture.to_ndarray(format="rgb24"), self.turns), self.image_size)
                    since[first:k] = self._time(picture)
                if k == len(moments):
                    return since
        raise EOFError("the pictures end too early")

    def _decoded(self, file, kind: str, start: float):
        """The stream's frames from a little before `start` on; from the first where the format cannot jump."""
        stream = self._streams(file)[kind]
        if start > 2 * MARGIN and file.format.name != "gif":  # a GIF picture needs all those before it
            try:
                file.seek(int((start - MARGIN + self.zero) / stream.time_base), stream=stream)
            except av.FFmpegError:
                file.seek(0)
        return file.decode(stream)

    def _time(self, frame) -> float:
        stamp = frame.dts if frame.pts is None else frame.pts
        return float((stamp or 0) * frame.time_base) - self.zero

    # Sound.

    def sound(self, start: float, end: float) -> np.ndarray:
        """(samples,) float32, mono, from `start` to `end` at `sampling_rate`; zeros where the file has nothing."""
        if "audio" in self.missing:
            return np.zeros(0, np.float32)
        # Whole seconds are whole samples at every rate: so a part is resampled exactly as it is within the whole.
        first, last = max(0, floor(start) - MARGIN), ceil(end) + MARGIN
        with reading(self.name, f"its sound between {start:.2f} and {end:.2f} s is damaged"):
            wave, rate = self._native_sound(first, last)
            if rate != self.sampling_rate:
                if not np.isfinite(wave).all():
                    raise ValueError("it holds numbers that are not finite")
                wave = soxr.resample(wave, rate, self.sampling_rate, quality="HQ")
        begin = round(start * self.sampling_rate) - first * self.sampling_rate
        out = np.zeros(round(end * self.sampling_rate) - round(start * self.sampling_rate), np.float32)
        wave = wave[begin:begin + len(out)]
        out[:len(wave)] = wave
        return out

    def _native_sound(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """(samples,) float32 from second `first` to second `last` at the file's own rate, and that rate."""
        wave, at, rate = None, None, 1
        with self._opened() as file:
            for frame in self._decoded(file, "audio", first):
                if wave is None:
                    wave, rate = np.zeros((last - first) * frame.sample_rate, np.float32), frame.sample_rate
                if frame.sample_rate != rate:
                    raise ValueError(f"its sampling rate changes from {rate} to {frame.sample_rate} Hz")
                if at is None or frame.pts is not None:  # some formats (wma) stamp few frames
                    due = (self._time(frame) - first) * rate
                    if at is None or abs(due - at) > 3 * ROUNDING * rate:  # else only the time stamp was rounded
                        at = round(due)
                piece = _mono(frame)
                begin, stop = max(at, 0), min(at + len(piece), len(wave))
                if begin < stop:
                    wave[begin:stop] = piece[begin - at:stop - at]
                at += len(piece)
                if at >= len(wave):
                    break
        return (np.zeros(0, np.float32), self.sampling_rate) if wave is None else (wave, rate)


def _why_not(name: str) -> str:
    """What to suspect if FFmpeg cannot open this file."""
    with open(name, "rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return "it is truncated or damaged: it begins like an mp4, but its index is missing"
    return "this is not a media file, or its beginning is damaged"


def _packets(file, streams: dict, name: str) -> dict[str, np.ndarray]:
    """From when to when each packet is shown or heard, in order: (n, 2) float64 seconds, for "video" and "audio"."""
    times = {"video": [], "audio": []}
    with reading(name, "it is truncated or damaged"):
        for packet in file.demux(*streams.values()) if streams else ():
            if packet.is_corrupt:
                at = float((packet.pts or 0) * packet.time_base)
                raise media_error(name, f"it is truncated or damaged at {at:.2f} s", COPY_AGAIN)
            if packet.pts is not None and not packet.is_discard:
                times[packet.stream.type].append((packet.pts, packet.duration or 0))
        for kind, stream in streams.items():
            if not times[kind] and kind == "video" and next(file.decode(stream), None):
                raise ValueError("its pictures carry no times")
    spans = {}
    for kind in times:
        span = np.array(sorted(times[kind]), np.float64).reshape(-1, 2)  # [n, 2]: from, for how long
        span *= float(streams[kind].time_base) if kind in streams else 1
        if kind == "video" and len(span) and not span[-1, 1]:  # how long the last picture stays is not said
            span[-1, 1] = np.median(np.diff(span[:, 0])) if len(span) > 1 else 0.04
        span[:, 1] += span[:, 0]
        spans[kind] = span
    return spans


def _gaps(spans: np.ndarray, longest: float) -> list[tuple[float, float]]:
    """From when to when a stream pauses for more than `longest` seconds."""
    until = np.maximum.accumulate(spans[:-1, 1])
    return [(u, f) for u, f in zip(until, spans[1:, 0], strict=False) if f - u > longest]


def _hole(pictures: np.ndarray, sounds: np.ndarray) -> tuple[float, float] | None:
    """From when to when the demuxer skipped what it could not read; None for a whole file.

    A stream may well pause while the other goes on; both at once do not, nor does a file of sound alone.
    """
    if not len(pictures):
        return next(iter(_gaps(sounds, 0.05)), None)
    usual = np.median(np.diff(pictures[:, 0])) if len(pictures) > 1 else 0
    ended = np.vstack([pictures, np.full((1, 2), sounds[-1:, 1].sum())])  # they may just stop
    silent, blind = _gaps(sounds, 0.25), _gaps(ended, max(0.25, 3 * usual))
    return next(((max(a, c), min(b, d)) for a, b in silent for c, d in blind if max(a, c) < min(b, d)), None)


def _has_xing(name: str) -> bool:
    """Does this mp3 say how long it is?"""
    with open(name, "rb") as file:
        head = file.read(1 << 16)
    return b"Xing" in head or b"Info" in head


def _breaks_off(name: str) -> bool:
    """Does the file say of itself that more should follow? For formats in which FFmpeg does not look."""
    with open(name, "rb") as file:
        head = file.read(8)
        length = file.seek(0, os.SEEK_END)
        file.seek(-min(length, 1 << 17), os.SEEK_END)
        tail = file.read()
    if head[:4] == b"RIFF":  # wav, avi; writers to a pipe put 0 or the largest number
        size = int.from_bytes(head[4:], "little")
        return 0 < size < 0xFFFFFF00 and size + 8 > length + 1
    if head[:3] == b"GIF":
        return not tail.rstrip(b"\0").endswith(b";")
    if head[:4] == b"OggS" and (page := tail.rfind(b"OggS")) >= 0:  # header of 27 bytes, a table of lengths, the pieces
        table = tail[page + 27:page + 27 + (tail + bytes(27))[page + 26]]
        return page + 27 + len(table) + sum(table) > len(tail)
    return False


def _pairs(frames):
    """Each frame with the one that follows it, None after the last."""
    before = None
    for frame in frames:
        if before is not None:
            yield before, frame
        before = frame
    if before is not None:
        yield before, None


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(samples,) float32 in -1..1, the mean of the channels."""
    wave = frame.to_ndarray()  # [channels, samples], or where the format interleaves them [1, samples * channels]
    if not frame.format.is_planar:
        wave = wave.reshape(-1, len(frame.layout.channels)).T
    if wave.dtype == np.uint8:
        wave = wave / 128.0 - 1
    elif wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    return wave.mean(axis=0, dtype=np.float32)
