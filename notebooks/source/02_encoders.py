# %% [markdown]
# # 02 The frozen encoders
#
# **You will** split frames into patches, encode sound of any length with Whisper's encoder, use
# queries (and a question) to summarise an image, and then test the tokens with probes: *what does a
# visual token encode, what does an audio token encode, and about which time?* One result is a
# surprise.
#
# **You need** notebook 01, PyTorch, and a first idea of attention (softmax, queries, keys).
# **Paper:** section 3.1, the encoders.
#
# **Costs:** 35 minutes of reading, 58 minutes of exercises; 20 s of computing, 1.3 GB of memory.

# %%
import textwrap

import numpy as np
import torch
import torch.nn.functional as F

from favor_mini import (
    FavorForConditionalGeneration,
    FavorProcessor,
    checkpoint_path,
    read_clip,
)
from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow, matrices
from favor_mini.world.samples import read_samples

# %% [markdown]
# ## Where we are
#
# Notebook 01 ended with pixels and log-mel columns. Two pretrained encoders read them: **Whisper's
# encoder** the audio, **InstructBLIP's ViT and Q-Former** the video. FAVOR does not train them:
# they are *frozen*. Information that an encoder drops is lost for all later parts.

# %%
flow([("frames", "two per second", "(T, 3, H, W)"),
      ("patches", "split each frame into squares", "(T, patches, 3pp)"),
      ("ViT", "patches attend to one another", "(T, 1 + patches, D)"),
      ("Q-Former", "V queries summarise each frame", "(T, V, width)")],
     here="patches", title="The visual encoder")

# %% [markdown]
# The mini model's parts are instances of the same `transformers` classes as the real ones, in other
# sizes. The full-size parts are built here on PyTorch's `meta` device, as shapes without memory.

# %%
from favor_mini import FavorConfig
from favor_mini.encoders import VisualEncoder
from transformers.models.whisper.modeling_whisper import WhisperEncoder

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
paper, mini = FavorConfig.paper(), model.config
with torch.device("meta"):
    large_audio = WhisperEncoder(paper.audio_config)
    large_visual = VisualEncoder(
        paper.vision_config, paper.visual_qformer_config, paper.visual_tokens
    )


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def sizes(config):
    vision, audio, side = (
        config.vision_config,
        config.audio_config,
        config.vision_config.image_size,
    )
    grid = side // vision.patch_size
    return {
        "image": f"{side} x {side}",
        "patches and class token": f"{grid} x {grid} + 1",
        "ViT": f"{vision.num_hidden_layers} layers of {vision.hidden_size}",
          "visual tokens per frame":
              f"V = {config.visual_tokens} of {config.visual_width}",
        "chunk of Whisper": f"{audio.max_source_positions // 50} s, "
        f"{audio.max_source_positions} tokens",
        "Whisper's encoder": f"{audio.encoder_layers} layers of {audio.d_model}",
    }


for name, small in sizes(mini).items():
    print(f"{name:24}{small:22}{sizes(paper)[name]}")
bars(
    {
        "ViT and Q-Former, mini": millions(model.visual_encoder),
        "ViT and Q-Former, paper": millions(large_visual),
        "Whisper's encoder, mini": millions(model.audio_encoder),
        "Whisper's encoder, paper": millions(large_audio),
    },
    x="million parameters",
    log=True,
    form="{:,.1f}",
    title="The same parts in two sizes",
)

# %% [markdown]
# ## The ViT: an image as a sequence of patches
#
# A transformer needs a sequence of vectors. So the ViT splits the image into squares of
# $p \times p$ pixels and turns each into a vector with one linear map, of weight $E$ and bias $e$:
#
# $$z_i = E\,\mathrm{patch}_i + e + \mathrm{pos}_i, \qquad i = 1 \dots \tfrac{H}{p}\cdot\tfrac{W}{p}$$
#
# $\mathrm{pos}_i$ is learned. It is the only information about the position of a patch. In front
# comes one extra vector, which comes from no pixel: the class token.
#
# By hand: an image of 4 x 4 pixels numbered 0 to 15, and $p = 2$. The first patch is 0 1 4 5, the
# second 2 3 6 7. It is *not* 0 1 2 3: that is a row, not a square.

# %%
from favor_mini.figures.encoders import patches

samples = {sample.name: sample for sample in read_samples()}
clip = read_clip(samples["clip_01"].path, image_size=64)
patches(clip.frames[2], 16)

# %%
card("cut_patches")

# %% tags=["exercise:cut_patches"]
def cut_patches(frames, size):
    """(T, 3, H, W) -> (T, patches, 3 * size * size), row by row."""
    raise NotImplementedError  # your code

# %%
cut_patches = check("cut_patches", cut_patches)
print(cut_patches(torch.arange(16.0).view(1, 1, 4, 4), 2)[0])

