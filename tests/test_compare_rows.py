"""`favor-mini compare` on rows of one's own."""

import json

import pytest
from test_finetune_command import start  # noqa: F401 (a fixture)

from favor_mini.apps.cli import main
from favor_mini.lab.plan import Plan
from favor_mini.lab.statistics import Comparison


def compare(start, out, *options, validation=None):  # noqa: F811
    return main(["compare", "--file", str(start / "rows.json"), "--validation",
                 str(validation or start / "val.json"), "--media-root", str(start / "media"),
                 "--checkpoint", str(start / "start"), "--out", str(out), "--seeds", "1",
                 "--steps", "2", "--batch", "2", *options])


def test_arms_train_on_the_rows_and_are_asked_the_validation_rows(start, tmp_path, capsys):  # noqa: F811
    assert compare(start, tmp_path, "--vary", "attention=block_causal,none") == 0
    out, err = capsys.readouterr()
    assert "rows.json: 1 problems with 7 rows" in err and "row 6" in err
    assert "attention=none" in out and "your rows" in out
    one, other = Comparison.load(tmp_path / "results.json").results
    assert one["steps"] == {"align": 1, "ask": 1} and one["changes"] != other["changes"]
    assert one["split"] == str(start / "val.json")
    (row,) = one["rows"]
    assert row["question"].endswith("what was heard?") and row["answer"] == "bell"
    assert row["family"] == "your rows" and row["chance"] == 0
    assert not list(tmp_path.glob("runs/*/asked")) + list(tmp_path.glob("runs/*/*.jsonl"))
    assert compare(start, tmp_path, "--vary", "attention=block_causal,none") == 0
    assert capsys.readouterr().err.count("already done") == 2


def test_a_text_without_a_question_is_not_asked_and_shared_clips_are_named(start, tmp_path,  # noqa: F811
                                                                           capsys):
    rows = json.loads((start / "val.json").read_text(encoding="utf-8"))
    validation = tmp_path / "val.json"
    validation.write_text(json.dumps([*rows, {"video": "0.mp4", "transcript": "see a drum"}]))
    assert compare(start, tmp_path / "out", "--vary", "attention=block_causal,none",
                   validation=validation) == 0
    (row,) = Comparison.load(tmp_path / "out" / "results.json").results[0]["rows"]
    assert row["question"].endswith("what was heard?")
    assert "files are both in" in capsys.readouterr().err


def test_other_texts_or_media_are_another_run(start, tmp_path, capsys):  # noqa: F811
    arms = ("--vary", "recipe=aligned,ask")
    assert compare(start, tmp_path, *arms) == 0
    rows = (start / "val.json").read_text(encoding="utf-8")
    try:
        (start / "val.json").write_text(rows.replace("bell", "drum"))
        assert compare(start, tmp_path, *arms) == 0
    finally:
        (start / "val.json").write_text(rows)
    assert "already done" not in capsys.readouterr().err
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 4


def test_the_cost_is_told_and_nothing_is_trained(start, tmp_path, capsys):  # noqa: F811
    assert compare(start, tmp_path, "--vary", "recipe=aligned,align", "--dry-run") == 0
    assert "recipe=align " in capsys.readouterr().out
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(("changes", "message"), [
    ({"file": "a.json"}, "one of file and validation. Fix: name both"),
    ({"file": "a.json", "validation": "b.json", "arms": [{}, {"recipe": "named"}]},
     "recipe=named with rows of your own"),
    ({"file": "a.json", "validation": "b.json", "arms": [{}, {"without": "phone"}]},
     "without=phone with rows of your own")])
def test_what_needs_the_mini_world_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Plan(**{"arms": [{}, {"attention": "none"}], **changes})


def test_validation_rows_that_cannot_be_asked_are_refused(start, tmp_path, capsys):  # noqa: F811
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps([{"video": "none.mp4", "question": "what?", "answer": "bell"}]))
    assert compare(start, tmp_path, "--vary", "recipe=aligned,ask", validation=broken) == 1
    assert "found no row that can be asked" in (err := capsys.readouterr().err)
    assert "broken.json, row 0, field 'media': no none.mp4 under" in err
    assert not list(tmp_path.glob("runs/*"))
