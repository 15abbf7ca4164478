# %% [markdown]
# # 10 Mini-AVEB
#
# **You will** put a model through the eleven tasks of the paper's benchmark in small, compute word errors and intervals by hand,
# hold every score against what it takes to score as much without looking, read wrong answers, and learn how little a few
# questions say, and how pairing helps.
#
# **You need** notebooks 00 and 08, and 05 for the masks; the libraries jiwer and pycocoevalcap (installed with the rest; else `pip install -e '.[aveb]'`). **Paper:**
# section 4, the benchmark AVEB and the ablations.
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
from favor_mini.aveb.files import find_media, only, read_items, read_media
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
# A model that "understands video" may be good at one thing and blind to another. So the paper asks eleven kinds of questions, of
# sound, of pictures, of films, and of two of them at once. The mini world has all eleven, with its own scenes and real media files.

# %%
items = {name: read_items(aveb_file(name))[0] for name in TASKS}
rows = [{"task": name, "what": task.title, "hears": "sound" if "audio" in task.streams else "",
         "sees": ("a picture" if task.still else "a film") if "video" in task.streams else "",
         "metric": task.metric, "questions": len(items[name])} for name, task in TASKS.items()]
pd.DataFrame(rows).set_index("task")

# %% [markdown]
# One question of each, with a picture of what the model gets: of a film four of its frames, of a sound its spectrogram. Which
# could you answer from these pictures alone, and for which would you need ears, or all of the film?

# %%
def media(name, number):
    """An item's clip, with the streams that its task gives."""
    clip = read_media(find_media(items[name][number], data_path()), frame_rate=2.0, image_size=64)
    return only(clip, TASKS[name].streams)


gallery({f"{name}: {task.title}": (media(name, 1), items[name][1].question, items[name][1].answers[0])
         for name, task in TASKS.items()})

# %% [markdown]
# Look at `avssd`. The picture leaves two places, the sound alone leaves four. Only both together say which. And look at
# `avm`: picture and sound are each quite ordinary; the question is whether they *belong* together. Browse:

# %%
def look(task, number):
    chosen = items[task][number]
    told = {f"{task}: {TASKS[task].title}": (media(task, number), chosen.question, chosen.answers[0])}
    choice = ", ".join(chosen.candidates) or "none, the answer is free"
    return [gallery(told), f"to choose among: {choice}. All answers that count: {'; '.join(chosen.answers)}."]


explore(look, number=(0, 15),
        task=ipywidgets.Dropdown(options=list(TASKS), value="avssd", description="task"))

# %% [markdown]
# The files have the form of the paper's published test sets, so that the same code reads those. A row names its media and
# holds a question and all answers that count. `guess` is ours. It says how often somebody is right who knows this world and takes
# in *one stream less* than the task gives: where it gives two, the better one alone; where it gives one, none. (For `video_qa`
# that is often more than one in five, as not all five candidates are equally likely for such a question.)

# %%
for name in ("avssd", "video_qa"):
    print(name, json.dumps(json.loads(aveb_file(name).read_text())[0], indent=1), "\n")

# %% [markdown]
# ## Word error rate
#
# For speech, "right or wrong" is too coarse: four words of five right is better than none. So one counts the least number of
# words that have to be changed, left out or put in to turn what was *told* into what was *said*:
#
# $$\text{WER} = \frac{\text{wrong} + \text{missing} + \text{extra}}{\text{words said}}$$
#
# To find the least number, fill a table. Entry $(i, j)$ is the least number of errors between the first $i$ words said and
# the first $j$ words told:
#
# $$E_{ij} = \min\big(E_{i-1,j} + 1,\;\; E_{i,j-1} + 1,\;\; E_{i-1,j-1} + [\,\text{said}_i \ne \text{told}_j\,]\big)$$
#
# with $E_{i0} = i$ and $E_{0j} = j$: against nothing, every word is an error. Downwards is a word left out, to the right one too
# many, along the diagonal a word that is right (free) or wrong (1). **Type** what a model might have told, and watch the cheapest
# way (blue; red where it costs). What does it cost to leave out the *first* word, one or four?

