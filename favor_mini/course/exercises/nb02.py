"""Exercises of notebook 02: patches, audio chunks, the visual Q-Former, linear probes."""

from functools import cache

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import InstructBlipQFormerConfig, InstructBlipVisionConfig, WhisperConfig

from ...compat import WhisperEncoder
from ...encoders import VisualEncoder, encode_audio
from ..exercise import Trial, exercise
from ..trial import Mistake


def cut_patches(frames: Tensor, size: int) -> Tensor:
    """torch's `unfold`, transposed: (T, 3, H, W) -> (T, patches, 3 * size * size)."""
    return F.unfold(frames, size, stride=size).transpose(1, 2)


@exercise(cut_patches)
def _(t: Trial):
    size, rows, columns, count = t.integer(3, 4), 2, t.integer(3, 4), t.integer(2, 3)
    frames = t.randn(count, 3, rows * size, columns * size)
    expected = cut_patches(frames, size)
    parts = frames.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # [T, 3, rows, _, columns, _]

    def order(*axes):
        return parts.permute(0, *axes).flatten(3).flatten(1, 2)

    t.check((frames, size), {
        "the patches are numbered down the columns; number them along the rows":
            order(4, 2, 1, 3, 5),
        "patches and their values are swapped: (T, patches, 3 * size * size)":
            expected.transpose(1, 2),
        "the colours of each pixel are together; first all red values of the patch, then green, "
        "then blue": order(2, 4, 3, 5, 1),
        "a plain `reshape` cuts strips, not squares: the pixels of a square are not neighbours in "
        "memory": frames.reshape(expected.shape),
        "pixels within a patch are read down its columns": order(2, 4, 1, 5, 3),
        "rows and columns of patches are still two axes; flatten them to one axis of patches":
            parts.permute(0, 2, 4, 1, 3, 5).flatten(3)})
    t.check_views(frames, size)


@cache
def _audio_encoder(mels: int, length: int) -> WhisperEncoder:
    return WhisperEncoder(WhisperConfig(
        d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=8,
        num_mel_bins=mels, max_source_positions=length, init_std=0.3)).eval()


@exercise(encode_audio)
def _(t: Trial):
    batch, chunks, mels, length = t.integer(2, 3), 4, t.integer(5, 6), t.integer(7, 9)
    encoder = _audio_encoder(mels, length)
    audio, calls = t.randn(batch, chunks, mels, 2 * length), []
    with torch.no_grad():
        flat = encoder(audio.flatten(0, 1)).last_hidden_state
        expected = encode_audio(encoder, audio)
        with encoder.conv1.register_forward_hook(lambda *_: calls.append(1)):
            found = t.run(encoder, audio)
    cut = flat.unflatten(0, (batch, chunks))  # [B, C, S, D]
    t.require(isinstance(found, Tensor),
              "expected a tensor (B, C * S, D); `encoder(...)` returns an object, use its "
              "`.last_hidden_state`")
    t.compare(found, expected, {
        "the chunks are not joined: (B, C * S, D)": cut,
        "clips and their chunks are still one axis: split it into B and C": flat,
        "only the first chunk was encoded": cut[:, 0],
        "chunks are averaged; they follow one another in time": cut.mean(1),
        "the chunks are interleaved: first all tokens of the first chunk, then the second's":
            cut.transpose(1, 2).flatten(1, 2),
        "the chunks are joined along the features; join them in time":
            cut.transpose(1, 2).flatten(2),
        "the clips' chunks are mixed up: split the axis into (B, C), in this order":
            flat.unflatten(0, (chunks, batch)).transpose(0, 1).flatten(1, 2)}, "the encoding")
    t.require(len(calls) == 1, f"the encoder is called {len(calls)} times; encode all chunks of "
                               "all clips in one call: `encoder(x.flatten(0, 1))`")
    with torch.no_grad():
        t.check_views(encoder, audio)


query_patches = VisualEncoder.query_patches


@cache
def _visual_encoder(tokens: int) -> VisualEncoder:
    shared = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 2}
    qformer = InstructBlipQFormerConfig(
        vocab_size=11, cross_attention_frequency=1, encoder_hidden_size=8,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.5, **shared)
    vision = InstructBlipVisionConfig(image_size=32, patch_size=16, **shared)
    return VisualEncoder(vision, qformer, tokens).eval()


@exercise(query_patches)
def _(t: Trial):
    frames, tokens, count = t.integer(3, 4), t.integer(5, 6), t.integer(7, 9)
    asked = t.integer(4, 5)
    encoder = _visual_encoder(tokens)
    with torch.no_grad():
        encoder.query_tokens.copy_(t.randn(1, tokens, 8))
    patches = t.randn(frames, count, 8)
    ids = t.randint(1, 11, frames, asked)
    real = (torch.arange(asked)[None] < t.randint(1, asked, frames)[:, None]).long()  # all padded
    with torch.no_grad():
        queries = encoder.query_tokens.expand(frames, -1, -1)

        def inside(mask):
            return encoder.qformer(input_ids=ids, attention_mask=mask, query_embeds=queries,
                                   encoder_hidden_states=patches).last_hidden_state

        def masked(*parts):
            return inside(torch.cat(parts, 1))[:, :tokens]

        ones = torch.ones(frames, tokens, dtype=torch.long)
        whole = inside(torch.cat([ones, real], 1))
        alone = encoder.query_patches(patches)
        found = t.run(encoder, patches)
        t.require(isinstance(found, Tensor),
                  "expected a tensor (n, V, D_v); the Q-Former returns an object, use its "
                  "`.last_hidden_state`")
        t.compare(found, alone, {
            "these are the patches, or their mean; the queries should attend to them":
                patches.mean(1, keepdim=True).expand_as(alone),
            "these are the queries before the Q-Former; call it": queries},
            "without a question, the result")
        found = t.run(encoder, patches, ids, real)
        t.require(isinstance(found, Tensor), "with a question, expected a tensor (n, V, D_v)")
        t.compare(found, encoder.query_patches(patches, ids, real), {
            "the question has no effect: pass its tokens as `input_ids`": alone,
            "padding of the question is attended to: join `question_mask` to the mask":
                inside(None)[:, :tokens],
            "the question's tokens were returned as well; keep the first V, the queries": whole,
            "the *last* V tokens were returned; the queries come before the question":
                whole[:, -tokens:],
            "in the mask the question comes before the queries; put the queries first":
                masked(real, ones),
            "the mask hides the whole question: its real tokens count": masked(ones, 0 * real),
            "the question's mask is inverted: real words are hidden, padding is not":
                masked(ones, 1 - real)}, "with a question, the result")
        t.check_views(encoder, patches, ids, real)


