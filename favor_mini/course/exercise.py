"""Exercises: a card, a check that names the mistake it suspects, and the package's own function as the answer.

    card("block_causal")                                # goal, shapes, two hints and the answer, folded
    block_causal = check("block_causal", block_causal)  # yours where it is right, else the package's, and why

An exercise is a *trial*: it draws random sizes and inputs, runs what the learner wrote and says what is wrong with what
came out. Trials of one notebook stand in one file of `exercises/`. Whatever a learner hands in, nothing is raised.
"""

from __future__ import annotations

import html
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import learner
from .trial import Mistake, NotTried, TooLong, Trial, at_most

TRIALS, SECONDS = 5, 20.0  # per check; the seconds are for all of its trials together
_EXERCISES: dict[str, Exercise] = {}


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
        print(f"[solved] {name}: right on {TRIALS} trials with random sizes")
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
