"""Wrong answers to the exercises of notebook 11."""

import math

import torch
from scipy.stats import norm
from scipy.stats import t as student
from torch import nn

from favor_mini.attention import block_causal, frame_index
from favor_mini.lab.variants import WithoutAttention
from favor_mini.qformer import AttentionMaps


def first_sees_all(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    return (frame[:, None] == frame[None, :]) | (frame[:, None] == 0)


def first_token(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    place = torch.arange(len(frame))
    return (frame[:, None] == frame[None, :]) | (place[None, :] == 0)


def first_alone(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    return (frame[None, :] == 0).repeat(len(frame), 1)


def own_token(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    return torch.eye(len(frame), dtype=torch.bool) | (frame[None, :] == 0)


def both_at_once(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    return (frame[:, None] == frame[None, :]) & (frame[None, :] == 0)


def all_before(num_frames, step_tokens, device=None):
    return block_causal(num_frames, step_tokens, device)


def last_and_own(num_frames, step_tokens, device=None):
    frame = frame_index(num_frames, step_tokens)
    return (frame[:, None] == frame[None, :]) | (frame[None, :] == frame.max())


def _steps(inputs, num_frames):
    return inputs.unflatten(1, (num_frames, -1)), torch.arange(1, num_frames + 1)[:, None, None]


def whole_window(inputs, num_frames):
    steps, _ = _steps(inputs, num_frames)
    return steps.mean(1, keepdim=True).repeat(1, num_frames, 1, 1).flatten(1, 2)


def running_sum(inputs, num_frames):
    return _steps(inputs, num_frames)[0].cumsum(1).flatten(1, 2)


def over_tokens(inputs, num_frames):
    return inputs.cumsum(1) / torch.arange(1, inputs.shape[1] + 1)[:, None]


def backwards(inputs, num_frames):
    steps, count = _steps(inputs, num_frames)
    return (steps.flip(1).cumsum(1) / count).flip(1).flatten(1, 2)


def without_own(inputs, num_frames):
    steps, count = _steps(inputs, num_frames)
    mean = steps.cumsum(1) / count
    return torch.cat([torch.zeros_like(mean[:, :1]), mean[:, :-1]], dim=1).flatten(1, 2)


def places_mixed(inputs, num_frames):
    steps, count = _steps(inputs, num_frames)
    return (steps.mean(2, keepdim=True).cumsum(1) / count).expand_as(steps).flatten(1, 2)


def not_flattened(inputs, num_frames):
    steps, count = _steps(inputs, num_frames)
    return steps.cumsum(1) / count


def frames_and_places_swapped(inputs, num_frames):
    steps = inputs.unflatten(1, (-1, num_frames))
    return (steps.cumsum(1) / torch.arange(1, steps.shape[1] + 1)[:, None, None]).flatten(1, 2)


def _running(inputs, num_frames):
    steps, count = _steps(inputs, num_frames)
    return (steps.cumsum(1) / count).flatten(1, 2)


def without_gradient(inputs, num_frames):
    return _running(inputs.detach(), num_frames)


def own_frame_only_trained(inputs, num_frames):
    before = _running(inputs, num_frames).detach()
    return before + inputs - inputs.detach()


def through_view(inputs, num_frames):
    every_frame = inputs.view(len(inputs) * num_frames, -1, inputs.shape[-1])
    return _running(every_frame.reshape(inputs.shape), num_frames)


class Pooling(WithoutAttention):
    """The right one, to be spoiled."""

    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Linear(input_width, width)

    def pool(self, inputs):
        return inputs.unflatten(1, (self.window_frames, -1)).mean(2)

    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        places = self.places(self.window_frames, windows.device)
        return self.norm(self.map(self.pool(inputs))[:, places]), maps


class NothingHidden(Pooling):
    def embed(self, windows, frame_mask, return_maps):
        return super().embed(windows, torch.ones_like(frame_mask), return_maps)


class NoNorm(Pooling):
    def forward(self, windows, frame_mask, return_maps=False):
        inputs, maps = self.embed(windows, frame_mask, return_maps)
        return self.map(self.pool(inputs))[:, self.places(self.window_frames, windows.device)], maps


class NoPositions(Pooling):
    def embed(self, windows, frame_mask, return_maps):
        real = frame_mask.repeat_interleave(self.step_tokens, dim=1)[..., None]
        inputs = self.input_norm(windows.masked_fill(~real, 0.0))
        return inputs, AttentionMaps(encoded=[inputs]) if return_maps else None


class RoundAndRound(Pooling):
    def places(self, length, device):
        return torch.arange(self.num_queries) % length


class FirstToken(Pooling):
    def pool(self, inputs):
        return inputs.unflatten(1, (self.window_frames, -1))[:, :, 0]


class OverFrames(Pooling):
    def pool(self, inputs):
        return inputs.unflatten(1, (self.window_frames, -1)).mean(1)


class OneForEachFrame(Pooling):
    def places(self, length, device):
        return torch.arange(length)


class QueriesAlone(Pooling):
    def forward(self, windows, frame_mask, return_maps=False):
        return super().forward(windows, frame_mask, return_maps)[0]


class MapsAlways(Pooling):
    def forward(self, windows, frame_mask, return_maps=False):
        return super().forward(windows, frame_mask, True)


class TwoMaps(Pooling):
    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Sequential(nn.Linear(input_width, hidden), nn.Linear(hidden, width))


class WrongWay(Pooling):
    @staticmethod
    def make_map(input_width, hidden, width):
        return nn.Linear(width, input_width)


class Frozen(Pooling):
    @torch.no_grad()
    def forward(self, windows, frame_mask, return_maps=False):
        return super().forward(windows, frame_mask, return_maps)


class MapAlone(Pooling):
    def pool(self, inputs):
        return super().pool(inputs).detach()


class PoolsByView(Pooling):
    def embed(self, windows, frame_mask, return_maps):
        every_token = windows.view(-1, windows.shape[-1])
        return super().embed(every_token.reshape(windows.shape), frame_mask, return_maps)


def sentence(early=None, hidden=None, equal=None, few=3, sizes=True):
    """`verdict` with one of its parts exchanged."""
    def verdict(difference, low, high, seeds):
        if seeds < few:
            return f"too few seeds to tell ({seeds}; at least 3)"
        if early:
            return early(difference)
        if low > 0:
            return f"better, by {difference:.1f} points"
        if high < 0:
            return f"worse, by {-difference if sizes else difference:.1f} points"
        if low == high:
            return equal or ("no measurable difference (all answers are the same: there is no "
                             "interval)")
        largest = (hidden or (lambda low, high: max(-low, high)))(low, high)
        return f"no measurable difference (more than {largest:.1f} points is unlikely)"

    return verdict


def by_the_middle(difference, low, high, seeds):
    if seeds < 3:
        return f"too few seeds to tell ({seeds}; at least 3)"
    word = "better" if difference > 0 else "worse"
    return f"{word}, by {abs(difference):.1f} points"


def swapped(difference, low, high, seeds):
    if seeds < 3:
        return f"too few seeds to tell ({seeds}; at least 3)"
    return f"worse, by {difference:.1f} points"


def said_equal(difference, low, high, seeds):
    if low <= 0 <= high and seeds >= 3:
        return "no measurable difference"
    return sentence()(difference, low, high, seeds)


def count(quantile=student.ppf, freedom=1, level=0.975, join=math.hypot, root=math.sqrt, start=2,
          extra=0, hopeless=True):
    """`seeds_needed` with one of its parts exchanged."""
    def seeds_needed(spread, by_clips, half_width):
        if hopeless and by_clips >= half_width:
            return 0
        n = start
        while n < 2000 and join(by_clips,
                                quantile(level, n - freedom) * spread / root(n)) > half_width:
            n += 1
        return n + extra

    return seeds_needed


def one_seed(spread, by_clips, half_width):
    return 1 if spread == 0 else count()(spread, by_clips, half_width)


WRONG = {
    "first_and_own": [(first_sees_all, "swapped"), (first_token, "not the whole first frame"),
                      (first_alone, "no longer attend"), (own_token, "token itself"),
                      (both_at_once, "joined by *and*"), (all_before, "block_causal"),
                      (last_and_own, "*last*")],
    "running_mean": [(whole_window, "which is a leak"), (running_sum, "running sum"),
                     (over_tokens, "runs over *tokens*"), (backwards, "includes later ones"),
                     (without_own, "are missing; include"), (places_mixed, "mixed"),
                     (not_flattened, "flatten them again"),
                     (frames_and_places_swapped, "not (-1, num_frames)"),
                     (without_gradient, "gradient is lost"),
                     (own_frame_only_trained, "gradient with respect to"),
                     (through_view, "instead of `view`")],
    "MeanPooling": [(NothingHidden, "not hidden"), (NoNorm, "LayerNorm at the end"),
                    (NoPositions, "positions are missing"), (RoundAndRound, "cycle through"),
                    (FirstToken, "first token"), (OverFrames, "place by place"),
                    (OneForEachFrame, "K outputs"), (QueriesAlone, "two results"),
                    (MapsAlways, "pass it on"), (TwoMaps, "it lacks"),
                    (WrongWay, "from `input_width` to `width`"),
                    (Frozen, "`no_grad`"), (MapAlone, "reach positions"),
                    (PoolsByView, "instead of `view`")],
    "verdict": [(sentence(few=0), "number of seeds first"), (sentence(few=4), "exactly 3"),
                (swapped, "swapped"), (sentence(sizes=False), "minus sign"),
                (by_the_middle, "contains zero"),
                (sentence(hidden=lambda low, high: min(-low, high)), "*further*"),
                (sentence(hidden=lambda low, high: high - low), "the width of the interval"),
                (sentence(hidden=lambda low, high: (high - low) / 2), "half the interval"),
                (said_equal, "no proof of equality"),
                (sentence(equal="no measurable difference (more than 0.0 points is unlikely)"),
                 "see the card")],
    "seeds_needed": [(count(lambda level, _: norm.ppf(level)), "Student's t"),
                     (count(freedom=0), "degrees of freedom"), (count(level=0.95), "0.025"),
                     (count(join=lambda a, b: a + b), "not the parts"),
                     (count(join=lambda a, b: b), "clips' part is missing"),
                     (count(root=lambda n: n), "sqrt(n)"), (count(extra=1), "one too many"),
                     (one_seed, "one seed has no spread"),
                     (count(hopeless=False), "no number of seeds is enough")]
}
