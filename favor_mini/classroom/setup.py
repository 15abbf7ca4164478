"""The course in a folder of the learner's own: notebooks, samples, and the pages they link to.

A clone has them in its top folder. A wheel carries them as `favor_mini/_course`; `deploy/wheel.py`
puts them there. It runs this file alone, so the imports at the top are of Python's own library.
"""

from pathlib import Path

FIRST = "notebooks/00_start_here.ipynb"
PAGES = ("glossary", "results", "lab", "own_data")  # of docs/


def course_files(root: Path) -> list[str]:
    """What learners get of a clone, as paths in it: notebooks with their pictures, samples, and the
    pages of docs/ that these link to."""
    patterns = ("notebooks/*.ipynb", "notebooks/README.md", "notebooks/images/*",
                "data_samples/**/*", *(f"docs/{name}.md" for name in PAGES))
    found = [file.relative_to(root) for pattern in patterns for file in root.glob(pattern)
             if file.is_file()]
    return sorted(file.as_posix() for file in found
                  if not any(part.startswith((".", "__")) for part in file.parts))


def course_root() -> Path:
    """The clone, or the folder within an installed package.

    Raises:
        FileNotFoundError: the package was installed without the course.
    """
    package = Path(__file__).parents[1]
    for root in (package.parent, package / "_course"):
        if (root / FIRST).is_file():
            return root
    raise FileNotFoundError(f"{package} holds no course. Fix: install favor-mini again, from a "
                            "wheel or a clone")


def course_notebooks(folder: Path | str | None = None, number: str | None = None) -> list[Path]:
    """The course's notebooks, or those of a number of two digits.

    Args:
        folder: of the notebooks. None: of the clone or the installed package.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = Path(folder) if folder else course_root() / "notebooks"
    found = sorted(folder.glob(f"{number or '[0-9][0-9]'}_*.ipynb"))
    if not found:
        raise FileNotFoundError(f"no notebook {number or ''} in {folder}. Fix: correct the number, "
                                "or name the folder of the course's notebooks by --notebooks")
    return found


def setup(folder: Path | str) -> list[str]:
    """Copy the course to `folder`. A file that is there stays as it is.

    Returns:
        the files that were there and differ: a learner's work, or another release's.

    Raises:
        OSError: a file cannot be written.
    """
    from ..storage import atomic_write, explain_write_errors

    root, folder, left = course_root(), Path(folder), []
    for name in course_files(root):
        file, content = folder / name, (root / name).read_bytes()
        if not file.exists():
            with atomic_write(file) as temporary:
                temporary.write_bytes(content)
        elif not file.is_file() or file.read_bytes() != content:
            left.append(name)
    build = folder / "build"  # the notebooks write there
    with explain_write_errors(build):
        build.mkdir(exist_ok=True)
    return left
