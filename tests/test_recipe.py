"""The whole way from nothing to a checkpoint that answers, in a few steps; and what the probes are asked to learn."""

from functools import partial

import numpy as np
import pytest
import torch

from favor_mini import FavorForConditionalGeneration, FavorProcessor, recipe
from favor_mini.pretraining import (
    AudioProbe,
    Scenes,
    VisualProbe,
    audio_labels,
    mini_config,
    mini_processor,
    visual_labels,
)
from favor_mini.reading import LanguageProbe, drills
from favor_mini.world.questions import ask
from favor_mini.world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS, draw_scene, split_of

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
    last = Scenes(lambda scene: scene)[10**7 - 1]
    assert split_of(last.seed) == "train"
    assert LanguageProbe.example(Scenes(lambda scene: scene)[0], processor)["ids"][0] == processor.tokenizer.bos_token_id


def test_short_conversations_are_about_short_stretches(processor):
    def scripts(**asked):
        made = [LanguageProbe.example(Scenes(lambda scene: scene)[i], processor, **asked) for i in range(40)]
        return [processor.tokenizer.decode(m["ids"]).split("</Img>")[0].count("see ") for m in made]

    short = scripts(moments=(2, 3), retell=0.0, named=0.0)
    assert max(short) == 3 and min(short) == 2 and min(scripts(retell=0.0, named=0.0)) >= 4


def test_every_token_of_a_script_is_told_the_words_around_it(processor):
    text = "see red circle at left, hear bell; hear said moon, see bell; see nothing, hear horn."
    made = processor.pad_dialogues([processor.dialogue(f" {text} ", [("what was heard while the bell was shown?", "moon")])])
    probe = LanguageProbe(mini_config())
    clauses = (made["input_ids"] == processor.tokenizer.convert_tokens_to_ids(";")).cumsum(1)
    told = probe.clause_words(probe.read(made["input_ids"], None)[0], clauses, made["turn_ids"] == 0)[0]
    words = processor.tokenizer.convert_ids_to_tokens(range(len(processor.tokenizer)))
    names = [f"{when} {field} {word}" for when in ("here", "before") for field in ("seen", "heard") for word in words]
    tokens = processor.tokenizer.convert_ids_to_tokens(made["input_ids"][0])

    def at(place):
        skip = {"see", "hear", "said", "at", ",", ";", "left"}
        return {name for name, there in zip(names, told[place], strict=True) if there and name.split()[-1] not in skip}

    first_bell, second_bell = [i for i, token in enumerate(tokens) if token == "bell"][:2]
    assert at(first_bell) == {"here seen red", "here seen circle", "here heard bell"}
    assert at(tokens.index("circle")) == {"here seen red", "here seen circle"}  # nothing of what is yet to come
    clause_before = {"before seen red", "before seen circle", "before heard bell"}
    assert at(second_bell) == {"here heard moon", "here seen bell"} | clause_before
    assert at(tokens.index("horn")) == {"here seen nothing", "here heard horn", "before heard moon", "before seen bell"}


