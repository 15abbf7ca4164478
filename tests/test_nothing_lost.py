"""After a kill, a full disk, a second process or a wrong clock, nothing is lost, repeated or
half-written, and the message says what to do."""

import errno
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import needs
from filelock import FileLock
from test_aveb_run import benchmark, checkpoint, evaluated  # noqa: F401 (fixtures)
from test_training import fresh, train
from transformers import TrainerCallback

from favor_mini import storage
from favor_mini.lab.run import run
from favor_mini.storage import atomic_write, exclusive, explain_write_errors, write_json
from favor_mini.training.trainer import last_checkpoint

FOLDER = Path(__file__).parent / "nothing_lost"
linux = needs("limits")


def rows(script: str, *arguments, **environment) -> list[dict]:
    done = subprocess.run([sys.executable, FOLDER / script, *map(str, arguments)],
                          capture_output=True, text=True, env={**os.environ, **environment})
    assert not done.returncode, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@linux
@pytest.mark.slow
def test_a_few_kills(tmp_path):
    found = rows("run.py", tmp_path / "kills", 3, "finetune")
    assert [row["problems"] for row in found] == [[]]
    assert [row["kills"] for row in found] == [3]


@linux
@pytest.mark.all
@pytest.mark.slow
def test_fifty_kills_of_each_command(tmp_path):
    found = rows("run.py", tmp_path / "kills", 50)
    assert [row["problems"] for row in found] == [[]] * 5
    assert [row["kills"] for row in found] == [50] * 5


@linux
@pytest.mark.all
@pytest.mark.slow
def test_each_fault_in_each_command(tmp_path):
    found = rows("faults.py", tmp_path / "faults")
    assert [row for row in found if row["problems"]] == [] and len(found) == 20


@linux
@pytest.mark.all
@pytest.mark.slow
def test_no_command_needs_a_home(tmp_path):
    assert len(rows("run.py", tmp_path / "kills", 0, HOME="/proc/none", XDG_CACHE_HOME="",
                    HF_HOME="", MPLCONFIGDIR="", NUMBA_CACHE_DIR="")) == 5


# Files.

def test_what_a_killed_writer_left_is_removed_and_what_others_write_is_not(tmp_path):
    """On earlier code, a writer on another host of a shared folder counted as dead."""
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    host = platform.node()
    dead = tmp_path / f".a.json.{host}.{killed.pid}.part"
    others = [tmp_path / name for name in (
        f".a.json.{host}.{os.getppid()}.part", f".a.json.other.example.{killed.pid}.part",
        f".a.json.b.{host}.{killed.pid}.part")]  # the last: of a file a.json.b
    for part in (dead, *others):
        part.write_text("half")
    write_json(tmp_path / "a.json", 1)
    assert {*tmp_path.iterdir()} == {*others, tmp_path / "a.json"}


def test_a_full_disk_is_explained_and_changes_nothing(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, "before")
    with pytest.raises(OSError, match=r"a\.json cannot be written: No space .* Fix: free disk"):
        with atomic_write(file) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert json.loads(file.read_bytes()) == "before" and list(tmp_path.iterdir()) == [file]


def test_an_explained_error_keeps_its_number_and_file_and_is_explained_once(tmp_path):
    file = tmp_path / "a.json"
    with pytest.raises(OSError) as caught:
        with explain_write_errors(tmp_path / "outer"), atomic_write(file):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(file)
    assert str(caught.value).count("cannot be written") == str(caught.value).count("Fix:") == 1
    assert str(caught.value).startswith(f"{file} cannot be written: No space left on device. Fix")


def _close_pipe():
    raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("fail", [_close_pipe, lambda: open("/none/clip.mp4", "rb"),
                                  lambda: os.listdir(__file__)])
