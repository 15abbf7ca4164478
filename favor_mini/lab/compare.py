"""Paired comparisons: change one thing about the connector, train it with several seeds, measure.

    favor-mini compare --vary attention=block_causal,full,none --seeds 5 --minutes 3

Arms with the same seed share the order of the data, the initial weights, the number of steps and
the questions; they differ only in the arm's change. The frozen parts come from a checkpoint. A
finished run is not repeated, and an interrupted one is resumed.
"""

import json
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint
from ..keys import digest
from ..registry import SLOTS, find
from ..storage import atomic_write, write_json
from ..training.finetune import seconds_per_step
from .plan import Plan, arm_name, load_parts
from .run import Data, connector_cost, fresh_model, is_done, run, run_folder, training_data
from .statistics import Comparison


def compare(plan: Plan, out="build/compare", *, checkpoint=None, progress: bool = True, cache=None,
            keep: bool = False, jobs: int = 1, parts: str | None = None, loggers=()
            ) -> Comparison:
    """Make all runs of the plan that are missing, and compare. Writes `out/results.json`.

    Args:
        cache: folder of the runs and features, by default `out`. Comparisons can share it.
        keep: keep the trained models, too; each folder is printed. A finished run whose model was
            not kept is repeated.
        jobs: processes, of one thread each. They know parts of your own only from a file.
        parts: Python file that registers parts.
        loggers: of the trainings, as `report_to` of `training.trainer.fit`.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: several processes, and a part that only this notebook knows.
    """
    own = [part for arm in plan.arms for slot in SLOTS
           if (part := {**plan.fixed, **arm}.get(slot))
           and find(slot, part).__module__ == "__main__"]
    if own and jobs > 1:
        raise ValueError(f"found the part {own[0]!r} of this notebook and {jobs} processes, which "
                         "cannot import it. Fix: jobs=1, or define it in a file and pass parts=")
    folder, out = find_checkpoint(checkpoint), Path(out)
    cache = out if cache is None else Path(cache)
    disable_progress_bar()  # of transformers, for files; the bar of the training stays
    for arm in plan.arms:
        fresh_model(folder, 0, {**plan.fixed, **arm})  # impossible sizes fail here, not later
    data = training_data(folder, plan, cache, progress)
    plan = _with_steps(plan, folder, data, cache)
    # Seed by seed, so that an interrupted comparison has complete pairs.
    wanted = [(seed, arm) for seed in range(plan.seeds) for arm in plan.arms]
    results, took, helpers = [], [], []
    for first in range(1, jobs):  # this process takes the runs in order, and waits for the helpers'
        share = [run for run in wanted[first::jobs] if not is_done(
            run_folder(cache, folder, plan, run[1], run[0]) / "result.json", keep)]
        if share:
            helpers.append(get_context("spawn").Process(
                target=_help, args=(folder, plan, share, cache, keep, parts, loggers), daemon=True))
            helpers[-1].start()
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if helpers else threads)
    for number, (seed, arm) in enumerate(wanted, 1):
        start = time.perf_counter()
        file = run_folder(cache, folder, plan, arm, seed) / "result.json"
        known = is_done(file, keep)
        result = run(folder, plan, arm, seed, data, file, progress, keep, loggers)
        results.append({**result, "arm": arm_name(arm)})  # another plan may name it differently
        took += [] if known else [time.perf_counter() - start]
        minutes = (len(wanted) - number) * sum(took) / max(1, len(took)) / 60
        note = " (already done)" if known else f", about {minutes:.0f} min left"
        note += f"; {file.parent / 'model'}" if keep else ""
        right = sum(row["right"] for row in result["rows"]) / len(result["rows"])
        print(f"run {number} of {len(wanted)}: {arm_name(arm)}, seed {seed}: {right:.1%} correct"
              + note, file=sys.stderr, flush=True)
    for helper in helpers:
        helper.join()
    torch.set_num_threads(threads)
    comparison = Comparison(results)
    with atomic_write(out / "results.json") as unfinished:
        comparison.save(unfinished)
    return comparison


def _help(folder: Path, plan: Plan, share: list, cache: Path, keep: bool, parts: str | None,
          loggers) -> None:
    """Make a share of the runs, in a process of its own with one thread."""
    torch.set_num_threads(1)
    if parts:
        load_parts(parts)
    data = training_data(folder, plan, cache, False)
    for seed, arm in share:
        file = run_folder(cache, folder, plan, arm, seed) / "result.json"
        run(folder, plan, arm, seed, data, file, False, keep, loggers)


def dry_run(plan: Plan, out="build/compare", *, checkpoint=None, progress: bool = True) -> str:
    """The cost of a comparison, measured on a few steps of each arm, as a table; trains nothing."""
    folder, out = find_checkpoint(checkpoint), Path(out)
    few = replace(plan, clips=min(plan.clips, 4 * plan.batch))
    data = training_data(folder, few, out, progress)
    plan = _with_steps(plan, folder, data, out, keep=False)
    lines = [f"{'arm':<40}{'parameters':>12}{'GFLOP/clip':>14}{'s/step':>10}{'minutes/run':>15}"]
    total = 0.0
    for arm in plan.arms:
        changes = {**plan.fixed, **arm}
        model, processor = fresh_model(folder, 0, changes)
        steps = plan.recipe(changes).steps(plan.steps)
        seconds = _step_seconds(plan, changes, model, processor, data)
        minutes = sum(steps[stage] * seconds[stage] for stage in steps) / 60
        files = [run_folder(out, folder, plan, arm, seed) / "result.json"
                 for seed in range(plan.seeds)]
        total += minutes * sum(not is_done(file, keep=False) for file in files)
        cost = connector_cost(model)
        lines.append(f"{arm_name(arm):<40}{cost['parameters']:>12,}{cost['gflop']:>14.2f}"
                     f"{minutes * 60 / plan.steps:>10.2f}{minutes:>15.1f}")
    lines.append(f"{plan.seeds} seeds, {plan.steps} steps per run; about {total:.0f} minutes of "
                 "training left, and up to half a minute of questions per run")
    return "\n".join(lines)


def _with_steps(plan: Plan, folder: Path, data: Data, out: Path, keep: bool = True) -> Plan:
    """The plan with its number of steps: measured once, on the first arm, and kept in a file."""
    if plan.steps is not None:
        return plan
    baseline = {**plan.fixed, **plan.arms[0]}
    decides = [baseline, plan.minutes, plan.batch, plan.tasks, plan.file, checkpoint_digest(folder)]
    file = out / f"steps-{digest(json.dumps(decides).encode())}.json"
    if file.exists():
        return replace(plan, steps=json.loads(file.read_text(encoding="utf-8")))
    seconds = _step_seconds(plan, baseline, *fresh_model(folder, 0, baseline), data)
    mean = sum(share * seconds[stage] for stage, share in plan.recipe(baseline).shares.items())
    most = max(len(plan.recipe(arm).stages) for arm in plan.arms)
    steps = max(most, int(60 * plan.minutes / mean))
    if keep:
        write_json(file, steps)
    return replace(plan, steps=steps)


def _step_seconds(plan: Plan, changes: dict, model, processor, data: Data) -> dict[str, float]:
    """By stage, seconds per training step of an arm."""
    stages, rows = plan.recipe(changes).stages, data(model, processor, changes)
    return {stage: seconds_per_step(stage, model, processor, rows, plan.batch, stages)
            for stage in stages}
