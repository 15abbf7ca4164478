"""Ask a model questions with known answers, and count: accuracy per question family, with intervals, beside chance."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from .metrics import matches


@dataclass(frozen=True)
class Row:
    """One question asked: `predicted` is what the model wrote, `others` are further answers that count as right."""

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
    """Accuracy over `count` questions, its 95 % Wilson interval (low, high), and the accuracy of guessing."""

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
        groups: the group of each family, in the order of the table (`world.questions.FAMILY_GROUPS`).
            None: families in the order of the rows, and no groups.
    """
    groups = dict.fromkeys(row.family for row in rows) if groups is None else groups
    found = [_score(family, [r for r in rows if r.family == family], "family") for family in groups]
    found += [_score(group, [r for r in rows if groups[r.family] == group], "group")
              for group in dict.fromkeys(filter(None, groups.values()))]
    return [s for s in [*found, _score("all", rows, "all")] if s.count]


def _score(name: str, rows: list[Row], kind: str) -> Score:
    if not rows:
        return Score(name, 0, 0.0, 0.0, 0.0, 0.0, kind)
    right = sum(r.correct for r in rows)
    interval = binomtest(right, len(rows)).proportion_ci(method="wilson")
    return Score(name, len(rows), right / len(rows), interval.low, interval.high, float(np.mean([r.chance for r in rows])), kind)


def score_table(found: list[Score]) -> str:
    """The scores as a text table."""
    lines = [f"{'questions':<30}{'count':>6}{'accuracy':>10}{'95 % interval':>17}{'chance':>8}"]
    for before, s in zip([None, *found], found, strict=False):
        if before and before.kind == "family" != s.kind:
            lines.append("-" * len(lines[0]))
        lines.append(f"{s.name:<30}{s.count:>6}{s.accuracy:>10.1%}{s.low:>9.1%} -{s.high:>6.1%}{s.chance:>8.1%}")
    return "\n".join(lines)
