"""The exam: the package computes what its key says, and no learner gets it with the course."""

import re
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from docs.tools import site
from docs.tools.exam import read_exam, written
from favor_mini.attention import AttentionBlock, window_mask
from favor_mini.classroom.plan import read_class
from favor_mini.classroom.release import release
from favor_mini.classroom.setup import course_files, course_root
from favor_mini.course.exercise import answer
from favor_mini.evaluation.metrics import word_errors
from favor_mini.lab.gym.results import Curves
from favor_mini.lab.measure import measure_receptive_field
from favor_mini.lab.statistics import verdict
from favor_mini.losses import diversity_loss
from favor_mini.registry import find
from favor_mini.sync import synchronise

EXAM = read_exam()
QUESTIONS = {q["name"]: q for q in EXAM["questions"]}


def code(name: str) -> str:
    """The program in a question."""
    return QUESTIONS[name]["text"].split("```python\n")[1].split("```")[0]


def clip_vectors():
    return [len(answer("grid_frames")(np.arange(0, 20, 0.04), 17.2)),
            answer("num_windows")(35, 10), answer("tokens_of_clip")(17.2, 2, 10, 16)]


def shifted():
    exec(code("shift_of_zero"), names := {"np": np})
    wave = np.arange(1.0, 6.0)
    for n in range(1, 5):
        assert names["later"](wave, n).tolist() == [0.0] * n + wave[: 5 - n].tolist()
    return len(names["later"](wave, 0))


def patches():
    _, count, numbers = answer("cut_patches")(torch.zeros(1, 3, 96, 64), 16).shape
    return [count + 1, numbers]


def synchronised():
    steps = synchronise(torch.ones(1, 11, 8, 128), torch.ones(1, 296, 128), audio_tokens=25)[0]
    assert not steps[-1, :, :128].any()  # the visual half of the last step
    return [*steps.shape, int(steps[-1, :, 128:].any(-1).sum())]


def second_step():
    visual = torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]])
    audio = torch.tensor([[[10.0], [11.0], [12.0], [13.0]]])
    return synchronise(visual, audio, audio_tokens=3)[0, 1].tolist()


def one_head():
    query, values = torch.tensor([[2 * np.log(3), 0, 0, 0]]), torch.tensor([[8.0], [0.0]])
    keys, head = torch.eye(4, dtype=torch.float64)[:2], answer("one_head")
    weights = head(query, keys, torch.eye(2, dtype=torch.float64))
    return [*weights[0].tolist(), head(query, keys, values.double()).item()]


def split_by_reshape():
    exec(code("heads_by_reshape"), names := {})
    x = torch.arange(12.0).view(1, 2, 6)
    assert torch.equal(names["split_heads"](x, 2)[0, 0].flatten(), x[0, 0])  # token 0 alone
    corrected = x.reshape(1, 2, 2, 3).transpose(1, 2)
    assert torch.equal(corrected, answer("split_heads")(x, 2))


def lost_rows():
    real = torch.tensor([True, True, False, False])
    allowed = find("attention", "block_anticausal")(4, 1) & real
    assert window_mask("block_anticausal", real[None], 1).any(-1).all()  # the package's rule
    return (~allowed.any(-1)).nonzero().flatten().tolist()


def guilty_mask():
    def moved(name):
        mask = find("attention", name)(6, 1)
        steps = torch.randn(1, 6, 1, 2, dtype=torch.float64)
        reach = measure_receptive_field(
            lambda x: torch.einsum("ij,bjpd->bipd", mask.double(), x.tanh()), steps)
        return reach[:, 2].nonzero()[0].tolist()

    [found] = [name for name in ("block_causal", "block_anticausal", "local_causal", "full")
               if moved(name) == [0, 1, 2]]
    return found


def wrongly_marked():
    frame_mask = torch.tensor([True, True, False])
    exec(code("mask_of_tokens_by_repeat"), names := {"frame_mask": frame_mask, "P": 2})
    right = frame_mask.repeat_interleave(2)
    wrong = (names["real"] != right).nonzero().flatten().tolist()
    assert [bool(right[i]) for i in wrong] == [True, False]
    return wrong


def pairs_of(frames):
    windows, _ = answer("split_windows")(torch.zeros(1, 40, 25, 1), torch.ones(1, 40).bool(),
                                         frames)
    return len(windows) * windows.shape[1] ** 2


