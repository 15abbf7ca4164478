"""What the language model learns before it is frozen: to read scripts, answer questions about them, write them out.

Half of the scripts are written in words, half are given as the connector's queries will give them: several words in one
vector (`naming`). Nothing is seen or heard here.
"""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM

from ..attention import isolate_turns_mask
from ..config import FavorConfig
from ..processor import MEDIA_TOKEN, FavorProcessor
from ..training.naming import multi_hot
from ..world.clauses import query_words
from ..world.questions import ENOUGH, choose
from ..world.scene import COLOURS, SHAPES, THINGS, WORDS, Scene, stretch
from ..world.tasks import TASKS, Task, ask_all
from ..world.tokenizer import build_tokenizer
from ..world.transcript import DESCRIBE, RETELL, transcript

COUNT = 8  # the language model's helper counts from 0 to 7


def drills(scene: Scene, rng) -> list[tuple[str, str]]:
    """Many look-ups of one kind in each answer, key and value by turns: "red circle bell; moon horn" for "what was heard
    while?". Asked one by one, the wording would take far more tokens than the answers."""
    seen = [m for m in scene.moments if m.seen != "nothing"]
    heard = [m for m in scene.moments if m.heard]
    names = [m.heard.name for m in heard]
    once = [m for m in heard if names.count(m.heard.name) == 1]

    def key(m):  # a shape's name alone will do
        return str(rng.choice([m.subject, m.actors[0].name]))

    pairs = {
        "what was shown when?": [(m.heard.name, m.subject) for m in once if m in seen],
        "what was heard while?": [(key(m), m.heard.name) for m in heard if m.seen not in ("nothing", "hit")],
        "what was shown next after?": [(key(a), b.subject) for a, b in pairwise(seen)],
        "what was shown last before?": [(key(b), a.subject) for a, b in pairwise(seen)],
        "what was heard next after?": [(a.heard.name, b.heard.name) for a, b in pairwise(heard) if a in once],
        "what was heard last before?": [(b.heard.name, a.heard.name) for a, b in pairwise(heard) if b in once],
        "which way?": [(key(m), m.direction) for m in seen if m.direction],
        "what colour?": [(m.actors[0].name, m.actors[0].colour) for m in seen if m.seen in ("show", "move")],
    }
    turns = [(question, "; ".join(" ".join(found[i]) for i in rng.permutation(len(found))))
             for question, found in pairs.items() if found]
    return [turns[i] for i in rng.permutation(len(turns))]


def shuffled(scene: Scene, rng) -> Scene:
    """The same moments in another order."""
    return replace(scene, moments=tuple(scene.moments[i] for i in rng.permutation(len(scene.moments))))


def script(scene: Scene, processor: FavorProcessor, turns: list[tuple[str, str]], text: str, named: bool,
           missing: str | None = None) -> dict:
    """A conversation about a script, with the `words` and moments' `numbers` of its placeholders where it is `named`."""
    words, numbers = [], []
    if named:
        frames = int(np.ceil(scene.duration * processor.settings.frame_rate))
        words, numbers = query_words(scene, processor, frames, missing)
    return {**processor.dialogue(MEDIA_TOKEN * len(words) if named else f" {text} ", turns), "words": words, "numbers": numbers}


def cut(dialogue: dict, tokens: int) -> dict:
    """A conversation of `tokens` tokens at most; the last answer may lose its end."""
    return {name: values if name in ("words", "numbers") else values[:tokens] for name, values in dialogue.items()}


