"""Language models of every family inside FAVOR, tiny and random: joined, trained, saved, asked."""

import json

import pytest
import torch
from conftest import scramble, settle, tiny_clip
from test_from_parts import parts  # noqa: F401 (a fixture)
from tiny_tokenizers import make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from favor_mini import FavorConfig, FavorForConditionalGeneration, FavorProcessor
from favor_mini.language import add_lora, attention_inputs, embedding_width, lora_modules
from favor_mini.world.naming import Naming, collate_names
from favor_mini.world.tokenizer import build_tokenizer

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 160,
         "num_attention_heads": 4, "max_position_embeddings": 128, "pad_token_id": 0,
         "bos_token_id": 2, "eos_token_id": 3}
GROUPED = {**SIZES, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 8}
OPT = {**{k: v for k, v in SIZES.items() if k != "intermediate_size"}, "ffn_dim": 48}
QKVO = {"q_proj", "k_proj", "v_proj", "o_proj"}
FAMILIES = {  # config, LoRA's modules in each layer
    "llama": (LlamaConfig(**GROUPED), QKVO),
    "qwen2": (Qwen2Config(**GROUPED), QKVO),
    "qwen3": (Qwen3Config(**HEADS), QKVO),
    "gemma2": (Gemma2Config(**HEADS, sliding_window=4), QKVO),
    "gemma3": (Gemma3TextConfig(**HEADS, sliding_window=4, sliding_window_pattern=2), QKVO),
    "phi3": (Phi3Config(**GROUPED, sliding_window=6), {"qkv_proj", "o_proj"}),
    "opt": (OPTConfig(**OPT, word_embed_proj_dim=16), {"q_proj", "k_proj", "v_proj", "out_proj"}),
    "gpt2": (GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, vocab_size=160,
                        bos_token_id=2, eos_token_id=3, pad_token_id=0), {"c_attn", "c_proj"}),
    "gpt_neox": (GPTNeoXConfig(**SIZES), {"query_key_value", "dense"}),
}
JOIN = {"frame_rate": 10.0, "window_frames": 4, "num_queries": 3, "lora_rank": 2}


def save_language(folder, config, tokenizer=None):
    model = scramble(AutoModelForCausalLM.from_config(config), std=0.2)
    model.save_pretrained(folder)
    (tokenizer or build_tokenizer()).save_pretrained(folder)
    return str(folder)


def join(parts, folder, config, tokenizer=None, prompt="vicuna", **changes):  # noqa: F811
    folders = {**parts[0], "language": save_language(folder, config, tokenizer)}
    model = FavorForConditionalGeneration.from_parts(
        **folders, **{**JOIN, "question_conditioning": False, **changes})
    return model, FavorProcessor.from_parts(model.config, **folders, prompt=prompt)


def batch_of(processor, answers=("two", "bell")):
    return processor([tiny_clip(4, 0.4), tiny_clip(9, 0.9, 1)], ["how many?", "what was heard?"],
                     answers and list(answers))


