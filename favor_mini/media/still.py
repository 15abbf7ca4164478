"""An image as a clip of one frame, or an animation that Pillow reads."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from .clip import ROUNDING, SLIVER, Clip, resized
from .errors import COPY_AGAIN, media_error, reading

IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "ICO", "PCX",
          "AVIF", "SGI", "DDS", "QOI")
HUGE = 2**24  # pixels
FILMS = ("GIF", "PNG", "AVIF")  # FFmpeg reads these where they are animated


@dataclass
class Still:
    """An image that is on screen for one time step, or the frames of an animation.

    pictures: each [H, W, 3]; times: (n,) seconds, when each appears; end: of the last.
    """

    name: str
    pictures: list[np.ndarray]
    times: np.ndarray
    end: float | None
    frame_rate: float
    sampling_rate: int
    image_size: int | None
    missing: tuple[str, ...] = ("audio",)

    @property
    def duration(self) -> float:
        return self.end or 1 / self.frame_rate

    def clip(self, start: float, end: float, whole: bool = False) -> Clip:
        count = max(1, ceil((end - start - SLIVER) * self.frame_rate)) if self.end else 1
        moments = start + np.arange(count) / self.frame_rate
        shown = (np.searchsorted(self.times, moments + ROUNDING, side="right") - 1).clip(0)
        frames = np.stack([resized(self.pictures[k], self.image_size) for k in shown])
        return Clip(frames, self.times[shown], np.zeros(0, np.float32), self.sampling_rate,
                    end - start, self.missing, self.name, start)


def read_image(name: str, image_size: int | None = None
               ) -> tuple[list[np.ndarray], np.ndarray, float | None] | None:
    """The pictures of a `Still`, their times and the end; None if FFmpeg is to read the file."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    known = [kind for kind in IMAGES if kind in Image.OPEN]  # older versions of Pillow have fewer
    try:
        image = Image.open(name, formats=known)
    except UnidentifiedImageError:
        return None
    except Exception as error:
        raise media_error(name, f"this image cannot be read ({error})", COPY_AGAIN) from error
    with reading(name, "this image is truncated or damaged", "copy or download it again"), image:
        if not getattr(image, "is_animated", False) or image.format == "ICO":
            if image.format == "PNG":
                with Image.open(name) as again:
                    again.verify()  # checksums, which `load` ignores
            return [_rgb(image, image_size)], np.zeros(1), None
        if image.format in FILMS:
            return None
        pictures, times = [], [0.0]
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(_rgb(image, image_size))
            times.append(times[-1] + image.info.get("duration", 100) / 1000)
        return pictures, np.array(times[:-1]), times[-1]


def _rgb(image, image_size: int | None) -> np.ndarray:
    """(H, W, 3) uint8, upright, over white. A huge image is first made smaller where `image_size`
    is much smaller: that needs less memory."""
    from PIL import Image, ImageOps

    if image_size and image.width * image.height > HUGE:
        by = max(1, min(image.size) // (4 * image_size))
        image = (image.convert("L") if image.mode == "1" else image.convert("RGBA")).reduce(by)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey: `convert` would clip at 255
        grey = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
