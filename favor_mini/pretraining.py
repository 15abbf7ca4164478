"""What the frozen encoders learn before FAVOR joins them: to hear and to see. (The language model: `reading`.)

Each learns on freshly drawn scenes, with labels that the script gives for free, through a linear head (a *probe*) that is
thrown away afterwards. `recipe` runs these trainings.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, get_worker_info
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .config import FavorConfig
from .encoders import VisualEncoder, encode_audio
from .features import grainy_frames
from .processor import FavorProcessor, ProcessorSettings
from .world.pictures import moment_at, path_at
from .world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS, Scene, draw_scene
from .world.sounds import make_waveform
from .world.tokenizer import build_tokenizer


def mini_config(**changes) -> FavorConfig:
    """The mini model's configuration, with the mini world's vocabulary; `changes` are fields of `FavorConfig`."""
    return FavorConfig.mini(vocab_size=len(build_tokenizer()), **changes)


def mini_processor(config: FavorConfig | None = None) -> FavorProcessor:
    """The processor that belongs to a mini configuration."""
    config = config or mini_config()
    seconds = config.audio_config.max_source_positions // 50
    extractor = WhisperFeatureExtractor(feature_size=config.audio_config.num_mel_bins, chunk_length=seconds)
    return FavorProcessor(build_tokenizer(), extractor, ProcessorSettings.from_config(config))


class Scenes(Dataset):
    """A split as a map from index to what `make` builds of a scene. `identity` names what that is, for a run that goes on."""

    def __init__(self, make, count: int = 10**7, split: str = "train", identity: str = ""):
        self.make, self.first, self.count, self.identity = make, SPLITS[split].start, count, identity

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        if get_worker_info():
            torch.set_num_threads(1)  # the workers share the cores
        return self.make(draw_scene(self.first + i))


def stack(examples: list[dict]) -> dict[str, torch.Tensor]:
    return {k: torch.stack([e[k] for e in examples]) for k in examples[0]}


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


# Vision: name what a frame is about, then what stands beside it, with colours and places.

NAMES = ("nothing", *SHAPES, *THINGS, *WORDS)
ACTORS = 3  # at most, see `world.scene.Moment`


def visual_labels(scene: Scene, t: float) -> dict[str, torch.Tensor]:
    """Labels of one frame: names (3,), colours (3,) and places (3, 2) of its moment's actors in their order; 0, 0 and
    NaN where there is none."""
    names, colours = torch.zeros(ACTORS, dtype=torch.long), torch.zeros(ACTORS, dtype=torch.long)
    places = torch.full((ACTORS, 2), torch.nan)
    moment = moment_at(scene, t)
    if moment is not None:
        done = (t - moment.start) / (moment.end - moment.start)
        for i, actor in enumerate(moment.actors):
            colour = actor.turns if actor.turns and done >= 0.5 else actor.colour
            names[i], colours[i] = NAMES.index(actor.name), COLOURS.index(colour) + 1 if colour else 0
            places[i] = torch.tensor(path_at(actor, min(1.0, done / moment.arrive)))
    return {"names": names, "colours": colours, "places": places}


class VisualProbe(nn.Module):
    """Two linear heads with one task: one on the Q-Former's mean token, one on the ViT's mean patch, so that the ViT
    learns from the first step on and not only once the Q-Former has learned to look.

    The mean, not all tokens side by side: what is spread over the tokens of a frame in a way that only a map with other
    weights for each can read, attention cannot gather (a causal Q-Former on such tokens heard, but stayed blind).
    """

    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = VisualEncoder(config.vision_config, config.visual_qformer_config, config.visual_tokens,
                                     config.conv_stem)
        self.sizes = (len(NAMES), 1 + len(COLOURS), 2)
        self.head = nn.Linear(config.visual_width, ACTORS * sum(self.sizes))
        self.patch_head = nn.Linear(config.vision_config.hidden_size, ACTORS * sum(self.sizes))

    def forward(self, pixel_values, names, colours, places):
        """pixel_values (B, n, 3, H, W), n frames of a scene, and the labels of `visual_labels`."""
        patches = self.encoder.see(pixel_values)  # [B * n, patches, D]
        tokens = self.encoder.sum_up(patches)  # [B * n, V, D_v]
        truth = [t.flatten(0, 1) for t in (names, colours, places)]
        loss, right, place_error = self.judge(self.head(tokens.mean(1)), *truth)
        return {"loss": loss + self.judge(self.patch_head(patches.mean(1)), *truth)[0], "right": right,
                "place_error": place_error}

    def judge(self, found, names, colours, places):
        """Loss, share of pictures named without any mistake, and mean error of the places (fractions of the side)."""
        found = found.float().unflatten(-1, (ACTORS, -1))  # [B * n, 3, sizes]
        name, colour, place = (part.flatten(0, 1) for part in found.split(self.sizes, dim=-1))  # [B * n * 3, ...]
        known = ~places.isnan()
        loss = (6 * F.cross_entropy(name, names.flatten()) + 6 * F.cross_entropy(colour, colours.flatten())
                + 10 * F.mse_loss(place.view_as(places)[known], places[known]))
        right = (name.argmax(-1) == names.flatten()) & (colour.argmax(-1) == colours.flatten())
        return loss, right.view_as(names).all(-1).float().mean(), (place.view_as(places)[known] - places[known]).abs().mean()

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, frames: int = 4) -> dict:
        # One picture of each of `frames` different moments: two of one moment would teach little more than one.
        rng = np.random.default_rng([scene.seed, 51])
        moments = rng.choice(len(scene.moments), frames, replace=False)
        times = [rng.uniform(scene.moments[i].start, scene.moments[i].end) for i in moments]
        pictures = grainy_frames(scene, times, processor.settings.image_size)
        return {"pixel_values": processor.pixels(pictures), **stack([visual_labels(scene, t) for t in times])}
