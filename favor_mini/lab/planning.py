"""How many seeds and clips a comparison needs to bound a difference, estimated from pilot runs.

    favor-mini compare --vary attention=block_causal,none --seeds 3 --minutes 1 --bound 2
"""

from math import ceil, hypot, sqrt

import pandas as pd
from scipy.stats import chi2, t

from .statistics import TAIL, Comparison

MOST = 1000  # seeds that are looked at
CAUTIOUS = 0.8  # confidence of the larger estimate of the spread over seeds


def half_width(spread: float, of_clips: float, seeds: int) -> float:
    """Half of the 95 % interval that `Comparison.paired` gives, in points.

    Args:
        spread: standard deviation of the paired difference over seeds.
        of_clips: half width that the choice of clips alone gives.
    """
    return hypot(t.ppf(1 - TAIL, seeds - 1) * spread / sqrt(seeds), of_clips)


def seeds_needed(spread: float, of_clips: float, bound: float) -> int | None:
    """The fewest seeds with a half width of at most `bound` points; None if no number is enough,
    since the clips alone give a wider interval."""
    return next((n for n in range(3, MOST + 1) if half_width(spread, of_clips, n) <= bound), None)


def plan_seeds(found: Comparison, bound: float, groups=None) -> pd.DataFrame:
    """What it takes to know a difference to `bound` points, for each row of `differences`.

    `seeds`: from the spread of the pilot runs. `cautious`: from the upper end of an 80 % confidence
    interval of the spread, which a few runs know badly. `clips`: how many clips to ask about, if
    those of the pilot give an interval wider than seven tenths of the bound; 0: they are enough.

    Raises:
        ValueError: there are fewer than two seeds, or the bound is not above 0.
    """
    if bound <= 0:
        raise ValueError(f"found bound={bound}, expected points of accuracy above 0. Fix: choose "
                         "another bound, such as 2")
    pilot = len(found.seeds)
    if pilot < 2:
        raise ValueError("found one seed: the spread over seeds is unknown. Fix: run a pilot with "
                         "--seeds 3 or more")
    larger = sqrt((pilot - 1) / chi2.ppf(1 - CAUTIOUS, pilot - 1))
    rows = []
    for r in found.differences(groups).itertuples():
        wanted = 0.7 * bound  # leaves as much for the seeds: 0.7^2 + 0.7^2 = 0.98
        more = ceil(r.clips * (r.of_clips / wanted) ** 2) if r.of_clips > wanted else 0
        left = min(r.of_clips, wanted)
        rows.append({
            "arm": r.arm, "questions": r.questions, "interval": f"+-{(r.high - r.low) / 2:.1f}",
            "spread": round(r.spread, 1), "seeds": seeds_needed(r.spread, left, bound),
            "cautious": seeds_needed(larger * r.spread, left, bound), "clips": more})
    return pd.DataFrame(rows)


def describe_plan(found: Comparison, bound: float) -> str:
    """`plan_seeds` in words and as a table."""
    table = plan_seeds(found, bound).astype({"seeds": object, "cautious": object})
    return "\n".join([
        f"to know each difference to +-{bound:g} points (95 % interval), from {len(found.seeds)} "
        "pilot seeds:", table.fillna(f"> {MOST}").to_string(index=False),
        "seeds: if the spread is that of the pilot runs. cautious: if it is larger, at the upper "
        "end of its 80 % interval. clips: ask about so many (0: as many as now)."])
