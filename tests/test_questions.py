"""Questions are unambiguous, and a second implementation finds the same answers."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from favor_mini.world.questions import FAMILIES, MIN_ANSWERS, ask, guesser_accuracy
from favor_mini.world.scene import PLACES, Actor, Heard, Moment, Scene, draw_scene

# The second implementation: patterns read the text of a question and find answers in the script.


def reread(scene, text):
    """All answers that the script gives to a question; one if it is a good question."""
    for pattern, answer in READINGS:
        if match := re.fullmatch(pattern, text):
            return set(answer(scene, *match.groups()))
    raise AssertionError(f"no reading for {text!r}")


def pictures(scene):
    """(start, what, moment) for every moment that shows something."""
    result = []
    for m in scene.moments:
        if len(m.actors):
            first = m.actors[0]
            name = first.name if first.colour is None else first.colour + " " + first.name
            result.append((m.start, name, m))
    return result


def sounds(scene):
    return [(m.heard.start, m.heard.name, m) for m in scene.moments if m.heard is not None]


def shown(scene, name):
    return [m for _, what, m in pictures(scene) if what == name]


def heard(scene, name, kind):
    return [m for _, what, m in sounds(scene) if what == name and m.heard.kind == kind]


def event(scene, phrase):
    """(stream, moments) of an event, such as "the red circle was shown" or "moon was said"."""
    if match := re.fullmatch(r"the (.+) was shown", phrase):
        return pictures, shown(scene, match[1])
    if match := re.fullmatch(r"(\w+) was written", phrase):
        return pictures, [m for m in shown(scene, match[1]) if m.seen == "write"]
    if match := re.fullmatch(r"the (\w+) was heard", phrase):
        return sounds, heard(scene, match[1], "sound")
    return sounds, heard(scene, re.fullmatch(r"(\w+) was said", phrase)[1], "word")


def neighbour(scene, phrase, step):
    """What comes `step` places after an event in its own stream."""
    stream, moments = event(scene, phrase)
    order = sorted(stream(scene), key=lambda entry: entry[0])
    places = [i for i, (_, _, m) in enumerate(order) if m in moments]
    return [order[i + step][1] for i in places if 0 <= i + step < len(order)]


def earlier(scene, first, second, stream):
    when = {name: min(t for t, what, _ in stream(scene) if what == name)
            for name in (first, second)}
    return [min(when, key=when.get)]


def earlier_mixed(scene, one, other):
    if one.startswith("sound of the "):
        one, other = other, one
    name = other.removeprefix("sound of the ")
    picture, = shown(scene, one)
    sound, = heard(scene, name, "sound")
    assert picture is not sound
    return [one if picture.end <= sound.start else name]


def only(items):
    return items if len(items) == 1 else ["ambiguous", *items]


READINGS = [
    (r"what was shown when (.+)\?",
     lambda s, phrase: [m.actors[0].label for m in event(s, phrase)[1] if m.actors]),
    (r"what was heard while (.+)\?",
     lambda s, phrase: [m.heard.name for m in event(s, phrase)[1] if m.heard.kind == "sound"]),
    (r"what was heard off screen while (.+)\?",
     lambda s, phrase: [m.heard.name for m in event(s, phrase)[1]
                      if m.heard.name not in [a.name for a in m.actors]]),
    (r"what was said when (.+)\?",
     lambda s, phrase: [m.heard.name for m in event(s, phrase)[1] if m.heard.kind == "word"]),
    (r"which came first, the (.+) or the (.+)\?", earlier_mixed),
    (r"what was (?:shown|heard) next after (.+)\?", lambda s, phrase: neighbour(s, phrase, 1)),
    (r"what was (?:shown|heard) last before (.+)\?", lambda s, phrase: neighbour(s, phrase, -1)),
    (r"which was shown first, (.+) or (.+)\?", lambda s, a, b: earlier(s, a, b, pictures)),
    (r"which was heard first, (.+) or (.+)\?", lambda s, a, b: earlier(s, a, b, sounds)),
    (r"what made the (\w+) sound\?",
     lambda s, name: [m.actors[0].label for m in s.moments
                      if m.seen == "hit" and m.actors[1].name == name]),
    (r"what will be heard next\?",
     lambda s: only([heading(m) for m in s.moments[-1:] if m.seen == "near"])),
    (r"what colour was the (\w+)\?",
     lambda s, name: [a.colour for m in s.moments for a in m.actors
                      if a.name == name and not a.turns]),
    (r"what colour did the (.+) turn\?",
     lambda s, name: [m.actors[0].turns for m in shown(s, name)]),
    (r"where was the (.+)\?", lambda s, name: [corner(m.actors[0].start) for m in shown(s, name)]),
    (r"which way did the (.+) move\?", lambda s, name: [way(m.actors[0]) for m in shown(s, name)]),
    (r"what was written\?",
     lambda s: only([m.actors[0].name for m in s.moments if m.seen == "write"])),
    (r"how many words were written\?", lambda s: [str(sum(m.seen == "write" for m in s.moments))]),
    (r"how many shapes moved across\?", lambda s: [str(sum(m.seen == "move" for m in s.moments))]),
    (r"how many words were said\?", lambda s: [str(len(said(s)))]),
    (r"how many times was the (\w+) heard\?", lambda s, name: [str(len(heard(s, name, "sound")))]),
    (r"what was said\?", lambda s: only(said(s))),
    (r"what was said first\?", lambda s: said(s)[:1]),
    (r"what was said last\?", lambda s: said(s)[-1:]),
]


def said(scene):
    order = sorted(sounds(scene), key=lambda entry: entry[0])
    return [name for _, name, m in order if m.heard.kind == "word"]


def heading(m):
    return min(m.actors[1:], key=lambda thing: abs(thing.start[0] - m.actors[0].end[0])).name


def corner(at):
    return min(PLACES,
               key=lambda place: np.hypot(at[0] - PLACES[place][0], at[1] - PLACES[place][1]))


def way(actor):
    right, down = actor.end[0] - actor.start[0], actor.end[1] - actor.start[1]
    if abs(right) > abs(down):
        return "right" if right > 0 else "left"
    return "down" if down > 0 else "up"


@cache
def scenes(count=600):
    return [draw_scene(seed) for seed in range(count)]


def test_every_answer_is_the_only_one_that_the_script_gives():
    families = Counter()
    for scene in scenes():
        for q in ask(scene):
            assert reread(scene, q.text) == {q.answer}, (scene.seed, q)
            families[q.family] += 1
    assert set(families) == set(FAMILIES) and min(families.values()) > 60


def test_candidates_hold_the_answer_once_and_never_a_duplicate():
    for scene in scenes():
        for q in ask(scene):
            assert q.answer in q.candidates and len(set(q.candidates)) == len(q.candidates) >= 2, q


def test_no_text_is_asked_twice_of_a_scene():
    for scene in scenes():
        texts = [q.text for q in ask(scene)]
        assert len(set(texts)) == len(texts)


def test_only_what_occurs_once_is_referred_to():
    """The event in a question occurs in one moment only: "when" and "after" are unambiguous."""
    for scene in scenes():
        for q in ask(scene):
            if match := re.search(r"(?:when|while|after|before) (.+)\?", q.text):
                assert len(event(scene, match[1])[1]) == 1, (scene.seed, q.text)


# A scene written by hand, with every answer worked out by hand.


def moment(i, seen="nothing", *actors, hear=None, say=None, **kw):
    name = hear or say
    heard = Heard("sound" if hear else "word", name, i + 0.2, 0.5, 0) if name else None
    return Moment(float(i), i + 1.0, seen, actors, heard=heard, **kw)


def shape(label, **kw):
    colour, name = label.split()
    return Actor(name, colour, **kw)


HAND = Scene(5, 10.0, (
    moment(0, "show", shape("red circle", start=PLACES["left"]), hear="bell", direction="left"),
    moment(1, "write", Actor("moon"), say="king"),
    moment(2, "move", shape("blue star", start=PLACES["left"], end=PLACES["right"]), hear="horn",
           direction="right"),
    moment(3, "nothing", hear="bird"),
    moment(4, "thing", Actor("drum"), hear="clock"),
    moment(5, "turn", shape("green ring", turns="white"), say="milk"),
    moment(6, "hit", shape("purple heart"), Actor("siren"), shape("yellow cross"), hear="siren",
           arrive=0.4),
    moment(7, "show", shape("orange square", start=PLACES["top"]), say="zero", direction="top"),
    moment(8, "thing", Actor("bell"), hear="bell"),
    moment(9, "near", shape("yellow triangle", start=(0.5, 0.5), end=(0.4, 0.5)),
           Actor("phone", start=(0.2, 0.5)),
           Actor("whistle", start=(0.8, 0.5)))), (40, 40, 40), 0.001)

ANSWERS = {
    "what was shown when king was said?": "moon",
    "what was shown when the horn was heard?": "blue star",
    "what was shown when milk was said?": "green ring",
    "what was shown when zero was said?": "orange square",
    "what was heard while the red circle was shown?": "bell",
    "what was heard while the blue star was shown?": "horn",
    "what was said when moon was written?": "king",
    "what was said when the green ring was shown?": "milk",
    "what was said when the orange square was shown?": "zero",
    "what was heard off screen while the drum was shown?": "clock",
    "what was shown next after the red circle was shown?": "moon",
    "what was shown next after moon was written?": "blue star",
    "what was shown next after the blue star was shown?": "drum",
    "what was shown next after the drum was shown?": "green ring",
    "what was shown next after the orange square was shown?": "bell",
    "what was shown last before moon was written?": "red circle",
    "what was shown last before the blue star was shown?": "moon",
    "what was shown last before the drum was shown?": "blue star",
    "what was shown last before the green ring was shown?": "drum",
    "what was shown last before the bell was shown?": "orange square",
    "what was heard next after king was said?": "horn",
    "what was heard next after the horn was heard?": "bird",
    "what was heard next after the bird was heard?": "clock",
    "what was heard next after the clock was heard?": "milk",
    "what was heard next after milk was said?": "siren",
    "what was heard next after the siren was heard?": "zero",
    "what was heard last before the horn was heard?": "king",
    "what was heard last before the bird was heard?": "horn",
    "what was heard last before the clock was heard?": "bird",
    "what was heard last before milk was said?": "clock",
    "what was heard last before the siren was heard?": "milk",
    "what was heard last before zero was said?": "siren",
    "what made the siren sound?": "purple heart",
    "what will be heard next?": "phone",
    "which way did the blue star move?": "right",
    "what colour was the circle?": "red",
    "what colour was the star?": "blue",
    "what colour was the square?": "orange",
    "what colour did the green ring turn?": "white",
    "where was the red circle?": "left",
    "where was the orange square?": "top",
    "what was written?": "moon",
    "what was said first?": "king",
    "what was said last?": "zero",
    "how many words were said?": "3",
    "how many words were written?": "1",
    "how many shapes moved across?": "1",
    "how many times was the bell heard?": "2",
}


def test_hand_written_scene():
    asked = {q.text: q.answer for q in ask(HAND)}
    assert {text: asked.get(text) for text in ANSWERS} == ANSWERS
    comparisons = {text: answer for text, answer in asked.items() if text.startswith("which")
                   and " or " in text}
    assert set(asked) - set(comparisons) == set(ANSWERS)
    mixed = {frozenset(re.fullmatch(r"which came first, (.+) or (.+)\?", text).groups()): answer
             for text, answer in comparisons.items() if "came" in text}
    assert mixed == {frozenset({"the blue star", "the sound of the bird"}): "blue star",
                     frozenset({"the green ring", "the sound of the clock"}): "clock"}
    # without hit and near
    order = ["red circle", "moon", "blue star", "drum", "green ring", "orange square", "bell"]
    first = {frozenset(re.search(r"first, (.+) or (.+)\?", t).groups()): a
             for t, a in comparisons.items() if "shown" in t}
    assert first == {frozenset({a, b}): a for i, a in enumerate(order) for b in order[i + 1:]}
    # without the bell, which is heard twice
    order = ["king", "horn", "bird", "clock", "milk", "siren", "zero"]
    first = {frozenset(re.search(r"first, (.+) or (.+)\?", t).groups()): a
             for t, a in comparisons.items() if "heard" in t}
    assert first == {frozenset({a, b}): a for i, a in enumerate(order) for b in order[i + 1:]}


def test_a_repeated_sound_is_counted_but_not_referred_to():
    texts = [q.text for q in ask(HAND)]
    assert not [t for t in texts if "the bell was heard" in t or "sound of the bell" in t]


@pytest.mark.parametrize("silent", [(1, 5), (1, 7), (5, 7)])
def test_questions_that_one_stream_can_answer_are_not_among_those_for_both(silent):
    """With one spoken word in the clip, "what was said when ..." does not need video."""
    moments = tuple(replace(m, heard=None) if i in silent else m
                    for i, m in enumerate(HAND.moments))
    families = Counter(q.family for q in ask(replace(HAND, moments=moments)))
    assert "said_when" not in families and families["heard_while"] == 2 and families["said"] == 1


def test_questions_of_both_streams_leave_each_stream_enough_answers():
    for scene in scenes():
        for q in ask(scene):
            if q.family in ("heard_while", "said_when", "off_screen"):
                names = {m.heard.name for m in scene.moments if m.heard}
                assert len(names & set(q.candidates)) >= MIN_ANSWERS
            if q.family == "shown_when":
                assert sum(m.seen in ("show", "move", "turn", "write")
                           for m in scene.moments) >= MIN_ANSWERS


def test_guesser_accuracy_by_hand():
    by_text = {q.text: q for q in ask(HAND)}

    def chance(text):
        return [guesser_accuracy(HAND, by_text[text], stream) for stream in ("video", "audio")]

    assert chance("what was said when moon was written?") == [1 / 20, 1 / 3]  # three words are said
    # six sounds, two are the bell's
    assert chance("what was heard while the red circle was shown?") == [1 / 8, 2 / 6]
    assert chance("what was heard off screen while the drum was shown?") == [1 / 7, 2 / 6]
    # four shapes and a word, no things
    assert chance("what was shown when the horn was heard?") == [1 / 5, 1 / 49]
    assert chance("what was shown when king was said?") == [1 / 5, 1 / 20]
    assert chance("where was the red circle?") == [1.0, 1 / 4]
    assert chance("what was said first?") == [1 / 20, 1.0]
    mixed = [q for q in ask(HAND) if q.family == "first_mixed"]
    # video excludes the neighbour with the hit
    next_to_hit = {"green ring", "orange square"}
    chances = {q.candidates[0]: guesser_accuracy(HAND, q, "video") for q in mixed}
    assert "green ring" in chances and "blue star" in chances
    assert chances == {picture: 1.0 if picture in next_to_hit else 0.5 for picture in chances}
    with pytest.raises(ValueError, match="smell"):
        guesser_accuracy(HAND, mixed[0], "smell")
