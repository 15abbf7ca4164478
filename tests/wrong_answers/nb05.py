"""Wrong answers to the exercises of notebook 05."""

import numpy as np
import torch

from favor_mini.attention import block_causal, frame_index
from favor_mini.registry import find


def round_and_round(num_frames, step_tokens):
    return torch.arange(num_frames).repeat(step_tokens)


def swapped(num_frames, step_tokens):
    return torch.arange(step_tokens).repeat_interleave(num_frames)


def from_one(num_frames, step_tokens):
    return torch.arange(1, num_frames + 1).repeat_interleave(step_tokens)


def frames_only(num_frames, step_tokens):
    return torch.arange(num_frames)


def always_on_the_cpu(num_frames, step_tokens, device=None):
    return torch.arange(num_frames).repeat_interleave(step_tokens)


def no_device(num_frames, step_tokens):
    return torch.arange(num_frames).repeat_interleave(step_tokens)


def causal_on_the_cpu(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] >= frame[None, :]


def causal_without_device(num_frames, step_tokens):
    return causal_on_the_cpu(num_frames, step_tokens)


def band_on_the_cpu(num_frames, step_tokens, device=None):
    return band(0, 1)(num_frames, step_tokens)


def released(num_frames, step_tokens):
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] <= frame[None, :]


def over_tokens(num_frames, step_tokens):
    place = torch.arange(num_frames * step_tokens)
    return place[:, None] >= place[None, :]


def off_by_one(num_frames, step_tokens):
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] > frame[None, :]


def own_only(num_frames, step_tokens):
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] == frame[None, :]


def forbidden(num_frames, step_tokens):
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] < frame[None, :]


def as_numbers(num_frames, step_tokens):
    return block_causal(num_frames, step_tokens).float()


def band(low, high):
    def mask(num_frames, step_tokens):
        frame = frame_index(num_frames, step_tokens)
        apart = frame[:, None] - frame[None, :]
        return (apart >= low) & (apart <= high)

    return mask


def band_of_tokens(num_frames, step_tokens):
    place = torch.arange(num_frames * step_tokens)
    apart = place[:, None] - place[None, :]
    return (apart >= 0) & (apart <= 1)


def _parts(name, frame_mask, step_tokens):
    frames = frame_mask.shape[1]
    frame = frame_index(frames, step_tokens)
    real = frame_mask.repeat_interleave(step_tokens, dim=1)
    return find("attention", name)(frames, step_tokens), frame[:, None] == frame[None, :], real


def padding_ignored(name, frame_mask, step_tokens):
    allowed, _, _ = _parts(name, frame_mask, step_tokens)
    return allowed.expand(len(frame_mask), 1, *allowed.shape)


def empty_rows(name, frame_mask, step_tokens):
    allowed, _, real = _parts(name, frame_mask, step_tokens)
    return allowed & real[:, None, None, :]


def rows_cut(name, frame_mask, step_tokens):
    allowed, own, real = _parts(name, frame_mask, step_tokens)
    return allowed & (real[:, None, :, None] | own)


def own_frame_always(name, frame_mask, step_tokens):
    allowed, own, real = _parts(name, frame_mask, step_tokens)
    return (allowed & real[:, None, None, :]) | own


def padding_sees_padding(name, frame_mask, step_tokens):
    allowed, _, real = _parts(name, frame_mask, step_tokens)
    return allowed & (real[:, None, None, :] | ~real[:, None, :, None])


def real_rows_see_all(name, frame_mask, step_tokens):
    allowed, own, real = _parts(name, frame_mask, step_tokens)
    return allowed & (real[:, None, None, :] | real[:, None, :, None] | own)


def repeated_whole(name, frame_mask, step_tokens):
    allowed, own, _ = _parts(name, frame_mask, step_tokens)
    return allowed & (frame_mask.repeat(1, step_tokens)[:, None, None, :] | own)


def no_heads(name, frame_mask, step_tokens):
    allowed, own, real = _parts(name, frame_mask, step_tokens)
    return allowed & (real[:, None, :] | own)


def always_causal(name, frame_mask, step_tokens):
    _, own, real = _parts(name, frame_mask, step_tokens)
    return block_causal(frame_mask.shape[1], step_tokens) & (real[:, None, None, :] | own)


def changes_its_argument(name, frame_mask, step_tokens):
    frame_mask[:, -1] = True
    allowed, own, real = _parts(name, frame_mask, step_tokens)
    return allowed & (real[:, None, None, :] | own)


def _reach(encode, steps, change):
    before = encode(steps)[0].flatten(1)
    def moved(j):
        return (encode(change(steps, j))[0].flatten(1) - before).abs().amax(1) > 1e-9

    return np.stack([moved(j).numpy()
                     for j in range(steps.shape[1])], axis=1)


def one_token(encode, steps):
    def change(steps, j):
        changed = steps.clone()
        changed[:, j, 0] += 1
        return changed

    return _reach(encode, steps, change)


def transposed(encode, steps):
    def change(steps, j):
        changed = steps.clone()
        changed[:, j] += 1
        return changed

    return _reach(encode, steps, change).T


def stays(encode, steps):
    return ~transposed(encode, steps).T


def assumed_causal(encode, steps):
    return np.tril(transposed(encode, steps).T)


def in_place(encode, steps):
    def change(steps, j):
        steps[:, j] += 1
        return steps

    return _reach(encode, steps, change)


def piled_up(encode, steps):
    changed, columns = steps.clone(), []
    before = encode(steps)[0].flatten(1)
    for j in range(steps.shape[1]):
        changed = changed.clone()
        changed[:, j] += 1 + j
        columns.append(((encode(changed)[0].flatten(1) - before).abs().amax(1) > 1e-9).numpy())
    return np.stack(columns, axis=1)


def no_end(num_frames, step_tokens):
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] - frame[None, :] <= 1


def constant_added(encode, steps):
    def change(steps, j):
        changed = steps.clone()
        changed[:, j] += 1
        return changed

    return _reach(encode, steps, change)


def set_to_zero(encode, steps):
    def change(steps, j):
        changed = steps.clone()
        changed[:, j] = 0
        return changed

    return _reach(encode, steps, change)


def doubled(encode, steps):
    def change(steps, j):
        changed = steps.clone()
        changed[:, j] *= 2
        return changed

    return _reach(encode, steps, change)


def coarse(encode, steps):
    before, columns = encode(steps)[0].flatten(1), []
    for j in range(steps.shape[1]):
        changed = steps.clone()
        changed[:, j] = torch.randn_like(changed[:, j])
        columns.append(((encode(changed)[0].flatten(1) - before).abs().amax(1) > 1e-2).numpy())
    return np.stack(columns, axis=1)


WRONG = {
    "frame_index": [(round_and_round, "repeat as a whole"), (swapped, "swapped"),
                    (from_one, "from 1"), (frames_only, "one number a frame"),
                    (always_on_the_cpu, "not on the device"), (no_device, "keep the argument")],
    "block_causal": [(released, "released code"), (over_tokens, "must be over frames"),
                     (off_by_one, "own frame"), (own_only, "earlier frames are missing"),
                     (forbidden, "True should mean"), (as_numbers, "booleans"),
                     (causal_on_the_cpu, "not on the device"),
                     (causal_without_device, "keep the argument")],
    "local_causal": [(band(-1, 1), "leaks"), (band(0, 2), "two earlier frames"),
                     (band(1, 1), "own is missing"), (band(0, 99), "whole block-causal"),
                     (no_end, "no limit on the right"), (band_of_tokens, "not one token"),
                     (band(-1, 0), "wrong side"), (band_on_the_cpu, "not on the device"),
                     (band(0, 1), "keep the argument")],
    "window_mask": [(padding_ignored, "has no effect"), (empty_rows, "nan"),
                    (rows_cut, "keys must be masked"), (own_frame_always, "all of itself"),
                    (padding_sees_padding, "*other* padded frames"),
                    (real_rows_see_all, "not the rows"), (repeated_whole, "`repeat_interleave`"),
                    (no_heads, "heads"),
                    (always_causal, "name is not used"), (changes_its_argument, "in place")],
    "measure_receptive_field": [
        (one_token, "all of a frame's tokens"), (transposed, "swapped"),
        (stays, "which ones change"), (assumed_causal, "assume causality"), (in_place, "in place"),
        (piled_up, "accumulate"), (constant_added, "LayerNorm"), (coarse, "small changes"),
        (set_to_zero, "a frame of zeros"), (doubled, "*random* content")]
}
