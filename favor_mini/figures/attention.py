"""Attention: masks, receptive fields, one head by hand, and attention over a clip's frames."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.patheffects import withStroke

from ..attention import block_anticausal, block_causal, full
from .plots import matrices
from .style import (
    INK,
    LIGHT,
    MARK,
    STRONG,
    Picture,
    array,
    boxes,
    inline,
    listed,
    named_bars,
    picture,
    styled,
)


def masks(num_frames: int = 4, step_tokens: int = 3) -> Picture:
    """The paper's attention mask, its reverse, and none. Dark: the query attends to the key."""
    allowed = {block_causal: "own frame and earlier ones",
               block_anticausal: "own frame and later ones", full: "the whole window"}
    shown = {f"{mask.__name__}: {which}": mask(num_frames, step_tokens)
             for mask, which in allowed.items()}
    return matrices(
        shown, x="key frame", y="query frame", blocks=step_tokens, legend=("attends", "masked"),
        alt=f"Three attention masks over {num_frames} frames of {step_tokens} tokens. Causal: a "
        f"staircase, every token attends to its own frame and the earlier ones. Anticausal: the "
        f"staircase mirrored, own frame and later ones. Full: every token attends to every token.")


def receptive_field(found: dict) -> Picture:
    """Which frame's encoding changes with another frame, measured; dark: it changes.

    Args:
        found: by its title, a boolean (encoded frame, changed frame) array, as
            `lab.contract.Report.receptive_field`.
    """
    def text(square) -> str:
        return ", ".join(
            f"frame {i + 1} changes with {', '.join(str(j + 1) for j in np.flatnonzero(row))}"
            for i, row in enumerate(square))

    return matrices(
        {name: np.asarray(square, bool) for name, square in found.items()}, x="changed frame",
        y="encoded frame", blocks=1, legend=("changes", "does not change"),
        alt=f"Measured temporal receptive field. {listed(found, text)}.")


@styled
def one_query(query, keys, values, weights, attended, names: list[str]) -> Picture:
    """One query of one head in the plane: keys, attention weights, values and their weighted mean.

    Args:
        query: (2,). keys, values: (M, 2). weights: (M,), with sum 1. attended: (2,), the weighted
            mean of the values.
        names: of the M tokens.
    """
    query, keys, values, weights, attended = map(array, (query, keys, values, weights, attended))
    details = inline(dict(zip(names, weights, strict=True)), "{:.0%}")
    figure = picture(
        13, 4.4, f"A query at ({query[0]:.2f}, {query[1]:.2f}) with attention weights {details}. "
        f"The weighted mean of the values is ({attended[0]:.2f}, {attended[1]:.2f}).")
    left, middle, right = figure.subplots(1, 3)
    size = 1.5 * max(1.0, np.abs(query).max(), np.abs(keys).max())
    arrows = [*((key, name, INK, 2.0) for key, name in zip(keys, names, strict=True)),
              (query, "query", MARK, 3.5)]
    for tip, name, ink, width in arrows:
        left.annotate("", tip, (0, 0), arrowprops={
            "arrowstyle": "->", "color": ink, "linewidth": width, "shrinkA": 0, "shrinkB": 0})
        length = np.hypot(*tip)
        place = tip / length * (length + 0.2 * size) if length else np.array([0.0, -0.1 * size])
        left.text(*place, name, ha="center", va="center", color=ink, zorder=4,
                  fontweight="bold" if name == "query" else "normal",
                  path_effects=[withStroke(linewidth=4, foreground="white")])
    left.set(title="query and keys", xlim=(-size, size), ylim=(-size, size), aspect="equal")
    named_bars(middle, names, weights, form="{:.0%}")
    middle.set(title="attention weights", xlim=(0, 1.2), xticks=(0, 0.5, 1))
    right.scatter(*values.T, s=40 + 600 * weights, color=LIGHT, edgecolor=INK, zorder=2)
    for value, name in zip(values, names, strict=True):
        right.annotate(
            name, value, xytext=(0, 24), textcoords="offset points", ha="center", va="center")
    right.scatter(*attended, s=190, marker="X", color=MARK, edgecolor="white", zorder=3)
    size = 1.45 * np.abs(values).max()
    right.set(title="values, their weighted mean (X)", xlim=(-size, size), ylim=(-size, size),
              aspect="equal")
    for axis in (left, right):
        axis.axhline(0, color=LIGHT, linewidth=1, zorder=0)
        axis.axvline(0, color=LIGHT, linewidth=1, zorder=0)
        axis.set(xticks=[], yticks=[])
    return figure


