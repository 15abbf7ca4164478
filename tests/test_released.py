"""The authors' weights: a reference of the released structure against the converted connector."""

import copy
import math
import pickle

import pytest
import torch
from conftest import scramble, tiny_config
from test_from_parts import parts  # noqa: F401
from torch import nn
from transformers import Blip2QFormerConfig
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertAttention
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerLayer

from favor_mini import FavorConfig, FavorForConditionalGeneration, FavorProcessor, load_learned
from favor_mini.apps import cli
from favor_mini.learned import learned_weights, read_learned
from favor_mini.released import SETTINGS, convert, convert_file, read_released, released_config

V, A, N, K = 3, 5, 3, 4  # tokens of a frame, of half a step of sound, queries, frames of a window
VISUAL, AUDIO, WIDTH, LLM, RANK = 12, 16, 12, 32, 2
JOINT, STEP = 2 * VISUAL, max(V, A)


class Reference(nn.Module):
    """The released structure at a small size, from transformers' layers for the Q-Former."""

    def __init__(self):
        super().__init__()
        sizes = {"num_attention_heads": 2, "hidden_dropout_prob": 0.0,
                 "attention_probs_dropout_prob": 0.0, "intermediate_size": 24,
                 "attn_implementation": "eager"}
        wide = BertConfig(hidden_size=JOINT, **sizes)
        narrow = Blip2QFormerConfig(hidden_size=WIDTH, encoder_hidden_size=JOINT,
                                    cross_attention_frequency=1, **sizes)
        self.speech_pre_qformer_proj = nn.Linear(AUDIO, VISUAL)
        self.ln_video = nn.LayerNorm(JOINT)
        self.video_frame_position_embedding = nn.Embedding(4096, JOINT)
        self.video_query_tokens = nn.Parameter(torch.zeros(1, N, WIDTH))
        self.query_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.causal = nn.ModuleList(BertAttention(wide) for _ in range(2))
        self.layers = nn.ModuleList(Blip2QFormerLayer(narrow, 0) for _ in range(2))
        self.llama_proj = nn.Linear(WIDTH, LLM)

    def forward(self, visual, audio):
        """visual [B, T, V, VISUAL], audio [B, T * A, AUDIO] to vectors [B, windows * N, LLM]."""
        batch, frames = visual.shape[:2]
        sound = self.speech_pre_qformer_proj(audio).view(batch, frames, A, VISUAL)
        pictures = torch.cat([visual, visual.new_zeros(batch, frames, STEP - V, VISUAL)], 2)
        steps = torch.cat([pictures, sound], -1).flatten(1, 2)  # [B, T * STEP, JOINT]
        missing = -frames % K * STEP
        seen = torch.ones(steps.shape[:2])
        steps = torch.cat([steps, steps.new_zeros(batch, missing, JOINT)], 1)
        seen = torch.cat([seen, seen.new_zeros(batch, missing)], 1)
        steps = steps.reshape(-1, K * STEP, JOINT)
        seen = seen.reshape(-1, 1, 1, K * STEP)
        inputs = self.ln_video(steps) + self.video_frame_position_embedding.weight[: K * STEP]
        later = torch.ones(K, K).triu().kron(torch.ones(STEP, STEP))  # own frame and later ones
        lowest = torch.finfo(torch.float32).min
        queries = self.query_norm(self.video_query_tokens).expand(len(steps), -1, -1)
        for causal, layer in zip(self.causal, self.layers, strict=True):
            encoded = causal(inputs, attention_mask=((1 - later) * lowest)[None, None])[0]
            queries = layer(queries, encoder_hidden_states=encoded,
                            encoder_attention_mask=(1 - seen) * lowest, query_length=N)
            queries = queries[0] if isinstance(queries, tuple) else queries
        return self.llama_proj(queries).reshape(batch, -1, LLM)

    def released(self):
        """The state dict in the released names, with LoRA for two layers of a language model."""
        found = {}
        for name, tensor in self.state_dict().items():
            if name.startswith(("causal.", "layers.")):
                kind, layer, rest = name.split(".", 2)
                if rest.startswith(("intermediate.", "output.")) and kind == "layers":
                    continue  # the feed-forward network of texts, which the queries do not pass
                rest = rest.replace("attention.attention.", "attention.self.")
                rest = f"encoder_causal_attention.{rest}" if kind == "causal" else rest
                name = f"video_Qformer.bert.encoder.layer.{layer}.{rest}"
            found[name.replace("query_norm.", "video_Qformer.bert.embeddings.LayerNorm.")] = tensor
        head = LLM // 4
        for layer in range(2):
            for part, out in (("q", LLM), ("k", 2 * head), ("v", 2 * head), ("o", LLM)):
                name = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{part}_proj."
                found[f"{name}lora_A.default.weight"] = torch.randn(RANK, LLM)
                found[f"{name}lora_B.default.weight"] = torch.randn(out, RANK)
        return found


