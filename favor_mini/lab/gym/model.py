"""A connector of registered parts, and a small reader that answers questions about its output."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from ... import losses as losses  # registers the paper's diversity loss
from ...attention import AttentionBlock
from ...qformer import FeedForward
from ...registry import PAPER, SLOTS, find, part
from ...sync import step_shape
from ...windows import join_windows
from .tasks import PLACES, TASKS, Episodes

WINDOWS = 64  # positions that the reader knows
MAY_BE_ZERO = ("noise", "delay", "missing", "test_frames", "window_frames", "diversity_weight",
               "lr")


@dataclass(frozen=True)
class Gym:
    """One arm of the gym: the tasks, the clips, the connector, and how it is trained.

    Args:
        tasks: names joined by "+".
        frames, symbols: T, and the number of visual symbols and of sounds.
        tokens: V = A, tokens of a frame, and of a step's sound.
        feature_width: of the codes of symbols and sounds, D_v = D_a.
        noise: standard deviation of what is added to each token; the codes have 1.
        delay: steps from a picture to the sound that belongs to it.
        missing: share of the clips without sound, where the question is about pictures, or without
            pictures, where it is about sounds.
        test_frames: T of the clips that are asked about; 0: as many as in training.
        sync ... diversity: names of registered parts. window_frames ... diversity_weight: K, N and
            sizes as in `FavorConfig`; window_frames=0: one window holds a training clip.
        reader_layers: of the reader.
        batch: clips in a step. lr: peak learning rate of AdamW. steps: at most; a training ends
            when all tasks are solved.
    """

    tasks: str = "recall+before"
    frames: int = 6
    symbols: int = 12
    tokens: int = 2
    feature_width: int = 24
    noise: float = 0.1
    delay: int = 0
    missing: float = 0.0
    test_frames: int = 0
    sync: str = PAPER["sync"]
    windows: str = PAPER["windows"]
    attention: str = PAPER["attention"]
    connector: str = PAPER["connector"]
    diversity: str = PAPER["diversity"]
    diversity_weight: float = 0.0
    window_frames: int = 0
    num_queries: int = 8
    width: int = 48
    layers: int = 2
    heads: int = 2
    hidden: int = 96
    reader_layers: int = 2
    batch: int = 128
    lr: float = 2e-3
    steps: int = 1500

    def __post_init__(self):
        if unknown := set(self.tasks.split("+")) - set(TASKS):
            raise ValueError(f"no task {sorted(unknown)[0]!r} in the gym. Fix: choose among "
                             f"{', '.join(TASKS)}, joined by +")
        least = {"frames": max(self.delay + 1, *(TASKS[t].needs for t in self.names)),
                 "symbols": 4, "batch": len(self.names), **dict.fromkeys(MAY_BE_ZERO, 0)}
        for f in fields(self):
            value, smallest = getattr(self, f.name), least.get(f.name, 1)
            if f.type is not str and (not isinstance(value, f.type | int) or value < smallest):
                raise ValueError(f"found {f.name}={value!r}, expected {f.type.__name__}, at least "
                                 f"{smallest}. Fix: choose another {f.name}")
        if self.width % self.heads:
            raise ValueError(f"found width={self.width} and heads={self.heads}, expected a multiple"
                             ". Fix: choose another width or number of heads")
        if self.most_windows > WINDOWS:
            raise ValueError(f"found {max(self.frames, self.test_frames)} frames in windows of "
                             f"{self.window}, expected at most {WINDOWS // 2} windows. Fix: longer "
                             "windows, or fewer frames")
        for slot in SLOTS:
            part(slot, getattr(self, slot))  # an unknown name fails here

    @property
    def names(self) -> list[str]:
        return self.tasks.split("+")

    @property
    def window(self) -> int:
        """K, frames of a window."""
        return self.window_frames or self.frames

    @property
    def most_windows(self) -> int:
        """At least the number of windows of a clip, whatever the registered windows."""
        return -(-max(self.frames, self.test_frames) // self.window) * 2

    @property
    def classes(self) -> int:
        """Of the reader: as many as the task with the most answers has."""
        return max(TASKS[t].classes or self.symbols for t in self.names)

    def chance(self, task: str) -> float:
        return 1 / (TASKS[task].classes or self.symbols)


GYM_FIELDS = tuple(f.name for f in fields(Gym))


class Senses(nn.Module):
    """Random codes in place of the frozen encoders: symbols to visual and audio tokens."""

    def __init__(self, gym: Gym, generator: torch.Generator):
        super().__init__()
        self.gym = gym

        def code(*shape):
            return torch.randn(*shape, gym.feature_width, generator=generator)

        self.register_buffer("seen", code(gym.symbols, gym.tokens))
        self.register_buffer("heard", code(gym.symbols, gym.tokens))
        # Places lie on a line; a picture without a place has the zero vector.
        line = torch.cat([torch.zeros(1), torch.linspace(-2, 2, PLACES)])
        self.register_buffer("place", line[:, None, None] * code(1))  # [PLACES + 1, 1, D_v]

    def forward(self, episodes: Episodes, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Visual tokens (B, T, V, D_v) and audio tokens (B, T * A, D_a), with noise."""
        visual = self.seen[episodes.visual] + self.place[episodes.places]
        audio = self.heard[episodes.sounds].flatten(1, 2)
        noisy = (x + self.gym.noise * torch.randn(x.shape, generator=generator)
                 for x in (visual, audio))
        return tuple(noisy)


