"""Training datasets of encoded scenes: texts, conversations, or the words of each query."""

import json

from torch.utils.data import Dataset

from ..families import audio_tokens_per_step
from ..keys import digest
from ..processor import FavorProcessor
from .clauses import query_words
from .questions import draw_questions
from .rows import scene_of
from .scene import Scene, split_of, stream
from .tasks import TASKS, ask_all
from .transcript import DESCRIBE, transcript

DESCRIBE_SHARE = 0.25  # of the ordinary clips with both streams, asked for their transcript


class EncodedClips(Dataset):
    """Encoded clips, repeated until there are `count` items. Subclasses add the training targets.

    Item i is always the same, so that a resumed run sees the same data. In each epoch one clip in
    eight loses its audio, and one in eight its video, so that the model also learns from a single
    stream. Clips of an AVEB task already hold only the streams of the task.

    Args:
        encoded: media dictionaries from `rows.encode_scenes`.

    Raises:
        ValueError: a clip belongs to another split than "train".
    """

    def __init__(self, encoded: list[dict], count: int):
        outside = [e["seed"] for e in encoded if split_of(e["seed"]) != "train"]
        if outside:
            raise ValueError(f"scene {outside[0]} belongs to the split {split_of(outside[0])!r}, "
                             "expected 'train'. Encode scenes with seeds from SPLITS['train']")
        self.encoded, self.count = encoded, count

    def __len__(self) -> int:
        return self.count

    def clip(self, i: int) -> tuple[dict, Scene, str | None]:
        """The media dictionary of item i, its scene, and the missing stream, or None."""
        example = self.encoded[i % len(self.encoded)]
        if "task" in example:
            return {**example}, scene_of(example), TASKS[example["task"]].missing
        epoch, place = divmod(i, len(self.encoded))
        missing = {6: "audio", 7: "video"}.get((place + epoch) % 8)  # other clips in each epoch
        features, count = {"audio": ("audio_features", "audio_tokens"),
                           "video": ("visual_features", "num_frames")}.get(missing, (None, None))
        media = {key: 0 if key == count else value
                 for key, value in example.items() if key != features}
        return media, scene_of(example), missing

    @property
    def identity(self) -> str:
        """A digest of the items, for `training.trainer.fit`."""
        clips = [[e["seed"], e.get("task")] for e in self.encoded]
        return digest(json.dumps([type(self).__name__, clips]).encode())

    @property
    def lengths(self) -> list[int]:
        """Time steps of each item at 2 frames a second, to batch items of similar length."""
        tokens = audio_tokens_per_step(2.0)
        steps = [max(e["num_frames"], e["audio_tokens"] // tokens) for e in self.encoded]
        return [steps[i % len(steps)] for i in range(self.count)]


class ToldClips(EncodedClips):
    """Clips with `text`, the transcript of what they show and play (stage "align")."""

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        return {**media, "text": transcript(scene, missing=missing)}


class NamedClips(EncodedClips):
    """Clips with `words`, the targets of each query (stage "name")."""

    def __init__(self, encoded: list[dict], count: int, processor: FavorProcessor):
        super().__init__(encoded, count)
        self.processor = processor

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        words, _ = query_words(scene, self.processor, self.processor.num_steps(media), missing)
        return {**media, "words": words}


class Dialogues(EncodedClips):
    """Clips with `text` and `turns`, (question, answer) pairs, drawn again in each epoch.

    Args:
        questions: number of questions in a conversation.
        describe: the share of the ordinary clips with both streams that are asked for their
            transcript instead.
    """

    def __init__(self, encoded: list[dict], count: int, questions: int = 8, describe: float = 0.0):
        super().__init__(encoded, count)
        self.questions, self.describe = questions, describe

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        media["text"] = transcript(scene, missing=missing)
        rng = stream("training questions", scene.seed, i // len(self.encoded))
        turns, more = [], self.questions
        if "task" in media:
            examples = ask_all(scene, rng, missing)[: self.questions]
            turns = [(e.question, e.answers[0]) for e in examples]
            more = self.questions - len(turns) if len(scene.moments) > 1 else 0
        elif rng.random() < self.describe and not missing:
            return {**media, "turns": [(DESCRIBE, transcript(scene))]}
        turns += [(q.text, q.answer) for q in
                  draw_questions(scene, rng, more, reworded=True, missing=missing)]
        return {**media, "turns": turns}


class SceneRows:
    """Encoded scenes as the data of all stages of `training.finetune`.

    Args:
        encoded: media dictionaries from `rows.encode_scenes`, of the split "train".
    """

    def __init__(self, encoded: list[dict]):
        self.encoded = encoded

    def dataset(self, stage: str, count: int, processor: FavorProcessor) -> EncodedClips:
        """`count` items for a stage: texts ("align"), or conversations ("ask")."""
        if stage == "align":
            return ToldClips(self.encoded, count)
        return Dialogues(self.encoded, count, describe=DESCRIBE_SHARE)
