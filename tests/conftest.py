"""Tiny models with random weights; only the sizes differ from the mini and the full-size model."""

import os
import sys

import numpy as np
import pytest

# else threads spin, 100 times slower where other work runs
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

POSIX = os.name == "posix"
SYSTEMS = {  # what a test needs of the system -> whether it has it, and why not
    "forks": (sys.platform == "linux", "answers are judged in a forked process on Linux only"),
    "limits": (sys.platform == "linux", "it forks, and uses Linux's limits on memory and files"),
    "peak": (os.path.exists("/proc/self/status"), "the peak of memory is in Linux's /proc"),
    "signals": (POSIX, "Windows does not say which signal ended a process"),
    "pipes": (POSIX, "Windows has no named pipes in folders"),
    "links": (POSIX, "on Windows, making a link needs a privilege"),
    "torchrun": (POSIX, "torchrun needs a rendezvous that torch's builds for Windows lack"),
    "permissions": (POSIX and os.geteuid() != 0, "root and Windows list a closed folder"),
}


def needs(what):
    """A mark that skips a test where the system lacks `what`, a key of `SYSTEMS`."""
    there, reason = SYSTEMS[what]
    return pytest.mark.skipif(not there, reason=reason)


FRAME_RATE = 10.0  # five audio tokens a step: small windows


def tiny_config(**changes):
    from transformers import (
        InstructBlipQFormerConfig,
        InstructBlipVisionConfig,
        LlamaConfig,
        WhisperConfig,
    )

    from favor_mini import FavorConfig
    from favor_mini.world.tokenizer import build_tokenizer

    vocabulary = len(build_tokenizer())
    audio = WhisperConfig(d_model=16, encoder_layers=2, encoder_attention_heads=2,
                          encoder_ffn_dim=32, decoder_layers=1,
                          decoder_attention_heads=2, decoder_ffn_dim=32, num_mel_bins=16,
                          max_source_positions=100,
                          vocab_size=40, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                          decoder_start_token_id=1)
    vision = InstructBlipVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                      num_attention_heads=2,
                                      image_size=16, patch_size=8, initializer_range=0.2)
    qformer = InstructBlipQFormerConfig(vocab_size=vocabulary, hidden_size=12, intermediate_size=24,
                                        num_hidden_layers=2,
                                        num_attention_heads=2, cross_attention_frequency=1,
                                        encoder_hidden_size=16,
                                        max_position_embeddings=32)
    language = LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                           num_attention_heads=4,
                           num_key_value_heads=2, vocab_size=vocabulary,
                           max_position_embeddings=512, pad_token_id=0,
                           bos_token_id=2, eos_token_id=3, tie_word_embeddings=True)
    sizes = {"visual_tokens": 3, "audio_width": 8, "frame_rate": FRAME_RATE, "window_frames": 4,
             "num_queries": 3,
             "qformer_width": 16, "qformer_heads": 4, "qformer_hidden": 24, "qformer_dropout": 0.0,
             "lora_rank": 2,
             "lora_alpha": 4, "lora_dropout": 0.0}
    return FavorConfig(audio, vision, qformer, language, **{**sizes, **changes})


def scramble(model, seed=0, std=0.3):
    """Random values in every parameter, also in LoRA's zeros and the LayerNorms' ones."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 1.0 if parameter.ndim == 1 and bool((parameter == 1).all()) else 0.0
            parameter.copy_(centre + std * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def same_weights(one, other):
    import torch

    found = other.state_dict()
    return all(torch.equal(value, found[name]) for name, value in one.state_dict().items())


def settle(model):
    """Copy every parameter to new memory, for comparisons that are exact to the last bit.

    A loaded parameter is aligned as in its file, and the kernels' last bit depends on alignment.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model.eval()


def tiny_model(seed=0, **changes):
    from favor_mini import FavorForConditionalGeneration

    return scramble(FavorForConditionalGeneration(tiny_config(**changes)), seed)


def tiny_processor(config=None):
    from transformers import WhisperFeatureExtractor

    from favor_mini import FavorProcessor
    from favor_mini.processor import ProcessorSettings
    from favor_mini.world.tokenizer import build_tokenizer

    config = config or tiny_config()
    extractor = WhisperFeatureExtractor(feature_size=config.audio_config.num_mel_bins,
                                        chunk_length=config.audio_config.max_source_positions // 50)
    return FavorProcessor(build_tokenizer(), extractor, ProcessorSettings.from_config(config))


def tiny_clip(frames=0, seconds=0.0, seed=0):
    """Noise: `frames` pictures of 16 x 16 at 10 Hz, `seconds` of sound."""
    from favor_mini import clip_from_arrays

    rng = np.random.default_rng(seed)
    return clip_from_arrays(
        frames=rng.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8) if frames else None,
        frame_rate=FRAME_RATE,
        waveform=rng.normal(0, 0.1, round(seconds * 16000)).astype(np.float32) if seconds else None)


def mixed_clips():
    """Every length and modality: name -> clip. A window is 0.4 s, Whisper's chunk 2 s."""
    return {"video and sound": tiny_clip(9, 0.9, 1), "long": tiny_clip(22, 2.2, 2),
            "sound alone": tiny_clip(0, 0.73, 3),
            "image alone": tiny_clip(1, 0, 4), "image and sound": tiny_clip(1, 0.5, 5),
            "video alone": tiny_clip(6, 0, 6),
            "sound longer": tiny_clip(3, 1.1, 7), "video longer": tiny_clip(8, 0.15, 8)}


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers in every test; a test without torch does not import it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def model():
    """A tiny model with scrambled weights; shared, so leave it as it is."""
    return tiny_model()


@pytest.fixture(scope="session")
def processor():
    return tiny_processor()
