"""Tiny pretrained parts with random weights, in folders as on the hub, of every encoder family."""

import json
from pathlib import Path

import torch
from conftest import scramble, tiny_config
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    HubertConfig,
    HubertModel,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaForCausalLM,
    SiglipConfig,
    SiglipModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from favor_mini.world.tokenizer import build_tokenizer

VISION = ("instructblip", "blip-2", "clip", "clip-vision", "siglip", "dinov2")
AUDIO = ("whisper", "wav2vec2", "wav2vec2-layer", "hubert")
IMAGE_SIZE = {"dinov2": 24}  # in the preprocessor, where it is not 16, the size of the positions

_VIT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 16, "patch_size": 4}
_TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2, "vocab_size": 40}
_SPEECH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
           "intermediate_size": 32, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16,
           "num_conv_pos_embedding_groups": 4, "vocab_size": 40}
_QFORMER = {"hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "cross_attention_frequency": 1, "encoder_hidden_size": 16,
            "max_position_embeddings": 32, "vocab_size": 156}


def vision_model(family: str) -> torch.nn.Module:
    """A whole model of this family, as its hub folder holds it."""
    language = tiny_config().language_config.to_dict()
    with_qformer = {"vision_config": _VIT, "qformer_config": _QFORMER, "text_config": language,
                    "num_query_tokens": 3, "image_token_index": 6}
    make = {
        "instructblip": lambda: InstructBlipForConditionalGeneration(
            InstructBlipConfig(**with_qformer)),
        "blip-2": lambda: Blip2ForConditionalGeneration(Blip2Config(**with_qformer)),
        "clip": lambda: CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=_VIT,
                                             projection_dim=8)),
        "clip-vision": lambda: CLIPVisionModel(CLIPVisionConfig(**_VIT)),
        "siglip": lambda: SiglipModel(SiglipConfig(text_config=_TEXT, vision_config=_VIT)),
        "dinov2": lambda: Dinov2Model(Dinov2Config(**_VIT))}
    return scramble(make[family](), seed=1)


def audio_model(family: str) -> torch.nn.Module:
    """A whole model of this family. "wav2vec2-layer" has layer norms, as the large models do."""
    layer = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    make = {
        "whisper": lambda: WhisperForConditionalGeneration(tiny_config().audio_config),
        "wav2vec2": lambda: Wav2Vec2ForCTC(Wav2Vec2Config(**_SPEECH)),
        "wav2vec2-layer": lambda: Wav2Vec2Model(Wav2Vec2Config(**_SPEECH, **layer)),
        "hubert": lambda: HubertModel(HubertConfig(**_SPEECH))}
    return scramble(make[family](), seed=2)


def write_vision(family: str, folder: Path) -> torch.nn.Module:
    """Save a vision model with its preprocessor; returns the model."""
    model = vision_model(family)
    model.save_pretrained(folder)
    size = IMAGE_SIZE.get(family, 16)
    square = {"height": size, "width": size}
    preprocessor = {  # as in the hub's folders
        "clip": {"image_processor_type": "CLIPImageProcessor", "crop_size": square,
                 "size": {"shortest_edge": size}, "do_center_crop": True},
        "siglip": {"image_processor_type": "SiglipImageProcessor", "size": square,
                   "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        "dinov2": {"image_processor_type": "BitImageProcessor", "crop_size": square,
                   "size": {"shortest_edge": size + 4}, "do_center_crop": True,
                   "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    }.get(family.split("-vision")[0], {"image_processor_type": "BlipImageProcessor",
                                       "size": square})
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if family == "instructblip":
        build_tokenizer().save_pretrained(folder / "qformer_tokenizer")
    return model


def write_audio(family: str, folder: Path) -> torch.nn.Module:
    """Save an audio model with its feature extractor; returns the model."""
    model = audio_model(family)
    model.save_pretrained(folder)
    extractor = (WhisperFeatureExtractor(feature_size=16, chunk_length=2) if family == "whisper"
                 else Wav2Vec2FeatureExtractor(do_normalize=family != "hubert"))
    extractor.save_pretrained(folder)
    return model


def write_language(folder: Path) -> torch.nn.Module:
    """Save a Llama, whose tokenizer is the mini world's and knows `<av>` as token 6."""
    model = scramble(LlamaForCausalLM(tiny_config().language_config), seed=3)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return model


def write_parts(folder: Path, *, audio: str = "whisper", vision: str = "instructblip"
                ) -> tuple[dict[str, str], dict[str, torch.nn.Module]]:
    """Folders for `from_parts`, by argument, and the models that were saved there."""
    models = {"audio": write_audio(audio, folder / "audio"),
              "vision": write_vision(vision, folder / "vision"),
              "language": write_language(folder / "language")}
    return {name: str(folder / name) for name in models}, models
