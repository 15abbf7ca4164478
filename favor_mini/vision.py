"""Vision towers besides InstructBLIP's: BLIP-2's, and towers without a Q-Former."""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModel,
    Blip2PreTrainedModel,
    Blip2QFormerModel,
    Blip2VisionModel,
    InstructBlipPreTrainedModel,
)

# From its own module: in the oldest version allowed, `transformers` says that it needs torchvision.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from .encoders import FRAMES, VisualEncoder
from .families import POOLED, WITH_QFORMER
from .shapes import check_shape


class Blip2VisualEncoder(VisualEncoder):
    """BLIP-2's ViT and Q-Former. The Q-Former reads no question."""

    vision_class, qformer_class = Blip2VisionModel, Blip2QFormerModel

    def query_patches(self, patches: Tensor, question_ids: None = None, question_mask: None = None
                      ) -> Tensor:
        """The Q-Former: encoded patches (B * T, patches, D) to visual tokens (B * T, V, D_v)."""
        queries = self.query_tokens.expand(len(patches), -1, -1)  # [B * T, V, D_v]
        return self.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state


class PooledVisualEncoder(nn.Module):
    """A tower without a Q-Former: CLIP, SigLIP or DINOv2, with its patches averaged to V tokens.

    The last layer's patches lie on a grid, 14 x 14 for 224 pixels and patches of 16. Adaptive
    average pooling makes a grid of V tokens of it, 4 x 4 for V = 16, without parameters. A class
    token is dropped.

    Args:
        visual_tokens: V, a square number.
        image_size: pixels; the position embeddings are interpolated if the tower was trained with
            another size.
    """

    def __init__(self, vision_config, visual_tokens: int, image_size: int):
        super().__init__()
        self.vision_model = AutoModel.from_config(vision_config)
        self.side, self.image_size = isqrt(visual_tokens), image_size

    def forward(self, pixel_values: Tensor, question_ids: None = None, question_mask: None = None
                ) -> Tensor:
        """Frames (B, T, 3, H, W) to visual tokens (B, T, V, D_v). There is no question.

        Raises:
            ValueError: the frames do not have the encoder's size.
        """
        size = self.image_size
        check_shape("pixel_values", pixel_values, B=None, T=None, channels=3, H=size, W=size)
        frames = pixel_values.flatten(0, 1)  # [B * T, 3, H, W]
        tokens = torch.cat([self.pool(part) for part in frames.split(FRAMES)])
        return tokens.unflatten(0, pixel_values.shape[:2])

    def pool(self, frames: Tensor) -> Tensor:
        """Frames (n, 3, H, W) to tokens (n, V, D_v)."""
        config = self.vision_model.config
        other = {} if self.image_size == config.image_size else {"interpolate_pos_encoding": True}
        if config.model_type == "dinov2":  # it interpolates unasked
            other = {}
        grid = self.image_size // config.patch_size
        frames = frames.to(self.vision_model.dtype)
        tokens = self.vision_model(frames, **other).last_hidden_state  # [n, 1 + grid * grid, D_v]
        patches = tokens[:, -grid * grid :].transpose(1, 2).unflatten(2, (grid, grid))
        return F.adaptive_avg_pool2d(patches, self.side).flatten(2).transpose(1, 2)


class VisionTower:
    """A model with a Q-Former without its language model, to load the vision part alone."""

    _keys_to_ignore_on_load_unexpected = [r"^language_model", r"^language_projection"]

    def __init__(self, config):
        super().__init__(config)
        kind = QFORMER_ENCODERS[config.vision_config.model_type]
        self.vision_model = kind.vision_class(config.vision_config)
        self.qformer = kind.qformer_class(config.qformer_config)
        self.query_tokens = nn.Parameter(
            torch.zeros(1, config.num_query_tokens, config.qformer_config.hidden_size))
        self.post_init()


class InstructBlipVisionTower(VisionTower, InstructBlipPreTrainedModel):
    """InstructBLIP's."""


class Blip2VisionTower(VisionTower, Blip2PreTrainedModel):
    """BLIP-2's."""


QFORMER_ENCODERS = dict(zip(WITH_QFORMER, (VisualEncoder, Blip2VisualEncoder), strict=True))
TOWERS = {"instructblip": InstructBlipVisionTower, "blip-2": Blip2VisionTower}  # by model type


def build_visual_encoder(config) -> nn.Module:
    """The visual encoder of a `FavorConfig`, with random weights."""
    vision = config.vision_config
    if vision.model_type in POOLED:
        return PooledVisualEncoder(vision, config.visual_tokens, config.frame_size)
    return QFORMER_ENCODERS[vision.model_type](
        vision, config.visual_qformer_config, config.visual_tokens, config.conv_stem)


def image_settings(name: str, model_type: str) -> dict:
    """image_size, image_mean and image_std from the `preprocessor_config.json` of a vision model.

    Only these are used. Where the model's own processor cuts a square out of the middle, or resizes
    with bicubic interpolation, `FavorProcessor` resizes the whole frame to a square, bilinear with
    antialiasing: nothing at the sides is lost, and shapes are a little narrower.

    Args:
        model_type: of the vision config. InstructBLIP needs no such file: `ProcessorSettings` has
            its values.

    Raises:
        OSError: there is no such file.
        ValueError: the size is not that of a square.
    """
    try:
        read = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except OSError as error:
        if model_type == "instructblip_vision_model":
            return {}
        raise OSError(f"vision={name!r} holds no preprocessor_config.json with the size, mean and "
                      "standard deviation of its pictures; get this file from where the model is "
                      f"from ({error})") from error
    size = read.crop_size if getattr(read, "do_center_crop", False) else read.size
    width, height = (getattr(size, e, None) or getattr(size, "shortest_edge", None)
                     for e in ("width", "height"))
    if not width or width != height:
        raise ValueError(f"vision={name!r}: its preprocessor_config.json has the size {size}, "
                         "expected a square; pass a model for square pictures")
    # It computes (pixel * rescale_factor - mean) / std of pixels from 0 to 255, ours from 0 to 1.
    scale = 255 * read.rescale_factor if read.do_rescale else 255
    mean, std = (read.image_mean, read.image_std) if read.do_normalize else ([0.0] * 3, [1.0] * 3)
    rounded = [tuple(round(v / scale, 12) for v in values) for values in (mean, std)]
    return {"image_size": width, "image_mean": rounded[0], "image_std": rounded[1]}
