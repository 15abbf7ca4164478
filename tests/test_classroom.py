"""A class: what students get holds no answer, and seven kinds of submissions get exact marks."""

import csv
import io
import os
import re
import socket
import zipfile
from contextlib import suppress
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from favor_mini.apps import cli
from favor_mini.classroom import twins
from favor_mini.classroom.grading import alike, grade, submissions
from favor_mini.classroom.judging import prelude, refused
from favor_mini.classroom.plan import Assignment, read_class
from favor_mini.classroom.progress import progress_table
from favor_mini.classroom.quizzes import read_quizzes, written
from favor_mini.classroom.release import release, student_edition, tagged
from favor_mini.classroom.twins import read_twin
from favor_mini.course.exercise import card, exercises, source
from notebooks.tools import build as builder

CLASS = """
course = "A course"
[assignments.masks]
notebook = "05"
deadline = "2027-01-15"
hints = 1
marks = {frame_index = 2, block_causal = 4, local_causal = 4}
"""
EXAMPLES = sorted((Path(twins.__file__).parent / "examples").glob("*.py"))
FRAME_INDEX = """def frame_index(num_frames, step_tokens, device=None):
    return torch.arange(num_frames, device=device).repeat_interleave(step_tokens)
"""
BLOCK = """def block_causal(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens, device)
    return frame[:, None] >= frame[None, :]
"""
LOCAL = """def local_causal(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens, device)
    apart = frame[:, None] - frame[None, :]
    return (apart == 0) | (apart == 1)
"""
ENDLESS = "def local_causal(num_frames, step_tokens, device=None):\n    while True:\n        pass\n"
FROM_PACKAGE = "from favor_mini.lab.variants import local_causal\n"
WRAPPED = """from torch import nn
def local_causal(num_frames, step_tokens, device=None):
    return find("attention", "local_causal")(num_frames, step_tokens, device)
"""
LOOKED_UP = "local_causal = find('attention', 'local_causal')\n"
THROUGH_LAB = """def local_causal(num_frames, step_tokens, device=None):
    return lab.variants.local_causal(num_frames, step_tokens, device)
"""
OVERRIDE = "import favor_mini.course.exercise as e\ne.judge = lambda *a: None\n" + LOCAL.replace(
    "(apart == 0) | (apart == 1)", "apart == 0")


@pytest.fixture
def course(tmp_path):
    (tmp_path / "class.toml").write_text(CLASS)
    return read_class(tmp_path / "class.toml")


@pytest.fixture
def released(course):
    """The notebook as a student finds it in the zip."""
    [file] = release(course, "masks", course.folder / "out")
    with zipfile.ZipFile(file) as archive:
        assert sorted(n.split("/")[0] for n in archive.namelist()) == ["masks"] * len(
            archive.namelist())
        [name] = [n for n in archive.namelist() if n.endswith(".ipynb")]
        assert "by 2027-01-15" in archive.read("masks/README.md").decode()
        return nbformat.reads(archive.read(name).decode(), as_version=4)


def hand_in(released, folder, student, **answers):
    notebook = nbformat.from_dict(released)
    for cell in notebook.cells:
        if (name := tagged(cell)) in answers:
            cell.source = answers[name]
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / f"{student}.ipynb")


PERFECT = {"frame_index": FRAME_INDEX, "block_causal": BLOCK, "local_causal": LOCAL}


