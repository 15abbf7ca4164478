"""An out-of-distribution score: are picture, sound and question like those of the training clips?

Each half second of a clip becomes one vector per stream, the mean of its encoder tokens. Training
clips give the mean and covariance of these vectors. A clip's distance is the mean Mahalanobis
distance of its vectors (Lee et al. 2018, arXiv 1807.03888), divided by the 99 % quantile over
held-out clips. Above 1, the clip is unlike the training clips. A question's distance is its
surprise (`wording.measure`), divided by the 99 % quantile of held-out questions.
`pretraining.familiar.fit_familiarity` writes the statistics of a checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..config import AUDIO_RATE
from ..storage import atomic_write
from . import calibration

FILE = "familiarity.safetensors"
STREAMS = {"video": "visual_features", "audio": "audio_features"}  # stream: key of `encode_media`
AUDIO_STEP = AUDIO_RATE // 2  # audio tokens in half a second
QUANTILE = 0.99


def step_vectors(encoded: dict, stream: str) -> Tensor | None:
    """One vector per half second of a stream, (T, D) float32; None if the clip lacks the stream."""
    features = encoded.get(STREAMS[stream])
    if features is None or len(features) == 0:
        return None
    features = features.float()
    if stream == "video":
        return features.mean(dim=1)  # (T, V, D) -> [T, D]
    return torch.stack([step.mean(dim=0) for step in features.split(AUDIO_STEP)])  # -> [T, D]


@dataclass
class Familiarity:
    """Statistics of the training clips.

    tensors: `longest` (), the longest training clip in seconds; for each stream `mean` (D,),
        `whitener` (D, D) and `threshold` (), named "video.mean" and so on. If questions were
        fitted, too: `question.threshold` () and `confidence.weights` (3,), see `calibration`.
    """

    tensors: dict[str, Tensor]

    @classmethod
    def fit(cls, training: list[dict], held_out: list[dict],
            quantile: float = QUANTILE) -> "Familiarity":
        """Fit to clips from `encode_media`. `held_out`, which sets the threshold, must not contain
        training clips."""
        longest = max(e["audio_tokens"] for e in training) / AUDIO_RATE
        tensors = {"longest": torch.tensor(longest)}
        for stream in STREAMS:
            found = [step_vectors(e, stream) for e in training]
            steps = torch.cat([v for v in found if v is not None]).double()  # [steps, D]
            values, vectors = torch.linalg.eigh(steps.T.cov())
            # Without a lower bound, noise in directions of hardly any variance would dominate.
            values = values.clamp(min=float(values.mean()) * 1e-3)
            tensors[f"{stream}.mean"] = steps.mean(dim=0).float()
            tensors[f"{stream}.whitener"] = (vectors / values.sqrt()).float()  # [D, D]
            tensors[f"{stream}.threshold"] = torch.tensor(1.0)
            raw = [d for e in held_out if (d := cls(tensors)._distance(e, stream)) is not None]
            tensors[f"{stream}.threshold"] = torch.tensor(float(np.quantile(raw, quantile)))
        return cls(tensors)

    def fit_questions(self, surprise, probability, right, ordinary, quantile: float = QUANTILE
                      ) -> None:
        """Fit the threshold of the questions, and the confidence, to answers about held-out clips.

        Args:
            surprise, probability, right: (n,), of each question and its answer.
            ordinary: (n,) bool, whether the question is one as in training. The others teach that
                an answer to a foreign question is wrong.
        """
        known = np.asarray(surprise)[np.asarray(ordinary, bool)]
        self.tensors["question.threshold"] = torch.tensor(float(np.quantile(known, quantile)))
        distances = [self.question(value) for value in surprise]
        self.tensors["confidence.weights"] = calibration.fit(probability, distances, right)

    @property
    def has_questions(self) -> bool:
        """Whether questions were fitted; a checkpoint from before `fit_questions` has only clips.
        """
        return "question.threshold" in self.tensors

    def question(self, surprise: float) -> float:
        """The distance of a question, from `wording.measure`."""
        return surprise / float(self.tensors["question.threshold"])

    def confidence(self, probability: float, surprise: float) -> float:
        """The calibrated confidence of an answer to a question."""
        return float(calibration.calibrate(self.tensors["confidence.weights"], [probability],
                                           [self.question(surprise)])[0])

    def _distance(self, encoded: dict, stream: str) -> float | None:
        steps = step_vectors(encoded, stream)
        if steps is None:
            return None
        centred = steps.cpu() - self.tensors[f"{stream}.mean"]
        white = centred @ self.tensors[f"{stream}.whitener"]  # [T, D]
        distance = white.square().mean(dim=1).sqrt().mean()
        return float(distance / self.tensors[f"{stream}.threshold"])

    def distances(self, encoded: dict) -> dict[str, float | None]:
        """The distance by stream: up to 1 for familiar clips; None if the clip lacks the stream."""
        return {stream: self._distance(encoded, stream) for stream in STREAMS}

    @property
    def longest(self) -> float:
        return float(self.tensors["longest"])

    def save(self, folder) -> Path:
        path = Path(folder) / FILE
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(save({n: t.contiguous() for n, t in self.tensors.items()}))
        return path

    @classmethod
    def load(cls, folder) -> "Familiarity | None":
        """The statistics in a checkpoint's folder; None if there are none."""
        path = Path(folder) / FILE
        return cls(load_file(path)) if path.exists() else None
