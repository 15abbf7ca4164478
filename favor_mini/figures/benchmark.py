"""The benchmark's table as a figure."""

from pathlib import Path

import numpy as np

from ..aveb.benchmark import CONSTANT, GUESS, Results, _share
from ..aveb.run import MODELS
from ..storage import atomic_write
from ..world.tasks import TASKS
from .style import INK, MARK, STRONG, Picture, picture, png, styled


@styled
def draw(results: Results) -> Picture:
    """Every task's score on one scale (right answers, 1 - word errors, a tenth of CIDEr-D), model by model."""
    table = results.table
    tasks = list(dict.fromkeys(table.task))
    figure = picture(12, 1.5 + 0.5 * len(tasks), "Mini-AVEB: " + "; ".join(
        f"{r.task} {r.value:.2f} {r.metric}" for r in table[table.model == MODELS[0]].itertuples()) + ".")
    axis = figure.subplots()
    apart = (0, -0.16, 0.16, -0.16, 0.16)  # where models score alike, their marks stay apart
    for model, mark, colour, beside in zip((*MODELS, CONSTANT, GUESS), "os^Dv", (STRONG, MARK, *["white"] * 3), apart, strict=True):
        rows = table[table.model == model]
        place = [tasks.index(task) + beside for task in rows.task]
        value, low, high = (_share(rows.metric, rows[field]) for field in ("value", "low", "high"))
        if model == MODELS[0]:
            axis.hlines(place, np.minimum(low, high), np.maximum(low, high), color=INK, linewidth=2)
        axis.scatter(value, place, s=90, marker=mark, color=colour, edgecolor=INK, linewidth=1.4, zorder=3, label=model)
    axis.set(yticks=range(len(tasks)), ylim=(len(tasks) - 0.5, -0.5), xlim=(-0.03, 1.03),
             xlabel="accuracy; 1 - word error rate; CIDEr-D / 10\n(a caption just like the first of its references has 0.6 to 0.8)")
    axis.set_yticklabels([f"{task}: {TASKS[task].title}" for task in tasks])
    axis.grid(axis="x", color="#dddddd")
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    return figure


def save(results: Results, file) -> None:
    """Write the figure as a PNG file."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(Path(file)) as unfinished:
        unfinished.write_bytes(png(draw(results)))
