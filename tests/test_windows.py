"""Sliding windows: nothing lost, nothing moved, padding masked."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from favor_mini.windows import join_windows, num_windows, split_windows


@given(batch=st.integers(1, 3), frames=st.integers(1, 13), tokens=st.integers(1, 3),
       window=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_reference(batch, frames, tokens, window):
    steps = torch.randn(batch, frames, tokens, 2, dtype=torch.float64)
    windows, mask = split_windows(steps, torch.ones(batch, frames, dtype=torch.bool), window)
    wanted = [reference.split_windows(clip, window) for clip in steps.numpy()]
    np.testing.assert_array_equal(windows.numpy(), np.concatenate([w for w, _ in wanted]))
    np.testing.assert_array_equal(mask.numpy(), np.concatenate([m for _, m in wanted]))
    assert len(windows) == batch * num_windows(frames, window)


def test_a_hundred_frames_in_windows_of_ten_with_five_queries_make_fifty_vectors():
    windows, mask = split_windows(torch.randn(1, 100, 32, 4), torch.ones(1, 100, dtype=torch.bool),
                                  10)
    assert windows.shape == (10, 320, 4) and mask.all()
    # window w gives five queries of value w
    queries = torch.arange(10.0)[:, None, None].expand(10, 5, 4)
    vectors = join_windows(queries, batch=1)
    assert vectors.shape == (1, 50, 4)
    assert vectors[0, :, 0].tolist() == [w for w in range(10) for _ in range(5)]


def test_the_last_partial_window_is_kept_and_its_padding_masked():
    windows, mask = split_windows(torch.ones(1, 11, 2, 1), torch.ones(1, 11, dtype=torch.bool), 4)
    assert mask.tolist() == [[True] * 4, [True] * 4, [True] * 3 + [False]]
    assert windows[2].flatten().tolist() == [1] * 6 + [0] * 2


def test_a_masked_frame_stays_masked():
    frame_mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    _, mask = split_windows(torch.randn(2, 5, 1, 1), frame_mask, 3)
    assert mask.tolist() == [[True] * 3, [True, True, False], [True, True, False], [False] * 3]


def test_a_window_as_long_as_the_clip_changes_nothing():
    steps = torch.randn(2, 7, 3, 5)
    windows, mask = split_windows(steps, torch.ones(2, 7, dtype=torch.bool), 7)
    assert torch.equal(windows, steps.flatten(1, 2)) and mask.shape == (2, 7) and mask.all()


def test_join_windows_keeps_clips_apart():
    sequences = join_windows(torch.arange(12).reshape(6, 2, 1), batch=2)[..., 0]
    assert sequences.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


@pytest.mark.parametrize("steps, mask, window", [
    ((2, 5, 3), (2, 5), 2), ((2, 5, 3, 1), (2, 4), 2), ((2, 0, 3, 1), (2, 0), 2),
    ((2, 5, 3, 1), (2, 5), 0)])
def test_wrong_shapes_are_named(steps, mask, window):
    with pytest.raises(ValueError, match="split_windows needs steps"):
        split_windows(torch.zeros(steps), torch.ones(mask, dtype=torch.bool), window)
