"""What a class is: `class.toml`, with its assignments, their marks and rules.

    course = "Audio-visual language models"

    [assignments.attention]
    notebook = "05"
    deadline = "2027-01-15 18:00"
    hints = 1                                  # of the two on a card; 0 to 2
    marks = {frame_index = 2, block_causal = 4, local_causal = 4}
    twins = {local_causal = "twins/local_causal.py"}     # private variants, see `twins`
    roster = "students.txt"                              # names, one a line

Paths start in the folder of the class file. A file `class.secret` in the same folder decides the
random inputs of the grading and the parameters of the twins. It is made when it is first needed.
Keep it, and give it to nobody.
"""

import hashlib
import secrets
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..course.exercise import exercises
from ..storage import atomic_write
from .twins import TwinFile, read_twin

SEEDS = 12  # trials of an exercise that is graded
FIELDS = "notebook", "marks", "deadline", "hints", "twins", "roster"


@dataclass(frozen=True)
class Assignment:
    """Exercises of a notebook, with the marks of each.

    Args:
        notebook: its two digits. marks: by exercise. deadline: as text, for the instructions.
        hints: how many of the two hints are on the cards. twins: by exercise. roster: the students'
            names; with twins, each gets a hand-out of their own.
    """

    name: str
    notebook: str
    marks: dict[str, float]
    deadline: str = ""
    hints: int = 1
    twins: dict[str, TwinFile] = field(default_factory=dict)
    roster: tuple[str, ...] = ()

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

        if unknown := set(self.twins) - set(self.marks):
            raise ValueError(f"assignment {self.name!r}: found a twin of {sorted(unknown)[0]!r}, "
                             "which has no marks. Fix: give it marks, or leave the twin out")

    @property
    def personal(self) -> bool:
        """Whether each student gets a hand-out of their own."""
        return bool(self.twins and self.roster)

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

    def secret(self) -> str:
        """The text in `class.secret`, known to the class file's owner alone."""
        file = self.folder / "class.secret"
        if not file.is_file():
            with atomic_write(file) as unfinished:
                unfinished.write_text(secrets.token_hex(16), encoding="utf-8")
            file.chmod(0o600)
        with suppress(OSError):  # a copy that everybody may read, as git makes it
            file.chmod(file.stat().st_mode & 0o770)
        return file.read_text(encoding="utf-8").strip()

    def seeds(self, exercise: str) -> list[int]:
        """The seeds of an exercise's trials: the same for all students."""
        found = hashlib.sha256(f"{self.secret()}/{exercise}".encode()).digest()
        return [int.from_bytes(found[:4]) % 2**31 + i for i in range(SEEDS)]

    def drawn(self, assignment: Assignment, exercise: str, student: str = "") -> tuple:
        """The parameters of an exercise's twin: a student's, where hand-outs are personal; ()
        without a twin."""
        twin, who = assignment.twins.get(exercise), student if assignment.personal else ""
        return twin.drawn(f"{self.secret()}/{who}/{exercise}") if twin else ()


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
    entries = found.get("assignments", {})
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{path} has no assignment. Fix: add one; favor-mini class --help shows "
                         "an example")
    return Course(str(found.get("course", path.parent.name)), path.parent,
                  {name: _assignment(path, name, entry) for name, entry in entries.items()})


def _assignment(path: Path, name: str, entry: dict) -> Assignment:
    """An assignment, from its entry in a class file."""
    where = f"{path}: assignment {name!r}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {entry!r}. Fix: begin it by a line [assignments.{name}]")
    if missing := {"notebook", "marks"} - set(entry):
        raise ValueError(f"{where} has no {sorted(missing)[0]}")
    if unknown := set(entry) - set(FIELDS):
        raise ValueError(f"{where} has {sorted(unknown)[0]!r}, expected {', '.join(FIELDS)}")
    for field_name in ("marks", "twins"):
        if not isinstance(entry.get(field_name, {}), dict):
            raise ValueError(f"{where}: found {field_name} = {entry[field_name]!r}, expected a "
                             "table by exercise, such as {frame_index = ...}")
    for key, file in {"roster": entry.get("roster", ""), **entry.get("twins", {})}.items():
        if not isinstance(file, str):
            raise ValueError(f"{where}: found {key} = {file!r}, expected the path of a file")
    entry["deadline"] = str(entry.get("deadline", ""))
    entry["twins"] = {exercise: read_twin(path.parent / file)
                      for exercise, file in entry.get("twins", {}).items()}
    entry["roster"] = read_roster(path.parent / entry["roster"]) if "roster" in entry else ()
    return Assignment(name, **entry)


def read_roster(file: Path) -> tuple[str, ...]:
    """Names, one a line, that hand-outs and submissions are called by.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it has no name, or one that cannot be
            a file's.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no roster {file}. Fix: write it, one name a line")
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    names = [name for name in names if name]
    wrong = [name for name in names if Path(name).name != name or names.count(name) > 1]
    if wrong or not names:
        raise ValueError(f"{file}: found {wrong[0]!r}, expected a name a line, each once, that can "
                         "be the name of a file" if wrong else f"{file} has no name")
    return tuple(names)
