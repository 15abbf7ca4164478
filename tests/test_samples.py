"""The sample files agree with their scripts and belong to the split "samples"."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from docs.tools import samples, test_sets
from docs.tools.card import data_card
from docs.tools.samples import questions_for, write_sample
from favor_mini import data_path
from favor_mini.media.read import read_clip
from favor_mini.world.pictures import draw_frames
from favor_mini.world.questions import FAMILIES
from favor_mini.world.samples import read_samples, scene_from_dict, verify
from favor_mini.world.scene import draw_scene, split_of
from favor_mini.world.sounds import make_waveform

ALL = read_samples()
OF_KIND = {kind: [s for s in ALL if s.kind == kind] for kind in ("clip", "sound", "image")}
LINES = [json.loads(line)
         for line in data_path("samples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_file_agrees_with_its_checksum():
    assert verify(data_path()) == []


def test_number_and_size_of_the_files():
    assert sum(p.stat().st_size for p in data_path().rglob("*") if p.is_file()) < 18e6
    assert {kind: len(found) for kind, found in OF_KIND.items()} == {"clip": 32, "sound": 4,
                                                                     "image": 4}
    assert len({s.name for s in ALL}) == len(ALL) and all(s.path.is_file() for s in ALL)
    assert {path.name for path in data_path().iterdir()} >= {"README.md", "LICENSE", "SHA256SUMS",
                                                             "speech"}


def test_every_family_is_asked_several_times_by_clips():
    asked = Counter(q.family for sample in OF_KIND["clip"] for q in sample.questions)
    assert set(asked) == set(FAMILIES) and min(asked.values()) >= 5


def test_scenes_are_held_out_and_all_different():
    seeds = [s.scene.seed for s in ALL]
    assert {split_of(seed) for seed in seeds} == {"samples"} and len(set(seeds)) == len(seeds)


def test_training_refuses_samples():
    pytest.importorskip("torch")
    from favor_mini.world.lessons import Dialogues

    with pytest.raises(ValueError, match="samples"):
        Dialogues([{"seed": 5, "num_frames": 20}, {"seed": ALL[0].scene.seed, "num_frames": 20}],
                  count=2)
    assert len(Dialogues([{"seed": 5, "num_frames": 20}], count=2)) == 2


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["file"])
def test_scripts_and_questions_follow_from_the_seed(line):
    scene = draw_scene(line["seed"])
    assert line["script"] == json.loads(json.dumps(scene.to_dict()))
    assert scene_from_dict(line["script"]) == scene
    expected = questions_for(scene, line["kind"], line.get("time"))
    asked = [(q["family"], q["text"], q["answer"], tuple(q["candidates"]), tuple(q["needs"]))
             for q in line["questions"]]
    assert asked == [(q.family, q.text, q.answer, q.candidates, q.needs)
                     for q in expected] and asked


def test_questions_need_only_the_streams_of_their_file():
    for sample in OF_KIND["sound"]:
        assert all("video" not in q.needs for q in sample.questions)
        assert sample.transcript.count("see nothing") == sample.transcript.count("see ")
    for sample in OF_KIND["image"]:
        shown = next(m for m in sample.scene.moments if m.start <= sample.time < m.end)
        words = {*shown.subject.split(), shown.direction}
        assert all(q.needs == ("video",) and q.answer in words for q in sample.questions)
        assert sample.transcript.endswith("hear nothing.") and ";" not in sample.transcript
    assert {q.family for s in OF_KIND["image"] for q in s.questions} == {"colour", "where", "read"}


@pytest.mark.parametrize("sample", OF_KIND["clip"], ids=lambda s: s.name)
def test_clips_are_h264_and_aac_of_8_to_12_seconds(sample):
    with av.open(str(sample.path)) as file:
        picture, sound = file.streams.video[0], file.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height, picture.average_rate) == (256, 256, 24)
        assert abs(file.duration / av.time_base - sample.scene.duration) < 0.1
        assert 8 <= sample.scene.duration <= 12


@pytest.mark.parametrize("sample", OF_KIND["clip"][::8], ids=lambda s: s.name)
def test_clips_agree_with_their_scripts(sample):
    clip = read_clip(sample.path, frame_rate=2.0, sampling_rate=16000)
    drawn = draw_frames(sample.scene, clip.frame_times, clip.frames.shape[1])
    assert len(clip.frames) in (int(sample.scene.duration * 2), int(sample.scene.duration * 2) + 1)
    assert np.abs(clip.frames.astype(int) - drawn).mean(axis=(1, 2, 3)).max() < 4
    waveform = make_waveform(sample.scene, 16000)
    assert abs(lag(clip.waveform, waveform)) < 0.005
    n = min(len(clip.waveform), len(waveform))
    assert np.corrcoef(clip.waveform[:n], waveform[:n])[0, 1] > 0.9


def lag(wave, reference, rate=16000):
    """By how many seconds `wave` comes after `reference`: the peak of their cross-correlation."""
    n = len(wave) + len(reference)
    peak = int(np.fft.irfft(np.fft.rfft(wave, n) * np.conj(np.fft.rfft(reference, n)), n).argmax())
    return (peak if peak < n // 2 else peak - n) / rate


def test_lag():
    wave = np.random.default_rng(0).normal(size=4000)
    assert lag(np.roll(wave, 160), wave) == 0.01 and lag(wave, np.roll(wave, 160)) == -0.01


@pytest.mark.parametrize("sample", OF_KIND["sound"], ids=lambda s: s.name)
def test_sounds_agree_with_their_scripts(sample):
    waveform, rate = soundfile.read(sample.path, dtype="float32")
    assert rate == 16000 and np.abs(waveform - make_waveform(sample.scene, rate)).max() < 2e-4
    assert read_clip(sample.path).missing == ("video",)


@pytest.mark.parametrize("sample", OF_KIND["image"], ids=lambda s: s.name)
def test_images_agree_with_their_scripts(sample):
    image = np.asarray(Image.open(sample.path))
    assert np.array_equal(image, draw_frames(sample.scene, [sample.time], 256)[0])


@pytest.mark.parametrize("line", [LINES[5], LINES[-8], LINES[-1]], ids=lambda line: line["file"])
def test_making_again_gives_the_same_bytes(tmp_path, line):
    if samples.build() != line["made_with"]:
        pytest.skip(f"the samples were made with {line['made_with']}; here is {samples.build()}")
    planned = next(entry for entry in samples.plan() if entry["file"] == line["file"])
    assert json.loads(json.dumps(write_sample(tmp_path, planned))) == line
    assert (tmp_path / line["file"]).read_bytes() == data_path(line["file"]).read_bytes()
    written = [path.name for path in (tmp_path / line["file"]).parent.iterdir()]
    assert written == [data_path(line["file"]).name]


def test_verify_reports_changed_missing_and_new_files(tmp_path):
    shutil.copytree(data_path("images"), tmp_path / "images")
    samples.write_sums(tmp_path)
    assert verify(tmp_path) == [] and samples.main(["verify", "--folder", str(tmp_path)]) == 0
    (tmp_path / "images/image_00.png").write_bytes(b"other")
    (tmp_path / "images/image_01.png").unlink()
    (tmp_path / "new.txt").write_text("new")
    assert sorted(verify(tmp_path)) == ["images/image_00.png has changed",
                                        "images/image_01.png is missing",
                                        "new.txt is not listed"]
    assert samples.main(["verify", "--folder", str(tmp_path)]) == 1


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    planned = next(entry for entry in samples.plan() if entry["kind"] == "sound")
    old = tmp_path / planned["file"]
    old.parent.mkdir()
    old.write_bytes(b"old")

    def break_off(path, *args, **kw):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "write", break_off)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, planned)
    assert old.read_bytes() == b"old" and list(old.parent.iterdir()) == [old]


def test_errors_say_how_to_fix_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="make samples"):
        read_samples(tmp_path)
    (tmp_path / "samples.jsonl").write_text(json.dumps(LINES[0]) + "\n{}\n")
    with pytest.raises(ValueError, match="line 2"):
        read_samples(tmp_path)


def test_reading_the_samples_imports_neither_torch_nor_codecs():
    code = ("import sys; from favor_mini.world.samples import read_samples; "
            "assert len(read_samples()) == 40; slow = 'torch', 'transformers', 'av', 'librosa'; "
            "print([name for name in slow if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=data_path().parent)
    assert done.stdout.strip() == "[]"


def test_the_build_names_the_encoders():
    assert "libavcodec" in samples.build() and "Pillow" in samples.build()


@pytest.mark.slow
def test_the_data_card_is_up_to_date():
    card = data_card(LINES, *test_sets.read(data_path()))
    assert card == (data_path() / "README.md").read_text(encoding="utf-8")
