"""Data files: JSON, JSON Lines and CSV files of rows.

Each row names its media (`parse.MEDIA` lists the fields) and what is said about it, in one of these
forms. `id`, `start` and `end` in seconds of the file, and `ordered` may be added to each.

    {"image": "a.jpg", "question": ..., "answer": text or list of correct answers,
     "answer_candidates": [...], "duration": [start, end]}      as the paper's benchmark; a file
                        that is no longer than this is taken to be cut to it already
    {"image_name": ["a.mp4", "a.wav"], "conversation": [[question, answer], ...]}
    {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\\n..."},
                                         {"from": "gpt", "value": ...}]}
    {"video": "a.mp4", "messages": [{"role": "user", "content": ...}, ...]}
    {"video": "a.mp4", "transcript": text}                      what happens, in the order of time

A CSV file has a header: file, question, answer; if wanted start, end, and candidates, joined by |.
Numbers among the answers become texts: 3 is "3".
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from .parse import CANDIDATES, parse_row
from .row import Row, RowError

Read = tuple[list[Row], list[RowError]]


def read_rows(file) -> Read:
    """The rows of a data file, and an error for each row that cannot be used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, or no JSON list, JSON Lines or CSV file.
    """
    file = Path(file)
    if file.is_dir():
        raise FileNotFoundError(f"{file} is a folder, expected a file of rows. Fix: name the file, "
                                "and the folder of the media with --media-root")
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}; expected a test-set file, a JSON list of rows, "
                                "or a JSON Lines or CSV file")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not JSON or CSV in UTF-8: {error}. Fix: save it again in the "
                         "encoding UTF-8") from error
    if not text.strip():
        raise ValueError(f"{file} is empty, expected rows")
    if file.suffix.lower() in (".csv", ".tsv"):
        return _rows(_csv_entries(text, file), file, "line")
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        return _rows(_json_lines(text), file, "line")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        first, _, rest = text.lstrip().partition("\n")
        if rest.strip() and isinstance(_json_line(first), dict):  # JSON Lines by another name
            return _rows(_json_lines(text), file, "line")
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{file} holds {_kind(entries)}, expected a list of rows: [{{...}}, ...]")
    return _rows(enumerate(entries), file, "row")


def rows_from(entries: Iterable, name="rows") -> Read:
    """The rows of dictionaries in the forms above, such as those of a `datasets.Dataset`.

    The media may also be a `Clip`, features, or what `datasets` decodes: a picture, and a sound
    with 16,000 samples a second.

    Args:
        name: what errors call the source.
    """
    return _rows(enumerate(entries), name, "row", decoded=True)


def _rows(entries: Iterator[tuple[int, object]], name, unit: str, decoded: bool = False) -> Read:
    rows, broken = [], []
    for index, entry in entries:
        try:
            if isinstance(entry, ValueError):
                raise entry
            rows.append(replace(parse_row(entry, str(index), decoded), unit=unit))
        except ValueError as error:
            broken.append(RowError(name, index, *error.args, unit))
        except RecursionError:
            broken.append(RowError(name, index, "row", "it is nested too deeply", unit))
    return rows, broken


def _kind(entries) -> str:
    return f"an object with the fields {list(entries)}" if isinstance(entries, dict) else \
        f"{entries!r:.40}"


def _json_line(line: str):
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError("line", f"it is not JSON: {error}; found {line.strip()!r:.40}")


def _json_lines(text: str) -> Iterator[tuple[int, object]]:
    """The lines by number; a ValueError instead of one that is not JSON."""
    # Not `splitlines`: JSON texts may hold other signs that it takes for ends of lines.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _json_line(line)


def _csv_entries(text: str, file: Path) -> Iterator[tuple[int, object]]:
    """Rows as dictionaries by the line where each begins; a ValueError instead of a broken one."""
    header = text.lstrip().partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), strict=True,
                       delimiter=max(",;\t", key=header.count))
    names, begin = None, 1
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                if names is None:
                    names = [cell.strip().lower() for cell in cells]
                    _check_header(names, file)
                else:
                    yield begin, _csv_entry(names, cells)
            begin = lines.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{file}, line {begin}: it is not CSV: {error}. Fix: put a text with "
                         'commas or line breaks into quotation marks, and write " as ""'
                         ) from error


def _check_header(names: list[str], file: Path) -> None:
    expected = "expected a header, such as file,question,answer"
    if not {"answer", "transcript", "caption"} & set(names):
        raise ValueError(f"{file}, line 1: found {','.join(names):.60}, {expected}")
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise ValueError(f"{file}, line 1: found the column {twice[0]!r} twice, {expected}")


def _csv_entry(names: list[str], cells: list[str]) -> object:
    if len(cells) > len(names):
        return ValueError("line", f"expected {len(names)} cells, found {len(cells)}. Fix: put a "
                          "text with commas into quotation marks")
    entry = {name: cell for name, cell in zip(names, cells, strict=False) if name and cell.strip()}
    for field in ("start", "end"):
        if field in entry:
            try:
                entry[field] = float(entry[field])
            except ValueError:
                return ValueError(field, f"expected seconds, found {entry[field]!r:.40}")
    for field in set(CANDIDATES) & set(entry):
        entry[field] = [text.strip() for text in entry[field].split("|")]
    if "ordered" in entry:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        entry["ordered"] = words.get(entry["ordered"].strip().lower(), entry["ordered"])
    return entry
