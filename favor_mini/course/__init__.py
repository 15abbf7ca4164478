"""What the notebooks need and the mechanism never imports: exercises, figures, widgets, and what builds the notebooks.

    from favor_mini.course import card, check, progress
"""

import importlib

_HOME = {"card": "exercise", "check": "exercise", "answer": "exercise", "progress": "learner", "mine": "learner"}
__all__ = [*_HOME]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
