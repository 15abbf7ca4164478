# %% [markdown]
# # 09 End-to-end fine-tuning on a small subset
#
# **You will** take the frozen encoders and the frozen language model, put a fresh *connector* between them (the causal Q-Former
# and its linear maps) and fresh LoRA into the language model, and teach them to answer questions about video: data, two-part
# loss, three stages, before and after, stop and resume.
#
# **You need** notebooks 00 and 08; 07 for the diversity loss. **Paper:** sections 3.3 and 3.4, and the training set-up of section 4.
#
# **Costs:** 30 minutes of reading, 35 minutes of exercises; 210 s of computing, 2.4 GB of memory.
#
# This notebook trains for real. On two CPU cores it stays under five minutes; the scores are those of *this* run.

# %%
import numpy as np
import torch

from favor_mini import FavorForConditionalGeneration, FavorProcessor, checkpoint_path

model = FavorForConditionalGeneration.from_pretrained(checkpoint_path())
processor = FavorProcessor.from_pretrained(checkpoint_path())
model.reset_trained(seed=0)

# %% [markdown]
# ## What learns and what does not
#
# `reset_trained` has just thrown away everything that fine-tuning had taught: the causal Q-Former, the two linear maps and
# LoRA start anew. What is left is what a real project would download: a Whisper encoder, a visual encoder, an LLM.

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

size = {name + ("" if row["trained"] else " (frozen)"): row["parameters"] / 1e3 for name, row in count.items()}
bars(dict(sorted(size.items(), key=lambda item: -item[1])), x="parameters, thousands", form="{:,.0f}")

# %% [markdown]
# ## The data: scripts, questions, and one request
#
# A training clip is a scene drawn from a seed. Its script answers as many questions as we like, and it can be written out
# as a *transcript*. Both become conversations.

# %%
from favor_mini.world.questions import choose, single_modality_chance, FAMILY_GROUPS
from favor_mini.world.scene import draw_scene
from favor_mini.world.transcript import transcript

scene = draw_scene(12)
print(transcript(scene), "\n")
for question in choose(scene, np.random.default_rng(0), 4, reword_them=True):
    print(f"{question.family:<13}{question.text}  ->  {question.answer}")

# %% [markdown]
# The frozen encoders give the same features for a clip every time, so they run once, before training; what follows
# starts from vectors. Everything lands in a cache on disk whose name depends on the encoders' weights, the processor's settings
# and the world's own code: change any of them, and the features are computed anew.

# %%
from favor_mini.world.rows import encode_scenes
from favor_mini.world.scene import SPLITS

seeds = [SPLITS["train"].start + 2 * 10**7 + i for i in range(480)]  # scenes that the frozen parts have not met
encoded = encode_scenes(model, processor, seeds, cache="../build/notebook-features", progress=False)
shapes = {name: tuple(value.shape) for name, value in encoded[0].items() if torch.is_tensor(value)}
print(len(encoded), "clips; the first:", shapes)  # frames, visual tokens, width; audio tokens, width

# %% [markdown]
# `Dialogues` turns encoded clips into conversations, and the processor into a batch. Labels are -100 where nothing is to be
# learned (prompt, placeholders, questions), so only the answers count.

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
# Cross-entropy over the answers' tokens; diversity is the mean cosine similarity between the output queries of a window, each
# with every *other* (notebook 07). The logits at place $i$ foretell the token at place $i + 1$, so both are moved against each other by one.

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
# On one batch, its parts by hand, your function, and what the model says:

# %%
with torch.no_grad():
    output = model(**batch)
foretold, came = output.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
cross_entropy = F.cross_entropy(foretold, came, ignore_index=-100)
unit = F.normalize(output.queries[output.window_mask], dim=-1)  # [windows, N, width]
cosines = unit @ unit.transpose(1, 2)  # [windows, N, N]
off_diagonal = ~torch.eye(cosines.shape[-1], dtype=torch.bool)
diversity = cosines[:, off_diagonal].mean()
weight = model.config.diversity_weight
print(f"by hand   {cross_entropy:.4f} + {weight} x {diversity:.4f} = {cross_entropy + weight * diversity:.4f}")
yours = two_part_loss(output.logits, batch["labels"], output.queries[output.window_mask], weight)
print(f"your function {yours:>25.4f}")
print(f"the model {output.cross_entropy:.4f} + {weight} x {output.diversity:.4f} = {output.loss:.4f}")

