# %% [markdown]
# # 09 End-to-end fine-tuning on a small subset
#
# **You will** take the frozen encoders and the frozen language model, add an untrained *connector*
# (the causal Q-Former and its linear maps) and untrained LoRA, and train them on clips and texts:
# rows, two-part loss, two stages, evaluation before and after, stop and resume. At the end you
# see the commands that do the same with a folder of videos.
#
# **You need** notebooks 00 and 08; 07 for the diversity loss. **Paper:** sections 3.3 and 3.4, and
# the training set-up of section 4.
#
# **Costs:** 30 minutes of reading, 35 minutes of exercises; 215 s of computing, 2.3 GB of memory.
#
# This notebook trains a real model on two CPU cores. Where bfloat16 is fast
# (see `favor-mini doctor`), it takes about half of the time.

# %%
import numpy as np
import torch

from favor_mini import FavorForConditionalGeneration, checkpoint_path
from favor_mini.lab.run import fresh_model

small = {"qformer_layers": 1}
model, processor = fresh_model(checkpoint_path("label-free"), 0, small)

# %% [markdown]
# ## Trained and frozen parts
#
# `fresh_model` takes the frozen parts of a checkpoint, and adds an untrained connector and
# untrained LoRA. Two checkpoints ship: *mini*, which the other notebooks use, and *label-free*,
# which was trained as in this notebook. It has 32 output queries in a window, as in the paper, and
# a language model that has read texts without punctuation and with gaps, as any large one has. The
# frozen parts are those that a real project downloads: a Whisper encoder, a visual encoder, an LLM.
# Here the Q-Former has one layer instead of two, so that the training takes minutes.

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
# ## The data: rows of a clip and its text
#
# A *row* names a media file and says something about it: questions and answers, or a text that
# tells what happens in the order of time, such as a caption or a transcript. Here are ten videos,
# scenes of the mini world, and a JSON file of rows:

# %%
import json

from favor_mini.places import own_folder, work_path
from favor_mini.world.questions import (
    FAMILY_GROUPS,
    draw_questions,
    single_modality_chance,
)
from favor_mini.world.scene import SPLITS, draw_scene
from favor_mini.world.transcript import transcript
from favor_mini.world.video import write_scene

# a new folder, deleted when the kernel ends
folder, entries = own_folder("09"), []
(folder / "media").mkdir(parents=True, exist_ok=True)
for number in range(10):
    scene = draw_scene(SPLITS["train"].start + 6 * 10**7 + number)
    name = f"clip_{number}.mp4"
    if not (folder / "media" / name).exists():
        write_scene(scene, folder / "media" / name, size=64, fps=8)
    asked = draw_questions(scene, np.random.default_rng(number), 3)
    entries += [
        {"video": name, "transcript": transcript(scene)},
        {"video": name, "conversation": [[q.text, q.answer] for q in asked]},
    ]
(folder / "rows.json").write_text(json.dumps(entries, indent=1))
print(json.dumps(entries[:2], indent=1))

# %% [markdown]
# `read_rows` reads such a file, and JSON Lines and CSV as well. A row that cannot be used gets an
# error that names file, row and field. `EncodedRows` runs the frozen encoders on each clip once,
# and keeps the features on disk, under a key of all that they depend on.

# %%
from favor_mini.data.encoded import EncodedRows
from favor_mini.data.manifest import read_rows

rows, broken = read_rows(folder / "rows.json")
own = EncodedRows(
    model, processor, rows, folder / "media", cache=folder / "features", progress=False
)
print(len(rows), "rows,", len(broken), "broken; they can serve", own.stages)
item = own.dataset("ask", 4)[0]
for name, value in item.items():
    print(f"{name:<16}", tuple(value.shape) if torch.is_tensor(value) else value)

# %% [markdown]
# In a batch, labels are -100 for all tokens that do not count (notebook 08). Here is the second
# row, from the end of the clip's placeholders on. Only the answers count:

# %%
batch = processor.collate([own.dataset("ask", 4)[i] for i in range(2)])
until = batch["attention_mask"][1].sum()  # after it, padding
ids, labels = batch["input_ids"][1, :until], batch["labels"][1, :until]
text = processor.tokenizer.convert_ids_to_tokens(ids.tolist())
tokens = list(zip(text, labels.tolist(), strict=True))
for token, label in tokens[text.index("</Img>") :]:
    print(f"{token:<12}", "counts" if label != -100 else ".")

# %% [markdown]
# Ten clips are too few to learn from. The mini world gives the same items for any number of clips:

# %%
from favor_mini.world.lessons import SceneRows
from favor_mini.world.rows import encode_scenes