CONNECTOR = {"audio_width": VISUAL, "qformer_width": WIDTH, "qformer_heads": 2,
             "question_conditioning": True, "attention": "block_anticausal"}


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return scramble(Reference())


@pytest.fixture
def state(reference):
    torch.manual_seed(1)
    return reference.released()


@pytest.fixture(scope="module")
def config():
    return tiny_config(**CONNECTOR)


@pytest.fixture
def outputs(reference, state, config):
    """Vectors for the language model [B, windows, N, LLM], theirs and ours, in float64: two full
    windows, and one frame in a third. `theirs` takes the eps of their LayerNorm of the inputs."""
    model = FavorForConditionalGeneration(config).eval()
    missing = model.load_state_dict(convert(state, config), strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys).isdisjoint(
        learned_weights(model))
    frames = 2 * K + 1
    visual, audio = (torch.randn(2, frames, V, VISUAL).double(),
                     torch.randn(2, frames * A, AUDIO).double())
    real = torch.ones(2, frames).bool(), torch.ones(2, frames * A).bool()

    @torch.no_grad()
    def theirs(eps=1e-5):
        copied = copy.deepcopy(reference).double()
        copied.ln_video.eps = eps
        return copied(visual, audio).unflatten(1, (3, N))

    with torch.no_grad():
        queries, windows, _ = model.double().connect(visual, audio, *real)
        assert windows.all()
        return theirs, model.projection(queries)


def test_a_converted_connector_computes_what_the_released_structure_does(outputs):
    theirs, ours = outputs
    torch.testing.assert_close(ours[:, :2], theirs(1e-12)[:, :2], atol=1e-9, rtol=0)


def test_what_the_card_says_about_differences_is_so(outputs):
    theirs, ours = outputs
    different = (ours - theirs()).abs().amax(dim=(0, 2, 3))  # of each window
    assert 0 < different[:2].max() < 1e-4 * theirs().abs().mean()  # eps of the LayerNorm
    assert different[2] > 1e-2  # they attend to the padding of the last window


def test_lora_is_the_released_one(state, config):
    model = FavorForConditionalGeneration(config)
    model.load_state_dict(convert(state, config), strict=False)
    theirs = "llama_model.base_model.model.model.layers.1.self_attn.v_proj.lora_{}.default.weight"
    layer = model.language_model.model.layers[1].self_attn.v_proj
    x = torch.randn(5, LLM)
    change = x @ state[theirs.format("A")].T @ state[theirs.format("B")].T
    scale = config.lora_alpha / config.lora_rank
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x) - layer.get_base_layer()(x), scale * change)


@pytest.mark.parametrize("change, told", [
    (lambda s: s.pop("ln_video.bias"), "without ln_video.bias"),
    (lambda s: s.update({"llama_proj2.weight": torch.ones(2)}), "llama_proj2.weight"),
    (lambda s: s.update({"visual_encoder.cls_token": torch.ones(2)}), "visual_encoder.cls_token"),
    (lambda s: s.update({"llama_proj.bias": torch.ones(31)}),
     r"llama_proj.bias \(31,\) \(expected \(32,\)\)"),
    (lambda s: s.update({"speech_query_tokens": torch.ones(1, N, WIDTH)}), "separate Q-Formers"),
    (lambda s: s.update({"joint_Qformer.bert.embeddings.LayerNorm.weight": torch.ones(9)}),
     "separate Q-Formers")])
def test_what_does_not_fit_is_refused_by_name(state, config, change, told):
    change(state)
    with pytest.raises(ValueError, match=told):
        convert(state, config)


