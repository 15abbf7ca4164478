"""Train the mini model from scratch: three frozen parts, then the connector and LoRA.

    favor-mini train all --out build/make

A stopped run continues. The cards of the shipped checkpoint say how that one was trained.
"""

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_model

from .. import __version__
from ..card import usage
from ..evaluation.scores import score_table, scores
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from ..storage import atomic_write, write_json
from ..training.finetune import finetune
from ..training.trainer import fit
from ..world.mini import mini_config, mini_processor
from ..world.questions import FAMILY_GROUPS, draw_questions
from ..world.rows import training_clips
from ..world.scene import SPLITS, draw_scene, stream
from ..world.transcript import transcript
from .audio import AudioProbe
from .language import LanguageProbe, write_dialogue
from .recipes import find_recipe
from .scenes import Scenes, stack
from .validation import question_rows
from .vision import VisualProbe

PARTS = {  # part: (probe, learning rate, module of the model)
    "audio": (AudioProbe, 1e-3, "audio_encoder"),
    "vision": (VisualProbe, 1e-3, "visual_encoder"),
    "language": (LanguageProbe, 1e-3, "language_model"),
}
LATE = ("colour", "turn", "direction", "heard_while", "heard_after", "heard_before", "seen_after",
        "seen_before", "first_mixed", "first_seen", "first_heard", "count_seen",
        "count_heard")  # families that are learned last
# part: {stage: (steps, scenes in a step, factor of the learning rate, options of `probe.example`)}
STAGES = {
    "audio": {"whole": (800, 16, 1.0, {"augment": True})},
    "vision": {"whole": (900, 48, 1.0, {})},
    # A share of the transcripts is spelled, as an aligned connector writes them. None is "named":
    # the vectors of the shortcut are read by the language model of the checkpoint mini alone.
    "language": {
        "hard": (1300, 40, 1.0, {"moments": (2, 6), "tokens": 160, "spelled": 0.4}),
        "even": (800, 40, 0.7, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.5,
                                 "retell": 0.1, "spelled": 0.5}),
        "late": (1500, 40, 0.5, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.3,
                                 "retell": 0.1, "spelled": 0.6, "focus": LATE}),
        "tasks": (350, 40, 0.5, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.15,
                                 "retell": 0.05, "spelled": 0.6, "focus": LATE, "tasks": 0.45}),
        # Only short transcripts teach the model to compare a sound with a picture.
        "relate": (120, 110, 0.5, {"moments": (2, 2), "tokens": 64, "hard": False, "drill": 0.2,
                                   "retell": 0.05, "spelled": 0.6, "tasks": 0.85,
                                   "of": ("avm", "avm", "avssd", "avssd", "isqa")}),
        "all": (450, 40, 0.4, {"moments": (2, 6), "tokens": 160, "hard": False, "drill": 0.15,
                               "retell": 0.03, "spelled": 0.65, "focus": LATE, "tasks": 0.3})},
}


def make_part(part: str, out, *, steps: int | None = None, batch: int | None = None,
              lr: float | None = None, seed: int = 0, **options) -> Path:
    """Train a frozen part; write its weights and its card to `out/part`, and return this folder.

    Args:
        part: "audio", "vision" or "language".
        steps, batch: of every stage; None: those in `STAGES`.
        options: for `training.trainer.fit`.
    """
    probe, usual_lr, _ = PARTS[part]
    lr = lr or usual_lr
    processor, folder = mini_processor(), Path(out) / part
    torch.manual_seed(seed)
    model = probe(mini_config())
    start, done, log = time.perf_counter(), [], []
    for number, (stage, (usual_steps, usual_batch, rate, asked)) in enumerate(STAGES[part].items()):
        example = partial(probe.example, processor=processor, **asked)
        stage_steps, stage_batch = steps or usual_steps, batch or usual_batch
        entries = fit(model, Scenes(example, identity=json.dumps(asked)),
                      _collate(part, processor), folder / "run" / stage, steps=stage_steps,
                      batch=stage_batch, lr=rate * lr, seed=seed + number, **options)
        log += [{"stage": stage, **entry} for entry in entries]
        done.append(f"{stage_steps} of {stage_batch} scenes ({stage})")
    minutes = round((time.perf_counter() - start) / 60, 1)
    save_model(model.encoder, str(folder / "model.safetensors"))
    write_json(folder / "log.json", log, indent=1)
    if part == "language":
        found = language_scores(model, processor)
        spelled = language_scores(model, processor, form="spelled")
        found |= {f"{family}, spelled": score for family, score in spelled.items()}
    else:
        found = probe_scores(model, part, processor)
    _write_card(folder, f"favor-mini {part} part", {
        "steps": " + ".join(done), "learning rate": lr, "seed": seed,
        "minutes of training (last start)": minutes}, found)
    return folder


