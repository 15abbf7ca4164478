"""Draw the frames of a scene at given times, at any size.

Icons are drawn once at high resolution and reduced to the size and sub-pixel position of an actor.
These sprites are cached, so that drawing a frame means pasting a few small arrays.
"""

from bisect import bisect_right
from functools import lru_cache
from math import exp, pi, sin

import numpy as np
from PIL import Image

from .icons import BODY, CANVAS, icon
from .scene import Actor, Moment, Scene, stream

# RGB. The colours differ in hue and, where possible, in luminance.
PAINTS = {"red": (222, 40, 44), "green": (46, 172, 74), "blue": (48, 96, 240),
          "yellow": (255, 226, 56), "purple": (176, 84, 226), "orange": (255, 142, 28),
          "white": (246, 246, 246)}
SMALLEST = 32  # pixels; in smaller pictures, icons would be smaller than the margin for resampling

# Name, RGB, x and y of the centre, and width, as fractions of the picture's side.
Placed = tuple[str, tuple[float, ...] | None, float, float, float]


def draw_frames(scene: Scene, times, size: int = 64) -> np.ndarray:
    """The frames of a scene: (T, size, size, 3), uint8, RGB.

    Args:
        times: T times in seconds. A moment is visible while start <= time < end. Outside the scene
            there is only the background.
        size: side of the frames in pixels.

    Raises:
        ValueError: `size` is below 32 pixels.
    """
    if size < SMALLEST:
        raise ValueError(f"found size={size} pixels, expected {SMALLEST} or more")
    times = np.asarray(times, dtype=float).reshape(-1)
    backdrop, paints = _backdrop(scene, size), _paints(scene)
    frames = np.empty((len(times), size, size, 3), np.uint8)
    drawn = None  # the content of the previous frame; most frames have the same content
    for t, time in enumerate(times):
        placed = _place(scene, float(time), paints)
        frames[t] = frames[t - 1] if placed == drawn else _compose(backdrop, placed)
        drawn = placed
    return frames


def moment_at(scene: Scene, time: float) -> Moment | None:
    """The moment at a time in seconds; None before and after the scene."""
    index = bisect_right(scene.moments, time, key=lambda moment: moment.start) - 1
    return scene.moments[index] if index >= 0 and time < scene.moments[index].end else None


def _backdrop(scene: Scene, size: int) -> np.ndarray:
    """The background colour with faint clouds, the same at every size: (size, size, 3), float32."""
    clouds = stream("background", scene.seed).normal(0, 3, (6, 6)).astype(np.float32)
    clouds = np.asarray(Image.fromarray(clouds).resize((size, size), Image.Resampling.BICUBIC))
    return np.clip(np.asarray(scene.background, np.float32) + clouds[..., None], 0, 255)


def _paints(scene: Scene) -> dict[str, tuple[float, ...]]:
    """The RGB values of the colours in this scene; they vary a little from scene to scene."""
    shifts = stream("colours", scene.seed).integers(-9, 10, (len(PAINTS), 3))
    mixed = np.clip(np.array(list(PAINTS.values())) + shifts, 0, 255)
    return {name: tuple(rgb) for name, rgb in zip(PAINTS, mixed.tolist(), strict=True)}


def _place(scene: Scene, time: float, paints: dict) -> list[Placed]:
    """The position of every actor at a time, from back to front."""
    moment = moment_at(scene, time)
    if moment is None:
        return []
    done = (time - moment.start) / (moment.end - moment.start)  # 0 to 1
    placed = []
    for actor in moment.actors:
        x, y = path_at(actor, min(1.0, done / moment.arrive))
        if moment.seen == "hit" and actor is moment.actors[1]:
            x += _shake((done - moment.arrive) * (moment.end - moment.start))
        colour = actor.turns if actor.turns and done >= 0.5 else actor.colour
        placed.append((actor.name, paints[colour] if colour else None, x, y, actor.size))
    return placed[::-1]  # the subject is in front


def path_at(actor: Actor, done: float) -> tuple[float, float]:
    """Position of an actor at the fraction `done` of its path."""
    (x, y), (to_x, to_y) = actor.start, actor.end or actor.start
    return x + (to_x - x) * done, y + (to_y - y) * done


def _shake(seconds: float) -> float:
    """Horizontal displacement of a thing after a hit, as a fraction of the picture's side."""
    return 0.02 * sin(2 * pi * 8 * seconds) * exp(-5 * seconds) if seconds > 0 else 0.0


def _compose(backdrop: np.ndarray, placed: list[Placed]) -> np.ndarray:
    """Paste the sprites onto a copy of the backdrop: (size, size, 3), uint8."""
    picture, side = backdrop.copy(), backdrop.shape[0]
    for name, colour, x, y, width in placed:
        pixels = round(width * side)
        left, right_by = _grid(x * side - pixels / 2)
        top, down_by = _grid(y * side - pixels / 2)
        paint, keep = _sprite(name, pixels, right_by, down_by)
        if colour is not None:  # shapes are drawn in white
            paint = paint * np.divide(colour, 255, dtype=np.float32)
        _paste(picture, paint, keep, left, top)
    return np.rint(picture, out=picture).astype(np.uint8)


def _grid(position: float) -> tuple[int, float]:
    """A position in whole pixels, and the rest: 0 or 0.5 pixels. (Finer: too many sprites.)"""
    halves = round(position * 2)
    return halves // 2, halves % 2 / 2


@lru_cache(maxsize=4096)
def _sprite(name: str, pixels: int, right_by: float, down_by: float
            ) -> tuple[np.ndarray, np.ndarray]:
    """An icon `pixels` wide, shifted by a fraction of a pixel.

    Returns its premultiplied colours (n, n, 3) and 1 - alpha (n, n, 1), with n = pixels + 1.
    """
    n, zoom = pixels + 1, BODY / pixels
    left, top = ((CANVAS - BODY) / 2 - by * zoom for by in (right_by, down_by))
    box = (left, top, left + n * zoom, top + n * zoom)
    sprite = np.asarray(icon(name).resize((n, n), Image.Resampling.HAMMING, box), np.float32)
    return sprite[..., :3], 1 - sprite[..., 3:] / 255


def _paste(picture: np.ndarray, paint: np.ndarray, keep: np.ndarray, left: int, top: int) -> None:
    """Blend a sprite into the picture, in place; parts outside the picture are clipped."""
    def overlap(start, length, side):  # slices of the picture and of the sprite
        first, last = (min(max(edge, 0), side) for edge in (start, start + length))
        return slice(first, last), slice(first - start, last - start)

    there_y, here_y = overlap(top, len(paint), len(picture))
    there_x, here_x = overlap(left, len(paint), len(picture))
    window = picture[there_y, there_x]
    window *= keep[here_y, here_x]
    window += paint[here_y, here_x]
