"""Accuracy for each family of questions, with confidence intervals and the accuracy of guessing."""

from dataclasses import dataclass

import numpy as np

from .intervals import cluster_interval
from .metrics import matches


@dataclass(frozen=True)
class Row:
    """One question and the model's answer `predicted`; `others` are further correct answers."""

    clip: str
    family: str
    question: str
    answer: str
    predicted: str
    chance: float
    others: tuple[str, ...] = ()

    @property
    def correct(self) -> bool:
        return matches(self.predicted, (self.answer, *self.others))


@dataclass(frozen=True)
class Score:
    """Accuracy over `count` questions, its 95 % interval over clips (`cluster_interval`), and the
    accuracy of guessing."""

    name: str
    count: int
    accuracy: float
    low: float
    high: float
    chance: float
    kind: str = "family"  # or "group", or "all"


def scores(rows: list[Row], groups: dict[str, str] | None = None) -> list[Score]:
    """Accuracy of each family, then of each group of families, then of all rows.

    Args:
        groups: the group of each family, in the order of the table
            (`world.questions.FAMILY_GROUPS`). None: families in the order of the rows, no groups.
    """
    groups = dict.fromkeys(row.family for row in rows) if groups is None else groups
    parts = [(family, [r for r in rows if r.family == family], "family") for family in groups]
    parts += [(group, [r for r in rows if groups[r.family] == group], "group")
              for group in dict.fromkeys(filter(None, groups.values()))]
    return [_score(*part) for part in [*parts, ("all", rows, "all")] if part[1]]


def _score(name: str, rows: list[Row], kind: str) -> Score:
    right = [r.correct for r in rows]
    low, high = cluster_interval(right, [r.clip for r in rows])
    chance = float(np.mean([r.chance for r in rows]))
    return Score(name, len(rows), float(np.mean(right)), low, high, chance, kind)


def score_table(found: list[Score]) -> str:
    """The scores as a text table."""
    lines = [f"{'questions':<30}{'count':>6}{'accuracy':>10}{'95 % interval':>17}{'chance':>8}"]
    for before, s in zip([None, *found], found, strict=False):
        if before and before.kind == "family" != s.kind:
            lines.append("-" * len(lines[0]))
        lines.append(f"{s.name:<30}{s.count:>6}{s.accuracy:>10.1%}"
                     f"{s.low:>9.1%} -{s.high:>6.1%}{s.chance:>8.1%}")
    return "\n".join(lines)
