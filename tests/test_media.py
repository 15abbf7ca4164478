"""Clips have the right frames and the right sound, by value, for every kind of file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import needs
from media_files import (
    CLICK_TIMES,
    RATE,
    clicks,
    cut,
    garbled,
    numbers,
    onsets,
    shown,
    with_cover,
    write_gif,
    write_media,
)
from PIL import Image

from favor_mini.media.clip import MediaError, clip_from_arrays
from favor_mini.media.read import iter_clips, read_clip

STEADY = np.arange(100) / 25  # 4 s at 25 frames a second


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_media(path, times=STEADY, waves=clicks(4, 48000),
                       options={"movflags": "+faststart"})


@pytest.fixture(scope="module")
def cut_film(film):
    """Begins 1.32 s into the film, with frame 33, 9 frames after a key frame."""
    return cut(film, film.with_name("cut.mp4"), 1.32)


# Frames.

@pytest.mark.parametrize("name, video", [("a.mp4", "libx264"), ("a.mov", "libx264"),
                                         ("a.mkv", "libx264"),
                                         ("a.ts", "libx264"), ("a.webm", "libvpx"),
                                         ("a.avi", "mpeg4")])
@pytest.mark.parametrize("frame_rate", [2.0, 7.0])
def test_frame_k_is_the_one_on_screen_then(tmp_path, name, video, frame_rate):
    write_media(tmp_path / name, times=STEADY, video=video)
    clip = read_clip(tmp_path / name, frame_rate=frame_rate)
    moments = np.arange(0, 4, 1 / frame_rate)
    assert clip.frames.dtype == np.uint8 and clip.frames.shape == (len(moments), 64, 64, 3)
    assert numbers(clip.frames) == shown(STEADY, moments)
    assert np.allclose(clip.frame_times, STEADY[shown(STEADY, moments)], atol=1e-3)
    assert clip.missing == ("audio",) and clip.waveform.shape == (0,)
    assert clip.source == str(tmp_path / name)
    assert abs(clip.duration - 4) < 1e-3


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate(tmp_path, name):
    times = [0, 0.1, 0.15, 0.9, 1.0, 1.04, 1.7, 2.0, 2.02, 2.04, 2.06, 3.4, 3.5]
    write_media(tmp_path / name, times=times)
    clip = read_clip(tmp_path / name, frame_rate=5.0)
    moments = np.arange(len(clip.frames)) / 5
    assert len(moments) >= 18
    assert numbers(clip.frames) == shown(times, moments)
    assert np.allclose(clip.frame_times, np.array(times)[shown(times, moments)], atol=2e-3)


@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (270, 3)])
def test_rotated_pictures_stand_upright(tmp_path, degrees, turns):
    """As phones write them. The direction was compared with what ffplay shows."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = 250, 170, 90
    write_media(tmp_path / "a.mp4", times=[0, 0.5, 1.0], frames=[picture] * 3, size=(64, 48),
                rotation=degrees)
    clip = read_clip(tmp_path / "a.mp4")
    expected = np.rot90(picture, turns)
    assert clip.frames.shape[1:] == expected.shape
    assert np.abs(clip.frames[0].astype(int) - expected).mean() < 4


def test_what_an_edit_list_removes_is_not_shown(cut_film):
    clip = read_clip(cut_film)
    assert numbers(clip.frames) == shown(STEADY, 1.32 + np.arange(6) / 2)
    assert np.allclose(onsets(clip.waveform), [t - 1.32 for t in CLICK_TIMES if t > 1.32],
                       atol=0.005)


