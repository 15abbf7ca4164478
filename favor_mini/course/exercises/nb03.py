"""Exercises of notebook 03: steps, padding, side by side, masks, another way of joining, and an offset recovered."""

import numpy as np
import torch
import torch.nn.functional as F

from ...lab.statistics import Offsets
from ...lab.variants import interleave
from ...sync import pad_steps, split_steps, step_mask, synchronise
from ..exercise import Trial, exercise

NOTEBOOK = "03"


def recover_offset(rows: list[dict]) -> dict[str, float]:
    """By clip, the shift under which the true answers to its questions about both streams are likeliest together."""
    return Offsets(rows).recovered("both modalities").to_dict()


@exercise("split_steps", notebook=NOTEBOOK, answer=split_steps, difficulty=2, minutes=8,
          goal="Cut the audio tokens into time steps of A. Where the last step is not full, fill it up with zeros *at its end*: no token may be lost.",
          shapes="`audio` (B, L, D_a), `audio_tokens` A -> (B, ceil(L / A), A, D_a)",
          hints=("How many tokens are missing to the next multiple of A? Add them first, then cut: cutting alone moves nothing.",
                 "`-L % A` is what is missing, 0 where nothing is. `F.pad(audio, (0, 0, 0, missing))` pads the last axis but one at its end; "
                 "then `unflatten(1, (-1, A))`."))
def _(t: Trial):
    batch, tokens, width = t.number(2, 3), t.number(4, 6), t.number(7, 9)
    for rest in (t.number(1, tokens - 1), 0):
        steps = t.number(2, 3)
        audio = t.randn(batch, steps * tokens + rest, width)
        whole = F.pad(audio, (0, 0, 0, -rest % tokens))
        t.same(t.run(audio, tokens), split_steps(audio, tokens), {
            "the last step, which is not full, is thrown away: its sound is lost. Fill it up with zeros": audio[:, : steps * tokens].unflatten(1, (-1, tokens)),
            "the zeros stand before the sound, so that every token moves to a later time; they belong behind it":
                F.pad(audio, (0, 0, -rest % tokens, 0)).unflatten(1, (-1, tokens)),
            "where L is a multiple of A already you add a whole empty step: `A - L % A` is A there, `-L % A` is 0":
                F.pad(audio, (0, 0, 0, tokens - rest)).unflatten(1, (-1, tokens)),
            "steps and tokens are swapped: (B, steps, A, D_a), the steps stand in time order": whole.unflatten(1, (tokens, -1)),
            "the tokens are dealt round like cards: a step must hold A *neighbours* in time": whole.unflatten(1, (tokens, -1)).transpose(1, 2),
            "the last step is filled up with copies of a real token; silence is zeros":
                torch.cat([audio, audio[:, -1:].expand(-1, -rest % tokens, -1)], 1).unflatten(1, (-1, tokens))})


@exercise("pad_steps", notebook=NOTEBOOK, answer=pad_steps, difficulty=2, minutes=6,
          goal="Bring one stream to the common size: zeros behind its last *step*, and zeros behind the last *token* of each step.",
          shapes="`stream` (B, t, p, D), `num_frames` T >= t, `step_tokens` P >= p -> (B, T, P, D)",
          hints=("Two axes grow, one call does it. Nothing that stands there already may move.",
                 "`F.pad` counts axes from the last one backwards, two numbers each (before, after): `(0, 0, 0, P - p, 0, T - t)`."))
def _(t: Trial):
    batch, frames, tokens, width = t.number(2, 3), t.number(3, 4), t.number(5, 6), t.number(7, 9)
    more, longer = t.number(1, 2), t.number(3, 4)
    stream = t.randn(batch, frames, tokens, width)
    t.same(t.run(stream, frames + more, tokens + longer), pad_steps(stream, frames + more, tokens + longer), {
        "the zeros stand in front: everything moves to a later step and token": F.pad(stream, (0, 0, longer, 0, more, 0)),
        "`F.pad` counts axes from the last one: you have padded the features, too far to the right by one axis": F.pad(stream, (0, longer, 0, more)),
        "only the time axis has grown; each step needs P tokens as well": F.pad(stream, (0, 0, 0, 0, 0, more)),
        "only the steps have grown; the clip needs T of them as well": F.pad(stream, (0, 0, 0, longer)),
        "padding is zeros, not copies of the last step and token": stream[:, [*range(frames), *[-1] * more]][:, :, [*range(tokens), *[-1] * longer]],
        "you add T steps and P tokens; what must be added is what is *missing* to T and P":
            F.pad(stream, (0, 0, 0, tokens + longer, 0, frames + more))})
    t.same(t.run(stream[:, :0], frames, tokens + longer), pad_steps(stream[:, :0], frames, tokens + longer),
           what="of a missing stream (t = 0) what should come back is all zeros: the result")
    t.same(t.run(stream, frames, tokens), stream, what="where nothing is missing the result should be the stream itself; it")


