"""Results of the gym: learning curves with intervals, and phase diagrams."""

import textwrap

import numpy as np
import pandas as pd

from ..lab.gym.results import REACHED, Curves
from ..lab.gym.studies import Phases, find_study, shipped_study
from .style import INK, LIGHT, MARK, STRONG, Picture, listed, panels, styled

LINES = (STRONG, MARK, INK, "#7a6a00", "#5b5b5b", "#2a7f62")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


def accuracy_lines(axis, rows: pd.DataFrame, chance: float, colours=LINES) -> None:
    """Accuracy by training step, a line for each arm: the mean over the seeds and its range."""
    grid = np.linspace(0, rows.step.max(), 120)
    for i, (arm, of_arm) in enumerate(rows.groupby("arm", sort=False)):
        lines = np.array([np.interp(grid, [0, *c.step], [chance, *c.accuracy])
                          for _, c in of_arm.groupby("seed")])  # [seeds, 120]
        style = {"color": colours[i % 6], "linestyle": DASHES[i % 6]}
        axis.plot(grid, 100 * lines.mean(0), label=arm, **style)
        axis.fill_between(grid, *(100 * f(lines, 0) for f in (np.min, np.max)), alpha=0.15,
                          color=colours[i % 6], linewidth=0)
    axis.axhline(100 * REACHED, color=LIGHT, zorder=0)
    axis.set(xlabel="training step", ylim=(0, 102), xlim=(0, grid[-1]))
    axis.grid(axis="y")


@styled
def learning_curves(found: Curves) -> Picture:
    """Accuracy by training step, a panel for each task: the mean over the seeds and its range."""
    curves, table = found.curves, found.summary
    details = listed({task: rows for task, rows in table.groupby("task", sort=False)},
                     lambda rows: ", ".join(f"{r.arm} 90 % after {r._4} steps, final {r.final}"
                                            for r in rows.itertuples()))
    figure, shown = panels(
        12, 4.6 * -(-len(found.tasks) // 2), f"Accuracy while learning in the gym. {details}.",
        {task: curves[curves.task == task] for task in found.tasks}, columns=2, sharey=True)
    for axis, task, rows in shown:
        accuracy_lines(axis, rows, found.table[found.table.task == task].chance.iloc[0])
        axis.set(title=task)
    for axis, *_ in shown[::2]:
        seeds = len(found.seeds)
        axis.set_ylabel("accuracy in %\n" + (
            f"(mean and range of {seeds} seeds)" if seeds > 1 else "(one seed)"))
    handles, labels = shown[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))
    return figure


def phase_diagram(found: Phases) -> Picture:
    """The differences from the baseline: over the grid of two knobs, or by group of questions."""
    return _squares(found) if found.study.knobs else _intervals(found)


# Of each study, one cell and one arm besides the paper's part: (study, what the part does, cell,
# {arm: its name in the figure}).
SHOWN = (
    ("sync", "Synchronisation: picture and sound\nof a time step share a token",
     {"tokens": 1, "frames": 8}, {"sync=concat": "with", "sync=append": "without"}),
    ("windows", "Sliding windows: the same queries,\nfor three windows or for one",
     {"tasks": "before", "test_frames": 12},
     {"window_frames=4, num_queries=4": "with", "window_frames=24, num_queries=12": "without"}),
    ("attention", "Causal attention: a token also holds\nwhat came before (2 queries, 1 layer)",
     {"num_queries": 2, "layers": 1},
     {"attention=block_causal": "with", "attention=none": "without"}),
    ("weights", "Diversity loss: queries that differ\n(three times the usual learning rate)",
     {"lr": 6e-3, "num_queries": 16},
     {"diversity_weight=0.3": "with", "diversity_weight=0.0": "without"}))


