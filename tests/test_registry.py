"""Names for exchangeable parts: told apart, replaced by their own cell, and found by a config."""

import subprocess
import sys

import pytest
from conftest import tiny_config

from favor_mini import FavorForConditionalGeneration, registry
from favor_mini.registry import SLOTS, find, names, part, register


@pytest.fixture
def scratch(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_PARTS", dict(registry._PARTS))


def test_the_papers_parts_come_first():
    assert {slot: names(slot)[0] for slot in SLOTS} == {
        "sync": "concat", "windows": "sliding", "attention": "block_causal", "connector": "causal_qformer",
        "diversity": "mean_cosine"}
    for slot in SLOTS:
        assert names(slot)[0] == getattr(tiny_config(), slot)


def test_the_mechanism_does_not_import_the_lab():
    code = ("import sys, favor_mini.model, favor_mini.training.finetune, favor_mini.registry as r\n"
            "assert not any(m.startswith('favor_mini.lab') for m in sys.modules)\n"
            "before = r.names('attention')\nimport favor_mini.lab\n"
            "assert r.names('attention')[:len(before)] == before and 'local_causal' in r.names('attention')")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_config_that_names_the_labs_part_finds_it():
    code = ("import sys, favor_mini.registry as r\nassert 'local_causal' not in r.names('attention')\n"
            "assert r.find('attention', 'local_causal').__module__ == 'favor_mini.lab.variants'")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cell_run_again_replaces_its_part(scratch):
    for value in (1, 2):
        @register("attention", "mine", causal=True)
        def mine(num_frames, step_tokens, device=None, value=value):
            """One sentence about it.

            And more.
            """
            return value
    assert find("attention", "mine")(1, 1) == 2 and part("attention", "mine").about == "One sentence about it."
    assert part("attention", "mine").causal


def test_another_ones_name_is_not_taken_over(scratch):
    with pytest.raises(ValueError, match="attention 'block_causal' is favor_mini.attention.block_causal already"):
        @register("attention", "block_causal")
        def mine(num_frames, step_tokens, device=None):
            return None


@pytest.mark.parametrize("ask, match", [
    (lambda: register("mask", "mine"), "no slot 'mask'; the slots are sync, windows"),
    (lambda: names("mask"), "no slot 'mask'"),
    (lambda: find("sync", "concta"), "no sync 'concta'; there are concat, .*add.*--parts FILE.py"),
    (lambda: FavorForConditionalGeneration(tiny_config(connector="qformer")), "no connector 'qformer'")])
def test_unknown_names_list_the_known_ones(ask, match):
    with pytest.raises(ValueError, match=match):
        ask()
