"""Exercises of notebook 06: how many windows, folding, unfolding, and two other ways to cut."""

import torch
import torch.nn.functional as F

from ...lab.variants import overlapping, two_resolutions
from ...windows import join_windows, num_windows, split_windows
from ..exercise import Trial, exercise

NOTEBOOK = "06"


def _folded(t: Trial, odd: bool = False):
    """Steps (B, T, P, D) and a mask (B, T) of clips of several lengths, and K, which does not divide T."""
    K = t.number(2, 3) * 2 + odd
    frames, batch, tokens, width = 2 * K + t.number(1, K - 1), 3, t.number(7, 8), t.number(9, 10)
    lengths = torch.tensor([frames, t.number(1, K), t.number(K + 1, 2 * K)])
    mask = torch.arange(frames)[None] < lengths[:, None]
    return t.randn(batch, frames, tokens, width) * mask[..., None, None], mask, K


@exercise("num_windows", notebook=NOTEBOOK, answer=num_windows, difficulty=1, minutes=4,
          goal="How many windows of K frames does a clip of T frames become? The last one may be partly empty; a clip without any frame has no window.",
          shapes="`num_frames` T, `window_frames` K, whole numbers -> W, a whole number",
          hints=("11 frames in windows of 4: write the windows down and count them. And 12 frames?",
                 "Divide and round *up*. In whole numbers: `-(-T // K)`."))
