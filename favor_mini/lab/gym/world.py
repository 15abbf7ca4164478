"""The mini world in the gym: real films, and answers as the only training signal.

Encoded films and questions of the mini world take the place of symbols. The frozen encoders are
those of a checkpoint; the small reader of the gym takes the place of the language model, which
learns nothing from answers alone in the time of a lesson.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode

from ...registry import PAPER, SLOTS, find, part
from ...sync import step_shape, trim
from ...training.optimizer import MuonAdamW
from ...windows import join_windows
from ...world.questions import FAMILIES, FAMILY_GROUPS, GROUPS
from ...world.rapid import Rapid
from ...world.scene import SPLITS, Scene, draw_scene
from .films import ALL, ANSWERS, Films, by_group, draw_questions, films
from .model import Reader

TRAIN = SPLITS["train"].start + 5 * 10**7  # first scene; the encoders were trained on earlier ones
TEST = SPLITS["test"].start + 60_000
POINTS = 12  # of a learning curve


@dataclass(frozen=True)
class World:
    """One arm of the gym in the mini world.

    Args:
        sync ... diversity: names of registered parts. window_frames ... diversity_weight: K, N and
            sizes as in `FavorConfig`.
        visual_pool, audio_pool: tokens of the encoder whose mean is one token. reader_layers: of
            the reader.
        clips, test_clips: films to learn from, and to be asked about.
        moments, seconds: of films that hold more than usual (`world.rapid`); 0: usual films.
        about: "all", or one of `GROUPS`, or families of questions, joined by +.
        batch: clips in a step, with `questions` each. lr: peak learning rate of
            `MuonAdamW`; it falls in the second half. steps: of the training.
        checkpoint: whose frozen encoders are used.
    """

    sync: str = PAPER["sync"]
    windows: str = PAPER["windows"]
    attention: str = PAPER["attention"]
    connector: str = PAPER["connector"]
    diversity: str = PAPER["diversity"]
    diversity_weight: float = 0.1
    window_frames: int = 5
    num_queries: int = 8
    visual_pool: int = 1
    audio_pool: int = 5
    audio_width: int = 32
    width: int = 64
    layers: int = 2
    heads: int = 4
    hidden: int = 128
    reader_layers: int = 3
    clips: int = 1536
    test_clips: int = 128
    moments: int = 0
    seconds: float = 0.5
    about: str = ALL
    batch: int = 16
    questions: int = 16
    lr: float = 7e-4
    steps: int = 600
    checkpoint: str = "label-free"

    def __post_init__(self):
        for f in fields(self):
            value, least = getattr(self, f.name), int(f.type is int and f.name != "moments")
            if f.type is not str and (not isinstance(value, f.type | int) or value < least):
                raise ValueError(f"found {f.name}={value!r}, expected {f.type.__name__}, at least "
                                 f"{least}. Fix: choose another {f.name}")
        if self.width % self.heads:
            raise ValueError(f"found width={self.width} and heads={self.heads}, expected a multiple"
                             ". Fix: choose another width or number of heads")
        for slot in SLOTS:
            part(slot, getattr(self, slot))  # an unknown name fails here
        self.families(), self.draw()  # so do films or questions that there are not

    def draw(self) -> Callable[[int], Scene]:
        """What draws the scene of a seed."""
        return Rapid(self.moments, self.seconds) if self.moments else draw_scene

    def families(self) -> tuple[str, ...]:
        """The families of questions to ask."""
        asked = tuple(FAMILIES) if self.about == ALL else tuple(
            f for f in FAMILIES if FAMILY_GROUPS[f] == self.about) or (*self.about.split("+"),)
        if unknown := set(asked) - {*FAMILIES}:
            raise ValueError(f"found about={sorted(unknown)[0]!r}, expected {ALL!r}, a group "
                             f"({'; '.join(GROUPS)}) or families ({', '.join(FAMILIES)}). Fix: "
                             "choose among them")
        return asked


class WorldReader(Reader):
    """The gym's reader, with many questions about a film at once. A question is the sum of its
    words: their order is not needed to understand it."""

    def forward(self, queries: Tensor, real: Tensor, words: Tensor) -> Tensor:
        """Logits (B, Q, answers) from queries (B, W, N, width), real (B, W), words (B, Q, S)."""
        number = torch.arange(queries.shape[1])
        memory = (queries + self.window(number)[:, None]).flatten(1, 2)  # [B, W * N, width]
        mask = real.repeat_interleave(queries.shape[2], dim=1)[:, None, None]
        x = (self.question(words.clamp(min=0)) * (words >= 0)[..., None]).sum(2)  # [B, Q, width]
        for attend, feed_forward in zip(self.blocks, self.feed_forward, strict=True):
            x = feed_forward(attend(x, memory, mask))
        return self.head(x)


class WorldModel(nn.Module):
    """Audio projection, synchronisation, windows and connector, as in
    `FavorForConditionalGeneration.connect`, and the reader."""

    def __init__(self, world: World, films: Films, seed: int):
        super().__init__()
        self.world, self.audio_tokens = world, films.audio_tokens
        *_, visual_tokens, visual_width = films.visual.shape
        tokens, width = step_shape(
            world.sync, visual_tokens=visual_tokens, visual_width=visual_width,
            audio_tokens=self.audio_tokens, audio_width=world.audio_width)
        torch.manual_seed(1000 + seed)
        self.audio_projection = nn.Linear(films.audio.shape[-1], world.audio_width)
        torch.manual_seed(2000 + seed)
        self.connector = find("connector", world.connector)(
            input_width=width, window_frames=world.window_frames, step_tokens=tokens,
            num_queries=world.num_queries, width=world.width, layers=world.layers,
            heads=world.heads, hidden=world.hidden, dropout=0.0, attention=world.attention)
        torch.manual_seed(3000 + seed)  # another connector does not change the reader
        self.reader = WorldReader(SimpleNamespace(
            width=world.width, heads=world.heads, reader_layers=world.reader_layers,
            names=["world"], symbols=films.vocabulary, classes=len(ANSWERS)))
        nn.init.normal_(self.reader.question.weight, std=0.5)

    def connect(self, visual: Tensor, audio: Tensor, frame_mask: Tensor, audio_mask: Tensor
                ) -> tuple[Tensor, Tensor]:
        """Output queries (B, W, N, width) and the mask of real windows (B, W)."""
        world = self.world
        visual, frame_mask = trim(visual, frame_mask)
        audio, audio_mask = trim(audio, audio_mask)
        audio = self.audio_projection(audio).masked_fill(~audio_mask[..., None], 0.0)
        steps, real = find("sync", world.sync)(visual, audio, frame_mask, audio_mask,
                                               audio_tokens=self.audio_tokens)
        windows, mask = find("windows", world.windows)(steps, real, world.window_frames)
        queries, _ = self.connector(windows, mask)
        queries = join_windows(queries, len(visual)).unflatten(1, (-1, world.num_queries))
        return queries, mask.any(1).unflatten(0, (len(visual), -1))

    def forward(self, clips: tuple, words: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, Q, answers) for questions (B, Q, S), and the diversity loss."""
        queries, real = self.connect(*clips)
        diversity = find("diversity", self.world.diversity)(queries.flatten(0, 1), real.flatten())
        return self.reader(queries, real, words), diversity


