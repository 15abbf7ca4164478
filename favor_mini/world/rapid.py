"""Films that hold more than usual: a picture and a sound in each moment, which may be short.

Usual moments last about 2 s, so a window of a few seconds holds one or two: which sound belongs to
which picture is then nearly given by the window. With moments of half a second, a window of 3 s
holds six of each.
"""

from dataclasses import dataclass

import numpy as np

from .scene import COLOURS, PLACES, SHAPES, THINGS, Actor, Heard, Moment, Scene, split_of, stream

SHORTEST = 0.5  # seconds: one frame at 2 Hz
LONGEST_SOUND = 0.6


@dataclass(frozen=True)
class Rapid:
    """Draws the scene of a seed: `moments` moments of `seconds` each.

    Each shows one shape, of a colour and a kind that no other moment has, and has the sound of one
    thing that is not heard again. Pictures and sounds are drawn independently.

    Raises:
        ValueError: there are fewer names than moments, or a moment has no frame.
    """

    moments: int = 6
    seconds: float = 0.5

    def __post_init__(self):
        most = min(len(COLOURS), len(SHAPES), len(THINGS))
        if not 1 <= self.moments <= most or self.seconds < SHORTEST:
            raise ValueError(f"found moments={self.moments} and seconds={self.seconds}, expected "
                             f"1 to {most} moments of {SHORTEST} s or more. Fix: choose others")

    def __call__(self, seed: int) -> Scene:
        split_of(seed)  # an unknown split fails here
        rng = stream("rapid scene", seed)
        names = [rng.permutation(of)[: self.moments] for of in (COLOURS, SHAPES, THINGS)]
        background = rng.integers(15, 75) + rng.integers(-8, 9, size=3)
        moments = tuple(self._moment(i, *map(str, of), rng)
                        for i, of in enumerate(zip(*names, strict=True)))
        return Scene(seed, self.moments * self.seconds, moments, tuple(map(int, background)),
                     noise=float(10 ** rng.uniform(-3.2, -2.2)))

    def _moment(self, number: int, colour: str, shape: str, thing: str, rng: np.random.Generator
                ) -> Moment:
        start = number * self.seconds
        place = str(rng.choice(list(PLACES)))
        at = tuple(float(v + rng.uniform(-0.05, 0.05)) for v in PLACES[place])
        length = min(LONGEST_SOUND, 0.8 * self.seconds)
        onset = start + float(rng.uniform(0.02, self.seconds - length))
        return Moment(
            start, start + self.seconds, "show",
            (Actor(shape, colour, at, size=float(rng.uniform(0.26, 0.36))),), place,
            heard=Heard("sound", thing, round(onset, 3), round(length, 3),
                        int(rng.integers(2**31))))