# %% [markdown]
# The code of a ViT has a convolution instead, whose kernel size equals its stride:
# `Conv2d(3, D, p, stride=p)`. Each of its positions *is* one patch, and its kernel is the map $E$:

# %%
torch.manual_seed(0)
embedding = torch.nn.Conv2d(3, 32, kernel_size=16, stride=16)
pixels = processor.pixels(clip.frames)  # [T, 3, 64, 64]
with torch.no_grad():
    by_convolution = embedding(pixels).flatten(2).transpose(1, 2)  # [T, patches, 32]
    by_hand = cut_patches(pixels, 16) @ embedding.weight.flatten(1).T + embedding.bias
print(
    "patches",
    tuple(by_hand.shape),
    " equal:",
    torch.allclose(by_convolution, by_hand, atol=1e-4),
)

# %% [markdown]
# The mini model differs here. A small ViT that is trained from scratch on a CPU learns very slowly
# from plain patches. So it has four small convolutions with stride 2 instead (`ConvStem`), with the
# same number of output vectors. Then every patch attends to every other, as in the full-size model.
#
# How small should a patch be? Change the patch size. Attention computes all pairs: how does their
# number change? And from which size on does no patch show a whole star? (Frame 2 has one.)

# %%
import ipywidgets

from favor_mini.course.widgets import explore


