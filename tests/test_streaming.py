"""A model on a stream: equal to the whole clip, at constant memory, and only where it is causal."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from favor_mini.config import FavorConfig
from favor_mini.model import FavorForConditionalGeneration
from favor_mini.registry import names
from favor_mini.streaming import StreamingConnector, why_not

STREAMED = [("attention", n) for n in ("block_causal", "token_causal", "local_causal", "none")] + [
    ("connector", n) for n in ("plain_qformer", "mean_pooling", "mlp", "convolution", "bert_init")
] + [("sync", n) for n in ("interleave", "add")]
REFUSED = [("attention", "full"), ("attention", "block_anticausal"), ("sync", "append"),
           ("windows", "overlapping"), ("windows", "two_resolutions")]


def mini(**changes):
    torch.manual_seed(0)
    model = FavorForConditionalGeneration(FavorConfig.mini(64, **changes)).eval()
    for parameter in model.qformer.parameters():
        if parameter.ndim == 1:  # biases are zero at first
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def clip(model, seen, heard):
    config = model.config
    return (torch.randn(seen, config.visual_tokens, config.visual_width),
            torch.randn(heard, config.audio_hidden))


def offline(model, visual, audio):
    masks = (torch.ones(1, len(x), dtype=torch.bool) for x in (visual, audio))
    with torch.no_grad():
        return model.connect(visual[None], audio[None], *masks)[0][0]


def streamed(model, visual, audio):
    stream, tokens = StreamingConnector(model), model.config.audio_tokens
    steps, found = max(len(visual), -(-len(audio) // tokens)), []
    for t in range(steps):
        heard = audio[t * tokens : (t + 1) * tokens]
        found.append(stream.push(visual[t] if t < len(visual) else None,
                                 heard if len(heard) else None))
    return torch.stack([q for q in (*found, stream.so_far()) if q is not None])


@pytest.mark.parametrize(("slot", "name"), STREAMED)
def test_a_stream_gives_the_queries_of_the_whole_clip(slot, name):
    model = mini(**{slot: name})
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        seen, heard = (int(torch.randint(0, 24, (1,), generator=generator)) for _ in range(2))
        visual, audio = clip(model, seen + 1, 25 * heard + 9)
        # Near 1e-6; rounding of sums in another order.
        assert (streamed(model, visual, audio) - offline(model, visual, audio)).abs().max() < 1e-5


def test_steps_without_any_token_are_not_attended_to():
    model = mini()
    visual, audio = clip(model, 10, 250)
    stream = StreamingConnector(model)
    real = [t not in (0, 3, 4) for t in range(10)]
    for t in range(10):
        step = (visual[t], audio[25 * t : 25 * t + 25]) if real[t] else ()
        found = stream.push(*step)
    frames, sound = torch.tensor([real]), torch.tensor([real]).repeat_interleave(25, 1)
    with torch.no_grad():
        whole = model.connect(visual[None], audio[None], frames, sound)[0][0, 0]
    assert (found - whole).abs().max() < 1e-5


def test_so_far_is_the_clip_that_ends_here():
    model = mini()
    visual, audio = clip(model, 14, 350)
    stream = StreamingConnector(model)
    assert stream.so_far() is None
    for t in range(14):
        stream.push(visual[t], audio[25 * t : 25 * t + 25])
        if t not in (9,):
            ends = offline(model, visual[: t + 1], audio[: 25 * t + 25])[-1]
            assert (stream.so_far() - ends).abs().max() < 1e-5


def kept(stream):
    """Numbers that a stream keeps."""
    pairs = [x for pair in (*stream.own, *stream.cross) if pair for x in pair]
    return sum(x.numel() for x in (*pairs, *stream.steps))


def test_memory_and_arithmetic_of_a_step_do_not_grow():
    model = mini()
    stream, costs, sizes = StreamingConnector(model), [], []
    visual, audio = clip(model, 1, 25)
    for _ in range(120):  # 12 windows
        with FlopCounterMode(display=False) as counter:
            stream.push(visual[0], audio)
        costs.append(counter.get_total_flops())
        sizes.append(kept(stream))
    assert costs[:10] == costs[-10:] and sizes[:10] == sizes[-10:]
    assert max(sizes) == sizes[8] and sizes[9] == 0


def test_a_new_frame_costs_less_than_its_window():
    """The reason to stream: without causality, each new frame needs the whole window again."""
    model = mini()
    visual, audio = clip(model, 9, 225)
    stream = StreamingConnector(model)
    for t in range(8):
        stream.push(visual[t], audio[25 * t : 25 * t + 25])
    with FlopCounterMode(display=False) as new:
        stream.push(visual[8], audio[200:])
    with FlopCounterMode(display=False) as again:
        offline(model, visual, audio)
    assert new.get_total_flops() < again.get_total_flops() / 5


@pytest.mark.parametrize(("slot", "name"), REFUSED)
def test_what_depends_on_later_frames_is_refused_with_the_reason(slot, name):
    with pytest.raises(ValueError, match=f"cannot be streamed.*{slot}.*'{name}'.*Fix"):
        StreamingConnector(mini(**{slot: name}))


def test_every_registered_part_is_streamed_or_refused():
    import favor_mini.lab.variants  # noqa: F401

    named = {(s, n) for s in ("sync", "windows", "attention", "connector") for n in names(s)
             if not n.startswith(("test", "mine"))}
    known = {*STREAMED, *REFUSED, ("sync", "concat"), ("windows", "sliding"),
             ("connector", "causal_qformer")}
    assert named >= known
    for slot, name in named - known:
        model = mini(**{slot: name})
        if not why_not(model):
            clip_of = clip(model, 13, 13 * 25)
            assert (streamed(model, *clip_of) - offline(model, *clip_of)).abs().max() < 1e-5, name


@pytest.mark.parametrize("what", ["connector", "layer"])
def test_a_subclass_with_its_own_forward_is_streamed_by_it(what):
    """Finding: the queries of the base class came out, without a word."""
    model = mini()
    changed = model.qformer if what == "connector" else model.qformer.layers[0]
    base = type(changed)

    class Changed(base):
        def forward(self, *args, **kwargs):
            found = super().forward(*args, **kwargs)
            return (2 * found[0], found[1]) if what == "connector" else 2 * found

    changed.__class__ = Changed
    clip_of = clip(model, 13, 13 * 25)
    assert (streamed(model, *clip_of) - offline(model, *clip_of)).abs().max() < 1e-5


def test_wrong_steps_and_modes_are_refused():
    model = mini()
    with pytest.raises(ValueError, match="found 26 audio tokens, expected at most 25"):
        StreamingConnector(model).push(None, clip(model, 0, 26)[1])
    with pytest.raises(ValueError, match="model.eval"):
        StreamingConnector(model.train())
