"""The script of a scene in words: one clause for each moment, in time order.

    see red circle at left, hear bell; see nothing, hear said moon; see drum, hear nothing.

The mini language model learns to answer questions about such texts (`pretraining.language`). The
connector learns to spell them (stage "align").
"""

from ..data.row import DESCRIBE as DESCRIBE
from .scene import OPPOSITE, Moment, Scene

RETELL = "describe the clip in any order."


def seen_phrase(moment: Moment) -> str:
    """The visible event in words, e.g. "red square hits bell beside blue star"."""
    first, second, third = ([actor.label for actor in moment.actors] + 3 * [""])[:3]
    match moment.seen:
        case "show":
            return f"{first} at {moment.direction}"
        case "move":
            return f"{first} moves {moment.direction}"
        case "turn":
            return f"{first} turns {moment.actors[0].turns}"
        case "pair":
            return f"{first} at {moment.direction} beside {second} at {OPPOSITE[moment.direction]}"
        case "thing":
            return first
        case "write":
            return f"written {first}"
        case "hit" | "near":
            return f"{first} {'hits' if moment.seen == 'hit' else 'nears'} {second} beside {third}"
    return "nothing"


def heard_phrase(moment: Moment) -> str:
    """The audible event in words: the name of a thing, "said WORD", or "nothing"."""
    if moment.heard is None:
        return "nothing"
    return f"said {moment.heard.name}" if moment.heard.kind == "word" else moment.heard.name


def transcript(scene: Scene, rng=None, missing: str | None = None) -> str:
    """The scene in words. With `rng` (a numpy Generator), "see" and "hear" change places at random.

    `missing` is the stream that a clip of the scene does not have, "audio" or "video"; nothing is
    said about it.

    A causal language model can only find an answer that comes after its key. With "see" always
    first, it could not learn to answer "what was shown when the bell was heard?".
    """
    clauses = []
    for moment in scene.moments:
        fields = [phrase for stream, phrase in (("video", f"see {seen_phrase(moment)}"),
                                                ("audio", f"hear {heard_phrase(moment)}"))
                  if stream != missing]
        if rng is not None and rng.random() < 0.5:
            fields.reverse()
        clauses.append(", ".join(fields))
    return "; ".join(clauses) + "."
