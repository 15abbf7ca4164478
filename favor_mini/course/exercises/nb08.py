"""Exercises of notebook 08: the prompt, its placeholders, labels, isolated turns, and LoRA."""

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.func import functional_call

from ...language import isolate_turns_mask
from ...processor import MEDIA_TOKEN, PROMPT, _pad
from ..exercise import Trial, exercise
from ..tensors import check_gradients, check_layouts


def write_prompt(question: str, placeholders: int) -> str:
    """The processor's `PROMPT = "USER: <Img>{media}</Img> {question}\\nASSISTANT:"`."""
    return PROMPT.format(media=MEDIA_TOKEN * placeholders, question=question)


@exercise(write_prompt)
def _(t: Trial):
    questions = "what was heard first?", "where was the bell?", "what colour was the star?"
    question, count = questions[t.integer(0, 2)], t.integer(3, 40)
    media = MEDIA_TOKEN * count
    t.check((question, count), {
        "there is one placeholder; each of the W * N vectors needs one": write_prompt(question, 1),
        "there are spaces between the placeholders; remove them":
            f"USER: <Img>{' '.join([MEDIA_TOKEN] * count)}</Img> {question}\nASSISTANT:",
        "the question comes before the clip; here the clip comes first":
            f"USER: {question} <Img>{media}</Img>\nASSISTANT:",
        "`ASSISTANT:` is on a line of its own: a new line is missing":
            f"USER: <Img>{media}</Img> {question} ASSISTANT:",
        "nothing comes after `ASSISTANT:`, no space and no new line":
            f"USER: <Img>{media}</Img> {question}\nASSISTANT: ",
        "`<Img>` and `</Img>` are missing: they mark where the clip begins and ends":
            f"USER: {media} {question}\nASSISTANT:",
        "a space is missing between `</Img>` and the question":
            f"USER: <Img>{media}</Img>{question}\nASSISTANT:"}, "the prompt")


def put_vectors(embeds: Tensor, input_ids: Tensor, vectors: Tensor, placeholder_id: int) -> Tensor:
    """torch's `masked_scatter` fills the places where the mask is True, in order."""
    return embeds.masked_scatter((input_ids == placeholder_id)[..., None], vectors)


@exercise(put_vectors)
def _(t: Trial):
    batch, length = t.integer(2, 3), t.integer(8, 10)
    width, token = t.integer(4, 6), t.integer(5, 7)
    ids = t.randint(10, 90, batch, length)
    counts = [t.integer(1, 3) for _ in range(batch)]
    counts[-1] = counts[0] + 1  # never all equal
    starts = [t.integer(1, 3) for _ in range(batch)]
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        ids[row, start : start + count] = token
    embeds, vectors = t.randn(batch, length, width), t.randn(sum(counts), width)
    place = ids == token

    def filled(source):
        made = embeds.clone()
        made[place] = source
        return made

    t.check((embeds, ids, vectors, token), {
        "nothing was replaced": embeds,
        "every clip gets the first vectors; go on where the previous clip stopped":
            filled(torch.cat([vectors[:count] for count in counts])),
        "all placeholders get the same vector": filled(vectors[:1].expand(sum(counts), -1)),
        "vectors are added to the placeholders' embeddings; they should *replace* them":
            filled(embeds[place] + vectors),
        "the vectors are one place too far to the right":
            embeds.masked_scatter(place.roll(1, 1)[..., None], vectors),
        "the vectors are in reverse order": filled(vectors.flip(0)),
        "all other embeddings were lost":
            torch.zeros_like(embeds).masked_scatter(place[..., None], vectors)})
    check_gradients(t, (embeds, ids, vectors, token), {2: "the vectors"})
    check_layouts(t, embeds, ids, vectors, token)


def answer_labels(prompt_ids: list[list[int]], answer_ids: list[list[int]]) -> Tensor:
    """As `FavorProcessor.dialogue` and `pad_dialogues` do it."""
    pairs = zip(prompt_ids, answer_ids, strict=True)
    return _pad([[-100] * len(p) + a for p, a in pairs], -100, "right")


