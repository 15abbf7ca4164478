"""Generalisation of a trained model: voices, and forms of questions, that its training never used.

No training: the same scenes and questions are asked again with one change. (An arm of a comparison
can leave names out of the training clips: `plan.WITHOUT`.)
"""

import re
from dataclasses import replace

import numpy as np

from ..evaluation.answering import encode_clips, evaluate
from ..machine import machine
from ..world.questions import Question, reword_seeded
from ..world.scene import Scene, stream
from ..world.speech import HELD_OUT, draw_voice
from .run import SPLIT, connector_cost, result_rows
from .scenes import clips_of, draw_scenes, prepare
from .statistics import Comparison

DRAWS = 3  # of voices or wordings; they take the place of seeds
SCENES, QUESTIONS, FIRST = 80, 12, 9500


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

    "what was heard while X was shown?" -> "while X was shown, what was heard?"; without such a
    clause None.
    """
    found = re.fullmatch(r"(what was \w+(?: next| last)?) ((?:while|when|after|before) .+)\?", text)
    return f"{found[2]}, {found[1]}?" if found else None


def new_voices(checkpoint=None, *, scenes: int = SCENES, progress: bool = True) -> Comparison:
    """Questions about spoken words, said by training voices and by new voices."""
    def say(new):
        return lambda scene, draw: spoken_by(scene, new, stream("other voices", scene.seed, draw))

    drawn = draw_scenes(FIRST, 4 * scenes)
    drawn = [s for s in drawn if sum(map(_has_word, s.moments)) > 1][:scenes]
    arms = {"voices known from training": (say(False), _usual),
            "voices never heard": (say(True), _usual)}
    return _compared(checkpoint, drawn, _about_words, arms, progress)


def new_forms(checkpoint=None, *, scenes: int = SCENES, progress: bool = True) -> Comparison:
    """Questions in their usual words, reworded as in training, and in a form that training never
    used (`clause_first`)."""
    wordings = {"usual words": _usual, "other words, met in training": reword_seeded,
                "clause first, never met": lambda text, clip, draw: clause_first(text)}
    arms = {name: (lambda scene, draw: scene, wording) for name, wording in wordings.items()}
    drawn = draw_scenes(FIRST, scenes)
    return _compared(checkpoint, drawn, lambda scene, q: clause_first(q.text), arms, progress)


def _usual(text: str, clip: int, draw: int) -> str:
    return text


def _about_words(scene: Scene, question: Question) -> bool:
    """Whether the question or its answer contains a word that is spoken in the scene."""
    spoken = {m.heard.name for m in scene.moments if _has_word(m)}
    return bool(spoken & set(re.findall(r"\w+", f"{question.text} {question.answer}")))


def _compared(checkpoint, drawn: list[Scene], suitable, arms: dict, progress: bool) -> Comparison:
    """Ask the same questions in every arm and draw.

    Args:
        suitable: (scene, question) -> whether the question is asked.
        arms: by name, (scene, draw) -> the changed scene, and (text, clip, draw) -> the wording.
    """
    model, processor, asked, chance = prepare(
        checkpoint, drawn, "evaluation questions", 99, suitable, QUESTIONS)
    cost, results = connector_cost(model), []
    for draw in range(DRAWS):
        for arm, (change, wording) in arms.items():
            clips = clips_of([change(scene, draw) for scene in drawn], processor)
            worded = [(clip, replace(q, text=wording(q.text, int(clip), draw)))
                      for clip, q in asked]
            rows = evaluate(model, processor, encode_clips(model, processor, clips), worded, chance,
                            progress=progress)
            # The question in its usual words names the row: all arms then have the same questions.
            rows = [replace(r, question=q.text) for r, (_, q) in zip(rows, asked, strict=True)]
            results.append({"arm": arm, "changes": {}, "seed": draw, "seconds": 0, "split": SPLIT,
                            **cost, "machine": machine(), "rows": result_rows(rows)})
    return Comparison(results)
