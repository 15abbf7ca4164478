"""The mini language model's tokenizer: one token a word, for the words of the mini world."""

from functools import cache

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from . import scene as world
from .questions import LABELS, NUMBERS, REWORDINGS, ask
from .scene import SPLITS, draw_scene
from .transcript import DESCRIBE, RETELL, transcript

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<Img>", "</Img>", "<av>", "USER:", "ASSISTANT:")
LATER = ("shape", "thing", "that", "then", "answer", "question", "do", "and", "belong", "together")  # came with the tasks of `aveb`


@cache
def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words are lower-cased; anything outside the mini world becomes <unk>. The placeholder <av> has id 6."""
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    texts = [*LABELS, *NUMBERS, *world.THINGS, *world.WORDS, *world.PLACES, "yes no", DESCRIBE, RETELL]
    texts += [wording for usual, others in REWORDINGS for wording in (usual, *others)]
    for seed in np.arange(200) + SPLITS["train"].start:
        drawn = draw_scene(int(seed))
        texts += [transcript(drawn), *(f"{q.text} {q.answer}" for q in ask(drawn))]
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text.lower())})
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words, *LATER])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), splitter
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
                                   eos_token="</s>", additional_special_tokens=list(SPECIAL[4:]))
