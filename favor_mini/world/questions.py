"""Questions about a scene, each with its certain answer and with what it takes to answer it.

`needs` says which abilities a question calls for: "audio", "video", "sync" (which sound belongs to which picture),
"order" (what came before what) and "cause" (what made it happen, what will happen). `candidates` lists the answers
that somebody would weigh who knew the world but not the clip, the right one among them: guessing scores 1 in that many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from .scene import COLOURS, PLACES, SHAPES, THINGS, WORDS, Moment, Scene

FAMILIES = {  # family: what it needs
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
    "where": ("video",),
    "read": ("video",),
    "count_seen": ("video",),
    "said": ("audio",),
    "count_heard": ("audio",),
}
FAMILY_GROUPS = {  # family: the group that it is scored in, by what its questions need
    family: "both modalities" if {"audio", "video"} <= set(needs)
    else "one modality, order or cause" if len(needs) > 1 else "one modality, plain"
    for family, needs in FAMILIES.items()}
GROUPS = ("both modalities", "one modality, order or cause", "one modality, plain")
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
NUMBERS = tuple(str(n) for n in range(9))
ENOUGH = 3  # asked about both streams, a clip must hold this many possible answers, or one stream would be enough


@dataclass(frozen=True)
class Question:
    family: str
    text: str
    answer: str
    candidates: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return FAMILIES[self.family]

    @property
    def single_modality(self) -> bool:
        """Whether one stream is enough, so that a deaf or a blind model could answer."""
        return not {"audio", "video"} <= set(self.needs)


def ask(scene: Scene, enough: int = ENOUGH) -> list[Question]:
    """Every question that the scene answers, family by family, always the same for the same scene.

    Args:
        enough: how many possible answers a clip must hold where both streams are asked about. Fewer than `ENOUGH` is for
            practice alone.
    """
    rng = np.random.default_rng([scene.seed, 21])  # draws the order in which alternatives are named
    seen = [m for m in scene.moments if m.seen != "nothing"]
    heard = [m for m in scene.moments if m.heard]
    return [*_sync(scene, enough), *_mixed_first(scene, rng), *_order("seen", seen, rng), *_order("heard", heard, rng),
            *_causes(scene), *_looks(seen), *_counts(seen, heard)]


def choose(scene: Scene, rng: np.random.Generator, count: int, reword_them: bool = False,
           enough: int = ENOUGH, hard: bool = False, missing: str | None = None, only: str | None = None) -> list[Question]:
    """Draw `count` questions at most: first a family, evenly, then one of its questions; none twice.

    Args:
        hard: draw a family as often as the square of how many abilities it needs.
        missing: a stream that the clip lacks, "audio" or "video"; nothing is asked that needs it.
        only: the one family to ask from.
    """
    pools: dict[str, list[Question]] = {}
    for question in ask(scene, enough):
        if missing not in question.needs and only in (None, question.family):
            pools.setdefault(question.family, []).append(question)
    chosen = []
    while len(chosen) < count and pools:
        families = list(pools)
        if hard:
            weights = np.array([len(FAMILIES[name]) ** 2 for name in families])
            family = families[rng.choice(len(families), p=weights / weights.sum())]
        else:
            family = families[rng.integers(len(families))]
        chosen.append(pools[family].pop(rng.integers(len(pools[family]))))
        if not pools[family]:
            del pools[family]
    return [replace(q, text=reword(q.text, rng)) for q in chosen] if reword_them else chosen


def one_stream_chance(scene: Scene, question: Question, stream: str) -> float:
    """How often somebody is right at best who takes in all of one stream, "video" or "audio", and nothing of the other.

    It is the honest chance level of a question that needs both: to be right more often, both must be put together.
    For `first_mixed` it is the neighbours that tell: what comes in the first moment came before the other one, and the eyes
    can tell that a moment of a hit, or before one, is not asked about.
    """
    if stream not in ("video", "audio"):
        raise ValueError(f'stream is {stream!r}, expected "video" or "audio"')
    if not {"audio", "video"} <= set(question.needs):
        return 1.0 if stream in question.needs else 1 / len(question.candidates)
    if question.family == "first_mixed":
        picture, sound = question.candidates
        known = next(i for i, m in enumerate(scene.moments) if (m.subject == picture if stream == "video" else
                                                                m.heard is not None and m.heard.name == sound))
        open_sides = [i for i in (known - 1, known + 1) if 0 <= i < len(scene.moments)
                      and not (stream == "video" and scene.moments[i].seen in ("hit", "near"))]
        return 1 / len(open_sides)
    if stream != ("video" if question.family == "shown_when" else "audio"):
        return 1 / len(question.candidates)
    told = _alternatives(scene, question)
    return max(map(told.count, told)) / len(told)


def single_modality_chance(scenes: dict[str, Scene]):
    """The chance level of a question about a clip, for `evaluation.answering.evaluate`.

    Where a question needs both streams: the best accuracy of a guesser that has the whole of one stream and nothing of
    the other. Elsewhere: one in the number of candidate answers.

    Args:
        scenes: the script of each clip, by its name.
    """
    def chance(name: str, question: Question) -> float:
        if not {"audio", "video"} <= set(question.needs):
            return 1 / len(question.candidates)
        return max(one_stream_chance(scenes[name], question, stream) for stream in ("audio", "video"))

    return chance


REWORDINGS = (  # (as `ask` words it, other wordings that mean the same)
    ("what was shown when", ("what was on screen when", "what could be seen when", "which picture was there when")),
    ("what was heard while", ("which sound was heard while", "what sounded while", "what could be heard while")),
    ("what was said when", ("which word was said when", "what was spoken when", "which word was heard when")),
    ("what was said", ("which word was said", "what was spoken")),
    ("what was written", ("which word was written", "what could be read")),
    (" was heard?", (" rang?", " sounded?", " played?")),
    (" was said?", (" was spoken?",)),
    (" was shown?", (" appeared?", " was on screen?", " was there?", " could be seen?")),
    ("next after", ("right after", "just after")),
    ("last before", ("right before", "just before")),
    ("what made the", ("who made the",)),
    (" sound?", (" ring?", " play?")),
    ("what will be heard next?", ("what will happen next?", "which sound comes next?", "what will sound next?")),
    ("what colour", ("which colour", "what color")),
    ("where was the", ("at which place was the", "on which side was the")),
    ("which way did", ("in which direction did", "where to did")),
)
COLOURED = re.compile(f"the (?:{'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")  # "the red circle", but not "or red circle"


def reword(text: str, rng: np.random.Generator) -> str:
    """The same question in other words, so that a model learns the meaning and not one template.

    Now and then a shape goes without its colour, as no scene has two alike: who always hears both never listens to the shape.
    """
    for usual, others in REWORDINGS:
        if usual in text:
            text = text.replace(usual, str(rng.choice([usual, *others])), 1)
    return COLOURED.sub(r"the \1", text) if rng.random() < 0.3 else text


# How the events are named in questions and answers.

def _sound(moment: Moment) -> str:
    """ "the bell was heard", "moon was said" """
    heard = moment.heard
    return f"{heard.name} was said" if heard.kind == "word" else f"the {heard.name} was heard"


def _picture(moment: Moment) -> str:
    """ "the red circle was shown", "moon was written" """
    return f"{moment.subject} was written" if moment.seen == "write" else f"the {moment.subject} was shown"


def _kind(name: str) -> tuple[str, ...]:
    """All names of the same kind: the answers that could be confused with this one."""
    return next(pool for pool in (LABELS, THINGS, WORDS, COLOURS, SHAPES, tuple(PLACES)) if name in pool)


def _once(scene: Scene, moment: Moment) -> bool:
    """Whether a moment's sound is heard in no other moment."""
    return sum(m.heard is not None and m.heard.name == moment.heard.name for m in scene.moments) == 1


