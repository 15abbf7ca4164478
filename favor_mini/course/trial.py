"""One trial of an exercise: draw random inputs, run the attempt on copies, compare the results."""

import copy
import os.path
import traceback

import numpy as np
import torch
from torch import Tensor

from .traces import kept


class Mistake(Exception):
    """What is wrong with an attempt, in words for its author."""


class NotTried(Exception):
    """The stub still raises NotImplementedError."""


class Trial:
    """One trial of an attempt.

    Args:
        attempt: the learner's function or class.
        answer: the package's own, which gives the expected results.
    """

    def __init__(self, attempt, answer, seed: int):
        self.attempt, self.answer, self.rng = attempt, answer, np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """A random integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def shuffled(self, *values: int) -> list[int]:
        """The values in random order; sizes that are all different show swapped axes."""
        return [int(value) for value in self.rng.permutation(values)]

    def randn(self, *shape: int) -> Tensor:
        """Normally distributed numbers, float32."""
        return torch.from_numpy(self.rng.standard_normal(shape)).float()

    def randint(self, low: int, high: int, *shape: int) -> Tensor:
        """Random integers from low to high - 1."""
        return torch.from_numpy(self.rng.integers(low, high, shape))

    def bernoulli(self, *shape: int) -> Tensor:
        """Random booleans, True with the probability 0.5."""
        return torch.from_numpy(self.rng.random(shape) < 0.5)

    def run(self, *args, **kwargs):
        """What the attempt returns.

        Raises:
            Mistake: it fails, returns None or changes an argument. NotTried: it is still the stub.
        """
        return self.call(self.attempt, *args, **kwargs)

    def call(self, thing, *args, **kwargs):
        """As `run`, for an object that the attempt made, such as a module."""
        given, keywords = copy.deepcopy((args, kwargs))
        try:
            with kept():
                found = thing(*given, **keywords)
        except NotImplementedError as error:
            raise NotTried from error
        except (Exception, SystemExit) as error:
            raise Mistake(_failure(error, getattr(thing, "forward", thing))) from None
        if found is None:
            raise Mistake("it returned None; is a `return` missing?")
        for i, (before, after) in enumerate(zip(args, given, strict=True)):
            self._unchanged(f"argument {i + 1}", before, after)
        for name in kwargs:
            self._unchanged(f"`{name}`", kwargs[name], keywords[name])
        return found

    @staticmethod
    def _unchanged(place: str, before, after) -> None:
        if not _alike(before, after):
            raise Mistake(f"{place} was changed in place: work on a copy (`x = x + 1`, not "
                          "`x += 1`; `clone()` before writing into it)")

    def require(self, condition, message: str) -> None:
        """Raise Mistake(message) where `condition` is false."""
        if not condition:
            raise Mistake(message)

    def require_tuple(self, found, length: int, message: str) -> None:
        """Raise Mistake(message) where `found` is not a tuple or list of this length."""
        self.require(isinstance(found, tuple | list) and len(found) == length, message)

    def require_integer(self, found, message: str) -> None:
        """Raise Mistake(message) where `found` is not an int, also numpy's; a bool is none."""
        self.require(isinstance(found, int | np.integer) and not isinstance(found, bool), message)

    def check(self, args: tuple, suspects: dict | None = None, what: str = "the result", *,
              tolerance: float = 1e-4, where: str = "", **kwargs):
        """Compare the attempt with the package's answer on the same arguments; see `compare`.

        Args:
            where: put in front of the message where the attempt fails, such as "without audio".

        Returns:
            what the attempt has returned.
        """
        found = self._run(where, *args, **kwargs)
        self.compare(found, self.answer(*args, **kwargs), suspects, what, tolerance=tolerance)
        return found

    def check_views(self, *args, **kwargs) -> None:
        """Check with tensors whose numbers are not in order in memory, and with expanded ones."""
        for where, view in (("given a transposed tensor", _transposed),
                            ("given an expanded tensor", _expanded)):
            given = [view(a) if isinstance(a, Tensor) and a.ndim > 1 else a for a in args]
            self.check(given, where=where, what=f"{where}, the result", **kwargs)

    def _run(self, where: str, *args, **kwargs):
        try:
            return self.run(*args, **kwargs)
        except Mistake as mistake:
            raise Mistake(f"{where}: {mistake}" if where else str(mistake)) from None

    def check_dtypes(self, streams, *sizes, more: tuple = (), **kwargs) -> None:
        """Check that float64, bfloat16 and the dtypes `more` of the streams are kept."""
        for dtype in (torch.float64, torch.bfloat16, *more):
            name = str(dtype).removeprefix("torch.")
            given = [s > 0 if dtype == torch.bool else (9 * s).to(dtype) for s in streams]
            found = self._run(f"given {name}", *given, *sizes, **kwargs)
            self.require(isinstance(found, Tensor), "expected a tensor")
            self.require(found.dtype == dtype, f"given {name} it returns "
                         f"{str(found.dtype).removeprefix('torch.')}: keep the dtype. `F.pad` and "
                         "`x.new_zeros(...)` keep it, `torch.zeros(...)` alone does not")
            self.compare(found, self.answer(*given, *sizes, **kwargs),
                         what=f"given {name}, the result")

    def compare(self, found, expected, suspects: dict | None = None, what: str = "the result",
                *, tolerance: float = 1e-4) -> None:
        """Raise Mistake where `found` is not `expected`, in type, shape, dtype or value.

        Args:
            suspects: message -> the value that this mistake gives. The first that `found` equals
                is reported.
            tolerance: relative and absolute.
        """
        for message, wrong in (suspects or {}).items():
            if not _differ(expected, wrong, tolerance):
                continue  # with these sizes the mistake does not show
            if type(found) is type(wrong) and not _differ(wrong, found, tolerance):
                raise Mistake(message)
        if difference := _differ(expected, found, tolerance):
            raise Mistake(f"{what} {difference}")


