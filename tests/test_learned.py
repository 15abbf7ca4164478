"""Connector and LoRA saved alone: what they belong to, and what refuses them."""

import json

import pytest
import torch
from conftest import same_weights, scramble, tiny_config, tiny_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_from_parts import SIZES, parts  # noqa: F401

from favor_mini import FavorForConditionalGeneration
from favor_mini.learned import learned_weights, load_learned, read_learned, save_learned


def learners(model):
    return {name: tensor.clone() for name, tensor in learned_weights(model).items()}


def other_learners(model, seed=9):
    """The same frozen parts with other connector and LoRA."""
    other = FavorForConditionalGeneration(model.config)
    other.load_state_dict(model.state_dict())
    moved = scramble(FavorForConditionalGeneration(model.config), seed)
    other.load_state_dict(learned_weights(moved), strict=False)
    return other.eval()


@pytest.fixture
def trained(tmp_path):
    model = tiny_model(3)
    save_learned(model, tmp_path)
    return model, tmp_path


def test_loaded_onto_the_same_frozen_parts_it_is_the_same_model(trained):
    model, folder = trained
    other = other_learners(model)
    assert not same_weights(model, other)
    load_learned(other, folder)
    assert same_weights(model, other)
    assert [file.name for file in folder.iterdir()] == ["learned.safetensors"]


def test_only_what_is_trained_is_saved(trained):
    model, folder = trained
    saved = load_file(folder / "learned.safetensors")
    assert set(saved) == {n for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("changes, told", [
    ({"num_queries": 5}, r"qformer.queries \(3, 16\) \(expected \(5, 16\)\)"),
    ({"qformer_layers": 1}, "does not have: qformer.layers.1.causal_attention.key.bias.* and "),
    ({"qformer_layers": 3}, "without qformer.layers.2.causal_attention.key.bias"),
    ({"lora_rank": 0}, "does not have: language_model.model.layers.0.self_attn.k_proj.lora_A"),
    ({"attention": "full"}, r"attention='block_causal' \(this model: 'full'\)"),
    ({"lora_alpha": 8}, "lora_alpha=4")])
def test_another_model_is_refused_and_stays_as_it_is(trained, changes, told):
    other = FavorForConditionalGeneration(tiny_config(**changes))
    before = learners(other)
    with pytest.raises(ValueError, match=told):
        load_learned(other, trained[1], any_frozen=True)
    assert all(torch.equal(before[n], t) for n, t in learned_weights(other).items())


@pytest.mark.parametrize("part, name", [
    ("audio_encoder", "audio_encoder.conv1.bias"),
    ("visual_encoder", "visual_encoder.query_tokens"),
    ("language_model", "language_model.model.layers.0.self_attn.q_proj.base_layer.weight")])
def test_other_frozen_weights_are_refused_unless_asked_for(trained, part, name):
    model, folder = trained
    other = other_learners(model)
    with torch.no_grad():
        other.get_parameter(name).view(-1)[0] += 1
    before = learners(other)
    with pytest.raises(ValueError, match=f"other weights of {part} than this"):
        load_learned(other, folder)
    assert all(torch.equal(before[n], t) for n, t in learned_weights(other).items())
    load_learned(other, folder, any_frozen=True)
    assert all(torch.equal(t, learned_weights(model)[n])
               for n, t in learned_weights(other).items())


def test_lora_is_no_part_of_the_frozen_language_model(trained):
    """Trained further, or without LoRA, the frozen parts are the same."""
    from favor_mini.learned import frozen_digests

    model = trained[0]
    plain = FavorForConditionalGeneration(tiny_config(lora_rank=0))
    plain.load_state_dict({n.replace(".base_layer", ""): t for n, t in model.state_dict().items()
                           if "lora_" not in n})
    assert frozen_digests(model) == frozen_digests(other_learners(model)) == frozen_digests(plain)


def test_settings_of_the_training_alone_do_not_matter(trained):
    model, folder = trained
    other = FavorForConditionalGeneration(tiny_config(
        lora_dropout=0.3, qformer_dropout=0.2, diversity_weight=1.0))
    other.load_state_dict(model.state_dict())
    load_learned(other, folder)


def test_parts_joined_again_take_what_was_saved(parts, tmp_path):  # noqa: F811
    """A placeholder beyond the vocabulary gets a new row, which was random at every start."""
    sizes = {k: v for k, v in SIZES.items() if k != "placeholder_id"}
    model = FavorForConditionalGeneration.from_parts(**parts[0], **sizes)
    save_learned(model, tmp_path)
    settings = read_learned(tmp_path)[1]["settings"]
    again = FavorForConditionalGeneration.from_parts(**parts[0], **settings)
    load_learned(again, tmp_path)
    assert same_weights(model, again)


def test_files_of_others_are_refused(tmp_path):
    model = tiny_model(1)
    with pytest.raises(OSError, match="holds no learned.safetensors"):
        load_learned(model, tmp_path)
    file = tmp_path / "learned.safetensors"
    file.write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read"):
        load_learned(model, tmp_path)
    save_file({"a": torch.ones(2)}, file)
    with pytest.raises(ValueError, match="expected a file that save_learned wrote"):
        load_learned(model, tmp_path)


def test_bfloat16_parts_keep_float32_learners(tmp_path):
    model = tiny_model(2)
    for part in model.frozen_modules().values():
        for name, parameter in part.named_parameters():
            if "lora_" not in name:
                parameter.data = parameter.data.bfloat16()
    save_learned(model, tmp_path)
    assert {t.dtype for t in read_learned(tmp_path)[0].values()} == {torch.float32}
    with safe_open(tmp_path / "learned.safetensors", "pt") as stored:
        assert json.loads(stored.metadata()["favor"])["frozen"].keys() == {
            "audio_encoder", "visual_encoder", "language_model"}
    with pytest.raises(ValueError, match="other weights"):
        load_learned(tiny_model(2), tmp_path)  # float32
