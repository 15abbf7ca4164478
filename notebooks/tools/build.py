"""Builds the notebooks: `notebooks/source/NN_name.py` in jupytext's percent format -> executed `notebooks/NN_name.ipynb`.

    python -m notebooks.tools.build build [--only 00]     execute the sources and write the notebooks
    python -m notebooks.tools.build build --measure       ... and write the seconds and the memory it took into their headers
    python -m notebooks.tools.build check                 say where sources and notebooks disagree

The sources are what one edits; the executed notebooks are committed, so that they read well without running anything.
Building twice gives the same file wherever the code prints the same: cell ids follow from the cells, and no time stamp,
machine path, memory address, progress bar or live widget is kept.
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
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from favor_mini.storage import atomic_write

FOLDER = Path(__file__).parents[2] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KERNEL_ENVIRONMENT = {  # a kernel shares the machine with whatever else runs there, and its output must not vary
    "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "COLUMNS": "100",
}
PEAK = """\
from favor_mini.machine import peak_memory
try:
    import resource
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(peak_memory() / 1e9, sum(u.ru_utime + u.ru_stime for u in used))
except ImportError:  # Windows
    print("nan inf")
"""
COSTS = re.compile(r"; (\d+) s of computing, (\d+\.\d) GB of memory\.")  # in a header
WIDGET = "application/vnd.jupyter.widget-view+json"


def read_source(path: Path) -> NotebookNode:
    """The notebook that a percent-format source describes, without outputs, with ids that follow from its cells."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        cell.id = f"{digest}-{seen[digest]}"  # the same words twice in a notebook are still two cells
        seen[digest] += 1
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return notebook


def solve(notebook: NotebookNode) -> NotebookNode:
    """Puts the package's own answers in place of the exercises' stubs, cells with a tag such as `exercise:block_causal`; what is tagged
    `long` hangs on no exercise and is left out."""
    notebook.cells = [cell for cell in notebook.cells if "long" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("exercise:"):
                name = tag.removeprefix("exercise:")
                cell.source = f"import favor_mini.course\n\n{name} = favor_mini.course.answer({name!r})"
    return notebook


@dataclass
class Run:
    """An executed notebook, and what it cost: seconds from the kernel's start, or of processor time where those are fewer, as they are
    where something else runs beside it; GB of memory at the kernel's peak."""

    notebook: NotebookNode
    seconds: float
    gigabytes: float


def execute(notebook: NotebookNode, folder: Path, timeout: int = 900, **environment: str) -> Run:
    """Runs every cell in a fresh kernel that stands in `folder`, in place; `timeout` is in seconds for one cell, `environment` goes to the
    kernel. A learner's progress is left alone.

    Raises nbclient's CellExecutionError at the first cell that fails, unless it bears the tag `raises-exception`;
    CellTimeoutError and DeadKernelError where a cell takes too long or takes the kernel down.
    """
    start, peak = time.perf_counter(), nbformat.v4.new_code_cell(PEAK)
    notebook.cells.append(peak)
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        record_timing=False, extra_arguments=["--log-level=40"],  # the kernel's own advice is not for our readers
    )
    with tempfile.TemporaryDirectory() as nobody:
        client.execute(env={**os.environ, **KERNEL_ENVIRONMENT, "FAVOR_MINI_PROGRESS": str(Path(nobody) / "progress.json"),
                            **environment})
    seconds = time.perf_counter() - start
    notebook.cells.remove(peak)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs, folder)
            cell.metadata.pop("execution", None)
    gigabytes, busy = map(float, peak.outputs[0].text.split())
    return Run(notebook, min(seconds, busy), gigabytes)


def clean_outputs(outputs: list[NotebookNode], folder: Path) -> list[NotebookNode]:
    """What a reader should see: text joined, as it stood at the end; no standard error, no live widget, no machine path.

    A widget cannot live without a kernel, so its view is dropped. What stays is its first picture, if it has one (`widgets.explore`).
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":  # a kernel flushes when it likes, so the pieces vary
                kept[-1].text += output.text
                continue
        elif WIDGET in output.get("data", {}):
            del output.data[WIDGET]
            if not {"image/png", "text/html"} & set(output.data):
                continue
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = hide_paths(last_state(output.text), folder)
        for kind, content in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                output.data[kind] = hide_paths(content, folder)
    return [output for output in kept if output.output_type != "stream" or output.text]


def last_state(text: str) -> str:
    """Text as a terminal shows it in the end, where a carriage return starts its line anew (as progress bars do)."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def hide_paths(text: str, folder: Path) -> str:
    """`text` with the repository, the interpreter, the home and the temporary folder cut off, and addresses masked."""
    machine = [(folder.parent, "."), (Path(sys.prefix), "<python>"), (Path(sys.base_prefix), "<python>"),
               (Path(tempfile.gettempdir()), "<tmp>"), (Path.home(), "~")]
    for path, stand_in in machine:
        if len(path.parts) > 1:  # a home that is the root folder itself stands for nothing
            text = re.sub(rf"(?<![\w.]){re.escape(str(path.resolve()))}(?![\w-])", stand_in, text)
    return re.sub(r"\b0x[0-9a-f]{8,}\b", "0x...", text)


def sources(folder: Path, only: str = "") -> list[Path]:
    """The sources in order; `only` is the beginning of their names. Raises FileNotFoundError if it fits none."""
    found = sorted((folder / "source").glob(f"{only}*.py"))
    if only and not found:
        raise FileNotFoundError(f"no source {folder / 'source'}/{only}*.py: --only takes how a name begins, such as 00")
    return found


