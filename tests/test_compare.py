"""Paired comparisons: plans, repeatable runs, and keys made of what decides a run."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_registry import scratch  # noqa: F401 (a fixture)

from favor_mini import checkpoint_path, data_path, registry
from favor_mini.apps import cli
from favor_mini.evaluation.checkpoint import checkpoint_digest
from favor_mini.lab import run as run_module
from favor_mini.lab.compare import _with_steps, compare
from favor_mini.lab.plan import (
    FIELDS,
    Plan,
    arm_name,
    left_out,
    load_parts,
    parse_changes,
    scene_names,
)
from favor_mini.lab.run import fresh_model, run_folder
from favor_mini.lab.statistics import LEFT_OUT, Comparison
from favor_mini.world.rows import scene_of
from favor_mini.world.scene import COLOURS, SHAPES, THINGS, draw_scene
from favor_mini.world.tasks import TASKS

QUICK = {"seeds": 1, "steps": 3, "clips": 8, "batch": 2, "scenes": 2, "questions": 4}


def test_names_left_out_exist_in_the_mini_world():
    assert left_out({"without": "phone+purple"}) == {"phone", "purple"} and left_out({}) == set()
    with pytest.raises(ValueError,
                       match="no 'telephone' in the mini world. Fix: join names of shapes"):
        Plan([{}, {"without": "telephone"}])
    plan = Plan([{}, {"without": "phone"}], clips=10)
    assert plan.pool == 50 and Plan([{}, {"attention": "full"}], clips=10).pool == 10
    assert parse_changes("without=phone+tiger") == {"without": "phone+tiger"}
    scene = draw_scene(0)
    names = {actor.name for moment in scene.moments for actor in moment.actors}
    names |= {moment.heard.name for moment in scene.moments if moment.heard}
    colours = {c for moment in scene.moments for actor in moment.actors
               for c in (actor.colour, actor.turns) if c in COLOURS}
    assert colours and names | colours <= scene_names(scene) <= names | {*COLOURS}


@pytest.mark.parametrize("text, changes", [
    ("attention=full", {"attention": "full"}), ("window_frames=5, num_queries=8",
                                                {"window_frames": 5, "num_queries": 8}),
    ("diversity_weight=1e-3", {"diversity_weight": 0.001}), ("", {}),
    ("recipe=ask,lora_rank=0", {"recipe": "ask", "lora_rank": 0})])
def test_changes_are_read(text, changes):
    assert parse_changes(text) == changes
    assert arm_name(changes) == (", ".join(f"{k}={v}" for k, v in changes.items()) or "as shipped")


@pytest.mark.parametrize("plan, match", [
    (lambda: Plan([{}]), "at least two arms"), (lambda: Plan([{}, {}]), "all different"),
    (lambda: Plan([{"num_queries": 8, "window_frames": 5}, {"window_frames": 5, "num_queries": 8}]),
     "all different"),
    (lambda: Plan([{}, {"frame_rate": 5}]), "cannot set frame_rate. Fix: choose among sync"),
    (lambda: Plan([{}, {"attention": "diagonal"}]), "no attention 'diagonal'"),
    (lambda: Plan([{}, {"attention": "full"}], seeds=0), "at least 1"),
    (lambda: Plan([{}, {"attention": "full"}], steps=2), "at least 3, one per stage"),
    (lambda: Plan([{"recipe": "align"}, {"recipe": "aligned"}], steps=1), "at least 2, one per"),
    (lambda: Plan([{}, {"recipe": "labels"}]), "no recipe 'labels'. Fix: choose among aligned"),
    (lambda: parse_changes("attention"), "expected FIELD=VALUE"),
    (lambda: parse_changes("num_queries=many"), "expected a number")])
def test_what_cannot_be_compared_is_explained(plan, match):
    with pytest.raises(ValueError, match=match):
        plan()


def test_a_fresh_model_keeps_the_frozen_parts_and_nothing_else():
    shipped, _ = fresh_model(checkpoint_path(), 0, {})
    changed, processor = fresh_model(checkpoint_path(), 0,
                                     {"attention": "full", "window_frames": 5,
                                      "windows": "overlapping"})
    one, other = shipped.state_dict(), changed.state_dict()
    for name, tensor in one.items():
        if not name.startswith(shipped.CONNECTOR) and "lora_" not in name:
            assert tensor.equal(other[name]), name
    # the same first random numbers
    same = fresh_model(checkpoint_path(), 0, {"attention": "full"})[0].state_dict()
    assert all(tensor.equal(same[name]) for name, tensor in one.items())
    assert not one["qformer.queries"].equal(fresh_model(checkpoint_path(), 1,
                                                        {})[0].state_dict()["qformer.queries"])
    assert changed.config.attention == "full" and "lora_rank" in FIELDS
    assert (processor.settings.window_frames, processor.settings.windows) == (5, "overlapping")
    assert {n for n, p in changed.named_parameters() if p.requires_grad and "lora_" not in n} == {
        n for n, _ in changed.named_parameters() if n.startswith(shipped.CONNECTOR)}


@pytest.mark.slow
def test_a_comparison_runs_and_can_be_repeated(tmp_path, capsys):
    plan = Plan([{}, {"attention": "none"}], **QUICK)
    first = compare(plan, tmp_path / "one", progress=False)
    assert len(first.results) == 2
    assert first.results[0]["steps"] == {"name": 1, "align": 1, "ask": 1}
    assert first.results[0]["losses"] != first.results[1]["losses"]
    assert not list((tmp_path / "one").glob("runs/*/run")), "checkpoints of a finished run"
    capsys.readouterr()
    again = compare(plan, tmp_path / "one", progress=False)
    assert capsys.readouterr().err.count("(already done)") == 2 and again.results == first.results
    other = compare(plan, tmp_path / "two", progress=False)  # from scratch
    for a, b in zip(first.results, other.results, strict=True):
        assert (a["rows"], a["curve"]) == (b["rows"], b["curve"])
    assert str(Comparison.load(tmp_path / "one" / "results.json")) == str(first)


@pytest.mark.slow
def test_the_trainings_of_a_comparison_are_logged(tmp_path, capsys):
    arms = ["--arm", "recipe=aligned", "--arm", "recipe=aligned,attention=none,sync=append"]
    options = [f"--{k}={v}" for k, v in {**QUICK, "steps": 8, "out": tmp_path}.items()]
    assert cli.main(["compare", *arms, *options, "--loggers", "csv",
                     "--checkpoint", str(checkpoint_path("label-free"))]) in (0, None)
    found = Comparison.load(tmp_path / "results.json")
    curves = found.curves
    assert found.arms == ["recipe=aligned", "recipe=aligned, attention=none, sync=append"]
    assert {"align", "ask"} == {*curves.stage} and len(curves) > 2 * 5
    for result in found.results:  # what was known before is the end of each stage
        mine = curves[(curves.arm == result["arm"]) & (curves.seed == result["seed"])]
        for stage, loss in result["losses"].items():
            assert mine[mine.stage == stage].cross_entropy.iloc[-1] == loss["cross_entropy"]
    # Two parts at once, and what each training logged; no checkpoints of finished runs.
    assert len([*tmp_path.glob("runs/*/run/*/log.csv")]) == 4
    assert not [*tmp_path.glob("runs/*/run/*/checkpoint-*")]
    assert (tmp_path / "curves.csv").read_bytes().startswith(b"arm,seed,stage,step,cross_entropy")
    assert (tmp_path / "curves.png").stat().st_size > 5000


@pytest.mark.slow
def test_arms_can_be_compared_by_task_and_leave_names_out(tmp_path, monkeypatch):
    plan = Plan([{}, {"without": "phone+zero"}], **{**QUICK, "clips": 12, "scenes": 1}, tasks=True)
    met, learn = [], run_module.finetune

    def recorded(model, processor, data, *rest, **options):
        met.append([scene_names(scene_of(e)) for e in data.encoded])
        return learn(model, processor, data, *rest, **options)

    monkeypatch.setattr(run_module, "finetune", recorded)
    found = compare(plan, tmp_path, progress=False)
    baseline, without = ({"phone", "zero"} & set().union(*clips) for clips in met)
    assert baseline == {"phone", "zero"} and without == set() and len(met[0]) == len(met[1])
    assert set(found.families) == set(TASKS) and found.groups == (*TASKS, *LEFT_OUT, "all")
    with pytest.raises(ValueError,
                       match="of 60 training clips are without .*, .* are needed. Fix:"):
        compare(Plan([{}, {"without": "+".join(SHAPES + THINGS)}], **{**QUICK, "clips": 12},
                     tasks=True), tmp_path, progress=False)


PART = """
from favor_mini.registry import register

