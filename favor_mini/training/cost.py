"""What training costs, measured on real batches without training."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ..machine import has_fast_bf16, peak_memory
from .optimizer import MuonAdamW
from .order import Order, items_needed


@contextmanager
def same_random_state() -> Iterator[None]:
    """After the block, the random streams of Python, NumPy and PyTorch are as before it."""
    python, numpy = random.getstate(), np.random.get_state()
    gpu = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(gpu):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def same_weights(model: nn.Module) -> Iterator[None]:
    """After the block, all buffers and trained parameters have the values from before it."""
    tensors = [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """`model.train(training)` in the block; after it, every module's mode is as before."""
    before = {module: module.training for module in model.modules()}
    try:
        model.train(training)
        yield
    finally:
        for module, value in before.items():
            module.training = value


@contextmanager
def gradient_checkpointing_on(model: nn.Module) -> Iterator[None]:
    """In the block, activations are computed again in the backward pass: less memory, more time.

    Raises:
        ValueError: neither `model` nor a module in it has gradient checkpointing.
    """
    found = next((module for module in model.modules()
                  if hasattr(module, "gradient_checkpointing_enable")), None)
    if found is None:
        raise ValueError(f"found gradient_checkpointing=True and a {type(model).__name__} without "
                         "it, expected a module with `gradient_checkpointing_enable`. Fix: pass "
                         "gradient_checkpointing=False")
    before = getattr(found, "is_gradient_checkpointing", False)
    found.gradient_checkpointing_enable()
    try:
        yield
    finally:
        if not before:
            found.gradient_checkpointing_disable()


def training_cost(model: nn.Module, data: Dataset, collate, *, batch: int, accumulate: int = 1,
                  seed: int = 0, repeats: int = 3, bf16: bool | None = None,
                  gradient_checkpointing: bool = False) -> dict[str, float | int | None]:
    """Measure training steps with a learning rate of 0. Weights, modes and random streams are
    afterwards as before.

    The first batch, which holds the longest item, warms up and decides the memory. The times are of
    `repeats` batches from all over the order, since it is sorted by length in parts.

    Args:
        model, data, collate, batch, accumulate, seed, bf16, gradient_checkpointing: as for `fit`.
            The model is on the device that it is to be trained on.

    Returns:
        `seconds_per_step`, the mean; `peak_memory` in bytes, of the GPU if the model is on one,
        else of this process (None where the system does not say); `tokens_per_step`, the mean
        number of tokens that the language model reads, of all processes together.
    """
    items = items_needed(1, batch, accumulate)  # of one step
    steps = min(max(len(data) // items, 1), 200)  # of a large dataset, the first ones are enough
    order = list(Order(data, steps * items, items, seed))
    places = [0, *(int(len(order) // batch * (2 * i + 1) / (2 * repeats)) for i in range(repeats))]
    device = next(model.parameters()).device
    optimizer, seconds, tokens = MuonAdamW(model, lr=0.0), [], []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    checkpointing = gradient_checkpointing_on(model) if gradient_checkpointing else nullcontext()
    with same_random_state(), same_weights(model), mode(model, training=True), checkpointing:
        for place in places:
            start = time.perf_counter()
            inputs = collate([data[i] for i in order[place * batch: (place + 1) * batch]])
            tokens.append(_tokens(inputs))
            _step(model, {k: v.to(device) for k, v in inputs.items()}, optimizer, bf16)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return {"seconds_per_step": accumulate * float(np.mean(seconds[1:])), "peak_memory": memory,
            "tokens_per_step": round(items / batch * float(np.mean(tokens[1:])))}


def _tokens(inputs: dict) -> int:
    """Tokens in a batch, without padding if there is a mask."""
    mask = inputs.get("attention_mask")
    return int(inputs["input_ids"].numel() if mask is None else mask.sum()) \
        if "input_ids" in inputs else 0


def _step(model: nn.Module, inputs: dict, optimizer: MuonAdamW, bf16: bool | None) -> None:
    """One training step of one batch."""
    enabled = has_fast_bf16() if bf16 is None else bf16
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        loss = model(**inputs)["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
