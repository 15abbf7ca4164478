"""A table of exercises by student, from copies of their progress files."""

import json
from pathlib import Path

import pandas as pd

from ..course.exercise import exercises
from ..storage import atomic_write


def progress_table(folder, out) -> pd.DataFrame:
    """One row a student, one column an exercise: "solved", the number of tries, or "". Writes it to
    `out`, as CSV. A last column counts the solved ones.

    Raises:
        FileNotFoundError: there is no STUDENT.json. ValueError: one of them is no progress file.
    """
    files = sorted(Path(folder).glob("*.json"))
    if not files:
        raise FileNotFoundError(f"no STUDENT.json in {folder}. Fix: collect copies of "
                                "~/.favor-mini/progress.json")
    rows = {}
    for file in files:
        try:
            known = dict(json.loads(file.read_text(encoding="utf-8")))
            rows[file.stem] = {name: _state(known.get(name, {})) for name in exercises()}
        except (ValueError, TypeError, AttributeError, KeyError):
            raise ValueError(f"{file} is no progress file. Expected a copy of "
                             "~/.favor-mini/progress.json") from None
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("student")
    table["solved"] = (table == "solved").sum(axis=1)
    with atomic_write(Path(out)) as unfinished:
        table.to_csv(unfinished)
    return table


def _state(entry: dict) -> str:
    if entry.get("solved"):
        return "solved"
    return f"{entry['tries']} tries" if entry.get("tries") else ""