def _collate(part: str, processor: FavorProcessor):
    return stack if part != "language" else partial(LanguageProbe.collate, processor)


def _to_device(model, batch: dict) -> dict:
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}


@torch.no_grad()
def probe_scores(model, part: str, processor: FavorProcessor, batches: int = 12, batch: int = 16
                 ) -> dict[str, float]:
    """The mean of each output of the audio or vision probe on validation scenes."""
    model.eval()
    held_out = Scenes(lambda scene: type(model).example(scene, processor), split="validation")
    found = defaultdict(list)
    for start in range(0, batches * batch, batch):
        examples = [held_out[i] for i in range(start, start + batch)]
        outputs = model(**_to_device(model, _collate(part, processor)(examples)))
        for name, value in outputs.items():
            found[name].append(value.item())
    return {name: float(np.mean(values)) for name, values in found.items()}


@torch.no_grad()
def language_scores(model: LanguageProbe, processor: FavorProcessor, scenes: int = 200,
                    form: str = "text") -> dict[str, float]:
    """The accuracy of the language model on transcripts of validation scenes, by family.

    form: one of `language.FORMS`. "spelled" and "named" are the output of a perfect connector.
    """
    model.eval()
    asked = []
    for seed in SPLITS["validation"][:scenes]:
        scene, rng = draw_scene(seed), stream("language evaluation", seed)
        text = transcript(scene, rng)
        asked += [(q.family, write_dialogue(form, scene, processor, [(q.text, q.answer)], text,
                                            rng))
                  for q in draw_questions(scene, rng, 8, reworded=True)]
    asked.sort(key=lambda row: len(row[1]["ids"]))
    found = defaultdict(list)
    for start in range(0, len(asked), 64):
        families, dialogues = zip(*asked[start : start + 64], strict=True)
        right = model(**_to_device(model, model.collate(processor, dialogues)))["right"]
        for family, ok in zip(families, right.tolist(), strict=True):
            found[family].append(ok)
    return {family: float(np.mean(found[family])) for family in sorted(found)}


def assemble(parts, **changes) -> tuple[FavorForConditionalGeneration, FavorProcessor]:
    """The mini model with trained parts, an untrained connector and untrained LoRA.

    Args:
        parts: the `out` of `make_part`, or a checkpoint of the mini model, whose frozen parts are
            used.
        changes: fields of the config.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: a part does not fit the model.
    """
    config = mini_config(**changes)
    if (Path(parts) / "config.json").exists():
        frozen = FavorForConditionalGeneration.from_pretrained(parts).frozen_modules()
        return FavorForConditionalGeneration.from_frozen(config, frozen, 0), mini_processor(config)
    plain = mini_config(**{**changes, "lora_rank": 0})
    frozen = FavorForConditionalGeneration(plain).frozen_modules()
    for part, (*_, module) in PARTS.items():
        file = Path(parts) / part / "model.safetensors"
        if not file.exists():
            raise FileNotFoundError(f"{file} does not exist. Make it with `favor-mini train {part} "
                                    f"--out {parts}`")
        missing, unexpected = frozen[module].load_state_dict(load_file(file), strict=False)
        if missing or unexpected:
            raise ValueError(f"{file} does not fit the mini model: {missing} missing, {unexpected} "
                             f"unexpected. Make it with `favor-mini train {part} --out {parts}`")
    return FavorForConditionalGeneration.from_frozen(config, frozen, 0), mini_processor(config)


