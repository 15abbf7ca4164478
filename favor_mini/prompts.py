"""The text around a clip, a question and its answer, and how the tokenizer cuts it into tokens."""

import re
from dataclasses import dataclass
from itertools import accumulate

from transformers import AutoTokenizer, PreTrainedTokenizerBase

MEDIA_TOKEN = "<av>"
PROMPT = "USER: <Img>{media}</Img> {question}\nASSISTANT:"  # Vicuna's, as in the paper
TURN = "<Img>{media}</Img> {question}"  # the user's first turn in a chat template


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """A language model's tokenizer with the placeholder <av> as one of its tokens.

    Raises:
        OSError, ValueError: there is no tokenizer.
    """
    tokenizer = AutoTokenizer.from_pretrained(name)
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):  # made up from the config alone
        raise OSError(f"the tokenizer of {name!r} has no words, only special tokens; save the "
                      "language model's tokenizer into its folder")
    if MEDIA_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens(MEDIA_TOKEN, special_tokens=True)
    return tokenizer


@dataclass(frozen=True)
class PromptForm:
    """The texts of a conversation about a clip.

    first: the first question's prompt, with {media} and {question}. later: that of the others, with
    {question}. before: between prompt and answer. end: after each answer; its last token, `end_id`,
    ends the generation. after: what follows the last answer. prefix: token ids in front of all.
    """

    first: str
    later: str
    before: str
    end: str
    after: str
    end_id: int
    prefix: tuple[int, ...]

    @classmethod
    def make(cls, prompt: str, tokenizer: PreTrainedTokenizerBase) -> "PromptForm":
        """The form of `ProcessorSettings.prompt`.

        Args:
            prompt: "vicuna"; "chat", the tokenizer's chat template; or a template of your own, a
                text with {media} and {question}. Later questions leave {media} out.

        Raises:
            ValueError: a template of your own lacks a part, or the tokenizer's is missing or does
                not end an answer with a special token.
        """
        if prompt == "chat":
            return _from_chat_template(tokenizer)
        template = PROMPT if prompt == "vicuna" else prompt
        if re.findall(r"\{(?:media|question)\}", template) != ["{media}", "{question}"]:
            raise ValueError(
                f"prompt={prompt!r}: expected 'vicuna', 'chat', or a template that holds {{media}} "
                f"and then {{question}}, each once, such as {PROMPT!r}")
        if tokenizer.eos_token is None:
            raise ValueError("the tokenizer has no eos_token, which ends an answer; set one that "
                             "the language model knows: tokenizer.eos_token = '</s>'")
        later = re.sub(r"(<Img>)?\{media\}(</Img>)?\s?", "", template)
        return cls(template, later, "" if template[-1].isspace() else " ", tokenizer.eos_token, "",
                   tokenizer.eos_token_id, _prefix(tokenizer))

    def prompt(self, media: str, question: str) -> str:
        """The first question's prompt."""
        return _fill(self.first, media=media, question=question)

    def clip_end(self, media: str) -> int:
        """How many characters of the first prompt belong to the clip, all up to </Img>."""
        head, _, tail = self.first.partition("{media}")
        return len(head + media) + len("</Img>" if tail.startswith("</Img>") else "")

    def question_start(self, prompt: str, question: str) -> int:
        """Where the question begins in the text of a prompt."""
        return len(prompt) - len(self.first.partition("{question}")[2]) - len(question)


