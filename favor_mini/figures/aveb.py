"""Mini-AVEB: questions with their media, the counting of word errors, and the scores."""

import textwrap

import numpy as np
from matplotlib.colors import ListedColormap

from ..aveb.benchmark import CONSTANT, GUESS, LOW_IS_GOOD, Results
from ..aveb.predict import MODELS
from ..world.tasks import TASKS
from .shapes import heatmap, named_rows
from .style import CENTRE, INK, LIGHT, MARK, STRONG, Picture, panels, picture, save, styled
from .timeline import log_mel


@styled
def gallery(shown: dict) -> Picture:
    """Questions with their media: by title, (clip, question, answer); four frames of a video."""
    details = []
    for title, (clip, question, answer) in shown.items():
        media = [name for name, part in (("picture", clip.frames), ("sound", clip.waveform))
                 if len(part)]
        details.append(f"{title}: {' and '.join(media)}, question {question!r}, answer {answer!r}")
    count = len(shown)
    figure, cells = panels(
        3.5 * min(4, count), 3.5 * -(-count // 4),
        f"One question of each of {count} tasks with its media. {'; '.join(details)}.", shown)
    for cell, title, (clip, question, answer) in cells:
        cell.set_axis_off()
        seen, heard = len(clip.frames) > 0, len(clip.waveform) > 0
        heights = (1.7, 1) if seen and heard else (1, 0.001) if seen else (0.001, 1)
        top, bottom = cell.get_subplotspec().subgridspec(2, 1, height_ratios=heights).subplots()
        if seen:
            image, last = clip.frames[0], len(clip.frames) - 1
            if last > 2:  # four frames of a video in two rows of two
                four = clip.frames[np.linspace(0, last, 4).round().astype(int)]
                image = np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])
            top.imshow(image, aspect="equal")
        if heard:
            log_mel(bottom, clip, bands=60)
        for axis in (top, bottom):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        top.set_title(textwrap.fill(title, 26))
        bottom.set_xlabel(textwrap.fill(question, 34) + "\n" + textwrap.fill(f"> {answer}", 34),
                          fontsize=10.5, linespacing=1.1)
    return figure


def _alignment(
        predicted: list[str], reference: list[str]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Edit distances of the beginnings of two word lists, and the cells of a cheapest path."""
    table = np.indices((len(reference) + 1, len(predicted) + 1)).sum(0)
    for i, word in enumerate(reference, 1):
        for j, other in enumerate(predicted, 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (word != other))
    path = [(len(reference), len(predicted))]
    while path[-1] != (0, 0):
        i, j = path[-1]
        differ = i and j and reference[i - 1] != predicted[j - 1]
        costs = {(i - 1, j - 1): differ, (i - 1, j): 1, (i, j - 1): 1}
        path.append(next(cell for cell, cost in costs.items()
                         if min(cell) >= 0 and table[cell] + cost == table[i, j]))
    return table, path[::-1]


@styled
def word_errors_table(predicted: str, reference: str) -> Picture:
    """The table of edit distances with a cheapest path: down a deletion, right an insertion."""
    columns, rows = predicted.split(), reference.split()
    table, path = _alignment(columns, rows)
    figure, axis = picture(
        2.2 + 1.15 * table.shape[1], 1.4 + 0.62 * table.shape[0],
        f"Table of edit distances between the reference {reference!r} and the prediction "
        f"{predicted!r}: {table[-1, -1]} errors. The path is "
        f"{', '.join(f'row {i} column {j}' for i, j in path)}.")
    cells = np.full(table.shape, np.nan)
    for (k, m), (i, j) in zip([path[0], *path], path, strict=False):
        cells[i, j] = table[i, j] > table[k, m]
        if cells[i, j]:
            name = "substitution" if i > k and j > m else "deletion" if i > k else "insertion"
            axis.text(j + 0.46, i + 0.42, name, ha="right", va="bottom", fontsize=10, color=MARK)
    heatmap(axis, cells, ["(nothing)", *rows], ["(nothing)", *columns], vmin=0, vmax=1,
            cmap=ListedColormap([LIGHT, "#f3c9cb"]))
    for (i, j), errors in np.ndenumerate(table):
        axis.text(j, i, errors, **CENTRE, fontsize=15,
                  fontweight="bold" if (i, j) in path else "normal")
    axis.set_ylabel("reference")
    axis.set_xlabel("prediction", labelpad=10)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.spines[:].set_visible(False)
    return figure


@styled
def benchmark_scores(results: Results) -> Picture:
    """Every task's score from 0 to 1: accuracy, 1 - word error rate, or a tenth of CIDEr-D."""
    table = results.table
    tasks = list(table.task.unique())
    details = "; ".join(f"{r.task} {r.value:.2f} {r.metric}"
                        for r in table[table.model == MODELS[0]].itertuples())
    figure, axis = picture(12, 1.5 + 0.5 * len(tasks), f"Mini-AVEB: {details}.")
    shift = (0, -0.16, 0.16, -0.16, 0.16)  # keeps the marks of equal scores apart
    for model, mark, colour, up in zip((*MODELS, CONSTANT, GUESS), "os^Dv",
                                       (STRONG, MARK, *["white"] * 3), shift, strict=True):
        rows = table[table.model == model]
        place = [tasks.index(task) + up for task in rows.task]
        value, low, high = (  # on one scale from 0 to 1; greater is better
            [max(0, 1 - v) if m in LOW_IS_GOOD else v / 10 if m == "CIDEr" else v
             for m, v in zip(rows.metric, rows[field], strict=True)]
            for field in ("value", "low", "high"))
        if model == MODELS[0]:
            axis.hlines(place, low, high, color=INK)
        axis.scatter(value, place, s=90, marker=mark, c=colour, zorder=3, label=model)
    named_rows(axis, [f"{task}: {TASKS[task].title}" for task in tasks], 60)
    axis.set(xlim=(-0.03, 1.03), xlabel="accuracy; 1 - word error rate; CIDEr-D / 10\n(a caption "
             "equal to the first of its references has 0.6 to 0.8)")
    axis.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=5)
    return figure


def save_benchmark(results: Results, file) -> None:
    """Write the figure of all tasks as a PNG file."""
    save(benchmark_scores(results), file)
