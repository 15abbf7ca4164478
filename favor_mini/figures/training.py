"""A training run: its losses step by step, and accuracy per kind of question."""

from __future__ import annotations

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from .style import INK, LIGHT, MARK, SERIES, STRONG, Picture, inline, listed, picture, styled


@styled
def loss_curves(log: list[dict]) -> Picture:
    """The two parts of the loss over the steps of all stages.

    Args:
        log: entries of `training.finetune`; those with `stage`, `step`, `cross_entropy` and
            `diversity` are drawn.
    """
    stages, offset = {}, 0
    for name in dict.fromkeys(e["stage"] for e in log):
        last = max(e["step"] for e in log if e["stage"] == name)
        stages[name] = offset, offset + last, [
            e for e in log if e["stage"] == name and "cross_entropy" in e]
        offset += last
    details = listed(
        {name: entries for name, (*_, entries) in stages.items()
         if entries}, lambda e: (f"{e[0]['cross_entropy']:.2f} to {e[-1]['cross_entropy']:.2f}"))
    figure = picture(12, 6.4, f"Cross-entropy and diversity loss over {offset} training steps. "
                     f"Cross-entropy, {details}.")
    axes = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    for axis, part in zip(axes, ("cross_entropy", "diversity"), strict=True):
        for i, (name, (start, end, entries)) in enumerate(stages.items()):
            axis.plot([start + e["step"] for e in entries], [e[part] for e in entries],
                      color=STRONG, marker="o", markersize=4, linewidth=2, clip_on=False, zorder=3)
            if i % 2 == 0:
                axis.axvspan(start, end, color=LIGHT, alpha=0.45, linewidth=0)
            if axis is axes[0]:
                narrow = end - start < 0.2 * offset  # than its label: one row each
                axis.text(offset if narrow else (start + end) / 2,
                          1.02 + 0.07 * narrow * (len(stages) - 1 - i),
                          f"{name} ({end - start} steps)", ha="right" if narrow else "center",
                          va="bottom", fontweight="bold", transform=axis.get_xaxis_transform())
        axis.set_ylabel(part.replace("_", "-"))
    most = max(
        (e["cross_entropy"] for _, _, entries in stages.values() for e in entries), default=1.0)
    axes[0].set_ylim(0, 1.05 * most)
    axes[1].axhline(0, color=INK, linewidth=1, linestyle=":")
    axes[1].set(xlabel="training step", xlim=(0, max(offset, 1)))
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def score_bars(found: dict[str, list]) -> Picture:
    """Accuracy per kind of question as bars, with 95 % intervals and chance.

    Args:
        found: by the name of the model (at most three), its `evaluation.Score` rows.
    """
    by_name = {model: {score.name: score for score in rows} for model, rows in found.items()}
    scores = {name: score for rows in by_name.values() for name, score in rows.items()}
    details = inline(
        {model: rows["all"].accuracy for model, rows in by_name.items() if "all" in rows}, "{:.0%}")
    figure = picture(12, 2.0 + len(scores) * (0.17 + 0.17 * len(found)),
                     f"Accuracy per kind of question, as bars, with chance marked. Over all "
                     f"questions: {details}.")
    axis, places, height, halo = figure.subplots(), np.arange(len(scores)), 0.8 / len(
        found), "white"
    for i, (model, rows) in enumerate(by_name.items()):
        place, nothing = places - 0.4 + (i + 0.5) * height, (np.nan,) * 3
        value, low, high = np.array([(rows[n].accuracy, rows[n].low, rows[n].high) if n in rows
                                     else nothing for n in scores]).T
        axis.barh(place, value, height, color=SERIES[-len(found):][i], linewidth=0.7, label=model)
        axis.hlines(place, np.minimum(low, value), np.maximum(high, value), color=INK,
                    linewidth=1.6, label=None if i else "95 % interval",
                    path_effects=[withStroke(linewidth=4, foreground=halo)])
    axis.vlines([score.chance for score in scores.values()], places - 0.45, places + 0.45,
                color=MARK, linewidth=3.5,
                label="chance", zorder=3, path_effects=[withStroke(linewidth=6, foreground=halo)])
    axis.set_yticks(places, scores)
    axis.set(xlim=(0, 1), xlabel="accuracy", ylim=(len(scores) - 0.4, -0.6))
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(found) + 2)
    return figure
