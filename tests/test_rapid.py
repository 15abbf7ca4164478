"""Films that hold more than usual: a picture and a sound in each moment, at their time, once."""

import numpy as np
import pytest

from favor_mini.evaluation.checkpoint import find_checkpoint, load_checkpoint
from favor_mini.lab.gym.films import films
from favor_mini.lab.gym.world import TEST, TRAIN, World
from favor_mini.world.questions import ask, single_modality_chance
from favor_mini.world.rapid import Rapid
from favor_mini.world.rows import encode_scenes, scene_clip
from favor_mini.world.scene import split_of


@pytest.mark.parametrize("moments, seconds", [(1, 0.5), (3, 2.0), (6, 0.5), (7, 1.25)])
def test_each_moment_has_a_picture_and_a_sound_of_its_own(moments, seconds):
    for seed in (0, 1, TRAIN + 5, TEST + 7):
        scene = Rapid(moments, seconds)(seed)
        assert scene == Rapid(moments, seconds)(seed) and scene.seed == seed
        assert len(scene.moments) == moments and scene.duration == moments * seconds
        for of in ([m.actors[0].colour for m in scene.moments],
                   [m.actors[0].name for m in scene.moments],
                   [m.heard.name for m in scene.moments]):
            assert len(set(of)) == moments
        for i, m in enumerate(scene.moments):
            assert (m.start, m.end) == pytest.approx((i * seconds, (i + 1) * seconds))
            assert m.start < m.heard.start
            assert m.heard.start + m.heard.seconds <= m.end + 1e-3  # it ends within its moment


def test_pictures_and_sounds_are_independent():
    pairs = [(m.actors[0].name, m.heard.name) for seed in range(600)
             for m in Rapid(6)(seed).moments]
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(counts) == 7 * 8 and counts.max() < 1.6 * counts.mean() and counts.min() > 30


def test_frames_and_sound_show_the_moment():
    scene = Rapid(6, 0.5)(3)
    clip = scene_clip(scene)
    assert len(clip.frames) == 6  # one a moment, at 2 Hz
    changes = np.abs(np.diff(clip.frames.astype(int), axis=0)).mean((1, 2, 3))
    assert changes.min() > 2  # each shows another picture
    for m in scene.moments:
        rate = clip.sampling_rate
        sound = clip.waveform[round(m.heard.start * rate):][: round(0.2 * rate)]
        assert np.sqrt(np.mean(sound**2)) > 3 * scene.noise


def test_what_belongs_together_needs_both_streams():
    scene = Rapid(4, 0.5)(TEST)
    questions = [q for q in ask(scene) if q.family in ("shown_when", "heard_while")]
    assert len(questions) == 8
    chance = single_modality_chance({str(scene.seed): scene})
    assert {chance(str(scene.seed), q) for q in questions} == {1 / 4}


@pytest.mark.parametrize("moments, seconds", [(0, 1.0), (8, 1.0), (3, 0.4), (-1, 2.0)])
def test_impossible_films_are_refused(moments, seconds):
    with pytest.raises(ValueError, match="1 to 7 moments of 0.5 s or more"):
        Rapid(moments, seconds)


def test_a_gym_asks_what_it_is_told_to(tmp_path):
    world = World(moments=3, about="heard_while", visual_pool=8, audio_pool=25)
    found = films("label-free", TEST, 4, (8, 25), str(tmp_path), world.draw(), world.families())
    assert found.visual.shape[1:3] == (3, 1) and found.audio_tokens == 1
    assert found.audio.shape[1] == 3 and all(len(a) == 3 for a in found.answer)
    whole = films("label-free", TEST, 4, (1, 5), str(tmp_path), world.draw(), world.families())
    assert np.allclose(whole.visual.mean(2), found.visual[:, :, 0], atol=1e-6)
    assert np.allclose(whole.audio.unflatten(1, (3, 5)).mean(2), found.audio, atol=1e-6)
    with pytest.raises(ValueError, match="found about='heard_wile', expected 'all', a group"):
        World(about="heard_wile")
    assert set(World(about="both modalities").families()) == {
        "shown_when", "heard_while", "said_when", "off_screen", "first_mixed"}
    with pytest.raises(ValueError, match="visual_pool=3, expected a divisor of the 8 visual"):
        films("label-free", TEST, 4, (3, 5), str(tmp_path))


def test_films_without_such_a_question_are_left_out(tmp_path):
    usual = films("label-free", TEST, 12, (1, 5), str(tmp_path))
    few = films("label-free", TEST, 12, (1, 5), str(tmp_path), families=("turn",))
    assert len(usual.answer) == 12 and 0 < len(few.answer) < 12
    assert all(len(a) for a in few.answer) and len(few.visual) == len(few.answer)


def test_other_scenes_have_other_features_in_the_same_folder(tmp_path):
    seeds, parts = range(TRAIN, TRAIN + 2), load_checkpoint(find_checkpoint(None))
    made = [encode_scenes(*parts, seeds, draw=draw, cache=tmp_path, progress=False)
            for draw in (Rapid(3), Rapid(4), Rapid(3))]
    assert [len(m[0]["visual_features"]) for m in made] == [3, 4, 3]
    assert np.array_equal(made[0][1]["visual_features"], made[2][1]["visual_features"])
    assert len(list(tmp_path.glob("*.safetensors"))) == 2 and split_of(TRAIN) == "train"
