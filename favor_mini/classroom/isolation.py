"""Where answers run: on Linux in a process that may do little, elsewhere in a thread.

The process has a temporary home folder, no network, no terminal, and limits on memory, time, files
and further processes. If root does the grading, it belongs to the user `nobody`, who reads neither
root's home nor `class.secret`. Code of a process can do what the process may do: where somebody
may attack the machine, run the grading in a container.
"""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout, suppress

import psutil

from ..course.limit import in_process, in_thread

MEMORY, FILE = 4 * 2**30, 10**8  # bytes: more than the grader has, and of one file
NOBODY = 65534


def isolated(work: Callable, seconds: float):
    """Call `work()` and return its result. What it prints is lost.

    Raises:
        TooLong: no result within `seconds`. Died: the process has ended without a result.
    """
    with redirect_stdout(None):
        if sys.platform != "linux":
            return in_thread(work, seconds)
        home = tempfile.mkdtemp()
        try:
            with suppress(OSError):  # it stays the grader's where that is not root
                os.chown(home, NOBODY, NOBODY)
            return in_process(lambda: _confine(home, seconds) or work(), seconds)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _confine(home: str, seconds: float) -> None:
    """Limit this process, for good."""
    import resource  # Windows has none

    os.chdir(home)
    os.environ.update(HOME=home, FAVOR_MINI_PROGRESS=os.path.join(home, "progress.json"))
    tempfile.tempdir = home
    socket.socket = _no_network
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    for limit, most in (
            (resource.RLIMIT_AS, psutil.Process().memory_info().vms + MEMORY),
            (resource.RLIMIT_CPU, int(seconds) + 5), (resource.RLIMIT_FSIZE, FILE),
            (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 0)):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    with suppress(OSError):  # only root may do so
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _no_network(*args, **kwargs):
    raise OSError("no network while answers are judged")