def test_every_submission_gets_its_marks(course, released, tmp_path, monkeypatch):
    monkeypatch.setattr("favor_mini.classroom.judging.MOST", 6.0)
    folder = tmp_path / "handed"
    for student, answers, _ in (cases := [
            ("perfect", PERFECT, 10), ("half", {**PERFECT, "local_causal": BLOCK.replace(
                "block_causal", "local_causal")}, 6),
            ("empty", {}, 0), ("importer", {**PERFECT, "local_causal": FROM_PACKAGE}, 6),
            ("overrider", {**PERFECT, "local_causal": OVERRIDE}, 6),
            ("registry", {**PERFECT, "local_causal": WRAPPED}, 6),
            ("registry object", {**PERFECT, "local_causal": LOOKED_UP}, 6),
            ("partial", {**PERFECT, "local_causal": "from functools import partial\n"
                         "local_causal = partial(find('attention', 'local_causal'))"}, 6),
            ("lab", {**PERFECT, "local_causal": THROUGH_LAB}, 6),
            ("endless", {**PERFECT, "local_causal": ENDLESS}, 6)]):
        hand_in(released, folder, student, **answers)
    (folder / "broken.ipynb").write_text("{")
    graded = grade(course, "masks", folder, tmp_path / "marks", tell=lambda line: None)
    found = {g.student: g for g in graded}
    marks = course.assignment("masks")
    assert {s: found[s].score(marks) for s, *_ in cases} == {s: m for s, _, m in cases}
    assert "imports favor_mini" in found["importer"].verdicts["local_causal"]
    for student in ("registry", "registry object", "partial", "lab"):
        assert "package's own answer" in found[student].verdicts["local_causal"], student
    assert "loop that never ends" in found["endless"].verdicts["local_causal"]
    assert found["empty"].verdicts["frame_index"] == "not tried"
    assert found["broken"].note.startswith("broken.ipynb cannot be read")
    with open(tmp_path / "marks" / "marks.csv", encoding="utf-8", newline="") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert float(rows["half"]["score"]) == 6 and float(rows["half"]["max_score"]) == 10
    page = (tmp_path / "marks" / "pages" / "half.html").read_text(encoding="utf-8")
    assert "6 of 10" in page and "correct" in page
    for name in marks.marks:  # a page has the student's code, never a solution
        assert source(exercises()[name].answer) not in page
    shared = (tmp_path / "marks" / "suspicions.csv").read_text(encoding="utf-8")
    assert "frame_index" not in shared  # two lines are often written alike


def test_grading_in_a_thread_leaves_the_process_as_it_was(course, released, tmp_path, monkeypatch):
    """Where nothing can be forked: macOS, Windows, a GPU. The working folder became "/"."""
    monkeypatch.setattr("favor_mini.classroom.isolation.sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr("favor_mini.classroom.judging.MOST", 6.0)
    monkeypatch.chdir(tmp_path)
    hand_in(released, tmp_path / "handed", "perfect", **PERFECT)
    hand_in(released, tmp_path / "handed", "endless", **{**PERFECT, "local_causal": ENDLESS})

    def shared():
        limits = []
        with suppress(ImportError):
            import resource

            limits = [resource.getrlimit(x) for x in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)]
        return Path.cwd(), dict(os.environ), socket.socket, limits

    before = shared()
    graded = grade(course, "masks", "handed", "marks", builder.FOLDER, tell=lambda line: None)
    assert {g.student: g.score(course.assignment("masks")) for g in graded} == {
        "perfect": 10, "endless": 6}
    assert shared() == before and (tmp_path / "marks" / "marks.csv").is_file()


def test_an_answer_may_call_what_is_not_graded_in_any_order_of_the_marks(tmp_path):
    first, last = CLASS.split("marks")[0], "marks = {local_causal = 4, block_causal = 4}\n"
    (tmp_path / "class.toml").write_text(first + last)
    course = read_class(tmp_path / "class.toml")
    notebook = nbformat.read(builder.FOLDER / "05_causal_attention.ipynb", as_version=4)
    after = LOCAL.replace("(apart == 0)", "block_causal(num_frames, step_tokens) & (apart == 0)")
    hand_in(student_edition(notebook, course.assignment("masks")), tmp_path / "handed", "ann",
            block_causal=BLOCK, local_causal=after)
    [ann] = grade(course, "masks", tmp_path / "handed", tmp_path / "marks", tell=lambda line: None)
    assert ann.verdicts == {"block_causal": "", "local_causal": ""}


def test_the_released_notebook_holds_no_answer(released, course):
    code = "\n".join(c.source for c in released.cells if c.cell_type == "code")
    text = "\n".join(c.source for c in released.cells)
    assert all(not c.outputs for c in released.cells if c.cell_type == "code")
    assert "<summary>Answer</summary>" not in text and "## Quiz" in text
    assert 'card("local_causal", hints=1, answer=False)' in code
    assert 'check("local_causal", local_causal, stand_in=False)' in code
    assert "local_causal = check" not in code and 'window_mask = check("window_mask"' in code
    shown = card("local_causal", hints=1, answer=False)._repr_html_()
    assert "Hint 1" in shown and "Hint 2" not in shown and "package's answer" not in shown