def frame_in_front():
    torch.manual_seed(0)
    clip = torch.randn(1, 20, 2, 3)
    before, after = (answer("split_windows")(x, torch.ones(1, x.shape[1]).bool(), 10)[0]
                     for x in (clip, nn.functional.pad(clip, (0, 0, 0, 0, 1, 0))))
    kept = sum(any(torch.equal(old, new) for new in after) for old in before)
    return [16 * len(before), 16 * len(after), kept]


def isolated():
    mask, positions = answer("isolate_turns_mask")(torch.tensor([[0, 0, 1, 1, 2, 2, 2]]))
    return [positions[0].tolist(), mask[0, 0, 5].nonzero().flatten().tolist()]


def lora():
    from peft import LoraConfig, inject_adapter_in_model

    model = inject_adapter_in_model(LoraConfig(r=4, lora_alpha=8, target_modules=["0"]),
                                    nn.Sequential(nn.Linear(48, 64)))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return [trained, model[0].scaling["default"]]


def resumed(tmp_path):
    for number in (900, 1000, 1100):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if number < 1100:
            (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text("{}")
    assert answer("last_checkpoint")(tmp_path).endswith("checkpoint-1000")
    text = textwrap.indent(code("where_to_resume"), "    ")
    exec(f"def found(out):\n{text}", names := {"Path": type(tmp_path)})
    return names["found"](tmp_path)


def errors():
    found = word_errors(["king lion salt salt bell"], ["moon king lion salt"])
    counts = [found.deletions, found.insertions, found.substitutions]
    return [*counts, sum(counts) / found.words]


def hidden_differences():
    said = [verdict(2.4, -0.8, 5.6, 5), verdict(0.3, -0.9, 1.5, 5)]
    assert all("no measurable difference" in text for text in said)
    return [float(text.split("more than ")[1].split()[0]) for text in said]


def steps_to_ninety():
    curves = {"A": (0.20, 0.60, 0.95, 0.97), "B": (0.09, 0.12, 0.40, 0.96)}
    results = [{"arm": arm, "seed": 0, "gym": {"steps": 400}, "steps": 400, "parameters": 0,
                "chance": {"recall": 1 / 12}, "mflop": 0, "similarity": 0, "seconds": 0,
                "curve": [[100 * i, {"recall": v}] for i, v in enumerate(values, 1)]}
               for arm, values in curves.items()]
    return Curves(results).table.reached.tolist()


def without_own():
    frame = torch.arange(4)
    mask = frame[:, None] > frame[None, :]
    assert not mask.triu().any()  # no leak
    [row] = (~mask.any(-1)).nonzero().flatten().tolist()
    return row


def gigabytes():
    with torch.device("meta"):
        model = nn.ModuleList([nn.Linear(10**6, 6000, bias=False, dtype=torch.bfloat16),
                               nn.Linear(10**6, 100, bias=False)])
    model[0].requires_grad_(False)
    return sum(answer("memory_of")(model)) / 1e9


def thousand_updates():
    value = torch.ones((), dtype=torch.bfloat16)
    for _ in range(1000):
        value = value + torch.tensor(0.001, dtype=torch.bfloat16)
    return value.item()


def of_unequal_parts():
    gradients = {2: 4.0, 6: 0.0}  # rows: mean gradient
    whole = answer("accumulate")(lambda weight, rows: (weight * gradients[len(rows)]).sum(),
                                 torch.ones(1, requires_grad=True), [[0] * 2, [0] * 6])
    return [whole.item(), sum(gradients.values()) / 2]


VECTORS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
COMPUTED = {
    "vectors_of_a_clip": clip_vectors,
    "frames_on_the_grid": lambda: answer("grid_frames")(
        np.array([0, 0.2, 0.55, 0.95, 1.0, 1.6]), 1.8).tolist(),
    "shift_of_zero": shifted,
    "patches_of_an_image": patches,
    "a_synchronised_clip": synchronised,
    "tokens_of_a_step": second_step,
    "one_head_by_hand": one_head,
    "parameters_of_a_block": lambda: sum(
        p.numel() for p in AttentionBlock(6, 2, memory_width=10).parameters()),
    "pairs_of_the_block_mask": lambda: [
        int((mask := find("attention", "block_causal")(4, 3)).sum()), mask.numel()],
    "padding_under_the_reversed_mask": lost_rows,
    "which_mask_was_it": guilty_mask,
    "mask_of_tokens_by_repeat": wrongly_marked,
    "cost_of_longer_windows": lambda: [pairs_of(5), pairs_of(20) / pairs_of(5)],
    "one_frame_in_front": frame_in_front,
    "diversity_of_three": lambda: diversity_loss(VECTORS[None]).item(),
    "two_and_two": lambda: diversity_loss(VECTORS[[0, 0, 2, 2]][None]).item(),
    "which_tokens_count": lambda: int((answer("answer_labels")([[1] * 9], [[5, 6, 3]]) >= 0).sum()),
    "isolated_turns": isolated,
    "size_of_lora": lora,
    "what_is_spelled": lambda: " ".join(
        answer("spelled")("see . see red red . . ring . . ring".split(), ".")),
    "word_errors": errors,
    "intervals_by_chance": lambda: 0.05 * 11 * 3,
    "two_null_results": hidden_differences,
    "two_learning_curves": steps_to_ninety,
    "earlier_frames_only": without_own,
    "memory_of_a_training": gigabytes,
    "small_updates": thousand_updates,
    "unequal_parts": of_unequal_parts,
}


@pytest.mark.parametrize("name", COMPUTED)
def test_the_package_computes_what_the_key_says(name):
    found, expected = COMPUTED[name](), QUESTIONS[name]["value"]
    if isinstance(expected, list):
        assert len(found) == len(expected)
    for one, other in zip(*([x] if not isinstance(x, list) else x for x in (found, expected)),
                          strict=True):
        assert one == (other if isinstance(other, str | list) else pytest.approx(other, abs=1e-6))


def test_the_key_of_the_folder_is_what_the_code_returns(tmp_path):
    assert resumed(tmp_path) == QUESTIONS["where_to_resume"]["value"]


def test_a_reshape_is_the_fault_that_the_key_names():
    split_by_reshape()


def test_every_value_is_computed_and_stands_in_its_answer():
    assert {n for n, q in QUESTIONS.items() if "value" in q} == {*COMPUTED, "where_to_resume"}
    said = {-0.3333333: "-1/3", 125000: "125,000", "one_head_by_hand": ("3/4", "1/4", "6"),
            "word_errors": ("1 deletion", "2 insertions", "no substitution", "75 %"),
            "one_frame_in_front": ("32", "48", "None")}
    for name, q in QUESTIONS.items():
        values = said.get(name, q.get("value", ()))
        for each in values if isinstance(values, list | tuple) else [values]:
            for part in each if isinstance(each, list) else [said.get(each, each)]:
                assert re.search(rf"(?<![\d.]){re.escape(str(part))}(?![\d])", q["answer"]), name


def test_there_are_forty_questions_from_all_notebooks_with_a_hundred_marks():
    questions = EXAM["questions"]
    assert len(questions) == len(QUESTIONS) == 40
    assert sum(q["marks"] for q in questions) == 100
    assert [q["notebook"] for q in questions] == sorted(q["notebook"] for q in questions)
    assert {q["notebook"] for q in questions} == {f"{n:02}" for n in range(13)}
    assert {q["kind"] for q in questions} == {
        "by hand", "mask", "breaks", "reading", "code", "evidence"}
    assert all(q["text"].strip() and q["answer"].strip() and q["why"].strip() for q in questions)


def test_the_sheet_has_no_answer_and_the_key_has_all():
    sheet, key = written(EXAM), written(EXAM, key=True)
    for q in EXAM["questions"]:
        reason = " ".join(q["why"].split())
        assert q["text"].strip() in sheet and q["text"].strip() in key
        assert reason in key and reason not in " ".join(sheet.split())
    assert "**Answer" not in sheet and key.count("> **Answer.**") == 40


def test_no_website_hand_out_or_wheel_has_the_exam(tmp_path):
    """A line of each question, and the names of its files."""
    lines = [q["text"].strip().split("\n")[0] for q in EXAM["questions"]]
    assert not [name for name in course_files(course_root()) if "teaching" in name]
    for student in (True, False):
        site.collect(tmp_path / "site", student=student)
        texts = [p.read_text(encoding="utf-8") for p in (tmp_path / "site").rglob("*")
                 if p.suffix in (".md", ".ipynb")]
        assert len(texts) > 20
        assert not [line for line in lines for text in texts if line in text]
    (tmp_path / "class.toml").write_text('[assignments.masks]\nnotebook = "05"\n'
                                         "marks = {block_causal = 1}\n")
    [file] = release(read_class(tmp_path / "class.toml"), "masks", tmp_path)
    with zipfile.ZipFile(file) as archive:
        handed = "".join(archive.read(n).decode(errors="replace") for n in archive.namelist())
    assert not [line for line in lines if line in handed]
