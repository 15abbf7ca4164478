"""Files that are written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file near `path`; renamed to `path` at the end, deleted after an error.

    Example:
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content, **options) -> None:
    """Write JSON, whole or not at all; makes the folder. `options`: of `json.dumps`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, **options) + "\n", encoding="utf-8")
