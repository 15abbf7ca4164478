"""The variant of the marked example in project.md: a mask that skips every second frame.

    favor-mini gym --parts docs/teaching/example_part.py --tasks before \
        --vary attention=block_causal,every_other --seeds 5 --set num_queries=2,layers=1,steps=400
"""

from favor_mini.attention import frame_index
from favor_mini.registry import register


@register("attention", "every_other", causal=True)
def every_other(num_frames, step_tokens, device=None):
    """A token attends to its own frame and to earlier frames an even number of frames away."""
    frame = frame_index(num_frames, step_tokens, device)
    apart = frame[:, None] - frame[None, :]
    return (apart >= 0) & (apart % 2 == 0)
