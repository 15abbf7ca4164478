"""What LoRA is for: which part of a trained model learns a new form of questions."""

import pytest
import torch

from favor_mini.evaluation.checkpoint import find_checkpoint, load_checkpoint
from favor_mini.lab import new_form
from favor_mini.lab.novel import clause_first
from favor_mini.language import lora_modules
from favor_mini.world.scene import SPLITS


@pytest.fixture
def model():
    return load_checkpoint(find_checkpoint(None))[0]


def trained(model) -> set[str]:
    return {name.split(".")[0] + (".lora" if "lora_" in name else "")
            for name, p in model.named_parameters() if p.requires_grad}


CONNECTOR, LORA = {"audio_projection", "qformer", "projection"}, {"language_model.lora"}


@pytest.mark.parametrize("rank, connector, parts", [
    (None, True, CONNECTOR), (2, False, LORA), (2, True, CONNECTOR | LORA)])
def test_an_arm_trains_its_parts_alone_and_starts_where_the_model_is(model, rank, connector, parts):
    llm, ids = model.language_model, torch.arange(5, 25)[None]
    with torch.no_grad():
        before = llm(ids).logits
        new_form.prepare_arm(model, 0, rank, connector)
        after = llm(ids).logits
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)  # the old LoRA was merged
    assert trained(model) == parts
    assert len(lora_modules(llm)) == (4 * llm.config.num_hidden_layers if rank else 0)
    assert all(p.shape[0] == 2 for n, p in llm.named_parameters() if "lora_A" in n)


def test_all_training_questions_have_the_new_form():
    seed = SPLITS["train"].start
    data = new_form.ClauseFirstRows([{"seed": seed, "num_frames": 20, "audio_tokens": 500,
                                      "visual_features": 0, "audio_features": 0}])
    turns = data.dataset("ask", 1, None)[0]["turns"]
    assert 1 < len(turns) <= 8
    for question, _ in turns:
        clause, asked = question.removesuffix("?").split(", ")
        assert clause_first(f"{asked} {clause}?") == question


@pytest.mark.slow
def test_each_arm_is_trained_as_it_says_and_asked_the_same():
    arms = {name: new_form.ARMS[name] for name in ("nothing trained", "LoRA of rank 16")}
    found = new_form.learn_new_form(seeds=1, steps=2, clips=8, scenes=2, arms=arms, progress=False)
    assert found.arms == list(arms)
    assert found.groups == (new_form.NEW, new_form.USUAL, "all")
    assert [found.runs[arm, 0]["steps"] for arm in arms] == [{"ask": 0}, {"ask": 2}]
