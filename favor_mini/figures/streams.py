"""A clip's two streams: sampled frames, spectrograms, and missing or shifted streams."""

import textwrap

import librosa
import numpy as np
from matplotlib.patches import Rectangle

from ..world.transcript import heard_phrase, seen_phrase
from .shapes import arrow, borders, boxes, time_rows
from .style import CENTRE, EVEN, INK, LIGHT, MARK, STRONG, Picture, listed, panels, picture, styled
from .timeline import heard_events, show_frames, waveform


@styled
def sampled_frames(scene, clip, times, frame_rate: float) -> Picture:
    """A file's script, the times of its frames (seconds), and `clip`, sampled at `frame_rate`."""
    grid = np.arange(len(clip.frames)) / frame_rate
    shown = [(m.start, m.end, f"{seen_phrase(m)} ({((grid >= m.start) & (grid < m.end)).sum()})")
             for m in scene.moments]
    tall = np.clip(11.5 / frame_rate / clip.duration, 0.3, 1.3)  # square frames, in inches
    details = "; ".join(f"{start:.1f} s {text}" for start, _, text in shown)
    figure, (script, ticks, strip) = time_rows(14, 2.5 + tall, (
        f"{len(times)} frames of a file of {clip.duration:.1f} s, and the {len(clip.frames)} that "
        f"are sampled at {frame_rate:g} Hz. What is seen (frames sampled): {details}."),
        {"seen\n(frames)": 1.0, "in the file\n(red: sampled)": 0.45,
         f"sampled at\n{frame_rate:g} Hz": tall},
        max(clip.duration, len(clip.frames) / frame_rate))
    boxes(script, shown)
    ticks.vlines(times, 0, 0.55, color=INK, linewidth=0.6)
    ticks.vlines(grid, 0, 1, color=MARK)
    show_frames(
        strip, clip.frames, frame_rate, 0, 1, min(0.96, tall * clip.duration * frame_rate / 12))
    for axis in (script, ticks, strip):
        axis.set_ylim(0, 1)
    return figure


@styled
def readers(rows: dict[str, np.ndarray], frame_rate: float, off: float = 5.0) -> Picture:
    """The frames (T, H, W, 3) that several readers return for one film. The first row is the
    truth; a frame that differs from it by more than `off` grey levels on average has a red frame.
    """
    truth = next(iter(rows.values())).astype(float)
    wrong = {name: [k for k, right in enumerate(truth) if k >= len(frames)
                    or np.abs(frames[k] - right).mean() > off] for name, frames in rows.items()}
    seconds = len(truth) / frame_rate
    found = listed(wrong, lambda places: f"{len(places)} of {len(truth)} wrong"
                   + "".join(f", {k / frame_rate:g} s" for k in places))
    figure, axes = time_rows(
        14, len(rows) * (0.15 + 11 / frame_rate / seconds) + 0.6,
        f"The frames of one film from several readers. {found}.",
        dict.fromkeys(rows, 1.0), seconds)
    for axis, (name, frames) in zip(axes, rows.items(), strict=True):
        show_frames(axis, frames, frame_rate, 0, 1)
        for k in wrong[name]:
            axis.add_patch(Rectangle((k / frame_rate, 0), 0.94 / frame_rate, 1, fill=False,
                                     color=MARK, linewidth=2.5, zorder=3))
        axis.set_ylim(0, 1)
    return figure


@styled
def mel_column(samples: np.ndarray, at: float) -> Picture:
    """How a log-mel spectrogram's column at a time (seconds) is made from samples at 16 kHz."""
    first, bands = round(at * 16000), 80
    piece = samples[first:first + 400]
    power = np.abs(np.fft.rfft(piece * np.hanning(401)[:-1])) ** 2  # [201]
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=bands)  # [80, 201]
    column = np.log10(np.maximum(filters @ power, 1e-10))
    hertz = np.fft.rfftfreq(400, 1 / 16)  # in kHz
    figure, (wave, spectrum, energy) = picture(
        14, 4.2, f"How one column is made. Left: 40 ms of a waveform from {at:.2f} s on, with a "
        f"window of 25 ms and the next, 10 ms later. Middle: the power spectrum of that window, "
        f"greatest at {hertz[power.argmax()]:.1f} kHz, under triangular filters that are wider at "
        f"higher frequencies. Right: the log energy of {bands} mel bands, greatest in band "
        f"{column.argmax()}.", 1, 3, width_ratios=(1.15, 1.25, 0.9))
    shown = samples[first - 80:first + 640]  # 5 ms before the window to 15 ms after it
    wave.plot((np.arange(len(shown)) - 80) / 16, shown)
    top = 1.15 * max(1e-3, np.abs(shown).max())
    wave.axvspan(0, 25, color=LIGHT, alpha=0.6, linewidth=0)
    for start, height, colour in ((0, 1.32, MARK), (10, 1.18, INK)):
        arrow(wave, (start, height * top), (start + 25, height * top), colour, arrowstyle="<->")
    wave.text(12.5, 1.36 * top, "25 ms", ha="center", va="bottom", color=MARK)
    wave.text(36, 1.18 * top, "next, 10 ms later", va="center")
    wave.set(ylim=(-1.1 * top, 1.6 * top), xlim=(-5, 58), xlabel=f"ms after {at:.2f} s",
             title="waveform")
    spectrum.plot(hertz, 10 * np.log10(power / power.max() + 1e-8))
    for weights in filters[4::8]:
        spectrum.fill_between(hertz, -80, -80 + 34 * weights / weights.max(), facecolor=LIGHT,
                              edgecolor=INK, linewidth=0.7)
    spectrum.set(ylim=(-80, 4), xlabel="kHz", ylabel="dB",
                 title="its spectrum, and every\neighth of the filters")
    energy.barh(range(bands), column - column.min(), 0.9, left=column.min(), linewidth=0)
    energy.set(xlabel="log10 energy", ylabel="mel band", title=f"one column:\n{bands} numbers")
    return figure


