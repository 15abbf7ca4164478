"""Data files become rows: all forms, every kind of broken row, and the order of time."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from favor_mini.data.manifest import read_rows, rows_from
from favor_mini.data.row import DESCRIBE, Row, Span, Turn
from favor_mini.media.clip import Clip, clip_from_arrays

PLAIN = {"video": "a.mp4", "question": "what is it?", "answer": "a cup"}
HUMAN, GPT = {"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "a cup"}
FORMS = [  # entry, media, turns, other fields
    ({"image": "a.mp4", "conversations": [HUMAN, GPT]}, ("a.mp4",), [Turn("what?", ("a cup",))],
     {}),
    ({"video": "a.mp4", "audio": "a.wav", "conversations": [
        {"from": "human", "value": "where?\n<video><audio>"}, GPT,
        {"from": "human", "value": "and who?"}, {"from": "gpt", "value": "she"}], "id": "x7"},
     ("a.mp4", "a.wav"), [Turn("where?", ("a cup",)), Turn("and who?", ("she",))], {"label": "x7"}),
    ({"audio": "a.wav", "messages": [
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": "a cup"}]}, ("a.wav",), [Turn("what?", ("a cup",))], {}),
    ({"videos": ["a.mp4"], "messages": [{"role": "user", "content": "<av> what?"},
                                        {"role": "assistant", "content": 3}]},
     ("a.mp4",), [Turn("what?", ("3",))], {}),
    ({"video_path": "a.mp4", "transcript": "see a dog, hear a bark."}, ("a.mp4",),
     [Turn(DESCRIBE, ("see a dog, hear a bark.",))], {"ordered": True}),
    ({**PLAIN, "answer": [4, 2.5], "candidates": [4, "5"], "start": 1, "end": 2.5}, ("a.mp4",),
     [Turn("what is it?", ("4", "2.5"), ("4", "5"))], {"span": Span(1.0, 2.5)}),
    ({**PLAIN, "end": 2, "audio": None, "ordered": False}, ("a.mp4",),
     [Turn("what is it?", ("a cup",))], {"span": Span(0.0, 2.0), "ordered": False})]
BROKEN = [  # entry, field, part of the message
    ({**PLAIN, "question": "is <image> red?"}, "question", "found the placeholder <image> within"),
    ({**PLAIN, "question": "<video>"}, "question", "expected a question, found '<video>' alone"),
    ({**PLAIN, "answer": "a <av>"}, "answer", "found the placeholder <av>"),
    ({**PLAIN, "answer": True}, "answer", "found True"),
    ({**PLAIN, "answer": float("nan")}, "answer", "found nan"),
    ({**PLAIN, "answer": "half \ud800"}, "answer", "half of a surrogate pair"),
    ({**PLAIN, "question": 3}, "question", "expected a text, found 3"),
    ({**PLAIN, "ordered": "yes"}, "ordered", "expected true or false, found 'yes'"),
    ({**PLAIN, "start": 3}, "end", "it is missing, but there is a start"),
    ({**PLAIN, "start": 3, "end": 2}, "end", "0 <= start < end, found [3, 2]"),
    ({**PLAIN, "audio": ["a.wav", "b.wav"]}, "video", "found ('a.mp4', 'a.wav', 'b.wav')"),
    ({**PLAIN, "video": {"bytes": "x"}}, "video", "expected a text, or a list of texts, found {"),
    ({"video": "a.mp4", "conversations": []}, "conversations", "expected a list of pairs"),
    ({"video": "a.mp4", "conversations": [HUMAN]}, "conversations", "the last question has no"),
    ({"video": "a.mp4", "conversations": [GPT, HUMAN]}, "conversations", "at message 0"),
    ({"video": "a.mp4", "conversations": [HUMAN, GPT, GPT, GPT]}, "conversations", "at message 2"),
    ({"video": "a.mp4", "conversations": [HUMAN, GPT, HUMAN, GPT]}, "conversations",
     "placeholder <video>"),
    ({"video": "a.mp4", "messages": [{"role": "system", "content": "be brief"}]}, "messages",
     "found the speaker 'system', expected one of human"),
    ({"video": "a.mp4", "messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
     "messages", 'expected {"type": "text"'),
    (json.loads("[" * 900 + "]" * 900), "row", ""),
    (["a.mp4", "what?"], "row", "expected an object")]


@pytest.mark.parametrize("entry, media, turns, fields", FORMS)
def test_every_form_becomes_the_row_that_it_says(entry, media, turns, fields, tmp_path):
    expected = Row("0", media, tuple(turns), **fields)
    assert rows_from([entry]) == ([expected], [])
    (tmp_path / "rows.json").write_text(json.dumps([entry]))
    assert read_rows(tmp_path / "rows.json") == ([expected], [])


@pytest.mark.parametrize("entry, field, message", BROKEN)
def test_a_broken_row_is_named_by_file_row_and_field(entry, field, message, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([PLAIN, entry, PLAIN]))
    rows, (broken,) = read_rows(tmp_path / "rows.json")
    assert [row.id for row in rows] == ["0", "2"]
    assert (broken.index, broken.field, broken.file.name) == (1, field, "rows.json")
    assert f"rows.json, row 1, field {field!r}: " in str(broken) and message in str(broken)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.json"])
def test_a_broken_line_is_broken_alone(name, tmp_path):
    """With a byte order mark, Windows line ends, empty lines and a sign that ends a line for
    `str.splitlines`."""
    lines = [json.dumps(PLAIN), "", '{"video": "a.mp4", "ans', json.dumps({**PLAIN, "answer": 3}),
             "  ", json.dumps({**PLAIN, "answer": "two\u2028lines"}, ensure_ascii=False), "7", ""]
    (tmp_path / name).write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    rows, broken = read_rows(tmp_path / name)
    assert [(row.id, row.turns[0].answers, row.unit) for row in rows] == [
        ("1", ("a cup",), "line"), ("4", ("3",), "line"), ("6", ("two\u2028lines",), "line")]
    assert [(error.index, error.field) for error in broken] == [(3, "line"), (7, "row")]
    assert f"{name}, line 3, field 'line': it is not JSON: " in str(broken[0])


def test_rows_may_share_an_id(tmp_path):
    rows, broken = rows_from([{**PLAIN, "id": "same"}, {**PLAIN, "id": "same"}])
    assert [(row.id, row.label) for row in rows] == [("0", "same"), ("1", "same")] and not broken


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_becomes_rows(mark, tmp_path):
    table = [["file", "Question", "answer", "start", "end", "candidates"],
             ["a.mp4", '"what, and ""why""\n?"', "3", "1", "2.5", "3|four"],
             ["", "", "", "", "", ""], ["b.mp4", "who?", "she", "", "", ""],
             ["b.mp4", "who?", "", "", "", ""], ["b.mp4", "who?", "she", "soon", "2", ""],
             ["b.mp4", "who?", "she", "", "", "", "too", "many"], ["c.mp4", "who?", "he"]]
    text = "\r\n".join(mark.join(cells) for cells in table)
    (tmp_path / "rows.csv").write_bytes(text.encode("utf-8-sig"))
    rows, broken = read_rows(tmp_path / "rows.csv")
    assert rows == [
        Row("2", ("a.mp4",), (Turn('what, and "why"\n?', ("3",), ("3", "four")),), Span(1.0, 2.5),
            unit="line"),
        Row("5", ("b.mp4",), (Turn("who?", ("she",)),), unit="line"),
        Row("9", ("c.mp4",), (Turn("who?", ("he",)),), unit="line")]
    assert [(e.index, e.field) for e in broken] == [(6, "answer"), (7, "start"), (8, "line")]
    assert "expected 6 cells, found 8" in str(broken[2]) and "found 'soon'" in str(broken[1])


@pytest.mark.parametrize("name, content, match", [
    ("rows.csv", b"a.mp4,what?,a cup\n", "line 1: found a.mp4,what.*expected a header"),
    ("rows.csv", b"file,answer,answer\n", "the column 'answer' twice"),
    ("rows.csv", b'file,question,answer\na.mp4,"what?,a cup\n', "line 2: it is not CSV"),
    ("rows.json", "[]".encode("utf-16"), "not JSON or CSV in UTF-8"),
    ("rows.json", b"[" * 100_000, "is not JSON"),
    ("rows.json", b"[" + b"9" * 5000 + b"]", "is not JSON"),
    ("rows.json", b"", "is empty, expected rows")])
def test_a_file_in_another_form_is_refused(name, content, match, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_rows(tmp_path / name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["<video>", "human", "gpt", "a.mp4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "video", "image", "audio", "question", "answer", "conversations", "messages", "from",
        "value", "role", "content", "type", "text", "path", "array", "start", "end", "duration",
        "candidates", "ordered", "transcript", "id", "num_frames"]), inner, max_size=5),
    max_leaves=12)


@pytest.mark.parametrize("array", [{}, [[0.0], [1.0, 2.0]], ["a"], None])
def test_a_sound_that_is_no_array_of_numbers_is_a_broken_row(array):
    entry = {"audio": {"array": array, "sampling_rate": 16000}, "question": "a?", "answer": "b"}
    rows, broken = rows_from([entry])
    assert not rows and "field 'audio'" in str(broken[0])


@given(st.lists(JSON, max_size=3))
def test_no_json_stops_the_reading(entries):
    rows, broken = rows_from(entries)
    assert len(rows) + len(broken) == len(entries)
    for row in rows:
        assert row.turns and all(t.question.strip() and t.answers for t in row.turns)
        assert isinstance(row.text, str | None)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
                min_size=1, max_size=4), st.booleans())
def test_what_was_written_is_read(texts, windows):
    import tempfile
    from pathlib import Path

    texts = [text.replace("<", "") or "x" for text in texts]
    entries = [{"video": "a.mp4", "question": "what?", "answer": t} for t in texts if t.strip()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        lines = [json.dumps(entry, ensure_ascii=windows) for entry in entries]
        file.write_bytes(("\r\n" if windows else "\n").join(lines).encode())
        rows, broken = read_rows(file)
    assert [row.turns[0].answers[0] for row in rows] == [e["answer"] for e in entries]
    assert not broken


@pytest.mark.parametrize("fields, text", [
    ({"question": "Describe the clip.", "answer": "a dog barks, then it runs"},
     "a dog barks, then it runs"),
    ({"question": "Describe it.", "answer": "a dog"}, None),  # too short to have an order
    ({"question": "Describe it.", "answer": "a dog", "ordered": True}, "a dog"),
    ({"question": "Transcribe the speech.", "answer": ["we go to the sea", "we go"]},
     "we go to the sea"),
    ({"question": "Describe it.", "answer": "a dog on a green lawn", "ordered": False}, None),
    ({"question": "Describe it.", "answer": "a dog on a green lawn", "video": "a.PNG"}, None),
    ({"question": "why is the dog here?", "answer": "it waits for its master to come"}, None),
    ({"question": "why?", "answer": "it waits for its master", "ordered": True},
     "it waits for its master"),
    ({"caption": "first a bell, then a dog"}, "first a bell, then a dog")])
def test_the_text_of_a_row_tells_what_happens_in_order(fields, text):
    (row,), _ = rows_from([{"video": "a.mp4", **fields}])
    assert row.text == text


def test_the_caption_among_several_turns_is_the_text():
    (row,), _ = rows_from([{"video": "a.mp4", "ordered": True, "conversation": [
        ["why?", "because it is such a very long day here"], ["Describe the film.", "sun, rain"]]}])
    assert row.text == "sun, rain"


def test_decoded_media_become_clips_from_memory_but_never_from_a_file(tmp_path):
    from PIL import Image

    wave = np.linspace(-0.5, 0.5, 8000)
    sound = {"array": wave, "sampling_rate": 16000, "path": "a.wav"}
    picture = Image.new("RGB", (4, 6), (255, 0, 0))
    (row,), broken = rows_from([{**PLAIN, "video": None, "image": picture, "audio": sound}])
    assert not broken and isinstance(row.media, Clip) and row.media.missing == ()
    assert row.media.frames.shape == (1, 6, 4, 3) and (row.media.frames == [255, 0, 0]).all()
    assert np.allclose(row.media.waveform, wave, atol=1e-6)
    _, (error,) = rows_from([{**PLAIN, "video": None, "audio": {**sound, "sampling_rate": 44100}}])
    assert "found 44100 samples a second, expected 16000" in str(error) and error.field == "audio"
    clip = clip_from_arrays(waveform=wave)
    assert rows_from([{**PLAIN, "video": clip}])[0][0].media is clip
    (row,), _ = rows_from([{**PLAIN, "video": {"path": "b.mp4", "bytes": None}}])
    assert row.media == ("b.mp4",)
    (tmp_path / "rows.json").write_text(json.dumps([
        {**PLAIN, "video": {"array": [0.0], "sampling_rate": 16000}},
        {**PLAIN, "video": {"num_frames": 1, "audio_tokens": 0}}]))
    rows, broken = read_rows(tmp_path / "rows.json")
    assert rows == [] and [error.field for error in broken] == ["video", "video"]


def test_a_field_that_is_not_read_is_kept_by_name_and_a_misspelt_one_is_suggested():
    rows, broken = rows_from([{**PLAIN, "strat": 1.0, "source": "x"}, {**PLAIN, "id": 3},
                              {"vidoe": "a.mp4", "question": "what?", "answer": "a"}])
    assert [row.unused for row in rows] == [("strat", "source"), ()]
    assert "no field names a file" in str(broken[0]) and "Fix: write 'video'" in str(broken[0])


def test_a_file_without_rows_says_so(tmp_path):
    (tmp_path / "rows.json").write_text(" \n")
    with pytest.raises(ValueError, match=r"rows.json is empty, expected rows"):
        read_rows(tmp_path / "rows.json")
    with pytest.raises(FileNotFoundError, match="is a folder, expected a file of rows"):
        read_rows(tmp_path)


def test_a_dataset_of_the_library_gives_rows():
    datasets = pytest.importorskip("datasets")
    entries = [{**PLAIN, "end": 2.0, "start": 1.0}, {"video": "b.mp4", "conversations": [
        HUMAN, GPT]}, {"audio": "c.wav", "transcript": "so"}]
    names = {name for entry in entries for name in entry}  # what a row lacks becomes None
    data = datasets.Dataset.from_dict({n: [e.get(n) for e in entries] for n in names})
    rows, broken = rows_from(data, "mine")
    assert [row.media for row in rows] == [("a.mp4",), ("b.mp4",), ("c.wav",)] and not broken
    assert rows[0].span == Span(1.0, 2.0) and rows[1].turns == (Turn("what?", ("a cup",)),)
    assert rows[2].text == "so"