@pytest.mark.parametrize("family", FAMILIES)
def test_joined_trained_saved_loaded_asked(parts, tmp_path, family):  # noqa: F811
    config, kinds = FAMILIES[family]
    model, processor = join(parts, tmp_path / "language", config)
    hit = model.lora_modules()
    assert {name.split(".")[-1] for name in hit} == kinds and len(hit) == 2 * len(kinds)
    assert not any("mlp" in name for name in hit)
    assert f"LoRA of rank 2 on {len(hit)} modules" in str(model) and max(kinds) in str(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = batch_of(processor)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(3):
        losses.append(model(**batch).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[2] < losses[0]
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert {name.split(".")[0] for name in moved} <= {"audio_projection", "qformer", "projection",
                                                      "language_model"}
    adapters = {name.split(".lora_")[0] for name in moved if name.startswith("language_model")}
    assert adapters == {f"language_model.{name}" for name in hit}
    model.save_pretrained(tmp_path / "joined")
    loaded = FavorForConditionalGeneration.from_pretrained(tmp_path / "joined")
    saved = json.loads((tmp_path / "joined" / "config.json").read_text(encoding="utf-8"))
    assert saved["lora_targets"] == model.config.lora_targets and loaded.lora_modules() == hit
    with torch.no_grad():
        assert settle(model)(**batch).logits.equal(settle(loaded)(**batch).logits)
    asked = batch_of(processor, None)
    written = model.generate(**asked, max_new_tokens=6)
    assert written.equal(loaded.generate(**asked, max_new_tokens=6))
    # A clip alone is answered as among longer ones, whose prompts it is padded to on the left.
    alone = processor([tiny_clip(4, 0.4)], ["how many?"])
    length = model.generate(**alone, max_new_tokens=6).shape[1]
    assert model.generate(**alone, max_new_tokens=6)[0].equal(written[0, :length])


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_turns_and_padding_change_nothing(family):
    config = FavorConfig(language_config=FAMILIES[family][0], lora_rank=2)
    model = scramble(AutoModelForCausalLM.from_config(config.language_config), std=0.2)
    add_lora(model, config)
    scramble(model, 1, 0.2)

    def logits(embeds, attention_mask=None, turn_ids=None):
        return model(inputs_embeds=embeds, use_cache=False,
                     **attention_inputs(model, embeds, attention_mask, turn_ids)).logits

    clip, one, two, noise = (torch.randn(1, n, embedding_width(config)) for n in (4, 3, 5, 3))
    turn_ids = torch.tensor([[0] * 4 + [1] * 3 + [2] * 5])
    together = logits(torch.cat([clip, one, two], 1), turn_ids=turn_ids)
    options = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(together[:, :7], logits(torch.cat([clip, one], 1)), **options)
    torch.testing.assert_close(together[:, 7:], logits(torch.cat([clip, two], 1))[:, 4:], **options)
    mask = torch.tensor([[0] * 3 + [1] * 7])
    torch.testing.assert_close(logits(torch.cat([noise, clip, one], 1), mask)[:, 3:],
                               together[:, :7], **options)


def test_a_family_that_cannot_isolate_turns_refuses():
    model = AutoModelForCausalLM.from_config(
        BloomConfig(hidden_size=32, n_layer=1, n_head=4, vocab_size=60))
    embeds, turn_ids = torch.randn(1, 3, 32), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="a bloom, takes no mask and positions that isolate"):
        attention_inputs(model, embeds, None, turn_ids)
    assert "position_ids" not in attention_inputs(model, embeds, None, None)


# LoRA's modules.

def adapted(family, targets):
    config = FavorConfig(language_config=FAMILIES[family][0], lora_rank=2, lora_targets=targets)
    model = AutoModelForCausalLM.from_config(config.language_config)
    add_lora(model, config)
    return sorted({name.split(".")[-1] for name in lora_modules(model)})


@pytest.mark.parametrize(("family", "targets", "match"), [
    ("phi3", r".*\.(q|k|v|o)_proj", r"self_attn.o_proj \(2\) in 2 of 2.*out self_attn.qkv_proj"),
    ("opt", r".*\.(q|k|v|o)_proj", r"it leaves out self_attn.out_proj \(2\).*lora_targets out"),
    ("gpt2", r".*\.(q|k|v|o)_proj", r"matches none in 0 of 2.*\(attn.c_attn\|attn.c_proj\)'"),
    ("llama", r".*layers\.0\..*_proj", r"in 1 of 2 layers.*leaves out self_attn.q_proj \(1\)"),
    ("llama", r".*\.[qv]_proj", r"leaves out self_attn.k_proj.*list of names"),
    ("llama", "*_proj", "no regular expression: nothing to repeat"),
    ("gpt_neox", ["dense", "q_proj"], r"\['q_proj'\] match no module.*query_key_value"),
])
def test_an_incomplete_hit_raises_and_leaves_the_model_as_it_was(family, targets, match):
    config = FavorConfig(language_config=FAMILIES[family][0], lora_rank=2, lora_targets=targets)
    model = AutoModelForCausalLM.from_config(config.language_config)
    names = set(model.state_dict())
    with pytest.raises(ValueError, match=match):
        add_lora(model, config)
    assert set(model.state_dict()) == names


def test_an_unknown_architecture_names_its_modules():
    config = FavorConfig(language_config=MambaConfig(
        hidden_size=16, num_hidden_layers=1, vocab_size=20), lora_rank=2)
    with pytest.raises(ValueError, match=r"a mamba, has mixer.in_proj \(1\)"):
        add_lora(AutoModelForCausalLM.from_config(config.language_config), config)


def test_own_targets():
    assert adapted("llama", r".*\.(q|k|v|o|up)_proj") == ["k_proj", "o_proj", "q_proj", "up_proj",
                                                         "v_proj"]
    assert adapted("llama", ["q_proj", "v_proj"]) == ["q_proj", "v_proj"]
    assert adapted("opt", None) == ["k_proj", "out_proj", "q_proj", "v_proj"]


# The vocabulary and the end of an answer.

def test_a_padded_vocabulary_has_room_for_the_placeholder(parts, tmp_path):  # noqa: F811
    """Qwen2 has more embeddings than tokens: the placeholder is the tokenizer's next token."""
    plain = make_tokenizer("bytes", "chatml", placeholder=False, pad_token="<|endoftext|>")
    rows = len(plain) + 40
    model, processor = join(parts, tmp_path, Qwen2Config(**{**GROUPED, "vocab_size": rows}), plain,
                            prompt="chat")
    assert model.config.placeholder_id == len(plain)
    assert processor.tokenizer.convert_tokens_to_ids("<av>") == len(plain)
    assert model.language_model.get_input_embeddings().num_embeddings == rows
    assert model(**batch_of(processor)).loss.isfinite()
    media = {**processor.media(tiny_clip(4)), "words": [[5], [6], [7, 8]]}
    assert Naming(model)(**collate_names(processor, [media]))["loss"].isfinite()
    full, _ = join(parts, tmp_path / "full", Qwen2Config(**{**GROUPED, "vocab_size": len(plain)}),
                   plain)
    assert full.language_model.get_input_embeddings().num_embeddings == len(plain) + 1


@pytest.mark.parametrize("prompt", ["chat", "vicuna"])
def test_an_answer_ends_at_the_end_of_the_turn(parts, tmp_path, prompt):  # noqa: F811
    """The config names </s> alone; the chat template ends a turn with another token."""
    tokenizer = make_tokenizer("bytes", "chatml")
    config = LlamaConfig(**{**GROUPED, "vocab_size": len(tokenizer), "eos_token_id": 1})
    model, processor = join(parts, tmp_path / "language", config, tokenizer, prompt)
    ends = [1, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert processor.form.end_id == ends[prompt == "chat"]
    model.save_pretrained(tmp_path / "joined")
    for each in (model, FavorForConditionalGeneration.from_pretrained(tmp_path / "joined")):
        assert each.language_model.generation_config.eos_token_id == ends
        # A head that writes the end of the turn at once.
        torch.nn.init.zeros_(each.language_model.lm_head.weight)
        forced = each.generate(torch.tensor([[5, 6]]), max_new_tokens=5,
                               forced_bos_token_id=None, suppress_tokens=list(range(ends[1])))
        assert forced.tolist() == [[ends[1]]]


def test_a_folder_without_a_tokenizer_says_so(parts, tmp_path):  # noqa: F811
    AutoModelForCausalLM.from_config(FAMILIES["gpt2"][0]).save_pretrained(tmp_path)
    folders = {**parts[0], "language": str(tmp_path)}
    with pytest.raises(OSError, match="no tokenizer that can be loaded.*pass placeholder_id"):
        FavorForConditionalGeneration.from_parts(**folders, **JOIN)


# Number formats, devices and memory.

def test_gradient_checkpointing_changes_no_gradient(parts, tmp_path):  # noqa: F811
    model, processor = join(parts, tmp_path, FAMILIES["qwen3"][0], lora_dropout=0.0,
                            qformer_dropout=0.0)
    scramble(model, std=0.2).train()
    batch, found = batch_of(processor), []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        model.zero_grad()
        runs = []
        hook = model.language_model.get_decoder().layers[0].input_layernorm.register_forward_hook(
            lambda *_, runs=runs: runs.append(1))
        model(**batch).loss.backward()
        hook.remove()
        assert len(runs) == 1 + checkpointing  # computed again on the way back
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5, msg=name)
    assert all(g.abs().sum() > 0 for n, g in found[1].items() if "lora_" in n)


def test_a_device_map_is_kept(parts, tmp_path):  # noqa: F811
    model, processor = join(parts, tmp_path, FAMILIES["llama"][0], device_map="cpu")
    batch = batch_of(processor)
    with torch.no_grad():
        wanted = settle(model)(**batch).logits
    model.save_pretrained(tmp_path / "joined")
    for device_map in ("auto", {"": "cpu"}):
        loaded = FavorForConditionalGeneration.from_pretrained(tmp_path / "joined",
                                                               device_map=device_map)
        with torch.no_grad():
            assert settle(loaded)(**batch).logits.equal(wanted)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_four_bits_are_saved_and_loaded(parts, tmp_path, family):  # noqa: F811
    bitsandbytes = pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                              bnb_4bit_use_double_quant=True)
    config = {"llama": LlamaConfig(**{**GROUPED, "hidden_size": 64, "intermediate_size": 128}),
              "gpt2": GPT2Config(**{**FAMILIES["gpt2"][0].to_dict(), "n_embd": 64})}[family]
    model, processor = join(parts, tmp_path, config, quantization_config=four)
    scramble_learners(model)
    batch, linear = batch_of(processor), bitsandbytes.nn.Linear4bit
    model(**batch).loss.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora_B" in n)
    quantized = {n for n, m in model.named_modules() if isinstance(m, linear)}
    assert quantized and all(name.startswith("language_model.") for name in quantized)
    model.save_pretrained(tmp_path / "joined")
    for _ in range(2):  # and a loaded one is saved again
        loaded = FavorForConditionalGeneration.from_pretrained(tmp_path / "joined")
        assert {n for n, m in loaded.named_modules() if isinstance(m, linear)} == quantized
        with torch.no_grad():
            assert model.eval()(**batch).logits.equal(loaded(**batch).logits)
        assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
            n for n, p in model.named_parameters() if p.requires_grad}
        loaded.save_pretrained(tmp_path / "joined")


def scramble_learners(model):
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
