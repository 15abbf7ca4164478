"""The website, as far as it can be checked without building it."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from docs.tools import api_pages, site, site_check
from favor_mini.classroom import release
from favor_mini.course.exercise import exercises, source

ROOT = Path(__file__).parent.parent
CONF = runpy.run_path(str(ROOT / "docs" / "site" / "conf.py"))
INDEX = (ROOT / "docs" / "site" / "index.md").read_text(encoding="utf-8")
PINS = [line for line in (ROOT / "docs" / "site" / "requirements.txt").read_text(
    encoding="utf-8").splitlines() if not line.startswith("#")]
GOOD = ("<html><body><p>Text</p><img src='a.png' alt='A'><a href='#here'>x</a><p id='here'></p>"
        "<code>\\(x\\)</code><span class='math'>\\(x\\)</span><br><a href='https://x.y/'>z</a>"
        "</body></html>")


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    site.collect(out)
    return out


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    out = tmp_path_factory.mktemp("students")
    site.collect(out, student=True)
    return out


def outputs(folder: Path) -> str:
    """The text of all cells and of their outputs in HTML and plain text."""
    texts = []
    for file in sorted(folder.glob("notebooks/*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            texts += cell["source"] if cell["cell_type"] == "markdown" else []
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                texts += [*data.get("text/html", ""), *data.get("text/plain", ""),
                          *output.get("text", "")]
    return "".join(texts)


def test_nothing_is_executed_or_loaded_from_elsewhere():
    assert CONF["nb_execution_mode"] == "off" and CONF["nb_ipywidgets_js"] == {}
    assert "//" not in CONF["mathjax_path"]
    assert not [name for name, value in CONF.items() if not name.startswith("__")
                and re.search("https?:", str(value))]


def test_the_contents_have_every_page_once(collected):
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", INDEX, re.DOTALL)
    entries = [line.rpartition("<")[2].rstrip(">") for block in blocks
               for line in block.split("\n") if line and not line.startswith(":")]
    pages = {p.relative_to(collected).with_suffix("").as_posix() for p in collected.rglob("*")
             if p.suffix in (".md", ".ipynb")} - {"index", "README"}
    assert len(entries) == len(set(entries)) and set(entries) == pages | {"api/index"}
    notebooks = [e for e in entries if re.match(r"notebooks/\d\d_", e)]
    assert len(notebooks) == 13 and notebooks == sorted(notebooks)
    assert {f"docs/{p.stem}" for p in (ROOT / "docs").glob("*.md")} <= set(entries)


def test_the_environment_is_pinned_within_its_bounds_and_names_no_place():
    pins = {canonicalize_name(Requirement(line).name): Requirement(line) for line in PINS}
    assert len(pins) == len(PINS)
    for pin in pins.values():
        assert [each.operator for each in pin.specifier] == ["=="] and not pin.url, pin
    assert not re.search(r"//|@|/\w", "\n".join(PINS))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for wanted in map(Requirement, project["optional-dependencies"]["site"]):
        (pin,) = pins[canonicalize_name(wanted.name)].specifier
        assert Version(pin.version) in wanted.specifier
        assert {"<"} < {each.operator for each in wanted.specifier}


def test_the_folds_are_those_of_the_hand_outs():
    assert site.ANSWER.pattern == release.ANSWER.pattern
    assert site.ANSWER.flags == release.ANSWER.flags


def test_students_see_no_solution_and_no_answer_of_a_quiz(collected, students):
    full, cut = outputs(collected), outputs(students)
    for mark, least in (("The package's answer:", 60), ("<summary>Answer</summary>", 60)):
        assert full.count(mark) >= least and mark not in cut
    hints = "<summary>Hint 2</summary>"
    assert full.count(hints) == cut.count(hints) == len(exercises())
    assert "<summary>" in cut and len(cut) > 0.5 * len(full)


def test_students_get_no_source_text_of_an_answer(students):
    text = "".join(p.read_text(encoding="utf-8") for p in students.rglob("*")
                   if p.suffix in (".md", ".rst"))
    text += outputs(students)
    for name, each in exercises().items():
        last = source(each.answer).strip().split("\n")[-1].strip()
        assert len(last) < 25 or last not in text, name  # shorter ones stand in other code, too


def test_links_to_source_files_lead_to_the_reference(collected):
    readme = (collected / "README.md").read_text(encoding="utf-8")
    assert "](api/sync.rst)" in readme and ".py)" not in readme
    page = (collected / "notebooks" / "paper_to_code.md").read_text(encoding="utf-8")
    assert "{py:obj}`synchronise <favor_mini.sync.synchronise>`" in page
    assert "`favor_mini" not in page
    assert "../docs/glossary.md'" not in outputs(collected)


def test_links_between_pages_lead_to_a_file_of_the_site(collected):
    """Sphinx finds the others, but only `make site` runs it."""
    for file in collected.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
            generated = (collected / "api").resolve() in (file.parent / link).resolve().parents
            assert generated or (file.parent / link).is_file(), (file.name, link)


def test_the_reference_has_the_mechanism_from_its_docstrings(tmp_path):
    assert {"favor_mini.sync.synchronise", "favor_mini.qformer.CausalQFormer.forward",
            "favor_mini.model.FavorForConditionalGeneration"} <= set(api_pages.known_names())
    pytest.importorskip("sphinx", reason="only the website's environment has Sphinx")
    api_pages.write(tmp_path / "api")
    page = (tmp_path / "api" / "sync.rst").read_text(encoding="utf-8")
    assert ".. py:function:: synchronise(visual: Tensor, audio: Tensor, *, audio_tokens" in page
    assert "   :param visual: (B, T_v, V, D_v)" in page and "F.pad" not in page


def test_code_blocks_keep_their_names():
    names = {"favor_mini.sync": "sync", "favor_mini.sync.trim": "sync"}
    text = "`favor_mini.sync`\n```\n`favor_mini.sync`\n```\n`favor_mini.none`"
    assert site.text_page(text, "a/b.md", names) == text.replace(
        "`favor_mini.sync`", "{py:obj}`sync <favor_mini.sync>`", 1)
    assert site.text_page("`favor_mini.sync.trim`", "a.md", names) == (
        "{py:obj}`trim <favor_mini.sync.trim>`")


@pytest.mark.parametrize(("old", "new", "finding"), [
    ("<p>Text", "<script src='https://x.y/z.js'></script><p>", "<script> loads"),
    ("<p>Text", "<link rel='stylesheet' href='//x.y/z.css'><p>", "<link> loads"),
    ("a.png' ", "https://x.y/a.png' ", "<img> loads"),
    ("<p>Text", "<style>@import 'https://x.y/z.css';</style><p>", "a style loads"),
    ("<p>Text", "<p style='background: url(http://x.y/z.png)'>", "a style loads"),
    ("<p>Text", "<p>\\(x\\)", "not rendered"), ("<p>Text", "<p>$$x$$", "not rendered"),
    ("<p>Text", "<p>{py:obj}", "not rendered"), ("alt='A'", "", "no alt text"),
    ("alt='A'", "alt=' '", "no alt text"), ("'#here'", "'#there'", "no such place"),
    ("'#here'", "'01_streams.ipynb'", "no such file"), ("'a.png'", "'b.png'", "no such file")])
def test_the_check_of_the_built_pages_finds(tmp_path, old, new, finding):
    (tmp_path / "a.png").touch()
    (tmp_path / "good.html").write_text(GOOD, encoding="utf-8")
    assert site_check.check(tmp_path) == []
    assert old in GOOD
    (tmp_path / "page.html").write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    (found,) = site_check.check(tmp_path)
    assert found.startswith("page.html: ") and finding in found


def test_the_check_reads_style_sheets(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url('https://x.y/f.woff2') }")
    assert site_check.check(tmp_path) == ["a.css: loads https://x.y/f.woff2"]
