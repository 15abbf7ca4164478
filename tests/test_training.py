"""Fine-tuning: only what should learn learns, both losses are told apart, and a stopped run goes on as if nothing happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import scramble, tiny_config, tiny_processor

from favor_mini import FavorForConditionalGeneration
from favor_mini.training.finetune import finetune
from favor_mini.training.trainer import fit, last_checkpoint
from favor_mini.world.lessons import Dialogues, NamedClips, SceneRows
from favor_mini.world.mini import mini_processor
from favor_mini.world.questions import ask
from favor_mini.world.scene import SPLITS, draw_scene
from favor_mini.world.transcript import DESCRIBE, transcript

FIRST = SPLITS["train"].start


def fresh(**changes):
    model = FavorForConditionalGeneration(tiny_config(**changes))
    model.reset_trained(seed=0)
    return model


def clips(count=12, split="train"):
    """Encoded clips of 5 to 12 frames with random features."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(count):
        frames = 5 + i % 8
        made.append({"num_frames": frames, "audio_tokens": 5 * frames, "seed": SPLITS[split].start + i,
                     "visual_features": torch.randn(frames, 3, 12, generator=generator).half(),
                     "audio_features": torch.randn(5 * frames, 16, generator=generator).half()})
    return made


def train(model, out, name=2, align=2, ask=2, **options):
    options = {"batch": 4, "progress": False, "save_steps": 2, "log_steps": 1, "bf16": False, **options}
    steps = {"name": name, "align": align, "ask": ask}
    return finetune(model, tiny_processor(), SceneRows(clips()), out, steps=steps, **options)


def test_a_finished_run_is_not_trained_on(tmp_path):
    model = fresh()
    first = train(model, tmp_path)
    done = trained_state(model)
    again = fresh()
    told = train(again, tmp_path)
    assert [e["loss"] for e in told if "loss" in e] == [e["loss"] for e in first if "loss" in e] != []
    assert all(torch.equal(tensor, done[name]) for name, tensor in trained_state(again).items())


def test_a_run_does_not_go_on_with_another_model_or_back(tmp_path):
    train(fresh(), tmp_path)
    with pytest.raises(ValueError, match="holds a run with .*'model'"):
        train(fresh(attention="full"), tmp_path)
    with pytest.raises(ValueError, match="holds a run of 2 steps, asked for are 1"):
        train(fresh(), tmp_path, name=1)


def test_begun_anew_nothing_of_the_old_run_is_left(tmp_path):
    train(fresh(), tmp_path, name=4, align=0, ask=0)
    train(fresh(attention="full"), tmp_path, name=2, align=0, ask=0, resume=False)
    assert [folder.name for folder in (tmp_path / "name").glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 2e-3}, {"batch": 3}])
def test_a_run_does_not_go_on_from_another_kind_of_run(tmp_path, change):
    train(fresh(), tmp_path)
    with pytest.raises(ValueError, match="holds a run with .*; choose another folder, or remove that one"):
        train(fresh(), tmp_path, **change)


def test_a_run_does_not_go_on_with_other_clips(tmp_path):
    train(fresh(), tmp_path)
    with pytest.raises(ValueError, match="holds a run with .*'data'"):
        finetune(fresh(), tiny_processor(), SceneRows(clips(11)), tmp_path, steps={"name": 2}, batch=4, progress=False, bf16=False)


def test_a_batch_is_made_of_like_lengths_of_whichever_stream():
    sound = {"num_frames": 0, "audio_tokens": 300, "seed": FIRST}
    assert Dialogues([clips(1)[0], sound], 3).lengths == [5, 12, 5]


def test_a_finished_stage_is_followed_by_the_next_whatever_was_logged(tmp_path):
    train(fresh(), tmp_path, name=0, align=3, ask=0, log_steps=2)  # step 3 is not logged
    again = train(fresh(), tmp_path, name=0, align=3, ask=2, log_steps=2)
    assert [e["step"] for e in again if e["stage"] == "ask" and "loss" in e] == [2]


def trained_state(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def test_every_frozen_tensor_stays_and_every_trained_one_moves(tmp_path):
    torch.manual_seed(0)
    model = fresh()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, tmp_path)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert len(frozen) > 20 and not set(moved) & set(frozen)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    # A key's bias adds the same to all scores of a row: softmax ignores it, so it gets no gradient but rounding's.
    assert {name for name in trained - set(moved) if not name.endswith("key.bias")} == set()


def test_both_parts_of_the_loss_are_logged_apart_and_add_up(tmp_path):
    torch.manual_seed(0)
    log = train(fresh(diversity_weight=0.5), tmp_path)
    entries = [e for e in log if "cross_entropy" in e]
    assert [e["stage"] for e in entries] == ["name"] * 2 + ["align"] * 2 + ["ask"] * 2
    for e in entries[2:]:  # naming has a third part
        assert float(e["loss"]) == pytest.approx(e["cross_entropy"] + 0.5 * e["diversity"], abs=2e-3)


def test_training_lowers_the_loss(tmp_path):
    model = scramble(fresh())  # a language model that has opinions, if wrong ones
    model.reset_trained(seed=0)
    log = [e for e in train(model, tmp_path, name=0, align=30, ask=0, lr=1e-1, log_steps=5, save_steps=30) if "cross_entropy" in e]
    assert log[-1]["cross_entropy"] < 0.9 * log[0]["cross_entropy"]


