"""Exercises of notebook 01: the 2 Hz grid, sound on the clip's clock, Whisper's log-mel, half its rate, and counting tokens."""

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

NOTEBOOK = "01"


def grid_frames(times: np.ndarray, duration: float, frame_rate: float = 2.0) -> np.ndarray:
    """numpy's `searchsorted` finds the last picture that has begun; `media_film.Film` reads with the same line."""
    moments = np.arange(ceil(duration * frame_rate)) / frame_rate
    return (np.searchsorted(times, moments + ROUNDING, side="right") - 1).clip(0)


@exercise("grid_frames", notebook=NOTEBOOK, answer=grid_frames, difficulty=1, minutes=8,
          goal="A file's pictures come on screen at `times`, not always evenly. Say for each moment 0, 1 / frame_rate, 2 "
               "/ frame_rate, ... before the clip ends which picture is *on screen*: the last one that has begun, one "
               "that begins at that very moment included. Before the first picture has come, the first one is shown.",
          shapes="`times` (n,) seconds, rising; `duration` seconds; `frame_rate` a second -> (T,) whole numbers, a numpy array, "
                 "T = ceil(duration * frame_rate)",
          hints=("How many times are at or before a moment? The picture on screen is that many, less one.",
                 "`np.searchsorted(times, moments, side=\"right\")` counts them for all moments at once; mind the -1 "
                 "where there is none."))
def _(t: Trial):
    rate = float([2, 4, 5][t.number(0, 2)])
    steps = t.number(6, 9)
    moments = np.arange(steps) / rate
    for duration in ((steps - t.rng.uniform(0.3, 0.7)) / rate, steps / rate):  # the last step begun, then whole
        times = t.rng.uniform(0.35 / rate, duration, 3 * steps)
        off_grid = times[np.abs(times[:, None] - moments).min(1) > 0.01]
        times = np.sort(np.append(off_grid, moments[[2, 4]]))  # two begin on the grid
        begun = np.searchsorted(times, moments, side="right")
        nearest = np.abs(times[:, None] - moments).argmin(0)
        even = (np.arange(steps) * len(times) / duration / rate).astype(int).clip(0, len(times) - 1)
        expected = grid_frames(times, duration, rate)
        found = t.run(times, duration, rate)
        t.that(isinstance(found, np.ndarray),
               "expected a numpy array of whole numbers, one for each moment (`np.array(...)` makes one of a list)")
        t.same(found, expected, {
            "before the first picture you answer -1, which Python takes for the *last* picture; show the first one": begun - 1,
            "this is the picture *after* the one on screen: of the pictures that have begun, the last":
                begun.clip(0, len(times) - 1),
            "this is the picture that begins *nearest* to the moment; it may not have begun yet": nearest,
            "a picture that begins at that very moment is on screen, too (`side=\"right\"`)":
                (np.searchsorted(times, moments) - 1).clip(0),
            "you take the pictures for evenly spaced; phones and screen recorders do not space them so. Look at `times`":
                even,
            "the last, begun step is missing: T is the ceiling of duration * frame_rate": expected[: floor(duration * rate)],
            f"one moment too many: {duration:.3g} s at {rate:g} a second are {steps} moments, as the clip is over at the "
            "next. `int(...) + 1` is no ceiling":
                np.append(expected, len(times) - 1),
            "these are times; what is wanted are the pictures' numbers": times[expected]}, what="the pictures' numbers")


@exercise("delay_sound", notebook=NOTEBOOK, answer=delay_sound, difficulty=2, minutes=10,
          goal="A new clip with its sound moved against the picture: later by `seconds`, earlier where they are negative, to "
               "the nearest whole sample. It stays as long as it was: what leaves at one end is gone, and silence stands in "
               "the gap at the other. A shift longer than the clip leaves nothing but silence. The clip you are given stays "
               "as it is (`dataclasses.replace` makes a changed copy).",
          shapes="`clip` with `waveform` (samples,) and `sampling_rate`; `seconds` float -> a `Clip`, `waveform` "
                 "(samples,) float32",
          hints=("Turn seconds into samples and `round`. Start from zeros of the same length and copy what stays into its new "
                 "place.",
                 "For a shift s of 0 or more: `moved[s:] = wave[:length - s]`; for a negative one: "
                 "`moved[:s] = wave[-s:]`. Mind shifts beyond the length, and s = 0: `moved[:0]` is empty."))
