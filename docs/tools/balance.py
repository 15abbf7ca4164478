"""Baselines without one or both modalities: guessers that use the biases of the questions.

    python -m docs.tools.balance      # prints the table of the data card

A guesser counts answers for each value of a key on half of the scenes, and is scored on the other
half. Its input is nothing, the question, or the question and the events of one modality. A model
uses both modalities only if it is better than all of them.
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
    """Learns the position of the answer in a list of possible answers, given a key.

    given: the input of key and list: "nothing", "text", "video" or "audio".
    """

    name: str
    given: str
    key: Callable[[Case], object]
    options: Callable[[Case], list[str]]

    def score(self, fit: list[Case], held_out: list[Case]) -> float:
        """The accuracy on the questions `held_out`, fitted on `fit`."""
        counts = defaultdict(Counter)
        for case in fit:
            options = self.options(case)
            if case[1].answer in options:
                counts[self.key(case)][options.index(case[1].answer)] += 1
        usual = sum(counts.values(), Counter())
        return float(np.mean([self._guess(case, counts, usual) == case[1].answer
                              for case in held_out]))

    def _guess(self, case: Case, counts: dict, usual: Counter) -> str | None:
        options = self.options(case)
        for place, _ in (counts.get(self.key(case)) or usual).most_common():
            if place < len(options):
                return options[place]
        return options[0] if options else None


def measure(scenes: int = 3000, start: int = SPLITS["train"].start) -> dict[str, dict]:
    """Score all guessers on all families, over the scenes with the seeds `start`, `start` + 1, ...

    Returns:
        for each family: "count"; "chance", one in the number of candidates; the best score for each
        input, "nothing", "text", and, if the family needs both modalities, "video" and "audio"; and
        then also the means of `guesser_accuracy`, "video_chance" and "audio_chance".
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
    found = {"count": len(cases),
             "chance": float(np.mean([1 / len(q.candidates) for _, q in cases]))}
    for given, guessers in GUESSERS.items():
        if given in ("nothing", "text") or both:
            found[given] = max(guesser.score(fit, held_out) for guesser in guessers)
    for given in ("video", "audio") if both else ():
        accuracies = [guesser_accuracy(scene, question, given) for scene, question in cases]
        found[f"{given}_chance"] = float(np.mean(accuracies))
    return found


def table(found: dict[str, dict]) -> str:
    """The results of `measure` as a Markdown table."""
    columns = ("chance", "nothing", "text", "video", "audio")
    heads = ("chance", "best constant", "question only", "video only", "audio only")
    lines = ["| family | questions | " + " | ".join(heads) + " |",
             "|---|--:|" + "--:|" * len(heads)]
    for family, row in found.items():
        cells = (f"{row[c]:.1%}" if c in row else "" for c in columns)
        lines.append(f"| `{family}` | {row['count']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# Keys and lists of possible answers.

def _named(case: Case) -> list[str]:
    """The candidates in the text of the question, in order."""
    text = case[1].text
    named = (c for c in case[1].candidates if f" {c}" in text)
    return sorted(named, key=lambda c: text.find(f" {c}"))


def _kinds(case: Case) -> tuple[str, ...]:
    return tuple(_kind_of(name) for name in _named(case))


def _kind_of(name: str) -> str:
    return "thing" if name in THINGS else "word" if name in WORDS else "shape"


def _names(case: Case) -> tuple[str, ...]:
    """All names of the mini world in the text of the question."""
    known = {*COLOURS, *SHAPES, *THINGS, *WORDS}
    return tuple(w for w in case[1].text.strip("?").replace(",", "").split() if w in known)


def _candidates(case: Case) -> list[str]:
    return sorted(case[1].candidates)


def _seen(case: Case) -> list[str]:
    """The visible events that could be the answer, in time order."""
    scene, question = case
    if question.family == "shown_when":  # not about things
        return [m.subject for m in scene.moments if m.seen in ("show", "move", "turn", "write")]
    return [m.subject for m in scene.moments if m.subject in question.candidates]


def _heard(case: Case) -> list[str]:
    """The audible events that could be the answer, in time order, each once."""
    heard = (m.heard.name for m in case[0].moments if m.heard)
    return [name for name in dict.fromkeys(heard) if name in case[1].candidates]


def _unheard(case: Case) -> list[str]:
    heard = {m.heard.name for m in case[0].moments if m.heard}
    return [c for c in _candidates(case) if c not in heard]


def _unseen(case: Case) -> list[str]:
    moments = case[0].moments
    seen = {actor.name for m in moments for actor in m.actors} | {m.subject for m in moments}
    return [c for c in _candidates(case) if c not in seen]


def _place(case: Case, given: str) -> tuple:
    """The moment with the event in the question (an index or None), and the number of moments."""
    moments, text = case[0].moments, case[1].text
    for i, m in enumerate(moments):
        name = m.subject if given == "video" else m.heard.name if m.heard else None
        if name and f" {name}" in text:
            return i, len(moments)
    return None, len(moments)


def _pair(case: Case) -> list[str]:
    return list(case[1].candidates)


def _modality(given: str, events: Callable, absent: Callable) -> Iterator[Guesser]:
    """The guessers for one modality."""
    def length(case):
        return len(events(case))

    def where(case):
        return _place(case, given), length(case)

    for name, key in (("position", lambda case: None), ("position, given how many", length),
                      ("position, given where", where)):
        yield Guesser(f"{name}, in time", given, key, events)
        yield Guesser(f"{name}, from the end", given, key, lambda case: events(case)[::-1])
        yield Guesser(f"{name}, alphabetical", given, key, lambda case: sorted(events(case)))
    yield Guesser("the most frequent", given, lambda case: None,
                  lambda case: [n for n, _ in Counter(_repeated(case, events)).most_common()])
    yield Guesser("an absent event", given, lambda case: len(absent(case)), absent)
    yield Guesser("one of two, given where", given, lambda case: _place(case, given), _pair)


def _repeated(case: Case, events: Callable) -> list[str]:
    """The events, with repetitions."""
    if events is _seen:
        return events(case)
    names = (m.heard.name for m in case[0].moments if m.heard)
    return [name for name in names if name in case[1].candidates]


GUESSERS = {
    "nothing": (Guesser("constant", "nothing", lambda case: None, _candidates),),
    "text": (Guesser("same question", "text", lambda case: case[1].text, _candidates),
             Guesser("same names", "text", _names, _candidates),
             Guesser("same first name", "text", lambda case: _names(case)[:1], _candidates),
             Guesser("same last name", "text", lambda case: _names(case)[-1:], _candidates),
             Guesser("named first", "text", lambda case: None, _named),
             Guesser("named first, given kinds", "text", _kinds, _named),
             Guesser("alphabet", "text", lambda case: len(case[1].candidates), _candidates)),
    "video": tuple(_modality("video", _seen, _unseen)),
    "audio": tuple(_modality("audio", _heard, _unheard)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.tools.balance",
                                     description="Accuracies of guessers, by family of questions.")
    parser.add_argument("--scenes", type=int, default=3000, help="number of training scenes")
    print(table(measure(parser.parse_args().scenes)))


if __name__ == "__main__":
    main()
