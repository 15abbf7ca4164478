"""Exercises of notebook 02: patches, sound in chunks, the visual Q-Former with a question, and linear probes."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import InstructBlipQFormerConfig, InstructBlipVisionConfig, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ...encoders import VisualEncoder, encode_audio
from ..exercise import Trial, exercise

NOTEBOOK = "02"


def cut_patches(frames: Tensor, size: int) -> Tensor:
    """torch's `unfold`, with the patches in front of what is in them: (T, 3, H, W) -> (T, patches, 3 * size * size)."""
    return F.unfold(frames, size, stride=size).transpose(1, 2)


@exercise("cut_patches", notebook=NOTEBOOK, answer=cut_patches, difficulty=2, minutes=10,
          goal="Cut every frame into squares of `size` x `size` pixels, as one reads: along the first row of squares from "
               "left to right, then the second. Each square becomes one long row of numbers, all of its red first (row by "
               "row), then green, then blue.",
          shapes="`frames` (T, 3, H, W), H and W multiples of `size` -> (T, H / size * W / size, 3 * size * size)",
          hints=("Split H into (rows of squares, pixels within one), W likewise; then bring the axes into order and flatten.",
                 "`x.unflatten(3, (-1, size)).unflatten(2, (-1, size))` is (T, 3, rows, size, columns, size); "
                 "`permute(0, 2, 4, 1, 3, 5)`, then `flatten(3).flatten(1, 2)`."))
def _(t: Trial):
    size, rows, columns, count = t.number(3, 4), 2, t.number(3, 4), t.number(2, 3)
    frames = t.randn(count, 3, rows * size, columns * size)
    expected = cut_patches(frames, size)
    parts = frames.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # [T, 3, rows, size, columns, size]
    t.same(t.run(frames, size), expected, {
        "the squares are numbered down the columns; number them along the rows, as one reads":
            parts.permute(0, 4, 2, 1, 3, 5).flatten(3).flatten(1, 2),
        "patches and what is in them are swapped: (T, patches, 3 * size * size)": expected.transpose(1, 2),
        "the colours of each pixel stand together; all of the square's red comes first, then green, then blue":
            parts.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2),
        "a plain `reshape` cuts the picture into strips, not into squares: the pixels of a square are not neighbours in memory":
            frames.reshape(expected.shape),
        "pixels within a square are read down its columns": parts.permute(0, 2, 4, 1, 5, 3).flatten(3).flatten(1, 2),
        "rows and columns of squares are still apart; flatten them to one axis of patches":
            parts.permute(0, 2, 4, 1, 3, 5).flatten(3)})


@exercise("encode_audio", notebook=NOTEBOOK, answer=encode_audio, difficulty=2, minutes=8,
          goal="Whisper hears one chunk of a fixed length at a time. A batch of B clips comes as C chunks each. Encode "
               "them all in *one* call, then join each clip's chunks in time.",
          shapes="`encoder` with `encoder(x).last_hidden_state`: (n, mels, 2 * S) -> (n, S, D); `input_features` (B, C, "
                 "mels, 2 * S) -> (B, C * S, D)",
          hints=("The encoder does not care whose chunk it hears: let B and C be one axis on the way in, two on the way out.",
                 "`encoder(x.flatten(0, 1)).last_hidden_state` is (B * C, S, D); `unflatten(0, (B, C))`, then `flatten(1, 2)`."))
def _(t: Trial):
    batch, chunks, mels, length, width = t.number(2, 3), 4, t.number(5, 6), t.number(7, 9), 16
    encoder = WhisperEncoder(WhisperConfig(
        d_model=width, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=8, num_mel_bins=mels,
        max_source_positions=length, init_std=0.3)).eval()
    sound = t.randn(batch, chunks, mels, 2 * length)
    with torch.no_grad():
        apart = encoder(sound.flatten(0, 1)).last_hidden_state.unflatten(0, (batch, chunks))  # [B, C, S, D]
        expected = encode_audio(encoder, sound)
        found = t.run(encoder, sound)
    t.that(isinstance(found, Tensor), "expected a tensor (B, C * S, D); `encoder(...)` returns an object, take its `.last_hidden_state`")
    t.same(found, expected, {
        "the chunks are not joined: (B, C * S, D)": apart,
        "clips and their chunks are still one axis: bring back B": apart.flatten(0, 1),
        "only the first chunk was encoded": apart[:, 0],
        "chunks are averaged; they follow one another in time": apart.mean(1),
        "the chunks are interleaved: first all of the first chunk's tokens, then the second's": apart.transpose(1, 2).flatten(1, 2),
        "the chunks stand side by side along the features; they belong one after another in time":
            apart.transpose(1, 2).flatten(2),
        "clips got one another's chunks: on the way out, split the axis into (B, C), in this order":
            apart.flatten(0, 1).unflatten(0, (chunks, batch)).transpose(0, 1).flatten(1, 2)}, what="what was heard")


