"""The causal Q-Former: compared with a reference, and which frames depend on which."""

import re

import numpy as np
import pytest
import reference
import torch
from transformers import BertConfig, InstructBlipQFormerConfig
from transformers.models.bert.modeling_bert import BertAttention
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerLayer

from favor_mini.language import additive_mask
from favor_mini.losses import diversity_loss
from favor_mini.qformer import CausalQFormer

K, P, D, N, WIDTH, HEADS = 4, 3, 12, 5, 8, 4

# BERT's name -> the name here: weights trained in this structure elsewhere load by renaming alone.
RENAMING = [
    (r"^ln_audio_visual\.", "input_norm."), (r"^position_embedding\.weight$", "positions"),
    (r"^query_tokens$", "queries"), (r"^bert\.embeddings\.LayerNorm\.", "query_norm."),
    (r"^bert\.encoder\.layer\.", "layers."), (r"\.attention\.", ".self_attention."),
    (r"\.crossattention\.", ".cross_attention."), (r"\.self\.(query|key|value)\.", r".\1."),
    (r"\.output\.dense\.", ".output."), (r"\.output\.LayerNorm\.", ".norm."),
    (r"\.intermediate_query\.dense\.", ".feed_forward.intermediate."),
    (r"\.output_query\.dense\.", ".feed_forward.output."),
    (r"\.output_query\.LayerNorm\.", ".feed_forward.norm."),
]


def rename(name):
    for pattern, replacement in RENAMING:
        name = re.sub(pattern, replacement, name)
    return name


def make(mask="block_causal", layers=2, scramble=True, window_frames=K, **changes):
    torch.manual_seed(1)
    sizes = {"input_width": D, "window_frames": window_frames, "step_tokens": P, "num_queries": N,
             "width": WIDTH, "layers": layers, "heads": HEADS, "hidden": 20, "dropout": 0.0,
             **changes}
    qformer = CausalQFormer(attention=mask, **sizes)
    if scramble:
        for parameter in qformer.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return qformer.eval()


def bert_weights(layers=2, seed=3):
    """Random weights under BERT's names."""
    rng = np.random.default_rng(seed)
    shapes = {"position_embedding.weight": (K * P, D), "query_tokens": (1, N, WIDTH)}

    def linear(name, inside, outside):
        shapes.update({f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)})

    def norm(name, width):
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    norm("ln_audio_visual", D)
    norm("bert.embeddings.LayerNorm", WIDTH)
    for i in range(layers):
        layer = f"bert.encoder.layer.{i}"
        for part, width, memory in (("causal_attention", D, D), ("attention", WIDTH, WIDTH),
                                    ("crossattention", WIDTH, D)):
            linear(f"{layer}.{part}.self.query", width, width)
            linear(f"{layer}.{part}.self.key", memory, width)
            linear(f"{layer}.{part}.self.value", memory, width)
            linear(f"{layer}.{part}.output.dense", width, width)
            norm(f"{layer}.{part}.output.LayerNorm", width)
        linear(f"{layer}.intermediate_query.dense", WIDTH, 20)
        linear(f"{layer}.output_query.dense", 20, WIDTH)
        norm(f"{layer}.output_query.LayerNorm", WIDTH)
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def load_bert(qformer, weights):
    state = {rename(k): torch.tensor(v[0] if k == "query_tokens" else v)
             for k, v in weights.items()}
    qformer.load_state_dict(state, strict=True)
    return qformer


@pytest.mark.parametrize("mask", ["block_causal", "block_anticausal", "full"])
def test_equals_the_plain_reference_by_renaming_alone(mask):
    weights = bert_weights()
    qformer = load_bert(make(mask), weights)
    windows = np.random.default_rng(4).normal(size=(3, K * P, D)).astype(np.float32)
    real = np.array([[True] * 4, [True, True, True, False], [True, False, False, False]])
    found, _ = qformer(torch.tensor(windows), torch.tensor(real))
    for w in range(3):
        wanted, _ = reference.causal_qformer(windows[w], real[w], weights, layers=2, heads=HEADS,
                                             step_tokens=P, mask=mask)
        np.testing.assert_allclose(found[w].detach().numpy(), wanted, atol=1e-5)