def train_world(world: World, seed: int, cache: str = "build/gym/films") -> dict:
    """Train connector and reader from answers about films, and ask about other films on the way.

    Arms with the same seed see the same films and questions in the same order, and are asked about
    the same other films; each seed has films of its own to be asked about.

    Returns:
        as `train.train`; the tasks are the groups of questions and, if there are several, all of
        them together. And "chance" of each.
    """
    pools, sources = (world.visual_pool, world.audio_pool), (
        (TRAIN, world.clips), (TEST + 1000 * seed, world.test_clips))
    learned, asked = (films(world.checkpoint, first, count, pools, str(cache), world.draw(),
                            world.families()) for first, count in sources)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(1)
    try:
        return _train(world, learned, asked, seed)
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)


def _train(world: World, learned: Films, asked: Films, seed: int) -> dict:
    model, began = WorldModel(world, learned, seed), time.perf_counter()
    draw = torch.Generator().manual_seed(4000 + seed)
    optimizer = MuonAdamW(model, world.lr)
    warmup = max(1, world.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(
        1.0, (s + 1) / warmup, 2 * (1 - s / world.steps)))
    points = {round(world.steps * i / POINTS) for i in range(1, POINTS + 1)}
    curve = []
    for step in range(1, world.steps + 1):
        rows = torch.randint(len(learned.words), (world.batch,), generator=draw).tolist()
        words, answer = draw_questions(learned, rows, world.questions, draw)
        logits, diversity = model(learned.clips(rows), words)
        loss = F.cross_entropy(logits.flatten(0, 1), answer.flatten())
        optimizer.zero_grad()
        (loss + world.diversity_weight * diversity).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step in points:
            curve.append([step, ask_films(model, asked)])
    return {"curve": curve, "steps": step, "seconds": round(time.perf_counter() - began, 1),
            "chance": by_group(asked, torch.cat(asked.chance)), **cost(model, asked),
            "similarity": similarity(model, asked)}


@torch.no_grad()
def ask_films(model: WorldModel, films: Films) -> dict[str, float]:
    """Accuracy by group of questions: the likeliest of a question's candidates counts."""
    right = []
    for start in range(0, len(films.words), 16):
        rows = list(range(start, min(start + 16, len(films.words))))
        words = pad_sequence([films.words[r] for r in rows], True, -1)  # [B, most Q, S]
        logits, _ = model(films.clips(rows), words)
        for row, of_film in zip(rows, logits, strict=True):
            of_film = of_film[: len(films.answer[row])]
            best = of_film.masked_fill(~films.plausible[row], -torch.inf).argmax(-1)
            right.append(best == films.answer[row])
    return by_group(films, torch.cat(right))


@torch.no_grad()
def similarity(model: WorldModel, films: Films) -> float:
    """Mean cosine of the pairs of queries of a window: 1 if all queries are alike."""
    queries, real = model.connect(*films.clips(list(range(min(32, len(films.words))))))
    unit = F.normalize(queries[real], dim=-1)  # [windows, N, width]
    n = unit.shape[1]
    pairs = (unit @ unit.transpose(1, 2)).sum((1, 2))
    return round(((pairs - n) / max(1, n * (n - 1))).mean().item(), 4)


def cost(model: WorldModel, films: Films) -> dict[str, float]:
    """Parameters of the connector, and MFLOP of its forward pass over a film."""
    # On CPUs the counter leaves out fused attention. It fails without gradients, where a parameter
    # goes into a module as it is.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.connect(*films.clips([0]))
    return {"parameters": sum(p.numel() for p in model.connector.parameters()),
            "mflop": round(counter.get_total_flops() / 1e6, 3)}
