"""The feature cache returns what the encoders compute, and is used only if nothing that it depends
on has changed."""

import numpy as np
import pytest
import torch
from conftest import mixed_clips, tiny_model, tiny_processor

from favor_mini.data.features import encode_media
from favor_mini.world import rows
from favor_mini.world.rows import encode_scenes, scene_clip
from favor_mini.world.scene import SPLITS, draw_scene

SEEDS = [SPLITS["train"].start + i for i in range(3)]


@pytest.fixture(scope="module")
def parts():
    """A tiny model for the mini world's pictures and sounds: 2 frames a second, chunks of 2 s."""
    model = tiny_model(frame_rate=2.0)
    return model, tiny_processor(model.config)


def same(one, two):
    return all(set(a) == set(b) and all(
        torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)
               for a, b in zip(one, two, strict=True))


def test_the_cache_returns_what_was_computed(parts, tmp_path, monkeypatch):
    computed = encode_scenes(*parts, SEEDS, progress=False)
    kept = encode_scenes(*parts, SEEDS, cache=tmp_path, progress=False)
    assert [row["seed"] for row in kept] == SEEDS
    monkeypatch.setattr(rows, "encode_media", lambda *_: pytest.fail("computed again"))
    assert same(computed, kept)
    assert same(kept, encode_scenes(*parts, SEEDS, cache=tmp_path, progress=False))


def test_other_weights_seeds_or_settings_are_computed_again(parts, tmp_path):
    model, processor = parts
    encode_scenes(model, processor, SEEDS, cache=tmp_path, progress=False)
    encode_scenes(model, processor, [s + 50 for s in SEEDS], cache=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2
    other = tiny_model(seed=1, frame_rate=2.0)
    found = encode_scenes(other, processor, SEEDS, cache=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 3
    assert same(found, encode_scenes(other, processor, SEEDS, progress=False))
    changed = tiny_processor(model.config)
    changed.settings.image_mean = (0.0, 0.0, 0.0)
    encode_scenes(model, changed, SEEDS, cache=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_stopped_encoding_continues_where_it_stopped(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 1)
    encode, calls = rows.encode_media, []

    def stopping(model, processor, media):
        calls.append(len(media))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(model, processor, media)

    monkeypatch.setattr(rows, "encode_media", stopping)
    with pytest.raises(KeyboardInterrupt):
        encode_scenes(*parts, SEEDS, cache=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1  # whole files only
    encode_scenes(*parts, SEEDS, cache=tmp_path, progress=False)
    assert len(calls) == 4  # the first scene was not encoded again


def test_a_batch_is_encoded_like_its_clips_one_by_one(model, processor):
    media = [processor.media(clip) for clip in mixed_clips().values()]
    together = encode_media(model, processor, media)
    alone = [encode_media(model, processor, [m])[0] for m in media]
    for a, b in zip(together, alone, strict=True):
        assert set(a) == set(b)
        for name in a:
            if torch.is_tensor(a[name]):
                torch.testing.assert_close(a[name].float(), b[name].float(), rtol=2e-3, atol=2e-3)


def test_cached_features_give_the_logits_of_the_clip_itself(model, processor):
    """Up to half precision."""
    clip = mixed_clips()["long"]
    media = processor.media(clip)
    question = ["describe the clip."]
    with torch.no_grad():
        whole = model(**processor([media], question)).logits
        cached = model(**processor(encode_media(model, processor, [media]), question)).logits
    torch.testing.assert_close(whole, cached, rtol=0.05, atol=0.05)


def test_a_scene_becomes_a_clip_on_one_time_axis():
    scene = draw_scene(SEEDS[0])
    clip = scene_clip(scene)
    assert clip.frames.shape == (len(np.arange(0, scene.duration, 0.5)), 64, 64, 3)
    assert clip.frames.dtype == np.uint8
    assert len(clip.waveform) == round(scene.duration * 16000)
    assert np.allclose(np.diff(clip.frame_times), 0.5)
    assert np.array_equal(scene_clip(scene).frames, clip.frames)
