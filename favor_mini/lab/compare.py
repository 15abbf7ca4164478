"""Paired comparisons: change one thing about the connector, train it several times from nothing, see whether it helps.

    favor-mini compare --vary attention=block_causal,full,none --seeds 5 --minutes 3

Arms that share a seed share the order of the data, the first random numbers, the number of steps and the questions; so
what differs between them is the arm. The frozen parts are a checkpoint's. Every run is kept under a name made of all that
decides its outcome: a run that is there is not made again, one that was stopped goes on.
"""

import inspect
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback
from transformers.utils.logging import disable_progress_bar

from ..ask import checkpoint_digest, find_checkpoint
from ..config import FavorConfig
from ..features import encode_scenes, scene_of
from ..files import digest, package_code, replacing
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from ..recipe import task_rows, training_clips, validation_rows
from ..registry import SLOTS, own_file, part
from ..training import SHARES, finetune, has_bf16, seconds_per_step, share_out
from ..world.scene import SPLITS
from .plan import WITHOUT, Plan, arm_name, left_out, named
from .statistics import Comparison

PLAIN = (bool, int, float, str, tuple, list, dict)  # what a name may hold whose value is told by its repr


def compare(plan: Plan, out="build/compare", *, checkpoint=None, progress: bool = True, cache=None, keep: bool = False) -> Comparison:
    """Make all runs of the plan that are not there yet; returns what they say. Writes `out/results.json`.

    Args:
        cache: where runs and features are kept, `out` by default. Comparisons that share it share the runs that they have in common.
        keep: leave the trained models, too, each in the folder that is told; a run whose model is gone is made again.

    Raises:
        FileNotFoundError: there is no checkpoint to take the frozen parts from.
    """
    folder, out = find_checkpoint(checkpoint), Path(out)
    cache = out if cache is None else Path(cache)
    disable_progress_bar()  # transformers' own, for files; the training's stays
    for arm in plan.arms:
        fresh_model(folder, 0, {**plan.fixed, **arm})  # sizes that cannot be fail here, not an hour later
    data = _encode(folder, plan, cache, progress)
    plan = _with_steps(plan, folder, data, cache)
    wanted = [(seed, arm) for seed in range(plan.seeds) for arm in plan.arms]  # seed by seed: pairs are whole early
    results, took = [], []
    for number, (seed, arm) in enumerate(wanted, 1):
        start, file = time.perf_counter(), run_folder(cache, folder, plan, arm, seed) / "result.json"
        known = file.exists() and (not keep or (file.parent / "model").is_dir())
        result = json.loads(file.read_text()) if known else run(folder, plan, arm, seed, data, file, progress, keep)
        results.append({**result, "arm": arm_name(arm)})  # it may have been made under another name
        took += [] if known else [time.perf_counter() - start]
        left = f", about {(len(wanted) - number) * sum(took) / len(took) / 60:.0f} min left" if took else ""
        right = sum(row["right"] for row in result["rows"]) / len(result["rows"])
        print(f"run {number} of {len(wanted)}: {arm_name(arm)}, seed {seed}: {right:.1%} right"
              + (" (was there)" if known else left) + (f"; {file.parent / 'model'}" if keep else ""), file=sys.stderr, flush=True)
    comparison = Comparison(results)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "results.json") as unfinished:
        comparison.save(unfinished)
    return comparison


