"""Families of encoders: what their configs say about tokens, without loading a model.

Audio: Whisper takes log-mel spectrograms. Wav2Vec2 and HuBERT take the waveform; their first layers
are convolutions that give one token for every `hop` samples. Vision: InstructBLIP and BLIP-2 have a
Q-Former, CLIP, SigLIP and DINOv2 have none.
"""

from math import isclose, isqrt, prod

SAMPLING_RATE = 16000  # samples per second, of all these audio encoders
WHISPER_HOP = 320  # samples per audio token: 50 tokens per second
# Model types of the configs.
AUDIO = ("whisper", "wav2vec2", "hubert")
WITH_QFORMER = {"instructblip_vision_model": "instructblip_qformer",  # ViT: its Q-Former
                "blip_2_vision_model": "blip_2_qformer"}
POOLED = ("clip_vision_model", "siglip_vision_model", "dinov2")
POOLED_TOKENS = 16  # V of a vision tower without a Q-Former, by default


def check_audio(config, where: str = "audio_config") -> None:
    """Raise a ValueError, which says `where`, if such an audio encoder is not supported."""
    if config.model_type not in AUDIO:
        raise ValueError(f"{where} holds a model of type {config.model_type!r}, expected one of "
                         f"{', '.join(AUDIO)}; pass the folder or name of such a model")
    if getattr(config, "add_adapter", False):
        raise ValueError(f"{where} has add_adapter=True, whose convolutions reduce the number of "
                         "tokens; expected an encoder without an adapter; pass the model that it "
                         "was made from")


def check_vision(config, where: str = "vision_config") -> None:
    """Raise a ValueError, which says `where`, if such a vision tower is not supported."""
    kind = config.model_type
    if kind not in (*WITH_QFORMER, *POOLED):
        fixed = (". Of SigLIP 2, the models of fixed resolution will do, such as "
                 "siglip2-base-patch16-224" if "siglip2" in kind else "")
        raise ValueError(f"{where} holds a model of type {kind!r}, expected InstructBLIP, BLIP-2, "
                         f"CLIP, SigLIP or DINOv2; pass the folder or name of such a model{fixed}")


def audio_hop(config) -> int:
    """Samples per audio token: 320, which is 50 tokens per second, for most audio encoders."""
    return WHISPER_HOP if config.model_type == "whisper" else prod(config.conv_stride)


def audio_field(config) -> int:
    """Samples that one token needs: 400 for most Wav2Vec2 and HuBERT, whose convolutions overlap.

    n tokens need `hop * (n - 1) + field` samples. For Whisper it is the hop.
    """
    if config.model_type == "whisper":
        return WHISPER_HOP
    strides = [prod(config.conv_stride[:i]) for i in range(len(config.conv_stride))]
    return 1 + sum((k - 1) * s for k, s in zip(config.conv_kernel, strides, strict=True))


def audio_tokens_per_step(frame_rate: float, hop: int = WHISPER_HOP) -> int:
    """A: audio tokens in one time step, which lasts as long as a video frame.

    Args:
        hop: samples per audio token.

    Raises:
        ValueError: a time step is no whole number of audio tokens.
    """
    rate = SAMPLING_RATE / hop  # audio tokens per second
    tokens = rate / frame_rate if frame_rate > 0 else 0.0
    if round(tokens) < 1 or not isclose(tokens, round(tokens), rel_tol=1e-9):
        rates = {rate / n for n in range(1, int(rate) + 1)}
        short = {r for r in rates if r <= 10 and r * 2 == int(r * 2)}  # such as 2.5
        near = short if len(short) > 2 else {rate / max(1, round(rate / r)) for r in (1, 2, 5)}
        raise ValueError(f"frame_rate={frame_rate} does not divide {rate:.6g} audio tokens per "
                         "second into whole time steps; choose a divisor such as "
                         f"{', '.join(str(r).removesuffix('.0') for r in sorted(near))}")
    return round(tokens)


def check_vision_settings(config, *, visual_tokens: int, image_size: int | None,
                          conv_stem: bool, question_conditioning: bool) -> None:
    """Check settings of `FavorConfig` against the vision tower's config.

    Raises:
        ValueError: without a Q-Former, visual_tokens is no square grid, or a setting needs a
            Q-Former; with one, image_size is not its own.
    """
    kind = config.model_type
    if question_conditioning and kind != "instructblip_vision_model":
        raise ValueError("question_conditioning=True needs the Q-Former of InstructBLIP, which "
                         f"reads the question; found {kind!r}; set question_conditioning=False")
    if conv_stem and kind != "instructblip_vision_model":
        raise ValueError(f"conv_stem=True goes with InstructBLIP's ViT, found {kind!r}; leave it "
                         "out")
    if kind in WITH_QFORMER:
        if image_size not in (None, config.image_size):
            raise ValueError(f"image_size={image_size}: {kind!r} was trained with "
                             f"{config.image_size} pixels; set image_size={config.image_size}")
        return
    grid = (image_size or config.image_size) // config.patch_size
    if isqrt(visual_tokens) ** 2 != visual_tokens or visual_tokens > grid**2:
        squares = [n * n for n in range(1, grid + 1)]
        listed = squares if len(squares) < 8 else [*squares[:6], "...", squares[-1]]
        raise ValueError(
            f"visual_tokens={visual_tokens}: {kind!r} has no Q-Former; the {grid} x {grid} patches "
            "of a frame are averaged to a square grid of tokens; choose one of "
            f"{', '.join(map(str, listed))}")
