# %% [markdown]
# # 02 The frozen encoders
#
# **You will** cut frames into patches, run sound of any length through Whisper's encoder, let queries (and a question) sum up
# a picture, and then cross-examine the tokens that come out: *what does a visual token know, what does an audio token know,
# and about which moment?* You will find something odd.
#
# **You need** notebook 01 and PyTorch; attention as such (softmax, queries, keys) you should have met. **Paper:** section
# 3.1, the encoders.
#
# **Costs:** 35 minutes of reading, 58 minutes of exercises; 20 s of computing, 1.3 GB of memory.

# %%
import textwrap

import numpy as np
import torch
import torch.nn.functional as F

from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path, read_clip
from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.world.samples import read_samples

# %% [markdown]
# ## Where we are
#
# Notebook 01 ended with pixels and log-mel columns. Between these and the language model stand two encoders that somebody
# else has trained. FAVOR takes **Whisper's encoder** for all that is heard and **InstructBLIP's ViT and Q-Former** for all
# that is seen, and leaves them as they are: *frozen*. What an encoder drops is lost to everything that comes after it.

# %%
flow([("frames", "two a second", "(T, 3, H, W)"),
      ("patches", "cut each into squares", "(T, patches, 3pp)"),
      ("ViT", "patches look at one another", "(T, 1 + patches, D)"),
      ("Q-Former", "V queries sum up each frame", "(T, V, width)")],
     here="patches", title="What is seen")

# %% [markdown]
# Same structure, two sizes. The mini model's parts are instances of the very same `transformers` classes as the real ones.
# Their sizes come from two configurations; those of the full-size model are built here on torch's `meta` device, as shapes
# without memory.

# %%
from favor_mini import FavorConfig
from favor_mini.encoders import VisualEncoder
from transformers.models.whisper.modeling_whisper import WhisperEncoder

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
paper, mini = FavorConfig.paper(), model.config
with torch.device("meta"):
    large_ears = WhisperEncoder(paper.audio_config)
    large_eyes = VisualEncoder(paper.vision_config, paper.visual_qformer_config, paper.visual_tokens)


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def sizes(config):
    eye, ear, side = config.vision_config, config.audio_config, config.vision_config.image_size
    grid = side // eye.patch_size
    return {"picture": f"{side} x {side}", "patches, and one more": f"{grid} x {grid} + 1",
            "ViT": f"{eye.num_hidden_layers} layers of {eye.hidden_size}",
            "visual tokens a frame": f"V = {config.visual_tokens} of {config.visual_width}",
            "Whisper hears at once": f"{ear.max_source_positions // 50} s, {ear.max_source_positions} tokens",
            "Whisper's encoder": f"{ear.encoder_layers} layers of {ear.d_model}"}


for name, small in sizes(mini).items():
    print(f"{name:24}{small:22}{sizes(paper)[name]}")
bars({"ViT and Q-Former, mini": millions(model.visual_encoder),
      "ViT and Q-Former, paper": millions(large_eyes),
      "Whisper's encoder, mini": millions(model.audio_encoder),
      "Whisper's encoder, paper": millions(large_ears)},
     x="million parameters", log=True, form="{:,.1f}", title="The same parts, in two sizes")

# %% [markdown]
# ## Eyes: a picture as a row of patches
#
# A transformer works on a row of vectors. So the ViT cuts the picture into squares of $p \times p$ pixels and turns each into
# a vector by one linear map:
#
# $$z_i = E\,\mathrm{patch}_i + e + \mathrm{pos}_i, \qquad i = 1 \dots \tfrac{H}{p}\cdot\tfrac{W}{p}$$
#
# $\mathrm{pos}_i$ is learned, and the only thing that says where a patch came from. One extra vector, not from any pixel, is
# put in front: a place to collect.
#
# By hand: a picture of 4 x 4 pixels numbered 0 to 15, and $p = 2$. The first patch is 0 1 4 5, the second 2 3 6 7. It is
# *not* 0 1 2 3: those are neighbours in memory, but a strip, not a square.

# %%
from favor_mini.figures.encoders import patches

samples = {sample.name: sample for sample in read_samples()}
clip = read_clip(samples["clip_01"].path, image_size=64)
patches(clip.frames[2], 16)

# %%
card("cut_patches")

# %% tags=["exercise:cut_patches"]
def cut_patches(frames, size):
    """(T, 3, H, W) -> (T, patches, 3 * size * size), along the rows as one reads."""
    raise NotImplementedError  # your code

# %%
cut_patches = check("cut_patches", cut_patches)
print(cut_patches(torch.arange(16.0).view(1, 1, 4, 4), 2)[0])

# %% [markdown]
# In the code of a ViT you will find no such function, but a convolution whose kernel is as wide as its stride: `Conv2d(3, D,
# p, stride=p)`. Each of its positions *is* one patch, its kernel is the map $E$. The same numbers:

