"""What is in a media file: its tracks, the time of each packet, and what is doubtful.

This is the only place that opens media files with FFmpeg.
"""

from array import array
from dataclasses import dataclass, field
from math import nan

import av
import numpy as np
from av.stream import Disposition

from .clip import CODEC_TAIL
from .damage import find_hole, has_xing, is_cut_off, is_piped_wav, wav_says_less, why_not_opened
from .errors import COPY_AGAIN, media_error, reading

# Demuxers that read the one file that they are given. Playlists, image sequences and scripts
# (hls, concat, image2, ...) would open other files, or network addresses.
FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,wav,w64,"
           "mp3,aac,flac,ac3,eac3,dts,dtshd,truehd,aiff,au,caf,amr,amrnb,amrwb,gsm,g722,wv,tta,ape,"
           "mpc,mpc8,mp2,loas,latm,h264,hevc,h263,m4v,mjpeg,av1,obu,vc1,ivf,nut,mxf,gif,apng,"
           "yuv4mpegpipe,dv,gxf,rm,voc,sox,tak,ircam,nistsphere,dnxhd,cavsvideo,smjpeg,nsv,"
           "exr_pipe,dpx_pipe,qoi_pipe,sgi_pipe,pcx_pipe,dds_pipe,sunrast_pipe,jpegxl_pipe,"
           "j2k_pipe,pgm_pipe,ppm_pipe,pam_pipe,hdr_pipe,avif,ico,qoa,osq,srt,webvtt,ass")
STILLS = ("_pipe", "ico", "avif")  # how the names of demuxers of one picture end
WHOLE = ("gif", "apng")  # a picture needs all before it
CAPTURES = ("mpegts", "mpeg")  # a recording of these ends anywhere
UNMEASURED = ("aac", "ac3", "eac3", "dts", "h264", "hevc", "mpegvideo", "m4v", "gsm",
              "g722", "amr")  # FFmpeg guesses their duration
JUMP = 0.5  # seconds; when times fall by more, another recording begins
LARGEST_PICTURE = 180_000_000  # pixels, as in Pillow
PRIMING = 0.1  # seconds; encoders put samples in front, and not every container says so
PADDED = ("aac", "mp3float", "mp3", "mp2", "mp2float", "ac3", "eac3", "wmav1", "wmav2")
FASTEST_SOUND = 1_000_000  # samples per second


@dataclass
class Track:
    """The packets of a stream in the order of their times, in seconds from the start of the file.

    starts, ends: (n,) float64. entries: (m,) times of the key frames, where decoding may begin;
    seeks: (m,) int64, the same in units of the stream, for seeking.
    clean: every key frame is an entry for all that follows it in the file (closed GOPs).
    timed: False if the packets have no times; then their number and the frame rate decide.
    """

    starts: np.ndarray
    ends: np.ndarray
    entries: np.ndarray
    seeks: np.ndarray
    clean: bool = True
    timed: bool = True


@dataclass
class Probe:
    """The record of a file.

    zero: the container's time of second 0. shifts: more than one if times begin again in the file.
    duration: seconds; picture_end: when the last picture ends.
    notes: what is doubtful, as sentences.
    """

    name: str
    kind: str
    zero: float
    tracks: dict[str, Track]
    duration: float = 0.0
    picture_end: float = 0.0
    shifts: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(stream for stream in ("video", "audio") if stream not in self.tracks)


def opened(name: str):
    """The file as an av container.

    Raises:
        MediaError: it is not a media file, or one that would open others.
    """
    with reading(name, why_not_opened(name),
                 "see what it is with `ffprobe FILE`, or copy it again"):
        return av.open(f"file:{name}", options={
            "protocol_whitelist": "file", "format_whitelist": FORMATS})


def main_streams(file) -> dict:
    """The main video and the main sound; the cover of an album is not a video."""
    films = [s for s in file.streams.video if not s.disposition & Disposition.attached_pic]
    best = {"video": file.streams.best("video"), "audio": file.streams.best("audio")}
    if best["video"] not in films:
        best["video"] = films[0] if films else None
    return {kind: stream for kind, stream in best.items() if stream is not None}


def probe(name: str) -> Probe:
    """One pass over the packets of a file; nothing is decoded.

    Raises:
        MediaError: it is not a media file, is truncated or damaged, or its header is absurd.
    """
    with opened(name) as file:
        streams = main_streams(file)
        check_header(name, file, streams)
        zero = second_0(file, streams)
        declared = None if file.duration is None else file.duration / av.time_base
        found = Probe(name, file.format.name, zero, {})
        packets, last = _packets(found, file)
        if "video" in streams and streams["video"].metadata.get("alpha_mode") == "1":
            found.notes.append("its transparency is not read: hidden colours are shown")
        for kind, stream in streams.items():
            if packets[stream.index]:
                found.tracks[kind] = _track(found, stream, packets[stream.index])
    if len(found.missing) == 2:
        raise media_error(name, "neither a picture nor a sound is in it: it has zero length, or "
                          "is cut off", COPY_AGAIN)
    _durations(found, declared, last)
    return found


