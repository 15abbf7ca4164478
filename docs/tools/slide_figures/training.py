"""Lecture 3: into the language model, training, evaluation, variants, full size."""

import numpy as np

from docs.tools.slide_numbers import config, memory, parameters, task
from favor_mini.data.spelling import spelled
from favor_mini.evaluation.intervals import wilson
from favor_mini.figures.style import LIGHT, listed
from favor_mini.lab.experiments import shipped_results
from favor_mini.world.tasks import TASKS

from .stage import AUDIO, BOTH, GREY, INK, PALE, VIDEO, WIDTH, box, empty, label, link, sheet, slide


@slide
def prompt(labels: bool = False):
    """The tokens of a prompt with four placeholders; with labels, those that count in the loss."""
    rows = (("USER:", "<Img>", "", "", "", "", "</Img>"),
            ("what", "was", "heard", "first", "?"), ("ASSISTANT:", "bell", "</s>"))
    figure, axis = sheet(
        "USER: <Img> four vectors of the clip </Img> what was heard first? ASSISTANT: bell. "
        + ("Only the answer and the end token have a label." if labels else
           "The vectors of the clip stand where the placeholders were."), 630)
    for row, tokens in enumerate(rows):
        x, y = 2, 210 * row + 10
        for i, token in enumerate(tokens):
            wide = 110 if not token else 70 + 33 * len(token)
            counts = row == 2 and i > 0
            box(axis, x, y, wide, 115, token, BOTH if not token else VIDEO if counts else LIGHT,
                fontsize=50)
            if labels:
                label(axis, x + wide / 2, y + 150, token if counts else "\N{EN DASH}",
                      color=VIDEO if counts else GREY)
            x += wide + 16
    return figure


@slide
def low_rank():
    """A frozen matrix, and the two thin ones that are trained."""
    paper = config()
    width, rank = paper.language_config.hidden_size, paper.lora_rank
    figure, axis = sheet(f"A frozen matrix of {width} x {width}, plus B of {width} x {rank} times "
                         f"A of {rank} x {width}.", 440)
    box(axis, 150, 2, 380, 380, "W\nfrozen", LIGHT)
    label(axis, 650, 190, "+", fontsize=80)
    box(axis, 770, 2, 60, 380, "B", VIDEO)
    box(axis, 890, 2, 380, 60, "A", VIDEO)
    label(axis, 340, 412, f"{width:,} x {width:,}")
    label(axis, 800, 412, f"{width:,} x {rank}")
    label(axis, 1080, 110, f"{rank} x {width:,}")
    return figure


PARTS = {"audio encoder": ("audio_encoder",), "visual encoder": ("visual_encoder",),
         "language model": ("language_model",), "Q-Former and projections":
         ("qformer", "audio_projection", "projection"), "LoRA": ("LoRA",)}


@slide
def parts(size: str = "paper"):
    """The parameters of each part, on a logarithmic axis; trained ones coloured."""
    found = parameters(size)
    totals = {name: sum(found[k][0] for k in keys) / 1e6 for name, keys in PARTS.items()}
    trained = {name: sum(found[k][1] for k in keys) > 0 for name, keys in PARTS.items()}
    figure, axis = empty("Million parameters. " + listed(
        {f"{n} ({'trained' if trained[n] else 'frozen'})": v for n, v in totals.items()},
        "{:,.0f}") + ".", 600)
    drawn = axis.barh(range(len(totals)), [*totals.values()], 0.66, linewidth=0,
                      color=[VIDEO if trained[n] else PALE for n in totals])
    axis.bar_label(drawn, [f"{v:,.0f}" for v in totals.values()], padding=14)
    axis.set_yticks(range(len(totals)), totals)
    axis.set(xscale="log", xlim=(1, 5e4), ylim=(len(totals) - 0.5, -0.5),
             xlabel="million parameters (blue: trained)", xticks=(1, 10, 100, 1000, 10000))
    axis.set_xticklabels(["1", "10", "100", "1,000", "10,000"])
    axis.minorticks_off()
    axis.tick_params(axis="y", length=0)
    return figure


