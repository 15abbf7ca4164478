# %% [markdown]
# # 12 To full size
#
# **You will** join Whisper, InstructBLIP and a language model by name, small ones that lie on disk, with the very call that loads the
# real ones, and work out what that takes before anybody rents a GPU: parameters, memory, tokens, arithmetic, each from the
# configs and none of it allocated. You will see what freezing saves and what it does not, and accumulate gradients without
# changing them.
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
# The class, the forward pass, the loss, the processor, the trainer: all stay. What changes is a config. Beside each other:

# %%
tokenizer = build_tokenizer()
mini, paper = FavorConfig.mini(vocab_size=len(tokenizer)), FavorConfig.paper()
rows = {"audio encoder: layers x width": lambda c: (c.audio_config.encoder_layers, c.audio_config.d_model),
        "ViT: layers x width": lambda c: (c.vision_config.num_hidden_layers, c.vision_config.hidden_size),
        "visual tokens a frame, V": lambda c: c.visual_tokens,
        "frames a window, K": lambda c: c.window_frames,
        "queries a window, N": lambda c: c.num_queries, "a time step, P x D": lambda c: c.step_shape,
        "causal Q-Former: layers x width": lambda c: (c.qformer_layers, c.qformer_width),
        "language model: layers x width": lambda c: (c.language_config.num_hidden_layers,
                                                     c.language_config.hidden_size),
        "question steers the eyes": lambda c: c.question_conditioning, "lambda": lambda c: c.diversity_weight}
print(f"{'':<34}{'mini':<14}paper")
for name, of in rows.items():
    print(f"{name:<34}{of(mini)!s:<14}{of(paper)}")

# %% [markdown]
# ## A model without memory
#
# How large is the full model? One could multiply by hand. Or build it on torch's **meta device**: tensors there have a shape and
# a type, but no numbers. Eight billion parameters take no memory, and every operation only works out what shape comes out.

# %%
def on_meta(config):
    """The model of a config, without its numbers."""
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
    """A dict: part -> (number of parameters, number that learn); "lora_" in a name: the part LoRA."""
    raise NotImplementedError  # your code

# %%
count_parameters = check("count_parameters", count_parameters)
counted, small = count_parameters(full), count_parameters(on_meta(mini))
for name, (total, trained) in counted.items():
    print(f"{name:<18}{total / 1e6:>9.1f} million, {total / small[name][0]:>5.0f} x mini,",
          "learns" if trained else "frozen")
total, trained = (sum(pair[i] for pair in counted.values()) for i in (0, 1))
print(f"of {total / 1e9:.2f} billion {trained / 1e6:.0f} million learn: {trained / total:.1%}")

# %%
bars({f"{part}, {name}": parts[part][0] / 1e6 for part in counted
      for name, parts in (("mini", small), ("full", counted))},
     form="{:,.2f}", x="million parameters (a logarithmic axis)", log=True)

# %% [markdown]
# Look at the ratios. The encoders grow some eight hundred- to a thousandfold, the language model more than twice that, the Q-Former
# fifteenfold. What learns, projections, Q-Former and LoRA, makes up a few per cent. **What one trains at full size is a
# small model**, and that is why this recipe is affordable at all.
#
# ## Memory: weights, gradients, states
#
# Three things are kept for every weight that learns: itself, its gradient, and the optimiser's states (AdamW: two running
# means). A frozen weight is kept alone. With $b$ bytes a number, $\Theta$ all weights, $\theta$ those that learn, and $s$ states:
#
# $$\text{bytes} = b\,|\Theta| + b\,|\theta| + s\,b\,|\theta|$$
#
# By hand: a linear map of 3 x 2 without bias in float32 that learns takes 24 + 24 + 48 bytes; frozen, 24.

# %%
card("memory_of")

# %% tags=["exercise:memory_of"]
def memory_of(model, states=2):
    """Bytes of the weights, of the gradients, of the optimiser's states."""
    raise NotImplementedError  # your code

# %%
memory_of = check("memory_of", memory_of)
print(memory_of(torch.nn.Linear(3, 2, bias=False)))

# %% [markdown]
# **Predict** before you run: how many of today's 80 GB cards does it take to train *everything* in float32, activations not yet
# counted? And with the frozen parts frozen?

# %%
def in_parts(model):
    return dict(zip(("weights", "gradients", "optimiser"), (n / 1e9 for n in memory_of(model)), strict=True))


plans = {}
full.requires_grad_(True)
plans["everything learns, float32"] = in_parts(full)
full.freeze()
plans["connector and LoRA learn, float32"] = in_parts(full)
for p in full.parameters():
    p.data = p.data if p.requires_grad else p.data.to(torch.bfloat16)
