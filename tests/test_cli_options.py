"""The options of `compare` and `train` reach the functions that they are for."""

from dataclasses import fields

from favor_mini.apps import cli


def test_options_of_compare_are_the_fields_of_its_plan(capsys):
    from favor_mini.lab.plan import Plan

    assert cli.main(["compare", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(Plan):
        if field.name not in ("arms", "fixed"):
            option = "--" + field.name.replace("_", "-")
            assert option in text and field.metadata["help"] in text, option


def test_compare_fills_its_plan(monkeypatch, capsys):
    from favor_mini.lab import compare

    plans = []
    monkeypatch.setattr(compare, "dry_run", lambda plan, out, **_: plans.append((plan, out)))
    for arms in (["--vary", "window_frames=10,5"],
                 ["--arm", "window_frames=10", "--arm", "window_frames=5"]):
        assert cli.main(["compare", *arms, "--set", "num_queries=8", "--seeds", "2", "--tasks",
                         "--dry-run"]) == 0
    (plan, out), same = plans
    assert plan == same[0] and plan.arms == [{"window_frames": 10}, {"window_frames": 5}]
    assert (plan.fixed, plan.seeds, plan.tasks, out) == ({"num_queries": 8}, 2, True,
                                                         "build/compare")


def test_train_hands_on_what_was_typed(monkeypatch, capsys):
    from favor_mini.pretraining import recipe

    called = []
    monkeypatch.setattr(recipe, "make_part", lambda part, out, **options:
                        called.append((part, out, options)) or part)
    monkeypatch.setattr(recipe, "make_favor", lambda parts, out, **options:
                        called.append((parts, out, options)) or "favor")
    assert cli.main(["train", "audio", "--steps", "3", "--out", "here", "--seed", "5"]) == 0
    quiet = {"progress": False}  # no bar in a file or a pipe
    assert called == [("audio", "here", {"seed": 5, "steps": 3, **quiet})]
    called.clear()
    assert cli.main(["train", "favor", "--from", "there", "--scenes", "9", "--name-steps", "4",
                     "--ask-steps", "2"]) == 0
    assert called == [("there", "build/make", {"seed": 0, "scenes": 9, "recipe": "aligned",
                                               "steps": {"name": 4, "ask": 2}, **quiet})]
    called.clear()
    assert cli.main(["train", "all", "--out", "here"]) == 0
    assert [c[0] for c in called] == ["audio", "vision", "language", "here"]
    assert called[-1][2] == {"seed": 0, "steps": {}, **quiet}
    assert capsys.readouterr().out.split() == ["audio", "favor", "audio", "vision", "language",
                                               "favor"]
