"""Sound: samples are heard at their time, with their pitch and loudness."""

import numpy as np
import pytest
import soundfile
from media_files import CLICK_TIMES, RATE, clicks, numbers, onsets, shown, write_media

from favor_mini.media.read import read_clip

STEADY = np.arange(100) / 25  # 4 s at 25 frames a second


@pytest.mark.parametrize("name, rate, audio", [
    ("a.wav", 8000, "pcm_s16le"), ("a.wav", 44100, "pcm_s24le"), ("a.wav", 48000, "pcm_f32le"),
    ("a.wav", 22050, "pcm_u8"), ("a.flac", 44100, "flac"), ("a.mp3", 44100, "libmp3lame"),
    ("a.ogg", 48000, "libopus"),
    ("a.opus", 24000, "libopus"), ("a.m4a", 16000, "aac"), ("a.webm", 48000, "libopus"),
    ("a.mkv", 44100, "flac")])
def test_clicks_are_heard_when_they_sound(tmp_path, name, rate, audio):
    wave = clicks(4, rate)
    write_media(tmp_path / name, waves=wave, rate=rate, audio=audio)
    clip = read_clip(tmp_path / name)
    assert clip.waveform.dtype == np.float32 and clip.waveform.ndim == 1
    assert clip.sampling_rate == RATE
    assert np.allclose(onsets(clip.waveform), CLICK_TIMES, atol=0.005)
    assert abs(np.abs(clip.waveform).max() - np.abs(wave).max()) < 0.08
    assert abs(len(clip.waveform) - 4 * RATE) < 0.03 * RATE
    assert len(clip.waveform) == round(clip.duration * RATE)
    assert clip.missing == ("video",) and clip.frames.shape == (0, 0, 0, 3)
    assert clip.frame_times.shape == (0,)


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
def test_a_tone_keeps_its_pitch_and_loudness(tmp_path, sampling_rate):
    time = np.arange(2 * 48000) / 48000
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), 48000)
    clip = read_clip(tmp_path / "a.wav", sampling_rate=sampling_rate)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * sampling_rate) / sampling_rate)
    assert clip.waveform.shape == expected.shape
    inside = slice(sampling_rate // 4, -sampling_rate // 4)
    assert np.abs(clip.waveform - expected)[inside].max() < 1e-3


def test_surround_sound_is_the_mean_of_its_channels(tmp_path):
    waves = np.zeros((6, 4 * 48000), np.float32)
    waves[2] = clicks(4, 48000)  # all of it from the middle
    waves[4] = clicks(4, 48000, at=[2.9])  # and one from behind
    write_media(tmp_path / "a.mp4", times=STEADY, waves=waves, layout="5.1")
    wave = read_clip(tmp_path / "a.mp4").waveform
    assert np.allclose(onsets(wave), sorted([*CLICK_TIMES, 2.9]), atol=0.005)
    assert abs(np.abs(wave).max() - np.abs(waves).max() / 6) < 0.03


def test_a_video_with_8_khz_sound(tmp_path):
    write_media(tmp_path / "a.mkv", times=STEADY, waves=clicks(4, 8000), rate=8000,
                audio="pcm_s16le")
    clip = read_clip(tmp_path / "a.mkv")
    assert np.allclose(onsets(clip.waveform), CLICK_TIMES, atol=0.005)
    assert numbers(clip.frames) == shown(STEADY, np.arange(8) / 2)


@pytest.mark.parametrize("name, audio", [("a.mp4", "aac"), ("a.mkv", "libopus")])
def test_sound_that_begins_late_and_ends_early_is_padded(tmp_path, name, audio):
    write_media(tmp_path / name, times=STEADY, waves=clicks(1.5, 48000), sound_at=1.2, audio=audio)
    clip = read_clip(tmp_path / name)
    assert abs(len(clip.waveform) - 4 * RATE) <= 0.01 * RATE
    assert np.allclose(onsets(clip.waveform), [1.2 + t for t in CLICK_TIMES[:2]], atol=0.005)
    assert not clip.waveform[:round(1.1 * RATE)].any()
    assert not clip.waveform[round(2.8 * RATE):].any()
