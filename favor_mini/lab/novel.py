"""A trained model before what its training never held: voices that it never heard, questions put in a way that it never met.

No training: the same scenes and questions twice, with one thing changed. What is left out of the training itself is `plan.WITHOUT`'s.
"""

import re
from dataclasses import replace

import numpy as np

from ..evaluation.answering import encode_clips, evaluate
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..machine import machine
from ..world.questions import Question, choose, reword, single_modality_chance
from ..world.rows import scene_clip
from ..world.scene import SPLITS, Scene, draw_scene
from ..world.speech import HELD_OUT, draw_voice
from .run import connector_cost
from .statistics import Comparison

DRAWS = 3  # of voices, or of wordings: in place of seeds, as there is no training
SCENES, QUESTIONS = 80, 12


def spoken_by(scene: Scene, new: bool, rng: np.random.Generator) -> Scene:
    """The scene with every word said by voices that were never trained on (`new`), or by voices that were."""
    def voiced(heard):
        while True:
            seed = int(rng.integers(2**31))
            if (draw_voice(np.random.default_rng([seed, 17]), "validation") in HELD_OUT) == new:
                return replace(heard, seed=seed)

    return replace(scene, moments=tuple(
        replace(m, heard=voiced(m.heard)) if m.heard and m.heard.kind == "word" else m for m in scene.moments))


def clause_first(text: str) -> str | None:
    """The same question the other way round, as no training question is put; None where that does not go.

    "what was heard while the red star was shown?" -> "while the red star was shown, what was heard?"
    """
    found = re.fullmatch(r"(what was \w+)(?: (next|last))? (while|when|after|before) (.+)\?", text)
    if not found:
        return None
    asked, which, word, clause = found.groups()
    return f"{word} {clause}, {asked}{f' {which}' if which else ''}?"


def new_voices(checkpoint=None, *, scenes: int = SCENES, progress: bool = True) -> Comparison:
    """Questions that hang on a spoken word, said by voices known from training and by voices never heard; paired by question."""
    drawn = [s for s in _scenes(4 * scenes) if sum(m.heard is not None and m.heard.kind == "word" for m in s.moments) > 1][:scenes]
    asked = {str(s.seed): [q for q in choose(s, np.random.default_rng([s.seed, 7]), 99) if _about_words(s, q)][:QUESTIONS] for s in drawn}
    arms = {name: lambda s, draw, new=new: spoken_by(s, new, np.random.default_rng([s.seed, draw]))
            for name, new in (("voices known from training", False), ("voices never heard", True))}
    return _compared(checkpoint, drawn, asked, arms, lambda name, q, draw: q.text, progress)


def new_forms(checkpoint=None, *, scenes: int = SCENES, progress: bool = True) -> Comparison:
    """The same questions in their usual words, in other words met in training, and clause first, as none was ever put."""
    drawn = _scenes(scenes)
    asked = {str(s.seed): [q for q in choose(s, np.random.default_rng([s.seed, 7]), 99) if clause_first(q.text)][:QUESTIONS]
             for s in drawn}

    def put(name: str, question: Question, draw: int) -> str:
        if name == "clause first, never met":
            return clause_first(question.text)
        return question.text if name == "usual words" else reword(question.text, np.random.default_rng([len(question.text), draw]))

    arms = dict.fromkeys(("usual words", "other words, met in training", "clause first, never met"), lambda s, draw: s)
    return _compared(checkpoint, drawn, asked, arms, put, progress)


def _scenes(count: int) -> list[Scene]:
    return [draw_scene(SPLITS["validation"].start + 9500 + i) for i in range(count)]


def _about_words(scene: Scene, question: Question) -> bool:
    """Whether the question or its answer names a word that is said in the scene."""
    said = {m.heard.name for m in scene.moments if m.heard and m.heard.kind == "word"}
    return bool(said & set(re.findall(r"\w+", f"{question.text} {question.answer}")))


def _compared(checkpoint, drawn: list[Scene], asked: dict[str, list[Question]], arms: dict, put, progress: bool) -> Comparison:
    """Ask the questions in every arm and draw. `arms`: by name, what becomes of a scene; `put`: how a question is worded."""
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    scenes = {str(s.seed): s for s in drawn}
    questions = [(clip, q) for clip, found in asked.items() for q in found]
    cost, results, size, rate = connector_cost(model), [], processor.settings.image_size, processor.settings.frame_rate
    for draw in range(DRAWS):
        for name, change in arms.items():
            clips = {clip: scene_clip(change(s, draw), size, rate) for clip, s in scenes.items()}
            worded = [(clip, replace(q, text=put(name, q, draw))) for clip, q in questions]
            rows = evaluate(model, processor, encode_clips(model, processor, clips), worded, single_modality_chance(scenes), progress=progress)
            results.append({"arm": name, "changes": {}, "seed": draw, "seconds": 0, **cost, "machine": machine(), "rows": [
                {"clip": clip, "family": q.family, "question": q.text, "chance": round(r.chance, 3), "right": r.correct,
                 "predicted": r.predicted, "answer": q.answer} for (clip, q), r in zip(questions, rows, strict=True)]})
    return Comparison(results)
