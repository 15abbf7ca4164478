"""One style for all figures: colours, and pictures with alternative texts."""

import base64
from functools import wraps
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from ..storage import atomic_write

INK, LIGHT, STRONG, MARK = "#1b2a41", "#c9d6e4", "#1f6fb2", "#c1121f"
SERIES = ("#d5dde6", "#6fa8d6", "#12395b")  # light to dark, so that they differ in greyscale too
# Its lightness increases evenly: brighter means more, also in greyscale; 24 levels in small files.
EVEN = mpl.colormaps["cividis"].resampled(24)
CENTRE = {"ha": "center", "va": "center"}
STYLE = {
    **sns.axes_style("ticks"), **sns.plotting_context("notebook", font_scale=1.2),
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color",
                     "ytick.color"), INK), "axes.titleweight": "bold", "figure.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "savefig.facecolor": "white",
    "legend.frameon": False, "font.size": 12, "grid.color": "#dddddd", "image.cmap": "cividis",
    "image.interpolation": "nearest", "image.aspect": "auto", "lines.linewidth": 2,
    "patch.edgecolor": INK, "scatter.edgecolors": INK, "axes.titlesize": 13,
    "axes.prop_cycle": mpl.cycler(color=(STRONG, MARK, INK, "#7a6a00", "#5b5b5b"))}


class Picture(Figure):
    """A figure with its alternative text, not known to pyplot: a notebook shows it once."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": base64.b64encode(png(self)).decode()}
        return data, {"image/png": {"alt": self.alt_text}}


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG of 256 colours, a quarter of the size of a full-colour file."""
    drawn, file = BytesIO(), BytesIO()
    styled(figure.savefig)(drawn, format="png", dpi=dpi)
    Image.open(drawn).convert("RGB").quantize(  # MAXCOVERAGE keeps the colours of small spots
        method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    ).save(file, "png", optimize=True)
    return file.getvalue()


def styled(draw):
    """Decorator: draw in the shared style, independent of the notebook's settings."""
    @wraps(draw)
    def drawn(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)
    return drawn


def save(figure: Figure, file, **options) -> None:
    """Write the figure as a PNG file; its folder is made if there is none."""
    with atomic_write(Path(file)) as unfinished:
        unfinished.write_bytes(png(figure, **options))


def listed(items: dict, form="{}", joint: str = ": ", end: str = "; ") -> str:
    """A dict as a part of an alternative text; `form` is a format string or a function."""
    text = form.format if isinstance(form, str) else form
    return end.join(f"{name}{joint}{text(value)}" for name, value in items.items())


def inline(items: dict, form="{}") -> str:
    """A dict within another list: "a 1, b 2"."""
    return listed(items, form, " ", ", ")


def picture(width: float, height: float, alt_text: str, *grid, **options) -> tuple:
    """An empty picture of this size in inches, and its axes from `Figure.subplots`."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.alt_text = alt_text
    return figure, figure.subplots(*grid, **options)


def panels(
        width: float, height: float, alt_text: str, shown: dict, columns: int = 4,
        **options) -> tuple[Picture, list[tuple]]:
    """A picture with rows of at most `columns` axes: (axis, title, value) of each of `shown`."""
    columns = min(columns, len(shown))
    figure, axes = picture(
        width, height, alt_text, -(-len(shown) // columns), columns, squeeze=False, **options)
    for axis in axes.flat[len(shown):]:
        axis.set_visible(False)
    return figure, [(axis, *item) for axis, item in zip(axes.flat, shown.items(), strict=False)]


def array(values) -> np.ndarray:
    """A tensor, or anything like an array, as a numpy array of floats; booleans stay booleans."""
    if hasattr(values, "detach"):
        values = (values.float() if values.is_floating_point() else values).detach().cpu()
    values = np.asarray(values)
    return values if values.dtype == bool else values.astype(float)
