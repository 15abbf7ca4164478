"""`favor-mini finetune`: rows of one's own in, a checkpoint that answers better out."""

import json
import re

import numpy as np
import pytest
from conftest import FRAME_RATE, same_weights, tiny_model, tiny_processor
from media_files import clicks, write_media

from favor_mini import FavorForConditionalGeneration, load_learned
from favor_mini.apps.cli import main
from favor_mini.apps.finetune import compare, was_trained
from favor_mini.evaluation.checkpoint import load_checkpoint

TEXT = "see red circle hear bell see drum"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A folder with a checkpoint `start`, four clips in `media`, `rows.json` and `val.json`."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "media").mkdir()
    model = tiny_model(num_queries=24)
    model.save_pretrained(folder / "start")
    tiny_processor(model.config).save_pretrained(folder / "start")
    rows = []
    for i in range(4):
        write_media(folder / "media" / f"{i}.mp4", times=np.arange(20) / 10, waves=clicks(2.0))
        rows += [{"video": f"{i}.mp4", "transcript": TEXT},
                 {"video": f"{i}.mp4", "question": "what was heard?", "answer": "bell"}]
    (folder / "rows.json").write_text(json.dumps(rows[:6] + [{"video": "0.mp4"}]))
    (folder / "val.json").write_text(json.dumps(rows[7:]))
    return folder


def finetune(start, out, *options, cache=None):
    return main(["finetune", str(start / "rows.json"), "--media-root", str(start / "media"),
                 "--checkpoint", str(start / "start"), "--cache", str(cache or start / "features"),
                 "--steps", "5", "--batch", "2", "--out", str(out), *options])


def test_before_and_after_are_measured_and_the_checkpoint_is_written(start, tmp_path, capsys):
    assert finetune(start, tmp_path, "--validation", str(start / "val.json")) == 0
    out, err = capsys.readouterr()
    assert "rows.json: 1 of 7 rows cannot be used" in err and "row 6" in err
    assert out.count("1 questions asked") == 2
    assert "difference" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert re.search(r"difference [+-][\d.]+ points \(95 % interval", out)
    log = json.loads((tmp_path / "log.json").read_text(encoding="utf-8"))
    assert {e["stage"] for e in log} == {"align", "ask"}
    assert any("eval_cross_entropy" in e for e in log)
    before, after = load_checkpoint(start / "start")[0], load_checkpoint(tmp_path)[0]
    moved = {name.split(".")[0] for (name, old), new in
             zip(before.named_parameters(), after.parameters(), strict=True)
             if not (old == new).all() and "lora_" not in name}
    assert moved == set(before.CONNECTOR)


def test_a_finished_command_trains_nothing_twice(start, tmp_path):
    assert finetune(start, tmp_path) == 0
    first = FavorForConditionalGeneration.from_pretrained(tmp_path)
    assert finetune(start, tmp_path) == 0
    assert same_weights(first, FavorForConditionalGeneration.from_pretrained(tmp_path))


def test_connector_and_lora_alone_can_be_kept(start, tmp_path, capsys):
    assert finetune(start, tmp_path / "whole") == 0
    assert finetune(start, tmp_path / "own", "--learned-only", "--validation",
                    str(start / "val.json")) == 0
    assert "difference" in capsys.readouterr().out
    assert not list(tmp_path.glob("own/**/model.safetensors.index*"))
    assert not (tmp_path / "own" / "model.safetensors").exists()
    model, _ = load_checkpoint(start / "start")
    load_learned(model, tmp_path / "own")
    assert same_weights(model, load_checkpoint(tmp_path / "whole")[0])


def test_a_dry_run_trains_and_writes_nothing(start, tmp_path, capsys):
    assert finetune(start, tmp_path / "none", "--dry-run") == 0
    out = capsys.readouterr().out
    assert re.search(r"align +4 .*\n *ask +1 ", out) and "minutes of training on 6 rows" in out
    assert not (tmp_path / "none").exists()


def test_a_trained_connector_learns_slowly_by_default(start):
    model, _ = load_checkpoint(start / "start")
    assert was_trained(model)
    model.reset_trained(0)
    assert not was_trained(model)


def test_the_starting_weights_are_not_overwritten(start, capsys):
    assert finetune(start, start / "start") == 1
    assert "holds the starting weights" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "message"), [
    (("--report-to", "tensorbord"), "found the logger 'tensorbord', expected one of csv"),
    (("--accumulate", "1.5"), "found '1.5', expected a whole number"),
    (("--seed", "0.5"), "found '0.5', expected a whole number"), (("--lr", "-1"), "Must be > 0")])
def test_wrong_options_are_found_before_anything_is_encoded(start, tmp_path, options, message,
                                                            capsys):
    assert finetune(start, tmp_path / "out", *options, cache=tmp_path / "cache") in (1, 2)
    assert message in capsys.readouterr().err and not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_encoded(start, tmp_path,
                                                                             capsys):
    (tmp_path / "file").write_text("mine")
    assert finetune(start, tmp_path / "file", cache=tmp_path / "cache") == 1
    assert "is a file, expected a folder" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists() and (tmp_path / "file").read_text() == "mine"


def test_clips_that_are_in_both_files_are_named_also_on_the_card(start, tmp_path, capsys):
    validation = tmp_path / "val.json"
    validation.write_text(json.dumps([{"video": f"{i}.mp4", "question": "what was heard?",
                                       "answer": "bell"} for i in range(2)]))
    assert finetune(start, tmp_path / "out", "--validation", str(validation)) == 0
    assert f"files are both in rows.json and {validation}" in capsys.readouterr().err
    assert "not about new clips" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_problems_that_are_not_shown_are_counted(start, tmp_path, capsys):
    rows = json.loads((start / "rows.json").read_text(encoding="utf-8"))
    many = tmp_path / "rows.json"
    many.write_text(json.dumps(rows + [{"video": "0.mp4"}] * 12))
    assert main(["finetune", str(many), "--media-root", str(start / "media"), "--checkpoint",
                 str(start / "start"), "--cache", str(start / "features"), "--steps", "5",
                 "--batch", "2", "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert "13 of 19 rows cannot be used" in err
    assert f"... and 3 more; `favor-mini data {many} --all` lists them" in err


def test_other_rows_in_the_same_folder_are_refused(start, tmp_path, capsys):
    """Finding: a second manifest into the same folder trained nothing, and nothing was said."""
    assert finetune(start, tmp_path) == 0
    (start / "other.json").write_text(json.dumps([
        {"video": "0.mp4", "transcript": "see drum hear bell see drum"}]))
    assert main(["finetune", str(start / "other.json"), "--media-root", str(start / "media"),
                 "--checkpoint", str(start / "start"), "--cache", str(start / "features"),
                 "--steps", "5", "--batch", "2", "--out", str(tmp_path)]) == 1
    assert "a run with other data" in capsys.readouterr().err


def test_the_difference_is_paired_and_of_questions_that_both_answered(tmp_path):
    def write(name, rights):
        lines = [{"file": "x"}, *({"id": str(i), "right": right, "digests": [str(i // 2)]}
                                  for i, right in enumerate(rights) if right is not None)]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / name

    gain, low, high = compare(write("a", [True, False, False, None, True]),
                              write("b", [True, True, True, True, None]))
    assert gain == pytest.approx(2 / 3) and low <= gain <= high
    assert compare(write("a", [True] * 4), write("b", [True] * 4)) == (0, 0, 0)


assert FRAME_RATE == 10.0  # two seconds of clip are five windows of 24 queries
