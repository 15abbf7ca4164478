"""Naming: each output query gets words for what its window shows, and only the connector is
trained."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import scramble, tiny_config, tiny_processor
from test_questions import HAND
from test_training import clips

from favor_mini import FavorForConditionalGeneration
from favor_mini.world.clauses import FIELDS, clause, query_words
from favor_mini.world.lessons import NamedClips
from favor_mini.world.mini import mini_processor
from favor_mini.world.naming import Naming, collate_names, multi_hot
from favor_mini.world.scene import draw_scene, excerpt


@pytest.fixture(scope="module")
def mini():
    return mini_processor()


def named_words(processor, scene, frames):
    words, numbers = query_words(scene, processor, frames)
    return [processor.tokenizer.decode(ids) for ids in words], numbers


@pytest.mark.parametrize("number, expected", [
    (0, ["see red circle", "at left", "see red circle", "hear bell"]),
    (1, ["see written moon", "see written moon", "see written moon", "hear said king"]),
    (3, ["see nothing", "see nothing", "see nothing", "hear bird"]),
    (4, ["see drum", "see drum", "see drum", "hear clock"]),
    (5, ["see green ring", "turns white", "see green ring", "hear said milk"]),
    (6, ["see purple heart", "hits siren", "beside yellow cross", "hear siren"]),
    (9, ["see yellow triangle", "nears phone", "beside whistle", "hear nothing"])])
def test_four_queries_share_a_clause(number, expected):
    assert clause(HAND.moments[number], 0, 10) == expected and len(expected) == FIELDS


def test_a_query_gets_words_only_for_what_its_window_shows():
    turn = HAND.moments[5]  # from 5 to 6 s
    assert clause(turn, 0, 5.2) == ["see green ring", "see green ring", "see green ring", "hear"]
    # by now it is white
    assert clause(turn, 5.8, 8) == ["see ring", "see ring", "see ring", "hear"]
    hit = HAND.moments[6]
    assert clause(hit, 6.9, 8)[:3] == ["see purple heart"] * 3
    assert clause(None, 0, 5) == ["."] * FIELDS


def test_queries_go_through_the_clip_in_time_order(mini):
    names, numbers = named_words(mini, HAND, 20)
    # at two frames a second, the nearest to 0.625 s, 1.875 s, ...
    frames = [0.5, 2, 3, 4.5, 5.5, 7, 8, 9.5]
    assert numbers == [int(t) for t in frames for _ in range(FIELDS)]  # moments of one second each
    assert names[:4] == ["see red circle", "at left", "see red circle", "hear bell"]
    late = named_words(mini, HAND, 30)[0]
    assert late[:32] == names and set(late[32:]) == {"."}


def test_another_window_changes_nothing(mini):
    others = [replace(m, heard=None, actors=HAND.moments[0].actors, seen="show")
              for m in HAND.moments[7:]]
    changed = replace(HAND, moments=(*HAND.moments[:7], *others))
    before, after = named_words(mini, HAND, 20)[0], named_words(mini, changed, 20)[0]
    assert before[:16] == after[:16] and before[16:] != after[16:]


def test_every_moment_is_named_by_some_queries(mini):
    for seed in range(200):
        scene = draw_scene(seed)
        _, numbers = query_words(scene, mini, math.ceil(2 * scene.duration))
        assert set(range(len(scene.moments))) <= set(numbers)


def test_a_stretch_of_a_scene_starts_at_second_0(mini):
    part = excerpt(HAND, 4, 3)
    assert [m.start for m in part.moments] == [0, 1, 2] and part.duration == 3
    assert part.moments[1].heard.start - part.moments[1].start == pytest.approx(
        HAND.moments[5].heard.start - HAND.moments[5].start)
    assert named_words(mini, part, 16)[0][:4] == ["see drum", "see drum", "see drum", "hear clock"]


def test_the_loss_is_zero_for_the_right_words_and_large_for_others():
    vocabulary, width = 12, 14
    embeddings = torch.nn.Embedding.from_pretrained(10 * torch.eye(vocabulary, width))
    named = multi_hot([[3, 5], [7], [1, 2, 4]], vocabulary)
    target = named @ embeddings.weight

    def loss(read):
        def prepare(input_ids):
            return read[None], torch.randn(1, 1, 3, 4), torch.ones(1, 1, dtype=torch.bool), None

        model = torch.nn.Module()
        model.prepare = prepare
        model.language_model = SimpleNamespace(get_input_embeddings=lambda: embeddings)
        model.config = SimpleNamespace(placeholder_id=6, diversity_weight=0.0,
                                       diversity="mean_cosine")
        return Naming(model)(torch.tensor([[6, 6, 6]]), named)["loss"].item()

    assert loss(target) == pytest.approx(0, abs=1e-4)
    assert loss(target.flip(0)) > 10
    # of targets of two, one and three words
    entropies = (torch.tensor(2.0).log() + torch.tensor(3.0).log()) / 3
    assert loss(0 * target) == pytest.approx((torch.tensor(12.0).log() - entropies + 1).item(),
                                             abs=1e-5)
    outside = torch.zeros_like(target)
    outside[:, vocabulary:] = 10.0  # in directions that no word uses
    assert loss(target + outside) > 0.5


def test_only_the_connector_gets_gradients():
    processor = tiny_processor()
    model = scramble(FavorForConditionalGeneration(tiny_config()))
    model.freeze()
    data = NamedClips(clips(), 4, processor)
    batch = collate_names(processor, [data[i] for i in range(4)])
    assert len(batch["words"]) == (batch["input_ids"] == model.config.placeholder_id).sum()
    Naming(model)(**batch)["loss"].backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters()
                if p.grad is not None and p.grad.any()}
    assert learning == set(model.CONNECTOR)
