"""One training in the gym: an arm and a seed to a learning curve."""

import time

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .model import WINDOWS, Gym, GymModel
from .tasks import TASKS

POINTS = 30  # of a learning curve
HELD_OUT = 300  # questions of each task at each point
SOLVED = 0.95  # a training ends when all tasks stay above this at two points
ABOUT_PICTURES = ("motion", "count")
ABOUT_SOUNDS = ("before", "after")


def train(gym: Gym, seed: int) -> dict:
    """Train connector and reader from answers, and ask held-out questions along the way.

    Arms with the same seed and the same clips see the same clips in the same order.

    Returns:
        "curve": a list of [step, {task: accuracy}]; "steps": of the training; "seconds";
        "parameters" and "mflop" of the connector, for one clip; "similarity": mean cosine of the
        queries of a window at the end.
    """
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(1)  # more are slower for tensors this small
    try:
        return _train(gym, seed)
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)


def _train(gym: Gym, seed: int) -> dict:
    model, began = GymModel(gym, seed), time.perf_counter()
    clips = torch.Generator().manual_seed(3000 + seed)
    noise = torch.Generator().manual_seed(4000 + seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=gym.lr, weight_decay=0.01, fused=True)
    warmup = max(1, gym.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, (s + 1) / warmup))
    # Denser at the start, where the arms part.
    points = sorted({max(1, round(gym.steps * (i / POINTS) ** 1.5)) for i in range(1, POINTS + 1)})
    curve, solved = [], 0
    for step in range(1, gym.steps + 1):
        batch, answers = draw_batch(model, gym.batch, clips, noise)
        logits, diversity = model(**batch)
        loss = F.cross_entropy(logits, answers) + gym.diversity_weight * diversity
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step in points:
            found = ask(model, seed)
            curve.append([step, found])
            solved = solved + 1 if min(found.values()) >= SOLVED else 0
            if solved == 2:
                break
    return {"curve": curve, "steps": step, "seconds": round(time.perf_counter() - began, 1),
            **cost(model), "similarity": similarity(model, seed)}


def draw_batch(model: GymModel, size: int, clips: torch.Generator, noise: torch.Generator,
               frames: int | None = None, only: str | None = None) -> tuple[dict, Tensor]:
    """The arguments of `GymModel.forward` for a batch with equal shares of the tasks, and the right
    answers (B,).

    Args:
        frames: T, if not the training's. only: a single task.
    """
    gym, parts = model.gym, []
    names = [only] if only else gym.names
    for i, name in enumerate(names):
        count = (size + i) // len(names)  # the shares add up to `size`
        e = TASKS[name].draw(count, frames or gym.frames, gym.symbols, gym.delay, clips)
        visual, audio = model.senses(e, noise)
        lost = torch.rand(count, generator=clips) < gym.missing
        if name in ABOUT_PICTURES:
            audio = audio.masked_fill(lost[:, None, None], 0.0)
        if name in ABOUT_SOUNDS:
            visual = visual.masked_fill(lost[:, None, None, None], 0.0)
        parts.append((visual, audio, torch.full((count,), gym.names.index(name)), e.key, e.answer))
    visual, audio, task, key, answer = (torch.cat(x) for x in zip(*parts, strict=True))
    windows = -(-visual.shape[1] // gym.window) * 2  # enough for all registered windows
    start = (torch.rand(len(task), generator=clips) * (WINDOWS - windows)).long()
    return {"visual": visual, "audio": audio, "task": task, "key": key, "start": start}, answer


@torch.no_grad()
def ask(model: GymModel, seed: int) -> dict[str, float]:
    """Accuracy by task, on the same held-out clips at every call."""
    clips, noise = (torch.Generator().manual_seed(n + seed) for n in (5 * 10**6, 6 * 10**6))
    gym, found = model.gym, {}
    for name in gym.names:
        batch, answers = draw_batch(model, HELD_OUT, clips, noise, gym.test_frames or None, name)
        found[name] = (model(**batch)[0].argmax(-1) == answers).double().mean().item()
    return found


def _clip(model: GymModel, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generators = (torch.Generator().manual_seed(n + seed) for n in (7 * 10**6, 8 * 10**6))
    batch, _ = draw_batch(model, count, *generators)
    return batch["visual"], batch["audio"]


@torch.no_grad()
def similarity(model: GymModel, seed: int) -> float:
    """Mean cosine of the pairs of queries of a window: 1 if all queries are alike."""
    queries, _ = model.connect(*_clip(model, 64, seed))
    unit = F.normalize(queries.flatten(0, 1), dim=-1)  # [B * W, N, width]
    pairs = unit @ unit.transpose(1, 2)
    n = pairs.shape[-1]
    return round(((pairs.sum((1, 2)) - n) / max(1, n * (n - 1))).mean().item(), 4)


def cost(model: GymModel) -> dict[str, float]:
    """Parameters of the connector, and MFLOP of its forward pass over a clip."""
    # On CPUs the counter leaves out fused attention. It fails without gradients, where a parameter
    # goes into a module as it is.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.connect(*_clip(model, len(model.gym.names)))
    return {"parameters": sum(p.numel() for p in model.connector.parameters()),
            "mflop": round(counter.get_total_flops() / len(model.gym.names) / 1e6, 3)}
