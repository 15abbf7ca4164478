"""Sound a scene: the waveform of its script, every event at its time, over faint background noise.

The eight things are synthesised here, each from a few lines of acoustics, and never twice the same: the event's seed
fixes pitch, loudness and timbre. Spoken words come from the speech bank (`speech`).
"""

from __future__ import annotations

import numpy as np

from .scene import Heard, Scene, split_of
from .speech import draw_voice, speak

PEAK = 0.98  # no sample is ever larger
LOUDNESS = (0.07, 0.2)  # root mean square of an event, drawn evenly in decibels
HELD = (1, 4, 16, 64)  # the parts of the background noise change every so many samples
FADE_IN, FADE_OUT = 0.002, 0.012  # seconds; short, so that an onset is where the script says


def make_waveform(scene: Scene, sampling_rate: int = 16000) -> np.ndarray:
    """The sound of a whole scene, the same each time.

    Returns (samples,), float32 in -0.98..0.98, with round(duration * sampling_rate) samples. Where nothing is heard
    there is noise of standard deviation `scene.noise`. Raises FileNotFoundError where words are spoken but the speech
    bank is missing, ValueError where the sampling rate is below 12 kHz or an event's name is none of `scene.THINGS`.
    """
    if sampling_rate < 12000:
        raise ValueError(f"sampling_rate is {sampling_rate} Hz; the bird sings up to 6 kHz and needs 12000 or more")
    waveform = make_noise(scene, round(scene.duration * sampling_rate))  # (samples,)
    for moment in scene.moments:
        if moment.heard:
            start = round(moment.heard.start * sampling_rate)
            event = make_event(moment.heard, split_of(scene.seed), sampling_rate)[: len(waveform) - start]
            waveform[start:start + len(event)] += event
    return np.clip(waveform, -PEAK, PEAK, out=waveform)


def make_event(heard: Heard, split: str = "train", sampling_rate: int = 16000) -> np.ndarray:
    """One event alone: (samples,), float32. A thing sounds for `heard.seconds`, a word no longer than that.

    split: decides which voices may speak, see `speech.voices_for`.
    """
    rng = np.random.default_rng([heard.seed, 17])
    if heard.kind == "word":
        voice = draw_voice(rng, split)
        event = speak(heard.name, voice, heard.seconds, rng.uniform(0.94, 1.1), sampling_rate)
    elif heard.name in SOUNDS:
        t = np.arange(int(heard.seconds * sampling_rate)) / sampling_rate
        event = _fade(SOUNDS[heard.name](t, rng), sampling_rate)
    else:
        raise ValueError(f"no sound is known for {heard.name!r}; the sounding things are {', '.join(SOUNDS)}")
    low, high = np.log(LOUDNESS)
    loudness = np.exp(rng.uniform(low, high)) / np.sqrt(np.mean(event**2))
    return (event * min(loudness, 0.9 / np.abs(event).max())).astype(np.float32)


