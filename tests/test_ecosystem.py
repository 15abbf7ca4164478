"""The habits of transformers: Auto classes, generation settings, the hub, a card that loads."""

import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import settle, tiny_clip, tiny_config, tiny_model, tiny_processor
from huggingface_hub.errors import EntryNotFoundError
from test_from_parts import SIZES, parts  # noqa: F401
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    GenerationConfig,
)
from transformers.generation.streamers import BaseStreamer
from transformers.utils import hub

from favor_mini import FavorConfig, FavorForConditionalGeneration, FavorProcessor, save_learned
from favor_mini.card import CARD, LEARNED, write_card
from favor_mini.world.video import write_video


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Else the hub's client tries to reach it, several times."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("favor")
    settle(tiny_model()).save_pretrained(path)
    tiny_processor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return settle(FavorForConditionalGeneration.from_pretrained(folder))


@pytest.fixture(scope="module")
def batch(folder):
    return FavorProcessor.from_pretrained(folder)([tiny_clip(6, 0.6), tiny_clip(9)],
                                                  ["how many?", "what was heard?"])


# Auto classes.

def test_auto_classes_give_ours(folder):
    assert type(AutoConfig.from_pretrained(folder)) is FavorConfig
    assert type(AutoProcessor.from_pretrained(folder)) is FavorProcessor
    for auto in (AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM):
        assert type(auto.from_pretrained(folder)) is FavorForConditionalGeneration
    with pytest.raises((ValueError, OSError)):
        AutoConfig.from_pretrained(folder / "gone")


FIRST = """
import sys
import favor_mini
heavy = {"torch", "transformers", "numpy"} & set(sys.modules)
"""
THEN = """
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor
"""
LOAD = """
print(*sorted(heavy), type(AutoProcessor.from_pretrained(sys.argv[1])).__name__,
      type(AutoModelForMultimodalLM.from_pretrained(sys.argv[1])).__name__)
"""


@pytest.mark.parametrize("code", [
    FIRST + THEN + LOAD,
    pytest.param(THEN + FIRST.replace("set(sys.modules)", "set()") + LOAD, marks=pytest.mark.slow)])
def test_importing_the_package_is_enough_and_imports_nothing_heavy(folder, code):
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.stdout.split() == ["FavorProcessor", "FavorForConditionalGeneration"], done.stderr


def test_an_unknown_type_of_model_is_still_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}')
    with pytest.raises(ValueError, match="unheard_of"):
        AutoConfig.from_pretrained(tmp_path)


# Generation.

def test_without_settings_it_is_greedy_with_24_tokens_and_no_placeholder(model, batch):
    assert FavorForConditionalGeneration.can_generate()
    inputs = dict(batch)
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
    with torch.no_grad():
        embeds = model.prepare(ids, **inputs)[0]
    wanted = model.language_model.generate(
        inputs_embeds=embeds, attention_mask=mask, max_new_tokens=24, do_sample=False,
        suppress_tokens=[model.config.placeholder_id], use_cache=False)
    assert torch.equal(model.generate(**batch), wanted)


def test_generation_config_is_saved_loaded_and_used(model, batch, tmp_path):
    own = FavorForConditionalGeneration(model.config)
    own.load_state_dict(model.state_dict())
    whole = own.eval().generate(**batch, min_new_tokens=9)
    own.generation_config.update(max_new_tokens=5, min_new_tokens=5)
    own.save_pretrained(tmp_path)
    loaded = settle(FavorForConditionalGeneration.from_pretrained(tmp_path))
    assert loaded.generation_config.max_new_tokens == 5
    assert torch.equal(loaded.generate(**batch), whole[:, :5])
    # An object replaces what it sets, an argument replaces both.
    seven = GenerationConfig(max_new_tokens=7, min_new_tokens=7)
    assert torch.equal(loaded.generate(**batch, generation_config=seven), whole[:, :7])
    assert torch.equal(loaded.generate(**batch, generation_config=seven, max_new_tokens=6,
                                       min_new_tokens=6), whole[:, :6])
    assert model.generation_config.suppress_tokens == [model.config.placeholder_id]


def test_special_tokens_are_the_language_models(parts, tmp_path):  # noqa: F811
    """A chat model ends its answers with one of several tokens; they were lost."""
    language = tmp_path / "language"
    parts[1]["language"].save_pretrained(language)
    GenerationConfig(eos_token_id=[3, 9], pad_token_id=0, do_sample=True, temperature=0.6
                     ).save_pretrained(language)
    folders = {**parts[0], "language": str(language)}
    joined = FavorForConditionalGeneration.from_parts(**folders, **SIZES)
    joined.save_pretrained(tmp_path / "joined")
    loaded = FavorForConditionalGeneration.from_pretrained(tmp_path / "joined")
    for made in (joined, loaded):
        assert made.generation_config.eos_token_id == [3, 9]
        assert made.generation_config.do_sample is False  # a test set needs one answer
        assert made.generation_config.temperature is None


