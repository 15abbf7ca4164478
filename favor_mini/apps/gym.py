"""`favor-mini gym`: studies that ship, and comparisons of your own, with their figures."""

import os
import sys
from pathlib import Path

from ..figures.gym import learning_curves, phase_diagram
from ..figures.style import save
from ..lab.gym import studies
from ..lab.gym.model import Gym
from ..lab.gym.results import GymPlan, gym
from ..lab.gym.world import World
from ..lab.plan import load_parts, parse_changes
from ..registry import SLOTS
from ..storage import atomic_write
from .settings import GymSettings

WORDS = ("tasks", "checkpoint", "about", *SLOTS)
BASELINE = ["sync=concat", "sync=interleave", "sync=append"]


def run_gym(name: str | None, settings: GymSettings) -> None:
    """A study by name; else the arms of the settings; else the list of studies."""
    own = (settings.vary or settings.arm or settings.fixed or settings.tasks
           or settings.world)
    if name and own:
        raise ValueError(f"found the study {name!r} and arms. Fix: name a study, or describe arms "
                         "by --vary, --arm, --set and --tasks")
    jobs = settings.jobs or min(2, os.cpu_count() or 1)
    if name:
        _study(name, settings.out, settings.run, jobs)
    elif own:
        _own(settings, jobs)
    else:
        print(studies.listing())


def _study(name: str, out: str, run: bool, jobs: int) -> None:
    study = studies.find_study(name)
    found = studies.run_study(name, out, jobs=jobs) if run else studies.known_study(name, out)
    if found is None:
        raise FileNotFoundError(f"no results of {name!r} in {out} or in the package. "
                                f"Fix: favor-mini gym {name} --run")
    file = Path(out) / f"{name}.png"
    save(phase_diagram(found), file)
    print(found, studies.describe(study), file, sep="\n\n")


def _own(settings: GymSettings, jobs: int) -> None:
    if settings.parts:
        load_parts(settings.parts)
    field, _, values = (settings.vary or "").partition("=")
    arms = [f"{field}={value}" for value in values.split(",")] if settings.vary else settings.arm
    fixed = parse_changes(settings.fixed or "", WORDS)
    if settings.tasks and settings.world:
        raise ValueError("found --tasks and --world, whose films have their own questions. Fix: "
                         "leave one out")
    if settings.tasks:
        fixed["tasks"] = settings.tasks
    plan = GymPlan([parse_changes(arm, WORDS) for arm in arms or [""]], fixed, settings.seeds,
                   World if settings.world else Gym)
    found = gym(plan, settings.out, jobs=jobs, parts=settings.parts,
                progress=sys.stderr.isatty() or settings.verbose)
    out = Path(settings.out)
    with atomic_write(out / "curves.csv") as unfinished:
        found.curves.to_csv(unfinished, index=False)
    with atomic_write(out / "table.csv") as unfinished:
        found.table.to_csv(unfinished, index=False)
    save(learning_curves(found), out / "curves.png")
    print(found, "", *(out / file for file in ("curves.csv", "table.csv", "curves.png")), sep="\n")
