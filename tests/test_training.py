"""Fine-tuning: only the right parameters are trained, both parts of the loss are logged, and a
stopped run resumes exactly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import needs, same_weights, scramble, tiny_config, tiny_processor
from safetensors.torch import load_file
from transformers.trainer_pt_utils import LengthGroupedSampler

from favor_mini import FavorForConditionalGeneration
from favor_mini.pretraining.shortcut import NAMED_STAGES, NamedRows
from favor_mini.training.finetune import finetune
from favor_mini.training.trainer import fit, last_checkpoint
from favor_mini.world.lessons import Dialogues, SceneRows
from favor_mini.world.scene import SPLITS

FIRST = SPLITS["train"].start


def fresh(seed=0, **changes):
    """An untrained model, always the same one for a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FavorForConditionalGeneration(tiny_config(**changes))
    model.reset_trained(seed=seed)
    return model


def clips(count=12, split="train"):
    """Encoded clips of 5 to 12 frames with random features."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(count):
        frames = 5 + i % 8
        made.append({"num_frames": frames, "audio_tokens": 5 * frames,
                     "seed": SPLITS[split].start + i,
                     "visual_features": torch.randn(frames, 3, 12, generator=generator).half(),
                     "audio_features": torch.randn(5 * frames, 16, generator=generator).half()})
    return made


def train(model, out, name=2, align=2, ask=2, **options):
    options = {"batch": 4, "progress": False, "save_steps": 2, "log_steps": 1, "bf16": False,
               **options}
    steps = {"name": name, "align": align, "ask": ask}
    return finetune(model, tiny_processor(), NamedRows(clips()), out, steps=steps,
                    stages=NAMED_STAGES, **options)


def test_a_finished_run_is_not_trained_on(tmp_path):
    model = fresh()
    first = train(model, tmp_path)
    done = trained_state(model)
    again = fresh()
    log = train(again, tmp_path)
    assert [e["loss"] for e in log if "loss" in e] == [e["loss"] for e in first
                                                       if "loss" in e] != []
    assert all(torch.equal(tensor, done[name]) for name, tensor in trained_state(again).items())


def test_a_run_of_another_model_or_of_more_steps_is_not_resumed(tmp_path):
    train(fresh(), tmp_path)
    with pytest.raises(ValueError, match="found in .* a run with other model.*expected.*Fix"):
        train(fresh(attention="full"), tmp_path)
    with pytest.raises(ValueError, match="found a run of 2 steps in .*expected at most 1.*Fix"):
        train(fresh(), tmp_path, name=1)


def frozen_encoder(model):
    return model.visual_encoder.query_tokens


def connector(model):
    return model.projection.weight


@pytest.mark.parametrize("part", [frozen_encoder, connector])
def test_a_run_that_started_from_other_weights_is_not_resumed(tmp_path, part):
    """On earlier code, after an encoder was trained again, a kept folder gave the old encoder
    back. The weights that a run started from count, those that it trains as well."""
    train(fresh(), tmp_path)
    model = fresh()
    with torch.no_grad():
        part(model).add_(1e-3)
    kept = part(model).clone()
    with pytest.raises(ValueError, match="a run with other weights: .*expected.*Fix: start"):
        train(model, tmp_path)
    assert torch.equal(part(model), kept)


def test_the_second_stage_resumes_from_the_weights_that_the_first_reached(tmp_path):
    train(fresh(), tmp_path / "parts", name=1, align=2, ask=0)
    resumed, whole = fresh(), fresh()
    # reads two stages and trains the third
    train(resumed, tmp_path / "parts", name=1, align=2, ask=1)
    train(whole, tmp_path / "whole", name=1, align=2, ask=1)
    assert same_weights(whole, resumed)


def test_a_checkpoint_holds_only_what_is_trained(tmp_path):
    model = fresh()
    train(model, tmp_path, ask=0)
    for stage, prefix in (("name", "model.model."), ("align", "model.")):
        stored = load_file(Path(last_checkpoint(tmp_path / stage)) / "model.safetensors")
        assert {name.removeprefix(prefix) for name in stored} == {
            *trained_state(model), *(name for name, _ in model.named_buffers()
                                     if name in model.state_dict())}


def test_without_resume_nothing_of_the_old_run_is_left(tmp_path):
    train(fresh(), tmp_path, name=4, align=0, ask=0)
    train(fresh(attention="full"), tmp_path, name=2, align=0, ask=0, resume=False)
    assert [folder.name for folder in (tmp_path / "name").glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 2e-3}, {"batch": 3}])
def test_a_run_with_other_settings_is_not_resumed(tmp_path, change):
    train(fresh(), tmp_path)
    with pytest.raises(ValueError, match=f"a run with other .*{next(iter(change))}.*Fix"):
        train(fresh(), tmp_path, **change)


def test_a_run_with_other_clips_is_not_resumed(tmp_path):
    train(fresh(), tmp_path)
    with pytest.raises(ValueError, match="a run with other data"):
        finetune(fresh(), tiny_processor(), NamedRows(clips(11)), tmp_path, steps={"name": 2},
                 stages=NAMED_STAGES, batch=4, progress=False, bf16=False)


def test_an_unknown_stage_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"found stages \['nme'\], expected align, ask"):
        finetune(fresh(), tiny_processor(), SceneRows(clips()), tmp_path, steps={"nme": 2})


def test_the_length_of_an_item_is_that_of_its_longer_stream():
    sound = {"num_frames": 0, "audio_tokens": 300, "seed": FIRST}
    assert Dialogues([clips(1)[0], sound], 3).lengths == [5, 12, 5]


def test_a_finished_stage_is_followed_by_the_next_whatever_was_logged(tmp_path):
    train(fresh(), tmp_path, name=0, align=3, ask=0, log_steps=2)  # step 3 is not logged
    again = train(fresh(), tmp_path, name=0, align=3, ask=2, log_steps=2)
    assert [e["step"] for e in again if e["stage"] == "ask" and "loss" in e] == [2]


def trained_state(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def test_every_frozen_tensor_stays_and_every_trained_one_moves(tmp_path):
    model = fresh()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, tmp_path)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert len(frozen) > 20 and not set(moved) & set(frozen)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    # A key's bias adds the same to all scores of a row: softmax ignores it, so it gets no gradient
    # but rounding's.
    assert {name for name in trained - set(moved) if not name.endswith("key.bias")} == set()


def test_both_parts_of_the_loss_are_logged_and_add_up(tmp_path):
    log = train(fresh(diversity_weight=0.5), tmp_path)
    entries = [e for e in log if "cross_entropy" in e]
    assert [e["stage"] for e in entries] == ["name"] * 2 + ["align"] * 2 + ["ask"] * 2
    for e in entries[2:]:  # naming has a third part
        assert float(e["loss"]) == pytest.approx(e["cross_entropy"] + 0.5 * e["diversity"],
                                                 abs=2e-3)


def test_training_lowers_the_loss(tmp_path):
    model = scramble(fresh())  # a language model that has opinions, if wrong ones
    model.reset_trained(seed=0)
    log = [e for e in train(model, tmp_path, name=0, align=30, ask=0, lr=1e-1, log_steps=5,
                            save_steps=30) if "cross_entropy" in e]
    assert log[-1]["cross_entropy"] < 0.9 * log[0]["cross_entropy"]


def test_a_run_stopped_between_steps_resumes_exactly(tmp_path):
    from transformers import TrainerCallback

    class StopAfter(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= 2

    whole, parts = fresh(qformer_dropout=0.1), fresh(qformer_dropout=0.1)
    train(whole, tmp_path / "whole", name=4, align=4)
    stopped = train(parts, tmp_path / "parts", name=4, align=4, callbacks=[StopAfter()])
    # the next stage did not start
    assert {e["stage"] for e in stopped} == {"name"} and stopped[-1]["step"] == 2
    assert not torch.equal(parts.projection.weight, whole.projection.weight)
    torch.manual_seed(123)  # a later start finds another random state
    again = fresh(qformer_dropout=0.1)
    train(again, tmp_path / "parts", name=4, align=4)
    kept = trained_state(whole)
    assert all(torch.equal(value, kept[name]) for name, value in trained_state(again).items())


def test_an_incomplete_checkpoint_is_ignored(tmp_path):
    train(fresh(), tmp_path, name=0, align=4, ask=0)
    cut = tmp_path / "align" / "checkpoint-6"
    cut.mkdir()
    (cut / "model.safetensors").write_bytes(b"half")
    assert last_checkpoint(tmp_path / "align") == str(tmp_path / "align" / "checkpoint-4")
    (cut / "trainer_state.json").write_text('{"global_st')
    assert last_checkpoint(tmp_path / "align") == str(tmp_path / "align" / "checkpoint-4")
    train(fresh(), tmp_path, name=0, align=8, ask=0)  # resumes from step 4
    assert last_checkpoint(tmp_path / "align").endswith("checkpoint-8")
    assert last_checkpoint(tmp_path / "none") is None


KILLED = """
import sys, torch
torch.set_num_threads(1)
from test_training import fresh, train
model = fresh()
print("start", flush=True)
train(model, sys.argv[1], name=6, align=6, ask=8)
from safetensors.torch import save_file
save_file({n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, sys.argv[2])
"""


@needs("signals")
@pytest.mark.slow
def test_a_killed_run_resumes_exactly(tmp_path):
    """SIGKILL, which is like a power cut, after a random number of saved steps; then the same
    command again."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}",
                   "OMP_NUM_THREADS": "1"}

    def run(name, kill_after=None):
        command = [sys.executable, "-c", KILLED, str(tmp_path / name),
                   str(tmp_path / f"{name}.safetensors")]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        if kill_after is not None:
            deadline = time.monotonic() + 120
            checkpoint = f"*/checkpoint-{kill_after}"
            while not list((tmp_path / name).glob(checkpoint)) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors.decode()

    code, errors = run("whole")
    assert code == 0, errors
    steps = int(torch.randint(1, 5, (1,),
                              generator=torch.Generator().manual_seed(int(time.time())))) * 2
    code, _ = run("killed", kill_after=steps)
    assert code == -signal.SIGKILL and not (tmp_path / "killed.safetensors").exists()
    code, errors = run("killed")
    assert code == 0, errors
    killed, whole = (tmp_path / f"{name}.safetensors" for name in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()


def test_batches_hold_clips_of_similar_length_in_an_order_that_the_seed_decides(tmp_path):
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = torch.nn.Linear(1, 1)

        def forward(self, num_frames):
            seen.append(num_frames.tolist())
            return {"loss": self.inside.weight.sum() * 0}

    data = Dialogues(clips(40), count=160)
    def length(item):
        return max(item["num_frames"], item["audio_tokens"] // 5)

    def collate(items):
        return {"num_frames": torch.tensor([length(item) for item in items])}

    fit(Spy(), data, collate, tmp_path, steps=20, batch=8, seed=3, progress=False, bf16=False)
    order = list(LengthGroupedSampler(8, lengths=data.lengths,
                                      generator=torch.Generator().manual_seed(3)))
    lengths = [length(data[i]) for i in order]
    assert seen == [lengths[i : i + 8] for i in range(0, 160, 8)]
    assert sum(max(batch) - min(batch) for batch in seen) / len(seen) < 1.5  # of at most 7
    assert [max(batch) for batch in seen] != sorted(max(batch) for batch in seen)  # still shuffled


# At the terminal.

def test_progress_is_one_bar_a_stage_with_the_loss(tmp_path, capfd):
    """On earlier code the log's dictionaries stood between the bars."""
    log = train(fresh(), tmp_path, name=3, align=2, ask=0, progress=True)
    out, err = capfd.readouterr()
    assert "{" not in out + err and out == ""
    last = {stage: [bar for bar in err.split("\r") if bar.startswith(f"{stage}: ")][-1]
            for stage in ("name", "align")}
    for stage, steps in (("name", 3), ("align", 2)):
        loss = [float(e["loss"]) for e in log if e["stage"] == stage and "loss" in e][-1]
        assert "100%" in last[stage] and f"{steps}/{steps}" in last[stage]
        assert f"loss={loss:.3f}" in last[stage]


def test_without_progress_nothing_is_printed(tmp_path, capfd):
    train(fresh(), tmp_path)
    assert capfd.readouterr().out == ""


def test_data_that_do_not_say_what_they_are_cannot_resume(tmp_path):
    """Finding: another manifest in the same folder trained nothing, and nothing was said."""
    class Plain(torch.utils.data.Dataset):
        def __init__(self, data):
            self.data = data

        def __len__(self):
            return len(self.data)

        def __getitem__(self, i):
            return self.data[i]

    model, processor = fresh(), tiny_processor()
    data = Dialogues(clips(), 16)
    options = {"steps": 2, "batch": 4, "save_steps": 2, "progress": False, "bf16": False}
    fit(model, Plain(data), processor.collate, tmp_path, **options)
    with pytest.raises(ValueError, match="data without `identity`.*resume=False"):
        fit(fresh(), Plain(data), processor.collate, tmp_path, **options)
    fit(fresh(), Plain(data), processor.collate, tmp_path, resume=False, **options)
