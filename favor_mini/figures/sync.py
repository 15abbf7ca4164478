"""The figures of notebook 03: two clocks, what fills a step, how variants lay tokens out, a clip whose sound is moved."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from ..registry import find
from ..sync import synchronise
from ..world.scene import Scene
from .style import INK, LIGHT, MARK, STRONG, Picture, picture, styled


@styled
def two_clocks(num_frames: int, visual_tokens: int, audio_tokens: int, frame_rate: float = 2.0) -> Picture:
    """Both streams' tokens on one time axis: V at each frame, all at once, and one audio token after another."""
    total = num_frames * audio_tokens
    figure = picture(12, 3.1, (
        f"Tokens on a time axis of {num_frames / frame_rate:g} s. Above, {num_frames} frames, each a stack of {visual_tokens} "
        f"visual tokens at one moment; below, {total} audio tokens one after another, {audio_tokens} a step of {1 / frame_rate:g} s."))
    seen, heard = figure.subplots(2, sharex=True, height_ratios=(1.7, 1))
    starts = np.arange(num_frames) / frame_rate
    stack = np.tile(np.arange(visual_tokens), num_frames)
    seen.scatter(np.repeat(starts + 0.02, visual_tokens), stack, s=42, marker="s", color=STRONG)
    seen.set(ylim=(-1, visual_tokens), ylabel="seen")
    heard.scatter((np.arange(total) + 0.5) / (frame_rate * audio_tokens), np.zeros(total), s=16, color=INK)
    heard.set(ylim=(-1, 1), ylabel="heard", xlabel="time (s)")
    for axis in (seen, heard):
        axis.set_yticks([])
        axis.set_ylabel(axis.get_ylabel(), rotation=0, ha="right", va="center")
        for border in [*starts, num_frames / frame_rate]:
            axis.axvline(border, color=MARK, linewidth=2, linestyle=(0, (4, 2)))
    for i, start in enumerate(starts):
        said = f"step {i}: {visual_tokens} seen, {audio_tokens} heard"
        seen.text(start + 0.5 / frame_rate, visual_tokens, said, ha="center", va="bottom")
    heard.set(xlim=(-0.02, num_frames / frame_rate + 0.02))
    return figure


