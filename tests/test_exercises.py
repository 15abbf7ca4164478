"""Exercises: each package answer is accepted, each known wrong one rejected, with its message."""

import ast
import importlib
import itertools
import os
import pkgutil
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import wrong_answers
from conftest import needs

from favor_mini.course import exercise
from favor_mini.course.exercise import exercises, judge
from favor_mini.course.limit import Died, TooLong, in_process, in_thread
from favor_mini.course.trial import NotTried
from favor_mini.registry import find
from notebooks.tools import build as builder

ROOT = Path(__file__).parents[1]
BANK: dict[str, list] = {}
for module in sorted(m.name for m in pkgutil.iter_modules(wrong_answers.__path__)):
    BANK |= importlib.import_module(f"wrong_answers.{module}").WRONG
CASES = [pytest.param(name, attempt, words, id=f"{name}-{i}")
         for name, wrong in BANK.items() for i, (attempt, words) in enumerate(wrong)]


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("FAVOR_MINI_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture
def same_process(monkeypatch):
    """Judge in this process: a thousand forks would take a minute."""
    monkeypatch.setattr(exercise, "limited", lambda work, seconds: work())


def solved_cells():
    """By exercise, the code of its cell in the solved edition, and the line that checks it."""
    found = {}
    for source in builder.sources(builder.FOLDER):
        notebook = builder.solve(builder.read_source(source))
        code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        for cell in notebook.cells:
            for tag in cell.metadata.get("tags", []):
                if tag.startswith("exercise:"):
                    name = tag.removeprefix("exercise:")
                    line = re.search(rf'^{name} = check\("{name}", {name}\)', code, re.MULTILINE)
                    found[name] = cell.source, line[0]
    return found


SOLVED = solved_cells()


@pytest.mark.parametrize("name", exercises())
def test_the_solved_cell_of_the_notebook_passes_its_check(name, capsys):
    names = {"check": exercise.check}
    for code in SOLVED[name]:
        exec(code, names)
    assert f"[solved] {name}" in capsys.readouterr().out
    assert names[name] is exercise.answer(name)


def test_every_exercise_is_in_a_notebook():
    assert set(SOLVED) == set(exercises())


@pytest.mark.parametrize("name, attempt, words", CASES)
def test_the_message_names_the_mistake(name, attempt, words, same_process):
    verdict = judge(exercise.find(name), attempt)
    assert verdict is not None, "accepted"
    assert words in str(verdict)


def test_there_are_wrong_answers_to_each():
    assert set(BANK) == set(exercises())
    assert not [name for name, wrong in BANK.items() if len(wrong) < 3]
    for wrong in BANK.values():  # no two have the same message, else it points at neither
        assert len({words for _, words in wrong}) == len(wrong)


def reversed_view(times, duration, frame_rate=2.0):
    return exercise.answer("grid_frames")(times, duration, frame_rate)[::-1].copy()[::-1]


def read_only(waveform):
    mel = exercise.answer("log_mel")(waveform)
    mel.flags.writeable = False
    return mel


def pseudo_inverse(features, labels, classes):
    inputs = np.pad(features.double().numpy(), ((0, 0), (0, 1)), constant_values=1.0)
    return torch.from_numpy(np.linalg.pinv(inputs) @ np.eye(classes)[labels.numpy()]).float()


def whole_frame_of_padding(name, frame_mask, step_tokens):
    frame = exercise.answer("frame_index")(frame_mask.shape[1], step_tokens)
    real = frame_mask.repeat_interleave(step_tokens, dim=1)
    own = (frame[:, None] == frame) & ~real[:, None, None, :]
    allowed = find("attention", name)(frame_mask.shape[1], step_tokens)
    return (allowed & real[:, None, None, :]) | own


def padding_sees_itself_alone(name, frame_mask, step_tokens):
    real = frame_mask.repeat_interleave(step_tokens, dim=1)
    allowed = find("attention", name)(frame_mask.shape[1], step_tokens) & real[:, None, None, :]
    return torch.where(real[:, None, :, None], allowed, torch.eye(real.shape[1]).bool())


def from_a_list(num_frames, step_tokens, device=None):
    return torch.tensor([k for k in range(num_frames) for _ in range(step_tokens)], device=device)


def pair_by_pair(num_frames, step_tokens, device=None):
    frame = from_a_list(num_frames, step_tokens, device)
    mask = torch.zeros(len(frame), len(frame), dtype=torch.bool, device=device)
    for i, j in itertools.product(range(len(frame)), repeat=2):
        if frame[i] >= frame[j]:  # which the device "meta" cannot tell
            mask[i, j] = True
    return mask


def rounded_up(num_frames, window_frames):
    return np.int64(np.ceil(num_frames / window_frames))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name, attempt", [
    ("grid_frames", reversed_view), ("log_mel", read_only), ("fit_probe", pseudo_inverse),
    ("window_mask", whole_frame_of_padding), ("window_mask", padding_sees_itself_alone),
    ("frame_index", from_a_list), ("block_causal", pair_by_pair), ("num_windows", rounded_up)])
