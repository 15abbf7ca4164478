"""Drawing questions, and rewording them."""

import re
from collections import Counter

import numpy as np
from test_questions import scenes

from favor_mini.world.questions import (
    FAMILIES,
    REWORDINGS,
    ask,
    draw_questions,
    reword,
    reword_seeded,
)
from favor_mini.world.scene import COLOURS, SHAPES, THINGS, WORDS


def test_choose_is_fixed_by_its_generator_and_never_repeats():
    for scene in scenes()[:200]:
        for reworded in (False, True):
            first, again = (draw_questions(scene, np.random.default_rng(3), 12, reworded)
                            for _ in range(2))
            assert first == again and len(first) == 12
        plain = draw_questions(scene, np.random.default_rng(4), 10**6)
        assert Counter(plain) == Counter(ask(scene))


def test_choose_takes_families_evenly():
    """Although `ask` returns thirty times as many questions of some families as of others."""
    drawn = Counter(draw_questions(scene, np.random.default_rng(scene.seed), 1)[0].family
                    for scene in scenes())
    have = Counter(family for scene in scenes() for family in {q.family for q in ask(scene)})
    for family in FAMILIES:
        assert 0.3 < drawn[family] / have[family] * 14.5 < 2, family


def test_rewording_keeps_every_name_and_every_word_that_decides():
    decisive = {*COLOURS, *SHAPES, *THINGS, *WORDS, "after", "before", "first", "last", "while",
                "when", "how", "many",
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
                kept = [w for w, after in zip(kept, [*kept[1:], ""], strict=True)
                        if not (w in COLOURS and after in SHAPES)]
                assert " or " not in q.text or "the sound of" in q.text
            assert found == kept, (q.text, other)
            assert other.endswith("?") and other.count("?") == 1
            changed += other != q.text
    assert changed > 3000 and dropped > 300


def test_rewordings_never_make_two_questions_one():
    """Questions about a scene with different answers remain different when reworded."""
    for scene in scenes()[:200]:
        answers = {}
        for draw in range(4):
            for q in ask(scene):
                text = reword_seeded(q.text, scene.seed, draw)
                assert answers.setdefault(text, q.answer) == q.answer, (scene.seed, text)


def test_every_rewording_is_used():
    rng, said = np.random.default_rng(1), set()
    for scene in scenes()[:300]:
        said |= {reword(q.text, rng) for q in ask(scene)}
    for usual, others in REWORDINGS:
        for wording in (usual, *others):
            assert any(wording in text for text in said), wording


def test_each_question_of_each_scene_has_its_own_rewording():
    """Finding: the seed was the length of the text, so every scene got the same wording."""
    text = "what was heard while moon was written?"
    same_length = text.replace("moon", "king")
    wordings = [reword_seeded(text, seed) for seed in range(40)]
    assert len(set(wordings)) > 3 and wordings == [reword_seeded(text, seed) for seed in range(40)]
    others = [reword_seeded(same_length, seed).replace("king", "moon") for seed in range(40)]
    assert 5 < sum(a != b for a, b in zip(wordings, others, strict=True)) < 40
    assert len({reword_seeded(text, 3, draw) for draw in range(20)}) > 2
