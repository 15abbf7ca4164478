"""Does a trained model use the synchronisation of sound and picture? Shift the sound, and ask."""

import json
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ..evaluation.answering import encode_clips, evaluate, likelihood
from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..evaluation.intervals import cluster_interval, wilson
from ..media.clip import delay_sound
from ..world.questions import FAMILY_GROUPS, GROUPS, draw_questions, single_modality_chance
from ..world.rows import scene_clip
from ..world.scene import SPLITS, draw_scene, stream
from .run import SPLIT

SHIFTS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # delays of the sound in seconds


def sound_offsets(checkpoint=None, *, scenes: int = 100, shifts=SHIFTS,
                  progress: bool = True) -> list[dict]:
    """Shift the sound of test clips and ask a trained model; no training.

    Questions about both modalities depend on the shift. Plain ones about one are the control.

    Returns:
        One row per shift and question: `shift`, `clip`, `family`, `chance`, `right`, and `logp`,
        the log probability of the answer that is true without a shift. The unknown offset of a
        clip is estimated by the shift with the highest `logp`.
    """
    model, processor = load_checkpoint(find_checkpoint(checkpoint))
    first = SPLITS[SPLIT].start + 9000
    drawn = {str(seed): draw_scene(seed) for seed in range(first, first + scenes)}
    asked = [(name, q) for name, scene in drawn.items()
             for q in draw_questions(scene, stream("evaluation questions", scene.seed), 16)
             if {"audio", "video"} <= set(q.needs) or len(q.needs) == 1]
    size, rate = processor.settings.image_size, processor.settings.frame_rate
    clips = {name: scene_clip(scene, size, rate) for name, scene in drawn.items()}
    chance = single_modality_chance(drawn)
    rows = []
    for shift in tqdm(shifts, desc="shifting the sound", disable=not progress):
        encoded = encode_clips(model, processor,
                               {name: delay_sound(clip, shift) for name, clip in clips.items()})
        logps = likelihood(model, processor, [encoded[name] for name, _ in asked],
                           [q.text for _, q in asked], [q.answer for _, q in asked])
        answered = evaluate(model, processor, encoded, asked, chance)
        rows += [{"shift": shift, "clip": r.clip, "family": r.family, "chance": round(r.chance, 3),
                  "right": r.correct, "logp": round(float(logp), 3)}
                 for r, logp in zip(answered, logps, strict=True)]
    return rows


class Offsets:
    """A trained model's answers while the sound is shifted.

    Args:
        rows: from `sound_offsets`.
    """

    def __init__(self, rows: list[dict]):
        self.rows = rows

    @property
    def table(self) -> pd.DataFrame:
        """Accuracy with its 95 % interval over clips, by group of questions and shift."""
        found, frame = [], pd.DataFrame(self.rows)
        for group in GROUPS:
            part = frame[frame.family.map(FAMILY_GROUPS) == group]
            for shift, asked in part.groupby("shift"):
                low, high = cluster_interval(asked["right"], asked["clip"])
                found.append({"questions": group, "shift": shift, "count": len(asked),
                              "accuracy": asked.right.mean(), "low": low, "high": high,
                              "chance": asked.chance.mean()})
        return pd.DataFrame(found)

    def recovered(self, group: str = "both modalities") -> pd.Series:
        """By clip, the shift with the highest log probability of the answers to a group."""
        frame = pd.DataFrame(self.rows)
        frame = frame[frame.family.map(FAMILY_GROUPS) == group]
        return frame.pivot_table(index="clip", columns="shift", values="logp",
                                 aggfunc="sum").idxmax(axis=1)

    def __str__(self) -> str:
        table, found = self.table, self.recovered()
        wide = table.pivot(index="questions", columns="shift", values="accuracy")
        shifts = sorted(set(table["shift"]))
        step = min(abs(shift) for shift in shifts if shift)
        lines = []
        for what, places in (("exact", [0.0]),
                             (f"within {step:g} s", [s for s in shifts if abs(s) <= step])):
            right = int(found.isin(places).sum())
            low, high = wilson(right, len(found))
            lines.append(f"  {what}: {right} of {len(found)} clips ({right / len(found):.0%}, 95 % "
                         f"interval {low:.0%} to {high:.0%}; guessing "
                         f"{len(places) / len(shifts):.0%})")
        counts = found.value_counts().sort_index()
        return "\n".join([
            "accuracy in %, by delay of the sound in seconds (negative: early)",
            wide.mul(100).round(1).to_string(), "",
            "offset estimated from the answers to questions about both modalities:", *lines,
            "  estimates: " + ", ".join(f"{s:+g} s in {count}" for s, count in counts.items())])

    def save(self, file) -> None:
        names = list(self.rows[0])
        lines = ",\n".join(json.dumps([row[n] for n in names]) for row in self.rows)
        Path(file).write_text(f'{{"columns": {json.dumps(names)},\n"rows": [\n{lines}\n]}}\n')

    @classmethod
    def load(cls, file) -> "Offsets":
        """Read a file written by `save`."""
        stored = json.loads(Path(file).read_text())
        return cls([dict(zip(stored["columns"], row, strict=True)) for row in stored["rows"]])
