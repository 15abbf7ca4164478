"""What the frozen parts learn before FAVOR joins them: audio encoder, visual encoder, text-only language model.

Each learns on freshly drawn scenes, with labels that the script gives for free, through a linear head (a *probe*) that is
thrown away afterwards. `recipe` runs these trainings.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, get_worker_info
from transformers import AutoModelForCausalLM, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .config import FavorConfig
from .encoders import VisualEncoder, encode_audio
from .features import grainy_frames
from .processor import FavorProcessor, ProcessorSettings
from .world.pictures import _path, moment_at
from .world.questions import choose
from .world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS, Scene, draw_scene
from .world.sounds import make_waveform
from .world.tokenizer import DESCRIBE, build_tokenizer
from .world.transcript import transcript


def mini_config(**changes) -> FavorConfig:
    return FavorConfig.mini(vocab_size=len(build_tokenizer()), **changes)


def mini_processor(config: FavorConfig | None = None) -> FavorProcessor:
    config = config or mini_config()
    settings = ProcessorSettings(image_size=config.vision_config.image_size, frame_rate=config.frame_rate,
                                 window_frames=config.window_frames, num_queries=config.num_queries)
    seconds = config.audio_config.max_source_positions // 50
    extractor = WhisperFeatureExtractor(feature_size=config.audio_config.num_mel_bins, chunk_length=seconds)
    return FavorProcessor(build_tokenizer(), extractor, settings)


class Scenes(Dataset):
    """The training split as a map from index to what `make` builds of a scene."""

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
            where = torch.tensor(_path(actor, min(1.0, done / moment.arrive)))
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
    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = VisualEncoder(config.vision_config, config.visual_qformer_config, config.visual_tokens,
                                     config.conv_stem)
        self.sizes = (len(COLOURS) * (1 + len(SHAPES)), len(THINGS), 1 + len(WORDS), 2 * (len(COLOURS) + len(THINGS)))
        self.head = nn.Linear(config.visual_tokens * config.visual_width, sum(self.sizes))

    def forward(self, pixel_values, shapes, things, places, word):
        """pixel_values (B, n, 3, H, W), n frames of a scene."""
        tokens = self.encoder(pixel_values).flatten(0, 1).flatten(1)  # [B * n, V * D_v]
        shape, thing, written, place = self.head(tokens).float().split(self.sizes, dim=-1)
        shape = shape.unflatten(-1, (len(COLOURS), -1))  # [B * n, 7, 8]
        shapes, things, word = shapes.flatten(0, 1), things.flatten(0, 1), word.flatten()
        places = places.flatten(0, 1).flatten(1)  # [B * n, 30], nan where nothing is
        known = ~places.isnan()
        loss = (F.cross_entropy(shape.transpose(1, 2), shapes) * 3 + F.binary_cross_entropy_with_logits(thing, things) * 3
                + F.cross_entropy(written, word)
                + 10 * F.mse_loss(place[known], places[known]))
        right = ((shape.argmax(-1) == shapes).all(-1) & ((thing > 0) == (things > 0)).all(-1)
                 & (written.argmax(-1) == word))
        return {"loss": loss, "right": right.float().mean(),
                "place_error": (place[known] - places[known]).abs().mean()}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, frames: int = 5) -> dict:
        # One picture of each of `frames` different moments: two of one moment would teach little more than one.
        rng = np.random.default_rng([scene.seed, 51])
        moments = rng.choice(len(scene.moments), frames, replace=False)
        times = [rng.uniform(scene.moments[i].start, scene.moments[i].end) for i in moments]
        pictures = grainy_frames(scene, times, processor.settings.image_size)
        return {"pixel_values": processor.pixels(pictures), **stack([visual_labels(scene, t) for t in times])}


# Language: read scripts in words, answer questions about them, write them out.

class LanguageProbe(nn.Module):
    """The language model itself, trained on answers about scripts that it reads."""

    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = AutoModelForCausalLM.from_config(config.language_config)

    def forward(self, input_ids, attention_mask, labels):
        """Answers count in full, every other token a little: to foresee what a question may ask is practice, too."""
        logits = self.encoder(input_ids=input_ids).logits[:, :-1]  # padding comes last, where a causal model ignores it
        answers, told = labels[:, 1:], input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, -100)
        logits = logits.float().transpose(1, 2)  # [B, vocabulary, L - 1]
        loss = F.cross_entropy(logits, answers) + 0.3 * F.cross_entropy(logits, told)
        right = ((logits.argmax(1) == answers) | (answers == -100)).all(1)  # the whole answer
        return {"loss": loss, "right": right}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, questions: int = 16) -> dict:
        """A conversation about a scene, or a stretch of it: where there is less to search, finding is learned sooner."""
        rng = np.random.default_rng([scene.seed, 61])
        if rng.random() < 0.5:
            length = rng.integers(2, len(scene.moments))
            start = rng.integers(len(scene.moments) - length + 1)
            scene = replace(scene, moments=scene.moments[start : start + length])
        turns = [(q.text, q.answer) for q in choose(scene, rng, questions, reword_them=True)]
        text = transcript(scene, rng)
        if rng.random() < 0.2:
            turns = [(DESCRIBE, text)]
        ids, labels = processor.dialogue(f" {text} ", turns)
        return {"ids": ids, "labels": labels}
