"""Muon for the matrices inside the network, AdamW for everything else."""

import torch
from torch import nn


class MuonAdamW(torch.optim.Muon):
    """One optimizer of two: Muon for the matrices inside a network, AdamW for its vectors, embeddings, heads and LoRA.

    Muon (Jordan 2024) makes every update of a matrix orthogonal, so that what is rare in the data does not wait for what
    is frequent. Small models trained from nothing need far fewer steps with it than with AdamW alone.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.05, matrix_lr: float = 20.0):
        """`matrix_lr`: Muon's rate as a multiple of `lr`, AdamW's rate."""
        inside = {f"{name}.weight" for name, module in model.named_modules()
                  if isinstance(module, nn.Linear) and "head" not in name and "lora_" not in name}
        learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in learned if name in inside]
        super().__init__(matrices, lr=matrix_lr * lr, momentum=0.95, weight_decay=weight_decay / matrix_lr)
        self.adamw = torch.optim.AdamW([
            {"params": [p for name, p in learned if name not in inside and p.ndim > 1]},
            {"params": [p for name, p in learned if name not in inside and p.ndim == 1], "weight_decay": 0.0},
        ], lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
        self.param_groups += self.adamw.param_groups  # so that a schedule and a checkpoint find all in one place

    def step(self, closure=None):
        together, (matrices, *others) = self.param_groups, self.param_groups
        self.param_groups = [matrices]
        super().step(closure)
        self.param_groups = together
        self.adamw.param_groups, self.adamw.state = others, self.state
        self.adamw.step()
