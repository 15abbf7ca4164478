# %% [markdown]
# # 00 Start here
#
# **You will** ask an audio-visual language model about a real video file, measure when it is right
# and when it is wrong, and get an overview of the components that the other notebooks explain.
#
# **You need** Python and a little PyTorch. Components such as Whisper or LoRA are only named here;
# later notebooks explain them. No network and no GPU are needed. **Paper:** sections 1 and 3, as an
# overview.
#
# **Costs:** 25 minutes of reading, 12 minutes of exercises; 40 s of computing, 1.3 GB of memory.
#
# The model is a small **FAVOR** ([arXiv 2310.05863](https://arxiv.org/abs/2310.05863)): the same
# components in the same order, with sizes for two CPU cores. It is trained on a *mini world* of
# coloured shapes, objects with sounds, spoken words and written words. The clips are real mp4 files
# (H.264 and AAC). Each is drawn from a *script*, so every answer is known.

# %% [markdown]
# ## Is everything in place?
#
# `doctor` checks each library, the sample files, memory and disk. For each problem it prints a fix.
# (`favor-mini doctor` in a terminal checks more.)

# %% tags=["varies"]
import os

from favor_mini.apps.doctor import attempt, checks

wait_policy = os.environ.get("OMP_WAIT_POLICY")  # `make lab` sets it
found = {
    name: attempt(check) for name, check in checks(quick=True, wait_policy=wait_policy)
}
for name, finding in found.items():
    if finding.status != "OK":
        print(f"[{finding.status}] {name}: {finding.text} -> {finding.fix}")
print(len(found), "checks:", ", ".join(found))

# %% [markdown]
# ## How to work with these notebooks
#
# Run the cells from top to bottom. A card with a blue edge is an exercise: replace the
# `raise NotImplementedError` below it by your code and run the check. The check runs your code with
# random sizes and names the likely mistake. The card contains two hints and the solution, the
# package's own function. If you skip an exercise, the notebook uses that function, so you can come
# back later.
#
# The first exercise: a clip is split into *windows* of K frames. Each window, full or not, becomes
# N vectors, one for each of N learned *queries*.

# %%
from favor_mini.course import card, check, progress

card("count_vectors")

# %% tags=["exercise:count_vectors"]
def count_vectors(num_frames, window_frames, num_queries):
    """The number of vectors of a clip: 100 frames, K = 10, N = 5 give 50."""
    raise NotImplementedError  # your code

# %%
count_vectors = check("count_vectors", count_vectors)
print(
    "100 frames, windows of 10, 5 queries each:", count_vectors(100, 10, 5), "vectors"
)
print(" 13 frames, windows of 10, 5 queries each:", count_vectors(13, 10, 5), "vectors")

# %% [markdown]
# Your solutions are saved in your home folder (`~/.favor-mini/progress.json`). Nothing is sent
# anywhere. `progress()` lists all exercises; those of this notebook:

# %%
progress().loc[["00"]]

# %% [markdown]
# ## A clip
#
# The repository contains thirty-two held-out clips, which are in no training set. Play this one,
# with sound.

# %%
from IPython.display import Video

from favor_mini.world.samples import read_samples

samples = {sample.name: sample for sample in read_samples()}
clip_name = "clip_00"
sample = samples[clip_name]
Video(str(sample.path), embed=True, width=256)  # the page contains the video itself

# %% [markdown]
# The model takes two frames per second and sound at 16 kHz. `read_clip` reads both on one time
# axis.

# %%
from favor_mini import read_clip

clip = read_clip(sample.path, frame_rate=2.0, sampling_rate=16000)
print("frames  ", clip.frames.shape, clip.frames.dtype, " one every 0.5 s")
print("times   ", clip.frame_times[:4].round(2), "...")
print("waveform", clip.waveform.shape, clip.waveform.dtype, f" {clip.duration:.1f} s")

# %% [markdown]
# From the top: the frames, the events in the video, the waveform, the spectrogram for the audio
# encoder, and the sounds. Dashed lines separate the *windows* of ten frames (5 s). Play the video
# and move the slider: the line marks the time, and the image is what the model gets then.

# %%
from favor_mini.course.widgets import player

player(clip, sample.scene, file=sample.path)

# %% [markdown]
# ## Ask the model
#
# **What to expect.** The shipped checkpoint answers most questions right. You measure below which
# questions it gets wrong.
#
# `from_pretrained` loads the model and its processor, as in the `transformers` library. The
# processor turns a clip and a question into tensors, and `generate` produces the answer.

# %%
import torch

from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).eval()
processor = FavorProcessor.from_pretrained(checkpoint_path())


def ask_model(clip, question):
    return processor.decode(model.generate(**processor([clip], [question])))[0]


