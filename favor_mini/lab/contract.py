"""A contract for registered parts: what each slot promises, tried out on random numbers, and how far back and forth it reaches.

    check("attention", "block_causal")

Nothing is taken on trust: causality is measured by changing one frame and looking which other frames' encodings move.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..config import FavorConfig
from ..model import FavorForConditionalGeneration
from ..processor import ProcessorSettings
from ..qformer import CausalQFormer
from ..registry import part
from ..windows import num_windows

# Sizes of the trial. All differ, so that no two axes can be taken for one another; N > K: every frame can be told of.
K, V, A, D_V, D_A, N, WIDTH, FRAMES = 4, 3, 5, 6, 10, 7, 8, 9
MOVED = 1e-9  # in float64: rounding stays far below, what is learned from a frame far above


@dataclass
class Finding:
    """One promise: whether it was kept, and what was seen."""

    what: str
    kept: bool
    seen: str = ""

    def __str__(self) -> str:
        return f"[{'OK' if self.kept else 'FAIL'}]".ljust(7) + self.what + (f": {self.seen}" if self.seen else "")


@dataclass
class Findings:
    """What `check` found. `reach[i, j]`: frame j was changed; does frame i's encoding move? For windows: does some window hold
    both? None where the slot has no frames."""

    slot: str
    name: str
    about: str
    all: list[Finding] = field(default_factory=list)
    reach: np.ndarray | None = None

    @property
    def ok(self) -> bool:
        return all(f.kept for f in self.all)

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        return [str(f) for f in self.all if not f.kept]

    def __str__(self) -> str:
        lines = [f"{self.slot} {self.name!r}: {self.about}", *map(str, self.all)]
        if self.reach is not None:
            lines += ["frames that share a window" if self.slot == "windows" else
                      "reach (row: whose encoding; column: the frame that was changed; # it moves)",
                      "    " + " ".join(f"{j + 1:>2}" for j in range(self.reach.shape[1]))]
            lines += [f"{i + 1:>4} " + "  ".join("#" if moved else "." for moved in row) for i, row in enumerate(self.reach)]
        return "\n".join(lines)


def check(slot: str, name: str, show: bool = True) -> Findings:
    """Run a registered part through its slot's contract; print what was found, and return it.

    Raises:
        ValueError: nothing is registered under that name.
    """
    tested = part(slot, name)
    found = Findings(slot, name, tested.about)
    state = torch.random.get_rng_state()
    try:
        for finding in CONTRACTS[slot](tested, found):
            found.all.append(finding)
        found.all.append(_in_the_model(slot, name))
    except Exception as error:  # a part may fail in any way; that is a finding, not the end of a notebook
        found.all.append(Finding("runs", False, f"{type(error).__name__}: {error}"))
    finally:
        torch.random.set_rng_state(state)
    if show:
        print(found)
    return found


# What is measured for several slots.


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _differ(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item() if one.numel() else 0.0


def _same(what: str, one: Tensor, other: Tensor, within: float = 1e-8) -> Finding:
    if one.shape != other.shape:
        return Finding(what, False, f"{tuple(one.shape)} and {tuple(other.shape)}")
    apart = _differ(one, other)
    return Finding(what, apart <= within, f"largest difference {apart:.1e}")


def _shape(what: str, found: Tensor, wanted: tuple, dtype=None) -> Finding:
    kept = tuple(found.shape) == wanted and dtype in (None, found.dtype)
    return Finding(what, kept, f"{tuple(found.shape)} {str(found.dtype).removeprefix('torch.')}"
                   + ("" if kept else f", expected {wanted} {str(dtype or '').removeprefix('torch.')}"))


def measure_reach(encode: Callable[[Tensor], Tensor], steps: Tensor) -> np.ndarray:
    """`encode` maps (1, T, P, D) to encodings of its frames (1, T, ...); returns [i, j]: changing frame j moves frame i."""
    before = encode(steps)[0].flatten(1)  # [T, ...]
    columns = []
    for j in range(steps.shape[1]):
        changed = steps.clone()
        changed[:, j] += _noise(*steps.shape[2:], seed=j + 1)
        moved = (encode(changed)[0].flatten(1) - before).abs().amax(1)
        columns.append(~(moved <= MOVED))  # NaN counts as moved
    return torch.stack(columns, dim=1).numpy()


def _causal(declared: bool | None, reach: np.ndarray, where: str = "") -> Finding:
    leaks = [(i + 1, j + 1) for i, j in np.argwhere(np.triu(reach, 1))]
    seen = "no frame moves an earlier one" if not leaks else "; ".join(
        f"frame {i} moves with the later frame{'s' * (len(js) > 1)} {', '.join(map(str, js))}"
        for i, js in ((i, [j for k, j in leaks if k == i]) for i in sorted({i for i, _ in leaks})))
    what = {True: "declared causal", False: "declared not causal", None: "causality not declared"}[declared]
    return Finding(f"{what}{where}", not (declared and leaks), seen)


def _notices(what: str, reach: np.ndarray) -> Finding:
    deaf = [j + 1 for j in range(reach.shape[1]) if not reach[:, j].any()]
    return Finding(f"takes notice of {what}", not deaf, f"nothing moves with frame {', '.join(map(str, deaf))}" if deaf else "")


# One contract per slot.


def _sync(tested, found: Findings) -> Iterator[Finding]:
    def run(visual, audio, frames=None, heard=None):
        masks = [torch.ones(s.shape[:2], dtype=torch.bool) if m is None else m for s, m in ((visual, frames), (audio, heard))]
        return tested.make(visual, audio, *masks, audio_tokens=A)

    visual, audio = _noise(2, FRAMES, V, D_V), _noise(2, FRAMES * A, D_A, seed=1)
    kept = visual.clone(), audio.clone()
    steps, real = run(visual, audio)
    yield Finding("leaves its inputs as they were", torch.equal(visual, kept[0]) and torch.equal(audio, kept[1]))
    yield _shape("steps (B, T, P, D)", steps, (2, FRAMES, *steps.shape[2:]), torch.float64)
    yield _shape("mask of real steps (B, T)", real, (2, FRAMES), torch.bool)
    for what, seen, heard, frames in (("sound shorter than the picture", visual, audio[:, : 3 * A - 1], FRAMES),
                                      ("picture shorter than the sound", visual[:, :3], audio, FRAMES),
                                      ("no picture", visual[:, :0], audio, FRAMES), ("no sound", visual, audio[:, :0], FRAMES)):
        yield _shape(what, run(seen, heard)[0], (2, frames, *steps.shape[2:]))
    for dtype in (torch.float32, torch.bfloat16):
        kind = run(visual.to(dtype), audio.to(dtype))[0].dtype
        yield Finding(f"keeps {str(dtype).removeprefix('torch.')}", kind == dtype, str(kind).removeprefix("torch."))
    yield _same("a batch equals its clips one by one", steps, torch.cat([run(visual[i : i + 1], audio[i : i + 1])[0] for i in (0, 1)]))
    short = 5
    frames, heard = (torch.arange(n)[None] < limit for n, limit in ((FRAMES, short), (FRAMES * A, short * A)))
    padded = run(visual[:1] * frames[..., None, None], audio[:1] * heard[..., None], frames, heard)
    alone = run(visual[:1, :short], audio[:1, : short * A])[0]
    yield Finding("padding is not real", padded[1].tolist() == frames.tolist())
    yield _same("padding behind a clip moves nothing in it", padded[0][:, :short], alone)
    yield _notices("every picture", measure_reach(lambda x: run(x, audio[:1])[0], visual[:1]))
    by_step = audio[:1].unflatten(1, (FRAMES, A))
    yield _notices("every stretch of sound", measure_reach(lambda x: run(visual[:1], x.flatten(1, 2))[0], by_step))
    both = torch.cat([visual[:1].flatten(2), by_step.flatten(2)], dim=-1)[:, :, None]  # [1, T, 1, V * D_v + A * D_a]

    def joined(x):
        seen, sound = x[:, :, 0].split([V * D_V, A * D_A], dim=-1)
        return run(seen.unflatten(-1, (V, D_V)), sound.unflatten(-1, (A, D_A)).flatten(1, 2))[0]

    found.reach = measure_reach(joined, both)
    yield _causal(tested.causal, found.reach)


def _windows(tested, found: Findings) -> Iterator[Finding]:
    def run(num_frames, padded_to=None, real=None):
        """Frames that hold 10 x their number + their token's."""
        length = padded_to or num_frames
        number = torch.arange(1.0, length + 1)[:, None] * 10 + torch.arange(A)  # [T, P]
        mask = torch.arange(length) < num_frames if real is None else real
        windows, held = tested.make((number * mask[:, None])[None, :, :, None], mask[None], K)
        return windows.unflatten(1, (K, -1))[..., 0], held  # [W, K, P], [W, K]

    together = np.zeros((FRAMES + 3, FRAMES + 3), bool)
    for num_frames in (1, K - 1, K, K + 1, 2 * K, FRAMES + 3):
        windows, real = run(num_frames)
        name = f"{num_frames} frame{'s' * (num_frames > 1)} in windows of {K}: "
        yield _shape(name + "windows (B * W, K * P, D) and mask (B * W, K)", real, (len(windows), K), torch.bool)
        numbers = (windows[..., 0] // 10).long()  # [W, K], 0 where padded
        tokens = torch.equal(windows % 10, torch.arange(float(A)).expand_as(windows) * (numbers > 0)[..., None])
        yield Finding(name + "a frame's tokens stay together, in their order", tokens)
        missing = sorted(set(range(1, num_frames + 1)) - set(numbers[real].tolist()))
        yield Finding(name + "every frame is held by some window", not missing, f"lost: {missing}" if missing else "")
        wrong = int((real != (numbers > 0)).sum())
        yield Finding(name + "the mask marks what is real", not wrong, f"wrong at {wrong} places" if wrong else "")
        steps = [held.diff() for held in (n[r] for n, r in zip(numbers, real, strict=True))]
        yield Finding(name + "frames stand side by side in time order", all((s == 1).all() for s in steps))
        for held in (n[r] for n, r in zip(numbers, real, strict=True)):
            together[np.ix_(held - 1, held - 1)] |= True
    short, longer = run(K + 1), run(K + 1, padded_to=3 * K)
    kept = longer[1].any(1)
    yield _same("padding behind a clip moves nothing in it", longer[0][kept], short[0][short[1].any(1)])
    steps, mask = _noise(3, K + 2, A, D_V), torch.arange(K + 2)[None] < torch.tensor([[K + 2], [2], [K]])
    steps = steps * mask[..., None, None]
    alone = [tested.make(steps[i : i + 1], mask[i : i + 1], K) for i in range(3)]
    batch = tested.make(steps, mask, K)
    yield _same("a batch equals its clips one by one", batch[0], torch.cat([w for w, _ in alone]))
    yield Finding("so does its mask", torch.equal(batch[1], torch.cat([m for _, m in alone])))
    found.reach = together  # two frames can meet where some window holds both


def _encoded(connector, windows: Tensor, frame_mask: Tensor) -> list[Tensor]:
    """What the queries of each layer looked at: (B * W, K, P * D)."""
    maps = connector(windows, frame_mask, True)[1]
    return [] if maps is None else [e.unflatten(1, (K, -1)).flatten(2) for e in maps.encoded]


def _build(make, **changes) -> torch.nn.Module:
    """A small connector in float64 with random numbers in every parameter."""
    torch.manual_seed(0)
    connector = make(input_width=D_V + D_A, window_frames=K, step_tokens=A, num_queries=N, width=WIDTH, layers=2, heads=2,
                     hidden=12, dropout=0.0, **changes)
    for number, parameter in enumerate(connector.parameters()):
        parameter.data = 0.4 * _noise(*parameter.shape, seed=number)
    return connector.double().eval()


def _inside_a_window(connector, declared: bool | None, found: Findings) -> Iterator[Finding]:
    """Reach and padding, layer by layer, of what the queries look at."""
    steps = _noise(1, K, A, D_V + D_A)
    everything = torch.ones(1, K, dtype=torch.bool)
    layers = len(_encoded(connector, steps.flatten(1, 2), everything))
    if declared and not layers:
        yield Finding("declared causal", False, "can't be measured: forward(..., return_maps=True) must return AttentionMaps "
                      "with what the queries looked at in `encoded`, one (B * W, K * P, D) a layer")
    for layer in range(layers):
        reach = measure_reach(lambda x, i=layer: _encoded(connector, x.flatten(1, 2), everything)[i], steps)
        found.reach = reach if found.reach is None else found.reach | reach
        yield _causal(declared, reach, f" (layer {layer + 1})")
    real = K - 2
    mask = (torch.arange(K) < real)[None]
    noise = steps.clone()
    noise[:, real:] += 3 * _noise(1, K - real, A, D_V + D_A, seed=5)
    for layer in range(layers):
        one, other = (_encoded(connector, x.flatten(1, 2), mask)[layer][:, :real] for x in (steps, noise))
        yield _same(f"what stands in padded frames moves no real frame (layer {layer + 1})", one, other)
    yield _same("what stands in padded frames moves no query",
                *(connector(x.flatten(1, 2), mask)[0] for x in (steps, noise)))


def _attention(tested, found: Findings) -> Iterator[Finding]:
    for frames, tokens in ((K, A), (1, 3), (3, 1)):
        mask = tested.make(frames, tokens)
        yield _shape(f"mask over {frames} frames of {tokens} tokens", mask, (frames * tokens,) * 2, torch.bool)
        blind = (~mask.diagonal()).nonzero().flatten() // tokens + 1
        yield Finding("every token sees itself", not len(blind), f"not in frame {blind.unique().tolist()}" if len(blind) else "")
    connector = _build(CausalQFormer, attention=tested.name)
    queries = connector(_noise(2, K * A, D_V + D_A), torch.ones(2, K, dtype=torch.bool))[0]
    yield Finding("gives numbers", bool(queries.isfinite().all()), "" if queries.isfinite().all() else "NaN or infinity")
    yield from _inside_a_window(connector, tested.causal, found)


def _connector(tested, found: Findings) -> Iterator[Finding]:
    connector = _build(tested.make)
    windows = _noise(3, K * A, D_V + D_A)
    mask = torch.ones(3, K, dtype=torch.bool)
    mask[2, 2:] = False
    kept = windows.clone()
    queries = connector(windows, mask)[0]
    yield Finding("leaves its inputs as they were", torch.equal(windows, kept))
    yield _shape("queries (B * W, N, width)", queries, (3, N, WIDTH), torch.float64)
    yield Finding("gives numbers", bool(queries.isfinite().all()), "" if queries.isfinite().all() else "NaN or infinity")
    yield _same("asking for maps changes no query", queries, connector(windows, mask, True)[0])
    alone = torch.cat([connector(windows[i : i + 1], mask[i : i + 1])[0] for i in range(3)])
    yield _same("a batch equals its windows one by one", queries, alone)
    yield from _inside_a_window(connector, tested.causal, found)
    heard = []  # [K]: does any query move with frame j?
    for j in range(K):
        changed = windows[:1].unflatten(1, (K, A)).clone()
        changed[:, j] += _noise(1, A, D_V + D_A, seed=20 + j)
        heard.append(_differ(connector(changed.flatten(1, 2), mask[:1])[0], queries[:1]) > MOVED)
    yield _notices("every frame", np.array([heard]))
    (connector(windows, mask)[0] * _noise(3, N, WIDTH, seed=9)).sum().backward()
    deaf = [name for name, p in connector.named_parameters() if p.grad is None or not p.grad.any()]
    yield Finding("the gradient reaches every parameter", not deaf, f"not {', '.join(deaf)}" if deaf else "")
    yield Finding("has reset_parameters()", hasattr(connector, "reset_parameters"), "the model calls it to start anew")
    for dtype in (torch.float32, torch.bfloat16):
        kind = connector.to(dtype)(windows.to(dtype), mask)[0].dtype
        yield Finding(f"keeps {str(dtype).removeprefix('torch.')}", kind == dtype, str(kind).removeprefix("torch."))


def _diversity(tested, found: Findings) -> Iterator[Finding]:
    queries, real = _noise(3, N, WIDTH), torch.tensor([True, False, True])
    value = tested.make(queries, real)
    yield _shape("a scalar", value, ())
    yield _same("windows that are not real do not count", value, tested.make(queries[real], None), within=1e-6)
    yield _same("the order of the queries does not count", value, tested.make(queries.flip(1), real), within=1e-6)
    yield _same("nor that of the windows", value, tested.make(queries.flip(0), real.flip(0)), within=1e-6)
    empty = tested.make(queries, torch.zeros(3, dtype=torch.bool)), tested.make(queries[:, :1], real)
    yield Finding("gives a number without any real window, and for a single query", all(v.isfinite() for v in empty))
    same, apart = tested.make(queries[:, :1].expand(-1, N, -1)), tested.make(torch.eye(N, WIDTH)[None])
    if tested.constant:
        yield Finding("declared constant", bool(same == apart), f"{same.item():.3f}")
    else:
        yield Finding("equal queries cost more than orthogonal ones", bool(same > apart), f"{same.item():.3f}, {apart.item():.3f}")
    leaf = queries.clone().requires_grad_()
    tested.make(leaf, real).backward()
    told = leaf.grad[real].abs().sum(-1) > 0
    yield Finding("the gradient reaches every query of a real window, and no other",
                  bool((told.all() or tested.constant) and not leaf.grad[~real].any()))


CONTRACTS = {"sync": _sync, "windows": _windows, "attention": _attention, "connector": _connector, "diversity": _diversity}


def _in_the_model(slot: str, name: str) -> Finding:
    """A whole mini model with this part: clips of several lengths in one batch give the same logits as one by one."""
    torch.manual_seed(0)
    config = FavorConfig.mini(64, **{slot: name})
    model, settings = FavorForConditionalGeneration(config).eval(), ProcessorSettings.from_config(config)
    clips = [(11, 11), (7, 9), (0, 6), (10, 0)]  # time steps of picture and sound
    visual = [torch.randn(t, config.visual_tokens, config.visual_width) for t, _ in clips]
    audio = [torch.randn(t * config.audio_tokens, config.audio_config.d_model) for _, t in clips]

    def logits(rows):
        pad, batch = torch.nn.utils.rnn.pad_sequence, {}
        for key, mask, stream in (("visual_features", "frame_mask", visual), ("audio_features", "audio_mask", audio)):
            batch[key] = pad([stream[i] for i in rows], batch_first=True)
            batch[mask] = pad([torch.ones(len(stream[i])) for i in rows], batch_first=True)
        ids = [[config.placeholder_id] * (settings.num_queries * num_windows(max(clips[i]), settings.window_frames, settings.windows))
               + [9, 10] for i in rows]
        longest = max(map(len, ids))
        batch["input_ids"] = torch.tensor([[0] * (longest - len(r)) + r for r in ids])
        batch["attention_mask"] = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in ids])
        return model(**batch).logits[:, -1]

    with torch.no_grad():
        together, alone = logits(range(len(clips))), torch.cat([logits([i]) for i in range(len(clips))])
    apart = _differ(together, alone)
    return Finding("in the mini model: a batch of clips of all lengths equals its clips one by one", apart < 1e-3 * alone.std().item(),
                   f"largest difference of the logits {apart:.1e}, their spread {alone.std().item():.1e}")
