"""The demo: ask the shipped model about real video files, train a fresh connector, compare, report.

    favor-mini demo

If it is stopped (Ctrl-C, a kill), the same command resumes the training.
"""

import json
import os
import platform
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ..evaluation.answering import encode_clips, evaluate
from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint, load_checkpoint
from ..evaluation.scores import Row
from ..keys import digest, library_versions
from ..machine import has_fast_bf16, peak_memory
from ..media.read import read_clip
from ..pretraining.recipes import find_recipe
from ..storage import write_json
from ..training.finetune import finetune, seconds_per_step
from ..world.questions import FAMILIES, Question, single_modality_chance
from ..world.rows import encode_scenes
from ..world.samples import read_samples
from ..world.scene import SPLITS
from .report import Result, compared, write_report
from .settings import DemoSettings

DOZEN = ("shown_when", "heard_while", "said_when", "off_screen", "first_mixed", "seen_after",
         "heard_before", "cause", "next", "direction", "read", "count_heard")
FRESH, OWN, SHIPPED = "before: untrained connector", "after: trained here", "shipped"


def run_demo(out="build/demo", settings: DemoSettings | None = None, *, checkpoint=None,
             samples=None, per_family: int = 10, progress: bool = True) -> None:
    """Run the demo; writes `out/report.html`.

    Args:
        checkpoint: folder of model and processor; None: the shipped one.
        samples: held-out clips (`world.samples.read_samples`); None: those in data_samples.
        per_family: questions of each family to score the models on.

    Raises:
        FileNotFoundError: there is no checkpoint.
    """
    settings, out, watch = settings or DemoSettings(), Path(out), Watch()
    folder = find_checkpoint(checkpoint)
    print("favor-mini: an audio-visual language model, small enough for this machine.\n"
          "First it answers questions about videos that it was not trained on. Then you train\n"
          "a fresh connector, and compare. This takes up to 8 minutes, most of it for training.\n"
          f"The report: {out / 'report.html'}\n", flush=True)

    with watch("reading clips"):
        model, processor = load_checkpoint(folder)
        samples = [s for s in samples or read_samples() if s.kind == "clip"]
        rate = processor.settings.frame_rate
        clips = {s.name: read_clip(s.path, frame_rate=rate) for s in samples}
        encoded = encode_clips(model, processor, clips)
        asked = held_out(samples, per_family)
        chance = single_modality_chance({s.name: s.scene for s in samples})

    def answers(questions: list) -> list[Row]:
        return evaluate(model, processor, encoded, questions, chance, progress=progress)

    with watch("asking the shipped model"):
        dozen = answers(one_per_family(samples))
        print_answers(dozen)
        rows = {SHIPPED: answers(asked)}

    sample = next((s for s in samples if s.name == dozen[0].clip), samples[0])
    model.reset_trained(settings.seed)
    queries = {"before training": output_queries(model, processor, encoded[sample.name])}
    with watch("asking the untrained connector"):
        rows[FRESH] = answers(asked)
    with watch("encoding training clips"):
        seeds = [SPLITS["train"].start + 3 * 10**7 + i for i in range(settings.clips)]
        data = encode_scenes(model, processor, seeds, cache=out / "features", progress=progress)
    run = run_folder(out, settings, folder)
    resumed = any(run.glob("*/checkpoint-*"))
    with watch("planning the training"):
        steps = plan(model, processor, data, settings, run / "steps.json")
    if resumed:
        print(f"\nResuming the training in {run}; remove that folder to restart.")
    counts = ", ".join(f"{count} steps of stage {stage}" for stage, count in steps.items())
    print(f"\nTraining a fresh causal Q-Former, projections and LoRA on {len(data)} clips:\n"
          f"{counts}, {settings.batch} clips each.", flush=True)
    with watch("training"):
        log = train(model, processor, data, run, settings, steps, progress)
    queries["after training"] = output_queries(model, processor, encoded[sample.name])
    with watch("asking the trained connector"):
        rows[OWN] = answers(asked)

    rows = {name: rows[name] for name in (FRESH, OWN, SHIPPED)}
    print_scores(rows)
    facts = _facts(settings, steps, len(asked), len(samples), watch, resumed)
    report = write_report(out / "report.html", Result(
        dozen, rows, log, queries, sample, clips[sample.name], model.config, facts,
        _command(out, settings, steps, checkpoint), find_recipe(settings.recipe).about))
    print(f"\nThe report is {report.resolve()}: open it in a browser. "
          f"It took {watch.total():.0f} s.")


class Watch:
    """Measures how long each stage takes."""

    def __init__(self):
        self.start, self.seconds = time.perf_counter(), {}

    @contextmanager
    def __call__(self, stage: str):
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def total(self) -> float:
        return time.perf_counter() - self.start


# The questions.

def one_per_family(samples) -> list[tuple[str, Question]]:
    """The dozen: for each family in `DOZEN`, the first question about the first unused clip."""
    chosen = []
    for family in DOZEN:
        taken = [name for name, _ in chosen]
        fitting = [(s.name, q) for s in samples for q in s.questions if q.family == family]
        chosen += sorted(fitting, key=lambda pair: taken.count(pair[0]))[:1]
    return chosen


