"""Opens the notebooks in JupyterLab in a headless browser, runs all cells and moves all widgets.

    python -m notebooks.tools.walk            # all notebooks; screenshots in build/walk
    python -m notebooks.tools.walk --only 05

It works on a copy of the notebooks. Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
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

QUIET = ("favicon", "ResizeObserver", "listings", "translations")  # JupyterLab's messages offline
RUN_ALL = "() => jupyterapp.commands.execute('notebook:run-all-cells')"
READY = "() => window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel"
BUSY = f"() => ({READY})()?.status !== 'idle'"
ERRORS = """() => jupyterapp.shell.currentWidget.content.widgets
    .filter(c => c.model.type === 'code').flatMap(c =>
        Array.from({length: c.model.outputs.length}, (_, i) => c.model.outputs.get(i).toJSON())
        .filter(o => o.output_type === 'error')
        .filter(o => !(c.model.getMetadata('tags') || []).includes('raises-exception'))
        .map(o => o.ename + ': ' + o.evalue))"""
BOXES = ".jp-OutputArea-output .widget-vbox:not(.widget-vbox .widget-vbox)"
CONTROLS = {"slider": ".noUi-handle", "choice": "select", "box": "input[type=checkbox]",
            "text": "input[type=text]"}
SETTINGS = {"notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells in the page
            "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}'}


def chromium() -> str | None:
    """The path of a Chromium browser, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def why_not() -> str:
    """What is missing to run this, or an empty text."""
    try:
        import playwright.sync_api as _  # noqa: F401
    except ImportError:
        return "Playwright is not installed. Fix: pip install playwright"
    return "" if chromium() else "Chromium is not installed. Fix: apt install chromium"


@contextmanager
def jupyterlab(root: Path):
    """The address of a JupyterLab server for `root`, with its own settings and workspaces."""
    for name, text in SETTINGS.items():
        file = root / ".settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, log = f"http://127.0.0.1:{port}", root / "jupyterlab.log"
    with open(log, "w", encoding="utf-8") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
             "--expose-app-in-browser", f"--port={port}", "--IdentityProvider.token=walk",
             f"--ServerApp.root_dir={root}", "--ServerApp.allow_remote_access=False"],
            stdout=file, stderr=file, env={
                **os.environ, **KERNEL_ENVIRONMENT,
                "JUPYTERLAB_SETTINGS_DIR": str(root / ".settings"),
                "JUPYTERLAB_WORKSPACES_DIR": str(root / ".workspaces"),
                "FAVOR_MINI_PROGRESS": str(root / "progress.json")})
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token=walk", timeout=1)
                break
            except OSError:
                if server.poll() is not None:
                    raise RuntimeError(f"JupyterLab ended; see {log}") from None
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def copied(out: Path) -> Path:
    """A copy of the notebooks, in a folder with the layout of the repository."""
    root = out / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "build").mkdir(parents=True)
    shutil.copytree(FOLDER, root / "notebooks",
                    ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (root / "data_samples").symlink_to(FOLDER.parent / "data_samples")
    return root


def walk(only: str = "", out="build/walk", seconds: float = 900) -> list[str]:
    """Run each notebook and move every widget; returns all faults. Screenshots go to `out`.

    Args:
        only: how names begin. seconds: limit for one step, such as running all cells.
    """
    from playwright.sync_api import sync_playwright

    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    faults = []
    with jupyterlab(copied(out)) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for source in sources(FOLDER, only):
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            lines: list[str] = []
            page.on("pageerror", lambda error, lines=lines: lines.append(f"page error: {error}"))
            page.on("console", lambda message, lines=lines: lines.append(
                f"{message.type} in the console: {message.text}"))
            start = time.perf_counter()
            place = f"{address}/lab/tree/notebooks/{source.stem}.ipynb?token=walk&reset"
            moved, found = _visit(page, place, out / source.stem[:2], seconds)
            found += [line for line in lines if line.startswith(("page error", "error"))
                      and not any(word in line for word in QUIET)]
            print(f"{source.stem}: {moved} widgets moved, {time.perf_counter() - start:.0f} s, "
                  f"{len(found)} faults", flush=True)
            faults += [f"{source.stem}: {line}" for line in found]
            page.close()
        browser.close()
    return faults


def _visit(page, address: str, pictures: Path, seconds: float) -> tuple[int, list[str]]:
    """One notebook: how many widgets were moved, and the faults."""
    pictures.mkdir(parents=True, exist_ok=True)
    page.set_default_timeout(1000 * seconds)
    page.goto(address)
    page.wait_for_function(READY)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    if page.locator(".jp-Dialog").count():
        page.keyboard.press("Enter")
    page.evaluate(RUN_ALL)
    _wait(page)
    page.screenshot(path=pictures / "top.png")
    faults = [f"a cell failed: {error}" for error in page.evaluate(ERRORS)]
    moved = 0
    for number in range(page.locator(BOXES).count()):
        box = page.locator(BOXES).nth(number)
        box.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        page.screenshot(path=pictures / f"widget_{number}.png")
        shown = box.locator(".widget-html").last
        for kind, where in CONTROLS.items():
            for control in box.locator(where).all():
                if not control.is_visible():
                    continue
                before = shown.inner_html()
                _move(control, kind)
                _wait(page)
                moved += 1
                if shown.inner_html() == before:
                    faults.append(f"widget {number + 1}: its {kind} changes nothing")
        text = box.inner_text()
        if "Error" in text:
            faults.append(f"widget {number + 1} shows an error: {text[:200]}")
        page.screenshot(path=pictures / f"widget_{number}_moved.png")
    return moved, faults


def _move(control, kind: str) -> None:
    if kind == "slider":
        control.focus()
        least, most, now = (float(control.get_attribute(f"aria-value{part}"))
                            for part in ("min", "max", "now"))
        for _ in range(2):
            control.press("ArrowRight" if now < (least + most) / 2 else "ArrowLeft")
    elif kind == "choice":
        values = control.locator("option").all_inner_texts()
        place = values.index(control.locator("option:checked").inner_text())
        control.select_option(index=(place + 1) % len(values))
    elif kind == "text":
        control.fill(control.input_value().rsplit(" ", 1)[0])
        control.press("Enter")
    else:
        control.click()


def _wait(page) -> None:
    """Wait until the kernel has been idle for 0.6 s."""
    quiet = 0
    while quiet < 3:
        page.wait_for_timeout(200)
        quiet = 0 if page.evaluate(BUSY) else quiet + 1


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 0, 1 where there were faults, or 2 where a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.tools.walk",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", metavar="NN", help="how names begin")
    parser.add_argument("--out", default="build/walk", metavar="DIR",
                        help="the folder for screenshots (build/walk)")
    options = parser.parse_args(arguments)
    if missing := why_not():
        print(missing, file=sys.stderr)
        return 2
    faults = walk(options.only, options.out)
    print("\n".join(faults) or "no faults")
    return min(1, len(faults))


if __name__ == "__main__":
    sys.exit(main())
