"""`favor-mini join`: parts in folders become a checkpoint, whole or not at all."""

import json
import platform

import numpy as np
import pytest
import torch
from conftest import settle, tiny_clip
from tiny_parts import write_parts

from favor_mini import FavorConfig, FavorForConditionalGeneration, data_path
from favor_mini.apps import cli, join
from favor_mini.apps.ask import Asker
from favor_mini.apps.bench import bench
from favor_mini.apps.settings import BenchSettings
from favor_mini.evaluation.checkpoint import load_checkpoint
from favor_mini.storage import atomic_write

SIZES = ["--visual-tokens", "4", "--frame-rate", "10", "--window-frames", "4", "--num-queries", "3"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A tokenizer that does not know `<av>`, as those of the hub."""
    folder = tmp_path_factory.mktemp("parts")
    folders, _ = write_parts(folder, audio="wav2vec2", vision="siglip")
    file = folder / "language" / "tokenizer.json"
    text = json.loads(file.read_text(encoding="utf-8"))
    text["added_tokens"] = [t for t in text["added_tokens"] if t["content"] != "<av>"]
    text["model"]["vocab"]["other"] = text["model"]["vocab"].pop("<av>")
    file.write_text(json.dumps(text))
    settings = folder / "language" / "tokenizer_config.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace("<av>", "other"))
    return folders


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Connectors of a few parameters; the option does not exist, as the defaults do well."""
    monkeypatch.setattr(join, "PRESETS", {"laptop": {**join.PRESETS["laptop"], **{
        "audio_width": 8, "qformer_width": 16, "qformer_heads": 4, "qformer_hidden": 24}}})


def options(folders, *more):
    named = [word for part, folder in folders.items() for word in (f"--{part}", folder)]
    return ["join", "--preset", "laptop", *named, *SIZES, *more]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_join_writes_a_checkpoint_that_every_command_reads(parts, tmp_path, capsys, dtype):
    out = tmp_path / "joined"
    assert cli.main(options(parts, "--out", str(out), "--dtype", dtype, "--seed", "3")) == 0
    told = capsys.readouterr().out
    model, processor = load_checkpoint(out, device="cpu")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert f"frozen: {frozen / 1e6:.1f} M parameters, {dtype}" in told
    assert f"trained: {trained / 1e6:.1f} M parameters" in told
    # 3 queries in 0.4 s; (512 - 64) // 3 = 149 windows of 0.4 s.
    assert "7.5 per second of clip" in told and "longest clip: 60 s" in told
    card = (out / "README.md").read_text(encoding="utf-8")
    assert all(line in card for line in told.splitlines()[:-1]) and parts["vision"] in card
    for parameter in model.parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad
                                   else getattr(torch, dtype))
    assert model.config.placeholder_id == processor.tokenizer.convert_tokens_to_ids("<av>")
    assert [p.name for p in tmp_path.iterdir()] == ["joined"]  # nothing unfinished
    answer = Asker(out).ask(data_path("clips", "clip_05.mp4"), "what was said?", 0, 1)
    assert 0 <= answer.confidence <= 1


def test_the_same_seed_makes_the_same_checkpoint(parts, tmp_path, capsys):
    batches, logits = [], []
    for name, seed in (("one", "1"), ("same", "1"), ("other", "2")):
        assert cli.main(options(parts, "--out", str(tmp_path / name), "--seed", seed)) == 0
        model, processor = load_checkpoint(tmp_path / name, device="cpu")
        batches.append(processor([tiny_clip(4, 0.4)], ["how many?"], ["two"]))
        with torch.no_grad():
            logits.append(settle(model)(**batches[-1]).logits)
    assert torch.equal(logits[0], logits[1]) and not torch.equal(logits[0], logits[2])


def test_an_existing_folder_is_left_as_it_is(parts, tmp_path, capsys):
    out = tmp_path / "joined"
    out.mkdir()
    assert cli.main(options(parts, "--out", str(out))) == 0  # an empty folder will do
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert cli.main(options(parts, "--out", str(out))) == 1
    assert "nothing is overwritten" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_an_error_leaves_no_half_folder(parts, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(join.FavorProcessor, "save_pretrained", fail)
    out = tmp_path / "deep" / "joined"
    assert cli.main(options(parts, "--out", str(out))) == 1
    found = capsys.readouterr().err
    assert f"{out} cannot be written: No space left on device" in found
    assert not list(out.parent.iterdir())


def test_a_killed_join_is_cleaned_up_by_the_next(tmp_path):
    dead = tmp_path / f".joined.{platform.node()}.99999999.part"
    dead.mkdir()
    (dead / "model.safetensors").write_text("half")
    with atomic_write(tmp_path / "joined") as unfinished:
        unfinished.mkdir()
        (unfinished / "a").write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["joined"]
    assert (tmp_path / "joined" / "a").read_text(encoding="utf-8") == "whole"


def test_missing_parts_are_named(tmp_path, capsys):
    assert cli.main(["join", "--audio", "here", "--out", str(tmp_path / "joined")]) == 1
    assert "--vision, --language missing" in capsys.readouterr().err
    assert cli.main(["join", "--preset", "desktop"]) == 2
    assert not list(tmp_path.iterdir())


def test_the_laptop_preset_has_the_sizes_that_the_bench_measures(monkeypatch):
    """The named models' sizes, from their cards: 8.2 M, 85.8 M and 134.5 M parameters."""
    with torch.device("meta"):
        model = FavorForConditionalGeneration(FavorConfig.laptop())
    found = {name: sum(p.numel() for n, p in module.named_parameters() if "lora_" not in n) / 1e6
             for name, module in model.frozen_modules().items()}
    assert found == pytest.approx({"audio_encoder": 8.2, "visual_encoder": 85.8,
                                   "language_model": 134.5}, abs=0.05)
    monkeypatch.undo()
    for name, value in join.PRESETS["laptop"].items():
        if name not in join.PARTS:
            assert getattr(model.config, name) == value
    assert np.isclose(join.tokens_per_second(model.config), 6.4)


@pytest.mark.slow
def test_laptop_rows_measure():
    rows = bench(BenchSettings(quick=True, only="laptop", repeats=1))
    assert len(rows) == 3 and all(row.unit == "s" and row.median > 0 for row in rows)


def test_join_saves_the_prompt_and_says_what_lora_adapts(parts, tmp_path, capsys):
    out, prompt = tmp_path / "joined", "Clip: {media} Question: {question}\nAnswer:"
    assert cli.main(options(parts, "--out", str(out), "--prompt", prompt)) == 0
    assert "adapted: LoRA of rank 32 on 8 modules: self_attn.q_proj (2)" in capsys.readouterr().out
    assert load_checkpoint(out, device="cpu")[1].settings.prompt == prompt
    assert cli.main(options(parts, "--out", str(tmp_path / "chat"), "--prompt", "chat")) == 1
    assert "no chat template" in capsys.readouterr().err and not (tmp_path / "chat").exists()
