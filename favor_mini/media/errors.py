"""MediaError, and checks of a caller's arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, isfinite
from numbers import Integral, Real

COPY_AGAIN = ("copy or download it again, or save what is left with "
              "`ffmpeg -err_detect ignore_err -i OLD NEW`")


class MediaError(ValueError):
    """A file cannot be read as asked. The message names the file, the problem and how to fix it."""


def media_error(source, problem: str, fix: str) -> MediaError:
    return MediaError(f"{source}: {problem}. Fix: {fix}.")


@contextmanager
def reading(name: str, problem: str, fix: str = COPY_AGAIN) -> Iterator[None]:
    """Turn every exception of a library into a MediaError."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:  # the only base class of libav's, Pillow's and decord's errors
        detail = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
        kind = type(error).__name__
        detail = f"{kind}: {detail}" if len(detail) < 80 else kind  # decord's messages are long
        raise media_error(name, f"{problem} ({detail})", fix) from error


def is_positive(number, most: float = inf) -> bool:
    """Whether it is a finite real number above 0 and not above `most`."""
    return (isinstance(number, Real) and not isinstance(number, bool) and isfinite(number)
            and 0 < number <= most)


def check_rates(source, frame_rate, sampling_rate, image_size=None) -> None:
    """Raise a MediaError for rates or an image size that are impossible."""
    if not is_positive(frame_rate, 1000):
        raise media_error(source, f"found frame_rate={frame_rate!r}, expected frames per second",
                          "give a number such as 2.0")
    if not is_positive(sampling_rate, 1_000_000) or not isinstance(sampling_rate, Integral):
        raise media_error(source, f"found sampling_rate={sampling_rate!r}, expected samples per "
                          "second", "give a whole number; Whisper takes 16000")
    if image_size is not None and not (
            is_positive(image_size, 2**14) and isinstance(image_size, Integral)):
        raise media_error(source, f"found image_size={image_size!r}, expected pixels",
                          "give a whole number, or None")
