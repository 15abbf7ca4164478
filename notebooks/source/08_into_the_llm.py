# %% [markdown]
# # 08 Into the LLM
#
# **You will** write the prompt, replace placeholders by the vectors of a clip, define which tokens
# count in the loss, ask several independent questions in one sequence, build LoRA and merge it.
# Then you compare the connector's vectors with word embeddings, and follow the generation of an
# answer token by token.
#
# **You need** notebook 04 (output queries) and 05 (masks). **Paper:** section 3 (projection,
# prompt, LoRA).
#
# **Costs:** 35 minutes of reading, 79 minutes of exercises; 20 s of computing, 1.2 GB of memory.

# %%
import torch
from torch import nn

from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Where we are
#
# Each window of the clip has become N vectors. The input of a language model is also vectors: the
# *embeddings* of its tokens. So the clip can take the place of words. One linear map projects from
# the Q-Former's width to the embedding width (256 to 256 here, 768 to 4,096 in the paper), and the
# result replaces placeholders in the prompt. (All parts between the encoders and the language
# model, including this map, are called the **connector**.)

# %%
flow(
    [
        ("Q-Former", "N vectors per window", "(W, N, width)"),
        ("project", "one linear map", "(W * N, 256)"),
        ("prompt", "in place of the placeholders", "(L, 256)"),
        ("language model", "frozen, with LoRA", "(L, vocabulary)"),
        ("answer", "token by token", "text"),
    ],
    here="prompt",
    title="From a clip to a prompt",
)

# %% [markdown]
# ## The prompt
#
# The paper's form, with a placeholder for each vector of the clip:
#
# ```
# USER: <Img><av><av>...<av></Img> what was heard first?
# ASSISTANT:
# ```
#
# The language model continues after the colon. `<av>` is one token. Its embedding is never used; it
# only marks a position. (The check below compares every character: Llama's tokenizer, unlike the
# mini one, does not ignore white space.)

# %%
card("write_prompt")

# %% tags=["exercise:write_prompt"]
def write_prompt(question, placeholders):
    """The prompt for a question about a clip with this number of placeholders."""
    raise NotImplementedError  # your code

# %%
write_prompt = check("write_prompt", write_prompt)
print(write_prompt("what was heard first?", 4))

# %% [markdown]
# A clip of 22 frames has three windows, so it needs 3 * 16 = 48 placeholders.

# %%
from favor_mini import (
    FavorForConditionalGeneration,
    FavorProcessor,
    checkpoint_path,
    read_clip,
)
from favor_mini.figures.llm import token_strip
from favor_mini.evaluation.answering import answer as written_answers
from favor_mini.evaluation.answering import encode_clips, evaluate, likelihood
from favor_mini.world.samples import read_samples

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
tokenizer, config = processor.tokenizer, model.config
samples = [s for s in read_samples() if s.kind == "clip"][:8]
encoded = encode_clips(model, processor, {s.name: read_clip(s.path) for s in samples})
first = samples[0]
question, right = first.questions[0].text, first.questions[0].answer

placeholders = processor.num_placeholders(encoded[first.name])
prompt_ids = tokenizer(write_prompt(question, placeholders)).input_ids
answer_ids = tokenizer(
    f" {right}{tokenizer.eos_token}", add_special_tokens=False
).input_ids


def named(ids, labels):
    """Tokens with their kind and label, for the figure."""
    known = {config.placeholder_id: "clip", tokenizer.pad_token_id: "padding"}
    kinds = [
        known.get(i, "answer" if i == label else "text")
        for i, label in zip(ids, labels, strict=True)
    ]
    return list(zip(tokenizer.convert_ids_to_tokens(ids), kinds, labels, strict=True))


token_strip({"prompt": named(prompt_ids, [""] * len(prompt_ids))},
            f"{len(prompt_ids)} tokens, 48 of them placeholders")

