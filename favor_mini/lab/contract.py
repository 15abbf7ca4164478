"""The contract of each slot: checks that a registered part must pass, on random tensors.

    check("attention", "block_causal")

Causality is measured: change one frame, and see which frames' encodings change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..config import FavorConfig
from ..model import FavorForConditionalGeneration
from ..qformer import CausalQFormer
from ..registry import part
from ..windows import num_windows
from .measure import (
    D_A,
    D_V,
    FRAMES,
    WIDTH,
    A,
    Check,
    K,
    N,
    V,
    check_batch,
    check_causal,
    check_finite,
    check_none,
    check_same,
    check_shape,
    check_uses,
    distance_of,
    measure_receptive_field,
    noise,
)


@dataclass
class Report:
    """All checks of a part.

    receptive_field: (frames, frames) bool, [i, j]: does the encoding of frame i change when frame j
        is changed? For windows: do the two frames share a window? None for the diversity loss.
    """

    slot: str
    name: str
    about: str
    all: list[Check] = field(default_factory=list)
    receptive_field: np.ndarray | None = None

    @property
    def ok(self) -> bool:
        return all(c.passed for c in self.all)

    @property
    def broken(self) -> list[str]:
        """The checks that failed."""
        return [str(c) for c in self.all if not c.passed]

    def __str__(self) -> str:
        lines = [f"{self.slot} {self.name!r}: {self.about}", *map(str, self.all)]
        if (square := self.receptive_field) is not None:
            lines += [
                "frames that share a window" if self.slot == "windows" else "temporal receptive "
                "field (row: encoded frame, column: changed frame, #: the encoding changes)",
                "    " + " ".join(f"{j + 1:>2}" for j in range(len(square))),
                *(f"{i:>4} " + "  ".join(".#"[int(changed)] for changed in row)
                  for i, row in enumerate(square, 1))]
        return "\n".join(lines)


def check(slot: str, name: str, show: bool = True) -> Report:
    """Run a registered part through the contract of its slot; print the report, and return it.

    Raises:
        ValueError: no part has that name.
    """
    tested = part(slot, name)
    report = Report(slot, name, tested.about)
    state = torch.random.get_rng_state()
    try:
        for result in CONTRACTS[slot](tested, report):
            report.all.append(result)
        report.all.append(_in_the_model(slot, name))
    except Exception as error:  # any error of the part is a failed check
        report.all.append(Check("runs", False, f"{type(error).__name__}: {error}"))
    finally:
        torch.random.set_rng_state(state)
    if show:
        print(report)
    return report


# The contracts, one per slot.


def _sync(tested, report: Report) -> Iterator[Check]:
    def run(visual, audio, *masks):
        masks = masks or [torch.ones(x.shape[:2], dtype=torch.bool) for x in (visual, audio)]
        return tested.make(visual, audio, *masks, audio_tokens=A)

    def steps_of(visual, audio):
        return run(visual, audio)[0]

    visual, audio = noise(2, FRAMES, V, D_V), noise(2, FRAMES * A, D_A, seed=1)
    steps, real = run(visual, audio)
    yield from check_batch(steps_of, visual, audio)
    yield check_shape("steps (B, T, P, D)", steps, (2, FRAMES, *steps.shape[2:]), torch.float64)
    yield check_shape("mask of real steps (B, T)", real, (2, FRAMES), torch.bool)
    for what, seen, heard in (
            ("sound shorter than the picture", FRAMES, 3 * A - 1),
            ("picture shorter than the sound", 3, FRAMES * A),
            ("no picture", 0, FRAMES * A), ("no sound", FRAMES, 0)):
        yield check_shape(what, steps_of(visual[:, :seen], audio[:, :heard]), tuple(steps.shape))
    visual, audio, short = visual[:1], audio[:1], 5
    frames, heard = (torch.arange(n * FRAMES)[None] < n * short for n in (1, A))
    padded, real = run(visual * frames[..., None, None], audio * heard[..., None], frames, heard)
    yield Check("padding is not real", real.tolist() == frames.tolist())
    yield check_same("padding after a clip changes nothing in it", padded[:, :short],
                     steps_of(visual[:, :short], audio[:, : short * A]))
    of_picture = measure_receptive_field(lambda x: steps_of(x, audio), visual)
    of_sound = measure_receptive_field(
        lambda x: steps_of(visual, x.flatten(1, 2)), audio.unflatten(1, (FRAMES, A)))
    yield check_uses("every frame of the picture", of_picture)
    yield check_uses("every time step of the sound", of_sound)
    report.receptive_field = of_picture | of_sound
    yield check_causal(tested.causal, report.receptive_field)


def _windows(tested, report: Report) -> Iterator[Check]:
    def run(num_frames, length):
        """Windows [W, K, P] of tokens with the value 10 x frame number + token; mask [W, K]."""
        tokens = torch.arange(1.0, length + 1)[:, None] * 10 + torch.arange(A)  # [T, P]
        mask = torch.arange(length) < num_frames
        windows, real = tested.make((tokens * mask[:, None])[None, ..., None], mask[None], K)
        return windows.unflatten(1, (K, -1))[..., 0], real

    shared = report.receptive_field = np.zeros((FRAMES + 3, FRAMES + 3), bool)
    for length in (1, K - 1, K, K + 1, 2 * K, FRAMES + 3):
        windows, real = run(length, length)
        numbers = (windows[..., 0] // 10).long()  # [W, K], 0 where padded
        tokens = torch.arange(float(A)).expand_as(windows) * (numbers > 0)[..., None]
        held = [n[r] for n, r in zip(numbers, real, strict=True)]
        where = f"{length} frames in windows of {K}: "
        yield check_shape(f"{where}windows (B * W, K * P, D) and mask (B * W, K)", real,
                          (len(windows), K), torch.bool)
        yield Check(f"{where}a frame's tokens stay together, in their order",
                    torch.equal(windows % 10, tokens))
        yield check_none(f"{where}every frame is in some window",
                         sorted({*range(1, length + 1)} - {*numbers[real].tolist()}), "lost:")
        yield check_none(f"{where}the mask marks the real frames",
                         (real != (numbers > 0)).nonzero().tolist(), "wrong at (window, frame)")
        yield Check(f"{where}frames are consecutive, in time order",
                    all((frames.diff() == 1).all() for frames in held))
        for frames in held:
            shared[np.ix_(frames - 1, frames - 1)] = True
    short, long = (windows[real.any(1)]
                   for windows, real in (run(K + 1, length) for length in (K + 1, 3 * K)))
    yield check_same("padding after a clip changes nothing in it", long, short)
    mask = torch.arange(K + 2)[None] < torch.tensor([[K + 2], [2], [K]])
    steps = noise(3, K + 2, A, D_V) * mask[..., None, None]
    yield from check_batch(lambda x, m: tested.make(x, m, K)[0], steps, mask)
    masks = [tested.make(*clip, K)[1] for clip in zip(steps.split(1), mask.split(1), strict=True)]
    yield Check("the mask of a batch equals those of its clips",
                torch.equal(tested.make(steps, mask, K)[1], torch.cat(masks)))


def _build(make, **changes) -> torch.nn.Module:
    """A small connector in float64 with random numbers in every parameter."""
    torch.manual_seed(0)
    connector = make(
        input_width=D_V + D_A, window_frames=K, step_tokens=A, num_queries=N, width=WIDTH,
        layers=2, heads=2, hidden=12, dropout=0.0, **changes)
    for number, parameter in enumerate(connector.parameters()):
        parameter.data = 0.4 * noise(*parameter.shape, seed=number)
    return connector.double().eval()


def _inside_a_window(connector, declared: bool | None, report: Report) -> Iterator[Check]:
    """Receptive field and padding of the inputs that the queries attend to, layer by layer."""
    def encoded(steps, mask) -> list[Tensor]:  # one (1, K, P * D) per layer
        maps = connector(steps.flatten(1, 2), mask, True)[1]
        return [e.unflatten(1, (K, -1)).flatten(2) for e in maps.encoded] if maps else []

    steps, real = noise(1, K, A, D_V + D_A), torch.ones(1, K, dtype=torch.bool)
    other, mask = steps.clone(), (torch.arange(K) < K - 2)[None]
    other[~mask] += 3 * noise(2, A, D_V + D_A, seed=5)
    layers = range(len(encoded(steps, real)))
    if declared and not layers:
        yield Check(
            "declared causal", False, "it cannot be measured. Fix: with return_maps=True return "
            "AttentionMaps whose `encoded` holds the inputs that the queries attend to, one "
            "(B * W, K * P, D) per layer")
    report.receptive_field = np.zeros((K, K), bool) if layers else None
    for i in layers:
        square = measure_receptive_field(lambda x, i=i: encoded(x, real)[i], steps)
        report.receptive_field |= square
        yield check_causal(declared, square, f" (layer {i + 1})")
        yield check_same(f"the content of padded frames changes no real frame (layer {i + 1})",
                         *(encoded(x, mask)[i][mask] for x in (steps, other)))
    yield check_same("the content of padded frames changes no query",
                     *(connector(x.flatten(1, 2), mask)[0] for x in (steps, other)))


def _attention(tested, report: Report) -> Iterator[Check]:
    for frames, tokens in ((K, A), (1, 3), (3, 1)):
        mask = tested.make(frames, tokens)
        yield check_shape(f"mask for {frames} frames of {tokens} tokens", mask,
                          (frames * tokens,) * 2, torch.bool)
        blind = (~mask.diagonal()).nonzero().flatten() // tokens + 1
        yield check_none("every token attends to itself", blind.unique().tolist(), "not in frame")
    connector = _build(CausalQFormer, attention=tested.name)
    yield check_finite("the queries are", connector(noise(2, K * A, D_V + D_A),
                                                    torch.ones(2, K, dtype=torch.bool))[0])
    yield from _inside_a_window(connector, tested.causal, report)


def _connector(tested, report: Report) -> Iterator[Check]:
    connector = _build(tested.make)
    windows, mask = noise(3, K * A, D_V + D_A), torch.ones(3, K, dtype=torch.bool)
    mask[2, 2:] = False
    queries = connector(windows, mask)[0]
    yield check_shape("queries (B * W, N, width)", queries, (3, N, WIDTH), torch.float64)
    yield check_finite("the queries are", queries)
    yield check_same("return_maps changes no query", queries, connector(windows, mask, True)[0])
    yield from _inside_a_window(connector, tested.causal, report)
    yield check_uses("every frame", measure_receptive_field(
        lambda x: connector(x.flatten(1, 2), mask[:1])[0], windows[:1].unflatten(1, (K, A))))
    (connector(windows, mask)[0] * noise(3, N, WIDTH, seed=9)).sum().backward()
    yield check_none("the gradient reaches every parameter",
                     [name for name, p in connector.named_parameters()
                      if p.grad is None or not p.grad.any()], "not")
    yield Check("has reset_parameters()", hasattr(connector, "reset_parameters"),
                "the model calls it to initialise the weights")
    yield from check_batch(
        lambda x, m: connector.to(x.dtype)(x, m)[0], windows, mask, what="windows")


def _diversity(tested, report: Report) -> Iterator[Check]:
    loss, queries, real = tested.make, noise(3, N, WIDTH), torch.tensor([True, False, True])
    value = loss(queries, real)
    yield check_shape("a scalar", value, ())
    for what, other in (
            ("padded windows do not count", loss(queries[real], None)),
            ("the order of the queries does not count", loss(queries.flip(1), real)),
            ("the order of the windows does not count", loss(queries.flip(0), real.flip(0)))):
        yield check_same(what, value, other, within=1e-6)
    yield check_finite("without a real window, and for a single query, the loss is",
                       loss(queries, torch.zeros_like(real)), loss(queries[:, :1], real))
    equal, orthogonal = loss(queries[:, :1].expand(-1, N, -1)), loss(torch.eye(N, WIDTH)[None])
    if tested.constant:
        yield Check("declared constant", bool(equal == orthogonal), f"{equal.item():.3f}")
    else:
        yield Check("equal queries cost more than orthogonal ones", bool(equal > orthogonal),
                    f"{equal.item():.3f}, {orthogonal.item():.3f}")
    leaf = queries.clone().requires_grad_()
    loss(leaf, real).backward()
    reached = leaf.grad[real].abs().sum(-1) > 0
    yield Check("the gradient reaches every query of a real window, and no other",
                bool((reached.all() or tested.constant) and not leaf.grad[~real].any()))


CONTRACTS = {"sync": _sync, "windows": _windows, "attention": _attention, "connector": _connector,
             "diversity": _diversity}


def _in_the_model(slot: str, name: str) -> Check:
    """In a whole mini model, the logits of a padded batch equal those of its clips one by one."""
    torch.manual_seed(0)
    config = FavorConfig.mini(64, **{slot: name})
    model = FavorForConditionalGeneration(config).eval()
    visual = torch.randn(4, 11, config.visual_tokens, config.visual_width)
    audio = torch.randn(4, 11 * config.audio_tokens, config.audio_hidden)
    clips, masks = [], {"input_ids": "attention_mask", "visual_features": "frame_mask",
                        "audio_features": "audio_mask"}
    for i, (seen, heard) in enumerate([(11, 11), (7, 9), (0, 6), (10, 0)]):  # time steps
        windows = num_windows(max(seen, heard), config.window_frames, config.windows)
        ids = [config.placeholder_id] * windows * config.num_queries + [9, 10]  # and a question
        clip = {"input_ids": torch.tensor(ids), "visual_features": visual[i, :seen],
                "audio_features": audio[i, : heard * config.audio_tokens]}
        clips.append(clip | {masks[key]: torch.ones(len(x)).bool() for key, x in clip.items()})

    @torch.no_grad()
    def logits(*clips):
        batch = {key: pad_sequence(
            [clip[key] for clip in clips], batch_first=True,
            padding_side="left" if key in ("input_ids", "attention_mask") else "right")
            for key in clips[0]}
        return model(**batch).logits[:, -1]

    together, alone = logits(*clips), torch.cat([*map(logits, clips)])
    distance, spread = distance_of(together, alone), alone.std().item()
    return Check("in the mini model, a padded batch equals its clips one by one",
                 distance < 1e-3 * spread,
                 f"largest difference of the logits {distance:.1e}, their spread {spread:.1e}")
