"""Exercises of notebook 11: a mask, two connectors of one's own, and what a comparison may say."""

import torch
from scipy.stats import norm
from scipy.stats import t as student
from torch import nn

from ...attention import block_causal, frame_index
from ...lab.statistics import FEW_SEEDS, verdict
from ...lab.variants import MeanPooling
from ..exercise import Trial, exercise

NOTEBOOK = "11"


def first_and_own(num_frames, step_tokens, device=None):
    """A token sees its own frame whole and the window's first frame: torch's comparisons, as in `attention.block_causal`."""
    frame = frame_index(num_frames, step_tokens, device)
    return (frame[:, None] == frame[None, :]) | (frame[None, :] == 0)


def running_mean(inputs, num_frames):
    """Each token becomes the mean over the tokens at its place in all frames up to its own: torch's cumsum."""
    steps = inputs.unflatten(1, (num_frames, -1))  # [B * W, K, P, D]
    count = torch.arange(1, num_frames + 1, device=inputs.device, dtype=inputs.dtype)[:, None, None]
    return (steps.cumsum(1) / count).flatten(1, 2)  # [B * W, K * P, D]


def seeds_needed(spread, by_clips, half_width):
    """The fewest seeds for an interval of at most +- half_width, with Student's t from scipy; 0 where none will do."""
    if by_clips >= half_width:
        return 0
    return _fewest(lambda n: (by_clips**2 + (student.ppf(0.975, n - 1) * spread) ** 2 / n) ** 0.5, half_width)


def _fewest(reach, half_width, least=2):
    n = least
    while reach(n) > half_width and n < 10**4:
        n += 1
    return n


@exercise("first_and_own", notebook=NOTEBOOK, answer=first_and_own, difficulty=2, minutes=8,
          goal="A mask of your own: a token sees its own frame whole, and the *first* frame of the window whole. Nothing else.",
          shapes="`num_frames` K, `step_tokens` P -> (K * P, K * P) bool, over (token that looks, token looked at)",
          hints=("Two reasons to be allowed to look, joined by *or*. One compares two frames, the other asks about the frame looked at alone.",
                 "`frame = frame_index(K, P)`; `frame[:, None] == frame[None, :]` is the own frame, `frame[None, :] == 0` the first; join with `|`."))
def _(t: Trial):
    frames, tokens = t.number(4, 6), t.number(2, 3)
    frame = frame_index(frames, tokens)
    row, column = frame[:, None], frame[None, :]
    place = torch.arange(len(frame))
    t.same(t.run(frames, tokens), first_and_own(frames, tokens), {
        "rows and columns are swapped: now the first frame sees everything. Ask of the frame *looked at* (a column) whether it is the first":
            (row == column) | (row == 0),
        "the first *token* is seen, not the first frame whole": (row == column) | (place == 0)[None, :],
        "the first frame is seen, but tokens no longer see their own frame": (column == 0).expand(len(frame), -1),
        "only the token itself is seen of its own frame; it should see that frame whole": torch.eye(len(frame)).bool() | (column == 0),
        "the two conditions are joined by *and*: what is left is the first frame looking at itself": (row == column) & (column == 0),
        "frames between the first and the own one are seen as well: that is block_causal": block_causal(frames, tokens),
        "it is the *last* frame that everybody sees: this leaks": (row == column) | (column == frames - 1)})


@exercise("running_mean", notebook=NOTEBOOK, answer=running_mean, difficulty=3, minutes=12,
          goal="Replace causal attention by something with no parameters at all: each token becomes the mean of the tokens at *its place* "
               "in all frames up to its own, its own included. The third token of frame 2 is the mean of the third tokens of frames 0, 1 and 2.",
          shapes="`inputs` (B * W, K * P, D), `num_frames` K -> (B * W, K * P, D)",
          hints=("Bring the frames onto an axis of their own, add up along it, divide each frame by how many it has taken in, and put the axes together again.",
                 "`steps = inputs.unflatten(1, (num_frames, -1))`; `steps.cumsum(1)`; counts 1 ... K of shape (K, 1, 1); `.flatten(1, 2)`."))
