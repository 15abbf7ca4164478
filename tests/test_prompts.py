"""Prompts: the paper's, chat templates, own templates; labels are exactly the answer's tokens."""

import pytest
from conftest import tiny_clip, tiny_processor
from tiny_tokenizers import KINDS, TEMPLATES, make_tokenizer

from favor_mini import FavorProcessor
from favor_mini.evaluation.wording import _places
from favor_mini.processor import ProcessorSettings
from favor_mini.prompts import MEDIA_TOKEN, PROMPT

TURNS = [("what was heard first?", "a bell"), ("who?", "Paris"), ("the red star?", "two")]
OWN = "Question: {media} {question} Answer: "  # ends with a space, which a tokenizer could merge


def make_processor(tokenizer, prompt="vicuna"):
    kept = tiny_processor()
    settings = ProcessorSettings(**{**vars(kept.settings), "prompt": prompt})
    return FavorProcessor(tokenizer, kept.feature_extractor, settings)


def labelled(processor, made):
    """The labelled tokens of each turn."""
    found = {}
    for token, label, turn in zip(*(made[k] for k in ("ids", "labels", "turn_ids")), strict=True):
        if label != -100:
            assert label == token
            found.setdefault(turn, []).append(label)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["vicuna", OWN, "{media}\n\nUSER: {question}\nASSISTANT:"])
def test_labels_are_exactly_the_answers_and_their_ends(kind, prompt):
    processor = make_processor(make_tokenizer(kind), prompt)
    made = processor.dialogue(MEDIA_TOKEN * 2, TURNS)
    found = labelled(processor, made)
    assert list(found) == [1, 2, 3]
    for (_, answer), ids in zip(TURNS, found.values(), strict=True):
        assert ids[-1] == processor.tokenizer.eos_token_id and ids.count(ids[-1]) == 1
        assert processor.tokenizer.decode(ids[:-1]).strip() == answer
    asked = processor.prompt_ids(TURNS[0][0], 2)
    assert made["ids"][: len(asked)] == asked  # trained on what it will be asked
    assert made["labels"][: len(asked)] == [-100] * len(asked)
    assert made["labels"][len(asked)] != -100
    assert asked[-1] != processor.tokenizer.eos_token_id  # of a tokenizer that ends every text
    assert asked.count(processor.tokenizer.bos_token_id) == (kind == "llama")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["vicuna", "chat"])
def test_no_token_of_the_clip_holds_a_character_of_the_question(kind, prompt):
    processor = make_processor(make_tokenizer(kind, "chatml"), prompt)
    made = {q: processor.dialogue(MEDIA_TOKEN * 2, [(q, "two")]) for q in ("who?", "star")}
    clips = [[i for i, t in zip(m["ids"], m["turn_ids"], strict=True) if t == 0]
             for m in made.values()]
    assert clips[0] == clips[1]
    # The last characters can be in a token of the question, never a placeholder.
    assert clips[0].count(processor.tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)) == 2
    assert all(sorted(m["turn_ids"]) == m["turn_ids"] for m in made.values())


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_turn_has_the_ids_of_the_chat_template(kind, template):
    tokenizer = make_tokenizer(kind, template)
    processor = make_processor(tokenizer, "chat")
    (question, answer), media = TURNS[0], MEDIA_TOKEN * 2
    messages = [{"role": "user", "content": f"<Img>{media}</Img> {question}"},
                {"role": "assistant", "content": answer}]
    wanted = tokenizer.apply_chat_template(messages, enable_thinking=False, return_dict=False)
    made = processor.dialogue(media, TURNS[:1])
    prompt = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True,
                                           enable_thinking=False, return_dict=False)
    assert processor.prompt_ids(question, 2) == prompt
    # A token that crosses from prompt to answer is cut in two: "merging" has such tokens.
    if kind not in ("merging", "characters"):
        assert made["ids"] == wanted
    assert tokenizer.decode(made["ids"]) == tokenizer.decode(wanted)


