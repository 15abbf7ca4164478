"""The pictures on the slides, by name."""

from . import qformer, stage, streams, training

save = stage.save
FIGURES = {name: draw for module in (streams, qformer, training)
           for name, draw in vars(module).items()
           if callable(draw) and getattr(draw, "__module__", "") == module.__name__
           and not name.startswith("_")}
