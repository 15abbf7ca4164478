"""The model: which parameters learn, LoRA, saving and loading, Trainer, and the sizes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import mixed_clips, settle, tiny_config, tiny_model
from peft.tuners.lora import LoraLayer
from transformers import LlamaForCausalLM, Trainer, TrainingArguments

from favor_mini import FavorConfig, FavorForConditionalGeneration

QUESTIONS = ["how many shapes were seen?", "what was heard?",
             "what came first, the bell or the drum?"]
ANSWERS = ["2", "the bell", "yes"]


def asked(clips):
    return [QUESTIONS[i % 3] for i in range(len(clips))], [ANSWERS[i % 3] for i
                                                           in range(len(clips))]


# Which parameters learn.

def test_only_the_trained_parameters_change_and_all_of_them_do(processor):
    model = FavorForConditionalGeneration(tiny_config())
    clips = list(mixed_clips().values())
    batch = processor(clips, *asked(clips))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    losses, learned = [], set()
    for _ in range(8):
        out = model(**batch)
        optimizer.zero_grad()
        out.loss.backward()
        learned |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
        losses.append(out.loss.item())
    assert learned == trained
    changed = {name for name, parameter in model.named_parameters()
               if not torch.equal(parameter, before[name])}
    assert changed == trained
    assert losses[-1] < losses[0] - 0.1
    assert {n.split(".")[0] for n in trained} == {"audio_projection", "qformer", "projection",
                                                  "language_model"}
    assert all("lora_" in n for n in trained if n.startswith("language_model."))


def test_the_frozen_encoders_stay_in_evaluation_mode():
    model = FavorForConditionalGeneration(tiny_config()).train()
    assert model.qformer.training and not any(m.training for m in model.audio_encoder.modules())
    assert not any(m.training for m in model.visual_encoder.modules())


@torch.no_grad()
def test_lora_starts_as_the_identity(processor):
    model = FavorForConditionalGeneration(tiny_config()).eval()
    plain = LlamaForCausalLM(model.config.language_config).eval()
    names = {k.replace(".base_layer", ""): v for k, v in model.language_model.state_dict().items()
             if "lora_" not in k}
    plain.load_state_dict(names)
    ids = processor.tokenizer("what was heard?", return_tensors="pt").input_ids
    assert torch.equal(model(ids).logits, plain(ids).logits)
    # q, k, v, o of both layers
    assert sum(isinstance(m, LoraLayer) for m in model.modules()) == 2 * 4


@torch.no_grad()
def test_merged_equals_unmerged(model, processor):
    clips = list(mixed_clips().values())
    batch = processor(clips, asked(clips)[0])
    merged = copy.deepcopy(model)
    for module in merged.modules():
        if isinstance(module, LoraLayer):
            module.merge()
    torch.testing.assert_close(merged(**batch).logits, model(**batch).logits, atol=2e-4, rtol=1e-4)
    ids = batch["input_ids"][:, -5:]
    for module in merged.modules():
        if isinstance(module, LoraLayer):
            module.unmerge()
            torch.nn.init.zeros_(module.lora_B["default"].weight)
    difference = (merged(ids).logits - model(ids).logits).abs().max()
    assert difference > 1e-2, "LoRA should change the logits"


@torch.no_grad()
def test_lora_scales_by_alpha_over_rank(model):
    layer = next(m for m in model.modules() if isinstance(m, LoraLayer))
    x = torch.randn(3, 32)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.testing.assert_close(layer(x), layer.base_layer(x) + 4 / 2 * x @ a.T @ b.T, atol=1e-5,
                               rtol=1e-5)


def test_reset_trained_initialises_and_leaves_the_frozen_parts():
    model, again = tiny_model(1), tiny_model(1)
    model.reset_trained(seed=5)
    again.reset_trained(seed=5)
    other = tiny_model(1)
    for (name, new), old, same in zip(model.named_parameters(), other.parameters(),
                                      again.parameters(), strict=True):
        assert torch.equal(new, same) and torch.equal(new, old) != new.requires_grad, name
    assert not any(p.any() for n, p in model.named_parameters() if "lora_B" in n)


# Saved, in bfloat16, trained by Trainer, other sizes.

@torch.no_grad()
def test_saved_and_loaded_gives_the_same_logits_bit_for_bit(processor, tmp_path):
    model = settle(tiny_model(3))
    model.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors"]
    loaded, info = FavorForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert {n: p.requires_grad for n, p in loaded.named_parameters()} == \
        {n: p.requires_grad for n, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name)), name
    language = loaded.language_model
    head, words = language.get_output_embeddings(), language.get_input_embeddings()
    assert head.weight is words.weight  # tied before, tied again
    clips = list(mixed_clips().values())
    questions, answers = asked(clips)
    training, batch = processor(clips, questions, answers), processor(clips, questions)
    settle(loaded)
    assert torch.equal(model(**training).logits, loaded(**training).logits)
    assert torch.equal(model.generate(**batch), loaded.generate(**batch))


def test_the_config_survives_a_round_trip(tmp_path):
    config = tiny_config(attention="full", diversity_weight=0.25, question_conditioning=True,
                         lora_targets="q_proj")
    config.save_pretrained(tmp_path)
    loaded = FavorConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    for part in ("audio_config", "vision_config", "visual_qformer_config", "language_config"):
        assert type(getattr(loaded, part)) is type(getattr(config, part))
        assert getattr(loaded, part).to_dict() == getattr(config, part).to_dict()
    assert FavorConfig(**config.to_dict()).to_dict() == config.to_dict()


@torch.no_grad()
def test_runs_in_bfloat16(model, processor):
    clips = list(mixed_clips().values())
    batch = processor(clips, *asked(clips))
    wanted = model(**batch, return_maps=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(**batch, return_maps=True)
    half = copy.deepcopy(model).to(torch.bfloat16)(**batch)
    for other in (found, half):
        assert other.loss.isfinite() and other.loss.item() == pytest.approx(wanted.loss.item(),
                                                                            rel=0.1)
        likeness = F.cosine_similarity(other.queries[wanted.window_mask].float().flatten(1),
                                       wanted.queries[wanted.window_mask].flatten(1))
        assert likeness.min() > 0.97
    assert found.maps.causal[0].isfinite().all()


def test_trains_with_transformers_trainer(processor, tmp_path):
    model = FavorForConditionalGeneration(tiny_config())
    clips = [processor.media(clip) for clip in mixed_clips().values()]
    data = [{**m, "turns": [(QUESTIONS[i % 3], ANSWERS[i % 3])]} for i, m in enumerate(clips)]
    arguments = TrainingArguments(str(tmp_path), max_steps=4, per_device_train_batch_size=4,
                                  gradient_accumulation_steps=2,
                                  learning_rate=1e-2, logging_steps=1, report_to=[],
                                  remove_unused_columns=False, bf16=True,
                                  use_cpu=True, save_strategy="no", disable_tqdm=True,
                                  dataloader_pin_memory=False)
    trainer = Trainer(model=model, args=arguments, train_dataset=data,
                      data_collator=processor.collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    with torch.no_grad():
        start = model(**processor.collate(data)).loss.item()
    uniform = torch.tensor(float(model.config.language_config.vocab_size)).log()
    assert losses[-1] < losses[0] < 1.5 * uniform
    assert start < losses[0]


def test_the_papers_sizes():
    with torch.device("meta"):
        model = FavorForConditionalGeneration(FavorConfig.paper())
    def millions(module):
        return sum(p.numel() for p in module.parameters()) / 1e6

    visual = model.visual_encoder
    assert millions(model.audio_encoder) == pytest.approx(637, rel=0.01)  # Whisper large-v2
    assert millions(visual.vision_model) == pytest.approx(986, rel=0.01)
    assert millions(visual.qformer) == pytest.approx(186, rel=0.02)
    lora = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n) / 1e6
    assert lora == pytest.approx(32 * 4 * 2 * 4096 * 32 / 1e6)
    assert millions(model.language_model) - lora == pytest.approx(6738, rel=0.001)  # Vicuna 7B
    qformer = model.qformer
    assert qformer.positions.shape == (10 * 32, 1536) and qformer.queries.shape == (32, 768)
    assert model.projection.weight.shape == (4096, 768)
    assert model.audio_projection.weight.shape == (768, 1280)
    layers = model.qformer.layers
    assert len(layers) == 2 and {b.heads for b
                                 in (layers[0].causal_attention, layers[0].cross_attention)} == {12}
    assert layers[0].cross_attention.key.weight.shape == (768, 1536)
    windows = torch.empty(24, 320, 1536, device="meta")  # two minutes of video
    with torch.device("meta"):
        encoded = layers[0].encode(windows, torch.empty(1, 1, 320, 320, dtype=torch.bool))
    assert encoded.shape == windows.shape


def test_the_mini_models_names_and_sizes():
    """Checkpoints depend on these."""
    with torch.device("meta"):
        model = FavorForConditionalGeneration(FavorConfig.mini(200))
    assert [n for n, _ in model.named_children()] == ["audio_encoder", "visual_encoder",
                                                      "audio_projection", "qformer",
                                                      "language_model", "projection"]
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if n.startswith("qformer.")}
    layer = {**{f"causal_attention.{n}": (256, 256) for n in ("query", "key", "value", "output")},
             "causal_attention.norm": 256,
             **{f"self_attention.{n}": (256, 256) for n in ("query", "key", "value", "output")},
             "self_attention.norm": 256,
             "cross_attention.query": (256, 256), "cross_attention.key": (256, 256),
             "cross_attention.value": (256, 256),
             "cross_attention.output": (256, 256), "cross_attention.norm": 256,
             "feed_forward.intermediate": (1024, 256),
             "feed_forward.output": (256, 1024), "feed_forward.norm": 256}
    wanted = {"qformer.positions": (250, 256), "qformer.queries": (16, 256)}
    for name, shape in {"input_norm": 256, "query_norm": 256,
                        **{f"layers.{i}.{n}": s for i in range(2)
                           for n, s in layer.items()}}.items():
        shape = shape if isinstance(shape, tuple) else (shape,)
        wanted |= {f"qformer.{name}.weight": shape, f"qformer.{name}.bias": shape[:1]}
    assert shapes == wanted
