"""A scene of the mini world: its visible and audible events, moment by moment, drawn from a seed.

A scene lasts 8 to 12 s and consists of four to six *moments* of about 2 s. Each moment has at most
one visible and at most one audible event. The two are drawn independently, with one exception: a
thing that is hit makes its sound. The script of a scene is known, so the answers are known, too.

Coordinates are fractions of the picture's side (x to the right, y down). Times are in seconds from
the start of the clip.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring")
# Each thing has a picture and a sound.
THINGS = ("bell", "drum", "whistle", "horn", "clock", "phone", "bird", "siren")
WORDS = ("apple", "book", "door", "fish", "garden", "hand", "king", "lion", "milk", "moon", "paper",
         "queen", "river", "salt", "seven", "sugar", "table", "tiger", "water", "zero")
PLACES = {"left": (0.22, 0.5), "right": (0.78, 0.5), "top": (0.5, 0.22), "bottom": (0.5, 0.78)}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
# The scene seeds of each split. Training accepts seeds of "train" only.
SPLITS = {name: range(i * 10**9, (i + 1) * 10**9)
          for i, name in enumerate(("train", "validation", "test", "samples"))}
# Each purpose of random numbers has a stream of its own, so that no draw depends on another one:
# `stream(purpose, seed)`. The seed is a scene's, unless a comment says otherwise.
STREAMS = {
    "scene": (7,), "background": (11,), "colours": (12,), "background noise": (13,),
    "audible event": (17,),  # seed: `Heard.seed`
    "pixel noise": (31,), "question alternatives": (21,), "rewording": (22,),
    "evaluation questions": (81,), "other voices": (82,), "diagnosis questions": (3,),
    "training questions": (41,),
    "asr scene": (91, 0), "avsr scene": (91, 1), "still scene": (91, 2), "isqa scene": (91, 3),
    "avssd scene": (91, 4), "avm scene": (91, 5), "rapid scene": (92,), "test set questions": (93,),
    "evaluation task questions": (94,), "held-out questions": (95,),
    "held-out task questions": (96,),
    "visual pretraining frames": (51,), "audio augmentation": (61,),
    "language pretraining": (62,), "language evaluation": (63,),
    "clips outside the mini world": (71,),  # seed: the number of the clip
}
# How often each kind of visible event is drawn ...
SEEN_KINDS = {"show": 0.22, "move": 0.18, "turn": 0.1, "thing": 0.2, "write": 0.16, "hit": 0.09,
              "nothing": 0.05}
# ... and each kind of audible event. One of the two tables is drawn for each scene, since a
# question about both streams needs three sounds, or three words, in one clip.
HEARD_KINDS = ({"sound": 0.72, "word": 0.16, "nothing": 0.12},
               {"sound": 0.22, "word": 0.66, "nothing": 0.12})


@dataclass(frozen=True)
class Actor:
    """A visible object: a shape with a colour, a sounding thing, or a written word."""

    name: str
    colour: str | None = None
    start: tuple[float, float] = (0.5, 0.5)
    end: tuple[float, float] | None = None  # end of its straight path; None: it does not move
    turns: str | None = None  # its colour from the middle of the moment on
    size: float = 0.3  # width, as a fraction of the picture's side

    @property
    def label(self) -> str:
        return f"{self.colour} {self.name}" if self.colour else self.name


@dataclass(frozen=True)
class Heard:
    """An audible event. `seed` determines its pitch, loudness, voice and other variations."""

    kind: str  # "sound" (of a thing) or "word" (spoken)
    name: str
    start: float
    seconds: float
    seed: int


@dataclass(frozen=True)
class Moment:
    """A part of the scene. `actors[0]` is its subject; the second actor of a "hit" is hit by it."""

    start: float
    end: float
    seen: str  # a key of `SEEN_KINDS`, "near" (only last), or "pair" (only in `world.tasks`)
    actors: tuple[Actor, ...] = ()
    direction: str | None = None  # the place of the subject, or the direction of its movement
    arrive: float = 1.0  # fraction of the moment after which a moving actor stops
    heard: Heard | None = None

    @property
    def subject(self) -> str | None:
        """The label of the first actor, such as "red circle"; None for an empty picture."""
        return self.actors[0].label if self.actors else None


@dataclass(frozen=True)
class Scene:
    """The script of a clip."""

    seed: int
    duration: float  # seconds
    moments: tuple[Moment, ...]
    background: tuple[int, int, int]  # RGB
    noise: float  # standard deviation of the background noise in the waveform

    def to_dict(self) -> dict:
        return asdict(self)


def split_of(seed: int) -> str:
    """The name of the split that a scene seed belongs to.

    Raises:
        ValueError: the seed belongs to no split.
    """
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise ValueError(f"scene seed {seed} belongs to no split. Choose a seed from 0 to "
                     f"{4 * 10**9 - 1}, see scene.SPLITS")


def stream(purpose: str, *seeds: int) -> np.random.Generator:
    """The random generator for one purpose, a key of `STREAMS`, and these seeds."""
    return np.random.default_rng([*seeds, *STREAMS[purpose]])


def draw_scene(seed: int) -> Scene:
    """Draw a scene. The same seed always gives the same scene.

    Raises:
        ValueError: the seed belongs to no split.
    """
    split_of(seed)
    rng = stream("scene", seed)
    duration = round(float(rng.uniform(8.0, 12.0)), 2)
    edges = _moment_edges(rng, duration)
    decks = _Decks(rng)
    moments = []
    for i, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        last = i == len(edges) - 2
        kind = "near" if last and rng.random() < 0.4 else _pick(rng, SEEN_KINDS)
        moments.append(_draw_seen(rng, kind, decks, start, end))
    moments = _draw_heard(rng, moments, duration)
    background = rng.integers(15, 75) + rng.integers(-8, 9, size=3)
    return Scene(seed, duration, tuple(moments), tuple(map(int, background)),
                 noise=float(10 ** rng.uniform(-3.2, -2.2)))


def _moment_edges(rng, duration: float) -> list[float]:
    """Split the duration into moments of about 2 s, each at least 1.5 s (three frames at 2 Hz)."""
    count = round(duration / 2)
    spare = duration - 1.5 * count
    lengths = 1.5 + spare * rng.dirichlet(np.full(count, 4.0))
    return [0.0, *(round(float(edge), 3) for edge in np.cumsum(lengths)[:-1]), duration]


def _pick(rng, weights: dict[str, float]) -> str:
    p = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=p / sum(weights.values())))


class _Decks:
    """Colours, shapes, things and words, each dealt at most once in a scene."""

    def __init__(self, rng):
        self.decks = {"colour": list(rng.permutation(COLOURS)),
                      "shape": list(rng.permutation(SHAPES)),
                      "thing": list(rng.permutation(THINGS)), "word": list(rng.permutation(WORDS))}

    def hold(self, **needed: int) -> bool:
        return all(len(self.decks[deck]) >= count for deck, count in needed.items())

    def deal(self, deck: str) -> str:
        return str(self.decks[deck].pop())


def _draw_seen(rng, kind: str, decks: _Decks, start: float, end: float) -> Moment:
    """Draw one visible event; "nothing" where too few names are left for this kind."""
    needs = {"show": {"shape": 1, "colour": 1}, "move": {"shape": 1, "colour": 1},
             "turn": {"shape": 1, "colour": 2}, "thing": {"thing": 1}, "write": {"word": 1},
             "hit": {"shape": 2, "colour": 2, "thing": 1},
             "near": {"shape": 1, "colour": 1, "thing": 2}, "nothing": {}}[kind]
    if not decks.hold(**needs):
        return Moment(start, end, "nothing")

    def size():
        return float(rng.uniform(0.26, 0.36))

    def near(place):
        return tuple(float(v + rng.uniform(-0.05, 0.05)) for v in place)

    def shape(**kw):
        return Actor(decks.deal("shape"), decks.deal("colour"), size=size(), **kw)

    where = str(rng.choice(list(PLACES)))
    anywhere = near((rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)))
    if kind == "show":
        return Moment(start, end, kind, (shape(start=near(PLACES[where])),), where)
    if kind == "move":
        toward = {"left": "left", "right": "right", "top": "up", "bottom": "down"}[where]
        actor = shape(start=near(PLACES[OPPOSITE[where]]), end=near(PLACES[where]))
        return Moment(start, end, kind, (actor,), toward)
    if kind == "turn":
        actor = shape(start=anywhere)
        return Moment(start, end, kind, (replace(actor, turns=decks.deal("colour")),))
    if kind == "thing":
        actor = Actor(decks.deal("thing"), start=anywhere, size=size() * 1.15)
        return Moment(start, end, kind, (actor,))
    if kind == "write":
        actor = Actor(decks.deal("word"), start=near((0.5, 0.5)), size=size() * 2.0)
        return Moment(start, end, kind, (actor,))
    if kind in ("hit", "near"):
        # The first actor starts in the middle and moves to one side, towards a thing. On the other
        # side is a shape ("hit") or another thing ("near": the clip ends before they touch).
        side, other = (0.2, 0.8) if rng.random() < 0.5 else (0.8, 0.2)
        y = float(rng.uniform(0.4, 0.6))
        reach = 0.5 + (side - 0.5) * (0.62 if kind == "hit" else 0.36)
        mover = replace(shape(start=(0.5, y), end=(reach, y)), size=0.24)
        target = Actor(decks.deal("thing"), start=(side, y), size=0.32)
        rest = Actor(decks.deal("thing"), start=(other, y), size=0.32) if kind == "near" else \
            replace(shape(start=(other, y)), size=0.24)
        arrive = 0.4 if kind == "hit" else 1.0
        return Moment(start, end, kind, (mover, target, rest), arrive=arrive)
    return Moment(start, end, "nothing")


def _draw_heard(rng, moments: list[Moment], duration: float) -> list[Moment]:
    """Add the audible events. No name occurs twice, except for one sound that may be repeated."""
    hit = {m.actors[1].name for m in moments if m.seen == "hit"}
    ahead = {a.name for m in moments if m.seen == "near" for a in m.actors[1:]}
    free = [str(t) for t in rng.permutation(THINGS) if t not in hit | ahead]
    words = [str(w) for w in rng.permutation(WORDS)]
    again = free[0] if free and rng.random() < 0.35 else None  # this sound may be repeated
    kinds = HEARD_KINDS[rng.integers(len(HEARD_KINDS))]
    result = []
    for m in moments:
        length = m.end - m.start
        seconds = float(rng.uniform(0.5, 0.75))
        onset = m.start + 0.05 + float(rng.uniform(0, length - seconds - 0.1))
        kind = {"hit": "sound", "near": "nothing"}.get(m.seen) or _pick(rng, kinds)
        name = None
        if m.seen == "hit":
            name, onset = m.actors[1].name, m.start + m.arrive * length
            seconds = min(seconds, 0.55 * length)
        elif kind == "word":
            name = words.pop()
        elif kind == "sound":
            shown = m.actors[0].name if m.seen == "thing" else None
            if shown in free and rng.random() < 0.5:  # the visible thing sounds
                name = shown
                if shown != again:
                    free.remove(shown)
            else:
                choices = [t for t in free if t != shown]
                name = choices[-1] if choices else None
                if again in choices and rng.random() < 0.4:
                    name = again
                if name and name != again:
                    free.remove(name)
        if name:
            seed = int(rng.integers(2**31))
            m = replace(m, heard=Heard(kind, name, round(onset, 3), round(seconds, 3), seed))
        result.append(m)
    return result


def excerpt(scene: Scene, first: int, count: int) -> Scene:
    """`count` moments of a scene, from moment `first` on, as a scene that starts at 0 s."""
    moments = scene.moments[first : first + count]
    begin = moments[0].start
    shifted = tuple(
        replace(m, start=m.start - begin, end=m.end - begin,
                heard=m.heard and replace(m.heard, start=m.heard.start - begin)) for m in moments)
    return replace(scene, moments=shifted, duration=moments[-1].end - begin)
