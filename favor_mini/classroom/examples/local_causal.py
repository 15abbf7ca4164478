"""A twin of `local_causal`: a token attends to two or three frames before its own, not one."""

from favor_mini.attention import frame_index
from favor_mini.classroom.twins import Twin

PARAMETERS = {"back": (2, 3)}


def _apart(num_frames, step_tokens, device):
    frame = frame_index(num_frames, step_tokens, device)
    return frame[:, None] - frame[None, :]


def twin(back: int) -> Twin:
    def band(low, high):
        def mask(num_frames, step_tokens, device=None):
            apart = _apart(num_frames, step_tokens, device)
            return (apart >= low) & (apart <= high)

        return mask

    def local_causal(num_frames, step_tokens, device=None):
        """K, P -> (K * P, K * P) bool over (query, key), True where attention is allowed."""
        apart = _apart(num_frames, step_tokens, device)
        return (apart >= 0) & (apart <= back)

    text = (f"A variant of the window rule: a token attends to its whole frame and to the *{back}* "
            "frames before it, to nothing else. Where fewer come before it, to those.")
    return Twin(local_causal, text, {
        "the band includes one frame too few": band(0, back - 1),
        "the band includes one frame too many": band(0, back + 1),
        "there is no limit on the left: this is the whole block-causal mask": band(0, 99),
        "the token's own frame is missing": band(1, back),
        "the band includes later frames: it leaks": band(-back, back),
        "the band is on the wrong side: it includes the frames *after* the token's own":
            band(-back, 0)}, example="local_causal(5, 1).int()")
