# %% [markdown]
# # 09 End-to-end fine-tuning on a small subset
#
# **You will** take the frozen encoders and the frozen language model, add an untrained *connector*
# (the causal Q-Former and its linear maps) and untrained LoRA, and train them to answer questions
# about video: data, two-part loss, three stages, evaluation before and after, stop and resume.
#
# **You need** notebooks 00 and 08; 07 for the diversity loss. **Paper:** sections 3.3 and 3.4, and
# the training set-up of section 4.
#
# **Costs:** 30 minutes of reading, 35 minutes of exercises; 210 s of computing, 2.4 GB of memory.
#
# This notebook trains a real model. On two CPU cores it takes less than five minutes
# where bfloat16 is fast (`favor-mini doctor` tells), and about ten minutes in float32,
# as in this run, whose scores are shown.

# %%
import numpy as np
import torch

from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path())
processor = FavorProcessor.from_pretrained(checkpoint_path())
model.reset_trained(seed=0)

# %% [markdown]
# ## Trained and frozen parts
#
# `reset_trained` has removed the result of all fine-tuning: the causal Q-Former, the two linear
# maps and LoRA have their initial weights. What is left are the parts that a real project
# downloads: a Whisper encoder, a visual encoder, an LLM.

# %%
import pandas as pd

count = {}
for name, parameter in model.named_parameters():
    part = "LoRA" if "lora_" in name else name.split(".")[0]
    row = count.setdefault(part, {"parameters": 0, "trained": parameter.requires_grad})
    row["parameters"] += parameter.numel()
pd.DataFrame(count).T

# %%
from favor_mini.course import card, check
from favor_mini.figures.plots import bars

size = {
    name + ("" if row["trained"] else " (frozen)"): row["parameters"] / 1e3
    for name, row in count.items()
}
bars(
    dict(sorted(size.items(), key=lambda item: -item[1])),
    x="parameters, thousands",
    form="{:,.0f}",
)

# %% [markdown]
# ## The data: scripts, questions, and one request
#
# A training clip is a scene that is drawn from a seed. Its script has the answers to any number of
# questions, and it can be written as a *transcript*. Both become conversations.

# %%
from favor_mini.world.questions import (
    draw_questions,
    single_modality_chance,
    FAMILY_GROUPS,
)
from favor_mini.world.scene import draw_scene
from favor_mini.world.transcript import transcript

scene = draw_scene(12)
print(transcript(scene), "\n")
for question in draw_questions(scene, np.random.default_rng(0), 4, reworded=True):
    print(f"{question.family:<13}{question.text}  ->  {question.answer}")

# %% [markdown]
# The frozen encoders give the same features for a clip every time. So they run once, before
# training, and the training starts from the features. The features are cached on disk under a key
# of everything that they depend on: the weights of the encoders, the settings of the processor, and
# the code. If one of these changes, the features are computed again.

# %%
from favor_mini.world.rows import encode_scenes
from favor_mini.world.scene import SPLITS

# no scenes of the pretraining
seeds = [SPLITS["train"].start + 2 * 10**7 + i for i in range(480)]
encoded = encode_scenes(
    model, processor, seeds, cache="../build/notebook-features", progress=False
)
shapes = {
    name: tuple(value.shape)
    for name, value in encoded[0].items()
    if torch.is_tensor(value)
}
# frames, visual tokens, width; audio tokens, width
print(len(encoded), "clips; the first:", shapes)

# %% [markdown]
# `Dialogues` turns encoded clips into conversations, and the processor turns them into a batch.
# Labels are -100 for all tokens without a loss (prompt, placeholders, questions), so only the
# answers count.

# %%
from favor_mini.world.lessons import Dialogues, SceneRows

data = Dialogues(encoded, count=64, questions=2)
batch = processor.collate([data[0], data[1]])
ids, labels = batch["input_ids"][0], batch["labels"][0]
text = processor.tokenizer.convert_ids_to_tokens(ids.tolist())
for token, label in list(zip(text, labels.tolist(), strict=True))[-30:]:
    print(f"{token:<12}", "counts" if label != -100 else ".")

# %% [markdown]
# ## The two-part loss
#
# $$\mathcal{L} = \mathcal{L}_{\text{cross-entropy}} + \lambda\,\mathcal{L}_{\text{diversity}}$$
#
# The cross-entropy is over the tokens of the answers. Diversity is the mean cosine similarity
# between *different* output queries of a window (notebook 07). The logits at position $i$ predict
# the token at position $i + 1$, so logits and labels are shifted by one.

# %%
card("two_part_loss")

# %%
import torch.nn.functional as F

from favor_mini import diversity_loss

# %% tags=["exercise:two_part_loss"]
def two_part_loss(logits, labels, queries, weight):
    """(B, L, vocabulary), (B, L), (windows, N, width), lambda -> a scalar."""
    raise NotImplementedError  # your code

