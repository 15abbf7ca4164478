"""Joining pretrained parts, with small random Whisper, InstructBLIP and Llama checkpoints."""

import json

import pytest
import torch
from conftest import scramble, settle, tiny_clip, tiny_config
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaForCausalLM,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from favor_mini import FavorForConditionalGeneration, FavorProcessor, data_path
from favor_mini.apps.ask import Asker
from favor_mini.aveb.files import read_items
from favor_mini.aveb.run import evaluate_file
from favor_mini.data.features import encode_media
from favor_mini.data.files import find_media, read_media
from favor_mini.world.samples import aveb_file
from favor_mini.world.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders in the format of the hub, and the models that were saved there."""
    folder, config = tmp_path_factory.mktemp("parts"), tiny_config()
    tokenizer = build_tokenizer()
    language = config.language_config
    blip = InstructBlipConfig(vision_config=config.vision_config.to_dict(),
                              text_config=language.to_dict(),
                              qformer_config=config.visual_qformer_config.to_dict(),
                              num_query_tokens=3, image_token_index=6)
    models = {"audio": WhisperForConditionalGeneration(config.audio_config),
              "vision": InstructBlipForConditionalGeneration(blip),
              "language": LlamaForCausalLM(language)}
    for seed, (name, model) in enumerate(models.items()):
        scramble(model, seed).save_pretrained(folder / name)
    WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(folder / "audio")
    tokenizer.save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "vision" / "qformer_tokenizer")
    return {name: str(folder / name) for name in models}, models


SIZES = {"frame_rate": 10.0, "window_frames": 4, "num_queries": 3, "lora_rank": 2,
         "placeholder_id": 6, "question_conditioning": True}


@pytest.fixture(scope="module")
def joined(parts):
    return FavorForConditionalGeneration.from_parts(**parts[0], **SIZES)


def test_features_are_those_of_the_sources(parts, joined):
    folders, models = parts
    processor = FavorProcessor.from_parts(joined.config, **folders)
    batch = processor([tiny_clip(3, 0.3), tiny_clip(3, 0.3, 1)], ["how many?", "what was heard?"])
    with torch.no_grad():
        visual, audio = joined.encode(batch["pixel_values"], batch["input_features"],
                                      batch["question_ids"],
                                      batch["question_mask"])
        wanted = models["audio"].model.encoder(batch["input_features"][:, 0]).last_hidden_state
        torch.testing.assert_close(audio, wanted, atol=1e-6, rtol=1e-5)
        for frame in range(3):
            features = models["vision"].get_image_features(
                batch["pixel_values"][:, frame], qformer_input_ids=batch["question_ids"],
                qformer_attention_mask=batch["question_mask"])
            wanted = features.qformer_outputs.last_hidden_state[:, :3]
            torch.testing.assert_close(visual[:, frame], wanted, atol=1e-5, rtol=1e-5)
        ids = torch.tensor([[2, 9, 10, 11]])
        torch.testing.assert_close(joined(ids).logits, models["language"](ids).logits, atol=1e-5,
                                   rtol=1e-5)


def test_only_connector_and_lora_learn(joined):
    trained = {n for n, p in joined.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in trained} == {"audio_projection", "qformer", "projection",
                                                  "language_model"}
    assert all("lora_" in n for n in trained if n.startswith("language_model"))
    assert any("lora_" in n for n in trained)
    assert all(p.isfinite().all() for p in joined.parameters())


def test_trained_parameters_are_float32_with_bfloat16_frozen_parts(parts):
    model = FavorForConditionalGeneration.from_parts(**parts[0], **SIZES, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad
                                   else torch.bfloat16), name


def test_a_joined_model_gives_the_same_logits_after_loading(parts, joined, tmp_path):
    processor = FavorProcessor.from_parts(joined.config, **parts[0])
    joined.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = FavorForConditionalGeneration.from_pretrained(tmp_path)
    reader = FavorProcessor.from_pretrained(tmp_path)
    batch, again = (p([tiny_clip(6, 0.6), tiny_clip(0, 0.3)], ["how many?"] * 2) for p
                    in (processor, reader))
    assert batch.keys() == again.keys()
    for name in batch:
        torch.testing.assert_close(batch[name], again[name])
    with torch.no_grad():
        assert torch.equal(settle(joined)(**batch).logits, settle(loaded)(**batch).logits)


def test_question_conditioning_answers_and_has_no_cached_features(parts, joined, tmp_path):
    processor = FavorProcessor.from_parts(joined.config, **parts[0])
    joined.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    found = Asker(tmp_path).ask(data_path("clips", "clip_05.mp4"), "what was said first?", 0, 2)
    assert 0 < found.confidence <= 1 and set(found.familiar.values()) == {None}
    with pytest.raises(ValueError,
                       match="question_conditioning=True.*depend on the question"):
        encode_media(joined, processor, [processor.media(tiny_clip(3, 0.3))])


def test_the_benchmark_evaluates_a_model_with_question_conditioning(parts, joined, tmp_path):
    folder, processor = tmp_path / "model", FavorProcessor.from_parts(joined.config, **parts[0])
    joined.save_pretrained(folder)
    processor.save_pretrained(folder)
    rows = json.loads(aveb_file("vqa").read_text(encoding="utf-8"))[:3]
    (tmp_path / "few.json").write_text(json.dumps(rows))
    report = evaluate_file(tmp_path / "few.json", data_path(), tmp_path / "told.jsonl", task="vqa",
                           checkpoint=folder, progress=False)
    assert report.asked == 3
    lines = (tmp_path / "told.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines[1:]]
    for item, row in zip(read_items(tmp_path / "few.json")[0], told, strict=True):
        settings = processor.settings
        clip = read_media(find_media(item, data_path()), frame_rate=settings.frame_rate,
                          image_size=settings.image_size)
        batch = processor([clip], [item.question])
        assert row["predicted"] == processor.decode(joined.generate(**batch, max_new_tokens=48))[0]


def test_the_placeholder_is_the_tokenizers_by_default(parts):
    settings = {k: v for k, v in SIZES.items() if k != "placeholder_id"}
    model = FavorForConditionalGeneration.from_parts(**parts[0], **settings)
    known = len(build_tokenizer())
    assert model.config.placeholder_id == 6  # this tokenizer knows <av> already
    assert model.language_model.get_input_embeddings().num_embeddings == known
    FavorProcessor.from_parts(model.config, **parts[0])
    model = FavorForConditionalGeneration.from_parts(**parts[0], **settings, placeholder_id=known)
    assert model.language_model.get_input_embeddings().num_embeddings == known + 1
    with pytest.raises(ValueError, match=rf"placeholder_id={known}.*placeholder_id=6"):
        FavorProcessor.from_parts(model.config, **parts[0])


def test_another_kind_of_language_model(parts, tmp_path):
    """GPT-2 names its projections otherwise: lora_targets says how."""
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64,
                                     bos_token_id=0,
                                     eos_token_id=0))
    gpt.save_pretrained(tmp_path)
    folders = {**parts[0], "language": str(tmp_path)}
    model = FavorForConditionalGeneration.from_parts(**folders, **SIZES,
                                                     lora_targets=r".*\.attn\.c_(attn|proj)")
    media = {"visual_features": torch.randn(1, 4, 3, 12), "audio_features": torch.randn(1, 20, 16)}
    ids = torch.tensor([[1, 6, 6, 6, 2]])
    assert model(ids, labels=ids, **media).loss.isfinite()
    assert model.generate(ids, max_new_tokens=3, pad_token_id=0, **media).shape[1] <= 3
    # Its positions are absolute, so that padding on the left would show if the model counted it.
    padded, mask = torch.tensor([[0, 0, 1, 6, 6, 6, 2]]), torch.tensor([[0, 0, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(model(padded, mask, **media).logits[:, 2:],
                               model(ids, **media).logits, atol=1e-5, rtol=1e-4)


def test_a_part_of_another_model_type_raises(parts):
    folders = parts[0]
    with pytest.raises(ValueError,
                       match="audio=.*holds a model of type 'instructblip', expected one of"):
        FavorForConditionalGeneration.from_parts(audio=folders["vision"], vision=folders["vision"],
                                                 language=folders["language"])


@pytest.mark.parametrize("part", ["audio", "vision", "language"])
@pytest.mark.parametrize("name", ["nobody/no-such-model", "no/such/folder", "./no-such-folder"])
def test_an_unreachable_name_raises(parts, monkeypatch, part, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # what the import made of the variable
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=f"{part}='{name}' could not be loaded.*pass the folder"):
        FavorForConditionalGeneration.from_parts(**{**parts[0], part: name})


def test_what_learns_stays_float32_beside_frozen_parts_in_bfloat16(parts, tmp_path):
    """Finding: saved and loaded again, connector and LoRA came back in bfloat16."""
    made = FavorForConditionalGeneration.from_parts(**parts[0], **SIZES, dtype=torch.bfloat16)
    scramble(made)
    made.save_pretrained(tmp_path)
    loaded = FavorForConditionalGeneration.from_pretrained(tmp_path)
    for (name, one), (other, two) in zip(made.named_parameters(), loaded.named_parameters(),
                                         strict=True):
        assert name == other and torch.equal(one, two), name
        assert one.dtype == two.dtype == (
            torch.float32 if one.requires_grad else torch.bfloat16), name


@pytest.mark.parametrize(("setting", "meant"), [("num_querys", "num_queries"),
                                                ("lora_r", "lora_rank")])
def test_a_misspelt_setting_is_refused(parts, setting, meant):
    """Finding: it was accepted and ignored."""
    with pytest.raises(ValueError, match=f"{setting} is no field of FavorConfig.*{meant}"):
        FavorForConditionalGeneration.from_parts(**parts[0], **SIZES, **{setting: 2})


def test_a_setting_of_another_library_is_refused(parts):
    with pytest.raises(ValueError, match="load_in_4bit is no field"):
        FavorForConditionalGeneration.from_parts(**parts[0], **SIZES, load_in_4bit=True)
