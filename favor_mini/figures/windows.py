"""Sliding windows: their frames, events at their borders, ablations, and context use."""

from __future__ import annotations

import textwrap

import numpy as np
import torch

from ..registry import find
from ..windows import num_windows
from ..world.scene import Moment, Scene
from .style import (
    BORDER,
    LIGHT,
    MARK,
    SERIES,
    Picture,
    boxes,
    colour_legend,
    filled,
    heatmap,
    inline,
    listed,
    panels,
    picture,
    row_name,
    styled,
)
from .timeline import heard_events, seen_events, time_axis


@styled
def window_contents(names: list[str], num_frames: int = 11, window_frames: int = 4) -> Picture:
    """The frames of each window, measured: one row a window, padding hatched."""
    steps = torch.arange(float(num_frames))[None, :, None, None]
    real = torch.ones(1, num_frames, dtype=torch.bool)
    split = {name: find("windows", name)(steps, real, window_frames) for name in names}
    split = {name: (windows[..., 0].int().numpy(), mask.numpy())
             for name, (windows, mask) in split.items()}  # [W, K] each
    details = listed(split, lambda held: " | ".join(
        " ".join([*map(str, frames[real]), *["padding"] * (not real.all())])
        for frames, real in zip(*held, strict=True)))
    most = max(len(windows) for windows, _ in split.values())
    figure = picture(14, 1.5 + 0.52 * most, (
        f"The frames, from 0 to {num_frames - 1}, in windows of {window_frames}; dashed, the "
        f"clip's end. {details}."))
    axes = panels(figure, len(split), len(split))
    for axis, (name, (windows, mask)) in zip(axes, split.items(), strict=True):
        for (w, k), held in np.ndenumerate(mask):
            start = windows[w, 0] + k  # its place on the clip's time axis
            axis.barh(w, 0.94, 0.84, left=start + 0.03, color=LIGHT if held else "white",
                      hatch="" if held else "///")
            axis.text(start + 0.5, w, windows[w, k] if held else "", ha="center", va="center")
        axis.axvline(num_frames, **BORDER)
        axis.set(title=f"{name}: {len(windows)} windows", ylim=(most - 0.4, -0.6), ylabel="window",
                 xticks=[], xlabel="frame (dashed: the clip's end)",
                 xlim=(-0.2, num_frames + window_frames - 0.8))
        axis.set_yticks(range(len(windows)), range(1, len(windows) + 1))
        axis.tick_params(length=0)
    colour_legend(figure, {"real frame": LIGHT, "padding": {"facecolor": "white", "hatch": "///"}})
    return figure


def window_edges(duration: float, window_frames: int, skipped: float = 0.0,
                 frame_rate: float = 2.0) -> np.ndarray:
    """Times at which windows end, in a clip without its first `skipped` seconds."""
    return np.arange(
        skipped + window_frames / frame_rate, duration - 0.01, window_frames / frame_rate)


def is_cut(moment: Moment, edges, margin: float = 0.5) -> bool:
    """Whether a window border lies within a moment, at least `margin` seconds from its ends."""
    return any(moment.start + margin <= edge <= moment.end - margin for edge in edges)


def moment_of(scene: Scene, question) -> Moment | None:
    """The moment that a `shown_when`, `heard_while` or `said_when` question is about, if any."""
    for m in scene.moments:
        if m.heard and m.subject:
            cue, answer = m.subject, m.heard.name
            if question.family == "shown_when":
                cue, answer = answer, cue
            if answer == question.answer and f" {cue} " in f" {question.text.rstrip('?')} ":
                return m
    return None


@styled
def script_windows(scene: Scene, window_frames: int, skipped: float = 0.0) -> Picture:
    """A clip's script with the borders of its windows; dark: an event in two windows.

    Args:
        skipped: seconds left out at the clip's start.
    """
    edges = window_edges(scene.duration, window_frames, skipped)
    cut = [m for m in scene.moments if is_cut(m, edges)]
    names = ", ".join(
        str(m.subject or m.heard and m.heard.name or "a pause") for m in cut) or "nothing"
    figure = picture(13, 3.0, (f"A script of {scene.duration:.1f} s with windows of "
                               f"{window_frames} frames, without its first {skipped:g} s. Borders "
                               f"at {', '.join(f'{edge:g} s' for edge in edges) or 'no time'}. "
                               f"Cut in two: {names}."))
    seen, heard = figure.subplots(2, sharex=True)
    cut_times = [(m.start, m.end) for m in cut]
    for axis, name, events in (
            (seen, "seen", seen_events(scene)), (heard, "heard", heard_events(scene))):
        for start, end, text in events:
            dark = ((start, end) in cut_times if axis is seen
                    else any(start < edge < end for edge in edges))
            boxes(axis, [(start, end, text)], **filled(True) if dark else {})
        row_name(axis, name)
        axis.set_ylim(0, 1)
        axis.axvspan(0, skipped, color="white", alpha=0.75, zorder=5)
        for edge in edges:
            axis.axvline(edge, **BORDER, zorder=6)
    time_axis(heard, scene.duration)
    seen.set_title(f"windows of {window_frames} frames ({window_frames / 2:g} s): "
                   f"{len(edges) + 1} windows; cut in two: {names}")
    return figure


@styled
def window_ablation(labels: list[str], costs, title: str = "") -> Picture:
    """How much log probability the true answers lose without one window; brighter: more.

    Args:
        costs: (questions, windows), drops of the log probability.
    """
    costs = np.asarray(costs)
    details = listed(dict(zip(labels, costs, strict=True)), lambda row: inline(
        {f"window {w}": cost for w, cost in enumerate(row, 1)}, "{:.1f}"))
    figure = picture(11, 1.6 + 0.62 * len(labels), (
        f"{title}. Drop of the true answer's log probability without a window: {details}."))
    axis = figure.subplots()
    drawn = heatmap(axis, costs, [textwrap.fill(label, 34) for label in labels],
                    [f"window {w + 1}" for w in range(costs.shape[1])], form="{:.1f}", vmin=0)
    axis.set(title=title, xlabel="left-out window")
    figure.colorbar(drawn, ax=axis, label="drop of the log probability")
    return figure


@styled
def context_use(seconds: float, window_frames: int, num_queries: int, room: int = 1024,
                frame_rate: float = 2.0) -> Picture:
    """How much of the language model's context a clip's vectors fill, window by window."""
    windows = num_windows(round(seconds * frame_rate), window_frames)
    vectors = windows * num_queries
    title = (f"{seconds:g} s: {windows} windows x {num_queries} queries = {vectors} vectors, "
             f"{vectors / seconds:.1f} a second, {vectors / room:.0%} of {room} positions")
    figure = picture(13, 2.1, title + (". More than fit." if vectors > room else "."))
    axis = figure.subplots()
    for w in range(windows):
        fits = (w + 1) * num_queries <= room
        axis.barh(0, num_queries, 0.8, left=w * num_queries, linewidth=0.8,
                  color=SERIES[w % 2] if fits else "white", hatch="" if fits else "xx")
    axis.axvline(room, color=MARK, linewidth=3)
    axis.annotate("context full", (room, 0.42), xytext=(-6, 2), textcoords="offset points",
                  ha="right", color=MARK)
    axis.set(xlim=(0, max(room, vectors) * 1.02), ylim=(-0.45, 0.75), yticks=[], title=title,
             xlabel="positions in the language model's context")
    return figure
