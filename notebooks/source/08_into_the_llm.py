# %% [markdown]
# # 08 Into the LLM
#
# **You will** write the prompt, put a clip's vectors in its place, say which tokens count in the loss, ask several questions
# that do not see each other, build LoRA and merge it away again. Then you read what the connector tells the language model,
# word by word, and watch an answer come about.
#
# **You need** notebook 04 (output queries) and 05 (masks). **Paper:** section 3 (projection, prompt, LoRA).
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
# Each window of the clip has become N vectors. A language model reads vectors, too: the *embeddings* of its tokens. So the
# clip is handed over as if it were words. One linear map takes the Q-Former's width to the embedding width (256 to 256 here,
# 768 to 4,096 in the paper), and the result stands in the prompt where words would stand. The language model needs no new
# attention for that and no new kind of input. (All that turns a clip into vectors, up to this map, is called the **connector**.)

# %%
flow([("Q-Former", "N vectors a window", "(W, N, width)"),
      ("project", "one linear map", "(W * N, 256)"),
      ("prompt", "in place of the placeholders", "(L, 256)"),
      ("language model", "frozen, with LoRA", "(L, vocabulary)"),
      ("answer", "token by token", "text")], here="prompt", title="How a clip gets into a sentence")

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
# The language model goes on after the colon. `<av>` is one token of the tokenizer. Its own embedding is never read; it keeps
# a place. (The check below looks at every character; the mini tokenizer drops white space, Llama's does not.)

# %%
card("write_prompt")

# %% tags=["exercise:write_prompt"]
def write_prompt(question, placeholders):
    """The prompt for a question about a clip of so many vectors."""
    raise NotImplementedError  # your code

# %%
write_prompt = check("write_prompt", write_prompt)
print(write_prompt("what was heard first?", 4))

# %% [markdown]
# Load the model and eight clips, and see what the tokenizer makes of it. A clip of 22 frames fills three windows (the last
# one in part), so it takes 3 * 16 = 48 placeholders.

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path, read_clip
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

asked = tokenizer(write_prompt(question, processor.num_placeholders(encoded[first.name]))).input_ids
told = tokenizer(f" {right}{tokenizer.eos_token}", add_special_tokens=False).input_ids


def named(ids, labels):
    """Tokens with their kind and label, to be drawn."""
    known = {config.placeholder_id: "clip", tokenizer.pad_token_id: "padding"}
    kinds = [known.get(i, "answer" if i == label else "text") for i, label in zip(ids, labels, strict=True)]
    return list(zip(tokenizer.convert_ids_to_tokens(ids), kinds, labels, strict=True))


token_strip({"prompt": named(asked, [""] * len(asked))}, f"{len(asked)} tokens, 48 of them places for the clip")

# %% [markdown]
# ## Vectors in place of placeholders
#
# Let $e_i$ be the embedding of token $i$, and $v_1, v_2, \dots$ the projected vectors in time order. The language model reads
#
# $$x_i = v_k \text{ where token } i \text{ is the } k\text{-th placeholder}, \qquad x_i = e_i \text{ elsewhere}$$
#
# In a batch the clips have different lengths, so their vectors come in one long list: clip after clip, real windows only.
# torch has an operation for just that, `masked_scatter`. By hand, two rows of four places, three vectors of one feature:

# %%
places = torch.tensor([[False, True, True, False], [False, False, True, False]])
print(torch.zeros(2, 4, 1).masked_scatter(places[..., None], torch.tensor([[7.0], [8.0], [9.0]]))[..., 0])

# %%
card("put_vectors")

# %% tags=["exercise:put_vectors"]
def put_vectors(embeds, input_ids, vectors, placeholder_id):
    """embeds (B, L, width), input_ids (B, L), vectors (n, width) -> (B, L, width)"""
    raise NotImplementedError  # your code

# %%
put_vectors = check("put_vectors", put_vectors)

