# %% [markdown]
# # 11 Make your own variant
#
# **You will** change one mechanism of FAVOR in ten lines, measure with a contract what the change
# does, replace the whole connector by your own module, compare it with the paper's in pairs, and
# report the result correctly, also if it is *no measurable difference*.
#
# **You need** notebook 05 (masks, temporal receptive field); 04 and 06 help. **Paper:** its
# ablations, which remove one part at a time.
#
# **Costs:** 40 minutes of reading, 62 minutes of exercises; 60 s of computing, 1.5 GB of memory.

# %%
import inspect
import textwrap

import numpy as np
import torch

from favor_mini import lab
from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.registry import SLOTS, find, names, part, register

print(lab.__doc__)

# %% [markdown]
# ## Five slots
#
# A fair test of an idea is expensive. Two things make it cheaper here. The mechanism has five
# **slots**: a part in a slot can be exchanged without a change of the package. A part is a function
# or a module with a *name*, and the config holds the name. And each slot has a **contract**, which
# tests a part before any training.

# %%
flow([(slot, ", ".join(names(slot)), f"{len(names(slot))} parts") for slot in SLOTS],
     title="Five slots in the order of the data; the paper's part is first")

# %% [markdown]
# The inputs and outputs of each slot, with T time steps of P tokens, K frames per window, N
# queries:

# %%
for slot, signature in SLOTS.items():
    print(f"{slot:<10} {signature}")

# %% [markdown]
# A registry is a dictionary and a decorator. By hand, in five lines:

# %%
registry = {}


def add(name):
    return lambda function: registry.setdefault(name, function)


@add("twice")
def twice(x):
    return 2 * x


print(
    registry["twice"](21),
    "| in the package:",
    find("attention", "block_causal")(2, 1).int().tolist(),
)

# %% [markdown]
# The package's `register` adds three things: it checks the slot, it raises an error if the name is
# already used by another part, and it stores what you *declare*: `causal=True` means that no
# frame's encoding depends on a later frame. A declaration can be wrong.

# %%
for name in names("attention"):
    known = part("attention", name)
    print(f"{name:<17} causal={known.causal!s:<6} {textwrap.shorten(known.about, 78)}")

# %% [markdown]
# ## A mask in ten lines
#
# Suppose that the first frame of a window shows the scene, and the current frame shows the rest. So
# a token may attend to its own frame and to the first one,
#
# $$M_{ij} = \big[\, f(i) = f(j) \,\big] \;\lor\; \big[\, f(j) = 0 \,\big]$$
#
# with $f(i)$ the frame of token $i$. By hand, for four frames of one token (rows are queries,
# columns are keys):
#
# ```
#    frame 0   # . . .
#    frame 1   # # . .
#    frame 2   # . # .
#    frame 3   # . . #
# ```
#
# **Predict** before you write: is it causal? And on which of the K frames does the last frame's
# encoding depend? (`frame_index(K, P)` gives the frame of each of the K * P tokens, from 0. Figures
# and the contract count frames from 1.)

# %%
from favor_mini.attention import frame_index

card("first_and_own")

# %% tags=["exercise:first_and_own"]
def first_and_own(num_frames, step_tokens, device=None):
    """K, P -> (K * P, K * P) bool over (query token, key token)."""
    raise NotImplementedError  # your code

# %%
first_and_own = check("first_and_own", first_and_own)
matrices(
    {
        "first_and_own": first_and_own(5, 3),
        "block_causal": find("attention", "block_causal")(5, 3),
    },
    x="frame of the key",
    y="frame of the query",
    blocks=3,
)

# %% [markdown]
# Register it under a name in the slot `attention`. Running this cell again replaces the
# registration, so you can edit the mask.

# %%
@register("attention", "first_and_own", causal=True)
def registered(num_frames, step_tokens, device=None):
    """A token attends to its own frame and to the first frame of the window."""
    return first_and_own(num_frames, step_tokens, device)

# %% [markdown]
# ## The contract
#
# Before an hour of training, spend a second on the contract. It builds a small Q-Former with random
# weights in float64, and *measures* as in notebook 05: it changes one frame, and tests which
# encodings change.

# %%
from favor_mini.lab.contract import check as contract

found = contract("attention", "first_and_own", show=False)
for line in str(found).split("\n"):
    # print(found) also shows the rounding errors
    print(line.split(": largest difference")[0])

