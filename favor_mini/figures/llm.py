"""The language model: a prompt's tokens, a low-rank update, and the words near queries."""

from itertools import groupby

import numpy as np
from matplotlib.patches import Rectangle

from .shapes import colour_legend, heatmap
from .style import CENTRE, INK, LIGHT, MARK, STRONG, Picture, array, listed, picture, styled

KINDS = {"clip": (LIGHT, INK), "text": ("white", INK), "answer": (STRONG, "white"),
         "padding": ("#f3f3f3", "#8a8a8a")}  # kind of a token: colour of its box, of its text
WIDTH = 86  # characters of a row


@styled
def token_strip(rows: dict, title: str) -> Picture:
    """Tokens in boxes, with labels: by row, (token, kind, label); equal clip tokens share a box."""
    lines = []  # (name, [(left, width, token, kind, label)])
    for name, tokens in rows.items():
        line, used = [], 0
        for _, group in groupby(
                enumerate(tokens), key=lambda t: t[1] if t[1][1] in ("clip", "padding") else t[0]):
            (_, (token, kind, label)), *others = group
            token, label = token + (f" x {1 + len(others)}" if others else ""), str(label)
            width = max(len(token), len(label)) + 2
            if used + width > WIDTH:
                lines.append((name, line))
                name, line, used = "", [], 0
            line.append((used, width - 0.4, token, kind, label))
            used += width
        lines.append((name, line))
    details = listed(rows, lambda row: " ".join(t for t, *_ in row if t != "<av>"))
    figure, axis = picture(14, 1.1 + 0.85 * len(lines), f"Tokens with their labels. {details}.")
    for row, (name, line) in enumerate(lines):
        axis.text(-1, row, name, ha="right", va="center", fontweight="bold")
        for left, width, token, kind, label in line:
            colour, ink = KINDS[kind]
            axis.barh(row, width, 0.5, left=left, color=colour)
            look = {**CENTRE, "family": "monospace"}
            axis.text(left + width / 2, row, token, color=ink, **look)
            axis.text(left + width / 2, row + 0.4, label, fontsize=9.5, **look)
    axis.set(
        xlim=(-1.3 * max(map(len, rows)) - 2, WIDTH), ylim=(len(lines) - 0.4, -0.5), title=title)
    axis.axis("off")
    used = {kind for tokens in rows.values() for _, kind, _ in tokens}
    colour_legend(figure, {kind: KINDS[kind][0] for kind in KINDS if kind in used})
    return figure


@styled
def low_rank(change, rank: int) -> Picture:
    """A matrix (out, in), its best approximation of a rank, difference, and singular values."""
    change = array(change)
    left, sizes, right = np.linalg.svd(change, full_matrices=False)
    closest = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    missed = f"{np.square(change - closest).sum() / np.square(change).sum():.0%}"
    whole, few = change.size, rank * sum(change.shape)
    figure, axes = picture(
        14, 4.6, f"A change of {change.shape[0]} x {change.shape[1]} and its best approximation of "
        f"rank {rank}: {few} numbers instead of {whole}, with {missed} of the squares missing.",
        1, 4, width_ratios=(1, 1, 1, 1.15))
    most = np.abs(change).max()
    shown = {f"wanted: {whole} numbers": change, f"B A, rank {rank}: {few} numbers": closest,
             f"missing: {missed} of the squares": change - closest}
    for axis, (name, values) in zip(axes, shown.items(), strict=False):
        axis.imshow(values, vmin=-most, vmax=most, aspect="equal")
        axis.set(xticks=[], yticks=[], title=name)
    places = np.arange(1, min(len(sizes), 16) + 1)
    axes[3].bar(places, sizes[:len(places)], color=np.where(places <= rank, STRONG, "white"))
    axes[3].set(title="singular values", xlabel="direction (blue: kept)",
                xlim=(0.3, len(places) + 0.7))
    return figure


@styled
def naming_map(cosines, queries: list[str], words: list[str], title: str) -> Picture:
    """Cosines of projected queries with words' embeddings; red: words a query was trained on.

    Args:
        cosines: (queries, words). queries: the words that each was trained to name, as text.
    """
    cosines = array(cosines)
    closest = ", ".join(f"{i + 1} {words[j]}" for i, j in enumerate(cosines.argmax(1)))
    figure, axis = picture(
        13, 1.9 + 0.34 * len(queries), f"{title}. Cosine similarity of projected queries with "
        f"words. The closest word of each query: {closest}.")
    drawn = heatmap(axis, cosines, [f"{i}: {named}" for i, named in enumerate(queries, 1)],
                    vmin=0, vmax=max(0.01, cosines.max()))
    for i, named in enumerate(queries):
        for j, word in enumerate(words):
            if word in named.split():
                axis.add_patch(Rectangle(
                    (j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=MARK, linewidth=2.2))
    axis.set_title(title)
    axis.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")
    figure.colorbar(drawn, ax=axis, label="cosine similarity", shrink=0.8)
    return figure
