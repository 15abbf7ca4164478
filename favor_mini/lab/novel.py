"""Generalisation of a trained model: voices, and forms of questions, that its training never used.

No training: the same scenes and questions are asked twice, with one change. (To leave names out of
the training clips is an arm of a comparison: `plan.WITHOUT`.)
"""

import re
from dataclasses import replace

import numpy as np

from ..evaluation.answering import encode_clips, evaluate
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..machine import machine
from ..world.questions import Question, draw_questions, reword_seeded, single_modality_chance
from ..world.rows import scene_clip
from ..world.scene import SPLITS, Scene, draw_scene, stream
from ..world.speech import HELD_OUT, draw_voice
from .run import SPLIT, connector_cost, result_rows
from .statistics import Comparison

DRAWS = 3  # of voices or wordings; they take the place of seeds
SCENES, QUESTIONS = 80, 12


def spoken_by(scene: Scene, new: bool, rng: np.random.Generator) -> Scene:
    """The scene with every word in a voice that training never used (`new`), or that it did."""
    def with_voice(heard):
        while True:
            seed = int(rng.integers(2**31))
            if (draw_voice(stream("audible event", seed), SPLIT) in HELD_OUT) == new:
                return replace(heard, seed=seed)

    return replace(scene, moments=tuple(
        replace(m, heard=with_voice(m.heard)) if _has_word(m) else m for m in scene.moments))


def _has_word(moment) -> bool:
    return moment.heard is not None and moment.heard.kind == "word"


def clause_first(text: str) -> str | None:
    """The same question with its clause first, a form that no training question has.

    "what was heard while X was shown?" -> "while X was shown, what was heard?"; None for a question
    without such a clause.
    """
    found = re.fullmatch(r"(what was \w+)(?: (next|last))? (while|when|after|before) (.+)\?", text)
    if not found:
        return None
    main, which, word, clause = found.groups()
    return f"{word} {clause}, {main}{f' {which}' if which else ''}?"


def new_voices(checkpoint=None, *, scenes: int = SCENES, progress: bool = True) -> Comparison:
    """Questions about spoken words, said by training voices and by new voices."""
    drawn = [s for s in _scenes(4 * scenes) if sum(map(_has_word, s.moments)) > 1][:scenes]
    arms = {name: lambda s, draw, new=new: spoken_by(s, new, stream("other voices", s.seed, draw))
            for name, new in (("voices known from training", False), ("voices never heard", True))}
    return _compared(checkpoint, drawn, _about_words, arms, lambda arm, clip, q, draw: q.text,
                     progress)


def new_forms(checkpoint=None, *, scenes: int = SCENES, progress: bool = True) -> Comparison:
    """Questions in their usual words, reworded as in training, and in a form that training never
    used (`clause_first`)."""
    def wording(arm: str, clip: str, question: Question, draw: int) -> str:
        if arm == "clause first, never met":
            return clause_first(question.text)
        if arm == "usual words":
            return question.text
        return reword_seeded(question.text, int(clip), draw)

    arms = dict.fromkeys(("usual words", "other words, met in training", "clause first, never met"),
                         lambda scene, draw: scene)
    return _compared(checkpoint, _scenes(scenes), lambda scene, q: clause_first(q.text), arms,
                     wording, progress)


def _scenes(count: int) -> list[Scene]:
    return [draw_scene(SPLITS[SPLIT].start + 9500 + i) for i in range(count)]


def _about_words(scene: Scene, question: Question) -> bool:
    """Whether the question or its answer contains a word that is spoken in the scene."""
    spoken = {m.heard.name for m in scene.moments if _has_word(m)}
    return bool(spoken & set(re.findall(r"\w+", f"{question.text} {question.answer}")))


def _compared(checkpoint, drawn: list[Scene], suitable, arms: dict, wording,
              progress: bool) -> Comparison:
    """Ask the same questions in every arm and draw.

    Args:
        suitable: (scene, question) -> whether the question is asked.
        arms: by name, (scene, draw) -> the changed scene.
        wording: (arm, clip, question, draw) -> the text of the question.
    """
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    size, rate = processor.settings.image_size, processor.settings.frame_rate
    chance = single_modality_chance({str(s.seed): s for s in drawn})
    asked = []
    for scene in drawn:
        questions = draw_questions(scene, stream("evaluation questions", scene.seed), 99)
        asked += [(str(scene.seed), q) for q in questions if suitable(scene, q)][:QUESTIONS]
    cost, results = connector_cost(model), []
    for draw in range(DRAWS):
        for arm, change in arms.items():
            clips = {str(s.seed): scene_clip(change(s, draw), size, rate) for s in drawn}
            worded = [(clip, replace(q, text=wording(arm, clip, q, draw))) for clip, q in asked]
            rows = evaluate(model, processor, encode_clips(model, processor, clips), worded, chance,
                            progress=progress)
            # The question in its usual words names the row: all arms then have the same questions.
            rows = [replace(r, question=q.text) for r, (_, q) in zip(rows, asked, strict=True)]
            results.append({"arm": arm, "changes": {}, "seed": draw, "seconds": 0, "split": SPLIT,
                            **cost, "machine": machine(), "rows": result_rows(rows)})
    return Comparison(results)
