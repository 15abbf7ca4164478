"""Counting right answers: by hand, in any order, and beside chance."""

import numpy as np
import pytest
import torch
from conftest import mixed_clips

from favor_mini.evaluation.answering import answer, encode_clips, evaluate, likelihood
from favor_mini.evaluation.scores import Row, score_table, scores
from favor_mini.media.clip import delay_sound
from favor_mini.world.questions import FAMILY_GROUPS, Question


def row(family, predicted, answer="a", chance=0.5):
    return Row("clip", family, "?", answer, predicted, chance)


def test_scores_count_by_family_group_and_in_all():
    rows = [row("shown_when", "a", chance=0.1), row("shown_when", "b", chance=0.3), row("colour", "a"), row("next", "a")]
    found = {s.name: s for s in scores(rows, FAMILY_GROUPS)}
    assert set(found) == {"shown_when", "colour", "next", "both modalities", "one modality, order or cause",
                          "one modality, plain", "all"}
    assert (found["shown_when"].count, found["shown_when"].accuracy) == (2, 0.5)
    assert found["shown_when"].chance == pytest.approx(0.2)
    assert (found["both modalities"].count, found["one modality, plain"].count, found["all"].accuracy) == (2, 1, 0.75)


def test_the_interval_is_wilsons():
    (score, *_) = scores([row("read", "a")] * 9 + [row("read", "b")])
    p, n, z = 0.9, 10, 1.959964
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert (score.low, score.high) == (pytest.approx(centre - half, abs=1e-4), pytest.approx(centre + half, abs=1e-4))
    assert "90.0%" in score_table([score])


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
    assert (found.clip, found.family, found.answer, found.chance) == ("one", "said", "moon", 0.25)
    assert found.correct == (found.predicted == "moon")


def test_delayed_sound_comes_later_and_the_clip_stays_as_long():
    clip = mixed_clips()["long"]
    moved = delay_sound(clip, 0.5)
    assert len(moved.waveform) == len(clip.waveform) and not moved.waveform[:8000].any()
    assert np.array_equal(moved.waveform[8000:], clip.waveform[:-8000]) and np.array_equal(moved.frames, clip.frames)
    assert np.array_equal(delay_sound(clip, 0).waveform, clip.waveform)
    early = delay_sound(clip, -0.5)
    assert len(early.waveform) == len(clip.waveform) and not early.waveform[-8000:].any()
    assert np.array_equal(early.waveform[:-8000], clip.waveform[8000:])
    assert not delay_sound(clip, 99).waveform.any() and not delay_sound(clip, -99).waveform.any()


def test_the_likelihood_of_an_answer_is_that_of_its_tokens_one_after_another(model, processor):
    media = list(encode_clips(model, processor, mixed_clips()).values())
    questions, answers = ["what was said?"] * len(media), ["moon", "red circle", "bell", "a", "king", "two", "left", "right"]
    together = likelihood(model, processor, media, questions, answers, batch=3)
    for m, q, a, found in zip(media, questions, answers, together, strict=True):
        inputs = processor([m], [q])
        told = processor.tokenizer(f" {a}{processor.tokenizer.eos_token}", add_special_tokens=False).input_ids
        total = 0.0
        for token in told:
            with torch.no_grad():
                total += model(**inputs).logits[0, -1].log_softmax(-1)[token].item()
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        assert found == pytest.approx(total, abs=1e-3)
