"""Exercises of notebook 12: counting parameters, tokens, memory and arithmetic, and gradients in pieces."""

import math

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...attention import AttentionBlock
from ...windows import num_windows
from ..exercise import Trial, exercise

NOTEBOOK = "12"


def count_parameters(model):
    """By part, how many parameters it has and how many of them learn: torch's named_parameters; LoRA is a part of its own."""
    found = {}
    for name, parameter in model.named_parameters():
        part = "LoRA" if "lora_" in name else name.split(".")[0]
        total, trained = found.get(part, (0, 0))
        found[part] = total + parameter.numel(), trained + parameter.numel() * parameter.requires_grad
    return found


def tokens_of_clip(seconds, frame_rate, window_frames, num_queries):
    """W * N: how many vectors a clip becomes, by the package's num_windows."""
    return num_windows(math.ceil(seconds * frame_rate), window_frames) * num_queries


def memory_of(model, states=2):
    """Bytes of weights, gradients and the optimiser's states, by torch's numel and element_size."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return weights, gradients, states * gradients


def attention_cost(length, width):
    """Floating point operations of one AttentionBlock over (1, length, width), counted by torch without computing anything."""
    block = AttentionBlock(width, heads=1).to("meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        block(torch.empty(1, length, width, device="meta"))
    return counter.get_total_flops()


def accumulate(loss_of, weight, parts):
    """The gradient of the mean over all rows of all parts, one part at a time, by torch's autograd."""
    rows = sum(map(len, parts))
    return sum(len(part) / rows * torch.autograd.grad(loss_of(weight, part), weight)[0] for part in parts)


@exercise("count_parameters", notebook=NOTEBOOK, answer=count_parameters, difficulty=1, minutes=8,
          goal="How large is each part of a model, and how much of it learns? A part is the first piece of a parameter's name; whatever has "
               "`lora_` in its name counts as the part `LoRA`, wherever it stands.",
          shapes="`model` -> a dict: part -> (number of parameters, number of those with `requires_grad`)",
          hints=("`model.named_parameters()` gives names such as `qformer.layers.0.norm.weight`; `name.split(\".\")[0]` is the part.",
                 "`numel()` counts the numbers in a tensor; add them up in a dict of pairs, the second one only where `requires_grad` holds."))
def _(t: Trial):
    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.eyes = nn.Sequential(nn.Linear(t.number(2, 4), t.number(5, 7)), nn.Linear(t.number(5, 7), 3))
            self.mouth = nn.ModuleDict({"word": nn.Linear(t.number(2, 4), t.number(8, 9)), "lora_A": nn.Linear(t.number(2, 4), 2, bias=False),
                                        "lora_B": nn.Linear(2, t.number(5, 7), bias=False)})
            self.bridge = nn.Linear(t.number(5, 9), t.number(2, 4))

    model = Toy()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("bridge"))
    if t.coins(1).item():
        model.bridge.bias.requires_grad_(False)

    def counted(part_of, size=lambda p: p.numel(), learns=lambda p: p.requires_grad):
        found = {}
        for name, p in model.named_parameters():
            total, trained = found.get(part_of(name), (0, 0))
            found[part_of(name)] = total + size(p), trained + size(p) * learns(p)
        return found

    def part(name):
        return "LoRA" if "lora_" in name else name.split(".")[0]

    expected = count_parameters(model)
    found = t.run(model)
    t.that(isinstance(found, dict), "expected a dict: part -> (number, number that learn)")
    t.same({str(k): v for k, v in found.items()}, expected, {
        "LoRA is counted with the language model that it sits in; give it a part of its own": counted(lambda name: name.split(".")[0]),
        "it counts tensors, not the numbers in them: use numel()": counted(part, lambda p: 1),
        "everything counts as learning; the second number is of those with requires_grad alone": counted(part, learns=lambda p: True),
        "the pair is the wrong way round: first all, then those that learn": {k: v[::-1] for k, v in expected.items()},
        "frozen ones are left out of the first number": {k: (v[1], v[1]) for k, v in expected.items()},
        "the share of what learns is asked for as a number of parameters": {k: (v[0], v[1] / v[0]) for k, v in expected.items()}},
        what="the count", tolerance=0)