def test_a_script_is_read_alike_whether_it_is_written_or_named(processor):
    """Named, its words stand in one vector each time, and the clause labels hold the same words."""
    def labels(named):
        made = LanguageProbe.collate(processor, [LanguageProbe.example(draw_scene(8), processor, named=named)])
        probe = LanguageProbe(mini_config()).eval()
        words, embeds = probe.read(made["input_ids"], made.get("named"))
        clip = made["turn_ids"] == 0
        return words, embeds, probe.clause_words(words, made["clauses"], clip)[clip], probe

    _, _, written, _ = labels(0.0)
    words, embeds, named, probe = labels(1.0)
    torch.testing.assert_close(embeds, words @ probe.encoder.get_input_embeddings().weight)
    skip = processor.tokenizer.convert_tokens_to_ids([",", ";", ".", "</Img>"])
    kept = [i for i in range(written.shape[1]) if i % len(processor.tokenizer) not in skip]
    here = [i for i in kept if i < written.shape[1] // 2]
    assert torch.equal(written[:, here].amax(0), named[:, here].amax(0))


def test_a_drill_holds_what_the_questions_ask():
    answered = 0
    for seed in range(40):
        scene = draw_scene(seed)
        told = dict(drills(scene, np.random.default_rng(0)))
        for question in ask(scene):
            for family, drill in (("shown_when", "what was shown when?"), ("heard_while", "what was heard while?"),
                                  ("seen_after", "what was shown next after?"), ("heard_before", "what was heard last before?")):
                if question.family == family:
                    answered += 1
                    keys = {entry.removesuffix(f" {question.answer}") for entry in told[drill].split("; ")
                            if entry.endswith(f" {question.answer}")}
                    assert any(f" {key} was " in question.text for key in keys), (question, told[drill])
    assert answered > 100


@pytest.mark.parametrize("probe, asked", [(AudioProbe, {}), (VisualProbe, {}), (LanguageProbe, {"moments": (2, 2), "tokens": 96})])
def test_a_probe_learns_its_labels(probe, asked, processor):
    """Pictures, sounds or scripts and labels belong together: on a few scenes, the loss falls fast."""
    torch.manual_seed(0)
    model = probe(mini_config())
    collate = getattr(probe, "collate", lambda processor, examples: recipe.stack(examples))
    batch = collate(processor, [probe.example(draw_scene(i), processor, **asked) for i in range(2)])
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
    monkeypatch.setattr(recipe, "probe_scores", partial(recipe.probe_scores, batches=1, batch=2))
    monkeypatch.setattr(recipe, "language_scores", partial(recipe.language_scores, scenes=4))
    monkeypatch.setattr(recipe, "validation_rows", lambda model, processor: [])
    for part in recipe.PARTS:
        folder = recipe.make_part(part, tmp_path, steps=2, batch=2, progress=False)
        assert (folder / "model.safetensors").exists() and "2 of 2 scenes" in (folder / "README.md").read_text()
    folder = recipe.make_favor(tmp_path, tmp_path, scenes=3, name_steps=2, align_steps=2, ask_steps=2, batch=2, progress=False)
    model, processor = FavorForConditionalGeneration.from_pretrained(folder), FavorProcessor.from_pretrained(folder)
    made, _ = recipe.assemble(tmp_path)
    for name, tensor in made.state_dict().items():  # the parts went in as they were, and stayed
        if name.split(".")[0] not in made.CONNECTOR and "lora_" not in name:
            assert torch.equal(tensor, model.state_dict()[name]), name
    assert "steps of stage 'align': 2" in (folder / "README.md").read_text()
    from favor_mini.features import scene_clip
    from favor_mini.world.scene import draw_scene

    clip = scene_clip(draw_scene(SPLITS["validation"].start))
    assert np.shape(processor.decode(model.generate(**processor([clip], ["what was said?"])))) == (1,)


def test_a_missing_part_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="favor-mini train audio"):
        recipe.assemble(tmp_path)


def test_what_ships_is_half_as_big_and_loads_as_float32(tmp_path, monkeypatch):
    torch.manual_seed(0)
    made = FavorForConditionalGeneration(mini_config())
    made.save_pretrained(tmp_path / "favor")
    (tmp_path / "favor" / "run").mkdir()
    for part in recipe.PARTS:
        (tmp_path / part).mkdir()
        (tmp_path / part / "README.md").write_text(part)
    monkeypatch.setattr(recipe, "checkpoint_path", lambda: tmp_path / "shipped")
    folder = recipe.ship(tmp_path)
    size, full = ((f / "model.safetensors").stat().st_size for f in (folder, tmp_path / "favor"))
    assert size < 0.55 * full and (folder / "vision.md").read_text() == "vision" and not (folder / "run").exists()
    for name, tensor in FavorForConditionalGeneration.from_pretrained(folder).state_dict().items():
        torch.testing.assert_close(tensor, made.state_dict()[name], rtol=1e-3, atol=1e-4, msg=name)  # dtype, too
