"""Wrong answers to the exercises of notebook 08."""

import torch
import torch.nn.functional as F


def one_placeholder(question, placeholders):
    return f"USER: <Img><av></Img> {question}\nASSISTANT:"


def with_spaces(question, placeholders):
    return f"USER: <Img>{' '.join(['<av>'] * placeholders)}</Img> {question}\nASSISTANT:"


def question_first(question, placeholders):
    return f"USER: {question} <Img>{'<av>' * placeholders}</Img>\nASSISTANT:"


def one_line(question, placeholders):
    return f"USER: <Img>{'<av>' * placeholders}</Img> {question} ASSISTANT:"


def space_behind(question, placeholders):
    return f"USER: <Img>{'<av>' * placeholders}</Img> {question}\nASSISTANT: "


def unframed(question, placeholders):
    return f"USER: {'<av>' * placeholders} {question}\nASSISTANT:"


def in_place(embeds, input_ids, vectors, placeholder_id):
    embeds[input_ids == placeholder_id] = vectors
    return embeds


def first_again(embeds, input_ids, vectors, placeholder_id):
    made = embeds.clone()
    for row, ids in enumerate(input_ids):
        place = ids == placeholder_id
        made[row, place] = vectors[: place.sum()]
    return made


def added(embeds, input_ids, vectors, placeholder_id):
    made = embeds.clone()
    made[input_ids == placeholder_id] += vectors
    return made


def all_alike(embeds, input_ids, vectors, placeholder_id):
    return torch.where((input_ids == placeholder_id)[..., None], vectors[0], embeds)


def forgets_the_rest(embeds, input_ids, vectors, placeholder_id):
    made = torch.zeros_like(embeds)
    made[input_ids == placeholder_id] = vectors
    return made


def one_too_far(embeds, input_ids, vectors, placeholder_id):
    rows, places = (input_ids == placeholder_id).nonzero(as_tuple=True)
    made = embeds.clone()
    made[rows, places + 1] = vectors
    return made


def not_used(embeds, input_ids, vectors, placeholder_id):
    embeds.masked_scatter((input_ids == placeholder_id)[..., None], vectors)
    return embeds


def _fill(rows, value=-100):
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def padding_counts(prompt_ids, answer_ids):
    return _fill([[-100] * len(p) + a for p, a in zip(prompt_ids, answer_ids, strict=True)], 0)


def everything_counts(prompt_ids, answer_ids):
    return _fill([p + a for p, a in zip(prompt_ids, answer_ids, strict=True)])


def wrong_way(prompt_ids, answer_ids):
    return _fill([p + [-100] * len(a) for p, a in zip(prompt_ids, answer_ids, strict=True)])


def padded_left(prompt_ids, answer_ids):
    rows = [[-100] * len(p) + a for p, a in zip(prompt_ids, answer_ids, strict=True)]
    longest = max(map(len, rows))
    return torch.tensor([[-100] * (longest - len(row)) + row for row in rows])


def moved_by_one(prompt_ids, answer_ids):
    pairs = zip(prompt_ids, answer_ids, strict=True)
    return _fill([[-100] * (len(p) - 1) + a + [-100] for p, a in pairs])


def zeros(prompt_ids, answer_ids):
    return _fill([[0] * len(p) + a for p, a in zip(prompt_ids, answer_ids, strict=True)], 0)


def ragged(prompt_ids, answer_ids):
    return torch.tensor([[-100] * len(p) + a for p, a in zip(prompt_ids, answer_ids, strict=True)])


def not_shifted(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def shifted_back(logits, labels):
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten())


def by_all_places(logits, labels):
    logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return F.cross_entropy(logits, labels, reduction="sum") / labels.numel()


def mean_of_means(logits, labels):
    rows = zip(logits, labels, strict=True)
    return torch.stack([F.cross_entropy(one[:-1], two[1:]) for one, two in rows]).mean()


def summed(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def sign(logits, labels):
    after, following = logits[:, :-1].log_softmax(-1), labels[:, 1:]
    return after.gather(-1, following.clamp(min=0)[..., None])[..., 0][following >= 0].mean()


def token_zero(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].clamp(min=0).flatten())


def vocabulary_last(logits, labels):
    return F.cross_entropy(logits[:, :-1], labels[:, 1:])