class LanguageProbe(nn.Module):
    """The language model itself, trained on answers about scripts that it reads.

    Two linear heads, thrown away afterwards, teach it how to look things up; from the answers alone, a few tokens a script,
    that is learned late. One tells, from the second layer, at every token of a script what stands in the same clause, what
    was seen and heard last before, and how far everything is counted. The other tells, from the third, at every name in a
    question what stands in the clauses that hold this name.
    """

    def __init__(self, config: FavorConfig):
        super().__init__()
        # On CPUs the fused attention's backward pass is slow with a mask; plain attention is faster.
        self.encoder = AutoModelForCausalLM.from_config(config.language_config, attn_implementation="eager")
        # Llama's small initial embeddings drown in what the first layers add, and biases of zero have little to grow from.
        nn.init.normal_(self.encoder.get_input_embeddings().weight, std=0.2)
        for name, parameter in self.encoder.named_parameters():
            if name.endswith(("q_proj.bias", "k_proj.bias")):
                nn.init.normal_(parameter, std=0.3)
        tokens = build_tokenizer().convert_tokens_to_ids
        self.see, self.hear, self.placeholder = tokens(["see", "hear", MEDIA_TOKEN])
        self.empty, self.counted = tokens(["see", "hear", "nothing", ",", ";", "."]), tokens(["said", "moves", "written"])
        self.names = tokens([*COLOURS, *SHAPES, *THINGS, *WORDS])
        self.head = nn.Linear(config.language_config.hidden_size,
                              4 * config.language_config.vocab_size + COUNT * (1 + len(self.counted)))
        self.look_up_head = nn.Linear(config.language_config.hidden_size, 2 * config.language_config.vocab_size)
        for head in (self.head, self.look_up_head):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, -4.0)  # most words stand elsewhere

    def fields(self, words, clip):
        """The words of a script apart, (B, L, vocabulary) each: those that tell what is seen, and what is heard."""
        place = torch.arange(words.shape[1], device=words.device).expand(words.shape[:2])
        saw, heard = (place.masked_fill(words[..., word] == 0, -1).cummax(1).values for word in (self.see, self.hear))
        words = words * ((torch.maximum(saw, heard) >= 0) & clip)[..., None]
        listens = (heard > saw)[..., None]
        return words * ~listens, words * listens

    def clause_words(self, words, clauses, clip):
        """What each place of a script can know of what stands up to it, as zeros and ones: (B, L, 4 * vocabulary + counts).

        The words of its own clause, then those of the last clause before that showed something and of the last one that let
        something be heard; each first the seen, then the heard ones. Then the clause's number and how many clauses so far
        spoke, moved and wrote a word.

        Args:
            words: (B, L, vocabulary), 1 for each word that stands at a place.
            clauses, clip: (B, L), the clause's number, and True where a place belongs to the script.
        """
        streams = self.fields(words, clip)
        place = torch.arange(clauses.shape[1], device=words.device)
        earlier = place[:, None] > place  # [L, L]
        ago = clauses[:, :, None] - clauses[:, None]  # [B, L, L]
        here = ((ago == 0) & (place[:, None] >= place)).float()
        own, last = [], []
        for stream in streams:
            told = stream.index_fill(-1, torch.tensor(self.empty, device=words.device), 0).any(-1)  # [B, L]
            number = clauses[:, None].masked_fill(~(told[:, None] & (ago > 0)), -1)  # [B, L, L]
            before = (number == number.amax(-1, keepdim=True)) & (number >= 0)
            own, last = [*own, here @ stream], [*last, before.float() @ stream]
        counted = sum(streams)[..., self.counted]  # [B, L, kinds]
        new = counted * (((ago == 0) & earlier).float() @ counted == 0)  # named twice, a word is still said once
        counts = torch.cat([clauses[..., None], new.cumsum(1)], dim=-1).long().clamp(max=COUNT - 1)
        return torch.cat([*own, *last, F.one_hot(counts, COUNT).flatten(-2)], dim=-1).clamp(max=1)

    def looked_up(self, words, clauses, clip):
        """What stands in all clauses that hold the name at a place, (B, L, 2 * vocabulary): the seen, then the heard words.

        Nothing where the place holds no name, or one that the script does not.
        """
        seen, heard = self.fields(words, clip)
        found = words[..., self.names] @ (seen + heard)[..., self.names].transpose(1, 2)  # [B, L, L]
        together = (clauses[:, :, None] == clauses[:, None]).float()
        return ((found @ together).clamp(max=1) @ torch.cat([seen, heard], dim=-1)).clamp(max=1)

    def read(self, input_ids, named):
        """What stands at each place, (B, L, vocabulary), and its embedding: of a word, or of the words that a query names.

        The connector will be neither sure nor exact, so queries are read louder and softer, and with noise.
        """
        words = F.one_hot(input_ids, self.encoder.config.vocab_size).float()
        embeds = self.encoder.get_input_embeddings()(input_ids)
        if named is None:
            return words, embeds
        query = input_ids == self.placeholder
        sums = named @ self.encoder.get_input_embeddings().weight  # [queries of the batch, width]
        if self.training:
            noise = 0.3 * sums.detach().std(-1, keepdim=True) * torch.randn_like(sums)
            sums = (sums + noise) * torch.empty(len(sums), 1, device=sums.device).uniform_(0.4, 1.2)
        return words.masked_scatter(query[..., None], named), embeds.masked_scatter(query[..., None], sums.to(embeds.dtype))

    def forward(self, input_ids, attention_mask, labels, turn_ids, clauses=None, named=None):
        """Answers count in full, every other token a little: to foresee what a question may ask is practice, too.

        Args:
            clauses: (B, L), the number of the clause that a place of the script belongs to.
            named: the `naming.multi_hot` of all placeholders of the batch; None: there are none.
        """
        mask, position_ids = isolate_turns_mask(turn_ids)
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)  # plain attention adds it
        words, embeds = self.read(input_ids, named)
        outputs = self.encoder(inputs_embeds=embeds, attention_mask=mask, position_ids=position_ids,
                               output_hidden_states=True)
        logits = outputs.logits[:, :-1]
        answers, every = labels[:, 1:], input_ids[:, 1:].masked_fill(
            (attention_mask[:, 1:] == 0) | (input_ids[:, 1:] == self.placeholder), -100)
        logits = logits.float().transpose(1, 2)  # [B, vocabulary, L - 1]
        loss = F.cross_entropy(logits, answers) + 0.1 * F.cross_entropy(logits, every)
        clip = turn_ids == 0
        if self.training:
            hidden, told = outputs.hidden_states, self.looked_up(words, clauses, clip)
            lessons = (self.head, 2, clip, self.clause_words(words, clauses, clip)), (self.look_up_head, 3, ~clip & told.any(-1), told)
            for head, layer, places, truth in lessons:
                if places.any():  # 12: a mean over so many words, nearly all absent, is small
                    loss = loss + 12 * F.binary_cross_entropy_with_logits(head(hidden[layer][places]).float(), truth[places])
        right = ((logits.argmax(1) == answers) | (answers == -100)).all(1)  # the whole answer
        return {"loss": loss, "right": right}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, moments: tuple[int, int] | None = None, drill: float = 0.35,
                retell: float = 0.2, named: float = 0.5, hard: bool = True,
                focus: tuple[str, ...] = (), tasks: float = 0.0, of: tuple[str, ...] = tuple(TASKS), tokens: int = 192) -> dict:
        """A conversation about the script of a scene.

        Args:
            moments: read only a stretch of so many of them, from least to most: less to search, learned sooner.
            drill, retell: the shares of examples that begin with `drills`, or write the script out instead.
            named: the share of scripts that are not written but named, as the connector's queries will name them.
            hard: ask more often what needs more (`questions.choose`).
            focus: families that half of the scripts are asked about, each script about one of them alone: where a family is
                learned last, its answers guessed among what the clip holds, several of one kind show what tells them apart.
            tasks: the share of examples that draw a scene as one of the tasks of `aveb` does, one of those in `of`, and ask
                what the tasks ask.
            tokens: at most; as many questions as fit, so that little of a batch is padding.
        """
        rng = np.random.default_rng([scene.seed, 61])
        if tasks and rng.random() < tasks:
            return LanguageProbe.task_example(TASKS[of[rng.integers(len(of))]], scene, processor, rng, named, tokens)
        if moments is not None:
            length = min(int(rng.integers(moments[0], moments[1] + 1)), len(scene.moments))
            start = rng.integers(len(scene.moments) - length + 1)
            scene = stretch(scene, start, length)
        text = transcript(scene, rng)
        named = rng.random() < named
        missing = rng.choice(["audio", "video"]) if named and rng.random() < 0.15 else None
        enough = ENOUGH if moments is None else 1  # so few moments rarely hold enough for an honest question
        only = focus[rng.integers(len(focus))] if focus and rng.random() < 0.5 else None
        asked = partial(choose, scene, rng, tokens // 8, reword_them=True, enough=enough, hard=hard, missing=missing)
        turns = [(q.text, q.answer) for q in only and asked(only=only) or asked()]
        kind = 1 if only else rng.random()
        if kind < drill and not missing:
            turns = drills(scene, rng) + turns
        elif kind < drill + retell and not missing:
            # To retell it in another order is to look up, clause by clause, what belongs together.
            turns = [(DESCRIBE, text), (RETELL, transcript(shuffled(scene, rng), rng))]
            rng.shuffle(turns)
        return cut(script(scene, processor, turns, text, named, missing), tokens)

    @staticmethod
    def task_example(task: Task, scene: Scene, processor: FavorProcessor, rng, named: float, tokens: int) -> dict:
        """A conversation about a scene of a task; only what the task lets perceive stands in the script."""
        scene = task.draw(scene.seed)
        turns = [(e.question, e.answers[0]) for e in ask_all(scene, rng, task.missing)]
        if len(scene.moments) > 1:
            turns += [(q.text, q.answer) for q in choose(scene, rng, 6, reword_them=True, missing=task.missing)]
        # Of a single moment the sound stands last, as the connector's queries name it: it is held against the picture.
        text = transcript(task.perceived(scene), rng if len(scene.moments) > 1 else None)
        return cut(script(scene, processor, turns, text, rng.random() < named, task.missing), tokens)

    @staticmethod
    def collate(processor: FavorProcessor, examples: list[dict]) -> dict[str, torch.Tensor]:
        batch = processor.pad_dialogues(examples)
        placeholder, end = processor.tokenizer.convert_tokens_to_ids([MEDIA_TOKEN, ";"])
        batch["clauses"] = (batch["input_ids"] == end).cumsum(1)
        if numbers := [number for e in examples for number in e["numbers"]]:
            batch["clauses"] = batch["clauses"].masked_scatter(batch["input_ids"] == placeholder, torch.tensor(numbers))
            batch["named"] = torch.cat([multi_hot(e["words"], len(processor.tokenizer)) for e in examples])
        return batch