@exercise(answer_labels)
def _(t: Trial):
    batch = t.integer(2, 4)
    lengths = t.rng.permutation(range(3, 3 + batch))
    prompts = [t.rng.integers(10, 90, n).tolist() for n in lengths]
    answers = [t.rng.integers(10, 90, t.integer(1, 3)).tolist() for _ in range(batch)]
    answers[int(lengths.argmax())] += [3]  # the longest prompt makes the longest row
    answers = [[*answer, 2] for answer in answers]  # the end of the text, </s>

    def ignored(ids):
        return [-100] * len(ids)

    def rows(left, value=-100, side="right", right=list):
        pairs = zip(prompts, answers, strict=True)
        return _pad([left(prompt) + right(answer) for prompt, answer in pairs], value, side)

    t.check((prompts, answers), {
        "padding counts in the loss: pad with -100, not with 0": rows(ignored, value=0),
        "the prompt counts in the loss, too: the model would learn to write questions": rows(list),
        "prompt and answer are swapped: the answer is ignored and the prompt counts":
            rows(list, right=ignored),
        "rows are padded on the left; training batches are padded on the right":
            rows(ignored, side="left"),
        "labels are shifted by one here; the loss does that (a label is at its own token's place)":
            rows(lambda p: ignored(p[1:]), right=lambda a: [*a, -100]),
        "the first token of the answer is ignored: the model would never learn to begin one":
            rows(ignored, right=lambda a: [-100, *a[1:]]),
        "the last token of the answer, `</s>`, is ignored: the model would never learn to stop":
            rows(ignored, right=lambda a: [*a[:-1], -100]),
        "the last token of the answer, `</s>`, is cut off: the model would never learn to stop":
            rows(ignored, right=lambda a: a[:-1]),
        "a second `</s>` is added; the answers end with one already":
            rows(ignored, right=lambda a: [*a, 2]),
        "ignored places have the label 0, which is a token; cross-entropy ignores -100":
            rows(lambda p: [0] * len(p), value=0)}, "the tensor of labels")


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """torch's cross-entropy; the logits at a place predict the *next* token."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100)


@exercise(answer_loss)
def _(t: Trial):
    batch, length, words = t.integer(2, 4), t.integer(6, 9), t.integer(11, 14)
    logits = 3 * t.randn(batch, length, words)
    labels = t.randint(0, words, batch, length)
    for row in range(batch):
        labels[row, : 2 + row % 3] = -100
    labels[0, -1] = -100
    labels[1, 0] = t.integer(0, words - 1)  # no prediction comes before it
    following, before = labels[:, 1:], logits[:, :-1]
    nll = F.cross_entropy(before.transpose(1, 2), following, reduction="none", ignore_index=-100)
    t.check((logits, labels), {
        "predictions are compared with the token at the *same* place; compare them with the next "
        "one": F.cross_entropy(logits.flatten(0, 1), labels.flatten()),
        "predictions are compared with the token *before*: drop the last prediction and the first "
        "label, not the other way round":
            F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten()),
        "the sum is divided by all places; only those with a label count":
            nll.sum() / following.numel(),
        "this is the mean of the clips' means, so that long answers count less; take one mean over "
        "all labels": (nll.sum(1) / (following >= 0).sum(1)).mean(),
        "this is the sum; take the mean": nll.sum(),
        "the sign is wrong: the loss is *minus* the log probability": -answer_loss(logits, labels),
        "-100 is used as a token; ignore places without a label":
            F.cross_entropy(before.flatten(0, 1), following.clamp(min=0).flatten()),
        "the rows are joined before the shift, so that the last place of a row predicts the first "
        "token of the next row; shift each row: `logits[:, :-1]`, `labels[:, 1:]`":
            F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:]),
        "the first label of each row has wrapped to the row's end (`roll`); drop it":
            F.cross_entropy(logits.flatten(0, 1), labels.roll(-1, 1).flatten())},
        "the loss")
    check_gradients(t, (logits, labels), {0: "the logits"})
    check_layouts(t, logits, labels)


@exercise(isolate_turns_mask)
def _(t: Trial):
    batch, turns, length = t.integer(2, 3), t.integer(2, 3), t.integer(13, 16)
    cuts = [sorted(t.rng.choice(range(2, length - 1), turns, replace=False)) for _ in range(batch)]
    turn_ids = torch.tensor([[sum(i >= cut for cut in row) for i in range(length)] for row in cuts])
    mask, positions = isolate_turns_mask(turn_ids)
    found = t.run(turn_ids)
    t.require_tuple(found, 2, "expected two results: `return mask, positions`")
    place = torch.arange(length)
    before = (place[None, :] <= place[:, None])[None, None]
    query, key = turn_ids[:, None, :, None], turn_ids[:, None, None, :]
    clip, own = key == 0, key == query
    t.compare(found[0], mask, {
        "questions attend to one another: this is a plain causal mask": before.expand_as(mask),
        "questions do not attend to the clip": own & before,
        "tokens attend to later tokens: the mask must be causal, too": clip | own,
        "rows and columns are swapped: the last axis is the keys": mask.transpose(-1, -2),
        "a question attends to the clip but not to itself": clip & before,
        "a token does not attend to itself: check the comparison for equality":
            mask & ~torch.eye(length).bool(),
        "a turn attends to the one before it as well":
            ((key >= query - 1) & (key <= query) | clip) & before,
        "the axis for the heads is missing: (B, 1, L, L)": mask[:, 0]}, "the mask")
    started = (place * F.pad(turn_ids[:, 1:] != turn_ids[:, :-1], (1, 0))).cummax(1).values
    lengths = (turn_ids == 0).sum(1, keepdim=True)
    t.compare(found[1], positions, {
        "positions continue from one question to the next; each starts at the clip's end":
            place.expand(batch, -1),
        "a question's positions start at 0; they start where the clip ends": place - started,
        "positions are one too large from the first question on": positions + (turn_ids > 0),
        "all tokens of a question have the same position; they count up":
            torch.where(turn_ids == 0, place, lengths.expand_as(turn_ids)),
        "all clips are assumed to be as long as the first one":
            torch.where(turn_ids == 0, place, lengths[0] + place - started)},
        "the tensor of positions")
    check_layouts(t, turn_ids)


def _layer(weight: Tensor, A: Tensor, alpha: float, bias: bool) -> nn.Module:
    """peft's LoRA layer for maps of these shapes."""
    model = nn.Sequential(nn.Linear(*weight.T.shape, bias=bias))
    inject_adapter_in_model(LoraConfig(r=len(A), lora_alpha=alpha, target_modules=["0"]), model)
    return model[0].eval()


