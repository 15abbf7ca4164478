"""The paper's claims and open questions, put to the test at mini size: which comparison answers which, and what came out.

    favor-mini experiment                   # the list
    favor-mini experiment attention         # its numbers and its figure, from the results that ship
    favor-mini experiment attention --run   # its trainings, those that lie in build/experiments left out

A mini result speaks about this mechanism on this world, trained for minutes. It can show that a claim need not hold, or that
the machinery can show the effect; it cannot confirm what a model a thousand times larger does.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..evaluation.answering import encode_clips, evaluate, likelihood
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..media.clip import delay_sound
from ..storage import atomic_write
from ..world.questions import choose, single_modality_chance
from ..world.rows import scene_clip
from ..world.scene import SPLITS, draw_scene
from .compare import Plan, compare
from .novel import new_forms, new_voices
from .statistics import Comparison, Offsets, Signatures

RESULTS = Path(__file__).parent / "results"
# A minute and a half of training each: well above chance, well below the ceiling, where arms would look alike.
COMMON = {"seeds": 5, "steps": 120, "clips": 1600, "scenes": 60, "questions": 10}
WHOLE = {"window_frames": 24, "num_queries": 40}  # one window holds any clip of the mini world


@dataclass(frozen=True)
class Experiment:
    """A question, what the paper says about it, the comparison that answers it here, and, where its results ship, what came out
    beside what the paper says."""

    name: str
    asks: str
    paper: str
    plan: Plan | None  # None: it takes no training, and `measure` makes its results
    found: str = ""
    measure: Callable | None = None
    kind: type = Comparison  # of its results


def _plan(*arms: dict, fixed: dict | None = None, **options) -> Plan:
    return Plan([{}, *arms], fixed or {}, **{**COMMON, **options})


EXPERIMENTS = [
    Experiment(
        "offset", "Does the trained model hold sound and picture together in time? Move the sound, and see.",
        "rests on frame-level synchronisation; pairs whose alignment is known are the first thing to try it on", None,
        "agrees with it: moved away from its picture, the sound costs what needs both, and little else. Half a second, one frame, "
        "costs some: a moment of this world lasts four of them",
        measure=lambda progress: Offsets(sound_offsets(progress=progress)), kind=Offsets),
    Experiment(
        "attention", "Does causal attention among a window's inputs help, and does its direction matter?",
        "its text wants a causal mask, its released code holds the reverse one; an ablation leaves causal attention out",
        _plan({"attention": "block_anticausal"}, {"attention": "full"}, {"attention": "none"}, {"connector": "plain_qformer"}),
        "not seen here: the paper's mask, its reverse, no mask, no attention among the inputs and a Q-Former without it come out alike, "
        "over all questions and over what comes next; the plain Q-Former at a third of the arithmetic. A window of 5 s holds two or three "
        "moments, and its queries are taught to name them: order is left to the language model, which has read many timelines"),
    Experiment(
        "windows", "How long should a window be, at about the same number of queries a second?",
        "takes windows of 5 s; an ablation does without windows",
        _plan({"window_frames": 5, "num_queries": 8}, {"window_frames": 20, "num_queries": 32}, WHOLE,
             {"windows": "overlapping", "num_queries": 8}),
        "agrees with it: without windows, or with longer ones, far fewer answers are right, most of all about what comes next. "
        "Shorter ones than the paper's do a little better still, though the recipe was tuned at 5 s. A moment of this world lasts two "
        "seconds, and in a short window a query has less to look through for what it should name. Overlapping windows tell each moment "
        "twice, to a language model that has read of each once"),
    Experiment(
        "diversity", "What does the weight of the diversity loss do?",
        "0.01 is the released default; an ablation leaves the loss out; too high a weight should make it insert and hallucinate",
        _plan(*({"diversity_weight": weight} for weight in (0.0, 0.001, 0.01, 1.0, 10.0))),
        "no difference found from 0 to 10, four orders of magnitude, though the loss does what it says: without it the queries of a "
        "window have a mean cosine of 0.68, with the shipped 0.1 of 0.15, with 10 of -0.05. Neither the paper's gain nor the harm of "
        "too high a weight shows (with 100 it does: signatures). Perhaps because the naming stage, which the paper has not, tells each "
        "query what to say, and leaves the loss little to do"),
    Experiment(
        "signatures", "From which weight of the diversity loss on does harm show, and as words inserted, invented or said again?",
        "too high a weight should make the model insert and hallucinate; where that begins, it leaves open",
        _plan({"diversity_weight": 0.0}, {"diversity_weight": 10.0}, {"diversity_weight": 100.0}, tasks=True, seeds=4, steps=240,
              scenes=24),
        "agrees with it in part. With 100, a thousand times the shipped weight, half of the names told in captions are nowhere in the "
        "clip, no transcript is right any more, and 12 points of all answers are lost. More words put into transcripts, or names said "
        "again, are not found. From 0 to 10 no difference is found, though without the loss the queries have a mean cosine of 0.91",
        kind=Signatures),
    Experiment(
        "novelty", "What becomes of a thing, a shape, a word and a colour that no training clip of the connector holds?",
        "evaluates on benchmarks of its own making; whether the gains carry over to what is not like them is left open",
        _plan({"without": "phone+heart+tiger"}, {"without": "purple"}),
        "most of it is lost, down to near chance, though the frozen encoders and the language model know it all; the rest is as well "
        "understood as before. What the connector has not been shown, it does not carry over: no thing follows from the others"),
    Experiment(
        "voices", "Does the trained model understand voices that no training clip held, of encoders or connector?",
        "takes a pretrained Whisper encoder, frozen; whether its gains carry over to what is not like the training is left open", None,
        found="no difference found: voices never heard cost few points, if any",
        measure=lambda progress: new_voices(progress=progress)),
    Experiment(
        "forms", "Does it understand questions put in a way that no training question was, in words that it knows?",
        "leaves the questions to a pretrained Vicuna with LoRA; whether its gains carry over to other ways of asking is left open", None,
        found="no: with the clause first, hardly an answer is right, where other words that were met in training cost little. A language "
              "model that has read a few templates has learned templates; what the paper leaves to Vicuna can't be left to this one",
        measure=lambda progress: new_forms(progress=progress)),
    Experiment(
        "tasks", "What does each of the mechanism's parts give to each of the eleven tasks?",
        "leaves out causal attention, windows, the diversity loss and synchronisation (see sync), one at a time",
        _plan({"attention": "full"}, {"diversity_weight": 0.0}, WHOLE, tasks=True, seeds=4, steps=240, scenes=24),
        "agrees with it on windows: without them a quarter of all answers is lost, on six of the eleven tasks by more than the interval, "
        "about single pictures too, where nothing is cut: in as many steps a wide window with many queries learns less of everything. No "
        "difference found without the causal mask or the diversity loss; on a single task one of ten points or more could hide"),
    Experiment(
        "sync", "Does it matter that sound and picture of one moment stand side by side, where one window holds the whole clip?",
        "an ablation does without synchronisation",
        _plan({"sync": "interleave"}, {"sync": "add"}, {"sync": "append"}, fixed=WHOLE),
        "not seen here: side by side, interleaved, or all pictures before all sound, come out alike, over all questions and over those "
        "about both; only summing the streams is worse. Every token has a learned position and one window holds the clip, so attention "
        "can pair what stands apart. (The trained model depends on its synchronisation all the same: offset.)"),
]


def find_experiment(name: str) -> Experiment:
    """The experiment of this name; a ValueError that lists the names where there is none."""
    known = {e.name: e for e in EXPERIMENTS}
    if name not in known:
        raise ValueError(f"no experiment {name!r}; there are {', '.join(known)}")
    return known[name]


SHIFTS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # seconds by which the sound comes late


def sound_offsets(checkpoint=None, *, scenes: int = 100, shifts=SHIFTS, progress: bool = True) -> list[dict]:
    """Move the sound of validation clips against the picture and ask a trained model what depends on both: no training.

    Returns:
        one row per shift and question: `shift`, `clip`, `family`, `chance`, `right`, and `logp`, the log probability of the
        answer that is true where nothing is moved. An unknown offset is recovered where `logp` is highest.
    """
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    drawn = {str(scene.seed): scene for scene in (draw_scene(SPLITS["validation"].start + 9000 + i) for i in range(scenes))}
    asked = [(name, q) for name, scene in drawn.items() for q in choose(scene, np.random.default_rng([scene.seed, 7]), 16)
             if {"audio", "video"} <= set(q.needs) or len(q.needs) == 1]
    clips = {name: scene_clip(scene, processor.settings.image_size, processor.settings.frame_rate) for name, scene in drawn.items()}
    rows = []
    for shift in tqdm(shifts, desc="moving the sound", disable=not progress):
        encoded = encode_clips(model, processor, {name: delay_sound(clip, shift) for name, clip in clips.items()})
        told = likelihood(model, processor, [encoded[name] for name, _ in asked], [q.text for _, q in asked],
                          [q.answer for _, q in asked])
        rows += [{"shift": shift, "clip": r.clip, "family": r.family, "chance": round(r.chance, 3), "right": r.correct,
                  "logp": round(float(logp), 3)}
                 for r, logp in zip(evaluate(model, processor, encoded, asked, single_modality_chance(drawn)), told, strict=True)]
    return rows


def run_experiment(name: str, out="build/experiments", *, progress: bool = True) -> Comparison | Offsets:
    """Make an experiment's results anew; trainings that lie under `out`, of another experiment too, are not made again. Writes
    `out/name/results.json`."""
    plan, folder = find_experiment(name).plan, Path(out) / name
    if plan is not None:
        return compare(plan, folder, progress=progress, cache=out)
    found = find_experiment(name).measure(progress)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "results.json") as unfinished:
        found.save(unfinished)
    return found


def shipped_results(name: str) -> Comparison | Offsets | None:
    """What came out when it was run for this version of the package; None where it has not been."""
    return _load(find_experiment(name), RESULTS / f"{name}.json")


def tell(name: str) -> Comparison | Offsets | None:
    """Print what an experiment asks, what the paper says, and what came out where its results ship; returns these."""
    e, results = find_experiment(name), shipped_results(name)
    found = e.found if results else f"not run for this version yet: favor-mini experiment {name} --run"
    for what, text in (("asks:  ", e.asks), ("paper: ", e.paper), ("found: ", found)):
        print(textwrap.fill(what + text, 100, subsequent_indent="       "))
    return results


def known_results(name: str, out="build/experiments") -> Comparison | Offsets | None:
    """One's own results under `out`, else those that ship, else None."""
    return _load(find_experiment(name), Path(out) / name / "results.json") or shipped_results(name)


def _load(experiment: Experiment, file: Path) -> Comparison | Offsets | None:
    if not file.is_file():
        return None
    return experiment.kind.load(file)


def listing() -> str:
    """All experiments: what each asks, and how much training it takes."""
    lines = []
    for e in EXPERIMENTS:
        cost = "no training" if e.plan is None else f"{len(e.plan.arms)} arms x {e.plan.seeds} seeds, {e.plan.steps} steps each"
        shipped = "results ship" if (RESULTS / f"{e.name}.json").is_file() else "not run yet"
        lines += [f"{e.name} ({cost}; {shipped})", f"  asks:  {e.asks}", f"  paper: {e.paper}"]
        lines += [f"  found: {e.found}"] if e.found else []
    return "\n".join(lines)
