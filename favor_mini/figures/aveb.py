"""Mini-AVEB: questions with their media, the counting of word errors, and the scores."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from ..aveb.benchmark import CONSTANT, GUESS, LOW_IS_GOOD, Results
from ..aveb.predict import MODELS
from ..storage import atomic_write
from ..world.tasks import TASKS
from .style import INK, LIGHT, MARK, STRONG, Picture, picture, png, styled
from .timeline import log_mel


def _mosaic(frames: np.ndarray) -> np.ndarray:
    """An image, or four frames of a video in two rows of two."""
    if len(frames) < 4:
        return frames[0]
    a, b, c, d = frames[np.linspace(0, len(frames) - 1, 4).round().astype(int)]
    return np.vstack([np.hstack([a, b]), np.hstack([c, d])])


@styled
def gallery(shown: dict, *, columns: int = 4) -> Picture:
    """Questions with their media side by side: frames (four of a video) and spectrogram.

    Args:
        shown: by its title, (clip, question, answer) each.
    """
    columns = min(columns, len(shown))
    rows, details = -(-len(shown) // columns), []
    for title, (clip, question, answer) in shown.items():
        media = [name for name, part in (("picture", clip.frames), ("sound", clip.waveform))
                 if len(part)]
        details.append(f"{title}: {' and '.join(media)}, question {question!r}, answer {answer!r}")
    figure = picture(3.5 * columns, 3.5 * rows, f"One question of each of {len(shown)} tasks with "
                     f"its media. {'; '.join(details)}.")
    cells = figure.add_gridspec(rows, columns)
    for cell, (title, (clip, question, answer)) in zip(cells, shown.items(), strict=False):
        seen, heard = len(clip.frames) > 0, len(clip.waveform) > 0
        heights = (1.7, 1) if seen and heard else (1, 0.001) if seen else (0.001, 1)
        top, bottom = cell.subgridspec(2, 1, height_ratios=heights).subplots()
        if seen:
            top.imshow(_mosaic(clip.frames), aspect="equal")
        if heard:
            log_mel(bottom, clip, bands=60)
        for axis in (top, bottom):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        top.set_title(textwrap.fill(title, 26), fontsize=13)
        bottom.set_xlabel(textwrap.fill(question, 34) + "\n" + textwrap.fill(f"> {answer}", 34),
                          fontsize=10.5, linespacing=1.1)
    return figure


def alignment(predicted: list[str], reference: list[str]) -> tuple[np.ndarray,
                                                                   list[tuple[int, int]]]:
    """Edit distances of the beginnings of two word lists, and a cheapest path through their table.

    Returns:
        (len(reference) + 1, len(predicted) + 1) distances; the path's (row, column) cells.
    """
    table = np.add.outer(np.arange(len(reference) + 1), np.arange(len(predicted) + 1))
    for i, word in enumerate(reference, 1):
        for j, other in enumerate(predicted, 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (word != other))
    path = [(len(reference), len(predicted))]
    while path[-1] != (0, 0):
        i, j = path[-1]
        costs = {(i - 1, j - 1): i and j and reference[i - 1] != predicted[j - 1], (i - 1, j): 1,
                 (i, j - 1): 1}
        path.append(next(cell for cell, cost in costs.items()
                         if min(cell) >= 0 and table[cell] + cost == table[i, j]))
    return table, path[::-1]


@styled
def word_errors_table(predicted: str, reference: str) -> Picture:
    """The table of edit distances with a cheapest path: down a deletion, right an insertion."""
    table, path = alignment(predicted.split(), reference.split())
    figure = picture(2.2 + 1.15 * table.shape[1], 1.4 + 0.62 * table.shape[0],
                     (f"Table of edit distances between the reference {reference!r} and the "
                      f"prediction {predicted!r}: {table[-1, -1]} errors. The path is "
                      f"{', '.join(f'row {i} column {j}' for i, j in path)}."))
    axis = figure.subplots()
    axis.imshow(np.zeros(table.shape), cmap="Greys", vmin=0, vmax=1)
    for (k, m), (i, j) in zip([path[0], *path], path, strict=False):
        costly = table[i, j] > table[k, m]
        axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1,
                                 facecolor="#f3c9cb" if costly else LIGHT, edgecolor="none"))
        if costly:
            name = "substitution" if i > k and j > m else "deletion" if i > k else "insertion"
            axis.text(j + 0.46, i + 0.42, name, ha="right", va="bottom", fontsize=10, color=MARK)
    for i, j in np.ndindex(table.shape):
        axis.text(j, i, table[i, j], ha="center", va="center", fontsize=15,
                  fontweight="bold" if (i, j) in path else "normal")
    axis.set_xticks(range(table.shape[1]), ["(nothing)", *predicted.split()])
    axis.set_yticks(range(table.shape[0]), ["(nothing)", *reference.split()])
    axis.set_ylabel("reference")
    axis.set_xlabel("prediction", labelpad=10)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


@styled
def benchmark_scores(results: Results) -> Picture:
    """Every task's score from 0 to 1: accuracy, 1 - word error rate, or a tenth of CIDEr-D."""
    table = results.table
    tasks = list(dict.fromkeys(table.task))
    figure = picture(12, 1.5 + 0.5 * len(tasks), "Mini-AVEB: " + "; ".join(
        f"{r.task} {r.value:.2f} {r.metric}" for r in table[table.model == MODELS[0]].itertuples())
                     + ".")
    axis = figure.subplots()
    shift = (0, -0.16, 0.16, -0.16, 0.16)  # keeps the marks of equal scores apart
    for model, mark, colour, up in zip((*MODELS, CONSTANT, GUESS), "os^Dv",
                                       (STRONG, MARK, *["white"] * 3), shift, strict=True):
        rows = table[table.model == model]
        place = [tasks.index(task) + up for task in rows.task]
        value, low, high = (_share(rows.metric, rows[field]) for field in ("value", "low", "high"))
        if model == MODELS[0]:
            axis.hlines(place, np.minimum(low, high), np.maximum(low, high), color=INK, linewidth=2)
        axis.scatter(value, place, s=90, marker=mark, color=colour, edgecolor=INK, linewidth=1.4,
                     zorder=3, label=model)
    axis.set_yticks(range(len(tasks)), [f"{task}: {TASKS[task].title}" for task in tasks])
    axis.set(ylim=(len(tasks) - 0.5, -0.5), xlim=(-0.03, 1.03),
             xlabel="accuracy; 1 - word error rate; CIDEr-D / 10\n(a caption equal to the first "
             "of its references has 0.6 to 0.8)")
    axis.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=5)
    return figure


def _share(metrics, values) -> np.ndarray:
    """Scores of different metrics on one scale from 0 to 1; greater is better."""
    return np.array([max(0, 1 - v) if m in LOW_IS_GOOD else v / 10 if m == "CIDEr" else v
                     for m, v in zip(metrics, values, strict=True)])


def save_benchmark(results: Results, file) -> None:
    """Write the figure of all tasks as a PNG file."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(Path(file)) as unfinished:
        unfinished.write_bytes(png(benchmark_scores(results)))
