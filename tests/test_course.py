"""The notebooks: executed, compared with the committed ones, and complete."""

import ast
import importlib
import json
import os
import pydoc
import re

import nbformat
import pytest

from favor_mini.course.exercise import card, exercises
from notebooks.tools import build as builder
from notebooks.tools import contents

NAMES = [source.stem for source in builder.sources(builder.FOLDER)]
README = (builder.FOLDER / "README.md").read_text(encoding="utf-8")
MOST_SECONDS, MOST_GIGABYTES = 90, 3.0
LONGER = {"09_end_to_end_finetuning": 300}  # it trains
# Two workers of pytest-xdist share two cores: one thread each.
THREADS = {"OMP_NUM_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {}


def kept(name):
    return nbformat.read(builder.FOLDER / f"{name}.ipynb", as_version=4)


def source(name):
    return builder.read_source(builder.FOLDER / "source" / f"{name}.py")


def cells(name, kind="code"):
    return [cell for cell in source(name).cells if cell.cell_type == kind]


def words(name, kind="markdown"):
    return "\n\n".join(cell.source for cell in cells(name, kind))


def of_notebook(name):
    return [each for each in exercises().values() if each.notebook == name[:2]]


LONGEST_FIRST = sorted(NAMES, key=lambda name: -builder.costs(source(name))[0])


def shortened(notebook):
    """The notebook with a training of 10 steps in place of 400; its outputs are tagged `varies`."""
    for cell in notebook.cells:
        for long, short in (('{"align": 160}', '{"align": 6}'), ('{"ask": 30}', '{"ask": 2}'),
                            ('{"ask": 60}', '{"ask": 2}'), ("log_steps=10", "log_steps=1"),
                            ("range(320)", "range(96)"), ("print(len(encoded)", "print(320")):
            cell.source = cell.source.replace(long, short)
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGEST_FIRST)
def test_it_runs_with_the_committed_outputs_and_costs(name):
    """Memory: within a factor of two of the header. Time: a wide limit, as machines differ."""
    run = builder.execute(shortened(source(name)), builder.FOLDER, **THREADS)
    assert builder.differences(run.notebook, kept(name)) == []
    seconds, gigabytes = builder.costs(source(name))
    assert not run.gigabytes > 2 * gigabytes and not run.gigabytes < 0.5 * gigabytes
    assert seconds / 5 < run.seconds < 60 + 5 * seconds or name in LONGER


@pytest.mark.parametrize("name", NAMES)
def test_its_cards_show_the_answers_of_today(name):
    """An answer that was edited is found here, before the notebook is executed."""
    shown = {}
    for cell in kept(name).cells:
        if cell.cell_type == "code":
            for each in re.findall(r'^card\("(\w+)"\)', cell.source, re.MULTILINE):
                shown[each] = "".join(o.data.get("text/html", "") for o in cell.outputs
                                      if "data" in o)
    assert shown == {each.name: card(each.name)._repr_html_() for each in of_notebook(name)}


@pytest.mark.all
@pytest.mark.slow
def test_the_training_notebook_runs_as_a_reader_runs_it():
    name = "09_end_to_end_finetuning"
    assert shortened(source(name)) != source(name)
    run = builder.execute(source(name), builder.FOLDER, **THREADS)
    assert builder.differences(run.notebook, kept(name)) == []


@pytest.mark.all
@pytest.mark.slow
@pytest.mark.parametrize("name", LONGEST_FIRST)
def test_it_runs_with_its_exercises_solved(name):
    """`test_exercises.py` checks the same answers one by one, in less time."""
    made = builder.execute(builder.solve(source(name)), builder.FOLDER, **THREADS).notebook
    text = "".join(output.get("text", "") for cell in made.cells
                   for output in cell.get("outputs", []))
    found = re.findall(r"^\[solved\] (\w+)", text, re.MULTILINE)
    assert sorted(found) == sorted(each.name for each in of_notebook(name)) and "[not" not in text


@pytest.mark.parametrize("name", NAMES)
def test_its_imports_exist(name):
    """A renamed function is found here, before the notebook is executed."""
    code = "\n".join(re.sub(r"^[%!].*", "", cell.source, flags=re.MULTILINE)
                     for cell in cells(name))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("favor_mini"):
            module = importlib.import_module(node.module)
            for each in node.names:
                assert hasattr(module, each.name) or importlib.import_module(
                    f"{node.module}.{each.name}")


@pytest.mark.parametrize("name", NAMES)
def test_its_header_is_complete(name):
    header = source(name).cells[0].source
    for part in ("**You will**", "**You need**", "**Paper:**", "**Costs:**"):
        assert part in header, part
    seconds, gigabytes = builder.costs(source(name))
    assert seconds <= LONGER.get(name, MOST_SECONDS) and gigabytes <= MOST_GIGABYTES
    minutes = re.search(r"(\d+) minutes of reading, (\d+) minutes of exercises", header)[2]
    assert int(minutes) == sum(each.minutes for each in of_notebook(name))


