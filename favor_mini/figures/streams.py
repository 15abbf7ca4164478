"""Figures about a clip's two streams: which frames are taken, how a spectrogram comes about, where files fall short."""

from __future__ import annotations

import textwrap

import librosa
import matplotlib as mpl
import numpy as np

from ..world.transcript import heard_phrase, seen_phrase
from .style import EVEN, INK, LIGHT, MARK, STRONG, Picture, picture, styled


@styled
def taken(scene, clip, times, frame_rate: float) -> Picture:
    """Which of a file's pictures are taken: what happens, when the file shows a new picture, and the frames on the grid.

    Args:
        scene: the script. clip: a `media.Clip` read at `frame_rate`. times: when the file's pictures come on screen (seconds).
    """
    moments = np.arange(len(clip.frames)) / frame_rate
    count = [int(((moments >= m.start) & (moments < m.end)).sum()) for m in scene.moments]
    side = 0.96 / frame_rate  # seconds that a frame takes up in the picture
    tall = float(np.clip(12 * side / clip.duration, 0.3, 1.3))  # inches, so that it stays a square
    figure = picture(14, 2.5 + tall, (
        f"{len(times)} pictures of a file of {clip.duration:.1f} s, and the {len(clip.frames)} that a grid of "
        f"{frame_rate:g} a second takes. "
        + "; ".join(f"{m.start:.1f} s {seen_phrase(m)}: {n} frames" for m, n in zip(scene.moments, count, strict=True)) + "."))
    script, ticks, strip = figure.subplots(3, sharex=True, height_ratios=(1.0, 0.45, tall))
    for moment, n in zip(scene.moments, count, strict=True):
        script.barh(0.5, moment.end - moment.start, left=moment.start, height=0.96, color=LIGHT, edgecolor=INK)
        words = textwrap.fill(f"{seen_phrase(moment)} ({n})", max(7, round(9 * (moment.end - moment.start))))
        script.text((moment.start + moment.end) / 2, 0.5, words, ha="center", va="center", fontsize=11.5, linespacing=0.95)
    ticks.vlines(times, 0, 0.55, color=INK, linewidth=0.6)
    ticks.vlines(moments, 0, 1, color=MARK, linewidth=2.5)
    for start, frame in zip(moments, clip.frames, strict=True):
        strip.imshow(frame, extent=(start, start + min(side, tall * clip.duration / 12), 0, 1), aspect="auto", zorder=2)
    names = (script, "what is seen\n(frames taken)"), (ticks, "in the file, and\nthe grid (red)"), (strip, f"taken at\n{frame_rate:g} Hz")
    for axis, name in names:
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        axis.set(yticks=[], ylim=(0, 1))
        axis.tick_params(axis="x", length=4 if axis is strip else 0)
    strip.set(xlim=(0, max(clip.duration, len(clip.frames) / frame_rate)), xticks=np.arange(int(clip.duration) + 1), xlabel="time (s)")
    return figure


