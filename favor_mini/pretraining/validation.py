"""Ask a model about validation scenes."""

import numpy as np

from ..evaluation.answering import answer, encode_clips, evaluate
from ..evaluation.scores import Row
from ..world.questions import choose, single_modality_chance
from ..world.rows import encode_scenes, scene_clip
from ..world.scene import SPLITS, draw_scene
from ..world.tasks import TASKS


def validation_rows(model, processor, scenes: int = 100, questions: int = 10) -> list:
    """Ask about validation scenes drawn in memory (the samples are kept for the end, and are read from mp4)."""
    drawn = [draw_scene(SPLITS["validation"].start + 5000 + i) for i in range(scenes)]
    drawn = {str(scene.seed): scene for scene in drawn}
    clips = {name: scene_clip(scene, processor.settings.image_size, processor.settings.frame_rate) for name, scene in drawn.items()}
    asked = [(name, question) for i, (name, scene) in enumerate(drawn.items())
             for question in choose(scene, np.random.default_rng(i), questions)]
    return evaluate(model, processor, encode_clips(model, processor, clips), asked, single_modality_chance(drawn))


def task_rows(model, processor, scenes: int = 12) -> list[Row]:
    """Ask what each of the eleven tasks asks, two questions at most about each of so many validation scenes of its own.

    Of `family` each row holds the task. A row is right or wrong: a transcript or caption is right if it is so as a whole.
    """
    asked, encoded = [], []
    for task in TASKS.values():
        questions, seed = {}, SPLITS["validation"].start + 7000
        while len(questions) < scenes:
            questions[seed] = task.ask(task.draw(seed), np.random.default_rng(seed))[:2]
            questions = {at: examples for at, examples in questions.items() if examples}  # of few pictures ocr asks anything
            seed += 1
        for media in encode_scenes(model, processor, questions, task=task.name, progress=False):
            asked += [(task.name, media["seed"], example) for example in questions[media["seed"]]]
            encoded += [media] * len(questions[media["seed"]])
    told = answer(model, processor, encoded, [example.question for *_, example in asked], max_new_tokens=48)
    return [Row(str(seed), name, e.question, e.answers[0], text, e.guess, e.answers[1:])
            for (name, seed, e), text in zip(asked, told, strict=True)]