# %% [markdown]
# The trap is quiet. Where one prompt of a batch holds a placeholder too many and the next one too few, the sum is right, and
# `masked_scatter` gives the second clip's first vector to the first clip. So the package counts, clip by clip, and refuses:

# %%
batch = processor([encoded[first.name]], [question])
try:
    model(**{**batch, "input_ids": batch["input_ids"][:, 5:], "attention_mask": None})
except ValueError as error:
    print(str(error).split(";")[0])

# %% [markdown]
# ## Only answers count
#
# The loss asks: how probable was each token, given all before it? But we do not want to teach the model to *ask*, nor to
# foresee its clip. So each token gets a **label**: its own id if it counts, -100 if not. -100 is the mark that torch's
# cross-entropy leaves out. The end of the answer, `</s>`, counts, else the model never learns to stop. (`told` below ends in it.)

# %%
card("answer_labels")

# %% tags=["exercise:answer_labels"]
def answer_labels(asked, told):
    """asked and told: B lists of token ids each -> (B, L)"""
    raise NotImplementedError  # your code

# %%
answer_labels = check("answer_labels", answer_labels)
other_asked = tokenizer(write_prompt("where was the white square?", 16)).input_ids
other_told = tokenizer(" bottom</s>", add_special_tokens=False).input_ids
labels = answer_labels([asked, other_asked], [told, other_told])
ids = processor.pad_text([asked + told, other_asked + other_told], side="right")["input_ids"]
token_strip({f"clip {i + 1}": named(ids[i].tolist(), labels[i].tolist()) for i in (0, 1)},
            "Tokens, and their labels below")

# %% [markdown]
# Where does the shift come in? At every place the model guesses the token that comes *next*. The guess at `ASSISTANT:` is for
# the answer's first word. Labels stand where their tokens stand, so the loss holds the guess at place $i$ against the label
# at $i + 1$:
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
# ### Plugged into the model
#
# Between the Q-Former and the loss stand one linear map, the language model, and your four functions. Put them together for a
# real clip, and hold the result against the model's own:

# %%
embedding = model.language_model.get_input_embeddings()
with torch.no_grad():
    for text in (right, "yellow cross"):
        whole = model(**processor([encoded[first.name]], [question], [text]))
        vectors = model.projection(whole.queries[whole.window_mask].flatten(0, 1))  # [W * N, 256]
        told = tokenizer(f" {text}</s>", add_special_tokens=False).input_ids
        ids = torch.tensor([asked + told])
        embeds = put_vectors(embedding(ids), ids, vectors, config.placeholder_id)
        logits = model.language_model(inputs_embeds=embeds).logits
        by_hand = answer_loss(logits, answer_labels([asked], [told]))
        print(f"{question} {text:13} loss by hand {by_hand:.3f}, of the model {whole.cross_entropy:.3f}")

# %% [markdown]
# ## Several questions about one clip
#
# A clip costs much to read, one more question little. So training asks several in one row, a conversation. But in an ordinary
# conversation each question sees the ones before, *with their answers*: what was asked first would help or mislead what comes
# next. Later, in use, a question comes alone, and it should have been practised as it will be asked. So the turns are kept apart:
# each sees the clip and itself. Whatever stands before the first question (`<s> USER: <Img>`, too) is turn 0, the clip's.
#
# Two things make a turn as good as alone: a mask, and **positions**. The language model knows how far two tokens stand apart
# (RoPE turns queries and keys by their positions); so the second question must stand right behind the clip, where the first one
# stands, too. Clips of a batch differ in length. By hand, a clip of three tokens and two turns of three:
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
# The same nine tokens; blue: may be looked at. Compare the last rows: the second turn cannot see the first.

# %%
turn_ids = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]])
mask, positions = isolate_turns_mask(turn_ids)
plain = torch.ones(9, 9, dtype=torch.bool).tril()
print("positions:", positions[0].tolist())
matrices({"plain causal": plain, "turns apart": mask[0, 0]}, x="token looked at", y="token that looks",
         ticks=["clip", "clip", "clip", "Q1", "Q1", "A1", "Q2", "Q2", "A2"])

