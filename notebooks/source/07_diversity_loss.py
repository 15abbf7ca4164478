# %% [markdown]
# # 07 The diversity loss
#
# **You will** see queries collapse, write the loss that is meant to prevent it, and its
# gradient, compare it with four alternatives, and measure what it does *not* detect, in the shipped
# model too.
#
# **You need** notebooks 03 (the gym), 04 (queries) and 06 (windows). **Paper:** sections 3.3 and
# 3.4, the diversity loss and its weight $\lambda$.
#
# **Costs:** 40 minutes of reading, 50 minutes of exercises; 45 s of computing, 1.4 GB of memory.

# %%
import textwrap

import ipywidgets
import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.course import card, check
from favor_mini.figures.diversity import (
    arrows,
    loss_by_angle,
    scatter,
    targets_and_queries,
)
from favor_mini.figures.diversity import query_similarity
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Where we are
#
# N queries have summarised a window in N vectors. The language model gets nothing else about these
# five seconds. If all N vectors are equal, it gets the information of *one* vector.

# %%
flow([("split", "windows of K frames", "(W, K * P, D)"),
      ("causal attention", "each frame attends to earlier frames", "(W, K * P, D)"),
      ("cross-attention", "N queries attend to the result", "(W, N, width)"),
      ("diversity loss", "do the N queries differ?", "one number"),
      ("project", "to the language model", "(W * N, 256)")],
     here="diversity loss", title="The loss changes the training, not the forward pass")

# %% [markdown]
# Why can queries be alike? Each query takes a weighted mean of the *same* tokens. If the attention
# weights are nearly uniform, all queries get the same mean. Here are two untrained connectors: one
# with initial weights of variance 1 / width, the textbook choice, and one with the package's
# initialisation, which has sharp cross-attention and small outputs.
#
# Each matrix shows the cosine similarity of every pair of queries. Which matrix is the textbook
# initialisation?

# %%
from favor_mini import checkpoint_path, read_clip
from favor_mini.evaluation.answering import encode_clips
from favor_mini.lab.run import fresh_model
from favor_mini.world.samples import read_samples

samples = [s for s in read_samples() if s.kind == "clip"][:4]
# the connector and LoRA are untrained
fresh, processor = fresh_model(checkpoint_path(), 0, {})
clips = {s.name: read_clip(s.path) for s in samples}
encoded = encode_clips(fresh.eval(), processor, clips)


@torch.no_grad()
def queries_of(model, name=samples[0].name):
    """The output queries of a clip's windows with a real frame: (W, N, width)."""
    batch = processor([encoded[name]], ["what was heard first?"])
    _, queries, window_mask, _ = model.prepare(
        **{k: v.to(model.device) for k, v in batch.items() if k != "attention_mask"}
    )
    return queries[window_mask]


found = {"initialisation of the package": queries_of(fresh)[0]}
torch.manual_seed(0)
for module in fresh.qformer.modules():
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
found["textbook initialisation"] = queries_of(fresh)[0]
letters = dict(
    zip("AB", np.random.default_rng(6).permutation(list(found)), strict=True)
)
unit = {letter: F.normalize(found[name], dim=-1) for letter, name in letters.items()}
matrices({letter: u @ u.T for letter, u in unit.items()},
         x="query", y="query", limits=(-1, 1), numbers=False, label="cosine")

# %%
print("   ".join(f"{letter}: {name}" for letter, name in letters.items()))

# %% [markdown]
# It is the bright matrix. Before any training, its queries have similar directions.
#
# ## Cosine similarity
#
# $$\cos(a, b) = \frac{a \cdot b}{|a|\,|b|}$$
#
# It depends on the directions only, not on the lengths: 1 for the same direction, 0 for orthogonal
# vectors, $-1$ for opposite directions. By hand:

# %%
a, b = torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
c = torch.tensor([-4.0, 3.0])
for name, other in (("b", b), ("c", c), ("-a", -a)):
    print(
        f"a . {name:<2} = {a @ other:6.1f}    lengths {a.norm():.0f} and "
        f"{other.norm():.0f}"
        f"    cosine {a @ other / (a.norm() * other.norm()):+.0f}"
    )

# %%
card("cosine_matrix")

# %% tags=["exercise:cosine_matrix"]
def cosine_matrix(queries):
    """queries (W, N, D) -> (W, N, N), the cosines between the queries of each
    window.
    """
    raise NotImplementedError  # your code

# %%
cosine_matrix = check("cosine_matrix", cosine_matrix)

# %% [markdown]
# ## The loss
#
# One number for a window: the mean cosine over the $N(N-1)$ ordered pairs of *different* queries.
#
# $$\mathcal{L}_\text{div} = \frac{1}{N(N-1)} \sum_{i \ne j} \cos(q_i, q_j)$$
#
# It is averaged over the windows that hold a real frame. By hand: of three vectors two are equal,
# and one is orthogonal to both. One of the three pairs has cosine 1, so the loss is 1/3.

# %%
three = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
cosines = cosine_matrix(three)[0]
pairs = [(0, 1), (0, 2), (1, 2)]
print("pairs:", {f"{i + 1}-{j + 1}": cosines[i, j].item() for i, j in pairs})
print(f"their mean: {sum(cosines[i, j].item() for i, j in pairs) / 3:.3f}")

