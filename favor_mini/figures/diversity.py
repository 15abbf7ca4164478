"""The diversity loss: queries as arrows in the plane, their cosines, and the loss's gradient."""

from __future__ import annotations

import textwrap

import numpy as np

from .plots import matrices
from .style import (
    COLOURS,
    INK,
    LIGHT,
    MARK,
    MARKERS,
    STRONG,
    Picture,
    array,
    heatmap,
    listed,
    named_bars,
    panels,
    picture,
    styled,
)


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """(..., N, N) cosine similarities of (..., N, width) vectors."""
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
    return unit @ unit.swapaxes(-1, -2)


def _degrees(vectors: np.ndarray) -> str:
    return ", ".join(f"{angle:.0f}" for angle in np.degrees(np.arctan2(vectors[:, 1],
                                                                       vectors[:, 0])))


def _lengths(vectors: np.ndarray) -> str:
    return ", ".join(f"{length:.2f}" for length in np.linalg.norm(vectors, axis=1))


def query_similarity(queries, title: str = "") -> Picture:
    """Cosine similarity of a clip's output queries with one another, one matrix a window.

    Args:
        queries: (W, N, width) output queries, array or tensor. The number over each matrix is the
            mean over its N * (N - 1) off-diagonal pairs, the window's term of the diversity loss.
    """
    cosines = _cosines(array(queries))  # [W, N, N]
    count = cosines.shape[1]
    pairs = ~np.eye(count, dtype=bool)
    means = [f"{round(float(c[pairs].mean()), 2) + 0.0 if count > 1 else 0:.2f}"
             for c in cosines]  # no "-0.00"
    figure = matrices({f"window {w}: mean {mean}": c
                       for w, (mean, c) in enumerate(zip(means, cosines, strict=True), 1)},
                      x="query", y="query", limits=(-1, 1), numbers=False,
                      label="cosine similarity", title=title,
                      alt=f"{title + ': ' if title else ''}cosine similarity between the {count} "
                      f"output queries in each of {len(cosines)} windows; mean off the diagonal "
                      f"{', '.join(means)}.")
    for axis in figure.axes[:len(cosines)]:
        axis.set_xticks([0, count - 1], [1, count])
        axis.set_yticks([0, count - 1], [1, count])
    return figure


def _circle(axis) -> None:
    angles = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(angles), np.sin(angles), color=LIGHT, linewidth=1.5, zorder=0)


