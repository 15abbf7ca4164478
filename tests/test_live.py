"""Films that are still arriving: the time steps of a pipe and of a growing file, and `watch`."""

import os
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from conftest import needs
from media_files import CLICK_TIMES, RATE, clicks, numbers, onsets, shown, write_media

from favor_mini.apps import cli
from favor_mini.apps import watch as app
from favor_mini.media.clip import MediaError
from favor_mini.media.live import iter_steps
from favor_mini.media.read import read_clip
from favor_mini.world.samples import data_path

STEADY = np.arange(100) / 25  # 4 s at 25 frames a second


def joined(steps):
    """The frames and the sound of all steps."""
    steps = list(steps)
    assert [s.number for s in steps] == list(range(len(steps)))
    frames = [s.frame for s in steps if s.frame is not None]
    return frames and np.stack(frames), np.concatenate([s.waveform for s in steps])


@pytest.mark.parametrize("name, options", [
    ("a.mkv", {"audio": "flac"}), ("a.ts", {"audio": "aac"}),
    ("a.webm", {"audio": "libopus", "video": "libvpx"}), ("a.mp4", {"audio": "aac"})])
def test_the_steps_of_a_file_are_those_of_its_clip(tmp_path, name, options):
    write_media(tmp_path / name, times=STEADY, waves=clicks(4, 48000), rate=48000, **options)
    clip = read_clip(tmp_path / name)
    frames, sound = joined(iter_steps(tmp_path / name))
    assert numbers(frames) == numbers(clip.frames) == shown(STEADY, np.arange(8) / 2)
    assert np.allclose(onsets(sound), CLICK_TIMES, atol=0.01)
    assert abs(len(sound) - 4 * RATE) < 0.05 * RATE


def test_a_stream_that_is_missing_is_left_out(tmp_path):
    write_media(tmp_path / "sound.mkv", waves=clicks(4, 16000), rate=16000, audio="flac")
    frames, sound = joined(iter_steps(tmp_path / "sound.mkv"))
    assert frames == [] and np.allclose(onsets(sound), CLICK_TIMES, atol=0.01)
    write_media(tmp_path / "silent.mkv", times=STEADY)
    frames, sound = joined(iter_steps(tmp_path / "silent.mkv"))
    assert numbers(frames) == shown(STEADY, np.arange(8) / 2) and not len(sound)


