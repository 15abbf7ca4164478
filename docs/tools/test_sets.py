"""Make the test sets of mini-AVEB: media in `data_samples/aveb`, and a JSON file for each task.

The rows have the format of the paper's published files. Questions about films are asked about the
sample clips. All scenes belong to the split "samples", in the order of their seeds.
"""

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image

from favor_mini.storage import atomic_write
from favor_mini.world.pictures import draw_frames
from favor_mini.world.samples import CLIPS, TASK_SEED
from favor_mini.world.scene import SPLITS, Scene, draw_scene, stream
from favor_mini.world.sounds import make_waveform
from favor_mini.world.tasks import TASKS, Example, Task
from favor_mini.world.video import write_scene

# Number of scenes; ic, ocr and vqa share the stills.
SCENES = {"asr": 32, "stills": 80, "avsr": 20, "isqa": 60, "avssd": 100, "avm": 80}
SIZE, FPS = 128, 12  # of pictures and films
OPUS_BIT_RATE = 32_000
PER_SCENE = {"ic": 1, "vqa": 1, "video_qa": 3, "avqa": 3}  # most questions about a scene; else all


def make(folder: Path) -> tuple[dict[str, list[dict]], list[str]]:
    """Write media and rows to `folder/aveb`. Returns the rows by task, and the media's paths."""
    written, made = set(), {}
    for task in TASKS.values():
        rows = made[task.name] = []
        for seed, media in _scenes(task):
            scene, rng = task.draw(seed), stream("test set questions", seed)
            asked = task.ask(scene, rng)
            count = PER_SCENE.get(task.name, len(asked))
            chosen = [asked[i] for i in rng.permutation(len(asked))[:count]]
            if chosen and task.draw is not draw_scene and media[0] not in written:
                for name in media:
                    write_medium(scene, folder / name)
                written |= set(media)
            rows += [_row(task, media, example) for example in chosen]
        with atomic_write(folder / "aveb" / f"{task.name}.json") as unfinished:
            unfinished.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return made, sorted(written)


def read(folder: Path) -> tuple[dict[str, list[dict]], list[str]]:
    """What `make` returned, read from the files."""
    rows = {task: json.loads((folder / "aveb" / f"{task}.json").read_text("utf-8"))
            for task in TASKS}
    media = (p.relative_to(folder).as_posix() for p in (folder / "aveb").glob("*/*"))
    return rows, sorted(media)


def _scenes(task: Task) -> list[tuple[int, list[str]]]:
    """The seed of each scene of a task, with the paths of its media."""
    if task.draw is draw_scene:
        return [(SPLITS["samples"].start + i, [f"clips/clip_{i:02}.mp4"]) for i in range(CLIPS)]
    group = "stills" if task.streams == ("video",) else task.name
    endings = {"asr": [".ogg"], "avsr": [".mp4"], "stills": [".png"]}.get(group, [".png", ".ogg"])
    return [(TASK_SEED + i, [f"aveb/{group}/{group}_{i:02}{ending}" for ending in endings])
            for i in range(SCENES[group])]


def _row(task: Task, media: list[str], example: Example) -> dict:
    """A row in the published format, plus `guess`, the chance level.

    Only video_qa has `answer_candidates`, as in the paper.
    """
    answers = list(example.answers)
    row = {"image_name": media if len(media) > 1 else media[0], "question": example.question,
           "answer": answers if len(answers) > 1 else answers[0], "guess": round(example.guess, 4)}
    if task.name == "video_qa":
        row["answer_candidates"] = list(example.candidates)
    return row


def write_medium(scene: Scene, path: Path) -> None:
    """Write one file of a scene; the suffix decides whether it holds the film, sound or picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        write_scene(scene, path, SIZE, FPS)
    elif path.suffix == ".ogg":
        write_sound(path, make_waveform(scene))
    else:
        write_image(scene, path, 0.0, SIZE)


def write_image(scene: Scene, path: Path, time: float, size: int) -> None:
    """Write the frame at `time` seconds as a PNG file of `size` x `size` pixels."""
    with atomic_write(path) as unfinished:
        picture = Image.fromarray(draw_frames(scene, [time], size)[0])
        picture.save(unfinished, format="PNG", optimize=True)


def write_sound(path, waveform: np.ndarray, sampling_rate: int = 16000) -> None:
    """Write a waveform (samples,) to an Ogg file with Opus sound, atomically."""
    options = {"fflags": "+bitexact"}
    with atomic_write(Path(path)) as unfinished, \
            av.open(str(unfinished), "w", format="ogg", options=options) as file:
        sound = file.add_stream("libopus", rate=sampling_rate, layout="mono",
                                bit_rate=OPUS_BIT_RATE, options={"flags": "+bitexact"})
        piece = av.AudioFrame.from_ndarray(waveform[None].astype(np.float32), "flt", "mono")
        piece.sample_rate = sampling_rate
        file.mux(sound.encode(piece))
        file.mux(sound.encode(None))