# %% [markdown]
# ## Vectors in place of placeholders
#
# Let $e_i$ be the embedding of token $i$, and $v_1, v_2, \dots$ the projected vectors in time
# order. The language model reads
#
# $$x_i = v_k \text{ where token } i \text{ is the } k\text{-th placeholder}, \qquad x_i = e_i \text{ elsewhere}$$
#
# The vectors of a batch are one long list: clip after clip, real windows only. PyTorch's operation
# for this is `masked_scatter`. By hand, two rows of four positions, three vectors with one feature:

# %%
places = torch.tensor([[False, True, True, False], [False, False, True, False]])
print(
    torch.zeros(2, 4, 1).masked_scatter(
        places[..., None], torch.tensor([[7.0], [8.0], [9.0]])
    )[..., 0]
)

# %%
card("put_vectors")

# %% tags=["exercise:put_vectors"]
def put_vectors(embeds, input_ids, vectors, placeholder_id):
    """embeds (B, L, width), input_ids (B, L), vectors (n, width) -> (B, L, width)"""
    raise NotImplementedError  # your code

# %%
put_vectors = check("put_vectors", put_vectors)

# %% [markdown]
# A silent error is possible. If one prompt of a batch has one placeholder too many and the next one
# too few, the total is right, and `masked_scatter` gives the first vector of the second clip to the
# first clip. So the package counts the placeholders of every clip, and raises an error:

# %%
batch = processor([encoded[first.name]], [question])
try:
    model(**{**batch, "input_ids": batch["input_ids"][:, 5:], "attention_mask": None})
except ValueError as error:
    print(str(error).split(";")[0])

# %% [markdown]
# ## Only answers count
#
# The loss measures the probability of each token, given all earlier tokens. But the model should
# learn neither to write questions nor to predict its clip. So each token gets a **label**: its own
# id if it counts, -100 if not. PyTorch's cross-entropy ignores the label -100. The end of the
# answer, `</s>`, counts, because otherwise the model never learns to stop.

# %%
card("answer_labels")

# %% tags=["exercise:answer_labels"]
def answer_labels(prompt_ids, answer_ids):
    """prompt_ids, answer_ids: B lists of token ids each -> (B, L)"""
    raise NotImplementedError  # your code

# %%
answer_labels = check("answer_labels", answer_labels)
other_prompt = tokenizer(write_prompt("where was the white square?", 16)).input_ids
other_answer = tokenizer(" bottom</s>", add_special_tokens=False).input_ids
labels = answer_labels([prompt_ids, other_prompt], [answer_ids, other_answer])
rows = [prompt_ids + answer_ids, other_prompt + other_answer]
ids = processor.pad_text(rows, side="right")["input_ids"]
token_strip(
    {f"clip {i + 1}": named(ids[i].tolist(), labels[i].tolist()) for i in (0, 1)},
    "Tokens, with their labels below",
)

# %% [markdown]
# At every position the model predicts the *next* token. The prediction at `ASSISTANT:` is for the
# first word of the answer. Labels are at the positions of their tokens, so the loss compares the
# prediction at position $i$ with the label at $i + 1$:
#
# $$L = -\frac{1}{|C|} \sum_{i \in C} \log p_{i-1}(\text{token}_i) \qquad C = \{\, i : \text{label}_i \ne -100 \,\}$$

# %%
card("answer_loss")

# %% tags=["exercise:answer_loss"]
def answer_loss(logits, labels):
    """logits (B, L, vocabulary), labels (B, L) -> the mean loss"""
    raise NotImplementedError  # your code

# %%
answer_loss = check("answer_loss", answer_loss)

# %% [markdown]
# ### Use the functions with the model
#
# Combine your four functions with the linear map and the language model, and compare the result
# with the model's loss:

# %%
embedding = model.language_model.get_input_embeddings()
with torch.no_grad():
    for text in (right, "yellow cross"):
        whole = model(**processor([encoded[first.name]], [question], [text]))
        # [W * N, 256]
        vectors = model.projection(whole.queries[whole.window_mask].flatten(0, 1))
        answer_ids = tokenizer(f" {text}</s>", add_special_tokens=False).input_ids
        ids = torch.tensor([prompt_ids + answer_ids])
        embeds = put_vectors(embedding(ids), ids, vectors, config.placeholder_id)
        logits = model.language_model(inputs_embeds=embeds).logits
        by_hand = answer_loss(logits, answer_labels([prompt_ids], [answer_ids]))
        print(
            f"{question} {text:13} loss by hand {by_hand:.3f}, of the model "
            f"{whole.cross_entropy:.3f}"
        )

