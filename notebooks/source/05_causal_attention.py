# %% [markdown]
# # 05 Causal attention
#
# **You will** write the mask with which each frame attends to itself and to earlier frames, and
# mask the padding. Then you *measure* which frame's encoding depends on which, find a layer that
# uses later frames although all shapes are right, and compare with the mask of the authors'
# released code.
#
# **You need** notebook 04 (one head of attention, queries, cross-attention). **Paper:** section
# 3.2, the causal attention module.
#
# **Costs:** 35 minutes of reading, 46 minutes of exercises; 60 s of computing, 1.3 GB of memory.

# %%
import torch

from favor_mini.course import card, check
from favor_mini.figures.attention import masks
from favor_mini.figures.plots import bars, curves, flow, matrices

# %% [markdown]
# ## Where we are
#
# Visual and audio tokens are synchronised (notebook 03) and cut into windows of K frames (notebook
# 06). Before the N queries attend to a window, the window's own tokens attend to one another. This
# is the *causal self-attention*. It makes a Q-Former a **causal** Q-Former.

# %%
flow([("synchronise", "concatenate the features", "(T, P, D)"),
      ("cut", "windows of K frames", "(W, K * P, D)"),
      ("causal attention", "each frame attends to earlier frames", "(W, K * P, D)"),
      ("cross-attention", "N queries attend to the result", "(W, N, width)"),
      ("project", "to the language model", "(W * N, 256)")],
     here="causal attention", title="The first part of the causal Q-Former")

# %% [markdown]
# Why? Take the question *what was heard next after the bell?* The answer depends on several frames
# in order. If each frame's encoding contains information from earlier frames, and from no later
# ones, a query can obtain this order from a single position. That is the paper's argument.
# Experiments at the end of this notebook test it.

# %% [markdown]
# ## Which frame does a token belong to?
#
# A window is one sequence of K * P tokens, P for each frame in turn (P is 25 in the shipped model).
# The masks below compare the *frames* of two tokens, so first we need the frame of each token. Code
# counts from 0. Text and figures count from 1.

# %%
card("frame_index")

# %% tags=["exercise:frame_index"]
def frame_index(num_frames, step_tokens, device=None):
    """K, P -> (K * P,) whole numbers: 0 0 ... 0 1 1 ... 1 2 ..."""
    raise NotImplementedError  # your code

# %%
frame_index = check("frame_index", frame_index)
print(frame_index(3, 2))

# %% [markdown]
# ## The block mask
#
# A mask is a boolean matrix over (query token, key token). With $f(i)$ the frame of token $i$:
#
# $$M_{ij} = \big[\, f(i) \ge f(j) \,\big]$$
#
# By hand, for three frames of two tokens. Row 4 is the second token of frame 2. It may attend to
# frame 1 and to *all of its own frame* 2, but not to frame 3:
#
# ```
#      frame of the key  1 1 | 2 2 | 3 3
#    token 4 (frame 2)   # # | # # | . .
# ```
#
# A language model's mask is a triangle over tokens. This mask is a **staircase** over frames. All
# tokens of a frame belong to the same time step, so each may attend to all the others.

# %%
card("block_causal")

# %% tags=["exercise:block_causal"]
def block_causal(num_frames, step_tokens, device=None):
    """K, P -> (K * P, K * P) bool over (query token, key token)."""
    raise NotImplementedError  # your code

# %%
block_causal = check("block_causal", block_causal)

# %% [markdown]
# The next figure compares it with two other masks. The authors' **released inference code** builds
# the middle one, an upper triangle over (query, key). The text of the paper says the reverse. The
# package calls it `block_anticausal`, and below you measure its effect.

# %%
masks(num_frames=4, step_tokens=3)

# %% [markdown]
# Try the other masks of the package, and change K. Which masks let a frame attend to a later frame?
# (With `none`, a token attends to itself only. `token_causal` is the causal mask of a language
# model: a token cannot attend to later tokens of its own frame.)

# %%
from favor_mini import lab  # its variants register themselves
from favor_mini.course.widgets import explore
from favor_mini.registry import find, names


