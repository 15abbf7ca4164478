"""The waveform of a scene: every audible event at its time, over faint background noise.

The sounds of the eight things are synthesised; the event's seed determines pitch, loudness and
timbre. Spoken words come from recordings (`speech`).
"""

import numpy as np

from .scene import Heard, Scene, split_of, stream
from .speech import draw_voice, speak

PEAK = 0.98  # largest absolute value of a sample
LOUDNESS = (0.07, 0.2)  # range of an event's root mean square; uniform in decibels
HELD = (1, 4, 16, 64)  # samples between two changes of each part of the background noise
FADE_IN, FADE_OUT = 0.002, 0.012  # seconds


def make_waveform(scene: Scene, sampling_rate: int = 16000) -> np.ndarray:
    """The sound of a scene: (samples,), float32 in -0.98..0.98; always the same for the same scene.

    It has round(duration * sampling_rate) samples. The background noise has the standard deviation
    `scene.noise`.

    Raises:
        FileNotFoundError: a word is spoken, and the speech bank is missing.
        ValueError: the sampling rate is below 12 kHz, or an event has an unknown name.
    """
    if sampling_rate < 12000:
        raise ValueError(f"found sampling_rate={sampling_rate} Hz, expected 12000 or more: "
                         "the bird sings up to 6 kHz")
    waveform = make_noise(scene, round(scene.duration * sampling_rate))  # (samples,)
    for moment in scene.moments:
        if moment.heard:
            start = round(moment.heard.start * sampling_rate)
            event = make_event(moment.heard, split_of(scene.seed), sampling_rate)
            event = event[: len(waveform) - start]
            waveform[start:start + len(event)] += event
    return np.clip(waveform, -PEAK, PEAK, out=waveform)


def make_event(heard: Heard, split: str = "train", sampling_rate: int = 16000) -> np.ndarray:
    """One event: (samples,), float32. A thing sounds for `heard.seconds`, a word not longer.

    split: determines which voices may speak, see `speech.voices_for`.
    """
    rng = stream("audible event", heard.seed)
    if heard.kind == "word":
        voice = draw_voice(rng, split)
        event = speak(heard.name, voice, heard.seconds, rng.uniform(0.94, 1.1), sampling_rate)
    elif heard.name in SOUNDS:
        t = np.arange(int(heard.seconds * sampling_rate)) / sampling_rate
        event = _fade(SOUNDS[heard.name](t, rng), sampling_rate)
    else:
        raise ValueError(f"found the sound {heard.name!r}, expected one of {', '.join(SOUNDS)}")
    low, high = np.log(LOUDNESS)
    loudness = np.exp(rng.uniform(low, high)) / np.sqrt(np.mean(event**2))
    return (event * min(loudness, 0.9 / np.abs(event).max())).astype(np.float32)


