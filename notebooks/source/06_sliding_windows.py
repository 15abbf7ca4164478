# %% [markdown]
# # 06 Sliding windows
#
# **You will** split clips of any length into windows of a fixed size and join the results. You
# measure what information can pass between windows, find which window holds which answer, write two
# other ways to split, and count the cost of the window length.
#
# **You need** notebooks 03 (time steps and their mask) and 04 (queries); 05 for the causal mask.
# **Paper:** section 3.2, the sliding windows of the causal Q-Former.
#
# **Costs:** 35 minutes of reading, 60 minutes of exercises; 60 s of computing, 1.2 GB of memory.

# %%
import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.course.widgets import explore
from favor_mini.figures.windows import (
    context_use,
    script_windows,
    window_ablation,
    window_contents,
)

# %% [markdown]
# ## Where we are
#
# A clip is T synchronised time steps (notebook 03). T is different for every clip. But the Q-Former
# has a fixed number of positions and returns a fixed number of queries.

# %%
flow([("synchronise", "concatenate the features", "(B, T, P, D)"),
      ("split_windows", "windows of K frames", "(B * W, K * P, D)"),
      ("causal Q-Former", "N queries a window", "(B * W, N, width)"),
      ("join_windows", "one sequence a clip", "(B, W * N, width)"),
      ("language model", "reads them in time order", "words")],
     here="split_windows", title="Split, summarise, join")

# %% [markdown]
# A model could compress every clip, short or long, into N vectors. Then ten seconds would get as
# many vectors as ten minutes, and long clips would lose detail. FAVOR fixes the *duration that N
# queries summarise* instead. A window is K frames (10 frames, 5 s, in the paper). The same Q-Former
# summarises each window. A longer clip has more windows.
#
# ## Without it
#
# Take this step alone, in the gym (notebook 03): eight time steps of symbols and sounds, and the
# question *what was heard just before x?* One arm has windows of four frames with four queries
# each, the other one window of eight frames with eight queries. So both give eight vectors for a
# clip. The windows have a border in the middle: if x comes just after it, the sound before is in
# the other window.
#
# **Predict.** Which arm is ahead after 220 training steps? Guessing is right in 1 of 12. (The cell
# takes less than a minute.)

# %%
from favor_mini.figures.gym import learning_curves, phase_diagram
from favor_mini.lab.gym.results import GymPlan, gym
from favor_mini.lab.gym.studies import show_study
from favor_mini.places import work_path

plan = GymPlan(
    [{"window_frames": 4, "num_queries": 4}, {"window_frames": 8, "num_queries": 8}],
    {"tasks": "before", "frames": 8, "steps": 220},
    seeds=1,
)
learning_curves(gym(plan, work_path("notebook-gym"), progress=False))

# %% [markdown]
# <details><summary>What this shows</summary>
#
# The short windows, although one question in seven crosses the border. In a short window a query
# has four frames to choose from instead of eight. Whether this is the reason was not tested. This
# is one seed and one setting. The end of this notebook has five seeds, and longer clips.
#
# </details>
#
# ## How many windows?
#
# Frame $t$ goes to window $\lfloor t / K \rfloor$, at position $t \bmod K$. So a clip of T frames
# has
#
# $$W = \lceil T / K \rceil$$
#
# windows. Unless K divides T, the last window is partly empty. Eleven frames in windows of four:

# %%
window_contents(["sliding"], num_frames=11, window_frames=4)

# %%
card("num_windows")

# %% tags=["exercise:num_windows"]
def num_windows(num_frames, window_frames):
    """T, K -> W."""
    raise NotImplementedError  # your code

# %%
num_windows = check("num_windows", num_windows)

# %% [markdown]
# **Predict, then run.** A clip of 100 frames, K = 10, five queries a window. How many seconds is
# that? How many windows? How many vectors does the language model get? And with 101 frames?

# %%
for frames in (100, 101):
    W = num_windows(frames, 10)
    print(
        f"{frames} frames, {frames / 2:g} s: {W} windows x 5 queries = {W * 5} vectors"
    )

