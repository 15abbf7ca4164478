"""The contract passes what ships, and each of the classic mistakes fails it by name."""

from pathlib import Path

import pytest
import torch
from test_registry import scratch  # noqa: F401 (a fixture)

import favor_mini.lab  # noqa: F401 (enters the variants)
from favor_mini.attention import AttentionBlock, block_causal, frame_index
from favor_mini.lab.contract import K, check
from favor_mini.lab.variants import WithoutAttention
from favor_mini.losses import diversity_loss
from favor_mini.qformer import CausalQFormer, CausalQFormerLayer
from favor_mini.registry import SLOTS, names, register
from favor_mini.sync import concat
from favor_mini.windows import split_windows

pytestmark = pytest.mark.usefixtures("scratch")
SHIPPED = [(slot, name) for slot in SLOTS for name in names(slot)]


@pytest.mark.parametrize("slot, name", SHIPPED)
def test_every_shipped_part_keeps_its_contract(slot, name):
    found = check(slot, name, show=False)
    assert found.ok, found.broken
    assert len(found.all) > 7 and found.about.endswith(".")


@pytest.mark.parametrize("name, row", [
    ("block_causal", "#..."), ("block_anticausal", "####"), ("full", "####"),
    ("token_causal", "#..."), ("local_causal", "#..."), ("none", "#...")])
def test_the_measured_receptive_field_is_that_of_the_mask(name, row):
    square = check("attention", name, show=False).receptive_field
    drawn = ["".join(".#"[changed] for changed in line) for line in square.astype(int)]
    assert drawn[0] == row
    assert drawn[2] == {"block_causal": "###.", "block_anticausal": "..##", "full": "####",
                        "token_causal": "###.",
                        "local_causal": ".##.", "none": "..#."}[name]


def broken(slot, name="mine"):
    found = check(slot, name, show=False)
    assert not found.ok
    return "\n".join(found.broken)


def test_a_mask_off_by_one_frame_is_caught():
    @register("attention", "mine", causal=True)
    def off_by_one(num_frames, step_tokens, device=None):
        frame = frame_index(num_frames, step_tokens, device)
        return frame[:, None] + 1 >= frame[None, :]
    said = "frame 1 depends on the later frame 2; frame 2 depends on the later frame 3"
    assert said in broken("attention")


def test_a_mask_that_leaves_out_the_own_frame_is_caught():
    @register("attention", "mine", causal=True)
    def strict(num_frames, step_tokens, device=None):
        frame = frame_index(num_frames, step_tokens, device)
        return frame[:, None] > frame[None, :]
    assert "every token attends to itself: not in frame 1, 2, 3, 4" in broken("attention")


def test_the_released_mask_does_not_pass_for_causal():
    @register("attention", "mine", causal=True)
    def released(num_frames, step_tokens, device=None):
        return block_causal(num_frames, step_tokens, device).T
    assert "frame 1 depends on the later frames 2, 3, 4" in broken("attention")


def test_a_mask_dropped_in_the_second_layer_is_caught():
    class Forgetful(CausalQFormerLayer):
        def encode(self, inputs, mask, maps=None):
            return super().encode(inputs, None if getattr(self, "second", False) else mask, maps)

    @register("connector", "mine", causal=True)
    class Mine(CausalQFormer):
        layer_class = Forgetful

        def __init__(self, **sizes):
            super().__init__(**sizes)
            self.layers[1].second = True
    said = broken("connector")
    assert "declared causal (layer 2): frame 1 depends on the later frames 2, 3, 4" in said
    assert "causal (layer 1)" not in said
    assert "padded frames changes no real frame (layer 2)" in said


def test_a_leak_through_padding_is_caught():
    @register("connector", "mine", causal=True)
    class Mine(CausalQFormer):
        def forward(self, windows, frame_mask, return_maps=False):
            return super().forward(windows, torch.ones_like(frame_mask), return_maps)
    assert "the content of padded frames changes no query" in broken("connector")


def test_a_part_that_ignores_its_input_is_caught():
    @register("connector", "mine", causal=True)
    class Mine(CausalQFormer):
        def forward(self, windows, frame_mask, return_maps=False):
            return super().forward(torch.zeros_like(windows), frame_mask, return_maps)
    said = broken("connector")
    assert "uses every frame: nothing depends on frame 1, 2, 3, 4" in said

    @register("sync", "mine", causal=True)
    def silent(visual, audio, frame_mask, audio_mask, *, audio_tokens):
        return concat(visual, torch.zeros_like(audio), frame_mask, audio_mask,
                      audio_tokens=audio_tokens)
    assert "uses every time step of the sound: nothing depends on frame 1, 2" in broken("sync")

    @register("diversity", "mine")
    def blind(queries, real=None):
        return 0.0 * diversity_loss(queries, real)
    assert "equal queries cost more than orthogonal ones" in broken("diversity")


