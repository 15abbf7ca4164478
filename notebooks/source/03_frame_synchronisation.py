# %% [markdown]
# # 03 Frame synchronisation
#
# **You will** join the visual and the audio tokens of the same moment: split, pad, concatenate, and
# mask the padding. You compare three other ways to join, shift the sound of a clip and watch how a
# trained model answers, and recover an unknown offset from the model's probabilities.
#
# **You need** notebooks 01 (frames and sound as tensors) and 02 (the outputs of the two encoders).
# **Paper:** section 3.1, temporal synchronisation.
#
# **Costs:** 40 minutes of reading, 65 minutes of exercises; 60 s of computing, 1.0 GB of memory.

# %%
import numpy as np
import torch
import torch.nn.functional as F

from favor_mini.course import card, check
from favor_mini.figures.plots import curves, flow, matrices
from favor_mini.figures.sync import clip_steps, layouts, step_contents, token_times
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Where we are
#
# The encoders give V visual tokens for every frame, and one audio token for every 20 ms of sound:
# two streams with two rates. Nothing connects them yet.

# %%
flow([("encode", "frozen encoders", "(T, V, D_v)  (L, D_a)"),
      ("synchronise", "concatenate the features", "(T, P, D_v + D_a)"),
      ("split", "windows of K frames", "(W, K * P, D)"),
      ("causal Q-Former", "N queries summarise each window", "(W * N, width)"),
      ("language model", "reads them, answers", "text")],
     here="synchronise", title="The second step of the model")

# %% [markdown]
# Why is this step needed? Ask *what was shown when the bell was heard?* A model with all of the
# audio and all of the video still cannot answer, unless it knows which parts belong *together*. A
# model might learn this from position embeddings. The paper builds the pairing into the input,
# frame by frame. This step has no trainable parameter.
#
# ## Without it
#
# The *gym* tests this step alone, without encoders and language model. Each of six time steps shows
# one of twelve symbols and plays one of twelve sounds, as random vectors. A small Q-Former and a
# small reader learn from answers alone: *what was seen when x was heard?* One *arm* of the
# comparison (`concat`) has image and sound of a time step side by side, as in the paper. The other
# (`append`) has all images, then all sounds. All else is equal.
#
# **Predict.** How accurate is each after 220 training steps? Guessing is right in 1 of 12; naming
# any symbol of the clip in 1 of 6. (The cell takes half a minute.)

# %%
from favor_mini.figures.gym import learning_curves, phase_diagram
from favor_mini.lab.gym.results import GymPlan, gym
from favor_mini.lab.gym.studies import show_study
from favor_mini.places import work_path

plan = GymPlan(
    [{"sync": "concat"}, {"sync": "append"}], {"tasks": "recall", "steps": 220}, seeds=1
)
learning_curves(gym(plan, work_path("notebook-gym"), progress=False))

# %% [markdown]
# <details><summary>What this shows</summary>
#
# Side by side, the pair is in the input, and four of five questions are answered at the end. Apart,
# attention has to find the pair among all tokens; so far this arm is only a little better than
# naming any symbol of the clip. This is one seed and one setting. The end of this notebook has five
# seeds and other settings.
#
# </details>
#
# ## Two rates
#
# One **time step** is one frame, half a second. The audio has 50 tokens per second. So a time step
# has
#
# $$A = 50\ \mathrm{Hz} \cdot 0.5\ \mathrm{s} = 25$$
#
# audio tokens. All V visual tokens of a frame belong to the same instant. The A audio tokens follow
# one another. With V = 8 as in the mini model (the paper has 32):

# %%
token_times(num_frames=4, visual_tokens=8, audio_tokens=25)

# %% [markdown]
# ## Split the audio into time steps
#
# An audio stream is a sequence of L tokens. Token $l$ belongs to time step $\lfloor l / A \rfloor$,
# at position $l \bmod A$. This is only a change of shape. By hand, for five tokens and A = 2:
#
# ```
#    tokens   10 11 12 13 14
#    step 0   10 11
#    step 1   12 13
#    step 2   14  0        <- not full: zeros *after* the sound
# ```
#
# If you drop the partly filled step, a word at the end of the clip is lost. If you put the zero in
# front, all of the sound is late. The output has the dtype of the input, and no sound (L = 0) gives
# no time steps.