class Collected(BaseStreamer):
    def __init__(self):
        self.tokens, self.ended = [], False

    def put(self, value):
        self.tokens += value.flatten().tolist()

    def end(self):
        self.ended = True


def test_beams_sampling_and_a_streamer(model, batch):
    one = {k: v[:1] for k, v in batch.items()}
    streamer = Collected()
    written = model.generate(**one, streamer=streamer, max_new_tokens=6)
    assert streamer.ended and streamer.tokens == written[0].tolist()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(model.generate(**one, do_sample=True, max_new_tokens=8, min_new_tokens=8))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    beams = model.generate(**one, num_beams=4, num_return_sequences=4, max_new_tokens=6,
                           return_dict_in_generate=True, output_scores=True)
    assert len({tuple(row) for row in beams.sequences.tolist()}) == 4
    assert torch.equal(beams.sequences_scores, beams.sequences_scores.sort(descending=True).values)


# The hub.

def pushed(*things):
    """What `push_to_hub` uploads: file name -> bytes."""
    files = {}

    def create_commit(operations, **_):
        files.update((e.path_in_repo, Path(e.path_or_fileobj).read_bytes()) for e in operations)

    def no_card(*_, **__):
        raise EntryNotFoundError("none")

    fake = SimpleNamespace(create_repo=lambda name, **_: SimpleNamespace(repo_id=name),
                           create_commit=create_commit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "hf_api", lambda: fake)
        patch.setattr(hub.ModelCard, "load", no_card)
        for thing in things:
            thing.push_to_hub("somebody/favor")
    return files


def as_cache(files, folder, missing=()):
    """The files as the hub's client keeps them; `missing` are known not to exist."""
    repository, commit = folder / "models--somebody--favor", 40 * "a"
    for name, content in {"refs/main": commit.encode(),
                          **{f"snapshots/{commit}/{n}": c for n, c in files.items()},
                          **{f".no_exist/{commit}/{n}": b"" for n in missing}}.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(content)


def test_pushed_and_loaded_by_name(tmp_path, model, batch):
    processor = tiny_processor()
    files = pushed(model, processor)
    assert {"config.json", "generation_config.json", "model.safetensors", "favor_processor.json",
            "tokenizer.json", "preprocessor_config.json"} <= set(files)
    as_cache(files, tmp_path)
    cached = {"cache_dir": tmp_path, "local_files_only": True}
    for kind in (FavorProcessor, AutoProcessor):
        loaded = kind.from_pretrained("somebody/favor", **cached)
        assert loaded.settings == processor.settings and type(loaded) is FavorProcessor
        assert loaded.qformer_tokenizer is loaded.tokenizer
    again = settle(AutoModelForMultimodalLM.from_pretrained("somebody/favor", **cached))
    assert torch.equal(again.generate(**batch), model.generate(**batch))


def test_the_tokenizer_of_the_visual_qformer_travels_too(tmp_path):
    config = tiny_config(question_conditioning=True)
    plain = tiny_processor(config)
    other = type(plain.tokenizer)(tokenizer_object=plain.tokenizer.backend_tokenizer)
    files = pushed(FavorProcessor(plain.tokenizer, plain.feature_extractor, plain.settings, other))
    as_cache(files, tmp_path, ["config.json", "qformer_tokenizer/config.json"])
    loaded = FavorProcessor.from_pretrained("somebody/favor", cache_dir=tmp_path,
                                            local_files_only=True)
    assert loaded.qformer_tokenizer is not loaded.tokenizer


def test_a_name_that_is_nowhere_says_what_was_expected(tmp_path):
    with pytest.raises(OSError, match="somebody/favor holds no favor_processor.json"):
        FavorProcessor.from_pretrained("somebody/favor", cache_dir=tmp_path, local_files_only=True)


# The card.

def code_of(card: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.S)
    return code


def test_the_code_of_a_card_loads_the_folder_and_answers(folder, monkeypatch):
    write_video(folder / "clip.mp4", np.full((10, 16, 16, 3), 90, np.uint8), 10)
    code = code_of(write_card(folder, "tiny", "Random weights."))
    monkeypatch.chdir(folder)
    with redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert re.fullmatch(r"\['.*'\]\n", printed.getvalue())
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")


def test_the_code_of_an_adapters_card_joins_it_with_its_parts(parts, tmp_path,  # noqa: F811
                                                              monkeypatch):
    model = FavorForConditionalGeneration.from_parts(**parts[0], **SIZES)
    model.reset_trained(5)
    save_learned(model, tmp_path)
    code = code_of(write_card(tmp_path, "tiny", "Random weights.", LEARNED))
    for name, place in parts[0].items():
        code = code.replace(f'"{name.upper()}"', repr(place))
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code, found)
    assert torch.equal(found["model"].qformer.queries, model.qformer.queries)
    assert found["processor"].settings.num_queries == SIZES["num_queries"]