def _(t: Trial):
    K = t.number(3, 9)
    whole = t.number(1, 5)
    for frames in (whole * K + t.number(1, K - 1), whole * K, t.number(1, K - 1), 0):
        t.same(t.run(frames, K), num_windows(frames, K), {
            "the last window, which is not full, is lost: round up": frames // K,
            "one too many where K divides T (and for a clip without frames): T // K + 1 is not rounding up": frames // K + 1,
            "it should be a whole number": frames / K,
            "T and K are swapped: T frames are cut into windows of K": -(-K // max(frames, 1))}, what=f"for {frames} frames in windows of {K} the result")


@exercise("split_windows", notebook=NOTEBOOK, answer=split_windows, difficulty=3, minutes=15,
          goal="Cut every clip into windows of K frames and lay the windows of all clips into one batch: those of clip 0 first. Pad the last window with "
               "zeros at its end and mark that padding as not real. The mask that comes in (shorter clips have padding already) is cut in the same way.",
          shapes="`steps` (B, T, P, D), `frame_mask` (B, T) bool, `window_frames` K -> windows (B * W, K * P, D), mask (B * W, K)",
          hints=("First pad, then only shapes change. Which two axes come of T? Which two become the batch, which two the row of tokens?",
                 "`steps = F.pad(steps, (0, 0, 0, 0, 0, -T % K)).unflatten(1, (-1, K))` is (B, W, K, P, D). Then `flatten(0, 1)`, and once more `flatten(1, 2)`. "
                 "`F.pad(frame_mask, (0, -T % K))` pads a mask with False."))
def _(t: Trial):
    steps, mask, K = _folded(t)
    batch, frames, tokens, _ = steps.shape
    missing = -frames % K
    long, real = F.pad(steps, (0, 0, 0, 0, 0, missing)), F.pad(mask, (0, missing))
    cut = long.unflatten(1, (-1, K))  # [B, W, K, P, D]
    windows, expected_mask = split_windows(steps, mask, K)
    whole = frames // K * K
    front = F.pad(steps, (0, 0, 0, 0, missing, 0)).unflatten(1, (-1, K)).flatten(0, 1).flatten(1, 2)
    dealt = long.unflatten(1, (K, -1)).transpose(1, 2).flatten(0, 1).flatten(1, 2)
    by_window = cut.transpose(0, 1).flatten(0, 1).flatten(1, 2)
    found = t.run(steps, mask, K)
    t.that(isinstance(found, tuple | list) and len(found) == 2, "two things should come back, the windows and their mask: `return windows, mask`")
    t.same(found[0], windows, {
        "the last window, which is not full, is lost; pad it instead": steps[:, :whole].unflatten(1, (-1, K)).flatten(0, 1).flatten(1, 2),
        "the padding stands before the clip, so that all its frames move; it belongs behind it": front,
        "the frames are dealt out to the windows like cards; a window holds K *neighbours*": dealt,
        "clips and windows are still two axes; all windows of all clips form one batch": cut.flatten(2, 3),
        "frames and tokens are still two axes; a window is one row of K * P tokens": cut.flatten(0, 1),
        "the windows of different clips alternate; those of clip 0 come first, then those of clip 1": by_window,
        "tokens of one frame are torn apart: within a window frame comes after frame, each with its P tokens":
            cut.flatten(0, 1).transpose(1, 2).flatten(1, 2)}, what="the windows")
    lengths = torch.arange(real.shape[1])[None] < torch.full((batch, 1), frames)
    t.same(found[1], expected_mask, {
        "the padding of the last window is marked as real": F.pad(mask, (0, missing), value=True).unflatten(1, (-1, K)).flatten(0, 1),
        "the mask that came in is ignored: what was padding before is real in yours": lengths.unflatten(1, (-1, K)).flatten(0, 1),
        "the mask is per window, (B * W,); it should say of each of its K frames whether it is real": expected_mask.any(1),
        "the mask is per token; it should be per frame, (B * W, K)": expected_mask.repeat_interleave(tokens, dim=1),
        "the mask's windows stand in another order than the windows themselves":
            real.unflatten(1, (-1, K)).transpose(0, 1).flatten(0, 1)}, what="the mask")
    t.same(t.run(steps, mask, frames), split_windows(steps, mask, frames), what="with a window as long as the clip, (windows, mask)")


@exercise("join_windows", notebook=NOTEBOOK, answer=join_windows, difficulty=2, minutes=8,
          goal="Put the windows' queries back together: one sequence a clip, window after window, within a window query after query.",
          shapes="`queries` (B * W, N, D), `batch` B -> (B, W * N, D)",
          hints=("`split_windows` laid the windows of clip 0 first. So the first axis is (B, W), in this order.",
                 "`queries.unflatten(0, (batch, -1))` is (B, W, N, D); W and N then become one axis."))
def _(t: Trial):
    batch, windows, N, width = t.number(2, 3), t.number(4, 5), t.number(6, 7), t.number(8, 9)
    queries = t.randn(batch * windows, N, width)
    cut = queries.unflatten(0, (batch, -1))  # [B, W, N, D]
    t.same(t.run(queries, batch), join_windows(queries, batch), {
        "clips are mixed: the first W entries belong to clip 0, the next W to clip 1": queries.unflatten(0, (-1, batch)).transpose(0, 1).flatten(1, 2),
        "the order is query by query, with all windows' first queries in front; time runs window by window": cut.transpose(1, 2).flatten(1, 2),
        "windows and queries are still two axes; they become one sequence of W * N vectors": cut,
        "the windows stand in the order from last to first": cut.flip(1).flatten(1, 2),
        "the windows are averaged; every query of every window is kept": cut.mean(1),
        "the windows were joined along the features; they should stand one after another in time": cut.transpose(1, 2).flatten(2, 3)})


@exercise("overlapping", notebook=NOTEBOOK, answer=overlapping, difficulty=4, minutes=18,
          goal="A variant: a window of K frames begins *every K / 2* (rounded down, at least 1), as long as there is a frame for it to begin with. What one border cuts in two, another "
               "window may hold whole. Padding and mask as in `split_windows`.",
          shapes="`steps` (B, T, P, D), `frame_mask` (B, T), `window_frames` K -> windows (B * W, K * P, D), mask (B * W, K), with W = ceil(T / stride)",
          hints=("The last window begins at frame (W - 1) * stride and needs K frames: so many frames must there be, in all, before you cut.",
                 "`x.unfold(1, K, stride)` cuts overlapping pieces of axis 1, but puts the K at the *end*: (B, W, P, D, K). Move it back with `movedim(-1, 2)`, then go on "
                 "as in `split_windows`."))
def _(t: Trial):
    steps, mask, K = _folded(t, odd=bool(t.number(0, 1)))
    frames, stride = steps.shape[1], K // 2
    count = -(-frames // stride)
    missing = (count - 1) * stride + K - frames
    cut = F.pad(steps, (0, 0, 0, 0, 0, missing)).unfold(1, K, stride)  # [B, W, P, D, K]
    real = F.pad(mask, (0, missing)).unfold(1, K, stride)
    windows, expected_mask = overlapping(steps, mask, K)

    def rows(cut):
        return cut.movedim(-1, 2).flatten(2, 3).flatten(0, 1)

    short = -(-max(0, frames - K) // stride) + 1  # windows that are needed to hold every frame once
    found = t.run(steps, mask, K)
    t.that(isinstance(found, tuple | list) and len(found) == 2, "two things should come back, the windows and their mask: `return windows, mask`")
    t.same(found[0], windows, {
        "the windows do not overlap; a new one begins every K / 2 frames": split_windows(steps, mask, K)[0],
        "you stop when every frame is held by some window; a window begins at every multiple of the stride at which there is a frame": rows(cut[:, :short]),
        "only full windows are kept, and the clip's end is lost; pad it": rows(steps.unfold(1, K, stride)),
        "`Tensor.unfold` has left the K frames at the end, and flattening has scrambled frames and tokens: `movedim(-1, 2)` first":
            cut.flatten(0, 1).flatten(1).unflatten(1, (K * steps.shape[2], -1)),
        "the windows of different clips alternate; those of clip 0 come first": rows(cut.transpose(0, 1)),
        "a new window begins at every frame; the stride is K / 2": rows(F.pad(steps, (0, 0, 0, 0, 0, K - 1)).unfold(1, K, 1))}, what="the windows")
    t.same(found[1], expected_mask, {
        "the padding behind the clip is marked as real": F.pad(mask, (0, missing), value=True).unfold(1, K, stride).flatten(0, 1),
        "the mask is all True; shorter clips and the last windows hold padding": torch.ones_like(expected_mask),
        "the mask's windows stand in another order than the windows themselves": real.transpose(0, 1).flatten(0, 1)}, what="the mask")


@exercise("two_resolutions", notebook=NOTEBOOK, answer=two_resolutions, difficulty=4, minutes=15,
          goal="Another variant: *every clip* gets all its windows of K frames, then all its windows of S = K / 2 (rounded down, at least 1) frames. One Q-Former must take both, so a short window is padded "
               "at its end to K frames, and that padding is not real.",
          shapes="`steps` (B, T, P, D), `frame_mask` (B, T), `window_frames` K -> windows (B * W, K * P, D), mask (B * W, K), with W = ceil(T / K) + ceil(T / S)",
          hints=("`split_windows` twice. What comes back has lost the axis of the clips; bring it back (`unflatten(0, (B, -1))`) before you join long and short windows.",
                 "`windows, mask = split_windows(steps, frame_mask, length)`; pad windows by `(K - length) * P` tokens and the mask by `K - length` frames; `unflatten` both; `torch.cat([long, "
                 "short], dim=1).flatten(0, 1)`."))
def _(t: Trial):
    steps, mask, K = _folded(t, odd=bool(t.number(0, 1)))
    batch, tokens, half = len(steps), steps.shape[2], K // 2
    windows, expected_mask = two_resolutions(steps, mask, K)
    parts = [split_windows(steps, mask, length) for length in (K, half)]
    missing = K - half

    def joined(parts, short_first=False, clips=True, front=False, value=False):
        padded = [parts[0], (F.pad(parts[1][0], (0, 0, missing * tokens * front, missing * tokens * (not front))),
                             F.pad(parts[1][1], (missing * front, missing * (not front)), value=value))]
        padded = padded[::-1] if short_first else padded
        cut = [[x.unflatten(0, (batch, -1)) if clips else x for x in part] for part in padded]
        return [torch.cat(x, dim=1).flatten(0, 1) if clips else torch.cat(x) for x in zip(*cut, strict=True)]

    found = t.run(steps, mask, K)
    t.that(isinstance(found, tuple | list) and len(found) == 2, "two things should come back, the windows and their mask: `return windows, mask`")
    t.same(found[0], windows, {
        "all clips' long windows come first, then all clips' short ones; each clip's windows must stay together": joined(parts, clips=False)[0],
        "the short windows stand before the long ones": joined(parts, short_first=True)[0],
        "a short window is padded in front; its frames belong at the beginning": joined(parts, front=True)[0],
        "only the long windows are there": parts[0][0],
        "only the short windows are there": joined(parts)[0].unflatten(0, (batch, -1))[:, len(parts[0][0]) // batch :].flatten(0, 1)}, what="the windows")
    t.same(found[1], expected_mask, {
        "the padding of the short windows is marked as real": joined(parts, value=True)[1],
        "the mask is all True; shorter clips and padded windows hold what is not real": torch.ones_like(expected_mask),
        "the mask's windows stand in another order than the windows themselves": joined(parts, clips=False)[1]}, what="the mask")
