"""One run of a comparison: train one arm with one seed, ask it, keep the result."""

import inspect
import json
import os
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from ..config import FavorConfig
from ..evaluation.checkpoint import checkpoint_digest
from ..keys import code_digest, digest
from ..machine import has_fast_bf16, machine
from ..model import FavorForConditionalGeneration
from ..pretraining.validation import task_rows, validation_rows
from ..processor import FavorProcessor
from ..registry import SLOTS, own_file, part
from ..storage import atomic_write
from ..training.finetune import finetune, steps_per_stage
from ..world.lessons import SceneRows
from ..world.rows import scene_of
from .plan import WITHOUT, Plan, arm_name, left_out, named

PLAIN = (bool, int, float, str, tuple, list, dict)  # what a name may hold whose value is told by its repr


def run(folder: Path, plan: Plan, arm: dict, seed: int, data: list[dict], file: Path, progress: bool, keep: bool = False) -> dict:
    """Train one arm with one seed, ask it, keep the result in `file`. Where another process is at it, wait for its result."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.parent / "busy.lock"):
        if file.exists() and (not keep or (file.parent / "model").is_dir()):
            return json.loads(file.read_text())
        return _run(folder, plan, arm, seed, data, file, progress, keep)


def _run(folder: Path, plan: Plan, arm: dict, seed: int, data: list[dict], file: Path, progress: bool, keep: bool) -> dict:
    changes = {**plan.fixed, **arm}
    model, processor = fresh_model(folder, seed, changes)
    missing, wanted = left_out(changes), len(data) * plan.clips // plan.pool
    data = [e for e in data if not missing or not missing & named(scene_of(e))][:wanted]
    if len(data) < wanted:
        raise ValueError(f"{len(data)} of {plan.pool} training clips are without {changes[WITHOUT]}, wanted are {wanted}; leave out less")
    steps = steps_per_stage(plan.steps)
    clock = _Clock(file.parent / "seconds.json")
    log = finetune(model, processor, SceneRows(data), file.parent / "run", steps=steps, batch=plan.batch, lr=plan.lr,
                   seed=seed, save_steps=100, log_steps=max(1, min(steps.values()) // 2), progress=progress, callbacks=[clock])
    model.eval()
    if keep:
        unfinished, kept = file.parent / "model.part", file.parent / "model"
        for old in (unfinished, kept):  # of a start that was killed
            shutil.rmtree(old, ignore_errors=True)
        model.save_pretrained(unfinished)
        processor.save_pretrained(unfinished)
        os.replace(unfinished, kept)
    rows = task_rows(model, processor, plan.scenes) if plan.tasks else validation_rows(model, processor, plan.scenes, plan.questions)
    losses = {entry["stage"]: {k: entry[k] for k in ("cross_entropy", "diversity")} for entry in log if "cross_entropy" in entry}
    result = {
        "arm": arm_name(arm), "changes": changes, "seed": seed, "steps": steps, "batch": plan.batch,
        "lr": plan.lr, "clips": plan.clips, "seconds": round(clock.seconds), "losses": losses, **connector_cost(model),
        "rows": [{"clip": r.clip, "family": r.family, "question": r.question, "chance": round(r.chance, 3), "right": r.correct,
                  "predicted": r.predicted, "answer": r.answer} for r in rows],
        "machine": machine()}
    with atomic_write(file) as unfinished:
        unfinished.write_text(json.dumps(result))
    shutil.rmtree(file.parent / "run")  # the checkpoints; what they were for is done
    return result


class _Clock(TrainerCallback):
    """Seconds of training, over all starts of a run that was stopped."""

    def __init__(self, file: Path):
        self.file, self.seconds = file, json.loads(file.read_text()) if file.exists() else 0.0

    def on_train_begin(self, *_, **__):
        self.last = time.perf_counter()

    def on_step_end(self, *_, **__):
        now = time.perf_counter()
        self.seconds, self.last = self.seconds + now - self.last, now

    def on_save(self, *_, **__):
        with atomic_write(self.file) as unfinished:
            unfinished.write_text(json.dumps(self.seconds))


def fresh_model(folder, seed: int, changes: dict) -> tuple[FavorForConditionalGeneration, FavorProcessor]:
    """A checkpoint's frozen parts with a changed connector and LoRA, both untrained; and the processor that fits."""
    known = FavorConfig.from_pretrained(folder).to_dict()
    config = FavorConfig(**{**known, **{name: value for name, value in changes.items() if name != WITHOUT}})
    model = FavorForConditionalGeneration(config)
    trained = (*(f"{name}." for name in model.CONNECTOR),)
    frozen = {k if config.lora_rank else k.replace(".base_layer.", "."): v
              for k, v in load_file(Path(folder) / "model.safetensors").items()
              if not k.startswith(trained) and "lora_" not in k}
    lacking = [k for k in model.load_state_dict(frozen, strict=False).missing_keys
               if not k.startswith(trained) and "lora_" not in k
               and not (config.language_config.tie_word_embeddings and k.endswith("lm_head.weight"))]
    if lacking:
        raise ValueError(f"{folder} lacks {', '.join(lacking)}")
    model.reset_trained(seed)
    processor = FavorProcessor.from_pretrained(folder)
    processor.settings = replace(processor.settings, window_frames=config.window_frames, num_queries=config.num_queries,
                                 windows=config.windows)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), processor


