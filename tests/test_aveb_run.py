"""A published test-set file from end to end: asked, counted, skipped with a reason, and gone on with after a stop."""

import json
import shutil

import pytest

from favor_mini import data_path
from favor_mini.apps import cli
from favor_mini.aveb import run
from favor_mini.aveb.run import evaluate_file, score

ROWS = [
    {"image": "clip_05.mp4", "question": "what was said first?", "answer": "?", "answer_candidates": ["moon", "?"]},
    {"image_name": ["clip_01.mp4", "clip_01.wav"], "question": "what was said?", "answer": ["moon", "king"]},
    {"image": "../clip_05.mp4", "question": "what was said?", "answer": "moon"},
    {"image": "gone.mp4", "question": "what was said?", "answer": "moon"},
    {"image": "torn.mp4", "question": "what was said?", "answer": "moon"},
    {"image": "clip_01.mp4", "question": "what was said?"},
    {"image_name": "clip_01.mp4", "conversation": [["what was seen first?", "a bell"], ["what was said last?", "the moon"]]}]


@pytest.fixture
def benchmark(tmp_path):
    """A test-set file with stand-in media, sound of its own, one torn and one missing."""
    import soundfile

    from favor_mini import read_clip

    root = tmp_path / "media"
    root.mkdir()
    for name in ("clip_01.mp4", "clip_05.mp4"):
        shutil.copy(data_path("clips", name), root)
    soundfile.write(root / "clip_01.wav", read_clip(root / "clip_01.mp4").waveform, 16000)
    (root / "torn.mp4").write_bytes((root / "clip_01.mp4").read_bytes()[:2000])
    file = tmp_path / "test.json"
    file.write_text(json.dumps(ROWS))
    return file, root


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_a_file_is_asked_and_what_cannot_be_is_counted_with_its_reason(benchmark, tmp_path):
    file, root = benchmark
    found = evaluate_file(file, root, tmp_path / "out.jsonl", progress=False)
    assert (found.asked, len(found.missing), len(found.unreadable), len(found.broken)) == (4, 1, 1, 2)
    assert "row 5, field 'answer'" in found.broken[0] and "'../clip_05.mp4' leads out of" in found.broken[1]
    head, *rows = lines(tmp_path / "out.jsonl")
    assert head["file"] == "test.json" and [row["id"] for row in rows] == ["0", "1", "2", "3", "4", "6.0", "6.1"]
    assert rows[0]["predicted"] in ROWS[0]["answer_candidates"] and found.value[0] == sum(row.get("right", False) for row in rows) / 4
    said = str(found)
    assert "4 questions asked" in said and "1 whose media are not under the root" in said and "2 that are malformed, or lead out" in said


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [2, 32])
def test_a_stopped_run_goes_on_without_asking_twice_or_losing_a_row(benchmark, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(run, "CHUNK", chunk)
    file, root = benchmark
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    evaluate_file(file, root, whole, progress=False)
    content = whole.read_bytes()
    third = [i for i, byte in enumerate(content) if byte == 10][2]
    cut.write_bytes(content[: third + 20])  # killed in the middle of a line
    asked = []
    monkeypatch.setattr(run.Examinee, "_answer", lambda self, items, *rest, real=run.Examinee._answer: asked.append(
        [item.id for item in items]) or real(self, items, *rest))
    evaluate_file(file, root, cut, progress=False)
    assert cut.read_bytes() == content
    # A chunk is asked whole or not at all, so that no answer hangs on what it was asked beside.
    assert asked == ([["2", "3"], ["4", "6.0"], ["6.1"]] if chunk == 2 else [["0", "1", "2", "3", "4", "6.0", "6.1"]])
    file.write_text(json.dumps(ROWS[:2]))
    with pytest.raises(ValueError, match="can't be gone on with: it belongs to another run, of other rows; name another file or"):
        evaluate_file(file, root, cut, progress=False)
    assert cut.read_bytes() == content  # nothing of the learner's is lost


@pytest.mark.slow
def test_what_was_not_there_is_asked_once_it_is(benchmark, tmp_path):
    file, root = benchmark
    file.write_text(json.dumps([ROWS[0], ROWS[3]]))
    assert len(evaluate_file(file, root, tmp_path / "out.jsonl", progress=False).missing) == 1
    content = (tmp_path / "out.jsonl").read_bytes()
    assert len(evaluate_file(file, root, tmp_path / "out.jsonl", progress=False).missing) == 1
    assert (tmp_path / "out.jsonl").read_bytes() == content  # it is still not there: nothing is written twice
    shutil.copy(root / "clip_01.mp4", root / "gone.mp4")
    found = evaluate_file(file, root, tmp_path / "out.jsonl", progress=False)
    assert (found.asked, len(found.missing)) == (2, 0)
    shutil.copy(root / "clip_05.mp4", root / "gone.mp4")  # other media under the same name
    evaluate_file(file, root, tmp_path / "out.jsonl", progress=False)
    assert [row["id"] for row in lines(tmp_path / "out.jsonl")[1:]] == ["0", "1", "1", "1"]  # the last one counts


@pytest.mark.parametrize("content", ['[{"image": "a.jpg"}]', "my notes", '{"file": "other'])
def test_a_file_of_ones_own_is_not_written_over(benchmark, tmp_path, content):
    file, root = benchmark
    (tmp_path / "mine.txt").write_text(content)
    with pytest.raises(ValueError, match="can't be gone on with"):
        evaluate_file(file, root, tmp_path / "mine.txt", progress=False)
    assert (tmp_path / "mine.txt").read_text() == content
    with pytest.raises(ValueError, match="name another file for the predictions"):
        evaluate_file(file, root, file, progress=False)
    assert json.loads(file.read_text()) == ROWS


@pytest.mark.slow
def test_rows_that_would_stop_the_run_are_told_instead(benchmark, tmp_path):
    file, root = benchmark
    rows = [{"image": "x" * 300 + ".mp4", "question": "q?", "answer": "a"}, {"image": "a\0b", "question": "q?", "answer": "a"},
            {"image": "clip_01.mp4", "question": "what is <av>?", "answer": "a"},
            {"image": "clip_01.mp4", "question": "lone \ud800?", "answer": "a"},
            {"image": "clip_01.mp4", "question": "what was said?", "answer": "a", "duration": [5, 8]}]
    file.write_text(json.dumps(rows))
    found = evaluate_file(file, root, tmp_path / "out.jsonl", progress=False)
    assert (found.asked, len(found.missing), len(found.broken)) == (1, 1, 3)


def test_metrics_by_hand():
    rows = [{"predicted": "moon king", "answers": ("moon king",), "right": True, "media": ["a"]},
            {"predicted": "a ring", "answers": ("a king rides",), "right": False, "media": ["b"]}]
    value, low, high = score("accuracy", rows)
    assert value == 0.5 and low < 0.5 < high
    pytest.importorskip("jiwer")
    value, low, high = score("word error rate", rows)
    assert value == pytest.approx(2 / 5) and low == 0.0 and high == pytest.approx(2 / 3)  # of five words; none, two of three
    pytest.importorskip("pycocoevalcap")
    same = [{"predicted": t, "answers": (t,), "right": True, "media": [t]} for t in ("a bell rings out loud", "one dog barks at night")]
    assert score("CIDEr", same) == pytest.approx((10.0, 10.0, 10.0))


@pytest.mark.slow
def test_candidates_that_the_tokenizer_cannot_tell_apart_are_counted_and_wrong(benchmark, tmp_path):
    file, root = benchmark
    file.write_text(json.dumps([{"image": "clip_01.mp4", "question": "what was said?", "answer": "a dog",
                                 "answer_candidates": ["a dog", "a cat"]}]))
    found = evaluate_file(file, root, tmp_path / "out.jsonl", progress=False)
    assert (found.asked, found.undecided, found.value[0]) == (1, 1, 0.0)
    assert "1 of them have candidates that are the same to this model's tokenizer" in str(found)


def test_questions_about_one_medium_stand_or_fall_together():
    rows = [{"predicted": "a", "answers": ("a",), "right": medium < 5, "media": [str(medium)]} for medium in range(10) for _ in range(8)]
    value, low, high = score("accuracy", rows)
    assert value == 0.5 and high - low > 0.5  # ten media; as eighty questions it would be 0.22 wide
    assert score("accuracy", [{**row, "right": True} for row in rows])[1] < 1  # all right is not certainty


def test_an_unknown_task_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no task 'qa'; the tasks are asr, ac"):
        evaluate_file("test.json", tmp_path, tmp_path / "out.jsonl", task="qa")


def test_the_command_wants_a_root(tmp_path, capsys):
    assert cli.main(["evaluate", "--file", "test.json"]) == 1
    assert "--file wants --media-root DIR" in capsys.readouterr().err
    assert cli.main(["evaluate", "--media-root", str(tmp_path)]) == 1
    assert "--media-root and --metric go with --file" in capsys.readouterr().err
    assert cli.main(["evaluate", "--audio-delay", "1"]) == 1
    assert "go with --data samples or --scenes N" in capsys.readouterr().err
    assert cli.main(["evaluate", "--data", "samples", "--task", "asr"]) == 1
    assert "go with the eleven tasks" in capsys.readouterr().err
    assert cli.main(["evaluate", "--file", "test.json", "--media-root", str(tmp_path / "no")]) == 1
    assert "no folder" in capsys.readouterr().err
