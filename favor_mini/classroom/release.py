"""A notebook for students: without outputs, without solutions, without the answers of the quiz."""

import hashlib
import re
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .. import __version__
from ..course.exercise import find
from ..storage import atomic_write
from .plan import Assignment, Course
from .setup import course_notebooks
from .twins import Twin

ANSWER = re.compile(r"\n*<details><summary>Answer</summary>.*?</details>", re.DOTALL)
CARD = re.compile(r'\bcard\("(\w+)"\)')
IMAGE = re.compile(r"!\[[^\]]*\]\(([^):]+)\)")
TAG = "exercise:"
CHECK = '{0} = check("{0}", {0})'


def tagged(cell: NotebookNode) -> str:
    """The exercise whose answer goes into a cell; "" for any other cell."""
    tags = cell.metadata.get("tags", [])
    return next((t.removeprefix(TAG) for t in tags if t.startswith(TAG)), "")


def student_edition(notebook: NotebookNode, assignment: Assignment, nbgrader: bool = False,
                    twins: dict[str, Twin] | None = None, student: str = "") -> NotebookNode:
    """The notebook that students get.

    Cards do not show the package's own. After a graded exercise, the notebook goes on with the
    learner's function, never with the package's. Nothing else decides marks: the grading runs the
    tagged cells alone.

    Args:
        nbgrader: with the metadata and the test cells of nbgrader. A test stands before the cell
            with `check`, and depends on the answer alone.
        twins: by exercise. Their tasks and stubs are in place of the public ones. They have no
            `check`, and the notebook goes on with the package's function, which is no answer.
        student: whose hand-out it is, where hand-outs are personal.
    """
    cells, quiz, twins = [], False, twins or {}
    for cell in nbformat.from_dict(notebook).cells:
        name, after = tagged(cell), []
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if name else {})
        if cell.cell_type == "markdown":
            quiz = quiz or "## Quiz" in cell.source
            if quiz:
                cell.source = ANSWER.sub("", cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
            for other, twin in twins.items():
                if f'card("{other}")' in cell.source:
                    cell.source = cell.source.replace(f'card("{other}")', "").rstrip()
                    after = [nbformat.v4.new_markdown_cell(
                        twin.card(find(other), assignment.marks[other]))]
                cell.source = cell.source.replace(
                    CHECK.format(other), f"# The notebook goes on with the package's own.\n"
                    f'import favor_mini.course\n\n{other} = favor_mini.course.answer("{other}")')
            cell.source = twins[name].stub() if name in twins else CARD.sub(
                rf'card("\1", hints={assignment.hints}, answer=False)', cell.source)
            for graded in assignment.marks:
                cell.source = cell.source.replace(
                    CHECK.format(graded), f'check("{graded}", {graded}, stand_in=False)')
        cells += [cell, *after] if cell.source else after
        if name in assignment.marks:
            marks = assignment.marks[name]
            cell.metadata["favor_mini"] = {
                "exercise": name, "marks": marks, "release": __version__,
                "stub": hashlib.sha256(cell.source.encode()).hexdigest()[:16]}
            if nbgrader:
                cell.metadata["nbgrader"] = _nbgrader(name, solution=True)
                cells.append(_test(name, marks))
    about = {"assignment": assignment.name, "release": __version__}
    return nbformat.v4.new_notebook(cells=cells, metadata={
        "kernelspec": notebook.metadata["kernelspec"],
        "favor_mini": {**about, "student": student} if student else about})


def _nbgrader(grade_id: str, *, solution: bool, points: float | None = None) -> dict:
    """nbgrader's metadata of a cell, schema version 3."""
    graded = {} if points is None else {"points": points}
    return {"schema_version": 3, "grade_id": grade_id, "cell_type": "code", "task": False,
            "solution": solution, "grade": points is not None, "locked": not solution, **graded}


def _test(name: str, marks: float) -> NotebookNode:
    cell = nbformat.v4.new_code_cell(
        "from favor_mini.course.exercise import find, judge\n\n"
        f'verdict = judge(find("{name}"), {name})\nassert verdict is None, verdict')
    cell.metadata["nbgrader"] = _nbgrader(f"test_{name}", solution=False, points=marks)
    return cell


def release(course: Course, name: str, out, notebooks=None, *, nbgrader: bool = False
            ) -> list[Path]:
    """Write `out/NAME.zip`: the notebook, its pictures, and instructions. Where hand-outs are
    personal, write `out/NAME/STUDENT.zip` for each student.

    Args:
        notebooks: folder of the course's notebooks. None: those of the installed course.

    Returns:
        the files.

    Raises:
        ValueError: there is no such assignment; or a twin accepts or refuses what it should not.
        FileNotFoundError: there is no such notebook.
    """
    assignment = course.assignment(name)
    if nbgrader and assignment.twins:
        raise ValueError(f"assignment {name!r} has twins, which nbgrader cannot judge: their file "
                         "stays with you. Fix: leave out --nbgrader, or the twins")
    for exercise, twin in assignment.twins.items():
        twin.check(find(exercise), course.seeds(exercise))
    [file, *_] = course_notebooks(notebooks, assignment.notebook)
    notebook, written = nbformat.read(file, as_version=4), []
    for student in assignment.roster if assignment.personal else ("",):
        twins = {exercise: twin.twin(course.drawn(assignment, exercise, student))
                 for exercise, twin in assignment.twins.items()}
        made = student_edition(notebook, assignment, nbgrader, twins, student)
        pictures = {p for cell in made.cells if cell.cell_type == "markdown"
                    for p in IMAGE.findall(cell.source) if (file.parent / p).is_file()}
        written.append(Path(out, name, f"{student}.zip") if student else Path(out, f"{name}.zip"))
        with atomic_write(written[-1]) as part, zipfile.ZipFile(part, "w") as archive:
            archive.writestr(f"{name}/{file.name}", nbformat.writes(made))
            archive.writestr(f"{name}/README.md",
                             instructions(course, assignment, file.name, student))
            for picture in sorted(pictures):
                archive.write(file.parent / picture, f"{name}/{picture}")
    return written


def instructions(course: Course, assignment: Assignment, notebook: str, student: str = "") -> str:
    """What a student has to do, in Markdown."""
    rows = [f"| `{name}` | {marks:g} |" for name, marks in assignment.marks.items()]
    due = f" Hand it in by {assignment.deadline}." if assignment.deadline else ""
    lines = [
        f"# {course.name}: {assignment.name}{f', {student}' if student else ''}\n",
        f"Work in `{notebook}`, in an installation of favor-mini {__version__}.{due}\n",
        "| exercise | marks |", "|---|---|", *rows, f"| together | {assignment.total:g} |\n",
        "- Write each answer into the cell below its card. Keep this cell: the grading reads it,",
        "  and the other answers' cells, and nothing else.",
        "- `check` says whether your answer is right, and what is wrong. The grading checks it",
        "  with other random inputs. Half an answer has no marks.",
        "- Answers that call the package's own function have no marks. Import what the cell needs",
        "  from torch, numpy and Python's own library; what the notebook has imported above is",
        "  there, too."]
    if assignment.twins:
        names = ", ".join(f"`{name}`" for name in assignment.twins)
        lines += [f"- This class has its own variant of {names}. There is no `check` for it:",
                  "  compare your results with the example below its task."]
    if student:
        lines.append(f"- The notebook is made for you: hand it in as `{student}.ipynb`.")
    return "\n".join([*lines, ""])
