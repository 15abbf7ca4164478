"""The frozen encoders' outputs, computed once and kept on disk: training then starts from vectors, not from media."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..keys import code_digest, digest, library_versions, source_digest
from ..storage import atomic_write

if TYPE_CHECKING:
    from ..model import FavorForConditionalGeneration
    from ..processor import FavorProcessor

CHUNK = 256  # scenes in one file of the cache


@torch.no_grad()
def encode_media(model: FavorForConditionalGeneration, processor: FavorProcessor, media: list[dict]) -> list[dict]:
    """Run the frozen encoders over the media of a few clips.

    Returns media dictionaries with visual_features (T, V, D_v) and audio_features (L, D_w) in half precision in place
    of pixels and mel spectrograms; what a clip lacks is left out.
    """
    if model.config.question_conditioning:
        raise ValueError("this model's pictures are looked at with the question in mind (question_conditioning): what its encoders make "
                         "of a clip can't be kept for several questions; give the model the processor's batches with their media")
    tensors = {k: v.to(model.device) for k, v in processor.pad_media(media).items()}
    visual, audio = model.encode(tensors.get("pixel_values"), tensors.get("input_features"))
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
    """A name made of what the features of a given clip depend on: encoders, processor, their code and libraries."""
    weights = [t.detach().float().cpu().numpy().tobytes() for part in (model.audio_encoder, model.visual_encoder)
               for t in part.state_dict().values()]
    settings = json.dumps([asdict(processor.settings), processor.feature_extractor.to_dict(), library_versions()],
                          default=str)
    code = [code_digest("data.features", "encoders", "processor"), source_digest(type(model).encode)]
    return digest(*weights, settings.encode(), *(part.encode() for part in code))


def save_features(rows: list[dict], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{k}.{i}": v.contiguous() for i, row in enumerate(rows) for k, v in row.items() if torch.is_tensor(v)}
    with atomic_write(file) as unfinished:
        save_file(tensors, unfinished,
                  metadata={"clips": json.dumps([[r["num_frames"], r["audio_tokens"]] for r in rows])})


def load_features(file: Path) -> list[dict]:
    with safe_open(file, "pt") as stored:
        counts = json.loads(stored.metadata()["clips"])
    tensors = load_file(file)
    return [{"num_frames": frames, "audio_tokens": tokens,
             **{k: tensors[f"{k}.{i}"] for k in ("visual_features", "audio_features") if f"{k}.{i}" in tensors}}
            for i, (frames, tokens) in enumerate(counts)]
