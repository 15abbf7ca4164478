"""Exercises of notebook 11: a mask, two connectors of your own, and what a comparison may claim."""

import math

import torch
from scipy.stats import norm
from scipy.stats import t as student
from torch import nn

from ...attention import block_causal, frame_index
from ...lab.statistics import FEW_SEEDS, verdict
from ...lab.variants import MeanPooling
from ..exercise import Trial, exercise
from ..tensors import LOST, check_gradients, check_layouts


def first_and_own(num_frames, step_tokens, device=None):
    """A token attends to its whole frame and to the window's first frame, by comparisons."""
    frame = frame_index(num_frames, step_tokens, device)
    return (frame[:, None] == frame[None, :]) | (frame[None, :] == 0)


def running_mean(inputs, num_frames):
    """Each token becomes the mean over its place in all frames up to its own, by torch's cumsum."""
    steps = inputs.unflatten(1, (num_frames, -1))  # [B * W, K, P, D]
    count = torch.arange(1, num_frames + 1, device=inputs.device, dtype=inputs.dtype)[:, None, None]
    return (steps.cumsum(1) / count).flatten(1, 2)  # [B * W, K * P, D]


def seeds_needed(spread, by_clips, half_width):
    """The least number of seeds, with scipy's Student's t; 0 where no number is enough."""
    if by_clips >= half_width:
        return 0
    return _least(lambda n: math.hypot(by_clips, student.ppf(0.975, n - 1) * spread / n**0.5),
                  half_width)


def _least(reach, half_width, n=2):
    while reach(n) > half_width and n < 10**4:
        n += 1
    return n


@exercise(first_and_own)
def _(t: Trial):
    frames, tokens = t.integer(4, 6), t.integer(2, 3)
    frame = frame_index(frames, tokens)
    query, key = frame[:, None], frame[None, :]
    own, place = query == key, torch.arange(len(frame))
    t.check((frames, tokens), {
        "rows and columns are swapped: now the first frame attends to everything. Compare the "
        "frame of the *key* (a column) with 0": own | (query == 0),
        "the first *token* is allowed, not the whole first frame": own | (place == 0)[None, :],
        "the first frame is allowed, but tokens no longer attend to their own":
            (key == 0).expand(len(frame), -1),
        "of its own frame only the token itself is allowed; it should be the whole frame":
            torch.eye(len(frame)).bool() | (key == 0),
        "the two conditions are joined by *and*: only the first frame attends to itself":
            own & (key == 0),
        "frames between the first and the own one are allowed as well: that is block_causal":
            block_causal(frames, tokens),
        "all tokens attend to the *last* frame: this leaks": own | (key == frames - 1)})


@exercise(running_mean)
def _(t: Trial):
    windows, frames = t.integer(2, 3), t.integer(4, 5)
    tokens, width = t.integer(6, 7), t.integer(8, 9)
    inputs = t.randn(windows, frames * tokens, width)
    steps = inputs.unflatten(1, (frames, tokens))

    def running(steps):
        return steps.cumsum(1) / torch.arange(1.0, steps.shape[1] + 1)[:, None, None]

    wrong = {
        "the mean is over all frames of the window: later ones are included, which is a leak":
            steps.mean(1, keepdim=True).expand_as(steps),
        "this is a running sum; divide frame t by the number of frames summed": steps.cumsum(1),
        "the mean runs over *tokens*, one after another; it should run over frames, for each place":
            running(inputs[:, :, None]),
        "it runs from the last frame to the first: a frame includes later ones":
            running(steps.flip(1)).flip(1),
        "a frame's own tokens are missing; include the frames before it *and* itself":
            torch.cat([torch.zeros_like(steps[:, :1]), running(steps)[:, :-1]], 1),
        "the places of a frame are mixed: each place has a mean of its own":
            running(steps.mean(2, keepdim=True)).expand_as(steps),
        "each frame is the mean of itself and the frame before; *all* frames up to its own count":
            torch.cat([steps[:, :1], (steps[:, 1:] + steps[:, :-1]) / 2], 1),
        "the inputs are cut into P frames of K tokens: unflatten to (num_frames, -1), not (-1, "
        "num_frames)": running(inputs.unflatten(1, (tokens, frames)))}
    t.check((inputs, frames), {
        **{message: value.flatten(1, 2) for message, value in wrong.items()},
        "frames and places are two axes; flatten them again to (B * W, K * P, D)": running(steps)})
    check_gradients(t, (inputs, frames), {0: "the layers before"})
    check_layouts(t, inputs, frames)


