"""Comparisons in the gym: all trainings of a plan, their learning curves, and what differs.

    favor-mini gym --vary sync=concat,interleave,append --tasks recall --seeds 5
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from ...keys import code_digest, digest, library_versions, part_digest
from ...registry import SLOTS, find
from ...storage import write_json
from ...world.rows import scene_code
from ..plan import arm_name, load_parts
from ..statistics import FEW_SEEDS, TAIL, verdict
from .model import Gym
from .train import train
from .world import World, train_world

REACHED = 0.9  # accuracy of "steps to 90 %"
SCORES = {"mean": "mean accuracy while learning", "final": "accuracy at the end"}


@dataclass(frozen=True)
class GymPlan:
    """Arms of the gym, in pairs by seed.

    Args:
        arms: changes to `fixed`, fields of `kind`, one dict per arm. The first is the baseline.
        fixed: fields that all arms share.
        seeds: trainings of each arm.
        kind: `Gym`, clips of symbols, or `World`, films of the mini world.
    """

    arms: list[dict]
    fixed: dict = field(default_factory=dict)
    seeds: int = 5
    kind: type = Gym

    def __post_init__(self):
        if self.seeds < 1:
            raise ValueError(f"found seeds={self.seeds}, expected at least 1")
        merged = [{**self.fixed, **arm} for arm in self.arms]
        if not merged or any(one in merged[:i] for i, one in enumerate(merged)):
            raise ValueError("the gym needs one or more arms, all different; found "
                             f"{list(map(arm_name, self.arms))}")
        for changes in merged:
            known = [f.name for f in fields(self.kind)]
            if unknown := set(changes) - {*known}:
                raise ValueError(f"{sorted(unknown)[0]} is no field of the gym. Fix: choose among "
                                 f"{', '.join(known)}")
            self.kind(**changes)  # an impossible value fails here

    def runs(self) -> list[tuple[str, Gym | World, int]]:
        """(name of the arm, settings, seed), seed by seed: what is done is always complete."""
        return [(arm_name(arm) if arm else "baseline", self.kind(**{**self.fixed, **arm}), seed)
                for seed in range(self.seeds) for arm in self.arms]


def gym(plan: GymPlan, out="build/gym", *, jobs: int = 1, parts: str | None = None,
        progress: bool = True) -> "Curves":
    """Make the trainings of a plan that `out` does not hold yet; returns their learning curves.

    Args:
        jobs: processes, of one thread each. They know parts of your own only from a file.
        parts: Python file that registers parts; it is run.

    Raises:
        ValueError: parts from a notebook, with more than one process.
    """
    if parts:
        load_parts(parts)
    runs, out = plan.runs(), Path(out)
    files = [out / f"{key}.json" for key in map(_key, runs)]
    todo = [(run, file) for run, file in zip(runs, files, strict=True) if not file.is_file()]
    jobs = max(1, min(jobs, len(todo)))
    if jobs > 1 and any(_module(g, slot) == "__main__" for (_, g, _), _ in todo for slot in SLOTS):
        raise ValueError("found a part of this notebook and more than one process, which cannot "
                         "import it. Fix: jobs=1, or define it in a file and pass parts=")
    if jobs == 1:
        for number, (run, file) in enumerate(todo, 1):
            _train(run, file)
            _report(number, len(todo), run, file, progress)
    elif todo:
        with ProcessPoolExecutor(jobs, get_context("spawn"), _start, (parts,)) as pool:
            waiting = {pool.submit(_train, run, file): (run, file) for run, file in todo}
            for number, done in enumerate(as_completed(waiting), 1):
                done.result()
                _report(number, len(todo), *waiting[done], progress)
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return Curves([{**r, "arm": arm, "seed": seed}
                   for r, (arm, _, seed) in zip(results, runs, strict=True)])


def _start(parts: str | None) -> None:
    """In a new process: one thread, and the user's parts."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if parts:
        load_parts(parts)


