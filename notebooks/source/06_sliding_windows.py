# %% [markdown]
# # 06 Sliding windows
#
# **You will** cut clips of any length into windows of one size and put what comes out together again, measure what crosses a
# border and what cannot, see which window holds which answer, write two other ways to cut, and count what a window's length
# costs.
#
# **You need** notebooks 03 (time steps and their mask) and 04 (queries); 05 for the causal mask. **Paper:** section 3.2, the
# sliding windows of the causal Q-Former.
#
# **Costs:** 35 minutes of reading, 60 minutes of exercises; 30 s of computing, 1.2 GB of memory.

# %%
import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.course.widgets import explore
from favor_mini.figures.windows import borders, context, which_window, windows_of

# %% [markdown]
# ## Where we are
#
# A clip is T time steps, seen and heard side by side (notebook 03). T is different for every clip. But the Q-Former has a
# fixed number of positions and gives a fixed number of queries.

# %%
flow([("synchronise", "seen and heard side by side", "(B, T, P, D)"),
      ("split_windows", "windows of K frames", "(B * W, K * P, D)"),
      ("causal Q-Former", "N queries a window", "(B * W, N, width)"),
      ("join_windows", "one sequence a clip", "(B, W * N, width)"),
      ("language model", "reads them in time order", "words")],
     here="split_windows", title="Cut, sum up, put together again")

# %% [markdown]
# One could squeeze each clip, short or long, into N vectors. Then ten seconds would get as much room as ten minutes, and
# detail would thin out as clips grow. FAVOR does the opposite: it fixes the *length that N queries sum up*. A window is K
# frames (10, that is 5 s, in the paper), the same Q-Former with the same weights sums up each, and a longer clip simply has
# more windows.
#
# ## How many windows?
#
# Frame $t$ goes to window $\lfloor t / K \rfloor$, to place $t \bmod K$ in it. So a clip of T frames has
#
# $$W = \lceil T / K \rceil$$
#
# windows, and unless K divides T the last one is partly empty. Eleven frames, windows of four:

# %%
windows_of(["sliding"], num_frames=11, window_frames=4)

# %%
card("num_windows")

# %% tags=["exercise:num_windows"]
def num_windows(num_frames, window_frames):
    """T, K -> W."""
    raise NotImplementedError  # your code

# %%
num_windows = check("num_windows", num_windows)

# %% [markdown]
# **Predict, then run.** A clip of 100 frames, K = 10, five queries a window. How many seconds is that, how many windows, how
# many vectors does the language model get? And with 101 frames?

# %%
for frames in (100, 101):
    W = num_windows(frames, 10)
    print(f"{frames} frames, {frames / 2:g} s: {W} windows x 5 queries = {W * 5} vectors")

# %% [markdown]
# ## Fold
#
# Folding is a change of shape and nothing else, if the padding comes first:
#
# ```
#    (B, T, P, D)            steps of every clip
#    (B, W * K, P, D)        padded behind the clip's end
#    (B, W, K, P, D)         T has become W and K
#    (B * W, K * P, D)       all windows of all clips in one batch; one row of tokens each
# ```
#
# The last line is where speed comes from. There is no loop over windows: the Q-Former sees a batch, and does not know which
# rows belong to one clip. By hand, one clip of five frames with P = 1, K = 2:
#
# ```
#    1 2 3 4 5   ->   1 2      True True
#                     3 4      True True
#                     5 0      True False
# ```
#
# On the right is the mask. A clip that is shorter than its neighbours in the batch comes with padding of its own; its mask is
# cut in the same way, and a window may end up with nothing real in it at all.
#
# (Mind the words. torch's own `fold` puts windows together and its `unfold` cuts them; here it is the other way round. And the
# paper's *sliding* windows stand side by side, where elsewhere windows that slide overlap.)

# %%
card("split_windows")

# %% tags=["exercise:split_windows"]
def split_windows(steps, frame_mask, window_frames):
    """steps (B, T, P, D), frame_mask (B, T) bool -> windows (B * W, K * P, D), mask (B * W, K) bool."""
    raise NotImplementedError  # your code

