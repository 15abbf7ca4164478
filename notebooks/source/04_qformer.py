# %% [markdown]
# # 04 The Q-Former
#
# **You will** build one head of attention by hand, grow it into the block that the Q-Former uses three times, put a layer
# together and plug it into the trained model. You will see queries become one and the same vector and what keeps them apart,
# count what a Q-Former learns, and watch what the shipped model's queries look at in a real clip.
#
# **You need** notebook 03 (steps of tokens, sound beside picture) and PyTorch. **Paper:** section 3.2, the causal Q-Former.
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
# Five seconds of a clip are now ten frames of 25 tokens each. A language model that read them all would be slow, and it would
# drown: most of these tokens say *nothing new*. So N learned **queries** look at the window and come back with N vectors,
# however much there was to see. That is a Q-Former: a reporter with N questions and N lines to fill.

# %%
flow([("synchronise", "seen and heard side by side", "(T, P, D)"),
      ("cut", "windows of K frames", "(W, K * P, D)"),
      ("causal attention", "frames take in the frames before them", "(W, K * P, D)"),
      ("Q-Former", "N queries talk, look, think", "(W, N, width)"),
      ("project", "to the language model", "(W * N, 256)")],
     here="Q-Former", title="From a window's tokens to N vectors")

# %% [markdown]
# The word *causal* belongs to the box before it. Each layer of the module holds such an attention of its own, the first of three;
# notebook 05 is about it. Here it is about the queries and how they look.
#
# ## One head
#
# Attention is looking something up, softly. Every token that can be looked at has a **key**, which says how to find it, and a
# **value**, which is what it has to tell. Whoever looks has a **query**, which says what is looked for. Query and key are
# vectors of the same width $d$. Where they point the same way, their dot product is large.
#
# $$S = \frac{QK^\top}{\sqrt d} \qquad A = \mathrm{softmax}(S) \qquad H = AV$$
#
# $S$ holds the scores, a row for each query. The softmax makes each row positive and lets it add up to 1: that is how a query
# divides its attention. $H$ is what it hears, the mean of the values with these weights.
#
# By hand: three tokens in a plane. A *square*, a *bell* and *silence*, with keys that point three ways.

# %%
names = ["square", "bell", "silence"]
keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.7, -0.7]])
values = torch.tensor([[2.0, 1.0], [-2.0, 1.0], [0.0, -2.0]])
query = torch.tensor([[1.0, 1.0]])  # looks for a square and for a bell, both alike

scores = query @ keys.T / 2**0.5
weights = scores.softmax(-1)
for name, found in {"scores": scores, "weights": weights, "heard": weights @ values}.items():
    print(f"{name:8}", [round(number, 2) for number in found[0].tolist()])

# %% [markdown]
# Square and bell get the same, silence gets little, and what is heard lies nearly halfway between square and bell. Now turn
# the query and make it longer. Its direction says *what* it looks for; its length says *how sure* it is.

# %%
from math import cos, radians, sin

import ipywidgets

from favor_mini.figures.qformer import one_query


def turn(angle, length):
    query = length * torch.tensor([cos(radians(angle)), sin(radians(angle))])
    weights = (keys @ query / 2**0.5).softmax(-1)
    return one_query(query, keys, values, weights, weights @ values, names)


still = {"continuous_update": False}  # draw when the slider is let go
explore(turn, angle=ipywidgets.IntSlider(20, 0, 360, 10, description="angle", **still),
        length=ipywidgets.FloatSlider(2.0, min=0, max=8, step=0.5, description="length", **still))

# %% [markdown]
# With length 0 the query knows nothing it wants, and hears the plain mean of all. With length 8 it hears hardly anything but one
# token, unless two suit it nearly alike (between the two, at 45°). It never hears something *outside* the triangle of the values: attention mixes, it does not invent.

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
# **Why the root of d?** A dot product of two random vectors of width $d$ is a sum of $d$ random numbers, so its spread grows
# as $\sqrt d$. Divided, it stays the same for every width. Without the division a wide head would start out as sure as a long query: all its attention on one token, by
# accident, and a softmax that is nearly one-hot hardly passes a gradient on. Predict both lines before you run:

