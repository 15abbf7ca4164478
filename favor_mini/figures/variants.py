"""Figures about comparisons: seeds in pairs, and many comparisons beside one another."""

from __future__ import annotations

import numpy as np

from .style import INK, MARK, STRONG, Picture, picture, styled


@styled
def pairs(results, group: str = "all") -> Picture:
    """Accuracy of each arm and seed; a line joins what the same seed gave under all arms.

    Args:
        results: a `lab.statistics.Comparison`.
        group: one of its groups of questions.
    """
    chosen = results.chosen(group)
    accuracy = 100 * results.right[:, :, chosen].mean(-1)  # [arms, seeds]
    told = "; ".join(f"{arm}: " + ", ".join(f"{value:.1f}" for value in row) for arm, row in zip(results.arms, accuracy, strict=True))
    figure = picture(11, 1.9 + 0.62 * len(results.arms), (
        f"Accuracy in % on questions of the group {group!r}, one value a seed, joined over arms. {told}."))
    axis = figure.subplots()
    places = np.arange(len(results.arms))
    for s, seed in enumerate(results.seeds):
        axis.plot(accuracy[:, s], places, color=INK, linewidth=1, marker="os^DvP"[s % 6], markersize=9, markerfacecolor="white",
                  label=f"seed {seed}")
    axis.scatter(accuracy.mean(1), places, color=MARK, marker="|", s=500, linewidth=3, zorder=3, label="mean")
    axis.set(yticks=places, ylim=(len(places) - 0.6, -0.4), xlabel=f"accuracy in %, {chosen.sum()} questions: {group}")
    axis.set_yticklabels(results.arms)
    axis.grid(axis="x", color="#dddddd")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(results.seeds) + 1, frameon=False)
    return figure


@styled
def intervals(middle, low, high, true: float, title: str = "") -> Picture:
    """Many comparisons' differences with their intervals, one column each; filled where the interval misses zero.

    Args:
        middle, low, high: arrays, one entry a comparison.
        true: the difference that all of them look for.
    """
    middle, low, high = map(np.asarray, (middle, low, high))
    clear, held = (low > 0) | (high < 0), (low <= true) & (true <= high)
    figure = picture(11, 4.6 + 0.3 * bool(title), (
        f"{title + ': ' if title else ''}{len(middle)} comparisons of a true difference of {true:g} points; the interval misses zero "
        f"in {clear.sum()}, and holds the true difference in {held.sum()}. Median half width {np.median(high - low) / 2:.1f} points."))
    axis, places = figure.subplots(), np.arange(1, len(middle) + 1)
    axis.vlines(places, low, high, color=INK, linewidth=1.6)
    axis.scatter(places, middle, s=48, edgecolor=INK, linewidth=1.2, zorder=3,
                 color=[STRONG if sure else "white" for sure in clear])
    axis.axhline(0, color=MARK, linewidth=2, zorder=0, label="no difference")
    if true:
        axis.axhline(true, color=STRONG, linewidth=2, linestyle="--", zorder=0, label="the true difference")
    most = float(np.clip(np.abs([low, high]).max(), 5, 60))
    axis.set(xlabel=f"{len(middle)} comparisons, each with seeds of its own", ylabel="points of accuracy",
             ylim=(-1.05 * most, 1.05 * most), title=title)
    figure.legend(loc="outside right center", frameon=False)
    return figure
