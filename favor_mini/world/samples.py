"""The sample files in `data_samples`: media with scripts and questions, and mini-AVEB's test sets.

`python -m docs.tools.samples` makes them, in a checkout. All their scenes belong to the split
"samples", which training refuses.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from .. import data_path
from ..data.row import Row, Turn
from .questions import Question
from .scene import SPLITS, Actor, Heard, Moment, Scene
from .transcript import DESCRIBE

CLIPS = 32  # the first seeds of the split "samples" are those of the clips
TASK_SEED = SPLITS["samples"].start + 10**6  # first seed of the scenes that each AVEB task draws
SUMS, INDEX = "SHA256SUMS", "samples.jsonl"


@dataclass(frozen=True)
class Sample:
    """A sample file.

    Args:
        path: the media file.
        kind: "clip" (mp4), "sound" (flac) or "image" (png, the frame at `time` seconds).
        scene: the whole script.
        questions: those that the file can answer.
        transcript: the visible and audible content of the file, in words.
    """

    name: str
    path: Path
    kind: str
    scene: Scene
    questions: list[Question]
    transcript: str
    time: float | None = None


def read_samples(folder: Path | None = None) -> list[Sample]:
    """The samples in `folder` (default: `data_samples`), clips first, in the order of their seeds.

    Raises:
        FileNotFoundError: the folder has no index.
        ValueError: a line of the index is not a sample.
    """
    folder = data_path() if folder is None else Path(folder)
    if not (folder / INDEX).is_file():
        raise _missing(folder / INDEX)
    lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    return [_sample(folder, line, number) for number, line in enumerate(lines, 1)]


def sample_rows(folder: Path | None = None) -> list[Row]:
    """The samples as rows: transcript, then questions. Their media root is `folder` (default:
    `data_samples`).

    Raises:
        FileNotFoundError, ValueError: see `read_samples`.
    """
    folder = data_path() if folder is None else Path(folder)
    return [Row(str(i), (s.path.relative_to(folder).as_posix(),),
                (Turn(DESCRIBE, (s.transcript,)),
                 *(Turn(q.text, (q.answer,), q.candidates) for q in s.questions)),
                ordered=s.kind != "image", label=s.name)
            for i, s in enumerate(read_samples(folder))]


def aveb_file(task: str) -> Path:
    """The JSON file of a task's test set. Its media paths are relative to `data_samples`.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    file = data_path("aveb", f"{task}.json")
    if not file.is_file():
        raise _missing(file)
    return file


def verify(folder: Path) -> list[str]:
    """Compare the files in `folder` with SHA256SUMS; returns a message for each difference."""
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        return [f"{folder / SUMS} is missing"]
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    listed = {name: known for known, name in (line.split("  ", 1) for line in lines)}
    found = checksums(folder)
    return ([f"{name} is missing" for name in listed if name not in found]
            + [f"{name} is not listed" for name in found if name not in listed]
            + [f"{name} has changed" for name, known in listed.items()
               if found.get(name, known) != known])


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in `folder`, by relative path; without SHA256SUMS and hidden files."""
    paths = (path for path in Path(folder).rglob("*")
             if path.is_file() and not path.name.startswith(".") and path.name != SUMS)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix())}


def scene_from_dict(script: dict) -> Scene:
    """The inverse of `Scene.to_dict`. Also accepts lists in place of tuples, as JSON gives them."""
    def actor(entry):
        end = entry["end"] and tuple(entry["end"])
        return Actor(**{**entry, "start": tuple(entry["start"]), "end": end})

    def moment(entry):
        return Moment(**{**entry, "actors": tuple(map(actor, entry["actors"])),
                         "heard": entry["heard"] and Heard(**entry["heard"])})

    return Scene(**{**script, "moments": tuple(map(moment, script["moments"])),
                    "background": tuple(script["background"])})


def _sample(folder: Path, line: str, number: int) -> Sample:
    try:
        entry = json.loads(line)
        questions = [Question(q["family"], q["text"], q["answer"], tuple(q["candidates"]))
                     for q in entry["questions"]]
        return Sample(Path(entry["file"]).stem, folder / entry["file"], entry["kind"],
                      scene_from_dict(entry["script"]), questions, entry["transcript"],
                      entry.get("time"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / INDEX}, line {number}: found {line[:40]!r} ({error!r}), expected a sample. "
            "Restore the file with `git checkout -- data_samples`") from error


def _missing(file: Path) -> FileNotFoundError:
    return FileNotFoundError(f"{file} does not exist. Restore it with `git checkout -- "
                             "data_samples`, make all samples with `make samples`, or, without a "
                             "clone, run `favor-mini class setup`")
