"""Exercises of notebook 01: frames at 2 Hz, audio delays, log-mel, stride 2, tokens."""

from dataclasses import replace
from functools import cache, partial
from math import ceil, floor

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import WhisperFeatureExtractor

from ...media.clip import ROUNDING, Clip, delay_sound
from ..exercise import Trial, exercise


def grid_frames(times: np.ndarray, duration: float, frame_rate: float = 2.0) -> np.ndarray:
    """numpy's `searchsorted` finds the last frame that has begun, as in `media.frames.Frames`."""
    moments = np.arange(ceil(duration * frame_rate)) / frame_rate
    return (np.searchsorted(times, moments + ROUNDING, side="right") - 1).clip(0)


@exercise(grid_frames)
def _(t: Trial):
    rate = float([2, 4, 5][t.integer(0, 2)])
    steps = t.integer(6, 9)
    moments = np.arange(steps) / rate
    for duration in ((steps - t.rng.uniform(0.3, 0.7)) / rate, steps / rate):  # part of a step
        times = t.rng.uniform(0.35 / rate, duration, 3 * steps)
        off_grid = times[np.abs(times[:, None] - moments).min(1) > 0.01]
        times = np.sort(np.append(off_grid, moments[[2, 4]]))  # two begin on the grid
        begun = np.searchsorted(times, moments, side="right")
        nearest = np.abs(times[:, None] - moments).argmin(0)
        even = (np.arange(steps) * len(times) / duration / rate).astype(int)
        expected = grid_frames(times, duration, rate)
        found = t.run(times, duration, rate)
        t.require(isinstance(found, np.ndarray),
                  "expected a numpy array of integers, one per moment (`np.array(...)` converts a "
                  "list)")
        t.compare(found, expected, {
            "before the first frame you return -1, which is the *last* frame in Python; return 0":
                begun - 1,
            "this is the frame *after* the one on screen: take the last frame that has begun":
                begun.clip(0, len(times) - 1),
            "this is the frame that begins *nearest* to the moment; it may not have begun yet":
                nearest,
            "a frame that begins at that very moment is on screen, too (`side=\"right\"`)":
                (np.searchsorted(times, moments) - 1).clip(0),
            "you assume evenly spaced frames; phones and screen recorders do not do that. Use "
            "`times`": even.clip(0, len(times) - 1),
            "the last, begun step is missing: T is the ceiling of duration * frame_rate":
                expected[: floor(duration * rate)],
            f"one moment too many: {duration:.3g} s at {rate:g} Hz are {steps} moments, as the "
            "clip ends at the next one. `int(...) + 1` is not a ceiling":
                np.append(expected, len(times) - 1),
            "these are times; return the frames' indices": times[expected]}, "the array of indices")


