"""Twins: private variants of exercises. They carry the marks, so that a copy of the public source
has none.

A twin is a Python file of the lecturer's. It holds the choices of its parameters, and a function of
them that returns a `Twin`:

    PARAMETERS = {"back": (2, 3)}

    def twin(back):
        ...
        return Twin(answer, text, wrong)

`class.secret` decides the choice. `examples/` has two twins, docs/teaching.md a recipe.
"""

import hashlib
import inspect
import runpy
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import torch

from ..course.exercise import Exercise, try_trials
from ..course.trial import Trial


@dataclass(frozen=True)
class Twin:
    """A variant of an exercise, for one choice of its parameters.

    Args:
        answer: a function with the exercise's name. Students get its signature and its docstring.
        text: the task in Markdown, instead of the goal on the exercise's card.
        wrong: sentence -> a function that makes this mistake. Whoever makes it reads the sentence.
        example: an expression with the answer's name and torch; students see it with its value.
        trial: as of an exercise. None: the public exercise's trial, with the sentences of `wrong`
            instead of its own.
    """

    answer: Callable
    text: str
    wrong: dict[str, Callable] = field(default_factory=dict)
    example: str = ""
    trial: Callable[[Trial], None] | None = None

    def stub(self) -> str:
        """The cell that students fill in."""
        doc = textwrap.indent(f'"""{inspect.getdoc(self.answer)}"""', "    ")
        return (f"def {self.answer.__name__}{inspect.signature(self.answer)}:\n{doc}\n"
                "    raise NotImplementedError  # your code")

    def card(self, public: Exercise, marks: float) -> str:
        """The task with its example, as Markdown."""
        parts = [f"**Exercise `{public.name}`**, {marks:g} marks", self.text.strip(),
                 f"Shapes: {public.shapes}"]
        if self.example:
            value = eval(self.example, {"torch": torch, public.name: self.answer})
            parts.append(f"```python\n>>> {self.example}\n{value}\n```")
        return "\n\n".join(parts)

    def exercise(self, public: Exercise) -> Exercise:
        """The exercise that is judged in place of the public one."""
        trial = self.trial or (lambda t: public.trial(_TwinTrial(t, self.wrong)))
        return replace(public, answer=self.answer, trial=trial)


class _TwinTrial(Trial):
    """A trial of the public exercise, with the twin's wrong answers."""

    def __init__(self, trial: Trial, wrong: dict[str, Callable]):
        self.attempt, self.answer, self.rng = trial.attempt, trial.answer, trial.rng
        self.wrong = wrong

    def check(self, args: tuple, suspects: dict | None = None, what: str = "the result", *,
              tolerance: float = 1e-4, where: str = "", **kwargs):
        made = {said: make(*args, **kwargs) for said, make in self.wrong.items()}
        return super().check(args, made, what, tolerance=tolerance, where=where, **kwargs)


@dataclass(frozen=True)
class TwinFile:
    """A lecturer's file. choices: of each parameter. make: the twin of one choice of each."""

    path: Path
    choices: dict[str, tuple]
    make: Callable[..., Twin]

    def drawn(self, key: str) -> tuple:
        """One choice of each parameter, decided by a text: the secret, the student, the exercise.
        """
        number, chosen = int.from_bytes(hashlib.sha256(key.encode()).digest()), []
        for values in self.choices.values():
            number, place = divmod(number, len(values))
            chosen.append(values[place])
        return tuple(chosen)

    def twin(self, chosen: tuple) -> Twin:
        return self.make(**dict(zip(self.choices, chosen, strict=True)))

    def check(self, public: Exercise, seeds) -> None:
        """Judge what has to be right and what has to be wrong, for all choices of the parameters.

        Raises:
            ValueError: the twin's own answer fails; or the public one, another choice's or a wrong
                one passes.
        """
        twins = {chosen: self.twin(chosen) for chosen in product(*self.choices.values())}
        for chosen, twin in twins.items():
            where = f"{self.path}, {dict(zip(self.choices, chosen, strict=True))}"
            if twin.answer.__name__ != public.name:
                raise ValueError(f"{where}: found an answer {twin.answer.__name__!r}, expected the "
                                 f"name of the exercise, {public.name!r}")
            judged = twin.exercise(public)
            if verdict := try_trials(judged, twin.answer, seeds)[0]:
                raise ValueError(f"{where}: the twin's own answer fails: {verdict}. Fix: correct "
                                 "it. If the public exercise's trial does not fit, give the twin "
                                 "its own `trial`")
            others = {f"the answer for {other}": one.answer for other, one in twins.items()
                      if other != chosen}
            wrong = {"the public answer": public.answer, **others, **twin.wrong}
            for name, attempt in wrong.items():
                if try_trials(judged, attempt, seeds)[0] is None:
                    raise ValueError(f"{where}: a wrong answer passes all trials: {name}. Fix: "
                                     "choose other parameters, or give the twin its own `trial`")


def read_twin(path: Path) -> TwinFile:
    """Read a twin's file.

    Raises:
        FileNotFoundError: there is none. ValueError: it has no function `twin` of its parameters.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no twin {path}. Fix: write it, or correct its path in the class "
                                "file, which starts in the folder of the class file")
    found = runpy.run_path(str(path))
    choices, make = found.get("PARAMETERS", {}), found.get("twin")
    if not callable(make) or set(inspect.signature(make).parameters) != set(choices):
        raise ValueError(f"{path}: expected a function `twin` with the arguments "
                         f"{list(choices)}, the names in PARAMETERS. Fix: see 'Write a twin' in "
                         "docs/teaching.md")
    return TwinFile(path, choices, make)
