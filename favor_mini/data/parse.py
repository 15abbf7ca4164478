"""One entry of a data file, a dictionary, as a `Row`. `manifest` says which forms there are."""

import math
import re
from difflib import get_close_matches

import numpy as np

from ..media.clip import Clip, MediaError, clip_from_arrays
from .row import DESCRIBE, Row, Span, Turn

PICTURES = ("image", "image_name", "image_path", "images", "video", "video_path", "video_name",
            "videos", "file", "path", "media", "clip")
SOUNDS = ("audio", "audio_path", "audio_name", "audios", "sound", "sound_path", "speech")
MEDIA = PICTURES + SOUNDS
CONVERSATIONS = ("conversation", "conversations", "messages")
SPANS = ("duration", "span")  # of the original film: the file may have been cut already
CANDIDATES = ("answer_candidates", "candidates")
TEXTS = ("transcript", "caption")  # fields of a text in the order of time
FIELDS = (*MEDIA, *CONVERSATIONS, *SPANS, *CANDIDATES, *TEXTS, "question", "answer", "start", "end",
          "ordered", "id")
SPEAKERS = {"human": "question", "user": "question", "gpt": "answer", "assistant": "answer",
            "model": "answer"}
PLACEHOLDER = r"<(?:image|video|audio|sound|speech|av)>"
LEADING = re.compile(rf"^(?:\s*{PLACEHOLDER})+\s*|\s*(?:{PLACEHOLDER}\s*)+$")


def parse_row(entry, id: str, decoded: bool = False) -> Row:
    """The row of an entry.

    Args:
        decoded: the media may also be a `Clip`, features, or a decoded picture and sound.

    Raises:
        ValueError: it cannot be used. Its arguments are the field and the problem.
    """
    if not isinstance(entry, dict):
        raise ValueError("row", f"expected an object, found {entry!r:.40}")
    if entry.get("answer", "") is None and not set(entry) & {*CONVERSATIONS, *TEXTS}:
        raise ValueError("answer", "expected a text, or a list of texts, found None")
    # `datasets` fills columns that a row does not have with None.
    entry = {name: value for name, value in entry.items() if value is not None}
    media = _media(entry, decoded)
    ordered = entry.get("ordered")
    if not isinstance(ordered, bool | None):
        raise ValueError("ordered", f"expected true or false, found {ordered!r:.40}")
    field = next((name for name in CONVERSATIONS if name in entry), None)
    text = next((name for name in TEXTS if name in entry), None)
    if field:
        turns = _conversation(entry[field], field)
    elif text and "answer" not in entry:
        question = entry.get("question") or DESCRIBE
        answers = _no_placeholder(_texts(entry, text), text)
        turns = (Turn(_question(question, "question"), answers),)
        ordered = True if ordered is None else ordered
    else:
        turns = (_question_and_answers(entry),)
    unused = tuple(str(name) for name in entry if name not in FIELDS)
    return Row(id, media, turns, _span(entry), ordered, str(entry.get("id", "")), unused=unused)


def _question_and_answers(entry: dict) -> Turn:
    (question,) = _texts(entry, "question", str)
    answers, candidates = _texts(entry, "answer", numbers=True), ()
    field = next((name for name in CANDIDATES if name in entry), None)
    if field:
        candidates = _texts(entry, field, list, numbers=True)
        if not set(answers) & set(candidates):
            raise ValueError(field, f"the answer {answers[0]!r} is not among them")
    return Turn(_question(question, "question"), _no_placeholder(answers, "answer"), candidates)


# Conversations.

def _conversation(messages, field: str) -> tuple[Turn, ...]:
    """Turns from pairs of texts, or from messages by speaker."""
    if isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages):
        spoken = [_message(message, field) for message in messages]
        for number, (speaker, _) in enumerate(spoken):
            if speaker != ("question", "answer")[number % 2]:
                raise ValueError(field, f"expected question and answer by turns, found two of one "
                                 f"speaker, or an answer first, at message {number}")
        if len(spoken) % 2:
            raise ValueError(field, "the last question has no answer")
        texts = [text for _, text in spoken]
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
    else:
        if not isinstance(messages, list) or not messages or any(
                not isinstance(turn, list | tuple) or len(turn) != 2 for turn in messages):
            raise ValueError(field, "expected a list of pairs of question and answer, or of "
                             '{"from": "human" or "gpt", "value": text}')
        pairs = [_texts({field: list(turn)}, field, numbers=True) for turn in messages]
    (first, _), *later = pairs
    questions = [_question(first, field), *_no_placeholder([q for q, _ in later], field)]
    answers = _no_placeholder([answer for _, answer in pairs], field)
    return tuple(Turn(q, (a,)) for q, a in zip(questions, answers, strict=True))


def _message(message: dict, field: str) -> tuple[str, str]:
    """Who speaks, "question" or "answer", and the text."""
    speaker = message.get("from", message.get("role"))
    content = message.get("value", message.get("content"))
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise ValueError(field, f"found the speaker {speaker!r:.40}, expected one of "
                         f"{', '.join(SPEAKERS)}. Fix: remove other messages")
    if isinstance(content, list):  # parts of different kinds, as in chat templates
        content = "\n".join(_part(part, field) for part in content)
    (text,) = _texts({field: content}, field, str, numbers=SPEAKERS[speaker] == "answer")
    return SPEAKERS[speaker], text