# %%
two_part_loss = check("two_part_loss", two_part_loss)

# %% [markdown]
# For one batch: the two parts by hand, your function, and the loss of the model:

# %%
with torch.no_grad():
    output = model(**batch)
predicted, target = (
    output.logits[:, :-1].flatten(0, 1),
    batch["labels"][:, 1:].flatten(),
)
cross_entropy = F.cross_entropy(predicted, target, ignore_index=-100)
unit = F.normalize(output.queries[output.window_mask], dim=-1)  # [windows, N, width]
cosines = unit @ unit.transpose(1, 2)  # [windows, N, N]
off_diagonal = ~torch.eye(cosines.shape[-1], dtype=torch.bool)
diversity = cosines[:, off_diagonal].mean()
weight = model.config.diversity_weight
print(
    f"by hand   {cross_entropy:.4f} + {weight} x {diversity:.4f} = "
    f"{cross_entropy + weight * diversity:.4f}"
)
yours = two_part_loss(
    output.logits, batch["labels"], output.queries[output.window_mask], weight
)
print(f"your function {yours:>25.4f}")
print(
    f"the model {output.cross_entropy:.4f} + {weight} x {output.diversity:.4f} = "
    f"{output.loss:.4f}"
)

# %% [markdown]
# ## Before
#
# The held-out mp4 files are read and encoded once. With an untrained connector the language model
# gets no information about the clip. It can only guess.

# %%
from favor_mini import read_clip
from favor_mini.evaluation.answering import encode_clips, evaluate
from favor_mini.evaluation.scores import score_table, scores
from favor_mini.world.samples import read_samples

samples = [sample for sample in read_samples() if sample.kind == "clip"]
clips = {sample.name: read_clip(sample.path) for sample in samples}
scenes = {sample.name: sample.scene for sample in samples}
held_out = encode_clips(model, processor, clips)
rng = np.random.default_rng(0)
asked = [(sample.name, sample.questions[i]) for sample in samples
         for i in rng.choice(len(sample.questions), 8, replace=False)]
before = scores(
    evaluate(model, processor, held_out, asked, single_modality_chance(scenes)),
    FAMILY_GROUPS,
)
print(score_table(before[-1:]))

# %% [markdown]
# ## Three stages: name, align, ask
#
# A question is a weak training signal: its answer has one or two words about one moment, and a
# frozen language model that gets random vectors returns a weak gradient. So first each output query
# learns to *name* the content of its part of the window, in the word embeddings of the language
# model. (The paper has no such stage. It has far more data.) The 16 queries of a window are
# assigned in groups of four along its five seconds. A group describes the middle of its quarter:
# what is seen, what it does, what is next to it (otherwise again what is seen), and what is heard.
# Each row below is one group. Two groups can belong to the same moment:

# %%
from favor_mini.world.clauses import query_words

words, moments = query_words(scene, processor, 10)  # of one window
for i in range(0, 16, 4):
    print(
        f"moment {moments[i]}:",
        " | ".join(processor.tokenizer.decode(ids) for ids in words[i : i + 4]),
    )

# %% [markdown]
# The naming loss compares the projected vector of a query with every word embedding. It has three
# terms: a cross-entropy whose target probability is divided equally among the query's words; the
# squared distance to the sum of their embeddings; and the diversity loss as before. (The diversity
# loss makes queries differ, while naming gives some queries equal targets. Naming has the larger
# weight.) The language model does not run, so a step is cheap. The next stage is *align*: the
# language model writes the whole transcript from the vectors, and LoRA and the connector adapt to
# each other. The last stage is *ask*, with questions. Both have a small learning rate (see `RATE`
# below), because a large one would destroy the result of naming. How are the steps divided among
# the three stages?

# %%
card("steps_per_stage")

# %%
from favor_mini.training.finetune import RATE, SHARES

print("shares of the steps:         ", SHARES)
print("factors of the learning rate:", RATE)

# %% tags=["exercise:steps_per_stage"]
def steps_per_stage(steps):
    """The steps of each stage: {"name": ..., "align": ..., "ask": ...}; their sum is
    `steps`.
    """
    raise NotImplementedError  # your code

# %%
steps_per_stage = check("steps_per_stage", steps_per_stage)
print(steps_per_stage(280))

# %% [markdown]
# `finetune` runs all stages with transformers' `Trainer`. (This short run has a slightly larger
# share of naming. With 240 batches of 16 it sees each of the 480 clips eight times.)

# %%
import shutil

from favor_mini.training.finetune import finetune

