"""A still picture as a clip of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clip import COPY_AGAIN, Clip, media_error, reading, resized

IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


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
