"""The laboratory's figures, in the style of `figures`: paired differences, moved sound, measured reach."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from ..lab.experiments import known_results
from ..lab.statistics import Offsets, Signatures
from ..storage import atomic_write
from .style import INK, MARK, STRONG, Picture, picture, png, styled


@styled
def differences(found, baseline: str, unit: str = "points of accuracy") -> Picture:
    """Paired differences from the baseline with 95 % intervals; filled where the interval misses zero.

    Args:
        found: from `lab.statistics.Comparison.differences`.
        baseline: the arm that the others are held against.
        unit: of the differences.
    """
    arms, groups = list(dict.fromkeys(found.arm)), list(dict.fromkeys(found.questions))
    told = "; ".join(f"{r.arm}, {r.questions}: {r.difference:+.1f} ({r.low:+.1f} to {r.high:+.1f})" for r in found.itertuples())
    figure = picture(12, 1.6 + 0.32 * len(found) + 0.2 * len(arms),
                      f"Differences from {baseline} in {unit}, with 95 % intervals. {told}.")
    axis, marks = figure.subplots(), ("o", "s", "^", "D", "v", "P")
    named = len(groups) > len(marks)  # then each interval has its name beside it
    for g, group in enumerate(groups):
        rows = found[found.questions == group]
        place = np.array([arms.index(arm) for arm in rows.arm]) - 0.36 + 0.72 * (g + 0.5) / len(groups)
        clear = (rows.low > 0) | (rows.high < 0)
        axis.hlines(place, rows.low, rows.high, color=INK, linewidth=1.6)
        axis.scatter(rows.difference, place, s=80, marker="o" if named else marks[g], edgecolor=INK, linewidth=1.4, zorder=3,
                     color=[STRONG if sure else "white" for sure in clear], label=group)
        for y in place if named else ():
            axis.annotate(group, (1.01, y), xycoords=axis.get_yaxis_transform(), va="center", fontsize=12)
    axis.axvline(0, color=MARK, linewidth=2, zorder=0)
    axis.set(yticks=range(len(arms)), ylim=(len(arms) - 0.5, -0.5), xlabel=f"difference from {baseline!r} in {unit}")
    axis.set_yticklabels([textwrap.fill(arm, 28) for arm in arms])
    axis.grid(axis="x", color="#dddddd")
    axis.set_axisbelow(True)
    if named:
        return figure
    shapes = [axis.scatter([], [], s=80, marker=mark, color="white", edgecolor=INK, linewidth=1.4) for mark in marks[: len(groups)]]
    figure.legend(shapes, groups, loc="outside upper center", ncols=min(4, len(groups)), frameon=False)
    return figure


def signs(found) -> Picture:
    """What a `lab.statistics.Signatures` counted, as paired differences from its first arm."""
    counted = found.signs.dropna().rename(columns={"sign": "questions"})
    return differences(counted, found.arms[0], "signs per hundred words said, or names that are there")


@styled
def offsets(found) -> Picture:
    """Accuracy while the sound is moved against the picture, one line per group of questions, with 95 % intervals and chance.

    Args:
        found: a `lab.statistics.Offsets`.
    """
    table = found.table
    told = "; ".join(f"{group}: " + ", ".join(f"{r.shift:+g} s {r.accuracy:.0%}" for r in rows.itertuples())
                     for group, rows in table.groupby("questions", sort=False))
    figure = picture(11, 5.5, f"Accuracy by how late the sound comes. {told}.")
    axis = figure.subplots()
    for (group, rows), line, colour in zip(table.groupby("questions", sort=False), ("-", "--", ":"), (MARK, STRONG, INK),
                                           strict=False):
        axis.plot(rows["shift"], rows.accuracy, line, color=colour, linewidth=2.5, marker="o", label=group)
        axis.fill_between(rows["shift"], rows.low, rows.high, color=colour, alpha=0.15, linewidth=0)
        axis.axhline(rows.chance.mean(), color=colour, linestyle=line, linewidth=1)
        axis.annotate("chance", (0, rows.chance.mean()), color=colour, fontsize=11, ha="center", va="bottom")
    axis.set(xlabel="seconds by which the sound comes late (negative: early)", ylabel="accuracy", ylim=(0, 1.02))
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.legend(frameon=False, loc="lower center", ncols=2)
    return figure


@styled
def reach(found: dict) -> Picture:
    """Which frame's encoding moves when another frame is changed, side by side; dark: it moves.

    Args:
        found: by the title of each square, a boolean (frames, frames) array over (whose encoding, changed frame), as in
            `lab.contract.Findings.reach`.
    """
    told = "; ".join(f"{name}: " + ", ".join(f"frame {i + 1} moves with {', '.join(str(j + 1) for j in np.flatnonzero(row))}"
                                              for i, row in enumerate(square)) for name, square in found.items())
    figure = picture(1.0 + 3.4 * len(found), 5.1 if len(found) < 4 else 4.6, f"Measured reach. {told}.")
    for axis, (name, square) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True):
        axis.imshow(square, cmap=ListedColormap(["white", STRONG]), vmin=0, vmax=1)
        frames = np.arange(len(square))
        for border in frames[1:] - 0.5:
            axis.axhline(border, color=INK, linewidth=1)
            axis.axvline(border, color=INK, linewidth=1)
        axis.set(xticks=frames, yticks=frames, xlabel="frame changed", ylabel="frame encoded", title=name)
        axis.set_xticklabels(frames + 1)
        axis.set_yticklabels(frames + 1)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(True)
    figure.legend(handles=[Patch(facecolor=STRONG, edgecolor=INK, label="moves"),
                           Patch(facecolor="white", edgecolor=INK, label="does not move")],
                  loc="outside lower center", ncols=2, frameon=False)
    return figure


def experiment(name: str, out="build/experiments") -> Path:
    """Draw one's own results, else those that ship, to `out/name.png`.

    Raises:
        FileNotFoundError: there are none.
    """
    found = known_results(name, out)
    if found is None:
        raise FileNotFoundError(f"no results of {name!r} ship with this version; make them: favor-mini experiment {name} --run")
    make = {Offsets: offsets, Signatures: signs}.get(type(found), lambda found: differences(found.differences(), found.arms[0]))
    file = Path(out) / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as unfinished:
        unfinished.write_bytes(png(make(found)))
    return file
