"""The language model: a prompt's tokens, a low-rank update, and the words near queries."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from matplotlib.patches import Rectangle

from .style import (
    INK,
    LIGHT,
    MARK,
    STRONG,
    Picture,
    array,
    colour_legend,
    heatmap,
    listed,
    picture,
    styled,
)

KINDS = {"clip": (LIGHT, INK), "text": ("white", INK), "answer": (STRONG, "white"),
         "padding": ("#f3f3f3", "#8a8a8a")}  # kind of a token: colour of its box, of its text
WIDTH = 86  # characters of a row


@styled
def token_strip(rows: dict, title: str = "") -> Picture:
    """Tokens as boxes with their labels below; equal clip or padding tokens in a row share a box.

    Args:
        rows: by its name, a list of (token, kind, label); kinds are "clip", "text", "answer" and
            "padding".
    """
    lines = []  # (name, [(left, width, token, kind, label)])
    for name, tokens in rows.items():
        line, used = [], 0
        for _, group in groupby(
                enumerate(tokens), key=lambda t: t[1] if t[1][1] in ("clip", "padding") else t[0]):
            same = list(group)
            token, kind, label = same[0][1]
            token, label = f"{token} x {len(same)}" if len(same) > 1 else token, str(label)
            width = max(len(token), len(label)) + 2
            if used + width > WIDTH:
                lines.append((name, line))
                name, line, used = "", [], 0
            line.append((used, width, token, kind, label))
            used += width
        lines.append((name, line))
    details = listed(rows, lambda row: " ".join(t for t, *_ in row if t != "<av>"))
    figure = picture(
        14, 0.7 + 0.85 * len(lines) + 0.4 * bool(title), f"Tokens with their labels. {details}.")
    axis = figure.subplots()
    for row, (name, line) in enumerate(lines):
        axis.text(-1, row, name, ha="right", va="center", fontweight="bold")
        for left, width, token, kind, label in line:
            colour, ink = KINDS[kind]
            axis.barh(row, width - 0.4, left=left, height=0.5, color=colour, linewidth=1,
                      edgecolor=ink if kind == "padding" else INK)
            look = {"ha": "center", "va": "center", "family": "monospace"}
            axis.text(left + width / 2 - 0.2, row, token, color=ink, **look)
            axis.text(left + width / 2 - 0.2, row + 0.4, label, fontsize=9.5, **look)
    axis.set(
        xlim=(-1.3 * max(map(len, rows)) - 2, WIDTH), ylim=(len(lines) - 0.4, -0.5), title=title)
    axis.axis("off")
    used = {box[3] for _, line in lines for box in line}
    colour_legend(figure, {kind: colour for kind, (colour, _) in KINDS.items() if kind in used})
    return figure


@styled
def low_rank(change, rank: int) -> Picture:
    """A matrix, its best approximation of a rank, their difference, and the singular values.

    Args:
        change: (out, in), the wanted change of a weight.
    """
    change = array(change)
    left, sizes, right = np.linalg.svd(change, full_matrices=False)
    closest = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    missed = f"{np.square(change - closest).sum() / np.square(change).sum():.0%}"
    whole, few = change.size, rank * sum(change.shape)
    figure = picture(14, 4.6, (f"A change of {change.shape[0]} x {change.shape[1]} and its best "
                               f"approximation of rank {rank}: {few} numbers instead of {whole}, "
                               f"with {missed} of the squares missing."))
    axes, most = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.15)), np.abs(change).max()
    shown = {f"wanted: {whole} numbers": change, f"B A, rank {rank}: {few} numbers": closest,
             f"missing: {missed} of the squares": change - closest}
    for axis, (name, values) in zip(axes, shown.items(), strict=False):
        axis.imshow(values, vmin=-most, vmax=most, aspect="equal")
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=13)
    places = np.arange(1, min(len(sizes), 16) + 1)
    axes[3].bar(
        places, sizes[: len(places)], color=[STRONG if p <= rank else "white" for p in places])
    axes[3].set(xlabel="direction (blue: kept)", xlim=(0.3, len(places) + 0.7))
    axes[3].set_title("singular values", fontsize=13)
    return figure


@styled
def naming_map(cosines, queries: list[str], words: list[str], title: str = "") -> Picture:
    """Cosines of projected queries with words' embeddings; red: words a query was trained on.

    Args:
        cosines: (queries, words). queries: the words each was trained to name, as text. words: of
            the columns.
    """
    cosines = array(cosines)
    closest = ", ".join(f"{i + 1} {words[j]}" for i, j in enumerate(cosines.argmax(1)))
    figure = picture(13, 1.9 + 0.34 * len(queries), (f"{title}. Cosine similarity of projected "
        f"queries with words. The closest word of each query: {closest}."))
    axis = figure.subplots()
    drawn = heatmap(axis, cosines, vmin=0, vmax=max(0.01, float(cosines.max())))
    for i, named in enumerate(queries):
        for j in [j for j, word in enumerate(words) if word in named.split()]:
            axis.add_patch(Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=MARK,
                                     linewidth=2.2))
    axis.set_title(title)
    axis.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(queries)), [f"{i + 1}: {named}" for i, named in enumerate(queries)])
    figure.colorbar(drawn, ax=axis, label="cosine similarity", shrink=0.8)
    return figure
