"""One training run on transformers' Trainer: both parts of FAVOR's loss in the log, batches of
similar lengths, a progress bar, and exact resume."""

import json
import shutil
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import SAFE_WEIGHTS_NAME

from ..keys import digest, weights_digest
from ..machine import has_fast_bf16
from ..storage import exclusive, write_json
from .optimizer import MuonAdamW


class TrainedPart(nn.Module):
    """A model whose state dict, and so each checkpoint, holds only what is trained."""

    accepts_loss_kwargs = False  # Trainer: the loss is a mean over the batch

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(**inputs)

    def state_dict(self, *args, **kwargs) -> dict[str, torch.Tensor]:
        kept = {n for n, p in self.named_parameters() if p.requires_grad}  # tied weights once
        kept |= {n for n, _ in self.named_buffers()}
        return {n: t for n, t in super().state_dict(*args, **kwargs).items() if n in kept}

    def load_state_dict(self, state_dict, *args, **kwargs):
        return super().load_state_dict({**super().state_dict(), **state_dict}, *args, **kwargs)


class FavorTrainer(Trainer):
    """Trainer with batches of similar lengths and a log of both parts of the loss."""

    def get_train_dataloader(self) -> DataLoader:
        if not hasattr(self.train_dataset, "lengths"):
            return super().get_train_dataloader()
        args, data = self.args, self.train_dataset
        order = torch.Generator().manual_seed(args.data_seed)
        sampler = LengthGroupedSampler(args.train_batch_size, lengths=data.lengths, generator=order)
        return self.accelerator.prepare(DataLoader(
            data, args.train_batch_size, sampler=sampler, collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            persistent_workers=args.dataloader_persistent_workers,
            pin_memory=args.dataloader_pin_memory))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        cross_entropy, diversity = outputs.get("cross_entropy"), outputs.get("diversity")
        if model.training and cross_entropy is not None:
            if diversity is None:  # no example has a clip
                diversity = torch.zeros_like(cross_entropy)
            parts = torch.stack([p.detach().float() for p in (cross_entropy, diversity)])
            self._parts = [*getattr(self, "_parts", []), parts]
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs, *args, **kwargs):
        if "loss" in logs and getattr(self, "_parts", None):
            means = torch.stack(self._parts).mean(0).tolist()
            logs = {**logs, "cross_entropy": round(means[0], 4), "diversity": round(means[1], 4)}
            self._parts = []
        super().log(logs, *args, **kwargs)


class ProgressBar(TrainerCallback):
    """A tqdm bar over the steps with the last logged loss."""

    def __init__(self, name: str, shown: bool = True):
        self.name, self.shown = name, shown
        self.bar = tqdm(disable=True)  # until the training begins

    def on_train_begin(self, args, state, *_, **__):
        self.bar = tqdm(desc=self.name, total=state.max_steps, initial=state.global_step,
                        unit="step", disable=not (self.shown and state.is_world_process_zero))

    def on_step_end(self, *_, **__):
        self.bar.update()

    def on_log(self, *_, logs, **__):
        if "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def close(self):
        self.bar.close()


def _step(checkpoint) -> int:
    return int(Path(checkpoint).name.removeprefix("checkpoint-"))


def last_checkpoint(out) -> str | None:
    """The newest complete checkpoint under `out`; Trainer writes trainer_state.json last."""
    folders = [f for f in Path(out).glob("checkpoint-*") if f.name[11:].isdecimal()]
    for folder in sorted(folders, key=lambda f: -int(f.name[11:])):
        try:
            json.loads((folder / TRAINER_STATE_NAME).read_text())
            return str(folder)
        except (FileNotFoundError, ValueError):  # not one that cannot be read just now
            continue
    return None


def remove_checkpoints(out, *, but: str | None) -> list[Path]:
    """Remove the checkpoints under `out`, also incomplete ones, except one; returns the removed."""
    removed = [folder for folder in Path(out).glob("checkpoint-*")
               if folder.name[11:].isdecimal() and str(folder) != but]
    for folder in removed:
        (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)  # half removed, it is incomplete
        shutil.rmtree(folder, ignore_errors=True)
    return removed


class KeepLast(TrainerCallback):
    """Removes the earlier checkpoints. Trainer's `save_total_limit` goes by the clock: after the
    clock was set back, it would remove the new ones."""

    def on_save(self, args, state, *_, **__):
        if state.is_world_process_zero:
            remove_checkpoints(args.output_dir, but=last_checkpoint(args.output_dir))


