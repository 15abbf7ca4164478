"""The command line: exit codes, output streams, and notes about what the model does not know."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from favor_mini import FavorProcessor
from favor_mini.apps import cli, doctor, finetune
from favor_mini.apps.ask import LONGEST_ANSWER, Asker
from favor_mini.data.features import encode_media
from favor_mini.evaluation.checkpoint import find_checkpoint
from favor_mini.evaluation.familiarity import FILE, Familiarity
from favor_mini.evaluation.wording import unknown_words
from favor_mini.media.read import read_clip
from favor_mini.model import FavorForConditionalGeneration
from favor_mini.world import question_sets
from favor_mini.world.mini import mini_config, mini_processor
from favor_mini.world.video import write_video

PARTS = ("audio", "vision", "language", "favor", "all")
QUESTION = "what was shown when the bell was heard?"
COMMANDS = ("ask", "convert", "demo", "train", "join", "data", "finetune", "evaluate", "compare",
            "experiment", "diagnose", "doctor", "bench")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The mini model, one layer deep, with random weights: it answers nonsense, quickly."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = mini_config()
    config.audio_config.encoder_layers = config.vision_config.num_hidden_layers = 1
    config.visual_qformer_config.num_hidden_layers = config.language_config.num_hidden_layers = 1
    FavorForConditionalGeneration(config).save_pretrained(folder)
    mini_processor(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def asker(checkpoint):
    return Asker(checkpoint)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "two seconds.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    write_video(path, frames, 12, np.sin(np.arange(32000) / 10).astype(np.float32) / 2)
    return path


def test_help_comes_without_heavy_libraries():
    code = ("import sys\nfrom favor_mini.apps.cli import main\ncode = main(['--help'])\n"
            "heavy = {'torch', 'transformers', 'numpy', 'av', 'librosa'} & set(sys.modules)\n"
            "sys.exit(f'imported {heavy}' if heavy else code)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS) and "examples:" in done.stdout


def test_version(capsys):
    from favor_mini import __version__
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out == f"favor-mini {__version__}\n"


@pytest.mark.parametrize("command", [[c] for c in COMMANDS] + [["train", part] for part in PARTS])
def test_every_command_explains_itself(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    assert f"favor-mini {' '.join(command)}" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [
    ["--scenes", "2", "--task", "asr"], ["--metric", "CIDEr"], ["--audio-delay", "1"],
    ["--file", "a.json"], ["--scenes", "2", "--draw", "a.png"], ["--json", "a.jsonl"]])
def test_options_of_evaluate_that_do_not_belong_together(wrong, capsys):
    message = problem(capsys, "evaluate", *wrong)
    assert "go with" in message or "goes with" in message or "needs" in message


@pytest.mark.parametrize("wrong", [
    [], ["ask"], ["sing"], ["evaluate", "--scenes", "0"], ["ask", "a.mp4", "why?", "--end", "soon"],
    ["evaluate", "--scenes", "2", "--data", "samples"], ["compare", "--seeds", "2"],
    ["compare", "--vary", "a=1,2", "--arm", "a=1"],
    ["compare", "--vary", "attention=full,none", "--seeds", "0"]])
def test_wrong_usage_is_2_and_prints_no_result(wrong, capsys):
    assert cli.main(wrong) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("favor-mini: ") and "usage:" in err


@pytest.mark.parametrize("code, expected", [
    ("from favor_mini.apps import cli, doctor; doctor.examine = lambda *_: print('x' * 99); "
     "raise SystemExit(cli.main(['doctor']))", {141}),
    ("from favor_mini.apps import cli; "
     "raise SystemExit(cli.main(['--help']))", {141})])
def test_reader_that_goes_away_is_no_error(code, expected):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE,
                          text=True)
    os.close(writing)
    assert done.returncode in expected and done.stderr == ""


def test_a_question_without_quotation_marks_is_explained(capsys):
    assert cli.main(["ask", "a.mp4", "what", "was", "said"]) == 2
    assert "Fix: put a text with spaces into quotation marks" in capsys.readouterr().err


def test_a_trained_question_is_not_answered_with_its_own_wording_as_advice():
    known = SimpleNamespace(nearest=lambda text: ["what was said?", "who spoke?"],
                            begins=lambda word: True, has_form=lambda text: text != "said?")
    asker = SimpleNamespace(repertoire=known, processor=mini_processor(mini_config()))
    asker._reason = lambda asked: Asker._reason(asker, asked)
    wording = SimpleNamespace(before="what", expected=("then",), word="was")
    for asked, advice in (("what was said?", False), ("what was shown?", True)):
        *_, last = Asker._notes_on_question(asker, asked, {}, wording, 2.0)
        assert last.startswith("do not trust the answer") and ("learned" in last) == advice


def test_interrupt_is_130(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "favor-mini: interrupted\n"
    monkeypatch.setattr(finetune, "run", interrupted)
    assert cli.main(["finetune", "rows.json"]) == 130
    assert capsys.readouterr().err == "favor-mini: interrupted; the same command continues\n"


# ask

def problem(capsys, *arguments) -> str:
    """Run a command that must fail with exit code 1; returns its one line."""
    assert cli.main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("favor-mini: ") and err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_bad_files_are_one_line(checkpoint, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("this is not a film")
    for name in ("missing.mp4", "text.mp4"):
        assert name in problem(capsys, "ask", tmp_path / name, QUESTION, "--checkpoint", checkpoint)


def test_debug_shows_where_an_error_came_from(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("FAVOR_MINI_DEBUG", "1")
    with pytest.raises(ValueError, match="missing.mp4"):
        cli.main(["ask", str(tmp_path / "missing.mp4"), QUESTION, "--checkpoint", str(checkpoint)])


def test_a_folder_without_checkpoint_is_named(tmp_path, clip, capsys):
    line = problem(capsys, "ask", clip, QUESTION, "--checkpoint", tmp_path)
    assert str(tmp_path) in line and "config.json" in line
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        find_checkpoint(tmp_path)


def test_empty_question(checkpoint, clip, capsys):
    assert "question is empty" in problem(capsys, "ask", clip, "  ", "--checkpoint", checkpoint)


def test_answer_goes_to_stdout_and_doubt_to_stderr(checkpoint, clip, asker, capsys):
    assert cli.main(["ask", str(clip), "what did the zeppelin do?", "--checkpoint",
                     str(checkpoint)]) == 0
    out, err = capsys.readouterr()
    found = asker.ask(clip, "what did the zeppelin do?")
    assert out == found.answer + "\n"
    assert "zeppelin" in err
    assert all(line.startswith("favor-mini: note: ") for line in err.splitlines())


def test_json(checkpoint, clip, capsys):
    assert cli.main(["ask", str(clip), QUESTION, "--json", "--checkpoint", str(checkpoint)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert set(found) == {"answer", "confidence", "familiar", "notes", "seconds"} and err == ""
    assert isinstance(found["answer"], str) and 0 < found["confidence"] <= 1
    # not measured, and it says so
    assert found["familiar"] == {"video": None, "audio": None, "question": None}
    assert any("resembles the training data" in note for note in found["notes"])
    assert set(found["seconds"]) == {"import", "load", "read", "prepare", "encode", "answer"}
    assert all(s >= 0 for s in found["seconds"].values())


def test_loading_is_paid_once(checkpoint, clip):
    asker = Asker(checkpoint)
    first, second = asker.ask(clip, QUESTION), asker.ask(clip, QUESTION)
    assert "load" in first.seconds and "load" not in second.seconds
    assert (first.answer, first.confidence, first.notes) == (second.answer, second.confidence,
                                                             second.notes)


def test_unknown_words_are_named_as_typed(asker):
    tokenizer = asker.processor.tokenizer
    assert unknown_words(QUESTION, tokenizer) == []
    question = "What was the Zeppelin, the BELL, the zither or the zither?"
    assert unknown_words(question, tokenizer) == ["Zeppelin", "zither"]


def test_confidence_is_the_probability_of_what_was_written(asker, clip):
    """Against the model's own forward pass over prompt and answer together."""
    model, processor = asker.model, asker.processor
    encoded = encode_media(model, processor, [processor.media(read_clip(clip))])[0]
    inputs = processor([encoded], [QUESTION])
    written = model.generate(**inputs, max_new_tokens=LONGEST_ANSWER)
    both = torch.cat([inputs["input_ids"], written], dim=1)
    with torch.no_grad():
        logits = model(**{**inputs, "input_ids": both,
                          "attention_mask": torch.ones_like(both)}).logits
    chosen = logits[0, -written.shape[1] - 1 : -1].log_softmax(-1).gather(1, written[0][:, None])
    assert asker.ask(clip, QUESTION).confidence == pytest.approx(math.exp(chosen.mean()), abs=2e-4)


