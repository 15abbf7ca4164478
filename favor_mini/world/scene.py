"""A scene of the mini world: what can be seen and heard, moment by moment, drawn from one seed.

A scene lasts 8 to 12 s and is a chain of four to six *moments* of about 2 s. In each moment at most one visible event
and at most one audible event take place, drawn independently, so that neither tells of the other; the exceptions
are causes: a thing that is hit sounds. Because the script is known exactly, so is every answer about the scene.

Coordinates are fractions of the picture (x to the right, y down), times are seconds from the clip's start.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring")
THINGS = ("bell", "drum", "whistle", "horn", "clock", "phone", "bird", "siren")  # each has a picture and a sound
WORDS = ("apple", "book", "door", "fish", "garden", "hand", "king", "lion", "milk", "moon", "paper", "queen",
         "river", "salt", "seven", "sugar", "table", "tiger", "water", "zero")  # written or spoken
PLACES = {"left": (0.22, 0.5), "right": (0.78, 0.5), "top": (0.5, 0.22), "bottom": (0.5, 0.78)}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
# Seeds of the splits never meet; training may only draw from "train" (tests hold on to it).
SPLITS = {"train": range(0, 10**9), "validation": range(10**9, 2 * 10**9), "test": range(2 * 10**9, 3 * 10**9),
          "samples": range(3 * 10**9, 4 * 10**9)}
# How often each kind of visible event is drawn.
SEEN_KINDS = {"show": 0.22, "move": 0.18, "turn": 0.1, "thing": 0.2, "write": 0.16, "hit": 0.09, "nothing": 0.05}
# ... and of audible event. Most scenes are rich in sounds or rich in words: with as many of each, few would hold the three
# of one kind between which a question about a picture's sound must leave the choice.
HEARD_KINDS = ({"sound": 0.72, "word": 0.16, "nothing": 0.12}, {"sound": 0.22, "word": 0.66, "nothing": 0.12})


@dataclass(frozen=True)
class Actor:
    """One visible thing: a shape (with a colour), a sounding thing, or a written word, on a straight path."""

    name: str
    colour: str | None = None
    start: tuple[float, float] = (0.5, 0.5)
    end: tuple[float, float] | None = None  # None: stands still
    turns: str | None = None  # the colour it takes half-way through the moment
    size: float = 0.3  # of the picture's side

    @property
    def label(self) -> str:
        return f"{self.colour} {self.name}" if self.colour else self.name


@dataclass(frozen=True)
class Heard:
    """One audible event. `seed` fixes its pitch, loudness, voice and other variations."""

    kind: str  # "sound" (of a thing) or "word" (spoken)
    name: str
    start: float
    seconds: float
    seed: int


@dataclass(frozen=True)
class Moment:
    """A stretch of the scene. `actors[0]` is what the moment is about; a hit's second actor is the thing it hits."""

    start: float
    end: float
    seen: str  # "show", "move", "turn", "thing", "write", "hit", "near" or "nothing"; in the tasks of `aveb` also "pair"
    actors: tuple[Actor, ...] = ()
    direction: str | None = None  # the place shown at, or the direction of the movement
    arrive: float = 1.0  # fraction of the moment after which a moving actor has arrived
    heard: Heard | None = None

    @property
    def subject(self) -> str | None:
        """What was shown, in words: "red circle", "bell", or the written word; None for an empty picture."""
        return self.actors[0].label if self.actors else None


@dataclass(frozen=True)
class Scene:
    seed: int
    duration: float
    moments: tuple[Moment, ...]
    background: tuple[int, int, int]  # RGB
    noise: float  # standard deviation of the background noise in the waveform

    def to_dict(self) -> dict:
        return asdict(self)


def split_of(seed: int) -> str:
    """The name of the split that a scene's seed belongs to."""
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise ValueError(f"scene seed {seed} lies in no split; seeds run from 0 to {4 * 10**9 - 1}, see scene.SPLITS")


def draw_scene(seed: int) -> Scene:
    """Draw a scene; the same seed always gives the same scene."""
    split_of(seed)
    rng = np.random.default_rng([seed, 7])
    duration = round(float(rng.uniform(8.0, 12.0)), 2)
    edges = _cut(rng, duration)
    looks = _Looks(rng)
    moments = []
    for i, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        last = i == len(edges) - 2
        kind = "near" if last and rng.random() < 0.4 else _pick(rng, SEEN_KINDS)
        moments.append(_draw_seen(rng, kind, looks, start, end))
    moments = _draw_heard(rng, moments, duration)
    background = tuple(int(v) for v in rng.integers(15, 75) + rng.integers(-8, 9, size=3).clip(-12, 12))
    return Scene(seed, duration, tuple(moments), background, noise=float(10 ** rng.uniform(-3.2, -2.2)))


def _cut(rng, duration: float) -> list[float]:
    """Cut the duration into moments of about 2 s, none shorter than 1.5 s (three frames at 2 Hz)."""
    count = round(duration / 2)
    spare = duration - 1.5 * count
    lengths = 1.5 + spare * rng.dirichlet(np.full(count, 4.0))
    return [0.0, *(round(float(edge), 3) for edge in np.cumsum(lengths)[:-1]), duration]


def _pick(rng, weights: dict[str, float]) -> str:
    return str(rng.choice(list(weights), p=np.array(list(weights.values())) / sum(weights.values())))