@register("attention", "mine", causal=True)
def mine(num_frames, step_tokens, device=None):
    '''One of my own.'''
    from favor_mini.attention import {name}
    return {name}(num_frames, step_tokens, device)
"""


@pytest.mark.slow
def test_the_dry_run_prints_the_cost(scratch, tmp_path, capsys):  # noqa: F811
    (tmp_path / "mine.py").write_text(PART.format(name="full"))
    code = cli.main(["compare", "--parts", str(tmp_path / "mine.py"), "--vary",
                     "attention=block_causal,mine",
                     "--seeds", "2", "--steps", "10", "--clips", "16", "--batch", "2",
                     "--out", str(tmp_path / "out"), "--dry-run"])
    printed = capsys.readouterr().out
    assert code == 0 and "attention=mine" in printed and "2 seeds, 10 steps per run" in printed
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_a_kept_model_answers_with_its_own_part(scratch, tmp_path, capsys):  # noqa: F811
    mine, out = tmp_path / "mine.py", tmp_path / "out"
    mine.write_text(PART.format(name="full"))
    options = ["--seeds", "1", "--steps", "3", "--clips", "8", "--scenes", "2", "--batch", "2",
               "--out", str(out), "--parts", str(mine)]
    assert cli.main(["compare", "--vary", "attention=block_causal,mine", *options]) == 0
    assert not list(out.glob("runs/*/model"))
    assert cli.main(["compare", "--vary", "attention=block_causal,mine", *options, "--keep"]) == 0
    printed = capsys.readouterr().err
    folders = {json.loads((folder / "config.json").read_text(encoding="utf-8"))["attention"]: folder
               for folder in out.glob("runs/*/model")}
    assert set(folders) == {"block_causal",
                            "mine"} and all(str(folder) in printed for folder in folders.values())

    registry._PARTS.pop(("attention", "mine"))
    ask = ["ask", str(data_path("clips", "clip_05.mp4")), "what was said first?", "--checkpoint",
           str(folders["mine"])]
    assert cli.main(ask) == 1 and "--parts FILE.py" in capsys.readouterr().err
    assert cli.main([*ask, "--parts", str(mine)]) == 0
    before = checkpoint_digest(folders["mine"])
    mine.write_text(PART.format(name="block_causal"))
    load_parts(mine)
    assert checkpoint_digest(folders["mine"]) != before, "old predictions would be reused"


def test_two_comparisons_at_once_train_a_run_once(tmp_path, monkeypatch):
    made, file = [], tmp_path / "runs" / "one" / "result.json"

    def slow(*_):
        made.append(1)
        time.sleep(0.5)
        file.write_text('{"seed": 3}')
        return {"seed": 3}

    monkeypatch.setattr(run_module, "_run", slow)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: run_module.run(tmp_path, None, {}, 3, [], file, False),
                              range(2)))
    assert found == [{"seed": 3}] * 2 and len(made) == 1


def test_another_configuration_is_another_run(tmp_path):
    def folder(arm, seed=0, **changes):
        return run_folder(tmp_path, checkpoint_path(),
                          Plan([arm, {"attention": "none"}], **{**QUICK, **changes}), arm, seed)

    assert folder({}) == folder({}, seeds=7), "more seeds leave the runs that are there"
    different = {folder({}), folder({}, seed=1), folder({}, steps=9), folder({}, lr=1e-3),
                 folder({"attention": "full"})}
    assert len(different) == 5


def test_more_seeds_or_arms_keep_the_number_of_steps(tmp_path, monkeypatch):
    measured = iter([1.0, 2.0])
    monkeypatch.setattr("favor_mini.lab.compare._step_seconds",
                        lambda *_: dict.fromkeys(("name", "align", "ask"), next(measured)))

    def steps(**changes):
        plan = Plan(**{"arms": [{}, {"attention": "none"}], "minutes": 1.0, **changes})
        return _with_steps(plan, checkpoint_path(), [], tmp_path).steps

    assert steps() == steps(seeds=9) == steps(arms=[{}, {"attention": "full"}]) == 60
    assert steps(arms=[{"attention": "full"}, {}]) == 30  # another baseline


@pytest.mark.parametrize("changes, lora", [({"lora_rank": 0}, False), ({"lora_rank": 4}, True)])
def test_lora_can_be_left_out(changes, lora):
    model, _ = fresh_model(checkpoint_path(), 0, changes)
    shipped, _ = fresh_model(checkpoint_path(), 0, {})
    assert any("lora_" in name for name, _ in model.named_parameters()) == lora
    ids = torch.arange(7, 17)[None]
    torch.testing.assert_close(model.eval()(input_ids=ids).logits,
                               shipped.eval()(input_ids=ids).logits)  # LoRA starts as nothing


def test_an_arm_draws_no_others_random_numbers():
    one, other = (fresh_model(checkpoint_path(), 0, changes)[0].state_dict()
                  for changes in ({}, {"connector": "mlp", "num_queries": 8}))
    for name in [n for n in one if n.startswith(("projection.",
                                                 "audio_projection.")) or "lora_" in n]:
        assert one[name].equal(other[name]), name


def test_an_edited_part_in_a_file_is_trained_again(scratch, tmp_path):  # noqa: F811
    def folder(name):
        (tmp_path / "mine.py").write_text(PART.format(name=name))
        load_parts(tmp_path / "mine.py")
        return run_folder(tmp_path, checkpoint_path(), Plan([{}, {"attention": "mine"}], **QUICK),
                          {"attention": "mine"}, 0)

    assert folder("full") == folder("full") != folder("block_causal")


def test_a_file_that_is_not_python_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x = 1")
    with pytest.raises(ValueError, match="is not a Python file"):
        load_parts(tmp_path / "mine.txt")


@pytest.mark.parametrize("content, error, match", [
    (None, FileNotFoundError, "no file .*mine.py"), ("1 / 0", ValueError,
                                                     "mine.py failed: ZeroDivisionError"),
    (PART.format(name="full").replace("mine", "full"), ValueError,
     "attention 'full' is favor_mini.attention.full already")])
def test_a_file_that_cannot_be_used_is_explained(
        scratch, tmp_path, content, error, match):  # noqa: F811
    if content:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(error, match=match):
        load_parts(tmp_path / "mine.py")


@pytest.mark.slow
def test_two_processes_make_each_run_once_and_give_the_same_results(tmp_path, monkeypatch):
    plan = Plan([{}, {"attention": "none"}], **{**QUICK, "seeds": 2})
    alone = compare(plan, tmp_path / "one", progress=False)
    together = compare(plan, tmp_path / "two", progress=False, jobs=2)
    assert str(alone.differences()) == str(together.differences())
    assert len(list((tmp_path / "two").rglob("result.json"))) == 4


def test_a_part_of_a_notebook_is_compared_in_one_process(tmp_path, scratch):  # noqa: F811
    def mine(num_frames, step_tokens, device=None):
        return torch.ones(num_frames * step_tokens, num_frames * step_tokens, dtype=torch.bool)

    mine.__module__ = "__main__"
    registry.register("attention", "of_a_notebook")(mine)
    with pytest.raises(ValueError, match="'of_a_notebook' of this notebook and 2 processes"):
        compare(Plan([{}, {"attention": "of_a_notebook"}], **QUICK), tmp_path, jobs=2)


def test_the_arithmetic_of_a_connector_with_bare_queries_is_counted():
    model, _ = fresh_model(checkpoint_path(), 0, {"connector": "bert_init_bare_queries"})
    plain, _ = fresh_model(checkpoint_path(), 0, {})
    bare, normed = (run_module.connector_cost(m) for m in (model, plain))
    assert bare["gflop"] == normed["gflop"]
    assert normed["parameters"] - bare["parameters"] == 2 * model.config.qformer_width
