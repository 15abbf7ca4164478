"""The diversity loss: queries as arrows in the plane, their cosines, and the loss's gradient."""

import textwrap

import numpy as np
from matplotlib.patches import Circle

from .plots import matrices
from .shapes import arrow, heatmap, named_bars
from .style import INK, LIGHT, MARK, STRONG, Picture, array, listed, panels, picture, styled


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """(..., N, N) cosine similarities of (..., N, width) vectors."""
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
    return unit @ unit.swapaxes(-1, -2)


def _degrees(vectors: np.ndarray) -> str:
    return ", ".join(f"{angle:.0f}" for angle in np.degrees(np.arctan2(*vectors.T[::-1])))


def query_similarity(queries, title: str = "") -> Picture:
    """Cosine similarity of a clip's output queries with one another, one matrix a window.

    Args:
        queries: (W, N, width). The number over a matrix is the mean of its N * (N - 1) pairs off
            the diagonal, the window's term of the diversity loss.
    """
    cosines = _cosines(array(queries))  # [W, N, N]
    count = cosines.shape[1]
    pairs = ~np.eye(count, dtype=bool)
    means = [f"{c[pairs].mean() if count > 1 else 0:z.2f}" for c in cosines]
    shown = {f"window {w}: mean {mean}": c
             for w, (mean, c) in enumerate(zip(means, cosines, strict=True), 1)}
    figure = matrices(
        shown, x="query", y="query", limits=(-1, 1), numbers=False, label="cosine similarity",
        title=title, alt=f"{title + ': ' if title else ''}cosine similarity between the {count} "
        f"output queries in each of {len(cosines)} windows; mean off the diagonal "
        f"{', '.join(means)}.")
    for axis in figure.axes[:len(cosines)]:
        axis.set_xticks([0, count - 1], [1, count])
        axis.set_yticks([0, count - 1], [1, count])
    return figure


def _circle(axis) -> None:
    axis.add_patch(Circle((0, 0), 1, fill=False, edgecolor=LIGHT, linewidth=1.5, zorder=0))


def _plane(axis, vectors: np.ndarray, size: float, steps: np.ndarray | None = None) -> None:
    """Arrows from the origin, each with its number at its tip; steps from the tips in red."""
    _circle(axis)
    axis.plot(0, 0, "o", color=INK, markersize=4)
    for i, tip in enumerate(vectors):
        arrow(axis, (0, 0), tip, STRONG)
        if steps is not None and np.linalg.norm(steps[i]) > 0.02:
            arrow(axis, tip, tip + steps[i], MARK)
        same = np.flatnonzero(np.linalg.norm(vectors - tip, axis=1) < 0.06 * size)
        if i == same[0]:  # arrows on top of one another share a label
            length = max(np.linalg.norm(tip), 1e-9)
            centred = len(same) == 1 or abs(tip[0]) < 0.4 * length
            place = tip / length * (length + (0.13 if centred else 0.05) * size)
            axis.text(
                *place, ", ".join(str(j + 1) for j in same), va="center", fontsize=13,
                fontweight="bold", ha="center" if centred else "left" if tip[0] > 0 else "right")
    axis.set(xlim=(-size, size), ylim=(-size, size), aspect="equal")
    axis.axis("off")


