"""Figures about size: what memory is made of, and what comes out of a clip of growing length."""

from __future__ import annotations

import textwrap

import numpy as np

from .style import INK, Picture, picture, styled

SHADES, HATCHES = ("#12395b", "#6fa8d6", "#d5dde6", "#f2c14e", "#c1121f"), ("", "//", "", "..", "")


@styled
def stacked(shown: dict[str, dict[str, float]], *, x: str, title: str = "", mark: dict | None = None) -> Picture:
    """Horizontal bars that are made of parts; the sum stands at the end.

    Args:
        shown: by the name of each bar, its parts by name. A part keeps its shade in all bars.
        mark: by its label, a value at which to draw a vertical line, such as what a card holds.
    """
    parts = list(dict.fromkeys(part for bar in shown.values() for part in bar))
    sums = {name: sum(bar.values()) for name, bar in shown.items()}
    told = "; ".join(f"{name}: {sums[name]:.3g} (" + ", ".join(f"{part} {value:.3g}" for part, value in bar.items()) + ")"
                     for name, bar in shown.items())
    figure = picture(12, 2.3 + 0.62 * len(shown) + 0.3 * bool(title), f"{title or x}. {told}.")
    axis, places, left = figure.subplots(), np.arange(len(shown)), np.zeros(len(shown))
    for i, part in enumerate(parts):
        values = np.array([bar.get(part, 0.0) for bar in shown.values()])
        axis.barh(places, values, 0.66, left=left, color=SHADES[i % 5], hatch=HATCHES[i % 5], edgecolor=INK, linewidth=0.8, label=part)
        left += values
    for place, total in zip(places, sums.values(), strict=True):
        axis.annotate(f"{total:.3g}", (total, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=13)
    for name, at in (mark or {}).items():
        axis.axvline(at, color=INK, linewidth=1.8, linestyle="--")
        axis.annotate(name, (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                      fontsize=12, ha="center")
    axis.set(yticks=places, ylim=(len(places) - 0.5, -0.5), xlabel=x, xlim=(0, 1.12 * max(*sums.values(), *(mark or {0: 0}).values())))
    axis.set_yticklabels([textwrap.fill(name, 30) for name in shown])
    if title:
        axis.set_title(title, pad=22 if mark else 8)
    figure.legend(loc="outside lower center", ncols=min(4, len(parts)), frameon=False)
    return figure
