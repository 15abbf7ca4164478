# %% [markdown]
# # 00 Start here
#
# **You will** ask an audio-visual language model about a real video file, see when it is right and when it is wrong, and
# get a map of the machinery that the other notebooks take apart.
#
# **You need** Python and a little PyTorch. Names of machinery that you meet here, such as Whisper or LoRA, are only names for now;
# the notebooks after this one take each apart. No network, no GPU.
# **Paper:** sections 1 and 3, as an overview.
#
# **Costs:** 25 minutes of reading, 12 minutes of exercises; 40 s of computing, 1.3 GB of memory.
#
# The model is **FAVOR** ([arXiv 2310.05863](https://arxiv.org/abs/2310.05863)) in small: the same parts in the same order,
# sized for two CPU cores. It lives in a *mini world* of coloured shapes, sounding things, spoken and written words. The
# clips are real mp4 files (H.264 and AAC), and because their scripts are known exactly, so is every answer.

# %% [markdown]
# ## Is everything in place?
#
# `doctor` tries each library, the sample files, memory and disk. Where something is amiss, a line says what to do. (`favor-mini doctor` in a
# terminal shows more, writes and reads a tiny video and loads the checkpoint.)

# %% tags=["varies"]
from favor_mini.apps.doctor import attempt, checks

found = {name: attempt(check) for name, check in checks(quick=True)}
for name, finding in found.items():
    if finding.status != "OK":
        print(f"[{finding.status}] {name}: {finding.text} -> {finding.mend}")
print(len(found), "checks:", ", ".join(found))

# %% [markdown]
# ## How to work with these notebooks
#
# Run the cells from top to bottom; everything works as it stands. Where a blue-edged card appears, it is your turn: replace the `raise
# NotImplementedError` below it with your code and run the check. A check tries your code on random sizes and, where it is wrong, says
# which mistake it suspects. Stuck? The card holds two hints and the package's own function, folded. Whatever you leave out, the
# package's function stands in, so you can skip an exercise and come back.
#
# A first one, to see how it goes. A clip is cut into *windows* of K frames, and each window, full or not, becomes N vectors, one
# for each of N learned *queries* that ask what the window holds.

# %%
from favor_mini.course import card, check, progress

card("count_vectors")

# %% tags=["exercise:count_vectors"]
def count_vectors(num_frames, window_frames, num_queries):
    """How many vectors a clip of T frames becomes: 100 frames, K = 10, N = 5 make 50."""
    raise NotImplementedError  # your code

# %%
count_vectors = check("count_vectors", count_vectors)
print("100 frames, windows of 10, 5 queries each:", count_vectors(100, 10, 5), "vectors")
print(" 13 frames, windows of 10, 5 queries each:", count_vectors(13, 10, 5), "vectors")

# %% [markdown]
# What you have solved is kept in a small file of your own in your home folder (`~/.favor-mini/progress.json`); nothing leaves this machine.
# `progress()` shows where you stand in all notebooks. Of this one:

# %%
progress().loc[["00"]]

# %% [markdown]
# ## A clip
#
# Thirty-two held-out clips come with the repository; no training ever saw them. Here is one. Play it, with sound.

# %%
from IPython.display import Video

from favor_mini.world.samples import read_samples

samples = {sample.name: sample for sample in read_samples()}
clip_name = "clip_00"
sample = samples[clip_name]
Video(str(sample.path), embed=True, width=256)  # in the page itself, wherever JupyterLab was opened

# %% [markdown]
# The model sees two pictures a second and hears 16 kHz sound. `read_clip` reads both onto one time axis: decord decodes the
# frames, PyAV the sound.

# %%
from favor_mini import read_clip

clip = read_clip(sample.path, frame_rate=2.0, sampling_rate=16000)
print("frames  ", clip.frames.shape, clip.frames.dtype, " one every 0.5 s")
print("times   ", clip.frame_times[:4].round(2), "...")
print("waveform", clip.waveform.shape, clip.waveform.dtype, f" {clip.duration:.1f} s")

# %% [markdown]
# The same clip on one time axis. From the top: the frames, what happens in the picture, the waveform, the spectrogram that
# the audio encoder gets, and what there is to hear. Dashed lines separate the *windows* of ten frames (5 s). Press play on the film and
# move the slider: the line shows where you are, and the picture the frame that the model sees at that time.