def draw_mask(mask, frames_K):
    shown = find("attention", mask)(frames_K, 3)
    title = f"{mask}: {shown.float().mean():.0%} of pairs"
    return matrices(
        {title: shown}, x="frame of the key", y="frame of the query", blocks=3
    )


explore(draw_mask, mask=names("attention"), frames_K=(4, 10))

# %% [markdown]
# `full` and `block_anticausal` let a frame attend to later frames.
#
# ## What a mask does to attention
#
# Attention scores are $S = QK^\top/\sqrt{d}$, and row $i$ of $\mathrm{softmax}(S)$ holds the
# attention weights of token $i$. A masked pair gets the score $-\infty$. Its weight is then
# $e^{-\infty} = 0$, and the other weights of the row still add up to 1:
#
# $$A_{ij} = \frac{M_{ij}\, e^{S_{ij}}}{\sum_k M_{ik}\, e^{S_{ik}}}$$
#
# An example with two frames of two tokens. All scores are equal except one:

# %%
scores = torch.zeros(4, 4)
scores[1, 0] = 1.0  # token 1 scores token 0 higher
allowed = block_causal(2, 2)
weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
matrices(
    {
        "scores": scores,
        "mask": allowed.float(),
        "weights, each row adds up to 1": weights,
    },
    x="key",
    y="query",
    numbers=True,
)

# %% [markdown]
# In the rows of the first frame, two tokens share the weight, in those of the second frame four.
# What changes if you set the *weights* to zero instead, after the softmax?

# %%
print("before the softmax:", weights.sum(-1).tolist())
print(
    "after it:          ",
    [round(total, 2) for total in (scores.softmax(-1) * allowed).sum(-1).tolist()],
)

# %% [markdown]
# Then the first frame's rows no longer add up to 1. The package uses PyTorch's
# `scaled_dot_product_attention`, which takes the boolean mask directly. It gives the same weights:

# %%
from torch.nn.functional import scaled_dot_product_attention

one = torch.eye(4)[None, None]  # with the identity as values, the output is the weights
# scaled_dot_product_attention divides the scores by the root of 4: multiply them by 2
heard = scaled_dot_product_attention(
    2 * scores[None, None], one, one, attn_mask=allowed
)
print(
    "largest difference from the weights above:",
    (heard[0, 0] - weights).abs().max().item(),
)

# %% [markdown]
# ## Padding
#
# A clip of 13 frames fills one window of ten frames and three frames of a second. The rest is
# padding, and no token may attend to it. So a pair is allowed if the mask allows it and the key
# belongs to a real frame. But a row without any allowed key is a problem:

# %%
nothing_allowed = torch.zeros(1, 4, dtype=torch.bool)
print(torch.zeros(1, 4).masked_fill(~nothing_allowed, -torch.inf).softmax(-1))

# %% [markdown]
# The result is `nan`, and it spreads through the loss into every weight. Can this happen? With the
# paper's mask it cannot, if the window has a real frame: padding comes last, so a padded frame can
# attend to the real frames before it. With other masks it can:

# %%
# four frames of three tokens, two real
two_real = torch.tensor([True, True, False, False]).repeat_interleave(3)
for mask in names("attention"):
    empty = ~(find("attention", mask)(4, 3) & two_real[None, :]).any(-1)
    print(f"{mask:<18}{int(empty.sum())} of 12 rows without an allowed key")

# %% [markdown]
# So a padded frame may always attend to itself. Its encoding is never used. It only has to be
# finite.

# %%
card("window_mask")

# %% tags=["exercise:window_mask"]
def window_mask(name, frame_mask, step_tokens):
    """The mask `name` with padding masked.

    frame_mask (B * W, K) bool -> (B * W, 1, K * P, K * P) bool
    """
    num_frames = frame_mask.shape[1]
    # (K * P, K * P), without padding
    allowed = find("attention", name)(num_frames, step_tokens)
    raise NotImplementedError  # your code

