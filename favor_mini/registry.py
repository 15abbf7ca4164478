"""Parts of the mechanism that can be exchanged: each is registered under a name in a slot, and a config holds the names.

    @register("attention", "own_frame_and_first", causal=True)
    def own_frame_and_first(num_frames, step_tokens, device=None): ...

    FavorConfig.mini(..., attention="own_frame_and_first")

The mechanism registers the paper's parts where they are defined; `favor_mini.lab` adds the others that ship, and is imported
where a config names one of those. A part of your own needs no change to the package, and `lab.contract.check` tells whether it
keeps what its slot promises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

SLOTS = {  # slot: what is registered in it
    "sync": "f(visual, audio, frame_mask, audio_mask, *, audio_tokens) -> steps (B, T, P, D), real (B, T)",
    "windows": "f(steps, frame_mask, window_frames) -> windows (B * W, K * P, D), real (B * W, K)",
    "attention": "f(num_frames, step_tokens, device=None) -> (K * P, K * P) bool over (looking token, seen token)",
    "connector": "a module built and called like CausalQFormer, with reset_parameters(); its maps hold what was `encoded`",
    "diversity": "f(queries (B * W, N, D), real (B * W,) or None) -> a scalar",
}


@dataclass(frozen=True)
class Part:
    """A registered part: `make` is the function or class itself; `causal` and `constant` are what `register` was told."""

    slot: str
    name: str
    make: Callable
    causal: bool | None
    constant: bool

    @property
    def about(self) -> str:
        """The first paragraph of its docstring."""
        return " ".join((self.make.__doc__ or "").strip().split("\n\n")[0].split())


_PARTS: dict[tuple[str, str], Part] = {}


def register(slot: str, name: str, *, causal: bool | None = None, constant: bool = False) -> Callable:
    """Decorator: enter a function or class under a name. To run a notebook cell again replaces what it entered before.

    Args:
        causal: declares that no frame's encoding depends on a later frame (True), or that some do (False).
        constant: declares that it takes no notice of its input, on purpose.

    Raises:
        ValueError: there is no such slot, or the name belongs to a part from elsewhere.
    """
    names(slot)  # the paper's part comes first

    def enter(make: Callable) -> Callable:
        known = _PARTS.get((slot, name))
        if known and (known.make.__module__, known.make.__qualname__) != (make.__module__, make.__qualname__):
            raise ValueError(f"{slot} {name!r} is {known.make.__module__}.{known.make.__qualname__} already; choose another name")
        _PARTS[slot, name] = Part(slot, name, make, causal, constant)
        return make

    return enter


def part(slot: str, name: str) -> Part:
    """The part of this name; a ValueError that lists the names where there is none."""
    if name not in names(slot):
        for provider in entry_points(group="favor_mini.parts"):  # a saved model with a variant that ships needs no import
            provider.load()
    if name not in names(slot):
        raise ValueError(f"no {slot} {name!r}; there are {', '.join(names(slot))}. @register({slot!r}, {name!r}) adds one of "
                         "your own: import the file that holds it first, or name it to the command line (--parts FILE.py)")
    return _PARTS[slot, name]


def find(slot: str, name: str) -> Callable:
    """What is registered under this name: the function or class itself."""
    return part(slot, name).make


def names(slot: str) -> list[str]:
    """The names registered in a slot, in the order in which they came; the paper's part is the first.

    Raises:
        ValueError: there is no such slot.
    """
    if slot not in SLOTS:
        raise ValueError(f"no slot {slot!r}; the slots are {', '.join(SLOTS)}")
    return [n for s, n in _PARTS if s == slot]
