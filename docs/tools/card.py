"""The data card and the licence of the sample files, with every figure counted anew."""

from __future__ import annotations

from collections import Counter

from docs.tools.balance import measure, table
from favor_mini.world.questions import MIN_ANSWERS, FAMILIES
from favor_mini.world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS

SCENES = 3000  # scenes over which the biases are counted

LICENSE = """\
CC0 1.0 Universal (CC0 1.0) Public Domain Dedication

The people who made these files have dedicated them to the public domain by waiving all of their rights to them
worldwide under copyright law, including all related and neighbouring rights, to the extent allowed by law. You may
copy, change, distribute and perform them, even for commercial purposes, all without asking permission. They come
without any warranty.

SPDX-License-Identifier: CC0-1.0
Legal code: https://creativecommons.org/publicdomain/zero/1.0/legalcode

This covers everything in this folder: the clips, sounds and images, their scripts and questions, and the spoken words
in speech/, which were made with the program espeak-ng; only its output is here, none of its code or voice data.
"""

CARD = """\
---
license: cc0-1.0
task_categories: [visual-question-answering, audio-classification, video-text-to-text]
language: [en]
pretty_name: favor-mini samples
---
# Sample clips of the mini world

{clips} short films, {sounds} sound recordings and {images} pictures, with everything that happens in them written down
and {questions} questions whose answers are certain. They show what favor-mini can be asked, test that it reads real
media files, and are never trained on.

## What is here
| path | what |
|---|---|
| `clips/*.mp4` | {shortest:.1f} to {longest:.1f} s, {total:.0f} s in all; H.264, 256 x 256 pixels, 24 frames a second; AAC, 48 kHz, mono |
| `sounds/*.flac` | the sound of {sounds} further scenes, 16 kHz, mono, without pictures |
| `images/*.png` | one frame each of {images} further scenes, without sound |
| `samples.jsonl` | one line a file: `file`, `kind`, `seed`, `duration`, `time` (of an image, in its scene), `made_with`, `transcript`, `questions`, `script` |
| `aveb/*.json` | the test sets of mini-AVEB, eleven tasks with {task_questions} questions, in the form of the paper's published files: `image_name`, `question`, `answer`, perhaps `answer_candidates`; `guess` is ours |
| `aveb/*/` | their media: {task_media} |
| `speech/` | the spoken words that scenes are made with: {words} words and four questions, many voices |
| `SHA256SUMS` | checksums of all of this |

A question has a `family`, a `text`, an `answer`, `candidates` (the answer among those that could be confused with it)
and `needs` (which of audio, video, sync, order and cause it calls for). `favor_mini.world.samples.read_samples()` reads
them all.

`favor-mini evaluate` asks the test sets; `favor_mini.world.tasks` says how each draws its scenes and what it asks.

## How they were made
By one command, `python -m favor_mini.world.samples make`, from nothing but seeds and `speech/`. Scenes are drawn by
`favor_mini.world.scene.draw_scene(seed)`: a chain of four to six moments of about 2 s, in each at most one event to see
({colours} colours of {shapes} shapes, {things} sounding things, {words} written words; they stand, move, change colour, or hit
each other) and at most one to hear (the {things} things, the {words} words), drawn independently of each other except that a
thing that is hit sounds. Nobody was filmed or recorded; the words are spoken by a speech synthesiser.

Clips are the seeds {first} to {last_clip}, sounds the {sounds} after them, images the next scenes that show what an
image is wanted of. Nothing was picked by looking at it or by what a model made of it.

The same encoders on the same kind of processor write the same bytes; these were written by
{build}. Others may differ in bytes, not in what is seen and heard. `python -m favor_mini.world.samples verify` compares the files with `SHA256SUMS`.

## Splits
Every seed belongs to one split: {splits}. All files here are of the split `samples`; the test sets' own begin with {first_task}. The training code refuses seeds of
any other split than `train`. Half of the words spoken outside `train` come from four voices that are never trained on.

## What is asked
How many questions of each family the files hold:

| family | needs | clips | sounds | images |
|---|---|--:|--:|--:|
{asked}

## Known biases
Counted over {scenes} training scenes with all their questions by `python -m docs.tools.balance`. *Guess* is one in
the number of candidates. The other columns are the best of several guessers fitted on one half of the scenes and scored
on the other: one always gives the same answer; some look at the question alone; some take in all pictures, or all
sounds, with their order, but not the other stream (only where a question needs both).

{biases}

- **The honest chance level** of a question that needs both streams is the best of its row, not *guess*: who sees all
  pictures but hears nothing names one of the few shapes shown. `favor_mini.world.questions.guesser_accuracy` gives it
  for each question; its means over those scenes are {one_stream}.
- A clip is asked such a question only where at least {enough} answers would do for one stream, and `first_mixed` only
  compares neighbouring moments, since what comes early in a clip mostly comes first. The first and last moment still
  give their neighbour away.
- Counts are small, so that one answer is often right: {often}.
- In `seen_after`, `seen_before`, `heard_after` and `heard_before` a guesser that knows what the clip holds, but not in
  which order, chooses among the few things in it: *guess* is no fair chance level for them either.
- Things are heard more often than words, and one sound in a scene may return; no two things to see are alike in a scene.

## What they cannot be used for
To say anything about real films, voices, accents or people; to measure a model that is not made for this small world
({vocabulary} names, icons on a plain background, one event at a time); or to compare models finely: {clips} clips are few,
so draw scenes of the split `test` for that. The four directions and places are those of the picture, not of a room.

## Licence
CC0 1.0, see `LICENSE`; also for `speech/`.
"""