# %% [markdown]
# Every token has to attend to itself, because a row without any True gives `nan` (notebook 05). The
# matrix at the end is the measured temporal receptive field. It equals your mask.
#
# Now three parts with mistakes. Each has the right shapes and could be trained. **Predict** which
# check of the contract each one fails, then run.

# %%
def print_failures(slot, name):
    """Print the failed checks only."""
    for broken in contract(slot, name, show=False).broken or ["all checks passed"]:
        message = textwrap.shorten(f"{name}: {broken}", 260, placeholder=" ...")
        print(textwrap.fill(message, 105, subsequent_indent="    "))


@register("attention", "late_start", causal=True)
def late_start(num_frames, step_tokens, device=None):
    """First and own frame, but the first frame counts from 1."""
    frame = frame_index(num_frames, step_tokens, device)
    return (frame[:, None] == frame[None, :]) | (frame[None, :] == 1)


@register("attention", "past_only", causal=True)
def past_only(num_frames, step_tokens, device=None):
    """Earlier frames only."""
    frame = frame_index(num_frames, step_tokens, device)
    return frame[:, None] > frame[None, :]


@register("diversity", "sum_of_lengths")
def sum_of_lengths(queries, real=None):
    """Penalises long queries, whatever their direction."""
    return queries.square().sum(-1).mean()


for slot, name in (
    ("attention", "late_start"),
    ("attention", "past_only"),
    ("diversity", "sum_of_lengths"),
):
    print_failures(slot, name)

# %% [markdown]
# The third counts windows of padding, so the loss of a clip depends on the lengths of the other
# clips in the batch. It also penalises length instead of similarity. This is *not* detected: a
# contract finds many mistakes, but it is no proof.
#
# Browse the parts. Which synchronisation leaks? With which windows do frames share a window that
# `sliding` separates? (For a mask, the receptive field is over the K frames of a window; for `sync`
# and `windows`, over a whole clip.)

# %%
from favor_mini.figures.attention import receptive_field
from favor_mini.course.widgets import explore


def browse(a_part):
    slot, name = a_part.split(": ")
    result = contract(slot, name, show=False)
    kept = sum(f.passed for f in result.all)
    words = (
        f"<b>{name}</b>: {result.about}<br>{kept} of {len(result.all)} checks passed."
    )
    words += " ".join(["", *result.broken])
    return (
        words
        if result.receptive_field is None
        else [receptive_field({name: result.receptive_field}), words]
    )


parts = [
    f"{slot}: {name}"
    for slot in ("attention", "connector", "windows", "sync")
    for name in names(slot)
]
parts.sort(key=lambda a_part: "first_and_own" not in a_part)  # yours first
explore(browse, a_part=parts)

# %% [markdown]
# ## Change the Q-Former's layer
#
# A mask changes *which* tokens are attended to. Perhaps attention among the inputs of a window is
# not needed at all? The layer of the Q-Former calls one method for it,
# `encode(inputs, mask, maps)`, and the queries attend to its result. So a variant without attention
# is a subclass with this method. The simplest function of the past is a mean:
#
# $$e_{t,p} = \frac{1}{t+1} \sum_{s \le t} x_{s,p}$$
#
# for frame $t$ (from 0) and token position $p$ within the frame. One position, three frames
# with the values 6, 0, 3: the running means are 6, 3, 3.
#
# First a plain mean over the window. **Predict** what is wrong with it.

# %%
from favor_mini.qformer import CausalQFormer, CausalQFormerLayer


class PlainMeanLayer(CausalQFormerLayer):
    def encode(self, inputs, mask, maps=None):
        steps = inputs.unflatten(1, (self.frames, -1))  # [B * W, K, P, D]
        return (steps + steps.mean(1, keepdim=True)).flatten(1, 2)


@register("connector", "plain_mean", causal=True)
class PlainMean(CausalQFormer):
    """The mean of the window added to each token, in place of attention."""

    layer_class = PlainMeanLayer

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for layer in self.layers:
            layer.frames = self.window_frames


print_failures("connector", "plain_mean")

# %% [markdown]
# There are three mistakes. **It leaks**: the mean contains later frames. **Padding leaks**, for the
# same reason: padded frames change real frames. And the parameters of the causal attention are
# still there, but **they get no gradient**: they would be counted, stored and decayed, but never
# trained.
#
# The running mean corrects this. It cannot leak, and padding comes at the end, after all real
# frames.

