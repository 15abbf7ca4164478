"""The teaching pages: what they name exists, and what they quote is what the package says."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from docs.tools.capacity import STUDENTS, needed
from favor_mini.course.exercise import answer, exercises, find, judge
from favor_mini.lab.contract import check
from favor_mini.lab.plan import load_parts
from favor_mini.lab.statistics import verdict
from notebooks.tools.build import FOLDER, costs, read_source, sources

ROOT = Path(__file__).parents[1]
PAGES = {p.stem: p.read_text(encoding="utf-8") for p in (ROOT / "docs/teaching").glob("*.md")}


# The marked example.

def row(name: str) -> np.ndarray:
    """Numbers of a row of the example's table."""
    [found] = re.findall(rf"^\| {name} \|(.*)\|$", PAGES["project"], re.MULTILINE)
    return np.array(found.split("|"), float)


def test_the_part_of_the_example_registers_and_keeps_its_contract():
    load_parts(str(ROOT / "docs/teaching/example_part.py"))
    report = check("attention", "every_other", show=False)
    assert report.ok, report.broken
    wanted = [[i >= j and (i - j) % 2 == 0 for j in range(4)] for i in range(4)]
    assert report.receptive_field.tolist() == wanted


def test_the_example_s_interval_follows_from_its_table():
    by_seed = row("every_other") - row("block_causal")
    mean, spread = by_seed.mean(), by_seed.std(ddof=1)
    half = t.ppf(0.975, 4) * spread / 5**0.5
    said = f"{mean:+.1f} points ({mean - half:+.1f} to {mean + half:+.1f})"
    assert f"The difference is {said}" in PAGES["project"]
    assert verdict(mean, mean - half, mean + half, 5) in PAGES["project"]
    assert f"standard deviation of {spread:.1f} points" in PAGES["project"]
    assert f"takes {answer('seeds_needed')(spread, 0.0, 2.0)} seeds" in PAGES["project"]


def test_the_marks_add_up():
    rubric = dict(re.findall(r"^\| (\w+) \| (\d) \|", PAGES["project"], re.MULTILINE))
    marks = re.findall(r"^\| (\w+) \| (\d+) of (\d+) \|", PAGES["project"], re.MULTILINE)
    *parts, (_, total, most) = marks
    assert {name: of for name, _, of in parts} == rubric
    assert sum(int(p) for _, p, _ in parts) == int(total)
    assert sum(map(int, rubric.values())) == int(most) == 20


# The mistakes.

QUOTED = re.findall(r"^`(\w+)`: (.*)$", "\n".join(
    " ".join(line.removeprefix("> ") for line in block.split("\n"))
    for block in re.findall(r"(?:^> .*\n)+", PAGES["mistakes"], re.MULTILINE)
    for block in [block.strip()]), re.MULTILINE)


def bank(name: str) -> list:
    """The wrong answers to an exercise, with words of their messages."""
    return importlib.import_module(f"wrong_answers.nb{find(name).notebook}").WRONG[name]


@pytest.mark.parametrize(("name", "message"), QUOTED)
def test_the_check_says_what_is_quoted(name, message, monkeypatch):
    monkeypatch.setattr("favor_mini.course.exercise.limited", lambda work, seconds: work())
    meant = [attempt for attempt, words in bank(name) if words in message]
    assert meant, "no wrong answer in the bank has this message"
    assert any(message in " ".join(str(judge(find(name), attempt)).split()) for attempt in meant)


def test_the_mistakes_are_those_of_each_notebook():
    parts = re.split(r"^## (\d\d) .*\n", PAGES["mistakes"], flags=re.MULTILINE)
    assert len(QUOTED) >= 35 and parts[1::2] == [f"{n:02}" for n in range(13)]
    for number, text in zip(parts[1::2], parts[2::2], strict=True):
        named = re.findall(r"^> `(\w+)`:", text, re.MULTILINE)
        assert len(named) >= 2 and {find(n).notebook for n in named} == {number}
        assert text.count("*Ask:*") == len(named) == len(re.findall(r"^\*\*", text, re.MULTILINE))


def test_every_exercise_that_a_page_names_exists():
    table = PAGES["mistakes"].split("## Kinds that return")[1].split("\n## ")[0]
    assert len(names := re.findall(r"`(\w+)`", table)) > 30 and set(names) <= set(exercises())
    assert sum(len(bank(name)) for name in exercises()) > 600


# The plan.

def headings(number: str) -> list[str]:
    [source] = sources(FOLDER, number)
    text = "\n".join(c.source for c in read_source(source).cells if c.cell_type == "markdown")
    return re.findall(r"^###? (.*)$", text, re.MULTILINE)


def test_the_sections_that_the_plan_shows_exist():
    shown = set(re.findall(r"(\d\d) \*([^*]+)\*", PAGES["plan"]))
    assert len(shown) > 50 and {number for number, _ in shown} == {f"{n:02}" for n in range(13)}
    for number, title in shown:
        assert [h for h in headings(number) if h.split(":")[0] == title], (number, title)


@pytest.mark.parametrize(("title", "minutes"), [
    ("Lecture 1", 90), ("Lecture 2", 90), ("Lecture 3", 90), ("One hour", 60)])
def test_the_minutes_of_a_lecture_follow_one_another(title, minutes):
    part = PAGES["plan"].split(f"## {title}")[1].split("\n## ")[0]
    spans = [tuple(map(int, s)) for s in re.findall(r"^\| (\d+)-(\d+) \|", part, re.MULTILINE)]
    assert spans[0][0] == 0 and spans[-1][1] == minutes
    assert all(one[1] == two[0] and one[0] < one[1]
               for one, two in zip(spans, spans[1:], strict=False))


def test_the_exercises_of_a_lab_fit_into_it():
    notebooks = []
    for part in PAGES["plan"].split("**Lab ")[1:]:
        own = [find(n) for n in re.findall(r"`(\w+)`", part.split("Those who are early")[0])]
        assert 70 <= sum(each.minutes for each in own) <= 90
        assert find(re.findall(r"`(\w+)`", part.split("Those who are early")[1])[0])
        notebooks += [each.notebook for each in own]
    assert notebooks == sorted(notebooks)  # in the order of the course


# Capacity.

def test_the_memory_of_a_class_follows_from_its_kernels():
    measured = re.findall(r"^\| (\d\d) \| (\d\.\d) \| (\d\.\d) \|", PAGES["capacity"],
                          re.MULTILINE)
    rows = re.findall(r"^\| (\d+) \|((?: \d+ \|)+)$", PAGES["capacity"], re.MULTILINE)
    assert tuple(int(students) for students, _ in rows) == STUDENTS and len(measured) == 3
    for students, cells in rows:
        for (_, peak, shared), cell in zip(measured, cells.split("|"), strict=False):
            found = needed(int(students), float(peak), float(shared))
            assert abs(found - int(cell)) <= 0.5 + 0.1 * int(students)  # both are rounded
    assert needed(10, 2.3, 0.3) == pytest.approx(20.3)


def test_the_minutes_of_a_class_follow_from_the_headers():
    seconds, _ = costs(read_source(sources(FOLDER, "09")[0]))
    minutes = f"({seconds} s) on 16 cores: {30 * seconds * 2 / 16 / 60:.0f} minutes"
    assert minutes in " ".join(PAGES["capacity"].split())
    others = [costs(read_source(s)) for s in sources(FOLDER) if not s.stem.startswith("09")]
    assert max(s for s, _ in others) <= 60
    low, high = min(gb for _, gb in others), max(gb for _, gb in others)
    assert f"{low:.1f} to {high:.1f} GB" in PAGES["capacity"]