def _sync(scene: Scene, enough: int) -> list[Question]:
    """Pictures and sounds of one moment. Hits are left out: there the picture alone tells the sound."""
    found = []
    for m in scene.moments:
        if m.heard is None or m.seen in ("nothing", "hit", "near"):
            continue
        name, shown = m.heard.name, m.subject
        if m.seen != "thing" and _once(scene, m):
            found.append(Question("shown_when", f"what was shown when {_sound(m)}?", shown, _kind(shown)))
        if m.seen == "thing" and m.heard.kind == "sound":
            if name != shown:
                candidates = tuple(t for t in THINGS if t != shown)
                text = f"what was heard off screen while the {shown} was shown?"
                found.append(Question("off_screen", text, name, candidates))
        elif m.heard.kind == "sound":
            found.append(Question("heard_while", f"what was heard while {_picture(m)}?", name, THINGS))
        else:
            found.append(Question("said_when", f"what was said when {_picture(m)}?", name, WORDS))
    return [q for q in found if len(set(_alternatives(scene, q))) >= enough]


def _alternatives(scene: Scene, question: Question) -> list[str]:
    """All in the scene that could be the answer, for somebody who takes in the answer's own stream but not the other."""
    if question.family == "shown_when":
        return [m.subject for m in scene.moments if m.seen in ("show", "move", "turn", "write")]
    return [m.heard.name for m in scene.moments if m.heard and m.heard.name in question.candidates]


