"""One style for all figures: colours, pictures with alternative texts, shared shapes."""

from __future__ import annotations

import base64
import textwrap
from functools import wraps
from io import BytesIO

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

INK, LIGHT, STRONG, MARK = "#1b2a41", "#c9d6e4", "#1f6fb2", "#c1121f"
SERIES = ("#d5dde6", "#6fa8d6", "#12395b")  # light to dark, so that they differ in greyscale too
EVEN = "cividis"  # its lightness increases evenly: brighter means more, also in greyscale
DASHES, MARKERS = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))), "os^DvP"
COLOURS = (STRONG, MARK, INK, "#7a6a00", "#5b5b5b")
BORDER = {"color": MARK, "linewidth": 2.5,
          "linestyle": (0, (4, 2))}  # where a window or a step ends
STYLE = {
    **sns.axes_style("ticks"), **sns.plotting_context("notebook", font_scale=1.2),
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color",
                     "ytick.color"), INK), "axes.titleweight": "bold", "figure.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white",
    "savefig.facecolor": "white", "legend.frameon": False, "font.size": 12, "grid.color": "#dddddd",
    "axes.axisbelow": True, "patch.edgecolor": INK, "patch.force_edgecolor": True,
    "image.cmap": EVEN, "image.interpolation": "nearest", "image.aspect": "auto"}


class Picture(Figure):
    """A figure with its alternative text, not known to pyplot: a notebook shows it once."""

    alt_text = ""

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": base64.b64encode(png(self)).decode()}
        return data, {"image/png": {"alt": self.alt_text}}


def alt(figure: Picture) -> str:
    """The figure's content in words, its alternative text."""
    return figure.alt_text


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG of 256 colours, a quarter of the size of a full-colour file."""
    drawn, file = BytesIO(), BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format="png", dpi=dpi)
    few = Image.open(drawn).convert("RGB").quantize(  # MAXCOVERAGE keeps the colours of small spots
        256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(file, "png", optimize=True)
    return file.getvalue()


def styled(draw):
    """Decorator: draw in the shared style, independent of the notebook's settings."""
    @wraps(draw)
    def drawn(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)
    return drawn


def listed(items: dict, form="{}", joint: str = ": ", end: str = "; ") -> str:
    """A dict as a part of an alternative text; `form` is a format string or a function."""
    text = form.format if isinstance(form, str) else form
    return end.join(f"{name}{joint}{text(value)}" for name, value in items.items())


def inline(items: dict, form="{}") -> str:
    """A dict within another list: "a 1, b 2"."""
    return listed(items, form, " ", ", ")


def picture(width: float, height: float, alt_text: str) -> Picture:
    """An empty picture of this size in inches, with its alternative text."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.alt_text = alt_text
    return figure


def array(values) -> np.ndarray:
    """A tensor, or anything like an array, as a numpy array of floats; booleans stay booleans."""
    if hasattr(values, "detach"):
        values = (values.float() if values.is_floating_point() else values).detach().cpu().numpy()
    values = np.asarray(values)
    return values if values.dtype == bool else values.astype(float)


def panels(figure: Figure, count: int, columns: int = 4, **options) -> np.ndarray:
    """`count` axes in rows of at most `columns`; `options` go to `Figure.subplots`."""
    columns = min(columns, count)
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, **options).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    return axes[:count]


def heatmap(axis, values, rows=None, columns=None, form: str = "", **options):
    """A matrix as coloured cells: booleans white and blue (True), numbers brighter where greater.

    Args:
        values: (rows, columns). rows, columns: labels of the ticks.
        form: how values are written into the cells, such as "{:.0%}". options: go to `Axes.imshow`.
    """
    boolean = np.asarray(values).dtype == bool
    look = {"cmap": ListedColormap(["white", STRONG]), "vmin": 0, "vmax": 1} if boolean else {}
    drawn = axis.imshow(values, **look, **options)
    for setter, names in ((axis.set_xticks, columns), (axis.set_yticks, rows)):
        if names is not None:
            setter(range(len(names)), names)
    for i, j in np.ndindex(values.shape) if form else ():
        axis.text(j, i, form.format(values[i, j]).replace("-0.00", "0.00"), ha="center",
                  va="center", color=INK if boolean or drawn.norm(values[i, j]) > 0.6 else "white")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(True)
    return drawn


def boxes(axis, events, *, y: float = 0.5, height: float = 0.92, colour: str = LIGHT,
          ink: str = INK, characters: float = 9) -> None:
    """Boxes from start to end, each with its text, wrapped to its width.

    Args:
        events: (start, end, text) each. characters: of a line, for each unit of the x axis.
    """
    for start, end, text in events:
        axis.barh(y, end - start, height, left=start, color=colour)
        width = max(7, round(characters * (end - start)))
        words = textwrap.fill(text, width, break_long_words=False)
        axis.text((start + end) / 2, y, words, ha="center", va="center", color=ink,
                  linespacing=0.95, zorder=4, bbox={"facecolor": colour, "linewidth": 0, "pad": 1})


def named_bars(axis, names, values, ends=None, form: str = "{:.2f}") -> None:
    """Horizontal bars with their names at the left and their values at the right.

    Args:
        ends: (2, bars), lower and upper ends of intervals. form: how values are written.
    """
    values, places = np.asarray(values), range(len(values))
    errors = None if ends is None else np.abs(np.asarray(ends) - values)
    drawn = axis.barh(
        places, values, 0.7, xerr=errors, color=LIGHT, error_kw={"ecolor": INK, "elinewidth": 1.6})
    axis.bar_label(drawn, fmt=form.format, padding=6, fontsize=13)
    axis.set_yticks(places, [textwrap.fill(str(name), 32) for name in names])
    axis.set_ylim(len(values) - 0.5, -0.5)


def filled(full: bool) -> dict:
    """Options of `boxes`: blue, or else white."""
    return {"colour": STRONG, "ink": "white"} if full else {"colour": "white"}


def row_name(axis, name: str) -> None:
    """A name at the left of a row without ticks."""
    axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    axis.set_yticks([])
    axis.tick_params(axis="x", length=0)


def colour_legend(figure: Figure, colours: dict, where: str = "lower center") -> None:
    """A legend of filled boxes: by its label, a colour or the options of a `Patch`."""
    handles = [Patch(label=label, **(look if isinstance(look, dict) else {"facecolor": look}))
               for label, look in colours.items()]
    figure.legend(handles=handles, loc=f"outside {where}", ncols=4)