# %% [markdown]
# **Predict, then move the slider.** Vectors 1 and 2 are fixed at 0 and 120 degrees. Vector 3
# rotates. Where is the loss largest? Where is it smallest? Is it ever 1? Can three vectors in a
# plane be pairwise orthogonal?

# %%
def at(*degrees):
    """Unit vectors in the plane at these angles: (N, 2)."""
    angles = torch.deg2rad(torch.tensor([float(d) for d in degrees]))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def mean_of_pairs(vectors):
    square = cosine_matrix(vectors[None])[0]
    return square[~torch.eye(len(square), dtype=torch.bool)].mean().item()


def turn(angle_of_3, angle_of_2=120):
    angles = np.arange(0, 361, 5)
    curve = [mean_of_pairs(at(0, angle_of_2, angle)) for angle in angles]
    return loss_by_angle(
        at(0, angle_of_2, angle_of_3), angles, curve, angle_of_3, least=-1 / 2
    )


explore(turn, angle_of_3=(30, 360, 15), angle_of_2=[120, 0, 60, 90, 180])

# %% [markdown]
# It is largest at 60 degrees, between the two vectors, and smallest at 240 degrees, where the three
# vectors add up to zero. It reaches 1 only if vector 2 is at 0 degrees. Three vectors in a plane
# are never pairwise orthogonal. With vector 2 at 180 degrees the curve is flat: what vector 3 gains
# with one vector, it loses with the other.
#
# Why can the loss not fall below $-1/(N-1)$? Let $u_i$ be the queries normalised to length 1, and
# $s = \sum_i u_i$ their sum. A squared length is never negative:
#
# $$0 \le |s|^2 = \sum_{i}\sum_{j} u_i \cdot u_j = \underbrace{N}_{i = j} + \underbrace{N(N-1)\,\mathcal{L}_\text{div}}_{i \ne j}$$
#
# So $\mathcal{L}_\text{div} \ge -1/(N-1)$, with equality exactly if the unit vectors add up to
# zero.
#
# ## What must be excluded
#
# Two things must not count. The **diagonal**: a query has cosine 1 with itself, so 16 orthogonal
# queries would have a loss of 1/16. And **windows of padding**, without a real frame: their queries
# have no meaning.
#
# The loss is used in training, so every operation from the queries to the scalar must be PyTorch's.

# %%
card("diversity_loss")

# %% tags=["exercise:diversity_loss"]
def diversity_loss(queries, real=None):
    """queries (B * W, N, D), real (B * W,) bool or None -> scalar."""
    raise NotImplementedError  # your code

# %%
diversity_loss = check("diversity_loss", diversity_loss)

# %%
torch.manual_seed(0)
equal, orthogonal = torch.ones(1, 16, 32), torch.eye(16)[None]
opposite = torch.cat([torch.ones(1, 8, 16), -torch.ones(1, 8, 16)], dim=1)
sets = {
    "all equal": equal,
    "all orthogonal": orthogonal,
    "random in 32 dimensions": torch.randn(1, 16, 32),
    "eight and their opposites": opposite,
}
for name, q in sets.items():
    print(f"{name:<32} {diversity_loss(q).item():+.3f}")
print(f"{'lowest possible value, -1/15':<32} {-1 / 15:+.3f}")

# %% [markdown]
# Eight equal queries and eight opposite ones have the **lowest** possible loss, lower than sixteen
# different queries. This is no mistake: the loss depends on the sum only.
#
# ## A faster formula
#
# N = 32 queries have 992 pairs. But the equation above can be solved for the loss, without them:
#
# $$\mathcal{L}_\text{div} = \frac{|s|^2 - N}{N(N-1)}$$
#
# The package subtracts $\sum_i |u_i|^2$ instead of N, so that a zero query adds nothing. The value
# is the same, with fewer multiplications:

# %%
from favor_mini.course.exercise import source
from favor_mini.losses import diversity_loss as package_loss

q = torch.randn(6, 32, 768)
all_pairs = cosine_matrix(q)[:, ~torch.eye(32, dtype=torch.bool)]
print(f"with all pairs {all_pairs.mean():+.5f}    with the sum {package_loss(q):+.5f}")
N, D = q.shape[1:]
print(f"multiplications per window, unit vectors: {N * N * D:,} with all pairs, "
      f"{D + N * D:,} with the sum")
print("\n".join(source(package_loss).split("\n")[-4:]))

# %% [markdown]
# ## The gradient
#
# Training moves the queries in the direction of the negative gradient. For one window, with
# $u_i = q_i / |q_i|$:
#
# $$-\frac{\partial \mathcal{L}_\text{div}}{\partial q_i} = -\frac{2}{N(N-1)\,|q_i|}\;\big(\,s - (s \cdot u_i)\,u_i\,\big)$$
#
# All queries are pushed away from the same vector, the sum. The component along the query itself is
# removed, because the length of a query does not change any cosine. A longer query is rotated less.

# %%
card("push_apart")

# %% tags=["exercise:push_apart"]
def push_apart(queries):
    """queries (N, D) -> (N, D): minus the gradient of the window's diversity loss, by
    the formula.
    """
    raise NotImplementedError  # your code

