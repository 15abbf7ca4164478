"""Clips too long for the language model: refused or cut, never past its positions in silence. And
the commands use a GPU where there is one."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import scramble, tiny_clip, tiny_config, tiny_model, tiny_processor
from torch.overrides import TorchFunctionMode

from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path
from favor_mini.apps import cli
from favor_mini.apps.ask import Asker
from favor_mini.aveb.files import read_items
from favor_mini.aveb.predict import Predictor
from favor_mini.data.features import encode_media
from favor_mini.evaluation.answering import write
from favor_mini.world.video import write_video

CONTEXT = 100  # tokens: 12 windows of 3 queries, 0.4 s each, and 64 tokens of text


def small():
    config = tiny_config()
    config.language_config.max_position_embeddings = CONTEXT
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("small")
    scramble(FavorForConditionalGeneration(small())).save_pretrained(path)
    tiny_processor(small()).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Eleven seconds of noise, at 10 frames per second, with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (110, 16, 16, 3), dtype=np.uint8)
    sound = np.random.default_rng(1).normal(0, 0.1, 11 * 16000).astype(np.float32)
    write_video(path, frames, 10, sound)
    return path


def test_the_longest_clip_follows_the_context():
    processor = tiny_processor(small())
    assert processor.settings.context == CONTEXT
    assert processor.longest_clip == pytest.approx((CONTEXT - 64) // 3 * 0.4)
    unlimited = dataclasses.replace(processor.settings, context=None)
    processor.settings = unlimited
    assert processor.longest_clip == float("inf")
    assert len(processor([tiny_clip(400)], ["how many?"])["input_ids"][0]) > 300
    processor.settings = dataclasses.replace(unlimited, context=66)
    with pytest.raises(ValueError, match="too few for one window of 3 queries"):
        processor.longest_clip  # noqa: B018


def test_a_processor_of_an_earlier_version_takes_the_context_from_the_models_config(folder,
                                                                                   tmp_path):
    for file in folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"))
    stored = json.loads((tmp_path / "favor_processor.json").read_text(encoding="utf-8"))
    assert stored.pop("context") == CONTEXT
    (tmp_path / "favor_processor.json").write_text(json.dumps(stored))
    assert FavorProcessor.from_pretrained(tmp_path).settings.context == CONTEXT
    assert FavorProcessor.from_pretrained(checkpoint_path()).longest_clip == 300
    (tmp_path / "config.json").unlink()
    assert FavorProcessor.from_pretrained(tmp_path).settings.context is None


def test_a_batch_that_does_not_fit_is_refused():
    """The language model computed on, past its positions, and answered nonsense."""
    processor = tiny_processor(small())
    fits, long = processor.media(tiny_clip(48)), tiny_clip(160)
    assert processor([fits], ["how many?"])["input_ids"].shape[1] <= CONTEXT
    with pytest.raises(ValueError, match=r"tokens too long.* at most 4.8 s"):
        processor.media(long)  # before its pixels are computed
    words = "how many? " * 20
    with pytest.raises(ValueError, match="a clip with the question 'how many.* too long"):
        processor([fits], [words])
    with pytest.raises(ValueError, match="too long"):
        processor([fits], ["how many?"], ["bell " * 60])  # in training
    # A prompt that fills the context exactly leaves no place for an answer.
    count = next(n for n in range(1, 200) if len(processor.tokenizer(processor.prompt(
        "bell " * n, processor.num_placeholders(fits))).input_ids) == CONTEXT)
    with pytest.raises(ValueError, match="is 1 tokens too long"):
        processor([fits], ["bell " * count])
    processor([fits], ["bell " * (count - 1)])


def test_each_turn_of_a_conversation_continues_from_the_clip():
    """Together the turns may be longer than the context: their positions are not."""
    processor = tiny_processor(small())
    media = processor.media(tiny_clip(48))
    batch = processor.collate([{**media, "turns": [("how many?", "2")] * 20}])
    assert batch["input_ids"].shape[1] > CONTEXT
    with pytest.raises(ValueError, match="a conversation that begins with 'who.' is"):
        processor.collate([{**media, "turns": [("who?", "2"), ("who?", "bell " * 60)]}])


def test_an_answer_ends_where_the_context_does(folder):
    model = FavorForConditionalGeneration.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = model.language_model.generation_config.eos_token_id = 7
    processor = FavorProcessor.from_pretrained(folder)
    media = encode_media(model, processor, [processor.media(tiny_clip(48))])
    prompt = processor(media, ["how many?"])["input_ids"]
    (written,) = write(model, processor, media, ["how many?"], max_new_tokens=CONTEXT)
    assert written.complete or written.tokens == CONTEXT - prompt.shape[1]


def test_long_asks_about_each_part_of_the_film_once(folder, film, capsys, monkeypatch):
    monkeypatch.setattr("favor_mini.apps.ask.LONGEST_ANSWER", 4)  # quicker
    asker = Asker(folder)
    parts = list(asker.ask_long(film, "how many?"))
    edges = [answer.part for answer in parts]
    assert edges == [(0, pytest.approx(4.8)), (pytest.approx(4.8), pytest.approx(9.6)),
                     (pytest.approx(9.6), pytest.approx(11, abs=0.1))]
    for answer in parts:
        same = asker.ask(film, "how many?", *answer.part)
        assert same.answer == answer.answer
        assert not any("was not used" in note for note in answer.notes)
    assert any("4.8 s at most" in note for note in asker.ask(film, "how many?").notes)

    arguments = ["ask", str(film), "how many?", "--long", "--checkpoint", str(folder)]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "0:00:00 to 0:00:05", "0:00:05 to 0:00:10", "0:00:10 to 0:00:11"]
    assert [line.split(": ", 1)[1] for line in lines] == [answer.answer for answer in parts]
    assert cli.main([*arguments, "--json", "--start", "5"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["part"][0] for row in rows] == [5, pytest.approx(9.8)]
    assert rows[-1]["part"][1] == pytest.approx(11, abs=0.1) and "confidence" in rows[0]


def test_a_question_of_a_test_set_that_does_not_fit_is_skipped_and_told(folder, film, tmp_path):
    file = tmp_path / "test.json"
    rows = [{"image": film.name, "question": "how many?", "answer": "2"},
            {"image": film.name, "question": "how many? " * 30, "answer": "2"},
            {"image": film.name, "question": "how many?", "answer": "2",
             "answer_candidates": ["2", "bell " * 90]}]
    file.write_text(json.dumps(rows))
    found = Predictor(folder).predict(file, read_items(file)[0], film.parent,
                                      tmp_path / "out.jsonl", progress=False)
    assert "predicted" in found[0] and "only the first 4.8 of 11 s" in found[0]["notes"][0]
    for row in found[1:]:
        assert row["skipped"] == "outside" and "tokens too long" in row["problem"]
        assert "predicted" not in row


# The device.

class FakeGpu(TorchFunctionMode):
    """Marks tensors that are moved to "cuda", and leaves them where they are."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to and str(args[1:2]).startswith("(device(type='cuda'"):
            moved = args[0].clone()
            moved.on_gpu = True
            return moved
        return func(*args, **(kwargs or {}))


@pytest.fixture
def gpu(monkeypatch):
    """A machine that seems to have a GPU. All tensors for the model must have been moved there."""
    moved, seen = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(FavorForConditionalGeneration, "device", torch.device("cuda"))
    monkeypatch.setattr(FavorForConditionalGeneration, "to",
                        lambda self, device: moved.append(str(device)) or self)
    def watch(method):
        def checked(self, *args, **kwargs):
            if method.__name__ == "encode" and seen and seen[-1] == "prepare":
                return method(self, *args, **kwargs)  # called by `prepare`, which was checked
            tensors = [t for t in (*args, *kwargs.values()) if torch.is_tensor(t)]
            assert tensors and all(getattr(t, "on_gpu", False) for t in tensors)
            seen.append(method.__name__)
            found = method(self, *args, **kwargs)
            seen.append("")
            return found

        monkeypatch.setattr(FavorForConditionalGeneration, method.__name__, checked)

    watch(FavorForConditionalGeneration.encode)
    watch(FavorForConditionalGeneration.prepare)
    with FakeGpu():
        yield moved, seen
    assert moved == ["cuda"] and "prepare" in seen


@pytest.mark.parametrize("conditioned", [False, True])
def test_ask_uses_the_gpu(gpu, tmp_path, film, conditioned):
    config = tiny_config(question_conditioning=conditioned)
    tiny_model(question_conditioning=conditioned).save_pretrained(tmp_path)
    tiny_processor(config).save_pretrained(tmp_path)
    Asker(tmp_path).ask(film, "how many?", end=2)


def test_evaluate_uses_the_gpu(gpu, folder, film, tmp_path):
    file = tmp_path / "test.json"
    row = {"image": film.name, "question": "how many?", "answer": "2"}
    file.write_text(json.dumps([row, {**row, "answer_candidates": ["2", "3"]}]))
    found = Predictor(folder).predict(file, read_items(file)[0], film.parent,
                                      tmp_path / "out.jsonl", progress=False)
    assert all("predicted" in row for row in found)
