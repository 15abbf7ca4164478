"""Walk through the notebooks as a learner would: JupyterLab in a browser without a window, every cell run, every widget moved.

    python -m notebooks.tools.walk            # all of them; pictures in build/walk
    python -m notebooks.tools.walk --only 05

Notebooks are copied first, so that the committed ones stay as they are. Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from notebooks.tools.build import FOLDER, KERNEL_ENVIRONMENT, sources

VIEW = {"width": 1366, "height": 768}
QUIET = ("favicon", "ResizeObserver", "listings", "translations")  # what a JupyterLab says by itself, offline
RUN_ALL = "() => jupyterapp.commands.execute('notebook:run-all-cells')"
BUSY = "() => jupyterapp.shell.currentWidget.context.sessionContext.session?.kernel?.status !== 'idle'"
ERRORS = """() => jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code').flatMap(c =>
    Array.from({length: c.model.outputs.length}, (_, i) => c.model.outputs.get(i).toJSON())
    .filter(o => o.output_type === 'error' && !(c.model.getMetadata('tags') || []).includes('raises-exception'))
    .map(o => o.ename + ': ' + o.evalue))"""


def chromium() -> str | None:
    """A Chromium to drive, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def why_not() -> str:
    """What is missing for a walk; empty where all is there."""
    try:
        import playwright.sync_api as _  # noqa: F401
    except ImportError:
        return "Playwright is not installed: pip install playwright"
    return "" if chromium() else "there is no Chromium: apt install chromium, or another system's package of that name"


@contextmanager
def jupyterlab(root: Path):
    """A JupyterLab of its own over `root`, with settings of its own; gives its address."""
    settings = root / ".settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')  # all cells stay in the page
    news = root / ".settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True, exist_ok=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, told = f"http://127.0.0.1:{port}", root / "jupyterlab.log"
    with open(told, "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", f"--port={port}",
             "--IdentityProvider.token=walk", f"--ServerApp.root_dir={root}", "--ServerApp.allow_remote_access=False"],
            stdout=log, stderr=log,
            env={**os.environ, **KERNEL_ENVIRONMENT, "JUPYTERLAB_SETTINGS_DIR": str(root / ".settings"),
                 "JUPYTERLAB_WORKSPACES_DIR": str(root / ".workspaces"),  # the learner's own opens where they left it
                 "FAVOR_MINI_PROGRESS": str(root / "progress.json")})
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token=walk", timeout=1)
                break
            except OSError:
                if server.poll() is not None:
                    raise RuntimeError(f"JupyterLab ended; see {told}") from None
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def copied(out: Path) -> Path:
    """A copy of the notebooks in a folder that looks like the repository."""
    root = out / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "build").mkdir(parents=True)
    shutil.copytree(FOLDER, root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (root / "data_samples").symlink_to(FOLDER.parent / "data_samples")
    return root


def walk(only: str = "", out="build/walk", seconds: float = 900) -> list[str]:
    """Open each notebook, run all, move every widget; returns all complaints. Pictures of what was seen go to `out`."""
    from playwright.sync_api import sync_playwright

    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    complaints = []
    with jupyterlab(copied(out)) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for source in sources(FOLDER, only):
            page = browser.new_page(viewport=VIEW)
            said: list[str] = []
            page.on("pageerror", lambda error, said=said: said.append(f"error in the page: {error}"))
            page.on("console", lambda message, said=said: said.append(f"console: {message.text}") if message.type == "error" else None)
            start = time.perf_counter()
            place = f"{address}/lab/tree/notebooks/{source.stem}.ipynb?token=walk&reset"
            moved, found = _visit(page, place, out / source.stem[:2], seconds)
            found += [line for line in said if not any(word in line for word in QUIET)]
            print(f"{source.stem}: {moved} widgets moved, {time.perf_counter() - start:.0f} s, {len(found)} complaints", flush=True)
            complaints += [f"{source.stem}: {line}" for line in found]
            page.close()
        browser.close()
    return complaints


def _visit(page, address: str, pictures: Path, seconds: float) -> tuple[int, list[str]]:
    """One notebook: how many widgets were moved, and what was wrong."""
    pictures.mkdir(parents=True, exist_ok=True)
    page.set_default_timeout(1000 * seconds)
    page.goto(address)
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    if page.locator(".jp-Dialog").count():
        page.keyboard.press("Enter")
    page.evaluate(RUN_ALL)
    _settle(page)
    page.screenshot(path=pictures / "top.png")
    found = [f"a cell failed: {error}" for error in page.evaluate(ERRORS)]
    moved = 0
    for number in range(page.locator(".jp-OutputArea-output .widget-vbox:not(.widget-vbox .widget-vbox)").count()):
        box = page.locator(".jp-OutputArea-output .widget-vbox:not(.widget-vbox .widget-vbox)").nth(number)
        box.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        page.screenshot(path=pictures / f"widget_{number}.png")
        for kind, control in _controls(box):
            before = box.locator(".widget-html").last.inner_html()
            _move(control, kind)
            _settle(page)
            moved += 1
            if box.locator(".widget-html").last.inner_html() == before:
                found.append(f"widget {number + 1}: nothing changes with its {kind}")
        text = box.inner_text()
        if "Error" in text:
            found.append(f"widget {number + 1} shows an error: {text[:200]}")
        page.screenshot(path=pictures / f"widget_{number}_moved.png")
    return moved, found


def _controls(box) -> list[tuple[str, object]]:
    """A widget's controls, with what they are."""
    kinds = {"slider": ".noUi-handle", "choice": "select", "box": "input[type=checkbox]", "text": "input[type=text]"}
    return [(kind, each) for kind, where in kinds.items() for each in box.locator(where).all() if each.is_visible()]


def _move(control, kind: str) -> None:
    if kind == "slider":
        control.focus()
        least, most, now = (float(control.get_attribute(f"aria-value{part}")) for part in ("min", "max", "now"))
        for _ in range(2):
            control.press("ArrowRight" if now < (least + most) / 2 else "ArrowLeft")
    elif kind == "choice":
        values = control.locator("option").all_inner_texts()
        control.select_option(index=(values.index(control.locator("option:checked").inner_text()) + 1) % len(values))
    elif kind == "text":
        control.fill(control.input_value().rsplit(" ", 1)[0])
        control.press("Enter")
    else:
        control.click()


def _settle(page) -> None:
    """Wait until the kernel has been idle for a moment."""
    quiet = 0
    while quiet < 3:
        page.wait_for_timeout(200)
        quiet = 0 if page.evaluate(BUSY) else quiet + 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m notebooks.tools.walk", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", metavar="NN", help="only the notebooks whose names begin so")
    parser.add_argument("--out", default="build/walk", metavar="DIR", help="where pictures go (build/walk)")
    options = parser.parse_args(arguments)
    if missing := why_not():
        print(missing, file=sys.stderr)
        return 2
    complaints = walk(options.only, options.out)
    print(json.dumps(complaints, indent=1) if complaints else "nothing to complain about")
    return min(1, len(complaints))


if __name__ == "__main__":
    sys.exit(main())
