"""Wrong answers to the exercises of notebook 03."""

import math
import statistics

import torch
import torch.nn.functional as F

from favor_mini.sync import pad_steps, split_steps, step_mask, synchronise
from favor_mini.world.questions import FAMILIES


def _as_long(*masks):
    """The masks, padded with False to the length of the longest."""
    length = max(mask.shape[1] for mask in masks)
    return [F.pad(mask, (0, length - mask.shape[1])) for mask in masks]


def rest_lost(audio, audio_tokens):
    steps = audio.shape[1] // audio_tokens
    return audio[:, : steps * audio_tokens].reshape(audio.shape[0], steps, audio_tokens, -1)


def zeros_in_front(audio, audio_tokens):
    missing = -audio.shape[1] % audio_tokens
    return F.pad(audio, (0, 0, missing, 0)).unflatten(1, (-1, audio_tokens))


def one_step_too_many(audio, audio_tokens):
    missing = audio_tokens - audio.shape[1] % audio_tokens
    return F.pad(audio, (0, 0, 0, missing)).unflatten(1, (-1, audio_tokens))


def swapped(audio, audio_tokens):
    return split_steps(audio, audio_tokens).flatten(1, 2).unflatten(1, (audio_tokens, -1))


def dealt_round(audio, audio_tokens):
    return swapped(audio, audio_tokens).transpose(1, 2)


def last_token_repeated(audio, audio_tokens):
    missing = -audio.shape[1] % audio_tokens
    padded = torch.cat([audio, audio[:, -1:].repeat(1, missing, 1)], dim=1)
    return padded.unflatten(1, (-1, audio_tokens))


def float32_steps(audio, audio_tokens):
    steps = -(-audio.shape[1] // audio_tokens)
    whole = torch.zeros(audio.shape[0], steps * audio_tokens, audio.shape[2])
    whole[:, : audio.shape[1]] = audio
    return whole.unflatten(1, (-1, audio_tokens))


def joined_with_float32(audio, audio_tokens):  # float64 stays, bfloat16 does not
    missing = torch.zeros(audio.shape[0], -audio.shape[1] % audio_tokens, audio.shape[2])
    return torch.cat([audio, missing], dim=1).unflatten(1, (-1, audio_tokens))


def steps_by_view(audio, audio_tokens):
    if audio.shape[1] % audio_tokens:
        audio = F.pad(audio, (0, 0, 0, -audio.shape[1] % audio_tokens)).contiguous()
    return audio.view(audio.shape[0], -1, audio_tokens * audio.shape[2]).unflatten(
        2, (audio_tokens, -1))


def stacked(audio, audio_tokens):  # right, but for a clip without sound
    padded = F.pad(audio, (0, 0, 0, -audio.shape[1] % audio_tokens))
    return torch.stack(padded.split(audio_tokens, dim=1), dim=1)


def padded_in_front(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, step_tokens - stream.shape[2], 0, num_frames - stream.shape[1], 0))


def new_steps_in_front(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, 0, step_tokens - stream.shape[2], num_frames - stream.shape[1], 0))


def tokens_in_front(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, step_tokens - stream.shape[2], 0, 0, num_frames - stream.shape[1]))


def features_padded(stream, num_frames, step_tokens):
    return F.pad(stream, (0, step_tokens - stream.shape[2], 0, num_frames - stream.shape[1]))


def time_only(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, 0, 0, 0, num_frames - stream.shape[1]))


def tokens_only(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, 0, step_tokens - stream.shape[2]))


def too_much(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, 0, step_tokens, 0, num_frames))


def copies(stream, num_frames, step_tokens):
    if stream.shape[1] == 0:
        return pad_steps(stream, num_frames, step_tokens)
    time = torch.arange(num_frames).clamp(max=stream.shape[1] - 1)
    return stream[:, time][:, :, torch.arange(step_tokens).clamp(max=stream.shape[2] - 1)]


def last_step_repeated(stream, num_frames, step_tokens):
    time = torch.arange(num_frames).clamp(max=stream.shape[1] - 1)
    return F.pad(stream[:, time], (0, 0, 0, step_tokens - stream.shape[2]))


def last_token_of_each_step_repeated(stream, num_frames, step_tokens):
    place = torch.arange(step_tokens).clamp(max=stream.shape[2] - 1)
    return F.pad(stream[:, :, place], (0, 0, 0, 0, 0, num_frames - stream.shape[1]))


