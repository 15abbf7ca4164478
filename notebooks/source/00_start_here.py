# %% [markdown]
# # 00 Start here
#
# **You will** ask an audio-visual language model about a real video file, see when it is right and when it is wrong, and
# get a map of the machinery that the other notebooks take apart.
#
# **You need** Python and a little PyTorch; nothing about audio, video or language models. No network, no GPU.
#
# The model is **FAVOR** ([arXiv 2310.05863](https://arxiv.org/abs/2310.05863)) in small: the same parts in the same order,
# sized for two CPU cores. It lives in a *mini world* of coloured shapes, sounding things, spoken and written words. The
# clips are real mp4 files (H.264 and AAC), and because their scripts are known exactly, so is every answer.

# %% [markdown]
# ## Is everything in place?
#
# `doctor` tries each library and says what to do where something is amiss. (Without `quick=True` it also writes and reads
# a tiny video and loads the checkpoint.)

# %%
from favor_mini.doctor import examine

examine(checkpoint=None, quick=True);  # `favor-mini doctor` in a terminal tries codecs and checkpoint, too

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
Video(f"../data_samples/clips/{clip_name}.mp4", width=256)

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
# The same clip on one time axis. From the top: what happens in the picture, the frames, the waveform, the spectrogram that
# the audio encoder gets, and what there is to hear. Dashed lines separate the *windows* of ten frames (5 s).

# %%
from favor_mini.course.figures import timeline

timeline(sample.scene, clip)

# %% [markdown]
# ## Ask the model
#
# **What to expect.** The checkpoint that ships today is right about nearly all that a clip shows and lets hear, and still wrong
# now and then: what colour a shape turned, which of a sight and a sound came first, what was heard just before something. Below
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
from favor_mini.ask import Asker

asker = Asker()
answer = asker.ask(sample.path, "what was the weather like?")
print("answer:", answer.answer)
for note in answer.notes:
    print("note:  ", note)

# %% [markdown]
# ## Right and wrong
#
# Let us ask everything that the scripts of six clips can answer and count. Each question family needs other abilities: one
# stream alone, the order of events, or knowing *which sound belongs to which picture*. Chance is one in
# the number of possible answers; where both streams are needed, what one could score by taking in one of them only, seeing but
# not hearing or the reverse, whichever is better.

# %%
from favor_mini.evaluation import encode_clips, evaluate, score_table, scores

names = [name for name, sample in samples.items() if sample.kind == "clip"][:6]
clips = {name: read_clip(samples[name].path) for name in names}
encoded = encode_clips(model, processor, clips)
asked = [(name, question) for name in names for question in samples[name].questions]
scenes = {name: samples[name].scene for name in names}
rows = evaluate(model, processor, encoded, asked, scenes)
print(score_table(scores(rows)))

# %%
from favor_mini.course.figures import score_bars

score_bars({"shipped model": scores(rows)})

# %% [markdown]
# Where it was wrong (all of it, or the first ten). Look at *how* it is wrong: another event of the same clip, a
# neighbour in time, a confusion of two words that sound alike?

# %%
wrong = [row for row in rows if not row.correct]
print(f"{len(wrong)} of {len(rows)} answers are wrong")
for row in wrong[:10]:
    print(f"{row.clip}: {row.question}  said: {row.predicted!r}  truth: {row.answer!r}")

# %% [markdown]
# ## Break it: move the sound
#
# If the model really pairs sounds with pictures frame by frame, delaying the sound by a second or more must ruin just those
# questions that need the pairing, and leave alone those that need one stream only. Look at both lines before you conclude
# anything.

# %%
from favor_mini.evaluation import delay_sound

delays = [0.0, 1.0, 2.0, 3.0]
curve = {}
for seconds in delays:
    moved = encode_clips(model, processor, {name: delay_sound(clips[name], seconds) for name in names})
    for score in scores(evaluate(model, processor, moved, asked, scenes)):
        curve.setdefault(score.name, []).append(score.accuracy)
for name in ("both modalities", "one modality, plain"):
    print(f"{name:<22}", "  ".join(f"{s} s: {a:.0%}" for s, a in zip(delays, curve[name], strict=True)))

# %%
import seaborn as sns

from favor_mini.course.figures import Picture

figure = Picture(figsize=(8, 4), layout="constrained")
figure.alt_text = "Accuracy against the delay of the sound, for questions that need both modalities and for plain ones."
axis = figure.subplots()
for (name, style) in (("both modalities", "o-"), ("one modality, plain", "s--")):
    axis.plot(delays, curve[name], style, label=name)
axis.set(xlabel="delay of the sound (s)", ylabel="accuracy", ylim=(0, 1.02), xticks=delays)
axis.legend(frameon=False)
sns.despine(ax=axis)
figure

# %% [markdown]
# Try it by hand: choose a clip and a question, move the sound, and watch the answer. (The widget needs a running kernel;
# in the static page you see the figure above instead.)

# %%
import ipywidgets as widgets

clip_box = widgets.Dropdown(options=names, value=clip_name if clip_name in names else names[0], description="clip")
question_box = widgets.Dropdown(description="question", layout=widgets.Layout(width="640px"))
delay_slider = widgets.FloatSlider(min=0, max=3, step=0.25, value=0, description="delay (s)", continuous_update=False)
shown = widgets.HTML()


def offer_questions(change=None):
    question_box.options = [(q.text, i) for i, q in enumerate(samples[clip_box.value].questions)]


def update(change=None):
    if question_box.value is None:
        return
    question = samples[clip_box.value].questions[question_box.value]
    told = ask_model(delay_sound(clips[clip_box.value], delay_slider.value), question.text)
    verdict = "right" if told == question.answer else f"wrong, it was {question.answer}"
    shown.value = f"<p style='font-size:120%'><b>{told}</b> &nbsp; ({verdict})</p>"


offer_questions()
clip_box.observe(offer_questions, "value")
for box in (question_box, delay_slider):
    box.observe(update, "value")
update()
widgets.VBox([clip_box, question_box, delay_slider, shown])

# %% [markdown]
# ## The map
#
# What just happened, in the order in which the data flows. Each line is one file of `favor_mini`, short enough to read.
#
# | step | file | what it does | shape after it |
# |---|---|---|---|
# | read | `media` | frames at 2 Hz, sound at 16 kHz, one time axis | (T, H, W, 3) and (samples,) |
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
print("audio tokens       ", tuple(audio.shape), "(batch, 50 a second, Whisper's width)")
print("time step          ", f"P = max(V={config.visual_tokens}, A={config.audio_tokens}) = {config.step_tokens} tokens")
print("output queries     ", tuple(output.queries.shape), "(batch, W, N, width)")
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"parameters          {sum(p.numel() for p in model.parameters()):,}, of which trained {trained:,}")

# %% [markdown]
# ## Recap
#
# - A clip becomes W x N vectors that a language model reads in place of words.
# - Sound and picture are joined *per time step*, before any attention; delaying the sound breaks the pairing.
# - Everything the model got wrong, you saw: the numbers above come from this notebook's own run.
#
# **Where this lives:** `favor_mini/media.py`, `favor_mini/model.py`, `favor_mini/evaluation.py`; tests in `tests/`.
# **In the paper:** sections 3.1 to 3.4. **Next:** [09 End-to-end fine-tuning](09_end_to_end_finetuning.ipynb).
