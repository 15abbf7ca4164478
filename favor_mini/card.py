"""The model card of a saved folder: what it is, and code that loads it."""

from pathlib import Path

from .storage import atomic_write

CARD = "README.md"
WHOLE = '''import favor_mini
from transformers import AutoModelForMultimodalLM, AutoProcessor

name = "."  # this folder, or the name of its hub repository
model = AutoModelForMultimodalLM.from_pretrained(name).eval()
processor = AutoProcessor.from_pretrained(name)
clip = favor_mini.read_clip("clip.mp4", frame_rate=processor.settings.frame_rate)
inputs = processor([clip], ["what was said?"])
print(processor.decode(model.generate(**inputs)))'''
LEARNED = '''from favor_mini import FavorForConditionalGeneration, FavorProcessor, load_learned
from favor_mini.learned import read_learned

folder = "."  # this folder
parts = {"audio": "AUDIO", "vision": "VISION", "language": "LANGUAGE"}  # folders or hub names
settings = read_learned(folder)[1]["settings"]
model = FavorForConditionalGeneration.from_parts(**parts, **settings)
load_learned(model, folder, any_frozen=True)  # False: check that the parts are those of training
processor = FavorProcessor.from_parts(model.config, **parts)'''


def usage(code: str = WHOLE) -> str:
    """The section of a card that shows how to load the folder."""
    return f"## Use\n\n```python\n{code}\n```\n"


def write_card(folder, title: str, text: str, code: str = WHOLE) -> Path:
    """Write README.md, with the fields that the hub reads, and return it.

    Args:
        text: Markdown, under the title.
        code: what loads the folder: `WHOLE`, or `LEARNED` for connector and LoRA alone.
    """
    head = ("---\nlibrary_name: transformers\npipeline_tag: video-text-to-text\ntags:\n- favor\n"
            "---\n")
    file = Path(folder) / CARD
    with atomic_write(file) as temporary:
        temporary.write_text(f"{head}# {title}\n\n{text.strip()}\n\n{usage(code)}",
                             encoding="utf-8")
    return file
