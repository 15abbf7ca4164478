"""What a checkpoint can be asked: the list of questions in its folder."""

import json
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ..storage import write_json

FILE = "questions.json"
VERSIONS = 100  # of one question in other words; a longer text is no single question


@dataclass(frozen=True)
class Repertoire:
    """The questions that a model learned.

    questions: one of each form, by kind.
    words: words of these questions, and others that may stand in their place.
    names: what may stand in the place of their names, by kind.
    spellings: known words by words that mean the same and that the tokenizer does not know.
    """

    questions: dict[str, list[str]]
    words: dict[str, list[str]]
    names: dict[str, list[str]]
    spellings: dict[str, str]

    def form(self, question: str) -> str:
        """The question without its names."""
        names = "|".join(sorted(map(re.escape, sum(self.names.values(), [])), key=len,
                                reverse=True))
        return " ".join(re.sub(rf"\b({names})\b", " ", question.lower()).split())

    def has_form(self, question: str) -> bool:
        """Whether a training question differs from this one only in names and in `words`."""
        versions = {question.lower()}
        for usual, others in reversed(self.words.items()):  # undone in reverse order
            if len(versions) < VERSIONS:
                versions |= {v.replace(other, usual) for v in versions for other in others}
        return not {self.form(text) for text in self._all}.isdisjoint(map(self.form, versions))

    def nearest(self, question: str, count: int = 2) -> list[str]:
        """The listed questions with the most words in the same order."""
        words = re.findall(r"\w+", question.lower())
        return sorted(self._all, reverse=True, key=lambda text: SequenceMatcher(
            None, words, re.findall(r"\w+", text), autojunk=False).ratio())[:count]

    def begins(self, word: str) -> bool:
        """Whether a listed question begins with this word."""
        first = {text.split()[0] for text in self._all}
        return word.lower() in first | {other.split()[0] for usual, others in self.words.items()
                                        for other in others if usual.split()[0] in first}

    @property
    def _all(self) -> list[str]:
        return sum(self.questions.values(), [])

    def __str__(self) -> str:
        lines = []
        for kind, texts in self.questions.items():
            lines += [f"{kind}:", *(f"  {text}" for text in texts), ""]
        lines += ["other words for the same:", *(f"  {usual}: {', '.join(others)}"
                                                 for usual, others in self.words.items())]
        lines += ["", "names:", *(f"  {kind}: {', '.join(names)}"
                                  for kind, names in self.names.items())]
        return "\n".join(lines)

    def save(self, folder) -> None:
        write_json(Path(folder) / FILE, vars(self), indent=1)

    @classmethod
    def load(cls, folder) -> "Repertoire | None":
        """The list in a checkpoint's folder; None if there is none."""
        path = Path(folder) / FILE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
