"""`favor-mini class`: the course, assignments, marks, quizzes, progress; `cli` registers it."""

import os
import shlex
from pathlib import Path
from typing import Literal

from cyclopts import App

EXAMPLE = """\
  favor-mini class setup course
  favor-mini class release attention --out handout
  favor-mini class grade attention submissions --out marks

class.toml, in the folder where you work:

  course = "Audio-visual language models"

  [assignments.attention]
  notebook = "05"
  deadline = "2027-01-15 18:00"
  hints = 1
  marks = {frame_index = 2, block_causal = 4, local_causal = 4}

Two more lines are possible: a roster, and twins, which are private variants of exercises that only
you know (docs/teaching.md):

  roster = "students.txt"
  twins = {local_causal = "local_causal.py"}

A file class.secret next to it decides the inputs of the grading: keep it to yourself. The grading
runs each answer in a process of its own. That stops accidents and the usual tricks, not an attack
on your machine: use a container where you expect one."""
classes = App(name="class", help="Unpack the course; hand out notebooks, mark submissions.",
              help_epilogue=f"examples:\n{EXAMPLE}")


@classes.command(help="Unpack the course into a folder: its notebooks and its sample clips.",
                 help_epilogue="")
def setup(folder: str, /) -> None:
    """
    Args:
        folder: a new one, or one that has the course: what you changed there stays as it is.
    """
    from ..classroom.setup import FIRST, setup

    left = setup(folder)
    print(f"the course is in {folder}: notebooks, data_samples, docs")
    if left:
        print("left as they are, because they differ from this release's (your work, or another "
              "release):")
        print(*(f"  {Path(folder, name)}" for name in left), sep="\n")
        print("For a fresh copy of a file, rename yours and run this command again.")
    quote = shlex.quote if os.name == "posix" else '"{}"'.format
    print(f"Start: cd {quote(folder)} && jupyter lab {FIRST}")


@classes.command(help="Write a zip with a notebook for students, without any answer.",
                 help_epilogue="")
def release(assignment: str, /, *, class_file: str = "class.toml", out: str = "handout",
            notebooks: str | None = None, nbgrader: bool = False) -> None:
    """
    Args:
        assignment: its name in the class file.
        class_file: the class file.
        out: folder for the zip.
        notebooks: folder of the course's notebooks (default: of this installation).
        nbgrader: with nbgrader's metadata, and a test cell after each answer.
    """
    from ..classroom.plan import read_class
    from ..classroom.release import release

    written = release(read_class(class_file), assignment, out, notebooks, nbgrader=nbgrader)
    print(*written, sep="\n")


@classes.command(help="Mark submissions: marks.csv, a page for each student, what looks alike.",
                 help_epilogue="")
def grade(assignment: str, submissions: str, /, *, class_file: str = "class.toml",
          out: str = "marks", notebooks: str | None = None) -> None:
    """
    Args:
        assignment: its name in the class file.
        submissions: folder with STUDENT.ipynb, or folders STUDENT with a notebook.
        class_file: the class file.
        out: folder for tables and pages.
        notebooks: folder of the course's notebooks (default: of this installation).
    """
    from ..classroom.grading import grade
    from ..classroom.plan import read_class

    grade(read_class(class_file), assignment, submissions, out, notebooks)
    print(f"{out}/marks.csv")


@classes.command(help="The quizzes of the notebooks, for a learning platform.", help_epilogue="")
def quizzes(*, to: Literal["gift", "csv", "text"] = "gift", notebook: str | None = None,
            seed: int = 0, notebooks: str | None = None) -> None:
    """
    Args:
        to: gift for Moodle and others; csv; text without the answers, for an exam on paper.
        notebook: two digits (default: all).
        seed: of the order of the choices.
        notebooks: folder of the course's notebooks (default: of this installation).
    """
    from ..classroom.quizzes import read_quizzes, written

    print(written(read_quizzes(notebooks, notebook), to, seed), end="")


@classes.command(help="A table of exercises by student, from their progress files.",
                 help_epilogue="")
def table(folder: str, /, *, out: str = "progress.csv") -> None:
    """
    Args:
        folder: with STUDENT.json, copies of ~/.favor-mini/progress.json. Students report it
            themselves: it is no mark.
        out: a CSV file.
    """
    from ..classroom.progress import progress_table

    print(progress_table(folder, out).to_string())
    print(out)
