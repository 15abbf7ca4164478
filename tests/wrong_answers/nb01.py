"""Wrong answers to the exercises of notebook 01."""

import copy
from dataclasses import replace
from math import ceil

import librosa
import numpy as np
import torch
import torch.nn.functional as F


def _moments(duration, frame_rate):
    return np.arange(ceil(duration * frame_rate)) / frame_rate


def last_picture_first(times, duration, frame_rate=2.0):
    return np.searchsorted(times, _moments(duration, frame_rate), side="right") - 1


def next_picture(times, duration, frame_rate=2.0):
    begun = np.searchsorted(times, _moments(duration, frame_rate), side="right")
    return begun.clip(0, len(times) - 1)


def nearest_picture(times, duration, frame_rate=2.0):
    return np.array([np.abs(times - m).argmin() for m in _moments(duration, frame_rate)])


def not_yet_begun(times, duration, frame_rate=2.0):
    return (np.searchsorted(times, _moments(duration, frame_rate)) - 1).clip(0)


def evenly_spaced(times, duration, frame_rate=2.0):
    rate_of_file = len(times) / duration
    return np.minimum((_moments(duration, frame_rate) * rate_of_file).astype(int), len(times) - 1)


def rounded_down(times, duration, frame_rate=2.0):
    moments = np.arange(int(duration * frame_rate)) / frame_rate
    return (np.searchsorted(times, moments, side="right") - 1).clip(0)


def times_themselves(times, duration, frame_rate=2.0):
    return times[(np.searchsorted(times, _moments(duration, frame_rate), side="right") - 1).clip(0)]


def one_moment_more(times, duration, frame_rate=2.0):
    moments = np.arange(int(duration * frame_rate) + 1) / frame_rate
    return (np.searchsorted(times, moments, side="right") - 1).clip(0)


def a_list(times, duration, frame_rate=2.0):
    return [max(0, sum(t <= m for t in times) - 1) for m in _moments(duration, frame_rate)]


def _placed(clip, shift, dtype=np.float32):
    wave, length = clip.waveform, len(clip.waveform)
    moved = np.zeros(length, dtype)
    kept = wave[max(0, -shift):max(0, length - shift)]
    if len(kept):
        moved[max(0, shift):max(0, shift) + len(kept)] = kept
    return replace(clip, waveform=moved)


def rolled(clip, seconds):
    return replace(clip, waveform=np.roll(clip.waveform, round(seconds * clip.sampling_rate)))


def the_wrong_way(clip, seconds):
    return _placed(clip, -round(seconds * clip.sampling_rate))


def longer_clip(clip, seconds):
    shift = round(seconds * clip.sampling_rate)
    gap = np.zeros(abs(shift), np.float32)
    parts = [gap, clip.waveform] if shift > 0 else [clip.waveform, gap]
    return replace(clip, waveform=np.concatenate(parts))


def waveform_alone(clip, seconds):
    return _placed(clip, round(seconds * clip.sampling_rate)).waveform


def moves_the_given_clip(clip, seconds):
    clip.waveform = _placed(clip, round(seconds * clip.sampling_rate)).waveform
    return clip


def moves_the_given_waveform(clip, seconds):
    clip.waveform[:] = _placed(clip, round(seconds * clip.sampling_rate)).waveform
    return copy.copy(clip)


def at_a_rate_of_its_own(clip, seconds):
    return _placed(clip, round(seconds * 16000))


def cut_to_samples(clip, seconds):
    return _placed(clip, int(seconds * clip.sampling_rate))


def in_double_precision(clip, seconds):
    return _placed(clip, round(seconds * clip.sampling_rate), np.float64)


def silent_altogether(clip, seconds):
    return replace(clip, waveform=np.zeros_like(clip.waveform)) if seconds else clip


def in_frames(clip, seconds):
    return _placed(clip, round(round(seconds * 2) / clip.sampling_rate * clip.sampling_rate))


def silent_without_shift(clip, seconds):
    shift = round(seconds * clip.sampling_rate)
    moved = np.zeros_like(clip.waveform)
    if abs(shift) < len(moved):
        if shift > 0:
            moved[shift:] = clip.waveform[:-shift]
        else:
            moved[:shift] = clip.waveform[-shift:] if shift else 0
    return replace(clip, waveform=moved)


def the_same_clip_without_shift(clip, seconds):
    return _placed(clip, round(seconds * clip.sampling_rate)) if seconds else clip


