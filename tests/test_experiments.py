"""The experiments: well-formed plans, offsets counted by hand, and results that ship tell what they say."""

import pytest

from favor_mini.apps import cli
from favor_mini.figures.lab import experiment as draw
from favor_mini.lab import experiments
from favor_mini.lab.experiments import (
    EXPERIMENTS,
    RESULTS,
    find_experiment,
    listing,
    shipped_results,
    sound_offsets,
)
from favor_mini.lab.novel import DRAWS
from favor_mini.lab.plan import arm_name
from favor_mini.lab.statistics import Comparison, Offsets, Signatures

SHIPPED = sorted(file.stem for file in RESULTS.glob("*.json"))


def rows(best):
    """Three shifts, two clips, a question about both and a plain one each; the truth is likeliest at `best[clip]`."""
    return [{"shift": shift, "clip": clip, "family": family, "chance": 0.25, "right": family == "read" or shift == 0.0,
             "logp": -1.0 - abs(shift - best[clip])}
            for shift in (-1.0, 0.0, 1.0) for clip in best for family in ("shown_when", "read")]


def test_what_ships_is_told_beside_what_the_paper_says():
    assert [e.name for e in EXPERIMENTS if e.found] == [e.name for e in EXPERIMENTS if e.name in SHIPPED] != []


def test_signs_are_drawn_where_they_were_counted(monkeypatch, tmp_path):
    from test_statistics import BADLY, RIGHTLY, told_by

    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    Signatures(told_by({"as shipped": RIGHTLY, "high": BADLY})).save(tmp_path / "signatures.json")
    assert isinstance(shipped_results("signatures"), Signatures)
    assert draw("signatures", tmp_path).read_bytes().startswith(b"\x89PNG")


def test_offsets_by_hand():
    found = Offsets(rows({"a": 0.0, "b": 1.0}))
    table = found.table.set_index(["questions", "shift"]).accuracy
    assert table["both modalities"].tolist() == [0, 1, 0] and table["one modality, plain"].tolist() == [1, 1, 1]
    assert found.recovered().to_dict() == {"a": 0.0, "b": 1.0}
    assert "at the right place: 1 of 2 clips (50%" in str(found) and "guessing 33%" in str(found) and "+1 s in 1" in str(found)
    assert "at most 1 s beside it: 2 of 2 clips (100%" in str(found) and "guessing 100%" in str(found)


def test_offsets_saved_and_loaded_say_the_same(tmp_path):
    found = Offsets(rows({"a": 0.0, "b": -1.0}))
    found.save(tmp_path / "offset.json")
    assert str(Offsets.load(tmp_path / "offset.json")) == str(found)


def test_offsets_are_drawn():
    from favor_mini.figures import lab as lab_figures
    from favor_mini.figures import style as figures

    figure = lab_figures.offsets(Offsets(rows({"a": 0.0, "b": 1.0})))
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines["both modalities"] == [0, 1, 0]
    assert "both modalities: -1 s 0%, +0 s 100%, +1 s 0%" in figures.alt(figure)


@pytest.mark.slow
def test_moving_the_sound_is_the_same_each_time():
    one, other = (sound_offsets(scenes=2, shifts=(0.0, 1.0), progress=False) for _ in range(2))
    assert one == other and {r["shift"] for r in one} == {0.0, 1.0} and len({r["clip"] for r in one}) == 2
    plain = [r for r in one if r["family"] in ("where", "colour", "read", "count_seen")]  # the eyes alone
    assert all(a["right"] == b["right"] for a, b in zip(plain[: len(plain) // 2], plain[len(plain) // 2 :], strict=True))


def test_plans_hold_one_baseline_and_differ_from_it():
    for e in EXPERIMENTS:
        assert e.asks.endswith((".", "?")) and e.paper
        assert (e.plan is None) == (e.measure is not None)
        if e.plan:
            assert e.plan.arms[0] == {} and e.plan.seeds >= 3 and e.plan.steps
    assert all(e.name in listing() for e in EXPERIMENTS)
    with pytest.raises(ValueError, match="no experiment 'sinc'; there are offset, attention"):
        find_experiment("sinc")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_results_are_of_the_plan_that_ships(name, tmp_path):
    plan, found = find_experiment(name).plan, shipped_results(name)
    if name == "offset":
        assert isinstance(found, Offsets) and {row["shift"] for row in found.rows} == set(experiments.SHIFTS)
    elif plan is None:
        assert isinstance(found, Comparison) and len(found.arms) > 1 and len(found.seeds) == DRAWS
    else:
        assert isinstance(found, Comparison) and found.arms == [arm_name(arm) for arm in plan.arms] and len(found.seeds) == plan.seeds
        assert all(sum(r["steps"].values()) == plan.steps for r in found.results)
    assert draw(name, tmp_path).read_bytes().startswith(b"\x89PNG")


def test_results_that_do_not_ship_are_asked_for_by_their_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    assert shipped_results("attention") is None and "not run yet" in listing()
    assert cli.main(["experiment", "attention", "--out", str(tmp_path / "out")]) == 1
    assert "make them: favor-mini experiment attention --run" in capsys.readouterr().err


def test_it_is_told_what_was_found_or_that_it_has_not_been_run(monkeypatch, tmp_path, capsys):
    found = experiments.tell("attention")
    told = capsys.readouterr().out
    assert "asks:" in told and "found: not seen here" in told and found.arms[0] == "as shipped"
    lines = found.verdicts(["all"]).replace("\n    ", " ").split("\n")
    assert len(lines) == len(found.arms) - 1 and all("all: " in line and "difference found" in line for line in lines)
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    assert experiments.tell("attention") is None
    assert "favor-mini experiment attention --run" in " ".join(capsys.readouterr().out.split())


def test_ones_own_results_are_shown(tmp_path, capsys):
    (tmp_path / "offset").mkdir()
    Offsets(rows({"mine": 1.0})).save(tmp_path / "offset" / "results.json")
    assert cli.main(["experiment", "offset", "--out", str(tmp_path)]) == 0
    assert "1 s in 1" in capsys.readouterr().out and (tmp_path / "offset.png").is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_command_shows_what_was_found(name, tmp_path, capsys):
    assert cli.main(["experiment", name, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "%" in printed and f"{name}.png" in printed