# %%
split_windows = check("split_windows", split_windows)
numbers = torch.arange(5.0)[:, None] * 10 + torch.arange(3)  # [T, P]; token p of frame t is 10 t + p
windows, mask = split_windows(numbers[None, :, :, None], torch.ones(1, 5, dtype=torch.bool), 2)
matrices({f"window {w + 1}, real: {mask[w].tolist()}": window.unflatten(0, (2, 3))[..., 0]
          for w, window in enumerate(windows)}, x="token", y="place in the window")

# %% [markdown]
# 31 is token 1 of frame 3, which stands in window $\lfloor 3 / 2 \rfloor = 1$ at place $3 \bmod 2 = 1$, counted from 0 as in the
# formula. (Titles and printouts call the windows 1, 2, 3.) Frames stay whole, in their order.
#
# ## Unfold
#
# After the Q-Former each window has become N queries. The way back is shorter: nobody cuts the padding off a window, for N
# queries sum up what is there. They are laid one behind the other, *window after window*, and so the language model reads them
# in time order.

# %%
card("join_windows")

# %% tags=["exercise:join_windows"]
def join_windows(queries, batch):
    """queries (B * W, N, D) -> (B, W * N, D)."""
    raise NotImplementedError  # your code

# %%
join_windows = check("join_windows", join_windows)

# %% [markdown]
# The worked example once more, now with tensors: 100 frames at the paper's P of 32, K = 10, and in place of a Q-Former
# something that gives five queries, each worth its window's number.

# %%
windows, mask = split_windows(torch.randn(1, 100, 32, 4), torch.ones(1, 100, dtype=torch.bool), 10)
queries = torch.arange(1.0, len(windows) + 1)[:, None, None].expand(-1, 5, 4)  # [W, 5, 4]
vectors = join_windows(queries, batch=1)
print("windows", tuple(windows.shape), " queries", tuple(queries.shape), " vectors", tuple(vectors.shape))
print(vectors[0, :, 0].int().tolist())

# %% [markdown]
# ## A place in the window, not in the clip
#
# Attention has no sense of order, so the Q-Former adds a learned **position** to every token of a window:
#
# $$u_{k,p} = \mathrm{LayerNorm}(x_{k,p}) + e_{k,p}, \qquad k < K,\ p < P$$
#
# There are K * P such vectors, and every window uses the same ones. So a window knows *when within itself* something happens,
# but not which window it is. That can be measured. A Q-Former with random weights, a clip of three windows; then the same clip
# with K black and silent frames put in front, and with one. **Predict** which windows come out as before:

# %%
from favor_mini.qformer import CausalQFormer

K, P, D, T = 4, 3, 8, 12
sizes = {"input_width": D, "step_tokens": P, "num_queries": 5, "width": 8, "heads": 2, "hidden": 16}
torch.manual_seed(0)
qformer = CausalQFormer(window_frames=K, **sizes).double().eval()
clip_steps = torch.randn(1, T, P, D, dtype=torch.float64)


def summed_up(steps, qformer=qformer):
    """Queries of every window of one clip, all frames real: (W, N, width)."""
    windows, mask = split_windows(steps, torch.ones(steps.shape[:2], dtype=torch.bool), qformer.window_frames)
    return qformer(windows, mask)[0].detach()


def delayed(frames):
    return F.pad(clip_steps, (0, 0, 0, 0, frames, 0))


before = summed_up(clip_steps)
for frames in (K, 1):
    after = summed_up(delayed(frames))
    for w, new in enumerate(after, start=1):
        same = [i for i, old in enumerate(before, start=1) if torch.allclose(new, old)]
        print(f"{frames} in front, window {w}:", f"as window {same[0]} was" if same else "new")

# %% [markdown]
# A whole window in front moves the others' queries along, unchanged. One frame in front changes every window: the same events
# stand at other places, beside other neighbours. *Which* window is which, only the language model knows, from the order of the
# vectors in its prompt.
#
# ## A window as long as the clip
#
# If windows do what they should, then one window that holds the whole clip must be the same as no windows at all. And a window
# that is *longer* than the clip must not see its padding. Both with the same weights (the longer one has further positions,
# which nobody uses):

# %%
def with_window(frames):
    """The same weights for windows of so many frames; positions beyond the first T are new."""
    torch.manual_seed(1)
    longer = CausalQFormer(window_frames=frames, **sizes).double().eval()
    known = {k: v for k, v in whole.state_dict().items() if k != "positions"}
    longer.load_state_dict(known, strict=False)
    longer.positions.data[: T * P] = whole.positions.data
    return longer


