"""One style for all figures."""

from __future__ import annotations

import base64
from functools import wraps
from io import BytesIO

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

INK, LIGHT, STRONG, MARK = "#1b2a41", "#c9d6e4", "#1f6fb2", "#c1121f"
SERIES = ("#d5dde6", "#6fa8d6", "#12395b")  # light to dark, so that they differ in greyscale too
EVEN = "cividis"  # its lightness rises evenly: brighter means more, in greyscale as well
STYLE = {**sns.axes_style("ticks"), **sns.plotting_context("notebook", font_scale=1.2), "axes.edgecolor": INK,
         "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.titleweight": "bold",
         "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white", "savefig.facecolor": "white"}


class Picture(Figure):
    """A figure that knows its description. It belongs to no pyplot state, so a notebook shows it exactly once."""

    alt_text = ""

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/png": base64.b64encode(png(self)).decode()}, {"image/png": {"alt": self.alt_text}}


def alt(figure: Picture) -> str:
    """What the figure shows, in words."""
    return figure.alt_text


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG of 256 colours, a quarter of the size that all colours would take; small spots keep theirs."""
    drawn, file = BytesIO(), BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format="png", dpi=dpi)
    few = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(file, "png", optimize=True)
    return file.getvalue()


def styled(draw):
    """Draw in the shared style, whatever the notebook has set."""
    @wraps(draw)
    def drawn(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)
    return drawn


def picture(width: float, height: float, alt_text: str) -> Picture:
    """An empty picture of so many inches, with its description."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.alt_text = alt_text
    return figure
