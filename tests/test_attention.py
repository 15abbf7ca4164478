"""The masks are compared with a double loop, the attention block with its own maps."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from favor_mini.attention import AttentionBlock, window_mask
from favor_mini.registry import find

MASKS = ["block_causal", "block_anticausal", "full"]


@pytest.mark.parametrize("name", MASKS)
@given(frames=st.integers(1, 7), tokens=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_masks_equal_the_double_loop(name, frames, tokens):
    np.testing.assert_array_equal(find("attention", name)(frames, tokens).numpy(),
                                  reference.allowed(name, frames, tokens))


def test_block_causal_by_hand():
    wanted = ["110000", "110000", "111100", "111100", "111111", "111111"]
    mask = find("attention", "block_causal")(3, 2)
    assert mask.int().tolist() == [[int(c) for c in row] for row in wanted]


@pytest.mark.parametrize("name", MASKS)
@given(truth=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=3),
       tokens=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_only_padded_frames_attend_to_themselves(name, truth, tokens):
    mask = window_mask(name, torch.tensor(truth), tokens)
    base = reference.allowed(name, 4, tokens)
    for w, real in enumerate(truth):

        found = mask[w if len(mask) > 1 else 0, 0].numpy()
        for i in range(4 * tokens):
            for j in range(4 * tokens):
                own = i // tokens == j // tokens
                assert found[i, j] == (base[i, j] and (real[j // tokens] or own))
        assert found.any(axis=1).all(), "the softmax of a row without any key is undefined"


def test_an_unknown_mask_lists_the_known_ones():
    with pytest.raises(ValueError, match="no attention 'diagonal'; there are block_causal"):
        window_mask("diagonal", torch.ones(1, 2, dtype=torch.bool), 3)


def block_and_inputs(memory_width=None):
    torch.manual_seed(0)
    block = AttentionBlock(8, 2, memory_width)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return block, torch.randn(2, 5, 8), torch.randn(2, 7, memory_width or 8)


@pytest.mark.parametrize("memory_width", [None, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_maps_are_the_weights_really_used(memory_width, masked):
    """The values, summed with the returned maps, give the block's own output: mask and all."""
    block, x, memory = block_and_inputs(memory_width)
    mask = torch.rand(2, 1, 5, 7) > 0.5
    mask[..., 0] = True
    mask = mask if masked else None
    maps = []
    out = block(x, memory, mask, maps)
    assert maps[0].shape == (2, 2, 5, 7)
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(2, 2, 5))
    if masked:
        assert not maps[0][~mask.expand(2, 2, 5, 7)].any()
    values = block.value(memory).unflatten(-1, (2, 4)).transpose(1, 2)
    attended = block.output((maps[0] @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, block.norm(x + attended), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(out, block(x, memory, mask), atol=0, rtol=0)


def test_maps_are_not_computed_unless_asked_for():
    class Ops(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    block, x, memory = block_and_inputs()
    for maps, found in ((None, False), ([], True)):
        names = []
        with torch.no_grad(), Ops():
            block(x, memory, maps=maps)
        assert any("_softmax" in n for n in names) == found
        assert any("scaled_dot_product" in n for n
                   in names), "attention goes through scaled_dot_product_attention"


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 10 cannot be split into 4 heads"):
        AttentionBlock(10, 4)
