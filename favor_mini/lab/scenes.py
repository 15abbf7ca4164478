"""Test scenes and questions about them, to measure a trained model."""

from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..world.questions import draw_questions, single_modality_chance
from ..world.rows import scene_clip
from ..world.scene import SPLITS, Scene, draw_scene, stream
from .run import SPLIT


def draw_scenes(first: int, count: int) -> list[Scene]:
    """Scenes of the split `SPLIT`, from its position `first` on."""
    return [draw_scene(SPLITS[SPLIT].start + first + i) for i in range(count)]


def both_or_one(scene, question) -> bool:
    """Whether a question needs both modalities, or is a plain one about one of them."""
    return {"audio", "video"} <= set(question.needs) or len(question.needs) == 1


def prepare(checkpoint, scenes: list[Scene], name: str, draws: int = 16, suitable=both_or_one,
            most: int | None = None) -> tuple:
    """Model, processor, questions as (clip, question), and chance, for `evaluate`.

    Args:
        name: of the random stream. draws: questions drawn for each scene; `most` of those that are
            `suitable` (scene, question) are asked.
    """
    asked = []
    for scene in scenes:
        drawn = draw_questions(scene, stream(name, scene.seed), draws)
        asked += [(str(scene.seed), q) for q in drawn if suitable(scene, q)][:most]
    chance = single_modality_chance({str(scene.seed): scene for scene in scenes})
    return *load_checkpoint(find_checkpoint(checkpoint)), asked, chance


def clips_of(scenes: list[Scene], processor) -> dict:
    """The clips of scenes, by name."""
    size, rate = processor.settings.image_size, processor.settings.frame_rate
    return {str(scene.seed): scene_clip(scene, size, rate) for scene in scenes}