def test_copies_of_shared_modules_and_computed_buffers_are_no_leftovers(state, config):
    wanted = convert(dict(state), config)
    state["speech_query_tokens"] = state["video_query_tokens"]
    state["ln_joint.weight"] = state["ln_video.weight"]
    state["Qformer.bert.embeddings.position_ids"] = torch.arange(4)
    state["llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"] = \
        torch.ones(4)
    found = convert(state, config)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)


class Attack:
    def __reduce__(self):
        return print, ("this code ran",)


def test_a_file_is_read_without_running_code(tmp_path, capsys):
    hostile, text, number = (tmp_path / name for name in ("hostile.pt", "text.pt", "number.pt"))
    torch.save({"ln_video.weight": Attack()}, hostile)
    text.write_text("<html>too many requests</html>")
    torch.save({"step": 3}, number)
    for file in (hostile, text):
        with pytest.raises(ValueError, match="cannot be read as weights"):
            read_released(file)
    with pytest.raises(ValueError, match="expected a dictionary of tensors"):
        read_released(number)
    with pytest.raises(FileNotFoundError):
        read_released(tmp_path / "gone.pt")
    pickle.loads(pickle.dumps(Attack()))
    assert capsys.readouterr().out == "this code ran\n"  # by the line above alone


@pytest.mark.parametrize("width, layers, heads", [(4096, 32, 32), (5120, 40, 40)])
def test_the_config_of_a_released_file_is_the_papers(width, layers, heads):
    config = released_config({"llama_proj.weight": torch.empty(width, 768, device="meta")})
    language, paper = config.language_config, FavorConfig.paper()
    assert (language.hidden_size, language.num_hidden_layers, language.num_key_value_heads,
            language.head_dim) == (width, layers, heads, 128)
    for name in ("window_frames", "num_queries", "qformer_width", "lora_rank", "lora_alpha"):
        assert getattr(config, name) == getattr(paper, name)
    assert config.attention == SETTINGS["attention"] == "block_anticausal"
    with pytest.raises(ValueError, match="expected 4096"):
        released_config({"llama_proj.weight": torch.empty(2048, 768)})


def test_the_command_writes_connector_and_lora_with_a_card(state, config, tmp_path, monkeypatch,
                                                           capsys):
    file, out = tmp_path / "pytorch_model_1_101.pt", tmp_path / "out"
    torch.save({name: tensor.half() for name, tensor in state.items()}, file)
    monkeypatch.setattr("favor_mini.released.released_config", lambda state: config)
    assert cli.main(["convert", str(file), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert str(out) in told and "padded frames" in told and "1e-5" in told
    model = FavorForConditionalGeneration(config)
    with pytest.raises(ValueError, match="does not say which frozen weights"):
        load_learned(model, out)
    load_learned(model, out, any_frozen=True)
    wanted = convert({n: t.half() for n, t in state.items()}, config)
    assert all(torch.equal(t, wanted[n]) for n, t in learned_weights(model).items())
    assert "padded frames" in (out / "README.md").read_text(encoding="utf-8")
    assert cli.main(["convert", str(file), "--out", str(out)]) == 1  # nothing is overwritten
    assert "is not empty" in capsys.readouterr().err
    assert cli.main(["convert", str(file), "--out", str(tmp_path / "b"), "--audio", "a"]) == 1
    assert "--vision and --language" in capsys.readouterr().err


def test_with_the_frozen_parts_it_is_a_whole_model(parts, state, tmp_path):  # noqa: F811
    file, out = tmp_path / "released.pt", tmp_path / "out"
    torch.save(state, file)
    sizes = {"frame_rate": 10.0, "window_frames": K, "num_queries": N, "lora_rank": RANK,
             "placeholder_id": 6}
    convert_file(file, out, **parts[0], **sizes)
    model = FavorForConditionalGeneration.from_pretrained(out)
    assert torch.equal(model.qformer.queries, state["video_query_tokens"][0])
    assert torch.equal(model.projection.bias, state["llama_proj.bias"])
    assert model.config.attention == "block_anticausal"
    frozen = parts[1]["language"].model.layers[0].mlp.up_proj.weight
    assert torch.equal(model.language_model.model.layers[0].mlp.up_proj.weight, frozen)
    assert math.isfinite(FavorProcessor.from_pretrained(out).longest_clip)
    with pytest.raises(OSError, match="holds no learned.safetensors"):
        read_learned(out)
