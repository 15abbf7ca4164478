"""A film that is still arriving: time steps from a pipe, or from a file that is being written."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from .clip import CODEC_TAIL, ROUNDING, SLIVER, resized
from .errors import COPY_AGAIN, check_rates, media_error, reading
from .frames import rgb
from .probe import FORMATS, check_header, main_streams, second_0

PAUSE = 0.05  # seconds between two looks at a file that does not grow
NOT_A_STREAM = ("write the film as Matroska (.mkv), MPEG-TS (.ts) or fragmented MP4 "
                "(-movflags frag_keyframe+empty_moov); a plain MP4 can be read only when it is "
                "complete")


@dataclass
class Step:
    """One time step. number: from 0. frame: (H, W, 3) uint8, or None without a picture. waveform:
    (samples,) float32, mono; empty without sound, shorter in the last step."""

    number: int
    frame: np.ndarray | None
    waveform: np.ndarray


class Growing:
    """A file object, for reading only, whose end is where nothing was added for `patience` seconds.

    A pipe ends when its writer closes it.
    """

    def __init__(self, file, patience: float):
        self.file, self.patience = file, patience

    def read(self, size: int = -1) -> bytes:
        since = time.monotonic()
        while not (data := self.file.read(size)):
            if time.monotonic() - since >= self.patience:
                return b""
            time.sleep(PAUSE)
        return data


def iter_steps(source, *, frame_rate: float = 2.0, sampling_rate: int = 16000,
               image_size: int | None = None, patience: float = 0.0) -> Iterator[Step]:
    """The time steps of a film, each as soon as it is complete; memory does not grow.

    A step's frame is the one on screen at its beginning, as in `read_clip`. The sound is resampled
    piece by piece, so its samples differ a little from those of `read_clip`.

    Args:
        source: a file or a named pipe; "-" is standard input. Nothing else is opened.
        patience: seconds to wait for more when a file ends.

    Raises:
        MediaError: it is not a film that can be read from its beginning to its end. The steps
            before a cut come first.
    """
    check_rates(source, frame_rate, sampling_rate, image_size)
    if source == "-":
        yield from _steps("standard input", sys.stdin.buffer, frame_rate, sampling_rate, image_size)
        return
    name = os.path.abspath(os.fsdecode(source))
    if not os.path.exists(name) or os.path.isdir(name):
        raise media_error(source, "there is no such file or pipe", "give the name of one")
    with open(name, "rb", buffering=0) as file:
        whole = os.path.isfile(name)
        stream = Growing(file, patience) if whole and patience else file
        yield from _steps(str(source), stream, frame_rate, sampling_rate, image_size)


def _steps(name: str, file, frame_rate, sampling_rate, image_size) -> Iterator[Step]:
    with reading(name, "it is not a film that can be read while it arrives", NOT_A_STREAM):
        container = av.open(file, options={"format_whitelist": FORMATS, "protocol_whitelist": ""})
    with container:
        streams = main_streams(container)
        if not streams:
            raise media_error(name, "there is neither a picture nor a sound in it",
                              "give a film or a sound")
        check_header(name, container, streams)
        steps = _Assembly(streams, second_0(container, streams), frame_rate, sampling_rate,
                          image_size)
        with reading(name, "it is damaged"):
            for packet in container.demux(*streams.values()):
                for decoded in packet.decode():
                    steps.add(packet.stream.type, decoded)
                yield from steps.complete()
            yield from steps.rest()
        _check_end(name, steps.number / frame_rate, _said(container, streams))


def _said(container, streams: dict) -> float:
    """Seconds that the header says; 0.0 where it says nothing, where FFmpeg guesses, or where a
    stream that is not read, such as subtitles, may be the longest."""
    kinds = {"mov", "matroska"} & set(container.format.name.split(","))
    if not kinds or len(container.streams) > len(streams):
        return 0.0
    return (container.duration or 0) / av.time_base


def _check_end(name: str, lasts: float, said: float) -> None:
    """Raise a MediaError for a film that ended before the `said` seconds of its header."""
    if not lasts:
        raise media_error(name, "nothing in it can be decoded: it is empty or cut off", COPY_AGAIN)
    if said > lasts + 1:
        raise media_error(name, f"it is cut off: it ends after {lasts:.1f} s, but its header says "
                          f"{said:.1f} s", COPY_AGAIN)


class _Assembly:
    """Puts decoded frames and samples into time steps."""

    def __init__(self, streams: dict, zero: float, frame_rate: float, sampling_rate: int,
                 image_size: int | None):
        self.streams, self.zero, self.rate, self.size = streams, zero, sampling_rate, image_size
        self.frame_rate = frame_rate
        self.number = 0  # of the next step
        self.frames: deque = deque()  # (seconds, picture), those that a step may still need
        self.resampler = av.AudioResampler(format="flt", layout="mono", rate=sampling_rate)
        self.sound = np.zeros(0, np.float32)  # from the beginning of the step on
        self.heard = None  # samples so far, also those that are no longer kept
        self.seen = -np.inf

    def edge(self, number: int) -> float:
        """When a step begins, in seconds."""
        return number / self.frame_rate

    def add(self, kind: str, decoded) -> None:
        if decoded.pts is None:
            return
        at = float(decoded.pts * decoded.time_base) - self.zero
        if kind == "video":
            self.seen = at
            self.frames.append((at, decoded))
            begin = self.edge(self.number) + ROUNDING
            while len(self.frames) > 1 and self.frames[1][0] <= begin:
                self.frames.popleft()
            return
        if self.heard is None:  # it starts late; or early, with samples that its encoder put first
            self.heard = min(0, early := round(at * self.rate))
            self._hear(np.zeros(max(0, early), np.float32))
        for piece in self.resampler.resample(decoded):
            self._hear(piece.to_ndarray()[0])

    def _hear(self, samples: np.ndarray) -> None:
        self.sound = np.concatenate([self.sound, samples[max(0, -self.heard):]])
        self.heard += len(samples)

    def complete(self) -> Iterator[Step]:
        """The steps for which everything has arrived."""
        while True:
            end = self.edge(self.number + 1)
            if "audio" in self.streams and (self.heard or 0) < round(end * self.rate):
                return
            if "video" in self.streams and self.seen <= end:
                return
            yield self._take()

    def rest(self) -> Iterator[Step]:
        """The steps up to the end of the film."""
        if self.heard is not None:
            for piece in self.resampler.resample(None):
                self._hear(piece.to_ndarray()[0])
        sound = (self.heard or 0) / self.rate
        picture = self.seen + 1 / float(self.streams["video"].average_rate or 25) \
            if self.frames else 0.0
        # As in `read_clip`: a codec's last packet of sound may be longer than the film.
        end = picture if 0 < sound - picture <= CODEC_TAIL and picture else max(sound, picture)
        while self.edge(self.number) < end - SLIVER:
            yield self._take()

    def _take(self) -> Step:
        begin, end = self.edge(self.number), self.edge(self.number + 1)
        while len(self.frames) > 1 and self.frames[1][0] <= begin + ROUNDING:
            self.frames.popleft()
        length = round(end * self.rate) - round(begin * self.rate)
        samples, self.sound = self.sound[:length], self.sound[length:]
        frame = resized(rgb(self.frames[0][1]), self.size) if self.frames else None
        step = Step(self.number, frame, samples)
        self.number += 1
        return step
