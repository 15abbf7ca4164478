"""Load pretrained encoders and a language model, to join them with a connector."""

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from .config import FavorConfig
from .families import POOLED_TOKENS, check_audio, check_vision
from .vision import TOWERS, build_visual_encoder, image_settings


def load_pretrained(audio: str, vision: str, language: str, dtype: torch.dtype = torch.float32,
               **settings) -> tuple[FavorConfig, dict[str, nn.Module]]:
    """Load encoders and a causal LM, and make the config of their FAVOR model.

    Args:
        audio: hub name or local folder of a Whisper, Wav2Vec2 or HuBERT.
        vision: of an InstructBLIP, BLIP-2, CLIP, SigLIP (1, or 2 of fixed resolution) or DINOv2.
        language: of a causal language model.
        dtype: of these frozen parts. The connector and LoRA are float32: bfloat16 would lose
            small updates.
        settings: further fields of `FavorConfig`. `placeholder_id` defaults to a new token at the
            end of the vocabulary.

    Returns:
        the config, and the modules as `FavorForConditionalGeneration.from_frozen` takes them.

    Raises:
        OSError: a part is neither a local folder nor a name that can be reached.
        ValueError: a part has another model type, or a setting is no field of `FavorConfig`.
    """
    FavorConfig.check_names(settings)
    heard = _load_audio(audio, dtype)
    seen, sizes = _load_vision(vision, dtype)
    llm = _load(AutoModelForCausalLM, "language", language, dtype)
    vocabulary = llm.get_input_embeddings().num_embeddings
    settings.setdefault("placeholder_id", vocabulary)
    if settings["placeholder_id"] >= vocabulary:
        with torch.random.fork_rng():  # new rows are random, and the same whenever they are made
            torch.manual_seed(0)
            llm.resize_token_embeddings(settings["placeholder_id"] + 1, mean_resizing=False)
    config = FavorConfig(heard.config, language_config=llm.config, **{**sizes, **settings})
    with torch.device("meta"):
        visual_encoder = build_visual_encoder(config)
    for name, module in seen.items():
        setattr(visual_encoder, name, module)
    return config, {"audio_encoder": heard, "visual_encoder": visual_encoder,
                    "language_model": llm}


def _load_audio(name: str, dtype: torch.dtype) -> nn.Module:
    """The audio encoder."""
    config = _read_config("audio", name)
    check_audio(config, f"audio={name!r}")
    model = _load(AutoModel, "audio", name, dtype, config=config)
    return model.encoder if config.model_type == "whisper" else model


def _load_vision(name: str, dtype: torch.dtype) -> tuple[dict[str, nn.Module], dict]:
    """The modules of the visual encoder by name, and the fields of `FavorConfig` that fit them."""
    config = _read_config("vision", name)
    if tower_class := TOWERS.get(config.model_type):
        tower = _load(tower_class, "vision", name, dtype)
        qformer = tower.config.qformer_config
        modules = {n: getattr(tower, n) for n in ("vision_model", "qformer", "query_tokens")}
        return (modules,
                {"vision_config": tower.config.vision_config, "visual_qformer_config": qformer,
                 "visual_tokens": tower.config.num_query_tokens,
                 "audio_width": qformer.hidden_size, "qformer_width": qformer.hidden_size,
                 "qformer_heads": qformer.num_attention_heads,
                 "qformer_hidden": qformer.intermediate_size})
    config = getattr(config, "vision_config", config)  # CLIP and SigLIP: without the text model
    check_vision(config, f"vision={name!r}")
    if config.model_type == "siglip_vision_model":
        config.vision_use_head = False  # it pools all patches to one vector
    tower = _load(AutoModel, "vision", name, dtype, config=config)
    return {"vision_model": tower}, {
        "vision_config": config, "visual_tokens": POOLED_TOKENS,
        "image_size": image_settings(name, config.model_type)["image_size"]}


def _read_config(part: str, name: str) -> PreTrainedConfig:
    return _explained(AutoConfig.from_pretrained, part, name)


def _load(model_class, part: str, name: str, dtype: torch.dtype, **options) -> PreTrainedModel:
    """A pretrained model. Weights that it does not need, such as CLIP's text model, are left out.

    Raises:
        OSError: it cannot be loaded.
        ValueError: weights are missing.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # no list of what is left out
    try:
        model, found = _explained(model_class.from_pretrained, part, name, dtype=dtype,
                                  use_safetensors=True, output_loading_info=True, **options)
    finally:
        logging.set_verbosity(verbosity)
    # Wav2Vec2 models with a CTC head lack this vector, which only its own pretraining needs.
    missing = set(found["missing_keys"]) - {"masked_spec_embed"}
    if missing:
        raise ValueError(f"{part}={name!r} lacks {len(missing)} weights of a "
                         f"{type(model).__name__}, such as {min(missing)}; pass the folder of a "
                         "whole model")
    return model


def _explained(load, part: str, name: str, **options):
    """`load(name, **options)`, with an error that says which part is missing.

    Raises:
        OSError: it cannot be loaded.
    """
    try:
        return load(name, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise OSError(
            f"{part}={name!r} could not be loaded: it is neither a folder with config.json and "
            "model.safetensors nor a hub name that can be reached from here. Offline, download it "
            "elsewhere and pass the folder; HF_HUB_OFFLINE=1 avoids the retries. "
            f"({error})") from error
