"""The frozen encoders: Whisper for sound, InstructBLIP's ViT and Q-Former for pictures (transformers' own classes)."""

import torch
from torch import Tensor, nn
from transformers import (
    InstructBlipPreTrainedModel,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def expect(name: str, tensor: Tensor, **shape: int | None) -> None:
    """Raise a ValueError that teaches unless `tensor` has these axes; None stands for any size."""
    sizes, wants = tuple(tensor.shape), tuple(shape.values())
    if len(sizes) != len(wants) or any(want not in (None, size) for size, want in zip(sizes, wants, strict=True)):
        wanted = ", ".join(axis if size is None else f"{axis}={size}" for axis, size in shape.items())
        raise ValueError(f"{name} must be ({wanted}), found {sizes}; FavorProcessor builds it with the model's sizes")


def encode_audio(encoder: WhisperEncoder, input_features: Tensor) -> Tensor:
    """Log-mel spectrograms to one vector every 20 ms.

    Whisper hears a fixed stretch at a time (30 s, the mini one 12 s); longer sound comes as several chunks.

    Args:
        input_features: (B, C, mels, 2 * S), C chunks of 2 * S mel frames (100 Hz).

    Returns:
        (B, C * S, D): 50 Hz audio tokens, the chunks in time order.

    Raises:
        ValueError: the spectrograms are not of the encoder's size.
    """
    expect("input_features", input_features, B=None, C=None, mels=encoder.config.num_mel_bins,
           mel_frames=2 * encoder.config.max_source_positions)
    chunks = encoder(input_features.flatten(0, 1)).last_hidden_state  # [B * C, S, D]
    return chunks.unflatten(0, (len(input_features), -1)).flatten(1, 2)  # [B, C * S, D]


class ConvStem(nn.Sequential):
    """Four convolutions of stride 2 in place of a ViT's cut into 16 x 16 pixels, with as many patches coming out.

    A small ViT trained from nothing on a CPU learns shapes many times sooner so (Xiao et al. 2021, arXiv 2106.14881).
    """

    patch_size = 16

    def __init__(self, width: int):
        widths = (3, width // 4, width // 2, width, width)
        layers = [layer for before, after in zip(widths[:-1], widths[1:], strict=True)
                  for layer in (nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.GELU())]
        super().__init__(*layers[:-2])  # [B * T, 3, H, W] -> [B * T, width, H / 16, W / 16]

    @property
    def weight(self) -> Tensor:
        """What the ViT asks of its patch embedding: the type to compute in."""
        return self[0].weight


class VisualEncoder(nn.Module):
    """InstructBLIP up to its Q-Former: every frame becomes V visual tokens of width D_v."""

    def __init__(self, vision_config: InstructBlipVisionConfig, qformer_config: InstructBlipQFormerConfig,
                 visual_tokens: int, conv_stem: bool = False):
        super().__init__()
        self.vision_model = InstructBlipVisionModel(vision_config)
        if conv_stem:
            if vision_config.patch_size != ConvStem.patch_size:
                raise ValueError(f"conv_stem makes patches of {ConvStem.patch_size} x {ConvStem.patch_size} pixels, found "
                                 f"patch_size={vision_config.patch_size}")
            self.vision_model.embeddings.patch_embedding = ConvStem(vision_config.hidden_size)
        self.qformer = InstructBlipQFormerModel(qformer_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, visual_tokens, qformer_config.hidden_size))
        nn.init.normal_(self.query_tokens, std=0.02)

    def forward(self, pixel_values: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None
                ) -> Tensor:
        """Frames (B, T, 3, H, W) to visual tokens (B, T, V, D_v).

        Args:
            question_ids, question_mask: (B, Q) the question in the Q-Former's own tokens: InstructBLIP lets it
                steer what the queries take from a frame. None: the queries look unasked.

        Raises:
            ValueError: the pictures are not of the encoder's size.
        """
        batch, num_frames = pixel_values.shape[:2]
        if question_ids is not None:  # the same question to every frame
            question_ids = question_ids.repeat_interleave(num_frames, dim=0)  # [B * T, Q]
            question_mask = question_mask.repeat_interleave(num_frames, dim=0)
        tokens = self.query_patches(self.encode_patches(pixel_values), question_ids, question_mask)
        return tokens.unflatten(0, (batch, num_frames))  # [B, T, V, D_v]

    def encode_patches(self, pixel_values: Tensor) -> Tensor:
        """The ViT alone: frames (B, T, 3, H, W) to patches (B * T, patches, D)."""
        size = self.vision_model.config.image_size
        expect("pixel_values", pixel_values, B=None, T=None, channels=3, H=size, W=size)
        return self.vision_model(pixel_values.flatten(0, 1)).last_hidden_state

    def query_patches(self, patches: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None) -> Tensor:
        """The Q-Former alone: patches (B * T, patches, D) to visual tokens (B * T, V, D_v)."""
        queries = self.query_tokens.expand(len(patches), -1, -1)  # [B * T, V, D_v]
        attention_mask = None
        if question_ids is not None:
            attention_mask = torch.cat([question_mask.new_ones(queries.shape[:2]), question_mask], 1)  # [B * T, V + Q]
        tokens = self.qformer(input_ids=question_ids, attention_mask=attention_mask, query_embeds=queries,
                              encoder_hidden_states=patches).last_hidden_state
        return tokens[:, : queries.shape[1]]


class InstructBlipVisionTower(InstructBlipPreTrainedModel):
    """What InstructBLIP has below its language model, under the names of its checkpoints: the rest is never read."""

    _keys_to_ignore_on_load_unexpected = [r"^language_model", r"^language_projection"]

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = InstructBlipVisionModel(config.vision_config)
        self.qformer = InstructBlipQFormerModel(config.qformer_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, config.qformer_config.hidden_size))
        self.post_init()
