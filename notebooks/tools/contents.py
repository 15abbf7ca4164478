"""The table of contents in `notebooks/README.md`, from the notebooks' own headers and exercises.

    python -m notebooks.tools.contents            # write it anew
"""

from __future__ import annotations

import re
from pathlib import Path

from favor_mini.course.exercise import exercises
from favor_mini.storage import atomic_write
from notebooks.tools.build import FOLDER, costs, read_source, sources

BETWEEN = re.compile(r"(<!-- contents: .*? -->\n).*?(<!-- end of contents -->)", re.DOTALL)


def table(folder: Path = FOLDER) -> str:
    """One row a notebook: what one will do, what one needs, and what it costs."""
    lines = ["| | notebook | you will | you need | reading | exercises | computing |", "|---|---|---|---|--:|--:|--:|"]
    hours, total = 0, 0
    for source in sources(folder):
        notebook = read_source(source)
        header = " ".join(notebook.cells[0].source.split())
        title = re.match(r"# \d\d (.*?) \*\*", header)[1]
        will, need = (re.search(rf"\*\*{part}\*\* (.*?)(?= \*\*|$)", header)[1] for part in ("You will", "You need"))
        reading = int(re.search(r"(\d+) minutes of reading", header)[1])
        tasks = [each for each in exercises().values() if each.notebook == source.stem[:2]]
        minutes, (seconds, gigabytes) = sum(each.minutes for each in tasks), costs(notebook)
        hours, total = hours + reading + minutes, total + seconds
        lines.append(f"| {source.stem[:2]} | [{title}]({source.stem}.ipynb) | {will} | {need} | {reading} min | "
                     f"{len(tasks)}, {minutes} min | {seconds} s, {gigabytes:.1f} GB |")
    lines.append(f"\nIn all {len(exercises())} exercises; {hours / 60:.0f} hours of reading and exercises, "
                 f"{total / 60:.0f} minutes of computing.")
    return "\n".join(lines)


def written(text: str, folder: Path = FOLDER) -> str:
    """The README's text with the table as it should be."""
    return BETWEEN.sub(lambda found: found[1] + "\n" + table(folder) + "\n\n" + found[2], text)


if __name__ == "__main__":
    readme = FOLDER / "README.md"
    told = written(readme.read_text(encoding="utf-8"))
    with atomic_write(readme) as unfinished:
        unfinished.write_text(told, encoding="utf-8")
