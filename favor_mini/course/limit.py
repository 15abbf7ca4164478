"""A time limit for a learner's code that also holds within C functions and torch operations."""

import ctypes
import io
import multiprocessing
import os
import pickle
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch

MOST_PRINTED, MOST_LINES = 5_000, 100  # characters and lines of the code's output that are shown


class TooLong(BaseException):
    """No result in time. Not an `Exception`, which the code itself might catch."""


class Died(Exception):
    """The process that ran the code ended without a result."""


class Printed(io.TextIOBase):
    """The beginning of what was printed; the rest is only counted."""

    def __init__(self):
        self._kept, self._length, self._lines = [], 0, 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._length < MOST_PRINTED and self._lines < MOST_LINES:
            *lines, last = text.split("\n")  # not `splitlines`, which also splits at "\r"
            lines = [*(line + "\n" for line in lines), last][: MOST_LINES - self._lines]
            self._kept.append("".join(lines)[:MOST_PRINTED])
        self._length += len(text)
        self._lines += text.count("\n")
        return len(text)

    def text(self) -> str:
        """What is shown of it, and how much is not."""
        shown = "".join(self._kept)[:MOST_PRINTED]
        if len(shown) == self._length:
            return shown
        lines = self._lines - shown.count("\n") - (not shown.endswith("\n"))
        more = f"{lines:,} more lines are" if lines > 0 else "the rest of the line is"
        return f"{shown.rstrip()}\n... ({more} not shown; print less)\n"


def limited(work: Callable, seconds: float):
    """Call `work()` and return its result.

    On Linux it runs in a forked process, which can be stopped at any point and changes nothing
    here; its result must be picklable. Elsewhere, or where torch has an accelerator (which a
    forked process cannot use), it runs in a thread. A thread's Python code is stopped. A C
    function goes on in the background; one that holds the global interpreter lock delays the
    message until it returns.

    Raises:
        TooLong: no result within `seconds`. Died: the process has ended without a result.
    """
    if sys.platform == "linux" and not torch.accelerator.is_available():
        return in_process(work, seconds)
    return in_thread(work, seconds)


def in_process(work: Callable, seconds: float):
    """`limited` in a forked process."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    nonce = secrets.token_bytes(16)

    def run() -> None:
        torch.set_num_threads(1)  # torch's threads do not survive a fork
        printed = Printed()
        with redirect_stdout(printed), redirect_stderr(printed):
            result = work()
        with open(os.dup(sender.fileno()), "wb") as pipe:
            pipe.write(nonce + pickle.dumps((result, printed.text())) + nonce)

    process = fork.Process(target=run, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: threads
        process.start()
    sender.close()
    try:
        sent = _received(receiver, seconds, nonce)
        if not sent:
            process.join()
            raise Died(f"exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()
        receiver.close()
    result, printed = pickle.loads(sent)
    print(printed, end="")
    return result


def _received(receiver, seconds: float, nonce: bytes) -> bytes:
    """What a process sends between two nonces; nothing if it ends before.

    The code that the process runs can write to the pipe, too, but does not know the nonce. Its
    bytes are refused before they are unpickled, which could run code here.
    """
    sent, end = b"", time.monotonic() + seconds
    while not (len(sent) > len(nonce) and sent.endswith(nonce)):
        if not receiver.poll(max(0.0, end - time.monotonic())):
            raise TooLong
        part = os.read(receiver.fileno(), 2**16)
        sent += part
        if not nonce.startswith(sent[: len(nonce)]):
            raise Died("it has sent something else than its result")
        if not part:
            return b""
    return sent[len(nonce) : -len(nonce)]


def in_thread(work: Callable, seconds: float):
    """`limited` in a thread of this process."""
    results, grad, printed = [], torch.is_grad_enabled(), Printed()

    def run() -> None:
        try:
            with torch.set_grad_enabled(grad):  # the grad mode belongs to a thread
                results.append(work())
        except TooLong:
            pass

    thread = threading.Thread(target=run, daemon=True)
    with redirect_stdout(printed), redirect_stderr(printed), _no_exit():
        thread.start()
        thread.join(seconds)
    print(printed.text(), end="")
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(TooLong))
        thread.join(1.0)  # so that it can tidy up
        raise TooLong
    if not results:
        raise Died("its thread has ended")
    return results[0]


@contextmanager
def _no_exit():
    """Here `os._exit` and `os.abort` raise SystemExit instead: they would end this process."""
    process, names = os.getpid(), ("_exit", "abort")
    real = {name: getattr(os, name) for name in names}

    def refusing(name: str) -> Callable:
        def leave(*args):
            if os.getpid() != process:  # a forked one ends as it should
                real[name](*args)
            raise SystemExit(f"`os.{name}` would end the notebook's kernel at once; use `return`, "
                             "or raise an error")
        return leave

    for name in names:
        setattr(os, name, refusing(name))
    try:
        yield
    finally:
        for name in names:
            setattr(os, name, real[name])
