# %% [markdown]
# # 12 To full size
#
# **You will** join Whisper, InstructBLIP and a language model by name, small ones on disk, with the
# same call that loads the real ones, and compute the cost before you rent a GPU: parameters,
# memory, tokens and operations, from the configs and without allocating memory. You see what
# freezing saves and what it does not, and accumulate gradients exactly.
#
# **You need** notebook 09 (fine-tuning); 04 and 08 help. **Paper:** section 4, the model's sizes.
#
# **Costs:** 40 minutes of reading, 53 minutes of exercises; 30 s of computing, 1.0 GB of memory.

# %%
import math

import torch

from favor_mini import FavorConfig, FavorForConditionalGeneration
from favor_mini.course import card, check
from favor_mini.figures.plots import bars, curves, flow
from favor_mini.figures.plots import stacked_bars
from favor_mini.world.tokenizer import build_tokenizer

# %% [markdown]
# ## What changes, and what does not
#
# The class, the forward pass, the loss, the processor and the trainer stay the same. Only the
# config changes:

# %%
tokenizer = build_tokenizer()
mini, paper = FavorConfig.mini(vocab_size=len(tokenizer)), FavorConfig.paper()
rows = {
    "audio encoder: layers x width": lambda c: (
        c.audio_config.encoder_layers,
        c.audio_config.d_model,
    ),
    "ViT: layers x width": lambda c: (
        c.vision_config.num_hidden_layers,
        c.vision_config.hidden_size,
    ),
    "visual tokens per frame, V": lambda c: c.visual_tokens,
    "frames per window, K": lambda c: c.window_frames,
    "queries per window, N": lambda c: c.num_queries,
    "time step, P x D": lambda c: c.step_shape,
    "causal Q-Former: layers x width": lambda c: (c.qformer_layers, c.qformer_width),
    "language model: layers x width": lambda c: (
        c.language_config.num_hidden_layers,
        c.language_config.hidden_size,
    ),
    "question conditioning": lambda c: c.question_conditioning,
    "lambda": lambda c: c.diversity_weight,
}
print(f"{'':<34}{'mini':<14}paper")
for name, of in rows.items():
    print(f"{name:<34}{of(mini)!s:<14}{of(paper)}")

# %% [markdown]
# ## A model without memory
#
# How large is the full model? Build it on PyTorch's **meta device**: tensors there have a shape and
# a dtype, but no data, and every operation only computes the shape of its result.

# %%
def on_meta(config):
    """The model of a config, without data."""
    with torch.device("meta"):
        return FavorForConditionalGeneration(config)


full = on_meta(paper)
weight = full.language_model.get_input_embeddings().weight
print(tuple(weight.shape), weight.dtype, weight.device)
print("a product on meta:", (weight @ weight.T).shape)

# %%
card("count_parameters")

# %% tags=["exercise:count_parameters"]
def count_parameters(model):
    """A dict: part -> (parameters, trained parameters); "lora_" in a name: part
    LoRA.
    """
    raise NotImplementedError  # your code

# %%
count_parameters = check("count_parameters", count_parameters)
counted, small = count_parameters(full), count_parameters(on_meta(mini))
for name, (total, trained) in counted.items():
    print(
        f"{name:<18}{total / 1e6:>9.1f} million, {total / small[name][0]:>5.0f} x "
        f"mini,",
        "trained" if trained else "frozen",
    )
total, trained = (sum(pair[i] for pair in counted.values()) for i in (0, 1))
print(
    f"{trained / 1e6:.0f} million of {total / 1e9:.2f} billion are trained: "
    f"{trained / total:.1%}"
)

# %%
bars({f"{part}, {name}": parts[part][0] / 1e6 for part in counted
      for name, parts in (("mini", small), ("full", counted))},
     form="{:,.2f}", x="million parameters (logarithmic)", log=True)

# %% [markdown]
# The encoders are 800 to 1,000 times larger, the language model about 2,500 times, the Q-Former
# only fifteen times. **At full size only a small model is trained**, less than a hundredth of all
# parameters. That is why this recipe is affordable.
#
# ## Memory: weights, gradients, states
#
# For every trained weight three things are stored: the weight, its gradient, and the optimizer's
# states (AdamW: two running means). For a frozen weight only the weight itself. With $b$ bytes
# per number, all weights $\Theta$, the trained weights $\theta$, and $s$ states:
#
# $$\text{bytes} = b\,|\Theta| + b\,|\theta| + s\,b\,|\theta|$$
#
# By hand: a trained linear map of 3 x 2 without bias in float32 takes 24 + 24 + 48 bytes; a frozen
# one takes 24.

# %%
card("memory_of")

# %% tags=["exercise:memory_of"]
def memory_of(model, states=2):
    """Bytes of the weights, the gradients, and the states of the optimizer."""
    raise NotImplementedError  # your code

# %%
memory_of = check("memory_of", memory_of)
print(memory_of(torch.nn.Linear(3, 2, bias=False)))

# %% [markdown]
# **Predict:** how many GPUs with 80 GB are needed to train *everything* in float32, without
# activations? And with frozen parts?

