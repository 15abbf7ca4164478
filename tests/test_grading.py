"""Every exercise releases and grades: the package's own source text has full marks, the stub none.

The source text is what the grading cannot and need not tell from a learner's own answer: it runs
like one, without the modules it comes from.
"""

import ast
import sys

import nbformat
import pytest

from favor_mini.classroom.judging import judge_cells, prelude, rehearsed
from favor_mini.classroom.plan import Assignment
from favor_mini.classroom.release import student_edition, tagged
from favor_mini.course.exercise import exercises, source
from notebooks.tools import build as builder

SOURCES = {s.stem[:2]: s.stem for s in builder.sources(builder.FOLDER)}
SEEDS = [7, 8, 9]


def own_cell(exercise) -> str:
    """The source of the package's answer, without its place in the registry."""
    tree = ast.parse(source(exercise.answer))
    tree.body[0].decorator_list = [decorator for decorator in tree.body[0].decorator_list
                                   if "register" not in ast.unparse(decorator)]
    return ast.unparse(tree)


def helpers(exercise) -> dict:
    """What the source needs of its module: imports, and functions that are no exercises."""
    names = {node.id for node in ast.walk(ast.parse(source(exercise.answer)))
             if isinstance(node, ast.Name)}
    module = vars(sys.modules[exercise.answer.__module__])
    return {name: module[name] for name in names & module.keys() if name != exercise.name}


@pytest.mark.slow
@pytest.mark.parametrize("number", SOURCES)
def test_the_own_source_has_full_marks_and_the_stub_has_none(number):
    notebook = nbformat.read(builder.FOLDER / f"{SOURCES[number]}.ipynb", as_version=4)
    here = {e.name: e for e in exercises().values() if e.notebook == number}
    edition = student_edition(notebook, Assignment("all", number, dict.fromkeys(here, 1)))
    stubs = {tagged(c): c.source for c in edition.cells if tagged(c)}
    assert sorted(stubs) == sorted(here)
    known = prelude([c.source for c in edition.cells if c.cell_type == "code"])
    for name in here:
        known |= helpers(here[name])
    tasks = {name: rehearsed(exercise, SEEDS) for name, exercise in here.items()}
    cells = {name: own_cell(here[name]) for name in stubs}
    assert judge_cells(cells, known, tasks) == dict.fromkeys(stubs, "")
    assert judge_cells(stubs, known, tasks) == dict.fromkeys(stubs, "not tried")
