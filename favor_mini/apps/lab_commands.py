"""The commands that compare and measure; `cli` registers them."""

import os
import sys
from typing import Annotated

from .settings import FLAT, WORK, BenchSettings, Count, GymSettings, Model

WAIT_POLICY = os.environ.get("OMP_WAIT_POLICY")  # before `cli` sets it for this process


def experiment(name: str | None = None, /, *, run: bool = False,
               out: str = f"{WORK}/experiments") -> None:
    """
    Args:
        name: which experiment (default: list all).
        run: run it; trainings that are in the folder are not repeated.
        out: folder for figures and trainings.
    """
    from ..lab import experiments

    if name is None:
        print(experiments.listing())
        return
    from ..figures.lab import experiment as draw

    if run:
        experiments.run_experiment(name, out, progress=sys.stderr.isatty())
    found, shipped = experiments.known_results(name, out), experiments.shipped_results(name)
    # The finding in words is about the shipped numbers.
    same = str(found) == str(shipped)
    words = [experiments.describe(experiments.find_experiment(name))] if same else []
    print(found, *words, draw(name, out), sep="\n")


def gym(name: str | None = None, /, *,
        settings: Annotated[GymSettings, FLAT] = GymSettings()) -> None:
    """
    Args:
        name: a study that ships (default: list them, or compare the arms that are given).
    """
    from .gym import run_gym

    run_gym(name, settings)


def diagnose(checkpoint: str | None = None, /, *, scenes: Count = 60,
             parts: str | None = None) -> None:
    """
    Args:
        checkpoint: folder of a checkpoint, or mini (the default) or label-free, which ship.
        scenes: test clips to ask about.
        parts: Python file that registers parts of your own; it is run.
    """
    from ..lab.diagnose import diagnose

    signs = diagnose(Model(checkpoint=checkpoint, parts=parts).load_parts(), scenes)
    print(*signs, sep="\n")
    present = ", ".join(sign.points_to for sign in signs if sign.present)
    print(f"look at: {present}" if present else "no signature found")


def doctor(*, quick: bool = False, checkpoint: str | None = None) -> int:
    """
    Args:
        quick: skip the checks that take seconds: codecs and the checkpoint.
        checkpoint: folder of a checkpoint, or mini (the default) or label-free, which ship.
    """
    from .doctor import examine

    return examine(checkpoint, quick, WAIT_POLICY)


def bench(*, settings: Annotated[BenchSettings, FLAT] = BenchSettings()) -> None:
    from .bench import bench

    bench(settings)