def test_other_errors_are_not_taken_for_errors_of_writing(tmp_path, fail):
    with pytest.raises(OSError) as plain:
        fail()
    with pytest.raises(type(plain.value)) as caught:
        with atomic_write(tmp_path / "a.json"):
            fail()
    assert str(caught.value) == str(plain.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=r"a\.lock cannot be locked: .*Fix: .*local") as caught:
        with exclusive(tmp_path / "a.lock"):
            pass
    assert caught.value.errno == number and "disk space" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (lambda path: write_json(path, 1), lambda path: exclusive(path).__enter__()):
        with pytest.raises(OSError, match="file.x cannot be written: .*file is a file, expected"):
            write(tmp_path / "file" / "x")


def test_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 0)
    with exclusive(tmp_path / "x" / "busy.lock"):
        with pytest.raises(BlockingIOError, match="another process .*busy.lock.*Fix: wait"):
            with exclusive(tmp_path / "x" / "busy.lock"):
                pass
    with exclusive(tmp_path / "x" / "busy.lock"):
        pass


# Training.

def test_a_folder_in_which_another_process_trains_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 0)
    train(fresh(), tmp_path, align=0, ask=0)
    files = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*") if f.suffix != ".lock"}
    with FileLock(tmp_path / "name" / "busy.lock"):
        with pytest.raises(BlockingIOError, match="name.busy.lock"):
            train(fresh(), tmp_path, name=4, align=0, ask=0, resume=False)
    assert files == {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*") if f.suffix != ".lock"}


class StopAfter(TrainerCallback):
    """Stops at a checkpoint."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_save(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= self.steps


def test_the_log_does_not_depend_on_where_a_run_was_stopped(tmp_path):
    options = {"name": 0, "align": 9, "ask": 0, "save_steps": 3, "log_steps": 2}
    whole = train(fresh(), tmp_path / "whole", **options)
    train(fresh(), tmp_path / "parts", callbacks=[StopAfter(3)], **options)
    resumed = train(fresh(), tmp_path / "parts", **options)
    assert whole == resumed == train(fresh(), tmp_path / "parts", **options)  # finished
    steps = [entry["step"] for entry in whole if "loss" in entry]
    assert len(steps) == len(set(steps)) and whole[-1]["step"] == 9


def test_checkpoints_from_the_future_do_not_displace_new_ones(tmp_path):
    options = {"name": 0, "align": 6, "ask": 0}
    train(fresh(), tmp_path, callbacks=[StopAfter(2)], **options)
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() + 86400,) * 2)
    train(fresh(), tmp_path, **options)
    assert [f.name for f in (tmp_path / "align").glob("checkpoint-*")] == ["checkpoint-6"]


@pytest.mark.parametrize("error", [RuntimeError("enforce fail"), OSError(errno.ENOSPC, "No space")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, error):
    save = torch.save

    def full(content, file, *args, **kwargs):
        if "checkpoint-4" in str(file):
            raise error
        save(content, file, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    options = {"name": 0, "align": 6, "ask": 0}
    with pytest.raises(OSError, match="align cannot be written: .*(enforce|No space).*Fix: free"):
        train(fresh(), tmp_path, **options)
    monkeypatch.undo()
    (kept,) = (tmp_path / "align").glob("checkpoint-*")
    assert kept.name == "checkpoint-2" and last_checkpoint(kept.parent) == str(kept)
    assert train(fresh(), tmp_path, **options) == train(fresh(), tmp_path / "whole", **options)


# Comparisons.

def test_checkpoints_of_a_finished_run_are_removed_if_a_kill_left_them(tmp_path):
    write_json(tmp_path / "result.json", {"rows": []})
    (tmp_path / "run" / "name" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "seconds.json").write_text("1.5")
    assert run(tmp_path, None, {}, 0, [], tmp_path / "result.json", False) == {"rows": []}
    assert {path.name for path in tmp_path.iterdir()} <= {"result.json", "busy.lock"}


# Predictions.

def test_predictions_that_another_process_writes_are_refused(evaluated, tmp_path,  # noqa: F811
                                                             monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 0)
    evaluated()
    content = (tmp_path / "out.jsonl").read_bytes()
    with FileLock(tmp_path / ".out.jsonl.lock"):
        with pytest.raises(BlockingIOError, match="another process .*out.jsonl"):
            evaluated()
    assert (tmp_path / "out.jsonl").read_bytes() == content
