"""The verdicts on the paper's claims follow from the shipped differences by one rule."""

import pandas as pd
import pytest

from favor_mini.lab import claims
from favor_mini.lab.claims import CLAIMS, NOT_HERE, Asked, Claim, sides, verdict
from favor_mini.lab.experiments import EXPERIMENTS, shipped_results
from favor_mini.lab.gym.studies import STUDIES, shipped_study
from favor_mini.lab.plan import arm_name


def rows(*found):
    """(difference, half width, significant) each."""
    return pd.DataFrame([{"difference": d, "low": d - h, "high": d + h, "significant": s}
                         for d, h, s in found])


@pytest.mark.parametrize(("found", "said", "words"), [
    ([(-20, 3, True), (-40, 5, True), (1, 9, False)],
     "shown in 2 of 3 comparisons, by 20 to 40 points", ["shown"]),
    ([(6, 1, True)], "contradicted in 1 of 1 comparisons, by 6 points", ["contradicted"]),
    ([(-5, 1, True), (7, 1, True)], "shown in 1 of 2 comparisons, by 5 points; contradicted in 1 "
     "of 2 comparisons, by 7 points", ["shown", "contradicted"]),
    ([(-2, 3, False), (1, 3, False)], "not shown in 2 comparisons (a loss of more than 5.0 points "
     "is unlikely)", []),
    ([(3, 2, False)], "not shown in 1 comparison (a loss of more than 0.0 points is unlikely)", []),
    ([], "not asked", []),
])
def test_a_verdict_follows_from_the_differences(found, said, words):
    assert verdict(rows(*found)) == said and [*sides(rows(*found))] == words


def test_a_claim_is_turned_where_the_baseline_lacks_the_part(monkeypatch):
    class Found:
        differences = rows((8, 2, True)).assign(arm="with", questions="recall")

    monkeypatch.setattr(claims, "shipped_study", lambda name: Found)
    asked = (Asked("any", ("with",), ("recall",), -1),)
    turned = claims.evidence(asked, "gym").iloc[0]
    assert (turned.difference, turned.low, turned.high) == (-8, -10, -6)
    monkeypatch.setattr(claims, "CLAIMS", [Claim("p", "", asked)])
    assert claims.claims().verdict[0] == "shown in the gym"


def test_each_claim_names_arms_that_are_compared():
    studies = {s.name: s.arms for s in STUDIES}
    plans = {"gym": studies, "films": studies,
             "world": {e.name: e.plan.arms for e in EXPERIMENTS if e.plan}}
    for claim in CLAIMS:
        for where, arms in plans.items():
            for asked in getattr(claim, where):
                assert set(asked.arms) <= {arm_name(arm) for arm in arms[asked.name]}, claim.part


def test_shipped_evidence_is_not_empty():
    """A group of questions that a study does not have would vanish from the table in silence."""
    for claim in CLAIMS:
        for where in claims.PLACES:
            for asked in getattr(claim, where):
                ships = (shipped_results if where == "world" else shipped_study)(asked.name)
                found = claims.evidence((asked,), where)
                assert ships is None or {*found.questions} == {*asked.groups}, asked
                assert ships is None or {*found.arm} == {*asked.arms}, asked


def test_the_table_has_a_verdict_for_each_claim():
    found = claims.claims().set_index("part")
    assert found.verdict["the whole model"] == NOT_HERE
    assert found.verdict["synchronisation"].startswith("shown in the gym")
    for r in found.itertuples():
        assert r.verdict == NOT_HERE or r.comparisons > 0
