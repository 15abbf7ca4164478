"""Plots for any topic: matrices, curves, bars, flow charts, with alt texts from the data."""

import textwrap

import numpy as np
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from .shapes import arrow, colour_legend, heatmap, named_bars, named_rows
from .style import CENTRE, INK, LIGHT, MARK, STRONG, Picture, array, listed, panels, picture, styled

DASHES, MARKERS = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))), "os^DvP"
SHADES, HATCHES = ("#12395b", "#6fa8d6", "#d5dde6", "#f2c14e", "#c1121f"), ("", "//", "", "..", "")


@styled
def matrices(
        shown: dict, *, x: str = "", y: str = "", blocks: int = 0, ticks=None,
        limits: tuple | None = None, numbers: bool | None = None, label: str = "", columns: int = 4,
        title: str = "", legend: tuple[str, str] | None = None, alt: str = "") -> Picture:
    """Matrices side by side: booleans white and blue (True), numbers brighter where greater.

    Args:
        shown: by its title, a (rows, columns) array or tensor.
        x, y: meaning of columns and rows. label: of the values.
        blocks: number blocks of so many rows and columns (frames of P tokens) from 1.
        ticks: labels of rows and columns, or a tuple of (row labels, column labels).
        limits: least and greatest value of the shared colour scale; by default those of the data.
        numbers: write the values into the cells; by default where there are at most 64.
        legend: meaning of True and of False. alt: an alternative text instead of the usual.
    """
    values = {name: array(v) for name, v in shown.items()}
    boolean = all(v.dtype == bool for v in values.values())
    least, most = limits or (
        min(map(np.nanmin, values.values())), max(map(np.nanmax, values.values())))
    details = listed(values, lambda v: f"{v.shape[0]} x {v.shape[1]}, " + (
        f"{v.mean():.0%} true" if boolean else f"values {np.nanmin(v):.2f} to {np.nanmax(v):.2f}"))
    columns, shape = min(columns, len(values)), next(iter(values.values())).shape
    tall, width = np.clip(shape[0] / shape[1], 0.25, 1.25), min(14.0, 1.0 + 3.8 * columns)
    height = -(-len(values) // columns) * (tall * (width - 1.0) / columns + 1.2)
    figure, axes = panels(
        width, max(2.6, height) + 0.4 * bool(legend) + 0.4 * bool(title),
        alt or f"Matrices, rows are {y or 'rows'}, columns {x or 'columns'}. {details}.",
        values, columns)
    rows, across = ticks if isinstance(ticks, tuple) else (ticks, ticks)
    scale = {} if boolean else {"vmin": least, "vmax": most}
    for axis, name, v in axes:
        written = v.size <= 64 and not boolean if numbers is None else numbers
        drawn = heatmap(axis, v, rows, across, "{:.2g}" if written else "", **scale,
                        aspect="equal" if tall == shape[0] / shape[1] else "auto")
        axis.set(title=textwrap.fill(name, 30), xlabel=x, ylabel=y)
        for n, side, border in (
                (v.shape[0], axis.yaxis, axis.axhline), (v.shape[1], axis.xaxis, axis.axvline)):
            starts = np.arange(0, n, blocks or n)
            if blocks:
                side.set_ticks(starts + (blocks - 1) / 2, range(1, len(starts) + 1))
            elif ticks is None:
                side.set_major_locator(MaxNLocator(6, integer=True))
            for start in starts[1:]:
                border(start - 0.5, color=INK, linewidth=1)
        if ticks is not None and (len(across) > 12 or max(len(str(tick)) for tick in across) > 3):
            axis.tick_params(axis="x", rotation=90)
    if not boolean:
        figure.colorbar(drawn, ax=figure.axes, label=label, shrink=0.8)
    if legend:
        colour_legend(figure, dict(zip(legend, (STRONG, "white"), strict=True)))
    figure.suptitle(title or None)
    return figure


@styled
def curves(shown: dict, *, x: str = "", y: str, title: str = "", mark: dict | None = None,
           percent: bool = False, log: str = "", zero: bool = False, points: bool = True,
           ticks=None, alt: str = "") -> Picture:
    """Lines over a common axis. They differ in dashes and markers, not in colour alone.

    Args:
        shown: by its name, (xs, ys) or (xs, ys, lows, highs) with the ends of an interval.
        mark: by its label, the height of a horizontal line, such as chance.
        percent: y is from 0 to 1. zero: y starts at 0. log: "x", "y" or "xy".
        points: draw markers. ticks: labels at x = 0, 1, ...
        alt: an alternative text instead of the usual.
    """
    lines = {name: [array(part) for part in line] for name, line in shown.items()}
    details = listed(lines, lambda line: " to ".join(
        f"{line[1][end]:.3g} at {line[0][end]:.3g}" for end in (0, -1)))
    figure, axis = picture(11, 4.8, alt or f"{title or y} against {x}. {details}.")
    for i, (name, (xs, ys, *interval)) in enumerate(lines.items()):
        line, = axis.plot(xs, ys, label=name, linestyle=DASHES[i % 5],
                          marker=MARKERS[i % 5] if points else None)
        if interval:
            axis.fill_between(xs, *interval, color=line.get_color(), alpha=0.15, linewidth=0)
    for name, height in (mark or {}).items():
        axis.axhline(height, color=INK, linestyle=":")
        axis.text(1, height, name, transform=axis.get_yaxis_transform(), ha="right", va="bottom")
    axis.set(xlabel=x, ylabel=y, title=title, **{f"{side}scale": "log" for side in log})
    if percent:
        axis.set_ylim(0, 1.02)
        axis.yaxis.set_major_formatter("{x:.0%}")
    elif zero:
        axis.set_ylim(bottom=0)
    if ticks is not None:
        axis.set_xticks(range(len(ticks)), [textwrap.fill(tick, 13) for tick in ticks])
    elif "x" not in log and all((xs == xs.round()).all() for xs, *_ in lines.values()):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y")
    if len(lines) > 1:
        figure.legend(loc="outside right center")
    return figure


@styled
def bars(shown: dict, *, x: str, title: str = "", mark: dict | None = None, percent: bool = False,
         form: str = "{:.3g}", log: bool = False) -> Picture:
    """Horizontal bars with their values at their ends.

    Args:
        shown: by its name, a value or (value, low, high) with the ends of an interval.
        mark: by its label, the place of a vertical line, such as chance.
        form: how values are written; `percent` is for values from 0 to 1.
    """
    form = "{:.0%}" if percent else form
    middle, low, high = np.array([np.broadcast_to(v, 3) for v in shown.values()], float).T
    details = listed(dict(zip(shown, middle, strict=True)), form)
    figure, axis = picture(
        11, 1.4 + 0.48 * len(shown) + 0.4 * bool(title), f"{title or x}. {details}.")
    named_bars(axis, shown, middle, (low, high) if (high > low).any() else None, form)
    _finish(axis, x, title, mark, color=MARK)
    if log:
        axis.set_xscale("log")
    else:
        greatest = max(high.max(), *(mark or {0: 0}).values())
        least = low.min() * 1.15 - 0.1 * greatest if low.min() < 0 else 0  # room for the values
        axis.set_xlim(least, greatest * 1.15 or 1)
    if percent:
        axis.xaxis.set_major_formatter("{x:.0%}")
        if high.max() <= 1:
            axis.set_xticks(np.linspace(0, 1, 6))
    return figure


@styled
def stacked_bars(shown: dict[str, dict[str, float]], *, x: str, title: str = "",
                 mark: dict | None = None) -> Picture:
    """Horizontal bars made of parts; their sum stands at the end.

    Args:
        shown: by the name of each bar, its parts by name.
        mark: by its label, the place of a vertical line, such as a GPU's memory.
    """
    parts = list(dict.fromkeys(part for bar in shown.values() for part in bar))
    values = np.array([[bar.get(part, 0.0) for bar in shown.values()] for part in parts])
    ends = values.cumsum(0)
    details = listed(shown, lambda bar: f"{sum(bar.values()):.3g} "
                     f"({listed(bar, '{:.3g}', ' ', ', ')})")
    figure, axis = picture(
        12, 2.3 + 0.62 * len(shown) + 0.3 * bool(title), f"{title or x}. {details}.")
    for i, part in enumerate(parts):
        drawn = axis.barh(range(len(shown)), values[i], 0.66, left=ends[i] - values[i],
                          color=SHADES[i % 5], hatch=HATCHES[i % 5], label=part)
    axis.bar_label(drawn, [f"{total:.3g}" for total in ends[-1]], padding=6)
    _finish(axis, x, title, mark, color=INK, linestyle="--")
    named_rows(axis, shown)
    axis.set_xlim(0, 1.12 * max(*ends[-1], *(mark or {0: 0}).values()))
    figure.legend(loc="outside lower center", ncols=min(4, len(parts)))
    return figure


def _finish(axis, x: str, title: str, mark: dict | None, **look) -> None:
    """The labels of bars, and vertical lines with their names above."""
    axis.set_xlabel(x)
    axis.set_title(title, pad=22 if mark else 8)
    for name, place in (mark or {}).items():
        axis.axvline(place, **look)
        axis.text(place, 1.03, name, transform=axis.get_xaxis_transform(), color=look["color"],
                  ha="center")


@styled
def flow(stages: list[tuple[str, str, str]], *, title: str = "", here: str = "") -> Picture:
    """Stages of the data: (name, what it does, shape after it); `here` is highlighted."""
    details = "; ".join(f"{name} ({what}), {shape}" for name, what, shape in stages)
    figure, axis = picture(
        14, 2.9 + 0.3 * bool(title), f"{title or 'Stages'}, from left to right: {details}.")
    width = 1.0 / len(stages)
    wrap = max(9, int(92 * width))
    for i, (name, what, shape) in enumerate(stages):
        left = (i + 0.08) * width
        colour, ink = (STRONG, "white") if name == here else (LIGHT, INK)
        axis.add_patch(FancyBboxPatch(
            (left, 0.3), 0.84 * width, 0.62, boxstyle="round,pad=0.0,rounding_size=0.012",
            mutation_aspect=4, facecolor=colour))
        for y, text, look in (
                (0.8, name, {"fontweight": "bold", "color": ink}),
                (0.52, what, {"fontsize": 11, "linespacing": 1.0, "color": ink}),
                (0.13, shape, {"fontsize": 11.5, "family": "monospace"})):
            axis.text(left + 0.42 * width, y, textwrap.fill(text, wrap), **CENTRE, **look)
        if i:
            arrow(axis, (left - 0.16 * width, 0.61), (left, 0.61), INK)
    axis.set(xlim=(0, 1), ylim=(0, 1), title=title)
    axis.axis("off")
    return figure
