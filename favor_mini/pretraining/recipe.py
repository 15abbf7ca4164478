"""The recipe of the checkpoint, from nothing but the mini world: three frozen parts, then FAVOR on top of them.

How the shipped one really came about, in how many starts, stands in the cards beside it.

    favor-mini train all --out build/make

Every step can be stopped and started again; it goes on where it was.
"""

import json
import os
import shutil
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file, save_model

from .. import __version__, checkpoint_path
from ..evaluation import familiarity
from ..evaluation.scores import score_table, scores
from ..model import FavorForConditionalGeneration
from ..processor import FavorProcessor
from ..training.finetune import finetune
from ..training.trainer import fit
from ..world.lessons import SceneRows
from ..world.mini import mini_config, mini_processor
from ..world.questions import FAMILY_GROUPS, choose
from ..world.rows import training_clips
from ..world.scene import SPLITS, draw_scene
from ..world.transcript import transcript
from .audio import AudioProbe
from .language import LanguageProbe, script
from .scenes import Scenes, stack
from .validation import validation_rows
from .vision import VisualProbe

PARTS = {  # part: (probe, learning rate, module of FAVOR that takes its weights)
    "audio": (AudioProbe, 1e-3, "audio_encoder"),
    "vision": (VisualProbe, 1e-3, "visual_encoder"),
    "language": (LanguageProbe, 1e-3, "language_model"),
}
LATE = ("colour", "turn", "direction", "heard_while", "heard_after", "heard_before", "seen_after", "seen_before",
        "first_mixed", "first_seen", "first_heard", "count_seen", "count_heard")  # families learned last
STAGES = {  # part: its stages, each with its steps, scenes a step, share of the rate, and what it asks of the probe's `example`
    "audio": {"whole": (800, 16, 1.0, {"vary": True})},
    "vision": {"whole": (900, 48, 1.0, {})},
    "language": {"hard": (3000, 40, 1.0, {"moments": (2, 6), "tokens": 160}),
                 "even": (1600, 40, 0.7, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.5, "retell": 0.1}),
                 "late": (3500, 40, 0.5, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.3, "retell": 0.1,
                                          "focus": LATE}),
             # Then what the eleven tasks ask; to hold a sound against a picture is learned on short scripts alone.
             "tasks": (640, 40, 0.5, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.15, "retell": 0.05,
                                      "focus": LATE, "tasks": 0.45}),
             "relate": (220, 110, 0.5, {"moments": (2, 2), "tokens": 64, "hard": False, "drill": 0.2, "retell": 0.05,
                                        "tasks": 0.85, "of": ("avm", "avm", "avssd", "avssd", "isqa")}),
             "all": (700, 40, 0.4, {"moments": (3, 6), "tokens": 160, "hard": False, "drill": 0.15, "retell": 0.03,
                                    "focus": LATE, "tasks": 0.3})},
}


def make_part(part: str, out, *, steps: int | None = None, batch: int | None = None, lr: float | None = None, seed: int = 0,
              **options) -> Path:
    """Train one frozen part; write `out/part/model.safetensors` and a card beside it. Returns that folder.

    Args:
        part: "audio", "vision" or "language".
        steps: of every stage, for a trial; None: what `STAGES` says.
        options: passed on to `training.fit`.
    """
    probe, usual_lr, _ = PARTS[part]
    lr = lr or usual_lr
    processor, folder = mini_processor(), Path(out) / part
    torch.manual_seed(seed)
    model = probe(mini_config())
    start, told = time.perf_counter(), []
    for number, (stage, (usual_steps, usual_batch, rate, asked)) in enumerate(STAGES[part].items()):
        scenes = Scenes(partial(probe.example, processor=processor, **asked), identity=json.dumps(asked))
        fit(model, scenes, _collate(part, processor), folder / "run" / stage, steps=steps or usual_steps,
            batch=batch or usual_batch, lr=rate * lr, seed=seed + number, **options)
        told.append(f"{steps or usual_steps} of {batch or usual_batch} scenes ({stage})")
    seconds = time.perf_counter() - start
    save_model(model.encoder, str(folder / "model.safetensors"))
    if part == "language":
        found = language_scores(model, processor)
        found |= {f"{family}, named": score for family, score in language_scores(model, processor, named=True).items()}
    else:
        found = probe_scores(model, part, processor)
    _write_card(folder, f"favor-mini {part} part", {
        "steps": " + ".join(told), "learning rate": lr, "seed": seed,
        "minutes of training (last start)": round(seconds / 60, 1)}, found)
    return folder


def _collate(part: str, processor: FavorProcessor):
    return stack if part != "language" else partial(LanguageProbe.collate, processor)


def _beside(model, batch: dict) -> dict:
    """A batch on the model's device, where training has left it."""
    return {name: value.to(next(model.parameters()).device) for name, value in batch.items()}


@torch.no_grad()
def probe_scores(model, part: str, processor: FavorProcessor, batches: int = 12, batch: int = 16) -> dict[str, float]:
    """How often the probe is right on validation scenes: 20 ms pieces of sound, or whole pictures."""
    model.eval()
    held_out = Scenes(lambda scene: type(model).example(scene, processor), split="validation")
    found = defaultdict(list)
    for start in range(0, batches * batch, batch):
        outputs = model(**_beside(model, _collate(part, processor)([held_out[i] for i in range(start, start + batch)])))
        for name, value in outputs.items():
            found[name].append(value.item())
    return {name: float(np.mean(values)) for name, values in found.items()}