def _train(run: tuple[str, Gym | World, int], file: Path) -> None:
    _, settings, seed = run
    if file.is_file():
        return  # another command has made it meanwhile
    found = (train(settings, seed) if isinstance(settings, Gym) else
             train_world(settings, seed, file.parent / "films"))
    write_json(file, {"gym": asdict(settings), "seed": seed, **found})


def _module(settings: Gym | World, slot: str) -> str:
    return find(slot, getattr(settings, slot)).__module__


def _key(run: tuple[str, Gym | World, int]) -> str:
    """All that decides a learning curve: settings, seed, code and versions."""
    _, settings, seed = run
    own = {slot: part_digest(find(slot, getattr(settings, slot))) for slot in SLOTS}
    return digest(json.dumps([asdict(settings), seed, own, library_versions("torch")],
                             sort_keys=True).encode(),
                  code_digest("lab.gym.train").encode(),
                  *([code_digest("lab.gym.world").encode(), *scene_code()]
                    if isinstance(settings, World) else []))


def _report(number: int, total: int, run: tuple, file: Path, progress: bool) -> None:
    if progress:
        name, _, seed = run
        found = json.loads(file.read_text(encoding="utf-8"))
        score = ", ".join(f"{task} {value:.0%}" for task, value in found["curve"][-1][1].items())
        print(f"{number} of {total}: {name}, seed {seed}: {score} after {found['steps']} steps "
              f"({found['seconds']:.0f} s)", file=sys.stderr, flush=True)


def corrected(found: pd.DataFrame) -> pd.DataFrame:
    """Intervals and verdicts from the columns `difference`, `error` and `seeds`, corrected for the
    number of rows."""
    rows = []
    for r in found.itertuples():
        half, wider = (t.ppf(1 - tail, max(1, r.seeds - 1)) * r.error
                       for tail in (TAIL, TAIL / len(found)))
        said = verdict(r.difference, r.difference - half, r.difference + half, r.seeds)
        if r.seeds >= FEW_SEEDS and half < abs(r.difference) <= wider:
            said = f"not significant after correction for {len(found)} intervals"
        rows.append({"low": r.difference - half, "high": r.difference + half,
                     "significant": r.seeds >= FEW_SEEDS and abs(r.difference) > wider,
                     "compared": len(found), "verdict": said})
    return found.assign(**pd.DataFrame(rows, index=found.index))


