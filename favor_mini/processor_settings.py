"""The settings of a `FavorProcessor`, as saved in `favor_processor.json`."""

from dataclasses import dataclass

from .config import FavorConfig
from .context import context_length
from .families import SAMPLING_RATE, WHISPER_HOP, audio_field, audio_hop, audio_tokens_per_step


@dataclass
class ProcessorSettings:
    """The fields of `FavorConfig` that the processor needs, under the same names, and its own."""

    image_size: int = 64
    frame_rate: float = 2.0
    window_frames: int = 10
    num_queries: int = 32
    windows: str = "sliding"
    question_conditioning: bool = False
    prompt: str = "vicuna"  # or "chat", or a template with {media} and {question}: `PromptForm`
    question_tokens: int = 64  # maximum for the visual Q-Former; longer questions are cut
    context: int | None = None  # positions of the language model; None: no limit is known
    audio_hop: int = WHISPER_HOP  # samples per audio token
    audio_field: int = WHISPER_HOP  # samples that one token needs (`families`)
    chunk_seconds: int = 20  # sound that Wav2Vec2 and HuBERT encode at once; Whisper has its own
    # Mean and standard deviation of the pixels that CLIP was trained on; InstructBLIP uses them.
    image_mean: tuple = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def from_config(cls, config: FavorConfig, **changes) -> "ProcessorSettings":
        """The settings for a model with this config; `changes` are other fields."""
        same = ("frame_rate", "window_frames", "num_queries", "windows", "question_conditioning")
        audio, qformer = config.audio_config, config.visual_qformer_config
        return cls(**{"image_size": config.frame_size,
                      "context": context_length(config),
                      "audio_hop": audio_hop(audio), "audio_field": audio_field(audio),
                      "question_tokens": getattr(qformer, "max_position_embeddings", 0),
                      **{name: getattr(config, name) for name in same}, **changes})

    @property
    def audio_tokens(self) -> int:
        """A: audio tokens in one time step."""
        return audio_tokens_per_step(self.frame_rate, self.audio_hop)

    @property
    def chunk_tokens(self) -> int:
        """S: audio tokens in one chunk of sound, of Wav2Vec2 and HuBERT."""
        return round(self.chunk_seconds * SAMPLING_RATE / self.audio_hop)
