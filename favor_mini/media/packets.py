"""The packets of a media file: when each is shown or heard, and whether the file is whole."""

import os

import numpy as np

from .errors import COPY_AGAIN, media_error, reading


def why_not_opened(name: str) -> str:
    """The likely problem of a file that FFmpeg cannot open."""
    with open(name, "rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return "it is truncated or damaged: it begins like an mp4, but its index is missing"
    return "this is not a media file, or its beginning is damaged"


def packet_spans(file, streams: dict, name: str) -> dict[str, np.ndarray]:
    """The start and end of each packet in order, (n, 2) float64 seconds, for "video" and "audio".

    Raises:
        MediaError: a packet cannot be read.
    """
    times = {"video": [], "audio": []}
    with reading(name, "it is truncated or damaged"):
        for packet in file.demux(*streams.values()) if streams else ():
            if packet.is_corrupt:
                at = float((packet.pts or 0) * packet.time_base)
                raise media_error(name, f"it is truncated or damaged at {at:.2f} s", COPY_AGAIN)
            if packet.pts is not None and not packet.is_discard:
                times[packet.stream.type].append((packet.pts, packet.duration or 0))
        for kind, stream in streams.items():
            if not times[kind] and kind == "video" and next(file.decode(stream), None):
                raise ValueError("its frames have no time stamps")
    spans = {}
    for kind in times:
        span = np.array(sorted(times[kind]), np.float64).reshape(-1, 2)  # [n, 2]: start, duration
        span *= float(streams[kind].time_base) if kind in streams else 1
        if kind == "video" and len(span) and not span[-1, 1]:  # the last frame has no duration
            span[-1, 1] = np.median(np.diff(span[:, 0])) if len(span) > 1 else 0.04
        span[:, 1] += span[:, 0]
        spans[kind] = span
    return spans


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
    """Whether an mp3 has the header that holds its duration."""
    with open(name, "rb") as file:
        head = file.read(1 << 16)
    return b"Xing" in head or b"Info" in head


def is_cut_off(name: str) -> bool:
    """Whether a file of a format that FFmpeg does not check is shorter than its headers say."""
    with open(name, "rb") as file:
        head = file.read(8)
        length = file.seek(0, os.SEEK_END)
        file.seek(-min(length, 1 << 17), os.SEEK_END)
        tail = file.read()
    if head[:4] == b"RIFF":  # wav, avi; a file written to a pipe has 0 or the largest number
        size = int.from_bytes(head[4:], "little")
        return 0 < size < 0xFFFFFF00 and size + 8 > length + 1
    if head[:3] == b"GIF":
        return not tail.rstrip(b"\0").endswith(b";")
    if head[:4] == b"OggS" and (page := tail.rfind(b"OggS")) >= 0:
        table = tail[page + 27:page + 27 + (tail + bytes(27))[page + 26]]  # lengths, after 27 bytes
        return page + 27 + len(table) + sum(table) > len(tail)
    return False
