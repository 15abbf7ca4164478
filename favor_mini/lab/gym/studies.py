"""Phase diagrams: where, over two knobs, does a mechanism change what is learned, or how fast?

    favor-mini gym                    # the list
    favor-mini gym sync               # the results that ship, and their figure
    favor-mini gym sync --run         # make the trainings that build/gym does not hold yet

Each study has a page `results/NAME.md`: its question, a prediction that was written before the
trainings, and what was found.
"""

import json
import textwrap
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd

from ...storage import atomic_write
from ..pages import section
from .model import Gym
from .results import Curves, GymPlan, corrected, gym
from .world import World

PAGES = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Study:
    """Arms at every point of a grid of two knobs, or at one point.

    Args:
        arms, fixed, seeds, kind: as in `GymPlan`.
        knobs: two fields of `kind` and their values, or none.
        score: of `Curves.differences`.
    """

    name: str
    arms: list[dict]
    knobs: dict[str, tuple] = field(default_factory=dict)
    fixed: dict = field(default_factory=dict)
    seeds: int = 5
    score: str = "mean"
    kind: type = Gym

    def __post_init__(self):
        if len(self.knobs) not in (0, 2):
            raise ValueError(f"found knobs={list(self.knobs)} in the study {self.name!r}, expected "
                             "two, or none: a phase diagram has two axes. Fix: give a second knob "
                             "with one value")

    @property
    def cells(self) -> list[dict]:
        return [dict(zip(self.knobs, values, strict=True))
                for values in product(*self.knobs.values())]

    def plan(self, cell: dict) -> GymPlan:
        return GymPlan(self.arms, {**self.fixed, **cell}, self.seeds, self.kind)

    @property
    def trainings(self) -> int:
        return len(self.cells) * len(self.arms) * self.seeds

    def section(self, title: str) -> str:
        """A section of its page, such as "Question", as one line of text; "" if there is none."""
        return section(PAGES / f"{self.name}.md", title)


class Phases:
    """The results of a study: `Curves` for each cell of the grid."""

    def __init__(self, study: Study, cells: list[Curves]):
        self.study, self.cells = study, cells

    @property
    def differences(self) -> pd.DataFrame:
        """`Curves.differences` of each cell, with its knobs. The verdicts are corrected for the
        number of rows, all cells together."""
        found = [c.differences(self.study.score).assign(**cell)
                 for cell, c in zip(self.study.cells, self.cells, strict=True)]
        return corrected(pd.concat(found, ignore_index=True))

    @property
    def summary(self) -> pd.DataFrame:
        """`Curves.summary` of each cell, with its knobs."""
        found = [c.summary.assign(**cell)
                 for cell, c in zip(self.study.cells, self.cells, strict=True)]
        table = pd.concat(found, ignore_index=True)
        return table[[*self.study.knobs, *table.columns.drop(list(self.study.knobs))]]

    def __str__(self) -> str:
        lines = [f"  {self._cell(r)}  {r.arm:<30} {r.questions:<8} {r.difference:+6.1f}  "
                 f"({r.low:+.1f} to {r.high:+.1f})  {r.verdict}"
                 for r in self.differences.itertuples()]
        base = self.cells[0].arms[0]
        return "\n".join([self.summary.to_string(index=False), "",
                          f"{self.study.score} accuracy minus that of {base!r}, in points, paired "
                          f"by seed (95 % interval); verdicts corrected for {len(lines)} intervals",
                          *lines])

    def _cell(self, row) -> str:
        return ", ".join(f"{knob}={getattr(row, knob)}" for knob in self.study.knobs)

    def save(self, file) -> None:
        """JSON: for each cell a list with one line per training."""
        cells = ",\n".join("[\n" + ",\n".join(json.dumps(r, sort_keys=True) for r in c.results)
                           + "\n]" for c in self.cells)
        Path(file).write_text(f"[{cells}]\n", encoding="utf-8")

    @classmethod
    def load(cls, study: Study, file) -> "Phases":
        cells = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(study, [Curves(results) for results in cells])


CAUSAL = ("block_causal", "none", "full")
CONNECTORS = ("causal_qformer", "plain_qformer", "mean_pooling", "mlp", "convolution")
# Films of three or four pictures and sounds, asked which belong together. One token for a frame and
# one for the sound of a time step: with eight for a frame nothing was learned in 500 steps.
PAIRS = {"window_frames": 6, "visual_pool": 8, "audio_pool": 25, "questions": 2, "batch": 128,
         "about": "shown_when+heard_while"}
