"""`favor-mini join`: pretrained parts and an untrained connector become one checkpoint."""

import os
from pathlib import Path

import torch

from .. import __version__
from ..card import write_card
from ..config import LAPTOP, FavorConfig
from ..context import longest_clip
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from ..processor_settings import ProcessorSettings
from ..storage import atomic_write
from .settings import JoinSettings

PARTS = ("audio", "vision", "language")
PRESETS = {"laptop": {"audio": "openai/whisper-tiny", "vision": "google/siglip-base-patch16-224",
                      "language": "HuggingFaceTB/SmolLM2-135M-Instruct", **LAPTOP}}
SIZES = ("frame_rate", "window_frames", "num_queries", "visual_tokens")


def join(settings: JoinSettings) -> str:
    """Write the checkpoint, whole or not at all; returns what it is, for people to read.

    Raises:
        FileExistsError: the folder exists.
        OSError: a part cannot be loaded, or the folder cannot be written.
        ValueError: a part is missing, not supported, or does not fit the settings.
    """
    out, chosen = Path(settings.out), dict(PRESETS.get(settings.preset, {}))
    given = {name: getattr(settings, name) for name in (*PARTS, *SIZES)}
    chosen |= {name: value for name, value in given.items() if value is not None}
    if missing := [f"--{part}" for part in PARTS if part not in chosen]:
        raise ValueError(f"{', '.join(missing)} missing: expected a folder or a hub name for each "
                         f"of {', '.join(PARTS)}, or --preset {', '.join(PRESETS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"found {out} already; expected a new folder, so that nothing is "
                              "overwritten. Fix: choose another --out, or remove it")
    parts = {part: chosen.pop(part) for part in PARTS}
    torch.manual_seed(settings.seed)  # of the placeholder's embedding, and what else is new
    model = FavorForConditionalGeneration.from_parts(
        **parts, dtype=getattr(torch, settings.dtype), **chosen)
    processor = FavorProcessor.from_parts(model.config, **parts, prompt=settings.prompt)
    model.reset_trained(settings.seed)
    facts = {**{part: f"{name} ({getattr(model.config, f'{part}_config').model_type})"
                for part, name in parts.items()}, **describe(model)}
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    with atomic_write(out) as unfinished:
        model.save_pretrained(unfinished)
        processor.save_pretrained(unfinished)
        write_card(unfinished, "Joined parts, not trained yet",
                   f"Pretrained encoders and a language model, joined by favor-mini {__version__} "
                   "with an untrained connector and untrained LoRA. Train them before you ask "
                   "anything. The licences of the parts apply.\n\n" + "\n".join(lines))
        if out.is_dir():  # empty; not every system renames a folder onto another
            os.rmdir(out)
    return "\n".join([*lines, f"- written: {out}"])


def describe(model: FavorForConditionalGeneration) -> dict[str, str]:
    """Parameters, tokens per second and the longest clip of a model."""
    config: FavorConfig = model.config
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    frozen = next(model.audio_encoder.parameters()).dtype
    longest = longest_clip(ProcessorSettings.from_config(config))
    return {
        "frozen": f"{counts[False] / 1e6:.1f} M parameters, {str(frozen).removeprefix('torch.')}",
        "trained": f"{counts[True] / 1e6:.1f} M parameters (connector and LoRA), float32",
        "adapted": model.extra_repr(),
        "time step": f"{1 / config.frame_rate:g} s: {config.visual_tokens} visual and "
                     f"{config.audio_tokens} audio tokens",
        "tokens for the language model": f"{tokens_per_second(config):g} per second of clip",
        "longest clip": f"{longest:.0f} s ({longest / 60:.1f} minutes)"}


def tokens_per_second(config: FavorConfig) -> float:
    """Output queries per second of clip: N for every window of K frames."""
    return config.num_queries * config.frame_rate / config.window_frames
