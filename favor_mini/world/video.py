"""Write frames and sound to a real video file, as a camera would: MP4 with H.264 pictures and AAC sound.

The same frames and sound give the same bytes for as long as the encoders are the same (`encoder_build`): one thread,
and no dates or version numbers in the file.
"""

from __future__ import annotations

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

# A key frame each second at 24 fps makes seeking quick; quality 20 is hard to tell from the original.
H264 = {"preset": "slow", "crf": "20", "g": "24", "threads": "1"}
AAC_BIT_RATE, OPUS_BIT_RATE = 96_000, 32_000
SHRINK = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # of the colours, the same on every CPU


def write_video(path, frames: Iterable[np.ndarray], fps: int | Fraction, waveform: np.ndarray | None = None,
                sampling_rate: int = 16000, audio_rate: int = 48000) -> None:
    """Write an MP4 file; it appears under its name only once it is complete.

    frames: arrays (H, W, 3), uint8, RGB, H and W even; frame i is shown from i / fps seconds on.
    waveform: (samples,) or, for stereo, (2, samples), float in -1..1, at `sampling_rate` Hz; None for a silent film
        without a sound track. It is resampled to `audio_rate` Hz, which AAC must know (48000, 44100, 32000, 16000, ...).
    Raises ValueError where there are no frames, or arrays are of other shapes than these.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    with atomic_write(Path(path)) as unfinished, av.open(
            str(unfinished), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
        pictures = _add_pictures(file, first.shape, fps)
        sound = None if waveform is None else _add_sound(file, waveform, audio_rate)
        pieces = iter(()) if sound is None else _pieces(waveform, sampling_rate, audio_rate, fps)
        for i, frame in enumerate(chain([first], frames)):  # picture by picture, so that the file is well interleaved
            file.mux(pictures.encode(_picture(frame, first.shape, i, fps)))
            file.mux(sound.encode(piece) if (piece := next(pieces, None)) else [])
        for piece in pieces:  # what is heard after the last picture
            file.mux(sound.encode(piece))
        for stream in file.streams:
            file.mux(stream.encode(None))


def write_sound(path, waveform: np.ndarray, sampling_rate: int = 16000) -> None:
    """Write a waveform (samples,) to an Ogg file with Opus sound; the same samples give the same bytes, as for films."""
    with atomic_write(Path(path)) as unfinished, av.open(str(unfinished), "w", format="ogg",
                                                      options={"fflags": "+bitexact"}) as file:
        sound = file.add_stream("libopus", rate=sampling_rate, layout="mono", bit_rate=OPUS_BIT_RATE,
                                options={"flags": "+bitexact"})
        piece = av.AudioFrame.from_ndarray(waveform[None].astype(np.float32), "flt", "mono")
        piece.sample_rate = sampling_rate
        file.mux(sound.encode(piece))
        file.mux(sound.encode(None))


def write_scene(scene: Scene, path, size: int = 256, fps: int = 24) -> None:
    """Write a scene as an MP4 file with pictures of `size` x `size` pixels, `fps` a second, and its sound."""
    from .sounds import make_waveform

    frames = (draw_frames(scene, [i / fps], size)[0] for i in range(ceil(scene.duration * fps)))
    write_video(path, frames, fps, make_waveform(scene, sampling_rate=16000), sampling_rate=16000)


def encoder_build() -> str:
    """Which encoders write the files here: on another build the same scene may give other bytes."""
    versions = av.library_versions
    return ", ".join([f"PyAV {av.__version__}"] + [f"{name} {'.'.join(map(str, versions[name]))}"
                                                   for name in ("libavcodec", "libavformat", "libswscale")])


def _add_pictures(file, shape: tuple[int, ...], fps):
    if len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2:
        raise ValueError(f"frames must be (H, W, 3) with H and W even, not {shape}")
    stream = file.add_stream("libx264", rate=fps, options=H264)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.time_base = stream.codec_context.time_base = 1 / Fraction(fps)
    # Say which of the two ways of turning RGB into YUV was taken, so that no player shows other colours.
    stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
    return stream


def _picture(frame: np.ndarray, shape: tuple[int, ...], index: int, fps) -> av.VideoFrame:
    if frame.shape != shape or frame.dtype != np.uint8:
        raise ValueError(f"frame {index} is {frame.shape} {frame.dtype}, but the first is {shape} uint8")
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(format="yuv420p", interpolation=SHRINK,
                               dst_colorspace=Colorspace.SMPTE170M, dst_color_range=ColorRange.MPEG)
    picture.pts, picture.time_base = index, 1 / Fraction(fps)
    return picture


def _add_sound(file, waveform: np.ndarray, audio_rate: int):
    if not (waveform.ndim == 1 or (waveform.ndim == 2 and waveform.shape[0] in (1, 2))):
        raise ValueError(f"a waveform must be (samples,) or (2, samples), not {waveform.shape}")
    return file.add_stream("aac", rate=audio_rate, layout=_layout(waveform), bit_rate=AAC_BIT_RATE,
                           options={"flags": "+bitexact", "threads": "1"})


def _layout(waveform: np.ndarray) -> str:
    return "stereo" if waveform.ndim == 2 and len(waveform) == 2 else "mono"


def _pieces(waveform: np.ndarray, sampling_rate: int, audio_rate: int, fps) -> Iterator[av.AudioFrame]:
    """The sound, cut into pieces as long as a picture is shown."""
    sound = soxr.resample(np.atleast_2d(waveform).T.astype(np.float32), sampling_rate, audio_rate)  # (samples, 1 or 2)
    sound = np.clip(sound, -1, 1).T
    length = ceil(audio_rate / fps)
    for start in range(0, sound.shape[1], length):
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start:start + length]), "fltp",
                                           _layout(waveform))
        piece.sample_rate, piece.pts, piece.time_base = audio_rate, start, Fraction(1, audio_rate)
        yield piece


def film(seeds, *, size: int = 256, fps: int = 24, image_size: int | None = None, progress: bool = False
         ) -> Iterator[tuple[Scene, Clip]]:
    """Each scene with what a reader finds in its mp4; the files lie in a temporary folder, one at a time.

    size, fps: of the files. image_size: of the frames that are read back; None keeps `size`.
    """
    with tempfile.TemporaryDirectory(prefix="favor-mini-") as folder:
        for seed in tqdm(seeds, desc="filming scenes", unit="clip", disable=not progress):
            scene, path = draw_scene(seed), Path(folder) / f"{seed}.mp4"
            write_scene(scene, path, size=size, fps=fps)
            yield scene, read_clip(path, image_size=image_size)
            path.unlink()
