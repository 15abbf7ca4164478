"""The files around the code: three descriptions of one environment, and no trace of a machine."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
LOCK_LINES = [line for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
              if line and not line.startswith("#")]
LOCK = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LOCK_LINES}
# The website has an environment of its own, see test_site.py.
EXTRAS = {name: extra for name, extra in PROJECT["project"]["optional-dependencies"].items()
          if name != "site"}
DECLARED = [Requirement(text) for text in [*PROJECT["project"]["dependencies"],
            *(text for extra in EXTRAS.values() for text in extra)]]
TOP_LEVEL = {
    ".ci", ".devcontainer", ".gitattributes", ".github", ".gitignore", "CHANGELOG.md",
    "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile",
    "README.md", "data_samples", "deploy", "docs", "environment.yml", "favor_mini", "notebooks",
    "pyproject.toml", "requirements.lock", "tests",
}
MACHINES = {  # what a marker sees there -> the decord that has a wheel for it
    ("linux", "x86_64"): "decord", ("win32", "AMD64"): "decord", ("linux", "aarch64"): "decord2",
    ("darwin", "arm64"): "decord2",
}


def pinned(name: str) -> Version:
    (specifier,) = LOCK[canonicalize_name(name)].specifier
    return Version(specifier.version)


def chosen(requirements, sys_platform: str, machine: str) -> list[str]:
    """The decords among `requirements` that pip would install on a machine."""
    system = {"linux": "Linux", "win32": "Windows", "darwin": "Darwin"}[sys_platform]
    place = {"sys_platform": sys_platform, "platform_machine": machine, "platform_system": system}
    return [each.name for each in requirements
            if each.name.startswith("decord")
            and (each.marker is None or each.marker.evaluate(place))]


def git_files() -> list[str]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True,
                           check=False)
    if found.returncode:
        pytest.skip("not a git checkout: what is committed can't be listed")
    return [name for name in found.stdout.split("\0") if name]


def test_the_lock_pins_each_name_once_and_names_no_place():
    assert len(LOCK) == len(LOCK_LINES)
    for requirement in LOCK.values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        # No place, no one build.
        assert not requirement.url and "+" not in str(requirement.specifier), requirement
    assert not [name for name in LOCK if name.startswith(("nvidia", "triton", "cuda"))]


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda requirement: requirement.name)
def test_every_dependency_is_locked_within_its_bounds(requirement):
    assert requirement.specifier.contains(pinned(requirement.name))


def test_every_machine_gets_the_decord_that_has_a_wheel():
    for machine, name in MACHINES.items():
        assert chosen(DECLARED, *machine) == [name]
        assert chosen(LOCK.values(), *machine) == [name]


def test_conda_describes_the_same_environment():
    (pip,) = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    named = dict((entry.split("=") + [""])[:2] for entry in CONDA["dependencies"]
                 if isinstance(entry, str))
    assert pip == ["-r requirements.lock", f"-e .[{','.join(EXTRAS)}]"]
    # All else comes from the lock, in one version.
    assert set(named) == {"python", "pip", "pytorch-cpu"}
    assert Version(named["pytorch-cpu"]) == pinned("torch")
    python = Requirement("python" + PROJECT["project"]["requires-python"])
    assert Version(named["python"]) in python.specifier


def test_importing_the_package_imports_nothing_heavy():
    heavy = ["torch", "transformers", "librosa", "numpy", "seaborn", "av", "decord"]
    code = f"import favor_mini, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                           check=True)
    assert found.stdout.strip() == "[]"


def test_the_version_is_one():
    import favor_mini

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == favor_mini.__version__
    assert citation["license"] == PROJECT["project"]["license"] == "Apache-2.0"


def test_the_top_level_stays_as_it_is():
    assert {name.split("/")[0] for name in git_files()} <= TOP_LEVEL


def test_every_system_can_check_the_files_out():
    """No two names that differ in case alone, none that Windows refuses; text keeps its ends of
    lines, on which checksums and cache keys depend."""
    names = [name for name in git_files() if not name.startswith("tests/")]
    assert len({name.lower() for name in git_files()}) == len(git_files())
    parts = {part for name in names for part in name.split("/")}
    reserved = re.compile(r'(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[<>:"|?*\\].*|.*[. ]')
    assert reserved.fullmatch("aux.py") and reserved.fullmatch("a:b") and reserved.fullmatch("a.")
    assert [part for part in parts if reserved.fullmatch(part)] == []
    assert max(map(len, names)) < 100  # Windows: 260 with the folder of the clone
    attributes = (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert attributes[0] == "* text=auto eol=lf"


def test_no_file_is_too_long_to_read():
    long = {name: count for name in git_files() if name.endswith(".py")
            and (count := (ROOT / name).read_text(encoding="utf-8").count("\n")) > 350
            and not {"source", "wrong_answers"} & set(name.split("/"))}
    assert not long


def test_no_committed_text_names_a_machine_or_a_registry():
    places = r"(?<![\w.~>-])/(?:work|root|home/\w+|Users/\w+|opt/\w+)/\w+"
    hosts = "|".join(re.escape(".".join(parts)) for parts in [
        ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("download", "pytorch", "org"),
        ("debian", "org"), ("conda", "anaconda", "org"), ("crates", "io"),
        ("proxy", "golang", "org")])
    pattern = re.compile(f"{places}|{hosts}")
    assert pattern.search("see /" + "work/main/x")
    assert pattern.search("https://" + "pypi" + ".org/simple")
    found = []
    for name in git_files():
        path = ROOT / name
        if not path.is_file():  # deleted in the working tree, not yet in the index
            continue
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue  # not text
        # Letters of an encoded picture spell whatever they like.
        text = re.sub(r'"image/png": "[^"]*"', "", text)
        found += [f"{name}: {match.group()}" for match in pattern.finditer(text)]
    assert not found


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml")) + [
    ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml"]


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_an_issue_form_has_what_github_wants_and_asks_for_what_is_needed(file):
    """A form with an unknown type, or without an id, is not shown at all."""
    form = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(form) == {"name", "description", "title", "labels", "body"} and len(FORMS) == 4
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in ("input", "textarea", "dropdown")
        assert field["attributes"]["label"] and set(field) <= {
            "type", "id", "attributes", "validations"}
        assert ("options" in field["attributes"]) == (field["type"] == "dropdown")
    assert len([f for f in form["body"] if f.get("validations", {}).get("required") is True]) >= 2
