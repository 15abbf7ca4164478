# %% [markdown]
# # 11 Make your own variant
#
# **You will** change one mechanism of FAVOR in ten lines, have a contract measure what your change really does, replace the
# whole connector by a module of your own, hold it against the paper's in pairs, and say in honest words what came of it, also
# where that is *nothing found*.
#
# **You need** notebook 05 (masks, measuring reach); 04 and 06 help. **Paper:** its ablations, which remove one part at a time.
#
# **Costs:** 40 minutes of reading, 62 minutes of exercises; 35 s of computing, 1.5 GB of memory.

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
# An idea is cheap, trying it fairly is not. Two things make it cheaper here. First, the mechanism has five **slots**: places
# where a part can be exchanged without touching the package. A part is a function or a module under a *name*, and the config
# holds the name. Second, there is a **contract** for each slot, which tries a part out before any training does.

# %%
flow([(slot, ", ".join(names(slot)), f"{len(names(slot))} parts") for slot in SLOTS],
     title="Five slots in the order of the data; the paper's part stands first")

# %% [markdown]
# What must go into a slot and what must come out is one line each. The letters are the glossary's: T time steps of P tokens, K
# frames in a window, N queries.

# %%
for slot, promise in SLOTS.items():
    print(f"{slot:<10} {promise}")

# %% [markdown]
# How does a name find its function? A registry is a dictionary and a decorator; in five lines, by hand:

# %%
shelf = {}


def put(name):
    return lambda function: shelf.setdefault(name, function)


@put("twice")
def twice(x):
    return 2 * x


print(shelf["twice"](21), "| the package's:", find("attention", "block_causal")(2, 1).int().tolist())

# %% [markdown]
# The package's `register` adds three things: it knows the slots, it refuses a name that belongs to somebody else, and it keeps
# what you *declare*: `causal=True` says that no frame's encoding depends on a later frame. A declaration is a promise that can
# be broken.

# %%
for name in names("attention"):
    known = part("attention", name)
    print(f"{name:<17} causal={known.causal!s:<6} {textwrap.shorten(known.about, 78)}")

# %% [markdown]
# ## A mask in ten lines
#
# Your first variant. Suppose a window's first frame sets the scene, and everything else is told by the frame at hand: a token
# may look at its own frame and at the first one,
#
# $$M_{ij} = \big[\, f(i) = f(j) \,\big] \;\lor\; \big[\, f(j) = 0 \,\big]$$
#
# with $f(i)$ the frame of token $i$. By hand, for four frames of one token (row looks, column is looked at):
#
# ```
#    frame 0   # . . .
#    frame 1   # # . .
#    frame 2   # . # .
#    frame 3   # . . #
# ```
#
# **Predict** before you write: is it causal? And which of the K frames move the last one's encoding? (`frame_index(K, P)` gives the
# frame of each of the K * P tokens, from 0. Pictures and the contract count frames from 1.)

# %%
from favor_mini.attention import frame_index

card("first_and_own")

# %% tags=["exercise:first_and_own"]
def first_and_own(num_frames, step_tokens, device=None):
    """K, P -> (K * P, K * P) bool over (token that looks, token looked at)."""
    raise NotImplementedError  # your code

# %%
first_and_own = check("first_and_own", first_and_own)
matrices({"first_and_own": first_and_own(5, 3), "block_causal": find("attention", "block_causal")(5, 3)},
         x="frame looked at", y="frame that looks", blocks=3)

# %% [markdown]
# Now give it a name in the slot `attention`. To run this cell again replaces what it entered before, so you can edit in peace.

# %%
@register("attention", "first_and_own", causal=True)
def registered(num_frames, step_tokens, device=None):
    """A token sees its own frame and the window's first one."""
    return first_and_own(num_frames, step_tokens, device)

# %% [markdown]
# ## The contract
#
# Before a variant costs an hour of training, spend a second on the contract. It builds a small Q-Former with random weights in
# float64, all sizes different, and *measures*: one frame is changed, and it looks whose encoding moves.

# %%
from favor_mini.lab.contract import check as contract

