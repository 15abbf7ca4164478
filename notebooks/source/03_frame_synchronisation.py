# %% [markdown]
# # 03 Frame synchronisation
#
# **You will** put what is seen and what is heard at the same moment side by side: cut, pad, join, and mark what is real. You
# will meet three other ways to join, move a clip's sound and watch a trained model follow it, and find a hidden offset again
# from nothing but the model's own probabilities.
#
# **You need** notebooks 01 (frames and sound as tensors) and 02 (what the two encoders make of them). **Paper:** section 3.1,
# temporal synchronisation.
#
# **Costs:** 40 minutes of reading, 65 minutes of exercises; 25 s of computing, 1.0 GB of memory.

# %%
import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.course import card, check
from favor_mini.figures.plots import curves, flow, matrices
from favor_mini.figures.sync import clip_steps, layouts, step_map, two_clocks
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Where we are
#
# The encoders have done their work: every frame is V visual tokens, every 20 ms of sound is one audio token. Two streams, two
# clocks, nothing yet that connects them.

# %%
flow([("encode", "frozen: what is there", "(T, V, D_v)  (L, D_a)"),
      ("synchronise", "seen and heard side by side", "(T, P, D_v + D_a)"),
      ("cut", "windows of K frames", "(W, K * P, D)"),
      ("causal Q-Former", "N queries sum up each window", "(W * N, width)"),
      ("language model", "reads them, answers", "words")],
     here="synchronise", title="The second station of a clip's way")

# %% [markdown]
# Why take trouble over it? Ask *what was shown when the bell was heard?* A model that hears all of the sound and sees all of
# the picture still does not know, unless it knows what belongs *together*. One could hope that it finds out, from positions, by
# training. The paper does not hope: it builds the answer into the input, frame by frame. No parameter is trained for it.
#
# ## Two clocks
#
# The picture ticks at 2 Hz, the sound at 50 Hz. One **time step** is one frame: half a second, and so
#
# $$A = 50\ \mathrm{Hz} \cdot 0.5\ \mathrm{s} = 25$$
#
# audio tokens. All V visual tokens of a frame belong to one instant; the A audio tokens beside it come one after another. Here
# with the mini model's V of 8 (the paper's is 32):

# %%
two_clocks(num_frames=4, visual_tokens=8, audio_tokens=25)

# %% [markdown]
# ## Cut the sound into steps
#
# An audio stream is one long row of L tokens. Token $l$ is heard in step $\lfloor l / A \rfloor$, at place $l \bmod A$ within
# it. In the right order in memory that is no computation at all, only a change of shape. By hand, for five tokens and A = 2:
#
# ```
#    tokens   10 11 12 13 14
#    step 0   10 11
#    step 1   12 13
#    step 2   14  0        <- not full: zeros *behind* the sound
# ```
#
# The last line is where mistakes live. Throw the half-full step away, and a word at the end of the clip is cut off. Put the
# zero in front, and all of the sound comes too late. The tokens are only moved: what comes in as `float64` or `bool` goes out as
# that, and no sound at all (L = 0) has no steps.

# %%
card("split_steps")

# %% tags=["exercise:split_steps"]
def split_steps(audio, audio_tokens):
    """(B, L, D_a), A -> (B, ceil(L / A), A, D_a); the last step is filled up with zeros."""
    raise NotImplementedError  # your code

# %%
split_steps = check("split_steps", split_steps)
print(split_steps(torch.tensor([[[10], [11], [12], [13], [14]]]), 2)[0, ..., 0])

length = round(9.7 * 50)  # predict, then run: how many steps are 9.7 s, and how many zeros are in the last?
steps = split_steps(torch.ones(1, length, 1), 25)
print(f"{length} tokens, {steps.shape[1]} steps, {int((steps[0, -1] == 0).sum())} zeros in the last")

# %% [markdown]
# ## Pad both to one size
#
# To stand side by side, the two streams need equally many steps, and equally many tokens in a step. Neither is given: the
# sound of a file may end before the picture, and V is hardly ever A. So both grow to the larger one:
#
# $$T = \max\big(T_v,\ \lceil L / A \rceil\big), \qquad P = \max(V, A)$$
#
# Zeros go behind what is there, on both axes.

