"""A learner's progress: nothing is lost, whoever writes at the same time, on any system."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from favor_mini.course import exercise, learner

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(tmp_path / "progress.json"))


def test_progress_is_kept_and_a_broken_file_is_set_aside():
    learner.file().write_text("my notes")
    own = exercise.answer("frame_index")
    exercise.check("frame_index", lambda *_: None)
    assert learner.file().with_name("progress.json.broken").read_bytes() == b"my notes"
    exercise.check("frame_index", own)
    entry = json.loads(learner.file().read_text(encoding="utf-8"))["frame_index"]
    assert entry["tries"] == 2 and entry["solved"]
    assert "repeat_interleave" in learner.mine("frame_index")
    assert exercise.progress().loc[("05", "frame_index")].state.startswith("solved")
    exercise.check("frame_index", lambda *_: None)  # a later slip loses nothing
    assert "repeat_interleave" in learner.mine("frame_index")


NO_LOCKS = """
class NoLocks(learner.FileLock):
    def _acquire(self):
        raise OSError(errno.ENOLCK, "No locks available")
learner.FileLock = NoLocks
"""


@pytest.mark.parametrize("folder", ["", NO_LOCKS], ids=["locks", "no locks"])
def test_two_kernels_lose_no_note(folder):
    """Each reads the file, changes it and writes it: without a lock one undoes the other's."""
    code = (f"import errno, sys; from favor_mini.course import learner\n{folder}"
            "for i in range(100): learner.note(sys.argv[1] + str(i), solved=True)")
    started = [subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT) for name in "ab"]
    assert [process.wait(120) for process in started] == [0, 0]
    assert len(learner.read()) == 200


def test_a_note_waits_where_windows_refuses_to_replace_a_file_that_is_read(monkeypatch):
    real, left = os.replace, [PermissionError(13, "Access is denied")] * 2

    def replace(*paths):
        if left:
            raise left.pop()
        real(*paths)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(learner.sys, "platform", "win32")
    learner.note("frame_index", solved=True)
    assert not left and learner.read()["frame_index"]["solved"]


def test_where_progress_cannot_be_kept_the_lesson_goes_on(tmp_path, monkeypatch, capsys):
    learner._warn.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(tmp_path / "file" / "progress.json"))
    for _ in range(2):
        exercise.check("frame_index", exercise.answer("frame_index"))
    found = capsys.readouterr().out
    assert found.count("[solved]") == 2 and found.count("could not be saved") == 1
