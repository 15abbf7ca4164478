"""The whole way from nothing to a checkpoint that answers, in a few steps; and what the probes are asked to learn."""

import numpy as np
import pytest
import torch

from favor_mini import FavorForConditionalGeneration, FavorProcessor, recipe
from favor_mini.pretraining import (
    AudioProbe,
    LanguageProbe,
    Scenes,
    VisualProbe,
    audio_labels,
    mini_config,
    mini_processor,
    visual_labels,
)
from favor_mini.world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS, split_of

NAMES = ("nothing", *THINGS, *WORDS)


@pytest.fixture(scope="module")
def processor():
    return mini_processor()


def test_audio_labels_name_what_the_script_lets_hear_and_when():
    scene = Scenes(lambda scene: scene)[3]
    labels = audio_labels(scene, 600)
    for moment in scene.moments:
        if moment.heard:
            middle = round((moment.heard.start + moment.heard.seconds / 2) * 50)
            assert NAMES[labels[middle]] == moment.heard.name
            assert labels[round((moment.heard.start - 0.03) * 50)] == 0
    assert (labels[round(scene.duration * 50) :] == 0).all()


def test_visual_labels_name_what_the_script_shows():
    for i in range(30):
        scene = Scenes(lambda scene: scene)[i]
        for moment in scene.moments:
            labels = visual_labels(scene, moment.start + 0.01)
            told = {f"{COLOURS[c]} {SHAPES[s - 1]}" for c, s in enumerate(labels["shapes"].tolist()) if s}
            told |= {THINGS[t] for t, there in enumerate(labels["things"].tolist()) if there}
            told |= {WORDS[labels["word"] - 1]} if labels["word"] else set()
            assert told == {actor.label for actor in moment.actors}
            assert (~labels["places"].isnan()).all(1).sum() == len([a for a in moment.actors if a.name not in WORDS])


def test_a_probe_learns_from_the_training_split_alone(processor):
    seen = []
    Scenes(lambda scene: seen.append(scene.seed))[10**7 - 1]
    assert split_of(seen[0]) == "train"
    assert LanguageProbe.example(Scenes(lambda scene: scene)[0], processor)["ids"][0] == processor.tokenizer.bos_token_id


def test_short_conversations_are_about_short_stretches(processor):
    def scripts(**asked):
        made = [LanguageProbe.example(Scenes(lambda scene: scene)[i], processor, **asked)["ids"] for i in range(40)]
        return [processor.tokenizer.decode(ids).split("</Img>")[0].count("see ") for ids in made]

    assert max(scripts(most=3)) == 3 and min(scripts(most=3)) == 2 and min(scripts()) >= 5


@pytest.mark.parametrize("probe", [AudioProbe, VisualProbe])
def test_a_probe_learns_its_labels(probe, processor):
    """Pictures or sounds and labels belong together: on two scenes, the loss falls fast."""
    torch.manual_seed(0)
    model = probe(mini_config())
    batch = recipe.stack([probe.example(Scenes(lambda scene: scene)[i], processor) for i in range(2)])
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    first = None
    for _ in range(25):
        loss = model(**batch)["loss"]
        first = first or loss.item()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert model(**batch)["loss"] < 0.6 * first


@pytest.mark.slow
def test_from_nothing_to_an_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe.probe_scores, "__defaults__", (1, 2))
    monkeypatch.setattr(recipe.language_scores, "__defaults__", (4,))
    monkeypatch.setattr(recipe, "validation_rows", lambda model, processor: [])
    for part in recipe.PARTS:
        folder = recipe.make_part(part, tmp_path, steps=2, batch=2, progress=False)
        assert (folder / "model.safetensors").exists() and "scenes per step: 2" in (folder / "README.md").read_text()
    folder = recipe.make_favor(tmp_path, tmp_path, scenes=3, align_steps=2, ask_steps=2, batch=2, progress=False)
    model, processor = FavorForConditionalGeneration.from_pretrained(folder), FavorProcessor.from_pretrained(folder)
    made, _ = recipe.assemble(tmp_path)
    for name, tensor in made.state_dict().items():  # the parts went in as they were, and stayed
        if name.split(".")[0] not in made.CONNECTOR and "lora_" not in name:
            assert torch.equal(tensor, model.state_dict()[name]), name
    assert "steps of alignment: 2" in (folder / "README.md").read_text()
    from favor_mini.features import scene_clip
    from favor_mini.world.scene import draw_scene

    clip = scene_clip(draw_scene(SPLITS["validation"].start))
    assert np.shape(processor.decode(model.generate(**processor([clip], ["what was said?"])))) == (1,)


def test_a_missing_part_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="favor-mini train audio"):
        recipe.assemble(tmp_path)
