"""A clip: what is seen and heard between two moments of a file, and the error of files that cannot be read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from numbers import Integral, Real

import numpy as np

NO_MEDIA = ("tty", "concat", "hls")  # plain text and play lists: FFmpeg would draw the one and follow the other
ROUNDING = 1e-3  # seconds; time stamps in files are often whole milliseconds
CODEC_TAIL = 0.15  # seconds; sound comes in packets, and the last may overhang the picture by up to one
SLIVER = 0.01  # seconds; what is left of a clip after the last whole step is no step of its own below this
LARGEST = 4 * 2**30  # bytes of frames in one clip
COPY_AGAIN = "copy or download it again, or save what is left with `ffmpeg -err_detect ignore_err -i OLD NEW`"


class MediaError(ValueError):
    """A file that cannot be read as asked. The message names the file, what is wrong with it, and how to mend it."""


@dataclass
class Clip:
    """What is seen and heard from `start` to `start + duration`; all times are seconds after the start of the file.

    frames: (T, H, W, 3) uint8, RGB; frame k is what is on screen at start + k / frame_rate. T is 0 without a picture.
    frame_times: (T,) float64; when each of these frames came on screen (at another rate, a little earlier).
    waveform: (samples,) float32, mono, -1..1; sample i is heard at start + i / sampling_rate, and it lasts as long as
        the clip: silence stands where the file's sound begins late or ends early. Empty without a sound track.
    missing: what the file does not have: "video", "audio".
    source: the file's name, or "arrays".
    """

    frames: np.ndarray
    frame_times: np.ndarray
    waveform: np.ndarray
    sampling_rate: int
    duration: float
    missing: tuple[str, ...] = ()
    source: str = "arrays"
    start: float = 0.0


def clip_from_arrays(*, frames: np.ndarray | None = None, frame_rate: float = 2.0, waveform: np.ndarray | None = None,
                     sampling_rate: int = 16000) -> Clip:
    """A clip from arrays: frames (T, H, W, 3) uint8, waveform (samples,) float in -1..1; one of them may be None.

    Both are kept as given, at their own rates: nothing is resampled or resized. Raises MediaError for other shapes.
    """
    _check_rates("arrays", frame_rate, sampling_rate)
    missing = tuple(name for name, given in (("video", frames), ("audio", waveform)) if given is None)
    if len(missing) == 2:
        raise media_error("arrays", "neither frames nor a waveform was given", "give at least one of them")
    frames = np.zeros((0, 0, 0, 3), np.uint8) if frames is None else np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise media_error("arrays", f"frames must be (T, H, W, 3) uint8, found {frames.shape} {frames.dtype}",
                     "move the colours to the last axis and scale to 0..255: `(255 * x).round().astype(np.uint8)`")
    waveform = np.zeros(0, np.float32) if waveform is None else np.asarray(waveform)
    if waveform.ndim != 1 or waveform.dtype.kind != "f":
        raise media_error("arrays", f"a waveform must be (samples,) float, found {waveform.shape} {waveform.dtype}",
                     "average its channels, and divide whole numbers by 32768 (16 bits)")
    if not np.isfinite(waveform).all():
        raise media_error("arrays", "the waveform holds numbers that are not finite", "see where they come from")
    duration = max(len(frames) / frame_rate, len(waveform) / sampling_rate)
    if not duration:
        raise media_error("arrays", "there is not one frame or sample", "give one, or None for what is missing")
    return Clip(frames, np.arange(len(frames)) / frame_rate, waveform.astype(np.float32), int(sampling_rate), duration,
                missing)


# What was asked for.

def media_error(source, problem: str, mend: str) -> MediaError:
    return MediaError(f"{source}: {problem}. To mend it: {mend}.")


@contextmanager
def reading(name: str, what: str, mend: str = COPY_AGAIN):
    """Turn whatever a library raises in here into a MediaError."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:  # libav's, Pillow's and decord's errors have no common ancestor but this
        detail = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
        detail = f"{type(error).__name__}: {detail}" if len(detail) < 80 else type(error).__name__  # decord's are long
        raise media_error(name, f"{what} ({detail})", mend) from error


def resized(frame: np.ndarray, size: int | None) -> np.ndarray:
    """(H, W, 3) to (S, S, 3), each pixel a mean over the pixels it covers."""
    from PIL import Image

    if size is None or frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def _check_rates(source, frame_rate, sampling_rate, image_size=None) -> None:
    if not _positive(frame_rate, 1000):
        raise media_error(source, f"frame_rate={frame_rate!r} is no number of frames a second", "give 2.0, say")
    if not _positive(sampling_rate, 1_000_000) or not isinstance(sampling_rate, Integral):
        raise media_error(source, f"sampling_rate={sampling_rate!r} is no number of samples a second",
                     "give a whole number, 16000 for Whisper")
    if image_size is not None and not (_positive(image_size, 2**14) and isinstance(image_size, Integral)):
        raise media_error(source, f"image_size={image_size!r} is no number of pixels", "give a whole number, or None")


def delay_sound(clip: Clip, seconds: float) -> Clip:
    """The same clip with its sound moved later against the picture, earlier where `seconds` is negative; the length stays,
    the gap is silent."""
    shift, length = round(seconds * clip.sampling_rate), len(clip.waveform)
    moved, kept = np.zeros(length, np.float32), clip.waveform[max(0, -shift) : max(0, length - shift)]
    moved[max(0, shift) :][: len(kept)] = kept
    return replace(clip, waveform=moved)


def _positive(number, most: float = float("inf")) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and isfinite(number) and 0 < number <= most
