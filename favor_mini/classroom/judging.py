"""Judges the cells of a submission: in isolation, with secret seeds, without the package's own
answers."""

import ast
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from ..course.exercise import Exercise, exercises, find, try_trials
from ..course.limit import Died, TooLong
from ..course.trial import Mistake, NotTried
from ..registry import SLOTS, names, part, register
from ..registry import find as find_part
from .isolation import isolated

LEAST, MOST = 10.0, 60.0  # seconds for all trials of an exercise
CELL = "<answer "
ALLOWED = {  # modules that an answer may import
    "torch", "numpy", "scipy", "pandas", "transformers", "librosa", "math", "cmath", "statistics",
    "itertools", "functools", "collections", "dataclasses", "typing", "re", "json", "copy",
    "pathlib", "string", "operator", "random", "warnings", "fractions", "enum", "abc", "time"}
REFUSED = {"__import__", "eval", "exec", "compile", "globals", "locals", "vars", "breakpoint",
           "input", "importlib", "inspect", "sys", "gc", "builtins", "answer", "judge", "check",
           "getattr", "attrgetter", "os", "_os", "_sys", "subprocess", "ctypes", "multiprocessing",
           "f_back", "f_globals", "f_locals", "gi_frame", "tb_frame"}  # also as attributes
METHODS = {"__init__", "__call__", "__name__", "__len__", "__class__"}
OWN = "it uses the package's own answer. Write the function yourself"