def write(notebook: NotebookNode, target: Path) -> None:
    """Writes the notebook whole or not at all."""
    nbformat.validate(notebook)
    with atomic_write(target) as unfinished:
        unfinished.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def costs(notebook: NotebookNode) -> tuple[int, float] | None:
    """The seconds and the GB that a notebook's header says it takes."""
    found = COSTS.search(notebook.cells[0].source) if notebook.cells else None
    return found and (int(found[1]), float(found[2]))


def write_costs(source: Path, run: Run) -> None:
    """Puts what a run took, roundly, into its source's header, and into the notebook."""
    told = f"; {max(5, 5 * round(run.seconds / 5))} s of computing, {run.gigabytes:.1f} GB of memory."
    with atomic_write(source) as unfinished:
        unfinished.write_text(COSTS.sub(told, source.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    header, first = run.notebook.cells[0], read_source(source).cells[0]
    header.source, header.id = first.source, first.id


def build(folder: Path = FOLDER, only: str = "", measure: bool = False) -> int:
    """Executes the sources and writes the notebooks; a notebook whose run fails is left as it was. Returns the failures."""
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
        print(f"{source.name}: {len(run.notebook.cells)} cells, {run.seconds:.0f} s, {run.gigabytes:.1f} GB", flush=True)
    return failures


def check(folder: Path = FOLDER) -> list[str]:
    """Everything in which notebooks and sources disagree, one sentence each; empty where all is well."""
    complaints = []
    names = {source.stem for source in sources(folder)}
    complaints += [f"{path.name}: has no source/{path.stem}.py"
                   for path in sorted(folder.glob("*.ipynb")) if path.stem not in names]
    for source in sources(folder):
        target = folder / f"{source.stem}.ipynb"
        if not target.exists():
            complaints.append(f"{target.name}: not built yet, run make notebooks ONLY={source.stem[:2]}")
            continue
        complaints += [f"{target.name}: {complaint}" for complaint in compare(read_source(source), target)]
    return complaints


def compare(expected: NotebookNode, target: Path) -> list[str]:
    """Where a written notebook is not what its source says, or was not executed whole and without error."""
    notebook = nbformat.read(target, as_version=4)
    complaints = []
    if notebook.metadata != expected.metadata:
        complaints.append(f"carries metadata {sorted(notebook.metadata)}, not only the kernel's name")
    if [cell.id for cell in notebook.cells] != [cell.id for cell in expected.cells]:
        known = {cell.id for cell in notebook.cells}
        changed = [number for number, cell in enumerate(expected.cells, 1) if cell.id not in known]
        complaints.append(f"differs from its source, cells {changed or 'left out or moved'}: build it again")
    if any(cell.source != twin.source or cell.metadata != twin.metadata
           for cell, twin in zip(notebook.cells, expected.cells, strict=False) if cell.id == twin.id):
        complaints.append("was edited without its source: build it again")
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        complaints.append("was not executed from top to bottom in one go")
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                complaints.append(f"a cell ended in {output.ename}: {output.evalue}")
    return complaints


NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def alike(text: str, other: str, share: float = 0.1, least: float = 0.03) -> bool:
    """Whether two outputs say the same, numbers to a tenth of their size, or to 0.03 (3, where they are percent): processors
    differ in the last bits, and now and then an answer flips."""
    if NUMBER.split(text.replace(" ", "")) != NUMBER.split(other.replace(" ", "")):
        return False
    for one, two in zip(NUMBER.findall(text), NUMBER.findall(other), strict=True):
        apart, size = abs(float(one) - float(two)), max(abs(float(one)), abs(float(two)))
        if apart > max(share * size, least if size <= 1 else 3.0 if "%" in text else 0.0):
            return False
    return True


def differing(made: NotebookNode, kept: NotebookNode) -> list[str]:
    """Where a fresh run shows something else than the notebook that is kept; cells tagged `varies` need only show as much. Pictures are
    held against each other by what their descriptions say."""
    complaints = []
    for number, (cell, known) in enumerate(zip(made.cells, kept.cells, strict=True), 1):
        if cell.cell_type != "code":
            continue
        now, then = ([_said(output) for output in c.outputs] for c in (cell, known))
        if [kind for kind, _ in now] != [kind for kind, _ in then]:
            complaints.append(f"cell {number} shows {[k for k, _ in now]}, not {[k for k, _ in then]}")
        elif "varies" not in cell.metadata.get("tags", []):
            complaints += [f"cell {number} says {a[:300]!r}, not {b[:300]!r}"
                           for (_, a), (_, b) in zip(now, then, strict=True) if not alike(a, b)]
    return complaints


def _said(output: NotebookNode) -> tuple[str, str]:
    """An output's kind, and what it says in words."""
    data = output.get("data", {})
    if output.output_type == "stream":
        return "text", output.text
    if "image/png" in data:
        return "picture", output.metadata.get("image/png", {}).get("alt", "")
    return "+".join(sorted(data)) or output.output_type, data.get("text/html", data.get("text/plain", ""))


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when all is well, 1 when a notebook failed or disagrees."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.tools.build", description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("--only", default="", metavar="NN", help="build only the notebooks whose names begin so")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    parser.add_argument("--measure", action="store_true", help="write what each took into its header; on a machine that does nothing else")
    options = parser.parse_args(arguments)
    if options.command == "build":
        try:
            return min(1, build(options.folder.resolve(), options.only, options.measure))
        except FileNotFoundError as error:
            parser.error(str(error))
    complaints = check(options.folder.resolve())
    print("\n".join(complaints) or f"{len(sources(options.folder))} notebooks agree with their sources")
    return min(1, len(complaints))


if __name__ == "__main__":
    sys.exit(main())