@styled
def spectrograms(shown: dict, seconds: float) -> Picture:
    """Log-mel spectrograms, (mels, frames) at 100 Hz, by title, on one colour scale."""
    shown = {title: np.asarray(mel) for title, mel in shown.items()}
    least, most = min(mel.min() for mel in shown.values()), max(mel.max() for mel in shown.values())
    details = listed(shown, lambda mel: f"most energy in band {mel.max(1).argmax()}")
    figure, axes = panels(
        14, 0.9 + 2.3 * -(-len(shown) // 4), f"{len(shown)} log-mel spectrograms over time, "
        f"low frequencies below. {details}.", shown, sharex=True, sharey=True)
    for axis, title, mel in axes:
        drawn = axis.imshow(mel, origin="lower", cmap=EVEN, vmin=least, vmax=most,
                            extent=(0, mel.shape[1] / 100, 0, len(mel)))
        axis.set(title=title, xlim=(0, seconds), xlabel="time (s)", ylabel="mel band")
        axis.label_outer()
    figure.colorbar(drawn, ax=figure.axes, label="log-mel", shrink=0.9)
    return figure


@styled
def streams(
        clips: dict, *, scene=None, later: dict | None = None, shade: tuple = ()) -> Picture:
    """Clips on one time axis: frames, waveform, and a note for each missing stream.

    Args:
        clips: by its name, a `media.Clip` read at 2 Hz. scene: the script of all of them.
        later: by a clip's name, the delay of its sound (seconds). shade: (start, end).
    """
    sounds = {name: _named_sounds(clip, scene, (later or {}).get(name, 0.0))
              for name, clip in clips.items()}
    details = "; ".join(f"{name}: {len(c.frames)} frames, {len(c.waveform) / c.sampling_rate:.1f} "
                        f"s of sound" + (f", no {' and no '.join(c.missing)}" if c.missing else "")
                        + "".join(f", {words} at {start:.1f} s" for start, _, words in sounds[name])
                        for name, c in clips.items())
    shaded = " Shaded: {:.1f} to {:.1f} s.".format(*shade) if shade else ""
    top = 1.55 if scene else 1.12
    figure, axes = time_rows(
        14, 0.8 + 0.48 * (1.07 + top) * len(clips), f"Clips on one time axis. {details}.{shaded}",
        {textwrap.fill(name, 22): 1 for name in clips},
        max(clip.duration for clip in clips.values()))
    loudest = max((np.abs(c.waveform).max() for c in clips.values() if len(c.waveform)), default=1)
    for axis, (name, clip) in zip(axes, clips.items(), strict=True):
        show_frames(axis, clip.frames, 2, -1, 0.1)
        if len(clip.waveform):
            waveform(axis, clip, 0.62, 0.45 / loudest)
        for stream, height in (("video", -0.45), ("audio", 0.62)):
            if stream in clip.missing:
                axis.text(0.15, height, f"no {stream} stream in this file", va="center",
                          style="italic", color=MARK)
        for start, end, words in sounds[name]:
            axis.text(max(0.3, (start + end) / 2), 1.28, words, **CENTRE, zorder=4,
                      bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1})
        if shade:
            axis.axvspan(*shade, color=MARK, alpha=0.13, linewidth=0, zorder=0)
            borders(axis, shade, zorder=3)
        axis.set_ylim(-1.05, top)
    return figure


def _named_sounds(clip, scene, later: float) -> list[tuple[float, float, str]]:
    """(start, end, name) of the script's sounds in a clip whose sound is `later` seconds late."""
    rate, found = clip.sampling_rate, []
    for start, end, words in heard_events(scene, heard_phrase) if scene else ():
        start, end = start + later, end + later
        held = clip.waveform[max(0, round(start * rate)):max(0, round(end * rate))]
        if len(held) > 0.1 * rate and held.std() > 0.02:  # sounds have 0.07 or more
            found.append((max(0.0, start), end, words))
    return found


@styled
def data_rates(stages: dict) -> Picture:
    """Numbers a second, by the stream, by the stage, with the factor between stages."""
    details = listed(stages, lambda each: listed(each, "{:,}", " ", ", "))
    figure, axis = picture(12, 1.2 + 0.52 * sum(map(len, stages.values())),
                           f"Numbers a second, stage by stage. {details}.")
    place, names = 0.0, {}
    for colour, line, each in zip((STRONG, MARK), ("-", "--"), stages.values(), strict=False):
        places, counts = place + np.arange(len(each)), [*each.values()]
        axis.plot(counts, places, line, color=colour, marker="o", markersize=9)
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
