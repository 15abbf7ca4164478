"""Exercises of notebook 05: masks over frames, padding, and a leak found by measuring."""

import numpy as np
import torch
import torch.nn.functional as F

from ...attention import block_causal, frame_index, window_mask
from ...lab.measure import measure_receptive_field
from ...lab.variants import local_causal
from ...registry import find, names, part
from ..exercise import Trial, exercise
from ..trial import Mistake


def _check_device(t: Trial, *sizes: int) -> None:
    """Check `device` on torch's device without numbers, "meta", which every machine has."""
    try:
        place = t.attempt(*sizes, device="meta").device.type
    except Exception as error:  # of "meta" itself, which knows no numbers, or about `device`
        if "'device'" not in str(error) and "same device" not in str(error):
            return
        raise Mistake("with `device` given it fails: keep the argument `device=None` and pass it "
                      "on to every new tensor") from None
    t.require(place == "meta", "the result is not on the device asked for: pass `device` on to "
                               "every new tensor, as in `torch.arange(..., device=device)`")


@exercise(frame_index)
def _(t: Trial):
    frames, tokens = t.integer(2, 6), t.integer(7, 9)
    numbers = torch.arange(frames)
    t.check((frames, tokens), {
        "the frames repeat as a whole (0 1 2 0 1 2): repeat each number P times in a row":
            numbers.repeat(tokens),
        "frames and tokens are swapped: there are K frames of P tokens each":
            frame_index(tokens, frames),
        "you count frames from 1, the first one is frame 0": frame_index(frames, tokens) + 1,
        "one number a frame; each of its P tokens needs one": numbers})
    _check_device(t, frames, tokens)


@exercise(block_causal)
def _(t: Trial):
    frames, tokens = t.integer(3, 6), t.integer(2, 4)
    frame = frame_index(frames, tokens)
    query, key = frame[:, None], frame[None, :]
    expected = block_causal(frames, tokens)
    t.check((frames, tokens), {
        "this is the mask of the released code: own frame and *later* ones. Rows are queries, "
        "columns are keys": expected.T,
        "tokens of one frame do not all attend to one another: the triangle must be over frames, "
        "not tokens": torch.ones(expected.shape).tril().bool(),
        "a token does not attend to its own frame: check the comparison for equality": query > key,
        "a token attends to its own frame only; the earlier frames are missing": query == key,
        "the mask is inverted: True should mean that attention is allowed": ~expected,
        "the mask is over frames (K, K); each frame is a block of P x P tokens":
            torch.ones(frames, frames).tril().bool(),
        "it should be a mask of booleans; yours holds numbers (compare, or call .bool())":
            expected.float()})
    _check_device(t, frames, tokens)


@exercise(local_causal)
def _(t: Trial):
    frames, tokens = t.integer(4, 6), t.integer(2, 4)

    def difference(index):
        return index[:, None] - index[None, :]

    apart = difference(frame_index(frames, tokens))
    in_tokens = difference(torch.arange(frames * tokens))
    t.check((frames, tokens), {
        "the band includes one earlier frame *and* one later frame: it leaks": apart.abs() <= 1,
        "the band includes two earlier frames": (apart >= 0) & (apart <= 2),
        "the frame before is there, the token's own is missing": apart == 1,
        "there is no limit on the left: this is the whole block-causal mask": apart >= 0,
        "the band has no limit on the right: later frames are allowed, too": apart <= 1,
        "one *frame* back, not one token": (in_tokens >= 0) & (in_tokens <= 1),
        "the band is on the wrong side: own frame and the one *after* it":
            (apart <= 0) & (apart >= -1)})
    _check_device(t, frames, tokens)


def _masks() -> list[str]:
    """The package's masks; these three first, as they show whether the name is used."""
    first = ["block_anticausal", "full", "local_causal"]
    return first + [name for name in names("attention") if name not in first
                    and part("attention", name).make.__module__.startswith("favor_mini.")]


