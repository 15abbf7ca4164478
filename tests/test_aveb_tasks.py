"""The eleven tasks: certain answers, known words, and no shortcut through one modality."""

from collections import Counter

import numpy as np
import pytest

from favor_mini.world.rows import scene_clip
from favor_mini.world.scene import SPLITS, THINGS, split_of
from favor_mini.world.speech import ASKED, load_voice
from favor_mini.world.tasks import (
    TASKS,
    TOGETHER,
    ask_all,
    caption_picture,
    caption_sound,
    draw_asked,
    draw_match,
    draw_source,
    draw_subtitled,
    transcribe,
)
from favor_mini.world.tokenizer import build_tokenizer
from favor_mini.world.transcript import transcript

NAMES = ["asr", "ac", "ic", "ocr", "vqa", "video_qa", "avsr", "avqa", "isqa", "avssd", "avm"]


def examples(name: str, count: int = 60, first: int = 0):
    task = TASKS[name]
    for seed in range(first, first + count):
        scene = task.draw(seed)
        for example in task.ask(scene, np.random.default_rng(seed)):
            yield scene, example


def test_there_are_the_papers_eleven():
    assert list(TASKS) == NAMES
    assert {name: task.metric for name, task in TASKS.items() if task.metric != "accuracy"} == {
        "asr": "word error rate", "avsr": "word error rate", "ac": "CIDEr", "ic": "CIDEr"}
    assert [name for name, task in TASKS.items() if task.missing == "video"] == ["asr", "ac"]
    assert [name for name, task in TASKS.items() if task.missing == "audio"] == [
        "ic", "ocr", "vqa", "video_qa"]


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_always_gives_the_same_questions_and_every_word_is_known(name):
    found = list(examples(name))
    assert found and found == list(examples(name)) and found != list(examples(name, first=60))
    tokenizer = build_tokenizer()
    for scene, example in found:
        for text in (example.question, *example.answers, *example.candidates, transcript(scene)):
            assert tokenizer.unk_token_id not in tokenizer(text).input_ids, text
        assert not example.candidates or example.answers[0] in example.candidates
        assert len(set(example.candidates)) == len(example.candidates)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_has_only_the_streams_of_its_task(name):
    task = TASKS[name]
    scene = task.draw(3)
    clip = scene_clip(scene, task=task)
    assert set(clip.missing) == {"audio", "video"} - set(task.streams)
    if "video" in task.streams:
        assert len(clip.frames) == (1 if task.still else int(np.ceil(scene.duration * 2)))
    seen, heard = (field for field in zip(*[(m.seen, m.heard)
                                            for m in task.perceived(scene).moments], strict=True))
    assert task.missing != "video" or set(seen) == {"nothing"}
    assert task.missing != "audio" or set(heard) == {None}


def test_one_modality_does_not_predict_the_place_of_the_source():
    scenes = [draw_source(seed) for seed in range(800)]
    answers = [TASKS["avssd"].ask(scene, None)[0].answers[0] for scene in scenes]
    assert set(answers) == {"left", "right", "top", "bottom"}
    first = [scene.moments[0].heard.name == scene.moments[0].actors[0].name for scene in scenes]
    assert 0.44 < np.mean(first) < 0.56  # of the two things in the picture, either sounds as often
    for thing in THINGS:  # audio alone does not predict the place
        places = Counter(a for a, s in zip(answers, scenes, strict=True)
                         if s.moments[0].heard.name == thing)
        assert max(places.values()) / sum(places.values()) < 0.45


def test_half_of_the_pairs_match():
    scenes = [draw_match(seed) for seed in range(600)]
    answers = [TASKS["avm"].ask(scene, None)[0].answers[0] for scene in scenes]
    assert 0.44 < np.mean([a == "yes" for a in answers]) < 0.56
    for scene, answer in zip(scenes, answers, strict=True):
        (moment,) = scene.moments
        # like is held against like
        assert (moment.heard.kind == "sound") == (moment.seen == "thing")
        assert (answer == "yes") == (moment.heard.name == moment.subject)
    # by what one stream alone knows
    for tell in (lambda m: m.subject, lambda m: m.heard.name, lambda m: m.seen):
        groups = {}
        for scene, answer in zip(scenes, answers, strict=True):
            groups.setdefault(tell(scene.moments[0]), []).append(answer == "yes")
        assert all(0.2 < np.mean(yes) < 0.8 for yes in groups.values() if len(yes) >= 25)


def test_two_words_in_three_are_also_written_and_some_only_written():
    said = written = misleading = 0
    for seed in range(300):
        scene = draw_subtitled(seed)
        assert 0.04 <= scene.noise <= 0.12
        for m in scene.moments:
            said += m.heard is not None
            written += m.heard is not None and m.seen == "write" and m.subject == m.heard.name
            misleading += m.heard is None and m.seen == "write"
            assert not (m.seen == "write" and m.heard and m.subject != m.heard.name)
        words = transcribe(scene)[0].answers[0].split() if transcribe(scene) else []
        assert len(set(words)) == len(words)
    assert 0.6 < written / said < 0.73 and misleading > 50


def test_a_spoken_question_decides_what_is_right():
    asked = Counter()
    for seed in range(200):
        (moment,) = draw_asked(seed).moments
        question = moment.heard.name
        asked[question] += 1
        assert moment.heard.start + moment.heard.seconds <= moment.end
        (example,) = TASKS["isqa"].ask(draw_asked(seed), None)
        actor = moment.actors[0]
        assert example.answers == ({"what colour": actor.colour, "what shape": actor.name,
                                    "where": moment.direction,
                                    "which word": actor.name}[question],)
    assert set(asked) == set(ASKED) and min(asked.values()) > 25
    shapes = [draw_asked(seed).moments[0] for seed in range(400)]
    for colour in ("red", "blue"):  # the picture does not tell what will be asked about it
        counts = Counter(m.heard.name for m in shapes if m.actors[0].colour == colour)
        assert max(counts.values()) / sum(counts.values()) < 0.55


def test_every_voice_asks_every_question():
    for voice in ("adam", "zoe"):
        takes = load_voice(voice)
        assert set(ASKED) < set(takes)
        assert all(len(takes[q]) == 2 and 0.3 < len(takes[q][1]) / 16000 <= 0.85 for q in ASKED)


def test_captions_name_all_events_in_order():
    scene = draw_source(5)
    (sound,), (picture,) = caption_sound(scene), caption_picture(scene)
    moment = scene.moments[0]
    assert sound.answers[0] == f"the {moment.heard.name} was heard" and len(set(sound.answers)) == 3
    a, b = (actor.name for actor in moment.actors)
    place = moment.direction
    assert picture.answers[0].startswith(f"the {a} was shown at {place} beside the {b} at ")
    long = TASKS["ac"].draw(2)
    names = [m.heard.name for m in long.moments if m.heard]
    (caption,) = caption_sound(long)
    assert [word for word in caption.answers[0].replace(",", "").split() if word in names] == names


def test_training_questions_need_only_the_given_streams():
    rng = np.random.default_rng(0)
    scene = draw_match(1)
    assert TOGETHER in [e.question for e in ask_all(scene, rng)]
    deaf, blind = ([e.question for e in ask_all(scene, rng, missing)]
                   for missing in ("audio", "video"))
    assert deaf and blind and not set(deaf) & set(blind) and TOGETHER not in deaf + blind


def test_scenes_keep_their_seeds_split():
    assert {split_of(task.draw(SPLITS["samples"].start + 10**6).seed)
            for task in TASKS.values()} == {"samples"}