def _(t: Trial):
    windows, frames, tokens, width = t.number(2, 3), t.number(4, 5), t.number(6, 7), t.number(8, 9)
    inputs = t.randn(windows, frames * tokens, width)
    steps = inputs.unflatten(1, (frames, tokens))
    count = torch.arange(1.0, frames + 1)[:, None, None]
    backwards = (steps.flip(1).cumsum(1) / count).flip(1)
    before = torch.cat([torch.zeros_like(steps[:, :1]), (steps.cumsum(1) / count)[:, :-1]], 1)
    t.same(t.run(inputs, frames), running_mean(inputs, frames), {
        "the mean is over all frames of the window: later ones flow in, that is a leak": steps.mean(1, keepdim=True).expand_as(steps).flatten(1, 2),
        "it is a running sum; divide frame t by the number of frames it has taken in": steps.cumsum(1).flatten(1, 2),
        "the mean runs over *tokens*, one after another; it should run over frames, each place by itself":
            inputs.cumsum(1) / torch.arange(1.0, frames * tokens + 1)[:, None],
        "it runs from the last frame to the first: a frame takes in what comes after it": backwards.flatten(1, 2),
        "a frame's own tokens are left out; it should take in the frames before it *and* itself": before.flatten(1, 2),
        "the places of a frame are mixed: each place has a mean of its own":
            (steps.mean(2, keepdim=True).cumsum(1) / count).expand_as(steps).flatten(1, 2),
        "frames and places stand on axes of their own; flatten them again to (B * W, K * P, D)": steps.cumsum(1) / count,
        "each frame is the mean of itself and the frame before; *all* frames up to its own count":
            torch.cat([steps[:, :1], (steps[:, 1:] + steps[:, :-1]) / 2], 1).flatten(1, 2),
        "the inputs are cut into P frames of K tokens: unflatten to (num_frames, -1), not (-1, num_frames)":
            (lambda s: (s.cumsum(1) / torch.arange(1.0, tokens + 1)[:, None, None]).flatten(1, 2))(inputs.unflatten(1, (tokens, frames)))})


@exercise("MeanPooling", notebook=NOTEBOOK, answer=MeanPooling, difficulty=4, minutes=20,
          goal="A connector without queries: the mean of each frame's tokens, one linear map, and N outputs picked from the K frames. Build it on "
               "`WithoutAttention`, which has `input_norm`, `positions`, `norm`, `embed` and `places` already: write `make_map` and `forward`.",
          shapes="`forward(windows (B * W, K * P, D), frame_mask (B * W, K), return_maps=False)` -> (queries (B * W, N, width), maps or None)",
          hints=("`self.embed(windows, frame_mask, return_maps)` gives the inputs (padding hidden, positions added) and the maps. "
                 "`make_map` returns one `nn.Linear`; it becomes `self.map`.",
                 "`steps = inputs.unflatten(1, (self.window_frames, -1)).mean(2)`, `self.map(steps)`, choose "
                 "`[:, self.places(self.window_frames, windows.device)]`, then `self.norm`; return the maps beside it."))
