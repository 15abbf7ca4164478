"""Twins: private variants carry the marks. A copy of the public source has none."""

import re
import zipfile
from itertools import product
from pathlib import Path

import nbformat
import pytest
from test_classroom import BLOCK, EXAMPLES, FRAME_INDEX, LOCAL, hand_in

from favor_mini.apps import cli
from favor_mini.classroom.grading import grade
from favor_mini.classroom.plan import read_class
from favor_mini.classroom.release import release, tagged
from favor_mini.classroom.twins import read_twin
from favor_mini.course.exercise import find, try_trials

CLASS = """
[assignments.masks]
notebook = "05"
marks = {{frame_index = 2, block_causal = 4, local_causal = 4}}
twins = {{local_causal = "{}"}}
"""
BAND = LOCAL.replace("(apart == 0) | (apart == 1)", "(apart >= 0) & (apart <= {})")


@pytest.fixture
def course(tmp_path):
    [example] = [file for file in EXAMPLES if file.stem == "local_causal"]
    (tmp_path / "twin.py").write_text(example.read_text())
    (tmp_path / "class.toml").write_text(CLASS.format("twin.py"))
    (tmp_path / "class.secret").write_text("a secret")
    return read_class(tmp_path / "class.toml")


def notebook_in(file: Path):
    with zipfile.ZipFile(file) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".ipynb")]
        readme = archive.read(f"{name.split('/')[0]}/README.md").decode()
        return nbformat.reads(archive.read(name).decode(), as_version=4), readme


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_tells_right_from_wrong_for_all_parameters(file):
    public, read = find(file.stem), read_twin(file)
    read.check(public, range(12))
    for chosen in product(*read.choices.values()):
        twin = read.twin(chosen)
        judged = twin.exercise(public)
        assert try_trials(judged, public.answer, range(12))[0] is not None
        for sentence, wrong in twin.wrong.items():  # and says which mistake it is
            assert str(try_trials(judged, wrong, range(12))[0]) == sentence
        card = twin.card(public, 4)
        assert public.shapes in card and ">>> " in card and public.goal not in card
        names = {}
        exec(twin.stub(), names)
        with pytest.raises(NotImplementedError):
            names[public.name](*"123456"[:twin.stub().split("\n")[0].count(",") + 1])


def test_the_hand_out_has_the_twins_task_in_place_of_the_card(course):
    [file] = release(course, "masks", course.folder / "out")
    [back] = course.drawn(course.assignment("masks"), "local_causal")
    notebook, readme = notebook_in(file)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert f"attends to its whole frame and to the *{back}* frames before it" in text
    assert 'card("local_causal"' not in text and 'check("local_causal"' not in text
    assert 'card("block_causal", hints=1' in text and "stand_in=False" in text
    place = next(i for i, cell in enumerate(notebook.cells) if tagged(cell) == "local_causal")
    task, stub, after = notebook.cells[place - 1 : place + 2]
    assert task.cell_type == "markdown" and "the one before it" not in stub.source
    assert after.source.endswith('local_causal = favor_mini.course.answer("local_causal")')
    assert "its own variant of `local_causal`" in readme
    assert "def band" not in nbformat.writes(notebook) and "apart <= back" not in text


def test_the_twin_has_the_marks_and_the_public_answer_has_none(course, tmp_path):
    [file] = release(course, "masks", course.folder / "out")
    [back] = course.drawn(course.assignment("masks"), "local_causal")
    cases = {"right": (BAND.format(back), 10), "public": (LOCAL, 6), "other": (
        BAND.format(5 - back), 6), "empty": (None, 6), "late": (BAND.format(99), 6)}
    for student, (code, _) in cases.items():
        hand_in(notebook_in(file)[0], tmp_path / "handed", student, frame_index=FRAME_INDEX,
                block_causal=BLOCK, **({"local_causal": code} if code else {}))
    graded = grade(course, "masks", tmp_path / "handed", tmp_path / "marks", tell=lambda line: None)
    found = {g.student: g for g in graded}
    marks = course.assignment("masks")
    assert {s: found[s].score(marks) for s in cases} == {s: m for s, (_, m) in cases.items()}
    assert found["empty"].verdicts["local_causal"] == "not tried"
    for page in (tmp_path / "marks" / "pages").glob("*.html"):
        assert "apart &lt;= back" not in page.read_text()


