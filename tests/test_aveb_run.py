"""A published test-set file from end to end: predictions, scores, skipped rows, continued runs."""

import json
import shutil

import pytest
from conftest import tiny_model, tiny_processor

from favor_mini import FavorProcessor, data_path, keys
from favor_mini.apps import cli
from favor_mini.aveb import predict
from favor_mini.aveb.files import Item, read_items
from favor_mini.aveb.predict import Predictor
from favor_mini.aveb.run import evaluate_file, score
from favor_mini.evaluation.answering import encode_clips, likelihood
from favor_mini.evaluation.intervals import wilson
from favor_mini.media.read import read_clip

ASKED = "what was said?"
ROWS = [
    {"image": "clip_05.mp4", "question": "what was said first?", "answer": "?",
     "answer_candidates": ["moon", "?"]},
    {"image_name": ["clip_01.mp4", "clip_01.wav"], "question": ASKED, "answer": ["moon", "king"]},
    {"image": "../clip_05.mp4", "question": ASKED, "answer": "moon"},
    {"image": "gone.mp4", "question": ASKED, "answer": "moon"},
    {"image": "torn.mp4", "question": ASKED, "answer": "moon"},
    {"image": "clip_01.mp4", "question": ASKED},
    {"image_name": "clip_01.mp4",
     "conversation": [["what was seen first?", "a bell"], ["what was said last?", "the moon"]]}]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny model with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def benchmark(tmp_path):
    """A test-set file and its media: two films and a sound; one file is torn, one missing."""
    import soundfile

    root = tmp_path / "media"
    root.mkdir()
    for name in ("clip_01.mp4", "clip_05.mp4"):
        shutil.copy(data_path("clips", name), root)
    soundfile.write(root / "clip_01.wav", read_clip(root / "clip_01.mp4").waveform, 16000)
    (root / "torn.mp4").write_bytes((root / "clip_01.mp4").read_bytes()[:2000])
    file = tmp_path / "test.json"
    file.write_text(json.dumps(ROWS))
    return file, root


@pytest.fixture
def evaluated(benchmark, checkpoint, tmp_path):
    """Evaluate the file with the tiny model: the report."""
    def run(rows=None, out=tmp_path / "out.jsonl"):
        file, root = benchmark
        if rows is not None:
            file.write_text(json.dumps(rows))
        return evaluate_file(file, root, out, checkpoint=checkpoint, progress=False)

    return run


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_text_without_a_question_is_no_part_of_the_accuracy(evaluated, benchmark):
    """Finding: whole captions had to be right letter by letter, and no model could win them."""
    (_, root), question = benchmark, ROWS[0]
    told = [{"image": question["image"], "caption": "see bell"}] * 2
    found = evaluated([question, *told])
    assert found.asked == 1 and "2 rows have a text and no question" in str(found)
    assert evaluated(told, root / "others.jsonl").asked == 2  # nothing else is asked


@pytest.mark.slow
def test_the_shipped_model_answers_a_file_and_skipped_rows_have_a_reason(benchmark, tmp_path):
    file, root = benchmark
    found = evaluate_file(file, root, tmp_path / "out.jsonl", progress=False)
    counts = (found.asked, len(found.missing), len(found.unreadable), len(found.broken))
    assert counts == (4, 1, 1, 2)
    assert "row 5, field 'answer'" in found.broken[0]
    assert "'../clip_05.mp4' leads out of" in found.broken[1]
    head, *rows = lines(tmp_path / "out.jsonl")
    assert head["file"] == "test.json"
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4", "6.0", "6.1"]
    assert rows[0]["predicted"] in ROWS[0]["answer_candidates"]
    assert found.value[0] == sum(row.get("right", False) for row in rows) / 4
    for text in ("4 questions asked", "skipped: 1 (media not found)",
                 "skipped: 1 (media unreadable)", "skipped: 2 (malformed rows or paths)"):
        assert text in str(found)


