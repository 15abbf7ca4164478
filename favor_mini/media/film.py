"""A video or sound file, read in parts."""

from math import ceil

import numpy as np

from .clip import SLIVER, Clip
from .errors import media_error
from .frames import Frames
from .probe import STILLS, probe
from .sound import Sound

LARGEST = 4 * 2**30  # bytes of frames in one clip


class Film:
    """A video or sound file. `clip` reads parts; parts in order are decoded once.

    duration: seconds; missing: which of "video" and "audio" the file does not have.

    Raises:
        MediaError: it is not a media file, or it is truncated or damaged.
    """

    def __init__(self, name: str, frame_rate: float, sampling_rate: int, image_size: int | None):
        self.name, self.frame_rate, self.sampling_rate = name, frame_rate, sampling_rate
        self.probe = probe(name)
        if self.probe.kind.endswith(STILLS):
            self.probe.duration = self.probe.picture_end = 1 / frame_rate
        self.duration, self.missing = self.probe.duration, self.probe.missing
        self.pictures = None if "video" in self.missing else Frames(self.probe, image_size)
        self.track = None if "audio" in self.missing else Sound(self.probe, sampling_rate)

    def clip(self, start: float, end: float, whole: bool = False) -> Clip:
        """Frames and sound from `start` to `end` seconds. `whole`: no other part will be read."""
        frames, times = self.frames(start, end, whole)
        sound = self.track.between(start, end) if self.track else np.zeros(0, np.float32)
        return Clip(frames, times, sound, self.sampling_rate, end - start, self.missing, self.name,
                    start, tuple(self.probe.notes))

    def frames(self, start: float, end: float, whole: bool = False
               ) -> tuple[np.ndarray, np.ndarray]:
        """The frames on screen at start + k / frame_rate, (T, H, W, 3) uint8, and when each
        appeared, (T,) float64."""
        if self.pictures is None:
            return np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0)
        stop = min(end, self.probe.picture_end)
        count = max(1, ceil((stop - start - SLIVER) * self.frame_rate)) if start < stop else 0
        height, width = (self.pictures.image_size,) * 2 if self.pictures.image_size else \
            self.pictures.shape
        if count * height * width * 3 > LARGEST:
            raise media_error(
                self.name, f"{count} frames of {width} x {height} pixels do not fit into memory",
                "give image_size, a lower frame_rate, start and end, or use iter_clips")
        if not count:
            return np.empty((0, height, width, 3), np.uint8), np.zeros(0)
        return self.pictures.at(start + np.arange(count) / self.frame_rate, whole)
