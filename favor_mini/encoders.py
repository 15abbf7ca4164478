"""The paper's frozen encoders: Whisper for sound, InstructBLIP's ViT and Q-Former for frames.

`audio` and `vision` hold other families.
"""

import torch
from torch import Tensor, nn
from transformers import (
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
)

from .compat import PatchEmbedding, WhisperEncoder
from .shapes import check_shape

FRAMES = 32  # frames in one call of a vision tower, so that memory does not grow with the film


def encode_audio(encoder: WhisperEncoder, input_features: Tensor) -> Tensor:
    """Log-mel spectrograms to audio tokens, one every 20 ms.

    Whisper encodes chunks of a fixed length: 30 s, or 12 s in the mini model.

    Args:
        input_features: (B, C, mels, 2 * S), C chunks of 2 * S mel frames (100 Hz).

    Returns:
        (B, C * S, D_w): audio tokens (50 Hz), the chunks in time order.

    Raises:
        ValueError: the spectrograms do not have the encoder's size.
    """
    check_shape("input_features", input_features, B=None, C=None, mels=encoder.config.num_mel_bins,
                mel_frames=2 * encoder.config.max_source_positions)
    chunks = encoder(input_features.flatten(0, 1)).last_hidden_state  # [B * C, S, D]
    return chunks.unflatten(0, (len(input_features), -1)).flatten(1, 2)  # [B, C * S, D]


class ConvStem(PatchEmbedding):
    """Four convolutions of stride 2 in place of a ViT's linear embedding of 16 x 16 patches.

    The number of patches is the same. A small ViT trained from scratch on a CPU learns shapes
    several times faster with it (Xiao et al. 2021, arXiv 2106.14881).
    """

    patch_size = 16

    def __init__(self, width: int):
        widths = (3, width // 4, width // 2, width, width)
        layers = [layer for n, out in zip(widths[:-1], widths[1:], strict=True)
                  for layer in (nn.Conv2d(n, out, 3, 2, 1), nn.GroupNorm(8, out), nn.GELU())]
        super().__init__(*layers[:-2])  # [B * T, 3, H, W] -> [B * T, width, H / 16, W / 16]


class VisualEncoder(nn.Module):
    """InstructBLIP's ViT and Q-Former: every frame becomes V visual tokens of width D_v.

    Raises:
        ValueError: `conv_stem` with a patch size other than 16.
    """

    vision_class, qformer_class = InstructBlipVisionModel, InstructBlipQFormerModel

    def __init__(self, vision_config: InstructBlipVisionConfig,
                 qformer_config: InstructBlipQFormerConfig, visual_tokens: int,
                 conv_stem: bool = False):
        super().__init__()
        self.vision_model = self.vision_class(vision_config)
        if conv_stem:
            if vision_config.patch_size != ConvStem.patch_size:
                raise ValueError(f"conv_stem needs patch_size={ConvStem.patch_size} in the vision "
                                 f"config, found {vision_config.patch_size}")
            self.vision_model.embeddings.patch_embedding = ConvStem(vision_config.hidden_size)
        self.qformer = self.qformer_class(qformer_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, visual_tokens, qformer_config.hidden_size))
        nn.init.normal_(self.query_tokens, std=0.02)

    def forward(self, pixel_values: Tensor, question_ids: Tensor | None = None,
                question_mask: Tensor | None = None) -> Tensor:
        """Frames (B, T, 3, H, W) to visual tokens (B, T, V, D_v), `FRAMES` frames at a time.

        Args:
            question_ids, question_mask: (B, Q), the question in the Q-Former's own tokens. In
                InstructBLIP the visual tokens depend on it. None: they are not conditioned on a
                question.

        Raises:
            ValueError: the frames do not have the encoder's size.
        """
        batch, num_frames = pixel_values.shape[:2]
        frames = pixel_values.flatten(0, 1).split(FRAMES)  # of [n, 3, H, W]
        questions = [()] * len(frames)
        if question_ids is not None:  # the same question for every frame
            ids, mask = (t.repeat_interleave(num_frames, dim=0).split(FRAMES)  # of [n, Q]
                         for t in (question_ids, question_mask))
            questions = zip(ids, mask, strict=True)
        tokens = torch.cat([self.query_patches(self.encode_patches(part[None]), *question)
                            for part, question in zip(frames, questions, strict=True)])
        return tokens.unflatten(0, (batch, num_frames))  # [B, T, V, D_v]

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """The ViT: frames (B, T, 3, H, W) to encoded patches (B * T, patches, D)."""
        size = self.vision_model.config.image_size
        check_shape("pixel_values", pixel_values, B=None, T=None, channels=3, H=size, W=size)
        return self.vision_model(pixel_values.flatten(0, 1)).last_hidden_state

    def query_patches(self, patches: Tensor, question_ids: Tensor | None = None,
                      question_mask: Tensor | None = None) -> Tensor:
        """The Q-Former: encoded patches (B * T, patches, D) to visual tokens (B * T, V, D_v)."""
        queries = self.query_tokens.expand(len(patches), -1, -1)  # [B * T, V, D_v]
        attention_mask = None
        if question_ids is not None:
            attention_mask = torch.cat(  # [B * T, V + Q]
                [question_mask.new_ones(queries.shape[:2]), question_mask], 1)
        tokens = self.qformer(input_ids=question_ids, attention_mask=attention_mask,
                              query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
        return tokens[:, : queries.shape[1]]