# %%
SAID = "moon king lion salt"
explore(lambda told: word_errors_table(told.lower(), SAID),
        told=ipywidgets.Text("moon ring lion tiger salt", description="told", continuous_update=False))

# %%
card("word_error_rate")

# %% tags=["exercise:word_error_rate"]
def word_error_rate(told, said):
    """Two lists of texts -> errors in all of them / words said in all of them."""
    raise NotImplementedError  # your code

# %%
word_error_rate = check("word_error_rate", word_error_rate)

# %% [markdown]
# Leaving out the first word costs one error: the way goes down once and is free from then on. The package leaves the counting to
# jiwer. **Predict:** which of these three is more than 100 %?

# %%
from favor_mini.evaluation.metrics import word_errors

for told in ("moon king lion salt", "king lion salt", "moon and the king and a lion and some salt"):
    found = word_errors([told], [SAID])
    print(f"{told:<44} wrong {found.substitutions}, missing {found.deletions}, extra {found.insertions}: "
          f"{word_error_rate([told], [SAID]):.0%}")

# %% [markdown]
# A rate above 100 % is no mistake: who tells a lot where little was said can be worse than who says nothing, whose rate is
# exactly 100 %.
#
# ## Accuracy, and where zero is
#
# Most tasks count right answers. But 50 % on `avm` (yes or no) is nothing, and 50 % on `ocr` (one word of twenty) is a lot.
# To hold two such numbers against each other, measure from guessing to perfect.

# %%
card("skill")

# %% tags=["exercise:skill"]
def skill(accuracy, chance):
    """0 where accuracy is chance, 1 where all is right."""
    raise NotImplementedError  # your code

# %%
skill = check("skill", skill)
for accuracy, chance in ((0.73, 0.5), (0.73, 0.05), (0.45, 0.5)):
    print(f"accuracy {accuracy:.0%}, chance {chance:.0%}: skill {skill(accuracy, chance):+.2f}")

# %% [markdown]
# ## How sure is an accuracy?
#
# Nineteen of nineteen are right. Is the model perfect? The textbook's interval, $p \pm 1.96\sqrt{p(1-p)/n}$, says: yes, with
# no doubt at all. It has no width where all are right. **Wilson's** interval asks the other way round: which true accuracies
# would make this outcome likely? With $z = 1.96$:
#
# $$\frac{1}{1 + z^2/n}\left(p + \frac{z^2}{2n} \;\pm\; z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}\,\right)$$

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
# Six of six may well be a model that is wrong every third time. What do more questions help? Here for two accuracies, as n grows:

# %%
counts = np.array([10, 20, 40, 80, 160, 320, 640])
reach = {}
for share in (0.9, 0.7):
    lows, highs = np.transpose([wilson(round(share * n), int(n)) for n in counts])
    reach[f"{share:.0%} right"] = (counts, np.full(len(counts), share), lows, highs)
curves(reach, x="questions", y="accuracy and interval", percent=True, log="x")

# %% [markdown]
# The width falls with the *square root* of n: for half the width, four times the questions. From 10 to 640 questions it falls to
# about an eighth.
#
# ## Captions: CIDEr
#
# A caption can be worded in many ways. Every sound clip of ours has three captions that count. CIDEr's idea: compare the
# *words and groups of words* of a caption with those of its references, but let a word count the less, the more clips it
# occurs in. "the" and "was" stand in nearly every caption and say nothing. With $M$ clips, of which $m_w$ have the word $w$
# in their references, its weight is
#
# $$\text{weight}(w) = \ln \frac{M}{m_w}$$
#
# By hand, over all captions of the sound task:

# %%
references = [item.answers for item in items["ac"]]
clips_with, M = Counter(), len(references)
for answers in references:
    clips_with.update(set(" ".join(answers).replace(",", "").split()))
shown = ["the", "was", "heard", "then", "said", "bell", "horn", "tiger"]
bars({word: np.log(M / clips_with[word]) for word in shown}, form="{:.2f}",
     x=f"weight of a word over the captions of {M} clips")