def data_card(entries: list[dict], rows: dict[str, list[dict]], media: list[str], first_task: int) -> str:
    """The data card of the samples with these lines of the index.

    Args:
        rows: of the tasks' test sets, by task. media: their files. first_task: the first seed of their own.
    """
    kinds = {kind: [e for e in entries if e["kind"] == kind] for kind in ("clip", "sound", "image")}
    asked = {kind: Counter(q["family"] for e in of_kind for q in e["questions"]) for kind, of_kind in kinds.items()}
    seconds = [e["duration"] for e in kinds["clip"]]
    found = measure(SCENES)
    return CARD.format(
        task_questions=sum(map(len, rows.values())), first_task=first_task,
        task_media=", ".join(f"{count} {ending}" for ending, count in sorted(Counter(n.rsplit(".")[-1] for n in media).items())),
        clips=len(kinds["clip"]), sounds=len(kinds["sound"]), images=len(kinds["image"]),
        questions=sum(len(e["questions"]) for e in entries),
        shortest=min(seconds), longest=max(seconds), total=sum(seconds),
        colours=len(COLOURS), shapes=len(SHAPES), things=len(THINGS), words=len(WORDS),
        first=kinds["clip"][0]["seed"], last_clip=kinds["clip"][-1]["seed"], build=entries[0]["made_with"],
        splits=", ".join(f"`{name}` {seeds.start} to {seeds.stop - 1}" for name, seeds in SPLITS.items()),
        asked="\n".join(f"| `{family}` | {', '.join(needs)} | "
                        + " | ".join(str(asked[kind][family] or "") for kind in kinds) + " |"
                        for family, needs in FAMILIES.items()),
        scenes=SCENES, enough=MIN_ANSWERS, biases=table(found), one_stream=_one_stream(found), often=_often(found),
        vocabulary=len({*COLOURS, *SHAPES, *THINGS, *WORDS}))


def _one_stream(found: dict) -> str:
    return ", ".join(f"{max(row['video_chance'], row['audio_chance']):.1%} for `{family}`"
                     for family, row in found.items() if "video_chance" in row)


def _often(found: dict) -> str:
    return " and ".join(f"{found[family]['nothing']:.0%} of the time in `{family}`"
                        for family in ("count_seen", "count_heard"))
