"""The configuration of a FAVOR model: the configs of its frozen parts and the connector's sizes.

docs/glossary.md explains the letters of all shapes (B, T, V, A, P, D, K, W, N, L) and every field.
"""

import inspect
from difflib import get_close_matches

from transformers import (
    AutoConfig,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    PreTrainedConfig,
    SiglipVisionConfig,
    WhisperConfig,
)

from .families import (
    POOLED_TOKENS,
    SAMPLING_RATE,
    WHISPER_HOP,
    WITH_QFORMER,
    audio_hop,
    audio_tokens_per_step,
    check_audio,
    check_vision,
    check_vision_settings,
)
from .sync import step_shape

LAPTOP = {"audio_width": 384, "qformer_width": 576, "qformer_heads": 9, "qformer_hidden": 2304}
AUDIO_RATE = SAMPLING_RATE // WHISPER_HOP  # audio tokens per second, of every Whisper encoder
PAPER_TARGETS = r".*\.(q|k|v|o)_proj"  # LoRA's modules in Llama, Qwen, Gemma, Mistral
LORA_TARGETS = {  # the same projections by the names of other families, some of them fused
    "opt": r".*\.self_attn\.(q|k|v|out)_proj", "phi3": r".*\.self_attn\.(qkv|o)_proj",
    "phi": r".*\.self_attn\.(q_proj|k_proj|v_proj|dense)",
    "gpt2": r".*\.attn\.(c_attn|c_proj)", "gpt_neox": r".*\.attention\.(query_key_value|dense)",
    "gpt_neo": r".*\.(q|k|v|out)_proj", "gptj": r".*\.(q|k|v|out)_proj",
    "bloom": r".*\.self_attention\.(query_key_value|dense)",
    "falcon": r".*\.self_attention\.(query_key_value|dense)"}