# %% [markdown]
# Is it as if each were asked alone? Predict: what becomes of the third answer's probability when a first and a second
# question stand before it, (a) apart and (b) in plain causal order?

# %%
from math import exp

asks = [(q.text, q.answer) for q in first.questions[0:60:9]]
together = processor.collate([{**encoded[first.name], "turns": asks}])
alone = likelihood(model, processor, [encoded[first.name]] * len(asks), *zip(*asks, strict=True))


@torch.no_grad()
def by_turn(batch):
    """The log probability of each turn's answer."""
    told = model(**batch).logits[:, :-1].log_softmax(-1)
    after, turns = batch["labels"][0, 1:], together["turn_ids"][0, 1:]
    found = told[0].gather(-1, after.clamp(min=0)[:, None])[:, 0]
    return [found[(turns == turn) & (after >= 0)].sum().item() for turn in range(1, len(asks) + 1)]


apart, plain = by_turn(together), by_turn({**together, "turn_ids": None})
print(f"{'probability of the right answer':58}  alone   apart   plain")
for (text, _), *logs in zip(asks, alone, apart, plain, strict=True):
    print(f"{text:58}", "  ".join(f"{exp(log):5.1%}".rjust(6) for log in logs))

# %% [markdown]
# Alone and apart agree, but for a trifle: from the second question on a turn begins with `USER:`, while the first one stands
# right behind the clip. In plain order the second answer still survives; from the third on they are lost. (Why one turn in between
# does no harm and two do, the table does not tell.) This model was *trained* with turns apart, so the third column says only that
# it depends on it, not that plain order is worse to learn from.
#
# ## LoRA
#
# The language model is frozen: it can speak already, and training all of it on a little data could spoil that. Yet it should get used to reading
# vectors instead of words. LoRA lets a weight change, but only a little and in few directions. Beside the frozen map stand
# two thin ones, $A$ down to $r$ features and $B$ up again:
#
# $$y = Wx + b + \frac{\alpha}{r}\, B A x \qquad A: r \times \text{in}, \quad B: \text{out} \times r$$
#
# $BA$ is as large as $W$ but has rank $r$ at most: it can be described with $r\,(\text{in} + \text{out})$ numbers. Whether
# that is enough depends on the change that is wanted. Here is one of 40 x 40: four directions, and noise. Move the rank, and watch
# what share of the squares is left out:

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
# What rank 4 leaves out is noise; more numbers would bring little. With fewer, patterns are left. That is the bet of LoRA: *what fine-tuning has to change is
# of low rank*.

# %%
card("lora_linear")

# %% tags=["exercise:lora_linear"]
def lora_linear(x, weight, bias, A, B, alpha):
    """x (n, in), weight (out, in), bias (out,), A (r, in), B (out, r) -> (n, out)"""
    raise NotImplementedError  # your code

# %%
lora_linear = check("lora_linear", lora_linear)

# %% [markdown]
# **Why alpha / r?** So that the rank can be changed without a new learning rate: the same alpha, twice the rank, each
# direction half as loud. In the paper and in the mini model alpha = r = 32 and the factor is 1. (You would never notice if it
# were missing.)
#
# **B starts at zero**, A at random. So at the first step $BA = 0$ and the model is exactly what it was. Predict before you
# run: which of the two gets a gradient at that first step? And what if *both* started at zero?

# %%
import copy

from favor_mini.world.transcript import DESCRIBE
from favor_mini.world.transcript import transcript

fresh = copy.deepcopy(model)
layers = [m for m in fresh.language_model.modules() if hasattr(m, "lora_A")]
torch.manual_seed(0)
for layer in layers:
    layer.reset_lora_parameters("default", init_lora_weights=True)
