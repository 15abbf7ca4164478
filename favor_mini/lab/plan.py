"""The plan of a comparison: its arms, seeds, steps and questions; and files with your own parts."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..pretraining.recipes import DEFAULT, Recipe, find_recipe
from ..registry import SLOTS, part
from ..world.scene import COLOURS, SHAPES, THINGS, WORDS, Scene

# Fields of FavorConfig that an arm may set. They do not concern the frozen parts.
FIELDS = (*SLOTS, "window_frames", "num_queries", "audio_width", "qformer_width", "qformer_layers",
          "qformer_heads", "qformer_hidden", "qformer_dropout", "diversity_weight", "lora_rank",
          "lora_alpha", "lora_dropout")
# No field of the config: names that no training clip of an arm may contain, "phone+heart+tiger".
WITHOUT = "without"
RECIPE = "recipe"  # nor this one: the name of the arm's training recipe, `pretraining.recipes`
POOL = 5  # With WITHOUT in a plan, so many times its training clips are encoded, to choose from.


def _option(default: Any, text: str) -> Any:
    """A field with the help text that the command line prints."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Args:
        arms: changes to the config, one dict per arm. `without` names shapes, colours, things or
            words that no training clip of the arm may show or play. All arms train on the same
            number of clips. (Clips without them have fewer events on average; the questions about
            the rest show how much that alone changes.) `recipe` names how an arm is trained.
        tasks: on average, every other training clip then belongs to a benchmark task (`aveb`).
        file: clips, scenes, questions and tasks do not count then.
    """

    arms: list[dict] = field(metadata={
        "help": "changes to the config, one per arm, FIELD=VALUE[,...]; the first is the baseline"})
    fixed: dict = field(default_factory=dict, metadata={
        "help": "changes to the config that all arms share, FIELD=VALUE[,...]"})
    seeds: int = _option(5, "how many times each arm is trained")
    minutes: float = _option(3.0, "training time of the first arm; it sets the steps of all arms")
    steps: int | None = _option(None, "training steps, in all stages together; replaces minutes")
    clips: int = _option(1600, "training clips")
    batch: int = _option(16, "clips per training step")
    lr: float = _option(7e-4, "peak learning rate")
    scenes: int = _option(60, "test scenes to ask about")
    questions: int = _option(10, "questions per test scene")
    tasks: bool = _option(False, "train on the eleven benchmark tasks, too, and ask only these")
    file: str | None = _option(None, "rows to train on, in place of the mini world")
    validation: str | None = _option(None, "rows of other clips to ask about, with --file")
    media_root: str = _option("media", "folder of the media of both files")

    def __post_init__(self):
        merged = [{**self.fixed, **arm} for arm in self.arms]
        if len(merged) < 2 or any(one in merged[:i] for i, one in enumerate(merged)):
            raise ValueError("a comparison needs at least two arms, all different; found "
                             f"{list(map(arm_name, self.arms))}")
        known = (*FIELDS, WITHOUT, RECIPE)
        if unknown := set().union(*merged) - {*known}:
            raise ValueError(f"an arm cannot set {', '.join(sorted(unknown))}. "
                             f"Fix: choose among {', '.join(known)}")
        for name in ("seeds", "clips", "batch", "scenes", "questions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.minutes <= 0:
            raise ValueError(f"minutes is {self.minutes}; it must be above 0")
        if (self.file is None) != (self.validation is None):
            raise ValueError("found one of file and validation. Fix: name both, of different clips")
        for changes in merged if self.file else ():
            if WITHOUT in changes or self.recipe(changes).labelled:
                raise ValueError(f"found the arm {arm_name(changes)} with rows of your own. Fix: "
                                 "leave out what needs the scripts of the mini world")
        stages = max(len(self.recipe(changes).stages) for changes in merged)
        if self.steps is not None and self.steps < stages:
            raise ValueError(f"steps is {self.steps}; it must be at least {stages}, one per stage")
        for changes in merged:
            for slot in filter(changes.get, SLOTS):
                part(slot, changes[slot])  # an unknown name fails here, not an hour later
            left_out(changes)

    def recipe(self, arm: dict) -> Recipe:
        """How an arm is trained."""
        usual = "aligned" if self.file else DEFAULT
        return find_recipe({**self.fixed, **arm}.get(RECIPE, usual))

    @property
    def pool(self) -> int:
        """Training clips to encode."""
        return self.clips * (POOL if any(WITHOUT in c for c in (*self.arms, self.fixed)) else 1)


def arm_name(changes: dict) -> str:
    """The name of an arm in tables: "attention=full", or "as shipped" without changes."""
    return ", ".join(f"{name}={value}" for name, value in changes.items()) or "as shipped"


def left_out(changes: dict) -> set[str]:
    """The names that must not occur in an arm's training clips.

    Raises:
        ValueError: a name does not exist in the mini world.
    """
    names = set(filter(None, changes.get(WITHOUT, "").split("+")))
    if unknown := names - {*SHAPES, *COLOURS, *THINGS, *WORDS}:
        raise ValueError(f"no {sorted(unknown)[0]!r} in the mini world. Fix: join names of shapes, "
                         f"colours, things and words by +, as in {WITHOUT}=phone+heart")
    return names


def scene_names(scene: Scene) -> set[str]:
    """All shapes, colours, things and words that a scene shows or plays."""
    actors = [actor for m in scene.moments for actor in m.actors]
    visible = {name for a in actors for name in (a.name, a.colour, a.turns) if name}
    return visible | {m.heard.name for m in scene.moments if m.heard}


def parse_changes(text: str, words: tuple[str, ...] = (*SLOTS, WITHOUT, RECIPE)) -> dict:
    """"window_frames=5,attention=full" -> {"window_frames": 5, "attention": "full"}.

    words: fields whose values are text; those of all others are numbers.

    Raises:
        ValueError: the text does not have that form, or a field that is a number gets none.
    """
    changes = {}
    for item in filter(None, text.split(",")):
        name, _, value = (s.strip() for s in item.partition("="))
        if not (name and value):
            raise ValueError(f"found {item!r} in {text!r}, expected FIELD=VALUE")
        try:
            changes[name] = (value if name in words else
                             int(value) if value.lstrip("-").isdigit() else float(value))
        except ValueError:
            known = f" Fields that take a name: {', '.join(words)}." if words else ""
            raise ValueError(f"found {name}={value!r}, expected a number.{known}") from None
    return changes


def load_parts(file) -> None:
    """Run a Python file that registers parts.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a Python file, or it failed.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"no file {file}. Fix: name a Python file that calls @register")
    spec = importlib.util.spec_from_file_location(f"parts of {path.resolve()}", path)
    if spec is None:
        raise ValueError(f"{file} is not a Python file. Fix: its name must end in .py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # for `inspect`
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ValueError(f"{file} failed: {type(error).__name__}: {error}") from error
