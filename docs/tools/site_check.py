"""Check the built website: nothing from another host, no dead link, no picture without words.

    python -m docs.tools.site_check build/site
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": ["src"], "img": ["src"], "iframe": ["src"], "source": ["src"],
          "video": ["src", "poster"], "audio": ["src"], "embed": ["src"], "object": ["data"]}
LITERAL = {"pre", "code", "script", "style", "textarea"}  # text in them stands as it is
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
        "track", "wbr"}
REMOTE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
FORMULA = re.compile(r"\\[(\[]|\$\$|\{(?:py:\w+|doc|ref)\}")


class Page(HTMLParser):
    """What one page loads and links, and what is wrong with it."""

    def __init__(self):
        super().__init__()
        self.findings: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.pictures = 0
        self._open: list[tuple[str, bool]] = []  # the open tags; whether formulas may stand there

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(values["id"])
        loaded = [values.get(name) for name in LOADED.get(tag, [])]
        if tag == "link" and not {"canonical", "alternate"} & set(values.get("rel", "").split()):
            loaded.append(values.get("href"))
        for address in filter(None, loaded):
            if REMOTE.match(address):
                self.findings.append(f"<{tag}> loads {address}")
            self.links.append(address)
        if tag == "img":
            self.pictures += 1
            if not (values.get("alt") or "").strip():
                self.findings.append(f"no alt text: {values.get('src', '')[:80]}")
        if tag == "a":
            self.links.append(values.get("href") or "")
        self._styles(values.get("style") or "")
        if tag not in VOID:
            free = bool(self._open and self._open[-1][1])
            math = "math" in (values.get("class") or "").split()
            self._open.append((tag, free or math or tag in LITERAL))

    def handle_endtag(self, tag):
        names = [name for name, _ in self._open]
        if tag in names:
            del self._open[len(names) - 1 - names[::-1].index(tag):]

    def handle_data(self, data):
        if self._open and self._open[-1][0] == "style":
            self._styles(data)
        elif not (self._open and self._open[-1][1]) and (found := FORMULA.search(data)):
            self.findings.append(f"not rendered: {data[max(0, found.start() - 20):][:60]!r}")

    def _styles(self, text: str) -> None:
        self.findings += [f"a style loads {address}" for address in IN_CSS.findall(text)]


@cache
def read(file: Path) -> Page:
    """A page of the site, parsed."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def dead_links(file: Path, page: Page) -> list[str]:
    """Links of a page to files or places that do not exist."""
    found = []
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = file.parent / unquote(parts.path) if parts.path else file
        place = unquote(parts.fragment)
        if not target.is_file():
            found.append(f"no such file: {link}")
        elif place and target.suffix == ".html" and place not in read(target).ids:
            found.append(f"no such place: {link}")
    return found


def pages(folder: Path) -> list[Path]:
    """The pages in a folder, without the theme's templates."""
    return sorted(p for p in folder.rglob("*.html") if "_static" not in p.parts)


def check(folder) -> list[str]:
    """Everything that is wrong with the pages and style sheets in a folder."""
    folder, found = Path(folder), []
    for file in pages(folder):
        name, page = file.relative_to(folder), read(file)
        found += [f"{name}: {text}" for text in [*page.findings, *dead_links(file, page)]]
    for file in sorted(folder.rglob("*.css")):
        text = file.read_text(encoding="utf-8")
        found += [f"{file.relative_to(folder)}: loads {a}" for a in IN_CSS.findall(text)]
    return found


def main() -> int:
    """Print the findings; returns 1 if there is one, or if there is no page."""
    folder = Path(sys.argv[1])
    found = check(folder)
    parsed = [read(file) for file in pages(folder)]
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print("\n".join(found + [
        f"{folder}: {len(parsed)} pages, {sum(page.pictures for page in parsed)} pictures, "
        f"{size / 1e6:.0f} MB, {len(found)} findings"]))
    return int(bool(found) or not parsed)


if __name__ == "__main__":
    sys.exit(main())
