"""The sounds of the mini world: when, how loud and how different they are, and the voices."""

import importlib.util
import itertools
import json
import wave
from dataclasses import replace

import numpy as np
import pytest

from favor_mini import data_path
from favor_mini.world import speech
from favor_mini.world.scene import SPLITS, THINGS, WORDS, Heard, Moment, Scene, draw_scene
from favor_mini.world.sounds import FADE_OUT, LOUDNESS, PEAK, SOUNDS, make_event, make_waveform

RATE = 16000
KINDS = [*(("sound", name) for name in THINGS), *(("word", name) for name in WORDS)]


def scene_of(*heard: Heard, noise: float = 0.0, seed: int = 5) -> Scene:
    """A scene of one 2 s moment for each event."""
    moments = tuple(Moment(2.0 * i, 2.0 * i + 2, "nothing", heard=event)
                    for i, event in enumerate(heard))
    return Scene(seed, 2.0 * len(heard), moments, (0, 0, 0), noise)


# Scenes


@pytest.mark.parametrize("seed", [0, 1, 10**9, 2 * 10**9, 3 * 10**9])
def test_a_scene_always_has_the_same_waveform_of_its_duration(seed):
    scene = draw_scene(seed)
    waveform = make_waveform(scene)
    speech.load_voice.cache_clear()
    assert np.array_equal(waveform, make_waveform(scene))
    assert waveform.shape == (round(scene.duration * RATE),)
    assert waveform.dtype == np.float32 and np.isfinite(waveform).all()


def test_other_seeds_give_other_sounds():
    scene = scene_of(Heard("sound", "bell", 0.5, 0.6, seed=1), noise=0.003)
    # the noise
    assert not np.array_equal(make_waveform(scene), make_waveform(replace(scene, seed=6)))
    for kind, name in KINDS:
        one, other = (make_event(Heard(kind, name, 0.5, 0.6, seed)) for seed in (1, 2))
        assert len(one) != len(other) or np.abs(one - other).max() > 0.01, name


