"""Wrong answers to the exercises of notebook 00."""

import string


def rounded_down(num_frames, window_frames, num_queries):
    return num_frames // window_frames * num_queries


def one_more(num_frames, window_frames, num_queries):
    return (num_frames // window_frames + 1) * num_queries


def windows_only(num_frames, window_frames, num_queries):
    return -(-num_frames // window_frames)


def every_frame(num_frames, window_frames, num_queries):
    return num_frames * num_queries


def no_rounding(num_frames, window_frames, num_queries):
    return num_frames / window_frames * num_queries


def plain(text):
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def equal(predicted, answers):
    return predicted in answers


def lower_only(predicted, answers):
    return predicted.lower() in [a.lower() for a in answers]


def stripped(predicted, answers):
    return predicted.lower().strip(" .") in [a.lower() for a in answers]


def first_only(predicted, answers):
    return plain(predicted) == plain(answers[0])


def within(predicted, answers):
    return any(plain(a) in plain(predicted) for a in answers)


def part_of(predicted, answers):
    return any(plain(predicted) in plain(a) for a in answers)


def bag_of_words(predicted, answers):
    return any(sorted(plain(predicted).split()) == sorted(plain(a).split()) for a in answers)


def with_articles(predicted, answers):
    return bool(plain(predicted)) and plain(predicted) in map(plain, answers)


def a_word(predicted, answers):
    return "yes" if plain(predicted) in map(plain, answers) else "no"


WRONG = {
    "count_vectors": [(rounded_down, "round up"), (one_more, "too many"),
                      (windows_only, "each becomes N"), (every_frame, "frames times queries"),
                      (no_rounding, "no half window")],
    "matches": [(equal, "capitals"), (lower_only, "full stop"), (stripped, "spaces"),
                (first_only, "only the first"), (within, "within"),
                (part_of, "a part of the answer"), (bag_of_words, "order"),
                (a_word, "True or False"), (with_articles, "article")]
}
