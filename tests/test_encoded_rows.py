"""Rows as training data: each medium is encoded once, by content, and nothing is left out in
silence."""

import threading

import numpy as np
import pytest
import soundfile
import torch
from conftest import needs, tiny_clip, tiny_model, tiny_processor
from PIL import Image

from favor_mini.data import encoded
from favor_mini.data.encoded import EncodedRows, read_tensors
from favor_mini.data.features import encode_media
from favor_mini.data.manifest import rows_from
from favor_mini.media.clip import MediaError

RATE = 16000


@pytest.fixture(scope="module")
def parts():
    model = tiny_model()
    return model, tiny_processor(model.config)


@pytest.fixture
def root(tmp_path):
    """a.wav and b.wav of 0.9 and 0.5 s, a picture, and a copy of a.wav by another name."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name, seconds in (("a.wav", 0.9), ("b.wav", 0.5)):
        noise = np.random.default_rng(len(name)).normal(0, 0.1, round(seconds * RATE))
        soundfile.write(folder / name, noise.astype(np.float32), RATE)
    (folder / "copy.wav").write_bytes((folder / "a.wav").read_bytes())
    Image.new("RGB", (20, 20), "red").save(folder / "p.png")
    return folder


@pytest.fixture
def counted(monkeypatch):
    """The clips that were encoded, by number of audio tokens."""
    calls, encode = [], encoded.encode_media

    def counting(model, processor, media):
        calls.extend(m["audio_tokens"] for m in media)
        return encode(model, processor, media)

    monkeypatch.setattr(encoded, "encode_media", counting)
    return calls


def row(media="a.wav", question="what was heard?", answer="bell", **more):
    return {"audio": media, "question": question, "answer": answer, **more}


def make(parts, root, entries, **options):
    rows, broken = rows_from(entries)
    assert not broken
    return EncodedRows(*parts, rows, root, **{"cache": root.parent / "cache", "progress": False,
                                              **options})


def test_rows_on_the_same_clip_share_its_features(parts, root, counted):
    """By content, not by name; a stretch, or another partner file, is another medium."""
    entries = [row(), row(question="what was first?"), row("copy.wav"), row("b.wav"),
               row(start=0.1, end=0.3), row(image="p.png")]
    made = make(parts, root, entries)
    assert sorted(counted) == [10, 25, 45, 45]  # 0.2 s, 0.5 s, 0.9 s alone and with a picture
    assert len(set(made.keys)) == 4 and made.keys[0] == made.keys[1] == made.keys[2]
    again = make(parts, root, entries)
    assert len(counted) == 4 and again.keys == made.keys
    data = again.dataset("ask", 6)
    assert data.identity == made.dataset("ask", 9).identity
    for item in (data[i] for i in range(6)):
        assert item["audio_tokens"] == len(item["audio_features"])


def test_features_are_those_of_the_file(parts, root):
    model, processor = parts
    made = make(parts, root, [row(image="p.png")])
    medium = ((root / "p.png", root / "a.wav"), None)
    (expected,) = encode_media(model, processor, [read_tensors(medium, processor)])
    item = made.dataset("ask", 1)[0]
    assert item["num_frames"] == 9 and item["turns"] == [("what was heard?", "bell")]
    for name in ("visual_features", "audio_features"):
        assert torch.equal(item[name], expected[name])
    assert made.dataset("ask", 1).lengths == [9]


def test_what_the_features_depend_on_is_encoded_again(parts, root, counted, tmp_path):
    entries = [row(), row("b.wav")]
    first = make(parts, root, entries).dataset("ask", 2).identity
    soundfile.write(root / "b.wav", np.zeros(RATE // 2, np.float32), RATE)  # the same name
    second = make(parts, root, entries).dataset("ask", 2).identity
    assert len(counted) == 3 and first != second
    other = tiny_model(seed=1)
    third = make((other, parts[1]), root, entries).dataset("ask", 2).identity
    assert len(counted) == 5 and third != second
    processor = tiny_processor()
    processor.settings.image_mean = (0.0, 0.0, 0.0)
    make((parts[0], processor), root, entries)
    assert len(counted) == 7
    moved = root.rename(tmp_path / "moved")
    made = make(parts, moved, entries, cache=tmp_path / "cache")
    assert made.dataset("ask", 2).identity == second
    assert len(counted) == 7


def test_a_stopped_run_continues_and_a_damaged_file_is_made_again(
        parts, root, counted, monkeypatch):
    entries, save = [row(), row("b.wav")], encoded.save_features

    def stopping(rows, file):
        if len(counted) == 2:
            raise KeyboardInterrupt
        save(rows, file)

    monkeypatch.setattr(encoded, "save_features", stopping)
    with pytest.raises(KeyboardInterrupt):
        make(parts, root, entries)
    monkeypatch.setattr(encoded, "save_features", save)
    made = make(parts, root, entries)
    assert counted == [45, 25, 25]
    file = root.parent / "cache" / f"{made.keys[0]}.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:20])
    make(parts, root, entries)
    assert counted == [45, 25, 25, 45] and file.read_bytes() == whole


def test_several_at_once_encode_each_clip_once(parts, root, counted):
    entries, made, errors = [row(), row("b.wav")], [], []

    def work():
        try:
            made.append(make(parts, root, entries).dataset("ask", 4).identity)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(set(made)) == 1 and len(made) == 3 and sorted(counted) == [25, 45]


@needs("links")
def test_rows_that_cannot_be_used_are_named(parts, root, tmp_path):
    (tmp_path / "secret.wav").write_bytes((root / "a.wav").read_bytes())
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "text.wav").write_text("no sound")
    soundfile.write(root / "long.wav", np.zeros(100 * RATE, np.float32), RATE)
    rows, _ = rows_from([
        row(), row("none.wav"), row("../secret.wav"), row("link.wav"), row("text.wav"),
        row("long.wav"), row(answer="bell " * 600), row("a.wav", duration=[0.2, 30]), row("b.wav"),
        row("a.wav", start=0.2, end=30)])
    made = EncodedRows(*parts, rows, root, cache=tmp_path / "cache", name="mine.json",
                       progress=False)
    assert [r.id for r in made.rows] == ["0", "7", "8"]  # 7: the file has been cut already
    problems = {error.index: str(error) for error in made.skipped}
    assert list(problems) == [1, 2, 3, 4, 5, 6, 9]
    assert "but the row names the span 0.2 to 30 s" in problems[9]
    assert problems[1].startswith("mine.json, row 1, field 'media': no none.wav under")
    assert "leads out of the media root" in problems[2] and "leads out" in problems[3]
    assert "text.wav" in problems[4] and "not a media file" in problems[4]
    assert "100 s are 750 tokens, but the language model takes 512" in problems[5]
    assert "tokens, but the language model takes 512" in problems[6]
    with pytest.raises(ValueError, match="no row to train on.*mine.json, row 1, field 'media'"):
        EncodedRows(*parts, rows[1:4], root, cache=tmp_path / "cache", name="mine.json")


def test_a_long_film_is_refused_before_it_is_decoded(parts, root, monkeypatch):
    soundfile.write(root / "long.wav", np.zeros(100 * RATE, np.float32), RATE)
    monkeypatch.setattr(encoded, "read_media", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(MediaError, match="100 s are 750 tokens.*Fix: name a part of the clip"):
        read_tensors(((root / "long.wav",), None), parts[1], 512)


def test_items_are_always_the_same_and_epochs_draw_other_answers(parts, root):
    made = make(parts, root, [row(answer=["bell", "ring", "horn"], question=f"{i}?")
                              for i in range(6)])
    data = made.dataset("ask", 60)
    turns = [data[i]["turns"] for i in range(60)]
    assert turns == [made.dataset("ask", 60)[i]["turns"] for i in range(60)]
    asked = [f"{i}?" for i in range(6)]
    for start in range(0, 60, 6):  # every row once
        assert sorted(t[0][0] for t in turns[start : start + 6]) == asked
    for question in asked:
        assert {t[0][1] for t in turns[:18] if t[0][0] == question} == {"bell", "ring", "horn"}
    assert len({t[0][1] for t in turns[:6]}) > 1
    assert [t[0][0] for t in turns[:6]] != asked  # not in the file's order
    with pytest.raises(IndexError):
        data[60]


def test_long_conversations_are_asked_in_parts(parts, root):
    pairs = [[f"{i}?", "so"] for i in range(20)]
    made = make(parts, root, [{"audio": "a.wav", "conversation": pairs}])
    data = made.dataset("ask", 12)
    asked = [[q for q, _ in data[i]["turns"]] for i in range(12)]
    assert all(len(each) == 8 and each == sorted(each, key=lambda q: int(q[:-1])) for each in asked)
    assert {q for each in asked for q in each} == {f"{i}?" for i in range(20)}


def test_alignment_takes_the_rows_that_tell_what_happens(parts, root):
    made = make(parts, root, [row(), {"audio": "b.wav", "transcript": "hear bell, hear horn"}])
    assert made.stages == ("align", "ask")
    data = made.dataset("align", 3)
    assert [data[i]["text"] for i in range(3)] == ["hear bell, hear horn"] * 3
    assert "turns" not in data[0] and data[0]["audio_tokens"] == 25
    assert data.identity != made.dataset("ask", 3).identity
    asked = made.dataset("ask", 2)
    assert {asked[i]["text"] for i in range(2)} == {None, "hear bell, hear horn"}
    alone = make(parts, root, [row()])
    assert alone.stages == ("ask",)
    with pytest.raises(ValueError, match="no row for the stage 'align', expected one of ask"):
        alone.dataset("align", 3)


def test_a_text_with_more_tokens_than_queries_is_named_and_not_aligned(parts, root):
    """0.5 s are 2 windows of 3 queries. Equal neighbours need a blank between them."""
    texts = ["hear bell, see drum, see horn", "bell bell bell bell.", "a bell, a drum, a horn, a"]
    made = make(parts, root, [{"audio": "b.wav", "transcript": text} for text in texts])
    data = made.dataset("align", 2)
    assert [data[i]["text"] for i in range(2)] == texts[:1] * 2 and len(made.rows) == 3
    assert [error.index for error in made.unaligned] == [1, 2]
    assert "row 1, field 'text': it takes 7 output queries, but the clip has 6" in str(
        made.unaligned[0])


def test_the_identity_follows_the_texts(parts, root):
    found = {make(parts, root, [row(**changes)]).dataset("ask", 1).identity for changes in (
        {}, {"answer": "horn"}, {"question": "what?"}, {"media": "b.wav"}, {"end": 0.5})}
    assert len(found) == 5


def test_arrays_and_features_are_media_too(parts, root, counted):
    model, processor = parts
    clip = tiny_clip(9, 0.9, 1)
    (features,) = encode_media(model, processor, [processor.media(clip)])
    made = make(parts, None or root, [{"video": clip, "question": "a?", "answer": "b"},
                                      {"video": features, "question": "a?", "answer": "b"}])
    assert len(counted) == 1
    one, two = (made.dataset("ask", 2)[i] for i in range(2))
    assert torch.equal(one["visual_features"], two["visual_features"])
    assert torch.equal(one["audio_features"], two["audio_features"])
    changed = tiny_clip(9, 0.9, 1)
    changed.frames[0, 0, 0, 0] ^= 1
    make(parts, root, [{"video": changed, "question": "a?", "answer": "b"}])
    assert len(counted) == 2


def test_with_question_conditioning_the_media_themselves_are_read(root, counted):
    model = tiny_model(question_conditioning=True)
    processor = tiny_processor(model.config)
    made = make((model, processor), root, [row(image="p.png"), row("b.wav")])
    assert counted == []
    data = made.dataset("ask", 2)
    items = sorted((data[i] for i in range(2)), key=lambda item: item["num_frames"])
    assert "pixel_values" not in items[0] and items[1]["pixel_values"].shape == (9, 3, 16, 16)
    assert sorted(data.lengths) == [5, 9]
    loss = model(**processor.collate(items))["loss"]
    assert torch.isfinite(loss)


def test_items_train_the_model(parts, root):
    """Through the collate function of `training.finetune`."""
    model, processor = parts
    data = make(parts, root, [row(image="p.png"), row("b.wav")]).dataset("ask", 4)
    batch = processor.collate([data[i] for i in range(4)])
    assert batch["visual_features"].shape[:2] == (4, 9)
    assert torch.isfinite(model(**batch)["loss"])
