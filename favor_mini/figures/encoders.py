"""The encoders: patches of a frame, and what probes find by layer and over a clip."""

import textwrap

import numpy as np
from matplotlib.patches import Rectangle

from .plots import curves
from .shapes import heatmap, named_rows, time_rows
from .style import EVEN, MARK, Picture, array, inline, listed, picture, styled
from .timeline import heard_events, show_frames


@styled
def patches(frame: np.ndarray, size: int) -> Picture:
    """A frame (H, W, 3) with its patches of `size` pixels a side, and these in a row, as inputs."""
    rows, columns = np.array(frame.shape[:2]) // size
    pieces = frame.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    count, pieces = len(pieces), pieces[:64]
    across = 8 if count <= 16 else 16
    figure, (grid, row) = picture(
        14, 3.6, f"A frame of {frame.shape[0]} x {frame.shape[1]} pixels, cut into {rows} x "
        f"{columns} patches of {size} x {size} pixels, and the {count} patches one after another, "
        f"numbered along the rows.", 1, 2, width_ratios=(1, 3.2))
    grid.imshow(frame, extent=(0, columns, rows, 0))
    grid.hlines(range(1, rows), 0, columns, color="white")
    grid.vlines(range(1, columns), 0, rows, color="white")
    grid.set(title=f"{rows} x {columns} patches", xticks=[], yticks=[], aspect="equal")
    for i, piece in enumerate(pieces):
        x, y = i % across * 1.12, i // across * 1.35
        row.imshow(piece, extent=(x, x + 1, y + 1, y))
        if count <= 16:
            row.text(x + 0.5, y + 1.03, i, ha="center", va="top")
    row.set(xlim=(-0.1, across * 1.12), ylim=(-(-len(pieces) // across) * 1.35, -0.1),
            aspect="equal", title=f"the transformer's {count} inputs"
            + (f", the first {len(pieces)}" if count > len(pieces) else ""))
    row.axis("off")
    return figure


@styled
def table(values: np.ndarray, rows: list[str], columns: list[str], *, title: str,
          form: str = "{:.0%}", meaning: str = "", most: float | None = 1) -> Picture:
    """A table of values (rows, columns) from 0 to `most` in coloured cells."""
    values = array(values)
    details = listed({name: inline(dict(zip(columns, line, strict=True)), form)
                      for name, line in zip(rows, values, strict=True)})
    lines = sum(1 + len(name) // 34 for name in rows)
    figure, axis = picture(
        5 + 2.2 * len(columns), max(3, 1.3 + 0.36 * lines), f"{title}. {meaning}{details}.")
    heatmap(axis, values, None, [textwrap.fill(name, 16) for name in columns], form, vmin=0,
            vmax=most)
    named_rows(axis, rows, 34)
    axis.set_title(title)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
    return figure


def by_stage(shown: dict[str, dict[str, float]], *, title: str, y: str,
             mark: dict | None = None) -> Picture:
    """What a probe finds, from 0 to 1, by property, by stage of a network."""
    details = listed(shown, lambda line: inline(line, "{:.0%}"))
    return curves(
        {name: (range(len(line)), list(line.values())) for name, line in shown.items()}, y=y,
        title=title, mark=mark, percent=True, ticks=list(next(iter(shown.values()))),
        alt=f"{title}, stage by stage. {details}.")


@styled
def probe_timeline(
        clip, scene, seen: list[str], scores: np.ndarray, names: list[str]) -> Picture:
    """Probes over a clip: a name below every frame, and scores of sounds at each audio token.

    Args:
        clip, scene: a `media.Clip` read at 2 Hz, and its script. seen: T names, one a frame.
        scores: (L, classes), the audio probe's outputs every 20 ms. names: of these classes.
    """
    events = heard_events(scene)
    true = [name for *_, name in events]
    strongest = np.argsort(-scores[:, 1:].max(0)) + 1
    rows = [*dict.fromkeys(true), *[names[i] for i in strongest if names[i] not in true][:2]]
    found = np.array([names[i] for i in scores.argmax(1)])
    details = listed({
        f"{start:.1f} to {end:.1f} s {name}": np.mean(found[int(start * 50):int(end * 50)] == name)
        for start, end, name in events}, "{:.0%} found")
    figure, (strip, roll) = time_rows(
        14, 3.0 + 0.42 * len(rows), f"The output of probes over a clip of {clip.duration:.1f} s. "
        f"Below the frames: {', '.join(dict.fromkeys(seen))}. Sounds: {details}.",
        {"the visual\ntoken's probe": 1.9,
         "the audio probe;\nred: the script": 0.42 * len(rows) + 0.1},
        max(clip.duration, len(seen) / 2))
    show_frames(strip, clip.frames, 2, 1, 2)
    for k, name in enumerate(seen):
        strip.text((k + 0.47) / 2, 0.93, name, rotation=90, ha="center", va="top")
    strip.set_ylim(0, 2)
    strip.spines["bottom"].set_visible(False)
    roll.imshow(scores[:, [names.index(name) for name in rows]].T, vmin=0, vmax=1,
                cmap=EVEN, extent=(0, len(scores) / 50, len(rows), 0))
    for start, end, name in events:
        roll.add_patch(Rectangle((start, rows.index(name)), end - start, 1, fill=False,
                                 edgecolor=MARK, linewidth=2.5))
    roll.set_yticks(np.arange(len(rows)) + 0.5, rows)
    roll.tick_params(axis="y", length=0)
    return figure
