"""The tokenizer of the mini language model: one token for each word of the mini world."""

from functools import cache

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from .questions import LABELS, NUMBERS, REWORDINGS, ask
from .scene import PLACES, SPLITS, THINGS, WORDS, draw_scene
from .transcript import DESCRIBE, RETELL, transcript

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<Img>", "</Img>", "<av>", "USER:", "ASSISTANT:")
# Words of the AVEB tasks. They have the last ids, so that older checkpoints keep their embeddings.
TASK_WORDS = ("shape", "thing", "that", "then", "answer", "question", "do", "and", "belong",
              "together")


@cache
def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer. It converts text to lower case; unknown words become <unk>. <av> has id 6."""
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                        pre_tokenizers.Punctuation()])
    texts = [*LABELS, *NUMBERS, *THINGS, *WORDS, *PLACES, "yes no", DESCRIBE, RETELL]
    texts += [wording for usual, others in REWORDINGS for wording in (usual, *others)]
    for scene in map(draw_scene, SPLITS["train"][:200]):
        texts += [transcript(scene), *(f"{q.text} {q.answer}" for q in ask(scene))]
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text.lower())})
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words, *TASK_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="</s>", additional_special_tokens=list(SPECIAL[4:]))
