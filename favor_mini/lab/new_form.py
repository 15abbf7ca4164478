"""What LoRA is for: a language model has to learn something new.

A trained model gets questions in a form that it has never met (`novel.clause_first`). The connector
cannot see the question, so it can hardly help; LoRA changes how the language model reads it.
"""

import time
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch
from peft.tuners.lora import LoraLayer

from .. import language
from ..evaluation.answering import encode_clips, evaluate
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..machine import machine
from ..processor import FavorProcessor
from ..training.finetune import Stage, finetune
from ..world.lessons import EncodedClips, SceneRows
from ..world.questions import draw_questions
from ..world.rows import encode_scenes
from ..world.scene import SPLITS, stream
from .novel import clause_first
from .run import FIRST, SPLIT, connector_cost, result_rows
from .scenes import clips_of, draw_scenes, prepare
from .statistics import Comparison

NEW, USUAL = "the new form", "the usual words"
TEST = 15_000  # first test scene; no other measurement asks about these
STEPS, CLIPS, BATCH, LR = 60, 320, 8, 7e-4
SEEDS, SCENES, QUESTIONS = 3, 60, 8
# What is trained -> the rank of a fresh LoRA, or None; whether the connector learns; the factor on
# the learning rate of the connector. LoRA's is three times `LR`, as in the stage "ask".
ARMS = {
    "nothing trained": None,
    "connector": (None, True, 1.0),
    "connector, a tenth of the rate": (None, True, 0.1),
    "LoRA of rank 1": (1, False, 1.0),
    "LoRA of rank 16": (16, False, 1.0),
    "connector and LoRA of rank 16": (16, True, 0.1),
}


class ClauseFirst(EncodedClips):
    """Clips with `turns`, up to eight questions in the new form."""

    def __getitem__(self, i: int) -> dict:
        media, scene, missing = self.clip(i)
        rng = stream("training questions", scene.seed, i // len(self.encoded))
        drawn = draw_questions(scene, rng, 16, missing=missing)
        turns = [(clause_first(q.text), q.answer) for q in drawn if clause_first(q.text)]
        return {**media, "turns": turns[:8] or [(q.text, q.answer) for q in drawn[:8]]}


class ClauseFirstRows(SceneRows):
    """As `SceneRows`, with questions in the new form."""

    def dataset(self, stage: str, count: int, processor: FavorProcessor) -> ClauseFirst:
        return ClauseFirst(self.encoded, count)


def prepare_arm(model, seed: int, rank: int | None, connector: bool) -> None:
    """Leave only the connector, or a fresh LoRA of this rank, or both trainable, in place. The
    trained LoRA goes into the frozen weights."""
    for module in list(model.language_model.modules()):
        if isinstance(module, LoraLayer):
            module.merge()
    model.config.lora_rank, model.config.lora_alpha = rank or 0, rank or 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        language.add_lora(model.language_model, model.config)
    model.requires_grad_(False)
    if rank:
        language.freeze_all_but_lora(model.language_model)
    for name in model.CONNECTOR if connector else ():
        getattr(model, name).requires_grad_(True)


def train_arm(model, processor, rows, seed: int, steps: int, rank: int | None, connector: bool,
              rate: float) -> int:
    """Train one arm of `ARMS`, in place; returns the seconds that it took."""
    prepare_arm(model, seed, rank, connector)
    stage = Stage(lambda model, processor: model, FavorProcessor.collate, rate, 3.0 / rate)
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        finetune(model, processor, rows, folder, steps={"ask": steps}, stages={"ask": stage},
                 batch=BATCH, lr=LR, seed=seed, progress=False)
    return round(time.perf_counter() - began)


def learn_new_form(checkpoint=None, *, seeds: int = SEEDS, steps: int = STEPS, clips: int = CLIPS,
                   scenes: int = SCENES, arms: dict = ARMS, progress: bool = True) -> Comparison:
    """Train parts of a trained model on questions in a new form; ask in this form, and in the usual
    one, about other clips.

    Args:
        arms: as `ARMS`.
    """
    folder, first = find_checkpoint(checkpoint), SPLITS["train"].start + FIRST
    drawn = draw_scenes(TEST, scenes)
    model, processor, asked, chance = prepare(
        checkpoint, drawn, "evaluation questions", 24,
        lambda scene, q: bool(clause_first(q.text)), QUESTIONS)
    tested = encode_clips(model, processor, clips_of(drawn, processor))
    rows = ClauseFirstRows(encode_scenes(model, processor, range(first, first + clips),
                                         progress=progress))

    def ask(model) -> list:
        found = []
        for family, wording in ((NEW, clause_first), (USUAL, lambda text: text)):
            worded = [(clip, replace(q, text=wording(q.text))) for clip, q in asked]
            found += [replace(row, family=family)
                      for row in evaluate(model, processor, tested, worded, chance)]
        return found

    results = []
    for seed in range(seeds):
        for arm, how in arms.items():
            model, _ = load_checkpoint(folder)
            seconds = train_arm(model, processor, rows, seed, steps, *how) if how else 0
            if progress:
                print(f"{arm}, seed {seed}: {seconds} s", flush=True)
            results.append({"arm": arm, "changes": {}, "seed": seed, "seconds": seconds,
                            "split": SPLIT, "steps": {"ask": steps if how else 0},
                            **connector_cost(model), "machine": machine(),
                            "rows": result_rows(ask(model))})
    return Comparison(results)
