# %% [markdown]
# # 10 Mini-AVEB
#
# **You will** evaluate a model on a small version of the paper's benchmark with eleven tasks,
# compute word error rates and intervals by hand, compare every score with baselines, analyse wrong
# answers, and measure how much a few questions can show and how paired comparisons help.
#
# **You need** notebooks 00 and 08, and 05 for the masks; the libraries jiwer and pycocoevalcap
# (installed with the rest; else `pip install -e '.[aveb]'`). **Paper:** section 4, the benchmark
# AVEB and the ablations.
#
# **Costs:** 40 minutes of reading, 67 minutes of exercises; 40 s of computing, 1.5 GB of memory.

# %%
import json
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import torch

from favor_mini import checkpoint_path, data_path
from favor_mini.aveb.files import read_items
from favor_mini.data.files import find_media, only, read_media
from favor_mini.world.samples import aveb_file
from favor_mini.world.tasks import TASKS
from favor_mini.course import card, check
from favor_mini.figures.aveb import gallery, word_errors_table
from favor_mini.figures.lab import intervals
from favor_mini.figures.plots import bars, curves
from favor_mini.course.widgets import explore

# %% [markdown]
# ## Eleven tasks
#
# A model can be good at one thing and bad at another. So the paper has eleven tasks about audio,
# images, video, and two of them together. The mini world has all eleven.

# %%
items = {name: read_items(aveb_file(name))[0] for name in TASKS}
rows = [
    {
        "task": name,
        "what": task.title,
        "audio": "sound" if "audio" in task.streams else "",
        "video": ("image" if task.still else "video")
        if "video" in task.streams
        else "",
        "metric": task.metric,
        "questions": len(items[name]),
    }
    for name, task in TASKS.items()
]
pd.DataFrame(rows).set_index("task")

# %% [markdown]
# One question of each task: four frames of a video, the spectrogram of a sound. Which questions
# could you answer from these figures, and for which would you need the sound or the complete video?

# %%
def media(name, number):
    """The clip of an item, with the streams of its task."""
    clip = read_media(
        find_media(items[name][number], data_path()), frame_rate=2.0, image_size=64
    )
    return only(clip, TASKS[name].streams)


gallery(
    {
        f"{name}: {task.title}": (
            media(name, 1),
            items[name][1].question,
            items[name][1].answers[0],
        )
        for name, task in TASKS.items()
    }
)

# %% [markdown]
# Look at `avssd`. With the image alone two places are possible, with the sound alone four. Both
# together give the answer. In `avm`, the image and the sound are ordinary; the question is whether
# they *match*. Browse:

# %%
def look(task, number):
    chosen = items[task][number]
    title = f"{task}: {TASKS[task].title}"
    shown = {title: (media(task, number), chosen.question, chosen.answers[0])}
    choice = ", ".join(chosen.candidates) or "none, the answer is free text"
    return [
        gallery(shown),
        f"candidates: {choice}. Right answers: {'; '.join(chosen.answers)}.",
    ]


explore(
    look,
    number=(0, 15),
    task=ipywidgets.Dropdown(options=list(TASKS), value="avssd", description="task"),
)

# %% [markdown]
# The files have the format of the paper's published test sets. The field `guess` is added by this
# project. It is the accuracy of the best guesser with *one stream less* than the task: for tasks
# with two streams, the best single-modality guesser; for tasks with one stream, a guesser without
# any. (For `video_qa` it is often more than one in five: the five candidates are not equally
# likely.)

# %%
for name in ("avssd", "video_qa"):
    print(name, json.dumps(json.loads(aveb_file(name).read_text())[0], indent=1), "\n")

# %% [markdown]
# ## Word error rate
#
# For speech, "right or wrong" is too coarse: four right words of five are better than none. The
# word error rate counts the smallest number of substitutions, deletions and insertions that turn
# the *reference* into the *hypothesis*, the model's transcript:
#
# $$\text{WER} =
# \frac{\text{substitutions} + \text{deletions} + \text{insertions}}
# {\text{words in the reference}}$$
#
# To find this number, fill a table. Entry $(i, j)$ is the smallest number of errors between the
# first $i$ words of the reference and the first $j$ words of the hypothesis:
#
# $$E_{ij} = \min\big(E_{i-1,j} + 1,\;\; E_{i,j-1} + 1,\;\;
# E_{i-1,j-1} + [\,\text{ref}_i \ne \text{hyp}_j\,]\big)$$
#
# with $E_{i0} = i$ and $E_{0j} = j$: compared with an empty text, every word is an error. A step
# down is a deletion, a step to the right an insertion, and a diagonal step is a right word (0) or a
# substitution (1). **Type** a hypothesis, and watch the cheapest path (blue; red where it costs).
# What does it cost to delete the *first* word, one or four?