def _mixed_first(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """A picture against a sound: which came first? Asked both ways round, so that the wording gives nothing away.

    Only neighbouring moments are compared: of two that lie further apart, a picture early in the clip nearly always
    came before the sound, and the eyes alone would be right four times in five.
    """
    found = []
    for i, m in enumerate(scene.moments):
        for j, n in enumerate(scene.moments):
            if i == j or m.seen not in ("show", "move", "turn") or n.heard is None or not _once(scene, n):
                continue
            if n.heard.kind == "sound" and n.seen != "hit":
                pair = (f"the {m.subject}", f"the sound of the {n.heard.name}")
                pair = pair if rng.random() < 0.5 else pair[::-1]
                answer = m.subject if i < j else n.heard.name
                text = f"which came first, {pair[0]} or {pair[1]}?"
                if abs(i - j) == 1:
                    found.append(Question("first_mixed", text, answer, (m.subject, n.heard.name)))
    return found


def _order(stream: str, moments: list[Moment], rng: np.random.Generator) -> list[Question]:
    """Before, after and first within the pictures or within the sounds."""
    def named(m):
        return m.subject if stream == "seen" else m.heard.name

    def told(m):
        return _picture(m) if stream == "seen" else _sound(m)

    names = [named(m) for m in moments]
    usable = [names.count(named(m)) == 1 and (stream == "heard" or m.seen not in ("hit", "near")) for m in moments]
    verb = {"seen": "shown", "heard": "heard"}[stream]
    everything = (*LABELS, *THINGS, *WORDS) if stream == "seen" else (*THINGS, *WORDS)
    found = []
    for i in range(len(moments) - 1):
        if usable[i] and usable[i + 1]:
            found.append(Question(f"{stream}_after", f"what was {verb} next after {told(moments[i])}?",
                                  names[i + 1], everything))
            found.append(Question(f"{stream}_before", f"what was {verb} last before {told(moments[i + 1])}?",
                                  names[i], everything))
    first = [i for i in range(len(moments)) if usable[i]]
    for a in first:
        for b in first:
            if a < b:
                pair = (names[a], names[b]) if rng.random() < 0.5 else (names[b], names[a])
                text = f"which was {verb} first, {pair[0]} or {pair[1]}?"
                found.append(Question(f"first_{stream}", text, names[a], (names[a], names[b])))
    return found


def _causes(scene: Scene) -> list[Question]:
    """What made a thing sound, and what will be heard once the clip goes on."""
    found = []
    for m in scene.moments:
        if m.seen == "hit":
            both = (m.actors[0].label, m.actors[2].label)
            found.append(Question("cause", f"what made the {m.actors[1].name} sound?", both[0], both))
        if m.seen == "near":
            both = (m.actors[1].name, m.actors[2].name)
            found.append(Question("next", "what will be heard next?", both[0], both))
    return found


def _looks(moments: list[Moment]) -> list[Question]:
    """Colours, places, directions and written words."""
    found = []
    for m in moments:
        actor = m.actors[0]
        if m.seen in ("show", "move"):
            found.append(Question("colour", f"what colour was the {actor.name}?", actor.colour, COLOURS))
        if m.seen == "turn":
            colours = tuple(c for c in COLOURS if c != actor.colour)
            found.append(Question("turn", f"what colour did the {actor.label} turn?", actor.turns, colours))
        if m.seen == "show":
            found.append(Question("where", f"where was the {actor.label}?", m.direction, tuple(PLACES)))
        if m.seen == "move":
            ways = ("left", "right", "up", "down")
            found.append(Question("direction", f"which way did the {actor.label} move?", m.direction, ways))
    written = [m.subject for m in moments if m.seen == "write"]
    if len(written) == 1:
        found.append(Question("read", "what was written?", written[0], WORDS))
    return found


def _counts(seen: list[Moment], heard: list[Moment]) -> list[Question]:
    """How many, and the one word that was said."""
    words = [m.heard.name for m in heard if m.heard.kind == "word"]
    sounds = [m.heard.name for m in heard if m.heard.kind == "sound"]
    moved = sum(m.seen == "move" for m in seen)
    written = sum(m.seen == "write" for m in seen)
    small = NUMBERS[:5]
    found = [Question("count_heard", "how many words were said?", str(len(words)), small),
             Question("count_seen", "how many shapes moved across?", str(moved), small),
             Question("count_seen", "how many words were written?", str(written), small)]
    # Few sounds return: asked of every one, "1" would nearly always be right.
    often = [n for n in dict.fromkeys(sounds) if sounds.count(n) > 1]
    for name in often or sounds[:1] * (len(words) == 2):
        found.append(Question("count_heard", f"how many times was the {name} heard?", str(sounds.count(name)), small))
    if len(words) == 1:
        found.append(Question("said", "what was said?", words[0], WORDS))
    elif words:
        found.append(Question("said", "what was said first?", words[0], WORDS))
        found.append(Question("said", "what was said last?", words[-1], WORDS))
    return [q for q in found if q.answer in q.candidates]
