"""Builds the notebooks: `notebooks/source/NN_name.py`, in jupytext's percent format, is executed
and becomes `notebooks/NN_name.ipynb`.

    python -m notebooks.tools.build build [--only 00]     execute the sources, write the notebooks
    python -m notebooks.tools.build build --measure       ... and write time and memory into headers
    python -m notebooks.tools.build check                 list differences of sources and notebooks

Edit the sources. The executed notebooks are committed: they can be read without running them.
Building twice gives the same file where the code prints the same: cell ids depend on the cells
only, and no time stamp, local path, memory address, progress bar or live widget is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from favor_mini.storage import atomic_write

from .client import Client

FOLDER = Path(__file__).parents[2] / "notebooks"
METADATA = {"language_info": {"name": "python"},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
KERNEL_ENVIRONMENT = {  # waiting threads sleep, and outputs do not vary
    "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0",
    "COLUMNS": "100"}
MEASURE = """\
import os
from favor_mini.machine import peak_memory
print((peak_memory() or float("nan")) / 1e9, sum(os.times()[:4]))
"""
COSTS = re.compile(r"; (\d+) s of computing, (\d+\.\d) GB of memory\.")  # in a header
WIDGET = "application/vnd.jupyter.widget-view+json"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def read_source(path: Path) -> NotebookNode:
    """The notebook of a source, without outputs, with ids that depend on its cells only."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        cell.id = f"{digest}-{seen[digest]}"  # equal cells have different ids
        seen[digest] += 1
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return notebook


def tags(cell: NotebookNode, prefix: str = "") -> list[str]:
    """A cell's tags that start with `prefix`, without it."""
    return [tag.removeprefix(prefix) for tag in cell.metadata.get("tags", [])
            if tag.startswith(prefix)]


def solve(notebook: NotebookNode) -> NotebookNode:
    """Replace the stubs of exercises (tag `exercise:NAME`) by the reference answers, in place.

    Cells with the tag `long` do not depend on exercises; they are left out.
    """
    notebook.cells = [cell for cell in notebook.cells if "long" not in tags(cell)]
    for cell in notebook.cells:
        for name in tags(cell, "exercise:"):
            cell.source = f"import favor_mini.course\n\n{name} = favor_mini.course.answer({name!r})"
    return notebook


@dataclass
class Run:
    """An executed notebook and its costs.

    seconds: from the start of the kernel, or of processor time where that is less, as it is where
        another process uses the machine. gigabytes: the kernel's peak memory.
    """

    notebook: NotebookNode
    seconds: float
    gigabytes: float


def execute(notebook: NotebookNode, folder: Path, timeout: int = 900, **environment: str) -> Run:
    """Run every cell in place, in a fresh kernel with `folder` as its working directory.

    The learner's progress is not touched.

    Args:
        timeout: seconds for one cell. environment: variables for the kernel.

    Raises:
        CellExecutionError: a cell without the tag `raises-exception` failed.
        CellTimeoutError, DeadKernelError: a cell took too long, or ended the kernel.
    """
    start, measure = time.perf_counter(), nbformat.v4.new_code_cell(MEASURE)
    notebook.cells.append(measure)
    client = Client(
        notebook, timeout=timeout, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(folder)}}, extra_arguments=["--log-level=40"])
    with tempfile.TemporaryDirectory() as temporary:
        client.execute(env={**os.environ, **KERNEL_ENVIRONMENT, **environment,
                            "FAVOR_MINI_PROGRESS": str(Path(temporary) / "progress.json")})
    seconds = time.perf_counter() - start
    notebook.cells.remove(measure)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs, folder)
            cell.metadata.pop("execution", None)
    gigabytes, processor = map(float, measure.outputs[0].text.split())
    return Run(notebook, min(seconds, processor), gigabytes)