# %% tags=["varies", "long"]
# an old run there would be resumed
shutil.rmtree("../build/notebook-run", ignore_errors=True)
log = finetune(
    model,
    processor,
    SceneRows(encoded),
    "../build/notebook-run",
    steps={"name": 240, "align": 20, "ask": 20},
    batch=16,
    lr=7e-4,
    seed=0,
    log_steps=10,
)

# %% tags=["varies", "long"]
from favor_mini.figures.training import loss_curves

loss_curves(log)

# %% [markdown]
# Note that each stage has other targets, so its cross-entropy starts again from a high value. The
# last two stages have only two points, which say little. The loss in the progress bar also contains
# the squared distance.
#
# ## After

# %% tags=["varies"]
after = scores(
    evaluate(model, processor, held_out, asked, single_modality_chance(scenes)),
    FAMILY_GROUPS,
)
print(score_table(after))

# %% tags=["varies"]
from favor_mini.figures.training import score_bars

score_bars({"before": before, "after": after})

# %% [markdown]
# This is a few minutes of training on a few hundred clips. Names and their order are learned.
# `direction` and `turn`, how a thing *moves* and what it *becomes*, stay near the chance level:
# they depend on small differences between frames. Note the counts: a family of ten questions says
# little. (`first_mixed` has a high chance level, because an early event is usually the first. Where
# counting is right before any training, the usual answer is "1".) The shipped model was trained for
# hours, and is right for about 95 %.
#
# The similarity of the queries of one clip. If all were equal, each window would hold one piece of
# information N times. The pattern in groups of four comes from naming: three queries for vision,
# one for audio. In a last window with few real frames, the queries have little to distinguish.

# %% tags=["varies"]
from favor_mini.figures.diversity import query_similarity

name = samples[0].name
with torch.no_grad():
    output = model.eval()(**processor([held_out[name]], ["describe the clip."]))
query_similarity(
    output.queries[0][output.window_mask[0]], title=f"output queries of {name}"
)

# %% [markdown]
# Ask your model: five questions about a clip, starting with the one that you choose.

# %% tags=["varies"]
from favor_mini.course.widgets import explore
from favor_mini.figures.timeline import timeline
from favor_mini.evaluation.answering import answer

by_name = {sample.name: sample for sample in samples}


def ask_mine(clip, first_question):
    sample = by_name[clip]
    some = sample.questions[first_question : first_question + 5]
    texts = answer(
        model, processor, [held_out[clip]] * len(some), [q.text for q in some]
    )
    lines = [
        f"{q.text} <b>{text}</b> "
        + ("(right)" if text == q.answer else f"(wrong, {q.answer})")
        for q, text in zip(some, texts, strict=True)
    ]
    return ["<br>".join(lines), timeline(sample.scene, clips[clip])]


explore(ask_mine, clip=list(by_name), first_question=(0, 20, 5))

# %% [markdown]
# How does the model describe a whole clip? This is harder: after one mistake, the rest of the text
# can be wrong, too.

# %% tags=["varies"]
print("script:", samples[0].transcript)
print(
    "model: ",
    answer(
        model, processor, [held_out[name]], ["describe the clip."], max_new_tokens=128
    )[0],
)

# %% [markdown]
# ## Check the frozen parts
#
# The frozen tensors are equal to those of the shipped checkpoint, bit by bit.

# %%
shipped = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).state_dict()
trainable = {
    name for name, parameter in model.named_parameters() if parameter.requires_grad
}
frozen = [name for name in shipped if name not in trainable]
now = model.state_dict()
print(
    len(frozen),
    "frozen tensors, all equal:",
    all(torch.equal(shipped[name], now[name]) for name in frozen),
)

# %% [markdown]
# ## Stop and resume
#
# Training is often interrupted. `finetune` saves checkpoints in the folders `checkpoint-3`,
# `checkpoint-6` and so on. The last file in each is `trainer_state.json`. The interruption can come
# while a folder is being written. From which checkpoint do you resume? (Each stage has its own
# folder for checkpoints.)

# %%
card("last_checkpoint")

# %%
import json
from pathlib import Path

# %% tags=["exercise:last_checkpoint"]
def last_checkpoint(out):
    """The path (str) of the newest complete checkpoint in the folder `out`, or None."""
    raise NotImplementedError  # your code

# %%
last_checkpoint = check("last_checkpoint", last_checkpoint)
killed = Path("../build/notebook-killed")  # interrupted while writing checkpoint-6
for checkpoint in ("checkpoint-3", "checkpoint-6"):
    (killed / checkpoint).mkdir(parents=True, exist_ok=True)
(killed / "checkpoint-3" / "trainer_state.json").write_text("{}")
print("resume from", Path(last_checkpoint(killed)).name)

# %% [markdown]
# Called again with the same arguments, `finetune` resumes from there. Six steps without a stop and
# six steps with a stop after three give the same weights, bit by bit. (This uses another model.
# Yours does not change.)

