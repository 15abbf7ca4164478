"""The numbers on the slides, from configs, scripts and shipped results.

A slide can call every function of this file: `{{ final("sync", "sync=concat", tokens=1) }}`.
Rates are returned as text, "96 %".
"""

from functools import cache

import pandas as pd
import torch

from docs.tools.results import DATA, sample_scores
from favor_mini import checkpoint_path
from favor_mini.aveb.benchmark import Results
from favor_mini.config import FavorConfig
from favor_mini.course.exercise import exercises
from favor_mini.course.exercises.nb12 import count_parameters, memory_of
from favor_mini.evaluation.intervals import wilson
from favor_mini.lab.claims import claims
from favor_mini.lab.experiments import shipped_results
from favor_mini.lab.gym.studies import shipped_study
from favor_mini.model import FavorForConditionalGeneration
from favor_mini.windows import num_windows
from favor_mini.world.samples import read_samples

CLIP = "clip_12"  # a bell rings while one shape is shown that does not change


def percent(share: float, digits: int = 0) -> str:
    """A share between 0 and 1 as text."""
    return f"{100 * share:.{digits}f} %"


def grouped(number: int) -> str:
    """A number for a formula, with commas between thousands."""
    return f"{number:,}".replace(",", "{,}")


def config(size: str = "paper") -> FavorConfig:
    """The config of the paper's sizes, or of the shipped checkpoint with the name `size`."""
    return (FavorConfig.paper() if size == "paper" else
            FavorConfig.from_pretrained(checkpoint_path(size)))


@cache
def sample():
    """The sample clip of the slides: its file, its script, its questions."""
    return next(each for each in read_samples() if each.name == CLIP)


def two_lists() -> str:
    """A table of what is seen and what is heard in the clip, each in alphabetical order."""
    moments = sample().scene.moments
    lists = (sorted(m.subject for m in moments), sorted(m.heard.name for m in moments))
    return _table("seen|heard", zip(*lists, strict=True))


def _table(head: str, rows) -> str:
    """A Markdown table; columns of numbers are aligned to the right by a colon in `head`."""
    columns = head.split("|")
    marks = ["--:" if name.startswith(":") else "---" for name in columns]
    lines = [[name.lstrip(":") for name in columns], marks, *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


_study, _experiment = cache(shipped_study), cache(shipped_results)
_summary = cache(lambda study: _study(study).summary)
_differences = cache(lambda study: _study(study).differences)
_of_model = cache(lambda experiment: _experiment(experiment).differences())
_claims = cache(claims)


def _row(table: pd.DataFrame, **wanted) -> pd.Series:
    """The one row of a table with these values.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    if len(found) != 1:
        raise ValueError(f"found {len(found)} rows with {wanted}, expected 1. Fix the call on the "
                         "slide")
    return found.iloc[0]


def final(study: str, arm: str, **cell) -> str:
    """The median accuracy at the end of the trainings of an arm, in one cell of a gym study."""
    return _row(_summary(study), arm=arm, **cell)["final"].replace("%", " %")


def steps(study: str, arm: str, **cell) -> str:
    """The median of the steps until 90 % are right; "> 350" if most trainings end before."""
    return _row(_summary(study), arm=arm, **cell)["steps to 90 %"]


def gym(study: str, arm: str, **cell) -> str:
    """The difference of an arm from the first one, averaged over the training, as text."""
    return _difference(_row(_differences(study), arm=arm, **cell))


def model(experiment: str, arm: str, questions: str = "all") -> str:
    """The difference of an arm of the whole model from the shipped settings, as text."""
    return _difference(_row(_of_model(experiment), arm=arm,
                            questions=questions))


def _difference(row: pd.Series) -> str:
    return f"{row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f})"


def significant(where: str, name: str, arm: str, **cell) -> str:
    """"better" or "worse" if a difference is significant after correction, else "".

    Args:
        where: "gym", or "model" for an experiment with the whole model, where `cell` needs
            `questions` unless they are "all".
    """
    table = _differences(name) if where == "gym" else _of_model(name)
    row = _row(table, arm=arm, **({} if where == "gym" else {"questions": "all"}) | cell)
    return ("worse" if row.difference < 0 else "better") if row.verdict.startswith((
        "worse", "better")) else ""


def reached(experiment: str, arm: str, questions: str = "all") -> str:
    """The mean accuracy of an arm of the whole model."""
    found = _experiment(experiment).table
    return percent(found[(found.arm == arm) & (found.questions == questions)].accuracy.mean())


def cosine(arm: str) -> str:
    """The mean cosine of the queries of a window, by the arm of the experiment "signatures"."""
    return f"{_experiment('signatures').cosines[arm]:.2f}"


def delayed(questions: str, seconds: str) -> str:
    """The shipped model's accuracy on the sample clips with delayed sound."""
    return percent(next(s for s in sample_scores(seconds) if s.name == questions).accuracy)


def task(name: str, model: str = "favor-mini") -> pd.Series:
    """The row of a model or baseline in a task of mini-AVEB: value, low, high, count."""
    return _row(Results.load(DATA / "tasks.json").table, task=name, model=model)


def card(checkpoint: str, *cells: str, digits: int = 0) -> str:
    """The number at the end of the one row of a checkpoint's card that begins with these cells; if
    there is only one cell, of a row of two."""
    lines = (checkpoint_path(checkpoint) / "README.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    (found,) = (row[-1] for row in rows
                if row[:len(cells)] == [*cells] and (len(cells) > 1 or len(row) == 2))
    return percent(float(found.removesuffix("%")) / (100 if found.endswith("%") else 1), digits)


def interval(right: int, count: int) -> str:
    """Wilson's 95 % interval of `right` of `count`."""
    return " to ".join(percent(end) for end in wilson(right, count))


def windows(seconds: float) -> int:
    """The number of the paper's windows in a clip."""
    paper = config()
    return num_windows(round(seconds * paper.frame_rate), paper.window_frames)


@cache
def parameters(size: str = "paper") -> dict[str, tuple[int, int]]:
    """By part, all parameters and the trained ones."""
    with torch.device("meta"):
        return count_parameters(FavorForConditionalGeneration(config(size)))


def share_trained(size: str = "paper") -> float:
    """The share of the parameters that are trained."""
    total, trained = map(sum, zip(*parameters(size).values(), strict=True))
    return trained / total


@cache
def memory(frozen: bool) -> float:
    """Gigabytes of weights, gradients and AdamW's states in float32 at the paper's sizes.

    Args:
        frozen: as the paper trains; else all parts are trained.
    """
    with torch.device("meta"):
        full = FavorForConditionalGeneration(config())
    if not frozen:
        full.requires_grad_(True)
    return sum(memory_of(full)) / 1e9


def verdict(part: str) -> str:
    """The course's verdict on a claim of the paper."""
    return _row(_claims(), part=part).verdict


def homework(*notebooks: str) -> str:
    """A table of notebooks with the number of their exercises and the minutes."""
    found = [[e.minutes for e in exercises().values() if e.notebook == n] for n in notebooks]
    return _table("notebook|:exercises|:minutes", [
        (n, len(minutes), sum(minutes)) for n, minutes in zip(notebooks, found, strict=True)])
