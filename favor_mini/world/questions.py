"""Questions about a scene, each with its answer and the abilities that it needs.

The abilities are "audio", "video", "sync" (which sound belongs to which picture), "order" (which
event was first) and "cause" (what made an event happen, or will happen). `candidates` are the
answers that are plausible for someone who knows the mini world but not the clip.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from zlib import crc32

import numpy as np

from .scene import COLOURS, PLACES, SHAPES, THINGS, WORDS, Moment, Scene, stream

FAMILIES = {  # family: the abilities that it needs
    "shown_when": ("audio", "video", "sync"),
    "heard_while": ("audio", "video", "sync"),
    "said_when": ("audio", "video", "sync"),
    "off_screen": ("audio", "video", "sync"),
    "first_mixed": ("audio", "video", "sync", "order"),
    "seen_after": ("video", "order"),
    "seen_before": ("video", "order"),
    "first_seen": ("video", "order"),
    "heard_after": ("audio", "order"),
    "heard_before": ("audio", "order"),
    "first_heard": ("audio", "order"),
    "cause": ("video", "cause"),
    "next": ("video", "cause", "order"),
    "direction": ("video", "order"),
    "colour": ("video",),
    "turn": ("video", "order"),
    "where": ("video",), "read": ("video",), "count_seen": ("video",),
    "said": ("audio",), "count_heard": ("audio",),
}
GROUPS = ("both modalities", "one modality, order or cause", "one modality, plain")
FAMILY_GROUPS = {  # family: the group in which its questions are scored
    family: GROUPS[0 if {"audio", "video"} <= set(needs) else 1 if len(needs) > 1 else 2]
    for family, needs in FAMILIES.items()}
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
NUMBERS = tuple(str(n) for n in range(9))
MIN_ANSWERS = 3  # a question about both streams needs this many possible answers in the clip


@dataclass(frozen=True)
class Question:
    """A question with its answer; `candidates` include the answer."""

    family: str
    text: str
    answer: str
    candidates: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return FAMILIES[self.family]

    @property
    def single_modality(self) -> bool:
        """Whether audio alone, or video alone, is enough to answer."""
        return not {"audio", "video"} <= set(self.needs)


def ask(scene: Scene, min_answers: int = MIN_ANSWERS) -> list[Question]:
    """All questions that the scene can answer, by family; always the same for the same scene.

    Args:
        min_answers: how many possible answers a clip must hold for a question about both streams,
            so that one stream alone is not enough. Fewer than `MIN_ANSWERS`: for training only.
    """
    rng = stream("question alternatives", scene.seed)  # the order of "A or B" in the text
    seen = [m for m in scene.moments if m.seen != "nothing"]
    heard = [m for m in scene.moments if m.heard]
    return [*_sync(scene, min_answers), *_first_mixed(scene, rng), *_order("seen", seen, rng),
            *_order("heard", heard, rng), *_causes(scene), *_looks(seen), *_counts(seen, heard)]


def draw_questions(scene: Scene, rng: np.random.Generator, count: int, reworded: bool = False,
                   min_answers: int = MIN_ANSWERS, hard: bool = False, missing: str | None = None,
                   only: str | None = None) -> list[Question]:
    """Draw up to `count` different questions: each time a family, then one of its questions.

    Args:
        reworded: replace wordings at random, see `reword`.
        hard: draw a family with weight n ** 2, where n is the number of its abilities.
        missing: the stream that the clip does not have, "audio" or "video". No question needs it.
        only: the only family to draw from.
    """
    pools: dict[str, list[Question]] = {}
    for question in ask(scene, min_answers):
        if missing not in question.needs and only in (None, question.family):
            pools.setdefault(question.family, []).append(question)
    drawn = []
    while len(drawn) < count and pools:
        families = list(pools)
        weights = np.array([len(FAMILIES[name]) ** 2 for name in families])
        place = rng.choice(len(families), p=weights / weights.sum()) if hard else \
            rng.integers(len(families))
        family = families[place]
        drawn.append(pools[family].pop(rng.integers(len(pools[family]))))
        if not pools[family]:
            del pools[family]
    return [replace(q, text=reword(q.text, rng)) for q in drawn] if reworded else drawn


def guesser_accuracy(scene: Scene, question: Question, modality: str) -> float:
    """The best accuracy of a guesser that has the whole of one modality and nothing of the other.

    `first_mixed` compares neighbouring moments. A guesser that knows one of them knows the answer
    if that is the first or the last moment. With the video, it also excludes hits.

    Args:
        modality: "video" or "audio".

    Raises:
        ValueError: `modality` is neither.
    """
    if modality not in ("video", "audio"):
        raise ValueError(f'found modality={modality!r}, expected "video" or "audio"')
    if question.single_modality:
        return 1.0 if modality in question.needs else 1 / len(question.candidates)
    if question.family == "first_mixed":
        picture, sound = question.candidates
        known = next(i for i, m in enumerate(scene.moments) if (
            m.subject == picture if modality == "video" else m.heard and m.heard.name == sound))
        neighbours = [i for i in (known - 1, known + 1) if 0 <= i < len(scene.moments)
                      and not (modality == "video" and scene.moments[i].seen in ("hit", "near"))]
        return 1 / len(neighbours)
    if modality != ("video" if question.family == "shown_when" else "audio"):
        return 1 / len(question.candidates)
    possible = _possible_answers(scene, question)
    return max(map(possible.count, possible)) / len(possible)


def single_modality_chance(scenes: dict[str, Scene]) -> Callable[[str, Question], float]:
    """The chance level of a question about a clip, for `evaluation.answering.evaluate`.

    For a question that needs both modalities: the accuracy of the best single-modality guesser, see
    `guesser_accuracy`. Otherwise: one in the number of candidate answers.

    Args:
        scenes: the script of each clip, by the clip's name.
    """
    def chance(name: str, question: Question) -> float:
        if question.single_modality:
            return 1 / len(question.candidates)
        return max(guesser_accuracy(scenes[name], question, m) for m in ("audio", "video"))

    return chance


REWORDINGS = (  # (the wording of `ask`, other wordings with the same meaning)
    ("what was shown when", ("what was on screen when", "what could be seen when",
                             "which picture was there when")),
    ("what was heard while", ("which sound was heard while", "what sounded while",
                              "what could be heard while")),
    ("what was said when", ("which word was said when", "what was spoken when",
                            "which word was heard when")),
    ("what was said", ("which word was said", "what was spoken")),
    ("what was written", ("which word was written", "what could be read")),
    (" was heard?", (" rang?", " sounded?", " played?")),
    (" was said?", (" was spoken?",)),
    (" was shown?", (" appeared?", " was on screen?", " was there?", " could be seen?")),
    ("next after", ("right after", "just after")),
    ("last before", ("right before", "just before")),
    ("what made the", ("who made the",)),
    (" sound?", (" ring?", " play?")),
    ("what will be heard next?", ("what will happen next?", "which sound comes next?",
                                  "what will sound next?")),
    ("what colour", ("which colour", "what color")),
    ("where was the", ("at which place was the", "on which side was the")),
    ("which way did", ("in which direction did", "where to did")),
)
COLOURED = re.compile(f"the (?:{'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")  # "the red circle"


def reword(text: str, rng: np.random.Generator) -> str:
    """The same question with other words, so that a model does not learn one template.

    Three times in ten, "the red circle" becomes "the circle": no scene shows two circles.
    """
    for usual, others in REWORDINGS:
        if usual in text:
            text = text.replace(usual, str(rng.choice([usual, *others])), 1)
    return COLOURED.sub(r"the \1", text) if rng.random() < 0.3 else text


def reword_seeded(text: str, seed: int, draw: int = 0) -> str:
    """`reword` with the random stream of this question about the scene `seed`, and of this draw."""
    return reword(text, stream("rewording", seed, crc32(text.encode()), draw))


def _sound(moment: Moment) -> str:
    """ "the bell was heard", "moon was said" """
    heard = moment.heard
    return f"{heard.name} was said" if heard.kind == "word" else f"the {heard.name} was heard"


def _picture(moment: Moment) -> str:
    """ "the red circle was shown", "moon was written" """
    if moment.seen == "write":
        return f"{moment.subject} was written"
    return f"the {moment.subject} was shown"


def _once(scene: Scene, moment: Moment) -> bool:
    """Whether no other moment has the same sound."""
    return [m.heard and m.heard.name for m in scene.moments].count(moment.heard.name) == 1


# The questions of each family.

def _sync(scene: Scene, min_answers: int) -> list[Question]:
    """Picture and sound of one moment. Not of a hit: there the picture determines the sound."""
    found = []
    for m in scene.moments:
        if m.heard is None or m.seen in ("nothing", "hit", "near"):
            continue
        name, shown = m.heard.name, m.subject
        if m.seen != "thing" and _once(scene, m):
            names = WORDS if m.seen == "write" else LABELS
            found.append(Question("shown_when", f"what was shown when {_sound(m)}?", shown, names))
        if m.heard.kind == "word":
            text = f"what was said when {_picture(m)}?"
            found.append(Question("said_when", text, name, WORDS))
        elif m.seen != "thing":
            text = f"what was heard while {_picture(m)}?"
            found.append(Question("heard_while", text, name, THINGS))
        elif name != shown:
            text = f"what was heard off screen while the {shown} was shown?"
            others = tuple(t for t in THINGS if t != shown)
            found.append(Question("off_screen", text, name, others))
    return [q for q in found if len(set(_possible_answers(scene, q))) >= min_answers]


def _possible_answers(scene: Scene, question: Question) -> list[str]:
    """The events of the answer's modality that could be the answer, without the other modality."""
    if question.family == "shown_when":
        return [m.subject for m in scene.moments if m.seen in ("show", "move", "turn", "write")]
    names = (m.heard.name for m in scene.moments if m.heard)
    return [name for name in names if name in question.candidates]


