"""What a class is: `class.toml`, with its assignments, their marks and rules.

    course = "Audio-visual language models"

    [assignments.attention]
    notebook = "05"
    deadline = "2027-01-15 18:00"
    hints = 1                                  # of the two on a card; 0 to 2
    marks = {frame_index = 2, block_causal = 4, local_causal = 4}

A file `class.secret` in the same folder decides the random inputs of the grading. It is made when
it is first needed. Keep it, and give it to nobody.
"""

import hashlib
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..course.exercise import exercises
from ..storage import atomic_write

SEEDS = 12  # trials of an exercise that is graded


@dataclass(frozen=True)
class Assignment:
    """Exercises of a notebook, with the marks of each.

    Args:
        notebook: its two digits. marks: by exercise. deadline: as text, for the instructions.
        hints: how many of the two hints are on the cards.
    """

    name: str
    notebook: str
    marks: dict[str, float]
    deadline: str = ""
    hints: int = 1

    def __post_init__(self):
        here = [e.name for e in exercises().values() if e.notebook == self.notebook]
        if not here:
            raise ValueError(f"assignment {self.name!r}: found notebook = {self.notebook!r}, "
                             'expected two digits, such as "05"')
        if unknown := set(self.marks) - set(here):
            raise ValueError(f"assignment {self.name!r}: notebook {self.notebook} has no exercise "
                             f"{sorted(unknown)[0]!r}. Fix: choose among {', '.join(here)}")
        if not self.marks or not all(isinstance(m, int | float) and m > 0
                                     for m in self.marks.values()):
            raise ValueError(f"assignment {self.name!r}: found marks = {self.marks}, expected a "
                             "number above 0 for one exercise or more")
        if self.hints not in (0, 1, 2):
            raise ValueError(f"assignment {self.name!r}: found hints = {self.hints}, expected 0, "
                             "1 or 2")

    @property
    def total(self) -> float:
        return sum(self.marks.values())


@dataclass(frozen=True)
class Course:
    """name: of the course. folder: of `class.toml`. assignments: by name."""

    name: str
    folder: Path
    assignments: dict[str, Assignment]

    def assignment(self, name: str) -> Assignment:
        """The assignment of this name. Raises ValueError, with all names, where there is none."""
        if name not in self.assignments:
            raise ValueError(f"no assignment {name!r} in {self.folder / 'class.toml'}. Fix: choose "
                             f"among {', '.join(self.assignments)}")
        return self.assignments[name]

    def seeds(self, exercise: str) -> list[int]:
        """The seeds of an exercise's trials: the same for all students, known to the class file's
        owner alone."""
        file = self.folder / "class.secret"
        if not file.is_file():
            with atomic_write(file) as unfinished:
                unfinished.write_text(secrets.token_hex(16), encoding="utf-8")
            file.chmod(0o600)
        secret = file.read_text(encoding="utf-8").strip()
        found = hashlib.sha256(f"{secret}/{exercise}".encode()).digest()
        return [int.from_bytes(found[:4]) % 2**31 + i for i in range(SEEDS)]


def read_class(file) -> Course:
    """Read a `class.toml`.

    Raises:
        FileNotFoundError: there is none. ValueError: it is not as described above.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}. Fix: write one; favor-mini class --help shows "
                                "an example")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no TOML file: {error}") from None
    if unknown := set(found) - {"course", "assignments"}:
        raise ValueError(f"{path}: found {sorted(unknown)[0]!r}, expected course and assignments")
    assignments = {}
    for name, entry in found.get("assignments", {}).items():
        if missing := {"notebook", "marks"} - set(entry):
            raise ValueError(f"{path}: assignment {name!r} has no {sorted(missing)[0]}")
        if unknown := set(entry) - {"notebook", "marks", "deadline", "hints"}:
            raise ValueError(f"{path}: assignment {name!r} has {sorted(unknown)[0]!r}, expected "
                             "notebook, marks, deadline and hints")
        assignments[name] = Assignment(name, **{**entry, "deadline": str(
            entry.get("deadline", ""))})
    if not assignments:
        raise ValueError(f"{path} has no assignment. Fix: add one; favor-mini class --help shows "
                         "an example")
    return Course(str(found.get("course", path.parent.name)), path.parent, assignments)
