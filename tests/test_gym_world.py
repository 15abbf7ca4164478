"""The mini world in the gym: right questions, films that do not depend on one another, pairs."""

import pytest
import torch

from favor_mini.figures.gym import phase_diagram
from favor_mini.lab.gym import studies, world
from favor_mini.lab.gym.films import ANSWERS, films
from favor_mini.lab.gym.results import GymPlan, gym
from favor_mini.lab.gym.world import GROUPS, TEST, World, WorldModel
from favor_mini.world.questions import FAMILY_GROUPS, ask
from favor_mini.world.scene import draw_scene, split_of

TINY = {"clips": 6, "test_clips": 3, "batch": 2, "questions": 3, "width": 8, "hidden": 8,
        "num_queries": 2, "reader_layers": 1, "heads": 2, "audio_width": 8, "steps": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gym")


@pytest.fixture(scope="module")
def asked(folder):
    return films("label-free", TEST, 3, (1, 5), str(folder / "films"))


def test_the_questions_are_those_of_the_scenes(asked):
    for i in range(3):
        questions = ask(draw_scene(TEST + i))
        assert [ANSWERS[a] for a in asked.answer[i]] == [q.answer for q in questions]
        for q, plausible, group in zip(questions, asked.plausible[i], asked.group[i], strict=True):
            assert {ANSWERS[n] for n in plausible.nonzero()[:, 0]} == set(q.candidates)
            assert GROUPS[group] == FAMILY_GROUPS[q.family]
        # Both streams are needed: the guesser who has one of them, not one in the candidates.
        for q, chance in zip(questions, asked.chance[i].tolist(), strict=True):
            if q.single_modality:
                assert chance == pytest.approx(1 / len(q.candidates))
            else:
                assert chance >= 1 / len(q.candidates) - 1e-6


def test_films_to_learn_from_and_to_be_asked_about_belong_to_their_splits():
    assert split_of(world.TRAIN) == "train" and split_of(TEST) == "test"
    assert split_of(TEST + 1000 * 99 + 999) == "test"


@pytest.mark.parametrize("sync", ["concat", "interleave", "append"])
def test_a_film_does_not_depend_on_the_others_of_its_batch(asked, sync):
    model = WorldModel(World(**{**TINY, "sync": sync, "window_frames": 5}), asked, 0).eval()
    words = [w[:2] for w in asked.words]
    with torch.no_grad():
        together, _ = model(asked.clips([0, 1, 2]), torch.stack(words))
        for i in range(3):
            alone, _ = model(asked.clips([i]), words[i][None])
            assert torch.allclose(alone[0], together[i], atol=1e-5)


def test_padded_words_say_nothing(asked):
    model = WorldModel(World(**TINY), asked, 0).eval()
    words = asked.words[0][:4]
    longer = torch.nn.functional.pad(words, (0, 3), value=-1)
    with torch.no_grad():
        short, long = (model(asked.clips([0]), w[None])[0] for w in (words, longer))
    assert torch.allclose(short, long, atol=1e-5)  # the sum has another order


def test_arms_share_the_reader_and_the_same_seed_gives_the_same_curve(asked, folder):
    first, second = (WorldModel(World(**TINY, sync=s), asked, 3) for s in ("concat", "append"))
    for name, parameter in first.reader.named_parameters():
        assert torch.equal(parameter, second.reader.get_parameter(name)), name
    runs = [world.train_world(World(**TINY), 1, folder / "films") for _ in range(2)]
    assert runs[0]["curve"] == runs[1]["curve"]
    assert set(runs[0]["chance"]) == {*GROUPS, "all"} == set(runs[0]["curve"][-1][1])


def test_a_study_of_films_is_kept_and_drawn(folder, monkeypatch):
    study = studies.Study("films", [{}, {"sync": "append"}], fixed=TINY, seeds=2, kind=World)
    monkeypatch.setattr(studies, "STUDIES", [study])
    found = studies.run_study("films", folder, progress=False)
    assert found.cells[0].arms == ["baseline", "sync=append"]
    assert list(found.differences.questions) == [*GROUPS, "all"]
    assert "sync=append" in phase_diagram(found).alt_text
    chance = found.cells[0].results[0]["chance"]
    row = found.cells[0].table.iloc[0]
    assert row.task == GROUPS[0] and row.chance == chance[GROUPS[0]]


def test_a_study_of_one_knob_is_refused():
    with pytest.raises(ValueError, match="found knobs=.'lr'. in the study 'mine', expected two"):
        studies.Study("mine", [{}], {"lr": (1.0, 2.0)})


def test_wrong_settings_are_refused(folder):
    for changes, message in (({"lr": -1.0}, "lr=-1.0"), ({"width": 9}, "width=9 and heads"),
                             ({"clips": 0}, "clips=0"), ({"sync": "sunk"}, "sunk")):
        with pytest.raises(ValueError, match=message):
            World(**changes)
    with pytest.raises(ValueError, match="frames is no field of the gym.*window_frames"):
        GymPlan([{"frames": 3}], kind=World)
    with pytest.raises(ValueError, match="audio_pool=4, expected a divisor of the 25"):
        gym(GymPlan([{}], {**TINY, "audio_pool": 4}, 1, World), folder, progress=False)
