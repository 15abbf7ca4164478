"""Fit what a checkpoint knows about its own limits: the familiarity score
(`evaluation.familiarity`), the confidence (`evaluation.calibration`), and the list of questions
that it can be asked."""

import re
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ..data.features import encode_media
from ..evaluation.answering import write
from ..evaluation.checkpoint import load_checkpoint
from ..evaluation.familiarity import Familiarity
from ..evaluation.metrics import matches
from ..evaluation.wording import Wording, measure
from ..world.questions import draw_questions
from ..world.rows import encode_scenes
from ..world.scene import SHAPES, SPLITS, THINGS, WORDS, Scene, draw_scene, stream
from ..world.tasks import TASKS
from ..world.video import record_scenes
from .repertoire import list_questions

HELD_OUT = SPLITS["validation"].start + 10**8  # not among the scenes that score models
QUESTIONS = 12  # about each held-out clip; besides, one of each other kind below
KINDS = ("as in training", "about what the clip does not hold", "of shuffled words")


@dataclass
class Answers:
    """Answers to questions about held-out clips, (n,) each; see `Familiarity.fit_questions`.

    kind: position in `KINDS`. An answer to a question of the last two kinds counts as wrong.
    """

    kind: np.ndarray
    surprise: np.ndarray
    probability: np.ndarray
    right: np.ndarray


def fit_familiarity(checkpoint, *, scenes: int = 400, held_out: int = 100) -> Familiarity:
    """Write `familiarity.safetensors` and `questions.json` into the folder of a checkpoint.

    Args:
        scenes: number of training scenes to fit.
        held_out: number of validation scenes for the thresholds, read from MP4 files.
    """
    model, processor = load_checkpoint(checkpoint)
    known = encode_recorded(model, processor, range(HELD_OUT, HELD_OUT + held_out))
    training = encode_scenes(model, processor, SPLITS["train"][:scenes])
    fitted = Familiarity.fit(training, list(known.values()))
    found = held_out_answers(model, processor, known)
    fitted.fit_questions(found.surprise, found.probability, found.right, found.kind == 0)
    fitted.save(checkpoint)
    list_questions().save(checkpoint)
    return fitted


def encode_recorded(model, processor, seeds) -> dict[int, dict]:
    """The encoded clips of scenes, each written as an MP4 file and read back, by seed."""
    size = processor.settings.image_size
    return {scene.seed: encode_media(model, processor, [processor.media(clip)])[0]
            for scene, clip in record_scenes(seeds, image_size=size, progress=True)}


def held_out_answers(model, processor, encoded: dict[int, dict]) -> Answers:
    """Ask questions of all `KINDS` about clips, and those of the AVEB tasks.

    Args:
        encoded: clips of scenes by seed, from `encode_recorded`. There are as many, divided by ten,
            of each task.
    """
    asked = [row for seed in encoded for row in _questions(seed, list(encoded), encoded)]
    for task in TASKS.values():
        seeds = range(min(encoded), min(encoded) + -(-len(encoded) // 10))
        for clip in encode_scenes(model, processor, seeds, task=task.name, progress=False):
            rng = stream("held-out task questions", clip["seed"])
            asked += [(clip, 0, e.question, e.answers) for e in
                      task.ask(task.draw(clip["seed"]), rng)[:2]]
    surprise = [wording.surprise for _, rows in groupby(asked, key=lambda row: id(row[0]))
                for wording in _measure(model, processor, list(rows))]
    written = write(model, processor, [row[0] for row in asked], [row[2] for row in asked],
                    max_new_tokens=48, progress=True)
    right = [matches(w.text, answers) for w, (*_, answers) in zip(written, asked, strict=True)]
    return Answers(np.array([row[1] for row in asked]), np.array(surprise),
                   np.array([w.probability for w in written]), np.array(right, float))


def _measure(model, processor, rows: list[tuple]) -> list[Wording]:
    """The wordings of questions about one clip."""
    return measure(model, processor, rows[0][0], [text for _, _, text, _ in rows])


def _questions(seed: int, seeds: list[int], encoded: dict[int, dict]) -> list[tuple]:
    """(clip, kind, question, answers) about one scene; no answer is right for a foreign question.
    """
    rng, scene = stream("held-out questions", seed), draw_scene(seed)
    own = draw_questions(scene, rng, QUESTIONS, reworded=True)
    rows = [(encoded[seed], 0, q.text, (q.answer,)) for q in own]
    for other in rng.permutation([s for s in seeds if s != seed]):
        text = draw_questions(draw_scene(int(other)), rng, 1, reworded=True)[0].text
        if set(re.findall(r"\w+", text)) & _absent(scene):
            rows.append((encoded[seed], 1, text, ()))
            break
    words = own[rng.integers(len(own))].text.rstrip("?").split()
    rows.append((encoded[seed], 2, " ".join(rng.permutation(words)) + "?", ()))
    return rows


def _absent(scene: Scene) -> set[str]:
    """The names of all that the scene neither shows nor sounds."""
    there = {actor.name for m in scene.moments for actor in m.actors}
    return {*SHAPES, *THINGS, *WORDS} - there - {m.heard.name for m in scene.moments if m.heard}
