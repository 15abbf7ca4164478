"""Answer a question again and again while a film arrives."""

import sys
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch

from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..evaluation.familiarity import Familiarity
from ..evaluation.wording import unknown_words
from ..media.live import Step, iter_steps
from ..streaming import StreamingConnector
from .ask import clock

LONGEST_ANSWER = 96  # tokens


class Watcher:
    """A checkpoint that follows a film. At the end of each window it can be asked.

    Each frame is encoded when it arrives. The sound of a window is encoded when the window is
    complete, as the audio encoder reads a stretch of sound from both sides. Of the past, only the
    output queries of the last windows are kept.

    Args:
        seconds: how much of the past an answer is about; None: as much as the training clips had,
            or the language model takes.
    """

    def __init__(self, checkpoint=None, seconds: float | None = None):
        folder = find_checkpoint(checkpoint)
        self.model, self.processor = load_checkpoint(folder)
        self.connector = StreamingConnector(self.model)
        settings = self.processor.settings
        window = settings.window_frames / settings.frame_rate  # seconds
        longest, known = self.processor.longest_clip, Familiarity.load(folder)
        wanted = seconds or min(longest, known.longest if known else longest)
        if wanted > longest or wanted < window:
            raise ValueError(f"found {wanted:g} seconds, expected {window:g} to {longest:g}: one "
                             "window, and what the language model takes. Fix: another --seconds")
        self.windows: deque = deque(maxlen=int(wanted / window))  # (start, queries (N, width))
        self.steps = 0  # so far
        self.visual: list = []  # of the window's steps, (V, D_v) or None
        self.sound: list[np.ndarray] = []

    def add(self, step: Step) -> bool:
        """Take one time step; True if it completes a window."""
        self.steps += 1
        self.visual.append(None if step.frame is None else self._see(step.frame))
        self.sound.append(step.waveform)
        if len(self.visual) < self.processor.settings.window_frames:
            return False
        self.end_window()
        return True

    def end_window(self) -> None:
        """Encode the sound of the window, and run the connector."""
        audio, tokens = self._hear(np.concatenate(self.sound)), self.model.config.audio_tokens
        queries = None
        for t, visual in enumerate(self.visual):
            heard = None if audio is None else audio[t * tokens : (t + 1) * tokens]
            queries = self.connector.push(visual, None if heard is None or not len(heard)
                                          else heard)
        if queries is None:  # the film ends within the window
            queries = self.connector.so_far()
            self.connector.reset()
        if queries is not None:
            start = (self.steps - len(self.visual)) / self.processor.settings.frame_rate
            self.windows.append((start, queries))
        self.visual, self.sound = [], []

    def _see(self, frame: np.ndarray) -> torch.Tensor:
        pixels = self.processor.pixels(frame[None]).to(self.model.device)
        return self.model.encode(pixel_values=pixels[None])[0][0, 0]  # [V, D_v]

    def _hear(self, waveform: np.ndarray) -> torch.Tensor | None:
        if not len(waveform):
            return None
        chunks = self.processor.sound(waveform).to(self.model.device)
        audio = self.model.encode(input_features=chunks[None])[1][0]  # [L, D_w]
        return audio[: -(-len(waveform) // self.processor.settings.audio_hop)]

    @torch.no_grad()
    def answer(self, question: str) -> tuple[float, float, str]:
        """Start and end in seconds of the windows that are kept, and the answer about them."""
        queries = torch.stack([q for _, q in self.windows])[None]  # [1, W, N, width]
        ids = torch.tensor([self.processor.prompt_ids(question, queries[0, :, :, 0].numel())],
                           device=self.model.device)
        real = torch.ones(queries.shape[:2], dtype=torch.bool, device=self.model.device)
        mask = torch.ones_like(ids)
        new = self.model.generate(
            ids, mask, inputs_embeds=self.model.embed(ids, queries, real),
            max_new_tokens=min(LONGEST_ANSWER, self.processor.room(mask)))
        end = self.steps / self.processor.settings.frame_rate
        return self.windows[0][0], end, self.processor.decode(new)[0]


def watch(source: str, question: str, *, checkpoint=None, seconds: float | None = None,
          patience: float = 0.0) -> Iterator[tuple[float, float, str]]:
    """Yields (start, end, answer) at the end of each window: the seconds that the answer is about.

    Raises:
        MediaError: the film cannot be read.
        ValueError: the model cannot be streamed, its visual tokens depend on the question, or the
            question is empty.
    """
    if not any(letter.isalnum() for letter in question):
        raise ValueError('the question is empty. Fix: ask, for instance, "what was said?"')
    watcher = Watcher(checkpoint, seconds)
    if watcher.model.config.question_conditioning:
        raise ValueError("found question_conditioning=True: the visual tokens depend on the "
                         "question. Fix: use a model without it")
    settings = watcher.processor.settings
    if unknown := unknown_words(question, watcher.processor.tokenizer):
        print(f"note: the model does not know {', '.join(map(repr, unknown))}", file=sys.stderr)
    for step in iter_steps(source, frame_rate=settings.frame_rate, patience=patience,
                           image_size=settings.image_size):
        if watcher.add(step):
            yield watcher.answer(question)
    if watcher.visual:  # the film ends within a window
        watcher.end_window()
        yield watcher.answer(question)


def print_watch(source: str, question: str, **options) -> None:
    """One line for each answer, as soon as it is known; arguments as in `watch`."""
    print("note: watch does not look whether pictures and sounds are like those of the model's "
          "training; `favor-mini ask` does", file=sys.stderr)
    for start, end, text in watch(source, question, **options):
        print(f"{clock(start)} to {clock(end)}: {text}", flush=True)
