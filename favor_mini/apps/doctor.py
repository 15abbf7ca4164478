"""Check this machine: [OK], [WARN] or [FAIL] for each thing that favor-mini needs, and a fix.

Every check runs on its own: one that fails or crashes hides no other.
"""

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of a checkout, with pyproject.toml and requirements.lock
# Libraries that are imported by another name.
MODULES = {"Pillow": "PIL", "decord2": "decord", "import-linter": "importlinter",
           "Jinja2": "jinja2"}
INSTALL = "run `make setup`, or `pip install -r requirements.lock` in this environment"


@dataclass(frozen=True)
class Finding:
    """`status` is "OK", "WARN" or "FAIL"; `fix` says what to do about the latter two."""

    status: str
    text: str
    fix: str = ""


Check = Callable[[], Finding]


def examine(checkpoint=None, quick: bool = False, wait_policy: str | None = None) -> int:
    """Print a line for each check; returns 1 if any failed, else 0.

    Args:
        wait_policy: the environment's OMP_WAIT_POLICY before a command set it.
    """
    failed = 0
    for name, check in checks(checkpoint, quick, wait_policy):
        finding = attempt(check)
        failed += finding.status == "FAIL"
        print(f"{f'[{finding.status}]':<7} {name:<14} {finding.text}", flush=True)
        if finding.fix and finding.status != "OK":
            print(f"{'':<22} -> {finding.fix}", flush=True)
    print(f"\n{failed} of the checks failed; fix them in this order." if failed else
          "\nNo check failed.")
    return int(failed > 0)


def attempt(check: Check) -> Finding:
    """Run a check; an exception is a finding, too."""
    try:
        return check()
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        return Finding("FAIL", f"{type(error).__name__}: {text}", INSTALL)


def checks(checkpoint=None, quick: bool = False, wait_policy: str | None = None
           ) -> Iterator[tuple[str, Check]]:
    """The checks by name, in the order in which they should be fixed."""
    yield "python", check_python
    for requirement in requirements():
        yield requirement.name, partial(check_library, requirement)
    if not quick:
        yield "codec PyAV", partial(check_codec, "PyAV")
        yield "codec decord", partial(check_codec, "decord")
    yield "device", check_device
    yield "threads", partial(check_threads, wait_policy)
    yield "checkpoint", partial(check_checkpoint, checkpoint, quick)
    yield "data_samples", check_samples
    yield "memory", check_memory
    yield "disk", check_disk
    yield "folders", check_folders


def requirements() -> list:
    """What pyproject.toml asks for on this machine, as `packaging` requirements."""
    from packaging.requirements import Requirement

    if (ROOT / "pyproject.toml").exists():
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = project["dependencies"]
    else:
        wanted = [r for r in metadata.requires("favor-mini") or [] if "extra ==" not in r]
    found = [Requirement(text) for text in wanted]
    return [r for r in found if r.marker is None or r.marker.evaluate()]


def tested_version(name: str) -> str | None:
    """The version in requirements.lock; None without a lock."""
    lock = ROOT / "requirements.lock"
    if not lock.exists():
        return None
    found = re.search(rf"(?im)^{re.escape(name)}==([^\s;]+)", lock.read_text(encoding="utf-8"))
    return found and found[1]


def check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    fine = sys.version_info >= (3, 11)
    return Finding("OK" if fine else "FAIL", text,
                   "install Python 3.11 or newer, then `make PYTHON=python3.11 setup`")


def check_library(requirement) -> Finding:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding("FAIL", f"not installed, wanted {requirement}", INSTALL)
    importlib.import_module(MODULES.get(requirement.name, requirement.name))
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding("FAIL", f"{version}, wanted {requirement.specifier}", INSTALL)
    tested = tested_version(requirement.name)
    differs = tested is not None and tested != version.split("+")[0]  # torch's builds: 2.13.0+cpu
    return Finding("OK", f"{version} (tested with {tested})" if differs else version)


_WRITE = """
import numpy as np, sys
from favor_mini.world.video import write_video
pictures = [np.full((64, 64, 3), 8 * i, np.uint8) for i in range(24)]
write_video(sys.argv[1], pictures, 24, np.sin(np.arange(16000) / 8).astype(np.float32) / 2, 16000)
"""
_READ = {"PyAV": _WRITE + """
import av
with av.open(sys.argv[1]) as file:
    read = list(file.decode())
pictures = sum(isinstance(f, av.VideoFrame) for f in read)
heard = sum(f.samples for f in read if isinstance(f, av.AudioFrame))
assert pictures == 24 and heard >= 48000, f"read {pictures} of 24 frames, {heard} of 48000 samples"
""", "decord": _WRITE + """
import decord
pictures = decord.VideoReader(sys.argv[1])
assert len(pictures) == 24, f"decord read {len(pictures)} of 24 frames"
assert abs(int(pictures[20].asnumpy().mean()) - 160) < 10, "decord read another frame"
"""}


