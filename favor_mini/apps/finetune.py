"""`favor-mini finetune`: train connector and LoRA of a checkpoint on one's own rows."""

import json
import os
import shutil
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ..aveb.run import Report, evaluate_file
from ..card import LEARNED, WHOLE, write_card
from ..data.encoded import EncodedRows
from ..data.files import shared_files
from ..data.manifest import read_rows
from ..evaluation.checkpoint import checkpoint_digest, find_checkpoint, load_checkpoint
from ..evaluation.intervals import QUANTILES, cluster_bootstrap
from ..evaluation.wording import unknown_words
from ..keys import digest, file_digest
from ..learned import save_learned
from ..storage import exclusive, write_json
from ..training.cost import training_cost
from ..training.finetune import SHARES, STAGES, finetune, stage_setup, steps_per_stage
from ..training.order import items_needed
from .settings import SHOWN, FinetuneSettings

FRESH_LR, TRAINED_LR = 7e-4, 7e-5  # a connector that has learned something would lose it


def run(file, settings: FinetuneSettings, checkpoint, progress: bool) -> None:
    """Train, and ask the validation rows before and after. A stopped run continues."""
    folder, out = find_checkpoint(checkpoint), Path(settings.out)
    if out.resolve() == folder.resolve():
        raise ValueError(f"found --out {out}, which holds the starting weights. Fix: name another")
    check_loggers(settings.report_to)
    first = int(os.environ.get("RANK", 0)) == 0  # of the processes of `torchrun`
    # A folder that cannot be written is found before hours of encoding.
    with exclusive(out / "busy.lock") if first and not settings.dry_run else nullcontext():
        _run(file, settings, folder, out, first, progress)


def _run(file, settings: FinetuneSettings, folder: Path, out: Path, first: bool, progress: bool
         ) -> None:
    model, processor = load_checkpoint(folder)
    rows = {"train": encode(file, settings, model, processor, progress and first)}
    if settings.validation:
        rows["validation"] = encode(settings.validation, settings, model, processor,
                                    progress and first)
    shared = shared_files(*(r.digests for r in rows.values())) \
        if first and settings.validation else []
    if shared:
        print(f"{len(shared)} files are both in {Path(file).name} and {settings.validation}, so "
              f"the scores are not about new clips: {', '.join(shared[:SHOWN])}", file=sys.stderr)
    lr = settings.lr or (TRAINED_LR if was_trained(model) else FRESH_LR)
    steps = steps_per_stage(settings.steps, {s: SHARES[s] for s in rows["train"].stages})
    if settings.dry_run:
        print(cost_table(model, processor, rows["train"], steps, settings))
        return
    before = measure("before", settings, folder, progress) if first else None
    log = finetune(
        model, processor, rows["train"], out / "run", steps=steps, batch=settings.batch,
        lr=lr, decay=settings.decay, seed=settings.seed, accumulate=settings.accumulate,
        validation=rows.get("validation"), validate_steps=settings.validate_steps,
        save_steps=settings.save_steps, report_to=settings.report_to,
        gradient_checkpointing=settings.gradient_checkpointing, progress=progress and first)
    if not first:
        return
    whole = out / "run" / "whole" if settings.learned_only else out
    model.eval().save_pretrained(whole)
    processor.save_pretrained(whole)
    after = measure("after", settings, whole, progress)
    if settings.learned_only:
        save_learned(model, out)
        shutil.rmtree(whole)
    write_json(out / "log.json", log, indent=1)
    lines = [f"- trained on: {len(rows['train'].rows)} rows of {Path(file).name}",
             f"- steps: {steps}, {settings.batch} clips x {settings.accumulate}",
             f"- learning rate: {lr:g}, falling in the last {settings.decay:.0%} of the steps",
             f"- seed: {settings.seed}",
             *result(before, after)]
    if shared:
        lines.append(f"- {len(shared)} files are both in the training and in the validation rows, "
                     "so these scores are not about new clips")
    write_card(out, "A fine-tuned FAVOR model", "\n".join(lines),
               LEARNED if settings.learned_only else WHOLE)
    print(*lines, f"- written: {out}", sep="\n")