# %%
window_mask = check("window_mask", window_mask)

# %%
real = torch.tensor([[True, True, True, True], [True, True, False, False]])
causal, reverse = (
    window_mask(name, real, 3) for name in ("block_causal", "block_anticausal")
)
matrices(
    {
        "block_causal, four real": causal[0, 0],
        "block_causal, two real": causal[1, 0],
        "block_anticausal, two real": reverse[1, 0],
    },
    x="frame of the key",
    y="frame of the query",
    blocks=3,
)

# %% [markdown]
# Where frames 3 and 4 are padding, no real frame attends to them. They may attend to themselves.

# %% [markdown]
# ## A variant of your own: a band
#
# Does a frame need to attend to *all* earlier frames? Perhaps the previous one is enough.

# %%
card("local_causal")

# %% tags=["exercise:local_causal"]
def local_causal(num_frames, step_tokens, device=None):
    """K, P -> (K * P, K * P) bool: own frame and the one before it."""
    raise NotImplementedError  # your code

# %%
local_causal = check("local_causal", local_causal)

# %% [markdown]
# ## Measure what depends on what
#
# A picture of the mask proves little. The mask can be transposed later, dropped in the second
# layer, or overwritten where padding is handled, and no shape shows it. But causality is about what
# depends on what, and that can be measured. The *temporal receptive field* of a frame is the set of
# frames that change its encoding:
#
# > change frame $j$, encode again, and see which frames' encodings move.

# %%
card("measure_receptive_field")

# %% tags=["exercise:measure_receptive_field"]
def measure_receptive_field(encode, steps):
    """A numpy array (T, T) of bool: [i, j], does frame j change the encoding of frame
    i?
    """
    raise NotImplementedError  # your code

# %%
measure_receptive_field = check("measure_receptive_field", measure_receptive_field)

# %% [markdown]
# Apply it to complete Q-Formers with random weights, one for each mask. They compute in float64, so
# that rounding errors stay far below the effect of a changed frame. With `return_maps=True` the
# forward pass also returns the outputs of the causal attention (`encoded`).

# %%
from favor_mini.figures.attention import receptive_field
from favor_mini.qformer import CausalQFormer

K, P, D = 6, 3, 8
steps = torch.randn(1, K, P, D, dtype=torch.float64)
everything = torch.ones(1, K, dtype=torch.bool)
sizes = {"input_width": D, "window_frames": K, "step_tokens": P,
         "num_queries": 4, "width": 8, "heads": 2, "hidden": 16}


def build(mask):
    torch.manual_seed(0)
    return CausalQFormer(**sizes, attention=mask).double().eval()


def encoder(qformer, layer=0):
    """A function from frames to the encodings of one layer of the Q-Former."""
    def encode(steps):
        _, maps = qformer(steps.flatten(1, 2), everything, return_maps=True)
        return maps.encoded[layer].unflatten(1, (K, P))  # [1, K, P, D]

    return encode


shown = ("block_causal", "block_anticausal", "full", "local_causal")
receptive_field({
    name: measure_receptive_field(encoder(build(name)), steps) for name in shown
})

# %% [markdown]
# With the mask of the released code, the encoding of frame 1 depends on every later frame, that of
# the last frame on itself only.
#
# **Predict.** The band mask lets a frame attend to one earlier frame. In a stack where each layer
# reads the output of the previous layer, two such layers reach two frames back. Predict the result
# here:

# %%
banded = build("local_causal")
receptive_field(
    {
        f"local_causal, layer {number + 1}": measure_receptive_field(
            encoder(banded, number), steps
        )
        for number in (0, 1)
    }
)

# %% [markdown]
# Still one frame. In FAVOR, *each layer's causal attention starts from the window's inputs*, not
# from the output of the previous layer. Only the queries pass from layer to layer. So the temporal
# receptive field does not grow with depth.
#
# ## Find the leak
#
# One layer of a Q-Former, chosen at random, no longer passes on its mask. The shapes are right, all
# numbers are finite, and training would run. Which layer uses later frames, and in which frames'
# encodings?

