"""Sliding windows: their frames, events at their borders, ablations, and context use."""

import numpy as np
import torch

from ..registry import find
from ..windows import num_windows
from ..world.scene import Moment, Scene
from .encoders import table
from .shapes import borders, boxes, colour_legend, named_rows, time_rows
from .style import CENTRE, LIGHT, MARK, SERIES, STRONG, Picture, listed, panels, picture, styled
from .timeline import heard_events, seen_events


@styled
def window_contents(names: list[str], num_frames: int, window_frames: int) -> Picture:
    """The frames of each window, measured: one row a window, padding hatched."""
    steps = torch.arange(float(num_frames))[None, :, None, None]
    real = torch.ones(1, num_frames, dtype=torch.bool)
    split = {}  # by name, frames and mask, [W, K] each
    for name in names:
        windows, mask = find("windows", name)(steps, real, window_frames)
        split[name] = windows[..., 0].int().numpy(), mask.numpy()
    details = listed(split, lambda held: " | ".join(
        " ".join([*map(str, frames[real]), *["padding"] * (not real.all())])
        for frames, real in zip(*held, strict=True)))
    most = max(len(windows) for windows, _ in split.values())
    figure, axes = panels(
        14, 1.5 + 0.52 * most, f"The frames, from 0 to {num_frames - 1}, in windows of "
        f"{window_frames}; dashed, the clip's end. {details}.", split)
    for axis, name, (windows, mask) in axes:
        for (w, k), held in np.ndenumerate(mask):
            start = windows[w, 0] + k  # its place on the clip's time axis
            axis.barh(w, 0.94, 0.84, left=start + 0.03, color=LIGHT if held else "white",
                      hatch="" if held else "///")
            axis.text(start + 0.5, w, windows[w, k] if held else "", **CENTRE)
        borders(axis, [num_frames])
        named_rows(axis, range(1, len(windows) + 1))
        axis.set(title=f"{name}: {len(windows)} windows", ylim=(most - 0.4, -0.6), ylabel="window",
                 xticks=[], xlabel="frame (dashed: the clip's end)",
                 xlim=(-0.2, num_frames + window_frames - 0.8))
        axis.tick_params(length=0)
    colour_legend(figure, {"real frame": LIGHT, "padding": {"facecolor": "white", "hatch": "///"}})
    return figure


def window_edges(duration: float, window_frames: int, skipped: float = 0.0) -> np.ndarray:
    """Times at which windows of 2 Hz frames end, in a clip without its first `skipped` seconds."""
    return np.arange(skipped + window_frames / 2, duration - 0.01, window_frames / 2)


def is_cut(moment: Moment, edges) -> bool:
    """Whether a window border lies within a moment, at least 0.5 s from its ends."""
    return any(moment.start + 0.5 <= edge <= moment.end - 0.5 for edge in edges)


def moment_of(scene: Scene, question) -> Moment | None:
    """The moment that a `shown_when`, `heard_while` or `said_when` question is about, if any."""
    for m in scene.moments:
        if m.heard and m.subject:
            cue, answer = m.subject, m.heard.name
            if question.family == "shown_when":
                answer, cue = cue, answer
            if answer == question.answer and f" {cue} " in f" {question.text.rstrip('?')} ":
                return m
    return None


@styled
def script_windows(scene: Scene, window_frames: int, skipped: float) -> Picture:
    """A clip's script and the borders of its windows, without its first `skipped` seconds."""
    edges = window_edges(scene.duration, window_frames, skipped)
    cut = [m for m in scene.moments if is_cut(m, edges)]
    names = ", ".join(
        str(m.subject or m.heard and m.heard.name or "a pause") for m in cut) or "nothing"
    figure, (seen, heard) = time_rows(
        13, 3.0, f"A script of {scene.duration:.1f} s with windows of {window_frames} frames, "
        f"without its first {skipped:g} s. Borders at "
        f"{', '.join(f'{edge:g} s' for edge in edges) or 'no time'}. Cut in two: {names}.",
        {"seen": 1, "heard": 1}, scene.duration)
    for axis, events in ((seen, seen_events(scene)), (heard, heard_events(scene))):
        for start, end, text in events:
            dark = (start in [m.start for m in cut] if axis is seen
                    else any(start < edge < end for edge in edges))
            boxes(axis, [(start, end, text)], colour=STRONG if dark else LIGHT)
        axis.set_ylim(0, 1)
        axis.axvspan(0, skipped, color="white", alpha=0.75, zorder=5)
        borders(axis, edges, zorder=6)
    seen.set_title(f"windows of {window_frames} frames ({window_frames / 2:g} s): "
                   f"{len(edges) + 1} windows; cut in two: {names}")
    return figure


@styled
def window_ablation(labels: list[str], costs, title: str) -> Picture:
    """Drops (questions, windows) of the log probability of true answers without one window."""
    figure = table(
        costs, labels, [f"window {w + 1}" for w in range(len(costs[0]))], title=title,
        form="{:.1f}", most=None,
        meaning="Drop of the true answer's log probability without a window: ")
    axis = figure.axes[0]
    axis.set_xlabel("left-out window")
    figure.colorbar(axis.images[0], ax=axis, label="drop of the log probability")
    return figure


@styled
def context_use(
        seconds: float, window_frames: int, num_queries: int, room: int = 1024) -> Picture:
    """How much of the language model's context a clip's vectors fill, window by window."""
    windows = num_windows(round(seconds * 2), window_frames)
    vectors = windows * num_queries
    title = (f"{seconds:g} s: {windows} windows x {num_queries} queries = {vectors} vectors, "
             f"{vectors / seconds:.1f} a second, {vectors / room:.0%} of {room} positions")
    figure, axis = picture(13, 2.1, title + (". More than fit." if vectors > room else "."))
    for w in range(windows):
        fits = (w + 1) * num_queries <= room
        axis.barh(0, num_queries, 0.8, left=w * num_queries,
                  color=SERIES[w % 2] if fits else "white", hatch="" if fits else "xx")
    axis.axvline(room, color=MARK)
    axis.text(room, 0.45, "context full ", ha="right", color=MARK)
    axis.set(xlim=(0, max(room, vectors) * 1.02), ylim=(-0.45, 0.75), yticks=[], title=title,
             xlabel="positions in the language model's context")
    return figure
