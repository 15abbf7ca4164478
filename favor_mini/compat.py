"""The few places that of the model rely on internals of transformers.

Each entry names the internal that it relies on and why no public interface serves.
`tests/test_compat.py` names the versions on which they were tested, and fails where one breaks.
"""

from torch import Tensor, nn
from transformers import PreTrainedModel

# The encoder of WhisperModel without its decoder. It has no public name.
from transformers.models.whisper.modeling_whisper import WhisperEncoder as WhisperEncoder


class PatchEmbedding(nn.Sequential):
    """Layers in place of InstructBLIP's patch embedding, which is one `nn.Conv2d`.

    Internal: `InstructBlipVisionEmbeddings.forward` casts the pixels to
    `patch_embedding.weight.dtype`. transformers has no option for another patch embedding.
    """

    @property
    def weight(self) -> Tensor:
        """The first layer's weight; its dtype is the one that the pixels are cast to."""
        return self[0].weight


class SdpaModel(PreTrainedModel):
    """A model whose modules can use PyTorch's `scaled_dot_product_attention`.

    Internal: without `_supports_sdpa`, `from_pretrained(..., attn_implementation="sdpa")` raises
    for a model, even if all its modules support it.
    """

    _supports_sdpa = True


def save_as_named(model: PreTrainedModel) -> None:
    """Let a loaded model with a quantized part be saved again.

    Internal: `save_pretrained` reverts the `_weight_conversions` of loading, and raises for those
    of bitsandbytes. The file's names are the model's own, so there is nothing to revert.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        model._weight_conversions = None
