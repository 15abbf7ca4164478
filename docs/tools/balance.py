"""How far one gets without watching: guessers that exploit whatever the questions give away, family by family.

    python -m docs.tools.balance      # prints the table of the data card

Each guesser counts, over one half of the scenes, which answer goes with what it is told, and is scored on the other
half. Some are told the question alone, others all that is seen, or all that is heard, but not how the two go together.
What they score is what a model must beat before it may be said to have watched and listened.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from favor_mini.world.questions import FAMILIES, Question, ask, guesser_accuracy
from favor_mini.world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS, Scene, draw_scene

Case = tuple[Scene, Question]


@dataclass(frozen=True)
class Guesser:
    """Learns which place the answer has in a list of possible answers, given a key.

    told: "nothing", "text", "video" or "audio": what key and list are made from.
    """

    name: str
    told: str
    key: Callable[[Case], object]
    options: Callable[[Case], list[str]]

    def score(self, fit: list[Case], held_out: list[Case]) -> float:
        """Fit on some questions; the accuracy on others."""
        counts = defaultdict(Counter)
        for case in fit:
            options = self.options(case)
            if case[1].answer in options:
                counts[self.key(case)][options.index(case[1].answer)] += 1
        usual = sum(counts.values(), Counter())
        return float(np.mean([self._guess(case, counts, usual) == case[1].answer for case in held_out]))

    def _guess(self, case: Case, counts: dict, usual: Counter) -> str | None:
        options = self.options(case)
        for place, _ in (counts.get(self.key(case)) or usual).most_common():
            if place < len(options):
                return options[place]
        return options[0] if options else None


def measure(scenes: int = 3000, start: int = SPLITS["train"].start) -> dict[str, dict]:
    """Score every guesser on every family over the scenes with the seeds `start`, `start` + 1, ...

    Returns for each family: count, chance (one in the number of candidates), the best score of a guesser that is told
    "nothing", the "text", the "video" or the "audio" (the last two only where a question needs both), and the mean of
    `guesser_accuracy` for "video" and "audio" as "video_chance" and "audio_chance".
    """
    halves: dict[str, tuple[list[Case], list[Case]]] = {family: ([], []) for family in FAMILIES}
    for i in range(scenes):
        scene = draw_scene(start + i)
        for question in ask(scene):
            halves[question.family][i % 2].append((scene, question))
    return {family: _measure(*parts) for family, parts in halves.items() if all(parts)}


def _measure(fit: list[Case], held_out: list[Case]) -> dict:
    cases = fit + held_out
    both = not cases[0][1].single_modality
    found = {"count": len(cases), "chance": float(np.mean([1 / len(q.candidates) for _, q in cases]))}
    for told, guessers in GUESSERS.items():
        if told in ("nothing", "text") or both:
            found[told] = max(guesser.score(fit, held_out) for guesser in guessers)
    for stream in ("video", "audio") if both else ():
        found[f"{stream}_chance"] = float(np.mean([guesser_accuracy(s, q, stream) for s, q in cases]))
    return found


def table(found: dict[str, dict]) -> str:
    """The figures of `measure` as a Markdown table; guessers of one stream on the families that need both."""
    columns = ("chance", "nothing", "text", "video", "audio")
    heads = ("guess", "best constant", "question only", "picture only", "sound only")
    lines = ["| family | questions | " + " | ".join(heads) + " |", "|---|--:|" + "--:|" * len(heads)]
    for family, row in found.items():
        cells = (f"{row[c]:.1%}" if c in row else "" for c in columns)
        lines.append(f"| `{family}` | {row['count']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# What the guessers are told.

def _named(case: Case) -> list[str]:
    """The candidates that the question names, in its order."""
    text = case[1].text
    return sorted((c for c in case[1].candidates if f" {c}" in text), key=lambda c: text.find(f" {c}"))


def _kinds(case: Case) -> tuple[str, ...]:
    return tuple(_kind_of(name) for name in _named(case))


def _kind_of(name: str) -> str:
    return "thing" if name in THINGS else "word" if name in WORDS else "shape"


def _names(case: Case) -> tuple[str, ...]:
    """Every name of the mini world in the question, without the words between."""
    known = {*COLOURS, *SHAPES, *THINGS, *WORDS}
    return tuple(w for w in case[1].text.strip("?").replace(",", "").split() if w in known)


def _candidates(case: Case) -> list[str]:
    return sorted(case[1].candidates)


def _seen(case: Case) -> list[str]:
    """What is seen and could be the answer, in time order."""
    scene, question = case
    if question.family == "shown_when":  # only of shapes and written words is it asked
        return [m.subject for m in scene.moments if m.seen in ("show", "move", "turn", "write")]
    return [m.subject for m in scene.moments if m.subject in question.candidates]


def _heard(case: Case) -> list[str]:
    """All possible answers that are heard, in time order, each once."""
    heard = (m.heard.name for m in case[0].moments if m.heard)
    return [name for name in dict.fromkeys(heard) if name in case[1].candidates]


def _unheard(case: Case) -> list[str]:
    heard = {m.heard.name for m in case[0].moments if m.heard}
    return [c for c in _candidates(case) if c not in heard]


def _unseen(case: Case) -> list[str]:
    seen = {actor.name for m in case[0].moments for actor in m.actors} | {m.subject for m in case[0].moments}
    return [c for c in _candidates(case) if c not in seen]


def _place(case: Case, stream: str) -> tuple:
    """In which moment what the question names is seen, or heard, and out of how many moments."""
    moments, text = case[0].moments, case[1].text
    for i, m in enumerate(moments):
        name = m.subject if stream == "seen" else m.heard.name if m.heard else None
        if name and f" {name}" in text:
            return i, len(moments)
    return None, len(moments)


def _pair(case: Case) -> list[str]:
    return list(case[1].candidates)


def _stream(told: str, see: Callable, unseen: Callable, verb: str) -> Iterator[Guesser]:
    """The guessers for one stream: first, last, most usual place, alphabet, what is missing, where the named one is."""
    def length(case):
        return len(see(case))

    def where(case):
        return _place(case, verb), length(case)

    for name, key in (("place", lambda case: None), ("place, given how many", length), ("place, given where", where)):
        yield Guesser(f"{name}, in time", told, key, see)
        yield Guesser(f"{name}, from the end", told, key, lambda case: see(case)[::-1])
        yield Guesser(f"{name}, in the alphabet", told, key, lambda case: sorted(see(case)))
    yield Guesser("the most frequent", told, lambda case: None,
                  lambda case: [n for n, _ in Counter(_again(case, see)).most_common()])
    yield Guesser("what is missing", told, lambda case: len(unseen(case)), unseen)
    yield Guesser("which of two, given where", told, lambda case: _place(case, verb), _pair)


def _again(case: Case, see: Callable) -> list[str]:
    if see is _seen:
        return see(case)
    return [m.heard.name for m in case[0].moments if m.heard and m.heard.name in case[1].candidates]


GUESSERS = {
    "nothing": (Guesser("constant", "nothing", lambda case: None, _candidates),),
    "text": (Guesser("same question", "text", lambda case: case[1].text, _candidates),
             Guesser("same names", "text", _names, _candidates),
             Guesser("same first name", "text", lambda case: _names(case)[:1], _candidates),
             Guesser("same last name", "text", lambda case: _names(case)[-1:], _candidates),
             Guesser("named first", "text", lambda case: None, _named),
             Guesser("named first, given kinds", "text", _kinds, _named),
             Guesser("alphabet", "text", lambda case: len(case[1].candidates), _candidates)),
    "video": tuple(_stream("video", _seen, _unseen, "seen")),
    "audio": tuple(_stream("audio", _heard, _unheard, "heard")),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.tools.balance",
                                     description="How far one gets without watching, per family of questions.")
    parser.add_argument("--scenes", type=int, default=3000, help="how many training scenes to count over")
    print(table(measure(parser.parse_args().scenes)))


if __name__ == "__main__":
    main()
