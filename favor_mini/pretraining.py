"""What the frozen parts learn before FAVOR joins them: audio encoder, visual encoder, text-only language model.

Each learns on freshly drawn scenes, with labels that the script gives for free, through a linear head (a *probe*) that is
thrown away afterwards. `recipe` runs these trainings.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, get_worker_info
from transformers import AutoModelForCausalLM, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .attention import turns_apart
from .config import FavorConfig
from .encoders import VisualEncoder, encode_audio
from .features import grainy_frames
from .naming import bags, query_words
from .processor import MEDIA_TOKEN, FavorProcessor, ProcessorSettings
from .world.pictures import moment_at, path_at
from .world.questions import ENOUGH, choose
from .world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS, Scene, draw_scene
from .world.sounds import make_waveform
from .world.tokenizer import DESCRIBE, RETELL, build_tokenizer
from .world.transcript import transcript


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


# Language: read scripts in words, answer questions about them, write them out.


def drills(scene: Scene, rng) -> list[tuple[str, str]]:
    """Many look-ups of one kind in each answer, key and value by turns: "red circle bell; moon horn" for "what was heard
    while?". Asked one by one, the wording would take far more tokens than the answers."""
    seen = [m for m in scene.moments if m.seen != "nothing"]
    heard = [m for m in scene.moments if m.heard]
    names = [m.heard.name for m in heard]
    once = [m for m in heard if names.count(m.heard.name) == 1]
    pairs = {
        "what was shown when?": [(m.heard.name, m.subject) for m in once if m in seen],
        "what was heard while?": [(m.subject, m.heard.name) for m in heard if m.seen not in ("nothing", "hit")],
        "what was shown next after?": [(a.subject, b.subject) for a, b in pairwise(seen)],
        "what was shown last before?": [(b.subject, a.subject) for a, b in pairwise(seen)],
        "what was heard next after?": [(a.heard.name, b.heard.name) for a, b in pairwise(heard) if a in once],
        "what was heard last before?": [(b.heard.name, a.heard.name) for a, b in pairwise(heard) if b in once],
        "which way?": [(m.subject, m.direction) for m in seen if m.direction],
    }
    turns = [(question, "; ".join(" ".join(found[i]) for i in rng.permutation(len(found))))
             for question, found in pairs.items() if found]
    return [turns[i] for i in rng.permutation(len(turns))]


def stretch(scene: Scene, first: int, count: int) -> Scene:
    """A clip of `count` of its moments, from second 0."""
    moments = scene.moments[first : first + count]
    begin = moments[0].start
    shifted = tuple(replace(m, start=m.start - begin, end=m.end - begin,
                            heard=m.heard and replace(m.heard, start=m.heard.start - begin)) for m in moments)
    return replace(scene, moments=shifted, duration=moments[-1].end - begin)


def shuffled(scene: Scene, rng) -> Scene:
    """The same moments in another order."""
    return replace(scene, moments=tuple(scene.moments[i] for i in rng.permutation(len(scene.moments))))


