"""The pictures of a film: those on screen at given moments."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from .clip import ROUNDING, resized
from .errors import reading
from .probe import CAPTURES, Clocks, Probe, main_streams, opened

DECORD = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
SMALLEST = 32  # pixels; decord fails on narrower pictures
SKIP = 5  # seconds; it is faster to seek over more than to decode them
HUGE = 2**24  # pixels; such a picture is first made smaller, which needs less memory
BATCH = 16  # frames held at full size at a time


class Frames:
    """The pictures of one film, in RGB and upright; read forwards without decoding any twice.

    shape: (height, width) of the first picture, upright.
    """

    def __init__(self, probe: Probe, image_size: int | None):
        self.probe, self.track, self.image_size = probe, probe.tracks["video"], image_size
        self.decoded, self.now, self.next = None, None, None
        self.seekable = self.track.timed and len(probe.shifts) == 1
        with closing(self._decode(0, start=True)) as pictures, self._reading():
            first = next(pictures, None)
            if first is None:
                raise ValueError("none of them can be decoded")
        self.turned = orientation(first[1])
        self.clear = any(part.is_alpha for part in first[1].format.components)
        self.wider = float(first[2] or 1)  # a pixel's width over its height
        size = first[1].height, round(first[1].width * self.wider)
        self.shape = self._upright(np.empty(size)).shape

    def at(self, moments: np.ndarray, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The pictures on screen at `moments` (T,), in seconds and in order, and when each of them
        appeared: (T, H, W, 3) uint8 and (T,) float64.

        Args:
            whole: nothing after these moments will be asked for.
        """
        size = (self.image_size,) * 2 if self.image_size else self.shape
        frames, appeared = np.empty((len(moments), *size, 3), np.uint8), np.empty(len(moments))
        with self._reading():
            if not (whole and self._with_decord(moments, frames, appeared)):
                self._forward(moments, frames, appeared)
        return frames, appeared

    def _reading(self):
        return reading(self.probe.name, "its pictures are damaged")

    def _forward(self, moments, frames, appeared) -> None:
        if (self.now is None or moments[0] < self.now[0]
                or self.seekable and self._entry(moments[0]) > self.now[0] + SKIP):
            self._begin(moments[0])
        for k, moment in enumerate(moments):
            moved = False
            while self.next is not None and self.next[0] <= moment + ROUNDING:
                self.now, self.next, moved = self.next, next(self.decoded, None), True
            if k and not moved:
                frames[k] = frames[k - 1]
            else:
                frames[k] = self._pixels(self.now[1])
            appeared[k] = self.now[0]
        if self.next is None:
            self._check_end()

    def _entry(self, moment: float) -> float:
        """The time of the last key frame at or before a moment; 0 if there is none."""
        earlier = self.track.entries[self.track.entries <= moment + ROUNDING]
        return earlier.max() if len(earlier) else 0.0

    def _begin(self, moment: float) -> None:
        """Start to decode at the last entry from which the picture at `moment` can be decoded."""
        order = np.argsort(self.track.entries)
        last = int((self.track.entries <= moment + ROUNDING).sum()) - 1
        for back in (0, 1, 2, 4, 8):
            place = last - back
            start = place <= 0 or not self.seekable
            self.decoded = self._decode(0 if start else order[place], start)
            self.now = next(self.decoded, None)
            if start or self.now is not None and self.now[0] <= moment + ROUNDING:
                break
        if self.now is None:
            raise EOFError("the pictures end too early")
        self.next = next(self.decoded, None)

    def _decode(self, place: int, start: bool) -> Iterator[tuple]:
        """(time, picture, aspect ratio of its pixels) in order, from the key frame at `place` in
        `track.entries` on.

        Pictures between the seek and the first key frame, and those that are shown before it and
        follow it in the file (open GOPs), refer to pictures that were not decoded: they are left
        out.
        """
        with opened(self.probe.name) as file:
            stream = main_streams(file)["video"]
            stream.thread_type = "AUTO"
            if not start:
                file.seek(int(self.track.seeks[place]), stream=stream)
            clocks, zero = Clocks(self.probe.zero, self.probe.shifts), self.probe.zero
            number, first, before = 0, None, -np.inf
            for packet in file.demux(stream):
                if first is None and packet.size:
                    if not start and not packet.is_keyframe:
                        continue
                    first = -np.inf if start else float(packet.pts * packet.time_base) - zero
                for picture in self._pictures(packet):
                    if picture.is_corrupt and self.probe.kind in CAPTURES:
                        continue
                    if self.track.timed:
                        if picture.pts is None and number:  # not every packet has a time (mpg)
                            time = before + float(1 / (stream.average_rate or 25))
                        else:
                            stamp = picture.dts if picture.pts is None else picture.pts
                            time = float((stamp or 0) * picture.time_base)
                            time += clocks.shift(0, time) - zero
                    else:
                        time = self.track.starts[min(number, len(self.track.starts) - 1)]
                    number += 1
                    if time >= first - ROUNDING and time >= before:
                        before = time
                        yield time, picture, stream.sample_aspect_ratio

    def _pictures(self, packet) -> list:
        try:
            return packet.decode()
        except Exception:
            if packet.size and self.probe.kind in CAPTURES and packet.pts is not None:
                at = float(packet.pts * packet.time_base) - self.probe.zero
                if at < 1 or at > self.track.starts[-1] - 1:  # it was cut there
                    return []
            raise

    def _check_end(self) -> None:
        """The last packets must have given pictures."""
        usual = np.median(np.diff(self.track.starts)) if len(self.track.starts) > 1 else 0.0
        missing = self.track.starts[-1] - self.now[0]
        if missing > max(0.5, 3 * usual) and self.probe.kind not in CAPTURES:
            raise EOFError(f"the last {missing:.2f} s have none")

    def _pixels(self, picture) -> np.ndarray:
        """(H, W, 3) uint8, upright, in the size that was asked for."""
        if self.image_size and picture.width * picture.height > HUGE:
            by = max(1, min(picture.width, picture.height) // (4 * self.image_size))
            picture = picture.reformat(picture.width // by, picture.height // by, "rgb24",
                                       interpolation="AREA")
        pixels = self._upright(rgb(picture))
        if not self.image_size and pixels.shape[:2] != self.shape:
            # Its pixels are not square, or its size changes on the way.
            pixels = _stretched(pixels, self.shape)
        return resized(pixels, self.image_size)

    def _upright(self, pixels: np.ndarray) -> np.ndarray:
        swapped, down, across = self.turned
        if swapped:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(pixels[::-1 if down else 1, ::-1 if across else 1])

    def _with_decord(self, moments, frames, appeared) -> bool:
        """The same with decord, which decodes from the last key frame; False if it cannot.

        It shows wrong pictures where key frames do not clear all before (open GOPs) and ignores
        edit lists: then it counts more pictures. An idle reader decodes ahead, without limit: it is
        closed at once.
        """
        track, size = self.track, self.shape
        if not (self.probe.kind in DECORD and track.clean and min(size) >= SMALLEST
                and not self.clear and self.wider == 1 and self.turned == (False, False, False)):
            return False
        try:
            import decord

            decord.logging.set_level(decord.logging.QUIET)
            reader = decord.VideoReader(self.probe.name, num_threads=2)
            if len(reader) != len(track.starts):
                return False
            shown = (np.searchsorted(track.starts, moments + ROUNDING, side="right") - 1).clip(0)
            for i in range(0, len(shown), BATCH):
                wanted, place = np.unique(shown[i:i + BATCH], return_inverse=True)
                for k, pixels in enumerate(reader.get_batch(wanted.tolist()).asnumpy()):
                    frames[i + np.flatnonzero(place == k)] = resized(pixels, self.image_size)
            appeared[:] = track.starts[shown]
        except Exception:  # its errors have no other base class; PyAV reads the file
            return False
        return True


def rgb(picture) -> np.ndarray:
    """(H, W, 3) uint8; over white where it is transparent, as still images are."""
    if not any(component.is_alpha for component in picture.format.components):
        return picture.to_ndarray(format="rgb24")
    pixels = picture.to_ndarray(format="rgba").astype(np.uint16)
    colour, opaque = pixels[..., :3], pixels[..., 3:]
    return ((colour * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)


def _stretched(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BILINEAR))


def orientation(picture) -> tuple[bool, bool, bool]:
    """Whether to swap the axes of a picture, then to flip it upside down, then left to right.

    The display matrix maps a pixel (x, y) to (a x + c y, b x + d y).
    """
    data = next((s for s in picture.side_data if s.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), "<i4")[:5].astype(float)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0
