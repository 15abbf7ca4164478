"""Exercises of notebook 08: the prompt, its placeholders, labels, turns that do not see each other, and LoRA."""

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ...attention import isolate_turns_mask
from ...processor import MEDIA_TOKEN, FavorProcessor, _pad
from ..exercise import Trial, exercise

NOTEBOOK = "08"


def write_prompt(question: str, placeholders: int) -> str:
    """The processor's: `PROMPT = "USER: <Img>{media}</Img> {question}\\nASSISTANT:"` with so many `<av>` for the media."""
    return FavorProcessor.prompt(None, question, placeholders)


@exercise("write_prompt", notebook=NOTEBOOK, answer=write_prompt, difficulty=1, minutes=5,
          goal="Write the prompt: `USER: <Img>`, then one placeholder `<av>` for each vector of the clip, `</Img>`, a space, the question, a new line and "
               "`ASSISTANT:`. Every character counts: the language model knows this form and no other.",
          shapes="`question` a string, `placeholders` W * N -> a string",
          hints=("An f-string. A string times a number repeats it.", "`\"<av>\" * placeholders` stands without spaces; a new line is `\\n`."))
def _(t: Trial):
    question, count = ["what was heard first?", "where was the bell?", "what colour was the star?"][t.number(0, 2)], t.number(3, 40)
    expected, media = write_prompt(question, count), MEDIA_TOKEN * count
    t.same(t.run(question, count), expected, {
        "there is one placeholder; each of the W * N vectors needs one": write_prompt(question, 1),
        "placeholders are parted by spaces; they stand close": f"USER: <Img>{' '.join([MEDIA_TOKEN] * count)}</Img> {question}\nASSISTANT:",
        "the question comes before the clip; here the clip comes first": f"USER: {question} <Img>{media}</Img>\nASSISTANT:",
        "`ASSISTANT:` stands on a line of its own: a new line is missing": f"USER: <Img>{media}</Img> {question} ASSISTANT:",
        "nothing comes after `ASSISTANT:`, no space and no new line": f"USER: <Img>{media}</Img> {question}\nASSISTANT: ",
        "the clip is not framed: `<Img>` and `</Img>` say where it begins and ends": f"USER: {media} {question}\nASSISTANT:",
        "a space is missing between `</Img>` and the question": f"USER: <Img>{media}</Img>{question}\nASSISTANT:"}, what="the prompt")


def put_vectors(embeds: Tensor, input_ids: Tensor, vectors: Tensor, placeholder_id: int) -> Tensor:
    """torch's `masked_scatter`: it fills the places where the mask is True with the source's numbers, in order."""
    return embeds.masked_scatter((input_ids == placeholder_id)[..., None], vectors)


@exercise("put_vectors", notebook=NOTEBOOK, answer=put_vectors, difficulty=3, minutes=12,
          goal="Replace the embedding of every placeholder by a vector of the clip: the first placeholder of the first prompt gets the first vector, and so on "
               "through the batch. Clips may have different numbers of them. What is no placeholder stays.",
          shapes="`embeds` (B, L, width), `input_ids` (B, L), `vectors` (n, width) with n placeholders in the whole batch, `placeholder_id` -> (B, L, width)",
          hints=("Where are the placeholders? A comparison gives booleans (B, L). Then either `masked_scatter`, or an assignment by these booleans.",
                 "`masked_scatter` wants the mask to broadcast against `embeds`: give it a last axis with `[..., None]`. With an assignment, work on a "
                 "`clone()`."))
def _(t: Trial):
    batch, length, width, token = t.number(2, 3), t.number(8, 10), t.number(4, 6), t.number(5, 7)
    ids = torch.from_numpy(t.rng.integers(10, 90, (batch, length)))
    counts = [t.number(1, 3) for _ in range(batch)]
    counts[-1] = counts[0] + 1  # never all alike
    starts = [t.number(1, 3) for _ in range(batch)]
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        ids[row, start : start + count] = token
    embeds, vectors, place = t.randn(batch, length, width), t.randn(sum(counts), width), ids == token
    expected = put_vectors(embeds, ids, vectors, token)

    def filled(source):
        made = embeds.clone()
        made[place] = source
        return made

    again = torch.cat([vectors[:count] for count in counts])
    added = filled(embeds[place] + vectors)
    late = embeds.masked_scatter(place.roll(1, 1)[..., None], vectors)
    t.same(t.run(embeds, ids, vectors, token), expected, {
        "nothing was replaced": embeds,
        "every clip gets the first vectors; go on where the clip before has stopped": filled(again),
        "all placeholders get one and the same vector": filled(vectors[:1].expand(sum(counts), -1)),
        "vectors are added to the placeholders' embeddings; they *replace* them": added,
        "the vectors stand one place too far to the right": late,
        "the vectors come in reversed order": filled(vectors.flip(0)),
        "everything that is no placeholder was lost": torch.zeros_like(embeds).masked_scatter(place[..., None], vectors)})


