"""Exercises with checks, a learner's progress, widgets. Only notebooks and apps import it.

    from favor_mini.course import card, check, progress
"""

import importlib

_HOME = dict.fromkeys(("card", "check", "answer", "progress"), "exercise") | {"mine": "learner"}
__all__ = [*_HOME]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