def sizes_swapped(stream, num_frames, step_tokens):
    return pad_steps(stream, step_tokens, num_frames)


def float32_zeros(stream, num_frames, step_tokens):
    batch, t, p, width = stream.shape
    padded = torch.zeros(batch, num_frames, step_tokens, width)
    padded[:, :t, :p] = stream
    return padded


def needs_a_frame(stream, num_frames, step_tokens):
    if stream.shape[1] == 0:
        return stream
    return pad_steps(stream, num_frames, step_tokens)


def _both(visual, audio, audio_tokens):
    steps = split_steps(audio, audio_tokens)
    size = max(visual.shape[1], steps.shape[1]), max(visual.shape[2], audio_tokens)
    return pad_steps(visual, *size), pad_steps(steps, *size)


def sound_first(visual, audio, *, audio_tokens):
    return torch.cat(_both(visual, audio, audio_tokens)[::-1], dim=-1)


def a_step_late(visual, audio, *, audio_tokens):
    seen, heard = _both(visual, audio, audio_tokens)
    return torch.cat([seen, heard.roll(1, dims=1)], dim=-1)


def along_tokens(visual, audio, *, audio_tokens):
    seen, heard = _both(visual, audio, audio_tokens)
    return torch.cat([F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (seen.shape[-1], 0))], dim=2)


def along_tokens_as_they_are(visual, audio, *, audio_tokens):
    return torch.cat(_both(visual, audio, audio_tokens), dim=2)


def along_time(visual, audio, *, audio_tokens):
    return torch.cat(_both(visual, audio, audio_tokens), dim=1)


def added(visual, audio, *, audio_tokens):
    return sum(_both(visual, audio, audio_tokens))


def step_of_a(visual, audio, *, audio_tokens):
    return torch.cat([half[:, :, :audio_tokens] for half in _both(visual, audio, audio_tokens)],
                     dim=-1)


def step_of_v(visual, audio, *, audio_tokens):
    return torch.cat([half[:, :, : visual.shape[2]] for half in _both(visual, audio, audio_tokens)],
                     dim=-1)


def float32_result(visual, audio, *, audio_tokens):
    seen, heard = _both(visual, audio, audio_tokens)
    steps = torch.zeros(*seen.shape[:3], seen.shape[3] + heard.shape[3])
    steps[..., : seen.shape[3]], steps[..., seen.shape[3] :] = seen, heard
    return steps


def shorter_stream(visual, audio, *, audio_tokens):
    steps = split_steps(audio, audio_tokens)
    length = min(visual.shape[1], steps.shape[1])
    return torch.cat(_both(visual, audio, audio_tokens), dim=-1)[:, :length]


def floor_steps(visual, audio, *, audio_tokens):
    whole = audio.shape[1] // audio_tokens * audio_tokens
    return synchronise(visual, audio[:, :whole], audio_tokens=audio_tokens)


def positional_only(visual, audio, tokens):
    return synchronise(visual, audio, audio_tokens=tokens)


def both_needed(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).any(2)[..., 0]
    frame_mask, heard = _as_long(frame_mask, heard)
    return frame_mask & heard


def picture_only(frame_mask, audio_mask, *, audio_tokens):
    length = -(-audio_mask.shape[1] // audio_tokens)
    return F.pad(frame_mask, (0, max(0, length - frame_mask.shape[1])))


def full_steps(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).all(2)[..., 0]
    frame_mask, heard = _as_long(frame_mask, heard)
    return frame_mask | heard


def first_token(frame_mask, audio_mask, *, audio_tokens):
    heard = audio_mask[:, ::audio_tokens]
    frame_mask, heard = _as_long(frame_mask, heard)
    return frame_mask | heard


def last_token(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens)[:, :, -1, 0]
    frame_mask, heard = _as_long(frame_mask, heard)
    return frame_mask | heard


def either_not_both(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).any(2)[..., 0]
    frame_mask, heard = _as_long(frame_mask, heard)
    return frame_mask ^ heard


def sound_only(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).any(2)[..., 0]
    return F.pad(heard, (0, max(0, frame_mask.shape[1] - heard.shape[1])))


def as_long_as_the_picture(frame_mask, audio_mask, *, audio_tokens):
    return step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)[:, : frame_mask.shape[1]]


