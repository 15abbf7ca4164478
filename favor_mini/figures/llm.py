"""Figures of the notebook on the language model: a prompt's tokens, a change of low rank, and which words vectors are close to."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from matplotlib.patches import Patch, Rectangle

from .plots import array
from .style import EVEN, INK, LIGHT, MARK, STRONG, Picture, picture, styled

KINDS = {"clip": (LIGHT, INK), "text": ("white", INK), "answer": (STRONG, "white"), "padding": ("#f3f3f3", "#8a8a8a")}
WIDE = 86  # characters of a row


@styled
def token_strip(rows: dict, title: str = "") -> Picture:
    """Tokens as boxes, their labels below them; equal clip tokens that follow one another share a box.

    Args:
        rows: by its name, a list of (token, kind, label); kinds are "clip", "text", "answer" and "padding".
    """
    lines = []
    for name, tokens in rows.items():
        boxes = []
        for _, group in groupby(enumerate(tokens), key=lambda t: t[1] if t[1][1] in ("clip", "padding") else t[0]):
            same = [token for _, token in group]
            token, kind, label = same[0]
            boxes.append((f"{token} x {len(same)}" if len(same) > 1 else token, kind, str(label)))
        line, used = [], 0
        for box in boxes:
            size = max(len(box[0]), len(box[2])) + 2
            if used + size > WIDE:
                lines.append((name, line))
                name, line, used = "", [], 0
            line.append((used, size, *box))
            used += size
        lines.append((name, line))
    told = "; ".join(f"{name}: {' '.join(t for t, *_ in tokens if t != '<av>')}" for name, tokens in rows.items())
    figure = picture(14, 0.7 + 0.85 * len(lines) + 0.4 * bool(title), f"Tokens with their labels. {told}.")
    axis = figure.subplots()
    for row, (name, line) in enumerate(lines):
        axis.text(-1, row, name, ha="right", va="center", fontweight="bold", fontsize=12)
        for left, size, token, kind, label in line:
            colour, ink = KINDS[kind]
            axis.barh(row, size - 0.4, left=left, height=0.5, color=colour, edgecolor=ink if kind == "padding" else INK, linewidth=1)
            axis.text(left + size / 2 - 0.2, row, token, ha="center", va="center", color=ink, fontsize=11.5, family="monospace")
            axis.text(left + size / 2 - 0.2, row + 0.4, label, ha="center", va="center", fontsize=9.5, family="monospace")
    there = {box[3] for _, line in lines for box in line}
    longest = max(len(name) for name in rows)
    axis.set(xlim=(-1.3 * longest - 2, WIDE), ylim=(len(lines) - 0.4, -0.5), title=title)
    axis.axis("off")
    figure.legend(handles=[Patch(facecolor=KINDS[kind][0], edgecolor=INK, label=kind) for kind in KINDS if kind in there],
                  loc="outside lower center", ncols=4, frameon=False)
    return figure


@styled
def low_rank(change, rank: int) -> Picture:
    """A matrix, the closest one of a rank, what is left, and the numbers that either takes.

    Args:
        change: (out, in), what a weight should change by.
    """
    change = array(change)
    left, sizes, right = np.linalg.svd(change, full_matrices=False)
    closest = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    missed = float(np.square(change - closest).sum() / np.square(change).sum())
    whole, few = change.size, rank * sum(change.shape)
    figure = picture(14, 4.6, (
        f"A change of {change.shape[0]} x {change.shape[1]} and the closest one of rank {rank}: {few} numbers in place of {whole}, "
        f"{missed:.0%} of the squares are missed."))
    reach = np.abs(change).max()
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.15))
    shown = {f"wanted: {whole} numbers": change, f"B A, rank {rank}: {few} numbers": closest,
             f"left out: {missed:.0%} of the squares": change - closest}
    for axis, (name, values) in zip(axes, shown.items(), strict=False):
        axis.imshow(values, cmap=EVEN, vmin=-reach, vmax=reach)
        axis.set(title=name, xticks=[], yticks=[])
        axis.title.set_fontsize(13)
    places = np.arange(1, min(len(sizes), 16) + 1)
    axes[3].bar(places, sizes[: len(places)], color=[STRONG if p <= rank else "white" for p in places], edgecolor=INK)
    axes[3].set(title="directions by size", xlabel="direction (blue: kept)", xlim=(0.3, len(places) + 0.7))
    axes[3].title.set_fontsize(13)
    return figure


@styled
def naming_map(cosines, queries: list[str], words: list[str], title: str = "") -> Picture:
    """How close each projected query is to some words' embeddings; a red frame where it was taught to name the word.

    Args:
        cosines: (queries, words). queries: what each was taught to name, as text. words: of the columns.
    """
    cosines = array(cosines)
    right = [[word in taught.split() for word in words] for taught in queries]
    best = ", ".join(f"{i + 1} {words[j]}" for i, j in enumerate(cosines.argmax(1)))
    figure = picture(13, 1.9 + 0.34 * len(queries),
                      f"{title}. Cosine of projected queries with words. The closest word of each query: {best}.")
    axis = figure.subplots()
    drawn = axis.imshow(cosines, cmap=EVEN, vmin=0, vmax=max(0.01, float(cosines.max())), aspect="auto")
    for i, j in np.argwhere(right):
        axis.add_patch(Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=MARK, linewidth=2.2))
    axis.set(xticks=range(len(words)), yticks=range(len(queries)), title=title)
    axis.set_xticklabels(words, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticklabels([f"{i + 1}: {taught}" for i, taught in enumerate(queries)], fontsize=11.5)
    axis.tick_params(length=0)
    figure.colorbar(drawn, ax=axis, label="cosine", shrink=0.8)
    return figure
