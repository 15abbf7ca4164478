"""Muon for the weight matrices inside a network, AdamW for everything else."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..machine import has_fast_bf16


class KeepFloat32(TorchFunctionMode):
    """Where bfloat16 is emulated, Muon, which rounds each gradient to it, is many times slower."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.bfloat16:
            return args[0].float().clone()
        return function(*args, **(kwargs or {}))


class MuonAdamW(torch.optim.Optimizer):
    """Two optimizers in one: Muon for the weights of linear layers, AdamW for vectors, embeddings,
    heads and LoRA.

    Muon (Jordan et al. 2024) orthogonalises the update of a matrix: rare directions of the gradient
    count as much as frequent ones. Small models need far fewer steps than with AdamW alone.

    Args:
        lr: learning rate of AdamW. matrix_lr: that of Muon, as a multiple of `lr`.
        lora_lr: that of LoRA, as a multiple of `lr`.
        weight_decay: of all but vectors.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.05,
                 matrix_lr: float = 20.0, lora_lr: float = 1.0):
        linear = {f"{name}.weight" for name, module in model.named_modules()
                  if isinstance(module, nn.Linear) and "head" not in name and "lora_" not in name}
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        lora = [p for name, p in trained if "lora_" in name]
        others = [p for name, p in trained if name not in linear and "lora_" not in name]
        self.muon = torch.optim.Muon(
            # As a group, since there may be none: if LoRA alone is trained.
            [{"params": [p for name, p in trained if name in linear]}],
            lr=matrix_lr * lr, momentum=0.95, weight_decay=weight_decay / matrix_lr)
        self.adamw = torch.optim.AdamW(
            [{"params": [p for p in others if p.ndim > 1]},
             {"params": [p for p in others if p.ndim == 1], "weight_decay": 0.0},
             {"params": lora, "lr": lora_lr * lr}],
            lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
        # The groups themselves, not copies: a scheduler sets the learning rate of both.
        # AdamW's first, as the log has the learning rate of the first group.
        super().__init__([*self.adamw.param_groups, *self.muon.param_groups], {})

    def step(self, closure=None):
        with nullcontext() if has_fast_bf16() else KeepFloat32():
            loss = self.muon.step(closure)
        self.adamw.step()
        return loss

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self.adamw.param_groups, *self.muon.param_groups]