# %%
suspect = build("block_causal")
layer = suspect.layers[
    int(torch.randint(2, (1,), generator=torch.Generator().manual_seed(5)))
]
masked_encode = layer.encode
# no mask
layer.encode = lambda inputs, mask, maps=None: masked_encode(inputs, None, maps)

queries, _ = suspect(steps.flatten(1, 2), everything)
print("queries", tuple(queries.shape), " finite:", bool(queries.isfinite().all()))

# %%
receptive_field(
    {
        f"layer {number + 1}": measure_receptive_field(encoder(suspect, number), steps)
        for number in (0, 1)
    }
)

# %% [markdown]
# One matrix is a staircase. The other is full: every frame but the last depends on later frames.
# `favor_mini.lab.contract` runs this measurement and others on any registered part (with windows of
# four frames). It names the frames that depend on later ones:

# %%
from favor_mini.lab.contract import check as contract
from favor_mini.registry import register


@register("attention", "one_ahead", causal=True)
def one_ahead(num_frames, step_tokens, device=None):
    """Declared as causal, but off by one frame."""
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] >= frame[None, :] - 1


import textwrap

for broken in contract("attention", "one_ahead", show=False).broken:
    print(textwrap.fill(broken, 100))

# %% [markdown]
# ## The component, on a real clip
#
# The shipped model uses `block_causal` in both layers. On a clip, the mean of its attention weights
# over tokens and heads shows how frame $i$ distributes its attention over the frames.

# %%
from favor_mini import (
    FavorForConditionalGeneration,
    FavorProcessor,
    checkpoint_path,
    read_clip,
)
from favor_mini.figures.timeline import timeline
from favor_mini.world.samples import read_samples

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
sample = read_samples()[0]
clip = read_clip(sample.path)
timeline(sample.scene, clip)

# %%
with torch.no_grad():
    output = model(**processor([clip], ["what was heard first?"]), return_maps=True)
frames, tokens = model.config.window_frames, model.config.step_tokens


def by_frame(attention):
    """(heads, K * P, K * P) -> (K, K): mean attention of a frame to each frame."""
    blocks = attention.mean(0)  # [K * P, K * P]
    blocks = blocks.unflatten(0, (frames, tokens)).unflatten(-1, (frames, tokens))
    return blocks.mean(1).sum(-1)


shown = {
    f"layer {i + 1}, first window": by_frame(maps[0])
    for i, maps in enumerate(output.maps.causal)
}
matrices(shown,
         x="frame of the key", y="frame of the query", label="share of attention",
         ticks=range(1, frames + 1), numbers=False, limits=(0, 1))

# %% [markdown]
# Above the diagonal the attention is zero in both layers.
#
# ## Change the mask of a trained model
#
# The model was *trained* with the block-causal mask. What happens if it answers with another mask?
# (This shows how much the model relies on its mask. It does not show which mask is better for
# training: see the next section.)

# %%
from favor_mini.evaluation.answering import encode_clips, evaluate
from favor_mini.evaluation.scores import scores as score_rows
from favor_mini.world.questions import single_modality_chance, FAMILY_GROUPS

samples = [s for s in read_samples() if s.kind == "clip"][:8]
held_out = encode_clips(model, processor, {s.name: read_clip(s.path) for s in samples})
asked = [(s.name, q) for s in samples for q in s.questions[::3]]
scenes = {s.name: s.scene for s in samples}
accuracy = {}
for mask in ("block_causal", "local_causal", "block_anticausal", "full"):
    model.qformer.attention = mask
    found = {
        row.name: row
        for row in score_rows(
            evaluate(model, processor, held_out, asked, single_modality_chance(scenes)),
            FAMILY_GROUPS,
        )
    }
    accuracy[mask] = (found["all"].accuracy, found["all"].low, found["all"].high)
model.qformer.attention = "block_causal"
bars(
    accuracy,
    x=f"accuracy over {len(asked)} questions about {len(samples)} held-out clips",
    percent=True,
    title="One trained model, four masks at inference",
)

