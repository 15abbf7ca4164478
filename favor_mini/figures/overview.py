"""The figures that the report and the notebooks share: one style, readable on a projector and in greyscale.

Every function returns a `Picture`, a matplotlib figure with a text for those who cannot see it: `alt(figure)`. A notebook
shows it when it is a cell's last line, with that text; `png(figure)` gives the bytes.
"""

from __future__ import annotations

import textwrap

import librosa
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ..world.scene import Scene
from ..world.transcript import heard_phrase, seen_phrase
from .style import EVEN, INK, LIGHT, MARK, SERIES, STRONG, Picture, picture, png, styled


@styled
def timeline(scene: Scene | None, clip, *, window_frames: int = 10, frame_rate: float = 2.0) -> Picture:
    """A clip on one time axis: frames, sound, what the encoders get of it, the sliding windows, and the script.

    Args:
        scene: the script; None for a clip whose script nobody knows.
        clip: `media.Clip` whose frames were read at `frame_rate`.
        window_frames: K; a window border is drawn every K frames.
    """
    shown = max(1, -(-len(clip.frames) // 24))  # of a long clip, every second frame, or third ...
    squares = min(1.0, 7.6 * shown / frame_rate / max(clip.duration, 1.0))
    rows = {"frames": squares, "seen": 0.95, "waveform": 0.75, "log-mel": 1.1, "heard": 0.5}
    if scene is None:
        rows = {name: height for name, height in rows.items() if name not in ("seen", "heard")}
    windows = int(np.ceil(clip.duration * frame_rate / window_frames))
    script = "" if scene is None else " Script: " + "; ".join(
        f"{m.start:.1f} s see {seen_phrase(m)}, hear {heard_phrase(m)}" for m in scene.moments) + "."
    figure = picture(14, 1.0 + 1.75 * sum(rows.values()), (
        f"A clip of {clip.duration:.1f} s on one time axis: {len(clip.frames)} frames at {frame_rate:g} a second, its "
        f"waveform, its log-mel spectrogram, and the borders of its {windows} windows of {window_frames} frames.{script}"))
    axes = dict(zip(rows, figure.subplots(len(rows), sharex=True, height_ratios=list(rows.values())), strict=True))

    if len(clip.frames):
        strip = np.concatenate(list(clip.frames[::shown]), axis=1)
        ends = np.arange(len(clip.frames[::shown]) + 1) * shown / frame_rate
        axes["frames"].imshow(strip, extent=(0, ends[-1], 0, 1), aspect="auto")
        for end in ends:
            axes["frames"].axvline(end, color="white", linewidth=1.5)
    if len(clip.waveform):
        _sound(axes["waveform"], axes["log-mel"], clip)
    if scene is not None:
        _script(axes["seen"], [(m.start, m.end, seen_phrase(m)) for m in scene.moments if m.seen != "nothing"])
        _script(axes["heard"], [(m.heard.start, m.heard.start + m.heard.seconds, heard_phrase(m))
                                for m in scene.moments if m.heard])
    for name, axis in axes.items():
        axis.tick_params(axis="x", length=4 if name == list(axes)[-1] else 0)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set_yticks([])
        for border in np.arange(1, windows) * window_frames / frame_rate:
            axis.axvline(border, color="white", linewidth=4.5)  # below the dashes, to lift them off the spectrogram
            axis.axvline(border, color=MARK, linewidth=2.5, linestyle=(0, (4, 2)))
    for w in range(windows):
        middle = (w * window_frames / frame_rate + min(clip.duration, (w + 1) * window_frames / frame_rate)) / 2
        axes["frames"].text(middle, 1.08, f"window {w + 1}", ha="center", va="bottom", fontweight="bold")
    axis.set(xlim=(0, clip.duration), xticks=np.arange(int(clip.duration) + 1), xlabel="time (s)")
    return figure


def _sound(wave_axis, mel_axis, clip) -> None:
    time = np.arange(len(clip.waveform)) / clip.sampling_rate
    wave_axis.plot(time, clip.waveform, color=STRONG, linewidth=0.5)
    top = max(0.05, float(np.abs(clip.waveform).max()))
    wave_axis.set_ylim(-top, top)
    mel = librosa.feature.melspectrogram(y=clip.waveform, sr=clip.sampling_rate, n_fft=400, hop_length=160, n_mels=80)
    mel_axis.imshow(librosa.power_to_db(mel, ref=np.max), origin="lower", aspect="auto", cmap=EVEN, vmin=-80, vmax=0,
                    extent=(0, len(clip.waveform) / clip.sampling_rate, 0, 1))


def _script(axis, events: list[tuple[float, float, str]]) -> None:
    """Boxes from start to end with what happens written in them, as narrow as the boxes are."""
    for start, end, text in events:
        axis.barh(0.5, end - start, left=start, height=0.96, color=LIGHT, edgecolor=INK)
        axis.text((start + end) / 2, 0.5, textwrap.fill(text, max(7, round(9 * (end - start)))), ha="center", va="center",
                  fontsize=11.5, linespacing=0.95, zorder=4, bbox={"facecolor": LIGHT, "linewidth": 0, "pad": 1})
    axis.set_ylim(0, 1)


@styled
def masks(num_frames: int = 4, step_tokens: int = 3) -> Picture:
    """Who may look at whom, side by side: the paper's mask, its reverse, and no mask. Dark: looking is allowed."""
    from ..attention import block_anticausal, block_causal, full

    shown = {block_causal: "own frame and earlier ones", block_anticausal: "own frame and later ones",
             full: "the whole window"}
    figure = picture(14, 5.7, (
        f"Three attention masks over {num_frames} frames of {step_tokens} tokens. Causal: a staircase, every token sees "
        "its own frame whole and the earlier ones. Anticausal: the staircase mirrored, own frame and later ones. "
        "Full: everything sees everything."))
    for axis, (mask, said) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axis.imshow(mask(num_frames, step_tokens).float().numpy(), cmap=ListedColormap(["white", STRONG]), vmin=0, vmax=1)
        for border in np.arange(1, num_frames) * step_tokens - 0.5:
            axis.axhline(border, color=INK, linewidth=1)
            axis.axvline(border, color=INK, linewidth=1)
        middles = np.arange(num_frames) * step_tokens + (step_tokens - 1) / 2
        axis.set(xticks=middles, yticks=middles, xlabel="frame looked at", title=f"{mask.__name__}\n{said}")
        axis.set_xticklabels(range(1, num_frames + 1))
        axis.set_yticklabels(range(1, num_frames + 1))
        axis.tick_params(length=0)
        axis.spines[:].set_visible(True)
        axis.set_ylabel("frame that looks")
    figure.legend(handles=[Patch(facecolor=STRONG, edgecolor=INK, label="may look"),
                           Patch(facecolor="white", edgecolor=INK, label="may not look")],
                  loc="outside lower center", ncols=2, frameon=False)
    return figure


@styled
def loss_curves(log: list[dict]) -> Picture:
    """The two parts of the loss over the steps of all stages.

    Args:
        log: entries of `training.finetune`, those with `stage`, `step`, `cross_entropy` and `diversity` are drawn.
    """
    stages, offset = {}, 0
    for name in dict.fromkeys(e["stage"] for e in log):
        entries = [e for e in log if e["stage"] == name and "cross_entropy" in e]
        last = max(e["step"] for e in log if e["stage"] == name)
        stages[name] = (offset, offset + last, entries)
        offset += last
    drawn = [e for _, _, entries in stages.values() for e in entries]
    told = "; ".join(f"{name}: {entries[0]['cross_entropy']:.2f} to {entries[-1]['cross_entropy']:.2f}"
                     for name, (_, _, entries) in stages.items() if entries)
    figure = picture(12, 6.4, f"Cross-entropy and diversity loss over {offset} training steps. Cross-entropy, {told}.")
    axes = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    for axis, part in zip(axes, ("cross_entropy", "diversity"), strict=True):
        for i, (name, (start, end, entries)) in enumerate(stages.items()):
            steps = [start + e["step"] for e in entries]
            axis.plot(steps, [e[part] for e in entries], color=STRONG, marker="o", markersize=4, linewidth=2,
                      clip_on=False, zorder=3)
            if i % 2 == 0:
                axis.axvspan(start, end, color=LIGHT, alpha=0.45, linewidth=0)
            if part == "cross_entropy":
                narrow = end - start < 0.2 * offset  # its label is wider than itself: one row each, from the right edge
                axis.text(offset if narrow else (start + end) / 2, 1.02 + 0.07 * narrow * (len(stages) - 1 - i),
                          f"{name} ({end - start} steps)", ha="right" if narrow else "center", va="bottom",
                          fontweight="bold", transform=axis.get_xaxis_transform())
        axis.set_ylabel(part.replace("_", "-"))
    axes[0].set_ylim(0, 1.05 * max((e["cross_entropy"] for e in drawn), default=1.0))
    axes[1].axhline(0, color=INK, linewidth=1, linestyle=":")
    axes[1].set(xlabel="training step", xlim=(0, max(offset, 1)))
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def query_similarity(queries, title: str = "") -> Picture:
    """Cosine similarity of a clip's output queries with one another, one matrix a window.

    Args:
        queries: (W, N, width) output queries, array or tensor. The number over each matrix is the mean over its
            N * (N - 1) off-diagonal pairs, what the diversity loss adds up.
    """
    queries = queries.detach().float().cpu().numpy() if hasattr(queries, "detach") else np.asarray(queries)
    unit = queries / np.linalg.norm(queries, axis=-1, keepdims=True).clip(1e-12)
    cosines = unit @ unit.transpose(0, 2, 1)  # [W, N, N]
    num_queries = cosines.shape[1]
    off_diagonal = ~np.eye(num_queries, dtype=bool)
    means = [round(float(c[off_diagonal].mean()), 2) + 0.0 if num_queries > 1 else 0.0 for c in cosines]  # no "-0.00"
    columns = min(len(cosines), 4)
    rows = -(-len(cosines) // columns)
    figure = picture(max(6.0, 0.9 + 4.2 * columns), 4.4 * rows + 0.6 * bool(title), (
        f"{title + ': ' if title else ''}cosine similarity between the {num_queries} output queries in each of "
        f"{len(cosines)} windows; mean off the diagonal {', '.join(f'{m:.2f}' for m in means)}."))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(cosines):]:
        axis.set_visible(False)
    for w, (axis, matrix, mean) in enumerate(zip(axes, cosines, means, strict=False)):
        image = axis.imshow(matrix, cmap=EVEN, vmin=-1, vmax=1)
        axis.set(title=f"window {w + 1}: mean {mean:.2f}", xlabel="query", xticks=[0, num_queries - 1],
                 yticks=[0, num_queries - 1])
        axis.set_xticklabels([1, num_queries])
        axis.set_yticklabels([1, num_queries])
    axes[0].set_ylabel("query")
    figure.colorbar(image, ax=axes, label="cosine similarity", ticks=[-1, 0, 1], shrink=0.75 / rows)
    if title:
        figure.suptitle(title, fontweight="bold")
    return figure


@styled
def score_bars(found: dict[str, list]) -> Picture:
    """Accuracy per kind of question as bars, with 95 % intervals, and chance as a mark across them.

    Args:
        found: by the name of the model (at most three), its `evaluation.Score` rows.
    """
    names = list(dict.fromkeys(score.name for rows in found.values() for score in rows))
    by_name = {model: {score.name: score for score in rows} for model, rows in found.items()}
    told = "; ".join(f"{model} {rows['all'].accuracy:.0%}" for model, rows in by_name.items() if "all" in rows)
    figure = picture(12, 2.0 + len(names) * (0.17 + 0.17 * len(found)),
                      f"Accuracy per kind of question, as bars, with chance marked. Over all questions: {told}.")
    axis = figure.subplots()
    height = 0.8 / len(found)
    for i, (model, rows) in enumerate(by_name.items()):
        place = np.arange(len(names)) - 0.4 + (i + 0.5) * height
        value = np.array([rows[n].accuracy if n in rows else np.nan for n in names])
        reach = np.array([[v - rows[n].low, rows[n].high - v] if n in rows else [0, 0]
                          for n, v in zip(names, value, strict=True)]).clip(0).T
        axis.barh(place, value, height, color=SERIES[-len(found):][i], edgecolor=INK, linewidth=0.7, label=model)
        axis.hlines(place, value - reach[0], value + reach[1], color=INK, linewidth=1.6, label="95 % interval" if i == 0 else None,
                    path_effects=[withStroke(linewidth=4, foreground="white")])
    chances = {score.name: score.chance for rows in found.values() for score in rows}
    axis.vlines([chances[n] for n in names], np.arange(len(names)) - 0.45, np.arange(len(names)) + 0.45,
                color=MARK, linewidth=3.5, label="chance", zorder=3,
                path_effects=[withStroke(linewidth=6, foreground="white")])
    axis.set(yticks=range(len(names)), xlim=(0, 1), xlabel="accuracy", ylim=(len(names) - 0.4, -0.6))
    axis.set_yticklabels(names)
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.grid(axis="x", color="#dddddd")
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=len(found) + 2, frameon=False)
    return figure


def draw_readme(folder) -> None:
    """Draw the README's picture, `timeline.png`, into `folder`: the first sample clip on one time axis."""
    from pathlib import Path

    from ..media.read import read_clip
    from ..world.samples import read_samples

    sample = read_samples()[0]
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "timeline.png").write_bytes(png(timeline(sample.scene, read_clip(sample.path)), dpi=80))


if __name__ == "__main__":
    draw_readme("notebooks/images")
