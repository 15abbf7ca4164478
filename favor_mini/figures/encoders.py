"""The encoders: patches of a frame, and what probes find by layer and over a clip."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Rectangle

from .plots import curves
from .style import EVEN, MARK, Picture, heatmap, inline, listed, picture, row_name, styled
from .timeline import heard_events, show_frames, time_axis


@styled
def patches(frame: np.ndarray, size: int) -> Picture:
    """A frame with the grid of its patches, and the same patches in a row, the transformer's input.

    Args:
        frame: (H, W, 3) uint8. size: pixels along a patch's side.
    """
    rows, columns = frame.shape[0] // size, frame.shape[1] // size
    count, shown, gap = rows * columns, min(rows * columns, 64), 1.12
    figure = picture(14, 3.6, (f"A frame of {frame.shape[0]} x {frame.shape[1]} pixels, cut into "
                               f"{rows} x {columns} patches of {size} x {size} pixels, and the "
                               f"{count} patches one after another, numbered along the rows."))
    grid, row = figure.subplots(1, 2, width_ratios=(1, 3.2))
    grid.imshow(frame, extent=(0, columns, rows, 0), aspect="equal")
    for borders, draw in ((rows, grid.axhline), (columns, grid.axvline)):
        for border in range(1, borders):
            draw(border, color="white", linewidth=1.2)
    grid.set(title=f"{rows} x {columns} patches", xticks=[], yticks=[])
    across = 8 if shown <= 16 else 16
    for i in range(shown):
        (top, left), (y, x) = divmod(i, columns), divmod(i, across)
        x, y = x * gap, y * 1.35
        row.imshow(frame[top * size:(top + 1) * size, left * size:(left + 1) * size],
                   extent=(x, x + 1, y + 1, y))
        if shown <= 16:
            row.text(x + 0.5, y + 1.03, str(i), ha="center", va="top")
    row.set(xlim=(-0.1, across * gap), ylim=(-(-shown // across) * 1.35, -0.1), aspect="equal",
            title=f"the transformer's {count} inputs"
            + ("" if shown == count else f", the first {shown}"))
    row.axis("off")
    return figure


@styled
def table(values: np.ndarray, rows: list[str], columns: list[str], *, title: str = "") -> Picture:
    """A table with the values written into coloured cells; brighter means greater.

    Args:
        values: (rows, columns), from 0 to 1.
    """
    values = np.asarray(values, dtype=float)
    lines = {name: dict(zip(columns, line, strict=True))
             for name, line in zip(rows, values, strict=True)}
    figure = picture(5.0 + 2.2 * len(columns), 1.3 + 0.36 * len(rows),
                     f"{title or 'A table'}. {listed(lines, lambda line: inline(line, '{:.0%}'))}.")
    axis = figure.subplots()
    heatmap(
        axis, values, rows, [textwrap.fill(name, 16) for name in columns], "{:.0%}", vmin=0, vmax=1)
    axis.set_title(title)
    axis.xaxis.tick_top()
    axis.spines[:].set_visible(False)
    return figure


def by_stage(shown: dict[str, dict[str, float]], *, title: str = "", y: str = "probe accuracy",
             mark: dict | None = None) -> Picture:
    """What a probe finds at each stage of a network, one line a property.

    Args:
        shown: by property, by the name of the stage, a share from 0 to 1.
        mark: by its label, the height of a horizontal line.
    """
    details = listed(shown, lambda line: inline(line, "{:.0%}"))
    stages = list(next(iter(shown.values())))
    return curves({name: (range(len(stages)), list(line.values())) for name, line in shown.items()},
                  y=y, title=title, mark=mark, percent=True, ticks=stages,
                  alt=f"{title or y}, stage by stage. {details}.")


@styled
def probe_timeline(clip, scene, seen: list[str], scores: np.ndarray, names: list[str], *,
                   frame_rate: float = 2.0) -> Picture:
    """Probes over a clip: a name below every frame, and scores of sounds at each audio token.

    Args:
        clip: a `media.Clip`. scene: its script. seen: T names, one a frame.
        scores: (L, classes), the audio probe's outputs, one row every 20 ms. names: of these
            classes.
    """
    events = heard_events(scene)
    true = [name for *_, name in events]
    strongest = np.argsort(-scores[:, 1:].max(0)) + 1
    rows = [*dict.fromkeys(true), *[names[i] for i in strongest if names[i] not in true][:2]]
    found = np.array([names[i] for i in scores.argmax(1)])
    details = listed({
        f"{start:.1f} to {end:.1f} s {name}": np.mean(found[int(start * 50):int(end * 50)] == name)
        for start, end, name in events}, "{:.0%} found")
    figure = picture(14, 3.0 + 0.42 * len(rows), (
        f"The output of probes over a clip of {clip.duration:.1f} s. Below the frames: "
        f"{', '.join(dict.fromkeys(seen))}. Sounds: {details}."))
    strip, roll = figure.subplots(2, sharex=True, height_ratios=(1.9, 0.42 * len(rows) + 0.1))
    show_frames(strip, clip.frames, frame_rate, 1, 2)
    for k, name in enumerate(seen):
        strip.text((k + 0.47) / frame_rate, 0.93, name, rotation=90, ha="center", va="top")
    row_name(strip, "the visual\ntoken's probe")
    row_name(roll, "the audio probe;\nred: the script")
    strip.set_ylim(0, 2)
    strip.spines["bottom"].set_visible(False)
    roll.imshow(scores[:, [names.index(name) for name in rows]].T, vmin=0, vmax=1,
                cmap=mpl.colormaps[EVEN].resampled(24), extent=(0, len(scores) / 50, len(rows), 0))
    for start, end, name in events:
        roll.add_patch(Rectangle((start, rows.index(name)), end - start, 1, fill=False,
                                 edgecolor=MARK, linewidth=2.5))
    time_axis(roll, max(clip.duration, len(seen) / frame_rate))
    roll.set_yticks(np.arange(len(rows)) + 0.5, rows)
    roll.tick_params(axis="y", length=0)
    return figure
