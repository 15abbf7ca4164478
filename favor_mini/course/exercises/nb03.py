"""Exercises of notebook 03: steps, padding, side by side, masks, another way of joining, and an offset recovered."""

import numpy as np
import torch
import torch.nn.functional as F

from ...lab.statistics import Offsets
from ...lab.variants import interleave
from ...sync import pad_steps, split_steps, step_mask, synchronise
from ..exercise import Trial, exercise
from ..trial import Mistake

NOTEBOOK = "03"


def recover_offset(rows: list[dict]) -> dict[str, float]:
    """By clip, the shift under which the true answers to its questions about both streams are likeliest together."""
    return Offsets(rows).recovered("both modalities").to_dict()


def _run(t: Trial, where: str, *args, **kwargs):
    """What the attempt returns; where it fails, the message begins with what was special about this try."""
    try:
        return t.run(*args, **kwargs)
    except Mistake as mistake:
        raise Mistake(f"{where}: {mistake}") from None


def _keeps_dtypes(t: Trial, ours, stream: torch.Tensor, *sizes, dtypes=(torch.float64, torch.bfloat16)) -> None:
    """The attempt on streams of other dtypes than float32: what goes in comes out."""
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        given = stream > 0 if dtype == torch.bool else (9 * stream).to(dtype)
        found = _run(t, f"given {name}", given, *sizes)
        t.that(isinstance(found, torch.Tensor), "expected a tensor")
        t.that(found.dtype == dtype, f"given {name} it returns {str(found.dtype).removeprefix('torch.')}: the dtype must stay what it is. "
                                     "`F.pad` and `x.new_zeros(...)` keep it, `torch.zeros(...)` alone does not")
        t.same(found, ours(given, *sizes), what=f"given {name}, the result")


