"""What a comparison compares, and how: arms, seeds, steps, and parts of one's own."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..registry import SLOTS, part
from ..training.finetune import SHARES
from ..world.scene import COLOURS, SHAPES, THINGS, WORDS, Scene

# Fields of FavorConfig that an arm may set: they leave the frozen parts as they are.
FIELDS = (*SLOTS, "window_frames", "num_queries", "audio_width", "qformer_width", "qformer_layers", "qformer_heads",
          "qformer_hidden", "qformer_dropout", "diversity_weight", "lora_rank", "lora_alpha", "lora_dropout")
WITHOUT = "without"  # not of the config: an arm may leave things out of its training clips, "phone+heart+tiger"
POOL = 5  # so many times the training clips are drawn where an arm leaves something out, and the first that may be taken are


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Args:
        arms: changes to the config, one dict an arm; the first is what the others are held against. `without` names shapes,
            colours, things or words that no training clip of an arm may show or let hear; all arms train on as many clips. (Those
            that are left are a little poorer in events; what is asked about the rest tells how much that alone does.)
        fixed: changes that all arms share.
        seeds: how many times each arm is trained.
        steps: of training, in all stages together; None: as many as the first arm takes `minutes` for.
        clips: training clips. scenes, questions: validation scenes to ask about, and questions about each.
        tasks: train on the eleven tasks of `aveb` as well, about one clip in two, and ask these, of so many scenes each.
    """

    arms: list[dict] = field(metadata={"help": "one change to the config per arm, FIELD=VALUE[,...];"
                                       " the first arm is the baseline"})
    fixed: dict = field(default_factory=dict, metadata={
        "help": "changes to the config that all arms share, FIELD=VALUE[,...]"})
    seeds: int = field(default=5, metadata={"help": "how many times each arm is trained"})
    minutes: float = field(default=3.0, metadata={
        "help": "training time of the first arm; it sets the number of steps of all arms"})
    steps: int | None = field(default=None, metadata={
        "help": "training steps of each run, in all stages together; replaces minutes"})
    clips: int = field(default=1600, metadata={"help": "training clips"})
    batch: int = field(default=16, metadata={"help": "clips per training step"})
    lr: float = field(default=7e-4, metadata={"help": "peak learning rate"})
    scenes: int = field(default=60, metadata={"help": "test scenes to ask about"})
    questions: int = field(default=10, metadata={"help": "questions per test scene"})
    tasks: bool = field(default=False, metadata={
        "help": "train on the eleven benchmark tasks too, and ask these about so many scenes each"})

    def __post_init__(self):
        merged = [{**self.fixed, **arm} for arm in self.arms]
        if len(self.arms) < 2 or any(one == other for i, one in enumerate(merged) for other in merged[:i]):
            raise ValueError(f"a comparison needs at least two arms, all different; found {list(map(arm_name, self.arms))}")
        unknown = {name for changes in (*self.arms, self.fixed) for name in changes} - set(FIELDS) - {WITHOUT}
        if unknown:
            raise ValueError(f"an arm can't set {', '.join(sorted(unknown))}; choose among {', '.join((*FIELDS, WITHOUT))}")
        wrong = [name for name in ("seeds", "clips", "batch", "scenes", "questions") if getattr(self, name) < 1]
        if wrong or self.minutes <= 0:
            name = [*wrong, "minutes"][0]
            raise ValueError(f"{name}={getattr(self, name)}; it must be " + ("at least 1" if wrong else "above 0"))
        if self.steps is not None and self.steps < len(SHARES):
            raise ValueError(f"steps must be at least {len(SHARES)}, one a stage; found {self.steps}")
        for changes in self.arms:
            for slot, name in {**self.fixed, **changes}.items():
                if slot in SLOTS:
                    part(slot, name)  # an unknown name fails here, not an hour later
            left_out(changes)

    @property
    def pool(self) -> int:
        """Training clips to encode."""
        return self.clips * (POOL if any(WITHOUT in arm for arm in (*self.arms, self.fixed)) else 1)


def arm_name(changes: dict) -> str:
    """How an arm is called in tables: "attention=full"; "as shipped" where it changes nothing."""
    return ", ".join(f"{name}={value}" for name, value in changes.items()) or "as shipped"


def left_out(changes: dict) -> set[str]:
    """The names that an arm leaves out of its training clips.

    Raises:
        ValueError: a name is none of the mini world's.
    """
    names = set(filter(None, changes.get(WITHOUT, "").split("+")))
    if unknown := names - {*SHAPES, *COLOURS, *THINGS, *WORDS}:
        raise ValueError(f"no {sorted(unknown)[0]!r} in the mini world; {WITHOUT} takes shapes, colours, things and words, joined by +")
    return names


def named(scene: Scene) -> set[str]:
    """All shapes, colours, things and words that are seen or heard."""
    actors = [actor for m in scene.moments for actor in m.actors]
    return {name for a in actors for name in (a.name, a.colour, a.turns) if name} | {m.heard.name for m in scene.moments if m.heard}


def parse_changes(text: str) -> dict:
    """"window_frames=5,attention=full" -> {"window_frames": 5, "attention": "full"}; numbers where the config has numbers.

    Raises:
        ValueError: not of that form.
    """
    changes = {}
    for item in filter(None, text.split(",")):
        name, equals, value = (s.strip() for s in item.partition("="))
        if not (name and equals and value):
            raise ValueError(f"expected FIELD=VALUE, found {item!r} in {text!r}")
        try:
            changes[name] = value if name in (*SLOTS, WITHOUT) else int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError:
            raise ValueError(f"{name} wants a number, found {value!r}") from None
    return changes


def load_parts(file) -> None:
    """Run a Python file that registers parts.

    Raises:
        FileNotFoundError: there is none. ValueError: it failed; the message says where.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file}; --parts wants a Python file with @register(...) in it")
    spec = importlib.util.spec_from_file_location(f"parts of {Path(file).resolve()}", file)
    if spec is None:
        raise ValueError(f"{file} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that the source of what it defines can be found
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ValueError(f"{file} failed: {type(error).__name__}: {error}") from error
