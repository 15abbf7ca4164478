"""The figures show the values that their descriptions name."""

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("seaborn")

from favor_mini.attention import frame_index
from favor_mini.evaluation.scores import Score
from favor_mini.figures.attention import masks, receptive_field
from favor_mini.figures.diversity import query_similarity
from favor_mini.figures.lab import differences
from favor_mini.figures.streams import readers
from favor_mini.figures.style import png
from favor_mini.figures.timeline import timeline
from favor_mini.figures.training import loss_curves, score_bars
from favor_mini.losses import diversity_loss
from favor_mini.media.clip import clip_from_arrays
from favor_mini.registry import find
from favor_mini.world.rows import scene_clip
from favor_mini.world.scene import SPLITS, draw_scene
from favor_mini.world.transcript import seen_phrase


def texts(axis) -> str:
    return " ".join(" ".join(t.get_text().split()) for t in axis.texts)


@pytest.fixture(scope="module")
def scene():
    return draw_scene(SPLITS["validation"].start)


def labelled(figure) -> dict:
    return {axis.get_ylabel(): axis for axis in figure.axes}


def test_timeline_shows_frames_sound_windows_and_script(scene):
    clip = scene_clip(scene)
    figure = timeline(scene, clip)
    axes = labelled(figure)
    assert list(axes) == ["frames", "seen", "waveform", "log-mel", "heard"]
    assert all(axis.get_xlim() == pytest.approx((0, clip.duration))
               for axis in axes.values())  # one time axis
    strip = axes["frames"].images[0].get_array()
    assert np.array_equal(strip, np.concatenate(list(clip.frames), axis=1))
    assert axes["frames"].images[0].get_extent() == pytest.approx([0, len(clip.frames) / 2, 0, 1])
    line = axes["waveform"].lines[0]
    assert np.array_equal(line.get_ydata(), clip.waveform)
    assert line.get_xdata()[16000] == pytest.approx(1.0)
    for moment in scene.moments:
        if moment.seen != "nothing":
            assert seen_phrase(moment) in texts(axes["seen"])
        if moment.heard:
            assert moment.heard.name in texts(axes["heard"])
    starts = [box.get_x() for box in axes["heard"].patches]
    assert starts == pytest.approx([m.heard.start for m in scene.moments if m.heard])


@pytest.mark.parametrize("window_frames, borders", [(10, [5.0]), (7, [3.5, 7.0]), (40, [])])
def test_window_borders_stand_where_windows_end(window_frames, borders):
    clip = clip_from_arrays(frames=np.zeros((18, 8, 8, 3), np.uint8),
                            waveform=np.zeros(9 * 16000, np.float32))
    axis = labelled(timeline(None, clip, window_frames=window_frames))["waveform"]
    assert sorted({line.get_xdata()[0] for line in axis.lines[1:]}) == pytest.approx(borders)


def test_timeline_without_script_without_frames_and_of_a_long_clip():
    sound = clip_from_arrays(waveform=np.ones(16000, np.float32) * 0.5)
    assert list(labelled(timeline(None, sound))) == ["frames", "waveform", "log-mel"]
    frames = np.tile(np.arange(60, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    strip = labelled(timeline(None, clip_from_arrays(frames=frames)))["frames"].images[0]
    assert list(strip.get_array()[0, ::4, 0]) == list(range(0, 60, 3))  # every third frame
    assert strip.get_extent() == pytest.approx([0, 30, 0, 1])
    assert png(timeline(None, sound))[1:4] == b"PNG"


def test_a_sound_stands_at_its_time_in_the_spectrogram():
    waveform = np.zeros(4 * 16000, np.float32)
    waveform[3 * 16000 : 3 * 16000 + 4000] = np.sin(np.arange(4000) * 0.5)
    image = labelled(timeline(None, clip_from_arrays(waveform=waveform)))["log-mel"].images[0]
    loudest = image.get_array().max(axis=0)
    first = np.flatnonzero(loudest > -40)[0] / len(loudest) * image.get_extent()[1]
    assert first == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("num_frames, step_tokens", [(4, 3), (10, 1), (2, 5)])
def test_masks_are_the_masks(num_frames, step_tokens):
    figure = masks(num_frames, step_tokens)
    names = ["block_causal", "block_anticausal", "full"]
    frame = frame_index(num_frames, step_tokens)
    for axis, name in zip(figure.axes, names, strict=True):
        assert axis.get_title().startswith(name)
        assert np.array_equal(axis.images[0].get_array(),
                              find("attention", name)(num_frames, step_tokens).float())
        middles = [float(torch.nonzero(frame == f).float().mean()) for f in range(num_frames)]
        # A frame's number is at the middle of its tokens.
        assert list(axis.get_xticks()) == pytest.approx(middles)


LOG = [{"stage": "align", "step": 10, "cross_entropy": 2.0, "diversity": 0.3, "loss": 2.0},
       {"stage": "align", "step": 20, "cross_entropy": 1.0, "diversity": 0.2, "loss": 1.0},
       {"stage": "align", "step": 20, "train_runtime": 5.0},
       {"stage": "ask", "step": 10, "cross_entropy": 0.5, "diversity": -0.1, "loss": 0.5}]


def test_loss_curves_put_one_stage_after_the_other():
    figure = loss_curves(LOG)
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "cross-entropy or alignment loss", "diversity"]
    answers = loss_curves(LOG[-1:])
    assert answers.axes[0].get_ylabel() == "cross-entropy"
    align, ask = figure.axes[0].lines[:2]
    assert list(align.get_xdata()) == [10, 20] and list(align.get_ydata()) == [2.0, 1.0]
    assert list(ask.get_xdata()) == [30] and list(ask.get_ydata()) == [0.5]
    assert list(figure.axes[1].lines[0].get_ydata()) == [0.3, 0.2]
    assert "align (20 steps)" in texts(figure.axes[0]) and "ask (10 steps)" in texts(figure.axes[0])


def test_query_similarity_agrees_with_the_diversity_loss():
    queries = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    figure = query_similarity(queries, "before")
    matrices = [axis for axis in figure.axes if axis.get_title()]
    assert len(matrices) == 3
    for window, axis in zip(queries, matrices, strict=True):
        cosines = torch.nn.functional.cosine_similarity(window[:, None], window[None], dim=-1)
        assert np.allclose(axis.images[0].get_array(), cosines, atol=1e-5)
        mean = round(float(diversity_loss(window[None])), 2) + 0.0
        assert axis.get_title().endswith(f"mean {mean:.2f}")
    assert query_similarity(torch.ones(1, 4, 3)).axes[0].get_title().endswith("mean 1.00")


def test_score_bars_show_accuracy_intervals_and_chance():
    before = [Score("colour", 10, 0.1, 0.02, 0.4, 1 / 7), Score("all", 20, 0.2, 0.1, 0.4, 0.25)]
    after = [Score("colour", 10, 0.9, 0.6, 0.98, 1 / 7), Score("all", 20, 0.8, 0.6, 0.9, 0.25)]
    figure = score_bars({"before": before, "after": after})
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["colour", "all"]
    bars = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axis.containers
            if hasattr(bars, "patches")}
    assert bars == {"before": pytest.approx([0.1, 0.2]), "after": pytest.approx([0.9, 0.8])}
    chance = next(c for c in axis.collections if c.get_label() == "chance")
    assert [segment[0][0] for segment in chance.get_segments()] == pytest.approx([1 / 7, 0.25])
    labels = {t.get_text() for t in figure.legends[0].get_texts()}
    assert labels == {"before", "after", "chance", "95 % interval"}


