"""A processor as a folder, or as a repository of the hub."""

import json
from dataclasses import asdict
from pathlib import Path

from transformers import AutoFeatureExtractor, AutoTokenizer
from transformers.utils import PushToHubMixin, cached_file

from .config import FavorConfig
from .context import context_length
from .processor_settings import ProcessorSettings
from .storage import write_json

SETTINGS = "favor_processor.json"
QFORMER_TOKENIZER = "qformer_tokenizer"  # a folder, named as InstructBLIP's
HUB = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")


class SavedProcessor(PushToHubMixin):
    """Saving and loading of `FavorProcessor`. `push_to_hub` is transformers'."""

    def save_pretrained(self, folder, **_) -> None:
        """Write the tokenizers, the feature extractor and `favor_processor.json` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        if self.qformer_tokenizer is not self.tokenizer:
            self.qformer_tokenizer.save_pretrained(folder / QFORMER_TOKENIZER)
        self.feature_extractor.save_pretrained(folder)
        write_json(folder / SETTINGS, asdict(self.settings), indent=2)

    @classmethod
    def from_pretrained(cls, name, **options):
        """Load a processor that `save_pretrained` wrote.

        Args:
            name: its folder, or the name of a hub repository.
            options: of transformers' `from_pretrained`, such as `revision` or `local_files_only`.

        Raises:
            OSError: there is no `favor_processor.json`, or the hub cannot be reached.
        """
        hub = {k: options[k] for k in HUB if options.get(k) is not None}
        try:
            stored = json.loads(Path(cached_file(name, SETTINGS, **hub)).read_text())
        except OSError as error:
            raise OSError(f"{name} holds no {SETTINGS}; expected a folder or a hub repository "
                          "written by FavorProcessor.save_pretrained. "
                          f"({str(error).splitlines()[0]})") from error
        stored = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}

        def holds(file: str) -> bool:
            return bool(cached_file(name, file, **hub, _raise_exceptions_for_missing_entries=False))

        if "context" not in stored and holds("config.json"):  # saved by an earlier version
            stored["context"] = context_length(FavorConfig.from_pretrained(name, **hub))
        qformer_tokenizer = None
        if holds(f"{QFORMER_TOKENIZER}/tokenizer_config.json"):
            qformer_tokenizer = AutoTokenizer.from_pretrained(
                name, subfolder=QFORMER_TOKENIZER, **hub)
        return cls(AutoTokenizer.from_pretrained(name, **hub),
                   AutoFeatureExtractor.from_pretrained(name, **hub),
                   ProcessorSettings(**stored), qformer_tokenizer)