@pytest.mark.parametrize("name", NAMES)
def test_it_has_its_exercises_each_with_card_stub_and_check(name):
    code, stubs = words(name, "code"), {}
    for cell in source(name).cells:
        stubs |= dict.fromkeys(builder.tags(cell, "exercise:"), cell.source)
    assert sorted(stubs) == sorted(each.name for each in of_notebook(name))
    for exercise, stub in stubs.items():
        assert f'card("{exercise}")' in code
        assert f'{exercise} = check("{exercise}", {exercise})' in code
        assert "NotImplementedError" in stub


@pytest.mark.parametrize("name", NAMES)
def test_its_quiz_explains_each_wrong_choice(name):
    _, quiz = words(name).split("## Quiz", 1)
    questions = re.split(r"^\*\*\d\.\*\* ", quiz, flags=re.MULTILINE)[1:]
    assert len(questions) == 5
    for question in questions:
        choices = re.findall(r"^- ([a-d])\) ", question, re.MULTILINE)
        answer = re.search(r"<details><summary>Answer</summary>\n\n(.*?)\n\n</details>", question,
                           re.DOTALL)[1]
        right = re.match(r"\*\*([a-d])\.\*\*", answer)[1]
        assert len(choices) >= 3 and right in choices
        assert sorted([right, *re.findall(r"\*([a-d]):\*", answer)]) == choices


@pytest.mark.parametrize("name", NAMES)
def test_its_figures_have_alternative_texts_and_its_widgets_a_first_picture(name):
    outputs = [output for cell in kept(name).cells for output in cell.get("outputs", [])]
    alts = [output.metadata["image/png"]["alt"] for output in outputs
            if "image/png" in output.get("data", {})]
    alts += [alt for output in outputs for alt in re.findall(
        r"<img alt='([^']*)'", output.get("data", {}).get("text/html", ""))]
    assert len(alts) >= 3
    assert min(map(len, alts)) > 30
    for cell in kept(name).cells:
        widget = re.search(r"^(explore|player)\(", cell.source, re.MULTILINE)
        if cell.cell_type == "code" and widget:
            assert any({"image/png", "text/html"} & set(output.get("data", {}))
                       for output in cell.outputs), cell.source


def test_the_course_has_thirteen_notebooks_and_at_least_eight_widgets():
    assert [name[:2] for name in NAMES] == [f"{number:02}" for number in range(13)]
    widgets = re.compile(r"\b(explore|player)\(|widgets\.VBox")
    assert sum(bool(widgets.search(cell.source)) for name in NAMES for cell in cells(name)) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_readable(name):
    file = builder.FOLDER / f"{name}.ipynb"
    assert file.stat().st_size < 1e6
    assert 40 <= len(source(name).cells) <= 80
    assert 1000 <= len(words(name).split()) <= 3300
    text = json.dumps(nbformat.read(file, as_version=4))
    assert not re.search(r"/(home|tmp|root|work)/", text)
    assert max(len(line) for cell in cells(name) for line in cell.source.split("\n")) <= 88


@pytest.mark.parametrize("name", NAMES)
def test_its_links_lead_to_files(name):
    text = words(name)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (builder.FOLDER / target).exists(), target
    for path in re.findall(r"`((?:favor_mini|tests)/[\w/]+\.py)`", text):
        assert (builder.FOLDER.parent / path).exists(), path


def test_the_table_of_contents_is_up_to_date():
    assert contents.written(README) == README


def test_the_contents_page_links_to_files():
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README):
        assert target.startswith("http") or (builder.FOLDER / target).exists(), target


MAP = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `(favor_mini\.[\w.]+)` \| `(tests/\w+\.py)::(\w+)` "
                 r"\| \[(\d\d)\]\(([\w.]+)\) \|$", README, re.MULTILINE)


@pytest.mark.parametrize("row", MAP, ids=lambda row: row[2])
def test_each_row_of_the_map_names_a_function_a_test_and_a_notebook(row):
    _, _, function, file, test, number, notebook = row
    assert pydoc.locate(function) is not None
    assert f"def {test}(" in (builder.FOLDER.parent / file).read_text(encoding="utf-8")
    name = notebook.removesuffix(".ipynb")
    assert notebook.startswith(number)
    assert function.rsplit(".", 1)[1] in words(name, "code") + words(name)


def test_every_row_of_the_map_is_checked():
    text = README.split("## From the paper")[1].split("\n## ")[0]
    assert len(MAP) >= 20
    assert len(MAP) == sum(line.startswith("|") for line in text.split("\n")) - 2