# %% [markdown]
# ## Split into windows
#
# If the padding comes first, splitting only changes the shape:
#
# ```
#    (B, T, P, D)            steps of every clip
#    (B, W * K, P, D)        padded at the end of the clip
#    (B, W, K, P, D)         T is split into W and K
#    (B * W, K * P, D)       all windows of all clips in one batch; one row of tokens each
# ```
#
# There is no loop over windows: the Q-Former gets one batch, and does not know which rows belong to
# the same clip. By hand, one clip of five frames with P = 1, K = 2:
#
# ```
#    1 2 3 4 5   ->   1 2      True True
#                     3 4      True True
#                     5 0      True False
# ```
#
# The mask is on the right. A clip that is shorter than others in the batch is already padded. Its
# mask is split in the same way, and a window may contain no real frame.
#
# (The paper's *sliding* windows do not overlap. Elsewhere, sliding windows often do.)

# %%
card("split_windows")

# %% tags=["exercise:split_windows"]
def split_windows(steps, frame_mask, window_frames):
    """Split clips into windows of K frames.

    steps (B, T, P, D), frame_mask (B, T) bool
    -> windows (B * W, K * P, D), mask (B * W, K) bool
    """
    raise NotImplementedError  # your code

# %%
split_windows = check("split_windows", split_windows)
# [T, P]; token p of frame t is 10 t + p
numbers = torch.arange(5.0)[:, None] * 10 + torch.arange(3)
windows, mask = split_windows(
    numbers[None, :, :, None], torch.ones(1, 5, dtype=torch.bool), 2
)
matrices(
    {
        f"window {w + 1}, real: {mask[w].tolist()}": window.unflatten(0, (2, 3))[..., 0]
        for w, window in enumerate(windows)
    },
    x="token",
    y="position in the window",
)

# %% [markdown]
# 31 is token 1 of frame 3. Frame 3 is in window $\lfloor 3 / 2 \rfloor = 1$ at position
# $3 \bmod 2 = 1$, counted from 0 as in the formula. (Titles and printed text count windows from 1.)
#
# ## Join the windows
#
# Joining is simpler than splitting: no padding has to be removed, because the N queries of a window
# already summarise its real frames. The queries are concatenated *window after window*, so the
# language model reads them in time order.

# %%
card("join_windows")

# %% tags=["exercise:join_windows"]
def join_windows(queries, batch):
    """queries (B * W, N, D) -> (B, W * N, D)."""
    raise NotImplementedError  # your code

# %%
join_windows = check("join_windows", join_windows)

# %% [markdown]
# The same example with tensors: 100 frames, P = 32 as in the paper, K = 10. In place of a Q-Former
# there are five queries for each window, with the number of the window as their value.

# %%
windows, mask = split_windows(
    torch.randn(1, 100, 32, 4), torch.ones(1, 100, dtype=torch.bool), 10
)
# [W, 5, 4]
queries = torch.arange(1.0, len(windows) + 1)[:, None, None].expand(-1, 5, 4)
vectors = join_windows(queries, batch=1)
print(
    "windows",
    tuple(windows.shape),
    " queries",
    tuple(queries.shape),
    " vectors",
    tuple(vectors.shape),
)
print(vectors[0, :, 0].int().tolist())

# %% [markdown]
# ## Positions are counted within a window
#
# The Q-Former adds a learned **position embedding** to every token of a window (notebook 04):
#
# $$u_{k,p} = \mathrm{LayerNorm}(x_{k,p}) + e_{k,p}, \qquad k < K,\ p < P$$
#
# There are K * P such vectors, and every window uses the same ones. So the encoding contains *when
# within the window* something happens, but not which window it is. Take a Q-Former with random
# weights and a clip of three windows. The clip is encoded again after K zero frames, and after one
# zero frame. **Predict** which windows give the same queries as before:

# %%
from favor_mini.qformer import CausalQFormer