def pooled(frame_mask, audio_mask, *, audio_tokens):  # right, but for a clip without sound
    heard = F.max_pool1d(audio_mask[:, None].float(), audio_tokens, ceil_mode=True)[:, 0] > 0
    frame_mask, heard = _as_long(frame_mask, heard)
    return frame_mask | heard


def padded_with_true(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).any(2)[..., 0]
    length = max(frame_mask.shape[1], heard.shape[1])
    return (F.pad(frame_mask, (0, length - frame_mask.shape[1]), value=True)
            | F.pad(heard, (0, length - heard.shape[1])))


def floor_mask(frame_mask, audio_mask, *, audio_tokens):
    whole = audio_mask.shape[1] // audio_tokens * audio_tokens
    return step_mask(frame_mask, audio_mask[:, :whole], audio_tokens=audio_tokens)


def padding_true(frame_mask, audio_mask, *, audio_tokens):
    return ~step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)


def summed(frame_mask, audio_mask, *, audio_tokens):
    return step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens).float()


def _halves(visual, audio, frame_mask, audio_mask, audio_tokens):
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)
    seen = pad_steps(visual, real.shape[1], visual.shape[2])
    heard = pad_steps(split_steps(audio, audio_tokens), real.shape[1], audio_tokens)
    return seen, heard, real


def audio_first(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    left, right = F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (seen.shape[-1], 0))
    return torch.cat([right, left], dim=2), real