def test_equals_transformers_own_bert_and_instructblip_layers():
    """Causal attention is BERT's attention sub-layer, the rest InstructBLIP's Q-Former layer."""
    weights = {k: torch.tensor(v) for k, v in bert_weights(layers=1).items()}
    qformer = load_bert(make(layers=1), bert_weights(layers=1))
    prefix = "bert.encoder.layer.0."
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    eager = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
             "attn_implementation": "eager"}
    causal = BertAttention(BertConfig(hidden_size=D, num_attention_heads=HEADS, **eager)).eval()
    causal.load_state_dict({k.removeprefix("causal_attention."): v for k, v in own.items()
                            if k.startswith("causal")})
    layer = InstructBlipQFormerLayer(InstructBlipQFormerConfig(
        hidden_size=WIDTH, intermediate_size=20, num_attention_heads=HEADS, encoder_hidden_size=D,
        **eager), 0).eval()
    names = {k.replace("attention.self.", "attention.attention."): v for k, v in own.items()
             if "causal" not in k}
    missing, unexpected = layer.load_state_dict(names, strict=False)
    # InstructBLIP's text path
    assert not unexpected and all(m.startswith(("intermediate.", "output.")) for m in missing)

    windows = torch.randn(2, K * P, D)
    found, _ = qformer(windows, torch.ones(2, K, dtype=torch.bool))
    mask = torch.tensor(reference.allowed("block_causal", K, P))
    def norm(x, name):
        own = [weights[f"{name}.weight"], weights[f"{name}.bias"]]
        return torch.nn.functional.layer_norm(x, x.shape[-1:], *own, 1e-12)

    inputs = norm(windows, "ln_audio_visual") + weights["position_embedding.weight"]
    encoded = causal(inputs, attention_mask=additive_mask(mask)[None, None])[0]
    queries = norm(weights["query_tokens"], "bert.embeddings.LayerNorm").expand(2, -1, -1)
    wanted = layer(queries, encoder_hidden_states=encoded, query_length=N)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def encodings(qformer, windows):
    """Each layer's encoded inputs (layers, K, P, D), taken from a forward pass."""
    kept = []
    hooks = [layer.causal_attention.register_forward_hook(lambda *call: kept.append(call[-1]))
             for layer in qformer.layers]
    with torch.no_grad():
        qformer(windows, torch.ones(len(windows), K, dtype=torch.bool))
    for hook in hooks:
        hook.remove()
    return torch.stack(kept)[:, 0].unflatten(1, (K, P))


@pytest.mark.parametrize("mask, touched", [
    # the frame itself and later frames depend on it
    ("block_causal", lambda changed: range(changed, K)),
    # the released code's mask: the frame itself and earlier frames
    ("block_anticausal", lambda changed: range(changed + 1)),
    ("full", lambda changed: range(K)),
])
@pytest.mark.parametrize("changed", range(K))
def test_which_frames_depend_on_a_changed_frame_at_every_layer(mask, touched, changed):
    qformer, windows = make(mask, layers=3), torch.randn(1, K * P, D)
    other = windows.clone()
    other.unflatten(1, (K, P))[:, changed] += torch.randn(P, D)
    # [layers, K, P]
    difference = (encodings(qformer, windows) - encodings(qformer, other)).abs().amax(dim=-1)
    for frame in range(K):
        for layer in range(3):
            moved, where = difference[layer, frame], f"frame {frame}, layer {layer}"
            if frame in touched(changed):
                assert (moved > 1e-4).all(), f"{where} should depend on frame {changed}"
            else:
                assert (moved == 0).all(), f"{where} should not depend on frame {changed}"