def test_another_right_way_is_accepted(name, attempt, same_process):
    assert judge(exercise.find(name), attempt) is None


def test_an_answer_that_is_sometimes_wrong_is_rejected(same_process, monkeypatch):
    """Once in 20 calls. Five trials accepted it two times in three."""
    monkeypatch.setattr(exercise, "ENOUGH", 60)  # also on a slow machine
    own, draw = exercise.answer("num_windows"), random.Random(0)

    def attempt(num_frames, window_frames):
        return own(num_frames, window_frames) + (draw.random() < 0.05)

    accepted = [judge(exercise.find("num_windows"), attempt) for _ in range(40)].count(None)
    assert accepted <= 2


def test_the_number_of_trials_is_told(capsys, monkeypatch):
    monkeypatch.setattr(exercise, "ENOUGH", 60)
    exercise.check("num_windows", exercise.answer("num_windows"))
    assert f"correct on {exercise.MOST} trials" in capsys.readouterr().out
    monkeypatch.setattr(exercise, "ENOUGH", 0)
    exercise.check("num_windows", exercise.answer("num_windows"))
    assert f"correct on {exercise.FEWEST} trials" in capsys.readouterr().out


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
@pytest.mark.parametrize("attempt", [
    nothing, text, weird, whole_numbers, leaves, None, 3, lambda: 1],
    ids=lambda attempt: getattr(attempt, "__name__", str(attempt)))
def test_nonsense_is_rejected_and_nothing_is_raised(name, attempt, same_process, capsys):
    assert exercise.check(name, attempt) is exercise.answer(name)
    assert "[not yet]" in capsys.readouterr().out


@pytest.mark.parametrize("name", exercises())
def test_a_stub_is_not_a_mistake(name, same_process):
    assert isinstance(judge(exercise.find(name), untried), NotTried)


def python_loop():
    while True:
        try:
            time.sleep(0.01)
        except Exception:  # as a careless attempt might
            continue


def sleeps():
    time.sleep(30)


def multiplies():
    return torch.ones(20_000, 20_000) @ torch.ones(20_000, 20_000)


def never_releases_the_interpreter():
    return sum(itertools.count())  # one C call, which holds the global interpreter lock


@pytest.mark.parametrize("limited, work", [
    *(pytest.param(in_process, work, marks=needs("forks"))
      for work in (python_loop, sleeps, multiplies, never_releases_the_interpreter)),
    *((in_thread, work) for work in (python_loop, sleeps, multiplies))])
def test_the_time_limit_holds_within_c_code(limited, work):
    """The limit was an exception that Python raises only between two of its own instructions."""
    start = time.monotonic()
    with pytest.raises(TooLong):
        limited(work, 0.3)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("limited", [pytest.param(in_process, marks=needs("forks")), in_thread])
def test_the_limit_returns_the_result_and_what_was_printed(limited, capsys):
    def work():
        print("seen by the learner")
        return torch.is_grad_enabled()

    with torch.no_grad():
        assert limited(work, 20) is False
    assert limited(work, 20) is True
    assert capsys.readouterr().out == "seen by the learner\n" * 2


def test_the_check_reports_code_that_does_not_return(monkeypatch):
    monkeypatch.setattr(exercise, "SECONDS", 0.3)
    verdict = judge(exercise.find("frame_index"), lambda *_: sleeps())
    assert "never ends" in str(verdict)


@needs("forks")
def test_code_that_ends_its_process_is_reported():
    with pytest.raises(Died, match="exit code 3"):
        in_process(lambda: os._exit(3), 20)
    verdict = judge(exercise.find("frame_index"), lambda *_: os._exit(3))
    assert "has ended" in str(verdict)


def test_the_learner_s_line_is_named():
    def attempt(num_frames, step_tokens):
        return torch.arange(num_frames).nonsense

    message = str(judge(exercise.find("frame_index"), attempt))
    assert "AttributeError" in message and "torch.arange(num_frames).nonsense" in message


def test_checking_leaves_random_numbers_as_they_were():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    judge(exercise.find("measure_receptive_field"), exercise.answer("measure_receptive_field"))
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("name", exercises())
def test_cards_are_whole(name):
    each = exercise.find(name)
    page = each._repr_html_()
    assert page.count("<details") == page.count("</details>") == 3
    assert 1 <= each.difficulty <= 5 and each.minutes > 0 and len(each.hints) == 2
    assert "->" in each.shapes and each.name == each.answer.__name__
    assert exercise.source(each.answer).split("\n")[0] not in ("", "pass")


def test_there_are_enough_of_them():
    assert len(exercises()) >= 64
    assert sum(map(len, BANK.values())) >= 578


def test_the_course_has_no_circle():
    """`learner` imported `exercise`, which imports `learner`."""
    for file in (ROOT / "favor_mini" / "course").glob("*.py"):
        if file.stem in ("learner", "limit", "trial"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                        and "exercise" in [node.module, *(name.name for name in node.names)]]
