"""Two processes train as one process with the same items in each step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import needs
from safetensors.torch import load_file
from two_processes import ITEMS, run

from favor_mini.training.checkpoints import last_checkpoint
from favor_mini.training.order import items_needed


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(script), str(out)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=script.parents[1])
    assert not done.returncode, done.stderr
    return out, [json.loads((out / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


@needs("torchrun")
@pytest.mark.slow
def test_two_processes_train_as_one(two, tmp_path):
    out, found = two
    seen, log, weights = run(tmp_path, ITEMS)
    for step in range(6):  # the items of a step are those of one process, each process has half
        parts = [rank["seen"][2 * step : 2 * step + 2] for rank in found]
        assert parts[0] + parts[1] == seen[ITEMS * step : ITEMS * (step + 1)]
    assert sorted(seen[:20]) == list(range(20))  # each once in an epoch
    assert found[0]["log"] == found[1]["log"] and len(log) == len(found[0]["log"]) == 10
    for mine, theirs in zip(log, found[0]["log"], strict=True):
        for name in ("loss", "cross_entropy", "eval_cross_entropy", "step", "epoch"):
            assert mine.get(name) == pytest.approx(theirs.get(name), abs=1e-3)
    one, other = (load_file(out / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    # Not all of them: where rounding alone is the gradient, the optimizers amplify it.
    assert torch.allclose(one["projection.bias"], weights["projection.bias"], atol=1e-3)


@needs("torchrun")
@pytest.mark.slow
def test_two_processes_resume_exactly_and_one_of_them_writes(two):
    out, found = two
    assert [rank["same"] for rank in found] == [rank["continued"] for rank in found] == [True] * 2
    assert {path.name for path in (out / "parts").iterdir()} == {
        "run.json", "busy.lock", "log.csv", "checkpoint-6"}
    assert (out / "parts" / "log.csv").read_bytes() == (out / "whole" / "log.csv").read_bytes()
    assert last_checkpoint(out / "parts").endswith("checkpoint-6")


@needs("torchrun")
@pytest.mark.slow
def test_one_process_continues_what_two_began(two, tmp_path):
    out, _ = two
    (out / "one").symlink_to(out / "two")
    seen, log, _ = run(out / "one", ITEMS)
    assert seen == [] and log[-1] == {"step": 6}


def test_a_checkpoint_that_one_of_the_processes_has_not_finished_is_ignored(tmp_path):
    for step, files in ((2, ("rng_state_0.pth", "complete")), (4, ("rng_state_0.pth",))):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).touch()
        (folder / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_the_items_of_a_run_count_all_processes(monkeypatch):
    assert items_needed(10, 4) == 40 and items_needed(10, 4, accumulate=3) == 120
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert items_needed(10, 4, accumulate=3) == 240
