"""Failure signatures: texts compared by hand, signs of invented measurements, the shipped model."""

from dataclasses import replace

import pytest
import torch

from favor_mini import checkpoint_path, registry
from favor_mini.apps import cli
from favor_mini.evaluation.checkpoint import load_checkpoint
from favor_mini.evaluation.scores import Score
from favor_mini.lab.diagnose import (
    Description,
    compare_texts,
    diagnose,
    first_window,
    read_signs,
    skill,
)
from favor_mini.world.scene import draw_scene

SCRIPT = "see red circle at left, hear bell; see nothing, hear said moon."
FINE = Description(phrases=10, extra=0, again=0, words=20, invented=0)
ALONE, TOGETHER = Score("plain", 500, 0.95, 0.9, 1.0, 0.2), Score("both", 300, 0.9, 0.8, 1.0, 0.4)


@pytest.mark.parametrize("text, extra, again, invented", [
    (SCRIPT, 0, 0, 0), ("hear bell , see red circle at left ; hear said moon , see nothing .", 0, 0,
                        0),
    ("see red circle at left, hear drum; see nothing, hear said moon.", 1, 0, 1),
    (SCRIPT.replace(".", ", hear bell, hear bell."), 0, 2, 0),
    ("see blue star at left, hear bell.", 1, 0, 2), ("", 0, 0, 0)])
def test_a_description_is_compared_with_its_script(text, extra, again, invented):
    found = compare_texts(text, SCRIPT)
    assert (found.phrases, found.extra, found.again, found.invented) == (4, extra, again, invented)


def test_skill_goes_from_guessing_to_perfect():
    assert (skill(0.4, 0.4), skill(1.0, 0.4), skill(0.7, 0.4)) == pytest.approx((0, 1, 0.5))


@pytest.mark.parametrize("change, sign", [
    ({}, None), ({"together": replace(TOGETHER, accuracy=0.55, low=0.5, high=0.6)},
                 "synchronisation"),
    ({"whole": [replace(FINE, extra=3)]}, "alignment over windows"),
    ({"whole": [replace(FINE, invented=5)]}, "diversity weight too high"),
    ({"whole": [replace(FINE, again=3)]}, "diversity weight too high"),
    ({"similarity": 0.9}, "diversity weight too low")])
def test_each_signature_differs_from_the_others(change, sign):
    measured = {"together": TOGETHER, "alone": ALONE, "one_window": [FINE], "whole": [FINE],
                "similarity": 0.1, **change}
    assert [s.points_to for s in read_signs(**measured) if s.present] == ([sign] if sign else [])


def test_a_gap_of_few_questions_is_no_sign():
    few = replace(TOGETHER, accuracy=0.0, low=0.0, high=0.01, count=1)
    assert not read_signs(few, replace(ALONE, accuracy=1.0, count=5), [FINE], [FINE],
                          0.1)[0].present


def test_the_first_window_holds_whole_moments():
    for seed in range(50):
        scene = draw_scene(seed)
        short = first_window(scene, 5.0)
        whole = 1 <= len(short.moments) < len(scene.moments) and short.duration <= 5.0
        assert whole or len(short.moments) == 1
        assert short.moments[0] == scene.moments[0]


@pytest.mark.slow
def test_the_shipped_model_shows_no_sign(capsys):
    assert cli.main(["diagnose", "--scenes", "12"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("[none]") == 4 and printed.endswith("no signature found\n")


@pytest.mark.slow
def test_audio_that_is_late_is_a_sign_of_synchronisation_alone(tmp_path, monkeypatch):
    """The fault that notebook 10 plants, with the number of scenes that it takes."""
    monkeypatch.setattr(registry, "_PARTS", dict(registry._PARTS))
    concat = registry.find("sync", "concat")

    @registry.register("sync", "late", causal=True)
    def late(visual, audio, frame_mask, audio_mask, *, audio_tokens):
        gap = 2 * audio_tokens
        moved = torch.cat([torch.zeros_like(audio[:, :gap]), audio[:, :-gap]], dim=1)
        return concat(visual, moved, frame_mask, audio_mask, audio_tokens=audio_tokens)

    model, processor = load_checkpoint(checkpoint_path())
    model.config.sync = "late"
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    assert [s.points_to for s in diagnose(tmp_path, scenes=24) if s.present] == ["synchronisation"]
