"""The questions of a test-set file of the paper's benchmark, one by one."""

from dataclasses import dataclass

from ..data.manifest import read_rows
from ..data.row import RowError, Span


@dataclass(frozen=True)
class Item:
    """One question.

    id: of its row; in a conversation followed by a dot and the turn.
    media: names of one or two files, the picture before the sound.
    answers: all correct answers. candidates: answers to choose from, () where the answer is free.
    span: the part of the file; None: the whole file.
    """

    id: str
    media: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    span: Span | None = None


def read_items(file) -> tuple[list[Item], list[RowError]]:
    """All questions of a test-set file, and an error for each row that cannot be used.

    Raises:
        FileNotFoundError, ValueError: see `data.manifest.read_rows`.
    """
    rows, broken = read_rows(file)
    return [Item(f"{row.id}.{number}" if len(row.turns) > 1 else row.id, row.media, turn.question,
                 turn.answers, turn.candidates, row.span)
            for row in rows for number, turn in enumerate(row.turns)], broken
