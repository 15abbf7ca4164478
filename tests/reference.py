"""A second, simple implementation of the mechanism: Python loops over numpy arrays.

It imports nothing from the package. The tests compare the package with it.
"""

import math

import numpy as np


def synchronise(visual, audio, audio_tokens):
    """visual (T_v, V, D_v) and audio (L, D_a) of one clip -> (T, P, D_v + D_a)."""
    num_visual, visual_tokens, visual_width = visual.shape
    steps = max(num_visual, math.ceil(len(audio) / audio_tokens))
    out = np.zeros((steps, max(visual_tokens, audio_tokens), visual_width + audio.shape[1]))
    for t in range(steps):
        for p in range(out.shape[1]):
            if t < num_visual and p < visual_tokens:
                out[t, p, :visual_width] = visual[t, p]
            if p < audio_tokens and t * audio_tokens + p < len(audio):
                out[t, p, visual_width:] = audio[t * audio_tokens + p]
    return out


def split_windows(steps, window_frames):
    """(T, P, D) -> a list of windows (K * P, D), and for each the real frames, (K,) bool."""
    windows, masks = [], []
    for start in range(0, len(steps), window_frames):
        window, mask = [], []
        for t in range(start, start + window_frames):
            mask.append(t < len(steps))
            for p in range(steps.shape[1]):
                window.append(steps[t, p] if t < len(steps) else np.zeros(steps.shape[2]))
        windows.append(np.array(window))
        masks.append(mask)
    return windows, masks


def allowed(name, num_frames, step_tokens):
    """The mask as a double loop over (query, key)."""
    length = num_frames * step_tokens
    mask = np.zeros((length, length), bool)
    for i in range(length):
        for j in range(length):
            query, key = i // step_tokens, j // step_tokens
            mask[i, j] = {"block_causal": key <= query, "block_anticausal": key >= query,
                          "full": True}[name]
    return mask


def diversity(windows):
    """Windows of queries (N, D) -> mean over windows of the mean cosine of different queries."""
    values = []
    for queries in windows:
        pairs = [(i, j) for i in range(len(queries)) for j in range(len(queries)) if i != j]
        cosines = [queries[i] @ queries[j] / np.linalg.norm(queries[i]) / np.linalg.norm(queries[j])
                   for i, j in pairs]
        values.append(sum(cosines) / len(cosines))
    return sum(values) / len(values)


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(x, weights, name):
    rows = [(row - row.mean()) / math.sqrt(row.var() + 1e-12) for row in x]
    return np.array(rows) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(x, memory, allowed, weights, name, heads):
    """BERT's attention sub-layer, one head and one row at a time."""
    q, k = linear(x, weights, f"{name}.self.query"), linear(memory, weights, f"{name}.self.key")
    v = linear(memory, weights, f"{name}.self.value")
    size = q.shape[1] // heads
    attended = np.zeros_like(q)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for i in range(len(q)):
            keys = [j for j in range(len(k)) if allowed[i, j]]
            scores = [q[i, part] @ k[j, part] / math.sqrt(size) for j in keys]
            exponents = [math.exp(s - max(scores)) for s in scores]
            weights_of = [e / sum(exponents) for e in exponents]
            attended[i, part] = sum(w * v[j, part] for w, j in zip(weights_of, keys, strict=True))
    return layer_norm(x + linear(attended, weights, f"{name}.output.dense"), weights,
                      f"{name}.output.LayerNorm")


def gelu(x):
    return np.vectorize(lambda a: 0.5 * a * (1 + math.erf(a / math.sqrt(2))))(x)


def causal_qformer(window, real, weights, *, layers, heads, step_tokens, mask="block_causal"):
    """One window (K * P, D) -> its output queries (N, width), and each layer's encoded inputs.

    `weights` has BERT's names. `real`, (K,) bool: only a padded frame attends to itself.
    """
    num_frames, length = len(real), len(window)
    frame = [i // step_tokens for i in range(length)]
    may = allowed(mask, num_frames, step_tokens)
    for i in range(length):
        for j in range(length):
            may[i, j] &= real[frame[j]] or frame[i] == frame[j]
    inputs = layer_norm(window, weights, "ln_audio_visual") + weights["position_embedding.weight"]
    queries = layer_norm(weights["query_tokens"][0], weights, "bert.embeddings.LayerNorm")
    every = np.ones((len(queries), len(queries)), bool)
    from_queries = np.array([[real[f] for f in frame]] * len(queries))
    encodings = []
    for i in range(layers):
        name = f"bert.encoder.layer.{i}"
        encoded = attention(inputs, inputs, may, weights, f"{name}.causal_attention", heads)
        queries = attention(queries, queries, every, weights, f"{name}.attention", heads)
        queries = attention(queries, encoded, from_queries, weights, f"{name}.crossattention",
                            heads)
        hidden = linear(gelu(linear(queries, weights, f"{name}.intermediate_query.dense")), weights,
                        f"{name}.output_query.dense")
        queries = layer_norm(queries + hidden, weights, f"{name}.output_query.LayerNorm")
        encodings.append(encoded)
    return queries, encodings
