"""Print the exam of docs/teaching/exam.toml: the question sheet, or the key.

    python -m docs.tools.exam > sheet.md
    python -m docs.tools.exam --key > key.md

Neither is a page of the website, nor part of a hand-out or of a wheel.
"""

import argparse
import tomllib
from pathlib import Path

FILE = Path(__file__).parents[1] / "teaching" / "exam.toml"


def read_exam(file: Path = FILE) -> dict:
    """The exam: title, minutes, rules, and a list of questions."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


def written(exam: dict, key: bool = False) -> str:
    """The exam in Markdown, in the order of the file.

    Args:
        key: with the answer, the reason and the notebook of each question.
    """
    total = sum(q["marks"] for q in exam["questions"])
    lines = [f"# {exam['title']}{', key' * key}", "",
             f"{len(exam['questions'])} questions, {total} marks, {exam['minutes']} minutes."]
    lines += [] if key else ["", exam["rules"].strip()]
    for number, q in enumerate(exam["questions"], 1):
        lines += ["", f"**{number}.** ({q['marks']} marks) {q['text'].strip()}"]
        if key:
            lines += ["", f"> **Answer.** {_one_line(q['answer'])} *Why:* {_one_line(q['why'])} "
                      f"(notebook {q['notebook']})"]
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--key", action="store_true", help="with answers, reasons and notebooks")
    print(written(read_exam(), parser.parse_args().key), end="")


if __name__ == "__main__":
    main()
