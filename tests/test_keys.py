"""Cache keys: an edit of what decides a result changes the key, an edit of comments or docstrings
does not."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from favor_mini import keys

MODULES = {
    "top.py": "from .middle.user import f\n",
    "middle/__init__.py": "from . import registered\n",
    "middle/registered.py": "VALUE = 1\n",
    "middle/user.py": """
from ..base import a
def f():
    from ..lazy import b
    return a + b
""",
    "middle/other.py": "VALUE = 1\n",
    "base.py": '''"""Module docstring."""
import math
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from . import typed
else:
    from . import run_time
def twice(f): return f
@twice
def a(x):
    """Docstring."""
    # a comment
    return 2 * x
''',
    "lazy.py": "import favor_mini.absolute\nfrom favor_mini.middle import absolute_from\nb = 1\n",
    "absolute.py": "VALUE = 1\n",
    "middle/absolute_from.py": "VALUE = 1\n",
    "typed.py": "VALUE = 1\n",
    "run_time.py": "VALUE = 1\n",
    "unused.py": "VALUE = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of favor_mini; `package.edit` changes a text in a file,
    `package.key` is `top`'s key."""
    root = tmp_path / "favor_mini"
    for name, text in MODULES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(keys, "PACKAGE", root)

    def key(*modules):
        keys.code_digest.cache_clear()
        return keys.code_digest(*modules or ["top"])

    def edit(name, old, new):
        text = (root / name).read_text(encoding="utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new))

    yield SimpleNamespace(key=key, edit=edit)
    keys.code_digest.cache_clear()


@pytest.mark.parametrize("file, old, new", [
    ("top.py", "import f", "import f as g"),
    ("middle/user.py", "a + b", "a - b"),
    ("middle/registered.py", "1", "2"),  # imported by the package's __init__, as `lab.variants` is
    ("base.py", "2 * x", "3 * x"),
    ("base.py", "@twice", "@math.floor"),
    ("lazy.py", "b = 1", "b = 2"),  # imported in a function
    ("absolute.py", "1", "2"), ("middle/absolute_from.py", "1", "2"),
    ("run_time.py", "1", "2"),  # the else branch of `if TYPE_CHECKING`
])
def test_an_edit_of_code_changes_the_key(package, file, old, new):
    before = package.key()
    package.edit(file, old, new)
    assert package.key() != before


@pytest.mark.parametrize("file, old, new", [
    ("base.py", "Docstring", "Another docstring"), ("base.py", "Module docstring", "Edited"),
    ("base.py", "# a comment", "# another\n    # and one more"), ("top.py", "\n", "\n\n\n"),
    ("base.py", '    """Docstring."""\n', ""),
    ("typed.py", "1", "2"), ("unused.py", "1", "2"), ("middle/other.py", "1", "2"),
])
def test_an_edit_of_prose_or_of_what_is_not_imported_keeps_the_key(package, file, old, new):
    before = package.key()
    package.edit(file, old, new)
    assert package.key() == before


def test_keys_of_several_modules_and_of_a_missing_one(package):
    assert package.key("top") == package.key("top") != package.key("top", "unused")
    with pytest.raises(ValueError, match="no module 'lost'.*Fix"):
        package.key("lost")


def test_source_digests_see_code_and_no_prose():
    assert keys.text_digest("x = 1  # one\n") == keys.text_digest('"""Text."""\nx = 1')
    assert keys.text_digest("x = 1") != keys.text_digest("x = 2")

    class One:
        def f(self):
            """Docstring."""
            return 1

    class Other:
        @staticmethod
        def f():
            return 1

    assert keys.source_digest(One.f) == keys.source_digest(One.f) != keys.source_digest(Other.f)


def test_weights_digests_see_values_names_types_and_shapes():
    torch.manual_seed(0)
    layer = nn.Linear(2, 3)
    layer.register_buffer("count", torch.tensor(7))
    before = keys.weights_digest(layer)
    assert before == keys.weights_digest(layer)
    with torch.no_grad():
        layer.weight[0, 0] += 1e-6
    edited = keys.weights_digest(layer)
    layer.count += 1
    found = [before, edited, keys.weights_digest(layer), keys.weights_digest(layer.half()),
             *(keys.weights_digest(nn.ParameterDict({name: torch.zeros(shape)}))
               for name, shape in (("a", (2, 3)), ("a", (3, 2)), ("b", (2, 3))))]
    assert len(set(found)) == len(found)


def test_library_versions_leave_out_the_build_and_what_is_not_installed(monkeypatch):
    def version(name):
        if name == "lost":
            raise keys.PackageNotFoundError(name)
        return "2.13.0+cpu"

    monkeypatch.setattr(keys, "version", version)
    assert keys.library_versions("torch", "lost") == {"torch": "2.13.0"}


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The package's own code, copied to where a test may edit it."""
    root = tmp_path / "favor_mini"
    for file in keys.PACKAGE.rglob("*.py"):
        (root / file.relative_to(keys.PACKAGE)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.relative_to(keys.PACKAGE))
    monkeypatch.setattr(keys, "PACKAGE", root)
    keys.code_digest.cache_clear()
    yield root
    keys.code_digest.cache_clear()


@pytest.mark.parametrize("file, old, new, changes", [
    ("processor.py", "device=\"cpu\")", "device=\"cpu\", padding=True)", True),  # mel()
    ("encoders.py", "tokens[:, :", "tokens[:, 0:", True),
    ("media/clip.py", "astype(np.float32)", "astype(np.float64)", True),  # clip_from_arrays
    ("world/pictures.py", "np.uint8", "np.uint16", True),
    ("processor.py", "Turns clips and questions into batches", "Makes batches", False),
    # only `encode` counts, see feature_key
    ("model.py", "import torch\n", "import torch\nX = 1\n", False),
    ("aveb/run.py", "import", "import sys, ", False),
])
def test_the_key_of_scenes_features_depends_on_processor_encoders_and_media(
        copied, model, processor, file, old, new, changes):
    """On earlier code the key left out processor, encoders and media: an edited mel() gave the
    features of the old one."""
    from favor_mini.data.features import feature_key
    from favor_mini.world.rows import scene_code

    def key():
        keys.code_digest.cache_clear()
        return [feature_key(model, processor), *scene_code()]

    before, text = key(), (copied / file).read_text(encoding="utf-8")
    assert old in text
    (copied / file).write_text(text.replace(old, new, 1))
    assert (key() != before) == changes


def test_the_key_of_features_depends_on_weights_settings_libraries_and_replaced_methods(
        model, processor, monkeypatch):
    from favor_mini.data.features import feature_key

    found = [feature_key(model, processor)]
    assert found == [feature_key(model, processor)]
    weight = model.audio_encoder.conv1.weight
    with torch.no_grad():
        weight[0, 0, 0] += 1
        found.append(feature_key(model, processor))
        weight[0, 0, 0] -= 1
    with monkeypatch.context() as patch:
        patch.setattr(processor.settings, "image_size", 32)
        found.append(feature_key(model, processor))
    with monkeypatch.context() as patch:
        patch.setattr(keys, "version", lambda name: "0.0")
        found.append(feature_key(model, processor))
    with monkeypatch.context() as patch:
        patch.setattr(type(processor), "mel", lambda self, waveform: np.zeros(0))
        found.append(feature_key(model, processor))
    assert len(set(found)) == 5
