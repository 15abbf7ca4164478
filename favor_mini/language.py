"""What FAVOR adds to the language model: LoRA, and a mask that isolates a conversation's turns."""

import re
from collections import Counter
from inspect import signature

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.functional import cast_adapter_dtype, inject_adapter_in_model, set_requires_grad
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .config import FavorConfig

ADAPTER = "default"  # peft's name for an adapter
LORA = re.compile(r".*\.lora_[AB]")  # names of its modules


def embedding_width(config: FavorConfig) -> int:
    """Width of the language model's token embeddings; in some OPTs not that of its layers."""
    language = config.language_config
    return getattr(language, "word_embed_proj_dim", language.hidden_size)


def add_lora(model: nn.Module, config: FavorConfig) -> None:
    """Add an untrained LoRA with the config's `lora_*` fields, in place of one that is there.

    The paper adapts the projections q, k, v and o. A `lora_rank` of 0 adds none.

    Raises:
        ValueError: `lora_targets` matches no module, or as a regular expression leaves out a
            projection of the attention or a layer.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LoraLayer):
                setattr(parent, name, child.get_base_layer())
    if hasattr(model, "peft_config"):  # of the LoRA just removed
        del model.peft_config
    if config.lora_rank:
        hit = _check_targets(model, config.lora_targets)
        lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha,
                          lora_dropout=config.lora_dropout, target_modules=config.lora_targets,
                          fan_in_fan_out=isinstance(model.get_submodule(hit[0]), Conv1D))
        inject_adapter_in_model(lora, model, ADAPTER)


def lora_modules(model: nn.Module) -> list[str]:
    """The names of the modules that LoRA adapts."""
    return [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]


def describe_lora(model: nn.Module, rank: int) -> str:
    """One line: the rank, and how many modules of which names LoRA adapts."""
    found = lora_modules(model)
    return f"LoRA of rank {rank} on {len(found)} modules: {_kinds(found)}" if found else "no LoRA"


def _kinds(names: list[str]) -> str:
    """How many modules there are of each name, such as "self_attn.q_proj (4)"."""
    kinds = Counter(".".join(name.split(".")[-2:]) for name in names)
    return ", ".join(f"{kind} ({count})" for kind, count in kinds.items()) or "none"


def _check_targets(model: nn.Module, targets: str | list[str]) -> list[str]:
    """The names of the modules that `lora_targets` matches; errors as in `add_lora`."""
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    attention = {n for n, m in model.named_modules() if "Attention" in type(m).__name__}
    projections = [n for n in linear if n.rpartition(".")[0] in attention] or linear
    names = sorted({".".join(n.split(".")[-2:]) for n in projections})
    help = (f"The model, a {model.config.model_type}, has {_kinds(projections)}. Fix: leave "
            f"lora_targets out, or pass a regular expression such as '.*\\.({'|'.join(names)})'; "
            f"to adapt only some of them on purpose, pass a list of names such as {names[:1]}")
    if isinstance(targets, str):
        try:
            hit = [n for n, _ in model.named_modules() if re.fullmatch(targets, n)]
        except re.error as error:
            raise ValueError(f"lora_targets={targets!r} is no regular expression: {error}. {help}"
                             ) from error
        layers = {found[1] for n in hit if (found := re.search(r"\.(\d+)\.", n))}
        missing = [n for n in projections if n not in hit]
        if missing or len(layers) < model.config.num_hidden_layers:
            raise ValueError(
                f"lora_targets={targets!r} matches {_kinds(hit)} in {len(layers)} of "
                f"{model.config.num_hidden_layers} layers, expected all projections of the "
                f"attention in all layers; it leaves out {_kinds(missing)}. {help}")
        return hit
    hit = {t: [n for n in linear if f".{n}".endswith(f".{t}")] for t in targets}
    if unknown := [target for target, found in hit.items() if not found]:
        raise ValueError(f"lora_targets: {unknown} match no module. {help}")
    return sum(hit.values(), [])


def quantization(model: nn.Module, others: tuple[str, ...]) -> dict | None:
    """The quantization config of a FAVOR model whose language model is `model`; None without one.

    transformers reads it when it loads a saved model: the modules `others`, LoRA, and what the
    language model leaves out itself are not quantized.

    Raises:
        ValueError: the language model is quantized by another library than bitsandbytes.
    """
    if (made := getattr(model.config, "quantization_config", None)) is None:
        return None
    made = dict(made if isinstance(made, dict) else made.to_dict())
    if made.get("quant_method") != "bitsandbytes":
        raise ValueError(f"the language model is quantized by {made.get('quant_method')}, expected "
                         "bitsandbytes: a joined model of another could not be loaded again. Fix: "
                         "pass the model's original folder and a BitsAndBytesConfig")
    kept = made["llm_int8_skip_modules"]
    if kept is None:  # as transformers chose
        kept = [name for name, module in model.named_modules()
                if type(module) in (nn.Linear, Conv1D) and not LORA.search(name)]
    made["llm_int8_skip_modules"] = [*others, LORA.pattern, *(f"language_model.{n}" for n in kept)]
    return made


def lora_to_float32(model: nn.Module) -> None:
    """Keep LoRA in float32 where the language model is not: bfloat16 would lose small updates."""
    cast_adapter_dtype(model, ADAPTER)


def reset_lora(model: nn.Module) -> None:
    """Initialise LoRA as before training: A is random, B is zero."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters(ADAPTER, init_lora_weights=True)


