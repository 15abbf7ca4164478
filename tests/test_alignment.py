"""Alignment: the queries of a clip spell its text in order, without a label for any query."""

from itertools import product

import pytest
import torch
from conftest import scramble, tiny_config, tiny_processor
from test_training import clips

from favor_mini import FavorForConditionalGeneration
from favor_mini.data.spelling import blank_token, queries_needed, text_tokens
from favor_mini.pretraining.recipes import find_recipe
from favor_mini.training.alignment import (
    Alignment,
    Asking,
    alignment_loss,
    collate_asking,
    collate_texts,
    pad_texts,
)
from favor_mini.training.finetune import finetune, steps_per_stage
from favor_mini.world.lessons import Dialogues, SceneRows, ToldClips
from favor_mini.world.scene import draw_scene
from favor_mini.world.transcript import transcript

BLANK = 0
EMBEDDINGS = 3.0 * torch.eye(5)  # every word is far from the others; the largest logit is 45


def spell(words):
    """Queries (1, L, D) that equal the embeddings of these words."""
    return EMBEDDINGS[torch.tensor(words)][None]


def losses(vectors, *texts, real=None):
    real = torch.ones(vectors.shape[:2], dtype=torch.bool) if real is None else real
    ctc, distance = alignment_loss(vectors, real, pad_texts(list(texts)), EMBEDDINGS, BLANK)
    return ctc.item(), distance.item()


@pytest.mark.parametrize("queries", [[1, 2, 3], [0, 1, 0, 2, 2, 3], [1, 0, 0, 2, 3, 0]])
def test_every_spelling_of_the_text_has_loss_zero(queries):
    assert losses(spell(queries), [1, 2, 3]) == pytest.approx((0, 0), abs=1e-3)


@pytest.mark.parametrize("queries", [[1, 3, 2], [2, 1, 3], [1, 2, 0], [1, 2, 2], [4, 1, 2, 3]])
def test_a_wrong_order_or_word_is_expensive(queries):
    assert losses(spell(queries), [1, 2, 3])[0] > 2.5  # one wrong word of three: 9 / 3


def test_equal_neighbours_need_a_blank_between_them():
    assert losses(spell([1, 0, 1]), [1, 1])[0] < 1e-3 < 5 < losses(spell([1, 1, 0]), [1, 1])[0]
    assert queries_needed([1, 1, 2, 1]) == 5


def test_the_loss_sums_over_all_ways_to_spread_the_words():
    torch.manual_seed(0)
    vectors, text = torch.randn(1, 4, 5), [1, 2]
    log_probs = (9 / EMBEDDINGS.square().sum(-1).mean() * vectors @ EMBEDDINGS.T).log_softmax(-1)[0]

    def spelled(path):
        merged = [w for i, w in enumerate(path) if i == 0 or path[i - 1] != w]
        return [w for w in merged if w != BLANK]

    total = sum(sum(log_probs[i, w] for i, w in enumerate(path)).exp()
                for path in product(range(5), repeat=4) if spelled(path) == text)
    assert losses(vectors, text)[0] == pytest.approx(-total.log().item() / 2, rel=1e-5)


def test_a_direction_that_no_word_uses_is_expensive():
    embeddings = torch.cat([EMBEDDINGS, torch.zeros(5, 1)], 1)
    vectors = embeddings[torch.tensor([1, 2])][None].clone()
    vectors[..., -1] = 4.0
    text, real = torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool)
    ctc, distance = alignment_loss(vectors, real, text, embeddings, BLANK)
    assert ctc < 1e-3 and distance.item() == pytest.approx(16 / 9, rel=1e-3)


def test_padding_and_clips_without_text_change_nothing():
    torch.manual_seed(0)
    one, other = torch.randn(1, 3, 5), torch.randn(1, 6, 5)
    padded = torch.cat([torch.cat([one, torch.full((1, 3, 5), 7.0)], 1), other, other + 1])
    real = torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6, [1] * 6]).bool()
    together = losses(padded, [1, 2], [3, 1, 2, 4], [], real=real)[0]
    # a mean over tokens: two of one clip, four of the other
    alone = (2 * losses(one, [1, 2])[0] + 4 * losses(other, [3, 1, 2, 4])[0]) / 6
    assert together == pytest.approx(alone, rel=1e-5)
    assert losses(other, []) == (0, 0)


def test_punctuation_is_left_out_and_the_blank_is_the_full_stop():
    processor = tiny_processor()
    decode = processor.tokenizer.decode
    assert decode(blank_token(processor)) == "."
    ids = text_tokens(processor, "see red circle at left, hear bell; see drum.")
    assert decode(ids) == "see red circle at left hear bell see drum"


