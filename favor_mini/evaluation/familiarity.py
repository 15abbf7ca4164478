"""Does a clip look and sound like what the model was trained on? Measured on what the frozen encoders make of it.

Each time step becomes one vector per stream (the mean of its tokens). Training clips give the mean and the covariance
of these vectors; a clip's distance is the mean Mahalanobis distance of its steps, divided by the distance that 99 % of
held-out mini-world clips stay below. So 1 is the edge of what the model knows. Made beside a checkpoint by

    python -m favor_mini.pretraining.familiar --checkpoint DIR
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..storage import atomic_write

FILE = "familiarity.safetensors"
STREAMS = {"video": "visual_features", "audio": "audio_features"}  # stream: its key in what `encode_media` returns
AUDIO_STEP = 25  # audio tokens (50 Hz) in a step of 0.5 s
QUANTILE = 0.99


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
        with atomic_write(path) as unfinished:
            save_file({name: t.contiguous() for name, t in self.tensors.items()}, unfinished)
        return path

    @classmethod
    def load(cls, folder) -> "Familiarity | None":
        """The one stored beside a checkpoint; None where there is none."""
        path = Path(folder) / FILE
        return cls(load_file(path)) if path.exists() else None
