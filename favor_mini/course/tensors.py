"""What a trial asks of tensors beyond their values: that gradients flow, in any memory layout."""

import torch
from torch import Tensor

from .trial import Mistake, Trial

LOST = ("the value is correct, but its gradient is lost: no training step could reach {}. Use "
        "torch operations only, without `.item()`, `torch.tensor(...)`, `.detach()`, `.data`, "
        "numpy or `no_grad`")


def check_gradients(t: Trial, args: tuple, trained: dict[int, str],
                    suspects: dict | None = None) -> None:
    """Compare the gradients of the attempt's result with those of the package's answer.

    Args:
        trained: which arguments are trained, by place: {0: "the queries"}.
        suspects: message -> a function that makes this mistake.
    """
    weights = t.randn(*t.answer(*args).shape)  # of the sum whose gradient is compared

    for place, name in trained.items():
        def slope(function, *args, place=place):
            """The gradient with respect to one argument, or why there is none."""
            given = args[place].detach().clone().requires_grad_()
            found = function(*args[:place], given, *args[place + 1 :])
            if not isinstance(found, Tensor) or found.shape != weights.shape:
                return "changed"
            if not found.requires_grad:
                return "lost"
            (found,) = torch.autograd.grad((found * weights).sum(), given, allow_unused=True)
            return "lost" if found is None else found

        def attempted(*args, slope=slope):
            return slope(t.attempt, *args)

        attempted.forward = t.attempt  # so that an error is reported with the learner's own line
        with torch.enable_grad():
            found = t.call(attempted, *args)
            t.require(not isinstance(found, str) or found == "lost",
                      f"where {name} need a gradient, the result is of another kind or shape")
            t.require(isinstance(found, Tensor), LOST.format(name))
            wrong = {text: slope(one, *args) for text, one in (suspects or {}).items()}
            t.compare(found, slope(t.answer, *args), wrong,
                      f"the value is correct, but its gradient with respect to {name}")


def check_layouts(t: Trial, *args, **kwargs) -> None:
    """Check the attempt on the same numbers in other memory layouts, as slices have them."""
    layouts = {"not contiguous, such as `x.transpose(0, 1)`": _transposed,
               "part of a larger one, such as `x[:, :-1]`": _part,
               "expanded, so that its rows share their memory": _expanded}
    for name, change in layouts.items():
        given = tuple(change(x) if isinstance(x, Tensor) and x.ndim else x for x in args)
        try:
            t.check(given, **kwargs)
        except Mistake as mistake:
            t.check(tuple(x.contiguous() if isinstance(x, Tensor) else x for x in given), **kwargs)
            raise Mistake(f"given a tensor that is {name}: {mistake}. Use `reshape` or `flatten` "
                          "instead of `view`, and do not rely on how the numbers lie in memory"
                          ) from None


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def _part(x: Tensor) -> Tensor:
    larger = x.new_zeros([size + 1 for size in x.shape])
    inner = larger[tuple(slice(1, None) for _ in x.shape)]
    inner.copy_(x)
    return inner


def _expanded(x: Tensor) -> Tensor:
    """All rows equal to the first, of floats only: indices keep their meaning."""
    return x[:1].expand(x.shape) if x.is_floating_point() else x