whole = CausalQFormer(window_frames=T, **sizes).double().eval()
unfolded = whole(clip_steps.flatten(1, 2), torch.ones(1, T, dtype=torch.bool))[0].detach()  # no fold at all
for frames in (T, T + 5):
    found = summed_up(clip_steps, with_window(frames))
    print(f"window of {frames}: {len(found)} window, equal to no windows: {torch.allclose(found, unfolded)}")

# %% [markdown]
# ## What a border cuts in two
#
# Notebook 05 measured who sees whom within a window. The same measurement over a whole clip: change one frame, see which
# frames' encodings move. **Predict** the picture for K = 4, then compare it with one window of 12:

# %%
from favor_mini.attention import window_mask
from favor_mini.figures.lab import reach
from favor_mini.lab.contract import measure_reach


def encoder(frames):
    layer_of = with_window(frames) if frames != K else qformer

    def encode(steps):  # (1, T, P, D) -> (1, T, P, D), through windows
        windows, mask = split_windows(steps, torch.ones(steps.shape[:2], dtype=torch.bool), frames)
        inputs = layer_of.embed(windows)
        encoded = layer_of.layers[0].encode(inputs, window_mask("block_causal", mask, P))
        return join_windows(encoded, 1).unflatten(1, (-1, P))

    return encode


reach({f"windows of {frames}": measure_reach(encoder(frames), clip_steps) for frames in (K, T)})

# %% [markdown]
# Staircases that share no row and no column. Frame 5 (the picture counts from 1) knows nothing of frame 4, its neighbour in
# time. More layers would not help: windows are separate rows of a batch, and no layer looks from one row to another. If something
# lies across a border, each of the two windows sums up its own part, and the language model has to join them. It reads the
# vectors of all windows, so it can, if either side has *told* it enough.
#
# Where do borders fall in a real script? Red dashes are borders; dark is what they cut, at least half a second from its ends.
# Move K, and move the borders themselves: `skip` leaves out the clip's beginning, in steps of half a second.

# %%
from favor_mini.world.samples import read_samples
from ipywidgets import FloatSlider, IntSlider

samples = [s for s in read_samples() if s.kind == "clip"]
sample = samples[0]
explore(lambda K, skip: borders(sample.scene, K, skip),
        K=IntSlider(value=10, min=2, max=24, description="K", continuous_update=False),
        skip=FloatSlider(value=0, min=0, max=4.5, step=0.5, description="skip (s)", continuous_update=False))

# %% [markdown]
# How often does it happen? Over the scripts of all sample clips, the share of moments that are cut:

# %%
from favor_mini.figures.windows import is_cut, moment_of, window_edges

lengths = (2, 3, 5, 8, 10, 15, 20, 24)


def share_cut(frames):
    found = [is_cut(m, window_edges(s.scene.duration, frames)) for s in samples for m in s.scene.moments]
    return float(np.mean(found))


curves({"moments cut in two": (lengths, [share_cut(frames) for frames in lengths])},
       x="frames of a window, K", y="share", percent=True)

# %% [markdown]
# Fewer borders cut less, but for chance (a border may fall into a pause, or not). At 24 frames no clip has any: none is longer
# than 12 s.
#
# ## On a real clip
#
# The shipped model with your `split_windows` (or what stands in for it) plugged in under a name, and a batch of two: the whole clip,
# and its first three seconds.

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path, read_clip
from favor_mini.evaluation.answering import encode_clips, evaluate, likelihood
from favor_mini.evaluation.scores import scores as score_rows
from favor_mini.registry import register


@register("windows", "mine")
def mine(steps, frame_mask, window_frames):
    """What this notebook has built."""
    return split_windows(steps, frame_mask, window_frames)


model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
long, short = read_clip(sample.path), read_clip(sample.path, end=3.0)
batch = processor([long, short], ["what was heard first?"] * 2)
queries = {}
for name in ("mine", "sliding"):
    model.config.windows = name
    with torch.no_grad():
        output = model(**batch)
    queries[name] = output.queries
print("yours gives the same queries:", torch.allclose(queries["mine"], queries["sliding"], atol=1e-5))
held = (batch["input_ids"] == model.config.placeholder_id).sum(1)
print("queries (B, W, N, width):", tuple(output.queries.shape))
print("windows with a real frame:", output.window_mask.tolist())
print("vectors in the prompt:    ", held.tolist())

