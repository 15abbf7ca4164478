"""Answer a question about a media file, and measure how far the answer can be trusted.

Measured are: which words of the question the tokenizer does not know, whether picture, sound and
question resemble those of the training (`evaluation.familiarity`, `evaluation.wording`), and the
confidence, calibrated (`evaluation.calibration`).
"""

import gc
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..evaluation.repertoire import Repertoire

UNSURE = 0.5  # below this confidence the answer comes with a note
LONGEST_ANSWER = 96  # tokens
LONGEST_PART = 3600.0  # seconds of a film that are read at once, where the model has no limit


@dataclass(frozen=True)
class Answer:
    """An answer, with what says how far to trust it.

    confidence: the probability that the answer is right, as calibrated on held-out clips; if the
        checkpoint holds no calibration, the geometric mean of the probabilities of its tokens.
    familiar: for "video", "audio" and "question", whether it resembles those of the training; None:
        no such stream, or not measured.
    seconds: by stage.
    part: start and end in seconds of the file, where a long clip was cut into parts; else None.
    """

    answer: str
    confidence: float
    familiar: dict[str, bool | None]
    notes: list[str]
    seconds: dict[str, float]
    part: tuple[float, float] | None = None


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[stage] = round(perf_counter() - start, 4)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Imports create many objects and no garbage: they take a tenth less time without searching."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _checked(question: str) -> str:
    if not re.search(r"\w", question):
        raise ValueError("the question is empty. Fix: ask, for instance, "
                         '"what was shown when the bell was heard?"')
    return question


def print_answers(answers: Iterable[Answer], as_json: bool) -> None:
    """Answers to stdout, notes to stderr; or one JSON object a line."""
    for found in answers:
        where = " to ".join(map(clock, found.part)) + ": " if found.part else ""
        if as_json:
            values = {k: v for k, v in vars(found).items() if k != "part" or v}
            print(json.dumps(values, ensure_ascii=False), flush=True)
            continue
        for note in found.notes:
            print(f"favor-mini: note: {where}{note}", file=sys.stderr)
        print(f"{where}{found.answer}", flush=True)


