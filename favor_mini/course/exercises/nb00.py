"""Exercises of notebook 00: two warm-ups, which introduce cards, checks and hints."""

from ...evaluation.metrics import matches
from ...windows import num_windows
from ..exercise import Trial, exercise


def count_vectors(num_frames: int, window_frames: int, num_queries: int) -> int:
    """W * N for T frames, as in `FavorProcessor.num_placeholders`."""
    return num_windows(num_frames, window_frames) * num_queries


@exercise(count_vectors, difficulty=1, minutes=4)
def _(t: Trial):
    """How many vectors does a clip become? It is cut into windows of K frames (the last one may be
    partly empty), and each window becomes N vectors. 100 frames, K = 10, N = 5 make 50.

    Shapes: `num_frames` T, `window_frames` K, `num_queries` N -> an integer
    Hint 1: A clip of 13 frames with K = 10 needs two windows: round *up*.
    Hint 2: `math.ceil(num_frames / window_frames)`, or in integers `-(-num_frames //
    window_frames)`; then times N.
    """
    for frames, window in ((t.integer(31, 60), t.integer(7, 12)),
                           (t.integer(2, 5) * 8, 8)):  # here the last window is full
        queries = t.integer(13, 17)
        full = frames // window
        t.check((frames, window, queries), {
            "the last, partly filled window is lost: round up": full * queries,
            "one window too many where the frames fill the windows exactly": (full + 1) * queries,
            "this is the number of windows; each becomes N vectors": num_windows(frames, window),
            "this is frames times queries; there are N queries for a whole window":
                frames * queries,
            "you divide without rounding; there is no half window": frames / window * queries})


@exercise(matches, difficulty=2, minutes=8)
def _(t: Trial):
    """When is an answer correct? `predicted` is the model's text, `answers` are all texts that
    count. Ignore capitals, punctuation, extra spaces and the articles a, an, the. All other words
    and their order matter. A text without any word left matches nothing.

    Shapes: `predicted` str, `answers` a tuple of str -> bool
    Hint 1: Bring both sides into the same form first, then compare whole texts.
    Hint 2: `text.lower()`, remove the characters in `string.punctuation`, `text.split()`, drop the
    articles, join with single spaces.
    """
    words = ["red", "circle", "bell", "two", "left", "moon"]
    a, b, c = (words[i] for i in t.rng.permutation(6)[:3])
    cases = [
        (f"{a} {b}", (f"{a} {b}",), True, "the very same text counts as wrong"),
        (f"{a.title()} {b.upper()}", (f"{a} {b}",), True, "capitals should not matter"),
        (f"{a} {b}.", (f"{a} {b}",), True, "a full stop at the end should not matter"),
        (f"  {a}   {b} ", (f"{a} {b}",), True, "extra spaces should not matter"),
        (a, (c, a), True, "only the first of the answers is compared; any of them counts"),
        (f"{a} {b}", (b,), False, "an answer *within* a longer text counts: compare whole texts"),
        (b, (f"{a} {b}",), False, "a part of the answer counts as correct: compare whole texts"),
        (f"{b} {a}", (f"{a} {b}",), False, "the order of the words should matter"),
        ("", (a,), False, "an empty prediction counts as correct"),
        (a, (c,), False, "another word counts as correct"),
        (f"the {a} {b}", (f"{a} {b}",), True, "an article should not matter")]
    for predicted, answers, correct, message in cases:
        found = t.run(predicted, answers)
        t.require(isinstance(found, bool), "expected True or False")
        t.require(found == correct, f"{message}: {predicted!r} compared with {answers}")
