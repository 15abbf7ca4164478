"""Does a clip look and sound like what the model was trained on? Measured on what the frozen encoders make of it.

Each time step becomes one vector per stream (the mean of its tokens). Training clips give the mean and the covariance
of these vectors; a clip's distance is the mean Mahalanobis distance of its steps, divided by the distance that 99 % of
held-out mini-world clips stay below. So 1 is the edge of what the model knows. Made beside a checkpoint by

    python -m favor_mini.familiarity --checkpoint DIR
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import checkpoint_path
from .features import encode_media, encode_scenes
from .files import replacing
from .filming import film
from .media import Clip, clip_from_arrays
from .world.scene import SPLITS

FILE = "familiarity.safetensors"
STREAMS = {"video": "visual_features", "audio": "audio_features"}  # stream: its key in what `encode_media` returns
AUDIO_STEP = 25  # audio tokens (50 Hz) in a step of 0.5 s
QUANTILE = 0.99
HELD_OUT = SPLITS["validation"].start + 10**8  # far from the validation scenes that models are compared on


def step_vectors(encoded: dict, stream: str) -> Tensor | None:
    """One vector for each time step of a stream, (T, D) float32; None where the clip lacks the stream."""
    features = encoded.get(STREAMS[stream])
    if features is None or len(features) == 0:
        return None
    features = features.float()
    if stream == "video":
        return features.mean(dim=1)  # (T, V, D) -> [T, D]
    return torch.stack([step.mean(dim=0) for step in features.split(AUDIO_STEP)])  # (L, D) -> [T, D]


@dataclass
class Familiarity:
    """What training clips look like, stream by stream.

    tensors: for each stream "video" and "audio": `mean` (D,), `whitener` (D, D) and `threshold` (), named "video.mean" ...;
        and `longest` (), the seconds that the longest training clip lasted.
    """

    tensors: dict[str, Tensor]

    @classmethod
    def fit(cls, training: list[dict], held_out: list[dict], quantile: float = QUANTILE) -> "Familiarity":
        """From clips as `encode_media` gives them; `held_out` sets the threshold, and should not be among `training`."""
        tensors = {"longest": torch.tensor(max(e["audio_tokens"] / 50 for e in training))}
        for stream in STREAMS:
            steps = torch.cat([v for e in training if (v := step_vectors(e, stream)) is not None]).double()  # [steps, D]
            values, vectors = torch.linalg.eigh(steps.T.cov())
            # Directions in which training clips hardly vary would blow up any noise; they count as if they varied a bit.
            values = values.clamp(min=float(values.mean()) * 1e-3)
            tensors[f"{stream}.mean"] = steps.mean(dim=0).float()
            tensors[f"{stream}.whitener"] = (vectors / values.sqrt()).float()  # [D, D]
            tensors[f"{stream}.threshold"] = torch.tensor(1.0)
            raw = [d for e in held_out if (d := cls(tensors)._distance(e, stream)) is not None]
            tensors[f"{stream}.threshold"] = torch.tensor(float(np.quantile(raw, quantile)))
        return cls(tensors)

    def _distance(self, encoded: dict, stream: str) -> float | None:
        steps = step_vectors(encoded, stream)
        if steps is None:
            return None
        white = (steps.cpu() - self.tensors[f"{stream}.mean"]) @ self.tensors[f"{stream}.whitener"]  # [T, D]
        return float(white.square().mean(dim=1).sqrt().mean() / self.tensors[f"{stream}.threshold"])

    def distances(self, encoded: dict) -> dict[str, float | None]:
        """How far a clip lies from the training clips, by stream: up to 1 familiar, above it not; None: no such stream."""
        return {stream: self._distance(encoded, stream) for stream in STREAMS}

    @property
    def longest(self) -> float:
        return float(self.tensors["longest"])

    def save(self, folder) -> Path:
        path = Path(folder) / FILE
        with replacing(path) as unfinished:
            save_file({name: t.contiguous() for name, t in self.tensors.items()}, unfinished)
        return path

    @classmethod
    def load(cls, folder) -> "Familiarity | None":
        """The one stored beside a checkpoint; None where there is none."""
        path = Path(folder) / FILE
        return cls(load_file(path)) if path.exists() else None


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
    from .ask import load_checkpoint

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Store beside a checkpoint what its training clips look and sound like.")
    parser.add_argument("--checkpoint", default=str(checkpoint_path()))
    parser.add_argument("--scenes", type=int, default=400, help="training scenes to measure")
    parser.add_argument("--held-out", type=int, default=100, help="validation scenes that set the threshold, via mp4")
    arguments = parser.parse_args()
    for stream, found in make(arguments.checkpoint, scenes=arguments.scenes, held_out=arguments.held_out).items():
        print(stream, ", ".join(f"{name}: {value:.3g}" for name, value in found.items()), sep=": ")
