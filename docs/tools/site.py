"""Collect the pages of the website in one folder, from which Sphinx builds it.

    python -m docs.tools.site [--student]

The folder has the same tree as the repository, so links between pages stay as they are. What
changes: links to source files lead to the reference, and with `--student`, answers are cut out.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from docs.tools import api_pages

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "build" / "site-source"
PAGES = ("README.md", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/*.png",
         "docs/teaching/*.md", "docs/teaching/*.py", "notebooks/*.ipynb", "notebooks/README.md",
         "notebooks/images/*", "data_samples/README.md", "favor_mini/checkpoints/*/README.md")
PLACES = {"docs/site/index.md": "index.md",
          "docs/site/paper_to_code.md": "notebooks/paper_to_code.md"}
# As in favor_mini.classroom.release, which needs torch; the site's environment has none.
ANSWER = re.compile(r"\n*<details><summary>Answer</summary>.*?</details>", re.DOTALL)
SOLUTION = re.compile(r"<details[^>]*><summary>The package's answer:.*?</details>", re.DOTALL)
SHOWN = "from favor_mini.course.exercise import source"  # a cell that prints a solution
NAMED = re.compile(r"```.*?```|`(favor_mini\.[\w.]+)`", re.DOTALL)
FILE = re.compile(r"\]\((?:\.\./)*favor_mini/(\w+)\.py\)")
GLOSSARY = re.compile(r"(href='\.\./docs/\w+)\.md'")


def collect(out: Path = SOURCE, student: bool = False) -> None:
    """Write all pages but the reference into the folder `out`, whose earlier content is lost.

    Args:
        student: without the solutions on the cards, and without the answers of the quizzes.
    """
    shutil.rmtree(out, ignore_errors=True)
    files = {p.relative_to(ROOT).as_posix(): None for each in PAGES for p in ROOT.glob(each)}
    names = api_pages.known_names()
    for name, place in {**{f: f for f in files}, **PLACES}.items():
        target = out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".md", ".ipynb")):
            text = (ROOT / name).read_text(encoding="utf-8")
            text = (notebook_page(text, student) if name.endswith(".ipynb")
                    else text_page(text, place, names))
            target.write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(ROOT / name, target)


def text_page(text: str, place: str, names: dict[str, str]) -> str:
    """A Markdown page whose names of functions and of source files lead to the reference.

    Args:
        place: of the page in the site. names: of `api_pages.known_names`.
    """
    def link(match: re.Match) -> str:
        name = match.group(1)
        if name not in names:
            return match.group()
        short = name.removeprefix(f"favor_mini.{names[name]}.").removeprefix("favor_mini.")
        return f"{{py:obj}}`{short} <{name}>`"

    up = "../" * place.count("/")
    text = FILE.sub(lambda m: f"]({up}api/{m.group(1)}.rst)"
                    if f"favor_mini.{m.group(1)}" in names else m.group(), text)
    return NAMED.sub(link, text)


def notebook_page(text: str, student: bool) -> str:
    """A notebook whose pictures have their descriptions where Sphinx looks for them."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if student and cell["cell_type"] == "markdown":
            cell["source"] = ANSWER.sub("", source)
        if student and SHOWN in source:
            cell["outputs"] = []
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": alt}
            if html := "".join(output.get("data", {}).get("text/html", "")):
                html = SOLUTION.sub("", html) if student else html
                output["data"]["text/html"] = GLOSSARY.sub(r"\1.html'", html)
    return json.dumps(notebook, ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--student", action="store_true", help="without solutions and answers")
    collect(student=parser.parse_args().student)
    api_pages.write(SOURCE / "api")


if __name__ == "__main__":
    main()
