"""Results of experiments: paired differences, accuracy by seed, repeats, shifted sound."""

import textwrap
from pathlib import Path

import numpy as np
import seaborn as sns

from ..lab.experiments import known_results
from ..lab.offsets import Offsets
from ..lab.signatures import Signatures
from .plots import MARKERS, curves
from .shapes import named_rows
from .style import INK, MARK, STRONG, Picture, listed, panels, picture, save, styled
from .sync import LATE


@styled
def differences(found, baseline: str, unit: str = "points of accuracy") -> Picture:
    """Paired differences (`Comparison.differences`), 95 % intervals; filled where significant."""
    arms, groups = list(found.arm.unique()), found.groupby("questions", sort=False)
    details = listed({f"{r.arm}, {r.questions}": r for r in found.itertuples()},
                     lambda r: f"{r.difference:+.1f} ({r.low:+.1f} to {r.high:+.1f})")
    figure, axis = picture(
        12, 1.6 + 0.32 * len(found) + 0.2 * len(arms),
        f"Differences from {baseline} in {unit}, with 95 % intervals. {details}.")
    named = len(groups) > len(MARKERS)  # else the legend has the names
    for g, (group, rows) in enumerate(groups):
        places = rows.arm.map(arms.index) - 0.36 + 0.72 * (g + 0.5) / len(groups)
        axis.hlines(places, rows.low, rows.high, color=INK)
        axis.scatter(rows.difference, places, 80, np.where(rows.significant, STRONG, "white"),
                     marker="o" if named else MARKERS[g], label=group, zorder=3)
        for place in places if named else ():
            axis.annotate(group, (1.01, place), xycoords=axis.get_yaxis_transform(), va="center")
    axis.axvline(0, color=MARK, zorder=0)
    named_rows(axis, arms)
    axis.set_xlabel(f"difference from {baseline!r} in {unit}")
    axis.grid(axis="x")
    if not named:
        names = found.questions.unique()
        shapes = [axis.scatter([], [], 80, "white", marker=m) for m in MARKERS[:len(names)]]
        figure.legend(shapes, names, loc="outside upper center", ncols=min(4, len(names)))
    return figure


def signs(found) -> Picture:
    """The counts of a `lab.signatures.Signatures`, as paired differences from its first arm."""
    counted = found.signs.dropna().rename(columns={"sign": "questions"})
    return differences(counted, found.arms[0], "signs per hundred true words or names")


def offsets(found) -> Picture:
    """A `lab.offsets.Offsets`: accuracy at shifts of the sound, with 95 % intervals and chance."""
    groups = found.table.groupby("questions", sort=False)
    details = listed(dict(list(groups)), lambda rows: ", ".join(
        f"{r.shift:+g} s {r.accuracy:.0%}" for r in rows.itertuples()))
    chance = groups.chance.mean()
    return curves(
        {group: (rows["shift"], rows.accuracy, rows.low, rows.high) for group, rows in groups},
        x=LATE, y="accuracy", percent=True, alt=f"Accuracy by how late the sound is. {details}.",
        mark={f"chance: {', '.join(near.index)}": near.mean()
              for _, near in chance.groupby((chance * 20).round())})


@styled
def pairs(results, group: str = "all") -> Picture:
    """Accuracy by arm and seed, joined by seed, in a `lab.statistics.Comparison`."""
    chosen = results.chosen(group)
    accuracy = 100 * results.right[:, :, chosen].mean(-1)  # [arms, seeds]
    details = listed(dict(zip(results.arms, accuracy, strict=True)), lambda row: ", ".join(
        f"{value:.1f}" for value in row))
    figure, axis = picture(
        11, 1.9 + 0.62 * len(results.arms), f"Accuracy in % on questions of the group {group!r}, "
        f"one value a seed, joined over arms. {details}.")
    places = range(len(results.arms))
    for s, seed in enumerate(results.seeds):
        axis.plot(accuracy[:, s], places, color=INK, linewidth=1, marker=MARKERS[s % 6],
                  markersize=9, markerfacecolor="white", label=f"seed {seed}")
    axis.scatter(accuracy.mean(1), places, color=MARK, marker="|", s=500, linewidth=3, zorder=3,
                 label="mean")
    named_rows(axis, results.arms)
    axis.set_xlabel(f"accuracy in %, {chosen.sum()} questions: {group}")
    axis.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(results.seeds) + 1)
    return figure


@styled
def training_curves(results) -> Picture:
    """The cross-entropy while training, a panel for each stage: the mean over the seeds and its
    range."""
    curves = results.curves
    stages = dict([*curves.groupby("stage", sort=False)])
    last = {stage: ", ".join(f"{arm} {of_arm.cross_entropy.iloc[-1]:.2f}" for arm, of_arm in
                             rows.groupby("arm", sort=False)) for stage, rows in stages.items()}
    figure, shown = panels(12, 4.6 * -(-len(stages) // 2),
                           f"Cross-entropy while training, at the end: {listed(last)}.", stages,
                           columns=min(2, len(stages)))
    for axis, stage, rows in shown:
        sns.lineplot(rows, x="step", y="cross_entropy", hue="arm", style="arm", ax=axis,
                     errorbar=("pi", 100), legend=axis is shown[0][0])
        axis.set(title=f"stage {stage}", xlabel="training step", ylabel="cross-entropy")
        axis.grid(axis="y")
    return figure


@styled
def intervals(middle, low, high, true: float, title: str) -> Picture:
    """Intervals of repeated comparisons (the first 40), filled where they exclude zero."""
    middle, low, high = map(np.asarray, (middle, low, high))
    clear, held = (low > 0) | (high < 0), (low <= true) & (true <= high)
    figure, axis = picture(
        11, 4.9, f"{title}: {len(middle)} comparisons of a true difference of {true:g} points; the "
        f"interval excludes zero in {clear.mean():.0%}, and contains the true difference in "
        f"{held.mean():.0%}. Median half width {np.median(high - low) / 2:.1f} points.")
    places = range(1, len(middle[:40]) + 1)
    axis.vlines(places, low[:40], high[:40], color=INK)
    axis.scatter(places, middle[:40], 48, np.where(clear[:40], STRONG, "white"), zorder=3)
    axis.axhline(0, color=MARK, zorder=0, label="no difference")
    if true:
        axis.axhline(true, color=STRONG, linestyle="--", zorder=0, label="the true difference")
    most = np.clip(np.abs([low[:40], high[:40]]).max(), 5, 60)
    axis.set(xlabel=f"repeats of the comparison, each with its own seeds ({len(places)} of "
             f"{len(middle)})", ylabel="points of accuracy", ylim=(-1.05 * most, 1.05 * most),
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
    save(make(found), file)
    return file
