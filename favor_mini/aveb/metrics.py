"""The benchmark's metrics, from kept libraries: jiwer for word errors, pycocoevalcap for CIDEr (and, where Java runs, SPICE)."""

import string
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WordErrors:
    """Word errors over all pairs: `rate` = (substitutions + deletions + insertions) / words said."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def rate(self) -> float:
        return (self.substitutions + self.deletions + self.insertions) / self.words


def normal(text: str) -> str:
    """A text as it is compared: lower case, without punctuation and articles."""
    words = text.lower().translate(str.maketrans("", "", string.punctuation)).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def spoken(text: str) -> str:
    """A transcript as word errors are counted: lower case, without punctuation."""
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def matches(predicted: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the answers, but for case, punctuation and articles."""
    return normal(predicted) in map(normal, answers)


def word_errors(predicted: Sequence[str], said: Sequence[str]) -> WordErrors:
    """Word errors of predictions against what was said, one text each.

    Raises:
        ImportError: jiwer is not installed. ValueError: nothing was said in any of them.
    """
    try:
        import jiwer
    except ImportError as error:
        raise ImportError("word errors need jiwer; install it with: pip install 'favor-mini[aveb]'") from error
    said, predicted = [spoken(text) for text in said], [spoken(text) for text in predicted]
    if not any(said):
        raise ValueError("word errors are a share of the words said, and nothing was said in any of the references")
    found = jiwer.process_words(said, predicted)
    return WordErrors(sum(len(text.split()) for text in said), found.substitutions, found.deletions, found.insertions)


def cider(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each prediction against its references, 0 to 10; what is rare among all references counts more.

    The words are split at spaces after `spoken`; the published scores split with a Java tool, which differs in rare cases.

    Raises:
        ImportError: pycocoevalcap is not installed.
    """
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        raise ImportError("CIDEr needs pycocoevalcap; install it with: pip install 'favor-mini[aveb]'") from error
    told = {i: [spoken(text)] for i, text in enumerate(predicted)}
    known = {i: [spoken(text) for text in texts] for i, texts in enumerate(references)}
    return [float(score) for score in Cider().compute_score(known, told)[1]]