def _(t: Trial):
    rate, length = t.number(9000, 11000), t.number(42000, 48000)
    wave = t.randn(length).numpy()
    shift = t.number(14000, 22000)
    for way in (shift + 0.7, -shift - 0.7, 0, length + 30, -length - 30):
        clip = Clip(np.zeros((2, 3, 4, 3), np.uint8), np.arange(2) / 2, wave.copy(), rate, length / rate)
        mine, seconds = clip.waveform, way / rate
        expected = delay_sound(clip, seconds).waveform
        handed = partial(t.attempt, clip, seconds)  # the clip itself and no copy of it, so that a change to it shows
        handed.forward = t.attempt
        found = t.call(handed)
        t.that(isinstance(found, Clip),
               "expected a `Clip`: return `dataclasses.replace(clip, waveform=...)`, not the waveform alone")
        t.that(clip.waveform is mine and np.array_equal(mine, wave) and not clip.frames.any(),
               "the clip that was given has changed: its waveform is for others to use; write into a new array")
        t.that(isinstance(found.waveform, np.ndarray), "the new clip's waveform should be a numpy array")
        frames, gap = round(seconds * 2), np.zeros(abs(round(way)), np.float32)
        t.same(found.waveform, expected, {
            "what leaves at one end comes back at the other (`np.roll`): the end of the clip is heard at its beginning":
                np.roll(wave, round(way)),
            "later and earlier are swapped: positive seconds make the sound come *later*":
                delay_sound(clip, -seconds).waveform,
            "the clip has become longer: cut off what is moved beyond its end":
                np.concatenate([gap, wave] if way > 0 else [wave, gap]),
            "nothing moved": wave,
            "with a shift of 0 nothing should happen, and all is silent: `wave[:-0]` is empty" if way == 0 else
            "all is silent; only a shift longer than the clip leaves nothing": np.zeros_like(wave),
            f"you take 16,000 samples a second; this clip has {rate:,}: ask `clip.sampling_rate`":
                delay_sound(replace(clip, sampling_rate=16000), seconds).waveform,
            f"`int` cuts off: {way:.1f} samples are moved by {int(way)}; take the nearest whole number (`round`)":
                delay_sound(clip, int(way) / rate).waveform,
            "you moved by a number of samples that is the number of *seconds*, or of frames; there are "
            "`clip.sampling_rate` samples a second":
                delay_sound(clip, frames / rate).waveform},
            what=f"the waveform moved by {seconds:+.2f} s")
        t.that(found.waveform.dtype == np.float32,
               f"the waveform moved rightly, but is {found.waveform.dtype} now and was float32: `np.zeros` makes float64, "
               "`np.zeros_like(clip.waveform)` does not")
        t.that(np.array_equal(found.frames, clip.frames), "the frames have changed; only the sound moves")


@cache
def _whisper() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=80)


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """transformers' `WhisperFeatureExtractor`, without padding to its 30 s: (samples,) at 16 kHz -> (80, samples // 160)."""
    return _whisper()(waveform, sampling_rate=16000, padding="do_not_pad", return_tensors="np", device="cpu").input_features[0]


def _spectrum(waveform: np.ndarray, **changes) -> np.ndarray:
    settings = {"sr": 16000, "n_fft": 400, "hop_length": 160, "n_mels": 80, "pad_mode": "reflect", **changes}
    return librosa.feature.melspectrogram(y=waveform, **settings)


def _scaled(spectrum: np.ndarray, log=np.log10, floor_at: float = 8.0) -> np.ndarray:
    energy = log(np.maximum(spectrum, 1e-10))
    return (np.maximum(energy, energy.max() - floor_at) + 4) / 4


