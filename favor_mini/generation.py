"""Generation as transformers has it: `generation_config`, `generate`, and what both default to."""

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from .compat import SdpaModel

MEDIA = ("pixel_values", "frame_mask", "input_features", "audio_mask", "visual_features",
         "audio_features", "question_ids", "question_mask")  # arguments of `prepare`
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def _given(config: GenerationConfig | None) -> dict:
    """The parameters that a config sets; none, if it was derived from the model's config."""
    if config is None or config._from_model_config:
        return {}
    return {k: v for k, v in config.to_dict().items()
            if v is not None and k not in ("transformers_version", "_from_model_config")}


class GenerativeModel(SdpaModel, GenerationMixin):
    """A model that generates with its `language_model`, from embeddings that `prepare` makes."""

    def fill_generation_config(self) -> None:
        """Set what `generation_config` leaves open: greedy decoding, 24 new tokens, no placeholder
        in the answer, and the special tokens of the language model."""
        language = self.language_model.generation_config
        tokens = {k: getattr(language, k) for k in TOKENS if getattr(language, k) is not None}
        self.generation_config = GenerationConfig.from_dict({
            "max_new_tokens": 24, "do_sample": False,
            "suppress_tokens": [self.config.placeholder_id], **tokens,
            **_given(self.generation_config)})

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None,
                 generation_config: GenerationConfig | None = None, **kwargs) -> Tensor:
        """Generate answers (B, new tokens) after left-padded prompts (B, L).

        Args:
            generation_config: what it sets replaces the model's own `generation_config`.
            kwargs: media as for `forward`, or `inputs_embeds` (B, L, width) from `embed` in place
                of media, and arguments of transformers' `generate` such as
                `max_new_tokens`, `num_beams` or `streamer`. They replace the config's.

        Raises:
            ValueError: the prompts are padded on the right, or the batch holds answers.
        """
        if "labels" in kwargs or (attention_mask is not None and not attention_mask[:, -1].all()):
            found = "labels" if "labels" in kwargs else "padding at the right end"
            raise ValueError(f"generate needs prompts padded on the left, found {found}; make them "
                             "with processor(clips, questions), without answers")
        media = {k: kwargs.pop(k) for k in MEDIA if k in kwargs}
        embeds = kwargs.pop("inputs_embeds", None)
        if embeds is None:
            embeds = self.prepare(input_ids, **media)[0]
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        wanted = {**_given(generation_config), **kwargs}
        settings = {**_given(self.generation_config), **wanted}
        if "max_length" in wanted and "max_new_tokens" not in wanted:
            del settings["max_new_tokens"]
        return self.language_model.generate(
            inputs_embeds=embeds, attention_mask=attention_mask, **settings)
