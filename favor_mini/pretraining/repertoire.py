"""The list of all that a model of the mini world learns to answer (`evaluation.repertoire`)."""

from ..evaluation.repertoire import Repertoire
from ..world.questions import FAMILY_GROUPS, LABELS, REWORDINGS, ask
from ..world.scene import PLACES, SHAPES, SPLITS, THINGS, WORDS, draw_scene, stream
from ..world.tasks import TASKS, ask_all
from ..world.transcript import DESCRIBE

SCENES = 100  # enough to hold each form of question
NAMES = {"shapes": [*LABELS, *SHAPES], "things, seen or heard": [*THINGS],
         "words, written or said": [*WORDS], "places": [*PLACES]}
SPELLINGS = {  # the mini world's language has the past tense only
    "a": "the", "an": "the", "is": "was", "are": "were", "has": "did", "does": "did",
    "what's": "what was", "whats": "what was", "where's": "where was", "who's": "who was",
    "which's": "which was", "how's": "how was", "that's": "that was", "1st": "first",
    "shows": "shown", "show": "shown", "displayed": "shown", "says": "said", "say": "said",
    "spoke": "spoken", "hears": "heard", "sounds": "sound", "plays": "play", "rings": "ring",
    "go": "move", "goes": "move", "went": "moved", "moving": "moved", "happens": "happen",
    "hit": "hits", "colors": "color", "colours": "colour"}


def list_questions() -> Repertoire:
    """One question of each form, from training scenes and from those of the tasks."""
    listed = Repertoire({}, {usual.strip(): [word.strip() for word in others]
                             for usual, others in REWORDINGS}, NAMES, SPELLINGS)
    forms = {DESCRIBE: ("tasks", DESCRIBE)}  # form: (kind, first question)
    for seed in SPLITS["train"][:SCENES]:
        asked = [(FAMILY_GROUPS[q.family], q.text) for q in ask(draw_scene(seed))]
        for task in TASKS.values():
            rng, scene = stream("held-out task questions", seed), task.draw(seed)
            asked += [("tasks", e.question) for e in ask_all(scene, rng, task.missing)]
        for kind, text in asked:
            forms.setdefault(listed.form(text), (kind, text))
    for kind, text in sorted(forms.values()):
        listed.questions.setdefault(kind, []).append(text)
    return listed
