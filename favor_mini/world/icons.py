"""The icons of shapes, sounding things and written words, at high resolution.

Shapes are white; `pictures` multiplies them by a colour. Each thing has its own pair of colours, so
that it can be recognised even at a width of 20 pixels.
"""

from functools import cache
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CANVAS = 512  # side of the image that `icon` returns, in pixels
BODY = 320  # side of the icon in its middle, in pixels; the margin is needed for resampling
_FINE = 4  # supersampling: Pillow's lines are not antialiased

GOLD, AMBER, CREAM = "#f6bd2c", "#d98f14", "#fff3d6"
INK, STEEL, GREY, ORANGE, WOOD = "#26323e", "#b9c6d6", "#7d8b9b", "#ff9d2e", "#e0b070"


class Pen:
    """Draws in the unit square of an icon's body (x to the right, y down); `CLEAR` cuts a hole."""

    CLEAR = (0, 0, 0, 0)

    def __init__(self):
        self.image = Image.new("RGBA", (CANVAS * _FINE, CANVAS * _FINE), self.CLEAR)
        self.draw = ImageDraw.Draw(self.image)

    def at(self, x: float, y: float) -> tuple[float, float]:
        margin = (CANVAS - BODY) / 2
        return (margin + x * BODY) * _FINE, (margin + y * BODY) * _FINE

    def length(self, fraction: float) -> int:
        return round(fraction * BODY * _FINE)

    def dot(self, x, y, radius, fill, tall=1.0):
        """A disc, or an ellipse `tall` times as tall as it is wide."""
        self.draw.ellipse([self.at(x - radius, y - radius * tall),
                           self.at(x + radius, y + radius * tall)], fill)

    def pie(self, x, y, radius, first, last, fill):
        """A slice of a disc between two angles in degrees, clockwise from three o'clock."""
        corners = [self.at(x - radius, y - radius), self.at(x + radius, y + radius)]
        self.draw.pieslice(corners, first, last, fill)

    def box(self, left, top, right, bottom, fill, corner=0.0):
        corners = [self.at(left, top), self.at(right, bottom)]
        self.draw.rounded_rectangle(corners, self.length(corner), fill)

    def area(self, points, fill):
        self.draw.polygon([self.at(x, y) for x, y in points], fill)

    def line(self, points, width, fill):
        """A stroke with round ends and joints."""
        places = [self.at(x, y) for x, y in points]
        self.draw.line(places, fill, self.length(width), joint="curve")
        for x, y in points:
            self.dot(x, y, width / 2, fill)


@cache
def icon(name: str) -> Image.Image:
    """The icon of a shape or a thing, or a word: CANVAS x CANVAS pixels, premultiplied alpha."""
    pen = Pen()
    DRAWINGS.get(name, lambda pen: _word(pen, name))(pen)
    return pen.image.convert("RGBa").reduce(_FINE)


def _word(pen: Pen, text: str) -> None:
    """Dark bold letters on a light plate, as wide as the text; all plates have the same margins."""
    wide = ImageFont.load_default(size=100).getlength(text)
    font = ImageFont.load_default(size=100 * pen.length(0.92) / wide)
    _, top, _, bottom = font.getbbox("hg", anchor="ms")
    half = (bottom - top) / 2 / pen.length(1)
    pen.box(0, 0.47 - half, 1, 0.53 + half, CREAM, corner=0.06)
    x, middle = pen.at(0.5, 0.5)
    pen.draw.text((x, middle - (top + bottom) / 2), text, INK, font, anchor="ms",
                  stroke_width=round(font.size / 60))


# Shapes: white, of about the same apparent size.

def _around(count, radius, first=-90.0, centre=(0.5, 0.5)):
    """`count` points evenly on a circle, the first at an angle in degrees (-90: at the top)."""
    turns = [(first + 360 * i / count) * pi / 180 for i in range(count)]
    return [(centre[0] + radius * cos(a), centre[1] + radius * sin(a)) for a in turns]


def _circle(pen):
    pen.dot(0.5, 0.5, 0.48, "white")


def _square(pen):
    pen.box(0.07, 0.07, 0.93, 0.93, "white", corner=0.04)


def _triangle(pen):
    pen.area([(0.5, 0.03), (1.0, 0.93), (0.0, 0.93)], "white")


def _star(pen):
    tips = _around(5, 0.54, centre=(0.5, 0.54))
    dents = _around(5, 0.23, first=-54, centre=(0.5, 0.54))
    pen.area([point for pair in zip(tips, dents, strict=True) for point in pair], "white")


def _cross(pen):
    pen.box(0.34, 0.03, 0.66, 0.97, "white", corner=0.03)
    pen.box(0.03, 0.34, 0.97, 0.66, "white", corner=0.03)


def _heart(pen):
    turn = np.linspace(0, 2 * pi, 200)
    x = 16 * np.sin(turn) ** 3
    y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    pen.area(list(zip(0.5 + x / 33, 0.46 - y / 33, strict=True)), "white")


def _ring(pen):
    pen.dot(0.5, 0.5, 0.49, "white")
    pen.dot(0.5, 0.5, 0.27, Pen.CLEAR)


# Things: each has its own silhouette and pair of colours.

def _bell(pen):
    pen.dot(0.5, 0.09, 0.08, AMBER)
    pen.dot(0.5, 0.87, 0.11, AMBER)
    pen.pie(0.5, 0.4, 0.3, 180, 360, GOLD)
    pen.area([(0.2, 0.39), (0.8, 0.39), (0.86, 0.66), (0.97, 0.8), (0.03, 0.8), (0.14, 0.66)], GOLD)
    pen.box(0.03, 0.75, 0.97, 0.84, AMBER, corner=0.045)
    pen.line([(0.34, 0.36), (0.29, 0.62)], 0.07, CREAM)


