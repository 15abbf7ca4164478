"""Widgets: a figure or a sentence that follows its sliders, and the clip player.

A widget stores its first state, which a page without a kernel shows.
"""

import base64
import html
from io import BytesIO

import ipywidgets
import matplotlib as mpl
import numpy as np
from PIL import Image

from ..figures.style import Picture, png
from ..figures.timeline import timeline


class Explorer(ipywidgets.VBox):
    """Controls above the output that they change. Without a kernel it shows its first output."""

    first: Picture | str = ""  # HTML where the output is more than one picture

    def _repr_mimebundle_(self, **kwargs):
        data = super()._repr_mimebundle_(**kwargs) or {}
        data, metadata = data if isinstance(data, tuple) else (data, {})
        if isinstance(self.first, Picture):
            more, alt = self.first._repr_mimebundle_()
            return {**data, **more}, {**metadata, **alt}
        return {**data, "text/html": self.first} if self.first else data, metadata


def explore(draw, **controls) -> Explorer:
    """Call `draw` with the controls' values, now and after each change, and show its result.

    Args:
        draw: a function of the controls' names that returns a `Picture`, text, or a list of these.
            If it raises an error, that is shown instead.
        controls: widgets, or short forms: (min, max) or (min, max, step) for a slider that starts
            at min, a list for a drop-down, a bool for a checkbox.
    """
    boxes = {name: _control(name, value) for name, value in controls.items()}
    shown = ipywidgets.HTML()
    explorer = Explorer([*boxes.values(), shown])

    def update(change=None):
        try:
            parts = draw(**{name: box.value for name, box in boxes.items()})
        except Exception as error:  # one wrong value must not break the slider
            shown.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"
            return
        parts = parts if isinstance(parts, list) else [parts]
        shown.value = "".join(map(as_html, parts))
        if change is None:
            single = len(parts) == 1 and isinstance(parts[0], Picture)
            explorer.first = parts[0] if single else shown.value

    for box in boxes.values():
        box.observe(update, "value")
    update()
    return explorer


def _control(name: str, value) -> ipywidgets.Widget:
    options = {"description": name.replace("_", " "), "style": {"description_width": "initial"},
               "layout": ipywidgets.Layout(width="520px")}
    if isinstance(value, ipywidgets.Widget):
        return value
    if isinstance(value, bool):
        return ipywidgets.Checkbox(value=value, **options)
    if isinstance(value, list):
        return ipywidgets.Dropdown(options=value, **options)
    whole = all(isinstance(v, int) for v in value)
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    low, high, *given = value
    step = given[0] if given else 1 if whole else (high - low) / 20
    return kind(value=low, min=low, max=high, step=step, continuous_update=False, **options)


def as_html(part) -> str:
    """A picture or a text as HTML."""
    if isinstance(part, Picture):
        return _image(png(part), html.escape(part.alt_text, quote=True), " style='max-width:100%'")
    return f"<p style='font-size:115%;line-height:1.4'>{part}</p>"


def _image(data: bytes, alt: str, style: str = "") -> str:
    encoded = base64.b64encode(data).decode()
    return f"<img alt='{alt}'{style} src='data:image/png;base64,{encoded}'>"


def player(clip, scene=None, *, file=None, window_frames: int = 10) -> Explorer:
    """The clip player: the clip's timeline with a slider, which moves a line over it and shows the
    frame at that time.

    Args:
        clip: a `media.Clip`. scene: its script, if known. file: the mp4, to play it with its sound.
    """
    figure = timeline(scene, clip, window_frames=window_frames)
    with mpl.rc_context({"savefig.dpi": 110}):
        figure.canvas.draw()
    box = figure.axes[-1].get_position()  # of the time axis, in fractions of the figure's width
    low, high = figure.axes[-1].get_xlim()
    axis = as_html(figure)
    time = ipywidgets.FloatSlider(value=0.0, min=0.0, max=round(clip.duration, 2), step=0.1,
                                  description="time (s)",
                                  layout=ipywidgets.Layout(width="620px"))
    play = ipywidgets.Play(min=0, max=int(10 * clip.duration), step=1, interval=100)
    tenths = ipywidgets.IntText(layout=ipywidgets.Layout(display="none"))
    ipywidgets.jslink((play, "value"), (tenths, "value"))
    tenths.observe(lambda change: setattr(time, "value", change.new / 10), "value")
    shown = ipywidgets.HTML()

    def update(change=None):
        place = box.x0 + box.width * (time.value - low) / (high - low)
        line = (f"<div style='position:absolute;top:0;bottom:0;left:{place:.2%};"
                "border-left:3px solid #c1121f'></div>")
        frame = ""
        if len(clip.frames):
            i = np.searchsorted(clip.frame_times, time.value + 1e-6, side="right") - 1
            i = int(np.clip(i, 0, len(clip.frames) - 1))
            frame = ("<div style='display:flex;gap:18px;align-items:center'>"
                     f"{_frame(clip.frames[i])}<span style='font-size:115%'>frame {i} of "
                     f"{len(clip.frames)}, step {i}: {clip.frame_times[i]:.2f} s, "
                     f"window {i // window_frames + 1}</span></div>")
        shown.value = f"{frame}<div style='position:relative'>{axis}{line}</div>"

    time.observe(update, "value")
    update()
    video = [ipywidgets.Video.from_file(str(file), width=256, autoplay=False, loop=False)
             ] if file else []
    explorer = Explorer([*video, ipywidgets.HBox([play, time, tenths]), shown])
    explorer.first = figure
    return explorer


def _frame(frame: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(frame).resize((144, 144), Image.NEAREST).save(file, "png")
    return _image(file.getvalue(), "the frame at this time")