# %%
from favor_mini.course.widgets import player

player(clip, sample.scene, file=sample.path)

# %% [markdown]
# ## Ask the model
#
# **What to expect.** The checkpoint that ships today is right about nearly all that a clip shows and lets hear, and still wrong
# now and then: what colour a shape turned, which of a sight and a sound came first, what was said while something was shown. Below
# you measure just that.
#
# `from_pretrained` loads the model and its processor, as with any model of the `transformers` library. The processor
# turns clip and question into tensors, and `generate` writes the answer.

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
    print(f"{question.text}\n    {ask_model(clip, question.text)}   (truth: {question.answer})")

# %% [markdown]
# Your own question? Change the text and run the cell. The model knows some 130 words, those of the mini world.
# `favor-mini ask CLIP "question"` does the same in a terminal, takes any video of yours, and says so when the
# content or a word lies outside what the model knows.

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
# Before we count, a small question with a catch. The model writes text; the script knows the answer. "Red circle." and "red circle" are
# the same answer, "circle red" is not, and a model that says every word it knows must not be right.

# %%
card("matches")

# %% tags=["exercise:matches"]
def matches(predicted, answers):
    """Whether the text `predicted` is one of `answers`, but for capitals, punctuation, spaces and articles."""
    raise NotImplementedError  # your code

# %%
matches = check("matches", matches)
print(matches("The red circle.", ("red circle",)), matches("circle", ("red circle",)))

# %% [markdown]
# ## Right and wrong
#
# Let us ask everything that the scripts of six clips can answer and count. Each question family needs other abilities: one
# stream alone, the order of events, or knowing *which sound belongs to which picture*. The last four lines sum up. *Both
# modalities* are the families in which a sight has to be joined with a sound. The rest needs one stream only: *plain* where one look
# or one listen is enough, *order or cause* where several events have to be compared.
#
# **Chance** is one in the number of possible answers. For both modalities it is more: the better one of two people, a deaf one
# who sees all and a blind one who hears all. The interval says which true accuracies would make such an outcome likely; one
# question right out of one tells next to nothing.

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
from favor_mini.figures.overview import score_bars

score_bars({"shipped model": scores(rows, FAMILY_GROUPS)})

# %% [markdown]
# Some of its mistakes. (*Shown* may also be a written word.) Look at *how* it is wrong: does it name things that the clip does not
# hold, or other events of the same clip, near in time?

# %% tags=["varies"]
wrong = [row for row in rows if not row.correct]
print(f"{len(wrong)} of {len(rows)} answers are wrong")
for row in wrong[:10]:
    print(f"{row.clip}: {row.question}  said: {row.predicted!r}  truth: {row.answer!r}")

# %% [markdown]
# Nearly always it is something that *was* there, at another time. What it perceives is right; what it joins or puts in order is not.
#
# ## Break it: move the sound
#
# If the model really pairs sounds with pictures frame by frame, delaying the sound by a second or more must ruin just those
# questions that need the pairing, and harm others less. Predict all three lines.

# %%
from favor_mini.media.clip import delay_sound

delays = [0.0, 1.0, 2.0, 3.0]
curve = {}
for seconds in delays:
    moved = encode_clips(model, processor, {name: delay_sound(clips[name], seconds) for name in names})
    for score in scores(evaluate(model, processor, moved, asked, single_modality_chance(scenes)), FAMILY_GROUPS):
        curve.setdefault(score.name, []).append(score.accuracy)
kinds = ("both modalities", "one modality, order or cause", "one modality, plain")
for name in kinds:
    print(f"{name:<29}", "  ".join(f"{s} s: {a:.0%}" for s, a in zip(delays, curve[name], strict=True)))

# %%
from favor_mini.figures.plots import curves

chance = next(score.chance for score in scores(rows, FAMILY_GROUPS) if score.name == "both modalities")
curves({name: (delays, curve[name]) for name in kinds}, x="delay of the sound (s)", y="accuracy", percent=True,
       title="Sound that comes late breaks what needs both", mark={"chance, both modalities": chance})

# %% [markdown]
# What needs both streams falls deepest, and *below* chance: the model still pairs, but with the wrong neighbour. The other lines fall,
# too, though they need no pairing: a late sound is cut off at the clip's end, and what is cut off cannot be heard.
#
# Try it by hand: choose a question, move the sound, and watch the answer. The figure shows the clip as the model then gets it.