class FavorConfig(PreTrainedConfig):
    """Sizes of a FAVOR model.

    Args:
        audio_config, vision_config, visual_qformer_config, language_config: configs of the frozen
            parts, or dicts with their model_type. `families` lists the types. Without model_type:
            Whisper, InstructBLIP, Llama. A vision tower without a Q-Former has no
            visual_qformer_config.
        conv_stem: convolutions in front of the ViT, for a small ViT that is trained from scratch.
        image_size: pixels of a frame's sides; None: the vision config's. Towers without a Q-Former
            can have another one.
        visual_tokens: V, tokens per frame; a square number for towers without a Q-Former.
        audio_width: D_a, to which audio tokens are projected.
        frame_rate: video frames per second; one frame is one time step.
        window_frames, num_queries: K and N.
        qformer_width, qformer_layers, qformer_heads, qformer_hidden, qformer_dropout: sizes of the
            causal Q-Former; `hidden` is the width of its feed-forward network.
        sync, windows, attention, connector, diversity: names of parts (`registry`); by default the
            paper's.
        diversity_weight: lambda, weight of the diversity loss.
        lora_rank, lora_alpha, lora_dropout: of LoRA on the language model; rank 0 is no LoRA.
        lora_targets: regular expression over the names of the language model's modules. By default
            the projections q, k, v and o, by the names of its family. A list of names adapts
            these modules only.
        question_conditioning: the visual tokens depend on the question, as in InstructBLIP.
        placeholder_id: token id that stands for one output query in the prompt.

    Raises:
        ValueError: frame_rate does not divide the audio tokens of a second (50 for most encoders)
            into whole time steps, a size is below 1, or an encoder is not supported.
    """

    model_type = "favor"
    sub_configs = {
        "audio_config": AutoConfig, "vision_config": AutoConfig,
        "visual_qformer_config": AutoConfig, "language_config": AutoConfig}

    def __init__(self, audio_config=None, vision_config=None, visual_qformer_config=None,
                 language_config=None, *, conv_stem: bool = False,
                 image_size: int | None = None, visual_tokens: int = 32, audio_width: int = 768,
                 frame_rate: float = 2.0, window_frames: int = 10,
                 num_queries: int = 32, qformer_width: int = 768, qformer_layers: int = 2,
                 qformer_heads: int = 12, qformer_hidden: int = 3072, qformer_dropout: float = 0.1,
                 sync: str = "concat", windows: str = "sliding", attention: str = "block_causal",
                 connector: str = "causal_qformer", diversity: str = "mean_cosine",
                 diversity_weight: float = 0.01, lora_rank: int = 32, lora_alpha: int = 32,
                 lora_dropout: float = 0.1, lora_targets: str | list[str] | None = None,
                 question_conditioning: bool = False, placeholder_id: int = 6, **kwargs):
        def build(value, model_type):
            if not isinstance(value, dict | None):
                return value
            return AutoConfig.for_model(**{"model_type": model_type, **(value or {})})

        self.audio_config = build(audio_config, "whisper")
        self.vision_config = build(vision_config, "instructblip_vision_model")
        qformer = WITH_QFORMER.get(self.vision_config.model_type)
        self.visual_qformer_config = qformer and build(visual_qformer_config, qformer)
        self.language_config = build(language_config, "llama")
        self.conv_stem, self.image_size = conv_stem, image_size
        self.visual_tokens, self.audio_width = visual_tokens, audio_width
        self.frame_rate = frame_rate
        self.window_frames, self.num_queries = window_frames, num_queries
        self.qformer_width, self.qformer_layers = qformer_width, qformer_layers
        self.qformer_heads, self.qformer_hidden = qformer_heads, qformer_hidden
        self.qformer_dropout = qformer_dropout
        self.sync, self.windows, self.attention = sync, windows, attention
        self.connector, self.diversity = connector, diversity
        self.diversity_weight = diversity_weight
        self.lora_rank, self.lora_alpha, self.lora_dropout = lora_rank, lora_alpha, lora_dropout
        self.lora_targets = lora_targets or LORA_TARGETS.get(self.language_config.model_type,
                                                             PAPER_TARGETS)
        self.question_conditioning, self.placeholder_id = question_conditioning, placeholder_id
        for name in ("window_frames", "num_queries", "visual_tokens", "qformer_width",
                     "qformer_layers", "qformer_heads", "qformer_hidden"):
            if not isinstance(count := getattr(self, name), int) or count < 1:
                raise ValueError(f"{name}={count!r}: it must be an integer and at least 1")
        check_audio(self.audio_config)
        audio_tokens_per_step(frame_rate, audio_hop(self.audio_config))  # raises if it is no number
        check_vision(self.vision_config)
        check_vision_settings(
            self.vision_config, visual_tokens=visual_tokens, image_size=image_size,
            conv_stem=conv_stem, question_conditioning=question_conditioning)
        super().__init__(**kwargs)

    @property
    def audio_tokens(self) -> int:
        """A: audio tokens in one time step."""
        return audio_tokens_per_step(self.frame_rate, audio_hop(self.audio_config))

    @property
    def audio_hidden(self) -> int:
        """D_w: width of the audio encoder's tokens, before they are projected to D_a."""
        return self.audio_config.hidden_size

    @property
    def frame_size(self) -> int:
        """H = W: pixels of a frame's sides."""
        return self.image_size or self.vision_config.image_size

    @property
    def step_shape(self) -> tuple[int, int]:
        """P and D of a synchronised time step: max(V, A) and D_v + D_a for the paper's."""
        return step_shape(
            self.sync, visual_tokens=self.visual_tokens, visual_width=self.visual_width,
            audio_tokens=self.audio_tokens, audio_width=self.audio_width)

    @property
    def step_tokens(self) -> int:
        """P: tokens of a synchronised time step."""
        return self.step_shape[0]

    @property
    def visual_width(self) -> int:
        """D_v: width of the visual tokens."""
        return (self.visual_qformer_config or self.vision_config).hidden_size

    @classmethod
    def check_names(cls, names) -> None:
        """Refuse names that are no fields. The constructor accepts all, as transformers saves more.

        Raises:
            ValueError: a name is no field of a FAVOR model.
        """
        fields = list(inspect.signature(cls.__init__).parameters)[1:-1]
        for name in names:
            if name not in fields:
                near = get_close_matches(name, fields, 1)
                meant = f"did you mean {near[0]}? " if near else ""
                raise ValueError(f"{name} is no field of FavorConfig; {meant}Its fields are "
                                 f"{', '.join(fields)}")

    @classmethod
    def paper(cls, **changes) -> "FavorConfig":
        """The paper's sizes: Whisper large-v2, InstructBLIP's ViT-g and Q-Former, Vicuna 7B."""
        language = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                               num_attention_heads=32, vocab_size=32001)
        audio = WhisperConfig(d_model=1280, encoder_layers=32, encoder_attention_heads=20,
                              encoder_ffn_dim=5120, decoder_layers=32, decoder_attention_heads=20,
                              decoder_ffn_dim=5120, num_mel_bins=80)
        return cls(audio, InstructBlipVisionConfig(), InstructBlipQFormerConfig(), language,
                   **{"placeholder_id": 32000, "question_conditioning": True, **changes})

    @classmethod
    def laptop(cls, **changes) -> "FavorConfig":
        """Sizes for a laptop: Whisper tiny, SigLIP base and SmolLM2 135M, without a Q-Former for
        frames. `favor-mini join --preset laptop` joins the pretrained models.
        """
        audio = WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6,
                              encoder_ffn_dim=1536, decoder_layers=4, decoder_attention_heads=6,
                              decoder_ffn_dim=1536, num_mel_bins=80)
        vision = SiglipVisionConfig(image_size=224, patch_size=16, vision_use_head=False)  # base
        language = LlamaConfig(
            hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
            num_key_value_heads=3, vocab_size=49153, max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 1e5}, tie_word_embeddings=True)
        return cls(audio, vision, None, language, **{
            "placeholder_id": 49152, "visual_tokens": POOLED_TOKENS, **LAPTOP, **changes})

    @classmethod
    def mini(cls, vocab_size: int, **changes) -> "FavorConfig":
        """The mini model: the same structure for two CPU cores, 64 x 64 pixels, 12 s of sound."""
        audio = WhisperConfig(
            d_model=128, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=384,
            decoder_layers=1, num_mel_bins=80, max_source_positions=600, pad_token_id=0)
        vision = InstructBlipVisionConfig(
            hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
            image_size=64, patch_size=16, initializer_range=0.05)
        qformer = InstructBlipQFormerConfig(
            vocab_size=vocab_size, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=4, cross_attention_frequency=1, encoder_hidden_size=128,
            max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            initializer_range=0.05)
        # With biases, attention can depend on position alone: a head can attend to the token a few
        # places before, whatever it is.
        language = LlamaConfig(
            hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=8,
            vocab_size=vocab_size, max_position_embeddings=1024, initializer_range=0.04,
            rope_parameters={"rope_type": "default", "rope_theta": 1e5}, attention_bias=True,
            pad_token_id=0, bos_token_id=2, eos_token_id=3)
        sizes = {"conv_stem": True, "visual_tokens": 8, "num_queries": 16, "audio_width": 128,
                 "qformer_width": 256, "qformer_heads": 4, "qformer_hidden": 1024,
                 "qformer_dropout": 0.0, "lora_dropout": 0.0, "diversity_weight": 0.1}
        return cls(audio, vision, qformer, language, **{**sizes, **changes})


AutoConfig.register("favor", FavorConfig)  # AutoConfig and AutoTokenizer can read a saved folder
