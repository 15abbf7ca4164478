"""Kinds of files that readers get wrong: each has its right value here."""

import json
import os
import struct

import av
import numpy as np
import pytest
import soundfile
from conftest import needs
from media_files import CLICK_TIMES, RATE, clicks, numbered, numbers, onsets, write_media
from PIL import Image

from favor_mini import MediaError, iter_clips, read_clip
from favor_mini.apps import cli
from favor_mini.aveb.run import evaluate_file

FPS = 25


def film(path, seconds=4, sound=True, first=0, **options):
    """Frame i shows i % 100, at i / 25 s; clicks at `CLICK_TIMES`."""
    count = round(seconds * FPS)
    frames = [numbered((first + i) % 100) for i in range(count)]
    waves = clicks(seconds, 48000) if sound else None
    return write_media(path, times=np.arange(count) / FPS, frames=frames, waves=waves, **options)


def assert_frames(clip, frame_at=lambda moment: int((moment + 1e-3) * FPS), near=1):
    """Each frame is the one on screen, within `near` pictures."""
    moments = clip.start + np.arange(len(clip.frames)) / 2
    found = numbers(clip.frames)
    off = [(n - frame_at(m) % 100 + 50) % 100 - 50 for n, m in zip(found, moments, strict=True)]
    assert found and max(map(abs, off)) <= near, off


def assert_clicks(clip, times=CLICK_TIMES, tolerance=0.006):
    assert onsets(clip.waveform) == pytest.approx(times, abs=tolerance)


def remux(source, path, keep=lambda packet: True, shift=0.0):
    """Copy the packets that are kept, `shift` seconds later."""
    with av.open(str(source)) as file, av.open(str(path), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in file.streams}
        for packet in file.demux():
            if packet.dts is not None and keep(packet):
                by = round(shift / packet.time_base)
                packet.pts, packet.dts = packet.pts + by, packet.dts + by
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return path


# Pictures.

@pytest.mark.parametrize("name, video, encoder", [
    ("a.mkv", "mpeg2video", {"bf": "2"}), ("a.mkv", "mpeg4", {"bf": "2"}),
    ("a.mp4", "libx265", {"x265-params": "open-gop=1:keyint=24:bframes=3:log-level=error"}),
    ("a.ts", "libx264", {"g": "250"})])
def test_groups_of_pictures_that_depend_on_earlier_ones(tmp_path, name, video, encoder):
    path = film(tmp_path / name, 16, video=video, encoder=encoder)
    whole = read_clip(path)
    assert_frames(whole)
    for start, end in ((5, 8), (11.5, 14)):
        part = read_clip(path, start=start, end=end)
        assert_frames(part, near=3)  # the file's first picture may be a little late
        same = whole.frames[round(2 * start):round(2 * end)].astype(int)
        assert np.abs(part.frames - same).max() < 40
    for piece in iter_clips(path, seconds=3):
        assert_frames(piece)


def test_parts_in_order_are_decoded_once_and_no_reader_decodes_ahead(tmp_path, monkeypatch):
    import decord

    path = film(tmp_path / "a.mp4", 12)
    monkeypatch.setattr(decord, "VideoReader", None)  # it decodes ahead while it is idle
    opened, original = [], av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(a) or original(*a, **k))
    for piece in iter_clips(path, seconds=1):
        assert_frames(piece)
    assert len(opened) == 4  # packets, the first picture, all pictures, all sound


def test_decord_reads_only_what_it_reads_right(tmp_path, monkeypatch):
    import decord

    used, original = [], decord.VideoReader
    monkeypatch.setattr(decord, "VideoReader", lambda *a, **k: used.append(a) or original(*a, **k))
    assert_frames(read_clip(film(tmp_path / "closed.mp4")))
    assert len(used) == 1
    assert_frames(read_clip(film(tmp_path / "open.mkv", video="mpeg2video", encoder={"bf": "2"})))
    assert len(used) == 1


def test_a_pause_between_pictures_with_b_frames(tmp_path):
    times = [*np.arange(25) / FPS, *(21 + np.arange(25) / FPS)]
    clip = read_clip(write_media(tmp_path / "a.mp4", times=times))
    assert clip.duration == pytest.approx(22, abs=0.1)
    assert numbers(clip.frames)[2:] == [24] * 40 + [25, 37]


def test_a_mirrored_display_matrix(tmp_path):
    path, one = film(tmp_path / "a.mp4", 1), 1 << 16
    corner = np.zeros((64, 64, 3), np.uint8)
    corner[:32, :32] = 200
    write_media(path, times=np.arange(25) / FPS, frames=[corner] * 25)
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    data[place:place + 36] = struct.pack(">9i", -one, 0, 0, 0, one, 0, 64 * one, 0, 1 << 30)
    path.write_bytes(data)
    frame = read_clip(path).frames[0]
    assert frame[:28, 36:].min() > 170  # now at the right, still at the top
    assert frame[:, :28].max() < 30 and frame[36:].max() < 30