# %%
REFERENCE = "moon king lion salt"
explore(
    lambda hypothesis: word_errors_table(hypothesis.lower(), REFERENCE),
    hypothesis=ipywidgets.Text(
        "moon ring lion tiger salt", description="hypothesis", continuous_update=False
    ),
)

# %%
card("word_error_rate")

# %% tags=["exercise:word_error_rate"]
def word_error_rate(hypotheses, references):
    """Two lists of texts -> all errors / all words of the references."""
    raise NotImplementedError  # your code

# %%
word_error_rate = check("word_error_rate", word_error_rate)

# %% [markdown]
# Deleting the first word costs one error: the path goes down once, and all later steps are free.
# **Predict:** which of these three is more than 100 %? (The package uses jiwer.)

# %%
from favor_mini.evaluation.metrics import word_errors

for text in (
    "moon king lion salt",
    "king lion salt",
    "moon and the king and a lion and some salt",
):
    found = word_errors([text], [REFERENCE])
    print(
        f"{text:<44} S {found.substitutions}, D {found.deletions}, I "
        f"{found.insertions}: "
        f"{word_error_rate([text], [REFERENCE]):.0%}"
    )

# %% [markdown]
# A rate above 100 % is possible: a long hypothesis for a short reference can be worse than an empty
# one, whose rate is exactly 100 %.
#
# ## Accuracy and the chance level
#
# Most tasks count right answers. But 50 % on `avm` (yes or no) is the chance level, and 50 % on
# `ocr` (one word of twenty) is far above it. To compare such numbers, scale them from the chance
# level to perfect.

# %%
card("skill")

# %% tags=["exercise:skill"]
def skill(accuracy, chance):
    """0 at the chance level, 1 if all answers are right."""
    raise NotImplementedError  # your code

# %%
skill = check("skill", skill)
for accuracy, chance in ((0.73, 0.5), (0.73, 0.05), (0.45, 0.5)):
    print(
        f"accuracy {accuracy:.0%}, chance {chance:.0%}: skill "
        f"{skill(accuracy, chance):+.2f}"
    )

# %% [markdown]
# ## The interval of an accuracy
#
# Nineteen of nineteen answers are right. Is the model perfect? The textbook interval,
# $p \pm 1.96\sqrt{p(1-p)/n}$, has zero width if all answers are right. The **Wilson interval**
# contains the true accuracies for which this outcome is likely. With $z = 1.96$:
#
# $$\frac{1}{1 + z^2/n}\left(p + \frac{z^2}{2n} \;\pm\;
# z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}\,\right)$$

# %%
card("wilson")

# %% tags=["exercise:wilson"]
def wilson(right, asked):
    """-> (low, high), the 95 % Wilson interval."""
    raise NotImplementedError  # your code

# %%
wilson = check("wilson", wilson)
for right, asked in ((19, 19), (6, 6), (5, 6), (73, 100)):
    print(f"{right:>3} of {asked:<4}", "{:.0%} to {:.0%}".format(*wilson(right, asked)))

# %% [markdown]
# A model that is wrong for every third question can have six right answers of six. How much do more
# questions help?

# %%
counts = np.array([10, 20, 40, 80, 160, 320, 640])
intervals_by_n = {}
for share in (0.9, 0.7):
    lows, highs = np.transpose([wilson(round(share * n), int(n)) for n in counts])
    intervals_by_n[f"{share:.0%} right"] = (
        counts,
        np.full(len(counts), share),
        lows,
        highs,
    )
curves(intervals_by_n, x="questions", y="accuracy and interval", percent=True, log="x")

# %% [markdown]
# The width is proportional to $1/\sqrt{n}$: half the width needs four times the questions.
#
# ## Captions: CIDEr
#
# Every sound clip here has three reference captions. CIDEr compares the *words and n-grams* of a
# caption with those of its references. A word has a lower weight if it occurs in more clips: "the"
# and "was" are in nearly every caption. With $M$ clips, of which $m_w$ have the word $w$ in their
# references, its weight is
#
# $$\text{weight}(w) = \ln \frac{M}{m_w}$$
#
# For some words of the audio captioning task:

