"""Before the language model reads the connector's vectors: each output query names what its stretch of the window holds.

A frozen language model that is handed noise gives little to learn from. So the connector first learns to speak its words.
The N queries of a window are shared out in fours over its K frames, like the clauses of a script: what is seen, what it
does, what is beside it, what is heard. Each must come close to the embeddings of its words. No language model runs for that.

The paper has no such stage: its connector learns from the language model alone, on far more data than two CPU cores can take.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import FavorForConditionalGeneration
from ..processor import MEDIA_TOKEN, FavorProcessor
from ..registry import find


def multi_hot(words: list[list[int]], vocabulary: int) -> Tensor:
    """Token ids per query to (queries, vocabulary): 1 where a word is named, else 0."""
    made = torch.zeros(len(words), vocabulary)
    for row, ids in zip(made, words, strict=True):
        row[ids] = 1.0
    return made


def collate_names(processor: FavorProcessor, examples: list[dict]) -> dict[str, Tensor]:
    """Media tensors, prompts of nothing but placeholders, and `multi_hot` vectors of all clips' words, one after another.

    Args:
        examples: media dictionaries with `words` from `query_words`.
    """
    placeholder = processor.tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
    batch = processor.pad_text([[placeholder] * len(e["words"]) for e in examples], side="right")
    words = torch.cat([multi_hot(e["words"], len(processor.tokenizer)) for e in examples])
    return {"input_ids": batch["input_ids"], "words": words, **processor.pad_media(examples)}


class Naming(nn.Module):
    """The connector with the naming loss: what the language model would read, held against its own words.

    Two parts: the cross-entropy tells the right words from all others, and the squared distance from their embeddings' sum
    (as a share of its square) makes them sound like words. By the first alone a vector may hold anything else besides, and
    the language model, which has only ever read words, is lost.
    """

    def __init__(self, model: FavorForConditionalGeneration):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, words: Tensor, **media) -> dict[str, Tensor]:
        embeds, queries, window_mask, _ = self.model.prepare(input_ids, **media)
        read = embeds[input_ids == self.model.config.placeholder_id].float()  # [queries of all clips, width]
        vectors = self.model.language_model.get_input_embeddings().weight.float()  # [vocabulary, width]
        share = words / words.sum(-1, keepdim=True)
        # The words' own entropy is taken off, so that 0 is the best that there is.
        cross_entropy = F.cross_entropy(read @ vectors.T, share) + (share * share.clamp(min=1e-9).log()).sum(-1).mean()
        target = words @ vectors
        distance = (read - target).square().sum(-1).mean() / target.square().sum(-1).mean()
        diversity = find("diversity", self.model.config.diversity)(queries.flatten(0, 1), window_mask.flatten())
        return {"loss": cross_entropy + distance + self.model.config.diversity_weight * diversity,
                "cross_entropy": cross_entropy, "diversity": diversity}
