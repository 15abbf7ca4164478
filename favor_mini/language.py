"""What FAVOR adds to the language model: LoRA, and a mask that isolates a conversation's turns."""

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.functional import cast_adapter_dtype, inject_adapter_in_model, set_requires_grad
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from .config import FavorConfig

ADAPTER = "default"  # peft's name for an adapter


def add_lora(model: nn.Module, config: FavorConfig) -> None:
    """Add an untrained LoRA with the config's `lora_*` fields, in place of one that is there.

    The paper's `lora_targets` are the projections q, k, v and o. A `lora_rank` of 0 adds none.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LoraLayer):
                setattr(parent, name, child.get_base_layer())
    if hasattr(model, "peft_config"):  # of the LoRA just removed
        del model.peft_config
    if config.lora_rank:
        lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha,
                          lora_dropout=config.lora_dropout, target_modules=config.lora_targets)
        inject_adapter_in_model(lora, model, ADAPTER)


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


def additive_mask(mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A boolean mask as numbers to add to the attention scores: 0 where True, -inf where False.

    transformers' "sdpa" and "eager" take this form; "eager" takes no other.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)