# %% [markdown]
# ## Several questions about one clip
#
# Reading a clip is expensive, one more question is cheap. So training asks several questions in one
# sequence, a conversation. But in an ordinary conversation each question attends to the earlier
# questions *with their answers*. At inference a question comes alone. So the turns are isolated:
# each attends to the clip and to itself. All tokens before the first question (with
# `<s> USER: <Img>`) are turn 0, the clip.
#
# This needs a mask and **positions**. The language model uses the distance between tokens (RoPE
# rotates queries and keys by their positions). So the positions of every question must start right
# after the clip. The clips of a batch differ in length. By hand, a clip of three tokens and two
# turns of three tokens:
#
# ```
#    turn_ids    0 0 0 1 1 1 2 2 2
#    positions   0 1 2 3 4 5 3 4 5
# ```

# %%
card("isolate_turns_mask")

# %% tags=["exercise:isolate_turns_mask"]
def isolate_turns_mask(turn_ids):
    """turn_ids (B, L) -> mask (B, 1, L, L) bool, positions (B, L)"""
    raise NotImplementedError  # your code

# %%
isolate_turns_mask = check("isolate_turns_mask", isolate_turns_mask)

# %% [markdown]
# The same nine tokens (blue: the query may attend to the key). Compare the last rows:

# %%
turn_ids = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]])
mask, positions = isolate_turns_mask(turn_ids)
plain = torch.ones(9, 9, dtype=torch.bool).tril()
print("positions:", positions[0].tolist())
matrices({"plain causal": plain, "isolated turns": mask[0, 0]}, x="key", y="query",
         ticks=["clip", "clip", "clip", "Q1", "Q1", "A1", "Q2", "Q2", "A2"])

# %% [markdown]
# Is the result the same as asking each question alone? Predict the probability of the third answer
# after two other questions, (a) with isolated turns and (b) with the plain causal mask.

# %%
from math import exp

asks = [(q.text, q.answer) for q in first.questions[0:60:9]]
together = processor.collate([{**encoded[first.name], "turns": asks}])
alone = likelihood(
    model, processor, [encoded[first.name]] * len(asks), *zip(*asks, strict=True)
)


@torch.no_grad()
def by_turn(batch):
    """The log probability of each turn's answer."""
    logp = model(**batch).logits[:, :-1].log_softmax(-1)
    after, turns = batch["labels"][0, 1:], together["turn_ids"][0, 1:]
    found = logp[0].gather(-1, after.clamp(min=0)[:, None])[:, 0]
    return [
        found[(turns == turn) & (after >= 0)].sum().item()
        for turn in range(1, len(asks) + 1)
    ]


isolated, plain = by_turn(together), by_turn({**together, "turn_ids": None})
print(f"{'probability of the right answer':58}  alone isolated plain")
for (text, _), *logs in zip(asks, alone, isolated, plain, strict=True):
    print(f"{text:58}", "  ".join(f"{exp(log):5.1%}".rjust(6) for log in logs))

# %% [markdown]
# Alone and isolated agree, except for a small difference: from the second question on a turn begins
# with `USER:`, while the first question follows the clip directly. With the plain causal mask the
# second answer is still likely. From the third on, the right answers are unlikely. (The table does
# not show why one turn in between does no harm and two do.) This model was *trained* with isolated
# turns. So the third column only shows that it depends on them, not that the plain mask is worse
# for training.
#
# ## LoRA
#
# The language model is frozen: training all of it on little data could damage it. (This small one
# was pretrained here, on transcripts of scenes with questions and answers.) But it should adapt to
# reading vectors instead of words. LoRA changes a weight matrix, but only with low rank.
# Two small maps are added to the frozen one, $A$ down to $r$ features and $B$ up again:
#
# $$y = Wx + b + \frac{\alpha}{r}\, B A x \qquad A: r \times \text{in}, \quad B: \text{out} \times r$$
#
# $BA$ has the size of $W$, but its rank is at most $r$: it has $r\,(\text{in} + \text{out})$
# parameters. Is this enough? Here is a change of 40 x 40 numbers: four directions and noise. Move
# the rank, and watch the share of the squared values that is lost:

