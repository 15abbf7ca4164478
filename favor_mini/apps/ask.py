"""Answer a question about a media file, and measure how far the answer can be trusted.

Three things are measured: which words of the question the tokenizer does not know, the model's
confidence, and whether picture and sound resemble the training clips (`evaluation.familiarity`).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp
from time import perf_counter

from ..evaluation.checkpoint import find_checkpoint, load_checkpoint

UNSURE = 0.5  # below this confidence the answer comes with a note
LONGEST_ANSWER = 96  # tokens
ROOM_FOR_TEXT = 64  # tokens of the language model's context, for the question and the answer


@dataclass(frozen=True)
class Answer:
    """An answer, with what says how far to trust it.

    confidence: geometric mean of the probabilities of the answer's tokens, 0 to 1.
    familiar: for "video" and "audio", whether the stream resembles the training clips; None: no
        such stream, or not measured.
    seconds: by stage.
    """

    answer: str
    confidence: float
    familiar: dict[str, bool | None]
    notes: list[str]
    seconds: dict[str, float]


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

    def ask(self, path, question: str, start: float | None = None, end: float | None = None
            ) -> Answer:
        """Answer a question about a media file, or about its part from `start` to `end` seconds.

        Raises:
            MediaError: the file cannot be read.
            ValueError: the question is empty.
        """
        from ..data.features import encode_media

        if not question.strip():
            raise ValueError("the question is empty. Fix: ask, for instance, "
                             '"what was shown when the bell was heard?"')
        seconds = dict(self.seconds)
        self.seconds = {}  # only the first answer pays for import and loading
        with _timed(seconds, "read"):
            clip = self._read(path, start, end)
        with _timed(seconds, "prepare"):
            media = self.processor.media(clip)
        conditioned = self.model.config.question_conditioning  # features depend on the question
        with _timed(seconds, "encode"):
            encoded = media if conditioned else encode_media(self.model, self.processor, [media])[0]
        with _timed(seconds, "answer"):
            text, confidence, complete = self._answer(encoded, question)
        measured = self.familiarity and not conditioned
        distances = (self.familiarity.distances(encoded) if measured else
                     {"video": None, "audio": None})
        familiar = {stream: None if d is None else d <= 1 for stream, d in distances.items()}
        notes = self._notes(clip, question, confidence, distances)
        if not complete:
            notes.append("the answer was cut off: the model may write no more tokens")
        return Answer(text, round(confidence, 4), familiar, notes, seconds)

    @property
    def longest(self) -> float:
        """The longest clip, in seconds, that fits into the language model's context."""
        from ..windows import num_windows

        config = self.model.config
        context = config.language_config.max_position_embeddings
        windows = (context - ROOM_FOR_TEXT) // config.num_queries
        frames = windows * config.window_frames
        # Overlapping windows are more in number.
        while num_windows(frames, config.window_frames, config.windows) > windows:
            frames -= config.window_frames
        return frames / config.frame_rate

    def _read(self, path, start, end):
        """The part asked for, at most `longest` seconds of it."""
        from ..media.read import iter_clips

        settings = self.processor.settings
        return next(iter_clips(path, seconds=self.longest, start=start, end=end,
                               frame_rate=settings.frame_rate, image_size=settings.image_size))

    def _answer(self, encoded: dict, question: str) -> tuple[str, float, bool]:
        """The answer, its confidence, and whether it is complete."""
        inputs = {k: v.to(self.model.device)
                  for k, v in self.processor([encoded], [question]).items()}
        context = self.model.config.language_config.max_position_embeddings
        room = context - inputs["input_ids"].shape[1]
        written = self.model.generate(**inputs, max_new_tokens=max(1, min(LONGEST_ANSWER, room)),
                                      return_dict_in_generate=True, output_logits=True)
        chosen = [logits[0].float().log_softmax(-1)[token] for logits, token in
                  zip(written.logits, written.sequences[0], strict=True)]
        complete = bool(written.sequences[0, -1] == self.processor.tokenizer.eos_token_id)
        confidence = exp(float(sum(chosen)) / len(chosen))
        return self.processor.decode(written.sequences)[0], confidence, complete

    def unknown_words(self, question: str) -> list[str]:
        """The words of a question that the tokenizer does not know, each once, as typed."""
        tokenizer = self.processor.tokenizer
        if tokenizer.unk_token_id is None:
            return []
        read = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        spans = zip(read.input_ids, read.offset_mapping, strict=True)
        return list(dict.fromkeys(question[a:b] for token, (a, b) in spans
                                  if token == tokenizer.unk_token_id))

    def _notes(self, clip, question: str, confidence: float, distances: dict) -> list[str]:
        notes = list(clip.notes)
        if unknown := self.unknown_words(question):
            notes.append(f"the model does not know these words: {', '.join(unknown)}")
        for stream, name in (("video", "picture"), ("audio", "sound")):
            if not len(clip.frames if stream == "video" else clip.waveform):
                where = "file" if stream in clip.missing else "part"
                notes.append(f"the {where} has no {name}; the model has only the other stream")
            elif distances[stream] is not None and distances[stream] > 1:
                notes.append(f"the {name} lies outside the training data ({distances[stream]:.1f} "
                             "times as far from it as 99 % of mini-world clips): do not trust the "
                             "answer")
        if self.familiarity is None:
            notes.append("this checkpoint has no familiarity.safetensors (pretraining.familiar): "
                         "whether the clip resembles its training data was not measured")
        elif clip.duration > 1.5 * self.familiarity.longest:
            notes.append(f"this part lasts {clip.duration:.0f} s, the training clips up to "
                         f"{self.familiarity.longest:.0f} s: choose a shorter one with --start "
                         "and --end")
        if clip.duration > self.longest - 0.01:
            notes.append(f"the model takes {self.longest:g} s at most: what comes after second "
                         f"{clip.start + clip.duration:.0f} was not used")
        if confidence < UNSURE:
            notes.append(f"the model is unsure of this answer (confidence {confidence:.0%})")
        return notes
