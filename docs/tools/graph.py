"""Print which wing imports which, and every import that breaks the order of the wings.

    python -m docs.tools.graph
"""

import sys
import tomllib
from pathlib import Path

import grimp
import networkx

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Print the graph; returns 1 if an import runs upward or there is a circle, else 0."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]
    (order,) = [c["layers"] for c in contracts["contracts"] if c["type"] == "layers"]
    level = {name: -i for i, layer in enumerate(order) for name in layer.split(" | ")}
    graph = grimp.build_graph("favor_mini", exclude_type_checking_imports=True, cache_dir=None)
    edges = [(a, b) for a in graph.modules for b in graph.find_modules_directly_imported_by(a)
             if b != "favor_mini"]  # which looks its names up on first use
    wings = {(_wing(a), _wing(b)) for a, b in edges if _wing(a) != _wing(b)}
    for layer in reversed(order):
        for wing in layer.split(" | "):
            used = sorted(b for a, b in wings if a == wing and b in level)
            print(f"{wing:<14} {' '.join(used)}")
    upward = [(a, b) for a, b in edges if level.get(_wing(a), 1) < level[_wing(b)]]
    circles = [c for c in networkx.strongly_connected_components(networkx.DiGraph(edges))
               if len(c) > 1]
    print(f"\n{len(edges)} imports between {len(graph.modules)} modules; upward:",
          ", ".join(f"{a} -> {b}" for a, b in upward) or "none", end="; circles: ")
    print("; ".join(" ".join(sorted(c)) for c in circles) or "none")
    return int(bool(upward or circles))


def _wing(module: str) -> str:
    return (module.split(".") + [""])[1]


if __name__ == "__main__":
    sys.exit(main())