def written_slowly(source, target, after, pieces=12, pause=0.08):
    """Write a file's bytes to another, piece by piece; `after` is called before the last one."""
    data = source.read_bytes()
    size = -(-len(data) // pieces)
    with open(target, "ab", buffering=0) as file:
        for start in range(0, len(data), size):
            if start + size >= len(data):
                after()
            file.write(data[start : start + size])
            time.sleep(pause)


@pytest.mark.parametrize("kind", [pytest.param("pipe", marks=needs("pipes")), "growing file"])
def test_steps_come_before_the_film_has_ended(tmp_path, kind):
    times = np.arange(80) / 4  # 20 s: more than FFmpeg looks at before it begins
    whole, live = tmp_path / "whole.mkv", tmp_path / "live.mkv"
    write_media(whole, times=times, waves=clicks(20, 16000), rate=16000, audio="flac")
    if kind == "pipe":
        os.mkfifo(live)
    else:
        live.touch()
    found, before_the_end = [], []
    writer = threading.Thread(target=written_slowly, args=(
        whole, live, lambda: before_the_end.append(len(found))))
    writer.start()
    for step in iter_steps(live, patience=1.0):
        found.append(step)
    writer.join()
    assert numbers(np.stack([s.frame for s in found])) == shown(times, np.arange(40) / 2)
    assert 0 < before_the_end[0] < 40


@needs("pipes")
def test_what_cannot_be_streamed_says_so(tmp_path):
    write_media(tmp_path / "a.mp4", times=STEADY, waves=clicks(4, 48000), rate=48000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # the index of a plain MP4 is at its end, and a pipe cannot go back
    data = (tmp_path / "a.mp4").read_bytes()

    def write():
        with suppress(BrokenPipeError):
            pipe.write_bytes(data)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        frames, _ = joined(iter_steps(pipe))
        assert numbers(frames) == shown(STEADY, np.arange(8) / 2)  # a small film was read whole
    except MediaError as error:
        assert "fragmented MP4" in str(error)
    writer.join()
    (tmp_path / "text.mkv").write_text("no film")
    with pytest.raises(MediaError, match="text.mkv"):
        list(iter_steps(tmp_path / "text.mkv"))
    with pytest.raises(MediaError, match="no such file"):
        list(iter_steps(tmp_path / "nowhere.mkv"))


def test_a_film_that_is_cut_off_says_so_after_its_steps(tmp_path):
    for name, audio in (("a.mp4", "aac"), ("a.webm", "libopus")):
        write_media(tmp_path / name, times=STEADY, waves=clicks(4, 48000), rate=48000, audio=audio,
                    **({"video": "libvpx"} if name == "a.webm" else {}))
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(MediaError, match=rf"{name}: .*(cut off|moov|film)"):
            for step in iter_steps(tmp_path / name):
                assert step.number < 7


def test_a_length_that_is_only_guessed_is_no_cut(tmp_path):
    """FFmpeg guesses the length of raw AAC from its first packets: of silence, far too long."""
    waves = np.concatenate([np.zeros(4 * 48000, np.float32), np.random.default_rng(0).normal(
        0, 0.3, 4 * 48000).astype(np.float32)])
    write_media(tmp_path / "a.aac", waves=waves, rate=48000, audio="aac")
    with av.open(str(tmp_path / "a.aac")) as container:
        assert container.duration / av.time_base > 10  # 8 s
    _, sound = joined(iter_steps(tmp_path / "a.aac"))
    assert abs(len(sound) - 8 * RATE) < RATE / 2


def test_a_playlist_opens_no_other_file(tmp_path):
    write_media(tmp_path / "a.mkv", times=STEADY)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:4,\na.mkv\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError):
        list(iter_steps(tmp_path / "list.m3u8"))


def test_watch_answers_at_the_end_of_each_window():
    file = data_path() / "clips" / "clip_00.mp4"  # 10.98 s: three windows of 5 s
    found = list(app.watch(str(file), "what was written?"))
    assert [(start, end) for start, end, _ in found] == [(0, 5), (0, 10), (5, 11)]
    assert found[1][2] == "sugar"  # in the second window


def test_the_windows_are_those_of_the_model(monkeypatch):
    """The queries of `watch` equal those of the whole film, each window's sound encoded alone."""
    watcher, file = app.Watcher(seconds=30), data_path() / "clips" / "clip_01.mp4"
    steps = list(iter_steps(file, image_size=watcher.processor.settings.image_size))
    for step in steps:
        watcher.add(step)
    if watcher.visual:
        watcher.end_window()
    model, frames = watcher.model, watcher.processor.settings.window_frames
    for (_, queries), first in zip(watcher.windows, range(0, len(steps), frames), strict=True):
        part = steps[first : first + frames]
        pixels = watcher.processor.pixels(np.stack([s.frame for s in part]))
        sound = np.concatenate([s.waveform for s in part])
        visual, audio = model.encode(pixels[None], watcher.processor.sound(sound)[None])
        real = (torch.arange(audio.shape[1]) * 320 < len(sound))[None]
        with torch.no_grad():
            whole = model.connect(visual, audio, torch.ones(1, len(part)).bool(), real)[0][0, 0]
        assert (queries - whole).abs().max() < 1e-4


def test_watch_refuses_what_it_cannot_answer():
    file = str(data_path() / "clips" / "clip_00.mp4")
    with pytest.raises(ValueError, match="the question is empty"):
        next(app.watch(file, " ?"))
    with pytest.raises(ValueError, match="found 2 seconds, expected 5 to"):
        app.Watcher(seconds=2)


def test_standard_input_is_a_film(tmp_path, monkeypatch):
    write_media(tmp_path / "a.mkv", times=STEADY, waves=clicks(4, 16000), rate=16000, audio="flac")
    with open(tmp_path / "a.mkv", "rb") as file:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=file))
        frames, sound = joined(iter_steps("-"))
    assert numbers(frames) == shown(STEADY, np.arange(8) / 2)
    assert np.allclose(onsets(sound), CLICK_TIMES, atol=0.01)


def test_the_command_prints_a_line_for_each_window(tmp_path, capsys):
    write_media(tmp_path / "a.mkv", times=np.arange(24) / 4)  # 6 s, without sound
    assert cli.main(["watch", str(tmp_path / "a.mkv"), "what was shown first?"]) in (0, None)
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()] == [
        "0:00:00 to 0:00:05", "0:00:00 to 0:00:06"]
    assert "watch does not look whether" in err and "does not know" not in err
    assert cli.main(["watch", str(tmp_path / "a.mkv"), "what was the kettle?"]) in (0, None)
    assert "the model does not know 'kettle'" in capsys.readouterr().err
    assert cli.main(["watch", str(tmp_path / "b.mkv"), "what was shown first?"]) == 1
    assert "b.mkv: there is no such file or pipe" in capsys.readouterr().err
