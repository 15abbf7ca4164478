"""The page of results says what the stored measurements say."""

import json
import re
from pathlib import Path

from docs.tools import results
from favor_mini.evaluation.intervals import wilson
from favor_mini.world.questions import FAMILIES
from favor_mini.world.tasks import TASKS

ROOT = Path(__file__).parent.parent


def test_the_page_is_the_one_that_the_command_writes():
    found = results.PAGE.read_text(encoding="utf-8")
    assert found == results.page(), "Fix: python -m docs.tools.results"


def test_the_page_holds_all_families_tasks_and_experiments():
    found = results.PAGE.read_text(encoding="utf-8")
    for name in (*FAMILIES, *(f"`{task}`" for task in TASKS)):
        assert f"| {name}" in found
    for experiment in results.EXPERIMENTS:
        assert f"### {experiment.name}\n" in found


def test_intervals_over_clips_are_wider_where_answers_are_correlated():
    found = {s.name: s for s in results.sample_scores()}
    low, high = wilson(found["all"].accuracy * found["all"].count, found["all"].count)
    assert found["all"].low < low < high < found["all"].high
    assert found["off_screen"].accuracy == 1 and found["off_screen"].high == 1


def test_measurements_are_reduced_by_clip_and_family(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "DATA", tmp_path)
    rows = [{"clip": clip, "family": family, "chance": chance, "correct": right}
            for clip, family, chance, right in (
                ("a", "said", 0.1, True), ("a", "said", 0.3, False), ("b", "said", 0.2, True))]
    for delay in results.DELAYS:
        (tmp_path / f"samples_{delay}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    results.store(tmp_path)
    expected = [["a", "said", 0.2, "10"], ["b", "said", 0.2, "1"]]
    assert results._read("samples") == dict.fromkeys(results.DELAYS, expected)
    assert [(s.count, s.accuracy) for s in results.sample_scores()][-1] == (3, 2 / 3)


def test_a_table_is_markdown():
    assert results.table("a|b", [("x", "1")]) == "| a | b |\n| :-- | --: |\n| x | 1 |"


def test_the_figures_of_the_errata_are_on_the_pages_that_they_name():
    text = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]+\| \[[^\]]+\]\(([^)]+)\) \|(.*)\|$", text, re.MULTILINE)
    assert len(rows) >= 5
    for link, cells in rows:
        page = (ROOT / "docs" / link).read_text(encoding="utf-8")
        figures = re.findall(r"\d+\.\d+", cells)
        assert len(figures) >= 2 and not [f for f in figures if f not in page], (link, figures)