def attention_by_frame(shown: dict, title: str = "") -> Picture:
    """Each query's attention to each frame of a window; brighter means more.

    Args:
        shown: by its title, (N, K): query by frame, each row with sum 1.
    """
    maps = {name: array(values) for name, values in shown.items()}
    rows, columns = next(iter(maps.values())).shape
    details = listed(maps, lambda values: ", ".join(map(str, values.argmax(1) + 1)))
    return matrices(maps, x="frame of the window", y="query", limits=(0, 1), numbers=False,
                    title=title, ticks=(range(1, rows + 1), range(1, columns + 1)),
                    label="share of attention", alt=f"Queries by frames, share of attention; the "
                    f"frame with most, query by query. {details}.")


@styled
def query_attention(frames: np.ndarray, shares, visual_tokens: int, title: str,
                    script: list[tuple[float, float, str, bool]] = ()) -> Picture:
    """The frames of a window, its script, and the attention of one query to each frame.

    Args:
        frames: (K', H, W, 3) uint8; the last window may hold fewer than K frames.
        shares: (K, P), the query's attention to each token, with sum 1.
        visual_tokens: V; the first V tokens of a frame hold picture and sound, the others hold
            sound only.
        script: (first frame, end, name, whether it is heard) of the events, in frames of this
            window.
    """
    shares = array(shares)[: len(frames)]
    both, sound = shares[:, :visual_tokens].sum(1), shares[:, visual_tokens:].sum(1)
    best, rows = int((both + sound).argmax()), (1.0, 0.95, 1.5) if script else (1.0, 1.5)
    events = "; ".join(f"frames {start + 1:.0f} to {end:.0f}: {'hear' if heard else 'see'} {name}"
                       for start, end, name, heard in script)
    figure = picture(13, 1.1 + 1.5 * sum(rows), (f"{title}: over {len(frames)} frames; most at "
        f"frame {best + 1} ({both[best] + sound[best]:.0%}). Tokens with picture and sound "
        f"{both.sum():.0%}, tokens with sound only {sound.sum():.0%}. {events}."))
    axes = figure.subplots(len(rows), sharex=True, height_ratios=rows)
    axes[0].imshow(np.concatenate(list(frames), axis=1), extent=(0, len(frames), 0, 1))
    for border in range(len(frames) + 1):
        axes[0].axvline(border, color="white", linewidth=2)
    for *event, heard in script:
        look = {"y": 0.16, "height": 0.3, "colour": "white"} if heard else {"y": 0.68,
                                                                            "height": 0.62}
        boxes(axes[1], [event], **look)
    places = np.arange(len(frames)) + 0.5
    axes[-1].bar(places, both, 0.8, color=STRONG, label="tokens with picture and sound")
    axes[-1].bar(
        places, sound, 0.8, bottom=both, color="white", hatch="///", label="tokens with sound only")
    axes[-1].set(
        ylim=(0, 1.02), xlim=(0, len(frames)), xlabel="frame of the window", ylabel="attention")
    axes[-1].set_xticks(places, range(1, len(frames) + 1))
    axes[-1].yaxis.set_major_formatter("{x:.0%}")
    for axis in axes[:-1]:
        axis.set_yticks([])
        axis.tick_params(axis="x", length=0)
        axis.spines[:].set_visible(False)
    axes[0].set_title(textwrap.fill(title, 90))
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
