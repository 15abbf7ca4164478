"""Files that are written whole or not at all, by one process at a time."""

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

PATIENCE = 10  # seconds to wait for a lock: the workers of a killed process still hold it for a few


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Name `path`, the reason and the fix in an error of the disk, such as "No space left on
    device".

    Raises:
        OSError: `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path} cannot be written: {reason}. Fix: free disk space, make the folder "
                      "writable, or choose another one") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path near `path`, for a file or a new folder; renamed to `path` at the end,
    deleted after an error. Makes the folder around it.

    Example:
        with atomic_write(path) as temporary:
            temporary.write_text(text)

    Raises:
        OSError: `path` cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            writer = old.name.split(".")[-2]
            if writer.isdecimal() and not psutil.pid_exists(int(writer)):  # it was killed
                _remove(old)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            _remove(temporary)


def _remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content, **options) -> None:
    """Write JSON, whole or not at all; makes the folder. `options`: of `json.dumps`."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, **options) + "\n", encoding="utf-8")


@contextmanager
def exclusive(lock: Path, *, wait: bool = False) -> Iterator[None]:
    """Let one process at a time work where `lock`, an empty file, is. Makes its folder. The
    operating system releases the lock of a killed process.

    Args:
        wait: for another process to finish, however long that takes.

    Raises:
        BlockingIOError: another process works there.
        OSError: the lock cannot be written.
    """
    with explain_write_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        with suppress(Timeout):
            held.acquire(timeout=-1 if wait else PATIENCE)
    if not held.is_locked:
        raise BlockingIOError(f"found another process at work: it holds {lock}. Expected one at a "
                              "time. Fix: wait until it ends, or choose another file or folder")
    try:
        yield
    finally:
        held.release()