class Curves:
    """The learning curves of a plan's trainings. Arms keep their order; the first is the baseline.

    Args:
        results: one dict per training: "arm", "seed", and what `train.train` returns.

    Raises:
        ValueError: an arm lacks a seed that another arm has.
    """

    def __init__(self, results: list[dict]):
        self.results = results
        self.arms = list(dict.fromkeys(r["arm"] for r in results))
        self.seeds = sorted({r["seed"] for r in results})
        if len({(r["arm"], r["seed"]) for r in results}) != len(self.arms) * len(self.seeds):
            raise ValueError("an arm lacks a seed that another arm has. Fix: finish the plan")
        self.tasks = list(dict.fromkeys(task for r in results for task in r["curve"][0][1]))

    @property
    def curves(self) -> pd.DataFrame:
        """Tidy: arm, seed, task, step, accuracy. After the end of a solved training, its last
        accuracy is repeated at the last step of the plan."""
        rows = []
        for r in self.results:
            last = r["gym"]["steps"]
            points = r["curve"] + ([[last, r["curve"][-1][1]]] if r["steps"] < last else [])
            rows += [{"arm": r["arm"], "seed": r["seed"], "task": task, "step": step,
                      "accuracy": value} for step, found in points for task, value in found.items()]
        return pd.DataFrame(rows)

    @property
    def table(self) -> pd.DataFrame:
        """Tidy: one row per arm, seed and task.

        `mean`: accuracy averaged over the steps of the training, chance at step 0; `reached`: the
        first point with 90 %, NaN if there is none; `final`; and the connector's arithmetic.
        """
        rows, curves = [], self.curves
        for r in self.results:
            for task in r["curve"][0][1]:
                c = curves[(curves.arm == r["arm"]) & (curves.seed == r["seed"])
                           & (curves.task == task)]
                steps = np.concatenate([[0], c.step])
                chance = r["chance"][task] if "chance" in r else Gym(**r["gym"]).chance(task)
                values = np.concatenate([[chance], c.accuracy])
                above = c.step[c.accuracy >= REACHED]
                rows.append({
                    "arm": r["arm"], "seed": r["seed"], "task": task,
                    "chance": chance,
                    "mean": np.trapezoid(values, steps) / steps[-1],
                    "reached": float(above.iloc[0]) if len(above) else np.nan,
                    "final": values[-1], "limit": r["gym"]["steps"],
                    **{k: r[k] for k in ("parameters", "mflop", "similarity", "seconds")}})
        return pd.DataFrame(rows)

    def differences(self, score: str = "mean") -> pd.DataFrame:
        """Each arm's score minus the baseline's, in points, paired by seed, with 95 % intervals.

        The interval is Student's t over the seeds: other trainings, other codes, other clips. The
        verdicts are corrected for the number of rows of this table (Bonferroni).
        """
        wide = self.table.pivot_table(index=["task", "arm"], columns="seed", values=score)
        pairs = [(arm, task) for arm in self.arms[1:] for task in self.tasks
                 if {(task, arm), (task, self.arms[0])} <= set(wide.index)]
        n, rows = len(self.seeds), []
        for arm, task in pairs:
            by_seed = 100 * (wide.loc[(task, arm)] - wide.loc[(task, self.arms[0])]).to_numpy()
            rows.append({"arm": arm, "questions": task, "difference": by_seed.mean(), "seeds": n,
                         "error": by_seed.std(ddof=min(1, n - 1)) / np.sqrt(n)})
        return corrected(pd.DataFrame(rows))

    @property
    def summary(self) -> pd.DataFrame:
        """One row per arm and task: medians over the seeds, and how many of them reached 90 %.

        `cosine`: mean over the pairs of queries of a window, at the end."""
        rows = []
        for (arm, task), c in self.table.groupby(["arm", "task"], sort=False):
            steps = c.reached.fillna(np.inf).median()
            rows.append({
                "arm": arm, "task": task, "chance": f"{c.chance.iloc[0]:.0%}",
                "steps to 90 %": f"{steps:.0f}" if np.isfinite(steps) else f"> {c.limit.max()}",
                "reached": f"{c.reached.notna().sum()} of {len(c)}",
                "final": f"{c.final.median():.0%}", "mean": f"{c['mean'].median():.0%}",
                "parameters": int(c.parameters.median()), "MFLOP": round(c.mflop.median(), 2),
                "cosine": f"{c.similarity.median():+.2f}",
                "seconds": round(c.seconds.mean(), 1)})
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        lines = ["medians over the seeds; mean: accuracy averaged over the steps of the training",
                 self.summary.to_string(index=False)]
        if len(self.arms) > 1:
            found = self.differences()
            lines += ["", f"mean accuracy while learning, minus that of {self.arms[0]!r}, in "
                      "points, paired by seed (95 % interval):", *(
                          f"  {r.arm:<34} {r.questions:<10} {r.difference:+6.1f}  "
                          f"({r.low:+.1f} to {r.high:+.1f})  {r.verdict}"
                          for r in found.itertuples())]
        return "\n".join(lines)

    def save(self, file) -> None:
        """JSON, one line per training."""
        lines = ",\n".join(json.dumps(r, sort_keys=True) for r in self.results)
        Path(file).write_text(f"[\n{lines}\n]\n", encoding="utf-8")

    @classmethod
    def load(cls, file) -> "Curves":
        return cls(json.loads(Path(file).read_text(encoding="utf-8")))
