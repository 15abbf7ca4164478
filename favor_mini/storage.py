"""Files that are written whole or not at all, by one process at a time."""

import errno
import glob
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # only writing gives these
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
PATIENCE = 10  # seconds to wait for a lock: the workers of a killed process still hold it for a few


class ExplainedError(OSError):
    """An error of the system with a message that says what to do; `errno`, `strerror` and
    `filename` are as usual."""

    def __init__(self, cause: OSError, path: Path, message: str):
        super().__init__(cause.errno, cause.strerror, str(path))
        self.message = message

    def __str__(self) -> str:
        return self.message


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Name `path`, the reason and the fix in an error of writing `path`, such as "No space left on
    device". Other errors of the block, such as those of reading other files, stay as they are.

    Raises:
        OSError: `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ExplainedError) or not _is_of_writing(error, path):
            raise
        reason = error.strerror or error
        if in_the_way := [folder for folder in path.parents if folder.is_file()]:
            reason = f"{in_the_way[0]} is a file, expected a folder"
        raise ExplainedError(error, path, f"{path} cannot be written: {reason}. Fix: free disk "
                             "space, make the folder writable, or choose another one") from error


def _is_of_writing(error: OSError, path: Path) -> bool:
    """Whether the disk is full, or the error names `path`, its temporary file or its folders."""
    if error.errno in FULL:
        return True
    if not isinstance(error.filename, str | bytes):
        return False
    file = Path(os.fsdecode(error.filename))
    return file == path or file in path.parents or (
        file.parent == path.parent and file.name.startswith(f".{path.name}.")
        and file.suffix == ".part")


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
    mine = f"{platform.node()}.{os.getpid()}"  # a process id means nothing on another host
    temporary = path.with_name(f".{path.name}.{mine}.part")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            host, _, writer = old.name[len(path.name) + 2:].removesuffix(".part").rpartition(".")
            if host == platform.node() and writer.isdecimal() and not psutil.pid_exists(
                    int(writer)):  # it was killed
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


def share(folder) -> None:
    """Give the weights in a folder the mode of its config.json: safetensors writes files that only
    their owner can read."""
    config = Path(folder) / "config.json"
    if config.is_file():
        for file in config.parent.glob("*.safetensors"):
            file.chmod(config.stat().st_mode)


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
        OSError: the lock cannot be written, or the file system has no locks.
    """
    with explain_write_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        try:
            with suppress(Timeout):
                held.acquire(timeout=-1 if wait else PATIENCE)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise ExplainedError(error, lock, f"{lock} cannot be locked: {error.strerror}. "
                                 "Expected a file system with locks; some network folders have "
                                 "none. Fix: choose a folder on a local disk") from error
    if not held.is_locked:
        raise BlockingIOError(f"found another process at work: it holds {lock}. Expected one at a "
                              "time. Fix: wait until it ends, or choose another file or folder")
    try:
        yield
    finally:
        held.release()
