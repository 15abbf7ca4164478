"""One start of a command, in a forked process that can be stopped at an exact place."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from commands import COMMANDS, prepare

# Audit events; the last one is of `commands`.
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "write row"}
LONGEST = 300  # seconds of a command; one that hangs is ended


class Process:
    """A command that runs with `out` as its folder.

    Args:
        stop_before: the number of a call that changes a file in `out`. Before it the process sends
            itself `sign`.
        before: called first, in the new process.

    Attributes (after `wait`): `printed` and `errors`, its output; `calls`, the number of calls that
    changed files; `seconds`.
    """

    def __init__(self, command: str, kit: Path, out: Path, *, stop_before: int = 0,
                 sign=signal.SIGKILL, before=lambda: None):
        self.out, self.begin = out, time.perf_counter()
        # Not in `out`, which may be full.
        self._files = [kit.parent / f"{out.name}.{time.monotonic_ns()}.{name}"
                       for name in ("printed", "errors", "calls")]
        handles = [os.open(file, os.O_RDWR | os.O_CREAT) for file in self._files]
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                os.setpgid(0, 0)
                signal.alarm(LONGEST)
                os.dup2(handles[0], 1)
                os.dup2(handles[1], 2)
                before()
                count = _stop_before(stop_before, sign, out)
                status = COMMANDS[command](kit, out)
                os.write(handles[2], str(count[0]).encode())
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(status)
        for handle in handles:
            os.close(handle)

    def stopped(self) -> bool:
        """Wait until the process stops (`sign` is SIGSTOP): True; or ends: False."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return os.WIFSTOPPED(status)

    def wait(self, kill_after: float | None = None) -> int:
        """The exit status; -9: killed, here after `kill_after` seconds or at `stop_before`."""
        if kill_after is not None:
            try:
                os.setpgid(self.pid, self.pid)  # the process does the same: whoever is first
            except (PermissionError, ProcessLookupError):
                pass
            time.sleep(kill_after)
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.seconds = time.perf_counter() - self.begin
        self.printed, self.errors, calls = (
            file.read_text(encoding="utf-8") for file in self._files)
        self.calls = int(calls or 0)
        return os.waitstatus_to_exitcode(status)


def _stop_before(call: int, sign: int, out: Path) -> list[int]:
    """Let this process send itself `sign` before its call number `call` that changes a file in
    `out`; 0: never. Returns a list whose only number counts the calls."""
    count, place = [0], f"{out}{os.sep}"

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            changes = (flags & (os.O_WRONLY | os.O_RDWR) and not isinstance(path, int)
                       and os.fsdecode(path).startswith(place))
        else:
            changes = event in CHANGES
        if changes:
            count[0] += 1
            if count[0] == call:
                os.killpg(0, sign)

    sys.addaudithook(hook)
    return count


def whole_runs(folder: Path, commands: tuple[str, ...]) -> Iterator[tuple[str, Path, Process]]:
    """Commands (default: all) with what they read, and a run that nothing disturbed."""
    kit = folder / "kit"
    kit.mkdir(parents=True)
    prepare(kit)
    for command in commands or COMMANDS:
        whole = Process(command, kit, folder / f"{command}-whole")
        if status := whole.wait():
            raise SystemExit(f"{command}: status {status}\n{whole.errors}")
        yield command, kit, whole
