"""Drawing questions and saying them in other words."""

import re
from collections import Counter

import numpy as np
from test_questions import scenes

from favor_mini.world.questions import FAMILIES, REWORDINGS, ask, draw_questions, reword
from favor_mini.world.scene import COLOURS, SHAPES, THINGS, WORDS


def test_choose_is_fixed_by_its_generator_and_never_repeats():
    for scene in scenes()[:200]:
        for reworded in (False, True):
            first, again = (draw_questions(scene, np.random.default_rng(3), 12, reworded) for _ in range(2))
            assert first == again and len(first) == 12
        plain = draw_questions(scene, np.random.default_rng(4), 10**6)
        assert Counter(plain) == Counter(ask(scene))


def test_choose_takes_families_evenly():
    """Although there are thirty times as many comparisons of order as there are questions of what comes next."""
    drawn = Counter(draw_questions(scene, np.random.default_rng(scene.seed), 1)[0].family for scene in scenes())
    have = Counter(family for scene in scenes() for family in {q.family for q in ask(scene)})
    for family in FAMILIES:
        assert 0.3 < drawn[family] / have[family] * 14.5 < 2, family


def test_rewording_keeps_every_name_and_every_word_that_decides():
    decisive = {*COLOURS, *SHAPES, *THINGS, *WORDS, "after", "before", "first", "last", "while", "when", "how", "many",
                "times", "off", "turn", "move", "moved", "or", "words"}
    rng, changed, dropped = np.random.default_rng(0), 0, 0
    for scene in scenes()[:200]:
        for q in ask(scene):
            other = reword(q.text, rng)
            kept = [w for w in re.findall(r"\w+", q.text) if w in decisive]
            if "last before" in q.text:  # "right before" says the same as "last before"
                kept.remove("last")
            found = [w for w in re.findall(r"\w+", other) if w in kept]
            if found != kept:  # a shape may go without its colour: no scene has two alike
                dropped += 1
                kept = [w for w, after in zip(kept, [*kept[1:], ""], strict=True) if not (w in COLOURS and after in SHAPES)]
                assert " or " not in q.text or "the sound of" in q.text
            assert found == kept, (q.text, other)
            assert other.endswith("?") and other.count("?") == 1
            changed += other != q.text
    assert changed > 3000 and dropped > 300


def test_rewordings_never_make_two_questions_one():
    """Two questions of one scene that have different answers stay different, however they are worded."""
    for scene in scenes()[:200]:
        answers = {}
        for seed in range(4):
            for q in ask(scene):
                text = reword(q.text, np.random.default_rng([seed, len(q.text)]))
                assert answers.setdefault(text, q.answer) == q.answer, (scene.seed, text)


def test_every_rewording_is_used():
    rng, said = np.random.default_rng(1), set()
    for scene in scenes()[:300]:
        said |= {reword(q.text, rng) for q in ask(scene)}
    for usual, others in REWORDINGS:
        for wording in (usual, *others):
            assert any(wording in text for text in said), wording
