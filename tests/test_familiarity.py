"""Familiarity: distances compared with a plain reference, and what the threshold means."""

import numpy as np
import pytest
import torch

from docs.tools.limits import familiarity_report, foreign_clips
from favor_mini.evaluation.familiarity import Familiarity, step_vectors
from favor_mini.pretraining.familiar import fit_familiarity


def encoded(seed: int, shift: float = 0.0, scale: float = 1.0) -> dict:
    """A clip's features: 20 frames of 3 tokens and 500 audio tokens, of correlated width 6."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    return {"num_frames": 20, "audio_tokens": 500,
            "visual_features": scale * (torch.randn(20, 3, 6, generator=g) @ mix) + shift,
            "audio_features": scale * (torch.randn(500, 6, generator=g) @ mix) + shift}


@pytest.fixture(scope="module")
def fitted():
    return Familiarity.fit([encoded(i) for i in range(60)], [encoded(i) for i in range(100, 200)])


def test_step_vectors_average_tokens_and_half_seconds():
    clip = encoded(0)
    assert torch.allclose(step_vectors(clip, "video")[4], clip["visual_features"][4].mean(0))
    audio = step_vectors(clip, "audio")
    assert audio.shape == (20, 6)
    assert torch.allclose(audio[3], clip["audio_features"][75:100].mean(0), atol=1e-6)


def test_a_short_last_step_is_averaged_over_its_tokens():
    clip = {"audio_features": torch.arange(30.0)[:, None]}
    assert step_vectors(clip, "audio").flatten().tolist() == [12.0, 27.0]


def test_distance_is_mahalanobis(fitted):
    steps = torch.cat([step_vectors(encoded(i), "video") for i in range(60)]).double().numpy()
    inverse = np.linalg.inv(np.cov(steps.T))
    off = step_vectors(encoded(7, shift=0.5), "video").double().numpy() - steps.mean(0)
    plain = np.mean([np.sqrt(row @ inverse @ row / 6) for row in off])
    found = fitted.distances(encoded(7, shift=0.5))["video"]
    assert found * float(fitted.tensors["video.threshold"]) == pytest.approx(plain, rel=1e-3)


def test_threshold_lets_99_of_100_held_out_clips_pass(fitted):
    for stream in ("video", "audio"):
        assert sum(fitted.distances(encoded(i))[stream] <= 1 for i in range(100, 200)) == 99


def test_shifted_and_louder_features_are_foreign(fitted):
    for other in (encoded(300, shift=4.0), encoded(300, scale=3.0)):
        assert all(d > 1.3 for d in fitted.distances(other).values())


def test_scaling_everything_changes_no_distance(fitted):
    scaled = Familiarity.fit([encoded(i, scale=10) for i in range(60)],
                             [encoded(i, scale=10) for i in range(100, 200)])
    one = fitted.distances(encoded(5, shift=1))["audio"]
    other = scaled.distances(encoded(5, shift=10, scale=10))["audio"]
    assert one == pytest.approx(other, rel=1e-3)


def test_a_missing_stream_has_no_distance(fitted):
    clip = encoded(1)
    del clip["audio_features"]
    found = fitted.distances(clip)
    assert found["audio"] is None and found["video"] == fitted.distances(encoded(1))["video"]


def test_directions_without_variance_do_not_blow_up():
    def flat(seed):
        clip = encoded(seed)
        clip["visual_features"][..., 0] = 2.0
        return clip

    fitted = Familiarity.fit([flat(i) for i in range(20)], [flat(i) for i in range(50, 70)])
    assert np.isfinite(fitted.distances(flat(99))["video"])


def test_saved_and_loaded_is_the_same(fitted, tmp_path):
    assert Familiarity.load(tmp_path) is None
    fitted.save(tmp_path)
    assert Familiarity.load(tmp_path).distances(encoded(3)) == fitted.distances(encoded(3))
    assert Familiarity.load(tmp_path).longest == 10.0
    assert [p.name for p in tmp_path.iterdir()] == ["familiarity.safetensors"]


def test_foreign_clips_differ_and_are_reproducible():
    a, b = foreign_clips(2)
    assert a.frames.shape == (20, 64, 64, 3)
    assert len(a.waveform) == 160000 and abs(a.waveform).max() <= 1
    assert (a.frames != b.frames).any() and (foreign_clips(1)[0].frames == a.frames).all()


@pytest.mark.slow
def test_made_beside_a_checkpoint(tmp_path):
    from favor_mini.model import FavorForConditionalGeneration
    from favor_mini.world.mini import mini_config, mini_processor

    FavorForConditionalGeneration(mini_config()).save_pretrained(tmp_path)
    mini_processor().save_pretrained(tmp_path)
    found = fit_familiarity(tmp_path, scenes=4, held_out=2)
    assert Familiarity.load(tmp_path).longest > 8 and found.tensors["video.threshold"] > 0
    assert familiarity_report(tmp_path, foreign=1)["video"]["median distance"] > 0
