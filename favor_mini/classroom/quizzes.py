"""The quizzes at the ends of the notebooks, in forms that learning platforms read."""

import csv
import io
import random
import re
from dataclasses import dataclass

import nbformat

from .setup import course_notebooks

QUESTION = re.compile(r"^\*\*(\d)\.\*\* ", re.MULTILINE)
CHOICE = re.compile(r"^- ([a-d])\) (.*?)(?=\n- [a-d]\) |\n\n|\Z)", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"<summary>Answer</summary>\s*(.*?)\s*</details>", re.DOTALL)
SAID = re.compile(r"\*{1,2}([a-d])[.:]\*{1,2}")
SPECIAL = re.compile(r"([~=#{}:\\])")  # GIFT escapes them


@dataclass(frozen=True)
class Quiz:
    """A question with one right choice. why: by letter, the sentence about each choice."""

    notebook: str
    number: int
    text: str
    choices: dict[str, str]
    right: str
    why: dict[str, str]

    def shuffled(self, seed: int) -> list[str]:
        """The letters in an order of this seed: among the originals, some are right more often."""
        letters = sorted(self.choices)
        random.Random(f"{seed}/{self.notebook}/{self.number}").shuffle(letters)
        return letters


def read_quizzes(notebooks=None, notebook: str | None = None) -> list[Quiz]:
    """All questions, in order.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    found = []
    for file in course_notebooks(notebooks, notebook):
        text = "\n\n".join(c.source for c in nbformat.read(file, as_version=4).cells
                           if c.cell_type == "markdown")
        _, _, quiz = text.partition("## Quiz")
        _, *parts = QUESTION.split(quiz)
        found += [_read(file.name[:2], int(number), part)
                  for number, part in zip(parts[::2], parts[1::2], strict=True)]
    return found


def _read(notebook: str, number: int, part: str) -> Quiz:
    asked, _, rest = part.partition("<details>")
    choices = {letter: " ".join(text.split()) for letter, text in CHOICE.findall(asked)}
    _, *said = SAID.split(ANSWER.search(f"<details>{rest}")[1])
    why = {letter: " ".join(text.split())
           for letter, text in zip(said[::2], said[1::2], strict=True)}
    question = " ".join(asked[: CHOICE.search(asked).start()].split())
    return Quiz(notebook, number, question, choices, next(iter(why)), why)


def written(quizzes: list[Quiz], form: str, seed: int = 0) -> str:
    """All questions as text.

    form: "gift" (with the sentence about each choice as feedback), "csv", or "text", which has no
    answers.
    """
    if form == "gift":
        return "\n".join(_gift(quiz, seed) for quiz in quizzes)
    if form == "text":
        return "\n".join(
            f"{quiz.notebook}.{quiz.number}  {quiz.text}\n" + "".join(
                f"    {place}) {quiz.choices[letter]}\n"
                for place, letter in zip("abcd", quiz.shuffled(seed), strict=False))
            for quiz in quizzes)
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["notebook", "number", "question", "a", "b", "c", "d", "right"])
    for quiz in quizzes:
        order = quiz.shuffled(seed)
        shown = [quiz.choices[letter] for letter in order]
        table.writerow([quiz.notebook, quiz.number, quiz.text, *shown, *[""] * (4 - len(shown)),
                        "abcd"[order.index(quiz.right)]])
    return stream.getvalue()


def _gift(quiz: Quiz, seed: int) -> str:
    def escaped(text: str) -> str:
        return SPECIAL.sub(r"\\\1", text)

    lines = [f"  {'=' if letter == quiz.right else '~'}{escaped(quiz.choices[letter])}"
             + (f" #{escaped(quiz.why[letter])}" if quiz.why.get(letter) else "")
             for letter in quiz.shuffled(seed)]
    return (f"::{quiz.notebook}.{quiz.number}::[markdown]{escaped(quiz.text)} {{\n"
            + "\n".join(lines) + "\n}\n")