# %%
torch.manual_seed(0)
widths = [4, 16, 64, 256, 1024]
sure = {"scores divided by the root of d": [], "not divided": []}
for d in widths:
    raw = torch.randn(500, d) @ torch.randn(20, d).T  # 500 queries, 20 keys
    sure["scores divided by the root of d"].append((raw / d**0.5).softmax(-1).amax(-1).mean().item())
    sure["not divided"].append(raw.softmax(-1).amax(-1).mean().item())
curves({name: (widths, shares) for name, shares in sure.items()}, x="width d of a head",
       y="largest weight of 20", percent=True, log="x", title="How much one token gets by accident",
       mark={"even": 1 / 20})

# %% [markdown]
# ## Several heads
#
# One head has one row of weights for each query, so a query can look for *one* thing. To ask "what is seen?" and "what is
# heard?" at once, the features are shared out: with 4 heads of a width of 256, features 1 to 64 are the first head's query,
# key and value, 65 to 128 the second's, and so on. Every head attends on its own; what they heard is put side by side again.
#
# That costs nothing. It is the same matrix, cut in four.

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
matrices({"head 1": right[0], "head 2": right[1], "a mere reshape, 'head 1'": x.reshape(1, 2, 2, 3)[0, 0]},
         x="feature of the head", y="token", label="token.feature", numbers=True)

# %% [markdown]
# On the right what a reshape without a transpose makes of it: same shape, no error, and "head 1" holds the two halves of the
# first token. Nothing complains. Shapes do not tell.
#
# ## LayerNorm, and what stays when something is added
#
# What a head heard does not *replace* the token that looked. It is added to it, a **residual**: whoever hears nothing stays
# who it was, and gradients have a short way back. After the sum comes a **LayerNorm**, which brings every token to mean 0 and
# variance 1 over its own features, then stretches each feature by a learned weight and shifts it by a learned bias:
#
# $$\mathrm{LN}(x) = g \odot \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \varepsilon}} + b
# \qquad y = \mathrm{LN}\big(x + \mathrm{attention}(x)\big)$$
#
# LayerNorm *after* the sum is called **post-norm**; BERT does it so, and so does FAVOR's Q-Former. (Most newer language
# models normalise before.)

# %%
card("layer_norm")

# %% tags=["exercise:layer_norm"]
def layer_norm(x, eps=1e-12):
    """x (..., width) -> the same shape, each token with mean 0 and variance 1"""
    raise NotImplementedError  # your code

# %%
layer_norm = check("layer_norm", layer_norm)

# %% [markdown]
# A consequence will matter below. Two tokens that get the same thing added come to resemble each other, the more, the smaller they
# were *compared with what is added*. And post-norm makes it last: it brings every token to the same length, so that no later layer
# could tell the small difference that is left from noise. Predict: at which size do two tokens that point away from each other stay
# apart?

# %%
token = torch.randn(2, 64)
token[1] = -token[0]  # as different as can be: cosine -1
added = torch.randn(64)  # the same for both
for size in (10, 1, 0.3, 0.1, 0.02):
    one, other = layer_norm(size * token + added)
    alike = torch.cosine_similarity(one, other, dim=0).item()
    print(f"size {size:5}: cosine of the two after the norm {alike:+.2f}")

# %% [markdown]
# ## The block
#
# Now the whole block. Three linear maps make queries, keys and values; a fourth one mixes what the heads heard. In
# **cross-attention** keys and values come from other tokens than the queries, of another width perhaps: from the `memory`.
# The arithmetic in the middle is torch's `scaled_dot_product_attention`: the same three steps as your `one_head`, for all
# heads at once, with a boolean mask (True: may look) where there is one.

