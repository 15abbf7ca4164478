"""A time limit for a learner's code that also holds within C functions and torch operations."""

import ctypes
import io
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import torch

MOST_PRINTED = 5_000  # characters of the code's output that are shown


class TooLong(BaseException):
    """No result in time. Not an `Exception`, which the code itself might catch."""


class Died(Exception):
    """The process that ran the code ended without a result."""


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

    def run() -> None:
        torch.set_num_threads(1)  # torch's threads do not survive a fork
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            result = work()
        sender.send((result, printed.getvalue()[: MOST_PRINTED + 1]))

    process = fork.Process(target=run, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: threads
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise TooLong
        result, printed = receiver.recv()
    except EOFError:
        process.join()
        raise Died(f"exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    print(printed[:MOST_PRINTED], end="" if len(printed) <= MOST_PRINTED else " ... (cut off)\n")
    return result


def in_thread(work: Callable, seconds: float):
    """`limited` in a thread of this process."""
    results, grad = [], torch.is_grad_enabled()

    def run() -> None:
        try:
            with torch.set_grad_enabled(grad):  # the grad mode belongs to a thread
                results.append(work())
        except TooLong:
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(TooLong))
        raise TooLong
    if not results:
        raise Died("its thread has ended")
    return results[0]