def second_0(file, streams: dict) -> float:
    """The time of the first packet; that of the first picture, where the sound begins so little
    earlier that these are samples that its encoder put in front, or that the container shifted."""
    zero = 0 if file.start_time is None else file.start_time / av.time_base
    begins = {kind: float(stream.start_time * stream.time_base) for kind, stream in streams.items()
              if stream.start_time is not None}
    if len(begins) == 2:
        early = begins["video"] - begins["audio"]
        if 0 < early <= PRIMING and streams["audio"].codec_context.name in PADDED:
            return begins["video"]
    return zero


def check_header(name: str, file, streams: dict) -> None:
    """Refuse sizes that no decoder should allocate memory for."""
    if "video" in streams:
        context = streams["video"].codec_context
        if context.width * context.height > LARGEST_PICTURE:
            raise media_error(name, f"its pictures have {context.width} x {context.height} pixels, "
                              f"more than {LARGEST_PICTURE:,}", "scale it down with `ffmpeg -i OLD "
                              "-vf scale=1280:-2 NEW`")
    if "audio" in streams:
        rate = streams["audio"].codec_context.sample_rate
        if not 0 < rate <= FASTEST_SOUND:
            raise media_error(name, f"its header says {rate} samples per second", COPY_AGAIN)


class _Packets:
    """The packets of a stream in the order of the file, 26 bytes for each.

    starts (nan if unknown), lengths: seconds. places: in units of the stream, for seeking.
    keys: is it a key frame; clean: and does it clear all that came before.
    """

    def __init__(self):
        self.starts, self.lengths, self.places = array("d"), array("d"), array("q")
        self.keys, self.clean = bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, start: float | None, length: float, place: int, packet) -> None:
        self.starts.append(nan if start is None else start)
        self.lengths.append(length)
        self.places.append(place)
        self.keys.append(packet.is_keyframe)
        self.clean.append(packet.is_keyframe and is_clean_key(packet))


def _packets(found: Probe, file) -> tuple[dict[int, _Packets], float]:
    """The packets of each stream, and when the last one of any ends."""
    packets, clocks, bad, end = {}, Clocks(found.zero), [], 0.0
    piped = found.kind == "wav" and is_piped_wav(found.name)  # its last packet counts as corrupt
    for stream in file.streams:
        packets[stream.index] = _Packets()
    with reading(found.name, "it is truncated or damaged"):
        for packet in file.demux():
            known = packets[packet.stream.index]
            if not packet.size or packet.is_discard:
                continue
            unit = packet.time_base
            stamp = packet.pts if packet.dts is None else packet.dts
            shift = clocks.shift(packet.stream.index, stamp and float(stamp * unit))
            start = None if packet.pts is None else float(packet.pts * unit) - found.zero + shift
            length = float((packet.duration or 0) * unit)
            if packet.is_corrupt and not piped:
                bad.append(start or 0.0)
                continue
            known.add(start, length, stamp or 0, packet)
            if start is not None:
                end = max(end, start + length)
                if packet.stream.type == "video" or not file.streams.video:
                    clocks.end = max(clocks.end, start + length)
    found.shifts = clocks.shifts
    if len(found.shifts) > 1:
        found.notes.append("its times begin again within it, as in joined recordings: the parts "
                           "follow one another")
    for at in bad:
        _judge_corrupt(found, at, is_last=at > end - 1)
    return packets, end


class Clocks:
    """Shifts that make times go on where they begin again, as in two recordings in one file."""

    def __init__(self, zero: float, shifts: list[float] | None = None):
        self.zero, self.end = zero, 0.0
        self.shifts, self.known = shifts or [0.0], shifts is not None
        self.first, self.last, self.recording = {}, {}, {}

    def shift(self, stream: int, time: float | None) -> float:
        """The shift of a time of a stream; to be called in the order of the file."""
        number = self.recording.setdefault(stream, 0)
        if time is not None:
            if time < self.last.get(stream, time) - JUMP and not (
                    self.known and number + 1 == len(self.shifts)):
                number = self.recording[stream] = number + 1
                if number == len(self.shifts):
                    self.shifts.append(self.end - (time - self.first[stream]))
            self.first.setdefault(stream, time)
            self.last[stream] = time
        return self.shifts[number]


def _judge_corrupt(found: Probe, at: float, is_last: bool) -> None:
    """What a corrupt packet at `at` seconds means."""
    if is_last and found.kind in CAPTURES:
        found.notes.append(f"it ends within a picture or sound, at {at:.2f} s, as a recording does "
                           "that was stopped")
    else:
        raise media_error(found.name, f"it is truncated or damaged at {at:.2f} s", COPY_AGAIN)


