"""Ask a model questions with known answers, and count: accuracy per question family, with intervals, beside chance."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import binomtest
from tqdm.auto import tqdm

from .aveb.metrics import matches
from .features import encode_media
from .filming import film
from .media import Clip, read_clip
from .model import FavorForConditionalGeneration
from .processor import FavorProcessor
from .world.questions import FAMILIES, Question, choose, one_stream_chance
from .world.samples import read_samples
from .world.scene import SPLITS, Scene

GROUPS = {  # group: which families belong to it, by what they need
    "both modalities": lambda needs: {"audio", "video"} <= set(needs),
    "one modality, order or cause": lambda needs: not {"audio", "video"} <= set(needs) and len(needs) > 1,
    "one modality, plain": lambda needs: len(needs) == 1,
}


@dataclass(frozen=True)
class Row:
    """One question asked: `predicted` is what the model wrote, `others` are further answers that count as right."""

    clip: str
    family: str
    question: str
    answer: str
    predicted: str
    chance: float
    others: tuple[str, ...] = ()

    @property
    def correct(self) -> bool:
        return matches(self.predicted, (self.answer, *self.others))


@dataclass(frozen=True)
class Score:
    """Accuracy over `count` questions, its 95 % Wilson interval (low, high), and the accuracy of guessing."""

    name: str
    count: int
    accuracy: float
    low: float
    high: float
    chance: float


@torch.no_grad()
def answer(model: FavorForConditionalGeneration, processor: FavorProcessor, encoded: list[dict], questions: list[str],
           *, batch: int = 32, max_new_tokens: int = 8, progress: bool = False) -> list[str]:
    """Answer `questions[i]` about `encoded[i]` (see `features.encode_media`), greedily; one text each."""
    steps = [processor.num_steps(e) for e in encoded]
    order = sorted(range(len(questions)), key=steps.__getitem__)  # like lengths together: less padding
    answers = [""] * len(questions)
    model.eval()
    for start in tqdm(range(0, len(order), batch), desc="answering", disable=not progress):
        chosen = order[start : start + batch]
        inputs = processor([encoded[i] for i in chosen], [questions[i] for i in chosen])
        inputs = {k: v.to(model.device) for k, v in inputs.items()}
        written = model.generate(**inputs, max_new_tokens=max_new_tokens)
        for i, text in zip(chosen, processor.decode(written), strict=True):
            answers[i] = text
    return answers


@torch.no_grad()
def likelihood(model: FavorForConditionalGeneration, processor: FavorProcessor, encoded: list[dict], questions: list[str],
               answers: list[str], *, batch: int = 32) -> np.ndarray:
    """Log probability of `answers[i]`, its end included, as the answer to `questions[i]` about `encoded[i]`: (n,)."""
    found = []
    model.eval()
    for start in range(0, len(questions), batch):
        part = slice(start, start + batch)
        inputs = processor(encoded[part], questions[part], answers[part])
        inputs = {k: v.to(model.device) for k, v in inputs.items()}
        told, labels = model(**inputs).logits[:, :-1].float().log_softmax(-1), inputs["labels"][:, 1:]  # [B, L - 1, vocabulary]
        of_token = told.gather(-1, labels.clamp(min=0)[..., None])[..., 0]  # [B, L - 1]
        found += (of_token * (labels >= 0)).sum(1).tolist()
    return np.array(found)


def evaluate(model: FavorForConditionalGeneration, processor: FavorProcessor, encoded: dict[str, dict],
             asked: list[tuple[str, Question]], scenes: dict[str, Scene] | None = None, *, batch: int = 32,
             progress: bool = False) -> list[Row]:
    """Ask each (clip name, question) and compare with the known answer.

    Args:
        encoded: by clip name, from `encode_clips`.
        scenes: scripts by clip name. With them, chance is an honest one: what somebody scores at best who takes in one
            stream whole and nothing of the other. Without, it is one in the number of candidate answers.
    """
    def chance(name: str, question: Question) -> float:
        if scenes is None or not {"audio", "video"} <= set(question.needs):
            return 1 / len(question.candidates)
        return max(one_stream_chance(scenes[name], question, stream) for stream in ("audio", "video"))

    texts = answer(model, processor, [encoded[name] for name, _ in asked], [q.text for _, q in asked],
                   batch=batch, progress=progress)
    return [Row(name, q.family, q.text, q.answer, text, chance(name, q))
            for (name, q), text in zip(asked, texts, strict=True)]


def encode_clips(model: FavorForConditionalGeneration, processor: FavorProcessor, clips: dict[str, Clip],
                 batch: int = 8) -> dict[str, dict]:
    """The frozen encoders' features of each clip, by its name."""
    names, encoded = list(clips), {}
    for start in range(0, len(names), batch):
        chosen = names[start : start + batch]
        media = [processor.media(clips[name]) for name in chosen]
        encoded.update(zip(chosen, encode_media(model, processor, media), strict=True))
    return encoded