@exercise("split_steps", notebook=NOTEBOOK, answer=split_steps, difficulty=2, minutes=8,
          goal="Cut the audio tokens into time steps of A. Where the last step is not full, fill it up with zeros *at its end*: no token may be lost.",
          shapes="`audio` (B, L, D_a) of any dtype, which stays; L may be 0. `audio_tokens` A -> (B, ceil(L / A), A, D_a)",
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
    t.same(_run(t, "without sound (L = 0)", audio[:, :0], tokens), split_steps(audio[:, :0], tokens),
           what="without sound (L = 0) there are 0 steps, each of A tokens; the result")
    _keeps_dtypes(t, split_steps, audio[:, 1:], tokens, dtypes=(torch.float64, torch.bfloat16, torch.int64, torch.bool))


@exercise("pad_steps", notebook=NOTEBOOK, answer=pad_steps, difficulty=2, minutes=6,
          goal="Bring one stream to the common size: zeros behind its last *step*, and zeros behind the last *token* of each step.",
          shapes="`stream` (B, t, p, D) of any dtype, which stays; `num_frames` T >= t, `step_tokens` P >= p -> (B, T, P, D)",
          hints=("Two axes grow, one call does it. Nothing that stands there already may move.",
                 "`F.pad` counts axes from the last one backwards, two numbers each (before, after): `(0, 0, 0, P - p, 0, T - t)`."))
def _(t: Trial):
    batch, frames, tokens, width = 2, t.number(4, 5), t.number(2, 3), t.number(11, 12)
    more, longer = t.number(1, 2), t.number(6, 7)
    stream = t.randn(batch, frames, tokens, width)
    t.same(t.run(stream, frames + more, tokens + longer), pad_steps(stream, frames + more, tokens + longer), {
        "the zeros stand in front: everything moves to a later step and token": F.pad(stream, (0, 0, longer, 0, more, 0)),
        "`F.pad` counts axes from the last one: you have padded the features, too far to the right by one axis": F.pad(stream, (0, longer, 0, more)),
        "only the time axis has grown; each step needs P tokens as well": F.pad(stream, (0, 0, 0, 0, 0, more)),
        "only the steps have grown; the clip needs T of them as well": F.pad(stream, (0, 0, 0, longer)),
        "padding is zeros, not copies of the last step and token": stream[:, [*range(frames), *[-1] * more]][:, :, [*range(tokens), *[-1] * longer]],
        "the steps behind the end are copies of the last one; nothing is seen or heard there: zeros":
            F.pad(stream[:, [*range(frames), *[-1] * more]], (0, 0, 0, longer)),
        "a step is filled up with copies of its last token; zeros belong there":
            F.pad(stream[:, :, [*range(tokens), *[-1] * longer]], (0, 0, 0, 0, 0, more)),
        "T and P are taken for one another: axis 1 grows to `num_frames`, axis 2 to `step_tokens`":
            F.pad(stream, (0, 0, 0, frames + more - tokens, 0, tokens + longer - frames)),
        "you add T steps and P tokens; what must be added is what is *missing* to T and P":
            F.pad(stream, (0, 0, 0, tokens + longer, 0, frames + more))})
    t.same(_run(t, "of a missing stream (t = 0)", stream[:, :0], frames, tokens + longer), pad_steps(stream[:, :0], frames, tokens + longer),
           what="of a missing stream (t = 0) what should come back is all zeros: the result")
    t.same(t.run(stream, frames, tokens), stream, what="where nothing is missing the result should be the stream itself; it")
    _keeps_dtypes(t, pad_steps, stream, frames + more, tokens + longer, dtypes=(torch.float64, torch.bfloat16, torch.bool))


@exercise("synchronise", notebook=NOTEBOOK, answer=synchronise, difficulty=2, minutes=10,
          goal="The paper's temporal synchronisation, whole: audio into steps, both streams to T steps of P tokens, then side by side along the "
               "*feature* axis, picture first.",
          shapes="`visual` (B, T_v, V, D_v), `audio` (B, L, D_a), keyword `audio_tokens` A -> (B, T, P, D_v + D_a) with T = max(T_v, ceil(L / A)) and "
                 "P = max(V, A)",
          hints=("You have written both tools. The longer stream says what T is, the fuller step what P is.",
                 "`steps = split_steps(audio, A)`; T and P are two `max`; `torch.cat([pad_steps(visual, T, P), pad_steps(steps, T, P)], dim=-1)`."))
def _(t: Trial):
    for visual_longer, wide in ((True, True), (False, False), (True, False)):
        batch, frames, V, A = 2, t.number(4, 5), t.number(3, 4), t.number(5, 6)
        if not visual_longer:
            V, A = A, V
        D_v, D_a = t.number(7, 8), t.number(9, 10)
        if wide:  # of one width, so that a wrong axis gives a tensor, which can be told, and no error
            D_v = D_a
        length = (frames - 2 if visual_longer else frames + 1) * A + t.number(1, A - 1)
        visual, audio = t.randn(batch, frames, V, D_v), t.randn(batch, length, D_a)
        steps = split_steps(audio, A)
        T, P, both = max(frames, steps.shape[1]), max(V, A), min(frames, steps.shape[1])
        seen, heard = pad_steps(visual, T, P), pad_steps(steps, T, P)
        widened = F.pad(seen, (0, D_a)), F.pad(heard, (D_v, 0))
        behind = "tokens are lined up behind one another (2 P of them); they should stand side by side, along the features"
        suspects = {
            behind: torch.cat(widened, 2),
            behind + ": `dim=-1`": torch.cat([seen, heard], 2) if wide else None,
            "the sound's steps stand behind the picture's, 2 T in all; they should stand side by side, along the features":
                torch.cat([seen, heard], 1) if wide else None,
            "picture and sound were added; side by side means that each keeps its own features": seen + heard if wide else None,
            "the sound stands first; the order is picture, then sound": torch.cat([heard, seen], -1),
            "the sound comes one step late: step 0 of the sound belongs to frame 0": torch.cat([seen, heard.roll(1, 1)], -1),
            "the clip ends with its *shorter* stream; T is the longer one's length, and the rest of the other is zeros":
                torch.cat([seen, heard], -1)[:, :both],
            "a step is A tokens long, so that picture tokens beyond A are lost; P is the larger of V and A":
                torch.cat([seen, heard], -1)[:, :, :A],
            "a step is V tokens long, so that audio tokens beyond V are lost; P is the larger of V and A":
                torch.cat([seen, heard], -1)[:, :, :V],
            "the last step of the sound, which is not full, is lost: ceil(L / A) steps, not floor":
                synchronise(visual, audio[:, : length // A * A], audio_tokens=A),
            "each half is stretched to P with copies; what is missing is zeros":
                torch.cat([F.pad(visual, (0, 0, 0, 0, 0, T - frames))[:, :, torch.arange(P).clamp(max=V - 1)],
                           F.pad(steps, (0, 0, 0, 0, 0, T - steps.shape[1]))[:, :, torch.arange(P).clamp(max=A - 1)]], -1)}
        found = _run(t, f"with {frames} frames, {steps.shape[1]} steps of sound, V = {V}, A = {A}, D_v = {D_v}, D_a = {D_a}",
                     visual, audio, audio_tokens=A)
        t.same(found, torch.cat([seen, heard], -1), {told: wrong for told, wrong in suspects.items() if wrong is not None})
    for name, one, other in (("picture (T_v = 0)", visual[:, :0], audio), ("sound (L = 0)", visual, audio[:, :0])):
        t.same(_run(t, f"without {name}", one, other, audio_tokens=A), synchronise(one, other, audio_tokens=A), what=f"without {name} the result")
    for dtype in (torch.float64, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        found = _run(t, f"given {name}", visual.to(dtype), audio.to(dtype), audio_tokens=A)
        t.that(found.dtype == dtype, f"given {name} it returns {str(found.dtype).removeprefix('torch.')}: the dtype must stay what it is")


@exercise("step_mask", notebook=NOTEBOOK, answer=step_mask, difficulty=3, minutes=12,
          goal="Say which time steps are *real*: those with a real frame, or with at least one real audio token. The others are padding that nobody may "
               "look at.",
          shapes="`frame_mask` (B, T_v) bool, `audio_mask` (B, L) bool, keyword `audio_tokens` A -> (B, T) bool with T = max(T_v, ceil(L / A)); T_v or L "
                 "may be 0",
          hints=("A mask is a stream without features: cut it into steps as the sound was cut, then ask of each step whether any token is real.",
                 "`split_steps(audio_mask[..., None], A).any(dim=2)[..., 0]` is (B, T_a). Pad both masks with False to T (`F.pad`), then join them with `|`."))
def _(t: Trial):
    A = t.number(4, 6)
    # One clip a row, two steps each. Step 0 is padding; in step 1 stands one real token (first, in the middle, last), a full step of
    # them, a frame alone, both.
    token = torch.zeros(6, 2, A, dtype=torch.bool)
    for row, place in enumerate((0, A // 2, -1)):
        token[row, 1, place] = True
    token[[3, 5], 1] = True
    frame = torch.zeros(6, 2, dtype=torch.bool)
    frame[4:, 1] = True
    any_real, full = token.any(-1), token.all(-1)
    t.same(_run(t, "with two steps", frame, token.flatten(1), audio_tokens=A), frame | any_real, {
        "you look at the first token of each step only; sound may begin in the middle of a step": frame | token[..., 0],
        "you look at the last token of each step only; sound may end in the middle of a step": frame | token[..., -1],
        "you look at the middle token of each step only; any one of its A tokens is enough": frame | token[..., A // 2],
        "a step's sound counts only where the step is *full* of it; one real token is enough (`any`, not `all`)": frame | full,
        "a step counts only where it has both picture and sound; one of the two is enough": frame & any_real,
        "a step that has picture *and* sound comes out as not real: join with `|` (or), not with `^` (either, but not both)": frame ^ any_real,
        "only the picture counts; a step with sound alone is real, too": frame,
        "only the sound counts; a step with a picture alone is real, too": any_real,
        "yours is True where a step is padding; it should be True where it is real": ~(frame | any_real),
        "it should be a mask of booleans; yours holds numbers": (frame | any_real).float(),
        "it should be a mask of booleans; yours holds whole numbers": (frame | any_real).long()}, what="the mask of two steps")
    for frames, audio_steps in ((t.number(5, 6), t.number(3, 4)), (t.number(3, 4), t.number(5, 6))):
        rest = t.number(1, A - 1)
        length = (audio_steps - 1) * A + rest
        seen = torch.arange(frames)[None] < torch.tensor([[frames], [frames - 2], [1], [0]])
        heard = torch.arange(length)[None] < torch.tensor([[length], [length - rest - A + 1], [A + 1], [2 * A]])
        T = max(frames, audio_steps)
        steps = split_steps(heard[..., None], A)[..., 0].any(-1)  # [B, T_a]

        def long(mask, value=False, T=T):
            return F.pad(mask, (0, T - mask.shape[1]), value=value)

        real = long(seen) | long(steps)
        floor = heard[:, : length // A * A].unflatten(1, (-1, A)).any(-1)
        T_floor = max(frames, length // A)
        t.same(_run(t, f"with {frames} frames and {audio_steps} steps of sound", seen, heard, audio_tokens=A), real, {
            "what is added to the shorter mask is padding: False, not True": long(seen, True) | long(steps, True),
            "the last step of the sound, which is not full, is lost": long(seen, T=T_floor) | long(floor, T=T_floor),
            "the mask ends with the picture; where the sound goes on, so do the steps: T is the longer of the two": real[:, :frames],
            "the mask ends with the sound; where the picture goes on, so do the steps: the longer of the two is T": real[:, :audio_steps]})
    for name, one, other in (("picture (T_v = 0)", seen[:, :0], heard), ("sound (L = 0)", seen, heard[:, :0])):
        t.same(_run(t, f"without {name}", one, other, audio_tokens=A), step_mask(one, other, audio_tokens=A), what=f"without {name} the mask")


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
        masks = torch.arange(frames)[None] < torch.tensor([[frames], [1]]), torch.arange(length)[None] < torch.tensor([[length], [A - 2]])
        expected = interleave(visual, audio, *masks, audio_tokens=A)
        real = expected[1]
        T = real.shape[1]
        seen, heard = pad_steps(visual, T, V), pad_steps(split_steps(audio, A), T, A)
        left, right = F.pad(seen, (0, D_a)), F.pad(heard, (D_v, 0))
        widest = max(D_v, D_a)
        far = F.pad(seen, (D_a, 0)), F.pad(heard, (0, D_v))  # the halves swapped
        dealt = [tokens[:, :, p] for p in range(max(V, A)) for tokens in (left, right) if p < tokens.shape[2]]
        equal = (F.pad(tokens, (0, 0, 0, max(V, A) - tokens.shape[2])) for tokens in (left, right))
        zeroed = torch.cat([left, right], 2) * real[..., None, None]
        heard_real = pad_steps(split_steps(audio * masks[1][..., None], A), T, A)
        masked = torch.cat([left * F.pad(masks[0], (0, T - frames))[..., None, None], F.pad(heard_real, (D_v, 0))], 2)
        found = _run(t, f"with V = {V}, A = {A}, D_v = {D_v}, D_a = {D_a}", visual, audio, *masks, audio_tokens=A)
        t.same(found, expected, {
            "the halves are swapped: visual tokens keep the *left* half of the features (zeros on the right), audio tokens the right one":
                (torch.cat(far, 2), real),
            "picture and sound take turns token by token; here all V tokens of a step's picture come first, then its A of sound":
                (torch.stack(dealt, 2), real),
            "picture and sound take turns token by token, filled up with zeros; all V tokens of a step's picture come first, then its A of sound":
                (torch.stack(list(equal), 3).flatten(2, 3), real),
            "steps that are not real were set to zero; leave them as they are, the mask that you return says enough": (zeroed, real),
            "frames and audio tokens that are not real were set to zero; leave them as they are, the mask says enough": (masked, real),
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
               "which its answers are likeliest together. Take only the questions that need picture *and* sound: the others hang on the "
               "offset through no more than what is cut off at an end.",
          shapes="`rows`, a list of dicts with `clip`, `family`, `shift` (s) and `logp` (log probability of the true answer) -> dict, by clip, the shift (float)",
          hints=("Answers that are given independently have a joint probability that is a product, so their *log* probabilities are added. "
                 "`FAMILIES[row[\"family\"]]` says what a question needs.",
                 "A dict of sums over (clip, shift), filled from the rows whose needs hold both \"audio\" and \"video\"; then for each clip `max(shifts, key=...)`."))
def _(t: Trial):
    both, one = ["shown_when", "heard_while", "said_when"], ["colour", "read", "said", "where"]
    shifts = [float(s) for s in np.arange(-3, 4) * 0.5]
    rows, truth = [], {}
    for clip in ("clip_a", "clip_b", "clip_c"):
        wrong, other, truth[clip] = (float(s) for s in t.rng.choice(shifts, 3, replace=False))
        worst = float(t.rng.choice([s for s in shifts[1:-1] if s != truth[clip]]))
        for q in range(t.number(4, 6)):
            best, level = (wrong, -1.0) if q == 0 else (other, -450.0) if q == 1 else (truth[clip], -400.0)  # the surest, the least sure
            rows += [{"clip": clip, "family": both[q % 3], "shift": s,
                      "logp": level - (8.0 if q > 1 else 6.0) * abs(s - best) - 9.0 * float(t.rng.random()) - 60.0 * (s == worst)}
                     for s in shifts]
        lure = float(t.rng.choice([s for s in shifts if s != truth[clip]]))
        rows += [{"clip": clip, "family": one[q % 4], "shift": s, "logp": -60.0 * abs(s - lure)} for q in range(4) for s in shifts]
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
        "questions that one stream answers are in the sum; they hardly tell where the sound belongs. Keep those whose needs hold both streams": best(rows, total),
        "this is where the true answers are *least* likely; larger log probabilities (nearer to 0) are likelier": best(asked, total, min),
        "one single question decides, the surest one; add up the log probabilities of all": best(asked, lambda part: max(r["logp"] for r in part)),
        "each shift is judged by the one answer that is *least* sure there; add up the log probabilities of all": best(asked, lambda part: min(r["logp"] for r in part)),
        "each shift is judged by its middle answer; every answer counts: add up": best(asked, lambda part: float(np.median([r["logp"] for r in part]))),
        "probabilities were multiplied without logs: exp of a large negative number is 0, and all shifts look alike": dict.fromkeys(truth, shifts[0]),
        "the sign is turned round: the dict should hold the shift of the rows": {c: -s for c, s in expected.items()},
        "you return the place of the shift in the list, not the shift": index,
        "one shift for all clips together; each clip has its own": dict.fromkeys(truth, together)}, what="the dict")