# %%
from favor_mini.figures.overview import timeline
from favor_mini.course.widgets import explore

both = {q.text: q for q in sample.questions if {"audio", "video"} <= set(q.needs)}
alone = {q.text: q for q in sample.questions if len(q.needs) == 1}
choice = [*list(both)[:6], *list(alone)[:3]]


def ask_delayed(question, delay):
    moved, true = delay_sound(clip, delay), {**both, **alone}[question].answer
    told = ask_model(moved, question)
    verdict = "right" if matches(told, (true,)) else f"wrong, it was <b>{true}</b>"
    needs = "needs both streams" if question in both else "needs one stream"
    return [f"{question} <b>{told}</b> ({verdict}; this question {needs})", timeline(None, moved)]


explore(ask_delayed, question=choice, delay=(0.0, 3.0, 0.25))

# %% [markdown]
# ## The map
#
# What just happened, in the order in which the data flows.

# %%
from favor_mini.figures.plots import flow

flow([("read", "frames at 2 Hz, sound at 16 kHz", "T frames"),
      ("encode", "Whisper, ViT, Q-Former; frozen", "(T, V, D_v) and 50 Hz"),
      ("synchronise", "seen and heard, side by side", "(T, P, D)"),
      ("cut", "windows of K frames", "(W, K * P, D)"),
      ("causal Q-Former", "N queries sum up each window", "(W, N, width)"),
      ("project", "one linear map", "(W * N, 256)"),
      ("answer", "frozen LLM with LoRA", "text")], title="FAVOR, from a film to an answer")

# %% [markdown]
# Each line names its files in `favor_mini`, short enough to read. Letters: T frames; V visual tokens for each, of D_v numbers; audio
# tokens 50 times a second, of D_w numbers, then D_a; P tokens in a time step; K frames in a window, W windows; N queries. There are
# two Q-Formers: InstructBLIP's, frozen, sums up single frames; the causal one, which learns, sums up windows of sight and sound.
#
# | step | file | what it does | shape after it |
# |---|---|---|---|
# | read | `media` | frames at 2 Hz, sound at 16 kHz, one time axis | (T, height, width, 3) and (samples,) |
# | encode (frozen) | `encoders` | Whisper's encoder; InstructBLIP's ViT and Q-Former | (T, V, D_v) and (50 Hz, D_w) |
# | widen | `model` | a linear map of the audio tokens | (50 Hz, D_a) |
# | synchronise | `sync` | what is seen and heard in the same half second, side by side | (T, P, D_v + D_a) |
# | cut | `windows` | windows of K frames | (W, K x P, D_v + D_a) |
# | sum up | `attention`, `qformer` | the causal Q-Former: N queries per window | (W, N, width) |
# | project | `model` | into the language model's embedding space | (W x N, LLM width) |
# | answer | `model` | the frozen language model with LoRA reads them like words | text |
#
# Only the causal Q-Former, two linear maps and LoRA are trained; the encoders and the language model stay frozen. Here are
# the tensors of our clip on their way:

# %%
media = processor.media(clip)
with torch.no_grad():
    visual, audio = model.encode(media["pixel_values"][None], media["input_features"][None])
    output = model(**processor([clip], [sample.questions[0].text]))
config = model.config
print("visual tokens      ", tuple(visual.shape), "(batch, T, V, D_v)")
print("audio tokens       ", tuple(audio.shape), "(batch, 50 a second; Whisper hears 12 s at once, D_w)")
greater = f"the greater of V = {config.visual_tokens} and A = {config.audio_tokens}"
print("tokens of a step    ", f"P = {config.step_tokens},", greater)
print("output queries     ", tuple(output.queries.shape), "(batch, W, N, width)")
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"parameters          {sum(p.numel() for p in model.parameters()):,}, of which trained {trained:,}")

# %% [markdown]
# A check of the arithmetic with your own function:

# %%
frames = len(clip.frames)
print(frames, "frames ->", count_vectors(frames, config.window_frames, config.num_queries), "vectors;",
      "the model made", tuple(output.queries.shape[1:3]), "of them")

