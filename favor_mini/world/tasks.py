"""Mini-AVEB: the eleven tasks of the paper's benchmark on the mini world.

Each task draws scenes of its own kind, asks about them in its own words, and gives the model only the streams that are
listed for it. All answers follow from the script, so all are certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .questions import FAMILIES, Question, choose, one_stream_chance
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
)
from .speech import ASKED

SPEECH, SOUND, PICTURE = "which words were said?", "describe the sound.", "describe the picture."
ASKED_ALOUD, SOURCE = "answer the spoken question.", "where in the picture was the thing that was heard?"
TOGETHER = "do sound and picture belong together?"
LOUD_NOISE = (0.04, 0.12)  # standard deviation of the noise over which AVSR's words are spoken; words have 0.07 to 0.2


@dataclass(frozen=True)
class Example:
    """One question with all answers that count as right, and what could be weighed ((): anything could be said).

    guess: how often somebody is right at best who knows the world and takes in one of two streams, or none of one.
    """

    question: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    better_guess: float = 0.0

    @property
    def guess(self) -> float:
        return max(self.better_guess, 1 / len(self.candidates) if self.candidates else 0.0)


@dataclass(frozen=True)
class Task:
    """One of the eleven.

    streams: what the model is given, of "audio" and "video". still: the video is a single picture.
    draw: a seed to its scene. ask: scene and random generator to what is asked about it, perhaps nothing.
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
        """The stream that is held back, "audio" or "video"."""
        return next((stream for stream in ("audio", "video") if stream not in self.streams), None)

    def perceived(self, scene: Scene) -> Scene:
        """What the task lets see and hear of a scene."""
        if self.missing == "video":
            return replace(scene, moments=tuple(Moment(m.start, m.end, "nothing", heard=m.heard) for m in scene.moments))
        return scene if self.missing is None else replace(scene, moments=tuple(replace(m, heard=None) for m in scene.moments))


# Drawing: every scene from its seed alone.

def _rng(seed: int, task: int) -> np.random.Generator:
    return np.random.default_rng([seed, 91, task])


def draw_speech(seed: int) -> Scene:
    """A scene in which little but words is heard, none twice."""
    rng, scene = _rng(seed, 0), draw_scene(seed)
    words = iter(rng.permutation(WORDS))
    return replace(scene, moments=tuple(
        replace(m, heard=_heard("word", str(next(words)), m.start, m.end, rng)) if rng.random() < 0.85 else replace(m, heard=None)
        for m in scene.moments))


def draw_subtitled(seed: int) -> Scene:
    """Speech over loud noise, two words in three also written while they are said. What is written when nothing is said is
    said nowhere: to read alone is not enough either."""
    rng, scene = _rng(seed, 1), draw_speech(seed)
    said = {m.heard.name for m in scene.moments if m.heard}
    others = iter([str(w) for w in rng.permutation(WORDS) if w not in said])
    moments = []
    for m in scene.moments:
        word = next(others) if m.heard is None else m.heard.name
        plain = m if m.seen not in ("write", "near", "hit") else Moment(m.start, m.end, "nothing", heard=m.heard)
        written = Moment(m.start, m.end, "write", (Actor(word, start=_near((0.5, 0.5), rng), size=0.62),), heard=m.heard)
        moments.append(written if rng.random() < 2 / 3 else plain)
    return replace(scene, moments=tuple(moments), noise=float(rng.uniform(*LOUD_NOISE)))


def draw_still(seed: int) -> Scene:
    """One still picture: a shape at a place, a thing, a written word, or two things at opposite places."""
    rng = _rng(seed, 2)
    kind = ("show", "thing", "write", "pair")[rng.choice(4, p=(0.4, 0.15, 0.2, 0.25))]
    return _still(seed, rng, kind, seconds=0.5)


def draw_asked(seed: int) -> Scene:
    """A picture of a shape or of a written word, and a spoken question about it."""
    rng = _rng(seed, 3)
    kind = "write" if rng.random() < 0.25 else "show"
    scene = _still(seed, rng, kind, seconds=float(rng.uniform(1.5, 2.5)))
    question = "which word" if kind == "write" else ASKED[rng.integers(3)]
    return _with_sound(scene, "word", question, rng)


def draw_source(seed: int) -> Scene:
    """Two things at opposite places, and the sound of one of them."""
    rng = _rng(seed, 4)
    scene = _still(seed, rng, "pair", seconds=float(rng.uniform(1.5, 2.5)))
    return _with_sound(scene, "sound", scene.moments[0].actors[rng.integers(2)].name, rng)