# %%
references = [item.answers for item in items["ac"]]
clips_with, M = Counter(), len(references)
for answers in references:
    clips_with.update(set(" ".join(answers).replace(",", "").split()))
shown = ["the", "was", "heard", "then", "said", "bell", "horn", "tiger"]
bars({word: np.log(M / clips_with[word]) for word in shown}, form="{:.2f}",
     x=f"weight of a word over the captions of {M} clips")

# %% [markdown]
# N-grams of two, three and four words have weights in the same way. For each of the four lengths a
# caption becomes a vector of weighted counts. The score is its cosine with the vectors of the
# references, averaged over references and lengths, times 10, with a penalty for different lengths
# (CIDEr-**D**). **Predict the order** of these:

# %%
from favor_mini.evaluation.metrics import cider

captions = {
    "one of the references": references[0][1],
    "the same, last two events swapped": "",
    "the first event only": references[0][0].split(",")[0],
    "caption of another clip": references[1][0],
    "frequent words only": "the was heard then the was heard",
}
events = references[0][1].split(", then ")
captions["the same, last two events swapped"] = ", then ".join(
    [*events[:-2], events[-1], events[-2]]
)
each = {
    name: cider([text, *[r[0] for r in references[1:]]], references)[0]
    for name, text in captions.items()
}
bars(each, x="CIDEr-D of one caption (maximum 10)", form="{:.2f}")

# %% [markdown]
# Even a copy of one reference does not get 10, because it differs from the *other* two. Two events
# in the wrong order cost little, because most n-grams do not change: CIDEr hardly measures the
# order of events. A caption that is too short gets almost nothing, even if it is right. (For sounds
# the paper uses SPIDEr, the mean of CIDEr and SPICE. SPICE needs Java and a parser; the package
# uses them if they are installed.)
#
# ## Choosing by likelihood
#
# For `video_qa` the answer is one of five candidates. Instead of generating a text that may match
# none of them, compute the *probability* of each candidate:
#
# $$\log p(\text{answer} \mid \text{clip, question}) = \sum_t \log p(w_t \mid w_{<t}, \ldots)$$
#
# One forward pass with all candidates as a batch gives the logits. They are shifted against the
# labels (notebook 08), and the prompt and the padding must not count.

# %%
card("choose_candidate")

# %% tags=["exercise:choose_candidate"]
def choose_candidate(logits, labels):
    """logits (C, L, vocabulary), labels (C, L) with -100 -> index of the most
    likely.
    """
    raise NotImplementedError  # your code

# %%
choose_candidate = check("choose_candidate", choose_candidate)

# %% [markdown]
# Use it for a question of the test set, with the shipped model. (A `Predictor` holds a model and
# writes its predictions to a file.)

# %%
from favor_mini.aveb.predict import MODELS, Predictor
from favor_mini.evaluation.answering import likelihood

predictors = {kind: Predictor(kind=kind) for kind in MODELS}
model, processor = predictors["favor-mini"].model, predictors["favor-mini"].processor
question = items["video_qa"][4]
clip = processor.media(media("video_qa", 4))
batch = processor(
    [clip] * len(question.candidates),
    [question.question] * len(question.candidates),
    list(question.candidates),
)
with torch.no_grad():
    chosen = choose_candidate(model(**batch).logits, batch["labels"])
print(
    f"{question.question}\nchosen: {question.candidates[chosen]}    right answer: "
    f"{question.answers[0]}"
)

# %%
from favor_mini.data.features import encode_media

features = encode_media(model, processor, [clip])[0]
logp = likelihood(
    model, processor, [features] * 5, [question.question] * 5, list(question.candidates)
)
first, second = sorted(logp, reverse=True)[:2]
print(
    f"difference of the first two: {first - second:.1f}, a ratio of "
    f"{np.exp(first - second):,.0f}"
)
bars(
    {
        name: round(value, 1) + 0.0
        for name, value in zip(question.candidates, logp, strict=True)
    },
    x="log probability of each candidate",
    form="{:.1f}",
)

# %% [markdown]
# The difference between the first and the second candidate shows how certain the model is. Each
# further token lowers a candidate's sum, so your function prefers short candidates. The package
# ranks by the mean log probability per token instead (`likelihood(..., per_token=True)`).
#
# ## A small evaluation
#
# Six questions of each task, for three models:
#
# - **favor-mini**: the shipped model;
# - **untrained**: the same frozen parts with an untrained connector and LoRA;
# - **text only**: the shipped model without a clip. How much can it answer from the question alone?
#
# There are also two baselines without a model: the best **constant** answer, and the best
# **guesser**. (The constant answer is chosen with the right answers of these questions, which is an
# advantage.)

