"""Wrong answers to the exercises of notebook 12."""

import math

import torch


def _part(name):
    return "LoRA" if "lora_" in name else name.split(".")[0]


def counting(part=_part, size=lambda p: p.numel(), learns=lambda p: p.requires_grad,
             finish=lambda total, trained: (total, trained)):
    """`count_parameters` with one of its parts exchanged."""
    def count_parameters(model):
        found = {}
        for name, p in model.named_parameters():
            total, trained = found.get(part(name), (0, 0))
            found[part(name)] = total + size(p), trained + size(p) * learns(p)
        return {name: finish(*pair) for name, pair in found.items()}

    return count_parameters


def no_last_window(seconds, frame_rate, window_frames, num_queries):
    return math.ceil(seconds * frame_rate) // window_frames * num_queries


def no_last_frame(seconds, frame_rate, window_frames, num_queries):
    return math.ceil(int(seconds * frame_rate) / window_frames) * num_queries


def windows_alone(seconds, frame_rate, window_frames, num_queries):
    return math.ceil(math.ceil(seconds * frame_rate) / window_frames)


def frames_alone(seconds, frame_rate, window_frames, num_queries):
    return math.ceil(seconds * frame_rate)


def for_each_frame(seconds, frame_rate, window_frames, num_queries):
    return math.ceil(seconds * frame_rate) * num_queries


def cut_down(seconds, frame_rate, window_frames, num_queries):
    return round(seconds * frame_rate / window_frames * num_queries)


def in_seconds(seconds, frame_rate, window_frames, num_queries):
    return math.ceil(seconds / window_frames) * num_queries


def always_one_more(seconds, frame_rate, window_frames, num_queries):
    return (math.ceil(seconds * frame_rate) // window_frames + 1) * num_queries


def remembering(size=lambda p: p.element_size(), of_all=lambda p: True,
                learns=lambda p: p.requires_grad, kept=lambda states: states):
    """`memory_of` with one of its parts exchanged."""
    def memory_of(model, states=2):
        weights = sum(p.numel() * size(p) for p in model.parameters() if of_all(p))
        gradients = sum(p.numel() * size(p) for p in model.parameters() if learns(p))
        return weights, gradients, kept(states) * gradients

    return memory_of


def costing(projections=4, products=2, operations=2):
    def attention_cost(length, width):
        return operations * (projections * length * width**2 + products * length**2 * width)

    return attention_cost


def swapped(length, width):
    return costing()(width, length)


def half_of_the_pairs(length, width):
    return 8 * length * width**2 + 4 * (length * (length + 1) // 2) * width


def _gradients(loss_of, weight, parts):
    return [torch.autograd.grad(loss_of(weight, part), weight)[0] for part in parts]


def summed(loss_of, weight, parts):
    return sum(_gradients(loss_of, weight, parts))


def averaged(loss_of, weight, parts):
    return sum(_gradients(loss_of, weight, parts)) / len(parts)


def last_one(loss_of, weight, parts):
    return _gradients(loss_of, weight, parts)[-1]


def one_missing(loss_of, weight, parts):
    rows = sum(map(len, parts))
    return sum(len(p) / rows * g for p,
               g in zip(parts[:-1], _gradients(loss_of, weight, parts)[:-1], strict=True))


def divided_twice(loss_of, weight, parts):
    return sum(g / len(p) for p, g in zip(parts, _gradients(loss_of, weight, parts), strict=True))


def multiplied_only(loss_of, weight, parts):
    return sum(len(p) * g for p, g in zip(parts, _gradients(loss_of, weight, parts), strict=True))


def the_loss(loss_of, weight, parts):
    return loss_of(weight, torch.cat(parts)).item()


WRONG = {
    "count_parameters": [
        (counting(part=lambda name: name.split(".")[0]), "part of its own"),
        (counting(size=lambda p: 1), "numel()"),
        (counting(learns=lambda p: True), "count as trainable"),
        (counting(finish=lambda total, trained: (trained, total)), "pair is swapped"),
        (counting(finish=lambda total, trained: (trained, trained)), "missing from the first"),
        (counting(finish=lambda total, trained: (total, trained / total)), "is a share")],
    "tokens_of_clip": [(no_last_window, "last window is lost"),
                       (no_last_frame, "last frame is lost"), (windows_alone, "number of windows"),
                       (frames_alone, "number of frames"), (for_each_frame, "for each *window*"),
                       (cut_down, "N is reduced"), (in_seconds, "frame rate is missing"),
                       (always_one_more, "do not add 1")],
    "memory_of": [(remembering(learns=lambda p: True), "need no gradient"),
                  (remembering(size=lambda p: 4), "bfloat16 takes 2"),
                  (remembering(size=lambda p: 1), "not bytes"),
                  (remembering(kept=lambda states: 2), "is not used"),
                  (remembering(of_all=lambda p: p.requires_grad), "take memory as well"),
                  (remembering(kept=lambda states: 1), "counted once")],
    "attention_cost": [(costing(operations=1), "double it"),
                       (costing(projections=0), "projections are missing"),
                       (costing(products=0), "L squared"),
                       (costing(projections=3), "output projection"),
                       (costing(products=1), "weighted sum of the values is missing"),
                       (swapped, "are swapped"), (half_of_the_pairs, "mask forbids")],
    "accumulate": [(summed, "not divided: the sum"), (averaged, "same weight"),
                   (last_one, "only the last"), (one_missing, "missing from the sum"),
                   (divided_twice, "mean already"), (multiplied_only, "not divided by all rows"),
                   (the_loss, "not the loss")]
}
