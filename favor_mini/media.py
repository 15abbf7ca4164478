"""From a media file to a `Clip`: frames and sound on one time axis, whose second 0 is the start of the file.

decord reads the frames. PyAV reads the sound, and the frames of those files that decord reads wrongly or not at all
(edit lists, rotated pictures, animated GIF). Pillow reads still images, librosa resamples the sound. Whatever is wrong
with a file comes out as one `MediaError`, as far as its format lets anyone see it: of samples changed in a wav file,
pixels in a GIF, or the missing end of a broadcast (MPEG-TS), nothing tells.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isfinite
from numbers import Integral, Real

import numpy as np

IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
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


def read_clip(path, *, frame_rate: float = 2.0, sampling_rate: int = 16000, start: float | None = None,
              end: float | None = None, image_size: int | None = None, require: tuple[str, ...] = ()) -> Clip:
    """Read a video (mp4, mkv, webm, GIF, ...), a sound (wav, flac, mp3, ogg, ...) or a still image (png, jpeg, ...).

    frame_rate: frames a second to take, whatever the file's own rate (2 Hz in the paper).
    start, end: seconds; only this part is decoded. The same frames and sound as this slice of the whole file.
    image_size: S makes every frame S x S pixels (both sides, shape not kept, antialiased); None keeps the file's size.
    require: "video", "audio" or both; a file without them is refused.

    A still image is a clip of one frame, one step long. Until the first picture of a late video, that picture is shown.
    Sounds of several channels are averaged to one. Raises MediaError where the file cannot give what was asked.
    """
    file = _open(path, frame_rate, sampling_rate, image_size, require)
    return file.clip(*_span(file, start, end))


def iter_clips(path, *, seconds: float, frame_rate: float = 2.0, sampling_rate: int = 16000, start: float | None = None,
               end: float | None = None, image_size: int | None = None,
               require: tuple[str, ...] = ()) -> Iterator[Clip]:
    """The same, in pieces of `seconds` (the last one may be shorter): only one of them is in memory at a time."""
    if not _positive(seconds):
        raise media_error(path, f"it cannot be cut into pieces of {seconds!r} seconds", "give a number above 0")
    file = _open(path, frame_rate, sampling_rate, image_size, require)
    start, end = _span(file, start, end)
    count = max(1, ceil((end - start - SLIVER) / seconds))
    edges = [*(start + i * seconds for i in range(count)), end]
    return (file.clip(a, b) for a, b in pairwise(edges))


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


def _positive(number, most: float = float("inf")) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and isfinite(number) and 0 < number <= most


def _check_rates(source, frame_rate, sampling_rate, image_size=None) -> None:
    if not _positive(frame_rate, 1000):
        raise media_error(source, f"frame_rate={frame_rate!r} is no number of frames a second", "give 2.0, say")
    if not _positive(sampling_rate, 1_000_000) or not isinstance(sampling_rate, Integral):
        raise media_error(source, f"sampling_rate={sampling_rate!r} is no number of samples a second",
                     "give a whole number, 16000 for Whisper")
    if image_size is not None and not (_positive(image_size, 2**14) and isinstance(image_size, Integral)):
        raise media_error(source, f"image_size={image_size!r} is no number of pixels", "give a whole number, or None")


def _open(path, frame_rate, sampling_rate, image_size, require):
    """The file as a `_Still` or a `Film`, once everything about the question is known to make sense."""
    _check_rates(path, frame_rate, sampling_rate, image_size)
    require = (require,) if isinstance(require, str) else tuple(require)
    if unknown := set(require) - {"video", "audio"}:
        raise media_error(path, f"require={sorted(unknown)} is unknown", 'ask for "video", "audio" or both')
    name = _regular_file(path)
    picture = _still_image(name)
    if picture is None:
        from .media_film import Film

        file = Film(name)
    else:
        file = _Still(name, picture)
    file.frame_rate, file.sampling_rate, file.image_size = float(frame_rate), int(sampling_rate), image_size
    for stream in require:
        if stream in file.missing:
            thing = {"video": "picture", "audio": "sound track"}[stream]
            raise media_error(name, f"there is no {thing} in it", f'choose another file, or do not require "{stream}"')
    return file


def _regular_file(path) -> str:
    """The path as decord and FFmpeg want it: text, and absolute, so that "a:b.mp4" is not taken for a protocol."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise media_error(repr(path)[:80], f"a path was expected, found {type(path).__name__}",
                     "give a file name; for arrays there is clip_from_arrays")
    given = os.fsdecode(path)
    name = os.path.abspath(given)
    if "://" in given:
        raise media_error(given, "this is an address, not a file", "download it and give the file's name")
    if not os.path.exists(name):
        folder = os.path.dirname(name)
        names = os.listdir(folder) if os.path.isdir(folder) else []
        near = difflib.get_close_matches(os.path.basename(name), names, n=1)
        raise media_error(given, "there is no such file", f'did you mean "{near[0]}"' if near else f"look in {folder}")
    if os.path.isdir(name):
        raise media_error(given, "this is a folder", "name one file in it")
    if not os.path.isfile(name):
        raise media_error(given, "this is a pipe or a device, not a file", "write it to a file first")
    if not os.access(name, os.R_OK):
        raise media_error(given, "you may not read it", "change its permissions with `chmod +r`")
    if not os.path.getsize(name):
        raise media_error(given, "the file is empty (0 bytes)", "copy or download it again")
    return name


