"""The recipes of the mini world by name, for comparisons.

    favor-mini compare --vary recipe=aligned,align,ask,named

All but "named" learn from a clip and its texts alone, as on any data.
"""

from dataclasses import dataclass

from ..processor import FavorProcessor
from ..training.finetune import SHARES, STAGES, Stage, steps_per_stage
from ..world.lessons import SceneRows
from .shortcut import NAMED_SHARES, NAMED_STAGES, NamedRows


@dataclass(frozen=True)
class Recipe:
    """Stages in the order of training, the share of the steps of each, and their data.

    about: what the stages teach, for reports.
    """

    about: str
    stages: dict[str, Stage]
    shares: dict[str, float]
    rows: type[SceneRows] = SceneRows

    @property
    def labelled(self) -> bool:
        """Whether it needs labels that only the mini world has."""
        return self.rows is not SceneRows

    def steps(self, count: int) -> dict[str, int]:
        """`count` training steps, divided among the stages."""
        return steps_per_stage(count, self.shares)


def _questions(rate: float = 1.0, lora_rate: float = 1.0) -> Stage:
    """Questions alone: nothing keeps, or makes, the queries spell."""
    return Stage(lambda model, processor: model, FavorProcessor.collate, rate, lora_rate)


ASK = STAGES["ask"]
SPELL = "Stage align: the queries of a clip learn to spell its text, in the order of time."
ANSWER = "Stage ask: the model answers questions."
RECIPES = {
    "aligned": Recipe(f"{SPELL} {ANSWER}", STAGES, SHARES),
    "align": Recipe(SPELL, {"align": STAGES["align"]}, {"align": 1.0}),
    "ask": Recipe(ANSWER, {"ask": _questions()}, {"ask": 1.0}),
    "unkept": Recipe(f"{SPELL} {ANSWER} Nothing keeps the spelling then.",
                     {**STAGES, "ask": _questions(ASK.rate, ASK.lora_rate)}, SHARES),
    "named": Recipe("Stage name: each query learns to name what its part of the window contains, "
                    "with labels that only the mini world has. Stage align: the model writes the "
                    f"whole transcript of a clip. {ANSWER}", NAMED_STAGES, NAMED_SHARES, NamedRows),
}
DEFAULT = "named"  # the recipe of the shipped checkpoint and of the shipped experiments


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}. Fix: choose among {', '.join(RECIPES)}")
    return RECIPES[name]