def make_noise(scene: Scene, samples: int) -> np.ndarray:
    """Background noise between white and pink: (samples,), float32.

    Voss's algorithm: a sum of white noises, each sampled more slowly than the one before. The sum
    has the standard deviation `scene.noise`.
    """
    rng = stream("background noise", scene.seed)
    shares = rng.uniform(0, 1) ** np.arange(len(HELD))
    noise = np.zeros(-(-samples // HELD[-1]) * HELD[-1], np.float32)
    for held, share in zip(HELD, shares / np.sqrt(np.sum(shares**2)), strict=True):
        # Uniform in -0.5..0.5, of standard deviation 12**-0.5.
        values = rng.random((len(noise) // held, 1), dtype=np.float32) - np.float32(0.5)
        noise.reshape(-1, held)[:] += values * np.float32(share * scene.noise * 12**0.5)
    return noise[:samples]


# The eight sounds. t: (samples,), seconds from the onset. Returns (samples,), of any loudness.


def bell(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand bell: inharmonic partials, of which the higher ones decay faster."""
    pitch, ring = rng.uniform(750, 1000), rng.uniform(0.3, 0.45)
    partials = ((0.5, 0.1), (1, 0.8), (1.19, 0.6), (1.5, 0.3), (2, 1.0), (2.66, 0.7), (3.01, 0.6),
                (4.1, 0.5), (5.4, 0.4))
    return sum(weight * rng.uniform(0.7, 1.3) * np.exp(-t / (ring / ratio**0.6))
               * _sine(ratio * pitch * t) for ratio, weight in partials)


def drum(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two to four beats: a low tone that falls in pitch and decays, and brief noise."""
    pitch, beat = rng.uniform(75, 125), rng.uniform(0.16, 0.26)
    since = t % beat  # seconds since the last beat
    decay, glide = rng.uniform(0.06, 0.1), 0.03 * (1 - np.exp(-since / 0.03))
    thump = np.exp(-since / decay) * _sine(pitch * (since + glide))
    stick = np.exp(-since / 0.008) * rng.standard_normal(len(t), dtype=np.float32)
    return (thump + rng.uniform(0.15, 0.35) * stick) * np.where(t // beat % 2, 0.8, 1)


def whistle(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A referee's whistle: two high tones with a trill, and noise."""
    pitch, trill = rng.uniform(2300, 2900), rng.uniform(22, 34)
    tremble = _sine(trill * t)
    phase = pitch * (t + rng.uniform(0.01, 0.025) / (2 * np.pi * trill) * _sine(trill * t + 0.25))
    tone = _sine(phase) + 0.6 * _sine(rng.uniform(1.05, 1.1) * phase)
    noise = rng.uniform(0.05, 0.12) * rng.standard_normal(len(t), dtype=np.float32)
    return (1 + 0.6 * tremble) * (tone + noise)


def horn(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A car horn: two steady low tones a third apart, with strong harmonics."""
    pitch, bright = rng.uniform(190, 280), rng.uniform(0.65, 1.1)
    return sum(_sine(pitch * ratio * k * t) / k**bright
               for ratio in (1, 1.26) for k in range(1, 9))


def clock(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A ticking clock: brief resonant clicks, alternately high and low."""
    pitch, period = rng.uniform(1900, 2600), rng.uniform(0.1, 0.14)
    ring = rng.uniform(0.008, 0.014)
    since, tock = t % period, t // period % 2
    case = _sine(pitch * np.where(tock, 0.72, 1) * since) + 0.7 * _sine(2.4 * pitch * since)
    return np.exp(-since / ring) * (case + 0.8 * rng.standard_normal(len(t), dtype=np.float32))


def phone(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A phone: two hollow tones that alternate quickly."""
    pitch, trill = rng.uniform(850, 1100), rng.uniform(14, 20)
    # The pitch is 12 % lower and higher by turns.
    phase = pitch * (t + 0.06 / trill * np.abs(2 * (trill * t % 1) - 1))
    return _sine(phase) + rng.uniform(0.3, 0.5) * _sine(3 * phase) + 0.15 * _sine(5 * phase)


def bird(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chirps: a high pure tone that glides in each chirp, with pauses."""
    period, top, low = rng.uniform(0.09, 0.15), rng.uniform(4800, 5800), rng.uniform(3000, 3800)
    place = t % period / (0.75 * period)  # 0 to 1 in a chirp, above 1 in the pause
    first, last = (top, low) if rng.random() < 0.5 else (low, top)  # pitch
    integral = first * place + 0.5 * (last - first) * place**2
    return np.sin(np.pi * np.minimum(place, 1)) ** 0.5 * _sine(0.75 * period * integral)


def siren(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A siren: a tone with two harmonics that glides up and down over more than an octave."""
    low, ratio, speed = rng.uniform(420, 560), rng.uniform(2.1, 2.7), rng.uniform(1.8, 2.6)
    pitch = low * ratio ** (0.5 - 0.5 * np.cos(2 * np.pi * speed * t))
    phase = np.cumsum(pitch) * (t[1] - t[0])
    second, third = rng.uniform(0.3, 0.5), rng.uniform(0.15, 0.3)
    return _sine(phase) + second * _sine(2 * phase) + third * _sine(3 * phase)


SOUNDS = {make.__name__: make for make in (bell, drum, whistle, horn, clock, phone, bird, siren)}


def _sine(cycles: np.ndarray) -> np.ndarray:
    """sin(2 pi cycles), float32; whole cycles are removed first, for precision."""
    return np.sin(((cycles - np.floor(cycles)) * (2 * np.pi)).astype(np.float32))


def _fade(event: np.ndarray, sampling_rate: int) -> np.ndarray:
    rise, fall = int(FADE_IN * sampling_rate), int(FADE_OUT * sampling_rate)
    event[:rise] *= np.linspace(0, 1, rise)
    event[-fall:] *= np.linspace(1, 0, fall)
    return event