class Reader(nn.Module):
    """Answers a question from the output queries of a clip, in place of the language model.

    The question, one embedding, attends to the queries in a few layers. Windows have
    positions relative to one another: in training they begin at a random number, so that clips of
    other lengths can be asked about, too.
    """

    def __init__(self, gym: Gym):
        super().__init__()
        width, self.symbols = gym.width, gym.symbols
        self.question = nn.Embedding(len(gym.names) * gym.symbols, width)
        self.window = nn.Embedding(WINDOWS, width)
        nn.init.normal_(self.window.weight, std=0.02)
        self.blocks = nn.ModuleList(AttentionBlock(width, gym.heads) for _ in range(
            gym.reader_layers))
        self.feed_forward = nn.ModuleList(FeedForward(width, 2 * width, 0.0) for _ in range(
            gym.reader_layers))
        self.head = nn.Linear(width, gym.classes)

    def forward(self, queries: Tensor, real: Tensor, task: Tensor, key: Tensor, start: Tensor
                ) -> Tensor:
        """Logits (B, classes).

        Args:
            queries: (B, W, N, width). real: (B, W). task, key: (B,). start: (B,), number of the
                first window.
        """
        number = start[:, None] + torch.arange(queries.shape[1])  # [B, W]
        memory = (queries + self.window(number)[:, :, None]).flatten(1, 2)  # [B, W * N, width]
        mask = real.repeat_interleave(queries.shape[2], dim=1)[:, None, None]
        x = self.question(task * self.symbols + key)[:, None]  # [B, 1, width]
        for attend, feed_forward in zip(self.blocks, self.feed_forward, strict=True):
            x = feed_forward(attend(x, memory, mask))
        return self.head(x[:, 0])


class GymModel(nn.Module):
    """Synchronisation, windows and connector, as in `FavorForConditionalGeneration.connect`, and
    the reader."""

    def __init__(self, gym: Gym, seed: int):
        super().__init__()
        self.gym = gym
        self.senses = Senses(gym, torch.Generator().manual_seed(seed))
        step_tokens, width = step_shape(
            gym.sync, visual_tokens=gym.tokens, visual_width=gym.feature_width,
            audio_tokens=gym.tokens, audio_width=gym.feature_width)
        torch.manual_seed(1000 + seed)
        self.connector = find("connector", gym.connector)(
            input_width=width, window_frames=gym.window, step_tokens=step_tokens,
            num_queries=gym.num_queries, width=gym.width, layers=gym.layers, heads=gym.heads,
            hidden=gym.hidden, dropout=0.0, attention=gym.attention)
        torch.manual_seed(2000 + seed)  # another connector does not change the reader
        self.reader = Reader(gym)

    def connect(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Output queries (B, W, N, width) and the mask of real windows (B, W)."""
        gym, (batch, frames) = self.gym, visual.shape[:2]
        masks = torch.ones(batch, frames).bool(), torch.ones(batch, audio.shape[1]).bool()
        steps, real = find("sync", gym.sync)(visual, audio, *masks, audio_tokens=gym.tokens)
        windows, mask = find("windows", gym.windows)(steps, real, gym.window)
        queries, _ = self.connector(windows, mask)
        queries = join_windows(queries, batch).unflatten(1, (-1, gym.num_queries))
        return queries, mask.any(1).unflatten(0, (batch, -1))

    def forward(self, visual: Tensor, audio: Tensor, task: Tensor, key: Tensor, start: Tensor
                ) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and the diversity loss."""
        queries, real = self.connect(visual, audio)
        diversity = find("diversity", self.gym.diversity)(queries.flatten(0, 1), real.flatten())
        return self.reader(queries, real, task, key, start), diversity
