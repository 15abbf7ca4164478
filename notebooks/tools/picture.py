"""Draws the README's picture: `python -m notebooks.tools.picture`."""

from favor_mini import read_clip
from favor_mini.figures.style import save
from favor_mini.figures.timeline import timeline
from favor_mini.world.samples import read_samples

from .build import FOLDER

if __name__ == "__main__":
    sample = read_samples()[0]
    save(timeline(sample.scene, read_clip(sample.path)), FOLDER / "images" / "timeline.png", dpi=80)
