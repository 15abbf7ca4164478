"""Fit the familiarity score that ships beside a checkpoint."""

import numpy as np

from ..data.features import encode_media
from ..evaluation.familiarity import STREAMS, Familiarity
from ..media.clip import Clip, clip_from_arrays
from ..world.rows import encode_scenes
from ..world.scene import SPLITS
from ..world.video import film

HELD_OUT = SPLITS["validation"].start + 10**8  # far from the validation scenes that models are compared on


def foreign_clips(count: int, size: int = 64, seconds: int = 10) -> list[Clip]:
    """Clips that are surely not of the mini world, to see whether they are noticed: drifting clouds, humming and hiss.

    Clouds have the spectrum of photographs (amplitude 1 / frequency); the sound is a chord of harmonics in coloured noise.
    """
    clips = []
    for i in range(count):
        rng = np.random.default_rng([i, 71])
        radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
        noise = rng.standard_normal((3, size, size))
        cloud = np.fft.ifft2(np.fft.fft2(noise) / np.maximum(radius, 1 / size)).real  # (3, H, W)
        cloud = 128 + 50 * cloud / cloud.std()
        frames = np.stack([np.roll(cloud, 3 * t, axis=2) for t in range(2 * seconds)]).transpose(0, 2, 3, 1)
        t = np.arange(seconds * 16000) / 16000
        hum = sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * k * rng.uniform(80, 300) * t) for k in range(1, 8))
        hiss = np.cumsum(rng.standard_normal(len(t)))
        hiss = (hiss - np.convolve(hiss, np.ones(800) / 800, "same")) / 20
        waveform = 0.1 * hum * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t)) + 0.1 * hiss
        clips.append(clip_from_arrays(frames=frames.clip(0, 255).astype(np.uint8), waveform=waveform.clip(-1, 1)))
    return clips


def make(checkpoint, *, scenes: int = 400, held_out: int = 100, foreign: int = 50) -> dict:
    """Measure a checkpoint's training clips, write `familiarity.safetensors` beside it, and return how it does.

    Held-out clips go through a real video file, as any clip of a user's does.
    """
    from ..evaluation.checkpoint import load_checkpoint

    model, processor = load_checkpoint(checkpoint)
    size = processor.settings.image_size

    def encode(clip):
        return encode_media(model, processor, [processor.media(clip)])[0]

    seeds = range(SPLITS["train"].start, SPLITS["train"].start + scenes)
    held_out_seeds = range(HELD_OUT, HELD_OUT + held_out)
    filmed = [encode(clip) for _, clip in film(held_out_seeds, image_size=size, progress=True)]
    fitted = Familiarity.fit(encode_scenes(model, processor, seeds), filmed)
    fitted.save(checkpoint)
    strange = [fitted.distances(encode(clip)) for clip in foreign_clips(foreign, size)]
    known = [fitted.distances(e) for e in filmed]
    return {stream: {"threshold": float(fitted.tensors[f"{stream}.threshold"]),
                     "median of held-out clips": float(np.median([d[stream] for d in known])),
                     "median of foreign clips": float(np.median([d[stream] for d in strange])),
                     "foreign clips noticed": float(np.mean([d[stream] > 1 for d in strange]))} for stream in STREAMS}
