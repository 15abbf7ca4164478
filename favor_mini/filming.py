"""Scenes by way of a real video file: drawn, encoded as H.264 and AAC, and read back as any clip of a user's is."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from .media import Clip, read_clip
from .world.scene import Scene, draw_scene
from .world.video import write_scene


def film(seeds, *, size: int = 256, fps: int = 24, image_size: int | None = None, progress: bool = False
         ) -> Iterator[tuple[Scene, Clip]]:
    """Each scene with what a reader finds in its mp4; the files lie in a temporary folder, one at a time.

    size, fps: of the files. image_size: of the frames that are read back; None keeps `size`.
    """
    with tempfile.TemporaryDirectory(prefix="favor-mini-") as folder:
        for seed in tqdm(seeds, desc="filming scenes", unit="clip", disable=not progress):
            scene, path = draw_scene(seed), Path(folder) / f"{seed}.mp4"
            write_scene(scene, path, size=size, fps=fps)
            yield scene, read_clip(path, image_size=image_size)
            path.unlink()
