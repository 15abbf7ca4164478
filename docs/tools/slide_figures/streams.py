"""Lecture 1: a clip, its streams, its tokens, synchronisation."""

import numpy as np
import torch
from matplotlib.patches import Rectangle

from docs.tools.results import sample_scores
from docs.tools.slide_numbers import config, sample
from favor_mini import read_clip
from favor_mini.figures.shapes import borders
from favor_mini.figures.style import LIGHT, listed
from favor_mini.figures.timeline import frame_strip, heard_events, log_mel, seen_events, waveform
from favor_mini.registry import find
from favor_mini.sync import synchronise

from .stage import AUDIO, BOTH, GREY, INK, VIDEO, box, empty, label, link, sheet, slide


def _clip(frame_rate: float = 2.0):
    return read_clip(sample().path, frame_rate=frame_rate)


def _moments(axis, clip, side: float) -> None:
    """A frame of each moment of the script in its place, `side` seconds wide."""
    for m in sample().scene.moments:
        middle = (m.start + m.end) / 2
        axis.imshow(clip.frames[int(2 * (m.start + 0.4 * (m.end - m.start)))],
                    extent=(middle - side / 2, middle + side / 2, 0, 1))
    axis.set(xlim=(0, clip.duration), ylim=(0, 1))
    axis.axis("off")


@slide
def clip_and_sound(name: str = "bell"):
    """The frames of a clip, its waveform, and where one sound is."""
    clip, scene = _clip(), sample().scene
    (start, end), = [(a, b) for a, b, heard in heard_events(scene) if heard == name]
    figure, (above, below) = empty(
        f"Frames of a clip of {clip.duration:.0f} s, and its waveform. The {name} is heard from "
        f"{start:.1f} to {end:.1f} s.", 520, 2, height_ratios=(1.1, 1))
    _moments(above, clip, 1.7)
    waveform(below, clip)
    below.lines[0].set_color(INK)
    below.axvspan(start, end, color=AUDIO, alpha=0.25, linewidth=0)
    below.text((start + end) / 2, 1.05 * np.abs(clip.waveform).max(), name, color=AUDIO,
               ha="center", va="bottom", fontweight="bold")
    below.set(xlim=(0, clip.duration), xlabel="time (s)", yticks=[], xticks=range(0, 12, 2))
    return figure


PARTS = {  # of the pipeline: (x, y, width, height, text)
    "frames": (0, 30, 240, 130, "frames"), "sound": (0, 440, 240, 130, "sound"),
    "vision": (310, 30, 260, 130, "visual\nencoder"),
    "audio": (310, 440, 260, 130, "audio\nencoder"),
    "sync": (640, 190, 250, 220, "synchro-\nnisation"),
    "qformer": (960, 190, 250, 220, "causal\nQ-Former\nin windows"),
    "llm": (1280, 190, 218, 220, "language\nmodel")}
LINKS = (((240, 95), (310, 95)), ((240, 505), (310, 505)), ((570, 95), (640, 250)),
         ((570, 505), (640, 350)), ((890, 300), (960, 300)), ((1210, 300), (1280, 300)),
         ((1390, 505), (1390, 410)), ((1390, 190), (1390, 95)))


@slide
def pipeline(lit: str = " ".join(PARTS)):
    """The parts of FAVOR in the order of the data; those of `lit`, words, are coloured."""
    figure, axis = sheet(
        "The pipeline. Frames go through a visual encoder, sound through an audio encoder. "
        "Synchronisation joins both; then windows and the causal Q-Former, then the language "
        "model, which also reads the question and writes the answer.", 580)
    colours = {"frames": VIDEO, "vision": VIDEO, "sound": AUDIO, "audio": AUDIO}
    for name, (x, y, width, height, text) in PARTS.items():
        box(axis, x, y, width, height, text,
            colours.get(name, BOTH) if name in lit.split() else "white")
    for start, end in LINKS:
        link(axis, start, end)
    label(axis, 1390, 545, "question")
    label(axis, 1390, 55, "answer")
    return figure


@slide
def script():
    """What is seen and heard in a clip, moment by moment, and its frames."""
    clip, scene = _clip(), sample().scene
    seen, heard = seen_events(scene), heard_events(scene)
    figure, axes = empty(
        "The script of a clip. Seen: " + "; ".join(f"{n} from {a:.1f} s" for a, _, n in seen)
        + ". Heard: " + "; ".join(f"{n} from {a:.1f} s" for a, _, n in heard) + ".",
        630, 3, height_ratios=(1.5, 0.8, 0.8))
    _moments(axes[0], clip, 1.7)
    for start, end, text in seen:
        axes[1].barh(0.5, end - start, 1, left=start, color=VIDEO, edgecolor="white", linewidth=4)
        label(axes[1], (start + end) / 2, 0.5, text.replace(" ", "\n"), color="white",
              linespacing=0.95)
    for start, end, text in heard:
        axes[2].barh(0.15, end - start, 0.3, left=start, color=AUDIO, linewidth=0)
        label(axes[2], (start + end) / 2, 0.65, text, color=AUDIO)
    for axis in axes[1:]:
        axis.set(yticks=[], xlim=(0, clip.duration), ylim=(0, 1), xticks=[])
        axis.spines[:].set_visible(False)
    axes[2].set(xticks=range(0, 12, 2), xlabel="time (s)")
    return figure


