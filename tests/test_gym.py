"""The gym: questions with their right answers, paired trainings, curves and phase diagrams."""

import numpy as np
import pandas as pd
import pytest
import torch

from favor_mini.apps import cli
from favor_mini.figures.gym import learning_curves, phase_diagram
from favor_mini.lab.gym import results, studies, tasks
from favor_mini.lab.gym.model import Gym, GymModel
from favor_mini.lab.gym.results import Curves, GymPlan, gym
from favor_mini.lab.gym.train import draw_batch, train

TINY = {"frames": 3, "symbols": 5, "width": 8, "hidden": 8, "feature_width": 4, "heads": 2,
        "num_queries": 2, "batch": 4, "steps": 3}


def right_answer(name, seen, heard, places, key, delay):
    """The answer, found the slow way in one clip."""
    when = heard.index(key) if key in heard else None
    if name == "recall":
        assert heard.count(key) == 1
        return seen[when - delay]
    if name in ("before", "after"):
        assert heard.count(key) == 1
        return heard[when + (1 if name == "after" else -1)]
    if name == "count":
        return seen.count(key)
    if name == "motion":
        first = seen.index(key)
        assert [t for t, s in enumerate(seen) if s == key] == [first, first + 1]
        return int(places[first + 1] > places[first])
    assert name == "state" and heard.count(key) == 1
    return [s for s in seen[: when + 1] if s < tasks.SIGNALS][-1]


@pytest.mark.parametrize("name", tasks.TASKS)
@pytest.mark.parametrize(("frames", "delay"), [(3, 0), (6, 2), (30, 1)])
def test_every_answer_is_right_and_every_answer_occurs(name, frames, delay):
    task, generator = tasks.TASKS[name], torch.Generator().manual_seed(3)
    e = task.draw(400, frames, 7, delay, generator)
    clips = zip(*(x.tolist() for x in (e.visual, e.sounds, e.places, e.key, e.answer)), strict=True)
    for seen, heard, places, key, answer in clips:
        assert right_answer(name, seen, heard, places, key, delay) == answer
    counts = np.bincount(e.answer.numpy(), minlength=task.classes or 7)
    # No answer is so frequent that guessing it is far better than chance.
    assert len(counts) == (task.classes or 7) and counts.min() > 0
    assert counts.max() / 400 < 1.35 / len(counts) + 0.05


def test_arms_see_the_same_clips_and_the_same_reader():
    models = [GymModel(Gym(sync=s), 3) for s in ("concat", "interleave")]
    generators = [[torch.Generator().manual_seed(n) for n in (1, 2)] for _ in models]
    first, second = (draw_batch(m, 10, *g) for m, g in zip(models, generators, strict=True))
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(first[0][k], second[0][k]) for k in first[0])
    for name, parameter in models[0].reader.named_parameters():
        assert torch.equal(parameter, models[1].reader.get_parameter(name)), name


def test_the_streams_that_no_question_needs_can_be_missing():
    model = GymModel(Gym(tasks="before+count+recall", missing=1.0), 0)
    batch, _ = draw_batch(model, 9, *(torch.Generator().manual_seed(n) for n in (1, 2)))
    silent, dark = (batch[k].flatten(1).abs().sum(1) == 0 for k in ("audio", "visual"))
    assert silent.tolist() == [t == 1 for t in batch["task"].tolist()]  # count: about pictures
    assert dark.tolist() == [t == 0 for t in batch["task"].tolist()]  # before: about sounds


@pytest.mark.parametrize("name", ["bert_init_bare_queries", "convolution", "mlp"])
def test_the_arithmetic_of_every_connector_is_counted(name):
    """Finding: the counter failed where a parameter is the input of a module."""
    found = train(Gym(**{**TINY, "steps": 1}, tasks="recall", connector=name), 0)
    assert found["parameters"] > 0 and found["mflop"] > 0


def test_a_training_is_repeatable_and_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    one, two, other = (train(Gym(**TINY, tasks="recall"), seed) for seed in (0, 0, 1))
    assert one["curve"] == two["curve"] != other["curve"]
    assert torch.equal(before, torch.random.get_rng_state())
    assert [step for step, _ in one["curve"]] == [1, 2, 3]


