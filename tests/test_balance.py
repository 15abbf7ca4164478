"""Guessers without the needed modalities are near chance. The data card has the numbers."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from test_questions import scenes

from docs.tools import balance
from favor_mini.world.questions import FAMILIES, Question, ask
from favor_mini.world.scene import PLACES

BOTH = [family for family, needs in FAMILIES.items() if {"audio", "video"} <= set(needs)]


@cache
def measured():
    return balance.measure(1200)


@pytest.mark.parametrize("family", BOTH)
def test_the_text_does_not_predict_answers_that_need_both_modalities(family):
    row = measured()[family]
    # two standard errors of the half that is scored
    room = 0.03 + 2 / np.sqrt(row["count"] / 2) * 0.5
    assert row["nothing"] < row["chance"] + room and row["text"] < row["chance"] + room


@pytest.mark.parametrize("family", BOTH)
def test_one_modality_is_not_better_than_its_chance_level(family):
    row = measured()[family]
    room = 0.03 + 2 / np.sqrt(row["count"] / 2) * 0.5
    for stream in ("video", "audio"):
        assert row[stream] < row[f"{stream}_chance"] + room, stream
    # In a clip of five moments, two of the pictures have but one neighbour.
    assert max(row["video_chance"],
               row["audio_chance"]) < (0.7 if family == "first_mixed" else 0.34)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in BOTH])
def test_the_text_does_not_predict_answers_that_need_one_modality(family):
    row = measured()[family]
    # small counts are frequent, as the card says
    limit = 0.45 if family.startswith("count") else row["chance"] + 0.09
    assert row["nothing"] < limit and row["text"] < limit


def test_the_guessers_find_a_bias():
    """Otherwise the tests above would pass for any questions."""
    def cases(answer):
        pairs = ((scene, m) for scene in scenes()[:300] for m in scene.moments if m.seen == "show")
        return [(scene, Question("where", f"where was the {m.subject}?", answer(m), tuple(PLACES)))
                for scene, m in pairs]

    def score(given, made):
        return max(guesser.score(made[::2], made[1::2]) for guesser in balance.GUESSERS[given])

    assert score("nothing", cases(lambda m: "top")) == 1
    by_colour = cases(lambda m: "left" if m.actors[0].colour < "p" else "right")
    assert score("nothing", by_colour) < 0.7 and score("text", by_colour) > 0.95
    always_first = [(s, replace(q, answer=balance._heard((s, q))[0]))
                    for s in scenes() for q in ask(s) if q.family == "heard_while"]
    assert score("audio", always_first) == 1 and score("text", always_first) < 0.2
