"""The speech bank: twenty words and four questions, each spoken by 24 voices at two speeds.

The bank is the folder `data_samples/speech`: two Ogg files for each voice, an index of the position
of each word, and the program that made them.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import data_path

SPEECH_RATE = 16000  # Hz, of all files in the bank
ASKED = ("what colour", "what shape", "where", "which word")  # spoken questions about a picture
MOST_STRETCH = 1.1  # a word is played at most this much slower; its pitch falls with its speed

# Scenes of the split "train" do not use the held-out voices.
VOICES = tuple("adam anna beth carl dora earl fay glen hope ian judy kurt liam mary noah olga paul "
               "rose sam tess uma vic will zoe".split())
HELD_OUT = ("uma", "vic", "will", "zoe")


def voices_for(split: str) -> tuple[str, ...]:
    """The voices in scenes of a split: 20 in "train", all 24 in the others."""
    return tuple(name for name in VOICES if split != "train" or name not in HELD_OUT)


def draw_voice(rng: np.random.Generator, split: str) -> str:
    """Draw a training voice; outside the split "train", a held-out one half of the time."""
    choices = voices_for("train") if split == "train" or rng.random() < 0.5 else HELD_OUT
    return choices[rng.integers(len(choices))]


def speak(word: str, voice: str, seconds: float, stretch: float = MOST_STRETCH,
          sampling_rate: int = SPEECH_RATE) -> np.ndarray:
    """A spoken word or question of at most `seconds`: (samples,), float32, at `sampling_rate` Hz.

    Args:
        stretch: largest factor by which the take is lengthened, which lowers its pitch.

    Raises:
        FileNotFoundError: the bank is missing.
        KeyError: the bank does not have the word or the voice.
    """
    import soxr

    takes = load_voice(voice)[word]
    fitting = [take for take in takes if len(take) <= seconds * SPEECH_RATE]
    take = fitting[-1] if fitting else takes[0]
    stretch = min(stretch, seconds * SPEECH_RATE / len(take))
    return soxr.resample(take, SPEECH_RATE, sampling_rate * stretch)[: int(seconds * sampling_rate)]


@lru_cache(maxsize=len(VOICES))
def load_voice(name: str) -> dict[str, tuple[np.ndarray, ...]]:
    """All words and questions of a voice: two takes of each, the faster one first.

    The takes are float32 arrays (samples,) of equal loudness.
    """
    folder = data_path("speech")
    index = _index(folder)
    if name not in index:
        raise KeyError(f"the speech bank {folder} has no voice {name!r}. Choose one of "
                       f"{', '.join(index)}")
    return _takes(folder, index[name]) | _takes(folder, index[name]["asked"])


def _takes(folder: Path, entry: dict) -> dict[str, tuple[np.ndarray, ...]]:
    """The takes in one file of the bank."""
    import soundfile

    try:
        waveform, rate = soundfile.read(folder / entry["file"], dtype="float32")
    except (OSError, soundfile.LibsndfileError) as error:
        raise _missing(folder, f"{entry['file']} cannot be read ({error})") from error
    if rate != SPEECH_RATE:
        raise ValueError(f"{folder / entry['file']} has {rate} Hz, expected {SPEECH_RATE}. "
                         "Restore it with `git checkout -- data_samples/speech`")
    return {word: tuple(waveform[start:end].copy() for start, end in spans)
            for word, spans in entry["words"].items()}


def _index(folder: Path) -> dict:
    try:
        return json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(folder, "index.json is missing") from error


def _missing(folder: Path, what: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"the speech bank {folder} is incomplete: {what}. Restore it with `git checkout -- "
        "data_samples/speech`, set FAVOR_MINI_DATA to a complete data_samples, or make it with "
        "`python data_samples/speech/make_speech.py` (needs espeak-ng)")
