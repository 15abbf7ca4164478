"""What was trained, alone: connector and LoRA in one small file, without the frozen parts."""

import inspect
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from .config import FavorConfig
from .keys import weights_digest
from .model import FavorForConditionalGeneration
from .storage import atomic_write

WEIGHTS = "learned.safetensors"
LISTED = 5  # names in an error message
# Fields of `FavorConfig` that do not change what connector and LoRA compute: of the training alone,
# or of the frozen parts, whose weights have a digest of their own.
OTHER = ("audio_config", "vision_config", "visual_qformer_config", "language_config", "conv_stem",
         "qformer_dropout", "lora_dropout", "diversity", "diversity_weight", "placeholder_id")


def learned_settings(config: FavorConfig) -> dict:
    """The fields of a config that connector and LoRA depend on."""
    fields = list(inspect.signature(FavorConfig.__init__).parameters)[1:-1]
    return {name: getattr(config, name) for name in fields if name not in OTHER}


def learned_weights(model: FavorForConditionalGeneration) -> dict[str, Tensor]:
    """The tensors of connector and LoRA, by their names in the model."""
    return {name: tensor for name, tensor in model.state_dict().items()
            if name.split(".")[0] in model.CONNECTOR or "lora_" in name}


def frozen_digests(model: FavorForConditionalGeneration) -> dict[str, str]:
    """The digest of the weights of each frozen part, LoRA left out."""
    parts = {}
    for part, module in model.frozen_modules().items():
        state = {name.replace(".base_layer", ""): tensor  # as LoRA's library renames what it adapts
                 for name, tensor in module.state_dict().items() if "lora_" not in name}
        parts[part] = weights_digest(state)
    return parts


def save_learned(model: FavorForConditionalGeneration, folder) -> Path:
    """Write connector and LoRA to `learned.safetensors` in a folder; returns the file.

    The file says in JSON what it belongs to: the fields of the config that matter, and the digest
    of each frozen part.

    Raises:
        OSError: the file cannot be written.
    """
    return write_learned(learned_weights(model), model.config, frozen_digests(model), folder)


def write_learned(tensors: dict[str, Tensor], config: FavorConfig, frozen: dict | None, folder
                  ) -> Path:
    """`save_learned` for tensors by name; `frozen` is None if the frozen parts are not known."""
    file = Path(folder) / WEIGHTS
    belongs = {"settings": learned_settings(config), "frozen": frozen}
    if frozen:  # of this language model's vocabulary
        belongs["settings"]["placeholder_id"] = config.placeholder_id
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(file) as temporary:
        temporary.write_bytes(save(tensors, metadata={"favor": json.dumps(belongs)}))
    return file


def read_learned(folder) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a saved connector and LoRA, and what they belong to.

    Returns:
        tensors by name, and `settings` (see `learned_settings`) with `frozen` (digests or None).
        `from_parts(..., **settings)` makes a model that they fit.

    Raises:
        OSError: the folder has no `learned.safetensors`.
        ValueError: the file was not written by `save_learned`.
    """
    file = Path(folder) / WEIGHTS
    if not file.is_file():
        raise OSError(f"{folder} holds no {WEIGHTS}; expected a folder that save_learned or "
                      "`favor-mini convert` wrote")
    try:
        with safe_open(file, "pt") as stored:
            belongs = json.loads(stored.metadata()["favor"])
        tensors = load_file(file)
        return tensors, {name: belongs[name] for name in ("settings", "frozen")}
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error!r}; expected a file that save_learned "
                         "wrote. Fix: save it again") from error


@torch.no_grad()
def load_learned(model: FavorForConditionalGeneration, folder, *, any_frozen: bool = False) -> None:
    """Load connector and LoRA that `save_learned` wrote into a model, in place.

    Args:
        any_frozen: also load them onto other frozen weights than they were trained with, or if the
            file does not know with which. The shapes must fit.

    Raises:
        OSError: the folder has no `learned.safetensors`.
        ValueError: tensors are missing, left over or of another shape; the config differs in a
            field that matters; or the frozen parts are others.
    """
    tensors, belongs = read_learned(folder)
    target = learned_weights(model)
    check_tensors(tensors, {name: tensor.shape for name, tensor in target.items()}, str(folder))
    here = json.loads(json.dumps(learned_settings(model.config)))
    other = [f"{name}={stored!r} (this model: {here[name]!r})"
             for name, stored in belongs["settings"].items() if stored != here.get(name, stored)]
    if other:
        raise ValueError(f"{folder} belongs to a model with {', '.join(other)}. Fix: make this "
                         "model with the same settings")
    if not any_frozen:
        _check_frozen(model, belongs["frozen"], folder)
    for name, tensor in target.items():
        tensor.copy_(tensors[name])


def _check_frozen(model, trained_with: dict | None, folder) -> None:
    fix = "Fix: join the parts that it was trained with, or allow others with any_frozen=True"
    if trained_with is None:
        raise ValueError(f"{folder} does not say which frozen weights it was trained with. {fix}")
    here = frozen_digests(model)
    if other := [part for part in here if here[part] != trained_with.get(part)]:
        raise ValueError(f"{folder} was trained with other weights of {', '.join(other)} than this "
                         f"model has. {fix}")


def check_tensors(found: dict[str, Tensor], expected: dict[str, torch.Size], source: str) -> None:
    """Compare names and shapes.

    Raises:
        ValueError: names the tensors that are missing, left over or of another shape.
    """
    problems = {
        "without": sorted(set(expected) - set(found)),
        "with what this model does not have:": sorted(set(found) - set(expected)),
        "with other shapes:": [f"{name} {tuple(found[name].shape)} (expected {tuple(shape)})"
                               for name, shape in expected.items()
                               if name in found and found[name].shape != shape]}
    wrong = [f"{what} {', '.join(names[:LISTED])}"
            + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
            for what, names in problems.items() if names]
    if wrong:
        raise ValueError(f"{source} does not fit: it comes {'; '.join(wrong)}. Fix: choose a model "
                         "of its sizes (N, K, widths, layers, LoRA rank), or the right file")
