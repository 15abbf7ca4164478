"""Writes the table of contents in `notebooks/README.md` from the notebooks' headers and exercises.

    python -m notebooks.tools.contents
"""

from __future__ import annotations

import re
from pathlib import Path

from favor_mini.course.exercise import exercises
from favor_mini.storage import atomic_write
from notebooks.tools.build import FOLDER, costs, read_source, sources

BETWEEN = re.compile(r"(<!-- contents: .*? -->\n).*?(<!-- end of contents -->)", re.DOTALL)


def table(folder: Path = FOLDER) -> str:
    """One row a notebook: what you do, what you need, and what it costs."""
    lines = ["| | notebook | you will | you need | reading | exercises | computing |",
             "|---|---|---|---|--:|--:|--:|"]
    work, total = 0, 0
    for source in sources(folder):
        notebook, number = read_source(source), source.stem[:2]
        header = " ".join(notebook.cells[0].source.split())
        title = re.match(r"# \d\d (.*?) \*\*", header)[1]
        will, need = (re.search(rf"\*\*{part}\*\* (.*?)(?= \*\*|$)", header)[1]
                      for part in ("You will", "You need"))
        reading = int(re.search(r"(\d+) minutes of reading", header)[1])
        tasks = [each.minutes for each in exercises().values() if each.notebook == number]
        seconds, gigabytes = costs(notebook)
        work, total = work + reading + sum(tasks), total + seconds
        lines.append(f"| {number} | [{title}]({source.stem}.ipynb) | {will} | {need} | {reading} "
                     f"min | {len(tasks)}, {sum(tasks)} min | {seconds} s, {gigabytes:.1f} GB |")
    lines.append(f"\n{len(exercises())} exercises in all; {work / 60:.0f} hours of reading and "
                 f"exercises, {total / 60:.0f} minutes of computing.")
    return "\n".join(lines)


def written(text: str, folder: Path = FOLDER) -> str:
    """The README's text with the current table."""
    return BETWEEN.sub(lambda found: f"{found[1]}\n{table(folder)}\n\n{found[2]}", text)


if __name__ == "__main__":
    readme = FOLDER / "README.md"
    text = written(readme.read_text(encoding="utf-8"))
    with atomic_write(readme) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