@slide
def recipes():
    """Accuracy of three ways to train the connector in the same number of steps."""
    found = shipped_results("recipes")
    names = {"recipe=ask": "answers alone", "recipe=align": "spelling alone",
             "recipe=aligned": "spelling,\nthen answers"}
    rows = found.table[found.table.questions == "all"]
    values = {names[arm]: 100 * rows[rows.arm == arm].accuracy.to_numpy() for arm in names}
    chance = 100 * rows.chance.mean()
    figure, axis = empty("Accuracy over all questions. " + listed(
        {n.replace("\n", " "): v.mean() for n, v in values.items()}, "{:.0f} %")
        + f". Chance: {chance:.0f} %.", 560)
    for i, seeds in enumerate(values.values()):
        axis.barh(i, seeds.mean(), 0.6, color=VIDEO, linewidth=0)
        axis.plot(seeds, np.full(len(seeds), i), "o", color=INK, markersize=16)
        axis.text(seeds.max() + 1.2, i, f"{seeds.mean():.0f} %", va="center", fontweight="bold")
    axis.axvline(chance, color=GREY, linestyle="--")
    axis.text(chance + 0.5, -0.62, "chance", va="bottom")
    axis.set_yticks(range(len(values)), values)
    axis.set(xlim=(0, 60), ylim=(2.5, -0.6), xlabel="right answers in % (dots: seeds)")
    axis.tick_params(axis="y", length=0)
    return figure


@slide
def spelling(hide: bool = False):
    """The word of each query, and the text that they spell: repeats merge, blanks vanish."""
    words = ["see", ".", "red", "red", "circle", ".", ".", "."]
    names = sorted(set(words))
    text = [names[i] for i in spelled([names.index(w) for w in words], names.index("."))]
    figure, axis = sheet(f"The queries say {' '.join(words)}. They spell: "
                         f"{' '.join(text) if not hide else 'what?'}.", 520)
    for i, word in enumerate(words):
        box(axis, 188 * i, 60, 174, 110, word, "white" if word == "." else BOTH)
        label(axis, 188 * i + 87, 25, f"query {i + 1}", color=GREY)
    link(axis, (WIDTH / 2, 200), (WIDTH / 2, 310))
    for i, word in enumerate(["?"] if hide else text):
        x = WIDTH / 2 - 105 * (1 if hide else len(text)) + 210 * i
        box(axis, x, 340, 196, 110, word, VIDEO)
    return figure


@slide
def tasks():
    """The eleven tasks and their inputs."""
    figure, axis = sheet("The eleven tasks and their inputs. " + listed(
        {name: " and ".join(("still picture" if t.still and s == "video" else s)
                            for s in t.streams) for name, t in TASKS.items()}) + ".", 640)
    for i, t in enumerate(TASKS.values()):
        y = 29 + 58 * i
        label(axis, 0, y, t.title, ha="left")
        if "audio" in t.streams:
            label(axis, 1050, y, "sound", ha="left", color=AUDIO)
        if "video" in t.streams:
            label(axis, 1250, y, "picture" if t.still else "film", ha="left", color=VIDEO)
        axis.axhline(y + 29, color=LIGHT, linewidth=2)
    return figure