def test_gif(tmp_path):
    write_gif(tmp_path / "a.gif", range(20, 120, 10),
              [100, 300, 100, 700, 200, 50, 50, 400, 100, 100])
    clip = read_clip(tmp_path / "a.gif", frame_rate=10)
    begins = np.cumsum([0, 0.1, 0.3, 0.1, 0.7, 0.2, 0.05, 0.05, 0.4, 0.1])
    moments = np.arange(21) / 10
    assert clip.frames.shape == (21, 24, 32, 3) and clip.missing == ("audio",)
    assert clip.frames[:, 5, 5, 0].tolist() == [20 + 10 * i for i in shown(begins, moments)]
    assert np.array_equal(read_clip(tmp_path / "a.gif", frame_rate=10, start=1.5).frames,
                          clip.frames[15:])


def test_one_frame(tmp_path):
    write_media(tmp_path / "a.mp4", times=[0.0])
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.frames.shape == (1, 64, 64, 3) and numbers(clip.frames) == [0]
    assert clip.frame_times.tolist() == [0]


def test_a_late_film_shows_its_first_picture_until_it_begins(tmp_path):
    write_media(tmp_path / "a.mp4", times=STEADY[:50] + 1, waves=clicks(3, 48000))
    clip = read_clip(tmp_path / "a.mp4")
    assert numbers(clip.frames) == [0, 0, 0, 12, 25, 37]
    assert np.allclose(clip.frame_times, [1, 1, 1, 1.48, 2, 2.48], atol=1e-3)
    assert np.allclose(onsets(clip.waveform), CLICK_TIMES[:4], atol=0.005)


def test_frames_end_where_the_pictures_end(tmp_path):
    write_media(tmp_path / "a.mp4", times=STEADY[:50], waves=clicks(4, 48000))
    clip = read_clip(tmp_path / "a.mp4")
    assert len(clip.frames) == 4 and abs(len(clip.waveform) / RATE - 4) < 0.03
    later = read_clip(tmp_path / "a.mp4", start=2.5, end=3.5)
    assert later.frames.shape == (0, 64, 64, 3) and later.missing == ()
    assert len(later.waveform) == RATE


@pytest.mark.parametrize("which", ["film", "cut_film"])
def test_image_size_makes_squares_that_keep_the_mean(which, request, tmp_path):
    path = request.getfixturevalue(which)
    whole, small = read_clip(path), read_clip(path, image_size=16)
    assert small.frames.shape == (len(whole.frames), 16, 16, 3)
    assert numbers(small.frames) == numbers(whole.frames)
    assert read_clip(path, image_size=96).frames.shape[1:3] == (96, 96)
    board = (np.indices((64, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)  # no pixel of it is grey
    Image.fromarray(board).save(tmp_path / "board.png")
    shrunk = read_clip(tmp_path / "board.png", image_size=8).frames
    assert shrunk.shape == (1, 8, 8, 3) and np.abs(shrunk.astype(int) - 127).max() < 12


# Sound.

def test_the_end_of_the_last_audio_packet_makes_no_step_of_its_own(film):
    clip = read_clip(film)
    assert clip.duration == pytest.approx(4) and len(clip.frames) == 8
    assert len(clip.waveform) == 4 * RATE


def test_the_cover_of_an_album_is_not_a_video(tmp_path):
    write_media(tmp_path / "a.mp3", waves=clicks(4, 44100), rate=44100, audio="libmp3lame")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "cover.png")
    sound, cover = (tmp_path / "a.mp3").read_bytes(), (tmp_path / "cover.png").read_bytes()
    (tmp_path / "b.mp3").write_bytes(with_cover(sound, cover))
    clip = read_clip(tmp_path / "b.mp3")
    assert clip.missing == ("video",) and len(clip.frames) == 0
    assert np.allclose(onsets(clip.waveform), CLICK_TIMES, atol=0.005)


# Still images.

def test_still_images(tmp_path):
    picture = np.zeros((24, 40, 3), np.uint8)
    picture[:12, :20], picture[12:, :20] = [200, 30, 40], [10, 90, 220]
    image = Image.fromarray(picture)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by a quarter, clockwise
    image.save(tmp_path / "turned.jpg", quality=95, subsampling=0, exif=exif)
    for name, expected in (("a.png", picture), ("a.jpg", picture),
                           ("turned.jpg", np.rot90(picture, -1))):
        clip = read_clip(tmp_path / name)
        assert clip.frames.shape == (1, *expected.shape) and clip.frame_times.tolist() == [0]
        assert clip.missing == ("audio",)
        assert np.abs(clip.frames[0].astype(int) - expected).mean() < 3
        assert clip.duration == 0.5 and clip.waveform.shape == (0,)
        assert [len(piece.frames) for piece in iter_clips(tmp_path / name, seconds=5)] == [1]


def test_transparent_grey_and_deep_images(tmp_path):
    Image.fromarray(np.full((8, 8, 4), [9, 9, 9, 0], np.uint8)).save(tmp_path / "clear.png")
    assert (read_clip(tmp_path / "clear.png").frames == 255).all()
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "grey.png")
    assert (read_clip(tmp_path / "grey.png").frames == 77).all()
    Image.fromarray(np.full((8, 8), 77 * 256 + 5, np.uint16)).save(tmp_path / "deep.png")
    assert (read_clip(tmp_path / "deep.png").frames == 77).all()