# %% [markdown]
# ## Where the notebooks go
#
# | | notebook | you build |
# |---|---|---|
# | 01 | [Streams](01_streams.ipynb) | frames and sound on one time axis |
# | 02 | [Encoders](02_encoders.ipynb) | probes that tell what a token knows |
# | 03 | [Frame synchronisation](03_frame_synchronisation.ipynb) | the step that puts seen and heard side by side |
# | 04 | [Q-Former](04_qformer.ipynb) | attention, from one head to the module |
# | 05 | [Causal attention](05_causal_attention.ipynb) | the block mask, and a way to find leaks |
# | 06 | [Sliding windows](06_sliding_windows.ipynb) | folding and unfolding |
# | 07 | [Diversity loss](07_diversity_loss.ipynb) | the loss that keeps queries apart |
# | 08 | [Into the LLM](08_into_the_llm.ipynb) | prompt, labels, LoRA |
# | 09 | [End-to-end fine-tuning](09_end_to_end_finetuning.ipynb) | a trained model, in four minutes |
# | 10 | [Mini-AVEB](10_mini_aveb.ipynb) | eleven tasks, intervals, a diagnosis |
# | 11 | [Make your own variant](11_make_your_own_variant.ipynb) | a mechanism of yours, compared fairly |
# | 12 | [To full size](12_to_full_size.ipynb) | the arithmetic of real parts |
#
# Short of time? [The table of contents](README.md) has three routes.
#
# ## What to play with
#
# - Change `clip_name` to another one, `clip_07` say, and run all cells.
# - Ask with a file of your own: `asker.ask("my_film.mp4", "what was heard first?")`. What does it say, and what does it note?
# - Delay the sound by *minus* one second (`delay_sound(clip, -1)`). Is early as bad as late?
#
# ## Recap
#
# - A clip becomes W * N vectors that a language model reads in place of words.
# - Sound and picture are joined *per time step*, before the causal Q-Former looks at them; delaying the sound breaks the pairing.
# - Chance depends on the question. Where both streams are needed, it is what one stream alone could score.
# - The numbers above come from this notebook's own run.

# %% [markdown]
# ## Quiz
#
# **1.** The sound of a film is moved by two seconds. Which question suffers most?
#
# - a) "what was written?"
# - b) "what was heard while the star was shown?"
# - c) "how many words were said?"
#
# <details><summary>Answer</summary>
#
# **b.** It needs to know which sound belongs to which picture. *a:* the eyes alone answer it. *c:* the ears alone do; only what is cut
# off at the end is lost.
#
# </details>
#
# **2.** Which parts learn during fine-tuning?
#
# - a) everything
# - b) the language model alone
# - c) the causal Q-Former, the linear maps and LoRA
#
# <details><summary>Answer</summary>
#
# **c.** *a:* the encoders and the language model's own weights stay frozen. *b:* of the language model only LoRA, a small addition, learns.
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
# **a.** Three windows, the last one with a single frame, times 16. *b:* the last window counts, too. *c:* frames times queries; queries sum up
# whole windows.
#
# </details>
#
# **4.** A model scores 80 % on questions "which came first, the picture or the sound?" What must you know to judge that?
#
# - a) how large the model is
# - b) nothing, 80 % is good
# - c) what one could score by looking alone, or listening alone
#
# <details><summary>Answer</summary>
#
# **c.** In the table above, chance for `first_mixed` is far above one half: what comes early in a clip mostly comes first. *a:* size is no
# yardstick. *b:* beside such a chance it says little.
#
# </details>
#
# **5.** How does the language model receive the film?
#
# - a) as a written description
# - b) as vectors in the place of words, which no word needs to match
# - c) as pixels
#
# <details><summary>Answer</summary>
#
# **b.** The projected queries replace placeholders in the prompt. *a:* nothing is written out. *c:* pixels end at the visual encoder.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/media/read.py`, `favor_mini/model.py`, `favor_mini/evaluation/answering.py`, `favor_mini/apps/ask.py`; tests in `tests/test_media.py`, `tests/test_model.py`,
# `tests/test_evaluation.py`.
#
# **In the paper:** sections 3.1 to 3.4. **Further reading:** the paper itself, [arXiv 2310.05863](https://arxiv.org/abs/2310.05863).
#
# **Next:** [01 Streams](01_streams.ipynb).
