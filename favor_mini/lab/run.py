"""One run of a comparison: train one arm with one seed, ask it questions, keep the results.

This file and its imports decide a run's results, and `code_digest("lab.run")` makes its key of
them. So it imports no statistics: editing how results are summarised repeats no training.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from ..config import FavorConfig
from ..evaluation.checkpoint import checkpoint_digest
from ..keys import LIBRARIES, code_digest, digest, library_versions, part_digest
from ..machine import has_fast_bf16, machine
from ..model import FavorForConditionalGeneration
from ..pretraining.validation import question_rows, task_rows
from ..processor import FavorProcessor
from ..registry import SLOTS, find
from ..storage import exclusive, write_json
from ..training.finetune import finetune
from ..world.rows import encode_scenes, scene_code, scene_of, training_clips
from ..world.scene import SPLITS
from .own import check_rows, own_answers, own_digest, own_rows
from .plan import RECIPE, WITHOUT, Plan, arm_name, left_out, scene_names

# (model, processor, changes of an arm) -> what `training.finetune` takes as rows
Data = Callable[..., Any]
POINTS = 20  # of a learning curve, at least
SPLIT = "test"  # asked about; "validation" chose the training recipe
FIRST = 4 * 10**7  # of the training scenes; the frozen parts were trained on earlier ones


def run(folder: Path, plan: Plan, arm: dict, seed: int, data: Data, file: Path,
        progress: bool, keep: bool = False, loggers=()) -> dict:
    """Train one arm with one seed, ask it questions, keep the results in `file`.

    If another process makes this run already, its results are waited for.

    Args:
        folder: the checkpoint with the frozen parts.
        data: from `training_data`.
        keep: keep the trained model, too, in the folder `model` next to `file`.
        loggers: as `report_to` of `training.trainer.fit`; what they write stays in the folder
            `run` next to `file`.
    """
    with exclusive(file.parent / "busy.lock", wait=True):
        if not is_done(file, keep):
            _run(folder, plan, arm, seed, data, file, progress, keep, loggers)
        finished = file.parent / "run"
        for checkpoint in [*finished.glob("*/checkpoint-*")] if loggers else [finished]:
            shutil.rmtree(checkpoint, ignore_errors=True)
        (file.parent / "seconds.json").unlink(missing_ok=True)
        return json.loads(file.read_text())


def is_done(file: Path, keep: bool) -> bool:
    """Whether a run's results exist; with `keep`, its trained model, too."""
    return file.exists() and (not keep or (file.parent / "model").is_dir())


