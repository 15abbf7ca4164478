"""What the frozen encoders learn before FAVOR joins them: to hear and to see. (The language model: `reading`.)

Each learns on freshly drawn scenes, with labels that the script gives for free, through a linear head (a *probe*) that is
thrown away afterwards. `recipe` runs these trainings.
"""


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
    """A split as a map from index to what `make` builds of a scene."""

    def __init__(self, make, count: int = 10**7, split: str = "train"):
        self.make, self.first, self.count = make, SPLITS[split].start, count

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
    def example(scene: Scene, processor: FavorProcessor) -> dict:
        mel = processor.mel(make_waveform(scene))
        return {"input_features": mel, "labels": audio_labels(scene, mel.shape[0] * mel.shape[-1] // 2)}


# Vision: say of every colour which shape has it and where, which things are there and where, and what is written.

def visual_labels(scene: Scene, t: float) -> dict[str, torch.Tensor]:
    """Labels of one frame: shape of each colour (7,), presence of each thing (8,), the word, positions (15, 2)."""
    shapes, things = torch.zeros(len(COLOURS), dtype=torch.long), torch.zeros(len(THINGS))
    places, word = torch.full((len(COLOURS) + len(THINGS), 2), torch.nan), torch.tensor(0)
    moment = moment_at(scene, t)
    if moment is not None:
        done = (t - moment.start) / (moment.end - moment.start)
        for actor in moment.actors:
            where = torch.tensor(path_at(actor, min(1.0, done / moment.arrive)))
            if actor.colour:
                colour = COLOURS.index(actor.turns if actor.turns and done >= 0.5 else actor.colour)
                shapes[colour], places[colour] = 1 + SHAPES.index(actor.name), where
            elif actor.name in THINGS:
                things[THINGS.index(actor.name)] = 1
                places[len(COLOURS) + THINGS.index(actor.name)] = where
            else:
                word = torch.tensor(1 + WORDS.index(actor.name))
    return {"shapes": shapes, "things": things, "places": places, "word": word}


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
        self.sizes = (len(COLOURS) * (1 + len(SHAPES)), len(THINGS), 1 + len(WORDS), 2 * (len(COLOURS) + len(THINGS)))
        self.head = nn.Linear(config.visual_width, sum(self.sizes))
        self.patch_head = nn.Linear(config.vision_config.hidden_size, sum(self.sizes))

    def forward(self, pixel_values, shapes, things, places, word):
        """pixel_values (B, n, 3, H, W), n frames of a scene, and the labels of `visual_labels`."""
        patches = self.encoder.see(pixel_values)  # [B * n, patches, D]
        tokens = self.encoder.sum_up(patches)  # [B * n, V, D_v]
        truth = [t.flatten(0, 1) for t in (shapes, things, places, word)]
        loss, right, place_error = self.judge(self.head(tokens.mean(1)), *truth)
        return {"loss": loss + self.judge(self.patch_head(patches.mean(1)), *truth)[0], "right": right,
                "place_error": place_error}

    def judge(self, found, shapes, things, places, word):
        """Loss, share of pictures named without any mistake, and mean error of the places (fractions of the side)."""
        shape, thing, written, place = found.float().split(self.sizes, dim=-1)
        shape, place = shape.unflatten(-1, (len(COLOURS), -1)), place.unflatten(-1, (-1, 2))  # [B * n, 7, 8], [B * n, 15, 2]
        known = ~places.isnan()
        rare = torch.ones(shape.shape[-1])
        rare[0] = 0.3  # "no such colour here" is nearly always right
        loss = (2 * F.cross_entropy(shape.transpose(1, 2), shapes, rare) + 2 * F.cross_entropy(written, word)
                + 3 * F.binary_cross_entropy_with_logits(thing, things) + 10 * F.mse_loss(place[known], places[known]))
        right = ((shape.argmax(-1) == shapes).all(-1) & ((thing > 0) == (things > 0)).all(-1)
                 & (written.argmax(-1) == word))
        return loss, right.float().mean(), (place[known] - places[known]).abs().mean()

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, frames: int = 4) -> dict:
        # One picture of each of `frames` different moments: two of one moment would teach little more than one.
        rng = np.random.default_rng([scene.seed, 51])
        moments = rng.choice(len(scene.moments), frames, replace=False)
        times = [rng.uniform(scene.moments[i].start, scene.moments[i].end) for i in moments]
        pictures = grainy_frames(scene, times, processor.settings.image_size)
        return {"pixel_values": processor.pixels(pictures), **stack([visual_labels(scene, t) for t in times])}