# %%
from favor_mini.aveb.benchmark import CONSTANT, GUESS, Results, best_constant
from favor_mini.figures.aveb import benchmark_scores
from favor_mini.aveb.run import score

SIX, encoded, results, rows = 6, {}, {}, []
# for predictions; a stopped run resumes from them
folder = tempfile.TemporaryDirectory()


def predict(kind, name, chosen, file=""):
    """A model's rows for these items: predicted, right, answers."""
    predictions = Path(folder.name) / f"{name}.{kind}.{file}.jsonl"
    return predictors[kind].predict(aveb_file(name), chosen, data_path(), predictions,
                                    streams=TASKS[name].streams, encoded=encoded,
                                    progress=False)


def add_row(name, kind, value, low=np.nan, high=np.nan):
    rows.append({"task": name, "metric": TASKS[name].metric, "model": kind,
                 "value": value, "low": low, "high": high})


for name, task in TASKS.items():
    chosen = items[name][:: len(items[name]) // SIX][:SIX]
    results[name] = {kind: predict(kind, name, chosen) for kind in MODELS}
    results[name][CONSTANT] = best_constant(task.metric, results[name]["favor-mini"])
    for kind, its_rows in results[name].items():
        add_row(name, kind, *score(task.metric, its_rows))
    if task.metric == "accuracy":
        known = json.loads(aveb_file(name).read_text())
        add_row(name, GUESS, np.mean([known[int(item.id)]["guess"] for item in chosen]))
table = pd.DataFrame(rows)
benchmark_scores(Results(table))

# %%
wide = table.pivot(index="task", columns="model", values="value").loc[
    list(TASKS), [*MODELS, CONSTANT, GUESS]
]
wide = wide.map(lambda value: "" if np.isnan(value) else f"{value:.2f}")
best = table[table.model == "favor-mini"].set_index("task")
wide.insert(0, "metric", best.metric)
wide.insert(
    2,
    "95 % interval",
    [f"{row.low:.2f} to {row.high:.2f}" for row in best.itertuples()],
)
wide

# %% [markdown]
# Read the intervals before the values. With six questions, few tasks separate a good model from a
# mediocre one. Here `avsr` is not significantly better than a constant answer, `isqa` and `avssd`
# are not significantly better than the guesser.
#
# For word errors and captions there is no formula like Wilson's. They have a **bootstrap**: draw
# six of the six questions with replacement, score, do that thousands of times, and take the range
# of the middle 95 %. It knows only these six: transcripts without an error would get an interval
# without any width.
#
# Where the difference is large, six questions *can* show it, as between trained and untrained.
# `favor-mini evaluate` asks all questions, and prints the lower bound of the margin over the best
# baseline.
#
# ## Analyse the wrong answers
#
# A score shows how often a model is wrong, not why. Take more questions of `avssd`, and sort the
# wrong answers. The image has two objects on opposite sides, and one of them is heard. The model
# can name the place of the *other* object (it recognises the objects, but not which one is heard),
# an *empty* place (it does not recognise the objects), or no place (it did not understand the
# question). **Predict** the most frequent kind.

# %%
from favor_mini.world.samples import TASK_SEED
from favor_mini.world.scene import OPPOSITE

sixty = items["avssd"][:60]
answered = predict("favor-mini", "avssd", sixty, "sixty")
kinds, by_object = Counter(), {}
for item, row in zip(sixty, answered, strict=True):
    # the script of the picture
    (moment,) = TASKS["avssd"].draw(TASK_SEED + int(item.id)).moments
    by_object.setdefault(moment.heard.name, []).append(row["right"])
    if not row["right"]:
        other = OPPOSITE[item.answers[0]]
        kinds["place of the other object" if row["predicted"] == other else
              "an empty place" if row["predicted"] in OPPOSITE else "no place"] += 1
value, low, high = score("accuracy", answered)
print(
    f"{len(sixty)} questions, right: {value:.0%} ({low:.0%} to {high:.0%}); with the "
    f"image alone 50%"
)
print(f"skill relative to 50%: {skill(value, 0.5):+.2f}")
bars(
    {
        kind: kinds[kind]
        for kind in ("place of the other object", "an empty place", "no place")
    },
    x="wrong answers",
    form="{:.0f}",
)

# %% [markdown]
# The image is recognised and the question is understood. The error is *which* of the two objects is
# heard.
#
# Is one particular *sound* the cause?

# %%
per_object = {
    f"{name} ({len(right)} questions)": (
        np.mean(right),
        *wilson(sum(right), len(right)),
    )
    for name, right in sorted(by_object.items())
}
bars(per_object, percent=True, mark={"image alone": 0.5},
     x="accuracy by the object that is heard, with 95 % intervals")

# %% [markdown]
# The bars differ, but all intervals overlap. One of eight objects always has the lowest accuracy.
# Sorting by a reason that was named *before* looking at the results is evidence. Picking the worst
# of eight afterwards is not.
#
# The same for speech: speech alone, speech in noise with two of three words written in the video,
# and the same without the video. **Predict** the order of the error rates.

# %%
noisy = items["avsr"][:: len(items["avsr"]) // SIX][:SIX]
no_video = predictors["favor-mini"].predict(
    aveb_file("avsr"), noisy, data_path(), Path(folder.name) / "no_video.jsonl",
    streams=("audio",), progress=False)
by_task_rows = {
    "asr": results["asr"]["favor-mini"],
    "avsr": results["avsr"]["favor-mini"],
    "avsr, no video": no_video,
}
for name, its_rows in by_task_rows.items():
    found = word_errors(
        [r["predicted"] for r in its_rows], [r["answers"][0] for r in its_rows]
    )
    print(f"{name:<13} {found.words} words; substitutions {found.substitutions}, "
          f"deletions {found.deletions}, insertions {found.insertions}")
worst = max(
    results["avsr"]["favor-mini"],
    key=lambda r: word_error_rate([r["predicted"]], [r["answers"][0]]),
)
print(
    f"the worst of avsr: reference {worst['answers'][0]!r}, hypothesis "
    f"{worst['predicted']!r}"
)

# %% [markdown]
# In speech alone a few words are wrong; in noise far more, and without the video nearly all. So the
# model does read the written words, but not all of them. (Six questions each: the intervals are
# wide.)
#
# ## Paired differences
#
# Two models, A and B, are each right for about two thirds of sixty questions. Each has an interval
# of more than twenty points, and their difference is a few points. But if both answered the *same*
# questions, the main source of variance, that some questions are hard, affects both in the same
# way. In the difference per question it cancels:
#
# $$d_i = \text{right}_B(i) - \text{right}_A(i) \in \{-1, 0, 1\}$$
#
# If both are right or both wrong, $d_i = 0$. And questions about *one clip* are correlated. Eighty
# questions about ten clips are not eighty independent trials. So the bootstrap resamples clips, not
# questions.

# %%
card("paired_difference")

# %% tags=["exercise:paired_difference"]
def paired_difference(right_a, right_b, clip):
    """-> (difference, low, high), b - a in points, by a bootstrap over clips."""
    raise NotImplementedError  # your code

# %%
paired_difference = check("paired_difference", paired_difference)

# %% [markdown]
# An example: B is the same model with the mask `full` at inference, so that a frame may attend to
# later frames (notebook 05).

# %%
model.qformer.attention = "full"
under_full = predict("favor-mini", "avssd", sixty, "full")
model.qformer.attention = "block_causal"
right_a, right_b = (
    np.array([row["right"] for row in rows]) for rows in (answered, under_full)
)
paired = paired_difference(right_a, right_b, np.arange(len(sixty)))
half_width = (
    1.96 * 100 * np.hypot(*(r.std() / len(r) ** 0.5 for r in (right_a, right_b)))
)
print(f"A {right_a.mean():.0%} right, B {right_b.mean():.0%}; "
      f"both right or both wrong on {(right_a == right_b).mean():.0%} of the questions")
bars(
    {
        "not paired": (paired[0], paired[0] - half_width, paired[0] + half_width),
        "paired": paired,
    },
    x="B - A, percentage points of accuracy, with 95 % intervals",
    form="{:+.1f}",
    mark={"no difference": 0},
)

# %% [markdown]
# The difference is the same, but the interval is about a third narrower, at no cost. There is still
# *no measurable difference* (-15 to +8 points). The more the two models agree, the more pairing
# helps.
#
# ## How many seeds, how many clips?
#
# If the two models are *trained* differently, the training is another source of variance: another
# seed gives another model. More clips do not replace seeds, or the reverse. The package's interval
# for a difference $d$ includes both:
#
# $$d \;\pm\; \sqrt{(1.96 \; s_\text{clips})^2 + (t_{S-1} \; s_\text{seeds})^2}$$
#
# $s$ are the standard errors of the mean over clips and over the $S$ seeds. For many clips, 1.96 is
# right. For a few seeds it is too small, because the standard error is itself estimated from $S$
# numbers. **Student's t** corrects this. It is 12.7 for two seeds, 4.3 for three, 2.8 for five. Try
# it on simulated experiments with a known effect:

# %%
from scipy.stats import norm, t


def repeated(seeds, clips, effect, paired=True, seed_std=0.06, noise=0.3, repeats=300):
    """Intervals of many simulated experiments.

    An answer is right if ability + effect of the seed + noise > the difficulty.
    """
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(repeats, 2, 1, clips))
    if paired:
        difficulty[:, 1] = difficulty[:, 0]  # both arms get the same questions
    scale = (1 + noise**2 + seed_std**2) ** 0.5
    ability = scale * norm.ppf([0.75, 0.75 + effect / 100])[None, :, None, None]
    right = (ability + seed_std * rng.normal(size=(repeats, 2, seeds, 1))
             + noise * rng.normal(size=(repeats, 2, seeds, clips)) > difficulty)
    gain = 100.0 * (right[:, 1].astype(float) - right[:, 0])  # [repeats, seeds, clips]
    if paired:
        by_clips = gain.mean(1).std(-1, ddof=1) / clips**0.5
    else:
        by_clips = (
            100
            * np.hypot(*(right[:, arm].mean(1).std(-1, ddof=1) for arm in (0, 1)))
            / clips**0.5
        )
    by_seeds = t.ppf(0.975, seeds - 1) * gain.mean(2).std(-1, ddof=1) / seeds**0.5
    half = np.hypot(1.96 * by_clips, by_seeds)
    middle = gain.mean((1, 2))
    return middle - half, middle + half


def simulate(seeds, clips, effect, paired):
    lows, highs = repeated(seeds, clips, effect, paired)
    found = ((lows > 0) | (highs < 0)).mean()
    text = (
        f"a difference is found in {found:.0%}"
        if effect
        else f"false positives: {found:.0%}"
    )
    return intervals(
        (lows + highs) / 2,
        lows,
        highs,
        effect,
        f"intervals {np.mean(highs - lows):.1f} points wide; {text}",
    )


explore(
    simulate,
    seeds=ipywidgets.IntSlider(5, 2, 12, description="seeds", continuous_update=False),
    clips=ipywidgets.IntSlider(
        200, 20, 600, 20, description="clips", continuous_update=False
    ),
    effect=ipywidgets.FloatSlider(
        3, min=0, max=10, description="effect", continuous_update=False
    ),
    paired=ipywidgets.Checkbox(True, description="paired"),
)

# %% [markdown]
# **Try:** with two seeds, how many clips are needed to detect a difference of 3 points? Set the
# effect to 0: how often does an interval exclude zero by chance? Turn off *paired*. For a true
# difference of 3 points, a table:

# %%
def found_share(seeds, clips, paired):
    lows, highs = repeated(seeds, clips, 3.0, paired)
    return f"{((lows > 0) | (highs < 0)).mean():.0%}"


plans = {
    "2 seeds": (2, True),
    "3 seeds": (3, True),
    "5 seeds": (5, True),
    "5 seeds, not paired": (5, False),
    "10 seeds": (10, True),
}
pd.DataFrame(
    {
        f"{clips} clips": {
            plan: found_share(seeds, clips, paired)
            for plan, (seeds, paired) in plans.items()
        }
        for clips in (60, 200, 600)
    }
)

# %% [markdown]
# Each cell shows how often a true gain of 3 points is detected in 300 experiments (with an
# uncertainty of about 5 points). Two seeds detect almost nothing, whatever the number of clips,
# because Student's t for two values is very large. "No measurable difference" is the usual result
# of a small experiment, *also if there is a difference*. (The variance between seeds, which
# determines the table, is an assumption. For a real plan it must be measured: notebook 11. False
# positives are rarer than one in twenty, because the noise of single answers is in both parts of
# the interval.)
#
# ## The ablations
#
# One part of the mechanism at a time is replaced, the connector is trained with several seeds, and
# all arms answer the same questions of all eleven tasks.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import show_experiment

by_task = show_experiment("tasks")

# %%
shown = ["avqa", "avssd", "avm", "video_qa", "all"]
differences(by_task.differences(shown), by_task.arms[0]) if by_task else None

# %%
if by_task:
    found = by_task.differences()
    clear = found[(found.low > 0) | (found.high < 0)]
    print(
        f"{len(found)} intervals; {0.05 * len(found):.1f} are expected to exclude "
        f"zero by chance. These do:"
    )
    for row in clear.itertuples():
        print(
            f"  {row.arm}, {row.questions}: {row.difference:+.1f} ({row.low:+.1f} to "
            f"{row.high:+.1f})"
        )
    widths = found.high - found.low
    print(f"width of an interval: {widths.min():.0f} to {widths.max():.0f} points")

# %% [markdown]
# Count the intervals first. Seven of 36 exclude zero, all of the arm with one wide window; about
# two would by chance. After correction for their number none does (notebook 11). (The ablation of
# synchronisation is in notebook 03. Here captions and transcripts, too, count as right or wrong, so
# that all tasks are comparable in percentage points.)
#
# Why is there so little to see for the other parts? In this recipe each query has a label for its
# output, and that may do the mechanisms' work. So the same claims were tested where a connector
# learns from answers alone: in the gym, with symbols and with encoded films of the mini world.
# **Predict**: which of the paper's claims are shown somewhere, and which are contradicted? *Shown*
# is a significant loss without the part, *contradicted* a significant gain, both after correction
# for the number of comparisons in their study.

# %%
from favor_mini.lab.claims import PLACES, claims

for row in claims().itertuples():
    print(f"{row.part}: {row.verdict.upper()}")
    lines = [f"the paper: {row.paper}"]
    lines += [f"{name}: {getattr(row, where)}" for where, name in PLACES.items()]
    for line in lines:
        print(textwrap.fill(line, 88, initial_indent="  ", subsequent_indent="    "))

# %% [markdown]
# (For windows, the evidence from the whole model is the experiment of notebook 06, with questions of
# all kinds. The 36 intervals above are about the eleven tasks.)
#
# The films are of two kinds. In usual films no arm learned the questions about both modalities, so
# these cannot speak about synchronisation. In films with fewer events, and several of them in a
# window, nearly all baselines learned them. There synchronisation and windows show (notebooks 03 and
# 06), and attention among the inputs and the diversity loss do not (05 and 07).
#
# An effect in the gym says that the mechanism *can* matter, and where. It does not say that it
# matters in a large model. "Not shown", with its bound, is a result as well.
#
# A question that the paper leaves open: what happens to objects that are not in the connector's
# training data? **Predict** it.

# %%
novelty = show_experiment("novelty")
groups = ["about what was left out", "about the rest"]
if novelty:
    print(novelty.verdicts(groups))
differences(novelty.differences(groups), novelty.arms[0]) if novelty else None

# %% [markdown]
# The rows about the rest show whether the smaller training set did harm in general.
#
# ## A diagnosis
#
# Scores can fall for many reasons, each with its own pattern. `favor_mini.lab.diagnose` looks for
# four:
#
# - good at one stream alone, bad at both together: **synchronisation**;
# - things that are not in the clip, as soon as a clip has several windows: **alignment over
#   windows**;
# - words that are in no part of the clip (hallucinations), or repeated phrases: the **weight of the
#   diversity loss** (notebook 07) is too high;
# - queries that are all alike: this weight is too low.
#
# Does it find the cause in a model whose audio we move, so that it is one second late? A sync
# variant is one function:

# %%
from favor_mini.lab.diagnose import diagnose
from favor_mini.registry import find, register

concat = find("sync", "concat")


@register("sync", "late", causal=True)
def late(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The package's synchronisation with the audio two time steps late."""
    gap = 2 * audio_tokens
    if audio.shape[1] > gap:
        audio = torch.cat([torch.zeros_like(audio[:, :gap]), audio[:, :-gap]], dim=1)
    return concat(visual, audio, frame_mask, audio_mask, audio_tokens=audio_tokens)


model.config.sync = "late"
model.save_pretrained(Path(folder.name) / "late")
processor.save_pretrained(Path(folder.name) / "late")
model.config.sync = "concat"

# %% [markdown]
# **Predict** which of the four signs the modified model shows, and which the shipped one:

# %%
for kind, checkpoint in (
    ("shipped", checkpoint_path()),
    ("audio late", Path(folder.name) / "late"),
):
    print(f"{kind}:")
    for sign in diagnose(checkpoint, scenes=24):
        print(textwrap.fill(str(sign), 100, subsequent_indent="    "))

# %% [markdown]
# Only the modified part is reported: the events in the answers are in the clip, but the pairing is
# wrong. The first threshold applies to the *lower end* of the interval, and needs twenty questions
# of each kind. (`favor-mini diagnose` asks more questions.)
#
# ## What to play with
#
# - Sort the wrong answers of `vqa` or `isqa`. Name your kinds of error first, then count.
#   (`predict` resumes from its file: give it another `file` for other questions or a changed
#   model.)
# - In `repeated`, set `seed_std=0.0`: all seeds are equal. How many seeds do you need now?
# - Modify the model in another way, for instance by zeroing one stream in a sync variant with a new
#   name. Which sign appears?
# - `favor-mini evaluate --task avssd` asks all hundred questions of one task.
#
# ## Recap
#
# - One number hides what a model cannot do: so there are eleven tasks.
# - WER counts errors per reference word and may exceed 1. CIDEr weights words by their rarity.
#   Candidates are compared by their likelihood.
# - A score needs an interval and baselines: untrained, text only, constant answer, guesser.
# - Wrong answers, sorted by kinds that were named beforehand, show what to improve.
# - Compare on the same questions and take the difference per question. Resample clips, not
#   questions. Treat seeds and clips separately.
# - "No measurable difference" must come with the size of the difference that could be hidden.
# - The training signal may decide what an ablation can show: where labels tell each query what to
#   output, a mechanism may have little left to do.

# %% [markdown]
# ## Quiz
#
# **1.** The reference has three words, the hypothesis six different ones. What is the word error
# rate?
#
# - a) 100 %
# - b) 200 %
# - c) 50 %
#
# <details><summary>Answer</summary>
#
# **b.** Three substitutions and three insertions, divided by three reference words. *a:* that is
# the rate of an empty hypothesis. *c:* that divides by the words of the hypothesis.
#
# </details>
#
# **2.** Six of six answers are right. What is known about the accuracy?
#
# - a) It is 100 %
# - b) Nothing
# - c) It is unlikely to be below about 60 %
#
# <details><summary>Answer</summary>
#
# **c.** That is the lower end of the Wilson interval. *a:* the textbook interval says so, but it is
# wrong at the ends. *b:* a model with an accuracy of one half gets six of six only once in 64
# times.
#
# </details>
#
# **3.** `text only` scores 40 % on a task. What does that mean?
#
# - a) The questions alone are enough for 40 %; a score that is not above it does not show the use
#   of the clip
# - b) The model is broken
# - c) 40 % of the clips are empty
#
# <details><summary>Answer</summary>
#
# **a.** A score must be compared with this baseline. *b:* it is the same model without a clip. *c:*
# there is no clip at all.
#
# </details>
#
# **4.** Eighty questions about ten clips. What should the bootstrap resample?
#
# - a) questions, there are more of them
# - b) clips, each with all of its questions
# - c) answers
#
# <details><summary>Answer</summary>
#
# **b.** Questions about one clip are correlated. *a:* the interval would be too narrow. *c:* an
# answer without its question means nothing.
#
# </details>
#
# **5.** You have two seeds and two hundred clips, and ten times more computation is available. You
# want to detect a difference of 3 points between two ways of training. What helps most?
#
# - a) more seeds
# - b) ten times the questions, same two seeds
# - c) different questions for each arm
#
# <details><summary>Answer</summary>
#
# **a.** With two seeds Student's t with one degree of freedom dominates the interval. *b:* that
# reduces the part that is already small. *c:* it adds the variance of the questions again.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/aveb/` (`files.py`, `predict.py`, `run.py`, `benchmark.py`),
# `favor_mini/world/tasks.py` (the mini world's rows), `favor_mini/evaluation/metrics.py`,
# `favor_mini/lab/statistics.py` (paired differences), `favor_mini/lab/diagnose.py`; tests in
# `tests/test_aveb_*.py`, `tests/test_compare.py`, `tests/test_diagnose.py`.
#
# **In the paper:** section 4 and its ablations. **Further reading:** CIDEr
# ([arXiv 1411.5726](https://arxiv.org/abs/1411.5726)), SPIDEr
# ([arXiv 1612.00370](https://arxiv.org/abs/1612.00370)).
#
# **Next:** [11 Make your own variant](11_make_your_own_variant.ipynb).