# %%
def in_parts(model):
    return dict(
        zip(
            ("weights", "gradients", "optimizer"),
            (n / 1e9 for n in memory_of(model)),
            strict=True,
        )
    )


plans = {}
full.requires_grad_(True)
plans["everything trained, float32"] = in_parts(full)
full.freeze()
plans["connector and LoRA trained, float32"] = in_parts(full)
for p in full.parameters():
    p.data = p.data if p.requires_grad else p.data.to(torch.bfloat16)
plans["the same, frozen parts in bfloat16"] = in_parts(full)
stacked_bars(plans, x="GB, without activations", mark={"a GPU with 80 GB": 80.0})

# %% [markdown]
# Two GPUs for everything, and one with frozen parts. (AdamW keeps two
# states for each weight. Muon, which the package uses for the matrices of the Q-Former, keeps one.
# Here this makes little difference.)
#
# ## Frozen layers need a backward pass
#
# Freezing saves memory. Does it save time? The backward pass has two parts: the gradient with
# respect to the *input* of a layer, which is passed to earlier layers, and the gradient with
# respect to its *weights*. **Predict**, with a forward pass as 1: what do forward and backward pass
# cost together if everything is trained, and if everything is frozen?

# %%
from torch.utils.flop_counter import FlopCounterMode


def tokens(model, length, dtype=torch.bfloat16):
    """`length` embedded tokens on the meta device, with their mask."""
    width = model.config.hidden_size
    return {
        "inputs_embeds": torch.empty(
            1, length, width, dtype=dtype, device="meta", requires_grad=True
        ),
        "attention_mask": torch.ones(
            1, 1, length, length, dtype=torch.bool, device="meta"
        ),
    }


