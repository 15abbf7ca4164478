"""Pictures of mini-AVEB: one question of each task with its media, word errors counted step by step, and many experiments at once."""

from __future__ import annotations

import textwrap

import librosa
import numpy as np
from matplotlib.patches import Rectangle

from .style import EVEN, INK, LIGHT, MARK, STRONG, Picture, picture, styled


def _frames(frames: np.ndarray) -> np.ndarray:
    """The picture, or four frames of a film in two rows of two."""
    if len(frames) < 4:
        return frames[0]
    a, b, c, d = frames[np.linspace(0, len(frames) - 1, 4).round().astype(int)]
    return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)])


@styled
def gallery(shown: dict, *, columns: int = 4) -> Picture:
    """Questions with what the model is given, side by side: its frames (of a film, four) and the spectrogram of its sound.

    Args:
        shown: by its title, (clip, question, answer) each.
    """
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    told = "; ".join(f"{title}: {' and '.join(s for s, there in (('picture', len(clip.frames)), ('sound', len(clip.waveform))) if there)}, "
                     f"asked {question!r}, answer {answer!r}" for title, (clip, question, answer) in shown.items())
    figure = picture(3.5 * columns, 3.5 * rows, f"One question of each of {len(shown)} tasks with its media. {told}.")
    panels = figure.add_gridspec(rows, columns)
    for i, (title, (clip, question, answer)) in enumerate(shown.items()):
        seen, heard = len(clip.frames) > 0, len(clip.waveform) > 0
        heights = (1.7, 1) if seen and heard else (1, 0.001) if seen else (0.001, 1)
        inside = panels[i // columns, i % columns].subgridspec(2, 1, height_ratios=heights)
        top, bottom = figure.add_subplot(inside[0]), figure.add_subplot(inside[1])
        if seen:
            top.imshow(_frames(clip.frames), aspect="equal")
        if heard:
            mel = librosa.feature.melspectrogram(y=clip.waveform, sr=clip.sampling_rate, n_fft=400, hop_length=160, n_mels=60)
            bottom.imshow(librosa.power_to_db(mel, ref=np.max), origin="lower", aspect="auto", cmap=EVEN, vmin=-70, vmax=0)
        for axis in (top, bottom):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        top.set_title("\n".join(textwrap.wrap(title, 26)), fontsize=13)
        text = textwrap.fill(question, 34) + "\n" + textwrap.fill(f"> {answer}", 34)
        bottom.set_xlabel(text, fontsize=10.5, linespacing=1.1)
    return figure


def edits(told: list[str], said: list[str]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The table of least errors between the beginnings of two word lists, (len(said) + 1, len(told) + 1), and a cheapest way through it."""
    table = np.zeros((len(said) + 1, len(told) + 1), int)
    table[:, 0], table[0] = range(len(said) + 1), range(len(told) + 1)
    for i, word in enumerate(said, 1):
        for j, other in enumerate(told, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (word != other))
    way = [(len(said), len(told))]
    while way[-1] != (0, 0):
        i, j = way[-1]
        before = [(i - 1, j - 1)] if i and j and table[i - 1, j - 1] + (said[i - 1] != told[j - 1]) == table[i, j] else []
        before += [(i - 1, j)] if i and table[i - 1, j] + 1 == table[i, j] else []
        before += [(i, j - 1)] if j and table[i, j - 1] + 1 == table[i, j] else []
        way.append(before[0])
    return table, way[::-1]


@styled
def word_errors_table(told: str, said: str) -> Picture:
    """The table by which word errors are counted, with a cheapest way through it: down is a word left out, right one too many."""
    table, way = edits(told.split(), said.split())
    figure = picture(2.2 + 1.15 * table.shape[1], 1.4 + 0.62 * table.shape[0], (
        f"Table of least errors between what was said, {said!r}, and what was told, {told!r}: {table[-1, -1]} errors. "
        f"The way leads through {', '.join(f'row {i} column {j}' for i, j in way)}."))
    axis = figure.subplots()
    axis.imshow(np.zeros(table.shape), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for step, (i, j) in enumerate(way):
        costly = step and table[i, j] > table[way[step - 1]]
        axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#f3c9cb" if costly else LIGHT, edgecolor="none"))
    for i, j in np.ndindex(table.shape):
        axis.text(j, i, table[i, j], ha="center", va="center", fontsize=15, fontweight="bold" if (i, j) in way else "normal")
    for (i, j), (k, m) in zip(way, way[1:], strict=False):
        if table[k, m] > table[i, j]:
            name = "wrong word" if k > i and m > j else "left out" if k > i else "too many"
            axis.text(m + 0.46, k + 0.42, name, ha="right", va="bottom", fontsize=10, color=MARK)
    axis.set(xticks=range(table.shape[1]), yticks=range(table.shape[0]), ylabel="said")
    axis.set_xlabel("told", labelpad=10)
    axis.set_xticklabels(["(nothing)", *told.split()])
    axis.set_yticklabels(["(nothing)", *said.split()])
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


@styled
def lottery(lows, highs, truth: float, title: str, *, shown: int = 40) -> Picture:
    """Many intervals of one experiment repeated: which hold the true difference, which exclude zero.

    Args:
        lows, highs: ends of the intervals, (experiments,). truth: the difference that they are after. shown: draw so many.
    """
    lows, highs = np.asarray(lows), np.asarray(highs)
    found = (lows > 0) | (highs < 0)
    figure = picture(12, 4.6, (
        f"{title} {len(lows)} repeats of one experiment with a true difference of {truth:g} points: the intervals are "
        f"{float((highs - lows).mean()):.1f} points wide on average and {float(found.mean()):.0%} exclude zero."))
    axis = figure.subplots()
    for i in range(min(shown, len(lows))):
        axis.plot([i, i], [lows[i], highs[i]], color=STRONG if found[i] else "#8a8a8a", linewidth=3.2 if found[i] else 1.6)
        axis.plot(i, (lows[i] + highs[i]) / 2, "o", color=STRONG if found[i] else "white", markeredgecolor=INK, markersize=6)
    axis.axhline(0, color=INK, linewidth=1.4)
    axis.axhline(truth, color=MARK, linewidth=2.2, linestyle="--")
    axis.annotate("truth", (1, truth), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points", color=MARK,
                  va="center")
    axis.set(xlabel=f"the same experiment, repeated (the first {min(shown, len(lows))})", ylabel="points of accuracy", title=title,
             xticks=[])
    axis.plot([], [], color=STRONG, linewidth=3.2, label="excludes zero: a difference is found")
    axis.plot([], [], color="#8a8a8a", linewidth=1.6, label="holds zero: none is found")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
