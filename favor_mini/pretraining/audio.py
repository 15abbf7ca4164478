"""Pretraining of the audio encoder: classify the sound in every 20 ms.

The linear head (a *probe*) is not used afterwards.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ..compat import WhisperEncoder
from ..config import AUDIO_RATE, FavorConfig
from ..encoders import encode_audio
from ..processor import FavorProcessor
from ..world.scene import THINGS, WORDS, Scene, stream
from ..world.sounds import make_waveform

NAMES = ("nothing", *THINGS, *WORDS)


def audio_labels(scene: Scene, length: int) -> torch.Tensor:
    """(length,) class of each 20 ms audio token, an index of `NAMES`."""
    labels = torch.zeros(length, dtype=torch.long)
    for moment in scene.moments:
        if heard := moment.heard:
            start = round(heard.start * AUDIO_RATE)
            stop = round((heard.start + heard.seconds) * AUDIO_RATE)
            labels[start:stop] = NAMES.index(heard.name)
    return labels


def augment_mel(mel: torch.Tensor, scene: Scene) -> torch.Tensor:
    """A scene's log-mel spectrogram (1, mels, 100 Hz frames) with a random change to each moment.

    Otherwise the model would memorise the voices. Each moment gets other pitches (VTLP, Jaitly &
    Hinton 2013), a spectral tilt, and a masked band of frequencies (SpecAugment, Park et al. 2019,
    arXiv 1904.08779).
    """
    rng, (mels, frames) = stream("audio augmentation", scene.seed), mel.shape[1:]
    edges = [0, *(round(moment.start * 100) for moment in scene.moments[1:]), frames]
    pieces, bands = [], torch.arange(mels)
    for piece in mel.split([b - a for a, b in pairwise(edges)], dim=-1):
        source = (bands * rng.uniform(0.85, 1.18) + rng.uniform(-2, 2)).clamp(0, mels - 1)
        below = source.long().clamp(max=mels - 2)
        piece = torch.lerp(piece[:, below], piece[:, below + 1], (source - below)[:, None])
        piece = piece + rng.uniform(-0.3, 0.3) * torch.linspace(-1, 1, mels)[:, None]
        width = rng.integers(0, 12)
        first = rng.integers(0, mels - width)
        piece[:, first : first + width] = mel.min()
        pieces.append(piece)
    return torch.cat(pieces, dim=-1)


class AudioProbe(nn.Module):
    """The audio encoder with a linear classifier on each token."""

    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = WhisperEncoder(config.audio_config)
        self.head = nn.Linear(config.audio_hidden, len(NAMES))

    def forward(self, input_features, labels):
        logits = self.head(encode_audio(self.encoder, input_features))  # [B, L, classes]
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()),
                "right": (logits.argmax(-1) == labels).float().mean()}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, augment: bool = False) -> dict:
        """The log-mel spectrogram of a scene, and the label of each token."""
        mel = processor.mel(make_waveform(scene))  # [1, mels, frames]
        labels = audio_labels(scene, mel.shape[0] * mel.shape[-1] // 2)
        return {"input_features": augment_mel(mel, scene) if augment else mel, "labels": labels}
