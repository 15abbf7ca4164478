"""The frozen encoders' outputs, computed once and kept on disk: training then starts from vectors, not from media."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm.auto import tqdm

from . import data_path
from .aveb import tasks
from .aveb.tasks import TASKS, Task
from .files import digest, replacing
from .media import clip_from_arrays
from .model import FavorForConditionalGeneration
from .processor import FavorProcessor
from .world.pictures import draw_frames
from .world.scene import Scene, draw_scene
from .world.sounds import make_waveform

CHUNK = 256  # scenes in one file of the cache


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


@torch.no_grad()
def encode_media(model: FavorForConditionalGeneration, processor: FavorProcessor, media: list[dict]) -> list[dict]:
    """Run the frozen encoders over the media of a few clips.

    Returns media dictionaries with visual_features (T, V, D_v) and audio_features (L, D_w) in half precision in place
    of pixels and mel spectrograms; what a clip lacks is left out.
    """
    if model.config.question_conditioning:
        raise ValueError("this model's pictures are looked at with the question in mind (question_conditioning): what its encoders make "
                         "of a clip can't be kept for several questions; give the model the processor's batches with their media")
    tensors = {k: v.to(model.device) for k, v in processor.pad_media(media).items()}
    visual, audio = model.encode(tensors.get("pixel_values"), tensors.get("input_features"))
    encoded = []
    for i, m in enumerate(media):
        features = {"num_frames": m["num_frames"], "audio_tokens": m["audio_tokens"]}
        if m["num_frames"]:
            features["visual_features"] = visual[i, : m["num_frames"]].half().cpu()
        if m["audio_tokens"]:
            features["audio_features"] = audio[i, : m["audio_tokens"]].half().cpu()
        encoded.append(features)
    return encoded


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
    key = None if cache is None else _key(model, processor)
    bar = tqdm(total=len(seeds), desc="encoding clips", unit="clip", disable=not progress)
    model.eval()
    for start in range(0, len(seeds), CHUNK):
        chunk = seeds[start : start + CHUNK]
        named = json.dumps([task, chunk] if task else chunk).encode()
        file = None if cache is None else Path(cache) / f"{key}-{digest(named)}.safetensors"
        if file is not None and file.exists():
            rows = _load(file)
        else:
            loader = DataLoader(_SceneMedia(chunk, processor, task and TASKS[task]), batch, collate_fn=list, num_workers=workers)
            rows = []
            for media in loader:
                rows += encode_media(model, processor, media)
                bar.update(len(media))
            if file is not None:
                _save(rows, file)
        beside = {"task": task} if task else {}
        encoded += [{**row, "seed": seed, **beside} for row, seed in zip(rows, chunk, strict=True)]
        bar.update(len(encoded) - bar.n)
    bar.close()
    return encoded


def scene_of(encoded: dict) -> Scene:
    """The scene that a clip from `encode_scenes` was made of."""
    return (TASKS[encoded["task"]].draw if "task" in encoded else draw_scene)(encoded["seed"])


def _key(model: FavorForConditionalGeneration, processor: FavorProcessor) -> str:
    """Names what features depend on but the seeds: weights, processor, the mini world's code and words, this file."""
    weights = [t.detach().float().cpu().numpy().tobytes() for part in (model.audio_encoder, model.visual_encoder)
               for t in part.state_dict().values()]
    code = [p.read_bytes() for p in sorted(Path(__file__).parent.joinpath("world").glob("*.py"))]
    code += [Path(tasks.__file__).read_bytes()]
    code += [p.read_bytes() for p in sorted(data_path("speech").iterdir()) if p.suffix in (".ogg", ".json")]
    settings = json.dumps([asdict(processor.settings), processor.feature_extractor.to_dict()], default=str)
    return digest(*weights, *code, Path(__file__).read_bytes(), settings.encode())


def _save(rows: list[dict], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{k}.{i}": v.contiguous() for i, row in enumerate(rows) for k, v in row.items() if torch.is_tensor(v)}
    with replacing(file) as unfinished:
        save_file(tensors, unfinished,
                  metadata={"clips": json.dumps([[r["num_frames"], r["audio_tokens"]] for r in rows])})


def _load(file: Path) -> list[dict]:
    with safe_open(file, "pt") as stored:
        counts = json.loads(stored.metadata()["clips"])
    tensors = load_file(file)
    return [{"num_frames": frames, "audio_tokens": tokens,
             **{k: tensors[f"{k}.{i}"] for k in ("visual_features", "audio_features") if f"{k}.{i}" in tensors}}
            for i, (frames, tokens) in enumerate(counts)]
