"""Exercises of notebook 12: counting parameters, tokens, memory, operations; accumulation."""

import math

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...attention import AttentionBlock
from ...windows import num_windows
from ..exercise import Trial, exercise


def count_parameters(model):
    """By part, (all parameters, trainable ones), from torch's named_parameters."""
    found = {}
    for name, parameter in model.named_parameters():
        part = "LoRA" if "lora_" in name else name.split(".")[0]
        total, trained = found.get(part, (0, 0))
        size = parameter.numel()
        found[part] = total + size, trained + size * parameter.requires_grad
    return found


def tokens_of_clip(seconds, frame_rate, window_frames, num_queries):
    """W * N, the number of vectors of a clip, by the package's num_windows."""
    return num_windows(math.ceil(seconds * frame_rate), window_frames) * num_queries


def memory_of(model, states=2):
    """Bytes of weights, gradients and optimizer states, by torch's numel and element_size."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return weights, gradients, states * gradients


def attention_cost(length, width):
    """Operations of one AttentionBlock over (1, length, width), counted by torch on `meta`."""
    block = AttentionBlock(width, heads=1).to("meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        block(torch.empty(1, length, width, device="meta"))
    return counter.get_total_flops()


def accumulate(loss_of, weight, parts):
    """The gradient of the mean over all rows, one part at a time, by torch's autograd."""
    rows = sum(map(len, parts))
    return sum(len(part) / rows * torch.autograd.grad(loss_of(weight, part), weight)[0]
               for part in parts)


@exercise(count_parameters)
def _(t: Trial):
    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.vision = nn.Sequential(nn.Linear(t.integer(2, 4), t.integer(5, 7)),
                                        nn.Linear(t.integer(5, 7), 3))
            self.language = nn.ModuleDict({
                "word": nn.Linear(t.integer(2, 4), t.integer(8, 9)),
                "lora_A": nn.Linear(t.integer(2, 4), 2, bias=False),
                "lora_B": nn.Linear(2, t.integer(5, 7), bias=False)})
            self.bridge = nn.Linear(t.integer(5, 9), t.integer(2, 4))

    model = Toy()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("bridge"))
    if t.bernoulli(1).item():
        model.bridge.bias.requires_grad_(False)

    def prefix(name):
        return name.split(".")[0]

    def part(name):
        return "LoRA" if "lora_" in name else prefix(name)

    def counted(part_of, size=lambda p: p.numel(), trains=lambda p: p.requires_grad):
        found = {}
        for name, p in model.named_parameters():
            total, trained = found.get(part_of(name), (0, 0))
            found[part_of(name)] = total + size(p), trained + size(p) * trains(p)
        return found

    expected = count_parameters(model)
    found = t.run(model)
    t.require(isinstance(found, dict), "expected a dict: part -> (number, trainable ones)")
    t.compare({str(k): v for k, v in found.items()}, expected, {
        "LoRA is counted with the language model; give it a part of its own": counted(prefix),
        "this counts tensors, not the numbers in them: use numel()": counted(part, lambda p: 1),
        "all parameters count as trainable; the second number is of those with requires_grad only":
            counted(part, trains=lambda p: True),
        "the pair is swapped: first all, then the trainable ones":
            {k: v[::-1] for k, v in expected.items()},
        "frozen ones are missing from the first number":
            {k: (v[1], v[1]) for k, v in expected.items()},
        "the second number is a share; return the number of trainable parameters":
            {k: (v[0], v[1] / v[0]) for k, v in expected.items()}}, "the count", tolerance=0)


@exercise(tokens_of_clip)
def _(t: Trial):
    rate, frames_of_window, queries = t.integer(2, 4), t.integer(4, 7), t.integer(8, 12)
    frames = frames_of_window * t.integer(2, 5) + 2  # two in the last window, one just begun
    seconds = (frames - 0.5) / rate
    sizes = rate, frames_of_window, queries
    t.require_integer(t.run(seconds, *sizes), "expected an integer, the number of vectors")
    windows = math.ceil(frames / frames_of_window)
    t.check((seconds, *sizes), {
        "the last window is lost: it has few frames, but N vectors all the same":
            (windows - 1) * queries,
        "this is the number of windows; each gives N vectors": windows,
        "this is the number of frames; windows of K frames become N vectors each": frames,
        "this is N for each frame; it is N for each *window*": frames * queries,
        "N is reduced in the last window; every window gives N vectors":
            round(seconds * rate / frames_of_window * queries),
        "the frame rate is missing: K counts frames, not seconds":
            math.ceil(seconds / frames_of_window) * queries}, "the number of vectors", tolerance=0)
    t.check(((frames - 1.5) / rate, *sizes), {
        "the last frame is lost: a frame that has just begun counts. Round frames up":
            (windows - 1) * queries},
        "where one frame of the last window has just begun, the number", tolerance=0)
    full = t.integer(2, 4)
    t.check((full * frames_of_window / rate, *sizes), {
        "a clip that fills its windows exactly needs no further one: round up, do not add 1":
            (full + 1) * queries}, "where the windows are full, the number", tolerance=0)


