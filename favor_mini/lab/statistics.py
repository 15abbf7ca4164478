"""What a comparison says: accuracies, paired differences with intervals, and a verdict in plain words."""

import json
import re
import textwrap
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest, t

from ..world.questions import FAMILY_GROUPS, GROUPS
from ..world.scene import COLOURS, PLACES, SHAPES, THINGS, WORDS

REPEATS = 4000  # of the bootstrap
NEXT, NEXT_FAMILIES = "what comes next", ("next", "seen_after", "heard_after")  # across the three groups of `evaluation.GROUPS`
LEFT_OUT = ("about what was left out", "about the rest")
TRANSCRIPTS, CAPTIONS = ("asr", "avsr"), ("ac", "ic")
FREE = TRANSCRIPTS + CAPTIONS  # tasks whose answers are free text
NAMES = {*THINGS, *WORDS, *SHAPES, *COLOURS, *PLACES}  # what a caption can be right or wrong about
FEW_SEEDS = 3  # below, the spread between trainings is not known


class Comparison:
    """The results of a comparison's runs. Arms keep the order in which they came; the first is the baseline.

    Args:
        results: from `compare.run`, one dict a run; all asked the same questions.

    Raises:
        ValueError: an arm lacks a seed that another has, or the runs were asked different questions.
    """

    def __init__(self, results: list[dict]):
        self.results = results
        self.arms = list(dict.fromkeys(r["arm"] for r in results))
        self.seeds = sorted({r["seed"] for r in results})
        missing = [(arm, seed) for arm in self.arms for seed in self.seeds
                   if sum(r["arm"] == arm and r["seed"] == seed for r in results) != 1]
        if missing:
            raise ValueError(f"not every arm has one run of every seed: see {missing[0]}")
        questions = [[(row["clip"], row["family"], row["question"]) for row in r["rows"]] for r in results]
        if any(q != questions[0] for q in questions):
            raise ValueError("the runs were asked different questions; compare runs of one plan only")
        clips, self.families, _ = zip(*questions[0], strict=True)
        self.clip = np.unique(clips, return_inverse=True)[1]  # [questions]: number of the clip
        self.right = np.array([[self._run(arm, seed)["rows"] for seed in self.seeds] for arm in self.arms])
        self.right = np.vectorize(lambda row: row["right"])(self.right)  # [arms, seeds, questions] bool
        self.chance = np.array([row["chance"] for row in results[0]["rows"]])
        words = [set(re.findall(r"\w+", f"{row['question']} {row.get('answer')}")) for row in results[0]["rows"]]
        self.left_out = {}  # arm: [questions] bool, whether it is about what this arm never met
        for arm in self.arms:
            missing = set(self._run(arm, self.seeds[0]).get("changes", {}).get("without", "").split("+")) - {""}
            if missing:
                self.left_out[arm] = np.array([bool(missing & of_row) for of_row in words])

    def _run(self, arm: str, seed: int) -> dict:
        return next(r for r in self.results if (r["arm"], r["seed"]) == (arm, seed))

    def chosen(self, group: str, arm: str | None = None) -> np.ndarray:
        """Which questions belong to a group of `groups`, to a family, or to "all"; where it hangs on it, for an arm."""
        if group in LEFT_OUT:
            nothing = np.zeros(len(self.families), bool)
            return self.left_out[arm] == (group == LEFT_OUT[0]) if arm in self.left_out else nothing
        if group == NEXT:
            return np.isin(self.families, NEXT_FAMILIES)
        if group == "all":
            return np.ones(len(self.families), bool)
        if group in GROUPS:
            return np.array([FAMILY_GROUPS.get(f) == group for f in self.families])
        return np.array([f == group for f in self.families])

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of questions that are told apart: by what they need, and what comes next; or the eleven tasks, each; then, where
        arms left things out, whether they are about those."""
        told_apart = (*GROUPS, NEXT) if set(self.families) & set(FAMILY_GROUPS) else dict.fromkeys(self.families)
        return (*told_apart, *(LEFT_OUT if self.left_out else ()), "all")

    @property
    def table(self) -> pd.DataFrame:
        """Tidy: one row per arm, seed and group of questions, with what the run cost."""
        rows = []
        for a, arm in enumerate(self.arms):
            for s, seed in enumerate(self.seeds):
                run = self._run(arm, seed)
                for group in dict.fromkeys((*self.groups, *self.families)):
                    chosen = self.chosen(group, arm)
                    if chosen.any():
                        rows.append({"arm": arm, "seed": seed, "questions": group, "count": int(chosen.sum()),
                                     "accuracy": self.right[a, s, chosen].mean(), "chance": self.chance[chosen].mean(),
                                     **{k: run[k] for k in ("parameters", "gflop", "seconds")}})
        return pd.DataFrame(rows)

    def differences(self, groups=None) -> pd.DataFrame:
        """Each arm against the first, in points of accuracy, with a 95 % interval.

        Paired by seed and question. Two things could have come out otherwise: other trainings, whose share is Student's t of
        the seeds (a bootstrap of so few would spread too little), and other clips, whose share is a bootstrap over clips.
        """
        rows = []
        for a, arm in enumerate(self.arms[1:], 1):
            for group in groups or self.groups:
                chosen = self.chosen(group, arm)
                if chosen.any():
                    gained = self.right[a].astype(float) - self.right[0]
                    rows.append({"arm": arm, "questions": group, **self._paired(gained * chosen, chosen)})
        return pd.DataFrame(rows)

    @cached_property
    def _drawn(self) -> np.ndarray:
        """[repeats, clips]: how often the bootstrap draws each clip."""
        clips = self.clip.max() + 1
        return np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), REPEATS)

    def _paired(self, gained: np.ndarray, weight: np.ndarray, words=("better", "worse")) -> dict:
        """The mean of `gained` [seeds, questions] over the sum of `weight` [questions], in hundredths, with its interval."""
        seeds, clips = len(self.seeds), self.clip.max() + 1
        of_seeds = 100 * gained.sum(1) / weight.sum()
        sums, weights = (np.bincount(self.clip, v, clips) for v in (100 * gained.mean(0), weight))
        drawn = (self._drawn @ sums) / np.maximum(self._drawn @ weights, 1)
        by_clips = np.quantile(drawn, [0.025, 0.975]) - of_seeds.mean()
        by_seeds = t.ppf(0.975, max(1, seeds - 1)) * of_seeds.std(ddof=min(1, seeds - 1)) / np.sqrt(seeds)
        low, high = of_seeds.mean() + np.array([-1, 1]) * np.hypot(by_clips, by_seeds)
        return {"difference": of_seeds.mean(), "low": low, "high": high, "seeds": seeds,
                "verdict": verdict(of_seeds.mean(), low, high, seeds, words)}

    def verdicts(self, groups=None) -> str:
        """The differences in words, one an arm and group."""
        return "\n".join(textwrap.fill(
            f"{r.arm}, {r.questions}: {r.difference:+.1f} points ({r.low:+.1f} to {r.high:+.1f}); {r.verdict}", 100,
            subsequent_indent="    ") for r in self.differences(groups).itertuples())

    def __str__(self) -> str:
        wide = self.table[self.table.questions.isin(self.groups)].pivot_table(
            index="arm", columns="questions", values="accuracy", sort=False).mul(100).round(1)
        costs = self.table.groupby("arm", sort=False)[["parameters", "gflop", "seconds"]].mean().round(2)
        found = self.differences()
        lines = ["accuracy in %, mean over seeds", wide.join(costs).to_string(), "",
                 f"against {self.arms[0]!r}, in points, paired by seed and question (95 % interval):"]
        lines += [f"  {r.arm:<32} {r.questions:<30} {r.difference:+6.1f}  ({r.low:+.1f} to {r.high:+.1f})  {r.verdict}"
                  for r in found.itertuples()]
        lines.append(f"{len(found)} intervals, each by itself; of so many, {0.05 * len(found):.1f} would miss zero by chance alone.")
        return "\n".join(lines)

    def save(self, file) -> None:
        """Small JSON: the questions once, and each run with a 0 or 1 for each of them; and what it told where it was wrong, if in
        a transcript or caption."""
        questions = [{k: row[k] for k in ("clip", "family", "question", "answer", "chance")} for row in self.results[0]["rows"]]
        runs = [{**{k: v for k, v in r.items() if k != "rows"}, "right": "".join("01"[row["right"]] for row in r["rows"])}
                for r in self.results]
        for run, r in zip(runs, self.results, strict=True):
            told = {i: row["predicted"] for i, row in enumerate(r["rows"])
                    if row["family"] in FREE and not row["right"] and "predicted" in row}
            run |= {"told": told} if told else {}
        lines = ",\n".join(json.dumps(r) for r in runs)
        Path(file).write_text(f'{{"questions": {json.dumps(questions)},\n"runs": [\n{lines}\n]}}\n')

    @classmethod
    def load(cls, file) -> "Comparison":
        """Read what `save` wrote."""
        stored = json.loads(Path(file).read_text())
        for r in stored["runs"]:
            told, right = r.pop("told", {}), r.pop("right")
            r["rows"] = [{**q, "right": bit == "1", "predicted": q["answer"] if bit == "1" else told.get(str(i))}
                         for i, (q, bit) in enumerate(zip(stored["questions"], right, strict=True))]
        return cls(stored["runs"])


def insertions(told: str, true: str) -> tuple[int, int]:
    """Words that a transcript has too many, and words said."""
    from ..evaluation.metrics import word_errors

    found = word_errors([told], [true])
    return found.insertions, found.words


def hallucinations(told: str, true: str) -> tuple[int, int]:
    """Names in a caption that are not in the true one, and names in that."""
    said, there = _names(told), _names(true)
    return sum(count for name, count in said.items() if name not in there), there.total()


def repetitions(told: str, true: str) -> tuple[int, int]:
    """Names that a caption says more often than the true one, and names in that."""
    said, there = _names(told), _names(true)
    return sum(max(0, count - max(there[name], 1)) for name, count in said.items()), there.total()


def _names(text: str) -> Counter:
    return Counter(word for word in re.findall(r"\w+", text.lower()) if word in NAMES)


class Signatures(Comparison):
    """A comparison over the eleven tasks that also counts what too high a weight of the diversity loss should bring about.

    Raises:
        ValueError: the runs were asked for no transcripts or captions, or what they told was not kept.
    """

    SIGNS = {"words put into transcripts": (insertions, TRANSCRIPTS), "names in captions that are not there": (hallucinations, CAPTIONS),
             "names said again in captions": (repetitions, CAPTIONS)}

    def __init__(self, results: list[dict]):
        super().__init__(results)
        if lacking := set(FREE) - set(self.families):
            raise ValueError(f"signs are read off transcripts and captions; the runs were not asked {', '.join(sorted(lacking))}")
        if any(row.get("predicted") is None for r in results for row in r["rows"] if row["family"] in FREE):
            raise ValueError("signs are read off transcripts and captions; these were not kept")

    def count(self, sign: str) -> tuple[np.ndarray, np.ndarray]:
        """How often a sign was seen [arms, seeds, questions], and how often it could have been [questions]."""
        measure, families = self.SIGNS[sign]
        seen, of = np.zeros(self.right.shape), np.zeros(len(self.families))
        for a, arm in enumerate(self.arms):
            for s, seed in enumerate(self.seeds):
                for i, row in enumerate(self._run(arm, seed)["rows"]):
                    if row["family"] in families:
                        seen[a, s, i], of[i] = measure(row["predicted"], row["answer"])
        return seen, of

    @property
    def signs(self) -> pd.DataFrame:
        """By sign and arm: per hundred words said, or names that are there, the mean over seeds; and the difference from the first
        arm with its 95 % interval, as in `differences`."""
        rows = []
        for sign in self.SIGNS:
            seen, of = self.count(sign)
            for a, arm in enumerate(self.arms):
                found = self._paired(seen[a] - seen[0], of, ("more", "fewer")) if a else {}
                rows.append({"sign": sign, "arm": arm, "per hundred": 100 * seen[a].sum(1).mean() / of.sum(), **found})
        return pd.DataFrame(rows)

    @property
    def cosines(self) -> pd.Series:
        """By arm, the mean cosine of a window's queries at the end of training."""
        ends = pd.DataFrame([{"arm": r["arm"], "cosine": r["losses"]["ask"]["diversity"]} for r in self.results])
        return ends.groupby("arm", sort=False).cosine.mean()

    def __str__(self) -> str:
        lines = [super().__str__(), "", "signs, per hundred words said or names that are there (against the first arm, 95 % interval):"]
        for row in self.signs.rename(columns={"per hundred": "value"}).itertuples():
            against = "" if row.arm == self.arms[0] else f"  {row.difference:+6.1f}  ({row.low:+.1f} to {row.high:+.1f})  {row.verdict}"
            lines.append(f"  {row.sign:<38} {row.arm:<24} {row.value:6.1f}{against}")
        return "\n".join([*lines, "mean cosine of a window's queries at the end of training: "
                          + ", ".join(f"{arm} {value:+.2f}" for arm, value in self.cosines.items())])