def apart(turn_ids, sees=None, counts=None):
    batch, length = turn_ids.shape
    mask = torch.zeros(batch, 1, length, length, dtype=torch.bool)
    positions = torch.zeros_like(turn_ids)
    for b, row in enumerate(turn_ids.tolist()):
        clip = row.count(0)
        for i in range(length):
            for j in range(length):
                usual = j <= i and (row[j] == 0 or row[j] == row[i])
                mask[b, 0, i, j] = sees(row, i, j) if sees else usual
            start = row.index(row[i])
            place = i if row[i] == 0 else clip + i - start
            positions[b, i] = counts(row, i, clip, start) if counts else place
    return mask, positions


def plain_causal(turn_ids):
    return apart(turn_ids, sees=lambda row, i, j: j <= i)


def without_the_clip(turn_ids):
    return apart(turn_ids, sees=lambda row, i, j: j <= i and row[i] == row[j])


def ahead(turn_ids):
    return apart(turn_ids, sees=lambda row, i, j: row[j] in (0, row[i]))


def swapped(turn_ids):
    return apart(turn_ids, sees=lambda row, i, j: i <= j and row[i] in (0, row[j]))


def clip_only(turn_ids):
    return apart(turn_ids, sees=lambda row, i, j: j <= i and row[j] == 0)


def turn_before(turn_ids):
    return apart(turn_ids, sees=lambda row, i, j: j <= i and (row[j] == 0 or row[j] >= row[i] - 1))


def counts_on(turn_ids):
    return apart(turn_ids, counts=lambda row, i, clip, start: i)


def from_zero(turn_ids):
    return apart(turn_ids, counts=lambda row, i, clip, start: i - start)


def stands_still(turn_ids):
    return apart(turn_ids, counts=lambda row, i, clip, start: i if row[i] == 0 else clip)


def one_thing(turn_ids):
    return apart(turn_ids)[0]


