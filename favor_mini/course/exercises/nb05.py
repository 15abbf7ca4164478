"""Exercises of notebook 05: masks over frames, padding, and finding a leak by measuring."""

import numpy as np
import torch

from ...attention import block_causal, frame_index, window_mask
from ...lab.contract import measure_reach
from ...lab.variants import local_causal
from ...registry import find
from ..exercise import Trial, exercise

NOTEBOOK = "05"


@exercise("frame_index", notebook=NOTEBOOK, answer=frame_index, difficulty=1, minutes=5,
          goal="A window is one long row of tokens, frame after frame. Say for each token which frame it belongs to, counting from 0. "
               "With 3 frames of 2 tokens: `0 0 1 1 2 2`.",
          shapes="`num_frames` K, `step_tokens` P -> (K * P,) whole numbers",
          hints=("You need each of the numbers 0 ... K - 1, P times in a row.",
                 "`torch.arange(num_frames)` and `repeat_interleave`; `repeat` would give 0 1 2 0 1 2."))
def _(t: Trial):
    frames, tokens = t.number(2, 6), t.number(7, 9)
    numbers = torch.arange(frames)
    t.same(t.run(frames, tokens), frame_index(frames, tokens), {
        "the frames come round and round (0 1 2 0 1 2): each number has to stand P times in a row": numbers.repeat(tokens),
        "frames and tokens are swapped: there are K frames of P tokens each": frame_index(tokens, frames),
        "you count frames from 1, the first one is frame 0": frame_index(frames, tokens) + 1,
        "one number a frame; each of its P tokens needs one": numbers})


@exercise("block_causal", notebook=NOTEBOOK, answer=block_causal, difficulty=2, minutes=8,
          goal="The paper's mask: True where a token may look. A token sees its own frame *whole* (also the tokens behind it) and every "
               "frame before it.",
          shapes="`num_frames` K, `step_tokens` P -> (K * P, K * P) bool, over (token that looks, token looked at)",
          hints=("Compare the frame of the looking token with the frame of the one looked at; tokens as such do not matter.",
                 "`frame = frame_index(K, P)`; `frame[:, None]` varies down the rows, `frame[None, :]` along the columns."))
def _(t: Trial):
    frames, tokens = t.number(3, 6), t.number(2, 4)
    frame = frame_index(frames, tokens)
    length = frames * tokens
    found = t.run(frames, tokens)
    expected = block_causal(frames, tokens)
    t.same(found, expected, {
        "this is the mask of the released code: own frame and *later* ones. Rows look, columns are looked at": expected.T,
        "tokens of one frame do not all see one another: the triangle is over tokens, it must be over frames":
            torch.ones(length, length).tril().bool(),
        "a token does not see its own frame: look at the comparison's equality": frame[:, None] > frame[None, :],
        "a token sees its own frame alone; the frames before it are missing": frame[:, None] == frame[None, :],
        "True should mean that looking is allowed; yours is True where it is forbidden": ~expected,
        "the mask is over frames (K, K); each frame is a block of P x P tokens": torch.ones(frames, frames).tril().bool(),
        "it should be a mask of booleans; yours holds numbers (compare, or call .bool())": expected.float()})


@exercise("local_causal", notebook=NOTEBOOK, answer=local_causal, difficulty=2, minutes=6,
          goal="A variant: a band. A token sees its own frame whole and the *one* frame before it, nothing else.",
          shapes="`num_frames` K, `step_tokens` P -> (K * P, K * P) bool",
          hints=("How many frames apart are the looking token and the one looked at? Two answers are allowed.",
                 "`apart = frame[:, None] - frame[None, :]` must be at least 0 and at most 1; join two conditions with `&`."))
def _(t: Trial):
    frames, tokens = t.number(4, 6), t.number(2, 4)
    frame = frame_index(frames, tokens)
    apart = frame[:, None] - frame[None, :]
    t.same(t.run(frames, tokens), local_causal(frames, tokens), {
        "the band reaches one frame back *and* one ahead: it leaks": apart.abs() <= 1,
        "the band reaches two frames back": (apart >= 0) & (apart <= 2),
        "the frame before is there, the token's own is missing": apart == 1,
        "nothing bounds it on the left: this is the whole block-causal mask": apart >= 0,
        "the band has no end on the right: later frames are seen, too": apart <= 1,
        "one *frame* back, not one token": (lambda k: (k >= 0) & (k <= 1))(torch.arange(len(frame))[:, None] - torch.arange(len(frame))),
        "the band lies on the wrong side: own frame and the one *after* it": (apart <= 0) & (apart >= -1)})


@exercise("window_mask", notebook=NOTEBOOK, answer=window_mask, difficulty=3, minutes=12,
          goal="The last window of a clip is padded. Hide the padded frames from all others, but let a padded frame see *itself*: a row without "
               "a single True turns the softmax into `nan`. Any registered mask must work: `find(\"attention\", name)`.",
          shapes="`name`, `frame_mask` (B * W, K) bool, `step_tokens` P -> (B * W, 1, K * P, K * P) bool; the 1 is for the heads",
          hints=("Start from the plain mask. A token may be looked at if its frame is real, or if it is of the looking token's own frame.",
                 "`real = frame_mask.repeat_interleave(P, dim=1)[:, None, None, :]` speaks about columns; `own = frame[:, None] == frame`; "
                 "the result is `allowed & (real | own)`."))
