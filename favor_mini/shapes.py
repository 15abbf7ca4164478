"""Check the shape of a tensor and say what was expected."""

from torch import Tensor


def check_shape(name: str, tensor: Tensor, **axes: int | None) -> None:
    """Check that a tensor has these axes, in this order; None allows any size.

    Raises:
        ValueError: the number of axes or the size of one differs.
    """
    sizes, wanted = tuple(tensor.shape), tuple(axes.values())
    if len(sizes) != len(wanted) or any(
            want not in (None, size) for size, want in zip(sizes, wanted, strict=True)):
        expected = ", ".join(axis if n is None else f"{axis}={n}" for axis, n in axes.items())
        raise ValueError(f"{name} must be ({expected}), found {sizes}; FavorProcessor builds it "
                         "with the model's sizes")
