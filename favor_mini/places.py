"""Where a learner's files go: the work folder, and caches where the home folder is read-only.

`import favor_mini` imports this file, and it imports only what Python itself has loaded by then.
"""

import os
from functools import cache
from pathlib import Path


def can_write(folder: Path | str) -> bool:
    """Whether files can be written in `folder`, or the folder can be made."""
    folder = os.path.abspath(folder)
    while not os.path.lexists(folder) and folder != (above := os.path.dirname(folder)):
        folder = above
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def move_caches() -> None:
    """Give numba, matplotlib and huggingface a temporary folder where theirs cannot be written; it
    is deleted at the end of the process.

    Without a cache, importing librosa fails, as it needs numba. A hub cache that is there can be
    read, and stays.
    """
    home = os.path.expanduser("~")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    closed = not (os.path.isabs(home) and can_write(home) and can_write(caches))
    lost = [name for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME")
            if (not can_write(os.environ[name]) if os.environ.get(name) else closed)]
    if os.path.isdir(os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")):
        lost = [name for name in lost if name != "HF_HOME"]
    if lost:
        folder = _temporary("favor-mini-caches-")
        os.environ.update({name: str(folder / name.lower()) for name in lost})


def _temporary(prefix: str, within: Path | None = None) -> Path:
    """A new folder, deleted at the end of the process."""
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within)).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def work_path(*parts: str) -> Path:
    """A path in the folder where notebooks write; makes that folder.

    It is the folder that FAVOR_MINI_WORK names, and then no other. Else it is `build` next to
    `notebooks`, in the working folder or above it, or else in the working folder. Where that cannot
    be written, it is a temporary one, deleted at the end of the process; a message says so, once.

    Raises:
        OSError: the folder that FAVOR_MINI_WORK names cannot be written.
    """
    from .storage import explain_write_errors

    folder = _work_folder(os.environ.get("FAVOR_MINI_WORK"), Path.cwd())
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.joinpath(*parts)


@cache
def _work_folder(named: str | None, here: Path) -> Path:
    if named:
        return Path(named).resolve()
    course = [folder for folder in (here, *here.parents) if (folder / "notebooks").is_dir()]
    folder = (course or [here])[0] / "build"
    if can_write(folder):
        return folder
    print(f"({folder} cannot be written: results go to a temporary folder and are deleted at the "
          "end. Fix: set FAVOR_MINI_WORK to a folder that can be written)")
    return _temporary("favor-mini-work-")


def own_folder(name: str) -> Path:
    """A new folder in the work folder, for this process alone: no other notebook writes or deletes
    there. It is deleted at the end of the process.

    Raises:
        OSError: as in `work_path`.
    """
    return _temporary(f"{name}-", work_path())
