"""The pictures of a scene show what its script says, when it says so."""

import numpy as np
import pytest
from PIL import Image

from favor_mini.world.icons import DRAWINGS, icon
from favor_mini.world.pictures import PAINTS, SMALLEST, draw_frames, moment_at
from favor_mini.world.scene import COLOURS, SHAPES, THINGS, WORDS, Actor, Moment, Scene, draw_scene


def film(*actors, seen="show", arrive=1.0, seconds=1.0, background=(30, 30, 30)):
    """A scene of one moment."""
    return Scene(5, seconds, (Moment(0.0, seconds, seen, actors, arrive=arrive),), background, 0.0)


def mask(frame, empty):
    """Where a frame differs clearly from the empty picture: (size, size), bool."""
    return np.abs(frame.astype(int) - empty).max(axis=-1) > 24


def centroid(frame, empty):
    """The middle of what is shown, as fractions of the side."""
    y, x = np.nonzero(mask(frame, empty))
    return (x.mean() + 0.5) / len(frame), (y.mean() + 0.5) / len(frame)


def drawn(actor, time=0.2, size=64, **kw):
    """A frame with the actor and the same without it."""
    empty = draw_frames(film(**kw), [time], size)[0].astype(int)
    return draw_frames(film(actor, **kw), [time], size)[0], empty


def test_shape_dtype_and_no_times():
    frames = draw_frames(draw_scene(1), [0.0, 1.0, 2.5], size=48)
    assert frames.shape == (3, 48, 48, 3) and frames.dtype == np.uint8
    assert draw_frames(draw_scene(1), []).shape == (0, 64, 64, 3)


def test_the_same_scene_gives_the_same_pictures_in_any_order():
    scene, times = draw_scene(3), np.arange(0, 8, 0.37)
    frames = draw_frames(scene, times)
    assert np.array_equal(frames, draw_frames(draw_scene(3), times))
    assert np.array_equal(frames[::-1], draw_frames(scene, times[::-1]))
    assert all(np.array_equal(frame, draw_frames(scene, [time])[0])
               for frame, time in zip(frames, times, strict=True))
    assert not np.array_equal(frames, draw_frames(draw_scene(4), times))


@pytest.mark.parametrize("seed", range(8))
def test_moments_change_exactly_at_their_edges(seed):
    scene = draw_scene(seed)
    for before, after in zip(scene.moments[:-1], scene.moments[1:], strict=True):
        edge = after.start
        assert moment_at(scene, edge) is after and moment_at(scene, np.nextafter(edge, 0)) is before
        last, first, next_one = draw_frames(scene, [edge - 1e-6, edge, edge + 1e-6])
        assert np.array_equal(first, next_one)
        assert np.array_equal(last, first) == (before.seen == after.seen == "nothing")


def test_nothing_is_shown_outside_the_scene():
    scene = film(Actor("star", "red"))
    before, inside, end = draw_frames(scene, [-0.001, 0.0, 1.0])
    assert np.array_equal(before, end) and not np.array_equal(before, inside)
    assert moment_at(scene, -0.001) is None and moment_at(scene, 1.0) is None


@pytest.mark.parametrize("start, end, axis, sign", [
    ((0.2, 0.5), (0.8, 0.5), 0, 1), ((0.8, 0.5), (0.2, 0.5), 0, -1),
    ((0.5, 0.2), (0.5, 0.8), 1, 1), ((0.5, 0.8), (0.5, 0.2), 1, -1)])
def test_actors_move_along_their_path_and_stop(start, end, axis, sign):
    scene = film(Actor("circle", "yellow", start, end), seen="move", arrive=0.5)
    empty = draw_frames(film(), [0])[0].astype(int)
    times = [0.0, 0.125, 0.25, 0.5, 0.7, 0.99]
    frames = draw_frames(scene, times)
    places = np.array([centroid(frame, empty) for frame in frames])
    done = np.minimum(np.array(times)[:, None] / 0.5, 1)
    expected = np.array(start) + (np.array(end) - start) * done
    assert np.abs(places - expected).max() < 0.6 / 64  # within half a pixel
    assert (np.diff(places[:4, axis]) * sign > 0).all()
    assert np.array_equal(frames[3], frames[4]) and np.array_equal(frames[3], frames[5])


def test_a_colour_changes_in_the_middle_of_the_moment():
    scene = film(Actor("square", "red", turns="blue"), seen="turn", seconds=1.5)
    early, before, after, late = draw_frames(scene, [0.0, 0.7499, 0.75, 1.49])
    assert np.array_equal(early, before) and np.array_equal(after, late)
    redness = [int(frame[32, 32, 0]) - int(frame[32, 32, 2]) for frame in (before, after)]
    assert redness[0] > 100 and redness[1] < -100