def _transposed(x: Tensor) -> Tensor:
    """The same tensor, in memory with its axes in reverse order."""
    axes = tuple(reversed(range(x.ndim)))
    return x.permute(axes).contiguous().permute(axes)


def _expanded(x: Tensor) -> Tensor:
    """The first entry in all places of axis 0, without a copy."""
    return x[:1].expand_as(x)


def _differ(expected, found, tolerance: float) -> str:
    """How `found` differs from `expected`, in words; empty where it does not."""
    if isinstance(expected, tuple | list):
        return _differ_items(expected, found, tolerance)
    if isinstance(expected, np.ndarray | Tensor):
        return _differ_arrays(expected, found, tolerance)
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        if isinstance(found, Tensor | np.ndarray | np.generic) and np.size(found) == 1:
            found = found.item()
        if isinstance(found, bool) or not isinstance(found, int | float):
            return f"should be a number, found {_kind(found)}"
        near = abs(found - expected) <= tolerance * (1 + abs(expected))
        return "" if near else f"should be {_short(expected)}, found {_short(found)}"
    if isinstance(expected, dict):
        if not isinstance(found, dict) or set(found) != set(expected):
            return f"should be a dict with the keys {sorted(expected)}, found {_kind(found)}"
        return _first(((f"under {key!r}", one, found[key]) for key, one in expected.items()),
                      tolerance)
    if isinstance(expected, str) and isinstance(found, str):
        return _differ_texts(expected, found)
    same = type(found) is type(expected) or not isinstance(expected, bool | str | None)
    return "" if same and found == expected else f"should be {expected!r}, found {_kind(found)}"


