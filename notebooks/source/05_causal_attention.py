# %% [markdown]
# # 05 Causal attention
#
# **You will** write the mask that lets every frame see the past and no frame the future, keep padding out of it, and then trust
# nobody: you will *measure* which frame's encoding depends on which, find a leak that no shape gives away, and meet the mask of
# the authors' released code.
#
# **You need** notebook 04 (one head of attention, queries, cross-attention). **Paper:** section 3.2, the causal attention module.
#
# **Costs:** 35 minutes of reading, 46 minutes of exercises; 30 s of computing, 1.3 GB of memory.

# %%
import torch

from favor_mini.course import card, check
from favor_mini.figures.overview import masks
from favor_mini.figures.plots import bars, curves, flow, matrices

# %% [markdown]
# ## Where we are
#
# Frames and sound stand side by side, step by step (notebook 03). They are cut into windows of K frames (notebook 06). Now N
# queries are to sum up each window. Before they look at it, the window's own tokens look at one another: that is the
# *causal self-attention*, and it is what makes a Q-Former a **causal** Q-Former.

# %%
flow([("synchronise", "seen and heard side by side", "(T, P, D)"),
      ("cut", "windows of K frames", "(W, K * P, D)"),
      ("causal attention", "each frame takes in the frames before it", "(W, K * P, D)"),
      ("cross-attention", "N queries look at what came out", "(W, N, width)"),
      ("project", "to the language model", "(W * N, 256)")],
     here="causal attention", title="The causal Q-Former's first move")

# %% [markdown]
# Why bother? Think of a question such as *what was heard next after the bell?* The answer lies not in one frame but in the step
# from one to the next. If every frame's encoding already holds what led up to it, then a query that looks at one place finds a
# small history there. And if no frame holds what comes *after* it, "before" and "after" cannot be mixed up. That is the paper's
# argument. Whether it holds here is measured at the end.

# %% [markdown]
# ## Which frame does a token belong to?
#
# A window is one long row of K * P tokens: P for the first frame, P for the second, and so on (P is 25 in the shipped model).
# Everything below compares the *frames* of two tokens, so first we need each token's frame. Code counts from 0; prose and figures, like
# people, from 1.

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
# A mask is a square of booleans over (token that looks, token looked at). With $f(i)$ the frame of token $i$:
#
# $$M_{ij} = \big[\, f(i) \ge f(j) \,\big]$$
#
# By hand, for three frames of two tokens. Row 4 is the second token of frame 2. It may look at frame 1, at frame 2, *its own frame
# whole*, and not at frame 3:
#
# ```
#      frame looked at   1 1 | 2 2 | 3 3
#    token 4 (frame 2)   # # | # # | . .
# ```
#
# A language model's mask is a triangle over tokens. This one is a **staircase** over frames: what happens within one half
# second has no order that matters, and a token of the picture must not miss the sound beside it just because it stands first.

# %%
card("block_causal")

# %% tags=["exercise:block_causal"]
def block_causal(num_frames, step_tokens, device=None):
    """K, P -> (K * P, K * P) bool over (token that looks, token looked at)."""
    raise NotImplementedError  # your code

# %%
block_causal = check("block_causal", block_causal)

# %% [markdown]
# Beside it, two others. The middle one is worth a second look: it is what the authors' **released inference code** builds, an upper
# triangle over (query, key), where the text of the paper says the reverse. We keep it under a name of its own, `block_anticausal`. What
# it does to a frame's encoding you will measure below; what it does to answers, too.

# %%
masks(num_frames=4, step_tokens=3)

# %% [markdown]
# Try the other masks that ship, and move K. Which of them lets a frame see a later one? (`full` and `block_anticausal` do; `none` leaves
# each token nothing but itself; `token_causal` is a language model's triangle, which cuts frames apart.)

# %%
from favor_mini import lab  # its variants register themselves
from favor_mini.course.widgets import explore
from favor_mini.registry import find, names


