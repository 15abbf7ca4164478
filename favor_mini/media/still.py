"""A still image as a clip of one frame."""

from dataclasses import dataclass

import numpy as np

from .clip import Clip, resized
from .errors import COPY_AGAIN, media_error, reading

IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@dataclass
class Still:
    """An image that is on screen for one time step."""

    name: str
    picture: np.ndarray  # [H, W, 3]
    frame_rate: float
    sampling_rate: int
    image_size: int | None
    missing: tuple[str, ...] = ("audio",)

    @property
    def duration(self) -> float:
        return 1 / self.frame_rate

    def clip(self, start: float, end: float) -> Clip:
        return Clip(resized(self.picture, self.image_size)[None], np.zeros(1),
                    np.zeros(0, np.float32), self.sampling_rate, end - start, self.missing,
                    self.name, start)


def read_image(name: str) -> np.ndarray | None:
    """(H, W, 3) uint8, upright; None if the file is not an image, or an animated one."""
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
            raise media_error(name, f"found an animated {image.format} of {image.n_frames} frames, "
                              "expected a still image or a video", "save it as GIF or mp4")
        if image.format == "PNG":
            with Image.open(name) as again:
                again.verify()  # checksums, which `load` ignores
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits of grey: `convert` would clip at 255
            grey = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return np.asarray(image.convert("RGB"))