def _run(folder: Path, plan: Plan, arm: dict, seed: int, data: Data, file: Path,
         progress: bool, keep: bool, loggers) -> None:
    changes = {**plan.fixed, **arm}
    model, processor = fresh_model(folder, seed, changes)
    recipe, clock = plan.recipe(changes), _Clock(file.parent / "seconds.json")
    steps = recipe.steps(plan.steps)
    log = finetune(
        model, processor, data(model, processor, changes), file.parent / "run", steps=steps,
        stages=recipe.stages, batch=plan.batch, lr=plan.lr, seed=seed, save_steps=100,
        log_steps=max(1, min(min(steps.values()) // 2, plan.steps // POINTS)), progress=progress,
        callbacks=[clock], report_to=loggers)
    model.eval()
    if keep:
        unfinished, kept = file.parent / "model.part", file.parent / "model"
        for old in (unfinished, kept):  # of an interrupted run
            shutil.rmtree(old, ignore_errors=True)
        for part in (model, processor):
            part.save_pretrained(unfinished)
        os.replace(unfinished, kept)
    rows = answers(plan, model, processor, file.parent)
    curve = [{k: entry[k] for k in ("stage", "step", "cross_entropy", "diversity")}
             for entry in log if "cross_entropy" in entry]
    losses = {e["stage"]: {k: e[k] for k in ("cross_entropy", "diversity")} for e in curve}
    write_json(file, {
        "arm": arm_name(arm), "changes": changes, "seed": seed,
        "split": plan.validation or SPLIT, "steps": steps,
        "batch": plan.batch, "lr": plan.lr, "clips": plan.clips, "seconds": round(clock.seconds),
        "losses": losses, "curve": curve, **connector_cost(model), "machine": machine(),
        "rows": rows})


def answers(plan: Plan, model, processor, folder: Path) -> list[dict]:
    """The questions of a plan, and what a model answers."""
    if plan.file:
        return own_answers(plan, model, processor, folder)
    if plan.tasks:
        return result_rows(task_rows(model, processor, plan.scenes, split=SPLIT))
    return result_rows(question_rows(model, processor, plan.scenes, plan.questions, split=SPLIT))


def result_rows(rows: list) -> list[dict]:
    """Answered questions (`evaluation.scores.Row`) as they are kept in a run's results."""
    return [{
        "clip": r.clip, "family": r.family, "question": r.question, "chance": round(r.chance, 3),
        "right": r.correct, "predicted": r.predicted, "answer": r.answer} for r in rows]


class _Clock(TrainerCallback):
    """Seconds of training, added up over the interruptions of a run."""

    def __init__(self, file: Path):
        self.file, self.seconds = file, json.loads(file.read_text()) if file.exists() else 0.0

    def on_train_begin(self, *_, **__):
        self.last = time.perf_counter()

    def on_step_end(self, *_, **__):
        now = time.perf_counter()
        self.seconds, self.last = self.seconds + now - self.last, now

    def on_save(self, *_, **__):
        write_json(self.file, self.seconds)


def training_data(folder: Path, plan: Plan, cache: Path, progress: bool) -> Data:
    """The training data of a plan, as a function of a model, its processor and the changes of its
    arm. Media are encoded once; the features are kept in `cache/features`."""
    model, processor = fresh_model(folder, 0, plan.fixed)
    cache = cache / "features"
    if plan.file:
        check_rows(plan, own_rows(plan, model, processor, cache, progress))
        return lambda model, processor, changes: own_rows(plan, model, processor, cache)
    if plan.tasks:
        data = training_clips(model, processor, plan.pool, cache, progress, FIRST)
    else:
        first = SPLITS["train"].start + FIRST
        data = encode_scenes(model, processor, range(first, first + plan.pool), cache=cache,
                             progress=progress)
    return lambda model, processor, changes: plan.recipe(changes).rows(
        scenes_without(left_out(changes), plan, data))


def scenes_without(names: set[str], plan: Plan, data: list[dict]) -> list[dict]:
    """The first encoded scenes without these names, as many as each arm of the plan has.

    Raises:
        ValueError: there are fewer.
    """
    wanted = len(data) * plan.clips // plan.pool
    chosen = [e for e in data if not names or not names & scene_names(scene_of(e))][:wanted]
    if len(chosen) < wanted:
        raise ValueError(f"{len(chosen)} of {plan.pool} training clips are without "
                         f"{'+'.join(sorted(names))}, {wanted} are needed. Fix: leave out less")
    return chosen


def fresh_model(folder, seed: int, changes: dict
                ) -> tuple[FavorForConditionalGeneration, FavorProcessor]:
    """A checkpoint's frozen parts with an untrained connector and LoRA, and their processor.

    Args:
        seed: of the initial weights. changes: to the config, as in an arm of a `Plan`.

    Raises:
        ValueError: the checkpoint lacks weights of the frozen parts.
    """
    source, info = FavorForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    frozen = {name for name, parameter in source.named_parameters() if not parameter.requires_grad}
    if missing := sorted(frozen & set(info["missing_keys"])):
        raise ValueError(f"{folder} has no {', '.join(missing)}. Fix: use a complete checkpoint")
    fields = {**source.config.to_dict(), **changes}
    for name in (WITHOUT, RECIPE):
        fields.pop(name, None)
    config = FavorConfig(**fields)
    model = FavorForConditionalGeneration.from_frozen(config, source.frozen_modules(), seed)
    processor = FavorProcessor.from_pretrained(folder)
    processor.settings = replace(processor.settings, **{
        name: getattr(config, name) for name in ("window_frames", "num_queries", "windows")})
    return model.to(_device()), processor


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def connector_cost(model, seconds: float = 10.0) -> dict[str, float]:
    """Parameters of the connector, and GFLOP (10^9 operations) of its forward pass over a clip."""
    config, frames = model.config, round(seconds * model.config.frame_rate)
    like = {"device": model.device, "dtype": model.projection.weight.dtype}
    clip = (torch.randn(1, frames, config.visual_tokens, config.visual_width, **like),
            torch.randn(1, frames * config.audio_tokens, config.audio_hidden, **like))
    masks = [torch.ones(c.shape[:2], dtype=torch.bool, device=model.device) for c in clip]
    # On CPUs the counter leaves out fused attention. It fails without gradients, where a parameter
    # goes into a module as it is.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.projection(model.connect(*clip, *masks)[0])
    parameters = sum(p.numel() for name in model.CONNECTOR
                     for p in getattr(model, name).parameters())
    return {"parameters": parameters, "gflop": round(counter.get_total_flops() / 1e9, 3)}


def run_folder(out: Path, folder: Path, plan: Plan, arm: dict, seed: int) -> Path:
    """The folder of a run, named after all that decides its results: settings, weights, data, the
    code of training and of the registered parts in use, and library versions."""
    changes, decides = {**plan.fixed, **arm}, asdict(plan)
    for name in ("arms", "fixed", "seeds", "minutes", "file", "validation", "media_root"):
        del decides[name]
    if plan.file:
        decides["rows"] = own_digest(plan)
    decides |= {
        "changes": changes, "seed": seed, "pool": plan.pool,
        "parts": {k: part_digest(find(k, name)) for k, name in changes.items() if k in SLOTS},
        "checkpoint": checkpoint_digest(folder), "code": code_digest("lab.run"),
        "world": digest(*scene_code()),
        "libraries": library_versions(*LIBRARIES, "peft", "accelerate", "tokenizers"),
        "device": _device(), "bf16": has_fast_bf16()}
    return out / "runs" / digest(json.dumps(decides, sort_keys=True).encode())
