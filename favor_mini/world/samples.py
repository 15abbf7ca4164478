"""The samples that come with the repository: real media files, each with its script, questions and answers.

    python -m favor_mini.world.samples make      # write data_samples anew (about a minute)
    python -m favor_mini.world.samples verify    # compare every file with SHA256SUMS

Their scenes come from the split "samples", which no training may draw from, in the order of the seeds: nothing was
picked by looking. The same encoders on the same kind of processor (`build`) write the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import data_path
from ..storage import atomic_write
from .questions import Question, ask
from .scene import SPLITS, Actor, Heard, Moment, Scene, draw_scene
from .transcript import transcript

CLIPS, SOUNDS = 32, 4  # the first 32 seeds of the split become clips, the next 4 sounds
IMAGES = ("show", "write", "show", "write")  # the next 4 images, each of the first moment of this kind in its scene
SIZE, FPS, SAMPLING_RATE = 256, 24, 16000
PICTURE_FAMILIES = ("colour", "where", "read")  # what a single frame can answer
SUMS, INDEX = "SHA256SUMS", "samples.jsonl"


@dataclass(frozen=True)
class Sample:
    """A sample: `path` is the media file, `scene` its whole script, `questions` those that the file can answer.

    kind: "clip" (mp4), "sound" (flac) or "image" (png); an image is the scene's frame at `time` seconds.
    transcript: what the file shows and lets hear, in words.
    """

    name: str
    path: Path
    kind: str
    scene: Scene
    questions: list[Question]
    transcript: str
    time: float | None = None


def read_samples(folder: Path | None = None) -> list[Sample]:
    """The samples under `folder` (by default `data_samples`), clips first, in the order of their seeds.

    Raises FileNotFoundError where there is no index, ValueError where a line of it cannot be understood.
    """
    folder = data_path() if folder is None else Path(folder)
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"no {INDEX} in {folder}; restore it with `git checkout -- data_samples` or make the "
                                "samples anew with `python -m favor_mini.world.samples make`")
    lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    return [_sample(folder, line, number) for number, line in enumerate(lines, 1)]


def _sample(folder: Path, line: str, number: int) -> Sample:
    try:
        entry = json.loads(line)
        questions = [Question(q["family"], q["text"], q["answer"], tuple(q["candidates"])) for q in entry["questions"]]
        return Sample(Path(entry["file"]).stem, folder / entry["file"], entry["kind"], scene_from_dict(entry["script"]),
                      questions, entry["transcript"], entry.get("time"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / INDEX}, line {number}: expected a sample as `samples make` writes it, "
                         f"found {line[:40]!r} ({error!r})") from error


def scene_from_dict(script: dict) -> Scene:
    """The scene whose `to_dict()` this is, also after a detour through JSON."""
    def actor(entry):
        return Actor(**{**entry, "start": tuple(entry["start"]), "end": entry["end"] and tuple(entry["end"])})

    def moment(entry):
        return Moment(**{**entry, "actors": tuple(map(actor, entry["actors"])),
                         "heard": entry["heard"] and Heard(**entry["heard"])})

    return Scene(**{**script, "moments": tuple(map(moment, script["moments"])),
                    "background": tuple(script["background"])})


# Making them.

def plan() -> list[dict]:
    """Which samples there are: their files, kinds and seeds, and for images the time of the frame."""
    first = SPLITS["samples"].start
    planned = [{"file": f"clips/clip_{i:02}.mp4", "kind": "clip", "seed": first + i} for i in range(CLIPS)]
    planned += [{"file": f"sounds/sound_{i:02}.flac", "kind": "sound", "seed": first + CLIPS + i} for i in range(SOUNDS)]
    seed = first + CLIPS + SOUNDS
    for i, wanted in enumerate(IMAGES):
        while not (fitting := [m for m in draw_scene(seed).moments if m.seen == wanted]):
            seed += 1
        time = round((fitting[0].start + fitting[0].end) / 2, 3)
        planned.append({"file": f"images/image_{i:02}.png", "kind": "image", "seed": seed, "time": time})
        seed += 1
    return planned


def perceivable(scene: Scene, kind: str, time: float | None = None) -> Scene:
    """What a file of this kind holds of a scene: all of it, its sounds, or the one moment of an image."""
    if kind == "sound":
        return replace(scene, moments=tuple(Moment(m.start, m.end, "nothing", heard=m.heard) for m in scene.moments))
    if kind == "image":
        return replace(scene, moments=tuple(replace(m, heard=None) for m in scene.moments if m.start <= time < m.end))
    return scene


def questions_for(scene: Scene, kind: str, time: float | None = None) -> list[Question]:
    """The questions that a file of this kind can answer."""
    questions = ask(perceivable(scene, kind, time))
    if kind == "sound":
        return [q for q in questions if "video" not in q.needs]
    return [q for q in questions if kind == "clip" or q.family in PICTURE_FAMILIES]


def write_sample(folder: Path, planned: dict) -> dict:
    """Write one media file; returns its line of the index."""
    scene, kind, time = draw_scene(planned["seed"]), planned["kind"], planned.get("time")
    path = Path(folder) / planned["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[kind](scene, path, time)
    questions = [{**asdict(q), "needs": q.needs} for q in questions_for(scene, kind, time)]
    return {**planned, "duration": scene.duration if kind != "image" else 0.0, "made_with": build(),
            "transcript": transcript(perceivable(scene, kind, time)), "questions": questions, "script": scene.to_dict()}


def _write_clip(scene: Scene, path: Path, time: None) -> None:
    from .video import write_scene

    write_scene(scene, path, SIZE, FPS)


def _write_sound(scene: Scene, path: Path, time: None) -> None:
    import soundfile

    from .sounds import make_waveform

    with atomic_write(path) as unfinished:
        soundfile.write(unfinished, make_waveform(scene, SAMPLING_RATE), SAMPLING_RATE, format="FLAC", subtype="PCM_16")


def write_image(scene: Scene, path: Path, time: float, size: int = SIZE) -> None:
    """Write the scene's frame at `time` seconds as a PNG file, `size` pixels wide."""
    from PIL import Image

    from .pictures import draw_frames

    with atomic_write(path) as unfinished:
        Image.fromarray(draw_frames(scene, [time], size)[0]).save(unfinished, format="PNG", optimize=True)


