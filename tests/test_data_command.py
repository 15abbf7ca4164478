"""`favor-mini data`: what it says of a data file, and its exit code."""

import json
import re

import numpy as np
import pytest
import soundfile
from conftest import tiny_model, tiny_processor

from favor_mini import data_path
from favor_mini.apps import cli, data
from favor_mini.data.manifest import rows_from
from favor_mini.world.rows import scene_row
from favor_mini.world.samples import read_samples, sample_rows
from favor_mini.world.scene import SPLITS, draw_scene
from favor_mini.world.transcript import DESCRIBE, transcript


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model = tiny_model()
    model.save_pretrained(folder)
    tiny_processor(model.config).save_pretrained(folder)
    return folder


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    for name, seconds in (("a.wav", 0.9), ("b.wav", 0.5), ("deep/c.wav", 1.2)):
        noise = np.random.default_rng(int(10 * seconds)).normal(0, 0.1, round(seconds * 16000))
        soundfile.write(folder / name, noise.astype(np.float32), 16000)
    (folder / "again.wav").write_bytes((folder / "a.wav").read_bytes())
    return folder


@pytest.fixture
def say(checkpoint, root, tmp_path, capsys):
    """Run the command on entries; returns its exit code and text."""
    def run(entries, *options, test=None):
        for name, content in (("mine.json", entries), ("test.json", test)):
            (tmp_path / name).write_text(json.dumps(content))
        more = ["--test", str(tmp_path / "test.json")] if test is not None else []
        code = cli.main(["data", str(tmp_path / "mine.json"), "--media-root", str(root),
                         "--checkpoint", str(checkpoint), *more, *options])
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        return code, text

    return run


SOUND = {"audio": "a.wav", "question": "what was heard?", "answer": "bell"}
TOLD = {"audio": "b.wav", "transcript": "hear bell, then horn"}


def test_it_says_what_a_file_holds(say):
    code, text = say([SOUND, TOLD, {**SOUND, "answer": ["horn", "bell"], "candidates": ["horn"]},
                      {**SOUND, "start": 0.0, "end": 0.3}], "--quick")
    assert code == 0
    assert "mine.json: 4 rows can be used, 0 cannot" in text
    assert "questions   4, 1 with candidates, 1 with several answers" in text
    # 0.9 and 0.5 s, and 0.3 s of the first
    assert "3 clips in 2 files: 0.0 s of film, 1.7 s of sound" in text
    assert "1 rows tell what happens in the order of time, as \"hear bell, then horn\"" in text
    assert "the language model takes 512" in text and "training on" not in text


def test_words_that_the_tokenizer_does_not_know_are_listed(say):
    """Finding: they were one unknown token, and "a high beep" could never be learned."""
    assert "unknown" not in say([SOUND, TOLD], "--quick")[1]
    text = say([{**SOUND, "answer": "zeppelin"}, {**TOLD, "transcript": "hear a zeppelin, bell"}],
               "--quick")[1]
    assert "words are unknown to the language model's tokenizer" in text
    assert re.search(r"note +[12] words .*either: zeppelin", " ".join(text.split()))


def test_the_cost_of_alignment_is_measured_if_few_rows_tell_a_text(say):
    """Finding: eight random rows had none, and the estimate left the stage out."""
    code, text = say([SOUND] * 30 + [TOLD], "--steps", "10", "--batch", "2")
    assert re.search(r"align +[\d.]+ s for a step of 2 clips: .* for 8 steps, 16.0 epochs", text)
    assert re.search(r"ask +[\d.]+ s .* for 2 steps, 0.1 epochs", text)


def test_the_number_of_tokens_is_that_of_the_training_batch(say):
    processor = tiny_processor()
    lengths = [say([each], "--quick")[1] for each in (SOUND, TOLD)]
    for each, text in zip((SOUND, TOLD), lengths, strict=True):
        (row,), _ = rows_from([each])
        audio_tokens = {"a.wav": 45, "b.wav": 25}[row.media[0]]
        media = {"num_frames": 0, "audio_tokens": audio_tokens}
        turn = (row.turns[0].question, row.turns[0].answers[0])
        dialogue = processor.dialogue("<av>" * processor.num_placeholders(media), [turn])
        assert f"tokens      {len(dialogue['ids'])} (median) to {len(dialogue['ids'])} " in text


def test_problems_are_listed_by_file_row_and_field_and_the_exit_code_is_1(say, root):
    (root / "d.wav").write_text("no sound")
    code, text = say([SOUND, {**SOUND, "audio": "none.wav"}, {**SOUND, "audio": "../x.wav"},
                      {**SOUND, "audio": "d.wav"}, {**SOUND, "answer": None},
                      {**SOUND, "answer": "bell " * 600}, {**SOUND, "question": "a <av> b"}],
                     "--quick")
    text = " ".join(text.split())
    assert code == 1 and "1 rows can be used, 6 cannot" in text
    assert "malformed: 2" in text and "row 4, field 'answer': expected a text" in text
    assert "row 6, field 'question': found the placeholder <av>" in text
    assert "media missing: 2" in text and "row 1, field 'media': no none.wav under" in text
    assert "media unreadable: 1" in text and "row 3, field 'media'" in text
    assert "too long: 1" in text and "row 5, field 'media': clip and text are" in text
    code, text = say([{**SOUND, "audio": f"none{i}.wav"} for i in range(30)], "--quick")
    assert code == 1 and "none9.wav" in text and "none10" not in text and "and 20 more" in text
    code, text = say([{**SOUND, "audio": f"none{i}.wav"} for i in range(30)], "--quick", "--all")
    assert code == 1 and all(f"none{i}.wav" in text for i in range(30)) and " more" not in text


