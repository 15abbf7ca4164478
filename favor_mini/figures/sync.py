"""Synchronisation: tokens over time and in a step, layouts, and shifted sound."""

from __future__ import annotations

import textwrap

import numpy as np
import torch

from ..registry import find
from ..sync import synchronise
from ..world.scene import Scene
from .plots import matrices
from .style import (
    BORDER,
    INK,
    LIGHT,
    MARK,
    STRONG,
    Picture,
    boxes,
    colour_legend,
    filled,
    listed,
    picture,
    row_name,
    styled,
)
from .timeline import heard_events, seen_events, time_axis

LATE = "seconds by which the sound is late (negative: early)"


@styled
def token_times(
        num_frames: int, visual_tokens: int, audio_tokens: int, frame_rate: float = 2.0) -> Picture:
    """Both streams' tokens on one time axis: V at once per frame, audio tokens in a row."""
    total, seconds = num_frames * audio_tokens, num_frames / frame_rate
    figure = picture(
        12, 3.1, (f"Tokens on a time axis of {seconds:g} s. Above, {num_frames} frames, each a "
                  f"stack of {visual_tokens} visual tokens at one moment. Below, {total} audio "
                  f"tokens one after another, {audio_tokens} a step of {1 / frame_rate:g} s."))
    seen, heard = figure.subplots(2, sharex=True, height_ratios=(1.7, 1))
    starts = np.arange(num_frames) / frame_rate
    seen.scatter(np.repeat(starts + 0.02, visual_tokens),
                 np.tile(np.arange(visual_tokens), num_frames), s=42, marker="s", color=STRONG)
    heard.scatter(
        (np.arange(total) + 0.5) / (frame_rate * audio_tokens), np.zeros(total), s=16, color=INK)
    seen.set_ylim(-1, visual_tokens)
    for axis, name in ((seen, "visual tokens"), (heard, "audio tokens")):
        row_name(axis, name)
        for border in [*starts, seconds]:
            axis.axvline(border, **BORDER | {"linewidth": 2})
    for i, start in enumerate(starts):
        seen.text(
            start + 0.5 / frame_rate, visual_tokens,
            f"step {i}: {visual_tokens} visual, {audio_tokens} audio", ha="center", va="bottom")
    time_axis(heard, seconds)
    heard.set(ylim=(-1, 1), xlim=(-0.02, seconds + 0.02), xticks=[*starts, seconds])
    return figure


def step_contents(
        num_frames: int, visual_tokens: int, audio_length: int, audio_tokens: int) -> Picture:
    """Which of the T x P places of `synchronise`'s output hold a token, in either half."""
    steps = synchronise(torch.ones(1, num_frames, visual_tokens, 1), torch.ones(1, audio_length, 1),
                        audio_tokens=audio_tokens)[0]
    held = steps.bool().numpy()  # [T, P, 2]
    visual, audio = (f"{share:.0%}" for share in held.mean((0, 1)))
    steps, tokens, _ = held.shape
    figure = matrices(
        {f"visual half: {visual} filled": held[..., 0].T,
         f"audio half: {audio} filled": held[..., 1].T}, x=f"time step, T = {steps}",
        y=f"token, P = {tokens}", legend=("token", "zeros"),
        alt=f"{num_frames} frames of {visual_tokens} tokens and {audio_length} audio tokens in "
        f"steps of {audio_tokens} give T = {steps} steps of P = {tokens} tokens; the visual half "
        f"is filled at {visual} of the places, the audio half at {audio}.")
    figure.set_size_inches(13, 4.4)
    for axis in figure.axes:
        axis.set_xticks(np.arange(steps) - 0.5, minor=True)
        axis.set_yticks(np.arange(tokens) - 0.5, minor=True)
        axis.tick_params(which="minor", length=0)
        axis.grid(which="minor", color=LIGHT)
        axis.set_aspect("auto")
    return figure


