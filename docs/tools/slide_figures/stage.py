"""Pictures for slides: one unit of length is a pixel of the stage of 1600 x 900, text is large."""

from functools import wraps

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Text

from favor_mini.figures import style
from favor_mini.figures.style import CENTRE, INK, LIGHT, MARK, STRONG, Picture

SMALLEST = 40  # pixels of text, on a stage that is 1600 wide
WIDTH, HEIGHT = 1500, 640  # of a picture below a title of two lines
VIDEO, AUDIO, BOTH = STRONG, MARK, "#6b4a8e"  # as in the notebooks; both: the two mixed
GREY, PALE = "#5b6675", "#a9b6c6"
LARGE = {
    **style.STYLE, "figure.dpi": 72, "font.size": SMALLEST, "axes.titlesize": SMALLEST,
    "axes.labelsize": SMALLEST, "xtick.labelsize": SMALLEST, "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST, "figure.titlesize": SMALLEST, "lines.linewidth": 6,
    "axes.linewidth": 2, "xtick.major.size": 12, "ytick.major.size": 12, "xtick.major.width": 2,
    "ytick.major.width": 2,
    "axes.titleweight": "bold", "legend.handlelength": 1.6, "hatch.linewidth": 2}


def slide(draw):
    """Decorator: draw in the style of slides; the text of the picture is checked."""
    @wraps(draw)
    def drawn(*args, **kwargs) -> Picture:
        with mpl.rc_context(LARGE):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
        check(figure)
        return figure
    return drawn


def check(figure: Figure) -> None:
    """Raises ValueError if a text is too small, or leaves the picture."""
    wide, high = figure.bbox.size
    for text in _drawn_texts(figure):
        if text.get_fontsize() < SMALLEST:
            raise ValueError(f"the text {text.get_text()!r} has {text.get_fontsize():g} pixels, "
                             f"expected at least {SMALLEST}. Fix: a larger fontsize")
        box = text.get_window_extent()
        if not (-1 <= box.x0 and box.x1 <= wide + 1 and -1 <= box.y0 and box.y1 <= high + 1):
            raise ValueError(f"the text {text.get_text()!r} leaves the picture of {wide:g} x "
                             f"{high:g} pixels: {box}. Fix: fewer words, or another place")


def _drawn_texts(figure: Figure) -> list[Text]:
    """All texts that are drawn: matplotlib also keeps labels of ticks outside of the axes."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not axes.axison or not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
            hidden |= set() if axes.axison else {axis.label}
    return [text for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().strip() and text not in hidden]


def empty(alt_text: str, height: float = HEIGHT, *grid, width: float = WIDTH, **options) -> tuple:
    """A picture of this size in pixels, and its axes from `Figure.subplots`."""
    figure = Picture(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    figure.alt_text = alt_text
    return figure, figure.subplots(*grid, **options)


def sheet(alt_text: str, height: float = HEIGHT, width: float = WIDTH) -> tuple:
    """A picture whose one axis has the pixels as its units, from the upper left corner."""
    figure = Picture(figsize=(width / 72, height / 72), dpi=72)
    figure.alt_text = alt_text
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.axis("off")
    return figure, axis


def save(figure: Figure, file) -> None:
    """Write a picture as PNG, with one and a half pixels for each pixel of the stage."""
    style.save(figure, file, dpi=108)


def box(axis, x, y, width, height, text: str = "", colour: str = "white", **options) -> None:
    """A filled rectangle with its upper left corner at (x, y), and text in its middle."""
    ink = options.pop("ink", INK if colour in ("white", LIGHT) else "white")
    look = {"fontsize": SMALLEST, **CENTRE} | {
        k: options.pop(k) for k in ("fontsize", "fontweight") if k in options}
    axis.add_patch(Rectangle((x, y), width, height, facecolor=colour,
                             **{"edgecolor": INK, "linewidth": 3} | options))
    axis.text(x + width / 2, y + height / 2, text, color=ink, **look)


def label(axis, x, y, text: str, **options) -> None:
    """Text around (x, y)."""
    axis.text(x, y, text, **{"color": INK, **CENTRE} | options)


def link(axis, start, end, colour: str = INK, **options) -> None:
    """An arrow between two points."""
    axis.add_patch(FancyArrowPatch(start, end, **{
        "arrowstyle": "-|>,head_length=12,head_width=8", "color": colour, "linewidth": 5,
        "shrinkA": 0, "shrinkB": 0, "mutation_scale": 2} | options))
