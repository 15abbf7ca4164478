"""Test-set files of the benchmark: all forms of rows, broken rows, and the media root."""

import json

import numpy as np
import pytest
import soundfile
from conftest import needs
from PIL import Image

from favor_mini import data_path
from favor_mini.aveb.files import Item, read_items
from favor_mini.data.files import find_media, read_media
from favor_mini.data.row import Span
from favor_mini.media.clip import MediaError

PLAIN = {"image": "a.jpg", "question": "what is it?", "answer": "a cup"}
FORMS = [  # row -> what it should become
    (PLAIN, [Item("0", ("a.jpg",), "what is it?", ("a cup",))]),
    ({**PLAIN, "answer": ["cup", "mug"], "dataset": "some"},
     [Item("0", ("a.jpg",), "what is it?", ("cup", "mug"))]),
    ({"image": ["v/a.mp4", "v/a.wav"], "question": "fits?", "answer": "Yes", "text": "a bell"},
     [Item("0", ("v/a.mp4", "v/a.wav"), "fits?", ("Yes",))]),
    ({"image_name": ["a.mp4", "a.wav"], "question": "why?", "answer": "b",
      "answer_candidates": ["a", "b"], "duration": [1.5, 4]},
     [Item("0", ("a.mp4", "a.wav"), "why?", ("b",), ("a", "b"),
           Span(1.5, 4.0, cut=True))]),
    ({"image_name": ["a.mp4", "a.wav"], "conversation": [["who?", "a man"], ["where?", "here"]]},
     [Item("0.0", ("a.mp4", "a.wav"), "who?", ("a man",)),
      Item("0.1", ("a.mp4", "a.wav"), "where?", ("here",))])]
BROKEN = [  # row, field, part of the message
    ("a row", "row", "expected an object, found 'a row'"),
    ({"question": "q", "answer": "a"},
     "media", "no field names a file; found ['question', 'answer']"),
    ({**PLAIN, "image": 3}, "image", "expected a text, or a list of texts, found 3"),
    ({**PLAIN, "image": ["a", "b", "c"]}, "image", "found ('a', 'b', 'c')"),
    ({**PLAIN, "image": []}, "image", "a list of texts, found []"),
    ({"image": "a.jpg", "answer": "a"}, "question", "it is missing; found ['image', 'answer']"),
    ({"image": "a.jpg", "question": "q"}, "answer", "it is missing"),
    ({**PLAIN, "answer": None}, "answer", "found None"),
    ({**PLAIN, "answer": ["a", ""]}, "answer", "found ['a', '']"),
    ({**PLAIN, "answer_candidates": ["a bowl", "a hat"]},
     "answer_candidates", "the answer 'a cup' is not among them"),
    ({**PLAIN, "answer_candidates": "a cup"},
     "answer_candidates", "expected a list of texts, found 'a cup'"),
    ({**PLAIN, "duration": [4, 1]}, "duration", "0 <= start < end, found [4, 1]"),
    ({**PLAIN, "duration": 4}, "duration", "found 4"),
    ({**PLAIN, "question": ["who?", "where?"]}, "question", "expected a text, found ['who?'"),
    ({"image": "a.mp4", "conversation": [["who?"]]},
     "conversation", "pairs of question and answer")]


def written(folder, rows):
    file = folder / "test.json"
    file.write_text(json.dumps(rows))
    return file


@pytest.mark.parametrize("row, items", FORMS)
def test_every_form_of_row_is_read(row, items, tmp_path):
    assert read_items(written(tmp_path, [row])) == (items, [])


@pytest.mark.parametrize("row, field, message", BROKEN)
def test_a_broken_row_is_named_and_the_others_are_read(row, field, message, tmp_path):
    items, broken = read_items(written(tmp_path, [PLAIN, row, PLAIN]))
    assert [item.id for item in items] == ["0", "2"] and len(broken) == 1
    assert (broken[0].index, broken[0].field) == (1, field)
    assert f"test.json, row 1, field {field!r}: " in str(broken[0]) and message in str(broken[0])


@pytest.mark.parametrize("content, match", [
    ("{", "is not JSON"), ("3", "holds 3, expected a list of rows"),
    ('{"a": 1}', r"holds an object with the fields \['a'\], expected a list of rows")])
def test_a_file_that_is_not_a_list_is_refused(content, match, tmp_path):
    (tmp_path / "test.json").write_text(content)
    with pytest.raises(ValueError, match=match):
        read_items(tmp_path / "test.json")
    with pytest.raises(FileNotFoundError, match="expected a test-set file"):
        read_items(tmp_path / "other.json")


def item(*media):
    return Item("7", media, "q", ("a",))


def test_media_are_found_by_path_or_by_name(tmp_path):
    (tmp_path / "deep").mkdir()
    for place in ("deep/a.mp4", "b.wav"):
        (tmp_path / place).write_bytes(b"")
    found = find_media(item("deep/a.mp4", "somewhere/else/b.wav"), tmp_path)
    assert found == [tmp_path / "deep/a.mp4", tmp_path / "b.wav"]
    with pytest.raises(FileNotFoundError, match="no c.mp4 under"):
        find_media(item("c.mp4"), tmp_path)


@needs("links")
@pytest.mark.parametrize("name", ["../secret.mp4", "deep/../../secret.mp4", "/etc/passwd",
                                  "out/secret.mp4", "link.mp4", "..", "a\0b.mp4"])
def test_no_name_leads_out_of_the_root(name, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"")
    (root / "out").symlink_to(tmp_path)
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(ValueError, match="leads out of"):
        find_media(item(name), root)


def test_a_picture_and_its_sound_become_one_clip(tmp_path):
    video, sound, still = (data_path("clips", "clip_05.mp4"), tmp_path / "a.wav",
                           tmp_path / "a.png")
    ramp = np.linspace(-0.5, 0.5, 16000 * 3, dtype=np.float32)
    soundfile.write(sound, ramp, 16000)
    Image.new("RGB", (32, 24), "red").save(still)
    alone, joined = read_media([video], image_size=64), read_media([video, sound], image_size=64)
    assert np.array_equal(joined.frames, alone.frames) and joined.duration == alone.duration
    assert np.allclose(joined.waveform[: len(ramp)], ramp, atol=1e-3)
    assert len(joined.waveform) == round(alone.duration * 16000)
    assert not joined.waveform[len(ramp) :].any()
    shown = read_media([still, sound])
    assert len(shown.frames) == 1 and len(shown.waveform) == len(ramp) and shown.missing == ()


def test_two_files_must_be_a_picture_and_a_sound(tmp_path):
    sounds = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for sound in sounds:
        soundfile.write(sound, np.zeros(16000, np.float32), 16000)
    with pytest.raises(MediaError, match="it has no video"):
        read_media(sounds)


def test_only_the_span_is_read_where_the_file_reaches_it():
    video = data_path("clips", "clip_05.mp4")
    assert read_media([video], (1.0, 3.0)).duration == pytest.approx(2.0)
    whole = read_media([video]).duration
    # A span may end slightly after the file.
    end = read_media([video], (whole - 2, whole + 0.05))
    assert end.duration == pytest.approx(2.0, abs=0.01)
    # Of published data, a file that ends before the span has been cut already.
    assert read_media([video], Span(500.0, 519.0, cut=True)).duration == whole
    for span in ((500.0, 519.0), (0.0, whole + 2), (3.0, 700.0)):
        with pytest.raises(MediaError, match=r"clip_05.mp4: it lasts .* names the span"):
            read_media([video], span)
    assert read_media([video], (0.0, whole - 0.3)).duration == pytest.approx(whole - 0.3, abs=0.05)
