"""What the frozen encoders learn before FAVOR joins them: to hear and to see. (The language model: `reading`.)

Each learns on freshly drawn scenes, with labels that the script gives for free, through a linear head (a *probe*) that is
thrown away afterwards. `recipe` runs these trainings.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..config import FavorConfig
from ..encoders import encode_audio
from ..processor import FavorProcessor
from ..world.scene import THINGS, WORDS, Scene
from ..world.sounds import make_waveform

# Audio: name what is heard in every 20 ms.


def audio_labels(scene: Scene, length: int) -> torch.Tensor:
    """(length,) class of each 20 ms audio token: 0 nothing, then the things, then the words."""
    labels = torch.zeros(length, dtype=torch.long)
    names = (*THINGS, *WORDS)
    for moment in scene.moments:
        if heard := moment.heard:
            start, stop = round(heard.start * 50), round((heard.start + heard.seconds) * 50)
            labels[start:stop] = 1 + names.index(heard.name)
    return labels


def other_voices(mel: torch.Tensor, scene: Scene) -> torch.Tensor:
    """A scene's spectrogram (1, mels, 100 Hz frames), each moment as from another throat and in another room.

    Twenty voices are soon known by heart. So every moment's pitches are moved (Jaitly & Hinton 2013), its loudness tilted
    over the frequencies, and one band of them is silenced (Park et al. 2019, arXiv 1904.08779).
    """
    rng, (mels, frames) = np.random.default_rng([scene.seed, 61]), mel.shape[1:]
    edges = [0, *(round(moment.start * 100) for moment in scene.moments[1:]), frames]
    pieces, places = [], torch.arange(mels)
    for piece in mel.split([b - a for a, b in pairwise(edges)], dim=-1):
        from_place = (places * rng.uniform(0.85, 1.18) + rng.uniform(-2, 2)).clamp(0, mels - 1)
        below = from_place.long().clamp(max=mels - 2)
        piece = torch.lerp(piece[:, below], piece[:, below + 1], (from_place - below)[:, None])
        piece = piece + rng.uniform(-0.3, 0.3) * torch.linspace(-1, 1, mels)[:, None]
        width = rng.integers(0, 12)
        silenced = rng.integers(0, mels - width)
        piece[:, silenced : silenced + width] = mel.min()
        pieces.append(piece)
    return torch.cat(pieces, dim=-1)


class AudioProbe(nn.Module):
    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = WhisperEncoder(config.audio_config)
        self.head = nn.Linear(config.audio_config.d_model, 1 + len(THINGS) + len(WORDS))

    def forward(self, input_features, labels):
        logits = self.head(encode_audio(self.encoder, input_features))  # [B, L, classes]
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()),
                "right": (logits.argmax(-1) == labels).float().mean()}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, vary: bool = False) -> dict:
        mel = processor.mel(make_waveform(scene))  # [1, mels, frames]
        labels = audio_labels(scene, mel.shape[0] * mel.shape[-1] // 2)
        return {"input_features": other_voices(mel, scene) if vary else mel, "labels": labels}
