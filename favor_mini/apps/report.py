"""The demo's report: one HTML file with pictures and video inside, that needs no network and no script."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ..evaluation.scores import Row, Score, scores
from ..figures.attention import masks
from ..figures.diversity import query_similarity
from ..figures.style import Picture, alt, png
from ..figures.timeline import timeline
from ..figures.training import loss_curves, score_bars
from ..media.clip import Clip
from ..storage import atomic_write
from ..world.questions import FAMILY_GROUPS

LARGEST_VIDEO = 2**20  # bytes; a larger clip is shown as its timeline alone


@dataclass
class Result:
    """What the demo found. `rows` are the answers to the same questions, by the name of the model that gave them."""

    dozen: list[Row]
    rows: dict[str, list[Row]]
    log: list[dict]
    queries: dict[str, object]  # title: (W, N, width) output queries of `clip`
    sample: object  # world.samples.Sample
    clip: Clip
    config: object  # FavorConfig
    facts: dict[str, str]
    command: str


STYLE = """
:root { color: #1b2a41; background: #fff; font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
body { max-width: 1080px; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: .4rem 0; }
h2 { margin: 2.6rem 0 .4rem; border-top: 2px solid #c9d6e4; padding-top: 1rem; }
p { max-width: 46rem; } p.lead { font-size: 1.12rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { flex: 1 1 9rem; border: 2px solid #c9d6e4; border-radius: .5rem; padding: .6rem .9rem; }
.card b { display: block; font-size: 1.9rem; line-height: 1.2; } .card small { font-size: .9rem; }
.scroll { overflow-x: auto; } .scroll img { min-width: 760px; }
img, video { max-width: 100%; height: auto; display: block; } .scroll img { width: 100%; max-width: none; }
figure { margin: 1rem 0; } figcaption { margin-top: .4rem; font-size: .93rem; color: #40506a; max-width: 46rem; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .95rem; }
th, td { text-align: left; padding: .32rem .7rem; border-bottom: 1px solid #c9d6e4; vertical-align: top; }
th { border-bottom: 2px solid #1b2a41; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.rule td { border-top: 2px solid #1b2a41; } td.wrong { font-weight: 700; background: #f6e3e1; }
pre { background: #eef2f7; padding: .7rem .9rem; border-radius: .4rem; overflow-x: auto; font-size: .92rem; }
td.text { min-width: 8.5rem; }
@media (max-width: 600px) { :root { font-size: 16px; } th, td { padding: .3rem .4rem; } }
@media print { h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def write_report(path, result: Result) -> Path:
    """Write the report to `path`; it appears under its name only once it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        unfinished.write_text(page(result), encoding="utf-8")
    return path


def page(result: Result) -> str:
    sections = (_head, _dozen, _timeline, _masks, _training, _similarity, _scores, _mistakes, _facts)
    body = "\n".join(section(result) for section in sections)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>favor-mini: demo report</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n")


# Pieces of a page.

def picture(figure: Picture, caption: str = "", *, wide: bool = True) -> str:
    """A figure with its description; a wide one keeps its letters readable on a phone and scrolls sideways there."""
    data = base64.b64encode(png(figure)).decode()
    image = f'<img alt="{escape(alt(figure))}" src="data:image/png;base64,{data}">'
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><div class="{"scroll" if wide else "fit"}">{image}</div>{caption}</figure>'


def video(path, label: str) -> str:
    """The file itself inside the page, or a word on why it is not there."""
    path = Path(path)
    if path.stat().st_size > LARGEST_VIDEO:
        return f"<p>{escape(path.name)} is too large to be shown in the page.</p>"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<video controls width="320" aria-label="{escape(label)}" src="data:video/mp4;base64,{data}"></video>'


def table(head: list[str], rows: list[list[str]], *, numbers: tuple[int, ...] = (), rule: int | None = None,
          marked: dict[tuple[int, int], str] | None = None) -> str:
    """A table of plain texts. `numbers`: columns set to the right; `rule`: a line above this row; `marked`: cell classes."""
    def cell(tag, text, row, column):
        kinds = ["number"] * (column in numbers) + ["text"] * (tag == "td" and len(text) > 20)
        kinds += ([marked[row, column]] if (row, column) in (marked or {}) else [])
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", text, -1, c) for c, text in enumerate(head)) + "</tr>"]
    for r, row in enumerate(rows):
        opening = '<tr class="rule">' if r == rule else "<tr>"
        lines.append(opening + "".join(cell("td", text, r, c) for c, text in enumerate(row)) + "</tr>")
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def compared(rows: dict[str, list[Row]]) -> tuple[list[str], list[list[str]], int]:
    """Head, rows and the number of family rows of the score table: every model's accuracy beside chance."""
    found = {model: {s.name: s for s in scores(answers, FAMILY_GROUPS)} for model, answers in rows.items()}
    first: dict[str, Score] = next(iter(found.values()))
    families = len({row.family for row in next(iter(rows.values()))})
    head = ["questions", "count", "chance", *found]
    lines = [[name, str(score.count), f"{score.chance:.0%}", *(f"{rows[name].accuracy:.0%}" for rows in found.values())]
             for name, score in first.items()]
    return head, lines, families


# The sections, in reading order.

def _head(r: Result) -> str:
    overall = {model: scores(answers, FAMILY_GROUPS)[-1] for model, answers in r.rows.items()}
    some = next(iter(overall.values()))
    cards = "".join(f'<div class="card"><b>{s.accuracy:.0%}</b><small>{escape(model)}</small></div>'
                    for model, s in overall.items())
    return (f"<h1>favor-mini: what it sees, hears and learns</h1>\n"
            f'<p class="lead">A small audio-visual language model, built like FAVOR (arXiv 2310.05863), was asked about '
            f"video files that it had not been trained on. Then its connector and LoRA were thrown away and trained anew, "
            f"on this machine. Right answers to the same {some.count} questions:</p>\n"
            f'<div class="cards">{cards}<div class="card"><b>{some.chance:.0%}</b><small>guessing</small></div></div>')


def _dozen(r: Result) -> str:
    right = sum(row.correct for row in r.dozen)
    lines = [["right" if row.correct else "WRONG", row.question, row.predicted or "(nothing)", row.answer, row.clip]
             for row in r.dozen]
    marked = {(i, 0): "wrong" for i, row in enumerate(r.dozen) if not row.correct}
    return (f"<h2>{len(lines)} questions to the shipped model</h2>\n<p>One of each kind, picked by a fixed rule before "
            f"any was answered. {right} of {len(lines)} are right.</p>\n"
            + table(["", "question", "answer", "truth", "clip"], lines, marked=marked))


def _timeline(r: Result) -> str:
    figure = timeline(r.sample.scene, r.clip, window_frames=r.config.window_frames, frame_rate=r.config.frame_rate)
    return (f"<h2>One clip on one time axis</h2>\n<p>{escape(r.sample.name)}, as a viewer gets it, and below as the model "
            f"does: {r.config.frame_rate:g} frames a second, and sound as a spectrogram. Frames and sounds of the same time "
            "step are put side by side before anything else happens, so that the model can tell what was shown "
            "<em>when</em> a bell rang.</p>\n"
            + video(r.sample.path, f"the sample clip {r.sample.name}")
            + picture(figure, f"Dashed lines: borders of the sliding windows of {r.config.window_frames} frames. "
                              "The script (seen, heard) is what really happens; the model never gets it."))


def _masks(r: Result) -> str:
    return ("<h2>Who may look at whom</h2>\n<p>Inside a window, the paper lets each frame look at itself and at the frames "
            "before it. The code that its authors released holds the mirrored triangle. "
            f"This model uses <code>{escape(r.config.attention)}</code>.</p>\n"
            + picture(masks(r.config.window_frames, 1),
                      f"Three masks over one window. Each square stands for {r.config.step_tokens} x "
                      f"{r.config.step_tokens} tokens: a frame's tokens see one another whole."))


def _training(r: Result) -> str:
    return ("<h2>Training the connector anew</h2>\n<p>Only the causal Q-Former, two linear maps and LoRA learn; both "
            "encoders and the language model stay as they are. First <em>name</em>: each query comes close to the words of what "
            "its stretch of the clip holds. Then <em>align</em>: write out the whole script of a clip. Then <em>ask</em>: "
            "answer questions about it. The loss is "
            f"cross-entropy + {r.config.diversity_weight:g} x diversity (while naming, also the distance from the words).</p>\n"
            + picture(loss_curves(r.log), "Diversity is the mean cosine similarity between a window's output "
                                                  "queries: lower means that they say different things."))


def _similarity(r: Result) -> str:
    drawn = "".join(picture(query_similarity(queries, title)) for title, queries in r.queries.items())
    return (f"<h2>Do the queries differ?</h2>\n<p>Each window is summed up by {r.config.num_queries} output queries. "
            f"How alike they are for {escape(r.sample.name)}:</p>\n{drawn}")


def _scores(r: Result) -> str:
    found = {model: scores(answers, FAMILY_GROUPS) for model, answers in r.rows.items()}
    head, lines, families = compared(r.rows)
    groups = {model: rows[families:] for model, rows in found.items()}
    single = {model: rows[:families] for model, rows in found.items()}
    return ("<h2>Before, after, and the shipped model</h2>\n<p>The same questions about the same held-out files for all. "
            "Lines are 95 % intervals: few questions of a kind leave much open. An untrained connector may score below "
            "guessing, because what is written then is often no possible answer at all.</p>\n"
            + picture(score_bars(groups)) + table(head, lines, numbers=tuple(range(1, len(head))), rule=families)
            + picture(score_bars(single), "The same, kind by kind."))


def _mistakes(r: Result, most: int = 10) -> str:
    model, rows = list(r.rows.items())[-1]
    wrong = [row for row in rows if not row.correct]
    said = f"<h2>Where the {escape(model)} model is wrong</h2>\n"
    if not wrong:
        return said + f"<p>Nowhere, on these {len(rows)} questions.</p>"
    first = {row.family: row for row in reversed(wrong)}  # of each kind the first one
    shown = [row for row in wrong if first[row.family] is row][:most]
    shown += [row for row in wrong if row not in shown][: most - len(shown)]
    lines = [[row.question, row.predicted or "(nothing)", row.answer, row.clip] for row in shown]
    return (said + f"<p>{len(wrong)} of {len(rows)} answers are wrong, {len(lines)} of them here, kind by kind:</p>\n"
            + table(["question", "answer", "truth", "clip"], lines))


def _facts(r: Result) -> str:
    return ("<h2>How this was made</h2>\n" + table(["what", "value"], [[k, v] for k, v in r.facts.items()])
            + f"<p>To repeat it, step for step:</p>\n<pre>{escape(r.command)}</pre>")
