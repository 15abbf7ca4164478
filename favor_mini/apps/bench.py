"""Measure this machine: a table of medians and ranges. Every row runs in its own process.

Rows: the causal Q-Former at the paper's sizes against a plain loop over windows; reading a video;
asking the model a question, in a fresh process (cold) and again (warm); importing the package;
training steps at laptop sizes (`bench_laptop`).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from time import perf_counter

from ..machine import peak_memory
from ..storage import write_json
from .bench_laptop import SECONDS, WAYS, laptop_step
from .settings import BenchSettings

PAPER = {"input_width": 1536, "window_frames": 10, "step_tokens": 32, "num_queries": 32,
         "width": 768}
QUICK = {"input_width": 96, "window_frames": 4, "step_tokens": 6, "num_queries": 4, "width": 48}
STAGES = ("import", "load", "read", "prepare", "encode", "answer")
QUESTION = "what was shown when the bell was heard?"


@dataclass(frozen=True)
class Measurement:
    """Median, minimum and maximum of the repeats; None if it could not be measured.

    memory: peak of the process in MiB, libraries included.
    """

    name: str
    unit: str
    median: float | None
    least: float | None
    most: float | None
    repeats: int
    memory: float | None = None
    note: str = ""

    def __str__(self) -> str:
        times = "".join("         -" if v is None else f"{v:>10.3f}"
                        for v in (self.median, self.least, self.most))
        memory = "" if self.memory is None else f"{self.memory:.0f}"
        return f"{self.name:<50}{times}  {self.unit:<8}{memory:>9}  {self.note}".rstrip()


def bench(settings: BenchSettings) -> list[Measurement]:
    """Measure the rows, print each as it is measured, and return them."""
    options = asdict(settings) | {"repeats": 2 if settings.quick else settings.repeats}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
          + (", --quick: the sizes are too small to compare speed" if settings.quick else ""))
    print(f"{'what':<50}{'median':>10}{'min':>10}{'max':>10}  {'unit':<8}{'peak MiB':>9}  note")
    rows, parts = [], {"qformer": qformer_rows, "read": read_rows, "ask": ask_rows,
                       "import": import_rows, "laptop": laptop_rows}
    for part, measure in parts.items():
        for row in measure(options) if settings.only in (None, part) else ():
            rows.append(row)
            print(row, flush=True)
    if settings.json:
        write_json(Path(settings.json), [asdict(row) for row in rows], indent=1)
    return rows


def summary(name: str, unit: str, measured: list[float], memory: float | None = None,
            note: str = "") -> Measurement:
    return Measurement(name, unit, statistics.median(measured), min(measured), max(measured),
                       len(measured), memory, note)


def in_process(measure: str, **options) -> dict:
    """Run the function `measure` of this file in a fresh process; returns its result with the
    peak memory of the process.

    Raises:
        OSError: the process failed, or was killed for lack of memory.
    """
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        [sys.executable, "-m", "favor_mini.apps.bench", measure, json.dumps(options)], text=True,
        capture_output=True,
        env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": paths})
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"{measure} {options} ended with code {done.returncode}: {why}")
    return json.loads(done.stdout.splitlines()[-1])


def repeat(run: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of `repeats` runs, after a warm-up run."""
    run()
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return seconds


# The causal Q-Former.

def qformer_rows(options: dict) -> Iterator[Measurement]:
    """The plain loop and ours by length, pass and precision; the note is our speed-up."""
    for minutes in (0.05, 0.1) if options["quick"] else (1, 10):
        for backward in (False, True):
            medians = {}
            passes = "fwd+bwd" if backward else "forward"
            for dtype, way in product(("float32", "bfloat16"), ("plain loop", "ours")):
                name = f"Q-Former {minutes:g} min {passes} {dtype} {way}"
                try:
                    found = in_process("time_qformer", way=way, minutes=minutes, backward=backward,
                                       dtype=dtype, **options)
                except OSError as error:  # there may be too little memory for 10 minutes
                    yield Measurement(name, "s", None, None, None, 0, note=str(error)[-80:])
                    continue
                medians[way, dtype] = statistics.median(found["seconds"])
                loops = [loop for loop in medians if loop[0] == "plain loop" and way == "ours"]
                note = ", ".join(f"{medians[loop] / medians[way, dtype]:.2f}x {' '.join(loop)}"
                                 for loop in loops)
                yield summary(name, "s", found["seconds"], found["memory"], note)