def side_by_side(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    _, _, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    return synchronise(visual, audio, audio_tokens=audio_tokens), real


def same_features(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    left, right = F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (0, seen.shape[-1]))
    return torch.cat([left, right], dim=2), real


def swapped_halves(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    left, right = F.pad(seen, (heard.shape[-1], 0)), F.pad(heard, (0, seen.shape[-1]))
    return torch.cat([left, right], dim=2), real


def in_turns(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    seen, heard = F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (seen.shape[-1], 0))
    both = min(seen.shape[2], heard.shape[2])
    turns = torch.stack([seen[:, :, :both], heard[:, :, :both]], dim=3).flatten(2, 3)
    return torch.cat([turns, seen[:, :, both:], heard[:, :, both:]], dim=2), real


def in_turns_with_zeros(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    size = real.shape[1], max(seen.shape[2], heard.shape[2])
    left = F.pad(pad_steps(seen, *size), (0, heard.shape[-1]))
    right = F.pad(pad_steps(heard, *size), (seen.shape[-1], 0))
    return torch.stack([left, right], dim=3).flatten(2, 3), real


def zeroed_by_step(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    steps = no_mask(visual, audio, frame_mask, audio_mask, audio_tokens=audio_tokens)
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)
    return steps * real[..., None, None], real


def zeroed_by_token(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    visual = visual.masked_fill(~frame_mask[..., None, None], 0)
    audio = audio.masked_fill(~audio_mask[..., None], 0)
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)
    return no_mask(visual, audio, frame_mask, audio_mask, audio_tokens=audio_tokens), real


def one_width(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    width = max(seen.shape[-1], heard.shape[-1])
    return torch.cat([F.pad(s, (0, width - s.shape[-1])) for s in (seen, heard)], dim=2), real


def clip_by_stream(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    both = (F.pad(seen, (0, heard.shape[-1])).flatten(1, 2),
            F.pad(heard, (seen.shape[-1], 0)).flatten(1, 2))
    return torch.cat(both, dim=1).unflatten(1, (real.shape[1], -1)), real


def no_mask(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, _ = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    return torch.cat([F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (seen.shape[-1], 0))], dim=2)


def _needs_both(row):
    return {"audio", "video"} <= set(FAMILIES[row["family"]])


def _by_clip(rows, score, pick=max):
    shifts = sorted({row["shift"] for row in rows})
    def scored(clip, shift):
        return score([r for r in rows if r["clip"] == clip and r["shift"] == shift])

    return {clip: pick(shifts, key=lambda s: scored(clip, s))
            for clip in {row["clip"] for row in rows}}


def all_questions(rows):
    return _by_clip(rows, lambda part: sum(r["logp"] for r in part))


def least_likely(rows):
    return _by_clip([r for r in rows if _needs_both(r)], lambda part: sum(r["logp"] for r in part),
                    min)


def surest_question(rows):
    return _by_clip([r for r in rows if _needs_both(r)], lambda part: max(r["logp"] for r in part))


def least_sure_question(rows):
    return _by_clip([r for r in rows if _needs_both(r)], lambda part: min(r["logp"] for r in part))


def middle_question(rows):
    return _by_clip([r for r in rows if _needs_both(r)],
                    lambda part: statistics.median(r["logp"] for r in part))


def without_logs(rows):
    return _by_clip([r for r in rows if _needs_both(r)],
                    lambda part: math.prod(math.exp(r["logp"]) for r in part))


def added_without_logs(rows):
    return _by_clip([r for r in rows if _needs_both(r)],
                    lambda part: sum(math.exp(r["logp"]) for r in part))


def turned_round(rows):
    asked = [r for r in rows if _needs_both(r)]
    found = _by_clip(asked, lambda part: sum(r["logp"] for r in part))
    return {clip: -shift for clip, shift in found.items()}


def place_in_list(rows):
    shifts = sorted({row["shift"] for row in rows})
    asked = [r for r in rows if _needs_both(r)]
    found = _by_clip(asked, lambda part: sum(r["logp"] for r in part))
    return {clip: shifts.index(shift) for clip, shift in found.items()}


def one_for_all(rows):
    asked = [r for r in rows if _needs_both(r)]
    shifts = sorted({row["shift"] for row in rows})
    best = max(shifts, key=lambda s: sum(r["logp"] for r in asked if r["shift"] == s))
    return {row["clip"]: best for row in rows}


WRONG = {
    "split_steps": [(rest_lost, "is dropped"), (zeros_in_front, "before the audio"),
                    (one_step_too_many, "empty step"), (swapped, "swapped"),
                    (dealt_round, "neighbours"), (last_token_repeated, "pad with zeros"),
                    (float32_steps, "given float64 it returns float32"),
                    (joined_with_float32, "given bfloat16 it returns float32"),
                    (stacked, "0 steps of A tokens each")],
    "pad_steps": [(padded_in_front, "zeros come first"),
                  (new_steps_in_front, "new steps come first"),
                  (tokens_in_front, "after its last token"),
                  (features_padded, "counts axes from the last"),
                  (time_only, "each step needs P"), (tokens_only, "only the steps have grown"),
                  (too_much, "what is *missing*"), (copies, "copies of the last step and token"),
                  (last_step_repeated, "copies of the last one"),
                  (last_token_of_each_step_repeated, "copies of its last token"),
                  (sizes_swapped, "T and P are swapped"), (float32_zeros, "keep the dtype"),
                  (needs_a_frame, "missing stream")],
    "synchronise": [(sound_first, "visual, then audio"), (a_step_late, "one step late"),
                    (along_tokens, "along the features"), (shorter_stream, "*shorter* stream"),
                    (floor_steps, "not floor"), (positional_only, "TypeError"),
                    (along_tokens_as_they_are, "features: `dim=-1`"), (along_time, "2 T in all"),
                    (added, "were added"), (step_of_a, "a step has A tokens"),
                    (step_of_v, "a step has V tokens"), (float32_result, "keep the dtype")],
    "step_mask": [(both_needed, "one of the two is enough"),
                  (picture_only, "only the frames count"), (full_steps, "not `all`"),
                  (first_token, "first token of each step"), (padded_with_true, "False, not True"),
                  (floor_mask, "is lost"), (padding_true, "mask is inverted"), (summed, "booleans"),
                  (last_token, "last token of each step"), (either_not_both, "not with `^`"),
                  (sound_only, "only the audio counts"),
                  (as_long_as_the_picture, "ends with the frames"),
                  (pooled, "without audio (L = 0): it raised")],
    "interleave": [(audio_first, "come first in each step"), (side_by_side, "as in the paper"),
                   (same_features, "to the right half"), (one_width, "share one width"),
                   (clip_by_stream, "step by step"), (no_mask, "is missing"),
                   (swapped_halves, "halves are swapped"), (in_turns, "tokens alternate; first"),
                   (in_turns_with_zeros, "alternate, padded with zeros"),
                   (zeroed_by_step, "steps that are not real were"),
                   (zeroed_by_token, "frames and audio tokens that")],
    "recover_offset": [(all_questions, "about one stream"), (least_likely, "*least* likely"),
                       (surest_question, "one single question"), (without_logs, "without logs"),
                       (turned_round, "sign is wrong"), (place_in_list, "index of the shift"),
                       (one_for_all, "each clip has its own"),
                       (least_sure_question, "*least* sure"),
                       (middle_question, "its median answer"),
                       (added_without_logs, "probabilities were added")]
}
