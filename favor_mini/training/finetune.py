"""Fine-tuning in stages: name, align, ask."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from ..machine import has_fast_bf16
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from .naming import Naming, collate_names
from .optimizer import MuonAdamW
from .trainer import fit

SHARES = {"name": 0.8, "align": 0.1, "ask": 0.1}  # of the training's steps, stage by stage
RATE = {"name": 1.0, "align": 0.1, "ask": 0.05}  # of the learning rate: at higher ones, later stages undo what naming has reached


def stage_setup(stage: str, model, processor, rows, count: int) -> tuple[nn.Module, Dataset, Callable]:
    """What a stage trains, the dataset of `count` items that it learns from, and the collate function of its batches."""
    items = rows.dataset(stage, count, processor)
    if stage == "name":
        return Naming(model), items, partial(collate_names, processor)
    return model, items, processor.collate


def steps_per_stage(steps: int) -> dict[str, int]:
    """Steps of each stage, by `SHARES`; at least one each."""
    later = {stage: max(1, int(steps * SHARES[stage])) for stage in ("align", "ask")}
    return {"name": steps - sum(later.values()), **later}


def seconds_per_step(stage: str, model, processor, rows, batch: int) -> float:
    """Median time of a few steps at a learning rate of 0, which changes no weight; the first is warm-up."""
    model.train()
    learner, items, collate = stage_setup(stage, model, processor, rows, 4 * batch)
    optimizer, times = MuonAdamW(learner, lr=0.0), []
    for first in range(0, len(items), batch):
        start = time.perf_counter()
        inputs = collate([items[i] for i in range(first, first + batch)])
        inputs = {k: v.to(model.device) for k, v in inputs.items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=has_fast_bf16()):
            loss = learner(**inputs)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def finetune(model: FavorForConditionalGeneration, processor: FavorProcessor, rows, out, *,
             steps: dict[str, int], batch: int = 32, lr: float = 1e-3, seed: int = 0, **options) -> list[dict]:
    """Train connector and LoRA stage by stage; returns the log, each entry with its `stage`: "name", "align" or "ask".

    Args:
        rows: what there is to learn from: `rows.dataset(stage, count, processor)` gives a dataset of `count` items, media
            dictionaries with `words` (stage "name") or `turns` (the others). `world.lessons.SceneRows` is one.
        steps: of each stage; a stage left out, or of 0 steps, is skipped.
        out: folder for checkpoints; call again with the same arguments to go on after a stop.
        options: passed on to `fit`.

    Raises:
        ValueError: there is no such stage.
    """
    if unknown := set(steps) - set(RATE):
        raise ValueError(f"no stage {sorted(unknown)}; the stages are {', '.join(RATE)}")
    model.train()
    log = []
    for stage in RATE:
        if not steps.get(stage):
            continue
        learner, data, collate = stage_setup(stage, model, processor, rows, steps[stage] * batch)
        entries = fit(learner, data, collate, Path(out) / stage, steps=steps[stage], batch=batch,
                      lr=lr * RATE[stage], seed=seed, **options)
        log += [{"stage": stage, **entry} for entry in entries]
        if entries[-1]["step"] < steps[stage]:
            break  # a callback stopped it: the next stage must not go on from here
    return log
