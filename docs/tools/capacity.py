"""What a class needs: memory of the kernels, and what each learner's folder takes on disk.

    python -m docs.tools.capacity 03 05 09

Unpacks the course into an empty folder, as `favor-mini class setup` does, and executes notebooks
there, on Linux. The second table is the memory of one kernel for each student.
"""

import sys
import tempfile
from pathlib import Path

import nbformat

from favor_mini.classroom.setup import setup
from notebooks.tools.build import FOLDER, execute, read_source, sources

STUDENTS = (1, 10, 20, 30, 60)
# Pages of files, mostly of libraries: one copy in memory serves all kernels of an installation.
SHARED = """\
print(int(open("/proc/self/status").read().split("RssFile:")[1].split()[0]) / 1e6)
"""


def megabytes(folder: Path) -> float:
    """Size of all files in a folder, in MB."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def measure(number: str, course: Path) -> tuple[float, float]:
    """Peak memory of a notebook's kernel, and the part of it that kernels share, in GB.

    Args:
        number: two digits. course: a folder that `setup` has filled.
    """
    notebook = read_source(sources(FOLDER, number)[0])
    notebook.cells.append(cell := nbformat.v4.new_code_cell(SHARED))
    run = execute(notebook, course / "notebooks")
    return run.gigabytes, float(cell.outputs[0].text)


def needed(students: int, peak: float, shared: float) -> float:
    """GB for one kernel of each student: the files once, the rest for each."""
    return shared + students * (peak - shared)


def main(numbers: list[str]) -> None:
    """Print the tables, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        setup(course)
        before, found = megabytes(course), {}
        print("| notebook | peak, GB | of it shared, GB | written, MB |\n|---|--:|--:|--:|"
              f"\n| the course, unpacked | | | {before:.0f} |", flush=True)
        for number in numbers:
            peak, shared = found[number] = measure(number, course)
            after = megabytes(course)
            print(f"| {number} | {peak:.1f} | {shared:.1f} | {after - before:.0f} |", flush=True)
            before = after
    print(f"\n| students | {' | '.join(found)} |\n|--:|{'--:|' * len(found)}")
    for students in STUDENTS:
        cells = [f"{needed(students, *each):.0f}" for each in found.values()]
        print(f"| {students} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
