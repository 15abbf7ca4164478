"""What FAVOR adds to the language model: LoRA through peft's public functions, and its masks."""

import pytest
import torch
from conftest import scramble, tiny_config, tiny_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from favor_mini import FavorForConditionalGeneration
from favor_mini.language import (
    add_lora,
    additive_mask,
    freeze_all_but_lora,
    isolate_turns_mask,
    lora_to_float32,
    reset_lora,
)

IDS = torch.arange(7, 17)[None]


def language_model(**changes):
    config = tiny_config(**changes)
    return scramble(AutoModelForCausalLM.from_config(config.language_config)), config


@torch.no_grad()
@pytest.mark.parametrize("rank", [0, 3])
def test_lora_can_be_replaced_and_removed(rank):
    model, config = language_model()
    plain, names = model(IDS).logits, set(model.state_dict())
    add_lora(model, config)
    scramble(model, 1)
    add_lora(model, tiny_config(lora_rank=rank))
    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    assert len(layers) == (8 if rank else 0)  # q, k, v and o of two layers
    assert all(layer.lora_A["default"].out_features == rank for layer in layers)
    if not rank:
        assert set(model.state_dict()) == names
    assert model(IDS).logits.shape == plain.shape


@torch.no_grad()
def test_an_untrained_lora_changes_nothing():
    model, config = language_model()
    plain = model(IDS).logits
    add_lora(model, config)
    torch.testing.assert_close(model(IDS).logits, plain)
    for layer in (m for m in model.modules() if isinstance(m, LoraLayer)):
        torch.nn.init.ones_(layer.lora_B["default"].weight)
    assert not torch.allclose(model(IDS).logits, plain)
    reset_lora(model)
    torch.testing.assert_close(model(IDS).logits, plain)


def test_only_lora_is_trainable_and_float32():
    model, config = language_model()
    add_lora(model.to(torch.bfloat16), config)
    lora_to_float32(model)
    freeze_all_but_lora(model)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name), name
        dtype = torch.float32 if "lora_" in name else torch.bfloat16
        assert parameter.dtype == dtype, name


def test_a_turn_attends_to_the_clip_and_to_itself():
    mask, positions = isolate_turns_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1]]
    assert positions.tolist() == [[0, 1, 2, 3, 2, 2]]


def test_an_additive_mask_is_zero_where_attention_is_allowed():
    found = additive_mask(torch.tensor([[True, False]]), torch.bfloat16)
    assert found.tolist() == [[0.0, -torch.inf]] and found.dtype == torch.bfloat16


# Frozen modules with an untrained connector.

def test_frozen_modules_get_an_untrained_connector_and_lora():
    source = tiny_model(1)
    kept = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    config = tiny_config(num_queries=2, lora_rank=5)
    model = FavorForConditionalGeneration.from_frozen(config, source.frozen_modules(), seed=4)
    wanted = tiny_model(2, num_queries=2, lora_rank=5)
    wanted.reset_trained(4)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in wanted.named_parameters() if p.requires_grad}
    for name, tensor in model.state_dict().items():
        expected = wanted.state_dict()[name] if name in trained else kept[name]
        assert torch.equal(tensor, expected), name
    assert not model.training and model.config.lora_rank == 5


class Offset(torch.nn.Module):
    """A connector with a constant tensor that is neither a parameter nor a buffer."""

    def __init__(self, *, input_width, num_queries, width, **sizes):
        super().__init__()
        self.linear = torch.nn.Linear(input_width, width)
        self.offset, self.num_queries = torch.arange(width), num_queries

    def reset_parameters(self):
        self.linear.reset_parameters()

    def forward(self, windows, frame_mask, return_maps=False):
        mean = self.linear(windows.mean(1, keepdim=True)) + self.offset
        return mean.expand(-1, self.num_queries, -1), None


def test_a_connector_is_built_with_real_tensors(monkeypatch):
    """`from_parts` built the connector on the meta device, where its constants stayed."""
    from favor_mini import registry

    monkeypatch.setattr(registry, "_PARTS", dict(registry._PARTS))
    registry.register("connector", "offset")(Offset)
    config = tiny_config(connector="offset")
    model = FavorForConditionalGeneration.from_frozen(config, tiny_model().frozen_modules())
    clip = torch.randn(1, 4, 3, 12), torch.randn(1, 20, 16)
    queries, *_ = model.connect(*clip, torch.ones(1, 4).bool(), torch.ones(1, 20).bool())
    assert queries.isfinite().all()
