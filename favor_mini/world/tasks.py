"""Mini-AVEB: the eleven tasks of the paper's benchmark (section 4.1), on the mini world.

Each task draws its own kind of scenes, asks its own questions, and gives the model only the streams
that it lists. All answers follow from the script of the scene.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .questions import Question, draw_questions, single_modality_chance
from .scene import (
    COLOURS,
    OPPOSITE,
    PLACES,
    SHAPES,
    THINGS,
    WORDS,
    Actor,
    Heard,
    Moment,
    Scene,
    draw_scene,
    stream,
)
from .speech import ASKED

SPEECH, SOUND, PICTURE = "which words were said?", "describe the sound.", "describe the picture."
ASKED_ALOUD = "answer the spoken question."
SOURCE = "where in the picture was the thing that was heard?"
TOGETHER = "do sound and picture belong together?"
LOUD_NOISE = (0.04, 0.12)  # standard deviation of AVSR's noise; that of the words is 0.07 to 0.2


@dataclass(frozen=True)
class Example:
    """A question, its correct answers, and the candidates; () where the answer is free text.

    better_guess: accuracy of the best single-modality guesser, if above 1 / number of candidates.
    """

    question: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    better_guess: float = 0.0

    @property
    def guess(self) -> float:
        """The chance level; 0 for free text."""
        return max(self.better_guess, 1 / len(self.candidates) if self.candidates else 0.0)


@dataclass(frozen=True)
class Task:
    """A task of mini-AVEB.

    Args:
        streams: the model's inputs, of "audio" and "video".
        still: whether the video is a single picture.
        draw: draws the scene of a seed.
        ask: returns the examples for a scene, perhaps none; may draw from a random generator.
    """

    name: str
    title: str
    streams: tuple[str, ...]
    still: bool
    metric: str
    draw: Callable[[int], Scene]
    ask: Callable[[Scene, np.random.Generator], list[Example]]

    @property
    def missing(self) -> str | None:
        """The stream that the model does not get, "audio" or "video"."""
        return next((name for name in ("audio", "video") if name not in self.streams), None)

    def perceived(self, scene: Scene) -> Scene:
        """The scene without the events of the missing stream."""
        if self.missing is None:
            return scene
        return replace(scene, moments=tuple(
            replace(m, heard=None) if self.missing == "audio" else
            Moment(m.start, m.end, "nothing", heard=m.heard) for m in scene.moments))


# The scenes of the tasks.

def draw_speech(seed: int) -> Scene:
    """A scene with a spoken word in most moments, none twice, and no other sound."""
    rng, scene = stream("asr scene", seed), draw_scene(seed)
    words = iter(rng.permutation(WORDS))
    return replace(scene, moments=tuple(
        replace(m, heard=_heard("word", str(next(words)), m.start, m.end, rng)
                if rng.random() < 0.85 else None) for m in scene.moments))


def draw_subtitled(seed: int) -> Scene:
    """Words spoken over loud noise; two in three are also written at the same time.

    Other words are written while nothing is said, so that reading alone is not enough.
    """
    rng, scene = stream("avsr scene", seed), draw_speech(seed)
    said = {m.heard.name for m in scene.moments if m.heard}
    others = iter([str(w) for w in rng.permutation(WORDS) if w not in said])
    moments = []
    for m in scene.moments:
        word = next(others) if m.heard is None else m.heard.name
        plain = m if m.seen not in ("write", "near", "hit") else \
            Moment(m.start, m.end, "nothing", heard=m.heard)
        text = Actor(word, start=_near((0.5, 0.5), rng), size=0.62)
        written = Moment(m.start, m.end, "write", (text,), heard=m.heard)
        moments.append(written if rng.random() < 2 / 3 else plain)
    return replace(scene, moments=tuple(moments), noise=float(rng.uniform(*LOUD_NOISE)))


def draw_still(seed: int) -> Scene:
    """A picture: a shape at a place, a thing, a written word, or two things at opposite places."""
    rng = stream("still scene", seed)
    kind = ("show", "thing", "write", "pair")[rng.choice(4, p=(0.4, 0.15, 0.2, 0.25))]
    return _still(seed, rng, kind, seconds=0.5)


def draw_asked(seed: int) -> Scene:
    """A picture of a shape or of a written word, and a spoken question about it."""
    rng = stream("isqa scene", seed)
    kind = "write" if rng.random() < 0.25 else "show"
    scene = _still(seed, rng, kind, seconds=float(rng.uniform(1.5, 2.5)))
    question = "which word" if kind == "write" else ASKED[rng.integers(3)]
    return _with_sound(scene, "word", question, rng)


def draw_source(seed: int) -> Scene:
    """Two things at opposite places, and the sound of one of them."""
    rng = stream("avssd scene", seed)
    scene = _still(seed, rng, "pair", seconds=float(rng.uniform(1.5, 2.5)))
    return _with_sound(scene, "sound", scene.moments[0].actors[rng.integers(2)].name, rng)


def draw_match(seed: int) -> Scene:
    """A thing with a sound, or a written with a spoken word; they match half of the time."""
    rng = stream("avm scene", seed)
    kind, heard, pool = \
        ("thing", "sound", THINGS) if rng.random() < 0.5 else ("write", "word", WORDS)
    scene = _still(seed, rng, kind, seconds=float(rng.uniform(1.5, 2.5)))
    name = shown = scene.moments[0].subject
    if rng.random() >= 0.5:
        name = str(rng.choice([other for other in pool if other != shown]))
    return _with_sound(scene, heard, name, rng)


def _still(seed: int, rng, kind: str, seconds: float) -> Scene:
    scene, size = draw_scene(seed), float(rng.uniform(0.28, 0.36))
    place = str(rng.choice(list(PLACES)))
    if kind == "show":
        actors = (Actor(str(rng.choice(SHAPES)), str(rng.choice(COLOURS)),
                        _near(PLACES[place], rng), size=size),)
    elif kind == "pair":
        place = "left" if rng.random() < 0.5 else "top"  # of the first thing
        first, second = (str(name) for name in rng.choice(THINGS, 2, replace=False))
        actors = (Actor(first, start=_near(PLACES[place], rng), size=size),
                  Actor(second, start=_near(PLACES[OPPOSITE[place]], rng), size=size))
    else:
        name = str(rng.choice(THINGS if kind == "thing" else WORDS))
        size *= 1.15 if kind == "thing" else 2
        actors = (Actor(name, start=_near((0.5, 0.5), rng), size=size),)
    moment = Moment(0.0, seconds, kind, actors, place if kind in ("show", "pair") else None)
    return replace(scene, duration=seconds, moments=(moment,))


def _near(place: tuple[float, float], rng) -> tuple[float, float]:
    return tuple(float(v + rng.uniform(-0.05, 0.05)) for v in place)


def _with_sound(scene: Scene, kind: str, name: str, rng) -> Scene:
    (moment,) = scene.moments
    heard = _heard(kind, name, moment.start, moment.end, rng)
    return replace(scene, moments=(replace(moment, heard=heard),))


def _heard(kind: str, name: str, start: float, end: float, rng) -> Heard:
    seconds = float(rng.uniform(0.85, 0.95) if name in ASKED else rng.uniform(0.5, 0.75))
    onset = start + 0.05 + float(rng.uniform(0, end - start - seconds - 0.1))
    return Heard(kind, name, round(onset, 3), round(seconds, 3), int(rng.integers(2**31)))


# The examples of the tasks.

def transcribe(scene: Scene, rng=None) -> list[Example]:
    words = [m.heard.name for m in scene.moments if m.heard and m.heard.kind == "word"]
    return [Example(SPEECH, (" ".join(words),))] if words else []


def caption_sound(scene: Scene, rng=None) -> list[Example]:
    """Three captions with different verbs are correct."""
    heard = [m.heard for m in scene.moments if m.heard]
    captions = [", then ".join(
        f"{h.name} was {said}" if h.kind == "word" else f"the {h.name} {rang}" for h in heard)
        for said, rang in (("said", "was heard"), ("spoken", "sounded"), ("heard", "played"))]
    return [Example(SOUND, tuple(captions))] if heard else []


def caption_picture(scene: Scene, rng=None) -> list[Example]:
    """Two or three captions with different verbs are correct."""
    (moment,) = scene.moments
    names = [actor.label for actor in moment.actors]
    verbs = ("was shown", "was seen", "was on screen")
    where = f" at {moment.direction}" if moment.seen in ("show", "pair") else ""
    if moment.seen == "pair":
        where += f" beside the {names[1]} at {OPPOSITE[moment.direction]}"
    subject = f"the {names[0]}"
    if moment.seen == "write":
        subject, verbs = names[0], ("was written", "could be read")
    return [Example(PICTURE, tuple(f"{subject} {verb}{where}" for verb in verbs))]


def ask_picture(scene: Scene, rng) -> list[Example]:
    """Questions about a shape at its place, or about two things."""
    (moment,) = scene.moments
    actor, places = moment.actors[0], tuple(PLACES)
    if moment.seen == "show":
        return [Example(f"what colour was the {actor.name}?", (actor.colour,), COLOURS),
                Example("what shape was shown?", (actor.name,), SHAPES),
                Example(f"where was the {actor.label}?", (moment.direction,), places)]
    if moment.seen == "pair":
        both = list(zip((a.name for a in moment.actors),
                        (moment.direction, OPPOSITE[moment.direction]), strict=True))
        return [*(Example(f"where was the {name}?", (place,), places) for name, place in both),
                *(Example(f"what was shown at {place}?", (name,), THINGS) for name, place in both)]
    return []


def read_picture(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    if moment.seen != "write":
        return []
    return [Example("what was written?", (moment.subject,), WORDS)]


def answer_aloud(scene: Scene, rng=None) -> list[Example]:
    """The answer to the spoken question; with the picture alone, a shape leaves three answers."""
    (moment,) = scene.moments
    actor = moment.actors[0]
    answers = {"what colour": (actor.colour, COLOURS), "what shape": (actor.name, SHAPES),
               "where": (moment.direction, tuple(PLACES)), "which word": (actor.name, WORDS)}
    right, candidates = answers[moment.heard.name]
    return [Example(ASKED_ALOUD, (right,), candidates, 1 / 3 if moment.seen == "show" else 1.0)]


def find_source(scene: Scene, rng=None) -> list[Example]:
    """The place of the thing that is heard; with the picture alone, two places are possible."""
    (moment,) = scene.moments
    place = moment.direction
    if moment.heard.name != moment.actors[0].name:
        place = OPPOSITE[place]
    return [Example(SOURCE, (place,), tuple(PLACES), 1 / 2)]


def tell_match(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    answer = "yes" if moment.heard.name == moment.subject else "no"
    return [Example(TOGETHER, (answer,), ("yes", "no"))]


def ask_all(scene: Scene, rng, missing: str | None = None) -> list[Example]:
    """For training: the examples of all tasks that fit a scene, in random order.

    Args:
        missing: the stream that the model does not get, "audio" or "video".
    """
    found = [] if missing == "audio" else transcribe(scene) + caption_sound(scene)
    if len(scene.moments) == 1:
        (moment,) = scene.moments
        if missing != "video":
            found += caption_picture(scene) + ask_picture(scene, rng) + read_picture(scene)
        if missing is None and moment.heard:
            both = answer_aloud if moment.heard.name in ASKED else \
                find_source if moment.seen == "pair" else tell_match
            found += both(scene)
    return [found[i] for i in rng.permutation(len(found))]


def ask_clip(scene: Scene, rng, wanted: Callable[[Question], bool], options: int | None
             ) -> list[Example]:
    """The `wanted` questions about a clip, with at most `options` candidates; None: all."""
    chance = single_modality_chance({"": scene})
    questions = [q for q in draw_questions(scene, rng, 30) if wanted(q)]
    return [Example(q.text, (q.answer,), _options(q, options, rng),
                    0.0 if q.single_modality else chance("", q)) for q in questions]


def _options(question: Question, count: int | None, rng) -> tuple[str, ...]:
    """Up to `count` candidates, the answer among them, in random order."""
    others = [c for c in question.candidates if c != question.answer]
    if count is not None and len(others) >= count:
        others = [others[i] for i in rng.choice(len(others), count - 1, replace=False)]
    return tuple(str(c) for c in rng.permutation([question.answer, *others]))


def _temporal(question: Question) -> bool:
    return "audio" not in question.needs and bool({"order", "cause"} & set(question.needs))


def _needs_both(question: Question) -> bool:
    return not question.single_modality


_film = partial(ask_clip, wanted=_temporal, options=5)
_both = partial(ask_clip, wanted=_needs_both, options=None)
_AUDIO, _VIDEO, _AV = ("audio",), ("video",), ("audio", "video")
TASKS = {row[0]: Task(*row) for row in (
    ("asr", "speech recognition", _AUDIO, False, "word error rate", draw_speech, transcribe),
    ("ac", "audio captioning", _AUDIO, False, "CIDEr", draw_scene, caption_sound),
    ("ic", "image captioning", _VIDEO, True, "CIDEr", draw_still, caption_picture),
    ("ocr", "text reading", _VIDEO, True, "accuracy", draw_still, read_picture),
    ("vqa", "questions about a picture", _VIDEO, True, "accuracy", draw_still, ask_picture),
    ("video_qa", "questions about a silent film", _VIDEO, False, "accuracy", draw_scene, _film),
    ("avsr", "speech in noise, with film", _AV, False, "word error rate", draw_subtitled,
     transcribe),
    ("avqa", "questions about film and sound", _AV, False, "accuracy", draw_scene, _both),
    ("isqa", "spoken questions about a picture", _AV, True, "accuracy", draw_asked, answer_aloud),
    ("avssd", "where a sound comes from", _AV, True, "accuracy", draw_source, find_source),
    ("avm", "do sound and picture match?", _AV, True, "accuracy", draw_match, tell_match))}
