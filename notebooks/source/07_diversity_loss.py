# %% [markdown]
# # 07 The diversity loss
#
# **You will** see queries collapse, write the loss that is meant to keep them apart, work out which way it pushes, hold it
# against four alternatives, and measure what it can *not* see, in the shipped model too.
#
# **You need** notebook 04 (queries and cross-attention) and 06 (windows). **Paper:** sections 3.3 and 3.4, the diversity loss
# and its weight $\lambda$.
#
# **Costs:** 40 minutes of reading, 50 minutes of exercises; 40 s of computing, 1.4 GB of memory.

# %%
import textwrap

import ipywidgets
import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.course import card, check
from favor_mini.figures.diversity import arrows, clouds, tug, turned
from favor_mini.figures.overview import query_similarity
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Where we are
#
# N queries have looked at a window and summed it up in N vectors. The language model gets nothing else of these five
# seconds. If all say the same, it gets *one* vector, N times over.

# %%
flow([("cut", "windows of K frames", "(W, K * P, D)"),
      ("causal attention", "each frame takes in the frames before it", "(W, K * P, D)"),
      ("cross-attention", "N queries look at what came out", "(W, N, width)"),
      ("diversity loss", "are the N answers different?", "one number"),
      ("project", "to the language model", "(W * N, 256)")],
     here="diversity loss", title="It changes nothing on the way, only what is learned")

# %% [markdown]
# Why should they ever be alike? Because each of them takes a weighted mean of the *same* tokens. Where the weights are
# soft, all are told about the same mean. Here is a fresh connector twice, on one real clip: once with first weights of
# variance 1 / width, the textbook choice, and once as the package starts it, with sharp cross-attention and quiet outputs.
#
# A square shows how alike two queries are, by the cosine of the angle between them: 1 on the diagonal, where each meets
# itself. What matters lies beside it. Which square is the textbook's? (The letters are drawn by lot.)

# %%
from favor_mini import checkpoint_path, read_clip
from favor_mini.evaluation.answering import encode_clips
from favor_mini.lab.run import fresh_model
from favor_mini.world.samples import read_samples

samples = [s for s in read_samples() if s.kind == "clip"][:4]
fresh, processor = fresh_model(checkpoint_path(), 0, {})  # the connector and LoRA are untrained
clips = {s.name: read_clip(s.path) for s in samples}
encoded = encode_clips(fresh.eval(), processor, clips)


@torch.no_grad()
def queries_of(model, name=samples[0].name):
    """The output queries of a clip's windows with a real frame: (W, N, width)."""
    batch = processor([encoded[name]], ["what was heard first?"])
    _, queries, window_mask, _ = model.prepare(**{k: v for k, v in batch.items() if k != "attention_mask"})
    return queries[window_mask]


found = {"as the package starts it": queries_of(fresh)[0]}
torch.manual_seed(0)
for module in fresh.qformer.modules():
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
found["the textbook's"] = queries_of(fresh)[0]
lot = dict(zip("AB", np.random.default_rng(6).permutation(list(found)), strict=True))
unit = {letter: F.normalize(found[name], dim=-1) for letter, name in lot.items()}
matrices({letter: u @ u.T for letter, u in unit.items()},
         x="query", y="query", limits=(-1, 1), numbers=False, label="cosine")

# %%
print("   ".join(f"{letter}: {name}" for letter, name in lot.items()))

# %% [markdown]
# The bright one. Not trained for a single step, its queries already point much the same way. Training may pull them apart,
# or let them fall together for good; you will see both.
#
# ## How alike are two vectors?
#
# $$\cos(a, b) = \frac{a \cdot b}{|a|\,|b|}$$
#
# It asks for the direction alone: 1 the same way, 0 at a right angle, $-1$ the opposite way, however long they are. By hand:

# %%
a, b = torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
c = torch.tensor([-4.0, 3.0])
for name, other in (("b", b), ("c", c), ("-a", -a)):
    print(f"a . {name:<2} = {a @ other:6.1f}    lengths {a.norm():.0f} and {other.norm():.0f}"
          f"    cosine {a @ other / (a.norm() * other.norm()):+.0f}")

# %%
card("cosine_matrix")

# %% tags=["exercise:cosine_matrix"]
def cosine_matrix(queries):
    """queries (W, N, D) -> (W, N, N), the cosines between the queries of each window."""
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
# It is averaged over the windows that hold a real frame. Three vectors in the plane, two of them alike and one at a right
# angle to both: of the three pairs one agrees, so the loss is 1/3.