@exercise(window_mask)
def _(t: Trial):
    windows, frames, tokens = t.integer(2, 3), t.integer(3, 5), t.integer(2, 3)
    lengths = [frames - 1, *(t.integer(1, frames - 1) for _ in range(windows - 1))]
    real = torch.arange(frames)[None] < torch.tensor(lengths)[:, None]
    frame, shape = frame_index(frames, tokens), (windows, 1, frames * tokens, frames * tokens)
    column = real.repeat_interleave(tokens, dim=1)[:, None, None, :]
    row, own = column.transpose(-1, -2), frame[:, None] == frame
    others = ~row & ~column & ~own  # from a padded frame to the other padded ones

    def comparable(mask):
        return isinstance(mask, torch.Tensor) and mask.shape == shape and mask.dtype == torch.bool

    for name in _masks():
        plain, expected = find("attention", name)(frames, tokens), window_mask(name, real, tokens)

        def settled(mask, expected=expected):
            """Without the padded rows' own and real frames, which are free as long as one stays."""
            return torch.where(row | others, mask, expected) if comparable(mask) else mask

        found = t.run(name, real, tokens)
        if comparable(found):
            seen = found & row, plain & row  # by real frames
            t.require(torch.equal(found, expected) or not torch.equal(found, plain.expand(shape)),
                      "padded frames are not masked: `frame_mask` has no effect")
            t.require(not torch.equal(*seen) or torch.equal(seen[0], expected & row),
                      "real frames still attend to padded ones: mask the padded *columns*, not the "
                      "rows; the keys must be masked")
            t.require(found.any(-1).all(),
                      "a row has not a single True: the softmax of such a row is nan; let a "
                      "padded frame attend to itself")
            rest = torch.where(others, expected, settled(found))
            t.require(not torch.equal(rest, expected) or not (found & others).any(),
                      "a padded frame attends to *other* padded frames; each is masked for all but "
                      "itself")
        suspects = {
            "every frame attends to all of itself, which not every mask allows; only a *padded* "
            "key needs that: `allowed & (real | own)`": (plain & column) | own,
            "the mask's name is not used; yours is always block-causal":
                block_causal(frames, tokens) & (column | own),
            "the axis of the heads is missing: (B * W, 1, K * P, K * P)":
                (plain & (column | own))[:, 0],
            "padding is repeated frame by frame (`repeat`), not token by token: use "
            "`repeat_interleave`": plain & (real.repeat(1, tokens)[:, None, None, :] | own)}
        t.compare(settled(found), settled(expected),
                  {message: settled(wrong) for message, wrong in suspects.items()},
                  f"with the mask {name!r} the result")


@exercise(measure_receptive_field)
def _(t: Trial):
    frames, tokens, width = t.integer(4, 6), t.integer(2, 3), t.integer(3, 5)
    steps = t.randn(1, frames, tokens, width).double()
    reach = t.bernoulli(frames, frames) | torch.eye(frames).bool()
    reach[0, -1], reach[-1, 0] = True, False  # some later frame is seen, and it is never symmetric

    def encode(steps):
        """Frame i's encoding: a sum over the frames that it attends to, of unequal weights."""
        mixed = torch.einsum("ij,bjpd->bipd", reach.to(steps.dtype), steps.tanh())
        return mixed.cumsum(2)

    found = t.run(encode, steps)
    expected = reach.numpy()
    t.require(isinstance(found, np.ndarray | torch.Tensor),
              "expected a numpy array of booleans (`.numpy()` converts a tensor)")
    t.compare(np.asarray(found), expected, {
        "rows and columns are swapped: [i, j] says that changing frame j changes frame i":
            expected.T,
        "this is which frames stay unchanged; return which ones change": ~expected,
        "only frames at or before the changed one are compared: you assume causality instead of "
        "measuring it": np.tril(expected),
        "the frame itself never counts as changed; it does change":
            expected & ~np.eye(frames, dtype=bool),
        "changes accumulate: start each time from the original steps":
            np.logical_or.accumulate(expected, axis=1)}, "the reach")

    def last_token(steps):  # only the last token of each frame matters
        mixed = torch.einsum("ij,bjd->bid", reach.to(steps.dtype), steps[:, :, -1])
        return torch.cat([steps[:, :, :-1] * 0, mixed[:, :, None]], dim=2)

    def normed(steps):  # as after a LayerNorm: a constant added to all features has no effect
        return encode(F.layer_norm(steps, (width,)))

    def faint(steps):
        return 1e-4 * encode(steps)

    blank = steps.clone()
    blank[:, 1], blank[:, 2] = 0, 1
    found = np.asarray(t.run(encode, blank))
    t.require(np.array_equal(found, expected), "a frame of zeros or ones may stay as it is if you "
              "set it to a constant or multiply it: replace every frame by *random* content")
    for other, message in (
            (last_token, "with an encoder that uses only the *last* token of a frame your reach is "
                         "wrong: change all of a frame's tokens, and compare all of them"),
            (normed, "with an encoder that begins with a LayerNorm your reach is wrong: it removes "
                     "a constant added to all features, and a factor; change them by random "
                     "numbers"),
            (faint, "small changes count, too: in float64 rounding errors are below 1e-9")):
        t.require(np.array_equal(np.asarray(t.run(other, steps)), expected), message)
