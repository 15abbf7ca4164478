"""Damaged media files, made from seeds; each is read in its own process, with limits.

    python tests/hostile/run.py FOLDER FIRST LAST     files of these seeds; one line of JSON each

A line has the seed, the file, the damage, and the outcome: "clip", "MediaError", "wrong" (what is
wrong with the clip), "exception", "crash" (a signal), "slow" or "memory".
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import av
import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from media_files import clicks, numbered, write_gif, write_media  # noqa: E402
from PIL import Image  # noqa: E402

from favor_mini import MediaError, read_clip  # noqa: E402
from favor_mini.machine import peak_memory  # noqa: E402

SECONDS, BYTES = 30, 1 << 30  # limits
NEAR = 2048  # bytes that a container may put between the place of a packet and its end
BEFORE = 0.1  # seconds before a damaged packet that it may change: encoders' delays, overlaps
FILMS = {"mp4": ("libx264", "aac"), "mov": ("mpeg4", "aac"), "mkv": ("mpeg2video", "libopus"),
         "webm": ("libvpx", "libopus"), "ts": ("libx264", "aac"), "avi": ("mpeg4", "libmp3lame"),
         "flv": ("libx264", "aac"), "hevc.mkv": ("libx265", "flac")}
SOUNDS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac",
          "aac": "aac", "mka": "libopus", "aiff": "pcm_s16be", "ac3.mka": "ac3"}
STILLS = ("png", "jpg", "bmp", "tiff", "ppm", "webp")
KINDS = (*FILMS, *SOUNDS, "gif", *STILLS)
DAMAGES = ("flips", "cut", "zeros", "insert", "header")


def make_whole(folder: Path) -> None:
    """One small file of each kind."""
    frames = [numbered(i) for i in range(50)]
    for kind, (video, audio) in FILMS.items():
        write_media(folder / f"whole.{kind}", times=np.arange(50) / 25, frames=frames,
                    waves=clicks(2, 48000), video=video, audio=audio,
                    encoder={"x265-params": "log-level=error"} if video == "libx265" else None)
    for kind, audio in SOUNDS.items():
        write_media(folder / f"whole.{kind}", waves=clicks(2, 48000), audio=audio)
    write_gif(folder / "whole.gif", range(20, 120, 10), 100)
    for kind in STILLS:
        Image.fromarray(frames[42]).save(folder / f"whole.{kind}")


def damaged(data: bytes, damage: str, rng: np.random.Generator) -> bytes:
    data, size = bytearray(data), len(data)
    place, length = int(rng.integers(size)), int(rng.integers(1, max(2, size // 8)))
    if damage == "flips":
        for at in rng.integers(size, size=int(rng.integers(1, 40))):
            data[at] ^= 1 << int(rng.integers(8))
    elif damage == "cut":
        del data[place:]
    elif damage == "zeros":
        data[place:place + length] = bytes(len(data[place:place + length]))
    elif damage == "insert":
        data[place:place] = rng.bytes(length)
    else:  # a number in the header
        at = int(rng.integers(min(size, 1500)))
        data[at:at + 4] = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
                           rng.bytes(4)][int(rng.integers(5))]
    return bytes(data)


def judge(path: Path, whole: Path) -> str:
    """The outcome of reading a damaged file, compared with the whole one."""
    try:
        clip = read_clip(path)
    except MediaError:
        return "MediaError"
    expected = read_clip(whole)
    if not np.isfinite(clip.waveform).all() or clip.frames.dtype != np.uint8:
        return "wrong: values"
    if not 0 < clip.duration < 3600 or len(clip.frames) > 2 * clip.duration + 1:
        return f"wrong: {clip.duration} s, {len(clip.frames)} frames"
    until = intact_seconds(path.read_bytes(), whole)
    for found, right in zip(clip.frames[:int(2 * until)], expected.frames, strict=False):
        if found.shape != right.shape or np.abs(found.astype(int) - right).mean() > 20:
            return f"wrong: pictures before the damage at {until:.2f} s"
    samples = min(int(until * 16000), len(clip.waveform))
    if np.abs(clip.waveform[:samples] - expected.waveform[:samples]).max(initial=0) > 0.05:
        return f"wrong: sound before the damage at {until:.2f} s"
    return "clip"


def intact_seconds(data: bytes, whole: Path) -> float:
    """How many seconds of a damaged file come from packets before the damage; 0 if a header or an
    index is damaged, from which anything may follow."""
    right = whole.read_bytes()
    size = min(len(data), len(right))
    changed = np.flatnonzero(np.frombuffer(data[:size], np.uint8)
                             != np.frombuffer(right[:size], np.uint8))
    first = int(changed[0]) if len(changed) else size
    with av.open(str(whole)) as file:
        packets = [(p.pos, p.size, float(p.pts * p.time_base)) for p in file.demux()
                   if p.pts is not None and p.pos is not None]
    begin, end = min(p[0] for p in packets), max(pos + length for pos, length, _ in packets)
    if first < begin or len(data) == len(right) and len(changed) and changed[-1] >= end:
        return 0.0
    start = min(time for *_, time in packets)
    reached = [time for pos, length, time in packets if pos + length + NEAR > first]
    return max(0.0, min(reached, default=0.0) - start - BEFORE)


def read_apart(path: Path, whole: Path) -> str:
    """`judge` in a process of its own, with limits on time and memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (6 * BYTES, 6 * BYTES))
        try:
            outcome = judge(path, whole)
        except BaseException as error:
            outcome = f"exception: {type(error).__name__}: {error}"
        peak = (peak_memory() or 0) >> 10  # kB
        os.write(writing, (outcome if peak < BYTES >> 10 else f"memory: {peak} kB").encode()[:4000])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        outcome = answer.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "slow" if number == signal.SIGALRM else f"crash: signal {number}"
    return outcome


def main(folder: str, first: str, last: str) -> None:
    folder = Path(folder)
    if not (folder / f"whole.{KINDS[-1]}").exists():
        make_whole(folder)
    for seed in range(int(first), int(last)):
        rng = np.random.default_rng(seed)
        kind, damage = KINDS[seed % len(KINDS)], DAMAGES[seed // len(KINDS) % len(DAMAGES)]
        whole, path = folder / f"whole.{kind}", folder / f"{seed}.{kind}"
        path.write_bytes(damaged(whole.read_bytes(), damage, rng))
        start = time.perf_counter()
        outcome = read_apart(path, whole)
        print(json.dumps({"seed": seed, "file": path.name, "damage": damage, "outcome": outcome,
                          "seconds": round(time.perf_counter() - start, 2)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
