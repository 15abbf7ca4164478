"""The notebooks run anew, unsolved and solved, against those that are committed; and what every one of them must have."""

import json
import pydoc
import re
from concurrent.futures import ThreadPoolExecutor

import nbformat
import numpy as np
import pytest

from favor_mini.course.exercise import exercises
from notebooks.tools import build as builder, contents

SOURCES = builder.sources(builder.FOLDER)
NAMES = [source.stem for source in SOURCES]
MOST_SECONDS, MOST_GIGABYTES = 90, 3.0
LONGER = {"09_end_to_end_finetuning": 300}  # it trains
TOOK: dict[str, builder.Run] = {}


def kept(name):
    return nbformat.read(builder.FOLDER / f"{name}.ipynb", as_version=4)


def source(name):
    return builder.read_source(builder.FOLDER / "source" / f"{name}.py")


def words(name, kind="markdown"):
    return "\n\n".join(cell.source for cell in source(name).cells if cell.cell_type == kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_unsolved_it_runs_and_shows_what_is_committed(name):
    TOOK[name] = builder.execute(source(name), builder.FOLDER)
    assert builder.differing(TOOK[name].notebook, kept(name)) == []


def solved(name):
    """What goes wrong in a notebook whose exercises are solved."""
    try:
        made = builder.execute(builder.solve(source(name)), builder.FOLDER, OMP_NUM_THREADS="1").notebook
    except Exception as error:
        return f"{name}: {error}"
    told = "".join(output.get("text", "") for cell in made.cells for output in cell.get("outputs", []))
    of_it = sorted(each.name for each in exercises().values() if each.notebook == name[:2])
    found = sorted(re.findall(r"^\[solved\] (\w+)", told, re.MULTILINE))
    return "" if found == of_it and "[not" not in told else f"{name}: solved {found} of {of_it}"


@pytest.mark.slow
def test_solved_they_run_and_every_answer_is_right():
    exercises()  # import it here, not in two threads at once
    with ThreadPoolExecutor(2) as pool:  # one thread each: two cores are well used
        assert [complaint for complaint in pool.map(solved, NAMES) if complaint] == []


@pytest.mark.slow
def test_headers_say_what_it_costs():
    """To within a factor of two, on a machine of another speed too: all are held against the machine's own pace."""
    if len(TOOK) < len(NAMES):
        pytest.skip("needs the runs of all notebooks")
    ratios = {name: run.seconds / builder.costs(source(name))[0] for name, run in TOOK.items()}
    pace = float(np.median(list(ratios.values())))
    for name in [name for name, ratio in ratios.items() if ratio / pace > 2]:  # something else may have run beside it: once more
        ratios[name] = builder.execute(source(name), builder.FOLDER).seconds / builder.costs(source(name))[0]
    assert {name: ratio / pace for name, ratio in ratios.items() if not 0.5 <= ratio / pace <= 2} == {}
    memory = {name: run.gigabytes / builder.costs(source(name))[1] for name, run in TOOK.items()}
    assert {name: ratio for name, ratio in memory.items() if not 0.5 <= ratio <= 2} == {}


@pytest.mark.parametrize("name", NAMES)
def test_its_header_says_all(name):
    header = source(name).cells[0].source
    for part in ("**You will**", "**You need**", "**Paper:**", "**Costs:**"):
        assert part in header, part
    seconds, gigabytes = builder.costs(source(name))
    assert seconds <= LONGER.get(name, MOST_SECONDS) and gigabytes <= MOST_GIGABYTES
    told = re.search(r"(\d+) minutes of reading, (\d+) minutes of exercises", header)
    assert int(told[2]) == sum(each.minutes for each in exercises().values() if each.notebook == name[:2])


@pytest.mark.parametrize("name", NAMES)
def test_it_has_its_exercises_and_every_stub_is_checked(name):
    code = words(name, "code")
    tags = [tag.removeprefix("exercise:") for cell in source(name).cells for tag in cell.metadata.get("tags", []) if "exercise:" in tag]
    assert sorted(tags) == sorted(each.name for each in exercises().values() if each.notebook == name[:2])
    for tag in tags:
        assert f'card("{tag}")' in code and f'{tag} = check("{tag}", {tag})' in code, tag
    stubs = [cell.source for cell in source(name).cells if any("exercise:" in tag for tag in cell.metadata.get("tags", []))]
    assert all("NotImplementedError" in stub for stub in stubs)


@pytest.mark.parametrize("name", NAMES)
def test_its_quiz_says_why_each_wrong_choice_is_wrong(name):
    _, quiz = words(name).split("## Quiz", 1)
    questions = re.split(r"^\*\*\d\.\*\* ", quiz, flags=re.MULTILINE)[1:]
    assert len(questions) == 5
    for question in questions:
        choices = re.findall(r"^- ([a-d])\) ", question, re.MULTILINE)
        folded = re.search(r"<details><summary>Answer</summary>\n\n(.*?)\n\n</details>", question, re.DOTALL)[1]
        right = re.match(r"\*\*([a-d])\.\*\*", folded)[1]
        assert len(choices) >= 3 and right in choices
        assert sorted([right, *re.findall(r"\*([a-d]):\*", folded)]) == choices


@pytest.mark.parametrize("name", NAMES)
def test_it_has_figures_each_with_words_and_widgets_have_a_first_picture(name):
    outputs = [output for cell in kept(name).cells for output in cell.get("outputs", [])]
    alts = [output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    alts += [alt for output in outputs for alt in re.findall(r"<img alt='([^']*)'", output.get("data", {}).get("text/html", ""))]
    assert len(alts) >= 3
    assert min(map(len, alts)) > 30
    for cell in kept(name).cells:
        if cell.cell_type == "code" and re.search(r"^(explore|player)\(", cell.source, re.MULTILINE):
            assert any({"image/png", "text/html"} & set(output.get("data", {})) for output in cell.outputs), cell.source


def test_the_course_is_whole():
    assert [name[:2] for name in NAMES] == [f"{number:02}" for number in range(13)]
    widgets = sum(bool(re.search(r"\b(explore|player)\(|widgets\.VBox", cell.source)) for name in NAMES for cell in source(name).cells
                  if cell.cell_type == "code")
    assert widgets >= 8


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_readable(name):
    file = builder.FOLDER / f"{name}.ipynb"
    assert file.stat().st_size < 1e6
    cells = source(name).cells
    assert 40 <= len(cells) <= 80
    assert 1000 <= len(words(name).split()) <= 3300
    assert not re.search(r"/(home|tmp|root|work)/", json.dumps(nbformat.read(file, as_version=4)))
    assert max(len(line) for cell in cells if cell.cell_type == "code" for line in cell.source.split("\n")) <= 115


@pytest.mark.parametrize("name", NAMES)
def test_its_links_lead_somewhere(name):
    text = words(name)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (builder.FOLDER / target).exists(), target
    for path in re.findall(r"`((?:favor_mini|tests)/[\w/]+\.py)`", text):
        assert (builder.FOLDER.parent / path).exists(), path


def test_the_table_of_contents_is_that_of_the_notebooks():
    text = (builder.FOLDER / "README.md").read_text(encoding="utf-8")
    assert contents.written(text) == text


MAP = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `(favor_mini\.[\w.]+)` \| `(tests/\w+\.py)::(\w+)` \| \[(\d\d)\]\(([\w.]+)\) \|$",
                 (builder.FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("row", MAP, ids=lambda row: row[2])
def test_the_map_from_paper_to_code_leads_somewhere(row):
    _, _, function, file, test, number, notebook = row
    assert pydoc.locate(function) is not None
    assert f"def {test}(" in (builder.FOLDER.parent / file).read_text(encoding="utf-8")
    name = notebook.removesuffix(".ipynb")
    assert notebook.startswith(number) and function.rsplit(".", 1)[1] in words(name, "code") + words(name)


def test_the_map_is_there():
    text = (builder.FOLDER / "README.md").read_text(encoding="utf-8").split("## From the paper")[1].split("\n## ")[0]
    assert len(MAP) >= 20
    assert len(MAP) == sum(line.startswith("|") for line in text.split("\n")) - 2  # each row is one that is checked
