"""The tokens of a text that output queries learn to spell in the stage "align"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..processor import FavorProcessor


def blank_token(processor: FavorProcessor) -> int:
    """The token of a query that has nothing to add: a full stop. No text to align contains it."""
    return processor.tokenizer(".", add_special_tokens=False).input_ids[-1]


def text_tokens(processor: FavorProcessor, text: str) -> list[int]:
    """The token ids of a text without punctuation."""
    words = " " + " ".join(re.sub(r"[^\w\s'’-]", " ", text).split())
    ids = processor.tokenizer(words, add_special_tokens=False).input_ids
    return [i for i in ids if i != blank_token(processor)]


def queries_needed(ids: list[int]) -> int:
    """The least number of queries that can spell a text: a blank parts equal neighbours."""
    return len(ids) + sum(a == b for a, b in zip(ids, ids[1:], strict=False))


def spelled(ids: list[int], blank: int) -> list[int]:
    """The tokens that queries spell, from the nearest token of each: equal neighbours are one
    token, and blanks are left out."""
    merged = [token for i, token in enumerate(ids) if i == 0 or ids[i - 1] != token]
    return [token for token in merged if token != blank]
