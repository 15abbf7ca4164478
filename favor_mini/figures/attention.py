"""Attention: masks, receptive fields, one head by hand, and attention over a clip's frames."""

import textwrap

import numpy as np
from matplotlib.patheffects import withStroke

from ..attention import block_anticausal, block_causal, full
from .plots import matrices
from .shapes import arrow, boxes, named_bars
from .style import CENTRE, INK, LIGHT, MARK, Picture, array, inline, listed, picture, styled
from .timeline import frame_strip


def masks(num_frames: int = 4, step_tokens: int = 3) -> Picture:
    """The paper's attention mask, its reverse, and none. Dark: the query attends to the key."""
    allowed = {block_causal: "own frame and earlier ones",
               block_anticausal: "own frame and later ones", full: "the whole window"}
    return matrices(
        {f"{mask.__name__}: {which}": mask(num_frames, step_tokens)
         for mask, which in allowed.items()},
        x="key frame", y="query frame", blocks=step_tokens, legend=("attends", "masked"),
        alt=f"Three attention masks over {num_frames} frames of {step_tokens} tokens. Causal: a "
        "staircase, every token attends to its own frame and the earlier ones. Anticausal: the "
        "staircase mirrored, own frame and later ones. Full: every token attends to every token.")


def receptive_field(found: dict) -> Picture:
    """By title, booleans (encoded frame, changed frame): where a change was measured."""
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
        query, attended: (2,). keys, values: (M, 2). weights: (M,). names: of the M tokens.
    """
    query, keys, values, weights, attended = map(array, (query, keys, values, weights, attended))
    details = inline(dict(zip(names, weights, strict=True)), "{:.0%}")
    figure, (left, middle, right) = picture(
        13, 4.4, f"A query at ({query[0]:.2f}, {query[1]:.2f}) with attention weights {details}. "
        f"The weighted mean of the values is ({attended[0]:.2f}, {attended[1]:.2f}).", 1, 3)
    size = 1.5 * max(1.0, np.abs(query).max(), np.abs(keys).max())
    for tip, name in zip([*keys, query], [*names, "query"], strict=True):
        ink, weight = (MARK, "bold") if name == "query" else (INK, "normal")
        arrow(left, (0, 0), tip, ink)
        length = np.hypot(*tip)
        place = tip * (1 + 0.2 * size / length) if length else (0, -0.1 * size)
        left.text(*place, name, **CENTRE, color=ink, zorder=4, fontweight=weight,
                  path_effects=[withStroke(linewidth=4, foreground="white")])
    left.set(title="query and keys", xlim=(-size, size), ylim=(-size, size))
    named_bars(middle, names, weights, form="{:.0%}")
    middle.set(title="attention weights", xlim=(0, 1.2), xticks=(0, 0.5, 1))
    right.scatter(*values.T, s=40 + 600 * weights, color=LIGHT, edgecolor=INK, zorder=2)
    for value, name in zip(values, names, strict=True):
        right.annotate(name, value, xytext=(0, 24), textcoords="offset points", **CENTRE)
    right.scatter(*attended, s=190, marker="X", color=MARK, edgecolor="white", zorder=3)
    size = 1.45 * np.abs(values).max()
    right.set(title="values, their weighted mean (X)", xlim=(-size, size), ylim=(-size, size))
    for axis in (left, right):
        axis.axhline(0, color=LIGHT, zorder=0)
        axis.axvline(0, color=LIGHT, zorder=0)
        axis.set(xticks=[], yticks=[], aspect="equal")
    return figure


def attention_by_frame(shown: dict, title: str) -> Picture:
    """Attention (N, K) of each query to each frame of a window, by its title."""
    shown = {name: array(values) for name, values in shown.items()}
    rows, columns = next(iter(shown.values())).shape
    details = listed(shown, lambda values: ", ".join(map(str, values.argmax(1) + 1)))
    return matrices(
        shown, x="frame of the window", y="query", limits=(0, 1), numbers=False, title=title,
        ticks=(range(1, rows + 1), range(1, columns + 1)), label="share of attention",
        alt=f"Queries by frames, share of attention; the frame with most, query by query. "
        f"{details}.")


@styled
def query_attention(
        frames: np.ndarray, shares, visual_tokens: int, title: str,
        script: list[tuple[float, float, str, bool]]) -> Picture:
    """The frames of a window, its script, and the attention of one query to each frame.

    Args:
        frames: (K', H, W, 3) uint8; the last window may hold fewer than K frames.
        shares: (K, P), the query's attention to each token, with sum 1.
        visual_tokens: V; the first V tokens of a frame hold picture and sound, the others sound.
        script: events, each (first frame of this window, end, name, whether it is heard).
    """
    shares = array(shares)[: len(frames)]
    both, sound = shares[:, :visual_tokens].sum(1), shares[:, visual_tokens:].sum(1)
    best, rows = (both + sound).argmax(), (1.0, 0.95, 1.5) if script else (1.0, 1.5)
    events = "; ".join(f"frames {start + 1:.0f} to {end:.0f}: {'hear' if heard else 'see'} {name}"
                       for start, end, name, heard in script)
    figure, axes = picture(
        13, 1.1 + 1.5 * sum(rows), f"{title}: over {len(frames)} frames; most at frame {best + 1} "
        f"({both[best] + sound[best]:.0%}). Tokens with picture and sound {both.sum():.0%}, tokens "
        f"with sound only {sound.sum():.0%}. {events}.", len(rows), sharex=True, height_ratios=rows)
    strip, *_, chart = axes
    frame_strip(strip, frames)
    strip.set_title(textwrap.fill(title, 90))
    for *event, heard in script:
        y, height, colour = (0.16, 0.3, "white") if heard else (0.68, 0.62, LIGHT)
        boxes(axes[1], [event], y=y, height=height, colour=colour)
    for axis in axes[:-1]:
        axis.axis("off")
    places = np.arange(len(frames)) + 0.5
    chart.bar(places, both, label="tokens with picture and sound")
    chart.bar(places, sound, bottom=both, color="white", hatch="///",
              label="tokens with sound only")
    chart.set(ylim=(0, 1.02), xlim=(0, len(frames)), xlabel="frame of the window",
              ylabel="attention")
    chart.set_xticks(places, range(1, len(frames) + 1))
    chart.yaxis.set_major_formatter("{x:.0%}")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