@pytest.mark.parametrize("name", [s.stem for s in builder.sources(builder.FOLDER)])
def test_no_edition_of_any_notebook_holds_the_source_of_an_answer(name, course):
    notebook = nbformat.read(builder.FOLDER / f"{name}.ipynb", as_version=4)
    here = {e.name: e for e in exercises().values() if e.notebook == name[:2]}
    assignment = Assignment("all", name[:2], dict.fromkeys(here, 1))
    examples = {file.stem: read_twin(file) for file in EXAMPLES if file.stem in here}
    answers = [source(e.answer) for e in here.values()]
    editions = [student_edition(notebook, assignment, nbgrader) for nbgrader in (False, True)]
    for exercise, file in examples.items():
        for chosen in product(*file.choices.values()):
            twin = file.twin(chosen)
            answers.append(source(twin.answer))
            editions.append(student_edition(notebook, assignment, twins={exercise: twin}))
            assert twin.text[:40] in nbformat.writes(editions[-1])
    for edition in editions:
        written = nbformat.writes(edition)
        nbformat.validate(nbformat.reads(written, as_version=4))
        for answer in answers:
            body = answer.split('"""')[-1].strip()  # without its docstring
            lines = [line.strip() for line in body.split("\n") if len(line.strip()) > 30]
            held = [line for line in lines if line in written.replace('\\"', '"')]
            assert len(held) < max(2, len(lines)), held


def test_nbgrader_finds_a_test_before_the_check(course):
    notebook = nbformat.read(builder.FOLDER / "05_causal_attention.ipynb", as_version=4)
    cells = student_edition(notebook, course.assignment("masks"), True).cells
    place = next(i for i, c in enumerate(cells) if tagged(c) == "local_causal")
    answer, test, check = cells[place : place + 3]
    assert answer.metadata.nbgrader.solution and not answer.metadata.nbgrader.grade
    assert test.metadata.nbgrader.points == 4 and test.metadata.nbgrader.locked
    assert 'judge(find("local_causal"), local_causal)' in test.source
    assert check.source.startswith('check("local_causal"')


@pytest.mark.parametrize(("code", "why"), [
    ("import favor_mini", "imports favor_mini"), ("from .. import x", "imports"),
    ("import os", "imports os"), ("x = __import__('os')", "`__import__`"),
    ("eval('1')", "`eval`"), ("f.__globals__", "`__globals__`"), ("def f(:", "is no Python"),
    ("from torch import os as x", "`os`"), ("torch.__dict__['os']", "`__dict__`"),
    ("g.gi_frame.f_back", "`f_back`"), ("getattr(torch, 'o' + 's')", "`getattr`"),
    ("import random\nrandom._os.getpid()", "`_os`"),
    ("import numpy as np\nimport torch.nn.functional as F", "")])
def test_what_an_answer_may_use(code, why):
    assert why in refused(code) and bool(refused(code)) == bool(why)


def test_the_imports_of_a_notebook_hold_no_answer():
    known = prelude(["from favor_mini.attention import block_causal, window_mask\nimport torch\n"
                     "%matplotlib inline\nx = 1", "from favor_mini.registry import find"])
    assert {"torch", "find"} <= set(known) and not {"block_causal", "window_mask", "x"} & set(known)
    assert not prelude(["from favor_mini.course import card, check\nimport favor_mini.course as c"])


def test_seeds_are_secret_and_stay(course, tmp_path):
    first = course.seeds("block_causal")
    assert first == read_class(tmp_path / "class.toml").seeds("block_causal")
    assert first != course.seeds("local_causal") and (tmp_path / "class.secret").is_file()
    (tmp_path / "class.secret").write_text("another")
    assert course.seeds("block_causal") != first


def test_answers_that_several_share_are_reported():
    class One:
        def __init__(self, student, code):
            self.student, self.code, self.verdicts = student, {"f": code}, {"f": ""}

    long = "def f(x):\n    a = x + 1\n    b = a * 2\n    c = b - 3\n    return c\n"
    commented = long.replace("a = x", "# mine\n    a  =  x")
    assert alike([One("a", long), One("b", commented), One("c", long + "d = 1")]) == [("f", "a b")]


