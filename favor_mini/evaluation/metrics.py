"""The benchmark's metrics: word errors by jiwer, CIDEr and (with Java) SPIDEr by pycocoevalcap."""

import importlib.util
import re
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

METRICS = {"accuracy": None, "word error rate": "jiwer", "CIDEr": "pycocoevalcap",
           "SPIDEr": "pycocoevalcap"}  # metric: the library that it needs


@dataclass(frozen=True)
class WordErrors:
    """Errors of transcripts against references. words: how many words the references have."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """The word error rate; infinite where there are errors but no reference words."""
        return self.errors / self.words if self.words else float("inf") if self.errors else 0.0


def need(metric: str) -> None:
    """Check that all that a metric needs is installed.

    Raises:
        OSError: its library is not installed, or, for SPIDEr, Java or SPICE's parser.
    """
    library = METRICS[metric]
    found = library and importlib.util.find_spec(library)
    if library and found is None:
        raise OSError(f"{metric} needs {library}, which is not installed. Fix: in the checkout, "
                      "`pip install -e '.[aveb]'`")
    if metric == "SPIDEr":
        if shutil.which("java") is None:
            raise OSError("SPIDEr needs Java: no java is on the PATH. Fix: install it, or choose "
                          "CIDEr")
        folder = Path(found.submodule_search_locations[0]) / "spice" / "lib"
        if not (folder / "stanford-corenlp-3.6.0-models.jar").is_file():
            raise OSError(f"SPIDEr needs Stanford CoreNLP 3.6.0 in {folder} (about 400 MB). Fix: "
                          "`python -m pycocoevalcap.spice.get_stanford_models`, or choose CIDEr")


def normal(text: str) -> str:
    """The form in which answers are compared: `spoken` and without articles (unless there is
    nothing else)."""
    words = spoken(text).split()
    return " ".join(word for word in words if word not in ("a", "an", "the")) or " ".join(words)


def spoken(text: str) -> str:
    """The form in which word errors are counted: lower case, without punctuation except within
    numbers."""
    kept = re.sub(r"(?<=\d)[.,:](?=\d)", "\0", text.lower())  # 3.5 stays 3.5
    plain = kept.translate(str.maketrans("", "", string.punctuation))
    return " ".join(plain.replace("\0", ".").split())


def matches(predicted: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the answers, up to case, punctuation and articles. The empty
    text matches nothing."""
    return bool(normal(predicted)) and normal(predicted) in map(normal, answers)


def word_errors(predicted: Sequence[str], references: Sequence[str]) -> WordErrors:
    """Word errors of all predictions together; `references[i]` is the transcript of i."""
    need("word error rate")
    import jiwer

    references, predicted = ([spoken(text) for text in texts] for texts in (references, predicted))
    found = jiwer.process_words(references, predicted)
    words = sum(len(text.split()) for text in references)
    return WordErrors(words, found.substitutions, found.deletions, found.insertions)


def best_word_errors(predicted: str, references: Sequence[str]) -> WordErrors:
    """Word errors against the one of several references that gives the lowest rate."""
    found = (word_errors([predicted], [reference]) for reference in references)
    return min(found, key=lambda errors: errors.rate)


def cider(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each prediction against its references, 0 to 10 (Vedantam et al. 2015, arXiv
    1411.5726). Phrases that are rare among all references weigh more.

    Words are split at spaces. Published scores use a Java tokenizer, which differs in rare cases.
    """
    need("CIDEr")
    from pycocoevalcap.cider.cider import Cider

    return [float(score) for score in Cider().compute_score(*_captions(predicted, references))[1]]


def spider(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """SPIDEr of each prediction, the mean of CIDEr-D and SPICE (Liu et al. 2017, arXiv 1612.00370).
    SPICE runs in Java."""
    need("SPIDEr")
    from pycocoevalcap.spice.spice import Spice

    spice = [s["All"]["f"] for s in Spice().compute_score(*_captions(predicted, references))[1]]
    return [(a + b) / 2 for a, b in zip(cider(predicted, references), spice, strict=True)]


def _captions(predicted, references) -> tuple[dict, dict]:
    """References and predictions by number, as pycocoevalcap takes them."""
    return ({i: [spoken(text) for text in texts] for i, texts in enumerate(references)},
            {i: [spoken(text)] for i, text in enumerate(predicted)})
