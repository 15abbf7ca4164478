"""From clips and questions to tensors: prompts, padding, masks and still images."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import mixed_clips, tiny_clip, tiny_config, tiny_processor
from transformers import AutoTokenizer

from favor_mini import FavorProcessor, clip_from_arrays
from favor_mini.processor import ProcessorSettings
from favor_mini.world.tokenizer import build_tokenizer

AV = 6  # the placeholder's token id


def test_the_prompt_is_the_papers(processor):
    assert processor.prompt("how many?", 2) == "USER: <Img><av><av></Img> how many?\nASSISTANT:"


@pytest.mark.parametrize("frames, seconds, windows", [
    (9, 0.9, 3), (22, 2.2, 6), (0, 0.73, 2), (1, 0, 1), (1, 0.5, 2), (3, 1.1, 3), (8, 0.15, 2),
    (4, 0.4, 1), (4, 0.41, 2)])
def test_a_clip_gets_n_placeholders_for_every_window(processor, frames, seconds, windows):
    """A window is 4 frames = 0.4 s and has 3 queries."""
    batch = processor([tiny_clip(frames, seconds)], ["how many?"])
    assert (batch["input_ids"] == AV).sum() == windows * 3


def test_a_still_image_with_sound_is_repeated_at_every_step(processor):
    clip = tiny_clip(1, 0.52)
    media = processor.media(clip)
    assert media["num_frames"] == 6 and len(media["pixel_values"]) == 6
    assert (media["pixel_values"] == processor.pixels(clip.frames)).all()
    assert processor.media(tiny_clip(1, 0))["num_frames"] == 1


def test_pixels_are_normalised_as_for_clip(processor):
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[..., 0] = 255
    red, green, _ = processor.pixels(frames)[0, :, 3, 4].tolist()
    assert red == pytest.approx((1 - 0.48145466) / 0.26862954)
    assert green == pytest.approx(-0.4578275 / 0.26130258)
    assert processor.pixels(np.full((2, 48, 32, 3), 128, np.uint8)).shape == (2, 3, 16, 16)


def test_long_sound_is_split_into_independent_chunks(processor):
    waveform = tiny_clip(0, 4.5).waveform
    mel = processor.mel(waveform)
    assert mel.shape == (3, 16, 200)
    for i in range(3):
        torch.testing.assert_close(mel[i : i + 1],
                                   processor.mel(waveform[i * 32000 : (i + 1) * 32000]))


def test_masks_are_true_where_tokens_are_real(processor):
    clips = mixed_clips()
    batch = processor(list(clips.values()), ["how many?"] * len(clips))
    steps = dict(zip(clips, batch["frame_mask"].sum(1).tolist(), strict=True))
    assert steps == {"video and sound": 9, "long": 22, "sound alone": 0, "image alone": 1,
                     "image and sound": 5,
                     "video alone": 6, "sound longer": 3, "video longer": 8}
    sound = dict(zip(clips, batch["audio_mask"].sum(1).tolist(), strict=True))
    assert sound == {"video and sound": 45, "long": 110, "sound alone": 37, "image alone": 0,
                     "image and sound": 25,
                     "video alone": 0, "sound longer": 55, "video longer": 8}
    assert batch["input_features"].shape == (8, 2, 16, 200)
    assert batch["audio_mask"].shape == (8, 200)
    assert not batch["pixel_values"][~batch["frame_mask"]].any()


def test_prompts_are_padded_left_and_training_batches_right(processor):
    clips, questions = [tiny_clip(4), tiny_clip(9)], ["how many?", "how many?"]
    asked = processor(clips, questions)
    assert asked["attention_mask"][0, 0] == 0 and asked["attention_mask"][:, -1].all()
    training = processor(clips, questions, ["2", "bell"])
    assert training["attention_mask"][0, -1] == 0 and training["attention_mask"][:, 0].all()
    assert (training["labels"][training["attention_mask"] == 0] == -100).all()


def test_only_the_answers_and_their_ends_carry_labels(processor):
    made = processor.dialogue("", [("how many?", "2"), ("how many?", "bell")])
    ids, labels = made["ids"], made["labels"]
    kept = [i for i, label in zip(ids, labels, strict=True) if label != -100]
    assert processor.tokenizer.convert_ids_to_tokens(kept) == ["2", "</s>", "bell", "</s>"]
    assert [label for label in labels if label != -100] == kept
    assert ids.count(processor.tokenizer.bos_token_id) == 1


def test_the_clip_is_turn_0_and_each_question_with_its_answer_a_turn(processor):
    made = processor.dialogue("<av><av>", [("how many?", "2"), ("who?", "bell")])
    words = processor.tokenizer.convert_ids_to_tokens(made["ids"])
    turns = [" ".join(w for w, t in zip(words, made["turn_ids"], strict=True) if t == turn) for turn
             in range(3)]
    assert turns == ["<s> USER: <Img> <av> <av> </Img>", "how many ? ASSISTANT: 2 </s>",
                     "USER: who ? ASSISTANT: bell </s>"]
    batch = processor.pad_dialogues([made, processor.dialogue("<av>", [("who?", "2")])])
    assert batch["turn_ids"][1].tolist() == [0] * 5 + [1] * 5 + [-1] * (len(words) - 10)
    assert (batch["labels"][batch["turn_ids"] == -1] == -100).all()


def test_a_training_prompt_begins_with_the_prompt_of_generation(processor):
    clip = tiny_clip(4)
    asked = processor([clip], ["how many?"])["input_ids"][0].tolist()
    training = processor([clip], ["how many?"], ["2"])["input_ids"][0].tolist()
    assert training[: len(asked)] == asked and len(training) == len(asked) + 2


def test_question_ids_need_question_conditioning(processor):
    assert "question_ids" not in processor([tiny_clip(4)] * 2, ["how many?", "who?"])
    conditioned = tiny_processor(tiny_config(question_conditioning=True))
    batch = conditioned([tiny_clip(4)] * 2, ["how many shapes?", "who?"])
    first, second = (conditioned.tokenizer(q).input_ids for q in ("how many shapes?", "who?"))
    assert batch["question_ids"].tolist() == [first, second + [0] * (len(first) - len(second))]
    assert batch["question_mask"].sum(1).tolist() == [len(first), len(second)]
    long = conditioned([tiny_clip(4)], ["how many? " * 40])
    assert long["question_ids"].shape[1] == 32  # no more than the Q-Former has positions for
    trained = conditioned.collate([{**conditioned.media(tiny_clip(4)),
                                "turns": [("who?", "2"), ("how many?", "2")]}])
    assert trained["question_ids"].tolist() == [second]


def test_saved_and_loaded_gives_the_same_batch(processor, tmp_path):
    settings = dataclasses.replace(processor.settings, question_conditioning=True)
    other = AutoTokenizer.from_pretrained(_saved(build_tokenizer(), tmp_path / "other"))
    kept = FavorProcessor(processor.tokenizer, processor.feature_extractor, settings, other)
    kept.save_pretrained(tmp_path / "saved")
    loaded = FavorProcessor.from_pretrained(tmp_path / "saved")
    assert loaded.settings == settings and loaded.qformer_tokenizer is not loaded.tokenizer
    clips = list(mixed_clips().values())
    wanted, found = (p(clips, ["what was heard?"] * len(clips)) for p in (kept, loaded))
    assert wanted.keys() == found.keys()
    for name in wanted:
        torch.testing.assert_close(wanted[name], found[name])
    assert not list((tmp_path / "saved").glob(".*part"))


def _saved(tokenizer, folder):
    tokenizer.save_pretrained(folder)
    return folder


def test_settings_follow_the_config():
    config = tiny_config()
    settings = ProcessorSettings.from_config(config)
    assert (settings.image_size, settings.frame_rate, settings.window_frames,
            settings.num_queries) == (16, 10.0, 4, 3)
    assert settings.audio_tokens == config.audio_tokens == 5


def test_invalid_inputs_raise(processor, tmp_path):
    with pytest.raises(ValueError, match="48000 samples per second, the encoder needs 16000"):
        processor.media(clip_from_arrays(waveform=np.zeros(100, np.float32), sampling_rate=48000))
    for rate in (2.0, 40.0):  # the frames would be ahead of the sound, or behind it
        frames = np.zeros((60, 16, 16, 3), np.uint8)
        with pytest.raises(ValueError, match="were not read at 10.0 frames per second"):
            processor.media(clip_from_arrays(frames=frames, frame_rate=rate))
    with pytest.raises(ValueError, match=r"frames must be \(T, H, W, 3\) uint8"):
        processor.pixels(np.zeros((2, 16, 16, 3), np.float32))
    with pytest.raises(OSError, match=r"holds no favor_processor.json"):
        FavorProcessor.from_pretrained(tmp_path)
    plain = build_tokenizer().__class__(tokenizer_object=_without_placeholder(), eos_token="</s>")
    with pytest.raises(ValueError, match="does not know the placeholder <av>"):
        FavorProcessor(plain, processor.feature_extractor)


def _without_placeholder():
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))


def test_an_excerpt_of_a_file_is_accepted(processor):
    from favor_mini import data_path, read_clip

    part = read_clip(data_path("clips", "clip_05.mp4"), frame_rate=processor.settings.frame_rate,
                     start=5, end=8)
    assert processor.media(part)["num_frames"] == len(part.frames) == 30