@styled
def step_map(num_frames: int, visual_tokens: int, audio_length: int, audio_tokens: int) -> Picture:
    """What `synchronise` makes of streams of these sizes: which of a clip's T x P places hold a token, in either half."""
    steps = synchronise(torch.ones(1, num_frames, visual_tokens, 1), torch.ones(1, audio_length, 1), audio_tokens=audio_tokens)[0]
    held = steps.bool().numpy()  # [T, P, 2]
    shares = held.mean((0, 1))
    figure = picture(13, 4.4, (
        f"{num_frames} frames of {visual_tokens} tokens and {audio_length} audio tokens in steps of {audio_tokens} give "
        f"T = {held.shape[0]} steps of P = {held.shape[1]} tokens; the picture's half holds something at {shares[0]:.0%} of the places, "
        f"the sound's at {shares[1]:.0%}."))
    halves = zip(figure.subplots(1, 2), held.transpose(2, 1, 0), ("picture's half", "sound's half"), shares, strict=True)
    for axis, half, name, share in halves:
        axis.pcolormesh(half, cmap=ListedColormap(["white", STRONG]), vmin=0, vmax=1, edgecolors=LIGHT, linewidth=0.5)
        axis.set(title=f"{name}: {share:.0%} filled", xlabel=f"time step, T = {held.shape[0]}", ylabel=f"token, P = {held.shape[1]}",
                 ylim=(held.shape[1], 0), xticks=np.arange(0, held.shape[0] + 1, max(1, held.shape[0] // 8)))
        axis.spines[:].set_visible(True)
    figure.legend(handles=[Patch(facecolor=STRONG, edgecolor=INK, label="a token"), Patch(facecolor="white", edgecolor=INK, label="zeros")],
                  loc="outside lower center", ncols=2, frameon=False)
    return figure


@styled
def layouts(names: list[str], num_frames: int = 4, visual_tokens: int = 2, audio_tokens: int = 3) -> Picture:
    """Where each synchronisation of these names puts every token, found out by marked tokens: v2 is of frame 2, a2 was heard in step 2.
    Counted from 0."""
    visual = torch.arange(1.0, num_frames + 1)[None, :, None, None].expand(1, num_frames, visual_tokens, 1)
    audio = 100 * torch.arange(1.0, num_frames + 1).repeat_interleave(audio_tokens)[None, :, None]
    real = torch.ones(1, num_frames, dtype=torch.bool), torch.ones(1, num_frames * audio_tokens, dtype=torch.bool)
    rows = {name: find("sync", name)(visual, audio, *real, audio_tokens=audio_tokens)[0][0] for name in names}
    rows = {name: steps.sum(-1).int().numpy() for name, steps in rows.items()}  # [T, P] each
    told = "; ".join(f"{name}: " + " | ".join(" ".join(_mark(code).replace("\n", "+") for code in step) for step in steps)
                     for name, steps in rows.items())
    figure = picture(14, 0.5 + 1.15 * len(rows), (
        f"How the tokens of {num_frames} steps are laid out, v seen and a heard, with the number of their step, from 0. {told}."))
    axis, width = figure.subplots(), max(steps.size for steps in rows.values())
    for row, steps in enumerate(rows.values()):
        for place, code in enumerate(steps.flatten()):
            seen, heard = code % 100, code // 100
            colour = MARK if seen and heard and seen != heard else STRONG if seen and heard else LIGHT if seen else "white"
            axis.barh(row, 0.92, 0.78, left=place + 0.04, color=colour, edgecolor=INK)
            axis.text(place + 0.5, row, _mark(code), ha="center", va="center", fontsize=12, linespacing=0.95,
                      color="white" if seen and heard else INK)
        for border in range(steps.shape[1], steps.size, steps.shape[1]):
            axis.vlines(border, row - 0.46, row + 0.46, color=INK, linewidth=3.5)
    axis.set(yticks=range(len(rows)), ylim=(len(rows) - 0.45, -0.55), xlim=(-0.1, width + 0.1), xticks=[])
    axis.set_yticklabels(rows, fontweight="bold")
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(length=0)
    figure.legend(handles=[Patch(facecolor=c, edgecolor=INK, label=what) for c, what in
                           ((STRONG, "seen and heard in one token"), (LIGHT, "seen only"), ("white", "heard only"))],
                  loc="outside lower center", ncols=3, frameon=False)
    return figure


def _mark(code: int) -> str:
    return "\n".join([f"v{code % 100 - 1}"] * bool(code % 100) + [f"a{code // 100 - 1}"] * bool(code // 100)) or "0"


@styled
def clip_steps(scene: Scene, steps, visual_width: int, frame_rate: float = 2.0) -> Picture:
    """A clip's synchronised steps beside its script: how much the picture's half changes from step to step, and how far the sound's
    half is from silence, taken to be the clip's median audio token. Steps whose half is empty have no bar.

    Args:
        steps: (T, P, D_v + D_a).
    """
    steps = torch.as_tensor(steps).float()
    seen, heard = steps[..., :visual_width].mean(1), steps[..., visual_width:]  # [T, D_v], [T, P, D_a]
    change = 1 - torch.nn.functional.cosine_similarity(seen[1:], seen[:-1])
    change = np.concatenate([[0], torch.where(seen[1:].any(1) & seen[:-1].any(1), change, 0).numpy()])
    token = heard.any(-1)  # [T, P]
    apart = (heard - heard[token].median(0).values).square().sum(-1) * token  # [T, P]
    sound = (apart.sum(1) / token.sum(1).clamp(min=1)).numpy()
    rows = {"change in\nwhat is seen": change, "distance\nfrom silence": sound}
    loud = ", ".join(f"{i / frame_rate:g} s" for i in np.flatnonzero(sound > sound.max() / 2))
    cuts = ", ".join(f"{i / frame_rate:g} s" for i in np.flatnonzero(change > 0.2))
    script = "; ".join(f"{m.start:.1f} s {m.subject}, {m.heard.name if m.heard else 'nothing'} heard" for m in scene.moments)
    figure = picture(13, 5.6, (
        f"{len(steps)} time steps of a clip beside its script. The picture's half changes at {cuts}; the sound's half is far from silence "
        f"in the steps at {loud}. Script: {script}."))
    axes = figure.subplots(4, sharex=True, height_ratios=(0.6, 1, 0.6, 1))
    places = np.arange(len(steps)) / frame_rate
    _boxes(axes[0], [(m.start, m.end, m.subject) for m in scene.moments if m.subject])
    _boxes(axes[2], [(m.heard.start, m.heard.start + m.heard.seconds, m.heard.name) for m in scene.moments if m.heard])
    for axis, (name, values) in zip(axes[[1, 3]], rows.items(), strict=True):
        axis.bar(places, values, 0.9 / frame_rate, align="edge", color=STRONG, edgecolor=INK)
        axis.set_yticks([])
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[[0, 2]], ("seen", "heard"), strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[-1].set(xlim=(0, len(steps) / frame_rate), xlabel="time (s)", xticks=range(int(len(steps) / frame_rate) + 1))
    return figure


def _boxes(axis, events: list[tuple[float, float, str]], colour: str = LIGHT) -> None:
    """Boxes from start to end, each with its name, which may overhang a short box."""
    for start, end, name in events:
        axis.barh(0.5, end - start, left=start, height=0.9, color=colour, edgecolor=INK)
        axis.text((start + end) / 2, 0.5, name, ha="center", va="center", fontsize=12.5)
    axis.set(ylim=(0, 1), yticks=[])


def _seen_at(scene: Scene, time: float) -> str:
    """What the script shows at a time; "nothing" before and after the clip."""
    return next((m.subject or "nothing" for m in scene.moments if m.start <= time < m.end), "nothing")


def shown_now(scene: Scene, question, shift: float) -> str:
    """What is on screen in the middle of the sound that a `shown_when` question asks about, once the sound comes `shift` seconds late."""
    heard = next(m.heard for m in scene.moments if m.heard and m.heard.name in question.text.rstrip("?").split())
    return _seen_at(scene, heard.start + heard.seconds / 2 + shift)


@styled
def moved(scene: Scene, shift: float, asked: list, answers: list[str]) -> Picture:
    """A clip whose sound comes `shift` seconds late, and what the model answers: filled where it is what the script had, unmoved.

    Args:
        asked: questions; answers: what the model wrote, in the same order.
    """
    right = [a == q.answer for q, a in zip(asked, answers, strict=True)]
    late = f"{abs(shift):g} s {'late' if shift > 0 else 'early'}" if shift else "where it belongs"
    figure = picture(13, 2.6 + 0.34 * len(asked), (
        f"The sound comes {late}; {sum(right)} of {len(asked)} answers are those of the unmoved clip. "
        + "; ".join(f"{q.text} {a}" for q, a in zip(asked, answers, strict=True)) + "."))
    seen, heard, told = figure.subplots(3, height_ratios=(0.7, 0.7, 0.34 * len(asked)))
    _boxes(seen, [(m.start, m.end, m.subject) for m in scene.moments if m.subject])
    sounds = [m.heard for m in scene.moments if m.heard]
    _boxes(heard, [(h.start + shift, h.start + h.seconds + shift, h.name) for h in sounds
                   if 0 <= h.start + h.seconds / 2 + shift < scene.duration], "white")  # others are moved out of the clip
    for axis, name in ((seen, "seen"), (heard, "heard")):
        axis.set(xlim=(0, scene.duration))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        for m in scene.moments[1:]:
            axis.axvline(m.start, color=MARK, linewidth=1.5, linestyle=(0, (3, 2)))
    seen.set_xticks([])
    seen.set_title(f"the sound comes {late}: {sum(right)} of {len(asked)} answers as before")
    heard.set(xticks=range(int(scene.duration) + 1))
    for i, (question, answer, same) in enumerate(zip(asked, answers, right, strict=True)):
        told.text(0.02, i, question.text, va="center", ha="left", fontsize=12.5)
        told.barh(i, 0.3, 0.8, left=0.62, color=STRONG if same else "white", edgecolor=INK)
        told.text(0.77, i, answer, va="center", ha="center", fontsize=12.5, color="white" if same else INK)
    told.set(xlim=(0, 1), ylim=(len(asked) - 0.5, -0.5))
    told.axis("off")
    return figure


@styled
def answers_by_shift(asked: list, answers: dict[float, list[str]]) -> Picture:
    """What the model answers to each question while the sound is moved: filled where it is the answer of the unmoved clip.

    Args:
        answers: by shift in seconds, one text for each of `asked`.
    """
    right = np.array([[a == q.answer for q, a in zip(asked, told, strict=True)] for told in answers.values()])
    figure = picture(14, 1.0 + 0.62 * len(asked), (
        f"Answers to {len(asked)} questions, by how late the sound comes. As in the unmoved clip: "
        + ", ".join(f"{shift:+g} s {row.sum()}" for shift, row in zip(answers, right, strict=True)) + "."))
    axis = figure.subplots()
    for column, told in enumerate(answers.values()):
        for row, (question, text) in enumerate(zip(asked, told, strict=True)):
            same = text == question.answer
            axis.barh(row, 0.94, 0.88, left=column - 0.47, color=STRONG if same else "white", edgecolor=INK)
            axis.text(column, row, textwrap.fill(text, 9), ha="center", va="center", fontsize=11.5, linespacing=0.95,
                      color="white" if same else INK)
    axis.set(xticks=range(len(answers)), yticks=range(len(asked)), xlabel="seconds by which the sound comes late (negative: early)",
             xlim=(-0.5, len(answers) - 0.5), ylim=(len(asked) - 0.5, -0.5))
    axis.set_xticklabels([f"{shift:+g}" if shift else "0" for shift in answers])
    axis.set_yticklabels([textwrap.fill(q.text, 26) for q in asked], fontsize=11.5, linespacing=0.95)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    figure.legend(handles=[Patch(facecolor=STRONG, edgecolor=INK, label="the unmoved clip's answer"),
                           Patch(facecolor="white", edgecolor=INK, label="another one")],
                  loc="outside upper center", ncols=2, frameon=False)
    return figure
