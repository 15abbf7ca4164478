"""Encoders of every family: the features of transformers' own classes, joined, trained, saved."""

import re
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import settle, tiny_clip, tiny_config
from safetensors.torch import load_file, save_file
from tiny_parts import AUDIO, IMAGE_SIZE, VISION, write_parts, write_vision
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    Siglip2VisionConfig,
    ViTConfig,
    Wav2Vec2FeatureExtractor,
)

from favor_mini import FavorConfig, FavorForConditionalGeneration, FavorProcessor
from favor_mini.data.features import encode_media
from favor_mini.families import audio_field, audio_hop, audio_tokens_per_step
from favor_mini.media.clip import clip_from_arrays

SIZES = {"frame_rate": 10.0, "window_frames": 4, "num_queries": 3, "lora_rank": 2,
         "placeholder_id": 6, "audio_width": 8, "qformer_width": 16, "qformer_heads": 4,
         "qformer_hidden": 24}
POOLED = ("clip", "clip-vision", "siglip", "dinov2")
FAMILIES = [(audio, "clip") for audio in AUDIO] + [
    ("wav2vec2" if vision == "dinov2" else "whisper", vision) for vision in VISION
    if vision != "clip"]


@pytest.fixture(scope="module")
def join(tmp_path_factory):
    """Join families; the same once more for the next test."""
    made = {}

    def join(audio: str, vision: str):
        if (audio, vision) not in made:
            folders, models = write_parts(tmp_path_factory.mktemp("parts"), audio=audio,
                                          vision=vision)
            tokens = {"visual_tokens": 4} if vision in POOLED else {}
            model = FavorForConditionalGeneration.from_parts(**folders, **SIZES, **tokens)
            processor = FavorProcessor.from_parts(model.config, **folders)
            made[audio, vision] = folders, models, model, processor
        return made[audio, vision]

    return join