# Parts of a file.

@pytest.mark.parametrize("start, end", [(0, 1.5), (0.5, 2), (2.5, None), (1, 3.25), (3.5, 4),
                                        (3, 3.1)])
@pytest.mark.parametrize("which", ["film", "cut_film"])
def test_a_part_is_a_slice_of_the_whole(which, start, end, request):
    path = request.getfixturevalue(which)
    whole = read_clip(path)
    if start >= whole.duration:
        pytest.skip("the cut film is shorter")
    part = read_clip(path, start=start, end=None if end is None else min(end, whole.duration))
    first, last = round(part.start * 2), round(part.start * 2) + len(part.frames)
    assert len(part.frames) == max(1, np.ceil(part.duration * 2 - 0.02))
    assert np.array_equal(part.frames, whole.frames[first:last])
    assert np.allclose(part.frame_times, whole.frame_times[first:last])
    sound = whole.waveform[round(start * RATE):][:len(part.waveform)]
    assert len(part.waveform) == round(part.duration * RATE)
    assert np.abs(part.waveform - sound).max() < 1e-3 and part.start == start


@pytest.mark.parametrize("name, rate, audio", [("a.wav", 44100, "pcm_s16le"),
                                               ("a.flac", 22050, "flac"),
                                               ("a.mp3", 44100, "libmp3lame"),
                                               ("a.ogg", 48000, "libopus"),
                                               ("a.m4a", 44100, "aac")])
def test_a_part_of_a_sound_is_a_slice_of_the_whole(tmp_path, name, rate, audio):
    wave = np.random.default_rng(0).standard_normal(12 * rate).cumsum()
    wave = wave - wave.mean()
    wave = (0.5 * wave / np.abs(wave).max()).astype(np.float32) + clicks(12, rate) / 4
    write_media(tmp_path / name, waves=wave, rate=rate, audio=audio)
    whole = read_clip(tmp_path / name).waveform
    # AAC lets its decoder invent noise, other noise each time
    noise = 0.02 if audio == "aac" else 2e-3
    for start, end in ((0, 1), (4.3, 4.9), (7.77, 11.3), (9, 12)):
        part = read_clip(tmp_path / name, start=start, end=end).waveform
        assert len(part) == round(end * RATE) - round(start * RATE) or end == 12
        assert np.abs(part - whole[round(start * RATE):][:len(part)]).max() < noise, (start, end)


def test_only_the_part_asked_for_is_decoded(film, tmp_path):
    """Damage elsewhere goes unnoticed."""
    (tmp_path / "a.mp4").write_bytes(garbled(film.read_bytes(), 0.8, 1500))
    assert numbers(read_clip(tmp_path / "a.mp4", end=1.0).frames) == [0, 12]
    with pytest.raises(MediaError, match="damaged"):
        read_clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("which", ["film", "cut_film"])