# %%
card("running_mean")

# %% tags=["exercise:running_mean"]
def running_mean(inputs, num_frames):
    """(B * W, K * P, D), K -> the same shape: mean over all frames up to the own
    one.
    """
    raise NotImplementedError  # your code

# %%
running_mean = check("running_mean", running_mean)
print(running_mean(torch.tensor([6.0, 0.0, 3.0]).view(1, 3, 1), 3).flatten())

# %%
class MeanLayer(CausalQFormerLayer):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        del self.causal_attention  # parameters without a gradient must not stay

    def encode(self, inputs, mask, maps=None):
        return inputs + running_mean(inputs, self.frames)


@register("connector", "running_mean", causal=True)
class RunningMean(CausalQFormer):
    """A running mean over earlier frames in place of attention among the inputs."""

    layer_class = MeanLayer

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for layer in self.layers:
            layer.frames = self.window_frames


print_failures("connector", "running_mean")
shown = {
    name: contract("connector", name, show=False).receptive_field
    for name in ("plain_mean", "running_mean")
}
matrices(
    {
        f"{name}, measured": square.repeat(2, 0).repeat(2, 1)
        for name, square in shown.items()
    },
    x="frame changed",
    y="frame encoded",
    blocks=2,
)

# %% [markdown]
# ## A connector of your own
#
# The slot `connector` accepts any `nn.Module`. It does not need queries, layers or attention. The
# requirements:
#
# | requirement | reason |
# |---|---|
# | built with `input_width`, `window_frames`, `num_queries`, `width` and so on, like the Q-Former | the model passes all of them |
# | called with windows (B * W, K * P, D), mask (B * W, K), `return_maps` | the model calls every connector in this way |
# | returns queries (B * W, N, width), and maps or None | the projection and the diversity loss read them |
# | `maps.encoded`: the encodings that the outputs are computed from, one per layer | causality is measured there |
# | no effect of padded frames or of other windows of the batch | otherwise an answer depends on other clips |
# | every frame has an effect, every parameter gets a gradient | unused inputs or parameters are a mistake |
# | `reset_parameters()` | a comparison initialises it for each seed |
#
# `WithoutAttention` in `favor_mini/lab/variants.py` is a base class for such modules. It has the
# LayerNorm and positions of the Q-Former (`embed`), one or several linear maps (`map`, which a
# subclass creates in `make_map`), a final LayerNorm (`norm`), `reset_parameters`, and a rule for
# the frame of each of the N outputs (`places`), evenly spaced in time order,
# $\lfloor nK/N \rfloor$. With N below K some frames are not used, so choose N of at least K:

# %%
from torch import nn  # for your answer

from favor_mini.lab.variants import WithoutAttention

