"""Shapes that figures share: heat maps, boxes, bars, time axes, legends."""

import textwrap

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .style import CENTRE, INK, LIGHT, MARK, STRONG, picture


def heatmap(axis, values, rows=None, columns=None, form: str = "", **options):
    """A (rows, columns) matrix as coloured cells, blue where True, else brighter where greater.

    Args:
        rows, columns: labels. form: of numbers in the cells. options: of `Axes.imshow`.
    """
    if values.dtype == bool:
        options |= {"cmap": ListedColormap(["white", STRONG]), "vmin": 0, "vmax": 1}
    drawn = axis.imshow(values, **options)
    for side, names in ((axis.xaxis, columns), (axis.yaxis, rows)):
        if names is not None:
            side.set_ticks(range(len(names)), names)
    for (i, j), value in np.ndenumerate(values) if form else ():
        axis.text(j, i, form.format(value), **CENTRE,
                  color=INK if drawn.norm(value) > 0.6 else "white")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(True)
    return drawn


def boxes(axis, events, *, y: float = 0.5, height: float = 0.92, colour: str = LIGHT,
          characters: float = 9) -> None:
    """Boxes for (start, end, text) events; `characters` fit into a unit of the x axis."""
    for start, end, text in events:
        axis.barh(y, end - start, height, left=start, color=colour)
        width = max(7, round(characters * (end - start)))
        axis.text((start + end) / 2, y, textwrap.fill(text, width, break_long_words=False),
                  **CENTRE, linespacing=0.95, zorder=4,
                  color="white" if colour in (STRONG, MARK) else INK,
                  bbox={"facecolor": colour, "linewidth": 0, "pad": 1})


def named_bars(axis, names, values, ends=None, form: str = "{:.2f}") -> None:
    """Horizontal bars with their values; `ends`: (2, bars) lower and upper ends of intervals."""
    errors = None if ends is None else np.abs(np.asarray(ends) - values)
    drawn = axis.barh(range(len(values)), values, 0.7, xerr=errors, color=LIGHT, ecolor=INK)
    axis.bar_label(drawn, fmt=form.format, padding=6)
    named_rows(axis, names)


def named_rows(axis, names, room: int = 32) -> None:
    """Names of rows 0, 1, ... from top to bottom, in lines of `room` characters."""
    axis.set_yticks(range(len(names)), [textwrap.fill(str(name), room) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)


def borders(axis, places, **look) -> None:
    """Vertical lines, by default red and dashed, where a window or a step ends."""
    for place in places:
        axis.axvline(place, **{
            "color": MARK, "linewidth": 2.5, "linestyle": (0, (4, 2))} | look)


def arrow(axis, start, end, colour: str, **look) -> None:
    """An arrow between two points."""
    axis.annotate("", end, start, arrowprops={
        "arrowstyle": "-|>", "mutation_scale": 16, "linewidth": 2, "shrinkA": 0, "shrinkB": 0,
        "color": colour} | look)


def time_axis(axes, names, seconds: float) -> None:
    """Names at the left of rows, and seconds from 0 below the lowest."""
    for axis, name in zip(axes, names, strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        axis.set_yticks([])
        axis.tick_params(axis="x", length=0)
    axis.set(xlim=(0, seconds), xticks=np.arange(int(seconds) + 1), xlabel="time (s)")
    axis.tick_params(axis="x", length=4)


def time_rows(
        width: float, height: float, alt_text: str, rows: dict, seconds: float) -> tuple:
    """A picture whose axes share a time axis: by their names, their relative heights."""
    figure, axes = picture(width, height, alt_text, len(rows), squeeze=False, sharex=True,
                           height_ratios=list(rows.values()))
    time_axis(axes.flat, rows, seconds)
    return figure, axes.ravel()


def colour_legend(figure: Figure, colours: dict, where: str = "lower center") -> None:
    """A legend of filled boxes: by its label, a colour or the options of a `Patch`."""
    handles = [Patch(label=label, **(look if isinstance(look, dict) else {"facecolor": look}))
               for label, look in colours.items()]
    figure.legend(handles=handles, loc=f"outside {where}", ncols=4)
