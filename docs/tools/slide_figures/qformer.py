"""Lecture 2: the causal Q-Former, its mask, windows, and the diversity loss."""

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn

from docs.tools.slide_numbers import config, sample
from favor_mini import read_clip
from favor_mini.figures.gym import accuracy_lines
from favor_mini.figures.shapes import arrow
from favor_mini.figures.style import LIGHT, listed
from favor_mini.figures.timeline import frame_strip
from favor_mini.lab.contract import check
from favor_mini.lab.gym.studies import find_study, shipped_study
from favor_mini.losses import diversity_loss
from favor_mini.qformer import CausalQFormer
from favor_mini.registry import find
from favor_mini.windows import split_windows

from .stage import BOTH, GREY, INK, PALE, VIDEO, WIDTH, box, empty, label, link, sheet, slide


@slide
def two_orders():
    """The same frames in two orders."""
    clip = read_clip(sample().path)
    frames = clip.frames[[int(m.start + m.end) for m in sample().scene.moments]]
    figure, axes = empty(f"{len(frames)} frames of a clip, and the same frames in the opposite "
                         "order: two films with the same mean.", 560, 2)
    for axis, strip, name in zip(axes, (frames, frames[::-1]), ("film 1", "film 2"), strict=True):
        frame_strip(axis, strip)
        axis.set_ylabel(name)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


@slide
def reading():
    """Many tokens of a window are read by a few queries."""
    paper = config()
    tokens, queries = paper.window_frames * paper.step_shape[0], paper.num_queries
    figure, axis = sheet(f"A window of {tokens} tokens; {queries} queries read all of them by "
                         f"cross-attention and become {queries} vectors.", 560)
    for i in range(30):
        box(axis, 50 * i, 420, 42, 70, "", BOTH, linewidth=0)
    label(axis, WIDTH / 2, 530, f"{tokens} tokens of a window of {paper.window_frames} frames")
    for q in range(6):
        x = 300 + 160 * q
        if q == 4:
            label(axis, x + 50, 160, "...")
            continue
        box(axis, x, 120, 110, 80, f"q{queries if q == 5 else q + 1}", "white")
        for i in range(0, 30, 4):
            link(axis, (50 * i + 21, 415), (x + 55, 205), GREY, linewidth=1.2, arrowstyle="-")
        link(axis, (x + 55, 118), (x + 55, 68))
    label(axis, WIDTH / 2, 32, f"{queries} vectors for the language model")
    label(axis, 130, 160, f"{queries}\nqueries")
    return figure


@slide
def layer():
    """The four steps of a layer of the causal Q-Former."""
    figure, axis = sheet(
        "A layer. The inputs of the window go through causal self-attention. The queries go "
        "through self-attention, then cross-attention to the encoded inputs, then a feed-forward "
        "network.", 580)
    box(axis, 0, 400, 240, 150, "inputs of\nthe window", LIGHT)
    box(axis, 330, 400, 330, 150, "1 causal self-\nattention", BOTH)
    box(axis, 0, 60, 240, 150, "N queries", LIGHT)
    box(axis, 330, 60, 330, 150, "2 self-\nattention", VIDEO)
    box(axis, 750, 60, 330, 150, "3 cross-\nattention", VIDEO)
    box(axis, 1170, 60, 330, 150, "4 feed-\nforward", VIDEO)
    for start, end in (((240, 475), (330, 475)), ((240, 135), (330, 135)), ((660, 135), (750, 135)),
                       ((1080, 135), (1170, 135))):
        link(axis, start, end)
    axis.plot((660, 915), (475, 475), color=INK, linewidth=5, solid_capstyle="butt")
    link(axis, (915, 477), (915, 212))
    label(axis, 935, 330, "encoded inputs:\nkeys and values", ha="left")
    return figure


def _mean_cosine(norm: bool, biases: bool) -> float:
    """The mean cosine of output queries before training, of a small Q-Former."""
    torch.manual_seed(0)
    made = CausalQFormer(input_width=32, window_frames=4, step_tokens=4, num_queries=8, width=32,
                         heads=4, hidden=64, dropout=0.0)
    for module in made.modules():
        if isinstance(module, nn.Linear) and biases:
            module.reset_parameters()
    made.query_norm = made.query_norm if norm else nn.Identity()
    with torch.no_grad():
        out, _ = made(torch.randn(20, 16, 32), torch.ones(20, 4, dtype=torch.bool))
    return float(diversity_loss(out))


