"""Questions: spelling, surprise, and confidence; values against plain references."""

import copy
import re

import numpy as np
import pytest
import torch
from conftest import mixed_clips

from favor_mini.apps.ask import Asker, known_questions
from favor_mini.evaluation.answering import answer, likelihood, write
from favor_mini.evaluation.calibration import (
    calibrate,
    expected_calibration_error,
    fit,
    reliability,
)
from favor_mini.evaluation.checkpoint import find_checkpoint
from favor_mini.evaluation.familiarity import Familiarity
from favor_mini.evaluation.repertoire import Repertoire
from favor_mini.evaluation.wording import MARKS, measure, read_question, spell, unknown_words
from favor_mini.pretraining.familiar import KINDS, _questions
from favor_mini.pretraining.repertoire import SPELLINGS, list_questions
from favor_mini.world.questions import ask, reword_seeded
from favor_mini.world.samples import read_samples
from favor_mini.world.scene import SHAPES, SPLITS, THINGS, WORDS, draw_scene
from favor_mini.world.tokenizer import build_tokenizer

QUESTION = "what was shown when the bell was heard?"


# Spelling

@pytest.mark.parametrize(("typed", "read"), [
    ("  what  was\tsaid? ", "what was said?"),
    ("what’s written?", "what was written?"), ("what's written?", "what was written?"),
    ("Whats written", "what was written"),
    ("which color is the star?", "which color was the star?"),
    ("“moon” was said?", "moon was said?"),
    ("ｗhat was said？", "what was said?"),
    (QUESTION, QUESTION), (QUESTION.upper(), QUESTION.upper())])
def test_spelling_becomes_that_of_the_training_questions(typed, read):
    assert spell(typed, build_tokenizer(), SPELLINGS) == (read, {})


@pytest.mark.parametrize(("typed", "read"), [
    ("colur", "colour"), ("wich", "which"), ("circles", "circle"), ("Wistle", "whistle")])
def test_similar_words_are_taken_for_known_ones_and_told(typed, read):
    assert spell(f"the {typed}?", build_tokenizer(), SPELLINGS) == (f"the {read}?", {typed: read})


@pytest.mark.parametrize("typed", ["zeppelin", "dog", "12", "don't", "été"])
def test_words_like_no_other_stay(typed):
    assert spell(f"the {typed}?", build_tokenizer(), SPELLINGS) == (f"the {typed}?", {})
    assert unknown_words(f"the {typed}?", build_tokenizer())


def test_a_tokenizer_that_knows_all_words_changes_none():
    tokenizer = copy.deepcopy(build_tokenizer())
    tokenizer.unk_token = None
    assert spell("what’s  this?", tokenizer, SPELLINGS) == ("what's this?", {})


def test_no_known_word_is_replaced():
    tokenizer = build_tokenizer()
    for word in tokenizer.get_vocab():
        if word.isalnum():
            assert spell(word, tokenizer, SPELLINGS) == (word, {})


# Surprise

@pytest.fixture(scope="module")
def clip(processor):
    return processor.media(mixed_clips()["video and sound"])


def plain_surprise(model, processor, clip, question) -> list[float]:
    """-log p of each token after the clip, one forward pass a token."""
    ids = processor([clip], [question])["input_ids"][0]
    after = processor.tokenizer.convert_tokens_to_ids("</Img>")
    first = int((ids == after).nonzero()[0]) + 1
    found = []
    for place in range(first, len(ids)):
        inputs = {**processor([clip], [question]), "input_ids": ids[None, :place],
                  "attention_mask": torch.ones(1, place)}
        with torch.no_grad():
            found.append(-float(model(**inputs).logits[0, -1].log_softmax(-1)[ids[place]]))
    return found


@pytest.mark.parametrize("question", [QUESTION, "what was said?", "moon", "describe the clip."])
def test_surprise_is_that_of_the_least_expected_token(model, processor, clip, question):
    plain = plain_surprise(model, processor, clip, question)
    (found,) = measure(model, processor, clip, [question])
    assert found.surprise == pytest.approx(max(plain), abs=1e-4)
    tokens = [*processor.tokenizer.tokenize(question), "ASSISTANT:"]
    assert len(tokens) == len(plain) and found.word == tokens[int(np.argmax(plain))]
    assert found.word not in found.expected and len(found.expected) == 2