# %%
from transformers import TrainerCallback


class StopAfter(TrainerCallback):
    """Stops a run right after a checkpoint was written."""

    def __init__(self, steps):
        self.steps = steps

    def on_save(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.steps


def short_run(folder, callbacks=(), fresh=True):
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    other.reset_trained(seed=1)
    finetune(
        other,
        processor,
        SceneRows(encoded[:32]),
        folder,
        steps={"ask": 6},
        batch=4,
        seed=1,
        save_steps=3,
        callbacks=callbacks,
        progress=False,
    )
    return {
        name: tensor.clone()
        for name, tensor in other.state_dict().items()
        if name in trainable
    }


other = FavorForConditionalGeneration.from_pretrained(checkpoint_path())
whole = short_run("../build/notebook-whole")
short_run("../build/notebook-parts", callbacks=[StopAfter(3)])
resumed = short_run("../build/notebook-parts", fresh=False)
print("same weights:", all(torch.equal(whole[name], resumed[name]) for name in whole))

# %% [markdown]
# ## What to play with
#
# For each, run `model.reset_trained(seed=0)` first, then the cells from `finetune` on.
#
# - `steps={"ask": 200}`: questions only, without naming and alignment. Predict the accuracy, then
#   run.
# - `model.config.diversity_weight = 10.0` before `finetune`. What changes in the similarity
#   matrices, and in the answers?
# - Another mask: `model.qformer.attention = "full"` before `finetune`. (Notebook 11 makes a fair
#   comparison, with seeds and intervals.)
#
# ## Recap
#
# - Trained: causal Q-Former, projections, LoRA. Frozen: everything else, bit by bit.
# - Cross-entropy and diversity are logged separately. There are three stages: *name*, *align*,
#   *ask*. The paper does not have the first one; it has far more data.
# - The features of the encoders are computed once. A stopped run resumes exactly.

# %% [markdown]
# ## Quiz
#
# **1.** Why are the encoders' features computed once, before training?
#
# - a) The encoders are frozen, so they would give the same features every time
# - b) The language model cannot read them otherwise
# - c) It makes the training more random
#
# <details><summary>Answer</summary>
#
# **a.** *b:* it reads projected queries in both cases. *c:* there is nothing random in it.
#
# </details>
#
# **2.** The labels are -100 for all tokens outside the answers. What would happen without this?
#
# - a) The loss would be undefined
# - b) The model would also learn to write questions and placeholders
# - c) LoRA could not be merged
#
# <details><summary>Answer</summary>
#
# **b.** Part of the training would go into predicting text that is always given. *a:* a
# cross-entropy over all tokens is well defined. *c:* merging does not depend on the labels.
#
# </details>
#
# **3.** The diversity loss falls to -0.05 while the cross-entropy stays high. Is this good?
#
# - a) Yes, the two-part loss is what counts
# - b) Yes, diversity is a measure of quality
# - c) No, queries that differ can still contain nothing about the clip
#
# <details><summary>Answer</summary>
#
# **c.** The diversity loss makes queries differ. It does not make them informative. *a:* the sum
# hides which part changes. Therefore both are logged. *b:* random vectors are diverse, too.
#
# </details>
#
# **4.** A run is killed while it writes the weights of `checkpoint-600`. Where does it resume?
#
# - a) at the previous checkpoint, because 600 has no `trainer_state.json`
# - b) at 600, with the files that exist
# - c) at step 0
#
# <details><summary>Answer</summary>
#
# **a.** `trainer_state.json` is written last. Without it the folder is not complete. *b:* weights
# or optimiser state can be incomplete. *c:* the earlier checkpoint is not lost.
#
# </details>
#
# **5.** Two runs have the same seed, and one was stopped and resumed. What must be equal for the
# same weights, bit by bit?
#
# - a) only the weights at the stop
# - b) weights, optimiser state, learning rate, random numbers and the order of the data
# - c) nothing, floating point makes it impossible
#
# <details><summary>Answer</summary>
#
# **b.** Each of them affects the next step. *a:* without the momentum, the next step differs. *c:*
# the same operations in the same order give the same bits on the same machine, as shown above.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/training/naming.py`, `favor_mini/training/finetune.py`, `favor_mini/data/features.py`,
# `favor_mini/losses.py`, and the whole recipe behind the shipped checkpoint,
# `favor_mini/pretraining/recipe.py`; tests in `tests/test_naming.py`, `tests/test_training.py`,
# `tests/test_recipe.py`.
#
# **In the paper:** sections 3.3 and 3.4, and the set-up of section 4. **Further reading:** the
# `Trainer` of [transformers](https://huggingface.co/docs/transformers/main_classes/trainer); LoRA
# ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).
#
# **Next:** [10 Mini-AVEB](10_mini_aveb.ipynb).