# %%
card("pad_steps")

# %% tags=["exercise:pad_steps"]
def pad_steps(stream, num_frames, step_tokens):
    """(B, t, p, D) -> (B, num_frames, step_tokens, D), zeros at the end of both axes."""
    raise NotImplementedError  # your code

# %%
pad_steps = check("pad_steps", pad_steps)

# %% [markdown]
# ## Side by side
#
# Now the step that gives the module its name. For step $t$ and place $p$, with $v$ and $a$ the padded streams:
#
# $$x_{t,p} = \big[\, v_{t,p}\ ;\ a_{t,p} \,\big] \in \mathbb{R}^{D_v + D_a}$$
#
# The semicolon is the whole idea. The two are joined along the **feature** axis: one token then *is* "this picture with that
# sound". Nobody has to look for the partner; a linear map sees both halves at once.

# %%
card("synchronise")

# %% tags=["exercise:synchronise"]
def synchronise(visual, audio, *, audio_tokens):
    """visual (B, T_v, V, D_v), audio (B, L, D_a) -> (B, T, P, D_v + D_a)."""
    raise NotImplementedError  # your code

# %%
synchronise = check("synchronise", synchronise)

# %% [markdown]
# **Predict, then run.** Two frames of a single visual token each, worth 1 and 2. Five audio tokens, worth 10 to 14, two a
# step. Write the six pairs down first.

# %%
visual = torch.tensor([[[[1.0]], [[2.0]]]])  # [1, 2, 1, 1]
audio = torch.tensor([[[10.0], [11.0], [12.0], [13.0], [14.0]]])  # [1, 5, 1]
steps = synchronise(visual, audio, audio_tokens=2)[0]  # [3, 2, 2]
matrices({f"step {t}": step for t, step in enumerate(steps)}, x="feature: seen, heard", y="token")

# %% [markdown]
# Every step has its own little table: rows are tokens, the left column is what is seen, the right one what is heard. The second
# token of steps 0 and 1 has no picture, for there is but one visual token a frame; in step 2 there is no frame at all.
#
# How much of such a tensor is zeros? Move the sliders to the mini model's sizes (V = 8, A = 25) and to the paper's (V = 32). What
# becomes of the *sound's* half when V grows beyond 25? And when the sound is shorter than the picture?

# %%
from ipywidgets import IntSlider


def slider(value, low, high, name):
    return IntSlider(value=value, min=low, max=high, description=name, continuous_update=False)


explore(lambda frames, V, sound, A: step_map(frames, V, sound, A),
        frames=slider(20, 0, 24, "frames"), V=slider(8, 1, 40, "V"),
        sound=slider(282, 1, 600, "sound, L"), A=slider(25, 5, 50, "A"))

# %% [markdown]
# With the paper's V, P is 32, and the last 7 tokens of every step have no sound. With the mini model's, 17 of 25 have no
# picture. A sound shorter than the picture ends in empty steps.
#
# Padding within a step costs arithmetic, not truth. But be careful: nothing *marks* it. A token whose picture half is zero says
# "no picture here" just as a step without a frame does.
#
# ## Trust nothing, measure
#
# Shapes would be right even if the sound were a step late. What must hold, whatever the numbers are?
#
# - Delay **both** streams by one step, and the result is delayed by one step; nothing else.
# - Delay **only the sound** by one step: the sound's half moves, the picture's half stays where it is.
# - A missing stream is all zeros.

# %%
V, A, D_v, D_a = 3, 5, 4, 2
torch.manual_seed(0)
visual, audio = torch.randn(1, 6, V, D_v), torch.randn(1, 6 * A, D_a)
before = synchronise(visual, audio, audio_tokens=A)
late_audio, late_visual = F.pad(audio, (0, 0, A, 0)), F.pad(visual, (0, 0, 0, 0, 1, 0))  # one step each
both_late = synchronise(late_visual, late_audio, audio_tokens=A)
sound_late = synchronise(visual, late_audio, audio_tokens=A)
blind = synchronise(visual[:, :0], audio, audio_tokens=A)

