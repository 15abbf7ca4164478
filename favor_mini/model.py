"""FAVOR as one `PreTrainedModel`: frozen encoders, the causal Q-Former, one linear map, a frozen LLM with LoRA."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    InstructBlipForConditionalGeneration,
    PreTrainedModel,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import ModelOutput

from .config import FavorConfig
from .encoders import VisualEncoder, encode_audio
from .losses import diversity_loss
from .qformer import AttentionMaps, CausalQFormer
from .sync import synchronise
from .windows import fold, num_windows, unfold


@dataclass
class FavorOutput(ModelOutput):
    """What a forward pass returns. `queries` are the output queries (B, W, N, width), `window_mask` (B, W) their truth."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    cross_entropy: Tensor | None = None
    diversity: Tensor | None = None
    queries: Tensor | None = None
    window_mask: Tensor | None = None
    maps: AttentionMaps | None = None


class FavorForConditionalGeneration(PreTrainedModel):
    """An audio-visual LLM. See `FavorProcessor` for the tensors that `forward` and `generate` take."""

    config_class = FavorConfig
    config: FavorConfig
    main_input_name = "input_ids"
    TRAINED = ("audio_projection", "qformer", "projection", "lora_")  # parts of the names of trained parameters

    def __init__(self, config: FavorConfig):
        super().__init__(config)
        self.audio_encoder = WhisperEncoder(config.audio_config)
        self.visual_encoder = VisualEncoder(config.vision_config, config.visual_qformer_config, config.visual_tokens)
        self.audio_projection = nn.Linear(config.audio_config.d_model, config.audio_width)
        self.qformer = CausalQFormer(
            input_width=config.visual_width + config.audio_width, window_frames=config.window_frames,
            step_tokens=config.step_tokens, num_queries=config.num_queries, width=config.qformer_width,
            layers=config.qformer_layers, heads=config.qformer_heads, hidden=config.qformer_hidden,
            dropout=config.qformer_dropout, mask=config.attention_mask)
        self.language_model = AutoModelForCausalLM.from_config(config.language_config)
        self.projection = nn.Linear(config.qformer_width, config.language_config.hidden_size)
        self.post_init()
        self.add_lora()
        self.freeze()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, CausalQFormer):
            module.reset_parameters()
        elif isinstance(module, VisualEncoder):
            nn.init.normal_(module.query_tokens, std=0.02)
        elif module in (self.audio_projection, self.projection):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    # Which parts learn.

    def add_lora(self) -> None:
        """Put LoRA on the attention projections q, k, v, o of the language model (peft)."""
        if self.config.lora_rank:
            lora = LoraConfig(r=self.config.lora_rank, lora_alpha=self.config.lora_alpha,
                              lora_dropout=self.config.lora_dropout, target_modules=r".*\.(q|k|v|o)_proj")
            inject_adapter_in_model(lora, self.language_model)

    def freeze(self) -> None:
        """Leave only the connector and LoRA trainable."""
        for name, parameter in self.named_parameters():
            top = name.split(".")[0]
            parameter.requires_grad_(top in self.TRAINED or "lora_" in name)

    def train(self, mode: bool = True):
        """Training mode for what is trained; the frozen encoders stay in evaluation mode (no dropout)."""
        super().train(mode)
        self.audio_encoder.eval()
        self.visual_encoder.eval()
        return self

    def reset_trained(self, seed: int = 0) -> None:
        """Start the connector and LoRA anew, as before any fine-tuning; the frozen parts stay as they are."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for module in (self.audio_projection, self.qformer, self.projection):
                self._init_weights(module)
            for module in self.language_model.modules():
                if hasattr(module, "reset_lora_parameters"):
                    module.reset_lora_parameters("default", init_lora_weights=True)

    # From media tensors to vectors in the language model's embedding space.

    def encode(self, pixel_values: Tensor | None = None, input_features: Tensor | None = None,
               question_ids: Tensor | None = None, question_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the frozen encoders: (B, T_v, V, D_v) visual tokens and (B, L, D_w) audio tokens; None where not given."""
        visual = audio = None
        with torch.no_grad():
            if pixel_values is not None:
                visual = self.visual_encoder(pixel_values, question_ids, question_mask)
            if input_features is not None:
                audio = encode_audio(self.audio_encoder, input_features)
        return visual, audio

    def connect(self, visual: Tensor, audio: Tensor, frame_mask: Tensor, audio_mask: Tensor, return_maps: bool = False
                ) -> tuple[Tensor, Tensor, AttentionMaps | None]:
        """Synchronise, fold, run the causal Q-Former.

        Args:
            visual: (B, T_v, V, D_v); audio: (B, L, D_w) as Whisper gave it.
            frame_mask: (B, T_v), audio_mask: (B, L): True where a frame or an audio token is real.

        Returns:
            queries (B, W, N, width), window_mask (B, W), attention maps.
        """
        visual = visual * frame_mask[:, :, None, None]
        audio = self.audio_projection(audio) * audio_mask[:, :, None]  # [B, L, D_a]; no sound is zero after projecting
        steps = synchronise(visual, audio, audio_tokens=self.config.audio_tokens)  # [B, T, P, D_v + D_a]
        steps = F.pad(steps, (0, 0, 0, self.config.step_tokens - steps.shape[2]))
        windows, mask = fold(steps, self.step_mask(frame_mask, audio_mask), self.config.window_frames)
        queries, maps = self.qformer(windows, mask, return_maps)  # [B * W, N, width]
        queries = unfold(queries, len(visual)).unflatten(1, (-1, self.config.num_queries))  # [B, W, N, width]
        return queries, mask.any(dim=1).unflatten(0, (len(visual), -1)), maps

    def step_mask(self, frame_mask: Tensor, audio_mask: Tensor) -> Tensor:
        """(B, T): a time step is real where either stream has something."""
        steps = audio_mask.long().sum(1)  # audio tokens are contiguous from the start
        steps = num_windows(steps, self.config.audio_tokens)
        count = torch.maximum(frame_mask.long().sum(1), steps)  # [B]
        total = max(frame_mask.shape[1], num_windows(audio_mask.shape[1], self.config.audio_tokens))
        return torch.arange(total, device=count.device)[None] < count[:, None]

    def embed(self, input_ids: Tensor, queries: Tensor | None, window_mask: Tensor | None) -> Tensor:
        """Token embeddings with every placeholder replaced by a projected query: (B, L) -> (B, L, width).

        Raises:
            ValueError: the prompt holds another number of placeholders than there are queries.
        """
        embeds = self.language_model.get_input_embeddings()(input_ids)
        place = input_ids == self.config.placeholder_id
        vectors = embeds.new_zeros(0, embeds.shape[-1]) if queries is None else \
            self.projection(queries[window_mask].flatten(0, 1)).to(embeds.dtype)  # [windows * N, width]
        if place.sum() != len(vectors):
            raise ValueError(f"the prompts hold {int(place.sum())} placeholders for {len(vectors)} output queries; let "
                             "FavorProcessor write the prompts, it expands one placeholder to N per window")
        return embeds.masked_scatter(place[..., None], vectors)

    def prepare(self, input_ids: Tensor, pixel_values=None, frame_mask=None, input_features=None, audio_mask=None,
                visual_features=None, audio_features=None, question_ids=None, question_mask=None, return_maps=False
                ) -> tuple[Tensor, Tensor | None, Tensor | None, AttentionMaps | None]:
        """Everything before the language model. Takes media tensors, or the encoders' outputs computed before."""
        visual, audio = self.encode(pixel_values, input_features, question_ids, question_mask)
        visual = visual_features if visual is None else visual
        audio = audio_features if audio is None else audio
        if visual is None and audio is None:
            return self.embed(input_ids, None, None), None, None, None
        batch, like = len(input_ids), self.projection.weight
        if visual is None:  # no clip of the batch has a picture
            visual = like.new_zeros(batch, 0, self.config.visual_tokens, self.config.visual_width)
            frame_mask = torch.zeros(batch, 0, dtype=torch.bool, device=like.device)
        if audio is None:
            audio = like.new_zeros(batch, 0, self.config.audio_config.d_model)
            audio_mask = torch.zeros(batch, 0, dtype=torch.bool, device=like.device)
        queries, window_mask, maps = self.connect(visual.to(like.dtype), audio.to(like.dtype), frame_mask, audio_mask,
                                                  return_maps)
        return self.embed(input_ids, queries, window_mask), queries, window_mask, maps

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None,
                **media) -> FavorOutput:
        """Score token sequences about clips.

        Args:
            input_ids, attention_mask: (B, L) prompt and answer tokens, from `FavorProcessor`.
            labels: (B, L), the token ids that count in the loss, -100 elsewhere.
            media: pixel_values (B, T_v, 3, H, W) with frame_mask (B, T_v); input_features (B, C, mels, 2 S) with
                audio_mask (B, C S); instead of them visual_features (B, T_v, V, D_v) and audio_features (B, L_a, D_w);
                question_ids and question_mask (B, Q); return_maps (bool).

        Returns:
            FavorOutput; `loss` = cross_entropy + diversity_weight * diversity (paper, section 3.4).
        """
        embeds, queries, window_mask, maps = self.prepare(input_ids, **media)
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)
        logits = self.language_model(inputs_embeds=embeds, attention_mask=attention_mask,
                                     position_ids=position_ids).logits
        loss = cross_entropy = diversity = None
        if queries is not None:
            diversity = diversity_loss(queries.flatten(0, 1), window_mask.flatten())
        if labels is not None:
            cross_entropy = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), labels[:, 1:], ignore_index=-100)
            loss = cross_entropy if diversity is None else cross_entropy + self.config.diversity_weight * diversity
        return FavorOutput(loss, logits, cross_entropy, diversity, queries, window_mask, maps)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, max_new_tokens: int = 24,
                 do_sample: bool = False, labels=None, **kwargs) -> Tensor:
        """Answer: token ids (B, new) that the language model writes after left-padded prompts; greedy by default."""
        media = {k: kwargs.pop(k) for k in list(kwargs) if k in _MEDIA}
        embeds = self.prepare(input_ids, **media)[0]
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=attention_mask,
                                            max_new_tokens=max_new_tokens, do_sample=do_sample, **kwargs)

    @classmethod
    def from_parts(cls, audio: str, vision: str, language: str, **settings) -> "FavorForConditionalGeneration":
        """Join any pretrained Whisper, InstructBLIP and causal LM, by hub name or local folder; add a fresh connector.

        Args:
            settings: further fields of `FavorConfig`. `placeholder_id` defaults to a new token behind the vocabulary.

        Raises:
            OSError: a part is neither a local folder nor reachable (offline); the message says which.
        """
        whisper = _load(WhisperModel, "audio", audio)
        blip = _load(InstructBlipForConditionalGeneration, "vision", vision)
        llm = _load(AutoModelForCausalLM, "language", language)
        settings.setdefault("placeholder_id", llm.get_input_embeddings().num_embeddings)
        if settings["placeholder_id"] >= llm.get_input_embeddings().num_embeddings:
            llm.resize_token_embeddings(settings["placeholder_id"] + 1)
        sizes = {"visual_tokens": blip.query_tokens.shape[1], "audio_width": blip.qformer.config.hidden_size,
                 "qformer_width": blip.qformer.config.hidden_size}
        config = FavorConfig(whisper.config, blip.vision_model.config, blip.qformer.config, llm.config,
                             **{**sizes, **settings})
        lora_rank, config.lora_rank = config.lora_rank, 0
        model = cls(config)
        model.audio_encoder.load_state_dict(whisper.encoder.state_dict())
        model.visual_encoder.load_state_dict({
            **{f"vision_model.{k}": v for k, v in blip.vision_model.state_dict().items()},
            **{f"qformer.{k}": v for k, v in blip.qformer.state_dict().items()}, "query_tokens": blip.query_tokens})
        model.language_model.load_state_dict(llm.state_dict())
        config.lora_rank = lora_rank
        model.add_lora()
        model.freeze()
        return model


_MEDIA = ("pixel_values", "frame_mask", "input_features", "audio_mask", "visual_features", "audio_features",
          "question_ids", "question_mask")


def _load(kind, part: str, name: str):
    try:
        return kind.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise OSError(f"{part}={name!r} could not be loaded as a {kind.__name__}: it is neither a folder with "
                      f"config.json and model.safetensors nor a hub name that can be reached from here. Offline, "
                      f"download it once elsewhere and pass the folder. ({error})") from error
