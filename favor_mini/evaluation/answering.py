"""Let a model answer questions about encoded clips."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data.features import encode_media
from ..media.clip import Clip
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from .scores import Row


@dataclass(frozen=True)
class Written:
    """What the model wrote.

    probability: of the whole text, the product over its `tokens`, 0 to 1.
    complete: whether it ends with the end-of-sequence token.
    """

    text: str
    probability: float
    tokens: int
    complete: bool


@torch.no_grad()
def write(model: FavorForConditionalGeneration, processor: FavorProcessor, encoded: list[dict],
          questions: list[str], *, batch: int = 32, max_new_tokens: int = 8,
          progress: bool = False) -> list[Written]:
    """Answer `questions[i]` about `encoded[i]` (see `encode_media`) by greedy decoding."""
    steps = [processor.num_steps(e) for e in encoded]
    order = sorted(range(len(questions)), key=steps.__getitem__)  # similar lengths: less padding
    ends = model.generation_config.eos_token_id
    ends = {processor.form.end_id, *(ends if isinstance(ends, list) else [ends])}
    found = {}
    model.eval()
    for start in tqdm(range(0, len(order), batch), desc="answering", disable=not progress):
        chosen = order[start : start + batch]
        inputs = processor([encoded[i] for i in chosen], [questions[i] for i in chosen])
        inputs = {k: v.to(model.device) for k, v in inputs.items()}
        room = processor.room(inputs["attention_mask"])
        output = model.generate(**inputs, max_new_tokens=min(max_new_tokens, room),
                                return_dict_in_generate=True, output_logits=True)
        log_probs = torch.stack(output.logits, dim=1).float().log_softmax(-1)  # [B, new, vocab.]
        of_token = log_probs.gather(-1, output.sequences[..., None])[..., 0]  # [B, new]
        texts = processor.decode(output.sequences)
        for i, text, ids, scores in zip(chosen, texts, output.sequences, of_token, strict=True):
            # Padding comes after the end.
            end = next((n for n, token in enumerate(ids.tolist(), 1) if token in ends), None)
            length = end or len(ids)
            found[i] = Written(text, exp(float(scores[:length].sum())), length, end is not None)
    return [found[i] for i in range(len(questions))]


def answer(model: FavorForConditionalGeneration, processor: FavorProcessor, encoded: list[dict],
           questions: list[str], **options) -> list[str]:
    """The text alone of what `write` returns; `options`: of `write`."""
    return [written.text for written in write(model, processor, encoded, questions, **options)]


@torch.no_grad()
def likelihood(model: FavorForConditionalGeneration, processor: FavorProcessor,
               encoded: list[dict], questions: list[str], answers: list[str], *,
               per_token: bool = False, batch: int = 32) -> np.ndarray:
    """Log probability of `answers[i]` as the answer to `questions[i]` about `encoded[i]`: (n,).

    Args:
        per_token: the mean over the answer's tokens instead of the sum, to compare answers of
            different lengths. The end-of-sequence token is included.
    """
    found = []
    model.eval()
    for start in range(0, len(questions), batch):
        part = slice(start, start + batch)
        inputs = processor(encoded[part], questions[part], answers[part])
        inputs = {k: v.to(model.device) for k, v in inputs.items()}
        log_probs = model(**inputs).logits[:, :-1].float().log_softmax(-1)  # [B, L - 1, vocabulary]
        labels = inputs["labels"][:, 1:]  # [B, L - 1]; -100 before the answer and in the padding
        of_token = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]  # [B, L - 1]
        total = (of_token * (labels >= 0)).sum(1)
        found += (total / (labels >= 0).sum(1) if per_token else total).tolist()
    return np.array(found)


def evaluate(model: FavorForConditionalGeneration, processor: FavorProcessor,
             encoded: dict[str, dict], asked: list[tuple],
             chance: Callable[[str, object], float] | None = None, *, batch: int = 32,
             progress: bool = False) -> list[Row]:
    """Ask each (clip name, question) and compare with the known answer.

    Args:
        encoded: from `encode_clips`.
        asked: a question has `family`, `text`, `answer` and `candidates`.
        chance: maps (clip name, question) to the accuracy of guessing, such as
            `world.questions.single_modality_chance(scenes)`. None: 1 / number of candidates.
    """
    chance = chance or (lambda name, question: 1 / len(question.candidates))
    texts = answer(model, processor, [encoded[name] for name, _ in asked],
                   [q.text for _, q in asked], batch=batch, progress=progress)
    return [Row(name, q.family, q.text, q.answer, text, chance(name, q))
            for (name, q), text in zip(asked, texts, strict=True)]


def encode_clips(model: FavorForConditionalGeneration, processor: FavorProcessor,
                 clips: dict[str, Clip], batch: int = 8) -> dict[str, dict]:
    """The frozen encoders' features of each clip, by name."""
    names, encoded = list(clips), {}
    for start in range(0, len(names), batch):
        chosen = names[start : start + batch]
        media = [processor.media(clips[name]) for name in chosen]
        encoded.update(zip(chosen, encode_media(model, processor, media), strict=True))
    return encoded
