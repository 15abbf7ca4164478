"""What the contracts of the slots share: single checks, and the temporal receptive field."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Sizes of the test tensors. All differ, so that no two axes can be confused. N > K: there are
# enough queries for every frame.
K, V, A, D_V, D_A, N, WIDTH, FRAMES = 4, 3, 5, 6, 10, 7, 8, 9
CHANGED = 1e-9  # in float64: far above rounding errors, far below real changes


@dataclass
class Check:
    """One check of a contract: whether it passed, and what was measured."""

    what: str
    passed: bool
    measured: str = ""

    def __str__(self) -> str:
        mark = "[OK]" if self.passed else "[FAIL]"
        return f"{mark:<7}{self.what}" + (f": {self.measured}" if self.measured else "")


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def distance_of(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item() if one.numel() else 0.0


def check_same(what: str, one: Tensor, other: Tensor, within: float = 1e-8) -> Check:
    if one.shape != other.shape:
        return Check(what, False, f"shapes {tuple(one.shape)} and {tuple(other.shape)}")
    distance = distance_of(one, other)
    return Check(what, distance <= within, f"largest difference {distance:.1e}")


def check_shape(what: str, found: Tensor, shape: tuple, dtype=None) -> Check:
    passed = tuple(found.shape) == shape and dtype in (None, found.dtype)
    wanted = "" if passed else f", expected {shape} {dtype_name(dtype) if dtype else ''}"
    return Check(what, passed, f"{tuple(found.shape)} {dtype_name(found.dtype)}{wanted}")


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_none(what: str, wrong, said: str) -> Check:
    """Passes if nothing is `wrong`; `said` comes before the list."""
    return Check(what, not wrong, f"{said} {', '.join(map(str, wrong))}" if wrong else "")


def check_finite(what: str, *values: Tensor) -> Check:
    return Check(f"{what} finite", all(v.isfinite().all() for v in values))


def check_batch(run: Callable, *inputs: Tensor, what: str = "clips") -> Iterator[Check]:
    """The outputs of `run(*inputs)` for a batch are those of its rows, one after another."""
    copies = [x.clone() for x in inputs]
    found = run(*inputs)
    yield Check("does not change its inputs", all(map(torch.equal, inputs, copies)))
    rows = [run(*row) for row in zip(*(x.split(1) for x in inputs), strict=True)]
    yield check_same(f"a batch equals its {what} one by one", found, torch.cat(rows))
    for dtype in (torch.float32, torch.bfloat16):
        found = run(*(x.to(dtype) if x.is_floating_point() else x for x in inputs)).dtype
        yield Check(f"keeps {dtype_name(dtype)}", found == dtype, dtype_name(found))


def measure_receptive_field(encode: Callable[[Tensor], Tensor], steps: Tensor) -> np.ndarray:
    """The temporal receptive field, (T, T) bool, [i, j]: changing frame j changes the encoding of
    frame i, or query i where `encode` returns queries.

    Args:
        encode: maps steps (1, T, P, D) to encodings of the frames (1, T, ...).
        steps: (1, T, P, D), float64.
    """
    before = encode(steps)[0].flatten(1)  # [T, ...]
    columns = []
    for j in range(steps.shape[1]):
        changed = steps.clone()
        changed[:, j] += noise(*steps.shape[2:], seed=j + 1)
        distance = (encode(changed)[0].flatten(1) - before).abs().amax(1)
        columns.append(~(distance <= CHANGED))  # NaN counts as changed
    return torch.stack(columns, dim=1).numpy()


def check_causal(declared: bool | None, square: np.ndarray, where: str = "") -> Check:
    leaks = []
    for i, row in enumerate(square, 1):
        if later := [str(j + 1) for j in np.flatnonzero(row) if j >= i]:
            leaks.append(f"frame {i} depends on the later frame{'s' * (len(later) > 1)} "
                         + ", ".join(later))
    what = {True: "declared causal", False: "declared not causal", None: "causality not declared"}
    return Check(what[declared] + where, not (declared and leaks),
                 "; ".join(leaks) or "no frame depends on a later one")


def check_uses(what: str, square: np.ndarray) -> Check:
    unused = np.flatnonzero(~square.any(0)) + 1
    return check_none(f"uses {what}", list(unused), "nothing depends on frame")
