"""Build the slides of the three lectures from `docs/slides/*.md` into `build/slides`.

    python -m docs.tools.slides --reveal build/reveal --mathjax build/mathjax

A deck is Markdown with a line `---` between slides. A slide is a heading, the one thing that it
says, then its content, then `Note:` and what the speaker says. `{{ name(...) }}` calls a function
of `slide_numbers` or, for a picture, `figure("name", ...)` of `slide_figures`.
"""

import argparse
import html
import re
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from docs.tools import slide_numbers
from docs.tools.slide_figures import FIGURES, save

SOURCE = Path(__file__).parents[1] / "slides"
OUT = Path("build/slides")
NOTE, MINUTES = "\nNote: ", re.compile(r"(\d+) min\.\s")


@dataclass
class Slide:
    """A slide. title, body, notes: HTML. question: asked before the answer is shown."""

    title: str
    body: str
    notes: str
    minutes: int
    question: bool


def decks() -> list[Path]:
    """The sources, in the order of the lectures."""
    return sorted(SOURCE.glob("*.md"))


def markdown() -> MarkdownIt:
    """Markdown with tables, with formulas for MathJax."""
    def formula(text: str, options: dict) -> str:
        left, right = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
        return f"{left}{html.escape(text.strip())}{right}"

    made = MarkdownIt("commonmark", {"html": True}).enable("table")
    return made.use(dollarmath_plugin, renderer=formula, double_inline=True)


def filled(source: str, folder: str, figures: dict) -> str:
    """The text of a deck with all calls replaced by their results.

    Args:
        folder: of its pictures. figures: gets these pictures, by their file name.

    Raises:
        jinja2.UndefinedError: a name that is neither a number nor a figure.
    """
    def figure(name: str, *args, **options) -> str:
        file = f"{folder}/{len(figures) + 1:02}_{name}.png"
        drawn = figures[file] = FIGURES[name](*args, **options)
        width, height = map(round, drawn.bbox.size)
        return (f'<div><img src="{file}" width="{width}" height="{height}" '
                f'alt="{html.escape(drawn.alt_text)}"></div>')

    names = {name: value for name, value in vars(slide_numbers).items()
             if callable(value) and getattr(value, "__module__", "") == slide_numbers.__name__}
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(source).render(**names, figure=figure)


def slides(text: str) -> list[Slide]:
    """The slides of a deck whose calls are replaced.

    Raises:
        ValueError: a slide without its one heading, or without notes that begin with the minutes.
    """
    parse, found = markdown(), []
    for number, part in enumerate(re.split(r"^---$", text, flags=re.MULTILINE), 1):
        shown, _, notes = part.strip().partition(NOTE)
        heading, _, body = shown.partition("\n")
        minutes = MINUTES.match(notes)
        if not heading.startswith("# ") or re.search("^# ", body, re.MULTILINE) or not minutes:
            raise ValueError(f"slide {number} begins with {heading!r} and has the notes "
                             f"{notes[:30]!r}. Expected one heading '# ...' in the first line, and "
                             "at the end 'Note: 3 min. ...'. Fix it in docs/slides")
        title = heading.removeprefix("# ")
        found.append(Slide(parse.renderInline(title), parse.render(body), parse.render(notes),
                           int(minutes.group(1)), title.endswith("?")))
    return found


def build(out: Path, reveal: Path, mathjax: Path, only: str = "") -> None:
    """Write decks with their pictures into a folder.

    Args:
        reveal, mathjax: folders with the files of reveal.js and MathJax that the pages load.
        only: how the names of the decks begin. If empty, earlier content of the folder is removed.
    """
    if not only:
        shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(reveal, out / "reveal", dirs_exist_ok=True)
    shutil.copytree(mathjax, out / "mathjax", dirs_exist_ok=True)
    shutil.copyfile(SOURCE / "theme.css", out / "theme.css")
    page = Environment(loader=FileSystemLoader(SOURCE), trim_blocks=True).get_template(
        "deck.html.j2")
    for deck in (each for each in decks() if each.name.startswith(only)):
        figures = {}
        made = slides(filled(deck.read_text(encoding="utf-8"), deck.stem, figures))
        for file, drawn in figures.items():
            save(drawn, out / file)
        title = f"favor-mini, lecture {deck.stem.replace('_', ' ', 1).replace('_', ' ')}"
        (out / f"{deck.stem}.html").write_text(
            page.render(title=title, slides=made), encoding="utf-8")
        print(textwrap.shorten(f"{deck.stem}: {len(made)} slides, {len(figures)} pictures, "
                               f"{sum(s.minutes for s in made)} minutes", 100))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reveal", type=Path, default=Path("build/reveal"))
    parser.add_argument("--mathjax", type=Path, default=Path("build/mathjax"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", help="how the names of the decks begin")
    asked = parser.parse_args()
    build(asked.out, asked.reveal, asked.mathjax, asked.only)


if __name__ == "__main__":
    main()
