"""Fine-tuning on transformers' Trainer: a two-part loss, frozen encoders computed once, exact resume.

Two stages, in this order: *align*, where the frozen language model must write out the whole script of the clip from the
connector's vectors, then *ask*, where it answers questions. Questions alone teach too little, one short answer a clip.
"""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm.auto import tqdm
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from .media import clip_from_arrays
from .model import FavorForConditionalGeneration
from .processor import FavorProcessor
from .world.pictures import draw_frames
from .world.questions import choose
from .world.scene import Scene, draw_scene, split_of
from .world.sounds import make_waveform
from .world.tokenizer import DESCRIBE
from .world.transcript import transcript


def scene_clip(scene: Scene, image_size: int = 64, frame_rate: float = 2.0):
    """A scene as a clip in memory, without the way through an mp4 file."""
    frames = grainy_frames(scene, np.arange(0, scene.duration, 1 / frame_rate), image_size)
    return clip_from_arrays(frames=frames, frame_rate=frame_rate, waveform=make_waveform(scene), sampling_rate=16000)


def grainy_frames(scene: Scene, times, image_size: int = 64) -> np.ndarray:
    """The scene's pictures with noise on the pixels, of another strength in each scene: files are never quite clean."""
    rng = np.random.default_rng([scene.seed, 31])
    frames = draw_frames(scene, times, image_size)
    noise = rng.standard_normal(frames.shape, np.float32) * rng.uniform(0, 6)
    return (frames + noise).clip(0, 255).astype(np.uint8)


class _SceneMedia(Dataset):
    """Scene seeds to the processor's media tensors; drawn in worker processes."""

    def __init__(self, seeds, processor: FavorProcessor):
        self.seeds, self.processor = seeds, processor

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, i: int) -> dict:
        if get_worker_info():
            torch.set_num_threads(1)  # the workers share the cores
        return self.processor.media(scene_clip(draw_scene(self.seeds[i]), self.processor.settings.image_size))


@torch.no_grad()
def encode_scenes(model: FavorForConditionalGeneration, processor: FavorProcessor, seeds, batch: int = 16,
                  workers: int = 0, progress: bool = True) -> list[dict]:
    """Run the frozen encoders over scenes once: a list of media dictionaries with half-precision features.

    Each holds visual_features (T, V, D_v), audio_features (L, D_w), num_frames, audio_tokens and the scene's seed.
    """
    loader = DataLoader(_SceneMedia(seeds, processor), batch, collate_fn=list, num_workers=workers)
    model.eval()
    encoded = []
    for media in tqdm(loader, desc="encoding clips", disable=not progress):
        tensors = {k: v.to(model.device) for k, v in processor.pad_media(media).items()}
        visual, audio = model.encode(tensors["pixel_values"], tensors["input_features"])
        for m, v, a in zip(media, visual.half().cpu(), audio.half().cpu(), strict=True):
            encoded.append({"num_frames": m["num_frames"], "audio_tokens": m["audio_tokens"],
                            "visual_features": v[: m["num_frames"]].clone(),
                            "audio_features": a[: m["audio_tokens"]].clone(), "seed": seeds[len(encoded)]})
    return encoded


class Dialogues(Dataset):
    """Encoded clips with freshly drawn questions, or with the request to describe the clip.

    Item i is always the same, so that a resumed run sees what an uninterrupted one would have seen.

    Args:
        encoded: from `encode_scenes`; every seed must belong to the training split.
        passes: how often each clip comes, with other questions each time.
        questions: asked of each clip, one after another in one conversation.
        describe: the share of items that ask for the transcript instead.
    """

    def __init__(self, encoded: list[dict], passes: int = 1, questions: int = 8, describe: float = 0.0):
        outside = [e["seed"] for e in encoded if split_of(e["seed"]) != "train"]
        if outside:
            raise ValueError(f"scene {outside[0]} belongs to the split {split_of(outside[0])!r}; train on 'train' only")
        self.encoded, self.passes, self.questions, self.describe = encoded, passes, questions, describe

    def __len__(self) -> int:
        return len(self.encoded) * self.passes

    def __getitem__(self, i: int) -> dict:
        example = self.encoded[i % len(self.encoded)]
        rng = np.random.default_rng([example["seed"], i // len(self.encoded), 41])
        scene = draw_scene(example["seed"])
        if rng.random() < self.describe:
            turns = [(DESCRIBE, transcript(scene))]
        else:
            turns = [(q.text, q.answer) for q in choose(scene, rng, self.questions, reword_them=True)]
        return {**example, "turns": turns}


class FavorTrainer(Trainer):
    """Trainer that logs both parts of FAVOR's loss: cross-entropy and diversity."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        if model.training and isinstance(outputs, dict) and outputs.get("cross_entropy") is not None:
            parts = [outputs["cross_entropy"], outputs["diversity"]]
            self._parts = [*getattr(self, "_parts", []), torch.stack([p.detach().float() for p in parts])]
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs, *args, **kwargs):
        if "loss" in logs and getattr(self, "_parts", None):
            cross_entropy, diversity = torch.stack(self._parts).mean(0).tolist()
            logs = {**logs, "cross_entropy": round(cross_entropy, 4), "diversity": round(diversity, 4)}
            self._parts = []
        super().log(logs, *args, **kwargs)


def fit(model, data: Dataset, collate, out, *, steps: int, batch: int = 32, lr: float = 1e-3, seed: int = 0,
        workers: int = 0, save_steps: int = 500, resume: bool = True, callbacks=(), bf16: bool | None = None,
        warmup: float = 0.05, log_steps: int = 25, progress: bool = True) -> list[dict]:
    """Train on Trainer; returns its log. A run that was stopped goes on from its last checkpoint under `out`."""
    bf16 = torch.cuda.is_available() if bf16 is None else bf16
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=batch, learning_rate=lr, weight_decay=0.01,
        adam_beta2=0.98, lr_scheduler_type="cosine", warmup_steps=warmup, max_grad_norm=1.0, seed=seed, data_seed=seed,
        dataloader_num_workers=workers, dataloader_persistent_workers=workers > 0, save_steps=save_steps,
        save_total_limit=1, logging_steps=log_steps, report_to=[], remove_unused_columns=False, bf16=bf16,
        use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=not progress)
    trainer = FavorTrainer(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[*callbacks])
    last = get_last_checkpoint(str(out)) if resume and Path(out).is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    return trainer.state.log_history
