"""The demo: ask the shipped model about real video files, train its connector anew, compare, and write a report.

    favor-mini demo

Stopped halfway (Ctrl-C, a kill), the same command goes on where the training was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from ..evaluation.answering import encode_clips, evaluate
from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint, load_checkpoint
from ..evaluation.scores import Row
from ..keys import digest
from ..machine import has_fast_bf16, peak_memory
from ..media.read import read_clip
from ..storage import atomic_write
from ..training.finetune import SHARES, finetune, seconds_per_step, steps_per_stage
from ..world.lessons import SceneRows
from ..world.questions import FAMILIES, Question, single_modality_chance
from ..world.rows import encode_scenes
from ..world.scene import SPLITS
from .report import Result, compared, write_report

DOZEN = ("shown_when", "heard_while", "said_when", "off_screen", "first_mixed", "seen_after", "heard_before", "cause",
         "next", "direction", "read", "count_heard")
FRESH, OWN, SHIPPED = "before: untrained connector", "after: trained here", "shipped"


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of the training. `steps`, where given, counts instead of `minutes`."""

    minutes: float = 4.0
    steps: int | None = None
    seed: int = 0
    clips: int = 800
    batch: int = 16
    lr: float = 7e-4

    def __post_init__(self):
        if self.minutes <= 0 or (self.steps is not None and self.steps < len(SHARES)):
            raise ValueError(f"minutes must be above 0, and steps at least {len(SHARES)} (one a stage); found "
                             f"{self.minutes} minutes, {self.steps} steps")
        if self.clips < 1 or self.batch < 1:
            raise ValueError(f"clips and batch must be at least 1, found {self.clips} and {self.batch}")


def main(out="build/demo", *, checkpoint=None, samples=None, per_family: int = 10, progress: bool = True,
         **settings) -> None:
    """Run the demo; writes `out/report.html`.

    Args:
        checkpoint: folder of model and processor; None: the shipped one.
        samples: held-out clips, as `world.samples.read_samples` gives them; None: those in data_samples.
        per_family: questions of each family to score the models on.
        settings: fields of `Settings`.

    Raises:
        FileNotFoundError: there is no checkpoint. ValueError: impossible settings.
    """
    settings, out, watch = Settings(**settings), Path(out), Watch()
    disable_progress_bar()  # transformers' own, for files; the training's stays
    folder = find_checkpoint(checkpoint)
    print("favor-mini: a language model that sees and hears, small enough for this machine.\n"
          "First it answers questions about videos it has never met; then you train its connector anew and compare.\n"
          f"At most 8 minutes, most of them training. The report: {out / 'report.html'}\n", flush=True)

    with watch("reading clips"):
        model, processor = load_checkpoint(folder)
        samples = [s for s in (_read_samples() if samples is None else samples) if s.kind == "clip"]
        clips = {s.name: read_clip(s.path, frame_rate=processor.settings.frame_rate) for s in samples}
        encoded = encode_clips(model, processor, clips)
        asked = held_out(samples, per_family)
        chance = single_modality_chance({s.name: s.scene for s in samples})
    with watch("asking the shipped model"):
        dozen = evaluate(model, processor, encoded, one_per_family(samples), chance)
        print_answers(dozen)
        rows = {SHIPPED: evaluate(model, processor, encoded, asked, chance, progress=progress)}

    sample = next((s for s in samples if s.name == dozen[0].clip), samples[0])
    model.reset_trained(settings.seed)
    queries = {"before training": output_queries(model, processor, encoded[sample.name])}
    with watch("asking the untrained connector"):
        rows[FRESH] = evaluate(model, processor, encoded, asked, chance, progress=progress)
    with watch("encoding training clips"):
        seeds = [SPLITS["train"].start + 3 * 10**7 + i for i in range(settings.clips)]
        data = encode_scenes(model, processor, seeds, cache=out / "features", progress=progress)
    run = run_folder(out, settings, folder)
    resumed = any(run.glob("*/checkpoint-*"))
    with watch("planning the training"):
        steps = plan(model, processor, data, settings, run / "steps.json")
    if resumed:
        print(f"\nGoing on with the training kept in {run}; remove that folder to start anew.")
    print(f"\nTraining a fresh causal Q-Former, projections and LoRA on {len(data)} clips: {steps['name']} steps of "
          f"naming, {steps['align']} of alignment, {steps['ask']} of questions, {settings.batch} clips each.", flush=True)
    with watch("training"):
        log = train(model, processor, data, run, settings, steps, progress)
    queries["after training"] = output_queries(model, processor, encoded[sample.name])
    with watch("asking the trained connector"):
        rows[OWN] = evaluate(model, processor, encoded, asked, chance, progress=progress)

    rows = {name: rows[name] for name in (FRESH, OWN, SHIPPED)}
    print_scores(rows)
    command = _command(out, settings, steps, checkpoint)
    facts = _facts(settings, steps, len(asked), len(samples), watch, resumed)
    report = write_report(out / "report.html", Result(dozen, rows, log, queries, sample, clips[sample.name], model.config,
                                                      facts, command))
    print(f"\nThe report is {report.resolve()}: open it in a browser. {watch.total():.0f} s in all.")


class Watch:
    """Keeps how long each stage took."""

    def __init__(self):
        self.start, self.seconds = time.perf_counter(), {}

    @contextmanager
    def __call__(self, stage: str):
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def total(self) -> float:
        return time.perf_counter() - self.start


# The model and what it is asked.

def _read_samples() -> list:
    from ..world.samples import read_samples

    return read_samples()


