"""Rows: a clip and what is said about it. All data for training and evaluation have this form.

A row is one entry of a data file. `evaluation.scores.Row` is something else: an answer with its
score.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..media.clip import Clip

DESCRIBE = "describe the clip."  # the question of a text that comes without one
# What asks for a text in the order of time.
CAPTION = re.compile(r"\b(descri(be|ption)|transcri|caption|narrat|subtitle|what (was|is) said)",
                     re.IGNORECASE)
LONG = 5  # words; a shorter answer tells no order
STILLS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class RowError(ValueError):
    """A row that cannot be used. The message names file, row, field and what was found there.

    Args:
        index: of the row in a list, from 0; with unit="line" its line in the file, from 1.
    """

    def __init__(self, file, index: int, field: str, problem: str, unit: str = "row"):
        super().__init__(f"{file}, {unit} {index}, field {field!r}: {problem}")
        self.file, self.index, self.field = Path(file), index, field


class Span(NamedTuple):
    """A part of a file, in seconds.

    cut: the file may have been cut to this part already, as in published data, whose spans are
    often those of the original film.
    """

    start: float
    end: float
    cut: bool = False


@dataclass(frozen=True)
class Turn:
    """A question about a clip.

    answers: all correct answers, the references. candidates: answers to choose from, () where the
    answer is free.
    """

    question: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...] = ()

    @property
    def is_caption(self) -> bool:
        """Whether the question asks for a description or a transcript."""
        return bool(CAPTION.search(self.question))


@dataclass(frozen=True)
class Row:
    """A clip and a conversation about it.

    id: its index in a list, from 0, or its line in a file, from 1.
    media: names of one or two files (a picture and its sound); or a `Clip`; or a dictionary of
        features, see `data.features.encode_media`.
    span: the part of the file; None: the whole file.
    unused: fields of the entry that are not read.
    ordered: whether an answer tells in the order of time what happens. None: it does where a
        question asks for a description or a transcript, and the answer is long enough.
    label: the id that the file gives the row. Rows may share it.
    unit: what `id` counts, "row" or "line".
    """

    id: str
    media: tuple[str, ...] | Clip | dict
    turns: tuple[Turn, ...]
    span: Span | None = None
    ordered: bool | None = None
    label: str = ""
    unit: str = "row"
    unused: tuple[str, ...] = ()

    def error(self, file, field: str, problem: str) -> RowError:
        """The error of a well-formed row that cannot be used."""
        return RowError(file, int(self.id), field, problem, self.unit)

    @property
    def words(self) -> str:
        """All questions and answers."""
        return " ".join(text for turn in self.turns for text in (turn.question, *turn.answers))

    @property
    def text(self) -> str | None:
        """What happens in the clip, in the order of time; None if no answer tells it."""
        captions = [turn for turn in self.turns if turn.is_caption]
        if self.ordered:
            return (captions or [max(self.turns, key=lambda t: len(t.answers[0]))])[0].answers[0]
        if self.ordered is False or _is_still(self.media):
            return None
        long = (turn.answers[0] for turn in captions if len(turn.answers[0].split()) >= LONG)
        return next(long, None)


def _is_still(media) -> bool:
    return isinstance(media, tuple) and all(Path(n).suffix.lower() in STILLS for n in media)