def clock(seconds: float) -> str:
    """h:mm:ss, rounded to seconds."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def known_questions(checkpoint=None) -> Repertoire:
    """What a checkpoint learned to answer.

    Raises:
        FileNotFoundError: the checkpoint has no such list.
    """
    folder = find_checkpoint(checkpoint)
    if (found := Repertoire.load(folder)) is None:
        raise FileNotFoundError(f"{folder} holds no questions.json: it does not say what it can be "
                                "asked. Fix: `pretraining.familiar.fit_familiarity` writes the "
                                "list of a model of the mini world")
    return found


class Asker:
    """A checkpoint, loaded once, that answers questions about files.

    Args:
        checkpoint: folder with model and processor; None: the shipped one.
    """

    def __init__(self, checkpoint=None):
        folder, self.seconds = find_checkpoint(checkpoint), {}
        with _no_garbage_collection():
            with _timed(self.seconds, "import"):
                from .. import model  # noqa: F401
                from ..evaluation.familiarity import Familiarity
            with _timed(self.seconds, "load"):
                self.model, self.processor = load_checkpoint(folder)
                self.familiarity = Familiarity.load(folder)
                self.repertoire = Repertoire.load(folder)

    def ask(self, path, question: str, start: float | None = None, end: float | None = None
            ) -> Answer:
        """Answer a question about a media file, or about its part from `start` to `end` seconds.

        Raises:
            MediaError: the file cannot be read.
            ValueError: the question is empty.
        """
        question = _checked(question)
        seconds = {}
        with _timed(seconds, "read"):
            clip = next(self._read(path, start, end))
        answer = self._answer(clip, question, seconds)
        if clip.duration > self.longest - 0.01:
            answer.notes.append(f"the model takes {self.longest:g} s at most: what comes after "
                                f"second {clip.start + clip.duration:.0f} was not used; --long "
                                "answers for each part of a long clip")
        return answer

    def ask_long(self, path, question: str, start: float | None = None, end: float | None = None
                 ) -> Iterator[Answer]:
        """Answer a question about each part of a clip of any length, one after another.

        The parts are as long as the model can take; `Answer.part` says which. Errors as in `ask`.
        """
        question = _checked(question)
        clips, seconds = self._read(path, start, end), {}
        while True:
            with _timed(seconds, "read"):
                clip = next(clips, None)
            if clip is None:
                return
            answer = self._answer(clip, question, seconds)
            yield replace(answer, part=(clip.start, clip.start + clip.duration))
            seconds = {}

    def _answer(self, clip, question: str, seconds: dict[str, float]) -> Answer:
        from ..context import check_question
        from ..data.features import encode_media
        from ..evaluation.wording import measure, read_question, spell

        seconds = {**self.seconds, **seconds}
        self.seconds = {}  # only the first answer pays for import and loading
        with _timed(seconds, "prepare"):
            media = self.processor.media(clip)
            spelled, guessed = spell(question, self.processor.tokenizer,
                                     self.repertoire.spellings if self.repertoire else {})
            check_question(self.processor, media, spelled)
        conditioned = self.model.config.question_conditioning  # features depend on the question
        with _timed(seconds, "encode"):
            encoded = media if conditioned else encode_media(self.model, self.processor, [media])[0]
        with _timed(seconds, "answer"):
            wording = None  # without a score to compare with, the question stays as it is
            if self.familiarity and self.familiarity.has_questions:
                listed = self.repertoire and self.repertoire.has_form(spelled)
                wording = (measure(self.model, self.processor, encoded, [spelled])[0] if listed else
                           read_question(self.model, self.processor, encoded, spelled))
            asked = wording.text if wording else spelled
            written = self._write(encoded, asked)
        distances = self._distances(None if conditioned else encoded, wording)
        confidence = self._confidence(written, wording)
        familiar = {name: None if d is None else d <= 1 for name, d in distances.items()}
        notes = [*clip.notes, *self._notes_on_clip(clip, distances),
                 *self._notes_on_question(asked, guessed, wording, distances["question"])]
        if confidence < UNSURE and familiar["question"] is not False:
            notes.append(f"the model is unsure of this answer (confidence {confidence:.0%})")
        if not written.complete:
            notes.append("the answer was cut off: the model may write no more tokens")
        return Answer(written.text, round(confidence, 4), familiar, notes, seconds)

    def _read(self, path, start, end) -> Iterator:
        """The part asked for, in pieces that the model can take."""
        from ..media.read import iter_clips

        self.longest = min(self.processor.longest_clip, LONGEST_PART)
        settings = self.processor.settings
        return iter_clips(path, seconds=self.longest, start=start, end=end,
                          frame_rate=settings.frame_rate, image_size=settings.image_size)

    def _write(self, encoded: dict, question: str):
        from ..evaluation.answering import write

        return write(self.model, self.processor, [encoded], [question],
                     max_new_tokens=LONGEST_ANSWER)[0]

    def _confidence(self, written, wording) -> float:
        """Calibrated, if the checkpoint holds a calibration."""
        if wording:
            return self.familiarity.confidence(written.probability, wording.surprise)
        return written.probability ** (1 / written.tokens)

    def _distances(self, encoded: dict | None, wording) -> dict[str, float | None]:
        """How far picture, sound and question are from those of the training; see `Familiarity`."""
        measured = dict.fromkeys(("video", "audio", "question"))
        if wording:
            measured["question"] = self.familiarity.question(wording.surprise)
        if self.familiarity and encoded is not None:
            measured |= self.familiarity.distances(encoded)
        return measured

    def _notes_on_question(self, asked: str, guessed: dict, wording, distance: float | None
                           ) -> list[str]:
        from ..evaluation.wording import unknown_words

        notes = [f'the model does not know "{typed}" and reads "{read}"; if that is wrong, choose '
                 "another word" for typed, read in guessed.items()]
        unknown = unknown_words(asked, self.processor.tokenizer)
        if unknown:
            notes.append(f"the model does not know these words: {', '.join(unknown)}")
        elif distance is not None and distance > 1:
            notes.append(f"{self._reason(asked)}: after \"{wording.before}\" the model expected "
                         f"{' or '.join(map(repr, wording.expected))}, not {wording.word!r} "
                         f"(distance {distance:.1f}; up to 1 is usual)")
        else:
            return notes
        first = re.findall(r"\w+", asked)[0]
        if self.repertoire and first not in unknown and not self.repertoire.begins(first):
            notes.append(f'no training question begins with "{first}"')
        near = self.repertoire.nearest(asked) if self.repertoire else []
        near = [] if asked in near else near  # its form is known; the clip is the reason
        notes.append("do not trust the answer" + (": the model learned questions such as "
                     + " or ".join(f'"{text}"' for text in near)
                     + "; `favor-mini ask --list-questions` shows all" if near else ""))
        return notes

    def _reason(self, asked: str) -> str:
        """Why the language model may be surprised by a question."""
        if self.repertoire is None:
            return "either no training question has this form, or the clip does not hold what is " \
                   "asked about"
        return "the clip does not seem to hold what is asked about" \
            if self.repertoire.has_form(asked) else "no training question has this form"

    def _notes_on_clip(self, clip, distances: dict) -> list[str]:
        notes = []
        for stream, name in (("video", "picture"), ("audio", "sound")):
            if not len(clip.frames if stream == "video" else clip.waveform):
                where = "file" if stream in clip.missing else "part"
                notes.append(f"the {where} has no {name}; the model has only the other stream")
            elif distances[stream] is not None and distances[stream] > 1:
                notes.append(f"the {name} lies outside the training data ({distances[stream]:.1f} "
                             "times as far from it as 99 % of mini-world clips): do not trust the "
                             "answer")
        if self.familiarity is None:
            notes.append("whether the clip resembles the training data was not measured: only the "
                         "shipped checkpoints have that measure")
        elif clip.duration > 1.5 * self.familiarity.longest:
            notes.append(f"this part lasts {clip.duration:.0f} s, the training clips up to "
                         f"{self.familiarity.longest:.0f} s: choose a shorter one with --start "
                         "and --end")
        return notes