@exercise("log_mel", notebook=NOTEBOOK, answer=log_mel, difficulty=3, minutes=18,
          goal="Whisper's features with librosa: the mel *power* spectrogram of windows of 400 samples, one centred at every "
               "160th, the sound mirrored at its ends, in 80 bands, with the last column left away; then log10 of at least "
               "1e-10, lifted to at least 8 below the greatest value of what is left, plus 4, divided by 4.",
          shapes="`waveform` (samples,) float32 at 16 kHz -> a numpy array (80, samples // 160) float32",
          hints=("`librosa.feature.melspectrogram` does the first half: look at its `n_fft`, `hop_length`, `n_mels` and "
                 "`pad_mode`: Whisper mirrors the sound at its ends (`\"reflect\"`), librosa by default fills up with zeros.",
                 "`mel = melspectrogram(y=waveform, sr=16000, n_fft=400, hop_length=160, n_mels=80, pad_mode=\"reflect\")[:, :-1]`; "
                 "then `np.log10(np.maximum(mel, 1e-10))`, `np.maximum(..., ....max() - 8)`, and the scale."))
def _(t: Trial):
    length = 160 * t.number(22, 30) + t.number(1, 159)
    clock = np.arange(length) / 16000
    tone = np.sin(2 * np.pi * t.number(300, 3000) * clock) * np.exp(-12 * clock)
    fading = (tone + 0.1 * t.randn(length).numpy() * (clock < 0.1)).astype(np.float32)
    for wave in (fading, fading[::-1].copy()):  # the second is loudest in the column that is left away
        found = t.run(wave)
        t.that(isinstance(found, np.ndarray), "expected a numpy array (80, samples // 160) (`.numpy()` makes one of a tensor)")
        t.same(found, log_mel(wave), _mel_suspects(wave), what="the spectrogram", tolerance=1e-3)
    t.that(found.dtype == np.float32,
           f"the values are right, but {found.dtype}; the encoder's weights are float32, and torch does not mix the two: "
           "`.astype(np.float32)`")
    silence = log_mel(0 * fading)
    t.same(t.run(0 * fading), silence, {"silence became minus infinity: take at least 1e-10 before the logarithm":
                                        np.full_like(silence, -np.inf)}, what="the spectrogram of silence", tolerance=1e-3)


def _mel_suspects(wave: np.ndarray) -> dict[str, np.ndarray]:
    """By what went wrong, the spectrogram that comes of it."""
    whole = _spectrum(wave)
    mel, begun = whole[:, :-1], _spectrum(wave, center=False)
    energy = np.log10(np.maximum(mel, 1e-10))
    below, lifted = energy - energy.max(), np.maximum(energy, energy.max() - 8)
    filled = _spectrum(np.pad(wave, (0, 400)), center=False)[:, : mel.shape[1]]
    not_centred = "the pieces *begin* at sample 160 m; Whisper's have their middle there, with the sound mirrored at its ends"
    return {
        "the natural logarithm was taken (`np.log`); Whisper takes the one to base 10": _scaled(mel, np.log),
        "these are magnitudes, not powers: `power=2.0` is librosa's default, leave it":
            _scaled(_spectrum(wave, power=1.0)[:, :-1]),
        "nothing is lifted: values more than 8 below the greatest (80 dB) are raised to that": (energy + 4) / 4,
        "each column is lifted by its *own* greatest value; take the greatest of the whole piece":
            (np.maximum(energy, energy.max(0) - 8) + 4) / 4,
        "the scale is missing: plus 4, then divided by 4": lifted,
        "first plus 4, then divided by 4; you divide the energy alone": lifted / 4 + 4,
        "one column too many: librosa makes one more at the end, Whisper leaves it away": _scaled(whole),
        "the greatest value is that of the column left away: leave it away first, then look for the greatest":
            _scaled(whole)[:, :-1],
        "the *first* column is left away; it should be the last": _scaled(whole[:, 1:]),
        "the ends differ: librosa fills up with zeros, Whisper mirrors the sound (`pad_mode=\"reflect\"`)":
            _scaled(_spectrum(wave, pad_mode="constant")[:, :-1]),
        f"{not_centred} (with `center=True`, librosa's default; yours are {begun.shape[1]} columns)": _scaled(begun),
        f"{not_centred} (yours are {begun.shape[1] - 1} columns)": _scaled(begun[:, :-1]),
        f"{not_centred} (yours are half a window late)": _scaled(filled),
        "the window is another: `np.hanning(400)` ends on a second zero; a periodic Hann window, which Whisper takes, is "
        "`np.hanning(401)[:-1]`":
            _scaled(_spectrum(wave, window=np.hanning(400))[:, :-1]),
        "these are decibels (10 times log10): Whisper's floor and scale are made for log10":
            _scaled(mel, lambda v: 10 * np.log10(v), 80.0),
        "these are decibels below the greatest value (`ref`); Whisper takes log10 of the energy itself":
            (np.maximum(10 * below, -80) + 4) / 4,
        "all is measured from the greatest value, which is only needed for the floor": (np.maximum(below, -8) + 4) / 4,
        "the filters are for 22,050 samples a second, librosa's default; the sound has 16,000 (`sr=16000`)":
            _scaled(_spectrum(wave, sr=22050)[:, :-1]),
        "the filters are not scaled by their width (`norm=None`); Whisper's are, as by librosa's default":
            _scaled(_spectrum(wave, norm=None)[:, :-1]),
        "another mel scale: librosa's default (Slaney's) is Whisper's, `htk=True` is not":
            _scaled(_spectrum(wave, htk=True)[:, :-1]),
        "bands and time are swapped: (80, samples // 160)": log_mel(wave).T}


