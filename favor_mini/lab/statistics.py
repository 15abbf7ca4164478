"""Statistics of a comparison: accuracies, paired differences with intervals, and verdicts."""

import json
import re
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from ..evaluation.intervals import QUANTILES, cluster_bootstrap
from ..world.questions import FAMILY_GROUPS, GROUPS

# A group of questions across the three groups of `world.questions.GROUPS`, and its families.
NEXT, NEXT_FAMILIES = "what comes next", ("next", "seen_after", "heard_after")
LEFT_OUT = ("about what was left out", "about the rest")
FREE = ("asr", "avsr", "ac", "ic")  # tasks whose answers are free text: transcripts and captions
FEW_SEEDS = 3  # with fewer, the spread between trainings is unknown: no verdict
FEW_CLIPS = 10  # with fewer, a 95 % bootstrap interval covers less than 90 %: no verdict
TAIL = 0.025  # on either side of a 95 % interval
COSTS = ["parameters", "gflop", "seconds"]  # of a run


class Comparison:
    """The results of a comparison's runs. Arms keep their order; the first is the baseline.

    Args:
        results: from `run.run`, one dict per run. All runs were asked the same questions.

    Raises:
        ValueError: an arm lacks a seed that another arm has, or the questions differ.
    """

    def __init__(self, results: list[dict]):
        self.results = results
        self.arms = list(dict.fromkeys(r["arm"] for r in results))
        self.seeds = sorted({r["seed"] for r in results})
        self.runs = {(r["arm"], r["seed"]): r for r in results}
        if not len(results) == len(self.runs) == len(self.arms) * len(self.seeds):
            lacking = {(a, s) for a in self.arms for s in self.seeds} - set(self.runs)
            raise ValueError(f"found {len(results)} runs, expected one of each arm and seed; there "
                             f"is no {sorted(lacking)}. Fix: finish or leave out these arms")
        rows = results[0]["rows"]
        asked = {tuple((row["clip"], row["family"], row["question"]) for row in r["rows"])
                 for r in results}
        if len(asked) > 1:
            raise ValueError("the runs were asked different questions. "
                             "Fix: compare runs of one plan only")
        self.clip = np.array([row["clip"] for row in rows])  # [questions]
        self.families = tuple(row["family"] for row in rows)
        self.chance = np.array([row["chance"] for row in rows])
        self.right = np.array([[[row["right"] for row in self.runs[arm, seed]["rows"]]
                                for seed in self.seeds] for arm in self.arms], bool)
        words = [set(re.findall(r"\w+", f"{row['question']} {row.get('answer')}")) for row in rows]
        self.left_out = {}  # arm: [questions] bool, does it contain a name that the arm left out?
        for run in results:
            if without := run.get("changes", {}).get("without"):
                names = without.split("+")
                self.left_out[run["arm"]] = np.array([not w.isdisjoint(names) for w in words])

    def chosen(self, group: str, arm: str | None = None) -> np.ndarray:
        """[questions] bool: those of a group in `groups`, of a family, or "all". The two groups of
        `LEFT_OUT` depend on the arm."""
        if group in LEFT_OUT and arm in self.left_out:
            return self.left_out[arm] == (group == LEFT_OUT[0])
        return np.array([group in ("all", f, FAMILY_GROUPS.get(f))
                         or group == NEXT and f in NEXT_FAMILIES for f in self.families])

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of the tables: by the streams that a question needs, and `NEXT`; or each of
        the eleven tasks; then `LEFT_OUT`, if an arm left names out; then "all"."""
        by_stream = set(self.families) & set(FAMILY_GROUPS)
        groups = (*GROUPS, NEXT) if by_stream else dict.fromkeys(self.families)
        return (*groups, *(LEFT_OUT if self.left_out else ()), "all")

    @property
    def table(self) -> pd.DataFrame:
        """Tidy: one row per arm, seed and group of questions, with the cost of the run."""
        rows, groups = [], dict.fromkeys((*self.groups, *self.families))
        for (arm, seed), right in zip(product(self.arms, self.seeds),
                                      self.right.reshape(-1, len(self.chance)), strict=True):
            costs = {name: self.runs[arm, seed][name] for name in COSTS}
            for group in groups:
                if (chosen := self.chosen(group, arm)).any():
                    rows.append({
                        "arm": arm, "seed": seed, "questions": group, "count": int(chosen.sum()),
                        "chance": self.chance[chosen].mean(), "accuracy": right[chosen].mean(),
                        **costs})
        return pd.DataFrame(rows)

    @property
    def curves(self) -> pd.DataFrame:
        """Tidy: arm, seed, stage, step, cross_entropy, diversity, as logged in training; empty for
        results without learning curves."""
        return pd.DataFrame([{"arm": r["arm"], "seed": r["seed"], **point}
                             for r in self.results for point in r.get("curve", ())])

    def differences(self, groups=None) -> pd.DataFrame:
        """Each arm's accuracy minus the baseline's, in points, paired by seed and question.

        `low` and `high` are a 95 % interval. It covers two sources of variation. Other trainings:
        Student's t over the seeds. Other clips: a bootstrap over clips. The verdicts are corrected
        for the number of intervals in this table: choose the groups before you look.
        """
        rows, gains, weights = [], [], []
        right = dict(zip(self.arms, self.right.astype(float), strict=True))
        for arm, group in product(self.arms[1:], groups or self.groups):
            if (chosen := self.chosen(group, arm)).any():
                rows.append({"arm": arm, "questions": group})
                gains.append((right[arm] - right[self.arms[0]]) * chosen)
                weights.append(chosen)
        return pd.DataFrame(rows).join(self.paired(gains, weights))

    def paired(self, gains: list, weights: list, words=("better", "worse")) -> pd.DataFrame:
        """Paired differences with their intervals, in hundredths, one row for each entry.

        Args:
            gains: arrays [seeds, questions]; the difference is their sum over the weights' sum.
            weights: arrays [questions].
            words: for a positive and for a negative difference.

        `spread` is the standard deviation over seeds; `of_clips` is half the width of the interval
        that the choice of clips alone gives.
        """
        seeds = len(self.seeds)
        clips = [len(np.unique(self.clip[weight > 0])) for weight in weights]
        compared = sum(n >= FEW_CLIPS for n in clips) if seeds >= FEW_SEEDS else 0
        tails = np.array([TAIL, TAIL / max(1, compared)])[:, None]  # plain, corrected
        rows = []
        for gain, weight, n in zip(gains, weights, clips, strict=True):
            by_seed = 100 * gain.sum(1) / weight.sum()
            mean, spread = by_seed.mean(), by_seed.std(ddof=min(1, seeds - 1))
            error = spread / np.sqrt(seeds)
            of_seeds = t.ppf(1 - tails, max(1, seeds - 1)) * error
            drawn = cluster_bootstrap(100 * gain.mean(0), self.clip, weight)
            of_clips = (np.quantile(drawn, QUANTILES) - mean) * (
                norm.ppf(1 - tails) / norm.ppf(1 - TAIL))  # [plain and corrected, 2]
            lows, highs = (mean + np.array([-1, 1]) * np.hypot(of_seeds, of_clips)).T
            plain, corrected = (lows > 0) | (highs < 0)
            enough = seeds >= FEW_SEEDS and n >= FEW_CLIPS
            said = verdict(mean, lows[0], highs[0], seeds, words)
            if seeds >= FEW_SEEDS and not enough:
                said = f"too few clips to tell ({n}; at least {FEW_CLIPS})"
            elif enough and plain and not corrected:
                said = f"not significant after correction for {compared} intervals"
            rows.append({
                "difference": mean, "low": lows[0], "high": highs[0], "seeds": seeds, "clips": n,
                "spread": spread, "of_clips": np.diff(of_clips[0])[0] / 2,
                "significant": enough and bool(corrected), "compared": compared, "verdict": said})
        return pd.DataFrame(rows)

    def verdicts(self, groups=None) -> str:
        """The differences in words, one line per arm and group."""
        found = self.differences(groups)
        lines = [f"{r.arm}, {r.questions}: {r.difference:+.1f} points "
                 f"({r.low:+.1f} to {r.high:+.1f}); {r.verdict}" for r in found.itertuples()]
        return "\n".join(textwrap.fill(line, 100, subsequent_indent="    ")
                         for line in [*lines, correction(found)])

    def __str__(self) -> str:
        found, table = self.differences(), self.table
        wide = table[table.questions.isin(self.groups)].pivot_table(
            index="arm", columns="questions", values="accuracy", sort=False).mul(100).round(1)
        costs = table.groupby("arm", sort=False)[COSTS].mean().round(2).astype({"parameters": int})
        lines = [f"  {r.arm:<32} {r.questions:<30} {r.difference:+6.1f}  "
                 f"({r.low:+.1f} to {r.high:+.1f})  {r.verdict}" for r in found.itertuples()]
        return "\n".join([
            "accuracy in %, mean over seeds", wide.join(costs).to_string(), "",
            f"difference from {self.arms[0]!r} in points, paired by seed and question "
            "(95 % interval):", *lines, correction(found)])

    def save(self, file) -> None:
        """Small JSON: the questions once, and for each run a 0 or 1 per question; the wrong
        transcripts and captions in full."""
        questions = [{k: row[k] for k in ("clip", "family", "question", "answer", "chance")}
                     for row in self.results[0]["rows"]]
        lines = []
        for r in self.results:
            run = {k: v for k, v in r.items() if k != "rows"}
            run["right"] = "".join("01"[row["right"]] for row in r["rows"])
            if wrong := {i: row["predicted"] for i, row in enumerate(r["rows"])
                         if row["family"] in FREE and not row["right"] and "predicted" in row}:
                run["told"] = wrong
            lines.append(json.dumps(run))
        runs = ",\n".join(lines)
        Path(file).write_text(f'{{"questions": {json.dumps(questions)},\n"runs": [\n{runs}\n]}}\n',
                              encoding="utf-8")

    @classmethod
    def load(cls, file) -> "Comparison":
        """Read a file written by `save`."""
        stored = json.loads(Path(file).read_text(encoding="utf-8"))
        for r in stored["runs"]:
            wrong, right = r.pop("told", {}), r.pop("right")
            r["rows"] = [{**q, "right": bit == "1",
                          "predicted": q["answer"] if bit == "1" else wrong.get(str(i))}
                         for i, (q, bit) in enumerate(zip(stored["questions"], right, strict=True))]
        return cls(stored["runs"])


def verdict(difference: float, low: float, high: float, seeds: int,
            words=("better", "worse")) -> str:
    """One interval in words. A null result says how large a difference is still possible."""
    if seeds < FEW_SEEDS:
        return f"too few seeds to tell ({seeds}; at least {FEW_SEEDS})"
    if low > 0:
        return f"{words[0]}, by {difference:.1f} points"
    if high < 0:
        return f"{words[1]}, by {-difference:.1f} points"
    if low == high:
        return "no measurable difference (all answers are the same: there is no interval)"
    return f"no measurable difference (more than {max(-low, high):.1f} points is unlikely)"


def correction(found: pd.DataFrame) -> str:
    """How the verdicts of `Comparison.paired` are corrected for their number, in words."""
    compared = int(found.compared.max())
    if not compared:
        return f"{len(found)} intervals, none with a verdict."
    return (f"{len(found)} intervals, {compared} with a verdict. Intervals are plain 95 % ones. "
            f"Verdicts are corrected for their number (Bonferroni, level 1 - 0.05/{compared}).")