COLUMNS = ["arm", "questions", "difference", "low", "high", "significant"]
FOUND = pd.DataFrame([
    ["attention=full", "both modalities", -4.0, -6.0, -2.0, True],
    ["attention=full", "all", -1.0, -2.5, 0.5, False],
    ["attention=none", "both modalities", 3.0, 1.0, 5.0, False],  # not after the correction
    ["attention=none", "all", 0.5, -1.0, 2.0, False]], columns=COLUMNS)


def test_differences_stand_at_their_values_and_are_filled_where_significant_after_correction():
    figure = differences(FOUND, "attention=block_causal")
    axis = figure.axes[0]
    points = {c.get_label(): c for c in axis.collections
              if c.get_label() in ("both modalities", "all")}
    assert points["both modalities"].get_offsets()[:, 0].tolist() == [-4, 3]
    assert points["all"].get_offsets()[:, 0].tolist() == [-1, 0.5]
    white = [[tuple(c[:3]) == (1, 1, 1) for c in p.get_facecolors()] for p in points.values()]
    assert white == [[False, True], [True, True]]
    arms = [label.get_text() for label in axis.get_yticklabels()]
    assert arms == ["attention=full", "attention=none"]
    assert "attention=none, all: +0.5 (-1.0 to +2.0)" in figure.alt_text


def test_more_groups_than_marks_have_their_names_beside_them():
    many = pd.DataFrame([{**row, "questions": f"{row['questions']} {i}"}
                         for row in FOUND.to_dict("records") for i in range(4)])
    figure = differences(many, "attention=block_causal")
    axis = figure.axes[0]
    assert not figure.legends
    assert [t.get_text() for t in axis.texts].count("all 3") == 2  # once per arm
    heights = {c.get_label(): c.get_offsets()[:, 1].tolist() for c in axis.collections
               if c.get_label() == "all 3"}
    assert heights["all 3"] == [t.xy[1] for t in axis.texts if t.get_text() == "all 3"]


def test_the_receptive_field_is_drawn_as_measured():
    square = np.tril(np.ones((3, 3), bool))
    figure = receptive_field({"block_causal": square, "reversed": square.T})
    assert [axis.get_title() for axis in figure.axes] == ["block_causal", "reversed"]
    assert np.array_equal(figure.axes[0].images[0].get_array(), square)
    assert "frame 2 changes with 1, 2" in figure.alt_text


def test_every_figure_has_a_description_that_a_notebook_keeps(scene):
    score = [Score("all", 20, 0.8, 0.6, 0.9, 0.25)]
    drawn = [timeline(scene, scene_clip(scene)), masks(), loss_curves(LOG),
             query_similarity(torch.randn(2, 4, 3)), score_bars({"after": score}),
             differences(FOUND, "the paper's"), receptive_field({"mask": np.eye(3, dtype=bool)})]
    for figure in drawn:
        data, metadata = figure._repr_mimebundle_()
        assert data["image/png"].startswith("iVBOR")  # a PNG in base64
        assert len(figure.alt_text) > 40 and metadata["image/png"]["alt"] == figure.alt_text
    assert all(seen_phrase(m) in drawn[0].alt_text for m in scene.moments)


def test_the_style_stays_in_the_figures():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    png(masks())
    assert dict(mpl.rcParams) == before


def test_wrong_frames_have_a_red_frame():
    written = np.zeros((4, 8, 8, 3), np.uint8)
    other = written.copy()
    other[2] = 90
    figure = readers({"written": written, "reader": other}, 2.0)
    axes = labelled(figure)
    assert [box.get_x() for box in axes["reader"].patches] == [1.0]
    assert not axes["written"].patches and "reader: 1 of 4 wrong, 1 s" in figure.alt_text