# %%
push_apart = check("push_apart", push_apart)

# %%
long_one = torch.tensor([[1.0], [1.5], [1.0], [1.0]])
sets = {
    "four directions": at(10, 40, 70, 100),
    "number 2 longer": at(10, 40, 70, 100) * long_one,
    "all equal": at(50, 50, 50, 50),
    "two and two": at(20, 20, 200, 200),
}
arrows({title: (v, 3 * push_apart(v)) for title, v in sets.items()}, columns=4)

# %% [markdown]
# Two points have a zero gradient (the red arrows are drawn at three times their length).
#
# - **All equal.** The loss has its *maximum*: the sum has no component orthogonal to any query.
#   This point is unstable, as you measure below.
# - **Two and two.** The loss has its minimum, although the four queries have only two directions.
#
# ## Four alternatives
#
# Other losses for the same purpose, all in `favor_mini.lab.variants`:
#
# | name | what is averaged | minimum |
# |---|---|---|
# | `mean_cosine` | $\cos$ | unit vectors that add up to zero |
# | `absolute_cosine` | $\lvert\cos\rvert$ | orthogonal vectors; opposite vectors count as alike |
# | `squared_cosine` | $\cos^2$ | orthogonal vectors; the gradient vanishes near the minimum |
# | `gram` | $(q_i \cdot q_j - \delta_{ij})^2$, lengths included | orthogonal vectors of equal length |
# | `none` | nothing | nothing |

# %%
card("squared_cosine")

# %% tags=["exercise:squared_cosine"]
def squared_cosine(queries, real=None):
    """As `diversity_loss`, with the cosines squared."""
    raise NotImplementedError  # your code

# %%
squared_cosine = check("squared_cosine", squared_cosine)

# %%
card("gram")

# %% tags=["exercise:gram"]
def gram(queries, real=None):
    """queries (B * W, N, D) -> scalar: distance of the Gram matrix to the identity."""
    raise NotImplementedError  # your code

# %%
gram = check("gram", gram)

# %% [markdown]
# Two vectors with a growing angle between them. The first figure shows the value of each loss, the
# second its negative gradient: above 0 it increases the angle. **Predict:** which gradient is
# largest near 0 degrees? Which loss still increases the angle beyond 90 degrees?

# %%
from favor_mini.lab.variants import absolute_cosine, no_diversity

LOSSES = {"mean_cosine": diversity_loss, "absolute_cosine": absolute_cosine,
          "squared_cosine": squared_cosine, "gram": gram, "none": no_diversity}
angles = np.arange(0, 181, 6)


def value_and_push(loss, angle):
    radians = torch.deg2rad(torch.tensor(float(angle))).requires_grad_()
    pair = torch.stack(
        [torch.tensor([1.0, 0.0]), torch.stack([radians.cos(), radians.sin()])]
    )
    value = loss(pair[None])
    (slope,) = torch.autograd.grad(value, radians)
    return value.item(), round(-slope.item(), 4) + 0.0


found = {
    name: np.array([value_and_push(LOSSES[name], a) for a in angles])
    for name in list(LOSSES)[:4]
}
curves({name: (angles, both[:, 0]) for name, both in found.items()},
       x="angle between two queries (degrees)", y="loss", mark={"0: orthogonal": 0})

# %%
curves(
    {name: (angles, both[:, 1]) for name, both in found.items()},
    x="angle between two queries (degrees)",
    y="negative gradient (above 0: apart)",
    mark={"": 0},
)

# %% [markdown]
# All gradients are zero at 0 degrees. The gradient of the squared cosine grows fastest, and changes
# its sign at 90 degrees, the minimum. `gram` behaves in the same way with half the gradient. The
# absolute cosine equals the paper's loss up to 90 degrees. There it changes its sign in one jump,
# so it oscillates around the minimum. The paper's loss increases the angle until the two queries
# are opposite.
#
# ## Where does gradient descent end?
#
# Six free vectors in the plane start close together, with the loss alone. Move the slider to follow
# them.

# %%
def descend(loss, vectors, steps=300, strength=0.05):
    """Gradient descent; the rate is proportional to the number of pairs."""
    vectors = vectors.clone()
    for _ in range(steps):
        vectors.requires_grad_()
        (slope,) = torch.autograd.grad(loss(vectors[None]), vectors)
        vectors = (
            vectors - strength * len(vectors) * (len(vectors) - 1) * slope
        ).detach()
    return vectors


def follow(loss, steps, number_N=6):
    start = at(*np.linspace(20, 70, number_N))
    end = descend(LOSSES[loss], start, steps)
    title = f"{loss}, {steps} steps\nmean cosine {mean_of_pairs(end):+.2f}"
    return arrows({"start": start, title: F.normalize(end, dim=1)})


explore(
    follow,
    loss=list(LOSSES),
    number_N=ipywidgets.IntSlider(
        6, 2, 8, description="number N", continuous_update=False
    ),
    steps=ipywidgets.IntSlider(
        20, 0, 300, 10, description="steps", continuous_update=False
    ),
)

# %% [markdown]
# The end points of all five losses, each with its mean cosine:

