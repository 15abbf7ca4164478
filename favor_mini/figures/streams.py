"""A clip's two streams: sampled frames, spectrograms, and missing or shifted streams."""

from __future__ import annotations

import textwrap

import librosa
import matplotlib as mpl
import numpy as np

from ..world.transcript import heard_phrase, seen_phrase
from .style import (
    BORDER,
    EVEN,
    INK,
    LIGHT,
    MARK,
    STRONG,
    Picture,
    boxes,
    inline,
    listed,
    panels,
    picture,
    row_name,
    styled,
)
from .timeline import heard_events, show_frames, time_axis, waveform


@styled
def sampled_frames(scene, clip, times, frame_rate: float) -> Picture:
    """A file's script, the times of its frames, and the frames sampled from it.

    Args:
        scene: the script. clip: a `media.Clip` read at `frame_rate`.
        times: of the file's frames (seconds).
    """
    grid = np.arange(len(clip.frames)) / frame_rate
    count = [int(((grid >= m.start) & (grid < m.end)).sum()) for m in scene.moments]
    shown = [(m.start, m.end, f"{seen_phrase(m)} ({n})")
             for m, n in zip(scene.moments, count, strict=True)]
    tall = float(np.clip(11.5 / frame_rate / clip.duration, 0.3, 1.3))  # square frames, in inches
    details = "; ".join(f"{start:.1f} s {text}" for start, _, text in shown)
    figure = picture(14, 2.5 + tall, (
        f"{len(times)} frames of a file of {clip.duration:.1f} s, and the {len(clip.frames)} that "
        f"are sampled at {frame_rate:g} Hz. What is seen (frames sampled): {details}."))
    script, ticks, strip = axes = figure.subplots(3, sharex=True, height_ratios=(1.0, 0.45, tall))
    boxes(script, shown)
    ticks.vlines(times, 0, 0.55, color=INK, linewidth=0.6)
    ticks.vlines(grid, 0, 1, color=MARK, linewidth=2.5)
    show_frames(
        strip, clip.frames, frame_rate, 0, 1, min(0.96, tall * clip.duration * frame_rate / 12))
    names = "seen\n(frames)", "in the file\n(red: sampled)", f"sampled at\n{frame_rate:g} Hz"
    for axis, name in zip(axes, names, strict=True):
        row_name(axis, name)
        axis.set_ylim(0, 1)
    time_axis(strip, max(clip.duration, len(clip.frames) / frame_rate))
    return figure


