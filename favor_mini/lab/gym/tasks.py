"""The questions of the gym. Each task draws clips of symbols with one question and its answer.

A clip is two sequences of whole numbers, one visual symbol and one sound for each of T time steps.
A question is about one symbol, the key. The task decides what is asked about it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SIGNALS = 3  # visual symbols that stand for a state in the task "state"
PLACES = 4  # positions on a line; 0 means a picture without a position


@dataclass
class Episodes:
    """Clips with one question each.

    visual, sounds, places: (B, T) whole numbers. key: (B,), the symbol that is asked about. answer:
    (B,), the index of the right class.
    """

    visual: Tensor
    sounds: Tensor
    places: Tensor
    key: Tensor
    answer: Tensor


@dataclass(frozen=True)
class Task:
    """draw: (count, frames, symbols, delay, generator) -> Episodes.

    classes: number of possible answers; None: one for each symbol.
    about: the question in words. needs: the fewest frames of a clip.
    """

    draw: Callable[..., Episodes]
    about: str
    classes: int | None = None
    needs: int = 2


TASKS: dict[str, Task] = {}


def task(name: str, about: str, **options):
    """Decorator that enters a function `draw` as the task `name`."""
    def enter(draw: Callable) -> Callable:
        TASKS[name] = Task(draw, about, **options)
        return draw
    return enter


def _whole(generator: torch.Generator, most, *shape: int) -> Tensor:
    """Whole numbers from 0 to most - 1; `most` can be a tensor of the same shape."""
    drawn = torch.rand(shape, generator=generator)
    return (drawn * most).long()


def _blank(generator, count: int, frames: int, symbols: int) -> Episodes:
    """Random clips without a question."""
    streams = [_whole(generator, symbols, count, frames) for _ in range(2)]
    nothing = torch.zeros(count, dtype=torch.long)
    return Episodes(*streams, torch.zeros(count, frames, dtype=torch.long), nothing, nothing)


def _only(stream: Tensor, place: Tensor, symbols: int, generator) -> tuple[Tensor, Tensor]:
    """Makes the symbol at one place of each clip the only one of its kind.

    Args:
        stream: (B, T). place: (B, T) bool, with one True or more in a row.

    Returns:
        the changed stream, with the symbol at all of these places, and the symbol (B,).
    """
    key = stream.gather(1, place.long().argmax(1, keepdim=True))  # [B, 1]
    other = (key + 1 + _whole(generator, symbols - 1, *stream.shape)) % symbols
    stream = torch.where(stream == key, other, stream)
    return torch.where(place, key, stream), key[:, 0]


def _at(when: Tensor, frames: int) -> Tensor:
    """(B,) indices to (B, T) bool, True at the index."""
    return torch.arange(frames) == when[:, None]


@task("recall", "What was seen when x was heard?")
def recall(count, frames, symbols, delay, generator) -> Episodes:
    """With a delay of d steps, the answer is what was seen d steps before x was heard."""
    e = _blank(generator, count, frames, symbols)
    when = delay + _whole(generator, frames - delay, count)
    e.sounds, e.key = _only(e.sounds, _at(when, frames), symbols, generator)
    e.answer = e.visual.gather(1, (when - delay)[:, None])[:, 0]
    return e


@task("before", "What was heard just before x?")
def before(count, frames, symbols, delay, generator) -> Episodes:
    e = _blank(generator, count, frames, symbols)
    when = 1 + _whole(generator, frames - 1, count)
    e.sounds, e.key = _only(e.sounds, _at(when, frames), symbols, generator)
    e.answer = e.sounds.gather(1, (when - 1)[:, None])[:, 0]
    return e


@task("after", "What was heard just after x?")
def after(count, frames, symbols, delay, generator) -> Episodes:
    e = _blank(generator, count, frames, symbols)
    when = _whole(generator, frames - 1, count)
    e.sounds, e.key = _only(e.sounds, _at(when, frames), symbols, generator)
    e.answer = e.sounds.gather(1, (when + 1)[:, None])[:, 0]
    return e


@task("motion", "Which way did x move from one frame to the next?", classes=2)
def motion(count, frames, symbols, delay, generator) -> Episodes:
    """x is seen in two frames in a row; the answer is 1 if its place is greater in the second."""
    e = _blank(generator, count, frames, symbols)
    when = _whole(generator, frames - 1, count)
    pair = _at(when, frames) | _at(when + 1, frames)
    e.visual, e.key = _only(e.visual, pair, symbols, generator)
    e.places = 1 + _whole(generator, PLACES, count, frames)
    first = 1 + _whole(generator, PLACES, count)
    second = 1 + (first + _whole(generator, PLACES - 1, count)) % PLACES  # another one
    for time, place in ((when, first), (when + 1, second)):
        e.places = torch.where(_at(time, frames), place[:, None], e.places)
    e.answer = (second > first).long()
    return e


@task("count", "In how many frames was x seen?", classes=4, needs=3)
def count_seen(count, frames, symbols, delay, generator) -> Episodes:
    """From no frame to three."""
    e = _blank(generator, count, frames, symbols)
    e.key, e.answer = _whole(generator, symbols, count), _whole(generator, 4, count)
    other = (e.key[:, None] + 1 + _whole(generator, symbols - 1, count, frames)) % symbols
    rank = torch.rand(count, frames, generator=generator).argsort(1)
    e.visual = torch.where(rank < e.answer[:, None], e.key[:, None], other)
    return e


@task("state", "Which signal was the latest when x was heard?", classes=SIGNALS)
def state(count, frames, symbols, delay, generator) -> Episodes:
    """The first visual symbols are signals. One is seen in the first frame, and in every third
    frame on average; a signal holds until the next one."""
    e = _blank(generator, count, frames, symbols)
    signal = torch.rand(count, frames, generator=generator) < 1 / 3
    signal[:, 0] = True
    other = SIGNALS + _whole(generator, symbols - SIGNALS, count, frames)
    e.visual = torch.where(signal, e.visual % SIGNALS, other)
    when = _whole(generator, frames, count)
    e.sounds, e.key = _only(e.sounds, _at(when, frames), symbols, generator)
    latest = torch.where(signal, torch.arange(frames), 0).cummax(1).values  # [B, T]
    e.answer = e.visual.gather(1, latest).gather(1, when[:, None])[:, 0]
    return e
