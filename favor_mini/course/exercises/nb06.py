"""Exercises of notebook 06: counting, splitting and joining windows, and two other ways to cut."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...lab.variants import overlapping, two_resolutions
from ...windows import join_windows, num_windows, split_windows
from ..exercise import Trial, exercise


def _clips(t: Trial, odd: bool = False):
    """Steps (B, T, P, D) and a mask (B, T) of clips of several lengths; K does not divide T."""
    K = t.integer(2, 3) * 2 + odd
    frames, batch, tokens, width = 2 * K + t.integer(1, K - 1), 3, t.integer(7, 8), t.integer(9, 10)
    lengths = torch.tensor([frames, t.integer(1, K), t.integer(K + 1, 2 * K)])
    mask = torch.arange(frames)[None] < lengths[:, None]
    return t.randn(batch, frames, tokens, width) * mask[..., None, None], mask, K


def _pad_frames(steps: Tensor, after: int, before: int = 0) -> Tensor:
    return F.pad(steps, (0, 0, 0, 0, before, after))


def _compare(t: Trial, clips, windows: dict, masks: dict) -> None:
    """Compare the windows, then their mask, each with suspects of its own."""
    found, expected = t.run(*clips), t.answer(*clips)
    t.require_tuple(found, 2, "expected two results, the windows and their mask: `return windows, "
                              "mask`")
    t.compare(found[0], expected[0], windows, "the tensor of windows")
    order = "the mask's windows are in another order than the windows themselves"
    masks = {order if message is None else message: mask for message, mask in masks.items()}
    t.compare(found[1], expected[1], masks, "the mask")


@exercise(num_windows)
def _(t: Trial):
    K = t.integer(3, 9)
    whole = t.integer(1, 5)
    for frames in (whole * K + t.integer(1, K - 1), whole * K, t.integer(1, K - 1), 0):
        found = t.check((frames, K), {
            "the last window, which is not full, is lost: round up": frames // K,
            "one too many where K divides T: T // K + 1 is not rounding up":
                frames // K + (frames > 0),
            "it should be an integer": frames / K,
            "a clip without frames has no window; `max(1, ...)` gives it one":
                1 if frames == 0 else -(-frames // K),
            "T and K are swapped: T frames are cut into windows of K": -(-K // max(frames, 1))},
            f"for {frames} frames in windows of {K} the result")
        t.require_integer(found, f"the number is right, but of type {type(found).__name__}: "
                          "`np.ceil` and `/` return floats, `-(-T // K)` and `math.ceil` integers")


@exercise(split_windows)
def _(t: Trial):
    steps, mask, K = clips = _clips(t)
    batch, frames, tokens, _ = steps.shape
    missing, whole = -frames % K, frames // K * K
    long, real = _pad_frames(steps, missing), F.pad(mask, (0, missing))
    cut = long.unflatten(1, (-1, K))  # [B, W, K, P, D]
    expected_mask = split_windows(*clips)[1]

    def rows(cut):
        return cut.flatten(0, 1).flatten(1, 2)

    all_real = torch.arange(real.shape[1])[None].expand(batch, -1) < frames
    _compare(t, clips, {
        "the last window, which is not full, is lost; pad it":
            rows(steps[:, :whole].unflatten(1, (-1, K))),
        "the padding comes before the clip, so that all its frames move; pad at the end":
            rows(_pad_frames(steps, 0, missing).unflatten(1, (-1, K))),
        "a window holds every W-th frame; it should hold K *neighbours*":
            rows(long.unflatten(1, (K, -1)).transpose(1, 2)),
        "clips and windows are still two axes; all windows of all clips form one batch":
            cut.flatten(2, 3),
        "frames and tokens are still two axes; a window is one sequence of K * P tokens":
            cut.flatten(0, 1),
        "the windows of different clips alternate; those of clip 0 come first, then clip 1's":
            rows(cut.transpose(0, 1)),
        "the tokens of a frame are separated: a window is frame after frame, P tokens each":
            rows(cut.transpose(2, 3))}, {
        "the padding of the last window is marked as real":
            F.pad(mask, (0, missing), value=True).unflatten(1, (-1, K)).flatten(0, 1),
        "the given mask is ignored: frames that were padding are real in yours":
            all_real.unflatten(1, (-1, K)).flatten(0, 1),
        "the mask is per window, (B * W,); it should say for each of the K frames whether it is "
        "real": expected_mask.any(1),
        "the mask is per token; it should be per frame, (B * W, K)":
            expected_mask.repeat_interleave(tokens, dim=1),
        None: real.unflatten(1, (-1, K)).transpose(0, 1).flatten(0, 1)})
    t.check((steps, mask, frames), what="with a window as long as the clip, of (windows, mask),")
    t.check_views(*clips)


@exercise(join_windows)
def _(t: Trial):
    batch, windows, N, width = t.integer(2, 3), t.integer(4, 5), t.integer(6, 7), t.integer(8, 9)
    queries = t.randn(batch * windows, N, width)
    cut = queries.unflatten(0, (batch, -1))  # [B, W, N, D]
    t.check((queries, batch), {
        "clips are mixed: the first W entries belong to clip 0, the next W to clip 1":
            queries.unflatten(0, (-1, batch)).transpose(0, 1).flatten(1, 2),
        "the order is query by query (first the first query of every window); it should be window "
        "by window": cut.transpose(1, 2).flatten(1, 2),
        "windows and queries are still two axes; they become one sequence of W * N vectors": cut,
        "the windows are in reverse order, from last to first": cut.flip(1).flatten(1, 2),
        "the windows are averaged; keep every query of every window": cut.mean(1),
        "the windows are joined along the features; join them in time":
            cut.transpose(1, 2).flatten(2, 3)})
    t.check_views(queries, batch)


@exercise(overlapping)
def _(t: Trial):
    steps, mask, K = clips = _clips(t, odd=bool(t.integer(0, 1)))
    frames, stride = steps.shape[1], K // 2
    missing = (-(-frames // stride) - 1) * stride + K - frames
    cut = _pad_frames(steps, missing).unfold(1, K, stride)  # [B, W, P, D, K]
    real = F.pad(mask, (0, missing)).unfold(1, K, stride)

    def rows(cut):
        return cut.movedim(-1, 2).flatten(2, 3).flatten(0, 1)

    enough = -(-max(0, frames - K) // stride) + 1  # windows until every frame is in one
    _compare(t, clips, {
        "the windows do not overlap; a new one begins every K / 2 frames": split_windows(*clips)[0],
        "you stop when every frame is in some window; a window begins at every multiple of the "
        "stride where there is a frame": rows(cut[:, :enough]),
        "only full windows are kept, and the clip's end is lost; pad it":
            rows(steps.unfold(1, K, stride)),
        "`Tensor.unfold` puts the K frames at the end, so that flattening mixes frames and tokens: "
        "`movedim(-1, 2)` first":
            cut.flatten(0, 1).flatten(1).unflatten(1, (K * steps.shape[2], -1)),
        "the windows of different clips alternate; those of clip 0 come first":
            rows(cut.transpose(0, 1)),
        "a new window begins at every frame; the stride is K / 2":
            rows(_pad_frames(steps, K - 1).unfold(1, K, 1))}, {
        "the padding after the clip is marked as real":
            F.pad(mask, (0, missing), value=True).unfold(1, K, stride).flatten(0, 1),
        "the mask is all True; shorter clips and the last windows have padding":
            torch.ones(real.flatten(0, 1).shape, dtype=torch.bool),
        None: real.transpose(0, 1).flatten(0, 1)})
    t.check_views(*clips)


@exercise(two_resolutions)
def _(t: Trial):
    steps, mask, K = clips = _clips(t, odd=bool(t.integer(0, 1)))
    batch, tokens = len(steps), steps.shape[2]
    long, short = (split_windows(steps, mask, length) for length in (K, K // 2))
    missing = K - K // 2

    def joined(short_first=False, clips=True, front=False, value=False):
        front, back = missing * front, missing * (not front)
        padded = [long, (F.pad(short[0], (0, 0, front * tokens, back * tokens)),
                         F.pad(short[1], (front, back), value=value))]
        padded = padded[::-1] if short_first else padded
        cut = [[x.unflatten(0, (batch, -1)) if clips else x for x in part] for part in padded]
        return [torch.cat(x, dim=1).flatten(0, 1) if clips else torch.cat(x)
                for x in zip(*cut, strict=True)]

    only_short = joined()[0].unflatten(0, (batch, -1))[:, len(long[0]) // batch :].flatten(0, 1)
    _compare(t, clips, {
        "all clips' long windows come first, then all clips' short ones; keep each clip's windows "
        "together": joined(clips=False)[0],
        "the short windows come before the long ones": joined(short_first=True)[0],
        "a short window is padded in front; pad it at its end": joined(front=True)[0],
        "only the long windows are there": long[0],
        "only the short windows are there": only_short}, {
        "the padding of the short windows is marked as real": joined(value=True)[1],
        "the mask is all True; shorter clips and padded windows have padding":
            torch.ones_like(joined()[1]),
        None: joined(clips=False)[1]})
    t.check_views(*clips)