def _first_mixed(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Which came first, a picture or a sound?

    Only for neighbouring moments. Otherwise an early picture would nearly always be the answer, and
    video alone would be right four times in five.
    """
    found = []
    for i, m in enumerate(scene.moments):
        for j, n in enumerate(scene.moments):
            if i == j or m.seen not in ("show", "move", "turn") or n.seen == "hit":
                continue
            if n.heard is None or n.heard.kind != "sound" or not _once(scene, n):
                continue
            pair = _either_order(rng, f"the {m.subject}", f"the sound of the {n.heard.name}")
            if abs(i - j) == 1:
                found.append(Question("first_mixed", f"which came first, {pair}?",
                                      m.subject if i < j else n.heard.name,
                                      (m.subject, n.heard.name)))
    return found


def _either_order(rng: np.random.Generator, first: str, second: str) -> str:
    return f"{first} or {second}" if rng.random() < 0.5 else f"{second} or {first}"


def _order(modality: str, moments: list[Moment], rng: np.random.Generator) -> list[Question]:
    """After, before and first, among the visible ("seen") or the audible ("heard") events."""
    seen = modality == "seen"
    names = [m.subject if seen else m.heard.name for m in moments]
    phrases = [_picture(m) if seen else _sound(m) for m in moments]
    unique = [names.count(name) == 1 and not (seen and m.seen in ("hit", "near"))
              for name, m in zip(names, moments, strict=True)]
    verb = "shown" if seen else "heard"
    everything = (*LABELS, *THINGS, *WORDS) if seen else (*THINGS, *WORDS)
    found = []
    for a, b in pairwise(range(len(moments))):
        if unique[a] and unique[b]:
            found += [Question(f"{modality}_after", f"what was {verb} next after {phrases[a]}?",
                               names[b], everything),
                      Question(f"{modality}_before", f"what was {verb} last before {phrases[b]}?",
                               names[a], everything)]
    for a, b in combinations([name for name, once in zip(names, unique, strict=True) if once], 2):
        text = f"which was {verb} first, {_either_order(rng, a, b)}?"
        found.append(Question(f"first_{modality}", text, a, (a, b)))
    return found


def _causes(scene: Scene) -> list[Question]:
    """What made a thing sound, and what will sound after the end of the clip."""
    found = []
    for m in scene.moments:
        labels = [actor.label for actor in m.actors]
        if m.seen == "hit":
            found.append(Question("cause", f"what made the {labels[1]} sound?", labels[0],
                                  (labels[0], labels[2])))
        if m.seen == "near":
            found.append(Question("next", "what will be heard next?", labels[1], tuple(labels[1:])))
    return found


def _looks(moments: list[Moment]) -> list[Question]:
    """Colours, places, directions and written words."""
    found = []
    for m in moments:
        actor = m.actors[0]
        name, label = actor.name, actor.label
        if m.seen in ("show", "move"):
            found.append(Question("colour", f"what colour was the {name}?", actor.colour, COLOURS))
        if m.seen == "turn":
            colours = tuple(c for c in COLOURS if c != actor.colour)
            text = f"what colour did the {label} turn?"
            found.append(Question("turn", text, actor.turns, colours))
        if m.seen == "show":
            found.append(Question("where", f"where was the {label}?", m.direction, tuple(PLACES)))
        if m.seen == "move":
            found.append(Question("direction", f"which way did the {label} move?", m.direction,
                                  ("left", "right", "up", "down")))
    written = [m.subject for m in moments if m.seen == "write"]
    if len(written) == 1:
        found.append(Question("read", "what was written?", written[0], WORDS))
    return found


def _counts(seen: list[Moment], heard: list[Moment]) -> list[Question]:
    """Counts, and the spoken words."""
    words = [m.heard.name for m in heard if m.heard.kind == "word"]
    sounds = [m.heard.name for m in heard if m.heard.kind == "sound"]
    kinds = [m.seen for m in seen]
    counts = [("count_heard", "how many words were said?", len(words)),
              ("count_seen", "how many shapes moved across?", kinds.count("move")),
              ("count_seen", "how many words were written?", kinds.count("write"))]
    # Few sounds are repeated. If all were asked about, "1" would nearly always be right.
    repeated = [n for n in dict.fromkeys(sounds) if sounds.count(n) > 1]
    for name in repeated or sounds[:1] * (len(words) == 2):
        counts.append(("count_heard", f"how many times was the {name} heard?", sounds.count(name)))
    found = [Question(family, text, str(count), NUMBERS[:5])
             for family, text, count in counts]
    if len(words) == 1:
        found.append(Question("said", "what was said?", words[0], WORDS))
    elif words:
        found += [Question("said", "what was said first?", words[0], WORDS),
                  Question("said", "what was said last?", words[-1], WORDS)]
    return [q for q in found if q.answer in q.candidates]  # a word can be a question (isqa)