@exercise("synchronise", notebook=NOTEBOOK, answer=synchronise, difficulty=2, minutes=10,
          goal="The paper's temporal synchronisation, whole: audio into steps, both streams to T steps of P tokens, then side by side along the "
               "*feature* axis, picture first.",
          shapes="`visual` (B, T_v, V, D_v), `audio` (B, L, D_a), keyword `audio_tokens` A -> (B, T, P, D_v + D_a) with T = max(T_v, ceil(L / A)) and "
                 "P = max(V, A)",
          hints=("You have written both tools. The longer stream says what T is, the fuller step what P is.",
                 "`steps = split_steps(audio, A)`; T and P are two `max`; `torch.cat([pad_steps(visual, T, P), pad_steps(steps, T, P)], dim=-1)`."))
def _(t: Trial):
    for visual_longer in (True, False):
        batch, frames, V, A = 2, t.number(4, 5), t.number(3, 4), t.number(5, 6)
        if not visual_longer:
            V, A = A, V
        D_v, D_a = t.number(7, 8), t.number(9, 10)
        length = (frames - 2 if visual_longer else frames + 1) * A + t.number(1, A - 1)
        visual, audio = t.randn(batch, frames, V, D_v), t.randn(batch, length, D_a)
        steps = split_steps(audio, A)
        T, P, both = max(frames, steps.shape[1]), max(V, A), min(frames, steps.shape[1])
        seen, heard = pad_steps(visual, T, P), pad_steps(steps, T, P)
        side = torch.cat([F.pad(seen, (0, D_a)), F.pad(heard, (D_v, 0))], dim=2)
        t.same(t.run(visual, audio, audio_tokens=A), synchronise(visual, audio, audio_tokens=A), {
            "the sound stands first; the order is picture, then sound": torch.cat([heard, seen], -1),
            "the sound comes one step late: step 0 of the sound belongs to frame 0": torch.cat([seen, heard.roll(1, 1)], -1),
            "tokens are lined up behind one another (2 P of them); they should stand side by side, along the features": side,
            "the clip ends with its *shorter* stream; T is the longer one's length, and the rest of the other is zeros":
                torch.cat([seen, heard], -1)[:, :both],
            "the last step of the sound, which is not full, is lost: ceil(L / A) steps, not floor":
                torch.cat([pad_steps(visual, max(frames, length // A), P), pad_steps(audio[:, : length // A * A].unflatten(1, (-1, A)), max(frames, length // A), P)], -1),
            "each half is stretched to P with copies; what is missing is zeros":
                torch.cat([F.pad(visual, (0, 0, 0, 0, 0, T - frames))[:, :, torch.arange(P).clamp(max=V - 1)],
                           F.pad(steps, (0, 0, 0, 0, 0, T - steps.shape[1]))[:, :, torch.arange(P).clamp(max=A - 1)]], -1)})
    for name, one, other in (("picture", visual[:, :0], audio), ("sound", visual, audio[:, :0])):
        t.same(t.run(one, other, audio_tokens=A), synchronise(one, other, audio_tokens=A), what=f"without {name} the result")


@exercise("step_mask", notebook=NOTEBOOK, answer=step_mask, difficulty=3, minutes=12,
          goal="Say which time steps are *real*: those with a real frame, or with at least one real audio token. The others are padding that nobody may "
               "look at.",
          shapes="`frame_mask` (B, T_v) bool, `audio_mask` (B, L) bool, keyword `audio_tokens` A -> (B, T) bool with T = max(T_v, ceil(L / A))",
          hints=("A mask is a stream without features: cut it into steps as the sound was cut, then ask of each step whether any token is real.",
                 "`split_steps(audio_mask[..., None], A).any(dim=2)[..., 0]` is (B, T_a). Pad both masks with False to T (`F.pad`), then join them with `|`."))
def _(t: Trial):
    A = t.number(4, 6)
    for frames, audio_steps in ((t.number(5, 6), t.number(3, 4)), (t.number(3, 4), t.number(5, 6))):
        rest = t.number(1, A - 1)
        length = (audio_steps - 1) * A + rest
        seen = torch.arange(frames)[None] < torch.tensor([[frames], [frames - 2], [1], [0]])
        heard = torch.arange(length)[None] < torch.tensor([[length], [length - rest - A + 1], [A + 1], [2 * A]])
        T = max(frames, audio_steps)
        steps = split_steps(heard[..., None], A)[..., 0]  # [B, T_a, A]
        full = steps.all(-1)

        def long(mask, value=False, T=T):
            return F.pad(mask, (0, T - mask.shape[1]), value=value)

        seen_long, heard_long = long(seen), long(steps.any(-1))
        floor = heard[:, : length // A * A].unflatten(1, (-1, A)).any(-1)
        T_floor = max(frames, length // A)
        t.same(t.run(seen, heard, audio_tokens=A), step_mask(seen, heard, audio_tokens=A), {
            "a step counts only where it has both picture and sound; one of the two is enough": seen_long & heard_long,
            "only the picture counts; a step with sound alone is real, too": seen_long,
            "only the sound counts; a step with a picture alone is real, too": heard_long,
            "a step's sound counts only where the step is *full* of it; one real token is enough (`any`, not `all`)": seen_long | long(full),
            "what is added to the shorter mask is padding: False, not True": long(seen, True) | long(steps.any(-1), True),
            "the last step of the sound, which is not full, is lost": long(seen, T=T_floor) | long(floor, T=T_floor),
            "yours is True where a step is padding; it should be True where it is real": ~(seen_long | heard_long),
            "it should be a mask of booleans; yours holds numbers": (seen_long | heard_long).float()})
    late = torch.zeros(1, 2 * A, dtype=torch.bool)
    late[0, A + A // 2] = True  # one real token in the middle of the second step
    t.same(t.run(torch.zeros(1, 1, dtype=torch.bool), late, audio_tokens=A), torch.tensor([[False, True]]), {
        "you look at one token of each step only; sound may begin or end in the middle of a step": torch.tensor([[False, False]])},
        what="with one real token alone, in the middle of step 1 (counted from 0), the mask")


@exercise("interleave", notebook=NOTEBOOK, answer=interleave, difficulty=3, minutes=14,
          goal="Another way to join: the tokens of each time step *one after another*, V visual ones, then A audio ones. Each keeps its own half of the "
               "features: visual tokens have zeros on the right, audio tokens zeros on the left. Return the steps and the mask of real steps.",
          shapes="`visual` (B, T_v, V, D_v), `audio` (B, L, D_a), `frame_mask` (B, T_v), `audio_mask` (B, L), keyword `audio_tokens` A -> steps "
                 "(B, T, V + A, D_v + D_a), real (B, T)",
          hints=("`step_mask` gives you the mask and T. Each stream is brought to T steps but keeps its own number of tokens; then widen the features, then join "
                 "along the token axis.",
                 "`seen = F.pad(pad_steps(visual, T, V), (0, D_a))`; `heard = F.pad(pad_steps(split_steps(audio, A), T, A), (D_v, 0))`; "
                 "`torch.cat([seen, heard], dim=2)`."))
def _(t: Trial):
    for more in (0, 2):
        batch, frames, V, A, D_v, D_a = 2, t.number(3, 4), t.number(2, 3), t.number(4, 5), t.number(6, 7), t.number(8, 9)
        length = (frames + 1 - more) * A - 1
        visual, audio = t.randn(batch, frames, V, D_v), t.randn(batch, length, D_a)
        masks = torch.arange(frames)[None] < torch.tensor([[frames], [1]]), torch.arange(length)[None] < torch.tensor([[length], [A]])
        expected = interleave(visual, audio, *masks, audio_tokens=A)
        real = expected[1]
        T = real.shape[1]
        seen, heard = pad_steps(visual, T, V), pad_steps(split_steps(audio, A), T, A)
        left, right = F.pad(seen, (0, D_a)), F.pad(heard, (D_v, 0))
        widest = max(D_v, D_a)
        found = t.run(visual, audio, *masks, audio_tokens=A)
        t.same(found, expected, {
            "the sound's tokens come first in each step; visual ones should": (torch.cat([right, left], 2), real),
            "tokens still stand side by side, as in the paper; here they should come one after another": (synchronise(visual, audio, audio_tokens=A), real),
            "both streams use the same features (zeros on the right of both): shift the sound's behind the picture's":
                (torch.cat([left, F.pad(heard, (0, D_v))], 2), real),
            "both streams were squeezed into one width; each should keep its own half, D_v + D_a in all":
                (torch.cat([F.pad(seen, (0, widest - D_v)), F.pad(heard, (0, widest - D_a))], 2), real),
            "all of the clip's picture comes first and then all of its sound; go through it step by step":
                (torch.cat([left.flatten(1, 2), right.flatten(1, 2)], 1).unflatten(1, (T, -1)), real),
            "each stream is padded to P tokens a step first; nothing needs to be padded within a step here":
                (torch.cat([F.pad(left, (0, 0, 0, max(V, A) - V)), F.pad(right, (0, 0, 0, max(V, A) - A))], 2), real),
            "the mask of real steps is missing: return (steps, real)": expected[0]}, what="what came back (steps, real)")


@exercise("recover_offset", notebook=NOTEBOOK, answer=recover_offset, difficulty=4, minutes=15,
          goal="You have moved a clip's sound by many shifts and asked a model, under each, how likely the *true* answers are. Find for each clip the shift under "
               "which its answers are likeliest together. Only questions that need picture *and* sound tell about the offset; leave the others out.",
          shapes="`rows`, a list of dicts with `clip`, `family`, `shift` (s) and `logp` (log probability of the true answer) -> dict, by clip, the shift (float)",
          hints=("Answers that are given independently have a joint probability that is a product, so their *log* probabilities are added. "
                 "`FAMILIES[row[\"family\"]]` says what a question needs.",
                 "A dict of sums over (clip, shift), filled from the rows whose needs hold both \"audio\" and \"video\"; then for each clip `max(shifts, key=...)`."))
def _(t: Trial):
    both, one = ["shown_when", "heard_while", "said_when"], ["colour", "read", "said", "where"]
    shifts = [float(s) for s in np.arange(-3, 4) * 0.5]
    rows, truth = [], {}
    for clip in ("clip_a", "clip_b", "clip_c"):
        wrong, truth[clip] = (float(s) for s in t.rng.choice(shifts, 2, replace=False))
        worst = float(t.rng.choice([s for s in shifts[1:-1] if s != truth[clip]]))
        for q in range(t.number(3, 5)):
            best = truth[clip] if q else wrong  # one question points elsewhere, strongly
            rows += [{"clip": clip, "family": both[q % 3], "shift": s, "right": bool(t.rng.random() < 0.5),
                      "logp": -400.0 - (8.0 if q else 6.0) * abs(s - best) - float(t.rng.random()) - 60.0 * (s == worst) - (0 if q else -399.0)}
                     for s in shifts]
        lure = float(t.rng.choice([s for s in shifts if s != truth[clip]]))
        rows += [{"clip": clip, "family": one[q % 4], "shift": s, "right": s == lure, "logp": -60.0 * abs(s - lure)} for q in range(4) for s in shifts]
    t.rng.shuffle(rows)
    asked = [r for r in rows if r["family"] in both]

    def best(rows, score, pick=max):
        return {c: pick(shifts, key=lambda s: score([r for r in rows if r["clip"] == c and r["shift"] == s])) for c in truth}

    def total(part):
        return sum(r["logp"] for r in part)

    expected = recover_offset(rows)
    index = {c: shifts.index(s) for c, s in expected.items()}
    together = max(shifts, key=lambda s: total([r for r in asked if r["shift"] == s]))
    found = t.run(rows)
    t.that(isinstance(found, dict), "expected a dict that gives the shift by the clip's name")
    t.same(found, expected, {
        "questions that one stream answers are in the sum; they say nothing about the offset. Keep those whose needs hold both streams": best(rows, total),
        "this is where the true answers are *least* likely; larger log probabilities (nearer to 0) are likelier": best(asked, total, min),
        "one single question decides, the surest one; add up the log probabilities of all": best(asked, lambda part: max(r["logp"] for r in part)),
        "probabilities were multiplied without logs: exp of a large negative number is 0, and all shifts look alike": dict.fromkeys(truth, shifts[0]),
        "the sign is turned round: the dict should hold the shift of the rows": {c: -s for c, s in expected.items()},
        "you return the place of the shift in the list, not the shift": index,
        "one shift for all clips together; each clip has its own": dict.fromkeys(truth, together)}, what="the dict")
