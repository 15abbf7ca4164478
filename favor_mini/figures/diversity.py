"""Pictures of queries as arrows in the plane: what the diversity loss sees of them, and where it pushes them."""

from __future__ import annotations

import textwrap

import numpy as np

from .plots import COLOURS, MARKERS, array
from .style import EVEN, INK, LIGHT, MARK, STRONG, Picture, picture, styled


def _degrees(vectors: np.ndarray) -> str:
    return ", ".join(f"{angle:.0f}" for angle in np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])))


def _plane(axis, vectors: np.ndarray, pushes: np.ndarray | None, reach: float) -> None:
    """Arrows from the middle, each with its number at its tip, and from the tips, in red, where they are pushed."""
    round_ = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(round_), np.sin(round_), color=LIGHT, linewidth=1.5, zorder=0)
    axis.plot(0, 0, "o", color=INK, markersize=4)
    for i, tip in enumerate(vectors):
        axis.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": STRONG, "linewidth": 2.2, "mutation_scale": 18,
                                                   "shrinkA": 0, "shrinkB": 0})
        if pushes is not None and np.linalg.norm(pushes[i]) > 0.02:
            axis.annotate("", tip + pushes[i], tip, arrowprops={"arrowstyle": "-|>", "color": MARK, "linewidth": 2.2,
                                                                "mutation_scale": 14, "shrinkA": 0, "shrinkB": 0})
        together = [j for j, other in enumerate(vectors) if np.linalg.norm(other - tip) < 0.06 * reach]
        if i == together[0]:  # arrows that lie on one another share a label
            length = max(np.linalg.norm(tip), 1e-9)
            side = "center" if len(together) == 1 or abs(tip[0]) < 0.4 * length else "left" if tip[0] > 0 else "right"
            axis.text(*(tip / length * (length + (0.13 if side == "center" else 0.05) * reach)), ", ".join(str(j + 1) for j in together),
                      ha=side, va="center", fontsize=13, fontweight="bold")
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


@styled
def arrows(shown: dict, *, columns: int = 5) -> Picture:
    """Sets of vectors in the plane, side by side, one title each.

    Args:
        shown: by its title, (N, 2) vectors, or a pair of these and (N, 2) pushes, drawn in red from the tips.
    """
    sets = {title: tuple(map(array, v)) if isinstance(v, tuple) else (array(v), None) for title, v in shown.items()}
    told = "; ".join(f"{title}: {len(v)} arrows at {_degrees(v)} degrees" + (
        "" if p is None else f", pushed by {', '.join(f'{n:.2f}' for n in np.linalg.norm(p, axis=1))}") for title, (v, p) in sets.items())
    reach = 1.2 * max(1.0, *(float(np.linalg.norm(v, axis=1).max()) for v, _ in sets.values()),
                      *(float(np.linalg.norm(v + p, axis=1).max()) for v, p in sets.values() if p is not None))
    columns = min(columns, len(sets))
    rows = -(-len(sets) // columns)
    side = min(3.6, 14 / columns)
    lines = 1 + max(title.count("\n") for title in sets)
    figure = picture(columns * side, rows * (side + 0.1 + 0.27 * lines), f"Vectors in the plane. {told}.")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(sets):]:
        axis.set_visible(False)
    for axis, (title, (vectors, pushes)) in zip(axes, sets.items(), strict=False):
        _plane(axis, vectors, pushes, reach)
        axis.set_title("\n".join(textwrap.fill(line, max(16, int(7.5 * side))) for line in title.split("\n")), fontsize=13)
    return figure