@styled
def four_mechanisms() -> Picture:
    """What each of the paper's four parts does in the gym: learning curves with it and without, in
    one cell of the study that ships; all cells are in docs/results.md."""
    chosen = {}
    for name, title, cell, arms in SHOWN:
        found = shipped_study(name).cells[find_study(name).cells.index(cell)]
        curves = found.curves[found.curves.arm.isin(arms)]
        order = curves.arm.map({arm: i for i, arm in enumerate(arms)})
        curves = curves.assign(arm=curves.arm.map(arms)).iloc[order.argsort(kind="stable")]
        chosen[title] = curves, found.table.chance.iloc[0]
    details = {title.replace("\n", " "): ", ".join(
        f"{arm} {100 * c[c.step == c.step.max()].accuracy.mean():.0f} % at the end"
        for arm, c in curves.groupby("arm", sort=False)) for title, (curves, _) in chosen.items()}
    figure, shown = panels(12, 8, f"Accuracy while learning, with a mechanism and without: "
                           f"{listed(details)}.", chosen, columns=2, sharey=True)
    for axis, title, (curves, chance) in shown:
        accuracy_lines(axis, curves, chance)
        axis.set_title(title, fontsize=13)
    for axis, *_ in shown[::2]:
        axis.set_ylabel("accuracy in %\n(mean and range of 5 seeds)")
    figure.legend(*shown[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@styled
def _intervals(found: Phases) -> Picture:
    """A panel for each group of questions, a line with its interval for each arm."""
    rows, base = found.differences, found.cells[0].arms[0]
    groups = dict([*rows.groupby("questions", sort=False)])
    details = listed(groups, lambda part: ", ".join(
        f"{r.arm} {r.difference:+.1f} ({r.low:+.1f} to {r.high:+.1f})" for r in part.itertuples()))
    arms = found.cells[0].arms[1:]
    figure, shown = panels(
        12, 1.6 + 0.5 * len(arms), f"Difference from {base} in points of {found.study.score} "
        f"accuracy. {details}.", groups, columns=len(groups), sharey=True, sharex=True)
    for axis, title, part in shown:
        for r in part.itertuples():
            y, colour = arms.index(r.arm), STRONG if r.significant else INK
            axis.plot([r.low, r.high], [y, y], color=colour, linewidth=3 if r.significant else 1.5)
            axis.plot(r.difference, y, "o", color=colour, markersize=9 if r.significant else 6)
        axis.axvline(0, color=LIGHT, zorder=0)
        axis.set(title=textwrap.fill(title, 20), xlabel="points", yticks=range(len(arms)),
                 ylim=(len(arms) - 0.5, -0.5), yticklabels=[textwrap.fill(a, 24) for a in arms])
    figure.suptitle(textwrap.fill(
        f"{found.study.score} accuracy minus that of {base}, with its 95 % interval; thick and "
        "blue: significant after correction", 100), fontsize=12, weight="normal")
    return figure


@styled
def _squares(found: Phases) -> Picture:
    """A panel for each arm but the baseline, a square for each cell of the grid: the difference
    from the baseline in points, bold where it is significant after correction."""
    rows = found.differences
    (x, xs), (y, ys) = found.study.knobs.items()
    base = found.cells[0].arms[0]
    asked = rows.questions.nunique() > 1 and "tasks" not in found.study.knobs
    rows["panel"] = rows.arm + (", " + rows.questions if asked else "")
    panel = dict([*rows.groupby("panel", sort=False)])
    digits = "+.0f" if rows.difference.abs().max() > 10 else "+.1f"
    details = listed(panel, lambda part: ", ".join(
        f"{x} {getattr(r, x)} {y} {getattr(r, y)}: {r.difference:{digits}}"
        for r in part.itertuples()))
    columns = min(4, len(panel))
    figure, shown = panels(
        max(9.5, 3.2 * columns + 2), (1.1 + 0.95 * len(ys)) * -(-len(panel) // columns) + 0.9,
        f"Difference from {base} in points of {found.study.score} accuracy. {details}.", panel)
    most = max(10.0, rows.difference.abs().max())
    for axis, title, part in shown:
        square = np.full((len(ys), len(xs)), np.nan)
        for r in part.itertuples():
            at = ys.index(getattr(r, y)), xs.index(getattr(r, x))
            square[at] = r.difference
            axis.text(*at[::-1], f"{r.difference:{digits}}", ha="center", va="center", fontsize=15,
                      color="white" if abs(r.difference) > 0.55 * most else INK,
                      weight="bold" if r.significant else "normal")
            axis.text(at[1], at[0] + 0.33, f"{r.low:{digits}} to {r.high:{digits}}",
                      ha="center", va="center", fontsize=10,
                      color="white" if abs(r.difference) > 0.55 * most else INK)
        image = axis.imshow(square, cmap="RdBu", vmin=-most, vmax=most)
        axis.set(title=title, xticks=range(len(xs)), xticklabels=xs, yticks=range(len(ys)),
                 yticklabels=ys, xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    figure.colorbar(image, ax=[axis for axis, *_ in shown], shrink=0.8).set_label(
        "points of accuracy")
    figure.suptitle(textwrap.fill(
        f"{found.study.score} accuracy minus that of {base}, with its 95 % interval; bold: "
        "significant after correction", 80), fontsize=12, weight="normal")
    return figure