print("both late, result late:    ", torch.equal(both_late[:, 1:], before) and not both_late[:, 0].any())
print("picture's half stays:      ", torch.equal(sound_late[:, :6, :, :D_v], before[..., :D_v]))
print("sound's half is a step on: ", torch.equal(sound_late[:, 1:, :, D_v:], before[..., D_v:]))
print("without picture, zeros:    ", not blind[..., :D_v].any(), " shape", tuple(blind.shape))

# %% [markdown]
# ## Which steps are real?
#
# Clips of one batch differ in length. The shorter ones are padded, and *these* zeros must be told from a black picture and from
# silence: nobody may attend to them, and a window that holds only them must not be handed to the language model. So a mask
# travels along, one boolean for each time step. A step is real if it holds a real frame **or** at least one real audio token:
#
# $$r_t = f_t \ \lor\ \bigvee_{p < A} h_{tA + p}$$
#
# By hand: three frames, the third one padding; seven audio tokens, five a step. Step 0 is both seen and heard, step 1 is seen,
# and two tokens of it are heard; step 2 is neither. With eleven audio tokens, step 2 would be real for its one token of sound.

# %%
card("step_mask")

# %% tags=["exercise:step_mask"]
def step_mask(frame_mask, audio_mask, *, audio_tokens):
    """(B, T_v) bool, (B, L) bool -> (B, T) bool: which time steps hold anything real."""
    raise NotImplementedError  # your code

# %%
step_mask = check("step_mask", step_mask)
frames = torch.tensor([[True, True, False]] * 2)
heard = torch.arange(12)[None] < torch.tensor([[7], [11]])
print(step_mask(frames, heard, audio_tokens=5))

# %% [markdown]
# ## On a real clip
#
# Now with the shipped model's encoders and a real file. (`visual_features` and `audio_features` are what notebook 02 ended
# with; the audio goes through a linear map to its width first, the only trained thing before the Q-Former.)

# %%
from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path, read_clip
from favor_mini.evaluation.answering import answer as ask_model
from favor_mini.media.clip import delay_sound
from favor_mini.evaluation.answering import encode_clips, likelihood
from favor_mini.world.samples import read_samples

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())
samples = {s.name: s for s in read_samples()}
sample = samples["clip_00"]
clip = read_clip(sample.path)
encoded = encode_clips(model, processor, {"clip": clip})["clip"]

with torch.no_grad():
    visual = encoded["visual_features"].float()[None]  # [1, T_v, V, D_v]
    audio = model.audio_projection(encoded["audio_features"].float()[None])  # [1, L, D_a]
steps = synchronise(visual, audio, audio_tokens=model.config.audio_tokens)
for name, tensor in {"visual": visual, "audio": audio, "steps": steps}.items():
    print(f"{name:8}", tuple(tensor.shape))

# %% [markdown]
# Is it in step? A tensor of 22 x 25 x 256 numbers shows nothing to the eye, but two things about it can be drawn. How much
# does the picture's half change from one step to the next? It should do so where the script changes the scene. And how far are
# the sound's tokens from silence? (Most of this clip is silent, so its median token stands for silence here.)

# %%
clip_steps(sample.scene, steps[0], model.config.visual_width)

# %% [markdown]
# Both follow the script, on one time axis. (At 6 s the green circle turns its colour.) Now cut the sound with a wrong A. Nothing
# raises an error; but look at the lower bars, and at where the drum has come to lie.

# %%
def cut_with(A, seen=visual, heard=audio, scene=sample.scene, width=model.config.visual_width):
    return clip_steps(scene, synchronise(seen, heard, audio_tokens=A)[0], width)


explore(cut_with, A=slider(20, 15, 35, "A"))

