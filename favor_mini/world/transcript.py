"""The script of a scene in words: what a language model reads when it can neither see nor hear.

    see red circle at left, hear bell; see nothing, hear said moon; see blue star moves up, hear nothing.

One clause per moment, in time order. The mini language model learns to answer questions about these texts (`reading`); the
causal Q-Former learns to name what stands in them (`naming`), then to let the language model write them out (`training`).
"""

from __future__ import annotations

from .scene import OPPOSITE, Moment, Scene

DESCRIBE = "describe the clip."
RETELL = "describe the clip in any order."


def seen_phrase(moment: Moment) -> str:
    """What a moment shows, e.g. "red square hits bell beside blue star"."""
    actors = [actor.label for actor in moment.actors]
    match moment.seen:
        case "show":
            return f"{actors[0]} at {moment.direction}"
        case "move":
            return f"{actors[0]} moves {moment.direction}"
        case "turn":
            return f"{actors[0]} turns {moment.actors[0].turns}"
        case "pair":
            return f"{actors[0]} at {moment.direction} beside {actors[1]} at {OPPOSITE[moment.direction]}"
        case "thing":
            return actors[0]
        case "write":
            return f"written {actors[0]}"
        case "hit":
            return f"{actors[0]} hits {actors[1]} beside {actors[2]}"
        case "near":
            return f"{actors[0]} nears {actors[1]} beside {actors[2]}"
    return "nothing"


def heard_phrase(moment: Moment) -> str:
    """What a moment lets hear: a thing's name, "said WORD" or "nothing"."""
    if moment.heard is None:
        return "nothing"
    return f"said {moment.heard.name}" if moment.heard.kind == "word" else moment.heard.name


def transcript(scene: Scene, rng=None) -> str:
    """The scene in words. With `rng` (a numpy Generator) the two fields of each clause come in random order.

    A causal model can only look an answer up *after* its key. Were the picture always named before the sound, it could
    never learn "what was shown when the bell was heard?", hence the varying order in the language model's training.
    """
    clauses = []
    for moment in scene.moments:
        fields = [f"see {seen_phrase(moment)}", f"hear {heard_phrase(moment)}"]
        if rng is not None and rng.random() < 0.5:
            fields.reverse()
        clauses.append(", ".join(fields))
    return "; ".join(clauses) + "."
