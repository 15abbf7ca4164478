"""Exercises of notebook 00: two warm-ups, which introduce cards, checks and hints."""

from ...evaluation.metrics import matches
from ...windows import num_windows
from ..exercise import Trial, exercise


def count_vectors(num_frames: int, window_frames: int, num_queries: int) -> int:
    """W * N for T frames, as in `FavorProcessor.num_placeholders`."""
    return num_windows(num_frames, window_frames) * num_queries


@exercise(count_vectors)
def _(t: Trial):
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


@exercise(matches)
def _(t: Trial):
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
