"""Write frames and sound to MP4 files, with H.264 and AAC.

The same input and the same encoders give the same bytes: the encoders use one thread, and the files
hold no dates or version numbers.
"""

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path

import av
import numpy as np
import soxr
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from tqdm.auto import tqdm

from ..media.clip import Clip
from ..media.read import read_clip
from ..storage import atomic_write
from .pictures import draw_frames
from .scene import Scene, draw_scene
from .sounds import make_waveform

# "g": a key frame every second at 24 fps, for fast seeking.
H264 = {"preset": "slow", "crf": "20", "g": "24", "threads": "1"}
AAC_BIT_RATE = 96_000
# Chroma subsampling that gives the same result on every CPU.
CHROMA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
COLOURS = {"dst_colorspace": Colorspace.SMPTE170M, "dst_color_range": ColorRange.MPEG}


def write_video(path, frames: Iterable[np.ndarray], fps: int | Fraction,
                waveform: np.ndarray | None = None, sampling_rate: int = 16000,
                audio_rate: int = 48000) -> None:
    """Write an MP4 file, atomically.

    Args:
        frames: arrays (H, W, 3), uint8, RGB, with even H and W. Frame i starts at i / fps seconds.
        waveform: (samples,) or, for stereo, (2, samples), float in -1..1, at `sampling_rate` Hz.
            None: the file has no sound track.
        audio_rate: the sampling rate in the file, one that AAC has (48000, 44100, 32000, ...).

    Raises:
        ValueError: there are no frames, or an array has another shape or type.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("found no frames, expected at least one")
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with atomic_write(Path(path)) as unfinished, \
            av.open(str(unfinished), "w", format="mp4", options=options) as file:
        pictures = _add_pictures(file, first.shape, fps)
        sound = None if waveform is None else _add_sound(file, waveform, audio_rate)
        pieces = iter(()) if sound is None else _pieces(waveform, sampling_rate, audio_rate, fps)
        for i, frame in enumerate(chain([first], frames)):  # interleave pictures and sound
            file.mux(pictures.encode(_picture(frame, first.shape, i, fps)))
            file.mux(sound.encode(piece) if (piece := next(pieces, None)) else [])
        for piece in pieces:  # the sound after the last picture
            file.mux(sound.encode(piece))
        for stream in file.streams:
            file.mux(stream.encode(None))


def write_scene(scene: Scene, path, size: int = 256, fps: int = 24) -> None:
    """Write a scene as an MP4 file with sound and pictures of `size` x `size` pixels."""
    frames = (draw_frames(scene, [i / fps], size)[0] for i in range(ceil(scene.duration * fps)))
    write_video(path, frames, fps, make_waveform(scene))


def record_scenes(seeds, *, size: int = 256, fps: int = 24, image_size: int | None = None,
                  progress: bool = False) -> Iterator[tuple[Scene, Clip]]:
    """Scenes with their clips, each written as an MP4 file in a temporary folder and read back.

    Args:
        size, fps: of the pictures in the files.
        image_size: side of the frames that are read back; None: `size`.
    """
    with tempfile.TemporaryDirectory(prefix="favor-mini-") as folder:
        for seed in tqdm(seeds, desc="recording scenes", unit="clip", disable=not progress):
            scene, path = draw_scene(seed), Path(folder) / f"{seed}.mp4"
            write_scene(scene, path, size=size, fps=fps)
            yield scene, read_clip(path, image_size=image_size)
            path.unlink()


def _add_pictures(file, shape: tuple[int, ...], fps):
    if len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2:
        raise ValueError(f"found frames {shape}, expected (H, W, 3) with even H and W")
    stream = file.add_stream("libx264", rate=fps, options=H264)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.time_base = stream.codec_context.time_base = 1 / Fraction(fps)
    # Store how RGB was converted to YUV, so that all players show the same colours.
    stream.codec_context.colorspace = COLOURS["dst_colorspace"]
    stream.codec_context.color_range = COLOURS["dst_color_range"]
    return stream


def _picture(frame: np.ndarray, shape: tuple[int, ...], index: int, fps) -> av.VideoFrame:
    if frame.shape != shape or frame.dtype != np.uint8:
        raise ValueError(f"frame {index}: found {frame.shape} {frame.dtype}, expected the shape of "
                         f"the first frame, {shape}, and uint8")
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(format="yuv420p", interpolation=CHROMA, **COLOURS)
    picture.pts, picture.time_base = index, 1 / Fraction(fps)
    return picture


def _add_sound(file, waveform: np.ndarray, audio_rate: int):
    if not (waveform.ndim == 1 or (waveform.ndim == 2 and waveform.shape[0] in (1, 2))):
        raise ValueError(f"found waveform {waveform.shape}, expected (samples,) or (2, samples)")
    options = {"flags": "+bitexact", "threads": "1"}
    return file.add_stream("aac", rate=audio_rate, layout=_layout(waveform), bit_rate=AAC_BIT_RATE,
                           options=options)


def _layout(waveform: np.ndarray) -> str:
    return "stereo" if waveform.ndim == 2 and len(waveform) == 2 else "mono"


def _pieces(waveform: np.ndarray, sampling_rate: int, audio_rate: int, fps
            ) -> Iterator[av.AudioFrame]:
    """The sound, in pieces of the duration of a picture."""
    channels = np.atleast_2d(waveform).T.astype(np.float32)  # (samples, 1 or 2)
    sound = np.clip(soxr.resample(channels, sampling_rate, audio_rate), -1, 1).T
    length = ceil(audio_rate / fps)
    for start in range(0, sound.shape[1], length):
        samples = np.ascontiguousarray(sound[:, start:start + length])
        piece = av.AudioFrame.from_ndarray(samples, "fltp", _layout(waveform))
        piece.sample_rate, piece.pts, piece.time_base = audio_rate, start, Fraction(1, audio_rate)
        yield piece
