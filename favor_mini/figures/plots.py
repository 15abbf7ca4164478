"""Plain plots in the notebooks' style: matrices, curves, bars, and boxes for tensors. Each takes its description from its data."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from .style import EVEN, INK, LIGHT, MARK, STRONG, Picture, picture, styled

DASHES, MARKERS, COLOURS = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1))), "os^Dv", (STRONG, MARK, INK, "#7a6a00", "#5b5b5b")


def array(values) -> np.ndarray:
    """A tensor or anything like an array as a numpy array."""
    return values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values, dtype=float)


@styled
def matrices(shown: dict, *, x: str = "", y: str = "", blocks: int = 1, ticks=None, limits: tuple | None = None,
             numbers: bool | None = None, label: str = "", columns: int = 4) -> Picture:
    """Matrices side by side, one title each. Booleans are drawn white (False) and blue (True), numbers brighter where greater.

    Args:
        shown: by its title, a (rows, columns) array or tensor.
        x, y: what columns and rows are.
        blocks: draw a border every so many rows and columns, and number the blocks from 1 (frames of P tokens, say).
        ticks: names of rows and columns of square matrices, instead.
        limits: least and greatest value of the colours, shared by all; by default those of the data.
        numbers: write the values into the cells; by default where there are at most 64.
    """
    values = {title: np.asarray(v.detach().cpu()) if hasattr(v, "detach") else np.asarray(v) for title, v in shown.items()}
    boolean = all(v.dtype == bool for v in values.values())
    least = min(float(np.nanmin(v)) for v in values.values()) if limits is None else limits[0]
    most = max(float(np.nanmax(v)) for v in values.values()) if limits is None else limits[1]
    told = "; ".join(f"{title}: {v.shape[0]} x {v.shape[1]}, " + (f"{v.mean():.0%} true" if boolean else
                     f"values {float(np.nanmin(v)):.2f} to {float(np.nanmax(v)):.2f}") for title, v in values.items())
    columns, shape = min(columns, len(values)), next(iter(values.values())).shape
    rows, tall = -(-len(values) // columns), float(np.clip(shape[0] / shape[1], 0.25, 1.6))
    width = min(14.0, 1.0 + 3.8 * columns)
    figure = picture(width, max(2.6, rows * (tall * (width - 1.0) / columns + 1.2)),
                     f"Matrices, rows are {y or 'rows'}, columns {x or 'columns'}. {told}.")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(values):]:
        axis.set_visible(False)
    for axis, (title, v) in zip(axes, values.items(), strict=False):
        aspect, span = "auto" if tall != shape[0] / shape[1] else "equal", (0, 1) if boolean else (least, most)
        drawn = axis.imshow(v.astype(float), interpolation="nearest", aspect=aspect, vmin=span[0], vmax=span[1],
                            cmap=ListedColormap(["white", STRONG]) if boolean else EVEN)
        axis.set(title=textwrap.fill(title, 30), xlabel=x, ylabel=y)
        axis.spines[:].set_visible(True)
        axis.tick_params(length=0)
        for setter, n, border in ((axis.set_xticks, v.shape[1], axis.axvline), (axis.set_yticks, v.shape[0], axis.axhline)):
            if blocks > 1:
                setter(np.arange(n // blocks) * blocks + (blocks - 1) / 2, range(1, n // blocks + 1))
                for place in np.arange(1, n // blocks) * blocks - 0.5:
                    border(place, color=INK, linewidth=1)
            elif ticks is not None:
                crowded = setter == axis.set_xticks and (len(ticks) > 12 or max(map(len, map(str, ticks))) > 3)
                setter(range(n), ticks, **({"rotation": 90} if crowded else {}))
        if blocks == 1 and ticks is None:
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        if numbers or numbers is None and v.size <= 64 and not boolean:
            for i, j in np.ndindex(v.shape):
                dark = (float(v[i, j]) - least) / max(most - least, 1e-9) < 0.6
                axis.text(j, i, f"{v[i, j]:.2g}", ha="center", va="center", color="white" if dark and not boolean else INK, fontsize=12)
    if not boolean:
        figure.colorbar(drawn, ax=list(axes[:len(values)]), label=label, shrink=0.8)
    return figure


@styled
def curves(shown: dict, *, x: str, y: str, title: str = "", mark: dict | None = None, percent: bool = False, log: str = "",
           zero: bool = False, points: bool = True) -> Picture:
    """Lines over a common axis, told apart by dashes and markers as well as by colour.

    Args:
        shown: by its name, (xs, ys) or (xs, ys, lows, highs) with the ends of an interval.
        mark: by its label, a height at which to draw a horizontal line, such as chance.
        percent: y in percent, from 0 to 1. zero: y starts at 0. log: "x", "y" or "xy". points: draw a marker at each point.
    """
    known = {name: [array(part) for part in line] for name, line in shown.items()}
    told = "; ".join(f"{name}: from {ys[0]:.3g} at {xs[0]:.3g} to {ys[-1]:.3g} at {xs[-1]:.3g}" for name, (xs, ys, *_) in known.items())
    figure = picture(11, 4.8, f"{title or y} against {x}. {told}.")
    axis = figure.subplots()
    for i, (name, (xs, ys, *reach)) in enumerate(known.items()):
        style = {"color": COLOURS[i % 5], "linestyle": DASHES[i % 5], "linewidth": 2.4}
        axis.plot(xs, ys, label=name, marker=MARKERS[i % 5] if points else None, **style)
        if reach:
            axis.fill_between(xs, *reach, color=COLOURS[i % 5], alpha=0.15, linewidth=0)
    for name, height in (mark or {}).items():
        axis.axhline(height, color=INK, linewidth=1.2, linestyle=(0, (2, 2)))
        axis.annotate(name, (1, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=12)
    axis.set(xlabel=x, ylabel=y, title=title, xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if percent:
        axis.set_ylim(0, 1.02)
        axis.yaxis.set_major_formatter("{x:.0%}")
    elif zero:
        axis.set_ylim(bottom=0)
    if "x" not in log and all((xs == xs.round()).all() for xs, *_ in known.values()):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", color="#dddddd")
    if len(known) > 1:
        figure.legend(loc="outside right center", frameon=False)
    return figure


@styled
def bars(shown: dict, *, x: str, title: str = "", mark: dict | None = None, percent: bool = False, form: str = "{:.3g}",
         log: bool = False) -> Picture:
    """Horizontal bars with their values at their ends.

    Args:
        shown: by its name, a value or (value, low, high) with the ends of an interval.
        mark: by its label, a value at which to draw a vertical line, such as chance.
        form: how values are written; percent writes and scales them as percent.
    """
    form = "{:.0%}" if percent else form
    values = {name: (v, v, v) if np.isscalar(v) else tuple(map(float, v)) for name, v in shown.items()}
    told = "; ".join(f"{name}: {form.format(v[0])}" for name, v in values.items())
    figure = picture(11, 1.4 + 0.48 * len(values) + 0.4 * bool(title), f"{title or x}. {told}.")
    axis = figure.subplots()
    places = np.arange(len(values))
    middle, low, high = np.array(list(values.values())).T
    axis.barh(places, middle, 0.7, color=LIGHT, edgecolor=INK)
    if (high > low).any():
        axis.errorbar(middle, places, xerr=np.array([middle - low, high - middle]).clip(0), fmt="none", ecolor=INK, elinewidth=1.6)
    for place, value, end in zip(places, middle, high, strict=True):
        axis.annotate(form.format(value), (max(value, end, 0), place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=13)
    for name, at in (mark or {}).items():
        axis.axvline(at, color=MARK, linewidth=2.5)
        axis.annotate(name, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points", color=MARK,
                      fontsize=12, ha="center")
    axis.set(yticks=places, xlabel=x, title=title, ylim=(len(values) - 0.5, -0.5), xscale="log" if log else "linear")
    axis.set_yticklabels([textwrap.fill(name, 32) for name in values])
    if not log:
        axis.set_xlim(min(0, low.min() * 1.15), max(high.max(), *(mark or {0: 0}).values()) * 1.15 or 1)
    if percent:
        axis.xaxis.set_major_formatter("{x:.0%}")
        if high.max() <= 1:
            axis.set_xticks(np.linspace(0, 1, 6))
    return figure


@styled
def flow(stages: list[tuple[str, str, str]], *, title: str = "", here: str = "") -> Picture:
    """Boxes from left to right, joined by arrows: what data becomes on its way.

    Args:
        stages: (name, what it does, shape after it) each.
        here: the name of the stage that is stressed.
    """
    told = "; ".join(f"{name} ({what}), {shape}" for name, what, shape in stages)
    figure = picture(14, 2.9 + 0.3 * bool(title), f"{title or 'Stages'}, from left to right: {told}.")
    axis = figure.subplots()
    width = 1.0 / len(stages)
    wrap = max(8, int(92 * width))
    for i, (name, what, shape) in enumerate(stages):
        left, ink = i * width + 0.08 * width, "white" if name == here else INK
        axis.add_patch(FancyBboxPatch((left, 0.3), 0.84 * width, 0.62, boxstyle="round,pad=0.0,rounding_size=0.012",
                                      facecolor=STRONG if name == here else LIGHT, edgecolor=INK, linewidth=1.2, mutation_aspect=4))
        axis.text(left + 0.42 * width, 0.8, textwrap.fill(name, wrap), ha="center", va="center", fontweight="bold", fontsize=13, color=ink)
        axis.text(left + 0.42 * width, 0.52, textwrap.fill(what, wrap), ha="center", va="center", fontsize=11, color=ink, linespacing=1.0)
        axis.text(left + 0.42 * width, 0.13, textwrap.fill(shape, wrap + 2), ha="center", va="center", fontsize=11.5, family="monospace")
        if i:
            axis.annotate("", (left, 0.61), (left - 0.16 * width, 0.61), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 2})
    axis.set(xlim=(0, 1), ylim=(0, 1), title=title)
    axis.axis("off")
    return figure