def draw_match(seed: int) -> Scene:
    """A thing with a sound, or a written word with a spoken one, that belong together half of the time."""
    rng = _rng(seed, 5)
    kind, heard, pool = ("thing", "sound", THINGS) if rng.random() < 0.5 else ("write", "word", WORDS)
    scene = _still(seed, rng, kind, seconds=float(rng.uniform(1.5, 2.5)))
    shown = scene.moments[0].subject
    name = shown if rng.random() < 0.5 else str(rng.choice([other for other in pool if other != shown]))
    return _with_sound(scene, heard, name, rng)


def _still(seed: int, rng, kind: str, seconds: float) -> Scene:
    scene, size = draw_scene(seed), float(rng.uniform(0.28, 0.36))
    place = str(rng.choice(list(PLACES)))
    if kind == "show":
        actors = (Actor(str(rng.choice(SHAPES)), str(rng.choice(COLOURS)), _near(PLACES[place], rng), size=size),)
    elif kind == "pair":
        place = "left" if rng.random() < 0.5 else "top"  # the first of two is the one farther left, or farther up
        first, second = (str(name) for name in rng.choice(THINGS, 2, replace=False))
        actors = (Actor(first, start=_near(PLACES[place], rng), size=size),
                  Actor(second, start=_near(PLACES[OPPOSITE[place]], rng), size=size))
    else:
        name = str(rng.choice(THINGS if kind == "thing" else WORDS))
        actors = (Actor(name, start=_near((0.5, 0.5), rng), size=size * (1.15 if kind == "thing" else 2)),)
    moment = Moment(0.0, seconds, kind, actors, place if kind in ("show", "pair") else None)
    return replace(scene, duration=seconds, moments=(moment,))


def _near(place: tuple[float, float], rng) -> tuple[float, float]:
    return tuple(float(v + rng.uniform(-0.05, 0.05)) for v in place)


def _with_sound(scene: Scene, kind: str, name: str, rng) -> Scene:
    (moment,) = scene.moments
    return replace(scene, moments=(replace(moment, heard=_heard(kind, name, moment.start, moment.end, rng)),))


def _heard(kind: str, name: str, start: float, end: float, rng) -> Heard:
    seconds = float(rng.uniform(0.85, 0.95) if name in ASKED else rng.uniform(0.5, 0.75))
    onset = start + 0.05 + float(rng.uniform(0, end - start - seconds - 0.1))
    return Heard(kind, name, round(onset, 3), round(seconds, 3), int(rng.integers(2**31)))


# Asking.

def transcribe(scene: Scene, rng=None) -> list[Example]:
    words = [m.heard.name for m in scene.moments if m.heard and m.heard.kind == "word"]
    return [Example(SPEECH, (" ".join(words),))] if words else []


def caption_sound(scene: Scene, rng=None) -> list[Example]:
    """Three captions count: the verbs differ."""
    heard = [m.heard for m in scene.moments if m.heard]
    wordings = [", then ".join(f"{h.name} was {said}" if h.kind == "word" else f"the {h.name} {rang}" for h in heard)
                for said, rang in (("said", "was heard"), ("spoken", "sounded"), ("heard", "played"))]
    return [Example(SOUND, tuple(wordings))] if heard else []


