"""Fine-tuning on transformers' Trainer: a two-part loss, batches of like lengths, exact resume.

Three stages: *name*, where the connector learns to speak the language model's words (see `naming`); *align*, where the
frozen language model must write out the whole script of the clip from them; *ask*, where it answers questions. Questions
alone teach too little, one short answer a clip.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler

from ..keys import digest
from ..machine import has_fast_bf16
from ..storage import atomic_write
from .optimizer import MuonAdamW


class FavorTrainer(Trainer):
    """Trainer with both optimizers, that makes batches of like lengths and logs both parts of FAVOR's loss."""

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            self.optimizer = MuonAdamW(model or self.model, self.args.learning_rate, self.args.weight_decay)
        return self.optimizer

    def _get_train_sampler(self, train_dataset=None):
        if not hasattr(self.train_dataset, "lengths"):
            return super()._get_train_sampler(train_dataset)
        order = torch.Generator().manual_seed(self.args.data_seed)
        return LengthGroupedSampler(self.args.train_batch_size, lengths=self.train_dataset.lengths, generator=order)

    def _save(self, output_dir=None, state_dict=None):
        if isinstance(self.model, PreTrainedModel):
            return super()._save(output_dir, state_dict)
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(Path(output_dir) / "model.safetensors"))  # a probe: tied weights are stored once

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if isinstance(self.model, PreTrainedModel):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_model(self.model, str(Path(resume_from_checkpoint) / "model.safetensors"))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        if model.training and isinstance(outputs, dict) and outputs.get("cross_entropy") is not None:
            diversity = outputs.get("diversity")  # none where no example has a clip
            parts = [outputs["cross_entropy"], torch.zeros_like(outputs["cross_entropy"]) if diversity is None else diversity]
            self._parts = [*getattr(self, "_parts", []), torch.stack([p.detach().float() for p in parts])]
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs, *args, **kwargs):
        if "loss" in logs and getattr(self, "_parts", None):
            cross_entropy, diversity = torch.stack(self._parts).mean(0).tolist()
            logs = {**logs, "cross_entropy": round(cross_entropy, 4), "diversity": round(diversity, 4)}
            self._parts = []
        super().log(logs, *args, **kwargs)


def last_checkpoint(out) -> str | None:
    """The newest whole checkpoint under `out`. Trainer writes trainer_state.json last: a run killed before that left a
    folder that cannot be resumed from, and the one before it still lies there."""
    for folder in sorted(Path(out).glob("checkpoint-*"), key=lambda f: -int(f.name.rsplit("-", 1)[1])):
        try:
            json.loads((folder / TRAINER_STATE_NAME).read_text())
            return str(folder)
        except (OSError, ValueError):
            continue
    return None


def fit(model, data: Dataset, collate, out, *, steps: int, batch: int = 32, lr: float = 1e-3, seed: int = 0,
        workers: int = 0, save_steps: int = 500, resume: bool = True, callbacks=(), bf16: bool | None = None,
        warmup: float = 0.05, log_steps: int = 25, progress: bool = True) -> list[dict]:
    """Train on Trainer; returns its log. A run that was stopped goes on from its last checkpoint under `out`.

    Raises:
        ValueError: under `out` lies a run of another model, batch, rate, seed or data, or of more steps. (Fewer are fine: it goes on.)

    Args:
        data: holds at least steps * batch items, so that the run is one pass and its order is fixed by `seed`.
        bf16: autocast to bfloat16; None: where the machine gains by it.
        progress: show Trainer's progress bar (a table in a notebook).
    """
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=batch, learning_rate=lr, weight_decay=0.05,
        lr_scheduler_type="warmup_stable_decay", lr_scheduler_kwargs={"num_decay_steps": -(-steps // 4)},
        warmup_steps=warmup, max_grad_norm=1.0, seed=seed, data_seed=seed,
        dataloader_num_workers=workers, dataloader_persistent_workers=workers > 0, save_steps=save_steps,
        save_total_limit=1, logging_steps=log_steps, report_to=[], remove_unused_columns=False,
        bf16=has_fast_bf16() if bf16 is None else bf16, use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(), disable_tqdm=not progress)
    if not resume:
        for old in Path(out).glob("checkpoint-*"):  # Trainer would keep the farthest of all, and a later start would go on from there
            shutil.rmtree(old)
    check_same_run(Path(out), {"model": _identity(model), "batch": batch, "lr": lr, "seed": seed, "data": getattr(data, "identity", "")}, resume)
    trainer = FavorTrainer(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[*callbacks])
    trainer.remove_callback(PrinterCallback)  # what a Trainer without a bar would print; the log is returned
    start = last_checkpoint(out) if resume else None
    if start:
        state = TrainerState.load_from_json(str(Path(start) / TRAINER_STATE_NAME))
        if state.global_step > steps:
            raise ValueError(f"{out} holds a run of {state.global_step} steps, asked for are {steps}; choose another folder, or remove "
                             "that one")
        if state.global_step == steps:  # Trainer would take one step more
            trainer._load_from_checkpoint(start)
            return [*state.log_history, {"step": state.global_step}]  # the last logged step may lie before
    trainer.train(resume_from_checkpoint=start)
    return trainer.state.log_history


def _identity(model) -> str:
    """What a model is before it is trained: its kind, its tensors' sizes, and its config where there is one."""
    config = next((part.config.to_dict() for part in model.modules() if hasattr(part, "config")), {})
    sizes = {name: list(tensor.shape) for name, tensor in model.named_parameters()}
    written = ("_name_or_path", "transformers_version", "architectures", "dtype", "use_cache")  # by saving and by Trainer
    config = {name: value for name, value in config.items() if name not in written}
    return digest(json.dumps([type(model).__name__, sizes, config], sort_keys=True, default=str).encode())


def check_same_run(out: Path, asked: dict, resume: bool) -> None:
    """Note beside the checkpoints what run they belong to; a run of another kind must not go on from them."""
    file = out / "run.json"
    if resume and file.exists() and (found := json.loads(file.read_text())) != asked:
        raise ValueError(f"{out} holds a run with {found}, asked for is {asked}; choose another folder, or remove that one")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as unfinished:
        unfinished.write_text(json.dumps(asked))