one_of_each = {question.family: question for question in reversed(sample.questions)}
for family in ("heard_while", "shown_when", "seen_after", "first_heard", "read"):
    question = one_of_each[family]
    print(
        f"{question.text}\n    {ask_model(clip, question.text)}",
        f"  (truth: {question.answer})",
    )

# %% [markdown]
# Change the text to ask your own question. The model knows about 130 words, those of the mini
# world. A note says if a word is unknown or if the content is unlike the training clips.
# `favor-mini ask CLIP "question"` does the same in a terminal, with any video.

# %%
from favor_mini.apps.ask import Asker

asker = Asker()
answer = asker.ask(sample.path, "what was the weather like?")
print("answer:", answer.answer)
for note in answer.notes:
    print("note:  ", note)

# %% [markdown]
# ## When is an answer right?
#
# The model writes text, and the script contains the right answer. When are they equal? "Red
# circle." and "red circle" are the same answer, "circle red" is not. A model that writes every word
# of its vocabulary must not count as right.

# %%
card("matches")

# %% tags=["exercise:matches"]
def matches(predicted, answers):
    """Is `predicted` one of `answers`, up to case, punctuation, spaces and articles?"""
    raise NotImplementedError  # your code

# %%
matches = check("matches", matches)
print(matches("The red circle.", ("red circle",)), matches("circle", ("red circle",)))

# %% [markdown]
# ## Right and wrong
#
# We ask all questions about six clips. Each line is a family of questions. The last four lines are
# totals. A *modality* is video or audio. *Both modalities* are the families that need video and
# audio together. The others need one stream: *plain* families ask about one event, *order or cause*
# families compare several.
#
# The **chance level** is one divided by the number of possible answers. For both modalities it is
# higher: the accuracy of the better of two guessers, one with the complete video and one with the
# complete audio. The 95 % interval shows how uncertain the accuracy is. Answers about one clip depend
# on one another, so each clip counts once: six clips give wide intervals, however many questions.

# %%
from favor_mini.evaluation.answering import encode_clips, evaluate
from favor_mini.evaluation.scores import score_table, scores
from favor_mini.world.questions import single_modality_chance, FAMILY_GROUPS

names = [name for name, sample in samples.items() if sample.kind == "clip"][:6]
clips = {name: read_clip(samples[name].path) for name in names}
encoded = encode_clips(model, processor, clips)
asked = [(name, question) for name in names for question in samples[name].questions]
scenes = {name: samples[name].scene for name in names}
rows = evaluate(model, processor, encoded, asked, single_modality_chance(scenes))
print(score_table(scores(rows, FAMILY_GROUPS)))

# %%
from favor_mini.figures.training import score_bars

score_bars({"shipped model": scores(rows, FAMILY_GROUPS)})

# %% [markdown]
# Look at some of the mistakes. (*Shown* can also mean a written word.) Does the model name things
# that are not in the clip, or other events of the clip?

# %% tags=["varies"]
wrong = [row for row in rows if not row.correct]
print(f"{len(wrong)} of {len(rows)} answers are wrong")
for row in wrong[:10]:
    print(
        f"{row.clip}: {row.question}",
        f"  predicted: {row.predicted!r}  truth: {row.answer!r}",
    )

# %% [markdown]
# Nearly always it is something that *was* in the clip, at another time. The recognition is mostly
# right. The pairing or the order is wrong.
#
# ## Test it: shift the sound
#
# If the model really pairs sounds with frames, a delay of the sound must cost accuracy where the
# pairing is needed, and less elsewhere. **Predict** the first three totals for a delay of one and
# of two seconds.

# %%
from favor_mini.media.clip import delay_sound

answered = {0.0: rows}
for seconds in (1.0, 2.0):
    moved = encode_clips(
        model, processor, {name: delay_sound(clips[name], seconds) for name in names}
    )
    answered[seconds] = evaluate(
        model, processor, moved, asked, single_modality_chance(scenes)
    )

delays, curve = list(answered), {}
for found in answered.values():
    for score in scores(found, FAMILY_GROUPS):
        curve.setdefault(score.name, []).append(score.accuracy)
kinds = ("both modalities", "one modality, order or cause", "one modality, plain")
for name in kinds:
    print(
        f"{name:<29}",
        "  ".join(f"{s} s: {a:.0%}" for s, a in zip(delays, curve[name], strict=True)),
    )

# %%
from favor_mini.figures.plots import curves

chance = next(
    score.chance
    for score in scores(rows, FAMILY_GROUPS)
    if score.name == "both modalities"
)
curves(
    {name: (delays, curve[name]) for name in kinds},
    x="delay of the sound (s)",
    y="accuracy",
    percent=True,
    title="Accuracy with delayed sound",
    mark={"chance, both modalities": chance},
)

