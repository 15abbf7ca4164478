"""The bench: the baseline computes what the module computes, and the table has the measurements."""

import json

import pytest
import torch

from favor_mini.apps import bench as bench_module
from favor_mini.apps.bench import (
    QUICK,
    Measurement,
    bench,
    in_process,
    plain_loop,
    qformer_rows,
    repeat,
    summary,
    time_qformer,
)
from favor_mini.apps.settings import BenchSettings
from favor_mini.qformer import CausalQFormer

OPTIONS = {"quick": True, "repeats": 2, "threads": None, "checkpoint": None}


@pytest.mark.parametrize("mask", ["block_causal", "block_anticausal", "full"])
def test_plain_loop_computes_the_same(mask):
    torch.manual_seed(0)
    qformer = CausalQFormer(**QUICK, heads=12, hidden=64, attention=mask).eval()
    windows = torch.randn(3, QUICK["window_frames"] * QUICK["step_tokens"], QUICK["input_width"],
                          requires_grad=True)
    frame_mask = torch.ones(3, QUICK["window_frames"], dtype=torch.bool)
    ours, plain = qformer(windows, frame_mask)[0], plain_loop(qformer, windows, frame_mask)
    torch.testing.assert_close(plain, ours, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(ours)
    one, other = (torch.autograd.grad((q * weights).sum(), windows)[0] for q in (ours, plain))
    torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)


def test_plain_loop_refuses_padding():
    qformer = CausalQFormer(**QUICK, heads=12, hidden=64)
    with pytest.raises(ValueError, match="window_frames"):
        plain_loop(qformer, torch.zeros(1, 24, 96), torch.tensor([[True, True, True, False]]))


def test_summary_is_median_and_spread():
    found = summary("x", "s", [3.0, 1.0, 2.0, 9.0], 10.0)
    assert found == Measurement("x", "s", 2.5, 1.0, 9.0, 4, 10.0, "")


def test_first_run_does_not_count():
    runs = []
    assert len(repeat(lambda: runs.append(1), 3)) == 3 and len(runs) == 4


def test_rows_compare_and_survive_a_lack_of_memory(monkeypatch):
    def measured(measure, *, way, minutes, backward, dtype, **_):
        if (way, dtype, backward) == ("ours", "bfloat16", True):
            raise OSError("ended with code -9: killed")
        seconds = {("plain loop", "float32"): 6.0, ("ours", "float32"): 5.0,
                   ("plain loop", "bfloat16"): 4.0, ("ours", "bfloat16"): 2.0}[way, dtype]
        return {"seconds": [seconds], "memory": 1.0}

    monkeypatch.setattr(bench_module, "in_process", measured)
    rows = {row.name: row for row in qformer_rows({**OPTIONS, "quick": False})}
    assert len(rows) == 16
    assert rows["Q-Former 10 min forward float32 ours"].note == "1.20x plain loop float32"
    note = rows["Q-Former 1 min forward bfloat16 ours"].note
    assert note == "3.00x plain loop float32, 2.00x plain loop bfloat16"
    lost = rows["Q-Former 10 min fwd+bwd bfloat16 ours"]
    assert lost.median is None and "killed" in lost.note and " - " in str(lost)


@pytest.mark.parametrize("way", ["ours", "plain loop"])
def test_one_row_measures(way):
    for backward in (False, True):
        found = time_qformer(way=way, minutes=0.05, backward=backward, dtype="bfloat16",
                             quick=True, repeats=2)
        assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0


def test_a_process_that_fails_is_named():
    with pytest.raises(OSError, match="time_read.*code 1.*MediaError"):
        in_process("time_read", path="nowhere.mp4", repeats=1)


def test_table_and_json(tmp_path, capsys):
    rows = bench(BenchSettings(quick=True, only="import", json=str(tmp_path / "rows.json")))
    written = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in written] == ["import favor_mini", "import favor_mini.apps.cli"]
    assert all(row["least"] <= row["median"] <= row["most"] and row["memory"] > 1
               for row in written)
    table = capsys.readouterr().out
    assert all(row.name in table for row in rows) and "median" in table


@pytest.mark.slow
def test_reading_and_asking_rows(capsys):
    read = bench(BenchSettings(quick=True, only="read"))
    assert [row.unit for row in read] == ["s/s"] * 3 and min(row.median for row in read) > 0
    asked = {row.name: row for row in bench(BenchSettings(quick=True, only="ask"))}
    assert {"ask, cold, load", "ask, warm, total", "ask, warm, answer"} <= set(asked)
    assert "ask, warm, load" not in asked
    assert asked["ask, warm, total"].median < asked["ask, cold, total"].median