# %%
import ipywidgets

from favor_mini.figures.llm import low_rank

torch.manual_seed(0)
wave = torch.linspace(0, torch.pi, 40)
directions = [size * torch.outer((k * wave).sin(), ((5 - k) * wave).sin())
              for k, size in enumerate((0.6, 0.4, 0.3, 0.2), start=1)]
change = sum(directions) + 0.1 * torch.randn(40, 40)
slider = ipywidgets.IntSlider(4, 1, 16, description="rank", continuous_update=False)
explore(lambda rank: low_rank(change, rank), rank=slider)

# %% [markdown]
# With rank 4 only noise is lost. With a lower rank, patterns are lost. This is the assumption of
# LoRA: *the change of the weights in fine-tuning has low rank*.

# %%
card("lora_linear")

# %% tags=["exercise:lora_linear"]
def lora_linear(x, weight, bias, A, B, alpha):
    """x (n, in), weight (out, in), bias (out,), A (r, in), B (out, r) -> (n, out)"""
    raise NotImplementedError  # your code

# %%
lora_linear = check("lora_linear", lora_linear)

# %% [markdown]
# **Why alpha / r?** The rank can then be changed without a new learning rate: with the same alpha
# and twice the rank, each direction has half the weight. In the paper and in the mini model alpha =
# r = 32, so the factor is 1.
#
# **B is initialised with zeros**, A at random. So at the first step $BA = 0$, and the model is
# unchanged. Predict before you run: which of the two gets a gradient at the first step? What if
# *both* were initialised with zeros?

# %%
import copy

from favor_mini.world.transcript import DESCRIBE
from favor_mini.world.transcript import transcript

fresh = copy.deepcopy(model)
layers = [m for m in fresh.language_model.modules() if hasattr(m, "lora_A")]
torch.manual_seed(0)
for layer in layers:
    layer.reset_lora_parameters("default", init_lora_weights=True)
batch = processor.collate(
    [{**encoded[first.name], "turns": [(DESCRIBE, transcript(first.scene))]}]
)
output = fresh(**batch)
output.loss.backward()


def size(letter, what):
    parts = [
        p
        for name, p in fresh.language_model.named_parameters()
        if f"lora_{letter}" in name
    ]
    return (
        sum((p.grad if what == "gradient" else p).square().sum() for p in parts)
        .sqrt()
        .item()
    )


for letter in "AB":
    print(
        f"{letter}: norm {size(letter, 'weight'):4.1f}, norm of its gradient "
        f"{size(letter, 'gradient'):.3f}"
    )
with torch.no_grad():
    for layer in layers:
        layer.enable_adapters(False)
    difference = (fresh(**batch).logits - output.logits).abs().max().item()
print(
    f"with untrained LoRA and without LoRA: logits differ by at most {difference:.4f}"
)

# %% [markdown]
# Only B gets a gradient at the first step: the gradient of A is multiplied by B, which is zero. At
# the second step B is not zero, so A gets a gradient, too. If both were zero, neither would ever
# get a gradient.
#
# ### LoRA in peft, and the trained parameters
#
# `favor_mini.language.add_lora` is one call to the library peft, which replaces every q, k, v and o
# map of the language model by such a layer:

