"""The slides: one claim each, notes, numbers from results, large text, nothing from elsewhere."""

import re
from pathlib import Path

import pytest

from docs.tools import slide_numbers, slides, slides_check
from docs.tools.slide_figures import FIGURES, stage
from favor_mini.lab.claims import claims
from favor_mini.lab.gym.studies import shipped_study
from notebooks.tools.walk import why_not

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
NAMES = [deck.stem for deck in slides.decks()]
SHOW = re.compile(r"Show: notebook (\d\d), <em>(.+?)</em>\.")
LIMITS = {"slides": range(18, 27), "minutes": range(60, 91)}


@pytest.fixture(scope="module")
def drawn():
    """A stand-in for every picture: its size and its description."""
    with stage.mpl.rc_context(stage.LARGE):
        figure, _ = stage.sheet("A picture.", 50, 100)
    return dict.fromkeys(FIGURES, lambda *args, **options: figure)


@pytest.fixture(scope="module", params=NAMES)
def deck(request, drawn):
    """The name of a deck, its slides with all numbers, and its pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides, "FIGURES", drawn)
        source, pictures = (slides.SOURCE / f"{request.param}.md").read_text("utf-8"), {}
        return request.param, slides.slides(slides.filled(source, "x", pictures)), pictures


def test_there_are_three_lectures():
    assert [name[0] for name in NAMES] == ["1", "2", "3"]


def test_a_deck_opens_with_a_question_asks_more_and_ends_with_bounds_and_exercises(deck):
    _, found, pictures = deck
    asked = [i for i, slide in enumerate(found) if slide.question]
    assert asked[0] == 0 and len(asked) >= 3 and len(pictures) >= 9
    assert not any(found[i + 1].question for i in asked)  # each has its answer
    assert "verdict" in found[-2].body.lower() and found[-1].title.startswith("Next: ")
    assert len(found) in LIMITS["slides"]
    assert sum(slide.minutes for slide in found) in LIMITS["minutes"]


def test_a_slide_has_one_short_claim_notes_and_little_text(deck):
    for slide in deck[1]:
        assert slide.title and len(re.sub("<.*?>", "", slide.title)) < 90, slide.title
        shown = re.sub(r"<.*?>|\\\[.*?\\\]", " ", slide.body, flags=re.DOTALL).split()
        assert len(shown) <= 60, (slide.title, len(shown))
        assert len(slide.notes.split()) > 20, slide.title
        assert "{" not in re.sub(r"\\[\[(].*?\\[\])]", "", slide.title + slide.body + slide.notes,
                                 flags=re.DOTALL)
        assert not re.search("bound method|Series|nan", slide.body + slide.notes), slide.title
        assert slide.body.count("<pre>") <= 1 and slide.body.count("\n") < 40


def test_the_notes_name_places_that_exist(deck):
    places = [place for slide in deck[1] for place in SHOW.findall(slide.notes)]
    assert len(places) >= 8
    for number, heading in places:
        (source,) = (ROOT / "notebooks" / "source").glob(f"{number}_*.py")
        assert re.search(f"^# ###? {re.escape(heading)}$", source.read_text("utf-8"),
                         re.MULTILINE), (number, heading)
    shows = sum(slide.notes.count("Show: ") for slide in deck[1])
    assert shows == len(places)


def test_titles_agree_with_the_results():
    """Titles and notes state some results in words; these are the numbers behind them."""
    rows = shipped_study("sync").differences
    assert (rows.significant & (rows.difference < 0)).all()
    for arm in ("sync=interleave", "sync=append"):
        assert slide_numbers.steps("sync", arm, tokens=1, frames=8) == "> 350"
        assert not slide_numbers.significant("model", "sync", arm, questions="both modalities")
    assert int(slide_numbers.steps("sync", "sync=concat", tokens=1, frames=8)) < 350
    few = {"num_queries": 2, "layers": 1}
    assert slide_numbers.significant("gym", "attention", "attention=none", **few) == "worse"
    assert slide_numbers.significant("gym", "attention", "attention=full", **few) == "better"
    rows = shipped_study("diversity").differences
    assert (rows.difference > 0).all() and rows.significant.sum() == 5 and len(rows) == 6
    fast = {"lr": 6e-3, "num_queries": 16}
    assert slide_numbers.significant("gym", "weights", "diversity_weight=0.3", **fast) == "better"
    perfect = slide_numbers.task("ocr")
    assert perfect["count"] == 19 and perfect.value == 1
    for part in ("causal attention", "causal, not full, attention"):  # the tests disagree
        assert "shown" in slide_numbers.verdict(part) and "contra" in slide_numbers.verdict(part)
    assert all("shown in" in verdict for verdict in claims().verdict[:5])  # each part, somewhere
    everywhere = "shown in the gym, films, the whole model"
    assert [*claims()[claims().verdict == everywhere].part] == ["sliding windows"]
    assert not slide_numbers.significant("model", "signatures", "diversity_weight=0.0")
    assert slide_numbers.reached("recipes", "recipe=ask") < slide_numbers.reached(
        "recipes", "recipe=align")
    assert round(slide_numbers.share_trained(), 2) == 0.01


def test_numbers_are_those_of_the_files():
    assert slide_numbers.final("sync", "sync=concat", tokens=1, frames=8) == "93 %"
    assert slide_numbers.windows(120) == 24 and slide_numbers.grouped(7680) == "7{,}680"
    assert slide_numbers.interval(19, 19) == "83 % to 100 %"
    assert slide_numbers.card("mini", "all") == "95 %"
    with pytest.raises(ValueError, match="found 0 rows"):
        slide_numbers.final("sync", "sync=other", tokens=1, frames=8)
    with pytest.raises(ValueError, match="found 4 rows"):
        slide_numbers.gym("sync", "sync=append")


@pytest.mark.parametrize("text", [
    "no heading\n\nNote: 3 min. Say it.", "# A\n\n# B\n\nNote: 3 min. x", "# A",
    "# A\n\nNote: without minutes"])
def test_a_slide_without_its_parts_is_refused(text):
    assert len(slides.slides("# A\n\n$x$\n\nNote: 3 min. Say it.")) == 1
    with pytest.raises(ValueError, match="slide 2 begins with"):
        slides.slides(f"# First\n\nNote: 1 min. x\n\n---\n\n{text}")


def test_formulas_reach_mathjax_unchanged():
    (slide,) = slides.slides("# A\n\nThe $a_1 < b_2$ *here*.\n\n$$\nx_1\n$$\n\nNote: 1 min. x")
    assert r"\(a_1 &lt; b_2\)" in slide.body and r"\[x_1\]" in slide.body
    assert "<em>here</em>" in slide.body


@pytest.mark.parametrize(("place", "size", "finding"), [
    ((50, 25), 30, "has 30 pixels"), ((95, 25), 40, "leaves the picture")])
def test_a_picture_with_small_or_cut_text_is_refused(place, size, finding):
    @stage.slide
    def picture(place, size):
        figure, axis = stage.sheet("A word.", 60, 100)
        stage.label(axis, *place, "ab", fontsize=size)
        return figure

    assert picture((50, 25), 40).alt_text == "A word."
    with pytest.raises(ValueError, match=finding):
        picture(place, size)


def test_the_style_sheet_has_no_small_text():
    theme = (slides.SOURCE / "theme.css").read_text("utf-8")
    assert theme.count("font-size") >= 6 and slides_check.style_sheet(theme) == []
    for size in ("39px", "1.5em", "80%"):
        (found,) = slides_check.style_sheet(theme + f"p {{ font-size: {size}; }}")
        assert size in found


@pytest.fixture
def built(tmp_path, drawn, monkeypatch):
    """A deck of two slides, with files that stand for reveal.js and MathJax if there are none."""
    source = tmp_path / "source"
    source.mkdir()
    for file in ("theme.css", "deck.html.j2"):
        (source / file).write_text((slides.SOURCE / file).read_text("utf-8"), "utf-8")
    (source / "1_test.md").write_text(
        "# A claim\n\n{{ figure('pipeline') }}\n\nText $x_1$.\n\nNote: 1 min. x\n\n---\n\n"
        "# Another?\n\n1. Yes\n\nNote: 1 min. x\n", "utf-8")
    monkeypatch.setattr(slides, "SOURCE", source)
    monkeypatch.setattr(slides, "FIGURES", drawn)
    parts = {}
    for name, files in {"reveal": ("reveal.js", "reveal.css", "plugin/notes.js"),
                        "mathjax": ("tex-svg.js",)}.items():
        parts[name] = BUILD / name
        if not (BUILD / name).is_dir():
            parts[name] = tmp_path / name
            for file in files:
                (parts[name] / file).parent.mkdir(parents=True, exist_ok=True)
                (parts[name] / file).touch()
    slides.build(tmp_path / "out", **parts)
    return tmp_path / "out"


def test_the_built_pages_load_their_own_files(built):
    page = (built / "1_test.html").read_text("utf-8")
    assert slides_check.read(built) == []
    assert page.count("<section") == 2 and page.count('class="question"') == 1
    assert (built / "1_test" / "01_pipeline.png").is_file() and 'alt="A picture."' in page
    for i, (old, new) in enumerate((('src="mathjax', 'src="https://x.y'), ("01_pipe", "02_pipe"),
                                    ('alt="A picture."', "")), 1):
        assert old in page
        (built / f"other{i}.html").write_text(page.replace(old, new), "utf-8")
        assert len(slides_check.read(built)) >= i


def browser():
    """Skips where Chromium, reveal.js or MathJax is missing."""
    if missing := why_not():
        pytest.skip(missing)
    if not (BUILD / "reveal").is_dir() or not (BUILD / "mathjax").is_dir():
        pytest.skip("reveal.js is missing. Fix: make slides")


@pytest.mark.slow
def test_chromium_measures_what_is_too_large_or_too_small(built):
    browser()
    assert slides_check.open_all(built)[0] == []
    page = (built / "1_test.html").read_text("utf-8")
    for old, new, finding in (
            ("Text", "<span style='font-size: 39px'>Text</span>", "39 pixels of text: 'Text'"),
            ("Text", "<p style='min-height: 900px'>Text</p>", "its content has"),
            ("Text", "<p style='width: 1700px; max-width: none'>Text</p>", "<p> leaves the slide"),
            ('width="100"', 'width="100" style="width: 50px"', "a picture is scaled to 50"),
            ("Text", r"Text \(x_{1_2}\)", "a letter of a formula"),
            ("Text", "<img src='http://127.0.0.1:9/x.png' alt='x'>", "a request to http:")):
        (built / "1_test.html").write_text(page.replace(old, new, 1), "utf-8")
        found, _ = slides_check.open_all(built)
        assert any(finding in text for text in found), (finding, found)


@pytest.mark.slow
def test_every_slide_fits_and_is_large_and_asks_no_host(tmp_path):
    browser()
    slides.build(tmp_path, BUILD / "reveal", BUILD / "mathjax")
    found, requests = slides_check.open_all(tmp_path)
    assert slides_check.read(tmp_path) + found == []
    assert set(requests) <= slides_check.LOCAL and requests["file"] > 30
    assert [p.stem for p in sorted(tmp_path.glob("*.pdf"))] == NAMES
