"""The folders that are written: of notebooks, of commands, and of caches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from favor_mini import places
from favor_mini.apps import doctor
from favor_mini.course import learner
from favor_mini.places import can_write, own_folder, work_path

ROOT = Path(__file__).parent.parent
CACHES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME")


@pytest.fixture
def nowhere(tmp_path):
    """No folder, and root cannot make it either."""
    (tmp_path / "file").write_text("no folder")
    return tmp_path / "file" / "home"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder, without settings."""
    monkeypatch.delenv("FAVOR_MINI_WORK", raising=False)
    monkeypatch.chdir(tmp_path)
    places._work_folder.cache_clear()
    return tmp_path.resolve()


def run(code: str, **environment) -> subprocess.CompletedProcess:
    """Python code in a process of its own; a variable that is None is not set."""
    kept = {name: value for name, value in os.environ.items() if name not in environment}
    given = {name: str(value) for name, value in environment.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=kept | given)
    assert done.returncode == 0, done.stderr
    return done


def test_notebooks_write_next_to_their_folder(here, monkeypatch):
    assert work_path("a", "b") == here / "build" / "a" / "b"
    assert (here / "build").is_dir() and not (here / "build" / "a").exists()
    (here / "course" / "notebooks" / "mine").mkdir(parents=True)
    for folder in ("course", "course/notebooks", "course/notebooks/mine"):
        monkeypatch.chdir(here / folder)
        assert work_path() == here / "course" / "build"
    assert (here / "course" / "build").is_dir()


def test_the_named_folder_comes_first_and_no_other_is_taken(here, monkeypatch, nowhere):
    monkeypatch.setenv("FAVOR_MINI_WORK", "scratch/me")
    assert work_path("runs") == here / "scratch" / "me" / "runs"
    assert (here / "scratch" / "me").is_dir() and not (here / "build").exists()
    monkeypatch.setenv("FAVOR_MINI_WORK", str(nowhere))
    with pytest.raises(OSError, match="home cannot be written.*Fix: "):
        work_path()


def test_where_nothing_can_be_written_results_are_temporary_and_a_line_says_so(here):
    (here / "build").write_text("a file in the way")
    code = ("import os; from favor_mini.places import own_folder, work_path\n"
            f"os.chdir({str(here)!r})\n"
            "one, other = work_path(), own_folder('09')\n"
            "(other / 'x').write_text('')\n"
            "assert work_path() == one == other.parent and one.is_dir(); print(one)")
    line, folder = run(code).stdout.splitlines()
    assert line.startswith(f"({here / 'build'} cannot be written: ") and "FAVOR_MINI_WORK" in line
    assert not Path(folder).exists()  # no longer


def test_a_kernel_has_a_folder_of_its_own_and_deletes_no_other(here):
    first = own_folder("09")
    (first / "weights").write_text("mine")
    code = ("from favor_mini.places import own_folder\n"
            "folder = own_folder('09'); (folder / 'run').mkdir(); print(folder)")
    other = Path(run(code, FAVOR_MINI_WORK=here / "build").stdout.strip())
    assert other.parent == first.parent == here / "build" and other != first
    assert not other.exists() and (first / "weights").read_text(encoding="utf-8") == "mine"


def test_commands_write_there_by_default(here):
    code = ("from favor_mini.apps.cli import main\n"
            "for name in 'demo finetune join evaluate compare gym experiment'.split():\n"
            "    main([name, '--help'])\nmain(['train', 'all', '--help'])")
    folders = ("demo", "finetuned", "features", "joined", "evaluate", "compare", "gym",
               "experiments", "make")
    for work, found in ((None, "build"), ("/scratch/me", "/scratch/me")):
        text = run(code, FAVOR_MINI_WORK=work, COLUMNS=200).stdout
        assert [name for name in folders if f"[default: {found}/{name}]" not in text] == []


def test_no_notebook_writes_or_deletes_elsewhere():
    for source in (ROOT / "notebooks" / "source").glob("*.py"):
        code = "\n".join(line for line in source.read_text(encoding="utf-8").splitlines()
                         if not line.startswith("#"))
        assert "../" not in code and "build/" not in code, source.name
        for line in code.splitlines():
            assert "rmtree(" not in line or "rmtree(folder / " in line, (source.name, line)