def answer_labels(asked: list[list[int]], told: list[list[int]]) -> Tensor:
    """What `FavorProcessor.dialogue` and `pad_dialogues` make of one turn: -100 for what was asked, the ids told, -100 for padding."""
    return _pad([[-100] * len(a) + t for a, t in zip(asked, told, strict=True)], -100, "right")


@exercise("answer_labels", notebook=NOTEBOOK, answer=answer_labels, difficulty=2, minutes=10,
          goal="For each row of a batch: which tokens count in the loss? Only the answer's. What was asked (the prompt) gets -100, each token of the answer its "
               "own id, and padding, on the right up to the longest row, -100.",
          shapes="`asked` and `told`, lists of B lists of token ids -> (B, L) whole numbers, L the longest row of prompt and answer",
          hints=("Make each row as a list first: `[-100] * len(a) + t`.",
                 "Fill every row up to the longest, `row + [-100] * (longest - len(row))`, then `torch.tensor(rows)`."))
def _(t: Trial):
    batch = t.number(2, 4)
    lengths = t.rng.permutation(range(3, 3 + batch))
    asked = [t.rng.integers(10, 90, n).tolist() for n in lengths]
    told = [t.rng.integers(10, 90, t.number(1, 3)).tolist() for _ in range(batch)]
    told[int(lengths.argmax())] = told[int(lengths.argmax())] + [3]  # the longest prompt makes the longest row

    def rows(left, value=-100, side="right", right=list):
        return _pad([left(a) + right(b) for a, b in zip(asked, told, strict=True)], value, side)

    def hidden(ids):
        return [-100] * len(ids)

    t.same(t.run(asked, told), answer_labels(asked, told), {
        "padding counts in the loss: fill up with -100, not with 0": rows(hidden, value=0),
        "the prompt counts in the loss, too: the model would learn to ask": rows(list),
        "it is the wrong way round: the answer is hidden and the prompt counts": rows(list, right=hidden),
        "rows are filled up on the left; training batches are padded on the right": rows(hidden, side="left"),
        "labels are moved by one here; the loss does that (a label stands where its own token stands)":
            _pad([[-100] * (len(a) - 1) + b + [-100] for a, b in zip(asked, told, strict=True)], -100, "right"),
        "the first token of the answer is hidden: the model would never learn to begin one": rows(hidden, right=lambda b: [-100] + b[1:]),
        "what should not count is marked with 0, which is a token; -100 is the mark that cross-entropy leaves out":
            rows(lambda ids: [0] * len(ids), value=0)}, what="the labels")


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """torch's cross-entropy over what follows: the logits at a place say which token comes *next*."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100)


@exercise("answer_loss", notebook=NOTEBOOK, answer=answer_loss, difficulty=3, minutes=12,
          goal="The loss. The logits at place i are the model's guess for the token at place i + 1, so hold each guess against the *next* label. Labels of -100 do "
               "not count. The mean is over all labels of the batch that do.",
          shapes="`logits` (B, L, vocabulary), `labels` (B, L), -100 where nothing counts -> a number (a tensor without axes)",
          hints=("Leave out the last guess and the first label, so that they stand side by side. `F.cross_entropy` knows -100.",
                 "`F.cross_entropy` wants the vocabulary as axis 1, or no batch at all: `.flatten(0, 1)` on both, or `.transpose(1, 2)`."))
def _(t: Trial):
    batch, length, words = t.number(2, 4), t.number(6, 9), t.number(11, 14)
    logits = 3 * t.randn(batch, length, words)
    labels = torch.from_numpy(t.rng.integers(0, words, (batch, length)))
    for row in range(batch):
        labels[row, : 2 + row % 3] = -100
    labels[0, -1] = -100
    following, after = labels[:, 1:], logits[:, :-1]
    nll = F.cross_entropy(after.transpose(1, 2), following, reduction="none", ignore_index=-100)
    counted = following >= 0
    shown = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    t.same(t.run(logits, labels), answer_loss(logits, labels), {
        "guesses are held against the token that the model *sees* at that place; it is the next one that it has to guess": shown,
        "guesses are held against the token *before*: leave out the last guess and the first label, not the other way round":
            F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten()),
        "the sum is divided by all places; only those with a label count": nll.sum() / following.numel(),
        "each clip's mean, then the mean of those: long answers would count less; take one mean over all labels":
            (nll.sum(1) / counted.sum(1)).mean(),
        "it is the sum; take the mean": nll.sum(),
        "the sign is wrong: the loss is *minus* the log probability": -answer_loss(logits, labels),
        "-100 is taken for a token: what has no label must not count":
            F.cross_entropy(after.flatten(0, 1), following.clamp(min=0).flatten())}, what="the loss")


@exercise("isolate_turns_mask", notebook=NOTEBOOK, answer=isolate_turns_mask, difficulty=4, minutes=20,
          goal="Several questions about one clip in one row, and none may see another. A token sees what comes before it *if* that belongs to the clip (turn 0) "
               "or to its own turn. And every turn's positions go on from the clip's end, as if it were the only one.",
          shapes="`turn_ids` (B, L), 0 for the clip, then 1, 2 ... -> mask (B, 1, L, L) bool, True where looking is allowed, and positions (B, L)",
          hints=("Mask: three conditions over (looking, looked at): same turn, or looked at is clip; and not later. Positions: the clip's length, plus "
                 "how far the token is from its turn's first one.",
                 "`place = arange(L)`; a turn's first token is where `turn_ids` changes; `(place * first).cummax(1).values` carries its place on to the others."))
def _(t: Trial):
    batch, turns, length = t.number(2, 3), t.number(2, 3), t.number(13, 16)
    cuts = [sorted(t.rng.choice(range(2, length - 1), turns, replace=False)) for _ in range(batch)]
    turn_ids = torch.tensor([[sum(i >= cut for cut in row) for i in range(length)] for row in cuts])
    mask, positions = isolate_turns_mask(turn_ids)
    found = t.run(turn_ids)
    t.that(isinstance(found, tuple | list) and len(found) == 2, "expected two things: `return mask, positions`")
    place = torch.arange(length)
    before = (place[None, :] <= place[:, None])[None, None]
    clip, own = (turn_ids == 0)[:, None, None], (turn_ids[:, None, :] == turn_ids[:, :, None])[:, None]
    t.same(found[0], mask, {
        "questions see one another: this is a plain causal mask": before.expand_as(mask),
        "questions do not see the clip": own & before,
        "tokens see what comes after them: the mask must be causal, too": clip | own,
        "rows and columns are swapped: the last axis is what is looked at": mask.transpose(-1, -2),
        "a question sees the clip but not itself": clip & before,
        "a token does not see itself: look at the comparison's equality": mask & ~torch.eye(length).bool(),
        "a turn sees the one before it as well":
            ((turn_ids[:, None, :] >= turn_ids[:, :, None] - 1) & (turn_ids[:, None, :] <= turn_ids[:, :, None]) | clip[:, 0])[:, None] & before,
        "the axis for the heads is missing: (B, 1, L, L)": mask[:, 0]}, what="the mask")
    started = (place * F.pad(turn_ids[:, 1:] != turn_ids[:, :-1], (1, 0))).cummax(1).values
    lengths = (turn_ids == 0).sum(1, keepdim=True)
    t.same(found[1], positions, {
        "positions count on from one question to the next; each starts again at the clip's end": place.expand(batch, -1),
        "a question's positions start at 0; they start where the clip ends": place - started,
        "positions are one too large from the first question on": positions + (turn_ids > 0),
        "each question's position stands still; its tokens count on": torch.where(turn_ids == 0, place, lengths.expand_as(turn_ids)),
        "all clips are taken to be as long as the first one":
            torch.where(turn_ids == 0, place, lengths[0] + place - started)}, what="positions")


def _layer(weight: Tensor, bias: Tensor | None, A: Tensor, B: Tensor, alpha: float) -> nn.Module:
    """peft's LoRA layer around a linear map with these weights."""
    base = nn.Linear(*weight.T.shape, bias=bias is not None)
    model = nn.Sequential(base)
    inject_adapter_in_model(LoraConfig(r=len(A), lora_alpha=alpha, target_modules=["0"]), model)
    made = {"base_layer.weight": weight, "lora_A.default.weight": A, "lora_B.default.weight": B}
    model[0].load_state_dict(made | ({} if bias is None else {"base_layer.bias": bias}))
    return model[0].eval()