# %% [markdown]
# Too small an A stretches the sound: the later, the further it lags behind its picture. Too large an A lets it hurry ahead.
#
# ## What is missing, and what stands still
#
# Not every file has both streams. The rule is short: *a missing modality is all zeros*. But zeros **where**? The audio
# projection has a bias, so zeros that enter it come out as something. That is why the mask is applied *after* the projection;
# see `masked_fill` in `FavorForConditionalGeneration.connect`.
#
# **Predict, then run:** the same picture with (a) no audio at all, (b) random audio that the mask declares not real, (c) zeros
# that the mask declares real. Which of them give the same queries?

# %%
seen, everything = visual, torch.ones(visual.shape[:2], dtype=torch.bool)
width, L = model.config.audio_config.d_model, audio.shape[1]
cases = {"a: no audio": (torch.zeros(1, 0, width), torch.zeros(1, 0, dtype=torch.bool)),
         "b: noise, masked": (torch.randn(1, L, width), torch.zeros(1, L, dtype=torch.bool)),
         "c: zeros, real": (torch.zeros(1, L, width), torch.ones(1, L, dtype=torch.bool))}
with torch.no_grad():
    quiet = model.audio_projection(torch.zeros(1, 1, width))
    queries = {name: model.connect(seen, heard, everything, mask)[0] for name, (heard, mask) in cases.items()}
print(f"length of a zero vector after the projection: {quiet.norm():.2f}")
for name, found in queries.items():
    print(f"{name:18} same queries as a: {torch.allclose(found, queries['a: no audio'], atol=1e-4)}")

# %% [markdown]
# (b) is (a): what the mask declares not real is zero after the projection, whatever stood there. (c) is another clip: one with a
# silence that is really heard.
#
# A **still image with sound** has one frame and many steps. The processor repeats the frame, once for each step of sound, so
# that every sound has its picture. A still image without sound is one step long. A file of sound alone has no frame, and its
# steps are counted by the sound.
#
# One more kind of padding comes from Whisper: it hears in chunks of fixed length, so its tokens cover whole chunks, whatever
# the clip lasts. What lies behind the last real token of every clip in a batch is cut off again before anything is computed
# (`sync.trim`).

# %%
from favor_mini.media.clip import clip_from_arrays
from favor_mini.sync import trim

still = clip.frames[:1]
kinds = {"film with sound": clip,
         "still image with sound": clip_from_arrays(frames=still, waveform=clip.waveform),
         "still image": clip_from_arrays(frames=still), "sound": clip_from_arrays(waveform=clip.waveform)}
for name, one in kinds.items():
    media = processor.media(one)
    print(f"{name:24} frames {media['num_frames']:3}  audio tokens {media['audio_tokens']:4}  "
          f"time steps {processor.num_steps(media):3}")

mask = processor([clip], ["what was said?"])["audio_mask"]
_, kept = trim(torch.zeros(*mask.shape, 1), mask)
print(f"Whisper's tokens {mask.shape[1]}, real {int(mask.sum())}, after trim {kept.shape[1]}")

# %% [markdown]
# ## Plug yours in
#
# Parts of the model can be exchanged. The place of such a part is a *slot*, here `sync`; the model finds by name what fills it.
# What a part must do to fit is the slot's *contract*: promises about shapes, dtypes, empty streams, padding and causality, each
# tried out on random numbers. Register yours (or what stands in for it) and let the trained model use it:

# %%
from favor_mini.lab.contract import check as contract  # with the lab come its other variants
from favor_mini.registry import register


@register("sync", "mine", causal=True)
def mine(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """What this notebook has built."""
    return (synchronise(visual, audio, audio_tokens=audio_tokens),
            step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens))


findings = contract("sync", "mine", show=False)
print(f"{len(findings.all)} promises, kept: {sum(f.kept for f in findings.all)}", *findings.broken, sep="\n")

question = "what was shown when the whistle was heard?"
for name in ("concat", "mine"):
    model.config.sync = name
    print(f"{name:8}", question, "->", ask_model(model, processor, [encoded], [question])[0])
model.config.sync = "concat"