@styled
def mel_column(samples: np.ndarray, at: float) -> Picture:
    """How one column of a log-mel spectrogram is made: 25 ms of sound, its spectrum, its mel bands.

    Args:
        samples: (samples,), a waveform at 16 kHz. at: where the column begins (seconds).
    """
    sampling_rate, length, hop, bands = 16000, 400, 160, 80
    first = round(at * sampling_rate)
    piece = samples[first:first + length]
    power = np.abs(np.fft.rfft(piece * np.hanning(length + 1)[:-1])) ** 2  # [201]
    filters = librosa.filters.mel(sr=sampling_rate, n_fft=length, n_mels=bands)  # [80, 201]
    column = np.log10(np.maximum(filters @ power, 1e-10))
    hertz = np.fft.rfftfreq(length, 1 / sampling_rate) / 1000
    figure = picture(
        14, 4.2, (f"How one column is made. Left: 40 ms of a waveform from {at:.2f} s on, with a "
                  f"window of 25 ms and the next, 10 ms later. Middle: the power spectrum of that "
                  f"window, greatest at {hertz[power.argmax()]:.1f} kHz, under triangular filters "
                  f"that are wider at higher frequencies. Right: the log energy of {bands} mel "
                  f"bands, greatest in band {int(column.argmax())}."))
    wave, spectrum, energy = figure.subplots(1, 3, width_ratios=(1.15, 1.25, 0.9))
    shown = samples[first - hop // 2:first + length + 3 * hop // 2]
    clock = (np.arange(len(shown)) - hop // 2) / sampling_rate * 1000
    wave.plot(clock, shown, color=STRONG, linewidth=1.2)
    top = 1.15 * max(1e-3, float(np.abs(shown).max()))
    wave.axvspan(0, 25, color=LIGHT, alpha=0.6, linewidth=0)
    for start, height, colour in ((0, 1.32, MARK), (10, 1.18, INK)):
        wave.annotate("", (start, height * top), (start + 25, height * top),
                      arrowprops={"arrowstyle": "<->", "color": colour})
    wave.text(12.5, 1.36 * top, "25 ms", ha="center", va="bottom", color=MARK)
    wave.text(36, 1.18 * top, "next, 10 ms later", ha="left", va="center")
    wave.set(ylim=(-1.1 * top, 1.6 * top), xlim=(clock[0], 58), xlabel=f"ms after {at:.2f} s",
             title="waveform")
    spectrum.plot(hertz, 10 * np.log10(power / power.max() + 1e-8), color=STRONG, linewidth=1.6)
    for band in range(4, bands, 8):
        spectrum.fill_between(hertz, -80, -80 + 34 * filters[band] / filters[band].max(),
                              facecolor=LIGHT, edgecolor=INK, linewidth=0.7)
    spectrum.set(ylim=(-80, 4), xlabel="kHz", ylabel="dB",
                 title="its spectrum, and every\neighth of the filters")
    energy.barh(
        np.arange(bands), column - column.min(), 0.9, left=column.min(), color=STRONG, linewidth=0)
    energy.set(xlabel="log10 energy", ylabel="mel band", title=f"one column:\n{bands} numbers")
    return figure


@styled
def spectrograms(shown: dict, seconds: float | None = None) -> Picture:
    """Log-mel spectrograms side by side, on one colour scale.

    Args:
        shown: by its title, (mels, frames) at 100 Hz.
        seconds: length of the time axis; by default that of the longest.
    """
    shown = {title: np.asarray(mel) for title, mel in shown.items()}
    longest = max(mel.shape[1] for mel in shown.values()) / 100 if seconds is None else seconds
    least, most = min(mel.min() for mel in shown.values()), max(mel.max() for mel in shown.values())
    details = listed(shown, lambda mel: f"most energy in band {int(mel.max(1).argmax())}")
    figure = picture(
        14, 0.9 + 2.3 * -(-len(shown) // 4), f"{len(shown)} log-mel spectrograms over time, "
        f"low frequencies below. {details}.")
    axes = panels(figure, len(shown), sharex=True, sharey=True)
    for axis, (title, mel) in zip(axes, shown.items(), strict=True):
        drawn = axis.imshow(mel, origin="lower", cmap=mpl.colormaps[EVEN].resampled(24), vmin=least,
                            vmax=most, extent=(0, mel.shape[1] / 100, 0, len(mel)))
        axis.set(title=title, xlim=(0, longest), xlabel="time (s)", ylabel="mel band")
        axis.label_outer()
    figure.colorbar(drawn, ax=list(axes), label="log-mel", shrink=0.9)
    return figure


@styled
def streams(clips: dict, *, frame_rate: float = 2.0, scene=None, later: dict | None = None,
            shade: tuple | None = None) -> Picture:
    """Clips on one time axis: frames, waveform, and a note for each missing stream.

    Args:
        clips: by its name, a `media.Clip` read at `frame_rate`.
        scene: the script of all of them, which names each sound.
        later: by a clip's name, how many seconds its sound was delayed. shade: (start, end) to
            shade in all rows.
    """
    sounds = {name: _named_sounds(clip, scene, (later or {}).get(name, 0.0))
              for name, clip in clips.items()}
    details = "; ".join(f"{name}: {len(c.frames)} frames, {len(c.waveform) / c.sampling_rate:.1f} "
                        f"s of sound" + (f", no {' and no '.join(c.missing)}" if c.missing else "")
                        + "".join(f", {words} at {start:.1f} s" for start, _, words in sounds[name])
                        for name, c in clips.items())
    shaded = f" Shaded: {shade[0]:.1f} to {shade[1]:.1f} s." if shade else ""
    top = 1.55 if scene else 1.12
    figure = picture(
        14, 0.8 + 0.48 * (1.07 + top) * len(clips), f"Clips on one time axis. {details}.{shaded}")
    axes = figure.subplots(len(clips), sharex=True, squeeze=False)[:, 0]
    loudest = max(
        (float(np.abs(c.waveform).max()) for c in clips.values() if len(c.waveform)), default=1.0)
    for axis, (name, clip) in zip(axes, clips.items(), strict=True):
        show_frames(axis, clip.frames, frame_rate, -1, 0.1)
        if len(clip.waveform):
            waveform(axis, clip, 0.62, 0.45 / loudest)
        for stream, height in (("video", -0.45), ("audio", 0.62)):
            if stream in clip.missing:
                axis.text(0.15, height, f"no {stream} stream in this file", va="center",
                          style="italic", color=MARK)
        for start, end, words in sounds[name]:
            axis.text(max(0.3, (start + end) / 2), 1.28, words, ha="center", va="center", zorder=4,
                      bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1})
        if shade:
            axis.axvspan(*shade, color=MARK, alpha=0.13, linewidth=0, zorder=0)
            for border in shade:
                axis.axvline(border, **BORDER | {"linewidth": 1.6}, zorder=3)
        row_name(axis, textwrap.fill(name, 22))
        axis.set_ylim(-1.05, top)
    time_axis(axes[-1], max(clip.duration for clip in clips.values()))
    return figure


def _named_sounds(clip, scene, later: float) -> list[tuple[float, float, str]]:
    """(start, end, name) of the script's sounds in a clip whose sound is `later` seconds late."""
    rate, found = clip.sampling_rate, []
    for start, end, words in heard_events(scene, heard_phrase) if scene else ():
        start, end = start + later, end + later
        held = clip.waveform[max(0, round(start * rate)):max(0, round(end * rate))]
        if len(held) > 0.1 * rate and np.sqrt((held**2).mean()) > 0.02:  # sounds have 0.07 or more
            found.append((max(0.0, start), end, words))
    return found


@styled
def data_rates(stages: dict) -> Picture:
    """Numbers a second at each stage of a stream, with the factor between stages.

    Args:
        stages: by the stream, by the stage, how many numbers a second there are.
    """
    details = listed(stages, lambda each: inline(each, "{:,}"))
    figure = picture(12, 1.2 + 0.52 * sum(map(len, stages.values())),
                     f"Numbers a second, stage by stage. {details}.")
    axis, place, names = figure.subplots(), 0.0, {}
    for colour, line, each in zip((STRONG, MARK), ("-", "--"), stages.values(), strict=False):
        places, counts = place + np.arange(len(each)), np.array(list(each.values()), dtype=float)
        axis.plot(counts, places, line, color=colour, linewidth=2.2, marker="o", markersize=9)
        for y, count, before in zip(places, counts, [None, *counts[:-1]], strict=True):
            words = f"{count:,.0f}" + (f"   (1 / {before / count:.3g})" if before else "")
            axis.annotate(
                words, (count, y), xytext=(11, -10), textcoords="offset points", va="center")
        names |= dict(zip(places, each, strict=True))
        place += len(each) + 0.6
    axis.set(ylim=(place - 0.9, -0.6), xscale="log", xlim=(1e3, 4e7),
             xlabel="numbers a second (logarithmic)")
    axis.set_yticks(list(names), [textwrap.fill(name, 42) for name in names.values()])
    axis.grid(axis="x")
    return figure