query_patches = VisualEncoder.query_patches


@exercise("query_patches", notebook=NOTEBOOK, answer=query_patches, difficulty=4, minutes=18,
          goal="The Q-Former alone: V queries look at a frame's patches and come back as V visual tokens. With a "
               "question, its tokens go into the Q-Former's self-attention *behind* the queries, so that the queries may "
               "take them in; padding of the question must not be seen, and only the V queries are returned. The mask is "
               "over queries and question: queries always count.",
          shapes="`encoder` with `query_tokens` (1, V, D_v) and `qformer`; `patches` (n, patches, D); `question_ids`, "
                 "`question_mask` (n, Q) or None -> (n, V, D_v)",
          hints=("Each frame needs its own copy of the queries (`expand`). Without a question, `input_ids` and `attention_mask` are None.",
                 "`encoder.qformer(input_ids=..., attention_mask=..., query_embeds=queries, encoder_hidden_states=patches).last_hidden_state[:, :V]`; "
                 "the mask is `torch.cat([ones (n, V), question_mask], dim=1)`."))
def _(t: Trial):
    frames, tokens, count, asked = t.number(3, 4), t.number(5, 6), t.number(7, 9), t.number(4, 5)
    qformer = InstructBlipQFormerConfig(
        vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, cross_attention_frequency=1,
        encoder_hidden_size=8, max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.5)
    vision = InstructBlipVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=32,
                                      patch_size=16)
    encoder = VisualEncoder(vision, qformer, tokens).eval()
    with torch.no_grad():
        encoder.query_tokens.copy_(t.randn(1, tokens, 8))
    patches = t.randn(frames, count, 8)
    ids = torch.from_numpy(t.rng.integers(1, 11, (frames, asked)))
    real = torch.arange(asked)[None] < torch.from_numpy(t.rng.integers(1, asked, frames))[:, None]  # padding in each
    with torch.no_grad():
        queries = encoder.query_tokens.expand(frames, -1, -1)

        def inside(mask, question=ids):
            return encoder.qformer(input_ids=question, attention_mask=mask, query_embeds=queries,
                                   encoder_hidden_states=patches).last_hidden_state

        ones = torch.ones(frames, tokens, dtype=torch.long)
        whole = inside(torch.cat([ones, real.long()], 1))
        alone = encoder.query_patches(patches)
        found = t.run(encoder, patches)
        t.that(isinstance(found, Tensor), "expected a tensor (n, V, D_v); the Q-Former returns an object, take its `.last_hidden_state`")
        t.same(found, alone, {
            "the patches were returned, or averaged; the queries are to look at them": patches.mean(1, keepdim=True).expand_as(alone),
            "the queries themselves were returned; they have not looked yet": queries}, what="without a question, the visual tokens")
        found = t.run(encoder, patches, ids, real.long())
        t.that(isinstance(found, Tensor), "with a question, expected a tensor (n, V, D_v)")
        t.same(found, encoder.query_patches(patches, ids, real.long()), {
            "the question has no effect: pass its tokens as `input_ids`": alone,
            "padding of the question is seen: join `question_mask` to the mask": inside(None)[:, :tokens],
            "the question's tokens were returned as well; keep the first V, the queries": whole,
            "the *last* V tokens were returned; the queries stand in front of the question": whole[:, -tokens:],
            "in the mask the question stands before the queries; the queries come first":
                inside(torch.cat([real.long(), ones], 1))[:, :tokens],
            "the mask hides the question whole: real tokens of it count": inside(torch.cat([ones, 0 * real.long()], 1))[:, :tokens],
            "True and False of the question's mask are reversed: real words are hidden, padding is seen":
                inside(torch.cat([ones, (~real).long()], 1))[:, :tokens]}, what="with a question, the visual tokens")