lesson = processor.collate([{**encoded[first.name], "turns": [(DESCRIBE, transcript(first.scene))]}])
output = fresh(**lesson)
output.loss.backward()


def size(letter, what):
    parts = [p for name, p in fresh.language_model.named_parameters() if f"lora_{letter}" in name]
    return sum((p.grad if what == "gradient" else p).square().sum() for p in parts).sqrt().item()


for letter in "AB":
    print(f"{letter}: size {size(letter, 'weight'):4.1f}, its gradient's {size(letter, 'gradient'):.3f}")
with torch.no_grad():
    for layer in layers:
        layer.enable_adapters(False)
    same = (fresh(**lesson).logits - output.logits).abs().max().item()
print(f"with fresh LoRA and without any: logits differ by at most {same:.4f}")

# %% [markdown]
# Only B learns at the first step: A's gradient goes through B, which is zero. At the second step B is something, and A
# follows. If both were zero, neither would ever get a gradient.
#
# ### peft's, and who learns
#
# The package does not write LoRA itself. `FavorForConditionalGeneration.add_lora` is one call to peft, which puts such a
# layer in the place of every q, k, v and o map of the language model:

# %%
print(config.lora_targets, " rank", config.lora_rank, " alpha", config.lora_alpha)
one = next(m for m in model.language_model.modules() if hasattr(m, "lora_A"))  # of the shipped model, trained
print("frozen", tuple(one.base_layer.weight.shape), " A", tuple(one.lora_A["default"].weight.shape),
      " B", tuple(one.lora_B["default"].weight.shape), " layers:", len(layers))
x = torch.randn(5, 256)
thin = one.lora_A["default"].weight, one.lora_B["default"].weight
with torch.no_grad():
    yours = lora_linear(x, one.base_layer.weight, one.base_layer.bias, *thin, config.lora_alpha)
    theirs, bare = one(x), one.base_layer(x)
print("yours and peft's agree:", torch.allclose(yours, theirs, atol=1e-4),
      f" (without B A, outputs would be off by up to {(bare - theirs).abs().max():.3f})")

# %%
learned, frozen = {}, {}
for name, parameter in model.named_parameters():
    part = "LoRA" if "lora_" in name else name.split(".")[0].replace("_", " ")
    held = learned if parameter.requires_grad else frozen
    held[part] = held.get(part, 0) + parameter.numel() / 1e6
told_apart = {f"{part} (learns)": count for part, count in learned.items()}
told_apart |= {f"{part} (frozen)": count for part, count in frozen.items()}
bars(dict(sorted(told_apart.items(), key=lambda part: -part[1])), x="parameters, millions", form="{:.2f}",
     title="Who learns, in the mini model")

# %% [markdown]
# Most of what learns is the Q-Former. (The audio projection widens sound before the streams are joined: notebook 02.) LoRA is a
# tenth of the small language model; of a large one it is far less. A Vicuna of 7 billion has 32 layers with four maps of
# 4,096 x 4,096 each:

# %%
lora = 32 * 4 * config.lora_rank * (4096 + 4096)
print(f"LoRA at full size: {lora / 1e6:.1f} million, {lora / 7e9:.1%} of 7 billion")
share = learned["LoRA"] / frozen["language model"]
print(f"here: {learned['LoRA']:.2f} million, {share:.0%} of the language model")

# %% [markdown]
# ### Merge
#
# A detour at every step costs time. When training is over, it can be added into the weight.

# %%
card("merge_lora")

# %% tags=["exercise:merge_lora"]
def merge_lora(weight, A, B, alpha):
    """weight (out, in), A (r, in), B (out, r) -> (out, in)"""
    raise NotImplementedError  # your code

# %%
merge_lora = check("merge_lora", merge_lora)

# %% [markdown]
# Merge all of the shipped model's layers with your function, in a copy, and compare the logits:

# %%
merged = copy.deepcopy(model)
for layer in (m for m in merged.language_model.modules() if hasattr(m, "lora_A")):
    thin = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data
    layer.base_layer.weight.data = merge_lora(layer.base_layer.weight.data, *thin, config.lora_alpha)
    layer.enable_adapters(False)
with torch.no_grad():
    before, after = model(**lesson).logits, merged(**lesson).logits
    without = fresh(**lesson).logits  # its adapters are off
print("merged equals unmerged:", torch.allclose(before, after, atol=1e-3),
      f" (with LoRA off, logits would be off by up to {(before - without).abs().max():.2f})")

# %% [markdown]
# ### What does LoRA do in the shipped model?
#
# The factor alpha / r can be turned after training: 0 takes LoRA away, 1 is as trained, more overdoes it. Predict the left
# end of the line: the frozen language model, which has never read anything but words.

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
sizes = [(m.get_delta_weight("default").norm() / m.base_layer.weight.norm()).item() for m in adapters]
print(f"LoRA's change of a weight, as a share of the weight: {min(sizes):.1%} to {max(sizes):.1%}")
print(f"right without LoRA: {right_share[0] * len(questions):.0f} of {len(questions)}, "
      f"with it: {right_share[1] * len(questions):.0f}")
curves({"shipped model": (factors, right_share)}, x="factor before B A (1: as trained)", y="accuracy",
       title=f"{len(questions)} questions about {len(samples)} held-out clips, LoRA turned down and up",
       percent=True)

# %% [markdown]
# **No difference found** between 0 and 1. In this model LoRA has hardly moved, and the language model answers as well without
# it. (Sixteen times as loud it does harm, but noise of that size might, too.) That is a finding about this recipe, not about
# LoRA: here the connector is first taught to *name* in the language model's own words what a stretch of the clip holds, and most
# of the training's steps go there (notebook 09). How well it speaks them is what we look at now.
#
# ## What does the language model read?
#
# A projected vector is no word, but it may lie close to one. Take the cosine of each of the first window's 16 vectors with
# the embedding of every word of the vocabulary; shown are those that are among some query's closest three. Four queries share a
# quarter of the window: what is seen, what it does, what is beside it (here: as the first), what is heard. A red frame marks what
# a query had been taught to name; several words are asked for as their sum. So the most that a perfect vector can have of each
# is $1/\sqrt{2} \approx 0.71$ for two words at right angles, and $1/\sqrt{3} \approx 0.58$ for three.

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
taught = {s.name: query_words(s.scene, processor, encoded[s.name]["num_frames"])[0] for s in samples}
window = close[first.name][:16]
shown = {i for row in window for i in row.topk(3).indices.tolist()}
shown = sorted(shown, key=lambda i: window[:, i].argmax().item())
to_name = [tokenizer.decode(words) for words in taught[first.name][:16]]
naming_map(window[:, shown], to_name, tokenizer.convert_ids_to_tokens(shown), "First window")

# %% [markdown]
# The clip is handed over as a script: *see purple star*, *at right*, *hear horn*. Two queries stand out. Number 14 should tell what
# the circle *does*. It turns, but its middle lies in the next window, so it is taught to repeat "see green circle" here; and
# it is torn between *turns*, *at* and *top*. Number 16 should only say *hear*, since the bell comes in the next window; it adds
# *nothing*, which is not asked for, and true. Now count, over all clips: of the words that a query should name, how many are among
# its closest ones?

# %%
hits = total = chance = 0
for s in samples:
    for row, words in zip(close[s.name], taught[s.name], strict=True):
        wanted = set(words)
        hits += len(wanted & set(row.topk(len(wanted)).indices.tolist()))
        total += len(wanted)
        chance += len(wanted) ** 2 / len(table)
print(f"{hits} of {total} words ({hits / total:.1%}); by chance it would be {chance / total:.1%}")

# %% [markdown]
# Look up any query of any clip, beginning with number 14. Where else does one say something that it was not taught to?

