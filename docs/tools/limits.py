"""Measure what a checkpoint knows about its own limits, and write it into its model card.

    python -m docs.tools.limits      # fit and measure the shipped checkpoint anew (15 minutes)
"""

from pathlib import Path

import numpy as np

from favor_mini import checkpoint_path
from favor_mini.data.features import encode_media
from favor_mini.evaluation.calibration import calibrate, expected_calibration_error, reliability
from favor_mini.evaluation.checkpoint import load_checkpoint
from favor_mini.evaluation.familiarity import STREAMS, Familiarity
from favor_mini.media.clip import Clip, clip_from_arrays
from favor_mini.pretraining.familiar import (
    HELD_OUT,
    KINDS,
    Answers,
    encode_recorded,
    fit_familiarity,
    held_out_answers,
)
from favor_mini.storage import atomic_write
from favor_mini.world.scene import stream

TITLE = "## What it knows about its limits"  # of a section of the model card
MEASURED = 100  # recorded scenes for that section
FOREIGN = 50  # clips from outside the mini world


def write_limits(checkpoint) -> None:
    """Measure the confidence, and the foreign clips and questions that are noticed, on clips that
    nothing was fitted to; write it at the end of the checkpoint's model card."""
    model, processor = load_checkpoint(checkpoint)
    first = HELD_OUT + 1000
    encoded = encode_recorded(model, processor, range(first, first + MEASURED))
    section = limits(held_out_answers(model, processor, encoded), Familiarity.load(checkpoint),
                     familiarity_report(checkpoint))
    card = Path(checkpoint) / "README.md"
    before = card.read_text(encoding="utf-8").split(TITLE)[0].rstrip()
    with atomic_write(card) as temporary:
        temporary.write_text(f"{before}\n\n{section}", encoding="utf-8")


def limits(found: Answers, fitted: Familiarity, foreign: dict) -> str:
    """The section of the model card, in Markdown."""
    distance = np.array([fitted.question(value) for value in found.surprise])
    confidence = calibrate(fitted.tensors["confidence.weights"], found.probability, distance)
    known = found.kind == 0
    curve = reliability(confidence[known], found.right[known])
    lines = [TITLE, "", f"Measured on {MEASURED} validation scenes and those of the tasks, to "
             "which nothing was fitted.", "", "| confidence | share that is right | answers |",
             "|---|---|---|"]
    lines += [f"| {b.confidence:.1%} | {b.accuracy:.1%} | {b.count} |" for b in curve]
    everything = expected_calibration_error(reliability(confidence, found.right))
    lines += ["", "Expected calibration error, ten bins of equal count: "
              f"{expected_calibration_error(curve):.3f} for questions as in training, "
              f"{everything:.3f} with the foreign ones.", "",
              "| questions | number | noticed | mean confidence |", "|---|---|---|---|"]
    lines += [f"| {name} | {(found.kind == i).sum()} | {(distance[found.kind == i] > 1).mean():.1%}"
              f" | {confidence[found.kind == i].mean():.1%} |" for i, name in enumerate(KINDS)]
    clips = [f"{foreign[stream]['noticed']:.0%} ({stream})" for stream in STREAMS]
    lines += ["", f"Noticed: `favor-mini ask` adds a note. Of {FOREIGN} clips with foreign "
              f"pictures and sounds, it notices {' and '.join(clips)}.", ""]
    return "\n".join(lines)


def familiarity_report(checkpoint, foreign: int = FOREIGN) -> dict[str, dict[str, float]]:
    """The median distance of foreign clips, and the share that is noticed (distance above 1)."""
    model, processor = load_checkpoint(checkpoint)
    fitted = Familiarity.load(checkpoint)
    clips = foreign_clips(foreign, processor.settings.image_size)
    distances = [fitted.distances(encode_media(model, processor, [processor.media(clip)])[0])
                 for clip in clips]
    found = {name: np.array([d[name] for d in distances]) for name in STREAMS}
    return {name: {"median distance": float(np.median(values)),
                   "noticed": float((values > 1).mean())} for name, values in found.items()}


def foreign_clips(count: int, size: int = 64, seconds: int = 10) -> list[Clip]:
    """Clips from outside the mini world, to test the score: moving clouds, a hum and noise.

    The clouds have the amplitude spectrum of photographs (1 / frequency). The hum is a sum of
    harmonics, the noise is coloured.
    """
    clips = []
    for i in range(count):
        rng = stream("clips outside the mini world", i)
        radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
        noise = rng.standard_normal((3, size, size))
        cloud = np.fft.ifft2(np.fft.fft2(noise) / np.maximum(radius, 1 / size)).real  # (3, H, W)
        cloud = 128 + 50 * cloud / cloud.std()
        frames = np.stack([np.roll(cloud, 3 * t, axis=2) for t in range(2 * seconds)])
        t = np.arange(seconds * 16000) / 16000
        hum = sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * k * rng.uniform(80, 300) * t)
                  for k in range(1, 8))
        hiss = np.cumsum(rng.standard_normal(len(t)))
        hiss = (hiss - np.convolve(hiss, np.ones(800) / 800, "same")) / 20
        hum *= 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t)
        clips.append(clip_from_arrays(
            frames=frames.transpose(0, 2, 3, 1).clip(0, 255).astype(np.uint8),
            waveform=(0.1 * hum + 0.1 * hiss).clip(-1, 1)))
    return clips


if __name__ == "__main__":
    fit_familiarity(checkpoint_path())
    write_limits(checkpoint_path())