@dataclass(frozen=True)
class Run:
    """A training of connector and LoRA.

    scenes: ordinary training scenes; more of the tasks come in proportion.
    decay: share of a stage's steps in which the learning rate falls.
    """

    steps: dict[str, int]
    scenes: int
    batch: int
    lr: float
    decay: float
    num_queries: int


RUNS = {
    # 32 queries as in the paper: spelling the transcript of five seconds takes more than 16. The
    # loss of small batches falls only while the learning rate falls, so it falls for a long time.
    "aligned": Run({"align": 3200, "ask": 300}, 4096, 8, 5e-4, 0.7, 32),
    "named": Run({"name": 4600, "align": 60, "ask": 480}, 12800, 16, 7e-4, 0.25, 16),
}


def make_favor(parts, out, *, recipe: str = "aligned", steps: dict[str, int] | None = None,
               seed: int = 0, changes: dict | None = None, progress: bool = True, **given) -> Path:
    """Train the connector and LoRA on the parts in `parts`; write the checkpoint to `out/favor`.

    Args:
        recipe: a name in `RUNS`.
        steps: of each stage, in place of the run's; a stage that is not named keeps them.
        changes: fields of the config.
        given: fields of `Run` in place of the run's, and options for `training.trainer.fit`.
    """
    run = RUNS[recipe]
    fields = {name: given.pop(name) for name in ("scenes", "batch", "lr", "decay") if name in given}
    run = replace(run, **fields, steps={**run.steps, **(steps or {})})
    model, processor = assemble(parts, **{"num_queries": run.num_queries, **(changes or {})})
    model.reset_trained(seed)
    encoded = training_clips(model, processor, run.scenes, Path(out) / "features", progress)
    start, folder, used = time.perf_counter(), Path(out) / "favor", find_recipe(recipe)
    log = finetune(model, processor, used.rows(encoded), folder / "run", steps=run.steps,
                   stages=used.stages, batch=run.batch, lr=run.lr, decay=run.decay, seed=seed,
                   progress=progress, **given)
    minutes = round((time.perf_counter() - start) / 60, 1)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / "log.json", log, indent=1)
    found = scores(question_rows(model, processor), FAMILY_GROUPS)
    print(score_table(found))
    _write_card(folder, "favor-mini", {
        "recipe": f"{recipe}. {used.about}", "scenes": run.scenes, "clips": len(encoded),
        **{f"steps of stage {stage!r}": count for stage, count in run.steps.items()},
        "clips per step": run.batch, "learning rate": run.lr,
        "share of the steps in which it falls": run.decay, "seed": seed,
        "minutes of training (last start)": minutes}, {s.name: s.accuracy for s in found}, usage())
    return folder


def _write_card(folder: Path, title: str, facts: dict, found: dict[str, float], use: str = ""
                ) -> None:
    """Write README.md, a model card with the training settings and the scores."""
    lines = ["---", "license: apache-2.0", "library_name: favor-mini", "---", f"# {title}", "",
             'Trained on scenes of the mini world (split "train") with favor-mini '
             f"{__version__} and torch {torch.__version__.split('+')[0]}, on {os.cpu_count()} CPU "
             "cores. Terms: `docs/glossary.md` of the repository.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", 'Scores on held-out scenes (split "validation"):', "", "| what | score |",
              "|---|---|", *(f"| {name} | {value:.3f} |" for name, value in found.items()),
              "", use]
    with atomic_write(folder / "README.md") as temporary:
        temporary.write_text("\n".join(lines).strip() + "\n", encoding="utf-8")