# %% [markdown]
# Groups of two, three and four words get their weights in the same way. For each of the four lengths a caption becomes a vector of
# weighted counts; the score is its cosine with the references' vectors, averaged over references and lengths, times 10, and
# less where the captions' lengths differ (that makes it CIDEr-**D**). **Predict the order** of these:

# %%
from favor_mini.evaluation.metrics import cider

told = {"one of the references, word for word": references[0][1], "the same, last two swapped": "",
        "the first event alone": references[0][0].split(",")[0], "another clip's caption": references[1][0],
        "only words that say nothing": "the was heard then the was heard"}
events = references[0][1].split(", then ")
told["the same, last two swapped"] = ", then ".join([*events[:-2], events[-1], events[-2]])
each = {name: cider([text, *[r[0] for r in references[1:]]], references)[0] for name, text in told.items()}
bars(each, x="CIDEr-D of one caption (10 at most)", form="{:.2f}")

# %% [markdown]
# Even a word-for-word reference does not get 10: it differs from the *other* two. Two events in the wrong order cost little, as
# most groups of words stay whole: CIDEr is a poor judge of time. What is too short gets next to nothing, however right: it could be
# short because only the easy part is told. (For sounds the paper uses SPIDEr, the mean of CIDEr
# and SPICE; SPICE needs Java and a parser, which the package asks for only if you want it.)
#
# ## Choosing by likelihood
#
# For `video_qa` the answer is one of five candidates. Instead of letting the model write and hoping that it hits one of them,
# one asks how *likely* each would be:
#
# $$\log p(\text{answer} \mid \text{clip, question}) = \sum_t \log p(w_t \mid w_{<t}, \ldots)$$
#
# One forward pass for all candidates as a batch gives the scores. Two things trip everybody once: the scores at place $t$ are
# about the token at place $t + 1$, and what is prompt or padding must not count.

# %%
card("choose_candidate")

# %% tags=["exercise:choose_candidate"]
def choose_candidate(logits, labels):
    """logits (C, L, vocabulary), labels (C, L), -100 where nothing counts -> index of the likeliest."""
    raise NotImplementedError  # your code

# %%
choose_candidate = check("choose_candidate", choose_candidate)

# %% [markdown]
# On a real question of the test set, with the shipped model. `Predictor` holds a model and
# streams its predictions to a file; below, two other models answer the same questions.

# %%
from favor_mini.aveb.predict import MODELS, Predictor
from favor_mini.evaluation.answering import likelihood

predictors = {kind: Predictor(kind=kind) for kind in MODELS}
model, processor = predictors["favor-mini"].model, predictors["favor-mini"].processor
question = items["video_qa"][4]
clip = processor.media(media("video_qa", 4))
batch = processor([clip] * len(question.candidates), [question.question] * len(question.candidates),
                  list(question.candidates))
with torch.no_grad():
    chosen = choose_candidate(model(**batch).logits, batch["labels"])
print(f"{question.question}\nchosen: {question.candidates[chosen]}    right: {question.answers[0]}")

# %%
from favor_mini.data.features import encode_media

seen = encode_media(model, processor, [clip])[0]
logp = likelihood(model, processor, [seen] * 5, [question.question] * 5, list(question.candidates))
likeliest, runner_up = sorted(logp, reverse=True)[:2]
print(f"the likeliest is {likeliest - runner_up:.1f} ahead, that is {np.exp(likeliest - runner_up):,.0f} to 1")
bars({name: round(value, 1) + 0.0 for name, value in zip(question.candidates, logp, strict=True)},
     x="log probability of each candidate (0: certain)", form="{:.1f}")

# %% [markdown]
# The gap between the likeliest and the next is what the model would bet. A longer candidate pays once for
# each of its tokens. Where candidates differ in length, the sum therefore prefers short ones. The package ranks candidates by the
# mean log probability per token instead (`likelihood(..., per_token=True)`); yours is the sum.
#
# ## The test, in small
#
# Six questions of each task, for three models:
#
# - **favor-mini**: the shipped model;
# - **untrained**: the same frozen parts, a fresh connector and LoRA. How far do these get without the part that joins them?
# - **text only**: the shipped model, shown no clip. What does the question alone give away?
#
# And two that are no models: the best **constant** answer, and **guessing** by one who knows the world. (The constant is
# picked with the answers of these very questions in hand, which flatters it.)