K, P, D, T = 4, 3, 8, 12
sizes = {
    "input_width": D,
    "step_tokens": P,
    "num_queries": 5,
    "width": 8,
    "heads": 2,
    "hidden": 16,
}
torch.manual_seed(0)
qformer = CausalQFormer(window_frames=K, **sizes).double().eval()
clip_steps = torch.randn(1, T, P, D, dtype=torch.float64)


def summarise(steps, qformer=qformer):
    """Queries of every window of one clip, all frames real: (W, N, width)."""
    windows, mask = split_windows(
        steps, torch.ones(steps.shape[:2], dtype=torch.bool), qformer.window_frames
    )
    return qformer(windows, mask)[0].detach()


def delayed(frames):
    return F.pad(clip_steps, (0, 0, 0, 0, frames, 0))


before = summarise(clip_steps)
for frames in (K, 1):
    after = summarise(delayed(frames))
    for w, new in enumerate(after, start=1):
        same = [i for i, old in enumerate(before, start=1) if torch.allclose(new, old)]
        print(
            f"{frames} in front, window {w}:",
            f"same as window {same[0]} before" if same else "new",
        )

# %% [markdown]
# After a whole window of zero frames, the other windows give the same queries, one window later.
# After one zero frame, every window changes: the same events have other positions and other
# neighbours. Only the language model knows *which* window is which, from the order of the vectors
# in its prompt.
#
# ## A window as long as the clip
#
# If splitting is right, one window that holds the whole clip equals no windows at all. A window
# that is *longer* than the clip must ignore its padding. Both are tested with the same weights (the
# longer window has further positions, which are not used):

# %%
def with_window(frames):
    """The same weights for windows of `frames` frames; later positions are new."""
    torch.manual_seed(1)
    longer = CausalQFormer(window_frames=frames, **sizes).double().eval()
    known = {k: v for k, v in whole.state_dict().items() if k != "positions"}
    longer.load_state_dict(known, strict=False)
    longer.positions.data[: T * P] = whole.positions.data
    return longer


whole = CausalQFormer(window_frames=T, **sizes).double().eval()
# no windows at all
without_windows = whole(clip_steps.flatten(1, 2), torch.ones(1, T, dtype=torch.bool))[
    0
].detach()
for frames in (T, T + 5):
    found = summarise(clip_steps, with_window(frames))
    print(
        f"window of {frames}: {len(found)} window, equal to no windows:",
        torch.allclose(found, without_windows),
    )

# %% [markdown]
# ## Window borders
#
# Notebook 05 measured which frames depend on which within a window. Here is the same measurement
# over a whole clip. **Predict** the picture for K = 4, and for one window of 12:

# %%
from favor_mini.attention import window_mask
from favor_mini.figures.attention import receptive_field
from favor_mini.lab.contract import measure_receptive_field


def encoder(frames):
    layer_of = with_window(frames) if frames != K else qformer

    def encode(steps):  # (1, T, P, D) -> (1, T, P, D), through windows
        windows, mask = split_windows(
            steps, torch.ones(steps.shape[:2], dtype=torch.bool), frames
        )
        inputs = layer_of.embed(windows)
        encoded = layer_of.layers[0].encode(
            inputs, window_mask("block_causal", mask, P)
        )
        return join_windows(encoded, 1).unflatten(1, (-1, P))

    return encode


receptive_field(
    {
        f"windows of {frames}": measure_receptive_field(encoder(frames), clip_steps)
        for frames in (K, T)
    }
)

# %% [markdown]
# The staircases share no row and no column. The encoding of frame 5 does not depend on frame 4, the
# frame before it. More layers would not help: windows are separate rows of a batch, and no layer
# connects two rows. If an event crosses a border, each of the two windows summarises its own part.
# The language model reads the vectors of all windows. It can combine the parts if both windows give
# enough information.
#
# Where are the borders in a real script? Red dashed lines are borders. A *moment* is one event of
# the script. Dark ones are divided by a border, at least half a second from their ends. Change K.
# Then move the borders: `skip` leaves out the beginning of the clip.