def test_every_layers_causal_attention_starts_from_the_windows_inputs():
    qformer, windows = make(layers=2), torch.randn(1, K * P, D)
    before = encodings(qformer, windows)
    torch.nn.init.normal_(qformer.layers[0].causal_attention.value.weight)
    after = encodings(qformer, windows)
    assert not torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def test_the_weights_are_the_same_for_every_window_and_windows_do_not_mix():
    qformer, windows = make(), torch.randn(3, K * P, D)
    mask = torch.ones(3, K, dtype=torch.bool)
    together, _ = qformer(windows, mask)
    for w in range(3):
        torch.testing.assert_close(together[w : w + 1], qformer(windows[w : w + 1], mask[:1])[0],
                                   atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together.flip(0), qformer(windows.flip(0), mask)[0], atol=1e-6,
                               rtol=1e-5)


def test_the_content_of_padded_frames_does_not_matter():
    qformer, windows = make(), torch.randn(2, K * P, D)
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    other = windows.clone()
    other.unflatten(1, (K, P))[~mask] = 1e3
    assert torch.equal(qformer(windows, mask)[0], qformer(other, mask)[0])


def test_a_longer_window_with_padding_equals_a_window_as_long_as_the_clip():
    long, short = make(window_frames=7), make(window_frames=K)
    state = long.state_dict()
    short.load_state_dict({**state, "positions": state["positions"][: K * P]})
    windows = torch.randn(1, K * P, D)
    padded = torch.nn.functional.pad(windows, (0, 0, 0, 3 * P))
    mask = torch.arange(7)[None] < K
    torch.testing.assert_close(long(padded, mask)[0], short(windows, mask[:, :K])[0], atol=1e-6,
                               rtol=1e-5)


def test_a_window_without_real_frames_is_finite():
    queries, maps = make()(torch.zeros(1, K * P, D), torch.zeros(1, K, dtype=torch.bool),
                           return_maps=True)
    assert queries.isfinite().all() and all(m.isfinite().all() for m
                                            in (*maps.causal, *maps.self, *maps.cross))


def test_maps_are_zero_where_the_mask_is_false():
    qformer = make()
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    _, maps = qformer(torch.randn(2, K * P, D), mask, return_maps=True)
    assert qformer(torch.randn(2, K * P, D), mask)[1] is None
    assert [len(m) for m in (maps.causal, maps.self, maps.cross)] == [2, 2, 2]
    allowed = torch.tensor(reference.allowed("block_causal", K, P))
    for causal, own, cross in zip(maps.causal, maps.self, maps.cross, strict=True):
        assert causal.shape == (2, HEADS, K * P, K * P) and own.shape == (2, HEADS, N, N)
        assert not causal[:, :, ~allowed].any() and (causal[0][:, allowed] > 0).all()
        assert not cross[1, :, :, 2 * P :].any() and (cross[0] > 0).all()
        torch.testing.assert_close(cross.sum(-1), torch.ones(2, HEADS, N))


def cosine_at_start(with_norm, biases):
    qformer = make(scramble=False, step_tokens=8, input_width=48, width=32, heads=4, hidden=64,
                   num_queries=8)
    if biases:  # torch's own initialisation in place of BERT's
        for module in qformer.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    if not with_norm:
        qformer.query_norm = torch.nn.Identity()
    queries, _ = qformer(torch.randn(6, K * 8, 48), torch.ones(6, K, dtype=torch.bool))
    return diversity_loss(queries).item()


def test_the_layernorm_on_the_queries_keeps_them_apart():
    """What the layers add to all queries, such as biases, is larger than queries of size 0.02."""
    assert cosine_at_start(with_norm=True, biases=False) < 0.3
    assert cosine_at_start(with_norm=True, biases=True) < 0.5
    assert cosine_at_start(with_norm=False, biases=True) > 0.9


def test_a_wrong_window_raises():
    with pytest.raises(ValueError, match="4 frames x 3 tokens = 12 tokens of width 12"):
        make()(torch.zeros(1, 10, D), torch.ones(1, K, dtype=torch.bool))
    with pytest.raises(ValueError, match="no attention 'diagonal'"):
        make(mask="diagonal")
