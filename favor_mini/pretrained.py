"""Load pretrained encoders and a language model, to join them with a connector."""

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, WhisperModel

from .config import FavorConfig
from .encoders import InstructBlipVisionTower, VisualEncoder


def load_pretrained(audio: str, vision: str, language: str, dtype: torch.dtype = torch.float32,
               **settings) -> tuple[FavorConfig, dict[str, nn.Module]]:
    """Load a Whisper, an InstructBLIP and a causal LM, and make the config of their FAVOR model.

    Args:
        audio, vision, language: hub names or local folders.
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
    whisper = _load(WhisperModel, "audio", audio, dtype, kind="whisper")
    tower = _load(InstructBlipVisionTower, "vision", vision, dtype, kind="instructblip")
    llm = _load(AutoModelForCausalLM, "language", language, dtype)
    vocabulary = llm.get_input_embeddings().num_embeddings
    settings.setdefault("placeholder_id", vocabulary)
    if settings["placeholder_id"] >= vocabulary:
        llm.resize_token_embeddings(settings["placeholder_id"] + 1, mean_resizing=False)
    vision_config, qformer_config = tower.config.vision_config, tower.config.qformer_config
    width = qformer_config.hidden_size
    config = FavorConfig(whisper.config, vision_config, qformer_config, llm.config, **{
        "visual_tokens": tower.config.num_query_tokens, "audio_width": width,
        "qformer_width": width, "qformer_heads": qformer_config.num_attention_heads,
        "qformer_hidden": qformer_config.intermediate_size, **settings})
    with torch.device("meta"):
        visual_encoder = VisualEncoder(vision_config, qformer_config, config.visual_tokens)
    for name in ("vision_model", "qformer", "query_tokens"):
        setattr(visual_encoder, name, getattr(tower, name))
    return config, {"audio_encoder": whisper.encoder, "visual_encoder": visual_encoder,
                    "language_model": llm}


def _load(model_class, part: str, name: str, dtype: torch.dtype, kind: str | None = None
          ) -> PreTrainedModel:
    """A pretrained part; `kind` is the model type that its config must have."""
    try:
        found = AutoConfig.from_pretrained(name).model_type
        if kind in (None, found):
            return model_class.from_pretrained(name, dtype=dtype)
    except (OSError, ValueError) as error:
        raise OSError(
            f"{part}={name!r} could not be loaded: it is neither a folder with config.json and "
            "model.safetensors nor a hub name that can be reached from here. Offline, download it "
            "elsewhere and pass the folder; HF_HUB_OFFLINE=1 avoids the retries. "
            f"({error})") from error
    raise ValueError(f"{part}={name!r} holds a model of type {found!r}, expected {kind!r}; pass "
                     "the name of such a model")
