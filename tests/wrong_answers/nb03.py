"""Wrong answers to the exercises of notebook 03."""

import math

import torch
import torch.nn.functional as F

from favor_mini.sync import pad_steps, split_steps, step_mask, synchronise
from favor_mini.world.questions import FAMILIES


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
    return torch.cat([audio, audio[:, -1:].repeat(1, missing, 1)], dim=1).unflatten(1, (-1, audio_tokens))


def padded_in_front(stream, num_frames, step_tokens):
    return F.pad(stream, (0, 0, step_tokens - stream.shape[2], 0, num_frames - stream.shape[1], 0))


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


def shorter_stream(visual, audio, *, audio_tokens):
    steps = split_steps(audio, audio_tokens)
    return torch.cat(_both(visual, audio, audio_tokens), dim=-1)[:, : min(visual.shape[1], steps.shape[1])]


def floor_steps(visual, audio, *, audio_tokens):
    whole = audio.shape[1] // audio_tokens * audio_tokens
    return synchronise(visual, audio[:, :whole], audio_tokens=audio_tokens)


def positional_only(visual, audio, tokens):
    return synchronise(visual, audio, audio_tokens=tokens)


def both_needed(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).any(2)[..., 0]
    length = max(frame_mask.shape[1], heard.shape[1])
    return F.pad(frame_mask, (0, length - frame_mask.shape[1])) & F.pad(heard, (0, length - heard.shape[1]))


def picture_only(frame_mask, audio_mask, *, audio_tokens):
    length = -(-audio_mask.shape[1] // audio_tokens)
    return F.pad(frame_mask, (0, max(0, length - frame_mask.shape[1])))


def full_steps(frame_mask, audio_mask, *, audio_tokens):
    heard = split_steps(audio_mask[..., None], audio_tokens).all(2)[..., 0]
    length = max(frame_mask.shape[1], heard.shape[1])
    return F.pad(frame_mask, (0, length - frame_mask.shape[1])) | F.pad(heard, (0, length - heard.shape[1]))


def first_token(frame_mask, audio_mask, *, audio_tokens):
    heard = audio_mask[:, ::audio_tokens]
    length = max(frame_mask.shape[1], heard.shape[1])
    return F.pad(frame_mask, (0, length - frame_mask.shape[1])) | F.pad(heard, (0, length - heard.shape[1]))


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
    return torch.cat([F.pad(heard, (seen.shape[-1], 0)), F.pad(seen, (0, heard.shape[-1]))], dim=2), real


def side_by_side(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    _, _, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    return synchronise(visual, audio, audio_tokens=audio_tokens), real


def same_features(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    return torch.cat([F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (0, seen.shape[-1]))], dim=2), real


def one_width(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    width = max(seen.shape[-1], heard.shape[-1])
    return torch.cat([F.pad(s, (0, width - s.shape[-1])) for s in (seen, heard)], dim=2), real


def clip_by_stream(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, real = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    both = F.pad(seen, (0, heard.shape[-1])).flatten(1, 2), F.pad(heard, (seen.shape[-1], 0)).flatten(1, 2)
    return torch.cat(both, dim=1).unflatten(1, (real.shape[1], -1)), real


def no_mask(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    seen, heard, _ = _halves(visual, audio, frame_mask, audio_mask, audio_tokens)
    return torch.cat([F.pad(seen, (0, heard.shape[-1])), F.pad(heard, (seen.shape[-1], 0))], dim=2)


def _needs_both(row):
    return {"audio", "video"} <= set(FAMILIES[row["family"]])


def _by_clip(rows, score, pick=max):
    shifts = sorted({row["shift"] for row in rows})
    return {clip: pick(shifts, key=lambda s: score([r for r in rows if r["clip"] == clip and r["shift"] == s]))
            for clip in {row["clip"] for row in rows}}


def all_questions(rows):
    return _by_clip(rows, lambda part: sum(r["logp"] for r in part))


def least_likely(rows):
    return _by_clip([r for r in rows if _needs_both(r)], lambda part: sum(r["logp"] for r in part), min)


def surest_question(rows):
    return _by_clip([r for r in rows if _needs_both(r)], lambda part: max(r["logp"] for r in part))


def without_logs(rows):
    return _by_clip([r for r in rows if _needs_both(r)], lambda part: math.prod(math.exp(r["logp"]) for r in part))


def turned_round(rows):
    asked = [r for r in rows if _needs_both(r)]
    return {clip: -shift for clip, shift in _by_clip(asked, lambda part: sum(r["logp"] for r in part)).items()}


def place_in_list(rows):
    shifts = sorted({row["shift"] for row in rows})
    asked = [r for r in rows if _needs_both(r)]
    return {clip: shifts.index(s) for clip, s in _by_clip(asked, lambda part: sum(r["logp"] for r in part)).items()}


def one_for_all(rows):
    asked = [r for r in rows if _needs_both(r)]
    shifts = sorted({row["shift"] for row in rows})
    best = max(shifts, key=lambda s: sum(r["logp"] for r in asked if r["shift"] == s))
    return {row["clip"]: best for row in rows}


WRONG = {
    "split_steps": [(rest_lost, "thrown away"), (zeros_in_front, "before the sound"), (one_step_too_many, "empty step"),
                    (swapped, "swapped"), (dealt_round, "neighbours"), (last_token_repeated, "silence is zeros")],
    "pad_steps": [(padded_in_front, "in front"), (features_padded, "counts axes from the last"), (time_only, "each step needs P"),
                  (tokens_only, "only the steps have grown"), (too_much, "what is *missing*"), (copies, "not copies"),
                  (needs_a_frame, "missing stream")],
    "synchronise": [(sound_first, "picture, then sound"), (a_step_late, "one step late"), (along_tokens, "along the features"),
                    (shorter_stream, "*shorter* stream"), (floor_steps, "not floor"), (positional_only, "TypeError")],
    "step_mask": [(both_needed, "one of the two is enough"), (picture_only, "only the picture counts"), (full_steps, "not `all`"),
                  (first_token, "one token of each step"), (padded_with_true, "False, not True"), (floor_mask, "is lost"),
                  (padding_true, "True where a step is padding"), (summed, "booleans")],
    "interleave": [(audio_first, "come first in each step"), (side_by_side, "side by side, as in the paper"),
                   (same_features, "behind the picture's"), (one_width, "squeezed"),
                   (clip_by_stream, "step by step"), (no_mask, "is missing")],
    "recover_offset": [(all_questions, "one stream answers"), (least_likely, "*least* likely"), (surest_question, "one single question"),
                       (without_logs, "without logs"), (turned_round, "turned round"), (place_in_list, "place of the shift"),
                       (one_for_all, "each clip has its own")],
}