# %%
flow([("project", "queries from x, keys and values from memory", "(B, L or M, width)"),
      ("split", "share out the features", "(B, heads, L or M, d)"),
      ("attend", "each head on its own", "(B, heads, L, d)"),
      ("join, project", "side by side, then mixed", "(B, L, width)"),
      ("add, norm", "residual, then LayerNorm", "(B, L, width)")], title="AttentionBlock")

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
    """x (B, L, width) looks at memory (B, M, memory_width), by default at itself."""

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
# ## N queries, learned
#
# Here is the Q in Q-Former. Usually queries are computed from the input. Here they are **parameters**: N vectors that are
# learned once and are the same for every window of every clip. Query 3 asks its question of whatever comes. However long the
# window, N vectors come out: the price that the language model pays is fixed beforehand. In the mini model 250 tokens become
# 16.
#
# A query alone could not know what the others ask. So before they look at the window, the queries look at one another
# (*self-attention*), and after it each of them digests what it heard in a *feed-forward*, for each query alone: a linear map to
# `hidden` features, a bend (GELU), a linear map back. Like the attention block it adds its input to that and ends in a LayerNorm of
# its own, so that a layer is nothing but the four parts, one after another. `real` says which of the window's tokens are no
# padding; only these may be looked at.
#
# | part of a layer | who looks | at what | works at width |
# |---|---|---|---|
# | `causal_attention` | the window's tokens | at one another, no frame at a later one (notebook 05) | D |
# | `self_attention` | the queries | at one another | width |
# | `cross_attention` | the queries | at the tokens that came out of `causal_attention` | width (keys and values: from D) |
# | `feed_forward` | each query | at itself | width |
#
# Two small measurements with random weights. Predict them: how many vectors come out of a window of six tokens, and of sixty?
# And which queries move in the feed-forward when query 2 is changed?

# %%
from favor_mini.qformer import FeedForward

torch.manual_seed(1)
look = AttentionBlock(width=16, heads=2, memory_width=12)
think = FeedForward(width=16, hidden=32, dropout=0.0)
queries = torch.randn(1, 3, 16)
changed = queries.clone()
changed[0, 1] += 1
with torch.no_grad():
    for length in (6, 60):
        print(f"{length} tokens in, {tuple(look(queries, torch.randn(1, length, 12)).shape)} out")
    print("moved in the feed-forward:", ((think(changed) - think(queries)).abs().amax(-1) > 0)[0].tolist())

# %%
card("CausalQFormerLayer")

# %% tags=["exercise:CausalQFormerLayer"]
class CausalQFormerLayer(nn.Module):
    """One layer: queries in, queries out; the window's inputs are only looked at."""

    def __init__(self, input_width, width, heads, hidden, dropout):
        super().__init__()
        self.causal_attention = AttentionBlock(input_width, heads, dropout=dropout)
        self.self_attention = AttentionBlock(width, heads, dropout=dropout)
        self.cross_attention = AttentionBlock(width, heads, memory_width=input_width, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, queries, inputs, causal_mask, real, maps):
        raise NotImplementedError  # your code

# %%
CausalQFormerLayer = check("CausalQFormerLayer", CausalQFormerLayer)

# %% [markdown]
# ## The module around the layers
#
# `CausalQFormer` adds what is left: a LayerNorm on the inputs, their **positions**, the queries with a LayerNorm of their
# own, and a stack of layers (two, here and in the paper).
#
# ```
# inputs  = LayerNorm(window) + positions          (B * W, K * P, D)
# queries = LayerNorm(learned queries)             (N, width), the same for every window
# for each layer:
#     queries = layer(queries, inputs)             always the same inputs
# ```
#
# **Positions.** Attention without a mask sees a *set*: the weighted mean does not care in which order the values come. Shuffle a window's
# tokens and the queries come out unchanged, so they could not tell before from after. Hence every place of the window has a
# learned vector that is added to its token. Measured, on a small Q-Former without a mask:

# %%
from favor_mini.qformer import CausalQFormer

SMALL = {"input_width": 32, "window_frames": 4, "step_tokens": 4,
         "num_queries": 8, "width": 32, "heads": 4, "hidden": 64, "dropout": 0.0}