found = contract("attention", "first_and_own", show=False)
for line in str(found).split("\n"):
    print(line.split(": largest difference")[0])  # rounding; print(found) shows it

# %% [markdown]
# Read it from the top. The mask has the right shape for three choices of K and P. Every token sees itself (a row without a
# single True gives `nan`). Nothing leaks, layer by layer. What stands in padding moves nobody. And in a whole mini model, clips
# of four lengths in one batch give what they give one by one. The square below is the measured reach: it is your mask, seen from
# outside.
#
# Now three parts that break their word. Each runs, has the right shapes, and would train. **Predict** which line of the contract
# each one breaks, then run.

# %%
def complain(slot, name):
    """Only what was broken."""
    for broken in contract(slot, name, show=False).broken or ["nothing broken"]:
        said = textwrap.shorten(f"{name}: {broken}", 260, placeholder=" ...")
        print(textwrap.fill(said, 105, subsequent_indent="    "))


@register("attention", "late_start", causal=True)
def late_start(num_frames, step_tokens, device=None):
    """First and own frame, but the first frame counts from 1."""
    frame = frame_index(num_frames, step_tokens, device)
    return (frame[:, None] == frame[None, :]) | (frame[None, :] == 1)


@register("attention", "past_only", causal=True)
def past_only(num_frames, step_tokens, device=None):
    """Only what came before."""
    frame = frame_index(num_frames, step_tokens, device)
    return frame[:, None] > frame[None, :]


@register("diversity", "sum_of_lengths")
def sum_of_lengths(queries, real=None):
    """Punishes long queries, wherever they point."""
    return queries.square().sum(-1).mean()


for slot, name in (("attention", "late_start"), ("attention", "past_only"), ("diversity", "sum_of_lengths")):
    complain(slot, name)

# %% [markdown]
# The first leaks, and the contract names the frame. The second is blind to itself. The third counts windows of nothing but
# padding, so that a clip's loss hangs on how long its neighbours in the batch are. It also punishes length in place of likeness,
# and *that* slips through: a contract is a net, not a proof.
#
# Look around with this one. Which synchronisation leaks? Which windows let frames meet that `sliding` keeps apart? (A mask's
# reach is over the K frames of a window, that of `sync` and `windows` over a whole clip.)

# %%
from favor_mini.figures.attention import receptive_field
from favor_mini.course.widgets import explore


def browse(a_part):
    slot, name = a_part.split(": ")
    result = contract(slot, name, show=False)
    kept = sum(f.kept for f in result.all)
    words = f"<b>{name}</b>: {result.about}<br>{kept} of {len(result.all)} promises kept."
    words += " ".join(["", *result.broken])
    return words if result.reach is None else [receptive_field({name: result.reach}), words]


parts = [f"{slot}: {name}" for slot in ("attention", "connector", "windows", "sync") for name in names(slot)]
parts.sort(key=lambda a_part: "first_and_own" not in a_part)  # yours first
explore(browse, a_part=parts)

# %% [markdown]
# ## Change the Q-Former's layer
#
# A mask changes *who* is looked at. Perhaps attention among a window's inputs is not needed at all? The Q-Former's layer
# calls one method for it, `encode(inputs, mask, maps)`, and whatever it returns is what the queries look at. So a variant with no
# attention is a subclass with one method. Take the simplest thing that brings the past along, a mean:
#
# $$e_{t,p} = \frac{1}{t+1} \sum_{s \le t} x_{s,p}$$
#
# for frame $t$ (from 0) and place $p$ within the frame. One place, three frames with the values 6, 0, 3: the running means are
# 6, 3, 3.
#
# Somebody in a hurry writes a plain mean. Watch the contract.

# %%
from favor_mini.qformer import CausalQFormer, CausalQFormerLayer


class HastyLayer(CausalQFormerLayer):
    def encode(self, inputs, mask, maps=None):
        steps = inputs.unflatten(1, (self.frames, -1))  # [B * W, K, P, D]
        return (steps + steps.mean(1, keepdim=True)).flatten(1, 2)


@register("connector", "hasty_mean", causal=True)
class HastyMean(CausalQFormer):
    """The mean of the window added to each token, in place of attention."""

    layer_class = HastyLayer

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for layer in self.layers:
            layer.frames = self.window_frames