@styled
def one_column(waveform: np.ndarray, at: float, sampling_rate: int = 16000, bands: int = 80) -> Picture:
    """How one column of a log-mel spectrogram is made, from left to right: 25 ms of sound, its spectrum, its bands."""
    first, length, hop = round(at * sampling_rate), 400, 160
    piece = waveform[first:first + length]
    power = np.abs(np.fft.rfft(piece * np.hanning(length + 1)[:-1])) ** 2  # [201]
    filters = librosa.filters.mel(sr=sampling_rate, n_fft=length, n_mels=bands)  # [80, 201]
    column = np.log10(np.maximum(filters @ power, 1e-10))
    hertz = np.fft.rfftfreq(length, 1 / sampling_rate) / 1000
    figure = picture(14, 4.2, (
        f"How one column comes about. Left: 40 ms of a waveform from {at:.2f} s on, with a window of 25 ms and the next, "
        f"10 ms later. Middle: the power spectrum of that window, greatest at {hertz[power.argmax()]:.1f} kHz, under "
        f"triangular filters that widen with the pitch. Right: the log energy of {bands} bands, greatest in band "
        f"{int(column.argmax())}."))
    wave, spectrum, bars = figure.subplots(1, 3, width_ratios=(1.15, 1.25, 0.9))
    shown = waveform[first - hop // 2:first + length + 3 * hop // 2]
    clock = (np.arange(len(shown)) - hop // 2) / sampling_rate * 1000
    wave.plot(clock, shown, color=STRONG, linewidth=1.2)
    top = 1.15 * max(1e-3, float(np.abs(shown).max()))
    wave.axvspan(0, 25, color=LIGHT, alpha=0.6, linewidth=0)
    for start, height in ((0, 1.32), (10, 1.18)):
        wave.annotate("", (start, height * top), (start + 25, height * top),
                      arrowprops={"arrowstyle": "<->", "color": INK if start else MARK})
    wave.text(12.5, 1.36 * top, "25 ms", ha="center", va="bottom", fontsize=12, color=MARK)
    wave.text(36, 1.18 * top, "next, 10 ms on", ha="left", va="center", fontsize=11)
    wave.set(ylim=(-1.1 * top, 1.6 * top), xlim=(clock[0], 56), xlabel=f"ms after {at:.2f} s", title="a piece of sound")
    spectrum.plot(hertz, 10 * np.log10(power / power.max() + 1e-8), color=STRONG, linewidth=1.6)
    for band in range(4, bands, 8):
        spectrum.fill_between(hertz, -80, -80 + 34 * filters[band] / filters[band].max(), color=LIGHT, edgecolor=INK, linewidth=0.7)
    spectrum.set(ylim=(-80, 4), xlabel="kHz", ylabel="dB", title="its spectrum, and every\neighth of the filters")
    bars.barh(np.arange(bands), column - column.min(), 0.9, left=column.min(), color=STRONG)
    bars.set(xlabel="log10 energy", ylabel="mel band", title="one column:\n80 numbers")
    return figure


@styled
def spectrograms(shown: dict, columns: int = 4, label: str = "log-mel", seconds: float | None = None) -> Picture:
    """Log-mel spectrograms side by side, on one scale of colours.

    Args:
        shown: by its title, (mels, frames) at 100 Hz. seconds: how much of the time axis is shown, by default all of the longest.
    """
    shown = {title: np.asarray(mel) for title, mel in shown.items()}
    longest = max(mel.shape[1] for mel in shown.values()) / 100 if seconds is None else seconds
    least, most = min(mel.min() for mel in shown.values()), max(mel.max() for mel in shown.values())
    told = "; ".join(f"{title}: most energy in band {int(mel.max(1).argmax())}" for title, mel in shown.items())
    rows, columns = -(-len(shown) // columns), min(columns, len(shown))
    figure = picture(14, 0.9 + 2.3 * rows, f"{len(shown)} log-mel spectrograms over time, low pitches below. {told}.")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.ravel()[len(shown):]:
        axis.set_visible(False)
    for axis, (title, mel) in zip(axes.ravel(), shown.items(), strict=False):
        drawn = axis.imshow(mel, origin="lower", aspect="auto", cmap=mpl.colormaps[EVEN].resampled(24), vmin=least,
                            vmax=most, interpolation="nearest", extent=(0, mel.shape[1] / 100, 0, len(mel)))
        axis.set(title=title, xlim=(0, longest))
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    for axis in axes[:, 0]:
        axis.set_ylabel("mel band")
    figure.colorbar(drawn, ax=list(axes.ravel()), label=label, shrink=0.9)
    return figure


@styled
def streams(clips: dict, *, frame_rate: float = 2.0, scene=None, later: dict | None = None, shade: tuple | None = None) -> Picture:
    """Clips below one another on one time axis: a box for every frame, the waveform above it, and what is missing in words.

    Args:
        clips: by its name, a `media.Clip` read at `frame_rate`. scene: the script of them all, to name each sound that is there.
        later: by a clip's name, by how many seconds its sound has been moved. shade: (start, end) of a stretch to shade in all.
    """
    sounds = {name: _named(clip, scene, (later or {}).get(name, 0.0)) for name, clip in clips.items()}
    told = "; ".join(f"{name}: {len(c.frames)} frames, {len(c.waveform) / c.sampling_rate:.1f} s of sound"
                     + (f", no {' and no '.join(c.missing)}" if c.missing else "")
                     + "".join(f", {words} at {start:.1f} s" for start, _, words in sounds[name]) for name, c in clips.items())
    stretch = f" Shaded: {shade[0]:.1f} to {shade[1]:.1f} s." if shade else ""
    top = 1.55 if scene else 1.12
    figure = picture(14, 0.8 + 0.48 * (1.07 + top) * len(clips), f"Clips on one time axis. {told}.{stretch}")
    axes = figure.subplots(len(clips), sharex=True, squeeze=False)[:, 0]
    loudest = max((float(np.abs(c.waveform).max()) for c in clips.values() if len(c.waveform)), default=1.0)
    for axis, (name, clip) in zip(axes, clips.items(), strict=True):
        for k, frame in enumerate(clip.frames):
            axis.imshow(frame, extent=(k / frame_rate, (k + 0.94) / frame_rate, -1, 0.1), aspect="auto", zorder=2)
        if len(clip.waveform):
            time = np.arange(len(clip.waveform)) / clip.sampling_rate
            axis.plot(time, 0.62 + 0.45 * clip.waveform / loudest, color=STRONG, linewidth=0.5)
        for stream, height in (("video", -0.45), ("audio", 0.62)):
            if stream in clip.missing:
                axis.text(0.15, height, {"video": "no picture in this file", "audio": "no sound track in this file"}[stream], va="center",
                          fontsize=12, style="italic", color=MARK)
        for start, end, words in sounds[name]:
            axis.text(max(0.3, (start + end) / 2), 1.28, words, ha="center", va="center", fontsize=11.5, zorder=4,
                      bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1})
        if shade:
            axis.axvspan(*shade, color=MARK, alpha=0.13, linewidth=0, zorder=0)
            for border in shade:
                axis.axvline(border, color=MARK, linewidth=1.6, linestyle=(0, (4, 2)), zorder=3)
        axis.set(ylim=(-1.05, top), yticks=[])
        axis.set_ylabel(textwrap.fill(name, 22), rotation=0, ha="right", va="center", fontsize=12)
        axis.tick_params(axis="x", length=4 if axis is axes[-1] else 0)
    longest = max(clip.duration for clip in clips.values())
    axes[-1].set(xlim=(0, longest), xticks=np.arange(int(longest) + 1), xlabel="time (s)")
    return figure


def _named(clip, scene, later: float) -> list[tuple[float, float, str]]:
    """(start, end, what it is) of the script's sounds that this clip holds, where its sound is moved by so many seconds."""
    rate, found = clip.sampling_rate, []
    for moment in scene.moments if scene else ():
        if moment.heard:
            start, end = moment.heard.start + later, moment.heard.start + later + moment.heard.seconds
            there = clip.waveform[max(0, round(start * rate)):max(0, round(end * rate))]
            if len(there) > 0.1 * rate and np.sqrt((there**2).mean()) > 0.02:  # an event is 0.07 or louder, the noise far fainter
                found.append((max(0.0, start), end, heard_phrase(moment)))
    return found


@styled
def narrowing(stages: dict) -> Picture:
    """What becomes of a stream, stage by stage: a dot for each on a logarithmic axis, joined, with the factor between them.

    Args:
        stages: by the stream, then by the stage, how many numbers a second there are.
    """
    told = "; ".join(f"{name}: " + ", ".join(f"{stage} {count:,}" for stage, count in each.items()) for name, each in stages.items())
    figure = picture(12, 1.2 + 0.52 * sum(map(len, stages.values())), f"Numbers a second, stage by stage. {told}.")
    axis, place, names = figure.subplots(), 0.0, {}
    for colour, line, each in zip((STRONG, MARK), ("-", "--"), stages.values(), strict=False):
        places, counts = place + np.arange(len(each)), np.array(list(each.values()), dtype=float)
        axis.plot(counts, places, line, color=colour, linewidth=2.2, marker="o", markersize=9)
        for y, count, before in zip(places, counts, [None, *counts[:-1]], strict=True):
            words = f"{count:,.0f}" + (f"   (1 / {before / count:.3g})" if before else "")
            axis.annotate(words, (count, y), xytext=(11, -10), textcoords="offset points", va="center", fontsize=12.5)
        names |= dict(zip(places, each, strict=True))
        place += len(each) + 0.6
    axis.set(yticks=list(names), ylim=(place - 0.9, -0.6), xscale="log", xlim=(1e3, 4e7), xlabel="numbers a second (logarithmic)")
    axis.set_yticklabels([textwrap.fill(name, 42) for name in names.values()], fontsize=12.5)
    axis.grid(axis="x", color="#dddddd")
    return figure
