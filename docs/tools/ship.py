"""Put a trained checkpoint into the package.

    make checkpoint                              # hours; writes build/make
    python -m docs.tools.ship build/make label-free

Or with the frozen parts as they ship: `favor-mini train favor --from label-free --out build/make`.
"""

import os
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from docs.tools.limits import write_limits
from favor_mini import checkpoint_path
from favor_mini.pretraining.familiar import fit_familiarity
from favor_mini.pretraining.recipe import PARTS


def ship(out, name: str = "label-free") -> Path:
    """Replace a checkpoint of the package by the one in `out`, with the cards of its parts.

    Stores the tensors in half precision. They are still loaded as float32, as the config says. Fits
    the familiarity score and the confidence, and measures them. A part that `out` does not hold was
    the shipped one: its card stays.

    Raises:
        FileNotFoundError: a file is missing in `out`; the old checkpoint is kept.
    """
    source, shipped = Path(out) / "favor", checkpoint_path(name)
    cards = {part: Path(out) / part / "README.md" if (Path(out) / part).is_dir() else
             shipped / f"{part}.md" for part in PARTS}
    for file in (source / "model.safetensors", *cards.values()):
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist. Make it with `favor-mini train all "
                                    f"--out {out}`")
    target = shipped.with_name(f"{shipped.name}.part")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("run"))
    tensors = load_file(source / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()},
              target / "model.safetensors", metadata={"format": "pt"})
    for part, card in cards.items():
        shutil.copy(card, target / f"{part}.md")
    fit_familiarity(target)
    write_limits(target)
    shutil.rmtree(shipped, ignore_errors=True)  # only now that the new one is complete
    os.replace(target, shipped)
    return shipped


if __name__ == "__main__":
    print(ship(*sys.argv[1:]))
