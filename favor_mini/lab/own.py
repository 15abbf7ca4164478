"""Rows of one's own in place of the mini world: data and questions of a comparison.

    favor-mini compare --vary attention=block_causal,none --file train.json \\
        --validation val.json --media-root media
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

from ..aveb.files import read_items
from ..aveb.predict import Predictor
from ..data.encoded import EncodedRows
from ..data.files import OutsideError, find_media, shared_files
from ..data.manifest import read_rows
from ..data.row import DESCRIBE
from ..keys import digest, file_digest
from .plan import Plan


def own_rows(plan: Plan, model, processor, cache: Path, progress: bool = False) -> EncodedRows:
    """The training rows of a plan for a model; features are kept in `cache`.

    Raises:
        ValueError: no row can be used.
    """
    return EncodedRows(model, processor, read_rows(plan.file)[0], plan.media_root,
                       name=Path(plan.file).name, cache=cache, progress=progress)


def check_rows(plan: Plan, rows: EncodedRows) -> None:
    """Say on stderr what is wrong with the training rows, before hours of training.

    Raises:
        ValueError: the media of no validation row are there.
    """
    found, broken = read_rows(plan.file)
    if problems := [*broken, *rows.skipped, *rows.unaligned]:
        print(f"{plan.file}: {len(problems)} problems with {len(found) + len(broken)} rows, which "
              f"`favor-mini data --all` lists. The first: {problems[0]}", file=sys.stderr)
    asked, broken = read_rows(plan.validation)
    problems, files = [str(problem) for problem in broken], set()
    for row in asked:
        try:
            files.update(find_media(row, plan.media_root))
        except (OSError, OutsideError) as error:
            problems.append(str(row.error(plan.validation, "media", str(error))))
    if not files:
        raise ValueError(f"{plan.validation}: found no row that can be asked, expected at least "
                         f"one. The first problem: {problems[0] if problems else 'it has none'}")
    if shared := shared_files(rows.digests, {path: file_digest(path) for path in files}):
        print(f"{len(shared)} files are both in {plan.file} and {plan.validation}, so the scores "
              f"are not about new clips: {', '.join(shared[:3])}", file=sys.stderr)


def own_answers(plan: Plan, model, processor, folder: Path) -> list[dict]:
    """What a model answers to the validation rows; `folder` is for files of the meantime.

    Raises:
        ValueError: no validation row can be asked.
    """
    saved = folder / "asked"
    for part in (model, processor):
        part.save_pretrained(saved)
    items = [item for item in read_items(plan.validation)[0] if item.question != DESCRIBE]
    found = Predictor(saved).predict(plan.validation, items, plan.media_root,
                                     folder / "answers.jsonl", progress=False)
    shutil.rmtree(saved)
    (folder / "answers.jsonl").unlink()
    asked = [(item, row) for item, row in zip(items, found, strict=True) if "predicted" in row]
    if not asked:
        raise ValueError(f"{plan.validation}: found no row that can be asked. The first problem: "
                         f"{found[0]['problem'] if found else 'the file has no question'}")
    return [{"clip": "\0".join(row["digests"]), "family": "your rows",
             "question": f"{item.id}: {item.question}", "answer": item.answers[0],
             "chance": 1 / len(item.candidates) if item.candidates else 0.0,
             "right": bool(row["right"]), "predicted": row["predicted"]} for item, row in asked]


def own_digest(plan: Plan) -> str:
    """A digest of both files of rows and of their media."""
    parts = []
    for file in (plan.file, plan.validation):
        parts.append(file_digest(file))
        for row in read_rows(file)[0]:
            with suppress(OSError, OutsideError):  # such a row is left out
                parts += map(file_digest, find_media(row, plan.media_root))
    return digest(*(part.encode() for part in parts))
