"""Clips with questions and scripts: sample files, or validation scenes."""

from ..media.clip import Clip
from ..media.read import read_clip
from .questions import Question, draw_questions
from .samples import read_samples
from .scene import SPLITS, Scene, stream
from .video import record_scenes

QuestionSet = tuple[dict[str, Clip], list[tuple[str, Question]], dict[str, Scene]]


def sample_questions(image_size: int) -> QuestionSet:
    """The sample files: clips by name, (clip name, question) pairs, and scripts by clip name."""
    samples = read_samples()
    return ({s.name: read_clip(s.path, image_size=image_size) for s in samples},
            [(s.name, q) for s in samples for q in s.questions], {s.name: s.scene for s in samples})


def scene_questions(count: int, image_size: int, progress: bool = False, questions: int = 16
                    ) -> QuestionSet:
    """The same for `count` validation scenes, written as MP4 files and read back."""
    clips, asked, scripts = {}, [], {}
    seeds = SPLITS["validation"][:count]
    for scene, clip in record_scenes(seeds, image_size=image_size, progress=progress):
        name = f"scene {scene.seed}"
        clips[name], scripts[name] = clip, scene
        rng = stream("evaluation questions", scene.seed)
        asked += [(name, q) for q in draw_questions(scene, rng, questions)]
    return clips, asked, scripts
