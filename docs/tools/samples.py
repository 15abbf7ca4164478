"""Make, check and describe the files in `data_samples`.

    python -m docs.tools.samples make      # all files (a few minutes); `make samples` does this
    python -m docs.tools.samples card      # only README.md, LICENSE and SHA256SUMS
    python -m docs.tools.samples verify    # compare every file with SHA256SUMS

The scenes are those of the split "samples", in the order of their seeds; none was selected by hand.
The same encoders on the same kind of processor (`build`) write the same bytes. The order of the
alternatives in the stored questions comes from the stream "question alternatives", in
`questions.ask`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np
import PIL
import soundfile

from docs.tools import test_sets
from docs.tools.card import LICENSE, data_card
from favor_mini import data_path
from favor_mini.storage import atomic_write
from favor_mini.world.questions import Question, ask
from favor_mini.world.samples import CLIPS, INDEX, SUMS, checksums, verify
from favor_mini.world.scene import SPLITS, Moment, Scene, draw_scene
from favor_mini.world.sounds import make_waveform
from favor_mini.world.transcript import transcript
from favor_mini.world.video import write_scene

SOUNDS = 4  # of the seeds after those of the clips
IMAGES = ("show", "write", "show", "write")  # then images, of the first moment of this kind each
SIZE, FPS, SAMPLING_RATE = 256, 24, 16000
PICTURE_FAMILIES = ("colour", "where", "read")  # what a single frame can answer


def plan() -> list[dict]:
    """File, kind and seed of each sample; for images also the time of the frame, in seconds."""
    first = SPLITS["samples"].start
    planned = [{"file": f"clips/clip_{i:02}.mp4", "kind": "clip", "seed": first + i}
               for i in range(CLIPS)]
    planned += [{"file": f"sounds/sound_{i:02}.flac", "kind": "sound", "seed": first + CLIPS + i}
                for i in range(SOUNDS)]
    seed = first + CLIPS + SOUNDS
    for i, wanted in enumerate(IMAGES):
        while not (fitting := [m for m in draw_scene(seed).moments if m.seen == wanted]):
            seed += 1
        time = round((fitting[0].start + fitting[0].end) / 2, 3)
        planned.append({"file": f"images/image_{i:02}.png", "kind": "image", "seed": seed,
                        "time": time})
        seed += 1
    return planned


def perceivable(scene: Scene, kind: str, time: float | None = None) -> Scene:
    """The part of a scene that a file of this kind holds."""
    if kind == "sound":
        return replace(scene, moments=tuple(
            Moment(m.start, m.end, "nothing", heard=m.heard) for m in scene.moments))
    if kind == "image":
        return replace(scene, moments=tuple(
            replace(m, heard=None) for m in scene.moments if m.start <= time < m.end))
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
            "transcript": transcript(perceivable(scene, kind, time)), "questions": questions,
            "script": scene.to_dict()}


def write_sound(scene: Scene, path: Path, time=None) -> None:
    """Write the sound of a scene as a FLAC file."""
    with atomic_write(path) as unfinished:
        soundfile.write(unfinished, make_waveform(scene, SAMPLING_RATE), SAMPLING_RATE,
                        format="FLAC", subtype="PCM_16")


WRITERS: dict[str, Callable] = {
    "clip": lambda scene, path, time: write_scene(scene, path, SIZE, FPS),
    "sound": write_sound,
    "image": lambda scene, path, time: test_sets.write_image(scene, path, time, SIZE)}


def build() -> str:
    """Versions of the encoders. numpy's sine differs in its last digits between processors."""
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found") or ["baseline"]
    libraries = (f"{name} {'.'.join(map(str, av.library_versions[name]))}"
                 for name in ("libavcodec", "libavformat", "libswscale"))
    return ", ".join([f"PyAV {av.__version__}", *libraries,
                      f"libsndfile {soundfile.__libsndfile_version__}", f"Pillow {PIL.__version__}",
                      f"numpy {np.__version__} with {found[-1]}"])


def make(folder: Path) -> None:
    """Write all media files, the index and the test sets, then what `write_card` writes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for planned in plan():
        entries.append(write_sample(folder, planned))
        print(f"{planned['file']:24} {(folder / planned['file']).stat().st_size / 1000:6.0f} kB")
    _, media = test_sets.make(folder)
    print(f"{'aveb/':24} {len(media):6} media files")
    _write(folder / INDEX, "".join(json.dumps(entry) + "\n" for entry in entries))
    write_card(folder)


def write_card(folder: Path) -> None:
    """Write the data card and the licence of the samples in `folder`, then SHA256SUMS."""
    folder = Path(folder)
    entries = [json.loads(line) for line in (folder / INDEX).read_text("utf-8").splitlines()]
    _write(folder / "LICENSE", LICENSE)
    _write(folder / "README.md", data_card(entries, *test_sets.read(folder)))
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS in the format of the program sha256sum."""
    lines = (f"{known}  {name}\n" for name, known in checksums(folder).items())
    _write(Path(folder) / SUMS, "".join(lines))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.tools.samples", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("make", "card", "verify"))
    parser.add_argument("--folder", type=Path, help="default: data_samples")
    options = parser.parse_args(arguments)
    folder = options.folder or data_path()
    if options.action == "verify":
        wrong = verify(folder)
        print("\n".join(wrong) or f"all {len(checksums(folder))} files agree with {SUMS}")
        return int(bool(wrong))
    {"make": make, "card": write_card}[options.action](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