# no scenes of the pretraining
seeds = [SPLITS["train"].start + 2 * 10**7 + i for i in range(320)]
encoded = encode_scenes(
    model, processor, seeds, cache=work_path("notebook-features"), progress=False
)
item = SceneRows(encoded).dataset("ask", 320, processor)[0]
print(len(encoded), "clips; the first:", item["text"])
for question, answer in item["turns"][:3]:
    print(f"  {question} -> {answer}")

# %% [markdown]
# ## The two-part loss
#
# $$\mathcal{L} = \mathcal{L}_{\text{cross-entropy}} + \lambda\,\mathcal{L}_{\text{diversity}}$$
#
# The cross-entropy is over the tokens of the answers. Diversity is the mean cosine similarity
# between *different* output queries of a window (notebook 07).

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
# Compare for one batch:

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
# Ten questions about each of the 32 held-out mp4 files. With an untrained connector the language
# model gets no information about the clip, so it can only guess.

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
         for i in rng.choice(len(sample.questions), 10, replace=False)]


def measure(trained):
    answers = evaluate(
        trained, processor, held_out, asked, single_modality_chance(scenes)
    )
    return scores(answers, FAMILY_GROUPS)


before = measure(model)
print(score_table(before[-1:]))

# %% [markdown]
# ## Alignment
#
# A question is a weak training signal: its answer has one or two words about one moment, and a
# frozen language model that gets random vectors returns a weak gradient. So first the connector
# learns to output vectors that the language model can read: the embeddings of the words of the
# clip's text. (The paper has no such stage. It has far more data.)
#
# The text says in which *order* the words come, but not which query has to output which word. Many
# queries have nothing to add: they output a *blank*, here the full stop. All of these sequences of
# eight queries spell "see red circle":
#
#     see . red red circle . . .
#     . see see red . circle circle .
#     . . . . . see red circle
#
# What does a sequence spell?

# %%
card("spelled")

# %% tags=["exercise:spelled"]
def spelled(ids, blank):
    """The tokens that the queries spell; `ids` has one token for each query."""
    raise NotImplementedError  # your code

# %%
spelled = check("spelled", spelled)

# %% [markdown]
# *Connectionist temporal classification* (CTC) takes the probability of a text as the sum of the
# probabilities of all sequences that spell it. (It is computed step by step, without a list of
# them.) The loss is minus the logarithm of this sum, for each token of the text. So no query needs
# a label.
#
# The probabilities of a query come from the products of its vector with all word embeddings. With
# CTC alone a vector could have any component in directions that no word uses, which the language
# model has never read. So 0.3 times a distance is added: that of a query from the mean of all word
# embeddings, weighted by their probabilities. The diversity loss is there as before. The language
# model does not run.
#
# An example with three queries of two dimensions and a text of one token, summed by hand and by the
# package.

# %%
from itertools import product

from favor_mini.training.alignment import alignment_loss

embeddings = torch.tensor([[2.0, 0.0], [-2.0, 1.0]])  # of the blank 0, of a word
vectors = 0.2 * torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0))
scale = 9 / embeddings.square().sum(-1).mean()
log_probs = (scale * vectors[0] @ embeddings.T).log_softmax(-1)  # [queries, words]
total = 0.0
for ids in product((0, 1), repeat=3):
    probability = sum(log_probs[i, token] for i, token in enumerate(ids)).exp()
    found = spelled(list(ids), 0)
    total += probability if found == [1] else 0.0
    print(ids, "spells", found, f"{probability:.4f}")
ctc, distance = alignment_loss(
    vectors, torch.ones(1, 3, dtype=torch.bool), torch.tensor([[1]]), embeddings, 0
)
print(f"by hand {-total.log():.4f}, the package {ctc:.4f}; the distance {distance:.4f}")

# %% [markdown]
# `finetune` trains with transformers' `Trainer`, stage by stage. The printed factors multiply the
# learning rate of the connector and that of LoRA. First the stage *align* alone:

# %%
import shutil

from favor_mini.training.finetune import STAGES, finetune

for name, stage in STAGES.items():
    print(f"{name:<6} rate x {stage.rate:g}, LoRA x {stage.rate * stage.lora_rate:g}")


def train(learner, run, steps):
    shutil.rmtree(folder / run, ignore_errors=True)  # it would be resumed
    return finetune(
        learner,
        processor,
        SceneRows(encoded),
        folder / run,
        steps=steps,
        batch=8,
        lr=7e-4,
        seed=0,
        log_steps=10,
    )


# %% tags=["varies", "long"]
log = train(model, "run", {"align": 160})

# %% [markdown]
# What do the queries of a held-out clip spell now?

# %% tags=["varies"]
from favor_mini.data.spelling import blank_token
from favor_mini.training.alignment import read_queries