def test_a_text_that_is_too_long_for_its_clip_is_refused():
    clip = {**clips()[0], "text": "see red circle at left hear bell " * 5}
    with pytest.raises(ValueError, match="the text 'see red.*needs 35 queries, found.*num_queries"):
        collate_texts(tiny_processor(), [clip])


def test_only_the_connector_gets_gradients():
    processor = tiny_processor()
    model = scramble(FavorForConditionalGeneration(tiny_config()))
    model.freeze()
    batch = collate_texts(processor, [{**clip, "text": "see bell"} for clip in clips()[:4]])
    output = Alignment(model, blank_token(processor))(**batch)
    output["loss"].backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters()
                if p.grad is not None and p.grad.any()}
    assert learning == set(model.CONNECTOR)


# With conversations.

def test_while_asking_the_queries_still_spell_the_texts_that_fit():
    processor = tiny_processor()
    model = scramble(FavorForConditionalGeneration(tiny_config())).eval()
    made = [{**clip, "turns": [("what was heard?", "bell")]} for clip in clips()[:3]]
    texts = ["see bell", None, "see red circle at left hear bell " * 9]  # the last is too long
    batch = collate_asking(processor, [{**m, "text": t} for m, t in zip(made, texts, strict=True)])
    assert [(row >= 0).sum().item() for row in batch["text_ids"]] == [2, 0, 0]
    plain = model(**{k: v for k, v in batch.items() if k != "text_ids"})
    output = Asking(model, blank_token(processor))(**batch)
    aligned = Alignment(model, blank_token(processor))
    spelled = aligned.spelling_loss(plain.queries, plain.window_mask, batch["text_ids"])
    assert spelled > 0 and torch.isclose(output["loss"], plain.loss + spelled)
    alone = aligned(**collate_texts(processor, [{**made[0], "text": texts[0]}]))
    assert torch.isclose(alone["cross_entropy"], spelled, rtol=1e-4)  # padding changes nothing


def test_the_text_of_a_clip_tells_only_what_the_clip_has():
    data = ToldClips(clips(), 24)
    for i in range(24):
        item, (_, scene, missing) = data[i], data.clip(i)
        assert item["text"] == transcript(scene, missing=missing)
        words = item["text"].split()
        assert ("see" in words) == ("visual_features" in item)
        assert ("hear" in words) == ("audio_features" in item)
        assert item["text"] == Dialogues(clips(), 24)[i]["text"]
    scene = draw_scene(clips()[0]["seed"])
    assert transcript(scene, missing="audio").count("see ") == len(scene.moments)


def test_both_stages_train_from_texts_and_questions_alone(tmp_path):
    """No item holds a label for a query."""
    config = tiny_config(num_queries=48)  # of a window of 0.4 s, for a text about ten seconds
    model, processor = scramble(FavorForConditionalGeneration(config)), tiny_processor(config)
    model.reset_trained(seed=0)
    rows = SceneRows(clips())
    assert "words" not in rows.dataset("align", 4, processor)[0]
    log = finetune(model, processor, rows, tmp_path, steps={"align": 40, "ask": 2}, batch=4,
                   lr=3e-3, log_steps=10, progress=False, bf16=False)
    losses = [e["cross_entropy"] for e in log if e["stage"] == "align" and "cross_entropy" in e]
    assert losses[-1] < 0.7 * losses[0] and log[-1] == {"stage": "ask", "step": 2}


def test_the_first_stage_gets_the_steps_that_are_left():
    assert steps_per_stage(27) == {"align": 22, "ask": 5}
    assert steps_per_stage(2) == {"align": 1, "ask": 1}


@pytest.mark.parametrize(("name", "stages", "lora"), [
    ("aligned", ["align", "ask"], True), ("align", ["align"], False), ("ask", ["ask"], True),
    ("unkept", ["align", "ask"], True), ("named", ["name", "align", "ask"], True)])
def test_each_recipe_trains_what_it_says(tmp_path, name, stages, lora):
    recipe, config = find_recipe(name), tiny_config(num_queries=48)
    models = [scramble(FavorForConditionalGeneration(config)) for _ in range(2)]
    for model in models:
        model.reset_trained(seed=0)
    assert list(recipe.steps(5)) == stages and sum(recipe.steps(5).values()) == 5
    processor = tiny_processor(config)
    log = finetune(models[0], processor, recipe.rows(clips()), tmp_path, stages=recipe.stages,
                   steps=dict.fromkeys(stages, 2), batch=4, log_steps=1, progress=False, bf16=False)
    assert list(dict.fromkeys(e["stage"] for e in log if "cross_entropy" in e)) == stages
    old, new = (dict(model.named_parameters()) for model in models[::-1])
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert any("lora_" in n for n in changed) == lora
    assert {"qformer.queries", "projection.weight"} <= changed
    assert all(n.startswith(models[0].CONNECTOR) or "lora_" in n for n in changed)
