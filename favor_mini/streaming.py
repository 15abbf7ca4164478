"""The connector on a stream: time steps arrive one at a time, and no frame is encoded twice.

Under a causal mask the encoding of a frame does not depend on later frames. So its keys and values
are computed once and kept. At the end of a window, the queries attend to them. With attention to
later frames, every new frame would change all encodings of its window, and they would have to be
computed again.
"""

import torch
from torch import Tensor

from .model import FavorForConditionalGeneration
from .qformer import CausalQFormer, CausalQFormerLayer
from .registry import find

CHANGED = 1e-5  # a larger difference is no rounding


class StreamingConnector:
    """Synchronisation, windows and connector of a model, one time step at a time.

    The output equals that of `model.connect` on the whole clip. Memory and the cost of a step do
    not grow with the length of the stream. For the layers of `CausalQFormer`, each frame is encoded
    when it arrives. Other connectors run when their window is complete.

    Args:
        model: in evaluation mode.

    Raises:
        ValueError: the model is in training mode; or the encoding of a frame depends on later
            frames, or a frame is in several windows, so that the model cannot be streamed.
    """

    def __init__(self, model: FavorForConditionalGeneration):
        if model.training:
            raise ValueError("found a model in training mode, expected evaluation mode: dropout "
                             "would change each frame. Fix: model.eval()")
        if reason := why_not(model):
            raise ValueError(f"the model cannot be streamed: {reason}")
        self.model, self.connector = model, model.qformer
        # Only where nothing that `_encode` and `so_far` repeat was overridden.
        self.cached = _same(self.connector, CausalQFormer, "forward", "embed") and all(
            _same(layer, CausalQFormerLayer, "forward", "encode")
            for layer in self.connector.layers)
        config = model.config
        self.mask = find("attention", config.attention)(  # [K * P, K * P]
            config.window_frames, config.step_tokens, model.device)
        self.reset()

    def reset(self) -> None:
        """Forget the stream. The next step begins a window."""
        self.step, self.real = 0, []  # of the window: steps so far, and which of them are real
        self.steps: list[Tensor] = []  # (1, P, D) each, where frames are not encoded at once
        # For each layer (keys, values) of its causal attention, and of its cross-attention.
        self.own = [None] * len(getattr(self.connector, "layers", ()))
        self.cross = list(self.own)

    @torch.no_grad()
    def push(self, visual: Tensor | None = None, audio: Tensor | None = None) -> Tensor | None:
        """Add one time step.

        Args:
            visual: (V, D_v), visual tokens of a frame. audio: (a, D_w) with a <= A, audio tokens of
                the encoder. None: that stream is missing in this step.

        Returns:
            the output queries (N, width), if the step completes its window; else None.

        Raises:
            ValueError: there are more audio tokens than a time step has.
        """
        step, real = self._synchronise(visual, audio)  # [1, P, D]
        self.real.append(real)
        if not self.cached:
            self.steps.append(step)
        elif real:  # nothing attends to a step without any token
            self._encode(step)
        self.step += 1
        if self.step < self.model.config.window_frames:
            return None
        queries = self.so_far()
        self.reset()
        return queries

    @torch.no_grad()
    def so_far(self) -> Tensor | None:
        """The output queries (N, width) of the window up to now, as if the clip ended here; None if
        the window has no real step."""
        if not any(self.real):
            return None
        if not self.cached:
            config, steps = self.model.config, torch.cat(self.steps, 0)  # [steps, P, D]
            windows, mask = find("windows", config.windows)(
                steps[None], torch.tensor([self.real], device=steps.device), config.window_frames)
            return self.connector(windows, mask)[0][0]
        queries = self.connector.query_norm(self.connector.queries)[None]  # [1, N, width]
        for layer, (keys, values) in zip(self.connector.layers, self.cross, strict=True):
            queries = layer.self_attention(queries)
            queries = layer.cross_attention.attend(queries, keys, values)
            queries = layer.feed_forward(queries)
        return queries[0]

    def _synchronise(self, visual: Tensor | None, audio: Tensor | None) -> tuple[Tensor, bool]:
        """One time step (1, P, D), and whether it has any token."""
        model, config = self.model, self.model.config
        like = model.projection.weight
        heard = 0 if audio is None else len(audio)
        if heard > config.audio_tokens:
            raise ValueError(f"found {heard} audio tokens, expected at most {config.audio_tokens}, "
                             "those of one time step. Fix: push one time step at a time")
        if visual is None:
            seen = like.new_zeros(1, 0, config.visual_tokens, config.visual_width)
        else:
            seen = visual[None, None].to(like)
        sound = like.new_zeros(1, 0, config.audio_width)
        if heard:
            sound = model.audio_projection(audio[None].to(like))  # [1, a, D_a]
        if visual is None and not heard:
            step_tokens, width = config.step_shape
            return like.new_zeros(1, step_tokens, width), False
        masks = (torch.ones(1, n, dtype=torch.bool, device=like.device)
                 for n in (seen.shape[1], heard))
        steps, _ = find("sync", config.sync)(seen, sound, *masks, audio_tokens=config.audio_tokens)
        return steps[:, 0], True

    def _encode(self, step: Tensor) -> None:
        """Encode a frame in each layer, and keep its keys and values."""
        tokens = step.shape[1]
        start = self.step * tokens
        inputs = self.connector.embed(step, start)  # [1, P, D]
        before = torch.tensor([*self.real[:-1], True], device=step.device)
        before = before.repeat_interleave(tokens).nonzero()[:, 0]  # tokens whose keys are kept
        mask = self.mask[start : start + tokens][:, before]  # [P, kept]
        for i, layer in enumerate(self.connector.layers):
            self.own[i] = _append(self.own[i], layer.causal_attention.keys_values(inputs))
            encoded = layer.causal_attention.attend(inputs, *self.own[i], mask)
            self.cross[i] = _append(self.cross[i], layer.cross_attention.keys_values(encoded))


