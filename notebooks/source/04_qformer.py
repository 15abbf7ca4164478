# %% [markdown]
# # 04 The Q-Former
#
# **You will** build one attention head by hand, extend it to the block that the Q-Former uses three
# times, build a complete layer and use it in the trained model. You see queries collapse to one
# vector and what prevents it, count the parameters of a Q-Former, and look at the attention maps of
# the shipped model on a real clip.
#
# **You need** notebook 03 (synchronised time steps) and PyTorch. **Paper:** section 3.2, the causal
# Q-Former.
#
# **Costs:** 40 minutes of reading, 70 minutes of exercises; 20 s of computing, 1.1 GB of memory.

# %%
import torch
from torch import nn

from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Where we are
#
# Five seconds of a clip are now ten frames of 25 tokens each. A language model that reads all of
# them is slow. So N learned **queries** attend to the window and return N vectors, whatever the
# number of tokens. This is a Q-Former.

# %%
flow([("synchronise", "concatenate the features", "(T, P, D)"),
      ("split", "windows of K frames", "(W, K * P, D)"),
      ("causal attention", "each frame attends to earlier frames", "(W, K * P, D)"),
      ("Q-Former", "N queries summarise the window", "(W, N, width)"),
      ("project", "to the language model", "(W * N, 256)")],
     here="Q-Former", title="From a window's tokens to N vectors")

# %% [markdown]
# Each layer of the module begins with the causal attention, which notebook 05 explains. This
# notebook explains the queries and their attention.
#
# ## One head
#
# Every token that can be attended to has a **key**, which says how to find it, and a **value**, its
# content. A token that attends has a **query**, which says what to find. Query and key are vectors
# of the same width $d$. If they have the same direction, their dot product is large.
#
# $$S = \frac{QK^\top}{\sqrt d} \qquad A = \mathrm{softmax}(S) \qquad H = AV$$
#
# $S$ holds the scores, one row per query. The softmax makes each row positive with a sum of 1: the
# attention weights of the query. $H$ is the output, the mean of the values with these weights.
#
# Three tokens in a plane, a *square*, a *bell* and *silence*:

# %%
names = ["square", "bell", "silence"]
keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.7, -0.7]])
values = torch.tensor([[2.0, 1.0], [-2.0, 1.0], [0.0, -2.0]])
query = torch.tensor([[1.0, 1.0]])  # between the keys of the square and of the bell

scores = query @ keys.T / 2**0.5
weights = scores.softmax(-1)
for name, found in {
    "scores": scores,
    "weights": weights,
    "output": weights @ values,
}.items():
    print(f"{name:8}", [round(number, 2) for number in found[0].tolist()])

# %% [markdown]
# The output is nearly halfway between square and bell. Now rotate the query and change its length.
# Its direction says *what* it looks for. Its length controls how *sharp* the weights are.

# %%
from math import cos, radians, sin

import ipywidgets

from favor_mini.figures.attention import one_query


def turn(angle, length):
    query = length * torch.tensor([cos(radians(angle)), sin(radians(angle))])
    weights = (keys @ query / 2**0.5).softmax(-1)
    return one_query(query, keys, values, weights, weights @ values, names)


on_release = {"continuous_update": False}  # draw when the slider is released
explore(
    turn,
    angle=ipywidgets.IntSlider(20, 0, 360, 10, description="angle", **on_release),
    length=ipywidgets.FloatSlider(
        2.0, min=0, max=8, step=0.5, description="length", **on_release
    ),
)

# %% [markdown]
# With length 0 all weights are equal, and the output is the mean of all values. With length 8 the
# output is nearly the value of one token, unless two keys fit almost equally well (between them, at
# 45°). The output is never *outside* the triangle of the values: attention computes weighted means.

# %%
card("one_head")

# %% tags=["exercise:one_head"]
def one_head(q, k, v):
    """q (L, d), k (M, d), v (M, e) -> (L, e)"""
    raise NotImplementedError  # your code

# %%
one_head = check("one_head", one_head)
print(one_head(query, keys, values))

# %% [markdown]
# **Why the root of d?** The dot product of two random vectors of width $d$ is a sum of $d$ random
# numbers, so its standard deviation grows as $\sqrt d$. After the division it is the same for every
# width. **Predict:** how does the largest of 20 attention weights change with $d$, with the
# division and without it?