def sample_questions(image_size: int) -> tuple[dict[str, Clip], list[tuple[str, Question]], dict[str, Scene]]:
    """The sample files as clips by name, all questions about them, and their scripts by name."""
    samples = read_samples()
    return ({s.name: read_clip(s.path, image_size=image_size) for s in samples},
            [(s.name, q) for s in samples for q in s.questions], {s.name: s.scene for s in samples})


def scene_questions(count: int, image_size: int, progress: bool = False, questions: int = 16
                    ) -> tuple[dict[str, Clip], list[tuple[str, Question]], dict[str, Scene]]:
    """The same of `count` validation scenes, written to mp4 and read back."""
    first = SPLITS["validation"].start
    clips, asked, scripts = {}, [], {}
    for scene, clip in film(range(first, first + count), image_size=image_size, progress=progress):
        name = f"scene {scene.seed}"
        clips[name], scripts[name] = clip, scene
        asked += [(name, q) for q in choose(scene, np.random.default_rng([scene.seed, 81]), questions)]
    return clips, asked, scripts


def delay_sound(clip: Clip, seconds: float) -> Clip:
    """The same clip with its sound moved later against the picture, earlier where `seconds` is negative; the length stays,
    the gap is silent."""
    shift, length = round(seconds * clip.sampling_rate), len(clip.waveform)
    moved, kept = np.zeros(length, np.float32), clip.waveform[max(0, -shift) : max(0, length - shift)]
    moved[max(0, shift) :][: len(kept)] = kept
    return replace(clip, waveform=moved)


def scores(rows: list[Row]) -> list[Score]:
    """Accuracy of each family that was asked, then of the three groups, then of all."""
    found = [_score(family, [r for r in rows if r.family == family]) for family in FAMILIES]
    found += [_score(group, [r for r in rows if belongs(FAMILIES[r.family])]) for group, belongs in GROUPS.items()]
    return [s for s in [*found, _score("all", rows)] if s.count]


def _score(name: str, rows: list[Row]) -> Score:
    if not rows:
        return Score(name, 0, 0.0, 0.0, 0.0, 0.0)
    right = sum(r.correct for r in rows)
    interval = binomtest(right, len(rows)).proportion_ci(method="wilson")
    return Score(name, len(rows), right / len(rows), interval.low, interval.high, float(np.mean([r.chance for r in rows])))


def score_table(found: list[Score]) -> str:
    """The scores as a text table."""
    lines = [f"{'questions':<30}{'count':>6}{'accuracy':>10}{'95 % interval':>17}{'chance':>8}"]
    for s in found:
        if s.name == next(iter(GROUPS)):
            lines.append("-" * len(lines[0]))
        lines.append(f"{s.name:<30}{s.count:>6}{s.accuracy:>10.1%}{s.low:>9.1%} -{s.high:>6.1%}{s.chance:>8.1%}")
    return "\n".join(lines)
