"""The course in a learner's folder: what it holds, what stays, where the samples are found."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import test_project

import favor_mini
from favor_mini.apps import cli
from favor_mini.classroom.setup import FIRST, PAGES, course_files, course_root, setup

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a class") / "course"
    assert setup(folder) == []
    return folder


@pytest.fixture
def course(unpacked, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(unpacked, tmp_path / "course")


@pytest.fixture
def installed(unpacked, tmp_path, monkeypatch):
    """A package outside a clone, as from a wheel: its folder."""
    package = tmp_path / "site" / "favor_mini"
    package.mkdir(parents=True)
    monkeypatch.setattr(favor_mini, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr("favor_mini.classroom.setup.__file__",
                        str(package / "classroom" / "setup.py"))
    monkeypatch.delenv("FAVOR_MINI_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return package


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*") if file.is_file()}


def test_the_course_is_what_the_repository_holds(unpacked):
    wanted = [name for name in test_project.git_files()
              if name.startswith("data_samples/") or name == "notebooks/README.md"
              or name in {f"docs/{page}.md" for page in PAGES}
              or name.startswith("notebooks/images/")
              or name.startswith("notebooks/") and name.endswith(".ipynb")]
    found = contents(unpacked)
    assert sorted(found) == sorted(wanted) == course_files(ROOT)
    assert all(content == (ROOT / name).read_bytes() for name, content in found.items())
    assert sum(name.endswith(".ipynb") for name in found) == 13
    assert {"data_samples/LICENSE", "data_samples/README.md", "data_samples/clips/clip_05.mp4",
            "notebooks/images/timeline.png", FIRST} <= set(found)
    assert (unpacked / "build").is_dir()  # the notebooks write to ../build


def test_every_link_of_the_course_leads_to_a_file_of_it(unpacked):
    """Without a clone, `../docs/glossary.md` on each card led nowhere."""
    found, dead = 0, []
    for page in (*unpacked.rglob("*.md"), *unpacked.rglob("*.ipynb")):
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".ipynb":
            cells = nbformat.reads(text, as_version=4).cells
            text = "\n".join([cell.source for cell in cells if cell.cell_type == "markdown"] + [
                str(output.get("data", {}).get("text/html", ""))
                for cell in cells for output in cell.get("outputs", [])])
        for link in re.findall(r"\]\(([^)\s]+)\)|(?:href|src)=[\"']([^\"']+)", text):
            target = "".join(link).split("#")[0]
            if target and not re.match(r"https?:|data:", target):
                found += 1
                dead += [] if (page.parent / target).exists() else [(page.name, target)]
    assert not dead and found > 60


def test_what_a_program_leaves_in_a_folder_is_no_part_of_it(course):
    for name in ("notebooks/.ipynb_checkpoints/00.ipynb", "data_samples/speech/__pycache__/a.pyc",
                 "data_samples/.a.part", "notebooks/images/.DS_Store"):
        (course / name).parent.mkdir(exist_ok=True)
        (course / name).write_text("")
    assert course_files(course) == course_files(ROOT)


def test_a_learners_work_stays_and_is_named(course, capsys):
    (course / FIRST).write_text("mine")
    (course / "data_samples/README.md").unlink()
    (course / "notebooks/99_mine.ipynb").write_text("a notebook of my own")
    assert cli.main(["class", "setup", str(course)]) == 0
    printed = capsys.readouterr().out
    assert (course / FIRST).read_text(encoding="utf-8") == "mine"
    assert (course / "notebooks/99_mine.ipynb").read_bytes() == b"a notebook of my own"
    assert (course / "data_samples/README.md").read_bytes() == (
        ROOT / "data_samples/README.md").read_bytes()
    lines = printed.splitlines()
    assert [line for line in lines if line.startswith("  ")] == [f"  {course / FIRST}"]
    assert "rename yours and run this command again" in printed
    assert lines[-1] == (f"Start: cd {shlex.quote(str(course))} && "
                         "jupyter lab notebooks/00_start_here.ipynb")

    (course / FIRST).rename(course / "notebooks/00_mine.ipynb")
    assert setup(course) == []
    assert nbformat.read(course / FIRST, 4) == nbformat.read(ROOT / FIRST, 4)


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert cli.main(["class", "setup", str(tmp_path / "file" / "course")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("favor-mini: ") and error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_an_installed_package_unpacks_its_own_copy(installed, unpacked, tmp_path, capsys):
    assert cli.main(["class", "setup", "there"]) == 1
    assert "holds no course" in capsys.readouterr().err
    shutil.copytree(unpacked, installed / "_course")
    assert course_root() == installed / "_course"
    assert setup(tmp_path / "there") == []
    assert contents(tmp_path / "there") == contents(unpacked)


def test_samples_are_found_from_the_course_and_its_notebooks(installed, course, monkeypatch):
    samples = course / "data_samples"
    for folder in (course, course / "notebooks", course / "notebooks/images", course / "build"):
        monkeypatch.chdir(folder)
        assert favor_mini.data_path("clips", "clip_05.mp4") == samples / "clips" / "clip_05.mp4"
    (installed / "_course" / "data_samples").mkdir(parents=True)
    assert favor_mini.data_path() == samples  # before the package's copy
    monkeypatch.chdir(installed)
    assert favor_mini.data_path() == installed / "_course" / "data_samples"


def test_without_samples_the_message_names_the_command(installed, monkeypatch, tmp_path):
    (tmp_path / "data_samples").mkdir()  # beside no notebooks: somebody else's
    with pytest.raises(FileNotFoundError, match="`favor-mini class setup DIR`"):
        favor_mini.data_path()
    (tmp_path / "notebooks").mkdir()
    assert favor_mini.data_path() == tmp_path / "data_samples"
    monkeypatch.setenv("FAVOR_MINI_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere.*`favor-mini class setup DIR`"):
        favor_mini.data_path()


def test_a_clones_samples_come_first(monkeypatch, course):
    monkeypatch.delenv("FAVOR_MINI_DATA", raising=False)
    monkeypatch.chdir(course)
    assert favor_mini.data_path() == ROOT / "data_samples"


def test_the_build_copies_the_course_into_the_wheel(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    code = ("from deploy.wheel import BuildWithCourse; from setuptools import Distribution\n"
            f"command = BuildWithCourse(Distribution()); command.build_lib = {str(tmp_path)!r}\n"
            "command.packages = command.py_modules = None; command.finalized = 1; command.run()")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert sorted(contents(tmp_path / "favor_mini" / "_course")) == course_files(ROOT)


def test_the_images_files_are_there_and_its_versions_are_those_of_the_lock():
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    assert copied == ["requirements.lock", "."] and all((ROOT / name).exists() for name in copied)
    assert re.findall(r"torch==(\S+)", text) == [str(test_project.pinned("torch"))]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"uv==\S+", text) == re.findall(r"uv==\S+", makefile)
    # Root unpacks what nobody changes; the learner's copy is made at the start.
    places = [text.index(part) for part in (
        "class setup $COURSE", "USER learner", "CMD", "class setup course")]
    assert places == sorted(places)
    assert "FAVOR_MINI_DATA=$COURSE/data_samples FAVOR_MINI_WORK=$HOME/course/build" in text
    used = {name for file in (ROOT / "favor_mini").rglob("*.py")
            for name in re.findall(r"FAVOR_MINI_[A-Z]+", file.read_text(encoding="utf-8"))}
    assert set(re.findall(r"FAVOR_MINI_[A-Z]+", text)) <= used
    assert (ROOT / re.search(r"notebooks/\w+\.ipynb", text)[0]).is_file()

    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).is_file()
    assert container["remoteUser"] == "learner"
    assert f"favor_mini-{favor_mini.__version__}-" in (
        ROOT / "deploy/colab.md").read_text(encoding="utf-8")
