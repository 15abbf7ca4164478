"""Figures of the notebook on the Q-Former: one head in the plane, and what queries look at in a clip's window."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.patheffects import withStroke

from .plots import array
from .style import EVEN, INK, LIGHT, MARK, STRONG, Picture, picture, styled


@styled
def one_query(query, keys, values, weights, heard, names: list[str]) -> Picture:
    """One query in the plane: the keys that it is held against, how it divides its attention, and what it hears.

    Args:
        query: (2,). keys, values: (M, 2). weights: (M,), which add up to 1. heard: (2,), the weighted mean of the values.
        names: of the M tokens.
    """
    query, keys, values, weights, heard = map(array, (query, keys, values, weights, heard))
    told = ", ".join(f"{name} {weight:.0%}" for name, weight in zip(names, weights, strict=True))
    figure = picture(13, 4.4, f"A query at ({query[0]:.2f}, {query[1]:.2f}) divides its attention: {told}. "
                              f"It hears ({heard[0]:.2f}, {heard[1]:.2f}), their weighted mean.")
    left, middle, right = figure.subplots(1, 3)
    reach = 1.5 * max(1.0, np.abs(query).max(), np.abs(keys).max())
    for arrow, name, ink, wide in [*((key, name, INK, 2.0) for key, name in zip(keys, names, strict=True)), (query, "query", MARK, 3.5)]:
        length = np.hypot(*arrow)
        left.annotate("", arrow, (0, 0), arrowprops={"arrowstyle": "->", "color": ink, "linewidth": wide, "shrinkA": 0, "shrinkB": 0})
        beyond = arrow / max(length, 1e-6) * (length + 0.2 * reach) if length else np.array([0.0, -0.1 * reach])
        left.text(*beyond, name, ha="center", va="center", color=ink, fontweight="bold" if name == "query" else "normal",
                  path_effects=[withStroke(linewidth=4, foreground="white")], zorder=4)
    left.set(title="query and keys", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    middle.barh(range(len(names)), weights, 0.7, color=LIGHT, edgecolor=INK)
    for place, weight in enumerate(weights):
        middle.text(weight + 0.02, place, f"{weight:.0%}", va="center")
    middle.set(title="weights", yticks=range(len(names)), xlim=(0, 1.2), ylim=(len(names) - 0.5, -0.5), xticks=(0, 0.5, 1))
    middle.set_yticklabels(names)
    right.scatter(*values.T, s=40 + 600 * weights, color=LIGHT, edgecolor=INK, zorder=2)
    for value, name in zip(values, names, strict=True):
        right.annotate(name, value, xytext=(0, 24), textcoords="offset points", ha="center", va="center")
    right.scatter(*heard, s=190, marker="X", color=MARK, edgecolor="white", zorder=3)
    far = 1.45 * np.abs(values).max()
    right.set(title="values, and what is heard (X)", xlim=(-far, far), ylim=(-far, far), aspect="equal")
    for axis in (left, right):
        axis.axhline(0, color=LIGHT, linewidth=1, zorder=0)
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        axis.set(xticks=[], yticks=[])
    return figure


@styled
def query_map(shown: dict, title: str = "") -> Picture:
    """How each query of a window divides its attention over the frames, one map a title; brighter means more.

    Args:
        shown: by its title, (N, K): query by frame, rows that add up to 1.
    """
    maps = {name: array(values) for name, values in shown.items()}
    told = "; ".join(f"{name}: the frame looked at most is, query by query, {', '.join(str(k + 1) for k in values.argmax(1))}"
                     for name, values in maps.items())
    figure = picture(1.5 + 4.6 * len(maps), 5.6 + 0.4 * bool(title), f"Queries by frames, share of attention. {told}.")
    axes = np.atleast_1d(figure.subplots(1, len(maps)))
    for axis, (name, values) in zip(axes, maps.items(), strict=True):
        drawn = axis.imshow(values, aspect="auto", cmap=EVEN, vmin=0, vmax=1)
        axis.set(title=textwrap.fill(name, 34), xlabel="frame of the window", xticks=range(values.shape[1]), yticks=range(len(values)))
        axis.set_xticklabels(range(1, values.shape[1] + 1))
        axis.set_yticklabels(range(1, len(values) + 1), fontsize=11)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(True)
    axes[0].set_ylabel("query")
    figure.colorbar(drawn, ax=list(axes), label="share of attention", shrink=0.8)
    if title:
        figure.suptitle(title, fontweight="bold")
    return figure


@styled
def gaze(frames: np.ndarray, shares, visual_tokens: int, title: str, script: list[tuple[float, float, str, bool]] = ()) -> Picture:
    """The frames of a window, what happens in them, and how one query divides its attention over them.

    Args:
        frames: (K', H, W, 3) uint8; a last window may hold fewer than K.
        shares: (K, P), the query's attention to each token, which add up to 1.
        visual_tokens: the first V places of a frame hold picture and sound, those behind them sound alone.
        script: (first frame, end, what, whether it is heard) of what happens, in frames of this window.
    """
    shares = array(shares)[: len(frames)]
    seen, heard = shares[:, :visual_tokens].sum(1), shares[:, visual_tokens:].sum(1)
    best, rows = int((seen + heard).argmax()), (1.0, 0.95, 1.5) if script else (1.0, 1.5)
    happens = "; ".join(f"frames {a + 1:.0f} to {b:.0f}: {'hear' if heard else 'see'} {what}" for a, b, what, heard in script)
    figure = picture(13, 1.1 + 1.5 * sum(rows), (
        f"{title}: over {len(frames)} frames; most at frame {best + 1} ({seen[best] + heard[best]:.0%}). On places with picture and "
        f"sound {seen.sum():.0%}, on places with sound alone {heard.sum():.0%}. {happens}."))
    axes = figure.subplots(len(rows), sharex=True, height_ratios=rows)
    axes[0].imshow(np.concatenate(list(frames), axis=1), extent=(0, len(frames), 0, 1), aspect="auto")
    for border in range(len(frames) + 1):
        axes[0].axvline(border, color="white", linewidth=2)
    for start, end, what, is_heard in script:
        row, height = (0.16, 0.3) if is_heard else (0.68, 0.62)
        axes[1].barh(row, end - start, left=start, height=height, color="white" if is_heard else LIGHT, edgecolor=INK)
        axes[1].text((start + end) / 2, row, textwrap.fill(what, max(9, round(9.5 * (end - start)))),
                     ha="center", va="center", fontsize=11, linespacing=0.95)
    places = np.arange(len(frames)) + 0.5
    axes[-1].bar(places, seen, 0.8, color=STRONG, edgecolor=INK, label="places with picture and sound")
    axes[-1].bar(places, heard, 0.8, bottom=seen, color="white", edgecolor=INK, hatch="///", label="places with sound alone")
    axes[-1].set(xticks=places, ylim=(0, 1.02), xlim=(0, len(frames)), xlabel="frame of the window", ylabel="attention")
    axes[-1].set_xticklabels(range(1, len(frames) + 1))
    axes[-1].yaxis.set_major_formatter("{x:.0%}")
    for axis in axes[:-1]:
        axis.set_yticks([])
        axis.tick_params(axis="x", length=0)
        axis.spines[:].set_visible(False)
    axes[0].set_title(title)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure
