"""Wrong answers to the exercises of notebook 06."""

import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.windows import split_windows


def floor(num_frames, window_frames):
    return num_frames // window_frames


def always_one_more(num_frames, window_frames):
    return num_frames // window_frames + 1


def not_rounded(num_frames, window_frames):
    return num_frames / window_frames


def rounded_up_as_a_float(num_frames, window_frames):
    return float(np.ceil(num_frames / window_frames))


def always_one(num_frames, window_frames):
    return max(1, -(-num_frames // window_frames))


def swapped(num_frames, window_frames):
    return -(-window_frames // max(num_frames, 1))


def _cut(steps, frame_mask, window_frames):
    missing = -steps.shape[1] % window_frames
    return (F.pad(steps, (0, 0, 0, 0, 0, missing)).unflatten(1, (-1, window_frames)),
            F.pad(frame_mask, (0, missing)).unflatten(1, (-1, window_frames)))


def rest_lost(steps, frame_mask, window_frames):
    whole = steps.shape[1] // window_frames * window_frames
    return split_windows(steps[:, :whole], frame_mask[:, :whole], window_frames)


def padded_in_front(steps, frame_mask, window_frames):
    missing = -steps.shape[1] % window_frames
    return split_windows(F.pad(steps, (0, 0, 0, 0, missing, 0)), F.pad(frame_mask, (missing, 0)),
                         window_frames)


def dealt_out(steps, frame_mask, window_frames):
    cut, mask = _cut(steps, frame_mask, window_frames)
    shape = cut.shape
    cut = cut.flatten(1, 2).reshape(shape[0], window_frames, shape[1], *shape[3:]).transpose(1, 2)
    mask = mask.flatten(1).reshape(shape[0], window_frames, shape[1]).transpose(1, 2)
    return cut.flatten(0, 1).flatten(1, 2), mask.flatten(0, 1)


def clips_apart(steps, frame_mask, window_frames):
    cut, mask = _cut(steps, frame_mask, window_frames)
    return cut.flatten(2, 3), mask


def frames_apart(steps, frame_mask, window_frames):
    cut, mask = _cut(steps, frame_mask, window_frames)
    return cut.flatten(0, 1), mask.flatten(0, 1)


def window_by_window(steps, frame_mask, window_frames):
    cut, mask = _cut(steps, frame_mask, window_frames)
    return cut.transpose(0, 1).flatten(0, 1).flatten(1, 2), mask.transpose(0, 1).flatten(0, 1)


def token_by_token(steps, frame_mask, window_frames):
    cut, mask = _cut(steps, frame_mask, window_frames)
    return cut.flatten(0, 1).transpose(1, 2).flatten(1, 2), mask.flatten(0, 1)


def padding_real(steps, frame_mask, window_frames):
    missing = -steps.shape[1] % window_frames
    mask = F.pad(frame_mask, (0, missing), value=True)
    return split_windows(steps, frame_mask, window_frames)[0], mask.reshape(-1, window_frames)


def mask_ignored(steps, frame_mask, window_frames):
    return split_windows(steps, torch.ones_like(frame_mask), window_frames)


def mask_of_windows(steps, frame_mask, window_frames):
    windows, mask = split_windows(steps, frame_mask, window_frames)
    return windows, mask.any(dim=1)


def mask_of_tokens(steps, frame_mask, window_frames):
    windows, mask = split_windows(steps, frame_mask, window_frames)
    return windows, mask.repeat_interleave(steps.shape[2], dim=1)


def no_mask(steps, frame_mask, window_frames):
    return split_windows(steps, frame_mask, window_frames)[0]


def clips_mixed(queries, batch):
    return queries.unflatten(0, (-1, batch)).transpose(0, 1).flatten(1, 2)


def joined_by_view(queries, batch):
    return queries.view(batch, -1, queries.shape[2])


def split_by_view(steps, frame_mask, window_frames):
    cut, mask = _cut(steps, frame_mask, window_frames)
    mask = mask.reshape(-1, window_frames)
    return cut.view(len(mask), -1, steps.shape[3]), mask


def query_by_query(queries, batch):
    return queries.unflatten(0, (batch, -1)).transpose(1, 2).flatten(1, 2)


def still_two_axes(queries, batch):
    return queries.unflatten(0, (batch, -1))


def averaged(queries, batch):
    return queries.unflatten(0, (batch, -1)).mean(dim=1)


def along_features(queries, batch):
    return queries.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)


def _overlapping(steps, frame_mask, window_frames, stride, count):
    missing = max(0, (count - 1) * stride + window_frames - steps.shape[1])
    cut = F.pad(steps, (0, 0, 0, 0, 0, missing)).unfold(1, window_frames, stride)[:, :count]
    mask = F.pad(frame_mask, (0, missing)).unfold(1, window_frames, stride)[:, :count]
    return cut.movedim(-1, 2), mask  # [B, W, K, P, D], [B, W, K]


def stops_early(steps, frame_mask, window_frames):
    stride = window_frames // 2
    count = -(-(steps.shape[1] - window_frames) // stride) + 1
    cut, mask = _overlapping(steps, frame_mask, window_frames, stride, count)
    return cut.flatten(2, 3).flatten(0, 1), mask.flatten(0, 1)


def full_ones_only(steps, frame_mask, window_frames):
    stride = window_frames // 2
    cut = steps.unfold(1, window_frames, stride).movedim(-1, 2)
    mask = frame_mask.unfold(1, window_frames, stride)
    return cut.flatten(2, 3).flatten(0, 1), mask.flatten(0, 1)


def _all(steps, window_frames):
    stride = window_frames // 2
    return stride, -(-steps.shape[1] // stride)


def scrambled(steps, frame_mask, window_frames):
    cut, mask = _overlapping(steps, frame_mask, window_frames, *_all(steps, window_frames))
    cut = cut.movedim(2, -1)  # as Tensor.unfold leaves it: [B, W, P, D, K]
    return cut.reshape(-1, window_frames * steps.shape[2], steps.shape[3]), mask.flatten(0, 1)


def overlapping_mixed(steps, frame_mask, window_frames):
    cut, mask = _overlapping(steps, frame_mask, window_frames, *_all(steps, window_frames))
    return cut.transpose(0, 1).flatten(0, 1).flatten(1, 2), mask.transpose(0, 1).flatten(0, 1)


def every_frame(steps, frame_mask, window_frames):
    cut, mask = _overlapping(steps, frame_mask, window_frames, 1, steps.shape[1])
    return cut.flatten(2, 3).flatten(0, 1), mask.flatten(0, 1)


def overlapping_all_true(steps, frame_mask, window_frames):
    cut, mask = _overlapping(steps, frame_mask, window_frames, *_all(steps, window_frames))
    return cut.flatten(2, 3).flatten(0, 1), torch.ones_like(mask).flatten(0, 1)


def _two(steps, frame_mask, window_frames, front=False, real=False):
    found = []
    for length in (window_frames, window_frames // 2):
        windows, mask = split_windows(steps, frame_mask, length)
        missing = window_frames - length
        tokens = missing * steps.shape[2]
        windows = F.pad(windows, (0, 0, tokens, 0) if front else (0, 0, 0, tokens))
        mask = F.pad(mask, (missing, 0) if front else (0, missing), value=real)
        found.append((windows.unflatten(0, (len(steps), -1)), mask.unflatten(0, (len(steps), -1))))
    return found


def _joined(found):
    return tuple(torch.cat(parts, dim=1).flatten(0, 1) for parts in zip(*found, strict=True))


def clips_torn_apart(steps, frame_mask, window_frames):
    pairs = zip(*_two(steps, frame_mask, window_frames), strict=True)
    return tuple(torch.cat([part.flatten(0, 1) for part in parts]) for parts in pairs)


def short_first(steps, frame_mask, window_frames):
    return _joined(_two(steps, frame_mask, window_frames)[::-1])


def short_padded_in_front(steps, frame_mask, window_frames):
    return _joined(_two(steps, frame_mask, window_frames, front=True))


def short_padding_real(steps, frame_mask, window_frames):
    return _joined(_two(steps, frame_mask, window_frames, real=True))


def not_padded(steps, frame_mask, window_frames):
    long, short = (split_windows(steps, frame_mask, length)
                   for length in (window_frames, window_frames // 2))
    return torch.cat([long[0], short[0]]), torch.cat([long[1], short[1]])


WRONG = {
    "num_windows": [(floor, "is lost"), (always_one_more, "one too many"),
                    (not_rounded, "an integer"), (swapped, "swapped"),
                    (rounded_up_as_a_float, "of type float"), (always_one, "`max(1, ...)`")],
    "split_windows": [(rest_lost, "is lost"), (padded_in_front, "before the clip"),
                      (dealt_out, "every W-th frame"), (clips_apart, "clips and windows"),
                      (frames_apart, "frames and tokens are still"),
                      (window_by_window, "alternate"), (token_by_token, "are separated"),
                      (padding_real, "marked as real"), (mask_ignored, "is ignored"),
                      (mask_of_windows, "per window"), (mask_of_tokens, "per token"),
                      (no_mask, "return windows, mask")],
    "join_windows": [(clips_mixed, "clips are mixed"), (query_by_query, "query by query"),
                     (still_two_axes, "two axes"), (averaged, "averaged"),
                     (along_features, "along the features"), (joined_by_view, "`.reshape`")],
    "overlapping": [(split_windows, "do not overlap"), (stops_early, "you stop when"),
                    (full_ones_only, "only full windows"), (scrambled, "movedim"),
                    (overlapping_mixed, "alternate"), (every_frame, "at every frame"),
                    (overlapping_all_true, "all True")],
    "two_resolutions": [
        (clips_torn_apart, "keep each clip's windows"), (short_first, "before the long ones"),
        (short_padded_in_front, "in front"), (split_windows, "only the long"),
        (short_padding_real, "marked as real"), (not_padded, "Sizes of tensors")]
}