# %% [markdown]
# ## Before
#
# Held-out mp4 files, read and encoded once. With a fresh connector the language model has nothing to go on, and can do no better than
# by luck and habit.

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
before = scores(evaluate(model, processor, held_out, asked, single_modality_chance(scenes)), FAMILY_GROUPS)
print(score_table(before[-1:]))

# %% [markdown]
# ## Three stages: name, align, ask
#
# A question teaches little: its answer is a word or two about one moment, and through a frozen language model that is handed noise
# comes only a weak hint of what it would rather have read. So first each output query must *name*, in the language model's own word
# embeddings, what its stretch of the clip holds. (The paper has no such stage; it has far more data.) The 16 queries of a window
# share out its five seconds in fours. A four tells what goes on in the middle of its quarter: what is seen, what it does, what
# is beside it (else: what is seen, once more), what is heard. Below, a row is a four; two fours may fall into one moment:

# %%
from favor_mini.world.clauses import query_words

words, moments = query_words(scene, processor, 10)  # of one window
for i in range(0, 16, 4):
    print(f"moment {moments[i]}:", " | ".join(processor.tokenizer.decode(ids) for ids in words[i : i + 4]))

# %% [markdown]
# The naming loss takes a query's projected vector and its product with every word's embedding, and adds three things: a
# cross-entropy, in which its own words share the probability; the squared distance from the sum of their embeddings; and the
# diversity loss as before. (That asks queries to differ, naming asks some to say the same: naming weighs more.) No language model
# runs, so a step is cheap. Then comes *align*: the language model must write out the whole transcript from the vectors, and LoRA
# and the connector get used to one another. Then the questions: *ask*. These two run at a small rate (see `RATE` below); a large
# one would undo what naming has reached. How are steps shared out among the three?

# %%
card("steps_per_stage")

# %%
from favor_mini.training.finetune import RATE, SHARES

print("shares of the steps:  ", SHARES)
print("of the learning rate: ", RATE)

# %% tags=["exercise:steps_per_stage"]
def steps_per_stage(steps):
    """How many of `steps` each stage gets: {"name": ..., "align": ..., "ask": ...}, together just `steps`."""
    raise NotImplementedError  # your code

# %%
steps_per_stage = check("steps_per_stage", steps_per_stage)
print(steps_per_stage(280))

# %% [markdown]
# `finetune` runs all of it on transformers' `Trainer`. (We give this short run a little more naming than the shares say. With 240
# batches of 16 it meets each of the 480 clips eight times.)

# %%
import shutil

from favor_mini.training.finetune import finetune

# %% tags=["varies", "long"]
shutil.rmtree("../build/notebook-run", ignore_errors=True)  # a run left there would be resumed
log = finetune(model, processor, SceneRows(encoded), "../build/notebook-run", steps={"name": 240, "align": 20, "ask": 20},
               batch=16, lr=7e-4, seed=0, log_steps=10)

# %% tags=["varies", "long"]
from favor_mini.figures.overview import loss_curves

loss_curves(log)

# %% [markdown]
# Mind what is drawn: each stage is asked for other words, so its cross-entropy begins anew, and the last two stages have only two
# points, which say little. The sum that the progress bar showed holds the squared distance as well.
#
# ## After

# %% tags=["varies"]
after = scores(evaluate(model, processor, held_out, asked, single_modality_chance(scenes)), FAMILY_GROUPS)
print(score_table(after))

# %% tags=["varies"]
from favor_mini.figures.overview import score_bars

score_bars({"before": before, "after": after})

