"""Training steps at the sizes of `favor-mini join --preset laptop`, for `favor-mini bench`.

The weights are random: they cost as much time and memory as pretrained ones.
"""

from collections.abc import Callable

SECONDS = 10  # of each clip
ANSWER = 16  # tokens that are learned, per clip
WAYS = {"training step": "connector and LoRA, from stored features of the encoders",
        "training step with encoding": "the encoders run in every step",
        "encoding": "what storing the features costs, once per clip"}


def laptop_step(way: str, batch: int, quick: bool) -> Callable[[], None]:
    """A function that runs a way in `WAYS` once, for a batch of clips of `SECONDS`."""
    import torch

    from ..config import FavorConfig
    from ..model import FavorForConditionalGeneration

    config = FavorConfig.laptop()
    if quick:
        for part in (config.audio_config, config.vision_config, config.language_config):
            part.num_hidden_layers = 1
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = FavorForConditionalGeneration(config).to(device)
    for module in model.frozen_modules().values():
        module.eval()
    frames = round((1 if quick else SECONDS) * config.frame_rate)
    size, tokens = config.frame_size, frames * config.audio_tokens
    audio_mask = torch.arange(1500, device=device).expand(batch, -1) < tokens
    media = {"pixel_values": torch.randn(batch, frames, 3, size, size, device=device),
             "input_features": torch.randn(batch, 1, 80, 3000, device=device)}
    features = {"visual_features": torch.randn(batch, frames, config.visual_tokens,
                                               config.visual_width, device=device),
                "audio_features": torch.randn(batch, 1500, config.audio_hidden, device=device)}
    queries = -(-frames // config.window_frames) * config.num_queries
    ids = torch.randint(0, 40000, (batch, queries + 30 + ANSWER), device=device)
    ids[:, 8 : 8 + queries] = config.placeholder_id
    labels = ids.clone()
    labels[:, :-ANSWER] = -100
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5)

    def run():
        if way == "encoding":
            model.encode(**media)
        else:
            given = media if "encoding" in way else features
            model.train()(ids, labels=labels, audio_mask=audio_mask, **given).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return run
