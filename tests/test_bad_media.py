"""A file that cannot be read raises one clear MediaError: no crash, no hang, no wrong clip.

Another process reads every row and reports the result. If it dies or does not answer in time, that
row fails and a new process is started.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import needs
from media_files import RATE, clicks, garbled, write_gif, write_media
from PIL import Image

from favor_mini.media.clip import MediaError, clip_from_arrays
from favor_mini.media.read import iter_clips, read_clip

TIME_LIMIT = 60  # seconds for one row; it takes far less than one on an idle machine
WORKER = """
import json, sys
from favor_mini import MediaError, read_clip
for line in sys.stdin:
    path, options = json.loads(line)
    try:
        clip = read_clip(path, **options)
        answer = ["clip", [len(clip.frames), len(clip.waveform)]]
    except MediaError as error:
        answer = ["MediaError", str(error)]
    except BaseException as error:
        answer = [type(error).__name__, str(error)]
    print("ANSWER " + json.dumps(answer), flush=True)
"""


class Reader:
    """Reads files in another process."""

    def __init__(self):
        self.process = None

    def __call__(self, path, **options) -> tuple[str, str]:
        """The result ("clip", "MediaError", another exception, "crash or hang") and details.
        """
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, "-c", WORKER],
                                            cwd=Path(__file__).parent.parent,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, bufsize=0)
        self.process.stdin.write(json.dumps([str(path), options]).encode() + b"\n")
        late = threading.Timer(TIME_LIMIT, self.process.kill)
        late.start()
        try:
            for line in self.process.stdout:
                if line.startswith(b"ANSWER "):
                    return tuple(json.loads(line[7:]))
        finally:
            late.cancel()
        code, self.process = self.process.wait(), None
        return "crash or hang", f"the reading process ended with {code}; limit {TIME_LIMIT} s"

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def read():
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good files of each kind, and bad ones made from them."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    busy = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    times = np.arange(75) / 25
    frames = [np.roll(busy, 3 * i, axis=1) for i in range(75)]
    wave = clicks(3, 48000) + 0.05 * rng.standard_normal(3 * 48000).astype(np.float32)
    for name, video, audio in (("good.mp4", "libx264", "aac"), ("good.mkv", "libx264", "aac"),
                               ("good.webm", "libvpx", "libopus"), ("good.ts", "libx264", "aac"),
                               ("late_index.mp4", "libx264", "aac")):
        options = {"movflags": "+faststart"} if name == "good.mp4" else {}
        write_media(folder / name, times=times, frames=frames, waves=wave, video=video,
                    audio=audio, size=(128, 96),
                    options=options)
    write_media(folder / "silent.mp4", times=times[:10])
    for name, audio in (("good.wav", "pcm_s16le"), ("good.flac", "flac"),
                        ("good.mp3", "libmp3lame"),
                        ("good.ogg", "libopus"), ("good.m4a", "aac")):
        write_media(folder / name, waves=wave, audio=audio)
    write_gif(folder / "good.gif", range(20, 120, 10), 100)
    for name in ("good.png", "good.jpg", "good.bmp"):
        Image.fromarray(busy).save(folder / name)
    for good in [*sorted(folder.glob("good.*")), folder / "late_index.mp4"]:
        kind = good.name.removeprefix("good.")
        content = good.read_bytes()
        (folder / f"truncated.{kind}").write_bytes(content[:len(content) // 2])
        noise = garbled(content, 0.5, max(400, len(content) // 15))
        (folder / f"garbled.{kind}").write_bytes(noise)
    good = (folder / "good.mp4").read_bytes()
    (folder / "last_bytes_missing.mp4").write_bytes(good[:-50])
    (folder / "only_the_beginning.mp4").write_bytes(good[:300])
    middle = len(good) // 2
    (folder / "middle_zeroed.mp4").write_bytes(good[:middle] + bytes(8000) + good[middle + 8000:])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "zeros.mp4").write_bytes(bytes(100_000))
    (folder / "noise.mp4").write_bytes(rng.bytes(100_000))
    for name in ("text.mp4", "text.txt", "text.wav", "text.py"):
        (folder / name).write_text("import this is no film\n" * 100)
    (folder / "page.html").write_text("<html><body>404</body></html>")
    (folder / "page.mp4").write_text("<!DOCTYPE html><html><body>404, not found</body></html>")
    (folder / "subtitles.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n\n")
    (folder / "list.ffconcat").write_text("ffconcat version 1.0\nfile good.mp4\n")
    (folder / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ngood.ts\n#EXT-X-ENDLIST\n")
    soundfile.write(folder / "no_samples.wav", np.zeros(0), RATE)
    (folder / "folder.mp4").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.mp4")
    return folder


ROWS = [
    ("missing.mp4", {}, "no such file"), ("god.mp4", {}, 'did you mean "good.mp4"'),
    ("nowhere/a.mp4", {}, "no such file"), ("folder.mp4", {}, "folder"), (".", {}, "folder"),
    pytest.param("pipe.mp4", {}, "pipe", marks=needs("pipes")), ("empty.mp4", {}, "empty"),
    ("zeros.mp4", {}, "not a media file"), ("noise.mp4", {}, "not a media file"),
    ("text.mp4", {}, "not a media file"),
    ("text.txt", {}, "not a media file"), ("text.wav", {}, "not a media file"),
    ("text.py", {}, "not a media file"),
    ("page.html", {}, "not a media file"), ("page.mp4", {}, "not a media file"),
    ("subtitles.srt", {}, "neither a picture nor a sound is in it"),
    ("list.ffconcat", {}, "a list of other files"),
    ("list.m3u8", {}, "a list of other files"),
    ("no_samples.wav", {}, "neither|zero length|not a media"),
    *((f"truncated.{kind}", {}, "truncated|damaged") for kind in (
        "mp4", "mkv", "webm", "wav", "flac", "mp3", "ogg", "m4a", "gif", "png", "jpg", "bmp",
        "late_index.mp4")),
    ("last_bytes_missing.mp4", {}, "truncated"), ("only_the_beginning.mp4", {}, "cut off"),
    *((f"garbled.{kind}", {}, "damaged|read") for kind in (
        "mp4", "mkv", "webm", "ts", "flac", "mp3", "ogg", "m4a", "png", "late_index.mp4")),
    ("middle_zeroed.mp4", {}, "damaged"),
    ("good.mp3", {"require": ["video"]}, "no picture"),
    ("good.wav", {"require": "video"}, "no picture"),
    ("silent.mp4", {"require": ["video", "audio"]}, "no sound"),
    ("good.png", {"require": ["audio"]}, "no sound"),
    ("good.mp4", {"require": ["smell"]}, "smell"),
    ("good.mp4", {"start": 2, "end": 1}, "not before"),
    ("good.mp4", {"start": 1, "end": 1}, "not before"),
    ("good.mp4", {"start": 3.0}, "beyond its end"), ("good.mp4", {"start": 100}, "beyond its end"),
    ("good.mp4", {"end": 3.5}, "beyond its end"),
    ("good.wav", {"start": 5, "end": 6}, "beyond its end"),
    ("good.png", {"start": 5}, "beyond its end"), ("good.mp4", {"start": -1}, "start=-1"),
    ("good.mp4", {"start": float("nan")}, "start=nan"),
    ("good.mp4", {"end": float("inf")}, "end=inf"),
    ("good.mp4", {"end": "2"}, "end='2'"),
    *(("good.mp4", {"frame_rate": value}, "frame_rate")
      for value in (0, -2, float("nan"), float("inf"), "2", None, 1e9, True)),
    *(("good.mp4", {"sampling_rate": value}, "sampling_rate")
      for value in (0, -1, 16000.5, "16000", None, 10**12)),
    *(("good.mp4", {"image_size": value}, "image_size") for value in (0, -8, 2.5, "64", [64, 64])),
    ("good.mp4", {"image_size": 16000, "frame_rate": 100}, "do not fit into memory"),
    ("https://example.org/a.mp4", {}, "address"),
]


@pytest.mark.parametrize("name, options, says", ROWS,
                         ids=[f"{row[0]}-{row[1]}" for row in (
                             getattr(row, "values", row) for row in ROWS)])
def test_bad_media(read, folder, name, options, says):
    path = name if "://" in name else folder / name
    outcome, message = read(path, **options)
    assert outcome == "MediaError", (outcome, message)
    assert any(word in message for word in says.split("|")), message
    assert (name in message or name == ".") and "Fix: " in message and "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "ts", "wav", "flac", "mp3", "ogg", "m4a",
                                  "gif", "png", "jpg", "bmp"])
def test_the_good_ones_are_read(read, folder, kind):
    """Otherwise the rows above would prove nothing."""
    outcome, (num_frames, samples) = read(folder / f"good.{kind}")
    expected = {"gif": (2, 0), "png": (1, 0), "jpg": (1, 0), "bmp": (1, 0)}.get(kind)
    assert outcome == "clip"
    assert (num_frames, samples) == expected if expected else abs(samples - 3 * RATE) < 0.05 * RATE


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "ts", "flac", "mp3", "ogg", "gif", "png",
                                  "jpg", "bmp"])
def test_any_damage_ends_in_a_clip_or_a_media_error(read, folder, tmp_path, kind):
    """Random bytes at random places, the header among them."""
    content = (folder / f"good.{kind}").read_bytes()
    rng = np.random.default_rng(len(kind))
    for seed in range(6):
        length = int(rng.choice([1, 4, 30, 300, 3000]))
        path = tmp_path / f"damaged{seed}.{kind}"
        path.write_bytes(garbled(content, float(rng.choice([0, 0.01, rng.random()])), length, seed))
        outcome, details = read(path)
        assert outcome in ("clip", "MediaError"), (seed, length, outcome, details)


def test_an_unreadable_file(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may read everything
    with pytest.raises(MediaError, match="may not read"):
        read_clip(folder / "good.mp4")


def test_iter_clips_raises_before_the_first_clip(folder):
    with pytest.raises(MediaError, match="truncated"):
        iter_clips(folder / "truncated.mp4", seconds=1.0)
    with pytest.raises(MediaError, match="pieces"):
        iter_clips(folder / "good.mp4", seconds=float("nan"))


def test_an_array_is_not_a_path():
    with pytest.raises(MediaError, match="clip_from_arrays"):
        read_clip(np.zeros((2, 4, 4, 3), np.uint8))


@pytest.mark.parametrize("arrays, says", [
    ({}, "neither"),
    ({"frames": np.zeros((2, 3, 8, 8), np.uint8)}, r"\(T, H, W, 3\).*\(2, 3, 8, 8\)"),
    ({"frames": np.zeros((8, 8, 3), np.uint8)}, r"\(T, H, W, 3\)"),
    ({"frames": np.zeros((2, 8, 8, 3), np.float32)}, "uint8.*float32"),
    ({"waveform": np.zeros((2, 100), np.float32)}, r"\(samples,\).*\(2, 100\)"),
    ({"waveform": np.zeros(100, np.int16)}, "int16.*32768"),
    ({"waveform": np.array([0.1, np.nan])}, "finite"),
    ({"waveform": np.zeros(0)}, "not one"),
    ({"frames": np.zeros((0, 8, 8, 3), np.uint8)}, "not one"),
    ({"waveform": np.zeros(9), "sampling_rate": 0}, "sampling_rate"),
    ({"frames": np.zeros((2, 8, 8, 3), np.uint8), "frame_rate": -1}, "frame_rate"),
])
def test_bad_arrays(arrays, says):
    with pytest.raises(MediaError, match=says) as caught:
        clip_from_arrays(**arrays)
    assert isinstance(caught.value, ValueError) and "Fix: " in str(caught.value)
