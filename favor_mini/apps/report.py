"""The demo's report: one HTML file with its pictures and video inside. It needs no network.

`report.html.j2` is the page; here is what stands in it.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..evaluation.scores import Row, scores
from ..figures import style
from ..figures.attention import masks
from ..figures.diversity import query_similarity
from ..figures.timeline import timeline
from ..figures.training import loss_curves, score_bars
from ..media.clip import Clip
from ..storage import atomic_write
from ..world.questions import FAMILY_GROUPS

LARGEST_VIDEO = 2**20  # bytes; of a larger clip, the page shows only the timeline
MISTAKES = 10  # wrong answers to show


@dataclass
class Result:
    """The demo's results. `rows`: answers to the same questions, by the name of the model;
    `about`: what the stages teach."""

    dozen: list[Row]
    rows: dict[str, list[Row]]
    log: list[dict]
    queries: dict[str, object]  # title: (W, N, width) output queries of `clip`
    sample: object  # world.samples.Sample
    clip: Clip
    config: object  # FavorConfig
    facts: dict[str, str]
    command: str
    about: str


def write_report(path, result: Result) -> Path:
    """Write the report to `path`, atomically."""
    path = Path(path)
    with atomic_write(path) as unfinished:
        unfinished.write_text(page(result), encoding="utf-8")
    return path


def page(r: Result) -> str:
    """The report as HTML. Every text in it is escaped."""
    found = {model: scores(rows, FAMILY_GROUPS) for model, rows in r.rows.items()}
    families = compared(r.rows)[2]
    model, rows = list(r.rows.items())[-1]
    wrong = [row for row in rows if not row.correct]
    figures = {
        "timeline": timeline(r.sample.scene, r.clip, window_frames=r.config.window_frames,
                             frame_rate=r.config.frame_rate),
        "masks": masks(r.config.window_frames, 1), "loss": loss_curves(r.log),
        "queries": [query_similarity(queries, title) for title, queries in r.queries.items()],
        "groups": score_bars({name: rows[families:] for name, rows in found.items()}),
        "families": score_bars({name: rows[:families] for name, rows in found.items()}),
    }
    video = r.sample.path.read_bytes()
    return _template().render(
        r=r, figures=figures, video=_base64(video) if len(video) <= LARGEST_VIDEO else "",
        overall={name: rows[-1] for name, rows in found.items()}, compared=compared(r.rows),
        dozen=[["right" if row.correct else "WRONG", *_texts(row)] for row in r.dozen],
        model=model, asked=len(rows), count_wrong=len(wrong),
        wrong=[_texts(row) for row in _first_of_each_kind(wrong)])


def compared(rows: dict[str, list[Row]]) -> tuple[list[str], list[list[str]], int]:
    """Head, lines and the number of family lines of the score table of several models."""
    found = {model: {s.name: s for s in scores(answers, FAMILY_GROUPS)}
             for model, answers in rows.items()}
    first = next(iter(found.values()))
    lines = [[name, str(score.count), f"{score.chance:.0%}",
              *(f"{by_name[name].accuracy:.0%}" for by_name in found.values())]
             for name, score in first.items()]
    return (["questions", "count", "chance", *found], lines,
            sum(score.kind == "family" for score in first.values()))


def _template():
    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True,
                              undefined=StrictUndefined)
    environment.globals["png"] = lambda figure: _base64(style.png(figure))
    return environment.get_template("report.html.j2")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _texts(row: Row) -> list[str]:
    return [row.question, row.predicted or "(nothing)", row.answer, row.clip]


def _first_of_each_kind(wrong: list[Row]) -> list[Row]:
    """At most `MISTAKES` rows: the first of each family, then others."""
    first = {row.family: row for row in reversed(wrong)}
    return sorted(wrong, key=lambda row: first[row.family] is not row)[:MISTAKES]
