"""Tiny tokenizers of the usual kinds, trained on a few sentences."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["USER: <Img></Img> what was heard first?\nASSISTANT: a bell", "Question: who? Answer: two",
         "ASSISTANT: Paris", "the red star came after the bell", "Answer: Paris"] * 4
CHATML = ("{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
          "<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
          "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
          "<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
# Gemma's: a start token, the model's own name of its role, trimmed texts.
GEMMA = ("<s>{% for m in messages %}<|im_start|>"
         "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
         "{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}")
# Llama 2's: the end token belongs to the answer, with a space before it.
INST = ("{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] }} [/INST]"
        "{% else %} {{ m['content'] }} </s>{% endif %}{% endfor %}")
# Qwen3's: empty thoughts before the last answer alone. Phi-3's: an end of the whole conversation.
QWEN3 = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if loop.last and m['role'] == "
         "'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n"
         "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
         "{% if enable_thinking is defined and not enable_thinking %}"
         "<think>\n\n</think>\n\n{% endif %}{% endif %}")
PHI3 = ("{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}")
TEMPLATES = {"chatml": CHATML, "gemma": GEMMA, "inst": INST, "qwen3": QWEN3, "phi3": PHI3}
KINDS = ("bytes", "llama", "words", "merging", "characters")


def make_tokenizer(kind: str, template: str | None = None, placeholder: bool = True,
                   **changes) -> PreTrainedTokenizerFast:
    """bytes: GPT-2's, with no start token. llama: with a start token, and an end token at the end
    of every text. words: of words, without a padding token. merging: merges across anything."""
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    options = {"special_tokens": special, "show_progress": False, "vocab_size": 400}
    if kind == "words":
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=[*special, "<unk>"], show_progress=False)
    else:
        if kind == "bytes":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
        elif kind == "llama":
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
            tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
        else:
            tokenizer.decoder = decoders.Fuse()
            options["vocab_size"] = 60 if kind == "characters" else 400
        trainer = trainers.BpeTrainer(**options)
    tokenizer.train_from_iterator([*TEXTS, "{}|[]/<>_ \n.:?thinkINSTmodelsystemYou"], trainer)
    if kind == "llama":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{"bos_token": "<s>", "eos_token": "</s>",
                                       "additional_special_tokens": special[2:], **changes})
    made.chat_template = TEMPLATES.get(template)
    if placeholder:
        made.add_tokens("<av>", special_tokens=True)
    return made
