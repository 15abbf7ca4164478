"""Wrong answers to the exercises of notebook 02."""

import numpy as np
import torch
import torch.nn.functional as F


def _squares(frames, size):
    cut = frames.unflatten(3, (-1, size))
    return cut.unflatten(2, (-1, size))  # [T, 3, rows, size, columns, size]


def down_the_columns(frames, size):
    return _squares(frames, size).permute(0, 4, 2, 1, 3, 5).flatten(3).flatten(1, 2)


def unfold_as_it_is(frames, size):
    return F.unfold(frames, size, stride=size)


def pixel_by_pixel(frames, size):
    return _squares(frames, size).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def strips(frames, size):
    return frames.reshape(len(frames), -1, 3 * size * size)


def still_two_axes(frames, size):
    return _squares(frames, size).permute(0, 2, 4, 1, 3, 5).flatten(3)


def cut_by_view(frames, size):
    count, colours, height, width = frames.shape
    frames = frames.view(count * colours, height, width).unflatten(0, (count, colours))
    return F.unfold(frames, size, stride=size).transpose(1, 2)


def _heard(encoder, x):
    return encoder(x.flatten(0, 1)).last_hidden_state.unflatten(0, x.shape[:2])


def not_joined(encoder, input_features):
    return _heard(encoder, input_features)


def batch_lost(encoder, input_features):
    return encoder(input_features.flatten(0, 1)).last_hidden_state


def first_chunk(encoder, input_features):
    return encoder(input_features[:, 0]).last_hidden_state


def mean_of_chunks(encoder, input_features):
    return _heard(encoder, input_features).mean(1)


def interleaved(encoder, input_features):
    return _heard(encoder, input_features).transpose(1, 2).flatten(1, 2)


def side_by_side(encoder, input_features):
    chunks = [encoder(chunk).last_hidden_state for chunk in input_features.unbind(1)]
    return torch.cat(chunks, dim=-1)


def others_chunks(encoder, input_features):
    batch, chunks = input_features.shape[:2]
    heard = encoder(input_features.flatten(0, 1)).last_hidden_state
    return heard.unflatten(0, (chunks, batch)).transpose(0, 1).flatten(1, 2)


def a_call_a_chunk(encoder, input_features):
    chunks = [encoder(chunk).last_hidden_state for chunk in input_features.unbind(1)]
    return torch.cat(chunks, dim=1)


def a_call_a_clip(encoder, input_features):
    return torch.stack([encoder(clip).last_hidden_state.flatten(0, 1) for clip in input_features])


def flattened_by_view(encoder, input_features):
    batch, chunks, mels, length = input_features.shape
    heard = encoder(input_features.view(-1, mels, length)).last_hidden_state
    return heard.unflatten(0, (batch, chunks)).flatten(1, 2)


def the_object(encoder, input_features):
    return encoder(input_features.flatten(0, 1))


def _queries(encoder, patches):
    return encoder.query_tokens.expand(len(patches), -1, -1)


def _looked(encoder, patches, ids, mask):
    return encoder.qformer(input_ids=ids, attention_mask=mask,
                           query_embeds=_queries(encoder, patches),
                           encoder_hidden_states=patches).last_hidden_state


def _mask(encoder, patches, question_mask, behind=True):
    parts = [question_mask.new_ones(len(patches), encoder.query_tokens.shape[1]), question_mask]
    return torch.cat(parts if behind else parts[::-1], dim=1)


def never_looked(encoder, patches, question_ids=None, question_mask=None):
    return _queries(encoder, patches) + 0


def question_ignored(encoder, patches, question_ids=None, question_mask=None):
    return _looked(encoder, patches, None, None)


def padding_seen(encoder, patches, question_ids=None, question_mask=None):
    return _looked(encoder, patches, question_ids, None)[:, :encoder.query_tokens.shape[1]]


def question_returned(encoder, patches, question_ids=None, question_mask=None):
    mask = None if question_ids is None else _mask(encoder, patches, question_mask)
    return _looked(encoder, patches, question_ids, mask)


def last_tokens(encoder, patches, question_ids=None, question_mask=None):
    whole = question_returned(encoder, patches, question_ids, question_mask)
    return whole[:, -encoder.query_tokens.shape[1]:]


def mask_in_wrong_order(encoder, patches, question_ids=None, question_mask=None):
    mask = None if question_ids is None else _mask(encoder, patches, question_mask, behind=False)
    return _looked(encoder, patches, question_ids, mask)[:, :encoder.query_tokens.shape[1]]