@pytest.mark.slow
def test_concatenated_streams_are_learned_first():
    """The effect that the gym exists to show: the pair is given, or has to be found."""
    plan = GymPlan([{"sync": "concat"}, {"sync": "append"}], {"tasks": "recall", "steps": 250}, 1)
    found = gym(plan, "build/test-gym", progress=False).table.set_index("arm")
    assert found.final["sync=concat"] > 0.8 > 0.5 > found.final["sync=append"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"tasks": "recal"}, "no task 'recal'.*recall, before"),
    ({"frames": 2, "delay": 3}, "frames=2, expected int, at least 4"),
    ({"num_queries": 0}, "num_queries=0, expected int, at least 1"),
    ({"frames": 2.5}, "frames=2.5, expected int"),
    ({"attention": "sideways"}, "no attention 'sideways'"),
    ({"noise": -1.0}, "noise=-1.0, expected float, at least 0"),
    ({"width": 10, "heads": 4}, "width=10 and heads=4, expected a multiple"),
    ({"frames": 6, "test_frames": 300}, "found 300 frames in windows of 6, expected at most 32"),
])
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Gym(**changes)


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="colour is no field of the gym"):
        GymPlan([{"colour": 3}])
    with pytest.raises(ValueError, match="all different"):
        GymPlan([{}, {}])
    with pytest.raises(ValueError, match="seeds=0"):
        GymPlan([{}], seeds=0)


def known(arm, seed, values, steps=(1, 2, 4), task="recall", limit=4):
    """A training with a given curve."""
    return {"arm": arm, "seed": seed, "gym": {"steps": limit, "symbols": 10, "tasks": task},
            "curve": [[s, {task: v}] for s, v in zip(steps, values, strict=True)],
            "steps": steps[-1], "seconds": 1.0, "parameters": 7, "mflop": 0.5, "similarity": 0.1}


def test_the_table_has_the_mean_of_the_curve_and_the_first_90_percent():
    found = Curves([known("a", 0, (0.3, 0.9, 1.0)), known("b", 0, (0.1, 0.2, 0.4))]).table
    # Trapezoids from chance 0.1 at step 0: (0.2 + 0.6 + 2 * 0.95) / 4.
    assert found["mean"].tolist() == pytest.approx([(0.2 + 0.6 + 1.9) / 4, (0.1 + 0.15 + 0.6) / 4])
    assert found.reached[0] == 2 and np.isnan(found.reached[1])
    assert found.final.tolist() == [1.0, 0.4]
    early = Curves([known("a", 0, (0.5, 0.96, 0.98), limit=10)])  # solved at step 4 of 10
    assert early.curves.step.tolist() == [1, 2, 4, 10]
    assert early.table["mean"][0] == pytest.approx((0.3 + 0.73 + 1.94 + 6 * 0.98) / 10)


def test_differences_are_paired_and_corrected_for_their_number():
    results_ = [known(arm, seed, (0.1, 0.1, 0.1 + shift + 0.1 * seed))
                for seed in range(5) for arm, shift in (("a", 0), ("b", 0.2), ("c", 0.0))]
    found = Curves(results_).differences("final").set_index("arm")
    assert found.difference.tolist() == pytest.approx([20, 0])
    assert found.significant.tolist() == [True, False] and (found.compared == 2).all()
    wide = pd.DataFrame({"difference": [3.0], "error": [1.0], "seeds": [5]})
    assert results.corrected(wide).low[0] == pytest.approx(3 - 2.776, abs=1e-3)  # t, 4 degrees
    many = pd.concat([wide] * 5, ignore_index=True)
    assert results.corrected(many).verdict[0] == "not significant after correction for 5 intervals"
    few = Curves(results_[:6]).differences()
    assert "too few seeds" in few.verdict[0]


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    plan = GymPlan([{}, {"attention": "none"}], TINY, 2)
    first = gym(plan, tmp_path, progress=False)
    monkeypatch.setattr(results, "train", lambda *_: pytest.fail("trained again"))
    again = gym(plan, tmp_path, progress=False)
    assert str(first) == str(again) and len(list(tmp_path.glob("*.json"))) == 4
    with pytest.raises(pytest.fail.Exception):  # another seed is another training
        gym(GymPlan([{}], TINY, 3), tmp_path, progress=False)


