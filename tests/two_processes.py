"""What each of two processes does, started by `torchrun` in test_processes.py.

    torchrun --nproc-per-node 2 tests/two_processes.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from conftest import tiny_processor  # noqa: E402
from test_training import clips, fresh  # noqa: E402

from favor_mini.training.trainer import fit  # noqa: E402
from favor_mini.world.lessons import Dialogues  # noqa: E402

ITEMS = 4  # of a step


class Seen(Dialogues):
    """Conversations; it notes which items are read."""

    def __init__(self, count: int):
        super().__init__(clips(16), count)
        self.seen: list[int] = []

    def __getitem__(self, i: int) -> dict:
        self.seen.append(i)
        return super().__getitem__(i)


class StopAfter(TrainerCallback):
    def on_save(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= 2


def run(out: Path, batch: int, **options):
    """Train 6 steps of 4 items out of 20; returns the items read, the log and the weights."""
    data, model = Seen(20), fresh(qformer_dropout=options.pop("dropout", 0.0))
    log = fit(model.train(), data, tiny_processor().collate, out, steps=6, batch=batch, lr=1e-2,
              save_steps=2, log_steps=1, progress=False, bf16=False, validation=Dialogues(clips(5),
              5), validate_steps=3, report_to=["csv"], **options)
    return data.seen, log, {name: p.detach() for name, p in model.named_parameters()
                            if p.requires_grad}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    whole = run(out / "two", ITEMS // 2)
    dropped = run(out / "whole", ITEMS // 2, dropout=0.1)
    run(out / "parts", ITEMS // 2, dropout=0.1, callbacks=[StopAfter()])
    torch.manual_seed(123)
    resumed = run(out / "parts", ITEMS // 2, dropout=0.1)
    rank = torch.distributed.get_rank()
    same = all(torch.equal(value, resumed[2][name]) for name, value in dropped[2].items())
    (out / f"{rank}.json").write_text(json.dumps(
        {"seen": whole[0], "log": whole[1], "same": same and dropped[1] == resumed[1],
         "continued": resumed[0] == dropped[0][len(dropped[0]) // 3 :]}))
    save_file(whole[2], out / f"{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