@torch.no_grad()
def connector_cost(model, seconds: float = 10.0) -> dict[str, float]:
    """Parameters of the connector, and the arithmetic of one forward pass over a clip, in GFLOP (10^9 operations)."""
    config, frames = model.config, round(seconds * model.config.frame_rate)
    like = {"device": model.device, "dtype": model.projection.weight.dtype}
    clip = (torch.randn(1, frames, config.visual_tokens, config.visual_width, **like),
            torch.randn(1, frames * config.audio_tokens, config.audio_config.d_model, **like))
    masks = [torch.ones(c.shape[:2], dtype=torch.bool, device=model.device) for c in clip]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # fused attention is not counted on CPUs
        model.projection(model.connect(*clip, *masks)[0])
    parameters = sum(p.numel() for name in model.CONNECTOR for p in getattr(model, name).parameters())
    return {"parameters": parameters, "gflop": round(counter.get_total_flops() / 1e9, 3)}


def run_folder(out: Path, folder: Path, plan: Plan, arm: dict, seed: int) -> Path:
    """Where a run is kept: another folder for any change that could change its outcome, code of one's own parts included."""
    changes = {**plan.fixed, **arm}
    own = {slot: _source(part(slot, name).make) for slot, name in changes.items() if slot in SLOTS}
    decides = {**{k: v for k, v in asdict(plan).items() if k not in ("arms", "fixed", "seeds", "minutes")},
               "changes": changes, "seed": seed, "own": own, "pool": plan.pool, "checkpoint": checkpoint_digest(folder),
               "code": code_digest("lab.run"),
               "device": "cuda" if torch.cuda.is_available() else "cpu", "bf16": has_fast_bf16()}
    return out / "runs" / digest(json.dumps(decides, sort_keys=True).encode())


def _source(make) -> str:
    """The code of a part that does not come with the package, so that an edited one is trained anew: the file that it stands
    in, or where that is a notebook, its own lines and those of all that it uses from there."""
    if make.__module__.startswith("favor_mini."):
        return ""  # `_code` tells
    if file := own_file(make):
        return file.read_text()
    lines: dict[str, str] = {}
    try:
        _lines(make, make.__module__, lines)
    except (OSError, TypeError):  # typed into a bare interpreter
        pass
    return f"{make.__qualname__}{lines}"


def _lines(what, module: str, known: dict[str, str]) -> None:
    """Fill `known` with the lines of a function or class of `module`, of what it inherits, and of what it names from there."""
    for kind in reversed(getattr(what, "__mro__", [])):
        if kind.__module__ == module:
            known |= {f"{kind.__qualname__}.{name}": repr(v) for name, v in vars(kind).items() if isinstance(v, PLAIN) and name[:2] != "__"}
            for method in vars(kind).values():
                method = getattr(method, "__func__", getattr(method, "fget", method))  # of static methods and properties
                if inspect.isfunction(method):
                    _lines(method, module, known)
    if not inspect.isfunction(what) or what.__qualname__ in known:
        return
    known[what.__qualname__] = inspect.getsource(what)
    known |= {f"{what.__qualname__}.{name}": repr(v) for name, v in inspect.getclosurevars(what).nonlocals.items() if isinstance(v, PLAIN)}
    codes = [what.__code__]
    for code in codes:  # grows by the functions inside
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
        for name in code.co_names:
            value = what.__globals__.get(name)
            if isinstance(value, PLAIN):
                known[name] = repr(value)
            elif (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module:
                _lines(value, module, known)