def one_per_family(samples) -> list[tuple[str, Question]]:
    """The dozen: the first question of each family in `DOZEN`, about the first clip that has one and was not taken yet."""
    chosen = []
    for family in DOZEN:
        taken = [name for name, _ in chosen]
        fitting = [(s.name, q) for s in samples for q in s.questions if q.family == family]
        chosen += sorted(fitting, key=lambda pair: taken.count(pair[0]))[:1]
    return chosen


def held_out(samples, per_family: int, seed: int = 0) -> list[tuple[str, Question]]:
    """`per_family` questions of each family, one after another from all clips in turn; always the same ones."""
    rng, chosen = np.random.default_rng(seed), []
    for family in FAMILIES:
        pools = [(s.name, [q for q in s.questions if q.family == family]) for s in samples]
        pools = [(name, [pool[i] for i in rng.permutation(len(pool))]) for name, pool in pools if pool]
        deepest = max((len(pool) for _, pool in pools), default=0)
        turns = [(name, pool[turn]) for turn in range(deepest) for name, pool in pools if turn < len(pool)]
        chosen += turns[:per_family]
    return chosen


@torch.no_grad()
def output_queries(model, processor, encoded: dict) -> torch.Tensor:
    """The queries that the connector makes of one clip: (W, N, width), real windows only."""
    inputs = {k: v.to(model.device) for k, v in processor([encoded], ["describe the clip."]).items()}
    outputs = model.eval()(**inputs)
    return outputs.queries[0][outputs.window_mask[0]].float().cpu()


# Training.

def run_folder(out: Path, settings: Settings, checkpoint: Path) -> Path:
    """Where this training keeps its checkpoints: other settings or another model get another folder, so none is mistaken."""
    return out / "runs" / digest(json.dumps([asdict(settings), checkpoint_digest(checkpoint)], sort_keys=True).encode())


def plan(model, processor, data: list[dict], settings: Settings, file: Path) -> dict[str, int]:
    """Steps of each stage. Measured against the minutes once, then kept in `file`, so that a stopped run keeps its plan."""
    if settings.steps is not None:
        return steps_per_stage(settings.steps)
    if file.exists():
        return json.loads(file.read_text())
    seconds = {stage: seconds_per_step(stage, model, processor, SceneRows(data), settings.batch) for stage in SHARES}
    print(", ".join(f"{stage}: {took:.2f} s a step" for stage, took in seconds.items()), flush=True)
    mean = sum(share * seconds[stage] for stage, share in SHARES.items())
    steps = steps_per_stage(max(len(SHARES), int(0.95 * 60 * settings.minutes / mean)))  # the rest: Trainer, saving
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as unfinished:
        unfinished.write_text(json.dumps(steps))
    return steps


def train(model, processor, data: list[dict], run: Path, settings: Settings, steps: dict[str, int], progress: bool
          ) -> list[dict]:
    """`finetune`, going on from where a stopped run was; returns its log."""
    try:
        return finetune(model, processor, SceneRows(data), run, steps=steps, batch=settings.batch, lr=settings.lr, seed=settings.seed,
                        progress=progress, save_steps=20, log_steps=max(1, sum(steps.values()) // 40))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last 20 steps saved.", file=sys.stderr)
        raise


# What is told.

def print_answers(rows: list[Row]) -> None:
    print(f"{len(rows)} questions, one of each kind, to the shipped model:")
    for row in rows:
        verdict = "right" if row.correct else f"WRONG, it was: {row.answer}"
        print(f"  {row.clip:<12} {row.question}\n  {'':<12}   {row.predicted or '(nothing)'}  [{verdict}]")
    print(f"{sum(row.correct for row in rows)} of {len(rows)} right.\n", flush=True)


def print_scores(rows: dict[str, list[Row]]) -> None:
    head, lines, families = compared(rows)
    head = [*head[:3], *(name.split(":")[0] for name in head[3:])]
    print()
    for i, line in enumerate([head, *lines]):
        if i == 1 or i == families + 1:
            print("-" * 70)
        print(f"{line[0]:<30}" + "".join(f"{text:>8}" for text in line[1:3]) + "".join(f"{text:>9}" for text in line[3:]))


def _facts(settings: Settings, steps: dict, questions: int, files: int, watch: Watch, resumed: bool) -> dict[str, str]:
    libraries = ("torch", "transformers", "peft", "numpy")
    facts = {
        "questions": f"{questions} about {files} held-out mp4 files, at most equally many of each kind",
        "training clips": f"{settings.clips}, drawn from the training split",
        "training steps": f"{' + '.join(f'{count} {stage}' for stage, count in steps.items())}, {settings.batch} clips each",
        "learning rate, seed": f"{settings.lr:g}, {settings.seed}",
        "arithmetic": "bfloat16 (autocast)" if has_fast_bf16() else "float32",
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in libraries)]),
    }
    if resumed:
        facts["training"] = "went on where an earlier start of the same command had stopped; its seconds are not in the count"
    facts |= {f"seconds for {stage}": f"{seconds:.0f}" for stage, seconds in watch.seconds.items()}
    facts["seconds in all"] = f"{watch.total():.0f}"
    if (peak := peak_memory()) is not None:
        facts["peak memory"] = f"{peak / 2**30:.1f} GiB"
    return facts


def _command(out: Path, settings: Settings, steps: dict[str, int], checkpoint) -> str:
    given = {**asdict(settings), "steps": sum(steps.values())}
    options = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if name != "minutes"]
    options += [f"--checkpoint {checkpoint}"] * (checkpoint is not None)
    return " ".join(["python -m favor_mini.apps.demo", f"--out {out}", *options])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m favor_mini.apps.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="build/demo")
    parser.add_argument("--checkpoint", help="folder of another checkpoint than the shipped one")
    for field, default in asdict(Settings()).items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=int if default is None else type(default), default=default)
    main(**vars(parser.parse_args()))
