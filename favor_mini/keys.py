"""Keys of every cache: names made of all that decides a result, and of nothing else.

What decides: the code of a module with everything that it imports from this package, the versions of the libraries
that compute, weights, settings and data. What does not: comments, docstrings, names of files, line numbers.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parent
LIBRARIES = ("torch", "transformers", "numpy", "scipy", "librosa", "soxr", "av", "pillow")  # they compute features


def digest(*parts: bytes) -> str:
    """Sixteen hexadecimal digits of the SHA-256 over all parts together."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def library_versions(*names: str) -> dict[str, str]:
    """The installed version of each library, without the build (`2.13.0` of `2.13.0+cpu`)."""
    return {name: version(name).split("+")[0] for name in names or LIBRARIES}


@cache
def code_digest(*modules: str) -> str:
    """The code of modules of this package and, as far as their imports lead, of all others that they use.

    Args:
        modules: names below `favor_mini`, such as "world.rows".
    """
    found: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = ast.parse(_file(name).read_text(encoding="utf-8"))
            waiting += _imported(name, found[name])
    return digest(*(f"{name} {_bare(tree)}".encode() for name, tree in sorted(found.items())))


def source_digest(part: Callable) -> str:
    """The code of one function or class, without comments and docstrings."""
    return digest(_bare(ast.parse(textwrap.dedent(inspect.getsource(part)))).encode())


def text_digest(text: str) -> str:
    """The code in a text, without comments and docstrings."""
    return digest(_bare(ast.parse(text)).encode())


def _file(name: str) -> Path | None:
    """The file of a module; None where there is no such module."""
    path = PACKAGE.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _imported(name: str, tree: ast.Module) -> list[str]:
    """The modules of this package that a module imports, inside functions too; not those for type checkers alone."""
    folder = name.split(".") if _file(name).name == "__init__.py" else name.split(".")[:-1]
    found, skipped = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= set(ast.walk(node))
        if isinstance(node, ast.ImportFrom) and node.level and node not in skipped:
            base = [*folder[: len(folder) + 1 - node.level], *filter(None, [node.module])]
            names = [".".join(base), *(".".join([*base, each.name]) for each in node.names)]
            found += [each for each in names if each and _file(each)]
    return found


def _bare(tree: ast.AST) -> str:
    """The syntax tree as text, without docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
