"""Make the speech bank `data_samples/speech` with the program espeak-ng.

The bank is part of the repository, so this is rarely needed. It takes a few minutes. To install the
program: `apt-get install espeak-ng`.

Each word and each question is spoken by a new process, since the output of espeak-ng depends on its
earlier input. The speed is the lowest with which it fits into each of `LENGTHS`, or `ASKED_LENGTHS`
for questions. Silence at both ends is removed, and all are made equally loud.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from favor_mini.storage import atomic_write
from favor_mini.world.scene import WORDS
from favor_mini.world.speech import ASKED, SPEECH_RATE

SLOWEST, FASTEST = 80, 450  # words a minute, the limits of espeak-ng
LENGTHS = (0.5, 0.62)  # longest duration of the two takes of each word, in seconds
ASKED_LENGTHS = (0.7, 0.85)  # the same of each question
GAP = SPEECH_RATE // 20  # silence between two words in a file
QUALITY = 0.75  # soundfile's compression level: 0 is the best and largest, 1 the smallest
RMS = 0.1  # loudness
# name: (voice and variant of espeak-ng, pitch 0-99). Each voice has its own variant: one variant at
# two pitches sounds much the same.
VOICES = {
    "adam": ("en-us+m1", 45), "anna": ("en-us+f1", 55), "beth": ("en-us+Annie", 50),
    "carl": ("en-us+m2", 40), "dora": ("en+f3", 60), "earl": ("en+m3", 50),
    "fay": ("en-us+f4", 45), "glen": ("en-us+Storm", 50), "hope": ("en+belinda", 50),
    "ian": ("en-gb-scotland+boris", 45), "judy": ("en-gb-x-rp+Andrea", 50),
    "kurt": ("en-us+klatt", 50), "liam": ("en-gb-x-rp+m7", 55), "mary": ("en-us+grandma", 50),
    "noah": ("en+m4", 45), "olga": ("en-us+klatt3", 60), "paul": ("en-us+pablo", 50),
    "rose": ("en-gb-scotland+victor", 60), "sam": ("en+Gene", 55), "tess": ("en-us+gustave", 50),
    "uma": ("en-us+f5", 55), "vic": ("en-us+norbert", 45), "will": ("en-gb-x-rp+robert", 50),
    "zoe": ("en+steph", 55)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not shutil.which("espeak-ng"):
        sys.exit("espeak-ng is not installed. See https://github.com/espeak-ng/espeak-ng")
    check_voices()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.threads) as pool:
        index = dict(pool.map(lambda name: (name, make_voice(name, arguments.out)), VOICES))
    with atomic_write(arguments.out / "index.json") as unfinished:
        text = json.dumps(index, indent=None).replace('}}, "', '}},\n"') + "\n"
        unfinished.write_text(text, encoding="utf-8")


def check_voices() -> None:
    """Refuse variants without effect: espeak-ng silently ignores those that it does not have.

    Raises:
        RuntimeError: two voices sound the same.
    """
    heard = {}
    for name, (voice, _) in VOICES.items():
        base = voice.split("+")[0]
        for spoken_by in (f"the plain voice {base}", name):
            spoken = speak("garden", base if spoken_by != name else voice, pitch=50, speed=150)
            other = heard.setdefault(spoken.tobytes(), spoken_by)
            if other != spoken_by:
                raise RuntimeError(f"{name} ({voice}) sounds just like {other}. Choose another "
                                   "variant from `espeak-ng --voices=variant` for VOICES")


def make_voice(name: str, folder: Path) -> dict:
    """Write the two files of a voice, words and questions; returns its entry in the index."""
    voice, pitch = VOICES[name]
    asked = write(name, folder / f"{name}_asked.ogg", ASKED, ASKED_LENGTHS)
    return {**write(name, folder / f"{name}.ogg", WORDS, LENGTHS), "espeak_voice": voice,
            "pitch": pitch, "asked": asked}


def write(name: str, path: Path, texts, lengths) -> dict:
    """Write one file; returns its name, and first and last sample of each text and length."""
    voice, pitch = VOICES[name]
    pieces, spans, position = [], {}, GAP
    for word in texts:
        spans[word] = []
        for seconds in lengths:
            spoken = speak_within(word, voice, pitch, seconds)  # (samples,)
            spans[word].append([position, position + len(spoken)])
            pieces += [np.zeros(GAP, np.float32), spoken]
            position += len(spoken) + GAP
    with atomic_write(path) as unfinished:
        waveform = np.concatenate([*pieces, np.zeros(GAP, np.float32)])
        soundfile.write(unfinished, waveform, SPEECH_RATE, format="OGG", subtype="VORBIS",
                        compression_level=QUALITY)
    print(f"{path.name:16} {position / SPEECH_RATE:.1f} s")
    return {"file": path.name, "words": spans}


def speak_within(word: str, voice: str, pitch: int, seconds: float) -> np.ndarray:
    """A word at the lowest speed that fits into `seconds`: (samples,), float32. Uses bisection."""
    low, high, best = SLOWEST, FASTEST, None
    while high - low > 6:
        speed = (low + high) // 2
        spoken = speak(word, voice, pitch, speed)
        if len(spoken) <= seconds * SPEECH_RATE:
            best, high = spoken, speed
        else:
            low = speed
    if best is None:
        raise RuntimeError(f"espeak-ng cannot say {word!r} in {seconds} s with the voice {voice}")
    return best


def speak(word: str, voice: str, pitch: int, speed: int) -> np.ndarray:
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "-z", "--stdout", word]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    waveform, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return polish(soxr.resample(waveform, rate, SPEECH_RATE, "VHQ"))


def polish(waveform: np.ndarray) -> np.ndarray:
    """Remove silent ends, fade in over 2 ms and out over 10 ms, and set the loudness."""
    width = SPEECH_RATE // 500
    level = np.sqrt(np.convolve(waveform**2, np.ones(width) / width, "same"))
    loud = np.flatnonzero(level > 0.02 * level.max())
    waveform = waveform[loud[0]:loud[-1] + 1].copy()
    fade_in, fade_out = np.linspace(0, 1, SPEECH_RATE // 500), np.linspace(1, 0, SPEECH_RATE // 100)
    waveform[:len(fade_in)] *= fade_in
    waveform[-len(fade_out):] *= fade_out
    waveform *= RMS / np.sqrt(np.mean(waveform**2))
    return (waveform / max(1, np.abs(waveform).max() / 0.9)).astype(np.float32)


if __name__ == "__main__":
    main()