def _(t: Trial):
    frames, tokens, windows, width = t.number(3, 4), t.number(5, 6), t.number(2, 3), t.number(8, 9)
    sizes = {"input_width": t.number(10, 11), "window_frames": frames, "step_tokens": tokens, "num_queries": t.number(6, 7), "width": width}
    package = MeanPooling(**sizes)
    for parameter in package.parameters():
        parameter.data = 0.5 * t.randn(*parameter.shape)
    mine = t.call(t.attempt, **sizes)
    t.that(isinstance(mine, nn.Module), "it should make a module: `class MeanPooling(WithoutAttention)`")
    found, wanted = ({name: tuple(p.shape) for name, p in m.state_dict().items()} for m in (mine, package))
    t.that(not set(wanted) - set(found), f"it lacks {', '.join(sorted(set(wanted) - set(found)))}; `WithoutAttention` makes them, and `make_map` returns "
           "one `nn.Linear`")
    t.that(not set(found) - set(wanted), f"it has parameters too many: {', '.join(sorted(set(found) - set(wanted)))}; `make_map` returns one `nn.Linear`")
    for name in wanted:
        t.that(found[name] == wanted[name], f"{name} should have the shape {wanted[name]}, found {found[name]}: the map goes from `input_width` to `width`")
    mine.load_state_dict(package.state_dict())
    mine.eval()
    inputs = t.randn(windows, frames * tokens, sizes["input_width"])
    mask = torch.ones(windows, frames, dtype=torch.bool)
    mask[-1, 2:] = False
    out = t.call(mine, inputs, mask)
    t.that(isinstance(out, tuple) and len(out) == 2, "forward should return two things, the queries and the maps (None where nobody asks for them)")
    t.that(out[1] is None, "the maps should be None where nobody asks for them: pass `return_maps` on to `embed`")
    with torch.no_grad():
        places = package.places(frames, None)
        embedded = package.embed(inputs, mask, False)[0]
        steps = embedded.unflatten(1, (frames, -1))
        unhidden = package.embed(inputs, torch.ones_like(mask), False)[0].unflatten(1, (frames, -1))
        bare = package.input_norm(inputs.masked_fill(~mask.repeat_interleave(tokens, 1)[..., None], 0.0)).unflatten(1, (frames, -1))

        def finish(x, chosen=places):
            return package.norm(package.map(x)[:, chosen])
        t.same(out[0], package(inputs, mask)[0], {
            "padded frames are not hidden: give `embed` the window's own `frame_mask`": finish(unhidden.mean(2)),
            "the LayerNorm at the end is missing: what goes on should pass `self.norm`": package.map(steps.mean(2))[:, places],
            "the positions are missing: start from what `self.embed` returns": finish(bare.mean(2)),
            "the mean is over the whole window: all outputs are one vector. It is over a *frame's* tokens":
                package.norm(package.map(embedded.mean(1, keepdim=True))).expand(-1, sizes["num_queries"], -1),
            "the mean is over the frames, place by place; it should be over the tokens of a frame": finish(steps.mean(1)),
            "outputs go round and round over the frames; `self.places` spreads them in time order":
                finish(steps.mean(2), torch.arange(sizes["num_queries"]) % frames),
            "only a frame's first token is looked at; take the mean of all": finish(steps[:, :, 0]),
            "a frame gives a sum of its tokens, not their mean": finish(steps.sum(2)),
            "there are K outputs, one a frame; N are wanted: pick them with `self.places`": package.norm(package.map(steps.mean(2)))},
            what="the queries")
    maps = t.call(mine, inputs, mask, True)[1]
    t.that(hasattr(maps, "encoded") and len(maps.encoded) == 1, "with return_maps=True the second thing should be the maps that `embed` returned")


@exercise("verdict", notebook=NOTEBOOK, answer=verdict, difficulty=2, minutes=10,
          goal="Say in words what an interval allows. Fewer than `FEW_SEEDS` (3) seeds: `too few seeds to tell (2; at least 3)`. All above zero: "
               "`better, by 3.1 points`. All below: `worse, by 3.1 points`. Else, where `low == high` (both 0: nothing varied at all), `no difference found "
               "(all answers alike; of how large a one may have stayed hidden, they say nothing)`. In all other cases `no difference found (one of more "
               "than 4.2 points is unlikely)`, with the largest difference that the interval still holds. Ask in this order.",
          shapes="`difference`, `low`, `high` in points, `seeds` -> a text, numbers with one digit",
          hints=("The order of the questions matters: seeds first. For what may have stayed hidden look at both ends of the interval.",
                 "`max(-low, high)` is the largest difference, either way, that the interval does not exclude; write it as `{...:.1f}`."))
def _(t: Trial):
    size, reach, seeds = 2 + 5 * t.rng.random(), 1 + t.rng.random(), t.number(3, 6)

    def same(args, suspects, what="the sentence"):
        t.same(t.run(*args), verdict(*args), suspects, what=what)

    few = t.number(1, 2)
    same((size, size - reach, size + reach, few), {
        "few seeds are not looked at first: below 3 nothing can be said, however clear the interval looks": verdict(size, size - reach, size + reach, 9)})
    swapped = {"better and worse are swapped: a positive difference is a better arm": f"worse, by {size:.1f} points"}
    same((size, size - reach, size + reach, FEW_SEEDS), {**swapped,
        "exactly 3 seeds are enough to speak: `seeds < 3` are too few": f"too few seeds to tell ({FEW_SEEDS}; at least {FEW_SEEDS})"})
    same((size, size - reach, size + reach, seeds), {**swapped,
        "an interval wholly above zero is a difference found": verdict(0.0, -size, size, seeds)})
    same((-size, -size - reach, -size + reach, seeds), {
        "`worse, by -3.1 points` says it twice: write the size without its minus sign": f"worse, by {-size:.1f} points",
        "an interval wholly below zero is a difference found too, for the worse":
            f"no difference found (one of more than {max(size + reach, -size + reach):.1f} points is unlikely)"})
    low, high = (-size - 2, reach) if t.coins(1).item() else (-reach, size + 2)
    middle = (low + high) / 2
    names = {"what may have stayed hidden is the end of the interval *further* from zero: max(-low, high)": min(-low, high),
             "what may have stayed hidden is not the whole width of the interval, but its end further from zero": high - low,
             "what was measured is not what may have stayed hidden; look at the ends of the interval": abs(middle),
             "half the interval's width is how sure you are; what may be hidden is its end further from zero": (high - low) / 2,
             "only the upper end is looked at; a difference for the worse may hide below": high}
    same((middle, low, high, seeds), {
        "an interval that holds zero shows no difference, whichever way its middle lies": f"{'better' if middle > 0 else 'worse'}, by {abs(middle):.1f} points",
        "a null result is not proof of equality; say `no difference found` and how large a one may be hidden": "no difference",
        **{said: f"no difference found (one of more than {value:.1f} points is unlikely)" for said, value in names.items()}})
    same((0.0, 0.0, 0.0, seeds), {
        "low == high means that no answer differed at all; an interval of width zero is no proof, see the last sentence on the card":
            "no difference found (one of more than 0.0 points is unlikely)"})


