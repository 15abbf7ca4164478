"""Find, identify and load a checkpoint."""

from pathlib import Path

from ..keys import digest, part_digest


def find_checkpoint(folder=None) -> Path:
    """The folder of a checkpoint, by default the one that ships with the package.

    Raises:
        FileNotFoundError: there is no checkpoint in it.
    """
    from .. import checkpoint_path

    path = checkpoint_path() if folder is None else Path(folder)
    lacking = [name for name in ("config.json", "model.safetensors", "favor_processor.json") if not (path / name).exists()]
    if lacking:
        mend = "name a folder that save_pretrained of model and processor wrote" if folder is not None else \
            "it ships with the package; make it anew with `favor-mini train all`, or name another with --checkpoint DIR"
        raise FileNotFoundError(f"no checkpoint in {path}: {lacking[0]} is missing; {mend}")
    return path


def checkpoint_digest(folder) -> str:
    """The cache key of what a checkpoint answers: its weights, configs and tokenizers, and the code
    of the registered parts that its config names."""
    from ..config import FavorConfig
    from ..registry import SLOTS, find

    files = [file for file in sorted(Path(folder).rglob("*")) if file.suffix in (".json", ".safetensors")
             and file.stem not in ("log", "familiarity") and "run" not in file.relative_to(folder).parts]
    config = FavorConfig.from_pretrained(folder)
    parts = [part_digest(find(slot, getattr(config, slot))).encode() for slot in SLOTS]
    return digest(*(file.read_bytes() for file in files), *parts)


def load_checkpoint(folder) -> tuple:
    """Model (in evaluation mode) and processor from a folder, without transformers' progress bars."""
    from transformers.utils import logging

    from ..model import FavorForConditionalGeneration
    from ..processor import FavorProcessor

    logging.disable_progress_bar()
    return FavorForConditionalGeneration.from_pretrained(folder).eval(), FavorProcessor.from_pretrained(folder)