# %% [markdown]
# The lines are the 95 % interval of each accuracy. The reversed mask reduces the accuracy most. A
# likely reason: the connector was trained on encodings that contain earlier frames, and these no
# longer do.
#
# ## Does training with the mask help?
#
# A fair comparison trains a fresh connector with each mask: the same initial weights, the same
# clips in the same order, the same number of steps, several seeds. First in the gym (notebook 03),
# with five seeds and the question *what was heard just before x?* It relates two time steps.
# (Guessing is right in 1 of 12.)
#
# **Predict.** With eight queries there is one for each of the six steps. With two, a query has to
# combine several steps. Where does attention among the inputs help?

# %%
from favor_mini.figures.gym import phase_diagram
from favor_mini.lab.gym.studies import show_study

study = show_study("attention")
phase_diagram(study) if study else None

# %%
if study:
    columns = [*study.study.knobs, "arm", "steps to 90 %", "final"]
    print(study.summary[columns].to_string(index=False))

# %% [markdown]
# With two queries the arm without attention falls behind, and with one layer this is significant. A
# query reads a few tokens. Without attention a token holds its own time step only; with it, a token
# can also hold the sound before, which is asked for. With eight queries no difference is
# measurable: all arms come far, and the intervals are wide. (Whether two and eight queries differ
# in this was not tested.)
#
# So attention among the inputs can help. The gym does not show that it has to be causal: with one
# layer and two queries, full attention is better. In the other cells this difference is not
# significant. Two more tasks, a change between frames and a running state, show no use for attention
# at all, but they were hardly learned (study *relations*, `docs/results.md`).
#
# Does it hold for films? In the next study, tokens of the frozen encoders take the place of the
# symbols. A film has three moments of half a second, and the questions are "what was shown after
# x?" and "what was heard after y?". One window, one layer. **Predict**: with how few queries does
# the arm without attention fall behind?

# %%
study = show_study("film-order")
phase_diagram(study) if study else None

# %% [markdown]
# With none of them. All arms learn to answer (94 to 100 % at the end), and without attention they
# learn a little sooner. The prediction of a loss was wrong. Perhaps the output queries hold what was
# there and when, and the reader finds what came next; this was not tested. A question about a pair
# of picture and sound does not need the attention either: synchronisation has made the pair (study
# *film-attention*).
#
# Then the mini world, with encoders and language model:

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import show_experiment

results = show_experiment("attention")

# %%
groups = ["what comes next", "both modalities", "all"]
differences(results.differences(groups), results.arms[0]) if results else None

# %% [markdown]
# Each point is the accuracy of an arm minus that with the paper's mask. An interval that crosses
# zero, the red line, means *no measurable difference*. It does not mean that there is none. The
# next cell prints how large a hidden difference could be:

# %%
if results:
    print(results.verdicts(["what comes next", "all"]))

# %% [markdown]
# What are the limits of this result? "As shipped" means the shipped *recipe*, trained for two
# minutes: about 78 %, not the 95 % of the shipped model (five seeds, 600 questions each). Each
# query had a label that says what to output: that may do the mask's work. Clips last 8 to 12 s,
# windows 5 s, and the language model was already trained on timelines. A result at mini size can
# show that a claim does not always hold. It cannot predict the behaviour of a model that is a
# thousand times larger.
#
# ## What causality is for: a stream
#
# There is a reason for the mask that no accuracy shows. Suppose that the film is still running, and
# a new frame arrives. Under a causal mask, the encodings of the earlier frames do not change. So
# each frame is encoded once. Its keys and values are kept, and at the end of a window the queries
# attend to them. With `full` attention, the new frame changes the encoding of every frame of its
# window, and all have to be computed again.
#
# `StreamingConnector` does this for the connector. (Encoders and language model are not part of it;
# here the sound was encoded as a whole.) Its queries are those of the whole clip:

# %%
from favor_mini.data.features import encode_media
from favor_mini.streaming import StreamingConnector