def _drum(pen):
    body, light = "#c2317f", "#ff9fce"
    for x, tip in ((0.04, 0.44), (0.96, 0.56)):
        pen.line([(x, 0.04), (tip, 0.3)], 0.07, WOOD)
    pen.dot(0.5, 0.84, 0.45, body, tall=0.33)
    pen.box(0.05, 0.4, 0.95, 0.84, body)
    pen.line([(0.06, 0.52), (0.2, 0.88), (0.35, 0.6), (0.5, 0.94), (0.65, 0.6), (0.8, 0.88),
              (0.94, 0.52)], 0.04, light)
    pen.dot(0.5, 0.4, 0.45, light, tall=0.36)
    pen.dot(0.5, 0.39, 0.4, CREAM, tall=0.34)
    pen.dot(0.42, 0.31, 0.065, WOOD)
    pen.dot(0.58, 0.31, 0.065, WOOD)


def _whistle(pen):
    pen.box(0.3, 0.24, 1.0, 0.52, STEEL, corner=0.03)
    pen.dot(0.36, 0.6, 0.36, STEEL)
    pen.box(0.86, 0.2, 1.0, 0.56, GREY, corner=0.03)
    pen.area([(0.5, 0.23), (0.68, 0.23), (0.56, 0.42)], Pen.CLEAR)
    pen.dot(0.36, 0.6, 0.2, INK)
    pen.dot(0.36, 0.66, 0.12, "#ff7a2f")


def _horn(pen):
    pen.dot(0.17, 0.5, 0.17, "#1fa79a", tall=1.15)
    pen.dot(0.12, 0.43, 0.05, "#8fe3da")
    pen.box(0.28, 0.43, 0.6, 0.57, AMBER)
    pen.area([(0.46, 0.44), (0.66, 0.38), (0.88, 0.14), (0.88, 0.86), (0.66, 0.62), (0.46, 0.56)],
             "#f08a24")
    pen.dot(0.88, 0.5, 0.12, "#ffd9a0", tall=3.4)
    pen.dot(0.885, 0.5, 0.07, "#a44a08", tall=4.4)


def _clock(pen):
    rim = "#3d7df0"
    for x, foot, bell in ((0.24, 0.14, 0.19), (0.76, 0.86, 0.81)):
        pen.line([(x, 0.76), (foot, 0.96)], 0.1, rim)
        pen.dot(bell, 0.15, 0.15, rim)
    pen.dot(0.5, 0.54, 0.44, INK)
    pen.dot(0.5, 0.54, 0.43, rim)
    pen.dot(0.5, 0.54, 0.33, "white")
    for x, y in _around(12, 0.28, centre=(0.5, 0.54)):
        pen.dot(x, y, 0.018, GREY)
    pen.line([(0.5, 0.32), (0.5, 0.54), (0.66, 0.62)], 0.065, INK)


def _phone(pen):
    body, light = "#2fae4e", "#8ee59f"
    pen.area([(0.3, 0.36), (0.7, 0.36), (0.97, 0.9), (0.03, 0.9)], body)
    pen.box(0.03, 0.84, 0.97, 0.96, body, corner=0.05)
    pen.dot(0.5, 0.63, 0.19, CREAM)
    for x, y in _around(8, 0.13, centre=(0.5, 0.63)):
        pen.dot(x, y, 0.03, INK)
    pen.box(0.02, 0.1, 0.98, 0.25, light, corner=0.075)
    pen.box(0.0, 0.14, 0.24, 0.4, light, corner=0.06)
    pen.box(0.76, 0.14, 1.0, 0.4, light, corner=0.06)


def _bird(pen):
    body, wing = "#5cc8ff", "#1f86d0"
    for x, foot in ((0.44, 0.42), (0.58, 0.58)):
        pen.line([(x, 0.84), (foot, 0.97)], 0.04, ORANGE)
    pen.area([(0.0, 0.36), (0.34, 0.5), (0.3, 0.78), (0.04, 0.56)], wing)
    pen.dot(0.5, 0.62, 0.31, body, tall=0.85)
    pen.dot(0.68, 0.32, 0.22, body)
    pen.area([(0.46, 0.36), (0.86, 0.42), (0.8, 0.66), (0.4, 0.62)], body)
    pen.area([(0.86, 0.24), (1.0, 0.35), (0.86, 0.42)], ORANGE)
    pen.dot(0.72, 0.27, 0.07, "white")
    pen.dot(0.74, 0.27, 0.04, INK)
    pen.pie(0.4, 0.54, 0.26, 0, 180, wing)


def _siren(pen):
    glow = "#ffe14d"
    for x, y in ((0.06, 0.5), (0.16, 0.18), (0.5, 0.04), (0.84, 0.18), (0.94, 0.5)):
        near = (0.5 + (x - 0.5) * 0.82, 0.58 + (y - 0.58) * 0.82)
        pen.line([(x, y), near], 0.08, glow)
    pen.box(0.26, 0.46, 0.74, 0.8, "#e8262b")
    pen.pie(0.5, 0.47, 0.24, 180, 360, "#e8262b")
    pen.line([(0.38, 0.46), (0.38, 0.64)], 0.08, "#ffb3ab")
    pen.box(0.1, 0.76, 0.9, 0.96, STEEL, corner=0.05)
    pen.box(0.1, 0.87, 0.9, 0.96, GREY, corner=0.045)


DRAWINGS = {draw.__name__[1:]: draw for draw in (
    _circle, _square, _triangle, _star, _cross, _heart, _ring,
    _bell, _drum, _whistle, _horn, _clock, _phone, _bird, _siren)}