complain("connector", "hasty_mean")

# %% [markdown]
# Three faults with one look. **It leaks**: the mean holds later frames, and each frame that moves is named. **Padding leaks**,
# for the same reason: what stands in frames that are not real moves real ones. And the causal attention's parameters are still
# there, but **no gradient reaches them**: they would be counted, stored, decayed, and never learn.
#
# Mend it. The running mean cannot leak, and padding stands at the end, where no real frame looks.

# %%
card("running_mean")

# %% tags=["exercise:running_mean"]
def running_mean(inputs, num_frames):
    """(B * W, K * P, D), K -> (B * W, K * P, D): each place's mean over all frames up to its own."""
    raise NotImplementedError  # your code

# %%
running_mean = check("running_mean", running_mean)
print(running_mean(torch.tensor([6.0, 0.0, 3.0]).view(1, 3, 1), 3).flatten())

# %%
class MeanLayer(CausalQFormerLayer):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        del self.causal_attention  # what learns nothing should not be there

    def encode(self, inputs, mask, maps=None):
        return inputs + running_mean(inputs, self.frames)


@register("connector", "running_mean", causal=True)
class RunningMean(CausalQFormer):
    """What a frame has before it comes as a running mean: no attention among the inputs."""

    layer_class = MeanLayer

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for layer in self.layers:
            layer.frames = self.window_frames


complain("connector", "running_mean")
shown = {name: contract("connector", name, show=False).reach for name in ("hasty_mean", "running_mean")}
matrices({f"{name}, measured reach": square.repeat(2, 0).repeat(2, 1) for name, square in shown.items()},
         x="frame changed", y="frame encoded", blocks=2)

# %% [markdown]
# ## A connector from nothing
#
# The slot `connector` takes any `nn.Module`. It need not have queries, layers or attention. What it must do:
#
# | demand | why |
# |---|---|
# | built with `input_width`, `window_frames`, `num_queries`, `width` and so on, like the Q-Former | the model passes all of them |
# | called with windows (B * W, K * P, D), mask (B * W, K), `return_maps` | the model knows no other connector |
# | returns queries (B * W, N, width), and maps or None | the projection and the diversity loss read them |
# | `maps.encoded`: what the outputs were made of, one a layer | causality is measured there |
# | padded frames move nothing, a window's neighbours in the batch neither | else a clip's answer hangs on its neighbours |
# | every frame moves something, every parameter gets a gradient | what is deaf or dead is a mistake |
# | `reset_parameters()` | a comparison starts it anew for each seed |
#
# `WithoutAttention` in `favor_mini/lab/variants.py` is a base for such modules. It has the Q-Former's LayerNorm and positions
# (`embed`), a linear map or several (`map`, which a subclass makes in `make_map`), a LayerNorm for the end (`norm`),
# `reset_parameters`, and a rule for which of the K frames each of the N outputs is made of (`places`), spread evenly and in time
# order, $\lfloor nK/N \rfloor$. With N below K some frames are read by nobody, so keep N at K or above:

# %%
from torch import nn  # for your answer

from favor_mini.lab.variants import WithoutAttention

