"""Put a trained checkpoint into the package.

    make checkpoint                              # hours; writes build/make
    python -m docs.tools.ship build/make
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from favor_mini import checkpoint_path
from favor_mini.data.features import encode_media
from favor_mini.evaluation.checkpoint import load_checkpoint
from favor_mini.evaluation.familiarity import STREAMS, Familiarity
from favor_mini.media.clip import Clip, clip_from_arrays
from favor_mini.pretraining.familiar import fit_familiarity
from favor_mini.pretraining.recipe import PARTS
from favor_mini.world.scene import stream


def ship(out) -> Path:
    """Replace the checkpoint of the package by the one in `out`, with the cards of its parts.

    Stores the tensors in half precision. They are still loaded as float32, as the config says. Fits
    the familiarity score.

    Raises:
        FileNotFoundError: a file is missing in `out`; the old checkpoint is kept.
    """
    source, shipped = Path(out) / "favor", checkpoint_path()
    cards = {part: Path(out) / part / "README.md" for part in PARTS}
    for file in (source / "model.safetensors", *cards.values()):
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist. Make it with `favor-mini train all "
                                    f"--out {out}`")
    target = shipped.with_name(f"{shipped.name}.part")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("run"))
    tensors = load_file(source / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()},
              target / "model.safetensors", metadata={"format": "pt"})
    for part, card in cards.items():
        shutil.copy(card, target / f"{part}.md")
    fit_familiarity(target)
    shutil.rmtree(shipped, ignore_errors=True)  # only now that the new one is complete
    os.replace(target, shipped)
    return shipped


def familiarity_report(checkpoint, foreign: int = 50) -> dict[str, dict[str, float]]:
    """The median distance of foreign clips, and the share that is noticed (distance above 1)."""
    model, processor = load_checkpoint(checkpoint)
    fitted = Familiarity.load(checkpoint)
    clips = foreign_clips(foreign, processor.settings.image_size)
    distances = [fitted.distances(encode_media(model, processor, [processor.media(clip)])[0])
                 for clip in clips]
    found = {name: np.array([d[name] for d in distances]) for name in STREAMS}
    return {name: {"median distance": float(np.median(values)),
                   "noticed": float((values > 1).mean())} for name, values in found.items()}


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


if __name__ == "__main__":
    folder = ship(sys.argv[1])
    print(folder, familiarity_report(folder))
