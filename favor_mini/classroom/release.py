"""A notebook for students: without outputs, without solutions, without the answers of the quiz."""

import hashlib
import re
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .. import __version__
from ..storage import atomic_write
from .plan import Assignment, Course

ANSWER = re.compile(r"\n*<details><summary>Answer</summary>.*?</details>", re.DOTALL)
CARD = re.compile(r'\bcard\("(\w+)"\)')
IMAGE = re.compile(r"!\[[^\]]*\]\(([^):]+)\)")
TAG = "exercise:"


def tagged(cell: NotebookNode) -> str:
    """The exercise whose answer goes into a cell; "" for any other cell."""
    tags = cell.metadata.get("tags", [])
    return next((t.removeprefix(TAG) for t in tags if t.startswith(TAG)), "")


def student_edition(notebook: NotebookNode, assignment: Assignment, nbgrader: bool = False
                    ) -> NotebookNode:
    """The notebook that students get.

    Cards do not show the package's own. After a graded exercise, the notebook goes on with the
    learner's function, never with the package's. Nothing else decides marks: the grading runs the
    tagged cells alone.

    Args:
        nbgrader: with the metadata and the test cells of nbgrader. A test stands before the cell
            with `check`, and depends on the answer alone.
    """
    cells, quiz = [], False
    for cell in nbformat.from_dict(notebook).cells:
        name = tagged(cell)
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if name else {})
        if cell.cell_type == "markdown":
            quiz = quiz or "## Quiz" in cell.source
            if quiz:
                cell.source = ANSWER.sub("", cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
            cell.source = CARD.sub(rf'card("\1", hints={assignment.hints}, answer=False)',
                                   cell.source)
            for graded in assignment.marks:
                cell.source = cell.source.replace(
                    f'{graded} = check("{graded}", {graded})',
                    f'check("{graded}", {graded}, stand_in=False)')
        cells.append(cell)
        if name in assignment.marks:
            marks = assignment.marks[name]
            cell.metadata["favor_mini"] = {
                "exercise": name, "marks": marks, "release": __version__,
                "stub": hashlib.sha256(cell.source.encode()).hexdigest()[:16]}
            if nbgrader:
                cell.metadata["nbgrader"] = _nbgrader(name, solution=True)
                cells.append(_test(name, marks))
    made = nbformat.v4.new_notebook(cells=cells, metadata={
        "kernelspec": notebook.metadata["kernelspec"],
        "favor_mini": {"assignment": assignment.name, "release": __version__}})
    return made


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


def release(course: Course, name: str, out, notebooks="notebooks", *, nbgrader: bool = False
            ) -> Path:
    """Write `out/NAME.zip`: the notebook, its pictures, and instructions.

    Args:
        notebooks: folder of the course's notebooks.

    Raises:
        ValueError: there is no such assignment. FileNotFoundError: there is no such notebook.
    """
    assignment, folder = course.assignment(name), Path(notebooks)
    found = sorted(folder.glob(f"{assignment.notebook}_*.ipynb"))
    if not found:
        raise FileNotFoundError(f"no notebook {assignment.notebook} in {folder}. Fix: name the "
                                "folder of the notebooks by --notebooks")
    notebook = student_edition(nbformat.read(found[0], as_version=4), assignment, nbgrader)
    pictures = {p for cell in notebook.cells if cell.cell_type == "markdown"
                for p in IMAGE.findall(cell.source) if (folder / p).is_file()}
    file = Path(out) / f"{name}.zip"
    with atomic_write(file) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        archive.writestr(f"{name}/{found[0].name}", nbformat.writes(notebook))
        archive.writestr(f"{name}/README.md", instructions(course, assignment, found[0].name))
        for picture in sorted(pictures):
            archive.write(folder / picture, f"{name}/{picture}")
    return file


def instructions(course: Course, assignment: Assignment, notebook: str) -> str:
    """What a student has to do, in Markdown."""
    rows = [f"| `{name}` | {marks:g} |" for name, marks in assignment.marks.items()]
    due = f"Hand it in by {assignment.deadline}.\n\n" if assignment.deadline else ""
    return "\n".join([
        f"# {course.name}: {assignment.name}\n",
        f"Work in `{notebook}`, in an installation of favor-mini {__version__}. {due}",
        "| exercise | marks |", "|---|---|", *rows, f"| together | {assignment.total:g} |\n",
        "- Write each answer into the cell below its card. Keep this cell: the grading reads it,",
        "  and the other answers' cells, and nothing else.",
        "- `check` tells whether your answer is right, and what is wrong. The grading checks it",
        "  with other random inputs. Half an answer has no marks.",
        "- Answers that call the package's own function have no marks. Import what the cell needs",
        "  from torch, numpy and Python's own library; what the notebook has imported above is",
        "  there, too.\n"])