def clean_outputs(outputs: list[NotebookNode], folder: Path) -> list[NotebookNode]:
    """Outputs for a reader: joined text in its last state; no standard error, widget or local path.

    A widget needs a kernel. Only its first picture is kept, if it has one (`widgets.explore`).
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":  # kernels cut the text at random places
                kept[-1].text += output.text
                continue
        elif WIDGET in output.get("data", {}):
            del output.data[WIDGET]
            if not {"image/png", "text/html"} & set(output.data):
                continue
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = hide_paths(terminal_text(output.text), folder)
        for kind, content in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                output.data[kind] = hide_paths(content, folder)
    return [output for output in kept if output.output_type != "stream" or output.text]


def terminal_text(text: str) -> str:
    """Text as a terminal shows it in the end: a carriage return restarts its line."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def hide_paths(text: str, folder: Path) -> str:
    """`text` with names in place of this machine's folders, and with memory addresses masked."""
    folders = {folder.parent: ".", Path(sys.prefix): "<python>", Path(sys.base_prefix): "<python>",
               Path(tempfile.gettempdir()): "<tmp>", Path.home(): "~"}
    for path, name in folders.items():
        if len(path.parts) > 1:  # not the root folder
            text = re.sub(rf"(?<![\w.]){re.escape(str(path.resolve()))}(?![\w-])", name, text)
    return re.sub(r"\b0x[0-9a-f]{8,}\b", "0x...", text)


def sources(folder: Path, only: str = "") -> list[Path]:
    """The sources whose names begin with `only`, in order.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted((folder / "source").glob(f"{only}*.py"))
    if only and not found:
        raise FileNotFoundError(f"no source {folder / 'source'}/{only}*.py; --only expects the "
                                "beginning of a name, such as 00")
    return found


def write(notebook: NotebookNode, target: Path) -> None:
    """Write the whole notebook or nothing."""
    nbformat.validate(notebook)
    with atomic_write(target) as unfinished:
        unfinished.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def costs(notebook: NotebookNode) -> tuple[int, float] | None:
    """The seconds and GB in a notebook's header."""
    found = COSTS.search(notebook.cells[0].source) if notebook.cells else None
    return found and (int(found[1]), float(found[2]))


def write_costs(source: Path, run: Run) -> None:
    """Write a run's costs, rounded, into the header of its source and of its notebook."""
    seconds = max(5, 5 * round(run.seconds / 5))
    measured = f"; {seconds} s of computing, {run.gigabytes:.1f} GB of memory."
    text = COSTS.sub(measured, source.read_text(encoding="utf-8"), count=1)
    with atomic_write(source) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    header, first = run.notebook.cells[0], read_source(source).cells[0]
    header.source, header.id = first.source, first.id


def build(folder: Path = FOLDER, only: str = "", measure: bool = False) -> int:
    """Execute the sources and write the notebooks; returns how many failed.

    The old notebook is kept where a run fails.
    """
    failures = 0
    for source in sources(folder, only):
        try:
            run = execute(read_source(source), folder)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            failures += 1
            print(f"{source.name}: failed\n{error}", file=sys.stderr, flush=True)
            continue
        if measure:
            write_costs(source, run)
        write(run.notebook, folder / f"{source.stem}.ipynb")
        print(f"{source.name}: {len(run.notebook.cells)} cells, {run.seconds:.0f} s, "
              f"{run.gigabytes:.1f} GB", flush=True)
    return failures


def check(folder: Path = FOLDER) -> list[str]:
    """All differences of notebooks and sources, one sentence each."""
    found = sources(folder)
    names = {source.stem for source in found}
    complaints = [f"{path.name}: has no source/{path.stem}.py"
                  for path in sorted(folder.glob("*.ipynb")) if path.stem not in names]
    for source in found:
        target = folder / f"{source.stem}.ipynb"
        differing = (compare(read_source(source), target) if target.exists()
                     else [f"not built. Fix: make notebooks ONLY={source.stem[:2]}"])
        complaints += [f"{target.name}: {line}" for line in differing]
    return complaints


