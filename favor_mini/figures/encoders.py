"""Figures about the encoders: how a frame is cut into patches, what probes read at which place, and how they read a clip."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np

from .plots import COLOURS, DASHES, MARKERS
from .style import EVEN, INK, MARK, Picture, picture, styled


@styled
def patches(frame: np.ndarray, size: int) -> Picture:
    """A frame with the grid of its patches, and the same patches in a row, as the transformer gets them.

    Args:
        frame: (H, W, 3) uint8. size: pixels along a patch's side.
    """
    rows, columns = frame.shape[0] // size, frame.shape[1] // size
    figure = picture(14, 3.6, f"A frame of {frame.shape[0]} x {frame.shape[1]} pixels, cut into {rows} x {columns} patches of {size} x "
                              f"{size} pixels, and the {rows * columns} patches one behind another, numbered along the rows.")
    whole, row = figure.subplots(1, 2, width_ratios=(1, 3.2))
    whole.imshow(frame, extent=(0, columns, rows, 0), interpolation="nearest")
    for border in range(1, rows):
        whole.axhline(border, color="white", linewidth=1.2)
    for border in range(1, columns):
        whole.axvline(border, color="white", linewidth=1.2)
    whole.set(title=f"{rows} x {columns} patches", xticks=[], yticks=[])
    shown = min(rows * columns, 64)
    across = 8 if shown <= 16 else 16
    gap = 0.12
    for i in range(shown):
        top, left = divmod(i, columns)
        piece = frame[top * size:(top + 1) * size, left * size:(left + 1) * size]
        y, x = divmod(i, across)
        row.imshow(piece, extent=(x * (1 + gap), x * (1 + gap) + 1, y * 1.35 + 1, y * 1.35), interpolation="nearest")
        if shown <= 16:
            row.text(x * (1 + gap) + 0.5, y * 1.35 + 1.03, str(i), ha="center", va="top", fontsize=11)
    lines = -(-shown // across)
    row.set(xlim=(-0.1, across * (1 + gap)), ylim=(lines * 1.35, -0.1), aspect="equal")
    row.set_title(f"the transformer's {rows * columns} inputs" + ("" if shown == rows * columns else f", the first {shown}"))
    row.axis("off")
    return figure


@styled
def table(values: np.ndarray, rows: list[str], columns: list[str], *, title: str = "", percent: bool = True) -> Picture:
    """A table whose cells are as bright as their values are great, the values written in.

    Args:
        values: (rows, columns), from 0 to 1 where percent.
    """
    values = np.asarray(values, dtype=float)
    form = "{:.0%}" if percent else "{:.2f}"
    told = "; ".join(f"{name}: " + ", ".join(f"{column} {form.format(v)}" for column, v in zip(columns, line, strict=True))
                     for name, line in zip(rows, values, strict=True))
    figure = picture(5.0 + 2.2 * len(columns), 1.3 + 0.36 * len(rows), f"{title or 'A table'}. {told}.")
    axis = figure.subplots()
    axis.imshow(values, cmap=EVEN, vmin=0, vmax=1 if percent else values.max(), aspect="auto")
    for i, j in np.ndindex(values.shape):
        bright = values[i, j] > 0.6 * (1 if percent else values.max())
        axis.text(j, i, form.format(values[i, j]), ha="center", va="center", color=INK if bright else "white", fontsize=13)
    axis.set(xticks=range(len(columns)), yticks=range(len(rows)), title=title)
    axis.set_xticklabels([textwrap.fill(name, 16) for name in columns])
    axis.set_yticklabels(rows)
    axis.tick_params(length=0)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
    return figure


@styled
def by_stage(shown: dict[str, dict[str, float]], *, title: str = "", y: str = "found by a probe", mark: dict | None = None) -> Picture:
    """What a probe finds at each stage of a network, one line a property.

    Args:
        shown: by property, by the name of the stage, a share from 0 to 1. mark: by its label, a share at which to draw a line.
    """
    stages = list(next(iter(shown.values())))
    told = "; ".join(f"{name}: " + ", ".join(f"{stage} {v:.0%}" for stage, v in line.items()) for name, line in shown.items())
    figure = picture(12, 4.6, f"{title or y}, stage by stage. {told}.")
    axis = figure.subplots()
    for i, (name, line) in enumerate(shown.items()):
        values = list(line.values())
        axis.plot(range(len(stages)), values, marker=MARKERS[i % 5], color=COLOURS[i % 5], linestyle=DASHES[i % 5], linewidth=2.4,
                  label=name, markersize=8)
    for name, height in (mark or {}).items():
        axis.axhline(height, color=INK, linewidth=1.2, linestyle=(0, (2, 2)))
        axis.annotate(name, (1, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=12)
    axis.set(xticks=range(len(stages)), ylim=(0, 1.04), ylabel=y, title=title)
    axis.set_xticklabels([textwrap.fill(stage, 13) for stage in stages])
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.grid(axis="y", color="#dddddd")
    figure.legend(loc="outside right center", frameon=False)
    return figure


@styled
def read_out(clip, scene, seen: list[str], scores: np.ndarray, names: list[str], *, frame_rate: float = 2.0) -> Picture:
    """What probes read off a clip: a name below every frame, and for each audio token how strongly it speaks for which sound.

    Args:
        clip: a `media.Clip`. scene: its script. seen: T names, one a frame.
        scores: (L, classes), the audio probe's outputs, one row every 20 ms. names: of these classes.
    """
    events = [(m.heard.start, m.heard.start + m.heard.seconds, m.heard.name) for m in scene.moments if m.heard]
    true = [name for *_, name in events]
    strongest = np.argsort(-scores[:, 1:].max(0)) + 1
    others = [names[i] for i in strongest if names[i] not in true][:2]
    rows = [*dict.fromkeys(true), *others]
    heard = [names[i] for i in scores.argmax(1)]
    told = "; ".join(f"{start:.1f} to {end:.1f} s {name}, read in {np.mean([h == name for h in heard[int(start * 50):int(end * 50)]]):.0%}"
                     for start, end, name in events)
    figure = picture(14, 3.0 + 0.42 * len(rows), (
        f"What probes read off a clip of {clip.duration:.1f} s. Below the frames: {', '.join(dict.fromkeys(seen))}. Sounds: {told}."))
    strip, roll = figure.subplots(2, sharex=True, height_ratios=(1.9, 0.42 * len(rows) + 0.1))
    for k, (frame, name) in enumerate(zip(clip.frames, seen, strict=True)):
        strip.imshow(frame, extent=(k / frame_rate, (k + 0.94) / frame_rate, 1, 2), aspect="auto")
        strip.text((k + 0.47) / frame_rate, 0.93, name, rotation=90, ha="center", va="top", fontsize=11)
    strip.set(ylim=(0, 2), yticks=[])
    strip.spines["bottom"].set_visible(False)
    roll.imshow(scores[:, [names.index(name) for name in rows]].T, aspect="auto", origin="upper", cmap=mpl.colormaps[EVEN].resampled(24),
                vmin=0, vmax=1, extent=(0, len(scores) / 50, len(rows), 0), interpolation="nearest")
    for start, end, name in events:
        roll.add_patch(mpl.patches.Rectangle((start, rows.index(name)), end - start, 1, fill=False, edgecolor=MARK, linewidth=2.5))
    roll.set(yticks=np.arange(len(rows)) + 0.5, xlim=(0, max(clip.duration, len(seen) / frame_rate)),
             xticks=np.arange(int(clip.duration) + 1), xlabel="time (s)")
    roll.set_yticklabels(rows)
    roll.tick_params(axis="y", length=0)
    for axis, name in ((strip, "read off the\nvisual token"), (roll, "the audio probe;\nred: the script")):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    return figure