# %%
three = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
cosines = cosine_matrix(three)[0]
pairs = [(0, 1), (0, 2), (1, 2)]
print("pairs:", {f"{i + 1}-{j + 1}": cosines[i, j].item() for i, j in pairs})
print(f"their mean: {sum(cosines[i, j].item() for i, j in pairs) / 3:.3f}")

# %% [markdown]
# **Predict, then move.** Vectors 1 and 2 stand still at 0 and 120 degrees. Vector 3 turns. Where is the loss greatest? Where
# least? Is it ever 1? And can three vectors in a plane all be at right angles to one another?

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
    return turned(at(0, angle_of_2, angle_of_3), angles, curve, angle_of_3, least=-1 / 2)


explore(turn, angle_of_3=(30, 360, 15), angle_of_2=[120, 0, 60, 90, 180])

# %% [markdown]
# Greatest at 60 degrees, between the two; least at 240, where the three form a star and add up to nothing. Only with vector
# 2 at 0 does it reach 1. All at right angles they never are: a plane has room for two. And with vector 2 at 180 degrees the
# curve is flat! What vector 3 gains with one it loses with the other. Keep that in mind.
#
# Why can it not fall below $-1/(N-1)$? Write $u_i$ for the queries with length 1 and $s = \sum_i u_i$ for their sum. A
# squared length is never negative:
#
# $$0 \le |s|^2 = \sum_{i}\sum_{j} u_i \cdot u_j = \underbrace{N}_{i = j} + \underbrace{N(N-1)\,\mathcal{L}_\text{div}}_{i \ne j}$$
#
# So $\mathcal{L}_\text{div} \ge -1/(N-1)$, and it gets there exactly where the unit vectors add up to nothing.
#
# ## What never counts
#
# Two things must stay out. The **diagonal**: every query agrees with itself, and 16 orthogonal queries would have a loss of
# 1/16 for it. And **windows of padding**: in a batch, shorter clips fill up with windows that hold no real frame, and what
# the Q-Former makes of these says nothing.
#
# One thing must stay *in*: the gradient. A loss is there to be trained with, so from the scalar back to the queries all has
# to be torch's own arithmetic.

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
sets = {"all equal": equal, "all orthogonal": orthogonal, "random in 32 dimensions": torch.randn(1, 16, 32),
        "eight one way, eight the other": opposite}
for name, q in sets.items():
    print(f"{name:<32} {diversity_loss(q).item():+.3f}")
print(f"{'the least possible, -1/15':<32} {-1 / 15:+.3f}")

# %% [markdown]
# Look at the last two rows. Eight queries that say the same and eight that say the opposite have the **lowest** loss there
# is, lower than sixteen different ones. No mistake of yours: only the sum counts.
#
# ## The package's trick
#
# For N = 32 queries there are 992 pairs. But the equation above, turned round, needs none of them:
#
# $$\mathcal{L}_\text{div} = \frac{|s|^2 - N}{N(N-1)}$$
#
# One sum, one squared length. (The package subtracts $\sum_i |u_i|^2$ instead of N, so that a query of zeros adds nothing.)
# The same value, and fewer multiplications:

# %%
from favor_mini.course.exercise import source
from favor_mini.losses import diversity_loss as package_loss

q = torch.randn(6, 32, 768)
all_pairs = cosine_matrix(q)[:, ~torch.eye(32, dtype=torch.bool)]
print(f"by all pairs {all_pairs.mean():+.5f}    by the sum {package_loss(q):+.5f}")
N, D = q.shape[1:]
print(f"multiplications a window, all lengths being 1: {N * N * D:,} by all pairs, {D + N * D:,} by the sum")
print("\n".join(source(package_loss).split("\n")[-4:]))

# %% [markdown]
# At mini size neither is worth a thought. But it shows what the loss *is*: a spring on the sum of the queries, and on
# nothing else.
#
# ## Which way does it push?
#
# Training moves queries against the gradient. For a window, with $u_i = q_i / |q_i|$:
#
# $$-\frac{\partial \mathcal{L}_\text{div}}{\partial q_i} = -\frac{2}{N(N-1)\,|q_i|}\;\big(\,s - (s \cdot u_i)\,u_i\,\big)$$
#
# Read it from the right. All queries are pushed away from one and the same vector, the sum. What lies along the query
# itself is taken off, since no cosine changes when a query grows longer. And a long query is turned less.

# %%
card("push_apart")

# %% tags=["exercise:push_apart"]
def push_apart(queries):
    """queries (N, D) -> (N, D): minus the gradient of the window's diversity loss, by the formula."""
    raise NotImplementedError  # your code

# %%
push_apart = check("push_apart", push_apart)