# %%
ends = {
    name: descend(loss, at(*np.linspace(20, 70, 6))) for name, loss in LOSSES.items()
}
for name, end in ends.items():
    shares = [torch.linalg.svdvals(v).square() for v in (F.normalize(end, dim=1), end)]
    print(
        f"{name:<16} shares along the two principal axes: "
        + ",  ".join(
            f"{of} {share[0] / share.sum():.0%} : {share[1] / share.sum():.0%}"
            for of, share in zip(("directions", "with lengths"), shares, strict=True)
        )
    )
arrows(
    {
        f"{name}\nmean cosine {mean_of_pairs(end):+.2f}": end
        / end.square().sum(1).mean().sqrt()
        for name, end in ends.items()
    }
)

# %% [markdown]
# Six vectors in a plane cannot be pairwise orthogonal, so each loss ends at a different compromise.
# The paper's loss: vectors that add up to zero. The absolute cosine: each vector on one of two
# axes. The squared cosine: equal shares along both axes of the plane. `gram`: the same, with the
# lengths included, so a narrower range of directions with longer vectors at its ends.
#
# Now the unstable point. Sixteen vectors start nearly equal. How large is their mean cosine after
# some steps?

# %%
torch.manual_seed(0)
noise = torch.randn(16, 16)
print("steps          ", "".join(f"{steps:7}" for steps in range(0, 121, 20)))
for size in (0.1, 0.01, 0.001, 0.0):
    vectors, row = torch.ones(16, 16) + size * noise, []
    for _ in range(0, 121, 20):
        row.append(mean_of_pairs(vectors))
        vectors = descend(diversity_loss, vectors, steps=20)
    print(f"noise of {size:<6}", "".join(f"{cosine:+7.2f}" for cosine in row))

# %% [markdown]
# A start ten times closer needs about twenty more steps, because each step multiplies the
# differences between the vectors. Only exactly equal vectors stay equal. So free vectors recover
# from a collapse.
#
# ## The number of directions
#
# The mean cosine does not say how many different directions the queries have. This number does:
# take the shares $p_k$ of the squared lengths along the principal axes of a window (the eigenvalues
# of the cosine matrix, divided by N), and compute the exponential of their entropy:
#
# $$\text{directions} = \exp\Big(-\sum_k p_k \ln p_k\Big)$$
#
# It is 1 if all queries lie on one line, in either direction, and N if they are orthogonal. Now
# take sixteen vectors in sixteen dimensions, so that all can be orthogonal. They start once in a
# round cluster, once in a long cluster, whose vectors differ along one direction far more than
# along the others.

# %%
def directions(queries):
    """Effective number of directions of queries (..., N, D), from 1 to N."""
    shares = (
        torch.linalg.svdvals(F.normalize(queries, dim=-1)).square() / queries.shape[-2]
    )
    return torch.special.entr(shares).sum(-1).exp()


torch.manual_seed(3)
noise = torch.randn(16, 16)
noise[:, 1] = noise[:, 1].sort().values
common = torch.eye(16)[:1]  # what they have in common
round_cluster = common + 0.1 * noise
long_cluster = common + noise * torch.tensor([0.003, 0.4, *[0.003] * 14])
ends = {"mean, round cluster": descend(diversity_loss, round_cluster),
        "mean, long cluster": descend(diversity_loss, long_cluster),
        "squared, long cluster": descend(squared_cosine, long_cluster),
        "gram, long cluster": descend(gram, long_cluster)}
for name, end in ends.items():
    print(
        f"{name:<22} mean cosine {mean_of_pairs(end):+.2f}    directions "
        f"{directions(end):4.1f}"
    )
matrices({name: cosine_matrix(end[None])[0] for name, end in ends.items()},
         x="vector", y="vector", limits=(-1, 1), label="cosine", numbers=False)

# %% [markdown]
# The paper's loss reaches its minimum both times. From the round cluster it gives many directions.
# From the long cluster it gives **two opposite clusters**: it has stretched the direction along
# which the vectors already differed. The other losses do not. No trained model here has compared
# them, so whether this matters for answers is open.

# %% [markdown]
# ## The weight lambda
#
# $$\mathcal{L} = \mathcal{L}_\text{cross-entropy} + \lambda\,\mathcal{L}_\text{div}$$
#
# The diversity loss and the task can disagree. Suppose that three queries have three targets (the
# red crosses), and that two of the targets *should* be nearly the same. Move $\lambda$. Which query
# moves away from its target?

# %%
def tug_of_war(log10_of_lambda):
    weight, targets = 10.0**log10_of_lambda, at(30, 50, 180)
    free = targets.clone().requires_grad_()
    # LBFGS runs until the minimum
    solver = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        # the last LayerNorm gives nearly equal lengths
        queries = F.normalize(free, dim=1)
        value = (queries - targets).square().sum(-1).mean() + weight * diversity_loss(
            queries[None]
        )
        value.backward()
        return value

    solver.step(loss)
    queries = F.normalize(free.detach(), dim=1)
    return targets_and_queries(
        targets, queries, (queries - targets).square().sum(-1), weight
    )


explore(
    tug_of_war,
    log10_of_lambda=ipywidgets.FloatSlider(
        0.0,
        min=-2,
        max=2,
        step=0.5,
        description="log10 of lambda",
        continuous_update=False,
        style={"description_width": "initial"},
    ),
)