def _named(weight: Tensor, A: Tensor, B: Tensor) -> dict[str, Tensor]:
    return {"base_layer.weight": weight, "lora_A.default.weight": A, "lora_B.default.weight": B}


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor,
                alpha: float) -> Tensor:
    """peft's LoRA layer: `x @ weight.T + bias + alpha / r * (x @ A.T) @ B.T`."""
    parameters = {"base_layer.bias": bias} | _named(weight, A, B)
    return functional_call(_layer(weight, A, alpha, bias=True), parameters, (x,))


@exercise(lora_linear)
def _(t: Trial):
    rows, inside, out, rank = t.shuffled(3, 4, 5, 6)
    x, weight, bias = t.randn(rows, inside), t.randn(out, inside), t.randn(out)
    A, B = t.randn(rank, inside), t.randn(out, rank)
    alpha = rank + t.integer(2, 5) + 0.5  # no ratio of it and a size is 1
    frozen, update = x @ weight.T + bias, x @ A.T @ B.T
    t.check((x, weight, bias, A, B, alpha), {
        "the factor alpha / r is missing": frozen + update,
        "the factor is alpha alone; divide by r": frozen + alpha * update,
        "the factor is inverted: alpha / r": frozen + rank / alpha * update,
        "alpha is divided by the root of r (that is another method, rsLoRA)":
            frozen + alpha / rank**0.5 * update,
        "r is the number of A's rows, not of its columns": frozen + alpha / inside * update,
        "r is the number of B's columns, not of its rows": frozen + alpha / out * update,
        "the bias is missing": frozen - bias + alpha / rank * update,
        "LoRA is missing: this is the frozen map alone": frozen,
        "the frozen map is missing; LoRA is *added* to it": alpha / rank * update})
    check_gradients(t, (x, weight, bias, A, B, alpha),
                    {3: "A, which is trained", 4: "B, which is trained", 0: "the layers before"})
    check_layouts(t, x, weight, bias, A, B, alpha)


@torch.no_grad()
def merge_lora(weight: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    """peft's `merge`: `weight + alpha / r * B @ A`."""
    layer = _layer(weight, A, alpha, bias=False)
    layer.load_state_dict(_named(weight, A, B))
    layer.merge()
    return layer.base_layer.weight.detach()


@exercise(merge_lora)
def _(t: Trial):
    side, rank = t.integer(5, 6), t.integer(2, 4)
    for inside, out in ((side, side + 2), (side, side)):
        weight, A, B = t.randn(out, inside), t.randn(rank, inside), t.randn(out, rank)
        alpha = rank + t.integer(2, 5) + 0.5  # no ratio of it and a size is 1
        change = B @ A
        suspects = {
            "the factor alpha / r is missing": weight + change,
            "the factor is alpha alone; divide by r": weight + alpha * change,
            "the factor is inverted: alpha / r": weight + rank / alpha * change,
            "this is the change alone; add it to the weight": alpha / rank * change,
            "the change is subtracted": weight - alpha / rank * change,
            "r is the number of A's rows, not of its columns": weight + alpha / inside * change,
            "r is the number of B's columns, not of its rows": weight + alpha / out * change}
        if inside == out:
            suspects["the change is transposed: `B @ A`, not `(B @ A).T` or `A.T @ B.T`"] = (
                weight + alpha / rank * change.T)
        t.check((weight, A, B, alpha), suspects, "the weight")
    check_layouts(t, weight, A, B, alpha)