@pytest.mark.parametrize("kind,name", KINDS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_event_begins_within_5_ms_and_stays_within_its_span(kind, name, split):
    for seed in range(6):
        heard = Heard(kind, name, start=0.8 + 0.0131 * seed, seconds=0.5 + 0.05 * seed, seed=seed)
        waveform = np.abs(make_waveform(scene_of(heard, seed=SPLITS[split].start)))
        audible = np.flatnonzero(waveform > 0.01 * waveform.max()) / RATE
        assert -1 / RATE <= audible[0] - heard.start < 0.005
        assert heard.start + 0.6 * heard.seconds < audible[-1] <= heard.start + heard.seconds
        first = round(heard.start * RATE)
        end = first + int(heard.seconds * RATE)
        assert not waveform[:first].any() and not waveform[end:].any()


def test_an_event_ends_softly_and_words_are_never_cut_off():
    for kind, name in KINDS:
        for seconds in (0.3, 0.5, 0.61, 0.75):
            event = np.abs(make_event(Heard(kind, name, 0.0, seconds, seed=3)))
            assert event[-int(0.0005 * RATE):].max() < 0.1 * event.max(), (name, seconds)


@pytest.mark.parametrize("seed", range(4))
def test_between_events_there_is_noise_of_the_scenes_level(seed):
    scene = draw_scene(seed)
    waveform = make_waveform(scene)
    silent = np.ones(len(waveform), bool)
    for moment in scene.moments:
        if moment.heard:
            start = round(moment.heard.start * RATE)
            silent[start:start + int(moment.heard.seconds * RATE)] = False
    assert waveform[silent].std() == pytest.approx(scene.noise, rel=0.1)
    assert abs(waveform[silent].mean()) < 0.1 * scene.noise
    assert np.abs(waveform[silent]).max() < 4 * scene.noise
    quiet = make_waveform(replace(scene, noise=0.0))
    assert not quiet[silent].any()
    assert np.allclose(waveform - quiet, make_waveform(replace(scene, moments=())), atol=1e-6)


def test_nothing_clips():
    """The peak stays below the limit by itself in drawn scenes, and is held there in others."""
    for seed in [*range(20), *range(2 * 10**9, 2 * 10**9 + 10)]:
        assert np.abs(make_waveform(draw_scene(seed))).max() < 0.95
    loud = make_waveform(scene_of(Heard("sound", "horn", 0.5, 0.6, seed=1), noise=0.8))
    assert np.abs(loud).max() == np.float32(PEAK)


def test_loudness_varies_within_its_range():
    levels = {name: [make_event(Heard("sound", name, 0, 0.6, seed)).std() for seed in range(30)]
              for name in THINGS}
    for name, values in levels.items():
        assert max(values) < 1.05 * LOUDNESS[1] and max(values) > 1.3 * min(values), name
        assert min(values) > 0.04, name


@pytest.mark.parametrize("rate", [12000, 22050, 44100])
def test_other_sampling_rates_keep_time_and_loudness(rate):
    for kind, name in [("sound", "siren"), ("sound", "bird"), ("word", "river")]:
        scene = scene_of(Heard(kind, name, 0.7, 0.6, seed=4))
        usual, other = make_waveform(scene), make_waveform(scene, sampling_rate=rate)
        assert len(other) == round(scene.duration * rate)
        assert np.flatnonzero(other)[0] / rate == pytest.approx(np.flatnonzero(usual)[0] / RATE,
                                                                abs=0.001)
        assert other.std() == pytest.approx(usual.std(), rel=0.05)


def test_a_thing_without_a_sound_and_a_low_sampling_rate_are_refused():
    assert set(SOUNDS) == set(THINGS)
    with pytest.raises(ValueError, match="found the sound 'violin', expected one of bell"):
        make_waveform(scene_of(Heard("sound", "violin", 0.5, 0.6, seed=1)))
    with pytest.raises(ValueError, match="8000 Hz.*12000 or more"):
        make_waveform(scene_of(), sampling_rate=8000)


# Sounds are distinguishable


def mean_log_mel(event: np.ndarray) -> np.ndarray:
    """The spectrum averaged over time, without the loudness: (40,)."""
    import librosa

    noise = np.random.default_rng(0).normal(0, 0.003, len(event))
    mel = librosa.feature.melspectrogram(y=event + noise, sr=RATE, n_fft=400, hop_length=160,
                                         n_mels=40)
    spectrum = np.log(mel + 1e-6).mean(axis=1)
    return spectrum - spectrum.mean()


def test_the_eight_sounds_and_speech_differ_in_their_spectra():
    def events(seeds):
        return {name: [make_event(Heard("sound", name, 0, 0.5 + 0.25 * (s % 7) / 7, s))
                       for s in seeds]
                for name in THINGS} | {
                    "speech": [make_event(Heard("word", WORDS[s % 20], 0, 0.6, s)) for s in seeds]}

    centroids = {name: np.mean([mean_log_mel(e) for e in found], axis=0)
                 for name, found in events(range(40)).items()}
    for name, found in events(range(1000, 1040)).items():
        nearest = [min(centroids, key=lambda c: np.sum((centroids[c] - mean_log_mel(e)) ** 2))
                   for e in found]
        assert nearest.count(name) >= 37, (name, nearest)  # of 40; by chance 4 or 5


def test_the_bell_falls_silent_and_the_horn_does_not():
    for seed in range(10):
        bell, horn = (make_event(Heard("sound", name, 0, 0.7, seed)) for name in ("bell", "horn"))
        early, late = slice(0, RATE // 5), slice(RATE // 2, int(RATE * (0.7 - FADE_OUT)))
        assert bell[late].std() < 0.5 * bell[early].std()
        assert horn[late].std() == pytest.approx(horn[early].std(), rel=0.1)


def test_the_siren_glides_over_more_than_an_octave():
    import librosa

    for seed in range(10):
        siren = make_event(Heard("sound", "siren", 0, 0.7, seed))
        pitch = librosa.yin(siren, fmin=300, fmax=2000, sr=RATE, frame_length=512)
        low, high = np.quantile(pitch, [0.05, 0.95])
        assert 400 < low < 700 and high / low > 1.6


# The speech bank


def test_the_bank_holds_every_word_in_every_voice_at_two_speeds():
    seen = set()
    for voice in speech.VOICES:
        words = speech.load_voice(voice)
        assert tuple(words) == WORDS + speech.ASKED
        for word, takes in words.items():
            lengths = the_maker().ASKED_LENGTHS if word in speech.ASKED else the_maker().LENGTHS
            assert len(takes) == len(lengths)
            for take, longest in zip(takes, lengths, strict=True):
                assert 0.3 <= len(take) / RATE <= longest
                assert 0.05 < take.std() < 0.15 and np.abs(take).max() < 1
                seen.add(take.tobytes())
    assert len(seen) == len(speech.VOICES) * len(WORDS + speech.ASKED) * 2


def test_the_bank_stays_small():
    folder = data_path("speech")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3e6
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert {name: (entry["espeak_voice"], entry["pitch"])
            for name, entry in index.items()} == the_maker().VOICES
    assert tuple(index) == speech.VOICES


def test_all_voices_differ():
    """espeak-ng silently ignores unknown variants: a held-out voice could be a training voice."""
    import librosa

    variants = [voice.split("+")[1] for voice, _ in the_maker().VOICES.values()]
    assert len(set(variants)) == len(speech.VOICES)

    def spectrogram(take):
        padded = np.pad(take, (0, RATE // 2 - len(take)))
        return np.log10(librosa.feature.melspectrogram(y=padded, sr=RATE, n_fft=400, hop_length=160,
                                                       n_mels=40) + 1e-4)

    heard = {voice: np.array([spectrogram(speech.load_voice(voice)[word][0])
                              for word in WORDS[::4]])
             for voice in speech.VOICES}
    for one, two in itertools.combinations(heard, 2):
        # one variant at two pitches: under 0.2
        least = 0.35 if {one, two} & set(speech.HELD_OUT) else 0.2
        assert np.sqrt(np.mean((heard[one] - heard[two]) ** 2)) > least, (one, two)


def voices_heard(monkeypatch, seeds) -> list[str]:
    heard, load = [], speech.load_voice
    monkeypatch.setattr(speech, "load_voice", lambda name: heard.append(name) or load(name))
    for seed in seeds:
        make_waveform(draw_scene(seed))
    return heard


def test_training_scenes_have_no_held_out_voice(monkeypatch):
    heard = voices_heard(monkeypatch, range(120))
    assert set(heard) == set(speech.VOICES) - set(speech.HELD_OUT)


@pytest.mark.parametrize("split", ["validation", "test", "samples"])
def test_in_other_splits_half_of_the_words_have_held_out_voices(monkeypatch, split):
    heard = voices_heard(monkeypatch, range(SPLITS[split].start, SPLITS[split].start + 40))
    share = np.mean([voice in speech.HELD_OUT for voice in heard])
    assert set(speech.HELD_OUT) < set(heard) and 0.3 < share < 0.7


def test_the_split_decides_the_voice_but_not_the_sounds():
    for name in THINGS:
        heard = Heard("sound", name, 0, 0.6, seed=9)
        assert np.array_equal(make_event(heard, "train"), make_event(heard, "test"))


def test_the_error_for_a_missing_bank_says_how_to_fix_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FAVOR_MINI_DATA", str(tmp_path))
    speech.load_voice.cache_clear()
    scene = scene_of(Heard("word", "apple", 0.5, 0.6, seed=1))
    with pytest.raises(FileNotFoundError) as missing:
        make_waveform(scene)
    for part in (str(tmp_path / "speech"), "index.json is missing", "git checkout",
                 "make_speech.py"):
        assert part in str(missing.value)
    # which needs no bank
    assert make_waveform(scene_of(Heard("sound", "bell", 0.5, 0.6, seed=1))).any()


def test_the_error_for_an_incomplete_bank_says_how_to_fix_it(monkeypatch, tmp_path):
    (tmp_path / "speech").mkdir()
    index = (data_path("speech") / "index.json").read_text(encoding="utf-8")
    (tmp_path / "speech" / "index.json").write_text(index)
    monkeypatch.setenv("FAVOR_MINI_DATA", str(tmp_path))
    speech.load_voice.cache_clear()
    with pytest.raises(FileNotFoundError, match="adam.ogg cannot be read.*make_speech.py"):
        speech.load_voice("adam")
    with pytest.raises(KeyError, match="no voice 'nobody'"):
        speech.load_voice("nobody")


def test_a_longer_slot_gets_the_slower_take():
    for word in WORDS:
        lengths = {s: len(speech.speak(word, "anna", s)) / RATE for s in (0.25, 0.5, 0.62, 0.75)}
        assert all(length <= seconds for seconds, length in lengths.items())
        assert lengths[0.25] < lengths[0.5] < lengths[0.62] < lengths[0.75]


# The maker

def the_maker():
    """The program that made the bank."""
    place = importlib.util.spec_from_file_location("make_speech",
                                                   data_path("speech", "make_speech.py"))
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_the_maker_speaks_a_bank_that_can_be_read(monkeypatch, tmp_path):
    """With a stand-in for espeak-ng that says a tone, longer for a slower speed."""
    make_speech = the_maker()

    class Said:
        def __init__(self, command, **_):
            seconds = 60 / int(command[command.index("-s") + 1])
            tone = 9000 * np.sin(2 * np.pi * 300 * np.arange(int(22050 * seconds)) / 22050)
            silence = np.zeros(3000)
            with wave.open(str(tmp_path / "said.wav"), "wb") as file:
                file.setparams((1, 2, 22050, 0, "NONE", ""))
                file.writeframes(np.concatenate([silence, tone, silence]).astype("<i2").tobytes())
            self.stdout = (tmp_path / "said.wav").read_bytes()

    monkeypatch.setattr(make_speech.subprocess, "run", Said)
    monkeypatch.setattr(make_speech, "WORDS", ("apple", "zero"))
    entry = make_speech.make_voice("anna", tmp_path)
    (tmp_path / "said.wav").unlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["anna.ogg", "anna_asked.ogg"]
    (tmp_path / "index.json").write_text(json.dumps({"anna": entry}))
    monkeypatch.setattr(speech, "data_path", lambda *parts: tmp_path)
    speech.load_voice.cache_clear()
    words = speech.load_voice("anna")
    speech.load_voice.cache_clear()
    assert list(words) == ["apple", "zero", *speech.ASKED]
    for word, takes in words.items():
        lengths = the_maker().ASKED_LENGTHS if word in speech.ASKED else the_maker().LENGTHS
        for take, longest in zip(takes, lengths, strict=True):
            assert 0.9 * min(longest, 60 / make_speech.SLOWEST) < len(take) / RATE <= longest
            assert take.std() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("said", ["the plain voice", "another voice"])
def test_the_maker_refuses_a_variant_that_changes_nothing(monkeypatch, said):
    make_speech = the_maker()
    ignored = "en-us+f5"

    def speak(word, voice, pitch, speed):
        if voice == ignored:
            voice = "en-us" if said == "the plain voice" else "en-us+m1"
        return np.frombuffer(voice.encode(), np.uint8)

    monkeypatch.setattr(make_speech, "speak", speak)
    with pytest.raises(RuntimeError,
                       match=r"uma \(en-us\+f5\) sounds just like (the plain voice en-us|adam)"):
        make_speech.check_voices()
    ignored = None
    make_speech.check_voices()


@pytest.fixture(autouse=True)
def fresh_bank():
    yield
    speech.load_voice.cache_clear()
