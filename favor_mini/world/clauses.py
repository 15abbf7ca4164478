"""The words that each output query should name: the targets of the stage "name"."""

from itertools import product

import torch

from ..processor import FavorProcessor, ProcessorSettings
from ..registry import find
from .scene import Moment, Scene
from .transcript import heard_phrase, seen_phrase

FIELDS = 4  # queries for each clause: subject, event, second object, sound


def clause(moment: Moment | None, start: float, end: float) -> list[str]:
    """The words for the four queries of one moment; None means after the end of the clip.

    They name what the window from `start` to `end` (seconds) shows: the sound, or the event, of a
    moment counts if its middle is in the window.
    """
    if moment is None:
        return ["."] * FIELDS
    actors, middle = moment.actors, (moment.start + moment.end) / 2
    words = f"see {seen_phrase(moment)}".split()
    subject = " ".join(words)
    if actors and moment.seen != "write":
        subject = " ".join(words[: 1 + len(actors[0].label.split())])
    event = second = subject
    if not start <= middle < end:
        if moment.seen == "turn" and middle < start:  # the window before showed its first colour
            subject = event = second = f"see {actors[0].name}"
    elif len(words) > len(subject.split()):
        event, _, other = " ".join(words[len(subject.split()) :]).partition(" beside ")
        second = f"beside {other}" if other else subject
    sound = moment.heard
    audible = sound is None or start <= sound.start + sound.seconds / 2 < end
    return [subject, event, second, f"hear {heard_phrase(moment)}" if audible else "hear"]


def query_words(scene: Scene, processor: FavorProcessor, num_frames: int, missing: str | None = None
                ) -> tuple[list[list[int]], list[int]]:
    """The targets of a clip's W * N output queries.

    Args:
        num_frames: T, the number of frames of the clip.
        missing: the stream that the clip does not have, "audio" or "video". The queries for it name
            only "hear" or "see".

    Returns:
        for each query, in time order: the token ids of its words, and the number of its moment.
    """
    settings, words, numbers = processor.settings, [], []
    rate, clauses = settings.frame_rate, -(-settings.num_queries // FIELDS)  # clauses of a window
    places = range(settings.num_queries)
    for (start, end), place in product(window_spans(num_frames, settings), places):
        t = start + (place // FIELDS + 0.5) / clauses * settings.window_frames / rate
        frame = round(t * rate)  # the nearest frame
        if place < FIELDS:  # the first clause is never empty, even for a single picture
            frame = min(frame, num_frames - 1)
        t = frame / rate
        number = next((i for i, m in enumerate(scene.moments) if m.start <= t < min(m.end, end)),
                      len(scene.moments))
        moment = scene.moments[number] if number < len(scene.moments) else None
        phrase = clause(moment, start, end)[place % FIELDS]
        if moment and missing == ("audio" if place % FIELDS == FIELDS - 1 else "video"):
            phrase = "hear" if missing == "audio" else "see"
        words.append(processor.tokenizer(phrase, add_special_tokens=False).input_ids)
        numbers.append(number)
    return words, numbers


def window_spans(num_frames: int, settings: ProcessorSettings) -> list[tuple[float, float]]:
    """Start and end of each of a clip's windows, in seconds."""
    frames = torch.arange(float(num_frames))[None, :, None, None]  # [1, T, 1, 1]: frame numbers
    split = find("windows", settings.windows)
    windows, real = split(frames, torch.ones(1, num_frames).bool(), settings.window_frames)
    held = [window[mask, 0].tolist()
            for window, mask in zip(windows, real, strict=True) if mask.any()]
    return [(window[0] / settings.frame_rate, (window[-1] + 1) / settings.frame_rate)
            for window in held]
