"""Synchronisation: tokens over time and in a step, layouts, and shifted sound."""

import numpy as np
import torch

from ..registry import find
from ..sync import synchronise
from ..world.scene import Scene
from .plots import matrices
from .shapes import borders, boxes, colour_legend, named_rows, time_axis, time_rows
from .style import INK, LIGHT, MARK, STRONG, Picture, inline, listed, picture, styled
from .timeline import heard_events, seen_events

LATE = "seconds by which the sound is late (negative: early)"


@styled
def token_times(num_frames: int, visual_tokens: int, audio_tokens: int) -> Picture:
    """Both streams' tokens on one time axis: V at once per frame, audio tokens in a row."""
    total, seconds = num_frames * audio_tokens, num_frames / 2
    figure, (seen, heard) = time_rows(
        12, 3.1, f"Tokens on a time axis of {seconds:g} s. Above, {num_frames} frames, each a "
        f"stack of {visual_tokens} visual tokens at one moment. Below, {total} audio tokens one "
        f"after another, {audio_tokens} a step of 0.5 s.",
        {"visual tokens": 1.7, "audio tokens": 1}, seconds)
    ends = np.arange(num_frames + 1) / 2
    places = np.indices((num_frames, visual_tokens))
    seen.scatter(places[0] / 2 + 0.02, places[1], s=42, marker="s")
    heard.scatter((np.arange(total) + 0.5) / (2 * audio_tokens), np.zeros(total), s=16, color=INK)
    for axis in (seen, heard):
        borders(axis, ends)
    for i, start in enumerate(ends[:-1]):
        seen.text(start + 0.25, visual_tokens, ha="center", va="bottom",
                  s=f"step {i}: {visual_tokens} visual, {audio_tokens} audio")
    seen.set_ylim(-1, visual_tokens)
    heard.set(ylim=(-1, 1), xlim=(-0.02, seconds + 0.02), xticks=ends)
    return figure


def step_contents(
        num_frames: int, visual_tokens: int, audio_length: int, audio_tokens: int) -> Picture:
    """Which of the T x P places of `synchronise`'s output hold a token, in either half."""
    steps = synchronise(torch.ones(1, num_frames, visual_tokens, 1), torch.ones(1, audio_length, 1),
                        audio_tokens=audio_tokens)[0]
    held = steps.bool().numpy()  # [T, P, 2]
    visual, audio = (f"{share:.0%}" for share in held.mean((0, 1)))
    steps, tokens = held.shape[:2]
    figure = matrices(
        {f"visual half: {visual} filled": held[..., 0].T,
         f"audio half: {audio} filled": held[..., 1].T}, x=f"time step, T = {steps}",
        y=f"token, P = {tokens}", legend=("token", "zeros"),
        alt=f"{num_frames} frames of {visual_tokens} tokens and {audio_length} audio tokens in "
        f"steps of {audio_tokens} give T = {steps} steps of P = {tokens} tokens; the visual half "
        f"is filled at {visual} of the places, the audio half at {audio}.")
    figure.set_size_inches(13, 4.4)
    for axis in figure.axes:
        axis.set_aspect("auto")
        for places, line in ((range(steps), axis.axvline), (range(tokens), axis.axhline)):
            for place in places:
                line(place - 0.5, color=LIGHT, linewidth=1)
    return figure


@styled
def layouts(
        names: list[str], num_frames: int, visual_tokens: int, audio_tokens: int) -> Picture:
    """Where each synchronisation puts tokens, measured: v2 is of frame 2, a2 of step 2, from 0."""
    numbers = torch.arange(1.0, num_frames + 1)
    visual = numbers.view(1, -1, 1, 1).expand(-1, -1, visual_tokens, -1)
    audio = 100 * numbers.repeat_interleave(audio_tokens).view(1, -1, 1)
    real = visual[..., 0, 0] > 0, audio[..., 0] > 0
    rows = {name: find("sync", name)(visual, audio, *real, audio_tokens=audio_tokens)[0][0]
            .sum(-1).int().numpy() for name in names}  # [T, P] each
    details = listed(rows, lambda steps: " | ".join(
        " ".join(_code_name(code).replace(" ", "+") for code in step) for step in steps))
    figure, axis = picture(
        14, 0.5 + 1.15 * len(rows), f"The layout of the tokens of {num_frames} steps, v visual and "
        f"a audio, with the number of their step, from 0. {details}.")
    for row, steps in enumerate(rows.values()):
        for place, code in enumerate(steps.flatten()):
            seen, heard = code % 100, code // 100
            both = STRONG if seen == heard else MARK
            colour = both if seen and heard else LIGHT if seen else "white"
            boxes(axis, [(place + 0.04, place + 0.96, _code_name(code))], y=row, height=0.78,
                  colour=colour)
        axis.vlines(range(steps.shape[1], steps.size, steps.shape[1]), row - 0.46, row + 0.46,
                    color=INK)
    named_rows(axis, rows)
    axis.set(xlim=(-0.1, max(steps.size for steps in rows.values()) + 0.1), xticks=[])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    colour_legend(figure, {"visual and audio in one token": STRONG, "visual only": LIGHT,
                           "audio only": "white"})
    return figure


