"""Pretraining of the language model: answer questions about transcripts of scenes.

Some transcripts are text. Others are spelled as an aligned connector spells them: words without
punctuation, with blanks between them (stage "align" of `training.alignment`). A language model that
has read the internet can read those. This small one has to learn it. On demand, others are vectors,
each the sum of the embeddings of several words: what the shortcut in `world.naming` teaches a
connector. The language model of the checkpoint *mini* has learned to read these, too.
"""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM

from ..config import FavorConfig
from ..data.spelling import blank_token, text_tokens
from ..language import additive_mask, isolate_turns_mask
from ..processor import MEDIA_TOKEN, FavorProcessor
from ..world.clauses import query_words
from ..world.naming import multi_hot
from ..world.questions import MIN_ANSWERS, draw_questions
from ..world.scene import COLOURS, SHAPES, THINGS, WORDS, Scene, excerpt, stream
from ..world.tasks import TASKS, Task, ask_all
from ..world.tokenizer import build_tokenizer
from ..world.transcript import DESCRIBE, RETELL, transcript

FORMS = ("text", "spelled", "named")  # of a transcript
COUNT = 8  # the counts of the clause head go from 0 to 7
LONGEST_SPELLING = 128  # placeholders: four windows of the paper's 32 queries


def lookup_drills(scene: Scene, rng) -> list[tuple[str, str]]:
    """(question, answer) pairs with many look-ups in each answer.

    Keys and values: "red circle bell; moon horn" for "what was heard while?".
    """
    seen = [m for m in scene.moments if m.seen != "nothing"]
    heard = [m for m in scene.moments if m.heard]
    names = [m.heard.name for m in heard]
    once = [m for m in heard if names.count(m.heard.name) == 1]

    def key(m):  # with or without the colour of a shape
        return str(rng.choice([m.subject, m.actors[0].name]))

    follow = [(a, b, a.heard.name, b.heard.name) for a, b in pairwise(heard)]
    pairs = {
        "what was shown when?": [(m.heard.name, m.subject) for m in once if m in seen],
        "what was heard while?": [(key(m), m.heard.name) for m in heard
                                  if m.seen not in ("nothing", "hit")],
        "what was shown next after?": [(key(a), b.subject) for a, b in pairwise(seen)],
        "what was shown last before?": [(key(b), a.subject) for a, b in pairwise(seen)],
        "what was heard next after?": [(x, y) for a, _, x, y in follow if a in once],
        "what was heard last before?": [(y, x) for _, b, x, y in follow if b in once],
        "which way?": [(key(m), m.direction) for m in seen if m.direction],
        "what colour?": [(m.actors[0].name, m.actors[0].colour) for m in seen
                         if m.seen in ("show", "move")],
    }
    turns = [(question, "; ".join(" ".join(found[i]) for i in rng.permutation(len(found))))
             for question, found in pairs.items() if found]
    return [turns[i] for i in rng.permutation(len(turns))]


def script_dialogue(scene: Scene, processor: FavorProcessor, turns: list[tuple[str, str]],
                    text: str, named: bool, missing: str | None = None) -> dict:
    """A conversation about the transcript `text`, or, if `named`, about placeholders.

    `words` and `numbers` are the words and the moment of each placeholder. `missing` is the stream
    that these do not have, "audio" or "video".
    """
    words, numbers = [], []
    if named:
        frames = int(np.ceil(scene.duration * processor.settings.frame_rate))
        words, numbers = query_words(scene, processor, frames, missing)
    media = MEDIA_TOKEN * len(words) if named else f" {text} "
    return {**processor.dialogue(media, turns), "words": words, "numbers": numbers}