@torch.no_grad()
def lora_linear(x: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    """peft's LoRA layer: `x @ weight.T + bias + alpha / r * (x @ A.T) @ B.T`."""
    return _layer(weight, bias, A, B, alpha)(x)


@exercise("lora_linear", notebook=NOTEBOOK, answer=lora_linear, difficulty=2, minutes=12,
          goal="One linear map with LoRA beside it: what the frozen map says, plus alpha / r times what the two thin ones say. r is read off A.",
          shapes="`x` (n, in), `weight` (out, in), `bias` (out,), `A` (r, in), `B` (out, r), `alpha` a number -> (n, out)",
          hints=("A linear map with a `weight` (out, in) computes `x @ weight.T`. A leads down to r features, B up again.",
                 "`x @ weight.T + bias + alpha / len(A) * (x @ A.T @ B.T)`"))
def _(t: Trial):
    rows, inside, out, rank = (int(n) for n in t.rng.permutation([3, 4, 5, 6]))
    x, weight, bias, A, B = t.randn(rows, inside), t.randn(out, inside), t.randn(out), t.randn(rank, inside), t.randn(out, rank)
    alpha = float(rank + t.number(2, 5))
    frozen, aside = x @ weight.T + bias, x @ A.T @ B.T
    t.same(t.run(x, weight, bias, A, B, alpha), lora_linear(x, weight, bias, A, B, alpha), {
        "the factor alpha / r is missing": frozen + aside,
        "the factor is alpha alone; divide by r": frozen + alpha * aside,
        "the factor is upside down: alpha / r": frozen + rank / alpha * aside,
        "alpha is divided by the root of r (that is another method, rsLoRA)": frozen + alpha / rank**0.5 * aside,
        "r is the number of A's rows, not of its columns": frozen + alpha / inside * aside,
        "the bias is missing": frozen - bias + alpha / rank * aside,
        "LoRA is left out: this is the frozen map alone": frozen,
        "the frozen map is left out; LoRA is *added* to it": alpha / rank * aside})


@torch.no_grad()
def merge_lora(weight: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    """peft's `merge`: `weight + alpha / r * B @ A`."""
    layer = _layer(weight, None, A, B, alpha)
    layer.merge()
    return layer.base_layer.weight.detach()


@exercise("merge_lora", notebook=NOTEBOOK, answer=merge_lora, difficulty=2, minutes=8,
          goal="After training the two thin maps can be added into the frozen weight: one matrix, no detour, the same outputs. Give that matrix.",
          shapes="`weight` (out, in), `A` (r, in), `B` (out, r), `alpha` a number -> (out, in)",
          hints=("x W^T + s x A^T B^T = x (W + s ...)^T. What stands for the dots?", "`B @ A` is (out, in); do not write into `weight`."))
def _(t: Trial):
    side, rank = t.number(5, 6), t.number(2, 4)
    inside, out = (side, side) if t.number(0, 1) else (side, side + 2)  # square ones hide a transposed change
    weight, A, B, alpha = t.randn(out, inside), t.randn(rank, inside), t.randn(out, rank), float(rank + t.number(2, 5))
    change = B @ A
    t.same(t.run(weight, A, B, alpha), merge_lora(weight, A, B, alpha), {
        "the factor alpha / r is missing": weight + change,
        "the factor is alpha alone; divide by r": weight + alpha * change,
        "this is the change alone; add it to the weight": alpha / rank * change,
        "the change is subtracted": weight - alpha / rank * change,
        "A's columns are taken for r": weight + alpha / inside * change,
        **({"the change is transposed: `B @ A`, not `(B @ A).T` or `A.T @ B.T`": weight + alpha / rank * change.T} if inside == out else {})},
        what="the weight")
