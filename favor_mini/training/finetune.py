"""Fine-tuning of connector and LoRA in two stages, from rows of a clip and its text.

*align*: the output queries learn to spell the text of a clip in the language model's embeddings
(`alignment`). *ask*: the language model answers questions, and LoRA and connector adapt to each
other. Questions alone are a weak training signal: a short answer for each clip, and a gradient
through a language model that cannot read the queries yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from ..data.spelling import blank_token
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from .alignment import Alignment, Asking, collate_asking, collate_texts
from .cost import training_cost
from .order import items_needed
from .trainer import fit


@dataclass(frozen=True)
class Stage:
    """How a stage trains.

    module: (model, processor) -> a module whose output has `loss`.
    collate: (processor, examples) -> a batch.
    rate: factor on the learning rate. lora_rate: another factor, on LoRA's.
    """

    module: Callable[[FavorForConditionalGeneration, FavorProcessor], nn.Module]
    collate: Callable[[FavorProcessor, list[dict]], dict]
    rate: float = 1.0
    lora_rate: float = 1.0


STAGES = {
    "align": Stage(lambda model, processor: Alignment(model, blank_token(processor)),
                   collate_texts),
    # A frozen language model has never read blanks: LoRA learns that, three times as fast as an
    # untrained connector learns. At a high rate the connector forgets what it has aligned.
    "ask": Stage(lambda model, processor: Asking(model, blank_token(processor)), collate_asking,
                 rate=0.05, lora_rate=60.0),
}
SHARES = {"align": 0.8, "ask": 0.2}  # fraction of the training steps


def steps_per_stage(steps: int, shares: dict[str, float] = SHARES) -> dict[str, int]:
    """Divide `steps` among the stages; each gets at least one, the first the rest."""
    first, *later = shares
    found = {stage: max(1, int(steps * shares[stage])) for stage in later}
    return {first: steps - sum(found.values()), **found}


def stage_setup(stage: Stage, name: str, model, processor, rows, count: int
                ) -> tuple[nn.Module, Dataset, Callable]:
    """The module that a stage trains, its dataset of `count` items, and the collate function."""
    data = rows.dataset(name, count, processor)
    return stage.module(model, processor), data, partial(stage.collate, processor)


def finetune(model: FavorForConditionalGeneration, processor: FavorProcessor, rows, out, *,
             steps: dict[str, int], stages: dict[str, Stage] = STAGES, batch: int = 32,
             lr: float = 1e-3, seed: int = 0, validation=None, **options) -> list[dict]:
    """Train connector and LoRA stage by stage.

    Args:
        rows: an object such as `data.encoded.EncodedRows` or `world.lessons.SceneRows`. Its
            `dataset(stage, count, processor)` returns `count` dictionaries with a clip's media,
            and `text` (stage "align") or `turns`, perhaps with `text` (stage "ask").
        out: folder of checkpoints. Call again with the same arguments and starting weights to
            resume a stopped run.
        steps: number of training steps of each stage; a stage without steps is skipped.
        stages: in the order of training.
        batch: clips in one forward pass of one process.
        lr: peak learning rate, multiplied by the stage's `rate`.
        validation: other rows, such as `EncodedRows`, whose cross-entropy is logged in the stages
            that they serve.
        options: passed to `fit`.

    Returns:
        The log of all stages; each entry has its `stage`.

    Raises:
        ValueError, OSError: there is no such stage, or `fit` refuses.
    """
    if unknown := set(steps) - set(stages):
        raise ValueError(f"found stages {sorted(unknown)}, expected {', '.join(stages)}. Fix: use "
                         "these names")
    model.train()
    log = []
    for name, stage in stages.items():
        if not steps.get(name):
            continue
        count = items_needed(steps[name], batch, options.get("accumulate", 1))
        held_out = None
        if validation is not None and name in validation.stages:
            held_out = validation.dataset(name, len(validation.rows), processor)
        entries = fit(*stage_setup(stage, name, model, processor, rows, count), Path(out) / name,
                      steps=steps[name], batch=batch, lr=lr * stage.rate, seed=seed,
                      lora_lr=stage.lora_rate, validation=held_out, **options)
        log += [{"stage": name, **entry} for entry in entries]
        if entries[-1]["step"] < steps[name]:
            break  # a callback stopped this stage, so the next one cannot start
    return log


def seconds_per_step(name: str, model, processor, rows, batch: int,
                     stages: dict[str, Stage] = STAGES) -> float:
    """Mean seconds of a training step, measured by `training_cost`."""
    setup = stage_setup(stages[name], name, model, processor, rows, 4 * batch)
    return training_cost(*setup, batch=batch)["seconds_per_step"]