# %%
print(config.lora_targets, " rank", config.lora_rank, " alpha", config.lora_alpha)
# a trained layer of the shipped model
one = next(m for m in model.language_model.modules() if hasattr(m, "lora_A"))
print(
    "frozen",
    tuple(one.base_layer.weight.shape),
    " A",
    tuple(one.lora_A["default"].weight.shape),
    " B",
    tuple(one.lora_B["default"].weight.shape),
    " layers:",
    len(layers),
)
x = torch.randn(5, 256)
pair = one.lora_A["default"].weight, one.lora_B["default"].weight
with torch.no_grad():
    yours = lora_linear(
        x, one.base_layer.weight, one.base_layer.bias, *pair, config.lora_alpha
    )
    theirs, bare = one(x), one.base_layer(x)
print("your function agrees with peft:", torch.allclose(yours, theirs, atol=1e-4),
      f" (without B A, outputs differ by up to {(bare - theirs).abs().max():.3f})")

# %%
trained, frozen = {}, {}
for name, parameter in model.named_parameters():
    part = "LoRA" if "lora_" in name else name.split(".")[0].replace("_", " ")
    group = trained if parameter.requires_grad else frozen
    group[part] = group.get(part, 0) + parameter.numel() / 1e6
parts = {f"{part} (trained)": count for part, count in trained.items()}
parts |= {f"{part} (frozen)": count for part, count in frozen.items()}
bars(
    dict(sorted(parts.items(), key=lambda part: -part[1])),
    x="parameters, millions",
    form="{:.2f}",
    title="Trained and frozen parts of the mini model",
)

# %% [markdown]
# Most trained parameters are in the Q-Former. LoRA has a tenth of the size of the small language
# model. And of a large one? Vicuna with 7 billion parameters has 32 layers with four maps of 4,096
# x 4,096 each:

# %%
lora = 32 * 4 * config.lora_rank * (4096 + 4096)
print(f"LoRA at full size: {lora / 1e6:.1f} million, {lora / 7e9:.1%} of 7 billion")
share = trained["LoRA"] / frozen["language model"]
print(f"here: {trained['LoRA']:.2f} million, {share:.0%} of the language model")

# %% [markdown]
# ### Merge
#
# The two extra maps cost time at every step. After training, their product can be added to the
# weight.

# %%
card("merge_lora")

# %% tags=["exercise:merge_lora"]
def merge_lora(weight, A, B, alpha):
    """weight (out, in), A (r, in), B (out, r) -> (out, in)"""
    raise NotImplementedError  # your code

# %%
merge_lora = check("merge_lora", merge_lora)

# %% [markdown]
# Merge all layers in a copy of the shipped model, and compare the logits:

# %%
merged = copy.deepcopy(model)
for layer in (m for m in merged.language_model.modules() if hasattr(m, "lora_A")):
    pair = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data
    layer.base_layer.weight.data = merge_lora(
        layer.base_layer.weight.data, *pair, config.lora_alpha
    )
    layer.enable_adapters(False)
with torch.no_grad():
    before, after = model(**batch).logits, merged(**batch).logits
    without = fresh(**batch).logits  # its adapters are disabled
print("merged equals unmerged:", torch.allclose(before, after, atol=1e-3),
      f" (without LoRA, logits differ by up to {(before - without).abs().max():.2f})")

# %% [markdown]
# ### What does LoRA do in the shipped model?
#
# The factor alpha / r can be changed after training: 0 removes LoRA, 1 is the trained model, more
# amplifies LoRA. Predict the left end of the curve: the frozen language model, which was trained on
# words only.

# %%
questions = [(s.name, q) for s in samples for q in s.questions[::6]]
adapters = [m for m in model.language_model.modules() if hasattr(m, "lora_A")]


def set_lora(factor):
    for layer in adapters:
        layer.scaling["default"] = factor


factors, right_share = [0.0, 1.0, 4.0, 16.0], []
for factor in factors:
    set_lora(factor)
    rows = evaluate(model, processor, encoded, questions)
    right_share.append(sum(row.correct for row in rows) / len(rows))