# %%
def draw_words(clip, window, query):
    row = min((window - 1) * config.num_queries + query, len(close[clip])) - 1  # some clips have but two windows
    window, query = row // config.num_queries + 1, row % config.num_queries + 1
    best = close[clip][row].topk(8)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    title = f"{clip}, window {window}, query {query}; to be named: {tokenizer.decode(taught[clip][row])}"
    return bars(dict(zip(words, best.values.tolist(), strict=True)), title=title, form="{:.2f}",
                x="cosine with the word's embedding")


explore(draw_words, clip=list(encoded), window=(1, 3),
        query=ipywidgets.IntSlider(14, 1, 16, description="query", continuous_update=False))

# %% [markdown]
# **Is that so in the paper's model?** There is no reason why it must. There the connector learns from the language model's
# answers alone, and a vector may mean something to it without being near any word. Here the nearness was asked for.
#
# ## An answer, token by token
#
# Generation is what you have built, in a loop: read, take the likeliest next token, put its embedding behind, read again.
# That is called *greedy*.

# %%
@torch.no_grad()
def write(name, question, most=8):
    """Greedy by hand: a list of (chosen token, probabilities of all tokens)."""
    batch = processor([encoded[name]], [question])
    embeds, *_ = model.prepare(**{key: value for key, value in batch.items() if key != "attention_mask"})
    steps = []
    while len(steps) < most:
        share = model.language_model(inputs_embeds=embeds).logits[0, -1].softmax(-1)
        token = share.argmax()
        steps.append((token.item(), share))
        if token == tokenizer.eos_token_id:
            break
        embeds = torch.cat([embeds, embedding(token[None, None])], dim=1)
    return steps


by_hand = tokenizer.decode([token for token, _ in write(first.name, question)], skip_special_tokens=True)
print(question, "->", by_hand)
generated = written_answers(model, processor, [encoded[first.name]], [question])[0]
print("as generate does it:", generated == by_hand.strip())

# %% [markdown]
# Now let it describe a whole clip, and step through. What it should say is the clip's script as a text, `transcript`. Some tokens
# follow from the grammar (`see`, `,`), the others only the clip can tell. Predict: where it errs, will it have been unsure?

# %%
steps = write(first.name, DESCRIBE, most=60)
script = tokenizer(transcript(first.scene), add_special_tokens=False).input_ids


def draw_step(token):
    _, share = steps[token - 1]
    best = share.topk(6)
    written = tokenizer.decode([t for t, _ in steps[: token - 1]])
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    title = f"... {' '.join(written.split()[-8:])} ___"
    shown = bars(dict(zip(words, best.values.tolist(), strict=True)), title=title, percent=True,
                 x="probability of the next token")
    return [shown, f"Written so far: {written}"]


print("script: ", tokenizer.decode(script))
print("written:", tokenizer.decode([t for t, _ in steps], skip_special_tokens=True))
doubt = min(range(len(steps)), key=lambda i: steps[i][1].max().item())
slip = next((i for i, (t, _) in enumerate(steps) if i >= len(script) or t != script[i]), None)
print(f"least sure at token {doubt + 1}: {tokenizer.decode(steps[doubt][0])!r}, {steps[doubt][1].max():.0%}")
if slip is not None:
    token, share = steps[slip]
    print(f"leaves the script at token {slip + 1}: {tokenizer.decode(token)!r}, {share.max():.0%}")
start = doubt if slip is None else slip  # the widget opens there
slider = ipywidgets.IntSlider(start + 1, 1, len(steps), description="token", continuous_update=False)
explore(draw_step, token=slider)

