"""Exercises of notebook 00: two warm-ups, to meet cards, checks and hints."""

from ...evaluation.metrics import matches
from ...windows import num_windows
from ..exercise import Trial, exercise

NOTEBOOK = "00"


def count_vectors(num_frames: int, window_frames: int, num_queries: int) -> int:
    """W * N: the vectors that a clip of T frames becomes; as `FavorProcessor.num_placeholders` counts them."""
    return num_windows(num_frames, window_frames) * num_queries


@exercise("count_vectors", notebook=NOTEBOOK, answer=count_vectors, difficulty=1, minutes=4,
          goal="How many vectors does a clip become? It is cut into windows of K frames, the last one perhaps not full, and each window "
               "becomes N vectors. 100 frames, K = 10, N = 5 make 50.",
          shapes="`num_frames` T, `window_frames` K, `num_queries` N -> a whole number",
          hints=("A clip of 13 frames with K = 10 needs two windows: round *up*.",
                 "`math.ceil(num_frames / window_frames)`, or without floats `-(-num_frames // window_frames)`; then times N."))
def _(t: Trial):
    for frames, window in ((t.number(31, 60), t.number(7, 12)), (t.number(2, 5) * 8, 8)):  # a full last window, too
        queries = t.number(13, 17)
        full = frames // window
        t.same(t.run(frames, window, queries), count_vectors(frames, window, queries), {
            "the last, partly filled window is lost: round up": full * queries,
            "a window too many where the frames fill the windows exactly": (full + 1) * queries,
            "these are the windows; each becomes N vectors": num_windows(frames, window),
            "this counts frames times queries; the queries sum up whole windows": frames * queries,
            "you divide without rounding; there is no half window": frames / window * queries})


@exercise("matches", notebook=NOTEBOOK, answer=matches, difficulty=2, minutes=8,
          goal="When is an answer right? `predicted` is what the model wrote, `answers` are all texts that count. Capitals, punctuation, "
               "surplus spaces and the articles a, an, the do not matter (take them out); all other words and their order do. Where no word is "
               "left, nothing matches.",
          shapes="`predicted` str, `answers` a tuple of str -> bool",
          hints=("Bring both sides into the same form first, then compare whole texts.",
                 "`text.lower()`, take out what is in `string.punctuation`, `text.split()`, leave out the articles, join with single spaces."))
def _(t: Trial):
    words = ["red", "circle", "bell", "two", "left", "moon"]
    a, b, c = (words[i] for i in t.rng.permutation(6)[:3])
    cases = [
        (f"{a} {b}", (f"{a} {b}",), True, "the very same text counts as wrong"),
        (f"{a.title()} {b.upper()}", (f"{a} {b}",), True, "capitals should not matter"),
        (f"{a} {b}.", (f"{a} {b}",), True, "a full stop at the end should not matter"),
        (f"  {a}   {b} ", (f"{a} {b}",), True, "surplus spaces should not matter"),
        (a, (c, a), True, "only the first of the answers is looked at; any of them counts"),
        (f"{a} {b}", (b,), False, "an answer *within* a longer text counts as right: compare whole texts"),
        (b, (f"{a} {b}",), False, "a part of the answer counts as right: compare whole texts"),
        (f"{b} {a}", (f"{a} {b}",), False, "the order of the words should matter"),
        ("", (a,), False, "saying nothing counts as right"),
        (a, (c,), False, "another word counts as right"),
        (f"the {a} {b}", (f"{a} {b}",), True, "an article should not matter")]
    for predicted, answers, right, message in cases:
        found = t.run(predicted, answers)
        t.that(isinstance(found, bool), "expected True or False")
        t.that(found == right, f"{message}: {predicted!r} against {answers}")
