"""What a training run shows and writes: a progress bar and a log in CSV."""

import csv
from pathlib import Path

from tqdm.auto import tqdm
from transformers import TrainerCallback

from ..storage import atomic_write, explain_write_errors

COLUMNS = ("step", "epoch", "loss", "cross_entropy", "diversity", "eval_cross_entropy",
           "learning_rate", "grad_norm")


def entries(history: list[dict]) -> list[dict]:
    """The log without Trainer's summary: its times and averages are of the last start alone."""
    return [entry for entry in history if "loss" in entry or "eval_cross_entropy" in entry]


class ProgressBar(TrainerCallback):
    """A tqdm bar over the steps with the time left and the last logged losses."""

    def __init__(self, name: str, shown: bool = True):
        self.name, self.shown, self.losses = name, shown, {}
        self.bar = tqdm(disable=True)  # until the training begins

    def on_train_begin(self, args, state, *_, **__):
        # The time left comes from the mean of this start (smoothing=0). The last steps alone would
        # mislead: batches get shorter within a group of lengths, and validation takes its time.
        self.bar = tqdm(desc=self.name, total=state.max_steps, initial=state.global_step,
                        unit="step", smoothing=0,
                        disable=not (self.shown and state.is_world_process_zero))

    def on_step_end(self, *_, **__):
        self.bar.update()

    def on_log(self, *_, logs, **__):
        names = {"loss": "loss", "eval_cross_entropy": "validation"}
        self.losses |= {name: f"{float(logs[key]):.3f}" for key, name in names.items()
                        if key in logs}
        self.bar.set_postfix(self.losses)

    def close(self):
        self.bar.close()


class CsvLog(TrainerCallback):
    """Writes the log to a CSV file, one line per entry.

    After a stop the file is written again from the checkpoint's log: no line is missing or double.
    """

    def __init__(self, file: Path):
        self.file = file

    def write(self, history: list[dict]) -> None:
        """Write the whole log, whole or not at all."""
        with atomic_write(self.file) as temporary, open(temporary, "w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(entries(history))

    def on_train_begin(self, args, state, control, **_):
        if state.is_world_process_zero:
            self.write(state.log_history)

    def on_log(self, args, state, control, **_):
        if state.is_world_process_zero:
            with explain_write_errors(self.file), open(self.file, "a", newline="") as stream:
                csv.DictWriter(stream, COLUMNS, extrasaction="ignore").writerows(
                    entries(state.log_history[-1:]))
