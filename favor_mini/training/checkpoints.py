"""The checkpoints of a run: which one is complete, which run they belong to."""

import json
import shutil
from pathlib import Path

from accelerate import PartialState
from torch import nn
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from ..keys import digest

COMPLETE = "complete"  # written when all of several processes have saved their random states


def _step(checkpoint) -> int:
    return int(Path(checkpoint).name.removeprefix("checkpoint-"))


def _folders(out) -> list[Path]:
    return [f for f in Path(out).glob("checkpoint-*") if f.name[11:].isdecimal()]


def last_checkpoint(out) -> str | None:
    """The newest complete checkpoint under `out`; Trainer writes trainer_state.json last."""
    for folder in sorted(_folders(out), key=_step, reverse=True):
        try:
            json.loads((folder / TRAINER_STATE_NAME).read_text())
        except (FileNotFoundError, ValueError):  # not one that cannot be read just now
            continue
        # Other processes may save after the first one has ended.
        if (folder / COMPLETE).exists() or not (folder / "rng_state_0.pth").exists():
            return str(folder)
    return None


def remove_checkpoints(out, *, but: str | None) -> list[Path]:
    """Remove the checkpoints under `out`, also incomplete ones, except one; returns the removed."""
    removed = [folder for folder in _folders(out) if str(folder) != but]
    for folder in removed:
        (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)  # half removed, it is incomplete
        shutil.rmtree(folder, ignore_errors=True)
    return removed


class KeepLast(TrainerCallback):
    """Removes the earlier checkpoints. Trainer's `save_total_limit` goes by the clock: after the
    clock was set back, it would remove the new ones."""

    def on_train_begin(self, args, state, control, **_):
        state.compute_steps(args, state.max_steps)  # of this start, not of the checkpoint

    def on_save(self, args, state, control, **_):
        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        if args.world_size > 1:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
        remove_checkpoints(args.output_dir, but=last_checkpoint(args.output_dir))


def model_digest(model: nn.Module) -> str:
    """The class of a model and its config, without the fields that saving and loading change."""
    changed = ("transformers_version", "architectures", "dtype", "use_cache")
    config = next((m.config for m in model.modules() if hasattr(m, "config")), None)
    fields = config and json.loads(config.to_json_string(use_diff=False), object_hook=lambda d: {
        k: v for k, v in d.items() if k not in changed and not k.startswith("_")})
    return digest(json.dumps([type(model).__name__, fields], sort_keys=True).encode())


def check_same_run(out: Path, run: dict, steps: int) -> None:
    """Refuse to resume another run.

    Raises:
        ValueError: `out/run.json`, which holds what decides a run, differs from `run`. Or that run
            has more than `steps` steps. Or `run` does not say what its data are.
    """
    file, last = out / "run.json", last_checkpoint(out)
    if file.exists() and (found := json.loads(file.read_text())) != run:
        other = [name for name in run if found.get(name) != run[name]]
        raise ValueError(f"found in {out} a run with other {', '.join(other)}: "
                         f"{[found.get(name) for name in other]}, expected "
                         f"{[run[name] for name in other]}. Fix: start with the same weights and "
                         "settings, choose another folder, or remove that one")
    if last and (done := _step(last)) > steps:
        raise ValueError(f"found a run of {done} steps in {out}, expected at most {steps}. Fix: "
                         "give the same number of steps as before, choose another folder, or "
                         "remove that one")
    if last and not run["data"]:
        raise ValueError(f"found a checkpoint of an earlier run in {out}, and data without "
                         "`identity`: whether they belong together is not known. Fix: give the "
                         "dataset an attribute `identity`, a text that says what it holds; or "
                         "choose another folder, or resume=False")