@pytest.mark.parametrize(("text", "words"), [
    ("", "has no assignment"), ("course = 3 4", "is no TOML file"),
    ("[assignments.a]\nnotebook = '05'", "has no marks"), ("assignments = 3", "has no assignment"),
    ("[assignments]\na = 3", r"'a' is 3. Fix: begin it by a line \[assignments.a\]"),
    ("[assignments.a]\nnotebook = '05'\nmarks = 3", "expected a table by exercise"),
    ("[assignments.a]\nnotebook = '55'\nmarks = {x = 1}", "two digits"),
    ("[assignments.a]\nnotebook = '05'\nmarks = {x = 1}", "no exercise 'x'.*block_causal"),
    ("[assignments.a]\nnotebook = '05'\nmarks = {block_causal = 0}", "a number above 0"),
    ("[assignments.a]\nnotebook = '05'\nmarks = {block_causal = 1}\nhints = 3", "hints = 3"),
    ("[assignments.a]\nnotebook = '05'\nmarks = {block_causal = 1}\nlate = 3", "'late'")])
def test_a_wrong_class_file_says_what_is_wrong(tmp_path, text, words):
    (tmp_path / "class.toml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_class(tmp_path / "class.toml")


def test_submissions_are_files_or_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="STUDENT.ipynb"):
        submissions(tmp_path)
    (tmp_path / "ann").mkdir()
    for file in ("ann/05.ipynb", "bob.ipynb", "note.txt"):
        (tmp_path / file).write_text("{}")
    assert {k: v.name for k, v in submissions(tmp_path).items()} == {
        "ann": "05.ipynb", "bob": "bob.ipynb"}


def test_the_commands_release_and_grade(tmp_path, capsys, released):
    (tmp_path / "class.toml").write_text(CLASS)
    options = ["--class-file", str(tmp_path / "class.toml"), "--out", str(tmp_path / "out")]
    assert cli.main(["class", "release", "masks", *options]) in (0, None)
    assert capsys.readouterr().out.strip().endswith("masks.zip")
    hand_in(released, tmp_path / "handed", "ann", **PERFECT)
    assert cli.main(["class", "grade", "masks", str(tmp_path / "handed"), *options]) in (0, None)
    assert "ann: 10 of 10" in capsys.readouterr().out
    assert cli.main(["class", "release", "none", *options]) == 1
    assert "no assignment 'none'" in capsys.readouterr().err


def test_all_quizzes_are_read_and_written():
    found = read_quizzes(builder.FOLDER)
    assert len(found) == 65 and {q.notebook for q in found} == {f"{n:02}" for n in range(13)}
    for quiz in found:
        assert quiz.right in quiz.choices and set(quiz.why) == set(quiz.choices)
        assert len(quiz.choices) >= 3 and quiz.text and all(quiz.choices.values())
        assert sorted(quiz.shuffled(3)) == sorted(quiz.choices)
    rows = [*csv.DictReader(io.StringIO(written(found, "csv", 1)))]
    assert [row[row["right"]] for row in rows] == [q.choices[q.right] for q in found]
    share = [row["right"] for row in rows].count("b") / 65
    assert 0.15 < share < 0.5  # no letter is right most often
    text = written(found, "text", 1)
    assert text.count("\n    a) ") == 65 and "Answer" not in text
    gift = written(found, "gift", 1)
    assert gift.count("::[markdown]") == 65
    assert len(re.findall(r"^  =", gift, re.MULTILINE)) == 65  # one right choice each
    for line in re.findall(r"^  [=~](.*)$", gift, re.MULTILINE):  # special characters are escaped
        assert not re.search(r"(?<!\\)[~={}:]", line)


def test_the_table_of_progress(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="STUDENT.json"):
        progress_table(tmp_path, tmp_path / "t.csv")
    (tmp_path / "ann.json").write_text('{"block_causal": {"tries": 2, "solved": "2026-11-30"},'
                                       ' "frame_index": {"tries": 3}}')
    (tmp_path / "bob.json").write_text("{}")
    assert cli.main(["class", "table", str(tmp_path), "--out", str(tmp_path / "t.csv")]) in (
        0, None)
    rows = {r["student"]: r for r in csv.DictReader((tmp_path / "t.csv").open())}
    assert (rows["ann"]["block_causal"], rows["ann"]["frame_index"]) == ("solved", "3 tries")
    assert (rows["ann"]["solved"], rows["bob"]["solved"]) == ("1", "0")
    (tmp_path / "Łukasz.json").write_text("{}")  # a pipe on Windows cannot hold this letter
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", pipe)
    cli.main(["class", "table", str(tmp_path), "--out", str(tmp_path / "t.csv")])
    assert b"\\u0141ukasz" in pipe.buffer.getvalue()
    (tmp_path / "cem.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="cem.json is no progress file"):
        progress_table(tmp_path, tmp_path / "t.csv")
