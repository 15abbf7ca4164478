"""The sound of a file: its samples between two times."""

from collections.abc import Iterator
from math import ceil, floor

import av
import numpy as np
import soxr

from .errors import reading
from .probe import Clocks, Probe, main_streams, opened

MARGIN = 1  # seconds decoded before the wanted part, until the decoders are exact
SKIP = 5  # seconds; it is faster to seek over more than to decode them
GAP = 0.1  # seconds; a longer deviation of a time stamp is a gap or an overlap
ROUNDED = 0.004  # seconds; time stamps are rounded, and those of Vorbis waver by 10 ms
SETTLED = 0.25  # seconds; a deviation that lasts so long is real
SILENT = 1e-3  # the mean of the channels has so much less energy where they cancel


class Sound:
    """The sound track of a file, mono, at `sampling_rate`; read forwards without decoding twice."""

    def __init__(self, probe: Probe, sampling_rate: int):
        self.probe, self.sampling_rate = probe, sampling_rate
        self.decoded, self.kept, self.rate, self.cancels = None, [], 0, False

    def between(self, start: float, end: float) -> np.ndarray:
        """(samples,) float32; zeros where the file has no sound."""
        # A whole second is a whole number of samples at every rate: resampling a part that starts
        # there gives the same samples as resampling the whole.
        first, last = max(0, floor(start) - MARGIN), ceil(end) + MARGIN
        with reading(self.probe.name, f"its sound between {start:.2f} and {end:.2f} s is damaged"):
            wave = self._native(first, last)
            if not np.isfinite(wave).all():
                raise ValueError("it has values that are not finite")
            wave = self._scaled(wave)
            if self.rate not in (0, self.sampling_rate):
                wave = soxr.resample(wave, self.rate, self.sampling_rate, quality="HQ")
        begin, stop = round(start * self.sampling_rate), round(end * self.sampling_rate)
        out = np.zeros(stop - begin, np.float32)
        wave = wave[begin - first * self.sampling_rate:][:len(out)]
        out[:len(wave)] = wave
        return out

    def _scaled(self, wave: np.ndarray) -> np.ndarray:
        """Refuse or scale values far outside of -1..1."""
        peak = float(np.abs(wave).max()) if len(wave) else 0.0
        if peak > 2**15 or 4 < peak < 2**7:
            raise ValueError(f"a value is {peak:g}, expected -1 to 1")
        if peak <= 4:
            return wave
        self._note(f"its sound reaches {peak:.0f}, as in units of 16-bit integers: it was divided "
                   "by 32768")
        return wave / np.float32(2**15)

    def _note(self, note: str) -> None:
        if note not in self.probe.notes:
            self.probe.notes.append(note)

    def _native(self, first: int, last: int) -> np.ndarray:
        """(samples,) float32 from second `first` to `last` at the file's own rate, `self.rate`."""
        if not self.kept or not (
                self.kept[0][0] <= first * self.rate <= self.kept[-1][0] + SKIP * self.rate):
            self.decoded, self.kept = self._decode(first), []
        wave, energies, number = None, np.zeros(2), 0
        while True:
            if number == len(self.kept):
                if (piece := next(self.decoded, None)) is None:
                    break
                self.kept.append(piece)
            at, piece = self.kept[number]
            if wave is None:
                wave = np.zeros((last - first) * self.rate, np.float32)
            at -= first * self.rate
            if at >= len(wave):
                break
            part, begin = piece[:, max(-at, 0):len(wave) - at], max(at, 0)
            if part.shape[1] and at + piece.shape[1] > 0:
                energies += [np.square(x, dtype=np.float64).mean(0).sum()
                             for x in (part.mean(0, keepdims=True), part)]
                wave[begin:begin + part.shape[1]] = part[0] if self.cancels else part.mean(0)
            # What the next part may need: it begins at most 2 * MARGIN + 1 s before the end.
            if at + piece.shape[1] < len(wave) - 4 * MARGIN * self.rate:
                del self.kept[number]
            else:
                number += 1
        if energies[0] < SILENT * energies[1] and not self.cancels:
            self._note("its channels cancel each other in their mean: the first one was used")
            self.kept, self.cancels = [], True
            return self._native(first, last)
        return np.zeros(0, np.float32) if wave is None else wave

    def _decode(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """(sample number, samples (channels, n)) of each decoded frame, from before `start` on."""
        with opened(self.probe.name) as file:
            stream = main_streams(file)["audio"]
            if start > 2 * MARGIN and len(self.probe.shifts) == 1:
                try:
                    file.seek(int((start - MARGIN + self.probe.zero) / stream.time_base),
                              stream=stream)
                except av.FFmpegError:
                    file.seek(0)
            clocks, at, since, self.rate = Clocks(self.probe.zero, self.probe.shifts), None, None, 0
            for frame in _frames(file, stream):
                rate, piece = frame.sample_rate, samples(frame)
                if self.rate not in (0, rate):
                    raise ValueError(f"its sampling rate changes from {self.rate} to {rate} Hz")
                self.rate = rate
                stamp = frame.dts if frame.pts is None else frame.pts
                if at is None or frame.pts is not None:  # some formats (wma) stamp few frames
                    time = float((stamp or 0) * frame.time_base)
                    due = (time + clocks.shift(0, time) - self.probe.zero) * rate
                    off = 0 if at is None else due - at
                    if at is None or abs(off) > GAP * rate:
                        at, since = round(due), None
                    elif abs(off) <= ROUNDED * rate:
                        since = None
                    elif since is None or (since[1] > 0) != (off > 0):
                        since = at, off
                    elif at - since[0] > SETTLED * rate:
                        at, since = round(due), None
                yield at, piece
                at += piece.shape[1]


def _frames(file, stream) -> Iterator[av.AudioFrame]:
    """The decoded frames; the first packet after a seek may begin within one."""
    begun = False
    for packet in file.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            if begun:
                raise
            continue
        for frame in frames:
            begun = True
            yield frame


def samples(frame: av.AudioFrame) -> np.ndarray:
    """(channels, samples) float32 in -1..1."""
    wave = frame.to_ndarray()  # [channels, samples]; interleaved formats: [1, samples * channels]
    if not frame.format.is_planar:
        wave = wave.reshape(-1, len(frame.layout.channels)).T
    if wave.dtype == np.uint8:
        wave = wave / 128.0 - 1
    elif wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    return wave.astype(np.float32)
