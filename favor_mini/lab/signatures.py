"""Failure signatures of too high a diversity weight: insertions, hallucinations, repetitions."""

import re
from collections import Counter

import numpy as np
import pandas as pd

from ..evaluation.metrics import word_errors
from ..world.scene import COLOURS, PLACES, SHAPES, THINGS, WORDS
from .statistics import FREE, Comparison, correction

TRANSCRIPTS, CAPTIONS = ("asr", "avsr"), ("ac", "ic")
NAMES = {*THINGS, *WORDS, *SHAPES, *COLOURS, *PLACES}  # what a caption can get right or wrong


def insertions(predicted: str, true: str) -> tuple[int, int]:
    """Inserted words of a transcript, as in the word error rate, and words of the true one."""
    found = word_errors([predicted], [true])
    return found.insertions, found.words


def hallucinations(predicted: str, true: str) -> tuple[int, int]:
    """Names in a caption that the true caption does not contain, and names in the true one."""
    found, there = _names(predicted), _names(true)
    return absent(found, there), there.total()


def repetitions(predicted: str, true: str) -> tuple[int, int]:
    """How often a caption repeats names more than the true one, and names in the true one."""
    found, there = _names(predicted), _names(true)
    return repeated(found, there), there.total()


def absent(found: Counter, there: Counter) -> int:
    """How many of `found` are not `there` at all."""
    return sum(n for name, n in found.items() if name not in there)


def repeated(found: Counter, there: Counter) -> int:
    """How many of `found` are repetitions, beyond those `there`."""
    return sum(max(0, n - max(there[name], 1)) for name, n in found.items())


def _names(text: str) -> Counter:
    return Counter(word for word in re.findall(r"\w+", text.lower()) if word in NAMES)


class Signatures(Comparison):
    """A comparison over the eleven tasks that also counts the failure signatures.

    Raises:
        ValueError: the runs have no transcripts and captions, or their texts were not kept.
    """

    SIGNS = {"insertions in transcripts": (insertions, TRANSCRIPTS),
             "hallucinations in captions": (hallucinations, CAPTIONS),
             "repetitions in captions": (repetitions, CAPTIONS)}

    def __init__(self, results: list[dict]):
        super().__init__(results)
        needs = "signatures are counted in transcripts and captions; "
        if lacking := set(FREE) - set(self.families):
            raise ValueError(f"{needs}the runs were not asked {', '.join(sorted(lacking))}")
        if any(row["family"] in FREE and row.get("predicted") is None
               for r in results for row in r["rows"]):
            raise ValueError(f"{needs}these were not kept")

    def count(self, sign: str) -> tuple[np.ndarray, np.ndarray]:
        """Occurrences [arms, seeds, questions]; words or names in the true answers [questions]."""
        measure, families = self.SIGNS[sign]
        counts = np.array([[[
            measure(row["predicted"], row["answer"]) if row["family"] in families else (0, 0)
            for row in self.runs[arm, seed]["rows"]] for seed in self.seeds] for arm in self.arms])
        return counts[..., 0].astype(float), counts[0, 0, :, 1]

    @property
    def signs(self) -> pd.DataFrame:
        """By sign and arm: occurrences per hundred true words or names, mean over seeds; and the
        difference from the baseline with its interval, as in `differences`."""
        rows, gains, weights = [], [], []
        for sign in self.SIGNS:
            found, of = self.count(sign)
            rows += [{"sign": sign, "arm": arm, "per hundred": 100 * n.sum(1).mean() / of.sum()}
                     for arm, n in zip(self.arms, found, strict=True)]
            gains += list(found[1:] - found[0])
            weights += [of] * (len(self.arms) - 1)
        compared = self.paired(gains, weights, ("more", "fewer"))
        compared.index = [i for i, row in enumerate(rows) if row["arm"] != self.arms[0]]
        return pd.DataFrame(rows).join(compared)

    @property
    def cosines(self) -> pd.Series:
        """By arm, the mean cosine of a window's queries at the end of training."""
        ends = pd.DataFrame([{"arm": r["arm"], "cosine": r["losses"]["ask"]["diversity"]}
                             for r in self.results])
        return ends.groupby("arm", sort=False).cosine.mean()

    def __str__(self) -> str:
        found = self.signs.rename(columns={"per hundred": "value"})
        lines = [f"  {r.sign:<30} {r.arm:<24} {r.value:6.1f}"
                 + ("" if r.arm == self.arms[0] else
                    f"  {r.difference:+6.1f}  ({r.low:+.1f} to {r.high:+.1f})  {r.verdict}")
                 for r in found.itertuples()]
        return "\n".join([
            super().__str__(), "", "failure signatures per hundred true words or names "
            "(difference from the baseline, 95 % interval):", *lines, correction(found.dropna()),
            "mean cosine of a window's queries at the end of training: "
            + ", ".join(f"{arm} {value:+.2f}" for arm, value in self.cosines.items())])
