"""Pretraining of the visual encoder: name the actors of a frame, with colours and places."""

import torch
import torch.nn.functional as F
from torch import nn

from ..config import FavorConfig
from ..encoders import VisualEncoder
from ..processor import FavorProcessor
from ..world.pictures import moment_at, path_at
from ..world.rows import noisy_frames
from ..world.scene import COLOURS, SHAPES, THINGS, WORDS, Scene, stream
from .scenes import stack

NAMES = ("nothing", *SHAPES, *THINGS, *WORDS)
ACTORS = 3  # the largest number in a moment


def visual_labels(scene: Scene, t: float) -> dict[str, torch.Tensor]:
    """Labels of the frame at `t` seconds, for up to three actors.

    Returns:
        names (3,), indices of `NAMES`; colours (3,), 0 for none; places (3, 2), x and y as
        fractions of the side, NaN where there is no actor.
    """
    names, colours = torch.zeros(2, ACTORS, dtype=torch.long)
    places = torch.full((ACTORS, 2), torch.nan)
    moment = moment_at(scene, t)
    if moment is not None:
        done = (t - moment.start) / (moment.end - moment.start)
        for i, actor in enumerate(moment.actors):
            colour = actor.turns if actor.turns and done >= 0.5 else actor.colour
            names[i] = NAMES.index(actor.name)
            colours[i] = COLOURS.index(colour) + 1 if colour else 0
            places[i] = torch.tensor(path_at(actor, min(1.0, done / moment.arrive)))
    return {"names": names, "colours": colours, "places": places}


class VisualProbe(nn.Module):
    """The visual encoder with two linear heads, on the Q-Former's mean token and on the mean patch.

    The second trains the ViT before the Q-Former has learned to attend. Both take a mean: attention
    cannot collect what only different weights for each token read.
    """

    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = VisualEncoder(config.vision_config, config.visual_qformer_config,
                                     config.visual_tokens, config.conv_stem)
        self.sizes = (len(NAMES), 1 + len(COLOURS), 2)
        self.head = nn.Linear(config.visual_width, ACTORS * sum(self.sizes))
        self.patch_head = nn.Linear(config.vision_config.hidden_size, ACTORS * sum(self.sizes))

    def forward(self, pixel_values, names, colours, places):
        """pixel_values: (B, n, 3, H, W), n frames of a scene. The others: see `visual_labels`."""
        patches = self.encoder.encode_patches(pixel_values)  # [B * n, patches, D]
        tokens = self.encoder.query_patches(patches)  # [B * n, V, D_v]
        labels = [t.flatten(0, 1) for t in (names, colours, places)]
        loss, right, place_error = self.score(self.head(tokens.mean(1)), *labels)
        patch_loss, *_ = self.score(self.patch_head(patches.mean(1)), *labels)
        return {"loss": loss + patch_loss, "right": right, "place_error": place_error}

    def score(self, logits, names, colours, places):
        """Loss, share of frames with all names and colours right, and mean error of the places."""
        logits = logits.float().unflatten(-1, (ACTORS, -1))  # [B * n, 3, sizes]
        name, colour, place = (part.flatten(0, 1) for part in logits.split(self.sizes, dim=-1))
        known = ~places.isnan()
        place = place.view_as(places)[known]
        loss = (6 * F.cross_entropy(name, names.flatten())
                + 6 * F.cross_entropy(colour, colours.flatten())
                + 10 * F.mse_loss(place, places[known]))
        right = (name.argmax(-1) == names.flatten()) & (colour.argmax(-1) == colours.flatten())
        return (loss, right.view_as(names).all(-1).float().mean(),
                (place - places[known]).abs().mean())

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, frames: int = 4) -> dict:
        """One frame from each of `frames` different moments, with its labels."""
        rng = stream("visual pretraining frames", scene.seed)
        moments = rng.choice(len(scene.moments), frames, replace=False)
        times = [rng.uniform(scene.moments[i].start, scene.moments[i].end) for i in moments]
        pictures = noisy_frames(scene, times, processor.settings.image_size)
        return {"pixel_values": processor.pixels(pictures),
                **stack([visual_labels(scene, t) for t in times])}