tokenizer, example = processor.tokenizer, samples[0]
ids = read_queries(model.eval(), processor, held_out[example.name])
print("queries:", tokenizer.decode(ids), "\n")
print("spelled:", tokenizer.decode(spelled(ids, blank_token(processor))), "\n")
print("script: ", example.transcript)

# %% tags=["varies"]
aligned = measure(model)
print(score_table(aligned[-4:]))

# %% [markdown]
# The accuracy rises, although the language model was not trained here: it has read spelled texts
# before. LoRA is still zero, because the language model does not run in the stage *align*.
#
# ## Asking
#
# In the stage *ask* the language model answers questions. LoRA can learn to read queries with
# blanks and mistakes. The connector is trained further, on the sum of the alignment loss and the
# two-part loss.

# %% tags=["varies", "long"]
log += train(model, "run", {"ask": 30})

# %% tags=["varies", "long"]
from favor_mini.figures.training import loss_curves

loss_curves(log)

# %% tags=["varies"]
both = measure(model)
print(score_table(both))

# %% [markdown]
# In the stage *align* the upper curve is the alignment loss. The diversity loss rises: queries that
# spell the same word, above all the blank, are alike.
#
# Is the alignment necessary? Another fresh connector gets questions alone, for sixty steps (each
# takes longer, as the language model runs). It has the full learning rate: the small one of the
# stage *ask* is for a connector that has learned something. **Predict** its accuracy.

# %% tags=["varies", "long"]
from dataclasses import replace

from favor_mini.processor import FavorProcessor
from favor_mini.training.finetune import Stage

questions_only = {
    "ask": Stage(lambda model, processor: model, FavorProcessor.collate)
}
other, _ = fresh_model(checkpoint_path("label-free"), 0, small)
shutil.rmtree(folder / "asked", ignore_errors=True)
finetune(
    other,
    processor,
    SceneRows(encoded),
    folder / "asked",
    steps={"ask": 60},
    stages=questions_only,
    batch=8,
    lr=7e-4,
    seed=0,
    log_steps=10,
)
asked_only = measure(other)

# %% tags=["varies"]
from favor_mini.figures.training import score_bars

print(f"before any training: {before[-1].accuracy:.1%}")
score_bars({"questions alone": asked_only, "alignment alone": aligned, "both": both})

# %% [markdown]
# A family of ten questions says little, so look at the last row. From questions alone a connector
# learns next to nothing in this time. Whether the thirty steps of asking help, 320 questions cannot
# show. Questions about both streams are still at the chance level.
#
# One seed is no result. The same comparison with three seeds, more clips and the larger Q-Former:

# %%
from favor_mini.figures.lab import differences
from favor_mini.lab.experiments import show_experiment

recipes = show_experiment("recipes")
differences(recipes.differences(["all"]), recipes.arms[0]) if recipes else None

# %% [markdown]
# And LoRA? **Predict**: how many points does your model lose if it is switched off?

# %% tags=["varies"]
from peft.tuners.lora import LoraLayer


def use_lora(on):
    for module in model.language_model.modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters(on)


use_lora(False)
print("without LoRA", score_table(measure(model)[-1:]), sep="\n")
use_lora(True)
print("with LoRA", score_table(both[-1:]), sep="\n")

# %% [markdown]
# In *label-free*, after 100 minutes of training: 64.0 % with LoRA (95 % interval 60.7 to 67.2),
# 62.0 % without (58.6 to 65.3), 1,000 questions each (`README.md` in its folder has all figures).
# So there is no sign that LoRA was needed. A possible reason: this language model knows the
# questions of the mini world already, and it has read spelled texts. LoRA was only switched off
# afterwards; no model was trained without it. Notebook 08 shows where it is needed: for a form of
# questions that the language model has never met.

# %% [markdown]
# Ask your model five questions about a clip:

# %% tags=["varies"]
from favor_mini.course.widgets import explore
from favor_mini.evaluation.answering import answer
from favor_mini.figures.timeline import timeline

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
# ## Check the frozen parts
#
# The frozen tensors are equal to those of *label-free*, bit by bit.

# %%
folder_of_parts = checkpoint_path("label-free")
shipped = FavorForConditionalGeneration.from_pretrained(folder_of_parts).state_dict()
trainable = {
    name for name, parameter in model.named_parameters() if parameter.requires_grad
}
now = model.state_dict()
frozen = [name for name in now if name not in trainable]
print(
    len(frozen),
    "frozen tensors, all equal:",
    all(torch.equal(shipped[name], now[name]) for name in frozen),
)

# %% [markdown]
# ## Stop and resume
#
# `finetune` saves checkpoints in folders, here `checkpoint-3`, `checkpoint-6` and so on, for each
# stage. The file `trainer_state.json` is written last. If a training is interrupted while it writes
# a folder, from which checkpoint do you resume?

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
killed = folder / "killed"  # interrupted while writing checkpoint-6
for checkpoint in ("checkpoint-3", "checkpoint-6"):
    (killed / checkpoint).mkdir(parents=True, exist_ok=True)