set_lora(1.0)
sizes = [
    (m.get_delta_weight("default").norm() / m.base_layer.weight.norm()).item()
    for m in adapters
]
print(
    f"LoRA's change of a weight, as a share of the weight: {min(sizes):.1%} to "
    f"{max(sizes):.1%}"
)
print(f"right without LoRA: {right_share[0] * len(questions):.0f} of {len(questions)}, "
      f"with LoRA: {right_share[1] * len(questions):.0f}")
curves(
    {"shipped model": (factors, right_share)},
    x="factor before B A (1: as trained)",
    y="accuracy",
    title=f"{len(questions)} questions about {len(samples)} held-out clips",
    percent=True,
)

# %% [markdown]
# **No measurable difference** between 0 and 1. Here LoRA changes the weights by less than 1 %. (A
# factor of 16 does harm, but noise of that size may do the same.) This is a result about this
# recipe, not about LoRA: most training steps teach the connector to *name* the content of the clip
# in the word embeddings of the language model (notebook 07).
#
# Where is LoRA needed? Where the language model has to learn something new. In an experiment the
# trained model gets questions in a form that it has never met: *while the bell was heard, what was
# shown?* Then parts of it are trained for 60 steps. **Predict** for the connector alone, and for
# LoRA of rank 1 and 16: how many points are gained in the new form, and lost in the usual words?

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import show_experiment

learned = show_experiment("lora")
groups = ["the new form", "the usual words"]
differences(learned.differences(groups), learned.arms[0]) if learned else None

# %% [markdown]
# The connector cannot see the question: alone it learned little or nothing of a new form. LoRA did.
#
# ## What does the language model read?
#
# A projected vector is not a word, but it can be close to a word embedding. The figure shows the
# cosine of the 16 vectors of the first window with the words that are among the three closest of
# some query. Four queries belong to a quarter of the window: what is seen, what it does, what is
# next to it (here the same as the first), what is heard. A red frame marks the target words of the
# naming stage. The target for several words is the sum of their embeddings. So a perfect vector has
# a cosine of $1/\sqrt{2} \approx 0.71$ with each of two orthogonal words, and
# $1/\sqrt{3} \approx 0.58$ with each of three.

# %%
from favor_mini.figures.llm import naming_map
from favor_mini.world.clauses import query_words

table = nn.functional.normalize(embedding.weight.detach(), dim=-1)  # [vocabulary, 256]


@torch.no_grad()
def closeness(name):
    """The cosine of a clip's projected vectors with all words: (W * N, vocabulary)."""
    found = model(**processor([encoded[name]], ["what was heard first?"]))
    vectors = model.projection(found.queries[found.window_mask].flatten(0, 1))
    return nn.functional.normalize(vectors, dim=-1) @ table.T


close = {s.name: closeness(s.name) for s in samples}
targets = {
    s.name: query_words(s.scene, processor, encoded[s.name]["num_frames"])[0]
    for s in samples
}
window = close[first.name][:16]
shown = {i for row in window for i in row.topk(3).indices.tolist()}
shown = sorted(shown, key=lambda i: window[:, i].argmax().item())
to_name = [tokenizer.decode(words) for words in targets[first.name][:16]]
naming_map(
    window[:, shown], to_name, tokenizer.convert_ids_to_tokens(shown), "First window"
)

# %% [markdown]
# The vectors of the clip read like its script: *see purple star*, *at right*, *hear horn*. Two
# queries are different. Query 14 should describe what the circle *does*. The circle turns, but the
# middle of its moment is in the next window, so its target here is "see green circle" again. Its
# closest words are *turns*, *at* and *top*. Query 16 has the target *hear*, because the bell comes
# in the next window. It also encodes *nothing*, which is not a target, but is true. Now count over
# all clips: how many target words are among the closest words of their query?

# %%
hits = total = chance = 0
for s in samples:
    for row, words in zip(close[s.name], targets[s.name], strict=True):
        wanted = set(words)
        hits += len(wanted & set(row.topk(len(wanted)).indices.tolist()))
        total += len(wanted)
        chance += len(wanted) ** 2 / len(table)
print(
    f"{hits} of {total} words ({hits / total:.1%}); chance level {chance / total:.1%}"
)

