"""The model: batching, missing streams, the loss, and error messages."""

import pytest
import torch
import torch.nn.functional as F
from conftest import mixed_clips, tiny_clip, tiny_config, tiny_model, tiny_processor

from favor_mini import FavorForConditionalGeneration, clip_from_arrays
from favor_mini.losses import diversity_loss

QUESTIONS = ["how many shapes were seen?", "what was heard?",
             "what came first, the bell or the drum?"]
ANSWERS = ["2", "the bell", "yes"]


def asked(clips):
    return [QUESTIONS[i % 3] for i in range(len(clips))], [ANSWERS[i % 3] for i
                                                           in range(len(clips))]


def score(model, batch):
    """Each example's mean cross-entropy over its own answer."""
    logits, labels = model(**batch).logits[:, :-1], batch["labels"][:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    return losses.sum(1) / (labels != -100).sum(1)


# A batch and its clips one by one.

@torch.no_grad()
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_padded_batch_equals_its_clips_one_by_one(conditioned):
    config = tiny_config(question_conditioning=conditioned)
    model, processor = tiny_model(question_conditioning=conditioned), tiny_processor(config)
    clips = list(mixed_clips().values())
    questions, answers = asked(clips)
    batch = processor(clips, questions, answers)
    together, losses = model(**batch), score(model, batch)
    prompts = processor(clips, questions)
    written = processor.decode(model.generate(**prompts, max_new_tokens=6))
    assert len(set(written)) > 1
    for i, clip in enumerate(clips):
        single = processor([clip], [questions[i]], [answers[i]])
        alone = model(**single)
        length, windows = single["input_ids"].shape[1], alone.queries.shape[1]
        assert together.window_mask[i].tolist() == [w < windows for w
                                                    in range(together.window_mask.shape[1])]
        torch.testing.assert_close(together.queries[i, :windows], alone.queries[0], atol=2e-5,
                                   rtol=1e-4)
        torch.testing.assert_close(together.logits[i, :length], alone.logits[0], atol=5e-5,
                                   rtol=1e-4)
        torch.testing.assert_close(losses[i], score(model, single)[0], atol=5e-5, rtol=1e-4)
        asks = processor([clip], [questions[i]])
        assert processor.decode(model.generate(**asks, max_new_tokens=6)) == [written[i]]


@torch.no_grad()
def test_a_conversation_equals_its_questions_one_by_one(model, processor):
    clips = list(mixed_clips().values())
    media = [processor.media(clip) for clip in clips]
    turns = list(zip(QUESTIONS, ANSWERS, strict=True))

    def answered(turns, turn):
        """Logits of every token that belongs to that turn, clip by clip."""
        batch = processor.collate([{**m, "turns": turns} for m in media])
        logits = model(**batch).logits
        return [row[own] for row, own in zip(logits, batch["turn_ids"] == turn, strict=True)]

    # Later turns begin with another word ("USER:"), so the third is compared with itself as second.
    for alone, together in ((answered(turns[:1], 1), answered(turns, 1)),
                            (answered(turns[1:], 2), answered(turns, 3))):
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one, other, atol=5e-5, rtol=1e-4)


@torch.no_grad()
def test_padding_left_or_right_scores_alike(model, processor):
    clips = list(mixed_clips().values())
    questions, _ = asked(clips)
    left = processor(clips, questions)
    length = left["attention_mask"].sum(1)
    right = {**left, "input_ids": torch.zeros_like(left["input_ids"]),
             "attention_mask": torch.zeros_like(left["input_ids"])}
    for i, n in enumerate(length):
        right["input_ids"][i, :n], right["attention_mask"][i, :n] = left["input_ids"][i, -n:], 1
    found, wanted = model(**left).logits, model(**right).logits
    for i, n in enumerate(length):
        torch.testing.assert_close(found[i, -n:], wanted[i, :n], atol=5e-5, rtol=1e-4)


@torch.no_grad()
def test_generate_continues_with_the_likeliest_token(model, processor):
    """Greedy text equals running the whole sequence again for every token, without a cache."""
    clips = [tiny_clip(9, 0.9), tiny_clip(0, 0.3)]
    batch = processor(clips, QUESTIONS[:2])
    written = model.generate(**batch, max_new_tokens=5, eos_token_id=None)
    for _ in range(5):
        logits = model(**batch).logits[:, -1]
        logits[:, model.config.placeholder_id] = -torch.inf
        batch["input_ids"] = torch.cat([batch["input_ids"], logits.argmax(-1, keepdim=True)], 1)
        batch["attention_mask"] = F.pad(batch["attention_mask"], (0, 1), value=1)
    assert torch.equal(written, batch["input_ids"][:, -5:])


# Missing streams and padding.

