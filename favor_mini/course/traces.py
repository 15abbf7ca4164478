"""What a learner's code may leave behind: settings, a working folder, exchanged functions.

    with usual():          # a check starts from the usual settings, whatever was set before
        with kept():       # what an attempt sets or exchanges does not reach the package's answer
            attempt(...)
"""

import builtins
import math
import os
import random
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _enter(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _device() -> torch.device | None:
    device = torch.get_default_device()
    return None if device == torch.device("cpu") else device


def _filters() -> list:
    return list(warnings.filters)


def _filter(filters: list) -> None:
    warnings.resetwarnings()  # Python also forgets what it has looked up
    warnings.filters[:] = filters


def _numpy_errors(kinds: dict) -> None:
    np.seterr(**kinds)


def _numpy_prints(options: dict) -> None:
    np.set_printoptions(**options)


_SETTINGS = (  # how to read a setting, and how to change it
    (torch.get_default_dtype, torch.set_default_dtype),
    (_device, torch.set_default_device),
    (np.geterr, _numpy_errors),
    (np.get_printoptions, _numpy_prints),
    (_filters, _filter),
    (_folder, _enter),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (sys.getrecursionlimit, sys.setrecursionlimit),
)
_USUAL = (torch.float32, None, {"divide": "warn", "over": "warn", "under": "ignore",
                                "invalid": "warn"})  # of the first three; the others stay
_RANDOM = ((torch.get_rng_state, torch.set_rng_state), (np.random.get_state, np.random.set_state),
           (random.getstate, random.setstate))
_OWNERS = (torch, nn.functional, torch.Tensor, torch.linalg, nn.Module, np, np.linalg, math,
           builtins)
_KNOWN = [dict(vars(owner)) for owner in _OWNERS]
_MISSING = object()


def _exchanged() -> list[tuple]:
    """Functions and classes that are not those of the start, as (owner, name, first, now)."""
    found = []
    for owner, known in zip(_OWNERS, _KNOWN, strict=True):
        now = vars(owner)
        found += [(owner, name, first, now.get(name, _MISSING)) for name, first in known.items()
                  if now.get(name, _MISSING) is not first and callable(first)]
        if isinstance(owner, type):  # a new name may hide an inherited one: torch.Tensor.softmax
            found += [(owner, name, _MISSING, now[name]) for name in now.keys() - known.keys()
                      if any(hasattr(base, name) for base in owner.__bases__)]
    return found


def _set(owner, name: str, value) -> None:
    if value is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _restore(values: list) -> None:
    for owner, name, first, _ in _exchanged():
        _set(owner, name, first)
    for (read, change), value in zip(_SETTINGS, values, strict=True):
        if read() != value:
            change(value)


@contextmanager
def kept():
    """Afterwards the settings are as they were before, and no function is exchanged.

    Random states go on.
    """
    values = [read() for read, _ in _SETTINGS]
    try:
        yield
    finally:
        _restore(values)


@contextmanager
def usual():
    """A block with torch's and numpy's own functions, float32 on the CPU, numpy's usual errors.

    Afterwards settings, exchanged functions and random states are as they were before.
    """
    exchanged, states = _exchanged(), [read() for read, _ in _RANDOM]
    try:
        with kept():
            _restore([*_USUAL, *(read() for read, _ in _SETTINGS[len(_USUAL):])])
            yield
    finally:
        for owner, name, _, value in exchanged:
            _set(owner, name, value)
        for (_, change), state in zip(_RANDOM, states, strict=True):
            change(state)