@exercise(memory_of)
def _(t: Trial):
    model = nn.ModuleList([nn.Linear(t.integer(3, 5), t.integer(6, 8)),
                           nn.Linear(t.integer(6, 9), t.integer(10, 12))])
    model[0].to(torch.bfloat16).requires_grad_(False)
    states = t.integer(3, 4)
    frozen, trained = (sum(p.numel() for p in part.parameters()) for part in model)
    weights, gradients, kept = memory_of(model, states)
    found = t.run(model, states)
    t.require_tuple(found, 3, "expected three numbers: bytes of weights, of gradients, of states")
    t.compare(tuple(found), (weights, gradients, kept), {
        "frozen weights need no gradient: count gradients and states of trainable weights only":
            (weights, weights, states * weights),
        "every number counts 4 bytes; bfloat16 takes 2. Use `element_size()`":
            (4 * (frozen + trained), gradients, kept),
        "these are numbers, not bytes: multiply by `element_size()`":
            (frozen + trained, trained, states * trained),
        "the argument `states` is not used": (weights, gradients, 2 * gradients),
        "frozen weights take memory as well: the first number is of all of them":
            (gradients, gradients, kept),
        "the states are counted once; there are `states` of them for each trainable weight":
            (weights, gradients, gradients)}, "the memory", tolerance=0)
    t.check((model,), what="without `states` (AdamW's 2) the memory", tolerance=0)


@exercise(attention_cost)
def _(t: Trial):
    length, width = t.integer(5, 9), t.integer(10, 16)
    projection, product = 2 * length * width**2, 2 * length**2 * width
    exact = 4 * projection + 2 * product
    found = t.run(length, width)
    t.require(isinstance(found, int | float) and not isinstance(found, bool),
              "expected a number of operations")
    t.compare(found, exact, {
        "a multiplication and an addition are two operations: double it": exact // 2,
        "the projections are missing; they are most of it while L is below 2 D": 2 * product,
        "scores and weighted sum are missing: the part that grows with L squared": 4 * projection,
        "the output projection is missing: there are four": exact - projection,
        "the weighted sum of the values is missing: (L, L) times (L, D)": exact - product,
        "L and D are swapped": 8 * width * length**2 + 4 * width**2 * length,
        "the mask forbids about half of the pairs, but they are computed all the same":
            4 * projection + 2 * length * (length + 1) * width},
        "the number of operations", tolerance=0)


@exercise(accumulate)
def _(t: Trial):
    width, lengths = t.integer(3, 5), (t.integer(2, 3), t.integer(5, 6), t.integer(8, 9))
    weight = t.randn(width).requires_grad_()
    parts = [t.randn(n, width) for n in lengths]

    def loss_of(weight, part):
        return (part @ weight).tanh().square().mean()

    gradients = [torch.autograd.grad(loss_of(weight, part), weight)[0] for part in parts]

    def weighted(of_length):
        return sum(of_length(n) * g for n, g in zip(lengths, gradients, strict=True))

    rows = sum(lengths)
    together = torch.autograd.grad(loss_of(weight, torch.cat(parts)), weight)[0]
    found = t.run(loss_of, weight, parts)
    t.require(isinstance(found, torch.Tensor),
              "expected the gradient, a tensor like `weight` (not the loss)")
    t.compare(found, together, {
        "the gradients are summed, but not divided: the sum grows with the number of parts":
            sum(gradients),
        "every part has the same weight; a part of more rows must count for more":
            sum(gradients) / len(parts),
        "this is only the last part's gradient: add them up": gradients[-1],
        "the parts' weights are correct, but the last part's gradient is missing from the sum":
            weighted(lambda n: n / rows) - lengths[-1] / rows * gradients[-1],
        "a part of *fewer* rows counts for more: the weight is its rows over all rows":
            weighted(lambda n: 1 / n) / sum(1 / n for n in lengths),
        "each part is divided by its own rows once more; its loss is a mean already":
            weighted(lambda n: 1 / n),
        "each part is multiplied by its rows, but the sum is not divided by all rows":
            weighted(lambda n: n),
        "the sign is wrong: this would go uphill": -together}, "the gradient", tolerance=1e-5)