def fit(model: nn.Module, data: Dataset, collate, out, *, steps: int, batch: int = 32,
        lr: float = 1e-3, seed: int = 0, workers: int = 0, save_steps: int = 500,
        resume: bool = True, callbacks=(), bf16: bool | None = None, warmup: float = 0.05,
        log_steps: int = 25, progress: bool = True) -> list[dict]:
    """Train with Trainer; returns its log. Called again with the same arguments and the same
    starting weights, a stopped run continues from its last checkpoint under `out`.

    Args:
        model: returns a dictionary with `loss` and, for the log, `cross_entropy` and `diversity`.
        data: at least steps * batch items: one epoch, in an order that `seed` decides. To resume,
            it needs `identity`, a text that tells it from other data.
        warmup: share of the steps in which the learning rate rises; it falls in the last quarter.
        bf16: autocast to bfloat16; None: where that is fast.
        log_steps: steps in one entry of the log, at most; a divisor of `save_steps` is chosen.

    Raises:
        ValueError: `out` holds another run (`check_same_run`), or one of more steps, or a
            checkpoint while the data have no `identity`.
        BlockingIOError: another process trains in `out`.
        OSError: `out` cannot be written.
    """
    out = Path(out)
    # Every checkpoint ends an entry: what is logged does not depend on where a run was stopped.
    log_steps = next(n for n in range(min(log_steps, save_steps), 0, -1) if save_steps % n == 0)
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=batch,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": -(-steps // 4)}, warmup_steps=warmup,
        max_grad_norm=1.0, seed=seed, data_seed=seed, dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0, save_steps=save_steps,
        logging_steps=log_steps, report_to=[], remove_unused_columns=False, disable_tqdm=True,
        bf16=has_fast_bf16() if bf16 is None else bf16, use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available())
    run = {"model": model_digest(model), "weights": weights_digest(model), "batch": batch, "lr": lr,
           "seed": seed, "data": getattr(data, "identity", "")}
    # Of several GPUs' processes, one writes.
    lock = exclusive(out / "busy.lock") if arguments.should_save else nullcontext()
    with lock, closing(ProgressBar(out.name, progress)) as bar:
        start = None
        if resume:
            check_same_run(out, run, steps)
            start = last_checkpoint(out)
        if start and not run["data"]:
            raise ValueError(f"found a checkpoint of an earlier run in {out}, and data without "
                             "`identity`: whether they belong together is not known. Fix: give the "
                             "dataset an attribute `identity`, a text that says what it holds; or "
                             "choose another folder, or resume=False")
        if arguments.should_save:
            remove_checkpoints(out, but=start)
            write_json(out / "run.json", run)
        trainer = FavorTrainer(
            model=TrainedPart(model), args=arguments, train_dataset=data, data_collator=collate,
            optimizers=(MuonAdamW(model, lr), None),
            callbacks=[KeepLast(), bar, *callbacks])
        trainer.remove_callback(PrinterCallback)  # it prints each entry of the log
        state = _train(trainer, out, start)
    # Without the summary: its times and averages are of the last start alone.
    return [*(entry for entry in state.log_history if "loss" in entry), {"step": state.global_step}]


def _train(trainer: Trainer, out: Path, start: str | None) -> TrainerState:
    """Train from the checkpoint `start` to the last step; returns the final state."""
    if start:
        state = TrainerState.load_from_json(str(Path(start) / TRAINER_STATE_NAME))
        if state.global_step == trainer.args.max_steps:  # Trainer would do one step more
            trainer.model.load_state_dict(load_file(Path(start) / SAFE_WEIGHTS_NAME))
            return state
    try:
        trainer.train(resume_from_checkpoint=start)
    except (OSError, RuntimeError, SafetensorError) as error:
        # Of several processes, only the one that writes may remove what it has half written.
        if not trainer.args.should_save or not remove_checkpoints(out, but=last_checkpoint(out)):
            raise
        raise OSError(f"a checkpoint in {out} cannot be written: {error}. Fix: free disk space; "
                      "the same command then continues from the checkpoint before") from error
    return trainer.state


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
        ValueError: `out/run.json`, which holds what decides a run, differs from `run`, or that run
            has more than `steps` steps.
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
                         "choose another folder, or remove that one")