def draw_patches(patch_size, frame):
    p = int(patch_size)
    count = (64 // p) ** 2
    text = f"{count} patches, {count * count:,} pairs; {3 * p * p} numbers per patch"
    return [patches(clip.frames[frame], p), text]


slider = ipywidgets.IntSlider(
    value=2, max=len(clip.frames) - 1, description="frame", continuous_update=False
)
explore(draw_patches, patch_size=["32", "16", "8", "4"], frame=slider)

# %% [markdown]
# ## Whisper: chunk by chunk
#
# Whisper's encoder has two convolutions (notebook 01), position embeddings, and a stack of
# attention layers over time. The number of positions is fixed: 1,500 tokens, 30 s (600 tokens, 12 s
# in the mini model). Longer sound is split into chunks (the last one is padded with silence). Each
# chunk is encoded separately, and the results are concatenated. So all chunks of a batch can be
# encoded in one call.

# %%
flow(
    [
        ("log-mel", "100 columns per second", "(C, 80, 2S)"),
        ("convolutions", "50 tokens per second", "(C, S, D_w)"),
        ("attention", "within each chunk, over time", "(C, S, D_w)"),
        ("join", "chunk after chunk", "(L, D_w)"),
    ],
    here="attention",
    title="The audio encoder",
)

# %%
card("encode_audio")

# %% tags=["exercise:encode_audio"]
def encode_audio(encoder, input_features):
    """Log-mel (B, C, mels, 2 * S) -> (B, C * S, D), the chunks of a clip in order."""
    raise NotImplementedError  # your code

# %%
encode_audio = check("encode_audio", encode_audio)

# %% [markdown]
# Two clips in sequence give 20.7 s of sound, two chunks of 12 s. **Predict:** if one second of the
# sound changes, which seconds of *tokens* change, and by how much?

# %%
other = read_clip(samples["clip_00"].path, image_size=64)
# [1, C, 80, 1200]
mel = processor.mel(np.concatenate([other.waveform, clip.waveform]))[None]
with torch.no_grad():
    before = encode_audio(model.audio_encoder, mel)[0]  # [C * 600, 128]
    changes = []
    for second in range(24):
        changed = mel.clone()
        chunk, start = divmod(100 * second, 1200)
        # this second becomes silent
        changed[0, chunk, :, start : start + 100] = mel.min()
        after = encode_audio(model.audio_encoder, changed)[0]
        change = (after - before).norm(dim=1) / before.norm(dim=1)
        changes.append(change.unflatten(0, (24, 50)).mean(1))
changes = torch.stack(changes, dim=1)  # [24, 24]
print(
    "tokens",
    tuple(before.shape),
    " change beyond the border of the chunk:",
    float(changes[:12, 12:].max()),
)
matrices({"relative change of the tokens": changes}, x="second that becomes silent",
         y="second of the tokens", numbers=False)

# %% [markdown]
# Nothing crosses the border of the chunk at 12: the change is exactly zero. In a causal model only
# values on and below the diagonal would be non-zero; with convolutions alone, only values next to
# it. With attention, any second *may* affect any other second in the same chunk. Mostly it is the
# diagonal and its neighbours. In the second chunk, distant seconds are also visible. (Seconds that
# were already silent change little.)
#
# ## Queries that summarise an image
#
# The ViT gives 257 vectors per frame, too many for a language model at two frames per second.
# InstructBLIP's **Q-Former** reduces them to V: it has V learned *queries*. In each layer they
# attend to one another, then to the patches (*cross-attention*; in InstructBLIP in every second
# layer), and then pass a small feed-forward network. Notebook 04 builds a Q-Former. Here we *use*
# one, `encoder.qformer`, of transformers. Its arguments are `input_ids` and `attention_mask` (both
# may be None), `query_embeds` and `encoder_hidden_states`:
#
# $$\mathrm{visual} = \mathrm{QFormer}(Q,\ \mathrm{patches}) \in \mathbb{R}^{V \times D_v}, \qquad
# Q \in \mathbb{R}^{V \times D_v}\ \text{the same for every frame}$$
#
# The "Instruct" in the name means that the **question** can be an input, too. In the self-attention
# its tokens follow the queries, so that a query can use *what colour was the ring?* to find the
# right patches. Only the queries' outputs are used. The mask for a question of 3 words in a batch
# whose longest question has 5, with V = 4:
#
# ```
#    queries   question
#    1 1 1 1   1 1 1 0 0
# ```

# %%
card("query_patches")

# %% tags=["exercise:query_patches"]
def query_patches(encoder, patches, question_ids=None, question_mask=None):
    """The Q-Former: patches (n, patches, D), optional question (n, Q) -> (n, V,
    D_v).
    """
    raise NotImplementedError  # your code

# %%
query_patches = check("query_patches", query_patches)

# %% [markdown]
# The mini model was trained without questions (`question_conditioning=False`). So we test a
# question in an encoder with random weights. Two properties must hold: a different question gives
# different tokens, and more padding gives the same tokens.

# %%
torch.manual_seed(1)
fresh = VisualEncoder(
    mini.vision_config, mini.visual_qformer_config, 8, conv_stem=True
).eval()


def tokens_for(*questions):
    rows = processor.tokenizer(
        list(questions), padding=True, padding_side="right", return_tensors="pt"
    )
    one_frame = fresh.encode_patches(pixels[None, 9:10]).expand(len(questions), -1, -1)
    return query_patches(fresh, one_frame, rows.input_ids, rows.attention_mask)


with torch.no_grad():
    colour, place = tokens_for("what colour was the ring?", "where was the ring?")
    padded = tokens_for(
        "where was the ring?", "what was heard while the blue cross was shown?"
    )[0]
print("another question changes the tokens:", bool((colour - place).abs().max() > 1e-3))
print("padding changes nothing:", torch.allclose(place, padded, atol=1e-5))

# %% [markdown]
# This has a cost. Without the question a clip is encoded once, for any number of questions, as in
# the training of the mini model. With the question, the frames must be encoded again for each.
# (InstructBLIP's own weights were trained with the question, so they need it: notebook 12.)
#
# ## Frozen
#
# A frozen encoder needs three things:
#
# 1. `requires_grad_(False)` on its parameters: the optimizer gets no gradient.
# 2. `eval()`, also during the training of the rest: without dropout, the same clip gives the same
#    tokens every time.
# 3. `no_grad()` around the call: there is nothing trainable *before* it, so no activations are
#    stored for a backward pass.
#
# The model has six parts, in the order of the data: the two encoders; the `audio_projection`, a
# linear map for audio tokens; FAVOR's causal `qformer` over windows (not InstructBLIP's Q-Former,
# which is inside the visual encoder); the `projection` into the language model's embedding space;
# and the language model with LoRA (notebook 08). **Predict** for each part: are its parameters
# trainable? Do they get a gradient in a training step?

# %%
model.train()
batch = processor([clip], ["what was written?"], ["apple"])
model(**batch).loss.backward()
print(
    f"{'part':20}{'parameters':>12}{'trainable':>12}{'with a gradient':>17}   in "
    f"training mode"
)
for name, part in model.named_children():
    weights = list(part.parameters())
    counts = (
        sum(w.numel() for w in chosen)
        for chosen in (
            weights,
            [w for w in weights if w.requires_grad],
            [w for w in weights if w.grad is not None],
        )
    )
    print(
        f"{name:20}{next(counts):>12,}{next(counts):>12,}{next(counts):>17,}   "
        f"{part.training}"
    )
model.zero_grad()
model.eval();

# %% [markdown]
# The encoders are frozen, including InstructBLIP's Q-Former. The parts between them and the
# language model, the **connector**, are trained. The language model is also frozen, except for
# LoRA. But the gradient must pass *through* it to reach the connector. So it cannot run under
# `no_grad`. The encoders can: before them there is nothing to train.

# %% [markdown]
# ## What does a token encode?
#
# We can test whether some property, for instance the shape in the image, can be **predicted** from
# an encoder's vectors. The simplest predictor is linear, a *probe*:
#
# $$\hat W = \arg\min_W \big\| [X\;\,1]\, W - Y \big\|^2, \qquad \text{prediction} = \arg\max_c\, ([x\;\,1]\, \hat W)_c$$
#
# $X$ has a feature vector in each row, $Y$ the labels as one-hot rows. A linear probe can
# compute little itself, so a property that it finds is encoded almost directly. The next parts of
# FAVOR also begin with linear maps.
#
# The labels come from the scripts of new clips, which are in no training set.

# %%
from favor_mini.places import work_path
from favor_mini.world.rows import encode_scenes, scene_of
from favor_mini.pretraining.vision import NAMES, visual_labels
from favor_mini.pretraining.audio import audio_labels
from favor_mini.world.pictures import moment_at
from favor_mini.world.scene import COLOURS, SPLITS, THINGS, WORDS

first = SPLITS["validation"].start + 500_000
seeds = range(first, first + 130)
encoded = encode_scenes(
    model,
    processor,
    seeds,
    cache=work_path("notebook-features"),
    batch=4,
    progress=False,
)
SOUNDS = ("nothing", *THINGS, *WORDS)


def sound_of(scene, time):
    """The class of the sound of the moment at a time."""
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
    """(n, D) and (n,) -> least-squares weights (D + 1, classes); the last row is the
    bias.
    """
    raise NotImplementedError  # your code

# %%
fit_probe = check("fit_probe", fit_probe)


def probe(features, labels, classes, train):
    """Fit on the rows where `train` is True; predictions and labels of the other
    rows.
    """
    weights = fit_probe(features[train], labels[train], classes)
    predicted = (F.pad(features[~train], (0, 1), value=1.0) @ weights).argmax(1)
    return predicted.numpy(), labels[~train].numpy()


train = of_clip < 91  # whole clips
predicted, labels = probe(visual.mean(1), name, len(NAMES), train)
print(f"first object of the frame, one of {len(NAMES)} names:",
      f"accuracy {(predicted == labels).mean():.1%} on {len(labels)} frames")

# %% [markdown]
# One linear map finds the first shape, object or *written word* of nearly every frame. This is
# expected: the mini encoder was trained to name it from the mean of the tokens
# (`favor_mini.pretraining`). The test shows that this also holds for new clips.
#
# ### Two common mistakes with probes
#
# **Unbalanced classes.** A visual token contains no audio. So what does a probe for the *sound* of
# the moment predict? It predicts the frequent classes.

# %%
card("balanced_accuracy")

# %% tags=["exercise:balanced_accuracy"]
def balanced_accuracy(found, truth):
    """(n,) and (n,) -> the accuracy within each class that occurs, averaged over
    classes.
    """
    raise NotImplementedError  # your code

# %%
balanced_accuracy = check("balanced_accuracy", balanced_accuracy)
predicted, labels = probe(visual.mean(1), sound, len(SOUNDS), train)
print(f"the sound, from visual tokens: accuracy {(predicted == labels).mean():.0%},",
      f"balanced {balanced_accuracy(predicted, labels):.0%}")
always = np.full_like(labels, np.bincount(labels).argmax())
print(f"always {SOUNDS[always[0]]!r}: accuracy {(always == labels).mean():.0%},",
      f"balanced {balanced_accuracy(always, labels):.0%}")

# %% [markdown]
# By plain accuracy, the constant answer *nothing* is better than the probe. Its balanced accuracy
# is one divided by the number of classes that occur, and the probe is hardly better. (The tokens
# may contain a little information: an object that is hit makes a sound, and objects on screen often
# do.)
#
# **Frames of one clip in both sets.** If frames are split at random, the training set contains near
# copies of the test frames. Then the probe can recognise *the clip* by its background, and remember
# its sounds. **Predict** the change of the numbers, then run:

# %%
at_random = torch.rand(len(of_clip), generator=torch.Generator().manual_seed(0)) < 0.7
tokens = visual.mean(1)
for what, labels, classes in (("name of the object", name, len(NAMES)),
                              ("the sound", sound, len(SOUNDS))):
    fair, unfair = (
        np.equal(*probe(tokens, labels, classes, kept)).mean()
        for kept in (train, at_random)
    )
    print(f"{what:26} split by clips {fair:.0%}, split by frames {unfair:.0%}")

# %% [markdown]
# A weak signal becomes a "finding" (in plain accuracy). From here on, all splits are by clip.
#
# ## Which token encodes what?
#
# There are eight visual tokens per frame. Perhaps one encodes colours and another shapes? Here is
# one probe for each token and each property (balanced accuracy), and one for the audio tokens of
# the same time step (their mean over A = 25):

# %%
from favor_mini.figures.encoders import table

A, V = mini.audio_tokens, mini.visual_tokens
audio_means = []
for row in encoded:  # the audio tokens of the time step of each frame
    tokens = row["audio_features"].float()
    tokens = F.pad(tokens, (0, 0, 0, max(0, row["num_frames"] * A - len(tokens))))[
        : row["num_frames"] * A
    ]
    audio_means.append(tokens.unflatten(0, (-1, A)).mean(1))
audio_means = torch.cat(audio_means)  # [frames, D_w]
properties = {
    "name of the object": (name, len(NAMES)),
    "its colour": (colour, 1 + len(COLOURS)),
    "sound of the moment": (sound, len(SOUNDS)),
}
rows = {f"visual token {v + 1}": visual[:, v] for v in range(V)}
rows |= {"mean visual token": visual.mean(1), "audio tokens": audio_means}
known = [
    [
        balanced_accuracy(*probe(features, *labels, train))
        for labels in properties.values()
    ]
    for features in rows.values()
]
table(
    [*known, [1 / classes for _, classes in properties.values()]],
    [*rows, "(chance level)"],
    list(properties),
    title="Linear probes, balanced accuracy",
)

# %% [markdown]
# The two streams are separate: visual tokens hardly encode the sound, audio tokens do not encode
# the image. *To combine them* is the purpose of FAVOR's own part. The sound of the moment is not
# always found: a moment is longer than its sound, and a time step far from the sound encodes little
# about it.
#
# The eight rows of visual tokens are **equal** in every column. Accuracies near 100 % could agree
# by accident. So look at the tokens themselves:

# %%
examples = pixels[[2, 5, 9, 12, 15, 18]]  # six frames of the clip
visual_encoder = model.visual_encoder


@torch.no_grad()
def query_layers(patch_states):
    """The input queries and the output of each Q-Former layer: (n, V, D_v) each."""
    queries = visual_encoder.query_tokens.expand(len(patch_states), -1, -1)
    return visual_encoder.qformer(
        input_ids=None, query_embeds=queries, encoder_hidden_states=patch_states,
        output_hidden_states=True).hidden_states


def similarity(tokens):
    """(n, V, D) -> (V, V): mean cosine similarity of the tokens of a frame."""
    unit = F.normalize(tokens, dim=-1)
    return (unit @ unit.transpose(1, 2)).mean(0)


with torch.no_grad():
    layers = query_layers(visual_encoder.encode_patches(examples[None]))
titles = ("input queries", "after the first layer", "after the second: the tokens")
matrices(
    {title: similarity(tokens) for title, tokens in zip(titles, layers, strict=True)},
    x="token",
    y="token",
    limits=(0, 1),
    label="cosine",
    numbers=False,
    ticks=range(1, V + 1),
)

# %%
for title, tokens in zip(titles, layers, strict=True):
    distance = (tokens - tokens.mean(1, keepdim=True)).norm(dim=-1) / tokens.norm(
        dim=-1
    )
    print(f"{title:30} relative distance to their mean: {distance.mean():.5f}")

# %% [markdown]
# The input queries are eight different vectors. After one layer they are nearly equal, after two
# layers they *are* equal: the V = 8 visual tokens of the mini model are eight copies of the same
# vector.
#
# Is this a mistake? The likely reason is the training target: this encoder was trained to name an
# image from the *mean* of its tokens, and a mean does not reward differences. For the probed
# properties nothing is lost. But seven eighths of the visual tokens are redundant, and for images
# with more detail that would be a loss. The diversity loss is meant to keep queries apart (notebook
# 07). Whether InstructBLIP's own 32 tokens are also alike cannot be tested here: its weights are
# not part of the package.
#
# ## At which layer does the information appear?
#
# The same probe for every stage: on raw pixels (averaged to 6 x 6, about as many numbers as a
# token), after the convolutions, after each layer of the ViT, and after each layer of the Q-Former.
# Patches are averaged. The scenes are new, with one image of each of four moments:

# %%
from favor_mini.figures.encoders import by_stage
from favor_mini.pretraining.audio import AudioProbe
from favor_mini.pretraining.vision import VisualProbe
from favor_mini.pretraining.scenes import stack
from favor_mini.world.scene import draw_scene

scenes = [draw_scene(first + 1000 + i) for i in range(220)]
pictures = stack([VisualProbe.example(scene, processor) for scene in scenes])
names, painted = (
    pictures["names"][:, :, 0].flatten(),
    pictures["colours"][:, :, 0].flatten(),
)
train = torch.arange(len(scenes)).repeat_interleave(4) < 165
frames = pictures["pixel_values"].flatten(0, 1)  # [n, 3, 64, 64]
with torch.no_grad():
    parts = [
        visual_encoder.vision_model(part, output_hidden_states=True).hidden_states
        for part in frames.split(64)
    ]
states = [torch.cat(layer) for layer in zip(*parts, strict=True)]  # [n, 1 + patches, D]
with torch.no_grad():
    # input of the Q-Former
    last = visual_encoder.vision_model.post_layernorm(states[-1])
del parts
stages = {"pixels": F.interpolate(frames, (6, 6), mode="area").flatten(1)}
stages |= {
    f"ViT layer {i}" if i else "convolutions": h[:, 1:].mean(1)
    for i, h in enumerate(states)
}
stages |= {
    f"Q-Former layer {i}": h.mean(1) for i, h in enumerate(query_layers(last)) if i
}
by_stage(
    {
        what: {
            stage: balanced_accuracy(*probe(x, labels, classes, train))
            for stage, x in stages.items()
        }
        for what, labels, classes in (
            ("name", names, len(NAMES)),
            ("colour", painted, 1 + len(COLOURS)),
        )
    },
    title="Probes of visual features",
    y="balanced accuracy",
    mark={"chance level of names": 1 / len(NAMES)},
)

# %% [markdown]
# Colour can be predicted directly after the convolutions. The *name* of an object at any position
# needs the layers. After the first Q-Former layer some colours cannot be predicted from the
# queries, after the second they can: in the mini model the queries attend to the patches again in
# each layer.
#
# *Where* is it encoded? Here is one probe for each of the 16 patches, in the layout of the image:

# %%
def patch_map(tokens):
    """(n, 1 + 16, D) -> (4, 4): accuracy of the name from each patch."""
    read = [
        balanced_accuracy(*probe(tokens[:, 1 + i], names, len(NAMES), train))
        for i in range(16)
    ]
    return np.array(read).reshape(4, 4)


matrices(
    {
        "after the convolutions": patch_map(states[0]),
        "after layer 1": patch_map(states[1]),
        "after layer 4": patch_map(states[4]),
    },
    x="column of patches",
    y="row of patches",
    limits=(0, 1),
    label="balanced accuracy of the name",
)

# %% [markdown]
# (Over all images, with the object at any position.) From a patch and its neighbourhood, the name
# can be predicted for about a third of the images. After one attention layer it is the majority,
# and after four layers *every* patch encodes the first object of the image, also in the corners. A
# patch describes its own position only at the input.
#
# Now the audio encoder. The label of every 20 ms is one of 8 objects, one of 20 words, or nothing.
# The probe on the log-mel spectrogram gets the two columns of a token.

# %%
sounds = stack([AudioProbe.example(scene, processor) for scene in scenes[:90]])
labels = sounds["labels"].flatten()  # [clips * 600]
held_out = torch.arange(90).repeat_interleave(600) >= 66
# every third token is enough: neighbours are nearly equal
fit_on = ~held_out & (torch.arange(len(labels)) % 3 == 0)


@torch.no_grad()
def audio_stages(log_mel):
    """Log-mel (n, 80, 1200) and the output of each stage: (n * 600, width) each."""
    # two columns of 10 ms
    rows = {"log-mel": [log_mel.transpose(1, 2).reshape(-1, 160)]}
    for part in log_mel.split(6):
        for i, state in enumerate(
            model.audio_encoder(part, output_hidden_states=True).hidden_states
        ):
            rows.setdefault(f"layer {i}" if i else "convolutions", []).append(
                state.flatten(0, 1).half()
            )
    return {stage: torch.cat(parts) for stage, parts in rows.items()}


audio_probes, results = {}, {}
for stage, features in audio_stages(sounds["input_features"].flatten(0, 1)).items():
    audio_probes[stage] = fit_probe(
        features[fit_on].float(), labels[fit_on], len(SOUNDS)
    )
    inputs = F.pad(features[held_out].float(), (0, 1), value=1.0)
    results[stage] = (inputs @ audio_probes[stage]).argmax(1)


def share_found(stage, low, high):
    truth = labels[held_out]
    chosen = (truth >= low) & (truth < high)
    return balanced_accuracy(results[stage][chosen].numpy(), truth[chosen].numpy())


kinds = {
    "objects": (1, 1 + len(THINGS)),
    "words": (1 + len(THINGS), len(SOUNDS)),
    "silence": (0, 1),
}
by_stage(
    {
        kind: {stage: share_found(stage, *bounds) for stage in results}
        for kind, bounds in kinds.items()
    },
    title="Probes of audio features, every 20 ms",
    y="balanced accuracy",
)

# %% [markdown]
# A bell can be recognised from its spectrum: 20 ms of log-mel are enough for more than half of the
# objects, and the convolutions, with a larger receptive field, for nearly all. A *word* cannot:
# *seven* and *salt* begin alike, and a word is only clear at its end. Words can be predicted after
# several attention layers over time. (Silence is by far the most frequent class, so it is almost
# always right: the first common mistake.)
#
# But a token that has attended to other times no longer describes *its* 20 ms only.
#
# ## About which time?
#
# FAVOR pairs audio and video per time step, so the temporal precision of an audio token matters.
# Take tokens in *silence*, some time after a sound. Can a probe still predict the sound from them?
# And before a sound?

# %%
audio = torch.cat([row["audio_features"].float() for row in encoded])
clip_of = torch.cat(
    [torch.full((row["audio_tokens"],), number) for number, row in enumerate(encoded)]
)


def neighbours(row, ended):
    """For each silent token the nearest past (or future) sound and its distance; else
    -1.
    """
    scene, place = scene_of(row), torch.arange(row["audio_tokens"])
    event, distance = torch.full_like(place, -1), torch.full_like(place, -1)
    sounds = [m.heard for m in scene.moments if m.heard]
    for one in sounds if ended else sounds[::-1]:  # nearer sounds overwrite others
        edge = round(50 * (one.start + one.seconds * ended))
        chosen = place >= edge if ended else place < edge
        event[chosen], distance[chosen] = (
            SOUNDS.index(one.name),
            (place - edge).abs()[chosen],
        )
    event[audio_labels(scene, len(place)) > 0] = -1
    return event, distance


around = {
    ended: [
        torch.cat(part)
        for part in zip(*(neighbours(row, ended) for row in encoded), strict=True)
    ]
    for ended in (True, False)
}


def accuracy_at(ended, seconds):
    """Accuracy of a probe for the sound, on silent tokens at this distance."""
    event, distance = around[ended]
    chosen = (event >= 0) & ((distance - 50 * seconds).abs() <= 2.5)
    return np.equal(
        *probe(audio[chosen], event[chosen], len(SOUNDS), clip_of[chosen] < 91)
    ).mean()


distances = [0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5]
curves(
    {
        "the last sound": (distances, [accuracy_at(True, s) for s in distances]),
        "the next sound": (distances, [accuracy_at(False, s) for s in distances]),
    },
    x="seconds of silence between token and sound",
    y="accuracy of a probe",
    percent=True,
    mark={"chance level": 1 / (len(SOUNDS) - 1)},
)

# %% [markdown]
# Directly next to a sound, it can nearly always be predicted from a silent token. Half a second
# later, one *time step*, most can still be predicted. After 1.2 s it is one in five, well above the
# chance level. Future sounds can also be predicted: this encoder is not causal.
#
# So the time steps of 0.5 s have sharp borders, but their tokens also encode neighbouring time
# steps. *When* a sound is heard is still clear: the probe above hardly ever takes silence for a
# sound. This fits notebook 01: a shift of the sound by half a second cost few answers, a shift by
# one second many. (This is not measured here for the real Whisper, whose attention covers 30 s.)
#
# ## The component on real clips
#
# The probes were fitted on scenes that were drawn in memory. Now they are applied to compressed mp4
# files. Below the frames is the prediction from the visual tokens. The lower part shows the scores
# of the audio probe, every 20 ms. Look for mistakes. Then choose an earlier layer.

# %%
from favor_mini.figures.encoders import probe_timeline
from favor_mini.evaluation.answering import encode_clips

visual_probe = fit_probe(visual.mean(1), name, len(NAMES))


def draw_predictions(clip_name, audio_layer):
    shown = read_clip(samples[clip_name].path, image_size=64)
    tokens = (
        encode_clips(model, processor, {clip_name: shown})[clip_name]["visual_features"]
        .float()
        .mean(1)
    )
    names = [
        NAMES[i] for i in (F.pad(tokens, (0, 1), value=1.0) @ visual_probe).argmax(1)
    ]
    features = audio_stages(processor.mel(shown.waveform))[audio_layer].float()
    scores = (F.pad(features, (0, 1), value=1.0) @ audio_probes[audio_layer]).numpy()
    scores = scores[: round(50 * shown.duration)]
    return probe_timeline(shown, samples[clip_name].scene, names, scores, list(SOUNDS))


explore(
    draw_predictions,
    clip_name=["clip_01", "clip_03", "clip_04", "clip_06", "clip_11"],
    audio_layer=list(audio_probes)[::-1],
)

# %% [markdown]
# ## The tokens in the model
#
# Combine the visual tokens of one clip with the audio tokens of another. What does the model
# answer?

# %%
pair = encode_clips(model, processor, {"clip_00": other, "clip_01": clip})
mixed = {
    "visual_features": pair["clip_00"]["visual_features"],
    "num_frames": pair["clip_00"]["num_frames"],
    "audio_features": pair["clip_01"]["audio_features"],
    "audio_tokens": pair["clip_01"]["audio_tokens"],
}
questions = [
    "what was written?",
    "what was said?",
    "what was heard while the white square was shown?",
]
for title, features in {**pair, "video 00, audio 01": mixed}.items():
    answers = processor.decode(
        model.generate(**processor([features] * len(questions), questions))
    )
    print(
        f"{title:18}",
        dict(
            zip(
                ("written", "said", "heard with the white square"), answers, strict=True
            )
        ),
    )
for script in pair:
    print(
        textwrap.fill(
            f"{script}: {samples[script].transcript}", 100, subsequent_indent="    "
        )
    )

# %% [markdown]
# The model answers for the combined clip: the written word is from clip 00, the spoken word from
# clip 01, and the sound with the white square is the sound of clip 01 *at that time*. (Asked about
# something that is not in a clip, such as the spoken word in clip 00, it invents an answer.)

# %% [markdown]
# ## What to play with
#
# - Probe for the *second* object of an image (`pictures["names"][:, :, 1]`, where it is not 0) at
#   all stages. Where is it lost?
# - Fit the probe on objects only and predict words, or fit it on half of the colours. Does a probe
#   generalise to new classes?
# - Use an encoder with random weights
#   (`model.audio_encoder = WhisperEncoder(mini.audio_config).eval()`) and probe its tokens: how
#   much does a random network encode? (Load `model` again afterwards.)
#
# ## Recap
#
# - The ViT splits an image into patches. V queries summarise them.
# - Whisper encodes fixed chunks. They become part of the batch, and nothing crosses their borders.
# - Frozen means: no gradient for its weights, always `eval()`, and no stored activations, because
#   nothing before it is trained.
# - Linear probes show what a token encodes. Use balanced accuracy, and split by clip.
# - Visual tokens encode the image, audio tokens the sound. The mini model's eight visual tokens are
#   copies of one vector. Its audio tokens also encode sounds half a second away, and partly one
#   second away.

# %% [markdown]
# ## Quiz
#
# **1.** An image of 224 x 224 pixels, patches of 14 x 14. How many vectors enter the ViT's
# attention?
#
# - a) 16
# - b) 256
# - c) 257
#
# <details><summary>Answer</summary>
#
# **c.** 16 x 16 patches and the class token. *a:* that is one row of patches. *b:* the class token
# is missing.
#
# </details>
#
# **2.** A batch holds 3 clips of 70 s each. A chunk of Whisper has 30 s. How many chunks go through
# the encoder?
#
# - a) 9
# - b) 7
# - c) 3
#
# <details><summary>Answer</summary>
#
# **a.** Three chunks per clip, the last one mostly silence, and all nine in one call. *b:* 210 s
# would fill seven chunks, but a chunk never contains two clips. *c:* then 40 s of each clip would
# be lost.
#
# </details>
#
# **3.** Encoders and language model are both frozen. Why may only the encoders run under `no_grad`?
#
# - a) They are smaller
# - b) The gradient has to pass through the language model to reach the connector
# - c) The language model has no dropout
#
# <details><summary>Answer</summary>
#
# **b.** The connector is trained, and it is between the encoders and the language model. *a:* the
# size does not matter. *c:* dropout depends on `eval()`, not on gradients.
#
# </details>
#
# **4.** A probe predicts the sound from visual tokens with an accuracy of 40 % if frames are split
# at random, and 14 % if clips are split. What does the difference show?
#
# - a) Random splits use the data better
# - b) The tokens encode the sound, but only weakly
# - c) The probe recognised the clips; the difference is not about the sound
#
# <details><summary>Answer</summary>
#
# **c.** Near copies of the test frames were in the training set. *a:* they make the test too easy.
# *b:* perhaps, but that would be the 14 %, compared with the chance level and the frequent classes.
#
# </details>
#
# **5.** All visual tokens of a frame are copies of one vector. What can you conclude?
#
# - a) For the properties probed here, one token would be enough
# - b) Q-Formers always do that
# - c) The probe is broken
#
# <details><summary>Answer</summary>
#
# **a.** The mean and each single token encode name and colour. *b:* this is one encoder; with
# another training the queries can differ. *c:* the distances between the tokens show the same,
# without a probe.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/encoders.py` (`encode_audio`, `VisualEncoder`, `ConvStem`),
# `favor_mini/pretraining/vision.py` (how the mini encoders were trained),
# `favor_mini/data/features.py` (cached features), `favor_mini/model.py` (`encode`, `freeze`,
# `train`); tests in `tests/test_model.py` and `tests/test_features.py`.
#
# **In the paper:** section 3.1. **Further reading:** the vision transformer
# ([arXiv 2010.11929](https://arxiv.org/abs/2010.11929)), InstructBLIP
# ([arXiv 2305.06500](https://arxiv.org/abs/2305.06500)), Whisper
# ([arXiv 2212.04356](https://arxiv.org/abs/2212.04356)); on probes, Alain and Bengio
# ([arXiv 1610.01644](https://arxiv.org/abs/1610.01644)).
#
# **Next:** [03 Frame synchronisation](03_frame_synchronisation.ipynb).