def freeze_all_but_lora(model: nn.Module) -> None:
    """Leave only LoRA's parameters trainable."""
    model.requires_grad_(False)
    set_requires_grad(model, ADAPTER, True)


def isolate_turns_mask(turn_ids: Tensor) -> tuple[Tensor, Tensor]:
    """A causal mask in which each turn of a conversation attends to the clip and to itself only.

    Many questions share one forward pass over the clip, and no question's text can influence the
    answer to another.

    Args:
        turn_ids: (B, L), 0 up to the end of the clip, 1 for the first question and answer, 2 for
            the next, and so on.

    Returns:
        mask (B, 1, L, L) over (query, key), True where attention is allowed, and position ids
        (B, L): each turn continues from the end of the clip.
    """
    place = torch.arange(turn_ids.shape[1], device=turn_ids.device).expand_as(turn_ids)
    first = F.pad(turn_ids[:, 1:] != turn_ids[:, :-1], (1, 0))  # the first token of each turn
    start = (place * first).cummax(1).values
    clip = turn_ids == 0  # [B, L]
    allowed = clip[:, None] | (turn_ids[:, None] == turn_ids[:, :, None])  # [B, L, L]
    mask = (allowed & (place[:, None] <= place[:, :, None]))[:, None]
    return mask, torch.where(clip, place, clip.sum(1, keepdim=True) + place - start)


def attention_inputs(model: nn.Module, embeds: Tensor, attention_mask: Tensor | None,
                     turn_ids: Tensor | None) -> dict[str, Tensor | dict[str, Tensor]]:
    """`attention_mask` and `position_ids` as this language model takes them.

    Padding counts as no position. With turns, a layer with a sliding window attends to as many
    positions as it has in a conversation of one turn.

    Args:
        embeds: (B, L, width). attention_mask: (B, L), 1 where real; None: everywhere.
        turn_ids: (B, L), to isolate the turns; None: do not.

    Raises:
        ValueError: the language model cannot isolate turns.
    """
    config, layers = model.config, set(getattr(model.config, "layer_types", None) or ())
    has_positions = "position_ids" in signature(model.forward).parameters
    if turn_ids is None:
        if attention_mask is None:
            attention_mask = embeds.new_ones(embeds.shape[:2], dtype=torch.long)
        position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)  # 0 at the first real token
        return {"attention_mask": attention_mask,
                **({"position_ids": position_ids} if has_positions else {})}
    if (not has_positions or getattr(config, "alibi", False)
            or layers - {"full_attention", "sliding_attention"}):
        raise ValueError(f"the language model, a {config.model_type}, takes no mask and positions "
                         "that isolate the turns of a conversation. Fix: leave turn_ids out of the "
                         "batch and train on conversations of one turn, or choose another family")
    mask, position_ids = isolate_turns_mask(turn_ids)  # [B, 1, L, L], [B, L]
    near = mask
    if window := getattr(config, "sliding_window", None):
        distance = position_ids[:, None, :, None] - position_ids[:, None, None]  # [B, 1, L, L]
        near = mask & (distance < window)
    if not layers:  # all layers are alike
        mask = near
    full = additive_mask(mask, embeds.dtype)
    if "sliding_attention" in layers:
        full = {"full_attention": full, "sliding_attention": additive_mask(near, embeds.dtype)}
    return {"attention_mask": full, "position_ids": position_ids}


def additive_mask(mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A boolean mask as numbers to add to the attention scores: 0 where True, -inf where False.

    transformers' "sdpa" and "eager" take this form; "eager" takes no other.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)