def fit_probe(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """torch's `lstsq`, from features and ones to one-hot labels: the smallest such weights."""
    inputs = F.pad(features.double(), (0, 1), value=1.0)  # [n, D + 1]
    targets = F.one_hot(labels, classes).double()
    return torch.linalg.lstsq(inputs, targets, driver="gelsd").solution.float()


@exercise(fit_probe)
def _(t: Trial):
    count, width, classes = t.integer(60, 70), t.integer(5, 8), t.integer(3, 4)
    features = t.randn(count, width) + 1.5
    labels = t.randint(0, classes, count)
    labels[features[:, 0] > 2] = classes - 1
    expected = fit_probe(features, labels, classes)
    plain, hot = features.double(), F.one_hot(labels, classes).double()
    ones = torch.ones(count, 1, dtype=torch.double)

    def solve(inputs, targets):
        return torch.linalg.lstsq(inputs, targets).solution.float()

    both = torch.cat([plain, ones], 1)
    t.check((features, labels, classes), {
        "there is no bias: append a column of ones to the features": solve(plain, hot),
        "the ones come first; the bias should be the *last* row":
            solve(torch.cat([ones, plain], 1), hot),
        "the targets are the labels' numbers: class 2 is not twice class 1. Make them one-hot":
            solve(both, labels.double()[:, None]),
        "classes and features are swapped: (D + 1, classes)": expected.T,
        "the targets are -1 and 1; one-hot is 0 and 1": solve(both, 2 * hot - 1),
        "these are the outputs [X 1] W, not the weights W": (both @ expected.double()).float(),
        "is this ridge regression, or gradient descent? Return the exact least-squares solution":
            torch.linalg.solve(both.T @ both + torch.eye(width + 1), both.T @ hot).float()},
        "the weight matrix", tolerance=1e-3)
    for absent in (classes - 1, 0):
        seen = torch.where(labels == absent, 1, labels)
        shorter = F.one_hot(seen if absent else seen - 1).double()  # no column for the absent one
        t.check((features, seen, classes), {
            "a class without an example has lost its column: pass `classes` to `one_hot`":
                solve(both, shorter)},
            f"where class {absent} does not occur the weight matrix", tolerance=1e-3)
    features[:, 0], features[:, 2] = features[:, 1], 0  # now many W are equally good
    # No rival is computed: what the default driver returns here differs from call to call.
    try:
        t.check((features, labels, classes), {}, tolerance=1e-3)
    except Mistake as mistake:
        raise Mistake("where features depend on one another `X.T @ X` has no inverse, several W "
                      "are equally good, and the default driver of torch's `lstsq` fails: "
                      "`torch.linalg.lstsq(..., driver=\"gelsd\")` and `pinv` give the smallest W"
                      ) from mistake


def balanced_accuracy(found, truth) -> float:
    """pandas' `groupby`: the accuracy within each class of the truth, averaged over classes."""
    found, truth = np.asarray(found), np.asarray(truth)
    return float(pd.Series(found == truth).groupby(truth).mean().mean())


@exercise(balanced_accuracy)
def _(t: Trial):
    count, classes = t.integer(50, 60), t.integer(6, 7)
    truth = np.where(t.rng.random(count) < 0.6, 0, t.rng.integers(0, classes, count))
    truth[truth == 3] = 0  # a class that does not occur ...
    truth[:2] = [1, 2]
    found = np.where(t.rng.random(count) < 0.6, truth, t.rng.integers(0, classes, count))
    found[2] = 3  # ... but is found
    recall = {c: (found[truth == c] == c).mean() for c in np.unique(truth)}
    precision = [(truth[found == c] == c).mean() for c in np.unique(found)]
    union = [recall.get(c, 0.0) for c in np.unique(np.concatenate([found, truth]))]
    t.check((found, truth), {
        "this is the plain accuracy: frequent classes have more weight":
            float((found == truth).mean()),
        "this is the precision (of those *found* as a class, how many are of it); use the recall: "
        "how many of its own were found": float(np.mean(precision)),
        "a class that never occurs in the truth counts as 0: leave it out": float(np.mean(union)),
        "silence (class 0) is left out; it is a class like the others":
            float(np.mean([v for c, v in recall.items() if c])),
        "this is in percent; return a number from 0 to 1": 100 * balanced_accuracy(found, truth)},
        "the balanced accuracy")
