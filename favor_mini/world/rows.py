"""Scenes as training rows: drawn as clips, encoded by the frozen encoders, with the scene's seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm.auto import tqdm

from .. import data_path
from ..data.features import CHUNK, encode_media, feature_key, load_features, save_features
from ..keys import code_digest, digest
from ..media.clip import clip_from_arrays
from ..processor import FavorProcessor
from .pictures import draw_frames
from .scene import SPLITS, Scene, draw_scene
from .sounds import make_waveform
from .tasks import TASKS, Task

if TYPE_CHECKING:
    from ..model import FavorForConditionalGeneration

# Clips of each task for every 5,120 ordinary ones; ocr and vqa look at ic's pictures, the other two at ordinary clips.
TASK_CLIPS = {"asr": 512, "ac": 256, "ic": 768, "avsr": 896, "isqa": 768, "avssd": 768, "avm": 896}


def training_clips(model, processor, scenes: int, cache, progress: bool = True, first: int = 10**6) -> list[dict]:
    """Encoded ordinary scenes, from the split's scene `first` on, and, in proportion (`TASK_CLIPS`), scenes of the tasks; all mixed."""
    first += SPLITS["train"].start
    encoded = encode_scenes(model, processor, range(first, first + scenes), cache=cache, progress=progress)
    for task, count in TASK_CLIPS.items():
        seeds = range(first + 5 * 10**6, first + 5 * 10**6 + count * scenes // 5120)
        encoded += encode_scenes(model, processor, seeds, task=task, cache=cache, progress=progress)
    return [encoded[i] for i in np.random.default_rng(0).permutation(len(encoded))]


def scene_clip(scene: Scene, image_size: int = 64, frame_rate: float = 2.0, task: Task | None = None):
    """A scene as a clip in memory, without the way through an mp4 file; of a `task`, only what it lets perceive."""
    task = task or TASKS["avqa"]  # film and sound
    times = [0.0] if task.still else np.arange(0, scene.duration, 1 / frame_rate)
    return clip_from_arrays(frames=None if task.missing == "video" else grainy_frames(scene, times, image_size),
                            frame_rate=frame_rate, waveform=None if task.missing == "audio" else make_waveform(scene))


def grainy_frames(scene: Scene, times, image_size: int = 64) -> np.ndarray:
    """The scene's pictures with noise on the pixels, of another strength in each scene: files are never quite clean."""
    rng = np.random.default_rng([scene.seed, 31])
    frames = draw_frames(scene, times, image_size)
    noise = rng.standard_normal(frames.shape, np.float32) * rng.uniform(0, 6)
    return (frames + noise).clip(0, 255).astype(np.uint8)


class _SceneMedia(Dataset):
    """Scene seeds to the processor's media tensors; drawn in worker processes."""

    def __init__(self, seeds, processor: FavorProcessor, task: Task | None):
        self.seeds, self.processor, self.task = seeds, processor, task

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, i: int) -> dict:
        if get_worker_info():
            torch.set_num_threads(1)  # the workers share the cores
        size = max(64, self.processor.settings.image_size)  # drawn smaller, icons lose their shape
        scene = (self.task.draw if self.task else draw_scene)(self.seeds[i])
        return self.processor.media(scene_clip(scene, size, self.processor.settings.frame_rate, self.task))


def encode_scenes(model: FavorForConditionalGeneration, processor: FavorProcessor, seeds, *, task: str | None = None,
                  cache=None, batch: int = 16, workers: int = 0, progress: bool = True) -> list[dict]:
    """`encode_media` over the scenes drawn from `seeds`, each with its `seed`, and its `task` if there is one, beside.

    Args:
        task: draw scenes as this one of the tasks of `aveb` does, and encode what it lets perceive.
        cache: folder to keep the features in; what lies there is used again only where nothing that they depend on has
            changed (encoders' weights, processor, the mini world's code and spoken words). Stopped halfway, it goes on.
    """
    if task not in (None, *TASKS):
        raise ValueError(f"no task {task!r}; the tasks are {', '.join(TASKS)}")
    seeds, encoded = list(seeds), []
    key = None if cache is None else digest(feature_key(model, processor).encode(), *scene_code())
    bar = tqdm(total=len(seeds), desc="encoding clips", unit="clip", disable=not progress)
    model.eval()
    for start in range(0, len(seeds), CHUNK):
        chunk = seeds[start : start + CHUNK]
        named = json.dumps([task, chunk] if task else chunk).encode()
        file = None if cache is None else Path(cache) / f"{key}-{digest(named)}.safetensors"
        if file is not None and file.exists():
            rows = load_features(file)
        else:
            loader = DataLoader(_SceneMedia(chunk, processor, task and TASKS[task]), batch, collate_fn=list, num_workers=workers)
            rows = []
            for media in loader:
                rows += encode_media(model, processor, media)
                bar.update(len(media))
            if file is not None:
                save_features(rows, file)
        beside = {"task": task} if task else {}
        encoded += [{**row, "seed": seed, **beside} for row, seed in zip(rows, chunk, strict=True)]
        bar.update(len(encoded) - bar.n)
    bar.close()
    return encoded


def scene_of(encoded: dict) -> Scene:
    """The scene that a clip from `encode_scenes` was made of."""
    return (TASKS[encoded["task"]].draw if "task" in encoded else draw_scene)(encoded["seed"])


def scene_code() -> list[bytes]:
    """What a drawn scene depends on but its seed: the mini world's code and its spoken words."""
    words = [file.read_bytes() for file in sorted(data_path("speech").iterdir()) if file.suffix in (".ogg", ".json")]
    return [code_digest("world.rows").encode(), *words]