# %% [markdown]
# The short clip shares the long one's W of 3, but its windows without a real frame never reach the language model: its prompt
# has places for one window only. (The diversity loss leaves them out, too: notebook 07.)
#
# **Which window knows it?** "What was shown when the horn was heard?" is asked about each of the clip's five sounds. Take the
# vectors of one window away (zeros in their place), and see what that costs the true answer. Predict from the script above:
# which window does each sound fall into, and is the answer lost with that window alone?

# %%
encoded = encode_clips(model, processor, {"clip": long})["clip"]
asked = [q for q in sample.questions if q.family == "shown_when"]
texts, answers, W = [q.text for q in asked], [q.answer for q in asked], output.window_mask.shape[1]


def truth_without(window):
    """Log probability of each true answer without this window's vectors; None: with all of them."""
    def silence(module, inputs, result):
        queries = result[0].unflatten(0, (-1, W)).clone()
        queries[:, window] = 0
        return queries.flatten(0, 1), result[1]

    hook = None if window is None else model.qformer.register_forward_hook(silence)
    found = likelihood(model, processor, [encoded] * len(asked), texts, answers)
    if hook:
        hook.remove()
    return found


costs = np.stack([truth_without(None) - truth_without(w) for w in range(W)], axis=1)
labels = [f"{q.text} (heard at {moment_of(sample.scene, q).heard.start:.1f} s)" for q in asked]
which_window(labels, costs.clip(0).round(1) + 0,
             title="What an answer loses without a window")

# %% [markdown]
# Each answer hangs on one window: the one that holds the *sound* it asks about. (Cells below zero, where an answer gains, are
# drawn as 0.) The model's knowledge of the clip really lies in separate packets, each about its own five seconds. Look at the
# two moments that the borders above cut: their other half lies in a window that is not missed at all. The third window holds the
# last second only, in which nothing begins.
#
# ## Do borders hurt?
#
# A fair question, and one that can be tried: ask about the same moment while a border runs through it, and while none does.
# Leave out a little of a clip's beginning, and all borders move. (The encoders' features are cut; nothing is encoded twice.)

# %%
chosen = samples[:10]
features = encode_clips(model, processor, {s.name: read_clip(s.path) for s in chosen})
A, rows = model.config.audio_tokens, []
for s in chosen:
    about = [(q, moment_of(s.scene, q)) for q in s.questions
             if q.family in ("shown_when", "heard_while", "said_when")]
    for skipped in (0, 2, 4, 6, 8):  # steps
        whole_clip, kept = features[s.name], [(q, m) for q, m in about if m.start >= skipped / 2]
        later = {"visual_features": whole_clip["visual_features"][skipped:],
                 "audio_features": whole_clip["audio_features"][skipped * A :],
                 "num_frames": whole_clip["num_frames"] - skipped,
                 "audio_tokens": whole_clip["audio_tokens"] - skipped * A}
        logp = likelihood(model, processor, [later] * len(kept),
                          [q.text for q, _ in kept], [q.answer for q, _ in kept])
        edges = window_edges(s.scene.duration, 10, skipped / 2)
        rows += [(s.name, q.text, is_cut(m, edges), float(np.exp(p)))
                 for (q, m), p in zip(kept, logp, strict=True)]

# %%
import pandas as pd

table = pd.DataFrame(rows, columns=["clip", "question", "cut", "probability"])
pairs = table.pivot_table(index=["clip", "question"], columns="cut", values="probability").dropna()
by_clip = pairs.groupby("clip").mean()  # a clip's questions hang together
gained = (by_clip[True] - by_clip[False]).to_numpy()
rng = np.random.default_rng(0)
drawn = rng.choice(gained, (4000, len(gained))).mean(1)
low, high = np.quantile(drawn, [0.025, 0.975])
print(f"{len(pairs)} questions about {len(by_clip)} clips, asked both ways; probability of the true answer")
print(f"mean of the clips without a border {by_clip[False].mean():.2f}, with one {by_clip[True].mean():.2f}; "
      f"difference {gained.mean():+.2f} ({low:+.2f} to {high:+.2f})")
print("no difference found" if low <= 0 <= high else "a difference")

