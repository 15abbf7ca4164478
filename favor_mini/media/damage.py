"""Signs that a media file is not whole, in its bytes and in the times of its packets."""

import os

import numpy as np


def why_not_opened(name: str) -> str:
    """The likely problem of a file that FFmpeg cannot open."""
    with open(name, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp":
        return "it is truncated or damaged: it begins like an mp4, but its index is missing"
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat", b"<MPD", b"<?xml")):
        return "this is a list of other files, which are not opened"
    return "this is not a media file, or its beginning is damaged"


def find_hole(pictures: np.ndarray, sounds: np.ndarray) -> tuple[float, float] | None:
    """The start and end of what the demuxer skipped because it could not read it; None if nothing.

    One stream may pause while the other continues. Both together do not pause, nor does a file
    with sound only.
    """
    if not len(pictures):
        return next(iter(_gaps(sounds, 0.05)), None)
    usual = np.median(np.diff(pictures[:, 0])) if len(pictures) > 1 else 0
    ended = np.vstack([pictures, np.full((1, 2), sounds[-1:, 1].sum())])  # the video may end first
    silent, blind = _gaps(sounds, 0.25), _gaps(ended, max(0.25, 3 * usual))
    return next(((max(a, c), min(b, d)) for a, b in silent for c, d in blind
                 if max(a, c) < min(b, d)), None)


def _gaps(spans: np.ndarray, longest: float) -> list[tuple[float, float]]:
    """The start and end of each pause that is longer than `longest` seconds."""
    until = np.maximum.accumulate(spans[:-1, 1])
    return [(u, f) for u, f in zip(until, spans[1:, 0], strict=False) if f - u > longest]


def has_xing(name: str) -> bool:
    """Whether the first frame of an mp3 is the header that holds its duration."""
    with open(name, "rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # 28 bits of length, seven in a byte
            file.seek(10 + sum((b & 127) << 7 * (3 - i) for i, b in enumerate(head[6:10])))
        else:
            file.seek(0)
        first = file.read(1 << 12)
    start = first.find(b"\xff")
    return any(tag in first[max(start, 0):][:64] for tag in (b"Xing", b"Info", b"VBRI"))


def is_piped_wav(name: str) -> bool:
    """Whether a wav has the sizes of a writer that could not know them: 0, or almost 2 or 4 GB."""
    size, _, _ = _wav_data(name)
    return size == 0 or size >= 0x7FFFF000


def wav_says_less(name: str) -> str:
    """What is wrong with a wav whose header was written before most of its sound; else empty."""
    size, there, following = _wav_data(name)
    if 0 < size < there - 8 and not following.isalnum():
        return f"its header says {size} bytes of sound, but {there} follow"
    return ""


def _wav_data(name: str) -> tuple[int, int, bytes]:
    """Of the chunk with the samples: the size in its header, the bytes from it to the end of the
    file, and the name of the next chunk; (-1, 0, b"") if there is none."""
    with open(name, "rb") as file:
        if file.read(4) not in (b"RIFF", b"RIFX"):
            return -1, 0, b""
        length, place = file.seek(0, os.SEEK_END), 12
        while place + 8 <= length:
            file.seek(place)
            chunk = file.read(8)
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                file.seek(min(place + 8 + size + size % 2, length))
                return size, length - place - 8, file.read(4).strip()
            place += 8 + size + size % 2
    return -1, 0, b""


def is_cut_off(name: str) -> bool:
    """Whether a file of a format that FFmpeg does not check is shorter than its headers say."""
    with open(name, "rb") as file:
        head = file.read(8)
        length = file.seek(0, os.SEEK_END)
        file.seek(-min(length, 1 << 17), os.SEEK_END)
        tail = file.read()
    if head[:4] == b"RIFF":  # wav, avi
        size = int.from_bytes(head[4:], "little")
        return 0 < size < 0x7FFFF000 and size + 8 > length + 1
    if head[:3] == b"GIF":
        return not tail.rstrip(b"\0").endswith(b";")
    if head[:4] == b"OggS" and (page := tail.rfind(b"OggS")) >= 0:
        table = tail[page + 27:page + 27 + (tail + bytes(27))[page + 26]]  # lengths, after 27 bytes
        return page + 27 + len(table) + sum(table) > len(tail)
    return False
