"""Statistics of a comparison: differences and signs by hand, coverage, corrected verdicts."""

import numpy as np
import pytest

from favor_mini.lab.signatures import Signatures
from favor_mini.lab.statistics import FEW_CLIPS, LEFT_OUT, Comparison, verdict


def made(right, families=("shown_when", "read", "cause"), clips=20):
    """A comparison from `right[arm, seed, question]`; question q is about clip q % clips."""
    return Comparison([
        {"arm": f"arm={a}", "seed": s, "parameters": 5, "gflop": 1.0, "seconds": 9,
         "rows": [{"clip": f"c{q % clips}", "family": families[q % len(families)],
                   "question": f"q{q}", "answer": "moon",
                   "chance": 0.25, "right": bool(bit)}
                  for q, bit in enumerate(row)]}
        for a, rows in enumerate(right) for s, row in enumerate(rows)])


def test_names_left_out_are_counted_separately_for_each_arm():
    results = [{"arm": arm, "seed": 0, "changes": changes, "parameters": 5, "gflop": 1.0,
                "seconds": 9,
                "rows": [{"clip": "c", "family": "read", "question": q, "answer": a, "chance": 0.1,
                          "right": bool(r)}
                         for q, a, r in zip(("what was heard while the phone was shown?",
                                             "what was written?", "what was seen?"),
                                            ("bell", "tiger", "telephones"), right, strict=True)]}
               for arm, changes, right in (("all", {}, (1, 1, 1)),
                                           ("some", {"without": "phone+tiger"}, (0, 1, 1)),
                                           ("one", {"without": "tiger"}, (0, 1, 0)))]
    found = Comparison(results)
    assert found.left_out["some"].tolist() == [True, True, False]
    assert found.left_out["one"].tolist() == [False, True, False]
    assert found.groups[-3:] == (*LEFT_OUT, "all")
    rows = found.differences().set_index(["arm", "questions"]).difference
    assert rows["some", LEFT_OUT[0]] == -50 and rows["some", LEFT_OUT[1]] == 0
    assert rows["one", LEFT_OUT[0]] == 0 and rows["one", LEFT_OUT[1]] == -100
    assert LEFT_OUT[0] not in made([[[1]], [[0]]]).groups


def test_differences_by_hand():
    right = np.zeros((2, 3, 60), int)
    right[0, :, :30] = 1
    right[1, :, :45] = 1  # a quarter more, whatever the seed
    found = made(right).differences().set_index("questions")
    assert found.loc["all", "difference"] == pytest.approx(25.0)
    assert found.loc["all", "low"] > 0 and found.loc["all", "high"] < 60
    assert found.loc["all", "verdict"] == "better, by 25.0 points"
    both = [q for q in range(60) if q % 3 == 0]  # shown_when needs both modalities
    assert found.loc["both modalities", "difference"] == pytest.approx(
        100 * np.mean([right[1, 0, q] - right[0, 0, q] for q in both]))


def test_an_arm_that_is_the_same_shows_no_difference():
    right = np.random.default_rng(0).integers(0, 2, (1, 3, 60)).repeat(2, axis=0)
    found = made(right).differences().iloc[-1]
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert found.verdict.startswith("no measurable difference (all answers are the same")


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("scatter", [0.02, 0.08])  # of trainings
def test_the_interval_covers_what_it_should(scatter, seeds):
    """Arms that differ by chance alone: about 95 of 100 intervals contain zero."""
    rng, held = np.random.default_rng(1), []
    for _ in range(60):
        ease = np.clip(0.7 + rng.normal(0, 0.15, (1, 1, 200)), 0.02, 0.98)
        right = rng.random((2, seeds, 200)) < np.clip(ease + rng.normal(0, scatter, (2, seeds, 1)),
                                                      0, 1)
        found = made(right, clips=200).differences(("all",)).iloc[0]
        held.append(found.low <= 0 <= found.high)
    assert np.mean(held) >= 0.9


def test_a_verdict_says_what_it_can():
    assert verdict(3.0, 1.0, 5.0, 5) == "better, by 3.0 points"
    assert verdict(-3.0, -5.0, -1.0, 5) == "worse, by 3.0 points"
    assert verdict(1.0, -2.0, 4.0,
                   5) == "no measurable difference (more than 4.0 points is unlikely)"
    assert verdict(9.0, 8.0, 10.0, 2).startswith("too few seeds to tell (2;")


def noisy(arms, questions, seed):
    """A comparison of arms that differ by chance alone, on clips; their trainings do not vary."""
    right = np.random.default_rng(seed).random((arms, 1, questions)) < 0.7
    return made(right.repeat(3, axis=1), clips=40)


def test_verdicts_are_corrected_for_the_number_of_intervals():
    """Without a true difference some plain intervals exclude zero; few verdicts may."""
    plain, verdicts = [], []
    for seed in range(12):
        found = noisy(6, 120, seed).differences()
        assert (found.compared == len(found)).all() and len(found) > 15
        plain.append(((found.low > 0) | (found.high < 0)).any())
        verdicts.append(found.verdict.str.startswith(("better", "worse")).any())
        assert (found.significant == found.verdict.str.startswith(("better", "worse"))).all()
    assert np.mean(plain) > 0.3 and np.mean(verdicts) <= 0.1


