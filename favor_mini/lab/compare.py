"""Paired comparisons: change one thing about the connector, train it several times from nothing, see whether it helps.

    favor-mini compare --vary attention=block_causal,full,none --seeds 5 --minutes 3

Arms that share a seed share the order of the data, the first random numbers, the number of steps and the questions; so
what differs between them is the arm. The frozen parts are a checkpoint's. Every run is kept under a name made of all that
decides its outcome: a run that is there is not made again, one that was stopped goes on.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint
from ..keys import digest
from ..storage import atomic_write
from ..training.finetune import SHARES, seconds_per_step, steps_per_stage
from ..world.lessons import SceneRows
from ..world.rows import encode_scenes, training_clips
from ..world.scene import SPLITS
from .plan import Plan, arm_name
from .run import connector_cost, fresh_model, run, run_folder
from .statistics import Comparison


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
    with atomic_write(out / "results.json") as unfinished:
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
        steps = steps_per_stage(plan.steps)
        minutes = sum(steps[stage] * seconds[stage] for stage in steps) / 60
        left = sum(not (run_folder(out, folder, plan, arm, seed) / "result.json").exists() for seed in range(plan.seeds))
        total += left * minutes
        cost = connector_cost(model)
        mean = minutes * 60 / plan.steps
        lines.append(f"{arm_name(arm):<40}{cost['parameters']:>12,}{cost['gflop']:>14.2f}{mean:>10.2f}{minutes:>15.1f}")
    lines.append(f"{plan.seeds} seeds, {plan.steps} steps a run; about {total:.0f} minutes of training left, and up to half "
                 "a minute of questions a run")
    return "\n".join(lines)


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
        with atomic_write(file) as unfinished:
            unfinished.write_text(json.dumps(steps))
    return replace(plan, steps=steps)


def _step_seconds(model, processor, data: list[dict], batch: int) -> dict[str, float]:
    return {stage: seconds_per_step(stage, model, processor, SceneRows(data), batch) for stage in SHARES}