def draw_mask(mask, frames_K):
    shown = find("attention", mask)(frames_K, 3)
    title = f"{mask}: {shown.float().mean():.0%} of pairs"
    return matrices({title: shown}, x="frame looked at", y="frame that looks", blocks=3)


explore(draw_mask, mask=names("attention"), frames_K=(4, 10))

# %% [markdown]
# ## What a mask does to attention
#
# Attention scores are $S = QK^\top/\sqrt{d}$, and row $i$ of $\mathrm{softmax}(S)$ says how token $i$ divides its attention. A
# forbidden pair gets the score $-\infty$, so that its share is $e^{-\infty} = 0$ and the others share what is left:
#
# $$A_{ij} = \frac{M_{ij}\, e^{S_{ij}}}{\sum_k M_{ik}\, e^{S_{ik}}}$$
#
# Four tokens, two frames of two, scores all equal but one:

# %%
scores = torch.zeros(4, 4)
scores[1, 0] = 1.0  # token 1 likes token 0
allowed = block_causal(2, 2)
weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
matrices({"scores": scores, "may look": allowed.float(), "weights, each row adds up to 1": weights},
         x="looked at", y="looks", numbers=True)

# %% [markdown]
# The rows of the first frame divide everything between two tokens; those of the second among four. What if one sets the *weights* to zero
# instead, after the softmax? Rows no longer add up to 1:

# %%
print("before the softmax:", weights.sum(-1).tolist())
print("after it:          ", [round(total, 2) for total in (scores.softmax(-1) * allowed).sum(-1).tolist()])

# %% [markdown]
# The package leaves the arithmetic to `scaled_dot_product_attention`, which takes the boolean mask as it is. The same numbers:

# %%
from torch.nn.functional import scaled_dot_product_attention

one = torch.eye(4)[None, None]  # with the identity as values, what comes out are the weights
# twice the scores, as it divides them by the root of the width, 4
heard = scaled_dot_product_attention(2 * scores[None, None], one, one, attn_mask=allowed)
print("largest difference from the weights above:", (heard[0, 0] - weights).abs().max().item())

# %% [markdown]
# ## Padding
#
# A clip of 13 frames fills one window of ten and three tenths of another. The rest of that window is padding, and padding must
# not be looked at. So the mask of a window is the plain mask *and* the columns of real frames. But look what happens to the row
# of a token that may see nothing at all:

# %%
nothing_allowed = torch.zeros(1, 4, dtype=torch.bool)
print(torch.zeros(1, 4).masked_fill(~nothing_allowed, -torch.inf).softmax(-1))

# %% [markdown]
# Not a number, and it spreads: through the residual, the LayerNorm, the loss, into every weight. Does it happen? Under the paper's mask
# it does not, as padding comes last and a padded frame still sees the real ones before it. Under other masks it does:

# %%
two_real = torch.tensor([True, True, False, False]).repeat_interleave(3)  # four frames of three tokens, two real
for mask in names("attention"):
    empty = ~(find("attention", mask)(4, 3) & two_real[None, :]).any(-1)
    print(f"{mask:<18}{int(empty.sum())} of 12 rows see nothing")

# %% [markdown]
# So a padded frame keeps the right to see itself, whatever the mask. What it computes is of no interest, as nobody looks at it; it just
# has to be a number.

# %%
card("window_mask")

# %% tags=["exercise:window_mask"]
def window_mask(name, frame_mask, step_tokens):
    """frame_mask (B * W, K) bool -> (B * W, 1, K * P, K * P) bool: the mask `name` with padding hidden."""
    num_frames = frame_mask.shape[1]
    allowed = find("attention", name)(num_frames, step_tokens)  # (K * P, K * P), without padding
    raise NotImplementedError  # your code

# %%
window_mask = check("window_mask", window_mask)