def refused(code: str) -> str:
    """Why a cell may not run, in words; "" if it may."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError) as error:
        return f"the cell is no Python: {error}"
    for node in ast.walk(tree):
        modules = ([a.name for a in node.names] if isinstance(node, ast.Import) else
                   [node.module or "."] if isinstance(node, ast.ImportFrom) else [])
        for module in modules:
            if module.split(".")[0] not in ALLOWED:
                return (f"it imports {module}. Use torch, numpy, Python's own library, and what "
                        "the notebook has imported above")
        names = (node.id if isinstance(node, ast.Name) else node.attr if isinstance(
            node, ast.Attribute) else node.name if isinstance(node, ast.alias) else "")
        for named in names.split("."):
            if named in REFUSED or named.startswith("__") and named not in METHODS:
                return f"it uses `{named}`, which is not allowed in an answer"
    return ""


def prelude(code_cells: list[str]) -> dict:
    """The names that a notebook imports, without answers and what belongs to exercises."""
    known, answers = {}, [e.answer for e in exercises().values()]
    for code in code_cells:
        lines = [line for line in code.split("\n") if not line.lstrip().startswith(("%", "!"))]
        with suppress(SyntaxError):
            for node in ast.parse("\n".join(lines)).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    with suppress(ImportError):
                        exec(compile(ast.Module([node], []), "<imports>", "exec"), known)
    known = {name: value for name, value in known.items()
             if name != "__builtins__" and not any(value is answer for answer in answers)}
    home = {name: getattr(value, "__module__", None) or getattr(value, "__name__", "")
            for name, value in known.items()}
    return {name: value for name, value in known.items()
            if not str(home[name]).startswith("favor_mini.course")}


@dataclass(frozen=True)
class Task:
    """An exercise as it is graded: the seeds of its trials, and the seconds for all of them."""

    exercise: Exercise
    seeds: tuple[int, ...]
    seconds: float


def rehearsed(tested: Exercise, seeds) -> Task:
    """The task of an exercise, after its own answer was judged as submissions will be.

    That also leaves imports and caches ready for the processes that fork off later.

    Raises:
        RuntimeError: its own answer fails there. Every submission would fail, too.
    """
    try_trials(tested, tested.answer, seeds[:1])
    start = time.monotonic()
    try:
        wrong = isolated(lambda: _said(tested, tested.answer, seeds), MOST)
    except TooLong:
        wrong = f"no result within {MOST:.0f} s"
    except Died as error:
        wrong = f"its process has ended ({error})"
    if wrong:
        raise RuntimeError(
            f"exercise {tested.name!r}: its own answer fails where answers are judged: {wrong}. "
            f"Fix: if root does the grading, let all users read {Path(__file__).parents[1]}; if "
            "it was too slow, stop what else runs on this machine")
    return Task(tested, tuple(seeds), min(MOST, LEAST + 20 * (time.monotonic() - start)))


def judge_cells(cells: dict[str, str], known: dict, tasks: dict[str, Task]) -> dict[str, str]:
    """By exercise, what is wrong with its cell; "" where it is right.

    Args:
        cells: code by exercise, in the order of the notebook. Earlier cells are there for later
            ones, but for those that may not run or do not end.
        known: names, of `prelude`. tasks: by exercise.
    """
    verdicts, before = {}, []
    for name, code in cells.items():
        verdicts[name] = refused(code)
        if verdicts[name]:
            continue
        task, run = tasks[name], [*before, (name, code)]
        try:
            verdicts[name] = isolated(lambda task=task, run=run: _judged(task, run, known),
                                      task.seconds)
            before = run
        except TooLong:
            verdicts[name] = (f"no result within {task.seconds:.0f} s; is there a loop that never "
                              "ends?")
        except Died as error:
            verdicts[name] = f"the process that ran the code has ended ({error})"
    return verdicts


def _judged(task: Task, cells: list, known: dict) -> str:
    """What is wrong with the last of the cells."""
    tested, space = task.exercise, dict(known)
    with guarded(find(tested.name)):
        for name, code in cells:
            try:
                exec(compile(code, f"{CELL}{name}>", "exec"), space)
            except BaseException as error:
                if name == tested.name:
                    return f"the cell raised {type(error).__name__}: {error}"[:300]
        attempt = space.get(tested.name)
        if attempt is None:
            return f"the cell does not define `{tested.name}`"
        if _same(attempt, find(tested.name).answer):
            return OWN
        return _said(tested, attempt, task.seeds)


def _said(tested: Exercise, attempt, seeds) -> str:
    """What a check says about an attempt; "" where it is right."""
    verdict, _ = try_trials(tested, attempt, seeds, enough=MOST)
    return ("" if verdict is None else "not tried" if isinstance(verdict, NotTried)
            else str(verdict))


def _same(attempt, answer) -> bool:
    """Whether an attempt is the package's own, perhaps wrapped."""
    while attempt is not None and attempt is not answer:
        attempt = getattr(attempt, "__wrapped__", None) or getattr(attempt, "func", None)
    return attempt is answer


@contextmanager
def guarded(tested: Exercise):
    """The package's own answer raises where a learner's cell calls it, directly or through other
    functions of the package: in its module, wherever it was imported, and in the registry."""
    answer = tested.answer

    def check_caller() -> None:
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename.startswith(CELL):
                raise Mistake(OWN)
            frame = frame.f_back

    if isinstance(answer, type):
        original = answer.__init__

        @wraps(original)
        def guard(self, *args, **kwargs):
            check_caller()
            original(self, *args, **kwargs)

        answer.__init__ = guard
        try:
            yield
        finally:
            answer.__init__ = original
        return

    @wraps(answer)
    def stand_in(*args, **kwargs):
        check_caller()
        return answer(*args, **kwargs)

    places = [(module, name) for module in list(sys.modules.values())
              if getattr(module, "__name__", "").startswith("favor_mini")
              for name, value in list(vars(module).items()) if value is answer]
    parts = [part(slot, n) for slot in SLOTS for n in names(slot) if find_part(slot, n) is answer]

    def put(function) -> None:
        for module, name in places:
            setattr(module, name, function)
        for each in parts:
            register(each.slot, each.name, causal=each.causal, constant=each.constant)(function)

    put(stand_in)
    try:
        yield
    finally:
        put(answer)