@slide
def baselines(name: str = "avqa"):
    """A model's accuracy with its interval, and the baselines of the task."""
    models = {"favor-mini": "favor-mini", "best single-modality guesser": "best with one stream",
              "text only": "question only", "untrained": "untrained", "constant answer":
              "constant answer"}
    rows = {shown: task(name, model) for model, shown in models.items()}
    figure, axis = empty(f"{rows['favor-mini'].title}: " + listed(
        rows, lambda r: f"{r.value:.0%}") + ".", 600)
    for i, row in enumerate(rows.values()):
        value = 100 * row.value
        axis.barh(i, value, 0.66, color=VIDEO if i == 0 else PALE, linewidth=0)
        right = value
        if i == 0:
            right = 100 * row.high
            axis.errorbar(value, i, xerr=[[value - 100 * row.low], [right - value]], ecolor=INK,
                          capsize=14, fmt="none")
        axis.text(right + 2, i, f"{value:.0f} %", va="center", fontweight="bold")
    axis.set_yticks(range(len(rows)), rows)
    axis.set(xlim=(0, 115), ylim=(len(rows) - 0.5, -0.5), xticks=(0, 50, 100),
             xlabel="right answers in % (line: 95 % interval)")
    axis.tick_params(axis="y", length=0)
    return figure


@slide
def perfect_scores():
    """Wilson's interval where all answers are right, over the number of questions."""
    counts = np.array([5, 10, 19, 50, 100, 200])
    lows = np.array([100 * wilson(n, n)[0] for n in counts])
    figure, axis = empty("The lower end of the 95 % interval where all answers are right: "
                         + listed(dict(zip(counts.tolist(), lows, strict=True)), "{:.0f} %",
                                  " questions ") + ".", 600)
    for i, (count, low) in enumerate(zip(counts, lows, strict=True)):
        colour = VIDEO if count == 19 else PALE
        axis.plot((i, i), (low, 100), color=colour, linewidth=16, solid_capstyle="butt")
        axis.text(i, low - 2, f"{low:.0f} %", ha="center", va="top",
                  fontweight="bold" if count == 19 else "normal")
    axis.set_xticks(range(len(counts)), counts)
    axis.set(ylim=(40, 101), xlim=(-0.5, len(counts) - 0.5), yticks=(50, 75, 100),
             xlabel="questions, all answered rightly", ylabel="95 % interval, %")
    return figure


@slide
def paired(experiment: str = "windows", arm: str = "window_frames=20, num_queries=32",
           short: str = "windows of 10 s", questions: str = "all"):
    """Two arms of an experiment, seed by seed."""
    found = shipped_results(experiment)
    rows = found.table[found.table.questions == questions]
    values = np.array([100 * rows[rows.arm == a].sort_values("seed").accuracy.to_numpy()
                       for a in (found.arms[0], arm)])  # [2, seeds]
    gains = values[1] - values[0]
    figure, axis = empty(f"Accuracy of {len(found.seeds)} seeds, as shipped and with {arm}; the "
                         f"differences: {', '.join(f'{g:+.1f}' for g in gains)} points.", 600)
    for pair in values.T:
        axis.plot((0, 1), pair, color=GREY, marker="o", markersize=20, linewidth=4)
    axis.set_xticks((0, 1), ("windows of 5 s", short))
    axis.set(xlim=(-0.35, 1.35), ylabel="right answers in %")
    ends = 10 * int(values.min() // 10), 10 * int(values.max() // 10 + 1)
    axis.set(ylim=ends, yticks=range(ends[0], ends[1] + 1, 10))
    axis.grid(axis="y")
    return figure


@slide
def gigabytes():
    """Memory of weights, gradients and optimizer at the paper's sizes, without activations."""
    bars = {"everything trained": memory(False), "as the paper trains": memory(True)}
    figure, axis = empty("Gigabytes in float32, without activations. " + listed(bars, "{:.0f}")
                         + ". A large GPU has 80.", 480)
    drawn = axis.barh(range(2), [*bars.values()], 0.6, color=[PALE, VIDEO], linewidth=0)
    axis.bar_label(drawn, [f"{v:.0f} GB" for v in bars.values()], padding=14, fontweight="bold")
    axis.axvline(80, color=INK, linestyle="--")
    axis.text(81.5, -0.5, "GPU of 80 GB", va="bottom")
    axis.set_yticks(range(2), bars)
    axis.set(ylim=(1.5, -0.5), xlim=(0, 175), xlabel="GB, without activations")
    axis.tick_params(axis="y", length=0)
    return figure
