"""Exercises: every answer of the package's is accepted, every known wrong one rejected with the words that point at its mistake."""

import importlib
import json
import pkgutil
import time

import pytest
import torch
import wrong_answers

from favor_mini.course import exercise, learner
from favor_mini.course.exercise import exercises, judge
from favor_mini.course.trial import NotTried, at_most

BANK: dict[str, list] = {}
for module in sorted(m.name for m in pkgutil.iter_modules(wrong_answers.__path__)):
    BANK |= importlib.import_module(f"wrong_answers.{module}").WRONG
CASES = [pytest.param(name, attempt, words, id=f"{name}-{getattr(attempt, '__name__', attempt)}-{i}")
         for name, wrong in BANK.items() for i, (attempt, words) in enumerate(wrong)]


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(tmp_path / "progress.json"))


@pytest.mark.parametrize("name", exercises())
def test_the_package_s_own_is_accepted(name):
    assert judge(exercise.find(name), exercise.answer(name)) is None


@pytest.mark.parametrize("name, attempt, words", CASES)
def test_a_wrong_answer_is_told_what_is_wrong(name, attempt, words):
    verdict = judge(exercise.find(name), attempt)
    assert verdict is not None, "accepted"
    assert words in str(verdict)


def test_there_are_wrong_answers_to_each():
    assert set(BANK) == set(exercises())
    assert not [name for name, wrong in BANK.items() if len(wrong) < 3]
    for wrong in BANK.values():  # no two are told the same, else the message points at neither
        assert len({words for _, words in wrong}) == len(wrong)


def nothing(*args, **kwargs):
    return None


def text(*args, **kwargs):
    return "causal"


def weird(*args, **kwargs):
    class Odd:
        def __eq__(self, other):
            raise RuntimeError("no")

        def __repr__(self):
            raise RuntimeError("no")

    return Odd()


def whole_numbers(*args, **kwargs):
    return torch.zeros(1, 2, 3, dtype=torch.long)


def leaves(*args, **kwargs):
    raise SystemExit


def untried(*args, **kwargs):
    raise NotImplementedError


@pytest.mark.parametrize("name", exercises())
@pytest.mark.parametrize("attempt", [nothing, text, weird, whole_numbers, leaves, None, 3, lambda: 1], ids=str)
def test_nonsense_is_rejected_and_nothing_is_raised(name, attempt, capsys):
    assert exercise.check(name, attempt) is exercise.answer(name)
    assert "[not yet]" in capsys.readouterr().out


@pytest.mark.parametrize("name", exercises())
def test_a_stub_is_not_a_mistake(name):
    assert isinstance(judge(exercise.find(name), untried), NotTried)


def test_an_endless_loop_is_ended(monkeypatch):
    monkeypatch.setattr(exercise, "SECONDS", 0.3)

    def endless(*args):
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # what a careless attempt might do
                continue

    assert "never ends" in str(judge(exercise.find("frame_index"), endless))
    with at_most(0.05):
        pass
    time.sleep(0.2)  # the clock of a block that has ended raises nothing later


def test_the_learner_s_line_is_named():
    def attempt(num_frames, step_tokens):
        return torch.arange(num_frames).nonsense

    said = str(judge(exercise.find("frame_index"), attempt))
    assert "AttributeError" in said and "torch.arange(num_frames).nonsense" in said


def test_checking_leaves_random_numbers_as_they_were():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    judge(exercise.find("measure_reach"), exercise.answer("measure_reach"))
    assert torch.equal(torch.rand(1), wanted)


def test_progress_is_kept_and_a_broken_file_is_set_aside(capsys):
    learner.file().write_text("my notes")
    own = exercise.answer("frame_index")
    exercise.check("frame_index", lambda *_: None)
    assert learner.file().with_name("progress.json.broken").read_text() == "my notes"
    exercise.check("frame_index", own)
    entry = json.loads(learner.file().read_text())["frame_index"]
    assert entry["tries"] == 2 and entry["solved"]
    assert "repeat_interleave" in learner.mine("frame_index")
    assert learner.progress().loc[("05", "frame_index")].state.startswith("solved")
    exercise.check("frame_index", lambda *_: None)  # a later slip loses nothing
    assert "repeat_interleave" in learner.mine("frame_index")


def test_where_progress_cannot_be_kept_the_lesson_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(tmp_path / "file" / "progress.json"))
    exercise.check("frame_index", exercise.answer("frame_index"))
    assert "could not be kept" in capsys.readouterr().out


@pytest.mark.parametrize("name", exercises())
def test_cards_are_whole(name):
    each = exercise.find(name)
    page = each._repr_html_()
    assert page.count("<details") == page.count("</details>") == 3
    assert 1 <= each.difficulty <= 5 and each.minutes > 0 and len(each.hints) == 2 and "->" in each.shapes
    assert exercise.source(each.answer).split("\n")[0] not in ("", "pass")


def test_there_are_enough_of_them():
    assert len(exercises()) >= 40
    assert sum(map(len, BANK.values())) >= 120
