"""Datasets of encoded scenes for the stages of training: words for each query, or conversations."""

import json

import numpy as np
from torch.utils.data import Dataset

from ..keys import digest
from ..processor import FavorProcessor
from .clauses import query_words
from .questions import choose
from .rows import scene_of
from .scene import Scene, split_of
from .tasks import TASKS, ask_all
from .transcript import DESCRIBE, transcript

# Share of the ordinary clips with both streams whose transcript is asked for.
DESCRIBE_SHARE = {"align": 1.0, "ask": 0.25}


class EncodedClips(Dataset):
    """Encoded clips, over and over up to `count` items. Subclasses add to each what there is to learn about it.

    Item i is always the same, so that a resumed run sees what an uninterrupted one would have seen. Every eighth lacks its
    sound, the one after it its pictures, so that either alone can be asked about, too.

    Clips of a task of `aveb` hold what that task lets perceive, and nothing is taken from them.

    Args:
        encoded: media dictionaries from `features.encode_scenes`; every seed must belong to the training split.

    Raises:
        ValueError: a clip belongs to another split than "train".
    """

    def __init__(self, encoded: list[dict], count: int):
        outside = [e["seed"] for e in encoded if split_of(e["seed"]) != "train"]
        if outside:
            raise ValueError(f"scene {outside[0]} belongs to the split {split_of(outside[0])!r}; train on 'train' only")
        self.encoded, self.count = encoded, count

    def __len__(self) -> int:
        return self.count

    def clip(self, i: int) -> tuple[dict, Scene, str | None]:
        """Item i's media dictionary, its scene, and the stream that is missing: "audio", "video" or None."""
        example = self.encoded[i % len(self.encoded)]
        if "task" in example:
            return example, scene_of(example), TASKS[example["task"]].missing
        epoch, place = divmod(i, len(self.encoded))
        missing = {6: "audio", 7: "video"}.get((place + epoch) % 8)  # other clips in each epoch
        gone, count = {"audio": ("audio_features", "audio_tokens"), "video": ("visual_features", "num_frames"),
                       None: (None, None)}[missing]
        media = {key: 0 if key == count else value for key, value in example.items() if key != gone}
        return media, scene_of(example), missing

    @property
    def identity(self) -> str:
        """A name made of what the items are."""
        clips = [[e["seed"], e.get("task")] for e in self.encoded]
        return digest(json.dumps([type(self).__name__, clips]).encode())

    @property
    def lengths(self) -> list[int]:
        """Time steps of each item: what its cost depends on, so that batches can be made of like lengths."""
        steps = [max(e["num_frames"], e["audio_tokens"] // 25) for e in self.encoded]  # 25 in a frame, at 2 frames a second
        return [steps[i % len(steps)] for i in range(self.count)]


class NamedClips(EncodedClips):
    """Clips with the words that their queries should name."""

    def __init__(self, encoded: list[dict], count: int, processor: FavorProcessor):
        super().__init__(encoded, count)
        self.processor = processor

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        return {**media, "words": query_words(scene, self.processor, self.processor.num_steps(media), missing)[0]}


class Dialogues(EncodedClips):
    """Clips with freshly drawn questions, or with the request to describe the clip; clips of a task with what the tasks ask.

    Args:
        questions: asked of each clip, one after another in one conversation.
        describe: the share of the ordinary items with both streams that ask for the transcript instead.
    """

    def __init__(self, encoded: list[dict], count: int, questions: int = 8, describe: float = 0.0):
        super().__init__(encoded, count)
        self.questions, self.describe = questions, describe

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        rng = np.random.default_rng([scene.seed, i // len(self.encoded), 41])
        if "task" in media:
            turns = [(e.question, e.answers[0]) for e in ask_all(scene, rng, missing)][: self.questions]
            more = self.questions - len(turns) if len(scene.moments) > 1 else 0
            turns += [(q.text, q.answer) for q in choose(scene, rng, more, reword_them=True, missing=missing)]
        elif rng.random() < self.describe and not missing:
            turns = [(DESCRIBE, transcript(scene))]
        else:
            turns = [(q.text, q.answer) for q in choose(scene, rng, self.questions, reword_them=True, missing=missing)]
        return {**media, "turns": turns}


class SceneRows:
    """Encoded scenes as rows to train on, for `training.finetune`.

    Args:
        encoded: media dictionaries from `world.rows.encode_scenes`, of the training split.
    """

    def __init__(self, encoded: list[dict]):
        self.encoded = encoded

    def dataset(self, stage: str, count: int, processor: FavorProcessor) -> EncodedClips:
        """`count` items of a stage: with the words of each query ("name"), or with a conversation ("align", "ask")."""
        if stage == "name":
            return NamedClips(self.encoded, count, processor)
        return Dialogues(self.encoded, count, describe=DESCRIBE_SHARE[stage])
