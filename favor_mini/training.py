"""Fine-tuning on transformers' Trainer: a two-part loss, batches of like lengths, exact resume.

Three stages: *name*, where the connector learns to speak the language model's words (see `naming`); *align*, where the
frozen language model must write out the whole script of the clip from them; *ask*, where it answers questions. Questions
alone teach too little, one short answer a clip.
"""

import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler

from .aveb.tasks import TASKS, ask_all
from .features import scene_of
from .files import digest, replacing
from .model import FavorForConditionalGeneration
from .naming import Naming, collate_names, query_words
from .processor import FavorProcessor
from .world.questions import choose
from .world.scene import Scene, split_of
from .world.tokenizer import DESCRIBE
from .world.transcript import transcript

DESCRIBE_SHARE = {"align": 1.0, "ask": 0.25}  # share of ordinary clips, of those with both streams, whose script the model must write out
SHARES = {"name": 0.8, "align": 0.1, "ask": 0.1}  # of the training's steps, stage by stage
RATE = {"name": 1.0, "align": 0.1, "ask": 0.05}  # of the learning rate: at higher ones, later stages undo what naming has reached


class EncodedClips(Dataset):
    """Encoded clips, over and over up to `count` items. Subclasses add to each what there is to learn about it.

    Item i is always the same, so that a resumed run sees what an uninterrupted one would have seen. Every eighth lacks its
    sound, the one after it its pictures, so that either alone can be asked about, too.

    Clips of a task of `aveb` hold what that task lets perceive, and nothing is taken from them.

    Args:
        encoded: media dictionaries from `features.encode_scenes`; every seed must belong to the training split.

    Raises:
        ValueError: a clip belongs to another split than "train".
    """

    def __init__(self, encoded: list[dict], count: int):
        outside = [e["seed"] for e in encoded if split_of(e["seed"]) != "train"]
        if outside:
            raise ValueError(f"scene {outside[0]} belongs to the split {split_of(outside[0])!r}; train on 'train' only")
        self.encoded, self.count = encoded, count

    def __len__(self) -> int:
        return self.count

    def clip(self, i: int) -> tuple[dict, Scene, str | None]:
        """Item i's media dictionary, its scene, and the stream that is missing: "audio", "video" or None."""
        example = self.encoded[i % len(self.encoded)]
        if "task" in example:
            return example, scene_of(example), TASKS[example["task"]].missing
        missing = {6: "audio", 7: "video"}.get((i + i // len(self.encoded)) % 8)  # another clip in each pass
        gone, count = {"audio": ("audio_features", "audio_tokens"), "video": ("visual_features", "num_frames"),
                       None: (None, None)}[missing]
        media = {key: 0 if key == count else value for key, value in example.items() if key != gone}
        return media, scene_of(example), missing

    @property
    def identity(self) -> str:
        """A name made of what the items are."""
        clips = [[e["seed"], e.get("task")] for e in self.encoded]
        return digest(json.dumps([type(self).__name__, clips]).encode())

    @property
    def lengths(self) -> list[int]:
        """Time steps of each item: what its cost depends on, so that batches can be made of like lengths."""
        steps = [max(e["num_frames"], e["audio_tokens"] // 25) for e in self.encoded]  # 25 in a frame, at 2 frames a second
        return [steps[i % len(steps)] for i in range(self.count)]


class NamedClips(EncodedClips):
    """Clips with the words that their queries should name."""

    def __init__(self, encoded: list[dict], count: int, processor: FavorProcessor):
        super().__init__(encoded, count)
        self.processor = processor

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        return {**media, "words": query_words(scene, self.processor, self.processor.num_steps(media), missing)[0]}


class Dialogues(EncodedClips):
    """Clips with freshly drawn questions, or with the request to describe the clip; clips of a task with what the tasks ask.

    Args:
        questions: asked of each clip, one after another in one conversation.
        describe: the share of the ordinary items with both streams that ask for the transcript instead.
    """

    def __init__(self, encoded: list[dict], count: int, questions: int = 8, describe: float = 0.0):
        super().__init__(encoded, count)
        self.questions, self.describe = questions, describe

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        rng = np.random.default_rng([scene.seed, i // len(self.encoded), 41])
        if "task" in media:
            turns = [(e.question, e.answers[0]) for e in ask_all(scene, rng, missing)][: self.questions]
            more = self.questions - len(turns) if len(scene.moments) > 1 else 0
            turns += [(q.text, q.answer) for q in choose(scene, rng, more, reword_them=True, missing=missing)]
        elif rng.random() < self.describe and not missing:
            turns = [(DESCRIBE, transcript(scene))]
        else:
            turns = [(q.text, q.answer) for q in choose(scene, rng, self.questions, reword_them=True, missing=missing)]
        return {**media, "turns": turns}


class MuonAdamW(torch.optim.Muon):
    """One optimizer of two: Muon for the matrices inside a network, AdamW for its vectors, embeddings, heads and LoRA.

    Muon (Jordan 2024) makes every update of a matrix orthogonal, so that what is rare in the data does not wait for what
    is frequent. Small models trained from nothing need far fewer steps with it than with AdamW alone.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.05, matrix_lr: float = 20.0):
        """`matrix_lr`: Muon's rate as a multiple of `lr`, AdamW's rate."""
        inside = {f"{name}.weight" for name, module in model.named_modules()
                  if isinstance(module, nn.Linear) and "head" not in name and "lora_" not in name}
        learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in learned if name in inside]
        super().__init__(matrices, lr=matrix_lr * lr, momentum=0.95, weight_decay=weight_decay / matrix_lr)
        self.adamw = torch.optim.AdamW([
            {"params": [p for name, p in learned if name not in inside and p.ndim > 1]},
            {"params": [p for name, p in learned if name not in inside and p.ndim == 1], "weight_decay": 0.0},
        ], lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
        self.param_groups += self.adamw.param_groups  # so that a schedule and a checkpoint find all in one place

    def step(self, closure=None):
        together, (matrices, *others) = self.param_groups, self.param_groups
        self.param_groups = [matrices]
        super().step(closure)
        self.param_groups = together
        self.adamw.param_groups, self.adamw.state = others, self.state
        self.adamw.step()


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


def has_bf16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32: on a GPU, or a CPU with instructions for it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


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
        bf16=has_bf16() if bf16 is None else bf16, use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(), disable_tqdm=not progress)
    if not resume:
        for old in Path(out).glob("checkpoint-*"):  # Trainer would keep the farthest of all, and a later start would go on from there
            shutil.rmtree(old)
    _claim(Path(out), {"model": _identity(model), "batch": batch, "lr": lr, "seed": seed, "data": getattr(data, "identity", "")}, resume)
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


def _claim(out: Path, asked: dict, resume: bool) -> None:
    """Note beside the checkpoints what run they belong to; a run of another kind must not go on from them."""
    file = out / "run.json"
    if resume and file.exists() and (found := json.loads(file.read_text())) != asked:
        raise ValueError(f"{out} holds a run with {found}, asked for is {asked}; choose another folder, or remove that one")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(file) as unfinished:
        unfinished.write_text(json.dumps(asked))


def lesson(stage: str, model, processor, encoded: list[dict], count: int) -> tuple[nn.Module, EncodedClips, Callable]:
    """What a stage trains, on which `count` items, and how these become a batch."""
    if stage == "name":
        return Naming(model), NamedClips(encoded, count, processor), partial(collate_names, processor)
    return model, Dialogues(encoded, count, describe=DESCRIBE_SHARE[stage]), processor.collate


def share_out(steps: int) -> dict[str, int]:
    """Steps of each stage, by `SHARES`; at least one each."""
    later = {stage: max(1, int(steps * SHARES[stage])) for stage in ("align", "ask")}
    return {"name": steps - sum(later.values()), **later}


def seconds_per_step(stage: str, model, processor, data: list[dict], batch: int) -> float:
    """Median time of a few steps at a learning rate of 0, which changes no weight; the first is warm-up."""
    model.train()
    learner, items, collate = lesson(stage, model, processor, data, 4 * batch)
    optimizer, times = MuonAdamW(learner, lr=0.0), []
    for first in range(0, len(items), batch):
        start = time.perf_counter()
        inputs = collate([items[i] for i in range(first, first + batch)])
        inputs = {k: v.to(model.device) for k, v in inputs.items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=has_bf16()):
            loss = learner(**inputs)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def finetune(model: FavorForConditionalGeneration, processor: FavorProcessor, encoded: list[dict], out, *,
             steps: dict[str, int], batch: int = 32, lr: float = 1e-3, seed: int = 0, **options) -> list[dict]:
    """Train connector and LoRA stage by stage; returns the log, each entry with its `stage`: "name", "align" or "ask".

    Args:
        encoded: from `features.encode_scenes`.
        steps: of each stage; a stage left out, or of 0 steps, is skipped.
        out: folder for checkpoints; call again with the same arguments to go on after a stop.
        options: passed on to `fit`.

    Raises:
        ValueError: there is no such stage.
    """
    if unknown := set(steps) - set(RATE):
        raise ValueError(f"no stage {sorted(unknown)}; the stages are {', '.join(RATE)}")
    model.train()
    log = []
    for stage in RATE:
        if not steps.get(stage):
            continue
        learner, data, collate = lesson(stage, model, processor, encoded, steps[stage] * batch)
        entries = fit(learner, data, collate, Path(out) / stage, steps=steps[stage], batch=batch,
                      lr=lr * RATE[stage], seed=seed, **options)
        log += [{"stage": stage, **entry} for entry in entries]
        if entries[-1]["step"] < steps[stage]:
            break  # a callback stopped it: the next stage must not go on from here
    return log
