"""One try of an exercise: random inputs, the attempt run on copies of them, and what came out held against what should have."""

from __future__ import annotations

import copy
import ctypes
import threading
import traceback
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


class Mistake(Exception):
    """What is wrong with an attempt, in words for its author."""


class NotTried(Exception):
    """The stub still raises NotImplementedError."""


class TooLong(BaseException):
    """Raised within an attempt that does not come back. No `Exception`, so that a bare-looking `except` lets it pass."""


class Trial:
    """One try with random sizes: draws inputs, runs the attempt on copies of them, compares what comes out."""

    def __init__(self, attempt, seed: int):
        self.attempt, self.rng = attempt, np.random.default_rng(seed)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def randn(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.standard_normal(shape)).float()

    def coins(self, *shape: int, share: float = 0.5) -> Tensor:
        """Random booleans, True with the probability `share`."""
        return torch.from_numpy(self.rng.random(shape) < share)

    def run(self, *args, **kwargs):
        """What the attempt returns. Raises Mistake where it fails, returns nothing or changes what it was given."""
        return self.call(self.attempt, *args, **kwargs)

    def call(self, thing, *args, **kwargs):
        """As `run`, for something that the attempt made, such as a module."""
        given = copy.deepcopy((args, kwargs))
        try:
            found = thing(*given[0], **given[1])
        except NotImplementedError as error:
            raise NotTried from error
        except (Exception, SystemExit) as error:
            raise Mistake(_told(error, getattr(thing, "forward", thing))) from None
        if found is None:
            raise Mistake("it returned None; is a `return` missing?")
        for place, before, after in [*((f"argument {i + 1}", *pair) for i, pair in enumerate(zip(args, given[0], strict=True))),
                                     *((f"`{name}`", kwargs[name], given[1][name]) for name in kwargs)]:
            if not _alike(before, after):
                raise Mistake(f"{place} was changed in place: work on a copy (`x = x + 1`, not `x += 1`; `clone()` before writing into it)")
        return found

    def that(self, kept, message: str) -> None:
        """Mistake(message) where `kept` is false."""
        if not kept:
            raise Mistake(message)

    def same(self, found, expected, suspects: dict | None = None, what: str = "the result", tolerance: float = 1e-4) -> None:
        """Mistake where `found` is not `expected`: of the wrong kind, shape, dtype or value, in that order.

        Args:
            suspects: by what went wrong, in words, the value that this mistake gives; the first that `found` equals is named.
        """
        for message, wrong in (suspects or {}).items():
            if not _differ(expected, wrong, tolerance):
                continue  # with these sizes the mistake does not show
            if type(found) is type(wrong) and not _differ(wrong, found, tolerance):
                raise Mistake(message)
        if difference := _differ(expected, found, tolerance):
            raise Mistake(f"{what} {difference}")


def _differ(expected, found, tolerance: float) -> str:
    """In words, how `found` differs from `expected`; empty where it does not."""
    if isinstance(expected, tuple):
        if not isinstance(found, tuple | list) or len(found) != len(expected):
            return f"should be {len(expected)} things (a tuple), found {_kind(found)}"
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            if difference := _differ(one, other, tolerance):
                return f"number {i + 1} of {len(expected)} {difference}"
        return ""
    if isinstance(expected, np.ndarray | Tensor):
        if type(found) is not type(expected) and not (isinstance(found, Tensor) and isinstance(expected, Tensor)):
            return f"should be a {'tensor' if isinstance(expected, Tensor) else 'numpy array'}, found {_kind(found)}"
        if tuple(found.shape) != tuple(expected.shape):
            return f"should have the shape {tuple(expected.shape)}, found {tuple(found.shape)}"
        one, other = (torch.as_tensor(t).detach().cpu() for t in (expected, found))
        if (one.dtype == torch.bool) != (other.dtype == torch.bool) or one.is_floating_point() < other.is_floating_point():
            return f"should be of dtype {expected.dtype}, found {found.dtype}"
        one, other = one.double(), other.double()
        if not other.isfinite().all() and one.isfinite().all():
            return "holds values that are not finite (nan or inf)"
        apart = ((one - other).abs() > tolerance * (1 + one.abs())).nan_to_num()
        apart |= one.isinf() & (one != other)
        if not apart.any():
            return ""
        place = tuple(apart.nonzero()[0].tolist())
        where = f" at {list(place)}" if place else ""
        return (f"has the right shape but wrong values, {int(apart.sum())} of {apart.numel()}; the first{where}: "
                f"{_short(other[place])} where {_short(one[place])} is expected")
    if isinstance(expected, bool | str) or expected is None:
        return "" if type(found) is type(expected) and found == expected else f"should be {expected!r}, found {_kind(found)}"
    if isinstance(expected, int | float):
        if isinstance(found, Tensor | np.ndarray | np.generic) and np.size(found) == 1:
            found = found.item()
        if isinstance(found, bool) or not isinstance(found, int | float):
            return f"should be a number, found {_kind(found)}"
        return "" if abs(found - expected) <= tolerance * (1 + abs(expected)) else f"should be {_short(expected)}, found {_short(found)}"
    if isinstance(expected, list):
        if not isinstance(found, list | tuple):
            return f"should be a list, found {_kind(found)}"
        if len(found) != len(expected):
            return f"should have {len(expected)} entries, found {len(found)}"
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            if difference := _differ(one, other, tolerance):
                return f"entry {i} {difference}"
        return ""
    if isinstance(expected, dict):
        if not isinstance(found, dict) or set(found) != set(expected):
            return f"should be a dict with the keys {sorted(expected)}, found {_kind(found)}"
        for key, one in expected.items():
            if difference := _differ(one, found[key], tolerance):
                return f"under {key!r} {difference}"
        return ""
    return "" if found == expected else f"should be {expected!r}, found {_kind(found)}"


def _short(number) -> str:
    return f"{float(number):.4g}"


def _kind(found) -> str:
    if isinstance(found, np.ndarray | Tensor):
        return f"{type(found).__name__} of shape {tuple(found.shape)}"
    try:
        text = repr(found)
    except Exception:
        text = "something that cannot be shown"
    return f"{type(found).__name__} {text[:60]}"


def _alike(before, after) -> bool:
    """Whether an argument still holds what it held; what cannot be compared counts as alike."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.shape == after.shape and torch.equal(before, after)
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        return before.shape == after.shape and bool((before == after).all())
    if isinstance(before, list | dict) and type(before) is type(after):
        if len(before) != len(after) or isinstance(before, dict) and set(before) != set(after):
            return False
        pairs = zip(before, after, strict=True) if isinstance(before, list) else ((before[k], after[k]) for k in before)
        return all(_alike(one, other) for one, other in pairs)
    return True


def _told(error: BaseException, thing) -> str:
    """An error of the attempt's: what and in which of its lines."""
    code = getattr(thing, "__code__", None) or getattr(getattr(thing, "__func__", None), "__code__", None)
    name = code.co_filename if code else None
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    where = f" in your line `{lines[-1].line}`" if lines and lines[-1].line else ""
    said = str(error).strip().split("\n")[0][:200]
    return f"it raised {type(error).__name__}{where}" + (f": {said}" if said else "")


@contextmanager
def at_most(seconds: float):
    """Raise TooLong within the block once so many seconds have passed; works on every system, as no signal is needed."""
    thread = ctypes.c_ulong(threading.get_ident())
    lock, over = threading.Lock(), False

    def stop():
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TooLong))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        timer.cancel()