@exercise(delay_sound)
def _(t: Trial):
    rate, length = t.integer(9000, 11000), t.integer(42000, 48000)
    wave = t.randn(length).numpy()
    shift = t.integer(14000, 22000)
    for samples in (shift + 0.7, -shift - 0.7, 0, length + 30, -length - 30):
        clip = Clip(np.zeros((2, 3, 4, 3), np.uint8), np.arange(2) / 2, wave.copy(), rate,
                    length / rate)
        if samples < -length:  # as read from a file with two channels
            clip.waveform = np.repeat(wave, 2)[::2]
            clip.waveform.flags.writeable = False
        mine, seconds = clip.waveform, samples / rate
        given = partial(t.attempt, clip, seconds)  # itself, no copy, so that a change shows
        given.forward = t.attempt
        found = t.call(given)
        t.require(isinstance(found, Clip), "expected a `Clip`: return "
                  "`dataclasses.replace(clip, waveform=...)`, not the waveform alone")
        t.require(clip.waveform is mine and np.array_equal(mine, wave) and not clip.frames.any(),
                  "the given clip has changed, but others use its waveform: write into a new array")
        t.require(found is not clip, "you return the clip that was given; return a *new* one, also "
                  "for a shift of 0 (`dataclasses.replace`)")
        t.require(isinstance(found.waveform, np.ndarray), "the waveform should be a numpy array")
        frames, gap = round(seconds * 2), np.zeros(abs(round(samples)), np.float32)

        def delayed(clip, seconds):
            return delay_sound(clip, seconds).waveform

        t.compare(found.waveform, delayed(clip, seconds), {
            "samples that leave at one end come back at the other (`np.roll`)":
                np.roll(wave, round(samples)),
            "later and earlier are swapped: positive seconds make the audio *later*":
                delayed(clip, -seconds),
            "the clip has become longer: cut off what is moved beyond its end":
                np.concatenate([gap, wave] if samples > 0 else [wave, gap]),
            "nothing moved": wave,
            "with a shift of 0 nothing should happen, but all is silent: `wave[:-0]` is empty"
            if samples == 0 else "all is silent; only a shift longer than the clip leaves only "
                                 "zeros":
                np.zeros_like(wave),
            f"you assume 16,000 samples a second; this clip has {rate:,}: use `clip.sampling_rate`":
                delayed(replace(clip, sampling_rate=16000), seconds),
            f"`int` truncates: {samples:.1f} samples become {int(samples)}; use `round`":
                delayed(clip, int(samples) / rate),
            "you shift by the number of *seconds*, or of frames, as samples; there are "
            "`clip.sampling_rate` samples a second": delayed(clip, frames / rate)},
            f"the waveform shifted by {seconds:+.2f} s")
        t.require(found.waveform.dtype == np.float32, "the shift is correct, but the waveform was "
                  f"float32 and now is {found.waveform.dtype}: `np.zeros` makes float64, "
                  "`np.zeros_like(clip.waveform)` does not")
        t.require(np.array_equal(found.frames, clip.frames),
                  "the frames have changed; shift the audio only")


@cache
def _whisper() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=80)


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """transformers' `WhisperFeatureExtractor`, without padding to 30 s."""
    return _whisper()(waveform, sampling_rate=16000, padding="do_not_pad", return_tensors="np",
                      device="cpu").input_features[0]


def _spectrum(waveform: np.ndarray, **changes) -> np.ndarray:
    settings = {"sr": 16000, "n_fft": 400, "hop_length": 160, "n_mels": 80, "pad_mode": "reflect"}
    return librosa.feature.melspectrogram(y=waveform, **settings | changes)


def _scaled(spectrum: np.ndarray, log=np.log10, floor_at: float = 8.0) -> np.ndarray:
    energy = log(np.maximum(spectrum, 1e-10))
    return (np.maximum(energy, energy.max() - floor_at) + 4) / 4


@exercise(log_mel)
def _(t: Trial):
    length = 160 * t.integer(22, 30) + t.integer(1, 159)
    clock = np.arange(length) / 16000
    tone = np.sin(2 * np.pi * t.integer(300, 3000) * clock) * np.exp(-12 * clock)
    fading = (tone + 0.1 * t.randn(length).numpy() * (clock < 0.1)).astype(np.float32)
    for wave in (fading, fading[::-1].copy()):  # the second is loudest in the dropped column
        found = t.run(wave)
        t.require(isinstance(found, np.ndarray),
                  "expected a numpy array (80, samples // 160) (`.numpy()` converts a tensor)")
        t.compare(found, log_mel(wave), _mel_suspects(wave), "the spectrogram", tolerance=1e-3)
    t.require(found.dtype == np.float32,
              f"the values are correct, but {found.dtype}; the encoder's weights are float32, "
              "and torch does not mix the two: `.astype(np.float32)`")
    t.check((0 * fading,), {"silence became minus infinity: take at least 1e-10 before the "
                            "logarithm":
                            np.full_like(log_mel(fading), -np.inf)},
            "the spectrogram of silence", tolerance=1e-3)


