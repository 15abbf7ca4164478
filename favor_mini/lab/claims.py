"""The paper's claims about its parts, and what the gym and the mini world show of each.

A claim says that a model without the part is worse. Its evidence are comparisons that ship: of a
study (`gym.studies`) and of an experiment (`experiments`). The verdict follows from their corrected
differences by one rule, `sides`.
"""

from dataclasses import dataclass

import pandas as pd

from .experiments import shipped_results
from .gym.studies import shipped_study

NOT_HERE = "cannot be asked at this size"


@dataclass(frozen=True)
class Claim:
    """part: what the claim is about. paper: what the paper says.

    gym, world: the arms without the part, as (study or experiment, names of arms, sign, group of
    questions). With sign -1, the arms are those with the part, and the baseline lacks it. None: it
    is not asked there.
    """

    part: str
    paper: str
    gym: tuple | None = None
    world: tuple | None = None


CLAIMS = [
    Claim("synchronisation", "without it, tasks that need both streams lose most",
          ("sync", ("sync=interleave", "sync=append"), 1, "recall"),
          ("sync", ("sync=interleave", "sync=append"), 1, "both modalities")),
    Claim("causal attention", "without it, questions about what happens in order lose most",
          ("attention", ("attention=none",), 1, "before"),
          ("attention", ("attention=none", "connector=plain_qformer"), 1, "what comes next")),
    Claim("causal, not full, attention", "attention to earlier frames alone is what helps",
          ("attention", ("attention=full",), 1, "before"),
          ("attention", ("attention=full",), 1, "what comes next")),
    Claim("sliding windows", "one window for the whole clip loses on long clips",
          ("windows", ("window_frames=18, num_queries=24",), 1, "recall"),
          ("windows", ("window_frames=24, num_queries=40",), 1, "all")),
    Claim("diversity loss", "without it, queries repeat one another, and answers are worse",
          ("diversity", ("diversity_weight=0.3",), -1, "recall"),
          ("diversity", ("diversity_weight=0.0",), 1, "all")),
    Claim("the whole model", "49.3 % on video questions, 21.0 % for InstructBLIP"),
]


def evidence(asked: tuple | None, where: str) -> pd.DataFrame:
    """The corrected differences of a claim, turned so that a negative one supports it; empty where
    it is not asked, or no results ship."""
    if asked is None:
        return pd.DataFrame()
    name, arms, sign, group = asked
    found = shipped_study(name) if where == "gym" else shipped_results(name)
    if found is None:
        return pd.DataFrame()
    rows = found.differences if where == "gym" else found.differences()
    rows = rows[rows.arm.isin(arms) & (rows.questions == group)].copy()
    if sign < 0:
        rows["difference"] *= -1
        rows["low"], rows["high"] = -rows.high, -rows.low
    return rows


def sides(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The significant rows in the claim's direction ("shown") and against it ("contradicted"); a
    side without any is left out."""
    if rows.empty:
        return {}
    found = {"shown": rows[rows.significant & (rows.difference < 0)],
             "contradicted": rows[rows.significant & (rows.difference > 0)]}
    return {name: part for name, part in found.items() if len(part)}


def verdict(rows: pd.DataFrame) -> str:
    """Both sides in words; without any, the largest loss that is still possible."""
    if rows.empty:
        return "not asked"
    said = []
    for name, part in sides(rows).items():
        sizes = dict.fromkeys(f"{x:.0f}" for x in sorted(part.difference.abs()))
        size = " to ".join([*sizes][:: max(1, len(sizes) - 1)])
        said.append(f"{name} in {len(part)} of {len(rows)} comparisons, by {size} points")
    return "; ".join(said) or (
        f"not shown in {len(rows)} comparison{'s' * (len(rows) > 1)} (a loss of more than "
        f"{max(0.0, -rows.low.min()):.0f} points is unlikely)")


def claims() -> pd.DataFrame:
    """One row per claim: part, paper, gym, world, verdict, and how many comparisons were made."""
    rows, places = [], {"gym": "the gym", "world": "the mini world"}
    for claim in CLAIMS:
        found = {w: evidence(getattr(claim, w), w) for w in places}
        final = [f"{word} in " + " and ".join(places[w] for w in places if word in sides(found[w]))
                 for word in ("shown", "contradicted")
                 if any(word in sides(part) for part in found.values())]
        asked = claim.gym or claim.world
        rows.append({"part": claim.part, "paper": claim.paper,
                     **{w: verdict(part) for w, part in found.items()},
                     "verdict": "; ".join(final) or ("not shown" if asked else NOT_HERE),
                     "comparisons": sum(map(len, found.values()))})
    return pd.DataFrame(rows)
