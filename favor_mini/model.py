"""FAVOR as one `PreTrainedModel`: frozen encoders, the causal Q-Former, one linear map, a frozen LLM with LoRA."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import cast_adapter_dtype
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import ModelOutput

from .attention import isolate_turns_mask
from .config import FavorConfig
from .encoders import InstructBlipVisionTower, VisualEncoder, encode_audio, expect
from .qformer import AttentionMaps
from .registry import SLOTS, find
from .sync import trim
from .windows import join_windows

MEDIA = ("pixel_values", "frame_mask", "input_features", "audio_mask", "visual_features", "audio_features",
         "question_ids", "question_mask")


@dataclass
class FavorOutput(ModelOutput):
    """What a forward pass returns; None where there was nothing to compute it from."""

    loss: Tensor | None = None  # cross_entropy + diversity_weight * diversity
    logits: Tensor | None = None  # [B, L, vocabulary]
    cross_entropy: Tensor | None = None
    diversity: Tensor | None = None
    queries: Tensor | None = None  # [B, W, N, width], before the projection
    window_mask: Tensor | None = None  # [B, W] bool, True where a window holds a real time step
    maps: AttentionMaps | None = None  # where return_maps asks for them


class FavorForConditionalGeneration(PreTrainedModel):
    """An audio-visual LLM. See `FavorProcessor` for the tensors that `forward` and `generate` take."""

    config_class = FavorConfig
    config: FavorConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # Trainer: the loss is a mean over the batch, divide it over accumulated steps
    _supports_sdpa = True
    CONNECTOR = ("audio_projection", "qformer", "projection")  # trained whole; of the language model only LoRA is

    def __init__(self, config: FavorConfig):
        super().__init__(config)
        for slot in SLOTS:
            find(slot, getattr(config, slot))  # an unknown name fails here, not at the first clip
        self.audio_encoder = WhisperEncoder(config.audio_config)
        self.visual_encoder = VisualEncoder(config.vision_config, config.visual_qformer_config, config.visual_tokens,
                                            config.conv_stem)
        self.audio_projection = nn.Linear(config.audio_config.d_model, config.audio_width)
        step_tokens, input_width = config.step_shape
        self.qformer = find("connector", config.connector)(
            input_width=input_width, window_frames=config.window_frames, step_tokens=step_tokens,
            num_queries=config.num_queries, width=config.qformer_width, layers=config.qformer_layers,
            heads=config.qformer_heads, hidden=config.qformer_hidden, dropout=config.qformer_dropout, attention=config.attention)
        self.language_model = AutoModelForCausalLM.from_config(config.language_config)
        self.projection = nn.Linear(config.qformer_width, config.language_config.hidden_size)
        self.post_init()
        self.add_lora()
        self.freeze()

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.qformer:
            module.reset_parameters()
        elif isinstance(module, VisualEncoder):
            nn.init.normal_(module.query_tokens, std=0.02)
        elif module is self.audio_projection:
            nn.init.normal_(module.weight, std=module.in_features**-0.5)  # as loud as it came from the encoder
            nn.init.zeros_(module.bias)
        elif module is self.projection:
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    # Which parts learn.

    def add_lora(self) -> None:
        """Put LoRA on the attention projections q, k, v, o of the language model (peft)."""
        if self.config.lora_rank:
            lora = LoraConfig(r=self.config.lora_rank, lora_alpha=self.config.lora_alpha,
                              lora_dropout=self.config.lora_dropout, target_modules=self.config.lora_targets)
            inject_adapter_in_model(lora, self.language_model)

    def freeze(self) -> None:
        """Leave only the connector and LoRA trainable."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in self.CONNECTOR or "lora_" in name)

    def train(self, mode: bool = True):
        """Training mode for what is trained; the frozen encoders stay in evaluation mode (no dropout)."""
        super().train(mode)
        self.audio_encoder.eval()
        self.visual_encoder.eval()
        return self

    def reset_trained(self, seed: int = 0) -> None:
        """Start the connector and LoRA anew, as before any fine-tuning; the frozen parts stay as they are."""
        with torch.random.fork_rng():
            # Each part from a stream of its own: one that draws more or fewer numbers leaves the others as they are.
            for number, name in enumerate(self.CONNECTOR):
                torch.manual_seed(1000 * seed + number)
                self._init_weights(getattr(self, name))
            torch.manual_seed(1000 * seed + len(self.CONNECTOR))
            for module in self.language_model.modules():
                if hasattr(module, "reset_lora_parameters"):
                    module.reset_lora_parameters("default", init_lora_weights=True)

    # From media tensors to vectors in the language model's embedding space.

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | None = None, input_features: Tensor | None = None,
               question_ids: Tensor | None = None, question_mask: Tensor | None = None
               ) -> tuple[Tensor | None, Tensor | None]:
        """Run the frozen encoders: (B, T_v, V, D_v) visual and (B, L, D_w) audio tokens; None where nothing is given.

        Raises:
            ValueError: a stream has the wrong shape, or the question is missing where the config lets it steer the
                visual Q-Former, or is given where it does not.
        """
        visual = audio = None
        if pixel_values is not None:
            if (question_ids is not None) != self.config.question_conditioning:
                raise ValueError(f"the model's config has question_conditioning={self.config.question_conditioning}, but "
                                 f"question_ids are {'missing' if question_ids is None else 'given'}; give the processor"
                                 " the same question_conditioning (features that depend on it can't be kept)")
            visual = self.visual_encoder(pixel_values, question_ids, question_mask)
        if input_features is not None:
            audio = encode_audio(self.audio_encoder, input_features.to(self.audio_encoder.conv1.weight.dtype))
        return visual, audio

    def connect(self, visual: Tensor, audio: Tensor, frame_mask: Tensor, audio_mask: Tensor, return_maps: bool = False
                ) -> tuple[Tensor, Tensor, AttentionMaps | None]:
        """Synchronise, split into windows, run the causal Q-Former.

        Args:
            visual: (B, T_v, V, D_v); audio: (B, L, D_w) as Whisper gave it.
            frame_mask: (B, T_v), audio_mask: (B, L): True where a frame or an audio token is real. What is not real is
                zero in the synchronised steps, whatever the tensors hold there.

        Returns:
            queries (B, W, N, width), window_mask (B, W), attention maps.
        """
        config = self.config
        # Whisper pads sound to whole chunks; windows of nothing but padding would be computed in vain.
        (visual, frame_mask), (audio, audio_mask) = trim(visual, frame_mask), trim(audio, audio_mask)
        visual = visual.masked_fill(~frame_mask[..., None, None], 0.0)
        audio = self.audio_projection(audio).masked_fill(~audio_mask[..., None], 0.0)  # [B, L, D_a]
        steps, real = find("sync", config.sync)(visual, audio, frame_mask, audio_mask, audio_tokens=config.audio_tokens)
        # steps [B, T, P, D], real [B, T]; D = D_v + D_a
        windows, mask = find("windows", config.windows)(steps, real, config.window_frames)  # [B * W, K * P, D], [B * W, K]
        queries, maps = self.qformer(windows, mask, return_maps)  # [B * W, N, width]
        queries = join_windows(queries, len(visual)).unflatten(1, (-1, config.num_queries))  # [B, W, N, width]
        return queries, mask.any(dim=1).unflatten(0, (len(visual), -1)), maps

    def embed(self, input_ids: Tensor, queries: Tensor | None, window_mask: Tensor | None) -> Tensor:
        """Token embeddings with every placeholder replaced by a projected query: (B, L) -> (B, L, width).

        Raises:
            ValueError: a prompt holds another number of placeholders than its clip has queries.
        """
        embeds = self.language_model.get_input_embeddings()(input_ids)
        place = input_ids == self.config.placeholder_id  # [B, L]
        wanted = torch.zeros_like(input_ids[:, 0]) if queries is None else window_mask.sum(1) * queries.shape[2]  # [B]
        if not torch.equal(place.sum(1), wanted):
            raise ValueError(f"the prompts hold {place.sum(1).tolist()} placeholders (token {self.config.placeholder_id}) "
                             f"for {wanted.tolist()} output queries; let FavorProcessor write the prompts with the "
                             "model's window_frames and num_queries: it puts N placeholders for each window")
        if queries is None:
            return embeds
        vectors = self.projection(queries[window_mask].flatten(0, 1))  # [real windows * N, width], in time order
        return embeds.masked_scatter(place[..., None], vectors.to(embeds.dtype))

    def prepare(self, input_ids: Tensor, pixel_values=None, frame_mask=None, input_features=None, audio_mask=None,
                visual_features=None, audio_features=None, question_ids=None, question_mask=None, return_maps=False
                ) -> tuple[Tensor, Tensor | None, Tensor | None, AttentionMaps | None]:
        """Everything before the language model. Takes media tensors, or the encoders' outputs computed before.

        Returns:
            the prompt's embeddings, queries, window_mask and maps.
        """
        for raw, made in ((pixel_values, visual_features), (input_features, audio_features)):
            if raw is not None and made is not None:
                raise ValueError("some clips of the batch come as media and others as features that the encoders made of them; "
                                 "encode all of them (features.encode_media), or none")
        visual, audio = self.encode(pixel_values, input_features, question_ids, question_mask)
        visual = visual_features if visual is None else visual
        audio = audio_features if audio is None else audio
        if visual is None and audio is None:
            return self.embed(input_ids, None, None), None, None, None
        batch, like = len(input_ids), self.projection.weight
        if visual is None:  # no clip of the batch has a picture
            visual = like.new_zeros(batch, 0, self.config.visual_tokens, self.config.visual_width)
        if audio is None:  # no clip has sound
            audio = like.new_zeros(batch, 0, self.config.audio_config.d_model)
        expect("visual features", visual, B=batch, T=None, V=self.config.visual_tokens, D_v=self.config.visual_width)
        expect("audio features", audio, B=batch, L=None, D_w=self.config.audio_config.d_model)
        masks = []
        for name, mask, stream in (("frame_mask", frame_mask, visual), ("audio_mask", audio_mask, audio)):
            mask = torch.ones(stream.shape[:2], device=stream.device) if mask is None or not stream.shape[1] else mask
            expect(name, mask, B=batch, length=stream.shape[1])
            masks.append(mask.bool())
        connected = self.connect(visual.to(like.dtype), audio.to(like.dtype), *masks, return_maps)
        return self.embed(input_ids, *connected[:2]), *connected

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None,
                turn_ids: Tensor | None = None, **media) -> FavorOutput:
        """Score token sequences about clips.

        Args:
            input_ids, attention_mask: (B, L) prompt and answer tokens, from `FavorProcessor`.
            labels: (B, L), the token ids that count in the loss, -100 elsewhere.
            turn_ids: (B, L), from `FavorProcessor`: the turns of a conversation are kept apart (`isolate_turns_mask`).
            media: pixel_values (B, T_v, 3, H, W) with frame_mask (B, T_v); input_features (B, C, mels, 2 S) with
                audio_mask (B, C S); instead of them visual_features (B, T_v, V, D_v) and audio_features (B, L_a, D_w);
                question_ids and question_mask (B, Q); return_maps (bool). A stream left out is missing in all clips;
                a mask left out means that all is real.

        Returns:
            FavorOutput; `loss` = cross_entropy + diversity_weight * diversity (paper, section 3.4).
        """
        embeds, queries, window_mask, maps = self.prepare(input_ids, **media)
        if turn_ids is not None:
            attention_mask, position_ids = isolate_turns_mask(turn_ids)
            if self.language_model.config._attn_implementation == "eager":  # it adds the mask, where others look it up
                attention_mask = torch.zeros_like(attention_mask, dtype=embeds.dtype).masked_fill(~attention_mask, -torch.inf)
        else:
            attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)  # padding on the left moves no token
        logits = self.language_model(inputs_embeds=embeds, attention_mask=attention_mask, position_ids=position_ids,
                                     use_cache=False).logits
        loss = cross_entropy = diversity = None
        if queries is not None:
            diversity = find("diversity", self.config.diversity)(queries.flatten(0, 1), window_mask.flatten())
        if labels is not None:
            cross_entropy = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), labels[:, 1:], ignore_index=-100)
            loss = cross_entropy if diversity is None else cross_entropy + self.config.diversity_weight * diversity
        return FavorOutput(loss, logits, cross_entropy, diversity, queries, window_mask, maps)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, max_new_tokens: int = 24,
                 do_sample: bool = False, **kwargs) -> Tensor:
        """Answer: token ids (B, new) that the language model writes after left-padded prompts; greedy by default.

        Args:
            kwargs: the media tensors as for `forward`, and anything that transformers' `generate` takes.

        Raises:
            ValueError: the prompts are padded on the right, or it is a training batch that holds the answers.
        """
        if "labels" in kwargs or (attention_mask is not None and not attention_mask[:, -1].all()):
            raise ValueError("generate wants prompts without answers, padded on the left, as processor(clips, questions) makes "
                             "them; found " + ("labels" if "labels" in kwargs else "padding at the right end"))
        media = {k: kwargs.pop(k) for k in MEDIA if k in kwargs}
        embeds = self.prepare(input_ids, **media)[0]
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        settings = {"suppress_tokens": [self.config.placeholder_id], **kwargs}  # a placeholder is no word
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=attention_mask,
                                            max_new_tokens=max_new_tokens, do_sample=do_sample, **settings)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As of every `PreTrainedModel`, but what was frozen is frozen again: loading makes all parameters trainable."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze()
        return loaded

    @classmethod
    def from_parts(cls, audio: str, vision: str, language: str, *, dtype: torch.dtype = torch.float32, **settings
                   ) -> "FavorForConditionalGeneration":
        """Join any pretrained Whisper, InstructBLIP and causal LM, by hub name or local folder; add a fresh connector.

        Args:
            dtype: of the frozen parts; what learns is float32, as bfloat16 would lose its small steps.
            settings: further fields of `FavorConfig`. `placeholder_id` defaults to a new token behind the vocabulary.

        Raises:
            OSError: a part is neither a local folder nor reachable (offline); the message says which.
            ValueError: a part is of another kind.
        """
        whisper = _load(WhisperModel, "audio", audio, dtype, kind="whisper")
        eyes = _load(InstructBlipVisionTower, "vision", vision, dtype, kind="instructblip")
        llm = _load(AutoModelForCausalLM, "language", language, dtype)
        known = llm.get_input_embeddings().num_embeddings
        settings.setdefault("placeholder_id", known)
        if settings["placeholder_id"] >= known:
            llm.resize_token_embeddings(settings["placeholder_id"] + 1, mean_resizing=False)
        width = eyes.config.qformer_config.hidden_size
        sizes = {"visual_tokens": eyes.config.num_query_tokens, "audio_width": width, "qformer_width": width,
                 "qformer_heads": eyes.config.qformer_config.num_attention_heads,
                 "qformer_hidden": eyes.config.qformer_config.intermediate_size, **settings}
        lora_rank = sizes.pop("lora_rank", 32)
        config = FavorConfig(whisper.config, eyes.config.vision_config, eyes.config.qformer_config, llm.config,
                             lora_rank=0, **sizes)
        with torch.device("meta"):  # the frozen parts are there already: build their places without memory
            model = cls(config)
        model.audio_encoder, model.language_model = whisper.encoder, llm
        for name in ("vision_model", "qformer", "query_tokens"):
            setattr(model.visual_encoder, name, getattr(eyes, name))
        for name in cls.CONNECTOR:
            model._init_weights(getattr(model, name).to_empty(device=model.device))
        config.lora_rank = lora_rank
        model.add_lora()
        cast_adapter_dtype(model.language_model, "default")
        model.freeze()
        return model.eval()


def _load(model_class, part: str, name: str, dtype: torch.dtype, kind: str | None = None) -> PreTrainedModel:
    """A pretrained part; `kind` is the model type that its config must name."""
    try:
        found = AutoConfig.from_pretrained(name).model_type
        if kind in (None, found):
            return model_class.from_pretrained(name, dtype=dtype)
    except (OSError, ValueError) as error:
        raise OSError(f"{part}={name!r} could not be loaded: it is neither a folder with config.json and "
                      f"model.safetensors nor a hub name that can be reached from here. Offline, download it once "
                      f"elsewhere and pass the folder; HF_HUB_OFFLINE=1 spares the retries. ({error})") from error
    raise ValueError(f"{part}={name!r} holds a model of type {found!r}, expected {kind!r}")