def _span(file, start, end) -> tuple[float, float]:
    """Where to begin and to end, in seconds; by default the whole file."""
    for what, value in (("start", start), ("end", end)):
        if value is not None and not (value == 0 or _positive(value)):
            raise media_error(file.name, f"{what}={value!r} is no time in it", "give seconds, 0 or more")
    first, last = start or 0.0, file.duration if end is None else end
    if end is not None and first >= last:
        raise media_error(file.name, f"start={first:g} is not before end={last:g}", "give a start before the end")
    # A container's own length counts the overhang of its last packet; who asks for that gets the clip's end.
    if first >= file.duration or last > file.duration + CODEC_TAIL:
        raise media_error(file.name, f"{first:g} to {last:g} s is beyond its end: it lasts {file.duration:.3f} s",
                     "ask for a part before that")
    return float(first), float(min(last, file.duration))


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


# Still images.

def _still_image(name: str) -> np.ndarray | None:
    """(H, W, 3) uint8 of an image as it should be looked at; None for what is no image, or moves."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(name, formats=IMAGES)
    except UnidentifiedImageError:
        return None
    except Exception as error:
        raise media_error(name, f"this image cannot be read ({error})", COPY_AGAIN) from error
    with reading(name, "this image is truncated or damaged", "copy or download it again"), image:
        if getattr(image, "is_animated", False):
            if image.format in ("GIF", "PNG"):
                return None
            raise media_error(name, f"this animated {image.format} of {image.n_frames} pictures can't be read as a film",
                              "save it as GIF or mp4")
        if image.format == "PNG":
            with Image.open(name) as twin:
                twin.verify()  # its checksums, which `load` passes over
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would cut off at 255
            grey = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return np.asarray(image.convert("RGB"))


def resized(frame: np.ndarray, size: int | None) -> np.ndarray:
    """(H, W, 3) to (S, S, 3), each pixel a mean over the pixels it covers."""
    from PIL import Image

    if size is None or frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


@dataclass
class _Still:
    """One picture, on screen for one step."""

    name: str
    picture: np.ndarray
    missing: tuple[str, ...] = ("audio",)

    @property
    def duration(self) -> float:
        return 1 / self.frame_rate

    def clip(self, start: float, end: float) -> Clip:
        frames = resized(self.picture, self.image_size)[None]
        return Clip(frames, np.zeros(1), np.zeros(0, np.float32), self.sampling_rate, end - start, self.missing,
                    self.name, start)