torch.manual_seed(0)
small = CausalQFormer(**SMALL, attention="full").eval()
windows, every = torch.randn(1, 16, 32), torch.ones(1, 4, dtype=torch.bool)
order = torch.randperm(16)
with torch.no_grad():
    apart = (small(windows, every)[0] - small(windows[:, order], every)[0]).abs().max().item()
    small.positions.zero_()
    blind = (small(windows, every)[0] - small(windows[:, order], every)[0]).abs().max().item()
print(f"shuffled window: the queries move by up to {apart:.2f} with positions, {blind:.2f} without")

# %% [markdown]
# ## Why the queries get a LayerNorm
#
# Queries are drawn small, with a standard deviation of 0.02, as BERT draws its embeddings. You have seen above what post-norm
# does to small tokens when something is added that is *the same for all*. And something is: the biases of the linear maps.
# Beside them a query of 0.02 is a whisper. The package normalises the queries before the first layer, as BERT normalises its
# embeddings. Take that LayerNorm away and measure how alike the queries of a window come out: their mean cosine (notebook 07
# makes a loss of it).
#
# Three ways to draw the first weights: torch's own, with random biases; BERT's, small and without; and this package's,
# without.

# %%
from favor_mini.losses import diversity_loss as mean_cosine


def fresh(start, norm, seed=0, size=0.02):
    """A small Q-Former with first weights of one kind, with or without the LayerNorm on its queries."""
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
        alike[f"{start} start, {'with' if norm else 'without'} LayerNorm"] = mean_cosine(out).item()
bars(alike, x="mean cosine of a window's queries, before any training", form="{:.2f}")

# %% [markdown]
# One bar stands out: torch's start, no LayerNorm. All queries are one vector, and eight lines of report say the same thing.
# Where biases start at zero there is *no difference at the start*: the first self-attention adds next to nothing, and its own
# norm then brings the queries to full size. But biases do not stay at zero, and who changes the first weights should not have
# to think of this. The LayerNorm costs two numbers a feature.
#
# Move the size of the queries. From which size on do they stay apart without the LayerNorm?

# %%
from favor_mini.figures.overview import query_similarity


def draw_start(size, layer_norm, start):
    with torch.no_grad():
        out, _ = fresh(start, layer_norm, size=size)(toys[:1], all_real[:1])
    return query_similarity(out, f"{start} start, size {size}, {'with' if layer_norm else 'without'} LayerNorm")


explore(draw_start, size=[0.02, 0.1, 0.3, 1.0, 3.0], layer_norm=False,
        start=["torch's", "BERT's", "the package's"])