class LanguageProbe(nn.Module):
    """The language model itself, trained on answers about scripts that it reads.

    A linear head on its second layer tells at every token of a script what stands in the same clause and in the clause
    before. Whoever knows that finds answers at one glance; from the answers alone, a few tokens a script, it is learned late.
    """

    def __init__(self, config: FavorConfig):
        super().__init__()
        # On CPUs the fused attention's backward pass is slow with a mask: plain attention takes a fifth off each step.
        self.encoder = AutoModelForCausalLM.from_config(config.language_config, attn_implementation="eager")
        # Llama's small initial embeddings drown in what the first layers add, and biases of zero have little to grow from.
        nn.init.normal_(self.encoder.get_input_embeddings().weight, std=0.2)
        for name, parameter in self.encoder.named_parameters():
            if name.endswith(("q_proj.bias", "k_proj.bias")):
                nn.init.normal_(parameter, std=0.3)
        self.head = nn.Linear(config.language_config.hidden_size, 4 * config.language_config.vocab_size)
        nn.init.constant_(self.head.bias, -4.0)  # most words stand elsewhere
        self.see, self.hear, self.placeholder = build_tokenizer().convert_tokens_to_ids(["see", "hear", MEDIA_TOKEN])

    def clause_words(self, words, clauses, clip):
        """What each place of a script can know of its surroundings: (B, L, 4 * vocabulary) of zeros and ones.

        The words of its own clause up to it, then those of the clause before; each first the seen, then the heard ones.

        Args:
            words: (B, L, vocabulary), 1 for each word that stands at a place.
            clauses, clip: (B, L), the clause's number, and True where a place belongs to the script.
        """
        place = torch.arange(words.shape[1], device=words.device).expand_as(clauses)
        saw, heard = (place.masked_fill(words[..., word] == 0, -1).cummax(1).values for word in (self.see, self.hear))
        words = words * ((torch.maximum(saw, heard) >= 0) & clip)[..., None]
        listens = (heard > saw)[..., None]
        words = torch.cat([words * ~listens, words * listens], dim=-1)  # [B, L, 2 * vocabulary]
        ago = clauses[:, :, None] - clauses[:, None]  # [B, L, L]
        here = (ago == 0) & (place[:, :, None] >= place[:, None])
        return torch.cat([here.float() @ words, (ago == 1).float() @ words], dim=-1).clamp(max=1)

    def read(self, input_ids, named):
        """What stands at each place, (B, L, vocabulary), and its embedding: of a word, or of the words that a query names.

        The connector will be neither sure nor exact, so queries are read louder and softer, and with noise.
        """
        words = F.one_hot(input_ids, self.head.out_features // 4).float()
        embeds = self.encoder.get_input_embeddings()(input_ids)
        if named is None:
            return words, embeds
        query = input_ids == self.placeholder
        sums = named @ self.encoder.get_input_embeddings().weight  # [queries of the batch, width]
        if self.training:
            noise = 0.3 * sums.detach().std(-1, keepdim=True) * torch.randn_like(sums)
            sums = (sums + noise) * torch.empty(len(sums), 1, device=sums.device).uniform_(0.4, 1.2)
        return words.masked_scatter(query[..., None], named), embeds.masked_scatter(query[..., None], sums)

    def forward(self, input_ids, attention_mask, labels, turn_ids, clauses=None, named=None):
        """Answers count in full, every other token a little: to foresee what a question may ask is practice, too.

        Args:
            clauses: (B, L), the number of the clause that a place of the script belongs to.
            named: the `naming.bags` of all placeholders of the batch; None: there are none.
        """
        mask, position_ids = turns_apart(turn_ids)
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)  # plain attention adds it
        words, embeds = self.read(input_ids, named)
        outputs = self.encoder(inputs_embeds=embeds, attention_mask=mask, position_ids=position_ids,
                               output_hidden_states=True)
        logits = outputs.logits[:, :-1]
        answers, told = labels[:, 1:], input_ids[:, 1:].masked_fill(
            (attention_mask[:, 1:] == 0) | (input_ids[:, 1:] == self.placeholder), -100)
        logits = logits.float().transpose(1, 2)  # [B, vocabulary, L - 1]
        loss = F.cross_entropy(logits, answers) + 0.1 * F.cross_entropy(logits, told)
        clip = turn_ids == 0
        if self.training and clip.any():
            around = self.head(outputs.hidden_states[2][clip]).float()  # [tokens of scripts, 4 * vocabulary]
            # 12: a mean over so many words, nearly all absent, is small
            loss = loss + 12 * F.binary_cross_entropy_with_logits(around, self.clause_words(words, clauses, clip)[clip])
        right = ((logits.argmax(1) == answers) | (answers == -100)).all(1)  # the whole answer
        return {"loss": loss, "right": right}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, moments: tuple[int, int] | None = None, drill: float = 0.35,
                retell: float = 0.2, named: float = 0.5, tokens: int = 192) -> dict:
        """A conversation about the script of a scene; what needs more is asked more often.

        Args:
            moments: read only a stretch of so many of them, from least to most: less to search, learned sooner.
            drill, retell: the shares of examples that begin with `drills`, or write the script out instead.
            named: the share of scripts that are not written but named, as the connector's queries will name them.
            tokens: at most; as many questions as fit, so that little of a batch is padding.
        """
        rng = np.random.default_rng([scene.seed, 61])
        if moments is not None:
            length = min(int(rng.integers(moments[0], moments[1] + 1)), len(scene.moments))
            start = rng.integers(len(scene.moments) - length + 1)
            scene = stretch(scene, start, length)
        text = transcript(scene, rng)
        named = rng.random() < named
        missing = rng.choice(["audio", "video"]) if named and rng.random() < 0.15 else None
        enough = ENOUGH if moments is None else 1  # so few moments rarely hold enough for an honest question
        turns = [(q.text, q.answer) for q in choose(scene, rng, tokens // 8, reword_them=True, enough=enough, hard=True,
                                                    missing=missing)]
        kind = rng.random()
        if kind < drill and not missing:
            turns = drills(scene, rng) + turns
        elif kind < drill + retell and not missing:
            # To retell it in another order is to look up, clause by clause, what belongs together.
            turns = [(DESCRIBE, text), (RETELL, transcript(shuffled(scene, rng), rng))]
            rng.shuffle(turns)
        words, numbers = [], []
        if named:
            frames = -(-scene.duration * processor.settings.frame_rate // 1)
            count = processor.num_placeholders({"num_frames": int(frames), "audio_tokens": 0})
            words, numbers = query_words(scene, processor, count, missing)
        dialogue = processor.dialogue(MEDIA_TOKEN * len(words) if named else f" {text} ", turns)
        return {**{name: values[:tokens] for name, values in dialogue.items()}, "words": words, "numbers": numbers}

    @staticmethod
    def collate(processor: FavorProcessor, examples: list[dict]) -> dict[str, torch.Tensor]:
        batch = processor.pad_dialogues(examples)
        placeholder, end = processor.tokenizer.convert_tokens_to_ids([MEDIA_TOKEN, ";"])
        batch["clauses"] = (batch["input_ids"] == end).cumsum(1)
        if numbers := [number for e in examples for number in e["numbers"]]:
            batch["clauses"] = batch["clauses"].masked_scatter(batch["input_ids"] == placeholder, torch.tensor(numbers))
            batch["named"] = torch.cat([bags(e["words"], len(processor.tokenizer)) for e in examples])
        return batch
