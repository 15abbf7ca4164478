"""The frozen encoders: Whisper for sound, InstructBLIP's ViT and Q-Former for pictures (transformers' own classes)."""

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel, InstructBlipVisionConfig
from transformers import InstructBlipVisionModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def encode_audio(encoder: WhisperEncoder, input_features: Tensor) -> Tensor:
    """Log-mel spectrograms to one vector every 20 ms.

    Whisper hears a fixed stretch at a time (30 s, the mini one 12 s); longer sound comes as several chunks.

    Args:
        input_features: (B, C, mels, 2 * S), C chunks of 2 * S mel frames (100 Hz).

    Returns:
        (B, C * S, D): 50 Hz audio tokens, the chunks in time order.
    """
    chunks = encoder(input_features.flatten(0, 1)).last_hidden_state  # [B * C, S, D]
    return chunks.unflatten(0, (len(input_features), -1)).flatten(1, 2)  # [B, C * S, D]


class VisualEncoder(nn.Module):
    """InstructBLIP up to its Q-Former: every frame becomes V visual tokens of width D_v."""

    def __init__(self, vision_config: InstructBlipVisionConfig, qformer_config: InstructBlipQFormerConfig,
                 visual_tokens: int):
        super().__init__()
        self.vision_model = InstructBlipVisionModel(vision_config)
        self.qformer = InstructBlipQFormerModel(qformer_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, visual_tokens, qformer_config.hidden_size))
        nn.init.normal_(self.query_tokens, std=0.02)

    def forward(self, pixel_values: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None
                ) -> Tensor:
        """Frames (B, T, 3, H, W) to visual tokens (B, T, V, D_v).

        Args:
            question_ids, question_mask: (B, Q) the question in the Q-Former's own tokens: InstructBLIP lets the question
                steer what the queries take from a frame. None: the queries look unasked.
        """
        batch, num_frames = pixel_values.shape[:2]
        patches = self.vision_model(pixel_values.flatten(0, 1)).last_hidden_state  # [B * T, patches, D]
        queries = self.query_tokens.expand(batch * num_frames, -1, -1)  # [B * T, V, D_v]
        attention_mask = None
        if question_ids is not None:
            question_ids = question_ids.repeat_interleave(num_frames, dim=0)  # [B * T, Q]
            question_mask = question_mask.repeat_interleave(num_frames, dim=0)
            attention_mask = torch.cat([torch.ones_like(queries[..., 0], dtype=question_mask.dtype), question_mask], 1)
        tokens = self.qformer(input_ids=question_ids, attention_mask=attention_mask, query_embeds=queries,
                              encoder_hidden_states=patches).last_hidden_state
        return tokens[:, : queries.shape[1]].unflatten(0, (batch, num_frames))  # [B, T, V, D_v]