def caption_picture(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    names = [actor.label for actor in moment.actors]
    match moment.seen:
        case "show":
            told = f"the {names[0]} was {{}} at {moment.direction}"
        case "pair":
            told = f"the {names[0]} was {{}} at {moment.direction} beside the {names[1]} at {OPPOSITE[moment.direction]}"
        case "write":
            return [Example(PICTURE, tuple(f"{names[0]} {verb}" for verb in ("was written", "could be read")))]
        case _:
            told = f"the {names[0]} was {{}}"
    return [Example(PICTURE, tuple(told.format(verb) for verb in ("shown", "seen", "on screen")))]


def ask_picture(scene: Scene, rng) -> list[Example]:
    """What can be asked about a shape at its place, or about two things."""
    (moment,) = scene.moments
    actor, places = moment.actors[0], tuple(PLACES)
    if moment.seen == "show":
        return [Example(f"what colour was the {actor.name}?", (actor.colour,), COLOURS),
                Example("what shape was shown?", (actor.name,), SHAPES),
                Example(f"where was the {actor.label}?", (moment.direction,), places)]
    if moment.seen == "pair":
        both = [a.name for a in moment.actors]
        return [Example(f"where was the {both[0]}?", (moment.direction,), places),
                Example(f"where was the {both[1]}?", (OPPOSITE[moment.direction],), places),
                Example(f"what was shown at {moment.direction}?", (both[0],), THINGS),
                Example(f"what was shown at {OPPOSITE[moment.direction]}?", (both[1],), THINGS)]
    return []


def read_picture(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    return [Example("what was written?", (moment.subject,), WORDS)] if moment.seen == "write" else []


def answer_aloud(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    actor = moment.actors[0]
    answers = {"what colour": (actor.colour, COLOURS), "what shape": (actor.name, SHAPES),
               "where": (moment.direction, tuple(PLACES)), "which word": (actor.name, WORDS)}
    right, candidates = answers[moment.heard.name]
    # Of a shape the eyes leave three answers, and of a written word they leave one.
    return [Example(ASKED_ALOUD, (right,), candidates, 1 / 3 if moment.seen == "show" else 1.0)]


def find_source(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    places = moment.direction, OPPOSITE[moment.direction]
    right = places[0] if moment.heard.name == moment.actors[0].name else places[1]
    return [Example(SOURCE, (right,), tuple(PLACES), 1 / 2)]  # the eyes leave two places


def tell_match(scene: Scene, rng=None) -> list[Example]:
    (moment,) = scene.moments
    return [Example(TOGETHER, ("yes" if moment.heard.name == moment.subject else "no",), ("yes", "no"))]


def ask_all(scene: Scene, rng, missing: str | None = None) -> list[Example]:
    """Whatever the tasks can ask about one scene, in random order: practice. `missing` is the stream that is held back."""
    found = [] if missing == "audio" else transcribe(scene) + caption_sound(scene)
    if len(scene.moments) == 1:
        (moment,) = scene.moments
        if missing != "video":
            found += caption_picture(scene) + ask_picture(scene, rng) + read_picture(scene)
        if missing is None and moment.heard:
            found += answer_aloud(scene) if moment.heard.name in ASKED else find_source(scene) if moment.seen == "pair" else \
                tell_match(scene)
    return [found[i] for i in rng.permutation(len(found))]


def ask_clip(scene: Scene, rng, wanted: Callable[[tuple[str, ...]], bool], options: int | None) -> list[Example]:
    questions = [q for q in choose(scene, rng, 30) if wanted(FAMILIES[q.family])]
    return [Example(q.text, (q.answer,), _options(q, options, rng), 0.0 if q.single_modality else max(
        one_stream_chance(scene, q, stream) for stream in ("audio", "video"))) for q in questions]


def _options(question: Question, count: int | None, rng) -> tuple[str, ...]:
    """The right answer among `count` at most, in random order."""
    others = [c for c in question.candidates if c != question.answer]
    if count is not None and len(others) >= count:
        others = [others[i] for i in rng.choice(len(others), count - 1, replace=False)]
    return tuple(str(c) for c in rng.permutation([question.answer, *others]))


def _temporal(needs: tuple[str, ...]) -> bool:
    return "audio" not in needs and {"order", "cause"} & set(needs)


def _both(needs: tuple[str, ...]) -> bool:
    return {"audio", "video"} <= set(needs)


AUDIO, VIDEO, AV = ("audio",), ("video",), ("audio", "video")
TASKS = {task.name: task for task in (
    Task("asr", "speech recognition", AUDIO, False, "word error rate", draw_speech, transcribe),
    Task("ac", "audio captioning", AUDIO, False, "CIDEr", draw_scene, caption_sound),
    Task("ic", "image captioning", VIDEO, True, "CIDEr", draw_still, caption_picture),
    Task("ocr", "text reading", VIDEO, True, "accuracy", draw_still, read_picture),
    Task("vqa", "questions about a picture", VIDEO, True, "accuracy", draw_still, ask_picture),
    Task("video_qa", "questions about a silent film", VIDEO, False, "accuracy", draw_scene, partial(ask_clip, wanted=_temporal, options=5)),
    Task("avsr", "speech in noise, with film", AV, False, "word error rate", draw_subtitled, transcribe),
    Task("avqa", "questions about film and sound", AV, False, "accuracy", draw_scene, partial(ask_clip, wanted=_both, options=None)),
    Task("isqa", "spoken questions about a picture", AV, True, "accuracy", draw_asked, answer_aloud),
    Task("avssd", "where a sound comes from", AV, True, "accuracy", draw_source, find_source),
    Task("avm", "do sound and picture match?", AV, True, "accuracy", draw_match, tell_match))}
