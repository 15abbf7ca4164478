"""Right answers that are written in another way than the package's pass their checks."""

import json
import os
import re

import pytest
import torch
import torch.nn.functional as F

from favor_mini.course import exercise
from favor_mini.course.exercise import judge
from favor_mini.losses import diversity_loss as package_loss


def cosine_matrix(queries):
    return torch.stack([F.normalize(one, dim=-1) @ F.normalize(one, dim=-1).T for one in queries])


def diversity_loss(queries, real=None):
    kept = queries if real is None else [q for q, r in zip(queries, real, strict=True) if r]
    if len(kept) == 0 or queries.shape[1] < 2:
        return torch.tensor(0.0)
    pairs = [F.cosine_similarity(one[i], one[j], dim=0)
             for one in kept for i in range(len(one)) for j in range(i)]
    return torch.stack(pairs).mean()


def write_prompt(question, placeholders):
    return "USER: <Img>" + "".join(["<av>"] * placeholders) + "</Img> " + question + "\nASSISTANT:"


def put_vectors(embeds, input_ids, vectors, placeholder_id):
    made = embeds.clone()
    made[input_ids == placeholder_id] = vectors
    return made


def answer_labels(prompt_ids, answer_ids):
    rows = [torch.tensor([-100] * len(p) + a) for p, a in zip(prompt_ids, answer_ids, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)


def answer_loss(logits, labels):
    following = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], dim=1)
    place = following >= 0
    logp = logits[place].log_softmax(-1)
    return -logp[torch.arange(len(logp)), following[place]].mean()


def lora_linear(x, weight, bias, A, B, alpha):
    return F.linear(x, weight + alpha / A.shape[0] * (B @ A), bias)


def merge_lora(weight, A, B, alpha):
    return torch.addmm(weight, B, A, alpha=alpha / B.shape[1])


def two_part_loss(logits, labels, queries, weight):
    return answer_loss(logits, labels) + weight * package_loss(queries)


def last_checkpoint(out):
    numbers = [re.fullmatch(r"checkpoint-(\d+)", name) for name in os.listdir(out)]
    for number in sorted((int(n[1]) for n in numbers if n), reverse=True):
        folder = os.path.join(out, f"checkpoint-{number}")
        try:
            with open(os.path.join(folder, "trainer_state.json"), encoding="utf-8") as file:
                json.load(file)
        except (OSError, ValueError):
            continue
        return folder
    return None


def choose_candidate(logits, labels):
    scores = []
    for row, wanted in zip(logits.log_softmax(-1), labels, strict=True):
        scores.append(sum(row[i - 1, w].item() for i, w in enumerate(wanted.tolist())
                          if i > 0 and w >= 0))
    return max(range(len(scores)), key=scores.__getitem__)


def running_mean(inputs, num_frames):
    steps = inputs.reshape(len(inputs), num_frames, -1, inputs.shape[-1])
    return torch.cat([steps[:, : i + 1].mean(1) for i in range(num_frames)], dim=1)


@pytest.mark.parametrize("attempt", [
    cosine_matrix, diversity_loss, write_prompt, put_vectors, answer_labels, answer_loss,
    lora_linear, merge_lora, two_part_loss, last_checkpoint, choose_candidate, running_mean])
def test_another_right_answer_passes(attempt, monkeypatch):
    monkeypatch.setattr(exercise, "limited", lambda work, seconds: work())
    assert judge(exercise.find(attempt.__name__), attempt) is None


@pytest.mark.parametrize("attempt", [put_vectors, answer_loss, lora_linear, two_part_loss])
def test_a_right_answer_passes_where_gradients_are_off(attempt, monkeypatch):
    """A cell above may have turned them off; the check needs them all the same."""
    monkeypatch.setattr(exercise, "limited", lambda work, seconds: work())
    with torch.no_grad():
        assert judge(exercise.find(attempt.__name__), attempt) is None
