"""Keys of every cache: names made of all that decides a result, and of nothing else.

What decides: the code of a module with everything that it imports from this package, the versions of the libraries
that compute, weights, settings and data. What does not: comments, docstrings, names of files, line numbers.
"""

import ast
import hashlib
import inspect
import symtable
import sys
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


def file_digest(path) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a file, which may be larger than the memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


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


def part_digest(part: Callable) -> str:
    """The code that a registered part (`registry`) runs: of its module, if it is in this package,
    of its file, or of its notebook.

    Raises:
        ValueError: the part was defined neither in a file nor in a notebook.
    """
    if part.__module__.startswith(f"{PACKAGE.name}."):
        return code_digest(part.__module__.removeprefix(f"{PACKAGE.name}."))
    try:
        file = Path(inspect.getsourcefile(part) or "")
    except (OSError, TypeError):  # a class defined in a notebook
        file = Path()
    return text_digest(file.read_text(encoding="utf-8")) if file.is_file() else _cells_digest(part)


def _cells_digest(part: Callable) -> str:
    """The notebook cells that register the part and, again and again, all that define a name that
    these use, in order of execution; and the numbers and texts behind the names."""
    session, root = vars(sys.modules[part.__module__]), part.__qualname__.split(".")[0]
    cells = list(dict.fromkeys(reversed(session.get("In", []))))[::-1]  # the last of equal cells
    symbols = {cell: _symbols(cell) for cell in cells}
    found = {c for c in cells if "register" in c and root in symbols[c][1]}
    if not found:
        raise ValueError(f"the code of {part.__qualname__} is in no file and in no notebook cell. "
                         "Fix: define it in a Python file and load that (lab.plan.load_parts)")
    names: set[str] = set()
    while new := set().union(*(symbols[c][1] for c in found)) - names:
        names |= new
        found |= {c for c in cells if symbols[c][0] & new}
    values = {n: session[n] for n in sorted(names)
              if isinstance(session.get(n), (bool, int, float, str))}
    return digest(*(text_digest(c).encode() for c in cells if c in found), repr(values).encode())


def _symbols(cell: str) -> tuple[set[str], set[str]]:
    """The global names that a cell defines, and those that it uses."""
    try:
        tables = [symtable.symtable(cell, "cell", "exec")]
    except SyntaxError:  # the cell never ran
        return set(), set()
    for table in tables:  # grows by the functions and classes inside
        tables += table.get_children()
    used = {s.get_name() for t in tables for s in t.get_symbols() if s.is_global()}
    return {s.get_name() for s in tables[0].get_symbols() if s.is_assigned() or s.is_imported()}, used


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
