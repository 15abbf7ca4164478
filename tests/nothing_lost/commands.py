"""The five commands that write much, with tiny models: how each is started, and its results."""

import gc
import json
import re
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

# All that the commands import later: forked processes then start at once.
import av  # noqa: F401
import decord  # noqa: F401
import librosa.feature.spectral  # noqa: F401
import torch
import tqdm.auto
from safetensors.torch import save

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from conftest import scramble, tiny_config, tiny_processor  # noqa: E402
from test_training import fresh, train, trained_state  # noqa: E402

from favor_mini import FavorForConditionalGeneration, data_path  # noqa: E402
from favor_mini.apps import cli, demo  # noqa: E402
from favor_mini.aveb import benchmark, predict, run  # noqa: E402, F401
from favor_mini.evaluation.checkpoint import load_checkpoint  # noqa: E402
from favor_mini.keys import code_digest, digest  # noqa: E402
from favor_mini.lab import compare  # noqa: E402, F401
from favor_mini.world import rows, samples  # noqa: E402
from favor_mini.world.scene import SPLITS  # noqa: E402

QUESTIONS = ("what was seen first?", "what was said last?", "what was heard first?")


def prepare(kit: Path) -> None:
    """What all commands read: a checkpoint, and a test-set file with its media."""
    torch.set_num_threads(1)
    tqdm.tqdm.monitor_interval = 0  # no threads before a fork
    for bar in (tqdm.tqdm, tqdm.auto.tqdm):
        bar.set_lock(threading.RLock())  # tqdm's own is one for all processes, killed ones too
    config = tiny_config(frame_rate=2.0)
    config.vision_config.image_size = 32  # the smallest picture that a scene is drawn in
    scramble(FavorForConditionalGeneration(config), std=0.1).save_pretrained(kit / "checkpoint")
    tiny_processor(config).save_pretrained(kit / "checkpoint")
    (kit / "media").mkdir()
    for name in ("clip_01.mp4", "clip_05.mp4"):
        shutil.copy(data_path("clips", name), kit / "media")
    (kit / "test.json").write_text(json.dumps([
        {"image": f"clip_0{i}.mp4", "question": question, "answer": "moon"}
        for i in (1, 5) for question in QUESTIONS]))
    for module in ("lab.run", "aveb.predict", "world.rows"):
        code_digest(module)  # kept
    # Small pieces: more of the time is spent on writing.
    rows.CHUNK = predict.CHUNK = 2
    predict._write = partial(_write, predict._write)
    some = [sample for sample in samples.read_samples() if sample.kind == "clip"][:2]
    demo.read_samples = lambda: some
    gc.freeze()  # Trainer collects garbage often: now only that of its own process


def _write(write, lines, row: dict) -> None:
    sys.audit("write row")
    write(lines, row)


def tensors_digest(tensors: dict[str, torch.Tensor]) -> str:
    return digest(save(tensors))


def finetune(kit: Path, out: Path) -> int:
    model = fresh(qformer_dropout=0.1)
    log = train(model, out / "run", name=6, align=4, ask=4, save_steps=3, log_steps=2)
    print(tensors_digest(trained_state(model)), *(json.dumps(e, sort_keys=True) for e in log),
          sep="\n")
    return 0


def evaluate(kit: Path, out: Path) -> int:
    return cli.main(["evaluate", "--file", str(kit / "test.json"), "--media-root",
                     str(kit / "media"), "--checkpoint", str(kit / "checkpoint"), "--json",
                     str(out / "answers.jsonl")])


def comparison(kit: Path, out: Path) -> int:
    return cli.main([*"compare --vary attention=block_causal,none --seeds 1 --steps 3 --clips 4 "
                      "--batch 2 --scenes 2 --questions 2 --checkpoint".split(),
                     str(kit / "checkpoint"), "--out", str(out)])


def encode(kit: Path, out: Path) -> int:
    seeds = [SPLITS["train"].start + i for i in range(8)]
    encoded = rows.encode_scenes(*load_checkpoint(kit / "checkpoint"), seeds, cache=out / "cache",
                                 batch=2, progress=False)
    print(tensors_digest({f"{i}.{name}": value for i, clip in enumerate(encoded)
                          for name, value in clip.items() if torch.is_tensor(value)}))
    return 0


def short_demo(kit: Path, out: Path) -> int:
    return cli.main([*"demo --steps 3 --clips 3 --batch 2 --checkpoint".split(),
                     str(kit / "checkpoint"), "--out", str(out)])


COMMANDS = {"finetune": finetune, "evaluate": evaluate, "compare": comparison, "encode": encode,
            "demo": short_demo}


def results(out: Path, printed: str) -> dict[str, object]:
    """Everything that a finished command has left in `out` and printed, but for times. Two runs of
    a command with the same results are equal."""
    other = re.compile("seconds|memory|took|[Rr]esum")  # about times, or about what was found done
    seconds = re.compile(r'"seconds": \d+|(?<=  )[\d.]+$', re.MULTILINE)  # of results, of tables

    def lines(text: str) -> list[str]:
        text = seconds.sub("", text.replace(str(out), "OUT"))
        return [line for line in text.splitlines() if line and not other.search(line)]

    found: dict[str, object] = {"printed": lines(printed)}
    for file in sorted(f for f in out.rglob("*") if f.is_file()):
        name, known = file.relative_to(out).as_posix(), (".safetensors", ".jsonl")
        found[name] = file.read_bytes() if file.suffix in known else \
            lines(file.read_text(encoding="utf-8")) if file.suffix in (".html", ".json") else \
            None  # it is there
    return found


def differences(whole: dict, found: dict) -> list[str]:
    """The names of the results that are not the same."""
    return sorted(name for name in {*whole, *found} if whole.get(name, 0) != found.get(name, 0))