# %%
from favor_mini.aveb.benchmark import CONSTANT, GUESS, Results, best_constant
from favor_mini.figures.aveb import benchmark_scores
from favor_mini.aveb.run import score

SIX, encoded, sat, rows = 6, {}, {}, []
folder = tempfile.TemporaryDirectory()  # predictions go there line by line, so that a stopped run can go on


def sit(kind, name, chosen, file=""):
    """A model's rows for these items: predicted, right, answers."""
    predictions = Path(folder.name) / f"{name}.{kind}.{file}.jsonl"
    return predictors[kind].predict(aveb_file(name), chosen, data_path(), predictions,
                                    streams=TASKS[name].streams, encoded=encoded,
                                    progress=False)


def note(name, kind, value, low=np.nan, high=np.nan):
    rows.append({"task": name, "metric": TASKS[name].metric, "model": kind,
                 "value": value, "low": low, "high": high})


for name, task in TASKS.items():
    chosen = items[name][:: len(items[name]) // SIX][:SIX]
    sat[name] = {kind: sit(kind, name, chosen) for kind in MODELS}
    sat[name][CONSTANT] = best_constant(task.metric, sat[name]["favor-mini"])
    for kind, its_rows in sat[name].items():
        note(name, kind, *score(task.metric, its_rows))
    if task.metric == "accuracy":
        known = json.loads(aveb_file(name).read_text())
        note(name, GUESS, np.mean([known[int(item.id)]["guess"] for item in chosen]))
table = pd.DataFrame(rows)
benchmark_scores(Results(table))

# %%
wide = table.pivot(index="task", columns="model", values="value").loc[list(TASKS), [*MODELS, CONSTANT, GUESS]]
wide = wide.map(lambda value: "" if np.isnan(value) else f"{value:.2f}")
best = table[table.model == "favor-mini"].set_index("task")
wide.insert(0, "metric", best.metric)
wide.insert(2, "95 % interval", [f"{row.low:.2f} to {row.high:.2f}" for row in best.itertuples()])
wide

# %% [markdown]
# Read the intervals before the values (they are drawn for favor-mini; those of the baselines are as wide). With six questions, hardly
# one of them tells a good model from a fair one: here `avsr` is not told from a constant answer, `isqa` and `avssd` are not told
# from guessing.
#
# Accuracies have Wilson's intervals. For word errors and captions there is no such formula, so they have a **bootstrap**: draw six
# of the six questions with replacement, score, do that thousands of times, and take the range of the middle 95 %. It knows only
# what it was handed: six transcripts without an error would get an interval without any width.
#
# What six questions *can* tell: trained from untrained, seeing from blind, wherever the distance is large. `favor-mini
# evaluate` asks all of them, and says by how much the model is *at least* ahead of each baseline.
#
# ## Read the wrong answers
#
# A score says how often, not why. Take `avssd`, ask more questions of it, and sort the wrong answers by what went wrong. Two
# things are in the picture, opposite each other, and one of them is heard. The model may name the place of the *other* thing (it sees, but does not
# know which one sounds), an *empty* place (it does not see), or no place at all (it did not understand the question).

# %%
from favor_mini.world.samples import TASK_SEED
from favor_mini.world.scene import OPPOSITE

sixty = items["avssd"][:60]
answered = sit("favor-mini", "avssd", sixty, "sixty")
kinds, by_thing = Counter(), {}
for item, row in zip(sixty, answered, strict=True):
    (moment,) = TASKS["avssd"].draw(TASK_SEED + int(item.id)).moments  # the script of the picture
    by_thing.setdefault(moment.heard.name, []).append(row["right"])
    if not row["right"]:
        other = OPPOSITE[item.answers[0]]
        kinds["the other thing's place" if row["predicted"] == other else
              "an empty place" if row["predicted"] in OPPOSITE else "no place"] += 1
value, low, high = score("accuracy", answered)
print(f"{len(sixty)} questions, right: {value:.0%} ({low:.0%} to {high:.0%}); eyes alone leave two places")
print(f"skill above guessing among the two: {skill(value, 0.5):+.2f}")
bars({kind: kinds[kind] for kind in ("the other thing's place", "an empty place", "no place")},
     x="wrong answers", form="{:.0f}")

# %% [markdown]
# That is worth more than the score. The eyes work and the question is understood; what fails is to tell *which* of the two is
# heard. If the wrong answers were spread over all places, one would mend something quite different.
#
# It is tempting to go on: is one *sound* to blame?

# %%
per_thing = {f"{thing} ({len(right)} asked)": (np.mean(right), *wilson(sum(right), len(right)))
             for thing, right in sorted(by_thing.items())}
bars(per_thing, percent=True, mark={"eyes alone": 0.5},
     x="right, by the thing that was heard, with 95 % intervals")

# %% [markdown]
# The bars differ, and all intervals overlap. Among eight things one always looks worst. Sorting by a reason that
# you named *before* you looked is evidence; picking the worst of eight afterwards is not.
#
# The same for speech: what kind of errors? Speech alone; speech in noise with the words written on the film two times in
# three; and that speech again with the film held back, as the task `asr` does.

# %%
noisy = items["avsr"][:: len(items["avsr"]) // SIX][:SIX]
no_film = predictors["favor-mini"].predict(
    aveb_file("avsr"), noisy, data_path(), Path(folder.name) / "no_film.jsonl",
    streams=("audio",), progress=False)
told = {"asr": sat["asr"]["favor-mini"], "avsr": sat["avsr"]["favor-mini"], "avsr, no film": no_film}
for name, its_rows in told.items():
    found = word_errors([r["predicted"] for r in its_rows], [r["answers"][0] for r in its_rows])
    print(f"{name:<13} {found.words} words said; wrong {found.substitutions}, missing {found.deletions}, "
          f"extra {found.insertions}")
worst = max(sat["avsr"]["favor-mini"], key=lambda r: word_error_rate([r["predicted"]], [r["answers"][0]]))
print(f"the worst of avsr: said {worst['answers'][0]!r}, told {worst['predicted']!r}")

# %% [markdown]
# In speech alone single words are mistaken; in noise, far more, and without the film nearly all. So the model does read along, but
# far from every word that could be read. (Six questions each. You know by now what that is worth.)
#
# ## Paired differences
#
# Two models, A and B, are each right in about two thirds of sixty questions. Each has an interval more than twenty points
# wide, and they differ by a few. So nothing can be said? Not so fast. If both answered the *same* questions, most of what
# makes the intervals wide, hard questions and easy ones, hits both alike. Take the difference question by question and it
# cancels:
#
# $$d_i = \text{right}_B(i) - \text{right}_A(i) \in \{-1, 0, 1\}$$
#
# Where both are right or both wrong, $d_i = 0$ and no noise comes in. And a second thing: questions about *one clip* stand or
# fall together. Eighty questions about ten clips are not eighty independent trials. So it is clips that one draws anew, not
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
# Try it on the model: B is the same model asked under another mask, `full`, so that a frame may see later ones (notebook 05).
# One change, no training, the same sixty questions.

# %%
model.qformer.attention = "full"
under_full = sit("favor-mini", "avssd", sixty, "full")
model.qformer.attention = "block_causal"
right_a, right_b = (np.array([row["right"] for row in rows]) for rows in (answered, under_full))
paired = paired_difference(right_a, right_b, np.arange(len(sixty)))
apart = 1.96 * 100 * np.hypot(*(r.std() / len(r) ** 0.5 for r in (right_a, right_b)))
print(f"A {right_a.mean():.0%} right, B {right_b.mean():.0%}; "
      f"both right or both wrong on {(right_a == right_b).mean():.0%} of the questions")
bars({"as if asked different questions": (paired[0], paired[0] - apart, paired[0] + apart), "paired": paired},
     x="B - A, points of accuracy, with 95 % intervals", form="{:+.1f}", mark={"no difference": 0})

# %% [markdown]
# The same data, the same difference, a narrower interval, and it cost nothing. There is still *no difference found*, but much less
# room for one that stayed hidden. The more the two agree, the more pairing gains.
#
# ## How many seeds, how many clips?
#
# If the two models are *trained* differently, one more thing might have come out otherwise: the training. Another seed,
# another model. So there are two sources of chance, seeds and clips, and more of one does not make up for the other. The package's
# interval for a difference $d$ puts both in:
#
# $$d \;\pm\; \sqrt{(1.96 \; s_\text{clips})^2 + (t_{S-1} \; s_\text{seeds})^2}$$
#
# $s$ are the standard errors of the mean over clips and over the $S$ seeds. For clips, of which there are many, 1.96 will do. For a
# few seeds it would not: how much seeds differ is itself guessed from $S$ numbers, and **Student's t** makes up for that. It is
# 12.7 for two seeds, 4.3 for three, 2.8 for five. Try it, on made-up experiments in which the truth is known: each asks two
# arms the same questions (or not), with as many seeds and clips as you say.

# %%
from scipy.stats import norm, t


def repeated(seeds, clips, effect, paired=True, luck=0.06, noise=0.3, repeats=300):
    """Intervals of many made-up experiments. An answer is right where ability + the seed's luck + noise is
    greater than the question's difficulty."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(repeats, 2, 1, clips))
    if paired:
        difficulty[:, 1] = difficulty[:, 0]  # both arms get the same questions
    scale = (1 + noise**2 + luck**2) ** 0.5
    ability = scale * norm.ppf([0.75, 0.75 + effect / 100])[None, :, None, None]
    right = (ability + luck * rng.normal(size=(repeats, 2, seeds, 1))
             + noise * rng.normal(size=(repeats, 2, seeds, clips)) > difficulty)
    gained = 100.0 * (right[:, 1].astype(float) - right[:, 0])  # [repeats, seeds, clips]
    if paired:
        by_clips = gained.mean(1).std(-1, ddof=1) / clips**0.5
    else:
        by_clips = 100 * np.hypot(*(right[:, arm].mean(1).std(-1, ddof=1) for arm in (0, 1))) / clips**0.5
    by_seeds = t.ppf(0.975, seeds - 1) * gained.mean(2).std(-1, ddof=1) / seeds**0.5
    half = np.hypot(1.96 * by_clips, by_seeds)
    middle = gained.mean((1, 2))
    return middle - half, middle + half


def try_your_luck(seeds, clips, effect, paired):
    lows, highs = repeated(seeds, clips, effect, paired)
    found = ((lows > 0) | (highs < 0)).mean()
    said = f"a difference is found in {found:.0%}" if effect else f"a false alarm in {found:.0%}"
    return intervals((lows + highs) / 2, lows, highs, effect, f"intervals {np.mean(highs - lows):.1f} points wide; {said}")


explore(try_your_luck, seeds=ipywidgets.IntSlider(5, 2, 12, description="seeds", continuous_update=False),
        clips=ipywidgets.IntSlider(200, 20, 600, 20, description="clips", continuous_update=False),
        effect=ipywidgets.FloatSlider(3, min=0, max=10, description="effect", continuous_update=False),
        paired=ipywidgets.Checkbox(True, description="paired"))

# %% [markdown]
# **Find out:** with two seeds, how many clips make a difference of 3 points visible? Set the effect to 0: how often does an
# interval exclude zero by chance alone? Untick *paired*. Here is what it costs to see a true difference of 3 points, as a
# table:

# %%
def found_share(seeds, clips, paired):
    lows, highs = repeated(seeds, clips, 3.0, paired)
    return f"{((lows > 0) | (highs < 0)).mean():.0%}"


plans = {"2 seeds": (2, True), "3 seeds": (3, True), "5 seeds": (5, True), "5 seeds, not paired": (5, False),
         "10 seeds": (10, True)}
pd.DataFrame({f"{clips} clips": {plan: found_share(seeds, clips, paired)
                                 for plan, (seeds, paired) in plans.items()} for clips in (60, 200, 600)})

# %% [markdown]
# In each cell: how often a true gain of 3 points is found, in 300 experiments (so a cell may be off by some 5 points). Two seeds
# find next to nothing, whatever the number of clips,
# since Student's t of two values is merciless, and rightly so. "No difference found" is the usual outcome of a small
# experiment, *also where there is one*. (How much seeds differ is made up here. It decides the table, and for a real plan one
# has to measure it: notebook 11. And false alarms are rarer than one in twenty, since noise of single answers enters both
# parts of the interval.)
#
# ## The ablations
#
# Now the paper's question: what does each part of the mechanism give to each task? One part at a time is replaced, everything
# is trained anew with several seeds, and all arms answer the same questions of all eleven tasks.

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import tell

by_task = tell("tasks")

# %%
shown = ["avqa", "avssd", "avm", "video_qa", "all"]
differences(by_task.differences(shown), by_task.arms[0]) if by_task else None

# %%
if by_task:
    found = by_task.differences()
    clear = found[(found.low > 0) | (found.high < 0)]
    print(f"{len(found)} intervals; up to {0.05 * len(found):.1f} would exclude zero by chance. These do:")
    for row in clear.itertuples():
        print(f"  {row.arm}, {row.questions}: {row.difference:+.1f} ({row.low:+.1f} to {row.high:+.1f})")
    widths = found.high - found.low
    print(f"width of an interval: {widths.min():.0f} to {widths.max():.0f} points")

# %% [markdown]
# Count before you believe. With eleven tasks and three arms there are dozens of intervals, and up to one in twenty excludes zero by
# chance. (Synchronisation is left out in an experiment of its own, `sync`, in notebook 03. Here every task counts as right or wrong, captions and transcripts too, so that all can be compared in
# points.)
#
# A second question that the paper leaves open: what becomes of things that the connector has never met in training?

# %%
novelty = tell("novelty")
groups = ["about what was left out", "about the rest"]
if novelty:
    print(novelty.verdicts(groups))
differences(novelty.differences(groups), novelty.arms[0]) if novelty else None

# %% [markdown]
# Two rows belong together: a drop on what was left out says that it was not learned by other means; the row about the rest says
# whether a poorer training did harm in general.
#
# ## A diagnosis
#
# Scores fall for many reasons, and each leaves its own pattern. `favor_mini.lab.diagnose` looks for four:
#
# - good at one stream alone, bad at both together: **synchronisation**;
# - things told that were never there, as soon as a clip takes several windows: **alignment over windows**;
# - words that are in no part of the clip, or phrases told again and again: the **weight of the diversity loss** (notebook 07) too
#   high;
# - queries that are all alike: that weight too low.
#
# Let us break the shipped model on purpose, so that it hears everything one second late inside, and see whether the diagnosis finds
# out. A sync variant is one function:

# %%
from favor_mini.lab.diagnose import diagnose
from favor_mini.registry import find, register

concat = find("sync", "concat")


@register("sync", "late", causal=True)
def late(visual, audio, frame_mask, audio_mask, *, audio_tokens):
    """The package's synchronisation, but the sound comes two steps late."""
    gap = 2 * audio_tokens
    if audio.shape[1] > gap:
        audio = torch.cat([torch.zeros_like(audio[:, :gap]), audio[:, :-gap]], dim=1)
    return concat(visual, audio, frame_mask, audio_mask, audio_tokens=audio_tokens)


model.config.sync = "late"
model.save_pretrained(Path(folder.name) / "broken")
processor.save_pretrained(Path(folder.name) / "broken")
model.config.sync = "concat"

# %% [markdown]
# **Predict** which of the four will be a SIGN in the broken model, and what the shipped one will show:

# %%
for kind, checkpoint in (("shipped", checkpoint_path()), ("broken", Path(folder.name) / "broken")):
    print(f"{kind}:")
    for sign in diagnose(checkpoint, scenes=12):
        print(textwrap.fill(str(sign), 100, subsequent_indent="    "))

# %% [markdown]
# It is the break that shows, and nothing else: what is told is still there, only not together. The first threshold is on the *lower
# end* of the interval, and it wants twenty questions of each kind: the diagnosis, too, is careful about how little a few
# questions say. (`favor-mini diagnose` asks more of them.)
#
# ## What to play with
#
# - Sort the wrong answers of `vqa` or `isqa`. Name your kinds of error first, then count. (`sit` goes on from its file: give it
#   another `file` for other questions or a changed model.)
# - In `repeated`, set `luck=0.0`: training makes no difference. How many seeds do you need now?
# - Break the model in another way, for instance by zeroing one stream in a sync variant with a new name. Which sign lights up?
# - `favor-mini evaluate --task avssd` asks all hundred questions of one task.
#
# ## Recap
#
# - Eleven tasks, because one number hides what a model cannot do. Each gives the model just the streams that it is about.
# - WER counts edits per word said and may exceed 1; CIDEr weighs words by how rare they are; choices go by the likelihood of
#   whole answers.
# - A score needs an interval, and beside it what can be had without looking: untrained, text only, constant, guessing.
# - Wrong answers, sorted by a reason named beforehand, say what to mend.
# - Compare on the same questions and take differences question by question. Draw clips, not questions; count seeds and clips
#   apart.
# - "No difference found" comes with the size of the difference that may have stayed hidden.

# %% [markdown]
# ## Quiz
#
# **1.** Three words were said, the model tells six others. What is the word error rate?
#
# - a) 100 %
# - b) 200 %
# - c) 50 %
#
# <details><summary>Answer</summary>
#
# **b.** Three wrong and three extra, over three words said. *a:* that is what silence gets. *c:* that would divide by the
# words told.
#
# </details>
#
# **2.** Six of six are right. What is known about the accuracy?
#
# - a) It is 100 %
# - b) Nothing
# - c) It is unlikely to be below some 60 %
#
# <details><summary>Answer</summary>
#
# **c.** That is Wilson's lower end. *a:* the textbook's interval would say so; it is wrong at the ends. *b:* a model that is
# right half of the time gets six of six only once in 64 times.
#
# </details>
#
# **3.** `text only` scores 40 % on a task. What does that mean?
#
# - a) The questions alone give away at least that much; what does not lie above it shows no seeing or hearing
# - b) The model is broken
# - c) 40 % of the clips are empty
#
# <details><summary>Answer</summary>
#
# **a.** A baseline is there to be subtracted in thought. *b:* it is the same model, only shown nothing. *c:* no clip is shown
# at all.
#
# </details>
#
# **4.** Eighty questions about ten clips. What should the bootstrap draw?
#
# - a) questions, there are more of them
# - b) clips, each with all of its questions
# - c) answers
#
# <details><summary>Answer</summary>
#
# **b.** Questions about one clip share its difficulties. *a:* the interval would be too narrow. *c:* an answer without its
# question means nothing.
#
# </details>
#
# **5.** You have two seeds, two hundred clips, and may spend ten times the computing. You want to see a difference of 3 points between two ways
# of training. Which helps most?
#
# - a) more seeds
# - b) ten times the questions, same two seeds
# - c) unpairing, so that more different questions are asked
#
# <details><summary>Answer</summary>
#
# **a.** With two seeds the interval is ruled by Student's t with one degree of freedom. *b:* that shrinks the part that was
# small already. *c:* it adds the questions' own noise back in.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/aveb/` (`tasks.py`, `samples.py`, `files.py`, `metrics.py`, `run.py`, `benchmark.py`),
# `favor_mini/lab/statistics.py` (paired differences), `favor_mini/lab/diagnose.py`; tests in `tests/test_aveb_*.py`,
# `tests/test_compare.py`, `tests/test_diagnose.py`.
#
# **In the paper:** section 4 and its ablations. **Further reading:** CIDEr ([arXiv
# 1411.5726](https://arxiv.org/abs/1411.5726)), SPIDEr ([arXiv 1612.00370](https://arxiv.org/abs/1612.00370)).
#
# **Next:** [11 Make your own variant](11_make_your_own_variant.ipynb).
