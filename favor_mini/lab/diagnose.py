"""What ails a checkpoint? Failure signatures of this mechanism, read off a model by measuring.

    favor-mini diagnose build/make/favor

Good at one stream alone but bad at both together: synchronisation. More that was never there as soon as a clip takes several
windows: alignment over windows. Words that are invented or said again and again, or queries that are all alike: the weight of the
diversity loss.
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm

from ..evaluation.answering import answer, encode_clips, evaluate
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..evaluation.scores import scores
from ..losses import diversity_loss
from ..world.questions import FAMILY_GROUPS, choose, single_modality_chance
from ..world.rows import scene_clip
from ..world.scene import SPLITS, Scene, draw_scene, stretch
from ..world.transcript import DESCRIBE, transcript

GAP, EXTRA, INVENTED, AGAIN, ALIKE = 0.15, 0.1, 0.1, 0.25, 0.5  # from here on a sign counts; the shipped model stays well below


FEWEST = 20  # questions of a kind that say anything


@dataclass(frozen=True)
class Sign:
    """One signature: what it points to, what was measured, and whether it is there."""

    points_to: str
    seen: str
    there: bool

    def __str__(self) -> str:
        return f"[{'SIGN' if self.there else 'none'}] {self.points_to}: {self.seen}"


@dataclass(frozen=True)
class Description:
    """A description against its script, in phrases such as "see red circle at left".

    phrases: how many the script has. extra: told but not there. again: told more often than they are there.
    words: names told. invented: of these, those that the whole script does not hold.
    """

    phrases: int
    extra: int
    again: int
    words: int
    invented: int


def compare_texts(told: str, script: str) -> Description:
    """Hold a description against the script of its clip; the order of phrases does not count."""
    said, true = (Counter(" ".join(p.split()) for p in re.split(r"[;,.]", text) if p.strip()) for text in (told, script))
    words = [w for phrase, count in said.items() for w in phrase.split()[1:] * count]
    known = {w for phrase in true for w in phrase.split()}
    return Description(
        phrases=sum(true.values()), extra=sum(count for phrase, count in said.items() if phrase not in true),
        again=sum(max(0, count - max(true[phrase], 1)) for phrase, count in said.items()), words=len(words),
        invented=sum(w not in known for w in words))


def skill(accuracy: float, chance: float) -> float:
    """Accuracy on a scale from 0, guessing, to 1, always right."""
    return (accuracy - chance) / (1 - chance)


def spread(score) -> float:
    """Standard error of an accuracy; as if two more answers were right and two wrong (Agresti and Coull), so that it is not 0
    where all are."""
    count, share = score.count + 4, (score.accuracy * score.count + 2) / (score.count + 4)
    return (share * (1 - share) / count) ** 0.5


def read_signs(together, alone, one_window: list[Description], whole: list[Description], similarity: float) -> list[Sign]:
    """The signatures, from what `diagnose` measured.

    Args:
        together, alone: `evaluation.Score` of questions about both streams and about one.
        one_window, whole: descriptions of clips cut to one window, and of whole clips.
        similarity: mean cosine of the output queries of a window.
    """
    gap = skill(alone.accuracy, alone.chance) - skill(together.accuracy, together.chance)
    error = np.hypot(*(spread(s) / (1 - s.chance) for s in (alone, together)))
    sure = gap - norm.ppf(0.975) * error

    def share(told: list[Description], part: str, of: str) -> float:
        return sum(getattr(d, part) for d in told) / max(1, sum(getattr(d, of) for d in told))

    few, many = (share(told, "extra", "phrases") for told in (one_window, whole))
    invented, again = share(whole, "invented", "words"), share(whole, "again", "phrases")
    return [
        Sign("synchronisation", f"one stream alone {alone.accuracy:.0%} right (chance {alone.chance:.0%}), both together "
             f"{together.accuracy:.0%} (chance {together.chance:.0%}); from guessing to perfect, alone is {gap:+.2f} ahead "
             f"(at least {sure:+.2f}; a sign from {GAP}, over {FEWEST} questions or more of each)",
             bool(sure > GAP and min(alone.count, together.count) >= FEWEST)),
        Sign("alignment over windows", f"phrases told that are not there, per phrase of the script: {few:.2f} where the clip "
             f"fits one window, {many:.2f} where it takes several (a sign from {EXTRA} more)", many - few > EXTRA),
        Sign("diversity weight too high", f"{invented:.0%} of the words told are nowhere in the script, {again:.0%} of the "
             f"phrases are said again (a sign from {INVENTED:.0%} or {AGAIN:.0%})", invented > INVENTED or again > AGAIN),
        Sign("diversity weight too low", f"the queries of a window have a mean cosine of {similarity:.2f} (a sign from {ALIKE})",
             similarity > ALIKE)]


@torch.no_grad()
def diagnose(checkpoint=None, scenes: int = 60) -> list[Sign]:
    """Measure a checkpoint on validation scenes and read the signs.

    Raises:
        FileNotFoundError: there is no checkpoint. ValueError: too few scenes.
    """
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    drawn = [draw_scene(SPLITS["validation"].start + 12000 + i) for i in range(scenes)]
    seconds = processor.settings.window_frames / processor.settings.frame_rate
    short = [first_window(scene, seconds) for scene in drawn]
    size, rate = processor.settings.image_size, processor.settings.frame_rate
    whole, cut = (encode_clips(model, processor, {str(s.seed): scene_clip(s, size, rate) for s in group}) for group in (drawn, short))
    asked = [(str(s.seed), q) for s in drawn for q in choose(s, np.random.default_rng([s.seed, 3]), 16)
             if {"audio", "video"} <= set(q.needs) or len(q.needs) == 1]
    found = {s.name: s for s in scores(evaluate(model, processor, whole, asked, single_modality_chance({str(s.seed): s for s in drawn})), FAMILY_GROUPS)}
    if not {"both modalities", "one modality, plain"} <= set(found):
        raise ValueError(f"{scenes} scenes hold too few questions to compare; take more")

    def described(encoded: dict, group: list[Scene]) -> list[Description]:
        told = answer(model, processor, list(encoded.values()), [DESCRIBE] * len(group), max_new_tokens=160)
        return [compare_texts(text, transcript(scene)) for text, scene in zip(told, group, strict=True)]

    batch = {k: v.to(model.device) for k, v in processor(list(whole.values()), [DESCRIBE] * scenes).items()}
    _, queries, window_mask, _ = model.prepare(**{k: v for k, v in batch.items() if k != "attention_mask"})
    similarity = diversity_loss(queries.flatten(0, 1), window_mask.flatten()).item()
    return read_signs(found["both modalities"], found["one modality, plain"], described(cut, short), described(whole, drawn),
                      similarity)


def first_window(scene: Scene, seconds: float) -> Scene:
    """The moments of a scene that are over within `seconds`, the first one at least."""
    return stretch(scene, 0, max(1, sum(m.end <= seconds for m in scene.moments)))
