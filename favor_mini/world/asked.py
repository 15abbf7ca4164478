"""Questions with known answers about the sample files and about validation scenes."""

import numpy as np

from ..media.clip import Clip
from ..media.read import read_clip
from .questions import Question, choose
from .samples import read_samples
from .scene import SPLITS, Scene
from .video import film


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