def test_with_a_roster_each_student_has_a_task_of_their_own(course, tmp_path, capsys):
    names = [f"s{i}" for i in range(6)]
    (tmp_path / "roster.txt").write_text("\n".join(names) + "\n\n")
    with (tmp_path / "class.toml").open("a") as file:
        file.write('roster = "roster.txt"\n')
    options = ["--class-file", str(tmp_path / "class.toml"), "--out", str(tmp_path / "out")]
    assert cli.main(["class", "release", "masks", *options]) in (0, None)
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [file.stem for file in files] == names
    backs = {}
    for file in files:
        notebook, readme = notebook_in(file)
        [back] = re.findall(r"the \*(\d)\* frames before", nbformat.writes(notebook))
        backs[file.stem] = int(back)
        assert f"hand it in as `{file.stem}.ipynb`" in readme
    assert set(backs.values()) == {2, 3}
    first, other = "s0", next(s for s in names if backs[s] != backs["s0"])
    for student, made_for, back in ((first, first, backs[first]), (other, first, backs[first]),
                                    ("stranger", first, backs[first])):
        hand_in(notebook_in(files[names.index(made_for)])[0], tmp_path / "handed", student,
                local_causal=FRAME_INDEX + BAND.format(back))
    graded = {g.student: g for g in grade(read_class(tmp_path / "class.toml"), "masks",
                                          tmp_path / "handed", tmp_path / "out",
                                          tell=lambda line: None)}
    assert graded[first].verdicts["local_causal"] == "" and not graded[first].note
    assert graded[other].verdicts["local_causal"] != ""
    assert graded[other].note == f"made from the hand-out of {first}"
    assert graded["stranger"].note.startswith("not on the roster")
    assert {s for s, g in graded.items() if g.note == "no submission"} == set(names) - {
        first, other}
    assert not (tmp_path / "out" / "pages" / f"{names[-1]}.html").exists()


@pytest.mark.parametrize(("change", "words"), [
    (("apart >= 0) & (apart <= back", "apart >= 0) & (apart <= 1"), "wrong answer passes.*public"),
    (("(2, 3)", "(2, 9, 8)"), "wrong answer passes.*answer for"),
    (("band(0, back - 1)", "band(0, back)"), "wrong answer passes.*one frame too few"),
    (("PARAMETERS = ", "OTHER = "), r"expected a function `twin` with the arguments \[\]"),
    (("def local_causal(", "def mask2("), "mask2|not defined"),
    (("device)\n        return", "None)\n        return"), "own answer fails.*not on the device")])
def test_a_wrong_twin_is_not_handed_out(course, tmp_path, change, words):
    text = (tmp_path / "twin.py").read_text()
    assert change[0] in text
    text = text.replace(*change)
    (tmp_path / "twin.py").write_text(text.replace("Twin(local_causal", "Twin(mask2")
                                      if "mask2" in words else text)
    with pytest.raises(ValueError, match=words):
        release(read_class(tmp_path / "class.toml"), "masks", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_recipe_on_the_page_for_teachers_works(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "teaching.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(from|import)(.*?)```", page, re.DOTALL)
    (tmp_path / "frame_index.py").write_text("".join(code))
    [line] = re.findall(r"`(twins = .*?)`", page)
    text = CLASS.replace('twins = {{local_causal = "{}"}}', line).replace("{{", "{")
    (tmp_path / "class.toml").write_text(text.replace("}}", "}"))
    [file] = release(read_class(tmp_path / "class.toml"), "masks", tmp_path / "out")
    text = nbformat.writes(notebook_in(file)[0])
    assert re.search("The first frame has the number 10?\\.", text) and "from_zero" not in text


def test_nbgrader_and_twins_do_not_go_together(course):
    with pytest.raises(ValueError, match="nbgrader cannot judge.*leave out --nbgrader"):
        release(course, "masks", course.folder / "out", nbgrader=True)


@pytest.mark.parametrize(("line", "words"), [
    ('twins = {local_causal = "none.py"}', "no twin .*none.py.*starts in the folder"),
    ('twins = {window_mask = "twin.py"}', "twin of 'window_mask', which has no marks"),
    ('twins = "twin.py"', "expected a table by exercise"),
    ("roster = ['ann']", r"found roster = \['ann'\], expected the path"),
    ("twins = {local_causal = 3}", "found local_causal = 3, expected the path"),
    ('roster = "none.txt"', "no roster .*none.txt.*one name a line"),
    ('roster = "empty.txt"', "empty.txt has no name"),
    ('roster = "twice.txt"', "twice.txt: found 'ann'"),
    ('roster = "path.txt"', "path.txt: found 'a/b'")])
def test_a_wrong_line_in_the_class_file_is_named(course, tmp_path, line, words):
    for name, text in {"empty": "\n", "twice": "ann\nbob\nann", "path": "a/b"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    text = "\n".join(old for old in CLASS.format("twin.py").splitlines()
                     if not old.startswith(line.split()[0]))
    (tmp_path / "class.toml").write_text(f"{text}\n{line}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        read_class(tmp_path / "class.toml")
