"""A learner's progress, kept in one small file on this machine. Nothing is sent anywhere.

The file is `~/.favor-mini/progress.json`, or the one that FAVOR_MINI_PROGRESS names.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, SoftFileLock

from ..storage import NO_LOCKS, write_json

RENAMED = {"sum_up": "query_patches", "measure_reach": "measure_receptive_field",
           "fold": "split_windows", "unfold": "join_windows",
           "turns_apart": "isolate_turns_mask"}  # exercises by their earlier names


def file() -> Path:
    """The progress file.

    Raises:
        RuntimeError: there is no home folder, and FAVOR_MINI_PROGRESS is not set.
    """
    named = os.environ.get("FAVOR_MINI_PROGRESS")
    return Path(named or Path.home() / ".favor-mini" / "progress.json")


def read() -> dict[str, dict]:
    """By exercise: `tries`, `solved` (a date or None), `code` (the latest correct one).

    A file that cannot be read counts as empty.
    """
    try:
        known = json.loads(file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return {}
    known = known if isinstance(known, dict) else {}
    return {RENAMED.get(name, name): entry for name, entry in known.items()
            if isinstance(entry, dict)}


def note(name: str, *, solved: bool, code: str = "") -> None:
    """Count a try, and keep the code if it was correct. Several kernels may do so at once.

    Where the file cannot be written, a message says so, once.
    """
    try:
        path = file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            known = read()
            if not known:
                _set_aside(path)
            entry = {"tries": 0, "solved": None, "code": "", **known.get(name, {})}
            entry["tries"] += 1
            if solved:
                entry["solved"] = entry["solved"] or time.strftime("%Y-%m-%d")
                entry["code"] = code or entry["code"]
            _write(path, {**known, name: entry})
    except OSError as error:
        reason = error.__cause__ or error  # without the advice of `atomic_write`
        _warn(f"{path}: {getattr(reason, 'strerror', None) or reason}")
    except RuntimeError as error:  # there is no home folder
        _warn(str(error))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One kernel at a time. A network folder without locks gets a lock file in their place."""
    lock = FileLock(f"{path}.lock", timeout=10)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        lock = SoftFileLock(f"{path}.soft.lock", timeout=10)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, content: dict) -> None:
    """Windows refuses to replace a file at the moment when another kernel reads it."""
    for wait in (0.01, 0.1, 1.0, None):
        try:
            return write_json(path, content, indent=1, ensure_ascii=False)
        except PermissionError:
            if wait is None or sys.platform != "win32":
                raise
            time.sleep(wait)


@cache
def _warn(reason: str) -> None:
    print(f"(progress could not be saved: {reason}. The exercises work without it. "
          "Fix: set FAVOR_MINI_PROGRESS to a file that can be written)")


def _set_aside(path: Path) -> None:
    """Rename a file that holds something other than progress; it may be the learner's own."""
    try:
        if path.read_text(encoding="utf-8").strip() not in ("", "{}"):
            path.replace(path.with_name(path.name + ".broken"))
    except (OSError, ValueError):
        return


def mine(name: str) -> str:
    """The learner's latest correct code for an exercise; empty where there is none."""
    return read().get(name, {}).get("code", "")