@styled
def layouts(names: list[str], num_frames: int = 4, visual_tokens: int = 2,
            audio_tokens: int = 3) -> Picture:
    """Where each synchronisation puts tokens, measured: v2 is of frame 2, a2 of step 2, from 0."""
    numbers = torch.arange(1.0, num_frames + 1)
    visual = numbers[None, :, None, None].expand(1, -1, visual_tokens, 1)
    audio = 100 * numbers.repeat_interleave(audio_tokens)[None, :, None]
    real = visual[..., 0, 0] > 0, audio[..., 0] > 0
    rows = {name: find("sync", name)(visual, audio, *real, audio_tokens=audio_tokens)[0][0]
            for name in names}
    rows = {name: steps.sum(-1).int().numpy() for name, steps in rows.items()}  # [T, P] each
    details = listed(rows, lambda steps: " | ".join(
        " ".join(_code_name(code).replace("\n", "+") for code in step) for step in steps))
    figure = picture(14, 0.5 + 1.15 * len(rows), (f"The layout of the tokens of {num_frames} "
        f"steps, v visual and a audio, with the number of their step, from 0. {details}."))
    axis, width = figure.subplots(), max(steps.size for steps in rows.values())
    for row, steps in enumerate(rows.values()):
        for place, code in enumerate(steps.flatten()):
            seen, heard = code % 100, code // 100
            both = STRONG if seen == heard else MARK
            colour = both if seen and heard else LIGHT if seen else "white"
            axis.barh(row, 0.92, 0.78, left=place + 0.04, color=colour)
            axis.text(place + 0.5, row, _code_name(code), ha="center", va="center",
                      linespacing=0.95, color="white" if seen and heard else INK)
        axis.vlines(range(steps.shape[1], steps.size, steps.shape[1]), row - 0.46, row + 0.46,
                    color=INK, linewidth=3.5)
    axis.set_yticks(range(len(rows)), rows, fontweight="bold")
    axis.set(ylim=(len(rows) - 0.45, -0.55), xlim=(-0.1, width + 0.1), xticks=[])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(length=0)
    colour_legend(figure, {"visual and audio in one token": STRONG, "visual only": LIGHT,
                           "audio only": "white"})
    return figure


