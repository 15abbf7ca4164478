"""The visual encoder's pretraining: name what a frame shows, with colours and places."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..config import FavorConfig
from ..encoders import VisualEncoder
from ..processor import FavorProcessor
from ..world.pictures import moment_at, path_at
from ..world.rows import grainy_frames
from ..world.scene import COLOURS, SHAPES, THINGS, WORDS, Scene
from .scenes import stack

# Vision: name what a frame is about, then what stands beside it, with colours and places.

NAMES = ("nothing", *SHAPES, *THINGS, *WORDS)
ACTORS = 3  # at most, see `world.scene.Moment`


def visual_labels(scene: Scene, t: float) -> dict[str, torch.Tensor]:
    """Labels of one frame: names (3,), colours (3,) and places (3, 2) of its moment's actors in their order; 0, 0 and
    NaN where there is none."""
    names, colours = torch.zeros(ACTORS, dtype=torch.long), torch.zeros(ACTORS, dtype=torch.long)
    places = torch.full((ACTORS, 2), torch.nan)
    moment = moment_at(scene, t)
    if moment is not None:
        done = (t - moment.start) / (moment.end - moment.start)
        for i, actor in enumerate(moment.actors):
            colour = actor.turns if actor.turns and done >= 0.5 else actor.colour
            names[i], colours[i] = NAMES.index(actor.name), COLOURS.index(colour) + 1 if colour else 0
            places[i] = torch.tensor(path_at(actor, min(1.0, done / moment.arrive)))
    return {"names": names, "colours": colours, "places": places}


class VisualProbe(nn.Module):
    """Two linear heads with one task: one on the Q-Former's mean token, one on the ViT's mean patch, so that the ViT
    learns from the first step on and not only once the Q-Former has learned to look.

    The mean, not all tokens side by side: what is spread over the tokens of a frame in a way that only a map with other
    weights for each can read, attention cannot gather (a causal Q-Former on such tokens heard, but stayed blind).
    """

    def __init__(self, config: FavorConfig):
        super().__init__()
        self.encoder = VisualEncoder(config.vision_config, config.visual_qformer_config, config.visual_tokens,
                                     config.conv_stem)
        self.sizes = (len(NAMES), 1 + len(COLOURS), 2)
        self.head = nn.Linear(config.visual_width, ACTORS * sum(self.sizes))
        self.patch_head = nn.Linear(config.vision_config.hidden_size, ACTORS * sum(self.sizes))

    def forward(self, pixel_values, names, colours, places):
        """pixel_values (B, n, 3, H, W), n frames of a scene, and the labels of `visual_labels`."""
        patches = self.encoder.encode_patches(pixel_values)  # [B * n, patches, D]
        tokens = self.encoder.query_patches(patches)  # [B * n, V, D_v]
        truth = [t.flatten(0, 1) for t in (names, colours, places)]
        loss, right, place_error = self.judge(self.head(tokens.mean(1)), *truth)
        return {"loss": loss + self.judge(self.patch_head(patches.mean(1)), *truth)[0], "right": right,
                "place_error": place_error}

    def judge(self, found, names, colours, places):
        """Loss, share of pictures named without any mistake, and mean error of the places (fractions of the side)."""
        found = found.float().unflatten(-1, (ACTORS, -1))  # [B * n, 3, sizes]
        name, colour, place = (part.flatten(0, 1) for part in found.split(self.sizes, dim=-1))  # [B * n * 3, ...]
        known = ~places.isnan()
        loss = (6 * F.cross_entropy(name, names.flatten()) + 6 * F.cross_entropy(colour, colours.flatten())
                + 10 * F.mse_loss(place.view_as(places)[known], places[known]))
        right = (name.argmax(-1) == names.flatten()) & (colour.argmax(-1) == colours.flatten())
        return loss, right.view_as(names).all(-1).float().mean(), (place.view_as(places)[known] - places[known]).abs().mean()

    @staticmethod
    def example(scene: Scene, processor: FavorProcessor, frames: int = 4) -> dict:
        # One picture of each of `frames` different moments: two of one moment would teach little more than one.
        rng = np.random.default_rng([scene.seed, 51])
        moments = rng.choice(len(scene.moments), frames, replace=False)
        times = [rng.uniform(scene.moments[i].start, scene.moments[i].end) for i in moments]
        pictures = grainy_frames(scene, times, processor.settings.image_size)
        return {"pixel_values": processor.pixels(pictures), **stack([visual_labels(scene, t) for t in times])}