def make_noise(scene: Scene, samples: int) -> np.ndarray:
    """Background noise between white (a hiss) and pink (a rumble), after Voss: a sum of noises held ever longer.

    Returns (samples,), float32, of standard deviation `scene.noise`.
    """
    rng = np.random.default_rng([scene.seed, 13])
    shares = rng.uniform(0, 1) ** np.arange(len(HELD))
    noise = np.zeros(-(-samples // HELD[-1]) * HELD[-1], np.float32)
    for held, share in zip(HELD, shares / np.sqrt(np.sum(shares**2)), strict=True):
        values = rng.random((len(noise) // held, 1), dtype=np.float32) - np.float32(0.5)  # standard deviation 12**-0.5
        noise.reshape(-1, held)[:] += values * np.float32(share * scene.noise * 12**0.5)
    return noise[:samples]


# The eight sounds: t is (samples,) in seconds from the onset; each returns (samples,) of any loudness.


def bell(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand bell, struck once: its partials are not harmonic, and the higher they are the sooner they die away."""
    pitch, ring = rng.uniform(750, 1000), rng.uniform(0.3, 0.45)
    partials = (0.5, 0.1), (1, 0.8), (1.19, 0.6), (1.5, 0.3), (2, 1.0), (2.66, 0.7), (3.01, 0.6), (4.1, 0.5), (5.4, 0.4)
    return sum(weight * rng.uniform(0.7, 1.3) * np.exp(-t / (ring / ratio**0.6)) * _sine(ratio * pitch * t)
               for ratio, weight in partials)


def drum(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two to four beats: the skin's low tone falls in pitch and dies away, under the stick's brief noise."""
    pitch, beat = rng.uniform(75, 125), rng.uniform(0.16, 0.26)
    since = t % beat  # the beat before
    thump = np.exp(-since / rng.uniform(0.06, 0.1)) * _sine(pitch * (since + 0.03 * (1 - np.exp(-since / 0.03))))
    stick = np.exp(-since / 0.008) * rng.standard_normal(len(t), dtype=np.float32)
    return (thump + rng.uniform(0.15, 0.35) * stick) * np.where(t // beat % 2, 0.8, 1)


def whistle(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A referee's: two high tones, which the pea inside makes tremble, and breath."""
    pitch, trill = rng.uniform(2300, 2900), rng.uniform(22, 34)
    tremble = _sine(trill * t)
    phase = pitch * (t + rng.uniform(0.01, 0.025) / (2 * np.pi * trill) * _sine(trill * t + 0.25))
    tone = _sine(phase) + 0.6 * _sine(rng.uniform(1.05, 1.1) * phase)
    return (1 + 0.6 * tremble) * (tone + rng.uniform(0.05, 0.12) * rng.standard_normal(len(t), dtype=np.float32))


def horn(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A car's: two steady low tones a third apart, with strong harmonics."""
    pitch, bright = rng.uniform(190, 280), rng.uniform(0.65, 1.1)
    return sum(_sine(pitch * ratio * k * t) / k**bright for ratio in (1, 1.26) for k in range(1, 9))


def clock(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tick, tock: brief clicks that ring in the case, one high and one lower in turn."""
    pitch, period, ring = rng.uniform(1900, 2600), rng.uniform(0.1, 0.14), rng.uniform(0.008, 0.014)
    since, tock = t % period, t // period % 2
    case = _sine(pitch * np.where(tock, 0.72, 1) * since) + 0.7 * _sine(2.4 * pitch * since)
    return np.exp(-since / ring) * (case + 0.8 * rng.standard_normal(len(t), dtype=np.float32))


def phone(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two hollow tones that alternate so fast that they purr."""
    pitch, trill = rng.uniform(850, 1100), rng.uniform(14, 20)
    phase = pitch * (t + 0.06 / trill * np.abs(2 * (trill * t % 1) - 1))  # 12 % lower and higher in turn
    return _sine(phase) + rng.uniform(0.3, 0.5) * _sine(3 * phase) + 0.15 * _sine(5 * phase)


def bird(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chirps: a high pure tone that swoops within each chirp, with pauses."""
    period, top, low = rng.uniform(0.09, 0.15), rng.uniform(4800, 5800), rng.uniform(3000, 3800)
    place = t % period / (0.75 * period)  # 0 to 1 within a chirp, more in the pause behind it
    swoop = top * place + 0.5 * (low - top) * place**2 if rng.random() < 0.5 else \
        low * place + 0.5 * (top - low) * place**2  # the pitch's integral: falling or rising
    return np.sin(np.pi * np.minimum(place, 1)) ** 0.5 * _sine(0.75 * period * swoop)


def siren(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wail: one tone with a few harmonics that glides up and down over an octave."""
    low, ratio, speed = rng.uniform(420, 560), rng.uniform(2.1, 2.7), rng.uniform(1.8, 2.6)
    pitch = low * ratio ** (0.5 - 0.5 * np.cos(2 * np.pi * speed * t))
    phase = np.cumsum(pitch) * (t[1] - t[0])
    return _sine(phase) + rng.uniform(0.3, 0.5) * _sine(2 * phase) + rng.uniform(0.15, 0.3) * _sine(3 * phase)


SOUNDS = {"bell": bell, "drum": drum, "whistle": whistle, "horn": horn, "clock": clock, "phone": phone, "bird": bird,
          "siren": siren}


def _sine(cycles: np.ndarray) -> np.ndarray:
    """sin(2 pi cycles), (samples,), float32: quick, and exact enough once whole turns are taken off."""
    return np.sin(((cycles - np.floor(cycles)) * (2 * np.pi)).astype(np.float32))


def _fade(event: np.ndarray, sampling_rate: int) -> np.ndarray:
    rise, fall = int(FADE_IN * sampling_rate), int(FADE_OUT * sampling_rate)
    event[:rise] *= np.linspace(0, 1, rise)
    event[-fall:] *= np.linspace(1, 0, fall)
    return event