def test_sound_that_comes_a_step_early_is_caught():
    @register("sync", "mine", causal=True)
    def early(visual, audio, frame_mask, audio_mask, *, audio_tokens):
        return concat(visual, audio.roll(-audio_tokens, dims=1), frame_mask, audio_mask,
                      audio_tokens=audio_tokens)
    assert "declared causal: frame 1 depends on the later frame 2" in broken("sync")


def test_a_part_that_behaves_only_while_it_is_watched_is_caught():
    @register("connector", "mine", causal=True)
    class Mine(CausalQFormer):
        def forward(self, windows, frame_mask, return_maps=False):
            self.attention = "block_causal" if return_maps else "full"
            return super().forward(windows, frame_mask, return_maps)
    assert "return_maps changes no query" in broken("connector")


def test_a_connector_that_cannot_be_measured_is_not_taken_for_causal():
    @register("connector", "mine", causal=True)
    class Mine(WithoutAttention):
        @staticmethod
        def make_map(input_width, hidden, width):
            return torch.nn.Linear(input_width, width)

        def forward(self, windows, frame_mask, return_maps=False):
            inputs, _ = self.embed(windows, frame_mask, False)
            places = self.places(windows.shape[1], windows.device)
            return self.norm(self.map(inputs[:, places])), None
    assert "declared causal: it cannot be measured" in broken("connector")


def test_a_parameter_that_learns_nothing_is_named():
    @register("connector", "mine", causal=True)
    class Mine(CausalQFormer):
        def __init__(self, **sizes):
            super().__init__(**sizes)
            self.spare = AttentionBlock(sizes["width"], 2)
    assert "the gradient reaches every parameter: not spare.query.weight" in broken("connector")


@pytest.mark.parametrize("spoil, match", [
    (lambda w, m, k: (w[: len(w) - 1 or 1], m[: len(m) - 1 or 1]),
     "every frame is in some window: lost"),
    (lambda w, m, k: (w, torch.ones_like(m)), "the mask marks the real frames: wrong at"),
    (lambda w, m, k: (w.unflatten(1, (k, -1)).transpose(1, 2).flatten(1, 2), m),
     "a frame's tokens stay together")])
def test_windows_that_lose_or_mix_frames_are_caught(spoil, match):
    @register("windows", "mine")
    def mine(steps, frame_mask, window_frames):
        return spoil(*split_windows(steps, frame_mask, window_frames), window_frames)
    assert match in broken("windows")


def test_an_input_changed_in_place_is_caught():
    @register("sync", "mine", causal=True)
    def greedy(visual, audio, frame_mask, audio_mask, *, audio_tokens):
        return concat(visual.mul_(2), audio, frame_mask, audio_mask, audio_tokens=audio_tokens)
    assert "does not change its inputs" in broken("sync")


@pytest.mark.parametrize("made",
                         [None, "a mask", torch.ones(3), torch.zeros(2, 2, 2, dtype=torch.bool)])
def test_nonsense_is_a_finding_not_a_crash(made, capsys):
    @register("attention", "mine")
    def mine(num_frames, step_tokens, device=None):
        return made
    before = torch.get_rng_state()
    assert not check("attention", "mine").ok
    assert capsys.readouterr().out.startswith("attention 'mine':")
    assert torch.get_rng_state().equal(before)


def test_what_is_printed_can_be_read(capsys):
    found = check("attention", "local_causal")
    printed = capsys.readouterr().out
    assert printed.strip() == str(found).strip() and "[OK]" in printed and "[FAIL]" not in printed
    assert printed.splitlines()[-K:] == ["   1 #  .  .  .", "   2 #  #  .  .", "   3 .  #  #  .",
                                         "   4 .  .  #  #"]


def test_the_readmes_example_keeps_the_contract(capsys):
    readme = (Path(__file__).parent.parent / "docs" / "lab.md").read_text(encoding="utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    exec(code, {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert printed.startswith("attention 'two_back'") and "[FAIL]" not in printed
    assert printed.splitlines()[-1] == "   4 .  #  #  #"
