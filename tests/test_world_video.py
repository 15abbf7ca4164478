"""Files give back what was written: frames at their times, and sound to within 5 ms."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from favor_mini.media.read import read_clip
from favor_mini.world.pictures import draw_frames
from favor_mini.world.scene import draw_scene
from favor_mini.world.video import write_scene, write_video

RATE = 16000


def clicks(seconds, every=0.73):
    """Short decaying tones at known times, and nothing between them: (samples,), float32."""
    wave = np.zeros(round(seconds * RATE), np.float32)
    time = np.arange(800) / RATE
    click = 0.7 * np.sin(2 * np.pi * 1500 * time) * np.exp(-80 * time)
    for start in np.arange(0.31, seconds - 0.1, every):
        first = round(start * RATE)
        wave[first:first + 800] += click[:len(wave) - first]
    return wave


def lag(wave, reference):
    """By how many seconds `wave` comes after `reference`: the peak of their cross-correlation."""
    n = 2 * max(len(wave), len(reference))
    product = np.fft.rfft(wave, n) * np.conj(np.fft.rfft(reference, n))
    peak = int(np.fft.irfft(product, n).argmax())
    return (peak if peak < n // 2 else peak - n) / RATE


def grey_ramp(count, height=64, width=64):
    """Flat grey frames, each a little lighter than the one before, over and over."""
    return [np.full((height, width, 3), 20 + 2 * (i % 100), np.uint8) for i in range(count)]


@pytest.mark.parametrize("audio_rate", [48000, 44100, 16000])
@pytest.mark.parametrize("fps", [24, 10, Fraction(30000, 1001)])
def test_sound_is_read_back_at_its_time(tmp_path, audio_rate, fps):
    wave = clicks(4.0)
    write_video(tmp_path / "clip.mp4", grey_ramp(round(4 * fps)), fps, wave, audio_rate=audio_rate)
    back = read_clip(tmp_path / "clip.mp4", frame_rate=2.0, sampling_rate=RATE,
                     image_size=None).waveform
    assert abs(lag(back, wave)) < 0.005
    assert abs(len(back) - len(wave)) < 0.1 * RATE
    onset = np.flatnonzero(np.abs(back) > 0.1)[0] / RATE
    assert abs(onset - 0.31) < 0.005
    n = min(len(back), len(wave))
    assert np.corrcoef(back[:n], wave[:n])[0, 1] > 0.99


@pytest.mark.parametrize("seed", [7, 8])
def test_frames_are_read_back_at_their_times(tmp_path, seed):
    scene = draw_scene(seed)
    write_scene(scene, tmp_path / "scene.mp4", size=128, fps=12)
    clip = read_clip(tmp_path / "scene.mp4", frame_rate=2.0, sampling_rate=RATE, image_size=None)
    expected = draw_frames(scene, clip.frame_times, size=128)
    assert clip.frames.shape == expected.shape
    assert np.abs(clip.frames.astype(int) - expected).mean(axis=(1, 2, 3)).max() < 4
    assert abs(len(clip.waveform) / RATE - scene.duration) < 0.1


def test_every_frame_is_there_in_order(tmp_path):
    write_video(tmp_path / "ramp.mp4", grey_ramp(50), fps=25)
    with av.open(str(tmp_path / "ramp.mp4")) as file:
        assert not file.streams.audio
        read = [(frame.time, frame.to_ndarray(format="rgb24").mean())
                for frame in file.decode(video=0)]
    times, greys = np.array(read).T
    assert np.allclose(times, np.arange(50) / 25, atol=1e-6)
    assert np.abs(greys - (20 + 2 * np.arange(50))).max() < 3


def test_stereo_channels_are_not_swapped(tmp_path):
    wave = np.stack([clicks(2.0), np.zeros(2 * RATE, np.float32)])
    write_video(tmp_path / "stereo.mp4", grey_ramp(20), 10, wave)
    with av.open(str(tmp_path / "stereo.mp4")) as file:
        sound = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)
    assert sound.shape[0] == 2 and np.abs(sound[0]).max() > 0.3 and np.abs(sound[1]).max() < 0.05


def test_the_index_comes_first(tmp_path):
    """So that a player can start before the whole file has come."""
    write_video(tmp_path / "clip.mp4", grey_ramp(20), 10, clicks(2.0))
    content = (tmp_path / "clip.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_same_scene_gives_the_same_bytes(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        write_scene(draw_scene(5), tmp_path / name, size=64, fps=8)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_an_interrupted_writer_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def breaking():
        yield from grey_ramp(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, breaking(), 10, clicks(1.0))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("frames, wave, says", [
    ([], None, "expected at least one"),
    ([np.zeros((63, 64, 3), np.uint8)], None, "even"),
    ([np.zeros((64, 64), np.uint8)], None, "even"),
    ([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)], None, "frame 1"),
    ([np.zeros((64, 64, 3), np.float32)], None, "uint8"),
    ([np.zeros((64, 64, 3), np.uint8)], np.zeros((100, 2), np.float32), "waveform"),
])
def test_wrong_shapes_and_types_are_refused(tmp_path, frames, wave, says):
    with pytest.raises(ValueError, match=says):
        write_video(tmp_path / "bad.mp4", frames, 10, wave)
    assert not os.listdir(tmp_path)
