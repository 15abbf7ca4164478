"""What a learner's code leaves behind does not reach the next check, nor the package's answer."""

import os
import random
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import needs

from favor_mini.course import exercise
from favor_mini.course.exercise import judge
from favor_mini.course.limit import MOST_LINES, in_process, in_thread
from favor_mini.course.traces import usual

ROUND = "frame_index", "gram", "choose_candidate", "first_and_own", "paired_difference"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(exercise, "limited", lambda work, seconds: work())


def settings():
    return {"dtype": torch.get_default_dtype(), "device": torch.get_default_device(),
            "errors": np.geterr(), "printed": np.get_printoptions(), "folder": os.getcwd(),
            "threads": torch.get_num_threads(), "grad": torch.is_grad_enabled(),
            "numpy": np.random.get_state()[1].tolist(), "random": random.getstate(),
            "torch": torch.get_rng_state().tolist(), "filters": list(warnings.filters),
            "searchsorted": np.searchsorted, "softmax": torch.Tensor.softmax, "pad": F.pad,
            "deterministic": torch.are_deterministic_algorithms_enabled()}


CHANGES = {
    "device": lambda: torch.set_default_device("meta"),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "errors": lambda: np.seterr(all="raise"),
    "printed": lambda: np.set_printoptions(precision=1),
    "folder": lambda: os.chdir("/"),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "grad": lambda: torch.set_grad_enabled(False),
    "numpy": lambda: np.random.seed(0),
    "random": lambda: random.seed(0),
    "torch": lambda: torch.manual_seed(0),
    "filters": lambda: warnings.simplefilter("error"),
    "softmax": lambda: setattr(torch.Tensor, "softmax", zeros),
    "searchsorted": lambda: setattr(np, "searchsorted", zeros),
    "pad": lambda: setattr(F, "pad", zeros),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
}


def zeros(x, *args, **kwargs):
    return x * 0


@pytest.mark.parametrize("limited", [None, in_thread])
@pytest.mark.parametrize("name", CHANGES)
def test_a_check_leaves_everything_as_it_was(name, limited, monkeypatch):
    if limited:
        monkeypatch.setattr(exercise, "limited", limited)

    def attempt(num_frames, step_tokens, device=None):
        CHANGES[name]()
        return torch.arange(num_frames).repeat_interleave(step_tokens)

    before = settings()
    judge(exercise.find("frame_index"), attempt)
    after = settings()
    assert {key for key in before if before[key] != after[key]} == set()


@pytest.mark.parametrize("name", CHANGES)
def test_an_honest_answer_passes_after_any_change(name):
    known = [exercise.find(each) for each in ROUND]
    with usual():  # which puts everything back at the end of this test
        CHANGES[name]()
        changed = settings()
        for each in known:
            assert judge(each, each.answer) is None, each.name
        assert settings() == changed


def attention_weights(scores):
    return scores.softmax(-1)


def test_the_package_s_answer_is_computed_with_torch_s_own_functions(monkeypatch):
    """With the attempt's softmax the package's answer was zero, too, and this was solved."""
    def attempt(scores):
        torch.Tensor.softmax = zeros
        torch.softmax = zeros
        return scores * 0

    def trial(t):
        t.check((t.randn(3, 4),))

    made = exercise.Exercise("attention_weights", "00", attention_weights, 1, 1, "", "", (), trial)
    assert "values are wrong" in str(judge(made, attempt))
    assert judge(made, attention_weights) is None
    assert "softmax" not in vars(torch.Tensor)


def test_restoring_is_cheap():
    with usual():  # the first is slower
        pass
    start = time.perf_counter()
    for _ in range(20):
        with usual():
            pass
    assert time.perf_counter() - start < 20 * 0.02


@pytest.mark.parametrize("limited", [pytest.param(in_process, marks=needs("forks")), in_thread])
def test_long_output_is_cut_off(limited, capsys):
    def work():
        for i in range(100_000):
            print(i)

    limited(work, 60)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [str(i) for i in range(MOST_LINES)]
    assert "99,900 more lines" in lines[-1]


def test_a_long_line_is_cut_off(capsys):
    in_thread(lambda: print("x" * 10**6), 60)
    found = capsys.readouterr().out
    assert len(found) < 6000 and "rest of the line" in found


def test_a_tensor_without_numbers_is_named():
    verdict = judge(exercise.find("frame_index"), lambda frames, tokens: torch.arange(
        frames, device="meta").repeat_interleave(tokens, output_size=frames * tokens))
    assert "holds no numbers" in str(verdict)


def test_code_in_a_thread_cannot_end_the_kernel(monkeypatch):
    monkeypatch.setattr(exercise, "limited", in_thread)
    leave = os._exit
    verdict = judge(exercise.find("frame_index"), lambda *_: os._exit(3))
    assert "would end the notebook's kernel" in str(verdict)
    assert os._exit is leave