# %% [markdown]
# A few minutes on a few hundred clips. Names and their order are learned; `direction` and `turn`, how a thing *moves* and what it
# *becomes*, stay near chance: they hang on small differences between frames. Mind the counts: a family of ten questions tells little by itself. (`first_mixed` has so high a chance since what comes early mostly comes first; where counting
# scores before any training, "1" is the usual answer.) The shipped model learned for hours, and is right in some 95 %.
#
# The queries of one clip, compared with one another. Were they all alike, each window would say one thing N times. The pattern of
# fours is what naming has taught: three see, one hears. A last window that is hardly filled has little to tell apart.

# %% tags=["varies"]
from favor_mini.figures.overview import query_similarity

name = samples[0].name
with torch.no_grad():
    output = model.eval()(**processor([held_out[name]], ["describe the clip."]))
query_similarity(output.queries[0][output.window_mask[0]], title=f"output queries of {name}")

# %% [markdown]
# Ask it yourself: five of a clip's questions at a time, from the one that you choose.

# %% tags=["varies"]
from favor_mini.course.widgets import explore
from favor_mini.figures.overview import timeline
from favor_mini.evaluation.answering import answer

by_name = {sample.name: sample for sample in samples}


def ask_mine(clip, first_question):
    sample = by_name[clip]
    some = sample.questions[first_question : first_question + 5]
    told = answer(model, processor, [held_out[clip]] * len(some), [q.text for q in some])
    lines = [f"{q.text} <b>{text}</b> " + ("(right)" if text == q.answer else f"(wrong, {q.answer})")
             for q, text in zip(some, told, strict=True)]
    return ["<br>".join(lines), timeline(sample.scene, clips[clip])]


explore(ask_mine, clip=list(by_name), first_question=(0, 20, 5))

# %% [markdown]
# What does the model now say about a whole clip? That is harder: one slip, and what follows is about something else.

# %% tags=["varies"]
print("script:", samples[0].transcript)
print("model: ", answer(model, processor, [held_out[name]], ["describe the clip."], max_new_tokens=128)[0])

# %% [markdown]
# ## Frozen means frozen
#
# The frozen tensors are bit for bit those of the shipped checkpoint.

# %%
shipped = FavorForConditionalGeneration.from_pretrained(checkpoint_path()).state_dict()
trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
frozen = [name for name in shipped if name not in trainable]
now = model.state_dict()
print(len(frozen), "frozen tensors, all equal:", all(torch.equal(shipped[name], now[name]) for name in frozen))

# %% [markdown]
# ## Stop and resume
#
# Training is often cut short. `finetune` saves as it goes into folders `checkpoint-3`, `checkpoint-6` and so on, and into each, last of all, a
# file `trainer_state.json`. A power cut may come while a folder is being written. Which one do you go on from? (Each stage has a
# folder of its own for its checkpoints.)

# %%
card("last_checkpoint")

# %%
import json
from pathlib import Path

# %% tags=["exercise:last_checkpoint"]
def last_checkpoint(out):
    """The path, as text, of the newest whole checkpoint under the folder `out`; None where there is none."""
    raise NotImplementedError  # your code

# %%
last_checkpoint = check("last_checkpoint", last_checkpoint)
killed = Path("../build/notebook-killed")  # while checkpoint-6 was being written
for checkpoint in ("checkpoint-3", "checkpoint-6"):
    (killed / checkpoint).mkdir(parents=True, exist_ok=True)
(killed / "checkpoint-3" / "trainer_state.json").write_text("{}")
print("goes on from", Path(last_checkpoint(killed)).name)

# %% [markdown]
# Called again with the same arguments, `finetune` goes on from there. Six steps in one go, then six steps with a stop after three: the
# same weights to the last bit. (Another model does it here; yours stays as it is.)

# %%
from transformers import TrainerCallback