# %%
long_one = torch.tensor([[1.0], [1.5], [1.0], [1.0]])
sets = {"a fan of four": at(10, 40, 70, 100), "number 2 longer": at(10, 40, 70, 100) * long_one,
        "all equal": at(50, 50, 50, 50), "two and two": at(20, 20, 200, 200)}
arrows({title: (v, 3 * push_apart(v)) for title, v in sets.items()}, columns=4)

# %% [markdown]
# Two resting points deserve a second look (the red arrows are drawn three times as long as they are).
#
# - **All equal.** The loss is at its *highest*, and there is no push: what should be turned away lies along every query. A
#   ball on the top of a hill. How long does it take to roll down from beside the top? You will measure it.
# - **Two and two.** The loss is at its lowest. No push either, though four queries say only two things.
#
# ## Four alternatives
#
# Other ways to ask for differing queries, all to be found in `favor_mini.lab.variants`:
#
# | name | what is averaged | what it asks for |
# |---|---|---|
# | `mean_cosine` | $\cos$ | unit vectors that add up to nothing |
# | `absolute_cosine` | $\lvert\cos\rvert$ | right angles; opposite counts as alike |
# | `squared_cosine` | $\cos^2$ | right angles; near them it lets go |
# | `gram` | $(q_i \cdot q_j - \delta_{ij})^2$, lengths included | right angles, and lengths all the same |
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
    """queries (B * W, N, D) -> scalar: how far the scaled Gram matrix is from the identity."""
    raise NotImplementedError  # your code

# %%
gram = check("gram", gram)

# %% [markdown]
# Two vectors, one turned away from the other. First what each loss says of them, then how hard it pushes: above 0 apart,
# below 0 together. **Predict:** which pushes hardest near 0 degrees, where the two are as good as equal? Which one goes on
# pushing apart beyond a right angle?

# %%
from favor_mini.lab.variants import absolute_cosine, no_diversity

LOSSES = {"mean_cosine": diversity_loss, "absolute_cosine": absolute_cosine,
          "squared_cosine": squared_cosine, "gram": gram, "none": no_diversity}
angles = np.arange(0, 181, 6)


def value_and_push(loss, angle):
    radians = torch.deg2rad(torch.tensor(float(angle))).requires_grad_()
    pair = torch.stack([torch.tensor([1.0, 0.0]), torch.stack([radians.cos(), radians.sin()])])
    value = loss(pair[None])
    (slope,) = torch.autograd.grad(value, radians)
    return value.item(), round(-slope.item(), 4) + 0.0


found = {name: np.array([value_and_push(LOSSES[name], a) for a in angles]) for name in list(LOSSES)[:4]}
curves({name: (angles, both[:, 0]) for name, both in found.items()},
       x="angle between two queries (degrees)", y="loss", mark={"0: right angles": 0})

# %%
curves({name: (angles, both[:, 1]) for name, both in found.items()},
       x="angle between two queries (degrees)", y="push (above 0: apart)", mark={"": 0})

# %% [markdown]
# None pushes at 0. The squared one wakes up soonest and falls asleep at a right angle, where its work is done; beyond it,
# it pulls back. So does `gram`, half as hard. The absolute one goes with the paper's up to the right angle, is strongest
# there, and turns round in one jump: it can only end in trembling. The paper's goes on until two queries are opposite.
#
# ## Let them go: where do they end up?
#
# Six free vectors in the plane, no task, nothing but the loss. They start close together and go downhill. Move the slider
# to follow them.

# %%
def descend(loss, vectors, steps=300, strength=0.05):
    """Plain gradient descent; the rate grows with the number of pairs: a pair weighs the same for any N."""
    vectors = vectors.clone()
    for _ in range(steps):
        vectors.requires_grad_()
        (slope,) = torch.autograd.grad(loss(vectors[None]), vectors)
        vectors = (vectors - strength * len(vectors) * (len(vectors) - 1) * slope).detach()
    return vectors


def follow(loss, steps, number_N=6):
    start = at(*np.linspace(20, 70, number_N))
    end = descend(LOSSES[loss], start, steps)
    title = f"{loss}, {steps} steps\nmean cosine {mean_of_pairs(end):+.2f}"
    return arrows({"start": start, title: F.normalize(end, dim=1)})


explore(follow, loss=list(LOSSES),
        number_N=ipywidgets.IntSlider(6, 2, 8, description="number N", continuous_update=False),
        steps=ipywidgets.IntSlider(20, 0, 300, 10, description="steps", continuous_update=False))

# %% [markdown]
# All five, at the end of the road, each with the mean cosine, which is what the paper's loss would say of it.