features = encode_media(model, processor, [processor.media(clip)])[0]
visual, sound = (features[f"{s}_features"].float() for s in ("visual", "audio"))
A = model.config.audio_tokens


def up_to(t):
    """The queries of the clip up to time step t, all frames at once."""
    streams = visual[None, : t + 1], sound[None, : A * (t + 1)]
    masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in streams]
    with torch.no_grad():
        return model.connect(*streams, *masks)[0][0]  # [W, N, width]


stream, finished = StreamingConnector(model), []
for t in range(len(visual)):
    window = stream.push(visual[t], sound[A * t : A * (t + 1)])
    finished += [] if window is None else [window]  # (N, width) at the end of a window
whole = up_to(len(visual) - 1)
print(f"{len(visual)} time steps, {len(finished)} complete windows; "
      f"of the incomplete one, queries so far {tuple(stream.so_far().shape)}")
print(f"largest difference from the whole clip: "
      f"{(torch.stack(finished) - whole[: len(finished)]).abs().max():.0e}")

# %% [markdown]
# For a mask with later frames there is no such stream, and the package says why:

# %%
for name in ("block_anticausal", "full"):
    model.config.attention = model.qformer.attention = name
    try:
        StreamingConnector(model)
    except ValueError as reason:
        print(textwrap.fill(str(reason), 88), "\n")
model.config.attention = model.qformer.attention = "block_causal"

# %% [markdown]
# **Predict.** After each frame of a window, the queries up to now are wanted. How does the
# arithmetic for one more frame grow with the number of frames before it: where the frames are kept,
# and where they are encoded again?

# %% tags=["varies"]
import time

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def mflop(run):
    """Arithmetic in MFLOP. (The counter does not see fused attention.)"""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops() / 1e6


def push(t):
    """One more frame, and the queries up to now."""
    window = stream.push(visual[t], sound[A * t : A * (t + 1)])
    return stream.so_far() if window is None else window


def push_all(t):
    """All frames of the window once more, as if each had changed."""
    stream.reset()
    for earlier in range(t):
        stream.push(visual[earlier], sound[A * earlier : A * (earlier + 1)])
    return push(t)


def milliseconds(run):
    """The mean over the frames of a window."""
    stream.reset()
    start = time.perf_counter()
    for t in range(frames):
        run(t)
    return 1000 * (time.perf_counter() - start) / frames


stream.reset()
kept = [mflop(lambda t=t: push(t)) for t in range(frames)]
again = [mflop(lambda t=t: push_all(t)) for t in range(frames)]
print(f"one more frame, on average: {milliseconds(push):.0f} ms where frames are kept, "
      f"{milliseconds(push_all):.0f} ms where all are encoded again")
curves({"kept": (range(1, frames + 1), kept),
        "all encoded again": (range(1, frames + 1), again)},
       x="frames of the window so far", y="MFLOP for one more frame", zero=True)

# %% [markdown]
# Where frames are kept, the tenth costs a fifth more than the first. Where all are encoded again,
# it costs five times as much. What is kept does not grow with the film, either: after each window
# the stream forgets its keys and values. `favor-mini watch film.mkv "what was said?"` answers in
# this way while a film is still being written, or comes through a pipe. (The audio encoder reads
# sound from both sides, so `watch` encodes the sound of a window when it is complete.)
#
# **Cost.** A mask excludes pairs, but `scaled_dot_product_attention` with a boolean mask computes
# all of them. Causal attention would be cheaper with a kernel that skips masked blocks:

# %%
lengths = torch.arange(1, 21)
pairs = {
    "full": [(k * tokens) ** 2 / 1e3 for k in lengths.tolist()],
    "block causal, needed": [
        float(block_causal(k, tokens).sum()) / 1e3 for k in lengths.tolist()
    ],
}
curves({name: (lengths, values) for name, values in pairs.items()},
       x="frames of a window, K", y="pairs of tokens, thousands", zero=True)