@styled
def arrows(shown: dict, *, columns: int = 5) -> Picture:
    """Sets of vectors (N, 2) by title, or pairs of these and (N, 2) steps from their tips."""
    sets = {title: [*map(array, v)] if isinstance(v, tuple) else [array(v)]
            for title, v in shown.items()}
    details = listed(sets, lambda v: f"{len(v[0])} arrows at {_degrees(v[0])} degrees" + "".join(
        f", steps of {', '.join(f'{length:.2f}' for length in np.linalg.norm(steps, axis=1))}"
        for steps in v[1:]))
    tips = np.concatenate([part for v in sets.values() for part in np.cumsum(v, axis=0)])
    size = 1.2 * max(1.0, np.linalg.norm(tips, axis=1).max())
    columns = min(columns, len(sets))
    side, lines = min(3.6, 14 / columns), 1 + max(title.count("\n") for title in sets)
    figure, axes = panels(
        columns * side, -(-len(sets) // columns) * (side + 0.1 + 0.27 * lines),
        f"Vectors in the plane. {details}.", sets, columns)
    for axis, title, (vectors, *steps) in axes:
        _plane(axis, vectors, size, *steps)
        axis.set_title("\n".join(textwrap.fill(line, max(16, int(7.5 * side)))
                                 for line in title.split("\n")))
    return figure


@styled
def loss_by_angle(vectors, angles, values, angle: float, *, least: float) -> Picture:
    """Vectors (N, 2) in the plane, their cosines, and the loss over the angle of the last vector.

    Args:
        angles, values: the curve, angles in degrees. least: the least possible loss.
    """
    vectors, values = array(vectors), array(values)
    here = np.interp(angle, angles, values)
    figure, (plane, square, curve) = picture(
        14, 4.3, f"{len(vectors)} vectors in the plane at {_degrees(vectors)} degrees, the matrix "
        f"of their cosines, and the loss over the angle of the last one: {here:.2f} at {angle:.0f} "
        f"degrees, from {values.min():.2f} to {values.max():.2f} over the whole circle.",
        1, 3, width_ratios=(1, 1.15, 1.5))
    _plane(plane, vectors, 1.3 * max(1.0, np.linalg.norm(vectors, axis=1).max()))
    names = range(1, len(vectors) + 1)
    drawn = heatmap(
        square, _cosines(vectors), names, names, "{:z.2f}", vmin=-1, vmax=1, aspect="equal")
    for cell in square.texts[::len(vectors) + 1]:  # the loss leaves out the diagonal
        cell.set_text("(1)")
    square.set_title("cosines")
    figure.colorbar(drawn, ax=square, ticks=[-1, 0, 1], shrink=0.8)
    curve.plot(angles, values)
    curve.plot([angle], [here], "o", color=MARK, markersize=11, zorder=3)
    curve.text(angle + 10, here + 0.06, f"{here:.2f}", fontsize=14, fontweight="bold")
    curve.axhline(least, color=INK, linestyle=":")
    curve.text(360, least + 0.03, f"least possible: {least:.2f}", ha="right", va="bottom")
    curve.set(xlabel=f"angle of vector {len(vectors)} (degrees)", ylabel="loss", ylim=(-0.75, 1.1),
              xticks=range(0, 361, 90))
    curve.grid(axis="y")
    return figure


@styled
def targets_and_queries(targets, queries, errors, weight: float) -> Picture:
    """Targets and queries, (N, 2), and their squared distances (N,) with lambda = `weight`."""
    targets, queries, errors = map(array, (targets, queries, errors))
    figure, (plane, distances) = picture(
        11, 4.4, f"{len(queries)} queries in the plane with lambda {weight:g}: targets at "
        f"{_degrees(targets)} degrees, queries at {_degrees(queries)} degrees; squared distances "
        f"{', '.join(f'{e:.2f}' for e in errors)}.", 1, 2, width_ratios=(1, 1.3))
    _plane(plane, queries, 1.5)
    plane.plot(*targets.T, "x", color=MARK, markersize=13, markeredgewidth=3, zorder=4)
    plane.set_title("crosses: targets")
    named_bars(distances, [f"query {i + 1}" for i in range(len(errors))], errors)
    distances.set(xlim=(0, max(1.0, errors.max() * 1.2)), xlabel="squared distance from the target",
                  title=f"lambda = {weight:g}")
    return figure


@styled
def scatter(shown: dict, *, x: str, y: str) -> Picture:
    """Points in the plane, by name (points, 2), and the circle of length 1."""
    sets = {name: array(points) for name, points in shown.items()}
    details = listed({name: p for name, p in sets.items() if len(p)}, lambda p: f"{len(p)} points "
                     f"around {p[:, 0].mean():+.2f}, {p[:, 1].mean():+.2f}")
    figure, axis = picture(9, 5.6, f"Points, {x} and {y}. {details}.")
    _circle(axis)
    for i, (name, points) in enumerate(sets.items()):
        axis.plot(*points.T, "os^DvP"[i % 6], markersize=8, label=name, alpha=0.8,
                  fillstyle="none" if i % 2 else "full", markeredgewidth=1.6)
    axis.set(xlabel=x, ylabel=y, aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15),
             xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axis.grid()
    figure.legend(loc="outside right center")
    return figure
