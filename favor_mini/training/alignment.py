"""The stage "align": the projected queries of a clip spell its text, in the order of time.

A frozen language model that reads random vectors gives a weak gradient. So the connector first
learns to output vectors that are close to the embeddings of the words of a text about the clip, for
example a caption or a transcript. There is no label that says which query has to output which word.
Connectionist temporal classification (CTC, Graves et al. 2006) sums the probabilities of all ways
to spread the words over the queries, in order, with blanks between them. The language model does
not run in this stage.

The paper has no such stage: its connector learns from the language model alone, on far more data.
LegoSLM (arXiv 2505.11352) joins a speech encoder to a language model in this way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.spelling import queries_needed, text_tokens
from ..model import FavorForConditionalGeneration
from ..processor import MEDIA_TOKEN, FavorProcessor
from ..registry import find

IGNORED = -100  # pads the texts of a batch
DISTANCE_WEIGHT = 0.3  # of the distance to the expected embedding
LARGEST_LOGIT = 9.0  # of a query that equals an embedding of average length


@torch.no_grad()
def read_queries(model: FavorForConditionalGeneration, processor: FavorProcessor, media: dict
                 ) -> list[int]:
    """The token whose embedding has the largest product with each projected query of a clip.

    Args:
        media: as `FavorProcessor.media` or `data.features.encode_media` gives it.
    """
    batch = collate_texts(processor, [{**media, "text": ""}])
    batch = {k: v.to(model.device) for k, v in batch.items() if k != "text_ids"}
    embeds = model.prepare(**batch)[0][0]  # [W * N, D]
    return (embeds @ model.language_model.get_input_embeddings().weight.T).argmax(-1).tolist()


def collate_texts(processor: FavorProcessor, examples: list[dict]) -> dict[str, Tensor]:
    """A batch of media dictionaries with `text`.

    Returns media tensors, `input_ids` (B, W * N) of placeholders, and `text_ids` (B, S).

    Raises:
        ValueError: a clip has fewer queries than its text needs.
    """
    placeholder = processor.tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
    counts = [processor.num_placeholders(e) for e in examples]
    texts = [text_tokens(processor, e["text"]) for e in examples]
    for count, ids, example in zip(counts, texts, examples, strict=True):
        if count < queries_needed(ids):
            raise ValueError(
                f"the text {example['text']!r:.60} needs {queries_needed(ids)} queries, found "
                f"{count}. Fix: use shorter texts, a larger num_queries, or leave this clip out")
    prompts = processor.pad_text([[placeholder] * count for count in counts], side="right")
    return {"input_ids": prompts["input_ids"], "text_ids": pad_texts(texts),
            **processor.pad_media(examples)}


def pad_texts(texts: list[list[int]]) -> Tensor:
    """Token ids of texts to (B, S), padded on the right with `IGNORED`."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(ids, dtype=torch.long) for ids in texts], batch_first=True,
        padding_value=IGNORED)


def alignment_loss(vectors: Tensor, real: Tensor, text_ids: Tensor, embeddings: Tensor, blank: int
                   ) -> tuple[Tensor, Tensor]:
    """How far projected queries are from spelling a text.

    Args:
        vectors: (B, L, D), projected queries in the order of time.
        real: (B, L) bool, False at the right where a clip has fewer queries.
        text_ids: (B, S), padded with `IGNORED`. A row without tokens does not count.
        embeddings: (vocabulary, D), the language model's. blank: token id.

    Returns:
        the CTC loss for each token of the texts, and the squared distance of the queries from the
        embedding that they are expected to mean, relative to the square of that embedding. With
        CTC alone a vector could have any component in directions that no word uses, and the
        language model has never read such vectors.
    """
    filled = text_ids != IGNORED  # [B, S]
    keep = filled.any(1)
    vectors, real, text_ids, filled = vectors[keep], real[keep], text_ids[keep], filled[keep]
    if not len(vectors):
        return 2 * (vectors.sum(),)
    # Products with a language model's own embeddings can be too small for a sharp distribution.
    scale = LARGEST_LOGIT / embeddings.square().sum(-1).mean()
    log_probs = (scale * vectors @ embeddings.T).log_softmax(-1)  # [B, L, vocabulary]
    ctc = F.ctc_loss(log_probs.transpose(0, 1), text_ids[filled], real.sum(1), filled.sum(1),
                     blank=blank, reduction="sum") / filled.sum()
    expected = log_probs.exp() @ embeddings  # [B, L, D]
    distance = (vectors - expected).square().sum(-1)[real].sum()
    return ctc, distance / expected.square().sum(-1)[real].sum()


class Alignment(nn.Module):
    """A model with the alignment loss on its projected output queries.

    Args:
        blank: token id, from `data.spelling.blank_token`.
    """

    def __init__(self, model: FavorForConditionalGeneration, blank: int):
        super().__init__()
        self.model, self.blank = model, blank

    def forward(self, input_ids: Tensor, text_ids: Tensor, **media) -> dict[str, Tensor]:
        config = self.model.config
        _, queries, window_mask, _ = self.model.prepare(input_ids, **media)
        loss = self.spelling_loss(queries, window_mask, text_ids)
        measure = find("diversity", config.diversity)
        diversity = measure(queries.flatten(0, 1), window_mask.flatten())
        return {"loss": loss + config.diversity_weight * diversity, "cross_entropy": loss,
                "diversity": diversity}

    def spelling_loss(self, queries: Tensor, window_mask: Tensor, text_ids: Tensor) -> Tensor:
        """A scalar, from output queries (B, W, N, width), window_mask (B, W), texts (B, S)."""
        vectors = self.model.projection(queries).flatten(1, 2).float()  # [B, W * N, D]
        real = window_mask.repeat_interleave(queries.shape[2], dim=1)  # [B, W * N]
        embeddings = self.model.language_model.get_input_embeddings().weight.detach().float()
        ctc, distance = alignment_loss(vectors, real, text_ids, embeddings, self.blank)
        return ctc + DISTANCE_WEIGHT * distance


class Asking(Alignment):
    """A model that answers questions and still spells the texts of its clips.

    Without the alignment loss, the connector forgets at a high learning rate what it has learned.
    Clips without a text have the language model's loss alone.
    """

    def forward(self, text_ids: Tensor, **batch) -> dict[str, Tensor]:
        output = self.model(**batch)
        loss = output.loss
        if output.queries is not None:
            loss = loss + self.spelling_loss(output.queries, output.window_mask, text_ids)
        return {"loss": loss, "cross_entropy": output.cross_entropy, "diversity": output.diversity}


def collate_asking(processor: FavorProcessor, examples: list[dict]) -> dict[str, Tensor]:
    """A batch of conversations (`FavorProcessor.collate`) with `text_ids` (B, S).

    A clip without `text`, or with one that is longer than its queries, has no token in its row.
    """
    texts = [text_tokens(processor, e.get("text") or "") for e in examples]
    texts = [ids if queries_needed(ids) <= processor.num_placeholders(e) else []
             for ids, e in zip(texts, examples, strict=True)]
    return {**processor.collate(examples), "text_ids": pad_texts(texts)}
