"""Widgets: a picture or a sentence that follows its sliders, and the clip player.

A widget carries what it first shows with it, so that a page without a kernel shows that in its place.
"""

from __future__ import annotations

import base64
import html

import ipywidgets
import matplotlib as mpl
import numpy as np

from ..figures.timeline import timeline
from ..figures.style import Picture, png


class Explorer(ipywidgets.VBox):
    """Controls above what they change. Shown without a kernel, it is what it showed at first."""

    first: Picture | str = ""  # where there is more than a picture, as HTML

    def _repr_mimebundle_(self, **kwargs):
        data = super()._repr_mimebundle_(**kwargs) or {}
        data, metadata = data if isinstance(data, tuple) else (data, {})
        if isinstance(self.first, Picture):
            more, alt = self.first._repr_mimebundle_()
            return {**data, **more}, {**metadata, **alt}
        return {**data, "text/html": self.first} if self.first else data, metadata


def explore(draw, **controls) -> Explorer:
    """Call `draw` with the controls' values, now and whenever one is moved, and show what it returns.

    Args:
        draw: a function of the controls' names that returns a `Picture`, text, or a list of these. An error that it raises is
            shown in their place.
        controls: widgets, or what stands for one: (least, most) or (least, most, step) for a slider that starts at its least
            value, a list for a choice, a bool for a box. Give a widget where it should start elsewhere.
    """
    boxes = {name: _control(name, value) for name, value in controls.items()}
    shown = ipywidgets.HTML()
    explorer = Explorer([*boxes.values(), shown])

    def update(change=None):
        try:
            parts = draw(**{name: box.value for name, box in boxes.items()})
        except Exception as error:  # a slider must not die of one value
            shown.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"
            return
        parts = parts if isinstance(parts, list) else [parts]
        shown.value = "".join(map(as_html, parts))
        if change is None:
            explorer.first = parts[0] if len(parts) == 1 and isinstance(parts[0], Picture) else shown.value

    for box in boxes.values():
        box.observe(update, "value")
    update()
    return explorer


def _control(name: str, value) -> ipywidgets.Widget:
    said = {"description": name.replace("_", " "), "style": {"description_width": "initial"},
            "layout": ipywidgets.Layout(width="520px")}
    if isinstance(value, ipywidgets.Widget):
        return value
    if isinstance(value, bool):
        return ipywidgets.Checkbox(value=value, **said)
    if isinstance(value, list):
        return ipywidgets.Dropdown(options=value, **said)
    whole = all(isinstance(v, int) for v in value)
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    least, most, *step = value
    return kind(value=least, min=least, max=most, step=step[0] if step else 1 if whole else (most - least) / 20,
                continuous_update=False, **said)


def as_html(part) -> str:
    """A picture or a text for an HTML widget."""
    if isinstance(part, Picture):
        return (f"<img alt='{html.escape(part.alt_text, quote=True)}' style='max-width:100%' "
                f"src='data:image/png;base64,{base64.b64encode(png(part)).decode()}'>")
    return f"<p style='font-size:115%;line-height:1.4'>{part}</p>"


def player(clip, scene=None, *, file=None, window_frames: int = 10) -> Explorer:
    """The clip player: the film with its sound where its file is given, the clip's time axis with everything on it (picture, waveform,
    mel, the 2 Hz grid, windows, the script's events), and a slider that moves a line over it and shows the frame at that time.

    Args:
        clip: a `media.Clip`. scene: its script, where it is known. file: the mp4, played with its sound.
    """
    figure = timeline(scene, clip, window_frames=window_frames)
    with mpl.rc_context({"savefig.dpi": 110}):
        figure.canvas.draw()
    box = figure.axes[-1].get_position()  # where the time axis lies in the picture, in fractions of its width
    low, high = figure.axes[-1].get_xlim()
    axis = as_html(figure)
    time = ipywidgets.FloatSlider(value=0.0, min=0.0, max=round(clip.duration, 2), step=0.1, description="time (s)",
                                  layout=ipywidgets.Layout(width="620px"))
    beat = ipywidgets.Play(min=0, max=int(10 * clip.duration), step=1, interval=100)
    ipywidgets.jslink((beat, "value"), (slow := ipywidgets.IntText(layout=ipywidgets.Layout(display="none")), "value"))
    slow.observe(lambda change: setattr(time, "value", change.new / 10), "value")
    shown = ipywidgets.HTML()

    def update(change=None):
        place = box.x0 + box.width * (time.value - low) / (high - low)
        line = f"<div style='position:absolute;top:0;bottom:0;left:{place:.2%};border-left:3px solid #c1121f'></div>"
        frame = ""
        if len(clip.frames):
            i = int(np.clip(np.searchsorted(clip.frame_times, time.value + 1e-6, side="right") - 1, 0, len(clip.frames) - 1))
            frame = (f"<div style='display:flex;gap:18px;align-items:center'>{_frame(clip.frames[i])}<span style='font-size:115%'>"
                     f"frame {i} of {len(clip.frames)}, step {i}: {clip.frame_times[i]:.2f} s, "
                     f"window {i // window_frames + 1}</span></div>")
        shown.value = f"{frame}<div style='position:relative'>{axis}{line}</div>"

    time.observe(update, "value")
    update()
    film = [ipywidgets.Video.from_file(str(file), width=256, autoplay=False, loop=False)] if file else []
    made = Explorer([*film, ipywidgets.HBox([beat, time, slow]), shown])
    made.first = figure
    return made


def _frame(frame: np.ndarray) -> str:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray(frame).resize((144, 144), Image.NEAREST).save(file, "png")
    return f"<img alt='the frame at this time' src='data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'>"
