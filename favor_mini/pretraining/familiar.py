"""Fit the familiarity score of a checkpoint (`evaluation.familiarity`)."""

from ..data.features import encode_media
from ..evaluation.checkpoint import load_checkpoint
from ..evaluation.familiarity import Familiarity
from ..world.rows import encode_scenes
from ..world.scene import SPLITS
from ..world.video import record_scenes

HELD_OUT = SPLITS["validation"].start + 10**8  # not among the scenes that score models


def fit_familiarity(checkpoint, *, scenes: int = 400, held_out: int = 100) -> Familiarity:
    """Write `familiarity.safetensors` into the folder of a checkpoint.

    Args:
        scenes: number of training scenes to fit.
        held_out: number of validation scenes for the threshold, read from MP4 files.
    """
    model, processor = load_checkpoint(checkpoint)
    seeds = range(HELD_OUT, HELD_OUT + held_out)
    clips = record_scenes(seeds, image_size=processor.settings.image_size, progress=True)
    known = [encode_media(model, processor, [processor.media(clip)])[0] for _, clip in clips]
    fitted = Familiarity.fit(encode_scenes(model, processor, SPLITS["train"][:scenes]), known)
    fitted.save(checkpoint)
    return fitted
