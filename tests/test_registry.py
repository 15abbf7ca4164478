"""The registry: names, unknown names, parts that are replaced, and the parts of the lab."""

import subprocess
import sys

import pytest
from conftest import tiny_config

from favor_mini import FavorForConditionalGeneration, registry
from favor_mini.registry import SLOTS, find, names, part, register


@pytest.fixture
def scratch(monkeypatch):
    """Restore the registry after the test."""
    monkeypatch.setattr(registry, "_PARTS", dict(registry._PARTS))


PAPER = {"sync": "concat", "windows": "sliding", "attention": "block_causal",
         "connector": "causal_qformer", "diversity": "mean_cosine"}


def run(code):
    """Run code in a new process, where nothing of the package has been imported."""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_papers_parts_come_first():
    assert {slot: names(slot)[0] for slot in SLOTS} == registry.PAPER == PAPER
    for slot in SLOTS:
        assert names(slot)[0] == getattr(tiny_config(), slot)


@pytest.mark.parametrize("first", ["registry", "lab.variants"])
def test_the_papers_parts_come_first_whatever_is_imported_first(first):
    """The names were in the order of imports: the lab's before the paper's diversity loss."""
    run(f"import favor_mini.{first}, favor_mini.registry as r\n"
        f"assert {{slot: r.names(slot)[0] for slot in r.SLOTS}} == {PAPER}")


def test_the_model_alone_finds_the_papers_parts():
    """The model did not import the module of the paper's diversity loss."""
    run("import sys, favor_mini.model, favor_mini.registry as r\n"
        "assert all(r.find(slot, name) for slot, name in r.PAPER.items())\n"
        "assert not any(m.startswith('favor_mini.lab') for m in sys.modules)")


def test_the_mechanism_does_not_import_the_lab():
    run("import sys, favor_mini.model, favor_mini.training.finetune, favor_mini.registry as r\n"
        "assert not any(m.startswith('favor_mini.lab') for m in sys.modules)\n"
        "before = r.names('attention')\nimport favor_mini.lab\n"
        "after = r.names('attention')\n"
        "assert after[:len(before)] == before and 'local_causal' in after")


def test_a_part_of_the_lab_is_found_without_an_import():
    run("import favor_mini.registry as r\nassert 'local_causal' not in r.names('attention')\n"
        "found = r.find('attention', 'local_causal')\n"
        "assert found.__module__ == 'favor_mini.lab.variants'")


def test_a_cell_that_runs_again_replaces_its_part(scratch):
    for value in (1, 2):
        @register("attention", "mine", causal=True)
        def mine(num_frames, step_tokens, device=None, value=value):
            """One sentence about it.

            And more.
            """
            return value
    assert find("attention", "mine")(1, 1) == 2 and part("attention",
                                                         "mine").about == "One sentence about it."
    assert part("attention", "mine").causal


def test_the_name_of_another_part_raises(scratch):
    with pytest.raises(ValueError, match="is favor_mini.attention.block_causal already"):
        @register("attention", "block_causal")
        def mine(num_frames, step_tokens, device=None):
            return None


@pytest.mark.parametrize("ask, match", [
    (lambda: register("mask", "mine"), "no slot 'mask'; the slots are sync, windows"),
    (lambda: names("mask"), "no slot 'mask'"),
    (lambda: find("sync", "concta"), "no sync 'concta'; there are concat, .*add.*--parts FILE.py"),
    (lambda: FavorForConditionalGeneration(tiny_config(connector="qformer")),
     "no connector 'qformer'")])
def test_unknown_names_list_the_known_ones(ask, match):
    with pytest.raises(ValueError, match=match):
        ask()