# %%
real = torch.tensor([[True, True, True, True], [True, True, False, False]])
causal, reverse = (window_mask(name, real, 3) for name in ("block_causal", "block_anticausal"))
matrices({"block_causal, four real": causal[0, 0], "block_causal, two real": causal[1, 0],
          "block_anticausal, two real": reverse[1, 0]}, x="frame looked at", y="frame that looks", blocks=3)

# %% [markdown]
# In the last one, frames 3 and 4 are padding: no real frame sees them, and they see themselves.

# %% [markdown]
# ## A variant of your own: a band
#
# Must a frame see *everything* before it? Perhaps the frame before is enough. A variant of a mask is one function.

# %%
card("local_causal")

# %% tags=["exercise:local_causal"]
def local_causal(num_frames, step_tokens, device=None):
    """K, P -> (K * P, K * P) bool: own frame and the one before it."""
    raise NotImplementedError  # your code

# %%
local_causal = check("local_causal", local_causal)

# %% [markdown]
# ## Trust nothing, measure
#
# A mask that *looks* right proves little. It may be transposed on its way, dropped in the second layer, or overwritten where
# padding is handled. No shape will tell. But causality is a statement about what depends on what, and that can be measured:
#
# > change frame $j$, encode again, and see which frames' encodings move.

# %%
card("measure_reach")

# %% tags=["exercise:measure_reach"]
def measure_reach(encode, steps):
    """Returns a numpy array (T, T) of bool: [i, j], changing frame j moves frame i's encoding."""
    raise NotImplementedError  # your code

# %%
measure_reach = check("measure_reach", measure_reach)

# %% [markdown]
# Try it on whole Q-Formers, one for each mask, with random weights; in float64, so that rounding stays far below what a changed frame
# does. `return_maps` hands out what each layer's causal attention made of the frames, on the way of an ordinary forward pass.

# %%
from favor_mini.figures.lab import reach
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
    """Frames in, what a layer of the Q-Former encodes them as out."""
    def encode(steps):
        _, maps = qformer(steps.flatten(1, 2), everything, return_maps=True)
        return maps.encoded[layer].unflatten(1, (K, P))  # [1, K, P, D]

    return encode


shown = ("block_causal", "block_anticausal", "full", "local_causal")
reach({name: measure_reach(encoder(build(name)), steps) for name in shown})

# %% [markdown]
# There it is, measured and not drawn: under the released code's mask, frame 1 moves with every later frame, and the last with none but
# itself.
#
# **A riddle.** The band lets a frame see one frame back. Stack two layers and, in most networks, it would see two back: the layer
# below has already brought one along. Predict, then run:

# %%
banded = build("local_causal")
reach({f"local_causal, layer {number + 1}": measure_reach(encoder(banded, number), steps) for number in (0, 1)})

# %% [markdown]
# Still one frame. In FAVOR, *each layer's causal attention starts from the window's inputs*, not from what the layer before made of
# them. Only the queries travel from layer to layer. So the reach of a mask is its reach, however deep the Q-Former.
#
# ## Find the leak
#
# A colleague has "simplified" one layer of the Q-Former: it no longer passes its mask on. Which layer it is has been drawn by lot. The
# shapes are right, all numbers are finite, training would run. Which layer leaks, and which frames?

# %%
suspect = build("block_causal")
layer = suspect.layers[int(torch.randint(2, (1,), generator=torch.Generator().manual_seed(5)))]
honest = layer.encode
layer.encode = lambda inputs, mask, maps=None: honest(inputs, None, maps)  # the simplification

queries, _ = suspect(steps.flatten(1, 2), everything)
print("queries", tuple(queries.shape), " finite:", bool(queries.isfinite().all()))

# %%
reach({f"layer {number + 1}": measure_reach(encoder(suspect, number), steps) for number in (0, 1)})

# %% [markdown]
# One square is a staircase, the other is full: there, every frame but the last moves with later ones. Nothing but this measurement tells.
# `favor_mini.lab.contract` makes it, among others, on any registered part (in windows of four frames), and names the frames that leak:

# %%
from favor_mini.lab.contract import check as contract
from favor_mini.registry import register


@register("attention", "one_ahead", causal=True)
def one_ahead(num_frames, step_tokens, device=None):
    """Declared causal, but off by one frame."""
    frame = frame_index(num_frames, step_tokens)
    return frame[:, None] >= frame[None, :] - 1


import textwrap

for broken in contract("attention", "one_ahead", show=False).broken:
    print(textwrap.fill(broken, 100))

# %% [markdown]
# ## The component, on a real clip
#
# The shipped model has all of this inside. Let it read a clip and keep its attention maps; `return_maps` gives the very weights that the
# values were summed with. Averaged over tokens and heads, they say how frame $i$ divides its attention over the frames.

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path, read_clip
from favor_mini.figures.overview import timeline
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
    """(heads, K * P, K * P) -> (K, K): the mean share of attention that a frame's tokens give to each frame."""
    blocks = attention.mean(0).unflatten(0, (frames, tokens)).unflatten(-1, (frames, tokens))  # [K, P, K, P]
    return blocks.mean(1).sum(-1)


shown = {f"layer {i + 1}, first window": by_frame(maps[0]) for i, maps in enumerate(output.maps.causal)}
matrices(shown,
         x="frame looked at", y="frame that looks", label="share of attention",
         ticks=range(1, frames + 1), numbers=False, limits=(0, 1))

# %% [markdown]
# Above the diagonal nothing is looked at, in both layers, as it must be. The first frame looks only at itself; it has no choice.
#
# ## Take the mask away from a trained model
#
# The model was *trained* under the block-causal mask. What if it is asked under another? (This says how much the model relies on the
# mask that it has learned with. It does not say which mask is better to learn with; that takes training, below.)

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
    found = {row.name: row for row in score_rows(evaluate(model, processor, held_out, asked, single_modality_chance(scenes)), FAMILY_GROUPS)}
    accuracy[mask] = (found["all"].accuracy, found["all"].low, found["all"].high)
model.qformer.attention = "block_causal"
bars(accuracy, x=f"accuracy over {len(asked)} questions about {len(samples)} held-out clips", percent=True,
     title="One trained model, asked under four masks")

# %% [markdown]
# The lines are 95 % intervals of each accuracy by itself. Reversing the direction costs most: what the connector has learned to find *before*
# a frame is no longer there.
#
# ## Does it help to learn with it?
#
# Now the fair question. Train the connector anew under each mask, from the same first random numbers, on the same clips in the same
# order, for as many steps, with several seeds; then ask all of them the same held-out questions. That takes the better part
# of an hour, so the results ship with the package, and are drawn from there:

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import tell

results = tell("attention")

# %%
groups = ["what comes next", "both modalities", "all"]
differences(results.differences(groups), results.arms[0]) if results else None

# %% [markdown]
# The red line is the paper's mask, the points are how much better or worse the others did. An interval that crosses the line means: *no
# difference found*. It does not mean that there is none. The numbers behind it, and how large a difference may have stayed hidden:

# %%
if results:
    print(results.verdicts(["what comes next", "all"]))

# %% [markdown]
# How far can this speak? These are clips of 8 to 12 s, windows of 5 s, a language model that has learned to reason over timelines before, and
# two minutes of training. A mini result can show that a claim need not hold, or that the machinery can show the effect; it cannot
# tell what a model a thousand times larger does.
#
# **And the cost?** A mask forbids pairs, but the arithmetic is done for all of them: `scaled_dot_product_attention` with a boolean
# mask computes the full square. Causal attention is not cheaper here; it would be with a kernel that skips forbidden blocks.

# %%
lengths = torch.arange(1, 21)
pairs = {"full": [(k * tokens) ** 2 / 1e3 for k in lengths.tolist()],
         "block causal, needed": [float(block_causal(k, tokens).sum()) / 1e3 for k in lengths.tolist()]}
