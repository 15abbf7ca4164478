"""What a learner has solved, in one small file of theirs. Nothing leaves the machine.

`~/.favor-mini/progress.json`, or the file that FAVOR_MINI_PROGRESS names. Removing it starts anew.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ..storage import atomic_write


def file() -> Path:
    """Where progress is kept."""
    return Path(os.environ.get("FAVOR_MINI_PROGRESS") or Path.home() / ".favor-mini" / "progress.json")


def read() -> dict[str, dict]:
    """By exercise: `tries`, `solved` (a date or None), `code` (the latest that was right). A file that cannot be read counts as empty."""
    try:
        known = json.loads(file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: entry for name, entry in known.items() if isinstance(entry, dict)} if isinstance(known, dict) else {}


def note(name: str, *, solved: bool, code: str = "") -> None:
    """Count a try, and keep the code where it was right. Where nothing can be written the lesson goes on, and says so."""
    path, known = file(), read()
    if path.exists() and not known:
        _set_aside(path)
    entry = {"tries": 0, "solved": None, "code": "", **known.get(name, {})}
    entry["tries"] += 1
    if solved:
        entry["solved"] = entry["solved"] or time.strftime("%Y-%m-%d")
        entry["code"] = code or entry["code"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as unfinished:
            unfinished.write_text(json.dumps({**known, name: entry}, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        print(f"(progress could not be kept in {path}: {error.strerror}; set FAVOR_MINI_PROGRESS to a file that can be written)")


def _set_aside(path: Path) -> None:
    """A file that is no progress file may be something of the learner's, or a broken one: it is kept beside."""
    try:
        if path.read_text(encoding="utf-8").strip() not in ("", "{}"):
            path.replace(path.with_name(path.name + ".broken"))
    except (OSError, ValueError):
        return


def progress():
    """All exercises with what became of them, as a pandas table."""
    import pandas as pd

    from .exercise import exercises

    known = read()
    rows = []
    for each in exercises().values():
        entry = known.get(each.name, {})
        state = f"solved {entry['solved']}" if entry.get("solved") else f"tried {entry['tries']} x" if entry.get("tries") else ""
        rows.append({"notebook": each.notebook, "exercise": each.name, "difficulty": each.difficulty, "minutes": each.minutes,
                     "state": state})
    return pd.DataFrame(rows, columns=["notebook", "exercise", "difficulty", "minutes", "state"]).set_index(["notebook", "exercise"])


def mine(name: str) -> str:
    """Your latest code for an exercise that was right; empty where there is none."""
    return read().get(name, {}).get("code", "")