def test_a_film_that_begins_without_a_key_frame(tmp_path):
    source = film(tmp_path / "a.mkv", 4, encoder={"g": "250", "bf": "0"}, audio="libopus")
    path = remux(source, tmp_path / "b.mp4", lambda p: p.dts * p.time_base > 0.79, -0.8)
    clip = read_clip(path)
    assert_frames(clip, lambda moment: int((moment + 0.8 + 1e-3) * FPS))
    assert_clicks(clip, [t - 0.8 for t in CLICK_TIMES if t > 0.9], 0.03)


def test_pictures_of_one_pixel(tmp_path):
    levels = [np.full((2, 2, 3), 20 + 4 * i, np.uint8) for i in range(50)]
    write_media(tmp_path / "a.mp4", times=np.arange(50) / FPS, frames=levels, size=(2, 2))
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.frames.shape == (4, 2, 2, 3)
    assert clip.frames.mean((1, 2, 3)) == pytest.approx([20, 68, 120, 168], abs=6)


def test_a_raw_stream_is_read_at_its_frame_rate_and_says_so(tmp_path):
    clip = read_clip(film(tmp_path / "a.h264", sound=False))
    assert_frames(clip)
    assert clip.notes == ("it has no times: 25 pictures a second were assumed",)


@pytest.mark.parametrize("kind", ["ppm", "tga", "jp2", "ico", "pcx", "sgi", "dds", "avif"])
def test_a_still_image_is_one_step_long(tmp_path, kind):
    picture = numbered(42)
    Image.fromarray(picture).save(tmp_path / f"a.{kind}")
    clip = read_clip(tmp_path / f"a.{kind}")
    assert len(clip.frames) == 1 and clip.duration == 0.5
    assert np.abs(clip.frames[0].astype(int) - picture).mean() < 6


def test_an_animated_webp_is_a_film(tmp_path):
    first, *rest = (Image.fromarray(numbered(i)) for i in range(0, 100, 10))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, duration=250, lossless=True)
    clip = read_clip(tmp_path / "a.webp")
    assert numbers(clip.frames) == [0, 20, 40, 60, 80] and clip.duration == 2.5
    assert numbers(read_clip(tmp_path / "a.webp", start=1, end=2).frames) == [40, 60]


# Times.

def test_a_file_whose_second_sound_is_longer(tmp_path):
    path = film(tmp_path / "a.mp4")
    longer = write_media(tmp_path / "b.m4a", waves=clicks(9, 48000, [0.5]))
    with av.open(str(path)) as one, av.open(str(longer)) as other, \
            av.open(str(tmp_path / "c.mp4"), "w") as copy:
        streams = {s: copy.add_stream_from_template(s) for f in (one, other) for s in f.streams}
        for packet in (packet for source in (one, other) for packet in source.demux()):
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                copy.mux(packet)
    clip = read_clip(tmp_path / "c.mp4")
    assert clip.duration == pytest.approx(4, abs=0.06)
    assert_frames(clip)
    assert_clicks(clip)


@pytest.mark.parametrize("late", [5.0, 100_000.0])
def test_a_matroska_file_that_starts_late(tmp_path, late):
    source = film(tmp_path / "a.mp4")
    clip = read_clip(remux(source, tmp_path / "b.mkv", shift=late))
    assert clip.duration == pytest.approx(4, abs=0.06)
    assert_frames(clip)
    assert_clicks(clip)


def test_a_recording_that_was_stopped_within_a_picture(tmp_path):
    path = film(tmp_path / "a.ts", 8, video="mpeg2video", audio="ac3", encoder={"g": "12"})
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 188 * 5 // 8 * 188])
    clip = read_clip(path)
    assert clip.duration == pytest.approx(5, abs=0.2)
    assert_frames(clip)


def test_joined_recordings_follow_one_another(tmp_path):
    parts = [write_media(tmp_path / f"{i}.opus", waves=clicks(4, 48000, at), audio="libopus",
                         options={"serial_offset": str(i)})
             for i, at in ((1, (0.5, 1.5)), (77, (1.0, 3.0)))]
    (tmp_path / "ab.opus").write_bytes(b"".join(p.read_bytes() for p in parts))
    clip = read_clip(tmp_path / "ab.opus")
    assert clip.duration == pytest.approx(8, abs=0.1)
    assert_clicks(clip, (0.5, 1.5, 5.0, 7.0), 0.02)
    assert "joined recordings" in clip.notes[0]