# %%
torch.manual_seed(0)
widths = [4, 16, 64, 256, 1024]
largest = {"scores divided by the root of d": [], "not divided": []}
for d in widths:
    raw = torch.randn(500, d) @ torch.randn(20, d).T  # 500 queries, 20 keys
    largest["scores divided by the root of d"].append(
        (raw / d**0.5).softmax(-1).amax(-1).mean().item()
    )
    largest["not divided"].append(raw.softmax(-1).amax(-1).mean().item())
curves(
    {name: (widths, shares) for name, shares in largest.items()},
    x="width d of a head",
    y="largest weight of 20",
    percent=True,
    log="x",
    title="Largest attention weight with random vectors",
    mark={"uniform": 1 / 20},
)

# %% [markdown]
# Without the division, a wide head starts with one random token that gets nearly all the attention.
# A softmax that is nearly one-hot has almost no gradient.
#
# ## Several heads
#
# One head has one row of weights for each query, so a query can look for *one* thing. To look for
# several, the features are split among heads. With a width of 256 and 4 heads, features 1 to 64 are
# the query, key and value of the first head, features 65 to 128 those of the second, and so on.
# Each head attends separately, and the outputs are concatenated. Heads add no parameters.

# %%
card("split_heads")

# %% tags=["exercise:split_heads"]
def split_heads(x, heads):
    """x (B, L, width) -> (B, heads, L, width / heads)"""
    raise NotImplementedError  # your code

# %%
split_heads = check("split_heads", split_heads)

# %% [markdown]
# Two tokens of six features, two heads. The first digit is the token, the second the feature:

# %%
x = torch.tensor([[[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]]])
right = split_heads(x, 2)[0]
matrices(
    {
        "head 1": right[0],
        "head 2": right[1],
        "reshape only, 'head 1'": x.reshape(1, 2, 2, 3)[0, 0],
    },
    x="feature of the head",
    y="token",
    label="token.feature",
    numbers=True,
)

# %% [markdown]
# The right matrix is the result of a reshape without a transpose: the shape is right, but "head 1"
# holds the two halves of the first token.
#
# ## LayerNorm and residual connections
#
# The output of the attention does not *replace* the token. It is added to the token, a **residual
# connection**. If the output is zero the token does not change, and gradients have a short path.
# After the sum comes a **LayerNorm**: it normalises every token to mean 0 and variance 1 over its
# features, multiplies each feature by a learned weight and adds a learned bias:
#
# $$\mathrm{LN}(x) = g \odot \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \varepsilon}} + b
# \qquad y = \mathrm{LN}\big(x + \mathrm{attention}(x)\big)$$
#
# LayerNorm *after* the sum is called **post-norm**. BERT and FAVOR's Q-Former use it.

# %%
card("layer_norm")

# %% tags=["exercise:layer_norm"]
def layer_norm(x, eps=1e-12):
    """x (..., width) -> the same shape, each token with mean 0 and variance 1"""
    raise NotImplementedError  # your code

# %%
layer_norm = check("layer_norm", layer_norm)

# %% [markdown]
# This has a consequence for the queries below. If the same vector is added to two tokens, they
# become more alike, and the more so the smaller they are *relative to the added vector*. Post-norm
# then gives every token the same length, and only the small difference is left for later layers.
# **Predict:** at which size do two tokens with opposite directions stay different?

# %%
token = torch.randn(2, 64)
token[1] = -token[0]  # opposite directions: cosine -1
added = torch.randn(64)  # the same for both
for size in (10, 1, 0.3, 0.1, 0.02):
    one, other = layer_norm(size * token + added)
    alike = torch.cosine_similarity(one, other, dim=0).item()
    print(f"size {size:5}: cosine of the two after the norm {alike:+.2f}")

# %% [markdown]
# ## The block
#
# Three linear maps compute queries, keys and values. A fourth combines the outputs of the heads. In
# **cross-attention** keys and values come from other tokens than the queries, the `memory`, which
# can have another width. The attention itself is PyTorch's `scaled_dot_product_attention`: the same
# three steps as your `one_head`, for all heads at once, with an optional boolean mask (True: may
# attend).