def time_qformer(way: str, minutes: float, backward: bool, dtype: str, quick: bool, repeats: int,
                 **_) -> dict:
    import torch

    from ..qformer import CausalQFormer

    sizes = QUICK if quick else PAPER
    torch.manual_seed(0)
    precision = getattr(torch, dtype)
    qformer = CausalQFormer(**sizes, heads=12, hidden=4 * sizes["width"])
    qformer = qformer.to(precision).eval()  # eval: no dropout
    windows = -(-round(minutes * 120) // sizes["window_frames"])
    tokens = sizes["window_frames"] * sizes["step_tokens"]
    inputs = torch.randn(windows, tokens, sizes["input_width"], dtype=precision)
    mask = torch.ones(windows, sizes["window_frames"], dtype=torch.bool)

    def run():
        with nullcontext() if backward else torch.no_grad():
            queries = (qformer(inputs, mask)[0] if way == "ours" else
                       plain_loop(qformer, inputs, mask))
        if backward:
            queries.float().square().mean().backward()
            qformer.zero_grad(set_to_none=True)

    return {"seconds": repeat(run, repeats)}


def plain_loop(qformer, windows, frame_mask):
    """What `CausalQFormer.forward` computes, window by window, with every attention matrix in full.

    It uses the module's weights. All frames must be real.
    """
    import torch
    import torch.nn.functional as F

    from ..registry import find

    def attend(block, x, memory, mask):
        heads = [t.unflatten(-1, (block.heads, -1)).transpose(0, 1)  # [heads, L, d]
                 for t in (block.query(x), block.key(memory), block.value(memory))]
        scores = heads[0] @ heads[1].transpose(-1, -2) / heads[0].shape[-1] ** 0.5  # [heads, L, M]
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        attended = (scores.softmax(-1) @ heads[2]).transpose(0, 1).flatten(1)  # [L, width]
        return block.norm(x + block.output(attended))

    if not frame_mask.all():
        raise ValueError("plain_loop found a window with padding, expected whole windows. Fix: cut "
                         "the clip to a multiple of window_frames")
    mask = find("attention", qformer.attention)(qformer.window_frames, qformer.step_tokens)
    results = []
    for window in windows:
        inputs = qformer.input_norm(window) + qformer.positions  # [K * P, D]
        queries = qformer.query_norm(qformer.queries)  # [N, width]
        for layer in qformer.layers:
            encoded = attend(layer.causal_attention, inputs, inputs, mask)
            queries = attend(layer.self_attention, queries, queries, None)
            queries = attend(layer.cross_attention, queries, encoded, None)
            forward = layer.feed_forward
            queries = forward.norm(queries + forward.output(F.gelu(forward.intermediate(queries))))
        results.append(queries)
    return torch.stack(results)  # [W, N, width]


# Reading.

def read_rows(options: dict) -> Iterator[Measurement]:
    seconds, width, height, fps = (4, 160, 90, 12) if options["quick"] else (60, 640, 360, 24)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mp4")
        _film(path, seconds, width, height, fps)
        found = in_process("time_read", path=path, **options)
    speeds = [seconds / s for s in found["seconds"]]
    yield summary(f"reading 2 Hz frames and sound, {seconds} s {width}x{height}", "s/s", speeds,
                  found["memory"], "seconds of video per second")
    # Memory must not grow with the film, nor the time of a second of film.
    for seconds in (4, 24) if options["quick"] else (60, 3600):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "film.mp4")
            _film(path, seconds, 160, 90, 12)
            found = in_process("time_windows", path=path, **options | {"repeats": 1})
        speeds = [seconds / s for s in found["seconds"]]
        yield summary(f"reading by windows of 10 s, {seconds} s 160x90", "s/s", speeds,
                      found["memory"], "seconds of video per second")


def _film(path: str, seconds: int, width: int, height: int, fps: int) -> None:
    """A video with motion everywhere, and sound: a camera that pans across smooth noise."""
    import numpy as np
    from PIL import Image

    from ..world.video import write_video

    rng = np.random.default_rng(0)
    grain = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    scenery = np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))
    frames = (np.roll(scenery, 2 * i, axis=1) for i in range(seconds * fps))
    sound = rng.uniform(-0.3, 0.3, seconds * 16000).astype(np.float32)
    write_video(path, frames, fps, sound, 16000)


