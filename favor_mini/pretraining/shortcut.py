"""The recipe with a label for every output query, which only the mini world allows.

*name*: each query learns the words for its part of the window (`world.naming`). *align*: the
language model writes the transcript. *ask*: it answers questions. At higher rates the later stages
undo what "name" has learned. `training.finetune.STAGES` is the recipe for any data.
"""

from ..processor import FavorProcessor
from ..training.finetune import Stage
from ..world.lessons import Dialogues, EncodedClips, NamedClips, SceneRows
from ..world.naming import Naming, collate_names

NAMED_STAGES = {
    "name": Stage(lambda model, processor: Naming(model), collate_names),
    "align": Stage(lambda model, processor: model, FavorProcessor.collate, rate=0.1),
    "ask": Stage(lambda model, processor: model, FavorProcessor.collate, rate=0.05),
}
NAMED_SHARES = {"name": 0.8, "align": 0.1, "ask": 0.1}  # fraction of the training steps


class NamedRows(SceneRows):
    """Encoded scenes as the data of `NAMED_STAGES`."""

    def dataset(self, stage: str, count: int, processor: FavorProcessor) -> EncodedClips:
        if stage == "name":
            return NamedClips(self.encoded, count, processor)
        if stage == "align":
            return Dialogues(self.encoded, count, describe=1.0)
        return super().dataset(stage, count, processor)