class Offsets:
    """What a trained model answers while the sound is moved against the picture.

    Args:
        rows: from `experiments.sound_offsets`.
    """

    def __init__(self, rows: list[dict]):
        self.rows = rows

    @property
    def table(self) -> pd.DataFrame:
        """Accuracy with its 95 % Wilson interval, by group of questions and shift."""
        found, frame = [], pd.DataFrame(self.rows)
        for group in GROUPS:
            part = frame[[FAMILY_GROUPS[f] == group for f in frame.family]]
            for shift, asked in part.groupby("shift"):
                interval = binomtest(int(asked.right.sum()), len(asked)).proportion_ci(method="wilson")
                found.append({"questions": group, "shift": shift, "count": len(asked), "accuracy": asked.right.mean(),
                              "low": interval.low, "high": interval.high, "chance": asked.chance.mean()})
        return pd.DataFrame(found)

    def recovered(self, group: str = "both modalities") -> pd.Series:
        """By clip, the shift under which the true answers to a group's questions are likeliest together."""
        frame = pd.DataFrame(self.rows)
        frame = frame[[FAMILY_GROUPS[f] == group for f in frame.family]]
        return frame.pivot_table(index="clip", columns="shift", values="logp", aggfunc="sum").idxmax(axis=1)

    def __str__(self) -> str:
        wide = self.table.pivot(index="questions", columns="shift", values="accuracy").mul(100).round(1)
        found = self.recovered()
        counts = found.value_counts().sort_index()
        shifts = sorted(set(self.table["shift"]))
        near = [shift for shift in shifts if abs(shift) <= min(abs(s) for s in shifts if s)]  # the place itself and its neighbours
        lines = []
        for what, places in (("the right place", [0.0]), (f"most {max(near):g} s beside it", near)):
            right = int(found.isin(places).sum())
            interval = binomtest(right, len(found)).proportion_ci(method="wilson")
            lines.append(f"  at {what}: {right} of {len(found)} clips ({right / len(found):.0%}, 95 % {interval.low:.0%} to "
                         f"{interval.high:.0%}; guessing {len(places) / len(shifts):.0%})")
        return "\n".join([
            "accuracy in %, by how many seconds the sound comes late (negative: early)", wide.to_string(), "",
            "the offset under which the true answers to a clip's questions about both are likeliest is found", *lines,
            "  at: " + ", ".join(f"{shift:+g} s in {count}" for shift, count in counts.items())])

    def save(self, file) -> None:
        names = list(self.rows[0])
        lines = ",\n".join(json.dumps([row[n] for n in names]) for row in self.rows)
        Path(file).write_text(f'{{"columns": {json.dumps(names)},\n"rows": [\n{lines}\n]}}\n')

    @classmethod
    def load(cls, file) -> "Offsets":
        """Read what `save` wrote."""
        stored = json.loads(Path(file).read_text())
        return cls([dict(zip(stored["columns"], row, strict=True)) for row in stored["rows"]])


def verdict(difference: float, low: float, high: float, seeds: int, words=("better", "worse")) -> str:
    """In plain words; a null result is called one, and says how large a difference may have stayed hidden."""
    if seeds < FEW_SEEDS:
        return f"too few seeds to tell ({seeds}; at least {FEW_SEEDS})"
    if low > 0:
        return f"{words[0]}, by {difference:.1f} points"
    if high < 0:
        return f"{words[1]}, by {-difference:.1f} points"
    if low == high:
        return "no difference found (all answers alike; of how large a one may have stayed hidden, they say nothing)"
    return f"no difference found (one of more than {max(-low, high):.1f} points is unlikely)"
