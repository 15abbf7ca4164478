"""The figures of notebook 06: which frames a window holds, what its borders cut, which window knows what, and how full the
language model's context gets."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..registry import find
from ..windows import num_windows
from ..world.scene import Moment, Scene
from .style import EVEN, INK, LIGHT, MARK, SERIES, STRONG, Picture, picture, styled


@styled
def windows_of(names: list[str], num_frames: int = 11, window_frames: int = 4) -> Picture:
    """Which frames the windows of a clip hold, found out by numbered frames: one row a window, hatched where it is padding."""
    steps, real = torch.arange(float(num_frames))[None, :, None, None], torch.ones(1, num_frames, dtype=torch.bool)
    cut = {name: find("windows", name)(steps, real, window_frames) for name in names}
    cut = {name: (windows[..., 0].int().numpy(), mask.numpy()) for name, (windows, mask) in cut.items()}  # [W, K] each
    told = "; ".join(f"{name}: " + " | ".join(" ".join(str(n) for n, r in zip(*row, strict=True) if r)
                                              + " padding" * int((~row[1]).any()) for row in zip(*held, strict=True))
                     for name, held in cut.items())
    most = max(len(windows) for windows, _ in cut.values())
    figure = picture(14, 1.5 + 0.52 * most, f"The frames, from 0 to {num_frames - 1}, that the windows of {window_frames} hold. {told}.")
    for axis, (name, (windows, mask)) in zip(np.atleast_1d(figure.subplots(1, len(cut))), cut.items(), strict=True):
        for w, k in np.ndindex(windows.shape):
            start = windows[w, 0] + k  # drawn where it stands on the clip's time axis
            held = bool(mask[w, k])
            look = {"color": LIGHT} if held else {"color": "white", "hatch": "///"}
            axis.barh(w, 0.94, 0.84, left=start + 0.03, edgecolor=INK, **look)
            if held:
                axis.text(start + 0.5, w, windows[w, k], ha="center", va="center", fontsize=12)
        axis.axvline(num_frames, color=MARK, linewidth=2.5, linestyle=(0, (4, 2)))
        axis.set(title=f"{name}: {len(windows)} windows", yticks=range(len(windows)), ylim=(most - 0.4, -0.6), ylabel="window",
                 xlabel="frame", xlim=(-0.2, num_frames + window_frames - 0.8), xticks=[])
        axis.set_yticklabels(range(1, len(windows) + 1))
        axis.tick_params(length=0)
    figure.legend(handles=[Patch(facecolor=LIGHT, edgecolor=INK, label="a real frame"),
                           Patch(facecolor="white", edgecolor=INK, hatch="///", label="padding"),
                           Line2D([], [], color=MARK, linewidth=2.5, linestyle=(0, (4, 2)), label="the clip's end")],
                  loc="outside lower center", ncols=3, frameon=False)
    return figure


def window_edges(duration: float, window_frames: int, skipped: float = 0.0, frame_rate: float = 2.0) -> np.ndarray:
    """Times at which one window ends and the next begins, where a clip is read from `skipped` seconds on."""
    return np.arange(skipped + window_frames / frame_rate, duration - 0.01, window_frames / frame_rate)


def is_cut(moment: Moment, edges, margin: float = 0.5) -> bool:
    """Whether a border lies within a moment, at least one step from its ends."""
    return any(moment.start + margin <= edge <= moment.end - margin for edge in edges)


def moment_of(scene: Scene, question) -> Moment | None:
    """The moment whose picture and sound a `shown_when`, `heard_while` or `said_when` question joins; None where there is none."""
    for m in scene.moments:
        if m.heard and m.subject:
            asked, told = (m.heard.name, m.subject) if question.family == "shown_when" else (m.subject, m.heard.name)
            if told == question.answer and f" {asked} " in f" {question.text.rstrip('?')} ":
                return m
    return None


@styled
def borders(scene: Scene, window_frames: int, skipped: float = 0.0) -> Picture:
    """A clip's script with the borders of its windows; what a border cuts in two is dark.

    Args:
        skipped: seconds left out at the clip's start.
    """
    edges = window_edges(scene.duration, window_frames, skipped)
    cut = [m for m in scene.moments if is_cut(m, edges)]
    names = ", ".join(str(m.subject or m.heard and m.heard.name or "a pause") for m in cut) or "nothing"
    figure = picture(13, 3.0, (
        f"A script of {scene.duration:.1f} s with windows of {window_frames} frames, read from {skipped:g} s on. Borders at "
        f"{', '.join(f'{edge:g} s' for edge in edges) or 'no time'}. Cut in two: {names}."))
    seen, heard = figure.subplots(2, sharex=True)
    for m in scene.moments:
        for axis, event in ((seen, (m.start, m.end, m.subject)),
                            (heard, m.heard and (m.heard.start, m.heard.start + m.heard.seconds, m.heard.name))):
            if event and event[2]:
                dark = any(event[0] < edge < event[1] for edge in edges) if axis is heard else m in cut
                axis.barh(0.5, event[1] - event[0], 0.9, left=event[0], color=STRONG if dark else LIGHT, edgecolor=INK)
                axis.text((event[0] + event[1]) / 2, 0.5, event[2], ha="center", va="center", fontsize=12.5,
                          color="white" if dark and axis is seen else INK)
    for axis, name in ((seen, "seen"), (heard, "heard")):
        axis.set(ylim=(0, 1), yticks=[], xlim=(0, scene.duration), xticks=range(int(scene.duration) + 1))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.axvspan(0, skipped, color="white", alpha=0.75, zorder=5)
        for edge in edges:
            axis.axvline(edge, color=MARK, linewidth=3, linestyle=(0, (4, 2)), zorder=6)
    heard.set_xlabel("time (s)")
    seen.set_title(f"windows of {window_frames} frames ({window_frames / 2:g} s): {len(edges) + 1} windows; cut in two: {names}")
    return figure


@styled
def which_window(labels: list[str], costs, title: str = "") -> Picture:
    """What taking one window's vectors away costs each question: brighter is more.

    Args:
        costs: (questions, windows), in log probability of the true answer.
    """
    costs = np.asarray(costs)
    told = "; ".join(f"{label} " + ", ".join(f"window {w + 1} {cost:.1f}" for w, cost in enumerate(row))
                     for label, row in zip(labels, costs, strict=True))
    figure = picture(11, 1.6 + 0.62 * len(labels), f"{title}. Loss in log probability of the true answer without a window: {told}.")
    axis = figure.subplots()
    drawn = axis.imshow(costs, cmap=EVEN, aspect="auto", vmin=0)
    for i, j in np.ndindex(costs.shape):
        axis.text(j, i, f"{costs[i, j]:.1f}", ha="center", va="center", color="white" if costs[i, j] < 0.6 * costs.max() else INK)
    axis.set(xticks=range(costs.shape[1]), yticks=range(len(labels)), title=title, xlabel="window whose vectors are taken away")
    axis.set_xticklabels([f"window {w + 1}" for w in range(costs.shape[1])])
    axis.set_yticklabels([textwrap.fill(label, 34) for label in labels])
    axis.spines[:].set_visible(True)
    axis.tick_params(length=0)
    figure.colorbar(drawn, ax=axis, label="drop of the log probability")
    return figure


@styled
def context(seconds: float, window_frames: int, num_queries: int, room: int = 1024, frame_rate: float = 2.0) -> Picture:
    """How much of the language model's context a clip's vectors fill, window by window."""
    windows = num_windows(round(seconds * frame_rate), window_frames)
    vectors = windows * num_queries
    said = (f"{seconds:g} s: {windows} windows x {num_queries} queries = {vectors} vectors, {vectors / seconds:.1f} a second, "
            f"{vectors / room:.0%} of {room} places")
    figure = picture(13, 2.1, said + (". More than fit." if vectors > room else "."))
    axis = figure.subplots()
    for w in range(windows):
        look = {"color": SERIES[w % 2]} if (w + 1) * num_queries <= room else {"color": "white", "hatch": "xx"}
        axis.barh(0, num_queries, 0.8, left=w * num_queries, edgecolor=INK, linewidth=0.8, **look)
    axis.axvline(room, color=MARK, linewidth=3)
    axis.annotate("context full", (room, 0.42), xytext=(-6, 2), textcoords="offset points", ha="right", color=MARK)
    axis.set(xlim=(0, max(room, vectors) * 1.02), ylim=(-0.45, 0.75), yticks=[], title=said,
             xlabel="places in the language model's context")
    return figure
