"""Exercises of notebook 03: steps, padding, synchronisation, masks, interleaving, an offset."""

import numpy as np
import torch
import torch.nn.functional as F

from ...lab.offsets import Offsets
from ...lab.variants import interleave
from ...sync import pad_steps, split_steps, step_mask, synchronise
from ..exercise import Trial, exercise


def recover_offset(rows: list[dict]) -> dict[str, float]:
    """By clip, the shift with the highest summed log probability, from `lab.offsets`."""
    return Offsets(rows).recovered("both modalities").to_dict()


@exercise(split_steps)
def _(t: Trial):
    batch, tokens, width = t.integer(2, 3), t.integer(4, 6), t.integer(7, 9)
    for rest in (t.integer(1, tokens - 1), 0):
        steps = t.integer(2, 3)
        audio = t.randn(batch, steps * tokens + rest, width)
        missing = -rest % tokens

        def cut(padded, tokens=tokens):
            return padded.unflatten(1, (-1, tokens))

        swapped = F.pad(audio, (0, 0, 0, missing)).unflatten(1, (tokens, -1))
        t.check((audio, tokens), {
            "the last step, which is not full, is dropped: pad it with zeros":
                cut(audio[:, : steps * tokens]),
            "the zeros come before the audio, so that every token moves later; pad at the end":
                cut(F.pad(audio, (0, 0, missing, 0))),
            "where L is a multiple of A you add an empty step: `A - L % A` is A there, `-L % A` is "
            "0": cut(F.pad(audio, (0, 0, 0, tokens - rest))),
            "steps and tokens are swapped: (B, steps, A, D_a)": swapped,
            "a step holds every n-th token; it must hold A *neighbours* in time":
                swapped.transpose(1, 2),
            "the last step is padded with copies of a real token; pad with zeros":
                cut(torch.cat([audio, audio[:, -1:].expand(-1, missing, -1)], 1))})
    t.check((audio[:, :0], tokens), where="without audio (L = 0)",
            what="without audio (L = 0) there are 0 steps of A tokens each; the result")
    t.check_dtypes([audio[:, 1:]], tokens, more=(torch.int64, torch.bool))
    t.check_views(audio, tokens)
    t.check_views(audio[:, 1:], tokens)


@exercise(pad_steps)
def _(t: Trial):
    batch, frames, tokens, width = 2, t.integer(4, 5), t.integer(2, 3), t.integer(11, 12)
    more, longer = t.integer(1, 2), t.integer(6, 7)
    stream = t.randn(batch, frames, tokens, width)
    copied_steps = stream[:, [*range(frames), *[-1] * more]]
    copied_tokens = [*range(tokens), *[-1] * longer]
    grown = frames + more, tokens + longer
    t.check((stream, *grown), {
        "the zeros come first: everything moves to a later step and token":
            F.pad(stream, (0, 0, longer, 0, more, 0)),
        "the new steps come first, so that everything moves to a later step; put them at the end":
            F.pad(stream, (0, 0, 0, longer, more, 0)),
        "a step's zeros come before its tokens; put them after its last token":
            F.pad(stream, (0, 0, longer, 0, 0, more)),
        "`F.pad` counts axes from the last one: you have padded the features, one axis too far "
        "right": F.pad(stream, (0, longer, 0, more)),
        "only the time axis has grown; each step needs P tokens as well":
            F.pad(stream, (0, 0, 0, 0, 0, more)),
        "only the steps have grown; the clip needs T of them as well":
            F.pad(stream, (0, 0, 0, longer)),
        "the padding is copies of the last step and token; use zeros":
            copied_steps[:, :, copied_tokens],
        "the steps after the end are copies of the last one; use zeros":
            F.pad(copied_steps, (0, 0, 0, longer)),
        "a step is padded with copies of its last token; use zeros":
            F.pad(stream[:, :, copied_tokens], (0, 0, 0, 0, 0, more)),
        "T and P are swapped: axis 1 grows to `num_frames`, axis 2 to `step_tokens`":
            F.pad(stream, (0, 0, 0, grown[0] - tokens, 0, grown[1] - frames)),
        "you add T steps and P tokens; add only what is *missing* to T and P":
            F.pad(stream, (0, 0, 0, grown[1], 0, grown[0]))})
    t.check((stream[:, :0], frames, tokens + longer), where="of a missing stream (t = 0)",
            what="of a missing stream (t = 0) everything should be zero: the result")
    t.check((stream, frames, tokens),
            what="where nothing is missing the result should be the stream itself; it")
    t.check_dtypes([stream], *grown, more=(torch.bool,))
    t.check_views(stream, *grown)


