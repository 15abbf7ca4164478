"""Fit the familiarity score of a checkpoint (`evaluation.familiarity`)."""

import numpy as np

from ..data.features import encode_media
from ..evaluation.familiarity import STREAMS, Familiarity
from ..media.clip import Clip, clip_from_arrays
from ..world.rows import encode_scenes
from ..world.scene import SPLITS, stream
from ..world.video import record_scenes

HELD_OUT = SPLITS["validation"].start + 10**8  # not among the scenes that score models


def foreign_clips(count: int, size: int = 64, seconds: int = 10) -> list[Clip]:
    """Clips from outside the mini world, to test the score: moving clouds, a hum and noise.

    The clouds have the amplitude spectrum of photographs (1 / frequency). The hum is a sum of
    harmonics, the noise is coloured.
    """
    clips = []
    for i in range(count):
        rng = stream("clips outside the mini world", i)
        radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
        noise = rng.standard_normal((3, size, size))
        cloud = np.fft.ifft2(np.fft.fft2(noise) / np.maximum(radius, 1 / size)).real  # (3, H, W)
        cloud = 128 + 50 * cloud / cloud.std()
        frames = np.stack([np.roll(cloud, 3 * t, axis=2) for t in range(2 * seconds)])
        t = np.arange(seconds * 16000) / 16000
        hum = sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * k * rng.uniform(80, 300) * t)
                  for k in range(1, 8))
        hiss = np.cumsum(rng.standard_normal(len(t)))
        hiss = (hiss - np.convolve(hiss, np.ones(800) / 800, "same")) / 20
        hum *= 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t)
        clips.append(clip_from_arrays(
            frames=frames.transpose(0, 2, 3, 1).clip(0, 255).astype(np.uint8),
            waveform=(0.1 * hum + 0.1 * hiss).clip(-1, 1)))
    return clips


def fit_familiarity(checkpoint, *, scenes: int = 400, held_out: int = 100, foreign: int = 50
                    ) -> dict[str, dict[str, float]]:
    """Write `familiarity.safetensors` into the folder of a checkpoint; returns how well it works.

    Args:
        scenes: number of training scenes to fit.
        held_out: number of validation scenes for the threshold, read from MP4 files as a user's
            clips are.
        foreign: number of `foreign_clips` to test with.
    """
    from ..evaluation.checkpoint import load_checkpoint

    model, processor = load_checkpoint(checkpoint)
    size = processor.settings.image_size

    def encode(clip):
        return encode_media(model, processor, [processor.media(clip)])[0]

    seeds = range(HELD_OUT, HELD_OUT + held_out)
    known = [encode(clip) for _, clip in record_scenes(seeds, image_size=size, progress=True)]
    fitted = Familiarity.fit(encode_scenes(model, processor, SPLITS["train"][:scenes]), known)
    fitted.save(checkpoint)
    found = {}
    for stream_name in STREAMS:
        near, far = ([fitted.distances(e)[stream_name] for e in encoded] for encoded in (
            known, map(encode, foreign_clips(foreign, size))))
        found[stream_name] = {"threshold": float(fitted.tensors[f"{stream_name}.threshold"]),
                              "median of held-out clips": float(np.median(near)),
                              "median of foreign clips": float(np.median(far)),
                              "foreign clips noticed": float(np.mean([d > 1 for d in far]))}
    return found
