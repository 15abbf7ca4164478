"""Find, identify and load a checkpoint."""

from pathlib import Path

from ..keys import digest, file_digest, part_digest

STORED = {".json", ".safetensors", ".bin", ".model", ".txt"}  # weights, configs and tokenizers


def find_checkpoint(folder=None) -> Path:
    """The folder of a checkpoint.

    Args:
        folder: None: "mini". A name in `favor_mini.CHECKPOINTS` means a shipped checkpoint, unless
            there is a folder of that name.

    Raises:
        FileNotFoundError: the folder does not hold a checkpoint.
    """
    from .. import CHECKPOINTS, checkpoint_path

    path = checkpoint_path() if folder is None else Path(folder)
    if folder in CHECKPOINTS and not path.is_dir():
        path = checkpoint_path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}, expected a checkpoint. Fix: name its folder, "
                                f"or one that ships: {', '.join(CHECKPOINTS)}")
    for name in ("config.json", "model.safetensors", "favor_processor.json"):
        # The weights of a large model are several files and their index.
        if not (path / name).exists() and not (path / f"{name}.index.json").exists():
            fix = "name a folder that save_pretrained of model and processor wrote" if folder else \
                "name one with --checkpoint DIR; `favor-mini train all` writes build/make/favor"
            raise FileNotFoundError(f"no checkpoint in {path}: {name} is missing. Fix: {fix}")
    return path


def checkpoint_digest(folder) -> str:
    """The cache key of what a checkpoint answers: its weights, configs and tokenizers, and the code
    of the registered parts that its config names."""
    from .. import model  # noqa: F401  it registers the paper's parts
    from ..config import FavorConfig
    from ..registry import SLOTS, find

    files = [file for file in sorted(Path(folder).rglob("*"))
             if file.suffix in STORED and file.stem not in ("log", "familiarity", "questions")
             and "run" not in file.relative_to(folder).parts]
    config = FavorConfig.from_pretrained(folder)
    parts = [part_digest(find(slot, getattr(config, slot))) for slot in SLOTS]
    return digest(*(key.encode() for key in [*map(file_digest, files), *parts]))


def load_checkpoint(folder, device=None) -> tuple:
    """The model, in evaluation mode, and the processor of a checkpoint.

    Args:
        device: of the model; None: the GPU if there is one, else the CPU.

    Raises:
        ValueError: a file is damaged, or one that the folder needs is missing.
        OSError: a file cannot be opened.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    from ..model import FavorForConditionalGeneration
    from ..processor import FavorProcessor

    logging.disable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = FavorForConditionalGeneration.from_pretrained(folder).eval().to(device)
    except SafetensorError as error:
        raise ValueError(f"{folder}: its weights (*.safetensors) cannot be read: {error}. Fix: "
                         "copy the folder again; a file may be cut off") from error
    try:
        return model, FavorProcessor.from_pretrained(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: its tokenizer or its settings cannot be read: "
                         f"{str(error).splitlines()[0].rstrip(':. ')}. Fix: copy the folder again, "
                         "whole; tokenizer.json may be missing or damaged") from error
