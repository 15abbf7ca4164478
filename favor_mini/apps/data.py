"""`favor-mini data`: what a data file holds, which rows cannot be used, and what training costs."""

import tempfile
import textwrap
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..data.encoded import EncodedRows, clip_seconds, turn_tokens
from ..data.files import OutsideError, find_media, shared_files
from ..data.manifest import read_rows
from ..data.row import Row, RowError
from ..data.spelling import queries_needed, text_tokens
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..evaluation.wording import unknown_words
from ..families import SAMPLING_RATE
from ..keys import file_digest
from ..machine import peak_memory
from ..media.clip import MediaError
from .settings import SHOWN, DataSettings

WIDTH = 100
MEASURED = 8  # rows that are encoded to measure the cost


@dataclass
class Survey:
    """What is known of the rows of a data file.

    rows: all that are well-formed. usable: those of them whose media and lengths fit.
    problems: the rows that cannot be used, by what is wrong.
    paths: files by row. seconds: of "video" and "audio" by medium (files, span).
    tokens: of the longest prompt with its answer, for each usable row.
    aligned: those with a text for alignment. long_texts: those whose text has more tokens than
        their clip has queries.
    by_name: media that are in the root itself and not at their path.
    unknown: words that the tokenizer does not know, with their numbers.
    """

    name: str
    rows: list[Row]
    problems: dict[str, list[RowError]]
    usable: list[Row] = field(default_factory=list)
    paths: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    seconds: dict[tuple, dict[str, float]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    aligned: list[Row] = field(default_factory=list)
    long_texts: list[Row] = field(default_factory=list)
    by_name: list[str] = field(default_factory=list)
    unknown: Counter = field(default_factory=Counter)

    @property
    def film_and_sound(self) -> tuple[float, float]:
        """Seconds of film and of sound in all media."""
        return tuple(sum(each.get(stream, 0.0) for each in self.seconds.values())
                     for stream in ("video", "audio"))


def survey(file, root: Path, processor, context: int | None, progress: bool = False) -> Survey:
    """Look at all rows of a data file and at their media; nothing is decoded but still images.

    Args:
        context: the longest input of the language model, in tokens; None: no limit.
    """
    rows, broken = read_rows(file)
    found = Survey(Path(file).name, rows, {"malformed": broken, "media missing": [],
                                           "media unreadable": [], "too long": []})
    lengths, rate = cache(clip_seconds), processor.settings.frame_rate
    for row in tqdm(rows, desc=found.name, unit="row", disable=not progress):
        try:
            paths = tuple(find_media(row, root))
            seconds = lengths(paths, row.span)
            texts = max(turn_tokens(row, processor))
        except (OSError, OutsideError) as error:
            found.problems["media missing"].append(row.error(file, "media", str(error)))
        except MediaError as error:
            found.problems["media unreadable"].append(row.error(file, "media", str(error)))
        except ValueError as error:
            found.problems["malformed"].append(row.error(file, "question", str(error)))
        else:
            found.paths[row.id], found.seconds[paths, row.span] = paths, seconds
            found.by_name += [name for name, path in zip(row.media, paths, strict=True)
                              if (root / name).resolve() != path]
            samples = int(SAMPLING_RATE * seconds.get("audio", 0.0))
            media = {"num_frames": int(np.ceil(rate * seconds.get("video", 0.0))) or
                     int("video" in seconds),
                     "audio_tokens": samples // processor.settings.audio_hop}
            queries = processor.num_placeholders(media)
            tokens = queries + texts
            if context and tokens > context:
                found.problems["too long"].append(row.error(
                    file, "media", f"clip and text are {tokens:,} tokens, but the language model "
                    f"takes {context:,}. Fix: name a part of the clip by start and end"))
                continue
            found.usable.append(row)
            found.tokens.append(tokens)
            found.unknown.update(unknown_words(row.words, processor.tokenizer))
            if row.text:
                fits = queries_needed(text_tokens(processor, row.text)) <= queries
                (found.aligned if fits else found.long_texts).append(row)
    return found


def describe(found: Survey, context: int | None, shown: int | None = SHOWN) -> list[str]:
    """The lines about one data file; `shown` problems of a kind, or all (None)."""
    rows, turns = found.rows, [turn for row in found.rows for turn in row.turns]
    bad = sum(map(len, found.problems.values()))
    lines = [f"{found.name}: {len(found.usable)} rows can be used, {bad} cannot",
             f"  questions   {len(turns):,}, {sum(bool(t.candidates) for t in turns):,} with "
             f"candidates, {sum(len(t.answers) > 1 for t in turns):,} with several answers"]
    film, sound = found.film_and_sound
    files = {path for paths in found.paths.values() for path in paths}
    lines.append(f"  media       {len(found.seconds):,} clips in {len(files):,} files: "
                 f"{duration(film)} of film, {duration(sound)} of sound")
    if found.tokens:
        room = f"the language model takes {context:,}" if context else "no limit is known"
        lines.append(f"  tokens      {int(np.median(found.tokens)):,} (median) to "
                     f"{max(found.tokens):,} for clip, question and answer; {room}")
    texts = [row.text for row in found.aligned]
    lines.append(f"  alignment   {len(texts):,} rows tell what happens in the order of time"
                 + (f', as "{textwrap.shorten(texts[0], 30, placeholder=" ...")}"' if texts else
                    '; add a "transcript"'))
    unused = Counter(name for row in rows for name in row.unused)
    labels = Counter(row.label for row in rows if row.label)
    asked = Counter((row.media, row.span, t.question, t.answers) for row in rows for t in row.turns)
    notes = {"ids belong to several rows": [k for k, n in labels.items() if n > 1],
             "questions stand twice, with one clip and answer":
             [f"{', '.join(key[0])}: {key[2]}" for key, n in asked.items() if n > 1],
             "texts have more tokens than their clip has queries: no alignment":
             [f"{row.unit} {row.id}: {row.text}" for row in found.long_texts],
             "words are unknown to the language model's tokenizer, which cannot write them either":
             [", ".join(word for word, _ in found.unknown.most_common(shown))]
             * len(found.unknown),
             "fields are not read":
             [", ".join(f"{name} ({n} rows)" for name, n in unused.most_common(shown))]
             * len(unused),
             "files are not at their path, but in the root": found.by_name}
    for what, which in notes.items():
        if which:
            text = f"{which[0]:.80}" if shown else "; ".join(dict.fromkeys(which))
            lines += textwrap.wrap(f"{len(which):,} {what}: {text}", WIDTH,
                                   initial_indent="  note        ", subsequent_indent=14 * " ")
    for kind, errors in found.problems.items():
        lines += listed(f"{kind}: {len(errors)}", [str(error) for error in errors], shown)
    return lines


def shared_media(one: Survey, other: Survey) -> list[str]:
    """Files of one survey whose content is also in the other, as "name = name"."""
    digests = cache(file_digest)
    return shared_files(*({path: digests(path) for paths in survey.paths.values() for path in paths}
                          for survey in (one, other)))


def cost(found: Survey, root: Path, model, processor, *, steps: int, batch: int) -> list[str]:
    """Measure encoding and a few training steps on some rows; estimate the whole."""
    from ..training.finetune import SHARES, seconds_per_step, steps_per_stage

    rng = np.random.default_rng(0)
    few = [found.usable[i] for i in rng.permutation(len(found.usable))]
    aligned = {row.id for row in found.aligned}
    first = [row.id for row in few if row.id in aligned][: MEASURED // 2]  # for that stage, too
    few = sorted(few, key=lambda row: row.id not in first)[:MEASURED]
    film = sum(max(found.seconds[key].values()) for key in
               {(found.paths[row.id], row.span) for row in few})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = EncodedRows(model, processor, few, root, cache=folder, name=found.name,
                           progress=False)
        encoding = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        seconds = {stage: seconds_per_step(stage, model, processor, rows, batch)
                   for stage in rows.stages}
    parts = steps_per_stage(steps, {stage: SHARES[stage] for stage in rows.stages})
    items = {"align": len(found.aligned), "ask": len(found.usable)}
    share = sum(max(each.values()) for each in found.seconds.values()) / max(film, 0.5)
    return [f"training on {model.device.type}, measured on {len(rows.rows)} rows:",
            f"  encoding    {duration(encoding * share)} once for all media, "
            f"{max(1, round(size * share / 2**20)):,} MB of features on disk",
            *(f"  {stage:<12}{seconds[stage]:.2f} s for a step of {batch} clips: "
              f"{duration(seconds[stage] * count)} for {count:,} steps, "
              f"{count * batch / items[stage]:.1f} epochs"
              for stage, count in parts.items()),
            f"  memory      {_memory(model)} GB"]


def _memory(model) -> str:
    import torch

    used = torch.cuda.max_memory_allocated() if model.device.type == "cuda" else peak_memory()
    return "unknown" if used is None else f"{used / 2**30:.1f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that a reader would choose."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def listed(title: str, problems: list[str], shown: int | None = SHOWN) -> list[str]:
    """A title and the first problems, wrapped; nothing if there are none."""
    left = len(problems[shown:]) if shown else 0
    more = [f"... and {left} more, with --all"] if left else []
    lines = [line for text in [*problems[:shown], *more] for line in textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent="    ", subsequent_indent="      ")]
    return [f"  {title}", *lines] if problems else []


def examine(file, settings: DataSettings, checkpoint=None, progress: bool = False) -> int:
    """Print all about a data file; returns 1 if a row cannot be used, or a medium is both in train
    and test, else 0.

    Raises:
        FileNotFoundError: there is no such file, folder or checkpoint.
        ValueError: a file is neither JSON, JSON Lines nor CSV.
    """
    root = Path(settings.media_root)
    if not root.is_dir():
        what = f"{root} is a file, expected a folder" if root.is_file() else f"no folder {root}"
        raise FileNotFoundError(f"{what}. Fix: --media-root names the media's folder")
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    context = processor.settings.context
    surveys = [survey(file, root.resolve(), processor, context, progress)
               for file in (file, settings.test) if file]
    shown = None if settings.every else SHOWN
    for found in surveys:
        print("\n".join(describe(found, context, shown)))
    twice = shared_media(*surveys) if settings.test else []
    for line in listed(f"media both in {surveys[0].name} and {surveys[-1].name}: {len(twice)}",
                       twice, shown):
        print(line)
    if settings.quick:
        pass
    elif not surveys[0].usable:
        print("training: no row can be used, so there is no cost to measure")
    else:
        print("\n".join(cost(surveys[0], root, model, processor, steps=settings.steps,
                           batch=settings.batch)))
    return int(bool(twice) or any(any(found.problems.values()) or not found.rows
                                  for found in surveys))