# %%
ends = {name: descend(loss, at(*np.linspace(20, 70, 6))) for name, loss in LOSSES.items()}
for name, end in ends.items():
    shares = [torch.linalg.svdvals(v).square() for v in (F.normalize(end, dim=1), end)]
    print(f"{name:<16} along the plane's two main axes: "
          + ",  ".join(f"{of} {share[0] / share.sum():.0%} : {share[1] / share.sum():.0%}"
                       for of, share in zip(("directions", "with lengths"), shares, strict=True)))
arrows({f"{name}\nmean cosine {mean_of_pairs(end):+.2f}": end / end.square().sum(1).mean().sqrt()
        for name, end in ends.items()})

# %% [markdown]
# Six vectors in a plane cannot all be orthogonal, so each loss settles for something. The paper's: a fan that adds up to
# nothing. The absolute one: everybody on one of two axes. The squared one: a fan just wide enough that no axis of the plane
# is favoured. `gram` wants the same with lengths counted: a narrower fan, with longer arrows at its rim. And `none` stays.
#
# Now the ball on the hill. Sixteen vectors start nearly equal. How equal are they after so many steps?

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
# Ten times as near takes some twenty steps more, since each step multiplies what sets the vectors apart. Only exactly equal
# ones stay. So free vectors come back. A *connector*? We will try.
#
# ## A number for "how many different things"
#
# The mean cosine is not that number. A better one: take the shares $p_k$ of a window's squared lengths along its principal
# axes (the eigenvalues of the matrix of cosines, divided by N), and see how evenly they are spread:
#
# $$\text{directions} = \exp\Big(-\sum_k p_k \ln p_k\Big)$$
#
# It is 1 if all queries lie on one line, either way round, and N if they are orthogonal. Now sixteen vectors in sixteen
# dimensions, room for everybody. They start in a clump: once a round one, once a long one, in which they differ along one
# direction far more than along others.

# %%
def directions(queries):
    """How many directions queries (..., N, D) take up: from 1, all on a line, to N."""
    shares = torch.linalg.svdvals(F.normalize(queries, dim=-1)).square() / queries.shape[-2]
    return torch.special.entr(shares).sum(-1).exp()


torch.manual_seed(3)
noise = torch.randn(16, 16)
noise[:, 1] = noise[:, 1].sort().values
common = torch.eye(16)[:1]  # what they have in common
round_clump = common + 0.1 * noise
long_clump = common + noise * torch.tensor([0.003, 0.4, *[0.003] * 14])
ends = {"mean, round clump": descend(diversity_loss, round_clump),
        "mean, long clump": descend(diversity_loss, long_clump),
        "squared, long clump": descend(squared_cosine, long_clump),
        "gram, long clump": descend(gram, long_clump)}
for name, end in ends.items():
    print(f"{name:<20} mean cosine {mean_of_pairs(end):+.2f}    directions {directions(end):4.1f}")
matrices({name: cosine_matrix(end[None])[0] for name, end in ends.items()},
         x="vector", y="vector", limits=(-1, 1), label="cosine", numbers=False)

# %% [markdown]
# The paper's loss has fallen as low as it can, both times. From a round clump that made many directions, from a long one
# **two opposed clumps**: it stretched the direction in which they differed already. The others see through that. Does this
# matter in a real model, where a task pulls at the queries too? Hold that question.

# %% [markdown]
# ## Lambda: how loud should it be?
#
# $$\mathcal{L} = \mathcal{L}_\text{cross-entropy} + \lambda\,\mathcal{L}_\text{div}$$
#
# Loss and task may disagree. Suppose that three queries are to say three things (the red crosses), and that two of the
# three *should* be nearly the same. Move $\lambda$. Which query pays?

# %%
def tug_of_war(log10_of_lambda):
    weight, targets = 10.0**log10_of_lambda, at(30, 50, 180)
    free = targets.clone().requires_grad_()
    solver = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe")  # goes on to the bottom

    def loss():
        solver.zero_grad()
        queries = F.normalize(free, dim=1)  # nearly equal lengths, as behind the Q-Former's last LayerNorm
        value = (queries - targets).square().sum(-1).mean() + weight * diversity_loss(queries[None])
        value.backward()
        return value

    solver.step(loss)
    queries = F.normalize(free.detach(), dim=1)
    return tug(targets, queries, (queries - targets).square().sum(-1), weight)


explore(tug_of_war, log10_of_lambda=ipywidgets.FloatSlider(
    0.0, min=-2, max=2, step=0.5, description="log10 of lambda", continuous_update=False,
    style={"description_width": "initial"}))

