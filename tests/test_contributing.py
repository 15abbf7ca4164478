"""CONTRIBUTING.md: its recipes are followed, step by step, in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEP = re.compile(r"(Append to|Save as|Run)(?:\s+`([^`]+)`)?:\n\n( *)```\w+\n(.*?)\n\3```",
                  re.DOTALL)


def steps(recipe: str) -> list[tuple[str, str, str]]:
    """(Append to, Save as or Run; file; block) of each step of a recipe."""
    part = TEXT.split(f"## {recipe}\n")[1].split("\n## A")[0]
    return [(what, file, textwrap.dedent(block) + "\n")
            for what, file, _, block in STEP.findall(part)]


def run(command: str, folder: Path) -> str:
    """A command line of the recipe, by this interpreter; it has to succeed."""
    words = shlex.split(command.replace("\\\n", " "))
    done = subprocess.run([sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(folder)})
    assert words[0] == "python" and done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def follow(recipe: str, folder: Path) -> list[str]:
    """Do the steps in a folder; returns what the commands print."""
    printed = []
    for what, file, block in steps(recipe):
        if what == "Run":
            printed.append(run(block, folder))
        else:
            with (folder / file).open("a" if what == "Append to" else "w",
                                      encoding="utf-8") as stream:
                stream.write(block)
    return printed


@pytest.fixture
def copy(tmp_path):
    """What the exercise's recipe needs of the repository."""
    skipped = shutil.ignore_patterns("checkpoints", "__pycache__", "*.ipynb", "images")
    for name in ("favor_mini", "tests", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_recipe_of_an_exercise_works(copy):
    [printed] = follow("Add an exercise", copy)
    passed = int(re.search(r"(\d+) passed", printed)[1])
    # the solved cell, three messages, eight kinds of nonsense, the stub, the card; and the bank
    assert passed == 1 + 3 + 8 + 1 + 1 + 1


def test_the_recipe_of_a_variant_works(tmp_path):
    shutil.copytree(ROOT / "favor_mini", tmp_path / "favor_mini",
                    ignore=shutil.ignore_patterns("checkpoints", "__pycache__"))
    contract, gym = follow("Add a variant", tmp_path)
    assert "attention 'two_back'" in contract and "[OK]   declared causal" in contract
    assert "[FAIL]" not in contract
    assert re.search(r"attention=two_back +recall", gym)
    assert (tmp_path / "build/trial/curves.csv").is_file()
