"""Accuracies, their intervals and chance levels; answers in any order and batch."""

import numpy as np
import pytest
import torch
from conftest import mixed_clips, tiny_model, tiny_processor

from favor_mini.evaluation.answering import answer, encode_clips, evaluate, likelihood
from favor_mini.evaluation.checkpoint import checkpoint_digest, find_checkpoint, load_checkpoint
from favor_mini.evaluation.intervals import wilson
from favor_mini.evaluation.scores import Row, score_table, scores
from favor_mini.lab.plan import load_parts
from favor_mini.media.clip import delay_sound
from favor_mini.model import FavorForConditionalGeneration
from favor_mini.world.questions import FAMILY_GROUPS, Question


def row(family, predicted, answer="a", chance=0.5, clip="clip"):
    return Row(clip, family, "?", answer, predicted, chance)


def test_scores_count_by_family_group_and_in_all():
    rows = [row("shown_when", "a", chance=0.1), row("shown_when", "b", chance=0.3),
            row("colour", "a"), row("next", "a")]
    found = {s.name: s for s in scores(rows, FAMILY_GROUPS)}
    assert set(found) == {"shown_when", "colour", "next", "both modalities",
                          "one modality, order or cause", "one modality, plain", "all"}
    assert (found["shown_when"].count, found["shown_when"].accuracy) == (2, 0.5)
    assert found["shown_when"].chance == pytest.approx(0.2)
    assert (found["both modalities"].count, found["one modality, plain"].count) == (2, 1)
    assert found["all"].accuracy == 0.75


def test_one_question_a_clip_gives_wilsons_interval():
    rows = [row("read", "b" if clip == 3 else "a", clip=str(clip)) for clip in range(10)]
    (score, *_) = scores(rows)
    assert (score.low, score.high) == pytest.approx(wilson(9, 10))
    assert "90.0%" in score_table([score])


def test_the_interval_is_over_clips():
    """The old interval took all questions for independent: 91.4 % to 100 % for forty right answers
    about ten clips, where ten clips say no more than 72.2 % to 100 %."""
    asked = [(clip, question) for clip in range(10) for question in range(4)]
    alike = [row("read", "a" if clip else "b", clip=str(clip)) for clip, _ in asked]
    (score, *_) = scores(alike)
    assert (score.low, score.high) == pytest.approx(wilson(9, 10), abs=0.03)
    (score, *_) = scores([row("read", "a", clip=str(clip)) for clip, _ in asked])
    assert (score.low, score.high) == pytest.approx(wilson(10, 10))


def test_answers_do_not_depend_on_batching_or_order(model, processor):
    clips = mixed_clips()
    encoded = encode_clips(model, processor, clips)
    questions = ["what was said?", "describe the clip."] * len(encoded)
    media = [m for m in encoded.values() for _ in range(2)]
    alone = [answer(model, processor, [m], [q])[0] for m, q in zip(media, questions, strict=True)]
    assert answer(model, processor, media, questions, batch=5) == alone
    assert answer(model, processor, media[::-1], questions[::-1], batch=3) == alone[::-1]


def test_evaluate_keeps_question_and_truth(model, processor):
    encoded = encode_clips(model, processor, {"one": mixed_clips()["long"]})
    question = Question("said", "what was said?", "moon", ("moon", "king", "lion", "milk"))
    (found,) = evaluate(model, processor, encoded, [("one", question)])
    expected = ("one", "said", "moon", 0.25)
    assert (found.clip, found.family, found.answer, found.chance) == expected
    assert found.correct == (found.predicted == "moon")


def test_delayed_sound_comes_later_and_the_clip_stays_as_long():
    clip = mixed_clips()["long"]
    moved = delay_sound(clip, 0.5)
    assert len(moved.waveform) == len(clip.waveform) and not moved.waveform[:8000].any()
    assert np.array_equal(moved.waveform[8000:], clip.waveform[:-8000])
    assert np.array_equal(moved.frames, clip.frames)
    assert np.array_equal(delay_sound(clip, 0).waveform, clip.waveform)
    early = delay_sound(clip, -0.5)
    assert len(early.waveform) == len(clip.waveform) and not early.waveform[-8000:].any()
    assert np.array_equal(early.waveform[:-8000], clip.waveform[8000:])
    assert not delay_sound(clip, 99).waveform.any()
    assert not delay_sound(clip, -99).waveform.any()


def test_the_likelihood_of_an_answer_is_the_product_over_its_tokens(model, processor):
    media = list(encode_clips(model, processor, mixed_clips()).values())
    questions = ["what was said?"] * len(media)
    answers = ["moon", "red circle", "bell", "a", "king", "two", "left", "right"]
    together = likelihood(model, processor, media, questions, answers, batch=3)
    means = likelihood(model, processor, media, questions, answers, per_token=True)
    for m, q, a, found, mean in zip(media, questions, answers, together, means, strict=True):
        inputs = processor([m], [q])
        end = processor.tokenizer.eos_token
        ids = processor.tokenizer(f" {a}{end}", add_special_tokens=False).input_ids
        total = 0.0
        for token in ids:
            with torch.no_grad():
                total += model(**inputs).logits[0, -1].log_softmax(-1)[token].item()
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        assert found == pytest.approx(total, abs=1e-3)
        assert mean == pytest.approx(total / len(ids), abs=1e-3)


PART = '''from favor_mini.registry import register

@register("diversity", "{name}")
def mine(queries, real=None):
    """{about}"""
    return queries.mean() * {factor}  # {about}
'''


def test_the_digest_of_a_checkpoint_follows_weights_and_parts_but_no_prose(tmp_path):
    """The old digest took the bytes of the part's file: a comment changed it."""
    part, folder = tmp_path / "mine.py", tmp_path / "checkpoint"

    def with_part(**changes):
        part.write_text(PART.format(**{"name": "digested", "about": "a", "factor": 1, **changes}))
        return checkpoint_digest(folder)

    part.write_text(PART.format(name="digested", about="a", factor=1))
    load_parts(part)
    trained = tiny_model(diversity="digested")
    trained.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    found = with_part()
    assert with_part(about="edited") == found
    (folder / "log.json").write_text("{}")
    (folder / "README.md").write_text("a card")
    assert with_part() == found
    assert with_part(factor=2) != found
    trained.projection.bias.data += 1
    trained.save_pretrained(folder)
    assert with_part() != found


@pytest.mark.parametrize("gpu, device, expected", [
    (False, None, "cpu"), (True, None, "cuda"), (True, "cpu", "cpu")])
def test_a_checkpoint_is_loaded_on_the_gpu_if_there_is_one(
        tmp_path, monkeypatch, gpu, device, expected):
    tiny_model().save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(FavorForConditionalGeneration, "to",
                        lambda self, place: moved.append(place) or self)
    loaded, _ = load_checkpoint(find_checkpoint(tmp_path), device)
    assert moved[-1] == expected and not loaded.training


def test_damaged_weights_or_a_missing_tokenizer_are_named(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    tokenizer = (tmp_path / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"tokenizer .* cannot be read: .*tokenizer.json may be"):
        load_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match=r"its weights .* cannot be read: .*Fix: copy the folder"):
        load_checkpoint(tmp_path)


def test_weights_can_be_read_by_whoever_can_read_the_config(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "config.json").chmod(0o644)
    tiny_model().save_pretrained(tmp_path)
    modes = [(tmp_path / name).stat().st_mode for name in ("config.json", "model.safetensors")]
    assert modes[0] == modes[1]


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*none, expected a checkpoint"):
        find_checkpoint(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="config.json is missing. Fix: name a folder"):
        find_checkpoint(tmp_path)
