"""Faults of disks, folders and clocks, in the middle of a command's work.

    python tests/nothing_lost/faults.py FOLDER [COMMAND ...]      one line of JSON per fault

The command has to stop with a message, unless it can go on. Started again without the fault, it has
to end as if nothing had happened.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from commands import differences, results
from processes import Process, whole_runs

from favor_mini import storage

DAY = 24 * 3600
LARGEST = {"evaluate": 1500}  # bytes of a file; other commands: 4096
REFUSE = ("finetune", "evaluate", "demo")  # a second process; the others share what they compute
API = ("finetune", "encode")  # functions, not command lines: they raise


def begin(command: str, kit: Path, out: Path, whole: Process) -> None:
    """Leave a folder in which half of the work is done."""
    Process(command, kit, out, stop_before=max(2, whole.calls // 2)).wait()


def check_message(command: str, kit: Path, out: Path, words: str, before) -> list[str]:
    """Problems of a start that has to fail with one line: what was found, where, how to mend it."""
    known = {*out.rglob("*")}
    process = Process(command, kit, out, before=before)
    status, last = process.wait(), process.errors.strip().split("\n")[-1].split("\r")[-1]
    problems = [] if status == (70 if command in API else 1) else [f"status {status}"]
    if words not in last or "Fix: " not in last or str(out) not in last:
        problems.append(f"message: {process.errors[-1500:]}")
    if command not in API and "Traceback" in process.errors:
        problems.append("traceback")
    return problems + [f"left {file}" for file in {*out.rglob("*")} - known
                       if ".part" in file.name or file.name.startswith(".tmp")
                       or file.match("checkpoint-*") and not (file / "trainer_state.json").exists()]


def check_end(process: Process, whole: Process) -> list[str]:
    """Problems of a start that had to finish the work."""
    if status := process.wait():
        return [f"status {status} in the end: {process.errors[-1500:]}"]
    differ = differences(results(whole.out, whole.printed), results(process.out, process.printed))
    return [f"other results: {differ}"] if differ else []


def full_disk(command: str, kit: Path, out: Path, whole: Process) -> list[str]:
    """A limit on the size of files, as users without rights can set one."""
    begin(command, kit, out, whole)
    size = LARGEST.get(command, 4096)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
    return [*check_message(command, kit, out, "cannot be written", limit),
            *check_end(Process(command, kit, out), whole)]


def read_only_folder(command: str, kit: Path, out: Path, whole: Process) -> list[str]:
    begin(command, kit, out, whole)
    folders = [out, *(folder for folder in out.rglob("*") if folder.is_dir())]
    files = [file for file in out.rglob("*") if file.is_file()]
    for path in [*folders, *files]:
        path.chmod(0o555)
    problems = check_message(command, kit, out, "cannot be written: Permission denied",
                             _obey_permissions)
    for path in [*folders, *files]:
        path.chmod(0o755)
    return [*problems, *check_end(Process(command, kit, out), whole)]


def _obey_permissions() -> None:
    """Give up the rights of root."""
    ctypes.CDLL(None).capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *[0] * 6))


def two_processes(command: str, kit: Path, out: Path, whole: Process) -> list[str]:
    """A second process starts while the first one stands still in the middle of its work."""
    first = Process(command, kit, out, stop_before=max(2, whole.calls // 2), sign=signal.SIGSTOP)
    if not first.stopped():
        return ["the first process did not get to the middle"]
    if command in REFUSE:
        problems = check_message(command, kit, out, "found another process at work",
                                 partial(setattr, storage, "PATIENCE", 0.1))
        os.kill(first.pid, signal.SIGCONT)
    else:
        second = Process(command, kit, out)
        time.sleep(whole.seconds / 2)
        os.kill(first.pid, signal.SIGCONT)
        problems = check_end(second, whole)
    return [*problems, *check_end(first, whole)]


def jumping_clock(command: str, kit: Path, out: Path, whole: Process) -> list[str]:
    """Files from the future, and a clock that goes a day back and forth."""
    begin(command, kit, out, whole)
    for path in out.rglob("*"):
        os.utime(path, (time.time() + DAY,) * 2)
    return check_end(Process(command, kit, out, before=_jump), whole)


def _jump() -> None:
    real, calls = time.time, count()
    time.time = lambda: real() + (-1, 0, 1)[next(calls) % 3] * DAY


FAULTS = {"full disk": full_disk, "read-only folder": read_only_folder,
          "two processes": two_processes, "jumping clock": jumping_clock}


def main(folder: str, *commands: str) -> None:
    for command, kit, whole in whole_runs(Path(folder).resolve(), commands):
        for name, fault in FAULTS.items():
            problems = fault(command, kit, Path(folder).resolve() / f"{command} {name}", whole)
            print(json.dumps({"command": command, "fault": name, "problems": problems}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
