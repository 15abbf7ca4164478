"""The items of the training stages: what is asked about a clip, and which streams it lacks."""

import pytest
from test_training import FIRST, clips

from favor_mini.world.lessons import Dialogues, NamedClips
from favor_mini.world.mini import mini_processor
from favor_mini.world.questions import ask
from favor_mini.world.scene import draw_scene
from favor_mini.world.transcript import DESCRIBE, transcript


def test_an_item_is_always_the_same_and_each_epoch_asks_other_questions():
    data = Dialogues(clips(), count=36, questions=4)
    assert [data[i]["turns"] for i in range(36)] == [data[i]["turns"] for i in range(36)]
    assert data[0]["turns"] != data[12]["turns"] and data[0]["seed"] == data[12]["seed"]
    described = Dialogues(clips(), count=12, describe=1.0)[3]
    assert described["turns"] == [(DESCRIBE, transcript(draw_scene(FIRST + 3)))]


def test_some_items_lack_a_stream_and_no_question_needs_it():
    data = Dialogues(clips(), count=36, describe=0.5)
    named = NamedClips(clips(), 36, mini_processor())
    lacking, processor = [], mini_processor()
    for i in range(36):
        item, words = data[i], [processor.tokenizer.decode(ids) for ids in named[i]["words"]]
        _, scene, missing = data.clip(i)
        families = {q.text: q.needs for q in ask(scene)}
        assert [t for t, _ in item["turns"] if t in families and missing in families[t]] == []
        assert ("audio_features" in item) == (missing != "audio") == bool(item["audio_tokens"])
        assert ("visual_features" in item) == (missing != "video") == bool(item["num_frames"])
        if missing == "audio":
            assert set(words[3::4]) <= {"hear", "."} and not set(words[0::4]) <= {"see", "."}
        if missing == "video":
            assert set(words[0::4]) <= {"see", "."} and item["turns"][0][0] != DESCRIBE
        lacking.append((item["seed"], missing))
    # in three epochs
    assert {seed for seed, missing in lacking if missing} == set(range(FIRST + 4, FIRST + 8))


@pytest.mark.parametrize("count", range(6, 18))
def test_in_eight_epochs_every_clip_lacks_each_stream_once(count):
    """On earlier code, with a number of clips that leaves 7 when divided by 8, the same clips
    lacked a stream in each epoch."""
    data, lacking = Dialogues(clips(count), count=8 * count), []
    for i in range(len(data)):
        media, _, missing = data.clip(i)
        lacking += [(media["seed"], missing)] if missing else []
    assert sorted(lacking) == [(FIRST + i, missing) for i in range(count)
                               for missing in ("audio", "video")]


@pytest.mark.parametrize("split", ["validation", "test", "samples"])
def test_held_out_clips_are_refused(split):
    with pytest.raises(ValueError, match=split):
        Dialogues(clips(split=split), count=4)