@exercise(synchronise)
def _(t: Trial):
    for visual_longer, equal in ((True, True), (False, False), (True, False)):
        batch, frames, V, A = 2, t.integer(4, 5), t.integer(3, 4), t.integer(5, 6)
        if not visual_longer:
            V, A = A, V
        D_v, D_a = t.integer(7, 8), t.integer(9, 10)
        if equal:  # of one width, so that a wrong axis gives a tensor to compare, not an error
            D_v = D_a
        length = (frames - 2 if visual_longer else frames + 1) * A + t.integer(1, A - 1)
        visual, audio = t.randn(batch, frames, V, D_v), t.randn(batch, length, D_a)
        steps = split_steps(audio, A)
        T, P = max(frames, steps.shape[1]), max(V, A)
        left, right = pad_steps(visual, T, P), pad_steps(steps, T, P)
        expected = torch.cat([left, right], -1)
        one_axis = "tokens are concatenated along the token axis (2 P), not along the features"
        suspects = {
            one_axis: torch.cat([F.pad(left, (0, D_a)), F.pad(right, (D_v, 0))], 2),
            "the audio comes first; the order is visual, then audio": torch.cat([right, left], -1),
            "the audio is one step late: step 0 of the audio belongs to frame 0":
                torch.cat([left, right.roll(1, 1)], -1),
            "the clip ends with its *shorter* stream; T is the length of the longer one, and the "
            "other is padded with zeros": expected[:, : min(frames, steps.shape[1])],
            "a step has A tokens, so that visual tokens beyond A are lost; P is the larger of V "
            "and A": expected[:, :, :A],
            "a step has V tokens, so that audio tokens beyond V are lost; P is the larger of V and "
            "A": expected[:, :, :V],
            "the last audio step, which is not full, is lost: ceil(L / A) steps, not floor":
                synchronise(visual, audio[:, : length // A * A], audio_tokens=A),
            "each half is padded to P with copies; use zeros": torch.cat([
                pad_steps(part[:, :, torch.arange(P).clamp(max=part.shape[2] - 1)], T, P)
                for part in (visual, steps)], -1)}
        if equal:
            suspects |= {
                f"{one_axis}: `dim=-1`": torch.cat([left, right], 2),
                "the audio steps come after the visual ones, 2 T in all; concatenate along the "
                "features": torch.cat([left, right], 1),
                "the streams were added; concatenation keeps the features of each": left + right}
        t.check((visual, audio), suspects, audio_tokens=A,
                where=f"with {frames} frames, {steps.shape[1]} steps of audio, V = {V}, A = {A}, "
                      f"D_v = {D_v}, D_a = {D_a}")
    for where, *given in (("without video (T_v = 0)", visual[:, :0], audio),
                          ("without audio (L = 0)", visual, audio[:, :0])):
        t.check(given, where=where, what=f"{where} the result", audio_tokens=A)
    t.check_dtypes([visual, audio], audio_tokens=A)
    t.check_views(visual, audio, audio_tokens=A)


@exercise(step_mask)
def _(t: Trial):
    A = t.integer(4, 6)
    # One clip a row, two steps each. Step 0 is padding. Step 1 has one real token (the first, a
    # middle one, the last), only real tokens, a frame alone, or both.
    token = torch.zeros(6, 2, A, dtype=torch.bool)
    for row, place in enumerate((0, A // 2, -1)):
        token[row, 1, place] = True
    token[[3, 5], 1] = True
    frame = torch.zeros(6, 2, dtype=torch.bool)
    frame[4:, 1] = True
    any_real, full = token.any(-1), token.all(-1)
    either = frame | any_real
    t.check((frame, token.flatten(1)), {
        "only the first token of each step counts; audio may begin later in a step":
            frame | token[..., 0],
        "only the last token of each step counts; audio may end earlier in a step":
            frame | token[..., -1],
        "only the middle token of each step counts; any of its A tokens is enough":
            frame | token[..., A // 2],
        "a step's audio counts only where *all* tokens are real; one is enough (`any`, not `all`)":
            frame | full,
        "a step counts only where it has both a frame and audio; one of the two is enough":
            frame & any_real,
        "a step with frame *and* audio is not real: join with `|` (or), not with `^` (either, but "
        "not both)": frame ^ any_real,
        "only the frames count; a step with audio alone is real, too": frame,
        "only the audio counts; a step with a frame alone is real, too": any_real,
        "the mask is inverted: it should be True where a step is real": ~either,
        "it should be a mask of booleans; yours holds floats": either.float(),
        "it should be a mask of booleans; yours holds integers": either.long()},
        "the mask of two steps", where="with two steps", audio_tokens=A)
    for ranges in (((5, 6), (3, 4)), ((3, 4), (5, 6))):
        frames, audio_steps = (t.integer(*each) for each in ranges)
        rest = t.integer(1, A - 1)
        length = (audio_steps - 1) * A + rest
        frame_mask = torch.arange(frames)[None] < torch.tensor([[frames], [frames - 2], [1], [0]])
        lengths = torch.tensor([[length], [length - rest - A + 1], [A + 1], [2 * A]])
        audio_mask = torch.arange(length)[None] < lengths
        steps = split_steps(audio_mask[..., None], A)[..., 0].any(-1)  # [B, T_a]
        T = max(frames, audio_steps)

        def longer(mask, value=False, T=T):
            return F.pad(mask, (0, T - mask.shape[1]), value=value)

        real = longer(frame_mask) | longer(steps)
        full = audio_mask[:, : length // A * A].unflatten(1, (-1, A)).any(-1)
        shorter = max(frames, length // A)
        t.check((frame_mask, audio_mask), {
            "the padding of the shorter mask is False, not True":
                longer(frame_mask, True) | longer(steps, True),
            "the last audio step, which is not full, is lost":
                longer(frame_mask, T=shorter) | longer(full, T=shorter),
            "the mask ends with the frames; T is the longer of the two streams, and the audio goes "
            "on": real[:, :frames],
            "the mask ends with the audio; T is the longer of the two streams, and the video goes "
            "on": real[:, :audio_steps]},
            where=f"with {frames} frames and {audio_steps} steps of audio", audio_tokens=A)
    for where, *given in (("without video (T_v = 0)", frame_mask[:, :0], audio_mask),
                          ("without audio (L = 0)", frame_mask, audio_mask[:, :0])):
        t.check(given, where=where, what=f"{where} the mask", audio_tokens=A)
    t.check_views(frame_mask, audio_mask, audio_tokens=A)


@exercise(interleave)
def _(t: Trial):
    for more in (0, 2):
        batch, frames, V, A = 2, t.integer(3, 4), t.integer(2, 3), t.integer(4, 5)
        D_v, D_a = t.integer(6, 7), t.integer(8, 9)
        length = (frames + 1 - more) * A - 1
        visual, audio = t.randn(batch, frames, V, D_v), t.randn(batch, length, D_a)
        frame_mask = torch.arange(frames)[None] < torch.tensor([[frames], [1]])
        audio_mask = torch.arange(length)[None] < torch.tensor([[length], [A - 2]])
        given = visual, audio, frame_mask, audio_mask
        expected, real = interleave(*given, audio_tokens=A)
        T, P, widest = real.shape[1], max(V, A), max(D_v, D_a)
        v_steps, a_steps = pad_steps(visual, T, V), pad_steps(split_steps(audio, A), T, A)
        left, right = F.pad(v_steps, (0, D_a)), F.pad(a_steps, (D_v, 0))
        right_on_left = F.pad(a_steps, (0, D_v))
        alternating = [half[:, :, p] for p in range(P) for half in (left, right)
                       if p < half.shape[2]]
        padded = [F.pad(tokens, (0, 0, 0, P - tokens.shape[2])) for tokens in (left, right)]
        real_audio = pad_steps(split_steps(audio * audio_mask[..., None], A), T, A)
        masked = torch.cat([left * F.pad(frame_mask, (0, T - frames))[..., None, None],
                            F.pad(real_audio, (D_v, 0))], 2)
        wrong_steps = {
            "the halves are swapped: visual tokens use the *left* half of the features (zeros on "
            "the right), audio tokens the right one":
                torch.cat([F.pad(v_steps, (D_a, 0)), right_on_left], 2),
            "visual and audio tokens alternate; first come all V visual tokens of a step, then its "
            "A audio tokens": torch.stack(alternating, 2),
            "visual and audio tokens alternate, padded with zeros; first come all V visual tokens "
            "of a step, then its A audio tokens": torch.stack(padded, 3).flatten(2, 3),
            "steps that are not real were set to zero; leave them, the returned mask is enough":
                expected * real[..., None, None],
            "frames and audio tokens that are not real were set to zero; leave them, the mask is "
            "enough": masked,
            "the audio tokens come first in each step; visual ones should":
                torch.cat([right, left], 2),
            "the streams are joined along the features, as in the paper; here the tokens follow "
            "one another": synchronise(visual, audio, audio_tokens=A),
            "both streams use the same features (zeros on the right of both): move the audio's to "
            "the right half": torch.cat([left, right_on_left], 2),
            "both streams share one width; each should have its own half, D_v + D_a in all":
                torch.cat([F.pad(part, (0, widest - part.shape[-1]))
                           for part in (v_steps, a_steps)], 2),
            "all of the clip's video comes first and then all of its audio; join step by step":
                torch.cat([left.flatten(1, 2), right.flatten(1, 2)], 1).unflatten(1, (T, -1)),
            "each stream is padded to P tokens a step; no padding is needed within a step here":
                torch.cat(padded, 2)}
        suspects = {message: (wrong, real) for message, wrong in wrong_steps.items()}
        suspects["the mask of real steps is missing: return (steps, real)"] = expected
        t.check(given, suspects, "of (steps, real),", audio_tokens=A,
                where=f"with V = {V}, A = {A}, D_v = {D_v}, D_a = {D_a}")
    t.check_views(*given, audio_tokens=A)


@exercise(recover_offset)
def _(t: Trial):
    both, one = ["shown_when", "heard_while", "said_when"], ["colour", "read", "said", "where"]
    shifts = [float(s) for s in np.arange(-3, 4) * 0.5]
    rows, truth = [], {}
    for clip in ("clip_a", "clip_b", "clip_c"):
        wrong, other, truth[clip] = (float(s) for s in t.rng.choice(shifts, 3, replace=False))
        worst = float(t.rng.choice([s for s in shifts[1:-1] if s != truth[clip]]))
        for q in range(t.integer(4, 6)):  # the first is the surest, the second the least sure
            best, level, slope = {0: (wrong, -1.0, 6.0), 1: (other, -450.0, 6.0)}.get(
                q, (truth[clip], -400.0, 8.0))
            rows += [{"clip": clip, "family": both[q % 3], "shift": s,
                      "logp": level - slope * abs(s - best) - 9.0 * float(t.rng.random())
                      - 60.0 * (s == worst)} for s in shifts]
        lure = float(t.rng.choice([s for s in shifts if s != truth[clip]]))
        rows += [{"clip": clip, "family": one[q % 4], "shift": s, "logp": -60.0 * abs(s - lure)}
                 for q in range(4) for s in shifts]
    t.rng.shuffle(rows)
    asked = [r for r in rows if r["family"] in both]

    def best(rows, score=sum, pick=max):
        def scored(clip, shift):
            return score([r["logp"] for r in rows if (r["clip"], r["shift"]) == (clip, shift)])

        return {c: pick(shifts, key=lambda s: scored(c, s)) for c in truth}

    # The sum of logs is highest at `few[0]`, that of probabilities at `added`, one at `few[1]`.
    few_rows = []
    for _ in range(6):
        added = float(t.rng.choice(shifts[:3]))
        others = [s for s in shifts if abs(s) != -added]
        few = [float(s) for s in t.rng.choice(others, 2, replace=False)]
        logps = {few[0]: [-2.0] * 4, added: [-0.6, -2.2, -9, -9], few[1]: [-0.5, -9, -9, -9]}
        few_rows.append(([{"clip": "clip_a", "family": both[q % 3], "shift": s,
                           "logp": logps[s][q]} for s in logps for q in range(4)],
                         {"clip_a": few[0]}, {"clip_a": added}))
    for likely, _, added in few_rows:
        found = t.run(likely)
        t.require(not isinstance(found, dict) or found != added,
                  "probabilities were added; add up the *log* probabilities, as the probability "
                  "that all answers are true is a product")
    expected = recover_offset(rows)
    together = max(shifts, key=lambda s: sum(r["logp"] for r in asked if r["shift"] == s))
    found = t.run(rows)
    t.require(isinstance(found, dict), "expected a dict from the clip's name to the shift")
    t.compare(found, expected, {
        "questions about one stream are in the sum, but hardly depend on the offset. Keep those "
        "that need both streams": best(rows),
        "here the true answers are *least* likely; a higher log probability (nearer to 0) is more "
        "likely": best(asked, pick=min),
        "one single question decides, the surest one; add up the log probabilities of all":
            best(asked, max),
        "each shift is judged by the answer that is *least* sure there; add up the log "
        "probabilities of all": best(asked, min),
        "each shift is judged by its median answer; add up the log probabilities of all":
            best(asked, lambda logp: float(np.median(logp))),
        "probabilities were multiplied without logs: exp of a large negative number is 0 for every "
        "shift": dict.fromkeys(truth, shifts[0]),
        "the sign is wrong: return the shift of the rows": {c: -s for c, s in expected.items()},
        "this is the index of the shift in the list; return the shift":
            {c: shifts.index(s) for c, s in expected.items()},
        "one shift for all clips together; each clip has its own": dict.fromkeys(truth, together)},
        "the dict")
    for likely, expected, _ in few_rows:
        t.compare(t.run(likely), expected, what="the dict of one clip")
