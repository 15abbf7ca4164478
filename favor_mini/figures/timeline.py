"""Clips on a time axis."""

import librosa
import numpy as np

from ..world.scene import Scene
from ..world.transcript import heard_phrase, seen_phrase
from .shapes import borders, boxes, time_rows
from .style import Picture, styled


def seen_events(scene: Scene, name=lambda moment: moment.subject) -> list[tuple]:
    """(start, end, name) of what the script shows, in seconds."""
    return [(m.start, m.end, name(m)) for m in scene.moments if m.seen != "nothing" and name(m)]


def heard_events(scene: Scene, name=lambda moment: moment.heard.name) -> list[tuple]:
    """(start, end, name) of the script's sounds, in seconds."""
    return [
        (m.heard.start, m.heard.start + m.heard.seconds, name(m)) for m in scene.moments if m.heard]


def show_frames(
        axis, frames, frame_rate: float, bottom: float, top: float, width: float = 0.94) -> None:
    """Each frame at its time, `width` of a time step wide."""
    for k, frame in enumerate(frames):
        axis.imshow(frame, extent=(k / frame_rate, (k + width) / frame_rate, bottom, top), zorder=2)


def frame_strip(axis, frames, width: float = 1.0) -> None:
    """Frames side by side, `width` each, with white borders."""
    ends = np.arange(len(frames) + 1) * width
    axis.imshow(np.concatenate(list(frames), axis=1), extent=(0, ends[-1], 0, 1))
    borders(axis, ends, color="white", linewidth=2, linestyle="-")


def waveform(axis, clip, middle: float = 0.0, scale: float = 1.0) -> None:
    """A clip's samples over time."""
    times = np.arange(len(clip.waveform)) / clip.sampling_rate
    axis.plot(times, middle + scale * clip.waveform, linewidth=0.5)


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
        scene: the script, if there is one. clip: a `media.Clip` read at `frame_rate`.
        window_frames: K; a window border is drawn every K frames.
    """
    every = max(1, -(-len(clip.frames) // 24))  # draw every second, third ... frame of a long clip
    square = min(1.0, 7.6 * every / frame_rate / max(clip.duration, 1.0))
    rows = {"frames": square, "seen": 0.95, "waveform": 0.75, "log-mel": 1.1, "heard": 0.5}
    if scene is None:
        del rows["seen"], rows["heard"]
    seconds = window_frames / frame_rate
    windows = int(np.ceil(clip.duration / seconds))
    script = "; ".join(f"{m.start:.1f} s see {seen_phrase(m)}, hear {heard_phrase(m)}"
                       for m in (scene.moments if scene else ()))
    figure, axes = time_rows(14, 1.0 + 1.75 * sum(rows.values()), (
        f"A clip of {clip.duration:.1f} s on one time axis: {len(clip.frames)} frames at "
        f"{frame_rate:g} Hz, its waveform, its log-mel spectrogram, and the borders of its "
        f"{windows} windows of {window_frames} frames. Script: {script or 'none'}."),
        rows, clip.duration)
    axes = dict(zip(rows, axes, strict=True))
    if len(clip.frames):
        frame_strip(axes["frames"], clip.frames[::every], every / frame_rate)
    if len(clip.waveform):
        waveform(axes["waveform"], clip)
        top = max(0.05, np.abs(clip.waveform).max())
        axes["waveform"].set_ylim(-top, top)
        log_mel(axes["log-mel"], clip)
    if scene is not None:
        boxes(axes["seen"], seen_events(scene, seen_phrase))
        boxes(axes["heard"], heard_events(scene, heard_phrase))
    starts = np.arange(windows) * seconds
    for axis in axes.values():
        borders(axis, starts[1:], color="white", linewidth=4.5, linestyle="-")  # below the dashes
        borders(axis, starts[1:])
    for w, start in enumerate(starts, 1):
        middle = (start + min(clip.duration, start + seconds)) / 2
        axes["frames"].text(middle, 1.08, f"window {w}", ha="center", fontweight="bold")
    return figure