def _plane(axis, vectors: np.ndarray, steps: np.ndarray | None, size: float) -> None:
    """Arrows from the origin, each with its number at its tip; steps from the tips in red."""
    _circle(axis)
    axis.plot(0, 0, "o", color=INK, markersize=4)
    look = {"arrowstyle": "-|>", "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
    for i, tip in enumerate(vectors):
        axis.annotate("", tip, (0, 0), arrowprops={**look, "color": STRONG, "mutation_scale": 18})
        if steps is not None and np.linalg.norm(steps[i]) > 0.02:
            axis.annotate(
                "", tip + steps[i], tip, arrowprops={**look, "color": MARK, "mutation_scale": 14})
        same = [j for j, other in enumerate(vectors) if np.linalg.norm(other - tip) < 0.06 * size]
        if i == same[0]:  # arrows on top of one another share a label
            length = max(np.linalg.norm(tip), 1e-9)
            centred = len(same) == 1 or abs(tip[0]) < 0.4 * length
            place = tip / length * (length + (0.13 if centred else 0.05) * size)
            axis.text(
                *place, ", ".join(str(j + 1) for j in same), va="center", fontsize=13,
                fontweight="bold", ha="center" if centred else "left" if tip[0] > 0 else "right")
    axis.set(xlim=(-size, size), ylim=(-size, size), aspect="equal", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


@styled
def arrows(shown: dict, *, columns: int = 5) -> Picture:
    """Sets of vectors in the plane, side by side, one title each.

    Args:
        shown: by its title, (N, 2) vectors, or a pair of these and (N, 2) steps, drawn in red from
            the tips.
    """
    sets = {title: (*map(array, v),) if isinstance(v, tuple) else (array(v), None)
            for title, v in shown.items()}
    details = listed(sets, lambda v: f"{len(v[0])} arrows at {_degrees(v[0])} degrees" + (
        "" if v[1] is None else f", steps of {_lengths(v[1])}"))
    tips = np.concatenate(
        [part for v, s in sets.values() for part in (v, v if s is None else v + s)])
    size = 1.2 * max(1.0, float(np.linalg.norm(tips, axis=1).max()))
    columns = min(columns, len(sets))
    side, lines = min(3.6, 14 / columns), 1 + max(title.count("\n") for title in sets)
    figure = picture(columns * side, -(-len(sets) // columns) * (side + 0.1 + 0.27 * lines),
                     f"Vectors in the plane. {details}.")
    for axis, (title, drawn) in zip(panels(figure, len(sets), columns), sets.items(), strict=True):
        _plane(axis, *drawn, size)
        axis.set_title("\n".join(textwrap.fill(line, max(16, int(7.5 * side)))
                                 for line in title.split("\n")), fontsize=13)
    return figure


@styled
def loss_by_angle(vectors, angles, values, angle: float, *, least: float | None = None) -> Picture:
    """Vectors in the plane, their cosines, and the loss over the angle of the last vector.

    Args:
        vectors: (N, 2). angles, values: the curve, angles in degrees. angle: of the last vector
            now.
        least: the least possible loss, drawn as a line.
    """
    vectors, values = array(vectors), array(values)
    here = float(np.interp(angle, angles, values))
    figure = picture(14, 4.3, (f"{len(vectors)} vectors in the plane at {_degrees(vectors)} "
                               f"degrees, the matrix of their cosines, and the loss over the "
                               f"angle of the last one: {here:.2f} at {angle:.0f} degrees, from "
                               f"{values.min():.2f} to {values.max():.2f} over the whole circle."))
    plane, square, curve = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.5))
    _plane(plane, vectors, None, 1.3 * max(1.0, float(np.linalg.norm(vectors, axis=1).max())))
    names = range(1, len(vectors) + 1)
    drawn = heatmap(
        square, _cosines(vectors), names, names, "{:.2f}", vmin=-1, vmax=1, aspect="equal")
    for i in range(len(vectors)):  # the loss leaves out the diagonal
        square.texts[i * (len(vectors) + 1)].set_text("(1)")
    square.set_title("cosines")
    figure.colorbar(drawn, ax=square, ticks=[-1, 0, 1], shrink=0.8)
    curve.plot(angles, values, color=STRONG, linewidth=2.5)
    curve.plot([angle], [here], "o", color=MARK, markersize=11, zorder=3)
    curve.annotate(f"{here:.2f}", (angle, here), xytext=(10, 8), textcoords="offset points",
                   fontsize=14, fontweight="bold")
    if least is not None:
        curve.axhline(least, color=INK, linestyle=":", linewidth=1.5)
        curve.annotate(
            f"least possible: {least:.2f}", (1, least), xycoords=("axes fraction", "data"),
            xytext=(0, 4), textcoords="offset points", ha="right", va="bottom")
    curve.set(xlabel=f"angle of vector {len(vectors)} (degrees)", ylabel="loss", ylim=(-0.75, 1.1),
              xticks=range(0, 361, 90))
    curve.grid(axis="y")
    return figure


@styled
def targets_and_queries(targets, queries, errors, weight: float) -> Picture:
    """Targets, queries and their squared distances at one weight of the diversity loss.

    Args:
        targets, queries: (N, 2). errors: (N,) squared distances. weight: lambda.
    """
    targets, queries, errors = array(targets), array(queries), array(errors)
    figure = picture(
        11, 4.4, (f"{len(queries)} queries in the plane with lambda {weight:g}: targets at "
                  f"{_degrees(targets)} degrees, queries at {_degrees(queries)} degrees; squared "
                  f"distances {', '.join(f'{e:.2f}' for e in errors)}."))
    plane, distances = figure.subplots(1, 2, width_ratios=(1, 1.3))
    _plane(plane, queries, None, 1.5)
    plane.plot(*targets.T, "x", color=MARK, markersize=13, markeredgewidth=3, zorder=4)
    plane.set_title("crosses: targets", fontsize=13)
    named_bars(distances, [f"query {i + 1}" for i in range(len(errors))], errors)
    distances.set(xlim=(0, max(1.0, errors.max() * 1.2)), xlabel="squared distance from the target",
                  title=f"lambda = {weight:g}")
    return figure


@styled
def scatter(shown: dict, *, x: str, y: str) -> Picture:
    """Points in the plane, one kind of marker for each name, and the circle of length 1.

    Args:
        shown: by its name, (points, 2).
    """
    sets = {name: array(points) for name, points in shown.items()}
    details = listed({name: p for name, p in sets.items() if len(p)}, lambda p: f"{len(p)} points "
                     f"around {p[:, 0].mean():+.2f}, {p[:, 1].mean():+.2f}")
    figure = picture(9, 5.6, f"Points, {x} and {y}. {details}.")
    axis = figure.subplots()
    _circle(axis)
    for i, (name, points) in enumerate(sets.items()):
        axis.plot(
            *points.T, MARKERS[i % 5], color=COLOURS[i % 5], markersize=8, label=name, alpha=0.8,
            markerfacecolor="none" if i % 2 else COLOURS[i % 5], markeredgewidth=1.6)
    axis.set(xlabel=x, ylabel=y, aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15),
             xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axis.grid()
    figure.legend(loc="outside right center")
    return figure