class StopAfter(TrainerCallback):
    """Ends a run early, as a power cut would, just after a checkpoint was written."""

    def __init__(self, steps):
        self.steps = steps

    def on_save(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.steps


def short_run(folder, callbacks=(), fresh=True):
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    other.reset_trained(seed=1)
    finetune(other, processor, SceneRows(encoded[:32]), folder, steps={"ask": 6}, batch=4, seed=1, save_steps=3,
             callbacks=callbacks, progress=False)
    return {name: tensor.clone() for name, tensor in other.state_dict().items() if name in trainable}


other = FavorForConditionalGeneration.from_pretrained(checkpoint_path())
whole = short_run("../build/notebook-whole")
short_run("../build/notebook-parts", callbacks=[StopAfter(3)])
resumed = short_run("../build/notebook-parts", fresh=False)
print("same weights:", all(torch.equal(whole[name], resumed[name]) for name in whole))

# %% [markdown]
# ## What to play with
#
# Each of these begins with `model.reset_trained(seed=0)`, then the cells from `finetune` on.
#
# - `steps={"ask": 200}`: questions alone, no naming, no aligning. Predict the score first, then run.
# - `model.config.diversity_weight = 10.0` before `finetune`. What do the similarity matrices show, what the answers?
# - Another mechanism: `model.qformer.attention = "full"` before `finetune`. (Notebook 11 does this fairly, with seeds and intervals.)
#
# ## Recap
#
# - Trained: causal Q-Former, projections, LoRA. Frozen: everything else, bit for bit.
# - Cross-entropy and diversity, logged apart; three stages, *name*, *align*, *ask*. The first is ours: the paper has far more data instead.
# - The encoders' features are computed once; a stopped run resumes exactly.

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
# **a.** *b:* it reads projected queries in either case. *c:* nothing random is added or taken away.
#
# </details>
#
# **2.** Labels of -100 stand wherever no answer stands. What would happen without them?
#
# - a) The loss would be undefined
# - b) The model would also learn to write questions and placeholders
# - c) LoRA could not be merged
#
# <details><summary>Answer</summary>
#
# **b.** Part of the learning would go into foretelling what it is always given. *a:* a cross-entropy over all tokens is well defined. *c:* merging
# does not depend on the labels.
#
# </details>
#
# **3.** The diversity loss falls to -0.05 while cross-entropy stays high. Good?
#
# - a) Yes, the two-part loss is what counts
# - b) Yes, diversity is a measure of quality
# - c) No, queries that differ may still say nothing about the clip
#
# <details><summary>Answer</summary>
#
# **c.** Diversity asks that queries differ, not that they are about anything. *a:* the sum hides which part moves; that is why both are logged.
# *b:* random vectors are diverse, too.
#
# </details>
#
# **4.** A run is killed while it writes the weights of `checkpoint-600`. Where does it go on?
#
# - a) at the checkpoint before, as 600 lacks its last file
# - b) at 600, with what is there
# - c) at step 0
#
# <details><summary>Answer</summary>
#
# **a.** `trainer_state.json` is written last; without it the folder is not whole. *b:* weights or optimiser may be half there. *c:* nothing before was lost.
#
# </details>
#
# **5.** Two runs, same seed, one stopped and resumed. What must be equal for the same weights to the last bit?
#
# - a) the weights at the stop alone
# - b) weights, optimiser state, learning rate, random numbers and the order of the data
# - c) nothing, floating point forbids it
#
# <details><summary>Answer</summary>
#
# **b.** Each of them decides the next step. *a:* with momentum lost, the next step differs. *c:* the same operations in the same order give the
# same bits on the same machine; you saw it above.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/training/naming.py`, `favor_mini/training/finetune.py`, `favor_mini/data/features.py`, `favor_mini/losses.py`, and the whole recipe behind the shipped checkpoint,
# `favor_mini/pretraining/recipe.py`; tests in `tests/test_naming.py`, `tests/test_training.py`, `tests/test_recipe.py`.
#
# **In the paper:** sections 3.3 and 3.4, and the set-up of section 4. **Further reading:** the `Trainer` of
# [transformers](https://huggingface.co/docs/transformers/main_classes/trainer); LoRA ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).
#
# **Next:** [10 Mini-AVEB](10_mini_aveb.ipynb).
