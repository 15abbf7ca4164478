"""Score a shipped checkpoint on the split "test", whole and with parts switched off, and write that
into its model card.

    python -m docs.tools.final label-free      # about ten minutes
"""

import sys
from dataclasses import replace
from pathlib import Path

from docs.tools.limits import TITLE as LIMITS
from favor_mini import checkpoint_path
from favor_mini.evaluation.answering import evaluate
from favor_mini.evaluation.checkpoint import load_checkpoint
from favor_mini.evaluation.scores import Row, Score, scores
from favor_mini.language import reset_lora
from favor_mini.pretraining.validation import ask_scenes, task_rows
from favor_mini.storage import atomic_write
from favor_mini.world.questions import FAMILY_GROUPS
from favor_mini.world.scene import SPLITS

TITLE = "## Final scores"  # of a section of the model card, before that on its limits
FIRST = 50_000  # position in the split of the first scene; the laboratory uses earlier ones
STREAMS = {"audio": ("audio_features", "audio_tokens"), "video": ("visual_features", "num_frames")}


def write_final(checkpoint, scenes: int = 100, tasks: int = 24) -> str:
    """Measure, write the section into the checkpoint's README.md, and return it."""
    model, processor = load_checkpoint(checkpoint)
    found = ablations(model, processor, scenes)
    tables = [TITLE, "", f'On {scenes} scenes of the split "test", which chose nothing. Intervals '
              "of 95 % over scenes. Chance: a guess that knows the kind of the question.", "",
              *table(scores(found["as it is"], FAMILY_GROUPS), ("group", "all")), "",
              f'The tasks, {tasks} scenes of "test" each. Chance: the best constant answer, or a '
              "guess.", "",
              *table(scores(task_rows(*load_checkpoint(checkpoint), tasks, split="test"))), "",
              "With parts switched off, all questions:", "",
              *table([replace(scores(rows)[-1], name=name) for name, rows in found.items()],
                     ("all",))]
    section = "\n".join([*tables, ""])
    card = Path(checkpoint) / "README.md"
    before, *limits = card.read_text(encoding="utf-8").split(LIMITS)
    limits = [f"\n{LIMITS}{text}" for text in limits]
    with atomic_write(card) as temporary:
        temporary.write_text(f"{before.split(TITLE)[0].rstrip()}\n\n{section}{''.join(limits)}",
                             encoding="utf-8")
    return section


def table(found: list[Score], kinds: tuple[str, ...] = ("family", "all")) -> list[str]:
    """The scores of these kinds as the lines of a Markdown table."""
    return ["| what | count | score | interval | chance |", "|---|---|---|---|---|",
            *(f"| {s.name} | {s.count} | {s.accuracy:.1%} | {s.low:.1%} to {s.high:.1%} | "
              f"{s.chance:.1%} |" for s in found if s.kind in kinds)]


def ablations(model, processor, scenes: int) -> dict[str, list[Row]]:
    """The same questions about the same scenes: to the model as it is, without one of the streams,
    about the clip of another scene, and without LoRA."""
    first = SPLITS["test"].start + FIRST
    encoded, asked, chance = ask_scenes(model, processor, range(first, first + scenes))

    def answers(clips: dict[str, dict]) -> list[Row]:
        return evaluate(model, processor, clips, asked, chance)

    found = {"as it is": answers(encoded)}
    for missing, (features, count) in STREAMS.items():
        found[f"without {missing}"] = answers({
            name: {k: 0 if k == count else v for k, v in clip.items() if k != features}
            for name, clip in encoded.items()})
    names = list(encoded)
    found["about another clip"] = answers(
        {name: encoded[other] for name, other in zip(names, names[1:] + names[:1], strict=True)})
    reset_lora(model.language_model)
    found["without LoRA"] = answers(encoded)
    return found


if __name__ == "__main__":
    print(write_final(checkpoint_path(*sys.argv[1:])))