def _same(module, base: type, *methods: str) -> bool:
    """Whether a module is a `base` with these methods as they are in `base`."""
    return isinstance(module, base) and all(
        getattr(type(module), name) is getattr(base, name) for name in methods)


def _append(kept: tuple | None, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Join keys and values (1, heads, M, width / heads) along M."""
    return new if kept is None else tuple(torch.cat(pair, 2) for pair in zip(kept, new,
                                                                             strict=True))


@torch.no_grad()
def why_not(model: FavorForConditionalGeneration) -> str:
    """Why a model cannot be streamed, measured on random features; "" if it can."""
    return _mixed_steps(model) or _repeated_frames(model) or _later_frames(model)


def _steps(model: FavorForConditionalGeneration, changed: int | None = None,
           only: slice = slice(None)) -> Tensor:
    """Synchronised steps (1, K, P, D) of one random window; from the step `changed` on, of another
    picture and sound. `only`: of these steps alone."""
    config, like = model.config, model.projection.weight
    frames, tokens = config.window_frames, config.audio_tokens
    draw = torch.Generator().manual_seed(1)
    visual = torch.randn(1, frames, config.visual_tokens, config.visual_width, generator=draw)
    audio = torch.randn(1, frames, tokens, config.audio_width, generator=draw)
    if changed is not None:
        visual[:, changed:], audio[:, changed:] = 1, 1
    visual, audio = visual[:, only], audio[:, only].flatten(1, 2)
    masks = (torch.ones(x.shape[:2], dtype=torch.bool, device=like.device) for x in (visual, audio))
    return find("sync", config.sync)(visual.to(like), audio.to(like), *masks,
                                     audio_tokens=tokens)[0]


def _mixed_steps(model: FavorForConditionalGeneration) -> str:
    together = _steps(model)
    for at in range(model.config.window_frames):
        only = slice(at, at + 1)
        if _differ(_steps(model, only=only), together[:, only]):
            return (f"sync {model.config.sync!r} makes other tokens of a time step that comes "
                    "alone, so they depend on other steps or on its number. Fix: train a model "
                    "with another sync, such as 'concat'")
    return ""


def _repeated_frames(model: FavorForConditionalGeneration) -> str:
    config = model.config
    length = 2 * config.window_frames + 1
    numbers = torch.arange(float(length))[None, :, None, None]  # [1, T, 1, 1]
    windows, real = find("windows", config.windows)(
        numbers, torch.ones(1, length, dtype=torch.bool), config.window_frames)
    if torch.equal(windows[..., 0][real], numbers.flatten()):
        return ""
    return (f"windows {config.windows!r} hold a frame several times, or out of order. Fix: train a "
            "model with 'sliding'")


def _later_frames(model: FavorForConditionalGeneration) -> str:
    config = model.config
    real = torch.ones(1, config.window_frames, dtype=torch.bool, device=model.device)

    def encoded(changed: int | None = None) -> list[Tensor]:
        """Of each layer, the inputs (1, K, P * D) that the queries attend to."""
        maps = model.qformer(_steps(model, changed).flatten(1, 2), real, True)[1]
        return [x.unflatten(1, (len(real[0]), -1)).flatten(2) for x in maps.encoded] if maps else []

    before = encoded()
    if not before:
        return (f"connector {config.connector!r} does not show the inputs that its queries attend "
                "to. Fix: return AttentionMaps with `encoded`")
    for at in range(1, config.window_frames):
        if any(_differ(x[:, :at], y[:, :at]) for x, y in zip(before, encoded(at), strict=True)):
            return (f"with attention {config.attention!r} in the connector {config.connector!r}, a "
                    "frame's encoding depends on later frames, so each new frame changes all of "
                    "them. Fix: train a model with a causal mask, such as 'block_causal'")
    return ""


def _differ(x: Tensor, y: Tensor) -> bool:
    return bool((x - y).abs().max() > CHANGED)
