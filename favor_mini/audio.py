"""Sound for the audio encoders: it is cut into chunks, which are encoded a few at a time."""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel

from .compat import WhisperEncoder
from .encoders import encode_audio
from .families import SAMPLING_RATE, audio_field, audio_hop
from .shapes import check_shape

CHUNKS = 8  # chunks in one call of an encoder, so that memory does not grow with the sound


def build_audio_encoder(config) -> nn.Module:
    """The audio encoder of this config, with random weights."""
    return (WhisperEncoder(config) if config.model_type == "whisper"
            else AutoModel.from_config(config))


def cut_waveform(waveform: np.ndarray, extractor, *, hop: int, field: int, tokens: int) -> Tensor:
    """Cut sound into chunks of so many audio tokens: (samples,) to (C, hop * (tokens - 1) + field).

    Neighbouring chunks share `field - hop` samples, so that no token is lost at a cut: all chunks
    together give ceil(samples / hop) real tokens. The last one is padded with zeros.

    Args:
        extractor: a `Wav2Vec2FeatureExtractor`. With its do_normalize, each chunk has mean 0 and
            variance 1.
        hop, field: see `families`.
    """
    length = hop * (tokens - 1) + field
    chunks = [waveform[i : i + length] for i in range(0, len(waveform), hop * tokens)]
    return extractor(chunks, sampling_rate=SAMPLING_RATE, padding="max_length", max_length=length,
                     return_attention_mask=True, return_tensors="pt").input_values


def encode_sound(encoder: nn.Module, input_features: Tensor, audio_mask: Tensor | None = None
                 ) -> Tensor:
    """Chunks of sound to audio tokens (B, C * S, D_w), at most B * `CHUNKS` chunks at a time.

    Args:
        input_features: (B, C, mels, 2 * S) for Whisper, (B, C, samples) for Wav2Vec2 and HuBERT.
        audio_mask: (B, C * S), True where a token is real. Whisper does not need it. Of the others,
            a clip's tokens do not depend on its padding. None: all are real.

    Raises:
        ValueError: a wrong shape.
    """
    input_features = input_features.to(encoder.dtype)
    if encoder.config.model_type == "whisper":
        parts = [encode_audio(encoder, part) for part in input_features.split(CHUNKS, dim=1)]
        return torch.cat(parts, dim=1)
    check_shape("input_features", input_features, B=None, C=None, samples=None)
    hop, field = audio_hop(encoder.config), audio_field(encoder.config)
    batch, chunks, samples = input_features.shape
    size = (samples - field) // hop + 1  # S
    if audio_mask is None:
        audio_mask = input_features.new_ones(batch, chunks * size)
    check_shape("audio_mask", audio_mask, B=batch, tokens=chunks * size)
    waves = input_features.flatten(0, 1)  # [B * C, samples]
    real = audio_mask.reshape(len(waves), size).sum(1).long()  # [B * C], real tokens of each chunk
    tokens = waves.new_zeros(len(waves), size, encoder.config.hidden_size)  # [B * C, S, D_w]
    # Chunks of one length together, without padding. An attention mask would not do: the group norm
    # over time in Wav2Vec2 and HuBERT base counts the padding.
    for count in real[real > 0].unique().tolist():
        for rows in (real == count).nonzero()[:, 0].split(CHUNKS):
            part = waves[rows, : hop * (count - 1) + field]
            tokens[rows, :count] = encoder(part).last_hidden_state
    return tokens.unflatten(0, (batch, chunks)).flatten(1, 2)