def test_surprise_does_not_depend_on_the_other_questions(model, processor, clip):
    asked = ["moon", QUESTION, "what was said?"]
    alone = [measure(model, processor, clip, [q])[0].surprise for q in asked]
    together = [w.surprise for w in measure(model, processor, clip, asked)]
    assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("typed", ["what was said", "what was said?", "what was said !?",
                                   "what was said."])
def test_the_final_mark_is_the_one_that_surprises_least(model, processor, clip, typed):
    every = {w.text: w.surprise for w in
             measure(model, processor, clip, [f"what was said{mark}" for mark in MARKS])}
    found = read_question(model, processor, clip, typed)
    assert found.surprise < min(every.values()) + 0.11


# Answers and their probability

def test_what_is_written_has_the_probability_of_the_whole_text(model, processor, clip):
    questions = [QUESTION, "what was said?", "moon"]
    found = write(model, processor, [clip] * 3, questions, max_new_tokens=6)
    assert [w.text for w in found] == answer(model, processor, [clip] * 3, questions,
                                             max_new_tokens=6)
    alone = [write(model, processor, [clip], [q], max_new_tokens=6)[0] for q in questions]
    assert [w.probability for w in found] == pytest.approx([w.probability for w in alone], rel=1e-3)
    for w, q in zip(found, questions, strict=True):
        assert w.tokens <= 6 and (w.complete or w.tokens == 6)
        if w.complete:
            whole = likelihood(model, processor, [clip], [q], [w.text])[0]
            assert np.log(w.probability) == pytest.approx(whole, abs=1e-3)


# Confidence

def test_reliability_and_its_error_by_hand():
    curve = reliability([0.9, 0.2, 0.8, 0.1], [1, 0, 0, 1], bins=2)
    assert [(b.count, b.accuracy) for b in curve] == [(2, 0.5), (2, 0.5)]
    assert [b.confidence for b in curve] == pytest.approx([0.15, 0.85])
    assert expected_calibration_error(curve) == pytest.approx(0.35)
    with pytest.raises(ValueError, match="3 answers"):
        reliability([0.5] * 3, [1] * 3)


def test_the_fit_finds_the_weights_that_made_the_answers():
    rng = np.random.default_rng(0)
    probability, distance = rng.uniform(0.01, 0.999, 40000), rng.uniform(0.2, 3, 40000)
    made = torch.tensor([1.5, 0.6, -3.0])
    truth = calibrate(made, probability, distance)
    right = rng.random(40000) < truth
    found = fit(probability, distance, right)
    assert torch.allclose(found, made, atol=0.15)
    confidence = calibrate(found, probability, distance)
    assert expected_calibration_error(reliability(confidence, right)) < 0.01
    raw = expected_calibration_error(reliability(probability, right))
    assert raw > 0.2, "the answers' own probabilities are not calibrated here"


def test_a_fit_to_answers_that_are_all_right_is_finite():
    assert torch.isfinite(fit([0.9, 0.99, 1.0], [0.1, 0.2, 0.3], [1, 1, 1])).all()


def test_the_threshold_comes_from_questions_as_in_training(tmp_path):
    fitted = Familiarity({"longest": torch.tensor(12.0)})
    assert not fitted.has_questions
    surprise = np.concatenate([np.linspace(0, 4, 101), np.full(50, 100.0)])
    ordinary = np.arange(151) < 101
    fitted.fit_questions(surprise, np.full(151, 0.9), ordinary, ordinary)
    assert fitted.question(float(np.quantile(surprise[:101], 0.99))) == pytest.approx(1)
    fitted.save(tmp_path)
    found = Familiarity.load(tmp_path)
    assert found.confidence(0.9, 1.0) > 0.95 and found.confidence(0.9, 100.0) < 0.01


def test_foreign_questions_are_foreign():
    """The second kind names what is absent; the third has the words of a question in other order.
    """
    seeds = list(range(SPLITS["validation"].start, SPLITS["validation"].start + 30))
    for seed in seeds:
        scene = draw_scene(seed)
        rows = _questions(seed, seeds, dict.fromkeys(seeds))
        there = {a.name for m in scene.moments for a in m.actors}
        there |= {m.heard.name for m in scene.moments if m.heard}
        (absent,) = [text for _, kind, text, _ in rows if KINDS[kind].startswith("about")]
        named = set(re.findall(r"\w+", absent)) & {*SHAPES, *THINGS, *WORDS}
        assert named - there
        (shuffled,) = [text for _, kind, text, _ in rows if KINDS[kind].endswith("words")]
        own = [text for _, kind, text, _ in rows if kind == 0]
        assert sorted(shuffled.rstrip("?").split()) in [sorted(t.rstrip("?").split()) for t in own]


