"""The machine: whether bfloat16 is fast, peak memory, versions."""

import numpy as np
import pytest
import torch

from favor_mini.machine import has_fast_bf16, machine, peak_memory


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_that_a_gpu_emulates_is_not_fast(monkeypatch, native):
    """A T4 emulates bfloat16. On earlier code that counted as support."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                        lambda including_emulation=True: native or including_emulation)
    assert has_fast_bf16() == native


@pytest.mark.parametrize("capabilities, fast", [
    ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True),
    ({"avx512_f": True, "amx_bf16": False}, False), ({}, False)])
def test_bfloat16_on_a_cpu_needs_its_instructions(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_fast_bf16() is fast


def test_an_old_pytorch_that_does_not_list_capabilities_trains_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert has_fast_bf16() is False


def test_peak_memory_is_in_bytes_and_does_not_fall():
    before = peak_memory()
    assert np.ones(30_000_000).sum() == 3e7  # 240 MB
    assert 50e6 < before <= peak_memory() < 100e9


def test_the_machine_says_what_measured_times_depend_on():
    found = machine()
    assert found["threads"] == torch.get_num_threads() and found["torch"] in torch.__version__
    assert {"device", "favor-mini", "transformers", "peft"} <= set(found)
