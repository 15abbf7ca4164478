"""Pages of experiments and studies: Markdown files with a section for each kind of statement."""

import re
from pathlib import Path


def section(page: Path, title: str) -> str:
    """A section of a page, such as "Question" or "Finding", as one line; "" if there is none."""
    found = re.split(rf"^## {title}\n", page.read_text(encoding="utf-8"), flags=re.M)[1:]
    return " ".join(re.split(r"^## ", found[0], flags=re.M)[0].split()) if found else ""