def check_codec(reader: str) -> Finding:
    """Write and read H.264 and AAC, in another process, as a broken codec may crash it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = _python("-c", _READ[reader], str(Path(folder) / "é.mp4"), seconds=120)
    if done.returncode == 0:
        return Finding("OK", f"H.264 and AAC written, read back with {reader}")
    return Finding("FAIL", f"an MP4 could not be written and read by {reader}: {_last_line(done)}",
                   "reinstall the readers: `pip install --force-reinstall --no-deps av decord` "
                   "(decord2 on Arm and macOS)")


def _python(*arguments: str, seconds: float) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True,
                          timeout=seconds, env={**os.environ, "PYTHONPATH": paths})


def _last_line(done: subprocess.CompletedProcess) -> str:
    if done.returncode < 0:
        return f"the process was killed by signal {-done.returncode}"
    text = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    return text.splitlines()[-1][:300]


def check_device() -> Finding:
    import torch

    from ..machine import has_fast_bf16

    if torch.cuda.is_available():
        memory = torch.cuda.mem_get_info()[1] / 2**30
        name = f"cuda: {torch.cuda.get_device_name()}, {memory:.0f} GiB"
    else:
        cpu = platform.processor() or platform.machine()
        name = f"cpu: {os.cpu_count()} cores ({cpu}), torch uses {torch.get_num_threads()} threads"
        if torch.backends.mps.is_available():
            name += "; favor-mini does not use mps, it trains on the CPU"
    speed = ("training is in bfloat16, which is fast here" if has_fast_bf16() else
             "training is in float32, as bfloat16 is not faster here")
    return Finding("OK", f"{name}; {speed}")


def check_threads(wait_policy: str | None) -> Finding:
    if (wait_policy or "").upper() == "PASSIVE":
        return Finding("OK", "OMP_WAIT_POLICY=PASSIVE")
    return Finding("WARN", f"OMP_WAIT_POLICY is {wait_policy or 'not set'}; favor-mini's commands "
                           "and `make` set it themselves",
                   "for scripts and notebooks `export OMP_WAIT_POLICY=PASSIVE`: without it, "
                   "waiting threads keep a core busy, and small tensors are slow")


def check_checkpoint(checkpoint=None, quick: bool = False) -> Finding:
    from ..evaluation.checkpoint import find_checkpoint

    try:
        folder = find_checkpoint(checkpoint)
    except FileNotFoundError as error:
        text, _, fix = str(error).partition(". Fix: ")
        return Finding("FAIL", text, fix)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20
    if quick:
        return Finding("OK", f"{folder}, {size:.1f} MiB (not loaded)")
    clips = sorted((_samples_folder() / "clips").glob("*.mp4")) if _samples_folder() else []
    if not clips:
        return Finding("WARN", f"{folder}, {size:.1f} MiB; there is no sample clip to test it",
                       "see data_samples")
    done = _python("-m", "favor_mini", "ask", str(clips[0]), "how many words were said?", "--json",
                   "--checkpoint", str(folder), seconds=300)
    if done.returncode:
        return Finding("FAIL", f"{folder} does not answer: {_last_line(done)}",
                       "restore it with `git checkout -- favor_mini/checkpoints`, or train it: "
                       "`favor-mini train all`")
    seconds = sum(json.loads(done.stdout)["seconds"].values())
    return Finding("OK", f"{folder}, {size:.1f} MiB, answered about {clips[0].name} in "
                         f"{seconds:.1f} s")


def _samples_folder() -> Path | None:
    from .. import data_path

    try:
        return data_path()
    except FileNotFoundError:
        return None


def check_samples() -> Finding:
    folder = _samples_folder()
    fix = ("restore them with `git checkout -- data_samples`, or delete them and run `favor-mini "
           "class setup` again")
    if folder is None:
        return Finding("FAIL", "no folder data_samples",
                       "unpack it with `favor-mini class setup DIR` and work in DIR, or set "
                       "FAVOR_MINI_DATA to such a folder")
    from ..world.samples import verify

    wrong = [line for line in verify(folder) if not line.endswith("is not listed")]
    if wrong:
        return Finding("FAIL", f"{len(wrong)} files differ: {', '.join(wrong[:3])}", fix)
    return Finding("OK", f"all files agree with SHA256SUMS, in {folder}")


def check_memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    return Finding("OK" if free >= 4 else "WARN", f"{free:.1f} GiB free",
                   "fine-tuning needs about 4 GiB: close other programs")


def check_disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("OK" if free >= 2 else "WARN", f"{free:.1f} GiB free in {Path.cwd()}",
                   "the demo and the caches of a training need about 2 GiB")


def check_folders() -> Finding:
    """Whether a learner's progress and results can be kept."""
    from ..course import learner
    from ..places import can_write
    from .settings import WORK

    try:
        progress = learner.file().parent
    except RuntimeError:  # there is no home folder
        progress = None
    lost = {fix: f"{what} in {folder or 'the home folder'}" for what, folder, fix in (
        ("progress", progress, "FAVOR_MINI_PROGRESS to a file"),
        ("results", Path(WORK).absolute(), "FAVOR_MINI_WORK to a folder"))
        if folder is None or not can_write(folder)}
    if lost:
        return Finding("WARN", f"cannot be kept: {', '.join(lost.values())}",
                       f"all else works; set {' and '.join(lost)} that can be written")
    return Finding("OK", f"progress is kept in {progress}, results in {Path(WORK).absolute()}")
