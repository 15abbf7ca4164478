"""The benchmark's metrics, from kept libraries: jiwer for word errors, pycocoevalcap for CIDEr and, with Java, SPIDEr."""

import importlib.util
import re
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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


METRICS = {"accuracy": None, "word error rate": "jiwer", "CIDEr": "pycocoevalcap", "SPIDEr": "pycocoevalcap"}  # its library


def need(metric: str) -> None:
    """Check that what a metric needs is there.

    Raises:
        OSError: its library is not installed, or, for SPIDEr, Java or the parser that SPICE reads captions with.
    """
    library = METRICS[metric]
    found = library and importlib.util.find_spec(library)
    if library and found is None:
        raise OSError(f"{metric} needs {library}, which is not installed; `pip install -e '.[aveb]'` in the checkout brings it")
    if metric == "SPIDEr":
        if shutil.which("java") is None:
            raise OSError("SPIDEr needs Java, and no program java is on the PATH; without it there is CIDEr")
        folder = Path(found.submodule_search_locations[0]) / "spice"
        if not (folder / "lib" / "stanford-corenlp-3.6.0-models.jar").is_file():
            raise OSError(f"SPIDEr needs Stanford CoreNLP 3.6.0 in {folder / 'lib'} (about 400 MB); fetch it with "
                          "`python -m pycocoevalcap.spice.get_stanford_models`, or take CIDEr")


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

    told, known = _captions(predicted, references)
    return [float(score) for score in Cider().compute_score(known, told)[1]]


def spider(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """SPIDEr of each prediction (Liu et al. 2017, arXiv 1612.00370): the mean of CIDEr-D and SPICE. SPICE runs in Java."""
    need("SPIDEr")
    from pycocoevalcap.spice.spice import Spice

    told, known = _captions(predicted, references)
    spice = [scores["All"]["f"] for scores in Spice().compute_score(known, told)[1]]
    return [(a + b) / 2 for a, b in zip(cider(predicted, references), spice, strict=True)]


def _captions(predicted, references) -> tuple[dict, dict]:
    told = {i: [spoken(text)] for i, text in enumerate(predicted)}
    return told, {i: [spoken(text) for text in texts] for i, texts in enumerate(references)}
