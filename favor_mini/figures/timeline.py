"""Clips on a time axis: the shapes that figures of a clip share, and one clip with all its streams.

    python -m favor_mini.figures.timeline            draw the README's picture,
    notebooks/images/timeline.png
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np

from ..media.read import read_clip
from ..world.scene import Scene
from ..world.transcript import heard_phrase, seen_phrase
from .style import BORDER, STRONG, Picture, boxes, picture, png, row_name, styled


def seen_events(scene: Scene, name=lambda moment: moment.subject) -> list[tuple]:
    """(start, end, name) of what the script shows, in seconds."""
    return [(m.start, m.end, name(m)) for m in scene.moments if m.seen != "nothing" and name(m)]


def heard_events(scene: Scene, name=lambda moment: moment.heard.name) -> list[tuple]:
    """(start, end, name) of the script's sounds, in seconds."""
    return [
        (m.heard.start, m.heard.start + m.heard.seconds, name(m)) for m in scene.moments if m.heard]


def time_axis(axis, seconds: float) -> None:
    """The lowest axis of a figure, after `row_name`: seconds from 0."""
    axis.set(xlim=(0, seconds), xticks=np.arange(int(seconds) + 1), xlabel="time (s)")
    axis.tick_params(axis="x", length=4)


def show_frames(
        axis, frames, frame_rate: float, bottom: float, top: float, width: float = 0.94) -> None:
    """Each frame at its time, `width` of a time step wide."""
    for k, frame in enumerate(frames):
        axis.imshow(frame, extent=(k / frame_rate, (k + width) / frame_rate, bottom, top), zorder=2)


def waveform(axis, clip, middle: float = 0.0, scale: float = 1.0) -> None:
    """A clip's samples over time."""
    axis.plot(np.arange(len(clip.waveform)) / clip.sampling_rate, middle + scale * clip.waveform,
              color=STRONG, linewidth=0.5)


def log_mel(axis, clip, bands: int = 80) -> None:
    """A clip's log-mel spectrogram over time, of the loudest 80 dB."""
    mel = librosa.feature.melspectrogram(
        y=clip.waveform, sr=clip.sampling_rate, n_fft=400, hop_length=160, n_mels=bands)
    axis.imshow(librosa.power_to_db(mel, ref=np.max), origin="lower", vmin=-80, vmax=0,
                extent=(0, len(clip.waveform) / clip.sampling_rate, 0, 1))


@styled
def timeline(
        scene: Scene | None, clip, *, window_frames: int = 10, frame_rate: float = 2.0) -> Picture:
    """A clip on one time axis: frames, waveform, spectrogram, sliding windows and script.

    Args:
        scene: the script; None for a clip without one.
        clip: `media.Clip` whose frames were read at `frame_rate`.
        window_frames: K; a window border is drawn every K frames.
    """
    every = max(1, -(-len(clip.frames) // 24))  # draw every second, third ... frame of a long clip
    square = min(1.0, 7.6 * every / frame_rate / max(clip.duration, 1.0))
    rows = {"frames": square, "seen": 0.95, "waveform": 0.75, "log-mel": 1.1, "heard": 0.5}
    if scene is None:
        rows = {name: height for name, height in rows.items() if name not in ("seen", "heard")}
    seconds = window_frames / frame_rate
    windows = int(np.ceil(clip.duration / seconds))
    script = "; ".join(f"{m.start:.1f} s see {seen_phrase(m)}, hear {heard_phrase(m)}"
                       for m in (scene.moments if scene else ()))
    figure = picture(14, 1.0 + 1.75 * sum(rows.values()), (
        f"A clip of {clip.duration:.1f} s on one time axis: {len(clip.frames)} frames at "
        f"{frame_rate:g} Hz, its waveform, its log-mel spectrogram, and the borders of its "
        f"{windows} windows of {window_frames} frames. Script: {script or 'none'}."))
    axes = figure.subplots(len(rows), sharex=True, height_ratios=list(rows.values()))
    axes = dict(zip(rows, axes, strict=True))
    if len(clip.frames):
        ends = np.arange(len(clip.frames[::every]) + 1) * every / frame_rate
        axes["frames"].imshow(
            np.concatenate(list(clip.frames[::every]), axis=1), extent=(0, ends[-1], 0, 1))
        for end in ends:
            axes["frames"].axvline(end, color="white", linewidth=1.5)
    if len(clip.waveform):
        waveform(axes["waveform"], clip)
        top = max(0.05, float(np.abs(clip.waveform).max()))
        axes["waveform"].set_ylim(-top, top)
        log_mel(axes["log-mel"], clip)
    if scene is not None:
        boxes(axes["seen"], seen_events(scene, seen_phrase))
        boxes(axes["heard"], heard_events(scene, heard_phrase))
    for name, axis in axes.items():
        row_name(axis, name)
        for border in np.arange(1, windows) * seconds:
            axis.axvline(border, color="white", linewidth=4.5)  # below the dashes
            axis.axvline(border, **BORDER)
    for w in range(windows):
        middle = (w * seconds + min(clip.duration, (w + 1) * seconds)) / 2
        axes["frames"].text(
            middle, 1.08, f"window {w + 1}", ha="center", va="bottom", fontweight="bold")
    time_axis(axis, clip.duration)
    return figure


def draw_readme(folder) -> None:
    """Draw the README's picture, `timeline.png` of the first sample clip, into `folder`."""
    from ..world.samples import read_samples

    sample = read_samples()[0]
    Path(folder).mkdir(parents=True, exist_ok=True)
    drawn = timeline(sample.scene, read_clip(sample.path))
    (Path(folder) / "timeline.png").write_bytes(png(drawn, dpi=80))


if __name__ == "__main__":
    draw_readme("notebooks/images")
