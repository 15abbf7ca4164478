"""favor_mini: frame-level audio-visual synchronisation, a causal Q-Former and LoRA, small enough to read and to train.

The files, in the order in which data flows: media (with media_film below it), processor, encoders, sync, windows, attention,
qformer, losses, model; then naming, training, evaluation. Importing this package imports none of the heavy libraries; names
are looked up on first use.
"""

import importlib
import os
from pathlib import Path

__version__ = "0.1.0"

_HOME = {
    "Clip": "media.clip", "MediaError": "media.clip", "clip_from_arrays": "media.clip",
    "read_clip": "media.read", "iter_clips": "media.read",
    "synchronise": "sync", "split_windows": "windows", "join_windows": "windows", "num_windows": "windows",
    "fold": "windows", "unfold": "windows",  # the names until version 0.1
    "CausalQFormer": "qformer", "diversity_loss": "losses", "FavorConfig": "config",
    "FavorForConditionalGeneration": "model", "FavorProcessor": "processor",
}
__all__ = [*_HOME, "checkpoint_path", "data_path"]


def __getattr__(name: str):
    if name in _HOME:
        new = {"fold": "split_windows", "unfold": "join_windows"}.get(name, name)
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), new)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def checkpoint_path() -> Path:
    """The folder of the checkpoint that ships with the package, for the `from_pretrained` of model and processor."""
    return Path(__file__).parent / "checkpoints" / "mini"


def data_path(*parts: str) -> Path:
    """A path under `data_samples`, which lies beside the package in a checkout; FAVOR_MINI_DATA names another place.

    Raises FileNotFoundError where there is no such folder.
    """
    folder = Path(os.environ.get("FAVOR_MINI_DATA") or Path(__file__).parent.parent / "data_samples")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: the sample clips and spoken words come with a checkout of the "
                                "repository; install with `pip install -e .` or set FAVOR_MINI_DATA to data_samples")
    return folder.joinpath(*parts)