# %%
card("split_steps")

# %% tags=["exercise:split_steps"]
def split_steps(audio, audio_tokens):
    """(B, L, D_a), A -> (B, ceil(L / A), A, D_a); the last step is padded with
    zeros.
    """
    raise NotImplementedError  # your code

# %%
split_steps = check("split_steps", split_steps)
print(split_steps(torch.tensor([[[10], [11], [12], [13], [14]]]), 2)[0, ..., 0])

# predict, then run: how many steps are 9.7 s, and how many zeros are in the last?
length = round(9.7 * 50)
steps = split_steps(torch.ones(1, length, 1), 25)
print(
    f"{length} tokens, {steps.shape[1]} steps, {int((steps[0, -1] == 0).sum())} zeros "
    f"in the last"
)

# %% [markdown]
# ## Pad both to one size
#
# To be concatenated, the two streams need the same number of time steps and of tokens per step.
# Usually both differ. So both are padded to the larger value:
#
# $$T = \max\big(T_v,\ \lceil L / A \rceil\big), \qquad P = \max(V, A)$$
#
# The zeros are added at the end of both axes.

# %%
card("pad_steps")

# %% tags=["exercise:pad_steps"]
def pad_steps(stream, num_frames, step_tokens):
    """(B, t, p, D) -> (B, num_frames, step_tokens, D), zeros at the end of both
    axes.
    """
    raise NotImplementedError  # your code

# %%
pad_steps = check("pad_steps", pad_steps)

# %% [markdown]
# ## Concatenate the features
#
# For time step $t$ and position $p$, with the padded streams $v$ and $a$:
#
# $$x_{t,p} = \big[\, v_{t,p}\ ;\ a_{t,p} \,\big] \in \mathbb{R}^{D_v + D_a}$$
#
# The semicolon means concatenation along the **feature** axis: one token holds "this frame with
# this sound". No attention is needed to find the pair. A linear map reads both halves at once.

# %%
card("synchronise")

# %% tags=["exercise:synchronise"]
def synchronise(visual, audio, *, audio_tokens):
    """visual (B, T_v, V, D_v), audio (B, L, D_a) -> (B, T, P, D_v + D_a)."""
    raise NotImplementedError  # your code

# %%
synchronise = check("synchronise", synchronise)

# %% [markdown]
# **Predict, then run.** Two frames with one visual token each, of value 1 and 2. Five audio tokens
# of value 10 to 14, two per step. Write down the six pairs first.

# %%
visual = torch.tensor([[[[1.0]], [[2.0]]]])  # [1, 2, 1, 1]
audio = torch.tensor([[[10.0], [11.0], [12.0], [13.0], [14.0]]])  # [1, 5, 1]
steps = synchronise(visual, audio, audio_tokens=2)[0]  # [3, 2, 2]
matrices(
    {f"step {t}": step for t, step in enumerate(steps)},
    x="feature: visual, audio",
    y="token",
)

# %% [markdown]
# The second token of steps 0 and 1 has no visual part, because there is only one visual token per
# frame. Step 2 has no frame.
#
# How much of such a tensor is zero? Set the sliders to the sizes of the mini model (V = 8, A = 25)
# and of the paper (V = 32). What happens to the *audio* half when V is larger than 25? And when the
# audio is shorter than the video?

# %%
from ipywidgets import IntSlider


def slider(value, low, high, name):
    return IntSlider(
        value=value, min=low, max=high, description=name, continuous_update=False
    )


explore(lambda frames, V, sound, A: step_contents(frames, V, sound, A),
        frames=slider(20, 0, 24, "frames"), V=slider(8, 1, 40, "V"),
        sound=slider(282, 1, 600, "audio, L"), A=slider(25, 5, 50, "A"))