def test_an_answer_that_is_cut_off_says_so(asker, clip, monkeypatch):
    def cut():
        return [note for note in asker.ask(clip, QUESTION).notes if "cut off" in note]

    ends = asker.model.generate(**asker.processor([asker.processor.media(read_clip(clip))],
                                                  [QUESTION]), max_new_tokens=LONGEST_ANSWER)
    whole = ends[0, -1] == asker.processor.tokenizer.eos_token_id
    assert (cut() == []) == bool(whole)
    monkeypatch.setattr("favor_mini.apps.ask.LONGEST_ANSWER", 1)
    assert len(cut()) == 1


def test_a_long_clip_is_cut_and_said_so(asker, clip, monkeypatch):
    def cut(*span):
        return [note for note in asker.ask(clip, QUESTION, *span).notes if "was not used" in note]

    assert cut() == []
    monkeypatch.setattr(FavorProcessor, "longest_clip", 1.0)
    assert "1 s at most" in cut()[0] and "after second 1 " in cut()[0]
    assert cut(1.0, 1.5) == []


def test_longest_clip_still_fits_the_context(asker):
    config = asker.model.config
    frames = round(asker.processor.longest_clip * config.frame_rate)
    placeholders = asker.processor.num_placeholders({"num_frames": frames, "audio_tokens": 0})
    context = config.language_config.max_position_embeddings
    assert placeholders < context - 32
    assert placeholders + 2 * config.num_queries > context - 64