# %% [markdown]
# A handful of clips is few (in the others no question was asked both ways), and the interval is as wide as that. Nor is the
# border all that differs: less of the clip is left, and the moment stands at another place in its window. One reason why borders
# need not hurt much *here*: a moment of this world lasts about four frames and repeats itself in each, so that either side of a
# border still sees it. A border would cut deeper where one thing is *one* long movement.
#
# ## Cut otherwise
#
# Two other ways are in `favor_mini.lab`. **Overlapping** windows begin every K / 2, so that what one border cuts, another
# window holds whole, if it is no longer than about K / 2. **Two resolutions**, after the follow-up paper video-SALMONN, run long
# and short windows through one Q-Former; a short one is padded to K (its padding is drawn behind it, over frames that another
# window holds). Change T and K:

# %%
explore(lambda T, K: windows_of(["sliding", "overlapping", "two_resolutions"], T, K),
        T=IntSlider(value=11, min=1, max=16, description="T", continuous_update=False),
        K=IntSlider(value=4, min=2, max=8, description="K", continuous_update=False))

# %%
card("overlapping")

# %% tags=["exercise:overlapping"]
def overlapping(steps, frame_mask, window_frames):
    """As split_windows, but a window begins every `stride` frames: W = ceil(T / stride)."""
    stride = max(1, window_frames // 2)
    raise NotImplementedError  # your code

# %%
overlapping = check("overlapping", overlapping)

# %% [markdown]
# The second one needs no new tool, only care: whose windows stand where?

# %%
card("two_resolutions")

# %% tags=["exercise:two_resolutions"]
def two_resolutions(steps, frame_mask, window_frames):
    """All windows of K frames of a clip, then all its windows of max(1, K // 2), each padded to K frames."""
    raise NotImplementedError  # your code

# %%
two_resolutions = check("two_resolutions", two_resolutions)

# %% [markdown]
# Which frames can meet in some window? The laboratory's *contract*, a list of checks that every part must pass (notebook 11),
# notes it while it checks that no frame is lost. The share of pairs of frames that do:

# %%
from favor_mini.lab.contract import check as contract
from favor_mini.world.questions import single_modality_chance

cuts = ("sliding", "overlapping", "two_resolutions")
together = {name: contract("windows", name, show=False).reach for name in cuts}
matrices({f"{name}: {square.mean():.0%}": square for name, square in together.items()},
         x="frame", y="frame")

# %% [markdown]
# Neighbours across a border meet only where windows overlap. It has its price: every moment is told twice, to a language model
# that has learned that a moment is told once. How much does the *shipped* model, trained on windows side by side, mind if it
# is asked under another cut? (It says how much it relies on what it knows, not which cut is better to learn with.)

# %%
scenes = {s.name: s.scene for s in chosen}
questions = [(s.name, q) for s in chosen[:6] for q in s.questions[::9]]
accuracy = {}
for name in cuts:
    model.config.windows = processor.settings.windows = name
    *_, overall = score_rows(evaluate(model, processor, features, questions, single_modality_chance(scenes), batch=8))  # last: all
    accuracy[name] = (overall.accuracy, overall.low, overall.high)
model.config.windows = processor.settings.windows = "sliding"
bars(accuracy, x=f"accuracy over {len(questions)} questions about 6 held-out clips", percent=True,
     title="One trained model, asked under three cuts")

# %% [markdown]
# It minds (lines are 95 % intervals). The Q-Former is the same, but the language model has never read a clip that was told twice.
# Under two resolutions it also reads more windows than ever, most of them half empty, and in the middle of its prompt time begins
# anew. Learned with from the start it may be another story; the experiment at the end asks that about overlapping windows.
#
# ## What it costs
#
# Within a window every token is compared with every other, (K * P)² pairs (those that a mask leaves out are computed, too). There
# are W = T / K windows. Together:
#
# $$W \cdot (K P)^2 = \frac{T}{K} K^2 P^2 = T \cdot K \cdot P^2$$
#
# **Linear in the clip, and linear in K.** Twice the clip costs twice as much. A window of twice the length has four times the
# pairs, but there are half as many. Only a single window over the whole clip, K = T, is quadratic in the clip. So much for pairs.
# But a Q-Former has linear maps as well, and they do not care how tokens are cut. What matters in the end is measured, by
# counting every multiplication of a forward pass of the connector, which is all from the synchronised steps to the projection
# (`lab.compare.connector_cost`). The number of queries a second is held still.
#
# **Predict:** at the mini model's sizes, from K = 10 to K = 20, does the arithmetic double?

# %%
from functools import cache

from favor_mini.config import FavorConfig
from favor_mini.lab.run import connector_cost

counted = FavorForConditionalGeneration(FavorConfig.mini(vocab_size=64)).eval()


@cache
def gigaflop(frames, seconds):
    """GFLOP of the connector for so many seconds in windows of so many frames, with 1.6 queries a frame."""
    config = counted.config
    config.window_frames, config.num_queries = frames, max(1, round(1.6 * frames))
    tokens, width = config.step_shape
    counted.qformer = CausalQFormer(
        input_width=width, window_frames=frames, step_tokens=tokens, num_queries=config.num_queries,
        width=config.qformer_width, heads=config.qformer_heads, hidden=config.qformer_hidden)
    return connector_cost(counted, seconds)["gflop"]


step_tokens, step_width = counted.config.step_shape
print(f"{'K':>4}{'measured':>10}{'pairs':>13}{'the rest':>10}   GFLOP for a clip of 40 s")
for frames in (5, 10, 20, 40, 80):
    measured = gigaflop(frames, 40)
    pairs_part = 2 * 4 * num_windows(80, frames) * (frames * step_tokens) ** 2 * step_width / 1e9  # 2 layers
    print(f"{frames:4}{measured:10.2f}{pairs_part:13.2f}{measured - pairs_part:10.2f}")

# %% [markdown]
# No: the pairs double, the rest hardly moves, and all in all it is about a quarter more. (What the rest grows by are the pairs
# of queries and tokens.) At K = 10 the linear maps still weigh most; with longer windows the pairs do. Against the length of the
# clip, the two ways part:

# %%
seconds = (5, 10, 20, 40)
curves({"windows of 10 frames": (seconds, [gigaflop(10, s) for s in seconds]),
        "one window": (seconds, [gigaflop(2 * s, s) for s in seconds])},
       x="length of the clip (s)", y="GFLOP of the connector", zero=True)

# %% [markdown]
# ## What is kept
#
# The other side of the bill is *retention*: how many vectors remain of a second. With N queries for K frames at 2 Hz:
#
# $$\text{vectors a second} = \frac{N}{K / 2}$$
#
# This does not depend on the length of the clip (but for the last window, which gives all its queries even to a single frame);
# that is what windows are for. But the language model's context does fill up.
# Move the sliders: what does a longer window do, what more queries? When is the mini model's context of 1,024 places full?

# %%
explore(lambda seconds, K, N: context(seconds, K, N),
        seconds=IntSlider(value=40, min=5, max=400, description="seconds", continuous_update=False),
        K=IntSlider(value=10, min=2, max=40, description="K", continuous_update=False),
        N=IntSlider(value=16, min=1, max=64, description="N", continuous_update=False))

# %% [markdown]
# How many numbers go into a window, and how many come out? The last row is the paper's, had it kept only 5 queries:

# %%
settings = {"mini": (10, 16, 25, 256, 256), "paper": (10, 32, 32, 1536, 768),
            "paper, N = 5": (10, 5, 32, 1536, 768)}
print(f"{'':16}{'vectors a second':>17}{'numbers in':>12}{'numbers out':>13}{'kept':>8}")
for name, (frames, queries_N, tokens, wide, width) in settings.items():
    before, after = frames * tokens * wide, queries_N * width
    print(f"{name:16}{queries_N / (frames / 2):17.1f}{before:12,}{after:13,}{after / before:8.1%}")

# %% [markdown]
# ## How long should a window be?
#
# The paper takes 5 s, and an ablation does without windows. Here that is a comparison of trainings: windows of 2.5, 5 and 10
# s, one that holds any clip whole, and overlapping ones, all with about the same number of queries a second, from the same
# first random numbers, on the same clips.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import tell

results = tell("windows")
groups = ["both modalities", "what comes next", "all"]
differences(results.differences(groups), results.arms[0]) if results else None

# %%
if results:
    overall = results.table[results.table.questions == "all"].groupby("arm", sort=False)
    print(overall[["accuracy", "gflop"]].mean().round(3).to_string())
    print(results.verdicts(["all"]))

# %% [markdown]
# How far can this speak? An interval that holds 0 means *no difference found*, not that there is none. Clips here last 8 to 12
# s, so a window of 10 s is nearly the whole clip, and every window's queries are taught to name what it holds. What windows are *for*, clips of minutes, this world does not have; that a
# longer clip costs in proportion, you have counted yourself.
#
# ## What to play with
#
# - In the picture of borders: from which `skip` on is the green circle whole? Cut the features there, as in "Do borders hurt?", and
#   ask again what was heard while it was shown.
# - Write a cut that begins with a half-empty window, so that all borders move by K / 2. Register it (`@register("windows",
#   ...)`), run `contract("windows", ...)` over it, and then lose a frame on purpose. Which promise tells you?
# - `favor_mini.apps.ask.Asker().longest` says how many seconds fit into the context. Compute it yourself from K, N and 1,024; why is
#   it a little less?
# - `favor-mini compare --vary window_frames=10,20 --seeds 3 --minutes 1` trains a comparison of your own (notebook 11).
#
# ## Recap
#
# - Frame t goes to window t // K, place t % K. Pad first, then only shapes change; all windows of all clips are one batch.
# - Positions belong to the window. Which window is which, only the order of the vectors tells.
# - Between windows there is no attention: what a border cuts, the language model has to join.
# - A window as long as the clip equals no windows; windows of nothing but padding are dropped.
# - Pairs cost T * K * P²: linear in the clip, and in K; with one window for all, quadratic in the clip. What is kept of a
#   second, N / (K / 2) vectors, stays the same.

# %% [markdown]
# ## Quiz
#
# **1.** A clip lasts 22 s at 2 Hz, K = 10, N = 16. How many vectors does the language model get?
#
# - a) 64
# - b) 70
# - c) 80
#
# <details><summary>Answer</summary>
#
# **c.** 44 frames make 5 windows of 16. *a:* that loses the last four frames, rounding down. *b:* that is 44 * 16 / 10, but a
# window always gives all N queries, also when it is not full.
#
# </details>
#
# **2.** Exactly K empty frames are put in front of a clip. What happens to its queries?
#
# - a) They move on by one window and are the same
# - b) All change, as the positions differ
# - c) Nothing at all changes
#
# <details><summary>Answer</summary>
#
# **a.** Positions are counted within a window. *b:* so it would be with positions counted over the clip, or with a number of
# frames that is no multiple of K. *c:* they stand one window later in the prompt.
#
# </details>
#
# **3.** The last frame of window 1 and the first of window 2 are half a second apart. Who can relate them?
#
# - a) The causal attention of the second layer
# - b) The language model
# - c) Nobody
#
# <details><summary>Answer</summary>
#
# **b.** It reads the vectors of all windows, in their order. *a:* no layer of the Q-Former looks across a border. *c:* the
# language model's own attention runs over all of them.
#
# </details>
#
# **4.** You double K and leave the clip as it is. What happens to the number of pairs compared?
#
# - a) It doubles
# - b) It grows fourfold
# - c) It stays
#
# <details><summary>Answer</summary>
#
# **a.** Four times as many in a window, half as many windows. *b:* so it is for one window alone. *c:* that holds for the linear
# maps.
#
# </details>
#
# **5.** `join_windows` gives query 1 of all windows first, then query 2 of all windows. What is wrong with it?
#
# - a) The shape
# - b) The order: the language model no longer reads in time order
# - c) Nothing, attention has no order
#
# <details><summary>Answer</summary>
#
# **b.** It has learned that what comes later in the prompt came later in the clip. *a:* the shape is right, which is why no
# error is raised. *c:* the language model numbers its places.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/windows.py` (all of it), `favor_mini/lab/variants.py` (`overlapping`, `two_resolutions`), `favor_mini/model.py`
# (`connect`, and `embed`, which drops empty windows), `favor_mini/processor.py` (`num_placeholders`),
# `favor_mini/lab/compare.py` (`connector_cost`); tests in `tests/test_windows.py`, `tests/test_contract.py`,
# `tests/test_compare.py`.
#
# **In the paper:** section 3.2; an ablation leaves the windows out. **Further reading:** video-SALMONN
# ([arXiv 2406.15704](https://arxiv.org/abs/2406.15704)) for windows of two lengths at once; Longformer
# ([arXiv 2004.05150](https://arxiv.org/abs/2004.05150)) for windows inside attention itself.
#
# **Next:** [07 The diversity loss](07_diversity_loss.ipynb).
