"""The metrics by hand, and word errors compared with the edit distance that defines them."""

import numpy as np
import pytest

from favor_mini.evaluation.metrics import (
    WordErrors,
    best_word_errors,
    cider,
    matches,
    normal,
    spider,
    spoken,
    word_errors,
)


def edits(predicted: list[str], reference: list[str]) -> int:
    """Levenshtein's distance over words."""
    table = np.zeros((len(reference) + 1, len(predicted) + 1), int)
    table[:, 0], table[0] = range(len(reference) + 1), range(len(predicted) + 1)
    for i, word in enumerate(reference, 1):
        for j, other in enumerate(predicted, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1,
                              table[i - 1, j - 1] + (word != other))
    return int(table[-1, -1])


@pytest.mark.parametrize("one, other",
                         [("A cup.", "cup"), ("The Red  cup", "red cup"), ("yes!", "Yes")])
def test_texts_are_compared_without_case_punctuation_and_articles(one, other):
    assert normal(one) == normal(other) != normal("cups")
    assert matches(one, ["something", other]) and not matches(one, ["something"])
    assert spoken("The  Cup!") == "the cup"


def test_word_errors_by_hand():
    pytest.importorskip("jiwer")
    found = word_errors(["moon ring milk", "", "a lion"], ["Moon, king.", "two words", "lion"])
    assert found == WordErrors(words=5, substitutions=1, deletions=2, insertions=2)
    assert found.rate == pytest.approx(1.0)
    assert word_errors(["Moon king!"], ["moon king"]).rate == 0.0


def test_word_errors_are_edits():
    pytest.importorskip("jiwer")
    rng = np.random.default_rng(0)
    for _ in range(30):
        reference, predicted = ([str(w) for w in rng.choice(list("abcde"), rng.integers(1, 8))]
                                for _ in range(2))
        found = word_errors([" ".join(predicted)], [" ".join(reference)])
        assert found.errors == edits(predicted, reference)


def test_words_without_a_reference_are_insertions():
    pytest.importorskip("jiwer")
    found = word_errors(["moon"], ["..."])
    assert found == WordErrors(0, 0, 0, 1) and found.rate == float("inf")
    assert word_errors([""], ["..."]).rate == 0.0


def test_of_several_transcripts_the_best_counts():
    pytest.importorskip("jiwer")
    assert best_word_errors("king", ("moon", "king")).rate == 0.0


@pytest.mark.parametrize("predicted, answers, right", [
    ("", ["A"], False), ("the", ["a"], False), ("35", ["3.5"], False), ("3.5", ["3.5"], True),
    ("A", ["a"], True), ("3,5.", ["3.5"], True)])
def test_an_empty_text_matches_nothing_and_numbers_stay_numbers(predicted, answers, right):
    assert matches(predicted, answers) == right


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"CIDEr needs pycocoevalcap.*pip install -e '\.\[aveb\]'"):
        cider(["a"], [["a"]])


def test_cider_prefers_what_is_rare_and_right():
    pytest.importorskip("pycocoevalcap")
    references = [["a bell rings", "a bell is heard"],
                  ["a drum is heard", "someone beats a drum"], ["a dog barks loudly"]]
    exact = cider([texts[0] for texts in references], references)
    wrong = cider([references[(i + 1) % 3][0] for i in range(3)], references)
    assert all(e > 2 for e in exact) and all(w < e for w, e in zip(wrong, exact, strict=True))
    again = cider(["a dog barks loudly"] * 3, references)
    assert again[2] == pytest.approx(exact[2]) == pytest.approx(10.0)


def test_spider_names_what_is_missing(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(OSError, match="SPIDEr needs Java.*choose CIDEr"):
        spider(["a"], [["a"]])
    monkeypatch.setattr("shutil.which", lambda name: "java")
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: False)
    with pytest.raises(OSError, match="Stanford CoreNLP .*get_stanford_models"):
        spider(["a"], [["a"]])


def test_spider_is_the_mean_of_cider_and_spice(monkeypatch):
    from types import SimpleNamespace

    spice = pytest.importorskip("pycocoevalcap.spice.spice")
    monkeypatch.setattr("favor_mini.evaluation.metrics.need", lambda metric: None)
    fake = SimpleNamespace(compute_score=lambda known, said: (
        0.5, [{"All": {"f": 1.0 if known[i] == said[i] else 0.2}} for i in sorted(known)]))
    monkeypatch.setattr(spice, "Spice", lambda: fake)
    references = [["a bell rings out"], ["a drum is heard"], ["a dog barks loudly"]]
    said = ["a bell rings out", "a horn", "a dog barks loudly"]
    scores = zip(cider(said, references), (1.0, 0.2, 1.0), strict=True)
    expected = [(c + s) / 2 for c, s in scores]
    assert spider(said, references) == pytest.approx(expected)
