"""The few places that rely on internals of transformers; everywhere else the package uses public interfaces.

Each entry says which internal it relies on, why no public interface serves, and what breaks without it.
`tests/test_compat.py` names the versions on which each one was seen to work and fails where it no longer does.
"""

from torch import Tensor, nn


class PatchEmbedding(nn.Sequential):
    """Layers in place of InstructBLIP's patch embedding, which is one `nn.Conv2d`.

    Internal: `InstructBlipVisionEmbeddings.forward` casts the pixels to `patch_embedding.weight.dtype`.
    transformers has no option for another patch embedding.
    """

    @property
    def weight(self) -> Tensor:
        """The first layer's weight; its dtype is the one that the pixels are cast to."""
        return self[0].weight
