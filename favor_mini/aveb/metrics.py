"""The benchmark's metrics, from kept libraries: jiwer for word errors, pycocoevalcap for CIDEr."""

import importlib.util
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WordErrors:
    """Word errors: `rate` = (substitutions + deletions + insertions) / words said."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Infinite where nothing was said but something was told."""
        return self.errors / self.words if self.words else float("inf") if self.errors else 0.0


LIBRARIES = {"word error rate": "jiwer", "CIDEr": "pycocoevalcap"}


def need(metric: str) -> None:
    """Check that a metric's library is there.

    Raises:
        OSError: it is not installed.
    """
    library = LIBRARIES.get(metric)
    if library and importlib.util.find_spec(library) is None:
        raise OSError(f"{metric} needs {library}, which is not installed; pip install 'favor-mini[aveb]' brings it")


def normal(text: str) -> str:
    """A text as it is compared: lower case, without punctuation (but within numbers) and articles, if it is no article itself."""
    words = spoken(text).split()
    return " ".join(word for word in words if word not in ("a", "an", "the")) or " ".join(words)


def spoken(text: str) -> str:
    """A transcript as word errors are counted: lower case, without punctuation but that within numbers."""
    kept = re.sub(r"(?<=\d)[.,:](?=\d)", "\0", text.lower())  # 3.5 stays 3.5
    plain = kept.translate(str.maketrans("", "", string.punctuation))
    return " ".join(plain.replace("\0", ".").split())


def matches(predicted: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the answers, but for case, punctuation and articles. Nothing matches nothing."""
    return bool(normal(predicted)) and normal(predicted) in map(normal, answers)


def word_errors(predicted: Sequence[str], said: Sequence[str]) -> WordErrors:
    """Word errors of predictions against what was said, one text each."""
    need("word error rate")
    import jiwer

    said, predicted = [spoken(text) for text in said], [spoken(text) for text in predicted]
    found = jiwer.process_words(said, predicted)
    return WordErrors(sum(len(text.split()) for text in said), found.substitutions, found.deletions, found.insertions)


def best_word_errors(predicted: str, answers: Sequence[str]) -> WordErrors:
    """Word errors against that one of several transcripts that fits best."""
    return min((word_errors([predicted], [answer]) for answer in answers), key=lambda found: found.rate)


def cider(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each prediction against its references, 0 to 10; what is rare among all references counts more.

    The words are split at spaces after `spoken`; the published scores split with a Java tool, which differs in rare cases.
    """
    need("CIDEr")
    from pycocoevalcap.cider.cider import Cider

    told = {i: [spoken(text)] for i, text in enumerate(predicted)}
    known = {i: [spoken(text) for text in texts] for i, texts in enumerate(references)}
    return [float(score) for score in Cider().compute_score(known, told)[1]]