print("5 outputs over 3 frames:", (torch.arange(5) * 3 // 5).tolist())
for method in (WithoutAttention.__init__, WithoutAttention.places, WithoutAttention.embed):
    print(textwrap.dedent(inspect.getsource(method)))

# %% [markdown]
# From there, mean pooling is four lines: mean over a frame's tokens, one linear map, pick, normalise. It is the plainest
# connector that one would dare to propose, and so the one that every cleverer idea should beat.

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
# Under a name of its own, through the contract, and into a model: `fresh_model` takes the shipped checkpoint's frozen parts
# and puts an untrained connector between them, named by the config. What does each cost for ten seconds of film?

# %%
from favor_mini import checkpoint_path
from favor_mini.lab.run import connector_cost, fresh_model


@register("connector", "my_pooling", causal=True)
class MyPooling(MeanPooling):
    """Mean pooling, as written in this notebook."""


complain("connector", "my_pooling")
shown = ("causal_qformer", "running_mean", "my_pooling")
costs = {name: connector_cost(fresh_model(checkpoint_path(), 0, {"connector": name})[0]) for name in shown}
bars({f"{name}, {c['parameters'] / 1e6:.2f} million parameters": c["gflop"] for name, c in costs.items()},
     x="GFLOP for one pass over 10 s", title="What a connector costs")

# %% [markdown]
# ## On a real clip
#
# Plug the mask into the shipped model, which learned under another one, and see where attention goes. Frame 1 is now looked at
# by all, and between it and the own frame there is nothing.

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, read_clip
from favor_mini.world.samples import read_samples

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
sample = read_samples()[0]
clip = read_clip(sample.path)
question = next(q for q in sample.questions if q.family == "heard_after")
frames, seen, said = model.config.window_frames, {}, {}
for mask in ("block_causal", "first_and_own"):
    model.qformer.attention = mask
    with torch.no_grad():
        maps = model(**processor([clip], [question.text]), return_maps=True).maps
        said[mask] = processor.decode(model.generate(**processor([clip], [question.text])))[0]
    blocks = maps.causal[0][0].mean(0).unflatten(0, (frames, -1)).unflatten(-1, (frames, -1))  # [K, P, K, P]
    seen[mask] = blocks.mean(1).sum(-1)
del model  # the comparison below makes its own
print(f"{question.text}  true: {question.answer};", "; ".join(f"under {m}: {a}" for m, a in said.items()))
matrices(seen, x="frame looked at", y="frame that looks", ticks=range(1, frames + 1), numbers=False,
         limits=(0, 1), label="share of attention")

# %% [markdown]
# Read nothing into the answer: it is one question, to a model that was trained otherwise. Whether a mask is better *to learn
# with* takes training, several times over.
#
# ## A fair comparison
#
# `Plan` says what is compared, and `compare` does it. Four rules make it fair:
#
# 1. **From nothing, each time.** Every arm gets a fresh connector and fresh LoRA between the same frozen parts.
# 2. **In pairs.** Arms that share a seed share the first random numbers, the order of the clips, the number of steps, and the
#    questions.
# 3. **Several seeds.** Training is a lottery, too. Without its spread no difference can be judged.
# 4. **Held-out questions** about scenes that nobody trained on, the same for all.
#
# (`minutes=3` in place of `steps` means: as many steps as the *first* arm makes in three minutes, for all arms.)
#
# Here is a *tiny* plan: a Q-Former of one layer and a quarter of the width against your pooling, as narrow; two seeds, six steps on
# sixteen clips. It shows the machinery, and it is far too small to tell anything. `dry_run` says beforehand what a plan would cost (it
# also prints seconds a step and minutes a run; they are cut off here, as they are your machine's, not ours).

# %%
from favor_mini.lab.compare import compare, dry_run
from favor_mini.lab.run import run_folder
from favor_mini.lab.plan import Plan

small = {"qformer_width": 64, "qformer_hidden": 128, "qformer_layers": 1, "num_queries": 10}
tiny = Plan([{"connector": "causal_qformer"}, {"connector": "my_pooling"}], fixed=small,
            seeds=2, steps=6, clips=16, batch=4, lr=2e-3, scenes=5, questions=7)
out = "../build/notebook-compare"
for line in dry_run(tiny, out, progress=False).split("\n")[:-1]:
    print(line[:66])

# %% tags=["varies"]
results = compare(tiny, out, progress=False)
print(len(results.results), "runs;", results.right.shape[-1], "questions each")
for row in results.differences(["all"]).itertuples():
    print(f"{row.arm} against {results.arms[0]}:")
    print(f"{row.difference:+.1f} points ({row.low:+.0f} to {row.high:+.0f}): {row.verdict}")

# %% [markdown]
# Of two seeds nobody can tell how much seeds scatter. So the interval is absurdly wide (or, should all answers be alike, has no width
# at all, which is no better), and the verdict does not hand you the number as if it meant something. Each line is one
# seed, a pair:

# %% tags=["varies"]
from favor_mini.figures.lab import pairs

pairs(results)

# %% [markdown]
# Meant seriously, the same call has more of everything: ten runs of three minutes each, and the questions.
#
# ```python
# compare(Plan([{"connector": "causal_qformer"}, {"connector": "my_pooling"}], seeds=5, minutes=3), "../build/compare")
# ```
#
# or, with your part in a file `mine.py`:
#
# ```sh
# favor-mini compare --parts mine.py --vary connector=causal_qformer,my_pooling --seeds 5 --minutes 3
# ```
#
# The [README](../README.md) shows one such run, of two masks: 9.0 minutes for three seeds and one minute of training each, and
# *no difference found*, +3.3 points (-4.3 to +10.8) over 600 questions.
#
# Nothing is trained twice. A run is kept under a name made of all that decides its outcome, your own part's source included:

# %%
from pathlib import Path


def place(plan, arm, seed):
    return run_folder(Path(out), checkpoint_path(), plan, arm, seed)


mine, more = tiny.arms[1], Plan(**{**vars(tiny), "seeds": 4})
print("two seeds more, seed 1 is kept: ", place(more, mine, 1) == place(tiny, mine, 1))
print("another arm is another run:     ", place(tiny, tiny.arms[0], 1) != place(tiny, mine, 1))
longer = Plan(**{**vars(tiny), "steps": 7})
print("one more step is another run:   ", place(longer, mine, 1) != place(tiny, mine, 1))

# %% [markdown]
# ## What may be said
#
# For every seed $s$ and question $q$ there is a gain $g_{sq}$: right under the arm minus right under the baseline, in points.
# Its mean is the difference. Two things could have come out otherwise, other **seeds** and other **clips**, and the interval
# holds both:
#
# $$\bar g \;\pm\; \sqrt{\Big(t_{0.975,\,n-1}\, \frac{\mathrm{sd}_s}{\sqrt{n}}\Big)^2 + c^2}$$
#
# with $n$ seeds, $\mathrm{sd}_s$ the spread of the seeds' mean gains, $t$ Student's (`scipy.stats.t.ppf(0.975, n - 1)`), and $c$
# the clips' share (a bootstrap over clips, whose two sides may differ a little, and so may the interval's). From
# the interval to words is one more step, and here most harm is done. An interval that holds zero does not say "there is no
# difference". It says how large a difference *may have stayed hidden*.

# %%
from favor_mini.lab.statistics import FEW_SEEDS

print("FEW_SEEDS =", FEW_SEEDS)
card("verdict")

# %% tags=["exercise:verdict"]
def verdict(difference, low, high, seeds):
    """In plain words; a null result is called one, and says how large a difference may have stayed hidden."""
    raise NotImplementedError  # your code

# %%
verdict = check("verdict", verdict)
cases = [(3.1, 0.4, 5.8, 5), (-3.1, -5.8, -0.4, 5), (3.1, -1.0, 7.2, 5), (0.2, -0.9, 1.3, 5),
         (9.0, 8.0, 10.0, 2)]
for case in cases:
    print(f"{case[0]:+.1f} ({case[1]:+.1f} to {case[2]:+.1f}), {case[3]} seeds: {verdict(*case)}")

# %% [markdown]
# Compare lines three and four. Both are null results; the fourth is worth far more. It excludes anything beyond about a point,
# while the third leaves room for a gain that you would be glad to have. **A null result without its interval is not a result.**
#
# ## How many seeds?
#
# Plan ahead. You want an interval no wider than, say, two points either way. The seeds' share shrinks with $\sqrt n$ (and
# Student's $t$ shrinks too, fast at first). The clips' share does not shrink with seeds at all.

# %%
card("seeds_needed")

# %% tags=["exercise:seeds_needed"]
def seeds_needed(spread, by_clips, half_width):
    """The fewest seeds for an interval of at most +- half_width; 0 where no number will do."""
    raise NotImplementedError  # your code

# %%
seeds_needed = check("seeds_needed", seeds_needed)
widths = np.arange(1.0, 6.01, 0.25)
wanted = {spread: [seeds_needed(spread, 0.8, w) for w in widths] for spread in (4.0, 2.0, 1.0)}
curves({f"seeds scatter by {spread:g} points": (widths, seeds) for spread, seeds in wanted.items()},
       log="y", x="half width of the interval that you want, in points", y="seeds needed",
       title="With a clips' share of 0.8 points")

# %% [markdown]
# To halve the interval takes about twice the seeds where there are few (Student's t helps along), three times and more where it
# comes near the clips' share. Below that share, 0.8 here, no number of seeds will do: then ask about more clips.
#
# Now feel it. Forty people run the same comparison, each with seeds of their own (and clips without number, so that their share is
# left out). The true difference is yours to set. A dot is filled where the interval misses zero, where they would write "a
# difference found". **Try:** 2 seeds. Then 5. Then a spread of 1. Then a true difference of 0: how many find one all the same?

# %%
from scipy.stats import t as student

from favor_mini.figures.lab import intervals


def simulate(true, spread, seeds, repeats=40):
    """Differences and intervals of so many comparisons; every seed's gain is normal around the true one."""
    gains = true + spread * np.random.default_rng(4).standard_normal((repeats, seeds))
    half = student.ppf(0.975, seeds - 1) * gains.std(axis=1, ddof=1) / np.sqrt(seeds)
    return gains.mean(1), gains.mean(1) - half, gains.mean(1) + half


def forty(seeds, true_difference, spread_of_seeds):
    middle, low, high = simulate(true_difference, spread_of_seeds, seeds)
    found = int(((low > 0) | (high < 0)).sum())
    return intervals(middle, low, high, true_difference,
                     title=f"{seeds} seeds: {found} of 40 comparisons find a difference")


from ipywidgets import FloatSlider, IntSlider

explore(forty, seeds=IntSlider(value=3, min=2, max=20, description="seeds"),
        true_difference=FloatSlider(value=3.0, min=-6, max=6, step=0.5, description="true"),
        spread_of_seeds=FloatSlider(value=3.0, min=0.5, max=8, step=0.5, description="spread"))

# %% [markdown]
# There *is* a difference of three points, and with three seeds most of the forty miss it. Each of them, reporting alone, would
# write "no difference found", and would be right to, and wrong to add "so there is none". And those who do find one?
# **Predict:** is what they report right on average?

# %%
for seeds in (2, 3, 5, 10, 20):
    middle, low, high = simulate(3.0, 3.0, seeds, repeats=4000)
    clear = low > 0
    reported = middle[clear].mean()
    print(f"{seeds:>2} seeds: {clear.mean():>4.0%} find it, and report {reported:.1f} points on average")

# %% [markdown]
# With few seeds the finders report too much: among them are those whose seeds happened to be lucky. A difference that was hard
# to see and was seen all the same is probably smaller than it looked. With twenty seeds both problems are gone.
#
# ## Looking at many things at once
#
# Six arms against a baseline, five groups of questions: thirty intervals. Each misses zero by chance in five of a hundred cases.
# **Predict** how likely it is that at least one of thirty does, if nothing differs at all. Then run: the full line is $1 -
# 0.95^m$, the dashed one is simulated, with comparisons of like with like. (Both take the intervals for independent. Those of one
# comparison share clips, seeds and the baseline, so a little less often.)

# %%
count = np.arange(1, 41)
_, low, high = simulate(0.0, 3.0, 5, repeats=40 * 500)
misses = ((low > 0) | (high < 0)).reshape(500, 40)
simulated = [misses[:, :m].any(axis=1).mean() for m in count]
print(f"one interval {1 - 0.95:.0%}, five {1 - 0.95**5:.0%}, thirty {1 - 0.95**30:.0%}")
curves({"by arithmetic": (count, 1 - 0.95**count), "simulated": (count, simulated)},
       percent=True, points=False, x="intervals looked at, none with a true difference",
       y="at least one misses zero", mark={"one in twenty": 0.05})

# %% [markdown]
# So: say *beforehand* which question you will judge by ("what comes next", say), and treat all others as hints for the next
# comparison. Or divide: with $m$ intervals, ask each for $1 - 0.05/m$ in place of 0.95, and pay in width. `print(results)`
# ends with a line that reminds you how many would miss by chance.
#
# ## A real example
#
# The experiment `attention` holds the paper's mask ("as shipped") against the reverse one, none at all (`full`), inputs that see
# nobody but themselves (`none`), and a Q-Former without causal attention. Its results ship with the package where it has been run
# for this version.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import find_experiment, shipped_results, tell

experiment, shipped = find_experiment("attention"), shipped_results("attention")
plan = experiment.plan
print("asks: ", experiment.asks)
print("plan: ", len(plan.arms), "arms,", plan.seeds, "seeds,", plan.steps, "steps")

# %% [markdown]
# Before you look: the group judged by is *what comes next*, since that is what the paper's argument is about. All others are
# hints.

# %%
groups = ["what comes next", "both modalities", "all"]
differences(shipped.differences(groups), shipped.arms[0]) if shipped else None

# %%
pairs(shipped, "what comes next") if shipped else None

# %% [markdown]
# Read your own results with the same few lines: the verdict, what may have stayed hidden, how much seeds scatter, and what an
# interval of two points either way would take: seeds, or, where the clips' share alone is too wide, clips. That share shrinks
# with the root of their number, and should take half of the interval's square at most.

# %%
judged, group = (shipped, "what comes next") if shipped else (results, "all")
chosen = judged.chosen(group)
for row in judged.differences([group]).itertuples():
    right = judged.right[judged.arms.index(row.arm)].astype(float)
    gains = 100 * (right - judged.right[0])[:, chosen].mean(1)  # one a seed
    spread, seeds = gains.std(ddof=1), len(gains)
    by_seeds = student.ppf(0.975, seeds - 1) * spread / np.sqrt(seeds)
    by_clips = np.sqrt(max(0.0, ((row.high - row.low) / 2) ** 2 - by_seeds**2))
    needed = seeds_needed(spread, by_clips, 2.0)
    print(f"{row.arm}: {row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f}); {row.verdict}")
    times = 2 * (by_clips / 2.0) ** 2
    advice = f"{needed} seeds" if needed else f"first ask about {times:.0f} times as many clips"
    print(f"    seeds scatter by {spread:.1f}, the clips' share is {by_clips:.1f}; for +-2 points: {advice}")
tell("attention");

# %% [markdown]
# Where it says *no difference found*, look at the number behind it: a difference of that many points, one way or the other, could be
# there, and these runs would miss it. (The reason given after it is a guess that no run here has tested.) That is the honest size of what was learned. Not "causal attention does nothing", but "on this world, at
# this size, after this training, more than that is unlikely".
#
# ## Ideas
#
# Eleven variants that do not ship, each with its slot and a guess at the difficulty (of 5). Write down your prediction
# and the group of questions that you will judge by *before* you train. That is the whole trick.
#
# 1. **Every other frame** (`attention`, 1). Own frame and earlier ones an even number away. *Predict:* little lost, as
#    neighbours are alike.
# 2. **Heads of two minds** (`connector`, 3). Half of the heads causal, half anticausal. *Predict:* as good as the better one, on
#    "before" *and* "after".
# 3. **One-way street** (`attention` with `sync="interleave"`, 3). Visual tokens may look at audio tokens, not the reverse.
#    *Predict:* nothing found, as the queries join both streams anyway.
# 4. **Half a step** (`sync`, 2). The sound of a step is that of the half second *around* its frame. *Predict:* it leaks a
#    quarter of a second; the contract says so.
# 5. **Means of sound** (`sync`, 2). Five means of five audio tokens in place of 25. *Predict:* much cheaper; speech suffers,
#    bells do not.
# 6. **A look back** (`windows`, 2). Each window begins with the last frame of the one before. *Predict:* helps what crosses a
#    border, no more.
# 7. **Convolution over time** (`connector`, 3). A causal `nn.Conv1d` in `encode`, padded on the left. *Predict:* like
#    `running_mean`; with `padding=1` the contract objects.
# 8. **Queries with a time** (`connector`, 4). Query n starts with the position of frame n K / N. *Predict:* learns sooner, ends
#     alike.
# 9. **Gated means** (`connector`, 4). A learned weight for each token before the mean. *Predict:* between `mean_pooling` and
#     `plain_qformer`.
# 10. **Only the worst pair** (`diversity`, 2). The largest cosine of a window in place of the mean. *Predict:* noisier, no
#     difference found.
# 11. **Across windows** (`diversity`, 5). Neighbouring windows' queries should differ as well. *Predict:* the contract objects,
#     as the order of windows must not count. What would the slot have to pass on?
#
# ## What to play with
#
# - Give the plan three seeds (`Plan(**{**vars(tiny), "seeds": 3})`) and run `compare` again: which runs are made, which are
#   there already?
# - In the widget, set the true difference to 0 and count filled dots over many settings. About how many of forty should there be?
# - Write idea 7 with `padding=1` first and read what the contract says.
# - Save a part in `mine.py` and run `favor-mini compare --parts mine.py ... --dry-run`: what would a night give you?
#
# ## Recap
#
# - Five slots, a name in the config, a part of your own in ten lines. No change to the package.
# - The contract measures: reach by changing frames, padding, batches, gradients, the whole model. It names the frames that leak.
# - A connector is any module that is built and called as the Q-Former, hides padding, and can start anew.
# - Compare in pairs, over seeds, on held-out questions. Decide beforehand what you will judge by.
# - A null result is told with its interval: how large a difference may have stayed hidden, and what it would take to find it.
# - A mini result can show that a claim need not hold, or that the machinery can show the effect. It does not confirm full size.

# %% [markdown]
# ## Quiz
#
# **1.** A mask is declared `causal=True` and the contract says *frame 2 moves with the later frame 3*. What is wrong?
#
# - a) Frame 3's tokens look at frame 2
# - b) Frame 2's tokens look at frame 3
# - c) Nothing, frames of one window may move one another
#
# <details><summary>Answer</summary>
#
# **b.** What is looked at moves the one who looks. *a:* that is the past, which is allowed. *c:* the declaration promised that
# no later frame does.
#
# </details>
#
# **2.** Why do arms that share a seed share the order of the clips?
#
# - a) So that luck with the data hits both arms alike and drops out of the difference
# - b) So that training is faster
# - c) So that both end with the same weights
#
# <details><summary>Answer</summary>
#
# **a.** That is what pairing is for. *b:* it costs the same. *c:* then there would be nothing to compare.
#
# </details>
#
# **3.** +1.0 points (-3.0 to +5.0), five seeds. What may be said?
#
# - a) The arm is better by a point
# - b) There is no difference
# - c) No difference found; one of more than five points is unlikely
#
# <details><summary>Answer</summary>
#
# **c.** Zero lies within, and so does +5. *a:* so does -3. *b:* the interval leaves room for three points the wrong way and five
# the right way.
#
# </details>
#
# **4.** The clips' share is 2.5 points, you want an interval of 2. What helps?
#
# - a) Ten times the seeds
# - b) More clips to ask about
# - c) Another baseline
#
# <details><summary>Answer</summary>
#
# **b.** Only more clips shrink their share. *a:* seeds shrink the seeds' share alone. *c:* the clips stay as many.
#
# </details>
#
# **5.** Twenty intervals of null comparisons: how many miss zero on average?
#
# - a) one
# - b) none
# - c) it cannot be said without the data
#
# <details><summary>Answer</summary>
#
# **a.** Five in a hundred, each. *b:* each has its own chance to miss. *c:* on average it can be said beforehand; which one,
# cannot.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/registry.py` (slots), `favor_mini/lab/contract.py`, `favor_mini/lab/variants.py` (what ships),
# `favor_mini/lab/plan.py` and `favor_mini/lab/compare.py`, `favor_mini/lab/statistics.py` (intervals, verdicts),
# `favor_mini/lab/experiments.py`; tests in `tests/test_registry.py`, `tests/test_contract.py`, `tests/test_compare.py`,
# `tests/test_experiments.py`.
#
# **In the paper:** the ablations remove causal attention, windows, synchronisation and the diversity loss, one at a time.
# **Further reading:** video-SALMONN ([arXiv 2406.15704](https://arxiv.org/abs/2406.15704)) for a variant that its authors kept,
# two window lengths at once.
#
# **Next:** [12 To full size](12_to_full_size.ipynb).