@torch.no_grad()
def language_scores(model: LanguageProbe, processor: FavorProcessor, scenes: int = 200, named: bool = False
                    ) -> dict[str, float]:
    """Share of questions about validation scripts that are answered right, per family.

    Args:
        named: the scripts are not written out, but named as by a connector that makes no mistake.
    """
    model.eval()
    asked = []
    for i in range(scenes):
        scene, rng = draw_scene(SPLITS["validation"].start + i), np.random.default_rng(i)
        text = transcript(scene, rng)
        asked += [(q.family, script(scene, processor, [(q.text, q.answer)], text, named))
                  for q in choose(scene, rng, 8, reword_them=True)]
    asked.sort(key=lambda row: len(row[1]["ids"]))
    found = defaultdict(list)
    for start in range(0, len(asked), 64):
        families, dialogues = zip(*asked[start : start + 64], strict=True)
        right = model(**_beside(model, model.collate(processor, dialogues)))["right"]
        for family, ok in zip(families, right.tolist(), strict=True):
            found[family].append(ok)
    return {family: float(np.mean(found[family])) for family in sorted(found)}


def assemble(parts, **changes) -> tuple[FavorForConditionalGeneration, FavorProcessor]:
    """The mini model with the trained parts from the folder `parts`, a fresh connector and fresh LoRA."""
    config = mini_config(**changes)
    lora_rank, config.lora_rank = config.lora_rank, 0
    model = FavorForConditionalGeneration(config)
    for part, (*_, module) in PARTS.items():
        file = Path(parts) / part / "model.safetensors"
        if not file.exists():
            raise FileNotFoundError(f"no {file}; make it first with `favor-mini train {part} --out {parts}`")
        missing, unexpected = getattr(model, module).load_state_dict(load_file(file), strict=False)
        if missing or unexpected:
            raise ValueError(f"{file} does not fit the mini model: {missing} missing, {unexpected} unexpected")
    config.lora_rank = lora_rank
    model.add_lora()
    model.freeze()
    model.reset_trained(seed=0)
    return model, mini_processor(config)


def make_favor(parts, out, *, scenes: int = 12800, name_steps: int = 4600, align_steps: int = 60, ask_steps: int = 480,
               batch: int = 16, lr: float = 7e-4, seed: int = 0, changes: dict | None = None, **options) -> Path:
    """Train the connector and LoRA on the parts under `parts`; write the whole checkpoint to `out/favor`."""
    model, processor = assemble(parts, **(changes or {}))
    model.reset_trained(seed)
    encoded = training_clips(model, processor, scenes, Path(out) / "features", options.get("progress", True))
    start = time.perf_counter()
    steps = {"name": name_steps, "align": align_steps, "ask": ask_steps}
    log = finetune(model, processor, SceneRows(encoded), Path(out) / "favor" / "run", steps=steps, batch=batch, lr=lr, seed=seed, **options)
    seconds = time.perf_counter() - start
    folder = Path(out) / "favor"
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "log.json").write_text(json.dumps(log, indent=1) + "\n")
    found = scores(validation_rows(model, processor), FAMILY_GROUPS)
    print(score_table(found))
    _write_card(folder, "favor-mini", {
        "scenes": scenes, **{f"steps of stage {stage!r}": count for stage, count in steps.items()}, "clips per step": batch,
        "learning rate": lr, "seed": seed, "minutes of training (last start)": round(seconds / 60, 1)},
        {s.name: s.accuracy for s in found})
    return folder


def _write_card(folder: Path, title: str, facts: dict, found: dict[str, float]) -> None:
    """A model card: how it was made, what it scores, how to make it again."""
    lines = ["---", "license: apache-2.0", "library_name: favor-mini", "---", f"# {title}", "",
             "Made from the mini world alone (freshly drawn scenes of the split \"train\"), by "
             f"favor-mini {__version__} on {os.cpu_count()} CPU cores, torch {torch.__version__.split('+')[0]}.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "Scores on held-out scenes (split \"validation\"):", "", "| what | score |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in found.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def ship(out) -> Path:
    """Put the checkpoint made under `out` in place of the one that comes with the package, with the cards of its parts.

    Its tensors go in half precision, as every clone carries them; the config still says float32, so that is what they
    are loaded as. What training clips look and sound like is measured anew (`familiarity`).
    """
    source, shipped = Path(out) / "favor", checkpoint_path()
    for file in (source / "model.safetensors", *(Path(out) / part / "README.md" for part in PARTS)):
        if not file.is_file():
            raise FileNotFoundError(f"no {file}; what ships is left as it is. Make all with `favor-mini train all --out {out}`")
    target = shipped.with_name(f"{shipped.name}.part")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("run"))
    save_file({name: tensor.half() for name, tensor in load_file(source / "model.safetensors").items()},
              target / "model.safetensors", metadata={"format": "pt"})
    for part in PARTS:
        shutil.copy(Path(out) / part / "README.md", target / f"{part}.md")
    familiarity.make(target)
    shutil.rmtree(shipped, ignore_errors=True)  # not before the new one is whole
    os.replace(target, shipped)
    return shipped