plans["the same, frozen parts in bfloat16"] = in_parts(full)
stacked_bars(plans, x="GB, without activations", mark={"a card of 80 GB": 80.0})

# %% [markdown]
# Freezing does away with gradients and states, and halving the frozen numbers does the rest. The package trains with `MuonAdamW`,
# where the Q-Former's matrices have one state in place of two; at these sizes that is a detail.
#
# ## Frozen is not free
#
# Freezing saves memory. Does it save time? The backward pass has two halves: the gradient with respect to a layer's *input*,
# which is passed on to what lies before, and the one with respect to its *weights*. Freezing drops the second half. It cannot
# drop the first: the connector stands *before* the language model, so its gradient has to travel through all of the frozen
# layers. **Predict**, with a forward pass as 1: what do forward and backward cost together if all learns, and what if all is frozen?

# %%
from torch.utils.flop_counter import FlopCounterMode


def tokens(model, length, dtype=torch.bfloat16):
    """So many embedded tokens on meta, and a mask for them."""
    width = model.config.hidden_size
    return {"inputs_embeds": torch.empty(1, length, width, dtype=dtype, device="meta", requires_grad=True),
            "attention_mask": torch.ones(1, 1, length, length, dtype=torch.bool, device="meta")}


def flops(run):
    """Operations of what `run` does, on meta."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        run()
    return counter.get_total_flops()


llm = full.language_model.eval()
forward = flops(lambda: llm(**tokens(llm, 512), use_cache=False))
frozen = flops(lambda: llm(**tokens(llm, 512), use_cache=False).logits.sum().backward())
llm.requires_grad_(True)
everything = flops(lambda: llm(**tokens(llm, 512), use_cache=False).logits.sum().backward())
full.freeze()
weights = counted["language_model"][0]
print(f"512 tokens forward: {forward / 1e12:.1f} TFLOP, {forward / 512 / weights:.1f} a weight and token")
print(f"forward and backward: {everything / forward:.1f} x if everything learns,",
      f"{frozen / forward:.1f} x if it is frozen, with LoRA")

# %% [markdown]
# A useful rule to carry in your head: a token costs two operations a weight forward, two more for passing gradients back, two
# more for weights that learn. The encoders, which stand before everything that learns, need no backward pass at all (`encode`
# runs under `no_grad`).
#
# ## bfloat16: cheap for reading, bad for adding
#
# bfloat16 keeps float32's range and gives up digits. A frozen weight loses nothing that matters. A weight that *learns* receives
# thousands of small steps, and a step that is small beside the weight is rounded away. Add 0.001 to 1, a thousand times:

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
    print(f"{facts.dtype:<9} {facts.bits // 8} bytes, up to {facts.max:.0e}, after 1: 1 + {facts.eps:.0e}")
curves(kept, x="steps of 0.001", y="value", points=False)

# %% [markdown]
# Nothing has arrived. So the rule: **frozen parts in bfloat16, what learns in float32**, and autocast to bfloat16 for the
# arithmetic. You will meet this again below, where parts are joined.
#
# ## Tokens: what the language model has to read
#
# A clip of $s$ seconds becomes $T = \lceil 2s \rceil$ frames, $W = \lceil T/K \rceil$ windows and $W N$ vectors.

# %%
card("tokens_of_clip")

# %% tags=["exercise:tokens_of_clip"]
def tokens_of_clip(seconds, frame_rate, window_frames, num_queries):
    """How many vectors the language model gets for a clip."""
    raise NotImplementedError  # your code

# %%
tokens_of_clip = check("tokens_of_clip", tokens_of_clip)
sizes = {name: getattr(paper, name) for name in ("frame_rate", "window_frames", "num_queries")}
for seconds in (1, 10, 60, 120):
    print(f"{seconds:>4} s: {tokens_of_clip(seconds, **sizes):>4} vectors")

# %%
seconds = torch.arange(5, 301, 5).tolist()
raw = [s * (paper.frame_rate * paper.visual_tokens + 50) for s in seconds]
minutes = [s / 60 for s in seconds]
curves({"visual and audio tokens one by one": (minutes, raw),
        "N queries a window": (minutes, [tokens_of_clip(s, **sizes) for s in seconds])},
       x="minutes of film", y="vectors", points=False, log="y",
       mark={"the language model's context": paper.language_config.max_position_embeddings})

# %% [markdown]
# The connector makes eighteen tokens into one. Without it, the context is full before half a minute is over. (The config has the
# 2,048 places of the first Vicuna; version 1.5 has 4,096, which is half a minute and a little.)
#
# **The KV cache.** While it answers, the language model keeps keys and values of everything it has read: two vectors for each
# layer, head and token. Worked out, and measured on the mini model's language model:

# %%
from favor_mini import checkpoint_path


def cache_bytes(config, length, bytes_a_number=2):
    """Keys and values: two vectors for each layer and token."""
    width = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * width * length * bytes_a_number


shipped = FavorForConditionalGeneration.from_pretrained(checkpoint_path())
with torch.no_grad():
    cache = shipped.language_model(torch.ones(1, 100, dtype=torch.long), use_cache=True).past_key_values
measured = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
worked_out = cache_bytes(shipped.config.language_config, 100, 4)
print(f"mini, 100 tokens in float32: {worked_out:,} bytes worked out, {measured:,} measured")
lengths = {"one token": 1, "a minute of film": tokens_of_clip(60, **sizes), "2,048 places": 2048}
for name, length in lengths.items():
    print(f"7 billion, bfloat16, {name}: {cache_bytes(paper.language_config, length) / 1e6:.1f} MB")

# %% [markdown]
# ## Arithmetic, part by part
#
# Count one attention block by hand, and let torch count it: `FlopCounterMode` watches every product, also on meta.
#
# $$\underbrace{4 \cdot 2 L D^2}_{\text{projections}} + \underbrace{2 \cdot 2 L^2 D}_{\text{scores and sum}}$$

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
print(f"a window, L = 320, D = {D}: {attention_cost(320, D):,} by the formula, {by_torch:,} counted by torch")
frames = range(10, 1281, 10)  # of 32 tokens
seconds, one_window = [n / 2 for n in frames], attention_cost(320, D)
curves({"one window as long as the clip": (seconds, [attention_cost(n * 32, D) / 1e12 for n in frames]),
        "windows of 10 frames": (seconds, [n // 10 * one_window / 1e12 for n in frames])},
       x="seconds of film", y="TFLOP of one causal attention", points=False, log="xy")

# %% [markdown]
# That is a reason for windows beside the even detail that they keep (notebook 06): their cost grows with the length of the film, not with its square. Now all the
# parts, for one minute of film and a prompt of 64 tokens. **Predict** which part costs most.

# %%
from favor_mini.encoders import encode_audio
from favor_mini.qformer import AttentionMaps


def connect(model, windows):
    """The causal Q-Former over so many windows, masks left out: they forbid pairs and spare no arithmetic."""
    q = model.qformer
    x = torch.empty(windows, *q.positions.shape, device="meta").detach()
    queries = q.queries.detach().expand(windows, -1, -1)
    for layer in q.layers:
        queries = layer(queries, q.embed(x), None, None, AttentionMaps(None, None, None, None))
    return model.projection(queries)


full.eval()
size, kind = paper.vision_config.image_size, torch.bfloat16
length = tokens_of_clip(60, **sizes) + 64
with torch.no_grad():
    frame = torch.empty(1, 1, 3, size, size, dtype=kind, device="meta")
    chunk = torch.empty(1, 1, 80, 3000, dtype=kind, device="meta")
    per_frame = flops(lambda: full.visual_encoder(frame))
    per_chunk = flops(lambda: encode_audio(full.audio_encoder, chunk))
    reading = flops(lambda: llm(**tokens(llm, length), use_cache=False))
per_window = flops(lambda: connect(full, 1))
cost = {"eyes: 120 frames": 120 * per_frame, "ears: two chunks of 30 s": 2 * per_chunk,
        "causal Q-Former: 12 windows": 12 * per_window, f"language model reads {length} tokens": reading}
bars({name: value / 1e12 for name, value in cost.items()}, x="TFLOP forward, for one minute of film")

# %% [markdown]
# The connector, which all of these notebooks are about, is nearly free. The *eyes* cost most: every frame passes a vision model
# of a billion weights. In the mini world features are computed once and kept (`encode_scenes`). At full size that works too. With
# `question_conditioning=True`, as in InstructBLIP, the visual *Q-Former's* tokens differ for each question, so then keep what the ViT
# gives: 257 vectors of 1,408 numbers a frame in place of 32 of 768, and nearly all of the arithmetic is saved all the same.
#
# ## Activations
#
# What is left is what autograd keeps between forward and backward. That, too, can be *measured* on meta: a hook is called for
# each tensor that is kept, and we add up its bytes.

# %%
from torch.autograd.graph import saved_tensors_hooks


def kept_for_backward(model, run, without=None):
    """Bytes that autograd keeps while `run` goes forward; but for tensors (..., without, without)."""
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


def learn(model, length):
    """A forward pass with a loss; nothing is computed."""
    logits = model(**tokens(model, length), use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits[0], torch.zeros(length, dtype=torch.long, device="meta"))


llm.train()
found = {"plain attention, L x L maps kept": kept_for_backward(llm, lambda: learn(llm, length)),
         "fused attention, no map kept": kept_for_backward(llm, lambda: learn(llm, length), without=length)}
llm.gradient_checkpointing_enable()
found["activation checkpointing"] = kept_for_backward(llm, lambda: learn(llm, length))
llm.gradient_checkpointing_disable()
bars({name: value / 1e9 for name, value in found.items()},
     x=f"GB kept for one clip of a minute ({length} tokens), 7 billion, bfloat16")

# %% [markdown]
# **Activation checkpointing** keeps only what enters each layer, and computes the inside again on the way back: one more forward
# pass for a fraction of the memory (one layer's inside comes on top while it is being redone). Same gradient? On the real mini
# model:

# %%
from favor_mini import FavorProcessor, read_clip
from favor_mini.world.samples import read_samples

reader = FavorProcessor.from_pretrained(checkpoint_path())
sample = read_samples()[0]
batch = reader([read_clip(sample.path)], [sample.questions[0].text], [sample.questions[0].answer])
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
# Move frames, K, N, the language model and checkpointing. What grows? **Try:** which of them changes the memory most? Which the
# arithmetic? When do weights stop being the largest share? (Batch of one clip, fused attention, AdamW. All of it is worked out
# from configs; none of it was measured on a GPU, and fragments and buffers of a real run come on top.)

# %%
from ipywidgets import Checkbox, IntSlider
from transformers import LlamaConfig

from favor_mini.course.widgets import explore
from favor_mini.qformer import CausalQFormer

shapes = {"7 billion": paper.language_config,
          "1 billion": LlamaConfig(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                                   num_attention_heads=32, num_key_value_heads=4, vocab_size=32001),
          "13 billion": LlamaConfig(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40,
                                    num_attention_heads=40, vocab_size=32001)}
known, probe = {}, 300  # tokens to measure with
for name, language in shapes.items():
    model = on_meta(FavorConfig(**{**paper.to_dict(), "language_config": language.to_dict()}))
    one = model.language_model.to(torch.bfloat16).train()
    inside = kept_for_backward(one, lambda one=one: learn(one, probe), without=probe) / probe
    forward = flops(lambda one=one: one(**tokens(one, probe), use_cache=False)) / probe
    known[name] = count_parameters(model), inside, forward, language


P, D = paper.step_shape


def full_size(llm, frames, frames_K, queries_N, checkpointing):
    parts, inside, forward, language = known[llm]
    windows = math.ceil(frames / frames_K)
    length = windows * queries_N + 64
    with torch.device("meta"):
        like = torch.nn.Module()
        like.qformer = CausalQFormer(input_width=D, window_frames=frames_K, step_tokens=P,
                                     num_queries=queries_N, width=paper.qformer_width)
        like.projection = torch.nn.Linear(paper.qformer_width, language.hidden_size)
    connector = windows * kept_for_backward(like, lambda: connect(like, 1), without=frames_K * P)
    if checkpointing:
        inside = inside / language.num_hidden_layers + 2 * language.hidden_size * language.num_hidden_layers
    trained = sum(p.numel() for p in like.parameters()) + parts["audio_projection"][0] + parts["LoRA"][0]
    frozen = sum(parts[name][0] for name in ("audio_encoder", "visual_encoder", "language_model"))
    gb = {"frozen weights": 2 * frozen, "what learns: weights, gradients, states": 16 * trained,
          "activations": length * inside + connector}
    tflop = {"eyes": frames * per_frame, "ears": math.ceil(frames / 60) * per_chunk,
             "connector": 3 * windows * flops(lambda: connect(like, 1)),
             "language model": (3 if checkpointing else 2) * length * forward}
    answering = {"frozen weights": 2 * frozen, "KV cache": cache_bytes(language, length)}
    told = ", ".join(f"{name} {value / 1e12:.1f}" for name, value in tflop.items())
    return [stacked_bars({"training": {k: v / 1e9 for k, v in gb.items()},
                     "answering": {k: v / 1e9 for k, v in answering.items()}},
                    x="GB", title=f"{llm}: {windows} windows, {length} tokens for the language model"),
            f"One training step over this clip: {sum(tflop.values()) / 1e12:.0f} TFLOP ({told})."]


explore(full_size, llm=list(known),
        frames=IntSlider(value=120, min=20, max=960, step=20, description="frames"),
        frames_K=IntSlider(value=10, min=5, max=40, step=5, description="K"),
        queries_N=IntSlider(value=32, min=8, max=96, step=8, description="N"),
        checkpointing=Checkbox(value=False, description="activation checkpointing"))

# %% [markdown]
# ## The very same code
#
# Enough arithmetic; now the parts. `from_parts` takes three names, each a folder or a hub name, and joins what it finds; for
# instance
#
# ```python
# model = FavorForConditionalGeneration.from_parts(
#     audio="openai/whisper-large-v2", vision="Salesforce/instructblip-vicuna-7b", language="lmsys/vicuna-7b-v1.5",
#     dtype=torch.bfloat16, num_queries=32, question_conditioning=True)
# ```
#
# From here no hub can be reached, and a class has no time for such downloads. So make three checkpoints of the same
# *kinds*, small and with random weights, and save them as the hub has them. Nothing below knows that they are small.

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
kept_alive = tempfile.TemporaryDirectory()
hub = Path(kept_alive.name)
tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
ears = WhisperConfig(d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64,
                     decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=50,
                     max_source_positions=600, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                     decoder_start_token_id=1)
eyes = InstructBlipVisionConfig(**tiny, image_size=64, patch_size=16, initializer_range=0.05)
asks = InstructBlipQFormerConfig(**tiny, vocab_size=len(tokenizer), cross_attention_frequency=1,
                                 encoder_hidden_size=32, max_position_embeddings=64)
words = LlamaConfig(**{**tiny, "hidden_size": 64}, vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=2,
                    eos_token_id=3)
blip = InstructBlipConfig(vision_config=eyes.to_dict(), qformer_config=asks.to_dict(),
                          text_config=words.to_dict(), num_query_tokens=8, image_token_index=6)
for name, made in {"audio": WhisperForConditionalGeneration(ears), "language": LlamaForCausalLM(words),
                   "vision": InstructBlipForConditionalGeneration(blip)}.items():
    made.save_pretrained(hub / name)
WhisperFeatureExtractor(chunk_length=12).save_pretrained(hub / "audio")
tokenizer.save_pretrained(hub / "language")
tokenizer.save_pretrained(hub / "vision" / "qformer_tokenizer")
for folder in sorted(hub.iterdir()):
    print(folder.name, sorted(file.name for file in folder.iterdir())[:3], "...")

# %%
names = {part: str(hub / part) for part in ("audio", "vision", "language")}
settings = {"num_queries": 8, "question_conditioning": True, "placeholder_id": 6, "lora_rank": 4}
model = FavorForConditionalGeneration.from_parts(**names, **settings, dtype=torch.bfloat16)
processor = FavorProcessor.from_parts(model.config, **names)
types = {}
for name, p in model.named_parameters():
    types["LoRA" if "lora_" in name else name.split(".")[0]] = str(p.dtype).removeprefix("torch.")
for part, (total, trained) in count_parameters(model).items():
    print(f"{part:<18}{total:>8,} parameters, {'learns' if trained else 'frozen'}, {types[part]}")

# %% [markdown]
# Whisper's decoder and InstructBLIP's own language model were in the files and are not here: they are never read. The connector
# is fresh. And look at the types: what is frozen is bfloat16, the connector **and LoRA** are float32. Left to itself, LoRA takes
# the type of the model it is put into, and you have seen above what becomes of its small steps there; `from_parts` has peft cast it.
#
# `placeholder_id` is 6 since this tokenizer knows `<av>` as token 6. Vicuna's does not: leave the setting out, and a new token
# behind the vocabulary is made, in the model and in the processor alike. What if a name is wrong, or of the wrong kind?

# %%
import textwrap

for part, wrong in (("audio", names["vision"]), ("language", str(hub / "no-such-folder"))):
    try:
        FavorForConditionalGeneration.from_parts(**{**names, part: wrong})
    except (OSError, ValueError) as error:
        said = f"{type(error).__name__}: {error}".replace(str(hub), "hub")
        print(textwrap.shorten(said, 220, placeholder=" ..."))

# %% [markdown]
# ## Data in the published form
#
# The paper's benchmark comes as JSON lists of rows: files, a question, an answer or several, perhaps candidates and seconds.
# `favor_mini.aveb.files` reads them, names every row that cannot be used, and finds the media under a root. The samples of this
# repository are in that form, too:

# %%
import json

from favor_mini import data_path
from favor_mini.aveb.files import find_media, read_items, read_media

root = data_path("aveb").parent
for name in ("avqa", "asr", "video_qa", "avm"):
    items, broken = read_items(root / "aveb" / f"{name}.json")
    print(f"{name:<9}{len(items):>3} questions, {len(broken)} broken:", *items[0].media, items[0].question)
mine = [{"image": "a.jpg", "question": "what is it?", "answer": ["a cup", "a mug"]},
        {"image": "a.jpg", "answer": "a cup"}]
(hub / "mine.json").write_text(json.dumps(mine))
print(str(read_items(hub / "mine.json")[1][0]).replace(str(hub), "hub"))

# %% [markdown]
# For training you need rows of the *training* sets in that form, and a `Dataset` that reads media only when they are asked for.
# Ten lines; the processor does the rest. (Below it reads four test rows, only to show the form. Never train on rows that you
# test on.)

# %%
class Rows(torch.utils.data.Dataset):
    """Rows of the published form as training examples, over and over up to `count`."""

    def __init__(self, file, root, processor, count):
        self.items, self.root, self.processor, self.count = read_items(file)[0][:4], root, processor, count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        item = self.items[i % len(self.items)]
        clip = read_media(find_media(item, self.root), item.span)
        return {**self.processor.media(clip), "turns": [(item.question, item.answers[0])]}


data = Rows(root / "aveb" / "avqa.json", root, processor, count=6)
batch = processor.collate([data[0], data[1]])
for name, t in batch.items():
    print(f"{name:<15}{tuple(t.shape)}")

# %% [markdown]
# Real mp4 files, real mel spectrograms, InstructBLIP's classes, and the same `fit` that made the shipped checkpoint:

# %%
from favor_mini.training.trainer import fit

model.train()
log = fit(model, data, processor.collate, hub / "run", steps=3, batch=2, lr=1e-3, log_steps=1, progress=False,
          bf16=False)
for entry in log[:-1]:
    print(f"step {entry['step']}: cross-entropy {entry['cross_entropy']:.1f}")
model.eval()
clip = read_media(find_media(data.items[0], root))
asked = processor([clip], [data.items[0].question])
print("it says:", *processor.decode(model.generate(**asked, max_new_tokens=5, min_new_tokens=5)))

# %% [markdown]
# With random parts it babbles, of course. The point is that no code has to change for the real ones, only names and settings: other
# `num_queries` and `lora_rank`, no `placeholder_id`, rows of your own. (`bf16=False` keeps the arithmetic here exact; left out,
# `fit` takes bfloat16 where the machine gains by it.)
#
# **Keep what learned.** A checkpoint of the whole model would be mostly what everybody can download. Save what learned, and load
# it into freshly joined parts:

# %%
from safetensors.torch import load_file, save_file

learned = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
save_file(learned, hub / "learned.safetensors")
torch.manual_seed(7)  # another fresh connector
again = FavorForConditionalGeneration.from_parts(**names, **settings, dtype=torch.bfloat16)
again.load_state_dict(load_file(hub / "learned.safetensors"), strict=False)
with torch.no_grad():
    print("the same logits:", torch.equal(model(**batch).logits, again.eval()(**batch).logits))
everything, trained = (sum(pair[i] for pair in counted.values()) for i in (0, 1))
print(f"at full size: {4 * trained / 1e9:.2f} GB, in place of {(2 * everything + 2 * trained) / 1e9:.1f}")

# %% [markdown]
# ## More clips than fit: accumulate
#
# One clip of a minute fills a small card. A batch of sixteen is then sixteen passes whose gradients are added up before one step.
# Gradients of a mean are means of gradients, so nothing changes, *if the parts are weighed rightly*:
#
# $$\nabla \frac{1}{n}\sum_{i=1}^{n} \ell_i \;=\; \sum_{p} \frac{n_p}{n}\, \nabla \Big(\frac{1}{n_p} \sum_{i \in p} \ell_i\Big)$$
#
# By hand: two parts of one and three rows, with mean gradients 4 and 0. The whole batch's is $\frac14 \cdot 4 + \frac34 \cdot 0
# = 1$, not 2.

# %%
card("accumulate")

# %% tags=["exercise:accumulate"]
def accumulate(loss_of, weight, parts):
    """The gradient of the mean loss over all rows, from one part after another."""
    raise NotImplementedError  # your code

# %%
accumulate = check("accumulate", accumulate)

# %% [markdown]
# Now on the model. Four clips in one batch; then in two halves. A subtlety: cross-entropy here is a mean over the answers'
# *tokens*, and a half with longer answers holds more of them.

# %%
model.float()  # rounding out of the way
model.config.diversity_weight = 0.0  # its mean is over windows, not tokens; leave it aside
answers = ["bell", "drum", "the red circle was seen at left", "the horn was heard"]
examples = [{**data[i], "turns": [(data.items[i].question, said)]} for i, said in enumerate(answers)]
halves = [processor.collate(examples[:2]), processor.collate(examples[2:])]


def gradient(batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return model.projection.weight.grad.clone()


whole, parts = gradient(processor.collate(examples)), [gradient(half) for half in halves]
told = [int((half["labels"] != -100).sum()) for half in halves]
equal = sum(parts) / 2
weighed = sum(n / sum(told) * g for n, g in zip(told, parts, strict=True))
print("tokens that count in each half:", told)
for name, found in (("halves count alike", equal), ("weighed by tokens", weighed)):
    print(f"{name}: off by {(found - whole).norm() / whole.norm():.0%} of the gradient")

# %% [markdown]
# Trainer with `gradient_accumulation_steps` counts parts alike for this model (it is told so by `accepts_loss_kwargs = False`). Then
# a word weighs more where its part holds few. That is a choice, and mostly harmless where parts look alike. Know that it is made.
#
# **Several GPUs** do the same sum side by side. Started by `accelerate launch` or `torchrun`, Trainer runs one process a GPU.
# Each holds the whole model, takes its own share of every batch, and the gradients are *averaged* before the step, parts
# counting alike once more. So
#
# $$\text{clips a step} = \text{GPUs} \times \text{batch of each} \times \text{accumulated parts}$$
#
# and whoever doubles the GPUs either halves the accumulation or has changed the experiment. Two warnings. Every process must use
# every weight that learns in every step, or the others wait for it: a batch without a single clip leaves the connector unused.
# And whatever a script does at its start, such as computing features to keep, every process does, unless told otherwise. *This repository has been run on one device at a time;
# nothing in this paragraph has been measured here.*

# %%
flow([("each GPU", "the whole model, its own clips", "batch b"),
      ("accumulate", "a parts, one after another", "a x b clips"),
      ("average", "gradients of all g GPUs", "g x a x b clips"),
      ("step", "the same on every GPU", "one update")],
     title="One step on several GPUs", here="average")

# %% [markdown]
# ## A first full-size run
#
# As commands. Where there is a network, once; then never again:
#
# ```sh
# hf download openai/whisper-large-v2
# hf download Salesforce/instructblip-vicuna-7b
# hf download lmsys/vicuna-7b-v1.5
# export HF_HUB_OFFLINE=1
# python train_full.py --steps 20                                # one GPU: does it fit, does the loss fall?
# accelerate launch --num_processes 8 train_full.py --steps 5000
# favor-mini evaluate --task video_qa --file nextqa_test.json --media-root videos --checkpoint out
# ```
#
# `train_full.py` is yours to write, of what you have just run: `from_parts` and `FavorProcessor.from_parts` with the real names,
# `model.language_model.gradient_checkpointing_enable()`, `Rows` without the `[:4]`, `fit(model.train(), ..., "out/run")`, and for
# `favor-mini evaluate`, which reads whole checkpoints, `save_pretrained("out")` of model and processor. **What does not carry over** is the mini recipe's first stage: *naming* needs a script for every clip. At
# full size its place is taken by plain data with long answers, speech to transcribe, sounds and pictures to describe: align
# first, then ask. Rates and steps must be found anew, too.
#
# What would it cost? Arithmetic with assumptions, each a slider: how much of a card's peak is reached (never all of it), what an
# hour costs. The peak's default is a round number for a present card in bfloat16; look yours up. **None of this is measured.**

# %%
trained_forward = known["7 billion"][2]


def what_it_costs(thousand_clips, seconds, passes, gpus, peak, reached, price):
    clips = 1000 * thousand_clips * passes
    length = tokens_of_clip(seconds, **sizes) + 64
    work = {"eyes": math.ceil(2 * seconds) * per_frame, "ears": math.ceil(seconds / 30) * per_chunk,
            "connector, forward and backward": 3 * math.ceil(seconds / 5) * per_window,
            "language model, forward and backward": 2 * length * trained_forward}
    speed = peak * 1e12 * reached / 100  # operations a second
    hours = {name: clips * value / speed / 3600 for name, value in work.items()}
    together = sum(hours.values())
    title = f"{clips:,} clips of {seconds} s: {together:,.0f} GPU hours, if {reached} % is reached"
    return [bars(hours, x="GPU hours", form="{:.1f}", title=title),
            f"On {gpus} GPUs {together / gpus / 24:.1f} days; at {price} an hour {together * price:,.0f}. "
            "Reading films, failed runs, and the second attempt are not in it."]


def slider(value, low, high, step, said):
    return IntSlider(value=value, min=low, max=high, step=step, description=said,
                     style={"description_width": "initial"})


explore(what_it_costs, thousand_clips=slider(200, 10, 2000, 10, "thousand clips"),
        seconds=slider(30, 5, 120, 5, "seconds"), passes=slider(1, 1, 10, 1, "passes"),
        gpus=slider(8, 1, 64, 1, "GPUs"), peak=slider(500, 50, 2000, 50, "peak, TFLOP/s"),
        reached=slider(30, 5, 60, 5, "% reached"), price=slider(2, 1, 20, 1, "price of a GPU hour"))

# %% [markdown]
# ## What to play with
#
# - In the first widget, find the longest film that trains on 24 GB with the 7 billion model. What had you to give up?
# - In the second, set three passes. If the eyes' features are kept after the first: which bar shrinks, and by how much?
# - Build `on_meta(FavorConfig.paper(num_queries=96))` and count: how much larger is the connector? Why so little?
# - Leave `placeholder_id` out of `settings` and read what `FavorProcessor.from_parts` says.
#
# ## Recap
#
# - The same classes serve both sizes; a config and three names change.
# - On the meta device, parameters, arithmetic and even activations are counted without being allocated.
# - Freezing saves gradients and states. It does not save the way back through what stands after the connector.
# - Frozen parts in bfloat16, what learns in float32. Look at the types: left to itself, LoRA takes those of its model.
# - The eyes cost most, the connector next to nothing, and N queries a window keep the language model's share small.
# - Accumulated and averaged gradients are those of the whole batch, if parts are weighed rightly.
# - Costs worked out are arithmetic with assumptions. Only a run measures.

# %% [markdown]
# ## Quiz
#
# **1.** The language model is frozen. Why does training still need its backward pass?
#
# - a) To update its embeddings
# - b) Because LoRA and the connector before it get their gradients through its layers
# - c) It does not; frozen parts run under `no_grad`
#
# <details><summary>Answer</summary>
#
# **b.** The gradient with respect to the inputs must travel through. *a:* they are frozen as well. *c:* of the encoders that is true,
# which stand before all that learns.
#
# </details>
#
# **2.** What does a weight that learns take in float32 with AdamW, activations aside?
#
# - a) 16 bytes
# - b) 4 bytes
# - c) 8 bytes
#
# <details><summary>Answer</summary>
#
# **a.** Itself, its gradient and two states, four bytes each. *b:* that is a frozen one. *c:* that leaves out the optimiser.
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
# **c.** 21 frames, three windows. *a:* the third window, with one frame in it, is lost. *b:* a window gives N vectors, not one a
# frame.
#
# </details>
#
# **4.** Activation checkpointing trades
#
# - a) accuracy for memory
# - b) arithmetic for memory
# - c) memory for disk
#
# <details><summary>Answer</summary>
#
# **b.** The inside of each layer is computed twice. *a:* the gradient is the same. *c:* nothing is written; saving checkpoints
# of a run is another thing of the same name.
#
# </details>
#
# **5.** You go from one GPU to eight and keep the batch of each and the accumulation. What changes?
#
# - a) Nothing but the time
# - b) Each step sees eight times the clips
# - c) Each GPU holds an eighth of the model
#
# <details><summary>Answer</summary>
#
# **b.** So it is another experiment, unless you accumulate an eighth. *a:* only if the clips a step stay equal. *c:* in plain
# data parallel training each holds all of it.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/config.py` (`FavorConfig.paper`), `favor_mini/model.py` (`from_parts`), `favor_mini/processor.py`
# (`FavorProcessor.from_parts`), `favor_mini/training/trainer.py` (`fit`), `favor_mini/aveb/files.py` (published rows),
# `favor_mini/apps/bench.py` (the Q-Former at the paper's sizes, on your machine); tests in `tests/test_from_parts.py`,
# `tests/test_aveb_files.py`, `tests/test_checkpoint.py`.
#
# **In the paper:** the model's parts and sizes, and what is trained. **Further reading:** LoRA ([arXiv
# 2106.09685](https://arxiv.org/abs/2106.09685)); *Training deep nets with sublinear memory cost* ([arXiv
# 1604.06174](https://arxiv.org/abs/1604.06174)) for activation checkpointing; ZeRO ([arXiv
# 1910.02054](https://arxiv.org/abs/1910.02054)) for sharing states among GPUs.
#
# **Next:** back to [00 Start here](00_start_here.ipynb), with a film of your own.
