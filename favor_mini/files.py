"""Files that appear whole or not at all, names made of their content, and what the system tells of this process."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, moved into its place at the end, or removed after an error."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def digest(*parts: bytes) -> str:
    """Sixteen letters that stand for the content of all parts together."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


@cache
def package_code() -> str:
    """The package's code that a training or an answer may depend on, with the spoken words, as a digest."""
    from . import data_path

    package, beside = Path(__file__).parent, {"cli.py", "report.py", "demo.py", "doctor.py", "bench.py"}
    lab = [package / "lab" / name for name in ("variants.py", "plan.py", "compare.py")]
    aveb = [package / "aveb" / name for name in ("tasks.py", "metrics.py")]
    files = [*(f for f in package.glob("*.py") if f.name not in beside), *package.glob("world/*.py"), *aveb, *lab]
    files += [file for file in data_path("speech").iterdir() if file.suffix in (".ogg", ".json")]
    return digest(*(file.read_bytes() for file in sorted(files)))


def peak_memory() -> int | None:
    """The most bytes that this process has held; None where the system does not tell (Windows)."""
    try:  # Linux: ru_maxrss counts what the process that started this one held, VmHWM does not
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
