"""Before the language model reads the connector's vectors: each output query names what its stretch of the window holds.

A frozen language model that is handed noise gives little to learn from. So the connector first learns to speak its words.
The N queries of a window are shared out in fours over its K frames, like the clauses of a script: what is seen, what it
does, what is beside it, what is heard. Each must come close to the embeddings of its words. No language model runs for that.

The paper has no such stage: its connector learns from the language model alone, on far more data than two CPU cores can take.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import FavorForConditionalGeneration
from .processor import MEDIA_TOKEN, FavorProcessor, ProcessorSettings
from .registry import find
from .world.scene import Moment, Scene
from .world.transcript import heard_phrase, seen_phrase

FIELDS = 4  # queries to a clause


def clause(moment: Moment | None, start: float, end: float) -> list[str]:
    """The words for the four queries of one moment; `moment` is None after the clip's end.

    Only what their window, from `start` to `end` seconds, can tell: a sound in it, and a movement's middle.
    """
    if moment is None:
        return ["."] * FIELDS
    actors, middle = moment.actors, (moment.start + moment.end) / 2
    words = f"see {seen_phrase(moment)}".split()
    subject = " ".join(words[: 1 + len(actors[0].label.split())]) if actors and moment.seen != "write" else " ".join(words)
    does = beside = subject
    if not start <= middle < end:
        if moment.seen == "turn" and middle < start:  # its first colour was seen in the window before
            subject = does = beside = f"see {actors[0].name}"
    elif len(words) > len(subject.split()):
        does, _, other = " ".join(words[len(subject.split()) :]).partition(" beside ")
        beside = f"beside {other}" if other else subject
    sound = moment.heard
    told = sound is None or start <= sound.start + sound.seconds / 2 < end
    return [subject, does, beside, f"hear {heard_phrase(moment)}" if told else "hear"]


def query_words(scene: Scene, processor: FavorProcessor, num_frames: int, missing: str | None = None
                ) -> tuple[list[list[int]], list[int]]:
    """What each of a clip's W * N output queries should name: its words' token ids, and the number of its moment.

    `num_frames` is the clip's T; `missing` is the stream that it lacks, "audio" or "video": there, "hear" or "see" is all
    that can be named.
    """
    settings, words, numbers = processor.settings, [], []
    rate, clauses = settings.frame_rate, -(-settings.num_queries // FIELDS)  # of a window
    for (start, end), place in product(window_spans(num_frames, settings), range(settings.num_queries)):
        t = start + (place // FIELDS + 0.5) / clauses * settings.window_frames / rate
        frame = round(t * rate)  # the nearest one: between frames nobody sees
        if place < FIELDS:  # a single picture, or a window of one frame, is told, too
            frame = min(frame, num_frames - 1)
        t = frame / rate
        number = next((i for i, m in enumerate(scene.moments) if m.start <= t < min(m.end, end)), len(scene.moments))
        moment = scene.moments[number] if number < len(scene.moments) else None
        phrase = clause(moment, start, end)[place % FIELDS]
        if moment and missing == ("audio" if place % FIELDS == FIELDS - 1 else "video"):
            phrase = "hear" if missing == "audio" else "see"
        words.append(processor.tokenizer(phrase, add_special_tokens=False).input_ids)
        numbers.append(number)
    return words, numbers


def window_spans(num_frames: int, settings: ProcessorSettings) -> list[tuple[float, float]]:
    """From which second to which each of a clip's windows reaches."""
    frames = torch.arange(float(num_frames))[None, :, None, None]  # [1, T, 1, 1]: every frame holds its own number
    windows, real = find("windows", settings.windows)(frames, torch.ones(1, num_frames).bool(), settings.window_frames)
    held = [window[mask, 0].tolist() for window, mask in zip(windows, real, strict=True) if mask.any()]
    return [(window[0] / settings.frame_rate, (window[-1] + 1) / settings.frame_rate) for window in held]


def bags(words: list[list[int]], vocabulary: int) -> Tensor:
    """Token ids per query to (queries, vocabulary): 1 where a word is named, else 0."""
    made = torch.zeros(len(words), vocabulary)
    for row, ids in zip(made, words, strict=True):
        row[ids] = 1.0
    return made


def collate_names(processor: FavorProcessor, examples: list[dict]) -> dict[str, Tensor]:
    """Media tensors, prompts of nothing but placeholders, and `bags` of all clips' words, one after another.

    Args:
        examples: media dictionaries with `words` from `query_words`.
    """
    placeholder = processor.tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
    batch = processor.pad_text([[placeholder] * len(e["words"]) for e in examples], side="right")
    words = torch.cat([bags(e["words"], len(processor.tokenizer)) for e in examples])
    return {"input_ids": batch["input_ids"], "words": words, **processor.pad_media(examples)}


class Naming(nn.Module):
    """The connector with the naming loss: what the language model would read, held against its own words.

    Two parts: the cross-entropy tells the right words from all others, and the squared distance from their embeddings' sum
    (as a share of its square) makes them sound like words. By the first alone a vector may hold anything else besides, and
    the language model, which has only ever read words, is lost.
    """

    def __init__(self, model: FavorForConditionalGeneration):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, words: Tensor, **media) -> dict[str, Tensor]:
        embeds, queries, window_mask, _ = self.model.prepare(input_ids, **media)
        read = embeds[input_ids == self.model.config.placeholder_id].float()  # [queries of all clips, width]
        vectors = self.model.language_model.get_input_embeddings().weight.float()  # [vocabulary, width]
        share = words / words.sum(-1, keepdim=True)
        # The words' own entropy is taken off, so that 0 is the best that there is.
        cross_entropy = F.cross_entropy(read @ vectors.T, share) + (share * share.clamp(min=1e-9).log()).sum(-1).mean()
        target = words @ vectors
        distance = (read - target).square().sum(-1).mean() / target.square().sum(-1).mean()
        diversity = find("diversity", self.model.config.diversity)(queries.flatten(0, 1), window_mask.flatten())
        return {"loss": cross_entropy + distance + self.model.config.diversity_weight * diversity,
                "cross_entropy": cross_entropy, "diversity": diversity}
