"""FAVOR as one transformers model: frozen encoders, the connector, a frozen LLM with LoRA."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig

from . import language
from . import losses as losses  # registers the paper's diversity loss
from .audio import build_audio_encoder, encode_sound
from .compat import save_as_named
from .config import FavorConfig
from .encoders import VisualEncoder
from .generation import GenerativeModel
from .output import FavorOutput
from .pretrained import load_pretrained
from .qformer import AttentionMaps
from .registry import SLOTS, find
from .shapes import check_shape
from .storage import share
from .sync import trim
from .vision import build_visual_encoder
from .windows import join_windows


class FavorForConditionalGeneration(GenerativeModel):
    """An audio-visual LLM. `FavorProcessor` makes the arguments of `forward` and `generate`."""

    config_class = FavorConfig
    config: FavorConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # the loss is a mean over the batch
    supports_gradient_checkpointing = True  # of the language model's layers
    FROZEN = ("audio_encoder", "visual_encoder", "language_model")  # but for LoRA
    CONNECTOR = ("audio_projection", "qformer", "projection")  # trained
    # Loaded in float32, whatever the type of the frozen parts: regular expressions of names.
    _keep_in_fp32_modules_strict = (*map("^{}".format, CONNECTOR), "lora_[AB]")

    def __init__(self, config: FavorConfig):
        super().__init__(config)
        for slot in SLOTS:
            find(slot, getattr(config, slot))  # raises here for an unknown name
        self.audio_encoder = build_audio_encoder(config.audio_config)
        self.visual_encoder = build_visual_encoder(config)
        self.audio_projection = self._new("audio_projection")
        self.qformer = self._new("qformer")
        self.language_model = AutoModelForCausalLM.from_config(config.language_config)
        self.projection = self._new("projection")
        self.post_init()
        language.add_lora(self.language_model, config)
        self.freeze()
        self.fill_generation_config()

    def _new(self, name: str) -> nn.Module:
        """A new module of the connector, of the config's sizes."""
        config = self.config
        if name == "audio_projection":
            return nn.Linear(config.audio_hidden, config.audio_width)
        if name == "projection":
            return nn.Linear(config.qformer_width, language.embedding_width(config))
        step_tokens, input_width = config.step_shape
        return find("connector", config.connector)(
            input_width=input_width, window_frames=config.window_frames, step_tokens=step_tokens,
            num_queries=config.num_queries, width=config.qformer_width,
            layers=config.qformer_layers, heads=config.qformer_heads, hidden=config.qformer_hidden,
            dropout=config.qformer_dropout, attention=config.attention)

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.qformer:
            module.reset_parameters()
        elif isinstance(module, VisualEncoder):
            nn.init.normal_(module.query_tokens, std=0.02)
        elif module is self.audio_projection:
            nn.init.normal_(module.weight, std=module.in_features**-0.5)  # keeps the variance
            nn.init.zeros_(module.bias)
        elif module is self.projection:
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    # What is trained.

    def freeze(self) -> None:
        """Leave only the connector and LoRA trainable."""
        for name in (*self.FROZEN, *self.CONNECTOR):
            getattr(self, name).requires_grad_(name in self.CONNECTOR)
        language.freeze_all_but_lora(self.language_model)

    def lora_modules(self) -> list[str]:
        """The names of the language model's modules that LoRA adapts."""
        return language.lora_modules(self.language_model)

    def extra_repr(self) -> str:
        """One line of `print(model)`: which modules LoRA adapts."""
        return language.describe_lora(self.language_model, self.config.lora_rank)

    def frozen_modules(self) -> dict[str, nn.Module]:
        """The encoders and the language model by name, as `from_frozen` takes them."""
        return {name: getattr(self, name) for name in self.FROZEN}

    def train(self, mode: bool = True):
        """Set the training mode; the frozen encoders stay in evaluation mode (no dropout)."""
        super().train(mode)
        self.audio_encoder.eval()
        self.visual_encoder.eval()
        return self

    def reset_trained(self, seed: int = 0) -> None:
        """Initialise the connector and LoRA, as before training.

        Every module has its own random stream: another connector does not change the others.
        """
        with torch.random.fork_rng():
            for number, name in enumerate(self.CONNECTOR):
                torch.manual_seed(1000 * seed + number)
                self._init_weights(getattr(self, name))
            torch.manual_seed(1000 * seed + len(self.CONNECTOR))
            language.reset_lora(self.language_model)

    # From media tensors to vectors in the language model's embedding space.

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | None = None, input_features: Tensor | None = None,
               question_ids: Tensor | None = None, question_mask: Tensor | None = None,
               audio_mask: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Run the frozen encoders.

        Args:
            pixel_values: (B, T_v, 3, H, W). input_features, audio_mask: see `audio.encode_sound`.
            question_ids, question_mask: (B, Q), with question_conditioning.

        Returns:
            visual tokens (B, T_v, V, D_v) and audio tokens (B, L, D_w), None if missing.

        Raises:
            ValueError: a wrong shape, or question_ids that do not fit question_conditioning.
        """
        visual = audio = None
        if pixel_values is not None:
            if (question_ids is not None) != self.config.question_conditioning:
                raise ValueError(
                    "the model's config has question_conditioning="
                    f"{self.config.question_conditioning}, but question_ids are "
                    f"{'missing' if question_ids is None else 'given'}; use a processor with the "
                    "same question_conditioning, and no cached features")
            visual = self.visual_encoder(pixel_values, question_ids, question_mask)
        if input_features is not None:
            audio = encode_sound(self.audio_encoder, input_features, audio_mask)
        return visual, audio

    def connect(self, visual: Tensor, audio: Tensor, frame_mask: Tensor, audio_mask: Tensor,
                return_maps: bool = False) -> tuple[Tensor, Tensor, AttentionMaps | None]:
        """Synchronise, split into windows, run the causal Q-Former.

        Args:
            visual: (B, T_v, V, D_v). audio: (B, L, D_w), of the audio encoder.
            frame_mask: (B, T_v), audio_mask: (B, L): True where real; the rest becomes zero.

        Returns:
            queries (B, W, N, width), window_mask (B, W), attention maps or None.
        """
        config = self.config
        # Sound is padded to whole chunks; without trim, whole windows could be padding.
        visual, frame_mask = trim(visual, frame_mask)
        audio, audio_mask = trim(audio, audio_mask)
        visual = visual.masked_fill(~frame_mask[..., None, None], 0.0)
        audio = self.audio_projection(audio).masked_fill(~audio_mask[..., None], 0.0)  # [B, L, D_a]
        steps, real = find("sync", config.sync)(  # [B, T, P, D], [B, T]; D = D_v + D_a
            visual, audio, frame_mask, audio_mask, audio_tokens=config.audio_tokens)
        windows, mask = find("windows", config.windows)(  # [B * W, K * P, D], [B * W, K]
            steps, real, config.window_frames)
        queries, maps = self.qformer(windows, mask, return_maps)  # [B * W, N, width]
        queries = join_windows(queries, len(visual)).unflatten(1, (-1, config.num_queries))
        return queries, mask.any(dim=1).unflatten(0, (len(visual), -1)), maps

    def embed(self, input_ids: Tensor, queries: Tensor | None, window_mask: Tensor | None
              ) -> Tensor:
        """Token embeddings (B, L, width) of the prompts, each placeholder replaced by a query.

        Raises:
            ValueError: a prompt's placeholders are not as many as its clip's queries.
        """
        embeds = self.language_model.get_input_embeddings()(input_ids)
        place = input_ids == self.config.placeholder_id  # [B, L]
        wanted = (torch.zeros_like(input_ids[:, 0]) if queries is None
                  else window_mask.sum(1) * queries.shape[2])  # [B]
        if not torch.equal(place.sum(1), wanted):
            raise ValueError(
                f"the prompts hold {place.sum(1).tolist()} placeholders (token "
                f"{self.config.placeholder_id}) for {wanted.tolist()} output queries; make them "
                "with a FavorProcessor that has the model's window_frames and num_queries")
        if queries is None:
            return embeds
        vectors = self.projection(queries[window_mask].flatten(0, 1))  # [real windows * N, width]
        return embeds.masked_scatter(place[..., None], vectors.to(embeds.dtype))

    def prepare(self, input_ids: Tensor, pixel_values=None, frame_mask=None, input_features=None,
                audio_mask=None, visual_features=None, audio_features=None, question_ids=None,
                question_mask=None, return_maps=False
                ) -> tuple[Tensor, Tensor | None, Tensor | None, AttentionMaps | None]:
        """Everything before the language model; arguments and errors as in `forward`. Returns the
        prompts' embeddings (B, L, width), queries, window_mask and maps."""
        for stream, features in ((pixel_values, visual_features), (input_features, audio_features)):
            if stream is not None and features is not None:
                raise ValueError(
                    "the batch mixes clips as media with clips as features of the encoders; encode "
                    "all of them (data.features.encode_media), or none")
        visual, audio = self.encode(pixel_values, input_features, question_ids, question_mask,
                                    audio_mask)
        visual = visual_features if visual is None else visual
        audio = audio_features if audio is None else audio
        if visual is None and audio is None:
            return self.embed(input_ids, None, None), None, None, None
        batch, like = len(input_ids), self.projection.weight
        config = self.config
        if visual is None:  # no clip of the batch has a frame
            visual = like.new_zeros(batch, 0, config.visual_tokens, config.visual_width)
        if audio is None:  # no clip has sound
            audio = like.new_zeros(batch, 0, config.audio_hidden)
        check_shape("visual features", visual, B=batch, T=None, V=config.visual_tokens,
                    D_v=config.visual_width)
        check_shape("audio features", audio, B=batch, L=None, D_w=config.audio_hidden)
        masks = []
        for name, mask, stream in (("frame_mask", frame_mask, visual),
                                   ("audio_mask", audio_mask, audio)):
            if mask is None or not stream.shape[1]:
                mask = torch.ones(stream.shape[:2], device=stream.device)
            check_shape(name, mask, B=batch, length=stream.shape[1])
            masks.append(mask.bool())
        connected = self.connect(visual.to(like.dtype), audio.to(like.dtype), *masks, return_maps)
        return self.embed(input_ids, *connected[:2]), *connected

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None,
                labels: Tensor | None = None, turn_ids: Tensor | None = None, **media
                ) -> FavorOutput:
        """Compute the logits and the loss of prompts with answers.

        Args:
            input_ids, attention_mask: (B, L), tokens of prompts and answers.
            labels: (B, L), the token ids that count in the loss, -100 elsewhere.
            turn_ids: (B, L); if given, the turns of a conversation do not attend to one another
                (`language.isolate_turns_mask`).
            media: pixel_values (B, T_v, 3, H, W) or visual_features (B, T_v, V, D_v) with
                frame_mask (B, T_v); input_features (see `audio.encode_sound`) or audio_features
                (B, L, D_w) with audio_mask (B, C * S) or (B, L); question_ids and question_mask
                (B, Q); return_maps (bool). A missing stream is missing in all clips. A missing mask
                is True everywhere.

        Returns:
            FavorOutput; `loss` = cross_entropy + diversity_weight * diversity (paper, section 3.4).

        Raises:
            ValueError: a tensor has the wrong shape, the prompts do not fit their clips, or a
                stream is given both as media and as features.
        """
        embeds, queries, window_mask, maps = self.prepare(input_ids, **media)
        logits = self.language_model(
            inputs_embeds=embeds, use_cache=False, **language.attention_inputs(
                self.language_model, embeds, attention_mask, turn_ids)).logits
        loss = cross_entropy = diversity = None
        if queries is not None:
            loss_function = find("diversity", self.config.diversity)
            diversity = loss_function(queries.flatten(0, 1), window_mask.flatten())
        if labels is not None:
            loss = cross_entropy = F.cross_entropy(
                logits[:, :-1].float().transpose(1, 2), labels[:, 1:], ignore_index=-100)
            if diversity is not None:
                loss = cross_entropy + self.config.diversity_weight * diversity
        return FavorOutput(loss, logits, cross_entropy, diversity, queries, window_mask, maps)

    # Where the weights come from, and go.

    def save_pretrained(self, save_directory, **kwargs):
        """Save config and weights into a folder; arguments as usual."""
        super().save_pretrained(save_directory, **kwargs)
        share(save_directory)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load a saved model, with only the connector and LoRA trainable; arguments as usual."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.freeze()
        model.fill_generation_config()
        save_as_named(model)
        return loaded

    @classmethod
    def from_frozen(cls, config: FavorConfig, frozen: dict[str, nn.Module], seed: int | None = None
                    ) -> "FavorForConditionalGeneration":
        """Join frozen modules with an untrained connector and untrained LoRA, both float32.

        Args:
            config: its configs of the frozen parts must be those of the modules.
            frozen: modules by their names in `FROZEN`, such as another model's `frozen_modules()`.
                They are not copied. LoRA on the language model is replaced.
            seed: for `reset_trained`. None: draw from torch's global random stream.

        Returns:
            the model, in evaluation mode.
        """
        with torch.device("meta"):  # no memory for the frozen parts, which are replaced
            model = cls(config)
        device = next(frozen["language_model"].parameters()).device
        for name, module in frozen.items():
            setattr(model, name, module)
        with torch.random.fork_rng(), torch.device(device):
            connector = {name: model._new(name) for name in cls.CONNECTOR}
        for name, module in connector.items():
            setattr(model, name, module)
            model._init_weights(module)
        model.generation_config = GenerationConfig()
        model.fill_generation_config()
        llm = model.language_model
        language.add_lora(llm, config)
        language.lora_to_float32(llm)
        quantized = language.quantization(llm, (*cls.FROZEN[:2], *cls.CONNECTOR))
        if quantized:
            model.config.quantization_config = quantized
        model.freeze()
        if seed is not None:
            model.reset_trained(seed)
        return model.eval()

    @classmethod
    def from_parts(cls, audio: str, vision: str, language: str, *,
                   dtype: torch.dtype = torch.float32, **settings
                   ) -> "FavorForConditionalGeneration":
        """Join pretrained models with an untrained connector; arguments as in `load_pretrained`."""
        return cls.from_frozen(*load_pretrained(audio, vision, language, dtype, **settings))