# The shipped model

@pytest.fixture(scope="module")
def listed():
    return list_questions()


def test_the_shipped_list_is_that_of_the_mini_world(listed):
    assert Repertoire.load(find_checkpoint()) == listed
    printed = str(known_questions())
    for text in [*sum(listed.questions.values(), []), *WORDS, *THINGS]:
        assert text in printed


def test_the_list_holds_the_form_of_every_question_also_in_other_words(listed):
    for seed in SPLITS["validation"][:100]:
        for question in ask(draw_scene(seed)):
            other = reword_seeded(question.text, seed)
            assert listed.has_form(question.text) and listed.has_form(other), other


@pytest.mark.parametrize("typed", [
    "was the star shown before the horn was heard?", "what was heard first?", "the bell?",
    "how many circles were shown?", "what was not shown?"])
def test_other_forms_are_not_in_the_list(listed, typed):
    assert not listed.has_form(typed)


def test_the_nearest_question_is_one_with_the_same_words(listed):
    assert listed.nearest("what was heard just while a red heart was shown?", 1)[0].startswith(
        "what was heard while the")
    assert listed.begins("What") and listed.begins("who") and not listed.begins("is")


def test_a_checkpoint_without_a_list_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("favor_mini.apps.ask.find_checkpoint", lambda folder: tmp_path)
    with pytest.raises(FileNotFoundError, match="questions.json"):
        known_questions()


@pytest.fixture(scope="module")
def shipped():
    return Asker()


def test_a_listed_question_is_read_as_it_is(shipped, sample):
    """Finding: where marks surprise equally, "describe the picture." was read with "?"."""
    for typed in ("describe the picture.", "do sound and picture belong together?"):
        notes = shipped.ask(sample.path, typed).notes
        assert not any("has this form" in note for note in notes)


@pytest.fixture(scope="module")
def sample():
    return next(s for s in read_samples()
                if any(q.text == "what was said first?" for q in s.questions))


@pytest.mark.parametrize("typed", ["what was said first", "WHAT WAS SAID FIRST?!",
                                   " what  was said first ?", "whats said first"])
def test_one_question_in_several_spellings_has_one_answer(shipped, sample, typed):
    usual = shipped.ask(sample.path, "what was said first?")
    found = shipped.ask(sample.path, typed)
    assert (found.answer, found.confidence, found.notes) == \
        (usual.answer, usual.confidence, usual.notes)
    assert found.familiar["question"] and found.answer == next(
        q.answer for q in sample.questions if q.text == "what was said first?")


@pytest.mark.parametrize("typed", [
    "what was heard first", "was the star shown before the horn was heard?", "did the bell ring?",
    "how many circles were shown?", "when was the bell heard?", "the bell", "red or blue?",
    "which shape moved left?", "why", "what was not shown?"])
def test_a_form_that_was_never_trained_is_told_and_not_certain(shipped, sample, typed):
    found = shipped.ask(sample.path, typed)
    assert found.notes and found.confidence < 0.3, found
    assert found.familiar["question"] is False


def test_a_question_about_what_is_absent_is_told(shipped, sample):
    absent = [t for t in THINGS if t not in sample.transcript][0]
    found = shipped.ask(sample.path, f"how many times was the {absent} heard?")
    assert found.familiar["question"] is False
    assert any("does not seem to hold" in note and absent in note for note in found.notes)


def test_a_yes_no_question_is_told_as_such(shipped, sample):
    notes = shipped.ask(sample.path, "was the star shown before the horn was heard?").notes
    assert any('no training question begins with "was"' in note for note in notes)
    assert any("--list-questions" in note for note in notes)


def test_a_question_longer_than_the_context_is_refused(shipped, sample):
    with pytest.raises(ValueError, match="tokens too long"):
        shipped.ask(sample.path, "what was said? " * 3000)


@pytest.mark.parametrize("typed", ["", "  ", "?", "?!", "\u00a0"])
def test_a_question_without_a_word_is_empty(shipped, sample, typed):
    with pytest.raises(ValueError, match="question is empty"):
        shipped.ask(sample.path, typed)