# %%
flow(
    [
        (
            "project",
            "queries from x, keys and values from memory",
            "(B, L or M, width)",
        ),
        ("split", "split the features among heads", "(B, heads, L or M, d)"),
        ("attend", "each head separately", "(B, heads, L, d)"),
        ("join, project", "concatenate, linear map", "(B, L, width)"),
        ("add, norm", "residual, then LayerNorm", "(B, L, width)"),
    ],
    title="AttentionBlock",
)

# %%
from torch.nn.functional import scaled_dot_product_attention

two_heads = split_heads(torch.randn(1, 3, 8), 2)
by_torch = scaled_dot_product_attention(two_heads, two_heads, two_heads)
by_hand = torch.stack([one_head(h, h, h) for h in two_heads[0]])
print("largest difference:", round((by_torch[0] - by_hand).abs().max().item(), 5))

# %%
card("AttentionBlock")

# %% tags=["exercise:AttentionBlock"]
class AttentionBlock(nn.Module):
    """x (B, L, width) attends to memory (B, M, memory_width), by default to itself."""

    def __init__(self, width, heads, memory_width=None, dropout=0.0):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width or width, width)
        self.value = nn.Linear(memory_width or width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, memory=None, mask=None):
        raise NotImplementedError  # your code

# %%
AttentionBlock = check("AttentionBlock", AttentionBlock)

# %% [markdown]
# ## N learned queries
#
# This is the Q in Q-Former. Usually queries are computed from the input. Here they are
# **parameters**: N learned vectors, the same for every window of every clip. In the mini model 250
# tokens become 16 vectors.
#
# Before the queries attend to the window, they attend to one another (*self-attention*). Afterwards
# comes a *feed-forward* network: a linear map to `hidden` features, a non-linearity (GELU), a
# linear map back, then a residual connection and a LayerNorm. `real` marks the window's tokens that
# are not padding. Only these may be attended to. A layer has four parts, in this order:
#
# | part of a layer | queries | keys and values | width |
# |---|---|---|---|
# | `causal_attention` | the window's tokens | the same tokens, no later frame (notebook 05) | D |
# | `self_attention` | the learned queries | the learned queries | width |
# | `cross_attention` | the learned queries | the output of `causal_attention` | width (keys and values: from D) |
# | `feed_forward` | each learned query | no attention | width |
#
# **Predict:** how many output vectors are there for a window of six tokens, and of sixty? And which
# outputs of the feed-forward change if query 2 is changed? (With random weights.)

# %%
from favor_mini.qformer import FeedForward

torch.manual_seed(1)
attend = AttentionBlock(width=16, heads=2, memory_width=12)
feed_forward = FeedForward(width=16, hidden=32, dropout=0.0)
queries = torch.randn(1, 3, 16)
changed = queries.clone()
changed[0, 1] += 1
with torch.no_grad():
    for length in (6, 60):
        found = attend(queries, torch.randn(1, length, 12))
        print(f"{length} tokens in, output {tuple(found.shape)}")
    difference = (feed_forward(changed) - feed_forward(queries)).abs().amax(-1)
    print("changed by the feed-forward:", (difference > 0)[0].tolist())

# %%
card("CausalQFormerLayer")

# %% tags=["exercise:CausalQFormerLayer"]
class CausalQFormerLayer(nn.Module):
    """One layer: queries -> queries; the window's inputs do not change."""

    def __init__(self, input_width, width, heads, hidden, dropout):
        super().__init__()
        self.causal_attention = AttentionBlock(input_width, heads, dropout=dropout)
        self.self_attention = AttentionBlock(width, heads, dropout=dropout)
        self.cross_attention = AttentionBlock(
            width, heads, memory_width=input_width, dropout=dropout
        )
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, queries, inputs, causal_mask, real, maps):
        raise NotImplementedError  # your code

# %%
CausalQFormerLayer = check("CausalQFormerLayer", CausalQFormerLayer)