def sound(seconds: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    return (0.5 + 0.2 * rng.standard_normal(round(16000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("vision", VISION)
@torch.no_grad()
def test_visual_features_are_those_of_transformers_own_class(join, vision):
    folders, models, joined, processor = join(*next(f for f in FAMILIES if f[1] == vision))
    size = IMAGE_SIZE.get(vision, 16)
    frames = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    pixels = processor.pixels(frames)  # of the tower's size: no resizing, which differs
    reader = AutoImageProcessor.from_pretrained(folders["vision"])
    wanted = reader(list(frames), do_resize=False, do_center_crop=False, return_tensors="pt")
    torch.testing.assert_close(pixels, wanted.pixel_values, atol=1e-5, rtol=1e-5)
    found, _ = joined.encode(pixels[None])
    source = models["vision"]
    if vision in ("instructblip", "blip-2"):
        patches = source.vision_model(pixels).last_hidden_state
        queries = source.query_tokens.expand(3, -1, -1)
        no_question = {"input_ids": None} if vision == "instructblip" else {}
        wanted = source.qformer(query_embeds=queries, encoder_hidden_states=patches, **no_question
                                ).last_hidden_state
    else:
        tower = getattr(source, "vision_model", source)
        tokens = tower(pixels).last_hidden_state  # with a class token, but for SigLIP
        side = size // 4
        grid = tokens if vision == "siglip" else tokens[:, 1:]
        grid = grid.reshape(3, side, side, -1)
        rows, columns = grid.split(side // 2, 1), (0, side // 2)
        wanted = torch.stack([row[:, :, c : c + side // 2].mean((1, 2))
                              for row in rows for c in columns], 1)
    torch.testing.assert_close(found[0], wanted, atol=1e-5, rtol=1e-5)
    assert found.shape[2:] == (joined.config.visual_tokens, joined.config.visual_width)


@pytest.mark.parametrize("audio", AUDIO[1:])
@torch.no_grad()
def test_audio_features_are_those_of_transformers_own_class(join, audio):
    folders, models, joined, processor = join(audio, "clip")
    wave = sound(1.01)
    media = processor.media(clip_from_arrays(waveform=wave, sampling_rate=16000))
    _, found = joined.encode(input_features=media["input_features"][None],
                             audio_mask=processor.pad_media([media])["audio_mask"])
    extractor = AutoFeatureExtractor.from_pretrained(folders["audio"])
    values = extractor(wave, sampling_rate=16000, return_tensors="pt").input_values
    values = F.pad(values, (0, 320 * 50 + 400 - len(wave)))  # 51 tokens, the last one padded
    source = getattr(models["audio"], "wav2vec2", models["audio"])
    wanted = source(values).last_hidden_state
    assert media["audio_tokens"] == wanted.shape[1] == 51
    torch.testing.assert_close(found[:, :51], wanted, atol=1e-5, rtol=1e-5)
    assert not found[:, 51:].any()


@pytest.mark.parametrize("audio", AUDIO[1:])
@pytest.mark.parametrize("samples", [1, 320, 321, 48001])
@torch.no_grad()
def test_every_20_ms_of_sound_have_one_token(join, audio, samples):
    """The convolutions alone lose tokens: 49 for a second, none for 20 ms."""
    joined, processor = join(audio, "clip")[2:]
    media = processor.media(clip_from_arrays(waveform=sound(samples / 16000),
                                             sampling_rate=16000))
    features = encode_media(joined, processor, [media])[0]["audio_features"]
    assert len(features) == media["audio_tokens"] == -(-samples // 320)
    assert features.float().abs().sum(1).min() > 0


@pytest.mark.parametrize("audio", AUDIO[1:])
@torch.no_grad()
def test_audio_tokens_do_not_depend_on_the_batch(join, audio):
    joined, processor = join(audio, "clip")[2:]
    clips = [clip_from_arrays(waveform=sound(s, i), sampling_rate=16000)
             for i, s in enumerate((0.3, 2.0, 0.7))]
    media = [processor.media(clip) for clip in clips]
    batch = processor.pad_media(media)
    _, together = joined.encode(input_features=batch["input_features"],
                                audio_mask=batch["audio_mask"])
    for i, one in enumerate(media):
        alone = processor.pad_media([one])
        _, wanted = joined.encode(input_features=alone["input_features"],
                                  audio_mask=alone["audio_mask"])
        count = one["audio_tokens"]
        torch.testing.assert_close(together[i, :count], wanted[0, :count], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_long_sound_is_encoded_in_chunks_of_the_settings(join, monkeypatch):
    """Each chunk is encoded as if it were alone; no call sees more than `CHUNKS` of one clip."""
    folders, _, joined, _ = join("wav2vec2", "clip")
    processor = FavorProcessor.from_parts(joined.config, **folders, chunk_seconds=1)
    wave, seen = sound(10.5), []
    joined.audio_encoder.register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    media = processor.media(clip_from_arrays(waveform=wave, sampling_rate=16000))
    assert media["input_features"].shape == (11, 16080)
    found = encode_media(joined, processor, [media])[0]["audio_features"]
    assert len(found) == 525 and max(shape[0] for shape in seen) == 8
    for i in (0, 4, 10):
        # The chunk's last token needs 80 samples more.
        part = wave[16000 * i : 16000 * (i + 1) + 80]
        one = processor.media(clip_from_arrays(waveform=part, sampling_rate=16000))
        alone = encode_media(joined, processor, [one])[0]["audio_features"][:50]
        torch.testing.assert_close(found[50 * i : 50 * (i + 1)], alone[: 525 - 50 * i], atol=2e-3,
                                   rtol=1e-2)  # half precision


@pytest.mark.parametrize("vision", ["instructblip", "clip"])
@torch.no_grad()
def test_a_vision_tower_sees_a_few_frames_at_a_time(join, vision):
    """Finding: the frames of a whole film went through the ViT at once."""
    joined = join("whisper", vision)[2]
    pixels, seen = torch.randn(2, 50, 3, 16, 16), []
    hook = joined.visual_encoder.vision_model.register_forward_hook(
        lambda _, args, __: seen.append(len(args[0])))
    found, _ = joined.encode(pixels)
    hook.remove()
    assert sum(seen) == 100 and max(seen) == 32
    for clip, frame in ((0, 31), (0, 32), (1, 14), (1, 49)):
        wanted, _ = joined.encode(pixels[clip, frame][None, None])
        torch.testing.assert_close(found[clip, frame], wanted[0, 0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_question_stays_with_its_clip_when_frames_are_split(join):
    joined = join("whisper", "instructblip")[2]
    encoder, pixels = joined.visual_encoder, torch.randn(2, 40, 3, 16, 16)
    ids, mask = torch.tensor([[9, 10, 11], [12, 13, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    found = encoder(pixels, ids, mask)
    for clip in range(2):
        wanted = encoder(pixels[clip : clip + 1, 39:], ids[clip : clip + 1], mask[clip : clip + 1])
        torch.testing.assert_close(found[clip, 39], wanted[0, 0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_whisper_encodes_a_few_chunks_at_a_time(join):
    joined = join("whisper", "clip")[2]
    mel, seen = torch.randn(1, 19, 16, 200), []
    hook = joined.audio_encoder.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    _, found = joined.encode(input_features=mel)
    hook.remove()
    assert seen == [8, 8, 3]
    _, wanted = joined.encode(input_features=mel[:, 18:])
    torch.testing.assert_close(found[:, 1800:], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("audio", "vision"), FAMILIES)
def test_a_family_is_joined_trained_saved_and_loaded(join, tmp_path, audio, vision):
    folders, _, _, processor = join(audio, vision)
    tokens = {"visual_tokens": 4} if vision in POOLED else {}
    model = FavorForConditionalGeneration.from_parts(**folders, **SIZES, **tokens)
    batch = processor([tiny_clip(5, 0.5), tiny_clip(3, 0.35, 1)], ["how many?", "what was heard?"],
                      ["two", "a bell"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model.train()(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] and np.isfinite(losses).all()
    moved = {name.split(".")[0] for name, value in model.state_dict().items()
             if not torch.equal(value, before[name]) and "lora_" not in name}
    assert moved == {"audio_projection", "qformer", "projection"}
    model.eval().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = FavorForConditionalGeneration.from_pretrained(tmp_path)
    again = FavorProcessor.from_pretrained(tmp_path)
    assert again.settings == processor.settings
    for name in ("audio_config", "vision_config", "visual_qformer_config", "language_config"):
        one, two = getattr(model.config, name), getattr(loaded.config, name)
        assert type(one) is type(two), name
        assert one is None or {**one.to_dict(), "dtype": None} == {**two.to_dict(), "dtype": None}
    read = again([tiny_clip(5, 0.5), tiny_clip(3, 0.35, 1)], ["how many?", "what was heard?"],
                 ["two", "a bell"])
    assert all(torch.equal(read[name], batch[name]) for name in batch)
    with torch.no_grad():
        assert torch.equal(settle(model)(**batch).logits, settle(loaded)(**read).logits)


def test_a_frozen_family_in_bfloat16_saves_and_loads(join, tmp_path):
    folders = join("wav2vec2", "dinov2")[0]
    model = FavorForConditionalGeneration.from_parts(**folders, **SIZES, visual_tokens=4,
                                                     dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = FavorForConditionalGeneration.from_pretrained(tmp_path)
    for (name, one), (other, two) in zip(model.named_parameters(), loaded.named_parameters(),
                                         strict=True):
        assert name == other and one.dtype == two.dtype and torch.equal(one, two), name
    processor = FavorProcessor.from_parts(model.config, **folders)
    batch = processor([tiny_clip(2, 0.2)], ["how many?"], ["two"])
    assert loaded(**batch).loss.isfinite()


def test_pixels_follow_the_vision_folder(join):
    """Finding: mean and standard deviation were always CLIP's."""
    siglip, dino = (join(*next(f for f in FAMILIES if f[1] == vision))[3]
                    for vision in ("siglip", "dinov2"))
    grey = np.full((1, 16, 16, 3), 51, np.uint8)
    torch.testing.assert_close(siglip.pixels(grey), torch.full((1, 3, 16, 16), (0.2 - 0.5) / 0.5))
    assert dino.settings.image_size == 24  # of the preprocessor; the positions are for 16
    torch.testing.assert_close(dino.pixels(grey)[0, :, 0, 0],
                               (0.2 - torch.tensor([0.485, 0.456, 0.406]))
                               / torch.tensor([0.229, 0.224, 0.225]))


@pytest.mark.parametrize(("audio", "vision", "part"), [
    ("wav2vec2", "dinov2", "audio"), ("whisper", "siglip", "vision"),
    ("whisper", "blip-2", "vision")])
def test_a_part_that_lacks_weights_is_refused(join, tmp_path, audio, vision, part):
    """Finding: transformers draws them at random and logs a warning."""
    folders = join(audio, vision)[0]
    shutil.copytree(folders[part], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in sorted(weights) if re.search(
        "(vision_model|^encoder|wav2vec2).*layers?.1[.].*weight", name))
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{part}=.* lacks 1 weights of a .*1[.].*whole model"):
        FavorForConditionalGeneration.from_parts(**{**folders, part: str(tmp_path)}, **SIZES,
                                                 visual_tokens=4)


def test_an_audio_encoder_for_another_sampling_rate_is_refused(join, tmp_path):
    folders, _, joined, _ = join("wav2vec2", "clip")
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="8000 samples per second, expected 16000"):
        FavorProcessor.from_parts(joined.config, **{**folders, "audio": str(tmp_path)})


def test_a_vision_folder_without_a_preprocessor_is_refused(join, tmp_path):
    write_vision("siglip", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    folders = {**join("whisper", "siglip")[0], "vision": str(tmp_path)}
    with pytest.raises(OSError, match="vision=.*holds no preprocessor_config.json"):
        FavorForConditionalGeneration.from_parts(**folders, **SIZES, visual_tokens=4)


@pytest.mark.parametrize(("change", "message"), [
    ({"visual_tokens": 5}, "visual_tokens=5.*4 x 4 patches.*one of 1, 4, 9, 16$"),
    ({"visual_tokens": 25}, "visual_tokens=25.*one of 1, 4, 9, 16$"),
    ({"visual_tokens": 4, "question_conditioning": True}, "needs the Q-Former of InstructBLIP"),
    ({"visual_tokens": 4, "conv_stem": True}, "conv_stem=True goes with InstructBLIP"),
    ({"visual_tokens": 4, "frame_rate": 3.0}, "does not divide 50 .* 1, 2, 2.5, 5, 10"),
])
def test_settings_that_a_family_does_not_have_are_refused(join, change, message):
    with pytest.raises(ValueError, match=message):
        FavorForConditionalGeneration.from_parts(**join("whisper", "clip")[0],
                                                 **{**SIZES, **change})


def test_the_image_size_of_a_tower_with_a_qformer_is_its_own():
    with pytest.raises(ValueError, match="image_size=32.*trained with 16 pixels"):
        tiny_config(image_size=32)


def test_the_rate_of_audio_tokens_is_the_configs():
    """16000 / (5 * 2 * 2) = 800 tokens a second; one token needs 10 + 2 * 5 + 2 * 10 samples."""
    tiny = tiny_config()
    speech = {"model_type": "wav2vec2", "conv_dim": (8, 8, 8), "conv_stride": (5, 2, 2),
              "conv_kernel": (10, 3, 3), "hidden_size": 16, "num_attention_heads": 2}
    config = FavorConfig(speech, tiny.vision_config, tiny.visual_qformer_config,
                         tiny.language_config, frame_rate=10.0)
    assert (audio_hop(config.audio_config), audio_field(config.audio_config)) == (20, 40)
    assert config.audio_tokens == 80 and config.step_tokens == 80
    encoder = AutoModel.from_config(config.audio_config).eval()
    assert encoder(torch.randn(1, 20 * 6 + 40)).last_hidden_state.shape[1] == 7


@pytest.mark.parametrize(("hop", "frame_rate", "works"), [
    (320, 3.0, 2.0), (300, 2.0, 16000 / 300 / 27), (640, 2.0, 2.5), (320, 100.0, 10.0)])
def test_a_rate_that_does_not_cut_into_steps_names_rates_that_do(hop, frame_rate, works):
    with pytest.raises(ValueError, match=f"frame_rate={frame_rate} does not divide") as error:
        audio_tokens_per_step(frame_rate, hop)
    named = [float(word) for word in str(error.value).split("such as ")[1].split(", ")]
    assert any(abs(rate - works) < 1e-12 for rate in named)
    for rate in named:
        assert audio_tokens_per_step(rate, hop) == round(16000 / hop / rate)


def test_siglip_2_of_flexible_resolution_and_other_types_are_refused(join, tmp_path):
    folders = join("whisper", "clip")[0]
    for config, fixed in ((Siglip2VisionConfig(), "siglip2-base-patch16-224"), (ViTConfig(), "")):
        config.save_pretrained(tmp_path / config.model_type)
        vision = str(tmp_path / config.model_type)
        found = f"vision=.*{config.model_type}.*expected Ins.*{fixed}"
        with pytest.raises(ValueError, match=found):
            FavorForConditionalGeneration.from_parts(**{**folders, "vision": vision}, **SIZES)
