"""Exchangeable parts: each part has a name in a slot, and a `FavorConfig` holds one name per slot.

    @register("attention", "own_frame_and_first", causal=True)
    def own_frame_and_first(num_frames, step_tokens, device=None): ...

    FavorConfig.mini(..., attention="own_frame_and_first")

The modules of the mechanism register the paper's parts. Other parts come from the entry point
group `favor_mini.parts`, which is loaded when a name is not registered yet. One of its modules is
`favor_mini.lab.variants`. `favor_mini.lab.contract.check` tests a part against its slot.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

SLOTS = {  # slot: signature of its parts; docs/glossary.md explains the letters
    "sync": "f(visual, audio, frame_mask, audio_mask, *, audio_tokens)"
            " -> steps (B, T, P, D), real (B, T)",
    "windows": "f(steps, frame_mask, window_frames) -> windows (B * W, K * P, D), real (B * W, K)",
    "attention": "f(num_frames, step_tokens, device=None)"
                 " -> (K * P, K * P) bool over (query, key)",
    "connector": "a module with the constructor and forward of CausalQFormer and with"
                 " reset_parameters(); its maps hold the `encoded` inputs",
    "diversity": "f(queries (B * W, N, D), real (B * W,) or None) -> a scalar",
}
PAPER = {"sync": "concat", "windows": "sliding", "attention": "block_causal",
         "connector": "causal_qformer", "diversity": "mean_cosine"}  # slot: the paper's part
GROUP = "favor_mini.parts"  # entry points of modules that register parts


@dataclass(frozen=True)
class Part:
    """A registered part: `make` is the function or class; `causal` and `constant` are declared."""

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


def register(slot: str, name: str, *, causal: bool | None = None, constant: bool = False
             ) -> Callable:
    """Decorator that registers a function or class under a name.

    A notebook cell can run again: the part then replaces the one of the same module and name.

    Args:
        causal: True declares that no frame's encoding depends on a later frame, False that some
            do.
        constant: True declares that the output does not depend on the input, on purpose.

    Raises:
        ValueError: the slot does not exist, or another module's part has this name.
    """
    names(slot)  # raises if the slot does not exist

    def enter(make: Callable) -> Callable:
        old = _PARTS.get((slot, name))
        if old and (old.make.__module__, old.make.__qualname__) != (
                make.__module__, make.__qualname__):
            raise ValueError(f"{slot} {name!r} is {old.make.__module__}.{old.make.__qualname__} "
                             "already; choose another name")
        _PARTS[slot, name] = Part(slot, name, make, causal, constant)
        return make

    return enter


def part(slot: str, name: str) -> Part:
    """The part of this name.

    Raises:
        ValueError: the slot or the name does not exist; the message lists those that do.
    """
    names(slot)  # raises if the slot does not exist
    if (slot, name) not in _PARTS:
        for provider in entry_points(group=GROUP):  # a saved model can name a part of the lab
            provider.load()
    if (slot, name) not in _PARTS:
        raise ValueError(f"no {slot} {name!r}; there are {', '.join(names(slot))}. To add your "
                         f"own, use @register({slot!r}, {name!r}) and import its file first, or "
                         "pass the file to the command line (--parts FILE.py)")
    return _PARTS[slot, name]


def find(slot: str, name: str) -> Callable:
    """The function or class that is registered under this name; errors as in `part`."""
    return part(slot, name).make


def names(slot: str) -> list[str]:
    """The names in a slot: the paper's part first, then the others in the order of registration.

    Raises:
        ValueError: the slot does not exist.
    """
    if slot not in SLOTS:
        raise ValueError(f"no slot {slot!r}; the slots are {', '.join(SLOTS)}")
    return [PAPER[slot], *(n for s, n in _PARTS if s == slot and n != PAPER[slot])]
