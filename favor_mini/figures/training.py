"""A training run: its losses step by step, and accuracy per kind of question."""

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from .shapes import named_rows
from .style import INK, LIGHT, MARK, SERIES, STRONG, Picture, inline, listed, picture, styled


@styled
def loss_curves(log: list[dict]) -> Picture:
    """The two parts of the loss over the steps of all stages, from `training.finetune`'s log. In a
    stage "align" without labels, the first part is the loss of `training.alignment`."""
    stages, offset = {}, 0  # by name, first and last step and entries
    for name in dict.fromkeys(e["stage"] for e in log):
        entries = [e for e in log if e["stage"] == name]
        end = offset + max(e["step"] for e in entries)
        stages[name] = offset, end, [e for e in entries if "cross_entropy" in e]
        offset = end
    details = listed(
        {name: entries for name, (*_, entries) in stages.items() if entries},
        lambda e: f"{e[0]['cross_entropy']:.2f} to {e[-1]['cross_entropy']:.2f}")
    first = "cross-entropy" + " or alignment loss" * ("align" in stages)
    figure, axes = picture(
        12, 6.4, f"{first.capitalize()}, and diversity loss, over {offset} training steps. "
        f"{first.capitalize()}, {details}.", 2, sharex=True, height_ratios=(2, 1))
    for axis, part in zip(axes, ("cross_entropy", "diversity"), strict=True):
        for i, (start, end, entries) in enumerate(stages.values()):
            axis.plot([start + e["step"] for e in entries], [e[part] for e in entries],
                      color=STRONG, marker="o", markersize=4, clip_on=False, zorder=3)
            if i % 2 == 0:
                axis.axvspan(start, end, color=LIGHT, alpha=0.45, linewidth=0)
        axis.set_ylabel(first if part == "cross_entropy" else part)
    for i, (name, (start, end, _)) in enumerate(stages.items()):
        narrow = end - start < 0.2 * offset  # than its label: one row each
        axes[0].text(
            offset if narrow else (start + end) / 2, 1.02 + 0.07 * narrow * (len(stages) - 1 - i),
            f"{name} ({end - start} steps)", ha="right" if narrow else "center", va="bottom",
            fontweight="bold", transform=axes[0].get_xaxis_transform())
    most = max((e["cross_entropy"] for e in log if "cross_entropy" in e), default=1.0)
    axes[0].set_ylim(0, 1.05 * most)
    axes[1].axhline(0, color=INK, linestyle=":")
    axes[1].set(xlabel="training step", xlim=(0, max(offset, 1)))
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def score_bars(found: dict[str, list]) -> Picture:
    """Bars of `evaluation.Score` rows by model (at most three), with 95 % intervals and chance."""
    by_name = {model: {score.name: score for score in rows} for model, rows in found.items()}
    chances = {score.name: score.chance for rows in found.values() for score in rows}
    details = inline(
        {model: rows["all"].accuracy for model, rows in by_name.items() if "all" in rows}, "{:.0%}")
    figure, axis = picture(
        12, 2.0 + len(chances) * (0.17 + 0.17 * len(found)), f"Accuracy per kind of question, as "
        f"bars, with chance marked. Over all questions: {details}.")
    places, height = np.arange(len(chances)), 0.8 / len(found)
    halo = [withStroke(linewidth=6, foreground="white")]
    for i, (model, rows) in enumerate(by_name.items()):
        place = places - 0.4 + (i + 0.5) * height
        value, low, high = np.array(
            [[getattr(rows.get(name), part, np.nan) for name in chances]
             for part in ("accuracy", "low", "high")])
        axis.barh(place, value, height, color=SERIES[-len(found):][i], label=model)
        axis.hlines(place, low, high, color=INK, path_effects=halo,
                    label=None if i else "95 % interval")
    axis.vlines(list(chances.values()), places - 0.45, places + 0.45, color=MARK, linewidth=3.5,
                label="chance", zorder=3, path_effects=halo)
    named_rows(axis, chances)
    axis.set(xlim=(0, 1), xlabel="accuracy")
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(found) + 2)
    return figure
