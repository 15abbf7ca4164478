"""A run of a comparison is kept under a key: which edits change it, and which do not."""

import shutil
import sys
import types

import pytest
from test_registry import scratch  # noqa: F401 (a fixture)

from favor_mini import checkpoint_path, keys, registry
from favor_mini.lab import run as run_module
from favor_mini.lab.plan import Plan
from favor_mini.lab.run import run_folder

QUICK = {"seeds": 1, "steps": 3, "clips": 8, "batch": 2, "scenes": 2, "questions": 4}


CELLS = {
    "imports": "from torch import nn\nfrom favor_mini.registry import register",
    "limit": "REACH = 2",
    "helper": "def near(apart):\n    return apart <= REACH",
    "base": """class Base(nn.Module):
    factor = 1
    def forward(self, x):
        return self.factor * x""",
    "values": "scale = 1.5",
    "maker": "def closed(value):\n    def inner(*_, **__):\n        return value\n    return inner",
    "call": "inner = register('windows', 'inner')(closed(1))",
    "part": """@register("connector", "mine")
class Part(Base):
    span = 3
    def __init__(self, reach=REACH):
        super().__init__()
        self.apart = [near(i) for i in range(self.span)]
    @property
    def scaled(self):
        return scale""",
    "idle": "def idle():\n    return 0",
    "failed": "def near(:",
}


@pytest.fixture
def notebook(scratch, monkeypatch):  # noqa: F811
    """Runs the cells, some of them edited, as a notebook does; returns the digest of a part."""
    def key(name="Part", then=(), **edits):
        module = types.ModuleType("notebook")
        monkeypatch.setitem(sys.modules, "notebook", module)
        monkeypatch.setattr(registry, "_PARTS", dict(registry._PARTS))
        module.In = [""]
        for cell in [*{**CELLS, **edits}.values(), *then]:
            module.In.append(cell)
            if cell != CELLS["failed"]:
                exec(compile(cell, f"<cell {len(module.In)}>", "exec"), vars(module))
        return keys.part_digest(vars(module)[name])

    return key


def test_a_part_in_a_notebook_is_keyed_by_the_cells_that_it_uses(notebook):
    """A result must not be reused after an edit of a helper in another cell."""
    used = {"limit": "REACH = 3", "helper": CELLS["helper"].replace("<=", "<"),
            "base": CELLS["base"].replace("factor = 1", "factor = 2"), "values": "scale = 2.5",
            "part": CELLS["part"].replace("span = 3", "span = 4")}
    digests = [notebook(**{name: text}) for name, text in used.items()]
    assert len({notebook(), *digests}) == len(used) + 1
    assert notebook(idle="def idle():\n    return 1") == notebook(), "it does not use that cell"
    prose = CELLS["helper"].replace("return", "'Docstring.'\n    return") + "  # comment"
    assert notebook(helper=prose) == notebook(), "docstrings and comments decide nothing"
    assert notebook("inner",
                    call=CELLS["call"].replace("closed(1)", "closed(2)")) != notebook("inner")
    assert notebook("inner", limit="REACH = 3") == notebook("inner")


def test_a_cell_that_ran_again_changes_a_notebook_key_only_with_its_text(notebook):
    assert notebook(then=[CELLS["part"]]) == notebook()
    changed = ["scale += 1", "Part.span = 4", "Base.factor = 2"]
    assert len({notebook(), *(notebook(then=[cell]) for cell in changed)}) == 1 + len(changed)
    for cell in ("scale.append(1)", "scale[0] = 1"):
        assert notebook(values="scale = [2]", then=[cell]) != notebook(values="scale = [2]")
    edited = CELLS["helper"].replace("<=", "<")
    assert len({notebook(), notebook(then=[edited]), notebook(then=[edited, CELLS["helper"]])}) == 3


def test_a_part_without_source_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "interpreter", types.ModuleType("interpreter"))
    part = type("Part", (), {"__module__": "interpreter"})
    with pytest.raises(ValueError,
                       match="is in no file and in no notebook cell. Fix: define it in"):
        keys.part_digest(part)


@pytest.fixture
def edited_package(tmp_path, monkeypatch):
    """Run folders of the package with one text replaced in one of its files."""
    root = tmp_path / "favor_mini"
    ignored = shutil.ignore_patterns("checkpoints", "results", "__pycache__")
    shutil.copytree(keys.PACKAGE, root, ignore=ignored)
    monkeypatch.setattr(keys, "PACKAGE", root)
    monkeypatch.setattr(run_module, "checkpoint_digest", lambda folder: "the same weights")
    monkeypatch.setattr(run_module, "scene_code", lambda: [b"the same speech"])

    def folder(file="__init__.py", old="", new="", arm=None):
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
        keys.code_digest.cache_clear()
        plan = Plan([{}, {"attention": "full"}], **QUICK)
        found = run_folder(tmp_path, checkpoint_path(), plan, arm or {}, 0)
        (root / file).write_text(text, encoding="utf-8")
        return found

    yield folder
    keys.code_digest.cache_clear()


def test_a_run_is_keyed_by_the_code_that_decides_it(edited_package):
    before = edited_package()
    for file in ("world/questions.py", "lab/run.py"):
        assert edited_package(file, '"""', '"""Edited. ') == before, f"a docstring in {file}"
    for file in ("lab/statistics.py", "figures/lab.py", "aveb/run.py"):
        assert edited_package(file, "import", "EDITED = 1\nimport") == before, f"code in {file}"
    for file in ("world/questions.py", "training/finetune.py", "attention.py", "data/features.py",
                 "pretraining/validation.py"):
        assert edited_package(file, "\nfrom", "\nEDITED = 1\nfrom") != before, f"code in {file}"


def test_a_run_with_a_variant_is_keyed_by_the_variants_too(edited_package):
    arm = {"attention": "local_causal"}
    before = edited_package(arm=arm)
    assert edited_package("lab/variants.py", "<= 1", "<= 2", arm=arm) != before
    assert edited_package("lab/variants.py", '"""', '"""Edited. ', arm=arm) == before


def test_a_run_is_keyed_by_library_versions(monkeypatch, tmp_path):
    plan = Plan([{}, {"attention": "none"}], **QUICK)
    before = run_folder(tmp_path, checkpoint_path(), plan, {}, 0)
    monkeypatch.setattr(run_module, "library_versions", lambda *names: dict.fromkeys(names, "9.9"))
    assert run_folder(tmp_path, checkpoint_path(), plan, {}, 0) != before
