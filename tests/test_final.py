"""The final scores of a checkpoint: what is switched off, and where the tables go."""

import pytest
from conftest import tiny_model, tiny_processor

from docs.tools import final
from favor_mini.evaluation.scores import Row


@pytest.fixture
def asked(monkeypatch):
    """What `evaluate` was called with: (clips, whether LoRA was zero)."""
    calls = []

    def evaluate(model, processor, clips, asked, chance):
        lora = [p for name, p in model.named_parameters() if "lora_B" in name]
        calls.append((clips, not any(p.any() for p in lora)))
        return [Row(clip, q.family, q.text, q.answer, q.answer if len(calls) == 1 else "", 0.25)
                for clip, q in asked]

    monkeypatch.setattr(final, "evaluate", evaluate)
    return calls


def test_streams_clips_and_lora_are_switched_off_one_by_one(asked):
    model = tiny_model()
    found = final.ablations(model, tiny_processor(model.config), 3)
    assert list(found) == ["as it is", "without audio", "without video", "about another clip",
                           "without LoRA"]
    (whole, _), (deaf, _), (blind, _), (other, _), (again, _) = asked
    assert [off for _, off in asked] == [False] * 4 + [True]
    for name, clip in whole.items():
        assert {"audio_features", "visual_features"} <= set(clip)
        assert "audio_features" not in deaf[name] and deaf[name]["audio_tokens"] == 0
        assert deaf[name]["num_frames"] == clip["num_frames"] > 0 == blind[name]["num_frames"]
        assert "visual_features" in deaf[name] and "visual_features" not in blind[name]
        assert again[name] is clip and other[name] is not clip
    assert {id(c) for c in other.values()} == {id(c) for c in whole.values()}


def test_the_tables_come_before_the_limits_and_are_replaced(asked, monkeypatch, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    tiny_processor(model.config).save_pretrained(tmp_path)
    card = tmp_path / "README.md"
    card.write_text("# a model\n\n## What it knows about its limits\n\nlittle\n")
    monkeypatch.setattr(final, "task_rows", lambda *_, split: [
        Row("1", "asr", "what was said?", "bell", "bell", 0.0),
        Row("2", "asr", "what was said?", "drum", "bell", 0.0)])
    for _ in range(2):
        asked.clear()
        section = final.write_final(tmp_path, scenes=2, tasks=1)
        text = card.read_text(encoding="utf-8")
        assert text.startswith("# a model\n\n## Final scores") and section in text
        assert text.endswith("\n## What it knows about its limits\n\nlittle\n")
        assert text.count("Final scores") == text.count("its limits") == 1
    assert "| as it is | " in text and "| 100.0% |" in text and "| asr | 2 | 50.0% |" in text
    assert "| without LoRA | " in text and "| 0.0% |" in text
