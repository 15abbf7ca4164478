"""Marks from submissions: a table, a page for each student, and what looks alike."""

import ast
import csv
import html
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat

from ..course.exercise import exercises, find
from ..storage import atomic_write
from .judging import Task, judge_cells, prelude, rehearsed
from .plan import Assignment, Course
from .release import tagged
from .setup import course_notebooks

# nbgrader's columns of its exported grades
COLUMNS = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
           "raw_score", "late_submission_penalty", "score", "max_score")


@dataclass(frozen=True)
class Graded:
    """student: the name of the folder or file. verdicts: exercise -> what is wrong, "" if it is
    right. code: exercise -> the cell. note: about the submission as a whole."""

    student: str
    verdicts: dict[str, str]
    code: dict[str, str]
    note: str = ""

    def score(self, assignment: Assignment) -> float:
        return sum(marks for name, marks in assignment.marks.items()
                   if self.verdicts.get(name) == "")


def submissions(folder) -> dict[str, Path]:
    """Notebooks by student: FOLDER/STUDENT.ipynb, or one notebook in FOLDER/STUDENT/.

    Raises:
        FileNotFoundError: there is none.
    """
    folder, found = Path(folder), {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        inside = sorted(p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
        if path.suffix == ".ipynb":
            found[path.stem] = path
        elif path.is_dir() and inside:
            found[path.name] = inside[-1]
    if not found:
        raise FileNotFoundError(f"no notebook in {folder}. Fix: put each submission there as "
                                "STUDENT.ipynb, or into a folder STUDENT")
    return found


@dataclass
class Grader:
    """Judges the submissions of an assignment.

    Args:
        notebook: the course's, whose imports the answers may use.
    """

    course: Course
    assignment: Assignment
    notebook: Path

    def __post_init__(self):
        self._known = prelude([c.source for c in nbformat.read(self.notebook, as_version=4).cells
                               if c.cell_type == "code"])
        # Where nothing is graded, the notebook goes on with the package's own: answers may call it.
        self._known |= {e.name: e.answer for e in exercises().values()
                        if e.notebook == self.assignment.notebook
                        and e.name not in self.assignment.marks}
        self._tasks: dict[tuple, Task] = {}

    def tasks(self, student: str) -> dict[str, Task]:
        """What a student's answers have to do, by exercise. An exercise is rehearsed once."""
        found = {}
        for name in self.assignment.marks:
            chosen = self.course.drawn(self.assignment, name, student)
            if (name, chosen) not in self._tasks:
                tested, twin = find(name), self.assignment.twins.get(name)
                self._tasks[name, chosen] = rehearsed(
                    twin.twin(chosen).exercise(tested) if twin else tested, self.course.seeds(name))
            found[name] = self._tasks[name, chosen]
        return found

    def grade(self, student: str, file: Path) -> Graded:
        """Judge the tagged cells of a submission. A file that cannot be read has no marks."""
        marks = self.assignment.marks
        if self.assignment.personal and student not in self.assignment.roster:
            return Graded(student, {}, {}, "not on the roster, so the task is not known")
        try:
            notebook = nbformat.read(file, as_version=4)
            cells = {tagged(c): c.source for c in notebook.cells if c.cell_type == "code"}
            owner = notebook.metadata.get("favor_mini", {}).get("student", student)
        except Exception as error:  # nbformat raises many kinds
            return Graded(student, {}, {}, f"{file.name} cannot be read: {type(error).__name__}")
        code = {name: cell for name, cell in cells.items() if name in marks}
        verdicts = judge_cells(code, self._known, self.tasks(student))
        gone = {name: "the cell with the answer is missing, or has lost its tag"
                for name in marks if name not in code}
        return Graded(student, {**verdicts, **gone}, code,
                      "" if owner == student else f"made from the hand-out of {owner}")


def grade(course: Course, name: str, folder, out, notebooks=None, tell=print) -> list[Graded]:
    """Grade all submissions of an assignment; writes `out/marks.csv`, `out/exercises.csv`,
    `out/suspicions.csv` and `out/pages/STUDENT.html`. Who is on the roster without a submission
    has a row in the tables and no page.

    Args:
        notebooks: folder of the course's notebooks. None: those of the installed course.
        tell: called with a line for each submission.

    Raises:
        ValueError: there is no such assignment. FileNotFoundError: there is no submission, or no
        such notebook. RuntimeError: an exercise's own answer fails here.
    """
    assignment, out, graded = course.assignment(name), Path(out), []
    [notebook, *_] = course_notebooks(notebooks, assignment.notebook)
    handed, grader = submissions(folder), Grader(course, assignment, notebook)
    for student in [*handed, *(s for s in assignment.roster if s not in handed)]:
        graded.append(grader.grade(student, handed[student]) if student in handed
                      else Graded(student, {}, {}, "no submission"))
        score = graded[-1].score(assignment)
        tell(f"{student}: {score:g} of {assignment.total:g} {graded[-1].note}".rstrip())
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    _write(out / "marks.csv", COLUMNS, [
        (name, assignment.deadline, now, g.student, "", "", "", g.score(assignment), 0,
         g.score(assignment), assignment.total) for g in graded])
    _write(out / "exercises.csv", ("student_id", "exercise", "score", "max_score", "said"), [
        (g.student, exercise, marks if g.verdicts.get(exercise) == "" else 0, marks,
         g.verdicts.get(exercise, g.note)) for g in graded
        for exercise, marks in assignment.marks.items()])
    _write(out / "suspicions.csv", ("exercise", "students"), alike(graded))
    for each in graded:
        if each.student in handed:
            with atomic_write(out / "pages" / f"{each.student}.html") as unfinished:
                unfinished.write_text(page(course, assignment, each), encoding="utf-8")
    return graded


def _write(file: Path, columns: tuple, rows: list[tuple]) -> None:
    with atomic_write(file) as unfinished, unfinished.open("w", newline="",
                                                           encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def alike(graded: list[Graded]) -> list[tuple[str, str]]:
    """Right answers of more than three lines that several students share, but for comments and
    layout. A report to look at, never a verdict: short functions are often written alike."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in graded:
        for name, code in each.code.items():
            if each.verdicts.get(name) == "":
                text = ast.unparse(ast.parse(code))
                if text.count("\n") > 3:
                    found.setdefault((name, text), []).append(each.student)
    return [(name, " ".join(students)) for (name, _), students in found.items()
            if len(students) > 1]


def page(course: Course, assignment: Assignment, graded: Graded) -> str:
    """A student's page: marks, what was said, their own code. It has no solution."""
    parts = [f"<p>{html.escape(graded.note)}</p>" if graded.note else ""]
    for name, marks in assignment.marks.items():
        said = graded.verdicts.get(name, "not graded")
        parts.append(
            f"<h2><code>{name}</code>: {marks if said == '' else 0:g} of {marks:g}</h2>"
            f"<p>{html.escape(said or 'correct')}</p>"
            f"<pre>{html.escape(graded.code.get(name, ''))}</pre>")
    return ("<!doctype html><html lang='en'><meta charset='utf-8'>"
            f"<title>{html.escape(graded.student)}</title>"
            "<body style='font-family:sans-serif;max-width:900px;margin:2em auto'>"
            f"<h1>{html.escape(course.name)}, {html.escape(assignment.name)}: "
            f"{html.escape(graded.student)}, {graded.score(assignment):g} of "
            f"{assignment.total:g}</h1>{''.join(parts)}</body></html>\n")
