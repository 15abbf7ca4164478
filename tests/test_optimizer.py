"""The optimizer: Muon and AdamW as one."""

from copy import deepcopy

import torch
from conftest import same_weights

from favor_mini.training import optimizer
from favor_mini.training.optimizer import MuonAdamW


class Net(torch.nn.Module):
    """Each kind of parameter: matrices inside, an embedding, vectors, a head, LoRA, and a frozen
    matrix."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding, self.inside = torch.nn.Embedding(7, 6), torch.nn.Linear(6, 4)
            self.lora_A, self.head = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 7)
            self.frozen = torch.nn.Linear(4, 4).requires_grad_(False)

    def forward(self, ids):
        x = self.inside(self.embedding(ids)).tanh()
        return self.head(self.frozen(self.lora_A(x))).logsumexp(-1).square().mean()


def step(model, *optimizers):
    loss = model(torch.arange(7))
    loss.backward()
    for each in optimizers:
        each.step()
        each.zero_grad()
    return loss.item()


def test_muon_adamw_computes_what_both_optimizers_compute_apart(monkeypatch):
    monkeypatch.setattr(optimizer, "has_fast_bf16", lambda: True)
    one, apart = Net(), Net()
    together = MuonAdamW(one, lr=1e-2)
    muon = torch.optim.Muon([apart.inside.weight], lr=0.2, momentum=0.95, weight_decay=0.0025)
    adamw = torch.optim.AdamW([
        {"params": [apart.embedding.weight, apart.lora_A.weight, apart.head.weight]},
        {"params": [apart.inside.bias, apart.head.bias], "weight_decay": 0.0}], lr=1e-2,
        betas=(0.9, 0.98), weight_decay=0.05)
    assert [step(one, together) for _ in range(5)] == [step(apart, muon, adamw) for _ in range(5)]
    assert same_weights(one, apart) and not torch.equal(one.inside.weight, Net().inside.weight)
    assert torch.equal(one.frozen.weight, Net().frozen.weight)


def test_lora_can_have_a_learning_rate_of_its_own():
    one, apart, slow = Net(), Net(), Net()
    together = MuonAdamW(one, lr=1e-3, lora_lr=50)
    step(one, together), step(slow, MuonAdamW(slow, lr=1e-3))
    alone = torch.optim.AdamW([apart.lora_A.weight], lr=5e-2, betas=(0.9, 0.98), weight_decay=0.05)
    step(apart, alone)
    assert torch.equal(one.lora_A.weight, apart.lora_A.weight)
    assert torch.equal(one.embedding.weight, slow.embedding.weight)
    assert torch.equal(one.inside.weight, slow.inside.weight)


def test_muon_stays_in_float32_where_bfloat16_is_emulated(monkeypatch):
    def update(fast):
        monkeypatch.setattr(optimizer, "has_fast_bf16", lambda: fast)
        model = Net()
        model.inside.weight.data = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
        before = model.inside.weight.detach().clone()
        step(model, MuonAdamW(model, lr=1e-2, weight_decay=0.0))
        return (before - model.inside.weight.detach()) / 0.2

    model = Net()
    model.inside.weight.data = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    model(torch.arange(7)).backward()
    x = model.inside.weight.grad.double()
    x = x / x.norm()
    for _ in range(5):  # Newton-Schulz iterations with Muon's coefficients
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    exact, rounded = ((update(fast) - x).abs().max() for fast in (False, True))
    assert exact < 1e-5 < rounded


def test_muon_adamw_resumes_exactly_and_a_scheduler_changes_both_rates():
    def start(model):
        optimizer = MuonAdamW(model, lr=1e-2)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 0.5**count)

    def steps(model, optimizer, schedule, count):
        for _ in range(count):
            step(model, optimizer)
            schedule.step()

    whole, resumed = Net(), Net()
    optimizer, schedule = start(whole)
    steps(whole, optimizer, schedule, 2)
    assert [group["lr"] for group in optimizer.muon.param_groups] == [0.05]
    assert [group["lr"] for group in optimizer.adamw.param_groups] == [0.0025] * 3
    resumed.load_state_dict(whole.state_dict())
    stored = deepcopy([optimizer.state_dict(), schedule.state_dict()])
    optimizer_again, schedule_again = start(resumed)
    for part, state in zip((optimizer_again, schedule_again), stored, strict=True):
        part.load_state_dict(state)
    steps(whole, optimizer, schedule, 3)
    steps(resumed, optimizer_again, schedule_again, 3)
    assert same_weights(whole, resumed)
