"""The configuration and the processor of the mini model, with the vocabulary of the mini world."""

from transformers import WhisperFeatureExtractor

from ..config import FavorConfig
from ..processor import FavorProcessor, ProcessorSettings
from .tokenizer import build_tokenizer


def mini_config(**changes) -> FavorConfig:
    """The configuration of the mini model. `changes` are fields of `FavorConfig`."""
    return FavorConfig.mini(vocab_size=len(build_tokenizer()), **changes)


def mini_processor(config: FavorConfig | None = None) -> FavorProcessor:
    """The processor for a configuration from `mini_config`."""
    config = config or mini_config()
    seconds = config.audio_config.max_source_positions // 50
    extractor = WhisperFeatureExtractor(
        feature_size=config.audio_config.num_mel_bins, chunk_length=seconds)
    return FavorProcessor(build_tokenizer(), extractor, ProcessorSettings.from_config(config))