def _gradients(queries, module) -> dict:
    """Of each parameter, by name: of a weighted sum of the queries; None where it is lost."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    if not queries.requires_grad:
        return dict.fromkeys(names)
    weights = torch.linspace(-1, 1, queries.numel()).reshape(queries.shape)
    total = (queries * weights).sum()
    return dict(zip(names, torch.autograd.grad(total, parameters, allow_unused=True), strict=True))


@exercise(MeanPooling)
def _(t: Trial):
    frames, tokens = t.integer(3, 4), t.integer(5, 6)
    windows, width = t.integer(2, 3), t.integer(8, 9)
    sizes = {"input_width": t.integer(10, 11), "window_frames": frames, "step_tokens": tokens,
             "num_queries": t.integer(6, 7), "width": width}
    package = MeanPooling(**sizes)
    for parameter in package.parameters():
        parameter.data = 0.5 * t.randn(*parameter.shape)
    mine = t.call(t.attempt, **sizes)
    t.require(isinstance(mine, nn.Module),
              "expected a module: `class MeanPooling(WithoutAttention)`")
    found, wanted = ({name: tuple(p.shape) for name, p in module.state_dict().items()}
                     for module in (mine, package))
    fix = "`WithoutAttention` makes the others, and `make_map` returns one `nn.Linear`"
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    t.require(not missing, f"it lacks the parameters {', '.join(missing)}; {fix}")
    t.require(not extra, f"it has too many parameters: {', '.join(extra)}; {fix}")
    for name, shape in wanted.items():
        t.require(found[name] == shape,
                  f"{name} should have the shape {shape}, found {found[name]}: the map goes from "
                  "`input_width` to `width`")
    mine.load_state_dict(package.state_dict())
    mine.eval()
    inputs = t.randn(windows, frames * tokens, sizes["input_width"])
    mask = torch.ones(windows, frames, dtype=torch.bool)
    mask[-1, 2:] = False
    out = t.call(mine, inputs, mask)
    t.require(isinstance(out, tuple) and len(out) == 2,
              "expected two results from forward: the queries and the maps (None without "
              "return_maps)")
    t.require(out[1] is None, "the maps should be None without return_maps: pass it on to `embed`")
    with torch.no_grad():
        places = package.places(frames, None)
        unflatten = (1, (frames, -1))
        embedded = package.embed(inputs, mask, False)[0]
        steps = embedded.unflatten(*unflatten)
        unmasked = package.embed(inputs, torch.ones_like(mask), False)[0].unflatten(*unflatten)
        hidden = ~mask.repeat_interleave(tokens, 1)[..., None]
        bare = package.input_norm(inputs.masked_fill(hidden, 0.0)).unflatten(*unflatten)

        def finish(x, chosen=places):
            return package.norm(package.map(x)[:, chosen])

        expected = package(inputs, mask)[0]
        t.compare(out[0], expected, {
            "padded frames are not hidden: pass the window's own `frame_mask` to `embed`":
                finish(unmasked.mean(2)),
            "the LayerNorm at the end is missing: apply `self.norm`":
                package.map(steps.mean(2))[:, places],
            "the positions are missing: start from the result of `self.embed`":
                finish(bare.mean(2)),
            "the mean is over the whole window, so that all outputs are equal; take it over a "
            "*frame's* tokens": finish(embedded.mean(1, keepdim=True), [0]).expand_as(expected),
            "the mean is over the frames, place by place; take it over the tokens of a frame":
                finish(steps.mean(1)),
            "the outputs cycle through the frames; `self.places` spreads them in time order":
                finish(steps.mean(2), torch.arange(sizes["num_queries"]) % frames),
            "only a frame's first token is used; take the mean of all": finish(steps[:, :, 0]),
            "this is the sum of a frame's tokens, not their mean": finish(steps.sum(2)),
            "there are K outputs, one a frame; choose N of them with `self.places`":
                finish(steps.mean(2), slice(None))}, "the tensor of queries")
    def of_mine(*args):
        return mine(*args)[0]

    of_mine.forward = mine.forward  # so that an error is reported with the learner's own line
    check_layouts(Trial(of_mine, lambda *args: package(*args)[0], 0), inputs, mask)
    with torch.enable_grad():
        gradients = _gradients(t.call(of_mine, inputs, mask), mine)
        wanted = _gradients(package(inputs, mask)[0], package)
    for name, gradient in gradients.items():
        t.require(gradient is not None, LOST.format(name))
        t.compare(gradient, wanted[name],
                  what=f"the queries are correct, but the gradient of {name}")
    maps = t.call(mine, inputs, mask, True)[1]
    t.require(hasattr(maps, "encoded") and len(maps.encoded) == 1,
              "with return_maps=True the second result should be the maps that `embed` returned")


@exercise(verdict)
def _(t: Trial):
    size, reach, seeds = 2 + 5 * t.rng.random(), 1 + t.rng.random(), t.integer(3, 6)

    def unlikely(limit):
        return verdict(0.0, -limit, limit, 9)

    above, below = (size, size - reach, size + reach), (-size, -size - reach, -size + reach)
    t.check((*above, t.integer(1, 2)), {
        "test the number of seeds first: below 3 nothing can be claimed, however clear the "
        "interval is": verdict(*above, 9)}, "the sentence")
    swapped = {"better and worse are swapped: a positive difference is better":
               f"worse, by {size:.1f} points"}
    t.check((*above, FEW_SEEDS), {
        **swapped, "exactly 3 seeds are enough: `seeds < 3` are too few":
            verdict(*above, 2).replace("(2;", f"({FEW_SEEDS};")}, "the sentence")
    t.check((*above, seeds), {
        **swapped, "an interval wholly above zero is a difference": unlikely(size)}, "the sentence")
    t.check((*below, seeds), {
        "`worse, by -3.1 points` says it twice: drop the minus sign":
            f"worse, by {-size:.1f} points",
        "an interval wholly below zero is a difference, too: worse":
            unlikely(max(size + reach, -size + reach))}, "the sentence")
    low, high = (-size - 2, reach) if t.bernoulli(1).item() else (-reach, size + 2)
    middle = (low + high) / 2
    limits = {
        "the largest difference is the end of the interval *further* from zero: max(-low, high)":
            min(-low, high),
        "the largest difference is not the width of the interval, but its end further from zero":
            high - low,
        "this is the measured difference; the largest possible one is an end of the interval":
            abs(middle),
        "this is half the interval's width; use its end further from zero": (high - low) / 2,
        "only the upper end is used; the difference may also be negative, down to low": high}
    t.check((middle, low, high, seeds), {
        "an interval that contains zero shows no difference, wherever its middle is":
            f"{'better' if middle > 0 else 'worse'}, by {abs(middle):.1f} points",
        "a null result is no proof of equality; add how large the difference may still be":
            unlikely(1.0).split(" (")[0],
        **{message: unlikely(limit) for message, limit in limits.items()}}, "the sentence")
    t.check((0.0, 0.0, 0.0, seeds), {
        "low == high means that no answer differed; an interval of width zero is no proof, see the "
        "card": unlikely(1e-9)}, "the sentence")


@exercise(seeds_needed)
def _(t: Trial):
    half_width = 2 + 3 * t.rng.random()  # with these ratios no two mistakes give the same number
    ratios = [(1.1, 0.72), (1.4, 0.46), (1.5, 0.64), (1.9, 0.46), (2.1, 0.3)][t.integer(0, 4)]
    spread, by_clips = (half_width * ratio for ratio in ratios)

    def least(clips=by_clips, quantile=student.ppf, freedom=1, level=0.975, joined=True, root=True):
        def reach(n):
            seeds = quantile(level, n - freedom) * spread / (n**0.5 if root else n)
            return (clips**2 + seeds**2) ** 0.5 if joined else clips + seeds

        return _least(reach, half_width)

    found = t.run(spread, by_clips, half_width)
    t.require_integer(found, "expected an integer, the number of seeds")
    expected = seeds_needed(spread, by_clips, half_width)
    t.compare(found, expected, {
        "1.96 is for many seeds; with few use Student's t, which is larger":
            least(quantile=lambda level, _: norm.ppf(level)),
        "one too few: n seeds have n - 1 degrees of freedom": least(freedom=0),
        "0.95 leaves out 5 % on one side; a 95 % interval ends at the quantiles 0.025 and 0.975":
            least(level=0.95),
        "the two parts are independent: add their squares (hypot), not the parts":
            least(joined=False),
        "the clips' part is missing": least(clips=0.0),
        "the seeds' part shrinks with sqrt(n), not with n": least(root=False),
        "one too many: with one seed fewer the interval is narrow enough already": expected + 1},
        "the number of seeds", tolerance=0)
    t.check((0.0, by_clips, half_width), {"one seed has no spread to measure: start at 2": 1},
            "the number of seeds where trainings do not differ", tolerance=0)
    t.check((spread, half_width + 0.5, half_width), tolerance=0,
            what="where the clips' part alone is too wide, no number of seeds is enough: it")