(killed / "checkpoint-3" / "trainer_state.json").write_text("{}")
print("resume from", Path(last_checkpoint(killed)).name)

# %% [markdown]
# Called again with the same arguments, `finetune` resumes from there. Six steps without a stop and
# six with a stop after three give the same weights, bit by bit. (This uses the other model, not
# yours.)

# %%
from transformers import TrainerCallback


class StopAfter(TrainerCallback):
    """Stops a run right after a checkpoint was written."""

    def __init__(self, steps):
        self.steps = steps

    def on_save(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.steps


def short_run(name, callbacks=(), fresh=True):
    if fresh:
        shutil.rmtree(folder / name, ignore_errors=True)
    other.reset_trained(seed=1)
    finetune(
        other,
        processor,
        SceneRows(encoded[:32]),
        folder / name,
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


whole = short_run("whole")
short_run("parts", callbacks=[StopAfter(3)])
resumed = short_run("parts", fresh=False)
print("same weights:", all(torch.equal(whole[name], resumed[name]) for name in whole))

# %% [markdown]
# ## Your own folder of videos
#
# You need a folder of media and a file of rows, as above, and a second file with other clips for
# validation. `favor-mini data` checks both files first:
#
#     favor-mini data rows.json --test val.json --media-root media --checkpoint label-free
#     favor-mini finetune rows.json --validation val.json --media-root media \
#         --checkpoint label-free --dry-run
#     favor-mini finetune rows.json --validation val.json --media-root media \
#         --checkpoint label-free --out build/my-model
#     favor-mini evaluate --file val.json --media-root media --checkpoint build/my-model
#     favor-mini ask media/clip_0.mp4 "what was shown first?" --checkpoint build/my-model
#
# `--checkpoint` names the model to start from: a shipped one, or pretrained parts of your own
# (notebook 12). Its connector and LoRA are trained further, not initialised again. Of the
# `--steps`, four fifths align and the rest asks.
#
# There are two limits. The tokenizer has to know your words: the shipped models know those of the
# mini world alone, and `favor-mini data` lists the others. And a text can be aligned if it has at
# most as many tokens as its clip has queries, here 32 for each window of five seconds.
#
# Here is the first command for the ten clips. (A text without a question counts as one, "describe
# the clip.")

# %% tags=["varies"]
from favor_mini.apps.cli import main

model.save_pretrained(folder / "start")
processor.save_pretrained(folder / "start")
files = [str(folder / "rows.json"), "--media-root", str(folder / "media")]
start = ["--checkpoint", str(folder / "start")]
_ = main(["data", *files, *start])

# %% tags=["varies"]
_ = main(["finetune", *files, *start, "--steps", "100", "--dry-run"])

# %% [markdown]
# `--dry-run` trains nothing. Without it, the command asks the validation questions before and
# after, and writes the new checkpoint to `--out`. Training on ten clips fits those ten clips. The
# validation rows show how the model answers about others.

# %% [markdown]
# ## What to play with
#
# For each, run `model.reset_trained(seed=0)`, make the change, and run the cells from the training
# on.
#
# - `{"align": 80}`, then `{"align": 600}`: how fast does the accuracy grow?
# - `model.config.diversity_weight = 10.0`: what changes in the diversity curve, and in the answers?
# - Another mask: `model.qformer.attention = "full"`. (Notebook 11 makes a fair comparison.)
#
# ## Recap
#
# - Trained: causal Q-Former, projections, LoRA. Frozen: everything else, bit by bit.
# - Data are rows: a clip and what is said about it. In the stage *align* queries learn to spell the
#   texts (CTC), in the stage *ask* the language model answers. The paper has only the second.
#   Here, questions alone taught next to nothing in sixty steps.
# - Cross-entropy and diversity are logged separately.
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
# the same operations in the same order give the same bits on the same machine.
#
# </details>

# %% [markdown]
# ## Where this lives
#
# `favor_mini/data/` (rows, files, features), `favor_mini/training/alignment.py`,
# `favor_mini/training/finetune.py`, `favor_mini/losses.py`, and the whole recipe of a checkpoint,
# `favor_mini/pretraining/recipe.py`; tests in `tests/test_rows.py`, `tests/test_alignment.py`,
# `tests/test_training.py`, `tests/test_recipe.py`.
#
# **In the paper:** sections 3.3 and 3.4, and the set-up of section 4. **Further reading:** the
# `Trainer` of [transformers](https://huggingface.co/docs/transformers/main_classes/trainer); LoRA
# ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)).
#
# **Next:** [10 Mini-AVEB](10_mini_aveb.ipynb).