@slide
def two_a_second(start: float = 0.0):
    """The frames of a second of the file, and the two that the model sees."""
    rate = 12
    frames = _clip(rate).frames[int(start * rate):int((start + 1) * rate)]
    figure, axes = empty(f"{rate} frames of one second of a film. Frames 1 and {rate // 2 + 1} are "
                         "marked: the model sees these two.", 560, 2)
    for axis, strip, time in zip(axes, (frames[:6], frames[6:]), (0, 0.5), strict=True):
        frame_strip(axis, strip)
        axis.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=VIDEO, linewidth=16))
        label(axis, -0.1, 0.5, f"{time:g} s", color=VIDEO, fontweight="bold", ha="right")
        axis.set(xlim=(-0.75, 6.05), ylim=(-0.02, 1.02))
        axis.axis("off")
    return figure


@slide
def rates():
    """What both streams have in a second, stage by stage."""
    paper = config()
    frames, tokens = paper.frame_rate, round(paper.audio_tokens * paper.frame_rate)
    rows = ((VIDEO, ("24 or more\nframes", f"{frames:g} frames",
                     f"{frames * paper.visual_tokens:g} tokens"), ("choose", "encoder")),
            (AUDIO, ("16,000\nsamples", f"{2 * tokens} columns", f"{tokens} tokens"),
             ("spectrogram", "encoder")))
    figure, axis = sheet("Each second. " + listed({
        "picture" if colour == VIDEO else "sound": ", ".join(stages).replace("\n", " ")
        for colour, stages, _ in rows}) + ".", 500)
    for row, (colour, stages, between) in enumerate(rows):
        y = 60 + 260 * row
        for i, text in enumerate(stages):
            box(axis, 580 * i + 2, y, 335, 150, text, colour)
        for i, text in enumerate(between):
            link(axis, (580 * i + 337, y + 75), (580 * (i + 1) + 2, y + 75))
            label(axis, 580 * i + 460, y - 30, text)
    return figure


@slide
def spectrogram():
    """The log-mel spectrogram of a clip, with the names of its sounds."""
    clip, heard = _clip(), heard_events(sample().scene)
    figure, axis = empty("Log-mel spectrogram of a clip, low frequencies below, with "
                         + ", ".join(f"{n} at {a:.1f} s" for a, _, n in heard) + ".", 560)
    log_mel(axis, clip)
    for start, end, name in heard:
        axis.text((start + end) / 2, 1.03, name, ha="center", va="bottom", color=AUDIO)
    axis.set(xlabel="time (s)", ylabel="frequency (mel)", yticks=[], ylim=(0, 1),
             xticks=range(0, 12, 2))
    return figure


@slide
def step_tokens():
    """The tokens of two time steps: visual ones at the moment of a frame, audio ones in a row."""
    paper = config()
    visual, audio = paper.visual_tokens, paper.audio_tokens
    figure, axis = empty(
        f"Two time steps of 0.5 s. Each has {visual} visual tokens, all of one moment, and "
        f"{audio} audio tokens, one every 20 ms.", 560)
    for step in (0, 1):
        places = np.arange(visual)
        axis.scatter(np.full(visual, step / 2 + 0.012), 2 + 8 * places / visual, s=49, marker="s",
                     color=VIDEO, linewidth=0)
        axis.scatter(step / 2 + (np.arange(audio) + 0.5) * 0.02, np.zeros(audio), s=260,
                     color=AUDIO, linewidth=0)
        axis.text(step / 2 + 0.05, 6, f"{visual} visual tokens\nof one moment", va="center",
                  color=VIDEO)
        axis.text(step / 2 + 0.25, 0.7, f"{audio} audio tokens, 20 ms each", ha="center",
                  va="bottom", color=AUDIO)
    borders(axis, (0.5,), color=INK, linewidth=4)
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.8, 10.3), yticks=[], xticks=(0, 0.5, 1),
             xlabel="time (s)")
    axis.spines["left"].set_visible(False)
    return figure