# %% [markdown]
# ## The module around the layers
#
# `CausalQFormer` adds the rest: a LayerNorm for the inputs, their **positions**, the queries with
# their own LayerNorm, and a stack of layers (two, here and in the paper).
#
# ```
# inputs  = LayerNorm(window) + positions          (B * W, K * P, D)
# queries = LayerNorm(learned queries)             (N, width), the same for every window
# for each layer:
#     queries = layer(queries, inputs)             always the same inputs
# ```
#
# **Positions.** Attention without a mask treats its input as a *set*: the weighted mean does not
# depend on the order of the values. So the queries cannot encode before and after. Therefore a
# learned position embedding is added to every token of the window. Here the tokens of a window are
# shuffled, without a mask:

# %%
from favor_mini.qformer import CausalQFormer

SMALL = {"input_width": 32, "window_frames": 4, "step_tokens": 4,
         "num_queries": 8, "width": 32, "heads": 4, "hidden": 64, "dropout": 0.0}
torch.manual_seed(0)
small = CausalQFormer(**SMALL, attention="full").eval()
windows, real = torch.randn(1, 16, 32), torch.ones(1, 4, dtype=torch.bool)
order = torch.randperm(16)
with torch.no_grad():
    with_positions = small(windows, real)[0] - small(windows[:, order], real)[0]
    small.positions.zero_()
    without = small(windows, real)[0] - small(windows[:, order], real)[0]
print(
    f"shuffled window: largest change of the queries {with_positions.abs().max():.2f} "
    f"with positions, {without.abs().max():.2f} without"
)

# %% [markdown]
# ## Why the queries get a LayerNorm
#
# The queries are initialised with a standard deviation of 0.02, like BERT's embeddings. Post-norm
# makes small tokens alike if the *same* vector is added to all of them, as you have seen. There is
# such a vector: the biases of the linear maps. Compared with them, a query of size 0.02 is very
# small. So the package normalises the queries before the first layer, as BERT normalises its
# embeddings. Remove this LayerNorm and measure the mean cosine of the queries of a window (notebook
# 07 makes a loss of it).
#
# The three initialisations: PyTorch's default, with random biases; BERT's, small and without
# biases; and the package's, without biases.

# %%
from favor_mini.losses import diversity_loss as mean_cosine


def fresh(start, norm, seed=0, size=0.02):
    """A small Q-Former with one initialisation, with or without the LayerNorm of its
    queries.
    """
    torch.manual_seed(seed)
    made = CausalQFormer(**SMALL)
    for module in made.modules():
        if isinstance(module, nn.Linear) and start == "torch's":
            module.reset_parameters()
        elif isinstance(module, nn.Linear) and start == "BERT's":
            nn.init.normal_(module.weight, std=0.02)
    nn.init.normal_(made.queries, std=size)
    if not norm:
        made.query_norm = nn.Identity()
    return made


toys, all_real = torch.randn(20, 16, 32), torch.ones(20, 4, dtype=torch.bool)
alike = {}
for start in ("torch's", "BERT's", "the package's"):
    for norm in (True, False):
        with torch.no_grad():
            out, _ = fresh(start, norm)(toys, all_real)
        alike[f"{start} initialisation, {'with' if norm else 'without'} LayerNorm"] = (
            mean_cosine(out).item()
        )
bars(alike, x="mean cosine of the queries of a window, before training", form="{:.2f}")

# %% [markdown]
# One bar is different: with PyTorch's initialisation and without LayerNorm, all queries are one
# vector. If the biases are zero, there is *no difference at the start*: the first self-attention
# adds almost nothing, and its own LayerNorm then normalises the queries. But biases do not stay at
# zero. The LayerNorm costs two numbers per feature.
#
# Change the size of the queries. From which size on do they stay different without the LayerNorm?

# %%
from favor_mini.figures.diversity import query_similarity


def draw_start(size, layer_norm, start):
    with torch.no_grad():
        out, _ = fresh(start, layer_norm, size=size)(toys[:1], all_real[:1])
    return query_similarity(
        out, f"{start}, size {size}, {'with' if layer_norm else 'without'} LayerNorm"
    )


explore(draw_start, size=[0.02, 0.1, 0.3, 1.0, 3.0], layer_norm=False,
        start=["torch's", "BERT's", "the package's"])

# %% [markdown]
# (With PyTorch's initialisation they need a size of about 1, the size that the LayerNorm gives
# them.)
#
# Does training repair the collapse? A toy task: every frame holds one of eight objects. Queries 1
# and 2 must name the object of frame 1, queries 3 and 4 the object of frame 2, and so on. The
# initialisation is PyTorch's. **Predict** the two curves, with and without the LayerNorm.

