"""The few places that rely on internals of transformers; the rest uses public interfaces only.

Each entry names the internal that it relies on and why no public interface serves.
`tests/test_compat.py` names the versions on which they were tested, and fails where one breaks.
"""

from torch import Tensor, nn


class PatchEmbedding(nn.Sequential):
    """Layers in place of InstructBLIP's patch embedding, which is one `nn.Conv2d`.

    Internal: `InstructBlipVisionEmbeddings.forward` casts the pixels to
    `patch_embedding.weight.dtype`. transformers has no option for another patch embedding.
    """

    @property
    def weight(self) -> Tensor:
        """The first layer's weight; its dtype is the one that the pixels are cast to."""
        return self[0].weight