def test_pieces_make_the_whole(which, request):
    path = request.getfixturevalue(which)
    whole, pieces = read_clip(path, image_size=8), list(iter_clips(path, seconds=1, image_size=8))
    assert np.array_equal(np.concatenate([p.frames for p in pieces]), whole.frames)
    assert np.allclose(np.concatenate([p.frame_times for p in pieces]), whole.frame_times)
    assert np.abs(np.concatenate([p.waveform for p in pieces]) - whole.waveform).max() < 1e-3
    assert [p.start for p in pieces] == list(range(len(pieces)))
    assert sum(p.duration for p in pieces) == pytest.approx(whole.duration)


def test_pieces_of_a_part(film):
    pieces = list(iter_clips(film, seconds=1.0, start=0.5, end=2.75))
    assert [(p.start, p.duration, len(p.frames)) for p in pieces] == [(0.5, 1, 2), (1.5, 1, 2),
                                                                      (2.5, 0.25, 1)]
    with pytest.raises(MediaError, match="pieces"):
        iter_clips(film, seconds=0)


# Names.

@pytest.mark.parametrize("name", ["clip ünï 猫 🎬.mp4", "a:b.mp4", "100%d #?.mp4", "-i.mp4",
                                  "no_suffix"])
def test_any_file_name_works(film, tmp_path, name, monkeypatch):
    (tmp_path / name).write_bytes(film.read_bytes())
    monkeypatch.chdir(tmp_path)
    expected = read_clip(film)
    for path in (tmp_path / name, name, os.fsencode(tmp_path / name)):
        clip = read_clip(path)
        assert np.array_equal(clip.frames, expected.frames)
        assert np.array_equal(clip.waveform, expected.waveform)


# Arrays.

def test_arrays_are_not_changed():
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    wave = np.linspace(-1, 1, 24000)
    clip = clip_from_arrays(frames=frames, frame_rate=4.0, waveform=wave, sampling_rate=8000)
    assert np.array_equal(clip.frames, frames)
    assert clip.frame_times.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert clip.waveform.dtype == np.float32 and np.allclose(clip.waveform, wave)
    assert clip.sampling_rate == 8000
    assert clip.duration == 3 and clip.missing == () and clip.source == "arrays"
    assert clip_from_arrays(frames=frames).missing == ("audio",)
    silent = clip_from_arrays(waveform=wave)
    assert silent.missing == ("video",) and silent.frames.shape == (0, 0, 0, 3)
    assert silent.duration == 1.5


# Long files.

WATCH = """
import sys
from favor_mini import iter_clips
from favor_mini.machine import peak_memory

peaks = []
for clip in iter_clips(sys.argv[1], seconds=10, image_size=32):
    assert len(clip.frames) == 20 and len(clip.waveform) == 160000
    peaks.append(peak_memory() / 2**20)
print(len(peaks), peaks[len(peaks) // 3], peaks[-1])
"""


@pytest.mark.slow
@needs("peak")
def test_a_long_film_is_read_piece_by_piece_at_flat_memory(tmp_path):
    """Memory may rise in the first third (4 of 12 minutes), not later. The whole sound would be 138
    MiB."""
    minutes = 12
    wave = np.tile(clicks(4, 48000), 15 * minutes)
    pictures = (np.full((64, 64, 3), 20 + i % 200, np.uint8) for i in range(minutes * 240))
    from favor_mini.world.video import write_video
    write_video(tmp_path / "long.mp4", pictures, 4, wave, sampling_rate=48000)
    result = subprocess.run([sys.executable, "-c", WATCH, str(tmp_path / "long.mp4")],
                            capture_output=True, text=True,
                            timeout=300, cwd=Path(__file__).parent.parent)
    assert result.returncode == 0, result.stderr
    pieces, early, late = map(float, result.stdout.split())
    assert pieces == minutes * 6
    assert late - early < 20, f"{early:.0f} MiB after 4 minutes of film, {late:.0f} MiB at its end"
