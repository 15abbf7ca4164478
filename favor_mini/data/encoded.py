"""Rows as training data: their media are encoded once, and the features kept on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..keys import code_digest, digest, file_digest
from ..media.clip import Clip, MediaError, media_error
from ..media.read import stream_seconds
from ..processor import MEDIA_TOKEN
from ..storage import exclusive
from .features import encode_media, feature_key, load_features, save_features, stored_lengths
from .files import OutsideError, find_media, read_media, used_part
from .row import Row, RowError, Span
from .spelling import queries_needed, text_tokens

if TYPE_CHECKING:
    from ..model import FavorForConditionalGeneration
    from ..processor import FavorProcessor

Medium = tuple[tuple[Path, ...], Span | None] | Clip | dict  # (files, span)
STAGES = ("align", "ask")  # learn from texts in the order of time; from questions
TURNS = 8  # most questions in one item; others of the row are asked in other epochs


class EncodedRows:
    """Rows with the features of their media, as data for `training.finetune`.

    Each medium (files and stretch) is encoded once, alone, however many rows share it. A stopped
    run continues. Of several processes, one encodes, while the others wait.

    With question_conditioning the features depend on the question. Then only their lengths are
    kept, and the media are read again for each item.

    Args:
        rows: from `manifest.read_rows` or `manifest.rows_from`.
        media_root: the folder of their files; nothing outside is opened.
        cache: a folder for the features. A file's name is a digest of all that they depend on: the
            content of the media, the stretch, the encoders, settings, code and libraries.
        name: what errors call the rows, such as their file.
        workers: processes that read media.

    Attributes:
        digests: of the content of each file.
        rows: those that can be used. skipped: a `RowError` for each other row: its media are
            missing or cannot be read, or it exceeds the language model's context.
        unaligned: a `RowError` for each used row whose `text` has more tokens than its clip has
            output queries. The stage "align" leaves it out.
        stages: those that the rows can serve. "align" needs a row with a `text`.

    Raises:
        ValueError: no row can be used; the message names the first problem.
        OSError: the cache cannot be written.
    """

    def __init__(self, model: FavorForConditionalGeneration, processor: FavorProcessor,
                 rows: list[Row], media_root=None, *, cache, name="rows", workers: int = 0,
                 progress: bool = True):
        self.processor, self.cache, self.name = processor, Path(cache), name
        self.conditioned = model.config.question_conditioning
        self.context = processor.settings.context
        self.skipped: list[RowError] = []
        self.sources: dict[str, Medium] = {}  # by the key of a medium
        self.digests: dict[Path, str] = {}
        found = self._find(rows, media_root, model)
        lock = f".{digest(*(key.encode() for key in sorted(self.sources)))}.lock"
        with exclusive(self.cache / lock, wait=True):
            problems = self._encode(model, workers, progress)
        self.lengths = {key: self._lengths(key) for key in self.sources if key not in problems}
        self.rows, self.keys, self.texts, self.unaligned = [], [], [], []
        for row, key in found:
            field, problem = ("media", problems[key]) if key in problems else self._check(row, key)
            if problem:
                self.skipped.append(row.error(name, field, problem))
            else:
                self.rows.append(row)
                self.keys.append(key)
                self.texts.append(self._text(row, key))
        self.skipped.sort(key=lambda error: error.index)
        if not self.rows:
            first = f" The first problem: {self.skipped[0]}" if self.skipped else ""
            raise ValueError(f"{name}: found no row to train on, expected at least one.{first}")
        self.stages = STAGES if any(self.texts) else STAGES[1:]

    def dataset(self, stage: str, count: int, processor: FavorProcessor | None = None
                ) -> RowItems:
        """`count` items for a stage.

        Raises:
            ValueError: the rows cannot serve the stage.
        """
        if stage not in self.stages:
            raise ValueError(f"{self.name}: found no row for the stage {stage!r}, expected one of "
                             f"{', '.join(self.stages)}. Fix: leave the stage out, or give rows "
                             'texts in the order of time ("transcript")')
        return RowItems(self, stage, count)

    def media(self, key: str) -> dict:
        """The media dictionary of a medium: features, or tensors with question_conditioning."""
        source = self.sources[key]
        if isinstance(source, dict):
            return source
        if self.conditioned:
            return read_tensors(source, self.processor)
        return load_features(self._file(key))[0]

    def _find(self, rows: list[Row], root, model) -> list[tuple[Row, str]]:
        """Rows with the keys of their media; fills `sources`."""
        encoders = digest(feature_key(model, self.processor).encode(),
                          code_digest("data.encoded").encode(), str(self.conditioned).encode())
        found = []
        for row in rows:
            try:
                if isinstance(row.media, tuple):
                    medium = tuple(find_media(row, root)), row.span
                    for path in medium[0]:
                        if path not in self.digests:
                            self.digests[path] = file_digest(path)
                    parts = [row.span, *(self.digests[path] for path in medium[0])]
                else:
                    medium, parts = row.media, [media_digest(row.media)]
                    if row.span:
                        raise OutsideError("found arrays with a span, expected a span of a file "
                                           "only. Fix: cut the arrays")
            except (OSError, OutsideError) as error:
                self.skipped.append(row.error(self.name, "media", str(error)))
                continue
            key = digest(encoders.encode(), json.dumps(parts).encode())
            self.sources.setdefault(key, medium)
            found.append((row, key))
        return found

    def _encode(self, model, workers: int, progress: bool) -> dict[str, str]:
        """Encode the media that the cache lacks; returns what is wrong with some, by their keys."""
        todo = [key for key in self.sources if self._lengths(key) is None]
        reader = _Reader([self.sources[key] for key in todo], self.processor, self.context)
        problems = {}
        model.eval()
        for key, media in tqdm(
                zip(todo, DataLoader(reader, None, num_workers=workers), strict=True),
                total=len(todo), desc="encoding clips", unit="clip",
                disable=not (progress and todo)):
            if isinstance(media, str):
                problems[key] = media
                continue
            features = {k: media[k] for k in ("num_frames", "audio_tokens")}
            if not self.conditioned:
                # One clip at a time: the features then depend on no other clip.
                (features,) = encode_media(model, self.processor, [media])
            save_features([features], self._file(key))
        return problems

    def _file(self, key: str) -> Path:
        return self.cache / f"{key}.safetensors"

    def _lengths(self, key: str) -> dict[str, int] | None:
        """num_frames and audio_tokens of a medium; None if it has not been encoded."""
        if isinstance(self.sources[key], dict):
            frames, tokens = (self.sources[key][k] for k in ("num_frames", "audio_tokens"))
        else:
            try:
                ((frames, tokens),) = stored_lengths(self._file(key))
            except (OSError, SafetensorError):  # not there, or cut off by a full disk
                return None
        return {"num_frames": frames, "audio_tokens": tokens}

    def _check(self, row: Row, key: str) -> tuple[str, str]:
        """Field and problem of a row that the model cannot take; ("", "") if it can."""
        try:
            count = self.processor.num_placeholders(self.lengths[key]) + \
                max(turn_tokens(row, self.processor))
        except ValueError as error:
            return "question", str(error)
        if self.context and count > self.context:
            return "row", (f"clip, question and answer are {count:,} tokens, but the language "
                           f"model takes {self.context:,}. Fix: shorten the text, or name a part "
                           "of the clip by start and end")
        return "", ""


    def _text(self, row: Row, key: str) -> str | None:
        """The text that a clip's output queries can spell."""
        queries = self.processor.num_placeholders(self.lengths[key])
        needed = queries_needed(text_tokens(self.processor, row.text)) if row.text else 0
        if needed > queries:
            self.unaligned.append(row.error(
                self.name, "text", f"it takes {needed} output queries, but the clip has {queries}. "
                "Fix: shorten it, or start from a model with more queries in a window: `favor-mini "
                "join --num-queries`, or label-free, which has 32"))
        return row.text if 0 < needed <= queries else None