def held_out(samples, per_family: int, seed: int = 0) -> list[tuple[str, Question]]:
    """`per_family` questions of each family, from all clips in turn; the same at each call."""
    rng, chosen = np.random.default_rng(seed), []
    for family in FAMILIES:
        pools = [(s.name, [q for q in s.questions if q.family == family]) for s in samples]
        pools = [(name, [pool[i] for i in rng.permutation(len(pool))])
                 for name, pool in pools if pool]
        deepest = max((len(pool) for _, pool in pools), default=0)
        turns = [(name, pool[turn]) for turn in range(deepest)
                 for name, pool in pools if turn < len(pool)]
        chosen += turns[:per_family]
    return chosen


@torch.no_grad()
def output_queries(model, processor, encoded: dict) -> torch.Tensor:
    """The connector's output queries for one clip: (W, N, width), real windows only."""
    inputs = processor([encoded], ["describe the clip."])
    inputs = {k: v.to(model.device) for k, v in inputs.items()}
    outputs = model.eval()(**inputs)
    return outputs.queries[0][outputs.window_mask[0]].float().cpu()


# Training.

def run_folder(out: Path, settings: DemoSettings, checkpoint: Path) -> Path:
    """The folder of this training's checkpoints. Its name depends on settings and model."""
    key = json.dumps([asdict(settings), checkpoint_digest(checkpoint)], sort_keys=True)
    return out / "runs" / digest(key.encode())


def plan(model, processor, data: list[dict], settings: DemoSettings, file: Path) -> dict[str, int]:
    """Steps of each stage. They are measured once for the given minutes and stored in `file`, so
    that a resumed run has the same plan."""
    recipe = find_recipe(settings.recipe)
    if settings.steps is not None:
        return recipe.steps(settings.steps)
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    seconds = {stage: seconds_per_step(stage, model, processor, recipe.rows(data), settings.batch,
                                       recipe.stages) for stage in recipe.stages}
    print("measured seconds per step:",
          ", ".join(f"{stage} {took:.2f}" for stage, took in seconds.items()), flush=True)
    mean = sum(share * seconds[stage] for stage, share in recipe.shares.items())
    # 5 % of the time are for saving checkpoints.
    steps = recipe.steps(max(len(recipe.stages), int(0.95 * 60 * settings.minutes / mean)))
    write_json(file, steps)
    return steps


def train(model, processor, data: list[dict], run: Path, settings: DemoSettings,
          steps: dict[str, int], progress: bool) -> list[dict]:
    """`finetune`, resumed if it was stopped before; returns its log."""
    recipe = find_recipe(settings.recipe)
    try:
        return finetune(model, processor, recipe.rows(data), run, steps=steps,
                        stages=recipe.stages, batch=settings.batch, lr=settings.lr,
                        seed=settings.seed, progress=progress, save_steps=20,
                        log_steps=max(1, sum(steps.values()) // 40))
    except KeyboardInterrupt:
        print("\nStopped. The same command resumes from the last checkpoint (every 20 steps).",
              file=sys.stderr)
        raise


# The output.

def print_answers(rows: list[Row]) -> None:
    print(f"{len(rows)} questions to the shipped model, one of each kind:")
    for row in rows:
        verdict = "right" if row.correct else f"WRONG, the answer is: {row.answer}"
        print(f"  {row.clip:<12} {row.question}\n"
              f"  {'':<12}   {row.predicted or '(nothing)'}  [{verdict}]")
    print(f"{sum(row.correct for row in rows)} of {len(rows)} right.\n", flush=True)


def print_scores(rows: dict[str, list[Row]]) -> None:
    head, lines, families = compared(rows)
    head = [*head[:3], *(name.split(":")[0] for name in head[3:])]
    print()
    for i, line in enumerate([head, *lines]):
        if i == 1 or i == families + 1:
            print("-" * 70)
        print(f"{line[0]:<30}" + "".join(f"{text:>8}" for text in line[1:3])
              + "".join(f"{text:>9}" for text in line[3:]))


def _facts(settings: DemoSettings, steps: dict, questions: int, files: int, watch: Watch,
           resumed: bool) -> dict[str, str]:
    counts = " + ".join(f"{count} {stage}" for stage, count in steps.items())
    versions = library_versions("torch", "transformers", "peft", "numpy")
    facts = {
        "questions": f"{questions} about {files} held-out MP4 files, balanced over the kinds",
        "training clips": f"{settings.clips}, drawn from the training split",
        "training steps": f"{counts}, {settings.batch} clips each",
        "learning rate, seed": f"{settings.lr:g}, {settings.seed}",
        "arithmetic": "bfloat16 (autocast)" if has_fast_bf16() else "float32",
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, "
                   f"{torch.get_num_threads()} threads",
        "versions": ", ".join([f"Python {platform.python_version()}",
                               *(f"{name} {number}" for name, number in versions.items())]),
    }
    if resumed:
        facts["training"] = "resumed; the seconds of the earlier start are not counted"
    facts |= {f"seconds for {stage}": f"{seconds:.0f}" for stage, seconds in watch.seconds.items()}
    facts["seconds in total"] = f"{watch.total():.0f}"
    if (peak := peak_memory()) is not None:
        facts["peak memory"] = f"{peak / 2**30:.1f} GiB"
    return facts


def _command(out: Path, settings: DemoSettings, steps: dict[str, int], checkpoint) -> str:
    given = {**asdict(settings), "steps": sum(steps.values()), "checkpoint": checkpoint}
    options = [f"--{name} {value}" for name, value in given.items()
               if name != "minutes" and value is not None]
    return " ".join(["favor-mini demo", f"--out {out}", *options])
