"""Load pretrained encoders and a language model, to join them with a connector."""

from contextlib import suppress

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from .config import FavorConfig
from .families import POOLED_TOKENS, check_audio, check_vision
from .prompts import MEDIA_TOKEN, PromptForm, load_tokenizer
from .vision import TOWERS, build_visual_encoder, image_settings


def load_pretrained(audio: str, vision: str, language: str, dtype: torch.dtype = torch.float32,
                    quantization_config: QuantizationConfigMixin | None = None,
                    device_map: str | dict | None = None, **settings
                    ) -> tuple[FavorConfig, dict[str, nn.Module]]:
    """Load encoders and a causal LM, and make the config of their FAVOR model.

    Args:
        audio: hub name or local folder of a Whisper, Wav2Vec2 or HuBERT.
        vision: of an InstructBLIP, BLIP-2, CLIP, SigLIP (1, or 2 of fixed resolution) or DINOv2.
        language: of a causal language model.
        dtype: of these frozen parts. The connector and LoRA are float32: bfloat16 would lose
            small updates.
        quantization_config: of the language model, such as transformers' `BitsAndBytesConfig`.
        device_map: of the language model, as in its `from_pretrained`. The other modules are on
            the device of its embeddings.
        settings: further fields of `FavorConfig`. `placeholder_id` defaults to the tokenizer's
            token `<av>`, which is added if it is not there.

    Returns:
        the config, and the modules as `FavorForConditionalGeneration.from_frozen` takes them.

    Raises:
        OSError: a part is neither a local folder nor a name that can be reached.
        ValueError: a part has another model type, or a setting is no field of `FavorConfig`.
    """
    FavorConfig.check_names(settings)
    heard = _load_audio(audio, dtype)
    seen, sizes = _load_vision(vision, dtype)
    llm, settings["placeholder_id"] = load_language(
        language, dtype, settings.get("placeholder_id"), quantization_config=quantization_config,
        device_map=device_map)
    config = FavorConfig(heard.config, language_config=llm.config, **{**sizes, **settings})
    with torch.device("meta"):
        visual_encoder = build_visual_encoder(config)
    for name, module in seen.items():
        setattr(visual_encoder, name, module)
    device = llm.get_input_embeddings().weight.device
    return config, {"audio_encoder": heard.to(device), "visual_encoder": visual_encoder.to(device),
                    "language_model": llm}


def load_language(name: str, dtype: torch.dtype, placeholder_id: int | None = None,
                  **loading
                  ) -> tuple[PreTrainedModel, int]:
    """A causal language model, and the token id of the placeholder.

    The embeddings grow only where the id is beyond them. An answer ends at each of the tokens that
    end one in the model's generation config, tokenizer or chat template; its config keeps them.

    Args:
        placeholder_id: None: the id of `<av>` in the model's tokenizer.
        loading: arguments of transformers' `from_pretrained`.

    Raises:
        OSError: the model cannot be loaded, or `placeholder_id` is None and the tokenizer cannot.
    """
    llm = _load(AutoModelForCausalLM, "language", name, dtype, **loading)
    ends = [llm.generation_config.eos_token_id, llm.config.eos_token_id]
    try:
        tokenizer = load_tokenizer(name)
    except (OSError, ValueError) as error:
        if placeholder_id is None:
            raise OSError(f"language={name!r} holds no tokenizer that can be loaded; save it into "
                          f"the folder, or pass placeholder_id ({error})") from error
    else:
        if placeholder_id is None:
            placeholder_id = tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
        ends.append(tokenizer.eos_token_id)
        with suppress(ValueError):  # no chat template: other prompts do without
            ends.append(PromptForm.make("chat", tokenizer).end_id)
    if placeholder_id >= llm.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():  # new rows are random, and the same whenever they are made
            torch.manual_seed(0)
            llm.resize_token_embeddings(placeholder_id + 1, mean_resizing=False)
    flat = [i for end in ends for i in (end if isinstance(end, list) else [end]) if i is not None]
    flat = list(dict.fromkeys(flat))
    llm.config.eos_token_id = flat[0] if len(flat) == 1 else flat or None
    llm.generation_config = GenerationConfig.from_model_config(llm.config)
    return llm, placeholder_id


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
