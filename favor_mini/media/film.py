"""A video or sound file: what is in it, and its frames and sound between two times."""

from itertools import chain, pairwise
from math import ceil, floor

import av
import numpy as np
import soxr
from av.stream import Disposition

from .clip import CODEC_TAIL, ROUNDING, SLIVER, Clip, resized
from .errors import COPY_AGAIN, media_error, reading
from .packets import find_hole, has_xing, is_cut_off, packet_spans, why_not_opened

NOT_MEDIA = ("tty", "concat", "hls")  # FFmpeg would draw plain text and follow playlists
UNMEASURED = ("mp3", "aac", "ac3", "h264", "hevc")  # without a duration: FFmpeg guesses it
MARGIN = 1  # seconds decoded before the wanted part, until the decoders are exact
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # in others decord may seek a wrong frame
BATCH = 16  # frames held at full size at a time
LARGEST = 4 * 2**30  # bytes of frames in one clip


class Film:
    """A video or sound file. One pass over its packets finds the times; `clip` decodes parts.

    times: (n,) float64 seconds, when each frame appears; picture_end: when the last one ends.
    duration: seconds; missing: which of "video" and "audio" the file does not have.

    Raises:
        MediaError: it is not a media file, or it is truncated or damaged.
    """

    def __init__(self, name: str, frame_rate: float, sampling_rate: int, image_size: int | None):
        self.name, self.frame_rate = name, frame_rate
        self.sampling_rate, self.image_size = sampling_rate, image_size
        with self._opened() as file:
            self.zero = 0 if file.start_time is None else file.start_time / av.time_base
            declared = None if file.duration is None else file.duration / av.time_base
            packets = packet_spans(file, self._streams(file), name)
            self.kind = kind = file.format.name
        pictures = packets["video"] - self.zero  # [n, 2]: start, end
        sounds = packets["audio"] - self.zero
        self.missing = tuple(stream for stream in ("video", "audio") if not len(packets[stream]))
        if len(self.missing) == 2:
            raise media_error(name, "neither a picture nor a sound is in it: it has zero length, "
                              "or is cut off", COPY_AGAIN)
        self.times = pictures[:, 0]
        found = max(spans[:, 1].max() for spans in (pictures, sounds) if len(spans))
        guessed = kind in UNMEASURED and not (kind == "mp3" and has_xing(name))
        if (declared and not guessed and found < declared - 0.5) or is_cut_off(name):
            raise media_error(name, f"it is truncated: it ends after {found:.2f} s", COPY_AGAIN)
        if hole := find_hole(pictures, sounds):
            raise media_error(name, f"it is damaged between {hole[0]:.2f} and {hole[1]:.2f} s",
                              COPY_AGAIN)
        # Audio packets are whole; the header knows how much of the last one counts. For video the
        # header may say too little.
        whole = guessed or not declared or len(pictures)
        self.duration = found if whole else min(found, declared)
        self.picture_end = min(pictures[-1, 1], self.duration) if len(pictures) else 0.0
        if 0 < self.duration - self.picture_end <= CODEC_TAIL and len(pictures):
            self.duration = self.picture_end
        if len(pictures):
            self._decode_first()
        self._reader = None

    def clip(self, start: float, end: float) -> Clip:
        """Frames and sound from `start` to `end` seconds."""
        frames, times = self.frames(start, end)
        return Clip(frames, times, self.sound(start, end), self.sampling_rate, end - start,
                    self.missing, self.name, start)

    def _opened(self):
        with reading(self.name, why_not_opened(self.name),
                     "see what it is with `ffprobe FILE`, or copy it again"):
            file = av.open(self.name)
            if file.format.name in NOT_MEDIA:
                file.close()
                raise ValueError("it is a text")
            return file

    @staticmethod
    def _streams(file) -> dict:
        """The main video and the main sound; the cover of an album is not a video."""
        films = [s for s in file.streams.video if not s.disposition & Disposition.attached_pic]
        best = {"video": file.streams.best("video"), "audio": file.streams.best("audio")}
        if best["video"] not in films:
            best["video"] = films[0] if films else None
        return {kind: stream for kind, stream in best.items() if stream is not None}

    def _decode_first(self) -> None:
        """Decode the first frame, for its size and the camera's rotation."""
        with self._opened() as file, reading(self.name, "its pictures cannot be decoded"):
            first = next(file.decode(self._streams(file)["video"]))
        self.turns = round(first.rotation / 90) % 4
        self.shape = (first.height, first.width)
        if self.turns % 2:
            self.shape = (first.width, first.height)

    # Frames.

    def frames(self, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """The frames on screen at start + k / frame_rate, (T, H, W, 3) uint8, and when each
        appeared, (T,) float64."""
        if "video" in self.missing:
            return np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0)
        stop = min(end, self.picture_end)
        count = max(1, ceil((stop - start - SLIVER) * self.frame_rate)) if start < stop else 0
        height, width = (self.image_size,) * 2 if self.image_size else self.shape
        if count * height * width * 3 > LARGEST:
            raise media_error(
                self.name, f"{count} frames of {width} x {height} pixels do not fit into memory",
                "give image_size, a lower frame_rate, start and end, or use iter_clips")
        frames = np.empty((count, height, width, 3), np.uint8)
        if not count:
            return frames, np.zeros(0)
        moments = start + np.arange(count) / self.frame_rate
        read = self._with_av if self._decord() is None else self._with_decord
        with reading(self.name, f"its pictures between {start:.2f} and {end:.2f} s are damaged"):
            return frames, read(moments, frames)

    def _decord(self):
        """decord's reader of this file; None if it cannot open it, or would show other frames."""
        if self._reader is None:
            self._reader = False
            if self.turns == 0 and self.kind in SEEKABLE:
                try:
                    import decord

                    decord.logging.set_level(decord.logging.QUIET)
                    reader = decord.VideoReader(self.name, num_threads=2)
                    # It ignores edit lists: then it counts more frames than are shown.
                    self._reader = reader if len(reader) == len(self.times) else False
                except Exception:  # its errors have no other base class; PyAV reads the file
                    pass
        return self._reader or None

    def _with_decord(self, moments: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Fill `frames` with what is on screen at `moments`; returns when it appeared, (T,)."""
        shown = (np.searchsorted(self.times, moments + ROUNDING, side="right") - 1).clip(0)
        for i in range(0, len(shown), BATCH):
            wanted, place = np.unique(shown[i:i + BATCH], return_inverse=True)
            for k, picture in enumerate(self._reader.get_batch(wanted.tolist()).asnumpy()):
                frames[i + np.flatnonzero(place == k)] = resized(picture, self.image_size)
        return self.times[shown]

    def _with_av(self, moments: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """The same, decoding every frame from the last key frame on."""
        appeared, k = np.empty(len(moments)), 0
        with self._opened() as file:
            decoded = self._decoded(file, "video", moments[0])
            for picture, following in pairwise(chain(decoded, [None])):
                first = k
                while k < len(moments) and (following is None
                                            or self._time(following) > moments[k] + ROUNDING):
                    k += 1
                if k > first:
                    pixels = np.rot90(picture.to_ndarray(format="rgb24"), self.turns)
                    frames[first:k] = resized(pixels, self.image_size)
                    appeared[first:k] = self._time(picture)
                if k == len(moments):
                    return appeared
        raise EOFError("the pictures end too early")

    def _decoded(self, file, kind: str, start: float):
        """The stream's frames from before `start` on; all of them if the format cannot seek."""
        stream = self._streams(file)[kind]
        if start > 2 * MARGIN and file.format.name != "gif":  # a GIF frame needs all before it
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
        """(samples,) float32, mono, at `sampling_rate`; zeros where the file has no sound."""
        if "audio" in self.missing:
            return np.zeros(0, np.float32)
        # A whole second is a whole number of samples at every rate: resampling a part that starts
        # there gives the same samples as resampling the whole.
        first, last = max(0, floor(start) - MARGIN), ceil(end) + MARGIN
        with reading(self.name, f"its sound between {start:.2f} and {end:.2f} s is damaged"):
            wave, rate = self._native_sound(first, last)
            if rate != self.sampling_rate:
                if not np.isfinite(wave).all():
                    raise ValueError("it has values that are not finite")
                wave = soxr.resample(wave, rate, self.sampling_rate, quality="HQ")
        begin, stop = round(start * self.sampling_rate), round(end * self.sampling_rate)
        out = np.zeros(stop - begin, np.float32)
        wave = wave[begin - first * self.sampling_rate:][:len(out)]
        out[:len(wave)] = wave
        return out

    def _native_sound(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """(samples,) float32 from second `first` to `last` at the file's own rate; that rate."""
        wave, at, rate = None, None, 1
        with self._opened() as file:
            for frame in self._decoded(file, "audio", first):
                if wave is None:
                    rate = frame.sample_rate
                    wave = np.zeros((last - first) * rate, np.float32)
                if frame.sample_rate != rate:
                    raise ValueError(
                        f"its sampling rate changes from {rate} to {frame.sample_rate} Hz")
                if at is None or frame.pts is not None:  # some formats (wma) stamp few frames
                    due = (self._time(frame) - first) * rate
                    if at is None or abs(due - at) > 3 * ROUNDING * rate:  # more than rounding
                        at = round(due)
                piece = _mono(frame)
                begin, stop = max(at, 0), min(at + len(piece), len(wave))
                if begin < stop:
                    wave[begin:stop] = piece[begin - at:stop - at]
                at += len(piece)
                if at >= len(wave):
                    break
        return (np.zeros(0, np.float32), self.sampling_rate) if wave is None else (wave, rate)


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(samples,) float32 in -1..1, the mean of the channels."""
    wave = frame.to_ndarray()  # [channels, samples]; interleaved formats: [1, samples * channels]
    if not frame.format.is_planar:
        wave = wave.reshape(-1, len(frame.layout.channels)).T
    if wave.dtype == np.uint8:
        wave = wave / 128.0 - 1
    elif wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    return wave.mean(axis=0, dtype=np.float32)