@slide
def joined_step():
    """A synchronised time step: P tokens, the visual and the audio features next to each other."""
    paper = config()
    visual, audio = paper.visual_tokens, paper.audio_tokens
    tokens, width = paper.step_shape
    held = synchronise(torch.ones(1, 1, visual, 1), torch.ones(1, audio, 1),
                       audio_tokens=audio)[0, 0].bool()  # [P, 2]
    figure, axis = sheet(
        f"A time step of {tokens} tokens with {width} features. The left half has {visual} visual "
        f"tokens, the right half {audio} audio tokens and below {tokens - audio} rows of zeros.",
        640)
    unit = 510 / tokens
    for half, (colour, name, wide) in enumerate((
            (VIDEO, "visual", width - paper.audio_width), (AUDIO, "audio", paper.audio_width))):
        filled = int(held[:, half].sum())
        box(axis, 200 + 520 * half, 80, 520, filled * unit, f"{filled} {name}\ntokens", colour)
        if filled < tokens:
            box(axis, 200 + 520 * half, 80 + filled * unit, 520, (tokens - filled) * unit,
                f"{tokens - filled} rows of zeros", "white", hatch="/", edgecolor=GREY)
            axis.texts[-1].set_bbox({"facecolor": "white", "linewidth": 0, "pad": 4})
        label(axis, 460 + 520 * half, 35, f"{wide} features")
    label(axis, 90, 335, f"P =\n{tokens}\ntokens")
    label(axis, 1375, 335, "one time\nstep\n(0.5 s)")
    return figure


@slide
def missing_streams():
    """Which time steps are real in either stream, for four kinds of input."""
    kinds = {"film with sound": (6, 6), "silent film": (6, 0), "sound only": (0, 6),
             "film, short sound": (6, 4)}
    figure, axis = sheet("Six time steps of four inputs; picture and sound are there or zeros. "
                         + listed(kinds, lambda n: f"{n[0]} steps with picture, {n[1]} with sound")
                         + ".", 600)
    for row, (name, counts) in enumerate(kinds.items()):
        y = 150 * row
        label(axis, 0, y + 65, name, ha="left")
        for half, (count, colour) in enumerate(zip(counts, (VIDEO, AUDIO), strict=True)):
            for t in range(6):
                box(axis, 420 + 180 * t, y + 62 * half, 170, 58, "" if t < count else "0",
                    colour if t < count else "white", edgecolor=GREY, linewidth=2)
    return figure


def _layout(name: str, num_frames: int) -> list[list[str]]:
    """The tokens of a clip of one visual and one audio token a step, from the registered part."""
    visual = torch.arange(1.0, num_frames + 1).view(1, -1, 1, 1)
    audio = 100 * torch.arange(1.0, num_frames + 1).view(1, -1, 1)
    steps, _ = find("sync", name)(visual, audio, visual[..., 0, 0] > 0, audio[..., 0] > 0,
                                  audio_tokens=1)
    codes = steps[0].sum(-1).flatten().int().tolist()
    return [[*["v"] * bool(c % 100), *["a"] * bool(c // 100), c % 100 or c // 100] for c in codes]


@slide
def layouts(names: str = "concat interleave append", num_frames: int = 4):
    """Where each way to join puts the tokens of a clip: one box is one token."""
    rows = {name: _layout(name, num_frames) for name in names.split()}
    figure, axis = sheet("Tokens of four time steps. " + listed(
        rows, lambda tokens: ", ".join("+".join(t[:-1]) + str(t[-1]) for t in tokens)) + ".",
        160 * len(rows))
    for row, (name, tokens) in enumerate(rows.items()):
        y = 160 * row
        label(axis, 0, y + 65, name, ha="left")
        for i, (*kinds, number) in enumerate(tokens):
            for k, kind in enumerate(kinds):
                box(axis, 270 + 152 * i, y + (0 if len(kinds) > 1 else 32) + 65 * k, 142, 65,
                    f"{kind}{number}", VIDEO if kind == "v" else AUDIO, linewidth=2)
    return figure


@slide
def delays(shown: str = "0 1 2"):
    """Accuracy of the shipped model where the sound comes late, with intervals and chance."""
    groups = {"both modalities": BOTH, "one modality, plain": GREY}
    found = {delay: {s.name: s for s in sample_scores(delay) if s.name in groups}
             for delay in shown.split()}
    figure, axis = empty("Accuracy with delayed sound. " + listed(found, lambda by_name: ", ".join(
        f"{name} {s.accuracy:.0%}" for name, s in by_name.items())) + ".", 560)
    for i, (name, colour) in enumerate(groups.items()):
        scores = [by_name[name] for by_name in found.values()]
        places = np.arange(len(scores)) + 0.4 * i - 0.2
        values = np.array([s.accuracy for s in scores])
        ends = np.array([(s.accuracy - s.low, s.high - s.accuracy) for s in scores]).T
        axis.bar(places, 100 * values, 0.36, color=colour, linewidth=0, label={
            "both modalities": "questions about both", "one modality, plain": "about one"}[name])
        axis.errorbar(places, 100 * values, 100 * ends, fmt="none", ecolor=INK, capsize=12)
        for x, value in zip(places, values, strict=True):
            axis.text(x, 3, f"{value:.0%}", ha="center", color="white", fontweight="bold")
    axis.set(ylim=(0, 105), ylabel="right answers in %", yticks=(0, 50, 100))
    axis.set_xticks(range(len(found)), [f"sound {d} s late" if d != "0" else "in time"
                                        for d in found])
    axis.tick_params(axis="x", length=0)
    axis.axhline(100, color=LIGHT, zorder=0)
    figure.legend(loc="outside upper center", ncols=2)
    return figure
