"""Media files for the tests: frames that show their number, clicks at known times."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from PIL import Image

RATE = 16000
CLICK_TIMES = (0.31, 1.04, 1.77, 2.5, 3.23)


def numbered(i: int, size=(64, 64)) -> np.ndarray:
    """Frame number i < 100, readable after any codec and size: tens in the upper half, ones in the
    lower half."""
    picture = np.full((size[1], size[0], 3), 20 + 24 * (i % 10), np.uint8)
    picture[:size[1] // 2] = 20 + 24 * (i // 10)
    return picture


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames these are."""
    height = frames.shape[1]
    rows = frames[:, [height // 4, 3 * height // 4]].astype(float).mean(axis=(2, 3))  # [T, 2]
    digits = np.round((rows - 20) / 24)
    assert np.abs(rows - 20 - 24 * digits).max() < 5, "these frames are not from `numbered`"
    return (digits @ [10, 1]).astype(int).tolist()


def shown(times, moments):
    """Which frame is on screen at each moment, the slow way."""
    return [max([i for i, t in enumerate(times) if t <= m + 1e-3], default=0) for m in moments]


def clicks(seconds: float, rate: int = RATE, at=CLICK_TIMES) -> np.ndarray:
    """(samples,) float32: short decaying tones at these times, silence between them."""
    wave = np.zeros(round(seconds * rate), np.float32)
    time = np.arange(round(0.05 * rate)) / rate
    click = (0.7 * np.sin(2 * np.pi * 1500 * time) * np.exp(-80 * time)).astype(np.float32)
    for start in at:
        first = round(start * rate)
        if first < len(wave):
            wave[first:first + len(click)] += click[:len(wave) - first]
    return wave


def onsets(wave: np.ndarray, rate: int = RATE) -> np.ndarray:
    """When clicks begin, in seconds: loud samples with 0.1 s without any before them."""
    loud = np.flatnonzero(np.abs(wave) > 0.2 * np.abs(wave).max()) / rate
    return loud[np.diff(loud, prepend=-1) > 0.1]


def write_media(path, *, times=None, frames=None, waves=None, rate=48000, sound_at=0.0,
                layout="mono", video="libx264",
                audio="aac", rotation=0, options=None, size=(64, 64), encoder=None):
    """Write a file with frame i on screen from times[i] on, and `waves` (channels, samples) from
    `sound_at` on. `encoder`: options of the video encoder."""
    with av.open(str(path), "w", options=options or {}) as file:
        base = Fraction(1, 1000)
        if times is not None:
            settings = {"g": "12"}
            if video == "libx264":
                settings |= {"crf": "12", "bf": "2", "threads": "1"}
            film = file.add_stream(video, rate=25, options=settings | (encoder or {}))
            film.height, film.width, film.pix_fmt = size[1], size[0], "yuv420p"
            if video in ("mpeg4", "mpeg2video"):
                base, film.bit_rate = Fraction(1, 25), 2_000_000
            if video == "libvpx":
                film.bit_rate = 2_000_000
            film.time_base = film.codec_context.time_base = base
            if rotation:
                film.set_display_rotation(rotation)
        if waves is not None:
            waves = np.atleast_2d(waves).astype(np.float32)
            sound = file.add_stream(audio, rate=rate, layout=layout)
        for i, time in enumerate(times if times is not None else ()):
            array = numbered(i, size) if frames is None else frames[i]
            picture = av.VideoFrame.from_ndarray(array, "rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = round(time / base), base
            file.mux(film.encode(picture))
        if times is not None:
            file.mux(film.encode(None))
        if waves is not None:
            convert = av.AudioResampler(sound.codec_context.format, layout, rate)
            for start in range(0, waves.shape[1], 1024):
                piece = np.ascontiguousarray(waves[:, start:start + 1024])
                samples = av.AudioFrame.from_ndarray(piece, "fltp", layout)
                samples.sample_rate, samples.time_base = rate, Fraction(1, rate)
                samples.pts = start + round(sound_at * rate)
                for ready in convert.resample(samples):
                    file.mux(sound.encode(ready))
            file.mux(sound.encode(None))
    return path


def cut(source, path, seconds: float):
    """What `ffmpeg -ss seconds -c copy` makes: packets from the last key frame on, with an edit
    list over the rest."""
    with av.open(str(source)) as file, av.open(str(path), "w") as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in file.streams}
        begun = False
        file.seek(int(seconds * av.time_base))
        for packet in file.demux():
            if packet.dts is None:
                continue
            begun = begun or (packet.stream.type == "video" and packet.is_keyframe)
            if begun:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return path


def write_gif(path, levels, milliseconds):
    """A GIF of flat grey frames, each with its own time on screen."""
    first, *rest = (Image.new("P", (32, 24), i) for i in range(len(levels)))
    for image in (first, *rest):
        image.putpalette([level for level in levels for _ in range(3)])
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return path


def with_cover(mp3: bytes, picture: bytes) -> bytes:
    """The mp3 with a picture of its cover, as in bought music (ID3v2.3)."""
    body = b"\0image/png\0\3\0" + picture
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame + mp3


def garbled(content: bytes, at: float, length: int, seed: int = 0) -> bytes:
    """The same with `length` random bytes at the fraction `at` of it."""
    first = int(len(content) * at)
    noise = np.random.default_rng(seed).integers(0, 256, length, dtype=np.uint8).tobytes()
    return (content[:first] + noise + content[first + length:])[:len(content)]