# %% [markdown]
# Which other queries are close to words that are not their targets?

# %%
def draw_words(clip, window, query):
    # some clips have only two windows
    row = min((window - 1) * config.num_queries + query, len(close[clip])) - 1
    window, query = row // config.num_queries + 1, row % config.num_queries + 1
    best = close[clip][row].topk(8)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    target = tokenizer.decode(targets[clip][row])
    title = f"{clip}, window {window}, query {query}; target: {target}"
    return bars(
        dict(zip(words, best.values.tolist(), strict=True)),
        title=title,
        form="{:.2f}",
        x="cosine with the word embedding",
    )


explore(
    draw_words,
    clip=list(encoded),
    window=(1, 3),
    query=ipywidgets.IntSlider(14, 1, 16, description="query", continuous_update=False),
)

# %% [markdown]
# **Does this hold for the paper's model?** Not necessarily. There the connector is trained only
# through the language model's answers, and a vector can be useful without being close to a word.
# Here the closeness was a training target.
#
# ## An answer, token by token
#
# Generation is a loop: run the model, take the most likely next token, append its embedding. This
# is *greedy decoding*.

# %%
@torch.no_grad()
def write(name, question, most=8):
    """Greedy decoding by hand: a list of (chosen token, probabilities of all
    tokens).
    """
    batch = processor([encoded[name]], [question])
    embeds, *_ = model.prepare(
        **{key: value for key, value in batch.items() if key != "attention_mask"}
    )
    steps = []
    while len(steps) < most:
        share = model.language_model(inputs_embeds=embeds).logits[0, -1].softmax(-1)
        token = share.argmax()
        steps.append((token.item(), share))
        if token == tokenizer.eos_token_id:
            break
        embeds = torch.cat([embeds, embedding(token[None, None])], dim=1)
    return steps


by_hand = tokenizer.decode(
    [token for token, _ in write(first.name, question)], skip_special_tokens=True
)
print(question, "->", by_hand)
generated = written_answers(model, processor, [encoded[first.name]], [question])[0]
print("equal to generate:", generated == by_hand.strip())

# %% [markdown]
# Now the model describes a whole clip. The target is the script as a text, the `transcript`.
# Predict: is the model uncertain where it makes a mistake?

# %% tags=["varies"]
steps = write(first.name, DESCRIBE, most=60)
script = tokenizer(transcript(first.scene), add_special_tokens=False).input_ids


def draw_step(token):
    _, share = steps[token - 1]
    best = share.topk(6)
    written = tokenizer.decode([t for t, _ in steps[: token - 1]])
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    title = f"... {' '.join(written.split()[-8:])} ___"
    shown = bars(
        dict(zip(words, best.values.tolist(), strict=True)),
        title=title,
        percent=True,
        x="probability of the next token",
    )
    return [shown, f"Written so far: {written}"]


print("script: ", tokenizer.decode(script))
print("written:", tokenizer.decode([t for t, _ in steps], skip_special_tokens=True))
lowest = min(range(len(steps)), key=lambda i: steps[i][1].max().item())
mistake = next(
    (i for i, (t, _) in enumerate(steps) if i >= len(script) or t != script[i]), None
)
print(
    f"lowest probability at token {lowest + 1}: {tokenizer.decode(steps[lowest][0])!r},"
    f" {steps[lowest][1].max():.0%}"
)
if mistake is not None:
    token, share = steps[mistake]
    print(
        f"first difference from the script at token {mistake + 1}: "
        f"{tokenizer.decode(token)!r}, {share.max():.0%}"
    )
start = lowest if mistake is None else mistake  # the first position of the widget
slider = ipywidgets.IntSlider(
    start + 1, 1, len(steps), description="token", continuous_update=False
)
explore(draw_step, token=slider)

