"""Questions about held-out scenes, for the recipe (split "validation") and comparisons ("test")."""

from ..evaluation.answering import answer, encode_clips, evaluate
from ..evaluation.scores import Row
from ..world.questions import draw_questions, single_modality_chance
from ..world.rows import encode_scenes, scene_clip
from ..world.scene import SPLITS, draw_scene, stream
from ..world.tasks import TASKS


def question_rows(model, processor, scenes: int = 100, questions: int = 10, *,
                  split: str = "validation") -> list[Row]:
    """Ask a model about scenes that are drawn in memory.

    Args:
        scenes, questions: number of scenes, and most questions about each.
        split: "validation" for choices, "test" for reported results.
    """
    first = SPLITS[split].start + 5000
    return evaluate(model, processor, *ask_scenes(model, processor, range(first, first + scenes),
                                                  questions))


def ask_scenes(model, processor, seeds, questions: int = 10) -> tuple[dict, list, dict]:
    """The encoded clips of scenes, questions about them, and chances, for `evaluate`."""
    settings, drawn = processor.settings, {str(seed): draw_scene(seed) for seed in seeds}
    clips = {name: scene_clip(scene, max(64, settings.image_size), settings.frame_rate)
             for name, scene in drawn.items()}
    asked = [(name, question) for name, scene in drawn.items() for question in
             draw_questions(scene, stream("evaluation questions", scene.seed), questions)]
    return encode_clips(model, processor, clips), asked, single_modality_chance(drawn)


def task_rows(model, processor, scenes: int = 12, *, split: str = "validation") -> list[Row]:
    """Ask a model up to two questions about each of `scenes` scenes of each AVEB task.

    `family` of a row is the name of the task. A transcript or caption must be right as a whole.
    """
    asked, encoded = [], []
    for task in TASKS.values():
        examples, seed = {}, SPLITS[split].start + 7000
        while len(examples) < scenes:
            rng = stream("evaluation task questions", seed)
            if found := task.ask(task.draw(seed), rng)[:2]:  # ocr has none for most pictures
                examples[seed] = found
            seed += 1
        for media in encode_scenes(model, processor, examples, task=task.name, progress=False):
            found = examples[media["seed"]]
            asked += [(task.name, media["seed"], example) for example in found]
            encoded += [media] * len(found)
    texts = answer(model, processor, encoded, [example.question for *_, example in asked],
                   max_new_tokens=48)
    return [Row(str(seed), name, e.question, e.answers[0], text, e.guess, e.answers[1:])
            for (name, seed, e), text in zip(asked, texts, strict=True)]