def dry_run(plan: Plan, out="build/compare", *, checkpoint=None, progress: bool = True) -> str:
    """What the comparison would cost: runs, steps, and minutes by a few steps of each arm."""
    folder, out = find_checkpoint(checkpoint), Path(out)
    few = replace(plan, clips=min(plan.clips, 4 * plan.batch))
    data = _encode(folder, few, out, progress)
    plan = _with_steps(plan, folder, data, out, keep=False)
    lines, total = [f"{'arm':<40}{'parameters':>12}{'GFLOP a clip':>14}{'s a step':>10}{'minutes a run':>15}"], 0.0
    for arm in plan.arms:
        model, processor = fresh_model(folder, 0, {**plan.fixed, **arm})
        seconds = _step_seconds(model, processor, data, plan.batch)
        steps = share_out(plan.steps)
        minutes = sum(steps[stage] * seconds[stage] for stage in steps) / 60
        left = sum(not (run_folder(out, folder, plan, arm, seed) / "result.json").exists() for seed in range(plan.seeds))
        total += left * minutes
        cost = connector_cost(model)
        mean = minutes * 60 / plan.steps
        lines.append(f"{arm_name(arm):<40}{cost['parameters']:>12,}{cost['gflop']:>14.2f}{mean:>10.2f}{minutes:>15.1f}")
    lines.append(f"{plan.seeds} seeds, {plan.steps} steps a run; about {total:.0f} minutes of training left, and up to half "
                 "a minute of questions a run")
    return "\n".join(lines)


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
    steps = share_out(plan.steps)
    clock = _Clock(file.parent / "seconds.json")
    log = finetune(model, processor, data, file.parent / "run", steps=steps, batch=plan.batch, lr=plan.lr,
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
    with replacing(file) as unfinished:
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
        with replacing(self.file) as unfinished:
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


def machine() -> dict[str, str]:
    """What the seconds depend on, and the versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores, {platform.machine()}"
    return {"device": device, "threads": torch.get_num_threads(),
            **{name: version(name).split("+")[0] for name in ("favor-mini", "torch", "transformers", "peft")}}


def run_folder(out: Path, folder: Path, plan: Plan, arm: dict, seed: int) -> Path:
    """Where a run is kept: another folder for any change that could change its outcome, code of one's own parts included."""
    changes = {**plan.fixed, **arm}
    own = {slot: _source(part(slot, name).make) for slot, name in changes.items() if slot in SLOTS}
    decides = {**{k: v for k, v in asdict(plan).items() if k not in ("arms", "fixed", "seeds", "minutes")},
               "changes": changes, "seed": seed, "own": own, "pool": plan.pool, "checkpoint": checkpoint_digest(folder),
               "code": package_code(),
               "device": "cuda" if torch.cuda.is_available() else "cpu", "bf16": has_bf16()}
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


def _encode(folder: Path, plan: Plan, out: Path, progress: bool) -> list[dict]:
    model, processor = fresh_model(folder, 0, {})
    first, cache = 4 * 10**7, out / "features"  # beyond the scenes that the frozen parts learned from
    if plan.tasks:
        return training_clips(model, processor, plan.pool, cache, progress, first)
    seeds = range(SPLITS["train"].start + first, SPLITS["train"].start + first + plan.pool)
    return encode_scenes(model, processor, seeds, cache=cache, progress=progress)


def _with_steps(plan: Plan, folder: Path, data: list[dict], out: Path, keep: bool = True) -> Plan:
    """The plan with its number of steps: measured once on the first arm, then kept, so that a stopped comparison goes on."""
    if plan.steps is not None:
        return plan
    baseline = {**plan.fixed, **plan.arms[0]}
    file = out / f"steps-{digest(json.dumps([baseline, plan.minutes, plan.batch, plan.tasks, checkpoint_digest(folder)]).encode())}.json"
    if file.exists():
        return replace(plan, steps=json.loads(file.read_text()))
    model, processor = fresh_model(folder, 0, baseline)
    seconds = _step_seconds(model, processor, data, plan.batch)
    mean = sum(share * seconds[stage] for stage, share in SHARES.items())
    steps = max(len(SHARES), int(60 * plan.minutes / mean))
    if keep:
        with replacing(file) as unfinished:
            unfinished.write_text(json.dumps(steps))
    return replace(plan, steps=steps)


def _step_seconds(model, processor, data: list[dict], batch: int) -> dict[str, float]:
    return {stage: seconds_per_step(stage, model, processor, data, batch) for stage in SHARES}


