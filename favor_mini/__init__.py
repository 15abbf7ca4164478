"""favor_mini: FAVOR (arXiv 2310.05863), an audio-visual language model, in a small size.

A file imports only from its own row or from earlier rows:

    auto storage places keys machine card
                                        files and where they go, cache keys, the machine, cards
    compat registry shapes config context hub prompts processor encoders sync windows attention
        qformer losses language output pretrained generation model learned released
                                        the mechanism, in the order of the data
    media data training evaluation      read clips, encode them, learn from them, score answers
    world pretraining aveb              the mini world, the shipped parts, the benchmark
    lab figures course apps             comparisons, figures, exercises, command line

`import favor_mini` imports no heavy library; the names below are imported when they are first used.
After it, transformers' `AutoConfig`, `AutoProcessor` and `AutoModelForMultimodalLM` know FAVOR.
"""

import importlib
import os
from pathlib import Path

from . import auto, places

__version__ = "0.1.0"

_MODULES = {  # name: module that defines it
    "Clip": "media.clip", "MediaError": "media.clip", "clip_from_arrays": "media.clip",
    "read_clip": "media.read", "iter_clips": "media.read",
    "synchronise": "sync", "split_windows": "windows", "join_windows": "windows",
    "num_windows": "windows", "CausalQFormer": "qformer", "diversity_loss": "losses",
    "FavorConfig": "config", "FavorForConditionalGeneration": "model",
    "FavorProcessor": "processor", "save_learned": "learned", "load_learned": "learned",
}
_ALIASES = {"fold": "split_windows", "unfold": "join_windows"}  # earlier names
__all__ = [*_MODULES, *_ALIASES, "checkpoint_path", "data_path"]


auto.register_with_transformers()
places.move_caches()


def __getattr__(name: str):
    name = _ALIASES.get(name, name)
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# The shipped checkpoints. "mini" was trained with a label for each query, which only the mini world
# has; "label-free" from clips and their texts alone, as on any data. It answers less well.
# "one-run" is as "label-free", but its encoders and language model, too, are of the same run.
CHECKPOINTS = ("mini", "label-free", "one-run")


def checkpoint_path(name: str = "mini") -> Path:
    """The folder of a shipped checkpoint, for `from_pretrained` of model and processor.

    Raises:
        ValueError: `name` is not in `CHECKPOINTS`.
    """
    if name not in CHECKPOINTS:
        raise ValueError(f"no shipped checkpoint {name!r}. Fix: choose among "
                         f"{', '.join(CHECKPOINTS)}")
    return Path(__file__).parent / "checkpoints" / name


def data_path(*parts: str) -> Path:
    """A path in `data_samples`, which the repository and the wheel hold.

    The first of these that is there: the folder that FAVOR_MINI_DATA names, and then no other; that
    of the clone; that next to `notebooks` in the working folder or above it; that of the wheel.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    for folder in _sample_folders():
        if folder.is_dir():
            return folder.joinpath(*parts)
    raise FileNotFoundError(
        f"no folder {folder}; the sample clips and spoken words are part of the course: unpack it "
        "with `favor-mini class setup DIR` and work in DIR, or set FAVOR_MINI_DATA to its "
        "data_samples")


def _sample_folders():
    if named := os.environ.get("FAVOR_MINI_DATA"):
        yield Path(named)
        return
    package = Path(__file__).parent
    yield package.parent / "data_samples"
    here = Path.cwd()
    for above in (here, *here.parents):
        if (above / "notebooks").is_dir():
            yield above / "data_samples"
    yield package / "_course" / "data_samples"
