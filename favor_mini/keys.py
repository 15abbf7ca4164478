"""Cache keys: digests of everything that decides a result, and of nothing else.

A result depends on the code of a module and of all modules of this package that it imports, on the
versions of the libraries that compute, on weights, settings and data. It does not depend on
comments, docstrings or line numbers.
"""

import ast
import hashlib
import inspect
import json
import symtable
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parent
# They read media and compute features.
LIBRARIES = ("torch", "transformers", "numpy", "soxr", "av", "decord", "decord2", "pillow")


def digest(*parts: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all parts, one after another."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()[:16]


def file_digest(path) -> str:
    """The same of a file, which may be larger than the memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def library_versions(*names: str) -> dict[str, str]:
    """The version of each installed library, without the build (`2.13.0` for `2.13.0+cpu`)."""
    installed = {}
    for name in names or LIBRARIES:
        with suppress(PackageNotFoundError):
            installed[name] = version(name).split("+")[0]
    return installed


def weights_digest(module) -> str:
    """The names, types, shapes and values of all parameters and buffers of a `torch.nn.Module`, or
    of the tensors of a state dict."""
    import torch

    state = module if isinstance(module, dict) else module.state_dict()
    return digest(*(f"{name} {t.dtype} {tuple(t.shape)} ".encode()
                    + digest(t.cpu().contiguous().flatten().view(torch.uint8).numpy()).encode()
                    for name, t in state.items()))


@cache
def code_digest(*modules: str) -> str:
    """The code of modules of this package and of all modules of this package that they import.

    A process reads the files once, when it first needs the key.

    Args:
        modules: names below `favor_mini`, such as "world.rows".

    Raises:
        ValueError: there is no such module.
    """
    found: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            if (file := _file(name)) is None:
                raise ValueError(f"no module {name!r} in {PACKAGE}. Fix: give a name such as "
                                 '"world.rows"')
            found[name] = ast.parse(file.read_text(encoding="utf-8"))
            waiting += _imported(name, found[name])
    return digest(*(f"{name} {_code(tree)}\n".encode() for name, tree in sorted(found.items())))


def source_digest(*parts: Callable) -> str:
    """The code of functions or classes themselves, without that of what they call."""
    return digest(*(text_digest(textwrap.dedent(inspect.getsource(p))).encode() for p in parts))


def text_digest(text: str) -> str:
    """Python code given as text."""
    return digest(_code(ast.parse(text)).encode())


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
    """The notebook cells that register the part, those that define a name that these use, and so
    on, in order of execution; and the plain values of the names and of the classes' attributes."""
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
    values = {n: session.get(n) for n in sorted(names)}  # a later cell may have changed them
    values |= {n: {k: w for k, w in vars(v).items() if k[:2] != "__"}
               for n, v in values.items() if isinstance(v, type)}
    plain = json.dumps(values, skipkeys=True, default=lambda _: None)  # what is not JSON is null
    return digest(*(text_digest(c).encode() for c in cells if c in found), plain.encode())


def _symbols(cell: str) -> tuple[set[str], set[str]]:
    """The global names that a cell defines, and those that it uses."""
    try:
        tables = [symtable.symtable(cell, "cell", "exec")]
    except SyntaxError:  # the cell never ran
        return set(), set()
    for table in tables:  # grows by the functions and classes inside
        tables += table.get_children()
    used = {s.get_name() for t in tables for s in t.get_symbols() if s.is_global()}
    defined = {s.get_name() for s in tables[0].get_symbols() if s.is_assigned() or s.is_imported()}
    return defined, used


def _file(name: str) -> Path | None:
    """The file of a module; None if there is no such module."""
    path = PACKAGE.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _imported(name: str, tree: ast.Module) -> list[str]:
    """The modules of this package that a module imports, in functions too, and the packages that
    hold them; not those that only a type checker imports, and not `favor_mini/__init__.py`."""
    package = name.split(".") if _file(name).name == "__init__.py" else name.split(".")[:-1]
    found, type_checking = [name], set()
    for node in ast.walk(tree):  # an `if` comes before what it holds
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            type_checking.update(each for child in node.body for each in ast.walk(child))
        elif node in type_checking:
            continue
        elif isinstance(node, ast.Import):
            found += [each.name.partition(".")[2] for each in node.names
                      if each.name.startswith(f"{PACKAGE.name}.")]
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                base = [*package[: len(package) + 1 - node.level], *base]
            elif base.pop(0) != PACKAGE.name:
                continue
            found += [".".join(base), *(".".join([*base, each.name]) for each in node.names)]
    parts = [each.split(".") for each in found]  # importing `lab.plan` runs `lab/__init__.py` first
    found = {".".join(each[:count]) for each in parts for count in range(1, len(each) + 1)}
    return [each for each in found if each and _file(each)]


def _code(tree: ast.AST) -> str:
    """The syntax tree as Python text, without comments and docstrings."""
    for node in ast.walk(tree):  # a text that is a statement of its own does nothing
        for field in ("body", "orelse", "finalbody"):
            if isinstance(body := getattr(node, field, None), list):
                kept = [each for each in body if not (
                    isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
                    and isinstance(each.value.value, str))]
                setattr(node, field, kept or ([ast.Pass()] if body else []))
    return ast.unparse(tree)
