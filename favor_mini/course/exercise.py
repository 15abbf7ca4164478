"""Exercises: a card, a check that names the suspected mistake, and the package's answer.

    card("block_causal")                                # goal, shapes, two hints, the answer
    block_causal = check("block_causal", block_causal)  # yours if correct, else the package's

An exercise is a *trial*: a function that draws random sizes and inputs, runs the learner's code
and reports what is wrong with its results. Those of notebook NN are in `exercises/nbNN.py`.
"""

from __future__ import annotations

import html
import importlib
import inspect
import re
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from . import learner
from .limit import Died, TooLong, limited
from .traces import usual
from .trial import Mistake, NotTried, Trial

FEWEST, MOST = 5, 60  # trials of a check; an error in 5 % of 60 trials shows in 95 % of checks
ENOUGH, SECONDS = 0.5, 20.0  # after which no further trial begins, and after which a check stops
_EXERCISES: dict[str, Exercise] = {}
FOLDER = Path(__file__).parent / "exercises"
_CARD = re.compile(r"## (\w+)\n\nDifficulty (\d) of 5, about (\d+) minutes\.\n\n(.*?)\n\n"
                   r"- Shapes: (.*?)\n- Hint 1: (.*?)\n- Hint 2: (.*?)\n(?=\n## |\Z)", re.DOTALL)


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
    hints: tuple[str, ...]
    trial: Callable[[Trial], None]
    solution: bool = True  # its card shows the package's own

    def __str__(self) -> str:
        return (f"Exercise {self.name} (difficulty {self.difficulty} of 5, about {self.minutes} "
                f"minutes)\n{textwrap.fill(self.goal, 100)}\n{self.shapes}")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def folded(title: str, body: str) -> str:
            return f"<details style='margin-top:4px'><summary>{title}</summary>{body}</details>"

        stars = "●" * self.difficulty + "○" * (5 - self.difficulty)
        home = f"{self.answer.__module__}.{self.answer.__qualname__}"
        return ("<div style='border-left:5px solid #1f6fb2;padding:6px 14px;background:#f4f7fa;"
                f"color:#1b2a41;max-width:900px'><b>Exercise: <code>{self.name}</code></b> &nbsp; "
                f"difficulty {stars} &nbsp; about {self.minutes} minutes &nbsp; "
                "<a href='../docs/glossary.md'>letters and terms</a>"
                + "".join(f"<p style='margin:6px 0'>{_marked(text)}</p>"
                          for text in (self.goal, self.shapes))
                + "".join(folded(f"Hint {i}", f"<p>{_marked(hint)}</p>")
                          for i, hint in enumerate(self.hints, 1))
                + (folded(f"The package's answer: <code>{home}</code>",
                          f"<pre>{html.escape(source(self.answer))}</pre>")
                   if self.solution else "") + "</div>")


def exercise(answer: Callable) -> Callable:
    """Decorator: register a trial as the exercise named after `answer`.

    The exercise's card is the section of that name in the Markdown file of the same notebook
    (nb05.md): difficulty, minutes, goal, `Shapes` (of arguments and result, in the letters of
    docs/glossary.md), `Hint 1` (where to look) and `Hint 2` (nearly how). `code` is in backticks,
    *stressed* words in asterisks.

    Args:
        answer: the package's own function or class, or a few lines that call a library.

    Raises:
        ValueError: there is no such card, or another notebook's exercise has this name.
    """
    def register(trial: Callable[[Trial], None]) -> Callable:
        name, home = answer.__name__, trial.__module__
        known = _EXERCISES.get(name)
        if known and known.trial.__module__ != home:
            raise ValueError(f"exercise {name!r} is in {known.trial.__module__} already. "
                             "Fix: rename one")
        file = FOLDER / f"{home.rpartition('.')[2]}.md"
        if name not in (cards := _cards(file)):
            raise ValueError(f"no card of {name!r} in {file}; there are {', '.join(cards)}. Fix: "
                             f"add a section '## {name}' in the form of the others")
        difficulty, minutes, goal, shapes, *hints = cards[name]
        _EXERCISES[name] = Exercise(name, home[-2:], answer, int(difficulty), int(minutes), goal,
                                    shapes, tuple(hints), trial)
        return trial

    return register


@cache
def _cards(file: Path) -> dict[str, list[str]]:
    """The cards in a Markdown file: name -> difficulty, minutes, goal, shapes, two hints."""
    cards = _CARD.findall(file.read_text(encoding="utf-8"))
    return {name: [" ".join(text.split()) for text in texts] for name, *texts in cards}


def exercises() -> dict[str, Exercise]:
    """All exercises by name, in the order of the notebooks."""
    for file in sorted(FOLDER.glob("nb*.py")):
        importlib.import_module(f"{__package__}.exercises.{file.stem}")
    return _EXERCISES


def find(name: str) -> Exercise:
    """The exercise of this name. Raises ValueError, which lists all names, where there is none."""
    for file in sorted(FOLDER.glob("nb*.md")):
        if name in _cards(file):  # import one notebook's exercises, not all
            importlib.import_module(f"{__package__}.exercises.{file.stem}")
    if name not in _EXERCISES:
        raise ValueError(f"no exercise {name!r}; there are {', '.join(exercises())}")
    return _EXERCISES[name]