def _mel(waveform, **changes):
    settings = {"sr": 16000, "n_fft": 400, "hop_length": 160, "n_mels": 80, "pad_mode": "reflect",
                **changes}
    mel = librosa.feature.melspectrogram(y=waveform, **settings)
    return mel[:, : len(waveform) // 160]


def _scaled(mel, log=np.log10):
    energy = log(np.maximum(mel, 1e-10))
    return (np.maximum(energy, energy.max() - 8) + 4) / 4


def natural_log(waveform):
    return _scaled(_mel(waveform), np.log)


def magnitudes(waveform):
    return _scaled(_mel(waveform, power=1.0))


def no_floor(waveform):
    return (np.log10(np.maximum(_mel(waveform), 1e-10)) + 4) / 4


def no_scale(waveform):
    energy = np.log10(np.maximum(_mel(waveform), 1e-10))
    return np.maximum(energy, energy.max() - 8)


def one_more_column(waveform):
    return _scaled(librosa.feature.melspectrogram(
        y=waveform, sr=16000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect"))


def zeros_at_the_ends(waveform):
    return _scaled(_mel(waveform, pad_mode="constant"))


def decibels(waveform):
    return (librosa.power_to_db(_mel(waveform), amin=1e-10, top_db=80) + 4) / 4


def other_scale_of_pitch(waveform):
    return _scaled(_mel(waveform, htk=True))


def time_first(waveform):
    return _scaled(_mel(waveform)).T


def floor_of_each_column(waveform):
    energy = np.log10(np.maximum(_mel(waveform), 1e-10))
    return (np.maximum(energy, energy.max(axis=0) - 8) + 4) / 4


def greatest_before_the_cut(waveform):
    return one_more_column(waveform)[:, :-1]


def by_the_formula_alone(waveform):
    """Pieces that begin at sample 160 m, as many as fit."""
    pieces = np.lib.stride_tricks.sliding_window_view(waveform, 400)[::160]
    power = np.abs(np.fft.rfft(pieces * np.hanning(401)[:-1])) ** 2
    return _scaled(librosa.filters.mel(sr=16000, n_fft=400, n_mels=80) @ power.T).astype(np.float32)


def begun_and_filled_up(waveform):
    return by_the_formula_alone(np.pad(waveform, (0, 400)))[:, : len(waveform) // 160]


def _by_hand(waveform, window):
    padded = np.pad(waveform, 200, mode="reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][: len(waveform) // 160]
    power = np.abs(np.fft.rfft(pieces * window)) ** 2
    return _scaled(librosa.filters.mel(sr=16000, n_fft=400, n_mels=80) @ power.T)


def symmetric_window(waveform):
    return _by_hand(waveform, np.hanning(400)).astype(np.float32)


def double_precision(waveform):
    return _by_hand(waveform, np.hanning(401)[:-1])


def a_tensor(waveform):
    return torch.from_numpy(_scaled(_mel(waveform)))


def rate_left_out(waveform):
    return _scaled(_mel(waveform, sr=22050))


def filters_of_one_height(waveform):
    return _scaled(_mel(waveform, norm=None))


def decibels_below_the_greatest(waveform):
    return (librosa.power_to_db(_mel(waveform), ref=np.max, top_db=80) + 4) / 4


def bels_below_the_greatest(waveform):
    return (librosa.power_to_db(_mel(waveform), ref=np.max, top_db=80) / 10 + 4) / 4


def nothing_has_no_logarithm(waveform):
    energy = np.log10(_mel(waveform))
    return (np.maximum(energy, energy.max() - 8) + 4) / 4


def not_halved(mel, kernels):
    return F.conv1d(mel[None], kernels, padding=1)[0]


def odd_columns(mel, kernels):
    return F.conv1d(mel[None], kernels, padding=1)[0][:, 1::2]


def zeros_in_front(mel, kernels):
    return F.conv1d(F.pad(mel, (2, 0))[None], kernels, stride=2)[0]


def pairs_only(mel, kernels):
    return F.conv1d(mel[None], kernels, padding=1)[0][:, ::2][:, : mel.shape[1] // 2]


def one_kernel_for_all(mel, kernels):
    return F.conv1d(mel.sum(0)[None, None], kernels[:, :1], stride=2, padding=1)[0]


def first_channel(mel, kernels):
    return F.conv1d(mel[None, :1], kernels[:, :1], stride=2, padding=1)[0]


def unpadded(mel, kernels):
    return F.conv1d(mel[None], kernels, stride=2)[0]


def flipped(mel, kernels):
    three = F.pad(mel, (1, 1)).unfold(1, 3, 2)
    return torch.einsum("cmk,dck->dm", three, kernels.flip(-1))


def averaged(mel, kernels):
    whole = F.conv1d(mel[None], kernels, padding=1)[0]
    return whole[:, : mel.shape[1] // 2 * 2].unflatten(1, (-1, 2)).mean(-1)


def channels_kept(mel, kernels):
    three = F.pad(mel, (1, 1)).unfold(1, 3, 2)
    return torch.einsum("cmk,dck->dcm", three, kernels)


def time_in_front(mel, kernels):
    return F.conv1d(mel[None], kernels, stride=2, padding=1)[0].T


def by_view(mel, kernels):
    three = F.pad(mel, (1, 1)).unfold(1, 3, 2).transpose(0, 1).flatten(1)
    return (three @ kernels.view(len(kernels), -1).T).T


def _counts(clip, tokens, frames=None, steps=None):
    if frames is None:
        frames = -(-tokens // 25) if len(clip.frames) == 1 and tokens else len(clip.frames)
    steps = max(frames, -(-tokens // 25)) if steps is None else steps
    return {"num_frames": frames, "audio_tokens": tokens, "steps": steps}


def _tokens(clip):
    return -(-len(clip.waveform) // 320)


def tokens_rounded_down(clip):
    return _counts(clip, len(clip.waveform) // 320)


def steps_rounded_down(clip):
    tokens = _tokens(clip)
    frames = tokens // 25 if len(clip.frames) == 1 and tokens else len(clip.frames)
    return _counts(clip, tokens, frames, max(frames, tokens // 25))


def still_once(clip):
    tokens = _tokens(clip)
    return _counts(clip, tokens, len(clip.frames), max(len(clip.frames), -(-tokens // 25)))


def shorter_counts(clip):
    counts = _counts(clip, _tokens(clip))
    return {**counts, "steps": min(counts["num_frames"], -(-counts["audio_tokens"] // 25))}


def frames_count(clip):
    return _counts(clip, _tokens(clip), None, len(clip.frames))


def sound_counts(clip):
    return _counts(clip, _tokens(clip), None, -(-_tokens(clip) // 25))


def whole_numbers_as_floats(clip):
    return _counts(clip, np.ceil(len(clip.waveform) / 320))


def mel_columns(clip):
    counts = _counts(clip, _tokens(clip))
    return {**counts, "audio_tokens": -(-len(clip.waveform) // 160)}


WRONG = {
    "grid_frames": [(last_picture_first, "return -1"), (next_picture, "after* the one on screen"),
                    (nearest_picture, "*nearest*"), (not_yet_begun, "at that very moment"),
                    (evenly_spaced, "evenly spaced"), (rounded_down, "ceiling of duration"),
                    (times_themselves, "these are times"), (one_moment_more, "one moment too many"),
                    (a_list, "converts a list")],
    "delay_sound": [(rolled, "np.roll"), (the_wrong_way, "swapped"), (longer_clip, "become longer"),
                    (waveform_alone, "expected a `Clip`"),
                    (moves_the_given_clip, "given clip has changed"),
                    (moves_the_given_waveform, "others use its waveform"),
                    (in_frames, "of *seconds*, or of frames"),
                    (silent_without_shift, "`wave[:-0]` is empty"),
                    (silent_altogether, "only a shift longer than the clip"),
                    (at_a_rate_of_its_own, "you assume 16,000"),
                    (cut_to_samples, "`int` truncates"), (in_double_precision, "now is float64"),
                    (the_same_clip_without_shift, "return a *new* one")],
    "log_mel": [(natural_log, "natural"), (magnitudes, "magnitudes"),
                (no_floor, "there is no floor"), (no_scale, "scale is missing"),
                (one_more_column, "one column too many"),
                (zeros_at_the_ends, "librosa pads with zeros"), (decibels, "(10 times log10)"),
                (other_scale_of_pitch, "another mel scale"), (time_first, "bands and time"),
                (floor_of_each_column, "floor of its *own*"),
                (greatest_before_the_cut, "drop it first"), (by_the_formula_alone, "`center=True`"),
                (begun_and_filled_up, "half a window late"), (symmetric_window, "periodic Hann"),
                (double_precision, "but float64"), (a_tensor, "converts a tensor"),
                (rate_left_out, "22,050"), (filters_of_one_height, "norm=None"),
                (decibels_below_the_greatest, "(`ref`)"),
                (bels_below_the_greatest, "only needed for the floor"),
                (nothing_has_no_logarithm, "minus infinity")],
    "halve_rate": [(not_halved, "not halved"), (odd_columns, "odd columns"),
                   (unpadded, "no padding"), (flipped, "flipped"), (averaged, "averages"),
                   (channels_kept, "no sum over channels"), (time_in_front, "time comes last"),
                   (zeros_in_front, "both columns of zeros"), (pairs_only, "last output is lost"),
                   (one_kernel_for_all, "one channel's weights"),
                   (first_channel, "only the first channel"), (by_view, "`.reshape`")],
    "count_tokens": [(tokens_rounded_down, "last audio token"), (steps_rounded_down, "last step"),
                     (still_once, "repeated in every step"), (shorter_counts, "*shorter* stream"),
                     (frames_count, "only the frames"), (sound_counts, "only the audio"),
                     (mel_columns, "not 160"), (whole_numbers_as_floats, "not integers")]
}