def test_one_interval_alone_is_not_corrected():
    found = noisy(2, 120, 0).differences(["all"]).iloc[0]
    assert found.compared == 1
    assert found.verdict == verdict(found.difference, found.low, found.high, 3)


def test_a_plain_interval_without_zero_that_is_not_significant_is_named():
    for seed in range(12):
        found = noisy(6, 120, seed).differences()
        clear = found[((found.low > 0) | (found.high < 0)) & ~found.significant]
        expected = f"not significant after correction for {len(found)} intervals"
        assert (clear.verdict == expected).all()


def test_the_number_of_intervals_is_printed():
    found = noisy(6, 120, 0)
    last = str(found).splitlines()[-1]
    count = len(found.differences())
    assert last.startswith(f"{count} intervals, {count} with a verdict.")
    assert f"0.05/{count}" in last
    assert "1 with a verdict" in noisy(2, 120, 0).verdicts(["all"])


def test_groups_with_few_clips_have_no_verdict():
    """A difference of 100 points on a few clips."""
    right = np.zeros((2, 3, 60), int)
    right[1] = 1
    for clips, said in ((FEW_CLIPS - 1, "too few clips to tell"), (FEW_CLIPS, "better")):
        found = made(right, clips=clips).differences(["all"]).iloc[0]
        assert found.clips == clips and found.verdict.startswith(said)
        assert found.significant == (said == "better") and found.compared == (said == "better")


def test_runs_that_cannot_be_compared_are_refused():
    results = made(np.ones((2, 2, 6), int)).results
    with pytest.raises(ValueError,
                       match="found 3 runs, .*there is no .*arm=1.*Fix: finish"):
        Comparison(results[:-1])
    results[1]["rows"] = results[1]["rows"][::-1]
    with pytest.raises(ValueError, match="asked different questions"):
        Comparison(results)


def test_saving_and_loading_changes_nothing(tmp_path):
    before = made(np.random.default_rng(0).integers(0, 2, (3, 3, 60)))
    before.save(tmp_path / "results.json")
    after = Comparison.load(tmp_path / "results.json")
    assert str(after) == str(before) and after.arms == ["arm=0", "arm=1", "arm=2"]
    assert after.table.equals(before.table)


def answered_by(arms):
    """Runs of arms with the same answers for each of three seeds."""
    asked = (("asr", "moon king lion salt"), ("avsr", "door fish"),
             ("ac", "the bell was heard, then moon was said"),
             ("ic", "the red star was shown at left"), ("avm", "yes"))
    return [{"arm": arm, "seed": seed, "parameters": 5, "gflop": 1.0, "seconds": 9,
             "losses": {"ask": {"diversity": 0.25}},
             "rows": [{"clip": f"c{i}", "family": family, "question": "?", "answer": true,
                       "chance": 0.1, "predicted": told,
                       "right": told == true}
                      for i, ((family, true), told) in enumerate(zip(asked, texts, strict=True))]}
            for arm, texts in arms.items() for seed in range(3)]


RIGHTLY = ("moon king lion salt", "door fish", "the bell was heard, then moon was said",
           "the red star was shown at left", "yes")
BADLY = ("moon and king lion lion salt", "door", "the bell rang, then the bell, the drum, the drum",
         "the star was at left, it was red",
         "no")


def test_signs_are_counted_by_hand():
    found = Signatures(answered_by({"low": RIGHTLY, "high": BADLY}))
    signs = found.signs.set_index(["sign", "arm"])["per hundred"]
    assert [signs[sign, "low"] for sign in Signatures.SIGNS] == [0, 0, 0]
    insertions, hallucinations, again = (signs[sign, "high"] for sign in Signatures.SIGNS)
    # "and" and a second lion, of six words said; a word left out is none put in
    assert insertions == pytest.approx(100 * 2 / 6)
    assert hallucinations == pytest.approx(100 * 2 / 5)  # two drums, of bell, moon, red, star, left
    assert again == pytest.approx(100 * 2 / 5)  # a second bell, a second drum
    row = found.signs.iloc[1]
    assert row.difference == pytest.approx(insertions) and row.seeds == 3
    assert not row.verdict.startswith(("better", "worse"))
    assert "high +0.25" in str(found).splitlines()[-1]


def test_signs_survive_saving_as_only_wrong_answers_are_kept(tmp_path):
    before = Signatures(answered_by({"low": RIGHTLY, "high": BADLY}))
    before.save(tmp_path / "results.json")
    assert str(Signatures.load(tmp_path / "results.json")) == str(before)
    kept = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert "yes" in kept and kept.count("bell rang") == 3


def test_signs_need_the_predicted_texts():
    results = answered_by({"low": RIGHTLY, "high": BADLY})
    for row in results[3]["rows"]:
        row.pop("predicted")
    with pytest.raises(ValueError, match="these were not kept"):
        Signatures(results)
    with pytest.raises(ValueError, match="not asked ac, asr, avsr, ic"):
        Signatures(made([[[1]], [[0]]]).results)