# %% [markdown]
# At 0.01 nobody feels it. At 1 the two neighbours are being forced apart. Query 2, in the middle, pays nothing; query 3,
# which was near to nobody, pays almost as much as query 1. From 10 on the three form a star: the loss has all it can get,
# and query 1 says something else altogether. So too high a weight might make a model say what is not there, as the paper
# warns. An argument in a plane is no evidence. What does a connector do?
#
# ## On the connector itself
#
# In the mini model's first stage, *naming* (notebook 09), a window's sixteen queries are handed out in fours along its five
# seconds. Each four has a moment of the clip, and its queries must come close to words for it: what is **seen**, what it
# **does**, what is **beside** it, what is **heard**. A query whose time lies behind the clip's end has to say ".".
#
# We take a fresh connector, eight clips of one window each, and sixteen steps of that: at a rate that is too high on
# purpose ("fast"), since this is how connectors collapse, and at a third of it ("slow").

# %% tags=["varies"]
from favor_mini.data.features import encode_media
from favor_mini.world.rows import scene_clip
from favor_mini.lab.diagnose import first_window
from favor_mini.world.clauses import query_words
from favor_mini.training.finetune import stage_setup
from favor_mini.world.scene import draw_scene
from favor_mini.world.lessons import SceneRows

lessons, behind = [], 0
for seed in range(10_000_000, 10_000_008):
    scene = first_window(draw_scene(seed), 5.0)
    lessons.append({**encode_media(fresh, processor, [processor.media(scene_clip(scene))])[0], "seed": seed})
    _, numbers = query_words(scene, processor, processor.num_steps(lessons[-1]))  # of each query's moment
    behind += numbers[12:16].count(len(scene.moments))
print(f"of {len(lessons)} clips' last four queries {behind} of {4 * len(lessons)} lie behind the end")