print("5 outputs over 3 frames:", (torch.arange(5) * 3 // 5).tolist())
for method in (
    WithoutAttention.__init__,
    WithoutAttention.places,
    WithoutAttention.embed,
):
    print(textwrap.dedent(inspect.getsource(method)))

# %% [markdown]
# With this base, mean pooling has four lines. It is the simplest connector: any other has to be
# compared with it.

# %%
card("MeanPooling")

# %% tags=["exercise:MeanPooling"]
class MeanPooling(WithoutAttention):
    """The mean of a time step's tokens, then one linear map."""

    @staticmethod
    def make_map(input_width, hidden, width):
        raise NotImplementedError  # your code

    def forward(self, windows, frame_mask, return_maps=False):
        raise NotImplementedError  # your code

# %%
MeanPooling = check("MeanPooling", MeanPooling)

# %% [markdown]
# Register it, run the contract, and use it in a model: `fresh_model` (notebook 09) adds it,
# untrained, to the frozen parts. **Predict** the cost of each connector for ten seconds of video.

# %%
from favor_mini import checkpoint_path
from favor_mini.lab.run import connector_cost, fresh_model


@register("connector", "my_pooling", causal=True)
class MyPooling(MeanPooling):
    """Mean pooling, as written in this notebook."""


print_failures("connector", "my_pooling")
shown = ("causal_qformer", "running_mean", "my_pooling")
costs = {
    name: connector_cost(fresh_model(checkpoint_path(), 0, {"connector": name})[0])
    for name in shown
}
bars(
    {
        f"{name}, {c['parameters'] / 1e6:.2f} million parameters": c["gflop"]
        for name, c in costs.items()
    },
    x="GFLOP for one pass over 10 s",
    title="Cost of a connector",
)

# %% [markdown]
# ## In a minute: the gym
#
# In the gym (notebook 03) a part of your own enters by its name and learns from answers alone:
# *what was seen when x was heard?* Both connectors have 12 outputs for the 6 frames of a clip.
# **Predict** which learns sooner. (The cell takes half a minute.)

# %%
from favor_mini.figures.gym import learning_curves, phase_diagram
from favor_mini.lab.gym.results import GymPlan, gym
from favor_mini.lab.gym.studies import show_study
from favor_mini.places import work_path

arms = [{"connector": "causal_qformer"}, {"connector": "my_pooling"}]
quick = GymPlan(arms, {"tasks": "recall", "num_queries": 12, "steps": 150}, seeds=2)
learning_curves(gym(quick, work_path("notebook-gym"), progress=False))

# %%
study = show_study("connectors")
phase_diagram(study) if study else None

# %% [markdown]
# With five seeds, three simple connectors learn this task sooner than both Q-Formers, at less cost.
# A likely reason: in them a frame and its output are tied from the start, and a query has to find
# out where to look.
#
# And where the answer relates two time steps? **Predict** for 2 and for 6 outputs.

# %%
study = show_study("relating")
phase_diagram(study) if study else None

# %% [markdown]
# With 2 outputs the causal Q-Former is far ahead of pooling. It is not ahead of a convolution over
# three steps, which with 6 outputs learns both tasks in a sixth of the steps. With films in place of
# symbols, the simple connectors lead in "what belongs together", by 4 to 5 points (study
# *film-connectors*, `docs/results.md`).
#
# ## On a real clip
#
# Your mask in the shipped model, which was trained with another one. All frames attend to frame 1,
# and to no other frame between it and their own.

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, read_clip
from favor_mini.world.samples import read_samples

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
sample = read_samples()[0]
clip = read_clip(sample.path)
question = next(q for q in sample.questions if q.family == "heard_after")
frames, shown, answers = model.config.window_frames, {}, {}
for mask in ("block_causal", "first_and_own"):
    model.qformer.attention = mask
    with torch.no_grad():
        maps = model(**processor([clip], [question.text]), return_maps=True).maps
        answers[mask] = processor.decode(
            model.generate(**processor([clip], [question.text]))
        )[0]
    blocks = (
        maps.causal[0][0].mean(0).unflatten(0, (frames, -1)).unflatten(-1, (frames, -1))
    )  # [K, P, K, P]
    shown[mask] = blocks.mean(1).sum(-1)
del model  # the comparison below creates its own
print(f"{question.text}  truth: {question.answer};",
      "; ".join(f"{mask}: {text}" for mask, text in answers.items()))
matrices(
    shown,
    x="frame of the key",
    y="frame of the query",
    ticks=range(1, frames + 1),
    numbers=False,
    limits=(0, 1),
    label="share of attention",
)

# %% [markdown]
# The answer shows nothing: it is one question, and whether a mask is better *for training* needs
# several trainings.
#
# ## A fair comparison
#
# `Plan` says what is compared, and `compare` does it. Four rules make it fair:
#
# 1. **Untrained.** Every arm gets an untrained connector and untrained LoRA with the same frozen
#    parts.
# 2. **Paired.** Arms with the same seed have the same random numbers for initialisation, the same
#    order of clips, the same number of steps, and the same questions.
# 3. **Several seeds.** Without the variance between trainings no difference can be judged.
# 4. **Held-out questions** about scenes that are in no training set.
#
# Here is a *tiny* plan: a Q-Former with one layer and a quarter of the width, compared with your
# pooling of the same width; two seeds, six steps on sixteen clips. It is far too small for a
# result. `dry_run` prints the cost of a plan (also the time, which depends on the machine and is
# not shown here).

# %%
from favor_mini.lab.compare import compare, dry_run
from favor_mini.lab.run import run_folder
from favor_mini.lab.plan import Plan

small = {
    "qformer_width": 64,
    "qformer_hidden": 128,
    "qformer_layers": 1,
    "num_queries": 10,
}
tiny = Plan([{"connector": "causal_qformer"}, {"connector": "my_pooling"}], fixed=small,
            seeds=2, steps=6, clips=16, batch=4, lr=2e-3, scenes=5, questions=7)
out = work_path("notebook-compare")
for line in dry_run(tiny, out, progress=False).split("\n")[:-1]:
    print(line[:66])

# %% tags=["varies"]
results = compare(tiny, out, progress=False)
print(len(results.results), "runs;", results.right.shape[-1], "questions each")
for row in results.differences(["all"]).itertuples():
    print(f"{row.arm} compared with {results.arms[0]}:")
    print(
        f"{row.difference:+.1f} points ({row.low:+.0f} to {row.high:+.0f}): "
        f"{row.verdict}"
    )

# %% [markdown]
# Two seeds cannot show the variance between seeds. The interval is extremely wide (or has zero
# width, if all answers are alike), and the verdict reports no result. One line for each seed:

# %% tags=["varies"]
from favor_mini.figures.lab import pairs

pairs(results)

# %% [markdown]
# A real comparison uses the same call with more seeds and steps, here ten runs of three minutes
# each:
#
# ```python
# arms = [{"connector": "causal_qformer"}, {"connector": "my_pooling"}]
# compare(Plan(arms, seeds=5, minutes=3), work_path("compare"))
# ```
#
# or, with your part in a file `mine.py`:
#
# ```sh
# favor-mini compare --parts mine.py --vary connector=causal_qformer,my_pooling \
#   --seeds 5 --minutes 3
# ```
#
# Nothing is trained twice. The result of a run is stored under a key of everything that decides it,
# including the code of your own part:

# %%
from pathlib import Path


def place(plan, arm, seed):
    return run_folder(Path(out), checkpoint_path(), plan, arm, seed)


mine, more = tiny.arms[1], Plan(**{**vars(tiny), "seeds": 4})
print("two seeds more, seed 1 is kept: ", place(more, mine, 1) == place(tiny, mine, 1))
print(
    "another arm is another run:     ",
    place(tiny, tiny.arms[0], 1) != place(tiny, mine, 1),
)
longer = Plan(**{**vars(tiny), "steps": 7})
print(
    "one more step is another run:   ", place(longer, mine, 1) != place(tiny, mine, 1)
)

# %% [markdown]
# ## From an interval to a verdict
#
# For every seed $s$ and question $q$ there is a gain $g_{sq}$: right for the arm minus right for
# the baseline, in percentage points. Its mean $\bar g$ is the difference. The interval includes two
# sources of variance, **seeds** and **clips** (notebook 10):
#
# $$\bar g \;\pm\; \sqrt{\Big(t_{0.975,\,n-1}\, \frac{\mathrm{sd}_s}{\sqrt{n}}\Big)^2 + c^2}$$
#
# with $n$ seeds, the standard deviation $\mathrm{sd}_s$ of the mean gains of the seeds, Student's
# $t$ (`scipy.stats.t.ppf(0.975, n - 1)`), and the contribution $c$ of the clips (a bootstrap over
# clips, which can be slightly asymmetric). An interval that contains zero does not mean "there is
# no difference". It says how large a difference *could be hidden*.

# %%
from favor_mini.lab.statistics import FEW_SEEDS

print("FEW_SEEDS =", FEW_SEEDS)
card("verdict")

# %% tags=["exercise:verdict"]
def verdict(difference, low, high, seeds):
    """The result in words; a null result names the largest difference that could be
    hidden.
    """
    raise NotImplementedError  # your code

# %%
verdict = check("verdict", verdict)
cases = [
    (3.1, 0.4, 5.8, 5),
    (-3.1, -5.8, -0.4, 5),
    (3.1, -1.0, 7.2, 5),
    (0.2, -0.9, 1.3, 5),
    (9.0, 8.0, 10.0, 2),
]
for case in cases:
    print(
        f"{case[0]:+.1f} ({case[1]:+.1f} to {case[2]:+.1f}), {case[3]} seeds: "
        f"{verdict(*case)}"
    )

# %% [markdown]
# Lines three and four are both null results. But the fourth excludes differences of more than about
# one point, while the third does not exclude a large gain. **A null result without its interval is
# not a result.** (Your function judges one interval alone. The package's also counts them: see
# *Multiple comparisons* below.)
#
# ## How many seeds?
#
# Suppose you want an interval of at most plus or minus two points. The contribution of the seeds
# falls with $\sqrt n$ (and Student's $t$ falls too, fast at first).

# %%
card("seeds_needed")

# %% tags=["exercise:seeds_needed"]
def seeds_needed(spread, by_clips, half_width):
    """The smallest number of seeds for an interval of +- half_width; 0 if none is
    enough.
    """
    raise NotImplementedError  # your code

# %%
seeds_needed = check("seeds_needed", seeds_needed)
widths = np.arange(1.0, 6.01, 0.25)
wanted = {
    spread: [seeds_needed(spread, 0.8, w) for w in widths] for spread in (4.0, 2.0, 1.0)
}
curves(
    {
        f"standard deviation of seeds {spread:g} points": (widths, seeds)
        for spread, seeds in wanted.items()
    },
    log="y",
    x="half width of the interval, in points",
    y="seeds needed",
    title="With a contribution of the clips of 0.8 points",
)

# %% [markdown]
# Half the width needs about twice the seeds if there are few (Student's t also falls), and three
# times or more near the contribution of the clips. Below this contribution, 0.8 here, no number of
# seeds is enough: then ask about more clips.
#
# A simulation: the same comparison is run forty times, each time with new seeds (and with
# infinitely many clips, so that their contribution is zero). A dot is filled if the interval
# excludes zero. **Try:** 2 seeds. Then 5. Then a standard deviation of 1. Then a true difference of
# 0: how many of forty do you expect, and how many still report a difference?

# %%
from scipy.stats import t as student

from favor_mini.figures.lab import intervals


def simulate(true, spread, seeds, repeats=40):
    """Differences and intervals of simulated comparisons with normally distributed
    gains.
    """
    gains = true + spread * np.random.default_rng(4).standard_normal((repeats, seeds))
    half = student.ppf(0.975, seeds - 1) * gains.std(axis=1, ddof=1) / np.sqrt(seeds)
    return gains.mean(1), gains.mean(1) - half, gains.mean(1) + half


def forty(seeds, true_difference, spread_of_seeds):
    middle, low, high = simulate(true_difference, spread_of_seeds, seeds)
    found = int(((low > 0) | (high < 0)).sum())
    return intervals(
        middle,
        low,
        high,
        true_difference,
        title=f"{seeds} seeds: {found} of 40 comparisons find a difference",
    )


from ipywidgets import FloatSlider, IntSlider

explore(
    forty,
    seeds=IntSlider(value=3, min=2, max=20, description="seeds"),
    true_difference=FloatSlider(value=3.0, min=-6, max=6, step=0.5, description="true"),
    spread_of_seeds=FloatSlider(
        value=3.0, min=0.5, max=8, step=0.5, description="spread"
    ),
)

# %% [markdown]
# There *is* a difference of three points, and with three seeds most of the forty comparisons miss
# it. Each of them would report "no measurable difference", which is right. The conclusion "there is
# no difference" would be wrong. And the comparisons that find a difference? **Predict:** is their
# reported difference right on average?

# %%
for seeds in (2, 3, 5, 10, 20):
    middle, low, high = simulate(3.0, 3.0, seeds, repeats=4000)
    clear = low > 0
    reported = middle[clear].mean()
    print(
        f"{seeds:>2} seeds: {clear.mean():>4.0%} find it, with {reported:.1f} points "
        f"on average"
    )

# %% [markdown]
# With few seeds the reported difference is too large: only comparisons with favourable seeds find a
# difference. So a difference that was found with few seeds is probably smaller than reported.
#
# ## Multiple comparisons
#
# Six arms and a baseline, five groups of questions: thirty intervals. Each excludes zero by chance
# in five of a hundred cases. **Predict** the probability that at least one of thirty does, if there
# is no difference at all. The solid line is $1 - 0.95^m$, the dashed line is simulated. (Both
# assume independent intervals. Those of one comparison share clips, seeds and the baseline, so the
# real probability is a little lower.)

# %%
count = np.arange(1, 41)
_, low, high = simulate(0.0, 3.0, 5, repeats=40 * 500)
misses = ((low > 0) | (high < 0)).reshape(500, 40)
simulated = [misses[:, :m].any(axis=1).mean() for m in count]
print(f"one interval {1 - 0.95:.0%}, five {1 - 0.95**5:.0%}, thirty {1 - 0.95**30:.0%}")
curves({"formula": (count, 1 - 0.95**count), "simulated": (count, simulated)},
       percent=True, points=False, x="intervals looked at, none with a true difference",
       y="at least one excludes zero", mark={"one in twenty": 0.05})

# %% [markdown]
# So decide *before* the comparison which group of questions counts, and use all others as hints for
# the next comparison. Or correct for it: with $m$ intervals, use the level $1 - 0.05/m$ instead of
# 0.95. The verdicts of `print(results)` use this correction, and name the number of intervals.
#
# ## A real example
#
# The experiment `attention` compares the paper's mask ("as shipped") with the reverse mask, with no
# mask (`full`), with inputs that attend to themselves only (`none`), and with a Q-Former without
# causal attention.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import find_experiment, shipped_results, show_experiment

experiment, shipped = find_experiment("attention"), shipped_results("attention")
plan = experiment.plan
print("question:", experiment.question)
print("plan: ", len(plan.arms), "arms,", plan.seeds, "seeds,", plan.steps, "steps")

# %% [markdown]
# Before you look: the group that counts is *what comes next*, because the paper's argument is about
# it.

# %%
groups = ["what comes next", "both modalities", "all"]
differences(shipped.differences(groups), shipped.arms[0]) if shipped else None

# %%
pairs(shipped, "what comes next") if shipped else None

# %% [markdown]
# The verdicts, the standard deviation between seeds, and what an interval of plus or minus two
# points takes: a number of seeds, or more clips, where the contribution of the clips alone is two
# points or more.

# %%
judged, group = (shipped, "what comes next") if shipped else (results, "all")
chosen = judged.chosen(group)
for row in judged.differences([group]).itertuples():
    right = judged.right[judged.arms.index(row.arm)].astype(float)
    gains = 100 * (right - judged.right[0])[:, chosen].mean(1)  # one per seed
    spread, seeds = gains.std(ddof=1), len(gains)
    by_seeds = student.ppf(0.975, seeds - 1) * spread / np.sqrt(seeds)
    by_clips = np.sqrt(max(0.0, ((row.high - row.low) / 2) ** 2 - by_seeds**2))
    needed = seeds_needed(spread, by_clips, 2.0)
    print(
        f"{row.arm}: {row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f}); "
        f"{row.verdict}"
    )
    times = 2 * (by_clips / 2.0) ** 2
    advice = f"{needed} seeds" if needed else f"{times:.0f} times as many clips"
    print(f"    standard deviation of seeds {spread:.1f}, clips {by_clips:.1f}; "
          f"for +-2 points: {advice}")
show_experiment("attention");

# %% [markdown]
# After *no measurable difference*, look at the number: a difference of this size, in either
# direction, could exist, and these runs would not find it. (The explanation at the end of the
# finding is a hypothesis that no run here has tested.) This is what was learned: not "causal
# attention does nothing", but "in this world, at this size, after this training, a larger
# difference is unlikely".
#
# ## Ideas
#
# Eleven variants that are not in the package, each with its slot and its difficulty (of 5). Write
# down your prediction and the group of questions that counts *before* you train.
#
# 1. **Every other frame** (`attention`, 1). Own frame and earlier ones an even number away.
#    *Predict:* little loss, because neighbouring frames are alike.
# 2. **Two kinds of heads** (`connector`, 3). Half of the heads causal, half anticausal. *Predict:*
#    as good as the better one, on "before" *and* "after".
# 3. **One direction** (`attention` with `sync="interleave"`, 3). Visual tokens may attend to audio
#    tokens, but not the reverse. *Predict:* no measurable difference, because the queries combine
#    both streams.
# 4. **Half a step** (`sync`, 2). The sound of a step is that of the half second *around* its frame.
#    *Predict:* it leaks a quarter of a second, and the contract detects it.
# 5. **Pooled audio** (`sync`, 2). Five means of five audio tokens instead of 25. *Predict:* much
#    cheaper; speech loses accuracy, bells do not.
# 6. **One frame of overlap** (`windows`, 2). Each window begins with the last frame of the previous
#    one. *Predict:* it helps only for events across a border.
# 7. **Convolution over time** (`connector`, 3). A causal `nn.Conv1d` in `encode`, padded on the
#    left. *Predict:* like `running_mean`; with `padding=1` the contract fails.
# 8. **Queries with a time** (`connector`, 4). Query n starts with the position of frame n K / N.
#    *Predict:* faster learning, the same final accuracy.
# 9. **Gated means** (`connector`, 4). A learned weight for each token before the mean. *Predict:*
#    between `mean_pooling` and `plain_qformer`.
# 10. **Only the worst pair** (`diversity`, 2). The largest cosine of a window instead of the mean.
#     *Predict:* noisier, no measurable difference.
# 11. **Across windows** (`diversity`, 5). The queries of neighbouring windows should differ, too.
#     *Predict:* the contract fails, because the order of windows must not matter. Which input would
#     the slot need?
#
# ## What to play with
#
# - Give the plan three seeds (`Plan(**{**vars(tiny), "seeds": 3})`) and run `compare` again: which
#   runs are new, and which already exist?
# - Save a part in `mine.py` and run `favor-mini compare --parts mine.py ... --dry-run`: how much
#   can you run in one night?
#
# ## Recap
#
# - There are five slots. The config holds a name, and your own part has ten lines. The package does
#   not change.
# - The contract measures the temporal receptive field, padding, batches, gradients, and the
#   complete model. It names the frames that leak.
# - A connector is any module that is built and called like the Q-Former, ignores padding, and can
#   be initialised again.
# - Compare in pairs, with several seeds, on held-out questions. Decide before the comparison which
#   group of questions counts.
# - Report a null result with its interval: how large a difference could be hidden.
# - A result at mini size can show that a claim does not always hold, or that an effect can be
#   measured. It does not confirm the full size.

# %% [markdown]
# ## Quiz
#
# **1.** A mask is declared `causal=True` and the contract reports that frame 2 depends on the later
# frame 3. What is wrong?
#
# - a) Tokens of frame 3 attend to frame 2
# - b) Tokens of frame 2 attend to frame 3
# - c) Nothing, frames of one window may depend on one another
#
# <details><summary>Answer</summary>
#
# **b.** The encoding of a query depends on its keys. *a:* that is the past, which is allowed. *c:*
# the declaration excludes later frames.
#
# </details>
#
# **2.** Why do arms with the same seed have the same order of clips?
#
# - a) So that random effects of the data are equal for both arms and cancel in the difference
# - b) So that training is faster
# - c) So that both end with the same weights
#
# <details><summary>Answer</summary>
#
# **a.** This is the purpose of pairing. *b:* it costs the same. *c:* then there would be nothing to
# compare.
#
# </details>
#
# **3.** +1.0 points (-3.0 to +5.0), five seeds. What can you conclude?
#
# - a) The arm is better by a point
# - b) There is no difference
# - c) No measurable difference; more than five points are unlikely
#
# <details><summary>Answer</summary>
#
# **c.** The interval contains zero and +5. *a:* it also contains -3. *b:* the interval does not
# exclude differences between -3 and +5 points.
#
# </details>
#
# **4.** The contribution of the clips is 2.5 points, and you want an interval of +-2. What helps?
#
# - a) Ten times the seeds
# - b) More clips to ask about
# - c) Another baseline
#
# <details><summary>Answer</summary>
#
# **b.** Only more clips reduce their contribution. *a:* more seeds reduce only the contribution of
# the seeds. *c:* the number of clips does not change.
#
# </details>
#
# **5.** Twenty intervals of null comparisons: how many exclude zero on average?
#
# - a) one
# - b) none
# - c) it cannot be said without the data
#
# <details><summary>Answer</summary>
#
# **a.** Each does so in five of a hundred cases. *b:* each can exclude zero by chance. *c:* the
# mean is known without the data; which interval it is, is not.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/registry.py` (slots), `favor_mini/lab/contract.py`, `favor_mini/lab/variants.py` (the
# variants of the package), `favor_mini/lab/plan.py` and `favor_mini/lab/compare.py`,
# `favor_mini/lab/statistics.py` (intervals, verdicts), `favor_mini/lab/experiments.py`; tests in
# `tests/test_registry.py`, `tests/test_contract.py`, `tests/test_compare.py`,
# `tests/test_experiments.py`.
#
# **In the paper:** the ablations remove causal attention, windows, synchronisation and the
# diversity loss, one at a time. **Further reading:** video-SALMONN
# ([arXiv 2406.15704](https://arxiv.org/abs/2406.15704)) for a variant with two window lengths at
# once.
#
# **Next:** [12 To full size](12_to_full_size.ipynb).
