"""Diagnosis of a checkpoint: the failure signatures of this mechanism, measured.

    favor-mini diagnose build/make/favor

- Synchronisation: good at one modality alone, poor at both together.
- Alignment over windows: hallucinations as soon as a clip takes several windows.
- Diversity weight too high: hallucinations and repetitions. Too low: all queries are similar.
"""

import re
from collections import Counter
from dataclasses import dataclass

import torch

from ..evaluation.answering import answer, encode_clips, evaluate
from ..evaluation.intervals import newcombe
from ..evaluation.scores import Score, scores
from ..losses import diversity_loss
from ..world.questions import FAMILY_GROUPS
from ..world.scene import Scene, excerpt
from ..world.transcript import DESCRIBE, transcript
from .scenes import clips_of, draw_scenes, prepare
from .signatures import absent, repeated

# Thresholds of the signs; the shipped model stays well below each.
GAP, EXTRA, INVENTED, AGAIN, ALIKE = 0.15, 0.1, 0.1, 0.25, 0.5
FEWEST = 20  # questions of a group; with fewer, the gap is no sign


@dataclass(frozen=True)
class Sign:
    """One failure signature: its likely cause, the measurement, and whether it is present."""

    points_to: str
    measured: str
    present: bool

    def __str__(self) -> str:
        return f"[{'SIGN' if self.present else 'none'}] {self.points_to}: {self.measured}"


@dataclass(frozen=True)
class Description:
    """Counts of a description compared with its script, in phrases as "see red circle at left"."""

    phrases: int  # in the script
    extra: int  # in the description, not in the script
    again: int  # repeated more often than in the script
    words: int  # names in the description
    invented: int  # those that are nowhere in the script


def compare_texts(description: str, script: str) -> Description:
    """Compare a description with the script of its clip; the order of phrases does not count."""
    found, true = (Counter(" ".join(p.split()) for p in re.split(r"[;,.]", text) if p.strip())
                   for text in (description, script))
    words = Counter(w for phrase in found.elements() for w in phrase.split()[1:])
    known = Counter(w for phrase in true for w in phrase.split())
    return Description(true.total(), absent(found, true), repeated(found, true), words.total(),
                       absent(words, known))


def skill(accuracy: float, chance: float) -> float:
    """Accuracy rescaled: 0 is guessing, 1 is all correct."""
    return (accuracy - chance) / (1 - chance)


def read_signs(together: Score, alone: Score, one_window: list[Description],
               whole: list[Description], similarity: float) -> list[Sign]:
    """The signs, from the measurements of `diagnose`.

    Args:
        together, alone: scores of questions about both modalities, and about one.
        one_window, whole: descriptions of clips cut to one window, and of whole clips.
        similarity: mean cosine of the output queries of a window.
    """
    one, both = ([skill(value, s.chance) for value in (s.accuracy, s.low, s.high)]
                 for s in (alone, together))
    gap, low = one[0] - both[0], newcombe(one, both)[0]

    def share(descriptions: list[Description], part: str, of: str) -> float:
        counts, totals = ([getattr(d, name) for d in descriptions] for name in (part, of))
        return sum(counts) / max(1, sum(totals))

    few, many = (share(group, "extra", "phrases") for group in (one_window, whole))
    invented, again = share(whole, "invented", "words"), share(whole, "again", "phrases")
    return [
        Sign("synchronisation",
             f"accuracy {alone.accuracy:.0%} on one modality (chance {alone.chance:.0%}), "
             f"{together.accuracy:.0%} on both together (chance {together.chance:.0%}); difference "
             f"in skill {gap:+.2f}, lower bound {low:+.2f} (a sign above {GAP}, with {FEWEST} "
             "questions or more of each)",
             bool(low > GAP and min(alone.count, together.count) >= FEWEST)),
        Sign("alignment over windows",
             f"hallucinated phrases per phrase of the script: {few:.2f} in clips of one window, "
             f"{many:.2f} in clips of several (a sign if {EXTRA} higher)", many - few > EXTRA),
        Sign("diversity weight too high",
             f"{invented:.0%} of the names are nowhere in the script, {again:.0%} of the phrases "
             f"are repeated (a sign above {INVENTED:.0%} or {AGAIN:.0%})",
             invented > INVENTED or again > AGAIN),
        Sign("diversity weight too low",
             f"the queries of a window have a mean cosine of {similarity:.2f} "
             f"(a sign above {ALIKE})", similarity > ALIKE)]


@torch.no_grad()
def diagnose(checkpoint=None, scenes: int = 60) -> list[Sign]:
    """Measure a checkpoint on test scenes, and read the signs.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: there are too few scenes.
    """
    drawn = draw_scenes(12000, scenes)
    model, processor, asked, chance = prepare(checkpoint, drawn, "diagnosis questions")
    seconds = processor.settings.window_frames / processor.settings.frame_rate
    short = [first_window(scene, seconds) for scene in drawn]
    whole, cut = (encode_clips(model, processor, clips_of(group, processor))
                  for group in (drawn, short))
    rows = evaluate(model, processor, whole, asked, chance)
    found = {s.name: s for s in scores(rows, FAMILY_GROUPS)}
    if not {"both modalities", "one modality, plain"} <= set(found):
        raise ValueError(f"{scenes} scenes have too few questions to compare. Fix: take more")

    def described(encoded: dict, group: list[Scene]) -> list[Description]:
        texts = answer(
            model, processor, [*encoded.values()], [DESCRIBE] * scenes, max_new_tokens=160)
        return [*map(compare_texts, texts, map(transcript, group))]

    batch = processor([*whole.values()], [DESCRIBE] * scenes)
    batch = {k: v.to(model.device) for k, v in batch.items() if k != "attention_mask"}
    _, queries, window_mask, _ = model.prepare(**batch)
    similarity = diversity_loss(queries.flatten(0, 1), window_mask.flatten()).item()
    return read_signs(found["both modalities"], found["one modality, plain"],
                      described(cut, short), described(whole, drawn), similarity)


def first_window(scene: Scene, seconds: float) -> Scene:
    """The moments of a scene that end within `seconds`, but at least the first one."""
    return excerpt(scene, 0, max(1, sum(m.end <= seconds for m in scene.moments)))