curves({name: (lengths, values) for name, values in pairs.items()},
       x="frames of a window, K", y="pairs of tokens, thousands", zero=True)

# %% [markdown]
# ## What to play with
#
# - Write a mask that sees its own frame and the *first* one. Register it, run it through `contract`, predict its reach first.
# - In "Take the mask away", ask only questions of the families `seen_after` and `heard_after`. Which mask costs most there?
# - `favor-mini compare --vary attention=block_causal,none --seeds 3 --minutes 1` trains a comparison of your own (notebook 11).
#
# ## Recap
#
# - The mask compares *frames*, not tokens: own frame whole, earlier frames, nothing later.
# - It goes in before the softmax. Padded frames are hidden as columns and keep sight of themselves as rows.
# - Causality is a claim about what depends on what. Perturb a frame and see what moves: shapes cannot tell.
# - Each layer starts from the window's inputs, so depth does not lengthen the reach.
# - The released code holds the reverse mask. Both are here by name, and what they do is measured.

# %% [markdown]
# ## Quiz
#
# **1.** Under the block-causal mask, frame 4 of a window has ten tokens. How many of these may its first token look at?
#
# - a) one, itself
# - b) all ten
# - c) none
#
# <details><summary>Answer</summary>
#
# **b.** A frame sees itself whole. *a:* that would be a triangle over tokens, as in a language model. *c:* then even the first frame would have
# nothing to look at, and its softmax would be undefined.
#
# </details>
#
# **2.** In a window of ten frames you change frame 7, and the encodings of frames 7, 8, 9 and 10 move. Which mask may this be?
#
# - a) `block_causal`
# - b) `block_anticausal`
# - c) `local_causal`
#
# <details><summary>Answer</summary>
#
# **a.** Later frames take frame 7 in. *b:* then frames 1 to 7 would move. *c:* then only 7 and 8 would.
#
# </details>
#
# **3.** Why may a padded frame see itself, under any mask?
#
# - a) It holds information that later frames need
# - b) It makes the batch faster
# - c) A row without anything allowed gives `nan`
#
# <details><summary>Answer</summary>
#
# **c.** The softmax of nothing but $-\infty$ is undefined. *a:* it is padding, zeros. *b:* the arithmetic is the same.
#
# </details>
#
# **4.** The mask is multiplied onto the weights *after* the softmax. What goes wrong?
#
# - a) Rows no longer add up to 1, and what is seen depends on how strong the forbidden scores were
# - b) Nothing, it is the same
# - c) Gradients vanish everywhere
#
# <details><summary>Answer</summary>
#
# **a.** Forbidden scores stay in the denominator: the future leaks into *how much* of the past is taken in. *b:* only if rows were
# normalised again. *c:* allowed pairs still get gradients.
#
# </details>
#
# **5.** Two layers, band of one frame back. How far back does layer 2's encoding of a frame reach in FAVOR?
#
# - a) two frames
# - b) one frame
# - c) the whole window
#
# <details><summary>Answer</summary>
#
# **b.** Each layer starts from the inputs. *a:* so it would be in a stack where each layer reads the one below. *c:* only the queries
# see the whole window, through cross-attention.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/attention.py` (masks, `window_mask`, the attention block), `favor_mini/qformer.py` (the layer), `favor_mini/lab/variants.py` (other
# masks), `favor_mini/lab/contract.py` (the measurement); tests in `tests/test_attention.py`, `tests/test_qformer.py`, `tests/test_contract.py`.
#
# **In the paper:** section 3.2, causal attention module. **Further reading:** *Attention is all you need*
# ([arXiv 1706.03762](https://arxiv.org/abs/1706.03762)) for masks in decoders; BLIP-2 ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) for the
# Q-Former without causality.
#
# **Next:** [06 Sliding windows](06_sliding_windows.ipynb).