def _from_chat_template(tokenizer: PreTrainedTokenizerBase) -> PromptForm:
    """Cut one conversation in the tokenizer's chat template into the texts of a `PromptForm`."""
    if not tokenizer.chat_template:
        raise ValueError("prompt='chat', but the tokenizer has no chat template; use the language "
                         "model's chat or instruct version, prompt='vicuna', or a template of your "
                         "own")

    def write(*texts: str, ask: bool = False) -> str:
        messages = [{"role": "assistant" if i % 2 else "user", "content": text}
                    for i, text in enumerate(texts)]
        return tokenizer.apply_chat_template(  # without thinking, in templates that know it
            messages, tokenize=False, add_generation_prompt=ask, enable_thinking=False)

    first, whole = write(TURN, ask=True), write(TURN, "{answer}")
    talk = write(TURN, "{answer}", "{again}", ask=True)
    tail, rest = (text.partition("{answer}")[2] for text in (whole, talk))
    special = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}
    special |= set(tokenizer.all_special_tokens)
    end = min((t for t in special if t in tail), key=tail.index, default="")
    before = whole[len(first) : whole.find("{answer}")]
    end_text = tail[: tail.find(end) + len(end)]
    if not (end and first.count(TURN) == 1 and whole.startswith(first)
            and rest.startswith(end_text) and rest.count("{again}") == 1):
        raise ValueError(
            "prompt='chat': expected a chat template that repeats the texts, begins an answer as "
            "its generation prompt does and ends it with a special token; found an answer as "
            f"{whole!r} after {first!r}. Use a template of your own instead")
    later = rest[len(end_text) :].replace("{again}", "{question}")
    return PromptForm(first, later, before, end_text, tail[len(end_text) :],
                      tokenizer.convert_tokens_to_ids(end), ())


def _prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that the tokenizer puts in front of every text, such as <s>; often none."""
    media = tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
    ids, bare = (tokenizer(MEDIA_TOKEN, add_special_tokens=add).input_ids for add in (True, False))
    return tuple(ids[: ids.index(media) - bare.index(media)])


def _fill(template: str, **values: str) -> str:
    """Put values into a template at once: a value can hold braces itself."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def prompt_ids(form: PromptForm, tokenizer: PreTrainedTokenizerBase, media: str, question: str
               ) -> tuple[list[int], int]:
    """Token ids of the first question's prompt, and how many of them are the clip's.

    A token with characters of both the clip and the question is not the clip's.
    """
    text = form.prompt(media, question)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    end = form.clip_end(media)
    clip = sum(stop <= end for _, stop in found.offset_mapping)
    return [*form.prefix, *found.input_ids], len(form.prefix) + clip


def write_dialogue(form: PromptForm, tokenizer: PreTrainedTokenizerBase, media: str,
                   turns: list[tuple[str, str]]) -> dict[str, list[int]]:
    """A conversation as lists `ids`, `labels` and `turn_ids`; see `FavorProcessor.dialogue`."""
    prompt, clip = prompt_ids(form, tokenizer, media, turns[0][0])
    texts = [form.prompt(media, turns[0][0])]
    for turn, (question, answer) in enumerate(turns):
        texts += [_fill(form.later, question=question)] if turn else []
        texts.append(f"{form.before}{answer}{form.end}")
    pieces = _split(tokenizer, [*texts, form.after], prompt[len(form.prefix) :])
    pieces[0] = [*form.prefix, *pieces[0]]
    dialogue = {"ids": sum(pieces, []), "labels": [], "turn_ids": [0] * clip}
    for number, ids in enumerate(pieces):  # prompt, answer, prompt, answer, ..., the rest
        labelled = number % 2 == 1
        dialogue["labels"] += ids if labelled else [-100] * len(ids)
        turn = min(number // 2 + 1, len(turns))
        dialogue["turn_ids"] += [turn] * (len(ids) - (clip if number == 0 else 0))
    return dialogue


def _split(tokenizer: PreTrainedTokenizerBase, texts: list[str], first: list[int]
           ) -> list[list[int]]:
    """Token ids of consecutive texts, the first of which has the ids `first`.

    They are those of the whole text, unless a token would cross from one text into the next: an
    answer must have tokens of its own, and a prompt those that it has without its answer.
    """
    whole = tokenizer("".join(texts), add_special_tokens=False, return_offsets_mapping=True)
    ends, pieces, piece = list(accumulate(map(len, texts))), [[] for _ in texts], 0
    for token, (start, stop) in zip(whole.input_ids, whole.offset_mapping, strict=True):
        while stop > ends[piece]:
            piece += 1
        if piece and start < ends[piece - 1] < stop:
            break
        pieces[piece].append(token)
    else:
        if pieces[0] == first:
            return pieces
    return [first, *(tokenizer(text, add_special_tokens=False).input_ids for text in texts[1:])]