def no_factor(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + x @ A.T @ B.T


def alpha_alone(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha * (x @ A.T @ B.T)


def upside_down(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + A.shape[0] / alpha * (x @ A.T @ B.T)


def root(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha / A.shape[0] ** 0.5 * (x @ A.T @ B.T)


def no_bias(x, weight, bias, A, B, alpha):
    return F.linear(x, weight) + alpha / len(A) * (x @ A.T @ B.T)


def lora_only(x, weight, bias, A, B, alpha):
    return alpha / len(A) * (x @ A.T @ B.T)


def columns(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha / A.shape[1] * (x @ A.T @ B.T)


def merged_without_factor(weight, A, B, alpha):
    return weight + B @ A


def merged_alpha(weight, A, B, alpha):
    return weight + alpha * B @ A


def change_only(weight, A, B, alpha):
    return alpha / len(A) * B @ A


def subtracted(weight, A, B, alpha):
    return weight - alpha / len(A) * B @ A


def transposed(weight, A, B, alpha):
    change = alpha / len(A) * A.T @ B.T
    return weight + (change if change.shape == weight.shape else change.T)


def into_the_weight(weight, A, B, alpha):
    weight += alpha / len(A) * B @ A
    return weight


def cut_before_the_end(question, placeholders):
    return f"USER: <Img>{'<av>' * placeholders}</Img> {question}\nASSISTANT"


def small_letters(question, placeholders):
    return f"User: <Img>{'<av>' * placeholders}</Img> {question}\nAssistant:"


def vectors_detached(embeds, input_ids, vectors, placeholder_id):
    place = (input_ids == placeholder_id)[..., None]
    return embeds.masked_scatter(place, vectors.detach())


def vectors_by_numpy(embeds, input_ids, vectors, placeholder_id):
    made = embeds.detach().numpy().copy()
    made[(input_ids == placeholder_id).numpy()] = vectors.detach().numpy()
    return torch.from_numpy(made)


def rows_of_a_copy(embeds, input_ids, vectors, placeholder_id):
    made = embeds.clone()
    made.reshape(-1, made.shape[-1])[(input_ids == placeholder_id).flatten()] = vectors
    return made


def never_stops(prompt_ids, answer_ids):
    pairs = zip(prompt_ids, answer_ids, strict=True)
    return _fill([[-100] * len(p) + a[:-1] + [-100] for p, a in pairs])


def end_cut_off(prompt_ids, answer_ids):
    pairs = zip(prompt_ids, answer_ids, strict=True)
    return _fill([[-100] * len(p) + a[:-1] for p, a in pairs])


def ends_twice(prompt_ids, answer_ids):
    pairs = zip(prompt_ids, answer_ids, strict=True)
    return _fill([[-100] * len(p) + a + [2] for p, a in pairs])


def _right(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def loss_detached(logits, labels):
    return _right(logits.detach(), labels)


def joined_first(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:])


def rolled(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels.roll(-1, dims=1))


def rolled_all(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels.roll(-1))


def loss_by_view(logits, labels):
    logits = logits.view(-1, logits.shape[-1]).view(logits.shape)
    return _right(logits, labels)


def lora(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha / len(A) * (x @ A.T @ B.T)


def lora_detached(*args):
    return lora(*args).detach()


def one_of_them_detached(x, weight, bias, A, B, alpha):
    return lora(x, weight, bias, A, B.detach(), alpha)


def layers_before_cut_off(x, weight, bias, A, B, alpha):
    return lora(x.detach(), weight, bias, A, B, alpha)


def rows_of_b(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha / len(B) * (x @ A.T @ B.T)


def merged_columns(weight, A, B, alpha):
    return weight + alpha / A.shape[1] * B @ A


def merged_rows_of_b(weight, A, B, alpha):
    return weight + alpha / len(B) * B @ A


def merged_upside_down(weight, A, B, alpha):
    return weight + len(A) / alpha * B @ A


WRONG = {
    "write_prompt": [(one_placeholder, "each of the W * N"), (with_spaces, "spaces between"),
                     (question_first, "before the clip"), (one_line, "new line is missing"),
                     (space_behind, "nothing comes after"), (unframed, "are missing: they mark"),
                     (cut_before_the_end, "ASSISTANT', its end"),
                     (small_letters, "from character 2 on")],
    "put_vectors": [(in_place, "in place"), (first_again, "go on where"), (added, "*replace*"),
                    (all_alike, "the same vector"), (forgets_the_rest, "were lost"),
                    (one_too_far, "to the right"), (not_used, "nothing was replaced"),
                    (vectors_detached, "reach the vectors"), (vectors_by_numpy, "numpy or"),
                    (rows_of_a_copy, "not contiguous")],
    "answer_labels": [(padding_counts, "padding counts"),
                      (everything_counts, "learn to write questions"), (wrong_way, "are swapped"),
                      (padded_left, "on the left"), (moved_by_one, "shifted by one"),
                      (zeros, "0, which is a token"), (ragged, "ValueError"),
                      (never_stops, "is ignored: the model would never learn to stop"),
                      (end_cut_off, "is cut off: the model"), (ends_twice, "second `</s>`")],
    "answer_loss": [(not_shifted, "*same* place"), (shifted_back, "*before*"),
                    (by_all_places, "divided by all places"), (mean_of_means, "clips' means"),
                    (summed, "this is the sum"), (sign, "sign is wrong"),
                    (token_zero, "used as a token"), (vocabulary_last, "raised"),
                    (loss_detached, "reach the logits"), (joined_first, "joined before the shift"),
                    (rolled, "wrapped to the row's end"),
                    (rolled_all, "first token of the next row"),
                    (loss_by_view, "instead of `view`")],
    "isolate_turns_mask": [
        (plain_causal, "attend to one another"), (without_the_clip, "do not attend to the clip"),
        (ahead, "must be causal"), (swapped, "are swapped"), (clip_only, "not to itself"),
        (turn_before, "the one before it"), (counts_on, "continue from"), (from_zero, "start at 0"),
        (stands_still, "the same position"), (one_thing, "two results")],
    "lora_linear": [(no_factor, "is missing"), (alpha_alone, "alpha alone"),
                    (upside_down, "factor is inverted"), (root, "rsLoRA"),
                    (no_bias, "bias is missing"), (lora_only, "*added*"),
                    (columns, "not of its columns"), (rows_of_b, "not of its rows"),
                    (lora_detached, "reach A"), (one_of_them_detached, "reach B"),
                    (layers_before_cut_off, "reach the layers before")],
    "merge_lora": [(merged_without_factor, "is missing"), (merged_alpha, "alpha alone"),
                   (change_only, "change alone"), (subtracted, "subtracted"),
                   (transposed, "transposed"), (into_the_weight, "in place"),
                   (merged_columns, "not of its columns"), (merged_rows_of_b, "not of its rows"),
                   (merged_upside_down, "factor is inverted")]
}