STUDIES = [
    Study("sync", [{"sync": s} for s in ("concat", "interleave", "append")],
          {"tokens": (1, 2), "frames": (4, 8)}, {"tasks": "recall", "steps": 350}),
    Study("unsynchronised", [{"sync": s} for s in ("concat", "interleave", "append")],
          {"tokens": (1, 2), "frames": (4,)}, {"tasks": "recall", "steps": 2500}),
    Study("pairing", [{"sync": s} for s in ("concat", "concat_rotated", "concat_pairs")],
          {"tokens": (2, 4), "frames": (4, 6)}, {"tasks": "recall", "steps": 350}),
    Study("windows", [{"window_frames": 4, "num_queries": 4},
                      {"window_frames": 24, "num_queries": 12}],
          {"tasks": ("recall", "before"), "test_frames": (12, 24)}, {"frames": 12, "steps": 500}),
    Study("attention", [{"attention": a} for a in CAUSAL],
          {"num_queries": (2, 8), "layers": (1, 2)}, {"tasks": "before", "steps": 600}),
    Study("relations", [{"attention": a} for a in CAUSAL],
          {"tasks": ("motion", "state"), "num_queries": (2, 8)}, {"layers": 1, "steps": 400}),
    Study("diversity", [{"diversity_weight": w} for w in (0.0, 0.3)],
          {"connector": ("causal_qformer", "bert_init", "bert_init_bare_queries"),
           "num_queries": (4, 16)}, {"tasks": "recall", "steps": 350}),
    Study("weights", [{"diversity_weight": w} for w in (0.0, 0.3, 3.0, 30.0)],
          {"lr": (2e-3, 6e-3), "num_queries": (4, 16)}, {"tasks": "recall", "steps": 350}),
    Study("connectors", [{"connector": c} for c in CONNECTORS],
          {"num_queries": (4, 12), "tokens": (1, 2)}, {"tasks": "recall", "steps": 300}),
    Study("relating", [{"connector": c} for c in CONNECTORS],
           {"tasks": ("before", "motion"), "num_queries": (2, 6)}, {"steps": 500}),
    Study("films", [{}, {"sync": "interleave"}, {"sync": "append"}, {"attention": "none"},
                    {"window_frames": 24, "num_queries": 40}], kind=World),
    Study("film-sync", [{"sync": s} for s in ("concat", "interleave", "append")],
          {"moments": (3,), "seconds": (0.5, 2.0)}, {**PAIRS, "steps": 700}, kind=World),
    Study("film-windows", [{"window_frames": k, "num_queries": n}
                           for k, n in ((4, 4), (16, 16), (16, 4), (4, 16))],
          fixed={**PAIRS, "moments": 4, "seconds": 2.0, "steps": 600}, kind=World),
    Study("film-attention", [{"attention": a} for a in CAUSAL],
          {"num_queries": (1, 8), "seconds": (0.5,)}, {**PAIRS, "moments": 3, "steps": 600},
          kind=World),
    Study("film-order", [{"attention": a} for a in CAUSAL],
          {"num_queries": (1, 2, 8), "layers": (1,)},
          {**PAIRS, "about": "seen_after+heard_after", "moments": 3, "steps": 400}, kind=World),
    Study("film-weights", [{"diversity_weight": w} for w in (0.0, 0.3, 3.0)],
          fixed={**PAIRS, "connector": "bert_init", "moments": 3, "steps": 600}, kind=World),
    Study("film-connectors", [{"connector": c} for c in CONNECTORS],
          fixed={**PAIRS, "moments": 3, "seconds": 2.0, "num_queries": 4, "steps": 500},
          kind=World),
]


def find_study(name: str) -> Study:
    """The study of this name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    known = {s.name: s for s in STUDIES}
    if name not in known:
        raise ValueError(f"no study {name!r} in the gym. Fix: choose among {', '.join(known)}")
    return known[name]


def run_study(name: str, out="build/gym", *, jobs: int = 1, progress: bool = True) -> Phases:
    """Make the trainings that `out` does not hold yet, and write `out/name/results.json`."""
    study = find_study(name)
    found = Phases(study, [gym(study.plan(cell), out, jobs=jobs, progress=progress)
                           for cell in study.cells])
    with atomic_write(Path(out) / name / "results.json") as unfinished:
        found.save(unfinished)
    return found


def shipped_study(name: str) -> Phases | None:
    """The results that ship with this version; None if there are none."""
    study, file = find_study(name), PAGES / f"{name}.json"
    return Phases.load(study, file) if file.is_file() else None


def known_study(name: str, out="build/gym") -> Phases | None:
    """Your own results in `out`; else those that ship; else None."""
    file = Path(out) / name / "results.json"
    return Phases.load(find_study(name), file) if file.is_file() else shipped_study(name)


def describe(study: Study) -> str:
    """The sections of its page."""
    texts = {title: study.section(title) for title in ("Question", "Prediction", "Finding")}
    texts["Finding"] = texts["Finding"] or (
        f"not run for this version yet. Run it: favor-mini gym {study.name} --run")
    return "\n".join(textwrap.fill(f"{title.lower()}: {text}", 100, subsequent_indent="    ")
                     for title, text in texts.items())


def show_study(name: str) -> Phases | None:
    """Print `describe(...)` of a study, and return the results that ship."""
    print(describe(find_study(name)))
    return shipped_study(name)


def listing() -> str:
    """All studies with their questions and cost."""
    lines = []
    for s in STUDIES:
        knobs = " x ".join(s.knobs)
        lines += [f"{s.name} ({s.trainings} trainings; {len(s.arms)} arms x {knobs} x {s.seeds} "
                  "seeds)", textwrap.indent(describe(s), "  ")]
    return "\n".join(lines)
