"""The paper's claims about its parts, and what the gym and the mini world show of each.

A claim says that a model without the part is worse. Its evidence are comparisons that ship: of
studies (`gym.studies`), of symbols or of films, and of experiments (`experiments`). The verdict
follows from their corrected differences by one rule, `sides`.
"""

from dataclasses import dataclass

import pandas as pd

from .experiments import shipped_results
from .gym.studies import shipped_study

NOT_HERE = "cannot be asked at this size"
PLACES = {"gym": "the gym", "films": "films of the mini world",
          "world": "the whole model with labels"}
SHORT = {"gym": "the gym", "films": "films", "world": "the whole model"}


@dataclass(frozen=True)
class Asked:
    """Comparisons that ship.

    Args:
        name: of the study or experiment. arms: those without the part. groups: of questions.
        sign: -1, if the arms are those with the part, and the baseline lacks it.
    """

    name: str
    arms: tuple[str, ...]
    groups: tuple[str, ...]
    sign: int = 1


@dataclass(frozen=True)
class Claim:
    """part: what the claim is about. paper: what the paper says.

    gym: studies with symbols. films: studies with films, learned from answers alone. world:
    experiments with encoders, language model and the shortcut *named*.
    """

    part: str
    paper: str
    gym: tuple[Asked, ...] = ()
    films: tuple[Asked, ...] = ()
    world: tuple[Asked, ...] = ()


BOTH = ("both modalities",)
ORDER = ("one modality, order or cause",)
CLAIMS = [
    Claim("synchronisation", "without it, tasks that need both streams lose most",
          (Asked("sync", ("sync=interleave", "sync=append"), ("recall",)),),
          (Asked("films", ("sync=interleave", "sync=append"), BOTH),
           Asked("film-sync", ("sync=interleave", "sync=append"), BOTH)),
          (Asked("sync", ("sync=interleave", "sync=append"), BOTH),)),
    Claim("causal attention", "without it, questions about what happens in order lose most",
          (Asked("attention", ("attention=none",), ("before",)),
           Asked("relations", ("attention=none",), ("motion", "state"))),
          (Asked("films", ("attention=none",), ORDER),
           Asked("film-order", ("attention=none",), ORDER),
           Asked("film-attention", ("attention=none",), BOTH),
           Asked("film-connectors", ("connector=plain_qformer",), BOTH)),
          (Asked("attention", ("attention=none", "connector=plain_qformer"),
                 ("what comes next",)),)),
    Claim("causal, not full, attention", "attention to earlier frames alone is what helps",
          (Asked("attention", ("attention=full",), ("before",)),
           Asked("relations", ("attention=full",), ("motion", "state"))),
          (Asked("film-order", ("attention=full",), ORDER),
           Asked("film-attention", ("attention=full",), BOTH)),
          (Asked("attention", ("attention=full",), ("what comes next",)),)),
    Claim("sliding windows", "one window for the whole clip loses on long clips",
          (Asked("windows", ("window_frames=24, num_queries=12",), ("recall", "before")),),
          (Asked("films", ("window_frames=24, num_queries=40",), ("all",)),
           Asked("film-windows", ("window_frames=16, num_queries=16",), BOTH)),
          (Asked("windows", ("window_frames=24, num_queries=40",), ("all",)),)),
    Claim("diversity loss", "without it, queries repeat one another, and answers are worse",
          (Asked("diversity", ("diversity_weight=0.3",), ("recall",), -1),
           Asked("weights", ("diversity_weight=0.3",), ("recall",), -1)),
          (Asked("film-weights", ("diversity_weight=0.3",), BOTH, -1),),
          (Asked("diversity", ("diversity_weight=0.0",), ("all",)),)),
    Claim("the whole model", "49.3 % on video questions, 21.0 % for InstructBLIP"),
]


def evidence(asked: tuple[Asked, ...], where: str) -> pd.DataFrame:
    """The corrected differences of a claim, turned so that a negative one supports it; empty where
    it is not asked, or no results ship."""
    found = []
    for each in asked:
        results = (shipped_results if where == "world" else shipped_study)(each.name)
        if results is None:
            continue
        rows = results.differences() if where == "world" else results.differences
        rows = rows[rows.arm.isin(each.arms) & rows.questions.isin(each.groups)].copy()
        if each.sign < 0:
            rows["difference"] *= -1
            rows["low"], rows["high"] = -rows.high, -rows.low
        found.append(rows)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


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
        f"{max(0.0, -rows.low.min()):.1f} points is unlikely)")


def claims() -> pd.DataFrame:
    """One row per claim: part, paper, a column for each of `PLACES`, verdict, and how many
    comparisons were made."""
    rows = []
    for claim in CLAIMS:
        found = {where: evidence(getattr(claim, where), where) for where in PLACES}
        final = [f"{word} in " + ", ".join(SHORT[w] for w in SHORT if word in sides(found[w]))
                 for word in ("shown", "contradicted")
                 if any(word in sides(part) for part in found.values())]
        asked = claim.gym or claim.films or claim.world
        rows.append({"part": claim.part, "paper": claim.paper,
                     **{w: "not measured yet" if part.empty and getattr(claim, w) else
                        verdict(part) for w, part in found.items()},
                     "verdict": "; ".join(final) or ("not shown" if asked else NOT_HERE),
                     "comparisons": sum(map(len, found.values()))})
    return pd.DataFrame(rows)