WRITERS: dict[str, Callable] = {"clip": _write_clip, "sound": _write_sound, "image": write_image}


def build() -> str:
    """Which encoders write the files here; numpy's sines differ in their last digits from processor to processor."""
    import numpy as np
    import PIL
    import soundfile

    from .video import encoder_build

    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found") or ["baseline"]
    return (f"{encoder_build()}, libsndfile {soundfile.__libsndfile_version__}, Pillow {PIL.__version__}, "
            f"numpy {np.__version__} with {found[-1]}")


def make(folder: Path) -> None:
    """Write all samples under `folder`, then the index, the data card, the licence and the checksums."""
    from docs.tools.card import LICENSE, data_card

    from . import test_sets as aveb

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for planned in plan():
        entries.append(write_sample(folder, planned))
        print(f"{planned['file']:24} {(folder / planned['file']).stat().st_size / 1000:6.0f} kB")
    rows, media = aveb.make(folder)
    print(f"{'aveb/':24} {len(media):6} media files")
    _write(folder / INDEX, "".join(json.dumps(entry) + "\n" for entry in entries))
    _write(folder / "LICENSE", LICENSE)
    _write(folder / "README.md", data_card(entries, rows, media, aveb.FIRST))
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS, in the form that the program sha256sum reads, over every other file of the folder."""
    _write(Path(folder) / SUMS, "".join(f"{_sum(folder / name)}  {name}\n" for name in _files(folder)))


def verify(folder: Path) -> list[str]:
    """What is wrong with the files of the folder, one line each: changed, missing, or not in SHA256SUMS."""
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        return [f"{folder / SUMS} is missing"]
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    expected = {name: known for known, name in (line.split("  ", 1) for line in lines)}
    present = set(_files(folder))
    wrong = [f"{name} is missing" for name in expected if name not in present]
    wrong += [f"{name} is not listed" for name in sorted(present - set(expected))]
    return wrong + [f"{name} has changed" for name in expected if name in present and _sum(folder / name) != expected[name]]


def _files(folder: Path) -> list[str]:
    paths = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) != SUMS)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m favor_mini.world.samples", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", default="make", choices=("make", "sums", "verify"),
                        help="make: write everything (the default); sums: only SHA256SUMS; verify: compare with it")
    parser.add_argument("--folder", type=Path, help="instead of data_samples")
    options = parser.parse_args(arguments)
    folder = options.folder or data_path()
    if options.action == "verify":
        wrong = verify(folder)
        print("\n".join(wrong) or f"{len(_files(folder))} files are as {SUMS} lists them")
        return 1 if wrong else 0
    (make if options.action == "make" else write_sums)(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