def compare(expected: NotebookNode, target: Path) -> list[str]:
    """How a notebook differs from its source, and whether it was executed without errors."""
    notebook = nbformat.read(target, as_version=4)
    complaints, fix = [], f"Fix: make notebooks ONLY={target.name[:2]}"
    if notebook.metadata != expected.metadata:
        complaints.append(f"has metadata {sorted(notebook.metadata)}, expected {sorted(METADATA)}")
    if [cell.id for cell in notebook.cells] != [cell.id for cell in expected.cells]:
        known = {cell.id for cell in notebook.cells}
        changed = [number for number, cell in enumerate(expected.cells, 1) if cell.id not in known]
        complaints.append(f"differs from its source, cells {changed or 'left out or moved'}. {fix}")
    if any((cell.source, cell.metadata) != (twin.source, twin.metadata) and cell.id == twin.id
           for cell, twin in zip(notebook.cells, expected.cells, strict=False)):
        complaints.append(f"was edited without its source. {fix}")
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        complaints.append("was not executed from top to bottom in one run")
    complaints += [f"a cell failed with {output.ename}: {output.evalue}" for cell in code
                   for output in cell.outputs
                   if output.output_type == "error" and "raises-exception" not in tags(cell)]
    return complaints


def similar(text: str, other: str, share: float = 0.1, least: float = 0.03) -> bool:
    """Whether two outputs differ in nothing but small differences of numbers.

    Allowed are a tenth of a number, or 0.03 up to 1, or 3 in a text with percentages: processors
    differ in the last bits, and an answer may change.
    """
    if NUMBER.split(text.replace(" ", "")) != NUMBER.split(other.replace(" ", "")):
        return False
    for one, two in zip(NUMBER.findall(text), NUMBER.findall(other), strict=True):
        size = max(abs(float(one)), abs(float(two)))
        allowed = max(share * size, least if size <= 1 else 3.0 if "%" in text else 0.0)
        if abs(float(one) - float(two)) > allowed:
            return False
    return True


def differences(made: NotebookNode, kept: NotebookNode) -> list[str]:
    """Differences of the outputs of a fresh run and the committed notebook.

    Figures are compared by their alternative texts. Of cells with the tag `varies`, only the kinds
    of the outputs are compared.
    """
    if [c.cell_type for c in made.cells] != [c.cell_type for c in kept.cells]:
        return ["the committed notebook has other cells than its source: build it again"]
    complaints = []
    for number, (cell, known) in enumerate(zip(made.cells, kept.cells, strict=True), 1):
        if cell.cell_type != "code":
            continue
        now, then = ([_kind_and_text(output) for output in c.outputs] for c in (cell, known))
        if [kind for kind, _ in now] != [kind for kind, _ in then]:
            complaints.append(f"cell {number} shows {now}, not {then}"[:600])
        elif "varies" not in tags(cell):
            complaints += [f"cell {number} shows {a[:300]!r}, not {b[:300]!r}"
                           for (_, a), (_, b) in zip(now, then, strict=True) if not similar(a, b)]
    return complaints


def _kind_and_text(output: NotebookNode) -> tuple[str, str]:
    data = output.get("data", {})
    if output.output_type == "stream":
        return "text", output.text
    if "image/png" in data:
        return "picture", output.metadata.get("image/png", {}).get("alt", "")
    text = data.get("text/html", data.get("text/plain", ""))
    return "+".join(sorted(data)) or output.output_type, text


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 0, or 1 where a notebook failed or differs."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.tools.build",
                                     description="Build the notebooks from their sources.")
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("--only", default="", metavar="NN", help="how names begin")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    parser.add_argument("--measure", action="store_true",
                        help="write time and memory into the headers; use an idle machine")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    if options.command == "build":
        try:
            return min(1, build(folder, options.only, options.measure))
        except FileNotFoundError as error:
            parser.error(str(error))
    complaints = check(folder)
    print("\n".join(complaints) or f"{len(sources(folder))} notebooks agree with their sources")
    return min(1, len(complaints))


if __name__ == "__main__":
    sys.exit(main())
