"""Exercises: a card, a check that names the mistake it suspects, and the package's own function as the answer.

    card("block_causal")                                # goal, shapes, two hints and the answer, folded
    block_causal = check("block_causal", block_causal)  # yours where it is right, else the package's, and why

An exercise is a *trial*: it draws random sizes and inputs, runs what the learner wrote and says what is wrong with what
came out. Trials of one notebook stand in one file of `exercises/`. Whatever a learner hands in, nothing is raised.
"""

from __future__ import annotations

import copy
import ctypes
import html
import importlib
import inspect
import pkgutil
import re
import textwrap
import threading
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import learner

TRIALS, SECONDS = 5, 20.0  # per check; the seconds are for all of its trials together
_EXERCISES: dict[str, Exercise] = {}


class Mistake(Exception):
    """What is wrong with an attempt, in words for its author."""


class NotTried(Exception):
    """The stub still raises NotImplementedError."""


class TooLong(BaseException):
    """Raised within an attempt that does not come back. No `Exception`, so that a bare-looking `except` lets it pass."""


@dataclass(frozen=True)
class Exercise:
    """One exercise; see `exercise` for its fields."""

    name: str
    notebook: str
    answer: Callable
    difficulty: int
    minutes: int
    goal: str
    shapes: str
    hints: tuple[str, str]
    trial: Callable[[Trial], None]

    def __str__(self) -> str:
        return (f"Exercise {self.name} (difficulty {self.difficulty} of 5, about {self.minutes} minutes)\n"
                f"{textwrap.fill(self.goal, 100)}\n{self.shapes}")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def folded(title: str, body: str) -> str:
            return f"<details style='margin-top:4px'><summary>{title}</summary>{body}</details>"

        stars = "●" * self.difficulty + "○" * (5 - self.difficulty)
        return (f"<div style='border-left:5px solid #1f6fb2;padding:6px 14px;background:#f4f7fa;color:#1b2a41;max-width:900px'>"
                f"<b>Exercise: <code>{self.name}</code></b> &nbsp; difficulty {stars} &nbsp; about {self.minutes} minutes"
                f"<p style='margin:6px 0'>{_marked(self.goal)}</p><p style='margin:6px 0'>{_marked(self.shapes)}</p>"
                + folded("Hint 1", f"<p>{_marked(self.hints[0])}</p>") + folded("Hint 2", f"<p>{_marked(self.hints[1])}</p>")
                + folded(f"The package's own: <code>{_home(self.answer)}</code>", f"<pre>{html.escape(source(self.answer))}</pre>")
                + "</div>")


def exercise(name: str, *, notebook: str, answer: Callable, difficulty: int, minutes: int, goal: str, shapes: str,
             hints: tuple[str, str]) -> Callable:
    """Decorator: enter a trial as the exercise `name`, which is also what the learner's function or class is called.

    Args:
        notebook: "05".
        answer: the package's own function or class, which every trial accepts; or a few lines here that call a library's.
        difficulty: 1 to 5. minutes: what somebody new to it takes.
        goal: what to write and why. shapes: of arguments and result, in the glossary's letters. `code` in backticks.
        hints: the first says where to look, the second nearly how.
    """
    def enter(trial: Callable[[Trial], None]) -> Callable:
        known = _EXERCISES.get(name)
        if known and known.trial.__module__ != trial.__module__:
            raise ValueError(f"exercise {name!r} stands in {known.trial.__module__} already")
        _EXERCISES[name] = Exercise(name, notebook, answer, difficulty, minutes, goal, shapes, hints, trial)
        return trial

    return enter


def exercises() -> dict[str, Exercise]:
    """All exercises by name, in the order of the notebooks."""
    from . import exercises as folder

    for module in sorted(m.name for m in pkgutil.iter_modules(folder.__path__)):
        importlib.import_module(f"{folder.__name__}.{module}")
    return _EXERCISES


def find(name: str) -> Exercise:
    """The exercise of this name; a ValueError that lists the names where there is none."""
    known = exercises()
    if name not in known:
        raise ValueError(f"no exercise {name!r}; there are {', '.join(known)}")
    return known[name]


def card(name: str) -> Exercise:
    """An exercise's card, to be a cell's last line."""
    return find(name)


def answer(name: str) -> Callable:
    """The package's own function or class for an exercise."""
    return find(name).answer


def source(thing) -> str:
    """The source code of a function or class."""
    return textwrap.dedent(inspect.getsource(thing)).rstrip()


def check(name: str, attempt) -> Callable:
    """Try an attempt on random sizes and say how it went; nothing it does is raised.

    Returns:
        the attempt where it is right, else the package's own, so that the notebook goes on.
    """
    tested = find(name)
    verdict = judge(tested, attempt)
    if verdict is None:
        learner.note(name, solved=True, code=_code(attempt))
        print(f"[solved] {name}: right on {TRIALS} trials with random sizes; what follows uses yours")
        return attempt
    if isinstance(verdict, NotTried):
        print(f"[not tried yet] {name}: the package's own stands in")
        return tested.answer
    learner.note(name, solved=False)
    print(textwrap.fill(f"[not yet] {name}: {verdict}", 110, subsequent_indent="    ", replace_whitespace=False))
    print("    (until it is right the package's own stands in; hints are on the card)")
    return tested.answer


def judge(tested: Exercise, attempt) -> Mistake | NotTried | None:
    """What is wrong with an attempt; None where nothing is."""
    if not callable(attempt):
        kind = "class" if inspect.isclass(tested.answer) else "function"
        return Mistake(f"expected a {kind}, found {type(attempt).__name__}; was the cell above run?")
    random, grad = torch.random.get_rng_state(), torch.is_grad_enabled()
    try:
        with at_most(SECONDS):
            for seed in range(TRIALS):
                torch.manual_seed(seed)
                tested.trial(Trial(attempt, seed))
    except (Mistake, NotTried) as verdict:
        return verdict
    except Exception as error:  # what came back is so odd that even comparing it fails
        return Mistake(f"what came back could not be compared ({type(error).__name__}: {error}); see the shapes on the card")
    except TooLong:
        return Mistake(f"no answer within {SECONDS:.0f} s; is there a loop that never ends?")
    finally:
        torch.random.set_rng_state(random)
        torch.set_grad_enabled(grad)
    return None


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


def _code(attempt) -> str:
    try:
        return source(attempt)
    except (OSError, TypeError):
        return ""


def _marked(text: str) -> str:
    """HTML of a text with `code` and *stressed* words."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<i>\1</i>", text)


def _home(thing) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


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