def _mel_suspects(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Mistakes and the spectrograms that they give."""
    def changed(**settings):
        return _scaled(_spectrum(wave, **settings)[:, :-1])

    whole = _spectrum(wave)
    mel, begun = whole[:, :-1], _spectrum(wave, center=False)
    energy = np.log10(np.maximum(mel, 1e-10))
    below, raised = energy - energy.max(), np.maximum(energy, energy.max() - 8)
    filled = _spectrum(np.pad(wave, (0, 400)), center=False)[:, : mel.shape[1]]
    not_centred = ("the windows *begin* at sample 160 m; Whisper's are centred there, with the "
                   "audio mirrored at its ends")
    return {
        "this is the natural logarithm (`np.log`); Whisper uses base 10": _scaled(mel, np.log),
        "these are magnitudes, not powers: leave librosa's default, `power=2.0`":
            changed(power=1.0),
        "there is no floor: raise values more than 8 below the maximum (80 dB) to that":
            (energy + 4) / 4,
        "each column has a floor of its *own*; use the maximum of all columns":
            (np.maximum(energy, energy.max(0) - 8) + 4) / 4,
        "the scale is missing: plus 4, then divided by 4": raised,
        "first plus 4, then divided by 4; you divide the energy alone": raised / 4 + 4,
        "one column too many: librosa makes one more at the end, Whisper drops it": _scaled(whole),
        "the maximum is that of the dropped column: drop it first, then take the maximum":
            _scaled(whole)[:, :-1],
        "the *first* column is dropped; it should be the last": _scaled(whole[:, 1:]),
        "the ends differ: librosa pads with zeros, Whisper mirrors the audio "
        "(`pad_mode=\"reflect\"`)": changed(pad_mode="constant"),
        f"{not_centred} (librosa's default, `center=True`; yours has {begun.shape[1]} columns)":
            _scaled(begun),
        f"{not_centred} (yours has {begun.shape[1] - 1} columns)": _scaled(begun[:, :-1]),
        f"{not_centred} (yours are half a window late)": _scaled(filled),
        "the window function differs: `np.hanning(400)` ends on a second zero; Whisper's periodic "
        "Hann window is `np.hanning(401)[:-1]`": changed(window=np.hanning(400)),
        "these are decibels (10 times log10): Whisper's floor and scale are made for log10":
            _scaled(mel, lambda v: 10 * np.log10(v), 80.0),
        "these are decibels below the maximum (`ref`); Whisper uses log10 of the energy itself":
            (np.maximum(10 * below, -80) + 4) / 4,
        "all is relative to the maximum, which is only needed for the floor":
            (np.maximum(below, -8) + 4) / 4,
        "the filters are for 22,050 samples a second, librosa's default; this audio has 16,000 "
        "(`sr=16000`)": changed(sr=22050),
        "the filters are not scaled by their width (`norm=None`); leave librosa's default":
            changed(norm=None),
        "another mel scale: Whisper's is librosa's default (Slaney's), not `htk=True`":
            changed(htk=True),
        "bands and time are swapped: (80, samples // 160)": log_mel(wave).T}


def halve_rate(mel: Tensor, kernels: Tensor) -> Tensor:
    """torch's `conv1d` with stride 2 and padding 1; `WhisperEncoder.conv2` also has a bias."""
    return F.conv1d(mel[None], kernels, stride=2, padding=1)[0]


@exercise(halve_rate)
def _(t: Trial):
    channels, width = t.integer(3, 5), t.integer(6, 8)
    for columns in (2 * t.integer(5, 9), 2 * t.integer(5, 9) + 1):
        mel, kernels = t.randn(channels, columns), t.randn(width, channels, 3)
        whole, expected = F.conv1d(mel[None], kernels, padding=1)[0], halve_rate(mel, kernels)
        t.check((mel, kernels), {
            "the rate is not halved: this is stride 1": whole,
            "the odd columns are the centres: output 0 belongs to columns -1, 0 and 1. Pad one "
            "column of zeros in front": whole[:, 1::2],
            "both columns of zeros are in front: output 0 belongs to columns -1, 0 and 1. Pad one "
            "in front, one behind": F.conv1d(F.pad(mel, (2, 0))[None], kernels, stride=2)[0],
            "there is no padding: the first output is missing":
                F.conv1d(mel[None], kernels, stride=2)[0],
            f"the last output is lost: {columns} columns make {(columns + 1) // 2} outputs; the "
            "last one includes the zeros behind the end": expected[:, : columns // 2],
            "the weights are reversed in time (flipped): kernel 0 belongs to the column before":
                halve_rate(mel, kernels.flip(2)),
            "this averages neighbouring results of stride 1; a stride skips, it does not average":
                F.avg_pool1d(whole, 2),
            "there is no sum over channels: each output mixes all of them":
                torch.einsum("cmk,dck->dcm", F.pad(mel, (1, 1)).unfold(1, 3, 2), kernels),
            "one channel's weights are used for all channels; each has its own, `kernels[:, c]`":
                halve_rate(mel, kernels[:, :1].expand_as(kernels)),
            "only the first channel is used; sum over all of them":
                halve_rate(mel[:1], kernels[:, :1]),
            "time comes last: (D, ceil(M / 2))": expected.T})
    t.check_views(mel, kernels)


@cache
def _processor():
    from ...world.mini import mini_processor

    return mini_processor()


def count_tokens(clip: Clip) -> dict[str, int]:
    """The counts of `FavorProcessor.media` and `FavorProcessor.num_steps`."""
    media = _processor().media(clip)
    counts = {name: media[name] for name in ("num_frames", "audio_tokens")}
    return {**counts, "steps": _processor().num_steps(media)}


@exercise(count_tokens)
def _(t: Trial):
    def clip(frames: int, samples: int) -> Clip:
        missing = tuple(n for n, k in (("video", frames), ("audio", samples)) if not k)
        return Clip(np.zeros((frames, 4, 5, 3), np.uint8), np.arange(frames) / 2,
                    np.zeros(samples, np.float32), 16000, max(frames / 2, samples / 16000), missing)

    step = 25 * 320
    odd = 320 * t.integer(3, 20) + t.integer(1, 300)  # under a step of audio, ending within a token
    frames = t.integer(4, 9)
    shorter = "a clip whose audio is shorter", "a clip whose video is shorter"
    cases = {"a clip with both": (frames, (frames - 1) * step + odd),
             shorter[0]: (frames, (frames - 2) * step + odd),
             shorter[1]: (frames, (frames + 1) * step + odd),
             "a clip without audio": (frames, 0), "audio without video": (0, 3 * step + odd),
             "a still image with audio": (1, frames * step + odd), "a still image alone": (1, 0)}
    counts = {name: (t.run(clip(*sizes)), count_tokens(clip(*sizes)))
              for name, sizes in cases.items()}

    def ends_early(name):
        found, expected = counts[name]
        steps = min(expected["num_frames"], -(-expected["audio_tokens"] // 25))
        return isinstance(found, dict) and found == {**expected, "steps": steps}

    t.require(not all(map(ends_early, shorter)),
              "the steps end with the *shorter* stream; the longer one counts")
    for name, (shown, samples) in cases.items():
        found, expected = counts[name]
        tokens = expected["audio_tokens"]
        full = tokens // 25
        frames_of_full = full if shown == 1 and samples > 0 else shown
        t.compare(found, expected, {
            "the last audio token is lost: 320 samples *begun* are a token, round up":
                {**expected, "audio_tokens": samples // 320},
            "the last step is lost: 25 tokens *begun* are a step, round up":
                {**expected, "num_frames": frames_of_full, "steps": max(frames_of_full, full)},
            "a still image with audio counts as one frame; it is repeated in every step":
                {**expected, "num_frames": shown},
            "only the frames count as steps; the audio may be longer": {**expected, "steps": shown},
            "only the audio counts as steps; the video may be longer, or there is no audio":
                {**expected, "steps": -(-tokens // 25)},
            "a token is 320 samples (20 ms), not 160: that is a mel column":
                {**expected, "audio_tokens": -(-samples // 160)}}, f"{name}:")
        t.require(all(isinstance(count, int | np.integer) for count in found.values()),
                  "the counts are correct, but not integers: `np.ceil` returns floats, `-(-a // "
                  "b)` and `math.ceil` do not")