@styled
def turned(vectors, angles, values, angle: float, *, least: float | None = None) -> Picture:
    """Vectors in the plane, the cosines of their pairs, and the loss over the angle of the one that is turned.

    Args:
        vectors: (N, 2). angles, values: the curve, in degrees. angle: where on it the vectors are.
        least: the least value that the loss can have, drawn as a line.
    """
    vectors, values = array(vectors), array(values)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    here = float(np.interp(angle, angles, values))
    figure = picture(14, 4.3, (
        f"{len(vectors)} vectors in the plane at {_degrees(vectors)} degrees, the matrix of their cosines, and the loss over the angle of "
        f"the last one: {here:.2f} at {angle:.0f} degrees, from {values.min():.2f} to {values.max():.2f} over the whole turn."))
    plane, square, curve = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.5))
    _plane(plane, vectors, None, 1.3 * max(1.0, float(np.linalg.norm(vectors, axis=1).max())))
    drawn = square.imshow(cosines, cmap=EVEN, vmin=-1, vmax=1)
    for i, j in np.ndindex(cosines.shape):
        text = f"{cosines[i, j]:.2f}".replace("-0.00", "0.00")
        square.text(j, i, text if i != j else "(1)", ha="center", va="center", fontsize=13, color=INK if cosines[i, j] > 0.2 else "white")
    square.set(xticks=range(len(vectors)), yticks=range(len(vectors)), title="cosines")
    square.set_xticklabels(range(1, len(vectors) + 1))
    square.set_yticklabels(range(1, len(vectors) + 1))
    square.tick_params(length=0)
    figure.colorbar(drawn, ax=square, ticks=[-1, 0, 1], shrink=0.8)
    curve.plot(angles, values, color=STRONG, linewidth=2.5)
    curve.plot([angle], [here], "o", color=MARK, markersize=11, zorder=3)
    curve.annotate(f"{here:.2f}", (angle, here), xytext=(10, 8), textcoords="offset points", fontsize=14, fontweight="bold")
    if least is not None:
        curve.axhline(least, color=INK, linestyle=":", linewidth=1.5)
        curve.annotate(f"least possible: {least:.2f}", (1, least), xycoords=("axes fraction", "data"), xytext=(0, 4),
                       textcoords="offset points", ha="right", va="bottom", fontsize=12)
    curve.set(xlabel=f"angle of vector {len(vectors)} (degrees)", ylabel="loss", ylim=(-0.75, 1.1), xticks=range(0, 361, 90))
    curve.grid(axis="y", color="#dddddd")
    return figure


@styled
def tug(targets, queries, errors, weight: float) -> Picture:
    """What queries should say, as short dashes on the circle, what they say, as arrows, and how far each is off, as bars.

    Args:
        targets, queries: (N, 2). errors: (N,) squared distances. weight: lambda.
    """
    targets, queries, errors = array(targets), array(queries), array(errors)
    figure = picture(11, 4.4, (
        f"{len(queries)} queries in the plane with lambda {weight:g}: wanted at {_degrees(targets)} degrees, found at {_degrees(queries)} "
        f"degrees; squared distances {', '.join(f'{e:.2f}' for e in errors)}."))
    plane, bars = figure.subplots(1, 2, width_ratios=(1, 1.3))
    _plane(plane, queries, None, 1.5)
    for target in targets:
        plane.plot(*target, marker="x", color=MARK, markersize=13, markeredgewidth=3, zorder=4)
    plane.set_title("crosses: what they should say", fontsize=13)
    bars.barh(range(len(errors)), errors, 0.6, color=LIGHT, edgecolor=INK)
    for i, error in enumerate(errors):
        bars.annotate(f"{error:.2f}", (error, i), xytext=(6, 0), textcoords="offset points", va="center")
    bars.set(yticks=range(len(errors)), ylim=(len(errors) - 0.5, -0.5), xlim=(0, max(1.0, errors.max() * 1.2)),
             xlabel="squared distance from what it should say", title=f"lambda = {weight:g}")
    bars.set_yticklabels([f"query {i + 1}" for i in range(len(errors))])
    return figure


@styled
def clouds(shown: dict, *, x: str, y: str) -> Picture:
    """Points in the plane, one kind of marker for each name, around the circle of length 1.

    Args:
        shown: by its name, (points, 2).
    """
    sets = {name: array(points) for name, points in shown.items()}
    told = "; ".join(f"{name}: {len(p)} points around {p[:, 0].mean():+.2f}, {p[:, 1].mean():+.2f}" for name, p in sets.items() if len(p))
    figure = picture(9, 5.6, f"Points, {x} and {y}. {told}.")
    axis = figure.subplots()
    round_ = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(round_), np.sin(round_), color=LIGHT, linewidth=1.5, zorder=0)
    for i, (name, points) in enumerate(sets.items()):
        axis.plot(*points.T, MARKERS[i % 5], color=COLOURS[i % 5], markersize=8, label=name, linestyle="", alpha=0.8,
                  markerfacecolor="none" if i % 2 else COLOURS[i % 5], markeredgewidth=1.6)
    axis.set(xlabel=x, ylabel=y, aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axis.grid(color="#dddddd")
    figure.legend(loc="outside right center", frameon=False)
    return figure