# %% [markdown]
# At 0.01 there is no visible effect. At 1 the two neighbours are pushed apart. Query 2, in the
# middle, stays at its target. Query 3, which was near no other query, moves almost as far as the
# first. From 10 on the loss is at its minimum, and query 1 is far from its target. This is an
# example in a plane. What does a connector do?
#
# ## On the connector itself
#
# The shipped model was first trained with a shortcut, *naming* (notebook 04). The sixteen queries
# of a window form groups of four along its five seconds, each for one moment of the clip. (Only a
# scripted world has such labels.) The targets of the four are words for what is **seen**, what it
# **does**, what is **beside** it, and what is **heard**. The course has three ways of training:
#
# | what | it learns from |
# |---|---|
# | *mini*, the shipped model; experiments with the whole model | *name*: a label for each query; then transcripts and answers |
# | *label-free*, notebook 09 | *align*: the text of a clip, without labels for queries; then answers |
# | the gym | answers alone |
#
# We train a fresh connector on eight clips of one window for sixteen steps, with a learning rate
# that is deliberately too high ("fast") and with a third of it ("slow").

# %% tags=["varies"]
from favor_mini.data.features import encode_media
from favor_mini.world.rows import scene_clip
from favor_mini.lab.diagnose import first_window
from favor_mini.world.clauses import query_words
from favor_mini.pretraining.shortcut import NAMED_STAGES, NamedRows
from favor_mini.training.finetune import stage_setup
from favor_mini.world.scene import draw_scene

training, after_end = [], 0
for seed in range(10_000_000, 10_000_008):
    scene = first_window(draw_scene(seed), 5.0)
    training.append(
        {
            **encode_media(fresh, processor, [processor.media(scene_clip(scene))])[0],
            "seed": seed,
        }
    )
    # the number of each query's moment
    _, numbers = query_words(scene, processor, processor.num_steps(training[-1]))
    after_end += numbers[12:16].count(len(scene.moments))
print(
    f"{after_end} of the {4 * len(training)} last queries are after the end of their "
    f"clip"
)


