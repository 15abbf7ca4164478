"""The words that each output query of a window should name: targets of the naming stage, from the script."""

from itertools import product

import torch

from ..processor import FavorProcessor, ProcessorSettings
from ..registry import find
from .scene import Moment, Scene
from .transcript import heard_phrase, seen_phrase

FIELDS = 4  # queries to a clause


def clause(moment: Moment | None, start: float, end: float) -> list[str]:
    """The words for the four queries of one moment; `moment` is None after the clip's end.

    Only what their window, from `start` to `end` seconds, can tell: a sound in it, and a movement's middle.
    """
    if moment is None:
        return ["."] * FIELDS
    actors, middle = moment.actors, (moment.start + moment.end) / 2
    words = f"see {seen_phrase(moment)}".split()
    subject = " ".join(words[: 1 + len(actors[0].label.split())]) if actors and moment.seen != "write" else " ".join(words)
    does = beside = subject
    if not start <= middle < end:
        if moment.seen == "turn" and middle < start:  # its first colour was seen in the window before
            subject = does = beside = f"see {actors[0].name}"
    elif len(words) > len(subject.split()):
        does, _, other = " ".join(words[len(subject.split()) :]).partition(" beside ")
        beside = f"beside {other}" if other else subject
    sound = moment.heard
    told = sound is None or start <= sound.start + sound.seconds / 2 < end
    return [subject, does, beside, f"hear {heard_phrase(moment)}" if told else "hear"]


def query_words(scene: Scene, processor: FavorProcessor, num_frames: int, missing: str | None = None
                ) -> tuple[list[list[int]], list[int]]:
    """What each of a clip's W * N output queries should name: its words' token ids, and the number of its moment.

    `num_frames` is the clip's T; `missing` is the stream that it lacks, "audio" or "video": there, "hear" or "see" is all
    that can be named.
    """
    settings, words, numbers = processor.settings, [], []
    rate, clauses = settings.frame_rate, -(-settings.num_queries // FIELDS)  # of a window
    for (start, end), place in product(window_spans(num_frames, settings), range(settings.num_queries)):
        t = start + (place // FIELDS + 0.5) / clauses * settings.window_frames / rate
        frame = round(t * rate)  # the nearest one: between frames nobody sees
        if place < FIELDS:  # a single picture, or a window of one frame, is told, too
            frame = min(frame, num_frames - 1)
        t = frame / rate
        number = next((i for i, m in enumerate(scene.moments) if m.start <= t < min(m.end, end)), len(scene.moments))
        moment = scene.moments[number] if number < len(scene.moments) else None
        phrase = clause(moment, start, end)[place % FIELDS]
        if moment and missing == ("audio" if place % FIELDS == FIELDS - 1 else "video"):
            phrase = "hear" if missing == "audio" else "see"
        words.append(processor.tokenizer(phrase, add_special_tokens=False).input_ids)
        numbers.append(number)
    return words, numbers


def window_spans(num_frames: int, settings: ProcessorSettings) -> list[tuple[float, float]]:
    """From which second to which each of a clip's windows reaches."""
    frames = torch.arange(float(num_frames))[None, :, None, None]  # [1, T, 1, 1]: every frame holds its own number
    windows, real = find("windows", settings.windows)(frames, torch.ones(1, num_frames).bool(), settings.window_frames)
    held = [window[mask, 0].tolist() for window, mask in zip(windows, real, strict=True) if mask.any()]
    return [(window[0] / settings.frame_rate, (window[-1] + 1) / settings.frame_rate) for window in held]