def test_a_part_that_the_file_does_not_have_is_a_problem_unless_it_is_of_the_original_film(say):
    late, cut = {**SOUND, "start": 60, "end": 70}, {**SOUND, "duration": [60, 70]}
    code, text = say([late, {**SOUND, "end": 30}, cut, {**SOUND, "end": 0.5}], "--quick")
    assert code == 1 and "2 rows can be used, 2 cannot" in text
    assert "it lasts 0.9 s, but the row names the span 60 to 70 s" in " ".join(text.split())
    assert "0.0 s of film, 1.4 s of sound" in text


def test_fields_that_are_not_read_are_named(say):
    code, text = say([{**SOUND, "strat": 0.1}, {**SOUND, "strat": 0.2, "source": "x"}], "--quick")
    assert code == 0 and "2 fields are not read: strat (2 rows), source (1 rows)" in text


def test_media_in_train_and_test_are_found_by_content(say):
    code, text = say([SOUND], "--quick", test=[TOLD])
    assert code == 0 and "media both in" not in text and "test.json: 1 rows" in text
    code, text = say([SOUND, TOLD], "--quick", test=[{**SOUND, "audio": "again.wav"}])
    assert code == 1
    assert "media both in mine.json and test.json: 1" in text and "a.wav = again.wav" in text


def test_notes_on_what_is_likely_a_mistake(say):
    code, text = say([{**SOUND, "id": "x"}, {**SOUND, "id": "x"}, {**SOUND, "audio": "far/b.wav"},
                      {**SOUND, "audio": "deep/c.wav"}, {**TOLD, "transcript": "bell " * 9}],
                     "--quick")
    text = " ".join(text.split())
    assert code == 0 and "1 texts have more tokens than their clip has queries" in text
    assert "1 ids belong to several rows: x" in text
    assert "1 questions stand twice, with one clip and answer: a.wav: what was heard?" in text
    assert "1 files are not at their path, but in the root: far/b.wav" in text


def test_the_cost_is_measured(say):
    code, text = say([SOUND, TOLD], "--steps", "100", "--batch", "2")
    assert code == 0 and "training on " in text and "measured on 2 rows" in text
    assert re.search(r"encoding    [\d.]+ (s|min|h) once for all media, \d+ MB", text)
    assert re.search(r"align       [\d.]+ s for a step of 2 clips: .* for 80 steps, 160.0 epochs",
                     text)
    assert re.search(r"ask         [\d.]+ s for a step of 2 clips: .* for 20 steps, 20.0 epochs",
                     text)
    assert re.search(r"memory      [\d.]+ GB", text)
    code, text = say([{**SOUND, "audio": "none.wav"}])
    assert code == 1 and "no row can be used, so there is no cost to measure" in text


def test_wrong_files_and_folders_are_named(say, tmp_path, capsys):
    say([SOUND], "--quick")
    mine = str(tmp_path / "mine.json")
    assert cli.main(["data", mine, "--media-root", str(tmp_path / "no"), "--quick"]) == 1
    assert "no folder" in capsys.readouterr().err
    assert cli.main(["data", str(tmp_path / "no.json"), "--media-root", str(tmp_path)]) == 1
    assert "no file" in capsys.readouterr().err


@pytest.mark.parametrize("seconds, text", [
    (59.94, "59.9 s"), (119, "119.0 s"), (120, "2.0 min"), (7200, "2.0 h")])
def test_durations_are_in_a_readers_unit(seconds, text):
    assert data.duration(seconds) == text


def test_the_samples_of_the_mini_world_are_rows():
    rows, samples = sample_rows(), read_samples()
    assert len(rows) == len(samples) and {row.turns[0].question for row in rows} == {DESCRIBE}
    for row, sample in zip(rows, samples, strict=True):
        assert data_path(*row.media) == sample.path
        assert row.text == (None if sample.kind == "image" else sample.transcript)
        assert [(t.question, t.answers, t.candidates) for t in row.turns[1:]] == [
            (q.text, (q.answer,), q.candidates) for q in sample.questions]


def test_a_scene_of_the_mini_world_is_a_row():
    scene = draw_scene(SPLITS["train"].start)
    row = scene_row(scene, questions=3, image_size=32)
    assert row.text == transcript(scene) and len(row.turns) == 4
    assert row.media.frames.shape[1:] == (32, 32, 3)
    again = scene_row(scene, questions=3, image_size=32)
    assert again.turns == row.turns and np.array_equal(again.media.frames, row.media.frames)
