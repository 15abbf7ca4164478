"""Check the built slides: nothing from another host, no slide that is too full, no small text.

    python -m docs.tools.slides_check build/slides
    python -m docs.tools.slides_check build/slides --pictures build/slides-pictures

The first part reads the pages. The second opens them in Chromium, measures every slide, counts the
requests, and prints each deck to a PDF file; it is left out where Chromium is missing.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from docs.tools import site_check
from docs.tools.slide_figures.stage import SMALLEST
from notebooks.tools.walk import chromium, why_not

SIZE = re.compile(r"font-size:\s*([^;}\s]+)")
PAGE = re.compile(rb"/Type /Page\b(?!s)")
LOCAL = {"file", "data", "blob"}
READY = "() => window.drawn?.then(() => document.fonts.ready).then(() => Reveal.isReady())"
# The pages of the printed deck that a slide does not fill.
UNFILLED = """() => [...document.querySelectorAll('.pdf-page')].filter(page => {
  const [a, b] = [page, page.querySelector('.sheet')].map(box => box.getBoundingClientRect());
  return ['left', 'top', 'width'].some(side => Math.abs(a[side] - b[side]) > 1);
}).length"""
PRINTED = "count => document.querySelectorAll('.pdf-page').length >= count"
# For the current slide: what leaves its box, and the pixels of its smallest text on the stage. In a
# formula, 1000 units of a letter are one em.
MEASURE = """() => {
  const slide = Reveal.getCurrentSlide(), scale = Reveal.getScale();
  const area = slide.getBoundingClientRect(), found = [], sizes = [];
  for (const box of slide.querySelectorAll('h1, .body, .body *, .number')) {
    if (box.closest('mjx-assistive-mml') || (box.closest('svg') && box.tagName !== 'svg')) continue;
    const at = box.getBoundingClientRect();
    if (at.left < area.left - 1 || at.right > area.right + 1 || at.top < area.top - 1
        || at.bottom > area.bottom + 1 || box.scrollWidth > box.clientWidth + 2 && box.clientWidth)
      found.push(`<${box.tagName.toLowerCase()}> leaves the slide`);
    if (box.tagName === 'IMG' && Math.abs(at.width / scale - box.getAttribute('width')) > 1)
      found.push(`a picture is scaled to ${Math.round(at.width / scale)} pixels`);
  }
  const body = slide.querySelector('.body');
  const parts = [...body.children].map(part => part.getBoundingClientRect());
  const high = parts.reduce((sum, at) => sum + at.height, 0) / scale + 26 * (parts.length - 1);
  if (high > body.clientHeight + 1)
    found.push(`its content has ${Math.round(high)} pixels, ${body.clientHeight} fit`);
  const texts = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const holder = texts.currentNode.parentElement;
    if (texts.currentNode.data.trim() && !holder.closest('aside, script, svg, mjx-assistive-mml'))
      sizes.push([parseFloat(getComputedStyle(holder).fontSize), texts.currentNode.data.trim()]);
  }
  for (const letter of slide.querySelectorAll('mjx-container svg :is(path, use)'))
    sizes.push([1000 * Math.abs(letter.getScreenCTM().a) / scale, 'a letter of a formula']);
  return {found, smallest: sizes.reduce((a, b) => a[0] <= b[0] ? a : b)};
}"""


def style_sheet(text: str) -> list[str]:
    """Sizes of text in a style sheet that are too small, or in units other than px."""
    return [f"font-size: {size}, expected at least {SMALLEST}px" for size in SIZE.findall(text)
            if not size.endswith("px") or float(size.removesuffix("px")) < SMALLEST]


def read(folder: Path) -> list[str]:
    """What is wrong with the files in a folder, as far as it can be read."""
    theme = (folder / "theme.css").read_text("utf-8")
    return [f"theme.css: {text}" for text in style_sheet(theme)] + site_check.check(folder)


def open_all(folder: Path, pictures: Path | None = None) -> tuple[list[str], Counter]:
    """Measure each slide in Chromium, and print each deck to PDF. Returns what is wrong, and the
    number of requests by their scheme.

    Args:
        pictures: folder for a picture of each slide.
    """
    from playwright.sync_api import sync_playwright

    found, errors, requests = [], [], Counter()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for deck in sorted(folder.glob("*.html")):
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.set_default_timeout(300_000)  # milliseconds, for a busy machine
            page.on("request", lambda asked: requests.update([urlsplit(asked.url).scheme]))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(deck.resolve().as_uri())
            page.wait_for_function(READY)
            count = page.evaluate("() => Reveal.getTotalSlides()")
            for i in range(count):
                page.evaluate("i => Reveal.slide(i)", i)
                measured = page.evaluate(MEASURE)
                size, text = measured["smallest"]
                small = [f"{size:.0f} pixels of text: {text!r}"] if size < SMALLEST - 0.5 else []
                found += [f"{deck.name}, slide {i + 1}: {each}"
                          for each in [*dict.fromkeys(measured["found"]), *small]]
                if pictures:
                    page.screenshot(path=pictures / f"{deck.stem}_{i + 1:02}.png")
            page.goto(f"{deck.resolve().as_uri()}?print-pdf")
            page.wait_for_function(PRINTED, arg=count)
            page.wait_for_function(READY)
            printed = page.pdf(path=deck.with_suffix(".pdf"), prefer_css_page_size=True,
                               print_background=True)
            if odd := page.evaluate(UNFILLED):
                found.append(f"{deck.name}: {odd} pages of the PDF have another layout")
            if (pages := len(PAGE.findall(printed))) != count:
                found.append(f"{deck.name}: the PDF has {pages} pages, expected {count}")
            page.close()
        browser.close()
    remote = [f"a request to {scheme}:" for scheme in sorted(set(requests) - LOCAL)]
    return found + errors + remote, requests


def main() -> int:
    """Print the findings; returns 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each slide")
    asked = parser.parse_args()
    found = read(asked.folder)
    if missing := why_not():
        print(f"slides are not measured, and there is no PDF: {missing}")
    else:
        measured, requests = open_all(asked.folder, asked.pictures)
        found += measured
        print(f"requests: {', '.join(f'{n} {scheme}:' for scheme, n in requests.items())}")
    print("\n".join([*found, f"{asked.folder}: {len(found)} findings"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
