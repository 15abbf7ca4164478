"""How a typed question is read, and how far it is from the questions of the training data.

A question is first brought into the spelling of the training questions. Then the language model
reads it after the clip. The score is the surprise, -log p, of the token that the model expected
least, up to the first token after the question. It is large for a form that no training question
had. It is often large for a question about something that the clip does not hold, because training
never asked for that.
"""

import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches

import torch

ALIKE = 0.8  # difflib's ratio: how alike a known word must be to be taken for an unknown one
SHORTEST = 4  # letters; shorter words are alike too easily
MARKS = ("?", ".", "")  # ends of a question
CLEARLY = 0.1  # nats; equal surprises differ by rounding


@dataclass(frozen=True)
class Wording:
    """A question as the model reads it.

    surprise: -log p of the token that the model expected least.
    word, before, expected: this token, the question up to it, and the tokens that the model
        expected in its place.
    """

    text: str
    surprise: float
    word: str
    before: str
    expected: tuple[str, ...]


def spell(question: str, tokenizer, spellings: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The question with plain quotes and single spaces, and with known words for unknown ones.

    Args:
        tokenizer: if it has no token for unknown words, no word is replaced.
        spellings: known words by unknown ones, such as "what was" by "what's".

    Returns:
        the question, and each word that was replaced because it looks similar.
    """
    text = unicodedata.normalize("NFKC", question).replace("\u2019", "'")
    text = " ".join(re.sub(r"[\"\u201c\u201d\u201e]", " ", text).split())
    guessed = {}
    if tokenizer.unk_token_id is None:
        return text, guessed
    vocabulary = [word for word in tokenizer.get_vocab() if word.isalpha() and word.islower()]

    def replace(match: re.Match) -> str:
        word = match[0].lower()
        if not unknown_words(word, tokenizer):
            return match[0]
        if (known := spellings.get(word)) and not unknown_words(known, tokenizer):
            return known
        near = get_close_matches(word, vocabulary, 1, ALIKE) if len(word) >= SHORTEST else []
        if near:
            guessed[match[0]] = near[0]
        return near[0] if near else match[0]

    return re.sub(r"[^\W_]+(?:'[^\W_]+)?", replace, text), guessed


def unknown_words(question: str, tokenizer) -> list[str]:
    """The words of a question that the tokenizer does not know, each once, as typed."""
    if tokenizer.unk_token_id is None:
        return []
    read = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(read.input_ids, read.offset_mapping, strict=True)
    return list(dict.fromkeys(question[a:b] for token, (a, b) in spans
                              if token == tokenizer.unk_token_id))


@torch.no_grad()
def measure(model, processor, encoded: dict, questions: list[str]) -> list[Wording]:
    """The surprise of each of several questions about one clip.

    Args:
        encoded: the clip, from `encode_media` or `processor.media`.
    """
    inputs = processor([encoded] * len(questions), questions)
    inputs = {k: v.to(model.device) for k, v in inputs.items()}
    ids, logits = inputs["input_ids"], model(**inputs).logits  # (B, L), (B, L, vocabulary)
    found = []
    for row, question in enumerate(questions):
        places = _places(processor, encoded, question, ids.shape[1])
        predicted = logits[row, places - 1].float().log_softmax(-1)  # [question, vocabulary]
        surprise = -predicted.gather(1, ids[row, places, None])[:, 0]  # [question]
        worst = int(surprise.argmax())
        word = int(ids[row, places[worst]])
        expected = [i for i in predicted[worst].topk(3).indices.tolist() if i != word][:2]
        text, read = processor.tokenizer.convert_ids_to_tokens, processor.tokenizer.decode
        found.append(Wording(question, float(surprise[worst]), text(word),
                             read(ids[row, places[:worst]]), tuple(text(expected))))
    return found


def read_question(model, processor, encoded: dict, question: str) -> Wording:
    """The question with the final mark that surprises the model least: "?", ".", or none. The mark
    that it has is kept unless another is clearly better."""
    body = question.rstrip(" ?.!")
    typed, *others = measure(model, processor, encoded, list(dict.fromkeys(
        [question, *(body + mark for mark in MARKS)])))
    best = min(others, key=lambda wording: wording.surprise, default=typed)
    return best if best.surprise < typed.surprise - CLEARLY else typed


def _places(processor, encoded: dict, question: str, length: int) -> torch.Tensor:
    """Where the question's tokens, and the next one, are in its row of the batch."""
    prompt = processor.prompt(question, processor.num_placeholders(encoded))
    spans = processor.tokenizer(prompt, add_special_tokens=False,
                                return_offsets_mapping=True).offset_mapping
    start = processor.form.question_start(prompt, question)
    inside = [i for i, (a, b) in enumerate(spans) if b > start and a < start + len(question)
              and b > a]
    places = torch.tensor([*inside, inside[-1] + 1])
    return places + length - len(spans)  # padded on the left