def spelled_dialogue(processor: FavorProcessor, turns: list[tuple[str, str]], text: str, rng
                     ) -> dict:
    """A conversation about placeholders that spell the transcript `text`, with blanks in between.

    `words` and `numbers` are as in `script_dialogue`, with one word for each placeholder. A word
    may come several times in a row, as in the alignments of CTC.
    """
    spelled = [(number, token) for number, clause in enumerate(text.split(";"))
               for token in text_tokens(processor, clause)]
    space = min(int(len(spelled) * rng.uniform(0, 2.5)), max(0, LONGEST_SPELLING - len(spelled)))
    # Uneven gaps: a connector writes some words side by side, others far apart.
    gaps = rng.multinomial(space, rng.dirichlet(np.full(len(spelled) + 1, 0.3)))
    words, numbers = [[blank_token(processor)]] * gaps[0], [0] * int(gaps[0])
    for (number, token), gap in zip(spelled, gaps[1:], strict=True):
        again = int(gap and rng.random() < 0.15)
        words += [[token]] * (1 + again) + [[blank_token(processor)]] * int(gap - again)
        numbers += [number] * int(1 + gap)
    return {**processor.dialogue(MEDIA_TOKEN * len(words), turns), "words": words,
            "numbers": numbers}


def write_dialogue(form: str, scene: Scene, processor: FavorProcessor,
                   turns: list[tuple[str, str]], text: str, rng, missing: str | None = None
                   ) -> dict:
    """A conversation about a scene, with its transcript in one of the `FORMS`."""
    if form == "spelled":
        return spelled_dialogue(processor, turns, text, rng)
    return script_dialogue(scene, processor, turns, text, form == "named", missing)


def truncate(dialogue: dict, tokens: int) -> dict:
    """The first `tokens` tokens."""
    return {name: values if name in ("words", "numbers") else values[:tokens]
            for name, values in dialogue.items()}


