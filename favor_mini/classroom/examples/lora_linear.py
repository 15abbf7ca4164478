"""A twin of `lora_linear`: rank-stabilised LoRA (rsLoRA), with the factor alpha / sqrt(r)."""

from math import sqrt

from favor_mini.classroom.twins import Twin


def twin() -> Twin:
    def scaled(factor):
        def linear(x, weight, bias, A, B, alpha):
            return x @ weight.T + bias + factor(alpha, len(A)) * (x @ A.T @ B.T)

        return linear

    def lora_linear(x, weight, bias, A, B, alpha):
        """n inputs -> n outputs, through the frozen map and rank-stabilised LoRA."""
        return x @ weight.T + bias + alpha / sqrt(len(A)) * (x @ A.T @ B.T)

    text = ("One linear map with *rank-stabilised* LoRA (rsLoRA): the output of the frozen map, "
            "plus alpha / sqrt(r) times the output of the two low-rank ones, so that the update "
            "does not shrink as the rank r grows. A gives r.")
    return Twin(lora_linear, text, {
        "this is LoRA's factor alpha / r; rsLoRA divides by the root of r":
            scaled(lambda alpha, r: alpha / r),
        "the factor is the root of alpha / r; only r is under the root":
            scaled(lambda alpha, r: sqrt(alpha / r)),
        "the factor is alpha alone; divide by the root of r": scaled(lambda alpha, r: alpha),
        "the factor alpha / sqrt(r) is missing": scaled(lambda alpha, r: 1.0),
        "LoRA is missing: this is the frozen map alone": scaled(lambda alpha, r: 0.0)},
        example="lora_linear(torch.ones(1, 2), torch.eye(2), torch.zeros(2), torch.ones(4, 2), "
                "torch.ones(2, 4), 1.0)")
