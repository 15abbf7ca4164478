"""The language model's context: how long a clip and its texts may be."""

from math import inf

from .config import FavorConfig
from .windows import num_windows

ROOM_FOR_TEXT = 64  # tokens, for the question and the answer


def context_length(config: FavorConfig) -> int | None:
    """The number of positions of the language model; None if its config names no limit."""
    return getattr(config.language_config, "max_position_embeddings", None)


def longest_clip(settings) -> float:
    """The longest clip, in seconds, that leaves room for text; inf if there is no limit.

    Args:
        settings: `ProcessorSettings`.

    Raises:
        ValueError: not even one window fits.
    """
    if settings.context is None:
        return inf
    windows = (settings.context - ROOM_FOR_TEXT) // settings.num_queries
    if windows < 1:
        raise ValueError(f"the language model has {settings.context} positions: too few for one "
                         f"window of {settings.num_queries} queries and {ROOM_FOR_TEXT} tokens of "
                         "text. Fix: choose another language model, or fewer num_queries")
    frames = windows * settings.window_frames
    # Overlapping windows are more in number.
    while num_windows(frames, settings.window_frames, settings.windows) > windows:
        frames -= settings.window_frames
    return frames / settings.frame_rate


def check_context(length: int, settings, what: str) -> None:
    """Refuse what is longer than the language model's context.

    Raises:
        ValueError: `length` tokens of `what` are more than there are positions.
    """
    if settings.context is not None and length > settings.context:
        raise ValueError(
            f"{what} is {length - settings.context} tokens too long: it takes {length}, the "
            f"language model has {settings.context} positions. Fix: shorten the text, or take a "
            f"part of the clip of at most {longest_clip(settings):g} s (--start and --end, or "
            "`ask --long`)")


def check_question(processor, media: dict, *texts: str) -> None:
    """Refuse a question about a clip, with candidates for its answer if there are any, that does
    not fit into the language model's context. No tensor is made.

    Args:
        media: from `processor.media`, or with features in place of pixels and spectrograms.

    Raises:
        ValueError: clip, question and longest candidate are too long together.
    """
    question, *answers = texts
    prompt = processor.prompt_ids(question, processor.num_placeholders(media))
    longest = max((len(processor.tokenizer(text).input_ids) for text in answers), default=0)
    check_context(len(prompt) + longest + 1, processor.settings,
                  f"the question {question[:60]!r} about this clip")
