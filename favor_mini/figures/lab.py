"""Results of experiments: paired differences, accuracy by seed, repeats, shifted sound."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from ..lab.experiments import known_results
from ..lab.offsets import Offsets
from ..lab.signatures import Signatures
from ..storage import atomic_write
from .plots import curves
from .style import INK, MARK, MARKERS, STRONG, Picture, listed, picture, png, styled
from .sync import LATE


def _filled(clear) -> list[str]:
    return [STRONG if sure else "white" for sure in clear]


@styled
def differences(found, baseline: str, unit: str = "points of accuracy") -> Picture:
    """Paired differences from the baseline with 95 % intervals; filled where significant.

    Args:
        found: from `lab.statistics.Comparison.differences`, which corrects for many intervals.
        baseline: the arm that the others are compared with. unit: of the differences.
    """
    arms, groups = list(dict.fromkeys(found.arm)), list(dict.fromkeys(found.questions))
    details = listed({f"{r.arm}, {r.questions}": r for r in found.itertuples()},
                     lambda r: f"{r.difference:+.1f} ({r.low:+.1f} to {r.high:+.1f})")
    figure = picture(12, 1.6 + 0.32 * len(found) + 0.2 * len(arms),
                     f"Differences from {baseline} in {unit}, with 95 % intervals. {details}.")
    axis, named = figure.subplots(), len(groups) > len(MARKERS)  # else the legend has the names
    look = {"s": 80, "edgecolor": INK, "linewidth": 1.4, "zorder": 3}
    marks = dict(zip(groups, "o" * len(groups) if named else MARKERS, strict=False))
    for g, (group, mark) in enumerate(marks.items()):
        rows = found[found.questions == group]
        places = np.array([arms.index(arm) for arm in rows.arm])
        places = places - 0.36 + 0.72 * (g + 0.5) / len(groups)
        axis.hlines(places, rows.low, rows.high, color=INK, linewidth=1.6)
        axis.scatter(rows.difference, places, marker=mark, label=group,
                     color=_filled(rows.significant), **look)
        for place in places if named else ():
            axis.annotate(group, (1.01, place), xycoords=axis.get_yaxis_transform(), va="center")
    axis.axvline(0, color=MARK, linewidth=2, zorder=0)
    axis.set_yticks(range(len(arms)), [textwrap.fill(arm, 28) for arm in arms])
    axis.set(ylim=(len(arms) - 0.5, -0.5), xlabel=f"difference from {baseline!r} in {unit}")
    axis.grid(axis="x")
    if not named:
        shapes = [
            axis.scatter([], [], marker=mark, color="white", **look) for mark in marks.values()]
        figure.legend(shapes, groups, loc="outside upper center", ncols=min(4, len(groups)))
    return figure


def signs(found) -> Picture:
    """The counts of a `lab.signatures.Signatures`, as paired differences from its first arm."""
    counted = found.signs.dropna().rename(columns={"sign": "questions"})
    return differences(counted, found.arms[0], "signs per hundred true words or names")


def offsets(found) -> Picture:
    """Accuracy at shifts of the sound by group of questions, with 95 % intervals and chance.

    Args:
        found: a `lab.offsets.Offsets`.
    """
    groups = dict(list(found.table.groupby("questions", sort=False)))
    chance = found.table.groupby("questions", sort=False).chance.mean()
    details = listed(groups, lambda rows: ", ".join(
        f"{r.shift:+g} s {r.accuracy:.0%}" for r in rows.itertuples()))
    return curves({group: (rows["shift"], rows.accuracy, rows.low, rows.high)
                   for group, rows in groups.items()}, x=LATE, y="accuracy", percent=True,
                  mark={f"chance: {', '.join(near.index)}": near.mean()
                        for _, near in chance.groupby((chance * 20).round())},
                  alt=f"Accuracy by how late the sound is. {details}.")


@styled
def pairs(results, group: str = "all") -> Picture:
    """Accuracy of each arm and seed; a line joins the results of one seed.

    Args:
        results: a `lab.statistics.Comparison`. group: one of its groups of questions.
    """
    chosen = results.chosen(group)
    accuracy = 100 * results.right[:, :, chosen].mean(-1)  # [arms, seeds]
    details = listed(dict(zip(results.arms, accuracy, strict=True)), lambda row: ", ".join(
        f"{value:.1f}" for value in row))
    figure = picture(11, 1.9 + 0.62 * len(results.arms), (
        f"Accuracy in % on questions of the group {group!r}, one value a seed, joined over arms. "
        f"{details}."))
    axis, places = figure.subplots(), range(len(results.arms))
    for s, seed in enumerate(results.seeds):
        axis.plot(accuracy[:, s], places, color=INK, linewidth=1, marker=MARKERS[s % 6],
                  markersize=9, markerfacecolor="white", label=f"seed {seed}")
    axis.scatter(accuracy.mean(1), places, color=MARK, marker="|", s=500, linewidth=3, zorder=3,
                 label="mean")
    axis.set_yticks(places, results.arms)
    axis.set(
        ylim=(len(places) - 0.6, -0.4), xlabel=f"accuracy in %, {chosen.sum()} questions: {group}")
    axis.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(results.seeds) + 1)
    return figure


@styled
def intervals(middle, low, high, true: float, title: str = "", *, shown: int = 40) -> Picture:
    """Repeated comparisons with their 95 % intervals; filled where an interval excludes zero.

    Args:
        middle, low, high: arrays, one entry a comparison. true: the true difference.
        shown: draw at most so many; the description counts all.
    """
    middle, low, high = map(np.asarray, (middle, low, high))
    clear, held = (low > 0) | (high < 0), (low <= true) & (true <= high)
    figure = picture(11, 4.6 + 0.3 * bool(title), (f"{title + ': ' if title else ''}{len(middle)} "
        f"comparisons of a true difference of {true:g} points; the interval excludes zero in "
        f"{clear.mean():.0%}, and contains the true difference in {held.mean():.0%}. Median half "
        f"width {np.median(high - low) / 2:.1f} points."))
    count, (middle, low, high) = len(middle), (part[:shown] for part in (middle, low, high))
    axis, places = figure.subplots(), np.arange(1, len(middle) + 1)
    axis.vlines(places, low, high, color=INK, linewidth=1.6)
    axis.scatter(
        places, middle, s=48, linewidth=1.2, zorder=3, edgecolor=INK, color=_filled(clear[:shown]))
    axis.axhline(0, color=MARK, linewidth=2, zorder=0, label="no difference")
    if true:
        axis.axhline(
            true, color=STRONG, linewidth=2, linestyle="--", zorder=0, label="the true difference")
    most = float(np.clip(np.abs([low, high]).max(), 5, 60))
    axis.set(xlabel=f"repeats of the comparison, each with its own seeds ({len(middle)} of "
             f"{count})", ylabel="points of accuracy", ylim=(-1.05 * most, 1.05 * most),
             title=textwrap.fill(title, 90))
    figure.legend(loc="outside right center")
    return figure


def experiment(name: str, out="build/experiments") -> Path:
    """Draw your own results, else the shipped ones, to `out/name.png`.

    Raises:
        FileNotFoundError: there are no results.
    """
    found = known_results(name, out)
    if found is None:
        raise FileNotFoundError(f"no results of {name!r} in {out} or in the package. "
                                f"Fix: favor-mini experiment {name} --run")
    make = {Offsets: offsets, Signatures: signs}.get(
        type(found), lambda found: differences(found.differences(), found.arms[0]))
    file = Path(out) / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as unfinished:
        unfinished.write_bytes(png(make(found)))
    return file
