"""The test sets of mini-AVEB: real media files under `data_samples/aveb`, and for each task a list of rows in the published format.

    python -m favor_mini.world.samples make      # writes them with all other samples

Questions about films are asked of the sample clips. All scenes are of the split "samples", in the order of their seeds.
"""

import json
from pathlib import Path

import numpy as np

from .. import data_path
from ..storage import atomic_write
from .samples import CLIPS, write_image
from .scene import SPLITS, Scene, draw_scene
from .sounds import make_waveform
from .tasks import TASKS, Example, Task
from .video import write_scene, write_sound

FIRST = SPLITS["samples"].start + 10**6  # the first seed of each task's own scenes
SCENES = {"asr": 32, "stills": 80, "avsr": 20, "isqa": 60, "avssd": 100, "avm": 80}  # how many; three tasks share the stills
SIZE, FPS = 128, 12  # of pictures and films
PER_SCENE = {"ic": 1, "vqa": 1, "video_qa": 3, "avqa": 3}  # questions at most; of the others, all


def make(folder: Path) -> tuple[dict[str, list[dict]], list[str]]:
    """Write media and rows under `folder/aveb`, beside the sample clips; returns the rows by task, and the media's names."""
    written, made = set(), {}
    for task in TASKS.values():
        rows = made[task.name] = []
        for seed, media in _scenes(task):
            scene, rng = task.draw(seed), np.random.default_rng([seed, 93])
            asked = task.ask(scene, rng)
            count = PER_SCENE.get(task.name, len(asked))
            chosen = [asked[i] for i in rng.permutation(len(asked))[:count]]
            if chosen and task.draw is not draw_scene and media[0] not in written:
                for name in media:
                    _write(scene, folder / name)
                written |= set(media)
            rows += [_row(task, media, example) for example in chosen]
        with atomic_write(folder / "aveb" / f"{task.name}.json") as unfinished:
            unfinished.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return made, sorted(written)


def test_set(task: str) -> Path:
    """A task's file of rows; its media are named from `data_samples` on.

    Raises:
        FileNotFoundError: it is not there.
    """
    file = data_path("aveb", f"{task}.json")
    if not file.is_file():
        raise FileNotFoundError(f"no {file}; restore it with `git checkout -- data_samples`, or make all samples anew with "
                                "`python -m favor_mini.world.samples make`")
    return file


def _scenes(task: Task) -> list[tuple[int, list[str]]]:
    """The seeds of a task's scenes, with the names of their media."""
    if task.draw is draw_scene:
        return [(SPLITS["samples"].start + i, [f"clips/clip_{i:02}.mp4"]) for i in range(CLIPS)]
    group = "stills" if task.streams == ("video",) else task.name
    endings = {"asr": [".ogg"], "avsr": [".mp4"], "stills": [".png"]}.get(group, [".png", ".ogg"])
    return [(FIRST + i, [f"aveb/{group}/{group}_{i:02}{ending}" for ending in endings]) for i in range(SCENES[group])]


def _row(task: Task, media: list[str], example: Example) -> dict:
    """As in the published files, and with what guessing scores; what to choose among only where the paper's task is to choose."""
    row = {"image_name": media if len(media) > 1 else media[0], "question": example.question,
           "answer": list(example.answers) if len(example.answers) > 1 else example.answers[0], "guess": round(example.guess, 4)}
    return row | ({"answer_candidates": list(example.candidates)} if task.name == "video_qa" else {})


def _write(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        write_scene(scene, path, SIZE, FPS)
    elif path.suffix == ".ogg":
        write_sound(path, make_waveform(scene))
    else:
        write_image(scene, path, 0.0, SIZE)