def test_two_processes_give_the_same_curves(tmp_path):
    plan = GymPlan([{}, {"attention": "none"}], TINY, 1)
    alone, two = (gym(plan, tmp_path / str(n), jobs=n, progress=False) for n in (1, 2))
    assert alone.curves.equals(two.curves)


def test_a_part_of_ones_own_enters_from_a_file(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("import torch\nfrom favor_mini.registry import register\n\n"
                    "@register('attention', 'first_frame', causal=True)\n"
                    "def first_frame(num_frames, step_tokens, device=None):\n"
                    "    frame = torch.arange(num_frames).repeat_interleave(step_tokens)\n"
                    "    return (frame[:, None] == frame) | (frame == 0)\n")
    settings = ",".join(f"{k}={v}" for k, v in TINY.items())
    assert cli.main(["gym", "--parts", str(file), "--vary", "attention=block_causal,first_frame",
                     "--set", settings, "--tasks", "state", "--seeds", "1", "--jobs", "1",
                     "--out", str(tmp_path / "out")]) in (0, None)
    assert "attention=first_frame" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert table.arm.tolist() == ["attention=block_causal", "attention=first_frame"]
    assert (tmp_path / "out" / "curves.png").stat().st_size > 5000


def test_a_part_of_a_notebook_needs_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_module", lambda *_: "__main__")
    with pytest.raises(ValueError, match="more than one process.*jobs=1"):
        gym(GymPlan([{}, {"noise": 0.2}], TINY, 1), tmp_path, jobs=2)


def test_the_pages_of_the_studies_are_complete():
    for study in studies.STUDIES:
        for title in ("Question", "Paper", "Setting", "Prediction"):
            assert study.section(title), (study.name, title)
        assert study.section("Prediction").startswith("Written before the trainings.")
        assert study.seeds >= 5 and len(study.knobs) in (0, 2)
    assert "sync (60 trainings" in studies.listing()


@pytest.mark.parametrize("study", studies.STUDIES, ids=lambda s: s.name)
def test_shipped_results_are_whole_and_have_a_finding(study):
    file = studies.PAGES / f"{study.name}.json"
    if not file.is_file():
        pytest.skip("no results ship")
    found = studies.Phases.load(study, file)
    assert len(found.cells) == len(study.cells)
    for cell, curves in zip(study.cells, found.cells, strict=True):
        assert len(curves.seeds) == study.seeds and len(curves.arms) == len(study.arms)
        plan = {(name, seed): settings for name, settings, seed in study.plan(cell).runs()}
        for r in curves.results:  # the results are those of this study
            assert study.kind(**r["gym"]) == plan[r["arm"], r["seed"]]
    assert study.section("Finding")
    assert phase_diagram(found).alt_text.startswith("Difference from")


def test_a_study_is_run_cell_by_cell_and_drawn(tmp_path, monkeypatch):
    study = studies.Study("sync", [{"sync": "concat"}, {"sync": "interleave"}],
                          {"tokens": (1, 2), "frames": (3, 4)},
                          {"tasks": "recall", **TINY}, seeds=1)
    monkeypatch.setattr(studies, "STUDIES", [study])
    found = studies.run_study("sync", tmp_path, progress=False)
    assert found.differences[["tokens", "frames"]].values.tolist() == [
        [1, 3], [1, 4], [2, 3], [2, 4]]
    assert str(studies.known_study("sync", tmp_path)) == str(found)
    assert "tokens 1 frames 3" in phase_diagram(found).alt_text
    curves = learning_curves(found.cells[0])
    assert "sync=interleave 90 % after > 3 steps" in curves.alt_text
    with pytest.raises(ValueError, match="no study 'sink'.*sync"):
        studies.find_study("sink")


def test_the_command_lists_shows_and_refuses(capsys, tmp_path):
    assert cli.main(["gym"]) in (0, None)
    assert "prediction: Written before" in capsys.readouterr().out
    assert cli.main(["gym", "sync", "--tasks", "recall"]) == 1
    assert "name a study, or describe arms" in capsys.readouterr().err