# %% [markdown]
# It was unsure where it left the script, but not less sure than at a word that is right: doubt is a hint, no proof. And look
# what became of the slip. Circle and square have changed places, their sounds have not, so that two pairs are false, though each
# word of them was among the vectors. At the end it has lost count, and tells the written word twice. Greedy never looks back: what
# is written stays, and all that follows builds on it.
#
# ## What to play with
#
# - With `named` and `token_strip`, draw the first row of `together` (`input_ids`, `labels`). Which tokens carry labels?
# - `set_lora(16)`, and let it describe the clip. What does it invent?
# - Put the vectors of *another* clip into the prompt: `put_vectors(..., other_vectors, ...)`. Whom does the answer believe?
# - Shuffle the 48 vectors before they are put in place. Which questions suffer, and why not all?
#
# ## Recap
#
# - One linear map, and the clip stands in the prompt as if it were words. Placeholders keep the places; counting them is not
#   pedantry.
# - Labels stand where their tokens stand, -100 elsewhere; the loss does the shift.
# - Turns apart: a mask *and* positions, and then a question in a conversation is as good as alone.
# - LoRA: a frozen map plus alpha / r times B A. B starts at zero, so training starts from what is there. Merged equals
#   unmerged.
# - The connector here speaks in words, as it was taught to. LoRA adds nothing that these questions could find.

# %% [markdown]
# ## Quiz
#
# **1.** Two clips in a batch have 48 and 32 vectors. What if the second one's prompt holds 48 placeholders?
#
# - a) The last 16 keep the embedding of `<av>`
# - b) The package raises a ValueError
# - c) Padding fills the gap
#
# <details><summary>Answer</summary>
#
# **b.** It counts first and says what it found. *a:* `masked_scatter` would look for 16 more vectors; here none are left. *c:*
# padding fills rows behind their end; it does not fill a clip.
#
# </details>
#
# **2.** At which place does the model guess the first word of the answer?
#
# - a) At the token `ASSISTANT:`
# - b) At the answer's first word
# - c) At `</Img>`
#
# <details><summary>Answer</summary>
#
# **a.** Logits are about what comes next. *b:* there it guesses the second word. *c:* there it guesses the question, and the
# next label is -100.
#
# </details>
#
# **3.** The mask keeps turns apart, but positions count on. What is no longer sure?
#
# - a) That no question sees another
# - b) That the loss counts answers only
# - c) That the third question gets the answer that it gets alone
#
# <details><summary>Answer</summary>
#
# **c.** It would stand farther from the clip than it does alone, and the language model reads distances. *a:* that is the
# mask's work, it holds. *b:* labels have nothing to do with positions.
#
# </details>
#
# **4.** A and B both start at zero. What happens?
#
# - a) LoRA never learns
# - b) LoRA learns slower
# - c) The model forgets what it knew
#
# <details><summary>Answer</summary>
#
# **a.** The gradient of each is a product with the other, so both stay zero. *b:* not even slowly. *c:* with BA = 0 it is
# what it was.
#
# </details>
#
# **5.** Here, LoRA turned off costs no accuracy that could be found. What follows?
#
# - a) LoRA is of no use in FAVOR
# - b) With this recipe and these questions the connector alone does it
# - c) The measurement is wrong
#
# <details><summary>Answer</summary>
#
# **b.** The connector was taught to speak in words first. *a:* a connector that learns from answers alone may well need it.
# *c:* nothing says so; the weights have hardly moved, which fits.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/processor.py` (prompt, labels, turns, padding), `favor_mini/model.py` (`embed`, `add_lora`, `freeze`,
# `generate`), `favor_mini/attention.py` (`isolate_turns_mask`), `favor_mini/training/naming.py`; tests in `tests/test_processor.py`,
# `tests/test_model.py`, `tests/test_naming.py`.
#
# **In the paper:** section 3. **Further reading:** *LoRA* ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)); BLIP-2
# ([arXiv 2301.12597](https://arxiv.org/abs/2301.12597)) for vectors as soft words; *Visual instruction tuning* ([arXiv
# 2304.08485](https://arxiv.org/abs/2304.08485)), which hands pictures over with one linear map.
#
# **Next:** [09 End-to-end fine-tuning](09_end_to_end_finetuning.ipynb).