def is_clean_key(packet) -> bool:
    """Whether a key frame of H.264 or HEVC clears all that came before (IDR or BLA); others do."""
    context = packet.stream.codec_context  # None for a stream of data
    codec = context and context.name
    if codec not in ("h264", "hevc"):
        return True
    data = bytes(packet)
    if data[:3] == b"\0\0\1" or data[:4] == b"\0\0\0\1":  # byte stream
        units = [data[i + 3] for i in _places(data, b"\0\0\1")[:32] if i + 3 < len(data)]
    else:  # each unit follows its length
        units, i = [], 0
        while i + 4 < len(data) and len(units) < 32:
            units.append(data[i + 4])
            i += 4 + int.from_bytes(data[i:i + 4])
    if codec == "h264":
        return any(unit & 31 == 5 for unit in units)
    return any(16 <= unit >> 1 & 63 <= 20 for unit in units)


def _places(data: bytes, what: bytes) -> list[int]:
    places, i = [], data.find(what)
    while i >= 0:
        places.append(i)
        i = data.find(what, i + 3)
    return places


def _track(found: Probe, stream, packets: _Packets) -> Track:
    """The packets of a stream in the order of presentation."""
    starts, lengths = np.array(packets.starts), np.array(packets.lengths)
    timed = np.isfinite(starts).mean() > (0.99 if found.kind == "avi" else 0.5)
    timed &= found.kind != "avi" or stream.codec_context.name not in ("h264", "hevc")
    if not timed and stream.type == "video":
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        if found.kind != "avi":
            found.notes.append(f"it has no times: {rate:g} pictures a second were assumed")
        starts = np.arange(len(packets)) / rate
    elif not timed:
        starts = np.cumsum(lengths) - lengths
    known = np.isfinite(starts)
    order = np.flatnonzero(known)[np.argsort(starts[known], kind="stable")]
    ends = starts + lengths
    # The earliest time of all packets that follow in the file.
    later = np.fmin.accumulate(np.append(starts[1:], np.inf)[::-1])[::-1]
    key = np.frombuffer(packets.keys, bool) & known
    if found.kind in WHOLE:
        key[1:] = False
    clean = packets.keys == packets.clean and packets.keys[0] and (later[key] >= starts[key]).all()
    if stream.type == "video":
        usual = np.median(np.diff(starts[order])) if len(order) > 1 else 0.04
        if not lengths[order[-1]]:
            ends[order[-1]] = starts[order[-1]] + usual
    return Track(starts[order], ends[order], starts[key],
                 np.array(packets.places)[key], bool(clean), timed)


def _durations(found: Probe, declared: float | None, last: float) -> None:
    """Set the durations of a record.

    Raises:
        MediaError: the file is shorter than it says, or has a hole.
    """
    name, pictures, sounds = found.name, found.tracks.get("video"), found.tracks.get("audio")
    guessed = (found.kind in UNMEASURED or len(found.shifts) > 1
               or found.kind == "mp3" and not has_xing(name)
               or found.kind == "wav" and is_piped_wav(name))
    # Matroska's own duration is the time of the end, also where the first time is not 0.
    whole = max(last, last + found.zero) if "matroska" in found.kind else last
    if says := wav_says_less(name):
        raise media_error(name, says, "write the header again with `ffmpeg -i OLD NEW`")
    cut = declared and not guessed and whole < declared - 0.5 and found.kind not in CAPTURES
    if cut or is_cut_off(name):
        raise media_error(name, f"it is truncated: it ends after {last:.2f} s", COPY_AGAIN)
    spans = [np.stack([t.starts, t.ends], 1) if t else np.zeros((0, 2)) for t in (pictures, sounds)]
    if hole := find_hole(*spans):
        raise media_error(name, f"it is damaged between {hole[0]:.2f} and {hole[1]:.2f} s",
                          COPY_AGAIN)
    if pictures:
        # With B-frames, a long pause can be the duration of the wrong packet.
        usual = np.median(np.diff(pictures.starts)) if len(pictures.starts) > 1 else np.inf
        latest = pictures.starts[-1] + usual
        if declared and not guessed:
            latest = max(latest, declared)
        pictures.ends = np.minimum(pictures.ends, max(latest, pictures.starts[-1]))
    ends = [t.ends.max() for t in found.tracks.values()]
    # Audio packets are whole; the header knows how much of the last one counts. For video the
    # header may say too little.
    found.duration = max(ends)
    if declared and not guessed and not pictures:
        found.duration = min(found.duration, declared)
    if pictures:
        found.picture_end = min(float(pictures.ends[-1]), found.duration)
        if 0 < found.duration - found.picture_end <= CODEC_TAIL:
            found.duration = found.picture_end