# %% [markdown]
# Questions that need both streams lose most. At two seconds they are *below* the chance level: a
# sign that the model still pairs, but with the wrong moment. The other lines fall, too. There are
# two likely reasons: delayed sound is cut off at the end of the clip, and it crosses the borders of
# events, as in no training clip.
#
# Choose a question, shift the sound, and watch the answer.

# %%
from favor_mini.figures.timeline import timeline
from favor_mini.course.widgets import explore

both = {q.text: q for q in sample.questions if {"audio", "video"} <= set(q.needs)}
alone = {q.text: q for q in sample.questions if len(q.needs) == 1}
choice = [*list(both)[:6], *list(alone)[:3]]


def ask_delayed(question, delay):
    moved, true = delay_sound(clip, delay), {**both, **alone}[question].answer
    predicted = ask_model(moved, question)
    verdict = "right" if matches(predicted, (true,)) else f"wrong, truth: <b>{true}</b>"
    needs = "needs both streams" if question in both else "needs one stream"
    return [
        f"{question} <b>{predicted}</b> ({verdict}; this question {needs})",
        timeline(None, moved),
    ]


explore(ask_delayed, question=choice, delay=(0.0, 3.0, 0.25))

# %% [markdown]
# ## Overview
#
# The steps of the model:

# %%
from favor_mini.figures.plots import flow

flow(
    [
        ("read", "frames at 2 Hz, sound at 16 kHz", "T frames"),
        ("encode", "Whisper, ViT, Q-Former; frozen", "(T, V, D_v) and 50 Hz"),
        ("synchronise", "concatenate the features", "(T, P, D)"),
        ("split", "windows of K frames", "(W, K * P, D)"),
        ("causal Q-Former", "N queries summarise each window", "(W, N, width)"),
        ("project", "one linear map", "(W * N, 256)"),
        ("answer", "frozen LLM with LoRA", "text"),
    ],
    title="FAVOR, from a video to an answer",
)

# %% [markdown]
# Each line of the table names its files in `favor_mini`. The letters: T frames; V visual tokens per
# frame, of width D_v; 50 audio tokens per second, of width D_w, then D_a; P tokens per time step; K
# frames per window, W windows; N queries. All are in `docs/glossary.md`. There are two Q-Formers.
# InstructBLIP's is frozen and summarises single frames. The causal Q-Former is trained and
# summarises windows of both streams.
#
# | step | file | what it does | shape after it |
# |---|---|---|---|
# | read | `media` | frames at 2 Hz, sound at 16 kHz, one time axis | (T, height, width, 3) and (samples,) |
# | encode (frozen) | `encoders` | Whisper's encoder; InstructBLIP's ViT and Q-Former | (T, V, D_v) and (50 Hz, D_w) |
# | project audio | `model` | a linear map of the audio tokens | (50 Hz, D_a) |
# | synchronise | `sync` | the tokens of one half second of both streams, concatenated along the features | (T, P, D_v + D_a) |
# | split | `windows` | windows of K frames | (W, K x P, D_v + D_a) |
# | summarise | `attention`, `qformer` | the causal Q-Former: N queries per window | (W, N, width) |
# | project | `model` | into the language model's embedding space | (W x N, LLM width) |
# | answer | `model` | the frozen language model with LoRA reads the vectors in place of words | text |
#
# Only the causal Q-Former, two linear maps and LoRA are trained. The tensors of our clip:

# %%
media = processor.media(clip)
with torch.no_grad():
    visual, audio = model.encode(
        media["pixel_values"][None], media["input_features"][None]
    )
    output = model(**processor([clip], [sample.questions[0].text]))
config = model.config
print("visual tokens      ", tuple(visual.shape), "(batch, T, V, D_v)")
print(
    "audio tokens       ",
    tuple(audio.shape),
    "(batch, 50 per second in chunks of 12 s, D_w)",
)
larger = f"the larger of V = {config.visual_tokens} and A = {config.audio_tokens}"
print("tokens of a step    ", f"P = {config.step_tokens},", larger)
print("output queries     ", tuple(output.queries.shape), "(batch, W, N, width)")
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(
    f"parameters          {sum(p.numel() for p in model.parameters()):,},"
    f" of which trained {trained:,}"
)

# %% [markdown]
# Compare with your own function:

# %%
frames = len(clip.frames)
print(
    frames,
    "frames ->",
    count_vectors(frames, config.window_frames, config.num_queries),
    "vectors;",
    "output queries (W, N):",
    tuple(output.queries.shape[1:3]),
)

# %% [markdown]
# ## What the mechanisms do
#
# Four mechanisms are the paper's own; the panels name them. Does each matter? In the *gym*
# (notebook 03) a small model learns from answers alone, with a mechanism and without it. Each panel
# is one setting, with five seeds:

# %%
from favor_mini.figures.gym import four_mechanisms

four_mechanisms()