# %% [markdown]
# ## Other ways to join
#
# Is *side by side* the only way? The lab keeps three others. The picture below was found out, not drawn by hand: marked tokens
# went through each function, four steps of V = 2 and A = 3. `v2` is a token of frame 2, `a2` was heard during it (counted from
# 0), thick lines end a step.

# %%
layouts(["concat", "interleave", "add", "append"], num_frames=4, visual_tokens=2, audio_tokens=3)

# %% [markdown]
# - `concat`, the paper's: what belongs together is one token.
# - `interleave`: still in step, but first the step's picture tokens, then its sound's, each its own token. Attention has to join
#   them.
# - `add`: the halves are summed, so the width halves as well; the Q-Former must tell apart what was poured together.
# - `append`: all of the picture, then all of the sound. What happened together stands far apart, and "a step" is just a
#   stretch of tokens. This is how one would feed two streams to a language model without thinking of time.
#
# Write the second one. It needs nothing that you do not have.

# %%
card("interleave")

# %% tags=["exercise:interleave"]
def interleave(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """-> steps (B, T, V + A, D_v + D_a) and the mask of real steps (B, T)."""
    real = step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens)  # [B, T]
    raise NotImplementedError  # your code

# %%
interleave = check("interleave", interleave)


@register("sync", "interleaved", causal=True)
def interleaved(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The one above, under a name of its own."""
    return interleave(visual, audio, frame_mask, audio_mask, audio_tokens=audio_tokens)


findings = contract("sync", "interleaved", show=False)
print(f"{len(findings.all)} promises, kept: {sum(f.kept for f in findings.all)}", *findings.broken, sep="\n")

# %% [markdown]
# What do they cost? A window holds K * P tokens of width D, and attention compares every token with every other. `step_shape`
# asks a variant for its P and D; the rest is arithmetic, for the windows of K = 10 frames. And do they keep time? The contract
# measures it: change *one* time step of both streams, and look which steps of the result move. (The figure calls the steps
# frames, and counts them from 1.)

# %%
from favor_mini.figures.lab import reach
from favor_mini.lab import contract as trial
from favor_mini.sync import step_shape

sizes = {"mini": {"visual_tokens": 8, "visual_width": 128, "audio_tokens": 25, "audio_width": 128},
         "paper": {"visual_tokens": 32, "visual_width": 768, "audio_tokens": 25, "audio_width": 768}}
print(f"{'':22}{'P':>4}{'D':>7}{'tokens a window':>17}{'pairs, thousands':>18}")
for size, known in sizes.items():
    for name in ("concat", "interleaved", "add", "append"):
        P, D = step_shape(name, **known)
        print(f"{size:7}{name:15}{P:4}{D:7}{10 * P:17}{(10 * P) ** 2 / 1e3:18.1f}")

print(f"\nthe contract's clip: {trial.FRAMES} frames, V = {trial.V}, A = {trial.A}")
reach({name: contract("sync", name, show=False).reach for name in ("concat", "interleaved", "add", "append")})

# %% [markdown]
# At the paper's sizes V and A are nearly equal, so that concatenation wastes little; a row of separate tokens would be nearly
# twice as long, and pairs go with its square.
#
# In the picture, three clean diagonals: step by step. Not so `append`. Take its row 4: the 9 frames are 27 picture tokens and a
# step is 8 tokens long, so row 4 holds the last three picture tokens, of frame 9, and behind them the sound of frame 1. Under
# `append` no mask over steps, however causal, can keep the future out: it has moved in before the mask is laid on. (That is why
# it is declared `causal=False`.)
#
# ## An experiment with known offsets
#
# How would you find out whether a *trained* model uses the synchronisation, and does not just get by without? Take pairs whose
# alignment is known, move the sound, and watch. Here the world is made by script, so alignment is known exactly. In one hundred
# clips the sound was moved by up to 1.5 s, and everything was asked again. The results ship:

# %%
from favor_mini.figures.lab import differences, offsets
from favor_mini.lab.experiments import tell

results = tell("offset")
offsets(results) if results else None

# %% [markdown]
# Two curves, two stories. Questions that one stream can answer lose far less: only what is moved out of the clip cannot be heard.
# Questions that need both fall to chance. Chance means here: as often as somebody deaf, or somebody blind, could be right at
# best who misses nothing of the stream that is left. The bands are 95 % intervals.

# %% [markdown]
# ## Move the sound yourself
#
# Averages hide what happens. Here is one clip with its script, and ten questions that need both streams. Drag the sound. Which
# answers change first, and what do they become?

# %%
from functools import cache

from favor_mini.figures.sync import answers_by_shift, moved, shown_now
from ipywidgets import FloatSlider

asked = [q for q in sample.questions if q.family in ("shown_when", "heard_while")]


@cache
def answers_at(shift):
    """What the model answers to `asked` when the sound comes `shift` seconds late."""
    late = encode_clips(model, processor, {"late": delay_sound(clip, shift)})["late"]
    return ask_model(model, processor, [late] * len(asked), [q.text for q in asked])


late = FloatSlider(value=1.5, min=-3, max=3, step=0.5, description="late (s)", continuous_update=False)
explore(lambda late: moved(sample.scene, late, asked, answers_at(late)), late=late)

# %% [markdown]
# **Predict, then run.** At +1.5 s, what will the model say was shown when the *horn* was heard? And at -1.5 s, when the
# *whistle* was heard? (Look at the script: which picture is on screen at the sound's new time?) What can it say about the horn
# at -1.5 s, when all but the last of the horn has left the clip?

# %%
shifts = [float(s) for s in np.arange(-4, 5) * 0.5]
answers_by_shift(asked, {shift: answers_at(shift) for shift in shifts})

# %% [markdown]
# Look closely at the answers that changed. Many are *neighbours*: what is on screen, or heard, at the new time. The model is not
# broken, it answers the clip that it is given. (Of the horn there is nothing to say at -1.5 and -2 s; it names a picture all the
# same.) For the pictures this can be counted: does the answer equal what the untouched clip showed? Or what the *moved* clip
# shows?

# %%
told = [(q.answer, shown_now(sample.scene, q, shift), answers_at(shift)[i])  # untouched, moved, answered
        for i, q in enumerate(asked) for shift in shifts if q.family == "shown_when"]
gone = sum(now == "nothing" for _, now, _ in told)
elsewhere = [(still, now, said) for still, now, said in told if now not in (still, "nothing")]
print(f"{len(told)} answers; in {gone} the sound has left the clip")
print(f"in {len(elsewhere)} it has reached another picture; of these")
print("   as in the moved clip:    ", sum(said == now for _, now, said in elsewhere))
print("   as in the untouched clip:", sum(said == still for still, _, said in elsewhere))
print("   neither:                 ", sum(said not in (still, now) for still, now, said in elsewhere))

# %% [markdown]
# (Nor is it right about everything: look at the column of 0.) One clip is an anecdote, not a statistic; but it says *how* the
# curve above falls, and how it may even fall below chance. Who names the neighbour is wrong more surely than who guesses.
#
# ## Recover an unknown offset
#
# Turn it round. Somebody hands you a film whose sound is off, nobody knows by how much. But you know a few true things about the
# film. Then move the sound back and forth, and ask the model under each shift $s$ how likely the true answers are:
#
# $$\hat{s} = \arg\max_s \sum_i \log p\big(\text{true answer}_i \mid \text{clip moved by } s\big)$$
#
# Where everything fits, the truth is likeliest. `likelihood` gives the log probabilities, `FAMILIES` what a question needs: ears,
# eyes, and `sync` where the answer hangs on which sound lies beside which picture.

# %%
from favor_mini.world.questions import FAMILIES

print({family: FAMILIES[family] for family in ("shown_when", "read", "said")})
card("recover_offset")

# %% tags=["exercise:recover_offset"]
def recover_offset(rows):
    """rows with clip, family, shift and logp -> by clip, the shift where the truth is likeliest."""
    raise NotImplementedError  # your code

# %%
recover_offset = check("recover_offset", recover_offset)

# %% [markdown]
# Two clips get a hidden delay, drawn by chance. Then every shift is tried. A recovered shift should be the *opposite* of the
# hidden one.

# %%
rng = np.random.default_rng(0)
tried = [float(s) for s in np.arange(-3, 4) * 0.5]
hidden = {name: float(rng.choice([-1, -0.5, 0.5, 1])) for name in ("clip_02", "clip_03")}
rows = []
for name, secret in hidden.items():
    told = [q for q in samples[name].questions if {"audio", "video"} <= set(FAMILIES[q.family])]
    received = delay_sound(read_clip(samples[name].path), secret)  # what we are handed
    shifted = encode_clips(model, processor, {s: delay_sound(received, s) for s in tried})
    texts, truth = [q.text for q in told], [q.answer for q in told]
    for s in tried:
        logp = likelihood(model, processor, [shifted[s]] * len(told), texts, truth)
        rows += [{"clip": name, "family": q.family, "shift": s, "logp": float(p)}
                 for q, p in zip(told, logp, strict=True)]

found = recover_offset(rows)
for name, secret in hidden.items():
    print(f"{name}: hidden {secret:+.1f} s, brought back by {-secret:+.1f} s; recovered {found[name]:+.1f} s")


def total(name, shift):
    return sum(row["logp"] for row in rows if row["clip"] == name and row["shift"] == shift)


curves({f"{name}, hidden {hidden[name]:+.1f} s": (tried, [total(name, s) for s in tried]) for name in hidden},
       x="shift tried (s)", y="log probability of the truth",
       title="Where everything fits, the truth is likeliest")

# %% [markdown]
# Two clips again prove little. Over the clips of the experiment above, as far as they have such questions:

# %%
if results:
    print(str(results).split("\n\n")[1])
    alone = results.recovered("one modality, plain")
    print("by questions that one stream answers instead")
    print(f"  at the right place: {(alone == 0).sum()} of {len(alone)} clips")
    print(f"  at most 0.5 s beside it: {(alone.abs() <= 0.5).sum()} of {len(alone)} clips")

# %% [markdown]
# The exact place is found more often than by guessing, if not often; within one step of it the offset is found in most clips.
# Much finer it cannot be: a picture stands for its whole half second, and a moment of this world lasts about four of them, so
# that a sound moved by half a second mostly stays with its picture.
#
# Questions that one stream answers are little or no better than guessing. Deaf to the shift they are not (the blue curve above):
# sound moved out of the clip is lost. But that tells where least is lost, not where the sound belongs.
#
# ## Does it help to learn with it?
#
# Whether a model trained *without* synchronisation is worse is another question. It takes trainings under each of the four ways
# to join, in pairs. (One window holds the whole clip there, so that `append` can reach everything as well.)

# %%
results = tell("sync")
if results:
    print(results.verdicts(["both modalities", "all"]))
groups = ["both modalities", "one modality, plain", "all"]
differences(results.differences(groups), results.arms[0]) if results else None

# %% [markdown]
# A model that was trained with synchronisation depends on it, and one that was trained without does as well: two questions, two
# answers. What `add` loses may be the width, for its tokens are half as wide; this experiment can't tell. And how far can it
# speak? An interval that holds 0 means *no difference found*, not that there is none. The clips last 8 to 12 s, the trainings
# minutes, and one window holds all. It shows that a claim need not hold.
#
# ## What to play with
#
# - Write `late`, a variant that joins frame t with the sound of step t - 3 and keeps T and the mask, so that the last three steps
#   of sound fall off the end. Register it, see which promise it breaks, put its name into `model.config.sync`, call
#   `answers_at.cache_clear()` and look at `answers_at(0)`. Is it what `concat` answered at +1.5 s?
#   <details><summary>Answer</summary>Nearly. One thing differs: Whisper has heard the sound where it was. The broken
#   promise is to take notice of every stretch of sound.</details>
# - In "Recover an unknown offset", use the questions that *one* stream answers. What does the curve look like, and why?
#   <details><summary>Answer</summary>Not flat, and its top may lie near the right place: what you were handed has lost the
#   sound at one end already; a shift back loses nothing more up to the right one, then the other end goes.</details>
# - Read the clip at another rate: `read_clip(sample.path, frame_rate=5)`. What would A be? What does `processor.media` say to it?
#   <details><summary>Answer</summary>A would be 50 / 5 = 10. It refuses: the model takes every frame for half a second, so
#   that the picture would run slower than its sound.</details>
# - `favor-mini compare --vary sync=concat,interleave --seeds 3 --minutes 1` trains a comparison of your own (notebook 11).
#
# ## Recap
#
# - A time step is one frame: V visual tokens and A = 25 audio tokens. Cut, pad both axes with zeros at the end, join along the
#   features.
# - No parameter is trained. What belongs together becomes *one* token.
# - A step is real if anything in it is. Padding within a real step is not marked, padding behind the clip is.
# - A missing modality is zeros after the projection, not before it. A still image is repeated under its sound.
# - Move the sound, and a trained model answers the moved clip. The same fact, turned round, recovers an unknown offset to
#   about one step.

# %% [markdown]
# ## Quiz
#
# **1.** A clip has 10 frames (5 s) and 280 audio tokens. How many time steps does it have?
#
# - a) 10
# - b) 12
# - c) 11
#
# <details><summary>Answer</summary>
#
# **b.** The sound fills ceil(280 / 25) = 12 steps, and the longer stream counts. *a:* the sound goes on where the picture ends.
# *c:* that loses the last step of sound, which is not full.
#
# </details>
#
# **2.** Why are the two streams joined along the feature axis?
#
# - a) One token then holds what was seen and heard at once, and a linear map sees both
# - b) It needs fewer features
# - c) Because V and A are equal
#
# <details><summary>Answer</summary>
#
# **a.** Nobody has to search for the partner. *b:* it needs the most, $D_v + D_a$; `add` needs fewer. *c:* they need not be;
# the smaller one is padded.
#
# </details>
#
# **3.** A clip's file has no sound. What stands in the sound's half of its steps?
#
# - a) The projection's bias
# - b) What the clip before it in the batch had
# - c) Zeros
#
# <details><summary>Answer</summary>
#
# **c.** The mask is applied after the projection. *a:* that would come of zeros put in *before* it. *b:* clips of a batch
# never touch; the mask sees to that.
#
# </details>
#
# **4.** The sound comes 1.5 s late. A well-trained model is asked what was shown when the horn was heard. It names
#
# - a) something at random
# - b) the picture on screen 1.5 s after the horn's true time
# - c) still the right picture, since it knows the clip
#
# <details><summary>Answer</summary>
#
# **b.** It answers the clip that it is given. *a:* most changed answers were neighbours. *c:* it has no other source than the
# clip.
#
# </details>
#
# **5.** Which questions tell whether a sound lies beside its *own* picture?
#
# - a) all of them
# - b) those that sound alone answers
# - c) those that need picture and sound
#
# <details><summary>Answer</summary>
#
# **c.** Only they depend on how the two lie to each other. *a:* the others feel a shift only by what is cut off at an end. *b:*
# moved sound still says the same words, but for that.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/sync.py` (all of it, under a hundred lines), `favor_mini/lab/variants.py` (`interleave`, `append`, `add`),
# `favor_mini/processor.py` (`media`: still images), `favor_mini/model.py` (`connect`: masks), `favor_mini/lab/experiments.py`
# (`sound_offsets`); tests in `tests/test_sync.py`, `tests/test_contract.py`, `tests/test_experiments.py`.
#
# **In the paper:** section 3.1, temporal synchronisation; an ablation leaves it out. **Further reading:** Whisper
# ([arXiv 2212.04356](https://arxiv.org/abs/2212.04356)) for where the 50 Hz come from; InstructBLIP
# ([arXiv 2305.06500](https://arxiv.org/abs/2305.06500)) for the tokens of a frame.
#
# **Next:** [04 The Q-Former](04_qformer.ipynb).