def flops(run):
    """The number of operations of `run`, on the meta device."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        run()
    return counter.get_total_flops()


llm = full.language_model.eval()
forward = flops(lambda: llm(**tokens(llm, 512), use_cache=False))
frozen = flops(lambda: llm(**tokens(llm, 512), use_cache=False).logits.sum().backward())
llm.requires_grad_(True)
everything = flops(
    lambda: llm(**tokens(llm, 512), use_cache=False).logits.sum().backward()
)
full.freeze()
weights = counted["language_model"][0]
print(
    f"512 tokens forward: {forward / 1e12:.1f} TFLOP, {forward / 512 / weights:.1f} "
    f"per weight and token"
)
print(f"forward and backward: {everything / forward:.1f} x if everything is trained,",
      f"{frozen / forward:.1f} x if it is frozen, with LoRA")

# %% [markdown]
# Per token and weight, the forward pass costs two operations, the gradient of the input two more,
# and the gradient of a trained weight two more. Freezing removes only the last: the connector comes
# *before* the language model, so its gradient passes through all frozen layers. The encoders come
# before all trained parts, so they need no backward pass.
#
# ## bfloat16: for frozen weights only
#
# bfloat16 has the range of float32 with fewer digits. For a frozen weight this is precise enough. A
# *trained* weight gets thousands of small updates, and an update that is small relative to the
# weight is lost by rounding. Add 0.001 to 1, a thousand times:

# %%
steps = 1000
kept = {}
for dtype in (torch.float32, torch.bfloat16):
    value, path = torch.ones((), dtype=dtype), []
    for _ in range(steps):
        value = value + torch.tensor(0.001, dtype=dtype)
        path.append(value.item())
    kept[str(dtype).removeprefix("torch.")] = (range(1, steps + 1), path)
for dtype in (torch.float32, torch.bfloat16):
    facts = torch.finfo(dtype)
    print(
        f"{facts.dtype:<9} {facts.bits // 8} bytes, up to {facts.max:.0e}, after 1: 1 "
        f"+ {facts.eps:.0e}"
    )
curves(kept, x="steps of 0.001", y="value", points=False)

# %% [markdown]
# The bfloat16 value has not changed. So the rule is: **frozen parts in bfloat16, trained parts in
# float32**, with autocast to bfloat16 for the computation.
#
# ## The number of tokens for the language model
#
# A clip of $s$ seconds becomes $T = \lceil 2s \rceil$ frames, $W = \lceil T/K \rceil$ windows and
# $W N$ vectors.

# %%
card("tokens_of_clip")

# %% tags=["exercise:tokens_of_clip"]
def tokens_of_clip(seconds, frame_rate, window_frames, num_queries):
    """The number of vectors of a clip for the language model."""
    raise NotImplementedError  # your code

# %%
tokens_of_clip = check("tokens_of_clip", tokens_of_clip)
sizes = {
    name: getattr(paper, name)
    for name in ("frame_rate", "window_frames", "num_queries")
}
for seconds in (1, 10, 60, 120):
    print(f"{seconds:>4} s: {tokens_of_clip(seconds, **sizes):>4} vectors")

# %%
seconds = torch.arange(5, 301, 5).tolist()
raw = [s * (paper.frame_rate * paper.visual_tokens + 50) for s in seconds]
minutes = [s / 60 for s in seconds]
curves(
    {
        "visual and audio tokens one by one": (minutes, raw),
        "N queries per window": (
            minutes,
            [tokens_of_clip(s, **sizes) for s in seconds],
        ),
    },
    x="minutes of video",
    y="vectors",
    points=False,
    log="y",
    mark={
        "the language model's context": paper.language_config.max_position_embeddings
    },
)

# %% [markdown]
# The connector reduces eighteen tokens to one. Without it, the context is full in less than half a
# minute. (The config has the 2,048 positions of the first Vicuna; version 1.5 has 4,096.)
#
# **The KV cache.** During generation, the language model stores the keys and values of all earlier
# tokens: two vectors for each layer, head and token. Computed, and measured on the language model
# of the mini model:

# %%
from favor_mini import checkpoint_path


def cache_bytes(config, length, bytes_per_number=2):
    """Keys and values: two vectors for each layer and token."""
    width = (
        config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    )
    return 2 * config.num_hidden_layers * width * length * bytes_per_number


shipped = FavorForConditionalGeneration.from_pretrained(checkpoint_path())
with torch.no_grad():
    cache = shipped.language_model(
        torch.ones(1, 100, dtype=torch.long), use_cache=True
    ).past_key_values
measured = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
computed = cache_bytes(shipped.config.language_config, 100, 4)
print(
    f"mini, 100 tokens in float32: {computed:,} bytes computed, {measured:,} measured"
)
lengths = {
    "one token": 1,
    "a minute of video": tokens_of_clip(60, **sizes),
    "2,048 tokens": 2048,
}
for name, length in lengths.items():
    print(
        f"7 billion, bfloat16, {name}: "
        f"{cache_bytes(paper.language_config, length) / 1e6:.1f} MB"
    )

# %% [markdown]
# ## Operations, part by part
#
# Count one attention block by hand, and with PyTorch, whose `FlopCounterMode` counts every matrix
# product:
#
# $$\underbrace{4 \cdot 2 L D^2}_{\text{projections}} +
# \underbrace{2 \cdot 2 L^2 D}_{\text{scores and sum}}$$

# %%
card("attention_cost")

# %% tags=["exercise:attention_cost"]
def attention_cost(length, width):
    """Operations of one self-attention block over L tokens of width D."""
    raise NotImplementedError  # your code

# %%
attention_cost = check("attention_cost", attention_cost)
from favor_mini.attention import AttentionBlock

D = paper.step_shape[1]
with torch.device("meta"):
    block, window = AttentionBlock(D, 12).eval(), torch.empty(1, 320, D)
by_torch = flops(lambda: block(window))
print(
    f"a window, L = 320, D = {D}: {attention_cost(320, D):,} by the formula, "
    f"{by_torch:,} counted by torch"
)
frames = range(10, 1281, 10)  # of 32 tokens
seconds, one_window = [n / 2 for n in frames], attention_cost(320, D)
curves(
    {
        "one window as long as the clip": (
            seconds,
            [attention_cost(n * 32, D) / 1e12 for n in frames],
        ),
        "windows of 10 frames": (
            seconds,
            [n // 10 * one_window / 1e12 for n in frames],
        ),
    },
    x="seconds of video",
    y="TFLOP of one causal attention",
    points=False,
    log="xy",
)

# %% [markdown]
# With windows the cost is linear in the length of the video (notebook 06). Now all parts, for one
# minute of video and a prompt of 64 tokens. **Predict** which part costs most.

# %%
from favor_mini.encoders import encode_audio
from favor_mini.qformer import AttentionMaps


def connect(model, windows):
    """The causal Q-Former for a number of windows; masks do not change the cost."""
    q = model.qformer
    x = torch.empty(windows, *q.positions.shape, device="meta").detach()
    queries = q.queries.detach().expand(windows, -1, -1)
    for layer in q.layers:
        queries = layer(
            queries, q.embed(x), None, None, AttentionMaps(None, None, None, None)
        )
    return model.projection(queries)


full.eval()
size, kind = paper.vision_config.image_size, torch.bfloat16
length = tokens_of_clip(60, **sizes) + 64
with torch.no_grad():
    frame = torch.empty(1, 1, 3, size, size, dtype=kind, device="meta")
    chunk = torch.empty(1, 1, 80, 3000, dtype=kind, device="meta")
    per_frame = flops(lambda: full.visual_encoder(frame))
    per_chunk = flops(lambda: encode_audio(full.audio_encoder, chunk))
    prompt_cost = flops(lambda: llm(**tokens(llm, length), use_cache=False))
per_window = flops(lambda: connect(full, 1))
cost = {"visual encoder: 120 frames": 120 * per_frame,
        "audio encoder: two chunks of 30 s": 2 * per_chunk,
        "causal Q-Former: 12 windows": 12 * per_window,
        f"language model: {length} tokens": prompt_cost}
bars(
    {name: value / 1e12 for name, value in cost.items()},
    x="TFLOP of the forward pass, for one minute of video",
)

# %% [markdown]
# The connector costs almost nothing. The *visual encoder* costs most: every frame passes a vision
# model with a billion weights. As in the mini world, its features can be computed once and cached.
# But with `question_conditioning=True`, as in InstructBLIP, the tokens of the visual *Q-Former*
# depend on the question. Then cache the output of the ViT: 257 vectors of 1,408 numbers per frame
# instead of 32 of 768. This still saves nearly all of the computation.
#
# ## Activations
#
# The remaining memory is the activations that autograd stores between forward and backward pass.
# They can also be *measured* on the meta device, by adding up the bytes of all stored tensors.

# %%
from torch.autograd.graph import saved_tensors_hooks


def stored_for_backward(model, run, without=None):
    """Bytes that autograd stores during `run`, except tensors (..., without,
    without).
    """
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    seen = {}

    def pack(t):
        store = t.untyped_storage()
        if store._cdata not in weights and t.shape[-2:] != (without, without):
            seen[store._cdata] = store.nbytes()
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        run()
    return sum(seen.values())


def forward_pass(model, length):
    """A forward pass with a loss, on the meta device."""
    logits = model(**tokens(model, length), use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(
        logits[0], torch.zeros(length, dtype=torch.long, device="meta")
    )


llm.train()
found = {"plain attention, L x L maps stored": stored_for_backward(
             llm, lambda: forward_pass(llm, length)),
         "fused attention, no maps": stored_for_backward(
             llm, lambda: forward_pass(llm, length), without=length)}
llm.gradient_checkpointing_enable()
found["activation checkpointing"] = stored_for_backward(
    llm, lambda: forward_pass(llm, length))
llm.gradient_checkpointing_disable()
bars({name: value / 1e9 for name, value in found.items()},
     x=f"GB for one clip of a minute ({length} tokens), 7 billion, bfloat16")

# %% [markdown]
# **Activation checkpointing** stores only the input of each layer, and computes the rest again in
# the backward pass: one more forward pass for a fraction of the memory (plus the activations of one
# layer while it is computed again). Is the gradient the same? With the mini model:

# %%
from favor_mini import FavorProcessor, read_clip
from favor_mini.world.samples import read_samples

shipped_processor = FavorProcessor.from_pretrained(checkpoint_path())
sample = read_samples()[0]
question = sample.questions[0]
batch = shipped_processor([read_clip(sample.path)], [question.text], [question.answer])
gradients = []
for checkpointing in (False, True):
    shipped.train()
    (shipped.language_model.gradient_checkpointing_enable if checkpointing
     else shipped.language_model.gradient_checkpointing_disable)()
    shipped.zero_grad()
    shipped(**batch).loss.backward()
    gradients.append(shipped.projection.weight.grad.clone())
print("same gradient:", torch.allclose(*gradients, atol=1e-6))

# %% [markdown]
# ## Put it together
#
# **Try:** which setting changes the memory most? Which the number of operations? When are weights
# no longer the largest part? (A batch of one clip, fused attention, AdamW. All values are computed
# from configs. Nothing was measured on a GPU, and a real run needs additional memory for
# fragmentation and buffers.)

# %%
from ipywidgets import Checkbox, IntSlider
from transformers import LlamaConfig

from favor_mini.course.widgets import explore
from favor_mini.qformer import CausalQFormer

shapes = {
    "7 billion": paper.language_config,
    "1 billion": LlamaConfig(
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        vocab_size=32001,
    ),
    "13 billion": LlamaConfig(
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
        vocab_size=32001,
    ),
}
known, probe = {}, 300  # tokens to measure with
for name, language in shapes.items():
    model = on_meta(
        FavorConfig(**{**paper.to_dict(), "language_config": language.to_dict()})
    )
    one = model.language_model.to(torch.bfloat16).train()
    inside = stored_for_backward(
        one, lambda one=one: forward_pass(one, probe), without=probe) / probe
    forward = flops(lambda one=one: one(**tokens(one, probe), use_cache=False)) / probe
    known[name] = count_parameters(model), inside, forward, language


P, D = paper.step_shape


def full_size(llm, frames, frames_K, queries_N, checkpointing):
    parts, inside, forward, language = known[llm]
    windows = math.ceil(frames / frames_K)
    length = windows * queries_N + 64
    with torch.device("meta"):
        like = torch.nn.Module()
        like.qformer = CausalQFormer(
            input_width=D,
            window_frames=frames_K,
            step_tokens=P,
            num_queries=queries_N,
            width=paper.qformer_width,
        )
        like.projection = torch.nn.Linear(paper.qformer_width, language.hidden_size)
    connector = windows * stored_for_backward(
        like, lambda: connect(like, 1), without=frames_K * P
    )
    if checkpointing:
        inside = (
            inside / language.num_hidden_layers
            + 2 * language.hidden_size * language.num_hidden_layers
        )
    trained = (
        sum(p.numel() for p in like.parameters())
        + parts["audio_projection"][0]
        + parts["LoRA"][0]
    )
    frozen = sum(
        parts[name][0] for name in ("audio_encoder", "visual_encoder", "language_model")
    )
    gb = {
        "frozen weights": 2 * frozen,
        "trained: weights, gradients, states": 16 * trained,
        "activations": length * inside + connector,
    }
    tflop = {"visual encoder": frames * per_frame,
             "audio encoder": math.ceil(frames / 60) * per_chunk,
             "connector": 3 * windows * flops(lambda: connect(like, 1)),
             "language model": (3 if checkpointing else 2) * length * forward}
    inference = {
        "frozen weights": 2 * frozen,
        "KV cache": cache_bytes(language, length),
    }
    text = ", ".join(f"{name} {value / 1e12:.1f}" for name, value in tflop.items())
    return [
        stacked_bars(
            {
                "training": {k: v / 1e9 for k, v in gb.items()},
                "inference": {k: v / 1e9 for k, v in inference.items()},
            },
            x="GB",
            title=f"{llm}: {windows} windows, {length} tokens for the language model",
        ),
        f"One training step for this clip: {sum(tflop.values()) / 1e12:.0f} TFLOP "
        f"({text}).",
    ]


explore(full_size, llm=list(known),
        frames=IntSlider(value=120, min=20, max=960, step=20, description="frames"),
        frames_K=IntSlider(value=10, min=5, max=40, step=5, description="K"),
        queries_N=IntSlider(value=32, min=8, max=96, step=8, description="N"),
        checkpointing=Checkbox(value=False, description="activation checkpointing"))

# %% [markdown]
# ## The same code at full size
#
# `from_parts` takes three names, each a folder or a hub name, and joins the models:
#
# ```python
# model = FavorForConditionalGeneration.from_parts(
#     audio="openai/whisper-large-v2", vision="Salesforce/instructblip-vicuna-7b",
#     language="lmsys/vicuna-7b-v1.5",
#     dtype=torch.bfloat16, num_queries=32, question_conditioning=True)
# ```
#
# This notebook works without a network. So here are three checkpoints of the same *types*, small
# and with random weights, in the format of the hub.

# %%
import tempfile
from pathlib import Path

from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

torch.manual_seed(0)
folder = tempfile.TemporaryDirectory()
hub = Path(folder.name)
tiny = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
audio_config = WhisperConfig(
    d_model=32,
    encoder_layers=2,
    encoder_attention_heads=2,
    encoder_ffn_dim=64,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=64,
    vocab_size=50,
    max_source_positions=600,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
)
vision_config = InstructBlipVisionConfig(
    **tiny, image_size=64, patch_size=16, initializer_range=0.05
)
visual_qformer_config = InstructBlipQFormerConfig(
    **tiny,
    vocab_size=len(tokenizer),
    cross_attention_frequency=1,
    encoder_hidden_size=32,
    max_position_embeddings=64,
)
language_config = LlamaConfig(
    **{**tiny, "hidden_size": 64},
    vocab_size=len(tokenizer),
    pad_token_id=0,
    bos_token_id=2,
    eos_token_id=3,
)
blip = InstructBlipConfig(
    vision_config=vision_config.to_dict(),
    qformer_config=visual_qformer_config.to_dict(),
    text_config=language_config.to_dict(),
    num_query_tokens=8,
    image_token_index=6,
)
for name, made in {"audio": WhisperForConditionalGeneration(audio_config),
                   "language": LlamaForCausalLM(language_config),
                   "vision": InstructBlipForConditionalGeneration(blip)}.items():
    made.save_pretrained(hub / name)
WhisperFeatureExtractor(chunk_length=12).save_pretrained(hub / "audio")
tokenizer.save_pretrained(hub / "language")
tokenizer.save_pretrained(hub / "vision" / "qformer_tokenizer")
for part in sorted(hub.iterdir()):
    print(part.name, sorted(file.name for file in part.iterdir())[:3], "...")

# %%
names = {part: str(hub / part) for part in ("audio", "vision", "language")}
settings = {
    "num_queries": 8,
    "question_conditioning": True,
    "placeholder_id": 6,
    "lora_rank": 4,
}
model = FavorForConditionalGeneration.from_parts(
    **names, **settings, dtype=torch.bfloat16
)
processor = FavorProcessor.from_parts(model.config, **names)
types = {}
for name, p in model.named_parameters():
    types["LoRA" if "lora_" in name else name.split(".")[0]] = str(
        p.dtype
    ).removeprefix("torch.")
for part, (total, trained) in count_parameters(model).items():
    print(
        f"{part:<18}{total:>8,} parameters, {'trained' if trained else 'frozen'}, "
        f"{types[part]}"
    )

# %% [markdown]
# Whisper's decoder and InstructBLIP's own language model are in the files, but not loaded. Look at
# the dtypes: the frozen parts are bfloat16, the connector **and LoRA** are float32. By default,
# LoRA has the dtype of its model, and its small updates would be lost, as shown above. So
# `from_parts` makes it float32.
#
# `placeholder_id` is 6 because `<av>` is token 6 of this tokenizer. Vicuna's tokenizer does not
# have it: without this setting, a new token is added at the end of the vocabulary. What happens if
# a name is wrong, or has the wrong type?

# %%
import textwrap

for part, wrong in (
    ("audio", names["vision"]),
    ("language", str(hub / "no-such-folder")),
):
    try:
        FavorForConditionalGeneration.from_parts(**{**names, part: wrong})
    except (OSError, ValueError) as error:
        message = f"{type(error).__name__}: {error}".replace(str(hub), "hub")
        print(textwrap.shorten(message, 220, placeholder=" ..."))

# %% [markdown]
# ## Data in the published form
#
# The paper's benchmark is published as JSON lists of rows: media files, a question, one or several
# answers, optionally candidates and times. The test sets of notebook 10 have this format. Every row
# that cannot be used is reported:

# %%
import json

from favor_mini import data_path
from favor_mini.aveb.files import read_items
from favor_mini.data.files import find_media, read_media

root = data_path("aveb").parent
for name in ("avqa", "asr", "video_qa", "avm"):
    items, broken = read_items(root / "aveb" / f"{name}.json")
    print(
        f"{name:<9}{len(items):>3} questions, {len(broken)} broken:",
        *items[0].media,
        items[0].question,
    )
mine = [{"image": "a.jpg", "question": "what is it?", "answer": ["a cup", "a mug"]},
        {"image": "a.jpg", "answer": "a cup"}]
(hub / "mine.json").write_text(json.dumps(mine))
print(str(read_items(hub / "mine.json")[1][0]).replace(str(hub), "hub"))

# %% [markdown]
# For training you need rows of the *training* sets in this format, and a `Dataset` that reads the
# media when an item is requested. (Here it reads four test rows to show the format. Never train on
# test rows.)

# %%
class Rows(torch.utils.data.Dataset):
    """Rows of the published format as training examples, repeated up to `count`."""

    def __init__(self, file, root, processor, count):
        self.items, self.root, self.processor, self.count = (
            read_items(file)[0][:4],
            root,
            processor,
            count,
        )

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        item = self.items[i % len(self.items)]
        clip = read_media(find_media(item, self.root), item.span)
        return {
            **self.processor.media(clip),
            "turns": [(item.question, item.answers[0])],
        }


data = Rows(root / "aveb" / "avqa.json", root, processor, count=6)
batch = processor.collate([data[0], data[1]])
for name, t in batch.items():
    print(f"{name:<15}{tuple(t.shape)}")

# %% [markdown]
# Real mp4 files, real mel spectrograms, InstructBLIP's classes, and the same `fit` that trained the
# shipped checkpoint:

# %%
from favor_mini.training.trainer import fit

model.train()
log = fit(
    model,
    data,
    processor.collate,
    hub / "run",
    steps=3,
    batch=2,
    lr=1e-3,
    log_steps=1,
    progress=False,
    bf16=False,
    # the cell can run again
    resume=False,
)
for entry in log[:-1]:
    print(f"step {entry['step']}: cross-entropy {entry['cross_entropy']:.1f}")
model.eval()
clip = read_media(find_media(data.items[0], root))
inputs = processor([clip], [data.items[0].question])
inputs = {k: v.to(model.device) for k, v in inputs.items()}
print(
    "answer:",
    *processor.decode(model.generate(**inputs, max_new_tokens=5, min_new_tokens=5)),
)

# %% [markdown]
# With random parts the answer is random. But no code changes for the real parts, only names and
# settings: other `num_queries` and `lora_rank`, no `placeholder_id`, your own rows. (`bf16=False`
# gives exact float32. By default, `fit` uses bfloat16 where it is faster.)
#
# **Save the trained parameters only.** Everybody can download the rest. Load them into newly joined
# parts:

# %%
from safetensors.torch import load_file, save_file

trained_parameters = {
    name: p.detach() for name, p in model.named_parameters() if p.requires_grad
}
save_file(trained_parameters, hub / "trained.safetensors")
torch.manual_seed(7)  # another untrained connector
again = FavorForConditionalGeneration.from_parts(
    **names, **settings, dtype=torch.bfloat16
)
again.load_state_dict(load_file(hub / "trained.safetensors"), strict=False)
with torch.no_grad():
    print(
        "the same logits:",
        torch.equal(model(**batch).logits, again.eval()(**batch).logits),
    )
everything, trained = (sum(pair[i] for pair in counted.values()) for i in (0, 1))
print(
    f"at full size: {4 * trained / 1e9:.2f} GB instead of "
    f"{(2 * everything + 2 * trained) / 1e9:.1f} GB"
)

# %% [markdown]
# ## Gradient accumulation
#
# One clip of a minute can fill the memory of a small GPU. A batch of sixteen is then sixteen passes
# whose gradients are summed before one step. The gradient of a mean is the mean of the gradients,
# so the result is the same, *if the parts have the right weights*:
#
# $$\nabla \frac{1}{n}\sum_{i=1}^{n} \ell_i \;=\;
# \sum_{p} \frac{n_p}{n}\, \nabla \Big(\frac{1}{n_p} \sum_{i \in p} \ell_i\Big)$$
#
# By hand: two parts of one and three rows, with mean gradients 4 and 0. The gradient of the whole
# batch is $\frac14 \cdot 4 + \frac34 \cdot 0 = 1$, not 2.

# %%
card("accumulate")

# %% tags=["exercise:accumulate"]
def accumulate(loss_of, weight, parts):
    """The gradient of the mean loss over all rows, computed part by part."""
    raise NotImplementedError  # your code

# %%
accumulate = check("accumulate", accumulate)

# %% [markdown]
# Now with the model: four clips in one batch, then in two halves. The cross-entropy is a mean over
# the *tokens* of the answers. **Predict** the right weights of the halves.

# %%
model.float()  # without rounding errors of bfloat16
model.config.diversity_weight = 0.0  # its mean is over windows, not over tokens
answers = ["bell", "drum", "the red circle was seen at left", "the horn was heard"]
examples = [
    {**data[i], "turns": [(data.items[i].question, said)]}
    for i, said in enumerate(answers)
]
halves = [processor.collate(examples[:2]), processor.collate(examples[2:])]


def gradient(batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return model.projection.weight.grad.clone()


whole, parts = (
    gradient(processor.collate(examples)),
    [gradient(half) for half in halves],
)
counts = [int((half["labels"] != -100).sum()) for half in halves]
equal = sum(parts) / 2
weighted = sum(n / sum(counts) * g for n, g in zip(counts, parts, strict=True))
print("answer tokens in each half:", counts)
for name, found in (("equal weights", equal), ("weighted by tokens", weighted)):
    print(
        f"{name}: relative error of the gradient "
        f"{(found - whole).norm() / whole.norm():.0%}"
    )

# %% [markdown]
# `fit` weights each part by its answer tokens. (The diversity loss stays a mean over the parts: it
# has no tokens.)
#
# **Several GPUs.** Started with `accelerate launch` or `torchrun`, Trainer runs one process per
# GPU. Each has the whole model and its own part of every batch. The gradients are *averaged* before
# the step. So
#
# $$\text{clips per step} =
# \text{GPUs} \times \text{batch of each} \times \text{accumulated parts}$$
#
# If you double the number of GPUs, halve the accumulation, or the experiment is a different one.
# Every process must use every trained weight in every step, otherwise the other processes wait. (A
# batch without any clip does not use the connector.) *Two processes on a CPU give the losses of one
# (`tests/test_processes.py`). This repository has not been run on several GPUs.*

# %%
flow([("each GPU", "the whole model, its own clips", "batch b"),
      ("accumulate", "a parts, one after another", "a x b clips"),
      ("average", "gradients of all g GPUs", "g x a x b clips"),
      ("step", "the same on every GPU", "one update")],
     title="One step on several GPUs", here="average")

# %% [markdown]
# ## A first full-size run
#
# The downloads need a network once; folders serve as well as names:
#
# ```sh
# favor-mini join --audio openai/whisper-large-v2 --vision Salesforce/instructblip-vicuna-7b \
#     --language lmsys/vicuna-7b-v1.5 --dtype bfloat16 --out build/full
# favor-mini data rows.json --media-root media --checkpoint build/full
# favor-mini finetune rows.json --media-root media --checkpoint build/full --batch 1 \
#     --gradient-checkpointing --dry-run     # enough memory? how long?
# torchrun --nproc-per-node 8 -m favor_mini finetune rows.json --media-root media \
#     --checkpoint build/full --batch 1 --accumulate 2 --steps 5000 --out build/own
# favor-mini evaluate --task video_qa --file nextqa_test.json --media-root videos \
#     --checkpoint build/own
# ```
#
# `favor-mini join --preset laptop` takes small parts in their place: Whisper tiny, SigLIP base,
# SmolLM2 135M. `favor-mini bench --only laptop` measures a training step at these sizes.
# `favor-mini convert RELEASED.pth --out DIR` takes the weights that the authors released. With
# `quantization_config=BitsAndBytesConfig(load_in_4bit=True)`, `from_parts` loads the language model
# in 4 bits; connector and LoRA stay float32. Learning rates and numbers of steps must be tuned
# again for other parts.
#
# Two functions for what was done by hand above:

# %%
from favor_mini import load_learned, save_learned

learned = save_learned(model, hub / "learned")
again = FavorForConditionalGeneration.from_parts(
    **names, **settings, dtype=torch.bfloat16
).float()
load_learned(again, hub / "learned")
same = all(
    torch.equal(p, q)
    for p, q in zip(model.parameters(), again.parameters(), strict=True)
)
print(f"{learned.name}: {learned.stat().st_size:,} bytes; the same model: {same}")

# %% [markdown]
# What would it cost? An estimate, with a slider for each assumption: the share of the GPU's peak
# performance that is reached (never all of it), and the price of an hour. The default peak is a
# round number for a current GPU in bfloat16; use the value of your GPU. **Nothing of this is
# measured.**

# %%
trained_forward = known["7 billion"][2]


def what_it_costs(thousand_clips, seconds, passes, gpus, peak, reached, price):
    clips = 1000 * thousand_clips * passes
    length = tokens_of_clip(seconds, **sizes) + 64
    work = {"visual encoder": math.ceil(2 * seconds) * per_frame,
            "audio encoder": math.ceil(seconds / 30) * per_chunk,
            "connector, forward and backward": 3 * math.ceil(seconds / 5) * per_window,
            "language model, forward and backward": 2 * length * trained_forward}
    speed = peak * 1e12 * reached / 100  # operations per second
    hours = {name: clips * value / speed / 3600 for name, value in work.items()}
    total = sum(hours.values())
    title = f"{clips:,} clips of {seconds} s: {total:,.0f} GPU hours at {reached} %"
    return [
        bars(hours, x="GPU hours", form="{:.1f}", title=title),
        f"With {gpus} GPUs {total / gpus / 24:.1f} days; at {price} per hour "
        f"{total * price:,.0f}. "
        "Video decoding, failed runs and repeated runs are not included.",
    ]


def slider(value, low, high, step, text):
    return IntSlider(value=value, min=low, max=high, step=step, description=text,
                     style={"description_width": "initial"})


explore(
    what_it_costs,
    thousand_clips=slider(200, 10, 2000, 10, "thousand clips"),
    seconds=slider(30, 5, 120, 5, "seconds"),
    passes=slider(1, 1, 10, 1, "passes"),
    gpus=slider(8, 1, 64, 1, "GPUs"),
    peak=slider(500, 50, 2000, 50, "peak, TFLOP/s"),
    reached=slider(30, 5, 60, 5, "% of the peak"),
    price=slider(2, 1, 20, 1, "price per GPU hour"),
)

# %% [markdown]
# ## What to play with
#
# - In the first widget, find the longest video that can be trained with 24 GB and the 7 billion
#   model. Which settings did you have to change?
# - In the second, set three passes. If the visual features are cached after the first pass, which
#   bar shrinks, and by how much?
# - Build `on_meta(FavorConfig.paper(num_queries=96))` and count: how much larger is the connector?
# - Leave `placeholder_id` out of `settings` and read the error message of
#   `FavorProcessor.from_parts`.
#
# ## Recap
#
# - Both sizes use the same classes. Only a config and three names change.
# - On the meta device, parameters, operations and activations are counted without allocating
#   memory.
# - Freezing saves gradients and states. It does not save the backward pass through the layers after
#   the connector.
# - Frozen parts are in bfloat16, trained parts in float32. Check the dtypes: by default, LoRA has
#   the dtype of its model.
# - The visual encoder costs most, the connector almost nothing, and N queries per window keep the
#   cost of the language model small.
# - Accumulated or averaged gradients equal those of the whole batch, if the parts have the right
#   weights.
# - Computed costs are estimates with assumptions. Only a run is a measurement.

# %% [markdown]
# ## Quiz
#
# **1.** The language model is frozen. Why does training still need its backward pass?
#
# - a) To update its embeddings
# - b) Because LoRA and the connector get their gradients through its layers
# - c) It does not; frozen parts run under `no_grad`
#
# <details><summary>Answer</summary>
#
# **b.** The gradient with respect to the inputs must pass through its layers. *a:* they are frozen,
# too. *c:* that is true for the encoders, which come before all trained parts.
#
# </details>
#
# **2.** How many bytes does a trained weight take in float32 with AdamW, without activations?
#
# - a) 16 bytes
# - b) 4 bytes
# - c) 8 bytes
#
# <details><summary>Answer</summary>
#
# **a.** The weight, its gradient and two states, four bytes each. *b:* that is a frozen weight.
# *c:* that omits the optimizer.
#
# </details>
#
# **3.** A clip of 10.1 s at 2 Hz, K = 10, N = 32. How many vectors?
#
# - a) 64
# - b) 65
# - c) 96
#
# <details><summary>Answer</summary>
#
# **c.** 21 frames, three windows. *a:* that omits the third window, which has one frame. *b:* a
# window gives N vectors, not one per frame.
#
# </details>
#
# **4.** Activation checkpointing trades
#
# - a) accuracy for memory
# - b) computation for memory
# - c) memory for disk
#
# <details><summary>Answer</summary>
#
# **b.** The activations of each layer are computed twice. *a:* the gradient is the same. *c:*
# nothing is written to disk; the checkpoints of a run are something else with the same name.
#
# </details>
#
# **5.** You use eight GPUs instead of one, with the same batch per GPU and the same accumulation.
# What changes?
#
# - a) Only the time
# - b) Each step has eight times as many clips
# - c) Each GPU holds an eighth of the model
#
# <details><summary>Answer</summary>
#
# **b.** So it is a different experiment, unless you divide the accumulation by eight. *a:* only if
# the number of clips per step is the same. *c:* in data parallel training each GPU has the whole
# model.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/config.py` (`FavorConfig.paper`), `favor_mini/model.py` (`from_parts`),
# `favor_mini/processor.py` (`FavorProcessor.from_parts`), `favor_mini/training/trainer.py` (`fit`),
# `favor_mini/data/manifest.py` (published rows), `favor_mini/apps/bench.py` (the Q-Former at the
# paper's sizes, on your machine); tests in `tests/test_from_parts.py`, `tests/test_aveb_files.py`,
# `tests/test_checkpoint.py`.
#
# **In the paper:** the model's parts and sizes, and what is trained. **Further reading:** LoRA
# ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)); *Training deep nets with sublinear memory
# cost* ([arXiv 1604.06174](https://arxiv.org/abs/1604.06174)) for activation checkpointing; ZeRO
# ([arXiv 1910.02054](https://arxiv.org/abs/1910.02054)) for distributing states among GPUs.
#
# **Next:** back to [00 Start here](00_start_here.ipynb), with a video of your own.