def _(t: Trial):
    windows, frames, tokens = t.number(2, 3), t.number(3, 5), t.number(2, 3)
    real = torch.arange(frames)[None] < torch.tensor([t.number(1, frames - 1) for _ in range(windows)])[:, None]
    frame, shape = frame_index(frames, tokens), (windows, 1, frames * tokens, frames * tokens)
    column = real.repeat_interleave(tokens, dim=1)[:, None, None, :]
    row, own = column.transpose(-1, -2), frame[:, None] == frame
    for name in ("block_anticausal", "full", "local_causal"):
        plain, expected = find("attention", name)(frames, tokens), window_mask(name, real, tokens)
        found = t.run(name, real, tokens)

        def settled(mask, expected=expected):
            """What padded rows see is of no interest as long as it is something."""
            right_kind = isinstance(mask, torch.Tensor) and mask.shape == shape and mask.dtype == torch.bool
            return torch.where(row, mask, expected) if right_kind else mask

        if isinstance(found, torch.Tensor) and found.shape == shape and found.dtype == torch.bool:
            rows = plain & (row | own)
            t.that(torch.equal(rows, plain.expand(shape)) or not torch.equal(found, rows),
                   "padded *rows* are cut off, padded columns are still seen; what must be hidden is the token looked at")
            t.that(found.any(-1).all(), "a row holds not a single True: the softmax of such a row is nan; let a padded frame see itself")
        suspects = {
            "the mask's name is not looked up; yours is always block-causal": block_causal(frames, tokens) & (column | own),
            "padded frames are not hidden: `frame_mask` has no effect": plain.expand(shape),
            "the axis of the heads is missing: (B * W, 1, K * P, K * P)": (plain & (column | own))[:, 0],
            "padding is repeated frame by frame (`repeat`), not token by token: use `repeat_interleave`":
                plain & (real.repeat(1, tokens)[:, None, None, :] | own)}
        t.same(settled(found), settled(expected), {message: settled(wrong) for message, wrong in suspects.items()})


@exercise("measure_reach", notebook=NOTEBOOK, answer=measure_reach, difficulty=3, minutes=15,
          goal="Trust nothing: *measure* who sees whom. `encode` maps a clip's steps to encodings of its frames. Give one frame at a "
               "time other (random) content and note which frames' encodings move.",
          shapes="`encode`: (1, T, P, D) -> (1, T, ...); `steps` (1, T, P, D) -> numpy bool (T, T); [i, j]: changing frame j moves frame i",
          hints=("One loop over j: copy the steps, add noise to frame j of the copy, encode again, compare with the encodings before.",
                 "`moved = (encode(changed)[0].flatten(1) - before).abs().amax(1) > 1e-9` is column j; in the end "
                 "`torch.stack(columns, dim=1).numpy()`."))
def _(t: Trial):
    frames, tokens, width = t.number(4, 6), t.number(2, 3), t.number(3, 5)
    steps = t.randn(1, frames, tokens, width).double()
    reach = torch.from_numpy(t.rng.random((frames, frames)) < 0.5) | torch.eye(frames).bool()
    reach[0, -1], reach[-1, 0] = True, False  # some leak ahead, and it is never symmetric

    def encode(steps):
        """Frame i's encoding is a sum over the frames that it is allowed to see; its tokens take part unevenly."""
        mixed = torch.einsum("ij,bjpd->bipd", reach.to(steps.dtype), steps.tanh())
        return mixed.cumsum(2)

    found = t.run(encode, steps)
    expected = reach.numpy()
    t.that(isinstance(found, np.ndarray | torch.Tensor), "expected a numpy array of booleans (`.numpy()` turns a tensor into one)")
    t.same(np.asarray(found), expected, {
        "rows and columns are swapped: [i, j] says that changing frame j moves frame i": expected.T,
        "it shows which frames stay, not which ones move": ~expected,
        "only frames at or before the changed one are looked at: you assume causality instead of measuring it": np.tril(expected),
        "the frame itself never counts as moved; it does move": expected & ~np.eye(frames, dtype=bool),
        "changes pile up: start each time from the steps as they were given": np.logical_or.accumulate(expected, axis=1)},
        what="the reach")

    def last_token(steps):  # others look at a frame's last token alone, and only last tokens are changed by it
        mixed = torch.einsum("ij,bjd->bid", reach.to(steps.dtype), steps[:, :, -1])
        return torch.cat([steps[:, :, :-1] * 0, mixed[:, :, None]], dim=2)

    def normed(steps):  # as behind a LayerNorm: what is added to all features alike does not matter
        return encode(torch.nn.functional.layer_norm(steps, (width,)))

    def faint(steps):
        return 1e-4 * encode(steps)

    for other, message in (
            (last_token, "with an encoder that looks at the *last* token of a frame your reach is wrong: change all of a frame's tokens, "
                         "and compare all of them"),
            (normed, "with an encoder that begins with a LayerNorm your reach is wrong: a constant added to all features is taken out again; "
                     "change them by random numbers"),
            (faint, "small changes are changes, too: in float64 anything above 1e-9 is no rounding")):
        t.that(np.array_equal(np.asarray(t.run(other, steps)), expected), message)
