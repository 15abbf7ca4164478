"""The internals of transformers that `favor_mini.compat` relies on.

They passed with transformers 5.24, torch 2.13 and peft 0.21. A failure after an update means that
an internal has changed: adapt `favor_mini/compat.py`.
"""

import pytest
import torch
from conftest import tiny_config, tiny_model
from transformers import InstructBlipVisionConfig, InstructBlipVisionModel

from favor_mini import FavorForConditionalGeneration
from favor_mini.compat import PatchEmbedding, WhisperEncoder
from favor_mini.encoders import ConvStem


def vision_model(embedding):
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    model = InstructBlipVisionModel(InstructBlipVisionConfig(
        num_attention_heads=2, image_size=32, patch_size=16, **sizes))
    model.embeddings.patch_embedding = embedding
    return model


def test_layers_in_place_of_the_patch_embedding_run_in_bfloat16():
    """InstructBlipVisionEmbeddings casts the pixels to `patch_embedding.weight.dtype`."""
    model = vision_model(ConvStem(32)).to(torch.bfloat16)
    with torch.no_grad():
        patches = model(torch.randn(1, 3, 32, 32)).last_hidden_state
    assert patches.shape == (1, 5, 32) and patches.dtype == torch.bfloat16  # and the class token


def test_the_patch_embedding_still_needs_a_weight():
    """If this fails, `PatchEmbedding.weight` can go."""
    with pytest.raises(AttributeError, match="weight"):
        vision_model(torch.nn.Sequential(*ConvStem(32)))(torch.randn(1, 3, 32, 32))
    assert PatchEmbedding(torch.nn.Linear(2, 3)).weight.shape == (3, 2)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_saved_model_loads_with_a_named_attention_implementation(tmp_path, implementation):
    """Without `_supports_sdpa`, transformers raises for "sdpa"."""
    tiny_model().save_pretrained(tmp_path)
    model = FavorForConditionalGeneration.from_pretrained(
        tmp_path, attn_implementation=implementation)
    assert model.language_model.get_input_embeddings() is not None


def test_whispers_encoder_alone_has_the_parameters_of_whisper():
    encoder = WhisperEncoder(tiny_config().audio_config)
    assert {"conv1.weight", "layers.0.self_attn.q_proj.weight"} <= set(encoder.state_dict())