# %%
def train(norm, steps=150):
    qformer, head = fresh("torch's", norm), nn.Linear(32, 8)
    draw = torch.Generator().manual_seed(0)
    things = 2 * torch.randn(8, 32, generator=draw)
    optimizer = torch.optim.Adam([*qformer.parameters(), *head.parameters()], lr=1e-3)
    alike, losses = [], []
    for _ in range(steps):
        what = torch.randint(8, (16, 4), generator=draw)  # [windows, frames]
        noise = torch.randn(16, 4, 4, 32, generator=draw)
        window = (things[what][:, :, None] + noise).flatten(1, 2)  # [windows, K * P, D]
        out, _ = qformer(window, torch.ones(16, 4, dtype=torch.bool))
        loss = nn.functional.cross_entropy(
            head(out).flatten(0, 1), what.repeat_interleave(2, 1).flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        alike.append(mean_cosine(out).item())
        losses.append(loss.item())
    return alike, losses


learned = {"with LayerNorm": train(True), "without": train(False)}
for name, (_, losses) in learned.items():
    print(
        f"{name:15}: loss at step 50 {losses[49]:.1f}, at 90 {losses[89]:.1f}, at 150 "
        f"{losses[-1]:.1f}"
    )
curves(
    {name: (range(1, 151), alike) for name, (alike, _) in learned.items()},
    points=False,
    x="training step",
    y="mean cosine of the queries",
    title="Toy task: which object is in which frame?",
)

# %% [markdown]
# Without the LayerNorm the queries also separate in the end, but late, and until then the loss is
# higher. This toy task favours separation: each pair of queries has its own object to name. In
# FAVOR the training signal is weaker: a short answer, through a whole language model. The toy task
# cannot show how long it would take there.
#
# ## The parameters of a Q-Former
#
# A linear map from $a$ to $b$ features has $ab$ weights and $b$ biases. Count the parameters part
# by part.

# %%
card("qformer_parameters")

# %% tags=["exercise:qformer_parameters"]
def qformer_parameters(
    *, input_width, window_frames, step_tokens, num_queries, width, layers, hidden
):
    """The number of parameters of a CausalQFormer of this size."""
    raise NotImplementedError  # your code

# %%
qformer_parameters = check("qformer_parameters", qformer_parameters)
MINI = {"input_width": 256, "window_frames": 10, "step_tokens": 25,
        "num_queries": 16, "width": 256, "layers": 2, "hidden": 1024}
PAPER = {"input_width": 1536, "window_frames": 10, "step_tokens": 32,
         "num_queries": 32, "width": 768, "layers": 2, "hidden": 3072}
for name, size in (("mini", MINI), ("paper", PAPER)):
    print(f"{name:5}: {qformer_parameters(**size):>11,} parameters")

# %% [markdown]
# **Predict** the largest part at the paper's sizes. (A hint: there D is twice the width of the
# queries.)

# %%
def by_part(size, heads):
    with torch.device("meta"):  # shapes without memory
        made = CausalQFormer(**size, heads=heads)
    parts = dict.fromkeys(("causal_attention", "self_attention", "cross_attention",
                           "feed_forward", "positions", "queries"), 0)
    for name, parameter in made.named_parameters():
        parts[next((part for part in parts if part in name), "queries")] += (
            parameter.numel() / 1e6
        )
    return parts


bars(
    by_part(PAPER, 12),
    x="parameters, millions",
    form="{:.2f}",
    title="Sizes of the paper",
)

# %% [markdown]
# The causal attention has most parameters: its width is D, that of both streams together, and its
# four maps grow with $D^2$. (In the mini model D equals the width, so the three attentions have the
# same size and the feed-forward is the largest part: try `by_part(MINI, 4)`.)
#
# ## The component, on a real clip
#
# Use your layer in the trained model. The Q-Former builds its layers from `layer_class`, the
# weights are loaded by name, and the model should give the same answers.

# %%
from favor_mini import (
    FavorForConditionalGeneration,
    FavorProcessor,
    checkpoint_path,
    read_clip,
)
from favor_mini.evaluation.answering import answer, encode_clips
from favor_mini.world.samples import read_samples

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
samples = [s for s in read_samples() if s.kind == "clip"][:8]
clips = {s.name: read_clip(s.path) for s in samples}
encoded = encode_clips(model, processor, clips)


class YourQFormer(CausalQFormer):
    layer_class = CausalQFormerLayer


shipped = model.qformer
yours = YourQFormer(**MINI, heads=4, dropout=0.0).eval()
yours.load_state_dict(shipped.state_dict())
asked = [(s, q) for s in samples for q in s.questions[:3]]
answers = {}
for name, qformer in (("shipped", shipped), ("yours", yours)):
    model.qformer = qformer
    answers[name] = answer(
        model,
        processor,
        [encoded[s.name] for s, _ in asked],
        [q.text for _, q in asked],
    )
model.qformer = shipped
right = sum(
    text == q.answer for text, (_, q) in zip(answers["yours"], asked, strict=True)
)
same = sum(
    one == other
    for one, other in zip(answers["yours"], answers["shipped"], strict=True)
)
print(
    f"yours: {right} of {len(asked)} answers right, {same} equal to the shipped "
    f"Q-Former"
)

# %% [markdown]
# ### What do the queries attend to?
#
# `return_maps` returns the attention weights of the forward pass. Here is the first window of the
# first sample. Each row shows how a query's attention is distributed over the ten frames, summed
# over tokens and averaged over heads.

# %%
from favor_mini.figures.timeline import timeline
from favor_mini.figures.attention import attention_by_frame, query_attention

K, P, V = (
    model.config.window_frames,
    model.config.step_tokens,
    model.config.visual_tokens,
)


@torch.no_grad()
def cross_attention_of(clip_features):
    """The cross-attention of both layers, heads averaged: (layers, W, N, K, P)."""
    maps = model(
        **processor([clip_features], ["what was heard first?"]), return_maps=True
    ).maps
    return torch.stack([cross.mean(1).unflatten(-1, (K, P)) for cross in maps.cross])


attention = {s.name: cross_attention_of(encoded[s.name]) for s in samples}
first = samples[0]
timeline(first.scene, clips[first.name])

# %% tags=["varies"]
attention_by_frame(
    {f"layer {i + 1}": attention[first.name][i, 0].sum(-1) for i in (0, 1)},
    title="First window",
)

# %% [markdown]
# In layer 1 each query attends to a few frames, without a clear order. In layer 2 there is a
# staircase: queries 1 to 4 attend to early frames, queries 13 to 16 to late frames. Choose a query
# and see its attention on the frames. (Each frame has 8 tokens with a visual and an audio part, and
# 17 with audio only.)

# %%
from favor_mini.world.transcript import heard_phrase, seen_phrase

by_name = {s.name: s for s in samples}


def draw_gaze(clip, window, layer, query):
    start, scene = (window - 1) * K, by_name[clip].scene
    frames = clips[clip].frames[start : start + K]
    script = []
    for moment in scene.moments:
        sound = moment.heard
        events = [(moment.start, moment.end, seen_phrase(moment), False)]
        events += (
            [(sound.start, sound.start + sound.seconds, heard_phrase(moment), True)]
            if sound
            else []
        )
        for since, until, what, heard in events:
            a, b = 2 * since - start, 2 * until - start  # in frames of this window
            if b > 0.3 and a < len(frames) - 0.3:
                script.append((max(a, 0), min(b, len(frames)), what, heard))
    title = f"{clip}, window {window}: query {query} in layer {layer}"
    return query_attention(
        frames, attention[clip][layer - 1, window - 1, query - 1], V, title, script
    )


explore(
    draw_gaze,
    clip=[s.name for s in samples[:4]],
    window=(1, 2),
    layer=[2, 1],
    query=(1, 16),
)

# %% [markdown]
# Compare query 1 with query 4, 5 with 8, 9 with 12. The queries seem to form groups of four. Over
# all full windows of eight clips:

# %%
# full windows only
full = {s.name: attention[s.name][:, : len(clips[s.name].frames) // K] for s in samples}
second = torch.cat([found[1] for found in full.values()])  # [windows, N, K, P]
audio_only = second[..., V:].sum((-1, -2)).mean(0)  # [N]
audio_only = audio_only.unflatten(0, (4, 4)).mean(0)  # by the position in a group
groups = (
    "queries 1, 5, 9, 13",
    "queries 2, 6, 10, 14",
    "queries 3, 7, 11, 15",
    "queries 4, 8, 12, 16",
)
bars(dict(zip(groups, audio_only.tolist(), strict=True)), percent=True,
     title="Attention to tokens with audio only",
     x=f"share of attention in layer 2, mean of {len(second)} windows")

# %% [markdown]
# The first three queries of a group give about a quarter of their attention to tokens with audio
# only. The fourth gives nearly all of it. (Tokens with a visual part have audio as well, so all
# queries may use more audio than this.) The training assigned these roles. In its *naming* stage
# (notebook 07), which the paper does not have, the first query of a group had to name what is seen,
# the second what it does, the third what is next to it, the fourth what is heard. The mechanism
# makes it *possible* that different queries look for different things.
#
# ### Content or position?
#
# Do the queries follow the events, or do they always attend to the same positions? Average the map
# of layer 2 over all these windows. If the queries followed the events, the mean would be blurred.

# %%
attention_by_frame(
    {
        "one window": second[0].sum(-1),
        f"mean of {len(second)} windows": second.sum(-1).mean(0),
    },
    title="Layer 2: one window, and the mean of all windows",
)

# %% [markdown]
# The mean is nearly as sharp as a single window. **Each query attends to a fixed position in the
# window.** Now a test: reverse the frames of the window, frame 10 first. A query that follows the
# events would attend to the mirrored position. **Predict,** then run.

# %%
kept = []
handle = shipped.register_forward_pre_hook(lambda module, given: kept.append(given[:2]))
for name in encoded:
    cross_attention_of(encoded[name])
handle.remove()
windows, real = (torch.cat(parts) for parts in zip(*kept, strict=True))
windows, real = windows[real.all(1)], real[real.all(1)]


@torch.no_grad()
def second_layer(windows):
    # [windows, heads, N, K * P]
    cross = shipped(windows, real, return_maps=True)[1].cross[1]
    return cross.mean(1).unflatten(-1, (K, P)).sum(-1)  # [windows, N, K]


def agree(one, other):
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


forward = second_layer(windows)
backward = second_layer(windows.unflatten(1, (K, P)).flip(1).flatten(1, 2))
places = shipped.positions.detach().clone()
with torch.no_grad():
    shipped.positions.zero_()
    no_positions = second_layer(windows)
    shipped.positions.copy_(places)
bars({"reversed, same position": agree(forward, backward),
      "reversed, mirrored position": agree(forward, backward.flip(-1)),
      "another window, same position": agree(forward, forward.roll(1, 0)),
      "positions set to zero": agree(forward, no_positions)},
     x="correlation with the maps of the unchanged window, layer 2", form="{:+.2f}",
     title="Do the queries follow position or content?")

# %% [markdown]
# They follow the position: a query describes what happens *there*. The position embeddings make
# this possible: without them (last bar) the correlation is small.
#
# The limits: this is one model of the mini world, and the naming stage assigned the positions.
# Whether a Q-Former at full size, trained through the language model alone, has fixed positions
# cannot be concluded from it. `return_maps` would show it.
#
# ### The LayerNorm of the queries
#
# What happens if the LayerNorm of the queries is removed from the trained model? (This shows how
# much the model *relies* on it, not how it would train without.)

# %%
cosines = {}
for name, norm in {
    "as shipped": shipped.query_norm,
    "without the LayerNorm": nn.Identity(),
}.items():
    kept_norm, shipped.query_norm = shipped.query_norm, norm
    with torch.no_grad():
        unit = nn.functional.normalize(shipped(windows, real)[0], dim=-1)
    shipped.query_norm = kept_norm
    cosines[name] = (unit @ unit.transpose(1, 2)).mean(0)
    print(f"{name}: mean cosine of two queries {mean_cosine(unit).item():+.2f}")
matrices(cosines, x="query", y="query", limits=(-1, 1), ticks=range(1, 17),
         label=f"cosine, mean of {len(windows)} windows")

# %% [markdown]
# Without it most queries of the trained model are close to one vector. Look at the left matrix
# again: many cosines are near +1 or -1, and none is near 0. Odd and even queries have nearly
# opposite directions, so the *mean* over all pairs is near zero. Is this diversity? Notebook 07
# returns to this question.

# %% [markdown]
# ## What to play with
#
# - In "What do the queries attend to?" use one head instead of the mean of four. Do heads have
#   fixed positions, too?
# - In the toy task, give each frame one query or four instead of two. When do the queries separate
#   earlier?
# - `favor-mini compare --vary num_queries=4,8,16 --seeds 3 --minutes 1`: how few queries are
#   enough? (Notebook 11.)
# - `favor_mini/lab/variants.py` has connectors *without* attention, `mean_pooling` and `mlp`. What
#   can they not learn?
#
# ## Recap
#
# - A head returns the mean of the values, weighted by how queries and keys agree. The root of d
#   keeps random scores from being too large.
# - Heads split the features. A reshape without a transpose splits wrongly, without an error.
# - With post-norm, tokens that are small relative to an added vector become alike. So the queries
#   of size 0.02 get a LayerNorm before the first layer.
# - N learned queries attend to a window with any number of tokens and give N vectors. The queries
#   pass from layer to layer, the inputs do not change.
# - Without positions and without a mask a window is a set. With positions, the queries of this
#   model attend to fixed positions, whatever happens there.

# %% [markdown]
# ## Quiz
#
# **1.** Queries and keys of 64 features of variance 1, and the scores are not divided by 8. What
# happens?
#
# - a) All weights are nearly equal
# - b) Nothing, a softmax does not depend on the scale
# - c) Most weights are close to 0 or 1, at random
#
# <details><summary>Answer</summary>
#
# **c.** The standard deviation of the scores grows with the root of the width, and the softmax of
# very different scores selects one. *a:* that is the result of very *small* scores. *b:* the
# softmax does not change if a number is *added* to all scores; a factor does change it.
#
# </details>
#
# **2.** A window becomes twice as long. How many vectors does the language model get from it?
#
# - a) As many as before
# - b) Twice as many
# - c) As many as the window has frames
#
# <details><summary>Answer</summary>
#
# **a.** N queries give N vectors for any window. *b:* that holds for twice as many *windows*. *c:*
# N and K are independent.
#
# </details>
#
# **3.** Which parameters depend on the number of heads?
#
# - a) The query, key and value maps
# - b) None
# - c) The output map
#
# <details><summary>Answer</summary>
#
# **b.** Heads only split the features of the same maps. *a:* these have the size width by width (or
# width by D) for any number of heads. *c:* the output map, too.
#
# </details>
#
# **4.** The queries are initialised with a size of 1 instead of 0.02, without a LayerNorm. What do
# you expect with PyTorch's initialisation?
#
# - a) They stay different: the biases are small relative to them
# - b) They still become one vector
# - c) They become orthogonal
#
# <details><summary>Answer</summary>
#
# **a.** The size relative to the common added vector matters; the widget above shows it. *b:* that
# needs small queries. *c:* random vectors are nearly orthogonal at the start, and nothing here
# makes them more orthogonal.
#
# </details>
#
# **5.** You swap two frames of a window, and the shipped model's layer 2 map hardly changes. Why?
#
# - a) The model ignores the frames
# - b) The mask prevents a change
# - c) Its queries attend to positions; the values at these positions have changed
#
# <details><summary>Answer</summary>
#
# **c.** The map shows *where* a query attends, the values hold the content. *a:* then its answers
# would be guesses, and they are not. *b:* cross-attention has no causal mask; only padding is
# masked.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/attention.py` (`AttentionBlock`), `favor_mini/qformer.py` (`FeedForward`,
# `CausalQFormerLayer`, `CausalQFormer`); tests in `tests/test_attention.py` and
# `tests/test_qformer.py`, which compare the layer with BERT's attention and InstructBLIP's Q-Former
# layer of the transformers library.
#
# **In the paper:** section 3.2. **Further reading:** *Attention is all you need*
# ([arXiv 1706.03762](https://arxiv.org/abs/1706.03762)) for heads; BLIP-2
# ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) for the Q-Former; *Perceiver IO*
# ([arXiv 2107.14795](https://arxiv.org/abs/2107.14795)) for learned queries in another
# architecture.
#
# **Next:** [05 Causal attention](05_causal_attention.ipynb).