@exercise("tokens_of_clip", notebook=NOTEBOOK, answer=tokens_of_clip, difficulty=2, minutes=8,
          goal="How many vectors does the language model get for a clip? A clip has a frame for every begun 1 / `frame_rate` seconds, a window for every "
               "begun `window_frames` frames, and `num_queries` vectors for each window, also for one that is mostly padding.",
          shapes="`seconds`, `frame_rate`, `window_frames` K, `num_queries` N -> a whole number",
          hints=("Round up twice: seconds to frames, frames to windows.",
                 "`math.ceil(seconds * frame_rate)` frames; `favor_mini.windows.num_windows(frames, K)` windows."))
def _(t: Trial):
    rate, frames_of_window, queries = t.number(2, 4), t.number(4, 7), t.number(8, 12)
    frames = frames_of_window * t.number(2, 5) + 2  # two frames in the last window, and one of them just begun
    seconds = (frames - 0.5) / rate
    found = t.run(seconds, rate, frames_of_window, queries)
    t.that(isinstance(found, int) and not isinstance(found, bool), "expected a whole number of vectors")
    windows = math.ceil(frames / frames_of_window)
    t.same(found, windows * queries, {
        "the last window is lost: it holds few frames, but N vectors come out of it all the same": (windows - 1) * queries,
        "that is the number of windows; each gives N vectors": windows,
        "that is the number of frames; windows of K frames become N vectors each": frames,
        "that is N for each frame; it is N for each *window*": frames * queries,
        "N is cut down in the last window; every window gives N vectors whole": round(seconds * rate / frames_of_window * queries),
        "the frame rate is left out: K counts frames, not seconds": math.ceil(seconds / frames_of_window) * queries},
        what="the number of vectors", tolerance=0)
    t.same(t.run((frames - 1.5) / rate, rate, frames_of_window, queries), windows * queries, {
        "the last frame is lost: a frame's time that has just begun has its picture. Round frames up": (windows - 1) * queries},
        what="where one frame of the last window has just begun, the number", tolerance=0)
    whole = frames_of_window * t.number(2, 4)
    t.same(t.run(whole / rate, rate, frames_of_window, queries), whole // frames_of_window * queries, {
        "a clip that fills its windows exactly needs no further one: round up, do not add 1": (whole // frames_of_window + 1) * queries},
        what="where the windows are full, the number", tolerance=0)


@exercise("memory_of", notebook=NOTEBOOK, answer=memory_of, difficulty=2, minutes=10,
          goal="What does training keep in memory besides activations? All weights; a gradient for each weight that *learns*; and the optimiser's "
               "states, `states` numbers (2 for AdamW) for each weight that learns. Each number takes as many bytes as its parameter's type says.",
          shapes="`model`, `states` -> (bytes of weights, of gradients, of states)",
          hints=("`p.numel() * p.element_size()` are a parameter's bytes: 4 a number in float32, 2 in bfloat16.",
                 "Sum that over all parameters; then over those with `requires_grad`; the third is `states` times the second."))
def _(t: Trial):
    model = nn.ModuleList([nn.Linear(t.number(3, 5), t.number(6, 8)), nn.Linear(t.number(6, 9), t.number(10, 12))])
    model[0].to(torch.bfloat16).requires_grad_(False)
    states = t.number(3, 4)
    numbers = [sum(p.numel() for p in part.parameters()) for part in model]
    weights, gradients, kept = memory_of(model, states)
    everything = 2 * numbers[0] + 4 * numbers[1]
    found = t.run(model, states)
    t.that(isinstance(found, tuple | list) and len(found) == 3, "expected three numbers: bytes of weights, of gradients, of states")
    t.same(tuple(found), (weights, gradients, kept), {
        "frozen weights need no gradient: count gradients and states for those that learn": (everything, everything, states * everything),
        "every number is counted with 4 bytes; bfloat16 takes 2. Ask `element_size()`": (4 * sum(numbers), gradients, kept),
        "these are numbers, not bytes: multiply by `element_size()`": (sum(numbers), numbers[1], states * numbers[1]),
        "the argument `states` is not used": (weights, gradients, 2 * gradients),
        "frozen weights take memory as well: the first number is of all of them": (gradients, gradients, kept),
        "the states are counted once; there are `states` of them to each weight that learns": (weights, gradients, gradients)},
        what="the memory", tolerance=0)
    t.same(tuple(t.run(model)), (weights, gradients, 2 * gradients), what="without `states` (AdamW's 2) the memory", tolerance=0)


@exercise("attention_cost", notebook=NOTEBOOK, answer=attention_cost, difficulty=3, minutes=12,
          goal="How much arithmetic is one self-attention block? Count the four projections (query, key, value, output), the scores and the weighted sum "
               "of the values, for L tokens of width D. A product of (a, b) with (b, c) takes 2 a b c operations. Leave out what is small: softmax, biases, "
               "LayerNorm. A mask changes nothing.",
          shapes="`length` L, `width` D -> a whole number of operations",
          hints=("Each projection is (L, D) times (D, D). The scores are (L, D) times (D, L), the weighted sum (L, L) times (L, D); heads only split D.",
                 "Four times 2 L D D, and twice 2 L L D. Or let torch count: `FlopCounterMode` around an `AttentionBlock` on the device `meta`."))
def _(t: Trial):
    length, width = t.number(5, 9), t.number(10, 16)
    exact = 8 * length * width**2 + 4 * length**2 * width
    found = t.run(length, width)
    t.that(isinstance(found, int | float) and not isinstance(found, bool), "expected a number of operations")
    t.same(found, exact, {
        "a multiplication and an addition are two operations: double it": exact // 2,
        "the projections are left out; they are most of it while L is below 2 D": 4 * length**2 * width,
        "scores and weighted sum are left out: the part that grows with L squared": 8 * length * width**2,
        "the output projection is missing: there are four": exact - 2 * length * width**2,
        "the weighted sum of the values is missing: (L, L) times (L, D)": exact - 2 * length**2 * width,
        "L and D have changed places": 8 * width * length**2 + 4 * width**2 * length,
        "the mask forbids about half of the pairs, but they are computed all the same": 8 * length * width**2 + 2 * length * (length + 1) * width},
        what="the number of operations", tolerance=0)


@exercise("accumulate", notebook=NOTEBOOK, answer=accumulate, difficulty=4, minutes=15,
          goal="A batch too large for memory is taken in parts, and their gradients are added up. `loss_of(weight, part)` is the *mean* loss over the rows "
               "of a part. Return the gradient of the mean over *all* rows. Parts may differ in length.",
          shapes="`loss_of(weight, part)` -> scalar; `weight` with `requires_grad`, `parts` a list of tensors (rows, ...) -> gradient like `weight`",
          hints=("The mean over all rows is a weighted mean of the parts' means. What are the weights?",
                 "`len(part) / rows` times `torch.autograd.grad(loss_of(weight, part), weight)[0]`, summed over the parts; `rows` is the sum of all lengths."))
def _(t: Trial):
    width, lengths = t.number(3, 5), (t.number(2, 3), t.number(5, 6), t.number(8, 9))
    weight = t.randn(width).requires_grad_()
    parts = [t.randn(n, width) for n in lengths]

    def loss_of(weight, part):
        return (part @ weight).tanh().square().mean()

    gradients = [torch.autograd.grad(loss_of(weight, part), weight)[0] for part in parts]
    rows = sum(lengths)
    together = torch.autograd.grad(loss_of(weight, torch.cat(parts)), weight)[0]
    found = t.run(loss_of, weight, parts)
    t.that(isinstance(found, torch.Tensor), "expected the gradient, a tensor like `weight` (not the loss)")
    t.same(found, together, {
        "the gradients are summed, but not divided: the steps would be as many times too large as there are parts": sum(gradients),
        "every part counts alike; a part of more rows must count for more": sum(gradients) / len(parts),
        "only the last part's gradient is left: add them up": gradients[-1],
        "the parts' shares are right, the last part's gradient is missing from the sum":
            sum(n / rows * g for n, g in zip(lengths[:-1], gradients[:-1], strict=True)),
        "a part of *fewer* rows counts for more: the share is its rows over all rows":
            sum(1 / n * g for n, g in zip(lengths, gradients, strict=True)) / sum(1 / n for n in lengths),
        "each part is divided by its own rows once more; its loss is a mean already": sum(g / n for n, g in zip(lengths, gradients, strict=True)),
        "each part is multiplied by its rows, but the sum is not divided by all rows": sum(n * g for n, g in zip(lengths, gradients, strict=True)),
        "it goes up, not down: the sign is turned": -together},
        what="the gradient", tolerance=1e-5)