# %% [markdown]
# (Under torch's start it takes a size of 1 or so, which is what the LayerNorm gives them.)
#
# Does training mend it? A toy: every frame holds one of eight things, and queries 1 and 2 must name the thing of frame 1,
# queries 3 and 4 that of frame 2, and so on. Torch's start, the same data, with and without the LayerNorm. Predict the two
# lines.

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
        loss = nn.functional.cross_entropy(head(out).flatten(0, 1), what.repeat_interleave(2, 1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        alike.append(mean_cosine(out).item())
        losses.append(loss.item())
    return alike, losses


learned = {"with LayerNorm": train(True), "without": train(False)}
for name, (_, losses) in learned.items():
    print(f"{name:15}: loss at step 50 {losses[49]:.1f}, at 90 {losses[89]:.1f}, at 150 {losses[-1]:.1f}")
curves({name: (range(1, 151), alike) for name, (alike, _) in learned.items()}, points=False,
       x="training step", y="mean cosine of the queries", title="A toy: which thing is in which frame?")

# %% [markdown]
# Without it the queries do come apart in the end, in this toy, which begs for it: each pair has a thing of its own to name.
# But they set out late, and until then the loss lags behind. In FAVOR nothing so plain asks them to differ, only a short answer
# behind a whole language model; how long it would take there, the toy cannot say.
#
# ## What does a Q-Former learn?
#
# Parameters, and how many. A linear map from $a$ to $b$ features has $ab$ weights and $b$ biases. Count them by part: it is
# the best test of whether you know what is inside.

# %%
card("qformer_parameters")

# %% tags=["exercise:qformer_parameters"]
def qformer_parameters(*, input_width, window_frames, step_tokens, num_queries, width, layers, hidden):
    """How many numbers a CausalQFormer of this size learns."""
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
# Where do they sit? Predict the largest part at the paper's size, then run. (A hint: D there is twice the queries' width.)

# %%
def by_part(size, heads):
    with torch.device("meta"):  # shapes without memory
        made = CausalQFormer(**size, heads=heads)
    parts = dict.fromkeys(("causal_attention", "self_attention", "cross_attention",
                           "feed_forward", "positions", "queries"), 0)
    for name, parameter in made.named_parameters():
        parts[next((part for part in parts if part in name), "queries")] += parameter.numel() / 1e6
    return parts


bars(by_part(PAPER, 12), x="parameters, millions", form="{:.2f}", title="The paper's size")

# %% [markdown]
# The causal attention weighs most: it works at width D, that of both streams together, and its four maps grow with $D^2$. The
# queries, which the thing is named after, are next to nothing. (In the mini model D equals the width, so the three attentions
# weigh the same and the feed-forward takes the lead: try `by_part(MINI, 4)`.)
#
# ## The component, on a real clip
#
# Plug your layer into the trained model: the Q-Former takes its layers from `layer_class`, the weights go in by name, and the
# model should answer as before.

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path, read_clip
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
told = {}
for name, qformer in (("shipped", shipped), ("yours", yours)):
    model.qformer = qformer
    told[name] = answer(model, processor, [encoded[s.name] for s, _ in asked], [q.text for _, q in asked])
model.qformer = shipped
right = sum(text == q.answer for text, (_, q) in zip(told["yours"], asked, strict=True))
same = sum(one == other for one, other in zip(told["yours"], told["shipped"], strict=True))
print(f"yours: {right} of {len(asked)} answers right, {same} the same as the shipped Q-Former's")

# %% [markdown]
# ### What do its queries look at?
#
# `return_maps` keeps the attention maps: the very weights that the values were summed with. Here is the first sample and its
# first window. A row is a query; how does it divide its attention over the ten frames, all tokens and heads taken together?

# %%
from favor_mini.figures.overview import timeline
from favor_mini.figures.qformer import gaze, query_map

K, P, V = model.config.window_frames, model.config.step_tokens, model.config.visual_tokens


@torch.no_grad()
def look_at(clip_features):
    """The cross-attention of both layers, heads averaged: (layers, W, N, K, P)."""
    maps = model(**processor([clip_features], ["what was heard first?"]), return_maps=True).maps
    return torch.stack([cross.mean(1).unflatten(-1, (K, P)) for cross in maps.cross])


looks = {s.name: look_at(encoded[s.name]) for s in samples}
first = samples[0]
timeline(first.scene, clips[first.name])

# %%
query_map({f"layer {i + 1}": looks[first.name][i, 0].sum(-1) for i in (0, 1)}, title="First window")

# %% [markdown]
# In layer 1 the queries look here and there, at a few frames each. In layer 2 there is order, a staircase: queries 1 to 4 look early,
# 13 to 16 late. Pick a query and see it on the frames. Places with picture hold sound,
# too (25 tokens of sound beside 8 of picture, notebook 03); the other places hold sound alone.

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
        events += [(sound.start, sound.start + sound.seconds, heard_phrase(moment), True)] if sound else []
        for since, until, what, heard in events:
            a, b = 2 * since - start, 2 * until - start  # in frames of this window
            if b > 0.3 and a < len(frames) - 0.3:
                script.append((max(a, 0), min(b, len(frames)), what, heard))
    title = f"{clip}, window {window}: query {query} in layer {layer}"
    return gaze(frames, looks[clip][layer - 1, window - 1, query - 1], V, title, script)


explore(draw_gaze, clip=[s.name for s in samples[:4]], window=(1, 2), layer=[2, 1], query=(1, 16))

# %% [markdown]
# Compare query 1 with query 4, 5 with 8, 9 with 12. The queries seem to come in fours. Measured over all full windows of
# eight clips:

# %%
full = {s.name: looks[s.name][:, : len(clips[s.name].frames) // K] for s in samples}  # no padded windows
second = torch.cat([found[1] for found in full.values()])  # [windows, N, K, P]
listening = second[..., V:].sum((-1, -2)).mean(0).unflatten(0, (4, 4)).mean(0)  # by the place in a four
told = ("queries 1, 5, 9, 13", "queries 2, 6, 10, 14", "queries 3, 7, 11, 15", "queries 4, 8, 12, 16")
bars(dict(zip(told, listening.tolist(), strict=True)), percent=True, title="How much do they only listen?",
     x=f"share of attention on places with sound alone, layer 2, mean of {len(second)} windows")

# %% [markdown]
# The first three of a four spend about a quarter of their attention on sound alone, as one head of four would; the fourth spends
# nearly all of it. (Places with picture hold sound as well, so all of them may hear more than that.) That is not something the mechanism finds by itself.
# This connector was first *taught to name* (notebook 09): the first query of four had to name what is seen, the next what it
# does, the third what is beside it, the fourth what is heard. The paper has no such stage. What the mechanism gave is that it
# *could* be learned: queries that ask for different things, heads that look at different places.
#
# ### A favourite place
#
# Do queries follow what happens, or do they look where they always look? Average layer 2's map over all those windows. If
# each query followed the events, the mean would be a blur.

# %%
query_map({"one window": second[0].sum(-1), f"mean of {len(second)} windows": second.sum(-1).mean(0)},
          title="Layer 2: one window, and what they have in common")

# %% [markdown]
# The early queries blur a little, within the few frames that their four looks at; the others hardly at all. **Queries have a
# favourite place in the window.** Now the test: run the film of the window
# *backwards*, frame 10 first. A query that follows the event would look at the mirrored place. Predict, then run.

# %%
kept = []
handle = shipped.register_forward_pre_hook(lambda module, given: kept.append(given[:2]))
for name in encoded:
    look_at(encoded[name])
handle.remove()
windows, real = (torch.cat(parts) for parts in zip(*kept, strict=True))
windows, real = windows[real.all(1)], real[real.all(1)]


@torch.no_grad()
def second_layer(windows):
    cross = shipped(windows, real, return_maps=True)[1].cross[1]  # [windows, heads, N, K * P]
    return cross.mean(1).unflatten(-1, (K, P)).sum(-1)  # [windows, N, K]


def agree(one, other):
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


forward = second_layer(windows)
backward = second_layer(windows.unflatten(1, (K, P)).flip(1).flatten(1, 2))
places = shipped.positions.detach().clone()
with torch.no_grad():
    shipped.positions.zero_()
    lost = second_layer(windows)
    shipped.positions.copy_(places)
bars({"backwards, same place": agree(forward, backward),
      "backwards, mirrored place": agree(forward, backward.flip(-1)),
      "another window, same place": agree(forward, forward.roll(1, 0)),
      "positions set to zero": agree(forward, lost)},
     x="correlation with the maps of the window as it is, layer 2", form="{:+.2f}",
     title="Do the queries stay or follow?")

# %% [markdown]
# They stay. In this model a query is a reporter with a post: it tells what happens *there*. The positions make it possible:
# without them (last bar) little is left of the posts.
#
# How far can this speak? It is one model of a mini world, in which naming handed out the posts. Whether a Q-Former at full
# size, which learns from the language model alone, has favourite places cannot be read off here; `return_maps` would tell.
#
# ### And its LayerNorm?
#
# What if the trained model loses the LayerNorm on its queries? (This says how much the model *relies* on it. What learning without it
# is like, the toy has shown.)

# %%
cosines = {}
for name, norm in {"as shipped": shipped.query_norm, "without the LayerNorm": nn.Identity()}.items():
    kept_norm, shipped.query_norm = shipped.query_norm, norm
    with torch.no_grad():
        unit = nn.functional.normalize(shipped(windows, real)[0], dim=-1)
    shipped.query_norm = kept_norm
    cosines[name] = (unit @ unit.transpose(1, 2)).mean(0)
    print(f"{name}: mean cosine of two queries {mean_cosine(unit).item():+.2f}")
matrices(cosines, x="query", y="query", limits=(-1, 1), ticks=range(1, 17),
         label=f"cosine, mean of {len(windows)} windows")

# %% [markdown]
# Without it most queries of the trained model come close to one vector. And look at the left again: most cosines are near +1 or
# near -1, few near 0. Odd and even queries stand in two camps that face away from each other, and the *mean* over all pairs comes
# out near zero. Is that diversity? (What tells queries of one camp apart is the small rest, averaged over windows here.) Keep the
# question for notebook 07.

# %% [markdown]
# ## What to play with
#
# - In "What do its queries look at?" take one head instead of the mean of four. Do heads have favourite places, too?
# - In the toy, give each frame one query or four in place of two. When do the queries come apart sooner?
# - `favor-mini compare --vary num_queries=4,8,16 --seeds 3 --minutes 1`: how few queries will do? (Notebook 11.)
# - `favor_mini/lab/variants.py` holds connectors *without* attention, `mean_pooling` and `mlp`. What can they not learn?
#
# ## Recap
#
# - A head divides attention by how well a query fits the keys, and hears the mean of the values. The root of d keeps it from
#   being sure by accident.
# - Heads share out the features; a reshape alone would share out something else, without an error.
# - In post-norm, what is small beside what is added disappears. So queries of 0.02 get a LayerNorm before the first layer.
# - N learned queries look at a window, however many tokens it holds, and N vectors come out. Queries travel from layer to layer, inputs do
#   not.
# - Without positions and without a mask a window is a set. With them, this model's queries have posts: they stay where they look, whatever
#   happens there.

# %% [markdown]
# ## Quiz
#
# **1.** Queries and keys of 64 features of variance 1, and the scores are not divided by 8. What happens?
#
# - a) The weights are all alike
# - b) Nothing, a softmax does not care for scale
# - c) Most weights are close to 0 or 1, by accident
#
# <details><summary>Answer</summary>
#
# **c.** Scores spread as the root of the width, and the softmax of far-apart scores picks one. *a:* that is what very *small*
# scores give. *b:* it does not care for what is *added* to all scores; a factor changes everything.
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
# **a.** N queries give N vectors, whatever they look at. *b:* so it would be with twice as many *windows*. *c:* N and K are
# chosen separately.
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
# **b.** Heads only share out the features of the same maps. *a:* these stay width by width (or width by D), however they are
# cut. *c:* so does the output map.
#
# </details>
#
# **4.** The queries are drawn with a size of 1 instead of 0.02, without a LayerNorm on them. What do you expect of torch's
# start?
#
# - a) They stay apart: the biases are small beside them
# - b) They become one vector all the same
# - c) They become orthogonal
#
# <details><summary>Answer</summary>
#
# **a.** What counts is the size against what is added to all alike; the widget above shows it. *b:* that takes small queries.
# *c:* random vectors are nearly orthogonal to begin with; nothing here makes them more so.
#
# </details>
#
# **5.** You swap two frames of a window, and the shipped model's layer 2 map hardly changes. Why?
#
# - a) The model is blind to the frames
# - b) The mask forbids a change
# - c) Its queries look at places; what they bring back from there has changed
#
# <details><summary>Answer</summary>
#
# **c.** The map says *where* it looks, the values say what is heard there. *a:* then its answers would be guesses, and they
# are not. *b:* cross-attention has no causal mask; only padding is hidden.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/attention.py` (`AttentionBlock`), `favor_mini/qformer.py` (`FeedForward`, `CausalQFormerLayer`,
# `CausalQFormer`); tests in `tests/test_attention.py` and `tests/test_qformer.py`, which hold the layer against BERT's
# attention and InstructBLIP's Q-Former layer as the transformers library has them.
#
# **In the paper:** section 3.2. **Further reading:** *Attention is all you need* ([arXiv
# 1706.03762](https://arxiv.org/abs/1706.03762)) for heads; BLIP-2 ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) for
# the Q-Former; *Perceiver IO* ([arXiv 2107.14795](https://arxiv.org/abs/2107.14795)) for learned queries elsewhere.
#
# **Next:** [05 Causal attention](05_causal_attention.ipynb).
