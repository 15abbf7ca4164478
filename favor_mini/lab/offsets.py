"""Does a trained model use the synchronisation of sound and picture? Shift the sound, and ask."""

import json
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ..evaluation.answering import encode_clips, evaluate, likelihood
from ..evaluation.intervals import cluster_interval, wilson
from ..media.clip import delay_sound
from ..world.questions import FAMILY_GROUPS, GROUPS
from .scenes import clips_of, draw_scenes, prepare

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
    drawn = draw_scenes(9000, scenes)
    model, processor, asked, chance = prepare(checkpoint, drawn, "evaluation questions")
    clips, rows = clips_of(drawn, processor), []
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
    """A trained model's answers while the sound is shifted: `rows` from `sound_offsets`."""

    def __init__(self, rows: list[dict]):
        self.rows = rows

    def _group(self, group: str) -> pd.DataFrame:
        frame = pd.DataFrame(self.rows)
        return frame[frame.family.map(FAMILY_GROUPS) == group]

    @property
    def table(self) -> pd.DataFrame:
        """Accuracy with its 95 % interval over clips, by group of questions and shift."""
        found = []
        for group in GROUPS:
            for shift, asked in self._group(group).groupby("shift"):
                low, high = cluster_interval(asked["right"], asked["clip"])
                found.append({"questions": group, "shift": shift, "count": len(asked),
                              "accuracy": asked.right.mean(), "low": low, "high": high,
                              "chance": asked.chance.mean()})
        return pd.DataFrame(found)

    def recovered(self, group: str = "both modalities") -> pd.Series:
        """By clip, the shift with the highest log probability of the answers to a group."""
        return self._group(group).pivot_table(
            index="clip", columns="shift", values="logp", aggfunc="sum").idxmax(axis=1)

    def __str__(self) -> str:
        found = self.recovered()
        wide = self.table.pivot(index="questions", columns="shift", values="accuracy")
        shifts = wide.columns
        step = min(abs(shift) for shift in shifts if shift)
        lines = []
        for what, most in (("exact", 0), (f"within {step:g} s", step)):
            right, places = int((found.abs() <= most).sum()), sum(abs(shifts) <= most)
            low, high = wilson(right, len(found))
            lines.append(
                f"  {what}: {right} of {len(found)} clips ({right / len(found):.0%}, 95 % interval "
                f"{low:.0%} to {high:.0%}; guessing {places / len(shifts):.0%})")
        counts = found.value_counts().sort_index()
        return "\n".join([
            "accuracy in %, by delay of the sound in seconds (negative: early)",
            wide.mul(100).round(1).to_string(), "",
            "offset estimated from the answers to questions about both modalities:", *lines,
            "  estimates: " + ", ".join(f"{s:+g} s in {count}" for s, count in counts.items())])

    def save(self, file) -> None:
        lines = ",\n".join(json.dumps(list(row.values())) for row in self.rows)
        columns = json.dumps(list(self.rows[0]))
        Path(file).write_text(f'{{"columns": {columns},\n"rows": [\n{lines}\n]}}\n',
                              encoding="utf-8")

    @classmethod
    def load(cls, file) -> "Offsets":
        """Read a file written by `save`."""
        stored = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls([dict(zip(stored["columns"], row, strict=True)) for row in stored["rows"]])