@exercise("seeds_needed", notebook=NOTEBOOK, answer=seeds_needed, difficulty=3, minutes=12,
          goal="Plan ahead: how many seeds until the 95 % interval is no wider than +- `half_width`? The seeds' share is t * spread / sqrt(n), the "
               "clips' share `by_clips` does not shrink with seeds; together they make the root of the sum of their squares. Start at 2 seeds; return 0 where no number will do.",
          shapes="`spread` (standard deviation of the paired differences over seeds), `by_clips`, `half_width`, all in points -> a whole number",
          hints=("Try n = 2, 3, 4 ... until `hypot(by_clips, t * spread / sqrt(n))` is small enough. First ask whether it ever can be.",
                 "`scipy.stats.t.ppf(0.975, n - 1)` is Student's t for n seeds; if `by_clips >= half_width`, return 0."))
def _(t: Trial):
    def reach(n, clips, quantile=student.ppf, freedom=1, level=0.975, joined=True, root=True):
        seeds = quantile(level, n - freedom) * spread / (n**0.5 if root else n)
        return (clips**2 + seeds**2) ** 0.5 if joined else clips + seeds

    def gaussian(level, _):
        return norm.ppf(level)

    half_width = 2 + 3 * t.rng.random()  # of these ratios no two mistakes give the same number
    spread, by_clips = (half_width * ratio for ratio in [(1.1, 0.72), (1.4, 0.46), (1.5, 0.64), (1.9, 0.46), (2.1, 0.3)][t.number(0, 4)])
    suspects = {
        "1.96 is for many seeds; with few take Student's t, which is larger": _fewest(lambda n: reach(n, by_clips, gaussian), half_width),
        "one too few: n seeds have n - 1 degrees of freedom": _fewest(lambda n: reach(n, by_clips, freedom=0), half_width),
        "0.95 leaves out 5 % on one side alone; an interval of 95 % ends at the quantiles 0.025 and 0.975":
            _fewest(lambda n: reach(n, by_clips, level=0.95), half_width),
        "the two shares are independent: they join as the sides of a right angle (hypot), not as a sum":
            _fewest(lambda n: reach(n, by_clips, joined=False), half_width),
        "the clips' share is left out": _fewest(lambda n: reach(n, 0.0), half_width),
        "the seeds' share shrinks with sqrt(n), not with n": _fewest(lambda n: reach(n, by_clips, root=False), half_width),
        "one too many: with one seed fewer the interval is narrow enough already": seeds_needed(spread, by_clips, half_width) + 1}
    expected = seeds_needed(spread, by_clips, half_width)
    found = t.run(spread, by_clips, half_width)
    t.that(isinstance(found, int) and not isinstance(found, bool), "expected a whole number of seeds")
    t.same(found, expected, suspects, what="the number of seeds", tolerance=0)
    t.same(t.run(0.0, by_clips, half_width), 2, {
        "one seed has no spread to measure: start at 2": 1}, what="the number of seeds where trainings do not differ", tolerance=0)
    t.same(t.run(spread, half_width + 0.5, half_width), 0, what="where the clips' share alone is too wide no number of seeds will do: the result", tolerance=0)