def test_unfamiliar_streams_are_named(asker, clip, monkeypatch):
    def distances(self, encoded):
        return {"video": 3.2, "audio": 0.4}

    monkeypatch.setattr(Familiarity, "distances", distances)
    monkeypatch.setattr(asker, "familiarity", Familiarity({"longest": torch.tensor(12.0)}))
    found = asker.ask(clip, QUESTION)
    assert found.familiar == {"video": False, "audio": True, "question": None}
    assert any("picture lies outside" in note and "3.2" in note for note in found.notes)
    assert not any("sound lies outside" in note for note in found.notes)


def test_a_file_without_sound_says_so(asker, tmp_path):
    silent = tmp_path / "silent.mp4"
    write_video(silent, np.full((12, 64, 64, 3), 90, np.uint8), 12)
    found = asker.ask(silent, QUESTION)
    assert found.familiar["audio"] is None and any("has no sound" in note for note in found.notes)


def test_familiarity_stored_beside_the_checkpoint_is_used(checkpoint, clip, asker):
    encoded = encode_media(asker.model, asker.processor,
                           [asker.processor.media(next(asker._read(clip, None, None)))])[0]
    assert not (checkpoint / FILE).exists()
    fitted = Familiarity.fit([encoded], [encoded])  # knows this very clip
    try:
        fitted.save(checkpoint)
        assert Asker(checkpoint).ask(clip, QUESTION).familiar == {
            "video": True, "audio": True, "question": None}
    finally:
        (checkpoint / FILE).unlink(missing_ok=True)


def test_an_unwritable_home_does_not_matter(clip, checkpoint, tmp_path):
    """Resampling went through librosa, whose numba cache needs a writable home: without one, `ask`
    said that the clip's sound was damaged."""
    (tmp_path / "file").write_text("no folder")
    homes = {name: str(tmp_path / "file" / "home")
             for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "HF_HOME", "MPLCONFIGDIR")}
    loud = clip.with_name("48 kHz.mp4")
    write_video(loud, np.full((12, 64, 64, 3), 90, np.uint8), 12,
                np.sin(np.arange(48000) / 10).astype(np.float32) / 2, 48000)
    done = subprocess.run([sys.executable, "-m", "favor_mini", "ask", str(loud), QUESTION, "--json",
                           "--checkpoint", str(checkpoint)], capture_output=True, text=True,
                          env={**os.environ, **homes})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] is not None


def test_an_answer_imports_no_heavy_library_that_transformers_and_peft_do_not(clip, checkpoint):
    """Reading sound imported librosa, and with it numba and scipy.signal: a fifth of the time."""
    code = """
import sys, peft, transformers.generation.utils, transformers.models.whisper.modeling_whisper
names = ("librosa", "numba", "scipy.signal", "scipy.stats", "pandas", "seaborn", "matplotlib")
before = set(names) & set(sys.modules)
from favor_mini.apps.cli import main
main(sys.argv[1:])
print(set(names) & set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code, "ask", str(clip), QUESTION,
                           "--checkpoint", str(checkpoint)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr


# evaluate

def test_evaluate_writes_what_it_counts(checkpoint, tmp_path, capsys, monkeypatch):
    # Small pictures are quick to encode.
    small = partial(question_sets.record_scenes, size=64, fps=4)
    monkeypatch.setattr(question_sets, "record_scenes", small)
    lines = tmp_path / "answers.jsonl"
    arguments = ["evaluate", "--scenes", "1", "--audio-delay", "1", "--json", str(lines),
                 "--checkpoint", str(checkpoint)]
    assert cli.main(arguments) == 0
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    total = capsys.readouterr().out.strip().splitlines()[-1].split()
    assert total[:2] == ["all", str(len(rows))]
    accuracy = np.mean([r["correct"] for r in rows])
    assert float(total[2].rstrip("%")) / 100 == pytest.approx(accuracy, abs=1e-3)
    assert {"clip", "family", "question", "answer", "predicted", "chance",
            "correct"} == set(rows[0])
