"""A clip: frames and sound on one time axis."""

from dataclasses import dataclass, replace

import numpy as np

from .errors import MediaError as MediaError
from .errors import check_rates, media_error

ROUNDING = 1e-3  # seconds; time stamps in files are often whole milliseconds
CODEC_TAIL = 0.15  # seconds by which the last audio packet may be longer than the video
SLIVER = 0.01  # seconds; a shorter rest after the last whole step is not a step


@dataclass
class Clip:
    """Video and sound from `start` to `start + duration`, in seconds from the start of the file.

    frames: (T, H, W, 3) uint8, RGB; frame k is on screen at start + k / frame_rate. T is 0 without
        video.
    frame_times: (T,) float64; when each frame appeared on screen, which may be a little earlier.
    waveform: (samples,) float32, mono, -1..1; sample i is at start + i / sampling_rate. It is as
        long as the clip, with zeros where the file has no sound yet or no longer. Empty without a
        sound track.
    missing: the streams that the file does not have: "video", "audio".
    source: the file's name, or "arrays".
    notes: what is doubtful about the file, as sentences.
    """

    frames: np.ndarray
    frame_times: np.ndarray
    waveform: np.ndarray
    sampling_rate: int
    duration: float
    missing: tuple[str, ...] = ()
    source: str = "arrays"
    start: float = 0.0
    notes: tuple[str, ...] = ()


def clip_from_arrays(*, frames: np.ndarray | None = None, frame_rate: float = 2.0,
                     waveform: np.ndarray | None = None, sampling_rate: int = 16000) -> Clip:
    """A clip from frames (T, H, W, 3) uint8 and a waveform (samples,) float in -1..1; one of them
    may be None. Nothing is resampled or resized.

    Raises:
        MediaError: other shapes or types, or neither array is given.
    """
    check_rates("arrays", frame_rate, sampling_rate)
    missing = tuple(name for name, array in (("video", frames), ("audio", waveform))
                    if array is None)
    if len(missing) == 2:
        raise media_error("arrays", "found neither frames nor a waveform", "give at least one")
    frames = np.zeros((0, 0, 0, 3), np.uint8) if frames is None else np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise media_error(
            "arrays", f"frames must be (T, H, W, 3) uint8, found {frames.shape} {frames.dtype}",
            "move the colours to the last axis and scale to 0..255: "
            "`(255 * x).round().astype(np.uint8)`")
    waveform = np.zeros(0, np.float32) if waveform is None else np.asarray(waveform)
    if waveform.ndim != 1 or waveform.dtype.kind != "f":
        raise media_error(
            "arrays", f"a waveform must be (samples,) float, found {waveform.shape} "
            f"{waveform.dtype}", "average the channels, and divide 16-bit integers by 32768")
    if not np.isfinite(waveform).all():
        raise media_error("arrays", "the waveform has values that are not finite",
                          "remove them where the waveform is computed")
    duration = max(len(frames) / frame_rate, len(waveform) / sampling_rate)
    if not duration:
        raise media_error("arrays", "there is not one frame or sample",
                          "give one, or None for a missing stream")
    return Clip(frames, np.arange(len(frames)) / frame_rate, waveform.astype(np.float32),
                int(sampling_rate), duration, missing)


def delay_sound(clip: Clip, seconds: float) -> Clip:
    """The same clip with its sound later by `seconds` (earlier if negative). The length stays, the
    gap is silent."""
    shift, length = round(seconds * clip.sampling_rate), len(clip.waveform)
    kept = clip.waveform[max(0, -shift) : max(0, length - shift)]
    moved = np.zeros(length, np.float32)
    moved[max(0, shift) :][: len(kept)] = kept
    return replace(clip, waveform=moved)


def first_seconds(clip: Clip, seconds: float, frame_rate: float) -> Clip:
    """The clip, read at this frame rate, up to `seconds` after its start; a note says what was
    left out."""
    if clip.duration <= seconds:
        return clip
    kept = slice(round(seconds * frame_rate))
    note = f"only the first {seconds:g} of {clip.duration:.0f} s were used: the model takes no more"
    return replace(clip, frames=clip.frames[kept], frame_times=clip.frame_times[kept],
                   waveform=clip.waveform[:round(seconds * clip.sampling_rate)],
                   duration=seconds, notes=(*clip.notes, note))


def resized(frame: np.ndarray, size: int | None) -> np.ndarray:
    """(H, W, 3) to (size, size, 3) with antialiasing; None keeps the size."""
    from PIL import Image

    if size is None or frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))