def test_a_run_stopped_between_steps_resumes_bit_for_bit(tmp_path):
    from transformers import TrainerCallback

    class StopAfter(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= 2

    torch.manual_seed(0)
    whole, parts = fresh(qformer_dropout=0.1), fresh(qformer_dropout=0.1)
    parts.load_state_dict(whole.state_dict())
    train(whole, tmp_path / "whole", name=4, align=4)
    stopped = train(parts, tmp_path / "parts", name=4, align=4, callbacks=[StopAfter()])
    assert {e["stage"] for e in stopped} == {"name"} and stopped[-1]["step"] == 2  # and no stage after it was begun
    assert not torch.equal(parts.projection.weight, whole.projection.weight)
    torch.manual_seed(123)  # a later start finds another random state
    again = fresh(qformer_dropout=0.1)  # and other weights
    again.load_state_dict({**again.state_dict(), **{n: p for n, p in whole.state_dict().items()
                                                    if n not in trained_state(whole)}})
    train(again, tmp_path / "parts", name=4, align=4)
    kept = trained_state(whole)
    assert all(torch.equal(value, kept[name]) for name, value in trained_state(again).items())


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path):
    train(fresh(), tmp_path, name=0, align=4, ask=0)
    cut = tmp_path / "align" / "checkpoint-6"
    cut.mkdir()
    (cut / "model.safetensors").write_bytes(b"half")
    assert last_checkpoint(tmp_path / "align") == str(tmp_path / "align" / "checkpoint-4")
    (cut / "trainer_state.json").write_text('{"global_st')
    assert last_checkpoint(tmp_path / "align") == str(tmp_path / "align" / "checkpoint-4")
    train(fresh(), tmp_path, name=0, align=8, ask=0)  # goes on from step 4
    assert last_checkpoint(tmp_path / "align").endswith("checkpoint-8") and last_checkpoint(tmp_path / "none") is None


KILLED = """
import sys, torch
torch.set_num_threads(1)
from test_training import fresh, train
torch.manual_seed(0)
model = fresh()
print("start", flush=True)
train(model, sys.argv[1], name=6, align=6, ask=8)
from safetensors.torch import save_file
save_file({n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    """SIGKILL, as a power cut would, after a random number of saved steps; then the same command again."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}

    def run(name, kill_after=None):
        command = [sys.executable, "-c", KILLED, str(tmp_path / name), str(tmp_path / f"{name}.safetensors")]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if kill_after is not None:
            deadline = time.monotonic() + 120
            while not list((tmp_path / name).glob(f"*/checkpoint-{kill_after}")) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors.decode()

    code, errors = run("whole")
    assert code == 0, errors
    steps = int(torch.randint(1, 5, (1,), generator=torch.Generator().manual_seed(int(time.time())))) * 2
    code, _ = run("killed", kill_after=steps)
    assert code == -signal.SIGKILL and not (tmp_path / "killed.safetensors").exists()
    code, errors = run("killed")
    assert code == 0, errors
    assert (tmp_path / "killed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_batches_hold_clips_of_like_length(tmp_path):
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = torch.nn.Linear(1, 1)

        def forward(self, num_frames):
            seen.append(num_frames.tolist())
            return {"loss": self.inside.weight.sum() * 0}

    data = Dialogues(clips(40), count=160)
    fit(Spy(), data, lambda rows: {"num_frames": torch.tensor([max(r["num_frames"], r["audio_tokens"] // 5) for r in rows])},
        tmp_path, steps=20, batch=8, progress=False, bf16=False)
    assert len(seen) == 20
    assert sum(max(batch) - min(batch) for batch in seen) / len(seen) < 1.5  # of at most 7
    assert [max(batch) for batch in seen] != sorted(max(batch) for batch in seen)  # still shuffled


def test_dialogues_are_always_the_same_and_ask_anew_each_pass():
    data = Dialogues(clips(), count=36, questions=4)
    assert [data[i]["turns"] for i in range(36)] == [data[i]["turns"] for i in range(36)]
    assert data[0]["turns"] != data[12]["turns"] and data[0]["seed"] == data[12]["seed"]
    told = Dialogues(clips(), count=12, describe=1.0)[3]
    assert told["turns"] == [(DESCRIBE, transcript(draw_scene(FIRST + 3)))]


def test_now_and_then_a_stream_is_missing_and_nothing_is_asked_of_it():
    data, named = Dialogues(clips(), count=36, describe=0.5), NamedClips(clips(), 36, mini_processor())
    lacking, processor = [], mini_processor()
    for i in range(36):
        item, words = data[i], [processor.tokenizer.decode(ids) for ids in named[i]["words"]]
        _, scene, missing = data.clip(i)
        families = {q.text: q.needs for q in ask(scene)}
        assert [t for t, _ in item["turns"] if t in families and missing in families[t]] == []
        assert ("audio_features" in item) == (missing != "audio") == bool(item["audio_tokens"])
        assert ("visual_features" in item) == (missing != "video") == bool(item["num_frames"])
        if missing == "audio":
            assert set(words[3::4]) <= {"hear", "."} and not set(words[0::4]) <= {"see", "."}
        if missing == "video":
            assert set(words[0::4]) <= {"see", "."} and item["turns"][0][0] != DESCRIBE
        lacking.append((item["seed"], missing))
    assert len({seed for seed, missing in lacking if missing}) > 6  # other clips in each pass


@pytest.mark.parametrize("split", ["validation", "test", "samples"])
def test_held_out_clips_are_refused(split):
    with pytest.raises(ValueError, match=split):
        Dialogues(clips(split=split), count=4)