def halve_rate(mel: Tensor, kernels: Tensor) -> Tensor:
    """torch's `conv1d` with stride 2 and one column of zeros at each end, as in `WhisperEncoder.conv2` (there with a bias)."""
    return F.conv1d(mel[None], kernels, stride=2, padding=1)[0]


@exercise("halve_rate", notebook=NOTEBOOK, answer=halve_rate, difficulty=3, minutes=12,
          goal="A convolution with stride 2, by hand. Output i is a weighted sum over the columns 2 i - 1, 2 i and 2 i + "
               "1 and over all channels; a column of zeros stands before the first and behind the last. So 100 columns a "
               "second become 50. Where M is odd, the last column is the middle of the last output.",
          shapes="`mel` (C, M); `kernels` (D, C, 3) -> (D, ceil(M / 2))",
          hints=("Put the zeros there (`F.pad`), then take three views of it, each with every second column: the left, "
                 "middle and right neighbours.",
                 "`three = F.pad(mel, (1, 1)).unfold(1, 3, 2)` is (C, ceil(M / 2), 3); then sum over c and k: "
                 "`torch.einsum(\"cmk,dck->dm\", three, kernels)`."))
def _(t: Trial):
    channels, width = t.number(3, 5), t.number(6, 8)
    for columns in (2 * t.number(5, 9), 2 * t.number(5, 9) + 1):
        mel, kernels = t.randn(channels, columns), t.randn(width, channels, 3)
        whole, expected = F.conv1d(mel[None], kernels, padding=1)[0], halve_rate(mel, kernels)
        found = t.run(mel, kernels)
        t.same(found, expected, {
            "the rate is not halved: this is stride 1": whole,
            "the odd columns are in the middle: output 0 belongs to columns -1, 0 and 1. One column of zeros goes in front":
                whole[:, 1::2],
            "both columns of zeros are in front: output 0 belongs to columns -1, 0 and 1. One goes in front, one behind":
                F.conv1d(F.pad(mel, (2, 0))[None], kernels, stride=2)[0],
            "there is no padding: the first output is missing": F.conv1d(mel[None], kernels, stride=2)[0],
            f"the last output is lost: {columns} columns make {(columns + 1) // 2} outputs, the last of them with the "
            "column of zeros behind the end": expected[:, : columns // 2],
            "the weights run backwards in time (flipped): kernel 0 belongs to the column before":
                halve_rate(mel, kernels.flip(2)),
            "this averages neighbouring results of stride 1; a stride skips, it does not average":
                F.avg_pool1d(whole, 2),
            "channels are not summed over: each output mixes all of them":
                torch.einsum("cmk,dck->dcm", F.pad(mel, (1, 1)).unfold(1, 3, 2), kernels),
            "one channel's weights are used for all channels; each has its own, `kernels[:, c]`":
                halve_rate(mel, kernels[:, :1].expand_as(kernels)),
            "only the first channel is heard; sum over all of them": halve_rate(mel[:1], kernels[:, :1]),
            "time comes last: (D, ceil(M / 2))": expected.T})


@cache
def _processor():
    from ...world.mini import mini_processor

    return mini_processor()


def count_tokens(clip: Clip) -> dict[str, int]:
    """`FavorProcessor.media` and `FavorProcessor.num_steps`, which count so."""
    processor = _processor()
    media = processor.media(clip)
    return {"num_frames": media["num_frames"], "audio_tokens": media["audio_tokens"], "steps": processor.num_steps(media)}


@exercise("count_tokens", notebook=NOTEBOOK, answer=count_tokens, difficulty=3, minutes=14,
          goal="How much does a clip become? `audio_tokens`: one for each 320 samples begun. `num_frames`: as many as the "
               "clip has, but a still image (one frame) with sound is shown in *every* step that the sound lasts. `steps` "
               "T: as long as the longer stream; one frame is a step, and so are 25 audio tokens, begun ones included. It "
               "must hold for clips that miss a stream, too.",
          shapes="`clip`, frames (T_v, H, W, 3) at 2 Hz and waveform (samples,) at 16 kHz, either may be empty -> a dict "
                 "with the whole numbers `num_frames`, `audio_tokens`, `steps`",
          hints=("Everything begun counts whole: round up, never down. `-(-a // b)` is a division that rounds up.",
                 "First the tokens; then, if there is one frame and any token, the frames become `ceil(tokens / 25)`; the "
                 "steps are a `max`."))
def _(t: Trial):
    def clip(frames: int, samples: int) -> Clip:
        return Clip(np.zeros((frames, 4, 5, 3), np.uint8), np.arange(frames) / 2, np.zeros(samples, np.float32), 16000,
                    max(frames / 2, samples / 16000), tuple(n for n, k in (("video", frames), ("audio", samples)) if not k))

    step = 25 * 320
    odd = 320 * t.number(3, 20) + t.number(1, 300)  # less than a step of sound, ending within a token
    frames = t.number(4, 9)
    sound_ends, picture_ends = "a clip whose sound is shorter", "a clip whose picture is shorter"
    cases = {"a clip with both": (frames, (frames - 1) * step + odd), sound_ends: (frames, (frames - 2) * step + odd),
             picture_ends: (frames, (frames + 1) * step + odd), "a clip without sound": (frames, 0),
             "a sound without picture": (0, 3 * step + odd), "a still image with sound": (1, frames * step + odd),
             "a still image alone": (1, 0)}
    counted = {name: (t.run(clip(*sizes)), count_tokens(clip(*sizes))) for name, sizes in cases.items()}
    shortest = {name: {**expected, "steps": min(expected["num_frames"], -(-expected["audio_tokens"] // 25))}
                for name, (_, expected) in counted.items()}
    t.that(not all(isinstance(counted[name][0], dict) and counted[name][0] == shortest[name] for name in (sound_ends, picture_ends)),
           "the steps end with the *shorter* stream; the longer one counts")
    for name, (shown, samples) in cases.items():
        found, expected = counted[name]
        still = shown == 1 and samples > 0
        tokens = expected["audio_tokens"]
        t.same(found, expected, {
            "the last audio token is lost: 320 samples *begun* are a token, round up":
                {**expected, "audio_tokens": samples // 320},
            "the last step is lost: 25 tokens *begun* are a step, round up":
                {**expected, "num_frames": tokens // 25 if still else shown, "steps": max(tokens // 25 if still else shown, tokens // 25)},
            "a still image with sound counts as one frame; it is shown in every step": {**expected, "num_frames": shown},
            "only the frames count as steps; the sound may go on longer": {**expected, "steps": shown},
            "only the sound counts as steps; the pictures may go on longer, or there is no sound":
                {**expected, "steps": -(-tokens // 25)},
            "a token is 320 samples (20 ms), not 160: that is a mel column": {**expected, "audio_tokens": -(-samples // 160)}},
            what=f"{name}:")
        t.that(all(isinstance(count, int | np.integer) for count in found.values()),
               "the counts are right, but not whole numbers: `np.ceil` gives floats, `-(-a // b)` and `math.ceil` do not")