class _Looks:
    """Deals colours, shapes, things and words so that no two actors of a scene can be confused."""

    def __init__(self, rng):
        self.decks = {"colour": list(rng.permutation(COLOURS)), "shape": list(rng.permutation(SHAPES)),
                      "thing": list(rng.permutation(THINGS)), "word": list(rng.permutation(WORDS))}

    def has(self, **needed: int) -> bool:
        return all(len(self.decks[deck]) >= count for deck, count in needed.items())

    def deal(self, deck: str) -> str:
        return str(self.decks[deck].pop())


def _draw_seen(rng, kind: str, looks: _Looks, start: float, end: float) -> Moment:
    """Draw one visible event; a kind that the decks can no longer serve becomes an empty picture."""
    needs = {"show": {"shape": 1, "colour": 1}, "move": {"shape": 1, "colour": 1}, "turn": {"shape": 1, "colour": 2},
             "thing": {"thing": 1}, "write": {"word": 1}, "hit": {"shape": 2, "colour": 2, "thing": 1},
             "near": {"shape": 1, "colour": 1, "thing": 2}, "nothing": {}}[kind]
    if not looks.has(**needs):
        return Moment(start, end, "nothing")

    def size():
        return float(rng.uniform(0.26, 0.36))

    def near(place):
        return tuple(float(v + rng.uniform(-0.05, 0.05)) for v in place)

    def shape(**kw):
        return Actor(looks.deal("shape"), looks.deal("colour"), size=size(), **kw)

    where = str(rng.choice(list(PLACES)))
    anywhere = near((rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)))
    if kind == "show":
        return Moment(start, end, kind, (shape(start=near(PLACES[where])),), where)
    if kind == "move":
        toward = {"left": "left", "right": "right", "top": "up", "bottom": "down"}[where]
        return Moment(start, end, kind, (shape(start=near(PLACES[OPPOSITE[where]]), end=near(PLACES[where])),), toward)
    if kind == "turn":
        actor = shape(start=anywhere)
        return Moment(start, end, kind, (replace(actor, turns=looks.deal("colour")),))
    if kind == "thing":
        return Moment(start, end, kind, (Actor(looks.deal("thing"), start=anywhere, size=size() * 1.15),))
    if kind == "write":
        return Moment(start, end, kind, (Actor(looks.deal("word"), start=near((0.5, 0.5)), size=size() * 2.0),))
    if kind in ("hit", "near"):
        # The mover starts in the middle and goes to one side, where a thing stands; on the other side stands
        # a shape that is not touched ("hit") or another thing ("near": the clip ends before they touch).
        side, other = (0.2, 0.8) if rng.random() < 0.5 else (0.8, 0.2)
        y = float(rng.uniform(0.4, 0.6))
        reach = 0.5 + (side - 0.5) * (0.62 if kind == "hit" else 0.36)
        mover = replace(shape(start=(0.5, y), end=(reach, y)), size=0.24)
        target = Actor(looks.deal("thing"), start=(side, y), size=0.32)
        rest = Actor(looks.deal("thing"), start=(other, y), size=0.32) if kind == "near" else \
            replace(shape(start=(other, y)), size=0.24)
        return Moment(start, end, kind, (mover, target, rest), arrive=0.4 if kind == "hit" else 1.0)
    return Moment(start, end, "nothing")


def _draw_heard(rng, moments: list[Moment], duration: float) -> list[Moment]:
    """Give the moments their sounds. Names are dealt without repetition, except for one sound that may return."""
    struck = {m.actors[1].name for m in moments if m.seen == "hit"}
    ahead = {a.name for m in moments if m.seen == "near" for a in m.actors[1:]}
    free = [str(t) for t in rng.permutation(THINGS) if t not in struck | ahead]
    words = [str(w) for w in rng.permutation(WORDS)]
    again = free[0] if free and rng.random() < 0.35 else None  # this one may be heard several times
    kinds = HEARD_KINDS[rng.integers(len(HEARD_KINDS))]
    result = []
    for m in moments:
        length = m.end - m.start
        seconds = float(rng.uniform(0.5, 0.75))
        onset = m.start + 0.05 + float(rng.uniform(0, length - seconds - 0.1))
        kind = "sound" if m.seen == "hit" else "nothing" if m.seen == "near" else _pick(rng, kinds)
        name = None
        if m.seen == "hit":
            name, onset, seconds = m.actors[1].name, m.start + m.arrive * length, min(seconds, 0.55 * length)
        elif kind == "word":
            name = words.pop()
        elif kind == "sound":
            shown = m.actors[0].name if m.seen == "thing" else None
            if shown in free and rng.random() < 0.5:  # on screen; otherwise off screen
                name = shown
                if shown != again:
                    free.remove(shown)
            else:
                choices = [t for t in free if t != shown]
                name = again if again in choices and rng.random() < 0.4 else choices[-1] if choices else None
                if name and name != again:
                    free.remove(name)
        heard = Heard(kind, name, round(onset, 3), round(seconds, 3), int(rng.integers(2**31))) if name else None
        result.append(replace(m, heard=heard))
    return result


def stretch(scene: Scene, first: int, count: int) -> Scene:
    """A clip of `count` of its moments, from second 0."""
    moments = scene.moments[first : first + count]
    begin = moments[0].start
    shifted = tuple(replace(m, start=m.start - begin, end=m.end - begin,
                            heard=m.heard and replace(m.heard, start=m.heard.start - begin)) for m in moments)
    return replace(scene, moments=shifted, duration=moments[-1].end - begin)
