"""Experiments about the paper's claims and open questions, at mini size, with their results.

    favor-mini experiment                   # the list
    favor-mini experiment attention         # the results that ship, and their figure
    favor-mini experiment attention --run   # train what build/experiments does not hold yet

Each has a page `results/NAME.md` with its question, what the paper says, and the finding. A result
at mini size can show that a claim need not hold in general, or that an effect exists here. It
cannot confirm a claim about a model that is a thousand times larger.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..storage import atomic_write
from .compare import Plan, compare
from .new_form import learn_new_form
from .novel import new_forms, new_voices
from .offsets import Offsets, sound_offsets
from .pages import section
from .signatures import Signatures
from .statistics import Comparison

RESULTS = Path(__file__).parent / "results"
# About two minutes of training: well above chance, and below the ceiling, where no arms differ.
COMMON = {"seeds": 5, "steps": 120, "clips": 1600, "scenes": 60, "questions": 10}
TASKS = {"tasks": True, "seeds": 4, "steps": 240, "scenes": 24}
WHOLE = {"window_frames": 24, "num_queries": 40}  # one window holds any clip of the mini world


@dataclass(frozen=True)
class Experiment:
    """A comparison, or a measurement of the shipped model, that answers one question."""

    name: str
    plan: Plan | None = None
    measure: Callable | None = None  # with `progress`; in place of a plan, it trains nothing
    kind: type = Comparison  # of its results
    checkpoint: str = "mini"  # whose frozen parts are used

    def section(self, title: str) -> str:
        """A section of its page, "Question", "Paper" or "Finding", as one line of text."""
        return section(RESULTS / f"{self.name}.md", title)

    @property
    def question(self) -> str:
        return self.section("Question")

    @property
    def paper(self) -> str:
        """What the paper says about the question."""
        return self.section("Paper")

    @property
    def finding(self) -> str:
        """What the shipped results show, compared with the paper; "" if none ship."""
        return self.section("Finding") if (RESULTS / f"{self.name}.json").is_file() else ""


def _plan(*arms: dict, fixed: dict | None = None, **options) -> Plan:
    return Plan([{}, *arms], fixed or {}, **{**COMMON, **options})


EXPERIMENTS = [
    Experiment("offset", measure=lambda **options: Offsets(sound_offsets(**options)), kind=Offsets),
    Experiment("attention", _plan({"attention": "block_anticausal"}, {"attention": "full"},
                                  {"attention": "none"}, {"connector": "plain_qformer"})),
    Experiment("windows", _plan({"window_frames": 5, "num_queries": 8},
                                {"window_frames": 20, "num_queries": 32}, WHOLE,
                                {"windows": "overlapping", "num_queries": 8})),
    Experiment("diversity", _plan(*({"diversity_weight": weight}
                                    for weight in (0.0, 0.001, 0.01, 1.0, 10.0)))),
    Experiment("signatures", _plan({"diversity_weight": 0.0}, {"diversity_weight": 10.0},
                                   {"diversity_weight": 100.0}, **TASKS), kind=Signatures),
    Experiment("novelty", _plan({"without": "phone+heart+tiger"}, {"without": "purple"})),
    Experiment("voices", measure=new_voices),
    Experiment("forms", measure=new_forms),
    Experiment("lora", measure=learn_new_form),
    Experiment("tasks", _plan({"attention": "full"}, {"diversity_weight": 0.0}, WHOLE, **TASKS)),
    Experiment("recipes", Plan([{"recipe": name} for name in ("aligned", "align", "ask")],
                               **{**COMMON, "seeds": 3, "steps": 160, "batch": 8}),
               checkpoint="label-free"),
    Experiment("sync", _plan({"sync": "interleave"}, {"sync": "add"}, {"sync": "append"},
                             fixed=WHOLE)),
]


def find_experiment(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    known = {e.name: e for e in EXPERIMENTS}
    if name not in known:
        raise ValueError(f"no experiment {name!r}. Fix: choose among {', '.join(known)}")
    return known[name]


def run_experiment(name: str, out="build/experiments", *,
                   progress: bool = True) -> Comparison | Offsets:
    """Run an experiment and write `out/name/results.json`. Trainings that `out` holds, also from
    other experiments, are not repeated."""
    experiment, folder = find_experiment(name), Path(out) / name
    if experiment.plan is not None:
        return compare(experiment.plan, folder, checkpoint=experiment.checkpoint,
                       progress=progress, cache=out)
    found = experiment.measure(progress=progress)
    with atomic_write(folder / "results.json") as unfinished:
        found.save(unfinished)
    return found


def shipped_results(name: str) -> Comparison | Offsets | None:
    """The results that ship with this version; None if the experiment was not run for it."""
    return _load(name, RESULTS / f"{name}.json")


def known_results(name: str, out="build/experiments") -> Comparison | Offsets | None:
    """Your own results in `out`; else those that ship; else None."""
    return _load(name, Path(out) / name / "results.json") or shipped_results(name)


def _load(name: str, file: Path) -> Comparison | Offsets | None:
    kind = find_experiment(name).kind
    return kind.load(file) if file.is_file() else None


def describe(experiment: Experiment) -> str:
    """The question, what the paper says, and the finding, if results ship."""
    texts = {
        "question:": experiment.question, "paper:": experiment.paper,
        "finding:": experiment.finding or "not run for this version yet. Run it: "
        f"favor-mini experiment {experiment.name} --run"}
    return "\n".join(textwrap.fill(f"{title:<10}{text}", 100, subsequent_indent=" " * 10)
                     for title, text in texts.items())


def show_experiment(name: str) -> Comparison | Offsets | None:
    """Print `describe(...)` of an experiment, and return the results that ship."""
    print(describe(find_experiment(name)))
    return shipped_results(name)


def listing() -> str:
    """All experiments with their descriptions and the training that they take."""
    lines = []
    for e in EXPERIMENTS:
        cost = "no training" if e.plan is None else (
            f"{len(e.plan.arms)} arms x {e.plan.seeds} seeds, {e.plan.steps} steps each")
        lines += [f"{e.name} ({cost})", textwrap.indent(describe(e), "  ")]
    return "\n".join(lines)