class LanguageProbe(nn.Module):
    """The language model with two linear heads, which are not used afterwards.

    The heads teach look-ups faster than the few answer tokens can. They predict `clause_targets`
    from layer 2, at every token of a transcript, and `lookup_targets` from layer 3, at every name
    in a question.
    """

    def __init__(self, config: FavorConfig):
        super().__init__()
        # On CPUs, eager attention with a mask has the faster backward pass.
        self.encoder = AutoModelForCausalLM.from_config(
            config.language_config, attn_implementation="eager")
        # Llama's initial embeddings are small compared with the first layers' output.
        nn.init.normal_(self.encoder.get_input_embeddings().weight, std=0.2)
        for name, parameter in self.encoder.named_parameters():
            if name.endswith(("q_proj.bias", "k_proj.bias")):
                nn.init.normal_(parameter, std=0.3)
        tokens = build_tokenizer().convert_tokens_to_ids
        self.see, self.hear, self.placeholder = tokens(["see", "hear", MEDIA_TOKEN])
        self.empty = tokens(["see", "hear", "nothing", ",", ";", "."])
        self.counted = tokens(["said", "moves", "written"])
        self.names = tokens([*COLOURS, *SHAPES, *THINGS, *WORDS])
        width, size = config.language_config.hidden_size, config.language_config.vocab_size
        self.head = nn.Linear(width, 4 * size + COUNT * (1 + len(self.counted)))
        self.look_up_head = nn.Linear(width, 2 * size)
        for head in (self.head, self.look_up_head):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, -4.0)  # most targets are 0

    def seen_and_heard(self, words, clip):
        """The words after "see" and those after "hear", (B, L, vocabulary) each."""
        place = torch.arange(words.shape[1], device=words.device).expand(words.shape[:2])
        saw, heard = (place.masked_fill(words[..., word] == 0, -1).cummax(1).values
                      for word in (self.see, self.hear))
        words = words * ((torch.maximum(saw, heard) >= 0) & clip)[..., None]
        audible = (heard > saw)[..., None]
        return words * ~audible, words * audible

    def clause_targets(self, words, clauses, clip):
        """What a causal model can know at each token of a transcript, as zeros and ones.

        The words of its own clause so far, then those of the last clause before it that is not
        empty, "see" before "hear" each. Then, one-hot: the number of the clause and the counts of
        words said, movements and words written so far.

        Args:
            words: (B, L, vocabulary), 1 for each word of a token.
            clauses: (B, L), the number of the clause.
            clip: (B, L), True for the tokens of the transcript.

        Returns:
            (B, L, 4 * vocabulary + counts)
        """
        streams = self.seen_and_heard(words, clip)
        place = torch.arange(clauses.shape[1], device=words.device)
        earlier = place[:, None] > place  # [L, L]
        ago = clauses[:, :, None] - clauses[:, None]  # [B, L, L]
        here = ((ago == 0) & (place[:, None] >= place)).float()
        own, last = [], []
        for words_of in streams:
            empty = torch.tensor(self.empty, device=words.device)
            full = words_of.index_fill(-1, empty, 0).any(-1)  # [B, L]
            number = clauses[:, None].masked_fill(~(full[:, None] & (ago > 0)), -1)  # [B, L, L]
            before = (number == number.amax(-1, keepdim=True)) & (number >= 0)
            own, last = [*own, here @ words_of], [*last, before.float() @ words_of]
        counted = sum(streams)[..., self.counted]  # [B, L, kinds]
        # A word that occurs twice in a clause counts once.
        new = counted * (((ago == 0) & earlier).float() @ counted == 0)
        counts = torch.cat([clauses[..., None], new.cumsum(1)], dim=-1).long().clamp(max=COUNT - 1)
        counts = F.one_hot(counts, COUNT).flatten(-2)
        return torch.cat([*own, *last, counts], dim=-1).clamp(max=1)

    def lookup_targets(self, words, clauses, clip):
        """The words of all clauses with the name at a token, (B, L, 2 * vocabulary); zeros if none.

        First those after "see", then those after "hear".
        """
        seen, heard = self.seen_and_heard(words, clip)
        names = (seen + heard)[..., self.names].transpose(1, 2)
        found = words[..., self.names] @ names  # [B, L, L]
        together = (clauses[:, :, None] == clauses[:, None]).float()
        return ((found @ together).clamp(max=1) @ torch.cat([seen, heard], dim=-1)).clamp(max=1)

    def embed(self, input_ids, named):
        """The words of each token, (B, L, vocabulary), and the sum of their embeddings.

        In training, those of placeholders get noise and a random scale, as the connector's outputs
        will not be exact.
        """
        embedding = self.encoder.get_input_embeddings()
        words = F.one_hot(input_ids, self.encoder.config.vocab_size).float()
        embeds = embedding(input_ids)
        if named is None:
            return words, embeds
        query = (input_ids == self.placeholder)[..., None]
        sums = named @ embedding.weight  # [queries of the batch, width]
        if self.training:
            noise = 0.3 * sums.detach().std(-1, keepdim=True) * torch.randn_like(sums)
            scale = torch.empty(len(sums), 1, device=sums.device).uniform_(0.4, 1.2)
            sums = (sums + noise) * scale
        return (words.masked_scatter(query, named),
                embeds.masked_scatter(query, sums.to(embeds.dtype)))

    def forward(self, input_ids, attention_mask, labels, turn_ids, clauses=None, named=None):
        """The cross-entropy of the answers, 0.1 times that of all tokens, and the heads' losses.

        Args:
            clauses: (B, L), the number of the clause of each token of the transcript.
            named: the `naming.multi_hot` of all placeholders in the batch; None: there are none.
        """
        mask, position_ids = isolate_turns_mask(turn_ids)
        words, embeds = self.embed(input_ids, named)
        outputs = self.encoder(inputs_embeds=embeds, attention_mask=additive_mask(mask),
                               position_ids=position_ids, output_hidden_states=True)
        skipped = (attention_mask == 0) | (input_ids == self.placeholder)
        answers, every = labels[:, 1:], input_ids.masked_fill(skipped, -100)[:, 1:]
        logits = outputs.logits[:, :-1].float().transpose(1, 2)  # [B, vocabulary, L - 1]
        loss = F.cross_entropy(logits, answers) + 0.1 * F.cross_entropy(logits, every)
        if self.training:
            clip = turn_ids == 0
            targets = self.lookup_targets(words, clauses, clip)
            for head, layer, places, target in (
                    (self.head, 2, clip, self.clause_targets(words, clauses, clip)),
                    (self.look_up_head, 3, ~clip & targets.any(-1), targets)):
                if places.any():  # the mean is small, as nearly all targets are 0: weight 12
                    found = head(outputs.hidden_states[layer][places]).float()
                    loss = loss + 12 * F.binary_cross_entropy_with_logits(found, target[places])
        right = ((logits.argmax(1) == answers) | (answers == -100)).all(1)  # the whole answer
        return {"loss": loss, "right": right}

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, moments: tuple[int, int] | None = None,
                drill: float = 0.35, retell: float = 0.2, named: float = 0.0,
                spelled: float = 0.5, hard: bool = True, focus: tuple[str, ...] = (),
                tasks: float = 0.0,
                of: tuple[str, ...] = tuple(TASKS), tokens: int = 192) -> dict:
        """A conversation about the transcript of a scene.

        Args:
            moments: least and most moments; None: the whole scene.
            drill: share of examples that begin with `lookup_drills`.
            retell: share of examples that ask for the transcript, also in another order.
            named, spelled: shares of examples with placeholders, of two kinds; the others are text.
            hard: see `questions.draw_questions`.
            focus: half of the examples ask about one of these families only.
            tasks: share of examples with the scene and the questions of an AVEB task, one in `of`.
            tokens: largest number of tokens.
        """
        rng = stream("language pretraining", scene.seed)
        if tasks and rng.random() < tasks:
            task = TASKS[of[rng.integers(len(of))]]
            return LanguageProbe.task_example(task, scene, processor, rng, named, spelled, tokens)
        if moments is not None:
            length = min(int(rng.integers(moments[0], moments[1] + 1)), len(scene.moments))
            scene = excerpt(scene, rng.integers(len(scene.moments) - length + 1), length)
        form = str(rng.choice(FORMS, p=[1 - named - spelled, spelled, named]))
        missing = rng.choice(["audio", "video"]) if form != "text" and rng.random() < 0.15 else None
        text = transcript(scene, rng, missing)
        least = MIN_ANSWERS if moments is None else 1  # few moments rarely hold more
        only = focus[rng.integers(len(focus))] if focus and rng.random() < 0.5 else None
        asked = partial(draw_questions, scene, rng, tokens // 8, reworded=True, min_answers=least,
                        hard=hard, missing=missing)
        turns = [(q.text, q.answer) for q in only and asked(only=only) or asked()]
        kind = 1 if only else rng.random()
        if kind < drill and not missing:
            turns = lookup_drills(scene, rng) + turns
        elif kind < drill + retell and not missing:
            order = rng.permutation(len(scene.moments))
            mixed = replace(scene, moments=tuple(scene.moments[i] for i in order))
            turns = [(DESCRIBE, text), (RETELL, transcript(mixed, rng))]
            rng.shuffle(turns)
        return truncate(write_dialogue(form, scene, processor, turns, text, rng, missing), tokens)

    @staticmethod
    def task_example(task: Task, scene: Scene, processor: FavorProcessor, rng, named: float,
                     spelled: float, tokens: int) -> dict:
        """A conversation about a scene of a task; its transcript has only the task's streams."""
        scene = task.draw(scene.seed)
        turns = [(e.question, e.answers[0]) for e in ask_all(scene, rng, task.missing)]
        several = len(scene.moments) > 1
        if several:
            drawn = draw_questions(scene, rng, 6, reworded=True, missing=task.missing)
            turns += [(q.text, q.answer) for q in drawn]
        # With one moment, "hear" comes last, as in the queries: to compare sound and picture.
        text = transcript(task.perceived(scene), rng if several else None)
        form = str(rng.choice(FORMS, p=[1 - named - spelled, spelled, named]))
        return truncate(write_dialogue(form, scene, processor, turns, text, rng, task.missing),
                        tokens)

    @staticmethod
    def collate(processor: FavorProcessor, examples: list[dict]) -> dict[str, torch.Tensor]:
        batch = processor.pad_dialogues(examples)
        placeholder, end = processor.tokenizer.convert_tokens_to_ids([MEDIA_TOKEN, ";"])
        ids, clauses = batch["input_ids"], (batch["input_ids"] == end).cumsum(1)
        if numbers := [number for e in examples for number in e["numbers"]]:
            clauses = clauses.masked_scatter(ids == placeholder, torch.tensor(numbers))
            size = len(processor.tokenizer)
            batch["named"] = torch.cat([multi_hot(e["words"], size) for e in examples])
        return {**batch, "clauses": clauses}