# %% [markdown]
# With the paper's V, P is 32, and the last 7 tokens of every step have no audio. With the mini
# model's V, 17 of 25 tokens have no visual part. If the audio is shorter than the video, the last
# steps have no audio.
#
# Padding within a time step costs computation. No mask *marks* it: a token with a zero visual half
# in a full step looks like a token in a step without a frame.
#
# ## Measure the synchronisation
#
# The shapes would be right even if the sound were one step late. What must hold for all values?
#
# - Delay **both** streams by one step: the result is delayed by one step, and nothing else changes.
# - Delay **only the audio** by one step: the audio half moves, and the visual half does not.
# - A missing stream is all zeros.

# %%
V, A, D_v, D_a = 3, 5, 4, 2
torch.manual_seed(0)
visual, audio = torch.randn(1, 6, V, D_v), torch.randn(1, 6 * A, D_a)
before = synchronise(visual, audio, audio_tokens=A)
# one step each
late_audio, late_visual = F.pad(audio, (0, 0, A, 0)), F.pad(visual, (0, 0, 0, 0, 1, 0))
both_late = synchronise(late_visual, late_audio, audio_tokens=A)
sound_late = synchronise(visual, late_audio, audio_tokens=A)
no_video = synchronise(visual[:, :0], audio, audio_tokens=A)

print(
    "both late, result late:    ",
    torch.equal(both_late[:, 1:], before) and not both_late[:, 0].any(),
)
print(
    "visual half is unchanged:  ",
    torch.equal(sound_late[:, :6, :, :D_v], before[..., :D_v]),
)
print(
    "audio half is a step late: ",
    torch.equal(sound_late[:, 1:, :, D_v:], before[..., D_v:]),
)
print("without video, zeros:      ", not no_video[..., :D_v].any(), no_video.shape)

# %% [markdown]
# ## Which steps are real?
#
# The clips of a batch differ in length, and the shorter ones are padded. *These* zeros must be
# distinguished from a black frame and from silence: no token may attend to them, and the language
# model must not get a window that holds only padding. So there is a mask with one boolean per time
# step. A step is real if it holds a real frame **or** at least one real audio token:
#
# $$r_t = f_t \ \lor\ \bigvee_{p < A} h_{tA + p}$$
#
# By hand: three frames, of which the third is padding; seven audio tokens, five per step. Steps 0
# and 1 have video and audio. Step 2 has neither. With eleven audio tokens, step 2 would be real
# because of its one audio token.

# %%
card("step_mask")

# %% tags=["exercise:step_mask"]
def step_mask(frame_mask, audio_mask, *, audio_tokens):
    """(B, T_v) bool, (B, L) bool -> (B, T) bool: which time steps are real."""
    raise NotImplementedError  # your code

# %%
step_mask = check("step_mask", step_mask)
frames = torch.tensor([[True, True, False]] * 2)
audio_real = torch.arange(12)[None] < torch.tensor([[7], [11]])
print(step_mask(frames, audio_real, audio_tokens=5))

# %% [markdown]
# ## On a real clip
#
# Now with the encoders of the shipped model and a real file. (A linear map first projects the audio
# to the width D_a. It is the only trained part before the Q-Former.)

# %%
from favor_mini import (
    FavorForConditionalGeneration,
    FavorProcessor,
    checkpoint_path,
    read_clip,
)
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
    # [1, L, D_a]
    audio = model.audio_projection(encoded["audio_features"].float()[None])
steps = synchronise(visual, audio, audio_tokens=model.config.audio_tokens)
for name, tensor in {"visual": visual, "audio": audio, "steps": steps}.items():
    print(f"{name:8}", tuple(tensor.shape))

# %% [markdown]
# Are the streams synchronised? Two quantities can be drawn. How much does the visual half change
# from one step to the next? It should change where the script changes the scene. And how far are
# the audio tokens from silence? (Most of this clip is silent, so the median token represents
# silence here.)

# %%
clip_steps(sample.scene, steps[0], model.config.visual_width)

# %% [markdown]
# Both follow the script on one time axis. (At 6 s the green circle changes its colour.) Now split
# the audio with a wrong A. There is no error. But where is the drum in the lower bars?