def _differ_texts(expected: str, found: str, around: int = 20) -> str:
    """Where two texts differ first, with what is near that place."""
    if found == expected:
        return ""
    if max(len(expected), len(found)) <= 60:
        return f"should be {expected!r}, found {found!r}"
    place = len(os.path.commonprefix([expected, found]))
    start, end = max(0, place - around), place + around

    def near(text: str) -> str:
        shown = repr(text[start:end]) if place < len(text) else f"{text[start:end]!r}, its end"
        return f"{'...' * (start > 0)}{shown}{'...' * (end < len(text))}"

    return (f"is wrong from character {place + 1} on: should be {near(expected)}, found "
            f"{near(found)}")


def _first(entries, tolerance: float) -> str:
    """The first difference in entries (place, expected, found)."""
    for place, one, other in entries:
        if difference := _differ(one, other, tolerance):
            return f"{place} {difference}"
    return ""


def _differ_items(expected: tuple | list, found, tolerance: float) -> str:
    kind, place = ("tuple", "result") if isinstance(expected, tuple) else ("list", "entry")
    if not isinstance(found, tuple | list):
        return f"should be a {kind} of {len(expected)}, found {_kind(found)}"
    if len(found) != len(expected):
        return f"should have {len(expected)} entries, found {len(found)}"
    return _first(((f"{place} {i + 1} of {len(expected)}", one, other)
                   for i, (one, other) in enumerate(zip(expected, found, strict=True))), tolerance)


def _differ_arrays(expected: np.ndarray | Tensor, found, tolerance: float) -> str:
    kind = Tensor if isinstance(expected, Tensor) else np.ndarray
    if not isinstance(found, kind):
        return f"should be a {'tensor' if kind is Tensor else 'numpy array'}, found {_kind(found)}"
    if kind is Tensor and found.is_meta:
        return "is on the device `meta`, which holds no numbers; make it on the CPU"
    if tuple(found.shape) != tuple(expected.shape):
        return f"should have the shape {tuple(expected.shape)}, found {tuple(found.shape)}"
    one, other = map(_tensor, (expected, found))
    booleans = one.dtype == torch.bool, other.dtype == torch.bool
    if booleans[0] != booleans[1] or one.is_floating_point() < other.is_floating_point():
        return f"should be of dtype {expected.dtype}, found {found.dtype}"
    one, other = one.double(), other.double()
    if not other.isfinite().all() and one.isfinite().all():
        return "has values that are not finite (nan or inf)"
    wrong = ((one - other).abs() > tolerance * (1 + one.abs())).nan_to_num()
    wrong |= one.isinf() & (one != other)
    if not wrong.any():
        return ""
    place = tuple(wrong.nonzero()[0].tolist())
    where = f" at {list(place)}" if place else ""
    return (f"has the right shape, but {int(wrong.sum())} of {wrong.numel()} values are wrong. The "
            f"first{where}: found {_short(other[place])}, expected {_short(one[place])}")


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    """On the CPU; a copy of an array, as torch takes no reversed or read-only ones."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(np.array(values, order="C"))
    return values.detach().cpu()


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
    """Whether an argument is unchanged; types that cannot be compared count as unchanged."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.shape == after.shape and torch.equal(before, after)
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        return before.shape == after.shape and bool((before == after).all())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_alike, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return set(before) == set(after) and all(_alike(before[key], after[key]) for key in before)
    return True


def _failure(error: BaseException, thing) -> str:
    """An exception of the attempt: its type, the attempt's line that raised it, its message."""
    code = getattr(thing, "__code__", None) or getattr(getattr(thing, "__func__", 0), "__code__", 0)
    name = code.co_filename if code else None
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    where = f" in your line `{lines[-1].line}`" if lines and lines[-1].line else ""
    text = str(error).strip().split("\n")[0][:200]
    if text.startswith("view size is not compatible"):
        text = ("`.view` cannot join axes whose numbers are not neighbours in memory; use "
                "`.reshape` or `.flatten`")
    return f"it raised {type(error).__name__}{where}" + (f": {text}" if text else "")