@slide
def collapse():
    """How alike the queries are before training, with and without the LayerNorm of the queries."""
    bars = {f"{start},\n{'with' if norm else 'without'} LayerNorm": _mean_cosine(norm, biases)
            for start, biases in (("random biases", True), ("zero biases", False))
            for norm in (True, False)}
    figure, axis = empty("Mean cosine of the output queries before training. " + listed(
        bars, "{:.2f}").replace("\n", " ") + ".", 600)
    drawn = axis.barh(range(len(bars)), [*bars.values()], 0.66, linewidth=0,
                      color=[VIDEO if v > 0.9 else PALE for v in bars.values()])
    axis.bar_label(drawn, [f"{v:z.2f}" for v in bars.values()], padding=16, fontweight="bold")
    axis.set_yticks(range(len(bars)), bars)
    axis.set(ylim=(len(bars) - 0.5, -0.5), xlim=(min(0, *bars.values()) - 0.02, 1.15),
             xticks=(0, 0.5, 1), xlabel="mean cosine of output vectors, untrained")
    axis.tick_params(axis="y", length=0)
    return figure


def _squares(axis, held: np.ndarray, block: int, colour: str) -> None:
    """A boolean matrix as squares, with a line after every `block` rows and columns."""
    size = len(held)
    for i, j in np.ndindex(held.shape):
        axis.add_patch(Rectangle((j, i), 1, 1, facecolor=colour if held[i, j] else "white",
                                 edgecolor="#b8c4d2", linewidth=1.5))
    for k in range(0, size + 1, block):
        axis.plot((k, k), (0, size), color=INK, linewidth=4)
        axis.plot((0, size), (k, k), color=INK, linewidth=4)
    axis.set(xlim=(-0.05, size + 0.05), ylim=(size + 0.05, -0.05), aspect="equal")
    places = np.arange(block / 2, size, block)
    axis.set_xticks(places, range(1, size // block + 1))
    axis.set_yticks(places, range(1, size // block + 1))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


@slide
def masks(names: str = "block_causal", num_frames: int = 4, step_tokens: int = 3):
    """Attention masks over frames: coloured where the query attends to the key."""
    shown = names.split()
    figure, axes = empty(
        f"Attention masks over {num_frames} frames of {step_tokens} tokens. " + "; ".join(
            f"{name}: {find('attention', name)(num_frames, step_tokens).float().mean():.0%} of the "
            "pairs" for name in shown) + ".", 600, 1, len(shown),
        width=520 * len(shown) + 60, squeeze=False)
    for axis, name in zip(axes.flat, shown, strict=True):
        _squares(axis, find("attention", name)(num_frames, step_tokens).numpy(), step_tokens, VIDEO)
        axis.set(xlabel="attended frame", ylabel="attending frame")
        axis.set_title(name) if len(shown) > 1 else None
    return figure


@slide
def receptive_fields(names: str = "block_causal"):
    """Measured: which frame's encoding changes with which frame."""
    found = {name: check("attention", name, show=False).receptive_field for name in names.split()}
    figure, axes = empty("Measured receptive fields. " + listed(found, lambda square: ", ".join(
        f"frame {i} changes with {' '.join(str(j + 1) for j in np.flatnonzero(row))}"
        for i, row in enumerate(square, 1))) + ".", 600, 1, len(found),
        width=620 * len(found) + 60, squeeze=False)
    for axis, (name, square) in zip(axes.flat, found.items(), strict=True):
        _squares(axis, square, 1, BOTH)
        axis.set(xlabel="changed frame", ylabel="encoded frame")
        axis.set_title(name) if len(found) > 1 else None
    return figure


@slide
def learning(study: str, arms: dict, **cell):
    """Learning curves of the gym, the mean over the seeds and its range, by an arm's short name."""
    found = shipped_study(study).cells[find_study(study).cells.index(cell)]
    curves = found.curves[found.curves.arm.isin(arms)]
    order = curves.arm.map({arm: i for i, arm in enumerate(arms)})
    curves = curves.assign(arm=curves.arm.map(arms)).iloc[order.argsort(kind="stable")]
    last = {name: rows[rows.step == rows.step.max()].accuracy.mean()
            for name, rows in curves.groupby("arm", sort=False)}
    figure, axis = empty(f"Accuracy over {curves.step.max()} training steps in the gym, mean of "
                         f"{len(found.seeds)} seeds. At the end: {listed(last, '{:.0%}')}.",
                         600)
    accuracy_lines(axis, curves, found.table.chance.iloc[0], (VIDEO, INK, GREY))
    axis.set(ylabel="right answers in %", yticks=(0, 50, 90))
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@slide
def windows(num_frames: int = 22):
    """The frames of a clip in windows, the last one padded."""
    paper = config()
    steps, real = torch.zeros(1, num_frames, 1, 1), torch.ones(1, num_frames, dtype=torch.bool)
    _, mask = split_windows(steps, real, paper.window_frames)  # [W, K]
    count, length = mask.shape
    figure, axis = sheet(
        f"{num_frames} frames in {count} windows of {length}; the last window holds "
        f"{int(mask[-1].sum())} frames, the rest is padding. Each window gives {paper.num_queries} "
        "vectors.", 400)
    unit = WIDTH / (count * (length + 0.6))
    for w in range(count):
        left = w * (length + 0.6) * unit
        for k in range(length):
            here = bool(mask[w, k])
            box(axis, left + k * unit, 100, unit, 110, "", BOTH if here else "white",
                hatch="" if here else "//", edgecolor="white" if here else GREY, linewidth=2)
        middle = left + length * unit / 2
        label(axis, middle, 50, f"window {w + 1}", fontweight="bold")
        link(axis, (middle, 220), (middle, 310))
        label(axis, middle, 355, f"{paper.num_queries} vectors")
    return figure


@slide
def streamed(num_frames: int = 5):
    """What is computed when a frame arrives, with a causal mask and with full attention."""
    rows = {"causal": find("attention", "block_causal"), "full": find("attention", "full")}
    work = {}
    for name, mask in rows.items():
        square = mask(num_frames, 1).numpy()
        # At the arrival of frame t, an encoding is computed if it can change: it is new, or it
        # attends to frame t.
        work[name] = np.array([[f <= t and (f == t or square[f, t]) for f in range(num_frames)]
                               for t in range(num_frames)])
    figure, axes = empty("Encodings that are computed when a frame arrives. " + listed(
        work, lambda done: f"{int(done.sum())} in {num_frames} arrivals") + ".", 600, 1, 2,
        width=1400)
    for axis, (name, done) in zip(axes, work.items(), strict=True):
        _squares(axis, done.T, 1, GREY)  # [encoded, arriving]
        axis.set(xlabel="frame that arrives", ylabel="frame encoded then",
                 title=f"{name}: {int(done.sum())} encodings")
    return figure


@slide
def arrows(hide: bool = False):
    """Three sets of three queries in the plane, with their diversity loss."""
    sets = {"all alike": (0, 0, 0), "two alike": (0, 0, 90), "spread out": (0, 120, 240)}
    vectors = {name: np.array([(np.cos(np.radians(a + 90)), np.sin(np.radians(a + 90)))
                               for a in angles]) for name, angles in sets.items()}
    losses = {name: float(diversity_loss(torch.tensor(v)[None])) for name, v in vectors.items()}
    shown = dict.fromkeys(sets, "loss ?") if hide else {
        name: f"loss {loss:z.2f}" for name, loss in losses.items()}
    figure, axes = empty(f"Three queries in the plane. {listed(shown)}.", 600, 1, 3)
    for axis, (name, tips) in zip(axes, vectors.items(), strict=True):
        for i, tip in enumerate(tips):  # equal ones next to each other
            place = 0.09 * sum(np.allclose(tip, other) for other in tips[:i])
            arrow(axis, (place, 0), (tip[0] + place, tip[1]), VIDEO, mutation_scale=45, linewidth=7)
        label(axis, 0, 1.55, f"{name}\n{shown[name]}", fontweight="bold")
        axis.set(xlim=(-1.15, 1.3), ylim=(-1.05, 1.9), aspect="equal")
        axis.axis("off")
    return figure