def train_a_little(changes, rate=3e-3, steps=16, batch=4, model=None):
    """Trains a fresh connector with these settings, or `model`; returns its losses by step, too."""
    if model is None:
        model, _ = fresh_model(checkpoint_path(), 0, changes)  # all start from the same
    learner, data, collate = stage_setup("name", model.train(), processor, SceneRows(lessons), steps * batch)
    optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], lr=rate)
    log = []
    for step in range(steps):
        parts = learner(**collate([data[step * batch + i] for i in range(batch)]))
        parts["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        log.append((parts["cross_entropy"].item(), parts["diversity"].item()))
    return model.eval(), np.array(log)


fast, slow = 3e-3, 1e-3
RUNS = {"fast, lambda 0": (0.0, fast), "fast, lambda 1": (1.0, fast), "fast, lambda 10": (10.0, fast),
        "slow, lambda 0": (0.0, slow), "slow, lambda 1": (1.0, slow), "slow, lambda 100": (100.0, slow)}
logs, after, collapsed = {}, {}, None
for name, (weight, rate) in RUNS.items():
    trained, logs[name] = train_a_little({"diversity_weight": weight}, rate)
    after[name] = queries_of(trained)[0]
    collapsed = collapsed or trained  # the first: we come back to it
curves({name: (np.arange(1, 17), logs[name][:, 1]) for name in list(RUNS)[:5]},
       x="step", y="mean cosine within windows", mark={"all alike": 1.0, "": 0.0})

# %% tags=["varies"]
print("the shipped recipe's weight:", fresh.config.diversity_weight)
for name, q in after.items():
    print(f"{name:<17} mean cosine {package_loss(q[None]):+.2f}   directions {directions(q):4.1f}   "
          f"cross-entropy {logs[name][0, 0]:.1f} at first, {logs[name][-4:, 0].mean():.1f} at last")
matrices({name: cosine_matrix(q[None])[0] for name, q in after.items()},
         x="query", y="query", limits=(-1, 1), label="cosine", columns=3, numbers=False)

# %% [markdown]
# **Fast.** Without the loss the queries fall together within a few steps. With a weight of 1 they nearly do, too; it takes
# 10, a hundred times the shipped weight, to keep them apart. One vector cannot name what sixteen should, and the
# cross-entropy shows it: here the highest weight does best. (In its square the last four face many others. They nearly
# always lie behind the end and all have to say ".".)
#
# **Slow.** Nothing collapses, even without the loss: it is *one* remedy, first weights and a fitting rate are others. A
# weight of 1 spreads the queries further, at no cost that sixteen steps could show. With 100 they are spread hardly more
# and name much worse: it drowns the task.
#
# And when it has happened already? We give the collapsed connector all we have: the slow rate, a weight of 100.

# %% tags=["varies"]
collapsed.config.diversity_weight = 100.0
_, log = train_a_little({}, slow, model=collapsed)
number = directions(queries_of(collapsed)[0])
print(f"after {len(log)} steps more: mean cosine {log[-1, 1]:.3f}, directions {number:.1f}")

# %% [markdown]
# It does not come back. The free vectors did; but the loss can reach these queries only through the weights of layers that
# they all share. So here it prevents, and does not cure.
#
# In short, a weight can be too low for a rate, and so high that the task suffers. A model that says what is not there we
# have not seen yet: nothing was told here, only named. Sixteen steps on eight clips are a demonstration; a result takes
# whole trainings, several seeds, unseen questions.
#
# ## The sweep
#
# Six weights from 0 to 10, everything else the same, five seeds each. The first, which the others are held against, is the shipped
# recipe's, 0.1. **Predict** two curves over the weight: the queries' mean cosine, and the accuracy. Points are how much better or
# worse the others did; an interval that crosses the red line means *no difference found*, not that there is none.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import tell

sweep = tell("diversity")

# %%
groups = ["both modalities", "one modality, plain", "all"]
differences(sweep.differences(groups), sweep.arms[0]) if sweep else None

# %%
if sweep:
    print(sweep.verdicts(["all"]))
    for arm in sweep.arms:
        cosine = np.mean([run["losses"]["ask"]["diversity"] for run in sweep.results if run["arm"] == arm])
        print(f"mean cosine at the end of training, {arm}: {cosine:+.3f}")

# %% [markdown]
# The loss moves what it measures, and no answers. Remember what is compared: clips of a few seconds, and a naming stage that tells
# every query what to say. The paper has no such stage; there the loss may do more.
#
# ## Failure signatures
#
# The paper's sign of too high a weight: things told that were never there, too many insertions. So the sweep goes on to 100, for the
# eleven tasks of notebook 10, and counts what is told:

# %%
from favor_mini.figures.lab import signs

counted = tell("signatures")

# %%
signs(counted) if counted else None

# %%
if counted:
    print(counted.verdicts(["all"]))
    print("mean cosine:", ", ".join(f"{arm} {value:+.2f}" for arm, value in counted.cosines.items()))
    print("signs, per hundred words said, or names that are there:")
counted.signs.pivot(index="sign", columns="arm", values="per hundred")[counted.arms].round(1) if counted else None

# %% [markdown]
# So harm needs a thousand times the shipped weight here, and its sign is things that are not there. The cosine could not have told:
# at 10 and at 100 it is the same.
#
# Ours of too low a weight: queries that are all alike. `favor_mini.lab.diagnose` looks for both in a model. This is how it holds a
# description against a script:

# %%
from favor_mini.lab.diagnose import compare_texts

script = "see red circle at left, hear bell; see nothing, hear said moon."
for told in (script, "see red circle at left, hear drum; see nothing, hear said moon.",
             "see red circle at left, hear bell, hear bell, hear bell."):
    found = compare_texts(told, script)
    print(told)
    print(f"    of {found.phrases} phrases: {found.extra} not there, {found.again} told again; "
          f"{found.invented} words invented")

# %% [markdown]
# Now on the shipped model, over a handful of validation scenes. Of the two limits in the first line the lower is for words
# that are nowhere, the higher for phrases said again.

# %%
from favor_mini.lab.diagnose import diagnose

for sign in diagnose(scenes=5):
    if "diversity" in sign.points_to:
        print(textwrap.fill(str(sign), 100, subsequent_indent="    "))

# %% [markdown]
# ## The component, on a real clip
#
# No sign. The mean cosine of the shipped model's queries lies near 0. All is well, then? Look at the squares.

# %%
from favor_mini.evaluation.checkpoint import load_checkpoint

model, _ = load_checkpoint(checkpoint_path())
queries = queries_of(model)
query_similarity(queries, title="The shipped model's queries")

# %% [markdown]
# **A chessboard.** Every other query points one way, the rest the other way, and the mean cosine is near 0 because bright
# and dark cancel out. (In the last window most queries lie behind the clip's end.) The other measures tell at once. And
# since every query was taught to name one *kind* of thing, we look where the kinds lie on the two loudest axes.

# %%
named = [query_words(s.scene, processor, processor.num_steps(encoded[s.name])) for s in samples]
behind = torch.cat([torch.tensor(numbers) == len(s.scene.moments)
                    for s, (_, numbers) in zip(samples, named, strict=True)]).view(-1, 16)  # [windows, N]
real = torch.cat([queries_of(model, s.name) for s in samples])  # [windows, N, width]
whole = ~behind.any(1)
print(f"{len(real)} windows of {len(samples)} clips, {whole.sum()} without a query behind the clip's end")
print(f"mean cosine      {package_loss(real):+.2f}   (0 where orthogonal, and also here)")
print(f"mean |cosine|     {absolute_cosine(real):.2f}   (0 where orthogonal)")
print(f"directions        {directions(real).mean():.1f}   (16 where orthogonal)")
for of, chosen in (("all windows", real), ("the whole ones", real[whole])):
    shares = torch.linalg.svdvals(F.normalize(chosen, dim=-1).flatten(0, 1)).square()
    print(f"share along the first four axes, {of}:", ", ".join(f"{s:.0%}" for s in shares[:4] / shares.sum()))

# %%
axes = torch.linalg.svd(F.normalize(real, dim=-1).flatten(0, 1), full_matrices=False).Vh[:2]
places = F.normalize(real, dim=-1) @ axes.T  # [windows, N, 2]
place = torch.arange(16) % 4
kinds = {kind: places[(place == i) & ~behind] for i, kind in enumerate(("seen", "does", "beside", "heard"))}
clouds({**kinds, "behind the end": places[behind]}, x="along the first axis", y="along the second axis")

# %%
told = [processor.tokenizer.decode(word) for word in named[0][0][:16]]  # to be named in window 1
for first in range(0, 16, 4):
    print("  ".join(f"{i + 1:4}: {told[i]:<16}" for i in range(first, first + 4)).rstrip())

# %% [markdown]
# In the whole windows the first axis alone holds most: two opposed clumps, like the free vectors'. On one side lie the
# first and third of each four, *seen* and *beside*, which mostly have the same to name, as the words above show; on the
# other *does* and *heard*. Hence the chessboard. The second axis sets *heard* apart, and what lies behind the end, where
# all say the same, and should.
#
# So the loud axes seem to tell what *kind* of word a query names, hardly which word. Whether the loss *made* the clumps,
# this picture cannot tell, and none of our short trainings went as far; the free vectors show that it is content with them.
# And yet this model answers well, as you will see. How?
#
# The language model does not read the queries, it reads their *projection*. A linear map can shrink the loud axes and bring
# up the quiet ones. Beside it, what *should* be read: the sums of the words that naming wants.

# %%
from favor_mini.training.naming import multi_hot

with torch.no_grad():
    read = model.projection(real)
    vectors = model.language_model.get_input_embeddings().weight.float()
    wanted = multi_hot(named[0][0], len(processor.tokenizer)) @ vectors
first = {"the queries": real[0], "what is read": read[0], "what should be read": wanted[:16]}
matrices({f"{name}: {directions(q):.1f} directions": cosine_matrix(q[None])[0] for name, q in first.items()},
         x="query", y="query", limits=(-1, 1), label="cosine", numbers=False)

# %% [markdown]
# The middle square looks like the right one, not like the left. Where two queries are to name the same thing, they *have*
# to agree. The loss knows nothing of this: it looks before the projection, and at the sum alone.
#
# Let us plug the component in and take things away. If the two loud axes tell next to nothing of the clip, then evening
# them out, so that all queries are alike along them, should cost little, far as it moves the mean cosine. Keeping them
# *alone* should cost nearly everything, and so should a collapse by hand. Predict the four bars:

# %%
from favor_mini.evaluation.answering import evaluate
from favor_mini.evaluation.scores import scores
from favor_mini.world.questions import single_modality_chance, FAMILY_GROUPS

honest = model.qformer.forward


def loud(queries):
    """What sets queries apart along the two loud axes."""
    along = queries @ axes.T
    return (along - along.mean((0, 1))) @ axes


def collapsed_to_one(queries):
    return queries.mean(1, keepdim=True).expand_as(queries)


asked = [(s.name, q) for s in samples for q in s.questions[::4]]
scenes = {s.name: s.scene for s in samples}
changes = {"as it is": lambda q: q, "loud axes evened out": lambda q: q - loud(q),
           "loud axes alone": lambda q: q.mean((0, 1)) + loud(q),
           "all replaced by their mean": collapsed_to_one}
accuracy = {}
for name, change in changes.items():
    model.qformer.forward = lambda *a, change=change, **k: (change(honest(*a, **k)[0]), None)
    row = {r.name: r for r in scores(evaluate(model, processor, encoded, asked, single_modality_chance(scenes)), FAMILY_GROUPS)}["all"]
    cosine = package_loss(torch.cat([queries_of(model, s.name) for s in samples])).item()
    accuracy[f"{name} (mean cosine {cosine:+.2f})"] = (row.accuracy, row.low, row.high)
model.qformer.forward = honest
bars(accuracy, percent=True, mark={"guessing": row.chance},
     x=f"accuracy over {len(asked)} questions about {len(samples)} clips, with 95 % intervals")

# %% [markdown]
# With the loud axes evened out the mean cosine lies above the limit at which `diagnose` raises its alarm, and the model
# answers nearly as well: whether it lost anything, these wide intervals cannot tell. The loud axes alone, nearly the whole
# of the queries by length, are worth no more than guessing; one vector a window hardly more.
#
# So: a collapse costs dearly, and a loss that guards against it is a sound idea. But its *value* is a poor gauge. Near 0 it
# may mean sixteen directions or two clumps, and far above 0 the answers may be fine. Look at the matrix, count directions,
# try what an axis is good for.
#
# ## What to play with
#
# - `train_a_little({"diversity_weight": 10.0, "diversity": "squared_cosine"})`: do the last four still face the others? How
#   many directions?
# - Start `descend` from eight equal vectors and eight opposite ones, with noise of 0.01: they stay. How soon do they let go
#   with `squared_cosine`?
# - `favor-mini compare --vary diversity=mean_cosine,squared_cosine,gram,none --seeds 3 --minutes 1`: does it matter for the
#   answers? (Notebook 11 says how to read it.)
#
# ## Recap
#
# - The loss is the mean cosine over pairs of different queries in a window; the diagonal and windows of padding never count.
# - 1 where all are alike, 0 where orthogonal, at least $-1/(N-1)$. It depends on the sum of the unit vectors alone.
# - It pushes every query away from that sum. At a full collapse the push is zero. Free vectors beside it come back; the
#   collapsed connector did not.
# - Two opposed clumps satisfy it. Squared cosines and the Gram matrix are not fooled.
# - Too low a weight may let queries fall together; that depends on the first weights, the rate, and the task. Too high a
#   weight drowns the task, as one short training showed. That a model then says what is not there is the paper's warning,
#   not seen here.

# %% [markdown]
# ## Quiz
#
# **1.** Sixteen queries have a mean cosine of 0.00. What do you know?
#
# - a) They are orthogonal
# - b) Their unit vectors add up to a vector of squared length 16
# - c) Each of them says something of its own
#
# <details><summary>Answer</summary>
#
# **b.** From $|s|^2 = N + N(N-1)\mathcal{L}$ with a loss of 0. *a:* opposed clumps can give 0 as well, as the shipped model
# shows. *c:* no, two clumps say two things.
#
# </details>
#
# **2.** Why does the diagonal stay out?
#
# - a) Its N ones say nothing about diversity, and would make the value depend on N
# - b) Its gradient would explode
# - c) It would double count each pair
#
# <details><summary>Answer</summary>
#
# **a.** Orthogonal queries would have 1/N. *b:* the cosine of a query with itself is always 1, its gradient zero. *c:* each
# pair does stand twice, as (i, j) and (j, i), but off the diagonal.
#
# </details>
#
# **3.** All queries of a window are exactly equal. What does one training step of the diversity loss do?
#
# - a) It pulls them apart at once, as the loss is at its highest
# - b) It shortens them
# - c) Nothing
#
# <details><summary>Answer</summary>
#
# **c.** The sum lies along every query, so nothing is left to turn by. *a:* the top of a hill is flat. *b:* what lies along a
# query is taken off.
#
# </details>
#
# **4.** Queries 1 and 2 should both say "nothing was seen". What does a very high $\lambda$ do?
#
# - a) It forces them to differ, so that at least one no longer says what it should
# - b) It makes both longer
# - c) It makes training faster, since the loss is larger
#
# <details><summary>Answer</summary>
#
# **a.** As in the tug of war. The paper warns that a model then tells what was never there. *b:* the loss does not see
# lengths. *c:* it drowns the task's gradient.
#
# </details>
#
# **5.** Which loss sees that eight queries are the exact opposite of the other eight?
#
# - a) the mean cosine
# - b) the squared cosine
# - c) none of them
#
# <details><summary>Answer</summary>
#
# **b.** The square of $-1$ is 1: opposite counts as alike. *a:* it calls this its best possible value. *c:* `absolute_cosine`
# and `gram` see it as well.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/losses.py` (the loss), `favor_mini/lab/variants.py` (the alternatives), `favor_mini/training/naming.py` (where it is
# added), `favor_mini/lab/diagnose.py` (the signatures); tests in `tests/test_losses.py` and `tests/test_diagnose.py`.
#
# **In the paper:** sections 3.3 and 3.4. **Further reading:** Barlow Twins ([arXiv
# 2103.03230](https://arxiv.org/abs/2103.03230)) pushes a matrix of correlations towards the identity, as `gram` does;
# BLIP-2 ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) trains its queries without such a loss.
#
# **Next:** [08 Into the language model](08_into_the_llm.ipynb).
