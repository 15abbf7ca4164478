"""Judges the cells of a submission: in a process of their own, with secret seeds, and without the
package's own answers.

Code of one process cannot be kept from anything that the process can do. The limits here stop
accidents and the usual tricks. Where somebody may attack the machine, run the grading in a
container.
"""

import ast
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from multiprocessing import parent_process

from ..course.exercise import Exercise, exercises, find, try_trials
from ..course.limit import Died, TooLong, limited
from ..course.trial import Mistake, NotTried
from ..registry import SLOTS, names, part, register
from ..registry import find as find_part

SECONDS = 60.0  # for all trials of an exercise
CELL = "<answer "
ALLOWED = {  # modules that an answer may import
    "torch", "numpy", "scipy", "pandas", "transformers", "librosa", "math", "cmath", "statistics",
    "itertools", "functools", "collections", "dataclasses", "typing", "re", "json", "copy",
    "pathlib", "string", "operator", "random", "warnings", "fractions", "enum", "abc", "time"}
REFUSED = {"__import__", "eval", "exec", "compile", "globals", "locals", "vars", "breakpoint",
           "input", "importlib", "inspect", "sys", "gc", "builtins", "answer", "judge", "check"}
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
        named = (node.id if isinstance(node, ast.Name) else
                 node.attr if isinstance(node, ast.Attribute) else "")
        if named in REFUSED or named.startswith("__") and named not in (
                "__init__", "__call__", "__name__", "__len__", "__class__", "__dict__"):
            return f"it uses `{named}`, which is not allowed in an answer"
    return ""


def prelude(code_cells: list[str]) -> dict:
    """The names that a notebook imports, without those of answers."""
    known, answers = {}, [e.answer for e in exercises().values()]
    for code in code_cells:
        lines = [line for line in code.split("\n") if not line.lstrip().startswith(("%", "!"))]
        with suppress(SyntaxError):
            for node in ast.parse("\n".join(lines)).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    with suppress(ImportError):
                        exec(compile(ast.Module([node], []), "<imports>", "exec"), known)
    hidden = {"__builtins__", *REFUSED}
    return {name: value for name, value in known.items()
            if name not in hidden and not any(value is answer for answer in answers)}


def judge_cells(cells: dict[str, str], known: dict, seeds) -> dict[str, str]:
    """By exercise, what is wrong with its cell; "" where it is right.

    Args:
        cells: code by exercise, in the order of the notebook. Earlier cells are there for later
            ones.
        known: names, of `prelude`. seeds: exercise -> seeds of its trials.
    """
    verdicts, before = {}, []
    for name, code in cells.items():
        why = refused(code)
        if why:
            verdicts[name] = why
            continue
        before.append((name, code))
        verdicts[name] = _judge(find(name), list(before), known, seeds(name))
    return verdicts


def _judge(tested: Exercise, cells: list, known: dict, seeds: list[int]) -> str:
    try_trials(tested, tested.answer, seeds[:1])  # imports and caches, before the process forks
    try:
        return limited(lambda: _isolated(tested, cells, known, seeds), SECONDS)
    except TooLong:
        return f"no result within {SECONDS:.0f} s; is there a loop that never ends?"
    except Died as error:
        return f"the process that ran the code has ended ({error})"


def _isolated(tested: Exercise, cells: list, known: dict, seeds: list[int]) -> str:
    """In the forked process, or in a thread where `limited` cannot fork."""
    with _apart(), guarded(tested):
        space = dict(known)
        for name, code in cells:
            try:
                exec(compile(code, f"{CELL}{name}>", "exec"), space)
            except BaseException as error:
                if name == tested.name:
                    return f"the cell raised {type(error).__name__}: {error}"
        attempt = space.get(tested.name)
        if attempt is None:
            return f"the cell does not define `{tested.name}`"
        if _same(attempt, tested.answer):
            return OWN
        verdict, _ = try_trials(tested, attempt, seeds, enough=SECONDS)
    return ("" if verdict is None else "not tried" if isinstance(verdict, NotTried)
            else str(verdict))


@contextmanager
def _apart() -> Iterator[None]:
    """An empty folder as home and working folder, and no network; afterwards all is as before,
    because a thread shares them with the grading."""
    before, variables, network = os.getcwd(), dict(os.environ), socket.socket
    if parent_process():
        _limit_files()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.chdir(home)
        os.environ |= {"HOME": home, "USERPROFILE": home}
        socket.socket = _no_network
        try:
            yield
        finally:
            socket.socket = network
            os.environ.clear()
            os.environ.update(variables)
            os.chdir(before)


def _limit_files() -> None:
    """No large files and no memory dumps, for all that is left of this process."""
    import resource

    for limit, most in ((resource.RLIMIT_FSIZE, 10**8), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (most, most))


def _no_network(*args, **kwargs):
    raise OSError("no network while answers are judged")


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