@torch.no_grad()
def test_without_sound_equals_sound_zeroed(model, processor):
    """The same clip with its projected audio features set to zero, or masked."""
    batch = processor([tiny_clip(8, 0.8)], QUESTIONS[:1])
    silent = processor([tiny_clip(8)], QUESTIONS[:1])
    hook = model.audio_projection.register_forward_hook(lambda module, inputs,
                                                        output: torch.zeros_like(output))
    zeroed = model(**batch).logits
    hook.remove()
    masked = model(**{**batch, "audio_mask": torch.zeros_like(batch["audio_mask"])}).logits
    without = model(**silent).logits
    torch.testing.assert_close(zeroed, without, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(masked, without, atol=1e-5, rtol=1e-5)
    assert (model(**batch).logits - without).abs().max() > 1e-2, "the sound should matter"


@torch.no_grad()
def test_without_picture_equals_picture_zeroed(model, processor):
    clip = tiny_clip(8, 0.8)
    batch = processor([clip], QUESTIONS[:1])
    blind = processor([clip_from_arrays(waveform=clip.waveform)], QUESTIONS[:1])
    masked = model(**{**batch, "frame_mask": torch.zeros_like(batch["frame_mask"])}).logits
    torch.testing.assert_close(masked, model(**blind).logits, atol=1e-5, rtol=1e-5)
    assert (model(**batch).logits - masked).abs().max() > 1e-2, "the picture should matter"


@torch.no_grad()
def test_the_content_of_padding_does_not_matter(model, processor):
    clips = list(mixed_clips().values())
    batch = processor(clips, asked(clips)[0])
    visual, audio = model.encode(batch["pixel_values"], batch["input_features"])
    text = {k: batch[k] for k in ("input_ids", "attention_mask", "frame_mask", "audio_mask")}
    clean = model(**text, visual_features=visual, audio_features=audio).logits
    visual[~batch["frame_mask"]], audio[~batch["audio_mask"]] = 1e4, torch.nan
    assert torch.equal(model(**text, visual_features=visual, audio_features=audio).logits, clean)


@torch.no_grad()
def test_features_computed_before_give_the_same_as_media(model, processor):
    clips = list(mixed_clips().values())
    batch = processor(clips, asked(clips)[0])
    visual, audio = model.encode(batch["pixel_values"], batch["input_features"])
    media = []
    for i, clip in enumerate(clips):
        m = processor.media(clip)
        media.append({"num_frames": m["num_frames"], "audio_tokens": m["audio_tokens"],
                      "visual_features": visual[i, : m["num_frames"]],
                      "audio_features": audio[i, : m["audio_tokens"]]})
    torch.testing.assert_close(model(**processor(media, asked(clips)[0])).logits,
                               model(**batch).logits,
                               atol=5e-5, rtol=1e-4)


@torch.no_grad()
def test_features_a_step_later_are_synchronised_a_step_later(model):
    """Both streams' features are moved by one time step; the windows' inputs move with them."""
    kept = []
    hook = model.qformer.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    visual, audio = torch.randn(1, 7, 3, 12), torch.randn(1, 35, 16)
    ones = torch.ones(1, 8, dtype=torch.bool), torch.ones(1, 40, dtype=torch.bool)
    late = ones[0].clone(), ones[1].clone()
    late[0][:, :1], late[1][:, :5] = False, False
    model.connect(visual, audio, ones[0][:, :7], ones[1][:, :35])
    model.connect(F.pad(visual, (0, 0, 0, 0, 1, 0)), F.pad(audio, (0, 0, 5, 0)), *late)
    hook.remove()
    # [8 steps, P, D]
    now, later = (windows.flatten(0, 1).unflatten(0, (-1, 5)) for windows in kept)
    torch.testing.assert_close(later[1:], now[:7])
    assert not later[0].any()


@torch.no_grad()
def test_no_window_is_computed_for_padding_that_all_clips_share(model, processor):
    """Whisper pads 0.5 s of sound to its chunk of 2 s: twenty steps, of which five are real."""
    assert model(**processor([tiny_clip(0, 0.5)], QUESTIONS[:1])).queries.shape[1] == 2


@torch.no_grad()
def test_text_alone_is_the_language_models_own(model, processor):
    ids = processor.tokenizer("how many?", return_tensors="pt").input_ids
    out = model(ids, labels=ids)
    torch.testing.assert_close(out.logits, model.language_model(ids).logits)
    assert out.queries is None and out.diversity is None and torch.equal(out.loss,
                                                                         out.cross_entropy)


# The loss and the attention maps.

def test_the_loss_is_cross_entropy_plus_weighted_diversity(processor):
    model = tiny_model(diversity_weight=0.7)
    clips = list(mixed_clips().values())
    out = model(**processor(clips, *asked(clips)))
    real = [window for clip, mask in zip(out.queries, out.window_mask, strict=True)
            for window in clip[mask]]
    torch.testing.assert_close(out.diversity, diversity_loss(torch.stack(real)))
    assert out.loss.item() == pytest.approx(out.cross_entropy.item() + 0.7 * out.diversity.item(),
                                            rel=1e-6)
    labels = processor(clips, *asked(clips))["labels"][:, 1:]
    wanted = F.cross_entropy(out.logits[:, :-1][labels != -100], labels[labels != -100])
    torch.testing.assert_close(out.cross_entropy, wanted)


@torch.no_grad()
def test_maps_are_returned_on_request_and_change_nothing(model, processor):
    batch = processor([tiny_clip(9, 0.9), tiny_clip(4)], QUESTIONS[:2])
    plain, out = model(**batch), model(**batch, return_maps=True)
    assert plain.maps is None and torch.equal(plain.logits, out.logits)
    windows = out.window_mask.numel()
    assert [m.shape for m in out.maps.causal] == [(windows, 4, 20, 20)] * 2
    assert [m.shape for m in out.maps.cross] == [(windows, 4, 3, 20)] * 2
    later = torch.arange(20)[:, None] // 5 < torch.arange(20)[None] // 5
    assert all(not m[:, :, later].any() for m in out.maps.causal), "the maps ignore the mask"


# Error messages.

def test_wrong_shapes_raise(model, processor):
    batch = processor([tiny_clip(4, 0.4)], QUESTIONS[:1])

    def raises(match, **changes):
        with pytest.raises(ValueError, match=match):
            model(**{**batch, **changes})

    raises(r"pixel_values must be \(B, T, channels=3, H=16, W=16\), found \(1, 4, 3, 8, 8\)",
         pixel_values=torch.zeros(1, 4, 3, 8, 8))
    raises(r"input_features must be \(B, C, mels=16, mel_frames=200\), found \(1, 1, 80, 200\)",
         input_features=torch.zeros(1, 1, 80, 200))
    raises(r"frame_mask must be \(B=1, length=4\), found \(1, 5\)", frame_mask=torch.ones(1, 5))
    raises(r"audio_mask must be \(B=1, length=100\)", audio_mask=torch.ones(1, 20))
    raises(r"hold \[3\] placeholders \(token 6\) for \[9\] output queries",
         audio_mask=torch.arange(100)[None] < 60)
    raises("question_conditioning=False, but question_ids are given",
         question_ids=torch.ones(1, 3, dtype=torch.long))
    swapped = processor([tiny_clip(4), tiny_clip(9)], QUESTIONS[:2])
    swapped["frame_mask"] = swapped["frame_mask"].flip(0)  # right in sum, wrong clip by clip
    with pytest.raises(ValueError, match=r"hold \[3, 9\] placeholders .* for \[9, 3\]"):
        model(**swapped)


@pytest.mark.parametrize("changes, match", [
    ({"frame_rate": 3.0}, "frame_rate=3.0 does not divide 50"),
    ({"window_frames": 0}, "window_frames=0: .* at least 1"),
    ({"num_queries": 5.0}, "num_queries=5.0: it must be an integer")])
def test_invalid_sizes_raise(changes, match):
    with pytest.raises(ValueError, match=match):
        tiny_config(**changes)


def test_an_unknown_mask_raises_when_the_model_is_built():
    with pytest.raises(ValueError, match="no attention 'diagonal'"):
        FavorForConditionalGeneration(tiny_config(attention="diagonal"))


def test_media_and_features_in_one_batch_raise(model, processor):
    batch = processor([tiny_clip(5, 0.5)], ["what was seen?"])
    features, _ = model.encode(batch["pixel_values"])
    with pytest.raises(ValueError, match="encode all of them"):
        model(**batch, visual_features=features)


def test_generate_raises_for_answers_and_for_padding_on_the_right(model, processor):
    clips, questions = [tiny_clip(5, 0.5), tiny_clip(9, 0.9)], ["what was seen?", "what was heard?"]
    with pytest.raises(ValueError, match="padded on the left, found labels.*without answers"):
        model.generate(**processor(clips, questions, ["bell", "bell"]))
    asked = processor(clips, questions)
    asked["attention_mask"] = asked["attention_mask"].flip(1)
    with pytest.raises(ValueError, match="padded on the left, found padding at the right end"):
        model.generate(**asked)


def test_turns_are_isolated_with_every_attention_implementation(processor):
    """Eager attention adds the mask to the scores: a boolean one would mask nothing."""
    rows = [{**processor.media(tiny_clip(9, 0.9)),
             "turns": [("what was seen?", "bell"), ("what was heard?", "drum")]}]
    batch = processor.collate(rows)
    fused, plain = tiny_model(), tiny_model()
    plain.language_model.set_attn_implementation("eager")
    torch.testing.assert_close(plain(**batch).logits, fused(**batch).logits, atol=1e-4, rtol=1e-4)


def test_an_empty_clip_has_no_placeholder(processor):
    assert processor.num_placeholders({"num_frames": 0, "audio_tokens": 0}) == 0


@pytest.mark.parametrize("slot", ["sync", "windows", "connector", "diversity"])
def test_an_unknown_part_raises_when_the_model_is_built(slot):
    with pytest.raises(ValueError, match=f"no {slot} 'typo'"):
        FavorForConditionalGeneration(tiny_config(**{slot: "typo"}))