def time_read(path: str, repeats: int, **_) -> dict:
    from ..media.read import read_clip

    return {"seconds": repeat(lambda: read_clip(path), repeats)}


def time_windows(path: str, repeats: int, **_) -> dict:
    from ..media.read import iter_clips

    def read():
        for _ in iter_clips(path, seconds=10):
            pass

    return {"seconds": repeat(read, repeats)}


# Asking.

def ask_rows(options: dict) -> Iterator[Measurement]:
    """`favor-mini ask` about a clip of 10 s, cold and warm."""
    from ..evaluation.checkpoint import find_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        clip = str(Path(folder) / "clip.mp4")
        _film(clip, 2 if options["quick"] else 10, 256, 256, 24)
        note = ""
        try:
            checkpoint = str(find_checkpoint(options["checkpoint"]))
        except FileNotFoundError:
            if options["checkpoint"]:
                raise
            checkpoint, note = str(Path(folder) / "random"), "random weights: no shipped checkpoint"
            in_process("write_random_checkpoint", folder=checkpoint)
        given = {"clip": clip, "checkpoint": checkpoint, "threads": options["threads"]}
        cold = []
        for _ in range(options["repeats"]):
            start = perf_counter()
            found = in_process("time_ask", **given, repeats=0)
            cold.append({"total": perf_counter() - start, **found["stages"][0]})
        warm = in_process("time_ask", **given, repeats=options["repeats"])
    for when, stages, memory in (("cold", cold, found["memory"]),
                                 ("warm", warm["stages"][1:], warm["memory"])):
        totals = [s.get("total", sum(s.values())) for s in stages]
        yield summary(f"ask, {when}, total", "s", totals, memory, note)
        for stage in [s for s in STAGES if s in stages[0]]:
            yield summary(f"ask, {when}, {stage}", "s", [s[stage] for s in stages])


def time_ask(clip: str, checkpoint: str, repeats: int, **_) -> dict:
    from .ask import Asker

    asker = Asker(checkpoint)
    return {"stages": [asker.ask(clip, QUESTION).seconds for _ in range(repeats + 1)]}


def write_random_checkpoint(folder: str) -> dict:
    from ..model import FavorForConditionalGeneration
    from ..world.mini import mini_config, mini_processor

    config = mini_config()
    FavorForConditionalGeneration(config).save_pretrained(folder)
    mini_processor(config).save_pretrained(folder)
    return {}


# Training at laptop sizes.

def laptop_rows(options: dict) -> Iterator[Measurement]:
    for way, batch in product(WAYS, (1,) if options["quick"] else (1, 2)):
        found = in_process("time_laptop", way=way, batch=batch, **options)
        yield summary(f"laptop, {way}, batch of {batch}, {SECONDS} s", "s", found["seconds"],
                      found["memory"], WAYS[way])


def time_laptop(way: str, batch: int, quick: bool, repeats: int, **_) -> dict:
    return {"seconds": repeat(laptop_step(way, batch, quick), repeats)}


# Importing.

def import_rows(options: dict) -> Iterator[Measurement]:
    for what in ("favor_mini", "favor_mini.apps.cli"):
        found = [in_process("time_import", what=what) for _ in range(options["repeats"])]
        yield summary(f"import {what}", "s", [f["seconds"] for f in found],
                      max(f["memory"] for f in found))


def time_import(what: str) -> dict:
    """In another process, as this one has imported favor_mini already."""
    code = f"from time import perf_counter as t; a = t(); import {what}; print(t() - a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"seconds": float(done.stdout)}


def _run_row(measure: str, options: dict) -> dict:
    if options.get("threads"):
        import torch

        torch.set_num_threads(options["threads"])
    measures = (time_qformer, time_read, time_windows, time_ask, write_random_checkpoint,
                time_import, time_laptop)
    found = {m.__name__: m for m in measures}[measure](**options)
    peak = peak_memory()
    return {**found, "memory": None if peak is None else peak / 2**20}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One row of the table, for `favor-mini bench`.")
    parser.add_argument("measure")
    parser.add_argument("options", type=json.loads)
    row = parser.parse_args()
    print(json.dumps(_run_row(row.measure, row.options)))