@pytest.mark.parametrize("chunk", [2, 32])
def test_a_stopped_run_continues_without_a_lost_or_repeated_row(
        evaluated, benchmark, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(predict, "CHUNK", chunk)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    evaluated(out=whole)
    content = whole.read_bytes()
    third = [i for i, byte in enumerate(content) if byte == 10][2]
    cut.write_bytes(content[: third + 20])  # stopped within a line
    asked, real = [], Predictor._answer

    def recorded(self, items, *rest):
        asked.append([item.id for item in items])
        return real(self, items, *rest)

    monkeypatch.setattr(Predictor, "_answer", recorded)
    evaluated(out=cut)
    assert cut.read_bytes() == content
    # A chunk is always answered whole: batches do not depend on where the run stopped.
    assert asked == ([["2", "3"], ["4", "6.0"], ["6.1"]] if chunk == 2 else
                     [["0", "1", "2", "3", "4", "6.0", "6.1"]])
    with pytest.raises(ValueError, match="cannot be continued: it belongs to a run with another "
                                         "rows. Fix: name another file"):
        evaluated(ROWS[:2], out=cut)
    assert cut.read_bytes() == content


def test_new_or_changed_media_are_predicted_again(evaluated, benchmark, tmp_path):
    """The old code compared sizes only: a changed file of the same size kept its predictions."""
    out, gone = tmp_path / "out.jsonl", benchmark[1] / "gone.mp4"
    assert len(evaluated([ROWS[0], ROWS[3]]).missing) == 1
    content = out.read_bytes()
    assert len(evaluated().missing) == 1
    assert out.read_bytes() == content  # still missing: no second row
    shutil.copy(benchmark[1] / "clip_01.mp4", gone)
    found = evaluated()
    assert (found.asked, len(found.missing)) == (2, 0)
    film = bytearray(gone.read_bytes())
    film[-1] ^= 1
    gone.write_bytes(film)  # as large as before
    evaluated()
    assert [row["id"] for row in lines(out)[1:]] == ["0", "1", "1", "1"]  # the last one counts


def test_a_clip_that_is_too_long_for_the_language_model_is_cut_and_told(
        evaluated, tmp_path, monkeypatch):
    """Finding: 30 minutes of film went far past the language model's positions, in silence."""
    question = {"image": "clip_01.mp4", "question": "what was said?", "answer": "moon"}
    assert not evaluated([question]).doubtful
    media, steps = FavorProcessor.media, []

    def counted(self, clip):
        steps.append(self.num_steps(media(self, clip)))
        return media(self, clip)

    monkeypatch.setattr(FavorProcessor, "media", counted)
    monkeypatch.setattr(FavorProcessor, "longest_clip", 2.0)
    (note,) = evaluated([question], tmp_path / "cut.jsonl").doubtful
    assert "only the first 2 of 10 s" in note and steps == [20]


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return Predictor(checkpoint)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources, to which cache keys refer."""
    copy = tmp_path / "favor_mini"
    shutil.copytree(keys.PACKAGE, copy, ignore=lambda folder, names: [
        n for n in names if "." in n and not n.endswith(".py")] + ["checkpoints", "__pycache__"])
    monkeypatch.setattr(keys, "PACKAGE", copy)
    keys.code_digest.cache_clear()
    yield copy
    keys.code_digest.cache_clear()


@pytest.mark.parametrize("module, old, new, differs", [
    ("aveb/predict.py", '"""Answer the questions', '"""Reply to the questions', False),
    ("apps/ask.py", '"""', '"""Edited. ', False),
    ("aveb/run.py", "FORMS = {", "FORMS = {'x': '', ", False),  # decides no prediction
    ("aveb/predict.py", "CHUNK = 32", "CHUNK = 31", True),
    ("data/files.py", "+ 0.5", "+ 0.6", True),
    ("evaluation/answering.py", "batch: int = 32", "batch: int = 16", True),
    ("prompts.py", "USER: <Img>", "User: <Img>", True)])
def test_the_key_depends_on_code_that_decides_predictions(
        package, predictor, benchmark, module, old, new, differs):
    """The old key left out aveb/run.py and what reads files; a docstring of ask.py changed it."""
    before = predictor.key(benchmark[0])
    text = (package / module).read_text(encoding="utf-8")
    assert old in text
    (package / module).write_text(text.replace(old, new, 1), encoding="utf-8")
    keys.code_digest.cache_clear()
    after = predictor.key(benchmark[0])
    assert (before != after) == differs


def test_the_key_depends_on_file_streams_weights_and_libraries(
        checkpoint, predictor, benchmark, tmp_path, monkeypatch):
    file = benchmark[0]
    found = [predictor.key(file), predictor.key(file, ("audio",))]
    other = shutil.copytree(checkpoint, tmp_path / "other")
    tiny_model(seed=1).save_pretrained(other)
    found += [Predictor(other).key(file), Predictor(checkpoint, "text only").key(file)]
    monkeypatch.setattr(keys, "version", lambda name: "0.0")
    found.append(predictor.key(file))
    file.write_text("[]")
    found.append(predictor.key(file))
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("content", ['[{"image": "a.jpg"}]', "my notes", '{"file": "other'])
def test_no_other_file_is_overwritten(evaluated, benchmark, tmp_path, content):
    (tmp_path / "mine.txt").write_text(content)
    with pytest.raises(ValueError, match="cannot be continued"):
        evaluated(out=tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == content
    with pytest.raises(ValueError, match="name another file for predictions"):
        evaluated(out=benchmark[0])
    assert json.loads(benchmark[0].read_text(encoding="utf-8")) == ROWS


def test_rows_that_would_stop_the_run_are_skipped(evaluated):
    plain = {"image": "clip_01.mp4", "question": ASKED, "answer": "a"}
    found = evaluated([{**plain, "image": "x" * 300 + ".mp4"}, {**plain, "image": "a\0b"},
                       {**plain, "question": "what is <av>?"},
                       {**plain, "question": "lone \ud800?"}, {**plain, "duration": [5, 8]}])
    assert (found.asked, len(found.missing), len(found.broken)) == (1, 1, 3)
    assert any("placeholder <av>" in problem for problem in found.broken)


def test_the_placeholder_is_refused_as_the_processor_refuses_it(
        benchmark, checkpoint, tmp_path):
    """The old check looked for the placeholder's token. Where the tokenizer splits the text
    otherwise, the processor's own check then stopped the whole run."""
    predictor = Predictor(checkpoint)
    predictor.model.config.placeholder_id = -1  # as if the tokenizer split it
    item = Item("0", ("clip_01.mp4",), "a <av>?", ("a",))
    (row,) = predictor.predict(benchmark[0], [item], benchmark[1],
                               tmp_path / "out.jsonl", progress=False)
    assert row["skipped"] == "outside" and "placeholder <av>" in row["problem"]


def test_candidates_are_ranked_per_token(benchmark, predictor, tmp_path):
    """Ranked by the log probability of the whole answer, as before, short candidates win."""
    file, root = benchmark
    candidates = ["moon", "ring", "left left left left", "red circle"]
    file.write_text(json.dumps([{"image": "clip_01.mp4", "question": ASKED, "answer": answer,
                                 "answer_candidates": candidates} for answer in candidates]))
    rows = predictor.predict(file, read_items(file)[0], root, tmp_path / "out.jsonl",
                             progress=False)
    settings, model, processor = predictor.processor.settings, predictor.model, predictor.processor
    clip = read_clip(root / "clip_01.mp4", frame_rate=settings.frame_rate,
                     image_size=settings.image_size)
    media = encode_clips(model, processor, {"": clip})[""]
    total = likelihood(model, processor, [media] * 4, [ASKED] * 4, candidates)
    tokens = [len(processor.tokenizer(f" {c}", add_special_tokens=False).input_ids) + 1
              for c in candidates]
    expected = candidates[int((total / tokens).argmax())]
    assert expected != candidates[int(total.argmax())]
    assert [row["predicted"] for row in rows] == [expected] * 4
    assert [row["right"] for row in rows] == [c == expected for c in candidates]


def test_candidates_with_the_same_tokens_are_counted_as_wrong(evaluated):
    found = evaluated([{"image": "clip_01.mp4", "question": ASKED, "answer": "a dog",
                        "answer_candidates": ["a dog", "a cat"]}])
    assert (found.asked, found.undecided, found.value[0]) == (1, 1, 0.0)
    assert "1 of them have candidates that are the same to this model's tokenizer" in str(found)


def test_metrics_by_hand():
    rows = [{"predicted": "moon king", "answers": ("moon king",), "right": True, "media": ["a"]},
            {"predicted": "a ring", "answers": ("a king rides",), "right": False, "media": ["b"]}]
    assert score("accuracy", rows) == (0.5, *wilson(1, 2))
    pytest.importorskip("jiwer")
    # Two errors in five words; the first text has none, the second two in three.
    assert score("word error rate", rows) == pytest.approx((2 / 5, 0.0, 2 / 3))
    pytest.importorskip("pycocoevalcap")
    same = [{"predicted": t, "answers": (t,), "right": True, "media": [t]}
            for t in ("a bell rings out loud", "one dog barks at night")]
    assert score("CIDEr", same) == pytest.approx((10.0, 10.0, 10.0))


def test_answers_about_the_same_media_are_no_independent_trials():
    """Where all are right, the old code took questions for independent: 95.4 % to 100 %."""
    rows = [{"predicted": "a", "answers": ("a",), "right": medium < 5, "media": [str(medium)]}
            for medium in range(10) for _ in range(8)]
    value, low, high = score("accuracy", rows)
    assert value == 0.5 and high - low > 0.5  # of ten media; of eighty trials it would be 0.22
    right = score("accuracy", [{**row, "right": True} for row in rows])
    assert right == pytest.approx((1.0, *wilson(10, 10)))


def test_a_wrong_task_or_metric_lists_the_right_ones(tmp_path):
    with pytest.raises(ValueError, match="no task 'qa'. Fix: choose one of asr, ac"):
        evaluate_file("test.json", tmp_path, tmp_path / "out.jsonl", task="qa")
    with pytest.raises(ValueError, match="no metric 'F1'. Fix: choose one of accuracy, word"):
        evaluate_file("test.json", tmp_path, tmp_path / "out.jsonl", metric="F1")


def test_the_command_wants_a_root(tmp_path, capsys):
    assert cli.main(["evaluate", "--file", "test.json"]) == 1
    assert "--file needs --media-root, the folder of its media" in capsys.readouterr().err
    assert cli.main(["evaluate", "--media-root", str(tmp_path)]) == 1
    assert "--media-root and --metric go with --file" in capsys.readouterr().err
    assert cli.main(["evaluate", "--audio-delay", "1"]) == 1
    assert "--audio-delay goes with --data or --scenes" in capsys.readouterr().err
    assert cli.main(["evaluate", "--data", "samples", "--task", "asr"]) == 1
    assert "--task goes with the eleven tasks or with --file" in capsys.readouterr().err
    assert cli.main(["evaluate", "--file", "test.json", "--media-root", str(tmp_path / "no")]) == 1
    assert "no folder" in capsys.readouterr().err
