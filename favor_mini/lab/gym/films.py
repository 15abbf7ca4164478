"""Encoded films of the mini world, and questions about them, for the gym.

The frozen encoders are those of a checkpoint. No text tells the order or the pairing of what is
seen and heard.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...evaluation.checkpoint import find_checkpoint, load_checkpoint
from ...storage import exclusive
from ...world.questions import (
    FAMILIES,
    FAMILY_GROUPS,
    GROUPS,
    LABELS,
    NUMBERS,
    Question,
    ask,
    single_modality_chance,
)
from ...world.rows import encode_scenes
from ...world.scene import COLOURS, PLACES, THINGS, WORDS, Scene, draw_scene

ANSWERS = (*LABELS, *THINGS, *WORDS, *NUMBERS, *COLOURS, *PLACES, "up", "down")
ALL = "all"


@dataclass(frozen=True)
class Films:
    """Encoded films, padded, with all questions about each.

    visual: (n, T, V, D_v). audio: (n, L, D_w). frame_mask: (n, T). audio_mask: (n, L).
    words: for each film (Q, S) token ids, padded with -1. answer: (Q,), index of the right answer.
    plausible: (Q, answers) bool, its candidates. group: (Q,), index in `GROUPS`. chance: (Q,).
    vocabulary: number of words. audio_tokens: of a time step.
    """

    visual: Tensor
    audio: Tensor
    frame_mask: Tensor
    audio_mask: Tensor
    words: list[Tensor]
    answer: list[Tensor]
    plausible: list[Tensor]
    group: list[Tensor]
    chance: list[Tensor]
    vocabulary: int
    audio_tokens: int

    def clips(self, rows: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return tuple(x[rows] for x in (self.visual, self.audio, self.frame_mask, self.audio_mask))


@lru_cache(maxsize=8)
def films(checkpoint: str, first: int, count: int, pools: tuple[int, int], cache: str,
          draw: Callable[[int], Scene] = draw_scene, families: tuple[str, ...] = tuple(FAMILIES)
          ) -> Films:
    """`count` films from the scene `first` on, encoded once and kept in `cache`; fewer, if some
    have no question of these families.

    Raises:
        ValueError: the tokens of a frame, or of a time step's sound, cannot be pooled evenly.
    """
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    tokens = model.config.visual_tokens, model.config.audio_tokens
    for stream, count_of, pool in zip(("visual", "audio"), tokens, pools, strict=True):
        if count_of % pool:
            raise ValueError(f"found {stream}_pool={pool}, expected a divisor of the {count_of} "
                             f"{stream} tokens of a time step. Fix: choose another")
    with exclusive(Path(cache) / "busy.lock", wait=True):  # another process may encode them
        encoded = encode_scenes(model, processor, range(first, first + count), draw=draw,
                                cache=cache, progress=False)
    scenes = [draw(e["seed"]) for e in encoded]
    drawn = [[q for q in ask(scene) if q.family in families] for scene in scenes]
    kept = [i for i, questions in enumerate(drawn) if questions]
    return _films(*([of[i] for i in kept] for of in (encoded, scenes, drawn)), processor.tokenizer,
                  pools, tokens[1] // pools[1])


def _films(encoded: list[dict], scenes: list[Scene], drawn: list[list[Question]], tokenizer,
           pools: tuple[int, int], audio_tokens: int) -> Films:
    chance, rows = single_modality_chance({str(scene.seed): scene for scene in scenes}), []
    ids = [[torch.tensor(tokenizer(q.text, add_special_tokens=False).input_ids) for q in questions]
           for questions in drawn]
    longest = max(len(i) for of_film in ids for i in of_film)
    for scene, questions, of_film in zip(scenes, drawn, ids, strict=True):
        plausible = torch.zeros(len(questions), len(ANSWERS), dtype=torch.bool)
        for i, q in enumerate(questions):
            plausible[i, [ANSWERS.index(c) for c in q.candidates]] = True
        words = torch.stack([F.pad(i, (0, longest - len(i)), value=-1) for i in of_film])
        rows.append((words,
                     torch.tensor([ANSWERS.index(q.answer) for q in questions]), plausible,
                     torch.tensor([GROUPS.index(FAMILY_GROUPS[q.family]) for q in questions]),
                     torch.tensor([chance(str(scene.seed), q) for q in questions])))
    seen, heard = ([torch.stack([group.mean(axis) for group in e[name].float().split(pool, axis)],
                                axis) for e in encoded]
                   for name, pool, axis in (("visual_features", pools[0], 1),
                                            ("audio_features", pools[1], 0)))
    masks = [pad_sequence([torch.ones(len(x), dtype=torch.bool) for x in stream], True)
             for stream in (seen, heard)]
    return Films(pad_sequence(seen, True), pad_sequence(heard, True), *masks,
                 *map(list, zip(*rows, strict=True)), len(tokenizer), audio_tokens)


def draw_questions(films: Films, rows: list[int], count: int, draw: torch.Generator
                   ) -> tuple[Tensor, Tensor]:
    """`count` questions about each film: words (B, Q, S) and answers (B, Q)."""
    words, answers = [], []
    for row in rows:
        chosen = torch.randint(len(films.answer[row]), (count,), generator=draw)
        words.append(films.words[row][chosen])
        answers.append(films.answer[row][chosen])
    return torch.stack(words), torch.stack(answers)


def by_group(films: Films, values: Tensor) -> dict[str, float]:
    """Means of values (questions,) by group of questions; if there are several, also of all."""
    group = torch.cat(films.group)
    means = {name: values[group == i] for i, name in enumerate(GROUPS) if (group == i).any()}
    if len(means) > 1:
        means[ALL] = values
    return {name: round(found.double().mean().item(), 4) for name, found in means.items()}