# %%
from favor_mini.world.samples import read_samples
from ipywidgets import FloatSlider, IntSlider

samples = [s for s in read_samples() if s.kind == "clip"]
sample = samples[0]
explore(
    lambda K, skip: script_windows(sample.scene, K, skip),
    K=IntSlider(value=10, min=2, max=24, description="K", continuous_update=False),
    skip=FloatSlider(
        value=0,
        min=0,
        max=4.5,
        step=0.5,
        description="skip (s)",
        continuous_update=False,
    ),
)

# %% [markdown]
# The share of divided moments, over all sample clips:

# %%
from favor_mini.figures.windows import is_cut, moment_of, window_edges

lengths = (2, 3, 5, 8, 10, 15, 20, 24)


def share_cut(frames):
    found = [
        is_cut(m, window_edges(s.scene.duration, frames))
        for s in samples
        for m in s.scene.moments
    ]
    return float(np.mean(found))


curves({"divided moments":  (lengths, [share_cut(frames) for frames in lengths])},
       x="frames of a window, K", y="share", percent=True)

# %% [markdown]
# Fewer borders divide fewer moments, with random variation (a border can fall into a pause). With
# 24 frames no clip has a border: no clip is longer than 12 s.
#
# ## On a real clip
#
# Here the shipped model uses your `split_windows`, registered under a name. The batch has two
# clips: the whole clip and its first three seconds.

# %%
from favor_mini import (
    FavorForConditionalGeneration,
    FavorProcessor,
    checkpoint_path,
    read_clip,
)
from favor_mini.evaluation.answering import encode_clips, evaluate, likelihood
from favor_mini.evaluation.scores import scores as score_rows
from favor_mini.registry import register


@register("windows", "mine")
def mine(steps, frame_mask, window_frames):
    """The function of this notebook."""
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
print(
    "yours gives the same queries:",
    torch.allclose(queries["mine"], queries["sliding"], atol=1e-5),
)
held = (batch["input_ids"] == model.config.placeholder_id).sum(1)
print("queries (B, W, N, width):", tuple(output.queries.shape))
print("windows with a real frame:", output.window_mask.tolist())
print("vectors in the prompt:    ", held.tolist())

# %% [markdown]
# Both clips have W = 3 in the batch. But the short clip's windows without a real frame never reach
# the language model: its prompt has placeholders for one window only.
#
# **Which window holds the answer?** "What was shown when the horn was heard?" is asked about each
# of the clip's five sounds. Replace the vectors of one window by zeros, and measure the effect on
# the probability of the true answer. Predict the result from the script above: which window does
# each sound fall into, and is the answer lost with that window alone?

# %%
encoded = encode_clips(model, processor, {"clip": long})["clip"]
asked = [q for q in sample.questions if q.family == "shown_when"]
texts, answers, W = (
    [q.text for q in asked],
    [q.answer for q in asked],
    output.window_mask.shape[1],
)


def truth_without(window):
    """Log probability of each true answer; the vectors of `window` are set to zero."""
    def zero_window(module, inputs, result):
        queries = result[0].unflatten(0, (-1, W)).clone()
        queries[:, window] = 0
        return queries.flatten(0, 1), result[1]

    hook = None if window is None else model.qformer.register_forward_hook(zero_window)
    found = likelihood(model, processor, [encoded] * len(asked), texts, answers)
    if hook:
        hook.remove()
    return found


costs = np.stack([truth_without(None) - truth_without(w) for w in range(W)], axis=1)
labels = [
    f"{q.text} (heard at {moment_of(sample.scene, q).heard.start:.1f} s)" for q in asked
]
window_ablation(labels, costs.clip(0).round(1) + 0,
             title="Loss of log probability without a window")

# %% [markdown]
# Each answer depends on one window: the window that holds the *sound* in the question. (Values
# below zero, where the probability rises, are drawn as 0.) Look at the two moments that the borders
# above divide: without the window of their other half, the probability does not fall. The third
# window holds only the last second, in which no moment begins.
#
# ## Do borders hurt?
#
# Ask about the same moment once with a border in it, and once without. If you leave out a little of
# the clip's beginning, all borders move.