# %%
def split_with(A, visual=visual, audio=audio):
    joined = synchronise(visual, audio, audio_tokens=A)[0]
    return clip_steps(sample.scene, joined, model.config.visual_width)


explore(split_with, A=slider(20, 15, 35, "A"))

# %% [markdown]
# If A is too small, the audio is stretched, and its delay grows with time. If A is too large, the
# audio comes too early.
#
# ## Missing streams and still images
#
# *A missing modality is all zeros.* But **where** are the zeros? The audio projection has a bias,
# so a zero input gives a non-zero output. That is why the mask is applied *after* the projection
# (`masked_fill` in `FavorForConditionalGeneration.connect`).
#
# **Predict, then run:** the same video with (a) no audio, (b) random audio that the mask excludes,
# (c) zero audio that the mask marks as real. Which of them give the same queries?

# %%
all_frames = torch.ones(visual.shape[:2], dtype=torch.bool)
width, L = model.config.audio_config.d_model, audio.shape[1]
cases = {
    "a: no audio": (torch.zeros(1, 0, width), torch.zeros(1, 0, dtype=torch.bool)),
    "b: noise, masked": (torch.randn(1, L, width), torch.zeros(1, L, dtype=torch.bool)),
    "c: zeros, real": (torch.zeros(1, L, width), torch.ones(1, L, dtype=torch.bool)),
}
with torch.no_grad():
    zero = model.audio_projection(torch.zeros(1, 1, width))
    queries = {name: model.connect(visual, sound, all_frames, mask)[0]
               for name, (sound, mask) in cases.items()}
print(f"length of a zero vector after the projection: {zero.norm():.2f}")
for name, found in queries.items():
    print(
        f"{name:18} same queries as a: "
        f"{torch.allclose(found, queries['a: no audio'], atol=1e-4)}"
    )

# %% [markdown]
# (b) equals (a): masked audio is zero after the projection, whatever its values. (c) is a different
# clip.
#
# A **still image with sound** is repeated for each time step of the audio. Whisper adds another
# kind of padding, to full chunks. The tokens after the last real token of the batch are removed
# before the connector (`sync.trim`).

# %%
from favor_mini.media.clip import clip_from_arrays
from favor_mini.sync import trim

still = clip.frames[:1]
kinds = {
    "video with sound": clip,
    "still image with sound": clip_from_arrays(frames=still, waveform=clip.waveform),
    "still image": clip_from_arrays(frames=still),
    "audio only": clip_from_arrays(waveform=clip.waveform),
}
for name, one in kinds.items():
    media = processor.media(one)
    print(
        f"{name:24} frames {media['num_frames']:3}  audio tokens "
        f"{media['audio_tokens']:4}  "
        f"time steps {processor.num_steps(media):3}"
    )

mask = processor([clip], ["what was said?"])["audio_mask"]
_, kept = trim(torch.zeros(*mask.shape, 1), mask)
print(
    f"Whisper's tokens {mask.shape[1]}, real {int(mask.sum())}, after trim "
    f"{kept.shape[1]}"
)

# %% [markdown]
# ## Use your own function in the model
#
# Each exchangeable part of the model has a *slot*, here `sync`, and the model finds the part by its
# name. A part must fulfil the *contract* of its slot: checks of shapes, dtypes, empty streams,
# padding and causality, run on random numbers. Register your function and let the trained model use
# it:

# %%
# with the lab come its other variants
from favor_mini.lab.contract import check as contract
from favor_mini.registry import register