# %% [markdown]
# ## What to play with
#
# - Write a mask in which a frame attends to itself and to the *first* frame. Register it. Predict
#   its temporal receptive field, then run `contract`.
# - In "Change the mask of a trained model", ask only questions of the families `seen_after` and
#   `heard_after`. Which mask costs most there?
# - `favor-mini compare --vary attention=block_causal,none --seeds 3 --minutes 1` trains a
#   comparison (notebook 11).
#
# ## Recap
#
# - The mask compares *frames*, not tokens: every token of the own frame, earlier frames, no later
#   frame.
# - It is applied before the softmax. Padded frames are masked as keys, but they may attend to
#   themselves.
# - Causality is about what depends on what. Change a frame and measure what changes.
# - Each layer starts from the window's inputs, so the temporal receptive field does not grow with
#   depth.
# - The released code has the reverse mask. The package has both by name.
# - Learned from answers alone, attention among the inputs helps with two queries and one layer, if
#   the inputs are symbols (gym). In films of the mini world it was not needed. In the whole model,
#   trained with a label for each query, no difference was measurable.
# - Only causal encodings can be streamed frame by frame: a new frame leaves the earlier ones as
#   they are.

# %% [markdown]
# ## Quiz
#
# **1.** Under the block-causal mask, frame 4 of a window has ten tokens. To how many of these may
# its first token attend?
#
# - a) one, itself
# - b) all ten
# - c) none
#
# <details><summary>Answer</summary>
#
# **b.** A token attends to all tokens of its own frame. *a:* that would be a triangle over tokens,
# as in a language model. *c:* then the first frame would have no allowed key, and its softmax would
# be undefined.
#
# </details>
#
# **2.** In a window of ten frames you change frame 7, and the encodings of frames 7, 8, 9 and 10
# change. Which mask can this be?
#
# - a) `block_causal`
# - b) `block_anticausal`
# - c) `local_causal`
#
# <details><summary>Answer</summary>
#
# **a.** Later frames attend to frame 7. *b:* then frames 1 to 7 would change. *c:* then only 7 and
# 8 would change.
#
# </details>
#
# **3.** Why may a padded frame attend to itself, with any mask?
#
# - a) It holds information that later frames need
# - b) It makes the batch faster
# - c) A row without anything allowed gives `nan`
#
# <details><summary>Answer</summary>
#
# **c.** The softmax of a row in which all scores are $-\infty$ is undefined. *a:* it is padding,
# zeros. *b:* the arithmetic is the same.
#
# </details>
#
# **4.** The weights are multiplied by the mask *after* the softmax. What goes wrong?
#
# - a) Rows no longer add up to 1, and the result depends on the masked scores
# - b) Nothing, it is the same
# - c) Gradients vanish everywhere
#
# <details><summary>Answer</summary>
#
# **a.** Masked scores stay in the denominator, so the future changes *how strongly* the past is
# attended to. *b:* only if the rows were normalised again. *c:* allowed pairs still get gradients.
#
# </details>
#
# **5.** Two layers, with a band mask of one earlier frame. How far back does the encoding of layer
# 2 reach in FAVOR?
#
# - a) two frames
# - b) one frame
# - c) the whole window
#
# <details><summary>Answer</summary>
#
# **b.** Each layer starts from the inputs. *a:* that holds in a stack where each layer reads the
# output of the previous layer. *c:* only the queries attend to the whole window, through
# cross-attention.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/attention.py` (masks, `window_mask`, the attention block), `favor_mini/qformer.py`
# (the layer), `favor_mini/lab/variants.py` (other masks), `favor_mini/lab/measure.py` (the
# measurement), `favor_mini/streaming.py` (the stream); tests in `tests/test_attention.py`,
# `tests/test_qformer.py`, `tests/test_streaming.py`, `tests/test_contract.py`.
#
# **In the paper:** section 3.2, causal attention module. **Further reading:** *Attention is all you
# need* ([arXiv 1706.03762](https://arxiv.org/abs/1706.03762)) for masks in decoders; BLIP-2
# ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) for the Q-Former without causality.
#
# **Next:** [06 Sliding windows](06_sliding_windows.ipynb).