def _part(part, field: str) -> str:
    """The text of a part of a message, or the placeholder of a medium."""
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if kind == "text" else f"<{kind}>"
    if not isinstance(text, str) or kind != "text" and not re.fullmatch(PLACEHOLDER, text):
        expected = '{"type": "text", "text": ...} or {"type": "video"}'
        raise ValueError(field, f"expected {expected}, found {part!r:.40}")
    return text


def _question(text: str, field: str) -> str:
    """A question without the placeholder of the media at its start or end."""
    (text,) = _texts({field: text}, field, str)
    rest = LEADING.sub("", text).strip() if re.search(PLACEHOLDER, text) else text
    if not rest:
        raise ValueError(field, f"expected a question, found {text!r} alone")
    (question,) = _no_placeholder([rest], field)
    return question


def _no_placeholder(texts, field: str):
    """The texts, or a ValueError if one names the media again."""
    for text in texts:
        if found := re.search(PLACEHOLDER, text):
            raise ValueError(field, f"found the placeholder {found.group()} within {text!r:.60}, "
                             "expected it only at the start or end of the first question, as the "
                             "clip always comes first. Fix: move or remove it")
    return texts


# Values.

def _texts(entry: dict, field: str, kind=None, *, numbers: bool = False
           ) -> tuple[str, ...]:
    """The text, or the list of texts, in a field.

    Args:
        numbers: also accept numbers, as their text in JSON: 3 becomes "3", 2.5 becomes "2.5".
    """
    if field not in entry:
        raise ValueError(field, f"it is missing; found {list(entry)}")
    value = entry[field]
    texts = list(value) if isinstance(value, list | tuple) else [value]
    if numbers:
        texts = [str(t) if _is_number(t) else t for t in texts]
    right = kind is None or (kind is list) == isinstance(value, list | tuple)
    if not right or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        expected = {str: "a text", list: "a list of texts"}.get(kind, "a text, or a list of texts")
        raise ValueError(field, f"expected {expected}, found {value!r:.40}")
    for text in texts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(field, f"{text!r:.40} is no text: half of a surrogate pair")
    return tuple(texts)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _span(entry: dict) -> Span | None:
    field = next((name for name in SPANS if name in entry), None)
    value = entry.get(field)
    if field is None and {"start", "end"} & set(entry):
        if "end" not in entry:
            raise ValueError("end", "it is missing, but there is a start")
        field, value = "end", [entry.get("start", 0.0), entry["end"]]
    if field is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_number, value)) \
            or not 0 <= value[0] < value[1]:
        raise ValueError(field, "expected seconds [start, end] with 0 <= start < end, "
                         f"found {value!r:.40}")
    return Span(float(value[0]), float(value[1]), cut=field in SPANS)


# Media.

def _media(entry: dict, decoded: bool) -> tuple[str, ...] | Clip | dict:
    """Names of one or two files; with `decoded` also a `Clip` or features."""
    fields = [name for name in MEDIA if name in entry]
    if not fields:
        near = next((close[0] for name in entry
                     if (close := get_close_matches(str(name), MEDIA, 1, 0.75))), None)
        raise ValueError("media", f"no field names a file; found {list(entry)}. Fix: write "
                         + (f"{near!r}" if near else "one of video, audio, image, file"))
    values = [entry[name] for name in fields]
    if decoded and (isinstance(values[0], Clip) or _is_features(values[0])):
        return values[0]
    if decoded and any(map(_is_decoded, values)):
        return _clip(dict(zip(fields, values, strict=True)))
    names = tuple(name for field in fields
                  for name in _texts({field: _file_name(entry[field])}, field))
    if len(names) > 2:
        raise ValueError(fields[0], f"expected one file, or a picture and its sound, found {names}")
    return names


def _file_name(value):
    """The name in what `datasets` gives for a media file that is not decoded."""
    return value["path"] if isinstance(value, dict) and value.get("path") else value


def _is_features(value) -> bool:
    return isinstance(value, dict) and {"num_frames", "audio_tokens"} <= set(value)


def _is_decoded(value) -> bool:
    return hasattr(value, "convert") or (isinstance(value, dict) and "array" in value)


def _clip(values: dict) -> Clip:
    """A clip from a picture (PIL) and a sound {"array", "sampling_rate"}, as `datasets` gives."""
    frames = waveform = None
    for field, value in values.items():
        if hasattr(value, "convert"):
            frames = np.asarray(value.convert("RGB"))[None]  # [1, H, W, 3]
        elif isinstance(value, dict) and "array" in value:
            rate = value.get("sampling_rate")
            try:
                waveform = np.asarray(value["array"], np.float32)
            except (TypeError, ValueError):  # nested, ragged, or no numbers
                raise ValueError(field, "expected an array of numbers, found "
                                 f"{value['array']!r:.40}") from None
            if rate != 16000:
                raise ValueError(field, f"found {rate} samples a second, expected 16000. Fix: "
                                 'dataset.cast_column("audio", Audio(sampling_rate=16000))')
        else:
            raise ValueError(field, f"expected a picture or a sound, found {value!r:.40}, next to "
                             "one that is decoded")
    try:
        return clip_from_arrays(frames=frames, waveform=waveform)
    except MediaError as error:
        raise ValueError(next(iter(values)), str(error)) from error