def check_loggers(names: list[str]) -> None:
    """Raises a ValueError if there is no such logger."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    known = ("csv", *sorted(INTEGRATION_TO_CALLBACK))
    if unknown := [name for name in names if name not in (*known, "all", "none")]:
        raise ValueError(f"found the logger {unknown[0]!r}, expected one of {', '.join(known)}. "
                         "Fix: choose another --report-to")


def encode(file, settings: FinetuneSettings, model, processor, progress: bool) -> EncodedRows:
    """The rows of a file with their features; stderr names those that cannot be used."""
    found, broken = read_rows(file)
    rows = EncodedRows(model, processor, found, settings.media_root, name=Path(file).name,
                       cache=Path(settings.cache), progress=progress)
    if unknown := Counter(word for row in rows.rows
                          for word in unknown_words(row.words, processor.tokenizer)):
        words = ", ".join(word for word, _ in unknown.most_common(SHOWN))
        print(f"{file}: {len(unknown)} words are unknown to the language model's tokenizer, so it "
              f"can neither read nor write them: {words}", file=sys.stderr)
    for what, problems in (("cannot be used", [*broken, *rows.skipped]),
                           ("are not aligned", rows.unaligned)):
        if problems:
            print(f"{file}: {len(problems)} of {len(found) + len(broken)} rows {what}",
                  *(f"  {problem}" for problem in problems[:SHOWN]), sep="\n", file=sys.stderr)
            if len(problems) > SHOWN:
                print(f"  ... and {len(problems) - SHOWN} more; `favor-mini data {file} --all` "
                      "lists them", file=sys.stderr)
    return rows


def cost_table(model, processor, rows: EncodedRows, steps: dict[str, int],
               settings: FinetuneSettings) -> str:
    """What training costs on this machine: seconds, memory and tokens, measured on a few steps."""
    lines, total = [f"{'stage':<8}{'steps':>7}{'s/step':>9}{'minutes':>9}{'tokens/step':>13}"
                    f"{'peak memory':>13}"], 0.0
    for name, count in steps.items():
        items = items_needed(4, settings.batch, settings.accumulate)
        cost = training_cost(*stage_setup(STAGES[name], name, model, processor, rows, items),
                             batch=settings.batch, accumulate=settings.accumulate,
                             gradient_checkpointing=settings.gradient_checkpointing)
        seconds, memory = cost["seconds_per_step"], cost["peak_memory"]
        total += count * seconds
        lines.append(f"{name:<8}{count:>7}{seconds:>9.2f}{count * seconds / 60:>9.1f}"
                     f"{cost['tokens_per_step']:>13.0f}"
                     + (f"{memory / 2**30:>9.1f} GiB" if memory else f"{'unknown':>13}"))
    lines.append(f"about {total / 60:.0f} minutes of training on {len(rows.rows)} rows")
    return "\n".join(lines)


def was_trained(model) -> bool:
    """Whether LoRA has changed since it was initialised; its matrices B begin as zeros."""
    return any(bool(p.any()) for name, p in model.named_parameters() if "lora_B" in name)


def measure(when: str, settings: FinetuneSettings, checkpoint, progress: bool
            ) -> tuple[Report, Path] | None:
    """The score of a checkpoint on the validation rows, and the file of its answers; None without
    such rows."""
    if not settings.validation:
        return None
    key = digest(checkpoint_digest(checkpoint).encode(), file_digest(settings.validation).encode())
    answers = Path(settings.out) / f"{when}-{key}.jsonl"
    return evaluate_file(settings.validation, settings.media_root, answers, progress=progress,
                         metric=settings.metric, checkpoint=checkpoint), answers


def compare(before: Path, after: Path) -> tuple[float, float, float]:
    """Accuracy after minus accuracy before on the same questions, with its 95 % interval over
    media, from two files of answers."""
    one, other = (
        {row["id"]: row
         for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()[1:])
         if "right" in row} for file in (before, after))
    asked = [name for name in one if name in other]
    gains = [float(other[name]["right"]) - float(one[name]["right"]) for name in asked]
    draws = cluster_bootstrap(gains, ["\0".join(one[name]["digests"]) for name in asked])
    return float(np.mean(gains)), *map(float, np.quantile(draws, QUANTILES))


def result(before: tuple[Report, Path] | None, after: tuple[Report, Path] | None) -> list[str]:
    """The lines about the validation rows."""
    if not before or not before[0].value:
        return ["- no validation rows: what the model has learned was not measured"]
    lines = [f"- {when}: " + "; ".join(str(report).splitlines()) for when, (report, _) in
             (("before", before), ("after", after))]
    if before[0].metric == "accuracy":
        gain, low, high = (100 * x for x in compare(before[1], after[1]))
        lines.append(f"- difference {gain:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})")
    return lines
