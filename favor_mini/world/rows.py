"""Scenes as training rows: drawn, made into clips in memory, and encoded by the frozen encoders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm.auto import tqdm

from .. import data_path
from ..data.features import CHUNK, encode_media, feature_key, load_features, save_features
from ..data.row import Row, Turn
from ..keys import code_digest, digest
from ..media.clip import Clip, clip_from_arrays
from ..processor import FavorProcessor
from .pictures import draw_frames
from .questions import draw_questions
from .scene import SPLITS, Scene, draw_scene, stream
from .sounds import make_waveform
from .tasks import TASKS, Task
from .transcript import DESCRIBE, transcript

if TYPE_CHECKING:
    from ..model import FavorForConditionalGeneration

# Clips of each task for 5,120 ordinary clips. ocr and vqa use the pictures of ic; video_qa and avqa
# use ordinary clips.
TASK_CLIPS = {"asr": 512, "ac": 256, "ic": 768, "avsr": 896, "isqa": 768, "avssd": 768, "avm": 896}


def scene_clip(scene: Scene, image_size: int = 64, frame_rate: float = 2.0,
               task: Task | None = None) -> Clip:
    """A scene as a clip, without an MP4 file; with a `task`, only the streams that it lists."""
    task = task or TASKS["avqa"]  # film and sound
    times = [0.0] if task.still else np.arange(0, scene.duration, 1 / frame_rate)
    return clip_from_arrays(
        frames=None if task.missing == "video" else noisy_frames(scene, times, image_size),
        waveform=None if task.missing == "audio" else make_waveform(scene), frame_rate=frame_rate)


def scene_row(scene: Scene, questions: int = 8, image_size: int = 64, frame_rate: float = 2.0
              ) -> Row:
    """A scene as a row: its clip, its transcript, then questions."""
    asked = draw_questions(scene, stream("training questions", scene.seed, 0), questions)
    return Row(str(scene.seed), scene_clip(scene, image_size, frame_rate),
               (Turn(DESCRIBE, (transcript(scene),)),
                *(Turn(q.text, (q.answer,), q.candidates) for q in asked)), ordered=True)


def noisy_frames(scene: Scene, times, image_size: int = 64) -> np.ndarray:
    """The frames of a scene with pixel noise, of a different strength in each scene."""
    rng = stream("pixel noise", scene.seed)
    frames = draw_frames(scene, times, image_size)
    noise = rng.standard_normal(frames.shape, np.float32) * rng.uniform(0, 6)
    return (frames + noise).clip(0, 255).astype(np.uint8)


class _SceneMedia(Dataset):
    """Seeds to media tensors; usable in worker processes."""

    def __init__(self, seeds, processor: FavorProcessor, draw: Callable[[int], Scene],
                 task: Task | None):
        self.seeds, self.processor, self.draw, self.task = seeds, processor, draw, task

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, i: int) -> dict:
        if get_worker_info():
            torch.set_num_threads(1)  # the workers share the cores
        settings = self.processor.settings
        size = max(64, settings.image_size)  # smaller icons would be hard to recognise
        scene = self.draw(self.seeds[i])
        return self.processor.media(scene_clip(scene, size, settings.frame_rate, self.task))


def encode_scenes(model: FavorForConditionalGeneration, processor: FavorProcessor, seeds, *,
                  task: str | None = None, draw: Callable[[int], Scene] = draw_scene, cache=None,
                  batch: int = 16, workers: int = 0, progress: bool = True) -> list[dict]:
    """The encoded clips of scenes: media dictionaries, see `data.features.encode_media`.

    Each also has the scene's `seed`, and the `task` if there is one.

    Args:
        task: draw the scenes of this task, and encode only the streams that it lists.
        draw: draws other scenes, such as `rapid.Rapid()`; its text (`repr`) tells it from others.
        cache: a folder for the features. Its key covers all that they depend on: the weights of the
            encoders, the processor, the code and the spoken words of the mini world.

    Raises:
        ValueError: there is no such task.
    """
    if task not in (None, *TASKS):
        raise ValueError(f"found task={task!r}, expected one of {', '.join(TASKS)}")
    seeds, encoded, of = list(seeds), [], task and TASKS[task]
    name, draw = (task, of.draw) if of else (None if draw is draw_scene else repr(draw), draw)
    key = None if cache is None else digest(feature_key(model, processor).encode(), *scene_code())
    bar = tqdm(total=len(seeds), desc="encoding clips", unit="clip", disable=not progress)
    model.eval()
    for start in range(0, len(seeds), CHUNK):
        chunk = seeds[start : start + CHUNK]
        named = json.dumps([name, chunk] if name else chunk).encode()
        file = None if cache is None else Path(cache) / f"{key}-{digest(named)}.safetensors"
        if file is not None and file.exists():
            rows = load_features(file)
        else:
            rows = []
            for media in DataLoader(_SceneMedia(chunk, processor, draw, of), batch,
                                    collate_fn=list, num_workers=workers):
                rows += encode_media(model, processor, media)
                bar.update(len(media))
            if file is not None:
                save_features(rows, file)
        origin = {"task": task} if task else {}
        encoded += [{**row, "seed": s, **origin} for row, s in zip(rows, chunk, strict=True)]
        bar.update(len(encoded) - bar.n)
    bar.close()
    return encoded


def training_clips(model, processor, scenes: int, cache, progress: bool = True,
                   first: int = 10**6) -> list[dict]:
    """Encoded training clips: ordinary scenes, and scenes of the tasks in proportion, shuffled.

    Args:
        scenes: number of ordinary scenes; `TASK_CLIPS` gives the number for each task.
        first: position in the split "train" of the first ordinary scene.
    """
    first += SPLITS["train"].start
    encoded = encode_scenes(model, processor, range(first, first + scenes), cache=cache,
                            progress=progress)
    for task, count in TASK_CLIPS.items():
        start = first + 5 * 10**6
        encoded += encode_scenes(model, processor, range(start, start + count * scenes // 5120),
                                 task=task, cache=cache, progress=progress)
    return [encoded[i] for i in np.random.default_rng(0).permutation(len(encoded))]


def scene_of(encoded: dict) -> Scene:
    """The scene of a clip from `encode_scenes`."""
    return (TASKS[encoded["task"]].draw if "task" in encoded else draw_scene)(encoded["seed"])


def scene_code() -> list[bytes]:
    """All that a drawn scene depends on, except its seed: code and spoken words."""
    words = [file.read_bytes() for file in sorted(data_path("speech").iterdir())
             if file.suffix in (".ogg", ".json")]
    return [code_digest("world.rows", "world.rapid").encode(), *words]