@pytest.mark.parametrize("size", [32, 64, 101, 256])
@pytest.mark.parametrize("name", ["square", "bell", "water"])
def test_an_actor_is_as_wide_as_its_size_at_any_picture_size(name, size):
    colour = "white" if name in SHAPES else None
    for fraction in (0.3, 0.6):
        frame, empty = drawn(Actor(name, colour, size=fraction), size=size)
        columns = np.nonzero(mask(frame, empty).any(axis=0))[0]
        width = (columns[-1] - columns[0] + 1) / size
        # how much of its body the icon fills
        inked = 0.86 if name == "square" else 0.94 if name == "bell" else 1.0
        assert abs(width - fraction * inked) < 2.5 / size


def test_small_pictures_equal_downscaled_large_ones():
    scene = draw_scene(11)
    times = [m.start + 0.3 for m in scene.moments]
    for small, large in zip(draw_frames(scene, times, 64), draw_frames(scene, times, 256),
                            strict=True):
        shrunk = np.asarray(Image.fromarray(large).reduce(4)).astype(int)
        assert np.abs(shrunk - small).mean() < 3


@pytest.mark.parametrize("start", [(0.0, 0.0), (1.0, 1.0), (0.02, 0.97), (-0.5, 0.5), (1.4, 1.4)])
def test_actors_are_clipped_at_the_edge(start):
    frame, empty = drawn(Actor("circle", "white", start, size=0.5))
    y, x = np.mgrid[:64, :64] / 64 + 0.5 / 64
    inside = np.hypot(x - start[0], y - start[1]) < 0.24
    assert mask(frame, empty)[np.hypot(x - start[0], y - start[1]) < 0.22].all()
    assert abs(mask(frame, empty).sum() - inside.sum()) <= 0.1 * inside.sum() + 4


def test_a_thing_shakes_only_once_it_was_hit():
    actors = (Actor("circle", "red", (0.5, 0.2), (0.3, 0.2), size=0.2),
              Actor("bell", start=(0.3, 0.7)),
              Actor("star", "blue", (0.8, 0.7), size=0.2))
    frames = draw_frames(film(*actors, seen="hit", arrive=0.4), np.arange(0, 1, 0.01), 128)
    bell = frames[:, 70:, :64]
    still = [np.array_equal(frame, bell[0]) for frame in bell]
    assert all(still[:41]) and not all(still[42:60])
    assert np.array_equal(frames[50][70:, 64:], frames[0][70:, 64:])  # the star stays where it is


def test_colours_are_distinguishable_in_every_scene():
    """Nearest-paint reading of the middle pixel recovers the colour in each of many scenes."""
    paints = np.array([PAINTS[name] for name in COLOURS])
    for seed in range(60):
        moments = tuple(Moment(float(i), i + 1.0, "show", (Actor("square", name),))
                        for i, name in enumerate(COLOURS))
        frames = draw_frames(Scene(seed, 7.0, moments, (40, 40, 40), 0.0), np.arange(7) + 0.5)
        apart = np.linalg.norm(frames[:, 32, 32, None].astype(int) - paints, axis=-1)
        assert apart.argmin(axis=1).tolist() == list(range(7))


def test_icons_are_distinguishable():
    """At training size, even in grey, two icons differ in many pixels."""
    names = (*SHAPES, *THINGS, *WORDS)
    moments = tuple(Moment(float(i), i + 1.0, "show",
                           (Actor(n, "white" if n in SHAPES else None, size=0.34),))
                    for i, n in enumerate(names))
    frames = draw_frames(Scene(0, float(len(names)), moments, (40, 40, 40), 0.0),
                         np.arange(len(names)) + 0.5)
    grey = frames.astype(float).mean(axis=-1).reshape(len(names), -1)
    apart = (np.abs(grey[:, None] - grey) > 30).sum(axis=-1) + 10**6 * np.eye(len(names))
    assert apart.min() >= 20


def test_every_shape_and_thing_has_a_drawing_inside_its_canvas():
    assert set(DRAWINGS) == {*SHAPES, *THINGS}
    for name in (*SHAPES, *THINGS, *WORDS):
        alpha = np.asarray(icon(name))[..., 3]
        edge = np.concatenate([alpha[:8].ravel(), alpha[-8:].ravel(), alpha[:, :8].ravel(),
                               alpha[:, -8:].ravel()])
        assert alpha.any() and not edge.any()


def test_pictures_too_small_for_icons_are_refused():
    with pytest.raises(ValueError, match=str(SMALLEST)):
        draw_frames(draw_scene(0), [0.0], size=SMALLEST - 1)