def mask_reversed(encoder, patches, question_ids=None, question_mask=None):
    mask = None if question_ids is None else _mask(encoder, patches, 1 - question_mask)
    return _looked(encoder, patches, question_ids, mask)[:, :encoder.query_tokens.shape[1]]


def _solve(inputs, targets):
    return torch.linalg.lstsq(inputs, targets.float()).solution


def _with_ones(features):
    return torch.cat([features, torch.ones(len(features), 1)], dim=1)


def no_bias(features, labels, classes):
    return _solve(features, F.one_hot(labels, classes))


def bias_first(features, labels, classes):
    return _solve(_with_ones(features).roll(1, dims=1), F.one_hot(labels, classes))


def numbers_as_targets(features, labels, classes):
    return _solve(_with_ones(features), labels[:, None])


def turned(features, labels, classes):
    return _solve(_with_ones(features), F.one_hot(labels, classes)).T


def plus_and_minus(features, labels, classes):
    return _solve(_with_ones(features), 2 * F.one_hot(labels, classes) - 1)


def outputs(features, labels, classes):
    inputs = _with_ones(features)
    return inputs @ _solve(inputs, F.one_hot(labels, classes))


def ridge(features, labels, classes):
    inputs = _with_ones(features)
    return torch.linalg.solve(inputs.T @ inputs + torch.eye(inputs.shape[1]),
                              inputs.T @ F.one_hot(labels, classes).float())


def normal_equations(features, labels, classes):
    inputs = _with_ones(features)
    return torch.linalg.inv(inputs.T @ inputs) @ inputs.T @ F.one_hot(labels, classes).float()


def not_the_smallest(features, labels, classes):
    """As the default driver may do: right where features do not depend on one another."""
    inputs, chosen = _with_ones(features), []
    for column in range(inputs.shape[1]):
        if torch.linalg.matrix_rank(inputs[:, [*chosen, column]]) > len(chosen):
            chosen.append(column)
    found = torch.zeros(inputs.shape[1], classes)
    found[chosen] = _solve(inputs[:, chosen], F.one_hot(labels, classes))
    return found


def largest_label_decides(features, labels, classes):
    return _solve(_with_ones(features), F.one_hot(labels))


def plain(found, truth):
    return float((found == truth).mean())


def precision(found, truth):
    return float(np.mean([(truth[found == c] == c).mean() for c in np.unique(found)]))


def absent_is_zero(found, truth):
    shares = [(found[truth == c] == c).mean() if (truth == c).any() else 0.0
              for c in range(max(found.max(), truth.max()) + 1)]
    return float(np.mean(shares))


def silence_left_out(found, truth):
    return float(np.mean([(found[truth == c] == c).mean() for c in np.unique(truth) if c > 0]))


def percent(found, truth):
    return 100 * float(np.mean([(found[truth == c] == c).mean() for c in np.unique(truth)]))


WRONG = {
    "cut_patches": [(down_the_columns, "down the columns"), (unfold_as_it_is, "are swapped"),
                    (pixel_by_pixel, "are together"), (strips, "strips"),
                    (still_two_axes, "still two axes"), (cut_by_view, "`.reshape`")],
    "encode_audio": [(not_joined, "not joined"), (batch_lost, "split it into B and C"),
                     (first_chunk, "only the first chunk"), (mean_of_chunks, "averaged"),
                     (interleaved, "interleaved"), (side_by_side, "along the features"),
                     (others_chunks, "mixed up"), (the_object, "returns an object"),
                     (a_call_a_chunk, "called 4 times"), (a_call_a_clip, "times; encode all"),
                     (flattened_by_view, "`.reshape`")],
    "query_patches": [(never_looked, "before the Q-Former"), (question_ignored, "no effect"),
                      (padding_seen, "padding of the question is attended to"),
                      (question_returned, "keep the first V"), (last_tokens, "*last* V"),
                      (mask_in_wrong_order, "put the queries first"), (mask_reversed, "inverted")],
    "fit_probe": [(no_bias, "no bias"), (bias_first, "*last* row"), (numbers_as_targets, "one-hot"),
                  (turned, "swapped"), (plus_and_minus, "-1 and 1"), (outputs, "not the weights"),
                  (ridge, "exact least-squares"), (normal_equations, "has no inverse"),
                  (not_the_smallest, "default driver"),
                  (largest_label_decides, "pass `classes`")],
    "balanced_accuracy": [
        (plain, "plain accuracy"), (precision, "precision"), (absent_is_zero, "never occurs"),
        (silence_left_out, "left out"), (percent, "percent")]
}
