"""What an answer can reach while it is judged, and what comes back from its process."""

import os
import pickle
import socket
import struct
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import test_classroom
import torch
from test_classroom import FRAME_INDEX, LOCAL, PERFECT, hand_in

import favor_mini.course.learner
from favor_mini.classroom.grading import grade
from favor_mini.classroom.isolation import MEMORY, NOBODY, isolated
from favor_mini.classroom.judging import rehearsed
from favor_mini.classroom.plan import read_class
from favor_mini.course.exercise import find
from favor_mini.course.limit import Died, TooLong, in_process

resource = pytest.importorskip("resource", reason="only Linux has such processes")
course, released = test_classroom.course, test_classroom.released
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such processes")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can change to another user; elsewhere answers run as the grader")


def pipes(known: set[str]) -> list[int]:
    """The files that this process has open and its parent had not: the way to the grader."""
    return [int(number) for number in set(os.listdir("/proc/self/fd")) - known]


def send(messages, then):
    """Judge code that writes the messages to the grader by itself, and then does something."""
    known = set(os.listdir("/proc/self/fd"))

    def work():
        for number in pipes(known):
            for message in messages:
                with suppress(OSError):
                    os.write(number, message)
        then()

    return in_process(work, 3)


def leave():
    os._exit(0)


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_a_result_that_is_not_the_checks_own_is_refused(tmp_path):
    forged = pickle.dumps(("", ""))
    evil = pickle.dumps((Evil(tmp_path / "made"), ""))
    for data in (forged, struct.pack("!i", len(forged)) + forged, evil,
                 struct.pack("!i", len(evil)) + evil, b"\0" * 40):
        with pytest.raises(Died, match="something else than its result"):
            send([data], leave)
    assert not (tmp_path / "made").exists()
    with pytest.raises(Died, match="exit code 0"):
        send([], leave)
    assert in_process(lambda: "x" * 10**6, 20) == "x" * 10**6


def test_half_a_message_does_not_stop_the_clock():
    with pytest.raises(Died, match="something else than its result"):
        send([struct.pack("!i", 10**6)], lambda: time.sleep(60))
    with pytest.raises(TooLong):
        send([], lambda: time.sleep(60))


def test_the_process_is_limited_and_the_grader_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(tmp_path / "progress.json"))
    before = os.getcwd(), os.environ["HOME"], resource.getrlimit(resource.RLIMIT_CPU)

    def look():
        found = {"home": os.environ["HOME"], "folder": os.getcwd(),
                 "progress": os.environ["FAVOR_MINI_PROGRESS"], "temporary": tempfile.mkdtemp()}
        Path("note").write_text("x", encoding="utf-8")
        for name, act in {"network": socket.socket, "process": os.fork,
                          "memory": lambda: bytearray(2 * MEMORY),
                          "file": lambda: Path("big").write_bytes(bytes(2 * 10**8))}.items():
            try:
                act()
            except (OSError, MemoryError) as error:
                found[name] = type(error).__name__
        return found, resource.getrlimit(resource.RLIMIT_CPU)

    found, seconds = isolated(look, 20)
    home = found["home"]
    assert found["folder"] == home and found["progress"] == f"{home}/progress.json"
    assert found["temporary"].startswith(home) and not Path(home).exists()
    assert (found["network"], found["memory"], found["file"]) == (
        "OSError", "MemoryError", "OSError")
    assert found.get("process") == "BlockingIOError" and seconds == (25, 25)
    assert before == (os.getcwd(), os.environ["HOME"], resource.getrlimit(resource.RLIMIT_CPU))
    assert not (tmp_path / "progress.json").exists()


@as_root
def test_an_answer_reads_neither_the_home_folder_nor_the_secret(released, monkeypatch):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        open_folder, home = Path(name), Path(name, "home")
        open_folder.chmod(0o755)
        home.mkdir(mode=0o700)
        monkeypatch.setenv("HOME", str(home))
        for file, text in {home / "note": "x", open_folder / "class.secret": "x",
                           open_folder / "class.toml": test_classroom.CLASS}.items():
            file.write_text(text)
            file.chmod(0o644)  # as in a clone by git
            hand_in(released, open_folder / "handed", file.name, **{
                **PERFECT, "frame_index": f"open({str(file)!r}).read()\n{FRAME_INDEX}"})
        found = {g.student: g.verdicts["frame_index"] for g in grade(
            read_class(open_folder / "class.toml"), "masks", open_folder / "handed",
            open_folder / "marks", tell=lambda line: None)}
    assert found["class.toml"] == ""
    for student in ("note", "class.secret"):
        assert "the cell raised PermissionError" in found[student], student
    assert isolated(lambda: (os.getuid(), os.getgid(), os.getgroups()), 20) == (NOBODY, NOBODY, [])


def test_grading_does_not_touch_the_graders_progress(course, released, tmp_path, monkeypatch):
    own = tmp_path / "own" / "progress.json"
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(own))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # as if the notebook had imported it: the limits have to hold without the list of names, too
    monkeypatch.setattr("favor_mini.classroom.grading.prelude", lambda cells: {
        "torch": torch, "course": favor_mini.course})
    hand_in(released, tmp_path / "handed", "ann", **{
        **PERFECT, "local_causal": "course.learner.note('x', solved=True)\n" + LOCAL})
    [ann] = grade(course, "masks", tmp_path / "handed", tmp_path / "marks", tell=lambda line: None)
    assert ann.verdicts["local_causal"] == ""
    assert not own.exists() and not (tmp_path / "home").exists()


def test_an_answer_that_prints_says_nothing_to_the_grader(course, released, tmp_path, capfd):
    hand_in(released, tmp_path / "handed", "ann", **{
        **PERFECT, "frame_index": "print('ann: 99 of 10')\n" + FRAME_INDEX})
    grade(course, "masks", tmp_path / "handed", tmp_path / "marks")
    assert capfd.readouterr().out.splitlines() == ["ann: 10 of 10"]


def test_an_exercise_that_cannot_work_here_stops_the_grading():
    tested = find("frame_index")
    wrong = replace(tested, answer=find("block_causal").answer,
                    trial=lambda t: tested.trial(type(t)(t.attempt, tested.answer, 0)))
    with pytest.raises(RuntimeError, match="'frame_index': its own answer fails.*let all users"):
        rehearsed(wrong, [1, 2])
