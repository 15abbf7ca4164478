"""The glossary has every field of the config and every symbol of a shape."""

import inspect
import re
from pathlib import Path

from favor_mini import FavorConfig

ROOT = Path(__file__).parent.parent
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_every_field_of_the_config_is_in_the_glossary():
    fields = [name for name in inspect.signature(FavorConfig).parameters if name != "kwargs"]
    assert len(fields) > 20
    assert not [name for name in fields if f"`{name}`" not in GLOSSARY]


def test_every_symbol_of_the_mechanisms_shapes_is_in_the_glossary():
    """Shapes stand in docstrings as (B, T, V, D_v) and in comments as [B, T, V, D_v]."""
    symbols = set()
    for file in (ROOT / "favor_mini").glob("*.py"):
        size = r"(?:[A-Z](?:_[a-z])?|\d+)"
        for shape in re.findall(rf"[(\[]{size}(?:(?: \* |, ){size})+[)\]]",
                                file.read_text(encoding="utf-8")):
            symbols |= set(re.findall(r"[A-Z](?:_[a-z])?", shape))
    known = set(re.findall(r"^\| ([A-Z](?:_[a-z])?) \|", GLOSSARY, re.MULTILINE))
    assert {"B", "T_v", "D_w", "K", "N"} <= symbols
    assert symbols <= known, symbols - known