@pytest.mark.parametrize("template", ["chatml", "gemma", "phi3"])
def test_several_turns_have_the_ids_of_the_chat_template(template):
    tokenizer = make_tokenizer("bytes", template)
    processor = make_processor(tokenizer, "chat")
    made = processor.dialogue(MEDIA_TOKEN, TURNS)
    messages = []
    for number, (question, answer) in enumerate(TURNS):
        content = question if number else f"<Img>{MEDIA_TOKEN}</Img> {question}"
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    assert made["ids"] == tokenizer.apply_chat_template(messages, return_dict=False)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for (_, answer), ids in zip(TURNS, labelled(processor, made).values(), strict=True):
        assert ids[-1] == end == processor.form.end_id
        assert tokenizer.decode(ids[:-1]).strip() == answer


def test_every_answer_follows_what_generation_asks_with():
    """Qwen3's template rewrites earlier answers; a turn alone must look as it will be asked."""
    processor = make_processor(make_tokenizer("bytes", "qwen3"), "chat")
    made = processor.dialogue(MEDIA_TOKEN, TURNS)
    text = processor.tokenizer.decode(made["ids"])
    assert text.count("<think>\n\n</think>\n\n") == len(TURNS)
    assert "You are helpful" in make_processor(make_tokenizer("bytes", "chatml"), "chat").prompt(
        "who?", 1)


@pytest.mark.parametrize("prompt", ["vicuna", "chat", OWN])
def test_the_prompt_is_saved(tmp_path, prompt):
    processor = make_processor(make_tokenizer("bytes", "chatml"), prompt)
    processor.save_pretrained(tmp_path)
    loaded = FavorProcessor.from_pretrained(tmp_path)
    assert loaded.settings.prompt == prompt and loaded.form == processor.form
    clips, questions = [tiny_clip(4), tiny_clip(9)], ["who?", "what was heard first?"]
    for answers in (None, ["two", "a bell"]):
        wanted, found = (p(clips, questions, answers) for p in (processor, loaded))
        assert all(wanted[name].equal(found[name]) for name in wanted)


@pytest.mark.parametrize("prompt", ["vicuna", "chat", OWN])
def test_the_places_of_a_question_are_found(prompt):
    processor = make_processor(make_tokenizer("bytes", "chatml"), prompt)
    batch = processor([tiny_clip(4)], ["who?"])["input_ids"]
    places = _places(processor, processor.media(tiny_clip(4)), "who?", batch.shape[1])
    assert processor.tokenizer.decode(batch[0, places[:-1]]).strip() == "who?"


@pytest.mark.parametrize("prompt", ["chatt", "{question} {media}", "{media}",
                                    "{media} {media} {question}"])
def test_a_template_that_lacks_a_part_raises(prompt):
    with pytest.raises(ValueError, match="expected 'vicuna', 'chat', or a template that holds"):
        make_processor(make_tokenizer("bytes"), prompt)


def test_a_template_can_hold_other_braces_and_a_question_too():
    processor = make_processor(make_tokenizer("bytes"), '{"a": {}} {media} {question}')
    assert processor.prompt("{media}?", 1) == '{"a": {}} <av> {media}?'


def test_a_tokenizer_that_cannot_serve_raises():
    with pytest.raises(ValueError, match="no chat template; use the language model's chat"):
        make_processor(make_tokenizer("bytes"), "chat")
    with pytest.raises(ValueError, match="no eos_token, which ends an answer"):
        make_processor(make_tokenizer("bytes", eos_token=None, pad_token="<s>"))
    tokenizer = make_tokenizer("bytes")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n" \
                              "{% endfor %}"
    with pytest.raises(ValueError, match="ends it with a special token; found an answer as 'user:"):
        make_processor(tokenizer, "chat")


def test_the_papers_prompt_keeps_its_name():
    from favor_mini.processor import PROMPT as former

    assert former is PROMPT == "USER: <Img>{media}</Img> {question}\nASSISTANT:"