# Sound.

def test_vorbis_with_transients_has_no_holes(tmp_path):
    rng = np.random.default_rng(0)
    wave = 0.02 * rng.standard_normal(5 * 48000)
    for start in np.arange(0.2, 4.8, 0.23):
        burst = 0.3 * rng.standard_normal(2000) * np.exp(-np.arange(2000) / 400)
        wave[int(start * 48000):][:2000] += burst
    path = tmp_path / "a.ogg"
    soundfile.write(path, wave.clip(-1, 1), 48000, format="OGG", subtype="VORBIS")
    with av.open(str(path)) as file:
        exact = np.concatenate([f.to_ndarray().mean(0) for f in file.decode(audio=0)])
    found = read_clip(path, sampling_rate=48000).waveform
    length = min(len(found), len(exact))
    assert length > 4.9 * 48000 and np.abs(found[:length] - exact[:length]).max() < 1e-4


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe(tmp_path, size):
    body = np.round(clicks(4) * 30000).astype("<i2").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", size, b"WAVE", b"fmt ", 16, 1, 1, RATE,
                         2 * RATE, 2, 16, b"data", size)
    (tmp_path / "a.wav").write_bytes(header + body)
    clip = read_clip(tmp_path / "a.wav")
    assert clip.duration == pytest.approx(4, abs=0.01)
    assert_clicks(clip)


def test_float_samples_that_cannot_be_sound(tmp_path):
    wave = clicks(4)
    for value in (np.nan, np.inf, 1e30):
        soundfile.write(tmp_path / "a.wav", np.append(wave, np.float32(value)), RATE, "FLOAT")
        with pytest.raises(MediaError, match="a.wav: its sound .* is damaged"):
            read_clip(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", wave * 30000, RATE, "FLOAT")
    clip = read_clip(tmp_path / "a.wav")
    assert np.abs(clip.waveform - wave * 30000 / 32768).max() < 1e-4
    assert "16-bit" in clip.notes[0]


def test_channels_that_cancel_are_told_and_one_is_read(tmp_path):
    wave = clicks(4)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1), RATE, "FLOAT")
    clip = read_clip(tmp_path / "a.wav")
    assert_clicks(clip)
    assert "cancel" in clip.notes[0]
    soundfile.write(tmp_path / "a.wav", np.stack([wave, 0 * wave], 1), RATE, "FLOAT")
    assert read_clip(tmp_path / "a.wav").notes == ()


def test_a_sampling_rate_that_no_file_has(tmp_path):
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 8036, b"WAVE", b"fmt ", 16, 1, 1, 2**29,
                         2**30, 2, 16, b"data", 8000)
    (tmp_path / "a.wav").write_bytes(header + bytes(8000))
    with pytest.raises(MediaError, match="536870912 samples per second"):
        read_clip(tmp_path / "a.wav")


# No other file.

def test_a_name_like_a_sequence_of_images_is_one_file(tmp_path):
    for name, colour in (("a%03d.ppm", "blue"), ("a000.ppm", "red")):
        Image.new("RGB", (32, 32), colour).save(tmp_path / "x.ppm")
        os.replace(tmp_path / "x.ppm", tmp_path / name)
    assert read_clip(tmp_path / "a%03d.ppm").frames[0, 0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("text", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.ts\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile other.ts\n"])
def test_a_playlist_does_not_tell_whether_a_file_exists(tmp_path, text):
    def message():
        with pytest.raises(MediaError, match="a list of other files, which are not opened") as e:
            read_clip(tmp_path / "list.m3u8")
        return str(e.value)

    (tmp_path / "list.m3u8").write_text(text)
    before = message()
    film(tmp_path / "other.ts")
    assert message() == before


@needs("permissions")
def test_a_missing_file_in_a_folder_that_may_not_be_listed(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o111)
    with pytest.raises(MediaError, match="there is no such file"):
        read_clip(closed / "missing.mp4")
    closed.chmod(0o755)


# What is doubtful is told.

def test_notes_are_shown_with_an_answer_and_with_a_test_set(tmp_path, capsys):
    wave = clicks(4)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1), RATE, "FLOAT")
    assert cli.main(["ask", str(tmp_path / "a.wav"), "what was heard first?"]) == 0
    assert "favor-mini: note: its channels cancel" in capsys.readouterr().err
    rows = [{"image_name": "a.wav", "question": "what was heard first?", "answer": "bell"}]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    found = evaluate_file(tmp_path / "test.json", tmp_path, tmp_path / "predictions.jsonl")
    assert found.doubtful == ("a.wav: its channels cancel each other in their mean: the first one "
                              "was used",)
    assert str(found).endswith(f"doubtful media:\n  {found.doubtful[0]}")
