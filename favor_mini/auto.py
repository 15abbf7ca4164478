"""transformers' Auto classes know FAVOR after `import favor_mini`, which does not import them.

A registration needs the classes, and so torch. It waits until `AutoConfig.from_pretrained`, which
the other Auto classes call first, meets a config of FAVOR.
"""

import importlib.util
import sys
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

AUTO = "transformers.models.auto."
CONFIGS = AUTO + "configuration_auto"
MODELS = ("AutoModel", "AutoModelForImageTextToText", "AutoModelForMultimodalLM")


def register_with_transformers() -> None:
    """Do so now if transformers' AutoConfig has been imported, else once it will be."""
    if CONFIGS in sys.modules:
        _extend(sys.modules[CONFIGS].AutoConfig)
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _extend(auto_config: type) -> None:
    """Register before a config of FAVOR is loaded, and its classes before it is used."""
    original = auto_config.from_pretrained.__func__
    if hasattr(original, "knows_favor"):
        return

    @classmethod
    @wraps(original)
    def from_pretrained(cls, *args, **kwargs):
        try:
            found = original(cls, *args, **kwargs)
        except ValueError:  # an unknown type of model
            if f"{__package__}.config" in sys.modules:
                raise
            _ours("config")  # it registers itself
            found = original(cls, *args, **kwargs)
        if getattr(found[0] if isinstance(found, tuple) else found, "model_type", "") == "favor":
            _register_classes()
        return found

    from_pretrained.__func__.knows_favor = True
    auto_config.from_pretrained = from_pretrained


def _register_classes() -> None:
    """Register model and processor with those Auto classes that are in use."""
    config, wanted = _ours("config").FavorConfig, []
    if models := sys.modules.get(AUTO + "modeling_auto"):
        model = _ours("model").FavorForConditionalGeneration
        wanted += [(getattr(models, name), model) for name in MODELS]
    if processors := sys.modules.get(AUTO + "processing_auto"):
        wanted.append((processors.AutoProcessor, _ours("processor").FavorProcessor))
    for auto_class, ours in wanted:
        auto_class.register(config, ours, exist_ok=True)


def _ours(name: str):
    return importlib.import_module(f".{name}", __package__)


class _AfterImport(MetaPathFinder):
    """Finds what the other finders find, and extends AutoConfig once it has been imported."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name == CONFIGS:
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            spec.loader = _Extending(spec.loader)
            return spec
        return None


class _Extending(Loader):
    """The loader of AutoConfig's module, which it gives back to that module."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def create_module(self, spec: ModuleSpec):
        return self.loader.create_module(spec)

    def exec_module(self, module) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _extend(module.AutoConfig)