def fit_probe(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """torch's `lstsq`: the weights (D + 1, classes) whose outputs come closest to one-hot labels; the last row is the bias."""
    inputs = F.pad(features.double(), (0, 1), value=1.0)  # [n, D + 1]
    return torch.linalg.lstsq(inputs, F.one_hot(labels, classes).double(), driver="gelsd").solution.float()


@exercise("fit_probe", notebook=NOTEBOOK, answer=fit_probe, difficulty=3, minutes=14,
          goal="A linear probe without a training loop: the weights W whose outputs come closest, in the sum of squares, "
               "to the labels as one-hot rows: all of `([X 1] W - Y) ** 2` together as small as possible. Put the column "
               "of ones *last*, so that the last row of W is the bias.",
          shapes="`features` (n, D) float, `labels` (n,) whole numbers below `classes` -> (D + 1, classes) float",
          hints=("Two lines prepare X and Y; the third is `torch.linalg.lstsq`.",
                 "`F.pad(features, (0, 1), value=1.0)` appends the ones, `F.one_hot(labels, classes)` makes the targets "
                 "(turn them into floats); `torch.linalg.lstsq(X, Y).solution` is W."))
def _(t: Trial):
    count, width, classes = t.number(60, 70), t.number(5, 8), t.number(3, 4)
    features = t.randn(count, width) + 1.5
    labels = torch.from_numpy(t.rng.integers(0, classes, count))
    labels[features[:, 0] > 2] = classes - 1
    expected = fit_probe(features, labels, classes)
    plain, hot = features.double(), F.one_hot(labels, classes).double()
    ones = torch.ones(count, 1, dtype=torch.double)

    def solve(inputs, targets):
        return torch.linalg.lstsq(inputs, targets).solution.float()

    both = torch.cat([plain, ones], 1)
    found = t.run(features, labels, classes)
    t.same(found, expected, {
        "there is no bias: append a column of ones to the features": solve(plain, hot),
        "the ones stand in front; the bias should be the *last* row": solve(torch.cat([ones, plain], 1), hot),
        "the targets are the labels' numbers: class 2 is not twice class 1. Make them one-hot": solve(both, labels.double()[:, None]),
        "classes and features are swapped: (D + 1, classes)": expected.T,
        "the targets are -1 and 1; one-hot is 0 and 1": solve(both, 2 * hot - 1),
        "these are the outputs [X 1] W, not the weights W": (both @ expected.double()).float(),
        "ridge, or a few steps of descent? The weights should be those of least squares, exactly":
            torch.linalg.solve(both.T @ both + torch.eye(width + 1), both.T @ hot).float()}, what="the weights", tolerance=1e-3)


def balanced_accuracy(found, truth) -> float:
    """pandas' `groupby`: the share found right among the examples of each class that occurs, averaged over these classes."""
    found, truth = np.asarray(found), np.asarray(truth)
    return float(pd.Series(found == truth).groupby(truth).mean().mean())


@exercise("balanced_accuracy", notebook=NOTEBOOK, answer=balanced_accuracy, difficulty=2, minutes=8,
          goal="Three quarters of all sound is silence, and somebody who always says \"silence\" is right three times in "
               "four. So count fairly: for each class that occurs in the truth, the share of *its* examples that were "
               "found right; then the mean over these classes.",
          shapes="`found`, `truth` (n,) whole numbers -> one number from 0 to 1",
          hints=("One class at a time: which examples are truly of it, and how many of those were called so?",
                 "`np.mean([(found[truth == c] == c).mean() for c in np.unique(truth)])`."))
def _(t: Trial):
    count, classes = t.number(50, 60), t.number(6, 7)
    truth = np.where(t.rng.random(count) < 0.6, 0, t.rng.integers(0, classes, count))
    truth[truth == 3] = 0  # a class that does not occur ...
    truth[:2] = [1, 2]
    found = np.where(t.rng.random(count) < 0.6, truth, t.rng.integers(0, classes, count))
    found[2] = 3  # ... but is found
    right = {c: (found[truth == c] == c).mean() for c in np.unique(truth)}
    precise = [(truth[found == c] == c).mean() for c in np.unique(found)]
    union = np.mean([right.get(c, 0.0) for c in np.unique(np.concatenate([found, truth]))])
    answered = t.run(found, truth)
    t.same(answered, balanced_accuracy(found, truth), {
        "this is the plain accuracy: frequent classes count for more": float((found == truth).mean()),
        "this asks how many of those *called* a class are of it (precision); ask how many of its own were found": float(np.mean(precise)),
        "a class that never occurs in the truth counts as 0: only those that occur have a share": float(union),
        "silence (class 0) is left out; it is a class like the others": float(np.mean([v for c, v in right.items() if c])),
        "you mean in percent; give a number from 0 to 1": 100 * balanced_accuracy(found, truth)}, what="the balanced accuracy")