# %%
chosen = samples[:10]
features = encode_clips(model, processor, {s.name: read_clip(s.path) for s in chosen})
A, rows = model.config.audio_tokens, []
for s in chosen:
    about = [(q, moment_of(s.scene, q)) for q in s.questions
             if q.family in ("shown_when", "heard_while", "said_when")]
    for skipped in (0, 2, 4, 6, 8):  # steps
        whole_clip, kept = (
            features[s.name],
            [(q, m) for q, m in about if m.start >= skipped / 2],
        )
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
pairs = table.pivot_table(
    index=["clip", "question"], columns="cut", values="probability"
).dropna()
by_clip = pairs.groupby("clip").mean()  # questions about one clip are not independent
gained = (by_clip[True] - by_clip[False]).to_numpy()
rng = np.random.default_rng(0)
drawn = rng.choice(gained, (4000, len(gained))).mean(1)
low, high = np.quantile(drawn, [0.025, 0.975])
print(
    f"{len(pairs)} questions about {len(by_clip)} clips, asked both ways;"
    " probability of the true answer"
)
print(
    f"mean over the clips without a border {by_clip[False].mean():.2f}, "
    f"with a border {by_clip[True].mean():.2f}; "
    f"difference {gained.mean():+.2f} ({low:+.2f} to {high:+.2f})"
)
print("no measurable difference" if low <= 0 <= high else "a difference")

# %% [markdown]
# These are few clips, so the interval is wide. The border is also not the only difference: less of
# the clip is left, and the moment has another position in its window. Borders may cost little
# *here* because a moment of the mini world lasts about four frames and looks the same in each, so
# both sides of a border still show it.
#
# ## Other ways to split
#
# `favor_mini.lab` has two other ways. **Overlapping** windows begin every K / 2 frames. An event
# that one border divides is complete in another window, if it is no longer than about K / 2. **Two
# resolutions**, after the follow-up paper video-SALMONN, run long and short windows through one
# Q-Former. A short window is padded to K frames (the figure draws its padding after it, over frames
# of another window). Change T and K:

# %%
explore(
    lambda T, K: window_contents(["sliding", "overlapping", "two_resolutions"], T, K),
    T=IntSlider(value=11, min=1, max=16, description="T", continuous_update=False),
    K=IntSlider(value=4, min=2, max=8, description="K", continuous_update=False),
)

# %%
card("overlapping")