def _code_name(code: int) -> str:
    """Names of the tokens with the sum `code`; a visual one is its step + 1, audio 100 times it."""
    names = [f"v{code % 100 - 1}"] * bool(code % 100) + [f"a{code // 100 - 1}"] * bool(code // 100)
    return " ".join(names) or "0"


@styled
def clip_steps(scene: Scene, steps, visual_width: int) -> Picture:
    """A clip's synchronised steps and its script on one time axis.

    Bars show how much the visual half changes from step to step, and how far the audio half is from
    silence (the clip's median audio token). Steps whose half is empty have no bar.

    Args:
        steps: (T, P, D_v + D_a).
    """
    steps = torch.as_tensor(steps).float()
    seen = steps[..., :visual_width].mean(1)  # [T, D_v]
    heard = steps[..., visual_width:]  # [T, P, D_a]
    change = torch.zeros(len(steps))  # [T]
    change[1:] = 1 - torch.nn.functional.cosine_similarity(seen[1:], seen[:-1])
    change[1:][~(seen[1:].any(1) & seen[:-1].any(1))] = 0
    token = heard.any(-1)  # [T, P]
    distance = (heard - heard[token].median(0).values).square().sum(-1) * token  # [T, P]
    sound = distance.sum(1) / token.sum(1).clamp(min=1)  # [T]
    loud, cuts = (", ".join(f"{i / 2:g} s" for i in np.flatnonzero(where))
                  for where in (sound > sound.max() / 2, change > 0.2))
    script = "; ".join(f"{m.start:.1f} s {m.subject}, {m.heard.name if m.heard else 'nothing'} "
                       f"heard" for m in scene.moments)
    figure, axes = time_rows(
        13, 5.6, f"{len(steps)} time steps of a clip and its script. The visual half changes at "
        f"{cuts}; the audio half is far from silence in the steps at {loud}. Script: {script}.",
        {"seen": 0.6, "change of the\nvisual half": 1, "heard": 0.6, "distance\nfrom silence": 1},
        len(steps) / 2)
    boxes(axes[0], seen_events(scene))
    boxes(axes[2], heard_events(scene))
    for axis, values in ((axes[1], change), (axes[3], sound)):
        axis.bar(np.arange(len(steps)) / 2, values, 0.45, align="edge")
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
    """A clip with shifted sound and the model's answers; filled: the answer without a shift."""
    same = [a == q.answer for q, a in zip(asked, answers, strict=True)]
    right = f"{sum(same)} of {len(asked)} answers"
    late = f"{abs(shift):g} s {'late' if shift > 0 else 'early'}" if shift else "in its place"
    figure, (seen, heard, table) = picture(
        13, 2.6 + 0.34 * len(asked), f"The sound is {late}; {right} are those without a shift. "
        + "; ".join(f"{q.text} {a}" for q, a in zip(asked, answers, strict=True)) + ".",
        3, height_ratios=(0.7, 0.7, 0.34 * len(asked)))
    boxes(seen, seen_events(scene))
    boxes(heard, [(start + shift, end + shift, name) for start, end, name in heard_events(scene)
                  if 0 <= (start + end) / 2 + shift < scene.duration], colour="white")
    time_axis((seen, heard), ("seen", "heard"), scene.duration)
    for axis in (seen, heard):
        borders(axis, [m.start for m in scene.moments[1:]])
    seen.set(xlim=heard.get_xlim(), xticks=[],
             title=f"the sound is {late}: {right} as without a shift")
    for i, (question, answer, full) in enumerate(zip(asked, answers, same, strict=True)):
        table.text(0.02, i, question.text, va="center")
        boxes(table, [(0.62, 0.92, answer)], y=i, height=0.8, characters=99,
              colour=STRONG if full else "white")
    table.set(xlim=(0, 1), ylim=(len(asked) - 0.5, -0.5))
    table.axis("off")
    return figure


@styled
def answers_by_shift(asked: list, answers: dict[float, list[str]]) -> Picture:
    """The answers to `asked` at each shift of the sound; filled: right for the unshifted clip."""
    counts = inline({
        f"{shift:+g} s": sum(a == q.answer for q, a in zip(asked, texts, strict=True))
        for shift, texts in answers.items()})
    figure, axis = picture(
        14, 1.0 + 0.62 * len(asked), f"Answers to {len(asked)} questions at shifts of the sound. "
        f"Right for the unshifted clip: {counts}.")
    for column, texts in enumerate(answers.values()):
        for row, text in enumerate(texts):
            boxes(axis, [(column - 0.47, column + 0.47, text)], y=row, height=0.88,
                  colour=STRONG if text == asked[row].answer else "white")
    axis.set(xlabel=LATE, xlim=(-0.5, len(answers) - 0.5))
    axis.set_xticks(range(len(answers)), [f"{shift:+g}" if shift else "0" for shift in answers])
    named_rows(axis, [q.text for q in asked], 26)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    colour_legend(
        figure, {"the answer without a shift": STRONG, "another one": "white"}, "upper center")
    return figure
