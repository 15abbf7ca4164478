"""The stage "name", a shortcut that only a scripted world allows: a label for every output query.

Each output query learns the language model's embeddings of the words that the script of the scene
has for its part of the window (`clauses.query_words`). The language model does not run. It takes
fewer steps than `training.alignment`, which knows nothing about single queries. It hides what the
connector can learn by itself, and no other data have such labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..processor import MEDIA_TOKEN, FavorProcessor
from ..registry import find

if TYPE_CHECKING:
    from ..model import FavorForConditionalGeneration


def multi_hot(words: list[list[int]], vocabulary: int) -> Tensor:
    """Token ids of each query to (queries, vocabulary): 1 for the query's words, 0 elsewhere."""
    hot = torch.zeros(len(words), vocabulary)
    for row, ids in zip(hot, words, strict=True):
        row[ids] = 1.0
    return hot


def collate_names(processor: FavorProcessor, examples: list[dict]) -> dict[str, Tensor]:
    """A batch of media dictionaries with `words`, the token ids of each output query.

    Returns media tensors, `input_ids` (B, W * N) of placeholders, and the `multi_hot` `words` of
    all clips' queries.
    """
    placeholder = processor.tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
    prompts = processor.pad_text([[placeholder] * len(e["words"]) for e in examples], side="right")
    words = torch.cat([multi_hot(e["words"], len(processor.tokenizer)) for e in examples])
    return {"input_ids": prompts["input_ids"], "words": words, **processor.pad_media(examples)}


class Naming(nn.Module):
    """A model with the naming loss on its projected output queries.

    The cross-entropy separates a query's words from all other words. The squared distance from the
    sum of their embeddings (relative to the square of that sum) makes the vector similar to words.
    With cross-entropy alone a vector could have any component in directions that no word uses, and
    the language model has never read such vectors.
    """

    def __init__(self, model: FavorForConditionalGeneration):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, words: Tensor, **media) -> dict[str, Tensor]:
        config = self.model.config
        embeds, queries, window_mask, _ = self.model.prepare(input_ids, **media)
        read = embeds[input_ids == config.placeholder_id].float()  # [queries of all clips, width]
        embeddings = self.model.language_model.get_input_embeddings().weight.float()
        embeddings = embeddings[: words.shape[1]]  # some models have more rows than tokens
        share = words / words.sum(-1, keepdim=True)  # [queries, vocabulary], sums to 1
        # Minus the entropy of the target: the minimum is 0.
        cross_entropy = (F.cross_entropy(read @ embeddings.T, share)
                         + (share * share.clamp(min=1e-9).log()).sum(-1).mean())
        target = words @ embeddings  # [queries, width]
        distance = (read - target).square().sum(-1).mean() / target.square().sum(-1).mean()
        measure = find("diversity", config.diversity)
        diversity = measure(queries.flatten(0, 1), window_mask.flatten())
        return {"loss": cross_entropy + distance + config.diversity_weight * diversity,
                "cross_entropy": cross_entropy, "diversity": diversity}