@register("sync", "mine", causal=True)
def mine(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The function of this notebook."""
    return (synchronise(visual, audio, audio_tokens=audio_tokens),
            step_mask(frame_mask, audio_mask, audio_tokens=audio_tokens))


findings = contract("sync", "mine", show=False)
print(
    f"{len(findings.all)} checks, passed: {sum(f.passed for f in findings.all)}",
    *findings.broken,
    sep="\n",
)

question = "what was shown when the whistle was heard?"
for name in ("concat", "mine"):
    model.config.sync = name
    print(
        f"{name:8}",
        question,
        "->",
        ask_model(model, processor, [encoded], [question])[0],
    )
model.config.sync = "concat"

# %% [markdown]
# ## Other ways to join
#
# The lab has three other ways. In the figure, marked tokens have gone through each function, with
# four time steps of V = 2 and A = 3. `v2` is a visual token of frame 2, and `a2` an audio token of
# the same time step (counted from 0). Thick lines end a time step.

# %%
layouts(
    ["concat", "interleave", "add", "append"],
    num_frames=4,
    visual_tokens=2,
    audio_tokens=3,
)

# %% [markdown]
# - `concat`, the paper's way: the two halves of a pair are one token.
# - `interleave`: still synchronised. But each time step has first its visual tokens, then its audio
#   tokens. Attention has to find the pairs.
# - `add`: the features are summed, so the width is half as large. The Q-Former must separate the
#   two parts of the sum.
# - `append`: all visual tokens, then all audio tokens. Simultaneous tokens are far apart, and "a
#   time step" is only a group of consecutive tokens.
#
# Write the second way.

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
    """The function above, registered under its own name."""
    return interleave(visual, audio, frame_mask, audio_mask, audio_tokens=audio_tokens)


findings = contract("sync", "interleaved", show=False)
print(
    f"{len(findings.all)} checks, passed: {sum(f.passed for f in findings.all)}",
    *findings.broken,
    sep="\n",
)

# %% [markdown]
# What do they cost? A window holds K * P tokens of width D, and every token attends to every other.
# The table is for windows of K = 10 frames. Do they keep the synchronisation? The contract measures
# it: change *one* time step of both streams, and see which time steps of the result change. (The
# figure calls the time steps frames, and counts from 1.)

# %%
from favor_mini.figures.attention import receptive_field
from favor_mini.lab import contract as trial
from favor_mini.sync import step_shape

sizes = {
    "mini": {
        "visual_tokens": 8,
        "visual_width": 128,
        "audio_tokens": 25,
        "audio_width": 128,
    },
    "paper": {
        "visual_tokens": 32,
        "visual_width": 768,
        "audio_tokens": 25,
        "audio_width": 768,
    },
}
print(f"{'':22}{'P':>4}{'D':>7}{'tokens per window':>19}{'pairs, thousands':>18}")
for size, known in sizes.items():
    for name in ("concat", "interleaved", "add", "append"):
        P, D = step_shape(name, **known)
        print(f"{size:7}{name:15}{P:4}{D:7}{10 * P:19}{(10 * P) ** 2 / 1e3:18.1f}")

print(f"\nthe contract's clip: {trial.FRAMES} frames, V = {trial.V}, A = {trial.A}")
receptive_field(
    {
        name: contract("sync", name, show=False).receptive_field
        for name in ("concat", "interleaved", "add", "append")
    }
)

# %% [markdown]
# At the paper's sizes V and A are nearly equal, so concatenation has little padding. A sequence of
# separate tokens would be nearly twice as long, and the number of pairs grows with the square of
# the length.
#
# Three of the matrices are diagonal: each time step depends on itself only. `append` is different.
# Take its row 4: the 9 frames are 27 visual tokens, and a step has 8 tokens. So row 4 holds the
# last three visual tokens, of frame 9, and then the audio of frame 1. With `append`, no causal mask
# over time steps can exclude the future. (Therefore it is declared as `causal=False`.)
#
# ## An experiment with known offsets
#
# Does a *trained* model use the synchronisation? In one hundred clips, whose alignment is known
# from their scripts, the sound was shifted by up to 1.5 s, and all questions were asked again. You
# know the figure from notebook 01:

# %%
from favor_mini.figures.lab import differences, offsets
from favor_mini.lab.experiments import show_experiment

results = show_experiment("offset")
offsets(results) if results else None

# %% [markdown]
# Questions about both streams fall to the chance level: the accuracy of the best single-modality
# guesser, which has one complete stream and nothing of the other. The bands are 95 % intervals.

# %% [markdown]
# ## Shift the sound yourself
#
# Here is one clip with its script, and ten questions that need both streams. Shift the sound. Which
# answers change first, and to what?

# %%
from functools import cache

from favor_mini.figures.sync import answers_by_shift, expected_answer, shifted_sound
from ipywidgets import FloatSlider

asked = [q for q in sample.questions if q.family in ("shown_when", "heard_while")]


@cache
def answers_at(shift):
    """The model's answers to `asked` when the sound is `shift` seconds late."""
    late = encode_clips(model, processor, {"late": delay_sound(clip, shift)})["late"]
    return ask_model(model, processor, [late] * len(asked), [q.text for q in asked])


late = FloatSlider(
    value=1.5, min=-3, max=3, step=0.5, description="late (s)", continuous_update=False
)
explore(
    lambda late: shifted_sound(sample.scene, late, asked, answers_at(late)), late=late
)

# %% [markdown]
# **Predict, then run.** At +2 s, what will the model say was shown when the *bird* was heard? And
# at -1.5 s, when the *whistle* was heard? (Look at the script: what is on screen at the new time of
# the sound?) What can it answer about the *horn* at -1.5 s, when most of it is outside the clip?

# %%
shifts = [float(s) for s in np.arange(-4, 5) * 0.5]
answers_by_shift(asked, {shift: answers_at(shift) for shift in shifts})

# %% [markdown]
# Many answers that changed name a *neighbour*: the image or the sound at the new time. For the
# images this can be counted: is the answer right for the original clip, or for the *shifted* clip?

# %%
# original, shifted, model
found = [(q.answer, expected_answer(sample.scene, q, shift), answers_at(shift)[i])
        for i, q in enumerate(asked) for shift in shifts if q.family == "shown_when"]
outside = sum(now == "nothing" for _, now, _ in found)
elsewhere = [row for row in found if row[1] not in (row[0], "nothing")]
print(f"{len(found)} answers; in {outside} the sound is outside the clip")
print(f"in {len(elsewhere)} it is at another image; of these, right for")
print("   the shifted clip: ", sum(said == now for _, now, said in elsewhere))
print("   the original clip:", sum(said == old for old, _, said in elsewhere))
print(
    "   neither:          ", sum(said not in (old, now) for old, now, said in elsewhere)
)

# %% [markdown]
# One clip is only an example. But it shows how accuracy can fall below chance: a model that names
# the neighbour is wrong more often than a random guess.
#
# ## Recover an unknown offset
#
# Suppose the sound of a video has an unknown offset, but some true answers about the video are
# known. Then shift the sound, and for each shift $s$ compute the probability of the true answers:
#
# $$\hat{s} = \arg\max_s \sum_i \log p\big(\text{true answer}_i \mid \text{clip shifted by } s\big)$$
#
# The true answers are most likely where the streams are aligned. `likelihood` returns the log
# probabilities. `FAMILIES` lists what a question needs: audio, video, and `sync` where the answer
# depends on the pairing of sound and image.

# %%
from favor_mini.world.questions import FAMILIES

print({family: FAMILIES[family] for family in ("shown_when", "read", "said")})
card("recover_offset")

# %% tags=["exercise:recover_offset"]
def recover_offset(rows):
    """Rows with clip, family, shift and logp -> by clip, the most likely shift."""
    raise NotImplementedError  # your code

# %%
recover_offset = check("recover_offset", recover_offset)

# %% [markdown]
# Two clips get a random hidden delay. Then every shift is tried. The recovered shift should be the
# *negative* of the hidden one.

# %%
rng = np.random.default_rng(0)
tried = [float(s) for s in np.arange(-3, 4) * 0.5]
hidden = {
    name: float(rng.choice([-1, -0.5, 0.5, 1])) for name in ("clip_02", "clip_03")
}
rows = []
for name, secret in hidden.items():
    chosen = [
        q
        for q in samples[name].questions
        if {"audio", "video"} <= set(FAMILIES[q.family])
    ]
    received = delay_sound(read_clip(samples[name].path), secret)
    shifted = encode_clips(
        model, processor, {s: delay_sound(received, s) for s in tried}
    )
    texts, truth = [q.text for q in chosen], [q.answer for q in chosen]
    for s in tried:
        logp = likelihood(model, processor, [shifted[s]] * len(chosen), texts, truth)
        rows += [{"clip": name, "family": q.family, "shift": s, "logp": float(p)}
                 for q, p in zip(chosen, logp, strict=True)]

found = recover_offset(rows)
for name, secret in hidden.items():
    print(
        f"{name}: hidden {secret:+.1f} s, right {-secret:+.1f} s; recovered "
        f"{found[name]:+.1f} s"
    )


def total(name, shift):
    return sum(
        row["logp"] for row in rows if row["clip"] == name and row["shift"] == shift
    )


curves(
    {
        f"{name}, hidden {hidden[name]:+.1f} s": (
            tried,
            [total(name, s) for s in tried],
        )
        for name in hidden
    },
    x="shift tried (s)",
    y="log probability of the true answers",
    title="The true answers are most likely at the right shift",
)

# %% [markdown]
# Two clips prove little. For all clips of the experiment above that have such questions:

# %%
if results:
    print(str(results).split("\n\n")[1])
    alone = results.recovered("one modality, plain")
    print("with questions about one stream instead")
    print(f"  exact: {(alone == 0).sum()} of {len(alone)} clips")
    print(f"  within 0.5 s: {(alone.abs() <= 0.5).sum()} of {len(alone)} clips")

# %% [markdown]
# The exact offset is recovered more often than by guessing, but not often. Within one time step it
# is recovered in most clips. Not much more can be expected: a frame represents half a second, and a
# moment of the mini world lasts about four frames. Questions about one stream recover the offset
# little better than guessing.
#
# ## Does training with synchronisation help?
#
# Is a model trained *without* synchronisation worse? First the gym: three ways to join, five seeds,
# and a grid of two settings (tokens of a time step, time steps of a clip). The prediction was
# written before the trainings.

# %%
study = show_study("sync")
phase_diagram(study) if study else None

# %% [markdown]
# Does longer training make up for it? Hardly. In seven times the steps, five of twenty trainings
# without synchronisation found the pairs (study *unsynchronised*, `docs/results.md`).
#
# Does it hold for films? In the next study, tokens of the frozen encoders take the place of the
# symbols. A film of the mini world has three moments, each with one picture and one sound. A moment
# lasts half a second (one frame) or two seconds (four frames). **Predict**: at which length does
# synchronisation matter more?

# %%
study = show_study("film-sync")
phase_diagram(study) if study else None

# %% [markdown]
# At half a second it matters most. At two seconds a window of six frames holds hardly more than one
# moment: the window itself tells what belongs together, and `interleave` learns nearly as soon as
# `concat`. `append` puts pictures and sounds into different windows, and never learns it.
#
# Then the whole model, with the language model. Each arm is trained for two minutes. The baseline,
# *as shipped*, has the paper's synchronisation; it is not the shipped model, which was trained for
# hours. Here one window holds the whole clip, so that `append` can also reach every token.

# %%
results = show_experiment("sync")
if results:
    print(results.verdicts(["both modalities", "all"]))
groups = ["both modalities", "one modality, plain", "all"]
differences(results.differences(groups), results.arms[0]) if results else None

# %% [markdown]
# This disagrees with the gym. A likely reason is the training signal. In the gym, answers alone
# have to teach the pairing. Here a first training stage (*naming*, notebook 07) labelled the
# queries of each part of the window with the words for image and sound of that moment. It may have
# done the work of the synchronisation. So the gym shows that synchronisation saves the model from
# learning the pairing. Where labels teach the pairing, no difference was measurable. That is not
# the same as no difference.
#
# ## Which token with which?
#
# The tokens of a step are paired by their index: visual token 0 with audio token 0. But the index
# means nothing. **Predict**: what is lost if the pairs change from step to step (`concat_rotated`
# turns the audio tokens by one position more in each step)? And what is gained if each visual token
# gets each audio token (`concat_pairs`)?

# %%
study = show_study("pairing")
phase_diagram(study) if study else None

# %% [markdown]
# Which tokens form a pair hardly matters. It matters that the pairs stay the same.
#
# ## What to play with
#
# - Write `late`, a variant that joins frame t with the audio of step t - 3 and keeps T and the
#   mask, so that the last three steps of audio are lost. Register it, see which check it fails, put
#   its name into `model.config.sync`, call `answers_at.cache_clear()` and look at `answers_at(0)`.
#   Are these the answers of `concat` at +1.5 s? <details><summary>Answer</summary>Nearly. One thing
#   differs: Whisper has encoded the sound at its original time. The check that fails is that every
#   part of the audio must have an effect.</details>
# - `favor-mini compare --vary sync=concat,interleave --seeds 3 --minutes 1` trains a comparison
#   with your own settings (notebook 11). In the gym:
#   `favor-mini gym --vary sync=concat,interleave --tasks recall`.
#
# ## Recap
#
# - A time step is one frame: V visual tokens and A = 25 audio tokens. Split, pad both axes with
#   zeros at the end, concatenate the features.
# - No parameter is trained. A frame and its sound become *one* token.
# - A time step is real if any of its tokens is real. Padding after the clip is masked, padding
#   within a real step is not.
# - A missing modality is zeros after the projection, not before it. A still image is repeated for
#   each step of its sound.
# - If the sound is shifted, a trained model often answers for the shifted clip. This can recover an
#   unknown offset to about one time step.
# - Learned from answers alone (gym, symbols and films), the pairing comes far sooner where it is
#   given, unless the windows give it. In the whole model, trained with a label for each query, no
#   difference was measurable.

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
# **b.** The audio has ceil(280 / 25) = 12 steps, and the longer stream counts. *a:* the audio
# continues after the last frame. *c:* that loses the last step of audio, which is not full.
#
# </details>
#
# **2.** Why are the two streams joined along the feature axis?
#
# - a) One token then holds the simultaneous video and audio, and a linear map reads both
# - b) It needs fewer features
# - c) Because V and A are equal
#
# <details><summary>Answer</summary>
#
# **a.** No attention is needed to find the pair. *b:* it needs the most features, $D_v + D_a$;
# `add` needs fewer. *c:* they can differ; the smaller one is padded.
#
# </details>
#
# **3.** A clip has no audio. What is in the audio half of its time steps?
#
# - a) The projection's bias
# - b) The audio of the previous clip in the batch
# - c) Zeros
#
# <details><summary>Answer</summary>
#
# **c.** The mask is applied after the projection. *a:* that would be the result of zeros *before*
# the projection. *b:* the clips of a batch are independent.
#
# </details>
#
# **4.** The sound is 1.5 s late. A well-trained model is asked what was shown when the horn was
# heard. It names
#
# - a) a random image
# - b) the image on screen 1.5 s after the true time of the horn
# - c) still the right image, because it knows the clip
#
# <details><summary>Answer</summary>
#
# **b.** It answers for the shifted clip. *a:* most changed answers were neighbours. *c:* the
# shifted clip is its only source.
#
# </details>
#
# **5.** Which questions show whether a sound is aligned with its *own* image?
#
# - a) all questions
# - b) questions about audio alone
# - c) questions about audio and video together
#
# <details><summary>Answer</summary>
#
# **c.** Only these depend on the alignment. *a:* the others change only because sound is cut off at
# one end. *b:* shifted sound still contains the same words, except those that are cut off.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/sync.py` (all of it, under a hundred lines), `favor_mini/lab/variants.py`
# (`interleave`, `append`, `add`), `favor_mini/processor.py` (`media`: still images),
# `favor_mini/model.py` (`connect`: masks), `favor_mini/lab/offsets.py` (`sound_offsets`); tests
# in `tests/test_sync.py`, `tests/test_contract.py`, `tests/test_experiments.py`.
#
# **In the paper:** section 3.1, temporal synchronisation; one ablation removes it. **Further
# reading:** Whisper ([arXiv 2212.04356](https://arxiv.org/abs/2212.04356)) for the 50 Hz of the
# audio tokens; InstructBLIP ([arXiv 2305.06500](https://arxiv.org/abs/2305.06500)) for the visual
# tokens of a frame.
#
# **Next:** [04 The Q-Former](04_qformer.ipynb).