def test_what_can_be_written(here, nowhere):
    assert can_write(here) and can_write(here / "a" / "b") and not (here / "a").exists()
    assert not can_write(nowhere) and not can_write(nowhere.parent)


def environment(home: Path) -> dict:
    return dict.fromkeys((*CACHES, "XDG_CACHE_HOME", "XDG_CONFIG_HOME")) | {
        "HOME": home, "USERPROFILE": home}


def test_caches_move_where_the_home_folder_cannot_be_written(tmp_path, nowhere):
    code = ("import favor_mini, librosa, matplotlib.pyplot, os\n"
            "mel = librosa.filters.mel(sr=16000, n_fft=400, n_mels=4)\n"
            "assert mel.shape == (4, 201)\n"
            f"print(*(os.environ.get(name) for name in {CACHES}))")
    done = run(code, **environment(nowhere))
    folders = [Path(folder) for folder in done.stdout.split()]
    assert len({folder.parent for folder in folders}) == 1 and len({*folders}) == 3
    assert not done.stderr and not folders[0].parent.exists()  # no longer
    assert run(code, **environment(tmp_path)).stdout.split() == ["None"] * 3


def test_caches_that_can_be_used_stay(tmp_path, nowhere):
    """A hub cache may be shared, and read-only: hub models are found in it."""
    code = f"import favor_mini, os\nprint(*(os.environ.get(n) or 'none' for n in {CACHES}))"
    (tmp_path / "caches" / "huggingface").mkdir(parents=True)
    kept = environment(nowhere) | {"XDG_CACHE_HOME": tmp_path / "caches",
                                   "NUMBA_CACHE_DIR": tmp_path / "numba"}
    found = run(code, **kept).stdout.split()
    assert [found[0], found[2]] == [str(tmp_path / "numba"), "none"] and found[1] != "none"
    lost = environment(tmp_path) | {"NUMBA_CACHE_DIR": nowhere, "MPLCONFIGDIR": "", "HF_HOME": ""}
    found = run(code, **lost).stdout.split()
    assert found[0] not in ("none", str(nowhere)) and found[1:] == ["none", "none"]


# No home folder: a line says what is not kept, and all else works.

LESSON = """
from favor_mini.course import card, check
from favor_mini.course.exercise import answer
from favor_mini.figures.plots import flow
from favor_mini.places import work_path
assert "frame_index" in card("frame_index")._repr_html_()
for _ in range(2):
    check("frame_index", answer("frame_index"))
flow([("a", "b", "c")], here="a", title="one")
(work_path("runs")).mkdir()
"""


@pytest.mark.slow
def test_without_a_home_folder_the_lesson_goes_on(nowhere, here):
    code = f"import os; os.chdir({str(here)!r})\n{LESSON}"
    done = run(code, PYTHONPATH=ROOT, FAVOR_MINI_PROGRESS=None, **environment(nowhere))
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["(progress", "[solved]", "[solved]"], lines
    assert str(nowhere) in lines[0] and "FAVOR_MINI_PROGRESS" in lines[0] and not done.stderr


def test_the_doctor_names_what_is_not_kept(nowhere, here, monkeypatch):
    monkeypatch.delenv("FAVOR_MINI_PROGRESS", raising=False)
    monkeypatch.setattr("favor_mini.apps.settings.WORK", "build")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(here))
    found = doctor.check_folders()
    assert found.status == "OK" and str(here / ".favor-mini") in found.text
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(nowhere))
    found = doctor.check_folders()
    assert found.status == "WARN" and "FAVOR_MINI_PROGRESS" in found.fix
    assert "FAVOR_MINI_WORK" not in found.fix
    (here / "build").write_text("a file in the way")
    assert "FAVOR_MINI_WORK to a folder" in doctor.check_folders().fix

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(learner, "file", no_home)
    assert "progress in the home folder, results in" in doctor.check_folders().text
    learner._warn.cache_clear()
    learner.note("frame_index", solved=True)  # does not raise
