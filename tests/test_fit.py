"""Training options: accumulation, validation, loggers, numbers that make no sense, cost."""

import csv
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_processor
from test_training import clips, fresh
from transformers import TrainerCallback

from favor_mini.training.callbacks import ProgressBar
from favor_mini.training.cost import training_cost
from favor_mini.training.optimizer import MuonAdamW
from favor_mini.training.order import Order
from favor_mini.training.trainer import fit
from favor_mini.world.lessons import Dialogues


def run(out, data=None, model=None, steps=4, **options):
    """Train a tiny model; returns it and the log."""
    model = fresh(qformer_dropout=0.1) if model is None else model
    options = {"batch": 4, "save_steps": 2, "log_steps": 1, "progress": False, "bf16": False,
               "lr": 1e-2, **options}
    data = Dialogues(clips(), 16) if data is None else data
    return model, fit(model.train(), data, tiny_processor().collate, out, steps=steps, **options)


def same(one, other) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


class StopAfter(TrainerCallback):
    def on_save(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= 2


# Accumulation.

def test_accumulated_batches_are_one_large_batch(tmp_path):
    """The answers differ in length: a mean of the batches' means would be another loss."""
    logs = [run(tmp_path / str(batch), model=fresh(diversity_weight=0.0), steps=2, batch=batch,
                accumulate=4 // batch)[1] for batch in (4, 1)]
    for mine, theirs in zip(*(log[:-1] for log in logs), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert mine["cross_entropy"] == pytest.approx(theirs["cross_entropy"], abs=2e-4)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def test_both_parts_add_up_over_accumulated_batches(tmp_path):
    _, log = run(tmp_path, model=fresh(diversity_weight=0.5), batch=2, accumulate=3, log_steps=2)
    assert [entry["step"] for entry in log] == [2, 4, 4]
    for entry in log[:-1]:
        assert entry["loss"] == pytest.approx(entry["cross_entropy"] + 0.5 * entry["diversity"],
                                              abs=1e-3)


def test_the_log_has_the_learning_rate_that_was_asked_for(tmp_path):
    """Finding: it had that of Muon's matrices, twenty times as high."""
    _, log = run(tmp_path, lr=1e-3, warmup=0.0)
    assert log[0]["learning_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize(("decay", "falls_from"), [(0.25, 6), (0.75, 2)])
def test_the_learning_rate_falls_in_the_last_share_of_the_steps(tmp_path, decay, falls_from):
    _, log = run(tmp_path, lr=1e-3, warmup=0.0, decay=decay, steps=8, save_steps=8)
    rates = [entry["learning_rate"] for entry in log[:-1]]
    assert rates[:falls_from] == pytest.approx([1e-3] * falls_from)
    assert (np.diff(rates[falls_from:]) < 0).all() and rates[-1] <= 0.5e-3


@pytest.mark.parametrize("shares", [{"decay": 0.0}, {"decay": 0.97}, {"warmup": -0.1}])
def test_shares_that_do_not_fit_into_the_run_are_refused(tmp_path, shares):
    with pytest.raises(ValueError, match="expected shares of the steps"):
        run(tmp_path, **shares)


def test_a_run_with_another_decay_is_another_run(tmp_path):
    run(tmp_path, decay=0.25)
    with pytest.raises(ValueError, match="a run with other decay"):
        run(tmp_path, decay=0.5)


def test_an_accumulating_run_resumes_exactly(tmp_path):
    whole, log = run(tmp_path / "whole", batch=2, accumulate=2)
    run(tmp_path / "parts", batch=2, accumulate=2, callbacks=[StopAfter()])
    torch.manual_seed(123)
    resumed, again = run(tmp_path / "parts", batch=2, accumulate=2)
    assert same(whole, resumed) and log == again


def test_small_data_are_read_epoch_after_epoch_and_resume_exactly(tmp_path):
    """On earlier code, a run that stopped after the first epoch went on in another order."""
    data = Dialogues(clips(5), 5)
    whole, log = run(tmp_path / "whole", data, steps=6)
    run(tmp_path / "parts", data, steps=6, callbacks=[StopAfter()])
    resumed, again = run(tmp_path / "parts", data, steps=6)
    assert same(whole, resumed) and log == again
    assert log[4]["epoch"] == pytest.approx(4.0)  # 20 items of 5
    order = list(Order(data, 20, 4, seed=0))
    assert [sorted(order[i : i + 5]) for i in range(0, 20, 5)] == [list(range(5))] * 4
    assert order[:5] != order[5:10]


# Validation.

def test_validation_is_logged_and_does_not_change_the_training(tmp_path):
    class Modes(TrainerCallback):
        def on_evaluate(self, args, state, control, model, **_):
            seen.append((model.model.training, model.model.projection.training,
                         model.model.visual_encoder.training))

    seen: list[tuple] = []  # as the first step finds them, and the later ones
    plain, log = run(tmp_path / "plain")
    model, validated = run(tmp_path / "validated", validation=Dialogues(clips(3), 7),
                           validate_steps=3, callbacks=[Modes()])
    assert same(plain, model) and [e for e in validated if "loss" in e] == log[:-1]
    steps = [entry["step"] for entry in validated if "eval_cross_entropy" in entry]
    assert steps == [0, 3, 4] and seen == [(True, True, False)] * 3
    assert not any(module.training for module in model.visual_encoder.modules())
    last = [e["eval_cross_entropy"] for e in validated if "eval_cross_entropy" in e][-1]
    data, processor = Dialogues(clips(3), 7), tiny_processor()
    total = count = 0
    for i in range(7):  # the mean over all answer tokens
        inputs = processor.collate([data[i]])
        number = int(inputs["labels"].ne(-100).sum())
        with torch.no_grad():
            total += number * float(model.eval()(**inputs).cross_entropy)
        count += number
    assert last == pytest.approx(total / count, abs=2e-4)


def test_a_validated_run_resumes_exactly(tmp_path):
    options = {"validation": Dialogues(clips(3), 3), "validate_steps": 1}
    whole, log = run(tmp_path / "whole", **options)
    run(tmp_path / "parts", callbacks=[StopAfter()], **options)
    resumed, again = run(tmp_path / "parts", **options)
    assert same(whole, resumed) and log == again


def test_a_run_that_began_without_validation_continues_with_it(tmp_path):
    run(tmp_path, callbacks=[StopAfter()])
    _, log = run(tmp_path, validation=Dialogues(clips(3), 3), validate_steps=1)
    assert [entry["step"] for entry in log if "eval_cross_entropy" in entry] == [3, 4]


# Loggers.

def test_the_csv_log_has_each_entry_once_after_a_kill(tmp_path):
    class Kill(TrainerCallback):
        def on_log(self, args, state, control, **_):
            if state.global_step == 3:  # the checkpoint is of step 2
                raise KeyboardInterrupt

    options = {"report_to": ["csv"], "validation": Dialogues(clips(3), 3), "validate_steps": 2}
    _, log = run(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", callbacks=[Kill()], **options)
    file = tmp_path / "killed" / "log.csv"
    assert file.read_text(encoding="utf-8").count("\n") == 6  # the header, 0, 1, 2, 2 and 3
    file.write_text(file.read_text(encoding="utf-8")[:-9])  # half a line
    run(tmp_path / "killed", **options)
    whole = (tmp_path / "whole" / "log.csv").read_bytes()
    assert file.read_bytes() == whole
    file.unlink()
    run(tmp_path / "killed", **options)  # finished
    assert file.read_bytes() == whole
    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [entry["step"] for entry in log[:-1]]
    for row, entry in zip(rows, log, strict=False):
        for name in ("loss", "cross_entropy", "eval_cross_entropy"):
            assert row[name] == str(entry.get(name, ""))


def test_tensorboard_gets_the_losses(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    run(tmp_path, report_to=["csv", "tensorboard"], validation=Dialogues(clips(3), 3))
    (file,) = (tmp_path / "runs").rglob("events.out.*")
    content, tags, place = file.read_bytes(), set(), 0
    while place < len(content):  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + length])
        tags |= {(value.tag, event.step) for value in event.summary.value}
        place += length + 16
    assert {("train/loss", 4), ("train/cross_entropy", 1), ("eval/cross_entropy", 4)} <= tags


def test_an_unknown_logger_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nonesuch is not supported"):
        run(tmp_path, report_to="nonesuch")


def test_the_time_left_is_that_of_the_remaining_steps(monkeypatch):
    """After a resume, too: the steps of the earlier start took none of this start's time."""
    args, bar = None, ProgressBar("align")
    bar.on_train_begin(args, SimpleNamespace(max_steps=100, global_step=60,
                                             is_world_process_zero=True), None)
    start = bar.bar.start_t
    bar.bar._time = lambda: start + 20.0
    for _ in range(10):
        bar.on_step_end()
    bar.on_log(logs={"eval_cross_entropy": 1.25})
    assert bar.bar.n == 70 and bar.bar.format_dict["initial"] == 60
    assert "70/100 [00:20<01:00," in str(bar.bar) and "validation=1.250" in str(bar.bar)
    bar.close()


# Arguments.

@pytest.mark.parametrize("name", ["steps", "batch", "accumulate", "log_steps", "save_steps",
                                  "validate_steps"])
def test_a_number_below_one_is_refused(tmp_path, name):
    for number in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"found {name}={number}, expected a whole .*Fix"):
            run(tmp_path, **{name: number})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lr", [0.0, -1e-3, float("nan"), float("inf")])
def test_a_learning_rate_that_cannot_train_is_refused(tmp_path, lr):
    with pytest.raises(ValueError, match="found lr=.*expected a learning rate above 0.*Fix"):
        run(tmp_path, lr=lr)


@pytest.mark.parametrize("name", ["data", "validation"])
def test_no_data_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"found no items in `{name}`"):
        run(tmp_path, **{name: Dialogues(clips(), 0)})


class Checkpointed(torch.nn.Module):
    """Notes when gradient checkpointing is on."""

    def __init__(self):
        super().__init__()
        self.weight, self.on, self.seen = torch.nn.Parameter(torch.ones(1)), False, []

    def gradient_checkpointing_enable(self):
        self.on = True

    def gradient_checkpointing_disable(self):
        self.on = False

    def forward(self, **_):
        self.seen.append(self.on)
        return {"loss": self.weight.sum()}


def test_gradient_checkpointing_is_on_for_the_training_alone(tmp_path):
    """It is switched on in the model, also where the trained module only contains it. (The stub
    has no linear layer, so that all of its weights are AdamW's.)"""
    inner = Checkpointed()
    outer = torch.nn.Module()
    outer.inner, outer.forward = inner, inner.forward
    run(tmp_path, model=outer, steps=2, gradient_checkpointing=True)
    assert inner.seen == [True, True] and not inner.on
    with pytest.raises(ValueError, match="gradient_checkpointing=True and a Linear without"):
        run(tmp_path / "linear", model=torch.nn.Linear(1, 1), gradient_checkpointing=True)


# Cost.

@pytest.mark.parametrize("broken", [False, True])
def test_measuring_the_cost_leaves_everything_as_it_was(broken):
    """Even where a gradient is not a number: 0 times it is not 0."""
    model = fresh(qformer_dropout=0.1).eval()
    if broken:
        model.projection.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = MuonAdamW(model, lr=1.0)
    streams = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    cost = training_cost(model, Dialogues(clips(), 40), tiny_processor().collate, batch=4,
                         bf16=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert random.getstate() == streams[0] and np.random.get_state()[1].tolist() == streams[1]
    assert torch.equal(torch.get_rng_state(), streams[2])
    assert not any(module.training for module in model.modules())
    assert not optimizer.muon.state and not optimizer.adamw.state
    assert all(p.grad is None for p in model.parameters())
    assert cost["seconds_per_step"] > 0 and cost["peak_memory"] > 50e6


def test_the_tokens_of_a_step_are_those_that_the_language_model_reads():
    data, processor = Dialogues(clips(1), 8), tiny_processor()
    tokens = [processor.collate([data[i]])["input_ids"].numel() for i in range(8)]
    cost = training_cost(fresh(), data, processor.collate, batch=2, accumulate=2, bf16=False)
    assert 4 * min(tokens) <= cost["tokens_per_step"] <= 4 * max(tokens)


def test_the_first_measured_batch_holds_the_longest_item():
    seen = []

    class Lengths(torch.utils.data.Dataset):
        lengths = [1, 2, 3, 9, 2, 1, 3, 2]

        def __len__(self):
            return 8

        def __getitem__(self, i):
            return self.lengths[i]

    def collate(items):
        seen.append(items)
        return {"input_ids": torch.tensor(items)}

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, input_ids):
            return {"loss": self.layer(input_ids[:, None].float()).mean()}

    training_cost(One(), Lengths(), collate, batch=2)
    assert 9 in seen[0] and len(seen) == 4
