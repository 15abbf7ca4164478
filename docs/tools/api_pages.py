"""Pages of the reference, from the docstrings in the source text. Nothing is imported."""

import ast
import inspect
import re
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[2]
FIELDS = re.compile(r"(?:[a-z_, ]+: .*\n?(?: +.*\n?)*)+\Z")
TICKS = re.compile(r"`[^`\n]+`(?=(\w?))")  # with the letter behind it, as in `name`s
# The mechanism in the order of the data, then what uses it.
MODULES = {
    "Data flow": ["media.clip", "media.read", "processor", "encoders", "audio", "vision", "sync",
                  "windows", "attention", "qformer", "losses", "language", "model", "streaming"],
    "Settings": ["config", "registry", "learned"],
    "Training and evaluation": ["training.finetune", "evaluation.answering", "evaluation.metrics",
                                "evaluation.intervals", "evaluation.scores"],
    "World, lab, course": ["world.scene", "world.tasks", "lab.contract", "lab.compare",
                           "course.exercise"],
}


def source_file(module: str) -> Path:
    """The file of a module of the package, such as `media.read`."""
    return ROOT / "favor_mini" / (module.replace(".", "/") + ".py")


def known_names() -> dict[str, str]:
    """Full names that the reference has, such as `favor_mini.sync.concat`, and their modules."""
    found = {}
    for module in sum(MODULES.values(), []):
        tree = ast.parse(source_file(module).read_text(encoding="utf-8"))
        home = f"favor_mini.{module}"
        found[home] = module
        for node in _public(tree.body):
            found[f"{home}.{node.name}"] = module
            if isinstance(node, ast.ClassDef):
                found |= {f"{home}.{node.name}.{m.name}": module for m in _public(node.body)}
    return found


def write(folder: Path) -> None:
    """Write the reference's pages."""
    folder.mkdir()
    (folder / "index.md").write_text(overview(), encoding="utf-8")
    for module in sum(MODULES.values(), []):
        (folder / f"{module}.rst").write_text(page(module), encoding="utf-8")


def overview() -> str:
    """The page that lists all modules."""
    lines = ["# Reference", "", "From the docstrings. The letters of all shapes are in the",
             "[glossary](../docs/glossary.md).", ""]
    for title, modules in MODULES.items():
        lines += ["```{toctree}", ":maxdepth: 1", f":caption: {title}", "", *modules, "```", ""]
    return "\n".join(lines)


def page(module: str) -> str:
    """The page of a module, in reStructuredText."""
    tree = ast.parse(source_file(module).read_text(encoding="utf-8"))
    name = f"favor_mini.{module}"
    lines = [name, "=" * len(name), "", f".. py:module:: {name}", "", *_text(tree), ""]
    for node in _public(tree.body):
        lines += _entry(node)
    return "\n".join(lines) + "\n"


def _public(body: list) -> list:
    """Functions and classes with a docstring, without private ones."""
    return [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_") and ast.get_docstring(node)]


def _entry(node, method: bool = False) -> list[str]:
    """The directive of a function, a class, a method or a property."""
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        inside = sum((_entry(m, True) for m in _public(node.body)), [])
        return _directive("class", node.name + (_signature(made[0], True) if made else
                                                _fields(node)), [], [*_text(node), "", *inside])
    marks = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
    if "property" in marks:
        return _directive("property", node.name, [], _text(node))
    options = [f":{mark}:" for mark in ("classmethod", "staticmethod") if mark in marks]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = _signature(node, method and "staticmethod" not in marks) + returns
    return _directive("method" if method else "function", node.name + signature, options,
                      _text(node))


def _directive(kind: str, signature: str, options: list[str], body: list[str]) -> list[str]:
    lines = [*options, "", *body]
    return [f".. py:{kind}:: {signature}", *(f"   {line}".rstrip() for line in lines), ""]


def _signature(node: ast.FunctionDef, bound: bool) -> str:
    """The arguments in brackets; those of a method without `self` or `cls`."""
    if bound:
        node.args.args = node.args.args[1:]
    return f"({ast.unparse(node.args)})"


def _fields(node: ast.ClassDef) -> str:
    """The fields of a dataclass in brackets; "" for another class."""
    if not any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return ""
    return "(" + ", ".join(ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)) + ")"


def _text(node) -> list[str]:
    """A docstring in Google's style as lines of reStructuredText."""
    from sphinx.ext.napoleon import Config, GoogleDocstring  # only where the site is built

    text = inspect.cleandoc(ast.get_docstring(node) or "")
    # A paragraph `name: meaning` is a list of arguments, also without a heading.
    parts = [f"Args:\n{indent(part, '    ')}" if FIELDS.match(part) else part
             for part in text.split("\n\n")]
    text = TICKS.sub(lambda m: m.group() + "\\ " * bool(m.group(1)), "\n\n".join(parts))
    made = GoogleDocstring(text, Config(napoleon_use_rtype=False)).lines()
    return "\n".join(made).split("\n")