class RowItems(Dataset):
    """Items of a stage: media dictionaries with `text` ("align"), or with `turns` ("ask") and
    `text`, which is None where there is none to align.

    The rows come in a random order, again and again until there are `count` items. Item i is always
    the same. Of several correct answers, each epoch takes another one.

    Attributes:
        identity: a digest of the items, for `training.trainer.fit`: texts, content of the media,
            encoders. Names of files are not part of it.
        lengths: time steps of each item, to batch items of similar length.
    """

    def __init__(self, source: EncodedRows, stage: str, count: int):
        self.source, self.stage, self.count = source, stage, count
        chosen = [i for i, text in enumerate(source.texts) if stage != "align" or text]
        self.order = np.random.default_rng(0).permutation(chosen)
        said = [[source.keys[i], source.texts[i], [[t.question, t.answers] for t in
                 (source.rows[i].turns if stage == "ask" else ())]] for i in chosen]
        self.identity = digest(stage.encode(), json.dumps(said).encode())
        steps = [source.processor.num_steps(source.lengths[source.keys[i]]) for i in self.order]
        self.lengths = [steps[i % len(steps)] for i in range(count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> dict:
        if not 0 <= item < self.count:
            raise IndexError(f"found item {item}, expected 0 to {self.count - 1}")
        epoch, place = divmod(item, len(self.order))
        source, number = self.source, self.order[place]
        row, media = source.rows[number], source.media(source.keys[number])
        media = {**media, "text": source.texts[number]}
        if self.stage == "align":
            return media
        first, asked = int(np.random.default_rng(place).integers(2**16)), range(len(row.turns))
        if len(asked) > TURNS:
            drawn = np.random.default_rng([epoch, place]).choice(len(asked), TURNS, replace=False)
            asked = sorted(drawn)
        turns = [row.turns[i] for i in asked]
        return {**media, "turns": [(t.question, t.answers[(first + epoch) % len(t.answers)])
                                   for t in turns]}


class _Reader(Dataset):
    """Media to tensors, or to the text of what is wrong; usable in worker processes."""

    def __init__(self, media: list[Medium], processor: FavorProcessor, context: int | None):
        self.media, self.processor, self.context = media, processor, context

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, i: int) -> dict | str:
        try:
            return read_tensors(self.media[i], self.processor, self.context)
        except (MediaError, OSError, ValueError) as error:
            return str(error)


def read_tensors(medium: Medium, processor: FavorProcessor, context: int | None = None) -> dict:
    """A medium as `processor.media` gives it.

    Raises:
        MediaError: a file cannot be read, or is longer than the language model's context.
        ValueError: arrays have another rate than the processor's.
    """
    if isinstance(medium, Clip):
        return processor.media(medium)
    paths, span = medium
    settings, seconds = processor.settings, clip_seconds(paths, span)
    frames = int(settings.frame_rate * max(seconds.values()))
    tokens = processor.num_placeholders({"num_frames": frames, "audio_tokens": 0})
    if context and tokens > context:  # before an hour of film is decoded
        raise media_error(paths[0], f"{frames / settings.frame_rate:.0f} s are {tokens:,} tokens, "
                          f"but the language model takes {context:,}",
                          "name a part of the clip by start and end")
    return processor.media(read_media(list(paths), span, frame_rate=settings.frame_rate,
                                      image_size=settings.image_size))


def clip_seconds(paths, span=None) -> dict[str, float]:
    """Seconds of "video" and "audio" in files, or in a part of them; nothing is decoded.

    Raises:
        MediaError: a file cannot be read, or ends within the span.
    """
    found = {}
    for path in paths:
        part = used_part(path, span)
        for stream, lasts in stream_seconds(path).items():
            if part:
                lasts = max(0.0, min(lasts, part[1]) - part[0])
            found[stream] = max(found.get(stream, 0.0), lasts)
    return found


def turn_tokens(row: Row, processor: FavorProcessor) -> list[int]:
    """Tokens of each turn of a row: prompt and longest answer, without the clip.

    Raises:
        ValueError: a text holds the placeholder of the clip.
    """
    return [max(len(processor.dialogue(MEDIA_TOKEN, [(turn.question, answer)])["ids"]) - 1
                for answer in turn.answers) for turn in row.turns]


def media_digest(media: Clip | dict) -> str:
    """A digest of arrays or of features."""
    parts = []
    for name, value in sorted((vars(media) if isinstance(media, Clip) else media).items()):
        if torch.is_tensor(value):
            value = value.detach().cpu().float().numpy()
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value)
            parts += [f"{name} {value.dtype} {value.shape} ".encode(), value.tobytes()]
        elif isinstance(value, int | float):
            parts.append(f"{name} {value} ".encode())
    return digest(*parts)
