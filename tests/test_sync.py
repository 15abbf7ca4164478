"""Temporal synchronisation, compared with the reference and by hand."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from favor_mini.sync import step_mask, synchronise

sizes = {"frames": st.integers(0, 6), "visual_tokens": st.integers(1, 4),
         "audio": st.integers(0, 17),
         "audio_tokens": st.integers(1, 5), "seed": st.integers(0, 9)}


@given(**sizes)
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_reference(frames, visual_tokens, audio, audio_tokens, seed):
    rng = np.random.default_rng(seed)
    visual, heard = rng.normal(size=(2, frames, visual_tokens, 3)), rng.normal(size=(2, audio, 2))
    found = synchronise(torch.tensor(visual), torch.tensor(heard), audio_tokens=audio_tokens)
    for clip in range(2):
        wanted = reference.synchronise(visual[clip], heard[clip], audio_tokens)
        assert found[clip].shape == wanted.shape
        np.testing.assert_array_equal(found[clip].numpy(), wanted)


def test_by_hand():
    """Two frames of one token, five audio tokens, two per step: the third step has no frame."""
    visual = torch.tensor([[[[1.0]], [[2.0]]]])
    audio = torch.tensor([[[10.0], [11.0], [12.0], [13.0], [14.0]]])
    assert synchronise(visual, audio, audio_tokens=2).tolist() == [
        [[[1, 10], [0, 11]], [[2, 12], [0, 13]], [[0, 14], [0, 0]]]]


def test_the_papers_sizes():
    steps = synchronise(torch.ones(1, 20, 32, 768), torch.ones(1, 500, 768), audio_tokens=25)
    assert steps.shape == (1, 20, 32, 1536)
    assert steps[..., :25, :].eq(1).all() and steps[..., 25:, 768:].eq(0).all()


@given(**sizes, shift=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_shifting_both_streams_shifts_the_output(frames, visual_tokens, audio, audio_tokens, seed,
                                                 shift):
    torch.manual_seed(seed)
    visual, heard = torch.randn(1, frames, visual_tokens, 3), torch.randn(1, audio, 2)
    later = synchronise(torch.cat([torch.zeros(1, shift, visual_tokens, 3), visual], 1),
                        torch.cat([torch.zeros(1, shift * audio_tokens, 2), heard], 1),
                        audio_tokens=audio_tokens)
    assert torch.equal(later[:, shift:], synchronise(visual, heard, audio_tokens=audio_tokens))
    assert not later[:, :shift].any()


def test_a_sound_one_step_late_lands_one_step_late_and_the_picture_stays():
    visual, audio = torch.randn(1, 4, 3, 2), torch.randn(1, 15, 2)
    before = synchronise(visual, audio, audio_tokens=5)
    after = synchronise(visual, torch.cat([torch.zeros(1, 5, 2), audio], 1), audio_tokens=5)
    assert torch.equal(after[..., :2], before[..., :2])
    assert torch.equal(after[:, 1:, :, 2:], before[:, :-1, :, 2:])


def test_a_missing_stream_is_all_zeros():
    audio = torch.randn(2, 12, 4)
    steps = synchronise(torch.zeros(2, 0, 3, 5), audio, audio_tokens=5)
    assert steps.shape == (2, 3, 5, 9) and not steps[..., :5].any()
    assert torch.equal(steps[..., 5:].flatten(1, 2)[:, :12], audio)


def test_step_mask_counts_a_step_that_either_stream_has():
    frame_mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    audio_tokens = torch.tensor([0, 7, 11])
    audio_mask = torch.arange(12)[None] < audio_tokens[:, None]
    assert step_mask(frame_mask, audio_mask, audio_tokens=5).tolist() == [
        [True, True, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("visual, audio",
                         [((2, 3, 4), (2, 5, 4)), ((2, 3, 4, 5), (2, 5)),
                          ((2, 3, 4, 5), (3, 5, 4))])
def test_wrong_shapes_are_named(visual, audio):
    with pytest.raises(ValueError, match="synchronise needs visual") as error:
        synchronise(torch.zeros(visual), torch.zeros(audio), audio_tokens=5)
    assert str(visual) in str(error.value) and str(audio) in str(error.value)
