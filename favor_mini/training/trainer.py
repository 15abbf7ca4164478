"""One training run on transformers' Trainer: accumulation, validation, loggers and processes; both
parts of FAVOR's loss in the log, batches of similar lengths, a progress bar, and exact resume."""

import math
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from accelerate.utils import send_to_device
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import PrinterCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from ..keys import weights_digest
from ..machine import has_fast_bf16
from ..storage import exclusive, write_json
from .callbacks import CsvLog, ProgressBar, entries
from .checkpoints import KeepLast, check_same_run, last_checkpoint, model_digest, remove_checkpoints
from .cost import gradient_checkpointing_on, mode, same_random_state
from .optimizer import MuonAdamW
from .order import Order


class TrainedPart(nn.Module):
    """A model whose state dict, and so each checkpoint, holds only what is trained."""

    accepts_loss_kwargs = True  # Trainer leaves the mean over a step's batches to `compute_loss`

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
    """Trainer with `Order`, a loss that does not depend on how a step is divided into batches, a
    log of both parts of the loss, and the validation set's cross-entropy."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._parts: list[torch.Tensor] = []  # of each batch since the last entry of the log
        self.items_per_step = self.get_total_train_batch_size(self.args)

    def get_train_dataloader(self) -> DataLoader:
        args, data = self.args, self.train_dataset
        order = Order(data, args.max_steps * self.items_per_step, self.items_per_step,
                      args.data_seed)
        return self.accelerator.prepare(DataLoader(  # each process gets its part of the order
            data, args.train_batch_size, sampler=order, collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            persistent_workers=args.dataloader_persistent_workers,
            pin_memory=args.dataloader_pin_memory))

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        weight = torch.as_tensor(sum(map(_weight, batches)), device=device)
        return batches, self.accelerator.reduce(weight, "sum").clamp(min=1)  # of all processes

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss, cross_entropy = outputs["loss"], outputs.get("cross_entropy")
        if cross_entropy is not None:
            # Its share of the step's answer tokens, 1 on average over the step's batches: the mean
            # over these batches is the mean over all tokens, as if the step were one batch.
            batches = self.current_gradient_accumulation_steps * self.args.world_size
            weight = _weight(inputs) * batches / num_items_in_batch
            loss = loss + (weight - 1) * cross_entropy
            diversity = outputs.get("diversity")
            if diversity is None:  # no example has a clip
                diversity = torch.zeros_like(cross_entropy)
            self._parts.append(torch.stack([
                part.detach().float() for part in (weight * cross_entropy, diversity)]))
        loss = loss / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def log(self, logs, *args, **kwargs):
        # One pass of the data loader is the whole run; an epoch is one pass over the data.
        done = self.state.global_step * self.items_per_step
        self.state.epoch = round(done / len(self.train_dataset), 4)
        if "loss" in logs and self._parts:
            means = self.accelerator.reduce(torch.stack(self._parts).mean(0), "mean").tolist()
            logs = {**logs, "cross_entropy": round(means[0], 4), "diversity": round(means[1], 4)}
            self._parts = []
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """The mean cross-entropy of the validation set's answer tokens. The training goes on as if
        it had not been called."""
        data, args = eval_dataset or self.eval_dataset, self.args
        lengths = getattr(data, "lengths", [0] * len(data))
        order = sorted(range(len(data)), key=lengths.__getitem__)
        part = Subset(data, order[args.process_index::args.world_size])
        batches = DataLoader(part, args.eval_batch_size,
                             collate_fn=self.data_collator, num_workers=args.dataloader_num_workers)
        total, count = 0.0, 0
        with same_random_state(), mode(self.model, training=False), torch.no_grad():
            for inputs in batches:
                outputs = self.model(**send_to_device(inputs, args.device))
                weight = int(_weight(inputs))
                total += weight * outputs.get("cross_entropy", outputs["loss"]).item()
                count += weight
        total, count = self.accelerator.reduce(
            torch.tensor([total, count], device=args.device), "sum").tolist()
        metrics = {f"{metric_key_prefix}_cross_entropy": round(total / max(count, 1), 4)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(args, self.state, self.control, metrics)
        return metrics


def _weight(inputs: dict[str, torch.Tensor]) -> torch.Tensor | int:
    """What a batch counts in the mean cross-entropy: its answer tokens, or the tokens of its texts,
    or else its items."""
    ids = inputs.get("labels", inputs.get("text_ids"))
    return len(next(iter(inputs.values()))) if ids is None else ids.ne(-100).sum()


def fit(model: nn.Module, data: Dataset, collate, out, *, steps: int, batch: int = 32,
        lr: float = 1e-3, lora_lr: float = 1.0, seed: int = 0, accumulate: int = 1,
        validation: Dataset | None = None, validate_steps: int | None = None, workers: int = 0,
        save_steps: int = 500,
        resume: bool = True, callbacks=(), report_to=(), bf16: bool | None = None,
        warmup: float = 0.05, decay: float = 0.25, log_steps: int = 25,
        gradient_checkpointing: bool = False, progress: bool = True) -> list[dict]:
    """Train with Trainer. Called again with the same arguments and the same starting weights, a
    stopped run continues from its last checkpoint under `out`.

    A step sees batch * accumulate * processes items. Its gradient does not depend on how they are
    divided, but for dropout and the diversity loss, a mean over batches. `torchrun` starts several
    processes; the first one writes.

    Args:
        model: returns a dictionary with `loss` and, for the log, `cross_entropy` and `diversity`.
        data: at least one item; read epoch after epoch, in an order that `seed` decides. If it has
            `lengths`, the items of a step have similar lengths. To resume, it needs `identity`, a
            text that tells it from other data.
        lora_lr: learning rate of LoRA, as a multiple of `lr`.
        batch: items that a process computes at once.
        accumulate: batches of each process in one step.
        validation: its cross-entropy is logged before the first step, every `validate_steps` steps
            (None: `save_steps`) and after the last one. The training is the same without it.
        report_to: "csv" (writes `out/log.csv`) and the names that Trainer knows, such as
            "tensorboard" (writes `out/runs`) or "wandb"; their libraries have to be installed.
        warmup, decay: shares of the steps in which the learning rate rises, and falls at the end.
        bf16: autocast to bfloat16; None: where that is fast.
        log_steps: steps in one entry of the log, at most; a divisor of `save_steps` is chosen.
        gradient_checkpointing: compute activations again in the backward pass to save memory.

    Returns:
        The log: entries with `step`, `loss`, `cross_entropy`, `diversity`, `learning_rate`,
        `grad_norm` and `epoch`; entries with `step` and `eval_cross_entropy`; at the end the last
        `step` alone.

    Raises:
        ValueError: a number is out of range, the data are empty, there is no such logger, or `out`
            holds a run that this one cannot continue (`check_same_run`).
        RuntimeError: the library of a logger is not installed.
        BlockingIOError: another process trains in `out`.
        OSError: `out` cannot be written.
    """
    out, validate_steps = Path(out), save_steps if validate_steps is None else validate_steps
    _check_numbers(lr, steps=steps, batch=batch, accumulate=accumulate, save_steps=save_steps,
                   log_steps=log_steps, validate_steps=validate_steps)
    if not (decay > 0 and 0 <= warmup <= 1 - decay):
        raise ValueError(f"found warmup={warmup} and decay={decay}, expected shares of the steps "
                         "with a sum of at most 1, decay above 0. Fix: pass other shares")
    for name, items in (("data", data), ("validation", validation)):
        if items is not None and not len(items):
            raise ValueError(f"found no items in `{name}`, expected one or more. Fix: check the "
                             "rows that it is made of")
    # Every checkpoint ends an entry: what is logged does not depend on where a run was stopped.
    log_steps = next(n for n in range(min(log_steps, save_steps), 0, -1) if save_steps % n == 0)
    loggers = [report_to] if isinstance(report_to, str) else list(report_to)
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch, gradient_accumulation_steps=accumulate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": math.ceil(decay * steps)}, warmup_steps=warmup,
        max_grad_norm=1.0, seed=seed, data_seed=seed, dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0, save_steps=save_steps,
        logging_steps=log_steps, report_to=[name for name in loggers if name != "csv"],
        eval_strategy="no" if validation is None else "steps", eval_steps=validate_steps,
        remove_unused_columns=False, disable_tqdm=True,
        bf16=has_fast_bf16() if bf16 is None else bf16, use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available())
    items = arguments.train_batch_size * accumulate * arguments.world_size
    run = {"model": model_digest(model), "weights": weights_digest(model), "batch": items, "lr": lr,
           "lora_lr": lora_lr,
           "warmup": warmup, "decay": decay, "seed": seed, "data": getattr(data, "identity", "")}
    csv = [CsvLog(out / "log.csv")] if "csv" in loggers else []
    with ExitStack() as stack:
        with arguments.main_process_first(local=False):  # the others then find what it has decided
            if arguments.should_save:
                stack.enter_context(exclusive(out / "busy.lock"))
            start = _prepare(out, run, steps, resume, writes=arguments.should_save)
        arguments.eval_on_start = validation is not None and start is None
        if gradient_checkpointing:
            stack.enter_context(gradient_checkpointing_on(model))
        bar = stack.enter_context(closing(ProgressBar(out.name, progress)))
        trainer = FavorTrainer(
            model=TrainedPart(model), args=arguments, train_dataset=data, eval_dataset=validation,
            data_collator=collate, optimizers=(MuonAdamW(model, lr, lora_lr=lora_lr), None),
            callbacks=[KeepLast(), bar, *csv, *callbacks])
        trainer.remove_callback(PrinterCallback)  # it prints each entry of the log
        state = _train(trainer, out, start)
        if csv and arguments.should_save:
            csv[0].write(state.log_history)
    return [*entries(state.log_history), {"step": state.global_step}]


def _check_numbers(lr: float, **counts: int) -> None:
    for name, number in counts.items():
        if number < 1 or number != int(number):
            raise ValueError(f"found {name}={number}, expected a whole number of at least 1. Fix: "
                             f"pass another {name}")
    if not 0 < lr < math.inf:
        raise ValueError(f"found lr={lr}, expected a learning rate above 0. Fix: pass another lr, "
                         "such as 1e-3")


def _prepare(out: Path, run: dict, steps: int, resume: bool, *, writes: bool) -> str | None:
    """The checkpoint to start from, if any. A process that `writes` removes all others."""
    start = None
    if resume:
        check_same_run(out, run, steps)
        start = last_checkpoint(out)
    if writes:
        remove_checkpoints(out, but=start)
        write_json(out / "run.json", run)
    return start


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
