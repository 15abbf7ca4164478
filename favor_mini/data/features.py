"""Features: the outputs of the frozen encoders, computed once and stored, so that training does not
run the encoders again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from ..keys import code_digest, digest, library_versions, source_digest, weights_digest
from ..storage import atomic_write

if TYPE_CHECKING:
    from ..model import FavorForConditionalGeneration
    from ..processor import FavorProcessor

CHUNK = 256  # clips in one file of the cache


@torch.no_grad()
def encode_media(model: FavorForConditionalGeneration, processor: FavorProcessor, media: list[dict]
                 ) -> list[dict]:
    """Run the frozen encoders on a batch of clips.

    Args:
        media: what `processor.media` returns for each clip.

    Returns:
        For each clip a media dictionary with visual_features (T, V, D_v) and audio_features
        (L, D_w) in half precision instead of pixels and mel spectrograms. A stream that the clip
        does not have is left out.

    Raises:
        ValueError: the visual features depend on the question (`question_conditioning`).
    """
    if model.config.question_conditioning:
        raise ValueError(
            "found question_conditioning=True: the visual features depend on the question. Expected"
            " a model whose features can serve every question. Fix: give the model the processor's"
            " batches of media instead of features")
    tensors = {k: v.to(model.device) for k, v in processor.pad_media(media).items()}
    visual, audio = model.encode(tensors.get("pixel_values"), tensors.get("input_features"),
                                 audio_mask=tensors.get("audio_mask"))
    encoded = []
    for i, m in enumerate(media):
        features = {"num_frames": m["num_frames"], "audio_tokens": m["audio_tokens"]}
        if m["num_frames"]:
            features["visual_features"] = visual[i, : m["num_frames"]].half().cpu()
        if m["audio_tokens"]:
            features["audio_features"] = audio[i, : m["audio_tokens"]].half().cpu()
        encoded.append(features)
    return encoded


def feature_key(model: FavorForConditionalGeneration, processor: FavorProcessor) -> str:
    """The cache key of a given clip's features: the encoders' weights, the processor's settings,
    their code, and the versions of the libraries.

    It says nothing about the clip. A cache adds what the clip is made of: the content of a file, or
    the seed of a scene, and the code that reads or draws it.
    """
    processors, models = type(processor), type(model)
    settings = [asdict(processor.settings), processor.feature_extractor.to_dict(),
                library_versions()]
    return digest(
        weights_digest(model.audio_encoder).encode(), weights_digest(model.visual_encoder).encode(),
        json.dumps(settings, sort_keys=True, default=str).encode(),
        code_digest("data.features", "encoders", "audio", "vision", "families",
                    "processor").encode(),
        # These methods again: a subclass or a notebook may have replaced them.
        source_digest(models.encode, processors.media, processors.pixels, processors.mel,
                      processors.sound, processors.pad_media).encode())


def save_features(rows: list[dict], file: Path) -> None:
    """Write what `encode_media` returned."""
    tensors = {f"{k}.{i}": v.contiguous() for i, row in enumerate(rows) for k, v in row.items()
               if torch.is_tensor(v)}
    lengths = json.dumps([[row["num_frames"], row["audio_tokens"]] for row in rows])
    with atomic_write(file) as temporary:
        # `save_file` has a temporary file of its own, which a killed process leaves behind.
        temporary.write_bytes(save(tensors, metadata={"clips": lengths}))


def stored_lengths(file: Path) -> list[tuple[int, int]]:
    """num_frames and audio_tokens of each clip in a file that `save_features` wrote."""
    with safe_open(file, "pt") as stored:
        return [tuple(pair) for pair in json.loads(stored.metadata()["clips"])]


def load_features(file: Path) -> list[dict]:
    """Read what `save_features` wrote."""
    tensors = load_file(file)
    return [{"num_frames": frames, "audio_tokens": tokens,
             **{k: tensors[f"{k}.{i}"] for k in ("visual_features", "audio_features")
                if f"{k}.{i}" in tensors}}
            for i, (frames, tokens) in enumerate(stored_lengths(file))]