# %% [markdown]
# The probability was low at the first mistake, but not lower than at a word that is right: a low
# probability is a hint, not a proof. Circle and square are exchanged, their sounds are not. So two
# pairs are wrong, although each word was among the vectors. At the end the written word comes
# twice. Greedy decoding never corrects a token: all later tokens depend on it.
#
# ## What to play with
#
# - With `named` and `token_strip`, draw the first row of `together` (`input_ids`, `labels`). Which
#   tokens carry labels?
# - `set_lora(16)`, then describe the clip. Which words are hallucinated?
# - Put the vectors of *another* clip into the prompt: `put_vectors(..., other_vectors, ...)`. Which
#   clip does the answer describe?
# - Shuffle the 48 vectors before they replace the placeholders. Which questions lose accuracy, and
#   why not all?
#
# ## Recap
#
# - After one linear map, the clip is in the prompt in the place of words. Placeholders mark the
#   positions. Their number must be checked.
# - Labels are at the positions of their tokens, -100 elsewhere. The loss does the shift.
# - Isolated turns need a mask *and* positions. Then a question in a conversation is answered as if
#   it were alone.
# - LoRA: a frozen map plus alpha / r times B A. B is initialised with zeros, so training starts
#   from the frozen model. Merged equals unmerged.
# - The connector's vectors are close to word embeddings here, as it was trained to do. LoRA makes
#   no measurable difference for these questions.

# %% [markdown]
# ## Quiz
#
# **1.** Two clips in a batch have 48 and 32 vectors. What happens if the prompt of the second has
# 48 placeholders?
#
# - a) The last 16 keep the embedding of `<av>`
# - b) The package raises a ValueError
# - c) Padding fills the gap
#
# <details><summary>Answer</summary>
#
# **b.** It counts the placeholders first. *a:* `masked_scatter` would need 16 more vectors, which
# do not exist. *c:* padding comes at the end of a row, not inside a clip.
#
# </details>
#
# **2.** At which position does the model predict the first word of the answer?
#
# - a) At the token `ASSISTANT:`
# - b) At the first word of the answer
# - c) At `</Img>`
#
# <details><summary>Answer</summary>
#
# **a.** Logits predict the next token. *b:* there it predicts the second word. *c:* there it
# predicts the question, and the next label is -100.
#
# </details>
#
# **3.** The mask isolates the turns, but the positions continue from turn to turn. What is no
# longer guaranteed?
#
# - a) No question attends to another
# - b) The loss counts answers only
# - c) The third question gets the same answer as alone
#
# <details><summary>Answer</summary>
#
# **c.** Its distance to the clip is larger than alone, and the language model uses distances. *a:*
# the mask guarantees this. *b:* labels do not depend on positions.
#
# </details>
#
# **4.** A and B are both initialised with zeros. What happens?
#
# - a) LoRA is never trained
# - b) LoRA is trained more slowly
# - c) The model forgets its pretraining
#
# <details><summary>Answer</summary>
#
# **a.** The gradient of each is a product with the other, so both stay zero. *b:* they do not
# change at all. *c:* with BA = 0 the model is unchanged.
#
# </details>
#
# **5.** Without LoRA there is no measurable loss of accuracy here. What follows?
#
# - a) LoRA is useless in FAVOR
# - b) With this recipe and these questions the connector is enough
# - c) The measurement is wrong
#
# <details><summary>Answer</summary>
#
# **b.** The connector was first trained on word embeddings. *a:* a connector that is trained on
# answers alone may need LoRA. *c:* there is no sign of that; the small change of the weights fits
# the result.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/processor.py` (prompt, labels, turns, padding), `favor_mini/model.py` (`embed`,
# `freeze`, `generate`), `favor_mini/language.py` (`add_lora`, `isolate_turns_mask`),
# `favor_mini/world/naming.py`; tests in `tests/test_processor.py`, `tests/test_model.py`,
# `tests/test_naming.py`.
#
# **In the paper:** section 3. **Further reading:** *LoRA*
# ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)); BLIP-2
# ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) for vectors as soft prompts; *Visual
# instruction tuning* ([arXiv 2304.08485](https://arxiv.org/abs/2304.08485)), which gives images to
# the language model with one linear map.
#
# **Next:** [09 End-to-end fine-tuning](09_end_to_end_finetuning.ipynb).