# %% [markdown]
# In these settings the task is learned sooner, or only, with the mechanism. That is not all that the
# paper claims: in the third panel, attention in *both* directions does better still (notebook 05).
# Notebooks 03 and 05 to 07 also show where a mechanism makes no difference. `docs/results.md` has
# every setting, with intervals; its tables have medians over the seeds, the figure means. (Without
# the high learning rate, the diversity loss makes learning quicker, but is not needed.)
#
# ## The notebooks
#
# | | notebook | you build |
# |---|---|---|
# | 01 | [Streams](01_streams.ipynb) | frames and sound on one time axis |
# | 02 | [Encoders](02_encoders.ipynb) | probes that show what a token encodes |
# | 03 | [Frame synchronisation](03_frame_synchronisation.ipynb) | the step that joins both streams in time |
# | 04 | [Q-Former](04_qformer.ipynb) | attention, from one head to the module |
# | 05 | [Causal attention](05_causal_attention.ipynb) | the block mask, and a test that finds leaks |
# | 06 | [Sliding windows](06_sliding_windows.ipynb) | splitting into windows and joining |
# | 07 | [Diversity loss](07_diversity_loss.ipynb) | the loss that makes queries differ |
# | 08 | [Into the LLM](08_into_the_llm.ipynb) | prompt, labels, LoRA |
# | 09 | [End-to-end fine-tuning](09_end_to_end_finetuning.ipynb) | a trained model, in five minutes |
# | 10 | [Mini-AVEB](10_mini_aveb.ipynb) | eleven tasks, intervals, a diagnosis |
# | 11 | [Make your own variant](11_make_your_own_variant.ipynb) | your own mechanism in a fair comparison |
# | 12 | [To full size](12_to_full_size.ipynb) | the sizes and costs of the full model |
#
# [The table of contents](README.md) has three shorter routes.
#
# ## What to play with
#
# - Change `clip_name`, for instance to `clip_07`, and run all cells.
# - Ask about your own file: `asker.ask("my_film.mp4", "what was heard first?")`.
# - Delay the sound by *minus* one second (`delay_sound(clip, -1)`). Is early sound as bad as late
#   sound?
#
# ## Recap
#
# - A clip becomes W * N vectors that a language model reads in place of words.
# - Audio and video are joined *per time step*, before the causal Q-Former. A delay of the sound
#   breaks the pairing.
# - The chance level depends on the question. For questions about both streams, it is the best
#   accuracy with one stream.

# %% [markdown]
# ## Quiz
#
# **1.** The sound of a video is delayed by two seconds. Which kind of question loses most?
#
# - a) "what was written?"
# - b) "what was heard while the star was shown?"
# - c) "how many words were said?"
#
# <details><summary>Answer</summary>
#
# **b.** It needs the pairing of sound and frame. *a:* the video alone is enough. *c:* the audio
# alone is enough; only the part that is cut off at the end is lost.
#
# </details>
#
# **2.** Which parts are trained during fine-tuning?
#
# - a) everything
# - b) the language model alone
# - c) the causal Q-Former, the linear maps and LoRA
#
# <details><summary>Answer</summary>
#
# **c.** *a:* the encoders and the language model's own weights stay frozen. *b:* in the language
# model only LoRA, a small addition, is trained.
#
# </details>
#
# **3.** A clip of 21 frames, K = 10, N = 16. How many vectors does the language model get?
#
# - a) 48
# - b) 32
# - c) 336
#
# <details><summary>Answer</summary>
#
# **a.** Three windows, the last one with a single frame, times 16. *b:* the last window counts,
# too. *c:* that is frames times queries, but queries summarise whole windows.
#
# </details>
#
# **4.** A model scores 80 % on questions "which came first, the picture or the sound?" What must
# you know to judge this?
#
# - a) how large the model is
# - b) nothing, 80 % is good
# - c) the best accuracy with the video alone or the audio alone
#
# <details><summary>Answer</summary>
#
# **c.** In the table above, the chance level of `first_mixed` is far above one half: an event early
# in the clip is usually the first. *a:* the size does not matter. *b:* compared with this chance
# level it says little.
#
# </details>
#
# **5.** How does the language model receive the video?
#
# - a) as a written description
# - b) as vectors in place of word embeddings
# - c) as pixels
#
# <details><summary>Answer</summary>
#
# **b.** The projected queries replace placeholders in the prompt. *a:* there is no written
# description. *c:* only the visual encoder gets pixels.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/media/read.py`, `favor_mini/model.py`, `favor_mini/evaluation/answering.py`,
# `favor_mini/apps/ask.py`; tests in `tests/test_media.py`, `tests/test_model.py`,
# `tests/test_evaluation.py`.
#
# **In the paper:** sections 3.1 to 3.4. **Further reading:** the paper itself,
# [arXiv 2310.05863](https://arxiv.org/abs/2310.05863).
#
# **Next:** [01 Streams](01_streams.ipynb).
