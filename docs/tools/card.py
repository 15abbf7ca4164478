"""The data card and the licence of the sample files; all numbers are computed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from docs.tools.balance import measure, table
from favor_mini.world.questions import FAMILIES, MIN_ANSWERS
from favor_mini.world.samples import TASK_SEED
from favor_mini.world.scene import COLOURS, SHAPES, SPLITS, THINGS, WORDS

SCENES = 3000  # for the biases

LICENSE = (Path(__file__).parent / "samples_licence.txt").read_text(encoding="utf-8")
# A template for `str.format`.
CARD = (Path(__file__).parent / "data_card.md").read_text(encoding="utf-8")


def data_card(entries: list[dict], rows: dict[str, list[dict]], media: list[str]) -> str:
    """The data card.

    Args:
        entries: the lines of the index.
        rows, media: the rows of the test sets by task, and the paths of their media.
    """
    kinds = {kind: [e for e in entries if e["kind"] == kind] for kind in ("clip", "sound", "image")}
    asked = {kind: Counter(q["family"] for e in of_kind for q in e["questions"])
             for kind, of_kind in kinds.items()}
    endings = Counter(name.rsplit(".")[-1] for name in media)
    seconds = [e["duration"] for e in kinds["clip"]]
    found = measure(SCENES)
    return CARD.format(
        clips=len(kinds["clip"]), sounds=len(kinds["sound"]), images=len(kinds["image"]),
        questions=sum(sum(counts.values()) for counts in asked.values()),
        task_questions=sum(map(len, rows.values())), first_task=TASK_SEED,
        task_media=", ".join(f"{count} {ending}" for ending, count in sorted(endings.items())),
        shortest=min(seconds), longest=max(seconds), total=sum(seconds),
        colours=len(COLOURS), shapes=len(SHAPES), things=len(THINGS), words=len(WORDS),
        first=kinds["clip"][0]["seed"], last_clip=kinds["clip"][-1]["seed"],
        build=entries[0]["made_with"],
        splits=", ".join(f"`{name}` {s.start} to {s.stop - 1}" for name, s in SPLITS.items()),
        asked="\n".join(f"| `{family}` | {', '.join(needs)} | "
                        + " | ".join(str(asked[kind][family] or "") for kind in kinds) + " |"
                        for family, needs in FAMILIES.items()),
        scenes=SCENES, enough=MIN_ANSWERS, biases=table(found),
        one_stream=", ".join(
            f"{max(row['video_chance'], row['audio_chance']):.1%} for `{family}`"
            for family, row in found.items() if "video_chance" in row),
        often=" and ".join(f"{found[family]['nothing']:.0%} of the time in `{family}`"
                           for family in ("count_seen", "count_heard")),
        vocabulary=len({*COLOURS, *SHAPES, *THINGS, *WORDS}))