def train_a_little(changes, rate=3e-3, steps=16, batch=4, model=None):
    """Train a fresh connector with these settings, or `model`; returns it and its
    losses.
    """
    if model is None:
        # the same initial weights
        model, _ = fresh_model(checkpoint_path(), 0, changes)
    learner, data, collate = stage_setup(
        NAMED_STAGES["name"], "name", model.train(), processor, NamedRows(training),
        steps * batch,
    )
    optimizer = torch.optim.AdamW(
        [p for p in learner.parameters() if p.requires_grad], lr=rate
    )
    log = []
    for step in range(steps):
        inputs = collate([data[step * batch + i] for i in range(batch)])
        parts = learner(**{k: v.to(model.device) for k, v in inputs.items()})
        parts["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        log.append((parts["cross_entropy"].item(), parts["diversity"].item()))
    return model.eval(), np.array(log)


fast, slow = 3e-3, 1e-3
RUNS = {
    "fast, lambda 0": (0.0, fast),
    "fast, lambda 1": (1.0, fast),
    "fast, lambda 10": (10.0, fast),
    "slow, lambda 0": (0.0, slow),
    "slow, lambda 1": (1.0, slow),
    "slow, lambda 100": (100.0, slow),
}
logs, after, collapsed = {}, {}, None
for name, (weight, rate) in RUNS.items():
    trained, logs[name] = train_a_little({"diversity_weight": weight}, rate)
    after[name] = queries_of(trained)[0]
    collapsed = collapsed or trained  # keep the first
curves({name: (np.arange(1, 17), logs[name][:, 1]) for name in list(RUNS)[:5]},
       x="step", y="mean cosine within windows", mark={"all equal": 1.0, "": 0.0})

# %% tags=["varies"]
print("weight in the shipped recipe:", fresh.config.diversity_weight)
for name, q in after.items():
    print(
        f"{name:<17} mean cosine {package_loss(q[None]):+.2f}   directions "
        f"{directions(q):4.1f}   "
        f"cross-entropy {logs[name][0, 0]:.1f} -> {logs[name][-4:, 0].mean():.1f}"
    )
matrices({name: cosine_matrix(q[None])[0] for name, q in after.items()},
         x="query", y="query", limits=(-1, 1), label="cosine", columns=3, numbers=False)

# %% [markdown]
# **Fast.** Without the loss the queries collapse within a few steps. With a weight of 1 they nearly
# collapse, too. A weight of 10, a hundred times the shipped weight, keeps them apart. One vector
# cannot name sixteen targets, and the cross-entropy shows it: here the largest weight is best.
#
# **Slow.** Nothing collapses, even without the loss. So the loss is *one* remedy, and a suitable
# learning rate is another. With a weight of 100 the naming is much worse: the diversity loss
# dominates the task.
#
# Can a collapsed connector recover? We train it on, with the slow rate and a weight of 100.

# %% tags=["varies"]
collapsed.config.diversity_weight = 100.0
_, log = train_a_little({}, slow, model=collapsed)
number = directions(queries_of(collapsed)[0])
print(
    f"after {len(log)} more steps: mean cosine {log[-1, 1]:.3f}, directions "
    f"{number:.1f}"
)

# %% [markdown]
# In sixteen steps it does not recover. Here the loss changes the queries only through the weights
# of layers that all queries share. So in this example the loss prevents a collapse, but does not
# soon repair it. Sixteen steps on eight clips are no result.
#
# ## When do queries collapse, and does the loss then help?
#
# First in the gym (notebook 03): with the loss (weight 0.3) and without, five seeds, at three
# initialisations and two numbers of queries. `bert_init` has BERT's standard deviation of 0.02;
# `bert_init_bare_queries` also lacks the LayerNorm of the queries. **Predict** where queries
# collapse, and where the loss then helps.

# %%
from favor_mini.figures.gym import phase_diagram
from favor_mini.lab.gym.studies import show_study

study = show_study("diversity")
if study:
    columns = [*study.study.knobs, "arm", "steps to 90 %", "final", "cosine"]
    print(study.summary[columns].to_string(index=False))
phase_diagram(study) if study else None

# %% [markdown]
# Here the loss helps: averaged over the training, it is better in every cell, and significantly in
# all but one. It makes learning quicker. At the end, 1 to 2 points are left with sixteen queries, 3
# to 11 with four (no intervals). No arm has collapsed, against the prediction. So this is no rescue
# from a collapse. With the loss the mean cosine is lower; that this is the reason is a guess.
#
# And at three times the learning rate, with weights up to 30? **Predict** again.

# %%
study = show_study("weights")
if study:
    print(study.summary[[*study.study.knobs, *columns[2:]]].to_string(index=False))
phase_diagram(study) if study else None

# %% [markdown]
# This *is* a rescue: at the high rate the queries collapse without the loss, and nothing is
# learned; with sixteen queries and a weight of 0.3 or 3, every training learns. Compare the column
# *cosine*. Too high a weight does harm: at 30 all four cells are worse than without the loss, three
# of them significantly.
#
# Is it so in films, too, with frozen encoders? In the study *film-weights* the queries came closer
# without the loss (mean cosine 0.52; with weight 0.3, -0.11), but the answers did not suffer: a gain
# of more than 1 point is unlikely. So a mean cosine of 0.5 is not yet harm.
#
# ## The sweep
#
# Then the mini world: six weights from 0 to 10, everything else the same, five seeds each. The
# baseline is the weight of the shipped recipe, 0.1. **Predict** two curves over the weight: the
# mean cosine of the queries, and the accuracy.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import show_experiment

sweep = show_experiment("diversity")
groups = ["both modalities", "one modality, plain", "all"]
differences(sweep.differences(groups), sweep.arms[0]) if sweep else None

# %%
if sweep:
    print(sweep.verdicts(["all"]))
    for arm in sweep.arms:
        cosine = np.mean(
            [
                run["losses"]["ask"]["diversity"]
                for run in sweep.results
                if run["arm"] == arm
            ]
        )
        print(f"mean cosine at the end of training, {arm}: {cosine:+.3f}")

# %% [markdown]
# Here the loss changes the mean cosine, but no difference in accuracy is measurable.
#
# ## Failure signatures
#
# The paper names a sign of a weight that is too high: the model describes things that are not in
# the clip (insertions). So this sweep goes up to 100, with the eleven tasks of notebook 10, and
# counts the words of the answers:

# %%
from favor_mini.figures.lab import signs

counted = show_experiment("signatures")
signs(counted) if counted else None

# %%
if counted:
    print(counted.verdicts(["all"]))
    print(
        "mean cosine:",
        ", ".join(f"{arm} {value:+.2f}" for arm, value in counted.cosines.items()),
    )
    print("signs, per hundred true words or names:")
counted.signs.pivot(index="sign", columns="arm", values="per hundred")[
    counted.arms
].round(1) if counted else None

# %% [markdown]
# With a weight of 100 the accuracy falls, and the captions contain 52 hallucinated names per
# hundred true ones. The fall is significant among the three intervals above, but not among all 36
# of the experiment. The difference in the captions is not significant after correction for its nine
# intervals.
#
# A sign of a weight that is too low is that all queries are alike. `favor_mini.lab.diagnose` looks
# for both signs in a model. It compares a description with the script as follows:

# %%
from favor_mini.lab.diagnose import compare_texts

script = "see red circle at left, hear bell; see nothing, hear said moon."
for text in (script, "see red circle at left, hear drum; see nothing, hear said moon.",
             "see red circle at left, hear bell, hear bell, hear bell."):
    found = compare_texts(text, script)
    print(text)
    print(
        f"    of {found.phrases} phrases: {found.extra} not in the script, "
        f"{found.again} repeated; "
        f"{found.invented} hallucinated words"
    )

# %% [markdown]
# Now the shipped model, on a few test scenes. The first line has two limits: the lower one is for
# hallucinated words, the higher one for repeated phrases.

# %%
from favor_mini.lab.diagnose import diagnose

for sign in diagnose(scenes=5):
    if "diversity" in sign.points_to:
        print(textwrap.fill(str(sign), 100, subsequent_indent="    "))

# %% [markdown]
# ## The component, on a real clip
#
# There is no sign: the mean cosine of the shipped model's queries is near 0. Look at the matrices.

# %%
from favor_mini.evaluation.checkpoint import load_checkpoint

model, _ = load_checkpoint(checkpoint_path())
queries = queries_of(model)
query_similarity(queries, title="The shipped model's queries")

# %% [markdown]
# **A chessboard.** Every second query has one direction, the others have the opposite one. The mean
# cosine is near 0 because positive and negative values cancel. (In the last window most queries are
# after the end of the clip.) Every query was trained to name one *kind* of thing, so we look at the
# kinds along the first two principal axes.

# %%
named = [
    query_words(s.scene, processor, processor.num_steps(encoded[s.name]))
    for s in samples
]
after_end = torch.cat([torch.tensor(numbers) == len(s.scene.moments)
                       for s, (_, numbers) in zip(samples, named, strict=True)])
after_end = after_end.view(-1, 16)  # [windows, N]
real = torch.cat([queries_of(model, s.name) for s in samples])  # [windows, N, width]
whole = ~after_end.any(1)
print(
    f"{len(real)} windows of {len(samples)} clips, {whole.sum()} without queries "
    f"after the end"
)
print(f"mean cosine      {package_loss(real):+.2f}   (0 if orthogonal, and also here)")
print(f"mean |cosine|     {absolute_cosine(real):.2f}   (0 if orthogonal)")
print(f"directions        {directions(real).mean():.1f}   (16 if orthogonal)")
for of, chosen in (("all windows", real), ("complete windows", real[whole])):
    shares = torch.linalg.svdvals(F.normalize(chosen, dim=-1).flatten(0, 1)).square()
    print(
        f"share along the first four axes, {of}:",
        ", ".join(f"{s:.0%}" for s in shares[:4] / shares.sum()),
    )

axes = torch.linalg.svd(
    F.normalize(real, dim=-1).flatten(0, 1), full_matrices=False
).Vh[:2]
places = F.normalize(real, dim=-1) @ axes.T  # [windows, N, 2]
place = torch.arange(16) % 4
kinds = {
    kind: places[(place == i) & ~after_end]
    for i, kind in enumerate(("seen", "does", "beside", "heard"))
}
scatter({**kinds, "after the end": places[after_end]},
       x="along the first axis", y="along the second axis")

# %%
# the target words of window 1
targets = [processor.tokenizer.decode(word) for word in named[0][0][:16]]
for first in range(0, 16, 4):
    print(
        "  ".join(
            f"{i + 1:4}: {targets[i]:<16}" for i in range(first, first + 4)
        ).rstrip()
    )

# %% [markdown]
# In complete windows the first axis has the largest share: two opposite clusters, as with the free
# vectors. On one side are the first and third query of each group, *seen* and *beside*, which often
# have the same target words. On the other are *does* and *heard*. This explains the chessboard. The
# second axis separates *heard*, and the queries after the end, which all have the same target.
#
# So the first two axes seem to encode the *kind* of word that a query names, but hardly which word.
# The figure cannot show whether the loss *caused* the clusters. The free vectors show that it does
# not prevent them. Still, this model answers well. How?
#
# The language model reads not the queries but their *projection*. A linear map can shrink the first
# axes and enlarge others. The third matrix shows the targets: the sums of the embeddings of the
# target words.

# %%
from favor_mini.world.naming import multi_hot

with torch.no_grad():
    read = model.projection(real)
    vectors = model.language_model.get_input_embeddings().weight.float()
    wanted = multi_hot(named[0][0], len(processor.tokenizer)) @ vectors
first = {"queries": real[0], "projected queries": read[0], "targets": wanted[:16]}
matrices(
    {
        f"{name}: {directions(q):.1f} directions": cosine_matrix(q[None])[0]
        for name, q in first.items()
    },
    x="query",
    y="query",
    limits=(-1, 1),
    label="cosine",
    numbers=False,
)

# %% [markdown]
# The middle matrix looks like the right one, not like the left one. Where two queries have the same
# target, they agree. The diversity loss ignores this: it is computed before the projection.
#
# Now we change the queries inside the model: all get the same value along the first two axes, or
# keep *only* these axes, or are replaced by their mean. What should each change cost, if the two
# axes encode almost nothing about the clip? Predict the four bars:

# %%
from favor_mini.evaluation.answering import evaluate
from favor_mini.evaluation.scores import scores
from favor_mini.world.questions import single_modality_chance, FAMILY_GROUPS

original = model.qformer.forward


def along_axes(queries):
    """The differences of the queries along the first two axes."""
    along = queries @ axes.T
    return (along - along.mean((0, 1))) @ axes


def collapsed_to_one(queries):
    return queries.mean(1, keepdim=True).expand_as(queries)


asked = [(s.name, q) for s in samples for q in s.questions[::4]]
scenes = {s.name: s.scene for s in samples}
changes = {
    "unchanged": lambda q: q,
    "without the two axes": lambda q: q - along_axes(q),
    "only the two axes": lambda q: q.mean((0, 1)) + along_axes(q),
    "all replaced by their mean": collapsed_to_one,
}
accuracy = {}
for name, change in changes.items():
    model.qformer.forward = lambda *a, change=change, **k: (
        change(original(*a, **k)[0]),
        None,
    )
    rows = evaluate(model, processor, encoded, asked, single_modality_chance(scenes))
    row = scores(rows, FAMILY_GROUPS)[-1]  # all questions
    cosine = package_loss(
        torch.cat([queries_of(model, s.name) for s in samples])
    ).item()
    accuracy[f"{name} (mean cosine {cosine:+.2f})"] = (row.accuracy, row.low, row.high)
model.qformer.forward = original
bars(
    accuracy,
    percent=True,
    mark={"chance level": row.chance},
    x=f"accuracy over {len(asked)} questions, {len(samples)} clips; 95 % intervals",
)

# %% [markdown]
# Without the two axes the mean cosine is above the limit of `diagnose`, but the model answers
# nearly as well. The intervals are too wide to show whether it loses anything. The two axes alone,
# which hold most of the queries' length, are no better than the chance level. One vector per window
# is hardly better.
#
# So queries that are made alike cost this model much accuracy. (It was not trained with such
# queries.) But the *value* of the loss says little. A value near 0 can mean sixteen directions or
# two clusters, and with a value far above 0 the answers can still be right. Look at the matrix and
# count the directions.
#
# ## What to play with
#
# - Start `descend` from eight equal vectors and eight opposite ones, with noise of 0.01: they stay.
#   After how many steps do they separate with `squared_cosine`?
# - Does the loss change the accuracy? (Notebook 11.)
#   `favor-mini compare --vary diversity=mean_cosine,squared_cosine,gram,none --seeds 3 --minutes 1`
#
# ## Recap
#
# - The loss is the mean cosine over pairs of different queries in a window; the diagonal and
#   windows of padding never count.
# - It is 1 if all are equal, 0 if they are orthogonal, at least $-1/(N-1)$. It depends only on the
#   sum of the unit vectors.
# - Its gradient pushes every query away from that sum. At a complete collapse the gradient is zero.
#   Free vectors near a collapse recover. The collapsed connector did not, in sixteen steps.
# - Two opposite clusters minimise it. The squared cosine and the Gram matrix do not have this
#   minimum.
# - Learned from answers alone (gym): at a learning rate that is too high, queries collapse, and the
#   loss rescues the training. At the usual rate nothing collapses, and the loss makes learning
#   quicker. A very high weight dominates the task. In films, it moves the queries apart, and the
#   answers stay as they are.
# - In the mini world, with labels, weights from 0 to 10 made no measurable difference.

# %% [markdown]
# ## Quiz
#
# **1.** Sixteen queries have a mean cosine of 0.00. What do you know?
#
# - a) They are orthogonal
# - b) Their unit vectors add up to a vector of squared length 16
# - c) Each of them encodes different information
#
# <details><summary>Answer</summary>
#
# **b.** From $|s|^2 = N + N(N-1)\mathcal{L}$ with a loss of 0. *a:* opposite clusters can also give
# 0, as the shipped model shows. *c:* no, in a cluster they can be equal.
#
# </details>
#
# **2.** Why is the diagonal excluded?
#
# - a) Its N ones say nothing about diversity, and would make the value depend on N
# - b) Its gradient would explode
# - c) It would double count each pair
#
# <details><summary>Answer</summary>
#
# **a.** Orthogonal queries would have 1/N. *b:* the cosine of a query with itself is always 1, its
# gradient zero. *c:* each pair is counted twice, as (i, j) and (j, i), but not on the diagonal.
#
# </details>
#
# **3.** All queries of a window are exactly equal. What does one training step of the diversity
# loss do?
#
# - a) It separates them at once, because the loss has its maximum
# - b) It shortens them
# - c) Nothing
#
# <details><summary>Answer</summary>
#
# **c.** The sum has no component orthogonal to a query, so the gradient is zero. *a:* the gradient
# at a maximum is zero. *b:* the component along a query is removed.
#
# </details>
#
# **4.** Queries 1 and 2 should both encode "nothing was seen". What does a very high $\lambda$ do?
#
# - a) It pushes them apart, so that at least one comes out wrong
# - b) It makes both longer
# - c) It makes training faster, since the loss is larger
#
# <details><summary>Answer</summary>
#
# **a.** As in the example with three targets. The paper warns that a model then describes things
# that are not in the clip. *b:* the loss does not depend on lengths. *c:* its gradient dominates
# the gradient of the task.
#
# </details>
#
# **5.** Which loss penalises eight queries that are the exact opposite of the other eight?
#
# - a) the mean cosine
# - b) the squared cosine
# - c) none of them
#
# <details><summary>Answer</summary>
#
# **b.** The square of $-1$ is 1: opposite queries count as alike. *a:* this is its minimum. *c:*
# `absolute_cosine` and `gram` penalise it, too.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/losses.py` (the loss), `favor_mini/lab/variants.py` (the alternatives),
# `favor_mini/world/naming.py` (where it is added), `favor_mini/lab/diagnose.py` (the
# signatures); tests in `tests/test_losses.py` and `tests/test_diagnose.py`.
#
# **In the paper:** sections 3.3 and 3.4. **Further reading:** Barlow Twins
# ([arXiv 2103.03230](https://arxiv.org/abs/2103.03230)) pushes a matrix of correlations towards the
# identity, as `gram` does; BLIP-2 ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) trains its
# queries without such a loss.
#
# **Next:** [08 Into the language model](08_into_the_llm.ipynb).