# %%
torch.manual_seed(0)
embedding = torch.nn.Conv2d(3, 32, kernel_size=16, stride=16)
pixels = processor.pixels(clip.frames)  # [T, 3, 64, 64]
with torch.no_grad():
    by_convolution = embedding(pixels).flatten(2).transpose(1, 2)  # [T, patches, 32]
    by_hand = cut_patches(pixels, 16) @ embedding.weight.flatten(1).T + embedding.bias
print("patches", tuple(by_hand.shape), " the same:", torch.allclose(by_convolution, by_hand, atol=1e-4))

# %% [markdown]
# The mini model departs from this in one place. A small ViT that learns from nothing on a CPU hardly gets started with bare
# patches, so four small convolutions of stride 2 stand in their place (`ConvStem`); as many vectors come out. The full-size
# model has the plain cut. Everything behind is the same: attention in which every patch looks at every other.
#
# How fine should the cut be? Move the patch size. Attention compares all pairs; what becomes of their number? And from which
# size on does no single patch show a whole star? (Frame 2 has one.)

# %%
import ipywidgets

from favor_mini.course.widgets import explore


def draw_patches(pixels_a_side, frame):
    p = int(pixels_a_side)
    count = (64 // p) ** 2
    said = f"{count} patches, {count * count:,} pairs for attention; {3 * p * p} numbers a patch"
    return [patches(clip.frames[frame], p), said]


slider = ipywidgets.IntSlider(value=2, max=len(clip.frames) - 1, description="frame", continuous_update=False)
explore(draw_patches, pixels_a_side=["32", "16", "8", "4"], frame=slider)

# %% [markdown]
# ## Ears: Whisper, chunk by chunk
#
# Whisper's encoder is two convolutions (notebook 01), positions, and a stack of attention layers over time. Its positions are
# as many as it was built for: 1,500 tokens, 30 s, and *only* that (600 tokens, 12 s for the mini one). Longer sound is cut
# into chunks (the last one filled up with silence), each encoded for itself, and put together again. In a batch, chunks of different clips do not concern one
# another either, so they can all go through in one call.

# %%
flow([("log-mel", "100 columns a second", "(C, 80, 2S)"),
      ("convolutions", "50 tokens a second", "(C, S, D_w)"),
      ("attention", "within each chunk, over time", "(C, S, D_w)"),
      ("join", "chunk after chunk", "(L, D_w)")], here="attention", title="What is heard")

# %%
card("encode_audio")

# %% tags=["exercise:encode_audio"]
def encode_audio(encoder, input_features):
    """Log-mel (B, C, mels, 2 * S) -> (B, C * S, D): the chunks of each clip one after another."""
    raise NotImplementedError  # your code

# %%
encode_audio = check("encode_audio", encode_audio)

# %% [markdown]
# Two clips one after another make 20.7 s of sound, two chunks of 12 s. **Predict:** change one second of it. Which seconds of
# *tokens* change, and by how much?

# %%
other = read_clip(samples["clip_00"].path, image_size=64)
mel = processor.mel(np.concatenate([other.waveform, clip.waveform]))[None]  # [1, C, 80, 1200]
with torch.no_grad():
    before = encode_audio(model.audio_encoder, mel)[0]  # [C * 600, 128]
    moved = []
    for second in range(24):
        changed = mel.clone()
        chunk, start = divmod(100 * second, 1200)
        changed[0, chunk, :, start : start + 100] = mel.min()  # this second falls silent
        after = encode_audio(model.audio_encoder, changed)[0]
        apart = (after - before).norm(dim=1) / before.norm(dim=1)
        moved.append(apart.unflatten(0, (24, 50)).mean(1))
moved = torch.stack(moved, dim=1)  # [24, 24]
print("tokens", tuple(before.shape), " moved beyond the chunk's border:", float(moved[:12, 12:].max()))
matrices({"change of the tokens, relative to their length": moved}, x="second that falls silent",
         y="second of the tokens", numbers=False)

# %% [markdown]
# Nothing crosses the border of a chunk, at 12: exactly zero. In a causal model only what lies below the diagonal would move, with
# convolutions alone only what lies right beside it. Here it is attention, and within a chunk any second *may* act on any other.
# Mostly it is the diagonal, and its neighbours somewhat; in the second chunk, distant seconds also show. How much of the
# neighbours is in there we will measure below. (Seconds that were silent anyway change little when they fall silent.)
#
# ## Queries that sum up a picture
#
# A ViT gives 257 vectors of a frame. At two frames a second no language model wants them all. InstructBLIP's **Q-Former**
# boils them down to V: it holds V learned *queries*, which look at one another, then at the patches (*cross-attention*; in
# InstructBLIP in every other layer), then pass a small feed-forward network, layer after layer. Notebook 04 builds one from
# scratch. Here we only *use* one, `encoder.qformer`, transformers' `InstructBlipQFormerModel`. It takes `input_ids` and
# `attention_mask` (both may be None), `query_embeds` and `encoder_hidden_states`:
#
# $$\mathrm{visual} = \mathrm{QFormer}(Q,\ \mathrm{patches}) \in \mathbb{R}^{V \times D_v}, \qquad
# Q \in \mathbb{R}^{V \times D_v}\ \text{the same for every frame}$$
#
# The "Instruct" in the name: the **question** may go in, too. Its tokens stand behind the queries in the self-attention, so
# that a query can learn from *what colour was the ring?* what to look for. Only the queries' places are taken out at the end.
# The mask of a frame whose question has 3 words, in a batch where the longest has 5, and V = 4:
#
# ```
#    queries   question
#    1 1 1 1   1 1 1 0 0
# ```

# %%
card("query_patches")

# %% tags=["exercise:query_patches"]
def query_patches(encoder, patches, question_ids=None, question_mask=None):
    """The Q-Former alone: patches (n, patches, D), perhaps a question (n, Q) -> visual tokens (n, V, D_v)."""
    raise NotImplementedError  # your code

# %%
query_patches = check("query_patches", query_patches)

# %% [markdown]
# The mini model was trained unasked (`question_conditioning=False`), so we watch a question at work in an encoder with random
# weights. What must hold is structure: another question gives other tokens, and more padding gives the same.

# %%
torch.manual_seed(1)
fresh = VisualEncoder(mini.vision_config, mini.visual_qformer_config, 8, conv_stem=True).eval()


def asked(*questions):
    rows = processor.tokenizer(list(questions), padding=True, padding_side="right", return_tensors="pt")
    one_frame = fresh.see(pixels[None, 9:10]).expand(len(questions), -1, -1)
    return query_patches(fresh, one_frame, rows.input_ids, rows.attention_mask)


with torch.no_grad():
    colour, place = asked("what colour was the ring?", "where was the ring?")
    padded = asked("where was the ring?", "what was heard while the blue cross was shown?")[0]
print("another question moves the tokens:", bool((colour - place).abs().max() > 1e-3))
print("padding moves nothing:", torch.allclose(place, padded, atol=1e-5))

# %% [markdown]
# There is a price. What depends on the question cannot be computed before the question is known. Without it a clip is encoded
# once and then asked about a hundred times; the mini model's whole training lives on that. (With InstructBLIP's own weights the
# question goes in, as they were trained with it: notebook 12.)
#
# ## Frozen
#
# Three things make an encoder frozen, and forgetting one of them is a classic:
#
# 1. `requires_grad_(False)` on its parameters: the optimiser gets no gradient to use.
# 2. `eval()`, even while the rest trains: no dropout, so that the same clip gives the same tokens every time.
# 3. `no_grad()` around the call: nothing trainable lies *below* it, so no activations need be kept for a backward pass.
#
# Six parts make up the model, in the order in which data flows: the two encoders; the `audio_projection`, a linear map that widens
# audio tokens; FAVOR's own `qformer`, the causal one, over windows of time (not InstructBLIP's, which sits inside the visual
# encoder); the `projection` into the language model's space; and the language model, in which LoRA adds a few weights of its own
# (notebook 08). **Predict** for each: are its parameters trainable? Does it get a gradient in a training step?

# %%
model.train()
batch = processor([clip], ["what was written?"], ["apple"])
model(**batch).loss.backward()
print(f"{'part':20}{'parameters':>12}{'trainable':>12}{'with a gradient':>17}   in training mode")
for name, part in model.named_children():
    weights = list(part.parameters())
    counts = (sum(w.numel() for w in chosen) for chosen in (
        weights, [w for w in weights if w.requires_grad], [w for w in weights if w.grad is not None]))
    print(f"{name:20}{next(counts):>12,}{next(counts):>12,}{next(counts):>17,}   {part.training}")
model.zero_grad()
model.eval();

# %% [markdown]
# The encoders are frozen, InstructBLIP's Q-Former among them; what stands between them and the language model, the **connector**,
# learns. Look at the language model: it is frozen as well, but for LoRA's share; yet the gradient must travel *through* all of it
# on its way down to the connector. It may therefore not stand under `no_grad`. The encoders may: below them there is nothing but
# pixels and sound.

# %% [markdown]
# ## What does a token know?
#
# An encoder's vectors are not for our eyes. But we can ask whether some fact, say the shape in the picture, can be **read
# off** them. The plainest reader is a linear one, a *probe*:
#
# $$\hat W = \arg\min_W \big\| [X\;\,1]\, W - Y \big\|^2, \qquad \text{found} = \arg\max_c\, ([x\;\,1]\, \hat W)_c$$
#
# $X$ holds a feature vector in each row, $Y$ the truth in one-hot rows. A linear reader is a modest one: it cannot compute
# much itself, so what it finds was nearly spelled out. And what comes behind these tokens in FAVOR begins with linear maps,
# too.
#
# The truth comes for free. We draw clips that no training saw, and we have their scripts. (The features are kept in a folder,
# so that the second run is quicker.)

# %%
from favor_mini.world.rows import encode_scenes, scene_of
from favor_mini.pretraining.vision import NAMES, visual_labels
from favor_mini.pretraining.audio import audio_labels
from favor_mini.world.pictures import moment_at
from favor_mini.world.scene import COLOURS, SPLITS, THINGS, WORDS

first = SPLITS["validation"].start + 500_000
seeds = range(first, first + 130)
encoded = encode_scenes(model, processor, seeds, cache="../build/notebook-features", batch=4, progress=False)
SOUNDS = ("nothing", *THINGS, *WORDS)


def sound_of(scene, time):
    """The number of the sound in the moment that is shown at a time."""
    moment = moment_at(scene, time)
    return SOUNDS.index(moment.heard.name) if moment and moment.heard else 0


visual, name, colour, sound, of_clip = [], [], [], [], []  # of each frame
for number, row in enumerate(encoded):
    scene = scene_of(row)
    truth = [visual_labels(scene, k / 2) for k in range(row["num_frames"])]
    visual.append(row["visual_features"].float())  # [T, V, D_v]
    name += [int(t["names"][0]) for t in truth]  # of the moment's first actor
    colour += [int(t["colours"][0]) for t in truth]
    sound += [sound_of(scene, k / 2) for k in range(row["num_frames"])]
    of_clip += [number] * row["num_frames"]
visual = torch.cat(visual)
name, colour, sound, of_clip = map(torch.tensor, (name, colour, sound, of_clip))
print("visual tokens", tuple(visual.shape), "of", len(encoded), "clips")

# %%
card("fit_probe")

# %% tags=["exercise:fit_probe"]
def fit_probe(features, labels, classes):
    """(n, D) and (n,) -> weights (D + 1, classes) of least squares; the last row is the bias."""
    raise NotImplementedError  # your code

# %%
fit_probe = check("fit_probe", fit_probe)


def probe(features, labels, classes, train):
    """Fit on the rows where `train` holds, read the others: what was found there, and the truth."""
    weights = fit_probe(features[train], labels[train], classes)
    found = (F.pad(features[~train], (0, 1), value=1.0) @ weights).argmax(1)
    return found.numpy(), labels[~train].numpy()


train = of_clip < 91  # whole clips
found, truth = probe(visual.mean(1), name, len(NAMES), train)
print(f"the picture's first actor, one of {len(NAMES)} names:",
      f"{(found == truth).mean():.1%} of {len(truth)} frames read correctly")

# %% [markdown]
# One linear map, fitted in a moment, and the first shape, thing or *written word* of nearly every picture is found. No wonder: to
# name this from the mean of the tokens is just what the mini encoder was trained for (`favor_mini.pretraining`). The test says that
# it does so on new clips, too. For an encoder that was trained otherwise, the same probe would be a discovery. (The columns of
# $X$ may depend on one another; leave that to `lstsq`, not to an inverse.)
#
# ### Two ways to fool yourself
#
# **Classes that are not equally frequent.** A visual token cannot hear. So what will a probe make of the *sound* of the
# moment? It will bet on what is frequent.

# %%
card("balanced_accuracy")

# %% tags=["exercise:balanced_accuracy"]
def balanced_accuracy(found, truth):
    """(n,) and (n,) -> the share found right within each class that occurs, averaged over these classes."""
    raise NotImplementedError  # your code

# %%
balanced_accuracy = check("balanced_accuracy", balanced_accuracy)
found, truth = probe(visual.mean(1), sound, len(SOUNDS), train)
print(f"the sound, read off the picture: accuracy {(found == truth).mean():.0%},",
      f"balanced {balanced_accuracy(found, truth):.0%}")
always = np.full_like(truth, np.bincount(truth).argmax())
print(f"always {SOUNDS[always[0]]!r}: accuracy {(always == truth).mean():.0%},",
      f"balanced {balanced_accuracy(always, truth):.0%}")

# %% [markdown]
# By plain accuracy, who always says *nothing* beats the probe. Balanced, that is worth one class of all; and the probe is hardly
# better. (A little may well be in the tokens: a thing that is hit sounds, and things on screen often do.)
#
# **Frames of one clip in both halves.** Neighbouring frames are nearly the same. If they are dealt out at random, the probe
# has seen the test's twins. Then it need not know the sound: it only has to know *the clip* again, by its background, and to
# remember what was heard in it. **Predict** what happens to the numbers, then run:

# %%
at_random = torch.rand(len(of_clip), generator=torch.Generator().manual_seed(0)) < 0.7
tokens = visual.mean(1)
for what, labels, classes in (("name of what is seen", name, len(NAMES)), ("the sound", sound, len(SOUNDS))):
    fair, unfair = (np.equal(*probe(tokens, labels, classes, kept)).mean() for kept in (train, at_random))
    print(f"{what:26} split by clips {fair:.0%}, split by frames {unfair:.0%}")

# %% [markdown]
# What was hardly there becomes a "finding" (plain accuracies here; it is the jump that counts). From here on whole clips are kept
# apart.
#
# ## Which token knows what?
#
# Eight visual tokens a frame. Perhaps one looks for colours and another for shapes, as the heads of a committee would? One
# probe for each token and each property, balanced, beside the audio tokens of the same step (their mean over A = 25):

# %%
from favor_mini.figures.encoders import table

A, V = mini.audio_tokens, mini.visual_tokens
heard = []
for row in encoded:  # the audio tokens of each frame's step
    tokens = row["audio_features"].float()
    tokens = F.pad(tokens, (0, 0, 0, max(0, row["num_frames"] * A - len(tokens))))[: row["num_frames"] * A]
    heard.append(tokens.unflatten(0, (-1, A)).mean(1))
heard = torch.cat(heard)  # [frames, D_w]
properties = {"name of what is seen": (name, len(NAMES)), "its colour": (colour, 1 + len(COLOURS)),
              "sound of the moment": (sound, len(SOUNDS))}
rows = {f"visual token {v + 1}": visual[:, v] for v in range(V)}
rows |= {"mean visual token": visual.mean(1), "audio tokens": heard}
known = [[balanced_accuracy(*probe(features, *labels, train)) for labels in properties.values()]
         for features in rows.values()]
table([*known, [1 / classes for _, classes in properties.values()]], [*rows, "(guessing)"], list(properties),
      title="Read off by a linear probe, balanced accuracy")

# %% [markdown]
# Seeing and hearing are apart: picture tokens hardly know the sound, sound tokens do not know the picture. *If the two are to
# meet, the rest of the model has to bring them together*, and that is all that FAVOR's own part is for. The sound of the
# moment is not always found: a moment lasts longer than its sound, and a step far from it knows little of it.
#
# And the eight rows of visual tokens are **the same**, column by column. Suspicious, even if scores near 100 % could agree by
# accident. Look at the tokens themselves:

# %%
examples = pixels[[2, 5, 9, 12, 15, 18]]  # six frames of the clip
eyes = model.visual_encoder


@torch.no_grad()
def query_layers(seen_patches):
    """The queries as they go into the Q-Former, and after each of its layers: (n, V, D_v) each."""
    return eyes.qformer(input_ids=None, query_embeds=eyes.query_tokens.expand(len(seen_patches), -1, -1),
                        encoder_hidden_states=seen_patches, output_hidden_states=True).hidden_states


def alike(tokens):
    """(n, V, D) -> (V, V): mean cosine of the tokens of a frame with one another."""
    unit = F.normalize(tokens, dim=-1)
    return (unit @ unit.transpose(1, 2)).mean(0)


with torch.no_grad():
    layers = query_layers(eyes.see(examples[None]))
titles = ("the queries as they go in", "after the first layer", "after the second: the tokens")
matrices({title: alike(tokens) for title, tokens in zip(titles, layers, strict=True)}, x="token", y="token",
         limits=(0, 1), label="cosine", numbers=False, ticks=range(1, V + 1))

# %%
for title, tokens in zip(titles, layers, strict=True):
    apart = ((tokens - tokens.mean(1, keepdim=True)).norm(dim=-1) / tokens.norm(dim=-1)).mean()
    print(f"{title:30} distance from their mean, relative to their length: {apart:.5f}")

# %% [markdown]
# The queries go in as eight different vectors. After one layer they are nearly one, after two they *are* one: the mini
# model's V = 8 visual tokens are eight copies of the same summary.
#
# Is that a fault? It is what the training asked for. This encoder learned to name a picture from the *mean* of its tokens,
# and a mean rewards no differences. Nothing is lost that we probed for: one vector of 128 numbers holds name and colour. But
# seven eighths of the visual tokens say nothing new, and with pictures full of detail that would hurt. How to make queries
# *differ* is the business of the diversity loss (notebook 07). And whether InstructBLIP's own 32 tokens are as alike is a
# question that this notebook can ask, but not answer: its weights do not come with the package.
#
# ## Where along the way does knowledge appear?
#
# The same probe at every stage: on raw pixels (averaged to 6 x 6, about as many numbers as a token has), on what comes out of
# the convolutions, after each layer, after each of the Q-Former's. Patches are averaged. Freshly drawn scenes, one picture of each of
# four moments:

# %%
from favor_mini.figures.encoders import by_stage
from favor_mini.pretraining.audio import AudioProbe
from favor_mini.pretraining.vision import VisualProbe
from favor_mini.pretraining.scenes import stack
from favor_mini.world.scene import draw_scene

scenes = [draw_scene(first + 1000 + i) for i in range(220)]
pictures = stack([VisualProbe.example(scene, processor) for scene in scenes])
about, painted = pictures["names"][:, :, 0].flatten(), pictures["colours"][:, :, 0].flatten()
learn = torch.arange(len(scenes)).repeat_interleave(4) < 165
frames = pictures["pixel_values"].flatten(0, 1)  # [n, 3, 64, 64]
with torch.no_grad():
    parts = [eyes.vision_model(part, output_hidden_states=True).hidden_states for part in frames.split(64)]
seen = [torch.cat(layer) for layer in zip(*parts, strict=True)]  # [n, 1 + patches, D] each
with torch.no_grad():
    last = eyes.vision_model.post_layernorm(seen[-1])  # as the Q-Former gets it
del parts
stages = {"pixels": F.interpolate(frames, (6, 6), mode="area").flatten(1)}
stages |= {f"ViT layer {i}" if i else "convolutions": h[:, 1:].mean(1) for i, h in enumerate(seen)}
stages |= {f"Q-Former layer {i}": h.mean(1) for i, h in enumerate(query_layers(last)) if i}
by_stage({what: {stage: balanced_accuracy(*probe(x, labels, classes, learn)) for stage, x in stages.items()}
          for what, labels, classes in (("name", about, len(NAMES)), ("colour", painted, 1 + len(COLOURS)))},
         title="What is in the picture", y="balanced accuracy", mark={"guessing a name": 1 / len(NAMES)})

# %% [markdown]
# Colour is there as soon as the convolutions have looked; the *name* of a thing, wherever it stands, takes the layers.
# Half-way through the Q-Former some colours can't be read off the queries, and then they can: in the mini model they look at the
# patches anew in each layer (InstructBLIP's in every other).
#
# And *where* is it known? Probe each of the 16 patches for itself, the map laid out as the picture is:

# %%
def patch_map(tokens):
    """(n, 1 + 16, D) -> (4, 4): how well the name is read off each patch."""
    read = [balanced_accuracy(*probe(tokens[:, 1 + i], about, len(NAMES), learn)) for i in range(16)]
    return np.array(read).reshape(4, 4)


matrices({"after the convolutions": patch_map(seen[0]), "after layer 1": patch_map(seen[1]),
          "after layer 4": patch_map(seen[4])}, x="column of patches", y="row of patches", limits=(0, 1),
         label="name read correctly")

# %% [markdown]
# (Over all pictures, wherever the thing stood.) From what lies on a patch and near it, the name can be read in a third of the
# pictures or so. One layer of attention later it is the majority, and after four *every* patch knows what the picture's first actor
# is, the corners too. "This patch is about the upper right" holds at the entrance only.
#
# Now the ears. For every 20 ms: what sounds here, of 8 things and 20 words, or nothing? The probe on log-mel gets the two
# columns that a token stands for.

# %%
sounds = stack([AudioProbe.example(scene, processor) for scene in scenes[:90]])
now = sounds["labels"].flatten()  # [clips * 600]
held_out = torch.arange(90).repeat_interleave(600) >= 66
hear = ~held_out & (torch.arange(len(now)) % 3 == 0)  # neighbours within 60 ms teach a probe little more


@torch.no_grad()
def audio_stages(log_mel):
    """Log-mel (n, 80, 1200) and what each stage makes of it, a row for each 20 ms: (n * 600, width) each."""
    rows = {"log-mel": [log_mel.transpose(1, 2).reshape(-1, 160)]}  # two columns of 10 ms
    for part in log_mel.split(6):
        for i, state in enumerate(model.audio_encoder(part, output_hidden_states=True).hidden_states):
            rows.setdefault(f"layer {i}" if i else "convolutions", []).append(state.flatten(0, 1).half())
    return {stage: torch.cat(parts) for stage, parts in rows.items()}


listeners, results = {}, {}
for stage, features in audio_stages(sounds["input_features"].flatten(0, 1)).items():
    listeners[stage] = fit_probe(features[hear].float(), now[hear], len(SOUNDS))
    results[stage] = (F.pad(features[held_out].float(), (0, 1), value=1.0) @ listeners[stage]).argmax(1)


def share_found(stage, low, high):
    chosen = (now[held_out] >= low) & (now[held_out] < high)
    return balanced_accuracy(results[stage][chosen].numpy(), now[held_out][chosen].numpy())


kinds = {"things": (1, 1 + len(THINGS)), "words": (1 + len(THINGS), len(SOUNDS)), "silence": (0, 1)}
by_stage({kind: {stage: share_found(stage, *bounds) for stage in results} for kind, bounds in kinds.items()},
         title="What is heard, each 20 ms", y="share found, by class")

# %% [markdown]
# A bell is known by its spectrum: 20 ms of log-mel tell more than half of the things, and the convolutions, which hear a little
# further, nearly all. A *word* is not: *seven* and *salt* begin alike, and what was said is only clear when it is over. Words
# appear late, once several layers have looked along the time axis. This is what attention is for, here. (Silence is by far the most
# frequent class, which is why it is hardly ever missed: the first way to fool oneself.)
#
# But it comes at a price: a token that has looked along time is no longer about *its* 20 ms alone.
#
# ## About which moment?
#
# FAVOR pairs sound and picture step by step. So we want to know how sharp an audio token is in time. Take tokens in
# *silence*, some time after an event has ended. Can a probe still read off them what it was? And before it begins?

# %%
audio = torch.cat([row["audio_features"].float() for row in encoded])
clip_of = torch.cat([torch.full((row["audio_tokens"],), number) for number, row in enumerate(encoded)])


def neighbours(row, ended):
    """Of each silent token the nearest event that has ended (or is to come), and how far off; else -1."""
    scene, place = scene_of(row), torch.arange(row["audio_tokens"])
    event, apart = torch.full_like(place, -1), torch.full_like(place, -1)
    heard = [m.heard for m in scene.moments if m.heard]
    for one in heard if ended else heard[::-1]:  # nearer ones overwrite those farther off
        edge = round(50 * (one.start + one.seconds * ended))
        there = place >= edge if ended else place < edge
        event[there], apart[there] = SOUNDS.index(one.name), (place - edge).abs()[there]
    event[audio_labels(scene, len(place)) > 0] = -1
    return event, apart


around = {ended: [torch.cat(part) for part in zip(*(neighbours(row, ended) for row in encoded), strict=True)]
          for ended in (True, False)}


def remembered(ended, seconds):
    """How often a probe finds that event, over silent tokens so many seconds off it (0.1 s wide)."""
    event, apart = around[ended]
    chosen = (event >= 0) & ((apart - 50 * seconds).abs() <= 2.5)
    return np.equal(*probe(audio[chosen], event[chosen], len(SOUNDS), clip_of[chosen] < 91)).mean()


off = [0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5]
curves({"the event that has ended": (off, [remembered(True, s) for s in off]),
        "the event that is to come": (off, [remembered(False, s) for s in off])},
       x="seconds of silence between token and event", y="event found by a probe", percent=True,
       mark={"guessing": 1 / (len(SOUNDS) - 1)})

# %% [markdown]
# A silent token right beside an event nearly always tells which it is. Half a second on, one *time step*, the majority can still be
# read; after 1.2 s one in five, which is well above guessing. Events to come show up as well: this encoder is not causal.
#
# So the grid of 0.5 s is cut sharply, but what lies in its cells knows its neighbours. *When* something sounds can still be
# told, as the probe above does, which hardly ever takes silence for a sound. But whoever asks a step only *which* sound is near
# may be answered from next door. That fits notebook 01: a sound moved by half a second cost the model few answers, one
# moved by a second many. (For the real Whisper this is not measured here. Its attention spans 30 s; what it makes of that,
# only its weights can tell.)
#
# ## The component on real clips
#
# The probes were fitted on scenes drawn in memory. Now they read the mp4 files as the encoders see them, through H.264 and AAC. Below the frames stands what the visual token says; the lower part shows, for each
# 20 ms, how strongly the audio probe votes for which sound. Choose a clip, and look for mistakes. Then choose an earlier
# layer.

# %%
from favor_mini.figures.encoders import probe_timeline
from favor_mini.evaluation.answering import encode_clips

reader = fit_probe(visual.mean(1), name, len(NAMES))


def draw_reading(clip_name, hear_with):
    shown = read_clip(samples[clip_name].path, image_size=64)
    tokens = encode_clips(model, processor, {clip_name: shown})[clip_name]["visual_features"].float().mean(1)
    read = [NAMES[i] for i in (F.pad(tokens, (0, 1), value=1.0) @ reader).argmax(1)]
    features = audio_stages(processor.mel(shown.waveform))[hear_with].float()
    votes = (F.pad(features, (0, 1), value=1.0) @ listeners[hear_with]).numpy()[: round(50 * shown.duration)]
    return probe_timeline(shown, samples[clip_name].scene, read, votes, list(SOUNDS))


explore(draw_reading, clip_name=["clip_01", "clip_03", "clip_04", "clip_06", "clip_11"],
        hear_with=list(listeners)[::-1])

# %% [markdown]
# ## Plugged into the model
#
# Everything behind the encoders sees these tokens and nothing else. So let us lie to it: the picture tokens of one clip, the
# audio tokens of another. What will it answer?

# %%
pair = encode_clips(model, processor, {"clip_00": other, "clip_01": clip})
mixed = {"visual_features": pair["clip_00"]["visual_features"], "num_frames": pair["clip_00"]["num_frames"],
         "audio_features": pair["clip_01"]["audio_features"], "audio_tokens": pair["clip_01"]["audio_tokens"]}
questions = ["what was written?", "what was said?", "what was heard while the white square was shown?"]
for title, features in {**pair, "seen 00, heard 01": mixed}.items():
    answers = processor.decode(model.generate(**processor([features] * len(questions), questions)))
    print(f"{title:18}", dict(zip(("written", "said", "heard with the white square"), answers, strict=True)))
for script in pair:
    print(textwrap.fill(f"{script}: {samples[script].transcript}", 100, subsequent_indent="    "))

# %% [markdown]
# The mixed clip is nobody's clip, and the model takes it as it comes: written is what clip 00 shows, said is what clip 01
# lets hear, and with the white square it hears what clip 01 sounds like *at that time*. (Asked about things that a clip does
# not hold, as what was said in clip 00, it makes something up.) This is also why features can be kept: encode once, ask as often
# as you like.

# %% [markdown]
# ## What to play with
#
# - Probe for the *second* actor of a picture (`pictures["names"][:, :, 1]`, where it is not 0) along the stages. Where is it
#   lost?
# - Fit the probe on things only and read words, or on one half of the colours. Does a probe know what it was not shown?
# - Put in an encoder with random weights (`model.audio_encoder = WhisperEncoder(mini.audio_config).eval()`) and probe *them*:
#   how much does a random network give away? (Load `model` anew afterwards.)
#
# ## Recap
#
# - The ViT cuts a picture into patches, a convolution whose stride is its kernel; V queries sum the patches up.
# - Whisper hears fixed chunks; they are folded into the batch, and nothing crosses their borders.
# - Frozen means: no gradient to its weights, `eval()` always, and no graph kept, as nothing below it learns.
# - Linear probes say what can be read off a token. Balance the classes; keep whole clips apart.
# - Picture tokens know the picture, sound tokens the sound. The mini model's eight visual tokens are copies of one; its audio
#   tokens know their neighbours, most of them at half a second, some at a whole one.

# %% [markdown]
# ## Quiz
#
# **1.** A picture of 224 x 224 pixels, patches of 14 x 14. How many vectors enter the ViT's attention?
#
# - a) 16
# - b) 256
# - c) 257
#
# <details><summary>Answer</summary>
#
# **c.** 16 x 16 patches and one extra vector. *a:* that is one row of patches. *b:* the extra one is missing.
#
# </details>
#
# **2.** A batch holds 3 clips of 70 s each. Whisper hears 30 s at a time. How many chunks go through the encoder?
#
# - a) 9
# - b) 7
# - c) 3
#
# <details><summary>Answer</summary>
#
# **a.** Three chunks a clip, the last of them mostly silence, and all nine in one call. *b:* 210 s would fill seven chunks,
# but a chunk never holds two clips. *c:* then 40 s of each clip would be lost.
#
# </details>
#
# **3.** Encoders and language model are both frozen. Why may only the encoders run under `no_grad`?
#
# - a) They are smaller
# - b) The gradient has to pass through the language model to reach the connector below it
# - c) The language model has no dropout
#
# <details><summary>Answer</summary>
#
# **b.** The connector learns, and it lies below the language model and above the encoders. *a:* size has nothing to do with it. *c:* dropout
# is about `eval()`, not about gradients.
#
# </details>
#
# **4.** A probe reads the sound off picture tokens with 40 % accuracy when frames are split at random, with 14 % when clips
# are. What does the difference show?
#
# - a) Random splits use the data better
# - b) The tokens know the sound, but only a little
# - c) The probe knew the clips again; the difference is memory, not hearing
#
# <details><summary>Answer</summary>
#
# **c.** Twins of the test frames were in its training. *a:* they make the test too easy. *b:* perhaps, but that would be the 14 %,
# against what guessing and frequent classes give; the difference is not about sound.
#
# </details>
#
# **5.** All visual tokens of a frame turn out to be copies of one. What may one conclude?
#
# - a) For all that was probed here, one token would have done
# - b) Q-Formers always do that
# - c) The probe is broken
#
# <details><summary>Answer</summary>
#
# **a.** The mean, and each alone, tell name and colour. *b:* one encoder is no law; another training may keep its queries apart. *c:* the
# tokens' distances say the same, without any probe.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/encoders.py` (`encode_audio`, `VisualEncoder`, `ConvStem`), `favor_mini/pretraining/vision.py` (how the mini encoders
# learned), `favor_mini/data/features.py` (features kept on disk), `favor_mini/model.py` (`encode`, `freeze`, `train`); tests in
# `tests/test_model.py` and `tests/test_features.py`.
#
# **In the paper:** section 3.1. **Further reading:** the vision transformer ([arXiv
# 2010.11929](https://arxiv.org/abs/2010.11929)), InstructBLIP ([arXiv 2305.06500](https://arxiv.org/abs/2305.06500)), Whisper
# ([arXiv 2212.04356](https://arxiv.org/abs/2212.04356)); on probes and their traps, Alain and Bengio ([arXiv
# 1610.01644](https://arxiv.org/abs/1610.01644)).
#
# **Next:** [03 Frame synchronisation](03_frame_synchronisation.ipynb).