def card(name: str, hints: int = 2, answer: bool = True) -> Exercise:
    """The card of an exercise, for the last line of a cell.

    Args:
        hints: how many it shows. answer: whether it shows the package's own.
    """
    found = find(name)
    return replace(found, hints=found.hints[:hints], solution=answer)


def answer(name: str) -> Callable:
    """The package's own function or class for an exercise."""
    return find(name).answer


def source(thing) -> str:
    """The source code of a function or class."""
    return textwrap.dedent(inspect.getsource(thing)).rstrip()


def check(name: str, attempt, stand_in: bool = True) -> Callable | None:
    """Judge an attempt, print the verdict and save it as progress. Raises nothing.

    Args:
        stand_in: False where marks are given: the package's own never stands in.

    Returns:
        the attempt if it is correct, else the package's own, so that the notebook can go on; None
        without a stand-in.
    """
    tested = find(name)
    verdict, trials = _judge(tested, attempt)
    if not stand_in:
        return _told(tested, verdict, attempt)
    if verdict is None:
        learner.note(name, solved=True, code=_code(attempt))
        print(f"[solved] {name}: correct on {trials} trials with random sizes")
        return attempt
    if isinstance(verdict, NotTried):
        print(f"[not tried yet] {name}: the notebook goes on with the package's own")
        return tested.answer
    learner.note(name, solved=False)
    print(textwrap.fill(f"[not yet] {name}: {verdict}", 110, subsequent_indent="    ",
                        replace_whitespace=False))
    print("    (until it is correct, the notebook uses the package's own; hints are on the card)")
    return tested.answer


def _told(tested: Exercise, verdict, attempt) -> None:
    """Print and note a verdict where nothing stands in for the attempt."""
    if not isinstance(verdict, NotTried):
        learner.note(tested.name, solved=verdict is None, code="" if verdict else _code(attempt))
    state = "solved" if verdict is None else "not tried yet" if isinstance(
        verdict, NotTried) else "not yet"
    said = {"solved": ": correct", "not yet": f": {verdict}"}.get(state, "")
    print(textwrap.fill(f"[{state}] {tested.name}{said}", 110, subsequent_indent="    ",
                        replace_whitespace=False))


def judge(tested: Exercise, attempt) -> Mistake | NotTried | None:
    """The mistake in an attempt, or None. Random states and settings stay unchanged."""
    return _judge(tested, attempt)[0]


def _judge(tested: Exercise, attempt) -> tuple[Mistake | NotTried | None, int]:
    """As `judge`, with the number of trials that were right."""
    if not callable(attempt):
        kind = "class" if inspect.isclass(tested.answer) else "function"
        return Mistake(f"expected a {kind}, found {type(attempt).__name__}; did you run the cell "
                       "above?"), 0
    try:
        with usual():
            _load(tested)
            return limited(lambda: try_trials(tested, attempt), SECONDS)
    except TooLong:
        return Mistake(f"no result within {SECONDS:.0f} s; is there a loop that never ends?"), 0
    except Died as error:
        return Mistake(f"the process that ran your code has ended ({error}); does it use too much "
                       "memory, or `os._exit`?"), 0


@cache
def _load(tested: Exercise) -> None:
    """Run a trial once, so that forked processes find its imports and caches ready."""
    try_trials(tested, tested.answer, seeds=[0])


def try_trials(tested: Exercise, attempt, seeds=range(MOST), enough: float | None = None
               ) -> tuple[Mistake | NotTried | None, int]:
    """The verdict, and the number of trials that were right; in this process.

    Args:
        seeds: of the trials. enough: seconds after which no further one begins, once `FEWEST` are
            done; None: `ENOUGH`.
    """
    passed, start = 0, time.monotonic()
    enough = ENOUGH if enough is None else enough
    try:
        with usual():  # once more: in another thread some settings are its own
            for seed in seeds:
                if passed >= FEWEST and time.monotonic() - start > enough:
                    break
                torch.manual_seed(seed)
                tested.trial(Trial(attempt, tested.answer, seed))
                passed += 1
    except (Mistake, NotTried) as verdict:
        return verdict, passed
    except Exception as error:  # a result of a strange type, which cannot even be compared
        return Mistake(f"the result could not be compared ({type(error).__name__}: {error}); see "
                       "the shapes on the card"), passed
    return None, passed


def _code(attempt) -> str:
    try:
        return source(attempt)
    except (OSError, TypeError):
        return ""


def _marked(text: str) -> str:
    """HTML of a text with `code` and *stressed* words."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<i>\1</i>", text)


def progress():
    """All exercises with the learner's state of each, as a pandas table."""
    import pandas as pd

    known, rows = learner.read(), []
    for each in exercises().values():
        entry = known.get(each.name, {})
        tried = f"tried {entry['tries']} x" if entry.get("tries") else ""
        state = f"solved {entry['solved']}" if entry.get("solved") else tried
        rows.append({"notebook": each.notebook, "exercise": each.name, "state": state,
                     "difficulty": each.difficulty, "minutes": each.minutes})
    columns = ["notebook", "exercise", "difficulty", "minutes", "state"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:2])