def _code_name(code: int) -> str:
    """Names of the tokens with the sum `code`; a visual one is its step + 1, audio 100 times it."""
    names = [f"v{code % 100 - 1}"] * bool(code % 100) + [f"a{code // 100 - 1}"] * bool(code // 100)
    return "\n".join(names) or "0"


@styled
def clip_steps(scene: Scene, steps, visual_width: int, frame_rate: float = 2.0) -> Picture:
    """A clip's synchronised steps and its script on one time axis.

    Bars show how much the visual half changes from step to step, and how far the audio half is from
    silence, which is taken to be the clip's median audio token. Steps whose half is empty have no
    bar.

    Args:
        steps: (T, P, D_v + D_a).
    """
    steps = torch.as_tensor(steps).float()
    seen = steps[..., :visual_width].mean(1)  # [T, D_v]
    heard = steps[..., visual_width:]  # [T, P, D_a]
    change = 1 - torch.nn.functional.cosine_similarity(seen[1:], seen[:-1])
    change = torch.where(seen[1:].any(1) & seen[:-1].any(1), change, 0)
    change = np.concatenate([[0], change.numpy()])
    token = heard.any(-1)  # [T, P]
    distance = (heard - heard[token].median(0).values).square().sum(-1) * token  # [T, P]
    sound = (distance.sum(1) / token.sum(1).clamp(min=1)).numpy()
    loud, cuts = (", ".join(f"{i / frame_rate:g} s" for i in np.flatnonzero(where))
                  for where in (sound > sound.max() / 2, change > 0.2))
    script = "; ".join(f"{m.start:.1f} s {m.subject}, {m.heard.name if m.heard else 'nothing'} "
                       f"heard" for m in scene.moments)
    figure = picture(13, 5.6, (f"{len(steps)} time steps of a clip and its script. The visual "
                               f"half changes at {cuts}; the audio half is far from silence in "
                               f"the steps at {loud}. Script: {script}."))
    axes = figure.subplots(4, sharex=True, height_ratios=(0.6, 1, 0.6, 1))
    names = "seen", "change of the\nvisual half", "heard", "distance\nfrom silence"
    boxes(axes[0], seen_events(scene))
    boxes(axes[2], heard_events(scene))
    for axis, values in ((axes[1], change), (axes[3], sound)):
        axis.bar(np.arange(len(steps)) / frame_rate, values, 0.9 / frame_rate, align="edge",
                 color=STRONG)
    for axis, name in zip(axes, names, strict=True):
        row_name(axis, name)
    time_axis(axes[-1], len(steps) / frame_rate)
    return figure


def expected_answer(scene: Scene, question, shift: float) -> str:
    """The right answer to a `shown_when` question once the sound is `shift` seconds late.

    It is what is on screen in the middle of the sound; "nothing" before and after the clip.
    """
    heard = next(m.heard for m in scene.moments if m.heard
                 and m.heard.name in question.text.rstrip("?").split())
    time = heard.start + heard.seconds / 2 + shift
    return next(
        (m.subject or "nothing" for m in scene.moments if m.start <= time < m.end), "nothing")


@styled
def shifted_sound(scene: Scene, shift: float, asked: list, answers: list[str]) -> Picture:
    """A clip with shifted sound and the model's answers; filled: the answer without a shift.

    Args:
        asked: questions. answers: what the model wrote, in the same order.
    """
    same = [a == q.answer for q, a in zip(asked, answers, strict=True)]
    late = f"{abs(shift):g} s {'late' if shift > 0 else 'early'}" if shift else "in its place"
    figure = picture(13, 2.6 + 0.34 * len(asked), (
        f"The sound is {late}; {sum(same)} of {len(asked)} answers are those without a shift. "
        + "; ".join(f"{q.text} {a}" for q, a in zip(asked, answers, strict=True)) + "."))
    seen, heard, table = figure.subplots(3, height_ratios=(0.7, 0.7, 0.34 * len(asked)))
    boxes(seen, seen_events(scene))
    boxes(heard, [(start + shift, end + shift, name) for start, end, name in heard_events(scene)
                  if 0 <= (start + end) / 2 + shift < scene.duration], colour="white")
    for axis, name in ((seen, "seen"), (heard, "heard")):
        row_name(axis, name)
        time_axis(axis, scene.duration)
        for m in scene.moments[1:]:
            axis.axvline(m.start, **BORDER | {"linewidth": 1.5})
    seen.set(xticks=[], xlabel="", title=f"the sound is {late}: {sum(same)} of {len(asked)} "
             f"answers as without a shift")
    for i, (question, answer, full) in enumerate(zip(asked, answers, same, strict=True)):
        table.text(0.02, i, question.text, va="center")
        boxes(table, [(0.62, 0.92, answer)], y=i, height=0.8, characters=99, **filled(full))
    table.set(xlim=(0, 1), ylim=(len(asked) - 0.5, -0.5))
    table.axis("off")
    return figure


@styled
def answers_by_shift(asked: list, answers: dict[float, list[str]]) -> Picture:
    """The answer to each question at each shift of the sound; filled: the answer without one.

    Args:
        answers: by shift in seconds, one text for each of `asked`.
    """
    same = np.array(
        [[a == q.answer for q, a in zip(asked, texts, strict=True)] for texts in answers.values()])
    figure = picture(14, 1.0 + 0.62 * len(asked), (
        f"Answers to {len(asked)} questions at shifts of the sound. As without a shift: "
        + ", ".join(f"{shift:+g} s {row.sum()}" for shift, row in zip(answers, same, strict=True))
        + "."))
    axis = figure.subplots()
    for (column, row), full in np.ndenumerate(same):
        text = list(answers.values())[column][row]
        boxes(axis, [(column - 0.47, column + 0.47, text)], y=row, height=0.88, **filled(full))
    axis.set(xlabel=LATE, xlim=(-0.5, len(answers) - 0.5), ylim=(len(asked) - 0.5, -0.5))
    axis.set_xticks(range(len(answers)), [f"{shift:+g}" if shift else "0" for shift in answers])
    axis.set_yticks(range(len(asked)), [textwrap.fill(q.text, 26) for q in asked], linespacing=0.95)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    colour_legend(
        figure, {"the answer without a shift": STRONG, "another one": "white"}, "upper center")
    return figure
