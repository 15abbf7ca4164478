"""Fine-tuning of connector and LoRA in three stages.

*name*: each output query is trained to match the embeddings of the words for its part of the window
(`naming`). *align*: the language model writes the transcript of the clip's events. *ask*: it
answers questions. Questions alone are a weak training signal: one short answer per clip.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset

from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from .cost import training_cost
from .naming import Naming, collate_names
from .order import items_needed
from .trainer import fit

SHARES = {"name": 0.8, "align": 0.1, "ask": 0.1}  # fraction of the training steps
# Factor on the learning rate. At higher rates the later stages undo what "name" has learned.
RATE = {"name": 1.0, "align": 0.1, "ask": 0.05}


def steps_per_stage(steps: int) -> dict[str, int]:
    """Divide `steps` (at least 3) among the stages by `SHARES`; each stage gets at least one."""
    later = {stage: max(1, int(steps * SHARES[stage])) for stage in ("align", "ask")}
    return {"name": steps - sum(later.values()), **later}


def stage_setup(stage: str, model, processor, rows, count: int
                ) -> tuple[nn.Module, Dataset, Callable]:
    """The module that a stage trains, its dataset of `count` items, and the collate function."""
    data = rows.dataset(stage, count, processor)
    if stage == "name":
        return Naming(model), data, partial(collate_names, processor)
    return model, data, processor.collate


def seconds_per_step(stage: str, model, processor, rows, batch: int) -> float:
    """Mean seconds of a training step, measured by `training_cost`."""
    module, data, collate = stage_setup(stage, model, processor, rows, 4 * batch)
    return training_cost(module, data, collate, batch=batch)["seconds_per_step"]


def finetune(model: FavorForConditionalGeneration, processor: FavorProcessor, rows, out, *,
             steps: dict[str, int], batch: int = 32, lr: float = 1e-3, seed: int = 0, **options
             ) -> list[dict]:
    """Train connector and LoRA stage by stage.

    Args:
        rows: an object such as `world.lessons.SceneRows`. Its `dataset(stage, count, processor)`
            returns `count` dictionaries with a clip's media and `words` (stage "name") or `turns`
            (other stages).
        out: folder of checkpoints. Call again with the same arguments and starting weights to
            resume a stopped run.
        steps: number of training steps of each stage; a stage without steps is skipped.
        lr: peak learning rate, multiplied by `RATE` in each stage.
        options: passed to `fit`.

    Returns:
        The log of all stages; each entry has its `stage`.

    Raises:
        ValueError, OSError: there is no such stage, or `fit` refuses.
    """
    if unknown := set(steps) - set(RATE):
        raise ValueError(f"found stages {sorted(unknown)}, expected {', '.join(RATE)}. Fix: use "
                         "these names")
    model.train()
    log = []
    for stage in RATE:
        if not steps.get(stage):
            continue
        module, data, collate = stage_setup(stage, model, processor, rows,
                                           items_needed(steps[stage], batch,
                                                        options.get("accumulate", 1)))
        entries = fit(module, data, collate, Path(out) / stage, steps=steps[stage], batch=batch,
                      lr=lr * RATE[stage], seed=seed, **options)
        log += [{"stage": stage, **entry} for entry in entries]
        if entries[-1]["step"] < steps[stage]:
            break  # a callback stopped this stage, so the next one cannot start
    return log