# %% tags=["exercise:overlapping"]
def overlapping(steps, frame_mask, window_frames):
    """As split_windows; a window begins every `stride` frames: W = ceil(T / stride)."""
    stride = max(1, window_frames // 2)
    raise NotImplementedError  # your code

# %%
overlapping = check("overlapping", overlapping)

# %% [markdown]
# The second way needs no new function, but the order of the windows needs care:

# %%
card("two_resolutions")

# %% tags=["exercise:two_resolutions"]
def two_resolutions(steps, frame_mask, window_frames):
    """All windows of K frames of a clip, then all windows of max(1, K // 2) frames.

    The short windows are padded to K frames.
    """
    raise NotImplementedError  # your code

# %%
two_resolutions = check("two_resolutions", two_resolutions)

# %% [markdown]
# Which pairs of frames share a window? The *contract* (notebook 03) measures this:

# %%
from favor_mini.lab.contract import check as contract
from favor_mini.world.questions import single_modality_chance

cuts = ("sliding", "overlapping", "two_resolutions")
together = {
    name: contract("windows", name, show=False).receptive_field for name in cuts
}
matrices({f"{name}: {square.mean():.0%}": square for name, square in together.items()},
         x="frame", y="frame")

# %% [markdown]
# Two frames on both sides of a border share a window only if windows overlap. This has a cost: the
# language model reads every moment twice. How much does the accuracy of the *shipped* model change,
# which was trained on windows without overlap? (This shows how much the model relies on its
# training. It does not show which way is better for training.)

# %%
scenes = {s.name: s.scene for s in chosen}
questions = [(s.name, q) for s in chosen[:6] for q in s.questions[::9]]
accuracy = {}
for name in cuts:
    model.config.windows = processor.settings.windows = name
    *_, overall = score_rows(
        evaluate(
            model,
            processor,
            features,
            questions,
            single_modality_chance(scenes),
            batch=8,
        )
    )  # last: all
    accuracy[name] = (overall.accuracy, overall.low, overall.high)
model.config.windows = processor.settings.windows = "sliding"
bars(
    accuracy,
    x=f"accuracy over {len(questions)} questions about 6 held-out clips",
    percent=True,
    title="One trained model, three ways to split at inference",
)

# %% [markdown]
# The accuracy falls (lines are 95 % intervals). The Q-Former is the same, but the language model
# has never read a clip whose moments come twice. With two resolutions it also reads more windows
# than in training, most of them half empty, and in the middle of the prompt time starts again from
# the beginning. A model that is trained this way may differ. The experiment at the end trains with
# overlapping windows.
#
# ## Cost
#
# Within a window every token attends to every other: (K * P)² pairs (masked pairs are computed,
# too). There are W = T / K windows. Together:
#
# $$W \cdot (K P)^2 = \frac{T}{K} K^2 P^2 = T \cdot K \cdot P^2$$
#
# **Linear in the clip, and linear in K.** A window of twice the length has four times the pairs,
# but there are half as many. Only a single window over the whole clip, K = T, is quadratic in the
# clip. A Q-Former also has linear layers, and their cost does not depend on the windows. So we
# count every multiplication of the connector, from the synchronised time steps to the projection
# (`lab.run.connector_cost`). The number of queries per second stays the same.
#
# **Predict:** at the sizes of the mini model, does the number of operations double from K = 10 to K
# = 20?

# %%
from functools import cache

from favor_mini.config import FavorConfig
from favor_mini.lab.run import connector_cost

counted = FavorForConditionalGeneration(FavorConfig.mini(vocab_size=64)).eval()


@cache
def gigaflop(frames, seconds):
    """GFLOP of the connector for a clip, with 1.6 queries per frame."""
    config = counted.config
    config.window_frames, config.num_queries = frames, max(1, round(1.6 * frames))
    tokens, width = config.step_shape
    counted.qformer = CausalQFormer(
        input_width=width,
        window_frames=frames,
        step_tokens=tokens,
        num_queries=config.num_queries,
        width=config.qformer_width,
        heads=config.qformer_heads,
        hidden=config.qformer_hidden,
    )
    return connector_cost(counted, seconds)["gflop"]


step_tokens, step_width = counted.config.step_shape
print(
    f"{'K':>4}{'measured':>10}{'pairs':>13}{'the rest':>10}   GFLOP for a clip of 40 s"
)
for frames in (5, 10, 20, 40, 80):
    measured = gigaflop(frames, 40)
    pairs_part = (
        2 * 4 * num_windows(80, frames) * (frames * step_tokens) ** 2 * step_width / 1e9
    )  # 2 layers
    print(f"{frames:4}{measured:10.2f}{pairs_part:13.2f}{measured - pairs_part:10.2f}")

# %% [markdown]
# No. The pairs double, the rest hardly changes, and the total grows by about a quarter. (The rest
# grows by the pairs of queries and tokens.) Up to K = 20 the rest costs most, from K = 40 on the
# pairs. How do the costs with and without windows grow with the clip?

# %%
seconds = (5, 10, 20, 40)
curves({"windows of 10 frames": (seconds, [gigaflop(10, s) for s in seconds]),
        "one window": (seconds, [gigaflop(2 * s, s) for s in seconds])},
       x="length of the clip (s)", y="GFLOP of the connector", zero=True)

# %% [markdown]
# ## Vectors per second
#
# The other quantity is the number of vectors that remain of one second. With N queries for K frames
# at 2 Hz:
#
# $$\text{vectors per second} = \frac{N}{K / 2}$$
#
# It does not depend on the length of the clip (except for the last window, which has N queries even
# for a single frame). But the context of the language model fills up. Move the sliders: what is the
# effect of a longer window, and of more queries? When is the mini model's context of 1,024 tokens
# full?

# %%
explore(
    lambda seconds, K, N: context_use(seconds, K, N),
    seconds=IntSlider(
        value=40, min=5, max=400, description="seconds", continuous_update=False
    ),
    K=IntSlider(value=10, min=2, max=40, description="K", continuous_update=False),
    N=IntSlider(value=16, min=1, max=64, description="N", continuous_update=False),
)

# %% [markdown]
# How many numbers go into a window, and how many come out? The last row shows the paper's sizes
# with only 5 queries:

# %%
settings = {"mini": (10, 16, 25, 256, 256), "paper": (10, 32, 32, 1536, 768),
            "paper, N = 5": (10, 5, 32, 1536, 768)}
print(f"{'':16}{'vectors per s':>17}{'numbers in':>12}{'numbers out':>13}{'ratio':>8}")
for name, (frames, queries_N, tokens, wide, width) in settings.items():
    before, after = frames * tokens * wide, queries_N * width
    print(
        f"{name:16}{queries_N / (frames / 2):17.1f}"
        f"{before:12,}{after:13,}{after / before:8.1%}"
    )

# %% [markdown]
# ## Short windows or one?
#
# The paper's ablation without windows loses on long clips. First the gym, with five seeds. Both
# arms have twelve queries for the twelve frames of a training clip: three windows of four, or one
# window with room for 24 frames. They are asked about such clips, and about clips of 24 frames,
# where only the short windows become more. Two questions: *what was seen when x was heard?*, within
# a time step, and *what was heard just before x?*, which can cross a border. **Predict** the four
# differences.

# %%
study = show_study("windows")
if study:
    columns = [*study.study.knobs, "arm", "steps to 90 %", "final", "MFLOP"]
    print(study.summary[columns].to_string(index=False))
phase_diagram(study) if study else None

# %% [markdown]
# Within a time step no difference is measurable. Where the answer relates two steps, short windows
# are far ahead, on long clips as well, although about a fifth of these questions cross a border. So
# splitting helps the connector to learn relations between neighbours, at the same number of
# queries. The reason was not tested.
#
# ## How long should a window be?
#
# K and N change together, if the number of queries per second stays the same. What if only one of
# them changes? In the next study films take the place of symbols, as tokens of the frozen encoders:
# four moments of four frames, each with one picture and one sound. The questions ask what belongs
# together. **Predict** which of the four arms learn late.

# %%
study = show_study("film-windows")
if study:
    columns = ["arm", "steps to 90 %", "final", "mean", "MFLOP"]
    print(study.summary[columns].to_string(index=False))
phase_diagram(study) if study else None

# %% [markdown]
# One window learns late, and later still with fewer queries. In short windows four queries are
# enough. (Here a window is exactly one moment, the best case for windows.)
#
# Then the whole model: windows of 2.5, 5 and 10 s, one window for the whole clip, and overlapping
# windows. All have about the same number of queries per second, the same initial weights and the
# same clips.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import show_experiment

results = show_experiment("windows")
groups = ["both modalities", "what comes next", "all"]
differences(results.differences(groups), results.arms[0]) if results else None

# %%
if results:
    overall = results.table[results.table.questions == "all"].groupby("arm", sort=False)
    print(overall[["accuracy", "gflop"]].mean().round(3).to_string())
    print(results.verdicts(["all"]))

# %% [markdown]
# What are the limits of this result? "As shipped" means the shipped *recipe*, retrained for minutes
# (five seeds, 600 questions). K and N change together, and the recipe was tuned at K = 10. Clips
# here last 8 to 12 s, so a window of 10 s is nearly the whole clip, and the naming stage trains the
# queries of every window to name its content. Windows are meant for clips of minutes, which the
# mini world does not have.
#
# ## What to play with
#
# - In the picture of the borders: from which `skip` on is the green circle in one window? Cut the
#   features there, as in "Do borders hurt?", and ask again what was heard while it was shown.
# - Write a function that begins with a half-empty window, so that all borders move by K / 2.
#   Register it (`@register("windows", ...)`) and run `contract("windows", ...)` on it. Then lose a
#   frame on purpose. Which check fails?
# - `favor_mini.apps.ask.Asker().longest` is the number of seconds that fit into the context.
#   Compute it from K, N and 1,024. Why is it a little less?
# - `favor-mini compare --vary window_frames=10,20 --seeds 3 --minutes 1` trains a comparison
#   (notebook 11).
#
# ## Recap
#
# - Frame t goes to window t // K, position t % K. After padding, only the shape changes. All
#   windows of all clips are one batch.
# - Positions are counted within a window. Only the order of the vectors shows which window is
#   which.
# - There is no attention between windows. The language model has to combine what a border divides.
# - A window as long as the clip equals no windows. Windows without a real frame are dropped.
# - Pairs cost T * K * P²: linear in the clip and in K. With a single window the cost is quadratic
#   in the clip. The number of vectors per second, N / (K / 2), does not depend on the clip.
# - Learned from answers alone (gym), short windows are ahead where the answer relates two frames,
#   at the same number of queries. In the mini world longer and overlapping windows are worse.

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
# **c.** 44 frames make 5 windows of 16. *a:* that loses the last four frames, rounding down. *b:*
# that is 44 * 16 / 10, but a window always gives all N queries, also when it is not full.
#
# </details>
#
# **2.** Exactly K empty frames are put in front of a clip. What happens to its queries?
#
# - a) They are the same, one window later
# - b) All change, as the positions differ
# - c) Nothing at all changes
#
# <details><summary>Answer</summary>
#
# **a.** Positions are counted within a window. *b:* that would hold for positions counted over the
# clip, or for a number of frames that is not a multiple of K. *c:* they come one window later in
# the prompt.
#
# </details>
#
# **3.** The last frame of window 1 and the first of window 2 are half a second apart. Which part of
# the model can relate them?
#
# - a) The causal attention of the second layer
# - b) The language model
# - c) No part
#
# <details><summary>Answer</summary>
#
# **b.** It reads the vectors of all windows in order. *a:* no layer of the Q-Former attends across
# a border. *c:* the attention of the language model covers all vectors.
#
# </details>
#
# **4.** You double K for the same clip. What happens to the number of pairs?
#
# - a) It doubles
# - b) It grows fourfold
# - c) It stays the same

#
# <details><summary>Answer</summary>
#
# **a.** Four times as many pairs in a window, half as many windows. *b:* that holds for one window.
# *c:* that holds for the linear layers.
#
# </details>
#
# **5.** `join_windows` gives query 1 of all windows first, then query 2 of all windows. What is
# wrong with it?
#
# - a) The shape
# - b) The order: the language model no longer reads in time order
# - c) Nothing, attention has no order
#
# <details><summary>Answer</summary>
#
# **b.** It was trained on prompts in time order. *a:* the shape is right, so no error is raised.
# *c:* the language model uses position embeddings.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/windows.py` (all of it), `favor_mini/lab/variants.py` (`overlapping`,
# `two_resolutions`), `favor_mini/model.py` (`connect`, and `embed`, which drops empty windows),
# `favor_mini/processor.py` (`num_placeholders`), `favor_mini/lab/run.py` (`connector_cost`); tests
# in `tests/test_windows.py`, `tests/test_contract.py`, `tests/test_compare.py`.
#
# **In the paper:** section 3.2; an ablation leaves the windows out. **Further reading:**
# video-SALMONN ([arXiv 2406.15704](https://arxiv.org/abs/2406.15704)) for windows of two lengths at
# once; Longformer ([arXiv 2004.05150](https://arxiv.org/abs/2004.05150)) for windows inside
# attention itself.
#
# **Next:** [07 The diversity loss](07_diversity_loss.ipynb).
